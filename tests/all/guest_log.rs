//! What guests log: bounded, escaped, and with the module, the stream and the command it is about.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Client, Server, hostile, looking};

fn tell(client: &Client, path: &str, key: &str, data: &Value) {
    let path = format!("/v1/aggregates/{path}");
    client.post_with(&path, data, &[("idempotency-key", key)]);
}

/// The lines of guests that were logged for a command.
fn lines(log: &Path, key: &str) -> Vec<String> {
    let text = String::from_utf8(std::fs::read(log).expect("reads")).expect("is text");
    let named = format!("command_id=\"{key}\"");
    let of_guests = |line: &&str| line.contains(" guest: ") && line.contains(&named);
    text.lines().filter(of_guests).map(str::to_owned).collect()
}

#[test]
fn lines_of_guests_are_bounded_and_escaped_and_say_what_they_are_about() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("server.log");
    let server = Server::start_logging(&dir.path().join("data"), &log);
    server.install(hostile());
    server.install(looking());
    let client = &server.client;
    tell(client, "hostile/7/commands/log_flood", "a-flood", &json!({"now": true}));
    tell(client, "hostile/8/commands/huge_line", "a-forgery", &json!({"now": true}));
    tell(client, "looker/9/commands/write", "some-writing", &json!({"lines": 3}));
    tell(client, "looker/9/commands/write", "a-wasi-flood", &json!({"lines": 5_000}));
    server.stop();

    let flood = lines(&log, "a-flood");
    assert_eq!(flood.len(), 101, "a hundred lines, and one that says so");
    let about = "module=\"hostile\" stream=\"hostile-7\" command_id=\"a-flood\"";
    assert!(flood.iter().all(|line| line.contains(about)), "{}", flood[0]);
    assert!(flood[0].contains(" INFO guest: ") && flood[0].contains("\"line 0 of a flood\""));
    assert!(flood[100].contains(" WARN guest: ") && flood[100].contains("log_lines"));

    // Five million bytes of line breaks and escapes are one line that forges nothing.
    let forged = lines(&log, "a-forgery");
    assert_eq!(forged.len(), 1, "{forged:?}");
    assert!(forged[0].len() < 20_000 && forged[0].contains("\\n\\u{1b}[31mforged"), "{forged:?}");
    assert!(forged[0].contains(" ERROR guest: "), "{}", &forged[0][..200]);
    let whole = std::fs::read_to_string(&log).expect("reads");
    assert!(!whole.contains('\u{1b}') && !whole.lines().any(|line| line.starts_with("forged")));

    // What is written to the standard streams of WASI is the same.
    let written = lines(&log, "some-writing");
    let about = "module=\"wasi_guest\" stream=\"looker-9\"";
    assert!(written.iter().all(|line| line.contains(about)), "{written:?}");
    assert!(written[0].contains(" ERROR guest: ") && written[0].contains("not all is well"));
    assert!(written[1].contains(" INFO guest: ") && written[1].contains("written 0 \\u{1b}[31m"));
    assert_eq!(written.len(), 4, "{written:?}");
    assert_eq!(lines(&log, "a-wasi-flood").len(), 101);
}
