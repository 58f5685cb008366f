//! Commands without HTTP: how many an engine decides, with and without swaps and a hostile
//! neighbour, and what an activation takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::future::try_join_all;

use super::{Modules, native};
use crate::bench::median;
use crate::clock::Stopwatch;
use crate::commands::{Command, CommandId};
use crate::engine::{Engine, Options};
use crate::expected::ExpectedVersion;
use crate::names::{Key, Name};
use crate::runtime::CompilerProgram;
use crate::tasks::blocking;

/// Commands at a time, each to an account of its own.
pub(super) const ACCOUNTS: u32 = 64;
/// Commands at a time to the hostile module.
const HOSTILE_COMMANDS: u32 = 8;
/// Between swaps.
const SWAP_PAUSE: Duration = Duration::from_millis(100);
/// After a command of the hostile module was refused.
const SPIN_PAUSE: Duration = Duration::from_millis(1);
/// Starts after each of which another version is activated.
const ACTIVATIONS: usize = 5;

/// What one load was.
pub(super) struct Load {
    /// Commands a second.
    pub(super) rate: f64,
    /// 99 of 100 took no longer.
    pub(super) p99_ms: f64,
}

/// What was measured on one engine.
pub(super) struct Loads {
    pub(super) rate: f64,
    pub(super) p99_ms: f64,
    pub(super) swap_p99_ms: f64,
    pub(super) rate_beside_hostile: f64,
    pub(super) activation_ms: f64,
}

/// Runs one command after the other for each account, and measures them.
pub(super) async fn drive<F: Future<Output = anyhow::Result<()>>>(
    measured: Duration,
    send: impl Fn(u32) -> F,
) -> anyhow::Result<Load> {
    let since = Stopwatch::start();
    let one_after_the_other = |number| {
        let send = &send;
        async move {
            let mut took_ms = Vec::new();
            while since.elapsed() < measured {
                let one = Stopwatch::start();
                send(number).await?;
                took_ms.push(one.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(took_ms)
        }
    };
    let took_ms = try_join_all((0..ACCOUNTS).map(one_after_the_other)).await?;
    let elapsed = since.elapsed().as_secs_f64();
    let mut took_ms: Vec<_> = took_ms.into_iter().flatten().collect();
    took_ms.sort_by(f64::total_cmp);
    let count = u32::try_from(took_ms.len())?;
    let p99 = took_ms.get(took_ms.len().saturating_sub(took_ms.len() / 100 + 1));
    Ok(Load { rate: f64::from(count) / elapsed, p99_ms: p99.copied().unwrap_or(f64::NAN) })
}

/// A deposit to one of the accounts.
pub(super) fn deposit_to(number: u32) -> anyhow::Result<Command> {
    command("account", number, "deposit", native::deposit())
}

fn command(aggregate: &str, id: u32, name: &str, data: String) -> anyhow::Result<Command> {
    Ok(Command {
        aggregate: Name::parse(aggregate)?,
        id: Key::parse(&id.to_string())?,
        name: Name::parse(name)?,
        data,
        command_id: CommandId::new(),
        expected: ExpectedVersion::Any,
        caller: None,
        correlation_id: None,
        causation_id: None,
        turn: None,
    })
}

/// Measures one engine over a directory.
pub(super) async fn measure(
    dir: &Path,
    modules: &Modules,
    measured: Duration,
) -> anyhow::Result<Loads> {
    let engine = open(dir).await?;
    for component in [&modules.account, &modules.overdraft, &modules.hostile] {
        let (modules, component) = (Arc::clone(engine.modules()), component.clone());
        blocking(move || modules.upload(&component)).await.context("an upload panicked")??;
    }
    activate(&engine, "account", "1.0.0").await?;
    let opening = |number| command("account", number, "open", r#"{"owner":"Ann"}"#.to_owned());
    for number in 0..ACCOUNTS {
        engine.execute(opening(number)?).await?;
    }
    let deposit = |number| {
        let engine = &engine;
        async move { Ok(engine.execute(deposit_to(number)?).await.map(drop)?) }
    };
    // Instances are live and states hot before anything counts.
    drive(measured / 4, deposit).await?;
    let alone = drive(measured, deposit).await?;
    let (swapped, swaps) = tokio::join!(drive(measured, deposit), swap(&engine, measured));
    swaps?;
    activate(&engine, "hostile", "1.0.0").await?;
    let (beside, ()) = tokio::join!(drive(measured, deposit), spin(&engine, measured));
    close(engine).await;

    let mut took_ms = Vec::new();
    for _ in 0..ACTIVATIONS {
        let engine = open(dir).await?;
        let version = other_version(&engine);
        let since = Stopwatch::start();
        activate(&engine, "account", version).await?;
        took_ms.push(since.elapsed().as_secs_f64() * 1e3);
        close(engine).await;
    }
    Ok(Loads {
        rate: alone.rate,
        p99_ms: alone.p99_ms,
        swap_p99_ms: swapped?.p99_ms,
        rate_beside_hostile: beside?.rate,
        activation_ms: median(took_ms),
    })
}

async fn open(dir: &Path) -> anyhow::Result<Engine> {
    let options = Options::new(dir.to_owned(), CompilerProgram::this_factum()?);
    Ok(blocking(|| Engine::open(options)).await.context("opening panicked")??)
}

async fn close(engine: Engine) {
    // It reports by itself what went wrong.
    let _ = blocking(|| engine.close()).await;
}

async fn activate(engine: &Engine, module: &str, version: &str) -> anyhow::Result<()> {
    let name = Name::parse(module).map_err(|error| anyhow!(error))?;
    engine.modules().activate(&name, Some(version), None).await?;
    Ok(())
}

/// The version of the account that does not answer now.
fn other_version(engine: &Engine) -> &'static str {
    let modules = engine.modules().list();
    let active = modules.iter().filter_map(|module| module.active.as_ref());
    let is_first = |active: &Arc<crate::modules::ModuleVersion>| {
        active.manifest.name == "account" && active.manifest.version == "1.0.0"
    };
    if active.into_iter().any(is_first) { "1.1.0" } else { "1.0.0" }
}

async fn swap(engine: &Engine, measured: Duration) -> anyhow::Result<()> {
    let since = Stopwatch::start();
    for version in ["1.1.0", "1.0.0"].iter().cycle() {
        if since.elapsed() >= measured {
            break;
        }
        tokio::time::sleep(SWAP_PAUSE).await;
        activate(engine, "account", version).await?;
    }
    Ok(())
}

/// Lets the hostile module loop, again and again.
async fn spin(engine: &Engine, measured: Duration) {
    let since = Stopwatch::start();
    let one_after_the_other = |number| async move {
        while since.elapsed() < measured {
            let Ok(spin) = command("hostile", number, "spin", r#"{"now":true}"#.to_owned()) else {
                return;
            };
            // That it fails is what it is for.
            if engine.execute(spin).await.is_err() {
                tokio::time::sleep(SPIN_PAUSE).await;
            }
        }
    };
    futures_util::future::join_all((0..HOSTILE_COMMANDS).map(one_after_the_other)).await;
}
