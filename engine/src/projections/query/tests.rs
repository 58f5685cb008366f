//! Queries against a plain evaluation of the same documents, written a second time over values.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::projections::ProjectionLimits;
use crate::projections::read_model::PageError;
use crate::storage::read_models::{Checkpoint, Collection, ReadModelFile, RowChange};

const INDEXES: &[&[&str]] =
    &[&["a"], &["-b", "c.x"], &["a", "-b"], &["c.x", "a", "b"], &["-a"], &["a", "b", "-c.x"]];

fn file(indexes: &[&[&str]]) -> (tempfile::TempDir, ReadModelFile) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = ReadModelFile::open(&dir.path().join("m.redb"), declared(indexes)).expect("opens");
    (dir, file)
}

fn declared(indexes: &[&[&str]]) -> Vec<Collection> {
    let index = |(at, paths): (usize, &&[&str])| {
        let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
        Index::new(&format!("i{at}"), &paths, false).expect("valid")
    };
    let indexes = indexes.iter().enumerate().map(index).collect();
    vec![Collection { name: "m".into(), indexes }]
}

fn write(file: &ReadModelFile, documents: &BTreeMap<String, Option<Value>>) {
    let texts: Vec<_> = documents
        .iter()
        .map(|(key, document)| (key, document.as_ref().map(Value::to_string)))
        .collect();
    let changes = texts.iter().map(|(key, document)| RowChange {
        collection: "m",
        key,
        document: document.as_deref(),
    });
    file.apply(changes, &Checkpoint::START, false).expect("writes");
}

/// The value at a path, and missing told from null.
fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, step| match value {
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        value => value.get(step),
    })
}

fn rank(value: Option<&Value>) -> u8 {
    match value {
        None => 0,
        Some(Value::Null) => 1,
        Some(Value::Bool(_)) => 2,
        Some(Value::Number(_)) => 3,
        Some(Value::String(_)) => 4,
        Some(_) => 5,
    }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(Value::String(a)), Some(Value::String(b))) => a.as_bytes().cmp(b.as_bytes()),
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).expect("numbers")
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

/// What `path:op:value` means.
fn holds(document: &Value, (path, op, value): &(&str, &str, Value)) -> bool {
    let found = at(document, path);
    let Some(found) = found else { return *op == "exists" && *value == json!(false) };
    let same_kind = rank(Some(found)) == rank(Some(value));
    let is = |wanted: &[Ordering]| same_kind && wanted.contains(&compare(Some(found), Some(value)));
    match *op {
        "eq" => is(&[Ordering::Equal]),
        "ne" => !is(&[Ordering::Equal]),
        "lt" => is(&[Ordering::Less]),
        "le" => is(&[Ordering::Less, Ordering::Equal]),
        "gt" => is(&[Ordering::Greater]),
        "ge" => is(&[Ordering::Greater, Ordering::Equal]),
        "in" => value.as_array().expect("an array").iter().any(|one| {
            rank(Some(found)) == rank(Some(one)) && compare(Some(found), Some(one)).is_eq()
        }),
        "prefix" => {
            found.as_str().is_some_and(|text| text.starts_with(value.as_str().expect("text")))
        }
        "exists" => *value == json!(true),
        other => panic!("{other}"),
    }
}

type Sort = Vec<(&'static str, bool)>;

fn before(
    order: &Sort,
    (left_key, left): (&str, &Value),
    (right_key, right): (&str, &Value),
) -> Ordering {
    let directed =
        |ordering: Ordering, descending| if descending { ordering.reverse() } else { ordering };
    order
        .iter()
        .map(|(path, descending)| directed(compare(at(left, path), at(right, path)), *descending))
        .find(|ordering| ordering.is_ne())
        .unwrap_or_else(|| {
            directed(left_key.cmp(right_key), order.last().is_some_and(|last| last.1))
        })
}

const PATHS: [&str; 4] = ["a", "b", "c.x", "c.y.1"];

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-3i32..4).prop_map(Value::from),
        1 => (-6i32..6).prop_map(|n| json!(f64::from(n) / 2.0)),
        2 => "[ab]{0,2}".prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn any_document() -> impl Strategy<Value = Value> {
    let field = || prop::option::weighted(0.85, any_value());
    (field(), field(), field(), field()).prop_map(|(a, b, x, y)| {
        let mut document = json!({"c": {"y": [0]}});
        for (to, value) in [("a", a), ("b", b)] {
            if let Some(value) = value {
                document[to] = value;
            }
        }
        if let Some(x) = x {
            document["c"]["x"] = x;
        }
        if let Some(y) = y {
            document["c"]["y"] = json!([0, y]);
        }
        document
    })
}

type Condition = (&'static str, &'static str, Value);

fn any_condition() -> impl Strategy<Value = Condition> {
    let path = prop::sample::select(&PATHS[..]);
    let op =
        prop::sample::select(&["eq", "ne", "lt", "le", "gt", "ge", "in", "prefix", "exists"][..]);
    (path, op, any_value(), prop::collection::vec(any_value(), 0..4), "[ab]{0,2}", any::<bool>())
        .prop_map(|(path, op, one, many, prefix, exists)| {
            let value = match op {
                "in" => json!(many),
                "prefix" => json!(prefix),
                "exists" => json!(exists),
                _ => one,
            };
            (path, op, value)
        })
}

fn any_order() -> impl Strategy<Value = Sort> {
    prop::collection::vec((prop::sample::select(&PATHS[..]), any::<bool>()), 0..4)
}

fn asked(conditions: &[Condition], order: &Sort, limit: usize) -> RowsQuery {
    let filter = |(path, op, value): &Condition| {
        Filter::parse(&format!("{path}:{op}:{value}")).expect("valid")
    };
    let part = |(path, descending): &(&str, bool)| {
        Part::parse(&format!("{}{path}", if *descending { "-" } else { "" })).expect("valid")
    };
    RowsQuery {
        filters: conditions.iter().map(filter).collect(),
        order: order.iter().map(part).collect(),
        limit,
        ..RowsQuery::default()
    }
}

fn keys() -> impl Strategy<Value = String> {
    "[a-e]{1,2}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// While rows come, change and go between the pages, each page is what a plain evaluation
    /// gives after the place where the one before ended: so a row that does not change comes
    /// exactly once, and no row comes twice unless it moved.
    #[test]
    fn pages_are_what_a_plain_evaluation_gives_while_rows_change(
        first in prop::collection::btree_map(keys(), any_document(), 0..40),
        changes in prop::collection::vec(
            prop::collection::btree_map(keys(), prop::option::of(any_document()), 0..6), 0..6),
        conditions in prop::collection::vec(any_condition(), 0..4),
        order in any_order(),
        limit in 1usize..7,
        indexes in prop::sample::subsequence(INDEXES, 0..=INDEXES.len()),
    ) {
        let (_dir, file) = file(&indexes);
        let limits = ProjectionLimits::default();
        let mut documents = first.clone();
        write(&file, &first.into_iter().map(|(key, document)| (key, Some(document))).collect());
        let mut query = asked(&conditions, &order, limit);
        query.count = Some(1_000);
        let mut changes = changes.into_iter();
        let mut last: Option<(String, Value)> = None;
        loop {
            let view = file.view().expect("reads");
            let found = page(&view, "m", &query, &limits, 0).expect("within limits");
            let mut expected: Vec<_> = documents
                .iter()
                .filter(|(_, document)| conditions.iter().all(|one| holds(document, one)))
                .collect();
            prop_assert_eq!(found.count.map(|count| (count.rows, count.is_exact)), Some((expected.len(), true)));
            expected.sort_by(|(a, left), (b, right)| before(&order, (a, left), (b, right)));
            if let Some((key, document)) = &last {
                expected.retain(|(other, found)| {
                    before(&order, (key, document), (other, found)).is_lt()
                });
            }
            let more = expected.len() > limit;
            expected.truncate(limit);
            let got: Vec<_> = found
                .rows
                .iter()
                .map(|row| (row.key.clone(), serde_json::from_str::<Value>(&row.document).expect("JSON")))
                .collect();
            let wanted: Vec<_> =
                expected.iter().map(|(key, document)| ((*key).clone(), (*document).clone())).collect();
            prop_assert_eq!(&got, &wanted, "{:?} {:?}", query, found.explain);
            prop_assert_eq!(found.next.is_some(), more);
            if let Some(row) = got.into_iter().next_back() {
                last = Some(row);
            }
            query.cursor = found.next;
            if let Some(change) = changes.next() {
                for (key, document) in &change {
                    match document {
                        Some(document) => drop(documents.insert(key.clone(), document.clone())),
                        None => drop(documents.remove(key)),
                    }
                }
                write(&file, &change);
            }
            if query.cursor.is_none() {
                break;
            }
        }
    }
}

fn numbered(count: usize) -> BTreeMap<String, Option<Value>> {
    (0..count)
        .map(|n| (format!("k{n:05}"), Some(json!({"a": n % 10, "b": n, "c": {"x": n / 2}}))))
        .collect()
}

fn explained(
    file: &ReadModelFile,
    conditions: &[Condition],
    order: &Sort,
) -> super::super::Explain {
    let view = file.view().expect("reads");
    page(&view, "m", &asked(conditions, order, 5), &ProjectionLimits::default(), 0)
        .expect("answers")
        .explain
}

#[test]
fn the_index_that_serves_best_is_used_and_said() {
    let (_dir, file) = file(&[&["a"], &["a", "-b"], &["b"]]);
    write(&file, &numbered(2_000));
    let eq = |path, n: i32| (path, "eq", json!(n));
    let one = explained(&file, &[eq("a", 3)], &vec![("b", true)]);
    assert_eq!((one.index.as_deref(), one.is_sorted, one.rows_looked_at), (Some("i1"), false, 6));
    let other_way = explained(&file, &[eq("a", 3)], &vec![("b", false)]);
    assert_eq!((other_way.index.as_deref(), other_way.rows_looked_at), (Some("i1"), 6));
    let fixed = explained(&file, &[eq("a", 3)], &vec![]);
    assert_eq!((fixed.index.as_deref(), fixed.rows_looked_at), (Some("i0"), 6));
    let range = explained(
        &file,
        &[("b", "ge", json!(1_990)), ("c.x", "gt", json!(0))],
        &vec![("b", false)],
    );
    assert_eq!((range.index.as_deref(), range.rows_looked_at), (Some("i2"), 6));
    assert_eq!((range.narrowed_by, range.checked), (vec!["b".to_owned()], vec!["c.x".to_owned()]));
    let sorted = explained(&file, &[eq("a", 3)], &vec![("c.x", false)]);
    assert_eq!(
        (sorted.index.as_deref(), sorted.is_sorted, sorted.rows_looked_at),
        (Some("i0"), true, 200)
    );
    let none = explained(&file, &[], &vec![]);
    assert_eq!((none.index, none.rows_looked_at), (None, 6));
}

fn refused(file: &ReadModelFile, conditions: &[Condition], order: &Sort) -> QueryError {
    let limits = ProjectionLimits { scan_rows: 100, ..ProjectionLimits::default() };
    let view = file.view().expect("reads");
    match page(&view, "m", &asked(conditions, order, 5), &limits, 0) {
        Err(PageError::Query(error)) => error,
        other => panic!("{:?}", other.map(|found| found.explain)),
    }
}

#[test]
fn a_query_that_looks_at_too_much_is_refused_with_the_index_it_needs() {
    let (_dir, file) = file(&[]);
    write(&file, &numbered(300));
    let conditions = [("a", "eq", json!(3)), ("b", "ge", json!(0))];
    let error = refused(&file, &conditions, &vec![("b", true)]);
    let wanted = r#"{"name":"by_a_b","paths":["a","-b"]}"#;
    assert!(error.to_string().contains(wanted), "{error}");
    file.declare(declared(&[&["a", "-b"]]), &[0; 32]).expect("declares");
    let error = refused(&file, &conditions, &vec![("b", true)]);
    assert!(error.to_string().contains("is being built"), "{error}");
    while file.build(50).expect("builds") {}
    let used = explained(&file, &conditions, &vec![("b", true)]);
    assert_eq!(used.index.as_deref(), Some("i0"));
    let limits = ProjectionLimits { scan_rows: 100, ..ProjectionLimits::default() };
    let mut query = asked(&[], &vec![], 5);
    query.count = Some(1_000);
    let view = file.view().expect("reads");
    let count = page(&view, "m", &query, &limits, 0).expect("answers").count.expect("was asked");
    assert_eq!((count.rows, count.is_exact), (100, false), "it counts as far as it may");
}

#[test]
fn a_page_ends_at_its_limit_of_bytes_and_goes_on_from_there() {
    let (_dir, file) = file(&[]);
    write(&file, &numbered(20));
    let limits = ProjectionLimits { page_bytes: 80, ..ProjectionLimits::default() };
    let mut query = asked(&[], &vec![], 100);
    let (mut seen, mut pages) = (0, 0);
    loop {
        let found = page(&file.view().expect("reads"), "m", &query, &limits, 0).expect("answers");
        (seen, pages) = (seen + found.rows.len(), pages + 1);
        let Some(next) = found.next else { break };
        query.cursor = Some(next);
    }
    assert_eq!(seen, 20);
    assert!(pages > 3, "{pages}");
}

#[test]
fn fields_are_kept_as_they_are_written() {
    let (_dir, file) = file(&[]);
    let document = r#"{"big": 9007199254740993, "deep": {"list": [1, "two"]}, "x": 1.50}"#;
    let change = RowChange { collection: "m", key: "k", document: Some(document) };
    file.apply([change].into_iter(), &Checkpoint::START, false).expect("writes");
    let mut query = asked(&[], &vec![], 1);
    query.fields = parse_fields("deep.list.1,big,none,x").expect("valid");
    let found = page(&file.view().expect("reads"), "m", &query, &ProjectionLimits::default(), 0);
    let expected = r#"{"deep.list.1":"two","big":9007199254740993,"x":1.50}"#;
    assert_eq!(found.expect("answers").rows[0].document, expected);
}

#[test]
fn what_cannot_be_read_is_said() {
    let long = format!("a:eq:{}", "x".repeat(1025));
    let many = format!("a:in:[{}1]", "1,".repeat(256));
    for bad in [
        "a",
        "a:eq",
        ":eq:1",
        "a..b:eq:1",
        "-a:eq:1",
        "a:like:1",
        "a:in:3",
        "a:in:[[1]]",
        "a:eq:{}",
        "a:exists:maybe",
        &long,
        &many,
    ] {
        let QueryError::Invalid(reason) = Filter::parse(bad).expect_err(bad) else { panic!() };
        assert!(reason.starts_with("where="), "{reason}");
    }
    for bad in ["a,,b", "", "--a", "a,", &"a,".repeat(40)] {
        assert!(parse_order(bad).is_err(), "{bad}");
        assert!(parse_fields(bad).is_err(), "{bad}");
    }
    let (_dir, file) = file(&[]);
    write(&file, &numbered(10));
    let view = file.view().expect("reads");
    let limits = ProjectionLimits::default();
    let next =
        page(&view, "m", &asked(&[], &vec![("a", false)], 2), &limits, 0).expect("answers").next;
    let next = next.expect("there is more");
    for (cursor, order) in [
        ("nonsense", vec![("a", false)]),
        ("", vec![("a", false)]),
        (&next[..next.len() / 4], vec![("a", false)]),
        (&next, vec![("a", true)]),
        (&next, vec![]),
    ] {
        let query = RowsQuery { cursor: Some(cursor.to_owned()), ..asked(&[], &order, 2) };
        let refused = page(&view, "m", &query, &limits, 0);
        assert!(matches!(refused, Err(PageError::Query(QueryError::Invalid(_)))), "{cursor}");
    }
    let other = asked(&[("b", "ge", json!(0))], &vec![("a", false)], 2);
    let query = RowsQuery { cursor: Some(next), ..other };
    assert!(page(&view, "m", &query, &limits, 0).is_err(), "another filter");
}
