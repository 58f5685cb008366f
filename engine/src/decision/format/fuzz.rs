//! The decoder of records under mutations: what it takes it understands.

use super::*;
use crate::event::{Origin, RecordedEvent};
use crate::fuzz;
use crate::names::{EventType, Tag};
use std::borrow::Cow;

/// With its length and checksum made right.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    if sealed.len() < HEADER_BYTES + CHECKSUM_BYTES {
        return sealed;
    }
    sealed.truncate(sealed.len() - CHECKSUM_BYTES);
    let length = u32::try_from(sealed.len() + CHECKSUM_BYTES).expect("short");
    sealed[..4].copy_from_slice(&length.to_be_bytes());
    sealed.extend_from_slice(&crc32fast::hash(&sealed).to_be_bytes());
    sealed
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}

/// The event as it was before it had a place; none where no such event could be made.
fn unplaced(event: &RecordedEvent<'_>) -> Option<NewEvent> {
    let origin = event.origin.as_ref().map(|origin| {
        Box::new(Origin {
            source: owned(&origin.source),
            id: owned(&origin.id),
            correlation_id: origin.correlation_id.as_deref().map(owned),
            causation_id: origin.causation_id.as_deref().map(owned),
            extensions: owned(&origin.extensions),
        })
    });
    Some(NewEvent {
        event_type: EventType::parse(event.event_type).ok()?,
        schema_version: event.schema_version,
        content_type: event.content_type.to_owned(),
        data: event.data.to_vec(),
        tags: event.tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<_, _>>().ok()?,
        time_ms: Some(event.time_ms),
        origin,
    })
}

/// The record as it would be written; none where nothing writes such a one.
fn written(decision: &Decision<'_>) -> Option<Vec<u8>> {
    let events: Vec<_> = decision.events.iter().map(unplaced).collect::<Option<_>>()?;
    let has_origins = events.iter().any(|event| event.origin.is_some());
    let draft = match &decision.kind {
        Kind::Command(record) if !has_origins => Draft::command(record, &events),
        Kind::Append(record) => {
            let places = decision.events.iter();
            let places = places.map(|event| event.stream.map(|of| (of, event.stream_version)));
            let placed: Vec<_> = events.iter().zip(places).collect();
            Draft::append(record, placed.into_iter())
        }
        Kind::Activation(record) if events.is_empty() => Draft::activation(record),
        Kind::Act(record) if events.is_empty() => Draft::act(record),
        _ => return None,
    };
    let mut out = Vec::new();
    draft.finish(&decision.header, &mut out);
    Some(out)
}

fn each(bytes: &[u8]) {
    if let Ok((record, rest)) = split(bytes) {
        assert_eq!([record, rest].concat(), bytes);
    }
    let header = parse_header(bytes);
    let Ok(decision) = fuzz::is_bounded(bytes, || parse(bytes)) else { return };
    assert_eq!(header.as_ref(), Ok(&decision.header));
    assert_eq!(u32::try_from(decision.events.len()), Ok(decision.header.event_count));
    let Some(again) = written(&decision) else { return };
    let read = parse(&again).expect("what is written is read");
    assert_eq!(read.header, decision.header);
    assert_eq!(read.kind, decision.kind);
    assert_eq!(read.events, decision.events);
    assert_eq!(written(&read), Some(again.clone()), "another text of the same record");
    // One bit more or less is told.
    let mut changed = again;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(parse(&changed).is_err());
}

/// A backup may come from anybody, so a record whose checksum is right may say that its events come
/// after position 2^64 - 1, or that one is number 0 of its stream. Adding to the one and taking one
/// from the other panicked where arithmetic is checked, and wrapped where it is not: a restore would
/// have made a log whose positions begin again.
#[test]
fn numbers_that_no_log_has_are_damage() {
    for (name, record) in fuzz::corpus("records") {
        assert_eq!(parse(&record).is_err(), name.starts_with("refused-"), "{name}");
    }
}

#[test]
fn records_that_are_read_are_written_and_read_again_the_same() {
    let is_whole = |(name, _): &(String, _)| !name.starts_with("refused-");
    for (name, record) in fuzz::corpus("records").into_iter().filter(is_whole) {
        let decision = parse(&record).unwrap_or_else(|damage| panic!("{name}: {damage}"));
        if decision.events.iter().all(|event| event.time_ms != event.decided_at_ms) {
            assert_eq!(written(&decision), Some(record.clone()), "{name}");
        }
    }
    fuzz::run("records", &["application/json", "{}", "account-1"], 6_000, |bytes| {
        each(bytes);
        each(&sealed(bytes));
    });
}
