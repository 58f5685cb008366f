//! Uploads modules and activates them, over HTTP like any client.

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, ClientError};

/// A module version that the server has.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Uploaded {
    /// The module.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: String,
    /// What tells its content.
    #[serde(default)]
    pub(crate) digest: String,
}

/// Uploads a component. Where the same version is there with other content, from an earlier run
/// with another compiler, that one is used.
pub(crate) async fn upload(client: &Client, component: Bytes) -> Result<Uploaded, ClientError> {
    let uploaded = client.upload("/v1/modules", "application/wasm", component).await;
    let Err(ClientError::Problem(problem)) = &uploaded else { return uploaded };
    let text = |name: &str| problem.body.get(name).and_then(Value::as_str).map(str::to_owned);
    match (problem.code.as_str(), text("name"), text("version")) {
        ("version_exists", Some(name), Some(version)) => {
            let digest = text("digest").unwrap_or_default();
            Ok(Uploaded { name, version, digest })
        }
        _ => uploaded,
    }
}

/// Makes a version the one that answers.
pub(crate) async fn activate(client: &Client, module: &Uploaded) -> Result<(), ClientError> {
    let path = format!("/v1/modules/{}/active", module.name);
    let _activation: Value =
        client.send(Method::PUT, &path, &json!({ "version": module.version })).await?;
    Ok(())
}
