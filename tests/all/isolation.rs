//! What a module must show before it answers, what it may use, and what becomes of one that takes
//! more: the others do not feel it.

use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, Server, account, account_with_overdraft, hostile, hostile_counter,
    hostile_reshaped, hostile_state_v2, rounds,
};

fn behave(client: &Client, id: &str) -> Answer {
    client.post(&format!("/v1/aggregates/hostile/{id}/commands/behave"), &json!({}))
}

fn misdeed(client: &Client, id: &str, name: &str) -> Answer {
    let path = format!("/v1/aggregates/hostile/{id}/commands/{name}");
    client.post(&path, &json!({"now": true}))
}

fn set_limits(client: &Client, module: &str, limits: &Value) -> Answer {
    let path = format!("/v1/modules/{module}/limits");
    client.send(
        "PUT",
        &path,
        &[("content-type", "application/json")],
        limits.to_string().as_bytes(),
    )
}

fn status(client: &Client, module: &str) -> Value {
    client.get(&format!("/v1/modules/{module}")).ok().json
}

#[test]
fn a_hidden_counter_is_found_before_the_version_is_active() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(hostile());
    server.client.upload(hostile_counter()).ok();
    let detail = server.client.activate("hostile", "1.1.0").problem(422, "activation_refused");
    assert!(detail.contains("hidden state") && detail.contains("call 1"), "{detail}");
    // The version before goes on, and nothing was recorded.
    behave(&server.client, "1").ok();
    assert_eq!(status(&server.client, "hostile")["active"]["version"], "1.0.0");
    let activations = server.client.get("/v1/decisions?kind=activation").ok();
    assert_eq!(activations.json["decisions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_counter_that_hides_until_later_is_found_by_comparing_with_evolve() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(hostile());
    // One thread, so that one instance counts all.
    set_limits(&server.client, "hostile", &json!({"threads": 1})).ok();
    for id in ["a", "b", "c"] {
        misdeed(&server.client, id, "drift").ok();
    }
    let detail = misdeed(&server.client, "d", "drift").problem(500, "module_fault");
    assert!(detail.contains("hidden state"), "{detail}");
    assert_eq!(status(&server.client, "hostile")["fresh_instances"], true);
    // In fresh instances it has nothing to count on.
    for _ in 0..10 {
        misdeed(&server.client, "d", "drift").ok();
    }
}

#[test]
fn states_that_differ_under_one_state_version_are_refused_and_a_higher_one_folds_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(hostile());
    for _ in 0..3 {
        behave(&server.client, "7").ok();
    }
    server.client.upload(hostile_reshaped()).ok();
    let detail = server.client.activate("hostile", "1.2.0").problem(422, "activation_refused");
    for said in ["hostile-7", "behaved", "count", "state version 1", "version 1.0.0"] {
        assert!(detail.contains(said), "{said} in {detail}");
    }
    // The state in memory is of version 1, which this one cannot read.
    server.client.upload(hostile_state_v2()).ok();
    let answer = server.client.activate("hostile", "2.0.0").ok().json;
    assert_eq!(
        (&answer["checks"]["streams"], &answer["checks"]["compared"]),
        (&1.into(), &0.into())
    );
    assert_eq!(answer["checks"]["events"], 3);
    behave(&server.client, "7").ok();
    let state = server.client.get("/v1/aggregates/hostile/7").ok().json;
    assert_eq!(state["state"], json!({"count": 4}));
    server.client.activate("hostile", "1.0.0").ok();
    behave(&server.client, "7").ok();
    let state = server.client.get("/v1/aggregates/hostile/7").ok().json;
    assert_eq!(state["state"], json!({"behaved": 5}));
}

#[test]
fn an_activation_compares_what_was_recorded_and_reports_what_does_not_fold() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let strange = json!({"events": [{"type": "Painted", "data": {"colour": "red"}}]});
    server.client.post("/v1/streams/account-strange/events", &strange).ok();
    server.client.upload(account()).ok();
    let answer = server.client.activate("account", "1.0.0").ok().json;
    let found = &answer["checks"]["not_folding"][0];
    assert_eq!(found["stream"], "account-strange", "{answer}");
    assert!(found["reason"].as_str().is_some_and(|reason| reason.contains("Painted")), "{answer}");

    let open = |id: u32| format!("/v1/aggregates/account/{id}/commands/open");
    for id in 0..20 {
        server.client.post(&open(id), &json!({"owner": "Ann"})).ok();
        let path = format!("/v1/aggregates/account/{id}/commands/deposit");
        server.client.post(&path, &json!({"amount": 5})).ok();
    }
    server.client.upload(account_with_overdraft()).ok();
    let checks = server.client.activate("account", "1.1.0").ok().json["checks"].clone();
    assert_eq!((&checks["streams"], &checks["compared"]), (&8.into(), &8.into()), "{checks}");
    assert_eq!((&checks["events"], &checks["calls"]), (&16.into(), &11.into()), "{checks}");
}

#[test]
fn limits_of_a_module_hold_at_once_and_after_a_restart_and_are_named_when_exceeded() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(hostile());
    server.install(account());
    let before = status(&server.client, "hostile")["limits"].clone();
    assert_eq!((&before["threads"], &before["deadline_ms"]), (&4.into(), &1000.into()));
    for (limits, name, limit) in [
        (json!({"deadline_ms": 50}), "spin", "deadline_ms"),
        (json!({"memory_bytes": 4 << 20}), "eat_memory", "memory_bytes"),
        (json!({"output_bytes": 1 << 20}), "big_events", "output_bytes"),
        (json!({"event_bytes": 16}), "invalid_json", ""),
        (json!({"event_bytes": 15}), "invalid_json", "event_bytes"),
        (json!({"events_per_command": 5}), "flood_few", "events_per_command"),
    ] {
        set_limits(&server.client, "hostile", &limits).ok();
        let answer = misdeed(&server.client, name, name);
        if limit.is_empty() {
            answer.problem(500, "module_fault");
        } else {
            assert_eq!(answer.json["limit"], limit, "{limits} {answer:?}");
            answer.problem(500, "module_limit");
        }
    }
    let set = json!({"deadline_ms": 60, "threads": 2, "instances": "fresh", "log_lines": 3});
    let answer = set_limits(&server.client, "hostile", &set).ok().json;
    let record = server.client.get(&format!("/v1/decisions/{}", answer["decision"])).ok().json;
    assert_eq!((&record["kind"], &record["act"]["subject"]), (&"act".into(), &"hostile".into()));
    assert_eq!(record["act"]["value"], set);
    server.stop();

    let server = Server::start(dir.path());
    let now = status(&server.client, "hostile");
    for (name, value) in set.as_object().expect("an object") {
        assert_eq!(&now["limits"][name], value, "{name}");
    }
    assert_eq!(
        (&now["limits"]["event_bytes"], &now["fresh_instances"]),
        (&(1 << 20).into(), &true.into())
    );
    let detail = misdeed(&server.client, "1", "spin").problem(500, "module_limit");
    assert!(detail.contains("deadline_ms"), "{detail}");
    // Nobody else's changed.
    assert_eq!(status(&server.client, "account")["limits"], before);
    set_limits(&server.client, "hostile", &json!({})).ok();
    assert_eq!(status(&server.client, "hostile")["limits"], before);

    for wrong in
        [json!({"threads": 0}), json!({"fuel": 1}), json!({"instances": "none"}), json!([])]
    {
        set_limits(&server.client, "hostile", &wrong).problem(400, "invalid_body");
    }
    set_limits(&server.client, "nobody", &json!({})).problem(404, "unknown_module");
}

#[test]
fn an_instance_that_grew_is_replaced_so_that_a_leak_costs_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(hostile());
    set_limits(&server.client, "hostile", &json!({"threads": 1, "instance_bytes": 8 << 20})).ok();
    // Each leaks 1 MiB, and 64 MiB would be too much.
    for _ in 0..rounds(100, 100_000) {
        misdeed(&server.client, "1", "leak").ok();
    }
    set_limits(&server.client, "hostile", &json!({"threads": 1, "instance_bytes": 1 << 30})).ok();
    let leaks = (0..100).map(|_| misdeed(&server.client, "1", "leak"));
    let failed = leaks.into_iter().find(|answer| answer.status != 200).expect("there is an end");
    failed.problem(500, "module_limit");
}

#[test]
fn a_module_that_keeps_hitting_its_deadline_has_one_thread_until_it_behaves() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--guest-deadline-ms", "100"]);
    server.install(hostile());
    server.install(account());
    let client = &server.client;
    client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    let codes: Vec<String> = std::thread::scope(|scope| {
        let spinners: Vec<_> = (0..48)
            .map(|id| scope.spawn(move || misdeed(client, &id.to_string(), "spin")))
            .collect();
        // Meanwhile, nobody else is refused.
        for _ in 0..50 {
            let path = "/v1/aggregates/account/1/commands/deposit";
            client.post(path, &json!({"amount": 1})).ok();
        }
        let answers = spinners.into_iter().map(|spinner| spinner.join().expect("ends"));
        answers.map(|answer| answer.json["code"].as_str().unwrap_or_default().to_owned()).collect()
    });
    let count = |code: &str| codes.iter().filter(|found| *found == code).count();
    let (overdue, refused) = (count("module_limit"), count("module_throttled"));
    assert_eq!(overdue + refused, 48, "{codes:?}");
    assert!(overdue >= 3 && refused >= 10, "{codes:?}");
    assert_eq!(status(client, "hostile")["throttled"], true);
    let throttled = "factum_module_throttled{module=\"hostile\"} 1";
    assert!(client.get("/metrics").ok().text.contains(throttled));
    assert_eq!(status(client, "account")["throttled"], false);

    // What it owes is bounded, so it comes out by answering in time.
    for _ in 0..200 {
        behave(client, "1").ok();
    }
    assert_eq!(status(client, "hostile")["throttled"], false);
}

#[test]
fn safe_mode_starts_without_modules_and_an_activation_takes_one_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(hostile());
    server.install(account());
    server.client.upload(account_with_overdraft()).ok();
    let open = "/v1/aggregates/account/1/commands/open";
    server.client.post(open, &json!({"owner": "Ann"})).ok();
    server.stop();

    let server = Server::start_with(dir.path(), &["--safe-mode"]);
    let client = &server.client;
    let deposit = "/v1/aggregates/account/1/commands/deposit";
    let detail = client.post(deposit, &json!({"amount": 1})).problem(503, "module_quarantined");
    assert!(detail.contains("--safe-mode") && detail.contains("account"), "{detail}");
    client.get("/v1/aggregates/account/1").problem(503, "module_quarantined");
    let event = json!({"events": [{"type": "Deposited", "data": {"amount": 1}}]});
    client.post("/v1/streams/account-1/events", &event).problem(503, "module_quarantined");
    // What was recorded can be read.
    client.get("/v1/streams/account-1/events").ok();
    for module in ["account", "hostile"] {
        let status = status(client, module);
        assert!(status["active"].is_null() && status["quarantined"].is_string(), "{status}");
    }
    client.activate("account", "1.1.0").ok();
    let answer = client.post(deposit, &json!({"amount": 1})).ok();
    assert_eq!(answer.json["module"]["version"], "1.1.0");
    assert!(status(client, "account")["quarantined"].is_null());
    behave(client, "1").problem(503, "module_quarantined");
    // It can also be switched off for good.
    let headers = [("content-type", "application/json")];
    client.send("PUT", "/v1/modules/hostile/active", &headers, b"{\"version\":null}").ok();
    behave(client, "1").problem(404, "unknown_aggregate");
    server.stop();

    let server = Server::start(dir.path());
    let answer = server.client.post(deposit, &json!({"amount": 1})).ok();
    assert_eq!(answer.json["module"]["version"], "1.1.0");
    behave(&server.client, "1").problem(404, "unknown_aggregate");
}

#[test]
fn a_module_that_cannot_be_loaded_is_quarantined_and_the_rest_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(hostile());
    server.install(account());
    server.client.upload(account_with_overdraft()).ok();
    let digest = status(&server.client, "account")["active"]["digest"].clone();
    server.stop();
    let digest = digest.as_str().expect("a digest");
    let file = std::fs::read_dir(dir.path().join("components")).expect("reads").find_map(|entry| {
        let path = entry.expect("reads").path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        let digest = digest.trim_start_matches("blake3:");
        (name.starts_with(digest) && name.ends_with("wasm")).then_some(path)
    });
    std::fs::write(file.expect("is there"), b"damaged").expect("writes");

    let server = Server::start(dir.path());
    behave(&server.client, "1").ok();
    let open = "/v1/aggregates/account/1/commands/open";
    let answer = server.client.post(open, &json!({"owner": "Ann"}));
    assert!(answer.problem(503, "module_quarantined").contains("damaged"));
    server.client.activate("account", "1.1.0").ok();
    server.client.post(open, &json!({"owner": "Ann"})).ok();
}
