//! The query part of a request: decoded strictly, and nothing in it is ignored. A parameter that
//! a route does not know is refused: one that was meant to change what happens must not be lost.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;

use super::error::{INVALID_PARAMETER, Problem};
use super::limits::HttpLimits;

/// How long a query waits for a read model where the client does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// The parameters that no one has asked for yet.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes `?a=b&c=d`.
    pub(super) fn parse(uri: &Uri) -> Result<Self, Problem> {
        let query = uri.query().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => Ok((name, value)),
                _ => Err(Problem::new(
                    &INVALID_PARAMETER,
                    "a parameter of the query is not percent-encoded UTF-8",
                )),
            }
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// A parameter that may be given once.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut all = self.all(name);
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(invalid(name, "it may be given once")),
        }
    }

    /// A parameter that may be given any number of times.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// A parameter of another type than text.
    pub(super) fn parsed<T>(&mut self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.one(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| invalid(name, &format!("{text:?}: {error}")))
    }

    /// How many rows a page shall have.
    pub(super) fn limit(&mut self, limits: &HttpLimits) -> Result<usize, Problem> {
        let limit = self.parsed("limit")?.unwrap_or(limits.page_rows_default);
        if (1..=limits.page_rows).contains(&limit) {
            Ok(limit)
        } else {
            Err(invalid("limit", &format!("it may be 1 to {}", limits.page_rows)))
        }
    }

    /// How many seconds to wait for a read model.
    pub(super) fn wait(&mut self, limits: &HttpLimits) -> Result<Duration, Problem> {
        let Some(seconds) = self.parsed::<f64>("wait")? else { return Ok(WAIT_DEFAULT) };
        Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= limits.wait).ok_or_else(
            || invalid("wait", &format!("it may be 0 to {} seconds", limits.wait.as_secs())),
        )
    }

    /// Refuses what nobody asked for.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(name, "this route does not know it")),
        }
    }
}

/// A parameter that cannot be used.
pub(super) fn invalid(name: &str, reason: &str) -> Problem {
    Problem::new(&INVALID_PARAMETER, format!("the parameter {name:?}: {reason}"))
}

/// Text without its percent-encoding; none where that is broken or is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let value = digit()? * 16 + digit()?;
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// Text as a value of a query.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Result<Params, Problem> {
        Params::parse(&format!("/?{query}").parse().expect("a URI"))
    }

    #[test]
    fn parameters_are_decoded_and_taken_once() {
        let mut params = params("type=A&limit=7&type=B%20+c&wait=0.5").expect("valid");
        let limits = HttpLimits::default();
        assert_eq!(params.all("type"), ["A", "B  c"]);
        assert_eq!(params.limit(&limits).expect("valid"), 7);
        assert_eq!(params.wait(&limits).expect("valid"), Duration::from_millis(500));
        assert!(params.end().is_ok());
    }

    #[test]
    fn nothing_is_ignored() {
        assert!(params("dry_run=true").expect("valid").end().is_err());
        assert!(params("a=1&a=2").expect("valid").one("a").is_err());
        for bad in ["a=%ff", "a=%2", "a=%zz", "%C3=1"] {
            assert!(params(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_hold() {
        let limits = HttpLimits::default();
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit="] {
            assert!(params(bad).expect("valid").limit(&limits).is_err(), "{bad}");
        }
        for bad in ["wait=31", "wait=-1", "wait=nan", "wait=1e400", "wait=x"] {
            assert!(params(bad).expect("valid").wait(&limits).is_err(), "{bad}");
        }
        assert_eq!(params("").expect("valid").limit(&limits).expect("valid"), 100);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["", "a b", "größer/+&=%", "\0\n"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
    }
}
