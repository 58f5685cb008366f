//! `factum backup` and `factum restore`, on the real binary: taken under load, compared event by
//! event; and forged stores, each whole by itself, found against a checkpoint.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Server, account};
use crate::verify::{copy, factum, fill, filled, text};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }
}

#[test]
fn a_backup_taken_under_load_is_restored_event_by_event() {
    let place = Place::new();
    let server = filled(&place.path("data"), 200);
    let url = server.client.base.clone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (client, stop) = (server.client.clone(), &stop);
            scope.spawn(move || {
                let events = json!({"events": [{"type": "Loaded", "data": {"writer": writer}}]});
                while !stop.load(Ordering::Relaxed) {
                    client.post(&format!("/v1/streams/load-{writer}/events"), &events).ok();
                }
            });
        }
        factum(&["backup", "--url", &url, "--to", &place.text("full.tar")]).ok();
        fill(&server, 200, 20);
        let after = place.text("full.tar");
        factum(&["backup", "--url", &url, "--to", &place.text("more.tar"), "--after", &after]).ok();
        stop.store(true, Ordering::Relaxed);
    });
    let key = factum(&["checkpoint", "--url", &url, "--public-key"]).ok().out;
    let (full, more) = (place.text("full.tar"), place.text("more.tar"));
    let restored = place.text("restored");
    let from = ["--from", full.as_str(), "--from", more.as_str()];
    let said = factum(&[&["restore", "--data", &restored, "--json"], &from[..]].concat()).ok();
    let through = said.json()["through"].clone();
    let verified = factum(&["verify", "--data", &restored, "--json"]).ok().json();
    assert_eq!(verified["head"], through);
    // The checkpoint in the backup, by the key of the store that it is of.
    let mut kept = String::new();
    in_tar(&more, |name, content| {
        if name == "checkpoints" {
            kept = String::from_utf8(content.clone()).expect("text");
        }
    });
    std::fs::write(place.path("note"), kept).expect("writes");
    let (note, key) = (place.text("note"), key.trim());
    factum(&["verify", "--data", &restored, "--against", &note, "--key", key]).ok();
    let again = Server::start(&place.path("restored"));
    let last = through["position"].as_u64().expect("a position");
    let before: Vec<Value> =
        server.client.all_events().into_iter().take(usize::try_from(last).expect("fits")).collect();
    assert_eq!(again.client.all_events(), before);
    assert!(last > 440, "{through}");
    // It goes on: the module is there, a retry replays, and its own key signs.
    let path = "/v1/aggregates/account/1/commands/deposit";
    let key = [("idempotency-key", "deposit-3")];
    let replayed = again.client.post_with(path, &json!({"amount": 4}), &key).ok();
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    fill(&again, 1000, 1);
    assert_ne!(again.client.get("/v1/checkpoint/key").ok().text, key_of(&server));
    again.stop();
    factum(&["verify", "--data", &restored]).ok();
}

fn key_of(server: &Server) -> String {
    server.client.get("/v1/checkpoint/key").ok().text
}

/// Reads a tar file, giving each file in it to `each`.
fn in_tar(path: &str, mut each: impl FnMut(&str, &mut Vec<u8>)) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("opens"));
    let entries = archive.entries().expect("reads").map(|entry| {
        let mut entry = entry.expect("reads");
        let name = entry.path().expect("a name").to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("reads");
        each(&name, &mut content);
        (name, content)
    });
    entries.collect()
}

#[test]
fn what_is_cut_changed_or_out_of_order_is_never_restored() {
    let place = Place::new();
    let server = filled(&place.path("data"), 20);
    let url = server.client.base.clone();
    let (full, more) = (place.text("full.tar"), place.text("more.tar"));
    factum(&["backup", "--url", &url, "--to", &full]).ok();
    fill(&server, 20, 5);
    factum(&["backup", "--url", &url, "--to", &more, "--after", &full]).ok();
    server.stop();
    let bytes = std::fs::read(&full).expect("reads");
    let (bad, target) = (place.text("bad.tar"), place.text("target"));
    let refused = |from: &[&str], because: &str| {
        let from: Vec<_> = from.iter().flat_map(|file| ["--from", file]).collect();
        let said = factum(&[&["restore", "--data", &target], &from[..]].concat());
        assert_eq!(said.code, 1, "{because}: {}", said.out);
        assert!(said.err.contains(because), "{because}: {}", said.err);
        assert!(!Path::new(&target).exists());
    };
    for part in 1..40 {
        std::fs::write(&bad, &bytes[..bytes.len() * part / 41]).expect("writes");
        refused(&[&bad], "cut short");
    }
    // Between two files, where all that is there is whole.
    let mut archive = tar::Archive::new(&*bytes);
    let entries = archive.entries().expect("a tar file").map(|entry| entry.expect("whole"));
    let starts: Vec<_> = entries.map(|entry| entry.raw_header_position()).collect();
    assert!(starts.len() > 5, "{starts:?}");
    for start in starts {
        let start = usize::try_from(start).expect("small");
        std::fs::write(&bad, &bytes[..start]).expect("writes");
        refused(&[&bad], "cut short");
    }
    let at = bytes.windows(10).position(|window| window == b"deposit-17").expect("is there");
    let mut changed = bytes;
    changed[at] ^= 1;
    std::fs::write(&bad, &changed).expect("writes");
    refused(&[&bad], "checksum");
    std::fs::write(&bad, b"hello").expect("writes");
    refused(&[&bad], "bad.tar");
    refused(&[&more], "goes on after decision");
    refused(&[&full, &full], "goes on after decision 0");
    refused(&[&more, &full], "goes on after decision");
    refused(&["/nowhere.tar"], "/nowhere.tar");
    // Never over something that is there.
    let data = place.text("data");
    let said = factum(&["restore", "--from", &full, "--data", &data]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("overwrites nothing"), "{}", said.err);
    let said = factum(&["backup", "--data", &data, "--to", &full]);
    assert!(said.code == 1 && said.err.contains("not written over"), "{}", said.err);
    let left: Vec<_> = std::fs::read_dir(place.dir.path()).expect("lists").flatten().collect();
    assert_eq!(left.len(), 4, "something was left behind: {left:?}");
    // Without a server, and by the server's side: the same records.
    factum(&["backup", "--data", &data, "--to", &place.text("still.tar")]).ok();
    factum(&["restore", "--from", &place.text("still.tar"), "--data", &target]).ok();
    factum(&["verify", "--data", &target]).ok();
}

/// The components in a backup.
fn components(path: &str) -> Vec<String> {
    let files = in_tar(path, |_, _| {}).into_iter().map(|(name, _)| name);
    let all = files.filter_map(|name| Some(name.strip_prefix("components/")?.to_owned()));
    all.filter(|name| name.ends_with(".wasm")).collect()
}

#[test]
fn a_backup_that_goes_on_from_others_has_only_the_components_that_they_lack() {
    let place = Place::new();
    let server = filled(&place.path("data"), 5);
    let url = server.client.base.clone();
    let names = ["full", "none-new", "counting", "again"].map(|name| place.text(name));
    let [full, none_new, counting, again] = &names;
    let backup = |to: &str, after: &str| {
        factum(&["backup", "--url", &url, "--to", to, "--after", after]).ok();
    };
    let schema = br#"{"required":["n"]}"#;
    let json = [("content-type", "application/json")];
    assert_eq!(server.client.send("PUT", "/v1/schemas/Counted/1", &json, schema).status, 201);
    factum(&["backup", "--url", &url, "--to", full]).ok();
    fill(&server, 5, 5);
    backup(none_new, full);
    // It was never active: only its bytes tell that it is there.
    assert_eq!(server.client.upload(crate::harness::counting()).status, 201);
    backup(counting, none_new);
    fill(&server, 10, 5);
    backup(again, counting);
    assert_eq!([full, none_new, counting, again].map(|path| components(path).len()), [1, 0, 1, 0]);
    // Without a server, the same.
    let events = server.client.all_events();
    let modules = server.client.get("/v1/modules").ok().json;
    server.stop();
    let (data, still) = (place.text("data"), place.text("still"));
    factum(&["backup", "--data", &data, "--to", &still, "--after", none_new]).ok();
    assert_eq!(components(&still), components(counting));

    let target = place.text("target");
    let restore = |from: &[&str]| {
        let from: Vec<_> = from.iter().flat_map(|file| ["--from", file]).collect();
        factum(&[&["restore", "--data", &target], &from[..]].concat())
    };
    // The records of one fit where the components of another are missing.
    let lacking = restore(&[full, none_new, &without_components(counting), again]);
    assert!(
        lacking.code == 1 && lacking.err.contains("leaves out the component"),
        "{}",
        lacking.err
    );
    restore(&[full, none_new, counting, again]).ok();
    let restored = Server::start(&place.path("target"));
    assert_eq!(restored.client.all_events(), events);
    assert_eq!(restored.client.get("/v1/modules").ok().json, modules);
    // What was declared before the backup holds after it.
    let append = |data: &Value| {
        let event = json!({"type": "Counted", "data": data});
        restored.client.post("/v1/events", &json!({"events": [event]}))
    };
    append(&json!({})).problem(422, "schema_violation");
    append(&json!({"n": 1})).ok();
    restored.client.post("/v1/backup", &json!({"without": ["x"]})).problem(400, "invalid_body");
}

/// The same backup, but for its components.
fn without_components(path: &str) -> String {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mut content) in in_tar(path, |_, _| {}) {
        if name.starts_with("components/") {
            continue;
        }
        if name == "manifest.json" {
            let mut manifest: Value = serde_json::from_slice(&content).expect("JSON");
            let files = manifest["files"].as_array_mut().expect("files");
            files.retain(|file| !file["name"].as_str().expect("a name").starts_with("components/"));
            content = serde_json::to_vec(&manifest).expect("JSON");
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, &name, &*content).expect("writes");
    }
    let to = format!("{path}-without");
    std::fs::write(&to, tar.into_inner().expect("ends")).expect("writes");
    to
}

#[test]
fn a_stream_that_the_server_breaks_off_leaves_no_file() {
    let place = Place::new();
    let server = filled(&place.path("data"), 5);
    let url = server.client.base.clone();
    server.client.get("/v1/backup?after=9999").problem(400, "invalid_parameter");
    // Its component cannot be copied any more.
    for entry in std::fs::read_dir(place.path("data/components")).expect("lists").flatten() {
        if text(&entry.path()).ends_with(".wasm") {
            std::fs::write(entry.path(), b"something else").expect("writes");
        }
    }
    let said = factum(&["backup", "--url", &url, "--to", &place.text("full.tar")]);
    assert_eq!(said.code, 1, "{}", said.out);
    let left: Vec<_> = std::fs::read_dir(place.dir.path()).expect("lists").flatten().collect();
    assert_eq!(left.len(), 1, "something was left behind: {left:?}");
}

/// Numbers, chains and seals records anew, as in the format of a record, so that they are a whole
/// log by themselves; answers the hash of the last.
fn reseal(store: &str, records: &mut [Vec<u8>]) -> (u64, u64, String) {
    let (mut hash, mut position, mut newest) = (blake3::hash(store.as_bytes()), 0u64, 0u64);
    for (number, record) in (1u64..).zip(&mut *records) {
        record[8..16].copy_from_slice(&number.to_be_bytes());
        record[16..24].copy_from_slice(&position.to_be_bytes());
        newest = newest.max(u64::from_be_bytes(record[24..32].try_into().expect("eight")));
        record[24..32].copy_from_slice(&newest.to_be_bytes());
        record[36..68].copy_from_slice(hash.as_bytes());
        let end = record.len() - 4;
        let seal = crc32fast::hash(&record[..end]).to_be_bytes();
        record[end..].copy_from_slice(&seal);
        hash = blake3::hash(record);
        position += u64::from(u32::from_be_bytes(record[32..36].try_into().expect("four")));
    }
    (u64::try_from(records.len()).expect("fits"), position, hash.to_hex().to_string())
}

/// Writes a backup like another, with its records changed and everything else made to fit.
fn forge(from: &str, to: &str, change: impl Fn(&mut Vec<Vec<u8>>)) {
    let files = in_tar(from, |_, _| {});
    let mut begin: Value = serde_json::from_slice(&files[0].1).expect("JSON");
    let manifest: Value = serde_json::from_slice(&files[files.len() - 1].1).expect("JSON");
    let named = manifest["components"].clone();
    let log: Vec<u8> =
        files.iter().filter(|f| f.0.starts_with("log/")).flat_map(|f| f.1.clone()).collect();
    let (mut records, mut rest) = (Vec::new(), &*log);
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().expect("four")) as usize;
        let (record, after) = rest.split_at(length);
        records.push(record.to_vec());
        rest = after;
    }
    change(&mut records);
    let store = begin["store"].as_str().expect("a store").to_owned();
    let (decision, position, hash) = reseal(&store, &mut records);
    begin["through"] = json!({"decision": decision, "position": position, "hash": hash});
    let mut tar = tar::Builder::new(Vec::new());
    let mut listed = Vec::new();
    let mut put = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name, content).expect("writes");
        let hash = blake3::hash(content).to_hex().to_string();
        listed.push(json!({"name": name, "bytes": content.len(), "blake3": hash}));
        listed.clone()
    };
    put("backup.json", &serde_json::to_vec(&begin).expect("JSON"));
    let components = files.iter().filter(|file| file.0.starts_with("components/"));
    components.for_each(|(name, content)| drop(put(name, content)));
    // The forger has no key: the checkpoints that the store kept are left out.
    let files = put("log/00000000000000000001", &records.concat());
    let manifest = json!({"backup": begin, "components": named, "files": files});
    put("manifest.json", &serde_json::to_vec(&manifest).expect("JSON"));
    std::fs::File::create(to)
        .expect("creates")
        .write_all(&tar.into_inner().expect("ends"))
        .expect("writes");
}

#[test]
fn every_class_of_forgery_is_found_against_a_checkpoint() {
    let place = Place::new();
    let server = filled(&place.path("data"), 40);
    let url = server.client.base.clone();
    let key = factum(&["checkpoint", "--url", &url, "--public-key"]).ok().out.trim().to_owned();
    let note = factum(&["checkpoint", "--url", &url]).ok().out;
    std::fs::write(place.path("note"), &note).expect("writes");
    fill(&server, 40, 3);
    let full = place.text("full.tar");
    factum(&["backup", "--url", &url, "--to", &full]).ok();
    server.stop();
    let change = |records: &mut Vec<Vec<u8>>| {
        let needle = b"deposit-17";
        let changed = records.iter_mut().find_map(|record| {
            let at = record.windows(needle.len()).position(|window| window == needle)?;
            record[at + 8] = b'9';
            Some(())
        });
        changed.expect("is there");
    };
    type Change<'c> = &'c dyn Fn(&mut Vec<Vec<u8>>);
    let classes: [(&str, bool, Change<'_>); 6] = [
        ("nothing", true, &|_| {}),
        ("change", false, &change),
        ("delete", false, &|records| drop(records.remove(30))),
        ("reorder", false, &|records| records.swap(30, 31)),
        ("insert", false, &|records| records.insert(30, records[29].clone())),
        ("cut", false, &|records| records.truncate(50)),
    ];
    for (class, is_sound, change) in classes {
        let (tar, dir) = (place.text(&format!("{class}.tar")), place.text(class));
        forge(&full, &tar, change);
        factum(&["restore", "--from", &tar, "--data", &dir]).ok();
        let alone = factum(&["verify", "--data", &dir]);
        assert_eq!(alone.code, 0, "{class} is no forgery: {}", alone.out);
        let said = factum(&[
            "verify",
            "--data",
            &dir,
            "--against",
            &place.text("note"),
            "--key",
            &key,
            "--json",
        ]);
        assert_eq!(said.code, i32::from(!is_sound), "{class}: {} {}", said.out, said.err);
        if !is_sound {
            let report = said.json();
            assert_eq!(report["faults"][0]["part"], "checkpoint", "{report}");
            let detail = report["faults"][0]["detail"].as_str().expect("a detail");
            assert_eq!(detail.contains("it was cut"), class == "cut", "{class}: {detail}");
        }
    }
}

#[test]
fn a_copy_of_a_used_directory_is_told_from_a_crash() {
    let place = Place::new();
    let server = filled(&place.path("data"), 20);
    copy(&place.path("data"), &place.path("copy"));
    server.kill();
    let said = |name: &str| {
        let log = place.path(&format!("{name}.log"));
        let server = Server::start_logging(&place.path(name), &log);
        let events = server.client.all_events();
        server.stop();
        factum(&["verify", "--data", &place.text(name)]).ok();
        (std::fs::read_to_string(log).expect("reads").contains("copied while a server"), events)
    };
    let (crashed, copied, again) = (said("data"), said("copy"), said("copy"));
    assert!(!crashed.0 && copied.0 && !again.0);
    assert_eq!(copied.1, crashed.1);
}

#[test]
fn a_directory_that_was_copied_while_it_was_used_is_sound_or_refused() {
    let place = Place::new();
    let server = Server::start(&place.path("data"));
    server.install(account());
    fill(&server, 0, 50);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (client, stopped) = (server.client.clone(), &stop);
        scope.spawn(move || {
            let data = "x".repeat(2000);
            let events = json!({"events": [{"type": "Loaded", "data": {"text": data}}]});
            while !stopped.load(Ordering::Relaxed) {
                client.post("/v1/streams/load-1/events", &events).ok();
            }
        });
        for number in 0..5 {
            let name = format!("copy-{number}");
            copy(&place.path("data"), &place.path(&name));
            match Server::try_start(&place.path(&name), &[]) {
                Ok(copied) => {
                    let events = copied.client.all_events();
                    let newest = events.len();
                    let original: Vec<_> =
                        server.client.all_events().into_iter().take(newest).collect();
                    assert!(newest > 50 && events == original, "copy {number} differs");
                    copied.stop();
                    factum(&["verify", "--data", &place.text(&name)]).ok();
                }
                Err(said) => assert!(said.contains("copied while a server used it"), "{said}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
