//! `POST /v1/events/query`: pages of the events that match any of several items; and queries as
//! bodies write them, conditions included.

use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::names::{EventType, Name, Tag};
use crate::query::{Query, QueryItem};
use crate::reads::{PageLimits, Span};
use crate::storage::log::Direction;

use super::accept::accepted;
use super::answer::Answer;
use super::app::Shared;
use super::body::read_json;
use super::error::Problem;
use super::events::page_of_log;
use super::limits::HttpLimits;
use super::params::Params;
use super::shape::{beyond, invalid_at, name_at, object};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow, default)]
    query: Vec<&'a RawValue>,
    after: Option<u64>,
    before: Option<u64>,
    limit: Option<usize>,
    direction: Option<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemBody {
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
}

/// Answers a page.
pub(super) async fn post(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let text = read_json(&parts.headers, body, &app.limits).await?;
    let (query, span, limits) = parse(&text, &app.limits)?;
    let accepted = accepted(&parts.headers);
    let (end, events) = page_of_log(app, query, (span, limits), accepted).await?;
    Ok(events.page(end.head, end.next, None))
}

fn parse(text: &str, limits: &HttpLimits) -> Result<(Query, Span, PageLimits), Problem> {
    let body: Body<'_> = object(text, "")?;
    let query = parse_query(&body.query, "/query", limits)?;
    let direction = match body.direction.as_deref() {
        None | Some("forward") => Direction::Forward,
        Some("backward") => Direction::Backward,
        Some(_) => return Err(invalid_at("/direction", "it may be forward or backward")),
    };
    let mut span = Span { after: body.after.unwrap_or(0), before: body.before, direction };
    if let Some(cursor) = body.cursor {
        let cursor = cursor.parse().map_err(|_| invalid_at("/cursor", "it is not one of ours"))?;
        match direction {
            Direction::Forward => span.after = cursor,
            Direction::Backward => span.before = Some(cursor),
        }
    }
    let events = body.limit.unwrap_or(limits.page_rows_default);
    if !(1..=limits.page_rows).contains(&events) {
        return Err(invalid_at("/limit", &format!("it may be 1 to {}", limits.page_rows)));
    }
    let (bytes, scan) = (limits.page_bytes, limits.scan_decisions);
    Ok((query, span, PageLimits { events, bytes, scan }))
}

/// The items of a query.
pub(super) fn parse_query(
    items: &[&RawValue],
    pointer: &str,
    limits: &HttpLimits,
) -> Result<Query, Problem> {
    let mut query = Query::default();
    let mut parts = 0;
    for (at, item) in items.iter().enumerate() {
        let here = format!("{pointer}/{at}");
        let body: ItemBody = object(item.get(), &here)?;
        parts += 1 + body.types.len() + body.tags.len() + body.categories.len();
        if parts > limits.query_parts {
            return Err(beyond(pointer, limits.query_parts, "query_parts"));
        }
        query.items.push(QueryItem {
            types: names(&body.types, &format!("{here}/types"), EventType::parse)?,
            tags: names(&body.tags, &format!("{here}/tags"), Tag::parse)?,
            categories: names(&body.categories, &format!("{here}/categories"), Name::parse)?,
        });
    }
    Ok(query)
}

/// A list of names of one kind.
pub(super) fn names<T>(
    texts: &[String],
    pointer: &str,
    parse: impl Fn(&str) -> Result<T, crate::names::NameError>,
) -> Result<Vec<T>, Problem> {
    let parse = |(at, text): (usize, &String)| name_at(text, &format!("{pointer}/{at}"), &parse);
    texts.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_query_and_a_span() {
        let text = r#"{"query":[{"types":["A","B"],"tags":["x"]},{"categories":["c"]}],
            "after":3,"before":9,"limit":7,"direction":"backward","cursor":"6"}"#;
        let (query, span, limits) = parse(text, &HttpLimits::default()).expect("valid");
        assert_eq!(query.items.len(), 2);
        assert_eq!(query.items[0].types.len(), 2);
        let expected = Span { after: 3, before: Some(6), direction: Direction::Backward };
        assert_eq!((span, limits.events), (expected, 7));
        let (query, span, limits) = parse("{}", &HttpLimits::default()).expect("valid");
        assert!(query.is_everything());
        assert_eq!((span.after, span.before, limits.events), (0, None, 100));
    }

    #[test]
    fn what_is_no_query_is_refused_with_its_place() {
        let many = format!("{{\"query\":[{{\"tags\":[{}\"a\"]}}]}}", "\"a\",".repeat(255));
        for (bad, said) in [
            ("[]", "object"),
            ("{\"filter\":[]}", "`filter`"),
            ("{\"query\":{}}", "sequence"),
            ("{\"query\":[[]]}", "/query/0"),
            ("{\"query\":[{\"type\":[]}]}", "`type`"),
            ("{\"query\":[{},{\"tags\":[\"a\",\" b\"]}]}", "/query/1/tags/1"),
            ("{\"limit\":0}", "/limit"),
            ("{\"limit\":1001}", "/limit"),
            ("{\"after\":-1}", "-1"),
            ("{\"direction\":\"up\"}", "/direction"),
            (many.as_str(), "query_parts"),
        ] {
            let problem = parse(bad, &HttpLimits::default()).expect_err(bad);
            let text = String::from_utf8(problem.to_json(None)).expect("UTF-8");
            assert!(text.contains(said), "{bad}: {text}");
        }
    }
}
