//! Tests of projections.

use std::collections::BTreeMap;

use crate::bindings::projection::{Change, RecordedEvent};
use crate::bindings::types;
use crate::rows::{Stored, Tables};
use crate::{Document, Documents, Event, Fault, Projection, Query, Recorded, dispatch};

/// Projects events, numbered from position 1, onto empty read models.
#[track_caller]
pub fn project<P: Projection>(
    events: impl IntoIterator<Item = impl Into<Recorded<P::Event>>>,
) -> Projected {
    let log: Vec<RecordedEvent> =
        (1..).zip(events).map(|(position, event)| recorded(position, event.into())).collect();
    let at_once = apply::<P>(Tables::new(), log.clone());
    let one_by_one =
        log.into_iter().fold(Tables::new(), |tables, event| apply::<P>(tables, vec![event]));
    assert!(
        at_once == one_by_one,
        "rows depend on where batches end\nat once:\n  {at_once:?}\none by one:\n  {one_by_one:?}",
    );
    Projected { tables: at_once }
}

/// Read models, waiting to be looked at.
#[derive(Debug)]
pub struct Projected {
    tables: Tables,
}

impl Projected {
    /// One document.
    #[track_caller]
    pub fn row<D: Document>(&self, key: &str) -> Option<D> {
        self.rows().remove(key)
    }

    /// What a query answers over these documents.
    pub fn query<Q: Query>(&self, query: Q) -> Result<Q::Answer, Fault> {
        query.answer(&Documents::new(Stored::Memory(self.tables.clone())))
    }

    /// All documents of a read model, by key.
    #[track_caller]
    pub fn rows<D: Document>(&self) -> BTreeMap<String, D> {
        let name = D::COLLECTION.name();
        let rows = self.tables.get(name).into_iter().flatten();
        rows.map(|(key, json)| match serde_json::from_str(json) {
            Ok(document) => (key.clone(), document),
            Err(error) => panic!("document `{key}` of `{name}` does not fit: {error}\n  {json}"),
        })
        .collect()
    }
}

/// The event as recorded at its own time 0, without tags and in no stream: a test says what else
/// matters with `Recorded { stream_id: Some("account-1".into()), ..event.into() }`.
impl<E: Event> From<E> for Recorded<E> {
    fn from(event: E) -> Self {
        Self {
            event,
            event_id: String::new(),
            position: 0,
            part: 0,
            stream_id: None,
            stream_version: 0,
            decided_at_ms: 0,
            tags: Vec::new(),
            meta: "{}".to_owned(),
        }
    }
}

#[track_caller]
pub(crate) fn recorded<E: Event>(position: u64, recorded: Recorded<E>) -> RecordedEvent {
    let event_type = recorded.event.event_type();
    let data = match recorded.event.encode() {
        Ok(data) => data,
        Err(fault) => panic!("an event of the test cannot be written: {fault}"),
    };
    RecordedEvent {
        event_id: recorded.event_id,
        position,
        part: recorded.part,
        event: types::Event {
            event_type: event_type.name.to_owned(),
            schema_version: event_type.schema_version,
            content_type: "application/json".to_owned(),
            data,
            tags: recorded.tags,
            stream_id: recorded.stream_id,
            stream_version: recorded.stream_version,
            decided_at_ms: recorded.decided_at_ms,
        },
        meta: recorded.meta,
    }
}

/// One batch, and what the engine does with its answer.
#[track_caller]
fn apply<P: Projection>(mut tables: Tables, batch: Vec<RecordedEvent>) -> Tables {
    let changes = match dispatch::project_onto::<P>(batch, Stored::Memory(tables.clone())) {
        Ok(changes) => changes,
        Err(fault) => panic!("`{}` failed: {fault}", P::NAME),
    };
    for change in changes {
        match change {
            Change::Put((collection, key, document)) => {
                tables.entry(collection).or_default().insert(key, document);
            }
            Change::Delete((collection, key)) => {
                tables.entry(collection).or_default().remove(&key);
            }
        }
    }
    tables.retain(|_, rows| !rows.is_empty());
    tables
}
