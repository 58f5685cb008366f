//! The host's side of a running guest: its limits and its two imports.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use wasmtime::{ResourceLimiter, UpdateDeadline, bail};

use super::bindings::factum::domain::{log, read_models, types};
use super::frozen::{Frozen, Moment};
use super::{GuestLimits, Limit, TICK};

/// Bytes of one logged line; the rest is cut.
const LOG_LINE_BYTES: usize = 4 << 10;
/// Documents that one scan may answer. 1,000: a page of the HTTP surface.
const SCAN_ROWS: u32 = 1_000;

/// Calls under way that take longer than a tick, of all modules.
static LONG_CALLS: AtomicU64 = AtomicU64::new(0);
/// Cores that they share: half of them, so that the others' calls find one.
static LONG_CALL_CORES: LazyLock<u64> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u64::try_from(cores / 2).unwrap_or(1).max(1)
});

/// Ticks after which a call pauses for as long as it runs: 50 ms. No command takes so long, and of
/// few cores one that is never given up is felt by everybody.
const EASY_TICKS: u64 = 5;

/// A read-only look at the collections of one projection.
pub trait ReadModelLook: Send + Sync {
    /// The documents at these keys.
    ///
    /// # Errors
    /// A sentence: the collection is not this projection's, or cannot be read.
    fn get_many(&self, collection: &str, keys: &[String]) -> Result<Vec<Option<String>>, String>;

    /// Up to `limit` keys that begin with `prefix`, in order, with their documents.
    ///
    /// # Errors
    /// A sentence: the collection is not this projection's, or cannot be read.
    fn scan(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, String)>, String>;
}

/// What a store carries beside the guest.
pub(super) struct Host {
    module: Arc<str>,
    limits: GuestLimits,
    /// All linear memories together.
    pub(super) memory_bytes: usize,
    /// All tables together.
    table_elements: usize,
    lines_left: u32,
    /// Ticks that the call may still take.
    ticks_left: u64,
    /// Ticks that the call has run through; with the first it becomes one of [`LONG_CALLS`].
    ticks_run: u64,
    /// The limit that the last growth would have exceeded.
    pub(super) refused: Option<Limit>,
    /// What the call is about, for what the guest logs: empty where there is no such thing.
    pub(super) stream: String,
    pub(super) command_id: String,
    pub(super) last_words: Option<String>,
    /// Set while projecting, and only then.
    pub(super) look: Option<Arc<dyn ReadModelLook>>,
    /// The time and randomness of the call, for those who ask WASI.
    pub(super) moment: Moment,
    /// The rest of WASI, once the guest has looked for it.
    pub(super) frozen: Option<Box<Frozen>>,
}

impl Host {
    pub(super) fn new(module: Arc<str>, limits: GuestLimits) -> Self {
        Self {
            module,
            limits,
            memory_bytes: 0,
            table_elements: 0,
            lines_left: limits.log_lines,
            ticks_left: 0,
            ticks_run: 0,
            refused: None,
            stream: String::new(),
            command_id: String::new(),
            last_words: None,
            look: None,
            moment: Moment::default(),
            frozen: None,
        }
    }

    /// A call begins that may take so many ticks after the first.
    pub(super) fn begin_call(&mut self, ticks: u64) {
        self.ticks_left = ticks;
        self.lines_left = self.limits.log_lines;
        self.refused = None;
        self.last_words = None;
    }

    /// A tick has passed. Calls that go on share some cores, by pausing for as long as the others
    /// run, and do not keep even those busy; a pause counts as time taken.
    pub(super) fn tick(&mut self) -> UpdateDeadline {
        if self.ticks_run == 0 {
            LONG_CALLS.fetch_add(1, Ordering::Relaxed);
        }
        self.ticks_run += 1;
        let beyond = LONG_CALLS.load(Ordering::Relaxed).saturating_sub(*LONG_CALL_CORES);
        let resting = u64::from(self.ticks_run > EASY_TICKS);
        let pause = beyond.div_ceil(*LONG_CALL_CORES).max(resting).min(self.ticks_left);
        std::thread::sleep(TICK.saturating_mul(u32::try_from(pause).unwrap_or(u32::MAX)));
        self.ticks_left = self.ticks_left.saturating_sub(pause + 1);
        if self.ticks_left == 0 { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
    }

    /// A call ended, however it did.
    pub(super) fn end_call(&mut self) {
        if std::mem::take(&mut self.ticks_run) > 0 {
            LONG_CALLS.fetch_sub(1, Ordering::Relaxed);
        }
        self.moment = Moment::default();
        // Standard error first: it is told when the call failed, and the lines may be used up.
        let Some(written) = self.frozen.as_ref().map(|frozen| frozen.written()) else { return };
        for (level, text) in [log::Level::Error, log::Level::Info].into_iter().zip(written) {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines.for_each(|line| self.line(level, line.to_owned()));
        }
    }

    /// What one call may log at most, in bytes.
    pub(super) fn most_log_bytes(&self) -> usize {
        let lines = usize::try_from(self.limits.log_lines).unwrap_or(usize::MAX);
        lines.saturating_mul(LOG_LINE_BYTES)
    }

    /// Says what the next call is about.
    pub(super) fn about(&mut self, stream: &str, command_id: &str) {
        for (to, text) in [(&mut self.stream, stream), (&mut self.command_id, command_id)] {
            to.clear();
            to.push_str(text);
        }
    }

    /// Counts a growth of `used` unless it goes beyond `most`.
    fn grow(&mut self, limit: Limit, current: usize, desired: usize) -> bool {
        let (used, most) = match limit {
            Limit::Table => (&mut self.table_elements, self.limits.table_elements),
            _ => (&mut self.memory_bytes, self.limits.memory_bytes),
        };
        let after = used.saturating_sub(current).saturating_add(desired);
        let fits = after <= most;
        if fits {
            *used = after;
        }
        self.refused = (!fits).then_some(limit);
        fits
    }

    fn look(&self) -> wasmtime::Result<&Arc<dyn ReadModelLook>> {
        match &self.look {
            Some(look) => Ok(look),
            None => bail!("read-models answers only inside project and query"),
        }
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(Limit::Memory, current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(Limit::Table, current, desired))
    }
}

impl types::Host for Host {}

impl read_models::Host for Host {
    fn get_many(
        &mut self,
        collection: String,
        keys: Vec<String>,
    ) -> wasmtime::Result<Vec<Option<String>>> {
        self.look()?.get_many(&collection, &keys).map_err(wasmtime::Error::msg)
    }

    fn scan(
        &mut self,
        collection: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Vec<(String, String)>> {
        self.look()?
            .scan(&collection, &prefix, after.as_deref(), limit.min(SCAN_ROWS))
            .map_err(wasmtime::Error::msg)
    }
}

impl log::Host for Host {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.line(level, message);
        Ok(())
    }
}

impl Host {
    fn line(&mut self, level: log::Level, mut message: String) {
        if self.lines_left == 0 {
            return;
        }
        self.lines_left -= 1;
        let mut end = message.len().min(LOG_LINE_BYTES);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        let (module, stream, command_id) = (&*self.module, &*self.stream, &*self.command_id);
        // The Debug form escapes control characters: a guest cannot forge lines.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "guest", module, stream, command_id, ?message)
            };
        }
        match level {
            log::Level::Debug => line!(debug),
            log::Level::Info => line!(info),
            log::Level::Warn => line!(warn),
            log::Level::Error => line!(error),
        }
        if self.lines_left == 0 {
            tracing::warn!(
                target: "guest",
                module,
                stream,
                command_id,
                "no more lines of this call are logged (log_lines)"
            );
        }
        if level == log::Level::Error {
            self.last_words = Some(message);
        }
    }
}
