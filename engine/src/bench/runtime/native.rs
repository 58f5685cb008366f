//! What the account of the examples decides, written by hand in native code, and the path of a
//! command with it in place of the component: a thread with hot states, a checked answer, a record,
//! the writer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::load::{ACCOUNTS, deposit_to, drive};
use crate::clock::{Clock, new_seed};
use crate::commands::Command;
use crate::decision::{CommandRecord, Draft, ModuleRef, Outcome, RecordedContext, Saw};
use crate::event::{JSON, NewEvent};
use crate::expected::ExpectedVersion;
use crate::names::{EventType, StreamId};
use crate::storage::data_dir::DataDir;
use crate::storage::log::{Expectation, Log, LogLimits, Submission, Work};
use crate::tasks::{Spawner, Thread};

/// The state of an account that was opened.
pub(super) const OPENED: &str = r#"{"owner":"Ann","balance":1000}"#;
/// Threads of a module.
const THREADS: usize = 4;

/// The data of a deposit: 200 bytes, most of them a note that nobody reads.
pub(super) fn deposit() -> String {
    let note = "n".repeat(200 - r#"{"amount":1,"note":""}"#.len());
    format!(r#"{{"amount":1,"note":"{note}"}}"#)
}

#[derive(Serialize, Deserialize)]
struct Account {
    owner: Option<String>,
    balance: i64,
}

#[derive(Serialize, Deserialize)]
struct Amount {
    amount: u32,
}

/// Decides as the example does: the event's type and data, and the next state.
pub(super) fn decide(
    state: &str,
    command: &str,
    data: &str,
) -> anyhow::Result<(&'static str, String, String)> {
    let mut account: Account = serde_json::from_str(state)?;
    let Amount { amount } = serde_json::from_str(data)?;
    let event = match command {
        _ if account.owner.is_none() => return Err(anyhow!("not open")),
        "deposit" => {
            account.balance += i64::from(amount);
            "Deposited"
        }
        _ => return Err(anyhow!("unknown")),
    };
    let data = serde_json::to_string(&Amount { amount })?;
    Ok((event, data, serde_json::to_string(&account)?))
}

type Job = (Command, oneshot::Sender<Option<bytes::Bytes>>);

/// Durable commands a second with the native decider.
pub(super) async fn rate(measured: Duration) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let data = DataDir::open(dir.path())?;
    let spawner = Spawner::default();
    let (limits, clock) = (LogLimits::default(), Clock::system());
    let (log, log_threads) = Log::open(data.path(), data.store_id(), limits, clock, &spawner)?;
    let (senders, threads): (Vec<_>, Vec<Thread>) = (0..THREADS)
        .map(|number| {
            let (send, jobs) = crossbeam_channel::bounded::<Job>(4096);
            let worker =
                Worker { log: log.clone(), states: HashMap::new(), clock: Clock::system() };
            let thread = spawner.thread(&format!("native-{number}"), move || worker.run(&jobs));
            (send, thread)
        })
        .unzip();
    let load = drive(measured, |number| {
        let send = usize::try_from(number).ok().and_then(|at| senders.get(at % THREADS)).cloned();
        async move {
            let (reply, answer) = oneshot::channel();
            let send = send.context("there is no such thread")?;
            send.try_send((deposit_to(number)?, reply))
                .map_err(|_| anyhow!("the queue is full"))?;
            answer.await?.context("it was not appended").map(drop)
        }
    })
    .await?;
    drop((senders, log));
    threads.into_iter().chain(log_threads).for_each(Thread::join);
    Ok(load.rate)
}

struct Worker {
    log: Log,
    states: HashMap<StreamId, (String, u64)>,
    clock: Clock,
}

impl Worker {
    fn run(mut self, jobs: &crossbeam_channel::Receiver<Job>) {
        while let Ok((command, reply)) = jobs.recv() {
            let Ok((draft, expected)) = self.decided(&command) else { continue };
            self.log.submit(Submission {
                work: Work::Record { draft, expected: Some(expected) },
                lineages: vec![Arc::default()],
                reply: Box::new(move |answer| {
                    let record = answer.ok().and_then(|appended| match appended {
                        crate::storage::log::Appended::Record(record) => Some(record),
                        crate::storage::log::Appended::Barrier => None,
                    });
                    // Whoever went away wants no answer.
                    let _ = reply.send(record);
                }),
            });
        }
    }

    fn decided(&mut self, command: &Command) -> anyhow::Result<(Draft, Expectation)> {
        let stream = command.stream();
        let opened = || (OPENED.to_owned(), 0);
        let (state, version) = self.states.entry(stream.clone()).or_insert_with(opened);
        let (event_type, data, next) = decide(state, command.name.as_str(), &command.data)?;
        let event = NewEvent {
            event_type: EventType::parse(event_type)?,
            schema_version: 1,
            content_type: JSON.to_owned(),
            data: crate::json::compact(&data)?.into_owned().into_bytes(),
            tags: Vec::new(),
            time_ms: None,
            origin: None,
        };
        let hash = |state: &str| *blake3::hash(state.as_bytes()).as_bytes();
        let id = command.command_id.as_str();
        let record = CommandRecord {
            command_id: id,
            id_from_client: false,
            caller: None,
            fingerprint: command.fingerprint(),
            context: RecordedContext {
                stream: stream.as_str(),
                stream_version: *version,
                now_ms: self.clock.now_ms(),
                seed: new_seed(),
                correlation_id: id,
                causation_id: id,
                extra: "{}",
            },
            command: command.name.as_str(),
            data: &command.data,
            module: ModuleRef { name: "account", version: "1.0.0", digest: [0; 32] },
            saw: Saw { state_hash: Some(hash(state)), ..Saw::default() },
            outcome: Outcome::Committed { next_hash: hash(&next) },
            fuel: None,
        };
        let draft = Draft::command(&record, &[event]);
        let expected = Expectation { stream, version: ExpectedVersion::Exact(*version) };
        (*state, *version) = (next, *version + 1);
        debug_assert!(self.states.len() <= usize::try_from(ACCOUNTS)?);
        Ok((draft, expected))
    }
}
