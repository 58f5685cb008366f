//! SIGTERM and SIGSTOP under load: what was acknowledged is there, once, and followers go on where
//! they were.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::bank::Bank;
use crate::harness::{Client, Random, Server, rounds};
use crate::live::follower::{Event, Follower, SSE};

#[test]
fn told_to_stop_under_load_it_ends_well_and_followers_go_on_without_a_gap() {
    let random = Random::from_time();
    let (mut bank, mut server) = Bank::open();
    let followed = Mutex::new(Vec::new());
    for _ in 0..rounds(4, 100) {
        let client = server.client.clone();
        let end = || {
            std::thread::sleep(Duration::from_millis(50 + random.below(300)));
            server.stop();
        };
        bank.work(&client, |client| follow(client, &followed), end);
        server = Server::start(bank.dir());
        bank.check(&server.client, &random);
    }
    let all = server.client.all_events();
    expect_followed(server, followed, &all);
}

/// Follows the log to its end: all that was followed must be these events. Stops the server.
pub fn expect_followed(server: Server, followed: Mutex<Vec<Value>>, events: &[Value]) {
    let client = server.client.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&client, &followed));
        for _ in 0..6_000 {
            if followed.lock().expect("whole").len() >= events.len() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        server.stop();
    });
    assert_eq!(followed.into_inner().expect("whole"), events);
}

/// Follows the log from where it was left, until its end is said.
pub fn follow(client: &Client, followed: &Mutex<Vec<Value>>) -> Option<()> {
    let newest = followed.lock().expect("whole").last().map_or(json!(0), |e| e["position"].clone());
    // The server may be gone already.
    client.try_get("/livez").ok()?;
    let headers = [("last-event-id", newest.to_string())];
    let mut follower = Follower::start(client, "/v1/events", SSE, &headers);
    while let Some(event) = follower.next() {
        if let Event::Recorded { data, .. } = event {
            followed.lock().expect("whole").push(data);
        }
    }
    assert!(follower.ended_well(), "told to stop, it says that this is the end");
    None
}

#[test]
fn stopped_for_a_while_under_load_it_loses_and_doubles_no_answer() {
    let random = Random::from_time();
    let (mut bank, mut server) = Bank::open();
    server.client.post("/v1/aggregates/account/hasty/commands/open", &json!({"owner": "Bo"})).ok();
    let answered = Mutex::new(BTreeMap::new());
    for round in 0..rounds(3, 50) {
        let client = server.client.clone();
        let (hasty, is_killed) = (client.hasty(), round % 2 == 1);
        let end = || {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(50 + random.below(100)));
                server.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(150 + random.below(300)));
                if !is_killed {
                    server.signal(Signal::CONT);
                }
            }
            if is_killed {
                server.kill();
                return None;
            }
            Some(server)
        };
        let mut ended = None;
        bank.work(&client, |_| deposit(&hasty, &answered), || ended = end());
        server = ended.unwrap_or_else(|| Server::start(bank.dir()));
        bank.check(&server.client, &random);
        check(&server.client, &answered);
    }
    server.stop();
}

/// A deposit of a client that waits hardly at all and asks again with its key until it knows.
fn deposit(hasty: &Client, answered: &Mutex<BTreeMap<u64, Value>>) -> Option<()> {
    let number = answered.lock().expect("whole").len() as u64 + 1;
    let key = format!("hasty-{number}");
    for _ in 0..100 {
        let path = "/v1/aggregates/account/hasty/commands/deposit";
        let answer = hasty.try_post(path, &json!({"amount": 1}), &[("idempotency-key", &key)]);
        match answer {
            Ok(answer) if answer.status == 200 => {
                answered.lock().expect("whole").insert(number, answer.json["events"][0].clone());
                return Some(());
            }
            Ok(answer) => assert_eq!(answer.json["code"], "still_running", "{answer:?}"),
            Err(ureq::Error::Timeout(_)) => {}
            // It is gone: the next round asks with the same key.
            Err(_) => return None,
        }
    }
    None
}

fn check(client: &Client, answered: &Mutex<BTreeMap<u64, Value>>) {
    let answered = answered.lock().expect("whole");
    let events = client.get("/v1/streams/account-hasty/events?limit=1000").ok().json;
    let events = events["events"].as_array().expect("events");
    let made: Vec<_> = events.iter().skip(1).cloned().collect();
    let told: Vec<_> = answered.values().cloned().collect();
    // One may have been made without an answer.
    assert!(made.len() - told.len() <= 1, "{} made, {} answered", made.len(), told.len());
    assert_eq!(made[..told.len()], told);
}
