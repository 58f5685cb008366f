//! What became of a direct append: its record, and where its events are.

use bytes::Bytes;

use super::known::Place;
use crate::decision::format::parse_header;
use crate::decision::{Decision, parse};
use crate::storage::log::ReadError;

/// An append that is durable.
#[derive(Clone, Debug)]
pub struct AppendAnswer {
    pub(super) record: Bytes,
    /// Where the events of the request are.
    pub(super) places: Vec<Place>,
    /// Whether it had been made before.
    pub replayed: bool,
}

impl AppendAnswer {
    /// The record of it.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when its bytes are.
    pub fn decision(&self) -> Result<Decision<'_>, ReadError> {
        Ok(parse(&self.record)?)
    }

    /// The position of each event of the request, in its order.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the record's bytes are.
    pub fn positions(&self) -> Result<Vec<u64>, ReadError> {
        let decision = self.decision()?;
        let position = |place: &Place| match place {
            Place::Known(position) => Some(*position),
            Place::New(number) => decision.events.get(*number).map(|event| event.position),
        };
        Ok(self.places.iter().filter_map(position).collect())
    }

    /// The position of the request's last event.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the record's bytes are.
    pub fn last_position(&self) -> Result<u64, ReadError> {
        let header = parse_header(&self.record)?;
        Ok(match self.places.last() {
            Some(Place::Known(position)) => *position,
            Some(Place::New(number)) => {
                header.head_before.saturating_add(u64::try_from(*number).unwrap_or(u64::MAX)) + 1
            }
            None => header.head_before,
        })
    }

    /// How many events of the request were recorded before, because of their source and id.
    #[must_use]
    pub fn known(&self) -> usize {
        self.places.iter().filter(|place| matches!(place, Place::Known(_))).count()
    }
}
