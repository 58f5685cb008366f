//! Backups whose client takes its time: files move meanwhile, and what is erased waits for so long
//! as it may.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::json;

use super::rejections::{rejected, wait_until_erased};
use super::{Place, SMALL, archive, log_files, pad, wait_until};
use crate::harness::{Server, account};
use crate::verify::factum;

/// So that a client may take as long as a test.
const PATIENT: [&str; 2] = ["--write-timeout-ms", "600000"];

/// A backup of which only the beginning was read.
struct Slow(TcpStream);

impl Slow {
    fn begin(server: &Server) -> Self {
        let address = server.client.base.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).expect("connects");
        // The body of such an answer has no parts of its own.
        let ask = format!("GET /v1/backup HTTP/1.0\r\nHost: {address}\r\n\r\n");
        socket.write_all(ask.as_bytes()).expect("is asked");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("is answered");
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
        Self(socket)
    }

    /// Reads the rest, as far as it comes.
    fn end(mut self, to: &Path) {
        let mut file = std::fs::File::create(to).expect("is made");
        // One that is broken off may end with an error.
        let _ = std::io::copy(&mut self.0, &mut file);
    }
}

/// More than a connection keeps of what nobody reads.
fn fill(server: &Server) {
    for number in 0..60 {
        let event = json!({"type": "Padded", "data": {"text": "x".repeat(200_000)}});
        server
            .client
            .post(&format!("/v1/streams/big-{number}/events"), &json!({"events": [event]}))
            .ok();
    }
}

/// All of it went to the server's memory, as fast as it could be read from the disk: the library
/// below HTTP takes without end what it is to send in one flush with the next answer.
#[test]
fn a_backup_that_nobody_reads_stays_on_the_disk() {
    let place = Place::new();
    let server = place.start();
    fill(&server);
    let _slow = Slow::begin(&server);
    // Each waits for a place; there would be one when all was taken.
    for _ in 0..5 {
        server.client.get("/v1/backup").problem(409, "upkeep_running");
    }
}

#[test]
fn files_move_while_a_backup_is_read_slowly() {
    let place = Place::new();
    let archive_dir = place.text("archive");
    let arguments = [&SMALL[..], &PATIENT, &["--archive-dir", &archive_dir]].concat();
    let server = Server::start_with(&place.path("data"), &arguments);
    fill(&server);
    pad(&server);
    let events = server.client.all_events();
    let slow = Slow::begin(&server);
    let moved = archive(&server, &[])["files"].as_array().expect("a list").len();
    assert!(moved > 2 && log_files(&place.path("archive")).len() == moved, "{moved}");
    factum(&["unarchive", "--url", &server.client.base, "--after", "20"]).ok();
    slow.end(&place.path("slow.tar"));
    server.stop();
    factum(&["restore", "--from", &place.text("slow.tar"), "--data", &place.text("new")]).ok();
    let restored = Server::start(&place.path("new"));
    assert_eq!(restored.client.all_events(), events);
}

/// A server that erases at once what refused commands said, unless somebody reads the whole log;
/// three of them are in a backup that is read slowly, and are due.
fn due_during_a_backup(place: &Place, more: &[&str]) -> (Server, Slow) {
    let archive = place.text("archive");
    let policy = ["--archive-after-days", "0", "--retain-rejections-days", "0"];
    let often = ["--archive-check-seconds", "1", "--archive-dir", &archive];
    let arguments = [&SMALL[..], &PATIENT, &policy, &often, more].concat();
    let server = Server::start_with(&place.path("data"), &arguments);
    server.install(account());
    fill(&server);
    for _ in 0..4 {
        let opened = json!({"owner": "Ann"});
        server.client.post("/v1/aggregates/account/1/commands/open", &opened);
    }
    let newest = rejected(&server)[2]["decision"].as_u64().expect("a number");
    let slow = Slow::begin(&server);
    pad(&server);
    let through = || server.client.get("/v1/archive").ok().json["through_decision"].as_u64();
    wait_until("the refused commands are archived", || through() >= Some(newest));
    (server, slow)
}

#[test]
fn what_is_due_to_be_erased_waits_for_a_backup_that_is_read_slowly() {
    let place = Place::new();
    let (server, slow) = due_during_a_backup(&place, &[]);
    slow.end(&place.path("slow.tar"));
    wait_until_erased(&server);
    server.stop();
    factum(&["restore", "--from", &place.text("slow.tar"), "--data", &place.text("new")]).ok();
    let restored = factum(&["verify", "--data", &place.text("new"), "--json"]).ok().json();
    assert_eq!((&restored["sound"], &restored["erased"]), (&true.into(), &0.into()));
}

#[test]
fn a_backup_that_erasing_waited_for_long_enough_is_broken_off() {
    let place = Place::new();
    let (server, slow) = due_during_a_backup(&place, &["--erase-wait-seconds", "0"]);
    wait_until_erased(&server);
    slow.end(&place.path("slow.tar"));
    server.stop();
    let slow = place.text("slow.tar");
    let said = factum(&["restore", "--from", &slow, "--data", &place.text("new")]);
    assert!(said.code == 1 && !place.path("new").exists(), "{}", said.err);
}
