//! The frozen WASI 0.2: what components of ordinary toolchains import, with no world behind it.
//!
//! Promises: two calls with the same arguments find the same. Clocks stand at the time that the
//! engine says, randomness is a function of a seed, there are no files, no sockets, no arguments
//! and no environment. Nothing blocks: what could be waited for is there at once. What is written
//! to standard output and standard error becomes lines of the guest's log.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Result, ensure};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, async_trait};

use super::host::Host;

/// The interfaces there are, each in every version 0.2.
const INTERFACES: [&str; 27] = [
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];
/// What the names of all of WASI begin with.
pub(super) const PACKAGES: &str = "wasi:";

/// Bytes that a guest may draw at once. 64 KiB: seeds and ids take some dozens.
const RANDOM_BYTES: u64 = 64 << 10;
/// Streams and pollables that one call may hold. 1,000: a program has three streams.
const RESOURCES: usize = 1_000;
/// Bytes that a stream takes at once: as many as WASI lets a guest write while it waits.
const WRITE_BYTES: usize = 4 << 10;

/// Whether an interface of this name is there.
pub(super) fn has(name: &str) -> bool {
    let interface = name.strip_prefix(PACKAGES).and_then(|name| name.split_once('@'));
    interface.is_some_and(|(interface, version)| {
        version.starts_with("0.2.") && INTERFACES.contains(&interface)
    })
}

/// The moment that a call stands in, and what it drew from its seed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    pub(super) now_ms: u64,
    pub(super) seed: u64,
    drawn: u64,
}

impl Moment {
    pub(super) fn new(now_ms: u64, seed: u64) -> Self {
        Self { now_ms, seed, drawn: 0 }
    }

    fn draw(&mut self, to: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key("factum 2026 randomness of frozen WASI");
        let mut endless = hasher.update(&self.seed.to_be_bytes()).finalize_xof();
        endless.set_position(self.drawn);
        endless.fill(to);
        self.drawn = endless.position();
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.draw(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        ensure!(count <= RANDOM_BYTES, "{count} random bytes at once; {RANDOM_BYTES} are allowed");
        let mut bytes = vec![0; usize::try_from(count)?];
        self.draw(&mut bytes);
        Ok(bytes)
    }
}

/// What a guest finds of WASI besides time and randomness; made when it first looks.
pub(super) struct Frozen {
    context: WasiCtx,
    table: ResourceTable,
    out: Written,
    err: Written,
}

impl Frozen {
    /// `most_bytes` of each standard stream are kept for a call.
    fn new(most_bytes: usize) -> Self {
        let (out, err) = (Written::new(most_bytes), Written::new(most_bytes));
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let context = WasiCtx::builder()
            .stdout(out.clone())
            .stderr(err.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self { context, table, out, err }
    }

    /// What was written to standard error and to standard output since this was last asked.
    pub(super) fn written(&self) -> [String; 2] {
        [self.err.take(), self.out.take()]
    }
}

/// A standard stream: it takes everything and keeps the beginning.
#[derive(Clone)]
struct Written {
    bytes: Arc<Mutex<Vec<u8>>>,
    most: usize,
}

impl Written {
    fn new(most: usize) -> Self {
        Self { bytes: Arc::default(), most }
    }

    fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.bytes.lock())).into_owned()
    }
}

impl IsTerminal for Written {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Written {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Written {
    async fn ready(&mut self) {}
}

impl OutputStream for Written {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        let mut kept = self.bytes.lock();
        let room = self.most.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

/// A moment that has come.
struct Come;

#[async_trait]
impl Pollable for Come {
    async fn ready(&mut self) {}
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let most_bytes = self.most_log_bytes();
        let frozen = self.frozen.get_or_insert_with(|| Box::new(Frozen::new(most_bytes)));
        WasiCtxView { ctx: &mut frozen.context, table: &mut frozen.table }
    }
}

impl wall_clock::Host for Host {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        let (seconds, rest) = (self.moment.now_ms / 1_000, self.moment.now_ms % 1_000);
        let nanoseconds = u32::try_from(rest)?.saturating_mul(1_000_000);
        Ok(wall_clock::Datetime { seconds, nanoseconds })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl monotonic_clock::Host for Host {
    fn now(&mut self) -> Result<u64> {
        Ok(self.moment.now_ms.saturating_mul(1_000_000))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(1_000_000)
    }

    fn subscribe_instant(&mut self, _when: u64) -> Result<Resource<DynPollable>> {
        let table = self.ctx().table;
        let come = table.push(Come)?;
        subscribe(table, come)
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        self.subscribe_instant(duration)
    }
}

impl random::Host for Host {
    fn get_random_bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        self.moment.bytes(count)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(self.moment.number())
    }
}

impl insecure::Host for Host {
    fn get_insecure_random_bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        self.moment.bytes(count)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.moment.number())
    }
}

impl insecure_seed::Host for Host {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((self.moment.number(), self.moment.number()))
    }
}

/// Adds all of it: what is empty is wasmtime's, and what stands still is ours in its place.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    type Own = HasSelf<Host>;
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    wall_clock::add_to_linker::<_, Own>(linker, |host| host)?;
    monotonic_clock::add_to_linker::<_, Own>(linker, |host| host)?;
    random::add_to_linker::<_, Own>(linker, |host| host)?;
    insecure::add_to_linker::<_, Own>(linker, |host| host)?;
    insecure_seed::add_to_linker::<_, Own>(linker, |host| host)?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_a_function_of_the_seed_and_of_how_much_was_drawn() {
        let draw = |seed, counts: &[u64]| {
            let mut moment = Moment::new(0, seed);
            let drawn = counts.iter().map(|count| moment.bytes(*count).expect("few"));
            drawn.flatten().collect::<Vec<_>>()
        };
        assert_eq!(draw(7, &[8, 100]), draw(7, &[100, 8]));
        assert_ne!(draw(7, &[16]), draw(8, &[16]));
        assert_ne!(draw(7, &[16])[..8], draw(7, &[16])[8..]);
        assert!(Moment::default().bytes(RANDOM_BYTES + 1).is_err());
    }

    #[test]
    fn only_what_is_linked_may_be_imported() {
        assert!(has("wasi:clocks/wall-clock@0.2.0") && has("wasi:io/poll@0.2.12"));
        for other in
            ["wasi:http/types@0.2.0", "wasi:io/poll@0.3.0", "wasi:io/poll", "io/poll@0.2.0"]
        {
            assert!(!has(other), "{other}");
        }
    }
}
