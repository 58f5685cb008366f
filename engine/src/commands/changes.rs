//! What changed between two JSON texts, by place. Numbers are compared as they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A place of a state that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Where, as a JSON pointer; empty is all of it.
    pub pointer: String,
    /// What was there, as JSON; none where there was nothing.
    pub before: Option<String>,
    /// What is there now; none where there is nothing any more.
    pub after: Option<String>,
}

/// What is otherwise in `after`: objects field by field, arrays of one length place by place,
/// everything else whole.
pub(super) fn changes(before: Option<&str>, after: &str) -> Vec<StateChange> {
    let mut found = Vec::new();
    compare(String::new(), before, Some(after), &mut found);
    found
}

fn compare(
    pointer: String,
    before: Option<&str>,
    after: Option<&str>,
    found: &mut Vec<StateChange>,
) {
    if before == after {
        return;
    }
    if let (Some(before), Some(after)) = (before, after)
        && let (Some(old), Some(new)) = (parts(before), parts(after))
        && old.is_object == new.is_object
        && (old.is_object || old.parts.len() == new.parts.len())
    {
        let mut keys: Vec<_> = old.parts.keys().chain(new.parts.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let step = key.text().replace('~', "~0").replace('/', "~1");
            let of = |parts: &BTreeMap<Step<'_>, &RawValue>| {
                parts.get(key).map(|raw| raw.get().to_owned())
            };
            let (old, new) = (of(&old.parts), of(&new.parts));
            compare(format!("{pointer}/{step}"), old.as_deref(), new.as_deref(), found);
        }
        return;
    }
    let [before, after] = [before, after].map(|json| json.map(ToOwned::to_owned));
    found.push(StateChange { pointer, before, after });
}

/// A field or a place; places sort as numbers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step<'a> {
    Place(usize),
    Field(Cow<'a, str>),
}

impl Step<'_> {
    fn text(&self) -> String {
        match self {
            Self::Place(at) => at.to_string(),
            Self::Field(name) => name.to_string(),
        }
    }
}

struct Parts<'a> {
    is_object: bool,
    parts: BTreeMap<Step<'a>, &'a RawValue>,
}

/// The fields of an object, or the elements of an array.
fn parts(json: &str) -> Option<Parts<'_>> {
    if json.starts_with('{') {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json).ok()?;
        let parts = fields.into_iter().map(|(name, value)| (Step::Field(name), value)).collect();
        return Some(Parts { is_object: true, parts });
    }
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let parts = (0..).map(Step::Place).zip(elements).collect();
    Some(Parts { is_object: false, parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_by_its_place() {
        let before = r#"{"a":1,"b":{"x/y":[1,{"z":2}],"gone":null},"c":[1]}"#;
        let after = r#"{"a":1.0,"b":{"x/y":[1,{"z":3}]},"c":[1,2],"new":"n"}"#;
        let found = changes(Some(before), after);
        let shown: Vec<_> = found
            .iter()
            .map(|c| (c.pointer.as_str(), c.before.as_deref(), c.after.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("/a", Some("1"), Some("1.0")),
                ("/b/gone", Some("null"), None),
                ("/b/x~1y/1/z", Some("2"), Some("3")),
                ("/c", Some("[1]"), Some("[1,2]")),
                ("/new", None, Some("\"n\"")),
            ]
        );
        assert_eq!(changes(Some(after), after), []);
        assert_eq!(changes(None, "{}").len(), 1);
        assert_eq!(changes(Some("[]"), "{}").len(), 1);
    }
}
