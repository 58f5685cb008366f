//! `factum verify` and signed checkpoints, on the real binary: what is damaged is named, and what a
//! third party keeps finds every forgery.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Server, account, command};

/// What a command of the binary says: its code, standard output and standard error.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.err))
    }

    /// Fails the test unless it ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{} {}", self.out, self.err);
        self
    }
}

/// Runs the binary to its end.
pub fn factum(arguments: &[&str]) -> Said {
    let Output { status, stdout, stderr } = command().args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: status.code().expect("a code"), out: text(stdout), err: text(stderr) }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A server with an account that has some events, a second stream and an idempotency key.
pub fn filled(dir: &Path, deposits: u64) -> Server {
    let server = Server::start(dir);
    server.install(account());
    fill(&server, 0, deposits);
    server
}

pub fn fill(server: &Server, from: u64, deposits: u64) {
    if from == 0 {
        let opened = json!({"owner": "Ann"});
        server.client.post("/v1/aggregates/account/1/commands/open", &opened).ok();
    }
    for number in from..from + deposits {
        let key = format!("deposit-{number}");
        let deposit = json!({"amount": number + 1});
        let path = "/v1/aggregates/account/1/commands/deposit";
        server.client.post_with(path, &deposit, &[("idempotency-key", &key)]).ok();
        let noted = json!({"events": [{"type": "Noted", "data": {"n": number}, "tags": ["a"]}]});
        server.client.post(&format!("/v1/streams/note-{}/events", number % 3), &noted).ok();
    }
}

fn offline(dir: &Path, more: &[&str]) -> Said {
    factum(&[&["verify", "--data", text(dir), "--json"], more].concat())
}

fn newest_log_file(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir).expect("lists").flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "redb"))
        .filter(|path| text(path).contains("/log-"))
        .collect();
    files.sort();
    files.pop().expect("a file")
}

/// Changes a byte of the only place in a file that holds some bytes; answers how many there were.
pub fn flip(file: &Path, needle: &[u8]) -> usize {
    let mut bytes = std::fs::read(file).expect("reads");
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(file, bytes).expect("writes");
    places.len()
}

#[test]
fn a_sound_store_passes_while_it_runs_and_when_it_does_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = filled(dir.path(), 30);
    let refused = offline(dir.path(), &[]);
    assert_eq!(refused.code, 2, "{}", refused.out);
    assert!(refused.err.contains("a running server uses"), "{}", refused.err);
    let running = factum(&["verify", "--url", &server.client.base, "--json"]).ok().json();
    let answer = server.client.post("/v1/verify", &json!({})).ok();
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let last: Value =
        serde_json::from_str(answer.text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["report"]["sound"], &running["sound"]), (&true.into(), &true.into()));
    assert_eq!(last["report"]["events"], 61);
    server.stop();
    let report = offline(dir.path(), &[]).ok().json();
    assert_eq!((&report["sound"], &report["events"]), (&true.into(), &61.into()), "{report}");
    assert_eq!(report["head"], running["head"]);
    let people = factum(&["verify", "--data-dir", text(dir.path())]).ok();
    assert!(people.out.trim_end().ends_with("sound"), "{}", people.out);
    let none = factum(&["verify", "--data", "/nowhere/at/all"]);
    assert_eq!(none.code, 2);
    assert!(none.err.contains("is not the data directory"), "{}", none.err);
    assert_eq!(factum(&["verify"]).code, 2);
}

#[test]
fn a_killed_store_is_verified_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), 20).kill();
    let report = offline(dir.path(), &[]).ok().json();
    assert_eq!(report["events"], 41);
    // What the journal alone has is damaged: a record that others follow.
    for file in ["log-journal-0", "log-journal-1"] {
        flip(&dir.path().join(file), b"deposit-3");
    }
    let said = offline(dir.path(), &[]);
    assert_eq!(said.code, 1, "{}", said.err);
    let report = said.json();
    assert_eq!(report["first_damage"]["part"], "journal", "{report}");
    // The module's activation, the opening and three deposits, each with a note, come before.
    assert_eq!(report["first_damage"]["decision"], 9, "{report}");
}

#[test]
fn damage_is_named_wherever_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), 30).stop();
    let kept = tempfile::tempdir().expect("a directory");
    copy(dir.path(), kept.path());
    let faults = |part: &str| {
        let said = offline(dir.path(), &[]);
        assert_eq!(said.code, 1, "{part}: {} {}", said.out, said.err);
        let report = said.json();
        assert_eq!(report["faults"][0]["part"], part, "{report}");
        copy(kept.path(), dir.path());
        report
    };
    assert!(flip(&newest_log_file(dir.path()), b"deposit-17") > 0);
    let report = faults("log");
    let damaged = report["first_damage"]["decision"].as_u64().expect("a decision");
    assert_eq!(report["reads_before"]["decision"], damaged - 1);
    assert!(report["reads_after"].as_u64() > Some(20), "{report}");
    assert!(report["first_damage"]["file"].as_str().is_some_and(|file| file.starts_with("log-")));
    let one = |folder: &str, extension: &str| {
        let entries = std::fs::read_dir(dir.path().join(folder)).expect("lists").flatten();
        let mut paths = entries.map(|entry| entry.path());
        paths.find(|path| text(path).ends_with(extension)).expect("a file")
    };
    flip(&one("components", "wasm"), b"\0asm");
    faults("component");
    std::fs::remove_file(one("components", "wasm")).expect("removes");
    faults("component");
    let code = one("compiled", "");
    let code = if code.ends_with("key") { other_code(&code) } else { code };
    std::fs::write(&code, b"something else").expect("writes");
    faults("code");
    std::fs::write(dir.path().join("index.redb"), vec![7; 20_000]).expect("writes");
    faults("index");
    // A foreign index, of a store with other events.
    let other = tempfile::tempdir().expect("a directory");
    filled(other.path(), 3).stop();
    std::fs::copy(other.path().join("index.redb"), dir.path().join("index.redb")).expect("copies");
    faults("index");
    assert_eq!(offline(dir.path(), &[]).code, 0, "the copy is sound again");
}

fn other_code(key: &Path) -> PathBuf {
    let entries = std::fs::read_dir(key.parent().expect("a directory")).expect("lists").flatten();
    entries.map(|entry| entry.path()).find(|path| path != key).expect("code")
}

/// Copies a directory over another.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("lists").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

#[test]
fn a_checkpoint_and_a_proof_are_checked_without_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = filled(dir.path(), 10);
    let url = server.client.base.clone();
    let key = factum(&["checkpoint", "--url", &url, "--public-key"]).ok().out.trim().to_owned();
    let mode = std::fs::metadata(dir.path().join("signing-key")).expect("is there").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let note = factum(&["checkpoint", "--url", &url]).ok().out;
    assert_eq!(server.client.get("/v1/checkpoint").ok().text, note);
    let size: u64 = note.lines().nth(1).expect("a size").parse().expect("a number");
    fill(&server, 10, 5);
    // The checkpoint of those records is the same for ever.
    assert_eq!(server.client.get(&format!("/v1/checkpoint?size={size}")).ok().text, note);
    let proof = factum(&["prove", "--url", &url, "--position", "7", "--size", &size.to_string()]);
    let files = tempfile::tempdir().expect("a directory");
    let write = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).expect("writes");
        text(&path).to_owned()
    };
    let proof = proof.ok().out;
    let file = write("proof", &proof);
    let proved = factum(&["verify-proof", &file, "--key", &key, "--position", "7"]).ok();
    let event = server.client.get("/v1/events/7").ok().json;
    assert!(proved.out.contains(&event["data"].to_string()), "{}", proved.out);
    assert_eq!(factum(&["verify-proof", &file, "--key", &key, "--position", "8"]).code, 1);
    let index = proof.lines().nth(2).expect("an index").to_owned();
    let forged = write("forged", &proof.replace(&index, "index 3"));
    assert_eq!(factum(&["verify-proof", &forged, "--key", &key]).code, 1);
    let no_proof = write("no-proof", "hello");
    assert_eq!(factum(&["verify-proof", &no_proof, "--key", &key]).code, 2);
    server.client.get("/v1/events/9999/proof").problem(404, "unknown_event");
    server.client.get("/v1/checkpoint?size=9999").problem(400, "invalid_parameter");
    server.client.get("/v1/events/21/proof?size=2").problem(400, "invalid_parameter");
    // Checked against what was kept, while it runs and when it does not.
    let note = write("note", &note);
    factum(&["verify", "--url", &url, "--against", &note, "--key", &key]).ok();
    server.stop();
    let said = offline(dir.path(), &["--against", &note, "--key", &key]).ok();
    assert!(said.out.contains("agrees"), "{}", said.out);
    offline(dir.path(), &["--against", &note]).ok();
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let refused = offline(dir.path(), &["--against", &note, "--key", stranger]);
    assert_eq!(refused.code, 2, "{}", refused.out);
    assert!(refused.err.contains("none of the keys given has signed"), "{}", refused.err);
}

#[test]
fn checkpoints_are_kept_at_intervals() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--checkpoint-seconds", "1"]);
    server.install(account());
    fill(&server, 0, 3);
    let kept = dir.path().join("checkpoints");
    for _ in 0..600 {
        if kept.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    server.stop();
    assert!(kept.exists(), "none was kept within a minute");
    let report = offline(dir.path(), &[]).ok().json();
    let compared = report["compared"].as_array().expect("a list");
    let kept = |what: &Value| what["what"].as_str().is_some_and(|w| w.contains("kept in the data"));
    assert!(compared.iter().any(|c| kept(c) && c["outcome"] == "agrees"), "{report}");
}
