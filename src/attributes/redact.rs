//! Samples: values as examples, with what looks secret or personal replaced by `[redacted: WHY]`.
//!
//! Rules, the first that fits: the key's words (`apiKey` and `api_key` are `api` and `key`), then the value's form. Lists
//! and objects are looked through, member by member. A rule rather hides too much: a sample is for recognising what an
//! attribute is, not for reading data.

use serde_json::{Map, Value};

use crate::domain::attributes::{AttributeScope, is_email};

/// Texts in a sample are cut to so many characters.
const SAMPLE_CHARS: usize = 120;
/// Members of a list and of an object in a sample.
const SAMPLE_ITEMS: usize = 3;
const SAMPLE_MEMBERS: usize = 12;
/// Lists and objects within each other.
const SAMPLE_DEPTH: usize = 4;
/// Distinct values are texts of at most so many characters.
const VALUE_CHARS: usize = 40;

/// Words of keys whose values are secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "session",
    "credential",
    "credentials",
    "pin",
    "otp",
    "totp",
    "cvv",
    "cvc",
    "signature",
    "jwt",
    "salt",
    "hash",
    "nonce",
    "csrf",
    "webhook",
    "dsn",
];
/// Pairs of words, one behind the other, whose values are secret.
const SECRET_PAIRS: &[(&str, &str)] = &[
    ("api", "key"),
    ("private", "key"),
    ("access", "key"),
    ("secret", "key"),
    ("signing", "key"),
    ("encryption", "key"),
    ("ssh", "key"),
    ("license", "key"),
    ("recovery", "code"),
    ("connection", "string"),
];
/// Words of keys whose values are personal.
const PERSONAL_WORDS: &[&str] = &[
    "email",
    "mail",
    "phone",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "fax",
    "address",
    "street",
    "zip",
    "zipcode",
    "postcode",
    "postal",
    "birth",
    "birthday",
    "birthdate",
    "dob",
    "passport",
    "ssn",
    "iban",
    "card",
    "surname",
    "firstname",
    "lastname",
    "fullname",
    "username",
    "nickname",
    "avatar",
    "photo",
    "latitude",
    "longitude",
    "lat",
    "lng",
    "ip",
    "gender",
    "salary",
    "nationality",
    "ethnicity",
    "religion",
    "diagnosis",
];
/// Likewise, pairs.
const PERSONAL_PAIRS: &[(&str, &str)] = &[
    ("first", "name"),
    ("last", "name"),
    ("full", "name"),
    ("given", "name"),
    ("family", "name"),
    ("middle", "name"),
    ("maiden", "name"),
    ("user", "name"),
    ("display", "name"),
    ("nick", "name"),
    ("contact", "name"),
    ("tax", "id"),
    ("national", "id"),
    ("account", "number"),
    ("social", "security"),
    ("date", "of"),
];
/// How keys and tokens of known makers begin.
const SECRET_STARTS: &[&str] = &[
    "sk_",
    "rk_",
    "pk_live_",
    "pk_test_",
    "whsec_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "SG.",
    "npm_",
    "hs_server_",
    "ab_live_",
    "ha_secret_",
    "-----BEGIN",
    "Bearer ",
    "Basic ",
];

/// Why a value is not shown.
pub(super) fn why(scope: AttributeScope, key: &str, value: &Value) -> Option<&'static str> {
    if matches!(value, Value::Null | Value::Bool(_)) {
        return None;
    }
    by_key(scope, key).or_else(|| match value {
        Value::String(text) => by_text(text),
        // A number of a card is one with quotes or without.
        Value::Number(number) => by_digits(&number.to_string()),
        _ => None,
    })
}

/// A value as an example, and whether anything in it is replaced.
pub(super) fn sample(scope: AttributeScope, key: &str, value: &Value) -> (Value, bool) {
    let mut redacted = false;
    (shown(scope, key, value, 0, &mut redacted), redacted)
}

fn shown(scope: AttributeScope, key: &str, value: &Value, depth: usize, redacted: &mut bool) -> Value {
    if let Some(why) = why(scope, key, value) {
        *redacted = true;
        return format!("[redacted: {why}]").into();
    }
    match value {
        Value::String(text) => match text.char_indices().nth(SAMPLE_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]).into(),
            None => value.clone(),
        },
        Value::Array(_) | Value::Object(_) if depth >= SAMPLE_DEPTH => "…".into(),
        Value::Array(items) => {
            let some = items.iter().take(SAMPLE_ITEMS);
            let mut list: Vec<Value> = some.map(|item| shown(scope, "", item, depth + 1, redacted)).collect();
            if items.len() > SAMPLE_ITEMS {
                list.push("…".into());
            }
            list.into()
        }
        Value::Object(members) => {
            let mut some: Map<String, Value> = Map::new();
            for (name, member) in members.iter().take(SAMPLE_MEMBERS) {
                // A member may be personal by its own name only: what `name` is depends on whose.
                let shown = shown(AttributeScope::Company, name, member, depth + 1, redacted);
                let name: String = name.chars().take(SAMPLE_CHARS).collect();
                some.insert(name, shown);
            }
            if members.len() > SAMPLE_MEMBERS {
                some.insert("…".to_owned(), "…".into());
            }
            some.into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Whether a value may stand in a list of distinct values: short, scalar, neither secret nor personal.
pub(super) fn listable(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::String(text) => text.chars().count() <= VALUE_CHARS && !text.contains(['\n', '\r']),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// What the key says.
pub(super) fn by_key(scope: AttributeScope, key: &str) -> Option<&'static str> {
    let words = words(key);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&singular(word)));
    let has_pair = |list: &[(&str, &str)]| {
        words
            .windows(2)
            .any(|two| list.iter().any(|(first, second)| two[0] == *first && singular(&two[1]) == *second))
    };
    if has(SECRET_WORDS) || has_pair(SECRET_PAIRS) {
        return Some("secret");
    }
    let own_name = scope == AttributeScope::User && words == ["name"];
    (own_name || has(PERSONAL_WORDS) || has_pair(PERSONAL_PAIRS)).then_some("personal")
}

fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(one)
            if SECRET_WORDS.contains(&one)
                || PERSONAL_WORDS.contains(&one)
                || one == "key"
                || one == "code" =>
        {
            one
        }
        _ => word,
    }
}

/// `apiKey`, `API-Key` and `api_key` are `api` and `key`.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in key.chars() {
        let starts = c.is_uppercase() && before.is_lowercase();
        if starts || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a text's form says.
fn by_text(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if SECRET_STARTS.iter().any(|start| text.starts_with(start)) || is_jwt(text) {
        return Some("secret");
    }
    if text.split([' ', ',', ';', '<', '>', '(', ')', '"']).any(is_email) {
        return Some("email");
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let secret =
            place.contains('@') || (scheme.starts_with("http") && text.contains('?') && text.contains('='));
        return secret.then_some("secret");
    }
    if is_date_like(text) {
        return None;
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Some("ip address");
    }
    by_digits(text)
        .or_else(|| is_iban(text).then_some("bank account"))
        .or_else(|| is_random(text).then_some("secret"))
}

fn by_digits(text: &str) -> Option<&'static str> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let only = text.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-'));
    if only && (13..=19).contains(&digits.len()) && luhn(&digits) {
        return Some("card");
    }
    // A plain number is not a telephone's: amounts and ids have as many digits.
    let marked = text.starts_with('+') || text.starts_with("00") || text.contains(['(', ' ', '-', '/']);
    (marked && crate::domain::attributes::is_tel(text)).then_some("phone")
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Three parts of base64url, the first of which is `{"…`.
fn is_jwt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() >= 3
        && parts[0].starts_with("eyJ")
        && parts.iter().all(|part| part.bytes().all(is_token_byte))
}

/// ISO 13616: two letters, two digits, the rest; 97 divides it.
fn is_iban(text: &str) -> bool {
    let plain: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    if !(15..=34).contains(&plain.len())
        || !plain[..2].iter().all(u8::is_ascii_uppercase)
        || !plain[2..4].iter().all(u8::is_ascii_digit)
        || !plain.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    {
        return false;
    }
    let rotated = plain[4..].iter().chain(&plain[..4]);
    let rest = rotated.fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    rest == 1
}

fn is_date_like(text: &str) -> bool {
    crate::domain::attributes::is_date(text)
        || (text.len() >= 8
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'T' | b'Z' | b'.' | b'+' | b' '))
            && text.get(4..5) == Some("-"))
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'+' | b'/')
}

/// A long text without spaces that mixes letters and digits as nobody writes them. UUIDs and prefixed ids of rows (`usr_…`, at
/// most 32 characters behind one short word) are ids, not secrets.
fn is_random(text: &str) -> bool {
    if text.len() < 24 || !text.bytes().all(|b| is_token_byte(b) || b == b'.') {
        return false;
    }
    let uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    let row_id = text.split_once('_').is_some_and(|(word, rest)| {
        word.len() <= 8
            && word.bytes().all(|b| b.is_ascii_lowercase())
            && rest.len() <= 26
            && !rest.contains('_')
    });
    if uuid || row_id {
        return false;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let hex = text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    // Words with a year or a number behind them have few digits, and all in one place.
    let turns =
        text.as_bytes().windows(2).filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit()).count();
    hex || (digits >= 4 && letters >= 4 && turns >= 6)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hidden(key: &str, value: &Value) -> Option<&'static str> {
        why(AttributeScope::User, key, value)
    }

    #[test]
    fn what_is_secret_or_personal_is_not_shown() {
        let by_key = [
            "password",
            "user_password",
            "apiKey",
            "api_key",
            "API-KEY",
            "accessToken",
            "refresh_token",
            "clientSecret",
            "stripe.secret",
            "auth",
            "sessionId",
            "email",
            "workEmail",
            "e_mail_address",
            "phone",
            "phoneNumber",
            "mobile",
            "first_name",
            "lastName",
            "name",
            "username",
            "street",
            "zip",
            "date_of_birth",
            "birthday",
            "ssn",
            "iban",
            "credit_card",
            "ip",
            "lastIp",
            "avatar",
            "tokens",
            "emails",
            "recovery_codes",
            "webhook_url",
        ];
        for key in by_key {
            assert!(hidden(key, &json!("x")).is_some(), "{key}");
        }
        let by_value = [
            json!("jane@acme.example"),
            json!("Jane <jane@acme.example>"),
            json!("+49 30 1234567"),
            json!("(030) 123-4567"),
            json!("4111 1111 1111 1111"),
            json!("4242424242424242"),
            json!(4242424242424242u64),
            json!("DE89 3704 0044 0532 0130 00"),
            json!("sk_live_51H8x"),
            json!("ghp_0123456789abcdef"),
            json!("-----BEGIN PRIVATE KEY-----"),
            json!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"),
            json!("Bearer abc"),
            json!("9f86d081884c7d659a2feaa0c55ad015"),
            json!("a8Jk2Lm9Qr4Tz7Wx1Yb5Nd3F"),
            json!("postgres://u:p@h/db"),
            json!("https://x.example/r?token=1"),
            json!("192.168.0.1"),
            json!("2001:db8::1"),
        ];
        for value in by_value {
            assert!(hidden("x", &value).is_some(), "{value}");
        }
    }

    #[test]
    fn what_is_plain_is_shown() {
        let keys = [
            "plan",
            "role",
            "space_id",
            "seats",
            "mrr",
            "key",
            "keyboard",
            "tokenized",
            "passenger",
            "emailed_reports",
            "monkey",
            "company_id",
            "signed_up_at",
            "customer_for",
            "acquisition_channel",
            "tier",
        ];
        for key in keys {
            assert_eq!(hidden(key, &json!("pro")), None, "{key}");
        }
        let values = [
            json!("pro"),
            json!("2024-01-15"),
            json!("2024-01-15T10:00:00Z"),
            json!("2024-01-15 10:00:00"),
            json!(1234567),
            json!("1234567"),
            json!(1700000000),
            json!("usr_01K0000000000000000000000A"),
            json!("space_789"),
            json!("9f86d081-884c-4d65-9a2f-eaa0c55ad015"),
            json!("https://acme.example/pricing"),
            json!("a sentence of 24 characters"),
            json!("enterprise-annual-2024-plan"),
            json!(true),
            json!(null),
            json!("v1.2.3"),
            json!("100 %"),
        ];
        for value in values {
            assert_eq!(hidden("x", &value), None, "{value}");
        }
        assert_eq!(why(AttributeScope::Company, "name", &json!("Acme")), None);
    }

    #[test]
    fn samples_are_looked_through_and_stay_small() {
        let value = json!({"stripe": {"connected": true, "api_key": "x", "owner": "jane@acme.example"}, "items": [1, 2, 3, 4]});
        let (shown, redacted) = sample(AttributeScope::User, "integrations", &value);
        assert!(redacted);
        assert_eq!(
            shown,
            json!({"stripe": {"connected": true, "api_key": "[redacted: secret]", "owner": "[redacted: email]"},
                   "items": [1, 2, 3, "…"]})
        );
        let (long, _) = sample(AttributeScope::User, "note", &json!("ä ".repeat(5_000)));
        assert!(long.as_str().unwrap().chars().count() <= SAMPLE_CHARS + 1);
        let mut deep = json!(1);
        for _ in 0..60 {
            deep = json!([[deep], {"a".repeat(1_000): 1}]);
        }
        assert!(sample(AttributeScope::User, "deep", &deep).0.to_string().len() < 100_000);
    }
}
