//! One decision: of a hot instance, and by the same function of the same crate, compiled natively
//! and given the same values.

use std::hint::black_box;

use anyhow::anyhow;
use factum_sdk::bindings::{aggregate as sdk, types};

use super::native;
use crate::clock::Stopwatch;
use crate::runtime::{
    Command, CompileLimits, CompilerProgram, Context, GateLimits, GuestLimits, Runtime,
    RuntimeOptions, State, Wasi,
};
use crate::tasks::Spawner;

/// The module itself, compiled into this binary.
#[path = "../../../../guest-examples/account/src/lib.rs"]
#[expect(unexpected_cfgs, reason = "its features are its own")]
mod account;

/// Decisions of one turn.
const CALLS: u32 = 2_000;
/// Turns of each, of which the best counts: others only slow one down.
const TURNS: u32 = 20;

/// Nanoseconds of one decision in a hot instance, and natively.
pub(super) fn decide_ns(component: &[u8]) -> anyhow::Result<(f64, f64)> {
    let cache = tempfile::tempdir()?;
    let options = RuntimeOptions {
        guests: GuestLimits { instance_calls: u64::MAX, ..GuestLimits::default() },
        gate: GateLimits::default(),
        wasi: Wasi::Frozen,
        compile: CompileLimits::default(),
        compiler: CompilerProgram::this_factum()?,
        cache: cache.path().to_owned(),
    };
    let runtime = Runtime::new(options, &Spawner::default()).map_err(|error| anyhow!(error))?;
    let mut instance = runtime.load(component)?.instantiate("bench")?;
    let state = State::Json(native::OPENED.to_owned());
    let data = native::deposit();
    let mut guest = || -> anyhow::Result<()> {
        let command = Command { id: "bench", name: "deposit", data: &data };
        let context = Context {
            stream_id: "account-1",
            stream_version: 1,
            now_ms: 1,
            seed: 1,
            correlation_id: "bench",
            causation_id: "bench",
            caller: None,
            extra: "{}",
        };
        let answer = instance.decide("account", Some(&state), &[], command, context)?;
        black_box(answer.map_err(|failure| anyhow!("{failure:?}"))?);
        Ok(())
    };
    let mut native = || -> anyhow::Result<()> {
        let command = sdk::Command {
            id: "bench".to_owned(),
            name: "deposit".to_owned(),
            data: black_box(&data).clone(),
        };
        let context = types::Context {
            stream_id: "account-1".to_owned(),
            stream_version: 1,
            now_ms: 1,
            seed: 1,
            correlation_id: "bench".to_owned(),
            causation_id: "bench".to_owned(),
            caller: None,
            extra: "{}".to_owned(),
        };
        let current = Some(types::State::Json(black_box(native::OPENED).to_owned()));
        let answer = account::MODULE.decide("account", current, &[], &command, context);
        black_box(answer.map_err(|failure| anyhow!("{failure:?}"))?);
        Ok(())
    };
    let (mut guest_ns, mut native_ns) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..TURNS {
        guest_ns = guest_ns.min(turn(&mut guest)?);
        native_ns = native_ns.min(turn(&mut native)?);
    }
    Ok((guest_ns, native_ns))
}

fn turn(work: &mut impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let since = Stopwatch::start();
    for _ in 0..CALLS {
        work()?;
    }
    Ok(since.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS))
}
