//! Clients that write down what they ask and what they are answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Random};
use crate::live::follower::{Follower, LINES};

/// Streams that everybody appends to, and that few do.
const HOT: u64 = 3;
const COLD: u64 = 300;
const ACCOUNTS: u64 = 6;
const TAGS: u64 = 5;
/// Calls on a short stream before the next one is begun.
pub const SHORT: usize = 14;
/// Servers that an attempt may outlive.
const TRIES: u32 = 4;

/// What all clients share.
pub struct Shared {
    server: RwLock<(u64, Client)>,
    random: Random,
    since: Instant,
    /// Calls so far, and the next attempt's number.
    pub calls: AtomicU64,
    attempts: AtomicU64,
    short: AtomicU64,
    own: Mutex<Vec<Attempt>>,
    pub stop: AtomicBool,
}

/// One request, with what came of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub number: u64,
    pub client: u64,
    pub invoked: u64,
    pub answered: Option<u64>,
    /// A tag, and the position after which nothing may have it.
    pub condition: Option<(String, u64)>,
    pub what: What,
}

/// What was asked and answered.
#[derive(Clone, Debug)]
pub enum What {
    /// Events for these streams; the positions that were answered, if any were.
    Append {
        streams: Vec<String>,
        expected: Option<u64>,
        positions: Option<Vec<u64>>,
    },
    Refused {
        stream: String,
        expected: u64,
        actual: u64,
    },
    /// The first event that a condition forbade.
    Condition {
        found: u64,
    },
    /// A stream, or with no name the log: its length and the positions of its last events.
    Read {
        stream: String,
        version: u64,
        last: Vec<u64>,
    },
    Balance {
        stream: String,
        version: u64,
        balance: i64,
    },
    /// More than the balance was asked for.
    Poor {
        stream: String,
        balance: i64,
    },
}

/// A request that changes something.
struct Post {
    path: String,
    body: Value,
    if_match: Option<String>,
}

impl Shared {
    pub fn new(client: Client, random: Random) -> Self {
        Self {
            server: RwLock::new((0, client)),
            random,
            since: Instant::now(),
            calls: AtomicU64::new(0),
            attempts: AtomicU64::new(1),
            short: AtomicU64::new(0),
            own: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// The server is another one now.
    pub fn is_at(&self, client: Client) {
        let mut server = self.server.write().expect("whole");
        *server = (server.0 + 1, client);
    }

    /// What was done before the clients began and after they ended.
    pub fn own_attempts(&self) -> Vec<Attempt> {
        std::mem::take(&mut *self.own.lock().expect("whole"))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).expect("fits")
    }

    fn server(&self) -> (u64, Client) {
        let server = self.server.read().expect("whole");
        (server.0, server.1.with_own_connections())
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for a server after one that is gone.
    fn server_after(&self, gone: u64) -> (u64, Client) {
        let since = Instant::now();
        while self.server.read().expect("whole").0 <= gone {
            assert!(since.elapsed() < Duration::from_secs(60), "no server");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.server()
    }

    /// A stream to append to or to read.
    fn stream(&self) -> String {
        match self.random.below(10) {
            0..=3 => format!("hot-{}", self.random.below(HOT)),
            4..=6 => format!("cold-{}", self.random.below(COLD)),
            _ => {
                let calls = self.short.fetch_add(1, Ordering::Relaxed);
                format!("short-{}", calls / SHORT as u64)
            }
        }
    }
}

/// The attempt that a command id is of.
pub fn attempt_of(command_id: &str) -> u64 {
    command_id.strip_prefix("attempt-").and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Opens the accounts that the clients use.
pub fn open_accounts(shared: &Shared) {
    let mut client = Worker::new(u64::MAX, shared);
    for account in 0..ACCOUNTS {
        client.command(account, "open", json!({"owner": "Ann"}));
    }
    shared.own.lock().expect("whole").extend(client.attempts);
}

/// Tells followers that there is no more.
pub fn say_the_end(shared: &Shared) {
    let mut client = Worker::new(u64::MAX, shared);
    let streams = vec!["end-1".to_owned()];
    let body = json!({"events": [{"type": "End", "stream": streams[0]}]});
    client.append(&Post { path: "/v1/events".into(), body, if_match: None }, streams, None, None);
    shared.own.lock().expect("whole").extend(client.attempts);
}

/// Follows the log to its end through all servers; answers positions and ids.
pub fn follow(shared: &Shared) -> Vec<(Value, Value)> {
    let (mut seen, (mut number, mut client)) = (Vec::new(), shared.server());
    loop {
        let after = seen.len();
        let path = format!("/v1/events?after={after}");
        let Some(mut follower) = Follower::try_start(&client, &path, LINES, &[]) else {
            (number, client) = shared.server_after(number);
            continue;
        };
        while let Some(line) = follower.next_line() {
            if line.get("position").is_none() {
                continue;
            }
            seen.push((line["position"].clone(), line["id"].clone()));
            if line["type"] == "End" {
                return seen;
            }
        }
    }
}

/// Asks at random until it is over.
pub fn work(number: u64, shared: &Shared) -> Vec<Attempt> {
    let mut worker = Worker::new(number, shared);
    while !shared.is_over() {
        match shared.random.below(20) {
            0..=6 => worker.append_to_one(),
            7..=8 => worker.append_to_several(),
            9..=11 => worker.append_under_a_condition(),
            12..=13 => {
                let amount = 1 + shared.random.below(9);
                worker.command(shared.random.below(ACCOUNTS), "deposit", json!({"amount": amount}));
            }
            14 => worker.be_refused_money(),
            15 => worker.read_state(),
            16 => worker.read_head(),
            _ => worker.read_stream(),
        }
    }
    worker.attempts
}

struct Worker<'a> {
    number: u64,
    shared: &'a Shared,
    server: (u64, Client),
    attempts: Vec<Attempt>,
    /// What it saw last: a stream and its version, and the head.
    seen: (String, u64),
    head: u64,
}

impl<'a> Worker<'a> {
    fn new(number: u64, shared: &'a Shared) -> Self {
        let seen = ("hot-0".to_owned(), 0);
        Self { number, shared, server: shared.server(), attempts: Vec::new(), seen, head: 0 }
    }

    /// To one stream, sometimes only if it is as long as it was, or shorter by one.
    fn append_to_one(&mut self) {
        let known = self.shared.random.below(2) == 0;
        let stream = if known { self.seen.0.clone() } else { self.shared.stream() };
        let off = u64::from(self.shared.random.below(6) == 0);
        let expected = known.then(|| self.seen.1.saturating_sub(off));
        let if_match = expected.map(|version| format!("\"{version}\""));
        let post = Post {
            path: format!("/v1/streams/{stream}/events"),
            body: json!({"events": [{"type": "Said", "data": {}}]}),
            if_match,
        };
        self.append(&post, vec![stream], expected, None);
    }

    fn append_to_several(&mut self) {
        let count = 2 + self.shared.random.below(2);
        let streams: Vec<_> = (0..count).map(|_| self.shared.stream()).collect();
        let body = events(&streams, &[]);
        self.append(&Post { path: "/v1/events".into(), body, if_match: None }, streams, None, None);
    }

    /// If nothing has a tag since the newest event that it knows of, or one before.
    fn append_under_a_condition(&mut self) {
        let tag = format!("tag:{}", self.shared.random.below(TAGS));
        let after = self.head.saturating_sub(self.shared.random.below(3));
        let streams = vec![self.shared.stream()];
        let mut body = events(&streams, &[&tag]);
        if self.shared.random.below(4) == 0 {
            // Without a condition, so that some are refused.
            return self.append(
                &Post { path: "/v1/events".into(), body, if_match: None },
                streams,
                None,
                None,
            );
        }
        body["condition"] = json!({"query": [{"tags": [tag]}], "after": after});
        let post = Post { path: "/v1/events".into(), body, if_match: None };
        self.append(&post, streams, None, Some((tag, after)));
    }

    fn append(
        &mut self,
        post: &Post,
        streams: Vec<String>,
        expected: Option<u64>,
        condition: Option<(String, u64)>,
    ) {
        let Some((mut attempt, answer)) = self.send(post, streams, expected, condition) else {
            return;
        };
        match answer.status {
            200 => {
                let positions: Vec<u64> =
                    serde_json::from_value(answer.json["positions"].clone()).expect("positions");
                self.head = self.head.max(*positions.last().expect("one"));
                if let (Some(version), What::Append { streams, .. }) =
                    (answer.json["stream_version"].as_u64(), &attempt.what)
                {
                    self.seen = (streams[0].clone(), version);
                }
                let What::Append { positions: answered, .. } = &mut attempt.what else { return };
                *answered = Some(positions);
            }
            412 => {
                attempt.what = match (&attempt.what, answer.json["code"].as_str()) {
                    (
                        What::Append { streams, expected: Some(expected), .. },
                        Some("version_conflict"),
                    ) => {
                        let actual = answer.json["actual"].as_u64().expect("a version");
                        self.seen = (streams[0].clone(), actual);
                        What::Refused { stream: streams[0].clone(), expected: *expected, actual }
                    }
                    (_, Some("condition_failed")) => {
                        let found = answer.json["position"].as_u64().expect("a position");
                        self.head = self.head.max(found);
                        What::Condition { found }
                    }
                    _ => panic!("{answer:?}"),
                };
            }
            _ => panic!("{answer:?}"),
        }
        self.keep(attempt);
    }

    fn command(&mut self, account: u64, command: &str, data: Value) {
        let stream = format!("account-{account}");
        let path = format!("/v1/aggregates/account/{account}/commands/{command}");
        let post = Post { path, body: data, if_match: None };
        let Some((mut attempt, answer)) = self.send(&post, vec![stream], None, None) else {
            return;
        };
        let position = answer.ok().json["position"].as_u64().expect("a position");
        let What::Append { positions, .. } = &mut attempt.what else { return };
        *positions = Some(vec![position]);
        self.keep(attempt);
    }

    /// A rejection says the balance that it was decided on.
    fn be_refused_money(&mut self) {
        let account = self.shared.random.below(ACCOUNTS);
        let path = format!("/v1/aggregates/account/{account}/commands/withdraw");
        let post = Post { path, body: json!({"amount": u32::MAX}), if_match: None };
        let Some((mut attempt, answer)) = self.send(&post, Vec::new(), None, None) else { return };
        let balance = answer.json["rejection"]["details"]["balance"].as_i64().expect("a balance");
        answer.problem(422, "rejected");
        attempt.what = What::Poor { stream: format!("account-{account}"), balance };
        self.keep(attempt);
    }

    fn read_state(&mut self) {
        let account = self.shared.random.below(ACCOUNTS);
        let path = format!("/v1/aggregates/account/{account}");
        self.read(&path, |answer| {
            let state = answer.ok().json;
            What::Balance {
                stream: format!("account-{account}"),
                version: state["stream_version"].as_u64().expect("a version"),
                balance: state["state"]["balance"].as_i64().expect("a balance"),
            }
        });
    }

    fn read_head(&mut self) {
        self.read("/v1/events?direction=backward&limit=1", |answer| {
            let version = answer.ok().json["events"][0]["position"].as_u64().expect("one");
            What::Read { stream: String::new(), version, last: vec![version] }
        });
        if let Some(Attempt { what: What::Read { version, .. }, .. }) = self.attempts.last() {
            self.head = self.head.max(*version);
        }
    }

    /// A short one whole, of a long one the end.
    fn read_stream(&mut self) {
        let stream = self.shared.stream();
        let direction =
            if stream.starts_with("short-") { "" } else { "?direction=backward&limit=3" };
        self.read(&format!("/v1/streams/{stream}/events{direction}"), |answer| {
            let mut last: Vec<(u64, u64)> = match answer.status {
                404 => Vec::new(),
                _ => answer.ok().json["events"]
                    .as_array()
                    .expect("events")
                    .iter()
                    .map(place)
                    .collect(),
            };
            last.sort_unstable();
            let version = last.last().map_or(0, |(_, version)| *version);
            let last = last.into_iter().map(|(position, _)| position).collect();
            What::Read { stream, version, last }
        });
        if let Some(Attempt { what: What::Read { stream, version, .. }, .. }) = self.attempts.last()
            && !stream.is_empty()
        {
            self.seen = (stream.clone(), *version);
        }
    }

    /// A read without an answer says nothing.
    fn read(&mut self, path: &str, what: impl FnOnce(Answer) -> What) {
        let (number, invoked) = (self.next(), self.shared.now());
        let Ok(answer) = self.server.1.try_get(path) else { return self.move_on() };
        let answered = Some(self.shared.now());
        let (client, condition) = (self.number, None);
        let what = what(answer);
        self.keep(Attempt { number, client, invoked, answered, condition, what });
    }

    /// Sends until there is an answer, or it gives up: then the attempt is kept without one.
    fn send(
        &mut self,
        post: &Post,
        streams: Vec<String>,
        expected: Option<u64>,
        condition: Option<(String, u64)>,
    ) -> Option<(Attempt, Answer)> {
        let number = self.next();
        let key = format!("attempt-{number}");
        let mut headers = vec![("idempotency-key", key.as_str())];
        headers.extend(post.if_match.as_deref().map(|version| ("if-match", version)));
        let invoked = self.shared.now();
        let what = What::Append { streams, expected, positions: None };
        let client = self.number;
        let mut attempt = Attempt { number, client, invoked, answered: None, condition, what };
        for _ in 0..TRIES {
            if let Ok(answer) = self.server.1.try_post(&post.path, &post.body, &headers) {
                attempt.answered = Some(self.shared.now());
                return Some((attempt, answer));
            }
            self.move_on();
            if self.shared.random.below(2) == 0 {
                break;
            }
        }
        // It asks no more under this number, so that it has one call under way.
        self.keep(attempt);
        None
    }

    fn next(&self) -> u64 {
        self.shared.attempts.fetch_add(1, Ordering::Relaxed)
    }

    /// Each event is a call on its stream and one on the log.
    fn keep(&mut self, attempt: Attempt) {
        let calls = match &attempt.what {
            What::Append { positions, .. } => positions.as_ref().map_or(0, |some| 2 * some.len()),
            _ => 1,
        };
        self.shared.calls.fetch_add(calls as u64, Ordering::Relaxed);
        self.attempts.push(attempt);
    }

    /// The server is gone: waits for the next.
    fn move_on(&mut self) {
        self.server = self.shared.server_after(self.server.0);
    }
}

fn events(streams: &[String], tags: &[&str]) -> Value {
    let event = |stream: &String| json!({"type": "Said", "stream": stream, "tags": tags});
    json!({"events": streams.iter().map(event).collect::<Vec<_>>()})
}

/// Position and version.
fn place(event: &Value) -> (u64, u64) {
    let number = |field: &str| event[field].as_u64().expect("a number");
    (number("position"), number("stream_version"))
}
