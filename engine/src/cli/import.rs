//! `factum import`: CloudEvents, one a line, into a running server, in their order.
//!
//! Promises: each source and id is recorded once, so an import that was ended at any moment, by
//! whatever, is gone on with by the same command; one that fails says at which line. An append is
//! sent only when the one before it is durable, while the next one is read.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::remote::{Progress, Remote, Step};
use crate::client::{Client, ClientError, Problem};
use crate::report::Report;
use crate::tasks;

/// Bytes after which an append is sent. 512 KiB: half of what a server takes by default.
const APPEND_BYTES: usize = 512 << 10;
/// Appends that are read ahead of the one that is sent.
const READ_AHEAD: usize = 2;
/// Tries of one append, while the server cannot be reached or says that it passes.
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

/// Lines that are sent as one append.
#[derive(Debug, Default)]
struct Batch {
    /// `[…,…]`.
    body: Vec<u8>,
    /// The number of each line, and where it begins in the body.
    lines: Vec<(u64, usize)>,
    /// Bytes of the file that were read up to here.
    read_bytes: u64,
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

/// What a server answers to an append.
#[derive(Deserialize)]
struct Appended {
    position: u64,
    #[serde(default)]
    known: u64,
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
    let (send, batches) = mpsc::channel(READ_AHEAD);
    let most = usize::from(args.batch);
    let reading = tasks::blocking(move || read(BufReader::new(input), most, &send));
    let progress = (Progress::new(args.json), total);
    let (read, sent) = tokio::join!(reading, send_all(&client, batches, progress));
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

/// Sends one append after the other.
async fn send_all(
    client: &Client,
    mut batches: mpsc::Receiver<Batch>,
    (mut progress, total): (Progress, Option<u64>),
) -> Result<Imported, String> {
    let mut imported = Imported::default();
    while let Some(Batch { body, lines, read_bytes }) = batches.recv().await {
        let appended = append(client, &Bytes::from(body), &lines).await.map_err(|reason| {
            format!(
                "{reason}\n{} events before that are recorded; the same import goes on there",
                imported.events
            )
        })?;
        imported.events += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        imported.known += appended.known;
        imported.position = appended.position;
        progress.at(Step { events: imported.events, done: read_bytes, total });
    }
    progress.end();
    Ok(imported)
}

/// Reads lines and puts them together. It blocks, and ends when nobody takes them any more.
fn read(mut input: impl BufRead, most: usize, send: &mpsc::Sender<Batch>) -> std::io::Result<()> {
    let (mut batch, mut line) = (Batch::default(), Vec::new());
    let (mut number, mut read_bytes) = (0, 0);
    loop {
        line.clear();
        let bytes = input.read_until(b'\n', &mut line)?;
        number += 1;
        read_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        let text = line.trim_ascii();
        let would_be = batch.body.len() + text.len();
        let is_full = batch.lines.len() >= most || would_be > APPEND_BYTES;
        if (is_full || bytes == 0) && !batch.lines.is_empty() {
            let mut whole = std::mem::take(&mut batch);
            whole.body.push(b']');
            if send.blocking_send(whole).is_err() {
                return Ok(());
            }
        }
        if bytes == 0 {
            return Ok(());
        }
        if text.is_empty() {
            continue;
        }
        batch.body.push(if batch.lines.is_empty() { b'[' } else { b',' });
        batch.lines.push((number, batch.body.len()));
        batch.body.extend_from_slice(text);
        batch.read_bytes = read_bytes;
    }
}

/// Sends an append until it has an answer that will not change.
async fn append(client: &Client, body: &Bytes, lines: &[(u64, usize)]) -> Result<Appended, String> {
    let mut tries = 1;
    loop {
        let media = "application/cloudevents-batch+json";
        let error = match client.upload("/v1/events", media, body.clone()).await {
            Ok(appended) => return Ok(appended),
            Err(error) => error,
        };
        let is_passing = match &error {
            ClientError::Transport { .. } => true,
            ClientError::Problem(problem) => is_retryable(problem),
            ClientError::Unexpected { .. } => false,
        };
        if !is_passing || tries >= MOST_TRIES {
            return Err(place(error.problem(), lines) + &error.to_string());
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_retryable(problem: &Problem) -> bool {
    problem.body.get("retryable").and_then(Value::as_bool).unwrap_or_default()
}

/// The line that a problem is about, as the beginning of a sentence.
fn place(problem: Option<&Problem>, lines: &[(u64, usize)]) -> String {
    let (Some((first, _)), Some((last, _))) = (lines.first(), lines.last()) else {
        return String::new();
    };
    let error = problem.and_then(|problem| problem.body.get("errors")?.get(0));
    let by_pointer = || {
        let pointer = error?.get("pointer")?.as_str()?;
        let at: usize = pointer.split('/').nth(1)?.parse().ok()?;
        lines.get(at).map(|(number, _)| *number)
    };
    let by_offset = || {
        let offset = usize::try_from(error?.get("offset")?.as_u64()?).ok()?;
        let after = lines.partition_point(|(_, start)| *start <= offset);
        lines.get(after.checked_sub(1)?).map(|(number, _)| *number)
    };
    match by_pointer().or_else(by_offset) {
        Some(number) => format!("line {number}: "),
        None if first == last => format!("line {first}: "),
        None => format!("lines {first} to {last}: "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn batches(text: &str, most: usize) -> Vec<(String, Vec<u64>)> {
        let (send, mut batches) = mpsc::channel(100);
        read(text.as_bytes(), most, &send).expect("reads");
        drop(send);
        let mut all = Vec::new();
        while let Ok(batch) = batches.try_recv() {
            let numbers = batch.lines.iter().map(|(number, _)| *number).collect();
            all.push((String::from_utf8(batch.body).expect("text"), numbers));
        }
        all
    }

    #[test]
    fn lines_are_put_together_as_they_come() {
        assert_eq!(batches("", 2), []);
        assert_eq!(batches("\n \n", 2), []);
        let all = batches("{1}\n\r\n{2} \n{3}", 2);
        assert_eq!(all, [("[{1},{2}]".into(), vec![1, 3]), ("[{3}]".into(), vec![4])]);
        let long = "x".repeat(APPEND_BYTES / 2);
        let text = format!("{long}\n{long}\n{long}\n");
        assert_eq!(batches(&text, 9).len(), 3);
    }

    #[test]
    fn a_problem_is_placed_at_its_line() {
        let lines = [(7, 1), (9, 50)];
        let of = |errors| {
            let problem = Problem::of(400, json!({ "errors": errors }));
            place(Some(&problem), &lines)
        };
        assert_eq!(of(json!([{"pointer": "/1/id"}])), "line 9: ");
        assert_eq!(of(json!([{"offset": 49}])), "line 7: ");
        assert_eq!(of(json!([{"offset": 50}])), "line 9: ");
        assert_eq!(of(json!([])), "lines 7 to 9: ");
        assert_eq!(place(None, &lines[..1]), "line 7: ");
    }
}
