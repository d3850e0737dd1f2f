//! Where a document says how long it binds: fields, variables (tokens), metadata, quotes, extracted data, in this
//! order. The first readable answer is taken; what people wrote comes before what was extracted.

use chrono::NaiveDate;
use connector_sdk::facts::{Confidence, Interval, Period, Stated};
use serde_json::Value;

use super::when;
use crate::config::Fields;
use crate::record::{AI_METADATA, OURS};

/// Names that are known without settings, as [`plain`] has them. In front those of PandaDoc's extracted data.
const EFFECTIVE: &[&str] =
    &["agreementdate", "effectivedate", "contracteffectivedate", "contractstartdate", "contractstart"];
const END: &[&str] = &["expirationdate", "contractenddate", "contractend", "contractexpirationdate"];
const TERM: &[&str] = &["initialtermlength", "initialterm", "contractterm", "contracttermmonths"];
const RENEWAL_TERM: &[&str] = &["renewaltermlength", "renewalterm", "renewaltermmonths"];
const AUTO_RENEWS: &[&str] = &["renewaltype", "autorenewal", "autorenews", "autorenew"];
/// What a document's own date of the same name is about: the end of its signing link, in a field as in a variable.
const OF_THE_LINK: &[&str] = &["expirationdate"];

/// Letters and digits in lower case: how names are compared.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// One thing that the document says.
struct Word<'a> {
    name: String,
    value: &'a Value,
    confidence: Confidence,
}

/// Everything that the document says.
pub(super) struct Said<'a> {
    words: Vec<Word<'a>>,
    fields: Fields,
    quoted: Option<Period>,
}

impl<'a> Said<'a> {
    pub(super) fn of(doc: &'a Value) -> Self {
        let mut words = Vec::new();
        let list = |name: &str| doc.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut say = |name: Option<&str>, value: &'a Value, confidence| {
            let name = name.map(plain).filter(|name| !name.is_empty());
            if let Some(name) = name
                && !value.is_null()
            {
                words.push(Word { name, value, confidence });
            }
        };
        for field in list("fields") {
            let Some(value) = field.get("value") else { continue };
            for name in ["merge_field", "field_id", "name", "title"] {
                say(field.get(name).and_then(Value::as_str), value, Confidence::Stated);
            }
        }
        for token in list("tokens") {
            let Some(value) = token.get("value") else { continue };
            say(token.get("name").and_then(Value::as_str), value, Confidence::Stated);
        }
        for (name, value) in doc.get("metadata").and_then(Value::as_object).into_iter().flatten() {
            say(Some(name), value, Confidence::Stated);
        }
        let extracted = doc.get(AI_METADATA).and_then(|ai| ai.get("results")).and_then(Value::as_array);
        for field in extracted.into_iter().flatten() {
            let Some(held) = field.get("value") else { continue };
            let Some(value) = held.get("value") else { continue };
            let confidence = match held.get("acceptance_status").and_then(Value::as_str) {
                Some("accepted") => Confidence::Accepted,
                // Pending, and whatever is not known to be more.
                _ => Confidence::Low,
            };
            say(field.get("key").and_then(Value::as_str), value, confidence);
        }
        let fields = doc.get(OURS).and_then(|ours| ours.get("fields")).cloned();
        let fields = fields.and_then(|fields| serde_json::from_value(fields).ok()).unwrap_or_default();
        Self { words, fields, quoted: quoted_term(doc) }
    }

    /// The first readable value under one of these names: those of the settings first, then those known by
    /// themselves; of one name what people wrote before what was extracted.
    fn find<T>(
        &self,
        configured: &[String],
        known: &[&str],
        people_first: bool,
        read: impl Fn(&str, &Value) -> Option<T>,
    ) -> Option<Stated<T>> {
        let configured: Vec<String> = configured.iter().map(|name| plain(name)).collect();
        let say = |name: &str, trusted: bool| {
            let words = self.words.iter().filter(|word| word.name == name);
            words
                .filter(|word| {
                    let written = word.confidence == Confidence::Stated;
                    // A variable or field named so tells when the signing link ends, unless somebody says otherwise.
                    trusted || !(written && OF_THE_LINK.contains(&name))
                })
                .filter(|word| !people_first || word.confidence == Confidence::Stated)
                .find_map(|word| Some(Stated { value: read(name, word.value)?, confidence: word.confidence }))
        };
        configured
            .iter()
            .find_map(|name| say(name, true))
            .or_else(|| known.iter().find_map(|name| say(name, false)))
    }

    fn best<T>(
        &self,
        configured: &[String],
        known: &[&str],
        read: impl Fn(&str, &Value) -> Option<T>,
    ) -> Option<Stated<T>> {
        self.find(configured, known, true, &read).or_else(|| self.find(configured, known, false, &read))
    }

    pub(super) fn effective(&self) -> Option<Stated<NaiveDate>> {
        self.best(&self.fields.effective, EFFECTIVE, |_, value| when::date(value.as_str()?))
    }

    pub(super) fn end(&self) -> Option<Stated<NaiveDate>> {
        self.best(&self.fields.end, END, |_, value| when::date(value.as_str()?))
    }

    /// What people wrote, then what was sold by a quote, then what was extracted.
    pub(super) fn term(&self) -> Option<Stated<Period>> {
        let quoted = self.quoted.map(|value| Stated { value, confidence: Confidence::Stated });
        self.find(&self.fields.term, TERM, true, length)
            .or(quoted)
            .or_else(|| self.find(&self.fields.term, TERM, false, length))
    }

    pub(super) fn renewal_term(&self) -> Option<Stated<Period>> {
        self.best(&self.fields.renewal_term, RENEWAL_TERM, length)
    }

    pub(super) fn auto_renews(&self) -> Option<Stated<bool>> {
        self.best(&self.fields.auto_renews, AUTO_RENEWS, |_, value| match value {
            Value::Bool(flag) => Some(*flag),
            other => when::renews(other.as_str()?),
        })
    }

    /// Only where the settings say under which name; names that are tried without them are the engine's.
    pub(super) fn company_id(&self) -> Option<String> {
        let id = |_: &str, value: &Value| match value {
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        // A guess is no id.
        self.find(&self.fields.company_id, &[], true, id).map(|stated| stated.value)
    }
}

/// A length of time; a bare number only under a name that says of what.
fn length(name: &str, value: &Value) -> Option<Period> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    when::period(&text).or_else(|| {
        let count = text.trim().parse().ok().filter(|count| (1..=1_200).contains(count))?;
        name.ends_with("months").then_some(Period { interval: Interval::Month, count })
    })
}

/// The term that a quote was sold for: `contract_term` counted in units of `billing_frequency`, where all the
/// chosen recurring items agree.
fn quoted_term(doc: &Value) -> Option<Period> {
    let list = |of: &'_ Value, name: &str| -> Vec<Value> {
        of.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let off =
        |of: Option<&Value>| of.and_then(|options| options.get("selected")) == Some(&Value::Bool(false));
    let mut term: Option<Period> = None;
    for quote in list(doc.get("pricing")?, "quotes") {
        for section in list(&quote, "sections") {
            if off(section.get("settings")) {
                continue;
            }
            for item in list(&section, "items") {
                if off(item.get("options")) {
                    continue;
                }
                let text = |name: &str| item.get(name).and_then(Value::as_str);
                let Some(each) = text("billing_frequency").and_then(billed_every) else { continue };
                let Some(length) = text("contract_term").and_then(|text| times(text, each)) else { continue };
                if term.is_some_and(|term| term != length) {
                    return None;
                }
                term = Some(length);
            }
        }
    }
    term
}

fn billed_every(text: &str) -> Option<Period> {
    let (interval, count) = match plain(text).as_str() {
        "weekly" => (Interval::Week, 1),
        "monthly" => (Interval::Month, 1),
        "quarterly" => (Interval::Month, 3),
        // As PandaDoc spells it, and as it is spelled.
        "semiannualy" | "semiannually" => (Interval::Month, 6),
        "annually" | "annualy" | "yearly" => (Interval::Year, 1),
        _ => return None,
    };
    Some(Period { interval, count })
}

fn times(text: &str, each: Period) -> Option<Period> {
    let whole = text.trim();
    let whole = whole.strip_suffix(".0").or_else(|| whole.strip_suffix(".00")).unwrap_or(whole);
    let count: u32 = whole.parse().ok().filter(|count| (1..=1_200).contains(count))?;
    Some(Period { interval: each.interval, count: each.count.checked_mul(count)? })
}
