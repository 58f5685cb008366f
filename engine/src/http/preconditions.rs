//! The headers of a command: its id, the version it expects, what it belongs to.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::commands::CommandId;
use crate::expected::ExpectedVersion;
use crate::names::Key;

use super::error::{INVALID_NAME, INVALID_PRECONDITION, Problem};
use super::shape::invalid_at;

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The conversation that a command belongs to.
pub(super) const CORRELATION_ID: HeaderName = HeaderName::from_static("factum-correlation-id");
/// What caused a command.
pub(super) const CAUSATION_ID: HeaderName = HeaderName::from_static("factum-causation-id");

/// The id that the client gives, or a new one.
pub(super) fn command_id(headers: &HeaderMap) -> Result<CommandId, Problem> {
    Ok(key(headers, &IDEMPOTENCY_KEY)?.map_or_else(CommandId::new, CommandId::Client))
}

/// An id in a header.
pub(super) fn key(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Key>, Problem> {
    let Some(value) = one(headers, name)? else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match Key::parse(text) {
        Ok(key) => Ok(Some(key)),
        Err(error) => Err(Problem::new(&INVALID_NAME, format!("the header {name}: {error}"))),
    }
}

/// The version that the client expects, by `If-Match` and `If-None-Match`.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<ExpectedVersion, Problem> {
    let if_match = one(headers, &header::IF_MATCH)?;
    let if_none_match = one(headers, &header::IF_NONE_MATCH)?;
    match (if_match, if_none_match) {
        (None, None) => Ok(ExpectedVersion::Any),
        (None, Some(value)) if value == "*" => Ok(ExpectedVersion::NoStream),
        (None, Some(_)) => Err(invalid("If-None-Match may be *: the stream must not exist")),
        (Some(value), None) if value == "*" => Ok(ExpectedVersion::Exists),
        (Some(value), None) => {
            let text = value.to_str().unwrap_or_default();
            let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            let digits = version.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            digits
                .and_then(|text| text.parse().ok())
                .map(ExpectedVersion::Exact)
                .ok_or_else(|| invalid("If-Match may be one version, such as \"7\", or *"))
        }
        (Some(_), Some(_)) => Err(invalid("If-Match and If-None-Match exclude each other")),
    }
}

/// The version that the client expects, as JSON: a version; 0 for "must not exist"; "exists".
pub(super) fn expected_json(json: &str, pointer: &str) -> Result<ExpectedVersion, Problem> {
    match json {
        "0" => Ok(ExpectedVersion::NoStream),
        "\"exists\"" => Ok(ExpectedVersion::Exists),
        number => number.parse().map(ExpectedVersion::Exact).map_err(|_| {
            invalid_at(pointer, "it must be a version, 0 (must not exist) or \"exists\"")
        }),
    }
}

/// A header that means nothing when it is there twice.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => {
            Err(Problem::new(&INVALID_PRECONDITION, format!("the header {name} may be there once")))
        }
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(&INVALID_PRECONDITION, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let parse = |value: &str| value.parse().expect("a header value");
        pairs.iter().map(|(name, value)| (name.clone(), parse(value))).collect()
    }

    #[test]
    fn preconditions_are_versions() {
        let of = |name, value| expected_version(&headers(&[(name, value)]));
        assert_eq!(of(header::IF_MATCH, "\"7\"").expect("valid"), ExpectedVersion::Exact(7));
        assert_eq!(of(header::IF_MATCH, "*").expect("valid"), ExpectedVersion::Exists);
        assert_eq!(of(header::IF_NONE_MATCH, "*").expect("valid"), ExpectedVersion::NoStream);
        assert_eq!(expected_version(&HeaderMap::new()).expect("valid"), ExpectedVersion::Any);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "7",
            "W/\"7\"",
            "\"7\", \"8\"",
            "\"+7\"",
            "\"\"",
            "\"-1\"",
            "",
            "\"18446744073709551616\"",
        ] {
            assert!(expected_version(&headers(&[(header::IF_MATCH, bad)])).is_err(), "{bad}");
        }
        assert!(expected_version(&headers(&[(header::IF_NONE_MATCH, "\"7\"")])).is_err());
        let both = headers(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")]);
        assert!(expected_version(&both).is_err());
    }

    #[test]
    fn expected_versions_are_written_alike_everywhere() {
        let of = |json| expected_json(json, "/expected");
        assert_eq!(of("0").expect("valid"), ExpectedVersion::NoStream);
        assert_eq!(of("\"exists\"").expect("valid"), ExpectedVersion::Exists);
        assert_eq!(of("7").expect("valid"), ExpectedVersion::Exact(7));
        for bad in ["null", "-1", "1.0", "\"7\"", "[]", "18446744073709551616"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_keep_to_their_alphabet() {
        let given = command_id(&headers(&[(IDEMPOTENCY_KEY, "a:1")])).expect("valid");
        assert!(matches!(given, CommandId::Client(key) if key.as_str() == "a:1"));
        for bad in ["", "a b", "..", "a/b"] {
            assert!(command_id(&headers(&[(IDEMPOTENCY_KEY, bad)])).is_err(), "{bad}");
        }
        assert!(matches!(command_id(&HeaderMap::new()), Ok(CommandId::Server(_))));
    }
}
