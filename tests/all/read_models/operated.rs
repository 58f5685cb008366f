//! Trouble: it is seen where someone looks, it stops nothing else, and what was decided about it
//! holds in every later build.

use serde_json::{Value, json};

use super::{append, keys};
use crate::harness::{Client, Server, counting, counting_deposits, counting_mended};

/// How one projection is doing, once it is as wanted.
pub fn wait_for(client: &Client, projection: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/projections/{projection}");
    for _ in 0..3_000 {
        let status = client.get(&path).ok().json;
        if wanted(&status) {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("never as wanted: {}", client.get(&path).text);
}

fn operate(client: &Client, projection: &str, act: &str) -> crate::harness::Answer {
    client.send("POST", &format!("/v1/projections/{projection}/{act}"), &[], b"")
}

fn set_policy(client: &Client, policy: &str) -> Value {
    let body = json!({ "on_failure": policy }).to_string();
    let headers = [("content-type", "application/json")];
    client.send("PUT", "/v1/projections/counts/policy", &headers, body.as_bytes()).ok().json
}

fn poison(id: &str) -> (&'static str, &str, Value) {
    ("Counted", id, json!({"poison": true}))
}

fn counted(id: &str) -> (&'static str, &str, Value) {
    ("Counted", id, json!({}))
}

fn document(client: &Client, key: &str, at: u64) -> Value {
    let path = format!("/v1/read-models/counts/{key}?min_position={at}&wait=30");
    client.get(&path).ok().json["count"].clone()
}

#[test]
fn one_poisoned_event_stops_one_projection_until_someone_says_what_becomes_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    // In the middle of one record: only that event is to blame.
    append(client, &[counted("a"), counted("b"), poison("a"), counted("a")]);
    let after = append(client, &[counted("a"), ("Named", "n", json!({"name": "x"}))]);
    client.get(&format!("/v1/read-models/names/n?min_position={after}")).ok();
    let failed = wait_for(client, "counts", |status| status["state"] == "failed");
    assert_eq!((&failed["position"], &failed["stalled"]), (&json!(0), &json!(true)), "{failed}");
    assert_eq!(
        (&failed["error"]["position"], &failed["error"]["last_position"]),
        (&json!(3), &json!(3))
    );
    let event = client.get(failed["error"]["event"].as_str().expect("a link")).ok().json;
    assert_eq!(event["data"], json!({"poison": true}));

    operate(client, "counts", "retry").ok();
    wait_for(client, "counts", |status| status["state"] == "failed");
    let skip = |position: u64, reason: &str| {
        let body = json!({"position": position, "reason": reason});
        client.post("/v1/projections/counts/skip", &body)
    };
    skip(4, "why not").problem(409, "projection_state");
    skip(3, " ").problem(400, "invalid_body");
    skip(3, "a test made it").ok();
    assert_eq!((document(client, "a", after), document(client, "b", after)), (json!(3), json!(1)));
    skip(3, "again").problem(409, "projection_state");
    operate(client, "counts", "retry").problem(409, "projection_state");

    // It is a record, and holds after a crash and in every later build.
    let acts = client.get("/v1/decisions?kind=act").ok().json.to_string();
    assert!(acts.contains("a test made it"), "{acts}");
    server.kill();
    std::fs::remove_dir_all(dir.path().join("read_models")).expect("is there");
    let server = Server::start(dir.path());
    assert_eq!(document(&server.client, "a", after), 3);
    let status = server.client.get("/v1/projections/counts").ok().json;
    let left_out = json!([{"position": 3, "last_position": 3, "event": "/v1/events/3",
        "reason": "a test made it", "parked": false}]);
    assert_eq!((&status["left_out"], &status["state"]), (&left_out, &json!("live")));
}

#[test]
fn a_poisoned_event_is_parked_where_that_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    assert_eq!(set_policy(client, "park")["on_failure"], "park");
    append(client, &[poison("a"), counted("a"), poison("b"), counted("b"), poison("a")]);
    let after = append(client, &[counted("a")]);
    assert_eq!((document(client, "a", after), document(client, "b", after)), (json!(2), json!(1)));
    let status = wait_for(client, "counts", |status| status["state"] == "parked");
    let parked: Vec<_> = status["left_out"].as_array().expect("a list").iter().collect();
    let positions: Vec<_> = parked.iter().map(|one| one["position"].as_u64()).collect();
    assert_eq!(positions, [Some(1), Some(3), Some(5)]);
    assert!(parked.iter().all(|one| one["parked"] == true), "{status}");
    assert_eq!(status["error"]["event"], "/v1/events/5", "what went wrong last");
    let metrics = client.get("/metrics").ok().text;
    assert!(metrics.contains("factum_projection_parked_events{projection=\"counts\"} 3"));
    // Those that wait for someone stay out of the way of the next, also after a restart.
    server.kill();
    let server = Server::start(dir.path());
    let client = &server.client;
    let after = append(client, &[poison("c"), counted("c")]);
    assert_eq!(document(client, "c", after), 1);
    assert_eq!(set_policy(client, "stop")["on_failure"], "stop");
    append(client, &[poison("c")]);
    wait_for(client, "counts", |status| status["state"] == "failed");
    // Asked to park, it goes on at once.
    set_policy(client, "park");
    wait_for(client, "counts", |status| status["state"] == "parked");

    // A mended version goes on, and gets what was parked in its order, when it is asked to.
    let listed = client.get("/v1/parked").ok().json;
    let ids: Vec<_> = listed["parked"].as_array().expect("a list").iter().collect();
    let ids: Vec<_> = ids.iter().map(|one| one["id"].as_str().expect("text")).collect();
    assert_eq!(ids, ["counts:1", "counts:3", "counts:5", "counts:7", "counts:9"]);
    server.install(counting_mended());
    let ask =
        |id: &str, what: &str| client.send("POST", &format!("/v1/parked/{id}/{what}"), &[], b"");
    ask("counts:1", "retry").ok();
    wait_for(client, "counts", |status| status["build"].is_null());
    assert_eq!((document(client, "a", after), document(client, "b", after)), (json!(3), json!(1)));
    let page = client.get("/v1/read-models/counts/a").ok().json;
    assert_eq!(page["positions"], 1 + 2 + 6, "in its order");
    ask("counts:3", "discard").ok();
    ask("counts:3", "retry").problem(404, "unknown_parked");
    ask("counts:4", "retry").problem(404, "unknown_parked");
    ask("counts", "retry").problem(404, "unknown_parked");
    let left: Vec<_> = client.get("/v1/parked").ok().json["parked"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["position"].clone())
        .collect();
    assert_eq!(left, [5, 7, 9]);
}

#[test]
fn a_new_version_goes_on_where_the_one_before_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    append(client, &[counted("a")]);
    let after = append(client, &[poison("a"), counted("a")]);
    let failed = wait_for(client, "counts", |status| status["state"] == "failed");
    assert_eq!(failed["position"], 1);
    server.install(counting_mended());
    assert_eq!(document(client, "a", after), 3);
    wait_for(client, "counts", |status| status["state"] == "live");
}

#[test]
fn a_projection_that_does_not_move_says_so_wherever_one_looks() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let ready = client.get("/readyz?verbose").ok().json;
    assert_eq!(ready, json!({"status": "ready", "projections": []}));
    append(client, &[counted("a"), poison("a")]);
    wait_for(client, "counts", |status| status["stalled"] == true);
    let ready = client.get("/readyz?verbose").ok().json;
    assert_eq!(
        (&ready["status"], &ready["projections"][0]["projection"]),
        (&json!("ready"), &json!("counts"))
    );
    assert_eq!(client.get("/readyz").ok().json, json!({"status": "ready"}), "commands are taken");
    let series = "{projection=\"counts\",module=\"counting\",generation=\"answers\"} 1";
    let metrics = client.get("/metrics").ok().text;
    for gauge in ["factum_projection_stalled", "factum_projection_failed"] {
        assert!(metrics.contains(&format!("{gauge}{series}")), "{gauge}: {metrics}");
    }
    let list = client.get("/v1/read-models").ok().json;
    let counts = list["read_models"].as_array().expect("a list").iter();
    let states: Vec<_> = counts.filter(|m| m["name"] == "counts").map(|m| &m["state"]).collect();
    assert_eq!(states, ["failed"]);
}

#[test]
fn an_answer_says_how_old_it_is_and_is_refused_where_that_is_too_old() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let before = append(client, &[counted("a")]);
    assert_eq!(document(client, "a", before), 1);
    operate(client, "counts", "pause").ok();
    wait_for(client, "counts", |status| status["state"] == "paused");
    let after = append(client, &[counted("a"), counted("a")]);
    // It survives a crash: what was set is in the log.
    server.kill();
    let server = Server::start(dir.path());
    let client = &server.client;
    let paused = wait_for(client, "counts", |status| status["state"] == "paused");
    assert_eq!((&paused["position"], &paused["lag_events"]), (&json!(before), &json!(2)));
    assert!(
        paused["lag_seconds"].as_f64().is_some_and(|lag| lag > 0.0) && paused["stalled"] == false
    );
    let stale = client.get("/v1/read-models/counts").ok();
    assert_eq!(
        (stale.header("factum-position"), keys(&stale.json)),
        (Some("1"), vec!["a".to_owned()])
    );
    let refused = client.get(&format!("/v1/read-models/counts?min_position={after}&wait=0"));
    assert_eq!((&refused.json["position"], &refused.json["required"]), (&json!(1), &json!(3)));
    refused.problem(503, "read_model_behind");
    operate(client, "counts", "resume").ok();
    assert_eq!(document(client, "a", after), 3);
    client.get("/v1/projections/none").problem(404, "unknown_projection");
    operate(client, "none", "pause").problem(404, "unknown_projection");
}

#[test]
fn ten_projections_cost_far_less_than_ten_reads_of_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    let mut position = 0;
    for _ in 0..20 {
        let event = |n: u64| json!({"type": "Deposited", "stream": format!("s-{n}"), "data": {}});
        let body = json!({ "events": (0..1_000).map(event).collect::<Vec<_>>() });
        let answer = client.post("/v1/events", &body).ok();
        position = answer.json["position"].as_u64().expect("a position");
    }
    server.install(counting_deposits());
    for n in 0..10 {
        let path = format!("/v1/read-models/deposits_{n}?limit=1&min_position={position}&wait=30");
        client.get(&path).ok();
    }
    let metrics = client.get("/metrics").ok().text;
    let read = metrics.lines().find_map(|line| line.strip_prefix("factum_feed_read_events_total "));
    let read: f64 = read.expect("is counted").parse().expect("a number");
    let whole = f64::from(u32::try_from(position).expect("small"));
    assert!((whole..whole * 3.0).contains(&read), "{read} of {whole}");
}
