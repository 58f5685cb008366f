//! Whether a record follows the one before it.

use super::Head;
use crate::decision::format::{Damage, record_hash};
use crate::decision::{Decision, parse, parse_checked};
use crate::faults::{Mutant, is_on};

/// The records of a log up to one of them, each of which followed the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The newest of them.
    pub head: Head,
    /// When it was recorded, in milliseconds since 1970.
    pub recorded_at_ms: u64,
}

impl Chain {
    /// Before the first record of a store.
    #[must_use]
    pub fn genesis(store_id: &str) -> Self {
        let hash = *blake3::hash(store_id.as_bytes()).as_bytes();
        Self { head: Head { position: 0, decision: 0, hash }, recorded_at_ms: 0 }
    }

    /// Whether a record follows, and the chain with it. Checks its checksum and shape.
    ///
    /// # Errors
    /// [`Damage`]: the first thing that is wrong.
    pub fn follow<'a>(&self, record: &'a [u8]) -> Result<(Decision<'a>, Self), Damage> {
        let read = if is_on(Mutant::ChecksumIgnored) { parse_checked } else { parse };
        let decision = read(record)?;
        let header = &decision.header;
        let wrong = if header.decision != self.head.decision + 1 {
            Some("its number is not the next one")
        } else if header.head_before != self.head.position {
            Some("its positions do not go on where those before it end")
        } else if header.previous_hash != self.head.hash {
            Some("it does not carry the hash of the record before it")
        } else if header.recorded_at_ms < self.recorded_at_ms {
            Some("its recorded time is before that of the record before it")
        } else {
            None
        };
        match wrong {
            Some(wrong) => Err(Damage(wrong)),
            None => Ok(Self::at(decision, record)),
        }
    }

    /// The chain from a record on, whatever was before it: for who goes on after damage.
    ///
    /// # Errors
    /// [`Damage`] when the record itself is wrong.
    pub fn from<'a>(record: &'a [u8]) -> Result<(Decision<'a>, Self), Damage> {
        Ok(Self::at(parse(record)?, record))
    }

    fn at<'a>(decision: Decision<'a>, record: &[u8]) -> (Decision<'a>, Self) {
        let (position, number) = (decision.head_after(), decision.header.decision);
        let head = Head { position, decision: number, hash: record_hash(record) };
        let recorded_at_ms = decision.header.recorded_at_ms;
        (decision, Self { head, recorded_at_ms })
    }
}
