//! Decisions: the records the log is made of.
//!
//! A [`Decision`] is a view of one record's bytes. [`Draft`] is a record that only lacks what the
//! writer knows: its numbers, its time and the hash of the record before it. The byte format lives
//! in [`mod@format`] alone.

pub mod format;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod wire;

use crate::event::RecordedEvent;
pub use format::{Draft, HEADER_BYTES, Header, parse, parse_checked};

/// BLAKE3.
pub type Hash = [u8; 32];

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What every record has.
    pub header: Header,
    /// What it records.
    pub kind: Kind<'a>,
    /// The events it committed, in order.
    pub events: Vec<RecordedEvent<'a>>,
}

impl Decision<'_> {
    /// The head after this record.
    #[must_use]
    pub fn head_after(&self) -> u64 {
        self.header.head_before + u64::from(self.header.event_count)
    }
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A command, decided by a component.
    Command(Box<CommandRecord<'a>>),
    /// A module version began to answer, or a module ceased to.
    Activation(ActivationRecord<'a>),
    /// Events appended without a module.
    Append(AppendRecord<'a>),
    /// An administrator set something.
    Act(ActRecord<'a>),
    /// A refused command whose content a retention has taken out.
    Erased(ErasedRecord),
}

/// What is left of a refused command: that it was, when, and its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedRecord {
    /// BLAKE3 of the record as it was written, which the next one carries.
    pub hash: Hash,
}

/// Name and subject of the act that says up to which record refused commands may be erased.
pub const ERASED_BY: (&str, &str) = ("retention", "rejections");

/// Everything needed to decide the command again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRecord<'a> {
    /// The idempotency key, or an id made by the server.
    pub command_id: &'a str,
    /// Whether the client gave the id; only such ids are looked up for replays.
    pub id_from_client: bool,
    /// Who asked; empty for nobody known.
    pub caller: Option<&'a str>,
    /// BLAKE3 over what was asked, to tell a retry from a reused id.
    pub fingerprint: Hash,
    /// The rest of the context that the guest was given.
    pub context: RecordedContext<'a>,
    /// The command's name.
    pub command: &'a str,
    /// The command's data as the guest got it.
    pub data: &'a str,
    /// Who decided.
    pub module: ModuleRef<'a>,
    /// What the decision was computed from.
    pub saw: Saw<'a>,
    /// What came of it.
    pub outcome: Outcome<'a>,
    /// Fuel spent, where it was metered.
    pub fuel: Option<u64>,
}

/// The context of a decision as it was passed to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedContext<'a> {
    /// The addressed stream.
    pub stream: &'a str,
    /// The version the decision was made on.
    pub stream_version: u64,
    /// The time that the guest was told, in milliseconds since 1970.
    pub now_ms: u64,
    /// The only randomness that the guest got.
    pub seed: u64,
    /// The conversation.
    pub correlation_id: &'a str,
    /// The direct cause.
    pub causation_id: &'a str,
    /// Room for what later contracts add, as JSON.
    pub extra: &'a str,
}

/// A module version by name and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleRef<'a> {
    /// The module's name.
    pub name: &'a str,
    /// The version its manifest states.
    pub version: &'a str,
    /// BLAKE3 of the component's bytes.
    pub digest: Hash,
}

/// What a decision was computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saw<'a> {
    /// BLAKE3 of the input state's bytes; none before the first event.
    pub state_hash: Option<Hash>,
    /// The version of the snapshot that hydration began with, and the digest of its maker.
    pub snapshot: Option<(u64, Hash)>,
    /// The components that upcast what was read.
    pub upcasters: Vec<Hash>,
    /// The boundary query, as JSON, and the position it was read at.
    pub boundary: Option<(&'a str, u64)>,
}

/// The two answers of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Yes: the record's events, and BLAKE3 of the state after them.
    Committed {
        /// BLAKE3 of the state's bytes after the events.
        next_hash: Hash,
    },
    /// No, with the reason.
    Rejected(Rejection<'a>),
}

/// Why a domain refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection<'a> {
    /// A short code for programs.
    pub code: &'a str,
    /// A sentence for people.
    pub message: &'a str,
    /// More, as JSON.
    pub details: Option<&'a str>,
}

/// A change of which version of a module answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationRecord<'a> {
    /// The module's name.
    pub module: &'a str,
    /// The version that answers from here on; none when the module was deactivated.
    pub version: Option<(&'a str, Hash)>,
    /// Who asked for it.
    pub caller: Option<&'a str>,
}

/// An administrative act: from here on, this is so. Of the acts of one name about one subject, the
/// newest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActRecord<'a> {
    /// What was set, such as `module_limits`.
    pub act: &'a str,
    /// Of what: a name.
    pub subject: &'a str,
    /// To what, as JSON.
    pub value: &'a str,
    /// Who asked for it.
    pub caller: Option<&'a str>,
}

/// Events that were appended directly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendRecord<'a> {
    /// The client's idempotency key.
    pub command_id: Option<&'a str>,
    /// Who asked.
    pub caller: Option<&'a str>,
    /// BLAKE3 over what was asked, where there is an idempotency key.
    pub fingerprint: Option<Hash>,
    /// The conversation.
    pub correlation_id: Option<&'a str>,
    /// The direct cause.
    pub causation_id: Option<&'a str>,
    /// The condition that held, as JSON.
    pub condition: Option<&'a str>,
}
