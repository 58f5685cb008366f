//! Values of JSON bodies taken into their types: what does not fit is refused with its place.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::names::NameError;

use super::error::{Fault, INVALID_BODY, INVALID_NAME, Kind, More, Problem};

/// An object of a known shape.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a str, pointer: &str) -> Result<T, Problem> {
    // serde would take an array for an object's fields in their order.
    if !json.starts_with('{') {
        return Err(invalid_at(pointer, "it must be an object"));
    }
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        invalid_at(pointer, text.split(" at line ").next().unwrap_or_default())
    })
}

/// A name at a place.
pub(super) fn name_at<T>(
    text: &str,
    pointer: &str,
    parse: impl Fn(&str) -> Result<T, NameError>,
) -> Result<T, Problem> {
    parse(text).map_err(|error| problem(&INVALID_NAME, pointer, &error.to_string()))
}

/// A value that cannot be used.
pub(super) fn invalid_at(pointer: &str, detail: &str) -> Problem {
    problem(&INVALID_BODY, pointer, detail)
}

/// More of something than a limit allows.
pub(super) fn beyond(pointer: &str, most: usize, limit: &'static str) -> Problem {
    let detail = format!("there may be {most} here ({limit})");
    let errors = vec![Fault::at(pointer.to_owned(), detail.clone())];
    let more = More { errors, limit: Some(limit), ..More::default() };
    Problem::new(&INVALID_BODY, format!("{pointer}: {detail}")).with(more)
}

/// A field that may hold null, told from one that is not there.
pub(super) fn given<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn problem(kind: &'static Kind, pointer: &str, detail: &str) -> Problem {
    let place = if pointer.is_empty() { "the body" } else { pointer };
    let errors = vec![Fault::at(pointer.to_owned(), detail)];
    Problem::new(kind, format!("{place}: {detail}")).with(More { errors, ..More::default() })
}
