//! What a guest can do wrong, told apart by what the caller does about it.

use std::fmt;

use wasmtime::Trap;

/// A limit of [`super::GuestLimits`] that a call ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `memory_bytes`.
    Memory,
    /// `table_elements`.
    Table,
    /// `deadline_ms`.
    Deadline,
    /// `output_bytes`.
    Output,
    /// The stack, half a MiB.
    Stack,
    /// `events_per_command`, which whoever appends them knows.
    Events,
    /// `event_bytes`, likewise.
    EventBytes,
    /// `event_tags`, likewise.
    EventTags,
}

impl Limit {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory_bytes",
            Self::Table => "table_elements",
            Self::Deadline => "deadline_ms",
            Self::Output => "output_bytes",
            Self::Stack => "stack_bytes",
            Self::Events => "events_per_command",
            Self::EventBytes => "event_bytes",
            Self::EventTags => "event_tags",
        }
    }
}

/// Why a call has no answer. The instance is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestError {
    /// It used more than it may.
    Limit(Limit),
    /// It trapped, or answered what does not fit the contract.
    Trap(String),
    /// No instance could be made.
    Instantiate(String),
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "the guest exceeded its limit {}", limit.name()),
            Self::Trap(reason) => write!(f, "the guest trapped: {reason}"),
            Self::Instantiate(reason) => write!(f, "the guest could not be started: {reason}"),
        }
    }
}

impl std::error::Error for GuestError {}

/// wasmtime has no type for this one; the test of the output limit holds the text.
const OUTPUT_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// What a failed call means. `refused`: the guest had asked for more memory or table than it may
/// have; `last_words`: the last error line it logged, which a panic in Rust writes.
pub(super) fn classify(
    error: &wasmtime::Error,
    refused: Option<Limit>,
    last_words: Option<String>,
) -> GuestError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => GuestError::Limit(Limit::Deadline),
        Some(Trap::StackOverflow) => GuestError::Limit(Limit::Stack),
        trap => {
            if let Some(limit) = refused {
                return GuestError::Limit(limit);
            }
            let reason = trap.map_or_else(|| error.root_cause().to_string(), ToString::to_string);
            if reason.contains(OUTPUT_EXHAUSTED) {
                return GuestError::Limit(Limit::Output);
            }
            GuestError::Trap(match last_words {
                Some(words) => format!("{reason}; it said: {words}"),
                None => reason,
            })
        }
    }
}
