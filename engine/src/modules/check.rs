//! What a version must show before it becomes active: that it is pure, and that it reads the log.
//!
//! Promises: it writes nothing and looks at a bounded sample. Sample calls are made twice in one
//! instance and once in another and must agree byte for byte. The newest streams of its aggregates
//! are folded in two ways by two instances and, where the version active before has the same state
//! version, by that one too: all must come to the same bytes. Events
//! that do not fold are reported and do not prevent anything.

mod difference;

use std::cell::RefCell;

use bytes::Bytes;

use self::difference::{difference, difference_of, is_same};
use super::{ActivateError, ModuleVersion};
use crate::decision::{CommandRecord, Decision, Kind, parse};
use crate::event::guest_data;
use crate::manifest::AggregateManifest;
use crate::names::Name;
use crate::query::{Query, QueryItem};
use crate::runtime::{Command, Component, Context, Event, GuestError, Instance, Live, State};
use crate::storage::log::{Direction, Log, ReadError};

/// How much a check looks at. Each has a default with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckLimits {
    /// Commands of the manifest that are tried, each example counted. 256: each takes microseconds.
    pub commands: usize,
    /// Streams of an aggregate that are folded, those with the newest events. 8: an activation
    /// stays a matter of milliseconds, most of which go into fresh instances.
    pub streams: usize,
    /// Newest events of an aggregate among which those streams are looked for. 1,000.
    pub newest_events: usize,
    /// Events of a stream that are folded, from its first. 32: each of them may lie in a row of its
    /// own, and is folded three times.
    pub stream_events: usize,
    /// Streams that do not fold before no more are tried. 8: each may take the deadline.
    pub reports: usize,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self { commands: 256, streams: 8, newest_events: 1_000, stream_events: 32, reports: 8 }
    }
}

/// What a check looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Sample calls that agreed.
    pub calls: usize,
    /// Streams that were folded.
    pub streams: usize,
    /// Events in them.
    pub events: usize,
    /// Streams compared with the version that was active before.
    pub compared: usize,
    /// Projections compared with the version that made what lies there.
    pub projections: usize,
    /// Recorded streams that the version cannot fold.
    pub not_folding: Vec<NotFolding>,
}

/// A stream that a version cannot fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFolding {
    /// The stream.
    pub stream: String,
    /// What the module said.
    pub reason: String,
}

/// A version under check, and the one it would replace.
pub(super) struct Check<'a> {
    version: &'a ModuleVersion,
    /// Two copies of it, which must agree. They are used again from sample to sample: what calls
    /// leave behind shows, since the one was called more often than the other.
    one: RefCell<Live>,
    other: RefCell<Live>,
    before: Option<(&'a ModuleVersion, RefCell<Live>)>,
    log: &'a Log,
    limits: CheckLimits,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        (version, component): (&'a ModuleVersion, &'a Component),
        before: Option<(&'a ModuleVersion, &'a Component)>,
        log: &'a Log,
        limits: CheckLimits,
    ) -> Self {
        let live = |version: &'a ModuleVersion, component| {
            RefCell::new(Live::new(component, &version.manifest.name))
        };
        Self {
            version,
            one: live(version, component),
            other: live(version, component),
            before: before.map(|(before, component)| (before, live(before, component))),
            log,
            limits,
        }
    }

    /// Looks at everything there is to look at.
    pub(super) fn run(&self) -> Result<CheckReport, ActivateError> {
        let mut report = CheckReport::default();
        for aggregate in &self.version.manifest.aggregates {
            self.try_commands(aggregate, &mut report)?;
            for stream in self.newest_streams(aggregate)? {
                if report.not_folding.len() >= self.limits.reports {
                    break;
                }
                let span = (0, Direction::Forward, self.limits.stream_events);
                let records = self.log.stream_records(&stream, span.0, span.1, span.2)?;
                self.refold(aggregate, &stream, &records, &mut report)?;
            }
        }
        Ok(report)
    }

    /// Every command the manifest names, on a new stream and with its examples, or with no data.
    /// Most will be refused, which is an answer too.
    fn try_commands(
        &self,
        aggregate: &AggregateManifest,
        report: &mut CheckReport,
    ) -> Result<(), ActivateError> {
        let stream = format!("{}-sample", aggregate.name);
        let context = Context {
            stream_id: &stream,
            stream_version: 0,
            now_ms: 1_700_000_000_000,
            seed: 1,
            correlation_id: "sample",
            causation_id: "sample",
            caller: None,
            extra: "{}",
        };
        let left = self.limits.commands.saturating_sub(report.calls);
        let samples = aggregate.commands.iter().flat_map(|command| {
            let examples = command.examples.iter().map(ToString::to_string);
            let none = command.examples.is_empty().then(|| "{}".to_owned());
            examples.chain(none).map(move |data| (&command.name, data))
        });
        for (name, data) in samples.take(left) {
            let asked = Command { id: "sample", name, data: &data };
            let what = || format!("the command {name:?} with the data {data}");
            self.agree(what, |guest| {
                guest.decide(&aggregate.name, None, &[], asked.clone(), context.clone())
            })?;
            report.calls += 1;
        }
        Ok(())
    }

    /// Makes one call twice in one instance and once in another.
    fn agree<T: PartialEq + std::fmt::Debug>(
        &self,
        what: impl Fn() -> String,
        call: impl Fn(&mut Instance) -> Result<T, GuestError>,
    ) -> Result<(), ActivateError> {
        let first = self.one.borrow_mut().call(&call)?;
        if let Err(GuestError::Limit(limit)) = &first {
            let reason = format!("asked for {}, it exceeded its limit {}", what(), limit.name());
            return Err(ActivateError::Refused(reason));
        }
        let elsewhere = self.other.borrow_mut().call(&call)?;
        // After a trap there is no second time, nor where each call has its own instance.
        let mut one = self.one.borrow_mut();
        let again = one.is_live().then(|| one.call(&call)).transpose()?;
        for (answer, place) in [
            (Some(elsewhere), "two fresh instances answer differently"),
            (again, "one instance answers differently the second time"),
        ] {
            let Some(answer) = answer.filter(|answer| !is_same(&first, answer)) else { continue };
            return Err(ActivateError::Refused(format!(
                "it has hidden state: asked for {}, {place}: {}",
                what(),
                difference(&format!("{first:?}"), &format!("{answer:?}"))
            )));
        }
        Ok(())
    }

    /// Streams with the newest events, then others by name.
    fn newest_streams(&self, aggregate: &AggregateManifest) -> Result<Vec<String>, ActivateError> {
        let category = Name::parse(&aggregate.name)
            .map_err(|error| ActivateError::Broken(error.to_string()))?;
        let item = QueryItem { categories: vec![category], ..QueryItem::default() };
        let newest = self.log.head().position;
        let found = self
            .log
            .find(&Query { items: vec![item] }, (newest, 1), self.limits.newest_events)
            .map_err(ReadError::from)?;
        let mut streams: Vec<String> = Vec::new();
        let mut before = None;
        for (_, decision) in found.hits {
            if streams.len() >= self.limits.streams {
                return Ok(streams);
            }
            if before.replace(decision) == Some(decision) {
                continue;
            }
            let Some(record) = self.log.record(decision)? else { continue };
            for event in parse(&record).map_err(ReadError::from)?.events {
                let of_aggregate = |stream: &&str| {
                    stream.split_once('-').is_some_and(|(name, _)| name == aggregate.name)
                };
                if let Some(stream) = event.stream.filter(of_aggregate)
                    && !streams.iter().any(|known| known == stream)
                {
                    streams.push(stream.to_owned());
                }
            }
        }
        let prefix = format!("{}-", aggregate.name);
        for (stream, _) in self.log.streams(&prefix, None, self.limits.streams)? {
            if streams.len() < self.limits.streams && !streams.contains(&stream) {
                streams.push(stream);
            }
        }
        Ok(streams)
    }

    /// Folds a stream: with one instance up to its newest command and on, with another at once,
    /// and with the version before. In between, that command is decided again.
    fn refold(
        &self,
        aggregate: &AggregateManifest,
        stream: &str,
        records: &[Bytes],
        report: &mut CheckReport,
    ) -> Result<(), ActivateError> {
        let decisions: Vec<_> = records
            .iter()
            .map(|record| parse(record))
            .collect::<Result<_, _>>()
            .map_err(ReadError::from)?;
        let newest = decisions.iter().rposition(|d| matches!(d.kind, Kind::Command(_)));
        let (early, late) = decisions.split_at_checked(newest.unwrap_or(0)).unwrap_or_default();
        let (early, late) = (texts(stream, early), texts(stream, late));
        let (early, late) = (events(&early), events(&late));
        let all: Vec<_> = early.iter().chain(&late).cloned().collect();
        let name = aggregate.name.as_str();

        let in_parts = fold(&self.one, name, None, &early).and_then(|state| {
            let whole = fold(&self.one, name, state.as_ref(), &late)?;
            Ok((state, whole))
        });
        let at_once = fold(&self.other, name, None, &all);
        let ((state, in_parts), at_once) = match (in_parts, at_once) {
            (Ok(in_parts), Ok(at_once)) => (in_parts, at_once),
            (Err(reason), _) | (_, Err(reason)) => {
                report.not_folding.push(NotFolding { stream: stream.to_owned(), reason });
                return Ok(());
            }
        };
        report.streams += 1;
        report.events += all.len();
        if let Some(differs) = difference_of(in_parts.as_ref(), at_once.as_ref()) {
            return Err(ActivateError::Refused(format!(
                "it has hidden state, or its evolve depends on how events are cut into batches: \
                 two fresh instances fold the stream {stream} to different states: {differs}"
            )));
        }
        if let Some(Kind::Command(record)) =
            newest.and_then(|at| decisions.get(at)).map(|d| &d.kind)
        {
            self.decide_again(name, record, state.as_ref())?;
            report.calls += 1;
        }
        self.compare_with_before(aggregate, stream, &all, at_once.as_ref(), report)
    }

    fn decide_again(
        &self,
        aggregate: &str,
        record: &CommandRecord<'_>,
        state: Option<&State>,
    ) -> Result<(), ActivateError> {
        let asked = Command { id: record.command_id, name: record.command, data: record.data };
        let recorded = &record.context;
        let context = Context {
            stream_id: recorded.stream,
            stream_version: recorded.stream_version,
            now_ms: recorded.now_ms,
            seed: recorded.seed,
            correlation_id: recorded.correlation_id,
            causation_id: recorded.causation_id,
            caller: record.caller,
            extra: recorded.extra,
        };
        let what =
            || format!("the recorded command {:?} of {}", record.command_id, recorded.stream);
        self.agree(what, |guest| {
            guest.decide(aggregate, state, &[], asked.clone(), context.clone())
        })
    }

    fn compare_with_before(
        &self,
        aggregate: &AggregateManifest,
        stream: &str,
        all: &[Event<'_>],
        state: Option<&State>,
        report: &mut CheckReport,
    ) -> Result<(), ActivateError> {
        let Some((before, live)) = &self.before else { return Ok(()) };
        let name = aggregate.name.as_str();
        let same = before
            .manifest
            .aggregates
            .iter()
            .find(|other| other.name == name && other.state_version == aggregate.state_version);
        if same.is_none() {
            return Ok(());
        }
        // What the version before cannot fold is no fault of this one.
        let Ok(theirs) = fold(live, name, None, all) else { return Ok(()) };
        report.compared += 1;
        let Some(differs) = difference_of(theirs.as_ref(), state) else { return Ok(()) };
        Err(ActivateError::Refused(format!(
            "its state of the stream {stream} differs from that of version {}, and both say \
             state version {}: {differs}; give the new state a higher state version, or fold to \
             the same bytes",
            before.manifest.version, aggregate.state_version
        )))
    }
}

/// Folds events; before the first there is no state.
fn fold(
    live: &RefCell<Live>,
    aggregate: &str,
    state: Option<&State>,
    events: &[Event<'_>],
) -> Result<Option<State>, String> {
    if events.is_empty() {
        return Ok(state.cloned());
    }
    match live.borrow_mut().call(|guest| guest.evolve(aggregate, state, events)) {
        Ok(Ok(Ok(state))) => Ok(Some(state)),
        Ok(Ok(Err(reason))) => Err(reason),
        Ok(Err(error)) | Err(error) => Err(error.to_string()),
    }
}

type Texts<'a> = Vec<(&'a crate::event::RecordedEvent<'a>, std::borrow::Cow<'a, str>)>;

fn texts<'a>(stream: &str, decisions: &'a [Decision<'a>]) -> Texts<'a> {
    decisions
        .iter()
        .flat_map(|decision| &decision.events)
        .filter(|event| event.stream == Some(stream))
        .map(|event| (event, guest_data(event.content_type, event.data)))
        .collect()
}

fn events<'a>(texts: &'a Texts<'a>) -> Vec<Event<'a>> {
    texts.iter().map(|(event, data)| Event::of(event, data)).collect()
}
