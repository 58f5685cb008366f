//! Why a command has no recorded answer.

use std::fmt;

use crate::expected::VersionConflict;
use crate::names::{Name, StreamId};
use crate::runtime::Limit;
use crate::schemas::Violation;
use crate::storage::log::{ReadError, Refusal};

/// Why a command failed. Nothing was recorded unless it is `OutcomeUnknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No active module has the aggregate.
    UnknownAggregate(Name),
    /// The aggregate has no such command.
    UnknownCommand(String),
    /// The data does not fit the command.
    Invalid(String),
    /// The data does not fit the command's schema.
    Unfit {
        /// The command.
        command: String,
        /// Where, and how.
        violations: Vec<Violation>,
    },
    /// The stream is not at the version that the client expects.
    VersionConflict(VersionConflict),
    /// An event matches the condition.
    ConditionFailed {
        /// The first one's position.
        position: u64,
    },
    /// The condition takes more steps than `search_leaps` to evaluate.
    ConditionTooWide,
    /// The active aggregate cannot fold the events that were to be appended.
    NotFoldable {
        /// The stream.
        stream: StreamId,
        /// What the aggregate said.
        reason: String,
    },
    /// Others won every time.
    Contended {
        /// How often it was decided.
        attempts: usize,
    },
    /// The command id was used for another request.
    KeyReused,
    /// An event with this source and id is recorded, and says something else.
    EventReused {
        /// Its number in the append, from 0.
        at: usize,
        /// The position of the recorded one; none if it is an event of the same append.
        position: Option<u64>,
    },
    /// An event of an append does not fit the schema of its type.
    EventUnfit {
        /// Its number in the append, from 0.
        at: usize,
        /// Its type and the version of its shape.
        of: (String, u32),
        /// Where in its data, and how.
        violations: Vec<Violation>,
    },
    /// The same command id is being decided.
    StillRunning,
    /// The module trapped, reported a fault or answered what cannot be stored.
    ModuleFault {
        /// The module.
        module: String,
        /// What it did.
        reason: String,
    },
    /// The module ran into a limit.
    ModuleLimit {
        /// The module.
        module: String,
        /// The limit.
        limit: Limit,
    },
    /// The module that owns the aggregate was not started.
    Quarantined {
        /// The module.
        module: String,
        /// Why not.
        reason: String,
    },
    /// More is waiting for the module than may.
    Overloaded {
        /// The module.
        module: String,
    },
    /// The log takes nothing now.
    NotAccepted(Refusal),
    /// The commit failed and may have been made: the same command id tells.
    OutcomeUnknown(String),
    /// What the decision needs cannot be read.
    Unreadable(ReadError),
    /// The server is stopping.
    ShuttingDown,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAggregate(name) => {
                write!(f, "no active module has the aggregate {name:?}; upload and activate one")
            }
            Self::UnknownCommand(reason) | Self::Invalid(reason) => f.write_str(reason),
            Self::Unfit { command, violations } => {
                let count = violations.len();
                write!(
                    f,
                    "the data does not fit the schema of the command {command:?}, in {count} \
                    places; `errors` names them"
                )
            }
            Self::VersionConflict(conflict) => conflict.fmt(f),
            Self::ConditionFailed { position } => {
                write!(f, "the event at position {position} matches the condition's query")
            }
            Self::ConditionTooWide => f.write_str(
                "the condition takes too many steps to evaluate (search_leaps); give a later \
                 `after`, or a tag that fewer events have",
            ),
            Self::NotFoldable { stream, reason } => {
                write!(f, "the aggregate that owns {stream} cannot fold these events: {reason}")
            }
            Self::Contended { attempts } => write!(
                f,
                "other commands changed the stream during each of {attempts} decisions; retry"
            ),
            Self::KeyReused => {
                f.write_str("this idempotency key was used for a different request; use a new one")
            }
            Self::EventReused { position: Some(position), .. } => write!(
                f,
                "the event at position {position} has the same source and id, and another type, \
                 stream or data; a new fact needs a new id"
            ),
            Self::EventReused { position: None, .. } => f.write_str(
                "two events have the same source and id, and not the same type, stream and data",
            ),
            Self::EventUnfit { of: (event_type, version), .. } => write!(
                f,
                "the data of the event does not fit the schema of {event_type:?}, version \
                 {version}; `errors` names the places"
            ),
            Self::StillRunning => f.write_str(
                "what has this idempotency key or event id is still being done; retry shortly",
            ),
            Self::ModuleFault { module, reason } => write!(f, "module {module}: {reason}"),
            Self::ModuleLimit { module, limit } => {
                write!(f, "module {module} exceeded its limit {}", limit.name())
            }
            Self::Quarantined { module, reason } => {
                write!(f, "module {module} is quarantined: {reason}")
            }
            Self::Overloaded { module } => {
                write!(f, "too many commands wait for module {module}; retry later")
            }
            Self::NotAccepted(refusal) => refusal.fmt(f),
            Self::OutcomeUnknown(reason) => write!(
                f,
                "the outcome is unknown ({reason}); send the same request with the same \
                 idempotency key to learn it"
            ),
            Self::Unreadable(error) => error.fmt(f),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}
