//! The byte format of a record, version 1. Every integer of the header is big-endian.
//!
//! ```text
//! offset size
//!      0    4  length of the whole record, these bytes and the checksum included
//!      4    1  format version: 1
//!      5    1  kind: 1 command, 2 activation (3 direct append, 4 reaction: reserved)
//!      6    2  flags, 0: room for later
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

use super::wire::{Reader, put_bytes, put_int, put_len, put_option};
use super::{
    ActivationRecord, CommandRecord, Decision, Hash, Kind, ModuleRef, Outcome, RecordedContext,
    Rejection, Saw,
};
use crate::event::{EventId, JSON, NewEvent, RecordedEvent};

pub use super::wire::Damage;

/// Bytes before a record's fields.
pub const HEADER_BYTES: usize = 68;
const CHECKSUM_BYTES: usize = 4;
const VERSION: u8 = 1;
const COMMAND: u8 = 1;
const ACTIVATION: u8 = 2;

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

/// The hash that the record after this one carries.
#[must_use]
pub fn record_hash(record: &[u8]) -> Hash {
    *blake3::hash(record).as_bytes()
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
    let (body, checksum) = record.split_last_chunk::<4>().ok_or(Damage("cut short"))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return Err(Damage("a checksum that does not match"));
    }
    let header = parse_header(body)?;
    let mut reader = Reader::new(body.get(HEADER_BYTES..).ok_or(Damage("cut short"))?);
    let (kind, place) = match body.get(5) {
        Some(&COMMAND) => {
            let record = read_command(&mut reader)?;
            let context = &record.context;
            let place = (Some(context.stream), context.stream_version, context.now_ms);
            (Kind::Command(Box::new(record)), place)
        }
        Some(&ACTIVATION) => {
            (Kind::Activation(read_activation(&mut reader)?), (None, 0, header.recorded_at_ms))
        }
        _ => return Err(Damage("a kind of record this version of Factum does not know")),
    };
    let events = read_events(&mut reader, &header, place)?;
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

fn put_command(out: &mut Vec<u8>, record: &CommandRecord<'_>) {
    put_bytes(out, record.command_id.as_bytes());
    out.push(u8::from(record.id_from_client));
    put_option(out, record.caller, |out, caller| put_bytes(out, caller.as_bytes()));
    out.extend_from_slice(&record.fingerprint);
    let context = &record.context;
    put_bytes(out, context.stream.as_bytes());
    put_int(out, context.stream_version);
    put_int(out, context.now_ms);
    put_int(out, context.seed);
    put_bytes(out, context.correlation_id.as_bytes());
    put_bytes(out, context.causation_id.as_bytes());
    put_bytes(out, context.extra.as_bytes());
    put_bytes(out, record.command.as_bytes());
    put_bytes(out, record.data.as_bytes());
    put_bytes(out, record.module.name.as_bytes());
    put_bytes(out, record.module.version.as_bytes());
    out.extend_from_slice(&record.module.digest);
    put_saw(out, &record.saw);
    match &record.outcome {
        Outcome::Committed { next_hash } => {
            out.push(0);
            out.extend_from_slice(next_hash);
        }
        Outcome::Rejected(rejection) => {
            out.push(1);
            put_bytes(out, rejection.code.as_bytes());
            put_bytes(out, rejection.message.as_bytes());
            put_option(out, rejection.details, |out, text| put_bytes(out, text.as_bytes()));
        }
    }
    put_option(out, record.fuel, put_int);
}

fn put_saw(out: &mut Vec<u8>, saw: &Saw<'_>) {
    put_option(out, saw.state_hash, |out, hash| out.extend_from_slice(&hash));
    put_option(out, saw.snapshot, |out, (version, digest)| {
        put_int(out, version);
        out.extend_from_slice(&digest);
    });
    put_len(out, saw.upcasters.len());
    for digest in &saw.upcasters {
        out.extend_from_slice(digest);
    }
    put_option(out, saw.boundary, |out, (query, position)| {
        put_bytes(out, query.as_bytes());
        put_int(out, position);
    });
}

fn put_event(out: &mut Vec<u8>, event: &NewEvent) {
    put_bytes(out, event.event_type.as_str().as_bytes());
    put_int(out, u64::from(event.schema_version));
    // The common content type is stored as nothing.
    let content_type = Some(event.content_type.as_str()).filter(|text| *text != JSON);
    put_option(out, content_type, |out, text| put_bytes(out, text.as_bytes()));
    put_bytes(out, &event.data);
    put_len(out, event.tags.len());
    for tag in &event.tags {
        put_bytes(out, tag.as_str().as_bytes());
    }
}

fn read_command<'a>(reader: &mut Reader<'a>) -> Result<CommandRecord<'a>, Damage> {
    Ok(CommandRecord {
        command_id: reader.text()?,
        id_from_client: match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Damage("a flag that is neither 0 nor 1")),
        },
        caller: reader.option(Reader::text)?,
        fingerprint: reader.array()?,
        context: RecordedContext {
            stream: reader.text()?,
            stream_version: reader.int()?,
            now_ms: reader.int()?,
            seed: reader.int()?,
            correlation_id: reader.text()?,
            causation_id: reader.text()?,
            extra: reader.text()?,
        },
        command: reader.text()?,
        data: reader.text()?,
        module: ModuleRef {
            name: reader.text()?,
            version: reader.text()?,
            digest: reader.array()?,
        },
        saw: read_saw(reader)?,
        outcome: read_outcome(reader)?,
        fuel: reader.option(Reader::int)?,
    })
}

fn read_saw<'a>(reader: &mut Reader<'a>) -> Result<Saw<'a>, Damage> {
    Ok(Saw {
        state_hash: reader.option(Reader::array)?,
        snapshot: reader.option(|reader| Ok((reader.int()?, reader.array()?)))?,
        upcasters: (0..reader.count()?).map(|_| reader.array()).collect::<Result<_, _>>()?,
        boundary: reader.option(|reader| Ok((reader.text()?, reader.int()?)))?,
    })
}

fn read_outcome<'a>(reader: &mut Reader<'a>) -> Result<Outcome<'a>, Damage> {
    match reader.byte()? {
        0 => Ok(Outcome::Committed { next_hash: reader.array()? }),
        1 => Ok(Outcome::Rejected(Rejection {
            code: reader.text()?,
            message: reader.text()?,
            details: reader.option(Reader::text)?,
        })),
        _ => Err(Damage("an outcome this version of Factum does not know")),
    }
}

fn read_activation<'a>(reader: &mut Reader<'a>) -> Result<ActivationRecord<'a>, Damage> {
    Ok(ActivationRecord {
        module: reader.text()?,
        version: reader.option(|reader| Ok((reader.text()?, reader.array()?)))?,
        caller: reader.option(Reader::text)?,
    })
}

type Place<'a> = (Option<&'a str>, u64, u64);

fn read_events<'a>(
    reader: &mut Reader<'a>,
    header: &Header,
    (stream, version, decided_at_ms): Place<'a>,
) -> Result<Vec<RecordedEvent<'a>>, Damage> {
    // A count is a claim until the events are there: it only sizes a bounded first allocation.
    let expected = usize::try_from(header.event_count).unwrap_or(usize::MAX);
    let mut events = Vec::with_capacity(expected.min(1024));
    for index in 0..header.event_count {
        let number = u64::from(index) + 1;
        events.push(RecordedEvent {
            position: header.head_before + number,
            id: EventId::derive(header.recorded_at_ms, &header.previous_hash, index),
            stream,
            stream_version: if stream.is_some() { version + number } else { 0 },
            event_type: reader.text()?,
            schema_version: reader.int32()?,
            content_type: reader.option(Reader::text)?.unwrap_or(JSON),
            data: reader.bytes()?,
            tags: (0..reader.count()?).map(|_| reader.text()).collect::<Result<_, _>>()?,
            decided_at_ms,
        });
    }
    Ok(events)
}

#[cfg(test)]
mod tests;
