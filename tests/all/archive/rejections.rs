//! What refused commands said goes from an archive when it is old enough, and the log still proves
//! itself.

use serde_json::{Value, json};

use super::{Place, SMALL, log_files, wait_until};
use crate::harness::{Server, account};
use crate::verify::{copy, factum, text};

const SECRET: &str = "somebody-by-name";

pub fn rejected(server: &Server) -> Vec<Value> {
    let page = server.client.get("/v1/decisions?outcome=rejected").ok().json;
    page["decisions"].as_array().expect("a list").clone()
}

/// Three refused commands, and so much after them that they are in a closed file.
fn fill(server: &Server) {
    server.install(account());
    for _ in 0..4 {
        let opened = json!({"owner": SECRET});
        server.client.post("/v1/aggregates/account/1/commands/open", &opened);
    }
    for number in 0..500 {
        let event = json!({"type": "Noted", "data": {"n": number, "pad": "x".repeat(400)}});
        server.client.post("/v1/events", &json!({"events": [event]})).ok();
    }
}

/// At once, and looked at each second.
const POLICY: [&str; 6] =
    ["--archive-after-days", "0", "--retain-rejections-days", "0", "--archive-check-seconds", "1"];

fn is_erased(decision: &Value) -> bool {
    decision["erased"] == true
}

pub fn wait_until_erased(server: &Server) {
    wait_until("they are erased", || rejected(server).iter().all(is_erased));
}

#[test]
fn a_death_at_each_step_leaves_the_old_file_or_the_new_one() {
    let place = Place::new();
    let server = place.start();
    fill(&server);
    let events = server.client.all_events();
    server.stop();
    copy(&place.path("data"), &place.path("before"));
    for step in 1..=3 {
        std::fs::remove_dir_all(place.path("data")).expect("removes");
        let _ = std::fs::remove_dir_all(place.path("archive"));
        copy(&place.path("before"), &place.path("data"));
        if let Ok(server) = place.start_to_die(&POLICY, &format!("erase:{step}:0")) {
            server.died();
        }
        assert_eq!(place.verified(&[])["sound"], true, "as it was left");
        let server = place.start();
        assert_eq!(server.client.all_events(), events);
        // What was said goes with the name; the act that allows it was recorded before.
        let erased = rejected(&server).into_iter().filter(is_erased).count();
        assert_eq!(erased, if step < 3 { 0 } else { 3 }, "step {step}");
        server.stop();
        let archive = place.text("archive");
        let arguments = [&SMALL[..], &POLICY, &["--archive-dir", &archive]].concat();
        let server = Server::start_with(&place.path("data"), &arguments);
        wait_until_erased(&server);
        assert_eq!(server.client.all_events(), events);
        server.stop();
        let report = place.verified(&[]);
        assert_eq!((&report["sound"], &report["erased"]), (&true.into(), &3.into()), "{report}");
    }
}

#[test]
fn refused_commands_are_erased_from_the_archive_and_the_chain_holds() {
    let place = Place::new();
    let server = place.start();
    fill(&server);
    let key = factum(&["checkpoint", "--url", &server.client.base, "--public-key"]).ok().out;
    let note = factum(&["checkpoint", "--url", &server.client.base]).ok().out;
    std::fs::write(place.path("note"), note).expect("writes");
    let (events, before) = (server.client.all_events(), rejected(&server));
    assert!(before.len() == 3 && before[0]["command"]["data"]["owner"] == SECRET, "{before:?}");
    server.stop();

    let archive = place.text("archive");
    let arguments = [&SMALL[..], &POLICY, &["--archive-dir", &archive]].concat();
    let server = Server::start_with(&place.path("data"), &arguments);
    wait_until_erased(&server);
    let after = rejected(&server);
    assert_eq!(after.len(), 3);
    for (was, is) in before.iter().zip(&after) {
        assert!(is["erased"] == true && is["command"].is_null(), "{is}");
        for same in ["decision", "kind", "head_before", "recorded_at", "previous_hash", "hash"] {
            assert_eq!(is[same], was[same], "{same}");
        }
    }
    // The event that was committed says it too, and stays.
    let holds = |needle: &str| {
        let store = std::fs::read_dir(place.path("archive")).expect("lists").flatten().next();
        let bytes =
            std::fs::read(store.expect("one").path().join(&log_files(&place.path("archive"))[0]));
        bytes.expect("reads").windows(needle.len()).filter(|w| *w == needle.as_bytes()).count()
    };
    assert!((1..4).contains(&holds(SECRET)), "{}", holds(SECRET));
    assert_eq!(server.client.all_events(), events);
    let acts = server.client.get("/v1/decisions?kind=act").ok().json;
    let act = &acts["decisions"][0]["act"];
    assert_eq!((&act["act"], &act["subject"]), (&"retention".into(), &"rejections".into()));
    let through = act["value"]["through_decision"].as_u64().expect("a number");
    assert!(through >= after[2]["decision"].as_u64().expect("a number"), "{acts}");
    let full = place.text("full.tar");
    factum(&["backup", "--url", &server.client.base, "--to", &full]).ok();
    server.stop();
    let report = place.verified(&["--against", &place.text("note"), "--key", key.trim()]);
    assert_eq!((&report["sound"], &report["erased"]), (&true.into(), &3.into()), "{report}");
    // A restored store has what is left, and passes.
    factum(&["restore", "--from", &full, "--data", &place.text("new")]).ok();
    let restored = factum(&["verify", "--data", &place.text("new"), "--json"]).ok().json();
    assert_eq!(restored["erased"], 3);
    // So does one that is built again of what came back.
    factum(&["unarchive", "--data", text(&place.path("data"))]).ok();
    std::fs::remove_file(place.path("data/index.redb")).expect("removes");
    let server = place.start();
    assert_eq!(server.client.all_events(), events);
    let state = server.client.get("/v1/aggregates/account/1").ok().json;
    assert_eq!(state["state"]["owner"], SECRET);
    server.stop();
    assert_eq!(place.verified(&[])["erased"], 3);
}
