//! One batch: from records to the changes a guest makes of them.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::ProjectionLimits;
use crate::decision::format::record_hash;
use crate::decision::{Decision, Kind, parse};
use crate::event::guest_data;
use crate::manifest::ProjectionManifest;
use crate::runtime::{self, Change, GuestError, Instance, ReadModelLook};
use crate::storage::log::{Log, ReadError};
use crate::storage::read_models::{Checkpoint, ReadModelFile, RowChange, View};

/// Records to be projected, and the checkpoint after them.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Bytes>,
    pub(super) after: Checkpoint,
}

impl Batch {
    /// The records after a checkpoint, within the limits; none at the head.
    pub(super) fn read(
        log: &Log,
        from: &Checkpoint,
        limits: &ProjectionLimits,
    ) -> Result<Option<Self>, ReadError> {
        let (mut records, mut next, mut bytes) = (Vec::new(), from.decision + 1, 0);
        'groups: while let Some(group) = log.group(next)? {
            for (number, record) in group.records_from(next) {
                if records.len() >= limits.batch_events || bytes >= limits.batch_bytes {
                    break 'groups;
                }
                next = number + 1;
                bytes += record.len();
                records.push(record);
            }
        }
        let Some(last) = records.last() else { return Ok(None) };
        let decision = parse(last)?;
        let after = Checkpoint {
            position: decision.head_after(),
            decision: decision.header.decision,
            hash: record_hash(last),
        };
        Ok(Some(Self { records, after }))
    }

    /// Each record as a batch of its own, to find the one that fails.
    pub(super) fn singles(&self) -> Result<Vec<Self>, ReadError> {
        let single = |record: &Bytes| {
            let decision = parse(record)?;
            let after = Checkpoint {
                position: decision.head_after(),
                decision: decision.header.decision,
                hash: record_hash(record),
            };
            Ok(Self { records: vec![record.clone()], after })
        };
        self.records.iter().map(single).collect()
    }

    /// Lets a guest project the batch. The inner error is the guest's own; an event that nobody
    /// wants costs no call.
    pub(super) fn project(
        &self,
        spec: &ProjectionManifest,
        instance: &mut Instance,
        file: &ReadModelFile,
    ) -> Result<Result<Vec<Change>, String>, ProjectError> {
        let decisions = self
            .records
            .iter()
            .map(|record| parse(record))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|damage| ProjectError::Read(damage.into()))?;
        let texts: Vec<_> = decisions
            .iter()
            .flat_map(|decision| {
                let wanted = decision.events.iter().filter(|event| wants(spec, event));
                let meta: Arc<str> = meta(decision).into();
                wanted.map(move |event| {
                    let data = guest_data(event.content_type, event.data);
                    (event, event.id.to_string(), data, Arc::clone(&meta))
                })
            })
            .collect();
        if texts.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let events: Vec<_> = texts
            .iter()
            .map(|(event, id, data, meta)| runtime::RecordedEvent {
                event_id: id,
                position: event.position,
                part: 0,
                event: runtime::Event::of(event, data),
                meta,
            })
            .collect();
        let view = file.view().map_err(|error| ProjectError::File(error.to_string()))?;
        let look = Arc::new(Look { view, spec: spec.clone() });
        let changes = instance.project(&spec.name, &events, look).map_err(ProjectError::Guest)?;
        Ok(changes.and_then(|changes| checked(spec, changes)))
    }
}

/// Why a batch could not be projected.
#[derive(Debug)]
pub(super) enum ProjectError {
    Read(ReadError),
    File(String),
    Guest(GuestError),
}

fn wants(spec: &ProjectionManifest, event: &crate::event::RecordedEvent<'_>) -> bool {
    let category = event.stream.and_then(|stream| stream.split_once('-')).map(|(name, _)| name);
    (spec.event_types.is_empty() || spec.event_types.iter().any(|t| t == event.event_type))
        && (spec.categories.is_empty()
            || category.is_some_and(|category| spec.categories.iter().any(|c| c == category)))
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

fn meta(decision: &Decision<'_>) -> String {
    let command = match &decision.kind {
        Kind::Command(record) => Some(record),
        Kind::Activation(_) | Kind::Append(_) | Kind::Act(_) => None,
    };
    let meta = Meta {
        decision: decision.header.decision,
        recorded_at_ms: decision.header.recorded_at_ms,
        command_id: command.map(|command| command.command_id),
        correlation_id: command.map(|command| command.context.correlation_id),
        causation_id: command.map(|command| command.context.causation_id),
    };
    serde_json::to_string(&meta).unwrap_or_else(|_| "{}".to_owned())
}

/// A guest may write only to its own collections, and only documents that are JSON.
fn checked(spec: &ProjectionManifest, changes: Vec<Change>) -> Result<Vec<Change>, String> {
    for change in &changes {
        let (collection, key) = match change {
            Change::Put((collection, key, document)) => {
                serde_json::from_str::<&serde_json::value::RawValue>(document).map_err(
                    |error| format!("its document {key:?} of {collection:?} is not JSON: {error}"),
                )?;
                (collection, key)
            }
            Change::Delete((collection, key)) => (collection, key),
        };
        own(spec, collection)?;
        crate::names::DocumentKey::parse(key).map_err(|error| format!("{key:?}: {error}"))?;
    }
    Ok(changes)
}

fn own(spec: &ProjectionManifest, collection: &str) -> Result<(), String> {
    if spec.collections.iter().any(|own| own.name == collection) {
        return Ok(());
    }
    Err(format!("the collection {collection:?} is not one of projection {}", spec.name))
}

/// The changes as the storage takes them.
pub(super) fn rows(changes: &[Change]) -> impl Iterator<Item = RowChange<'_>> {
    changes.iter().map(|change| match change {
        Change::Put((collection, key, document)) => {
            RowChange { collection, key, document: Some(document) }
        }
        Change::Delete((collection, key)) => RowChange { collection, key, document: None },
    })
}

/// What a projecting guest may read: the documents of its own projection.
struct Look {
    /// As they were before the batch: the guest's own changes come with its answer.
    view: View,
    spec: ProjectionManifest,
}

impl ReadModelLook for Look {
    fn get_many(&self, collection: &str, keys: &[String]) -> Result<Vec<Option<String>>, String> {
        own(&self.spec, collection)?;
        let get = |key: &String| self.view.get(collection, key).map_err(|error| error.to_string());
        keys.iter().map(get).collect()
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
        self.view
            .scan(collection, from, |key, document| {
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
