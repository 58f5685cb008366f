//! Compilation: in a child process that can be killed, within caps, a few at a time.
//!
//! Promises: whatever the bytes, an answer comes within the caps, and the server's own memory and
//! threads have no part in it; what the child is given is the bytes and nothing else; it ends with
//! the server.

mod child;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::clock::Stopwatch;

pub use child::{CompileArgs, compile_from_stdin};

/// What compiling one component may cost. Each has a default with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time, in seconds. 60: Python takes 14, SpiderMonkey 15.
    pub cpu_seconds: u64,
    /// Time, in seconds. 300: on a busy machine it gets a fifth of a processor.
    pub wall_seconds: u64,
    /// Address space of the compiler, in bytes. 1 GiB: Python and SpiderMonkey take a third.
    pub memory_bytes: u64,
    /// Bytes of the machine code. 256 MiB: Python has 34.
    pub code_bytes: usize,
    /// Compilations at a time; further ones wait. 1: each takes all of a processor.
    pub at_once: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            cpu_seconds: 60,
            wall_seconds: 300,
            memory_bytes: 1 << 30,
            code_bytes: 256 << 20,
            at_once: 1,
        }
    }
}

/// Who compiles. There is no default: a program that embeds the engine has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompilerProgram {
    /// The binary `factum` of the same version, at this path, as a child process.
    Child(PathBuf),
    /// This process, without any cap: a hostile component can take all of its memory and hold it
    /// up for hours. For trusted components only.
    InProcess,
}

impl CompilerProgram {
    /// The program that runs, where that is the binary `factum`.
    pub(crate) fn this_factum() -> std::io::Result<Self> {
        // What runs, even if another version was installed over it.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Self::Child(program))
    }
}

/// Why there is no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// It would have cost more than a cap allows.
    Cap {
        /// The cap's name.
        limit: &'static str,
        /// What it allows.
        allowed: u64,
    },
    /// The compiler does not take it.
    Refused(String),
    /// The compiler failed over it.
    Crashed(String),
    /// There is no compiler: the component has no part in that.
    Unavailable(String),
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cap { limit, allowed } => write!(
                f,
                "compiling the component was given up: it exceeds the cap {limit}, which is \
                 {allowed}"
            ),
            Self::Refused(reason) => {
                write!(f, "the compiler does not take the component: {reason}")
            }
            Self::Crashed(reason) => write!(f, "the compiler failed over the component: {reason}"),
            Self::Unavailable(reason) => write!(f, "no compiler could be started: {reason}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// Hands components to the compiler, no more at a time than may be.
#[derive(Debug)]
pub(super) struct Compiler {
    program: CompilerProgram,
    limits: CompileLimits,
    /// Where the child's input and messages are kept, in files without a name.
    dir: PathBuf,
    places: (Sender<()>, Receiver<()>),
}

impl Compiler {
    pub(super) fn new(program: CompilerProgram, limits: CompileLimits, dir: PathBuf) -> Self {
        let places = crossbeam_channel::bounded(limits.at_once.max(1));
        Self { program, limits, dir, places }
    }

    /// Waits until a compilation may begin. The place is free again when the answer is dropped.
    pub(super) fn place(&self) -> Place<'_> {
        // The channel holds those that compile. Its other end is ours: it cannot be closed.
        let _ = self.places.0.send(());
        Place(&self.places.1)
    }

    /// Compiles a component for an engine.
    pub(super) fn compile(
        &self,
        _place: &Place<'_>,
        (engine, metered): (&wasmtime::Engine, bool),
        bytes: &[u8],
    ) -> Result<Vec<u8>, CompileError> {
        match &self.program {
            CompilerProgram::Child(program) => self.in_child(program, metered, bytes),
            CompilerProgram::InProcess => engine
                .precompile_component(bytes)
                .map_err(|error| CompileError::Refused(super::one_line(&error))),
        }
    }

    fn in_child(
        &self,
        program: &Path,
        metered: bool,
        bytes: &[u8],
    ) -> Result<Vec<u8>, CompileError> {
        let unavailable = |error: std::io::Error| {
            CompileError::Unavailable(format!("{}: {error}", program.display()))
        };
        let mut input = tempfile::tempfile_in(&self.dir).map_err(unavailable)?;
        input.write_all(bytes).and_then(|()| input.rewind()).map_err(unavailable)?;
        let mut messages = tempfile::tempfile_in(&self.dir).map_err(unavailable)?;
        let args = CompileArgs {
            cpu_seconds: self.limits.cpu_seconds,
            memory_bytes: self.limits.memory_bytes,
            metered,
            parent: std::process::id(),
        };
        let child = Command::new(program)
            .args(args.to_arguments())
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(messages.try_clone().map_err(unavailable)?)
            .spawn();
        let mut running = Running(child.map_err(unavailable)?);
        let code = self.read_code(&mut running)?;
        let status = running.0.wait().map_err(unavailable)?;
        if status.success() { Ok(code) } else { Err(self.failure(status, &mut messages)) }
    }

    fn read_code(&self, running: &mut Running) -> Result<Vec<u8>, CompileError> {
        let unavailable = |error: std::io::Error| CompileError::Unavailable(error.to_string());
        let Some(mut out) = running.0.stdout.take() else {
            return Err(CompileError::Unavailable("the compiler has no output".into()));
        };
        let wall = Duration::from_secs(self.limits.wall_seconds);
        let since = Stopwatch::start();
        let mut code = Vec::new();
        let mut chunk = vec![0; 256 << 10];
        loop {
            let left = wall.saturating_sub(since.elapsed());
            let timeout = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&out, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Err(cap("compile_wall_seconds", self.limits.wall_seconds)),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(unavailable(error.into())),
            }
            let count = out.read(&mut chunk).map_err(unavailable)?;
            if count == 0 {
                return Ok(code);
            }
            code.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if code.len() > self.limits.code_bytes {
                let allowed = u64::try_from(self.limits.code_bytes).unwrap_or(u64::MAX);
                return Err(cap("compile_code_bytes", allowed));
            }
        }
    }

    /// What the end of the child and its last words mean.
    fn failure(&self, status: ExitStatus, messages: &mut File) -> CompileError {
        let mut said = Vec::new();
        // Without its words there is still its end.
        let _ = messages.rewind();
        let _ = messages.take(child::MOST_MESSAGE_BYTES).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if status.signal() == Some(Signal::XCPU.as_raw()) {
            return cap("compile_cpu_seconds", self.limits.cpu_seconds);
        }
        // What Rust says when it gets no memory, and what the system does.
        const OUT_OF_MEMORY: [&str; 3] =
            ["memory allocation of", "out of memory", "Cannot allocate memory"];
        if OUT_OF_MEMORY.iter().any(|words| said.contains(words)) {
            return cap("compile_memory_bytes", self.limits.memory_bytes);
        }
        if status.code() == Some(child::REFUSED) {
            return CompileError::Refused(said);
        }
        if status.code() == Some(child::UNUSABLE) {
            return CompileError::Unavailable(said);
        }
        CompileError::Crashed(format!("it ended with {status}: {said}"))
    }
}

fn cap(limit: &'static str, allowed: u64) -> CompileError {
    CompileError::Cap { limit, allowed }
}

/// The right to compile now.
#[derive(Debug)]
pub(super) struct Place<'c>(&'c Receiver<()>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // What was put in when the place was taken is there.
        let _ = self.0.try_recv();
    }
}

/// A child that does not outlive the wait for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
