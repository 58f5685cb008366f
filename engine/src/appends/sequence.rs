//! Appends that are recorded in their order, several of them under way.
//!
//! Promises: one is recorded only if all before it are, each as a whole: they share a lineage, so
//! the writer takes none after one that failed. Answers come in the order of the appends. What is
//! under way when a sequence is dropped is recorded in order or, from some append on, not at all.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{SemaphorePermit, TryAcquireError};

use super::known::Place;
use super::{
    Answer, AppendAnswer, Appends, Attempt, CommandError, Lineage, NewAppend, Prepared, Ready,
    at_place, direct, fits, given_keys, lost, recorded,
};

/// Appends one after the other.
#[derive(Debug)]
pub struct Sequence<'a> {
    appends: &'a Appends,
    most: usize,
    /// Breaks when one fails.
    lineage: Arc<Lineage>,
    under_way: VecDeque<UnderWay<'a>>,
}

/// An append whose answer was not taken yet.
#[derive(Debug)]
enum UnderWay<'a> {
    Waiting { answer: Answer, places: Vec<Place>, _permit: SemaphorePermit<'a> },
    Answered(Result<AppendAnswer, CommandError>),
}

impl<'a> Sequence<'a> {
    pub(super) fn new(appends: &'a Appends, most: usize) -> Self {
        let (lineage, under_way) = (Arc::default(), VecDeque::with_capacity(most));
        Self { appends, most, lineage, under_way }
    }

    /// Whether answers must be taken before the next can be handed in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.under_way.len() >= self.most
    }

    /// Whether every answer was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Hands in the next: events alone, without key, expectations and condition.
    pub async fn hand_in(&mut self, append: NewAppend) {
        let next = self.begin(append).await;
        self.under_way.push_back(next.unwrap_or_else(|error| UnderWay::Answered(Err(error))));
    }

    /// The answer to the oldest; none when nothing is under way. After an error nothing that was
    /// handed in is recorded, and the sequence is of no more use.
    pub async fn next(&mut self) -> Option<Result<AppendAnswer, CommandError>> {
        let oldest = self.under_way.front_mut()?;
        oldest.wait().await;
        match self.under_way.pop_front()? {
            UnderWay::Answered(answer) => Some(answer),
            UnderWay::Waiting { .. } => Some(Err(lost())),
        }
    }

    async fn begin(&mut self, append: NewAppend) -> Result<UnderWay<'a>, CommandError> {
        let appends = self.appends;
        self.goes_on()?;
        let permit = self.permit().await?;
        let categories = append.events.iter().filter_map(|(_, stream)| stream.as_ref());
        let is_owned = categories
            .map(|stream| stream.category())
            .any(|category| appends.commands.is_owned(category));
        if is_owned {
            // Its owner folds what is durable.
            self.settle().await?;
            return Ok(UnderWay::Answered(appends.append_within(append).await));
        }
        let keys = given_keys(&append);
        let held = match appends.enter(&append, &keys) {
            // Perhaps by one before it, which then is known.
            Err(CommandError::StillRunning) => {
                self.settle().await?;
                appends.enter(&append, &keys)?
            }
            held => held?,
        };
        let Ready { mut append, places } = match appends.prepare(append, &keys).await? {
            Prepared::Recorded(answer) => return Ok(UnderWay::Answered(Ok(answer))),
            Prepared::New(ready) => ready,
        };
        let rules = appends.rules.now();
        fits(&rules, &append).map_err(|error| at_place(error, &places))?;
        let mut direct = direct(&append);
        direct.events = std::mem::take(&mut append.events);
        let lineages = vec![Arc::clone(&self.lineage)];
        let answer = appends.submit(direct, lineages, (held, rules));
        Ok(UnderWay::Waiting { answer, places, _permit: permit })
    }

    /// A permit. Who waits for one has none: else all could wait for each other.
    async fn permit(&mut self) -> Result<SemaphorePermit<'a>, CommandError> {
        match self.appends.permits.try_acquire() {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::Closed) => Err(CommandError::ShuttingDown),
            Err(TryAcquireError::NoPermits) => {
                self.settle().await?;
                self.appends.permits.acquire().await.map_err(|_| CommandError::ShuttingDown)
            }
        }
    }

    /// Waits for all answers. The error is that of one before, whose answer is taken first.
    async fn settle(&mut self) -> Result<(), CommandError> {
        for one in &mut self.under_way {
            one.wait().await;
        }
        self.goes_on()
    }

    fn goes_on(&self) -> Result<(), CommandError> {
        let failed = |one: &UnderWay<'_>| matches!(one, UnderWay::Answered(Err(_)));
        if self.under_way.iter().any(failed) { Err(superseded()) } else { Ok(()) }
    }
}

impl UnderWay<'_> {
    /// Waits for the answer; who stops waiting loses nothing.
    async fn wait(&mut self) {
        if let Self::Waiting { answer, places, .. } = self {
            let answer = answer.await;
            let places = std::mem::take(places);
            let answer = match answer.map_err(|_| Attempt::Failed(lost())).and_then(recorded) {
                Ok(record) => Ok(AppendAnswer { record, places, replayed: false }),
                Err(Attempt::Failed(error)) => Err(error),
                Err(Attempt::Superseded) => Err(superseded()),
            };
            *self = Self::Answered(answer);
        }
    }
}

/// Nobody is told: the one that failed before it is.
fn superseded() -> CommandError {
    CommandError::Contended { attempts: 1 }
}
