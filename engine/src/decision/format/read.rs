//! Reading the fields of a record, in their order, trusting none of them.

use std::borrow::Cow;

use super::Header;
use crate::decision::wire::{Damage, Reader};
use crate::decision::{
    ActRecord, ActivationRecord, AppendRecord, CommandRecord, ModuleRef, Outcome, RecordedContext,
    Rejection, Saw,
};
use crate::event::{EventId, Few, JSON, Origin, RecordedEvent};

pub(super) fn read_command<'a>(reader: &mut Reader<'a>) -> Result<CommandRecord<'a>, Damage> {
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

pub(super) fn read_activation<'a>(reader: &mut Reader<'a>) -> Result<ActivationRecord<'a>, Damage> {
    Ok(ActivationRecord {
        module: reader.text()?,
        version: reader.option(|reader| Ok((reader.text()?, reader.array()?)))?,
        caller: reader.option(Reader::text)?,
    })
}

pub(super) fn read_act<'a>(reader: &mut Reader<'a>) -> Result<ActRecord<'a>, Damage> {
    Ok(ActRecord {
        act: reader.text()?,
        subject: reader.text()?,
        value: reader.text()?,
        caller: reader.option(Reader::text)?,
    })
}

pub(super) fn read_append<'a>(reader: &mut Reader<'a>) -> Result<AppendRecord<'a>, Damage> {
    Ok(AppendRecord {
        command_id: reader.option(Reader::text)?,
        caller: reader.option(Reader::text)?,
        correlation_id: reader.option(Reader::text)?,
        causation_id: reader.option(Reader::text)?,
        condition: reader.option(Reader::text)?,
        fingerprint: reader.option(Reader::array)?,
    })
}

/// Where a record's events belong.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// All to one stream, after a version of it.
    One { stream: &'a str, version: u64, decided_at_ms: u64 },
    /// Each says it itself.
    OfEach,
}

pub(super) fn read_events<'a>(
    reader: &mut Reader<'a>,
    header: &Header,
    place: &Place<'a>,
    has_origins: bool,
) -> Result<Vec<RecordedEvent<'a>>, Damage> {
    // A count is a claim until the events are there: it only sizes a bounded first allocation.
    let expected = usize::try_from(header.event_count).unwrap_or(usize::MAX);
    let mut events = Vec::with_capacity(expected.min(1024));
    for index in 0..header.event_count {
        read_event(reader, header, place, index, &mut events)?;
        if has_origins
            && let (Some(origin), Some(event)) = (reader.option(read_origin)?, events.last_mut())
        {
            if let Cow::Borrowed(id) = origin.id {
                event.id = EventId::Given(id);
            }
            event.origin = Some(Box::new(origin));
        }
    }
    Ok(events)
}

/// Puts the event into its place: it is large, and reading the log is moving it.
#[inline]
fn read_event<'a>(
    reader: &mut Reader<'a>,
    header: &Header,
    place: &Place<'a>,
    index: u32,
    events: &mut Vec<RecordedEvent<'a>>,
) -> Result<(), Damage> {
    let number = u64::from(index) + 1;
    let event_type = reader.text()?;
    let schema_version = reader.int32()?;
    let content_type = reader.option(Reader::text)?.unwrap_or(JSON);
    let data = reader.bytes()?;
    let mut tags = Few::default();
    for _ in 0..reader.count()? {
        tags.push(reader.text()?);
    }
    let time_ms = reader.option(Reader::int)?;
    let (stream, stream_version, decided_at_ms) = match place {
        Place::One { stream, version, decided_at_ms } => {
            (Some(*stream), version + number, *decided_at_ms)
        }
        Place::OfEach => {
            let place = reader.option(|reader| Ok((reader.text()?, reader.int()?)))?;
            if place.is_some_and(|(_, version)| version == 0) {
                return Err(Damage("an event of a stream without a version"));
            }
            let (stream, version) = place.unzip();
            (stream, version.unwrap_or(0), header.recorded_at_ms)
        }
    };
    events.push(RecordedEvent {
        position: header.head_before + number,
        id: EventId::derive(header.recorded_at_ms, &header.previous_hash, index),
        stream,
        stream_version,
        event_type,
        schema_version,
        content_type,
        data,
        tags,
        decided_at_ms,
        time_ms: time_ms.unwrap_or(decided_at_ms),
        origin: None,
    });
    Ok(())
}

fn read_origin<'a>(reader: &mut Reader<'a>) -> Result<Origin<'a>, Damage> {
    Ok(Origin {
        source: Cow::Borrowed(reader.text()?),
        id: Cow::Borrowed(reader.text()?),
        correlation_id: reader.option(Reader::text)?.map(Cow::Borrowed),
        causation_id: reader.option(Reader::text)?.map(Cow::Borrowed),
        extensions: Cow::Borrowed(reader.text()?),
    })
}
