//! Schemas of event types: tried against what is recorded, held against what comes, for ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, account};

fn server() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (Server::start(dir.path()), dir)
}

fn declare(client: &Client, path: &str, schema: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    let path = format!("/v1/schemas/{path}");
    client.send("PUT", &path, &headers, schema.to_string().as_bytes())
}

fn append(client: &Client, events: &Value) -> Answer {
    client.post("/v1/events", &json!({"events": events}))
}

fn pointers(answer: &Answer) -> Vec<&str> {
    let errors = answer.json["errors"].as_array().expect("errors").iter();
    errors.map(|error| error["pointer"].as_str().expect("a place")).collect()
}

fn amounts() -> Value {
    json!({"type": "object", "required": ["amount"],
        "properties": {"amount": {"type": "integer", "minimum": 1}}})
}

#[test]
fn a_schema_is_declared_once_and_holds_across_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    let good = json!([{"type": "Paid", "data": {"amount": 5}},
        {"type": "Paid", "schema_version": 2, "data": {}}, {"type": "Other", "data": []}]);
    append(client, &good).ok();
    let first = declare(client, "Paid/1", &amounts());
    assert_eq!((first.status, &first.json["tried"]), (201, &json!(1)), "{}", first.text);
    let decision = first.json["decision"].as_u64().expect("a number");
    let record = client.get(&format!("/v1/decisions/{decision}")).ok().json;
    assert_eq!(record["act"]["subject"], "Paid@1");
    assert_eq!(record["act"]["value"], amounts());
    // In another order it is the same.
    let body = br#"{"properties":{"amount":{"minimum":1,"type":"integer"}},"required":["amount"],
        "type":"object"}"#;
    let headers = [("content-type", "application/json")];
    assert_eq!(client.send("PUT", "/v1/schemas/Paid/1", &headers, body).status, 200);
    declare(client, "Paid/1", &json!({})).problem(409, "schema_exists");
    assert_eq!(declare(client, "A%2FB@c/7", &json!(false)).status, 201);
    let check = |client: &Client| {
        let bad = append(
            client,
            &json!([{"type": "Paid", "data": {"amount": 1}},
            {"type": "Paid", "data": {"amount": 0}}]),
        );
        assert_eq!(pointers(&bad), ["/events/1/data/amount"]);
        bad.problem(422, "schema_violation");
        let bad = append(
            client,
            &json!([{"type": "Paid", "datacontenttype": "text/plain",
            "data_base64": "aGk="}]),
        );
        assert_eq!(pointers(&bad), ["/events/0/data"]);
        bad.problem(422, "schema_violation");
        let data = json!({"amount": "5"});
        let cloud = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "Paid",
            "data": data});
        let media = [("content-type", "application/cloudevents-batch+json")];
        let body = json!([cloud]).to_string();
        let bad = client.send("POST", "/v1/events", &media, body.as_bytes());
        assert_eq!(pointers(&bad), ["/0/data/amount"]);
        let none =
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "Paid")];
        client.send("POST", "/v1/events", &none, b"").problem(422, "schema_violation");
        append(client, &json!([{"type": "A/B@c", "schema_version": 7}]))
            .problem(422, "schema_violation");
        assert_eq!(client.all_events().len(), 3);
        let one = client.get("/v1/schemas/Paid/1").ok().json;
        assert_eq!((&one["schema"], &one["decision"]), (&amounts(), &json!(decision)));
        let list = client.get("/v1/schemas").ok().json["schemas"].clone();
        let names: Vec<_> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|schema| (schema["type"].clone(), schema["version"].clone()))
            .collect();
        assert_eq!(names, [(json!("A/B@c"), json!(7)), (json!("Paid"), json!(1))]);
    };
    check(client);
    server.kill();
    let server = Server::start(dir.path());
    check(&server.client);
    server.stop();
    std::fs::remove_file(dir.path().join("index.redb")).expect("is there");
    let server = Server::start(dir.path());
    check(&server.client);
    append(&server.client, &good).ok();
}

#[test]
fn a_schema_that_recorded_events_break_is_refused_and_does_not_hold() {
    let (server, _dir) = server();
    let client = &server.client;
    for chunk in 0..5 {
        let event = |n: u64| json!({"type": "Paid", "data": {"amount": (chunk * 700 + n) % 1_750}});
        append(client, &Value::Array((0..700).map(event).collect())).ok();
    }
    let answer = declare(client, "Paid/1", &amounts());
    assert_eq!(answer.json["position"], 1);
    let broken: Vec<_> = answer.json["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| (error["position"].clone(), error["pointer"].clone()))
        .collect();
    assert_eq!(broken, [(json!(1), json!("/amount")), (json!(1_751), json!("/amount"))]);
    answer.problem(422, "schema_broken");
    append(client, &json!([{"type": "Paid", "data": {}}])).ok();
    client.get("/v1/schemas/Paid/1").problem(404, "unknown_schema");
    // How far it is, and what came of it, a line each.
    let headers = [("content-type", "application/json"), ("accept", "application/x-ndjson")];
    let lines = |schema: &Value| {
        let body = schema.to_string();
        let answer = client.send("PUT", "/v1/schemas/Paid/1", &headers, body.as_bytes()).ok();
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let parse = |line| serde_json::from_str::<Value>(line).expect("JSON");
        answer.text.lines().map(parse).collect::<Vec<_>>()
    };
    let refused = lines(&amounts());
    assert_eq!(refused.last().expect("a line")["code"], "schema_broken");
    let taken = lines(&json!({"type": "object"}));
    let (last, reports) = taken.split_last().expect("a line");
    assert_eq!((&last["status"], &last["tried"]), (&json!(201), &json!(3_501)));
    let tried: Vec<_> = reports.iter().map(|line| line["tried"].as_u64()).collect();
    assert!(tried.len() >= 4 && tried.is_sorted(), "{tried:?}");
    assert_eq!(tried.last(), Some(&Some(3_501)));
    assert!(reports.iter().all(|line| line["head"] == 3_501));
}

#[test]
fn what_cannot_be_a_schema_is_refused_with_the_reason() {
    let (server, _dir) = server();
    let client = &server.client;
    for (schema, said) in [
        (json!({"$ref": "https://example.com/schema"}), "is no place in it"),
        (json!({"type": "number of coins"}), "/type"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "2020-12"),
        (json!({"properties": {"next": {"$ref": "#"}}}), "refers to itself"),
    ] {
        let detail = declare(client, "Paid/1", &schema).problem(422, "invalid_schema");
        assert!(detail.contains(said), "{said} in {detail}");
    }
    for path in ["Paid/0", "Paid/x", "Paid/4294967296", "%20Paid/1"] {
        declare(client, path, &json!({})).problem(400, "invalid_name");
    }
    assert_eq!(client.get("/v1/schemas").ok().json, json!({"schemas": []}));
}

#[test]
fn what_a_module_decides_is_held_to_it_too() {
    let (server, _dir) = server();
    server.install(account());
    let client = &server.client;
    let tell = |command: &str, data: Value| {
        client.post(&format!("/v1/aggregates/account/1/commands/{command}"), &data)
    };
    tell("open", json!({"owner": "Ann"})).ok();
    let deposited = tell("deposit", json!({"amount": 5})).ok().json["events"][0]["type"].clone();
    let deposited = deposited.as_str().expect("a type");
    let schema = json!({"properties": {"amount": {"maximum": 10}}});
    assert_eq!(declare(client, &format!("{deposited}/1"), &schema).status, 201);
    let detail = tell("deposit", json!({"amount": 11})).problem(500, "module_fault");
    assert!(detail.contains("the type's schema") && detail.contains("/amount"), "{detail}");
    tell("deposit", json!({"amount": 10})).ok();
    assert_eq!(client.all_events().len(), 3);
}

/// Events that break it are on their way all the time: each is recorded, and the schema refused,
/// or the schema holds, and none is.
#[test]
fn no_event_slips_past_a_schema_that_is_being_declared() {
    let (server, _dir) = server();
    let client = &server.client;
    let mut held = 0;
    for round in 0..30 {
        let (stop, bad) = (AtomicBool::new(false), AtomicU64::new(0));
        let name = format!("Paid{round}");
        let status = std::thread::scope(|scope| {
            for writer in 0..4 {
                let (client, stop, bad, name) = (client.clone(), &stop, &bad, &name);
                scope.spawn(move || {
                    for n in 0..1_000 {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        // Rarely a breaking one, so that the schema sometimes wins.
                        let amount = u64::from((n + writer * 7) % 40 != 39);
                        let event = json!({"type": name, "data": {"amount": amount}});
                        let answer = append(&client, &json!([event]));
                        if amount == 0 && answer.status == 200 {
                            bad.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(round % 7 * 3));
            let status = declare(client, &format!("{name}/1"), &amounts()).status;
            std::thread::sleep(std::time::Duration::from_millis(10));
            stop.store(true, Ordering::Relaxed);
            status
        });
        let page = client.get(&format!("/v1/events?type={name}&limit=1000")).ok().json;
        let recorded = page["events"].as_array().expect("events").clone();
        let broken = recorded.iter().filter(|event| event["data"]["amount"] == 0).count();
        assert_eq!(broken as u64, bad.load(Ordering::Relaxed));
        match status {
            201 => assert_eq!(broken, 0, "round {round}"),
            422 => assert!(broken > 0, "round {round}"),
            other => panic!("round {round}: {other}"),
        }
        held += u64::from(status == 201);
    }
    assert!(held > 0, "no schema was ever taken: the test proves little");
}
