//! A read model: what one can ask of the documents of one collection.

use std::sync::Arc;
use std::time::Duration;

use super::ProjectionLimits;
use super::pasts::{Past, PastError};
use super::projection::Projection;
use super::query::{QueryError, RowsQuery, page};
use crate::names::DocumentKey;
use crate::storage::read_models::{ReadModelError, View};

/// A handle to one read model, whichever generation of its projection answers.
#[derive(Clone, Debug)]
pub struct ReadModel {
    name: String,
    source: Source,
    limits: ProjectionLimits,
}

/// Where documents come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Whatever generation answers.
    Now(Arc<Projection>),
    /// What was, as of a position.
    Then(Arc<Past>),
}

/// A document and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: String,
    /// The document, JSON.
    pub document: String,
}

/// How many rows all pages have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// As many were found.
    pub rows: usize,
    /// Whether those are all.
    pub is_exact: bool,
}

/// How a query was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The index that was used; none: the documents themselves.
    pub index: Option<String>,
    /// The paths whose conditions chose what was looked at.
    pub narrowed_by: Vec<String>,
    /// The paths whose conditions were looked at in each document.
    pub checked: Vec<String>,
    /// Whether the rows had to be sorted: they did not come in the order that was asked for.
    pub is_sorted: bool,
    /// Documents that were looked at.
    pub rows_looked_at: usize,
    /// How many those may be.
    pub scan_rows: usize,
}

/// Some of the documents.
#[derive(Clone, Debug)]
pub struct RowsPage {
    /// In the order asked for.
    pub rows: Vec<Row>,
    /// Where the next page begins; none on the last.
    pub next: Option<String>,
    /// The position that they were read at, or an earlier one.
    pub position: u64,
    /// How many rows there are, where that was asked.
    pub count: Option<Count>,
    /// How they were found.
    pub explain: Explain,
}

/// Why a page cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageError {
    /// The query cannot be answered as it was asked.
    Query(QueryError),
    /// The file cannot be read.
    File(ReadModelError),
}

impl std::fmt::Display for PageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Query(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PageError {}

impl ReadModel {
    pub(super) fn new(name: String, source: Source, limits: ProjectionLimits) -> Self {
        Self { name, source, limits }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest position it has applied.
    #[must_use]
    pub fn position(&self) -> u64 {
        match &self.source {
            Source::Now(projection) => projection.answering().at().position,
            Source::Then(past) => past.position,
        }
    }

    /// Waits until it can be asked: one that is as of a position has to be built.
    ///
    /// # Errors
    /// [`PastError`], how far it is or why it cannot be built.
    pub async fn ready(&self, wait: Duration) -> Result<(), PastError> {
        match &self.source {
            Source::Now(_) => Ok(()),
            Source::Then(past) => past.ready(wait).await,
        }
    }

    /// Waits until it has applied a position, and answers the one it has.
    ///
    /// # Errors
    /// The position it has, when the time is up or the projection was removed.
    pub async fn wait_for(&self, position: u64, wait: Duration) -> Result<u64, u64> {
        match tokio::time::timeout(wait, self.reached(position)).await {
            Ok(Some(reached)) => Ok(reached),
            Ok(None) | Err(_) => Err(self.position()),
        }
    }

    /// None: nothing answers any more.
    async fn reached(&self, position: u64) -> Option<u64> {
        let Source::Now(projection) = &self.source else {
            return Some(self.position()).filter(|reached| *reached >= position);
        };
        loop {
            let answering = projection.answering();
            let mut progress = answering.progress.subscribe();
            let moved = progress.wait_for(|now| now.at.position >= position || now.is_replaced);
            let now = *moved.await.ok()?;
            if now.at.position >= position {
                return Some(now.at.position);
            }
            if Arc::ptr_eq(&answering, &projection.answering()) {
                return None;
            }
        }
    }

    /// The document at a key. It may block on the disk, shortly.
    ///
    /// # Errors
    /// [`ReadModelError`] when the file cannot be read.
    pub fn get(&self, key: &DocumentKey) -> Result<Option<String>, ReadModelError> {
        self.view()?.1.get(&self.name, key.as_str())
    }

    /// The documents, and the position that they have or an earlier one.
    fn view(&self) -> Result<(u64, Arc<View>), ReadModelError> {
        match &self.source {
            Source::Now(projection) => {
                let answering = projection.answering();
                // Read before the view is taken, so that it never claims more than the view has.
                let position = answering.at().position;
                Ok((position, answering.file.view()?))
            }
            Source::Then(past) => Ok((past.position, past.file.view()?)),
        }
    }

    /// A page of documents. It blocks.
    ///
    /// # Errors
    /// [`PageError`] when the query asks for too much or the file cannot be read.
    pub fn page(&self, query: &RowsQuery) -> Result<RowsPage, PageError> {
        let (position, view) = self.view().map_err(PageError::File)?;
        page(&view, &self.name, query, &self.limits, position)
    }
}
