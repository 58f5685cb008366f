//! A body of many lines, read one by one within limits: a line that is too long is skipped and
//! named, and does not end the rest.

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;

use super::body::cut_short;
use super::error::{BODY_TOO_LARGE, More, Problem, REQUEST_TIMEOUT};
use super::limits::HttpLimits;

/// Reads lines.
pub(super) struct Lines {
    body: Body,
    limits: HttpLimits,
    buffer: BytesMut,
    /// How much of the buffer is known to have no end of line.
    searched: usize,
    /// The number of the line that the buffer begins with.
    number: u64,
    /// Whether that line is too long and its beginning was dropped.
    skipping: bool,
    ended: bool,
}

/// One line: its number from 1, and its bytes or why there are none.
pub(super) type Line = (u64, Result<Bytes, Problem>);

impl Lines {
    pub(super) fn new(body: Body, limits: HttpLimits) -> Self {
        Self {
            body,
            limits,
            buffer: BytesMut::new(),
            searched: 0,
            number: 1,
            skipping: false,
            ended: false,
        }
    }

    /// The next line that is not empty; none at the end.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(end) = self.end_of_line() {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if let Some(line) = self.finish(line) {
                    return Some(line);
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.skipping || self.buffer.len() > self.limits.line_bytes {
                self.skipping = true;
                self.buffer.clear();
                self.searched = 0;
            }
            if self.ended {
                // The last line may lack its end.
                let rest = std::mem::take(&mut self.buffer).freeze();
                return self.finish(rest);
            }
            if let Err(problem) = self.read_more().await {
                self.ended = true;
                self.skipping = false;
                self.buffer.clear();
                return Some((self.number, Err(problem)));
            }
        }
    }

    /// What was not read yet.
    pub(super) fn into_body(self) -> Body {
        self.body
    }

    fn end_of_line(&self) -> Option<usize> {
        let new = self.buffer.get(self.searched..).unwrap_or_default();
        memchr::memchr(b'\n', new).map(|at| self.searched + at)
    }

    /// The line, unless it is empty.
    fn finish(&mut self, line: Bytes) -> Option<Line> {
        let number = self.number;
        self.number += 1;
        if std::mem::take(&mut self.skipping) || line.len() > self.limits.line_bytes {
            let detail = format!("a line may have {} bytes (line_bytes)", self.limits.line_bytes);
            let more = More { limit: Some("line_bytes"), ..More::default() };
            return Some((number, Err(Problem::new(&BODY_TOO_LARGE, detail).with(more))));
        }
        (!line.iter().all(u8::is_ascii_whitespace)).then_some((number, Ok(line)))
    }

    async fn read_more(&mut self) -> Result<(), Problem> {
        let time = self.limits.line_timeout;
        let frame = tokio::time::timeout(time, self.body.frame()).await.map_err(|_| {
            let seconds = time.as_secs();
            let detail = format!("no line arrived within {seconds} s (line_timeout)");
            Problem::new(&REQUEST_TIMEOUT, detail)
        })?;
        match frame {
            None => self.ended = true,
            Some(frame) => {
                if let Ok(data) = frame.map_err(|error| cut_short(&error))?.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(pieces: &'static [&'static str]) -> Vec<(u64, Option<String>)> {
        let limits = HttpLimits { line_bytes: 5, ..HttpLimits::default() };
        let pieces = pieces.iter().map(|text| Ok::<_, std::io::Error>(Bytes::from(*text)));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let mut lines = Lines::new(body, limits);
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next().await {
            let text = line.ok().map(|line| String::from_utf8_lossy(&line).into_owned());
            all.push((number, text));
        }
        all
    }

    fn is(number: u64, text: &str) -> (u64, Option<String>) {
        (number, Some(text.to_owned()))
    }

    #[tokio::test]
    async fn lines_end_where_they_end() {
        assert_eq!(lines(&["a\nb", "c\n", "\n", "d"]).await, [is(1, "a"), is(2, "bc"), is(4, "d")]);
        assert_eq!(lines(&["a\r\n  \n"]).await, [is(1, "a\r")]);
        assert_eq!(lines(&[]).await, []);
    }

    #[tokio::test]
    async fn a_line_too_long_does_not_end_the_rest() {
        let expected = [is(1, "a"), (2, None), is(3, "b")];
        assert_eq!(lines(&["a\n1234", "5678", "90\nb\n"]).await, expected);
        assert_eq!(lines(&["123456\nb"]).await, [(1, None), is(2, "b")]);
        assert_eq!(lines(&["12345\n"]).await, [is(1, "12345")]);
        assert_eq!(lines(&["123", "456"]).await, [(1, None)]);
    }
}
