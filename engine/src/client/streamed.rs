//! Answers that are read while they come.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{ClientError, PATIENCE, chain};

/// An answer of bytes, read piece by piece.
#[derive(Debug)]
pub struct Pieces {
    pub(super) request: String,
    pub(super) body: Incoming,
}

impl Pieces {
    /// The next piece; none when the answer has come to its end.
    ///
    /// # Errors
    /// [`ClientError`] when the connection breaks before that.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let transport =
            |reason: String| ClientError::Transport { request: self.request.clone(), reason };
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| transport("the answer came to a halt".to_owned()))?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame.map_err(|error| transport(chain(&error)))?.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// An answer of many lines, read one by one.
#[derive(Debug)]
pub struct Lines {
    pub(super) request: String,
    pub(super) body: Incoming,
    pub(super) buffer: BytesMut,
}

impl Lines {
    /// The next line; none when the answer has ended.
    ///
    /// # Errors
    /// [`ClientError`] when the connection breaks or the line is not what was expected.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let Some(line) = self.next_text().await? else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).map_err(|error| ClientError::Unexpected {
            request: self.request.clone(),
            reason: error.to_string(),
        })
    }

    /// The next line as it is, unless it is empty; none when the answer has ended.
    ///
    /// # Errors
    /// [`ClientError`] when the connection breaks.
    pub async fn next_text(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.buffered_line() {
                Some(line) if line.iter().all(u8::is_ascii_whitespace) => {}
                Some(line) => return Ok(Some(line.freeze())),
                None if !self.read_more().await? => return Ok(None),
                None => {}
            }
        }
    }

    fn buffered_line(&mut self) -> Option<BytesMut> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        Some(line)
    }

    /// Whether there was more.
    async fn read_more(&mut self) -> Result<bool, ClientError> {
        let transport =
            |reason: String| ClientError::Transport { request: self.request.clone(), reason };
        let frame = tokio::time::timeout(PATIENCE, self.body.frame())
            .await
            .map_err(|_| transport("the answer came to a halt".to_owned()))?;
        match frame {
            Some(frame) => {
                let frame = frame.map_err(|error| transport(chain(&error)))?;
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
                Ok(true)
            }
            // A last line without an end of line still counts.
            None if self.buffer.is_empty() => Ok(false),
            None => {
                self.buffer.extend_from_slice(b"\n");
                Ok(true)
            }
        }
    }
}
