//! The thread of one generation: waits for events, projects a batch, writes it with its
//! checkpoint, tells those who wait. What it cannot take it stops at, or parks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::ProjectionLimits;
use super::batch::{self, Wanted};
use super::crew::{Crew, Hands, NotMade};
use super::files::Files;
use super::generation::Generation;
use super::projection::Projection;
use super::running::Running;
use super::settings::{LeftOut, OnFailure};
use super::status::Stage;
use crate::clock::Stopwatch;
use crate::faults::{Point, fail_point};
use crate::runtime::Change;
use crate::storage::log::{Log, Refusal};
use crate::storage::read_models::{Checkpoint, WriteError};
use crate::subscriptions::{Feed, Records};

/// How often a thread with nothing to do looks whether it should stop.
const IDLE: Duration = Duration::from_millis(100);
/// How long to wait before a file that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a generation is followed with.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) log: Log,
    pub(super) feed: Arc<Feed>,
    pub(super) files: Arc<Files>,
    pub(super) limits: ProjectionLimits,
}

/// What a generation is there for.
pub(super) enum Role {
    /// It answers queries.
    Answers,
    /// It will, once it caught up.
    Builds(Weak<Projection>),
}

pub(super) struct Follower {
    running: Arc<Running>,
    role: Role,
    sources: Sources,
    crew: Crew,
    generation: Generation,
    /// Whether an index may be unfinished.
    builds: bool,
    /// One while commands come in, which need the cores.
    hands: Hands,
}

/// Why a batch was not applied.
enum Stuck {
    /// The projection cannot go on by itself: why, and the events that it is about.
    Failed(String, Option<(u64, u64)>),
    /// The storage failed; it is tried again.
    Storage(String),
}

impl From<String> for Stuck {
    fn from(reason: String) -> Self {
        Self::Storage(reason)
    }
}

impl From<WriteError> for Stuck {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(conflict) => Self::Failed(conflict.to_string(), None),
            WriteError::File(error) => Self::Storage(error.to_string()),
        }
    }
}

/// What cannot be taken: why, and the first and last event to blame.
type Blame = (String, (u64, u64));

/// What a guest made of records, or why it did not.
type Taken = Result<Vec<Change>, String>;

impl Follower {
    pub(super) fn new(running: Arc<Running>, role: Role, sources: Sources) -> Self {
        let (file, at) = (Arc::clone(&running.file), running.at());
        let answers = matches!(role, Role::Answers);
        let limits = &sources.limits;
        let generation = Generation::new(file, &running.spec, at, limits.clone(), answers);
        let crew = Crew::new(&running.spec, &running.maker.component, &running.module, limits);
        Self { running, role, sources, crew, generation, builds: true, hands: Hands::All }
    }

    pub(super) fn run(mut self) {
        while !self.running.is_stopped() {
            let (since, head) = (Stopwatch::start(), self.sources.log.head());
            match self.step() {
                Ok(stage) => {
                    self.running.enter(stage);
                    let is_quiet = self.sources.log.head().decision == head.decision;
                    self.hands = if is_quiet { Hands::All } else { Hands::One };
                    if stage == Stage::Behind && !is_quiet {
                        self.leave_room(since.elapsed());
                    }
                }
                Err(Stuck::Storage(reason)) => {
                    self.running.fail(reason, None);
                    self.pause(RETRY);
                    self.reopen();
                }
                Err(Stuck::Failed(reason, events)) => self.stay(&reason, events),
            }
        }
        // What another took the place of is not needed.
        if !self.running.is_replaced() {
            self.sync();
        }
    }

    fn step(&mut self) -> Result<Stage, Stuck> {
        if self.running.settings.now().paused {
            self.flush()?;
            self.sync();
            std::thread::sleep(IDLE);
            return Ok(Stage::Paused);
        }
        if let (Role::Builds(_), Some(full @ Refusal::DiskFull { .. })) =
            (&self.role, self.sources.log.trouble())
        {
            // What room is left is for those who answer.
            self.running.note(full.to_string(), None);
            std::thread::sleep(IDLE);
            return Ok(Stage::Paused);
        }
        let at = self.generation.at().decision;
        let patience = if self.builds { Duration::ZERO } else { IDLE };
        let head = self.sources.log.wait_past(at, patience);
        // Whoever was at the head stays so while it is a batch behind; nobody else is before.
        let mut stage = match self.running.stage() {
            Stage::AtHead => Stage::AtHead,
            _ => Stage::Behind,
        };
        if head.decision > at {
            let part = u64::try_from(self.sources.limits.feed.part_records).unwrap_or(u64::MAX);
            if head.decision - at < part {
                std::thread::sleep(self.sources.limits.linger);
            } else {
                stage = Stage::Behind;
                self.running.enter(stage);
            }
            self.take_next()?;
        }
        if self.generation.at().decision >= self.sources.log.head().decision {
            self.flush()?;
            self.take_over()?;
            self.crew.rest();
            stage = Stage::AtHead;
        } else if self.generation.is_full() {
            self.flush()?;
        }
        if self.builds {
            self.builds = self.generation.build()?;
        }
        Ok(stage)
    }

    /// Applies what comes next of the log, if there is something.
    fn take_next(&mut self) -> Result<(), Stuck> {
        let records = self.sources.feed.read(self.generation.at().decision + 1);
        if let Some(records) = records.map_err(|error| Stuck::Storage(error.to_string()))? {
            self.take(&records)?;
            fail_point(Point::Project);
        }
        Ok(())
    }

    /// Projects a batch; when it fails, its records one by one, so that all before the one that
    /// fails are applied and the trouble has a position.
    fn take(&mut self, records: &Records) -> Result<(), Stuck> {
        if !self.generation.is_unique()
            && let Ok(changes) = self.project(records, u64::MAX, self.hands)?
        {
            return Ok(self.generation.take(changes, after(records)?)?);
        }
        for single in records.singles() {
            // Each turn parks an event of the record, or ends.
            while let Err((reason, events)) = self.take_single(&single)? {
                self.park(reason, events)?;
            }
        }
        Ok(())
    }

    /// Applies one record; the inner error is why it cannot be, and the events to blame.
    fn take_single(&mut self, single: &Records) -> Result<Result<(), Blame>, Stuck> {
        let after = after(single)?;
        let changes = match self.project(single, u64::MAX, Hands::One)? {
            Ok(changes) => changes,
            Err(reason) => return Ok(Err((reason, self.blame(single)?))),
        };
        match self.generation.take(changes, after) {
            Ok(()) => Ok(Ok(())),
            Err(WriteError::Conflict(conflict)) => {
                let events = (self.generation.at().position + 1, after.position);
                Ok(Err((conflict.to_string(), events)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The first event of a record without which those before it can be projected.
    fn blame(&mut self, single: &Records) -> Result<(u64, u64), Stuck> {
        let running = Arc::clone(&self.running);
        let settings = running.settings.now();
        let wanted = Wanted::of(&running.spec, &settings);
        let positions = wanted.each(single, |event| event.position);
        let positions = positions.map_err(|error| Stuck::Storage(error.to_string()))?;
        let (mut good, mut bad) = (0, positions.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            let up_to = positions.get(middle - 1).copied().unwrap_or_default();
            if self.project(single, up_to, Hands::One)?.is_ok() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        let at = bad.checked_sub(1).and_then(|at| positions.get(at)).copied();
        let at = at.unwrap_or(self.generation.at().position + 1);
        Ok((at, at))
    }

    /// Leaves out what cannot be taken, where that was asked for, or else stops.
    fn park(&mut self, reason: String, events: (u64, u64)) -> Result<(), Stuck> {
        let settings = &self.running.settings;
        if settings.now().on_failure == OnFailure::Stop {
            return Err(Stuck::Failed(reason, Some(events)));
        }
        let (first, last) = events;
        let span = LeftOut { first, last, reason: reason.clone(), parked: true };
        let parked = settings.change(None, |settings| settings.leave_out(span));
        parked.map_err(|error| Stuck::Failed(format!("{reason}; {error}"), Some(events)))?;
        let projection = &self.running.spec.name;
        tracing::warn!(projection, first, last, reason, "an event was parked");
        self.running.note(reason, Some(events));
        Ok(())
    }

    fn project(&mut self, records: &Records, up_to: u64, hands: Hands) -> Result<Taken, Stuck> {
        let spec = &self.running.spec;
        let settings = self.running.settings.now();
        let look = self.generation.look(spec).map_err(WriteError::File)?;
        let wanted = Wanted::of(spec, &settings).between(0, up_to);
        match self.crew.project(records, &wanted, look, hands) {
            Ok(changes) => Ok(Ok(changes)),
            Err(NotMade::Refused(reason)) => Ok(Err(reason)),
            Err(error @ (NotMade::Shared(_) | NotMade::Start(_))) => {
                Err(Stuck::Failed(error.to_string(), None))
            }
            Err(NotMade::Read(error)) => Err(Stuck::Storage(error.to_string())),
        }
    }

    fn flush(&mut self) -> Result<(), Stuck> {
        let running = Arc::clone(&self.running);
        let _moving = running.publishing.lock();
        if running.is_replaced() {
            return Ok(());
        }
        self.generation.flush()?;
        running.publish(self.generation.at());
        Ok(())
    }

    /// Makes what was applied durable. A failure is no loss: it would be projected again.
    fn sync(&mut self) {
        match self.generation.sync() {
            Ok(()) => self.running.publish(self.generation.at()),
            Err(WriteError::File(error)) => {
                tracing::warn!(projection = self.running.spec.name, %error, "not made durable");
            }
            // What is gathered has a conflict in an index that is being built.
            Err(WriteError::Conflict(_)) => {}
        }
    }

    /// Takes the place of the generation that answers, if this one was built for that.
    fn take_over(&mut self) -> Result<(), Stuck> {
        let Role::Builds(projection) = &self.role else { return Ok(()) };
        let Some(projection) = projection.upgrade() else { return Ok(()) };
        let (running, files) = (Arc::clone(&self.running), Arc::clone(&self.sources.files));
        let swapped = projection.swap(&running, &files, |at: Checkpoint| {
            while self.generation.at().decision < at.decision {
                self.take_next()?;
            }
            self.generation.sync()?;
            running.publish(self.generation.at());
            Ok::<_, Stuck>(())
        })?;
        if swapped {
            self.role = Role::Answers;
            self.generation.is_read_now();
        }
        Ok(())
    }

    /// Says that it cannot go on, and waits until someone wants it to try again.
    fn stay(&mut self, reason: &str, events: Option<(u64, u64)>) {
        self.sync();
        let place = match events {
            None => String::new(),
            Some((first, last)) if last > first => format!("at positions {first} to {last}: "),
            Some((first, _)) => format!("at position {first}: "),
        };
        let reason = format!("{place}{reason}");
        tracing::error!(
            projection = self.running.spec.name,
            position = self.generation.at().position,
            reason,
            "the projection stopped"
        );
        self.running.fail(reason, events);
        while !self.running.is_stopped() && !self.running.takes_again() {
            std::thread::sleep(IDLE);
        }
        self.crew.forget();
    }

    /// A build leaves most of its core to commands, while there are any.
    fn leave_room(&self, took: Duration) {
        if matches!(self.role, Role::Builds(_)) {
            self.pause(self.sources.limits.rest_of_build(took));
        }
    }

    /// Opens the file again and goes on from what it holds.
    fn reopen(&mut self) {
        match self.generation.reopen() {
            Ok(()) => {
                self.builds = true;
                self.running.enter(Stage::Behind);
            }
            Err(error) => {
                tracing::warn!(projection = self.running.spec.name, %error, "not open yet");
            }
        }
    }

    fn pause(&self, time: Duration) {
        let since = Stopwatch::start();
        while !self.running.is_stopped() {
            let Some(left) = time.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
            else {
                break;
            };
            std::thread::sleep(IDLE.min(left));
        }
    }
}

/// The checkpoint after records.
fn after(records: &Records) -> Result<Checkpoint, Stuck> {
    batch::after(records).map_err(|error| Stuck::Storage(error.to_string()))
}
