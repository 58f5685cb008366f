//! The frozen WASI: a component that asks for the world finds nothing there, the same each time.

use std::time::Duration;

use serde_json::{Value, json};

use factum::runtime::Live;

use crate::harness::{Answer, Client, Server, account, looking, runtime};

fn tell(client: &Client, id: &str, command: &str, data: &Value) -> Answer {
    client.post(&format!("/v1/aggregates/looker/{id}/commands/{command}"), data)
}

fn set_limits(client: &Client, limits: &Value) {
    let headers = [("content-type", "application/json")];
    let path = "/v1/modules/wasi_guest/limits";
    client.send("PUT", path, &headers, limits.to_string().as_bytes()).ok();
}

fn status(client: &Client) -> Value {
    client.get("/v1/modules/wasi_guest").ok().json
}

#[test]
fn clocks_stand_at_the_decision_and_there_is_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(looking());
    assert_eq!(status(&server.client)["fresh_instances"], true);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = tell(&server.client, "1", "look", &json!({})).ok().json;
        let data = answer["events"][0]["data"].clone();
        let now = data["context_ms"].as_u64().expect("a time");
        assert!(now > 1_600_000_000_000, "{data}");
        assert_eq!(data["now_ms"], now);
        assert_eq!(data["monotonic_ns"], now * 1_000_000);
        assert_eq!(data["found"], json!([]));
        // Nothing is left of the calls before, whatever thread they came to.
        assert_eq!(data["calls"], 0);
        seen.push((data["random"].clone(), data["number"].clone(), now));
    }
    assert!(seen[0].0 != seen[1].0 && seen[0].1 != seen[1].1, "{seen:?}");
    let state = server.client.get("/v1/aggregates/looker/1").ok().json;
    assert_eq!(state["state"]["folded_at_ms"], seen[2].2);
    let (position, path) = (3, "/v1/read-models/looks");
    let rows = server.client.get(&format!("{path}?min_position={position}&wait=30")).ok().json;
    let rows = rows["rows"].as_array().expect("rows").clone();
    let times: Vec<_> = rows.iter().map(|row| &row["document"]["at_ms"]).collect();
    assert!(rows.len() == 3 && times.iter().all(|time| time.as_u64() > Some(0)), "{rows:?}");

    // In a server that has its code from the cache it is the same, and metered too.
    server.stop();
    let server = Server::start(dir.path());
    let again = server.client.get("/v1/aggregates/looker/1").ok().json;
    assert_eq!(again["state"], state["state"]);
    set_limits(&server.client, &json!({"meter_every": 1}));
    for _ in 0..600 {
        tell(&server.client, "1", "look", &json!({})).ok();
        let fuel = status(&server.client)["fuel"]["commands"]["look"]["mean"].as_u64();
        if fuel > Some(0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no call was ever metered");
}

#[test]
fn recorded_decisions_come_out_the_same_when_the_version_becomes_active_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(looking());
    for id in ["a", "b", "c"] {
        tell(&server.client, id, "look", &json!({})).ok();
        tell(&server.client, id, "look", &json!({})).ok();
    }
    let headers = [("content-type", "application/json")];
    let path = "/v1/modules/wasi_guest/active";
    server.client.send("PUT", path, &headers, b"{\"version\":null}").ok();
    let checks = server.client.activate("wasi_guest", "1.0.0").ok().json["checks"].clone();
    assert_eq!((&checks["streams"], &checks["calls"]), (&3.into(), &9.into()), "{checks}");
}

#[test]
fn what_waits_is_answered_at_once_and_what_asks_for_too_much_is_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "300"]);
    server.install(looking());
    let client = &server.client;
    // An hour passes in less than the deadline.
    tell(client, "1", "sleep", &json!({})).ok();
    let detail = tell(client, "1", "sleep", &json!({"restless": true}));
    assert!(detail.problem(500, "module_limit").contains("deadline_ms"));
    tell(client, "1", "draw", &json!({"bytes": 65536})).ok();
    let detail = tell(client, "1", "draw", &json!({"bytes": 65537})).problem(500, "module_fault");
    assert!(detail.contains("65537 random bytes"), "{detail}");
    tell(client, "1", "hoard", &json!({"pollables": 100})).ok();
    tell(client, "1", "hoard", &json!({"pollables": 10_000})).problem(500, "module_fault");
    let detail = tell(client, "1", "fall", &json!({})).problem(500, "module_fault");
    assert!(detail.contains("my last words"), "{detail}");
    tell(client, "1", "look", &json!({})).ok();
}

#[test]
fn an_administrator_may_refuse_wasi() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(looking());
    server.install(account());
    server.stop();

    let server = Server::start_with(dir.path(), &["--refuse-wasi"]);
    // What was active before is not started either, and says why; the rest runs.
    let detail = tell(&server.client, "1", "look", &json!({})).problem(503, "module_quarantined");
    assert!(
        detail.contains("--refuse-wasi") && detail.contains("wasi:clocks/wall-clock@0.2.0"),
        "{detail}"
    );
    let open = "/v1/aggregates/account/1/commands/open";
    server.client.post(open, &json!({"owner": "Ann"})).ok();
    server.stop();

    let elsewhere = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(elsewhere.path(), &["--refuse-wasi"]);
    let detail = server.client.upload(looking()).problem(422, "invalid_module");
    for said in ["wasi:cli/environment@0.2.0", "6 more", "--refuse-wasi", "build it without WASI"] {
        assert!(detail.contains(said), "{said} in {detail}");
    }
}

#[test]
fn a_copy_that_may_serve_one_call_is_never_asked_again() {
    let cache = tempfile::tempdir().expect("a directory");
    let runtime = runtime(cache.path());
    for (guest, is_used_again) in [(account(), true), (looking(), false)] {
        let component = runtime.load(guest).expect("loads");
        let mut live = Live::new(&component, "guest");
        for _ in 0..2 {
            live.call(|instance| instance.describe()).expect("a copy").expect("an answer");
            assert_eq!(live.is_live(), is_used_again);
        }
        live.forget();
        assert!(!live.is_live());
    }
}
