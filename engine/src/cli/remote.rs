//! What the commands that talk to a running server have in common: where it is, and saying how far
//! they are.

use std::io::{IsTerminal, Write};

use hyper::http::uri::Authority;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::client::Client;

/// Steps between two lines where there is no terminal.
const STEPS_A_LINE: u64 = 100_000;

/// Where the server is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Remote {
    /// Where the server listens
    #[arg(long, env = "FACTUM_URL", default_value = "http://127.0.0.1:7070", value_name = "URL")]
    url: String,
}

impl Remote {
    /// A client of it.
    pub(super) fn client(&self) -> Result<Client, String> {
        let address = self.url.trim_end_matches('/');
        let address = address.strip_prefix("http://").unwrap_or(address);
        match address.parse::<Authority>() {
            Ok(address) => Ok(Client::new(address)),
            Err(_) => Err(format!("--url is http:// and a host with its port, not {:?}", self.url)),
        }
    }
}

/// Says on standard error how far something is: a bar on a terminal, else a line now and then.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    json: bool,
    said: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Step {
    /// Events that are done.
    pub(super) events: u64,
    /// Of `total`: positions, bytes, or whatever is known beforehand.
    pub(super) done: u64,
    /// Where `done` ends, if that is known.
    pub(super) total: Option<u64>,
}

impl Progress {
    /// Nothing yet.
    pub(super) fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template(
                "{elapsed_precise} {bar:40} {percent:>3} % {msg} events, {eta} left",
            );
            let bar = ProgressBar::new(0);
            style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
        });
        Self { bar, json, said: 0 }
    }

    /// Says it, if it is time to.
    pub(super) fn at(&mut self, step: Step) {
        if let Some(bar) = &self.bar {
            bar.set_length(step.total.unwrap_or(step.done));
            bar.set_position(step.done);
            bar.set_message(step.events.to_string());
            return;
        }
        if step.events - self.said < STEPS_A_LINE {
            return;
        }
        self.said = step.events;
        let line = match (self.json, step.total) {
            (true, _) => serde_json::to_string(&step).unwrap_or_default(),
            (false, Some(total)) if total > 0 => {
                let percent = step.done.min(total).saturating_mul(100) / total;
                format!("{} events, {percent} %", step.events)
            }
            (false, _) => format!("{} events", step.events),
        };
        say(&line);
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line on standard error.
pub(super) fn say(line: &str) {
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}
