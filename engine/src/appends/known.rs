//! Events that were given their ids elsewhere: which of them are recorded already.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::commands::CommandError;
use crate::decision::format::parse_header;
use crate::decision::parse;
use crate::event::{NewEvent, Origin, RecordedEvent};
use crate::names::StreamId;
use crate::reads::record_of_derived;
use crate::storage::log::{Log, ReadError};

/// An event and its stream.
pub(super) type Placed = (NewEvent, Option<StreamId>);

/// Where an event of an append is, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those that are appended, by its number from 0.
    New(usize),
    /// Recorded before, at this position.
    Known(u64),
}

/// An append's events, told apart.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Those to be appended.
    pub(super) new: Vec<Placed>,
    /// Where each event of the request is.
    pub(super) places: Vec<Place>,
    /// The newest record of one that was known.
    pub(super) known: Option<Bytes>,
}

/// Tells new events from those that are recorded, and those that repeat another one of the same
/// append. It blocks. `own` is the source of events that got their ids here.
pub(super) fn sort(log: &Log, own: &str, events: Vec<Placed>) -> Result<Sorted, CommandError> {
    let mut sorted = Sorted::default();
    // Each record is read once, however many of its events are asked for.
    let mut records: BTreeMap<u64, (Bytes, Vec<(usize, Placed)>)> = BTreeMap::new();
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    for (at, (event, stream)) in events.into_iter().enumerate() {
        let new = Place::New(sorted.new.len());
        let Some(origin) = &event.origin else {
            sorted.places.push(new);
            sorted.new.push((event, stream));
            continue;
        };
        if let Some((decision, record)) = record_of(log, own, origin)? {
            sorted.places.push(Place::Known(0));
            let (_, wanted) = records.entry(decision).or_insert_with(|| (record, Vec::new()));
            wanted.push((at, (event, stream)));
            continue;
        }
        let key = (origin.source.to_string(), origin.id.to_string());
        if let Some(first) = seen.get(&key).copied() {
            let before = sorted.new.get(first);
            let is_other = |(before, of): &Placed| {
                Fact::of(before, of.as_ref()) != Fact::of(&event, stream.as_ref())
            };
            if before.is_none_or(is_other) {
                return Err(CommandError::EventReused { at, position: None });
            }
            sorted.places.push(Place::New(first));
            continue;
        }
        seen.insert(key, sorted.new.len());
        sorted.places.push(new);
        sorted.new.push((event, stream));
    }
    for (record, wanted) in records.into_values() {
        let decision = parse(&record).map_err(ReadError::from)?;
        for (at, event) in &wanted {
            let position = position_in(&decision.events, own, event, *at)?;
            if let Some(place) = sorted.places.get_mut(*at) {
                *place = Place::Known(position);
            }
        }
        drop(decision);
        sorted.known = Some(record);
    }
    Ok(sorted)
}

/// The record that holds the event, with its number.
fn record_of(log: &Log, own: &str, origin: &Origin<'_>) -> Result<Option<(u64, Bytes)>, ReadError> {
    let record = match log.find_given(&origin.source, &origin.id)? {
        Some(decision) => {
            let missing = || ReadError::Damaged(format!("decision {decision} is missing"));
            Some(log.record(decision)?.ok_or_else(missing)?)
        }
        None if origin.source == own => record_of_derived(log, &origin.id)?,
        None => None,
    };
    record.map(|record| Ok((parse_header(&record)?.decision, record))).transpose()
}

/// The position of the recorded event, which must say the same.
fn position_in(
    events: &[RecordedEvent<'_>],
    own: &str,
    (event, stream): &Placed,
    at: usize,
) -> Result<u64, CommandError> {
    let missing = || ReadError::Damaged("a record lacks an event that the index names".into());
    let origin = event.origin.as_ref().ok_or_else(missing)?;
    let is_it = |recorded: &&RecordedEvent<'_>| match &recorded.origin {
        Some(theirs) => theirs.id == origin.id && theirs.source == origin.source,
        None => origin.source == own && recorded.id.is_derived_as(&origin.id),
    };
    let recorded = events.iter().find(is_it).ok_or_else(missing)?;
    let fact = Fact {
        event_type: recorded.event_type,
        stream: recorded.stream,
        content_type: recorded.content_type,
        data: recorded.data,
    };
    if fact == Fact::of(event, stream.as_ref()) {
        Ok(recorded.position)
    } else {
        Err(CommandError::EventReused { at, position: Some(recorded.position) })
    }
}

/// What must be the same where source and id are.
#[derive(PartialEq, Eq)]
struct Fact<'a> {
    event_type: &'a str,
    stream: Option<&'a str>,
    content_type: &'a str,
    data: &'a [u8],
}

impl<'a> Fact<'a> {
    fn of(event: &'a NewEvent, stream: Option<&'a StreamId>) -> Self {
        Self {
            event_type: event.event_type.as_str(),
            stream: stream.map(StreamId::as_str),
            content_type: &event.content_type,
            data: &event.data,
        }
    }
}
