//! A guest that looks at the world through WASI, for the tests of the frozen one. Outside of tests
//! this crate has no use.

mod wasi;

use std::sync::atomic::{AtomicU64, Ordering};

use factum_sdk::prelude::*;

use wasi::wasi::cli::{environment, stderr, stdout};
use wasi::wasi::clocks::{monotonic_clock, wall_clock};
use wasi::wasi::filesystem::preopens;
use wasi::wasi::random::random;
use wasi::wasi::sockets::network::IpAddressFamily;
use wasi::wasi::sockets::tcp_create_socket::create_tcp_socket;

const HOUR_NS: u64 = 3_600_000_000_000;

/// Survives from call to call, where an instance does.
static CALLS: AtomicU64 = AtomicU64::new(0);

fn calls() -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed)
}

fn now_ms() -> u64 {
    let now = wall_clock::now();
    now.seconds * 1_000 + u64::from(now.nanoseconds / 1_000_000)
}

/// Remembers the time of the call that folded its newest event.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Looker {
    folded_at_ms: u64,
}

#[derive(Debug, Command, Deserialize)]
enum LookerCommand {
    /// Tells all there is to see.
    Look,
    /// Waits for an hour, by asking again and again if `restless`.
    Sleep {
        #[serde(default)]
        restless: bool,
    },
    /// Writes so many lines to standard output, and one to standard error.
    Write { lines: u32 },
    /// Says a last word on standard error, and traps.
    Fall,
    /// Draws so many bytes at once.
    Draw { bytes: u64 },
    /// Holds so many moments to wait for.
    Hoard { pollables: u32 },
}

#[derive(Debug, Event, Deserialize, Serialize)]
enum LookerEvent {
    Looked {
        now_ms: u64,
        monotonic_ns: u64,
        context_ms: u64,
        random: Vec<u8>,
        number: String,
        calls: u64,
        found: Vec<String>,
    },
    Done {},
}

impl Aggregate for Looker {
    const NAME: &'static str = "looker";
    type Command = LookerCommand;
    type Event = LookerEvent;

    fn decide(&self, command: LookerCommand, context: &Context) -> Decision<LookerEvent> {
        match command {
            LookerCommand::Look => return emit(looked(context)),
            LookerCommand::Sleep { restless: false } => {
                monotonic_clock::subscribe_duration(HOUR_NS).block();
            }
            LookerCommand::Sleep { restless: true } => {
                let until = monotonic_clock::now() + HOUR_NS;
                while monotonic_clock::now() < until {
                    monotonic_clock::subscribe_duration(1_000_000).block();
                }
            }
            LookerCommand::Write { lines } => {
                let out = stdout::get_stdout();
                for line in 0..lines {
                    let text = format!("written {line} \u{1b}[31m\n");
                    let _ = out.blocking_write_and_flush(text.as_bytes());
                }
                let _ = stderr::get_stderr().blocking_write_and_flush(b"not all is well");
            }
            LookerCommand::Fall => {
                let words = b"Traceback:\n  my last words\n";
                let _ = stderr::get_stderr().blocking_write_and_flush(words);
                std::process::abort();
            }
            LookerCommand::Draw { bytes } => drop(random::get_random_bytes(bytes)),
            LookerCommand::Hoard { pollables } => {
                let held = (0..pollables).map(|_| monotonic_clock::subscribe_duration(1));
                drop(held.collect::<Vec<_>>());
            }
        }
        emit(LookerEvent::Done {})
    }

    fn evolve(&mut self, _event: LookerEvent) {
        self.folded_at_ms = now_ms();
    }
}

fn looked(context: &Context) -> LookerEvent {
    let mut found: Vec<_> = environment::get_arguments();
    found.extend(environment::get_environment().into_iter().map(|(name, _)| name));
    found.extend(preopens::get_directories().into_iter().map(|(_, path)| path));
    if create_tcp_socket(IpAddressFamily::Ipv4).is_ok() {
        found.push("a socket".to_owned());
    }
    LookerEvent::Looked {
        now_ms: now_ms(),
        monotonic_ns: monotonic_clock::now(),
        context_ms: context.now_ms,
        random: random::get_random_bytes(16),
        number: random::get_random_u64().to_string(),
        calls: calls(),
        found,
    }
}

/// What a projection sees.
struct Looks;

#[derive(Debug, Default, Deserialize, Serialize)]
struct Seen {
    at_ms: u64,
    calls: u64,
}

impl Document for Seen {
    const COLLECTION: Collection = Collection::new("looks");
}

impl Projection for Looks {
    const NAME: &'static str = "looks";
    const COLLECTIONS: &'static [Collection] = &[Seen::COLLECTION];
    type Event = LookerEvent;

    fn project(event: &Recorded<LookerEvent>, rows: &mut Rows) -> Result<(), Fault> {
        let key = format!("{}-{}", event.id().unwrap_or_default(), event.stream_version);
        rows.put(&key, Seen { at_ms: now_ms(), calls: calls() })
    }
}

factum_sdk::module! {
    name: "wasi_guest",
    aggregates: [Looker],
    projections: [Looks],
}
