//! The list of connectors: the only file that names a connector's crate.

use std::sync::Arc;

use connector_sdk::DynConnector;

/// Every connector of this build, by id.
pub fn connectors() -> Vec<Arc<dyn DynConnector>> {
    vec![
        Arc::new(connector_stripe::Stripe),
        Arc::new(connector_hubspot::HubSpot),
        Arc::new(connector_pandadoc::PandaDoc),
        Arc::new(connector_chargebee::Chargebee),
    ]
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
