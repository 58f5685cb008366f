//! Read models: their list, their rows, one document.

use axum::extract::{Request, State};
use axum::http::Uri;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::projections::{Count, Explain, Filter, Row, RowsQuery, parse_fields, parse_order};
use crate::tasks;

use super::answer::{Answer, json, json_response, with_position};
use super::app::{App, Shared};
use super::error::{Problem, UNKNOWN_DOCUMENT};
use super::events::with_next;
use super::params::{Params, invalid};
use super::segments::Segments;
use super::views::raw;
use super::waiting::{find, when};

#[derive(Serialize)]
struct ReadModelsBody<'a> {
    read_models: Vec<ReadModelView<'a>>,
}

#[derive(Serialize)]
struct ReadModelView<'a> {
    name: &'a str,
    projection: &'a str,
    version: u32,
    module: &'a str,
    state: &'static str,
    position: u64,
}

#[derive(Serialize)]
struct RowsBody<'a> {
    rows: Vec<RowView<'a>>,
    position: u64,
    next: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<CountView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ExplainView<'a>>,
}

#[derive(Serialize)]
struct CountView {
    rows: usize,
    exact: bool,
}

/// How a query was answered: a null index means that the documents were read in the order of their
/// keys.
#[derive(Serialize)]
struct ExplainView<'a> {
    index: Option<&'a str>,
    narrowed_by: &'a [String],
    checked: &'a [String],
    sorted: bool,
    rows_looked_at: usize,
    scan_rows: usize,
}

#[derive(Serialize)]
struct RowView<'a> {
    key: &'a str,
    document: Option<&'a RawValue>,
}

/// `GET /v1/read-models`.
pub(super) async fn list(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let projections = app.engine.projections().list();
    let models = projections.iter().flat_map(|status| {
        status.collections.iter().map(|name| ReadModelView {
            name,
            projection: &status.projection,
            version: status.answering.version,
            module: &status.answering.module,
            state: status.answering.state.name(),
            position: status.answering.position,
        })
    });
    json(&ReadModelsBody { read_models: models.collect() })
}

/// `GET /v1/read-models/{name}`.
pub(super) async fn rows(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let name = segments.name("name")?;
    let mut params = Params::parse(request.uri())?;
    find(&app, name.as_str())?;
    let query = rows_query(&mut params, &app)?;
    let explain = params.parsed::<bool>("explain")?.unwrap_or(false);
    let when = when(&mut params, &app)?;
    params.end()?;
    // A copy: the request's parts are slices of the connection's buffer, and whoever holds one
    // while it waits holds all of it.
    let uri = Uri::try_from(request.uri().to_string()).unwrap_or_default();
    drop((request, segments));
    let (model, _) = when.reach(&app, name.as_str()).await?;
    let page = tasks::blocking(move || model.page(&query)).await;
    let page = page.ok_or_else(|| Problem::internal("a query panicked"))??;
    let mut response = json(&RowsBody {
        rows: page.rows.iter().map(row).collect(),
        position: page.position,
        next: page.next.as_deref(),
        count: page.count.map(|Count { rows, is_exact }| CountView { rows, exact: is_exact }),
        explain: explain.then(|| explained(&page.explain)),
    })?;
    with_position(&mut response, page.position);
    if let Some(next) = &page.next {
        with_next(&mut response, &uri, next);
    }
    Ok(response)
}

fn rows_query(params: &mut Params, app: &App) -> Result<RowsQuery, Problem> {
    let filters = params.all("where");
    let filters = filters.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?;
    let order = params.one("order")?.map(|text| parse_order(&text)).transpose()?;
    let fields = params.one("fields")?.map(|text| parse_fields(&text)).transpose()?;
    let count = params.parsed::<usize>("count")?;
    let most = app.engine.projections().limits().scan_rows;
    if count.is_some_and(|count| !(1..=most).contains(&count)) {
        return Err(invalid("count", &format!("it may be 1 to {most}, up to which rows count")));
    }
    Ok(RowsQuery {
        filters,
        order: order.unwrap_or_default(),
        limit: params.limit(&app.limits)?,
        cursor: params.one("cursor")?,
        fields: fields.unwrap_or_default(),
        count,
    })
}

fn explained(explain: &Explain) -> ExplainView<'_> {
    ExplainView {
        index: explain.index.as_deref(),
        narrowed_by: &explain.narrowed_by,
        checked: &explain.checked,
        sorted: explain.is_sorted,
        rows_looked_at: explain.rows_looked_at,
        scan_rows: explain.scan_rows,
    }
}

fn row(row: &Row) -> RowView<'_> {
    RowView { key: &row.key, document: raw(row.document.as_bytes()) }
}

/// `GET /v1/read-models/{name}/{key}`: the document as it is.
pub(super) async fn document(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let name = segments.name("name")?;
    let key = segments.document_key("key")?;
    let mut params = Params::parse(request.uri())?;
    find(&app, name.as_str())?;
    let when = when(&mut params, &app)?;
    params.end()?;
    drop((request, segments));
    let (model, position) = when.reach(&app, name.as_str()).await?;
    let document = model.get(&key)?.ok_or_else(|| {
        Problem::new(
            &UNKNOWN_DOCUMENT,
            format!("read model {name} has no document {:?}", key.as_str()),
        )
    })?;
    let mut response = json_response(document.into_bytes());
    with_position(&mut response, position);
    Ok(response)
}
