//! Reading a page: the plans of a query tried on one view of the documents.

use std::collections::BinaryHeap;
use std::ops::Bound;

use super::plan::{Plan, plans};
use super::{Query, QueryError, RowsQuery, cursor};
use crate::document::{Value, complement};
use crate::projections::ProjectionLimits;
use crate::projections::read_model::{Count, Explain, PageError, Row, RowsPage};
use crate::storage::read_models::{IndexView, ReadModelError, View};

/// Plans that are tried before a query is refused. 3: a refusal takes three scans.
const TRIED: usize = 3;

/// Answers a query over a read model from a view of its file, at a position that the view has.
///
/// # Errors
/// [`PageError`] when the query asks for too much or the file cannot be read.
pub fn page(
    view: &View,
    read_model: &str,
    asked: &RowsQuery,
    limits: &ProjectionLimits,
    position: u64,
) -> Result<RowsPage, PageError> {
    let query = Query::new(asked).map_err(PageError::Query)?;
    let after = asked.cursor.as_deref().map(|text| cursor::decode(read_model, &query, text));
    let after = after.transpose().map_err(PageError::Query)?;
    let indexes: Vec<_> = view.indexes_of(read_model).filter(|index| index.is_whole()).collect();
    let known: Vec<_> = indexes.iter().map(|index| index.index()).collect();
    let plans = plans(&query, &known);
    let mut scan =
        Scan { view, read_model, query: &query, indexes: &indexes, limits, looked_at: 0 };
    let mut found = None;
    for plan in plans.iter().take(TRIED) {
        scan.looked_at = 0;
        if let Some(rows) = scan.rows(plan, after.as_deref(), asked.limit).map_err(file)? {
            found = Some((plan, rows));
            break;
        }
    }
    let Some((plan, (mut rows, more))) = found else {
        return Err(PageError::Query(too_wide(view, read_model, &query, limits)));
    };
    let explain = scan.explain(plan);
    let last = rows.last().filter(|_| more).map(|row| query.place(&row.key, &row.document));
    let next = last.map(|place| cursor::encode(read_model, &query, &place));
    if !asked.fields.is_empty() {
        rows.iter_mut().for_each(|row| row.document = asked.only_fields(&row.document));
    }
    let count = asked.count.map(|most| scan.count(&plans, most)).transpose().map_err(file)?;
    Ok(RowsPage { rows, next, position, count, explain })
}

fn file(error: ReadModelError) -> PageError {
    PageError::File(error)
}

fn too_wide(view: &View, read_model: &str, query: &Query, limits: &ProjectionLimits) -> QueryError {
    let wanted = query.wanted_index();
    let same = |index: &&IndexView| {
        wanted.as_ref().is_some_and(|wanted| wanted.parts == index.index().parts)
    };
    let there = view.indexes_of(read_model).find(same).map(IndexView::is_whole);
    let index = wanted.filter(|_| there != Some(true)).map(|wanted| {
        let paths: Vec<_> = wanted.parts.iter().map(ToString::to_string).collect();
        serde_json::json!({ "name": wanted.name, "paths": paths }).to_string()
    });
    QueryError::TooWide { scan_rows: limits.scan_rows, index, is_building: there == Some(false) }
}

impl RowsQuery {
    /// An object of the fields that are asked for, named by their paths, as they are written.
    fn only_fields(&self, document: &str) -> String {
        let mut out = String::from("{");
        for path in &self.fields {
            let Some(json) = path.find(document) else { continue };
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(path.as_str()).to_string());
            out.push(':');
            out.push_str(json);
        }
        out.push('}');
        out
    }
}

/// A row's place in the order, and its key.
type Placed = (Vec<u8>, String);

struct Scan<'a> {
    view: &'a View,
    read_model: &'a str,
    query: &'a Query,
    indexes: &'a [&'a IndexView],
    limits: &'a ProjectionLimits,
    looked_at: usize,
}

impl Scan<'_> {
    /// The first rows after a place, and whether there are more; none where that takes looking at
    /// too many.
    fn rows(
        &mut self,
        plan: &Plan,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<(Vec<Row>, bool)>, ReadModelError> {
        if plan.in_order {
            return self.rows_in_order(plan, after, limit);
        }
        let Some(mut first) = self.places(plan, after, limit)? else { return Ok(None) };
        let mut more = first.len() > limit;
        first.truncate(limit);
        let (mut rows, mut bytes) = (Vec::with_capacity(first.len()), 0);
        for (_, key) in first {
            if bytes > self.limits.page_bytes {
                more = true;
                break;
            }
            let Some(document) = self.view.get(self.read_model, &key)? else { continue };
            bytes += document.len();
            rows.push(Row { key, document });
        }
        Ok(Some((rows, more)))
    }

    /// The same where they come in the order that is asked for.
    fn rows_in_order(
        &mut self,
        plan: &Plan,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<(Vec<Row>, bool)>, ReadModelError> {
        let (mut rows, mut bytes, mut more) = (Vec::with_capacity(limit), 0, false);
        let page_bytes = self.limits.page_bytes;
        let is_whole = self.each(plan, after, |key, document| {
            more = rows.len() == limit || bytes > page_bytes;
            if !more {
                bytes += document.len();
                rows.push(Row { key: key.to_owned(), document: document.to_owned() });
            }
            !more
        })?;
        Ok(is_whole.then_some((rows, more)))
    }

    /// The places of the first rows after a place, one more than `limit` where there are. Not their
    /// documents: which of them are first is known at the end.
    fn places(
        &mut self,
        plan: &Plan,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<Vec<Placed>>, ReadModelError> {
        let mut first = BinaryHeap::<Placed>::new();
        let query = self.query;
        let is_whole = self.each(plan, None, |key, document| {
            let place = query.place(key, document);
            if after.is_none_or(|after| *place > *after) {
                first.push((place, key.to_owned()));
                if first.len() > limit + 1 {
                    first.pop();
                }
            }
            true
        })?;
        Ok(is_whole.then(|| first.into_sorted_vec()))
    }

    /// Counts what matches. Where that takes looking at too many, it counts as far as it comes.
    fn count(&mut self, plans: &[Plan], most: usize) -> Result<Count, ReadModelError> {
        let narrowest = plans.iter().max_by_key(|plan| plan.narrowed.len());
        let Some(plan) = narrowest else { return Ok(Count { rows: 0, is_exact: true }) };
        let mut rows = 0;
        self.looked_at = 0;
        let is_whole = self.each(plan, None, |_, _| {
            rows += 1;
            rows <= most
        })?;
        Ok(Count { rows: rows.min(most), is_exact: is_whole && rows <= most })
    }

    /// Gives the documents that match to `each`, in the plan's order, until it answers false.
    /// False: there were too many to look at.
    fn each(
        &mut self,
        plan: &Plan,
        after: Option<&[u8]>,
        mut each: impl FnMut(&str, &str) -> bool,
    ) -> Result<bool, ReadModelError> {
        let query = self.query;
        if query.conditions.values().any(Vec::is_empty) {
            return Ok(true);
        }
        let holds = |document: &str| {
            query.conditions.iter().filter(|(path, _)| plan.checks(path)).all(|(path, spans)| {
                let value = Value::of(path.find(document));
                spans.iter().any(|span| span.holds(value.as_bytes()))
            })
        };
        let (mut looked_at, most) = (0, self.limits.scan_rows);
        let mut offer = |key: &str, document: &str| {
            looked_at += 1;
            looked_at <= most && (!holds(document) || each(key, document))
        };
        match plan.index.and_then(|at| self.indexes.get(at)) {
            Some(index) => self.each_of_index(plan, index, after, &mut offer)?,
            None => {
                let key = after.and_then(|place| place.split_last());
                let key = key.and_then(|(_, key)| std::str::from_utf8(key).ok());
                let from = key.map_or(Bound::Unbounded, Bound::Excluded);
                self.view.scan(self.read_model, from, &mut offer)?;
            }
        }
        self.looked_at = looked_at;
        Ok(looked_at <= most)
    }

    fn each_of_index(
        &self,
        plan: &Plan,
        index: &IndexView,
        after: Option<&[u8]>,
        offer: &mut dyn FnMut(&str, &str) -> bool,
    ) -> Result<(), ReadModelError> {
        let place = after.map(|place| match plan.backward {
            true => [&*plan.prefix, &complement(place)].concat(),
            false => [&*plan.prefix, place].concat(),
        });
        let (mut go_on, mut failed) = (true, None);
        let mut spans = plan.spans.iter();
        while let Some(span) = if plan.backward { spans.next_back() } else { spans.next() } {
            let (mut from, mut to) = (Bound::Included(&*span.from), &*span.to);
            match &place {
                Some(place) if plan.backward => to = to.min(place),
                Some(place) if **place >= *span.from => from = Bound::Excluded(place),
                _ => {}
            }
            index.scan(from, Some(to), plan.backward, |key| {
                go_on = match self.view.get(self.read_model, key) {
                    Ok(document) => document.is_none_or(|document| offer(key, &document)),
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                };
                go_on
            })?;
            if !go_on {
                break;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn explain(&self, plan: &Plan) -> Explain {
        let index = plan.index.and_then(|at| self.indexes.get(at));
        let paths = self.query.conditions.keys();
        Explain {
            index: index.map(|index| index.index().name.clone()),
            narrowed_by: plan.narrowed.iter().map(ToString::to_string).collect(),
            checked: paths.filter(|path| plan.checks(path)).map(ToString::to_string).collect(),
            is_sorted: !plan.in_order,
            rows_looked_at: self.looked_at,
            scan_rows: self.limits.scan_rows,
        }
    }
}
