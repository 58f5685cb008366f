//! Following the log: catching up, going on, coming back, and what a follower may cost.

pub mod follower;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::harness::{Client, Server, account, hostile};
use follower::{Event, Follower, LINES, SSE};

const PATIENCE: Duration = Duration::from_secs(60);

fn server(arguments: &[&str]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), arguments);
    server.install(account());
    (server, dir)
}

/// Opens the account and deposits so often; in one request, in order.
fn write(client: &Client, account: &str, deposits: u64) {
    let line = |command: &str, data: Value| {
        json!({"aggregate": "account", "id": account, "command": command, "data": data}).to_string()
    };
    let mut lines = vec![line("open", json!({"owner": "Ann"}))];
    lines.extend((1..=deposits).map(|n| line("deposit", json!({"amount": n}))));
    let headers = [("content-type", "application/x-ndjson")];
    let answer = client.send("POST", "/v1/commands", &headers, lines.join("\n").as_bytes()).ok();
    assert_eq!(answer.text.lines().count() as u64, deposits + 1);
}

fn deposit(client: &Client, account: &str) -> u64 {
    let path = format!("/v1/aggregates/account/{account}/commands/deposit");
    client.post(&path, &json!({"amount": 1})).ok().json["position"].as_u64().expect("a position")
}

fn subscribers(client: &Client) -> usize {
    let metrics = client.get("/metrics").ok().text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("factum_subscribers "));
    line.expect("is there").parse().expect("a number")
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The events that a follower gets up to and with a position, and where it was told that it had
/// caught up.
fn read_to(follower: &mut Follower, position: u64) -> (Vec<Value>, Option<u64>) {
    let (mut events, mut caught_up) = (Vec::new(), None);
    let mut at = 0;
    while at < position {
        match follower.next().expect("goes on") {
            Event::Recorded { id, data } => {
                assert_eq!(data["position"], id);
                events.push(data);
                at = id;
            }
            Event::CaughtUp { id, data } => {
                assert_eq!(data, json!({"position": id}));
                assert!(caught_up.is_none(), "told twice");
                caught_up = Some(id);
            }
            Event::Heartbeat => {}
        }
    }
    (events, caught_up)
}

#[test]
fn history_then_what_comes_in_order_while_four_writers_append() {
    let (server, _dir) = server(&[]);
    let client = &server.client;
    write(client, "0", 1_000);
    let mut whole = Follower::start(client, "/v1/events", SSE, &[]);
    let mut deposits = Follower::start(client, "/v1/events?type=Deposited", SSE, &[]);
    let mut stream = Follower::start(client, "/v1/streams/account-0/events?after=900", SSE, &[]);
    let mut lines = Follower::start(client, "/v1/events?after=500", LINES, &[]);
    std::thread::scope(|scope| {
        for writer in 1..=4 {
            scope.spawn(move || {
                write(client, &writer.to_string(), 400);
                for _ in 0..20 {
                    deposit(client, "0");
                }
            });
        }
        let before = 1_001;
        let (history, caught_up) = read_to(&mut whole, before);
        assert_eq!((history.len() as u64, caught_up.unwrap_or(before) >= before), (before, true));
    });
    let last = deposit(client, "0");
    let all = client.all_events();
    let position = |event: &Value| event["position"].as_u64().expect("a number");
    assert_eq!(read_to(&mut whole, last).0, all[1_001..]);
    let (got, caught_up) = read_to(&mut deposits, last);
    assert!(caught_up.is_some_and(|position| position >= 1_001), "{caught_up:?}");
    let wanted: Vec<_> = all.iter().filter(|e| e["type"] == "Deposited").cloned().collect();
    assert_eq!(got, wanted);
    let wanted: Vec<_> = all
        .iter()
        .filter(|e| e["stream"] == "account-0" && e["stream_version"].as_u64() > Some(900))
        .cloned()
        .collect();
    assert_eq!(read_to(&mut stream, last).0, wanted);
    let got: Vec<_> = (500..last).map(|_| lines.next_line().expect("goes on")).collect();
    assert_eq!(got, all[500..]);
    assert_eq!(position(got.last().expect("some")), last);
}

#[test]
fn a_client_comes_back_with_its_last_id_and_misses_nothing() {
    let (mut server, dir) = server(&[]);
    write(&server.client, "1", 300);
    let mut seen: Vec<Value> = Vec::new();
    let mut of_stream: Vec<Value> = Vec::new();
    for round in 0..6_u64 {
        let client = server.client.clone();
        let id = seen.last().map_or(0, |e| e["position"].as_u64().expect("a number"));
        let headers = [("last-event-id", id.to_string())];
        let mut whole = Follower::start(&client, "/v1/events?after=3", SSE, &headers);
        let mut stream = Follower::start(&client, "/v1/streams/account-1/events", SSE, &headers);
        write(&client, &format!("other-{round}"), 50);
        let last = deposit(&client, "1");
        // Twice it leaves in the middle.
        let until = if round < 2 { id + 40 } else { last };
        seen.extend(read_to(&mut whole, until).0);
        of_stream.extend(
            read_to(&mut stream, last)
                .0
                .into_iter()
                .filter(|event| event["position"].as_u64().expect("a number") <= until),
        );
        server = match round {
            0 | 1 => server,
            round if round.is_multiple_of(2) => {
                server.stop();
                assert!(whole.ended_well() && stream.ended_well(), "told to stop, they end");
                Server::start(dir.path())
            }
            _ => {
                server.kill();
                assert!(!whole.ended_well(), "a killed server says nothing");
                Server::start(dir.path())
            }
        };
    }
    let all = server.client.all_events();
    assert_eq!(seen, all);
    let wanted: Vec<_> = all.into_iter().filter(|e| e["stream"] == "account-1").collect();
    assert_eq!(of_stream, wanted);
}

#[test]
fn filters_narrow_what_is_followed_and_the_id_moves_on() {
    let (server, _dir) = server(&[]);
    let client = &server.client;
    write(client, "1", 20);
    let path = "/v1/events?type=Opened&type=Withdrawn&category=account";
    let mut opened = Follower::start(client, path, SSE, &[]);
    let mut nothing = Follower::start(client, "/v1/events?tag=none", SSE, &[]);
    assert!(matches!(opened.next(), Some(Event::Recorded { id: 1, .. })));
    assert!(matches!(opened.next(), Some(Event::CaughtUp { id: 21, .. })));
    assert!(matches!(nothing.next(), Some(Event::CaughtUp { id: 21, .. })));
    write(client, "2", 20);
    assert!(matches!(opened.next(), Some(Event::Recorded { id: 22, .. })));
    let withdraw = "/v1/aggregates/account/2/commands/withdraw";
    client.post(withdraw, &json!({"amount": 1})).ok();
    assert!(matches!(opened.next(), Some(Event::Recorded { id: 43, .. })));
    let mut one = Follower::start(client, "/v1/events?after=40&limit=1", SSE, &[]);
    assert!(matches!(one.next(), Some(Event::Recorded { id: 41, .. })));
    assert!(one.ended_well());
}

#[test]
fn lines_without_following_are_the_pages_in_one() {
    let (server, _dir) = server(&[]);
    let client = &server.client;
    for account in ["1", "2", "3"] {
        write(client, account, 700);
    }
    let mut lines = Follower::start(client, "/v1/events?follow=false", LINES, &[]);
    let read: Vec<_> = std::iter::from_fn(|| lines.next_line()).collect();
    assert!(lines.ended_well());
    assert_eq!(read, client.all_events());
    let path = "/v1/streams/account-2/events?follow=false&after=650";
    let mut lines = Follower::start(client, path, LINES, &[]);
    let read: Vec<_> = std::iter::from_fn(|| lines.next_line()).collect();
    let page = client.get("/v1/streams/account-2/events?after=650").ok().json;
    assert_eq!(json!(read), page["events"]);
    let mut events = Follower::start(client, "/v1/events?after=2103&follow=false", SSE, &[]);
    assert!(matches!(events.next(), Some(Event::CaughtUp { id: 2103, .. })));
    assert!(events.ended_well());
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let (server, _dir) = server(&[]);
    let client = &server.client;
    write(client, "1", 2);
    let get = |path: &str, id: Option<&str>| {
        let mut headers = vec![("accept", SSE)];
        headers.extend(id.map(|id| ("last-event-id", id)));
        client.send("GET", path, &headers, b"")
    };
    get("/v1/events?after=4", None).problem(400, "position_beyond_head");
    get("/v1/events", Some("4")).problem(400, "position_beyond_head");
    get("/v1/events", Some("x")).problem(400, "invalid_parameter");
    get("/v1/events?direction=backward", None).problem(400, "invalid_parameter");
    get("/v1/events?before=3", None).problem(400, "invalid_parameter");
    get("/v1/events?limit=0", None).problem(400, "invalid_parameter");
    get("/v1/events?follow=1", None).problem(400, "invalid_parameter");
    get("/v1/events?type=%20", None).problem(400, "invalid_name");
    get("/v1/streams/account-9/events", None).problem(404, "unknown_stream");
    client.get("/v1/events?follow=false").problem(400, "invalid_parameter");
}

#[test]
fn a_quiet_follower_hears_that_all_is_well() {
    let (server, _dir) = server(&["--heartbeat-ms", "50"]);
    let mut follower = Follower::start(&server.client, "/v1/events?type=Opened", SSE, &[]);
    assert!(matches!(follower.next(), Some(Event::CaughtUp { id: 0, .. })));
    for _ in 0..3 {
        assert!(matches!(follower.next(), Some(Event::Heartbeat)));
    }
    write(&server.client, "1", 0);
    let event = std::iter::from_fn(|| follower.next()).find(|e| !matches!(e, Event::Heartbeat));
    assert!(matches!(event, Some(Event::Recorded { id: 1, .. })));
}

#[test]
fn who_reads_nothing_is_cut_off_and_holds_up_nobody() {
    let (server, _dir) = server(&["--write-timeout-ms", "500"]);
    let client = &server.client;
    let mut stalled = Follower::start(client, "/v1/events", SSE, &[]);
    let mut reader = Follower::start(client, "/v1/events", SSE, &[]);
    wait_until("both follow", || subscribers(client) == 2);
    let owner = "x".repeat(200_000);
    let (got, last) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_to(&mut reader, 60).0);
        for account in 1..=60 {
            let path = format!("/v1/aggregates/account/{account}/commands/open");
            client.post(&path, &json!({"owner": owner})).ok();
        }
        (reading.join().expect("reads"), client.all_events())
    });
    assert_eq!(got, last);
    wait_until("the stalled one is cut off", || subscribers(client) == 1);
    // What it has of whole events is the beginning, and it can go on from there.
    let seen: Vec<_> = std::iter::from_fn(|| stalled.next())
        .filter_map(|event| match event {
            Event::Recorded { data, .. } => Some(data),
            _ => None,
        })
        .collect();
    assert!(!stalled.ended_well() && seen.len() < 60, "{} events", seen.len());
    assert_eq!(seen, last[..seen.len()]);
    let id = [("last-event-id", seen.len().to_string())];
    let mut again = Follower::start(client, "/v1/events", SSE, &id);
    assert_eq!(read_to(&mut again, 60).0, last[seen.len()..]);
}

/// So many followers wait while appends go on, and each gets what it waits for. Answers what they
/// cost in kB.
fn idle_followers(count: usize) -> u64 {
    let (server, _dir) = server(&[]);
    let client = &server.client;
    write(client, "1", 100);
    let before = server.memory_kb("VmRSS:");
    let mut followers: Vec<_> = (0..count)
        .map(|_| Follower::start(client, "/v1/events?type=Withdrawn", SSE, &[]))
        .collect();
    for follower in &mut followers {
        assert!(matches!(follower.next(), Some(Event::CaughtUp { id: 101, .. })));
    }
    assert_eq!(subscribers(client), count);
    let idle = server.memory_kb("VmRSS:").saturating_sub(before);
    write(client, "2", 2_000);
    let with_appends = server.memory_kb("VmRSS:").saturating_sub(before);
    let withdraw = "/v1/aggregates/account/1/commands/withdraw";
    let last = client.post(withdraw, &json!({"amount": 1})).ok().json["position"].clone();
    for follower in &mut followers {
        let Some(Event::Recorded { id, .. }) = follower.next() else { panic!("not an event") };
        assert_eq!(last, id);
    }
    eprintln!("{count} followers: {idle} kB idle, {with_appends} kB after appends");
    drop(followers);
    wait_until("all are gone", || subscribers(client) == 0);
    idle
}

#[test]
fn five_hundred_idle_followers_get_the_last_event() {
    idle_followers(500);
}

/// Whether tests that need many connections run too.
fn is_full_suite() -> bool {
    let is_full = std::env::var("FACTUM_SUITE").is_ok_and(|suite| suite == "full");
    if is_full {
        // Often 1,024 at first.
        let limit = getrlimit(Resource::Nofile);
        let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, most).expect("is raised");
    }
    is_full
}

#[test]
fn two_thousand_idle_followers_fit_in_64_mib() {
    if is_full_suite() {
        let kb = idle_followers(2_000);
        assert!(kb < 64 << 10, "they take {kb} kB");
    }
}

#[test]
fn five_thousand_waiters_take_under_4_kb_each() {
    if !is_full_suite() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--connections-per-address", "6000"]);
    server.install(hostile());
    let behave = "/v1/aggregates/hostile/1/commands/behave";
    server.client.post(behave, &json!({})).ok();
    // The read model never gets to position 2.
    server.client.post(behave, &json!({"poison": "bad_json"})).ok();
    let address = server.client.base.strip_prefix("http://").expect("an address");
    let ask = |connection: &mut TcpStream, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.write_all(request.as_bytes()).expect("is sent");
    };
    let answer = |connection: &mut TcpStream| {
        let mut start = [0; 12];
        connection.read_exact(&mut start).expect("is answered");
        let mut rest = [0; 4096];
        let read = connection.read(&mut rest).expect("is answered");
        (start, String::from_utf8_lossy(&rest[..read]).into_owned())
    };
    let mut connections: Vec<_> = (0..5_000)
        .map(|_| {
            let mut connection = TcpStream::connect(address).expect("connects");
            ask(&mut connection, "/livez");
            assert_eq!(&answer(&mut connection).0, b"HTTP/1.1 200");
            connection
        })
        .collect();
    let before = server.memory_kb("VmRSS:");
    for connection in &mut connections {
        ask(connection, "/v1/read-models/hostile_rows?min_position=2&wait=10");
    }
    let mut most = 0;
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(50));
        most = server.memory_kb("VmRSS:").max(most);
    }
    let kb = most.saturating_sub(before);
    eprintln!("5000 waiters: {kb} kB beyond their connections");
    for connection in &mut connections {
        let (start, rest) = answer(connection);
        assert_eq!(&start, b"HTTP/1.1 503", "{rest}");
    }
    assert!(kb < 4 * 5_000, "they take {kb} kB");
}
