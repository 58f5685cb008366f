//! The log, its index and a read model on a disk that loses power: at any call, during recovery,
//! and again during that. Suite B of what assures the promises.
//!
//! A run is driven from one seed and remembers all that it does to the disk. For each moment of it
//! a disk is drawn that may be found after the power went then, and the real engine is opened on
//! it. `FACTUM_SEED` gives the first seed, `FACTUM_SUITE=full` makes ten million images of seeds
//! that nobody has tried.

mod drawing;
mod faults;
mod history;
mod raw;
mod store;
mod workload;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fastrand::Rng;

use crate::storage::disk::simulated::{Call, Op, Platter, Simulated, Step};
use crate::storage::unpanicked;
use crate::tasks::side_by_side;
use history::{Expected, Fact};
use workload::Run;

/// Pieces of work in a run.
const STEPS: usize = 60;
/// Crashes that happen while the one before is recovered from.
const DEEPEST: usize = 3;

fn is_full() -> bool {
    std::env::var("FACTUM_SUITE").is_ok_and(|suite| suite == "full")
}

/// The first seed: always the same, so that a push that breaks nothing passes, unless one is given
/// or all is wanted.
fn first_seed() -> u64 {
    let given = std::env::var("FACTUM_SEED").ok().map(|seed| seed.parse().expect("a number"));
    given.unwrap_or_else(|| if is_full() { crate::clock::new_seed() >> 16 } else { 1 })
}

/// Says where it was when a check failed.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with {}", self.0);
        }
    }
}

/// A disk and what must be found on it, moment by moment.
struct Moments<'a> {
    platter: Platter,
    expected: Expected,
    facts: &'a [Fact],
    learned: usize,
}

impl<'a> Moments<'a> {
    fn new(platter: Platter, expected: Expected, facts: &'a [Fact]) -> Self {
        Self { platter, expected, facts, learned: 0 }
    }

    /// The next moment.
    fn go_on(&mut self, step: &Step) {
        match step {
            Step::Op(op) => self.platter.apply(op),
            Step::Known(known) => {
                self.facts[self.learned..*known].iter().for_each(|fact| self.expected.learn(fact));
                self.learned = *known;
            }
        }
    }
}

/// The power comes back: opens what is on a disk, checks it, perhaps works with it, and perhaps
/// loses power again, at any moment of that. Answers how many disks were opened.
fn recover(image: &Platter, expected: &Expected, mut dice: Rng, depth: usize) -> usize {
    let goes_again = depth < DEEPEST && dice.u8(0..8) < if depth == 0 { 1 } else { 4 };
    let works = goes_again || dice.u8(0..4) == 0;
    let disk = Simulated::of(image.clone(), goes_again);
    let mut limits = workload::limits(&mut dice);
    if goes_again {
        // Nothing happens beside the writer: so this run too is made by its seed alone.
        limits.index.fresh_records = 100_000;
        limits.journal_bytes = 1 << 20;
    }
    let mut run = Run::on(&disk, dice, limits, expected.clone());
    run.open();
    if works {
        let steps = run.dice.usize(1..5);
        run.work(steps);
        let records = run.store().check(&run.known);
        run.store().project(&records, true).expect("writes");
    }
    run.lose_power();
    let trace = disk.take_trace();
    if trace.is_empty() || !goes_again {
        return 1;
    }
    let mut images = 1;
    let facts = run.facts.all();
    for _ in 0..3 {
        let until = run.dice.usize(0..trace.len());
        let mut moments = Moments::new(image.clone(), expected.clone(), &facts);
        trace.iter().take(until).for_each(|step| moments.go_on(step));
        let _told = Told(format!("and call {until} of its recovery"));
        let again = moments.platter.survivors(&mut run.dice);
        images += recover(&again, &moments.expected, run.dice.fork(), depth + 1);
    }
    images
}

/// Opens a disk for some moments of a run, one in so many. Answers how many were opened.
fn lose_power_in(mut run: Run, seed: u64, one_in: u8) -> usize {
    run.open();
    run.work(STEPS);
    run.close();
    let (trace, facts) = (run.disk.take_trace(), run.facts.all());
    let mut moments = Moments::new(Platter::default(), Expected::default(), &facts);
    let (mut images, mut dice) = (0, Rng::with_seed(!seed));
    for (at, step) in trace.iter().enumerate() {
        moments.go_on(step);
        if matches!(step, Step::Op(_)) && dice.u8(0..one_in) == 0 {
            let _told = Told(format!("FACTUM_SEED={seed}, call {at} of {}", trace.len()));
            let image = moments.platter.survivors(&mut dice);
            images += recover(&image, &moments.expected, dice.fork(), 0);
        }
    }
    images
}

#[test]
fn what_was_acknowledged_survives_any_loss_of_power() {
    let since = crate::clock::Stopwatch::start();
    let wanted = if is_full() { 10_000_000 } else { 5_000 };
    let (images, next) = (AtomicUsize::new(0), AtomicU64::new(first_seed()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    side_by_side(&mut vec![(); cores], |_, ()| {
        while images.load(Ordering::Relaxed) < wanted {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            images.fetch_add(lose_power_in(Run::new(seed), seed, 4), Ordering::Relaxed);
        }
    })
    .expect("threads start");
    let (images, seconds) = (images.into_inner(), since.elapsed().as_secs_f64());
    println!("{images} images up to seed {} in {seconds:.1} s", next.into_inner());
}

/// The harness sees what it is for: a disk that syncs neither files nor names loses what was
/// acknowledged.
#[test]
fn a_disk_whose_syncs_do_nothing_is_found_out() {
    for call in [Call::Sync, Call::SyncDir] {
        let found = unpanicked(|| {
            for seed in first_seed()..first_seed() + 10 {
                let run = Run::new(seed);
                run.disk.ignore(call);
                lose_power_in(run, seed, 4);
            }
        });
        assert!(found.is_none(), "{call:?}");
    }
}

/// What a seed is printed for: whoever has it sees the same calls in the same order.
#[test]
fn one_seed_makes_one_run() {
    let calls = || {
        let mut run = Run::new(first_seed());
        run.open();
        run.work(STEPS);
        run.close();
        let trace = run.disk.take_trace().into_iter();
        // What is written may hold a mark of the journal, which is drawn anew each time.
        let shape = trace.map(|step| match step {
            Step::Op(Op::Write { file, at, data }) => format!("write {file} {at} {}", data.len()),
            other => format!("{other:?}"),
        });
        shape.collect::<Vec<_>>()
    };
    let (one, other) = (calls(), calls());
    let differ = one.iter().zip(&other).position(|(one, other)| one != other);
    assert_eq!((one.len(), differ), (other.len(), None));
}
