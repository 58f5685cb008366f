//! `POST /v1/commands`: many commands in one request, a line each, answered in the same order.
//!
//! Promises: a bounded number is decided at once; commands are handed to the engine in the order
//! of their lines; whatever is wrong with one is the answer to its line alone. Who sends must also
//! read: what is not read holds up what is sent.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::unconstrained;

use crate::commands::{Command, CommandId, Order};
use crate::expected::ExpectedVersion;
use crate::names::{Key, Name};

use super::answer::Answer;
use super::app::Shared;
use super::body::{NDJSON, compact_json, discard, expect_type};
use super::command::line_answer;
use super::error::{Fault, INVALID_BODY, INVALID_JSON, More, Problem};
use super::lines::Lines;
use super::panics::caught;
use super::params::Params;
use super::preconditions::expected_json;

/// Answers that are ready together travel together.
const ANSWERS_A_FRAME: usize = 64;

/// Decides the command of each line.
pub(super) async fn post(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, mut body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    if let Err(problem) = expect_type(&parts.headers, NDJSON) {
        discard(&mut body).await;
        return Err(problem);
    }
    let concurrency = app.limits.bulk_concurrency;
    let mut order = Order::default();
    let lines = Lines::new(body, app.limits.clone());
    let lines =
        stream::unfold(
            lines,
            |mut lines| async move { lines.next().await.map(|line| (line, lines)) },
        );
    let answers = lines
        .map(move |(number, line)| {
            let command = line.and_then(|line| parse(&line)).map(|command| {
                let turn = Some(order.turn(&command.stream()));
                Command { turn, ..command }
            });
            // Tokio's cooperative budget would put lines off, and wake them in another order.
            unconstrained(answer(Shared::clone(&app), number, command))
        })
        .buffered(concurrency)
        .ready_chunks(ANSWERS_A_FRAME)
        .map(|answers| Ok::<_, std::convert::Infallible>(Bytes::from(answers.concat())));
    let mut response = Response::new(Body::from_stream(answers));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

async fn answer(app: Shared, number: u64, command: Result<Command, Problem>) -> Vec<u8> {
    let decided = caught(async { line_answer(number, &app.engine.execute(command?).await?) });
    let mut text = match decided.await {
        Ok(Ok(text)) => text,
        Ok(Err(problem)) | Err(problem) => problem.to_json(Some(number)),
    };
    text.push(b'\n');
    text
}

/// A line as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandLine<'a> {
    #[serde(borrow)]
    aggregate: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    command: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    command_id: Option<String>,
    #[serde(borrow, default)]
    expected: Option<&'a RawValue>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    causation_id: Option<String>,
}

fn parse(line: &[u8]) -> Result<Command, Problem> {
    let fields: CommandLine<'_> = serde_json::from_slice(line).map_err(|error| {
        let (kind, detail) = if error.is_data() {
            (&INVALID_BODY, format!("the line is not a command: {error}"))
        } else {
            (&INVALID_JSON, format!("the line is not JSON: {error}"))
        };
        let offset = error.column().checked_sub(1);
        let fault = Fault::at_byte(offset, error.to_string());
        Problem::new(kind, detail).with(More { errors: vec![fault], ..More::default() })
    })?;
    let key = |text: Option<String>| text.map(|text| Key::parse(&text)).transpose();
    Ok(Command {
        aggregate: Name::parse(&fields.aggregate)?,
        id: Key::parse(&fields.id)?,
        name: Name::parse(&fields.command)?,
        data: match fields.data {
            Some(data) => compact_json(data.get().as_bytes())?,
            None => "{}".to_owned(),
        },
        command_id: key(fields.command_id)?.map_or_else(CommandId::new, CommandId::Client),
        expected: match fields.expected {
            None => ExpectedVersion::Any,
            Some(raw) => expected_json(raw.get(), "/expected")?,
        },
        caller: None,
        correlation_id: key(fields.correlation_id)?,
        causation_id: key(fields.causation_id)?,
        turn: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command() {
        let line = br#"{"aggregate":"account","id":"4-2","command":"deposit","data":{ "n" : 1.0 },
            "command_id":"c:1","expected":7}"#;
        let command = parse(line).expect("valid");
        assert_eq!(command.stream().as_str(), "account-4-2");
        assert_eq!((command.name.as_str(), command.data.as_str()), ("deposit", "{\"n\":1.0}"));
        assert!(matches!(command.command_id, CommandId::Client(key) if key.as_str() == "c:1"));
        assert_eq!(command.expected, ExpectedVersion::Exact(7));
        let least = parse(br#"{"aggregate":"a","id":"1","command":"x"}"#).expect("valid");
        assert_eq!((least.data.as_str(), least.expected), ("{}", ExpectedVersion::Any));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for bad in [
            "",
            "7",
            "{}",
            r#"{"aggregate":"A","id":"1","command":"x"}"#,
            r#"{"aggregate":"a","id":"..","command":"x"}"#,
            r#"{"aggregate":"a","id":"1","command":"x","dry_run":true}"#,
            r#"{"aggregate":"a","id":"1","command":"x","data":{"a":1,"a":2}}"#,
            r#"{"aggregate":"a","id":"1","id":"2","command":"x"}"#,
            r#"{"aggregate":"a","id":"1","command":"x","expected":"7"}"#,
            r#"{"aggregate":"a","id":"1","command":"x","expected":-1}"#,
            "{\"aggregate\":\"a\",\"id\":\"1\",\"command\":\"x\",\"data\":\"\u{1}\"}",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"{\"aggregate\":\"\xff\"}").is_err());
    }
}
