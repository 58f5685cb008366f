//! Bits that a disk turned over in what is made of the log: noticed by who reads them, never
//! answered, and made again.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Server, counting_indexed};
use crate::read_models::exact::{fold, rows};
use crate::verify::flip;

/// So many that nobody reads the whole of a file to open it.
const STREAMS: u64 = 900;
/// One of them.
const KEY: &str = "key0456";

/// A store with a read model, stopped.
fn stopped() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting_indexed());
    for first in (0..STREAMS).step_by(300) {
        let event = |n: u64| json!({"type": "Counted", "stream": format!("n-key{n:04}")});
        let events: Vec<_> = (first..first + 300).map(event).collect();
        server.client.post("/v1/events", &json!({"events": events})).ok();
    }
    rows(&server.client, &format!("min_position={STREAMS}&wait=30"));
    server.stop();
    dir
}

fn read_model(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir.join("read_models")).expect("lists").flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "redb")).last().expect("a file")
}

#[test]
fn a_damaged_read_model_is_never_answered_and_begins_again() {
    let dir = stopped();
    assert!(flip(&read_model(dir.path()), KEY.as_bytes()) > 0);
    let server = Server::start(dir.path());
    let path = format!("/v1/read-models/counts/{KEY}");
    let detail = server.client.get(&path).problem(500, "corrupted");
    assert!(detail.contains("is damaged at byte"), "{detail}");
    let again = (0..600).find(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.client.get(&path).status == 200
    });
    assert!(again.is_some(), "it was not made again");
    let found = rows(&server.client, &format!("min_position={STREAMS}&wait=30"));
    assert_eq!(found, fold(&server.client));
    // It is whose it was: the next start goes on with it.
    server.stop();
    let kept = read_model(dir.path());
    let made = std::fs::metadata(&kept).expect("is there").created().expect("a time");
    let server = Server::start(dir.path());
    assert_eq!(rows(&server.client, &format!("min_position={STREAMS}&wait=30")), found);
    assert_eq!(std::fs::metadata(&kept).expect("is there").created().expect("a time"), made);
}

#[test]
fn a_damaged_index_is_never_answered_from_and_the_next_start_builds_it_again() {
    let dir = stopped();
    assert!(flip(&dir.path().join("index.redb"), format!("n-{KEY}").as_bytes()) > 0);
    let server = Server::start(dir.path());
    let path = format!("/v1/streams/n-{KEY}/events");
    server.client.get("/readyz").ok();
    let detail = server.client.get(&path).problem(500, "corrupted");
    assert!(detail.contains("a restart of the server builds it again"), "{detail}");
    server.client.get("/v1/streams/n-key0001/events").problem(500, "corrupted");
    let detail = server.client.get("/readyz").problem(503, "not_ready");
    assert!(detail.contains("index.redb is damaged at byte"), "{detail}");
    // The log itself is whole.
    assert_eq!(server.client.all_events().len(), usize::try_from(STREAMS).expect("few"));
    server.stop();
    let server = Server::start(dir.path());
    server.client.get("/readyz").ok();
    assert_eq!(server.client.get(&path).ok().json["events"].as_array().expect("a list").len(), 1);
}
