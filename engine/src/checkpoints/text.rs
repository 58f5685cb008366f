//! What a checkpoint says, as a text (C2SP tlog-checkpoint), and the proof that a record is in the
//! log of one (C2SP tlog-proof).
//!
//! ```text
//! factum/<the store's id>
//! <number of records>
//! <root hash of the tree over them, base64>
//! position <position of the newest event>
//! record <BLAKE3 of the newest record, base64>
//! time <its recorded time, RFC 3339>
//! ```
//! The text of a number of records never changes, so no two checkpoints of one log can disagree.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::merkle::{leaf, root_of_path};
use super::note::PublicKey;
use crate::decision::Hash;
use crate::decision::format::record_hash;

/// What the first line of a proof says.
const PROOF: &str = "c2sp.org/tlog-proof@v1";

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `factum/` and the store's id.
    pub origin: String,
    /// How many records it covers.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Hash,
    /// The newest position in them.
    pub position: u64,
    /// BLAKE3 of the newest of them.
    pub record: Hash,
    /// When that was recorded, in milliseconds since 1970.
    pub recorded_at_ms: u64,
}

/// The name of a log in its checkpoints.
#[must_use]
pub fn origin(store_id: &str) -> String {
    format!("factum/{store_id}")
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.recorded_at_ms).ok();
        let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64.encode(self.root))?;
        writeln!(f, "position {}", self.position)?;
        writeln!(f, "record {}\ntime {time}", BASE64.encode(self.record))
    }
}

impl Checkpoint {
    /// Reads what a note says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (origin, size) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?);
        let root = hash(lines.next()?)?;
        let mut field = |name| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let position = field("position")?.parse().ok()?;
        let record = hash(field("record")?)?;
        let time: Timestamp = field("time")?.parse().ok()?;
        let recorded_at_ms = u64::try_from(time.as_millisecond()).ok()?;
        Some(Self { origin, size, root, position, record, recorded_at_ms })
    }

    /// Reads a note that one of the keys has signed.
    #[must_use]
    pub fn open(keys: &[PublicKey], note: &str) -> Option<Self> {
        Self::parse(PublicKey::open(keys, note)?)
    }

    /// The notes in a text of one or more.
    #[must_use]
    pub fn notes(text: &str) -> Vec<String> {
        let (mut notes, mut note) = (Vec::new(), String::new());
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if !(note.is_empty() && line.is_empty()) {
                note.push_str(line);
                note.push('\n');
            }
            let is_signature = |line: &str| line.starts_with('\u{2014}');
            if is_signature(line) && !lines.peek().is_some_and(|next| is_signature(next)) {
                notes.push(std::mem::take(&mut note));
            }
        }
        if !note.is_empty() {
            notes.push(note);
        }
        notes
    }
}

fn hash(base64: &str) -> Option<Hash> {
    BASE64.decode(base64).ok()?.try_into().ok()
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// It is not written as a proof is.
    Shape,
    /// None of the keys has signed its checkpoint.
    NotSigned,
    /// The record is not in the log that the checkpoint is of.
    NotInLog,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "it is not a proof as `GET /v1/events/{position}/proof` answers it",
            Self::NotSigned => "none of the keys given has signed its checkpoint",
            Self::NotInLog => "its record is not in the log that its checkpoint is of",
        })
    }
}

impl std::error::Error for ProofError {}

/// A proof that a record is in the log of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The record, as it is stored.
    pub record: Vec<u8>,
    /// Its place in the log, from 0.
    pub index: u64,
    /// The hashes beside the way to the root, that of its neighbour first.
    pub path: Vec<Hash>,
    /// The checkpoint, signed.
    pub note: String,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF}\nextra {}\nindex {}", BASE64.encode(&self.record), self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}

impl Proof {
    /// Reads a proof; it proves nothing yet.
    ///
    /// # Errors
    /// [`ProofError::Shape`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Shape)?;
        let read = || {
            let mut lines = head.lines();
            (lines.next()? == PROOF).then_some(())?;
            let record = BASE64.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
            let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
            let path = lines.map(hash).collect::<Option<_>>()?;
            Some(Self { record, index, path, note: note.to_owned() })
        };
        read().ok_or(ProofError::Shape)
    }

    /// The checkpoint, if one of the keys has signed it and the record is in its log.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check(&self, keys: &[PublicKey]) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(keys, &self.note).ok_or(ProofError::NotSigned)?;
        let leaf = leaf(&record_hash(&self.record));
        let root = root_of_path(&leaf, self.index, checkpoint.size, &self.path);
        if root == Some(checkpoint.root) { Ok(checkpoint) } else { Err(ProofError::NotInLog) }
    }
}
