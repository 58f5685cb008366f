//! The compiler is a child: capped, killed, and needed once for each component.

use std::path::Path;

use serde_json::json;

use super::bytes::{carrying, function, functions};
use super::costly;
use super::table::beside;
use crate::harness::{Server, account, command};

/// Keeps the compiler busy for as long as it may.
fn bomb() -> Vec<u8> {
    let (_, bytes, _) = costly::bombs().into_iter().next().expect("there is one");
    bytes
}

/// The processes whose parent is this one.
fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task");
    let tasks = std::fs::read_dir(path).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().flat_map(str::parse).collect::<Vec<u32>>())
        .collect()
}

fn the_child_of(server: &Server) -> u32 {
    for _ in 0..3_000 {
        if let [child] = children(server.pid())[..] {
            return child;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nothing is compiled")
}

fn wait_for_the_end_of(process: u32) {
    for _ in 0..3_000 {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"));
        if status.map_or(true, |status| status.contains("State:\tZ")) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the compiler goes on")
}

#[test]
fn the_compiler_is_given_nothing_but_the_bytes_and_its_caps() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--compile-cpu-seconds", "3"]);
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| server.client.upload(&bomb()));
        let child = the_child_of(&server);
        let read = |what: &str| std::fs::read(format!("/proc/{child}/{what}")).expect("reads");
        // Until it has set its caps and closed what it was not given, it is the server's copy.
        let look = || {
            let limits = String::from_utf8(read("limits")).expect("is text");
            (limits, std::fs::read_dir(format!("/proc/{child}/fd")).expect("reads").count())
        };
        let cap = |limits: &str, name: &str| {
            limits.lines().find(|line| line.starts_with(name)).expect("is there").to_owned()
        };
        let is_ready = |limits: &str, files| {
            files == 3 && cap(limits, "Max address space").contains("1073741824")
        };
        let mut looks = std::iter::repeat_with(look).take(10_000);
        let (limits, _) = looks
            .find(|(limits, files)| is_ready(limits, *files))
            .expect("its address space and standard input, output and error, and no more");
        assert!(cap(&limits, "Max cpu time").contains(" 3 "), "{limits}");
        assert_eq!(read("environ"), b"");
        upload.join().expect("answers").problem(422, "module_too_costly");
        wait_for_the_end_of(child);
    });
}

#[test]
fn the_compiler_ends_with_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let (client, bomb) = (server.client.clone(), bomb());
    let upload = std::thread::spawn(move || client.try_upload(&bomb).is_err());
    let child = the_child_of(&server);
    server.kill();
    wait_for_the_end_of(child);
    assert!(upload.join().expect("ends"), "nobody answers");
}

#[test]
fn uploads_wait_for_one_another_and_commands_for_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--compile-cpu-seconds", "2"]);
    server.install(account());
    let done = beside(&server.client, || {
        std::thread::scope(|scope| {
            let uploads: Vec<_> = (0..4)
                .map(|id| {
                    let mut body = bomb();
                    // A custom section without a name makes each another one.
                    body.extend([0, 2, 1, b'a' + id]);
                    let client = &server.client;
                    scope.spawn(move || client.upload(&body))
                })
                .collect();
            while uploads.iter().any(|upload| !upload.is_finished()) {
                assert!(children(server.pid()).len() <= 1, "two are compiled at once");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            for upload in uploads {
                upload.join().expect("answers").problem(422, "module_too_costly");
            }
        });
    });
    assert!(done > 20, "only {done} commands beside four bombs");
}

#[test]
fn a_start_takes_code_from_the_cache_and_does_without_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    server.stop();
    let deposits = |starts: u32, arguments: &[&str]| {
        let server = Server::start_with(dir.path(), arguments);
        let path = "/v1/aggregates/account/1/commands/deposit";
        server.client.post(path, &json!({"amount": 1})).ok();
        let state = server.client.get("/v1/aggregates/account/1").ok();
        assert_eq!(state.json["state"]["balance"], starts);
        server.stop();
    };
    // A compiler that may use nothing cannot help.
    let no_compiler = ["--compile-memory-bytes", "1000"];
    deposits(1, &no_compiler);
    let entry = entry(dir.path());
    let mut damaged = std::fs::read(&entry).expect("reads");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&entry, &damaged).expect("writes");
    quarantined(&Server::start_with(dir.path(), &no_compiler));
    deposits(2, &[]);
    assert_ne!(std::fs::read(&entry).expect("was made again"), damaged);
    deposits(3, &no_compiler);
    std::fs::remove_dir_all(dir.path().join("compiled")).expect("is removed");
    deposits(4, &[]);
    deposits(5, &no_compiler);
}

fn quarantined(server: &Server) {
    let module = server.client.get("/v1/modules/account").ok().json;
    let reason = module["quarantined"].as_str().expect("is set aside");
    assert!(reason.contains("compile_memory_bytes"), "{reason}");
}

fn entry(dir: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(dir.join("compiled")).expect("reads");
    let mut paths = entries.map(|entry| entry.expect("reads").path());
    paths.find(|path| path.file_name().is_some_and(|name| name != "key")).expect("an entry")
}

#[test]
fn the_compiler_by_itself_says_what_it_does_not_take() {
    let child_of = |parent: u32, memory: &str| {
        let mut compiler = command();
        compiler.args(["compile-component", "--cpu-seconds", "10", "--memory-bytes", memory]);
        compiler.args(["--parent", &parent.to_string()]);
        compiler.stdin(std::process::Stdio::null()).output().expect("runs")
    };
    let here = std::process::id();
    let said = child_of(here, "1000000000");
    assert_eq!((said.status.code(), said.stdout.len()), (Some(3), 0), "{said:?}");
    assert!(!said.stderr.is_empty());
    assert!(!child_of(here, "1000").status.success());
    // A server that was killed while it started its compiler sends no signal to it when it ends:
    // the compiler went on for as long as its caps allowed.
    let orphan = child_of(here + 1, "1000000000");
    assert_eq!(orphan.status.code(), Some(4), "{orphan:?}");
    assert!(String::from_utf8_lossy(&orphan.stderr).contains("has ended"), "{orphan:?}");
    // And what it does take is not empty.
    assert!(carrying(&functions([function(0, [])])).len() > 100);
}
