//! A small HTTP client for a Factum server, for the demo, the bench and whoever embeds them.
//!
//! Promises: connections are kept and reused; every wait has a limit; an answer of 400 or above is
//! a typed [`Problem`], never a success. It must not retry: whether to ask again is the caller's
//! decision, who knows whether the request has an idempotency key.

mod answers;

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client as Connections;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

pub use answers::{Lines, Pieces};

/// How long an answer, or the next part of one, may take. 60 s: longer than every wait that the
/// server itself allows.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection is kept for the next request. 5 s: servers close idle ones after 15.
const IDLE: Duration = Duration::from_secs(5);

/// The body of a request.
type Sent = UnsyncBoxBody<Bytes, Infallible>;

/// Talks to one server.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    connections: Connections<HttpConnector, Sent>,
}

/// Why there is no answer that could be used.
#[derive(Debug)]
pub enum ClientError {
    /// The request did not reach the server, or the answer did not arrive.
    Transport {
        /// What was asked.
        request: String,
        /// What happened.
        reason: String,
    },
    /// The server refused, and says why.
    Problem(Box<Problem>),
    /// The answer is not of the expected shape.
    Unexpected {
        /// What was asked.
        request: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// An answer of 400 or above, as RFC 9457 has it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A short code for programs.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
    /// Everything the answer says.
    pub body: Value,
}

impl Problem {
    /// Reads the problem out of an answer's body.
    #[must_use]
    pub fn of(status: u16, body: Value) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (code, mut detail) = (text("code").to_owned(), text("detail").to_owned());
        if detail.is_empty() {
            text("title").clone_into(&mut detail);
        }
        Self { status, code, detail, body }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport { request, reason } => write!(f, "{request} got no answer: {reason}"),
            Self::Problem(problem) => problem.fmt(f),
            Self::Unexpected { request, reason } => {
                write!(f, "{request} got an answer that cannot be read: {reason}")
            }
        }
    }
}

impl std::error::Error for ClientError {}

impl ClientError {
    /// The server's problem, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Transport { .. } | Self::Unexpected { .. } => None,
        }
    }
}

impl Client {
    /// A client of the server at an address such as `127.0.0.1:7070`.
    #[must_use]
    pub fn new(address: impl fmt::Display) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let connections = Connections::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self { base: format!("http://{address}"), connections }
    }

    /// Where the server is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Call::new(Method::GET, path, "")).await
    }

    /// Sends a JSON document and takes one back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, ClientError> {
        let mut call = Call::new(method, path, "application/json");
        let body = serde_json::to_vec(document).map_err(|error| call.unexpected(error))?;
        call.body = Bytes::from(body);
        self.exchange(call).await
    }

    /// Sends bytes of a content type and takes a JSON document back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        content: Bytes,
    ) -> Result<T, ClientError> {
        let mut call = Call::new(Method::POST, path, content_type);
        call.body = content;
        self.exchange(call).await
    }

    /// Sends lines of JSON and takes lines back while they come.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not begin to answer.
    pub async fn lines(&self, path: &str, lines: Bytes) -> Result<Lines, ClientError> {
        self.stream(Method::POST, path, NDJSON, lines).await
    }

    /// Sends lines while they come, in pieces of whatever length, and takes lines back while they
    /// come.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not begin to answer.
    pub async fn exchange_lines(
        &self,
        path: &str,
        pieces: mpsc::Receiver<Bytes>,
    ) -> Result<Lines, ClientError> {
        let call = Call { accept: NDJSON, ..Call::new(Method::POST, path, NDJSON) };
        let request = call.to_string();
        let frames = ReceiverStream::new(pieces).map(|piece| Ok(Frame::data(piece)));
        let answer = self.answer_to(call, StreamBody::new(frames).boxed_unsync()).await?;
        Ok(Pieces::new(request, answer).into())
    }

    /// Asks for lines.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not begin to answer.
    pub async fn get_lines(&self, path: &str) -> Result<Lines, ClientError> {
        self.stream(Method::GET, path, "", Bytes::new()).await
    }

    /// Sends bytes of a content type and takes lines back while they come.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not begin to answer.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        content: Bytes,
    ) -> Result<Lines, ClientError> {
        let mut call = Call::new(method, path, content_type);
        call.accept = NDJSON;
        call.body = content;
        let request = call.to_string();
        let answer = self.answer(call).await?;
        Ok(Pieces::new(request, answer).into())
    }

    /// Asks for a text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let call = Call { accept: "text/plain", ..Call::new(Method::GET, path, "") };
        let described = call.clone();
        let body = whole(self.answer(call).await?, &described).await?;
        String::from_utf8(body.into()).map_err(|error| described.unexpected(error))
    }

    /// Sends a JSON document and takes lines back while they come.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not begin to answer.
    pub async fn ask(&self, path: &str, document: &impl Serialize) -> Result<Lines, ClientError> {
        let mut call = Call::new(Method::POST, path, "application/json");
        call.accept = NDJSON;
        let body = serde_json::to_vec(document).map_err(|error| call.unexpected(error))?;
        call.body = Bytes::from(body);
        let request = call.to_string();
        let answer = self.answer(call).await?;
        Ok(Pieces::new(request, answer).into())
    }

    /// Takes bytes while they come.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not begin to answer.
    pub async fn download(&self, path: &str) -> Result<Pieces, ClientError> {
        let call = Call { accept: "*/*", ..Call::new(Method::GET, path, "") };
        let request = call.to_string();
        Ok(Pieces::new(request, self.answer(call).await?))
    }

    /// Sends a JSON document and takes bytes while they come.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not begin to answer.
    pub async fn download_of(
        &self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<Pieces, ClientError> {
        let mut call = Call::new(Method::POST, path, "application/json");
        call.accept = "*/*";
        let body = serde_json::to_vec(document).map_err(|error| call.unexpected(error))?;
        call.body = Bytes::from(body);
        let request = call.to_string();
        Ok(Pieces::new(request, self.answer(call).await?))
    }

    async fn exchange<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let described = Call { body: Bytes::new(), ..call.clone() };
        let answer = self.answer(call).await?;
        let body = whole(answer, &described).await?;
        serde_json::from_slice(&body).map_err(|error| described.unexpected(error))
    }

    /// The answer's head, with a body that is yet to be read.
    async fn answer(&self, mut call: Call<'_>) -> Result<Response<Incoming>, ClientError> {
        let body = Full::new(std::mem::take(&mut call.body));
        self.answer_to(call, body.boxed_unsync()).await
    }

    async fn answer_to(
        &self,
        call: Call<'_>,
        body: Sent,
    ) -> Result<Response<Incoming>, ClientError> {
        let described = call.clone();
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.base, call.path))
            .header(ACCEPT, call.accept);
        if !call.content_type.is_empty() {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        let request = request.body(body).map_err(|error| described.transport(&error))?;
        let answer = tokio::time::timeout(PATIENCE, self.connections.request(request))
            .await
            .map_err(|_| described.transport("it took too long"))?
            .map_err(|error| described.transport(chain(&error)))?;
        let status = answer.status().as_u16();
        if status < 400 {
            return Ok(answer);
        }
        let body = whole(answer, &described).await?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Err(ClientError::Problem(Box::new(Problem::of(status, body))))
    }
}

const NDJSON: &str = "application/x-ndjson";

/// One request.
#[derive(Clone)]
struct Call<'a> {
    method: Method,
    path: &'a str,
    accept: &'static str,
    content_type: &'static str,
    body: Bytes,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a str, content_type: &'static str) -> Self {
        Self { method, path, accept: "application/json", content_type, body: Bytes::new() }
    }

    fn transport(&self, reason: impl fmt::Display) -> ClientError {
        ClientError::Transport { request: self.to_string(), reason: reason.to_string() }
    }

    fn unexpected(&self, reason: impl fmt::Display) -> ClientError {
        ClientError::Unexpected { request: self.to_string(), reason: reason.to_string() }
    }
}

async fn whole(answer: Response<Incoming>, call: &Call<'_>) -> Result<Bytes, ClientError> {
    let body = tokio::time::timeout(PATIENCE, answer.into_body().collect())
        .await
        .map_err(|_| call.transport("the answer came to a halt"))?
        .map_err(|error| call.transport(chain(&error)))?;
    Ok(body.to_bytes())
}

/// An error with its causes: hyper's own text leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_with_its_reason() {
        let body = serde_json::json!({
            "title": "Rejected", "code": "rejected", "detail": "the flight was cancelled"
        });
        let problem = Problem::of(422, body);
        assert_eq!(problem.to_string(), "422 rejected: the flight was cancelled");
    }

    #[test]
    fn a_problem_without_details_has_its_title() {
        let problem = Problem::of(404, serde_json::json!({ "title": "Not Found" }));
        assert_eq!(problem.detail, "Not Found");
    }
}
