//! Reading one's own writes: waiting until a read model has applied a position.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::commands::Until;
use crate::projections::{PastError, ReadModel};
use crate::reads::position_at;

use super::app::App;
use super::error::{More, POSITION_BEYOND_HEAD, Problem, READ_MODEL_BEHIND, UNKNOWN_READ_MODEL};
use super::events::blocking;
use super::history;
use super::params::{Params, invalid};

/// A read model that a command's answer waits for.
#[derive(Debug)]
pub(super) struct Awaited {
    model: ReadModel,
    wait: Duration,
}

/// How far the read model got.
#[derive(Debug, Serialize)]
pub(super) struct Reached {
    name: String,
    position: u64,
    reached: bool,
}

impl Awaited {
    /// `?wait_for=<read model>&wait=<seconds>`.
    pub(super) fn parse(params: &mut Params, app: &App) -> Result<Option<Self>, Problem> {
        match params.one("wait_for")? {
            Some(name) => {
                let wait = params.wait(&app.limits)?;
                Ok(Some(Self { model: find(app, &name)?, wait }))
            }
            // Without something to wait for, `wait` is refused as unknown.
            None => Ok(None),
        }
    }

    /// Waits. Too late is not an error: the command was decided.
    pub(super) async fn reach(self, position: u64) -> Reached {
        let (position, reached) = match wait_for(&self.model, position, self.wait).await {
            Ok(position) => (position, true),
            Err(position) => (position, false),
        };
        Reached { name: self.model.name().to_owned(), position, reached }
    }
}

/// The read model of a name.
pub(super) fn find(app: &App, name: &str) -> Result<ReadModel, Problem> {
    let projections = app.engine.projections();
    projections.read_model(name).ok_or_else(|| match projections.why_none(name) {
        PastError::Unknown => {
            Problem::new(&UNKNOWN_READ_MODEL, format!("no active module has a read model {name:?}"))
        }
        not_yet => not_yet.into(),
    })
}

/// What a read model must have applied before it answers, and for how long that is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinPosition {
    required: u64,
    wait: Duration,
}

/// `?min_position=<n>&wait=<seconds>`.
pub(super) fn min_position(params: &mut Params, app: &App) -> Result<MinPosition, Problem> {
    let Some(required) = params.parsed::<u64>("min_position")? else {
        if params.one("wait")?.is_some() {
            return Err(invalid("wait", "it needs min_position"));
        }
        return Ok(MinPosition { required: 0, wait: Duration::ZERO });
    };
    let wait = params.wait(&app.limits)?;
    let head = app.engine.log().head().position;
    if required > head {
        let detail = format!("the newest position is {head}, and {required} was asked for");
        let more = More { position: Some(head), required: Some(required), ..More::default() };
        return Err(Problem::new(&POSITION_BEYOND_HEAD, detail).with(more));
    }
    Ok(MinPosition { required, wait })
}

/// When a read model is asked as of.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Now, or as soon as it has applied a position.
    Now(MinPosition),
    /// As of a point in time, and how long its building is waited for.
    Then(Until, Duration),
}

/// `?at=<position or time>&wait=<seconds>`, or what [`min_position`] takes.
pub(super) fn when(params: &mut Params, app: &App) -> Result<When, Problem> {
    let Some(text) = params.one("at")? else { return Ok(When::Now(min_position(params, app)?)) };
    Ok(When::Then(history::point(&text, app)?, params.wait(&app.limits)?))
}

impl When {
    /// The read model, once it can be asked, and the position that it has at least.
    pub(super) async fn reach(self, app: &App, name: &str) -> Result<(ReadModel, u64), Problem> {
        match self {
            Self::Now(least) => {
                let model = find(app, name)?;
                let position = least.reach(&model).await?;
                Ok((model, position))
            }
            Self::Then(point, wait) => {
                let (engine, name) = (Arc::clone(&app.engine), name.to_owned());
                let model = blocking(move || {
                    let position = match point {
                        Until::Position(position) | Until::Version(position) => position,
                        Until::Time(time_ms) => position_at(engine.log(), time_ms)?,
                    };
                    Ok(engine.projections().read_model_at(&name, position)?)
                });
                let model = model.await?;
                model.ready(wait).await?;
                let position = model.position();
                Ok((model, position))
            }
        }
    }
}

impl MinPosition {
    /// Waits, and answers the position that was reached. Thousands may wait at once: it holds
    /// little, and so should its caller.
    pub(super) async fn reach(self, model: &ReadModel) -> Result<u64, Problem> {
        let Self { required, wait } = self;
        wait_for(model, required, wait).await.map_err(|position| {
            let name = model.name();
            let detail = format!("read model {name} is at {position} and {required} was asked for");
            let (position, required) = (Some(position), Some(required));
            let more = More { position, required, ..More::default() };
            Problem::new(&READ_MODEL_BEHIND, detail).with(more)
        })
    }
}

async fn wait_for(model: &ReadModel, position: u64, wait: Duration) -> Result<u64, u64> {
    let now = model.position();
    if now >= position { Ok(now) } else { model.wait_for(position, wait).await }
}
