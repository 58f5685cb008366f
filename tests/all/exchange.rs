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
    for (line, said) in [
        (r#"{"specversion":"1.0","source":"/s","type":"T"}"#, "/1/id"),
        ("{\"id\":", "invalid_json"),
        (r#"{"specversion":"1.0","id":"1","source":"/s","type":"Other"}"#, "event_id_reused"),
    ] {
        let told = refused(&import(&with(line)));
        assert!(told.contains("line 5: ") && told.contains(said), "{told}");
        assert!(told.contains("2 events before that are recorded"), "{told}");
        assert_eq!(server.client.all_events().len(), 2);
    }
    assert!(ok(&import(&good)).starts_with("4 events, of which 2 were there before"));
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
    let events = write_events(&file, 20_000);
    let store = dir.path().join("store");
    let mut server = Server::start(&store);
    let start = |server: &Server| {
        command()
            .args(["import", "--url", &server.client.base, "--batch", "50"])
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
