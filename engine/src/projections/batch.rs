//! One batch: from records to the changes a guest makes of them.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;

use super::overlay::Overlay;
use super::partition::Share;
use super::settings::Settings;
use crate::decision::format::{parse_header, record_hash};
use crate::decision::{Decision, Kind, parse};
use crate::event::{RecordedEvent, guest_data};
use crate::manifest::ProjectionManifest;
use crate::names::DocumentKey;
use crate::runtime::{self, Change, GuestError, ReadModelLook};
use crate::storage::log::ReadError;
use crate::storage::read_models::{Checkpoint, View};
use crate::subscriptions::Records;

/// The checkpoint after records.
pub(super) fn after(records: &Records) -> Result<Checkpoint, ReadError> {
    let Some(last) = records.iter().next_back() else { return Ok(Checkpoint::START) };
    let header = parse_header(last)?;
    Ok(Checkpoint {
        position: header.head_before + u64::from(header.event_count),
        decision: header.decision,
        hash: record_hash(last),
    })
}

/// What a projection makes of events; the inner error is its own.
pub(super) type Projected = Result<Result<Vec<Change>, String>, GuestError>;

/// Which events a projection gets.
#[derive(Clone)]
pub(super) struct Wanted<'a> {
    pub(super) spec: &'a ProjectionManifest,
    settings: &'a Settings,
    /// Only events from the one position to the other.
    positions: (u64, u64),
    /// Only those of some partitions.
    share: Option<Share<'a>>,
}

impl<'a> Wanted<'a> {
    /// Those that it says it wants, and that are not left out.
    pub(super) fn of(spec: &'a ProjectionManifest, settings: &'a Settings) -> Self {
        Self { spec, settings, positions: (0, u64::MAX), share: None }
    }

    /// Of those the ones from one position to another.
    pub(super) fn between(self, first: u64, last: u64) -> Self {
        Self { positions: (first, last), ..self }
    }

    /// Of those the ones of a share.
    pub(super) fn only(self, share: Share<'a>) -> Self {
        Self { share: Some(share), ..self }
    }

    fn wants(&self, event: &RecordedEvent<'_>) -> bool {
        let spec = self.spec;
        let category = event.stream.and_then(|stream| stream.split_once('-')).map(|(name, _)| name);
        (spec.event_types.is_empty() || spec.event_types.iter().any(|t| t == event.event_type))
            && (spec.categories.is_empty()
                || category.is_some_and(|category| spec.categories.iter().any(|c| c == category)))
            && (self.positions.0..=self.positions.1).contains(&event.position)
            && !self.settings.leaves_out(event.position)
            // It may have to look into the data.
            && self.share.is_none_or(|share| share.holds(event))
    }

    /// Something of each of those in records.
    pub(super) fn each<T>(
        &self,
        records: &Records,
        take: impl Fn(&RecordedEvent<'_>) -> T,
    ) -> Result<Vec<T>, ReadError> {
        let mut taken = Vec::new();
        for record in records.iter() {
            let decision = parse(record)?;
            taken.extend(decision.events.iter().filter(|event| self.wants(event)).map(&take));
        }
        Ok(taken)
    }
}

/// Lets a projection make changes of those events of the records that it wants. An event that it
/// does not want costs no call.
pub(super) fn project(
    records: &Records,
    wanted: &Wanted<'_>,
    project: impl FnOnce(&[runtime::RecordedEvent<'_>]) -> Projected,
) -> Result<Result<Vec<Change>, String>, ProjectError> {
    let decisions = records
        .iter()
        .map(|record| parse(record))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|damage| ProjectError::Read(damage.into()))?;
    let (mut texts, mut all) = (Vec::new(), Vec::new());
    for decision in &decisions {
        let mut meta = None;
        for event in decision.events.iter().filter(|event| wanted.wants(event)) {
            let meta = meta.get_or_insert_with(|| put(&mut texts, |out| put_meta(out, decision)));
            let meta = meta.clone();
            let id = put(&mut texts, |out| event.id.put(out));
            all.push((event, guest_data(event.content_type, event.data), id, meta));
        }
    }
    if all.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    // JSON and ids are nothing else.
    let texts = String::from_utf8(texts).unwrap_or_default();
    let text = |range: &Range<usize>| texts.get(range.clone()).unwrap_or_default();
    let events: Vec<_> = all
        .iter()
        .map(|(event, data, id, meta)| runtime::RecordedEvent {
            event_id: text(id),
            position: event.position,
            part: 0,
            event: runtime::Event::of(event, data),
            meta: text(meta),
        })
        .collect();
    let changes = project(&events).map_err(ProjectError::Guest)?;
    Ok(changes.and_then(|changes| checked(wanted.spec, changes)))
}

/// Appends a text to those of a batch, which lie in one piece of memory, and answers where it is.
fn put(texts: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let start = texts.len();
    put(texts);
    start..texts.len()
}

/// Why a batch could not be projected.
#[derive(Debug)]
pub(super) enum ProjectError {
    Read(ReadError),
    Guest(GuestError),
}

impl std::fmt::Display for ProjectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Guest(error) => error.fmt(f),
        }
    }
}

#[derive(Serialize)]
struct Meta<'a> {
    decision: u64,
    recorded_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
}

fn put_meta(out: &mut Vec<u8>, decision: &Decision<'_>) {
    let command = match &decision.kind {
        Kind::Command(record) => Some(record),
        Kind::Activation(_) | Kind::Append(_) | Kind::Act(_) | Kind::Erased(_) => None,
    };
    let meta = Meta {
        decision: decision.header.decision,
        recorded_at_ms: decision.header.recorded_at_ms,
        command_id: command.map(|command| command.command_id),
        correlation_id: command.map(|command| command.context.correlation_id),
        causation_id: command.map(|command| command.context.causation_id),
    };
    // Memory takes whatever is written to it.
    let _ = serde_json::to_writer(out, &meta);
}

/// A guest may write only to its own collections, and only documents that are JSON.
fn checked(spec: &ProjectionManifest, changes: Vec<Change>) -> Result<Vec<Change>, String> {
    for change in &changes {
        let (collection, key) = (change.collection(), change.key());
        if let Some(document) = change.document() {
            serde_json::from_str::<&serde_json::value::RawValue>(document).map_err(|error| {
                format!("its document {key:?} of {collection:?} is not JSON: {error}")
            })?;
        }
        own(spec, collection)?;
        DocumentKey::check(key).map_err(|error| format!("{key:?}: {error}"))?;
    }
    Ok(changes)
}

pub(super) fn own(spec: &ProjectionManifest, collection: &str) -> Result<(), String> {
    if spec.collections.iter().any(|own| own.name == collection) {
        return Ok(());
    }
    Err(format!("the collection {collection:?} is not one of projection {}", spec.name))
}

/// What a projecting guest may read: the documents of its own projection, as they were before the
/// batch; its own changes come with its answer.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) view: Arc<View>,
    pub(super) overlay: Arc<RwLock<Overlay>>,
    pub(super) spec: Arc<ProjectionManifest>,
}

impl ReadModelLook for Look {
    fn get_many(&self, collection: &str, keys: &[String]) -> Result<Vec<Option<String>>, String> {
        own(&self.spec, collection)?;
        let documents = self.overlay.read().get_many(&self.view, collection, keys);
        documents.map_err(|error| error.to_string())
    }

    fn scan(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, String)>, String> {
        own(&self.spec, collection)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let from = match after {
            Some(after) if after >= prefix => std::ops::Bound::Excluded(after),
            _ => std::ops::Bound::Included(prefix),
        };
        let mut found = Vec::new();
        self.overlay
            .read()
            .scan(&self.view, collection, from, |key, document| {
                let wanted = found.len() < limit && key.starts_with(prefix);
                if wanted {
                    found.push((key.to_owned(), document.to_owned()));
                }
                wanted
            })
            .map_err(|error| error.to_string())?;
        Ok(found)
    }
}
