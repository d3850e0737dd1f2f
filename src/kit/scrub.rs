//! Provider objects without what is anybody's.
//!
//! What is not plainly a code, a date or a number is taken for somebody's and replaced: a rule that lists what to hide
//! would miss the next custom field. The same text is replaced by the same text, everywhere, by a count in the order of
//! appearance: nothing of the original can be worked out from it, and references still fit.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Replaces; keeps what it has replaced by what.
#[derive(Debug, Default)]
pub struct Scrubber {
    by: BTreeMap<(Kind, String), String>,
    counts: BTreeMap<(Kind, String), u64>,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Secret,
    Id,
    Email,
    Domain,
    Url,
    Phone,
    Name,
    Text,
}

/// Beginnings of what opens doors.
const KEYS: [&str; 12] =
    ["sk_", "rk_", "pk_", "whsec_", "pat-", "xox", "ghp_", "eyJ", "Bearer ", "Basic ", "API-Key ", "test_sk"];

impl Scrubber {
    /// A scrubber that has replaced nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The replacement of an object's id. To be asked before [`Self::object`] for every id that objects are to
    /// refer to each other by.
    pub fn id(&mut self, id: &str) -> String {
        self.replaced(Kind::Id, id)
    }

    /// The object without what is anybody's.
    #[must_use]
    pub fn object(&mut self, value: &Value) -> Value {
        self.value("", value)
    }

    fn value(&mut self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(key, text)),
            Value::Array(items) => items.iter().map(|item| self.value(key, item)).collect(),
            Value::Object(members) => {
                let mut out = Map::new();
                for (name, value) in members {
                    // Some providers key tables by what is somebody's: an address, an id.
                    let plain = name
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b' '));
                    let known = self.by.contains_key(&(Kind::Id, name.clone()));
                    let name = if plain && !known { name.clone() } else { self.text(name, name) };
                    let value = self.value(&name, value);
                    out.insert(name, value);
                }
                Value::Object(out)
            }
            Value::Number(_) if kind_of_key(key) == Some(Kind::Phone) => Value::from(0),
            other => other.clone(),
        }
    }

    fn text(&mut self, key: &str, text: &str) -> String {
        if text.trim().is_empty() {
            return text.to_owned();
        }
        if self.by.contains_key(&(Kind::Id, text.to_owned())) {
            return self.replaced(Kind::Id, text);
        }
        if KEYS.iter().any(|start| text.starts_with(start)) {
            return self.replaced(Kind::Secret, text);
        }
        match kind_of_key(key) {
            Some(kind) => self.replaced(kind, text),
            None if text.contains('@') && !text.contains(char::is_whitespace) => {
                self.replaced(Kind::Email, text)
            }
            None if text.contains("://") => self.replaced(Kind::Url, text),
            None if is_host(text) => self.replaced(Kind::Domain, text),
            None if is_plain(text) || (is_number(text) && counts(key)) => text.to_owned(),
            None if is_id(text) => self.replaced(Kind::Id, text),
            None => self.replaced(Kind::Text, text),
        }
    }

    fn replaced(&mut self, kind: Kind, text: &str) -> String {
        // Counted apart for each beginning, so that an id keeps what kind of object it names.
        let start = match kind {
            Kind::Id => text.rfind('_').map_or("", |at| &text[..=at]),
            _ => "",
        };
        let key = (kind, text.to_owned());
        if let Some(known) = self.by.get(&key) {
            return known.clone();
        }
        let n = self.counts.entry((kind, start.to_owned())).or_default();
        *n += 1;
        let new = match kind {
            Kind::Secret => format!("[secret {n}]"),
            // As long as it was, where it is a number: some are read as one.
            Kind::Id if text.bytes().all(|b| b.is_ascii_digit()) => {
                format!("9{n:0width$}", width = text.len().max(2) - 1)
            }
            Kind::Id => format!("{start}{n:06}"),
            Kind::Email => format!("person{n}@example.com"),
            Kind::Domain => format!("company{n}.example"),
            Kind::Url => format!("https://example.com/{n}"),
            Kind::Phone => format!("+1555{n:07}"),
            Kind::Name => format!("Name {n}"),
            Kind::Text => format!("Text {n}"),
        };
        self.by.insert(key, new.clone());
        new
    }
}

/// What the name of a member says about its text.
fn kind_of_key(key: &str) -> Option<Kind> {
    let key = key.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| key.ends_with(end));
    let holds = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    if holds(&["secret", "token", "password", "api_key", "apikey", "signature", "authorization", "cookie"]) {
        Some(Kind::Secret)
    } else if holds(&["email"]) {
        Some(Kind::Email)
    } else if holds(&["phone", "mobile", "fax"]) {
        Some(Kind::Phone)
    } else if ends(&["domain"]) {
        Some(Kind::Domain)
    } else if ends(&["url", "website", "link", "href"]) {
        Some(Kind::Url)
    } else if ends(&["name", "company", "organization", "owner", "person", "nickname", "label"]) {
        Some(Kind::Name)
    } else if ends(&["id", "_ids"]) && !ends(&["paid", "void"]) {
        Some(Kind::Id)
    } else if holds(&["address", "line1", "line2", "line3", "city", "state_code", "zip", "postal", "street"])
        || holds(&[
            "note",
            "comment",
            "description",
            "memo",
            "body",
            "message",
            "subject",
            "title",
            "vat",
            "tax_id",
        ])
        || ends(&["ip", "_ip"])
    {
        Some(Kind::Text)
    } else {
        None
    }
}

/// `acme.com`, `jane.doe`, `203.0.113.7`: words or numbers between dots.
fn is_host(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let word = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let lettered = parts.len() > 1 && text.bytes().any(|b| b.is_ascii_alphabetic());
    (lettered || parts.len() == 4) && parts.iter().all(word)
}

/// A word of a program (`past_due`), a currency or country (`USD`), an amount, a date. A word of plain letters may be
/// somebody's too, under a key that says nothing; so may a number that is long enough for a telephone or a passport.
fn is_plain(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || matches!(b, b'_' | b'-');
    let word = text.len() <= 40 && text.bytes().all(lower);
    let code = text.len() <= 3 && text.bytes().all(|b| b.is_ascii_uppercase());
    let number = is_number(text) && text.bytes().filter(u8::is_ascii_digit).count() <= 6;
    let date = text.get(..10).is_some_and(|day| day.parse::<chrono::NaiveDate>().is_ok())
        && text.bytes().skip(10).all(|b| b.is_ascii_digit() || b"TZ:+-. ".contains(&b));
    word || code || number || date
}

/// `12`, `-3.50`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 20 && all_digits(whole) && all_digits(part)
}

/// Whether a member of that name holds an amount, a count or an instant, of which long ones are nobody's either.
fn counts(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let parts =
        ["amount", "price", "total", "value", "revenue", "mrr", "arr", "count", "quantity", "employees"];
    let ends = ["_at", "date", "time", "timestamp", "created", "updated", "modified", "term"];
    parts.iter().any(|part| key.contains(part)) || ends.iter().any(|end| key.ends_with(end))
}

/// `cus_NffrFeUfNV2Hib`, a UUID: letters and digits without a blank.
fn is_id(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_somebodys_goes_and_references_stay() {
        let mut scrubber = Scrubber::new();
        assert_eq!(scrubber.id("cus_Nffr1"), "cus_000001");
        let object = scrubber.object(&json!({
            "id": "cus_Nffr1", "name": "Jane Doe", "email": "Jane@Doe.example", "status": "past_due", "currency": "USD",
            "created": 1_700_000_000, "date": "2026-01-31T10:00:00Z", "day": "2026-01-31", "amount": "12.50", "live": false,
            "custom": "Tell nobody", "contact": "jane@doe.example", "phone": "+44 20 7946 0000", "note": "call",
            "default_source": "card_1A2b", "client_secret": "cs_x", "key": "sk_live_0123", "empty": "", "none": null,
            "address": {"line1": "1 High Street", "city": "london", "country": "GB"}, "paid": true,
            "metadata": {"jane@doe.example": "x"}, "site": "https://doe.example/?u=1", "domain": "doe.example",
        }));
        assert_eq!(
            object,
            json!({
                "id": "cus_000001", "name": "Name 1", "email": "person2@example.com", "status": "past_due", "currency": "USD",
                "created": 1_700_000_000, "date": "2026-01-31T10:00:00Z", "day": "2026-01-31", "amount": "12.50", "live": false,
                "custom": "Text 3", "contact": "person1@example.com", "phone": "+15550000001", "note": "Text 4",
                "default_source": "card_000001", "client_secret": "[secret 1]", "key": "[secret 2]", "empty": "", "none": null,
                "address": {"line1": "Text 2", "city": "Text 1", "country": "GB"}, "paid": true,
                "metadata": {"person1@example.com": "x"}, "site": "https://example.com/1", "domain": "company1.example",
            })
        );
        let other = scrubber.object(&json!({"customer": "cus_Nffr1", "customer_name": "Jane Doe"}));
        assert_eq!(other, json!({"customer": "cus_000001", "customer_name": "Name 1"}));
    }

    #[test]
    fn what_looks_like_a_word_or_a_number_may_be_somebodys() {
        let of = |value: Value| Scrubber::new().object(&value);
        let given = json!({"a": "acme.com", "b": "jane.doe", "c": "203.0.113.7", "d": "123-45-6789", "e": "02079460000"});
        let seen = of(given.clone());
        for (key, value) in seen.as_object().unwrap() {
            assert_ne!(*value, given[key], "{key}");
        }
        let kept = json!({"amount": "12345678.90", "hs_createdate": "1700000000000", "n": "12", "rate": "-3.50", "s": "past_due"});
        assert_eq!(of(kept.clone()), kept);
    }

    #[test]
    fn the_same_pages_give_the_same_text() {
        let page = json!([{"id": "1234567", "b": "x y"}, {"id": "1234568", "b": "x y", "ref_id": "1234567"}]);
        let once = Scrubber::new().object(&page);
        assert_eq!(once, Scrubber::new().object(&page));
        assert_eq!(once[0]["id"], once[1]["ref_id"]);
        assert_ne!(once[0]["id"], once[1]["id"]);
        assert_eq!(once[0]["id"].as_str().unwrap().len(), 7);
    }
}
