//! What was found, as it is told.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::storage::log::Chain;

/// Faults that are named one by one; more are only counted.
const NAMED_FAULTS: usize = 100;

/// What a verification found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// The store's id.
    pub store: String,
    /// The newest record that was read.
    pub head: Option<Place>,
    /// Records that were read.
    pub records: u64,
    /// Events in them.
    pub events: u64,
    /// Files of the log that were read.
    pub files: u64,
    /// Records that were not read, because they are archived out of reach.
    #[serde(default)]
    pub out_of_reach: u64,
    /// Refused commands of which a retention left the hash only.
    #[serde(default)]
    pub erased: u64,
    /// The first damaged place of the log, if there is one.
    pub first_damage: Option<Fault>,
    /// Up to here everything is as it was written, if something is damaged.
    pub reads_before: Option<Place>,
    /// Records after the first damage that can still be read.
    pub reads_after: u64,
    /// What is wrong, in the order it was found: the first hundred.
    pub faults: Vec<Fault>,
    /// How much is wrong.
    pub fault_count: u64,
    /// What else was compared with the log, and what came of it.
    pub compared: Vec<Compared>,
    /// How long it took.
    pub seconds: f64,
    /// Events a second.
    pub events_per_second: f64,
}

/// A record's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The record.
    pub decision: u64,
    /// The newest event up to it.
    pub position: u64,
    /// BLAKE3 of the record.
    pub hash: String,
}

impl From<&Chain> for Place {
    fn from(chain: &Chain) -> Self {
        Self {
            decision: chain.head.decision,
            position: chain.head.position,
            hash: blake3::Hash::from(chain.head.hash).to_hex().to_string(),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In what: `log`, `archive`, `journal`, `index`, `read_model`, `component`, `code`, `tree` or
    /// `checkpoint`.
    pub part: String,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<u64>,
    /// The position of its first event, or of the one that would come next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The row of that file, by the number of its first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The byte of that row at which the record begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What is wrong.
    pub detail: String,
}

impl Fault {
    pub(super) fn of(part: &str, detail: impl Into<String>) -> Self {
        Self { part: part.into(), detail: detail.into(), ..Self::default() }
    }

    pub(super) fn in_file(mut self, file: &Path) -> Self {
        let name = file.file_name().unwrap_or(file.as_os_str());
        self.file = Some(name.to_string_lossy().into_owned());
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.part)?;
        if let Some(decision) = self.decision {
            write!(f, ", decision {decision}")?;
        }
        if let Some(position) = self.position {
            write!(f, " (position {position})")?;
        }
        if let Some(file) = &self.file {
            write!(f, ", {file}")?;
        }
        if let Some((row, offset)) = self.row.zip(self.offset) {
            write!(f, ", row {row}, byte {offset}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// Something that was compared with the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// What.
    pub what: String,
    /// What came of it.
    pub outcome: String,
}

impl Report {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.fault_count += 1;
        if self.faults.len() < NAMED_FAULTS {
            self.faults.push(fault);
        }
    }

    pub(super) fn compared(&mut self, what: impl Into<String>, outcome: impl Into<String>) {
        self.compared.push(Compared { what: what.into(), outcome: outcome.into() });
    }
}
