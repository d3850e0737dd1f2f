//! Who is whose company: the ways by which a provider's party finds its company, in order.
//!
//! The order is an accepted decision (`docs/adr/0002-matching-order.md`): configured field, provider
//! metadata, the provider's own id kept on the company, a domain that somebody stated for the company, the
//! e-mail address of one of its users; never a free-mail domain, never a name. A match by hand is stored
//! apart and never overruled.

use connector_sdk::facts::BillingAccount;
use connector_sdk::{Fact, RecordKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::identity::{LinkCandidate, NewCompany, PartyObserved};

/// Settings of a connection that say how its parties find companies (member `link` of its settings).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSettings {
    /// A company field whose value is the party's id or e-mail address: `external_id`, `domain`, or the key
    /// of a custom field.
    pub customer_id_field: Option<String>,
    /// Metadata keys of the party that hold the company's `external_id`, tried in order.
    pub metadata_keys: Vec<String>,
    /// Whether a party that nothing matches becomes a company of its own.
    pub create_companies: bool,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            customer_id_field: None,
            metadata_keys: ["company_id", "halo_company_id", "external_id"].map(str::to_owned).to_vec(),
            create_companies: true,
        }
    }
}

/// The party that a record's facts describe, with the ways to find its company. `None` for facts that
/// describe no party.
pub fn observe(
    connector: &str,
    settings: &LinkSettings,
    party: &RecordKey,
    facts: &[Fact],
) -> Option<PartyObserved> {
    facts.iter().find_map(|fact| match fact {
        Fact::BillingAccount(account) => Some(billing_account(connector, settings, party, account)),
        _ => None,
    })
}

fn billing_account(
    connector: &str,
    settings: &LinkSettings,
    party: &RecordKey,
    account: &BillingAccount,
) -> PartyObserved {
    let email = account.email.as_deref().map(normalise).filter(|e| e.contains('@'));
    let mut candidates = Vec::new();
    let mut push = |rule, kind: String, value: &str| {
        let value = normalise(value);
        if !value.is_empty() {
            candidates.push(LinkCandidate { rule, key_kind: kind, value });
        }
    };
    if let Some(field) = &settings.customer_id_field {
        let kind = match field.as_str() {
            "external_id" | "domain" => field.clone(),
            custom => format!("field:{custom}"),
        };
        push("field", kind.clone(), &party.id);
        if let Some(email) = &email {
            push("field", kind, email);
        }
    }
    for key in &settings.metadata_keys {
        if let Some(value) = account.metadata.get(key) {
            push("metadata", "external_id".to_owned(), value);
        }
    }
    push("provider_id", format!("field:{connector}_customer_id"), &party.id);
    if let Some((_, domain)) = email.as_deref().and_then(|e| e.rsplit_once('@')) {
        if !is_free_mail(domain) {
            push("domain", "domain".to_owned(), domain);
        }
        if let Some(email) = &email {
            push("email", "email".to_owned(), email);
        }
    }
    let label = account.name.clone().filter(|n| !n.trim().is_empty()).or_else(|| account.email.clone());
    // No domain: a billing address proves nothing about whose domain it is, and a domain taken from it would
    // draw every other customer of an agency or a reseller into one company.
    let create = settings.create_companies.then(|| NewCompany {
        name: label.clone(),
        domain: None,
        source: connector.to_owned(),
    });
    PartyObserved { party: party.clone(), label, candidates, create }
}

/// How keys are compared: trimmed, lower case.
pub fn normalise(value: &str) -> String {
    value.trim().to_lowercase()
}

/// Whether a mail domain belongs to a provider that gives addresses to anybody.
pub fn is_free_mail(domain: &str) -> bool {
    FREE_MAIL.binary_search(&domain).is_ok()
}

/// Sorted. Mail services where an address says nothing about an employer.
const FREE_MAIL: &[&str] = &[
    "126.com",
    "163.com",
    "aol.com",
    "bk.ru",
    "bluewin.ch",
    "comcast.net",
    "duck.com",
    "fastmail.com",
    "free.fr",
    "freenet.de",
    "gmail.com",
    "gmx.at",
    "gmx.ch",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hey.com",
    "hotmail.co.uk",
    "hotmail.com",
    "hotmail.de",
    "hotmail.fr",
    "icloud.com",
    "inbox.ru",
    "laposte.net",
    "libero.it",
    "list.ru",
    "live.com",
    "live.de",
    "live.fr",
    "mac.com",
    "mail.com",
    "mail.ru",
    "mailbox.org",
    "me.com",
    "msn.com",
    "naver.com",
    "orange.fr",
    "outlook.com",
    "outlook.de",
    "outlook.fr",
    "pm.me",
    "posteo.de",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "rediffmail.com",
    "seznam.cz",
    "sfr.fr",
    "t-online.de",
    "tuta.com",
    "tutanota.com",
    "verizon.net",
    "wanadoo.fr",
    "web.de",
    "wp.pl",
    "ya.ru",
    "yahoo.co.in",
    "yahoo.co.jp",
    "yahoo.co.uk",
    "yahoo.com",
    "yahoo.de",
    "yahoo.fr",
    "yandex.com",
    "yandex.ru",
    "ymail.com",
    "zoho.com",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn account(email: Option<&str>, metadata: &[(&str, &str)]) -> Fact {
        let json = serde_json::json!({
            "id": "cus_1", "name": "Acme", "email": email, "mode": "live",
            "metadata": metadata.iter().copied().collect::<BTreeMap<_, _>>(),
        });
        Fact::BillingAccount(serde_json::from_value(json).unwrap())
    }

    fn ways(settings: &LinkSettings, fact: Fact) -> Vec<(String, String)> {
        let party = RecordKey::new("customers", "cus_1");
        let seen = observe("stripe", settings, &party, &[fact]).unwrap();
        seen.candidates.into_iter().map(|c| (c.key_kind, c.value)).collect()
    }

    #[test]
    fn the_order_is_field_metadata_id_domain_email() {
        let settings = LinkSettings { customer_id_field: Some("billing_ref".into()), ..Default::default() };
        let found = ways(&settings, account(Some(" Ann@Acme.test "), &[("company_id", "C-1")]));
        let expected = [
            ("field:billing_ref", "cus_1"),
            ("field:billing_ref", "ann@acme.test"),
            ("external_id", "c-1"),
            ("field:stripe_customer_id", "cus_1"),
            ("domain", "acme.test"),
            ("email", "ann@acme.test"),
        ];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_free_mail_domain_is_no_way() {
        let found = ways(&LinkSettings::default(), account(Some("ann@gmail.com"), &[]));
        assert!(found.iter().all(|(kind, _)| kind != "domain"), "{found:?}");
        assert!(found.contains(&("email".to_owned(), "ann@gmail.com".to_owned())));
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(FREE_MAIL.is_sorted());
    }
}
