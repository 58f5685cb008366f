//! Whether a server that is killed again and again answers as if it made one call at a time.
//!
//! Clients append, read, decide and append under conditions, on streams that everybody uses and on
//! streams of their own, and write down what they asked, when, and what they were answered. What
//! the log holds in the end gives each stream one order; whether all answers fit it is decided by
//! `history.rs`, for the short streams by somebody else's search too.

mod clients;
mod history;
mod independent;
mod planted;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::harness::{Client, Random, Server, account, rounds};
use clients::{Attempt, Shared, What};
use history::{Appended, Ask, Call, linearizable};

const CLIENTS: u64 = 32;
const KILLS: u64 = 5;
/// Short streams that the search is given: some have so many calls at once that it takes seconds.
const SEARCHED: usize = 300;

#[test]
fn a_killed_server_answers_as_if_it_made_one_call_at_a_time() {
    let wanted = rounds(100_000, 1_000_000);
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    let shared = Shared::new(server.client.clone(), Random::from_time());
    clients::open_accounts(&shared);
    let (server, mut attempts) = std::thread::scope(|scope| {
        let (shared, mut server) = (&shared, server);
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || clients::work(number, shared))).collect();
        let followers: Vec<_> = (0..2).map(|_| scope.spawn(|| clients::follow(shared))).collect();
        for kill in 1..=KILLS {
            while shared.calls.load(Ordering::Relaxed) < wanted * kill / (KILLS + 1) {
                assert!(!clients.iter().all(|client| client.is_finished()), "all clients ended");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            server.kill();
            server = Server::start(dir.path());
            shared.is_at(server.client.clone());
        }
        while shared.calls.load(Ordering::Relaxed) < wanted {
            assert!(!clients.iter().all(|client| client.is_finished()), "all clients ended");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        shared.stop.store(true, Ordering::Relaxed);
        let attempts: Vec<_> = clients
            .into_iter()
            .flat_map(|client| client.join().expect("no client fails"))
            .collect();
        clients::say_the_end(shared);
        let log = server.client.all_events();
        let position = |event: &Value| (event["position"].clone(), event["id"].clone());
        let all: Vec<_> = log.iter().map(position).collect();
        for follower in followers {
            assert!(follower.join().expect("follows") == all, "a follower saw another log");
        }
        (server, attempts)
    });
    attempts.extend(shared.own_attempts());
    let log = Log::of(&server.client);
    conditions_held(&log, &attempts);
    states_were_right(&log, &attempts);
    let histories = log.histories(&attempts);
    let mut searched = 0;
    for (stream, calls) in &histories {
        let order = log.streams.get(stream).map_or(&[][..], Vec::as_slice);
        linearizable(calls, order).unwrap_or_else(|why| panic!("`{stream}`: {why}: {order:?}"));
        if stream.starts_with("short-") && searched < SEARCHED && calls.len() <= clients::SHORT {
            assert!(independent::linearizable(calls, order), "`{stream}`: {calls:#?} {order:?}");
            searched += 1;
        }
    }
    let calls: usize = histories.values().map(Vec::len).sum();
    let lost = attempts.iter().filter(|attempt| attempt.answered.is_none()).count();
    eprintln!(
        "{calls} calls on {} streams and the log, {lost} without an answer, {searched} histories \
         searched too",
        histories.len() - 1
    );
    assert!(lost > 0 && searched > 50, "the test proves little");
}

/// What the log holds in the end.
struct Log {
    /// The events of each stream, and under no name those of the whole log, in their order.
    streams: HashMap<String, Vec<u64>>,
    /// The positions of each attempt's events.
    positions: HashMap<u64, Vec<u64>>,
    /// Stream and version by position.
    places: Vec<(String, u64)>,
    /// Positions by tag.
    tagged: BTreeMap<(String, u64), ()>,
    /// What each account's balance is, by stream and version.
    balances: HashMap<(String, u64), i64>,
    /// The version of an account at which it has a balance: none has it twice.
    rich: HashMap<(String, i64), u64>,
}

impl Log {
    /// An event is known by its position.
    fn of(client: &Client) -> Self {
        let mut log = Self {
            streams: HashMap::from([(String::new(), Vec::new())]),
            positions: HashMap::new(),
            places: Vec::new(),
            tagged: BTreeMap::new(),
            balances: HashMap::new(),
            rich: HashMap::new(),
        };
        for (position, event) in (1..).zip(client.all_events()) {
            assert_eq!(event["position"], position, "a gap");
            let stream = event["stream"].as_str().expect("a stream").to_owned();
            let of_stream = log.streams.entry(stream.clone()).or_default();
            of_stream.push(position);
            let version = of_stream.len() as u64;
            assert_eq!(event["stream_version"], version, "{event}");
            log.streams.entry(String::new()).or_default().push(position);
            let attempt = clients::attempt_of(event["command_id"].as_str().expect("an id"));
            log.positions.entry(attempt).or_default().push(position);
            for tag in event["tags"].as_array().expect("tags") {
                log.tagged.insert((tag.as_str().expect("a tag").to_owned(), position), ());
            }
            let before = log.balances.get(&(stream.clone(), version - 1)).copied().unwrap_or(0);
            let amount = event["data"]["amount"].as_i64().unwrap_or(0);
            log.balances.insert((stream.clone(), version), before + amount);
            log.rich.insert((stream.clone(), before + amount), version);
            log.places.push((stream, version));
        }
        log
    }

    fn place(&self, position: u64) -> &(String, u64) {
        &self.places[usize::try_from(position - 1).expect("fits")]
    }

    /// The calls on each stream, and on the whole log.
    fn histories(&self, attempts: &[Attempt]) -> HashMap<String, Vec<Call>> {
        let mut histories: HashMap<String, Vec<Call>> = HashMap::new();
        for attempt in attempts {
            let mut parts = 0;
            let mut call = |stream: &str, ask| {
                let Attempt { client, invoked, answered, .. } = *attempt;
                // The parts of one attempt are made at one moment, as if by several clients.
                parts += 1;
                let client = (client, parts);
                let call = Call { client, invoked, answered, ask };
                histories.entry(stream.to_owned()).or_default().push(call);
            };
            match &attempt.what {
                What::Append { streams, expected, positions } => {
                    self.appended(attempt, streams, *expected, positions.as_deref(), &mut call);
                }
                What::Refused { stream, expected, actual } => {
                    let answer = Some(Appended::Refused(*actual));
                    let event = u64::MAX - attempt.number;
                    call(stream, Ask::Append { event, expected: Some(*expected), answer });
                }
                What::Read { stream, version, last } => {
                    call(stream, Ask::Read { version: *version, last: last.clone() });
                }
                What::Balance { stream, version, .. } => {
                    call(stream, Ask::Read { version: *version, last: Vec::new() });
                }
                What::Poor { stream, balance } => {
                    let version = self.rich.get(&(stream.clone(), *balance));
                    let version = *version.unwrap_or_else(|| panic!("never so rich: {attempt:?}"));
                    call(stream, Ask::Read { version, last: Vec::new() });
                }
                What::Condition { .. } => {}
            }
        }
        histories
    }

    /// An append is there whole, where it was said to be, or not at all.
    fn appended(
        &self,
        attempt: &Attempt,
        streams: &[String],
        expected: Option<u64>,
        answer: Option<&[u64]>,
        call: &mut impl FnMut(&str, Ask),
    ) {
        let there = self.positions.get(&attempt.number).map_or(&[][..], Vec::as_slice);
        assert!(answer.is_none_or(|answer| answer == there), "{there:?}: {attempt:?}");
        if there.is_empty() {
            return;
        }
        let consecutive = there.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(consecutive && there.len() == streams.len(), "{there:?}: {attempt:?}");
        for (position, wanted) in there.iter().zip(streams) {
            let (stream, version) = self.place(*position);
            assert_eq!(stream, wanted, "{attempt:?}");
            let at = |version| answer.map(|_| Appended::At(version));
            call(stream, Ask::Append { event: *position, expected, answer: at(*version) });
            call("", Ask::Append { event: *position, expected: None, answer: at(*position) });
        }
    }

    /// The first event with a tag after a position.
    fn first_tagged(&self, tag: &str, after: u64) -> Option<u64> {
        let range = (tag.to_owned(), after + 1)..=(tag.to_owned(), u64::MAX);
        self.tagged.range(range).next().map(|((_, position), ())| *position)
    }
}

/// Nothing that a condition forbade lies between what it knew and what it let pass, and what it
/// was refused for is there.
fn conditions_held(log: &Log, attempts: &[Attempt]) {
    let (mut passed, mut refused) = (0, 0);
    for attempt in attempts {
        let Some((tag, after)) = &attempt.condition else { continue };
        match &attempt.what {
            What::Condition { found } => {
                assert_eq!(log.first_tagged(tag, *after), Some(*found), "{attempt:?}");
                refused += 1;
            }
            _ => {
                let Some(positions) = log.positions.get(&attempt.number) else { continue };
                let first = log.first_tagged(tag, *after);
                assert_eq!(first, positions.first().copied(), "{attempt:?}");
                passed += 1;
            }
        }
    }
    eprintln!("{passed} conditions held, {refused} did not");
    assert!(passed > 100 && refused > 100, "the test proves little");
}

/// Balances that were answered are those of the versions that they were answered for.
fn states_were_right(log: &Log, attempts: &[Attempt]) {
    for attempt in attempts {
        if let What::Balance { stream, version, balance } = &attempt.what {
            let right = log.balances.get(&(stream.clone(), *version));
            assert_eq!(right, Some(balance), "{attempt:?}");
        }
    }
}
