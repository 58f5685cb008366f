//! The storage engine alone on such a disk. Up to 4.1, redb could lose what it had committed when
//! power went in a commit and again during the repair: `tests/redb-4.1` is this file with that
//! version, to show that it finds what there is to find. The one that we use loses nothing.
//!
//! The loss begins with a header of which a part was written, and a header is smaller than a
//! sector: so writes are torn between any eight bytes here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fastrand::Rng;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use crate::storage::disk::simulated::{Op, Platter, Simulated, SimulatedFile, Step};
use crate::storage::unpanicked;

/// What a table holds.
type Rows = BTreeMap<u64, u64>;

/// What may be found: what was committed, and that with what was being committed.
#[derive(Clone, Debug, Default)]
struct Allowed {
    committed: Rows,
    next: Rows,
}

const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("t");

#[derive(Debug)]
struct File(SimulatedFile);

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

fn open(disk: &Simulated) -> Result<Database, String> {
    let file = disk.file(Path::new("/t.redb")).map_err(|error| error.to_string())?;
    let mut builder = Database::builder();
    let opened = builder.set_cache_size(1 << 20).create_with_backend(File(file));
    opened.map_err(|error| error.to_string())
}

fn commit(database: &Database, rows: &Rows) {
    let write = database.begin_write().expect("begins");
    {
        let mut table = write.open_table(TABLE).expect("opens");
        table.retain(|key, _| rows.contains_key(&key)).expect("removes");
        for (key, value) in rows {
            table.insert(key, value).expect("inserts");
        }
    }
    write.commit().expect("commits");
}

fn rows(database: &Database) -> Result<Rows, String> {
    let read = database.begin_read().map_err(|error| error.to_string())?;
    let table = match read.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Rows::new()),
        opened => opened.map_err(|error| error.to_string())?,
    };
    let mut rows = Rows::new();
    for row in table.iter().map_err(|error| error.to_string())? {
        let (key, value) = row.map_err(|error| error.to_string())?;
        rows.insert(key.value(), value.value());
    }
    Ok(rows)
}

/// Opens a disk after its power went; answers what is there.
fn found(disk: &Simulated) -> Result<Rows, String> {
    rows(&open(disk)?)
}

/// Some commits; says before each what it is to hold, and after it that it does.
fn run(disk: &Simulated, states: &[Rows]) {
    let database = open(disk).expect("creates");
    disk.sync_dir(Path::new("/")).expect("syncs");
    for (number, rows) in (1..).zip(states) {
        disk.note(2 * number - 1);
        commit(&database, rows);
        disk.note(2 * number);
    }
}

/// The rows after each of some commits.
fn states(dice: &mut Rng) -> Vec<Rows> {
    let mut rows = Rows::new();
    let next = |_| {
        for _ in 0..dice.u16(1..60) {
            rows.insert(dice.u64(0..300), dice.u64(..));
        }
        for _ in 0..dice.u16(0..50) {
            rows.remove(&dice.u64(0..300));
        }
        rows.clone()
    };
    (0..8).map(next).collect()
}

/// What went wrong.
pub(crate) enum Wrong {
    /// After so many crashes the rows were neither those before nor those after the last commit.
    Lost { crashes: usize },
    /// It said that it cannot be opened, or panicked.
    Unreadable,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost { crashes } => write!(f, "commits were lost in crash {crashes}"),
            Self::Unreadable => f.write_str("it cannot be read"),
        }
    }
}

/// Loses power in a run, and again in the repairs. Answers all that went wrong, with the call.
pub(crate) fn crash_twice(seed: u64) -> Vec<(usize, Wrong)> {
    let mut dice = Rng::with_seed(seed);
    let states = states(&mut dice);
    let disk = Simulated::new();
    run(&disk, &states);
    let (mut platter, mut allowed) = (Platter::tearing(8), Allowed::default());
    let mut wrongs = Vec::new();
    for (at, step) in disk.take_trace().iter().enumerate() {
        match step {
            Step::Known(known) => {
                let rows = states[(known - 1) / 2].clone();
                if known % 2 == 0 {
                    allowed.committed.clone_from(&rows);
                }
                allowed.next = rows;
            }
            Step::Op(op) => {
                let images = match op {
                    // One that was never durable may not be one.
                    _ if allowed.committed.is_empty() => 0,
                    // Most is under way just before a sync.
                    Op::Sync { .. } => 40,
                    _ => 1,
                };
                for _ in 0..images {
                    let wrong = crashes(&platter, &allowed, &mut dice);
                    wrongs.extend(wrong.map(|wrong| (at, wrong)));
                }
                platter.apply(op);
            }
        }
    }
    wrongs
}

/// Loses power now, and twice in what follows.
fn crashes(platter: &Platter, allowed: &Allowed, dice: &mut Rng) -> Option<Wrong> {
    let mut image = platter.survivors(dice);
    for crashes in 1..=3 {
        let disk = Simulated::of(image.clone(), true);
        match unpanicked(|| found(&disk)) {
            Some(Ok(rows)) if rows == allowed.committed || rows == allowed.next => {}
            Some(Ok(_)) => return Some(Wrong::Lost { crashes }),
            Some(Err(_)) | None => return Some(Wrong::Unreadable),
        }
        let trace = disk.take_trace();
        let until = dice.usize(0..=trace.len());
        for step in trace.iter().take(until) {
            let Step::Op(op) = step else { continue };
            image.apply(op);
        }
        image = image.survivors(dice);
    }
    None
}

#[test]
fn the_storage_engine_loses_no_commit_in_three_crashes() {
    let first = super::first_seed();
    let seeds = if super::is_full() { 10_000 } else { 5 };
    for seed in first..first + seeds {
        if let Some((call, wrong)) = crash_twice(seed).first() {
            panic!("FACTUM_SEED={seed}: power went at call {call}, and {wrong}");
        }
    }
}
