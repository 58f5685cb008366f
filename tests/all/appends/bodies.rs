//! What is sent comes back; what makes no sense is refused with its place.

use serde_json::{Value, json};

use super::{EVENTS, append, server};

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

#[test]
fn appends_that_make_no_sense_get_a_problem_each() {
    let (server, _dir) = server();
    let event = |fields: &str| format!("{{\"events\":[{{\"type\":\"A\"}},{{{fields}}}]}}");
    let with = |rest: &str| format!("{{\"events\":[{{\"type\":\"A\"}}],{rest}}}");
    let many = format!("{{\"events\":[{}{{\"type\":\"A\"}}]}}", "{\"type\":\"A\"},".repeat(1000));
    let tags = event(&format!("\"type\":\"A\",\"tags\":[{}\"x\"]", "\"x\",".repeat(100)));
    let body = "invalid_body";
    let cases: Vec<(String, &str, &str)> = vec![
        (String::new(), body, "`events`"),
        ("{}".into(), body, "`events`"),
        ("[]".into(), body, "object"),
        ("7".into(), body, "object"),
        ("{\"events\":[]}".into(), body, "/events"),
        ("{\"events\":{}}".into(), body, "sequence"),
        ("{\"events\":[7]}".into(), body, "/events/0"),
        ("{\"events\":[[\"A\"]]}".into(), body, "/events/0"),
        (many, body, "append_events"),
        (with("\"expect\":[]"), body, "`expect`"),
        (event("\"data\":1"), body, "`type`"),
        (event("\"type\":\"A\",\"kind\":\"B\""), body, "`kind`"),
        (event("\"type\":7"), body, "/events/1"),
        (event("\"type\":\"A\",\"type\":\"B\""), "invalid_json", "twice"),
        (event("\"type\":\"A\",\"data\":{\"a\":1,\"a\":2}"), "invalid_json", "twice"),
        (event("\"type\":\" A\""), "invalid_name", "/events/1/type"),
        (event("\"type\":\"A\",\"tags\":[\"x\",\"\"]"), "invalid_name", "/events/1/tags/1"),
        (tags, body, "event_tags"),
        (event("\"type\":\"A\",\"stream\":\"nodash\""), "invalid_name", "/events/1/stream"),
        (event("\"type\":\"A\",\"schema_version\":0"), body, "/events/1/schema_version"),
        (event("\"type\":\"A\",\"schema_version\":-1"), body, "/events/1"),
        (event("\"type\":\"A\",\"time\":\"yesterday\""), body, "/events/1/time"),
        (event("\"type\":\"A\",\"time\":\"1969-12-31T23:59:59Z\""), body, "/events/1/time"),
        (event("\"type\":\"A\",\"data\":1,\"data_base64\":\"\""), body, "exclude"),
        (
            event("\"type\":\"A\",\"data\":\"x\",\"datacontenttype\":\"text/plain\""),
            body,
            "data_base64",
        ),
        (event("\"type\":\"A\",\"datacontenttype\":\"text/plain\""), body, "data_base64"),
        (event("\"type\":\"A\",\"data_base64\":\"aGk=\""), body, "datacontenttype"),
        (event("\"type\":\"A\",\"datacontenttype\":\"a/b\",\"data_base64\":\"?\""), body, "base64"),
        (
            event("\"type\":\"A\",\"datacontenttype\":\"text\",\"data_base64\":\"\""),
            body,
            "media type",
        ),
        (
            event(
                "\"type\":\"A\",\"datacontenttype\":\"application/json\",\"data_base64\":\"ew==\"",
            ),
            body,
            "not JSON",
        ),
        (with("\"expected\":[{\"stream\":\"a-1\"}]"), body, "`version`"),
        (with("\"expected\":[{\"stream\":\"a-1\",\"version\":-1}]"), body, "/expected/0/version"),
        (with("\"expected\":[{\"stream\":\"a-1\",\"version\":null}]"), body, "/expected/0/version"),
        (
            with("\"expected\":[{\"stream\":\"a\",\"version\":1}]"),
            "invalid_name",
            "/expected/0/stream",
        ),
        (with("\"condition\":{\"queries\":[]}"), body, "`queries`"),
        (with("\"condition\":{\"query\":[{\"tag\":[]}]}"), body, "`tag`"),
        (
            with("\"condition\":{\"query\":[{\"types\":[\"\"]}]}"),
            "invalid_name",
            "/condition/query/0/types/0",
        ),
        (with("\"condition\":{\"query\":[],\"after\":-1}"), body, "/condition"),
        ("{\"events\":".into(), "invalid_json", "byte"),
    ];
    for (sent, code, said) in &cases {
        let detail = server.client.send("POST", EVENTS, &JSON, sent.as_bytes()).problem(400, code);
        assert!(detail.contains(said), "{sent}: {detail}");
    }
    let of_stream = "/v1/streams/a-1/events";
    for (sent, said) in [
        (with("\"expected\":[]"), "`expected`"),
        (event("\"type\":\"A\",\"stream\":\"a-2\""), "/events/1/stream"),
        ("{\"events\":[]}".into(), "/events"),
    ] {
        let detail =
            server.client.send("POST", of_stream, &JSON, sent.as_bytes()).problem(400, body);
        assert!(detail.contains(said), "{sent}: {detail}");
    }
    let one = json!({"events": [{"type": "A"}]});
    server.client.post("/v1/streams/nodash/events", &one).problem(400, "invalid_name");
    server.client.post("/v1/events?dry_run=true", &one).problem(400, "invalid_parameter");
    let text = [("content-type", "text/plain")];
    server.client.send("POST", EVENTS, &text, b"{}").problem(415, "unsupported_media_type");
    let large = format!("{{\"events\":[{{\"type\":\"A\",\"data\":\"{}\"}}]}}", "x".repeat(2 << 20));
    server.client.send("POST", EVENTS, &JSON, large.as_bytes()).problem(413, "body_too_large");
    assert_eq!(server.client.all_events(), Vec::<Value>::new(), "something was appended");
}
