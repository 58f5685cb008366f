//! `factum schemas`: what the data of events must be like, declared and shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use super::remote::{Progress, Remote, Step};
use crate::client::{Client, Problem};
use crate::http::encode;
use crate::report::Report;

/// What `factum schemas` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SchemasArgs {
    #[command(flatten)]
    remote: Remote,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Asked {
    /// Declare the schema of an event type, once every recorded event of it was tried
    Put {
        /// The event type
        event_type: String,
        /// The version of its shape
        version: u32,
        /// The JSON Schema
        file: PathBuf,
    },
    /// Show a schema
    Get {
        /// The event type
        event_type: String,
        /// The version of its shape
        version: u32,
    },
    /// List all of them
    List,
}

/// Asks the server and shows what it says.
pub(super) async fn run(args: SchemasArgs) -> Result<ExitCode, String> {
    let client = args.remote.client()?;
    let asked = match &args.asked {
        Asked::Put { event_type, version, file } => {
            put(&client, (event_type, *version), file, args.json).await?
        }
        Asked::Get { event_type, version } => {
            let path = path(event_type, *version);
            let found: Value = client.get(&path).await.map_err(|error| error.to_string())?;
            if args.json { found.to_string() } else { field(&found, "schema").to_string() }
        }
        Asked::List => {
            let all: Value = client.get("/v1/schemas").await.map_err(|error| error.to_string())?;
            if args.json { all.to_string() } else { listed(&all) }
        }
    };
    if !asked.is_empty() {
        Report::stdout().line(asked);
    }
    Ok(ExitCode::SUCCESS)
}

fn path(event_type: &str, version: u32) -> String {
    format!("/v1/schemas/{}/{version}", encode(event_type))
}

/// A field of an answer; null where there is none.
fn field<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer.get(name).unwrap_or(&Value::Null)
}

/// A type and a version a line.
fn listed(all: &Value) -> String {
    let schemas = field(all, "schemas").as_array().into_iter().flatten();
    let name = |schema: &Value| {
        let name = field(schema, "type").as_str().unwrap_or_default();
        format!("{name} {}", field(schema, "version"))
    };
    schemas.map(name).collect::<Vec<_>>().join("\n")
}

/// Declares one while it says how far the trying is.
async fn put(
    client: &Client,
    (event_type, version): (&str, u32),
    file: &Path,
    json: bool,
) -> Result<String, String> {
    let schema = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (path, media) = (path(event_type, version), "application/json");
    let lines = client.stream(Method::PUT, &path, media, Bytes::from(schema)).await;
    let mut lines = lines.map_err(|error| error.to_string())?;
    let mut progress = Progress::new(json);
    let mut last = Value::Null;
    while let Some(line) = lines.next::<Value>().await.map_err(|error| error.to_string())? {
        if line.get("status").is_none() {
            let number = |name: &str| field(&line, name).as_u64();
            let events = number("tried").unwrap_or_default();
            let done = number("position").unwrap_or_default();
            progress.at(Step { events, done, total: number("head") });
        }
        last = line;
    }
    progress.end();
    let status = field(&last, "status").as_u64().and_then(|status| u16::try_from(status).ok());
    match status {
        Some(status) if status < 400 && json => Ok(last.to_string()),
        Some(status) if status < 400 => {
            let came =
                if field(&last, "tried").is_null() { "was declared before" } else { "holds" };
            Ok(format!("the schema of {event_type:?}, version {version}, {came}"))
        }
        _ => Err(refusal(&Problem::of(status.unwrap_or_default(), last))),
    }
}

/// The problem, and the events that break the schema.
fn refusal(problem: &Problem) -> String {
    let mut text = problem.to_string();
    for error in field(&problem.body, "errors").as_array().into_iter().flatten() {
        let detail = field(error, "detail").as_str().unwrap_or_default();
        let pointer = field(error, "pointer").as_str().unwrap_or_default();
        text.push_str(&format!("\n  position {}, {pointer:?}: {detail}", field(error, "position")));
    }
    text
}
