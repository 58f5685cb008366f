//! Stores that a released version wrote are read by every later one.
//!
//! A fixture is a data directory as a killed server of that format left it, each file compressed:
//! some records in rows, the newest in the journal only, no index. Beside it lies what that server
//! answered. A new format gets a new fixture; the others stay.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Server, workspace};

const FORMATS: [&str; 1] = ["format-1"];
/// What is derived is not part of a fixture, nor are locks.
const NOT_KEPT: [&str; 3] = ["index.redb", "lock", "compiled"];

fn fixture(format: &str) -> PathBuf {
    workspace().join("tests/data").join(format)
}

#[test]
fn a_store_of_each_released_format_is_read_and_goes_on() {
    for format in FORMATS {
        let dir = tempfile::tempdir().expect("a directory");
        for entry in fs::read_dir(fixture(format)).expect("a fixture") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name");
            let bytes = fs::read(&path).expect("reads");
            if path.extension().is_some_and(|extension| extension == "zst") {
                let bytes = zstd::decode_all(&*bytes).expect("is whole");
                fs::write(dir.path().join(name), bytes).expect("writes");
            }
        }
        let expected = fs::read(fixture(format).join("answers.json")).expect("reads");
        let expected: Value = serde_json::from_slice(&expected).expect("JSON");
        let server = Server::start(dir.path());
        assert_eq!(answers(&server), expected, "{format}");
        let event = json!({"events": [{"type": "Later", "data": {}}]});
        let answer = server.client.post("/v1/streams/fixture-1/events", &event).ok().json;
        assert_eq!(answer["position"], expected["events"].as_array().map_or(0, Vec::len) + 1);
    }
}

/// What is compared: every event and every record.
fn answers(server: &Server) -> Value {
    let records = server.client.get("/v1/decisions?limit=1000").ok().json;
    json!({"events": server.client.all_events(), "decisions": records["decisions"]})
}

/// Writes the fixture of the present format: for who releases one.
#[test]
#[ignore = "it writes into the source tree"]
fn write_the_fixture_of_the_present_format() {
    let format = FORMATS.last().expect("a format");
    let dir = tempfile::tempdir().expect("a directory");
    let append = |server: &Server, body: &Value, key: &str| {
        let path = "/v1/streams/fixture-1/events";
        server.client.post_with(path, body, &[("idempotency-key", key)]).ok();
    };
    let server = Server::start(dir.path());
    for number in 0..20 {
        let data = json!({"number": number, "beyond": 9_007_199_254_740_993_u64});
        let tags = [format!("number:{number}")];
        let events = json!([
            {"type": "Counted", "data": data, "tags": tags, "schema_version": 2},
            {"type": "Noted", "datacontenttype": "text/plain", "data_base64": "YSBub3Rl"},
        ]);
        append(&server, &json!({"events": events}), &format!("rows-{number}"));
    }
    server.stop();
    let server = Server::start(dir.path());
    for number in 0..5 {
        let events = json!([{"type": "Counted", "data": {"number": number}}]);
        append(&server, &json!({"events": events}), &format!("journal-{number}"));
    }
    let answers = answers(&server);
    server.kill();
    keep(dir.path(), &fixture(format), &answers);
}

fn keep(from: &Path, to: &Path, answers: &Value) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("reads") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("text");
        if entry.path().is_file() && !NOT_KEPT.contains(&&*name) {
            let bytes = fs::read(entry.path()).expect("reads");
            let packed = zstd::encode_all(&*bytes, 19).expect("packs");
            fs::write(to.join(format!("{name}.zst")), packed).expect("writes");
        }
    }
    let answers = serde_json::to_vec_pretty(answers).expect("JSON");
    fs::write(to.join("answers.json"), answers).expect("writes");
}
