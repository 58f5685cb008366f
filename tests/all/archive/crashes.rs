//! A kill at any moment of a move leaves one whole copy, and nothing that the next start keeps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Place, archive, log_files};
use crate::harness::Random;
use crate::verify::{copy, factum};

const ROUNDS: u64 = 12;

#[test]
fn kills_while_files_move_lose_nothing() {
    let (place, random) = (Place::new(), Random::from_time());
    place.filled().stop();
    let mut server = place.start();
    let events = server.client.all_events();
    let all = log_files(&place.path("data"));
    for round in 0..ROUNDS {
        let path = if round % 2 == 0 { "/v1/archive" } else { "/v1/unarchive" };
        let client = server.client.clone();
        std::thread::scope(|scope| {
            // It gets an answer or is killed.
            scope.spawn(|| drop(client.try_post(path, &json!({}), &[])));
            std::thread::sleep(Duration::from_millis(random.below(120)));
            server.kill();
        });
        server = place.start();
        let here = log_files(&place.path("data"));
        let away = log_files(&place.path("archive"));
        assert_eq!([away, here].concat(), all, "each file is in one place, and nothing else is");
        assert_eq!(server.client.all_events(), events);
    }
    server.stop();
    place.verified(&[]);
}

/// The only directory in the archive: the store's.
fn of_store(archive: &Path) -> PathBuf {
    std::fs::read_dir(archive).expect("lists").flatten().next().expect("one").path()
}

/// The store is sound as it was left, and each file is where it should be after a start.
fn starts_whole(place: &Place, what: &str, events: &[Value], all: &[String], archived: usize) {
    let report = place.verified(&[]);
    assert_eq!((&report["sound"], &report["out_of_reach"]), (&true.into(), &0.into()), "{what}");
    let server = place.start();
    assert_eq!(server.client.all_events(), events, "{what}");
    let view = server.client.get("/v1/archive").ok().json;
    assert_eq!(view["files"].as_array().expect("a list").len(), archived, "{what}");
    assert_eq!(log_files(&place.path("data"))[..], all[archived..], "{what}");
    server.stop();
}

#[test]
fn what_a_crash_left_at_each_step_is_ended_by_the_next_start() {
    let place = Place::new();
    let server = place.filled();
    let events = server.client.all_events();
    server.stop();
    let all = log_files(&place.path("data"));
    copy(&place.path("data"), &place.path("before"));
    let server = place.start();
    archive(&server, &["--before", "700"]);
    server.stop();
    let away = log_files(&place.path("archive"));
    let last = away.last().expect("some").clone();
    copy(&place.path("data"), &place.path("after"));
    let store = of_store(&place.path("archive"));
    copy(&place.path("archive"), &place.path("whole"));
    let local = place.path("data").join(&last);
    let copied = store.join(&last);
    let unfinished = copied.with_extension("new");
    let half = |path: &Path| {
        let bytes = std::fs::read(place.path("before").join(&last)).expect("reads");
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("writes");
    };
    let put_back = || {
        std::fs::copy(place.path("before").join(&last), &local).expect("copies");
    };
    let take = |path: &Path| std::fs::remove_file(path).expect("removes");
    let steps: [(&str, &dyn Fn(), usize); 6] = [
        ("a copy that was not finished", &|| half(&unfinished), away.len()),
        (
            "named, and its copy has no name yet",
            &|| {
                put_back();
                std::fs::rename(&copied, &unfinished).expect("renames");
            },
            away.len() - 1,
        ),
        ("in both places", &put_back, away.len()),
        ("coming back, not finished", &|| half(&local.with_extension("new")), away.len()),
        (
            "back, and still named",
            &|| {
                put_back();
                take(&copied);
            },
            away.len() - 1,
        ),
        (
            "in both places, and cut in the archive",
            &|| {
                put_back();
                half(&copied);
            },
            away.len() - 1,
        ),
    ];
    for (what, leave, archived) in steps {
        for (from, to) in [("after", "data"), ("whole", "archive")] {
            std::fs::remove_dir_all(place.path(to)).expect("removes");
            copy(&place.path(from), &place.path(to));
        }
        leave();
        starts_whole(&place, what, &events, &all, archived);
    }
}

#[test]
fn what_is_missing_or_another_is_never_taken_for_archived() {
    let place = Place::new();
    let server = place.filled();
    archive(&server, &["--before", "700"]);
    server.stop();
    // The oldest that is not archived is gone.
    let here = log_files(&place.path("data"));
    let gone = place.path("data").join(&here[0]);
    std::fs::rename(&gone, place.path("kept")).expect("moves");
    let refused = place.try_start().map(drop).expect_err("a file is missing");
    assert!(refused.contains("is missing") && refused.contains(&here[0]), "{refused}");
    std::fs::rename(place.path("kept"), &gone).expect("moves");
    // Bytes of an archived file are changed.
    let file = of_store(&place.path("archive")).join(&log_files(&place.path("archive"))[1]);
    let sound = std::fs::read(&file).expect("reads");
    let needle = b"EWR-0515-depart";
    let mut bytes = sound.clone();
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("is there");
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).expect("writes");
    let data = place.path("data");
    let report = factum(&["verify", "--data", crate::verify::text(&data), "--json"]);
    assert_eq!(report.code, 1, "{}", report.out);
    assert_eq!(report.json()["faults"][0]["part"], "log");
    let said = factum(&["unarchive", "--data", crate::verify::text(&data)]);
    assert!(said.code == 1 && said.err.contains("not the file that was archived"), "{}", said.err);
    // Another file in its place is never written over.
    std::fs::write(&file, sound).expect("writes");
    factum(&["unarchive", "--data", crate::verify::text(&data)]).ok();
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("creates");
    std::fs::write(&file, b"of somebody else").expect("writes");
    let server = place.start();
    let said = factum(&["archive", "--url", &server.client.base]);
    assert!(said.code == 1 && said.err.contains("is another file"), "{}", said.err);
    assert_eq!(std::fs::read(&file).expect("reads"), b"of somebody else");
    assert_eq!(server.client.all_events().len(), 1200);
    server.stop();
    place.verified(&[]);
}
