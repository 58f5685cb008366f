//! SIGKILL while commands are acknowledged: nothing acknowledged is missing, doubled or moved.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Random, Server, account, rounds, under_kills};

const WRITERS: u64 = 4;

/// What the server acknowledged, by idempotency key.
#[derive(Default)]
struct Acknowledged(Mutex<HashMap<String, Value>>);

/// Deposits 1, 2, 3, … to the writer's own account until the server is gone. Answers the number
/// of the deposit that got no answer.
fn write(
    client: &Client,
    writer: u64,
    from: u64,
    acknowledged: &Acknowledged,
    stop: &AtomicBool,
) -> u64 {
    let mut number = from;
    while !stop.load(Ordering::Relaxed) {
        let Some(answer) = deposit(client, writer, number) else { break };
        acknowledged.0.lock().expect("whole").insert(key(writer, number), answer);
        number += 1;
    }
    number
}

fn key(writer: u64, number: u64) -> String {
    format!("{writer}-{number}")
}

fn deposit(client: &Client, writer: u64, number: u64) -> Option<Value> {
    let path = format!("/v1/aggregates/account/{writer}/commands/deposit");
    let key = key(writer, number);
    let answer = client.try_post(&path, &json!({"amount": number}), &[("idempotency-key", &key)]);
    Some(answer.ok()?.ok().json)
}

/// One client of an account of its own.
struct Writer {
    number: u64,
    /// The next deposit.
    next: u64,
}

#[test]
fn nothing_acknowledged_is_lost_by_twenty_kills() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer { number, next: 1 }).collect();
    let server = Server::start(dir.path());
    server.install(account());
    for writer in 0..WRITERS {
        let path = format!("/v1/aggregates/account/{writer}/commands/open");
        server.client.post(&path, &json!({"owner": "Ann"})).ok();
    }
    let server = under_kills(
        (dir.path(), server),
        (rounds(20, 10_000), &random),
        &mut writers,
        |client, writer, stop| {
            writer.next = write(client, writer.number, writer.next, &acknowledged, stop);
        },
        |client, writers| {
            check(client, &acknowledged);
            // A deposit without an answer was made or not; asking again with its key settles it.
            for Writer { number, next } in writers {
                let answer = deposit(client, *number, *next).expect("answers");
                acknowledged.0.lock().expect("whole").insert(key(*number, *next), answer);
                *next += 1;
            }
        },
    );
    check(&server.client, &acknowledged);
    let count = acknowledged.0.lock().expect("whole").len();
    eprintln!("{count} acknowledged");
    assert!(count > 100, "only {count} were acknowledged: the test proves little");
}

fn check(client: &Client, acknowledged: &Acknowledged) {
    let events = client.all_events();
    let positions: Vec<_> =
        events.iter().map(|e| e["position"].as_u64().expect("a number")).collect();
    assert_eq!(positions, (1..=events.len() as u64).collect::<Vec<_>>(), "a gap in the log");
    let mut amounts: HashMap<&str, Vec<u64>> = HashMap::new();
    let mut by_command: HashMap<&str, &Value> = HashMap::new();
    for event in &events {
        let of_stream = amounts.entry(event["stream"].as_str().expect("a stream")).or_default();
        of_stream.push(event["data"]["amount"].as_u64().unwrap_or(0));
        assert_eq!(event["stream_version"], of_stream.len() as u64, "{event}");
        let command = event["command_id"].as_str().expect("a command");
        assert!(by_command.insert(command, event).is_none(), "{command} had two effects");
    }
    for (stream, amounts) in &amounts {
        // Each writer waits for an answer before its next deposit, so 1, 2, 3 come in order.
        assert_eq!(amounts, &(0..amounts.len() as u64).collect::<Vec<_>>(), "{stream}");
    }
    for (key, answer) in acknowledged.0.lock().expect("whole").iter() {
        let event = by_command.get(key.as_str()).unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!(**event, answer["events"][0], "{key} is not what was acknowledged");
    }
}
