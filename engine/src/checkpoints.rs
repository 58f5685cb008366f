//! Signed checkpoints of the log: who keeps one finds any later change of what it covers, and that
//! the log was cut.
//!
//! Promises: a checkpoint covers durable records only, and two of one log never disagree; the
//! formats are those of transparency logs, so that others' tools check them; the secret key leaves
//! the data directory in no answer and no backup. It decides nothing: it signs what the log has.

mod merkle;
mod note;
mod text;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;

use crate::storage::data_dir::write_durably;
use crate::storage::log::{Chain, Log, ReadError, Stored};

pub use merkle::{Growing, TILE, leaf};
pub use note::PublicKey;
use note::Signing;
pub use text::{Checkpoint, Proof, ProofError, origin};
use tree::Tree;
pub use tree::{Entry, entries};

/// The secret key. Whoever has it can sign for this store: it is not part of a backup.
const SECRET_KEY: &str = "signing-key";
/// Every public key that this store ever signed with, a line each.
const PUBLIC_KEYS: &str = "checkpoint-keys";
/// Checkpoints that were signed at intervals, one after the other.
const KEPT: &str = "checkpoints";
/// The file of the tree.
const TREE: &str = "log-tree";

/// When checkpoints are signed without being asked for. Each has a default with a reason.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointLimits {
    /// The time after which one is signed and kept, if the log has grown. 1 hour: what a cut could
    /// take away unseen, for who keeps them elsewhere.
    pub every: Duration,
    /// How many are kept, the newest. 10,000: more than a year of hours, in 4 MB.
    pub kept: usize,
}

impl Default for CheckpointLimits {
    fn default() -> Self {
        Self { every: Duration::from_secs(3600), kept: 10_000 }
    }
}

/// Why there is no checkpoint or proof.
#[derive(Debug)]
pub enum CheckpointError {
    /// The log does not have so many records.
    BeyondHead {
        /// How many it has.
        head: u64,
    },
    /// The record is not among those of the checkpoint.
    NotCovered {
        /// The record.
        decision: u64,
        /// How many the checkpoint covers.
        size: u64,
    },
    /// The log cannot be read.
    Log(ReadError),
    /// The key or the tree cannot be read or written.
    File(String),
}

impl CheckpointError {
    fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::File(format!("{}: {error}", path.display()))
    }
}

impl std::fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BeyondHead { head } => write!(f, "the log has {head} records"),
            Self::NotCovered { decision, size } => write!(
                f,
                "decision {decision} is not among the first {size}; name a size of at least \
                 {decision}"
            ),
            Self::Log(error) => error.fmt(f),
            Self::File(reason) => write!(f, "checkpoints cannot be signed: {reason}"),
        }
    }
}

impl std::error::Error for CheckpointError {}

impl From<ReadError> for CheckpointError {
    fn from(error: ReadError) -> Self {
        Self::Log(error)
    }
}

/// Signs checkpoints of one log.
pub struct Checkpoints {
    log: Log,
    dir: PathBuf,
    store_id: String,
    limits: CheckpointLimits,
    /// Made when it is first needed, one at a time.
    signer: Mutex<Option<Signer>>,
    /// Dropped to end the thread that keeps checkpoints.
    open: Mutex<Option<Sender<()>>>,
    closed: Receiver<()>,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints").field("dir", &self.dir).finish_non_exhaustive()
    }
}

struct Signer {
    key: Signing,
    tree: Tree,
}

impl Checkpoints {
    /// Signs for the store in a directory.
    #[must_use]
    pub fn new(log: Log, dir: &Path, store_id: &str, limits: CheckpointLimits) -> Self {
        let (dir, store_id) = (dir.to_owned(), store_id.to_owned());
        let (open, closed) = crossbeam_channel::bounded(0);
        let (signer, open) = (Mutex::default(), Mutex::new(Some(open)));
        Self { log, dir, store_id, limits, signer, open, closed }
    }

    /// The public key, made with the secret one where there is none yet.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn key(&self) -> Result<PublicKey, CheckpointError> {
        self.with_signer(|signer, _| Ok(signer.key.public()))
    }

    /// The signed checkpoint of the first records, or of all.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn at(&self, size: Option<u64>) -> Result<String, CheckpointError> {
        self.with_signer(|signer, stored| self.sign(signer, stored, size).map(|(_, note)| note))
    }

    /// The proof that a record is in the log of the checkpoint of the first records, or of all.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn proof(&self, decision: u64, size: Option<u64>) -> Result<Proof, CheckpointError> {
        self.with_signer(|signer, stored| {
            let (size, note) = self.sign(signer, stored, size)?;
            let index = decision.checked_sub(1).filter(|index| *index < size);
            let index = index.ok_or(CheckpointError::NotCovered { decision, size })?;
            let record = stored.record(decision)?.unwrap_or_default().to_vec();
            Ok(Proof { record, index, path: signer.tree.path(stored, index, size)?, note })
        })
    }

    fn with_signer<T>(
        &self,
        act: impl FnOnce(&mut Signer, &Stored) -> Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        let (stored, mut signer) = (self.log.stored(), self.signer.lock());
        let signer = match &mut *signer {
            Some(signer) => signer,
            none => none.insert(Signer {
                key: signing(&self.dir, &self.store_id)?,
                tree: Tree::open(self.dir.join(TREE), &stored)?,
            }),
        };
        act(signer, &stored)
    }

    fn sign(
        &self,
        signer: &mut Signer,
        stored: &Stored,
        size: Option<u64>,
    ) -> Result<(u64, String), CheckpointError> {
        let head = self.log.head().decision;
        let size = size.unwrap_or(head);
        if size > head {
            return Err(CheckpointError::BeyondHead { head });
        }
        signer.tree.extend(stored, head)?;
        let genesis = Chain::genesis(&self.store_id);
        let mut checkpoint = Checkpoint {
            origin: origin(&self.store_id),
            size,
            root: signer.tree.root(stored, size)?,
            position: 0,
            record: genesis.head.hash,
            recorded_at_ms: 0,
        };
        if size > 0 {
            let (header, hash) = tree::record(stored, size)?;
            checkpoint.position = header.head_before + u64::from(header.event_count);
            (checkpoint.record, checkpoint.recorded_at_ms) = (hash, header.recorded_at_ms);
        }
        Ok((size, signer.key.sign(&checkpoint.to_string())))
    }

    /// Signs and keeps checkpoints at intervals, until [`Checkpoints::close`].
    pub fn keep_at_intervals(&self) {
        let mut newest = 0;
        while self.closed.recv_timeout(self.limits.every) == Err(RecvTimeoutError::Timeout) {
            let head = self.log.head().decision;
            if head == newest {
                continue;
            }
            match self.keep() {
                Ok(()) => newest = head,
                Err(error) => tracing::warn!(%error, "no checkpoint could be kept"),
            }
        }
    }

    fn keep(&self) -> Result<(), CheckpointError> {
        let note = self.at(None)?;
        let path = self.dir.join(KEPT);
        let mut notes = kept(&self.dir)?;
        if notes.last() == Some(&note) {
            return Ok(());
        }
        notes.push(note);
        let newest = notes.len().saturating_sub(self.limits.kept);
        let text = notes.split_off(newest).join("\n");
        write_durably(&path, text.as_bytes()).map_err(|error| CheckpointError::file(&path, error))
    }

    /// Ends [`Checkpoints::keep_at_intervals`].
    pub fn close(&self) {
        drop(self.open.lock().take());
    }
}

/// The checkpoints that were kept in a directory, the oldest first.
///
/// # Errors
/// [`CheckpointError`], when they cannot be read.
pub fn kept(dir: &Path) -> Result<Vec<String>, CheckpointError> {
    Ok(Checkpoint::notes(&text_of(&dir.join(KEPT))?))
}

/// The public keys that a directory's store has signed with.
///
/// # Errors
/// [`CheckpointError`], when they cannot be read.
pub fn keys(dir: &Path) -> Result<Vec<PublicKey>, CheckpointError> {
    Ok(text_of(&dir.join(PUBLIC_KEYS))?.lines().filter_map(PublicKey::parse).collect())
}

/// The file of the tree in a directory.
#[must_use]
pub fn tree_file(dir: &Path) -> PathBuf {
    dir.join(TREE)
}

fn text_of(path: &Path) -> Result<String, CheckpointError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| CheckpointError::file(path, error)),
    }
}

/// The key of the store in a directory, made where there is none. The public part is written down
/// first: no checkpoint is ever signed by a key that is not there to check it.
fn signing(dir: &Path, store_id: &str) -> Result<Signing, CheckpointError> {
    let path = dir.join(SECRET_KEY);
    let name = origin(store_id);
    let text = text_of(&path)?;
    if !text.is_empty() {
        let secret = BASE64.decode(text.trim()).ok().and_then(|secret| secret.try_into().ok());
        let secret = secret.ok_or_else(|| {
            CheckpointError::file(&path, "it is not a key; put it back, or remove it for a new one")
        })?;
        return Ok(Signing::new(&name, &secret));
    }
    let failed = |error| CheckpointError::file(&path, error);
    let secret = crate::clock::new_secret().map_err(failed)?;
    let key = Signing::new(&name, &secret);
    let public = dir.join(PUBLIC_KEYS);
    let known = format!("{}{}\n", text_of(&public)?, key.public());
    write_durably(&public, known.as_bytes())
        .and_then(|()| write_durably(&path, format!("{}\n", BASE64.encode(secret)).as_bytes()))
        .map_err(failed)?;
    Ok(key)
}
