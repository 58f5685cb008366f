//! The host's side of a running guest: its limits and its two imports.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, bail};

use super::bindings::factum::domain::{log, read_models, types};

/// Bytes of one logged line; the rest is cut.
const LOG_LINE_BYTES: usize = 4 << 10;
/// Documents that one scan may answer. 1,000: a page of the HTTP surface.
const SCAN_ROWS: u32 = 1_000;

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
    memory_bytes: usize,
    log_lines: u32,
    lines_left: u32,
    pub(super) memory_refused: bool,
    pub(super) last_words: Option<String>,
    /// Set while projecting, and only then.
    pub(super) look: Option<Arc<dyn ReadModelLook>>,
}

impl Host {
    pub(super) fn new(module: Arc<str>, memory_bytes: usize, log_lines: u32) -> Self {
        Self {
            module,
            memory_bytes,
            log_lines,
            lines_left: log_lines,
            memory_refused: false,
            last_words: None,
            look: None,
        }
    }

    pub(super) fn begin_call(&mut self) {
        self.lines_left = self.log_lines;
        self.memory_refused = false;
        self.last_words = None;
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
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.memory_refused = desired > self.memory_bytes;
        Ok(!self.memory_refused)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The pool's table size is the bound.
        Ok(true)
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
    fn log(&mut self, level: log::Level, mut message: String) -> wasmtime::Result<()> {
        if self.lines_left == 0 {
            return Ok(());
        }
        self.lines_left -= 1;
        let mut end = message.len().min(LOG_LINE_BYTES);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        let module = &*self.module;
        // The Debug form escapes control characters: a guest cannot forge lines.
        match level {
            log::Level::Debug => tracing::debug!(target: "guest", module, ?message),
            log::Level::Info => tracing::info!(target: "guest", module, ?message),
            log::Level::Warn => tracing::warn!(target: "guest", module, ?message),
            log::Level::Error => {
                tracing::error!(target: "guest", module, ?message);
                self.last_words = Some(message);
            }
        }
        if self.lines_left == 0 {
            tracing::warn!(target: "guest", module, "no more lines of this call are logged");
        }
        Ok(())
    }
}
