//! Events that were given their ids elsewhere: which of them are recorded already.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::commands::CommandError;
use crate::decision::format::parse_header;
use crate::decision::parse;
use crate::event::{NewEvent, Origin, RecordedEvent};
use crate::names::StreamId;
use crate::reads::record_of_derived;
use crate::storage::log::{GivenKey, Log, ReadError};

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
/// append; `keys` are those of the events that have an origin, in their order. It blocks. `own` is
/// the source of events that got their ids here.
pub(super) fn sort(
    log: &Log,
    own: &str,
    events: Vec<Placed>,
    keys: &[GivenKey],
) -> Result<Sorted, CommandError> {
    let mut given = keys.iter().zip(log.find_given(keys)?);
    let mut sorted = Sorted::default();
    // Each record is read once, however many of its events are asked for.
    let mut records: BTreeMap<u64, Vec<(usize, Placed)>> = BTreeMap::new();
    let mut seen: HashMap<GivenKey, usize> = HashMap::with_capacity(keys.len());
    for (at, (event, stream)) in events.into_iter().enumerate() {
        let origin = event.origin.as_deref();
        if let Some((origin, (key, recorded))) = origin.and_then(|o| Some((o, given.next()?))) {
            let recorded = match recorded {
                Some(decision) => Some(decision),
                None => derived(log, own, origin)?,
            };
            if let Some(decision) = recorded {
                sorted.places.push(Place::Known(0));
                records.entry(decision).or_default().push((at, (event, stream)));
                continue;
            }
            if let Some(first) = seen.get(key).copied() {
                let is_same = |(before, of): &Placed| {
                    Fact::of(before, of.as_ref()) == Fact::of(&event, stream.as_ref())
                };
                if !sorted.new.get(first).is_some_and(is_same) {
                    return Err(CommandError::EventReused { at, position: None });
                }
                sorted.places.push(Place::New(first));
                continue;
            }
            seen.insert(*key, sorted.new.len());
        }
        sorted.places.push(Place::New(sorted.new.len()));
        sorted.new.push((event, stream));
    }
    for (decision, wanted) in records {
        sorted.known = Some(look_up(log, own, decision, &wanted, &mut sorted.places)?);
    }
    Ok(sorted)
}

/// The record that holds an event which got its id here.
fn derived(log: &Log, own: &str, origin: &Origin<'_>) -> Result<Option<u64>, ReadError> {
    if origin.source != own {
        return Ok(None);
    }
    let record = record_of_derived(log, &origin.id)?;
    record.map(|record| Ok(parse_header(&record)?.decision)).transpose()
}

/// Finds the positions of events in the record that holds them, and answers it.
fn look_up(
    log: &Log,
    own: &str,
    decision: u64,
    wanted: &[(usize, Placed)],
    places: &mut [Place],
) -> Result<Bytes, CommandError> {
    let missing = || ReadError::Damaged(format!("decision {decision} is missing"));
    let record = log.record(decision)?.ok_or_else(missing)?;
    let recorded = parse(&record).map_err(ReadError::from)?;
    let mut next = 0;
    for (at, event) in wanted {
        let (found, position) = position_in(&recorded.events, next, own, event, *at)?;
        next = found + 1;
        if let Some(place) = places.get_mut(*at) {
            *place = Place::Known(position);
        }
    }
    drop(recorded);
    Ok(record)
}

/// Which of the events it is, and its position; it must say the same. What comes again mostly comes
/// in the same order, so looking begins at `from`.
fn position_in(
    events: &[RecordedEvent<'_>],
    from: usize,
    own: &str,
    (event, stream): &Placed,
    at: usize,
) -> Result<(usize, u64), CommandError> {
    let missing = || ReadError::Damaged("a record lacks an event that the index names".into());
    let origin = event.origin.as_ref().ok_or_else(missing)?;
    let is_it = |recorded: &RecordedEvent<'_>| match &recorded.origin {
        Some(theirs) => theirs.id == origin.id && theirs.source == origin.source,
        None => origin.source == own && recorded.id.is_derived_as(&origin.id),
    };
    let mut all = (from..events.len()).chain(0..from);
    let found = all.find(|at| events.get(*at).is_some_and(is_it)).ok_or_else(missing)?;
    let recorded = events.get(found).ok_or_else(missing)?;
    let fact = Fact {
        event_type: recorded.event_type,
        stream: recorded.stream,
        content_type: recorded.content_type,
        data: recorded.data,
    };
    if fact == Fact::of(event, stream.as_ref()) {
        Ok((found, recorded.position))
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
