//! The machine's clock jumps a day back and ten years ahead, under load and while the server does
//! not run: nothing is lost, doubled or forgotten, and no recorded time goes back.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::crash::bank::Bank;
use crate::crash::signals::expect_followed;
use crate::harness::{Client, Random, Server};
use crate::verify::{factum, text};

const DAY: i64 = 24 * 3_600_000;
const TEN_YEARS: i64 = 3_652 * DAY;

const JUMPED: &str = "the machine's clock jumped";
const RETURNED: &str = "the machine's clock is back where it should be";
const BEHIND: &str = "the machine's clock is behind the newest record";

/// The clock of servers, and what they log.
struct Clock(tempfile::TempDir);

impl Clock {
    fn right() -> Self {
        let clock = Self(tempfile::tempdir().expect("a directory"));
        clock.set(0);
        clock
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set(&self, off_ms: i64) {
        std::fs::write(self.path("new"), off_ms.to_string()).expect("writes");
        std::fs::rename(self.path("new"), self.path("clock")).expect("renames");
    }

    fn start(&self, bank: &Bank) -> Server {
        Server::start_off(bank.dir(), &self.path("clock"), &self.path("log"))
    }

    fn lines(&self, of: &str) -> usize {
        let log = std::fs::read_to_string(self.path("log")).expect("is there");
        log.lines().filter(|line| line.contains(of)).count()
    }

    /// Waits until something was said so often.
    fn says(&self, what: &str, times: usize) {
        for _ in 0..600 {
            if self.lines(what) >= times {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it was not said that {what}");
    }
}

fn recorded_at(event: &Value) -> Timestamp {
    event["recorded_at"].as_str().and_then(|time| time.parse().ok()).expect("a time")
}

/// Every event, the recorded times of which never go back and are within an hour of a span.
fn events_between(client: &Client, from: Timestamp, until: Timestamp) -> Vec<Value> {
    let events = client.all_events();
    let times: Vec<_> = events.iter().map(recorded_at).collect();
    assert!(times.is_sorted(), "a recorded time went back");
    let hour = jiff::SignedDuration::from_hours(1);
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(first > from - hour && last < until + hour, "recorded from {first} to {last}");
    events
}

fn is_sound(bank: &Bank) {
    let report = factum(&["verify", "--data", text(bank.dir()), "--json"]).ok().json();
    assert_eq!(report["sound"], true, "{report}");
}

#[expect(clippy::unnecessary_wraps, reason = "whoever works with the bank may find no server")]
fn rest(_: &Client) -> Option<()> {
    std::thread::sleep(Duration::from_millis(20));
    Some(())
}

#[test]
fn a_clock_that_jumps_under_load_and_comes_back_moves_no_time() {
    let (random, clock, began) = (Random::from_time(), Clock::right(), Timestamp::now());
    let (mut bank, server) = Bank::open();
    server.stop();
    let server = clock.start(&bank);
    let (client, followed) = (server.client.clone(), Mutex::new(Vec::new()));
    let jump = || {
        for (number, off) in [-DAY, TEN_YEARS].into_iter().enumerate() {
            std::thread::sleep(Duration::from_millis(100));
            clock.set(off);
            clock.says(JUMPED, number + 1);
        }
        // Time enough for a line too many.
        std::thread::sleep(Duration::from_millis(300));
        clock.set(0);
        clock.says(RETURNED, 1);
    };
    bank.work(&client, rest, jump);
    bank.check(&client, &random);
    assert_eq!((clock.lines(JUMPED), clock.lines(RETURNED)), (2, 1));
    let events = events_between(&client, began, Timestamp::now());
    expect_followed(server, followed, &events);
    is_sound(&bank);
    let server = clock.start(&bank);
    bank.check(&server.client, &random);
    assert_eq!(clock.lines(BEHIND), 0);
    server.stop();
}

#[test]
fn started_with_a_wrong_clock_it_forgets_no_key_and_goes_on() {
    let (random, clock, began) = (Random::from_time(), Clock::right(), Timestamp::now());
    let (mut bank, server) = Bank::open();
    server.stop();
    let mut known = 0;
    for (off, is_behind) in [(0, false), (TEN_YEARS, false), (-DAY, true), (0, true)] {
        clock.set(off);
        let server = clock.start(&bank);
        assert_eq!(clock.lines(BEHIND), usize::from(is_behind));
        let client = server.client.clone();
        // What was answered before is known.
        bank.check(&client, &random);
        let some_time = || std::thread::sleep(Duration::from_millis(200));
        bank.work(&client, rest, some_time);
        bank.check(&client, &random);
        let until = Timestamp::now() + jiff::SignedDuration::from_millis(TEN_YEARS);
        let events = events_between(&client, began, until);
        assert!(events.len() > known, "no command was taken");
        known = events.len();
        // It writes the index as it ends, and forgets what is out of the window.
        server.stop();
        is_sound(&bank);
    }
}
