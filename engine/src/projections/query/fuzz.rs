//! The grammar of queries and their cursors under mutations.

use serde_json::value::RawValue;

use super::*;
use crate::document::{TEXT_BYTES, Value};
use crate::fuzz;

/// The same condition with its value as compact JSON.
fn printed(text: &str) -> String {
    let mut parts = text.splitn(3, ':');
    let mut next = || parts.next().expect("was parsed");
    let (path, op, value) = (next(), next(), next());
    // The beginning of a text is a text, whatever it looks like.
    let is_other = op == "prefix" && serde_json::from_str::<String>(value).is_err();
    let json = serde_json::from_str::<&RawValue>(value).ok().filter(|_| !is_other);
    let json = match json.map(RawValue::get) {
        Some(json) => crate::json::compact(json).map_or_else(|_| json.to_owned(), Into::into),
        None => serde_json::Value::from(value).to_string(),
    };
    format!("{path}:{op}:{json}")
}

fn with(text: &str, op: &str) -> Option<Filter> {
    let mut parts = text.splitn(3, ':');
    let (path, _, value) = (parts.next()?, parts.next()?, parts.next()?);
    Filter::parse(&format!("{path}:{op}:{value}")).ok()
}

fn holds(filter: &Filter, value: &Value) -> bool {
    filter.spans().iter().any(|span| span.holds(value.as_bytes()))
}

/// How the conditions over one value hang together, for values around it.
fn laws(text: &str) {
    let all = ["eq", "ne", "lt", "le", "gt", "ge"].map(|op| with(text, op));
    let [Some(eq), Some(ne), Some(lt), Some(le), Some(gt), Some(ge)] = all else { return };
    let of = |json: &str| Value::of(Some(json));
    let own = text.splitn(3, ':').nth(2).unwrap_or_default();
    let own = serde_json::from_str::<&RawValue>(own)
        .map_or_else(|_| Value::text(own), |raw| of(raw.get().trim()));
    assert!(holds(&eq, &own) && holds(&le, &own) && holds(&ge, &own) && !holds(&ne, &own));
    for json in ["null", "false", "true", "-1e9", "0", "7.5", "1e400", "\"\"", "\"Ann\"", "[]"] {
        let value = of(json);
        let is = |filter| holds(filter, &value);
        assert_eq!(is(&eq), !is(&ne), "{json}");
        assert_eq!(is(&le), is(&lt) || is(&eq), "{json}");
        assert_eq!(is(&ge), is(&gt) || is(&eq), "{json}");
        assert!(!(is(&lt) && is(&gt)), "{json}");
        // Of two of a kind, one is less or they are equal.
        assert_eq!(is(&lt) || is(&eq) || is(&gt), value.kind() == own.kind(), "{json}");
    }
}

fn each(text: &str) {
    if let Ok(order) = fuzz::is_bounded(text.as_bytes(), || parse_order(text)) {
        let printed: Vec<_> = order.iter().map(ToString::to_string).collect();
        assert_eq!(parse_order(&printed.join(",")), Ok(order));
    }
    drop(fuzz::is_bounded(text.as_bytes(), || parse_fields(text)));
    let Ok(filter) = fuzz::is_bounded(text.as_bytes(), || Filter::parse(text)) else { return };
    let printed = printed(text);
    // With its escapes it may be longer than a value may be.
    if printed.len() < TEXT_BYTES {
        assert_eq!(Filter::parse(&printed).as_ref(), Ok(&filter), "{printed}");
    }
    laws(text);
    let asked = RowsQuery { filters: vec![filter.clone(), filter], ..RowsQuery::default() };
    drop(Query::new(&asked).expect("is one"));
}

#[test]
fn conditions_are_printed_as_they_were_parsed() {
    let dictionary = [
        ":eq:",
        ":ne:",
        ":lt:",
        ":le:",
        ":gt:",
        ":ge:",
        ":in:[",
        ":prefix:",
        ":exists:true",
        ".",
        "-",
        ",",
        "null",
        "1e-7",
        "\"\\ud800\"",
        "-0.0",
        "\u{0}",
    ];
    fuzz::run("where", &dictionary, 12_000, |bytes| each(&String::from_utf8_lossy(bytes)));
}

#[test]
fn a_cursor_that_was_changed_is_refused() {
    let filter = |text| Filter::parse(text).expect("is one");
    let queries = [vec![], vec![filter("a:eq:1")], vec![filter("a:eq:2")]]
        .map(|filters| Query::new(&RowsQuery { filters, ..RowsQuery::default() }).expect("is one"));
    let [plain, one, two] = &queries;
    fuzz::run("cursors", &["A", "_", "-", "=", "AQ"], 12_000, |bytes| {
        let text = cursor::encode("m", one, bytes);
        assert_eq!(cursor::decode("m", one, &text), Ok(bytes.to_vec()));
        for (model, query) in [("n", one), ("m", two), ("m", plain)] {
            assert!(cursor::decode(model, query, &text).is_err());
        }
        for at in [0, 1, 5, text.len() / 2, text.len() - 1] {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(cursor::decode("m", one, &changed).is_err(), "{text} {changed}");
            assert!(cursor::decode("m", one, &text[..at]).is_err());
        }
        // Whatever is taken for a cursor is one that was given.
        let given = String::from_utf8_lossy(bytes);
        if let Ok(place) = fuzz::is_bounded(bytes, || cursor::decode("m", one, &given)) {
            assert_eq!(cursor::encode("m", one, &place), given);
        }
    });
}
