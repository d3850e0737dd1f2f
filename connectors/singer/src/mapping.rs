//! A record by the settings, in the vocabulary.
//!
//! Translation needs the settings, which are there only while a tap is read. So it is done then, and what is kept of a
//! record is what came of it beside the tap's own text; [`facts`] reads that back.

use std::collections::BTreeMap;

use connector_sdk::facts::Confidence;
use connector_sdk::facts::{
    Amounts, BillingAccount, CatalogItem, Charge, ChargeStatus, Contract, Deal, Decimal, Invoice,
    InvoiceLine, Note, NoteEntry, Organization, Payment, Person, Price, PriceKind, Product, Scheme, Stated,
    Subscription, SubscriptionItem, Ticket, Usage,
};
use connector_sdk::{Extract, Fact, FactsError, Record, RecordKey, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::STREAM;
use crate::config::{Config, Shown, StreamMap};
use crate::kinds::{Holds, Kind};
use crate::value::{self, Source, Wrong};

/// What is kept of a record.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    /// The tap's stream.
    stream: String,
    facts: Vec<Fact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    party: Option<String>,
    /// The tap's own text.
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Reads back what [`translate`] kept.
pub(crate) fn facts(record: &Record) -> Result<Extract, FactsError> {
    if record.key.stream != STREAM {
        return Err(FactsError::unknown_stream(&record.key.stream));
    }
    let kept: Kept<'_> = serde_json::from_str(record.payload.get()).map_err(|_| FactsError {
        path: "facts".to_owned(),
        message: "not what this version of the bridge keeps of a record".to_owned(),
    })?;
    let party = kept.party.map(|id| RecordKey::new(STREAM, id));
    Ok(Extract { facts: kept.facts, refs: Vec::new(), party })
}

/// The key of a record, by the members that the settings or else the tap's SCHEMA name.
pub(crate) fn key(map: &StreamMap, of_schema: &[String], record: &RawValue) -> Result<String, Wrong> {
    let members = if map.key.is_empty() { of_schema } else { &map.key };
    let mut parts = Vec::with_capacity(members.len());
    for member in members {
        // A member of a SCHEMA is a name, not a path.
        let path = if map.key.is_empty() { format!("/{}", escaped(member)) } else { member.clone() };
        let raw = value::find(record, &path).ok_or_else(|| format!("{member}: the key is missing"))?;
        let text = value::text_of(raw).map_err(|why| format!("{member}: {why}"))?;
        parts.push(text.ok_or_else(|| format!("{member}: the key is empty"))?);
    }
    Ok(match parts.as_slice() {
        [one] => one.clone(),
        // What joins the parts must not stand in one.
        several => several
            .iter()
            .map(|part| part.replace('%', "%25").replace('|', "%7C"))
            .collect::<Vec<_>>()
            .join("|"),
    })
}

fn escaped(member: &str) -> String {
    member.replace('~', "~0").replace('/', "~1")
}

/// The fields of one record.
struct Fields<'a> {
    config: &'a Config,
    map: &'a StreamMap,
    record: &'a RawValue,
}

impl Fields<'_> {
    fn with<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Source, &str) -> Result<T, Wrong>,
    ) -> Result<Option<T>, Wrong> {
        let Some(source) = self.map.fields.get(name) else { return Ok(None) };
        let named = |why: Wrong| match &source.path {
            Some(path) => format!("{path} ({name}): {why}"),
            None => format!("{name}: {why}"),
        };
        match source.text(self.record).map_err(named)? {
            Some(text) => read(source, &text).map(Some).map_err(named),
            None => Ok(None),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, Wrong> {
        self.with(name, |_, text| Ok(text.to_owned()))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Wrong> {
        self.with(name, |_, text| value::flag(text))
    }

    fn count(&self, name: &str) -> Result<Option<u64>, Wrong> {
        self.with(name, |_, text| value::count(text))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Wrong> {
        self.with(name, |source, text| value::time(text, source.unit))
    }

    fn stated_date(&self, name: &str) -> Result<Option<Stated<chrono::NaiveDate>>, Wrong> {
        let date = self.with(name, |source, text| value::date(text, source.unit))?;
        Ok(date.map(|value| Stated { value, confidence: Confidence::Stated }))
    }

    fn currency(&self) -> Result<Option<String>, Wrong> {
        self.with("currency", |_, text| value::currency(text))
    }

    fn minor(&self, name: &str, currency: Option<&str>) -> Result<Option<Decimal>, Wrong> {
        let Some(currency) = currency else { return Ok(None) };
        self.with(name, |source, text| value::minor(text, source.unit, currency))
    }

    fn whole_minor(&self, name: &str, currency: Option<&str>) -> Result<Option<i64>, Wrong> {
        self.minor(name, currency)?
            .map(|amount| value::whole(amount).map_err(|why| format!("{name}: {why}")))
            .transpose()
    }

    fn major(&self, name: &str, currency: Option<&str>) -> Result<Option<Decimal>, Wrong> {
        let Some(currency) = currency else { return Ok(None) };
        self.with(name, |source, text| value::major(text, source.unit, currency))
    }

    /// A word of the vocabulary, which is stored by the same word. A word that it does not have is `unknown`, where it
    /// has that.
    fn word<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Wrong> {
        let known = match self.map.kind.fields().iter().find(|field| field.name == name).map(|f| f.holds) {
            Some(Holds::Word(known)) => known,
            _ => &[],
        };
        self.with(name, |_, text| {
            let meant = |word: &str| serde_json::from_value(Value::from(word));
            meant(text).or_else(|_| meant("unknown")).map_err(|_| {
                format!("the word means nothing here; let `words` make it one of {}", known.join(", "))
            })
        })
    }

    fn needed<T>(&self, name: &str, found: Option<T>) -> Result<T, Wrong> {
        let path = self.map.fields.get(name).and_then(|source| source.path.as_deref()).unwrap_or(name);
        found.ok_or_else(|| format!("{path} ({name}): missing"))
    }

    /// The id of another record.
    fn other(&self, name: &str, holds: Holds) -> Result<Option<String>, Wrong> {
        self.with(name, |source, key| {
            let stream = self.config.stream_of(source, holds).ok_or("of no stream of the settings")?;
            Ok(self.config.id(stream, key))
        })
    }

    fn texts(&self, sources: &BTreeMap<String, Source>) -> Result<BTreeMap<String, String>, Wrong> {
        let mut out = BTreeMap::new();
        for (name, source) in sources {
            if let Some(text) = source.text(self.record).map_err(|why| format!("{name}: {why}"))? {
                out.insert(name.clone(), text);
            }
        }
        Ok(out)
    }

    fn shown(&self, name: &str, shown: &Shown) -> Result<Option<NoteEntry>, Wrong> {
        let named = |why: Wrong| format!("{name}: {why}");
        let value = match &shown.value {
            Some(source) => source.shown(self.record).map_err(named)?,
            None => {
                let mut members = serde_json::Map::new();
                for (member, source) in &shown.members {
                    if let Some(value) = source.shown(self.record).map_err(named)? {
                        members.insert(member.clone(), value);
                    }
                }
                (!members.is_empty()).then_some(Value::Object(members))
            }
        };
        let Some(value) = value else { return Ok(None) };
        let at = match &shown.at {
            Some(source) => source
                .text(self.record)
                .and_then(|text| text.map(|text| value::time(&text, source.unit)).transpose()),
            None => Ok(None),
        };
        let (key, label, at) = (name.to_owned(), shown.label.clone(), at.map_err(named)?);
        Ok(Some(NoteEntry { key, label, value, most: shown.most, at }))
    }

    fn note(&self, id: &str) -> Result<Option<Note>, Wrong> {
        let mut note = Note { id: id.to_owned(), ..Note::default() };
        for (name, source) in &self.map.traits {
            if let Some(value) = source.shown(self.record).map_err(|why| format!("{name}: {why}"))? {
                note.traits.insert(name.clone(), value);
            }
        }
        for (name, shown) in &self.map.context {
            note.context.extend(self.shown(name, shown)?);
        }
        Ok((!note.traits.is_empty() || !note.context.is_empty()).then_some(note))
    }

    fn facts(&self, id: &str, party: Option<&String>) -> Result<Vec<Fact>, Wrong> {
        let id = id.to_owned();
        let of_party = || party.cloned().into_iter().collect::<Vec<_>>();
        Ok(match self.map.kind {
            Kind::Company => vec![Fact::Organization(self.company(id)?)],
            Kind::Customer => vec![Fact::BillingAccount(self.customer(id)?)],
            Kind::Person => vec![Fact::Person(Person {
                name: self.text("name")?,
                emails: self.text("email")?.into_iter().collect(),
                organizations: of_party(),
                lifecycle_stage: self.text("lifecycle_stage")?,
                deleted: self.flag("deleted")?.unwrap_or_default(),
                id,
                ..Person::default()
            })],
            Kind::Subscription => self.subscription(id, party.cloned())?,
            Kind::Invoice => vec![Fact::Invoice(Box::new(self.invoice(id, party.cloned())?))],
            Kind::Payment => {
                vec![Fact::Payment(Payment::Charge(Box::new(self.payment(id, party.cloned())?)))]
            }
            Kind::Deal => {
                let currency = self.currency()?;
                vec![Fact::Deal(Box::new(Deal {
                    id,
                    name: self.text("name")?,
                    won: self.needed("won", self.flag("won")?)?,
                    closed_at: self.time("closed_at")?,
                    amount: self.major("amount", currency.as_deref())?,
                    currency,
                    lines: Vec::new(),
                }))]
            }
            Kind::Contract => {
                let currency = self.currency()?;
                let auto_renews = self.flag("auto_renews")?;
                vec![Fact::Contract(Box::new(Contract {
                    id,
                    name: self.text("name")?,
                    status: self.needed("status", self.word("status")?)?,
                    signed_at: self.time("signed_at")?,
                    completed_at: self.time("completed_at")?,
                    effective: self.stated_date("effective")?,
                    end: self.stated_date("end")?,
                    term: None,
                    renewal_term: None,
                    auto_renews: auto_renews.map(|value| Stated { value, confidence: Confidence::Stated }),
                    value: self.major("value", currency.as_deref())?,
                    currency,
                }))]
            }
            Kind::Ticket => vec![Fact::Ticket(Ticket {
                id,
                title: self.text("title")?,
                status: self.needed("status", self.word("status")?)?,
                priority: self.word("priority")?,
                created: self.time("created")?,
                closed: self.time("closed")?,
                organizations: of_party(),
                people: Vec::new(),
                owner: None,
            })],
            Kind::Note => Vec::new(),
        })
    }

    fn company(&self, id: String) -> Result<Organization, Wrong> {
        // An address or a mixed case is one domain all the same.
        let domain = self.text("domain")?.map(|text| {
            let bare = text.trim().to_lowercase();
            let bare = bare.split_once("://").map_or(bare.as_str(), |(_, rest)| rest);
            let host = bare.split(['/', '?', '#', ':']).next().unwrap_or_default();
            host.strip_prefix("www.").unwrap_or(host).to_owned()
        });
        Ok(Organization {
            id,
            name: self.text("name")?,
            domains: domain.into_iter().filter(|domain| !domain.is_empty()).collect(),
            industry: self.text("industry")?,
            employees: self.count("employees")?,
            lifecycle_stage: self.text("lifecycle_stage")?,
            deleted: self.flag("deleted")?.unwrap_or_default(),
            properties: self.texts(&self.map.metadata)?,
            ..Organization::default()
        })
    }

    fn customer(&self, id: String) -> Result<BillingAccount, Wrong> {
        Ok(BillingAccount {
            id,
            name: self.text("name")?,
            email: self.text("email")?,
            currency: self.currency()?,
            delinquent: self.flag("delinquent")?.unwrap_or_default(),
            deleted: self.flag("deleted")?.unwrap_or_default(),
            mode: None,
            created: self.time("created")?,
            discount: None,
            test_clock: None,
            metadata: self.texts(&self.map.metadata)?,
        })
    }

    fn subscription(&self, id: String, account: Option<String>) -> Result<Vec<Fact>, Wrong> {
        let currency = self.needed("currency", self.currency()?)?;
        let plan = self.text("plan")?;
        let (of_price, of_plan) = (format!("{id}/price"), format!("{id}/plan"));
        // What the record does not say stays unknown: the sum is then reported as incomplete.
        let price = Price {
            id: of_price.clone(),
            product: plan.as_ref().map(|_| of_plan.clone()),
            currency: Some(currency.clone()),
            nickname: plan.clone(),
            kind: Some(PriceKind::Recurring),
            every: self.with("every", |_, text| value::period(text))?,
            usage: Some(Usage::Licensed),
            scheme: Some(Scheme::PerUnit),
            amounts: Amounts { unit: self.minor("amount", Some(&currency))?, tiers: None },
            ..Price::default()
        };
        let quantity = match self.map.fields.contains_key("quantity") {
            true => self.count("quantity")?,
            false => Some(1),
        };
        let item = SubscriptionItem {
            id: format!("{id}/item"),
            price_id: Some(of_price),
            price: Some(Box::new(price)),
            quantity,
            period_start: self.time("period_start")?,
            period_end: self.time("period_end")?,
            ..SubscriptionItem::default()
        };
        let subscription = Subscription {
            account,
            status: self.needed("status", self.word("status")?)?,
            currency: Some(currency),
            mode: None,
            test_clock: None,
            created: self.time("created")?,
            trial_end: self.time("trial_end")?,
            cancel_at_period_end: self.flag("cancel_at_period_end")?.unwrap_or_default(),
            cancel_at: self.time("cancel_at")?,
            canceled_at: self.time("canceled_at")?,
            ended_at: self.time("ended_at")?,
            pause: None,
            schedule: None,
            discounts: Vec::new(),
            tax_rates: Vec::new(),
            automatic_tax: false,
            items: vec![item],
            items_incomplete: false,
            id,
        };
        let product = plan.map(|name| {
            let product = Product { id: of_plan, name: Some(name), ..Product::default() };
            Fact::CatalogItem(CatalogItem::Product(product))
        });
        Ok([Fact::Subscription(Box::new(subscription))].into_iter().chain(product).collect())
    }

    fn invoice(&self, id: String, account: Option<String>) -> Result<Invoice, Wrong> {
        let currency = self.needed("currency", self.currency()?)?;
        let amount = self.whole_minor("amount", Some(&currency))?;
        let line =
            amount.map(|amount| InvoiceLine { id: format!("{id}/line"), amount, ..InvoiceLine::default() });
        Ok(Invoice {
            account,
            subscription: self.other("subscription", Holds::Subscription)?,
            status: self.needed("status", self.word("status")?)?,
            cycle: false,
            currency: Some(currency),
            mode: None,
            test_clock: None,
            created: self.time("created")?,
            paid_at: self.time("paid_at")?,
            paid_outside: None,
            discounts: Vec::new(),
            lines_incomplete: line.is_none(),
            lines: line.into_iter().collect(),
            id,
        })
    }

    fn payment(&self, id: String, account: Option<String>) -> Result<Charge, Wrong> {
        let currency = self.needed("currency", self.currency()?)?;
        let status = self.needed("status", self.word("status")?)?;
        let came = status == ChargeStatus::Succeeded;
        Ok(Charge {
            id,
            account,
            invoice: None,
            intent: None,
            status,
            paid: came,
            captured: came,
            amount_captured: self.needed("amount", self.whole_minor("amount", Some(&currency))?)?,
            amount_refunded: None,
            created: self.time("created")?,
            mode: None,
            settlement: None,
            refunds_incomplete: false,
            currency,
        })
    }
}

/// A tap's record as it is kept. The error says what is wrong with it, without its values.
pub(crate) fn translate(
    config: &Config,
    stream: &str,
    map: &StreamMap,
    key: &str,
    record: &RawValue,
) -> Result<Record, Wrong> {
    let fields = Fields { config, map, record };
    let id = config.id(stream, key);
    let party = match map.kind.is_party() {
        true => Some(id.clone()),
        false => fields.other("party", Holds::Party)?,
    };
    let mut facts = fields.facts(&id, party.as_ref())?;
    facts.extend(fields.note(&id)?.map(Fact::Note));
    let kept = Kept { stream: stream.to_owned(), facts, party, record };
    let text = serde_json::to_string(&kept).map_err(|e| format!("not writable as JSON: {e}"))?;
    let payload = RawValue::from_string(text).map_err(|e| format!("not writable as JSON: {e}"))?;
    Ok(Record { key: RecordKey::new(STREAM, id), payload })
}

#[cfg(test)]
mod tests {
    use connector_sdk::facts::SubscriptionStatus;
    use serde_json::json;

    use super::*;

    fn config() -> Config {
        serde_json::from_value(json!({"tap": "t", "account": "acme", "streams": {
            "accounts": {
                "as": "customer",
                "fields": {"name": "n", "email": "mail", "created": {"path": "at", "unit": "seconds"}},
                "metadata": {"company_id": "ext.id"},
                "traits": {"balance": "balance"},
                "context": {"tags": {"label": "Tags", "value": "tags"}},
            },
            "subs": {"as": "subscription", "fields": {
                "party": "account", "status": {"path": "state", "words": {"on": "active", "*": "canceled"}},
                "amount": {"path": "price", "unit": "major"}, "currency": "cur", "every": "every",
                "quantity": "seats", "plan": "plan",
            }},
            "paid": {"as": "payment", "fields": {
                "party": "account", "status": "state", "amount": {"path": "sum", "unit": "major"},
                "currency": {"value": "usd"},
            }},
        }}))
        .unwrap()
    }

    fn translated(stream: &str, json: &str) -> Result<Record, String> {
        let config = config();
        config.validate().unwrap();
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        let map = &config.streams[stream];
        let key = key(map, &["id".to_owned()], &raw)?;
        translate(&config, stream, map, &key, &raw)
    }

    #[test]
    fn a_customer_is_its_own_party_and_keeps_the_taps_text() {
        let text = r#"{"id":7, "n":"Northwind","mail":"a@b.example","at":1.5,"ext":{"id":42},"balance":12.50,"tags":["x"]}"#;
        let record = translated("accounts", text).unwrap();
        assert_eq!(record.key.to_string(), "records/acme/accounts/7");
        assert!(record.payload.get().contains(text));
        let extract = facts(&record).unwrap();
        assert_eq!(extract.party, Some(record.key.clone()));
        let [Fact::BillingAccount(account), Fact::Note(note)] = extract.facts.as_slice() else {
            panic!("{extract:?}")
        };
        assert_eq!(account.id, record.key.id);
        assert_eq!(account.metadata["company_id"], "42");
        assert_eq!(account.created.unwrap().timestamp_millis(), 1_500);
        assert_eq!(note.traits["balance"], json!(12.5));
        assert_eq!(note.context[0].value, json!(["x"]));
    }

    #[test]
    fn a_subscription_is_exact_and_belongs_to_its_customer() {
        let text = r#"{"id":"s1","account":7,"state":"on","price":0.1,"cur":"USD","every":"annual","seats":3,"plan":"Team"}"#;
        let extract = facts(&translated("subs", text).unwrap()).unwrap();
        assert_eq!(extract.party, Some(RecordKey::new(STREAM, "acme/accounts/7")));
        let Fact::Subscription(s) = &extract.facts[0] else { panic!("{extract:?}") };
        assert_eq!((s.status, s.items[0].quantity), (SubscriptionStatus::Active, Some(3)));
        assert_eq!(s.items[0].price.as_ref().unwrap().amounts.unit.unwrap().to_string(), "10");
        assert_eq!(s.account.as_deref(), Some("acme/accounts/7"));
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_value() {
        for (stream, text, says) in [
            ("accounts", r#"{"n":"x"}"#, "id: the key is missing"),
            ("accounts", r#"{"id":[1]}"#, "id: a single value"),
            ("accounts", r#"{"id":1,"at":"top-secret"}"#, "at (created): a number"),
            ("subs", r#"{"id":1,"account":7,"price":"9","every":"1 month"}"#, "cur (currency): missing"),
            (
                "subs",
                r#"{"id":1,"account":7,"cur":"usd","price":"9","every":"1 month"}"#,
                "state (status): missing",
            ),
            (
                "paid",
                r#"{"id":1,"account":7,"state":"succeeded","sum":0.001}"#,
                "amount: the currency has no so small",
            ),
            ("paid", r#"{"id":1,"account":7,"state":"succeeded"}"#, "sum (amount): missing"),
        ] {
            let said = translated(stream, text).unwrap_err();
            assert!(said.contains(says) && !said.contains("top-secret"), "{said}");
        }
    }

    #[test]
    fn keys_of_several_members_do_not_run_into_each_other() {
        let map: StreamMap = serde_json::from_value(json!({"as": "company"})).unwrap();
        let members = ["a".to_owned(), "b/c".to_owned()];
        let key = |text: &str| key(&map, &members, &RawValue::from_string(text.to_owned()).unwrap()).unwrap();
        assert_eq!(key(r#"{"a":1,"b/c":"x"}"#), "1|x");
        assert_ne!(key(r#"{"a":"1|x","b/c":"y"}"#), key(r#"{"a":"1","b/c":"x|y"}"#));
    }
}
