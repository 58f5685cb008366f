//! Guests that misbehave: each misdeed has a typed problem, and nobody else feels it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Server, account, hostile};

fn command(client: &Client, name: &str, body: &Value) -> crate::harness::Answer {
    client.post(&format!("/v1/aggregates/hostile/1/commands/{name}"), body)
}

#[test]
fn every_misdeed_has_its_problem_and_records_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "200"]);
    server.install(hostile());
    command(&server.client, "behave", &json!({})).ok();
    for (misdeed, code, said) in [
        ("spin", "module_limit", "deadline_ms"),
        ("eat_memory", "module_limit", "memory_bytes"),
        ("recurse", "module_limit", "stack_bytes"),
        ("huge_answer", "module_limit", ""),
        ("flood_events", "module_limit", ""),
        ("big_events", "module_limit", "event_bytes"),
        ("trap", "module_fault", "unreachable"),
        ("panic", "module_fault", "the guest was told to panic"),
        ("invalid_json", "module_fault", "cannot be stored"),
        ("deep_json", "module_fault", "cannot be stored"),
        ("not_a_number", "module_fault", "cannot be stored"),
        ("empty_event_type", "module_fault", "event type"),
        ("wrong_next", "module_fault", "evolve"),
        ("peek", "module_fault", "read-models"),
    ] {
        // A stream's first decision is verified, so a new one for each.
        let path = format!("/v1/aggregates/hostile/{misdeed}/commands/{misdeed}");
        let detail = server.client.post(&path, &json!({"now": true})).problem(500, code);
        assert!(detail.contains(said) && detail.contains("hostile"), "{misdeed}: {detail}");
        let events = server.client.get(&format!("/v1/streams/hostile-{misdeed}/events"));
        events.problem(404, "unknown_stream");
        // And the module goes on.
        command(&server.client, "behave", &json!({})).ok();
    }
    command(&server.client, "log_flood", &json!({"now": true})).ok();
    assert_eq!(server.client.all_events().len(), 16);
}

#[test]
fn a_looping_guest_does_not_hold_up_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "300"]);
    server.install(hostile());
    server.install(account());
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let spinners: Vec<_> = (0..4)
            .map(|id| {
                let (client, stop) = (server.client.clone(), &stop);
                scope.spawn(move || {
                    let path = format!("/v1/aggregates/hostile/{id}/commands/spin");
                    let mut spun = 0;
                    while !stop.load(Ordering::Relaxed) {
                        client.post(&path, &json!({"now": true})).problem(500, "module_limit");
                        spun += 1;
                    }
                    spun
                })
            })
            .collect();
        for _ in 0..200 {
            server
                .client
                .post("/v1/aggregates/account/1/commands/deposit", &json!({"amount": 1}))
                .ok();
        }
        stop.store(true, Ordering::Relaxed);
        let spun: usize = spinners.into_iter().map(|spinner| spinner.join().expect("ends")).sum();
        assert!(spun >= 4, "the loops did not run beside it");
    });
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], 200);
}

#[test]
fn a_poisoned_event_stops_its_projection_and_says_where() {
    for (poison, said) in [
        ("trap", "unreachable"),
        ("bad_json", "not JSON"),
        ("foreign_collection", "not one of projection"),
        ("spin", "deadline_ms"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "200"]);
        server.install(hostile());
        for _ in 0..3 {
            command(&server.client, "behave", &json!({})).ok();
        }
        command(&server.client, "behave", &json!({"poison": poison})).ok();
        command(&server.client, "behave", &json!({})).ok();
        let behind = server
            .client
            .get("/v1/read-models/hostile_rows?min_position=4&wait=2")
            .problem(503, "read_model_behind");
        let status = failed_projection(&server.client);
        assert_eq!(status["position"], 3, "{status}");
        let error = status["error"].as_str().unwrap_or_default();
        assert!(
            error.contains(said) && error.contains("position 4"),
            "{poison}: {error}; {behind}"
        );
        // What was applied before still answers.
        server.client.get("/v1/read-models/hostile_rows?min_position=3").ok();
    }
}

fn failed_projection(client: &Client) -> Value {
    for _ in 0..600 {
        let list = client.get("/v1/projections").ok().json;
        let status = list["projections"][0].clone();
        if status["state"] == "failed" {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the projection never said that it failed");
}
