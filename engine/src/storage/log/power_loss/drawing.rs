//! The pieces of work of a run, drawn with its dice.

use std::sync::atomic::Ordering;

use super::super::tests::decided;
use super::workload::Run;
use crate::decision::{ActRecord, ActivationRecord, Draft, Outcome};
use crate::event::{JSON, NewEvent};
use crate::expected::ExpectedVersion;
use crate::names::{EventType, StreamId, Tag};
use crate::query::{Query, QueryItem};
use crate::storage::log::{Condition, DirectAppend, Expectation, Work};

const STREAMS: u8 = 6;
const TAGS: u8 = 4;

impl Run {
    pub(super) fn id(&mut self) -> String {
        self.ids += 1;
        let step = self.dice.u64(0..50);
        self.now_ms.fetch_add(step, Ordering::Relaxed);
        format!("id-{}-{}", self.ids, self.dice.u16(..))
    }

    pub(super) fn draw(&mut self) -> (String, Work) {
        let id = self.id();
        let work = match self.dice.u8(0..20) {
            0..=12 => {
                let events = self.dice.usize(1..5);
                let bytes = if self.dice.u8(0..8) == 0 { 4_000 } else { self.dice.usize(0..200) };
                self.direct(&id, events, bytes)
            }
            13..=16 => self.command(&id),
            17 | 18 => {
                let subject = format!("s{}", self.dice.u8(0..4));
                let caller = Some(&*id);
                let record = ActRecord { act: "setting", subject: &subject, value: "{}", caller };
                Work::Record { draft: Draft::act(&record), expected: None }
            }
            _ => {
                let module = format!("m{}", self.dice.u8(0..3));
                let version = Some(("1.0.0", [self.dice.u8(..); 32]));
                let record = ActivationRecord { module: &module, version, caller: Some(&id) };
                Work::Record { draft: Draft::activation(&record), expected: None }
            }
        };
        (id, work)
    }

    fn event(&mut self, bytes: usize) -> NewEvent {
        let tags = (0..TAGS).filter(|_| self.dice.u8(0..3) == 0);
        let tags: Vec<_> = tags.collect();
        let tag = |number: u8| Tag::parse(&format!("tag-{number}")).expect("valid");
        NewEvent {
            event_type: EventType::parse("Happened").expect("valid"),
            schema_version: 1,
            content_type: JSON.into(),
            data: format!("\"{}\"", "x".repeat(bytes)).into_bytes(),
            tags: tags.into_iter().map(tag).collect(),
            time_ms: None,
            origin: None,
        }
    }

    fn stream(&mut self) -> StreamId {
        StreamId::parse(&format!("account-{}", self.dice.u8(0..STREAMS))).expect("valid")
    }

    /// Events without a module, of several streams or none. A single one expects nothing.
    pub(super) fn direct(&mut self, id: &str, events: usize, bytes: usize) -> Work {
        let event = |run: &mut Self| {
            let stream = (run.dice.u8(0..6) > 0).then(|| run.stream());
            (run.event(bytes), stream)
        };
        let events: Vec<_> = (0..events).map(|_| event(self)).collect();
        let mut append =
            DirectAppend { key: Some((id.to_owned(), [7; 32])), events, ..DirectAppend::default() };
        if append.events.len() > 1 && self.dice.bool() {
            let stream = self.stream();
            let version = match self.dice.u8(0..3) {
                0 => ExpectedVersion::NoStream,
                1 => ExpectedVersion::Exists,
                _ => ExpectedVersion::Exact(self.dice.u64(0..20)),
            };
            append.expected.push(Expectation { stream, version });
        }
        if append.events.len() > 2 && self.dice.bool() {
            let tag = format!("tag-{}", self.dice.u8(0..TAGS));
            let tags = vec![Tag::parse(&tag).expect("valid")];
            let query = Query { items: vec![QueryItem { tags, ..QueryItem::default() }] };
            let head = self.store().log.head().position;
            let after = head.saturating_sub(self.dice.u64(0..4));
            let text = "[]".into();
            append.condition = Some(Condition { query, after, checked_to: after, text });
        }
        Work::Append(Box::new(append))
    }

    /// What a module decided on the newest version of a stream, or on one that is not there yet.
    fn command(&mut self, id: &str) -> Work {
        let stream = self.stream();
        let version = self.store().log.stream_version(&stream).expect("reads").unwrap_or(0);
        let version = version + u64::from(self.dice.u8(0..8) == 0);
        let events: Vec<_> = (0..self.dice.usize(0..3)).map(|_| self.event(30)).collect();
        decided(stream.as_str(), version, id, &events, Outcome::Committed { next_hash: [0; 32] })
    }
}
