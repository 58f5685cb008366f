//! What is sent comes back; what makes no sense is refused with its place.

use serde_json::{Value, json};

use super::{EVENTS, append, server};
use crate::harness::Server;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[test]
fn json_text_and_binary_come_back_exactly() {
    let (server, _dir) = server();
    let body = concat!(
        "{ \"events\" : [\n",
        "{\"type\":\"A\",\"data\":{ \"z\" : 9007199254740993, \"a\": [1.50, -0, 1e400,\t\"\\u00e9 é\"] }},\n",
        "{\"type\":\"B\",\"data\": null},\n",
        "{\"type\":\"C\",\"data\":\"  spaces  stay \"},\n",
        "{\"type\":\"D\",\"datacontenttype\":\"application/json\",\"data\":123456789012345678901234567890},\n",
        "{\"type\":\"E\",\"datacontenttype\":\"application/json\",\"data_base64\":\"eyAiYSIgOiAxLjAgfQ==\"}\n",
        "]}"
    );
    server.client.send("POST", EVENTS, &JSON, body.as_bytes()).ok();
    let kept = [
        "{\"z\":9007199254740993,\"a\":[1.50,-0,1e400,\"\\u00e9 é\"]}",
        "null",
        "\"  spaces  stay \"",
        "123456789012345678901234567890",
        "{\"a\":1.0}",
    ];
    let page = server.client.get(EVENTS).ok().text;
    for (position, kept) in (1..).zip(kept) {
        let part = format!("\"datacontenttype\":\"application/json\",\"data\":{kept},");
        let one = server.client.get(&format!("/v1/events/{position}")).ok().text;
        assert!(one.contains(&part), "{part} in {one}");
        assert!(page.contains(&part), "{part} in {page}");
        assert!(!one.contains("data_base64"), "{one}");
    }

    for (content_type, base64) in [
        ("text/plain; charset=utf-8", "IGhpLCBncsO2w59lciEK"),
        ("application/octet-stream", "AAECA/8="),
        ("application/vnd.own+json", "eyAiYSIgOiAxIH0="),
        ("text/csv", ""),
    ] {
        let event = json!({"type": "F", "datacontenttype": content_type, "data_base64": base64});
        let position =
            append(&server.client, &json!({"events": [event]})).ok().json["position"].clone();
        let event = server.client.get(&format!("/v1/events/{position}")).ok().json;
        assert_eq!(event["datacontenttype"], content_type);
        assert_eq!(event["data_base64"], base64);
        assert_eq!(event.get("data"), None);
    }
}

/// Sends bodies that must be refused: each with the problem's code and a part of its detail.
fn refused(server: &Server, path: &str, cases: &[(String, &str, &str)]) {
    for (sent, code, said) in cases {
        let detail = server.client.send("POST", path, &JSON, sent.as_bytes()).problem(400, code);
        assert!(detail.contains(said), "{sent}: {detail}");
    }
    assert_eq!(server.client.all_events(), Vec::<Value>::new(), "something was appended");
}

const BODY: &str = "invalid_body";
const NAME: &str = "invalid_name";
const ONE: &str = r#"{"type":"A"}"#;

#[test]
fn events_that_make_no_sense_get_a_problem_each() {
    let (server, _dir) = server();
    let many_tags = format!(r#""type":"A","tags":[{}"x"]"#, r#""x","#.repeat(100));
    let text = r#""type":"A","datacontenttype":"text/plain""#;
    let cases = [
        (r#""data":1"#, BODY, "`type`"),
        (r#""type":"A","kind":"B""#, BODY, "`kind`"),
        (r#""type":7"#, BODY, "/events/1"),
        (r#""type":"A","type":"B""#, "invalid_json", "twice"),
        (r#""type":"A","data":{"a":1,"a":2}"#, "invalid_json", "twice"),
        (r#""type":" A""#, NAME, "/events/1/type"),
        (r#""type":"A","tags":["x",""]"#, NAME, "/events/1/tags/1"),
        (&many_tags, BODY, "event_tags"),
        (r#""type":"A","stream":"nodash""#, NAME, "/events/1/stream"),
        (r#""type":"A","schema_version":0"#, BODY, "/events/1/schema_version"),
        (r#""type":"A","schema_version":-1"#, BODY, "/events/1"),
        (r#""type":"A","time":"yesterday""#, BODY, "/events/1/time"),
        (r#""type":"A","time":"1969-12-31T23:59:59Z""#, BODY, "/events/1/time"),
        (r#""type":"A","data":1,"data_base64":"""#, BODY, "exclude"),
        (&format!(r#"{text},"data":"x""#), BODY, "data_base64"),
        (text, BODY, "data_base64"),
        (r#""type":"A","data_base64":"aGk=""#, BODY, "datacontenttype"),
        (&format!(r#"{text},"data_base64":"?""#), BODY, "base64"),
        (r#""type":"A","datacontenttype":"text","data_base64":"""#, BODY, "media type"),
        (
            r#""type":"A","datacontenttype":"application/json","data_base64":"ew==""#,
            BODY,
            "not JSON",
        ),
    ]
    .map(|(fields, code, said)| (format!("{{\"events\":[{ONE},{{{fields}}}]}}"), code, said));
    refused(&server, EVENTS, &cases);
}

#[test]
fn expectations_and_conditions_that_make_no_sense_get_a_problem_each() {
    let (server, _dir) = server();
    let cases = [
        (r#""expect":[]"#, BODY, "`expect`"),
        (r#""expected":[{"stream":"a-1"}]"#, BODY, "`version`"),
        (r#""expected":[{"stream":"a-1","version":-1}]"#, BODY, "/expected/0/version"),
        (r#""expected":[{"stream":"a-1","version":null}]"#, BODY, "/expected/0/version"),
        (r#""expected":[{"stream":"a","version":1}]"#, NAME, "/expected/0/stream"),
        (r#""condition":{"queries":[]}"#, BODY, "`queries`"),
        (r#""condition":{"query":[{"tag":[]}]}"#, BODY, "`tag`"),
        (r#""condition":{"query":[{"types":[""]}]}"#, NAME, "/condition/query/0/types/0"),
        (r#""condition":{"query":[],"after":-1}"#, BODY, "/condition"),
    ]
    .map(|(rest, code, said)| (format!("{{\"events\":[{ONE}],{rest}}}"), code, said));
    refused(&server, EVENTS, &cases);
}

#[test]
fn appends_that_make_no_sense_get_a_problem_each() {
    let (server, _dir) = server();
    let many = format!("{{\"events\":[{}{ONE}]}}", format!("{ONE},").repeat(1000));
    let cases = [
        ("", BODY, "`events`"),
        ("{}", BODY, "`events`"),
        ("[]", BODY, "object"),
        ("7", BODY, "object"),
        ("{\"events\":[]}", BODY, "/events"),
        ("{\"events\":{}}", BODY, "sequence"),
        ("{\"events\":[7]}", BODY, "/events/0"),
        ("{\"events\":[[\"A\"]]}", BODY, "/events/0"),
        (&many, BODY, "append_events"),
        ("{\"events\":", "invalid_json", "byte"),
    ]
    .map(|(sent, code, said)| (sent.to_owned(), code, said));
    refused(&server, EVENTS, &cases);
    let cases = [
        (r#"{"events":[{"type":"A"}],"expected":[]}"#, BODY, "`expected`"),
        (r#"{"events":[{"type":"A","stream":"a-2"}]}"#, BODY, "/events/0/stream"),
        (r#"{"events":[]}"#, BODY, "/events"),
    ]
    .map(|(sent, code, said)| (sent.to_owned(), code, said));
    refused(&server, "/v1/streams/a-1/events", &cases);
    refused(&server, "/v1/streams/nodash/events", &[(many, NAME, "stream")]);

    let one = json!({"events": [{"type": "A"}]});
    server.client.post("/v1/events?dry_run=true", &one).problem(400, "invalid_parameter");
    let text = [("content-type", "text/plain")];
    server.client.send("POST", EVENTS, &text, b"{}").problem(415, "unsupported_media_type");
    let large = json!({"events": [{"type": "A", "data": "x".repeat(2 << 20)}]});
    server.client.post(EVENTS, &large).problem(413, "body_too_large");
    assert_eq!(server.client.all_events(), Vec::<Value>::new(), "something was appended");
}
