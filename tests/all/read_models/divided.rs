//! Builds that several instances share: the same documents and the same blame as by one, and a
//! projection that says of itself what is not true is found out.

use std::path::Path;

use factum::engine::Engine;
use factum::projections::{LeftOut, OnFailure, ProjectionState, ProjectionStatus};
use serde_json::{Value, json};

use super::exact::{all_rows, copied, cut_at_random, fold, rows};
use super::operated::wait_for;
use super::{append, count_to};
use crate::harness::{Random, Server, counting, counting_mended};

/// How the counts are doing, once they do not move any more.
fn settled(engine: &Engine) -> ProjectionStatus {
    for _ in 0..3_000 {
        let status = engine.projections().status("counts").expect("is there");
        let state = status.answering.state;
        let is_done = status.answering.position == engine.log().head().position;
        if state == ProjectionState::Failed || (is_done && state != ProjectionState::CatchingUp) {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it never settles: {:?}", engine.projections().status("counts"));
}

/// What a build comes to: where it stopped first and what it had then; once it may park, what it
/// parked and has in the end.
#[derive(Debug, PartialEq)]
struct Outcome {
    stopped: Option<(u64, u64)>,
    before: Vec<(String, String)>,
    parked: Vec<LeftOut>,
    after: Vec<(String, String)>,
}

fn outcome(log: &Path, change: impl FnOnce(&mut factum::engine::Options)) -> Outcome {
    let (_dir, engine) = copied(log, change);
    let read = || all_rows(&engine.projections().read_model("counts").expect("is there"));
    let stopped = settled(&engine).answering.trouble.and_then(|trouble| trouble.events);
    let before = read();
    engine.projections().set_policy("counts", OnFailure::Park, None).expect("is set");
    let status = {
        let mut status = settled(&engine);
        // It may be seen before it tries again.
        for _ in 0..1_000 {
            if status.answering.state == ProjectionState::Parked {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            status = settled(&engine);
        }
        status
    };
    let (parked, after) = (status.settings.left_out.clone(), read());
    engine.close();
    Outcome { stopped, before, parked, after }
}

#[test]
fn a_shared_build_blames_the_events_that_one_instance_blames() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting());
    let mut poisoned = Vec::new();
    for _ in 0..30 {
        let ids: Vec<_> = (0..1 + random.below(60)).map(|_| random.below(40).to_string()).collect();
        let first = poisoned.last().map_or(0, |(end, _)| *end) + 1;
        let poison = random.below(3) == 0 || poisoned.is_empty();
        let at = random.below(ids.len() as u64);
        let event = |(n, id): (u64, &String)| (id.clone(), poison && n == at);
        let events: Vec<_> = (0..).zip(&ids).map(event).collect();
        let events: Vec<_> = events
            .iter()
            .map(|(id, poison)| ("Counted", id.as_str(), json!({ "poison": poison })))
            .collect();
        let end = append(&server.client, &events);
        poisoned.push((end, poison.then_some(first + at)));
    }
    server.stop();
    let poisoned: Vec<_> = poisoned.into_iter().filter_map(|(_, position)| position).collect();
    let by_one = outcome(dir.path(), |options| options.projections.build_workers = 1);
    assert_eq!(by_one.stopped, Some((poisoned[0], poisoned[0])));
    assert_eq!(by_one.parked.iter().map(|span| span.first).collect::<Vec<_>>(), poisoned);
    for _ in 0..4 {
        assert_eq!(outcome(dir.path(), |options| cut_at_random(options, &random)), by_one);
    }
}

/// Streams of two categories with the same ids share documents, which the guest's projection says
/// they do not.
#[test]
fn a_document_of_two_partitions_stops_the_build_and_names_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--build-workers", "1"]);
    let client = &server.client;
    server.install(counting());
    count_to(client, &[2; 300]);
    let event = |n: u32| json!({"type": "Counted", "stream": format!("m-{n:03}"), "data": {}});
    let body = json!({ "events": (0..300).map(event).collect::<Vec<_>>() });
    let answer = client.post("/v1/events", &body).ok();
    let position = answer.json["position"].as_u64().expect("a position");
    let query = format!("min_position={position}&wait=30");
    let exact = fold(client);
    assert_eq!(rows(client, &query), exact, "one instance makes what the events say");
    server.stop();

    let server = Server::start_with(dir.path(), &["--build-workers", "4"]);
    let client = &server.client;
    client.post("/v1/projections/counts/rebuild", &json!({})).ok();
    let failed = wait_for(client, "counts", |status| status["build"]["state"] == "failed");
    let said = failed["build"]["error"]["detail"].as_str().expect("a reason");
    let key = said.split('"').nth(1).expect("a key");
    let number: u64 = key.parse().expect("a number");
    // Its first event of the one category, and its event of the other.
    let (first, other) = (2 * number + 1, 600 + number + 1);
    for part in [
        "one stream",
        "of counts does not",
        &format!("positions {first} and {other}"),
        "mend the projection's partition",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(failed["state"], "live");
    let skip = json!({"position": other, "reason": "it is not the event's fault"});
    client.post("/v1/projections/counts/skip", &skip).problem(409, "projection_state");
    assert_eq!(rows(client, &query), exact, "what answers is as it was");

    // A version that does not say so is built, by one instance.
    server.install(counting_mended());
    wait_for(client, "counts", |status| status["build"].is_null());
    client.post("/v1/projections/counts/rebuild", &json!({})).ok();
    wait_for(client, "counts", |status: &Value| status["build"].is_null());
    assert_eq!(rows(client, &query), exact);
}
