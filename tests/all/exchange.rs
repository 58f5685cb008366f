//! `factum export` and `factum import` through the real binary: everything that can be kept is,
//! once, however often an import is killed.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Random, Server, account, command};

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().expect("runs")
}

/// What it said, when it ended well.
fn ok(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn export(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let url = ["export", "--url", &server.client.base];
    let text = ok(&run(&[&url, arguments].concat()));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Without what is about the log that it is in.
fn kept(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        let fields = event.as_object_mut().expect("an object");
        assert!(fields.remove("globalposition").is_some());
        assert!(fields.remove("recordedtime").is_some());
    }
    events
}

/// Everything that an event can be, some of it decided by a module.
fn fill(server: &Server) {
    server.install(account());
    let client = &server.client;
    client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    let events = json!([
        {"type": "Sold", "stream": "till-1", "data": {"n": 9_007_199_254_740_993_u64, "x": 1.50},
            "tags": ["shop:1", "a,b%"], "time": "2001-02-03T04:05:06.789Z", "schema_version": 3},
        {"type": "Photographed", "datacontenttype": "image/png", "data_base64": "AP8B"},
        {"type": "Größer", "stream": "till-2", "data": null},
    ]);
    let talk = [("factum-correlation-id", "talk"), ("factum-causation-id", "cause")];
    client.post_with("/v1/events", &json!({"events": events}), &talk).ok();
    let foreign = json!({"specversion": "1.0", "id": "Ω 1", "source": "/elsewhere", "type": "Sold",
        "subject": "till-1", "zone": "north"});
    let media = [("content-type", "application/cloudevents+json")];
    client.send("POST", "/v1/events", &media, foreign.to_string().as_bytes()).ok();
    client.post("/v1/aggregates/account/1/commands/deposit", &json!({"amount": 7})).ok();
}

#[test]
fn what_is_exported_is_imported_once_with_ids_times_and_order() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [from, to] = [&dirs[0], &dirs[1]].map(|dir| Server::start(dir.path()));
    fill(&from);
    let file = dirs[0].path().join("events.ndjson");
    let file = file.to_str().expect("a path");
    let said = run(&["export", "--url", &from.client.base, "--output", file, "--json"]);
    ok(&said);
    let summary = String::from_utf8_lossy(&said.stderr);
    assert_eq!(summary.trim(), r#"{"events":6,"position":6}"#);
    let events = export(&from, &[]);
    assert_eq!(events.len(), 6);
    assert_eq!(std::fs::read_to_string(file).expect("reads").lines().count(), 6);

    let import = ["import", "--url", &to.client.base, file];
    assert_eq!(ok(&run(&import)), "6 events, of which 0 were there before, up to position 6\n");
    let arrived = export(&to, &[]);
    assert_eq!(kept(&arrived), kept(&events));
    // Again, in other batches, and where they came from: nothing is recorded twice.
    let again = [&import[..], &["--batch", "4", "--json"]].concat();
    assert_eq!(ok(&run(&again)), "{\"events\":6,\"known\":6,\"position\":6}\n");
    let home = ["import", "--url", &from.client.base, file, "--json"];
    assert_eq!(ok(&run(&home)), "{\"events\":6,\"known\":6,\"position\":6}\n");
    assert_eq!((export(&to, &[]), export(&from, &[])), (arrived, events));
    // Where a module owns the category, it folds what was imported.
    to.install(account());
    let state = |server: &Server| {
        let state = server.client.get("/v1/aggregates/account/1").ok().json;
        (state["state"].clone(), state["stream_version"].clone())
    };
    assert_eq!(state(&to), state(&from));

    let filtered = |arguments: &[&str]| -> Vec<u64> {
        let events = export(&from, arguments);
        events.iter().map(|e| e["globalposition"].as_u64().expect("a number")).collect()
    };
    assert_eq!(filtered(&["--type", "Sold"]), [2, 5]);
    assert_eq!(filtered(&["--type", "Sold", "--type", "Größer"]), [2, 4, 5]);
    assert_eq!(filtered(&["--tag", "a,b%", "--tag", "shop:1"]), [2]);
    assert_eq!(filtered(&["--category", "account"]), [1, 6]);
    assert_eq!(filtered(&["--after", "2", "--before", "5"]), [3, 4]);
    assert_eq!(filtered(&["--before", "1"]), [0; 0]);
    assert_eq!(filtered(&["--after", "6"]), [0; 0]);
}

#[test]
fn what_cannot_be_done_is_said_with_its_line_and_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let file = dir.path().join("events.ndjson");
    let event = |id: u64| {
        json!({"specversion": "1.0", "id": id.to_string(), "source": "/s",
        "type": "T", "data": id})
    };
    let import = |lines: &[String]| {
        std::fs::write(&file, lines.join("\n")).expect("writes");
        let file = file.to_str().expect("a path");
        run(&["import", "--url", &server.client.base, file, "--batch", "2"])
    };
    let good: Vec<_> = (1..=4).map(|id| event(id).to_string()).collect();
    let with = |line: &str| [&good[..3], &[String::new(), line.to_owned()]].concat();
    // What is wrong by itself ends an append before it; what the log has otherwise, the append.
    for (line, said, before) in [
        (r#"{"specversion":"1.0","id":"1","source":"/s","type":"Other"}"#, "event_id_reused", 2),
        (r#"{"specversion":"1.0","source":"/s","type":"T"}"#, "/id", 3),
        ("{\"id\":", "invalid_json", 3),
    ] {
        let told = refused(&import(&with(line)));
        assert!(told.contains("line 5: ") && told.contains(said), "{told}");
        assert!(told.contains(&format!("{before} events before that are recorded")), "{told}");
        assert_eq!(server.client.all_events().len(), before);
    }
    assert!(ok(&import(&good)).starts_with("4 events, of which 3 were there before"));
    assert!(refused(&run(&["export", "--url", "not a url"])).contains("--url"));
    assert!(refused(&run(&["import", "/nowhere/at/all"])).contains("/nowhere/at/all"));
    let output = dir.path().join("not there").join("file");
    let output = output.to_str().expect("a path");
    let told = refused(&run(&["export", "--url", &server.client.base, "--output", output]));
    assert!(told.contains("not there"), "{told}");
}

#[test]
fn schemas_are_declared_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let events = json!({"events": [{"type": "a/b", "data": 1}, {"type": "a/b", "data": "x"}]});
    server.client.post("/v1/events", &events).ok();
    let file = dir.path().join("schema.json");
    let schemas =
        |arguments: &[&str]| run(&[&["schemas", "--url", &server.client.base], arguments].concat());
    let path = file.to_str().expect("a path");
    std::fs::write(&file, r#"{"type":"integer"}"#).expect("writes");
    let told = refused(&schemas(&["put", "a/b", "1", path]));
    assert!(told.contains("schema_broken") && told.contains("position 2, \"\""), "{told}");
    std::fs::write(&file, "true").expect("writes");
    assert!(ok(&schemas(&["put", "a/b", "1", path])).contains("holds"));
    assert!(ok(&schemas(&["put", "a/b", "1", path])).contains("was declared before"));
    assert_eq!(ok(&schemas(&["list"])), "a/b 1\n");
    assert_eq!(ok(&schemas(&["get", "a/b", "1"])), "true\n");
    let json: Value = serde_json::from_str(&ok(&schemas(&["list", "--json"]))).expect("JSON");
    assert_eq!(json["schemas"][0]["type"], "a/b");
}

fn write_events(file: &Path, count: u64) -> Vec<Value> {
    let event = |n: u64| {
        let kind = if n.is_multiple_of(2) { "Sold" } else { "Swept" };
        json!({"specversion": "1.0", "id": format!("id-{n}"), "source": "/s",
            "type": kind, "subject": format!("till-{}", n % 97),
            "time": "2020-01-01T00:00:00.001Z", "data": {"n": n}})
    };
    let events: Vec<_> = (0..count).map(event).collect();
    let lines: Vec<_> = events.iter().map(Value::to_string).collect();
    std::fs::write(file, lines.join("\n")).expect("writes");
    events
}

fn in_order(client: &Client, events: &[Value]) {
    let recorded = client.all_events();
    assert_eq!(recorded.len(), events.len());
    let mut versions = std::collections::HashMap::new();
    for (recorded, event) in recorded.iter().zip(events) {
        for (ours, theirs) in [
            ("id", "id"),
            ("source", "source"),
            ("stream", "subject"),
            ("data", "data"),
            ("time", "time"),
            ("type", "type"),
        ] {
            assert_eq!(recorded[ours], event[theirs]);
        }
        let version = versions.entry(recorded["stream"].clone()).or_insert(0_u64);
        *version += 1;
        assert_eq!(recorded["stream_version"], *version);
    }
}

#[test]
fn an_import_that_is_killed_again_and_again_records_each_event_once() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("events.ndjson");
    let events = write_events(&file, 60_000);
    let store = dir.path().join("store");
    let mut server = Server::start(&store);
    let start = |server: &Server| {
        command()
            .args(["import", "--url", &server.client.base, "--batch", "20"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .expect("runs")
    };
    let mut interrupted = 0;
    for round in 0..60 {
        let mut import = start(&server);
        std::thread::sleep(Duration::from_millis(30 + random.below(250)));
        if import.try_wait().expect("is watched").is_some() {
            break;
        }
        // Sometimes the server goes first, and comes back elsewhere.
        if round % 3 == 2 {
            server.kill();
            import.kill().expect("is killed");
            server = Server::start(&store);
        } else {
            import.kill().expect("is killed");
        }
        import.wait().expect("ends");
        interrupted += 1;
    }
    assert!(start(&server).wait().expect("ends").success());
    assert!(interrupted >= 2, "it was interrupted {interrupted} times: that proves little");
    in_order(&server.client, &events);
}

const IMPORT: &str = "/v1/events/import";
const LINES: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

fn import(client: &Client, path: &str, events: &[Value]) -> Vec<Value> {
    let lines: Vec<_> = events.iter().map(Value::to_string).collect();
    let answer = client.send("POST", path, &LINES, lines.join("\n").as_bytes()).ok();
    assert_eq!(answer.header("content-type"), LINES.first().map(|(_, value)| *value));
    answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn given(id: &str, kind: &str, stream: &str, data: &Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/s", "type": kind, "subject": stream,
        "data": data})
}

#[test]
fn lines_are_recorded_in_their_order_up_to_the_first_that_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    let event = |n: u64| given(&n.to_string(), "Paid", "till-1", &json!({"amount": n}));
    let path = format!("{IMPORT}?batch=3");
    let answers = import(client, &path, &(1..=7).map(event).collect::<Vec<_>>());
    let far = |line: u64, known: u64| {
        json!({"line": line, "events": line, "known": known,
        "position": line})
    };
    let mut last = far(7, 0);
    last["status"] = json!(200);
    assert_eq!(answers, [far(3, 0), far(6, 0), far(7, 0), last]);
    // Each is an append of its own.
    let events = client.all_events();
    let decisions: Vec<_> = events.iter().map(|event| event["decision"].as_u64()).collect();
    assert!(decisions[0] == decisions[2] && decisions[2] != decisions[3]);
    assert_eq!(
        import(client, IMPORT, &[]),
        [json!({"line": 0, "events": 0, "known": 0,
        "position": 0, "status": 200})]
    );

    // Whatever is wrong with line 6, no later one is recorded, and many are on their way.
    let schema = json!({"properties": {"amount": {"maximum": 1_000_000}}}).to_string();
    let json_type = [("content-type", "application/json")];
    client.send("PUT", "/v1/schemas/Paid/1", &json_type, schema.as_bytes());
    let long = "x".repeat(2 << 20);
    for (wrong, code, pointer, before) in [
        (
            given("f", "Paid", "till-1", &json!({"amount": 2_000_000})),
            "schema_violation",
            "/data/amount",
            3,
        ),
        (given("1", "Paid", "till-1", &json!({"amount": 5})), "event_id_reused", "", 3),
        (given("f", "Paid", "no stream", &json!(1)), "invalid_body", "/subject", 5),
        (json!({"specversion": "1.0"}), "invalid_body", "/id", 5),
        (json!([1, 2]), "invalid_body", "", 5),
        (json!(long), "body_too_large", "", 5),
    ] {
        let offset = client.all_events().len() as u64;
        let mut events: Vec<_> = (1..=3_000).map(|n| event(offset * 10_000 + n)).collect();
        for event in &mut events {
            event["data"]["amount"] = json!(1);
        }
        events[5] = wrong;
        let answers = import(client, &path, &events);
        let problem = answers.last().expect("a problem");
        assert_eq!((&problem["line"], &problem["code"]), (&json!(6), &json!(code)), "{problem}");
        if !pointer.is_empty() {
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
        let recorded = client.all_events();
        assert_eq!(recorded.len() as u64, offset + before, "{code}");
        let newest = recorded.last().expect("some")["id"].clone();
        assert_eq!(newest, events[usize::try_from(before).expect("fits") - 1]["id"]);
    }
}

#[test]
fn what_comes_twice_in_one_import_is_recorded_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let event = |n: u64| {
        given(&(n % 700).to_string(), "Swept", &format!("till-{}", n % 7), &json!(n % 700))
    };
    let events: Vec<_> = (0..3_000).map(event).collect();
    for batch in [1, 50, 1_000] {
        let answers = import(&server.client, &format!("{IMPORT}?batch={batch}"), &events);
        let last = answers.last().expect("an answer");
        let known = if batch == 1 { json!(2_300) } else { json!(3_000) };
        assert_eq!((&last["events"], &last["status"]), (&json!(3_000), &json!(200)), "{last}");
        // In one append, what comes twice is one new event.
        assert_eq!(last["known"], known, "{last}");
        assert_eq!(server.client.all_events().len(), 700);
    }
}

#[test]
fn an_import_into_streams_that_a_module_owns_is_folded_in_order() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [from, to] = [&dirs[0], &dirs[1]].map(|dir| Server::start(dir.path()));
    from.install(account());
    to.install(account());
    for id in 1..=3 {
        let path = format!("/v1/aggregates/account/{id}/commands");
        from.client.post(&format!("{path}/open"), &json!({"owner": "Ann"})).ok();
        for amount in 1..=20 {
            from.client.post(&format!("{path}/deposit"), &json!({"amount": amount})).ok();
        }
    }
    let mut events = export(&from, &[]);
    let last = import(&to.client, &format!("{IMPORT}?batch=4"), &events).pop();
    assert_eq!(last.expect("an answer")["status"], 200);
    assert_eq!(kept(&export(&to, &[])), kept(&events));
    for id in 1..=3 {
        let state = |server: &Server| {
            server.client.get(&format!("/v1/aggregates/account/{id}")).ok().json["state"].clone()
        };
        assert_eq!(state(&to), state(&from));
    }
    events[0]["id"] = json!("another");
    events[0]["type"] = json!("NeverHeardOf");
    let last = import(&to.client, IMPORT, &events).pop().expect("an answer");
    assert_eq!((&last["code"], &last["line"]), (&json!("not_foldable"), &json!(1)), "{last}");
}

#[test]
fn an_import_that_asks_for_what_there_is_not_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    let send = |path: &str, headers: &[(&str, &str)]| {
        let line = given("1", "T", "s-1", &json!(1)).to_string();
        client.send("POST", path, headers, line.as_bytes())
    };
    let json = [("content-type", "application/json")];
    send(IMPORT, &json).problem(415, "unsupported_media_type");
    for query in ["batch=0", "batch=1001", "batch=x", "batch=1&batch=2", "atomic=true"] {
        send(&format!("{IMPORT}?{query}"), &LINES).problem(400, "invalid_parameter");
    }
    let key = [LINES[0], ("idempotency-key", "k")];
    send(IMPORT, &key).problem(400, "invalid_precondition");
    let talk = [LINES[0], ("factum-correlation-id", "talk")];
    assert_eq!(send(IMPORT, &talk).status, 200);
    assert_eq!(client.all_events()[0]["correlation_id"], "talk");
}
