//! Queries over documents: which, in what order, which page. Pure but for [`page`], which reads.
//!
//! Filters and orders are ranges of bytes over the values that `document` makes: a query means the
//! same whether an index answers it or every document is looked at. Rows whose ordered values are
//! equal come by their keys, in the direction of the last of them.

mod cursor;
mod filter;
mod page;
mod plan;

use std::collections::BTreeMap;

use crate::document::{Index, Part, Path, entry_key};
use crate::faults::{Mutant, is_on};

pub use filter::Filter;
use filter::{Span, both};
pub use page::page;

/// Most filters of a query, terms of its order and fields it asks for, each. 32: more than any
/// page needs, and each is looked for in every document.
const MOST_TERMS: usize = 32;

/// What a page should hold.
#[derive(Clone, Debug, Default)]
pub struct RowsQuery {
    /// All must hold.
    pub filters: Vec<Filter>,
    /// First things first; the key comes last of itself.
    pub order: Vec<Part>,
    /// Most rows.
    pub limit: usize,
    /// Where the page begins: `next` of the one before.
    pub cursor: Option<String>,
    /// Only these fields of the documents; none given: all.
    pub fields: Vec<Path>,
    /// Count the rows of all pages, up to this many.
    pub count: Option<usize>,
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
        /// The index that would help, as the manifest writes it; none where it is there already.
        index: Option<String>,
        /// Whether it is there and being built.
        is_building: bool,
    },
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scan_rows, index, is_building) = match self {
            Self::Invalid(reason) => return f.write_str(reason),
            Self::TooWide { scan_rows, index, is_building } => (scan_rows, index, is_building),
        };
        write!(f, "this query looks at more than {scan_rows} documents (scan_rows); ")?;
        match index {
            Some(index) if *is_building => write!(f, "its index {index} is being built: ask again"),
            Some(index) => write!(f, "declare the index {index}, or ask for less"),
            None => f.write_str("no index narrows it further: ask for less"),
        }
    }
}

impl std::error::Error for QueryError {}

/// Parses `path,-other`: the terms of an order.
///
/// # Errors
/// [`QueryError::Invalid`] when a term is no path, or there are too many.
pub fn parse_order(text: &str) -> Result<Vec<Part>, QueryError> {
    terms("order", text, |term| Part::parse(term).map_err(|error| error.to_string()))
}

/// Parses `path,other`: the fields of documents.
///
/// # Errors
/// [`QueryError::Invalid`] when one is no path, or there are too many.
pub fn parse_fields(text: &str) -> Result<Vec<Path>, QueryError> {
    terms("fields", text, |term| Path::parse(term).map_err(|error| error.to_string()))
}

fn terms<T>(
    parameter: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, QueryError> {
    let invalid = |reason: String| QueryError::Invalid(format!("{parameter}={text}: {reason}"));
    if text.split(',').count() > MOST_TERMS {
        return Err(invalid(format!("it may have {MOST_TERMS} terms")));
    }
    let parse = |term: &str| parse(term).map_err(|error| invalid(format!("{term:?} is {error}")));
    text.split(',').map(parse).collect()
}

/// A query without what says nothing: one condition a path, no order by what is fixed.
#[derive(Debug)]
struct Query {
    conditions: BTreeMap<Path, Vec<Span>>,
    order: Vec<Part>,
    /// Whether rows that are equal otherwise come with the largest key first.
    key_descending: bool,
}

impl Query {
    fn new(query: &RowsQuery) -> Result<Self, QueryError> {
        if query.filters.len() > MOST_TERMS {
            return Err(QueryError::Invalid(format!("where may be given {MOST_TERMS} times")));
        }
        let mut conditions = BTreeMap::<Path, Vec<Span>>::new();
        for filter in &query.filters {
            let spans = match conditions.remove(filter.path()) {
                Some(before) => both(&before, filter.spans()),
                None => filter.spans().to_vec(),
            };
            conditions.insert(filter.path().clone(), spans);
        }
        let mut order = Vec::<Part>::new();
        for part in &query.order {
            let is_fixed = conditions.get(&part.path).is_some_and(|spans| is_fixed(spans));
            if !is_fixed && order.iter().all(|before| before.path != part.path) {
                order.push(part.clone());
            }
        }
        let key_descending = query.order.last().is_some_and(|part| part.descending);
        Ok(Self { conditions, order, key_descending })
    }

    /// Where a document stands in the order: bytes that sort like the rows of all pages.
    fn place(&self, key: &str, document: &str) -> Vec<u8> {
        let mut place = Vec::with_capacity(64);
        for part in &self.order {
            let value = crate::document::Value::of(part.path.find(document));
            place.extend_from_slice(&part.directed(value.as_bytes()));
        }
        if is_on(Mutant::CursorWithoutKey) && !self.order.is_empty() {
            place.push(u8::MAX);
            return place;
        }
        place.extend_from_slice(&entry_key(key, self.key_descending));
        place
    }

    /// The index that would serve it, if it could be served better.
    fn wanted_index(&self) -> Option<Index> {
        let (mut fixed, mut ranged) = (Vec::new(), Vec::new());
        for (path, spans) in &self.conditions {
            if is_fixed(spans) {
                fixed.push(path.to_string());
            } else {
                ranged.push(path.to_string());
            }
        }
        let rest = match self.order.is_empty() {
            true => ranged.into_iter().take(1).collect(),
            false => self.order.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        let paths: Vec<_> = fixed.into_iter().chain(rest).collect();
        let mut name = String::from("by");
        for path in &paths {
            name.push('_');
            let steps = path.trim_start_matches('-').to_ascii_lowercase();
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            name.extend(steps.chars().map(plain));
        }
        name.truncate(63);
        Index::new(&name, &paths, false).ok()
    }
}

/// Whether only one value is left.
fn is_fixed(spans: &[Span]) -> bool {
    matches!(spans, [one] if one.is_point)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
