//! Queries that a module answers itself, for what indexes cannot say: read-only, under the limits
//! of every call of a guest.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch::Look;
use super::projection::Projection;
use super::running::Running;
use crate::runtime::{Component, GuestError, Instance};
use crate::storage::read_models::ReadModelError;

/// Why a module's query has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestQueryError {
    /// The projection has no such query.
    Unknown(String),
    /// The module refuses the parameters, and says why.
    Refused(String),
    /// The module failed: its name, and how.
    Guest(String, GuestError),
    /// The file cannot be read.
    File(ReadModelError),
}

impl std::fmt::Display for GuestQueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Guest(module, error) => write!(f, "module {module}: {error}"),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GuestQueryError {}

/// The live instances that answer one projection's queries.
#[derive(Debug)]
pub(super) struct Answerers {
    component: Component,
    idle: Mutex<Vec<Instance>>,
    /// As many queries are answered at a time.
    at_once: Arc<Semaphore>,
}

impl Answerers {
    pub(super) fn new(component: Component, at_once: usize) -> Self {
        Self { component, idle: Mutex::default(), at_once: Arc::new(Semaphore::new(at_once)) }
    }
}

/// A handle to the queries of one projection.
#[derive(Clone, Debug)]
pub struct GuestQueries {
    projection: Arc<Projection>,
}

/// A turn among the queries that are answered at a time; it ends with this.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl GuestQueries {
    pub(super) fn new(projection: Arc<Projection>) -> Self {
        Self { projection }
    }

    /// Whether there is a query of this name.
    ///
    /// # Errors
    /// [`GuestQueryError::Unknown`], naming those there are.
    pub fn check(&self, query: &str) -> Result<(), GuestQueryError> {
        let spec = &self.projection.answering().spec;
        if spec.queries.iter().any(|known| known.name == query) {
            return Ok(());
        }
        let known: Vec<_> = spec.queries.iter().map(|known| known.name.as_str()).collect();
        Err(GuestQueryError::Unknown(match &*known {
            [] => format!("projection {} has no queries", spec.name),
            known => {
                let known = known.join(", ");
                format!("projection {} has no query {query:?}; it has: {known}", spec.name)
            }
        }))
    }

    /// Waits for a turn.
    pub async fn turn(&self) -> Option<Turn> {
        let at_once = Arc::clone(&self.projection.answering().answerers.at_once);
        // It is never closed.
        at_once.acquire_owned().await.ok().map(Turn)
    }

    /// One of the projection's read models, to wait for: they move together.
    #[must_use]
    pub fn read_model(&self, limits: &super::ProjectionLimits) -> Option<super::ReadModel> {
        let name = self.projection.answering().spec.collections.first()?.name.clone();
        let source = super::read_model::Source::Now(Arc::clone(&self.projection));
        Some(super::ReadModel::new(name, source, limits.clone()))
    }

    /// Asks the module: JSON in and out. It blocks.
    ///
    /// # Errors
    /// [`GuestQueryError`].
    pub fn answer(&self, query: &str, parameters: &str) -> Result<String, GuestQueryError> {
        self.check(query)?;
        let answering = self.projection.answering();
        let Running { spec, module, answerers, file, .. } = &*answering;
        let view = file.view().map_err(GuestQueryError::File)?;
        let look = Look { view, overlay: Arc::default(), spec: Arc::clone(spec) };
        let failed = |error| GuestQueryError::Guest(module.clone(), error);
        let idle = answerers.idle.lock().pop().filter(|instance| !instance.is_spent());
        let mut instance = match idle {
            Some(instance) => instance,
            None => answerers.component.instantiate(module).map_err(failed)?,
        };
        let answer = instance.query(&spec.name, query, parameters, Arc::new(look));
        let answer = answer.map_err(failed)?;
        if !instance.is_spent() {
            answerers.idle.lock().push(instance);
        }
        let json = answer.map_err(GuestQueryError::Refused)?;
        match serde_json::from_str::<&RawValue>(&json) {
            Ok(_) => Ok(json),
            Err(error) => Err(failed(GuestError::Trap(format!("its answer is no JSON: {error}")))),
        }
    }
}
