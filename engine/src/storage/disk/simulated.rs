//! A disk in memory that loses what was not synced, fails when told to, and remembers all that was
//! done to it, so that the moment of any call can be gone back to.
//!
//! Calls of a thread can be held back until the test lets some of them pass. So who drives the
//! engine decides how its threads interleave, and one seed makes one run.

mod pages;
mod platter;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::{Condvar, Mutex};

pub(in crate::storage) use platter::{Op, Platter};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Create,
    Read,
    Write,
    SetLen,
    Sync,
    Rename,
    Remove,
    SyncDir,
}

/// What a call does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The device does not answer. What a sync should have kept may be lost for good.
    Io,
    /// There is no room.
    Full,
    /// There is room for a part.
    Short,
}

/// One moment of a trace.
#[derive(Clone, Debug)]
pub(in crate::storage) enum Step {
    Op(Op),
    /// How much the tester knew.
    Known(usize),
}

/// A disk. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Simulated(Arc<Machine>);

#[derive(Debug)]
struct Machine {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    platter: Platter,
    /// Whether what is done is remembered.
    is_traced: bool,
    trace: Vec<Step>,
    failing: Vec<Failing>,
    /// Calls that are said to be done and are not.
    ignored: Option<Call>,
    is_off: bool,
    /// Threads whose calls are held back.
    held: BTreeMap<&'static str, Held>,
    calls: BTreeMap<Call, u64>,
}

/// Calls that are to fail: so many, after some others, on files whose names begin so.
#[derive(Debug)]
struct Failing {
    file: String,
    call: Call,
    failure: Failure,
    after: u64,
    times: u64,
}

#[derive(Debug, Default)]
struct Held {
    /// How many more calls may pass.
    passes: u64,
    waits: bool,
}

impl Simulated {
    /// A disk with nothing on it.
    pub(crate) fn new() -> Self {
        Self::of(Platter::default(), true)
    }

    /// A disk that holds this.
    pub(in crate::storage) fn of(platter: Platter, is_traced: bool) -> Self {
        let state = State { platter, is_traced, ..State::default() };
        Self(Arc::new(Machine { state: Mutex::new(state), moved: Condvar::new() }))
    }

    /// What it holds now.
    pub(in crate::storage) fn platter(&self) -> Platter {
        self.0.state.lock().platter.clone()
    }

    /// What was done to it so far.
    pub(in crate::storage) fn take_trace(&self) -> Vec<Step> {
        std::mem::take(&mut self.0.state.lock().trace)
    }

    /// Puts how much the tester knows into the trace.
    pub(in crate::storage) fn note(&self, known: usize) {
        self.0.state.lock().trace.push(Step::Known(known));
    }

    /// The next `times` calls of a kind on files whose names begin so fail.
    pub(crate) fn fail(&self, file: &str, call: Call, times: u64) {
        let file = file.to_owned();
        let failing = Failing { file, call, failure: Failure::Io, after: 0, times };
        self.0.state.lock().failing.push(failing);
    }

    /// One call of a kind fails, after so many others.
    pub(in crate::storage) fn fail_after(&self, call: Call, after: u64, failure: Failure) {
        let failing = Failing { file: String::new(), call, failure, after, times: 1 };
        self.0.state.lock().failing.push(failing);
    }

    /// From now on calls of a kind are said to be done and are not: a wrong disk, to be found out.
    pub(in crate::storage) fn ignore(&self, call: Call) {
        self.0.state.lock().ignored = Some(call);
    }

    /// Ends all failures.
    pub(in crate::storage) fn mend(&self) {
        self.0.state.lock().failing.clear();
    }

    /// How many calls of a kind there were.
    pub(in crate::storage) fn calls(&self, call: Call) -> u64 {
        self.0.state.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// From now on every call fails: the machine is off, and whoever runs on it ends.
    pub(in crate::storage) fn turn_off(&self) {
        let mut state = self.0.state.lock();
        state.is_off = true;
        state.held.clear();
        self.0.moved.notify_all();
    }

    /// Holds back the calls of a thread.
    pub(in crate::storage) fn hold(&self, thread: &'static str) {
        self.0.state.lock().held.insert(thread, Held::default());
    }

    /// Holds back none of a thread's calls any more.
    pub(in crate::storage) fn release(&self, thread: &'static str) {
        self.0.state.lock().held.remove(thread);
        self.0.moved.notify_all();
    }

    /// Lets some calls of a thread pass, and waits until it wants to make one more or rests.
    pub(in crate::storage) fn pass(
        &self,
        thread: &'static str,
        calls: u64,
        rests: impl Fn() -> bool,
    ) {
        let mut state = self.0.state.lock();
        state.held.get_mut(thread).expect("held").passes = calls;
        self.0.moved.notify_all();
        for _ in 0..100_000 {
            let held = &state.held[thread];
            if (held.waits && held.passes == 0)
                || parking_lot::MutexGuard::unlocked(&mut state, &rests)
            {
                return;
            }
            self.0.moved.wait_for(&mut state, Duration::from_micros(100));
        }
        panic!("{thread} neither works nor rests");
    }

    /// Makes a call, unless it is to fail. An error may come with what happens all the same.
    fn call(
        &self,
        call: Call,
        file: &str,
        op: impl FnOnce(&mut State) -> io::Result<Option<Op>>,
    ) -> io::Result<()> {
        let mut state = self.0.state.lock();
        self.wait_for_turn(&mut state);
        if state.is_off {
            return Err(io::Error::other("the machine is off"));
        }
        *state.calls.entry(call).or_default() += 1;
        let failure = state.failure(call, file);
        let op = op(&mut state)?;
        match (failure, op) {
            (None, Some(op)) if state.ignored != Some(call) => {
                state.apply(op);
                Ok(())
            }
            (None, _) => Ok(()),
            (Some(failure), op) => {
                let seed = state.calls.values().sum();
                match op {
                    Some(Op::Sync { file }) => state.apply(Op::Lose { file, seed }),
                    Some(Op::Write { file, at, data }) if failure == Failure::Short => {
                        let part = Rng::with_seed(seed).usize(0..data.len().max(1));
                        state.apply(Op::Write { file, at, data: data[..part].into() });
                    }
                    _ => {}
                }
                Err(failure.into())
            }
        }
    }

    fn wait_for_turn(&self, state: &mut parking_lot::MutexGuard<'_, State>) {
        if state.held.is_empty() {
            return;
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        while let Some(held) = state.held.get_mut(name) {
            if held.passes > 0 {
                held.passes -= 1;
                held.waits = false;
                return;
            }
            held.waits = true;
            self.0.moved.notify_all();
            self.0.moved.wait(state);
        }
    }

    pub(in crate::storage) fn file(&self, path: &Path) -> io::Result<SimulatedFile> {
        if self.0.state.lock().platter.find(path).is_err() {
            self.call(Call::Create, name(path), |state| {
                Ok(state.platter.find(path).is_err().then(|| Op::Create(path.to_owned())))
            })?;
        }
        self.file_to_read(path)
    }

    pub(super) fn file_to_read(&self, path: &Path) -> io::Result<SimulatedFile> {
        let number = self.0.state.lock().platter.find(path)?;
        Ok(SimulatedFile { disk: self.clone(), number, name: name(path).to_owned() })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as other disks do")]
    pub(super) fn has(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.state.lock().platter.find(path).is_ok())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as other disks do")]
    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let paths = self.0.state.lock().platter.list(dir).into_iter();
        let name = |path: PathBuf| path.file_name()?.to_str().map(str::to_owned);
        Ok(paths.filter_map(name).collect())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, name(from), |state| {
            state.platter.find(from)?;
            Ok(Some(Op::Rename(from.to_owned(), to.to_owned())))
        })
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove, name(path), |state| {
            state.platter.find(path)?;
            Ok(Some(Op::Remove(path.to_owned())))
        })
    }

    pub(in crate::storage) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Call::SyncDir, name(dir), |_| Ok(Some(Op::SyncDir(dir.to_owned()))))
    }
}

impl State {
    fn apply(&mut self, op: Op) {
        self.platter.apply(&op);
        if self.is_traced {
            self.trace.push(Step::Op(op));
        }
    }

    fn failure(&mut self, call: Call, file: &str) -> Option<Failure> {
        if self.failing.is_empty() {
            return None;
        }
        let fits = |failing: &&mut Failing| {
            failing.call == call && failing.times > 0 && file.starts_with(&failing.file)
        };
        let failing = self.failing.iter_mut().find(fits)?;
        if failing.after > 0 {
            failing.after -= 1;
            return None;
        }
        failing.times -= 1;
        Some(failing.failure)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io => Self::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
            Failure::Full => Self::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
            Failure::Short => io::ErrorKind::WriteZero.into(),
        }
    }
}

/// An open file of such a disk.
#[derive(Clone, Debug)]
pub(in crate::storage) struct SimulatedFile {
    disk: Simulated,
    number: usize,
    name: String,
}

impl SimulatedFile {
    pub(in crate::storage) fn len(&self) -> io::Result<u64> {
        let state = self.disk.0.state.lock();
        u64::try_from(state.platter.content(self.number).len()).map_err(io::Error::other)
    }

    pub(in crate::storage) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        *state.calls.entry(Call::Read).or_default() += 1;
        if state.is_off {
            return Err(io::Error::other("the machine is off"));
        }
        if let Some(failure) = state.failure(Call::Read, &self.name) {
            return Err(failure.into());
        }
        state.platter.content(self.number).read(place(offset)?, out)
    }

    pub(in crate::storage) fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(Call::SetLen, Op::SetLen { file: self.number, len: place(len)? })
    }

    pub(in crate::storage) fn sync_data(&self) -> io::Result<()> {
        self.call(Call::Sync, Op::Sync { file: self.number })
    }

    pub(in crate::storage) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (file, at) = (self.number, place(offset)?);
        self.call(Call::Write, Op::Write { file, at, data: data.into() })
    }

    fn call(&self, call: Call, op: Op) -> io::Result<()> {
        self.disk.call(call, &self.name, |_| Ok(Some(op)))
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}
