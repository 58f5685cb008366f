//! Whether what is asked fits its schema, and what is answered can be stored.

use super::Worker;
use crate::commands::Command;
use crate::commands::error::CommandError;
use crate::commands::record::{checked_events, exceeded};
use crate::event::NewEvent;
use crate::event_schemas::InForce;
use crate::faults::{Mutant, is_on};
use crate::runtime::{self, GuestError};

impl Worker {
    /// Compares a command with its schema. It is done here, where it costs nobody else.
    pub(super) fn fits(&self, command: &Command) -> Result<(), CommandError> {
        let (aggregate, name) = (command.aggregate.as_str(), command.name.as_str());
        self.identity
            .schemas
            .command(aggregate, name, &command.data)
            .map_err(|violations| CommandError::Unfit { command: name.to_owned(), violations })
    }

    /// The events that a guest answered, if they are what may be stored.
    pub(super) fn storable(
        &self,
        (aggregate, rules): (&str, &InForce),
        answered: Vec<runtime::NewEvent>,
    ) -> Result<Vec<NewEvent>, CommandError> {
        let exceeded = exceeded(&answered, &self.limits);
        if let Some(limit) = exceeded.filter(|_| !is_on(Mutant::EventLimitsIgnored)) {
            return Err(self.failed(&GuestError::Limit(limit)));
        }
        let events = checked_events(answered).map_err(|reason| self.fault(reason))?;
        for event in &events {
            let kind = (event.event_type.as_str(), event.schema_version);
            let own = self.identity.schemas.event(aggregate, kind, &event.data);
            for (whose, fitted) in
                [("its own schema", own), ("the type's schema", rules.check(event))]
            {
                if let Some(found) = fitted.err().and_then(|found| found.into_iter().next()) {
                    return Err(self.fault(format!(
                        "the data of its event {:?} does not fit {whose} at {:?}: {}",
                        kind.0, found.pointer, found.detail
                    )));
                }
            }
        }
        Ok(events)
    }
}
