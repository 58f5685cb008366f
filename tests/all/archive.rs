//! Closed files of the log move to an archive and back, on the real binary: what works from an
//! archive within reach, what is said where it is out of reach, and what a crash leaves.

mod crashes;
mod deaths;
mod rejections;
mod slow;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Server, account, account_with_overdraft, counting, counting_otherwise, flights,
};
use crate::projections::fly;
use crate::verify::{factum, text};

/// So that a few hundred records are several files.
const SMALL: [&str; 4] = ["--segment-bytes", "65536", "--journal-bytes", "32768"];

/// A place for a data directory and an archive.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    pub fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|stderr| panic!("did not start: {stderr}"))
    }

    pub fn try_start(&self) -> Result<Server, String> {
        let archive = self.text("archive");
        let arguments = [&SMALL[..], &["--archive-dir", &archive]].concat();
        Server::try_start(&self.path("data"), &arguments)
    }

    /// Starts one that dies at a fail point, perhaps before it listens.
    fn start_to_die(&self, more: &[&str], fail_point: &str) -> Result<Server, String> {
        let archive = self.text("archive");
        let arguments = [&SMALL[..], &["--archive-dir", &archive], more].concat();
        Server::start_to_die_with(&self.path("data"), &arguments, fail_point)
    }

    /// A server with 400 flights, the first of which is in the oldest file.
    pub fn filled(&self) -> Server {
        let server = self.start();
        server.install(flights());
        let limits = br#"{"deadline_ms": 4321}"#;
        let headers = [("content-type", "application/json")];
        server.client.send("PUT", "/v1/modules/flights/limits", &headers, limits).ok();
        fly(&server.client, 0, 200);
        fly(&server.client, 200, 200);
        server
    }

    fn verified(&self, more: &[&str]) -> Value {
        let data = self.text("data");
        factum(&[&["verify", "--data", &data, "--json"], more].concat()).ok().json()
    }
}

/// The log's files in a directory and below it, in order, without one that is being made.
pub fn log_files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(log_files(&entry.path()));
        } else if name.starts_with("log-0") && name.ends_with(".redb") {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Moves what may move; answers what is archived then.
pub fn archive(server: &Server, more: &[&str]) -> Value {
    factum(&[&["archive", "--url", &server.client.base, "--json"], more].concat()).ok().json()
}

fn flight(number: u64) -> String {
    format!("/v1/aggregates/flight/UA-{number}-20130101-EWR-0515")
}

fn depart(server: &Server, number: u64, key: &str) -> Answer {
    let path = format!("{}/commands/depart", flight(number));
    server.client.post_with(&path, &json!({"delay_minutes": 2}), &[("idempotency-key", key)])
}

fn follow(server: &Server, after: u64) -> Answer {
    let path = format!("/v1/events?after={after}&follow=false");
    server.client.get_with(&path, &[("accept", "application/x-ndjson")])
}

/// Waits until something is so, for a minute at most.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{what}: not within a minute");
}

/// Waits until a projection has no build and is at the head.
fn rebuilt(server: &Server, projection: &str) {
    let path = format!("/v1/projections/{projection}");
    wait_until("it is built", || server.client.get(&path).ok().json["build"].is_null());
}

fn projection(server: &Server) -> String {
    let all = server.client.get("/v1/projections").ok().json;
    all["projections"][0]["projection"].as_str().expect("a name").to_owned()
}

#[test]
fn everything_is_as_it_was_from_an_archive_within_reach() {
    let place = Place::new();
    let server = place.filled();
    let before = log_files(&place.path("data"));
    assert!(before.len() > 4, "{before:?}");
    let events = server.client.all_events();
    let state = server.client.get(&flight(3)).ok().json;
    let view = archive(&server, &[]);
    let away = log_files(&place.path("archive"));
    assert_eq!(view["files"].as_array().expect("a list").len(), away.len(), "{view}");
    assert!(away.len() > 2 && away[..] == before[..away.len()], "{away:?} of {before:?}");
    // What is in the journal goes to rows meanwhile, perhaps in a new file.
    let here = log_files(&place.path("data"));
    assert!(here.starts_with(&before[away.len()..]), "{here:?} of {before:?}");
    let listed = factum(&["archive", "--list", "--url", &server.client.base, "--json"]).ok().json();
    assert_eq!((&listed, &server.client.get("/v1/archive").ok().json), (&view, &view));

    let everything = |server: &Server| {
        assert_eq!(server.client.all_events(), events);
        assert_eq!(follow(server, 0).ok().text.lines().count(), events.len());
        assert_eq!(server.client.get(&flight(3)).ok().json, state);
        server.client.get(&format!("{}?at=600", flight(3))).ok();
        server.client.get("/v1/read-models/carriers?at=20&wait=30").ok();
        server.client.get("/v1/events/1/proof").ok();
        let replayed = depart(server, 3, "UA-3-20130101-EWR-0515-depart").ok();
        assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
        let name = projection(server);
        server.client.post(&format!("/v1/projections/{name}/rebuild"), &json!({})).ok();
        rebuilt(server, &name);
        let report = factum(&["verify", "--url", &server.client.base, "--json"]).ok().json();
        assert_eq!((&report["sound"], &report["out_of_reach"]), (&true.into(), &0.into()));
    };
    everything(&server);
    let url = server.client.base.clone();
    factum(&["backup", "--url", &url, "--to", &place.text("full.tar")]).ok();
    server.stop();
    assert_eq!(place.verified(&[])["out_of_reach"], 0);
    // Everything that is made of the log is made again, and the archive is remembered.
    std::fs::remove_file(place.path("data/index.redb")).expect("removes");
    std::fs::remove_file(place.path("data/log-tree")).expect("removes");
    let server = Server::start(&place.path("data"));
    everything(&server);
    // A restored store has everything in its own directory.
    factum(&["restore", "--from", &place.text("full.tar"), "--data", &place.text("new")]).ok();
    let restored = Server::start(&place.path("new"));
    assert_eq!(restored.client.all_events(), events);
    assert_eq!(restored.client.get("/v1/archive").ok().json["through_decision"], 0);
    // And back.
    factum(&["unarchive", "--url", &server.client.base]).ok();
    assert!(log_files(&place.path("archive")).is_empty());
    everything(&server);
    server.stop();
    assert!(log_files(&place.path("data")).starts_with(&before));
    place.verified(&[]);
}

#[test]
fn what_needs_an_archive_that_is_out_of_reach_says_so_and_the_rest_goes_on() {
    let place = Place::new();
    let server = place.filled();
    let events = server.client.all_events();
    let url = server.client.base.clone();
    let key = factum(&["checkpoint", "--url", &url, "--public-key"]).ok().out.trim().to_owned();
    std::fs::write(place.path("note"), factum(&["checkpoint", "--url", &url]).ok().out)
        .expect("writes");
    factum(&["backup", "--url", &url, "--to", &place.text("full.tar")]).ok();
    let view = archive(&server, &[]);
    let cut = view["through_position"].as_u64().expect("a position");
    let decision = view["through_decision"].as_u64().expect("a decision");
    let model = server.client.get("/v1/read-models/carriers/UA").ok().json;
    server.stop();
    std::fs::rename(place.path("archive"), place.path("elsewhere")).expect("moves");

    let server = place.start();
    needs_what_is_out_of_reach(&server);
    what_is_newer_goes_on(&server, &events, cut, decision);
    assert_eq!(
        server.client.get("/v1/read-models/carriers/UA").ok().json["arrived"],
        model["arrived"]
    );
    // What was set in the oldest file holds.
    let limits = server.client.get("/v1/modules/flights").ok().json;
    assert_eq!(limits["limits"]["deadline_ms"], 4321, "{limits}");
    let url = server.client.base.clone();
    let said = factum(&["backup", "--url", &url, "--to", &place.text("again.tar")]);
    assert!(said.code == 1 && said.err.contains("are archived in"), "{}", said.err);
    let after = place.text("full.tar");
    factum(&["backup", "--url", &url, "--to", &place.text("more.tar"), "--after", &after]).ok();
    let said = factum(&["export", "--url", &url]);
    assert!(said.code == 1 && said.err.contains("are archived in"), "{}", said.err);
    let running = factum(&["verify", "--url", &url, "--json"]).ok().json();
    assert_eq!((&running["sound"], &running["out_of_reach"]), (&true.into(), &decision.into()));
    server.stop();
    // The chain and a checkpoint of before are verified across what is not there.
    let note = place.text("note");
    let report = place.verified(&["--against", &note, "--key", &key]);
    assert_eq!((&report["sound"], &report["out_of_reach"]), (&true.into(), &decision.into()));
    let compared = report["compared"].to_string();
    assert!(compared.contains("out of reach in"), "{compared}");
    std::fs::rename(place.path("data/index.redb"), place.path("index")).expect("moves");
    let refused = place.try_start().map(drop).expect_err("an index of half a log");
    assert!(refused.contains("are archived in"), "{refused}");
    std::fs::rename(place.path("index"), place.path("data/index.redb")).expect("moves");

    // It is read where it is named, and that is remembered.
    let elsewhere = place.text("elsewhere");
    let server = Server::start_with(&place.path("data"), &["--archive-dir", &elsewhere]);
    assert_eq!(server.client.all_events()[..events.len()], events);
    server.stop();
    let server = Server::start(&place.path("data"));
    let file = server.client.get("/v1/archive").ok().json["files"][0].clone();
    assert_eq!(file["within_reach"], true, "{file}");
    server.stop();
    place.verified(&["--against", &note, "--key", &key]);
}

fn needs_what_is_out_of_reach(server: &Server) {
    let client = &server.client;
    let name = projection(server);
    let posted = |path: &str| client.post(path, &json!({}));
    for (what, answer) in [
        ("events", client.get("/v1/events?limit=5")),
        ("an event", client.get("/v1/events/3")),
        ("events by type", client.get("/v1/events?type=Scheduled")),
        ("a stream", client.get("/v1/streams/flight-UA-3-20130101-EWR-0515/events")),
        ("a state", client.get(&flight(3))),
        ("a state then", client.get(&format!("{}?at=20", flight(3)))),
        ("a history", client.get(&format!("{}/history", flight(3)))),
        ("decisions", client.get("/v1/decisions")),
        ("a decision", client.get("/v1/decisions/4")),
        ("a proof", client.get("/v1/events/3/proof")),
        ("a follower", follow(server, 0)),
        ("a read model then", client.get("/v1/read-models/carriers?at=20")),
        ("a rebuild", posted(&format!("/v1/projections/{name}/rebuild"))),
        ("a command", depart(server, 3, "new-key")),
        ("a retry", depart(server, 3, "UA-3-20130101-EWR-0515-depart")),
        ("a backup", client.get("/v1/backup")),
    ] {
        is_out_of_reach(answer, what);
    }
}

fn is_out_of_reach(answer: Answer, what: &str) {
    let needed = answer.json["needed"].clone();
    let detail = answer.problem(503, "archived");
    assert!(detail.contains("are archived in") && detail.contains("--archive-dir"), "{detail}");
    assert!(needed["last_decision"].as_u64() >= needed["first_decision"].as_u64(), "{what}");
    assert!(needed["file"].as_str().is_some_and(|file| file.contains("/archive/")), "{needed}");
}

fn what_is_newer_goes_on(server: &Server, events: &[Value], cut: u64, decision: u64) {
    let client = &server.client;
    let newer = &events[usize::try_from(cut).expect("fits")..];
    let page = client.get(&format!("/v1/events?after={cut}&limit=1000")).ok().json;
    assert_eq!(page["events"].as_array().expect("a list")[..], *newer);
    assert_eq!(follow(server, cut).ok().text.lines().count(), newer.len());
    let backward = client.get("/v1/events?direction=backward&limit=1000").ok().json;
    assert_eq!(backward["events"].as_array().expect("a list").len(), newer.len());
    let next = backward["next"].to_string();
    let next = next.trim_matches('"');
    client.get(&format!("/v1/events?direction=backward&before={next}")).problem(503, "archived");
    client.get(&format!("/v1/decisions?after={decision}")).ok();
    client.get(&format!("/v1/events/{}/proof", events.len())).ok();
    client.get("/v1/checkpoint").ok();
    let time = newer.last().expect("one")["recorded_at"].as_str().expect("a time");
    assert!(client.get(&format!("{}?at={time}", flight(399))).ok().json["state"].is_object());
    let streams = client.get("/v1/streams?limit=1000").ok().json;
    let streams = streams["streams"].as_array().expect("a list");
    let unknown = streams.iter().filter(|stream| stream["first_at"].is_null()).count();
    assert!((1..400).contains(&unknown) && streams.len() == 400, "{unknown}");
    // Commands to a stream whose events are newer are decided, replayed and refused.
    let replayed = depart(server, 399, "UA-399-20130101-EWR-0515-depart").ok();
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    depart(server, 399, "twice").problem(422, "rejected");
    assert_eq!(client.get("/v1/events?limit=1&direction=backward").ok().json["head"], events.len());
    let noted = json!({"events": [{"type": "Noted", "data": {}}]});
    client.post("/v1/streams/note-1/events", &noted).ok();
}

/// It was answered that the module is broken, or that it differs, while nobody could know.
#[test]
fn a_version_that_must_read_what_is_out_of_reach_is_not_called_broken() {
    let place = Place::new();
    let server = place.start();
    server.install(account());
    server.install(counting());
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    let counted = json!({"events": [{"type": "Counted", "data": {}}]});
    server.client.post("/v1/streams/thing-1/events", &counted).ok();
    pad(&server);
    for component in [account_with_overdraft(), counting_otherwise()] {
        server.client.upload(component).ok();
    }
    assert!(archive(&server, &[])["through_position"].as_u64() >= Some(2));
    server.stop();
    std::fs::rename(place.path("archive"), place.path("elsewhere")).expect("moves");

    let server = place.start();
    is_out_of_reach(server.client.activate("account", "1.1.0"), "a fold");
    is_out_of_reach(server.client.activate("counting", "1.3.0"), "a proof");
    std::fs::remove_dir_all(place.path("archive")).ok();
    std::fs::rename(place.path("elsewhere"), place.path("archive")).expect("moves");
    server.client.activate("account", "1.1.0").ok();
    server.client.activate("counting", "1.3.0").problem(422, "activation_refused");
}

/// Fills files with events that no module wants.
fn pad(server: &Server) {
    for number in 0..400 {
        let event = json!({"type": "Padded", "data": {"text": "x".repeat(1000)}});
        let events = json!({"events": vec![event; 2]});
        server.client.post(&format!("/v1/streams/pad-{number}/events"), &events).ok();
    }
}

#[test]
fn files_move_by_position_time_and_policy_and_without_a_server() {
    let place = Place::new();
    let server = place.filled();
    let bad = server.client.post("/v1/archive", &json!({"before": "soon"}));
    bad.problem(400, "invalid_body");
    server.client.post("/v1/archive", &json!({"after": 3})).problem(400, "invalid_body");
    assert_eq!(archive(&server, &["--before", "1"])["through_decision"], 0);
    let event = server.client.get("/v1/events/700").ok().json;
    let some = archive(&server, &["--before", "700"]);
    let through = some["through_position"].as_u64().expect("a position");
    assert!((1..700).contains(&through), "{some}");
    let url = server.client.base.clone();
    factum(&["unarchive", "--url", &url, "--after", "1"]).ok();
    assert!(log_files(&place.path("archive")).is_empty());
    let time = event["recorded_at"].as_str().expect("a time");
    let by_time = archive(&server, &["--before", time]);
    assert!(by_time["through_position"].as_u64() <= Some(through), "{by_time}");
    server.stop();
    // Without a server, to a place of its own; and back.
    let (data, other) = (place.text("data"), place.text("other"));
    factum(&["unarchive", "--data", &data]).ok();
    let view = factum(&["archive", "--data", &data, "--archive-dir", &other, "--json"]).ok().json();
    let moved = view["files"].as_array().expect("a list").len();
    assert!(moved > 2 && log_files(&place.path("other")).len() == moved, "{view}");
    factum(&["unarchive", "--data", &data]).ok();
    assert!(log_files(&place.path("other")).is_empty());
    // A server without a place says what is missing; one with a policy moves by itself.
    let bare = Server::start_with(&place.path("bare"), &SMALL);
    bare.client.post("/v1/archive", &json!({})).problem(409, "no_archive");
    let archive = place.text("archive");
    let policy = ["--archive-after-days", "0", "--archive-check-seconds", "1"];
    let arguments = [&SMALL[..], &["--archive-dir", &archive], &policy].concat();
    let server = Server::start_with(&place.path("data"), &arguments);
    for _ in 0..600 {
        if log_files(&place.path("archive")).len() == moved {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(log_files(&place.path("archive")).len(), moved);
    assert_eq!(server.client.all_events().len(), 1200);
    server.stop();
    place.verified(&[]);
}
