//! Who may talk to an open server that listens on this machine only: not a page of the web whose
//! name was made to point here (DNS rebinding), nor one that posts across origins.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

use super::error::{FORBIDDEN_HOST, Problem};

/// Checks `Host` and `Origin` of a request to a loopback address.
pub(super) fn check(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    // A request may name its host in the header, in its target, or in both.
    let header = hosts.next().map(|host| host.to_str().unwrap_or_default());
    let target = uri.authority().map(|authority| authority.as_str());
    let named = header.or(target).is_some() && hosts.next().is_none();
    if !named || !header.into_iter().chain(target).all(is_this_machine) {
        return Err(refused("Host"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match origin {
        Some(("http" | "https", host)) if is_this_machine(host) => Ok(()),
        _ => Err(refused("Origin")),
    }
}

fn refused(field: &str) -> Problem {
    Problem::new(
        &FORBIDDEN_HOST,
        format!(
            "this server is open to this machine only, and the header {field} does not name it; \
             use http://localhost or http://127.0.0.1"
        ),
    )
}

/// Whether `host[:port]` names the loopback interface.
fn is_this_machine(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
            None => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
        && (host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass() {
        for good in [
            "localhost",
            "localhost:7070",
            "LOCALHOST:1",
            "127.0.0.1:7070",
            "127.1.2.3",
            "[::1]:7070",
            "[::1]",
        ] {
            assert!(is_this_machine(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil@localhost",
            "10.0.0.1:7070",
            "[::1",
            "[::1]x",
            "localhost:7070x",
            "[fe80::1]",
            "0.0.0.0:7070",
        ] {
            assert!(!is_this_machine(bad), "{bad}");
        }
    }

    #[test]
    fn an_origin_must_be_of_this_machine_too() {
        let uri = Uri::from_static("/livez");
        let with = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:7070".parse().expect("valid"));
            headers.insert(header::ORIGIN, origin.parse().expect("valid"));
            check(&headers, &uri)
        };
        assert!(with("http://localhost:7070").is_ok());
        for bad in ["https://evil.example", "null", "file://localhost", "http://evil.example:7070"]
        {
            assert!(with(bad).is_err(), "{bad}");
        }
        assert!(check(&HeaderMap::new(), &uri).is_err(), "no host at all");
        let headers = [(header::HOST, "localhost".parse().expect("valid"))].into_iter().collect();
        let elsewhere = Uri::from_static("http://evil.example/livez");
        assert!(check(&headers, &elsewhere).is_err(), "a target that is elsewhere");
    }
}
