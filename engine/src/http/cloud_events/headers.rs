//! Attributes in headers: `ce-` before each name, values percent-encoded.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};

use super::super::error::Problem;
use super::attributes::{Attributes, fault_at};

/// What the name of every such header begins with.
pub(super) const PREFIX: &str = "ce-";

/// The attributes, each once.
pub(super) fn attributes(headers: &HeaderMap) -> Result<Attributes<'_>, Problem> {
    let mut attributes = Attributes::of_headers();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else { continue };
        attributes.put(attribute, one(headers, name.as_str(), attribute)?);
    }
    Ok(attributes)
}

/// The content type of the data.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, Problem> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(None);
    }
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (Some(Ok(text)), None) => Ok(Some(Cow::Borrowed(text))),
        _ => Err(fault_at("/datacontenttype", "the header Content-Type must be one media type")),
    }
}

fn one(headers: &HeaderMap, name: &str, attribute: &str) -> Result<String, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.as_bytes()).unwrap_or_default();
    if values.next().is_some() {
        return Err(fault_at(&format!("/{attribute}"), &format!("{name} may be there once")));
    }
    decode(value).ok_or_else(|| {
        let detail = format!("the header {name} must be percent-encoded UTF-8");
        fault_at(&format!("/{attribute}"), &detail)
    })
}

/// A value without its quotes, if it has some, and without its percent-encoding; none where that
/// is broken or is not UTF-8.
pub(super) fn decode(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let mut bytes = Vec::with_capacity(value.len());
    match quoted {
        None => bytes.extend_from_slice(value),
        Some(quoted) => {
            let mut rest = quoted.iter();
            while let Some(byte) = rest.next() {
                bytes.push(if *byte == b'\\' { *rest.next()? } else { *byte });
            }
        }
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.into_iter();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit()? * 16 + digit()?;
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}
