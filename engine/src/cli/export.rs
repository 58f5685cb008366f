//! `factum export`: the events of a running server as CloudEvents, one a line, in their order.
//!
//! Promises: it ends at the head that the server had when it began; a file has its name only when
//! it is whole; a connection that breaks is gone on with after the last event.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::remote::{Progress, Remote, Step, say};
use crate::client::{Client, ClientError};
use crate::http::encode;

/// Connections in a row that bring nothing before it is given up.
const MOST_FAILURES: u32 = 10;
/// How long to wait before the next.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes that are written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What `factum export` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    remote: Remote,
    /// Where the events go; - is standard output
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    output: PathBuf,
    /// Only events of this type; may be given several times, and any of them counts
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events with this tag; may be given several times, and all of them count
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only events of streams of this category; may be given several times, and any counts
    #[arg(long = "category", value_name = "NAME")]
    categories: Vec<String>,
    /// Only events after this position
    #[arg(long, default_value_t = 0, value_name = "POSITION")]
    after: u64,
    /// Only events before this position
    #[arg(long, value_name = "POSITION")]
    before: Option<u64>,
    /// Say how far it is, and what came of it, as JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
struct Exported {
    events: u64,
    /// The last position that was looked at.
    position: u64,
}

#[derive(Deserialize)]
struct Page {
    head: u64,
}

/// What is looked at of each line.
#[derive(Deserialize)]
struct Placed {
    globalposition: Value,
}

impl Placed {
    /// A number, or the digits of a large one.
    fn position(&self) -> Option<u64> {
        let digits = || self.globalposition.as_str()?.parse().ok();
        self.globalposition.as_u64().or_else(digits)
    }
}

/// Exports and says how much that was.
pub(super) async fn run(args: ExportArgs) -> Result<ExitCode, String> {
    let client = args.remote.client()?;
    let path = "/v1/events?limit=1&direction=backward";
    let Page { head } = client.get(path).await.map_err(|error| error.to_string())?;
    let until = args.before.map_or(head, |before| head.min(before.saturating_sub(1)));
    let exported = if args.output == Path::new("-") {
        let mut out = std::io::BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout());
        let exported = copy(&args, &client, until, &mut out).await?;
        out.flush().map_err(|error| error.to_string())?;
        exported
    } else {
        to_file(&args, &client, until).await?
    };
    say(&if args.json {
        serde_json::to_string(&exported).unwrap_or_default()
    } else {
        format!("{} events were exported, up to position {}", exported.events, exported.position)
    });
    Ok(ExitCode::SUCCESS)
}

async fn to_file(args: &ExportArgs, client: &Client, until: u64) -> Result<Exported, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", args.output.display());
    let dir = args.output.parent().filter(|dir| !dir.as_os_str().is_empty());
    let file = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new("."))).map_err(failed)?;
    let mut out = std::io::BufWriter::with_capacity(BUFFER_BYTES, file);
    let exported = copy(args, client, until, &mut out).await?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&args.output).map_err(|error| failed(error.error))?;
    Ok(exported)
}

/// Copies events until there are no more, connecting again where need be.
async fn copy(
    args: &ExportArgs,
    client: &Client,
    until: u64,
    out: &mut impl Write,
) -> Result<Exported, String> {
    let mut exported = Exported { events: 0, position: args.after };
    let mut progress = Progress::new(args.json);
    let mut failures = 0;
    while exported.position < until {
        let before = exported.position;
        match follow(args, client, until, (&mut exported, &mut progress), out).await {
            Ok(()) => break,
            Err(Stopped::For(reason)) => return Err(reason),
            Err(Stopped::Connection(error)) => {
                failures = if exported.position > before { 0 } else { failures + 1 };
                if failures >= MOST_FAILURES {
                    return Err(error.to_string());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    progress.end();
    exported.position = exported.position.max(until);
    Ok(exported)
}

/// Why it did not go on.
enum Stopped {
    /// Another connection may help.
    Connection(ClientError),
    /// Nothing will.
    For(String),
}

impl From<ClientError> for Stopped {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Transport { .. } => Self::Connection(error),
            other => Self::For(other.to_string()),
        }
    }
}

async fn follow(
    args: &ExportArgs,
    client: &Client,
    until: u64,
    (exported, progress): (&mut Exported, &mut Progress),
    out: &mut impl Write,
) -> Result<(), Stopped> {
    let mut path =
        format!("/v1/events?format=cloudevents&follow=false&after={}", exported.position);
    for (name, values) in
        [("type", &args.types), ("tag", &args.tags), ("category", &args.categories)]
    {
        for value in values {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    let mut lines = client.get_lines(&path).await?;
    while let Some(line) = lines.next_text().await? {
        let placed: Option<Placed> = serde_json::from_slice(&line).ok();
        let position = placed.and_then(|placed| placed.position()).ok_or_else(|| {
            Stopped::For("the server answered a line that is no event of its log".to_owned())
        })?;
        if position > until {
            break;
        }
        let written = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
        written.map_err(|error| Stopped::For(format!("{}: {error}", args.output.display())))?;
        exported.events += 1;
        exported.position = position;
        progress.at(Step {
            events: exported.events,
            done: position - args.after,
            total: Some(until - args.after),
        });
    }
    Ok(())
}
