//! Answers that are read while they come.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{ClientError, PATIENCE, chain};

/// An answer of bytes, read piece by piece.
#[derive(Debug)]
pub struct Pieces {
    request: String,
    body: Incoming,
}

impl Pieces {
    pub(super) fn new(request: String, answer: Response<Incoming>) -> Self {
        Self { request, body: answer.into_body() }
    }

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
    pieces: Pieces,
    buffer: BytesMut,
}

impl From<Pieces> for Lines {
    fn from(pieces: Pieces) -> Self {
        Self { pieces, buffer: BytesMut::new() }
    }
}

impl Lines {
    /// The next line; none when the answer has ended.
    ///
    /// # Errors
    /// [`ClientError`] when the connection breaks or the line is not what was expected.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let Some(line) = self.next_text().await? else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).map_err(|error| ClientError::Unexpected {
            request: self.pieces.request.clone(),
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
        let end = memchr::memchr(b'\n', &self.buffer)?;
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        Some(line)
    }

    /// Whether there was more.
    async fn read_more(&mut self) -> Result<bool, ClientError> {
        match self.pieces.next().await? {
            Some(piece) => self.buffer.extend_from_slice(&piece),
            None if self.buffer.is_empty() => return Ok(false),
            // A last line without an end of line still counts.
            None => self.buffer.extend_from_slice(b"\n"),
        }
        Ok(true)
    }
}
