//! Single commands, and what came of them: yes, no, or no answer at all.

use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, ClientError};

/// An answer of the domain.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Its events are recorded.
    Committed(Committed),
    /// It was refused, with the reason.
    Rejected(Rejected),
}

/// What the server says of a committed command.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Committed {
    /// Who decided.
    pub(crate) module: Module,
}

/// A module version.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Module {
    /// The version.
    pub(crate) version: String,
}

/// Why the domain refused.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The sentence for people.
    pub(crate) reason: String,
}

/// Sends one command. What is neither committed nor rejected is an error.
pub(crate) async fn command(
    client: &Client,
    aggregate: &str,
    id: &str,
    name: &str,
    data: &Value,
) -> Result<Answer, ClientError> {
    let path = format!("/v1/aggregates/{aggregate}/{id}/commands/{name}");
    match client.send(Method::POST, &path, data).await {
        Ok(committed) => Ok(Answer::Committed(committed)),
        Err(ClientError::Problem(problem)) if problem.code == "rejected" => {
            let reason = problem.detail.clone();
            Ok(Answer::Rejected(Rejected { status: problem.status, reason }))
        }
        Err(error) => Err(error),
    }
}
