//! Somebody who works with a log: appends of all kinds, one at a time and several at once, a read
//! model, and clocks that jump. Who drives also decides how far the threads beside the writer get,
//! so that one seed makes one run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::history::{Expected, Fact, Facts};
use super::store::{FLUSHER, SETTLER, Store};
use crate::storage::disk::simulated::Simulated;
use crate::storage::index::IndexLimits;
use crate::storage::log::{AppendError, Appended, LogLimits, OpenError, Refusal, Submission, Work};

const WRITER: &str = "log-writer";
/// A day, in milliseconds.
const DAY: u64 = 86_400_000;
/// Bytes that the writer can take for sure while what came before is on its way to rows.
const BYTES_BESIDE: usize = 1_200;
/// The same for events and the index.
const EVENTS_BESIDE: usize = 10;

/// A run of the log on a disk.
pub(super) struct Run {
    pub(super) dice: Rng,
    pub(super) disk: Simulated,
    pub(super) facts: Arc<Facts>,
    pub(super) limits: LogLimits,
    /// What the clock says.
    pub(super) now_ms: Arc<AtomicU64>,
    /// What the tester knows, as of now.
    pub(super) known: Expected,
    store: Option<Store>,
    /// What was appended since the threads beside the writer last rested.
    beside: (usize, usize),
    /// Whether they only get as far as this lets them.
    is_in_step: bool,
    /// Whether a call of its disk may fail.
    may_fail: bool,
    pub(super) ids: u64,
}

/// Files so small that a short run has several of all.
pub(super) fn limits(dice: &mut Rng) -> LogLimits {
    let fresh_records = dice.usize(30..60);
    // Clocks that jump make nothing that a run did expire.
    let idempotency_window_ms = u64::MAX;
    LogLimits {
        journal_bytes: 8192 + 3000,
        segment_bytes: if dice.bool() { 10 << 10 } else { 4 << 20 },
        queue_records: 64,
        page_cache_bytes: 1 << 20,
        index: IndexLimits { fresh_records, idempotency_window_ms, ..IndexLimits::default() },
        ..LogLimits::default()
    }
}

impl Run {
    /// A new log on a new disk.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let limits = limits(&mut dice);
        let mut run = Self::on(&Simulated::new(), dice, limits, Expected::default());
        run.is_in_step = true;
        run
    }

    /// A new log on a disk of which a call may fail. How far the threads beside the writer get is
    /// up to the machine: they pause for some time when a call of theirs fails.
    pub(super) fn failing(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let limits = limits(&mut dice);
        let mut run = Self::on(&Simulated::new(), dice, limits, Expected::default());
        run.may_fail = true;
        run
    }

    /// A log that may be there already.
    pub(super) fn on(disk: &Simulated, dice: Rng, limits: LogLimits, known: Expected) -> Self {
        Self {
            dice,
            disk: disk.clone(),
            facts: Arc::default(),
            limits,
            now_ms: Arc::new(AtomicU64::new(40 * 365 * DAY)),
            ids: u64::try_from(known.records.len()).expect("few"),
            known,
            store: None,
            beside: (0, 0),
            is_in_step: false,
            may_fail: false,
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    /// Opens the log, or says why not.
    pub(super) fn try_open_log(&mut self) -> Result<Store, OpenError> {
        Store::open(&self.disk, &self.limits, &self.now_ms)
    }

    /// Opens the log and checks that all is there. One call may fail once.
    pub(super) fn open(&mut self) {
        let opened = self.try_open_log();
        let opened = if self.may_fail { opened.or_else(|_| self.try_open_log()) } else { opened };
        let mut store = opened.expect("the log opens");
        let records = store.check(&self.known);
        store.tell(&self.facts, &self.known, &records);
        store.open_read_model(&records, self.known.kept);
        self.known.in_flight.clear();
        self.known.records = records;
        if self.is_in_step {
            self.disk.hold(SETTLER);
            self.disk.hold(FLUSHER);
        }
        self.store = Some(store);
    }

    pub(super) fn close(&mut self) {
        self.drain();
        self.store.take().expect("open").close();
    }

    pub(super) fn lose_power(&mut self) {
        if let Some(store) = self.store.take() {
            store.lose_power();
        }
    }

    pub(super) fn work(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.dice.u8(0..100) {
                0..=64 => self.append(),
                65..=77 => self.append_together(),
                78..=95 => self.project(),
                96..=97 if self.is_in_step => {
                    self.close();
                    self.open();
                }
                _ => self.turn_clock(),
            }
            self.let_others_work();
        }
    }

    /// One piece of work, and its answer.
    pub(super) fn append(&mut self) {
        let (id, work) = self.draw();
        self.beside.0 += work.bytes() + 600;
        self.beside.1 += 4;
        let answer = self.submit(&id, work);
        self.take(&id, &answer);
    }

    /// Appends until it is done: nobody helps but the disk that is well again.
    pub(super) fn append_at_last(&mut self) {
        for _ in 0..2_000 {
            let id = self.id();
            let work = self.direct(&id, 1, 10);
            let answer = self.submit(&id, work);
            if self.take(&id, &answer) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the log did not recover: {:?}", self.store().log.trouble());
    }

    /// Several that share a sync, while the one before them is written.
    pub(super) fn append_together(&mut self) {
        if !self.is_in_step {
            return self.append();
        }
        if self.beside != (0, 0) {
            self.drain();
        }
        self.disk.hold(WRITER);
        let mut answers = Vec::new();
        for number in 0..self.dice.usize(2..6) {
            let id = self.id();
            let work = self.direct(&id, 1, 20);
            answers.push((id.clone(), self.submit(&id, work)));
            if number == 0 {
                self.disk.pass(WRITER, 0, || false);
            }
        }
        self.disk.release(WRITER);
        for (id, answer) in answers {
            self.take(&id, &answer);
        }
        self.beside = (4_000, 6);
    }

    /// Lets the read model read some of what there is.
    fn project(&mut self) {
        let records = &self.known.records;
        let from = usize::try_from(self.known.kept).expect("few");
        if records.len() <= from {
            return;
        }
        let until = self.dice.usize(from + 1..=records.len());
        let checkpoint = self.store().read_model.as_ref().expect("open").checkpoint();
        let at = checkpoint.expect("reads").map_or(0, |at| at.decision);
        let durable = self.dice.u8(0..3) == 0;
        if u64::try_from(until).expect("few") <= at {
            return;
        }
        let projected = self.store().project(&records[..until], durable);
        if let Err(error) = &projected {
            assert!(self.may_fail, "{error}");
            let file = self.store().read_model.as_ref().expect("open");
            file.reopen().or_else(|_| file.reopen()).expect("opens again");
        }
        if durable && projected.is_ok() {
            self.known.kept = u64::try_from(until).expect("few");
            self.facts.add(&self.disk, Fact::Kept(self.known.kept));
        }
    }

    fn turn_clock(&mut self) {
        let now = self.now_ms.load(Ordering::Relaxed);
        let turned = match self.dice.u8(0..3) {
            0 => now.saturating_sub(DAY),
            1 => now + 10 * 365 * DAY,
            _ => now + 1_000,
        };
        self.now_ms.store(turned, Ordering::Relaxed);
    }

    /// Those beside the writer get a little further.
    fn let_others_work(&mut self) {
        if !self.is_in_step {
            return;
        }
        if self.store().rests() == (true, true) {
            self.beside = (0, 0);
            return;
        }
        if self.beside.0 > BYTES_BESIDE || self.beside.1 > EVENTS_BESIDE {
            return self.drain();
        }
        let store = self.store.as_ref().expect("open");
        for (thread, calls) in [(SETTLER, self.dice.u64(0..8)), (FLUSHER, self.dice.u64(0..12))] {
            self.disk.pass(thread, calls, || rests(store, thread));
        }
    }

    /// Lets them finish.
    fn drain(&mut self) {
        if self.is_in_step {
            let store = self.store.as_ref().expect("open");
            for thread in [SETTLER, FLUSHER] {
                self.disk.pass(thread, u64::MAX, || rests(store, thread));
                self.disk.pass(thread, 0, || rests(store, thread));
            }
        }
        self.beside = (0, 0);
    }

    fn submit(&self, id: &str, work: Work) -> Receiver<Result<Appended, AppendError>> {
        self.facts.add(&self.disk, Fact::Submitted(id.to_owned()));
        let (send, answer) = channel();
        let (facts, disk, id) = (Arc::clone(&self.facts), self.disk.clone(), id.to_owned());
        let reply = move |answer: Result<Appended, AppendError>| {
            match &answer {
                Ok(Appended::Record(record)) => {
                    facts.add(&disk, Fact::Acknowledged(record.clone()));
                }
                Err(AppendError::Unknown(_)) => {}
                _ => facts.add(&disk, Fact::Refused(id)),
            }
            // Whoever ended wants no answer.
            drop(send.send(answer));
        };
        self.store().log.submit(Submission { work, lineages: Vec::new(), reply: Box::new(reply) });
        answer
    }

    /// Waits for an answer. True when it was done.
    fn take(&mut self, id: &str, answer: &Receiver<Result<Appended, AppendError>>) -> bool {
        match answer.recv_timeout(Duration::from_secs(60)).expect("an answer") {
            Ok(Appended::Record(record)) => {
                self.known.records.push(record);
                true
            }
            Err(AppendError::Conflict(_) | AppendError::ConditionFailed { .. }) => false,
            Err(
                AppendError::Unknown(_)
                | AppendError::Superseded
                | AppendError::NotAccepted(Refusal::Recovering(_)),
            ) if self.may_fail => false,
            other => panic!("{id}: {other:?}"),
        }
    }

    /// The records that are known.
    pub(super) fn records(&self) -> &[Bytes] {
        &self.known.records
    }
}

fn rests(store: &Store, thread: &str) -> bool {
    let (settler, flusher) = store.rests();
    if thread == SETTLER { settler } else { flusher }
}
