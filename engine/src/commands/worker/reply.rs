//! From the writer's answers to those who wait for a decision.

use bytes::Bytes;

use super::{Attempt, Reply};
use crate::commands::error::CommandError;
use crate::storage::log::{AppendError, AppendReply, Appended};

pub(super) fn on_appended(held: impl Send + 'static, reply: Reply<Bytes>) -> AppendReply {
    Box::new(move |answer| {
        let answer = match answer {
            Ok(Appended::Record(record)) => Ok(record),
            Ok(Appended::Barrier) => Err(Attempt::Superseded),
            Err(error) => Err(attempt(error)),
        };
        // The id is free for a retry before the client can send one.
        drop(held);
        // A client that went away is no reason to fail.
        drop(reply.send(answer));
    })
}

/// Answers with something that was computed, once all it was computed from is durable.
pub(super) fn on_barrier<T: Send + 'static>(
    reply: Reply<T>,
    computed: Result<T, CommandError>,
) -> AppendReply {
    Box::new(move |passed| {
        drop(reply.send(match passed {
            Ok(_) => computed.map_err(Attempt::Failed),
            Err(error) => Err(attempt(error)),
        }));
    })
}

fn attempt(error: AppendError) -> Attempt {
    match error {
        AppendError::Conflict(_)
        | AppendError::ConditionFailed { .. }
        | AppendError::Superseded => Attempt::Superseded,
        AppendError::NotAccepted(refusal) => Attempt::Failed(CommandError::NotAccepted(refusal)),
        AppendError::Unknown(reason) => Attempt::Failed(CommandError::OutcomeUnknown(reason)),
    }
}
