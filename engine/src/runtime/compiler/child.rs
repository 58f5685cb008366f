//! The child's side of compilation: a component on standard input, its code on standard output.
//!
//! It caps itself before it reads the first byte, opens nothing, and starts no thread.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

/// The subcommand's name.
const SUBCOMMAND: &str = "compile-component";
/// Exit codes: the compiler does not take the component; the child cannot begin.
pub(super) const REFUSED: i32 = 3;
pub(super) const UNUSABLE: i32 = 4;
/// Bytes of messages that are kept. 4 KiB: some lines.
pub(super) const MOST_MESSAGE_BYTES: u64 = 4 << 10;
/// How far the compiler steps back behind the server, in steps of `nice`. 5: where all processors
/// are busy, it gets a third of what others get.
const NICE: i32 = 5;

/// What `factum compile-component` takes: its caps.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct CompileArgs {
    /// Processor time, in seconds
    #[arg(long)]
    pub(super) cpu_seconds: u64,
    /// Address space, in bytes
    #[arg(long)]
    pub(super) memory_bytes: u64,
    /// Count fuel
    #[arg(long)]
    pub(super) metered: bool,
    /// The process that waits for the code
    #[arg(long)]
    pub(super) parent: u32,
}

impl CompileArgs {
    pub(super) fn to_arguments(self) -> Vec<OsString> {
        let mut arguments = vec![
            SUBCOMMAND.into(),
            "--cpu-seconds".into(),
            self.cpu_seconds.to_string().into(),
            "--memory-bytes".into(),
            self.memory_bytes.to_string().into(),
            "--parent".into(),
            self.parent.to_string().into(),
        ];
        arguments.extend(self.metered.then(|| "--metered".into()));
        arguments
    }
}

/// Compiles what comes in on standard input. Only for a process of its own: it caps the process.
#[must_use]
pub fn compile_from_stdin(args: CompileArgs) -> ExitCode {
    let done = limit_process(args)
        .map_err(|error| (UNUSABLE, format!("the caps cannot be set: {error}")))
        .and_then(|()| compile(args.metered));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            // Where nobody listens, the code alone has to do.
            let _ = writeln!(std::io::stderr(), "{reason}");
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
    }
}

fn limit_process(args: CompileArgs) -> std::io::Result<()> {
    // The signal comes when the thread that started us ends; that one waits for us.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // There is no signal for one that had ended by then.
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    if parent.and_then(|parent| u32::try_from(parent.get()).ok()) != Some(args.parent) {
        return Err(std::io::Error::other("the process that waits for the code has ended"));
    }
    let set = |resource, most, hard| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(hard) })
    };
    // The first limit ends the process with a signal that tells it from all others.
    set(Resource::Cpu, args.cpu_seconds, args.cpu_seconds.saturating_add(1))?;
    set(Resource::As, args.memory_bytes, args.memory_bytes)?;
    set(Resource::Fsize, MOST_MESSAGE_BYTES, MOST_MESSAGE_BYTES)?;
    set(Resource::Core, 0, 0)?;
    close_inherited();
    // One that is already less urgent than this may stay so.
    let _ = rustix::process::nice(NICE);
    Ok(())
}

/// Closes what whoever started the server left open, and the server with it.
#[expect(unsafe_code, reason = "there is no other way to close what others opened")]
fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<_> = open.flatten().map(|file| file.path()).collect();
    for path in open {
        let file = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok());
        // One of them was that of the directory.
        let is_open = std::fs::symlink_metadata(&path).is_ok();
        if let Some(file) = file.filter(|file| *file > 2 && is_open) {
            // SAFETY: this process has opened nothing yet and has one thread, so no value stands
            // for the file.
            unsafe { rustix::io::close(file) }
        }
    }
}

fn compile(metered: bool) -> Result<(), (i32, String)> {
    let mut bytes = Vec::new();
    let unusable = |error: std::io::Error| (UNUSABLE, error.to_string());
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(unusable)?;
    let engine = wasmtime::Engine::new(&super::super::code_settings(metered))
        .map_err(|error| (UNUSABLE, super::super::one_line(&error)))?;
    let code = engine
        .precompile_component(&bytes)
        .map_err(|error| (REFUSED, super::super::one_line(&error)))?;
    let mut out = std::io::stdout().lock();
    out.write_all(&code).and_then(|()| out.flush()).map_err(unusable)
}
