//! Building beside: nobody who reads notices, a kill costs nothing, and what is to come can be
//! looked at first.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::exact::{fold, fold_of, rows};
use super::operated::wait_for;
use super::{append, count_to, keys};
use crate::harness::{
    Answer, Client, Random, Server, counting, counting_otherwise, counting_twice, under_kills,
};

fn operate(client: &Client, act: &str) -> Answer {
    client.send("POST", &format!("/v1/projections/counts/{act}"), &[], b"")
}

fn head(client: &Client) -> u64 {
    let page = client.get("/v1/events?direction=backward&limit=1").ok().json;
    page["head"].as_u64().expect("a position")
}

/// The files of read models, by name.
fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("read_models")).expect("reads");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("reads").file_name().into_string().expect("text")
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

/// Rebuilds take long, and must not begin again when something happens.
#[test]
fn a_build_that_is_killed_again_and_again_goes_on_and_ends_as_the_fold() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting());
    for _ in 0..10 {
        count_to(&server.client, &[50; 40]);
    }
    let mut writers = [0u64, 1];
    let mut builds = 0;
    let server = under_kills(
        (dir.path(), server),
        (15, &random),
        &mut writers,
        |client, writer, stop| {
            // One of them asks for builds, too: refused while there is one.
            if *writer == 0 {
                let path = "/v1/projections/counts/rebuild";
                let _ = client.try_post(path, &json!({}), &[]);
            }
            while !stop.load(Ordering::Relaxed) {
                let event =
                    |n: u64| json!({"type": "Counted", "stream": format!("n-{n:03}"), "data": {}});
                let body = json!({"events": (0..50).map(event).collect::<Vec<_>>()});
                if client.try_post("/v1/events", &body, &[]).is_err() {
                    break;
                }
            }
        },
        |client, _| {
            let status = client.get("/v1/projections/counts").ok().json;
            if let Some(build) = status["build"].as_object() {
                builds += 1;
                for field in ["position", "lag_events", "events_per_second", "remaining_seconds"] {
                    assert!(build.contains_key(field), "{field}: {status}");
                }
            }
        },
    );
    eprintln!("{builds} builds went on after a kill");
    wait_for(&server.client, "counts", |status| status["build"].is_null());
    let query = format!("min_position={}&wait=30", head(&server.client));
    assert_eq!(rows(&server.client, &query), fold(&server.client));
    assert_eq!(files(dir.path()), ["counts-1.redb", "names-1.redb"]);
}

#[test]
fn who_reads_every_millisecond_never_gets_an_error_and_never_goes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let position = count_to(client, &[10; 100]);
    client.get(&format!("/v1/read-models/counts/007?min_position={position}")).ok();
    let stop = AtomicBool::new(false);
    let (polls, written) = std::thread::scope(|scope| {
        let poll = scope.spawn(|| {
            let (mut newest, mut polls) = ((0, 0), 0u64);
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get("/v1/read-models/counts/007").ok();
                let position = answer.header("factum-position").expect("is there").parse();
                let position: u64 = position.expect("a number");
                let positions = answer.json["positions"].as_u64().expect("a number");
                let now = (position, positions);
                assert!(now.0 >= newest.0 && now.1 >= newest.1, "{now:?} after {newest:?}");
                newest = now;
                polls += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            polls
        });
        let write = scope.spawn(|| {
            let mut written = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let position = count_to(client, &[1; 10]);
                // Reading one's own writes works in the middle of a swap too.
                let path = format!("/v1/read-models/counts/007?min_position={position}&wait=30");
                client.get(&path).ok();
                written += 10;
            }
            written
        });
        for _ in 0..8 {
            operate(client, "rebuild").ok();
            wait_for(client, "counts", |status| status["build"].is_null());
        }
        stop.store(true, Ordering::Relaxed);
        (poll.join().expect("reads"), write.join().expect("writes"))
    });
    eprintln!("{polls} reads, {written} events");
    let query = format!("min_position={}", head(client));
    assert_eq!(rows(client, &query), fold(client));
    assert_eq!(files(dir.path()), ["counts-1.redb", "names-1.redb"]);
}

#[test]
fn a_rebuild_can_be_compared_swapped_when_asked_and_aborted_without_a_trace() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    count_to(client, &[3; 20]);
    client.get("/v1/projections/counts/diff").problem(409, "projection_state");
    operate(client, "abort").problem(409, "projection_state");
    operate(client, "swap").problem(409, "projection_state");
    operate(client, "rebuild?swap=later").problem(400, "invalid_parameter");
    operate(client, "rebuild?swap=manual").ok();
    operate(client, "rebuild").problem(409, "projection_state");
    let caught_up = |status: &Value| status["build"]["state"] == "live";
    wait_for(client, "counts", caught_up);
    let diff = client.get("/v1/projections/counts/diff").ok().json;
    assert_eq!(
        (&diff["position"], &diff["build_position"], &diff["whole"]),
        (&json!(60), &json!(60), &json!(true))
    );
    let counts = json!([{"name": "counts", "same": 20, "added": 0, "removed": 0, "changed": 0,
        "samples": []}]);
    assert_eq!(diff["read_models"], counts);
    // It goes on beside the other, as long as nobody asks.
    let position = append(client, &[("Counted", "000", json!({}))]);
    wait_for(client, "counts", |status| status["build"]["position"] == position);
    assert_eq!(files(dir.path()), ["counts-1.beside", "counts-1.redb", "names-1.redb"]);
    operate(client, "abort").ok();
    assert_eq!(files(dir.path()), ["counts-1.redb", "names-1.redb"]);
    // That it waits to be asked outlives the server.
    operate(client, "rebuild?swap=manual").ok();
    server.kill();
    let server = Server::start(dir.path());
    let client = &server.client;
    wait_for(client, "counts", caught_up);
    let position = append(client, &[("Counted", "001", json!({}))]);
    wait_for(client, "counts", |status| status["build"]["position"] == position);
    operate(client, "swap").ok();
    wait_for(client, "counts", |status| status["build"].is_null());
    assert_eq!(rows(client, &format!("min_position={position}")), fold(client));
    assert_eq!(files(dir.path()), ["counts-1.redb", "names-1.redb"]);
}

#[test]
fn that_someone_asked_for_a_swap_outlives_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let position = count_to(client, &[3; 20]);
    operate(client, "rebuild?swap=manual").ok();
    wait_for(client, "counts", |status| status["build"]["state"] == "live");
    // Paused, it cannot follow the request before it is killed.
    operate(client, "pause").ok();
    wait_for(client, "counts", |status| status["build"]["state"] == "paused");
    operate(client, "swap").ok();
    operate(client, "swap").ok();
    assert_eq!(files(dir.path()), ["counts-1.building", "counts-1.redb", "names-1.redb"]);
    server.kill();
    let server = Server::start(dir.path());
    operate(&server.client, "resume").ok();
    wait_for(&server.client, "counts", |status| status["build"].is_null());
    assert_eq!(rows(&server.client, &format!("min_position={position}")), fold(&server.client));
    assert_eq!(files(dir.path()), ["counts-1.redb", "names-1.redb"]);
}

#[test]
fn a_higher_version_is_built_beside_the_one_that_answers_through_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    count_to(client, &[2; 30]);
    wait_for(client, "counts", |status| status["position"] == 60);
    // Paused, so that the build stays where it begins.
    operate(client, "pause").ok();
    server.install(counting_twice());
    let building = |status: &Value| status["version"] == 1 && status["build"]["version"] == 2;
    wait_for(client, "counts", building);
    let diff = client.get("/v1/projections/counts/diff").ok().json["read_models"][0].clone();
    assert_eq!(
        (&diff["removed"], &diff["added"], &diff["same"]),
        (&json!(30), &json!(0), &json!(0))
    );
    let sample = json!({"key": "000", "before": {"count": 2, "positions": 3}, "after": null});
    assert_eq!(
        (&diff["samples"][0], diff["samples"].as_array().map(Vec::len)),
        (&sample, Some(10))
    );
    // A read model that only the new version has: it is said how far that is.
    for path in ["lasts", "lasts/000", "lasts?at=1", "lasts?min_position=60"] {
        let answer = client.get(&format!("/v1/read-models/{path}"));
        assert_eq!((&answer.json["position"], &answer.json["required"]), (&json!(0), &json!(60)));
        let said = answer.problem(503, "building");
        assert!(said.contains("version 2 of projection counts"), "{said}");
    }
    client.get("/v1/read-models/firsts").problem(404, "unknown_read_model");
    let needed = operate(client, "abort").problem(409, "projection_state");
    assert!(needed.contains("activate the module's version before"), "{needed}");

    server.kill();
    let server = Server::start(dir.path());
    let client = &server.client;
    wait_for(client, "counts", building);
    // The version before answers, and goes on with the component that made it.
    let page = client.get("/v1/read-models/counts?limit=1").ok().json;
    assert_eq!(page["rows"][0]["document"]["count"], 2);
    operate(client, "resume").ok();
    let position = append(client, &[("Counted", "000", json!({}))]);
    wait_for(client, "counts", |status| status["version"] == 2 && status["build"].is_null());
    let page = client.get(&format!("/v1/read-models/counts?min_position={position}")).ok().json;
    assert_eq!((keys(&page).len(), &page["rows"][0]["document"]["count"]), (30, &json!(6)));
    assert_eq!(files(dir.path()), ["counts-2.redb", "names-1.redb"]);
    let last = client.get("/v1/read-models/lasts/000").ok().json;
    assert_eq!(last, json!({"position": position}));
    // Back again: another version is built beside, whichever it is.
    client.activate("counting", "1.0.0").ok();
    wait_for(client, "counts", |status| status["version"] == 1 && status["build"].is_null());
    assert_eq!(rows(client, &format!("min_position={position}")), fold(client));
}

#[test]
fn a_version_that_makes_other_documents_without_saying_so_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let position = count_to(client, &[2; 3]);
    client.upload(counting_otherwise()).ok();
    let refused = client.activate("counting", "1.3.0").problem(422, "activation_refused");
    assert!(refused.contains("projection counts version 1 makes another document"), "{refused}");
    // What lies there counts as well.
    let body = json!({"version": null}).to_string();
    let headers = [("content-type", "application/json")];
    client.send("PUT", "/v1/modules/counting/active", &headers, body.as_bytes()).ok();
    let refused = client.activate("counting", "1.3.0").problem(422, "activation_refused");
    assert!(refused.contains("projection counts version 1 makes another document"), "{refused}");
    client.activate("counting", "1.0.0").ok();
    assert_eq!(rows(client, &format!("min_position={position}")), fold(client));
}

#[test]
fn a_read_model_as_of_a_position_is_what_a_server_fed_up_to_there_has() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--scan-rows", "1000"]);
    let client = &server.client;
    server.install(counting());
    for _ in 0..40 {
        let counts: Vec<_> =
            (0..30).map(|_| usize::try_from(random.below(4)).expect("small")).collect();
        count_to(client, &counts);
    }
    let events = client.all_events();
    let newest = u64::try_from(events.len()).expect("small");
    for _ in 0..20 {
        let at = random.below(newest + 1);
        let then = rows(client, &format!("at={at}&wait=30"));
        let up_to = usize::try_from(at).expect("small");
        assert_eq!(then, fold_of(&events[..up_to]), "as of {at}");
    }
    // One more is made for a time, and it is the same as for its position.
    let half = &events[events.len() / 2];
    let time = half["recorded_at"].as_str().expect("a time");
    let of_time = rows(client, &format!("at={time}&wait=30"));
    let last = events.iter().rev().find(|e| e["recorded_at"].as_str() <= Some(time));
    let up_to = last.and_then(|e| e["position"].as_u64()).expect("is there");
    assert_eq!(of_time, rows(client, &format!("at={up_to}&wait=30")));

    let kept = client.get("/v1/projections/counts/past").ok().json;
    let kept = kept["past"].as_array().expect("a list");
    assert_eq!(kept.len(), 4, "{kept:?}");
    let newest_kept = &kept[3];
    assert_eq!((&newest_kept["position"], &newest_kept["reached"]), (&json!(up_to), &json!(up_to)));
    let one = format!("/v1/projections/counts/past/{up_to}");
    client.send("DELETE", &one, &[], b"").ok();
    client.send("DELETE", &one, &[], b"").problem(409, "projection_state");
    let path = "/v1/read-models/counts/007";
    client.get(&format!("{path}?at={}", newest + 1)).problem(400, "position_beyond_head");
    client.get(&format!("{path}?at=0&wait=30")).problem(404, "unknown_document");
    client.get(&format!("{path}?at=1&min_position=1")).problem(400, "invalid_parameter");
    let document = client.get(&format!("{path}?at={newest}&wait=30")).ok();
    assert_eq!(document.header("factum-position"), Some(&*newest.to_string()));
    assert_eq!(document.json, client.get(path).ok().json);
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!(files(dir.path()), ["counts-1.redb", "names-1.redb"], "what was left is gone");
    server.stop();
}

#[test]
fn a_full_disk_pauses_builds_before_what_answers_and_orphans_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting());
    let position = count_to(&server.client, &[2; 10]);
    server.stop();
    let read_models = dir.path().join("read_models");
    std::fs::write(read_models.join("ghost-1.redb"), b"of nobody").expect("writes");
    std::fs::write(read_models.join("ghost-2.building"), b"of nobody").expect("writes");
    let server = Server::start_with(dir.path(), &["--min-free-disk-bytes", "1000000000000000"]);
    let client = &server.client;
    assert_eq!(files(dir.path()), ["counts-1.redb", "names-1.redb"]);
    operate(client, "rebuild").ok();
    let paused = wait_for(client, "counts", |status| status["build"]["state"] == "paused");
    let said = paused["build"]["error"]["detail"].as_str().expect("a reason");
    assert!(said.contains("disk"), "{said}");
    assert_eq!(paused["state"], "live");
    assert_eq!(rows(client, &format!("min_position={position}")), fold(client));
    server.kill();
    let server = Server::start(dir.path());
    wait_for(&server.client, "counts", |status| status["build"].is_null());
    assert_eq!(rows(&server.client, &format!("min_position={position}")), fold(&server.client));
}
