//! What a batch reads and writes.

use serde::{Deserialize, Serialize};

use super::{Prefetch, Rows, Stored, Tables};
use crate::bindings::projection::Change;
use crate::dispatch::project_onto;
use crate::{Collection, Document, Event, Fault, Projection, Recorded};

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct Count {
    seen: u32,
}

impl Document for Count {
    const COLLECTION: Collection = Collection::new("counts");
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Impostor {}

impl Document for Impostor {
    const COLLECTION: Collection = Collection::new("counts");
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Foreign {}

impl Document for Foreign {
    const COLLECTION: Collection = Collection::new("elsewhere");
}

fn rows(stored: &[(&str, &str)]) -> Rows {
    let rows = stored.iter().map(|(key, json)| ((*key).to_owned(), (*json).to_owned())).collect();
    let tables = Tables::from([("counts".to_owned(), rows)]);
    Rows::new(&[Count::COLLECTION], Stored::Memory(tables))
}

fn changes(rows: Rows) -> Vec<String> {
    let shown = |change| match change {
        Change::Put((collection, key, json)) => format!("put {collection} {key} {json}"),
        Change::Delete((collection, key)) => format!("delete {collection} {key}"),
    };
    rows.into_changes().into_iter().flatten().map(shown).collect()
}

#[test]
fn a_document_is_written_once_however_often_it_changes() -> Result<(), Fault> {
    let mut rows = rows(&[("b", r#"{"seen":40}"#)]);
    for key in ["b", "a", "b"] {
        rows.update(key, |count: &mut Count| count.seen += 1)?;
    }
    assert_eq!(changes(rows), [r#"put counts a {"seen":1}"#, r#"put counts b {"seen":42}"#]);
    Ok(())
}

#[test]
fn a_document_is_read_once() -> Result<(), Fault> {
    let mut rows = rows(&[("a", r#"{"seen":1}"#)]);
    assert_eq!(rows.get("a")?, Some(&Count { seen: 1 }));
    rows.stored = Stored::Memory(Tables::new());
    assert_eq!(rows.get("a")?, Some(&Count { seen: 1 }));
    Ok(())
}

fn prefetch<D: Document>(rows: &mut Rows, keys: &[&str]) -> Result<(), Fault> {
    let mut documents = Prefetch::default();
    keys.iter().for_each(|key| documents.read::<D>(key));
    rows.prefetch(documents)
}

#[test]
fn what_was_prefetched_is_not_read_again_and_is_no_change() -> Result<(), Fault> {
    let mut rows = rows(&[("a", r#"{"seen":1}"#), ("b", r#"{"seen":2}"#)]);
    prefetch::<Count>(&mut rows, &["b", "a", "b", "none"])?;
    let later = [("a", r#"{"seen":8}"#), ("none", r#"{"seen":9}"#)];
    rows.stored = self::rows(&later).stored;
    assert_eq!(rows.get("a")?, Some(&Count { seen: 1 }));
    assert_eq!(rows.get::<Count>("none")?, None);
    rows.update("b", |count: &mut Count| count.seen += 1)?;
    assert_eq!(changes(rows), [r#"put counts b {"seen":3}"#]);
    Ok(())
}

#[derive(Deserialize, Event, Serialize)]
enum Seen {
    Seen {},
}

/// It asks for what it does not touch.
struct Looks;

impl Projection for Looks {
    const NAME: &'static str = "looks";
    const COLLECTIONS: &'static [Collection] = &[Count::COLLECTION];
    type Event = Seen;

    fn project(_: &Recorded<Seen>, _: &mut Rows) -> Result<(), Fault> {
        Ok(())
    }

    fn prefetch(_: &Recorded<Seen>, documents: &mut Prefetch) {
        documents.read::<Count>("a");
    }
}

#[test]
fn what_a_projection_names_is_read_before_it_projects() {
    let event = crate::testing::recorded(1, Seen::Seen {}.into());
    let stored = rows(&[("a", r#"{"seen":"many"}"#)]).stored;
    let projected = project_onto::<Looks>(vec![event], stored);
    assert!(matches!(projected, Err(fault) if fault.to_string().contains("`a` of `counts`")));
}

#[test]
fn what_cannot_be_prefetched_is_a_fault() {
    let mut rows = rows(&[("a", r#"{"seen":"many"}"#)]);
    let unreadable = prefetch::<Count>(&mut rows, &["a"]);
    assert!(matches!(unreadable, Err(fault) if fault.to_string().contains("`a` of `counts`")));
    let foreign = prefetch::<Foreign>(&mut rows, &["a"]);
    assert!(matches!(foreign, Err(fault) if fault.to_string().contains("`elsewhere` is not in")));
}

#[test]
fn reading_changes_nothing() -> Result<(), Fault> {
    let mut rows = rows(&[("a", r#"{"seen":1}"#)]);
    assert!(rows.get::<Count>("a")?.is_some());
    assert!(rows.get::<Count>("b")?.is_none());
    assert!(changes(rows).is_empty());
    Ok(())
}

#[test]
fn a_batch_sees_its_own_writes() -> Result<(), Fault> {
    let mut rows = rows(&[("a", r#"{"seen":1}"#)]);
    rows.delete::<Count>("a")?;
    assert_eq!(rows.get::<Count>("a")?, None);
    rows.update("a", |count: &mut Count| count.seen += 5)?;
    rows.put("b", Count { seen: 7 })?;
    rows.delete::<Count>("b")?;
    assert_eq!(changes(rows), [r#"put counts a {"seen":5}"#, "delete counts b"]);
    Ok(())
}

#[test]
fn what_cannot_be_a_row_is_a_fault_and_not_a_panic() -> Result<(), Fault> {
    let mut rows = rows(&[("a", r#"{"seen":"many"}"#)]);
    let unreadable = rows.get::<Count>("a").map(drop);
    assert!(matches!(unreadable, Err(fault) if fault.to_string().contains("`a` of `counts`")));
    let foreign = rows.put("a", Foreign {});
    assert!(matches!(foreign, Err(fault) if fault.to_string().contains("`elsewhere` is not in")));
    rows.put("a", Count::default())?;
    let impostor = rows.get::<Impostor>("a").map(drop);
    assert!(matches!(impostor, Err(fault) if fault.to_string().contains("two document types")));
    Ok(())
}
