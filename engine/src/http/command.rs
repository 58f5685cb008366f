//! `POST /v1/aggregates/{aggregate}/{id}/commands/{command}`: the answer to one command, which is
//! also the answer to each line of many.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::commands::{self, Command};
use crate::decision::{CommandRecord, Decision, Outcome};

use super::answer::{Answer, json_response, to_json, with_position, with_replay, with_version};
use super::app::Shared;
use super::body::read_json;
use super::error::{More, OK, Problem, REJECTED, RejectionBody};
use super::params::Params;
use super::preconditions::{CAUSATION_ID, CORRELATION_ID, command_id, expected_version, key};
use super::segments::Segments;
use super::views::{EventsView, ModuleView, command_of};
use super::waiting::{Awaited, Reached};

/// Decides one command.
pub(super) async fn post(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let mut params = Params::parse(&parts.uri)?;
    let awaited = Awaited::parse(&mut params, &app)?;
    params.end()?;
    let mut command = Command {
        aggregate: segments.name("aggregate")?,
        id: segments.key("id")?,
        name: segments.name("command")?,
        data: String::new(),
        command_id: command_id(&parts.headers)?,
        expected: expected_version(&parts.headers)?,
        caller: None,
        correlation_id: key(&parts.headers, &CORRELATION_ID)?,
        causation_id: key(&parts.headers, &CAUSATION_ID)?,
        turn: None,
    };
    command.data = read_json(&parts.headers, body, &app.limits).await?;
    // Slices of the connection's buffer: who waits should not hold it.
    drop((parts, segments));
    let answer = app.engine.execute(command).await?;
    respond(&answer, awaited).await
}

async fn respond(answer: &commands::Answer, awaited: Option<Awaited>) -> Answer {
    let decision = answer.decision()?;
    let record = decided(&decision)?;
    let mut response = match &record.outcome {
        Outcome::Committed { .. } => {
            let reached = match awaited {
                Some(awaited) => Some(awaited.reach(decision.head_after()).await),
                None => None,
            };
            let body = Committed::new(&decision, record, reached);
            let mut response = json_response(to_json(&body)?);
            with_version(&mut response, body.stream_version);
            with_position(&mut response, body.position);
            response
        }
        Outcome::Rejected(_) => rejected_response(&decision, record),
    };
    if answer.replayed {
        with_replay(&mut response);
    }
    Ok(response)
}

fn rejected_response(decision: &Decision<'_>, record: &CommandRecord<'_>) -> Response {
    let mut response = rejected(decision, record).into_response();
    with_version(&mut response, record.context.stream_version);
    response
}

/// The answer to one line of many: the same body with the line's number and status.
pub(super) fn line_answer(line: u64, answer: &commands::Answer) -> Result<Vec<u8>, Problem> {
    let decision = answer.decision()?;
    let record = decided(&decision)?;
    match &record.outcome {
        Outcome::Committed { .. } => {
            let mut body = Committed::new(&decision, record, None);
            body.line = Some(line);
            body.status = Some(OK.as_u16());
            body.replayed = answer.replayed.then_some(true);
            to_json(&body)
        }
        Outcome::Rejected(_) => Ok(rejected(&decision, record).to_json(Some(line))),
    }
}

fn decided<'a>(decision: &'a Decision<'a>) -> Result<&'a CommandRecord<'a>, Problem> {
    command_of(decision).ok_or_else(|| Problem::internal("a command was answered with no command"))
}

/// A committed command.
#[derive(Serialize)]
struct Committed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    outcome: &'static str,
    command_id: &'a str,
    decision: u64,
    events: EventsView<'a>,
    stream_version: u64,
    position: u64,
    module: ModuleView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_model: Option<Reached>,
}

impl<'a> Committed<'a> {
    fn new(
        decision: &'a Decision<'a>,
        record: &'a CommandRecord<'a>,
        read_model: Option<Reached>,
    ) -> Self {
        let header = &decision.header;
        Self {
            line: None,
            status: None,
            outcome: "committed",
            command_id: record.command_id,
            decision: header.decision,
            events: EventsView(decision),
            stream_version: record.context.stream_version + u64::from(header.event_count),
            position: decision.head_after(),
            module: ModuleView::new(&record.module),
            replayed: None,
            read_model,
        }
    }
}

/// The domain's no, as a problem.
fn rejected(decision: &Decision<'_>, record: &CommandRecord<'_>) -> Problem {
    let Outcome::Rejected(rejection) = &record.outcome else {
        return Problem::internal("a committed command was taken for a rejected one");
    };
    let details = rejection.details.and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let more = More {
        command_id: Some(record.command_id.to_owned()),
        decision: Some(decision.header.decision),
        position: Some(decision.head_after()),
        module: Some(record.module.name.to_owned()),
        version: Some(record.module.version.to_owned()),
        rejection: Some(RejectionBody {
            code: rejection.code.to_owned(),
            message: rejection.message.to_owned(),
            details,
        }),
        ..More::default()
    };
    Problem::new(&REJECTED, rejection.message.to_owned()).with(more)
}
