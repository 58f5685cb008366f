//! Versions change while commands flow: none fails, and each decision names who made it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Client, Server, account, account_with_overdraft, hostile, hostile_state_v2, rounds,
};

const SWAPS: usize = 50;
/// Commands between two swaps, at least: 100,000 in all where all is wanted.
const BETWEEN: u64 = 20;

#[test]
fn swapping_under_load_fails_no_command_and_each_decision_names_one_version() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    server.client.upload(account_with_overdraft()).ok();
    for id in 0..8 {
        let path = format!("/v1/aggregates/account/{id}/commands/open");
        server.client.post(&path, &json!({"owner": "Ann"})).ok();
    }
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let between = rounds(BETWEEN, 2_000);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|id| {
                let (client, stop, done) = (server.client.clone(), &stop, &done);
                scope.spawn(move || {
                    let path = format!("/v1/aggregates/account/{id}/commands/deposit");
                    let mut answers = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        answers.push(client.post(&path, &json!({"amount": 1})).ok().json);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        for version in ["1.1.0", "1.0.0"].iter().cycle().take(SWAPS) {
            let wanted = done.load(Ordering::Relaxed) + between;
            let reached = (0..12_000).any(|_| {
                std::thread::sleep(Duration::from_millis(5));
                done.load(Ordering::Relaxed) >= wanted
            });
            if !reached {
                break;
            }
            server.client.activate("account", version).ok();
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("ends")).collect()
    });

    let recorded = makers(&server.client);
    let mut by_version: BTreeMap<String, usize> = BTreeMap::new();
    for answer in &answers {
        let version = answer["module"]["version"].as_str().expect("a version");
        *by_version.entry(version.to_owned()).or_default() += 1;
        let record = &recorded[&answer["decision"].as_u64().expect("a number")];
        assert_eq!(record, &answer["module"], "{answer}");
    }
    assert_eq!(by_version.len(), 2, "{by_version:?}");
    let activations = records(&server.client, "kind=activation");
    assert_eq!(activations.len(), SWAPS + 1);
    let balances: u64 = (0..8)
        .map(|id| {
            let state = server.client.get(&format!("/v1/aggregates/account/{id}")).ok();
            state.json["state"]["balance"].as_u64().expect("a balance")
        })
        .sum();
    assert_eq!(balances, answers.len() as u64, "a deposit was lost or made twice");
}

/// Who decided each recorded command.
fn makers(client: &Client) -> BTreeMap<u64, Value> {
    let number = |record: &Value| record["decision"].as_u64().expect("a number");
    let all = records(client, "").into_iter();
    all.map(|record| (number(&record), record["command"]["module"].clone())).collect()
}

/// All records that a filter lets through.
fn records(client: &Client, filter: &str) -> Vec<Value> {
    let (mut records, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let path = format!("/v1/decisions?after={after}&limit=1000&{filter}");
        let page = client.get(path.trim_end_matches('&')).ok().json;
        records.extend(page["decisions"].as_array().expect("a list").clone());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return records,
        }
    }
}

#[test]
fn what_is_active_survives_a_restart_and_can_be_rolled_back_or_switched_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    server.install(account_with_overdraft());
    let open = "/v1/aggregates/account/1/commands/open";
    let withdraw = "/v1/aggregates/account/1/commands/withdraw";
    server.client.post(open, &json!({"owner": "Ann"})).ok();
    server.stop();

    let server = Server::start(dir.path());
    let answer = server.client.post(withdraw, &json!({"amount": 60})).ok();
    assert_eq!(answer.json["module"]["version"], "1.1.0");
    server.client.activate("account", "1.0.0").ok();
    server.client.post(withdraw, &json!({"amount": 1})).problem(422, "rejected");
    let headers = [("content-type", "application/json")];
    let off = |body: &[u8]| server.client.send("PUT", "/v1/modules/account/active", &headers, body);
    off(b"{\"version\":null}").ok();
    server.client.post(withdraw, &json!({"amount": 1})).problem(404, "unknown_aggregate");
    off(b"{\"version\":\"9.9.9\"}").problem(404, "unknown_version");
    server.client.activate("account", "1.1.0").ok();
    server.client.post(withdraw, &json!({"amount": 1})).ok();
}

#[test]
fn commands_of_one_stream_in_one_request_keep_their_order_through_swaps() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    server.client.upload(account_with_overdraft()).ok();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (client, stopped) = (server.client.clone(), &stop);
        scope.spawn(move || {
            for version in ["1.1.0", "1.0.0"].iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                client.activate("account", version).ok();
            }
        });
        for round in 0..20 {
            let mut lines = String::new();
            for id in 0..100 {
                let id = format!("{round}-{id}");
                let mut add = |command: &str, data: Value| {
                    let line =
                        json!({"aggregate": "account", "id": id, "command": command, "data": data});
                    lines += &format!("{line}\n");
                };
                add("open", json!({"owner": "Ann"}));
                // Each is only possible after the one before.
                for _ in 0..4 {
                    add("deposit", json!({"amount": 200}));
                    add("withdraw", json!({"amount": 200}));
                }
            }
            let headers = [("content-type", "application/x-ndjson")];
            let answers =
                server.client.send("POST", "/v1/commands", &headers, lines.as_bytes()).ok();
            let refused: Vec<_> =
                answers.text.lines().filter(|line| !line.contains("\"status\":200")).collect();
            stop.store(!refused.is_empty() || round == 19, Ordering::Relaxed);
            assert!(refused.is_empty(), "{} lines, first {}", refused.len(), refused[0]);
        }
    });
}

#[test]
fn states_pass_to_the_next_version_unless_it_reads_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    server.client.upload(account_with_overdraft()).ok();
    server.install(hostile());
    server.client.upload(hostile_state_v2()).ok();
    let deposit = "/v1/aggregates/account/1/commands/deposit";
    let behave = "/v1/aggregates/hostile/1/commands/behave";
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    let made = server.client.post(deposit, &json!({"amount": 60})).ok().json;
    server.client.post(behave, &json!({})).ok();

    server.client.activate("account", "1.1.0").ok();
    server.client.activate("hostile", "2.0.0").ok();
    let digest = made["module"]["digest"].as_str().expect("a digest");
    let taken_over = json!({"version": 2, "digest": digest});
    assert_eq!(snapshot(&server.client, deposit, &json!({"amount": 1})), taken_over);
    assert_eq!(snapshot(&server.client, deposit, &json!({"amount": 1})), taken_over);
    assert_eq!(snapshot(&server.client, behave, &json!({})), Value::Null);
    let state = server.client.get("/v1/aggregates/account/1").ok().json;
    assert_eq!(state["state"]["balance"], 62);
    server.stop();

    let server = Server::start(dir.path());
    assert_eq!(snapshot(&server.client, deposit, &json!({"amount": 1})), Value::Null);
}

/// Sends a command and answers what its decision began with, beside the log.
fn snapshot(client: &Client, path: &str, data: &Value) -> Value {
    let answer = client.post(path, data).ok().json;
    let record = client.get(&format!("/v1/decisions/{}", answer["decision"])).ok().json;
    record["command"]["saw"]["snapshot"].clone()
}
