//! What the system takes away from a running server, and gives back: each has one clear answer and
//! one line in the log, loses nothing that was acknowledged, and ends by itself.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use super::deposit;
use crate::harness::{Server, account};

/// A server with an account, and what it logs.
fn start() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_logging(&dir.path().join("data"), &dir.path().join("log"));
    server.install(account());
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    (dir, server)
}

fn limit(server: &Server, resource: Resource, current: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).expect("a pid")).expect("a pid");
    let maximum = getrlimit(resource).maximum;
    prlimit(Some(pid), resource, Rlimit { current, maximum }).expect("it runs");
}

/// Lines of the log that say something.
fn lines(dir: &tempfile::TempDir, of: &str) -> usize {
    let log = std::fs::read_to_string(dir.path().join("log")).expect("is there");
    log.lines().filter(|line| line.contains(of)).count()
}

/// Deposits from a number on until one is refused; answers its number and what was said.
fn until_refused(server: &Server, from: u64) -> (u64, serde_json::Value) {
    for number in from..from + 100_000 {
        let (status, said) = deposit(&server.client, number);
        if status != 200 {
            return (number, said);
        }
    }
    panic!("nothing was refused");
}

/// Deposits one that was refused until it is done, and looks whether each was done once.
fn recovers(dir: &tempfile::TempDir, server: Server, refused: u64) {
    let mut tries = 0;
    while deposit(&server.client, refused).0 != 200 {
        tries += 1;
        assert!(tries < 200, "it did not recover");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    server.client.get("/readyz").ok();
    server.stop();
    let server = Server::start(&dir.path().join("data"));
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], refused + 1, "one deposit for each key");
    assert_eq!(server.client.all_events().len() as u64, refused + 2);
    server.stop();
}

#[test]
fn files_that_may_not_grow_refuse_appends_until_they_may() {
    let (dir, server) = start();
    // Less than a new file of the journal takes.
    limit(&server, Resource::Fsize, Some(40_000));
    let (refused, said) = until_refused(&server, 0);
    assert_eq!(said["code"], "outcome_unknown", "{said}");
    let (_, said) = until_refused(&server, refused);
    assert_eq!(said["code"], "unavailable", "{said}");
    server.client.get("/readyz").problem(503, "not_ready");
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], refused);
    assert_eq!(lines(&dir, "a commit failed"), 1);
    limit(&server, Resource::Fsize, None);
    recovers(&dir, server, refused);
}

#[test]
fn without_file_descriptors_new_connections_wait_and_others_go_on() {
    let (dir, server) = start();
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").count();
    limit(&server, Resource::Nofile, Some(u64::try_from(open).expect("few")));
    let late = {
        let client = server.client.patient();
        std::thread::spawn(move || client.get("/v1/aggregates/account/1").ok())
    };
    for number in 0..50 {
        assert_eq!(deposit(&server.client, number).0, 200);
    }
    let mut looks = 0;
    while lines(&dir, "connections cannot be accepted") == 0 {
        looks += 1;
        assert!(looks < 600, "nothing was said");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    limit(&server, Resource::Nofile, Some(1_024));
    late.join().expect("it is answered");
    assert_eq!(lines(&dir, "connections cannot be accepted"), 1);
    recovers(&dir, server, 50);
}

#[test]
fn a_data_directory_that_is_gone_refuses_appends_until_it_is_back() {
    let (dir, server) = start();
    let (data, elsewhere) = (dir.path().join("data"), dir.path().join("elsewhere"));
    std::fs::rename(&data, &elsewhere).expect("moves");
    let (refused, said) = until_refused(&server, 0);
    assert_eq!(said["code"], "unavailable", "{said}");
    assert!(said["detail"].as_str().is_some_and(|why| why.contains("data directory")), "{said}");
    server.client.get("/readyz").problem(503, "not_ready");
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], refused);
    std::fs::rename(&elsewhere, &data).expect("moves");
    recovers(&dir, server, refused);
}
