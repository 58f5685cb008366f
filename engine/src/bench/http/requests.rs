//! The requests that are measured, as bytes ready to be sent.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::client::Client;

/// Accounts that the commands are spread over.
const ACCOUNTS: u32 = 10_000;
/// Accounts opened by one request.
const OPENED_AT_ONCE: usize = 2_000;
/// What makes a command some 200 bytes of JSON, which is a usual size.
const MEMO: &str = "monthly transfer, reference 2013-01-0417-EWR, from the joint household account \
                    to savings; see the standing order of 3 December 2012 for the amount agreed \
                    upon and its terms";

/// Requests of one kind, to pick from.
#[derive(Debug)]
pub(in crate::bench) struct Requests(Vec<Vec<u8>>);

impl Requests {
    /// Deposits on all accounts.
    pub(in crate::bench) fn deposits(address: &str) -> Self {
        let one = |account| {
            request(address, &format!("/v1/aggregates/account/{}/commands/deposit", id(account)))
        };
        Self((0..ACCOUNTS).map(one).collect())
    }

    /// Reads, one a path.
    pub(in crate::bench) fn gets(address: &str, paths: impl Iterator<Item = String>) -> Self {
        let get = |path| format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes();
        Self(paths.map(get).collect())
    }

    /// The route that does nothing, with the same body.
    pub(in crate::bench) fn nothing(address: &str) -> Self {
        Self(vec![request(address, "/v1/nothing")])
    }

    /// One of them.
    pub(in crate::bench) fn pick(&self, choice: u64) -> &[u8] {
        let count = u64::try_from(self.0.len()).unwrap_or(1).max(1);
        let at = usize::try_from(choice % count).unwrap_or_default();
        self.0.get(at).map(Vec::as_slice).unwrap_or_default()
    }
}

fn id(account: u32) -> String {
    format!("bench-{account:05}")
}

fn request(address: &str, path: &str) -> Vec<u8> {
    let body = json!({ "amount": 1, "memo": MEMO }).to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Opens all accounts. The answer is the position of the last event.
pub(in crate::bench) async fn open_accounts(client: &Client) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Answer {
        status: u16,
        #[serde(default)]
        detail: String,
    }
    let lines: Vec<String> = (0..ACCOUNTS)
        .map(|account| {
            let data = json!({ "owner": "Ada" });
            json!({ "aggregate": "account", "id": id(account), "command": "open", "data": data })
                .to_string()
        })
        .collect();
    for part in lines.chunks(OPENED_AT_ONCE) {
        let mut answers = client.lines("/v1/commands", Bytes::from(part.join("\n"))).await?;
        let mut opened = 0;
        while let Some(answer) = answers.next::<Answer>().await? {
            if answer.status != 200 {
                bail!("an account could not be opened: {} {}", answer.status, answer.detail);
            }
            opened += 1;
        }
        if opened != part.len() {
            bail!("{opened} of {} accounts were opened", part.len());
        }
    }
    Ok(())
}

/// Waits until the server answers at all.
pub(in crate::bench) async fn wait_until_ready(client: &Client) -> anyhow::Result<()> {
    const TRIES: u32 = 200;
    let mut last = None;
    for _ in 0..TRIES {
        match client.get::<serde_json::Value>("/readyz").await {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(last.context("there was no try")?).context("the server did not become ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_of_a_usual_size() {
        let requests = Requests::deposits("127.0.0.1:7070");
        let text = String::from_utf8_lossy(requests.pick(10_001)).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("POST /v1/aggregates/account/bench-00001/commands/deposit "));
        assert!((190..210).contains(&body.len()), "{}", body.len());
    }
}
