use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn value(json: &str) -> Value {
    Value::of(Some(json))
}

/// One of each kind and its edges, in order; those of one line are equal.
const IN_ORDER: &[&[&str]] = &[
    &["null"],
    &["false"],
    &["true"],
    &["-1e4000000000", "-1e5000000000"],
    &["-1e400"],
    &["-9007199254740993"],
    &["-9007199254740992", "-9007199254740992.0"],
    &["-10"],
    &["-9.99"],
    &["-0.5", "-5e-1"],
    &["-1e-400"],
    &["0", "-0", "0.0", "0e5"],
    &["1e-400"],
    &["0.5"],
    &["1", "1.0", "1e0", "0.1e1", "10e-1"],
    &["1.05"],
    &["1.5"],
    &["9"],
    &["10", "1e1"],
    &["100"],
    &["9007199254740992"],
    &["9007199254740993"],
    &["123456789012345678901234567890"],
    &["123456789012345678901234567891"],
    &["1e400"],
    &[r#""""#],
    &[r#""\u0000""#],
    &[r#""\u0000a""#],
    &[r#""\u0001""#],
    &[r#""10""#],
    &[r#""9""#],
    &[r#""a""#, r#""\u0061""#],
    &[r#""a\u0000""#],
    &[r#""ab""#],
    &[r#""ä""#],
    &["[]", "{}", "[1,2]", r#"{"a":1}"#],
];

#[test]
fn values_of_all_kinds_sort_as_they_should() {
    let flat: Vec<_> = IN_ORDER
        .iter()
        .enumerate()
        .flat_map(|(at, equal)| equal.iter().map(move |v| (at, *v)))
        .collect();
    for (left_at, left) in &flat {
        assert!(Value::of(None) < value(left), "missing comes first");
        for (right_at, right) in &flat {
            assert_eq!(value(left).cmp(&value(right)), left_at.cmp(right_at), "{left} and {right}");
        }
    }
}

#[test]
fn what_is_too_long_is_compared_by_its_beginning() {
    let text = |n: usize, end: &str| Value::text(&("x".repeat(n) + end));
    assert_eq!(text(TEXT_BYTES, "a"), text(TEXT_BYTES, "b"));
    assert!(text(TEXT_BYTES, "") < text(TEXT_BYTES, "a"));
    assert!(text(TEXT_BYTES, "a") < text(TEXT_BYTES - 1, "y"));
    let number = |end: &str| value(&("9".repeat(TEXT_BYTES) + end));
    assert_eq!(number("1.5"), number("1.25"));
    assert!(number("") < number("1"), "another power of ten");
    assert!(
        value(&format!("0.{}", "9".repeat(TEXT_BYTES)))
            < value(&format!("0.{}1", "9".repeat(TEXT_BYTES)))
    );
}

#[test]
fn paths_lead_into_objects_and_arrays() {
    let document = r#" {"a":{"b":[10,{"c":null}],"0":"zero"},"big":1e999,"\u0064":7,"a.b":1} "#;
    let find = |path: &str| Path::parse(path).expect(path).find(document);
    assert_eq!(find("a.b.0"), Some("10"));
    assert_eq!(find("a.b.1.c"), Some("null"));
    assert_eq!(find("a.0"), Some(r#""zero""#));
    assert_eq!(find("big"), Some("1e999"));
    assert_eq!(find("d"), Some("7"));
    for nothing in ["a.b.2", "a.b.x", "a.b.+1", "big.x", "x", "a.b.1.c.d"] {
        assert_eq!(find(nothing), None, "{nothing}");
    }
    for bad in
        ["", ".", "a.", ".a", "a..b", "-a", "a:b", "a,b", "a\n", &"a".repeat(256), &"a.".repeat(17)]
    {
        assert!(Path::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_unique_index_lets_documents_without_a_value_be() {
    let index = Index::new("i", &["a".into(), "-b".into()], true).expect("valid");
    assert!(index.entry(r#"{"a":1,"b":2}"#).claims);
    assert!(!index.entry(r#"{"a":1,"b":null}"#).claims);
    assert!(!index.entry(r#"{"b":2}"#).claims);
    assert!(index.key_descending());
    for bad in [&[][..], &["a", "a"], &["a", "-a"], &["a..b"]] {
        let paths: Vec<String> = bad.iter().map(ToString::to_string).collect();
        assert!(Index::new("i", &paths, false).is_err(), "{bad:?}");
    }
}

/// The same order, written down a second time.
fn order(left: &Json, right: &Json) -> Ordering {
    let rank = |value: &Json| match value {
        Json::Null => 0,
        Json::Bool(value) => 1 + u8::from(*value),
        Json::Number(_) => 3,
        Json::String(_) => 4,
        _ => 5,
    };
    match (left, right) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().partial_cmp(&b.as_f64()).expect("no NaN in JSON"),
        },
        (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn any_value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-50i32..50).prop_map(Json::from),
        // Quarters are exact in both ways of writing them.
        (-1000i32..1000).prop_map(|n| json!(f64::from(n) / 4.0)),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Json::from),
        "[a-c\\x00\\x01\u{e4}]{0,4}".prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        Just(json!([1])),
        Just(json!({})),
    ]
}

proptest! {
    #[test]
    fn bytes_sort_like_values(left in any_value(), right in any_value()) {
        // Digits of a float and of a whole number beyond 2^53 are another matter: not comparable
        // through floats.
        let mixed = left.is_f64() != right.is_f64() && left.is_number() && right.is_number();
        let large = |v: &Json| v.as_f64().is_some_and(|n| n.abs() > 9e15);
        prop_assume!(!(mixed && (large(&left) || large(&right))));
        let (a, b) = (value(&left.to_string()), value(&right.to_string()));
        prop_assert_eq!(a.cmp(&b), order(&left, &right));
        prop_assert_eq!(complement(a.as_bytes()).cmp(&complement(b.as_bytes())), order(&right, &left));
        if a != b {
            prop_assert!(!a.as_bytes().starts_with(b.as_bytes()), "one begins with the other");
        }
    }

    #[test]
    fn whole_numbers_keep_every_digit(left in "-?[1-9][0-9]{0,40}", right in "-?[1-9][0-9]{0,40}") {
        let key = |text: &str| {
            let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
            (negative, digits.len(), digits.to_owned())
        };
        let (a, b) = (key(&left), key(&right));
        let expected = match (a.0, b.0) {
            (false, false) => (a.1, a.2).cmp(&(b.1, b.2)),
            (true, true) => (b.1, b.2).cmp(&(a.1, a.2)),
            (a, b) => b.cmp(&a),
        };
        prop_assert_eq!(value(&left).cmp(&value(&right)), expected);
    }

    #[test]
    fn a_prefix_spans_the_texts_that_begin_with_it(text in "[ab\\x00]{0,4}", prefix in "[ab\\x00]{0,3}") {
        let (encoded, from) = (Value::text(&text), Value::prefix(&prefix));
        let end = next_after(&from).expect("there is more");
        let inside = *encoded.as_bytes() >= *from && *encoded.as_bytes() < *end;
        prop_assert_eq!(inside, text.starts_with(&prefix));
    }
}
