//! `factum archive` and `factum unarchive`: closed files of the log go elsewhere and come back.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::json;

use super::progress::{self, Where};
use crate::archive::{ArchiveView, Archiver, FileView, Point, offline};
use crate::report::{Report, grouped};
use crate::tasks;

/// What `factum archive` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ArchiveArgs {
    #[command(flatten)]
    place: Where,
    /// With --data: the directory that files of the log are moved to; without it, the one before
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    archive_dir: Option<PathBuf>,
    /// Only files that have nothing at or after this: a position, or a time such as
    /// 2026-01-31T12:00:00Z; without it, every file that is closed
    #[arg(long, value_name = "POINT")]
    before: Option<Point>,
    /// Only say what is archived
    #[arg(long, conflicts_with = "before")]
    list: bool,
    /// Print what is archived as one JSON document
    #[arg(long)]
    json: bool,
}

/// What `factum unarchive` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct UnarchiveArgs {
    #[command(flatten)]
    place: Where,
    /// With --data: the directory that has the files; without it, where they were moved
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    archive_dir: Option<PathBuf>,
    /// Only files that have something after this: a position, or a time such as
    /// 2026-01-31T12:00:00Z; without it, all
    #[arg(long, value_name = "POINT")]
    after: Option<Point>,
    /// Print what is archived then as one JSON document
    #[arg(long)]
    json: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Work {
    Archive(Option<Point>),
    Unarchive(Option<Point>),
    Nothing,
}

/// Moves files to the archive and says what is there.
pub(super) async fn run(args: ArchiveArgs) -> Result<ExitCode, String> {
    let work = if args.list { Work::Nothing } else { Work::Archive(args.before) };
    act(args.place, args.archive_dir, work, args.json).await
}

/// Brings files back and says what is left there.
pub(super) async fn unarchive(args: UnarchiveArgs) -> Result<ExitCode, String> {
    act(args.place, args.archive_dir, Work::Unarchive(args.after), args.json).await
}

async fn act(
    place: Where,
    dir: Option<PathBuf>,
    work: Work,
    is_json: bool,
) -> Result<ExitCode, String> {
    let bar = progress::bar("files", is_json);
    let (view, moved) = match (place.data, place.url) {
        (Some(data), _) => in_directory(data, dir, work, bar.clone()).await?,
        (None, Some(url)) => running(&url, work, &bar).await?,
        (None, None) => return Err("name --data or --url".into()),
    };
    bar.finish_and_clear();
    show(&view, moved, work, is_json);
    Ok(ExitCode::SUCCESS)
}

type Done = (ArchiveView, u64);

async fn in_directory(
    data: PathBuf,
    dir: Option<PathBuf>,
    work: Work,
    bar: ProgressBar,
) -> Result<Done, String> {
    let done = tasks::blocking(move || {
        let mut count = 0;
        let moved = |_: FileView| {
            bar.inc(1);
            count += 1;
            true
        };
        let view = offline(&data, dir, |archiver: &Arc<Archiver>| match work {
            Work::Archive(before) => archiver.archive(before, moved),
            Work::Unarchive(after) => archiver.unarchive(after, moved),
            Work::Nothing => Ok(()),
        })?;
        Ok((view, count))
    });
    done.await.unwrap_or_else(|| Err("it panicked".into()))
}

/// A line of a server's answer.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Moved(serde::de::IgnoredAny),
    Archive(ArchiveView),
    Problem { detail: String },
}

async fn running(url: &str, work: Work, bar: &ProgressBar) -> Result<Done, String> {
    let client = progress::client(url)?;
    let (path, asked) = match work {
        Work::Archive(before) => ("/v1/archive", json!({"before": before})),
        Work::Unarchive(after) => ("/v1/unarchive", json!({"after": after})),
        Work::Nothing => {
            let view = client.get("/v1/archive").await.map_err(|error| error.to_string())?;
            return Ok((view, 0));
        }
    };
    let mut lines = client.ask(path, &asked).await.map_err(|error| error.to_string())?;
    let mut count = 0;
    while let Some(line) = lines.next().await.map_err(|error| error.to_string())? {
        match line {
            Line::Moved(_) => {
                bar.inc(1);
                count += 1;
            }
            Line::Archive(view) => return Ok((view, count)),
            Line::Problem { detail } => return Err(detail),
        }
    }
    Err(format!("{url} ended its answer before its end"))
}

fn show(view: &ArchiveView, moved: u64, work: Work, is_json: bool) {
    let mut lines = Report::stdout();
    if is_json {
        // Numbers and strings: there is nothing that could fail.
        return lines.line(serde_json::to_string_pretty(view).unwrap_or_default());
    }
    let count = |number: u64| grouped(i64::try_from(number).unwrap_or(i64::MAX));
    match work {
        Work::Archive(_) => lines.line(format_args!("{} files were archived", count(moved))),
        Work::Unarchive(_) => lines.line(format_args!("{} files came back", count(moved))),
        Work::Nothing => {}
    }
    let dir = view.dir.as_ref().map_or_else(|| "nowhere".into(), |dir| dir.display().to_string());
    lines.line(format_args!(
        "archived in {dir}: decisions up to {}, events up to position {}",
        count(view.through_decision),
        count(view.through_position)
    ));
    for file in view.files.iter().filter(|file| !file.within_reach) {
        lines.item(format_args!("out of reach: {}", file.file));
    }
}
