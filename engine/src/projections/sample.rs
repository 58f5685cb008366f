//! What a projection makes of the first events of the log, in memory: to compare two versions of it
//! before one takes the other's place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::batch::{self, Wanted, own};
use super::proof::ProofError;
use super::settings::Settings;
use crate::manifest::ProjectionManifest;
use crate::names::{EventType, Name};
use crate::query::{Query, QueryItem};
use crate::runtime::{Change, Component, Live, ReadModelLook};
use crate::storage::log::{Log, ReadError};
use crate::subscriptions::Records;

/// Records of one call of the guest. 64: several calls, so that it reads what it wrote.
const BATCH: usize = 64;

/// Documents by collection and key.
pub type Documents = BTreeMap<(String, String), String>;

/// Some of the log, from its beginning.
#[derive(Debug)]
pub struct Sample(Vec<bytes::Bytes>);

impl Sample {
    /// The records of the first events that any of some projections wants, up to a number each.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn of(log: &Log, specs: &[&ProjectionManifest], events: usize) -> Result<Self, ProofError> {
        let mut decisions = BTreeSet::new();
        for spec in specs {
            decisions.extend(first_wanted(log, spec, events)?);
        }
        let read = |decision| log.record(decision);
        let records = decisions.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(records.into_iter().flatten().collect()))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The documents that a projection makes of it.
    ///
    /// # Errors
    /// A sentence, when it cannot take an event.
    pub fn project(
        &self,
        spec: &ProjectionManifest,
        (component, module): (&Component, &str),
    ) -> Result<Documents, String> {
        let memory = Arc::new(Memory { spec: spec.clone(), documents: Mutex::default() });
        let (mut live, settings) = (Live::new(component, module), Settings::default());
        for records in self.0.chunks(BATCH) {
            let look: Arc<dyn ReadModelLook> = Arc::<Memory>::clone(&memory);
            let wanted = Wanted::of(spec, &settings);
            let records = Records::from(records.to_vec());
            let changes = live.call(|one| {
                batch::project(&records, &wanted, |events| one.project(&spec.name, events, look))
            });
            memory.take(changes.map_err(text)?.map_err(text)??);
        }
        Ok(std::mem::take(&mut *memory.documents.lock()))
    }
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The decisions of the first events that a projection wants.
fn first_wanted(log: &Log, spec: &ProjectionManifest, most: usize) -> Result<Vec<u64>, ProofError> {
    let last = log.head().decision;
    if spec.event_types.is_empty() && spec.categories.is_empty() {
        return Ok((1..=last).take(most).collect());
    }
    let said = |error: crate::names::NameError| ProofError::Refused(error.to_string());
    let types = spec.event_types.iter().map(|name| EventType::parse(name).map_err(said));
    let categories = spec.categories.iter().map(|name| Name::parse(name).map_err(said));
    let item = QueryItem {
        types: types.collect::<Result<_, _>>()?,
        categories: categories.collect::<Result<_, _>>()?,
        ..QueryItem::default()
    };
    let range = (1, log.head().position);
    let found = log.find(&Query { items: vec![item] }, range, most).map_err(ReadError::from)?;
    Ok(found.hits.into_iter().map(|(_, decision)| decision).collect())
}

/// The documents that were made so far, as the guest may read them.
struct Memory {
    spec: ProjectionManifest,
    documents: Mutex<Documents>,
}

impl Memory {
    fn take(&self, changes: Vec<Change>) {
        let mut documents = self.documents.lock();
        for change in changes {
            match change {
                Change::Put((collection, key, document)) => {
                    documents.insert((collection, key), document);
                }
                Change::Delete(place) => {
                    documents.remove(&place);
                }
            }
        }
    }
}

impl ReadModelLook for Memory {
    fn get_many(&self, collection: &str, keys: &[String]) -> Result<Vec<Option<String>>, String> {
        own(&self.spec, collection)?;
        let documents = self.documents.lock();
        let get = |key: &String| documents.get(&(collection.to_owned(), key.clone())).cloned();
        Ok(keys.iter().map(get).collect())
    }

    fn scan(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, String)>, String> {
        own(&self.spec, collection)?;
        let place = |key: &str| (collection.to_owned(), key.to_owned());
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(place(after)),
            _ => Bound::Included(place(prefix)),
        };
        let documents = self.documents.lock();
        let found = documents
            .range((from, Bound::Unbounded))
            .take_while(|((of, key), _)| of == collection && key.starts_with(prefix))
            .take(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found.map(|((_, key), document)| (key.clone(), document.clone())).collect())
    }
}
