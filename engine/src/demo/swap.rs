//! A new version of a module while commands flow: none fails, and from one command to the next the
//! new rules hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::commands::{Answer, Rejected, command};
use super::modules::{Uploaded, activate};
use crate::client::{Client, ClientError};
use crate::clock::Stopwatch;
use crate::report::{Report, grouped};

/// Accounts that have commands flowing. 8: enough to have some under way at any moment.
const ACCOUNTS: u32 = 8;
/// Commands that each version decides before the demo goes on.
const ENOUGH: u64 = 500;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the accounts' owners saw.
#[derive(Debug, Default)]
struct Seen {
    by_version: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<Vec<String>>,
    failed: AtomicU64,
    enough: AtomicBool,
}

impl Seen {
    fn decided_by(&self, version: &str) -> u64 {
        self.by_version.lock().get(version).copied().unwrap_or_default()
    }

    fn committed(&self, version: &str) {
        let mut by_version = self.by_version.lock();
        if let Some(count) = by_version.get_mut(version) {
            *count += 1;
        } else {
            by_version.insert(version.to_owned(), 1);
        }
    }

    fn failed(&self, reason: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.failures.lock().push(reason);
    }
}

/// Shows the swap. The answer is the number of things that are not as they should be.
pub(crate) async fn show(
    client: &Client,
    before: &Uploaded,
    after: &Uploaded,
    report: &mut Report,
) -> anyhow::Result<u32> {
    activate(client, before).await?;
    let run = crate::clock::new_id();
    let poor = format!("{run}-poor");
    open(client, &poor, 30).await?;
    let refused = withdraw(client, &poor, 80).await?;
    report.item(format_args!("balance 30, withdraw 80: {}", told(before, &refused)));

    let (seen, took) = swap_under_load(client, before, after, &run.to_string()).await?;
    for (version, count) in seen.by_version.lock().iter() {
        let count = grouped(i64::try_from(*count)?);
        report.item(format_args!("{count:>7} commands decided by account {version}"));
    }
    let failed = seen.failed.load(Ordering::Relaxed);
    report.item(format_args!(
        "{failed:>7} failed; the activation of {} took {} ms",
        after.version,
        took.as_millis()
    ));
    if let Some(reason) = seen.failures.lock().first() {
        report.item(format_args!("the first that failed: {reason}"));
    }
    let accepted = withdraw(client, &poor, 80).await?;
    report.item(format_args!("balance 30, withdraw 80: {}", told(after, &accepted)));
    let balances = wrong_balances(client, &run.to_string()).await?;
    if balances > 0 {
        report.item(format_args!("{balances} accounts have a wrong balance"));
    }
    let as_told =
        matches!(refused, Answer::Rejected(_)) && matches!(accepted, Answer::Committed(_));
    Ok(u32::from(failed > 0) + u32::from(!as_told) + balances)
}

async fn swap_under_load(
    client: &Client,
    before: &Uploaded,
    after: &Uploaded,
    run: &str,
) -> anyhow::Result<(Arc<Seen>, Duration)> {
    let seen = Arc::new(Seen::default());
    let mut owners = JoinSet::new();
    for number in 0..ACCOUNTS {
        let id = format!("{run}-{number}");
        open(client, &id, 100).await?;
        let (client, seen) = (client.clone(), Arc::clone(&seen));
        owners.spawn(async move { move_money(&client, &id, &seen).await });
    }
    until_decided(&seen, &before.version).await?;
    let activation = Stopwatch::start();
    activate(client, after).await?;
    let took = activation.elapsed();
    until_decided(&seen, &after.version).await?;
    seen.enough.store(true, Ordering::Relaxed);
    while let Some(owner) = owners.join_next().await {
        owner.context("an account's owner panicked")?;
    }
    Ok((seen, took))
}

/// Deposits and withdraws the same amount until told to stop, so that the balance stays.
async fn move_money(client: &Client, id: &str, seen: &Seen) {
    while !seen.enough.load(Ordering::Relaxed) {
        for name in ["deposit", "withdraw"] {
            match command(client, "account", id, name, &json!({ "amount": 5 })).await {
                Ok(Answer::Committed(committed)) => seen.committed(&committed.module.version),
                Ok(Answer::Rejected(rejected)) => seen.failed(rejected.reason),
                Err(error) => seen.failed(error.to_string()),
            }
        }
    }
}

async fn until_decided(seen: &Seen, version: &str) -> anyhow::Result<()> {
    let waited = Stopwatch::start();
    while seen.decided_by(version) < ENOUGH {
        if waited.elapsed() > PATIENCE {
            let failure = seen.failures.lock().first().cloned().unwrap_or_default();
            bail!("account {version} decided too little in {PATIENCE:?}. {failure}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn open(client: &Client, id: &str, balance: u32) -> anyhow::Result<()> {
    for (name, data) in
        [("open", json!({ "owner": "Ada" })), ("deposit", json!({ "amount": balance }))]
    {
        if let Answer::Rejected(rejected) = command(client, "account", id, name, &data).await? {
            bail!("account {id} could not {name}: {}", rejected.reason);
        }
    }
    Ok(())
}

async fn withdraw(client: &Client, id: &str, amount: u32) -> Result<Answer, ClientError> {
    command(client, "account", id, "withdraw", &json!({ "amount": amount })).await
}

fn told(module: &Uploaded, answer: &Answer) -> String {
    match answer {
        Answer::Committed(committed) => {
            format!("accepted by account {}", committed.module.version)
        }
        Answer::Rejected(Rejected { status, reason }) => {
            format!("rejected by account {} ({status}: {reason})", module.version)
        }
    }
}

/// Every owner took out what they put in.
async fn wrong_balances(client: &Client, run: &str) -> anyhow::Result<u32> {
    let mut wrong = 0;
    for number in 0..ACCOUNTS {
        let account: Value = client.get(&format!("/v1/aggregates/account/{run}-{number}")).await?;
        let balance = account.pointer("/state/balance").and_then(Value::as_i64);
        wrong += u32::from(balance != Some(100));
    }
    Ok(wrong)
}
