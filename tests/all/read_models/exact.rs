//! What a read model holds is what its events say, wherever batches end and whenever it is killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use factum::engine::{Engine, Options};
use factum::names::Name;
use factum::projections::{ReadModel, RowsQuery};
use factum::runtime::CompilerProgram;
use serde_json::{Value, json};

use super::append;
use crate::harness::{Client, Random, Server, counting_indexed, rounds, under_kills};

/// What the counts must be: the log, folded a second time.
pub fn fold(client: &Client) -> BTreeMap<String, Value> {
    fold_of(&client.all_events())
}

pub fn fold_of(events: &[Value]) -> BTreeMap<String, Value> {
    let mut counts = BTreeMap::<String, (u64, u64)>::new();
    for event in events {
        let id = event["stream"].as_str().and_then(|stream| stream.split_once('-'));
        let row = counts.entry(id.expect("a stream").1.to_owned()).or_default();
        *row = (row.0 + 1, row.1 + event["position"].as_u64().expect("a number"));
    }
    let document =
        |(key, (count, positions))| (key, json!({"count": count, "positions": positions}));
    counts.into_iter().map(document).collect()
}

pub fn rows(client: &Client, query: &str) -> BTreeMap<String, Value> {
    let path = format!("/v1/read-models/counts?limit=1000&{query}");
    let page = client.get(&path).ok().json;
    let rows = page["rows"].as_array().expect("rows").iter();
    rows.map(|row| (row["key"].as_str().expect("a key").to_owned(), row["document"].clone()))
        .collect()
}

#[test]
fn a_counting_projection_that_is_killed_again_and_again_equals_the_fold() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting_indexed());
    let mut writers = [0u64, 1, 2];
    let check = |client: &Client| {
        let expected = fold(client);
        let head = client.get("/v1/events?direction=backward&limit=1").ok().json["head"].clone();
        assert_eq!(rows(client, &format!("min_position={head}&wait=30")), expected);
        // By the index too: it moves with them.
        let by_index = rows(client, &format!("order=-count&where=count:ge:0&min_position={head}"));
        assert_eq!(by_index, expected);
    };
    let mut round = 0;
    let server = under_kills(
        (dir.path(), server),
        (rounds(50, 1_000), &random),
        &mut writers,
        |client, writer, stop| {
            let mut n = *writer;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                n = n
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let event = |at: u64| json!({"type": "Counted", "stream": format!("n-{}", (n >> 33) % 40 + at), "data": {}});
                let body = json!({"events": (0..n >> 60).map(event).chain([event(50)]).collect::<Vec<_>>()});
                if client.try_post("/v1/events", &body, &[]).is_err() {
                    break;
                }
            }
            *writer = n;
        },
        |client, _| {
            round += 1;
            if round % 10 == 0 {
                check(client);
            }
        },
    );
    check(&server.client);
    let explained = server.client.get("/v1/read-models/counts?order=-count&explain=true").ok().json;
    assert_eq!(explained["explain"]["index"], "by_count");
}

/// A store over a copy of a log, that begins to project it in its own way.
pub fn copied(log: &Path, change: impl FnOnce(&mut Options)) -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().expect("a directory");
    copy(log, dir.path());
    std::fs::remove_dir_all(dir.path().join("read_models")).expect("is there");
    let mut options = Options::new(dir.path().to_owned(), CompilerProgram::InProcess);
    change(&mut options);
    (dir, Engine::open(options).expect("opens"))
}

/// Batches end somewhere, and those of more than one event are divided among some.
pub fn cut_at_random(options: &mut Options, random: &Random) {
    let (records, bytes) = (1 + random.below(7), 1 + random.below(3_000));
    let workers = 1 + random.below(4);
    let limits = &mut options.projections;
    let size = |number: u64| usize::try_from(number).expect("small");
    limits.feed.part_records = size(records);
    limits.overlay_bytes = size(bytes);
    limits.build_workers = size(workers);
    limits.divided_events = 2;
    limits.durable_bytes = 1_000;
    eprintln!("{records} records, {bytes} bytes, {workers} workers");
}

/// Every document, by the order of keys, of a store that projects in batches of its own size.
fn content(log: &Path, change: impl FnOnce(&mut Options)) -> Vec<(String, String)> {
    let (_dir, engine) = copied(log, change);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runs");
    let mut rows = Vec::new();
    for name in ["counts", "names"] {
        let name = Name::parse(name).expect("a name");
        let model = engine.projections().read_model(name.as_str()).expect("is there");
        let head = engine.log().head().position;
        runtime.block_on(model.wait_for(head, Duration::from_secs(60))).expect("in time");
        rows.extend(all_rows(&model));
    }
    engine.close();
    rows
}

pub fn all_rows(model: &ReadModel) -> Vec<(String, String)> {
    let mut query = RowsQuery { limit: 100, ..RowsQuery::default() };
    let mut rows = Vec::new();
    loop {
        let page = model.page(&query).expect("answers");
        rows.extend(page.rows.into_iter().map(|row| (row.key, row.document)));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return rows,
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&to).expect("makes");
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copies");
        }
    }
}

#[test]
fn where_batches_end_and_how_many_share_them_makes_no_difference_to_a_byte() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting_indexed());
    for _ in 0..40 {
        let ids: Vec<_> =
            (0..1 + random.below(60)).map(|_| random.below(100).to_string()).collect();
        let event = |id: &String| match random.below(4) {
            0 => ("Named", id.clone(), json!({"name": format!("{id}-{}", random.below(3))})),
            _ => ("Counted", id.clone(), json!({})),
        };
        let events: Vec<_> = ids.iter().map(event).collect();
        let events: Vec<_> =
            events.iter().map(|(t, id, data)| (*t, id.as_str(), data.clone())).collect();
        append(&server.client, &events);
    }
    server.stop();
    let whole = content(dir.path(), |options| options.projections.build_workers = 1);
    assert!(whole.len() > 100, "{} rows prove little", whole.len());
    for _ in 0..6 {
        assert_eq!(content(dir.path(), |options| cut_at_random(options, &random)), whole);
    }
}
