//! From a command's acknowledgement to the moment its event's document can be read: 5,000 commands
//! a second, ten projections that want every event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::clock::Stopwatch;
use crate::commands::{Command, CommandId};
use crate::engine::{Engine, Options};
use crate::expected::ExpectedVersion;
use crate::names::{Key, Name};
use crate::runtime::CompilerProgram;
use crate::tasks::blocking;

const COMMANDS_PER_SECOND: u32 = 5_000;
const SECONDS: u32 = 5;
/// Tasks that send commands, each at its turn.
const SENDERS: u32 = 100;
const PROJECTIONS: u32 = 10;
/// How long a document may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How late documents are.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Lag {
    /// Commands a second that were reached.
    pub(super) commands_per_second: f64,
    /// Half were no later, in milliseconds.
    pub(super) p50_ms: f64,
    /// 99 of 100 were no later, in milliseconds.
    pub(super) p99_ms: f64,
}

pub(super) async fn measure(account: Bytes, counting: Bytes) -> anyhow::Result<Lag> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("store");
    let engine =
        blocking(move || Engine::open(Options::new(data, CompilerProgram::InProcess))).await;
    let engine = Arc::new(engine.context("opening panicked")??);
    for module in [account, counting] {
        install(&engine, module).await?;
    }
    let sent = Arc::new(AtomicU32::new(0));
    let started = Stopwatch::start();
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (engine, sent) = (Arc::clone(&engine), Arc::clone(&sent));
        senders.spawn(async move { send(&engine, sender, &sent, started).await });
    }
    let mut late = Vec::new();
    while let Some(ended) = senders.join_next().await {
        late.extend(ended.context("a sender panicked")??);
    }
    let seconds = started.elapsed().as_secs_f64();
    late.sort_by(f64::total_cmp);
    let at = |percent: usize| late.get(late.len() * percent / 100).copied().unwrap_or_default();
    let lag = Lag {
        commands_per_second: f64::from(sent.load(Ordering::Relaxed)) / seconds,
        p50_ms: at(50),
        p99_ms: at(99),
    };
    let engine = Arc::try_unwrap(engine).map_err(|_| anyhow!("a sender is still there"))?;
    blocking(|| engine.close()).await.context("closing panicked")?;
    Ok(lag)
}

pub(super) async fn install(engine: &Engine, component: Bytes) -> anyhow::Result<()> {
    let modules = Arc::clone(engine.modules());
    let uploaded = blocking(move || modules.upload(&component)).await;
    let (crate::modules::Upload::New(version) | crate::modules::Upload::Known(version)) =
        uploaded.context("the upload panicked")??;
    let name = Name::parse(&version.manifest.name)?;
    let activated = engine.modules().activate(&name, Some(&version.manifest.version), None).await;
    activated.map(drop).map_err(|error| anyhow!("{error}"))
}

/// Sends commands at the pace of all, and answers how late each document was, in milliseconds.
async fn send(
    engine: &Engine,
    sender: u32,
    sent: &AtomicU32,
    started: Stopwatch,
) -> anyhow::Result<Vec<f64>> {
    let command = |name: &str, data: &str| -> anyhow::Result<Command> {
        Ok(Command {
            aggregate: Name::parse("account")?,
            id: Key::parse(&format!("lag-{sender}"))?,
            name: Name::parse(name)?,
            data: data.to_owned(),
            command_id: CommandId::new(),
            expected: ExpectedVersion::Any,
            caller: None,
            correlation_id: None,
            causation_id: None,
            turn: None,
        })
    };
    engine.execute(command("open", "{\"owner\":\"Ada\"}")?).await?;
    let mut late = Vec::new();
    for turn in 0..COMMANDS_PER_SECOND * SECONDS / SENDERS {
        let due = f64::from(turn * SENDERS + sender) / f64::from(COMMANDS_PER_SECOND);
        let early = due - started.elapsed().as_secs_f64();
        tokio::time::sleep(Duration::try_from_secs_f64(early).unwrap_or_default()).await;
        let answer = engine.execute(command("deposit", "{\"amount\":1}")?).await?;
        let acknowledged = Stopwatch::start();
        sent.fetch_add(1, Ordering::Relaxed);
        let position = answer.decision()?.head_after();
        let name = format!("deposits_{}", (turn + sender) % PROJECTIONS);
        let model = engine.projections().read_model(&name).context("a read model is missing")?;
        let reached = model.wait_for(position, PATIENCE).await;
        reached.map_err(|at| anyhow!("{name} stays at {at}"))?;
        late.push(acknowledged.elapsed().as_secs_f64() * 1e3);
    }
    Ok(late)
}
