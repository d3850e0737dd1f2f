//! Web origins that a key is taken from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A web origin, or all below a domain: `https://app.acme.com`, `https://*.acme.com` (one label or more in the
/// place of the star, so not `https://acme.com` itself), `http://localhost:3000`. A port that is not named is the
/// scheme's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OriginRule {
    scheme: Scheme,
    below: bool,
    /// Lower case, as browsers send it; an IPv6 address in brackets.
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn text(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an origin: {why} (https://app.acme.com, https://*.acme.com, http://localhost:3000)")]
pub struct OriginError {
    text: String,
    why: &'static str,
}

impl OriginRule {
    /// Whether a page of that origin (as the header `Origin` has it) is meant.
    pub fn admits(&self, origin: &str) -> bool {
        let Ok((scheme, host, port)) = parts(origin) else { return false };
        if scheme != self.scheme || port != self.port {
            return false;
        }
        if !self.below {
            return host == self.host;
        }
        host.strip_suffix(self.host.as_str())
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|rest| !rest.is_empty())
    }
}

/// Scheme, host and port of an origin.
fn parts(text: &str) -> Result<(Scheme, String, u16), &'static str> {
    let url = url::Url::parse(text).map_err(|_| "it is not an address")?;
    let scheme = match url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err("http or https is expected"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user");
    }
    // What follows host and port is no part of an origin, a slash included: browsers send none.
    let after = text.split_once("://").map_or("", |(_, after)| after);
    if after.is_empty() || after.contains(['/', '?', '#', '\\']) || text.trim() != text {
        return Err("it must end after host and port");
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    Ok((scheme, host, url.port().unwrap_or(scheme.port())))
}

impl FromStr for OriginRule {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let wrong = |why| OriginError { text: text.to_owned(), why };
        let (plain, below) = match text.split_once("://*.") {
            Some((scheme, rest)) => (format!("{scheme}://{rest}"), true),
            None => (text.to_owned(), false),
        };
        if plain.contains('*') {
            return Err(wrong("a star stands for what is before the first dot, and nowhere else"));
        }
        let (scheme, host, port) = parts(&plain).map_err(wrong)?;
        if below && !host.contains('.') {
            return Err(wrong("a star needs a domain of two labels or more behind it"));
        }
        Ok(Self { scheme, below, host, port })
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        write!(f, "{}://{star}{}", self.scheme.text(), self.host)?;
        if self.port != self.scheme.port() { write!(f, ":{}", self.port) } else { Ok(()) }
    }
}

impl Serialize for OriginRule {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OriginRule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_its_own_pages_only() {
        let cases = [
            ("https://app.acme.com", "https://app.acme.com", true),
            ("https://APP.acme.com", "https://app.acme.com", true),
            ("https://app.acme.com", "https://app.acme.com:443", true),
            ("https://app.acme.com", "http://app.acme.com", false),
            ("https://app.acme.com", "https://app.acme.com:8443", false),
            ("https://app.acme.com", "https://app.acme.com.evil.example", false),
            ("https://app.acme.com", "https://xapp.acme.com", false),
            ("https://app.acme.com", "https://user@app.acme.com", false),
            ("https://app.acme.com", "https://app.acme.com/path", false),
            ("https://app.acme.com", "null", false),
            ("https://app.acme.com", "", false),
            ("https://*.acme.com", "https://app.acme.com", true),
            ("https://*.acme.com", "https://a.b.acme.com", true),
            ("https://*.acme.com", "https://acme.com", false),
            ("https://*.acme.com", "https://evilacme.com", false),
            ("https://*.acme.com", "https://.acme.com", false),
            ("https://*.acme.com", "https://acme.com.evil.example", false),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("http://localhost:3000", "http://localhost:3001", false),
            ("http://[::1]:3000", "http://[::1]:3000", true),
        ];
        for (rule, origin, admitted) in cases {
            let parsed: OriginRule = rule.parse().unwrap();
            assert_eq!(parsed.admits(origin), admitted, "{rule} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_and_the_rest_reads_back() {
        for bad in [
            "",
            "*",
            "acme.com",
            "ftp://acme.com",
            "https://",
            "https://acme.com/",
            "https://acme.com/x",
            "https://acme.com?x",
            "https://a*.acme.com",
            "https://*.com",
            "https://*",
            "https://*.*.acme.com",
            "https://u:p@acme.com",
            " https://acme.com",
            "null",
        ] {
            assert!(bad.parse::<OriginRule>().is_err(), "{bad:?}");
        }
        for good in
            ["https://app.acme.com", "https://*.acme.com:8443", "http://localhost:3000", "http://[::1]:3000"]
        {
            let rule: OriginRule = good.parse().unwrap();
            assert_eq!(rule.to_string(), good);
            assert_eq!(serde_json::from_value::<OriginRule>(serde_json::json!(good)).unwrap(), rule);
        }
    }
}
