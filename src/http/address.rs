//! Whose call it is, where proxies stand between.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use http::request::Parts;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Arc<[IpNet]>);

impl FromIterator<IpNet> for Proxies {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl Proxies {
    /// The client's address: the peer's own, or, where the peer is a proxy of ours, the last address in
    /// `X-Forwarded-For` that is not. What stands before that one the client may have written itself. `None` only
    /// for a request that came over no connection.
    pub fn client(&self, parts: &Parts) -> Option<IpAddr> {
        let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
        let mut client = peer.ip().to_canonical();
        if !self.hold(client) {
            return Some(client);
        }
        let lists = parts.headers.get_all(FORWARDED_FOR);
        let texts: Vec<&str> = lists.iter().filter_map(|list| list.to_str().ok()).collect();
        let addresses = texts.iter().flat_map(|list| list.split(','));
        for address in addresses.collect::<Vec<_>>().into_iter().rev() {
            // What cannot be read ends what can be believed.
            let Some(address) = parse(address.trim()) else { break };
            client = address;
            if !self.hold(client) {
                break;
            }
        }
        Some(client)
    }

    fn hold(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address with or without a port, as proxies write them.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|a| a.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies: Proxies =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
        let mut request = http::Request::new(());
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        for list in forwarded {
            request.headers_mut().append(FORWARDED_FOR, list.parse().unwrap());
        }
        proxies.client(&request.into_parts().0).unwrap().to_string()
    }

    #[test]
    fn only_our_proxies_are_believed_and_only_what_they_wrote() {
        assert_eq!(client("192.0.2.1:5", &[]), "192.0.2.1");
        assert_eq!(client("192.0.2.1:5", &["198.51.100.9"]), "192.0.2.1", "no proxy of ours");
        assert_eq!(client("10.0.0.1:5", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(
            client("10.0.0.1:5", &["1.1.1.1, 198.51.100.9"]),
            "198.51.100.9",
            "the client wrote 1.1.1.1"
        );
        assert_eq!(client("10.0.0.1:5", &["1.1.1.1, 198.51.100.9, 10.9.9.9"]), "198.51.100.9", "two of ours");
        assert_eq!(client("10.0.0.1:5", &["1.1.1.1", "198.51.100.9"]), "198.51.100.9", "two lines");
        assert_eq!(client("10.0.0.1:5", &["198.51.100.9:4711"]), "198.51.100.9");
        assert_eq!(client("10.0.0.1:5", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1:5", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1:5", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1:5", &["198.51.100.9, garbage"]), "10.0.0.1");
        assert_eq!(client("[::ffff:10.0.0.1]:5", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(client("10.0.0.1:5", &[]), "10.0.0.1");
    }
}
