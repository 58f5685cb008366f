//! How far long work is: a bar on a terminal, and nothing where standard error goes elsewhere.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::client::Client;

/// Where a store is: in a directory that no server uses, or behind a server.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Where {
    /// The data directory of a server that does not run
    #[arg(long, visible_alias = "data-dir", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// A running server, such as http://127.0.0.1:7070
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
}

/// A client of the server at a URL.
pub(super) fn client(url: &str) -> Result<Client, String> {
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if address.is_empty() || address.contains('/') {
        return Err(format!("{url:?} is not like http://127.0.0.1:7070"));
    }
    Ok(Client::new(address))
}

/// A bar that goes to a number of records or bytes; unless it is to be quiet.
pub(super) fn bar(unit: &str, is_quiet: bool) -> ProgressBar {
    if is_quiet {
        return ProgressBar::hidden();
    }
    let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{msg}} {{eta}}");
    let style = ProgressStyle::with_template(&template);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
