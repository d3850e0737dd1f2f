//! Who is whose company: the ways by which a provider's party finds its company, in order.
//!
//! The order is an accepted decision (`docs/adr/0002-matching-order.md`): configured field, provider
//! metadata, the provider's own id kept on the company, a domain that somebody stated for the company, the
//! e-mail address of one of its users; never a free-mail domain, never a name. A match by hand is stored
//! apart and never overruled.

use std::collections::BTreeMap;

use connector_sdk::facts::{BillingAccount, Contract, Deal, Organization, Person};
use connector_sdk::{Fact, RecordKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::keys::party_kind;
use crate::registry;
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
    /// Whether a person whom the product does not know becomes an end user. People whom it knows are given what their
    /// records say either way.
    pub create_users: bool,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            customer_id_field: None,
            metadata_keys: ["company_id", "halo_company_id", "external_id"].map(str::to_owned).to_vec(),
            create_companies: true,
            create_users: true,
        }
    }
}

/// The party that a record's facts describe, with the ways to find its company. `None` for facts that
/// describe no party.
///
/// `of` is the party that the record belongs to: itself, for what its stream says is a party. A deal is none, but
/// documents of other tools name it, so its company is kept, too; that of a deal that is nobody's is not looked for.
/// Nor is a person one, whose company is that of the end user.
pub fn observe(
    connector: &str,
    settings: &LinkSettings,
    key: &RecordKey,
    of: Option<&RecordKey>,
    is_party: bool,
    facts: &[Fact],
) -> Option<PartyObserved> {
    // Another's document is none, whichever stream it stands in.
    let is_party = is_party && of == Some(key);
    let ways = Ways { connector, settings, party: key, candidates: Vec::new() };
    facts.iter().find_map(|fact| match fact {
        Fact::BillingAccount(account) if is_party => Some(ways.clone().billing_account(account)),
        Fact::Contract(contract) if is_party => Some(ways.clone().document(contract, facts)),
        Fact::Organization(organization) if is_party => Some(ways.clone().organization(organization)),
        Fact::Deal(deal) => of.filter(|of| *of != key).map(|of| ways.clone().deal(deal, of)),
        Fact::Person(person) if !is_party && is_end_user(key, person) && !person.deleted => {
            Some(ways.clone().person(person, of))
        }
        _ => None,
    })
}

/// Gathers the ways of one party, in order.
#[derive(Clone)]
struct Ways<'a> {
    connector: &'a str,
    settings: &'a LinkSettings,
    party: &'a RecordKey,
    candidates: Vec<LinkCandidate>,
}

impl Ways<'_> {
    fn push(&mut self, rule: &'static str, kind: String, value: &str) {
        let value = normalise(value);
        if !value.is_empty() {
            self.candidates.push(LinkCandidate { rule, key_kind: kind, value });
        }
    }

    /// The configured field holds the party's id, or one of its addresses.
    fn field<'e>(&mut self, emails: impl IntoIterator<Item = &'e String>) {
        let Some(field) = &self.settings.customer_id_field else { return };
        let kind = field_kind(field);
        self.push("field", kind.clone(), &self.party.id);
        for email in emails {
            self.push("field", kind.clone(), email);
        }
    }

    /// What somebody wrote beside the party on purpose: our id of the company, then another provider's id of it.
    fn metadata(&mut self, metadata: &BTreeMap<String, String>) {
        for key in &self.settings.metadata_keys {
            if let Some(value) = metadata.get(key) {
                self.push("metadata", "external_id".to_owned(), value);
            }
        }
        for (key, value) in metadata.iter().filter(|(key, _)| !self.settings.metadata_keys.contains(key)) {
            let Some((provider, stream)) = named_party(key) else { continue };
            if provider == self.connector || !registry::has_stream(provider, &stream) {
                continue;
            }
            for id in value.split(',').map(str::trim).filter(|id| !id.is_empty()) {
                self.candidates.push(LinkCandidate {
                    rule: "linked",
                    key_kind: party_kind(provider, &stream),
                    value: id.to_owned(),
                });
            }
        }
    }

    /// The provider's own id, kept on the company.
    fn provider_id(&mut self, entity: &str) {
        self.push("provider_id", format!("field:{}_{entity}_id", self.connector), &self.party.id);
    }

    /// The ids of what was merged into the party, wherever its own could stand.
    fn merged_ids(&mut self, entity: &str, ids: &[String]) {
        let configured = self.settings.customer_id_field.as_deref().map(field_kind);
        let provider_id = format!("field:{}_{entity}_id", self.connector);
        for kind in configured.into_iter().chain([provider_id]) {
            for id in ids.iter().filter(|id| **id != self.party.id) {
                self.push("merged", kind.clone(), id);
            }
        }
    }

    fn domains<'e>(&mut self, domains: impl IntoIterator<Item = &'e str>) {
        for domain in domains {
            if !is_free_mail(domain) {
                self.push("domain", "domain".to_owned(), domain);
            }
        }
    }

    /// The domains of all of them, then they themselves.
    fn emails(&mut self, emails: &[String]) {
        self.domains(emails.iter().filter_map(|email| Some(email.rsplit_once('@')?.1)));
        for email in emails {
            self.push("email", "email".to_owned(), email);
        }
    }

    fn observed(self, label: Option<String>, create: Option<NewCompany>) -> PartyObserved {
        PartyObserved {
            party: self.party.clone(),
            label,
            candidates: self.candidates,
            create,
            person: false,
            merged: Vec::new(),
        }
    }

    fn billing_account(mut self, account: &BillingAccount) -> PartyObserved {
        let emails = addresses(account.email.iter());
        self.field(&emails);
        self.metadata(&account.metadata);
        self.provider_id("customer");
        self.emails(&emails);
        let label = named(account.name.as_ref()).or_else(|| account.email.clone());
        // No domain: a billing address proves nothing about whose domain it is, and a domain taken from it would
        // draw every other customer of an agency or a reseller into one company.
        let create = self.settings.create_companies.then(|| NewCompany {
            name: label.clone(),
            domain: None,
            source: self.connector.to_owned(),
        });
        self.observed(label, create)
    }

    fn organization(mut self, organization: &Organization) -> PartyObserved {
        self.field([]);
        self.metadata(&organization.properties);
        self.provider_id("company");
        self.merged_ids("company", &organization.merged);
        self.domains(organization.domains.iter().map(String::as_str));
        let label = named(organization.name.as_ref()).or_else(|| organization.domains.first().cloned());
        // A CRM's domain of a company was stated for it. What was archived there makes no company here.
        let create = (self.settings.create_companies && !organization.deleted).then(|| NewCompany {
            name: label.clone(),
            domain: organization.domains.iter().find(|domain| !is_free_mail(domain)).cloned(),
            source: self.connector.to_owned(),
        });
        let stream = &self.party.stream;
        let merged =
            organization.merged.iter().map(|id| RecordKey::new(stream.as_str(), id.as_str())).collect();
        PartyObserved { merged, ..self.observed(label, create) }
    }

    /// A document makes no company: who signs it may be anybody, and a draft is sent to people who never become
    /// customers.
    fn document(mut self, contract: &Contract, facts: &[Fact]) -> PartyObserved {
        let emails = addresses(facts.iter().flat_map(|fact| match fact {
            Fact::Person(person) if !person.staff => person.emails.as_slice(),
            _ => &[],
        }));
        self.field(&emails);
        for fact in facts {
            if let Fact::Organization(organization) = fact {
                self.metadata(&organization.properties);
            }
        }
        self.emails(&emails);
        self.observed(named(contract.name.as_ref()), None)
    }

    fn deal(mut self, deal: &Deal, of: &RecordKey) -> PartyObserved {
        self.association(&of.stream, &of.id);
        self.observed(named(deal.name.as_ref()), None)
    }

    /// The company of another party of the same connection.
    fn association(&mut self, stream: &str, id: &str) {
        self.candidates.push(LinkCandidate {
            rule: "association",
            key_kind: party_kind(self.connector, stream),
            value: id.to_owned(),
        });
    }

    /// The companies that a person is associated with, the main one first, then the domains of the addresses. Never the
    /// addresses: they are those of the user whose company is looked for.
    fn person(mut self, person: &Person, of: Option<&RecordKey>) -> PartyObserved {
        if let Some(of) = of {
            self.association(&of.stream, &of.id);
            for id in person.organizations.iter().filter(|id| **id != of.id) {
                self.association(&of.stream, id);
            }
        }
        let emails = addresses(&person.emails);
        self.domains(emails.iter().filter_map(|email| Some(email.rsplit_once('@')?.1)));
        PartyObserved { person: true, ..self.observed(None, None) }
    }
}

/// The kind of the keys that the values of a company field are.
fn field_kind(field: &str) -> String {
    match field {
        "external_id" | "domain" => field.to_owned(),
        custom => format!("field:{custom}"),
    }
}

/// Whether a record is about a person of a customer's: what a document says of those who sign it is not.
pub(super) fn is_end_user(record: &RecordKey, person: &Person) -> bool {
    !person.staff && person.id == record.id
}

/// The provider and the stream that a property names: `hubspot_deal_id` is of `hubspot`, `deals`.
fn named_party(property: &str) -> Option<(&str, String)> {
    let (provider, entity) = property.strip_suffix("_id")?.rsplit_once('_')?;
    if provider.is_empty() || entity.is_empty() {
        return None;
    }
    Some((
        provider,
        entity.strip_suffix('y').map_or_else(|| format!("{entity}s"), |stem| format!("{stem}ies")),
    ))
}

/// The addresses among the texts, as they are compared.
fn addresses<'e>(texts: impl IntoIterator<Item = &'e String>) -> Vec<String> {
    texts.into_iter().map(|text| normalise(text)).filter(|text| text.contains('@')).collect()
}

fn named(name: Option<&String>) -> Option<String> {
    name.filter(|name| !name.trim().is_empty()).cloned()
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
        let seen = observe("stripe", settings, &party, Some(&party), true, &[fact]).unwrap();
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
