//! CloudEvents 1.0 over HTTP: in all modes, back again, and with the official SDK for Python.

mod python;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server};

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const EVENTS: &str = "/v1/events";

fn server() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (Server::start(dir.path()), dir)
}

fn send(client: &Client, path: &str, media: &str, body: &Value) -> Answer {
    client.send("POST", path, &[("content-type", media)], body.to_string().as_bytes())
}

fn get(client: &Client, path: &str, accept: &str) -> Answer {
    client.get_with(path, &[("accept", accept)])
}

/// A whole event with more attributes.
fn event(id: &str, more: &Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": id, "source": "/shop/1", "type": "Sold"});
    let fields = event.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    event
}

/// Without what the log adds.
fn plain(event: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().expect("an object");
    for name in ["globalposition", "streamversion", "recordedtime"] {
        fields.remove(name);
    }
    event
}

#[test]
fn an_event_comes_back_as_it_was_sent_in_every_mode() {
    let (server, _dir) = server();
    let client = &server.client;
    let first = event(
        "a-1",
        &json!({"subject": "till-1", "time": "2024-02-29T06:00:00.250Z", "schemaversion": 3,
            "datacontenttype": "application/json", "data": {"n": 1.5, "of": ["x", null]},
            "tags": "shop:1,red%2Cgreen", "correlationid": "talk-1", "causationid": "cause-1",
            "zone": "größe", "count": 7, "open": true, "dataschema": "https://a.example/s"}),
    );
    let answer = send(client, EVENTS, "Application/CloudEvents+JSON; charset=UTF-8", &first).ok();
    assert_eq!(answer.json["positions"], json!([1]));
    let more = [
        event("a-2", &json!({"time": "2024-02-29T06:00:01.000Z", "schemaversion": 1})),
        event(
            "a-3",
            &json!({"time": "2024-02-29T06:00:02.000Z", "schemaversion": 1,
            "datacontenttype": "image/png", "data_base64": "AP8B"}),
        ),
        event(
            "a-4",
            &json!({"time": "2024-02-29T06:00:03.000Z", "schemaversion": 1,
            "datacontenttype": "application/a+json", "data": [1, 2]}),
        ),
    ];
    let answer = send(client, EVENTS, BATCH, &json!(more)).ok();
    assert_eq!(answer.json["positions"], json!([2, 3, 4]));
    let headers = [
        ("ce-specversion", "1.0"),
        ("CE-ID", "a-5%20%E2%82%AC"),
        ("ce-source", "/shop/1"),
        ("ce-type", "Sold%20out"),
        ("ce-time", "2024-02-29T06:00:04Z"),
        ("ce-zone", "\"quoted \\\" one\""),
        ("ce-schemaversion", "2"),
        ("content-type", "text/plain; charset=utf-8"),
    ];
    client.send("POST", "/v1/streams/till-1/events", &headers, "größer".as_bytes()).ok();

    let page = get(client, EVENTS, BATCH).ok();
    assert_eq!(page.header("content-type"), Some(BATCH));
    assert_eq!(page.header("factum-position"), Some("5"));
    let events = page.json.as_array().expect("a batch").clone();
    assert_eq!(plain(&events[0]), first);
    for (sent, read) in more.iter().zip(&events[1..]) {
        assert_eq!(&plain(read), sent);
    }
    let binary = &events[4];
    assert_eq!((&binary["id"], &binary["type"]), (&json!("a-5 €"), &json!("Sold out")));
    assert_eq!((&binary["zone"], &binary["schemaversion"]), (&json!("quoted \" one"), &json!(2)));
    assert_eq!(binary["datacontenttype"], "text/plain; charset=utf-8");
    assert_eq!(binary["data_base64"], "Z3LDtsOfZXI=");
    assert_eq!((&binary["subject"], &binary["streamversion"]), (&json!("till-1"), &json!(2)));
    assert_eq!(events[0]["globalposition"], 1);
    assert!(events[0]["recordedtime"].is_string());
    every_answer_says_the_same(client, &events);
}

/// One event, a stream, a query and followers; and this API's own JSON lacks nothing of it.
fn every_answer_says_the_same(client: &Client, events: &[Value]) {
    let one = get(client, "/v1/events/1", ONE).ok();
    assert_eq!((one.header("content-type"), one.header("vary")), (Some(ONE), Some("accept")));
    assert_eq!(one.json, events[0]);
    let stream = get(client, "/v1/streams/till-1/events?limit=1", BATCH).ok();
    assert_eq!(stream.json, json!([events[0]]));
    assert!(stream.header("link").is_some_and(|link| link.contains("cursor=1")));
    assert_eq!(stream.header("factum-next"), Some("1"));
    let query = client.send(
        "POST",
        "/v1/events/query",
        &[("content-type", "application/json"), ("accept", BATCH)],
        br#"{"query":[{"tags":["red,green"]}]}"#,
    );
    assert_eq!(query.ok().json, json!([events[0]]));
    let path = "/v1/events?follow=false&format=cloudevents";
    let lines = get(client, path, "application/x-ndjson").ok().text;
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, events);
    let sent = get(client, path, "text/event-stream").ok().text;
    assert!(sent.contains("id: 5\ndata: {\"specversion\":\"1.0\",\"id\":\"a-5 €\""));
    let native = client.get("/v1/events/1").ok().json;
    assert_eq!((&native["id"], &native["source"]), (&json!("a-1"), &json!("/shop/1")));
    assert_eq!(native["extensions"]["zone"], "größe");
    assert_eq!(native["correlation_id"], "talk-1");
    let native = client.get("/v1/events/2").ok().json;
    assert_eq!((&native["datacontenttype"], &native["data_base64"]), (&Value::Null, &json!("")));
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_nothing_is_recorded() {
    let (server, _dir) = server();
    let client = &server.client;
    let whole = event("1", &json!({}));
    for media in [
        "application/cloudevents+avro",
        "application/cloudevents",
        "application/cloudevents-batch+avro",
        "application/cloudevents+json; charset=latin1",
    ] {
        send(client, EVENTS, media, &whole).problem(415, "unsupported_media_type");
    }
    let places = |answer: Answer| {
        let errors = answer.json["errors"].as_array().expect("errors").clone();
        answer.problem(400, "invalid_body");
        let place = |error: &Value| error["pointer"].as_str().expect("a place").to_owned();
        errors.iter().map(place).collect::<Vec<_>>()
    };
    let batch = json!([whole, {"specversion": "0.3", "id": "2"}]);
    assert_eq!(
        places(send(client, EVENTS, BATCH, &batch)),
        ["/1/specversion", "/1/source", "/1/type"]
    );
    assert_eq!(
        places(client.send("POST", EVENTS, &[("ce-id", "1")], b"")),
        ["/specversion", "/source", "/type"]
    );
    let binary = |more: &[(&str, &str)], body: &[u8]| {
        let mut headers =
            vec![("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "T")];
        headers.extend(more);
        client.send("POST", EVENTS, &headers, body)
    };
    assert_eq!(places(binary(&[("ce-zone", "%ff")], b"")), ["/zone"]);
    assert_eq!(places(binary(&[("ce-zone", "100%")], b"")), ["/zone"]);
    assert_eq!(places(binary(&[("ce-my-zone", "x")], b"")), ["/my-zone"]);
    assert_eq!(places(binary(&[("ce-data", "x")], b"")), ["/data"]);
    assert_eq!(places(binary(&[("content-type", "application/json")], b"{")), ["/data"]);
    assert_eq!(places(binary(&[("content-type", "application/json")], b"\"\xff\"")), ["/data"]);
    let elsewhere = event("1", &json!({"subject": "till-2"}));
    assert_eq!(places(send(client, "/v1/streams/till-1/events", ONE, &elsewhere)), ["/subject"]);
    send(client, EVENTS, ONE, &json!([whole])).problem(400, "invalid_body");
    let body = br#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"T"}"#;
    client.send("POST", EVENTS, &[("content-type", ONE)], body).problem(400, "invalid_json");
    assert_eq!(client.all_events(), Vec::<Value>::new());
    assert_eq!(get(client, EVENTS, BATCH).ok().json, json!([]));
}

#[test]
fn a_source_and_an_id_are_recorded_once_and_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    let to_till = |id: &str| event(id, &json!({"subject": "till-1", "data": {"n": id}}));
    let first =
        send(client, EVENTS, BATCH, &json!([to_till("1"), to_till("2"), to_till("1")])).ok();
    assert_eq!(first.json["positions"], json!([1, 2, 1]));
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = send(client, EVENTS, ONE, &to_till("2")).ok();
    assert_eq!(
        (&again.json["position"], again.header("idempotency-replayed")),
        (&json!(2), Some("true"))
    );
    // A precondition speaks of what is yet to come.
    let path = "/v1/streams/till-1/events";
    let new = [("content-type", ONE), ("if-none-match", "*")];
    let again = client.send("POST", path, &new, to_till("1").to_string().as_bytes()).ok();
    assert_eq!(again.json["stream_version"], 1);
    client
        .send("POST", path, &new, to_till("3").to_string().as_bytes())
        .problem(412, "version_conflict");
    let mixed = send(client, EVENTS, BATCH, &json!([to_till("2"), to_till("3")])).ok();
    assert_eq!(mixed.json["positions"], json!([2, 3]));
    // The same id from elsewhere is another event; the same one with other data is a mistake.
    let mut other = to_till("1");
    other["source"] = json!("/shop/2");
    assert_eq!(send(client, EVENTS, ONE, &other).ok().json["position"], 4);
    let changed = event("3", &json!({"subject": "till-1", "data": {"n": 7}}));
    let answer = send(client, EVENTS, BATCH, &json!([to_till("4"), changed]));
    assert_eq!(
        (&answer.json["position"], &answer.json["errors"][0]["pointer"]),
        (&json!(3), &json!("/1"))
    );
    answer.problem(422, "event_id_reused");
    // An own event is known by the id that was derived from its record.
    let native = json!({"events": [{"type": "Swept", "stream": "till-1"}, {"type": "Left"}]});
    assert_eq!(client.post(EVENTS, &native).ok().json["positions"], json!([5, 6]));
    let own = get(client, EVENTS, BATCH).ok().json;
    let own = own.as_array().expect("a batch")[4..].to_vec();
    let check = |client: &Client| {
        let again = send(client, EVENTS, BATCH, &json!(own)).ok();
        assert_eq!(again.json["positions"], json!([5, 6]));
        assert_eq!(send(client, EVENTS, ONE, &to_till("3")).ok().json["position"], 3);
        assert_eq!(client.all_events().len(), 6);
    };
    check(client);
    server.kill();
    let server = Server::start(dir.path());
    check(&server.client);
    server.stop();
    // Also when what is found by is made anew.
    std::fs::remove_file(dir.path().join("index.redb")).expect("is there");
    let server = Server::start(dir.path());
    check(&server.client);
}
