//! Every hand-made case through the real route, while another module goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{costly, misfits};
use crate::harness::{Client, Server, account};

/// Small enough that a bomb is over in a second or two, and an honest module never near it.
const CAPS: [&str; 6] = [
    "--guest-deadline-ms",
    "200",
    "--compile-cpu-seconds",
    "3",
    "--compile-memory-bytes",
    "300000000",
];

#[test]
fn every_hostile_component_is_refused_by_name_while_commands_flow() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &CAPS);
    server.install(account());
    let before = server.memory_kb("VmHWM");
    let (misfits, costly, bombs) = (misfits::all(), costly::all(), costly::bombs());
    assert!(misfits.len() + costly.len() + bombs.len() >= 60);
    let mut faults = Vec::new();
    let commands = beside(&server.client, || {
        let misfits = misfits.iter().map(|case| (case, "invalid_module", Value::Null));
        let costly = costly.iter().chain(&bombs);
        let costly = costly.map(|case| (case, "module_too_costly", json!(case.2)));
        for ((name, bytes, word), code, limit) in misfits.chain(costly) {
            let answer = server.client.upload(bytes);
            let text = answer.text.clone();
            assert!(text.len() < 20_000, "{name} is answered with {} bytes", text.len());
            let refused = answer.json["code"] == code && answer.json["limit"] == limit;
            if !refused || !answer.problem(422, code).contains(word) {
                faults.push(format!("{name}, which wants {code} and {word:?}: {text}"));
            }
        }
    });
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    assert!(commands > 100, "only {commands} commands beside the uploads");
    // The compiler's memory is not the server's; what it was sent, some 17 MiB, may be.
    let grown = server.memory_kb("VmHWM") - before;
    assert!(grown < 300 << 10, "the server grew by {grown} kB");

    let modules = server.client.get("/v1/modules").ok().json;
    assert_eq!(modules["modules"].as_array().expect("a list").len(), 1, "{modules}");
    let code = std::fs::read_dir(dir.path().join("compiled")).expect("reads").count();
    assert_eq!(code, 2, "the key and the account's code");
    server.stop();
}

#[test]
fn a_component_beyond_its_size_is_too_large() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--component-bytes", "10000"]);
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.resize(10_001, 0);
    let detail = server.client.upload(&bytes).problem(413, "body_too_large");
    assert!(detail.contains("component_bytes"), "{detail}");
}

/// Does something beside commands of the account, none of which may fail; answers how many.
pub fn beside(client: &Client, work: impl FnOnce()) -> usize {
    client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let commands = scope.spawn(|| {
            let mut done = 0;
            while !stop.load(Ordering::Relaxed) {
                let path = "/v1/aggregates/account/1/commands/deposit";
                client.post(path, &json!({"amount": 1})).ok();
                done += 1;
            }
            done
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let done = commands.join().expect("no command fails");
        worked.map_or_else(|panic| std::panic::resume_unwind(panic), |()| done)
    })
}
