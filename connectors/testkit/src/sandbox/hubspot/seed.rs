//! Objects in bulk.

use std::collections::BTreeMap;

use super::store::Kind;
use super::{Inner, lock};

const DAY: i64 = 86_400_000;

/// Company `i` is `Company i` with the domain `company-i.example`; its contact is `contact@company-i.example`.
pub(super) fn companies(inner: &Inner, n: usize) {
    let now = inner.now();
    let mut store = lock(&inner.store);
    let text = |pairs: &[(&str, String)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    for i in 0..n {
        let created = now - DAY * i64::try_from(n - i).unwrap_or(1);
        let [company, contact, deal] = [store.new_id(), store.new_id(), store.new_id()];
        let properties = text(&[
            ("name", format!("Company {i}")),
            ("domain", format!("company-{i}.example")),
            ("industry", "COMPUTER_SOFTWARE".to_owned()),
            ("numberofemployees", (10 + i % 500).to_string()),
            ("lifecyclestage", "customer".to_owned()),
        ]);
        store.put(Kind::Companies, company, created, properties);
        let properties = text(&[
            ("email", format!("contact@company-{i}.example")),
            ("firstname", "Contact".to_owned()),
            ("lastname", i.to_string()),
        ]);
        store.put(Kind::Contacts, contact, created, properties);
        let properties = text(&[
            ("dealname", format!("Deal {i}")),
            ("amount", "1200".to_owned()),
            ("deal_currency_code", "USD".to_owned()),
            ("hs_is_closed", "true".to_owned()),
            ("hs_is_closed_won", "true".to_owned()),
            ("closedate", super::store::time(created)),
        ]);
        store.put(Kind::Deals, deal, created, properties);
        store.link((Kind::Contacts, contact), (Kind::Companies, company), true);
        store.link((Kind::Deals, deal), (Kind::Companies, company), true);
        store.link((Kind::Deals, deal), (Kind::Contacts, contact), false);
    }
}
