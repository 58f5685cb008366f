//! SIGKILL while commands are acknowledged: nothing acknowledged is missing, doubled or moved.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Server, account};

const ROUNDS: u64 = 20;
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

/// A small generator, so that a printed seed repeats a run.
fn next(seed: &AtomicU64) -> u64 {
    let mut x = seed.load(Ordering::Relaxed);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    seed.store(x, Ordering::Relaxed);
    x
}

#[test]
fn nothing_acknowledged_is_lost_by_twenty_kills() {
    let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let seed = AtomicU64::new(u64::from(start.subsec_nanos()) | 1);
    eprintln!("seed {}", seed.load(Ordering::Relaxed));
    let dir = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    let mut from: Vec<u64> = (0..WRITERS).map(|_| 1).collect();
    let mut server = Server::start(dir.path());
    server.install(account());
    for writer in 0..WRITERS {
        let path = format!("/v1/aggregates/account/{writer}/commands/open");
        server.client.post(&path, &json!({"owner": "Ann"})).ok();
    }
    for _ in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let client = server.client.clone();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .zip(from.clone())
                .map(|(writer, from)| {
                    let (client, acknowledged, stop) = (&client, &acknowledged, &stop);
                    scope.spawn(move || write(client, writer, from, acknowledged, stop))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(20 + next(&seed) % 150));
            server.kill();
            stop.store(true, Ordering::Relaxed);
            for (writer, from) in writers.into_iter().zip(&mut from) {
                *from = writer.join().expect("ends");
            }
        });
        // Sometimes it is killed again while it starts.
        if next(&seed).is_multiple_of(3)
            && let Ok(again) = Server::try_start(dir.path(), &[])
        {
            again.kill();
        }
        server = Server::start(dir.path());
        check(&server.client, &acknowledged);
        // A deposit without an answer was made or not; asking again with its key settles it.
        for (writer, from) in (0..WRITERS).zip(&mut from) {
            let answer = deposit(&server.client, writer, *from).expect("answers");
            acknowledged.0.lock().expect("whole").insert(key(writer, *from), answer);
            *from += 1;
        }
    }
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
