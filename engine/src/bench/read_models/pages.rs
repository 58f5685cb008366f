//! A page of 50 out of a million documents, by an index, in the library.

use anyhow::{Context as _, ensure};

use crate::bench::log::Numbers;
use crate::bench::median;
use crate::clock::Stopwatch;
use crate::document::{Index, Part};
use crate::projections::{Filter, ProjectionLimits, RowsQuery, page};
use crate::storage::read_models::{Checkpoint, Collection, ReadModelFile, RowChange};

const DOCUMENTS: usize = 1_000_000;
const GROUPS: u64 = 1_000;
const ROWS: usize = 50;
const PAGES: usize = 1_000;

/// The median of many pages, in microseconds.
pub(super) fn measure() -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let paths = ["group".to_owned(), "-score".to_owned()];
    let indexes = vec![Index::new("best", &paths, false)?];
    let collections = vec![Collection { name: "m".to_owned(), indexes }];
    let file = ReadModelFile::open(&dir.path().join("m.redb"), collections)?;
    let document = |(at, random): (usize, u64)| {
        let (group, score) = (random % GROUPS, random >> 20 & 0xffff);
        (format!("k{at:07}"), format!("{{\"group\":{group},\"score\":{score},\"note\":\"usual\"}}"))
    };
    let documents: Vec<_> = (0..DOCUMENTS).zip(Numbers(7)).map(document).collect();
    let changes = documents.iter().map(|(key, document)| RowChange {
        collection: "m",
        key,
        document: Some(document),
    });
    file.apply(changes, &Checkpoint::START, true)
        .map_err(|error| anyhow::anyhow!("{error:?}"))
        .context("the documents could not be written")?;
    let mut took = Vec::new();
    for group in Numbers(1).map(|random| random % GROUPS).take(PAGES) {
        let query = RowsQuery {
            filters: vec![Filter::parse(&format!("group:eq:{group}"))?],
            order: vec![Part::parse("-score")?],
            limit: ROWS,
            ..RowsQuery::default()
        };
        let started = Stopwatch::start();
        let view = file.view()?;
        let found = page(&view, "m", &query, &ProjectionLimits::default(), 0)?;
        took.push(started.elapsed().as_secs_f64() * 1e6);
        ensure!(found.rows.len() == ROWS, "a page has {} rows", found.rows.len());
    }
    Ok(median(took))
}
