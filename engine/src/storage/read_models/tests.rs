use std::ops::Bound;

use super::*;

fn put<'a>(key: &'a str, document: &'a str) -> RowChange<'a> {
    RowChange { collection: "c", key, document: Some(document) }
}

fn delete(key: &str) -> RowChange<'_> {
    RowChange { collection: "c", key, document: None }
}

fn collection(indexes: &[(&str, &[&str], bool)]) -> Vec<Collection> {
    let index = |(name, paths, unique): &(&str, &[&str], bool)| {
        let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
        Index::new(name, &paths, *unique).expect("valid")
    };
    vec![Collection { name: "c".into(), indexes: indexes.iter().map(index).collect() }]
}

fn checkpoint(n: u64) -> Checkpoint {
    Checkpoint { position: n, decision: n, hash: [7; 32] }
}

fn apply(file: &ReadModelFile, changes: &[RowChange<'_>]) {
    file.apply(changes.iter().copied(), &checkpoint(1), false).expect("writes");
}

/// The keys in the order of an index; none while it is not whole.
fn keys(file: &ReadModelFile, index: &str) -> Option<Vec<String>> {
    let view = file.view().expect("reads");
    let index = view.indexes_of("c").find(|found| found.index().name == index)?;
    let mut keys = Vec::new();
    let each = |key: &str| {
        keys.push(key.to_owned());
        true
    };
    index.scan(Bound::Unbounded, None, false, each).expect("reads");
    index.is_whole().then_some(keys)
}

#[test]
fn documents_and_checkpoint_move_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.redb");
    {
        let file = ReadModelFile::open(&path, collection(&[])).expect("opens");
        assert_eq!(file.checkpoint(), Ok(None));
        let changes = [put("b", "1"), put("a", "2"), put("ä", "3")];
        file.apply(changes.into_iter(), &checkpoint(1), true).expect("writes");
        let old = file.view().expect("reads");
        file.apply([delete("b")].into_iter(), &checkpoint(2), false).expect("writes");
        assert_eq!(old.get("c", "b"), Ok(Some("1".into())));
        assert_eq!(file.view().expect("reads").get("c", "b"), Ok(None));
        assert_eq!(file.checkpoint(), Ok(Some(checkpoint(2))));
    }
    let file = ReadModelFile::open(&path, collection(&[])).expect("opens");
    let mut keys = Vec::new();
    let view = file.view().expect("reads");
    view.scan("c", Bound::Excluded("a"), |key, _| {
        keys.push(key.to_owned());
        true
    })
    .expect("reads");
    let expected: &[&str] =
        if file.checkpoint() == Ok(Some(checkpoint(2))) { &["ä"] } else { &["b", "ä"] };
    assert_eq!(keys, expected);
}

#[test]
fn an_index_follows_its_documents() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.redb");
    let indexes = collection(&[("n", &["n"], false), ("down", &["-n"], false)]);
    let file = ReadModelFile::open(&path, indexes.clone()).expect("opens");
    apply(&file, &[put("a", r#"{"n":2}"#), put("b", r#"{"n":10}"#), put("c", r#"{"n":2}"#)]);
    assert_eq!(keys(&file, "n").expect("whole"), ["a", "c", "b"]);
    // Each the exact opposite of the other, ties too.
    assert_eq!(keys(&file, "down").expect("whole"), ["b", "c", "a"]);
    apply(&file, &[put("a", r#"{"n":"text"}"#), delete("b"), put("d", "{}")]);
    assert_eq!(keys(&file, "n").expect("whole"), ["d", "c", "a"]);
    drop(file);
    let file = ReadModelFile::open(&path, indexes).expect("opens");
    assert_eq!(file.build(10), Ok(false));
}

#[test]
fn an_index_is_built_beside_what_runs_and_replaces_the_old_one_when_it_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.redb");
    let file = ReadModelFile::open(&path, collection(&[("old", &["n"], false)])).expect("opens");
    let documents: Vec<_> =
        (0..10).map(|n| (format!("k{n}"), format!("{{\"n\":{}}}", n % 3))).collect();
    let changes: Vec<_> = documents.iter().map(|(key, document)| put(key, document)).collect();
    apply(&file, &changes);
    let declared = collection(&[("new", &["-n"], false)]);
    file.declare(declared.clone(), &[0; 32]).expect("declares");
    assert_eq!(file.build(4), Ok(true));
    assert_eq!(keys(&file, "new"), None);
    // One that was passed, one that was not, and one that comes before all.
    apply(&file, &[put("k1", r#"{"n":7}"#), put("k8", r#"{"n":8}"#), put("a", r#"{"n":9}"#)]);
    apply(&file, &[delete("k0"), delete("k9")]);
    assert_eq!(keys(&file, "old").map(|keys| keys.len()), Some(9), "it answers until then");
    drop(file);
    let file = ReadModelFile::open(&path, declared).expect("opens");
    while file.build(4).expect("builds") {}
    assert_eq!(
        keys(&file, "new").expect("whole"),
        ["a", "k8", "k1", "k5", "k2", "k7", "k4", "k6", "k3"]
    );
    assert_eq!(keys(&file, "old"), None, "nobody declares it any more");
    apply(&file, &[put("k2", r#"{"n":100}"#)]);
    assert_eq!(keys(&file, "new").expect("whole")[0], "k2");
}

#[test]
fn a_unique_index_holds_one_document_for_its_values() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.redb");
    let file = ReadModelFile::open(&path, collection(&[("u", &["u"], true)])).expect("opens");
    apply(&file, &[put("a", r#"{"u":1}"#), put("b", r#"{"u":2}"#), put("c", "{}"), put("d", "{}")]);
    let write =
        |changes: &[RowChange<'_>]| file.apply(changes.iter().copied(), &checkpoint(2), false);
    let refused = write(&[put("e", r#"{"u":1.0}"#)]).expect_err("a conflict");
    let WriteError::Conflict(conflict) = refused else { panic!("{refused:?}") };
    assert_eq!((conflict.index.as_str(), conflict.keys), ("u", ["a".into(), "e".into()]));
    assert_eq!(file.checkpoint(), Ok(Some(checkpoint(1))), "nothing was written");
    write(&[put("a", r#"{"u":2}"#), put("b", r#"{"u":1}"#)]).expect("they may change places");
    // One that is added later is refused in the same way.
    file.declare(collection(&[("v", &["v"], true)]), &[0; 32]).expect("declares");
    apply(&file, &[put("a", r#"{"v":1}"#), put("b", r#"{"v":1}"#)]);
    assert!(matches!(file.build(10), Err(WriteError::Conflict(_))));
}
