//! The process dies at each step of a move in turn, with appends beside, and again while the next
//! start ends the move: each file is whole in one place, and nothing acknowledged is lost.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Place, log_files};
use crate::harness::{Client, Random, Server, rounds};

/// Steps of one file's move at which it dies, and one of the next file's.
const STEPS: u64 = 5;

/// What appends were told, by key: their positions.
type Told = BTreeMap<String, Value>;

fn move_all(client: &Client, path: &str) {
    client.post(path, &json!({})).ok();
}

/// Appends until the server is gone.
fn append(client: &Client, told: &mut Told, round: u64) {
    for number in 0.. {
        let key = format!("{round}-{number}");
        let event = json!({"type": "Noted", "stream": "note-1", "data": {"pad": "x".repeat(200)}});
        let headers = [("idempotency-key", key.as_str())];
        let answer = client.try_post("/v1/events", &json!({ "events": [event] }), &headers);
        let Ok(answer) = answer else { return };
        told.insert(key, answer.ok().json["positions"].clone());
    }
}

/// What was there before, and what was told, is there.
fn check(place: &Place, server: &Server, events: &mut Vec<Value>, told: &Told) {
    let files = [log_files(&place.path("archive")), log_files(&place.path("data"))].concat();
    assert!(files.is_sorted() && files.windows(2).all(|two| two[0] != two[1]), "{files:?}");
    let view = server.client.get("/v1/archive").ok().json;
    let archived = log_files(&place.path("archive")).len();
    assert_eq!(view["files"].as_array().expect("a list").len(), archived, "{view}");
    let found = server.client.all_events();
    assert_eq!(found[..events.len()], events[..], "what was there is not");
    let mut by_key = BTreeMap::<&str, Vec<&Value>>::new();
    for event in &found {
        let key = event["command_id"].as_str().unwrap_or_default();
        by_key.entry(key).or_default().push(&event["position"]);
    }
    for (key, positions) in told {
        assert_eq!(json!(by_key.get(key.as_str())), *positions, "{key} is not what was told");
    }
    *events = found;
}

/// Moves files one way until it dies, from where all of them are on the other side.
fn dies_at(point: &str, way: &str, back: &str) {
    let (place, random) = (Place::new(), Random::from_time());
    let server = place.filled();
    let (mut events, mut told) = (server.client.all_events(), Told::new());
    server.stop();
    for step in 1..=rounds(STEPS, 4 * STEPS) {
        let server = place.start();
        move_all(&server.client, back);
        server.stop();
        let death = format!("{point}:{step}:{}", 50 * random.below(2));
        eprintln!("{death}");
        let server = place.start_to_die(&[], &death).expect("it listens");
        let client = server.client.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| append(&client, &mut told, step));
            scope.spawn(|| drop(client.try_post(way, &json!({}), &[])));
            server.died();
        });
        assert_eq!(place.verified(&[])["sound"], true, "as it was left");
        // Nothing may be left for the start to end.
        if let Ok(server) = place.start_to_die(&[], "tidy:1:0") {
            server.kill();
        }
        assert_eq!(place.verified(&[])["sound"], true, "as it was left while it ended the move");
        let server = place.start();
        check(&place, &server, &mut events, &told);
        server.stop();
    }
}

#[test]
fn to_the_archive() {
    dies_at("archive", "/v1/archive", "/v1/unarchive");
}

#[test]
fn from_the_archive() {
    dies_at("unarchive", "/v1/unarchive", "/v1/archive");
}
