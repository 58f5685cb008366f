//! Backups: a consistent copy of a store as one stream, taken while it is used, and the store that
//! is made of one.
//!
//! Promises: a backup has, with those that it goes on from, every record up to a stated one and
//! every component that the store had; one that was cut is never taken for whole; a restore checks
//! everything before the directory appears, and overwrites none. The secret key is in no backup: a
//! restored store makes its own, and the public keys of before still check what was signed before.

mod archive;
mod restore;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::checkpoints::{self, CheckpointError};
use crate::decision::format::{parse_header, record_hash};
use crate::faults::{Point, fail_point};
use crate::modules::ComponentStore;
use crate::storage::log::{Chain, Head, ReadError, Stored};
use crate::verify::{Aside, Pace};

use archive::{ArchiveWriter, CHECKPOINTS, COMPONENTS, FORMAT, KEYS, LOG};
pub use archive::{Contents, Place, Span};
pub use restore::{RestoreError, Restored, check, restore};

/// Bytes of records in one file of a backup. 4 MiB: little memory, and few files.
const FILE_BYTES: usize = 4 << 20;
/// Bytes of records that are read at once: after each, commands have their turn.
const RUN_BYTES: usize = 256 << 10;

/// What a backup is made of.
#[derive(Debug)]
pub struct Source {
    /// The log.
    pub stored: Stored,
    /// The store's id.
    pub store_id: String,
    /// The data directory.
    pub dir: PathBuf,
    /// Up to which record.
    pub through: Head,
    /// The signed checkpoint of that, where somebody can sign.
    pub checkpoint: Option<String>,
    /// The digests, in hexadecimal, of components that are left out: the backup that this one goes
    /// on from, or one before that, has them.
    pub without: BTreeSet<String>,
}

/// Why there is no backup.
#[derive(Debug)]
pub enum BackupError {
    /// It is to go on after a record that the log does not have.
    BeyondHead {
        /// The newest record.
        head: u64,
    },
    /// The log cannot be read.
    Log(ReadError),
    /// A component cannot be read.
    Component(String),
    /// The checkpoints cannot be read.
    Checkpoints(CheckpointError),
    /// It could not be written.
    Io(io::Error),
}

impl std::fmt::Display for BackupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BeyondHead { head } => write!(f, "the newest decision is {head}"),
            Self::Log(error) => error.fmt(f),
            Self::Component(reason) => write!(f, "a component cannot be copied: {reason}"),
            Self::Checkpoints(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the backup cannot be written: {error}"),
        }
    }
}

impl std::error::Error for BackupError {}

macro_rules! is_backup_error {
    ($($error:ty => $variant:ident),*) => {
        $(impl From<$error> for BackupError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

is_backup_error!(ReadError => Log, CheckpointError => Checkpoints, io::Error => Io);

/// What a backup after a record, 0 for all, will have.
///
/// # Errors
/// [`BackupError`], when there is no such record.
pub fn span(source: &Source, after: u64) -> Result<Span, BackupError> {
    let Head { decision, position, hash } = source.through;
    if after > decision {
        return Err(BackupError::BeyondHead { head: decision });
    }
    source.stored.reach_after(after)?;
    let after = match after {
        0 => Place::of(0, 0, &Chain::genesis(&source.store_id).head.hash),
        after => {
            let record = source.stored.record(after)?;
            let missing = || ReadError::Damaged(format!("decision {after} is missing"));
            let record = record.ok_or_else(missing)?;
            let header = parse_header(&record).map_err(ReadError::from)?;
            let position = header.head_before + u64::from(header.event_count);
            Place::of(after, position, &record_hash(&record))
        }
    };
    let through = Place::of(decision, position, &hash);
    Ok(Span { format: FORMAT.to_owned(), store: source.store_id.clone(), after, through })
}

/// Writes a backup, at a pace for which only its own work counts.
///
/// # Errors
/// [`BackupError`]; what was written is then no backup.
pub fn write(source: &Source, span: Span, pace: Pace, out: impl Write) -> Result<(), BackupError> {
    let steps = RefCell::new(pace.begin(source.stored.head()));
    let mut archive = ArchiveWriter::new(Aside { out, steps: &steps });
    let begin = serde_json::to_vec_pretty(&span).map_err(io::Error::other)?;
    archive.file(archive::BEGIN, &begin)?;
    let components = components(&mut archive, source)?;
    let mut next = span.after.decision + 1;
    while next <= span.through.decision {
        let (first, mut records) = (next, Vec::with_capacity(FILE_BYTES));
        while next <= span.through.decision && records.len() < FILE_BYTES {
            let run = source.stored.run(next, span.through.decision, RUN_BYTES)?;
            records.extend_from_slice(&run.bytes);
            next = run.last + 1;
            steps.borrow_mut().done(source.stored.head());
        }
        archive.file(&format!("{LOG}{first:020}"), &records)?;
        steps.borrow_mut().done(source.stored.head());
        fail_point(Point::Backup);
    }
    let mut notes = checkpoints::kept(&source.dir)?;
    notes.extend(source.checkpoint.clone());
    archive.file(CHECKPOINTS, notes.join("\n").as_bytes())?;
    let keys = checkpoints::keys(&source.dir)?;
    let keys: String = keys.iter().map(|key| format!("{key}\n")).collect();
    archive.file(KEYS, keys.as_bytes())?;
    fail_point(Point::Backup);
    Ok(archive.finish(Contents { span, components })?)
}

/// Writes the components that are new, and answers all.
fn components<W: Write>(
    archive: &mut ArchiveWriter<W>,
    source: &Source,
) -> Result<BTreeSet<String>, BackupError> {
    let store = ComponentStore::new(source.dir.join(COMPONENTS));
    let mut all = BTreeSet::new();
    for digest in store.digests().map_err(BackupError::Component)? {
        let text = blake3::Hash::from(digest).to_hex().to_string();
        let name = format!("{COMPONENTS}{text}");
        let is_there = source.without.contains(&text);
        all.insert(text);
        if is_there {
            continue;
        }
        let bytes = store.bytes(&digest).map_err(BackupError::Component)?;
        archive.file(&format!("{name}.wasm"), &bytes)?;
        let card = store.card(&digest).map_err(BackupError::Component)?;
        archive.file(&format!("{name}.json"), &card)?;
    }
    Ok(all)
}
