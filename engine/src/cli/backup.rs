//! `factum backup` and `factum restore`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::ProgressBar;
use serde_json::json;

use super::progress::{self, Where};
use super::verify::look;
use crate::backup::{self, Contents, Source, Span};
use crate::report::{Report, grouped};
use crate::storage::log::{Chain, Stored};
use crate::tasks;
use crate::verify::Pace;

/// Components that a server is told to leave out. 10,000: their digests are less than a body may
/// have.
const MOST_WITHOUT: usize = 10_000;

/// What `factum backup` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    place: Where,
    /// The file to write; there must be none of this name
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// An earlier backup of the same store: only what came after it is written
    #[arg(long, value_name = "FILE")]
    after: Option<PathBuf>,
    /// Print what the backup has as one JSON document
    #[arg(long)]
    json: bool,
}

/// What `factum restore` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// A whole backup, then any that go on after it, in order
    #[arg(long, value_name = "FILE", required = true)]
    from: Vec<PathBuf>,
    /// The directory to make; there must be none of this name
    #[arg(long, visible_alias = "data-dir", value_name = "DIR")]
    data: PathBuf,
    /// Print what was restored as one JSON document
    #[arg(long)]
    json: bool,
}

/// Takes a backup, checks it, and only then gives it its name.
pub(super) async fn run(args: BackupArgs) -> Result<ExitCode, String> {
    if std::fs::symlink_metadata(&args.to).is_ok() {
        return Err(format!("{} exists, and is not written over", args.to.display()));
    }
    let before = match args.after.clone() {
        Some(file) => Some(blocking(move || backup::check(&file).map_err(text)).await?),
        None => None,
    };
    let after = before.as_ref().map_or(0, |before| before.span.through.decision);
    let without = before.as_ref().map(|before| before.components.clone()).unwrap_or_default();
    let beside = match args.to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let failed = |error: std::io::Error| format!("{}: {error}", beside.display());
    let file = tempfile::NamedTempFile::new_in(&beside).map_err(failed)?;
    let bar = progress::bar("bytes", args.json);
    let out = file.reopen().map_err(failed)?;
    match (&args.place.data, &args.place.url) {
        (Some(data), _) => offline(data.clone(), (after, without), out, bar.clone()).await?,
        (None, Some(url)) => download(url, (after, without), out, &bar).await?,
        (None, None) => return Err("name --data or --url".into()),
    }
    bar.finish_and_clear();
    let path = file.path().to_owned();
    let Contents { span, .. } = blocking(move || backup::check(&path).map_err(text)).await?;
    let goes_on =
        |before: &Contents| before.span.store == span.store && before.span.through == span.after;
    if before.is_some_and(|before| !goes_on(&before)) {
        return Err("the earlier backup is of another store, or of another history of it".into());
    }
    file.persist_noclobber(&args.to).map_err(|error| error.to_string())?;
    File::open(&beside).and_then(|dir| dir.sync_all()).map_err(failed)?;
    show(&span, args.json, &format!("written to {}", args.to.display()));
    Ok(ExitCode::SUCCESS)
}

/// Restores and says what.
pub(super) async fn restore(args: RestoreArgs) -> Result<ExitCode, String> {
    let (from, data) = (args.from.clone(), args.data.clone());
    let restored = blocking(move || backup::restore(&from, &data).map_err(text)).await?;
    let done = format!("restored to {}", args.data.display());
    show(&restored.span, args.json, &done);
    Ok(ExitCode::SUCCESS)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tasks::blocking(work).await.unwrap_or_else(|| Err("it panicked".into()))
}

/// From a directory that no server uses.
async fn offline(
    data: PathBuf,
    (after, without): (u64, BTreeSet<String>),
    out: File,
    bar: ProgressBar,
) -> Result<(), String> {
    blocking(move || {
        let dir = look(&data)?;
        let stored = Stored::open(dir.path(), dir.store_id()).map_err(text)?;
        let source = Source {
            through: end(&stored, dir.store_id())?,
            stored,
            store_id: dir.store_id().to_owned(),
            dir: dir.path().to_owned(),
            checkpoint: None,
            without,
        };
        let span = backup::span(&source, after).map_err(text)?;
        let out = bar.wrap_write(out);
        backup::write(&source, span, Pace::ALONE, out).map_err(text)
    })
    .await
}

/// The newest record of a log that nobody writes to.
fn end(stored: &Stored, store_id: &str) -> Result<crate::storage::log::Head, String> {
    if let Some(fault) = stored.journal_fault() {
        return Err(fault.to_string());
    }
    let Some(newest) = stored.end() else { return Ok(Chain::genesis(store_id).head) };
    let record = stored.record(newest).map_err(text)?;
    let record = record.ok_or_else(|| format!("decision {newest} is missing"))?;
    Ok(Chain::from(&record).map_err(text)?.1.head)
}

/// From a running server.
async fn download(
    url: &str,
    (after, without): (u64, BTreeSet<String>),
    mut out: File,
    bar: &ProgressBar,
) -> Result<(), String> {
    let client = progress::client(url)?;
    // Those beyond are in this one again.
    let without: Vec<_> = without.into_iter().take(MOST_WITHOUT).collect();
    let what = json!({"after": after, "without": without});
    let mut pieces = client.download_of("/v1/backup", &what).await.map_err(text)?;
    while let Some(piece) = pieces.next().await.map_err(text)? {
        out.write_all(&piece).map_err(text)?;
        bar.inc(u64::try_from(piece.len()).unwrap_or(0));
    }
    out.sync_all().map_err(text)
}

fn show(span: &Span, is_json: bool, done: &str) {
    let mut lines = Report::stdout();
    if is_json {
        // Numbers and strings: there is nothing that could fail.
        return lines.line(serde_json::to_string_pretty(span).unwrap_or_default());
    }
    let count = |number: u64| grouped(i64::try_from(number).unwrap_or(i64::MAX));
    lines.line(format_args!(
        "decisions {} to {}, events up to position {}: {done}",
        count(span.after.decision + 1),
        count(span.through.decision),
        count(span.through.position)
    ));
}
