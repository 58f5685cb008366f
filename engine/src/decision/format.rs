//! The byte format of a record, version 1. Every integer of the header is big-endian.
//!
//! ```text
//! offset size
//!      0    4  length of the whole record, these bytes and the checksum included
//!      4    1  format version: 1
//!      5    1  kind: 1 command, 2 activation, 3 direct append (4 reaction: reserved),
//!                5 administrative act, 6 erased: of a refused command the hash is left
//!      6    2  flags: 1 if each event ends with an option of its origin; room for later
//!      8    8  decision number
//!     16    8  head before: the position of the newest event before this record
//!     24    8  recorded time, milliseconds since 1970, never less than the record before
//!     32    4  number of events
//!     36   32  BLAKE3 of the whole record before; of the store id for the first
//!     68    …  the kind's fields, then the events: LEB128 integers, length-prefixed bytes,
//!              options as a byte 0 or 1 and the value
//!  end-4    4  CRC-32 (IEEE) of everything before it
//! ```
//! A released version is never changed: a new one is added beside it, and both are read for ever.

mod put;
mod read;

use super::wire::{Reader, put_bytes, put_int, put_option};
use super::{
    ActRecord, ActivationRecord, AppendRecord, CommandRecord, Decision, ErasedRecord, Hash, Kind,
    Outcome,
};
use crate::event::NewEvent;

use put::{put_append, put_command, put_event, put_origin};
use read::{Place, read_act, read_activation, read_append, read_command, read_events};

pub use super::wire::Damage;

/// Bytes before a record's fields.
pub const HEADER_BYTES: usize = 68;
const CHECKSUM_BYTES: usize = 4;
/// What an event takes beside its data: the first guess at how long a record gets.
const TYPICAL_BYTES: usize = 160;
const VERSION: u8 = 1;
const COMMAND: u8 = 1;
const ACTIVATION: u8 = 2;
const APPEND: u8 = 3;
const ACT: u8 = 5;
const ERASED: u8 = 6;
/// The flag of a record whose events say where they are from.
const ORIGINS: u16 = 1;

/// What every record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The record's number, gap-free from 1.
    pub decision: u64,
    /// The position of the newest event before it.
    pub head_before: u64,
    /// When the writer took it, in milliseconds since 1970; never less than the record before.
    pub recorded_at_ms: u64,
    /// How many events it holds.
    pub event_count: u32,
    /// BLAKE3 of the record before it.
    pub previous_hash: Hash,
}

/// A record that lacks only its header and checksum.
#[derive(Clone, Debug)]
pub struct Draft {
    bytes: Vec<u8>,
    event_count: u32,
}

impl Draft {
    /// Records a decided command and its events.
    #[must_use]
    pub fn command(record: &CommandRecord<'_>, events: &[NewEvent]) -> Self {
        let mut out = open(COMMAND, 256 + record.data.len());
        put_command(&mut out, record);
        for event in events {
            put_event(&mut out, event);
        }
        Self { bytes: out, event_count: u32::try_from(events.len()).unwrap_or(u32::MAX) }
    }

    /// Records that a module version began to answer.
    #[must_use]
    pub fn activation(record: &ActivationRecord<'_>) -> Self {
        let mut out = open(ACTIVATION, 128);
        put_bytes(&mut out, record.module.as_bytes());
        put_option(&mut out, record.version, |out, (version, digest)| {
            put_bytes(out, version.as_bytes());
            out.extend_from_slice(&digest);
        });
        put_option(&mut out, record.caller, |out, caller| put_bytes(out, caller.as_bytes()));
        Self { bytes: out, event_count: 0 }
    }

    /// Records an administrative act.
    #[must_use]
    pub fn act(record: &ActRecord<'_>) -> Self {
        let mut out = open(ACT, 128);
        for text in [record.act, record.subject, record.value] {
            put_bytes(&mut out, text.as_bytes());
        }
        put_option(&mut out, record.caller, |out, caller| put_bytes(out, caller.as_bytes()));
        Self { bytes: out, event_count: 0 }
    }

    /// Records events that are appended directly, each with its stream and version there.
    pub fn append<'e>(
        record: &AppendRecord<'_>,
        events: impl ExactSizeIterator<Item = (&'e NewEvent, Option<(&'e str, u64)>)> + Clone,
    ) -> Self {
        let event_count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let has_origins = events.clone().any(|(event, _)| event.origin.is_some());
        let bytes: usize = events.clone().map(|(event, _)| TYPICAL_BYTES + event.data.len()).sum();
        let mut out = open(APPEND, bytes);
        if has_origins && let Some(flags) = out.get_mut(6..8) {
            flags.copy_from_slice(&ORIGINS.to_be_bytes());
        }
        put_append(&mut out, record);
        for (event, place) in events {
            put_event(&mut out, event);
            put_option(&mut out, place, |out, (stream, version)| {
                put_bytes(out, stream.as_bytes());
                put_int(out, version);
            });
            if has_origins {
                put_option(&mut out, event.origin.as_deref(), put_origin);
            }
        }
        Self { bytes: out, event_count }
    }

    /// How many events it holds.
    #[must_use]
    pub fn event_count(&self) -> u32 {
        self.event_count
    }

    /// The size of the finished record in bytes.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.bytes.len() + CHECKSUM_BYTES
    }

    /// Finishes the record at the end of `out` and answers its hash. The header's event count is
    /// the draft's own.
    pub fn finish(&self, header: &Header, out: &mut Vec<u8>) -> Hash {
        let start = out.len();
        let length = u32::try_from(self.record_bytes()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.bytes.get(4..8).unwrap_or_default());
        out.extend_from_slice(&header.decision.to_be_bytes());
        out.extend_from_slice(&header.head_before.to_be_bytes());
        out.extend_from_slice(&header.recorded_at_ms.to_be_bytes());
        out.extend_from_slice(&self.event_count.to_be_bytes());
        out.extend_from_slice(&header.previous_hash);
        out.extend_from_slice(self.bytes.get(HEADER_BYTES..).unwrap_or_default());
        let checksum = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_be_bytes());
        record_hash(out.get(start..).unwrap_or_default())
    }
}

/// The hash that the record after this one carries: of one that was erased, of what it was.
#[must_use]
pub fn record_hash(record: &[u8]) -> Hash {
    if record.get(5) == Some(&ERASED)
        && let Some(hash) = record.get(HEADER_BYTES..).and_then(|fields| fields.first_chunk())
    {
        return *hash;
    }
    *blake3::hash(record).as_bytes()
}

/// A record without what was asked and why it was refused; none unless it is a refused command.
///
/// # Errors
/// [`Damage`] when the record is not whole.
pub fn erased(record: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
    let decision = parse(record)?;
    let Kind::Command(command) = &decision.kind else { return Ok(None) };
    if !matches!(command.outcome, Outcome::Rejected(_)) || decision.header.event_count > 0 {
        return Ok(None);
    }
    let mut draft = Draft { bytes: open(ERASED, size_of::<Hash>()), event_count: 0 };
    draft.bytes.extend_from_slice(&record_hash(record));
    let mut out = Vec::with_capacity(draft.record_bytes());
    draft.finish(&decision.header, &mut out);
    Ok(Some(out))
}

/// Splits the first record off `bytes`.
///
/// # Errors
/// [`Damage`] when the length it states does not fit.
pub fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Damage> {
    let length = bytes.first_chunk::<4>().ok_or(Damage("cut short"))?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length < HEADER_BYTES + CHECKSUM_BYTES {
        return Err(Damage("a record shorter than its header"));
    }
    bytes.split_at_checked(length).ok_or(Damage("cut short"))
}

/// Reads only the header, without looking at the checksum.
///
/// # Errors
/// [`Damage`] when there is no whole header of a known version.
pub fn parse_header(record: &[u8]) -> Result<Header, Damage> {
    let mut reader = Reader::new(record);
    reader.take(4)?;
    if reader.byte()? != VERSION {
        return Err(Damage("a record format this version of Factum does not know"));
    }
    reader.take(3)?;
    Ok(Header {
        decision: u64::from_be_bytes(reader.array()?),
        head_before: u64::from_be_bytes(reader.array()?),
        recorded_at_ms: u64::from_be_bytes(reader.array()?),
        event_count: u32::from_be_bytes(reader.array()?),
        previous_hash: reader.array()?,
    })
}

/// Reads a whole record and checks it.
///
/// # Errors
/// [`Damage`] when the checksum or the shape is wrong.
pub fn parse(record: &[u8]) -> Result<Decision<'_>, Damage> {
    check(record)?;
    parse_checked(record)
}

/// Compares a record with its checksum.
///
/// # Errors
/// [`Damage`] when it does not match.
pub fn check(record: &[u8]) -> Result<(), Damage> {
    let (body, checksum) = record.split_last_chunk::<4>().ok_or(Damage("cut short"))?;
    let is_right = crc32fast::hash(body) == u32::from_be_bytes(*checksum);
    if is_right { Ok(()) } else { Err(Damage("a checksum that does not match")) }
}

/// Reads a whole record that was compared with its checksum since it was read from the disk.
///
/// # Errors
/// [`Damage`] when the shape is wrong.
pub fn parse_checked(record: &[u8]) -> Result<Decision<'_>, Damage> {
    let (body, _) = record.split_last_chunk::<4>().ok_or(Damage("cut short"))?;
    let header = parse_header(body)?;
    let mut reader = Reader::new(body.get(HEADER_BYTES..).ok_or(Damage("cut short"))?);
    let (kind, place) = match body.get(5) {
        Some(&COMMAND) => {
            let record = read_command(&mut reader)?;
            let context = &record.context;
            let place = Place::One {
                stream: context.stream,
                version: context.stream_version,
                decided_at_ms: context.now_ms,
            };
            (Kind::Command(Box::new(record)), place)
        }
        Some(&ACTIVATION) => (Kind::Activation(read_activation(&mut reader)?), Place::OfEach),
        Some(&APPEND) => (Kind::Append(read_append(&mut reader)?), Place::OfEach),
        Some(&ACT) => (Kind::Act(read_act(&mut reader)?), Place::OfEach),
        Some(&ERASED) if header.event_count == 0 => {
            (Kind::Erased(ErasedRecord { hash: reader.array()? }), Place::OfEach)
        }
        _ => return Err(Damage("a kind of record this version of Factum does not know")),
    };
    let has_origins = match body.get(6..8) {
        Some([0, 0]) => false,
        Some(flags) if flags == ORIGINS.to_be_bytes() => true,
        _ => return Err(Damage("flags this version of Factum does not know")),
    };
    let count = u64::from(header.event_count);
    let version = if let Place::One { version, .. } = &place { *version } else { 0 };
    if header.head_before.checked_add(count).and(version.checked_add(count)).is_none() {
        return Err(Damage("events numbered beyond 64 bits"));
    }
    let events = read_events(&mut reader, &header, &place, has_origins)?;
    if !reader.is_empty() {
        return Err(Damage("more bytes than the record has fields"));
    }
    Ok(Decision { header, kind, events })
}

fn open(kind: u8, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + capacity);
    out.extend_from_slice(&[0, 0, 0, 0, VERSION, kind]);
    out.resize(HEADER_BYTES, 0);
    out
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
