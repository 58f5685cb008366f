//! Queries over documents: which, in what order, which page. Pure: documents are offered to it.
//!
//! The order of values: missing, null, false, true, numbers by value, strings by byte, everything
//! else as equal; equal rows come in the order of their keys.

use std::cmp::Ordering;
use std::ops::Bound;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Row;

/// What a page should hold.
#[derive(Clone, Debug, Default)]
pub struct RowsQuery {
    /// All must hold.
    pub filters: Vec<Filter>,
    /// First things first; the key comes last of itself.
    pub order: Vec<Order>,
    /// Most rows.
    pub limit: usize,
    /// Where the page begins: `next` of the one before.
    pub cursor: Option<String>,
}

/// Why a query is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A part of it cannot be read.
    Invalid(String),
    /// It would have to look at more documents than `scan_rows`.
    TooWide {
        /// The limit.
        scan_rows: usize,
    },
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(reason) => f.write_str(reason),
            Self::TooWide { scan_rows } => write!(
                f,
                "this query has to look at more than {scan_rows} documents (scan_rows); order by \
                 key, or ask for less"
            ),
        }
    }
}

impl std::error::Error for QueryError {}

/// A condition on one field.
#[derive(Clone, Debug)]
pub struct Filter {
    path: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Compare(fn(Ordering) -> bool, Value),
    In(Vec<Value>),
    Prefix(String),
    Exists(bool),
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
        if path.is_empty() {
            return Err(invalid("the path is empty"));
        }
        let json = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let test = match op {
            "eq" => Test::Compare(Ordering::is_eq, json),
            "ne" => Test::Compare(Ordering::is_ne, json),
            "lt" => Test::Compare(Ordering::is_lt, json),
            "le" => Test::Compare(Ordering::is_le, json),
            "gt" => Test::Compare(Ordering::is_gt, json),
            "ge" => Test::Compare(Ordering::is_ge, json),
            "in" => match json {
                Value::Array(values) => Test::In(values),
                _ => return Err(invalid("in takes a JSON array")),
            },
            "prefix" => Test::Prefix(value.to_owned()),
            "exists" => match json {
                Value::Bool(exists) => Test::Exists(exists),
                _ => return Err(invalid("exists takes true or false")),
            },
            _ => return Err(invalid("op is one of eq, ne, lt, le, gt, ge, in, prefix, exists")),
        };
        Ok(Self { path: path.to_owned(), test })
    }

    fn holds(&self, document: &Value) -> bool {
        let found = at(document, &self.path);
        match (&self.test, found) {
            (Test::Exists(exists), found) => found.is_some() == *exists,
            (_, None) => false,
            // Only values of one kind compare; of different kinds, they are just not equal.
            (Test::Compare(holds, value), Some(found)) => {
                if rank(Some(found)) == rank(Some(value)) {
                    holds(compare(Some(found), Some(value)))
                } else {
                    holds(Ordering::Less) && holds(Ordering::Greater)
                }
            }
            (Test::In(values), Some(found)) => values.contains(found),
            (Test::Prefix(prefix), Some(found)) => {
                found.as_str().is_some_and(|text| text.starts_with(prefix))
            }
        }
    }
}

/// One field to order by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The field.
    pub path: String,
    /// Largest first.
    pub descending: bool,
}

impl Order {
    /// Parses `path,-other`.
    ///
    /// # Errors
    /// [`QueryError::Invalid`] when a path is empty.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, QueryError> {
        let parse = |term: &str| {
            let (path, descending) = match term.strip_prefix('-') {
                Some(path) => (path, true),
                None => (term, false),
            };
            if path.is_empty() {
                return Err(QueryError::Invalid(format!("order={text}: a path is empty")));
            }
            Ok(Self { path: path.to_owned(), descending })
        };
        text.split(',').map(parse).collect()
    }
}

/// Where the last page ended: the last row's ordered values and its key.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    order: String,
    /// Each as a list of one or, where it is missing, none: null is a value.
    values: Vec<Vec<Value>>,
    key: String,
}

/// A row's ordered values.
type Values = Vec<Option<Value>>;

/// A page that is being filled.
pub(super) struct Page<'a> {
    query: &'a RowsQuery,
    order: String,
    after: Option<(Values, String)>,
    rows: Vec<(Values, Row)>,
    seen: usize,
    scan_rows: usize,
}

impl<'a> Page<'a> {
    pub(super) fn new(query: &'a RowsQuery, scan_rows: usize) -> Result<Self, QueryError> {
        let terms = query
            .order
            .iter()
            .map(|o| if o.descending { format!("-{}", o.path) } else { o.path.clone() });
        let order = terms.collect::<Vec<_>>().join(",");
        let after = query.cursor.as_deref().map(|text| decode(text, &order)).transpose()?;
        Ok(Self { query, order, after, rows: Vec::new(), seen: 0, scan_rows })
    }

    /// Where the scan begins: rows in the order of their keys need not be looked at twice.
    pub(super) fn from(&self) -> Bound<String> {
        match &self.after {
            Some((_, key)) if self.query.order.is_empty() => Bound::Excluded(key.clone()),
            _ => Bound::Unbounded,
        }
    }

    /// Considers a document; the documents come in the order of their keys. False: no more are
    /// needed.
    pub(super) fn offer(&mut self, key: &str, document: &str) -> Result<bool, QueryError> {
        self.seen += 1;
        if self.seen > self.scan_rows {
            return Err(QueryError::TooWide { scan_rows: self.scan_rows });
        }
        let needs_value = !(self.query.filters.is_empty() && self.query.order.is_empty());
        let value = if needs_value {
            serde_json::from_str(document).unwrap_or(Value::Null)
        } else {
            Value::Null
        };
        if !self.query.filters.iter().all(|filter| filter.holds(&value)) {
            return Ok(true);
        }
        let values: Values =
            self.query.order.iter().map(|order| at(&value, &order.path).cloned()).collect();
        let is_after = self
            .after
            .as_ref()
            .is_none_or(|(last, last_key)| self.compare((&values, key), (last, last_key)).is_gt());
        if is_after {
            let row = Row { key: key.to_owned(), document: document.to_owned() };
            self.rows.push((values, row));
        }
        // One more than asked for tells whether there is a next page.
        Ok(!(self.query.order.is_empty() && self.rows.len() > self.query.limit))
    }

    pub(super) fn finish(mut self) -> (Vec<Row>, Option<String>) {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by(|(a, left), (b, right)| self.compare((a, &left.key), (b, &right.key)));
        let more = rows.len() > self.query.limit;
        rows.truncate(self.query.limit);
        let next = rows.last().filter(|_| more).map(|(values, row)| {
            let values = values.iter().map(|value| value.iter().cloned().collect()).collect();
            let cursor = Cursor { order: self.order.clone(), values, key: row.key.clone() };
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
        });
        (rows.into_iter().map(|(_, row)| row).collect(), next)
    }

    fn compare(&self, left: (&Values, &str), right: (&Values, &str)) -> Ordering {
        let values = left.0.iter().zip(right.0).zip(&self.query.order);
        values
            .map(|((a, b), order)| {
                let ordering = compare(a.as_ref(), b.as_ref());
                if order.descending { ordering.reverse() } else { ordering }
            })
            .find(|ordering| ordering.is_ne())
            .unwrap_or_else(|| left.1.cmp(right.1))
    }
}

fn decode(text: &str, order: &str) -> Result<(Values, String), QueryError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let cursor = bytes.and_then(|bytes| serde_json::from_slice::<Cursor>(&bytes).ok());
    let cursor = cursor.filter(|cursor| cursor.order == order).ok_or_else(|| {
        QueryError::Invalid("the cursor is not one of this query; begin again without it".into())
    })?;
    let value = |mut value: Vec<Value>| value.pop();
    Ok((cursor.values.into_iter().map(value).collect(), cursor.key))
}

/// The value at a path of dots.
fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, field| value.get(field))
}

fn rank(value: Option<&Value>) -> u8 {
    match value {
        None => 0,
        Some(Value::Null) => 1,
        Some(Value::Bool(_)) => 2,
        Some(Value::Number(_)) => 3,
        Some(Value::String(_)) => 4,
        Some(Value::Array(_) | Value::Object(_)) => 5,
    }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(Value::Number(a)), Some(Value::Number(b))) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => {
                let float = |n: &serde_json::Number| n.as_f64().unwrap_or_default();
                float(a).total_cmp(&float(b))
            }
        },
        _ => rank(a).cmp(&rank(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: [(&str, &str); 5] = [
        ("a", r#"{"n":2,"name":"two"}"#),
        ("b", r#"{"n":10,"name":"ten"}"#),
        ("c", r#"{"n":2.5,"name":null}"#),
        ("d", r#"{"name":"none"}"#),
        ("e", r#"{"n":2,"deep":{"x":true}}"#),
    ];

    fn keys(query: &RowsQuery) -> (Vec<String>, Option<String>) {
        let mut page = Page::new(query, 100).expect("valid");
        for (key, document) in DOCUMENTS {
            if !page.offer(key, document).expect("within limits") {
                break;
            }
        }
        let (rows, next) = page.finish();
        (rows.into_iter().map(|row| row.key).collect(), next)
    }

    fn filtered(filters: &[&str]) -> Vec<String> {
        let filters = filters.iter().map(|text| Filter::parse(text).expect("valid")).collect();
        keys(&RowsQuery { filters, limit: 10, ..RowsQuery::default() }).0
    }

    #[test]
    fn filters_compare_values_of_one_kind() {
        assert_eq!(filtered(&["n:eq:2"]), ["a", "e"]);
        assert_eq!(filtered(&["n:ge:2.5"]), ["b", "c"]);
        assert_eq!(filtered(&["n:gt:2", "name:prefix:t"]), ["b"]);
        assert_eq!(filtered(&["n:in:[10,2.5]"]), ["b", "c"]);
        assert_eq!(filtered(&["n:exists:false"]), ["d"]);
        assert_eq!(filtered(&["deep.x:eq:true"]), ["e"]);
        assert_eq!(filtered(&["name:ne:two"]), ["b", "c", "d"]);
        assert_eq!(filtered(&["name:lt:5"]), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for bad in ["n", "n:eq", ":eq:1", "n:like:1", "n:in:3", "n:exists:maybe"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        assert!(Order::parse_list("a,,b").is_err());
        let query = RowsQuery { cursor: Some("nonsense".into()), ..RowsQuery::default() };
        assert!(Page::new(&query, 1).is_err());
    }

    #[test]
    fn pages_follow_each_other_in_order() {
        let order = Order::parse_list("-n,name").expect("valid");
        let mut query = RowsQuery { order, limit: 2, ..RowsQuery::default() };
        let mut seen = Vec::new();
        loop {
            let (keys, next) = keys(&query);
            seen.extend(keys);
            let Some(next) = next else { break };
            query.cursor = Some(next);
        }
        assert_eq!(seen, ["b", "c", "e", "a", "d"]);
    }

    #[test]
    fn a_query_looks_at_no_more_than_it_may() {
        let query = RowsQuery { limit: 10, ..RowsQuery::default() };
        let mut page = Page::new(&query, 1).expect("valid");
        assert_eq!(page.offer("a", "{}"), Ok(true));
        assert_eq!(page.offer("b", "{}"), Err(QueryError::TooWide { scan_rows: 1 }));
    }
}
