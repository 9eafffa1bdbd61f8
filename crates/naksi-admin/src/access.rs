//! Who may ask: the token, the name under which the server is called, and the page that a browser asks for. Nothing here
//! knows what is asked for.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use subtle::ConstantTimeEq as _;

/// Longest path and query.
const TARGET_BYTES_MAX: usize = 2048;
/// Answered without a token: the system that starts and stops servers has none, and the page, which tells nothing of the
/// server by itself, asks for it.
const OPEN_PATHS: [&str; 5] = ["/healthz", "/readyz", "/", "/page.js", "/page.css"];

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    Target,
    Host,
    Origin,
    Token,
}

impl Denial {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Denial; 4] = [Denial::Target, Denial::Host, Denial::Origin, Denial::Token];

    /// As metrics have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Denial::Target => "target",
            Denial::Host => "host",
            Denial::Origin => "origin",
            Denial::Token => "token",
        }
    }

    pub(crate) fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Denial::Target => (StatusCode::URI_TOO_LONG, "path and query have at most 2048 bytes\n"),
            Denial::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "this server is not called by that host name (admin.hosts)\n",
            ),
            Denial::Origin => (StatusCode::FORBIDDEN, "requests of other sites' pages are refused\n"),
            Denial::Token => (StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN\n"),
        }
    }
}

/// To which requests there is an answer.
#[derive(Debug)]
pub(crate) struct Access {
    token: Option<Token>,
    hosts: Vec<String>,
}

/// A secret, which no message shows.
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Access {
    pub(crate) fn new(token: Option<String>, hosts: Vec<String>) -> Self {
        Self { token: token.map(Token), hosts }
    }

    /// Whether a request is answered; without a body, which nothing here reads.
    pub(crate) fn check(&self, request: &Parts) -> Result<(), Denial> {
        if request.uri.path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
            return Err(Denial::Target);
        }
        let host = only(&request.headers, &HOST).ok_or(Denial::Host)?;
        // A request may name its server twice, and servers differ in which one counts.
        let names = [Some(host), request.uri.authority().map(|authority| authority.as_str())];
        if !names.into_iter().flatten().all(|name| self.is_called(name)) {
            return Err(Denial::Host);
        }
        if !is_of_its_own_page(&request.headers, host) {
            return Err(Denial::Origin);
        }
        if OPEN_PATHS.contains(&request.uri.path()) || self.is_shown_in(&request.headers) {
            return Ok(());
        }
        Err(Denial::Token)
    }

    /// Whether this is a name of this server: with an address for a name, no page of another site can have it.
    fn is_called(&self, authority: &str) -> bool {
        let name = without_port(authority);
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        is_address
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }

    fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let Some(Token(token)) = &self.token else { return true };
        let shown = only(headers, &AUTHORIZATION).and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        shown.is_some_and(|(_, shown)| bool::from(shown.trim().as_bytes().ct_eq(token.as_bytes())))
    }
}

/// The header of this name, if there is one and no more.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// Whether a browser did not send this for the page of another site. Programs send none of these headers.
fn is_of_its_own_page(headers: &HeaderMap, host: &str) -> bool {
    let own = |origin: &str| {
        origin
            .strip_prefix("http://")
            .or(origin.strip_prefix("https://"))
            .is_some_and(|origin| origin == host)
    };
    let is_own_origin = !headers.contains_key(ORIGIN) || only(headers, &ORIGIN).is_some_and(own);
    let site = headers.get("sec-fetch-site");
    is_own_origin && site.is_none_or(|site| site == "same-origin" || site == "none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn check(access: &Access, target: &str, headers: &[(&str, &str)]) -> Result<(), Denial> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        access.check(&request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn a_server_is_called_by_its_address_and_its_names_only() {
        let access = Access::new(None, vec!["naksi.example".to_owned()]);
        let own = ["127.0.0.1:9090", "[::1]:9090", "[::1]", "localhost", "LocalHost:1", "naksi.example:9090"];
        for host in own {
            assert_eq!(check(&access, "/metrics", &[("host", host)]), Ok(()), "{host}");
        }
        let foreign =
            ["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "localhost.evil", "", "1:2:x"];
        for host in foreign {
            assert_eq!(check(&access, "/metrics", &[("host", host)]), Err(Denial::Host), "{host}");
            assert_eq!(check(&access, "/healthz", &[("host", host)]), Err(Denial::Host), "{host}");
        }
        assert_eq!(check(&access, "/metrics", &[]), Err(Denial::Host));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(&access, "/metrics", &twice), Err(Denial::Host));
        let absolute = "http://evil.example/metrics";
        assert_eq!(check(&access, absolute, &[("host", "localhost")]), Err(Denial::Host));
    }

    #[test]
    fn a_page_of_another_site_is_refused_and_its_own_is_not() {
        let access = Access::new(None, Vec::new());
        let host = ("host", "127.0.0.1:9090");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:80", "http://127.0.0.1:9090.evil", ""]
        {
            let refused = check(&access, "/metrics", &[host, ("origin", origin)]);
            assert_eq!(refused, Err(Denial::Origin), "{origin}");
        }
        assert_eq!(check(&access, "/metrics", &[host, ("origin", "http://127.0.0.1:9090")]), Ok(()));
        for (site, expected) in [
            ("cross-site", Err(Denial::Origin)),
            ("same-site", Err(Denial::Origin)),
            ("same-origin", Ok(())),
            ("none", Ok(())),
        ] {
            assert_eq!(check(&access, "/metrics", &[host, ("sec-fetch-site", site)]), expected, "{site}");
        }
    }

    #[test]
    fn everything_but_health_and_readiness_needs_the_token() {
        let token = "a-token-of-sixteen";
        let access = Access::new(Some(token.to_owned()), Vec::new());
        let with = |path: &str, shown: &str| {
            check(&access, path, &[("host", "127.0.0.1"), ("authorization", shown)])
        };
        for shown in [format!("Bearer {token}"), format!("bearer {token}"), format!("Bearer  {token}")] {
            assert_eq!(with("/metrics", &shown), Ok(()), "{shown}");
        }
        let wrong = ["Bearer a-token-of-sixteeN", "Bearer a-token-of-sixtee", "Bearer ", "Bearer", token, ""];
        for shown in wrong {
            assert_eq!(with("/metrics", shown), Err(Denial::Token), "{shown}");
            assert_eq!(with("/no-such-page", shown), Err(Denial::Token), "{shown}");
            assert_eq!(with("/healthz", shown), Ok(()), "{shown}");
            assert_eq!(with("/healthz/../metrics", shown), Err(Denial::Token), "{shown}");
        }
        let long = format!("/healthz?{}", "x".repeat(TARGET_BYTES_MAX));
        assert_eq!(with(&long, ""), Err(Denial::Target));
        assert!(!format!("{access:?}").contains(token));
    }
}
