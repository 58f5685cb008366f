//! The process dies at a named point, under load, and again while it starts, up to three deep.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::bank::Bank;
use crate::harness::{
    Client, Random, Server, parcels, parcels_moody, parcels_projection_v2, parcels_relabelled,
    rounds,
};
use crate::verify::{factum, text};

/// Fail points that a start passes, and how often it does at least.
const OF_A_START: [(&str, u64); 5] =
    [("mark", 4), ("settle", 1), ("replay", 3), ("project", 1), ("write", 2)];

/// Work beside that of the bank's clients; none when the server is gone. What it leaves goes into
/// the directory.
type Act = fn(&Client, &Path) -> Option<()>;

/// Dies at a point, at one of its first `most` passings, with `act` going on beside; starts again,
/// and compares.
fn dies_at(point: &str, most: u64, act: Act, rounds: u64) {
    let random = Random::from_time();
    let place = tempfile::tempdir().expect("a directory");
    let (mut bank, server) = Bank::open();
    server.kill();
    for round in 0..rounds {
        // A thread that stands still before the end gives those time who are too early.
        let pause_ms = if round % 2 == 0 { 150 } else { 0 };
        let death = format!("{point}:{}:{pause_ms}", 1 + random.below(most));
        eprintln!("{death}");
        if let Ok(server) = Server::start_to_die(bank.dir(), &death) {
            let client = server.client.clone();
            bank.work(&client, |client| act(client, place.path()), || server.died());
        }
        for _ in 0..random.below(3) {
            die_starting(bank.dir(), &random);
        }
        let server = Server::start(bank.dir());
        bank.check(&server.client, &random);
        act(&server.client, place.path()).expect("nothing is in the way any more");
        server.kill();
    }
    let server = Server::start(bank.dir());
    bank.check(&server.client, &random);
    server.stop();
}

/// Dies while it starts, or soon after.
fn die_starting(dir: &Path, random: &Random) {
    let (point, most) = random.pick(&OF_A_START);
    let death = format!("{point}:{}:0", 1 + random.below(*most));
    eprintln!("then {death}");
    if let Ok(server) = Server::start_to_die(dir, &death) {
        std::thread::sleep(Duration::from_millis(random.below(100)));
        server.kill();
    }
}

macro_rules! deaths {
    ($($point:ident of $most:literal, $act:ident;)*) => {
        $(#[test]
        fn $point() {
            dies_at(stringify!($point), $most, $act, rounds(2, 60));
        })*
    };
}

deaths! {
    decide of 200, rest;
    append of 100, rest;
    sync of 100, rest;
    commit of 100, rest;
    acknowledge of 300, rest;
    mark of 8, fill;
    settle of 3, fill;
    replay of 3, rest;
    index of 2, fill;
    project of 60, rest;
    write of 80, rest;
    swap of 4, rebuild;
    snapshot of 8, swap_versions;
    activate of 6, swap_versions;
    backup of 4, back_up;
}

#[test]
fn upload() {
    // In a store of its own each: what is known is not kept again.
    (0..rounds(2, 60)).for_each(|_| dies_at("upload", 8, upload_all, 1));
}

#[test]
fn keep() {
    let is_tidy = |dir: &Path| {
        let names = std::fs::read_dir(dir).expect("lists").flatten().map(|entry| entry.file_name());
        let names: Vec<_> = names.collect();
        names.iter().all(|name| !name.to_string_lossy().starts_with(".unfinished"))
    };
    let dir = tempfile::tempdir().expect("a directory");
    // The first thing that a first start keeps says what the directory is.
    for (passing, is_named) in [(1, false), (2, true)] {
        let dies = Server::start_to_die(dir.path(), &format!("keep:{passing}:0"));
        assert!(dies.is_err(), "it did not die");
        assert_eq!(is_tidy(dir.path()), is_named);
    }
    let server = Server::start_to_die(dir.path(), "keep:1:0").expect("all is kept");
    assert!(is_tidy(dir.path()), "what was not finished is left");
    assert!(server.client.try_upload(parcels()).is_err(), "it did not die");
    server.died();
    assert!(!is_tidy(&dir.path().join("components")));
    let server = Server::start(dir.path());
    assert!(is_tidy(&dir.path().join("components")), "what was not finished is left");
    server.install(parcels());
    server.stop();
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of several")]
fn rest(_: &Client, _: &Path) -> Option<()> {
    std::thread::sleep(Duration::from_millis(20));
    Some(())
}

/// So many events that the journal's files take turns and the index is written behind.
fn fill(client: &Client, _: &Path) -> Option<()> {
    let event = json!({"type": "Loaded", "stream": "load-1", "data": "x".repeat(700)});
    let body = json!({ "events": vec![event; 1_000] });
    let answer = client.try_post("/v1/events", &body, &[]).ok()?;
    answer.ok();
    Some(())
}

fn rebuild(client: &Client, _: &Path) -> Option<()> {
    client.try_send("POST", "/v1/projections/counts/rebuild", &[], None).ok()?;
    std::thread::sleep(Duration::from_millis(100));
    Some(())
}

fn swap_versions(client: &Client, _: &Path) -> Option<()> {
    for version in ["1.1.0", "1.0.0"] {
        let body = format!("{{\"version\":\"{version}\"}}");
        let headers = [("content-type", "application/json")];
        let path = "/v1/modules/account/active";
        client.try_send("PUT", path, &headers, Some(body.as_bytes())).ok()?.ok();
    }
    Some(())
}

fn upload_all(client: &Client, _: &Path) -> Option<()> {
    for component in [parcels(), parcels_relabelled(), parcels_projection_v2(), parcels_moody()] {
        let uploaded = client.try_upload(component).ok()?.ok().json;
        let (name, version) = (uploaded["name"].as_str()?, uploaded["version"].as_str()?);
        let path = format!("/v1/modules/{name}/versions/{version}");
        client.try_get(&path).ok()?.ok();
    }
    Some(())
}

/// A backup that ends is whole; one that does not leaves nothing.
fn back_up(client: &Client, place: &Path) -> Option<()> {
    let (file, restored) = (place.join("backup.tar"), place.join("restored"));
    let made = factum(&["backup", "--url", &client.base, "--to", text(&file)]);
    if made.code != 0 {
        assert!(!file.exists(), "half a backup is left: {}", made.err);
        return None;
    }
    factum(&["restore", "--from", text(&file), "--data", text(&restored)]).ok();
    factum(&["verify", "--data", text(&restored)]).ok();
    std::fs::remove_file(file).expect("is there");
    std::fs::remove_dir_all(restored).expect("is there");
    Some(())
}
