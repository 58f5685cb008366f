//! Calls that fail, at any place of a run and of a recovery: what was acknowledged stays, and the
//! log goes on once the disk is well. And bits that turn over: what is read is right or refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fastrand::Rng;

use super::history::{Expected, Fold};
use super::store::{DOCUMENTS, READ_MODEL, Store, collections, dir, documents, read_model};
use super::workload::{Run, limits};
use super::{Moments, Told, first_seed, is_full, recover};
use crate::storage::disk::Disk;
use crate::storage::disk::simulated::{Call, Failure, Platter, Simulated};
use crate::storage::log::{Direction, OpenError};
use crate::storage::read_models::{Checkpoint, ReadModelFile, RowChange};

const STEPS: usize = 40;
/// So many that a file that is opened is not read whole.
const STEPS_OF_MANY_PAGES: usize = 400;

/// Each kind of call, and how it may fail.
const FAILURES: [(Call, Failure); 11] = [
    (Call::Create, Failure::Io),
    (Call::Create, Failure::Full),
    (Call::Read, Failure::Io),
    (Call::Write, Failure::Io),
    (Call::Write, Failure::Full),
    (Call::Write, Failure::Short),
    (Call::SetLen, Failure::Full),
    (Call::Sync, Failure::Io),
    (Call::Rename, Failure::Io),
    (Call::Remove, Failure::Io),
    (Call::SyncDir, Failure::Io),
];

/// Some of so many calls: all of them, where all is wanted.
fn some_of(calls: u64) -> impl Iterator<Item = u64> {
    let most = if is_full() { 100_000 } else { 8 };
    (0..calls).step_by(usize::try_from((calls / most).max(1)).expect("few"))
}

/// A disk in the middle of a run, and what must be on it.
fn moment(seed: u64, part: usize) -> (Platter, Expected) {
    let mut run = Run::new(seed);
    run.open();
    run.work(STEPS);
    let (trace, facts) = (run.disk.take_trace(), run.facts.all());
    run.lose_power();
    let mut moments = Moments::new(Platter::default(), Expected::default(), &facts);
    let until = trace.len() * part / 100;
    trace.iter().take(until).for_each(|step| moments.go_on(step));
    let mut dice = Rng::with_seed(seed);
    (moments.platter.survivors(&mut dice), moments.expected)
}

#[test]
fn a_call_that_fails_loses_nothing_and_the_log_goes_on() {
    let seed = first_seed();
    let mut whole = Run::failing(seed);
    whole.open();
    whole.work(STEPS);
    for (call, failure) in FAILURES {
        for after in some_of(whole.disk.calls(call)) {
            let _told = Told(format!("FACTUM_SEED={seed}, {failure:?} of {call:?} {after}"));
            let mut run = Run::failing(seed);
            run.disk.fail_after(call, after, failure);
            run.open();
            run.work(STEPS);
            run.disk.mend();
            run.append_at_last();
            run.store().check(&run.known);
            let (trace, facts) = (run.disk.take_trace(), run.facts.all());
            run.lose_power();
            let mut moments = Moments::new(Platter::default(), Expected::default(), &facts);
            let mut dice = Rng::with_seed(seed ^ after);
            let crashes = [dice.usize(0..trace.len()), dice.usize(0..trace.len()), trace.len() - 1];
            for (at, step) in trace.iter().enumerate() {
                moments.go_on(step);
                if crashes.contains(&at) {
                    let _told = Told(format!("lost power at call {at} of {}", trace.len()));
                    let image = moments.platter.survivors(&mut dice);
                    recover(&image, &moments.expected, dice.fork(), super::DEEPEST);
                }
            }
        }
    }
    whole.lose_power();
}

#[test]
fn a_call_that_fails_in_a_recovery_loses_nothing() {
    for seed in first_seed()..first_seed() + 3 {
        let (image, expected) = moment(seed, 70);
        let open = |disk: &Simulated| {
            let mut run = Run::on(
                disk,
                Rng::with_seed(seed),
                limits(&mut Rng::with_seed(seed)),
                expected.clone(),
            );
            run.try_open_log()
        };
        let disk = Simulated::of(image.clone(), false);
        open(&disk).expect("opens").lose_power();
        for (call, failure) in FAILURES {
            for after in some_of(disk.calls(call)) {
                let _told = Told(format!("FACTUM_SEED={seed}, {failure:?} of {call:?} {after}"));
                let disk = Simulated::of(image.clone(), true);
                disk.fail_after(call, after, failure);
                // It says why it does not open, or it opens.
                match open(&disk) {
                    Ok(store) => store.lose_power(),
                    Err(error) => assert!(error.to_string().contains("log"), "{error}"),
                }
                disk.turn_off();
                let mut dice = Rng::with_seed(seed ^ after);
                let again = disk.platter().survivors(&mut dice);
                recover(&again, &expected, dice, super::DEEPEST);
            }
        }
    }
}

/// What a reader sees of a log whose disk turned bits over must be right or an error.
fn read_all(store: &Store, records: &[Bytes], may_end_early: bool) {
    let head = store.log.head();
    let count = u64::try_from(records.len()).expect("few");
    assert!(head.decision == count || may_end_early, "{} of {count}", head.decision);
    let seen = usize::try_from(head.decision).expect("few");
    let fold = Fold::of(&records[..seen]);
    for (number, record) in (1..=head.decision).zip(records) {
        if let Ok(found) = store.log.record(number) {
            let found = found.expect("it is not said to be missing");
            assert!(crate::decision::parse(&found).is_err() || found == *record, "{number}");
        }
    }
    for (stream, decisions) in &fold.streams {
        let mut expected = decisions.clone();
        expected.dedup();
        if let Ok(found) = store.log.stream_records(stream, 0, Direction::Forward, 1_000_000) {
            let expected =
                expected.iter().map(|number| &records[usize::try_from(*number - 1).expect("few")]);
            assert!(found.iter().eq(expected), "{stream}");
        }
    }
}

/// A file with one bit of it turned over.
struct Flip {
    platter: Platter,
    path: PathBuf,
    told: String,
}

/// Some of the flips of one file.
fn flips<'a>(
    platter: &'a Platter,
    path: &'a Path,
    dice: &'a mut Rng,
) -> impl Iterator<Item = Flip> + 'a {
    let bytes = platter.bytes(path).expect("is there");
    // Most bytes of a file are zeros that nobody reads.
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let count = if is_full() { 1_000_000 } else { 250 };
    (0..count).map(move |_| {
        let at = match dice.u8(0..8) {
            0 => dice.usize(0..bytes.len()),
            _ => used[dice.usize(0..used.len())],
        };
        let bit = dice.u8(0..8);
        let mut damaged = platter.clone();
        damaged.damage(path, at, &[bytes[at] ^ (1 << bit)]);
        let told =
            format!("FACTUM_SEED={}, bit {bit} of byte {at} of {}", first_seed(), path.display());
        Flip { platter: damaged, path: path.to_owned(), told }
    })
}

/// A store that was closed, and the same while it was open, with its records.
fn closed_and_running(steps: usize) -> (Platter, Platter, Vec<Bytes>) {
    let mut run = Run::new(first_seed());
    run.open();
    run.work(steps);
    let running = run.disk.platter().survivors(&mut Rng::with_seed(first_seed()));
    run.close();
    (run.disk.platter(), running, run.records().to_vec())
}

#[test]
fn bits_that_turn_over_in_the_log_are_noticed() {
    let (closed, running, records) = closed_and_running(STEPS);
    let mut dice = Rng::with_seed(first_seed());
    for (platter, is_running) in [(closed, false), (running, true)] {
        for path in platter.list(&dir()) {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            if !name.starts_with("log-") {
                continue;
            }
            let may_end_early = is_running && name.starts_with("log-journal");
            for flip in flips(&platter, &path, &mut dice) {
                let _told = Told(flip.told.clone());
                look_at(&flip, &records, may_end_early);
            }
        }
    }
}

fn open(disk: &Simulated) -> Result<Store, OpenError> {
    let mut dice = Rng::with_seed(first_seed());
    let limits = limits(&mut dice);
    Run::on(disk, dice, limits, Expected::default()).try_open_log()
}

fn look_at(flip: &Flip, records: &[Bytes], may_end_early: bool) {
    let disk = Simulated::of(flip.platter.clone(), false);
    match catch_unwind(AssertUnwindSafe(|| open(&disk))) {
        Ok(Ok(store)) => {
            read_all(&store, records, may_end_early);
            store.lose_power();
        }
        Ok(Err(_)) => {}
        Err(_) => panic!("{} made the start panic", flip.path.display()),
    }
}

#[test]
fn bits_that_turn_over_in_the_index_are_noticed_and_the_next_start_builds_it_again() {
    let (closed, _, records) = closed_and_running(STEPS_OF_MANY_PAGES);
    let fold = Fold::of(&records);
    let (path, mut dice) = (dir().join("index.redb"), Rng::with_seed(first_seed()));
    let mut noticed = 0;
    for flip in flips(&closed, &path, &mut dice) {
        let _told = Told(flip.told.clone());
        let disk = Simulated::of(flip.platter, false);
        let store = open(&disk).expect("the log opens");
        let answered = store.check_index(&fold);
        store.close();
        if answered.is_err() {
            noticed += 1;
            let store = open(&disk).expect("opens again");
            store.check_index(&fold).expect("it was built again");
            store.close();
        }
    }
    assert!(noticed > 10, "{noticed} were noticed by a read");
}

#[test]
fn bits_that_turn_over_in_a_read_model_are_noticed_and_it_begins_again() {
    let (made, path) = (Simulated::new(), dir().join(READ_MODEL));
    let file = read_model(&made).expect("creates");
    file.declare(collections(), &[7; 32]).expect("declares");
    let all: Vec<_> =
        (0..2_000).map(|n| (format!("{n:04}"), format!("{{\"n\":{}}}", n % 7))).collect();
    let changes = all.iter().map(|(key, document)| RowChange {
        collection: DOCUMENTS,
        key,
        document: Some(document),
    });
    let checkpoint = Checkpoint { position: 9, decision: 9, hash: [9; 32] };
    file.apply(changes, &checkpoint, true).expect("writes");
    drop(file);
    let (whole, mut noticed) = (made.platter(), 0);
    for flip in flips(&whole, &path, &mut Rng::with_seed(first_seed())) {
        let _told = Told(flip.told.clone());
        let disk = Simulated::of(flip.platter, false);
        // One that cannot be opened is deleted by whoever wants it.
        let Ok(file) = read_model(&disk) else { continue };
        if file.declare(collections(), &[7; 32]).is_err() {
            continue;
        }
        match documents(&file) {
            Ok(found) => assert!(found == all, "it is another one"),
            Err(_) => {
                noticed += 1;
                assert!(file.damage().is_some());
                file.reopen().expect("opens again");
                assert_eq!((documents(&file), file.checkpoint()), (Ok(Vec::new()), Ok(None)));
                drop(file);
                let maker = ReadModelFile::maker_on(&Disk::simulated(&disk), &path);
                assert_eq!(maker, Some([7; 32]), "the next start would not know it");
            }
        }
    }
    assert!(noticed > 10, "{noticed} were noticed by a read");
}
