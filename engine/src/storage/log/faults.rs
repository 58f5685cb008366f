//! The log on a disk that fails: syncs that fail once and then lie, writes that fail, files that
//! are cut off or damaged.

use std::path::PathBuf;

use fastrand::Rng;

use super::tests::{Store, deposit, event, expect_all, small_files};
use super::*;
use crate::storage::disk::simulated::{Call, Simulated};

const JOURNAL: &str = "log-journal";
const ROWS: &str = "log-0";

fn store() -> Store {
    Store::simulated(small_files())
}

/// Appends until one is accepted; answers how many were not.
fn append_at_last(store: &Store, version: u64) -> u32 {
    let id = format!("c{version}-{}", "x".repeat(1 << 10));
    for refused in 0..1_000 {
        match store.append(deposit("account-1", version, &id, 1)) {
            Ok(_) => return refused,
            Err(AppendError::NotAccepted(Refusal::Recovering(_)) | AppendError::Unknown(_)) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("it did not recover");
}

fn journal(store: &Store) -> PathBuf {
    store.dir.path().join("log-journal-0")
}

/// Where each group of the journal's first file begins: those of one record each, all alike.
fn groups(bytes: &[u8], count: usize) -> Vec<usize> {
    let needle = b"c0-x";
    let first = bytes.windows(needle.len()).position(|w| w == needle).expect("is there");
    let second = bytes.windows(4).position(|w| w == b"c1-x").expect("is there");
    let length = second - first;
    (0..count).map(|n| 8192 + n * length).collect()
}

#[test]
fn a_sync_that_fails_and_then_lies_loses_nothing_that_was_acknowledged() {
    for call in [Call::Sync, Call::Write] {
        let mut store = store();
        for version in 0..10 {
            append_at_last(&store, version);
        }
        store.disk().fail(JOURNAL, call, 1);
        let failed = store.append(deposit("account-1", 10, "lost", 1));
        assert!(matches!(failed, Err(AppendError::Unknown(_))), "{failed:?}");
        assert_eq!(store.log().find_command(None, "lost"), Ok(None));
        for version in 10..60 {
            append_at_last(&store, version);
        }
        expect_all(&store, 60);
        store.log().shared.records.unsettled.rest();
        store.lose_power();
        expect_all(&store, 60);
        assert_eq!(store.log().find_command(None, "lost"), Ok(None));
    }
}

#[test]
fn a_journal_that_cannot_be_written_is_begun_anew_once_the_disk_is_well() {
    let store = store();
    append_at_last(&store, 0);
    store.disk().fail(JOURNAL, Call::Sync, 5);
    assert!(append_at_last(&store, 1) > 0, "nothing failed");
    assert_eq!(store.log().trouble(), None);
    expect_all(&store, 2);
}

#[test]
fn rows_that_cannot_be_written_stop_appends_only_when_the_journal_is_full() {
    let mut store = store();
    append_at_last(&store, 0);
    store.disk().fail(ROWS, Call::Sync, u64::MAX);
    let mut version = 1;
    let refused = loop {
        match store.append(deposit("account-1", version, &"x".repeat(200), 1)) {
            Ok(_) => version += 1,
            Err(error) => break error,
        }
        assert!(version < 10_000, "it never stopped");
    };
    assert!(matches!(refused, AppendError::NotAccepted(Refusal::Recovering(_))), "{refused:?}");
    assert!(store.log().trouble().is_some());
    // More than one of the journal's files holds was taken, and all of it can be read.
    assert!(version > 30, "{version}");
    expect_all(&store, version);
    let killed = store.disk().platter();
    store.disk().mend();
    append_at_last(&store, version);
    assert_eq!(store.log().trouble(), None);
    expect_all(&store, version + 1);
    store.reopen();
    expect_all(&store, version + 1);
    // The disk as it was while nothing went: a machine that was switched off then.
    store.begin_on(Simulated::of(killed.survivors(&mut Rng::with_seed(1)), false));
    expect_all(&store, version);
}

/// A sync of rows fails, and the system goes on showing pages that the disk never got. The rows
/// before them are read from that file, which has to be repaired for it: made on the file itself,
/// the repair would call the newest commit whole on the word of the cache, and after a loss of
/// power nothing leads to what was acknowledged before it.
#[test]
fn a_file_whose_sync_failed_is_never_written_to_again() {
    for more in 0..12 {
        let mut store = store();
        for version in 0..60 {
            append_at_last(&store, version);
        }
        store.log().shared.records.unsettled.rest();
        store.disk().fail(ROWS, Call::Sync, 1);
        for version in 60..120 + more {
            append_at_last(&store, version);
        }
        expect_all(&store, 120 + more);
        store.reopen();
        expect_all(&store, 120 + more);
        store.lose_power();
        expect_all(&store, 120 + more);
    }
}

#[test]
fn an_index_that_cannot_be_written_stays_in_memory_and_is_written_once_the_disk_is_well() {
    let index = IndexLimits { fresh_records: 10, ..IndexLimits::default() };
    let mut store = Store::simulated(LogLimits { index, ..small_files() });
    for version in 0..25 {
        append_at_last(&store, version);
    }
    store.disk().fail("index", Call::Sync, u64::MAX);
    let mut version = 25;
    while !matches!(
        store.append(deposit("account-1", version, &format!("c{version}"), 1)),
        Err(AppendError::NotAccepted(Refusal::Recovering(_)))
    ) {
        version += 1;
        assert!(version < 1_000, "memory is not bounded");
    }
    expect_all(&store, version);
    store.disk().mend();
    append_at_last(&store, version);
    expect_all(&store, version + 1);
    // What the disk made of the failed syncs is unknown: the index is built again.
    assert!(store.has("index.suspect"));
    store.reopen();
    assert!(!store.has("index.suspect"));
    expect_all(&store, version + 1);
}

/// The start after a failed write of the index removes the index, then the word that it is suspect.
/// A crash in between left the word without an index: each start after that found nothing to
/// remove, took it for a failure, and the store could not be opened again.
#[test]
fn a_suspect_index_that_is_gone_already_keeps_no_log_from_opening() {
    let mut store = Store::with(small_files(), Clock::system());
    append_at_last(&store, 0);
    store.close();
    std::fs::remove_file(store.dir.path().join("index.redb")).expect("removes");
    std::fs::write(store.dir.path().join("index.suspect"), "").expect("writes");
    store.reopen();
    expect_all(&store, 1);
    assert!(!store.has("index.suspect"));
}

/// An append to two streams, of which the second could not be looked up, was refused, and yet had
/// moved the version of the first: the next append of that group left a gap, or was refused for a
/// version that the stream never had.
#[test]
fn an_append_that_was_refused_half_way_moves_no_version() {
    let index = IndexLimits { fresh_records: 10, ..IndexLimits::default() };
    let store = Store::simulated(LogLimits { index, ..small_files() });
    append_at_last(&store, 0);
    store.disk().fail("index.redb", Call::Write, u64::MAX);
    let unknown = StreamId::parse("unknown-1").expect("valid");
    let mut version = 1;
    while store.log().stream_version(&unknown).is_ok() {
        append_at_last(&store, version);
        version += 1;
        assert!(version < 100, "the index was never closed");
        // It is opened again after a moment, and what may gather meanwhile is bounded.
        std::thread::sleep(Duration::from_millis(20));
    }
    let account = StreamId::parse("account-1").expect("valid");
    let to_both = || {
        let events = [account.clone(), unknown.clone()].map(|s| (event("Deposited"), Some(s)));
        Work::Append(Box::new(DirectAppend { events: events.into(), ..DirectAppend::default() }))
    };
    // The first may be a group of its own; while it is synced, the others gather.
    let works = vec![
        deposit("account-1", version, "a", 1),
        to_both(),
        deposit("account-1", version + 1, "b", 1),
        to_both(),
        deposit("account-1", version + 2, "c", 1),
    ];
    let answers = store.append_all(works.into_iter().map(|work| (work, None)).collect());
    for (at, answer) in answers.iter().enumerate() {
        match answer {
            Ok(_) => assert_eq!(at % 2, 0, "{answers:?}"),
            Err(error) => {
                assert_eq!(at % 2, 1, "{answers:?}");
                let refused = matches!(error, AppendError::NotAccepted(Refusal::Recovering(_)));
                assert!(refused, "{error:?}");
            }
        }
    }
    store.disk().mend();
    for _ in 0..1_000 {
        if store.log().stream_version(&unknown).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    expect_all(&store, version + 3);
}

#[test]
fn a_group_cut_off_anywhere_was_never_acknowledged_and_takes_nothing_with_it() {
    let mut store = Store::with(small_files(), Clock::system());
    for version in 0..5 {
        append_at_last(&store, version);
    }
    let whole = store.copy();
    store.close();
    let bytes = std::fs::read(whole.path().join("log-journal-0")).expect("reads");
    let starts = groups(&bytes, 6);
    let (last, end) = (starts[4], starts[5]);
    for cut in (last..end).step_by(97) {
        let image = tempfile::tempdir().expect("a directory");
        super::tests::copy(whole.path(), image.path());
        let mut torn = bytes.clone();
        torn[cut..end].fill(0);
        store.dir = image;
        std::fs::write(journal(&store), torn).expect("writes");
        store.reopen();
        expect_all(&store, 4);
        append_at_last(&store, 4);
        store.reopen();
        expect_all(&store, 5);
        store.close();
    }
}

#[test]
fn a_damaged_group_that_others_follow_is_named() {
    let mut store = Store::with(small_files(), Clock::system());
    for version in 0..5 {
        append_at_last(&store, version);
    }
    let whole = store.copy();
    store.close();
    let bytes = std::fs::read(whole.path().join("log-journal-0")).expect("reads");
    let third = groups(&bytes, 3)[2];
    // In its head, in its first record's, and in its data.
    for at in [third + 2, third + 30, third + 200] {
        let image = tempfile::tempdir().expect("a directory");
        super::tests::copy(whole.path(), image.path());
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        store.dir = image;
        std::fs::write(journal(&store), damaged).expect("writes");
        let error = store.try_reopen().expect_err("damaged").to_string();
        assert!(error.contains("decision 3"), "{error}");
    }
    // One of the marks is enough.
    for (marks, opens) in [(vec![0], true), (vec![4096], true), (vec![0, 4096], false)] {
        let image = tempfile::tempdir().expect("a directory");
        super::tests::copy(whole.path(), image.path());
        let mut damaged = bytes.clone();
        marks.iter().for_each(|at| damaged[*at] ^= 1);
        store.dir = image;
        std::fs::write(journal(&store), damaged).expect("writes");
        assert_eq!(store.try_reopen().is_ok(), opens, "{marks:?}");
        store.close();
    }
}
