//! What the demo does with a running server, step by step, and only over HTTP.

use anyhow::bail;
use bytes::Bytes;
use serde::Deserialize;

use super::figures::Figures;
use super::flights::Flight;
use super::modules::{Uploaded, activate, upload};
use super::{load, story, swap};
use crate::client::Client;
use crate::report::{Report, grouped, rounded};

/// The components that the demo uploads.
#[derive(Debug)]
pub(crate) struct Components {
    /// The account as it comes.
    pub(crate) account: Bytes,
    /// The account that may go below zero.
    pub(crate) overdraft: Bytes,
    /// The flights and their read models.
    pub(crate) flights: Bytes,
}

/// One tour.
#[derive(Debug)]
pub(crate) struct Tour<'a> {
    /// The server.
    pub(crate) client: Client,
    /// What is sent to it.
    pub(crate) week: &'a [Flight],
    /// Where to tell what happens.
    pub(crate) report: &'a mut Report,
}

#[derive(Deserialize)]
struct Log {
    head: u64,
}

impl Tour<'_> {
    /// Shows everything. The answer is the number of things that are not as they must be.
    pub(crate) async fn run(&mut self, components: Components) -> anyhow::Result<u32> {
        self.report.heading("Uploading and activating the modules, over HTTP");
        let flights = self.upload("flights", components.flights).await?;
        let account = self.upload("account", components.account).await?;
        let overdraft = self.upload("account", components.overdraft).await?;
        activate(&self.client, &flights).await?;
        activate(&self.client, &account).await?;
        self.report.item(format_args!("active: flights {}", flights.version));
        self.report.item(format_args!("active: account {}", account.version));

        let mut differences = self.figures().await?;
        story::history(&self.client, self.week, self.report).await?;
        differences += story::rejection(&self.client, self.week, self.report).await?;
        self.report.heading(format_args!(
            "Swapping account {} for {} while deposits and withdrawals flow",
            account.version, overdraft.version
        ));
        differences += swap::show(&self.client, &account, &overdraft, self.report).await?;
        Ok(differences)
    }

    async fn upload(&mut self, name: &str, component: Bytes) -> anyhow::Result<Uploaded> {
        let uploaded = upload(&self.client, component).await?;
        if uploaded.name != name {
            bail!("the module {name} says that it is {}", uploaded.name);
        }
        let digest: String = uploaded.digest.chars().take(12).collect();
        self.report.item(format_args!("uploaded {name} {} {digest}", uploaded.version));
        Ok(uploaded)
    }

    /// Sends the flights, unless they are there, and holds the read models against the rows.
    async fn figures(&mut self) -> anyhow::Result<u32> {
        let expected = Figures::expected(self.week);
        let events: usize = self.week.iter().map(|flight| flight.commands().len()).sum();
        let (flights, events) =
            (grouped(i64::try_from(self.week.len())?), grouped(i64::try_from(events)?));
        self.report.heading(format_args!(
            "A week of New York's departures: {flights} flights as {events} commands, over HTTP"
        ));
        let before: Log = self.client.get("/v1/events?direction=backward&limit=1").await?;
        let mut position = before.head;
        let there = Figures::read(&self.client, position).await?;
        if there.compare(&expected, &mut Report::new(std::io::sink())) == 0 {
            self.report.item("they are there already, from an earlier run");
        } else {
            let loaded = load::send(&self.client, self.week, "").await?;
            position = loaded.position;
            self.report.item(format_args!(
                "{} commands decided and durable in {:.1} s: {} a second",
                grouped(i64::try_from(loaded.commands)?),
                loaded.seconds,
                rounded(loaded.rate())
            ));
        }
        let said = Figures::read(&self.client, position).await?;
        Ok(said.compare(&expected, self.report))
    }
}
