//! The account in several languages: the same history, the same bytes.

use std::path::Path;

use factum::guest_build::{BuildError, BuildRequest, build};
use serde_json::{Value, json};

use crate::harness::{Client, Server, account, account_typescript_with_wasi, scripted, workspace};
use crate::verify::copy;

/// What is asked of every one of them, rejections and nonsense included.
fn history() -> Vec<(&'static str, &'static str, Value)> {
    let mut history = vec![
        ("1", "deposit", json!({"amount": 5})),
        ("1", "open", json!({"owner": "Ann"})),
        ("1", "open", json!({"owner": "Ann"})),
        ("1", "deposit", json!({"amount": 5, "note": "unknown fields are of no interest"})),
        ("1", "withdraw", json!({"amount": 6})),
        ("1", "withdraw", json!({"amount": 5})),
        ("1", "deposit", json!({"amount": 4_294_967_295_u32})),
        ("1", "deposit", json!({"amount": 4_294_967_295_u32})),
        ("2", "open", json!({"owner": "Zoë \"Ω\" \\ \u{1}\u{7f}\n\t\u{1f600} \u{2028}"})),
        ("2", "withdraw", json!({"amount": 0})),
        ("2", "deposit", json!({"amount": 1.5})),
        ("2", "deposit", json!({"amount": -1})),
        ("2", "deposit", json!({"amount": "1"})),
        ("2", "deposit", json!({"amount": true})),
        ("2", "deposit", json!({"amount": 4_294_967_296_u64})),
        ("2", "deposit", json!({})),
        ("3", "open", json!({"owner": 7})),
        ("3", "paint", json!({"colour": "red"})),
        ("3", "toString", json!({})),
        ("3", "open", json!({"owner": ""})),
    ];
    for n in 0..40 {
        history.push(("1", "withdraw", json!({"amount": n * 1_000_003})));
        history.push(("3", "deposit", json!({"amount": n})));
    }
    history
}

/// Everything that may not depend on the language, in the words of the server.
fn transcript(client: &Client) -> Vec<String> {
    let mut all = Vec::new();
    for (n, (id, command, data)) in history().into_iter().enumerate() {
        let path = format!("/v1/aggregates/account/{id}/commands/{command}");
        let key = format!("key-{n}");
        let answer = client.post_with(&path, &data, &[("idempotency-key", &key)]);
        let said = format!("{command} {data}: {} {}", answer.status, answer.json["code"]);
        let Some(decision) = answer.json["decision"].as_u64() else {
            all.push(said);
            continue;
        };
        let record = client.get(&format!("/v1/decisions/{decision}")).ok().json;
        let command = &record["command"];
        assert!(command["outcome"].is_string(), "{record}");
        let kept = ["outcome", "next_hash", "rejection"].map(|field| command[field].to_string());
        all.push(format!("{said} {kept:?} {}", command["saw"]["state_hash"]));
    }
    for event in client.all_events() {
        let kept = ["type", "stream", "stream_version", "schema_version", "tags", "data"];
        all.push(kept.map(|field| event[field].to_string()).join(" "));
    }
    for id in 1..=3 {
        let state = client.get(&format!("/v1/aggregates/account/{id}")).ok().json;
        all.push(format!("{} {}", state["state"], state["stream_version"]));
    }
    all
}

/// What a component does, twice: in two processes, each with what was compiled for the first.
fn on_two_servers(component: &[u8]) -> Vec<String> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let server = Server::start(dirs[0].path());
    server.client.patient().upload(component).ok();
    server.stop();
    copy(dirs[0].path(), dirs[1].path());
    let [one, other] = dirs.map(|dir| on_a_server(dir.path()));
    assert_eq!(one, other);
    one
}

fn on_a_server(dir: &Path) -> Vec<String> {
    let server = Server::start(dir);
    server.client.activate("account", "1.0.0").ok();
    let first = transcript(&server.client);
    // Folded anew from what was recorded, and checked against it.
    let headers = [("content-type", "application/json")];
    server.client.send("PUT", "/v1/modules/account/active", &headers, br#"{"version":null}"#).ok();
    let checks = server.client.activate("account", "1.0.0").ok().json["checks"].clone();
    assert_eq!((&checks["streams"], &checks["not_folding"]), (&3.into(), &json!([])), "{checks}");
    let again = transcript(&server.client);
    let states = |all: &[String]| all[all.len() - 3..].to_vec();
    assert_eq!(states(&first), states(&again));
    first
}

fn same(language: &str, component: &[u8]) {
    let (ours, theirs) = (on_two_servers(account()), on_two_servers(component));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "in {language}");
    }
}

#[test]
fn where_nothing_may_be_installed_the_commands_are_only_printed() {
    for (language, said) in [("typescript", "npm"), ("python", "python3")] {
        let target = tempfile::tempdir().expect("a directory");
        let mut request = BuildRequest {
            crate_dir: workspace().join("guest-examples").join(format!("account-{language}")),
            features: Vec::new(),
            target_dir: target.path().to_owned(),
            install: false,
        };
        let mut lines = Vec::new();
        let built = build(&request, &mut |line| lines.push(line.to_owned()));
        let Err(error @ BuildError::NoToolchain { .. }) = built else { panic!("{built:?}") };
        assert!(error.to_string().contains(&format!("`{said} ")), "{error}");
        assert!(
            lines.iter().all(|line| line.contains("not run")) && !lines.is_empty(),
            "{lines:?}"
        );
        request.features = vec!["overdraft".into()];
        let error = build(&request, &mut |_| {}).expect_err("has no features");
        assert!(matches!(error, BuildError::Features { .. }), "{error}");
    }
    let request = BuildRequest {
        crate_dir: workspace().join("wit"),
        features: Vec::new(),
        target_dir: workspace().join("target").join("guests"),
        install: false,
    };
    let error = build(&request, &mut |_| {}).expect_err("is no guest").to_string();
    assert!(error.contains("Cargo.toml, module.ts or module.py"), "{error}");
}

#[test]
fn the_account_in_typescript_is_the_one_in_rust_to_the_byte() {
    let Some(component) = scripted("guest-examples/account-typescript") else { return };
    same("typescript", &component);
    same("typescript with WASI", &account_typescript_with_wasi());
}

#[test]
fn the_account_in_python_is_the_one_in_rust_to_the_byte() {
    let Some(component) = scripted("guest-examples/account-python") else { return };
    same("python", &component);
}

/// Time and randomness are the decision's, what is printed is logged, what is thrown is told.
fn sees_nothing_but_its_decision(component: &[u8], (thrown, elsewhere): (&str, &str)) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("server.log");
    let server = Server::start_logging(&dir.path().join("data"), &log);
    let client = server.client.patient();
    client.upload(component).ok();
    client.activate("clockwork", "1.0.0").ok();
    let tell = |command: &str| {
        client.post(&format!("/v1/aggregates/clockwork/1/commands/{command}"), &json!({}))
    };
    let looked = [(); 3].map(|()| tell("look").ok().json["events"][0]["data"].clone());
    for data in &looked {
        assert!(data["now_ms"].as_u64() > Some(1_600_000_000_000), "{data}");
        assert_eq!(data["now_ms"], data["context_ms"]);
        assert_ne!(data["random"][0], data["random"][1]);
    }
    assert_ne!(looked[0]["random"], looked[1]["random"]);
    assert!(tell("fail").problem(500, "module_fault").contains(thrown));
    // An event is folded at any time, so its time has to be in it.
    let detail = tell("recall").problem(500, "module_fault");
    assert!(detail.contains(elsewhere), "{detail}");
    // The recorded decision comes out the same, twice in one instance and once in another.
    let headers = [("content-type", "application/json")];
    client.send("PUT", "/v1/modules/clockwork/active", &headers, br#"{"version":null}"#).ok();
    let checks = client.activate("clockwork", "1.0.0").ok().json["checks"].clone();
    assert_eq!((&checks["streams"], &checks["events"]), (&1.into(), &3.into()), "{checks}");
    server.stop();
    let log = std::fs::read_to_string(log).expect("reads");
    let printed = |line: &&str| line.contains("INFO guest: ") && line.contains("seen at 20");
    let printed: Vec<_> = log.lines().filter(printed).collect();
    let about = "module=\"clockwork\" stream=\"clockwork-1\"";
    assert!(printed.iter().any(|line| line.contains(about)), "{printed:?}");
}

#[test]
fn a_module_in_typescript_sees_nothing_but_its_decision() {
    let Some(component) = scripted("tests/guests/clockwork-typescript") else { return };
    sees_nothing_but_its_decision(&component, ("RangeError: out of order", "is known only while"));
}

#[test]
fn a_module_in_python_sees_nothing_but_its_decision() {
    let Some(component) = scripted("tests/guests/clockwork-python") else { return };
    sees_nothing_but_its_decision(&component, ("IndexError: out of order", "are known only while"));
}
