//! `POST /v1/projections/{projection}/queries/{query}`: a query that the module answers itself. The
//! body is its parameters, the answer is the module's own JSON.

use axum::extract::{Request, State};

use crate::tasks;

use super::answer::{Answer, json_response, with_position};
use super::app::Shared;
use super::body::read_json;
use super::error::{Problem, UNKNOWN_PROJECTION};
use super::params::Params;
use super::segments::Segments;
use super::waiting::min_position;

/// Answers one query.
pub(super) async fn post(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let (projection, query) = (segments.name("projection")?, segments.name("query")?);
    let mut params = Params::parse(&parts.uri)?;
    let least = min_position(&mut params, &app)?;
    params.end()?;
    let projections = app.engine.projections();
    let unknown = || {
        let detail = format!("no active module has a projection {:?}", projection.as_str());
        Problem::new(&UNKNOWN_PROJECTION, detail)
    };
    let queries = projections.queries(projection.as_str()).ok_or_else(unknown)?;
    queries.check(query.as_str())?;
    let parameters = read_json(&parts.headers, body, &app.limits).await?;
    drop((parts, segments));
    let model = queries.read_model(projections.limits()).ok_or_else(unknown)?;
    let position = least.reach(&model).await?;
    let turn = queries.turn().await;
    let answer = tasks::blocking(move || {
        // Kept to the end even if the client goes away.
        let _turn = turn;
        queries.answer(query.as_str(), &parameters)
    })
    .await;
    let answer = answer.ok_or_else(|| Problem::internal("a query panicked"))??;
    let mut response = json_response(answer.into_bytes());
    with_position(&mut response, position);
    Ok(response)
}
