//! `factum import`: CloudEvents, one a line, into a running server, in their order.
//!
//! Promises: each source and id is recorded once, so an import that was ended at any moment, by
//! whatever, is gone on with by the same command; one that fails says at which line. The server
//! says up to which line all is recorded; what comes after that is kept here, bounded, and sent
//! again where the connection breaks.

mod chunks;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use super::remote::{Progress, Remote, Step};
use crate::client::{Client, ClientError, Problem};
use crate::report::Report;
use crate::tasks;
use chunks::{Chunk, Kept};

/// Chunks that are read ahead of those that are sent.
const READ_AHEAD: usize = 2;
/// Chunks that may be sent and unanswered. 16: 4 MiB, more than the server reads ahead.
const UNANSWERED: usize = 16;
/// Chunks that wait for the connection to take them.
const TO_SEND: usize = 2;
/// Tries in a row in which nothing is recorded, while the server cannot be reached or says that it
/// passes.
const MOST_TRIES: u32 = 60;
/// How long to wait before the next.
const PAUSE: Duration = Duration::from_millis(500);

/// What `factum import` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    remote: Remote,
    /// Where the events come from; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    input: PathBuf,
    /// Events of one append, which are one record of the log: many are fast to write, and few
    /// fast to read one of
    #[arg(
        long,
        default_value_t = 256,
        value_name = "EVENTS",
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    batch: u16,
    /// Say how far it is, and what came of it, as JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Imported {
    events: u64,
    /// Of those, how many the server had.
    known: u64,
    /// The position of the last one.
    position: u64,
}

/// A line of the server's answer: how far it is, or a problem.
#[derive(Deserialize)]
struct Line {
    line: u64,
    #[serde(default)]
    events: u64,
    #[serde(default)]
    known: u64,
    #[serde(default)]
    position: u64,
    /// The last one has it.
    status: Option<u16>,
}

/// Imports and says how much that was.
pub(super) async fn run(args: ImportArgs) -> Result<ExitCode, String> {
    let client = args.remote.client()?;
    let failed = |error: std::io::Error| format!("{}: {error}", args.input.display());
    let (input, total): (Box<dyn Read + Send>, _) = if args.input == Path::new("-") {
        (Box::new(std::io::stdin()), None)
    } else {
        let file = File::open(&args.input).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        (Box::new(file), Some(bytes))
    };
    let (send, chunks) = mpsc::channel(READ_AHEAD);
    let reading = tasks::blocking(move || chunks::read(input, &send));
    let import = Import {
        client,
        path: format!("/v1/events/import?batch={}", args.batch),
        total,
        unanswered: RefCell::default(),
        room: Arc::new(Semaphore::new(UNANSWERED)),
    };
    let (read, sent) = tokio::join!(reading, import.send_all(chunks, Progress::new(args.json)));
    let imported = sent?;
    read.unwrap_or_else(|| Err(std::io::Error::other("reading panicked"))).map_err(failed)?;
    let Imported { events, known, position } = imported;
    Report::stdout().line(if args.json {
        serde_json::to_string(&imported).unwrap_or_default()
    } else {
        format!("{events} events, of which {known} were there before, up to position {position}")
    });
    Ok(ExitCode::SUCCESS)
}

/// An import under way.
struct Import {
    client: Client,
    path: String,
    /// Bytes of the input, where that is known.
    total: Option<u64>,
    /// What was sent, or is to be sent, and is not known to be recorded.
    unanswered: RefCell<VecDeque<Kept>>,
    room: Arc<Semaphore>,
}

/// How far it is.
struct Far {
    imported: Imported,
    /// The last line of the input up to which all is recorded.
    line: u64,
    progress: Progress,
}

/// Why a connection came to its end before the import.
enum Stopped {
    /// No answer could be used.
    Client(ClientError),
    /// The server refuses the event of a line.
    At(u64, Problem),
}

impl Stopped {
    fn is_passing(&self) -> bool {
        let is_retryable = |problem: &Problem| {
            problem.body.get("retryable").and_then(Value::as_bool).unwrap_or_default()
        };
        match self {
            Self::Client(ClientError::Transport { .. }) => true,
            Self::Client(ClientError::Unexpected { .. }) => false,
            Self::Client(ClientError::Problem(problem)) => is_retryable(problem),
            Self::At(_, problem) => is_retryable(problem),
        }
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::At(line, problem) => write!(f, "line {line}: {problem}"),
        }
    }
}

impl From<ClientError> for Stopped {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl Import {
    /// Sends everything, by one connection after the other where need be.
    async fn send_all(
        &self,
        mut chunks: mpsc::Receiver<Chunk>,
        progress: Progress,
    ) -> Result<Imported, String> {
        let mut far = Far { imported: Imported::default(), line: 0, progress };
        let mut tries = 0;
        loop {
            let before = far.line;
            let Err(stopped) = self.send(&mut chunks, &mut far).await else { break };
            tries = if far.line > before { 1 } else { tries + 1 };
            if !stopped.is_passing() || tries >= MOST_TRIES {
                return Err(format!(
                    "{stopped}\n{} events before that are recorded; the same import goes on there",
                    far.imported.events
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
        far.progress.end();
        Ok(far.imported)
    }

    /// Sends what is left by one connection, if there is something.
    async fn send(&self, chunks: &mut mpsc::Receiver<Chunk>, far: &mut Far) -> Result<(), Stopped> {
        let is_answered = self.unanswered.borrow().is_empty();
        if is_answered && self.keep_next(chunks).await.is_none() {
            return Ok(());
        }
        // The server counts lines from where this connection begins.
        self.forget(far.line);
        let (pieces, body) = mpsc::channel(TO_SEND);
        let mut listening = std::pin::pin!(self.listen(body, far));
        tokio::select! {
            done = &mut listening => done,
            () = self.feed(chunks, pieces) => listening.await,
        }
    }

    /// Gives what is left to the connection, as far as there is room for it here.
    async fn feed(&self, chunks: &mut mpsc::Receiver<Chunk>, pieces: mpsc::Sender<Bytes>) {
        let again: Vec<_> = self.unanswered.borrow().iter().map(Kept::text).collect();
        for text in again {
            if pieces.send(text).await.is_err() {
                return;
            }
        }
        while let Some(text) = self.keep_next(chunks).await {
            if pieces.send(text).await.is_err() {
                return;
            }
        }
    }

    /// Takes the next chunk, once there is room for it.
    async fn keep_next(&self, chunks: &mut mpsc::Receiver<Chunk>) -> Option<Bytes> {
        let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let kept = Kept::new(chunks.recv().await?, room);
        let text = kept.text();
        self.unanswered.borrow_mut().push_back(kept);
        Some(text)
    }

    /// Takes the server's answer to its end.
    async fn listen(&self, body: mpsc::Receiver<Bytes>, far: &mut Far) -> Result<(), Stopped> {
        let (first, before) = (far.line, far.imported);
        let mut lines = self.client.exchange_lines(&self.path, body).await?;
        while let Some(text) = lines.next_text().await? {
            let unexpected = |error: serde_json::Error| ClientError::Unexpected {
                request: self.path.clone(),
                reason: error.to_string(),
            };
            let line: Line = serde_json::from_slice(&text).map_err(unexpected)?;
            match line.status {
                Some(status) if status >= 400 => {
                    let body = serde_json::from_slice(&text).map_err(unexpected)?;
                    return Err(Stopped::At(first + line.line, Problem::of(status, body)));
                }
                Some(_) => return Ok(()),
                None => {}
            }
            far.line = first + line.line;
            far.imported.events = before.events + line.events;
            far.imported.known = before.known + line.known;
            far.imported.position = line.position;
            if let Some(done) = self.forget(far.line) {
                let Far { imported, progress, .. } = far;
                progress.at(Step { events: imported.events, done, total: self.total });
            }
        }
        Err(Stopped::Client(ClientError::Transport {
            request: self.path.clone(),
            reason: "the answer ended before the import".to_owned(),
        }))
    }

    /// Forgets what is recorded, up to a line; answers up to which byte of the input that is.
    fn forget(&self, line: u64) -> Option<u64> {
        let (mut unanswered, mut end) = (self.unanswered.borrow_mut(), None);
        while unanswered.front().is_some_and(|kept| kept.through <= line) {
            end = unanswered.pop_front().map(|kept| kept.end);
        }
        if let Some(first) = unanswered.front_mut() {
            first.forget(line);
        }
        end
    }
}
