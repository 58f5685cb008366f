//! `factum serve`: opens a data directory and answers over HTTP until it is told to stop.
//!
//! Promises: what keeps it from serving is one sentence; its first line on standard output says
//! where it listens; SIGTERM and SIGINT end it with code 0 once what was under way is done, and a
//! second signal at once.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::engine::{Engine, Options, StartError};
use crate::http::{self, Settings};
use crate::metrics::Metrics;
use crate::runtime::{CompilerProgram, Wasi};
use crate::tasks;

/// Connections that the system completes before they are accepted. 4,096: a burst of clients.
const BACKLOG: u32 = 4096;
/// What the system keeps of what a client does not read yet, in bytes. 256 KiB: 2.5 MB/s over
/// 100 ms of network, and a thousand clients that read nothing cost 256 MiB, not gigabytes.
const SEND_BUFFER: u32 = 256 << 10;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What `factum serve` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct ServeArgs {
    /// Where the data lives; made if it is not there
    #[arg(long, env = "FACTUM_DATA", default_value = "./factum-data", value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "FACTUM_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Listen beyond this machine, open to everyone who can reach it
    #[arg(long)]
    insecure: bool,
    /// Free bytes on the disk below which commands are refused
    #[arg(long, value_name = "BYTES")]
    min_free_disk_bytes: Option<u64>,
    /// Wall time that one call of a module may take, in milliseconds
    #[arg(long, value_name = "MS")]
    guest_deadline_ms: Option<u64>,
    /// Memory that one instance of a module may have, in bytes
    #[arg(long, value_name = "BYTES")]
    guest_memory_bytes: Option<usize>,
    /// Bytes of a module's component
    #[arg(long, value_name = "BYTES")]
    component_bytes: Option<usize>,
    /// Processor time that compiling a module may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    compile_cpu_seconds: Option<u64>,
    /// Time that compiling a module may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    compile_wall_seconds: Option<u64>,
    /// Address space that compiling a module may take, in bytes
    #[arg(long, value_name = "BYTES")]
    compile_memory_bytes: Option<u64>,
    /// Refuse modules that import WASI; otherwise they get one that stands still: the clock and the
    /// randomness of the decision, no files, no network, no environment
    #[arg(long)]
    refuse_wasi: bool,
    /// Commands between arrival and answer; more wait
    #[arg(long, value_name = "COUNT")]
    in_flight_commands: Option<usize>,
    /// Documents that one query over a read model may look at
    #[arg(long, value_name = "COUNT")]
    scan_rows: Option<usize>,
    /// Percent of one core that building a read model anew may take while commands come in
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    build_percent: Option<u32>,
    /// Cores that building a read model may take while no commands come in, where its projection
    /// says which events belong together
    #[arg(long, value_name = "COUNT")]
    build_workers: Option<usize>,
    /// Time after which a projection that is behind and does not move counts as stalled, in seconds
    #[arg(long, value_name = "SECONDS")]
    stalled_after_seconds: Option<u64>,
    /// Time after which a checkpoint of the log is signed and kept, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_seconds: Option<u64>,
    /// Percent of one core that a backup or a verification may take while commands come in
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    upkeep_percent: Option<u32>,
    /// Where closed files of the log are moved when they are archived; remembered from then on
    #[arg(long, env = "FACTUM_ARCHIVE", value_name = "DIR")]
    archive_dir: Option<PathBuf>,
    /// Age of its newest record, in days, from which on a closed file of the log is archived;
    /// without it, files move when they are asked to
    #[arg(long, value_name = "DAYS")]
    archive_after_days: Option<u32>,
    /// Age of its newest record, in days, from which on what refused commands said is taken out of
    /// an archived file; that they were refused, and their hashes, stay. Without it, nothing is
    #[arg(long, value_name = "DAYS")]
    retain_rejections_days: Option<u32>,
    /// Time after which is looked whether files are to be archived, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    archive_check_seconds: Option<u64>,
    /// Time that erasing what refused commands said waits for a backup or a verification that is
    /// under way, in seconds; then that ends with an error
    #[arg(long, value_name = "SECONDS")]
    erase_wait_seconds: Option<u64>,
    /// Bytes of one file of the log, after which it is closed
    #[arg(long, value_name = "BYTES")]
    segment_bytes: Option<u64>,
    /// Bytes of new records after which they are moved from the journal to the log's files
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(4096..))]
    journal_bytes: Option<u64>,
    /// Bytes of the body of a command
    #[arg(long, value_name = "BYTES")]
    body_bytes: Option<usize>,
    /// Connections at a time
    #[arg(long, value_name = "COUNT")]
    connections: Option<usize>,
    /// Connections at a time from one address
    #[arg(long, value_name = "COUNT")]
    connections_per_address: Option<usize>,
    /// Time that a client may take none of what is written to it, in milliseconds
    #[arg(long, value_name = "MS")]
    write_timeout_ms: Option<u64>,
    /// Time without an event after which a follower of the log gets a sign of life, in
    /// milliseconds
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// Start without modules, whatever is active; activate a version of one to start it
    #[arg(long)]
    safe_mode: bool,
    /// Add a route that does nothing, for measuring
    #[arg(long, hide = true)]
    bench_route: bool,
}

/// What keeps a server from serving.
#[derive(Debug)]
pub(super) enum ServeError {
    /// Without keys it would be open to the network.
    Open(SocketAddr),
    /// The address cannot be listened on.
    Listen(SocketAddr, std::io::Error),
    /// The engine cannot be opened.
    Start(StartError),
    /// Something else, in a sentence.
    Other(String),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(address) => write!(
                f,
                "{address} can be reached from other machines, and whoever reaches it may do \
                 anything; listen on 127.0.0.1, or add --insecure"
            ),
            Self::Listen(address, error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                write!(f, "{address} is in use; stop what listens there, or name another --listen")
            }
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Start(error) => error.fmt(f),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// Serves until told to stop.
pub(super) async fn run(args: ServeArgs) -> Result<ExitCode, ServeError> {
    if !args.listen.ip().is_loopback() && !args.insecure {
        return Err(ServeError::Open(args.listen));
    }
    let stop = Stop::prepare()?;
    raise_open_files();
    // The recorder comes first: counters made before it count nothing.
    let metrics = Metrics::install().map_err(ServeError::Other)?;
    let listener = listen(args.listen).map_err(|error| ServeError::Listen(args.listen, error))?;
    let compiler = CompilerProgram::this_factum()
        .map_err(|error| ServeError::Other(format!("this program is not to be found: {error}")))?;
    let (options, mut settings) = (options(&args, compiler), settings(&args));
    settings.limits.component_bytes = options.guests.component_bytes;
    settings.metrics = Some(metrics);
    let opened = tasks::blocking(|| Engine::open(options)).await;
    let engine = opened.ok_or_else(|| ServeError::Other("opening the engine panicked".into()))?;
    let engine = Arc::new(engine.map_err(ServeError::Start)?);
    let address = listener.local_addr().map_err(|e| ServeError::Listen(args.listen, e))?;
    announce(address);
    if args.insecure {
        tracing::warn!(%address, "open to everyone who can reach this address");
    }
    let (tell, told) = oneshot::channel::<()>();
    let served = http::serve(Arc::clone(&engine), listener, settings, async {
        // Both a word and the end of whoever would give it mean to stop.
        let _ = told.await;
    });
    tokio::select! {
        () = served => close(engine).await,
        () = stop.requested_twice(tell) => tracing::warn!("told to stop twice: ending at once"),
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &ServeArgs, compiler: CompilerProgram) -> Options {
    let mut options = Options::new(args.data.clone(), compiler);
    let set = |to: &mut usize, from: Option<usize>| *to = from.unwrap_or(*to);
    set(&mut options.in_flight_commands, args.in_flight_commands);
    set(&mut options.projections.scan_rows, args.scan_rows);
    set(&mut options.projections.build_workers, args.build_workers);
    if let Some(percent) = args.build_percent {
        options.projections.build_percent = percent;
    }
    if let Some(seconds) = args.checkpoint_seconds {
        options.checkpoints.every = Duration::from_secs(seconds);
    }
    if let Some(percent) = args.upkeep_percent {
        options.upkeep.percent = percent;
    }
    if let Some(seconds) = args.stalled_after_seconds {
        options.projections.stalled_after = Duration::from_secs(seconds);
    }
    set(&mut options.guests.memory_bytes, args.guest_memory_bytes);
    set(&mut options.guests.component_bytes, args.component_bytes);
    let set = |to: &mut u64, from: Option<u64>| *to = from.unwrap_or(*to);
    set(&mut options.log.min_free_disk_bytes, args.min_free_disk_bytes);
    set(&mut options.guests.deadline_ms, args.guest_deadline_ms);
    set(&mut options.compile.cpu_seconds, args.compile_cpu_seconds);
    set(&mut options.compile.wall_seconds, args.compile_wall_seconds);
    set(&mut options.compile.memory_bytes, args.compile_memory_bytes);
    set(&mut options.log.segment_bytes, args.segment_bytes);
    set(&mut options.log.journal_bytes, args.journal_bytes);
    options.log.archive_dir.clone_from(&args.archive_dir);
    options.archive.after = args.archive_after_days.map(|days| DAY * days);
    options.archive.rejections = args.retain_rejections_days.map(|days| DAY * days);
    if let Some(seconds) = args.archive_check_seconds {
        options.archive.every = Duration::from_secs(seconds);
    }
    if let Some(seconds) = args.erase_wait_seconds {
        options.archive.erase_wait = Duration::from_secs(seconds);
    }
    options.safe_mode = args.safe_mode;
    if args.refuse_wasi {
        options.wasi = Wasi::Refused;
    }
    options
}

fn settings(args: &ServeArgs) -> Settings {
    let mut settings = Settings {
        // Whoever says that it is open may also reach it by another name, as behind a proxy.
        local_only: !args.insecure,
        bench_route: args.bench_route,
        ..Settings::default()
    };
    let limits = &mut settings.limits;
    limits.body_bytes = args.body_bytes.unwrap_or(limits.body_bytes);
    limits.connections = args.connections.unwrap_or(limits.connections);
    limits.connections_per_address =
        args.connections_per_address.unwrap_or(limits.connections_per_address);
    let set = |to: &mut Duration, from: Option<u64>| *to = from.map_or(*to, Duration::from_millis);
    set(&mut limits.write_timeout, args.write_timeout_ms);
    set(&mut limits.heartbeat, args.heartbeat_ms);
    settings
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port that was just given back can be taken again; one that is in use cannot.
    socket.set_reuseaddr(true)?;
    // Connections inherit both. A peer that is gone without a word is found out in the end.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Each connection takes a file descriptor, and many systems begin with 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!(%error, "the number of open files stays as it is");
    }
}

fn announce(address: SocketAddr) {
    let mut out = std::io::stdout();
    // Whoever started it may not want to know.
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
}

async fn close(engine: Arc<Engine>) {
    match Arc::try_unwrap(engine) {
        Ok(engine) => {
            if tasks::blocking(|| engine.close()).await.is_none() {
                tracing::error!("closing the engine panicked");
            }
        }
        // A read that outlived its request: everything acknowledged is durable anyway.
        Err(_) => tracing::warn!("a request is still being answered; ending without it"),
    }
}

/// The signals that end a server, and one that must not: a file that may not grow is an error of
/// whoever writes to it.
struct Stop {
    _file_size: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn prepare() -> Result<Self, ServeError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| ServeError::Other(format!("signals cannot be heard: {error}")))
        };
        let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        Ok(Self {
            _file_size: listen(file_size)?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Passes the first request on, and ends with the second.
    async fn requested_twice(mut self, tell: oneshot::Sender<()>) {
        self.requested().await;
        let _ = tell.send(());
        self.requested().await;
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
