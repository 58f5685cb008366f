//! `POST /v1/events/import`: CloudEvents, one a line, recorded in the order of their lines, some of
//! them as one append each.
//!
//! Promises: a line is recorded only if all before it are; each source and id is recorded once, so
//! whatever ended an import, the whole can be sent again; what is wrong with a line ends it there.
//! What is in memory is bounded, however long the body is. Who sends must also read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesOrdered};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::appends::{AppendAnswer, NewAppend};
use crate::commands::CommandError;
use crate::names::Key;
use crate::tasks;

use super::answer::{Answer, to_json};
use super::app::Shared;
use super::appends::refused;
use super::body::{NDJSON, discard, expect_type};
use super::cloud_events::{self, Mode, Placed};
use super::error::{INVALID_PRECONDITION, OK, Problem};
use super::limits::HttpLimits;
use super::lines::Lines;
use super::panics::caught;
use super::params::{Params, invalid};
use super::preconditions::{CAUSATION_ID, CORRELATION_ID, IDEMPOTENCY_KEY, key};

/// Events of one append where the client does not say: many are fast to write, and few fast to
/// read one of.
const EVENTS_DEFAULT: usize = 256;
/// Lines of an answer that wait to be written.
const ANSWERS: usize = 4;

/// How the lines become appends.
struct Import {
    app: Shared,
    /// Events of one append.
    events: usize,
    correlation_id: Option<Key>,
    causation_id: Option<Key>,
}

/// Lines that become one append.
#[derive(Default)]
struct Batch {
    lines: Vec<(u64, Bytes)>,
    bytes: usize,
    /// The line after them, and what is wrong with it.
    fault: Option<(u64, Problem)>,
}

/// The same, read.
#[derive(Default)]
struct Parsed {
    events: Vec<Placed>,
    /// The number of each event's line.
    lines: Vec<u64>,
    fault: Option<(u64, Problem)>,
}

/// How far it is: everything up to a line is recorded.
#[derive(Clone, Copy, Default, Serialize)]
struct Recorded {
    line: u64,
    events: u64,
    /// Of those, how many were recorded before.
    known: u64,
    /// The position of the last.
    position: u64,
    /// The last line of an answer has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

/// Records the event of each line.
pub(super) async fn post(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, mut body) = request.into_parts();
    let import = match begin(app, &parts.headers, Params::parse(&parts.uri)?) {
        Ok(import) => import,
        Err(problem) => {
            discard(&mut body).await;
            return Err(problem);
        }
    };
    let (send, lines) = mpsc::channel(ANSWERS);
    let work = async move { import.run(body, &send).await };
    let under_way = UnderWay { work: Some(Box::pin(work)), lines };
    let answers = stream::unfold(under_way, |mut under_way| async {
        let line = under_way.next().await?;
        Some((Ok::<_, Infallible>(line), under_way))
    });
    let mut response = Response::new(Body::from_stream(answers));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

fn begin(app: Shared, headers: &HeaderMap, mut params: Params) -> Result<Import, Problem> {
    let most = app.limits.append_events;
    let events = params.parsed("batch")?.unwrap_or_else(|| EVENTS_DEFAULT.min(most));
    if !(1..=most).contains(&events) {
        return Err(invalid("batch", &format!("it may be 1 to {most} (append_events)")));
    }
    params.end()?;
    expect_type(headers, NDJSON)?;
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let detail = "an import has no key: each source and id is recorded once, so send it again";
        return Err(Problem::new(&INVALID_PRECONDITION, detail));
    }
    let (correlation_id, causation_id) =
        (key(headers, &CORRELATION_ID)?, key(headers, &CAUSATION_ID)?);
    Ok(Import { app, events, correlation_id, causation_id })
}

/// An import, which gets on while its answer is read.
struct UnderWay {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    lines: mpsc::Receiver<Bytes>,
}

impl UnderWay {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(work) = &mut self.work {
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => return Some(line),
                () = work => self.work = None,
            }
        }
        self.lines.recv().await
    }
}

impl Import {
    /// Does all of it, and says at the end what came of it.
    async fn run(&self, body: Body, answers: &mpsc::Sender<Bytes>) {
        let mut lines = Lines::new(body, self.app.limits.clone());
        let mut recorded = Recorded::default();
        let done = caught(self.record(&mut lines, &mut recorded, answers)).await;
        let last = match done.unwrap_or_else(|problem| Err((recorded.line + 1, problem))) {
            Ok(()) => line(&Recorded { status: Some(OK.as_u16()), ..recorded }),
            Err((line, problem)) => ended(problem.to_json(Some(line))),
        };
        if answers.send(last).await.is_ok() {
            // Whoever sends before it listens still gets its answer.
            discard(&mut lines.into_body()).await;
        }
    }

    /// Records what is in the lines. The error is that of a line, and no later one is recorded.
    async fn record(
        &self,
        lines: &mut Lines,
        recorded: &mut Recorded,
        answers: &mpsc::Sender<Bytes>,
    ) -> Result<(), (u64, Problem)> {
        let most = self.app.limits.import_appends;
        let (mut batch, mut parsing) = (Batch::default(), FuturesOrdered::new());
        let mut sequence = self.app.engine.append_sequence(most);
        let (mut under_way, mut fault) = (VecDeque::<Vec<u64>>::new(), None);
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                Some(answer) = sequence.next() => {
                    recorded.take(answer, &under_way.pop_front().unwrap_or_default())?;
                    // Where nobody reads any more, the server drops all of this.
                    let _ = answers.send(line(recorded)).await;
                }
                Some(parsed) = parsing.next(), if fault.is_none() && !sequence.is_full() => {
                    let Parsed { events, lines, fault: found } = parsed;
                    fault = found;
                    if !events.is_empty() {
                        under_way.push_back(lines);
                        sequence.hand_in(self.append(events)).await;
                    }
                }
                ended = self.fill(&mut batch, lines),
                    if !is_over && fault.is_none() && parsing.len() < most =>
                {
                    is_over = ended;
                    parsing.push_back(self.parsed(std::mem::take(&mut batch)));
                }
                else => return fault.map_or(Ok(()), Err),
            }
        }
    }

    /// Takes lines until they are an append, and tells whether there are no more. Who stops waiting
    /// loses nothing.
    async fn fill(&self, batch: &mut Batch, lines: &mut Lines) -> bool {
        while batch.lines.len() < self.events && batch.bytes < self.app.limits.import_bytes {
            let Some((number, line)) = lines.next().await else { return true };
            match line {
                Ok(line) => {
                    batch.bytes += line.len();
                    batch.lines.push((number, line));
                }
                Err(problem) => {
                    batch.fault = Some((number, problem));
                    return true;
                }
            }
        }
        false
    }

    /// Reads the lines beside what else is done.
    fn parsed(&self, batch: Batch) -> impl Future<Output = Parsed> + Send + 'static {
        let app = Shared::clone(&self.app);
        async move {
            let first = batch.lines.first().map_or(0, |(number, _)| *number);
            let parsed = tasks::blocking(move || batch.parse(&app.limits)).await;
            let panicked = || Problem::internal("reading the lines of an import panicked");
            parsed.unwrap_or_else(|| Parsed::fault(first, panicked()))
        }
    }

    fn append(&self, events: Vec<Placed>) -> NewAppend {
        NewAppend {
            events,
            correlation_id: self.correlation_id.clone(),
            causation_id: self.causation_id.clone(),
            ..NewAppend::default()
        }
    }
}

impl Batch {
    /// Reads the lines up to the first that is wrong.
    fn parse(self, limits: &HttpLimits) -> Parsed {
        let count = self.lines.len();
        let mut parsed = Parsed {
            events: Vec::with_capacity(count),
            lines: Vec::with_capacity(count),
            fault: self.fault,
        };
        for (number, text) in self.lines {
            match cloud_events::line(&text, limits) {
                Ok(event) => {
                    parsed.events.push(event);
                    parsed.lines.push(number);
                }
                Err(problem) => {
                    parsed.fault = Some((number, problem));
                    break;
                }
            }
        }
        parsed
    }
}

impl Parsed {
    fn fault(line: u64, problem: Problem) -> Self {
        Self { fault: Some((line, problem)), ..Self::default() }
    }
}

impl Recorded {
    /// Adds an append with the events of some lines; the error is that of a line.
    fn take(
        &mut self,
        answer: Result<AppendAnswer, CommandError>,
        lines: &[u64],
    ) -> Result<(), (u64, Problem)> {
        let first = lines.first().copied().unwrap_or(self.line + 1);
        let answer = answer.map_err(|error| {
            let at = match &error {
                CommandError::EventReused { at, .. } | CommandError::EventUnfit { at, .. } => *at,
                _ => 0,
            };
            (lines.get(at).copied().unwrap_or(first), refused(error, Mode::Structured))
        })?;
        self.position = answer.last_position().map_err(|error| (first, error.into()))?;
        self.line = lines.last().copied().unwrap_or(first);
        self.events += count(lines.len());
        self.known += count(answer.known());
        Ok(())
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn line(recorded: &Recorded) -> Bytes {
    ended(to_json(recorded).unwrap_or_default())
}

fn ended(mut text: Vec<u8>) -> Bytes {
    text.push(b'\n');
    Bytes::from(text)
}
