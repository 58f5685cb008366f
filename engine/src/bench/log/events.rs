//! What the benches of the log append: events of 200 bytes over many streams.

use std::sync::Arc;

use crate::event::{JSON, NewEvent};
use crate::names::{EventType, StreamId, Tag};

/// Bytes of an event's data.
pub(in crate::bench) const DATA_BYTES: usize = 200;

/// Events to append; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Events {
    streams: Arc<[StreamId]>,
    event: Arc<NewEvent>,
}

impl Events {
    /// Over `streams` streams.
    pub(in crate::bench) fn over(streams: u32) -> anyhow::Result<Self> {
        Self::of("Deposited", streams)
    }

    /// Of a type, over `streams` streams.
    pub(in crate::bench) fn of(event_type: &str, streams: u32) -> anyhow::Result<Self> {
        let streams = (0..streams).map(|number| StreamId::parse(&format!("bench-{number}")));
        let text = "x".repeat(DATA_BYTES - "{\"note\":\"\"}".len());
        let event = NewEvent {
            event_type: EventType::parse(event_type)?,
            schema_version: 1,
            content_type: JSON.to_owned(),
            data: format!("{{\"note\":\"{text}\"}}").into_bytes(),
            tags: Vec::new(),
            time_ms: None,
            origin: None,
        };
        Ok(Self { streams: streams.collect::<Result<_, _>>()?, event: Arc::new(event) })
    }

    /// Stream number `at`, counted round.
    pub(in crate::bench) fn stream(&self, at: u64) -> Option<&StreamId> {
        let streams = u64::try_from(self.streams.len()).unwrap_or(u64::MAX).max(1);
        self.streams.get(usize::try_from(at % streams).unwrap_or_default())
    }

    /// An event.
    pub(in crate::bench) fn event(&self) -> NewEvent {
        NewEvent::clone(&self.event)
    }

    /// An event with a tag that no other has.
    pub(in crate::bench) fn tagged(&self, number: u64) -> Option<(NewEvent, Tag)> {
        let tag = Tag::parse(&format!("order:{number}")).ok()?;
        Some((NewEvent { tags: vec![tag.clone()], ..self.event() }, tag))
    }

    /// Bytes that a client gives of one event: data, type and stream.
    pub(in crate::bench) fn given_bytes(&self, stream: &StreamId) -> usize {
        self.event.data.len() + self.event.event_type.as_str().len() + stream.as_str().len()
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Clone, Debug)]
pub(in crate::bench) struct Numbers(pub(in crate::bench) u64);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    }
}
