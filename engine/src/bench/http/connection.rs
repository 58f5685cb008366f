//! One keep-alive connection of the load generator: as little HTTP/1.1 as it takes to send ready
//! requests and check answers, so that the client costs little beside the server.
//!
//! It must not be used for anything else: it knows no redirects, no chunks and no other status
//! than 200.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long one answer may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer. 64 KiB: those measured have less than one.
const MAX_ANSWER: usize = 64 << 10;

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("the server at {address} takes no connection"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends one request and reads its answer, which must be a 200.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if let Some(head) = Head::find(&self.buffer)? {
                let whole = head.bytes + head.body_bytes;
                if self.buffer.len() >= whole {
                    return self.check(&head);
                }
            }
            if self.buffer.len() > MAX_ANSWER {
                bail!("an answer of more than {MAX_ANSWER} bytes");
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer))
                .await
                .with_context(|| format!("no answer in {PATIENCE:?}"))??;
            if read == 0 {
                bail!("the server closed the connection");
            }
        }
    }

    fn check(&self, head: &Head) -> anyhow::Result<()> {
        if head.status == 200 {
            return Ok(());
        }
        let body = self.buffer.get(head.bytes..).unwrap_or_default();
        bail!("an answer with status {}: {}", head.status, String::from_utf8_lossy(body))
    }
}

/// The part of an answer before its body.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// None while it has not arrived whole.
    fn find(answer: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let (mut status, mut body_bytes) = (None, None);
        for line in answer.get(..end).unwrap_or_default().split(|byte| *byte == b'\n') {
            if let Some(rest) = line.strip_prefix(b"HTTP/1.1 ") {
                status = rest.get(..3).and_then(number);
            } else if let Some((name, value)) = line.split_at_checked(15)
                && name.eq_ignore_ascii_case(b"content-length:")
            {
                body_bytes = number(value.trim_ascii());
            }
        }
        match (status.map(u16::try_from), body_bytes) {
            (Some(Ok(status)), Some(body_bytes)) => {
                Ok(Some(Self { status, bytes: end + 4, body_bytes }))
            }
            _ => bail!("an answer without a status or a content-length"),
        }
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\netag: \"7\"\r\n\r\n{";
        let head = Head::find(answer).expect("valid");
        assert_eq!(head, Some(Head { status: 200, bytes: answer.len() - 1, body_bytes: 12 }));
        assert_eq!(Head::find(&answer[..30]).expect("not whole"), None);
    }

    #[test]
    fn an_answer_of_unknown_length_is_refused() {
        assert!(Head::find(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
