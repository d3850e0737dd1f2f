//! The list of connectors: the only file that names a connector's crate.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::{Arc, LazyLock};

use connector_sdk::DynConnector;

/// Every connector of this build, by id.
pub fn connectors() -> Vec<Arc<dyn DynConnector>> {
    vec![
        Arc::new(connector_stripe::Stripe),
        Arc::new(connector_hubspot::HubSpot),
        Arc::new(connector_pandadoc::PandaDoc),
        Arc::new(connector_chargebee::Chargebee),
        Arc::new(connector_singer::Singer::default()),
    ]
}

/// The first argument by which this program becomes the keeper of a program that a connector runs.
pub const KEEPER: &str = "keep-tap";

/// Keeps a program to its end, with the arguments behind [`KEEPER`]; its exit code.
pub fn keep(args: impl Iterator<Item = OsString>) -> u8 {
    connector_singer::keep(args)
}

/// Whether a connector of this build has such a stream.
pub fn has_stream(connector: &str, stream: &str) -> bool {
    static STREAMS: LazyLock<BTreeMap<&str, BTreeSet<&str>>> = LazyLock::new(|| {
        let names = |connector: Arc<dyn DynConnector>| {
            let spec = connector.spec();
            (spec.id, spec.streams.iter().map(|stream| stream.name).collect())
        };
        connectors().into_iter().map(names).collect()
    });
    STREAMS.get(connector).is_some_and(|streams| streams.contains(stream))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_distinct() {
        let ids: Vec<&str> = super::connectors().iter().map(|connector| connector.spec().id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(!ids.is_empty());
    }
}
