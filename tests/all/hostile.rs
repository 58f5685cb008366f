//! Guests that misbehave: each misdeed has a typed problem, and nobody else feels it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Server, account, hostile, workspace};

fn command(client: &Client, name: &str, body: &Value) -> crate::harness::Answer {
    client.post(&format!("/v1/aggregates/hostile/1/commands/{name}"), body)
}

/// What a guest does, the problem it gets, and a word in its detail.
const MISDEEDS: [(&str, &str, &str); 30] = [
    // Time, memory, stack.
    ("spin", "module_limit", "deadline_ms"),
    ("eat_memory", "module_limit", "memory_bytes"),
    ("grow_at_once", "module_limit", "memory_bytes"),
    ("recurse", "module_limit", "stack_bytes"),
    // Traps.
    ("trap", "module_fault", "unreachable"),
    ("panic", "module_fault", "the guest was told to panic"),
    ("wild_read", "module_fault", "out of bounds"),
    ("wild_call", "module_fault", "table"),
    ("peek", "module_fault", "read-models"),
    ("scan", "module_fault", "read-models"),
    ("bad_text", "module_fault", "utf-8"),
    // Answers that are too much.
    ("huge_answer", "module_limit", ""),
    ("huge_state", "module_limit", "output_bytes"),
    ("huge_rejection", "module_limit", "output_bytes"),
    ("big_rejection", "module_limit", "event_bytes"),
    ("big_events", "module_limit", "event_bytes"),
    ("flood_events", "module_limit", ""),
    ("many_tags", "module_limit", "event_tags"),
    ("long_fault", "module_fault", "xxx"),
    ("long_invalid", "invalid_command", "xxx"),
    // Answers that are not what they should be.
    ("invalid_json", "module_fault", "cannot be stored"),
    ("deep_json", "module_fault", "nested deeper"),
    ("not_a_number", "module_fault", "cannot be stored"),
    ("empty_event_type", "module_fault", "event type"),
    ("huge_type", "module_fault", "event type"),
    ("bad_tag", "module_fault", "tag"),
    ("bad_rejection", "module_fault", "rejection"),
    // States that are not what its events say.
    ("wrong_next", "module_fault", "evolve"),
    ("shifting_state", "module_fault", "evolve"),
    ("deep_state", "module_fault", "evolve"),
];

/// The same of events that it cannot fold once they are there.
const POISONS: [(&str, &str, &str); 4] = [
    ("fold_spin", "module_limit", "deadline_ms"),
    ("fold_trap", "module_fault", "unreachable"),
    ("fold_shift", "module_fault", "evolve"),
    ("fold_huge", "module_limit", "output_bytes"),
];

#[test]
fn every_misdeed_has_its_problem_and_records_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "300"]);
    server.install(hostile());
    command(&server.client, "behave", &json!({})).ok();
    let cases = MISDEEDS.map(|case| (case, case.0, json!({"now": true}))).into_iter();
    let cases = cases.chain(POISONS.map(|case| (case, "behave", json!({"poison": case.0}))));
    let mut behaved = 1;
    for ((case, code, said), name, data) in cases {
        // A stream's first decision is verified, so a new one for each.
        let path = format!("/v1/aggregates/hostile/{case}/commands/{name}");
        let status = if code == "invalid_command" { 400 } else { 500 };
        let answer = server.client.post(&path, &data);
        if code == "module_limit" && !said.is_empty() {
            assert_eq!(answer.json["limit"], said, "{case}: {answer:?}");
        }
        let detail = answer.problem(status, code);
        assert!(detail.contains(said), "{case}: {detail}");
        // A guest does not say more than can be read.
        assert!(detail.len() < 5_000, "{case}: {} bytes", detail.len());
        let events = server.client.get(&format!("/v1/streams/hostile-{case}/events"));
        events.problem(404, "unknown_stream");
        // And the module goes on.
        command(&server.client, "behave", &json!({})).ok();
        behaved += 1;
    }
    for flood in ["log_flood", "huge_line"] {
        command(&server.client, flood, &json!({"now": true})).ok();
        behaved += 1;
    }
    assert_eq!(server.client.all_events().len(), behaved);
    let rejected = server.client.get("/v1/decisions?outcome=rejected").ok().json;
    assert_eq!(rejected["decisions"], json!([]));
}

#[test]
fn what_a_guest_shows_of_its_state_is_held_to_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "300"]);
    server.install(hostile());
    let state = || server.client.get("/v1/aggregates/hostile/1");
    for _ in 0..9 {
        command(&server.client, "behave", &json!({})).ok();
    }
    for (code, said) in [
        ("", ""),
        ("module_fault", "not JSON"),
        ("module_limit", "deadline_ms"),
        ("module_fault", "unreachable"),
        ("", ""),
    ] {
        command(&server.client, "behave", &json!({})).ok();
        let answer = state();
        if code.is_empty() {
            answer.ok();
        } else {
            let detail = answer.problem(500, code);
            assert!(detail.contains(said), "{detail}");
        }
    }
}

#[test]
fn a_guest_whose_code_takes_tables_or_loops_on_any_input_is_not_activated() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "200"]);
    for (number, (body, said)) in [
        ("(drop (table.grow $t (ref.null func) (i32.const 200000))) unreachable", "table_elements"),
        ("(drop (memory.grow (i32.const 60000))) unreachable", "memory_bytes"),
        ("(loop $l (br $l)) unreachable", "deadline_ms"),
        ("(return (call $decide (i32.const 0)))", "stack_bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        let version = format!("1.0.{number}");
        server.client.upload(&in_wat(&version, body)).ok();
        let detail = server.client.activate("wat", &version).problem(422, "activation_refused");
        assert!(detail.contains(said), "{body}: {detail}");
    }
    // A trap on data that makes no sense is no reason.
    server.client.upload(&in_wat("2.0.0", "unreachable")).ok();
    server.client.activate("wat", "2.0.0").ok();
}

/// A component whose `decide` does what no compiler would let it: the body of the core function.
fn in_wat(version: &str, body: &str) -> Vec<u8> {
    let manifest = format!(
        r#"{{"name":"wat","version":"{version}","contract":"0.1.0","aggregates":[{{"name":"wat","commands":[{{"name":"go"}}]}}]}}"#
    );
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (table $t 1 funcref)
            (data (i32.const 16) "{}")
            (data (i32.const 0) "\10\00\00\00\{:02x}\{:02x}\00\00")
            (global $free (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $free (i32.add (global.get $free)
                    (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16))))
                (i32.sub (global.get $free)
                    (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16))))
            (func (export "factum:domain/manifest@0.1.0#describe") (result i32) (i32.const 0))
            (func $decide (export "factum:domain/aggregate@0.1.0#decide") (param i32) (result i32)
                {body})
            (func (export "factum:domain/aggregate@0.1.0#evolve")
                (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
            (func (export "factum:domain/aggregate@0.1.0#inspect")
                (param i32 i32 i32 i32 i32) (result i32) unreachable)
            (func (export "factum:domain/aggregate@0.1.0#boundary") (param i32) (result i32)
                unreachable))"#,
        manifest.replace('"', "\\\""),
        manifest.len() & 0xff,
        manifest.len() >> 8,
    );
    let mut core = wat::parse_str(&text).expect("is WebAssembly");
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir(workspace().join("wit")).expect("reads the contract");
    let role = "package test:guest; world guest { export factum:domain/manifest@0.1.0; \
                export factum:domain/aggregate@0.1.0; }";
    let package = resolve.push_str("guest.wit", role).expect("reads");
    let world = resolve.select_world(&[package], Some("guest")).expect("is there");
    wit_component::embed_component_metadata(
        &mut core,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
    )
    .expect("fits");
    let mut encoder = wit_component::ComponentEncoder::default().module(&core).expect("fits");
    encoder.encode().expect("is a component")
}

#[test]
fn a_guest_that_loops_traps_and_grows_does_not_hold_up_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "200"]);
    server.install(hostile());
    server.install(account());
    let limits = json!({"memory_bytes": 32 << 20, "threads": 2}).to_string();
    let headers = [("content-type", "application/json")];
    server.client.send("PUT", "/v1/modules/hostile/limits", &headers, limits.as_bytes()).ok();
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    let before_kb = server.memory_kb("VmRSS");
    let stop = AtomicBool::new(false);
    let misdeeds = ["spin", "trap", "eat_memory", "leak", "huge_answer", "log_flood", "recurse"];
    std::thread::scope(|scope| {
        let neighbours: Vec<_> = misdeeds
            .iter()
            .map(|misdeed| {
                let (client, stop) = (server.client.clone(), &stop);
                scope.spawn(move || {
                    let path = format!("/v1/aggregates/hostile/{misdeed}/commands/{misdeed}");
                    let mut done = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let answer = client.post(&path, &json!({"now": true}));
                        let code = answer.json["code"].as_str().unwrap_or("none");
                        let known = ["none", "module_limit", "module_fault", "module_throttled"];
                        assert!(known.contains(&code), "{misdeed}: {answer:?}");
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut most_kb = 0;
        for _ in 0..300 {
            let path = "/v1/aggregates/account/1/commands/deposit";
            server.client.post(path, &json!({"amount": 1})).ok();
            most_kb = most_kb.max(server.memory_kb("VmRSS"));
        }
        stop.store(true, Ordering::Relaxed);
        let done = neighbours.into_iter().map(|neighbour| neighbour.join().expect("ends"));
        let done: Vec<usize> = done.collect();
        assert!(done.iter().all(|done| *done > 0), "nothing happened beside it: {done:?}");
        // Two threads, each with an instance that answers and one that verifies.
        let allowed_kb = 4 * (32 << 10) + (32 << 10);
        assert!(most_kb < before_kb + allowed_kb, "{before_kb} kB grew to {most_kb} kB");
    });
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], 300);
}

#[test]
fn a_module_that_was_hostile_when_the_server_died_does_not_stop_it_from_starting() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments = ["--guest-deadline-ms", "500"];
    let mut server = Server::start_with(dir.path(), &arguments);
    for component in [hostile(), account()] {
        server.install(component);
    }
    command(&server.client, "behave", &json!({})).ok();
    // Its projection loops over this whenever it is projected, its aggregate whenever it is folded.
    command(&server.client, "behave", &json!({"poison": "spin"})).ok();
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    for round in 1..=3 {
        std::thread::scope(|scope| {
            for misdeed in ["spin", "recurse", "eat_memory", "huge_answer"] {
                let client = server.client.clone();
                let path = format!("/v1/aggregates/hostile/{misdeed}/commands/{misdeed}");
                // Until there is nobody to ask.
                scope.spawn(
                    move || {
                        while client.try_post(&path, &json!({"now": true}), &[]).is_ok() {}
                    },
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(150 * round));
            server.kill();
        });
        server = Server::start_with(dir.path(), &arguments);
        server.client.get("/readyz").ok();
        let deposit = "/v1/aggregates/account/1/commands/deposit";
        server.client.post(deposit, &json!({"amount": 1})).ok();
        let state = server.client.get("/v1/aggregates/account/1").ok();
        assert_eq!(state.json["state"]["balance"], round);
        command(&server.client, "behave", &json!({})).ok();
    }
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
        let error = status["error"]["detail"].as_str().unwrap_or_default();
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

#[test]
fn a_query_that_misbehaves_has_its_problem_and_the_next_is_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "200"]);
    server.install(hostile());
    let base = "/v1/projections/hostile_rows/queries";
    let ask = |how: &str| server.client.post(&format!("{base}/misbehave"), &json!({ "how": how }));
    server
        .client
        .post("/v1/aggregates/hostile/1/commands/behave?wait_for=hostile_rows", &json!({}))
        .ok();
    for (how, status, code) in [
        ("trap", 500, "module_fault"),
        ("spin", 500, "module_limit"),
        ("peek", 500, "module_fault"),
        ("no_json", 500, "module_fault"),
        ("refuse", 422, "query_refused"),
    ] {
        ask(how).problem(status, code);
        assert_eq!(ask("count").ok().json, "1", "after {how}");
    }
    let other = server.client.post(&format!("{base}/misbehave"), &json!({ "what": 1 }));
    assert!(other.problem(422, "query_refused").contains("`how`"));
    let none = server.client.post(&format!("{base}/behave"), &json!({}));
    assert!(none.problem(404, "unknown_query").contains("misbehave"));
    server
        .client
        .post("/v1/projections/none/queries/x", &json!({}))
        .problem(404, "unknown_projection");
    let late = format!("{base}/misbehave?min_position=2");
    server.client.post(&late, &json!({"how": "count"})).problem(400, "position_beyond_head");
}
