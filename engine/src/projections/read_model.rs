//! A read model: what one can ask of the documents of one collection.

use std::sync::Arc;
use std::time::Duration;

use super::Running;
use super::query::{Page, QueryError, RowsQuery};
use crate::names::DocumentKey;
use crate::storage::read_models::ReadModelError;

/// A handle to one read model of the projection version that was active when it was taken.
#[derive(Clone, Debug)]
pub struct ReadModel {
    name: String,
    running: Arc<Running>,
    scan_rows: usize,
}

/// A document and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: String,
    /// The document, JSON.
    pub document: String,
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
    pub(super) fn new(name: String, running: Arc<Running>, scan_rows: usize) -> Self {
        Self { name, running, scan_rows }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The projection that makes it.
    #[must_use]
    pub fn projection(&self) -> &str {
        &self.running.spec.name
    }

    /// The newest position it has applied.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.running.progress.borrow().position
    }

    /// Waits until it has applied a position, and answers the one it has.
    ///
    /// # Errors
    /// The position it has, when the time is up or the projection was stopped.
    pub async fn wait_for(&self, position: u64, wait: Duration) -> Result<u64, u64> {
        let mut progress = self.running.progress.subscribe();
        let reached = progress.wait_for(|checkpoint| checkpoint.position >= position);
        match tokio::time::timeout(wait, reached).await {
            Ok(Ok(checkpoint)) => Ok(checkpoint.position),
            Ok(Err(_)) | Err(_) => Err(self.position()),
        }
    }

    /// The document at a key. It may block on the disk, shortly.
    ///
    /// # Errors
    /// [`ReadModelError`] when the file cannot be read.
    pub fn get(&self, key: &DocumentKey) -> Result<Option<String>, ReadModelError> {
        self.running.file.view()?.get(&self.name, key.as_str())
    }

    /// A page of documents. It blocks.
    ///
    /// # Errors
    /// [`PageError`] when the query asks for too much or the file cannot be read.
    pub fn page(&self, query: &RowsQuery) -> Result<RowsPage, PageError> {
        // Read before the view is taken, so that it never claims more than the view has.
        let position = self.position();
        let mut page = Page::new(query, self.scan_rows).map_err(PageError::Query)?;
        let view = self.running.file.view().map_err(PageError::File)?;
        let mut problem = None;
        let from = page.from();
        view.scan(&self.name, from.as_ref().map(String::as_str), |key, document| {
            page.offer(key, document).unwrap_or_else(|error| {
                problem = Some(error);
                false
            })
        })
        .map_err(PageError::File)?;
        if let Some(error) = problem {
            return Err(PageError::Query(error));
        }
        let (rows, next) = page.finish();
        Ok(RowsPage { rows, next, position })
    }
}
