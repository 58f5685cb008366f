//! Why a command has no recorded answer.

use std::fmt;

use crate::names::Name;
use crate::runtime::Limit;
use crate::storage::log::{ReadError, Refusal};

/// The version that a stream must have for a command to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Any.
    Any,
    /// It has no event yet.
    NoStream,
    /// It has at least one.
    Exists,
    /// Exactly this one.
    Exact(u64),
}

impl ExpectedVersion {
    /// Whether a stream at `actual` is as expected.
    #[must_use]
    pub fn holds(self, actual: u64) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == 0,
            Self::Exists => actual > 0,
            Self::Exact(version) => actual == version,
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::Exists => f.write_str("a stream that exists"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

/// Why a command failed. Nothing was recorded unless it is `OutcomeUnknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No active module has the aggregate.
    UnknownAggregate(Name),
    /// The aggregate has no such command.
    UnknownCommand(String),
    /// The data does not fit the command.
    Invalid(String),
    /// The stream is not at the version that the client expects.
    VersionConflict {
        /// What the client expects.
        expected: ExpectedVersion,
        /// The stream's version; 0 before its first event.
        actual: u64,
    },
    /// Others won every time.
    Contended {
        /// How often it was decided.
        attempts: usize,
    },
    /// The command id was used for another request.
    KeyReused,
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
            Self::VersionConflict { expected, actual: 0 } => {
                write!(f, "expected {expected}, and the stream does not exist")
            }
            Self::VersionConflict { expected, actual } => {
                write!(f, "expected {expected}, and the stream is at version {actual}")
            }
            Self::Contended { attempts } => write!(
                f,
                "other commands changed the stream during each of {attempts} decisions; retry"
            ),
            Self::KeyReused => {
                f.write_str("this idempotency key was used for a different request; use a new one")
            }
            Self::StillRunning => {
                f.write_str("a command with this idempotency key is still running; retry shortly")
            }
            Self::ModuleFault { module, reason } => write!(f, "module {module}: {reason}"),
            Self::ModuleLimit { module, limit } => {
                write!(f, "module {module} exceeded its limit {}", limit.name())
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
