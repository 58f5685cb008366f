//! Clients of one store and what they were told: numbered commands, refusals and batches, and
//! readers that remember what they saw. Whatever happens to the server between, the store must hold
//! all of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, Random, Server, account, account_with_overdraft, counting_indexed,
};
use crate::read_models::exact::{fold_of, rows};

const WRITERS: u64 = 3;

/// A store, its clients, and what these were told.
pub struct Bank {
    dir: tempfile::TempDir,
    writers: Vec<Writer>,
    told: Told,
}

/// One client with an account of its own.
struct Writer {
    account: u64,
    /// The number of its next request.
    next: u64,
}

/// By key, what was answered; and what readers saw.
#[derive(Default)]
struct Told {
    /// The event of each deposit.
    deposits: Mutex<BTreeMap<String, Value>>,
    /// The rejection of each withdrawal.
    refused: Mutex<BTreeMap<String, Value>>,
    /// The positions of each batch.
    batches: Mutex<BTreeMap<String, Value>>,
    /// Events by position.
    seen: Mutex<BTreeMap<u64, Value>>,
    /// The newest version of each account.
    versions: Mutex<BTreeMap<u64, u64>>,
}

impl Bank {
    pub fn open() -> (Self, Server) {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(dir.path());
        server.install(account());
        server.install(counting_indexed());
        server.client.upload(account_with_overdraft()).ok();
        let writers = (0..WRITERS).map(|account| Writer { account, next: 1 }).collect();
        for account in 0..WRITERS {
            let path = format!("/v1/aggregates/account/{account}/commands/open");
            server.client.post(&path, &json!({"owner": "Ann"})).ok();
        }
        (Self { dir, writers, told: Told::default() }, server)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets everybody work, `act` again and again beside them, until `end` returns. Whoever finds
    /// no server ends by itself.
    pub fn work(
        &mut self,
        client: &Client,
        act: impl Fn(&Client) -> Option<()> + Sync,
        end: impl FnOnce(),
    ) {
        let (stop, told) = (AtomicBool::new(false), &self.told);
        let goes_on = || !stop.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            let _stop = OnDrop(&stop);
            for writer in &mut self.writers {
                let goes_on = &goes_on;
                scope.spawn(move || while goes_on() && writer.ask(client, told).is_some() {});
            }
            scope.spawn(|| while goes_on() && told.look_at_events(client).is_some() {});
            scope.spawn(|| while goes_on() && told.look_at_states(client).is_some() {});
            scope.spawn(|| while goes_on() && act(client).is_some() {});
            end();
        });
    }

    /// Compares what is there with what was told, and settles what had no answer.
    pub fn check(&mut self, client: &Client, random: &Random) {
        let events = client.all_events();
        let by_key = self.check_log(&events);
        self.told.check(&events, &by_key);
        self.told.check_retries(client, random);
        for writer in &self.writers {
            writer.check(client, &events);
        }
        let seen = self.told.versions.lock().expect("whole").clone();
        for (account, version) in seen {
            let state = client.get(&format!("/v1/aggregates/account/{account}")).ok().json;
            let is = state["stream_version"].as_u64().expect("a version");
            assert!(is >= version, "account {account} was seen at {version} and is at {is}");
        }
        let counted: Vec<_> = events.iter().filter(|e| e["type"] == "Counted").cloned().collect();
        let query = format!("min_position={}&wait=30", events.len());
        assert_eq!(rows(client, &query), fold_of(&counted), "the read model is not the fold");
        check_active(client);
        for writer in &mut self.writers {
            writer.ask(client, &self.told).expect("answers");
        }
    }

    /// What is there by key: no gap, no half, nothing twice.
    fn check_log<'e>(&self, events: &'e [Value]) -> BTreeMap<&'e str, Vec<&'e Value>> {
        let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
        let mut by_key: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for (position, event) in (1u64..).zip(events) {
            assert_eq!(event["position"], position, "a gap in the log");
            let version = versions.entry(event["stream"].as_str().expect("a stream")).or_default();
            *version += 1;
            assert_eq!(event["stream_version"], *version, "{event}");
            if let Some(key) = event["command_id"].as_str() {
                by_key.entry(key).or_default().push(event);
            }
        }
        for (key, events) in &by_key {
            assert!(events.iter().all(|e| e["decision"] == events[0]["decision"]), "{key} twice");
            if events[0]["type"] == "Counted" {
                assert_eq!(events[0]["data"]["of"], events.len(), "half of {key}");
            }
        }
        for writer in &self.writers {
            let of_writer = format!("{}-", writer.account);
            let made = by_key.keys().filter(|key| key.starts_with(&of_writer)).count();
            let told = self.told.of_writer(&of_writer);
            assert!((told..=told + 1).contains(&made), "{made} were made and {told} told");
        }
        by_key
    }
}

/// Tells it, though a test should fail.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Of so many requests of a writer, one is refused and one a batch.
const ROUND: u64 = 5;
const REFUSED: u64 = 2;
const BATCH: u64 = 4;

impl Writer {
    /// Makes the next request; none when the server is gone or going.
    fn ask(&mut self, client: &Client, told: &Told) -> Option<()> {
        let (account, number) = (self.account, self.next);
        let key = format!("{account}-{number}");
        let headers = [("idempotency-key", key.as_str())];
        let command = |name: &str, amount: u64| {
            let path = format!("/v1/aggregates/account/{account}/commands/{name}");
            client.try_post(&path, &json!({ "amount": amount }), &headers)
        };
        match number % ROUND {
            REFUSED => {
                let answer = there(command("withdraw", 1_000_000_000))?;
                assert_eq!(answer.json["code"], "rejected", "{answer:?}");
                told.refused.lock().expect("whole").insert(key, answer.json["rejection"].clone());
            }
            BATCH => {
                let of = 1 + number % 7;
                let event = |at: u64| {
                    let stream = format!("n-{}", (account * 31 + number * 7 + at) % 50);
                    json!({"type": "Counted", "stream": stream, "data": {"at": at, "of": of}})
                };
                let body = json!({ "events": (0..of).map(event).collect::<Vec<_>>() });
                let answer = there(client.try_post("/v1/events", &body, &headers))?.ok().json;
                told.batches.lock().expect("whole").insert(key, answer["positions"].clone());
            }
            _ => {
                let answer = there(command("deposit", number))?.ok().json;
                told.deposits.lock().expect("whole").insert(key, answer["events"][0].clone());
            }
        }
        self.next += 1;
        Some(())
    }

    /// Its account is the sum of its deposits, in their order.
    fn check(&self, client: &Client, events: &[Value]) {
        let path = format!("/v1/aggregates/account/{}", self.account);
        let stream = format!("account-{}", self.account);
        let of_stream = events.iter().filter(|event| event["stream"] == stream);
        let made: Vec<_> = of_stream.filter_map(|e| e["data"]["amount"].as_u64()).collect();
        let is_deposit = |number: &u64| ![REFUSED, BATCH].contains(&(number % ROUND));
        let in_order: Vec<_> = (1..).filter(is_deposit).take(made.len()).collect();
        assert_eq!(made, in_order, "{stream}");
        let state = client.get(&path).ok().json;
        assert_eq!(state["state"]["balance"], made.iter().sum::<u64>(), "{state}");
        assert_eq!(state["stream_version"], made.len() + 1, "{state}");
    }
}

impl Told {
    /// Looks at the newest events; none when the server is gone or going.
    fn look_at_events(&self, client: &Client) -> Option<()> {
        let newest = self.seen.lock().expect("whole").last_key_value().map_or(0, |(at, _)| *at);
        let page = client.try_get(&format!("/v1/events?after={newest}&limit=100"));
        for event in there(page)?.ok().json["events"].as_array().expect("events") {
            let position = event["position"].as_u64().expect("a position");
            self.seen.lock().expect("whole").insert(position, event.clone());
        }
        Some(())
    }

    /// The same for states, which are answered when they are durable.
    fn look_at_states(&self, client: &Client) -> Option<()> {
        for account in 0..WRITERS {
            let state = there(client.try_get(&format!("/v1/aggregates/account/{account}")))?.ok();
            let version = state.json["stream_version"].as_u64().expect("a version");
            self.versions.lock().expect("whole").insert(account, version);
        }
        Some(())
    }

    /// How many of a writer's requests were answered that they were made.
    fn of_writer(&self, prefix: &str) -> usize {
        let count = |told: &Mutex<BTreeMap<String, Value>>| {
            told.lock().expect("whole").keys().filter(|key| key.starts_with(prefix)).count()
        };
        count(&self.deposits) + count(&self.batches)
    }

    fn check(&self, events: &[Value], by_key: &BTreeMap<&str, Vec<&Value>>) {
        let find = |key: &str| by_key.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        for (key, event) in self.deposits.lock().expect("whole").iter() {
            assert_eq!(find(key)[..], [event], "{key} is not what was acknowledged");
        }
        for (key, positions) in self.batches.lock().expect("whole").iter() {
            let found: Vec<_> = find(key).iter().map(|event| event["position"].clone()).collect();
            assert_eq!(*positions, json!(found), "{key} is not what was acknowledged");
        }
        for key in self.refused.lock().expect("whole").keys() {
            assert!(!by_key.contains_key(key.as_str()), "{key} was refused and is there");
        }
        let by_position: BTreeMap<_, _> = (1..).zip(events).collect();
        for (position, event) in self.seen.lock().expect("whole").iter() {
            let found = by_position.get(position);
            assert_eq!(found, Some(&event), "a reader saw what is not so");
        }
    }

    /// Some of what was answered, asked for again with its key, is answered so again.
    fn check_retries(&self, client: &Client, random: &Random) {
        let retry = |key: &str, name: &str, amount: &Value| {
            let account = key.split_once('-').expect("a key").0;
            let path = format!("/v1/aggregates/account/{account}/commands/{name}");
            let body = json!({ "amount": amount });
            let answer = client.post_with(&path, &body, &[("idempotency-key", key)]);
            assert_eq!(answer.header("idempotency-replayed"), Some("true"), "{key}: {answer:?}");
            answer.json
        };
        for (key, event) in some(&self.deposits, random) {
            assert_eq!(retry(&key, "deposit", &event["data"]["amount"])["events"], json!([event]));
        }
        for (key, rejection) in some(&self.refused, random) {
            assert_eq!(retry(&key, "withdraw", &json!(1_000_000_000))["rejection"], rejection);
        }
    }
}

/// Ten of what was told, if there is something.
fn some(told: &Mutex<BTreeMap<String, Value>>, random: &Random) -> Vec<(String, Value)> {
    let all: Vec<_> = told.lock().expect("whole").clone().into_iter().collect();
    let count = if all.is_empty() { 0 } else { 10 };
    (0..count).map(|_| random.pick(&all).clone()).collect()
}

/// An answer, unless the server is gone or going.
fn there(answer: Result<Answer, ureq::Error>) -> Option<Answer> {
    answer.ok().filter(|answer| answer.status != 503)
}

/// What is active is what was activated last.
fn check_active(client: &Client) {
    let (mut newest, mut next) = (Value::Null, Some("0".to_owned()));
    while let Some(after) = next {
        let path = format!("/v1/decisions?kind=activation&limit=1000&after={after}");
        let page = client.get(&path).ok().json;
        let records = page["decisions"].as_array().expect("a list").iter();
        let mut of_modules = records.rev().map(|record| &record["activation"]);
        if let Some(found) = of_modules.find(|record| record["module"] == "account") {
            newest = found["version"].clone();
        }
        next = page["next"].as_str().map(ToOwned::to_owned);
    }
    let is = client.get("/v1/modules/account").ok().json;
    assert_eq!(is["active"]["version"], newest, "{is}");
}
