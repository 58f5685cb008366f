//! `GET /v1/decisions`: records by kind, aggregate and outcome.

use axum::extract::{Request, State};

use crate::names::Name;
use crate::reads::{DecisionFilter, DecisionKind, DecisionOutcome, PageLimits, decision_page};

use super::answer::{Answer, json_response};
use super::app::Shared;
use super::error::{INVALID_NAME, Problem};
use super::events::{blocking, with_next};
use super::params::{Params, invalid};
use super::views::DecisionView;

/// Answers a page: `{"decisions":[…],"head":n,"next":…}`, `head` being the last one considered.
pub(super) async fn list(State(app): State<Shared>, request: Request) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let after = params.parsed("after")?.unwrap_or(0);
    let after = params.parsed("cursor")?.unwrap_or(after);
    let filter = filter(&mut params)?;
    let limits = PageLimits {
        events: params.limit(&app.limits)?,
        bytes: app.limits.page_bytes,
        scan: app.limits.scan_decisions,
    };
    params.end()?;
    let read = move || {
        let mut text = b"{\"decisions\":[".to_vec();
        let mut separator: &[u8] = b"";
        let end = decision_page(app.engine.log(), &filter, after, limits, |record, decision| {
            text.extend_from_slice(std::mem::replace(&mut separator, b","));
            // Strings, numbers and JSON that was parsed before: there is nothing that could fail.
            let _ = serde_json::to_writer(&mut text, &DecisionView::new(record, decision));
        })?;
        Ok((end, text))
    };
    let (end, mut text) = blocking(read).await?;
    let next = end.next.map(|next| next.to_string());
    let quoted = next.as_ref().map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
    text.extend_from_slice(format!("],\"head\":{},\"next\":{quoted}}}", end.head).as_bytes());
    let mut response = json_response(text);
    if let Some(next) = next {
        with_next(&mut response, request.uri(), &next);
    }
    Ok(response)
}

fn filter(params: &mut Params) -> Result<DecisionFilter, Problem> {
    let kind = match params.one("kind")?.as_deref() {
        None => None,
        Some("command") => Some(DecisionKind::Command),
        Some("append") => Some(DecisionKind::Append),
        Some("activation") => Some(DecisionKind::Activation),
        Some("act") => Some(DecisionKind::Act),
        Some(_) => return Err(invalid("kind", "it may be command, append, activation or act")),
    };
    let outcome = match params.one("outcome")?.as_deref() {
        None => None,
        Some("committed") => Some(DecisionOutcome::Committed),
        Some("rejected") => Some(DecisionOutcome::Rejected),
        Some(_) => return Err(invalid("outcome", "it may be committed or rejected")),
    };
    let aggregate = params.one("aggregate")?.map(|text| Name::parse(&text)).transpose();
    let aggregate = aggregate.map_err(|error| {
        Problem::new(&INVALID_NAME, format!("the parameter \"aggregate\": {error}"))
    })?;
    Ok(DecisionFilter { kind, outcome, aggregate })
}
