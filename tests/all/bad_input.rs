//! Whatever is sent, the answer is a problem that names the cause, and nothing is lost.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::harness::{Server, account};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[test]
fn requests_that_make_no_sense_get_a_problem_each() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    let deep = "[".repeat(100_000);
    let large = format!("{{\"owner\":\"{}\"}}", "x".repeat(2 << 20));
    let open = "/v1/aggregates/account/1/commands/open";
    let cases: &[(&str, &str, &[u8], u16, &str)] = &[
        ("POST", "/v1/aggregates/nobody/1/commands/open", b"{}", 404, "unknown_aggregate"),
        ("POST", "/v1/aggregates/account/1/commands/fly", b"{}", 404, "unknown_command"),
        ("POST", open, b"{\"owner\":", 400, "invalid_json"),
        ("POST", open, b"{\"owner\":\"a\",\"owner\":\"b\"}", 400, "invalid_json"),
        ("POST", open, b"\xff\xfe", 400, "invalid_json"),
        ("POST", open, deep.as_bytes(), 400, "invalid_json"),
        ("POST", open, b"{\"owner\":7}", 400, "invalid_command"),
        ("POST", open, b"{}", 400, "invalid_command"),
        ("POST", open, large.as_bytes(), 413, "body_too_large"),
        ("POST", "/v1/aggregates/account/..%2Fx/commands/open", b"{}", 400, "invalid_name"),
        ("POST", "/v1/aggregates/account/a%00b/commands/open", b"{}", 400, "invalid_name"),
        ("POST", "/v1/aggregates/account/%ff/commands/open", b"{}", 400, "invalid_name"),
        ("POST", "/v1/aggregates/Account/1/commands/open", b"{}", 400, "invalid_name"),
        ("GET", "/v1/streams/account/events", b"", 400, "invalid_name"),
        ("GET", "/v1/streams/account-77/events", b"", 404, "unknown_stream"),
        ("GET", "/v1/events?limit=1001", b"", 400, "invalid_parameter"),
        ("GET", "/v1/events?after=minus", b"", 400, "invalid_parameter"),
        ("GET", "/v1/events/99", b"", 404, "unknown_event"),
        ("GET", "/v1/decisions/99", b"", 404, "unknown_decision"),
        ("GET", "/nowhere", b"", 404, "unknown_route"),
        ("DELETE", "/v1/events", b"", 405, "method_not_allowed"),
    ];
    for (method, path, body, status, code) in cases {
        let headers: &[(&str, &str)] = if *method == "POST" { &JSON } else { &[] };
        server.client.send(method, path, headers, body).problem(*status, code);
    }
    let text = [("content-type", "text/plain")];
    server.client.send("POST", open, &text, b"{}").problem(415, "unsupported_media_type");
    let key = [("idempotency-key", "a/b")];
    server.client.post_with(open, &json!({}), &key).problem(400, "invalid_name");
    assert!(server.client.all_events().is_empty());
    server.client.post(open, &json!({"owner": "Ann"})).ok();
}

#[test]
fn components_that_are_none_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let wat = |text: &str| wat::parse_str(text).expect("valid text");
    let truncated = &account()[..account().len() / 2];
    let cases: &[(&[u8], &str)] = &[
        (b"hello", "not a WebAssembly component"),
        (b"", "not a WebAssembly component"),
        (truncated, "unexpected end-of-file"),
        (&wat("(module)"), "core module"),
        (&wat("(component)"), "it exports no interface"),
        (
            &wat(r#"(component (import "wasi:http/types@0.2.0" (instance)))"#),
            "wasi:http/types@0.2.0",
        ),
        (&wat(r#"(component (import "host-secret" (func)))"#), "host-secret"),
        (
            &wat(r#"(component (import "factum:domain/log@0.2.0" (instance)))"#),
            "factum:domain/log@0.2.0",
        ),
    ];
    for (bytes, said) in cases {
        let detail = server.client.upload(bytes).problem(422, "invalid_module");
        assert!(detail.contains(said), "{said}: {detail}");
    }
    let json = server.client.send("POST", "/v1/modules", &JSON, account());
    json.problem(415, "unsupported_media_type");
    assert_eq!(server.client.get("/v1/modules").ok().json["modules"], json!([]));

    assert_eq!(server.client.upload(account()).ok().status, 201);
    assert_eq!(server.client.upload(account()).ok().status, 200);
    // The same version with other bytes: a custom section makes no other difference.
    let mut other = account().to_vec();
    other.extend([0, 3, 1, b'x', 0]);
    server.client.upload(&other).problem(409, "version_exists");
    // Nothing was activated by all this.
    let open = "/v1/aggregates/account/1/commands/open";
    server.client.post(open, &json!({"owner": "Ann"})).problem(404, "unknown_aggregate");
}

#[test]
fn a_directory_in_use_or_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    let said = Server::try_start(dir.path(), &[]).err().expect("is refused");
    assert!(said.contains("another Factum server uses"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    server.client.get("/livez").ok();

    let strange = tempfile::tempdir().expect("a directory");
    std::fs::write(strange.path().join("thesis.txt"), "precious").expect("writes");
    let said = Server::try_start(strange.path(), &[]).err().expect("is refused");
    assert!(said.contains("not a Factum store"), "{said}");
    assert_eq!(std::fs::read_dir(strange.path()).expect("reads").count(), 1);

    let address = server.client.base.trim_start_matches("http://").to_owned();
    let fresh = tempfile::tempdir().expect("a directory");
    let said = Server::try_start(fresh.path(), &["--listen", &address]);
    assert!(said.is_err(), "two servers on one port");
    let said = Server::try_start(fresh.path(), &["--listen", "0.0.0.0:0"]).err();
    assert!(said.expect("is refused").contains("--insecure"));
}

#[test]
fn a_full_disk_refuses_appends_and_goes_on_reading() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = "/v1/aggregates/account/1/commands/open";
    let deposit = "/v1/aggregates/account/1/commands/deposit";
    let server = Server::start(dir.path());
    server.install(account());
    server.client.post(open, &json!({"owner": "Ann"})).ok();
    server.client.get("/readyz").ok();
    server.stop();
    let server = Server::start_with(dir.path(), &["--min-free-disk-bytes", "999999999999999"]);
    let detail = server.client.post(deposit, &json!({"amount": 1})).problem(507, "disk_full");
    assert!(detail.contains("free some space"), "{detail}");
    server.client.get("/readyz").problem(503, "not_ready");
    assert_eq!(server.client.get("/v1/aggregates/account/1").ok().json["state"]["balance"], 0);
    assert_eq!(server.client.all_events().len(), 1);
    server.stop();
    let server = Server::start(dir.path());
    server.client.post(deposit, &json!({"amount": 1})).ok();
}

#[test]
fn a_page_of_another_site_cannot_reach_a_loopback_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let address = server.client.base.trim_start_matches("http://").to_owned();
    for (headers, refused) in [
        ("Host: localhost", false),
        ("Host: evil.example", true),
        ("Host: localhost\r\nOrigin: http://evil.example", true),
        ("Host: localhost\r\nOrigin: http://localhost:3000", false),
    ] {
        let mut socket = TcpStream::connect(&address).expect("connects");
        write!(socket, "GET /livez HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n")
            .expect("sends");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("answers");
        assert_eq!(answer.starts_with("HTTP/1.1 403"), refused, "{headers}: {answer}");
    }
}
