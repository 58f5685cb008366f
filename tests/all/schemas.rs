//! What a manifest says its data looks like, held when commands come and when events are answered;
//! its examples, tried before it is active; its projections, compared with those before.

use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, Server, account, counting, counting_indexed, flights, parcels, parcels_moody,
    parcels_projection_v2, parcels_relabelled, workspace,
};

fn tell(client: &Client, command: &str, data: &Value) -> Answer {
    client.post(&format!("/v1/aggregates/parcel/1/commands/{command}"), data)
}

#[test]
fn a_command_that_does_not_fit_its_schema_is_answered_with_the_places() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(parcels());
    let client = &server.client;
    let pointers = |data: &Value| {
        let answer = tell(client, "send", data);
        let errors = answer.json["errors"].as_array().expect("errors").clone();
        answer.problem(400, "invalid_command");
        errors.iter().map(|error| error["pointer"].as_str().expect("a place").to_owned()).collect()
    };
    let pointers: Vec<Vec<String>> = [
        json!({}),
        json!({"to": "Oslo", "grams": 0}),
        json!({"to": "", "grams": 30_001}),
        json!({"to": "oslo", "grams": 1.5}),
        json!([]),
    ]
    .iter()
    .map(pointers)
    .collect();
    assert_eq!(pointers[0], ["", ""]);
    assert_eq!(pointers[1], ["/grams"]);
    assert!(pointers[2].iter().any(|pointer| pointer == "/to"), "{pointers:?}");
    assert!(pointers[2].iter().any(|pointer| pointer == "/grams"), "{pointers:?}");
    assert!(pointers[3].iter().any(|pointer| pointer == "/to"), "{pointers:?}");
    assert_eq!(pointers[4], [""]);
    // Of many commands each has its own answer.
    let lines = [
        json!({"aggregate": "parcel", "id": "1", "command": "send", "data": {"to": 7}}),
        json!({"aggregate": "parcel", "id": "1", "command": "send",
            "data": {"to": "Oslo", "grams": 5, "colour": "red"}}),
    ];
    let body = lines.map(|line| line.to_string()).join("\n");
    let headers = [("content-type", "application/x-ndjson")];
    let answers = client.send("POST", "/v1/commands", &headers, body.as_bytes()).ok();
    let statuses: Vec<_> = answers
        .text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["status"].clone())
        .collect();
    assert_eq!(statuses, [400, 200]);
    assert_eq!(client.all_events().len(), 1);
}

#[test]
fn an_event_that_does_not_fit_its_own_schema_is_a_fault_and_nothing_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(parcels());
    let detail = tell(&server.client, "mislabel", &json!({})).problem(500, "module_fault");
    assert!(detail.contains("\"Sent\"") && detail.contains("/grams"), "{detail}");
    assert_eq!(server.client.all_events(), Vec::<Value>::new());
    tell(&server.client, "send", &json!({"to": "Oslo", "grams": 1})).ok();
}

#[test]
fn examples_are_tried_before_a_version_is_active() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.client.upload(parcels()).ok();
    let checks = server.client.activate("parcels", "1.0.0").ok().json["checks"].clone();
    // Two examples of one command, one of another, and a command without.
    assert_eq!(checks["calls"], 4, "{checks}");
    server.client.upload(parcels_moody()).ok();
    let detail = server.client.activate("parcels", "1.3.0").problem(422, "activation_refused");
    assert!(detail.contains("hidden state") && detail.contains(r#"{"moody":true}"#), "{detail}");
}

#[test]
fn a_projection_goes_on_under_its_version_only_with_the_same_documents() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(parcels());
    for n in 0..100 {
        let to = ["Oslo", "Bergen", "Rome"][n % 3];
        tell(&server.client, "send", &json!({"to": to, "grams": n + 1})).ok();
    }
    let rows = |server: &Server| {
        let path = "/v1/read-models/places?min_position=100&wait=30";
        server.client.get(path).ok().json["rows"].clone()
    };
    let before = rows(&server);
    server.client.upload(parcels_relabelled()).ok();
    let detail = server.client.activate("parcels", "1.1.0").problem(422, "activation_refused");
    for said in ["places", "\"Bergen\"", "version 1", "1.0.0", "higher version", "grams"] {
        assert!(detail.contains(said), "{said} in {detail}");
    }
    assert_eq!(rows(&server), before);
    // Under a higher version it is built anew.
    server.install(parcels_projection_v2());
    let is_there = || {
        let status = server.client.get("/v1/projections/places").ok().json;
        let is_there = status["version"] == 2 && status["build"].is_null();
        if !is_there {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        is_there
    };
    assert!((0..3_000).any(|_| is_there()), "it is never there");
    let after = rows(&server);
    assert_eq!(after[0]["document"]["grams"].as_u64(), {
        before[0]["document"]["grams"].as_u64().map(|grams| grams * 1_000)
    });
}

#[test]
fn an_index_may_be_added_to_a_projection_that_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting());
    let client = &server.client;
    let events: Vec<_> = (0..300).map(|_| json!({"type": "Counted", "data": {}})).collect();
    for stream in ["c-1", "c-2"] {
        let path = format!("/v1/streams/{stream}/events");
        client.post(&path, &json!({"events": events})).ok();
    }
    let version = client.upload(counting_indexed()).ok().json["version"].clone();
    let version = version.as_str().expect("a version");
    let checks = client.activate("counting", version).ok().json["checks"].clone();
    // Of the other one there was nothing to compare.
    assert_eq!(checks["projections"], 1, "{checks}");
}

#[test]
fn every_modules_manifest_satisfies_the_published_schema() {
    let path = workspace().join("wit").join("manifest.schema.json");
    let schema: Value =
        serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("is JSON");
    let schema = jsonschema::draft202012::new(&schema).expect("is a schema");
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    for component in [account(), flights(), counting(), parcels()] {
        let uploaded = server.client.upload(component).ok().json;
        let manifest = &uploaded["manifest"];
        assert!(manifest["contract"].is_string(), "{uploaded}");
        let faults: Vec<_> = schema.iter_errors(manifest).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
    for wrong in [
        json!({}),
        json!({"name": "A", "version": "1.0.0", "contract": "0.1.0"}),
        json!({"name": "a", "version": "1", "contract": "0.1.0"}),
        json!({"name": "a", "version": "1.0.0", "contract": "0.1.0", "projections": [{"name": "p"}]}),
    ] {
        assert!(!schema.is_valid(&wrong), "{wrong}");
    }
}
