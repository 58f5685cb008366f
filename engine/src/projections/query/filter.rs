//! Conditions on one value, as ranges of its bytes.

use serde_json::value::RawValue;

use super::QueryError;
use crate::document::{Kind, Path, TEXT_BYTES, Value, next_after};

/// Most values of one `in`. 256: each is a range of its own.
const MOST_VALUES: usize = 256;

/// A condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    path: Path,
    spans: Vec<Span>,
}

/// Values from some bytes on, and before others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
    /// Whether it holds one value only.
    pub(super) is_point: bool,
}

impl Span {
    fn new((from, to): (Vec<u8>, Vec<u8>)) -> Self {
        Self { from, to, is_point: false }
    }

    fn point(value: &Value) -> Self {
        let (from, to) = (value.as_bytes().to_vec(), after(value.as_bytes()));
        Self { from, to, is_point: true }
    }

    pub(super) fn holds(&self, value: &[u8]) -> bool {
        *self.from <= *value && *value < *self.to
    }
}

/// What comes after everything that begins with some bytes.
pub(super) fn after(bytes: &[u8]) -> Vec<u8> {
    // No value begins with it.
    next_after(bytes).unwrap_or_else(|| vec![u8::MAX])
}

/// What lies in both, in order.
pub(super) fn both(left: &[Span], right: &[Span]) -> Vec<Span> {
    let mut both: Vec<_> = left
        .iter()
        .flat_map(|a| right.iter().map(move |b| (a, b)))
        .map(|(a, b)| Span {
            from: a.from.clone().max(b.from.clone()),
            to: a.to.clone().min(b.to.clone()),
            is_point: a.is_point || b.is_point,
        })
        .filter(|span| span.from < span.to)
        .collect();
    both.sort_unstable();
    both
}

impl Filter {
    /// Parses `path:op:value`. The first two colons split; the value is JSON where it parses,
    /// else text; `in` takes a JSON array, `exists` takes true or false.
    ///
    /// # Errors
    /// [`QueryError::Invalid`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let invalid = |reason: &str| QueryError::Invalid(format!("where={text}: {reason}"));
        let mut parts = text.splitn(3, ':');
        let (Some(path), Some(op), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(invalid("it must be path:op:value"));
        };
        let path = Path::parse(path).map_err(|error| invalid(&format!("{path:?} is {error}")))?;
        let json = serde_json::from_str::<&RawValue>(value).ok().map(|raw| raw.get().trim());
        let spans = match op {
            "in" => one_of(json),
            "exists" => exists(json),
            "prefix" => prefix(value, json),
            _ => one(value, json).and_then(|value| compared(op, &value)),
        };
        let mut spans = spans.map_err(|reason| invalid(&reason))?;
        spans.retain(|span| span.from < span.to);
        Ok(Self { path, spans })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }
}

/// What compares with one value: only values of its kind are less or greater; `ne` holds for every
/// other value, and not where there is none.
fn compared(op: &str, value: &Value) -> Result<Vec<Span>, String> {
    let (first, last) = value.kind().span();
    let (at, after) = (value.as_bytes().to_vec(), after(value.as_bytes()));
    let (least, most) = something();
    Ok(match op {
        "eq" => vec![Span::point(value)],
        "ne" => vec![Span::new((least, at)), Span::new((after, most))],
        "lt" => vec![Span::new((first, at))],
        "le" => vec![Span::new((first, after))],
        "gt" => vec![Span::new((after, last))],
        "ge" => vec![Span::new((at, last))],
        _ => return Err("op is one of eq, ne, lt, le, gt, ge, in, prefix, exists".into()),
    })
}

/// Everything that is not missing.
fn something() -> (Vec<u8>, Vec<u8>) {
    (Kind::Null.span().0, Kind::Other.span().1)
}

fn one(text: &str, json: Option<&str>) -> Result<Value, String> {
    if text.len() > TEXT_BYTES {
        return Err(format!("a value may have {TEXT_BYTES} bytes"));
    }
    let value = json.map_or_else(|| Value::text(text), |json| Value::of(Some(json)));
    match value.kind() {
        Kind::Other => Err("arrays and objects are not compared; name a path into them".into()),
        _ => Ok(value),
    }
}

fn one_of(json: Option<&str>) -> Result<Vec<Span>, String> {
    let values = json.and_then(|json| serde_json::from_str::<Vec<&RawValue>>(json).ok());
    let values = values.ok_or("in takes a JSON array")?;
    if values.len() > MOST_VALUES {
        return Err(format!("in takes {MOST_VALUES} values at most"));
    }
    let value = |raw: &&RawValue| one(raw.get(), Some(raw.get())).map(|value| Span::point(&value));
    let mut spans = values.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    spans.sort_unstable();
    spans.dedup();
    Ok(spans)
}

fn exists(json: Option<&str>) -> Result<Vec<Span>, String> {
    match json {
        Some("true") => Ok(vec![Span::new(something())]),
        Some("false") => Ok(vec![Span { is_point: true, ..Span::new(Kind::Missing.span()) }]),
        _ => Err("exists takes true or false".into()),
    }
}

fn prefix(text: &str, json: Option<&str>) -> Result<Vec<Span>, String> {
    if text.len() > TEXT_BYTES {
        return Err(format!("a value may have {TEXT_BYTES} bytes"));
    }
    let quoted = json.and_then(|json| serde_json::from_str::<String>(json).ok());
    let from = Value::prefix(quoted.as_deref().unwrap_or(text));
    let to = after(&from);
    Ok(vec![Span::new((from, to))])
}
