//! How a key is printed: humanised where that loses nothing, else as it is.

use std::borrow::Cow;

use super::sanitise::clean;
use super::text::{MARKED_SPACE, TextStyle, is_plain_key};

/// Words that keep their own spelling: as they are written in lower case, and as they are printed.
/// Sorted by the first. `docs/prompt-format.md` shows the same table; a test compares the two.
pub const SPELLINGS: &[(&str, &str)] = &[
    ("ab", "AB"),
    ("activecampaign", "ActiveCampaign"),
    ("ai", "AI"),
    ("api", "API"),
    ("apis", "APIs"),
    ("arpu", "ARPU"),
    ("arr", "ARR"),
    ("aws", "AWS"),
    ("b2b", "B2B"),
    ("b2c", "B2C"),
    ("bigcommerce", "BigCommerce"),
    ("bigquery", "BigQuery"),
    ("cdn", "CDN"),
    ("ceo", "CEO"),
    ("cfo", "CFO"),
    ("chartmogul", "ChartMogul"),
    ("ci", "CI"),
    ("clickup", "ClickUp"),
    ("cpu", "CPU"),
    ("crm", "CRM"),
    ("csat", "CSAT"),
    ("csm", "CSM"),
    ("css", "CSS"),
    ("csv", "CSV"),
    ("cta", "CTA"),
    ("cto", "CTO"),
    ("dns", "DNS"),
    ("docusign", "DocuSign"),
    ("erp", "ERP"),
    ("eu", "EU"),
    ("faq", "FAQ"),
    ("gcp", "GCP"),
    ("gdpr", "GDPR"),
    ("github", "GitHub"),
    ("gitlab", "GitLab"),
    ("gmail", "Gmail"),
    ("gmv", "GMV"),
    ("gpu", "GPU"),
    ("graphql", "GraphQL"),
    ("hipaa", "HIPAA"),
    ("hr", "HR"),
    ("html", "HTML"),
    ("http", "HTTP"),
    ("https", "HTTPS"),
    ("hubspot", "HubSpot"),
    ("iban", "IBAN"),
    ("id", "ID"),
    ("ids", "IDs"),
    ("ios", "iOS"),
    ("ip", "IP"),
    ("javascript", "JavaScript"),
    ("json", "JSON"),
    ("jwt", "JWT"),
    ("kpi", "KPI"),
    ("kpis", "KPIs"),
    ("kyc", "KYC"),
    ("linkedin", "LinkedIn"),
    ("ltv", "LTV"),
    ("macos", "macOS"),
    ("mailchimp", "Mailchimp"),
    ("mau", "MAU"),
    ("mfa", "MFA"),
    ("mongodb", "MongoDB"),
    ("mrr", "MRR"),
    ("mysql", "MySQL"),
    ("netsuite", "NetSuite"),
    ("nps", "NPS"),
    ("oauth", "OAuth"),
    ("openai", "OpenAI"),
    ("os", "OS"),
    ("pagerduty", "PagerDuty"),
    ("pandadoc", "PandaDoc"),
    ("paypal", "PayPal"),
    ("pci", "PCI"),
    ("pdf", "PDF"),
    ("php", "PHP"),
    ("postgresql", "PostgreSQL"),
    ("posthog", "PostHog"),
    ("quickbooks", "QuickBooks"),
    ("ram", "RAM"),
    ("roi", "ROI"),
    ("rss", "RSS"),
    ("saas", "SaaS"),
    ("saml", "SAML"),
    ("savvycal", "SavvyCal"),
    ("scim", "SCIM"),
    ("sdk", "SDK"),
    ("sendgrid", "SendGrid"),
    ("seo", "SEO"),
    ("sku", "SKU"),
    ("sla", "SLA"),
    ("smb", "SMB"),
    ("sms", "SMS"),
    ("smtp", "SMTP"),
    ("soc2", "SOC2"),
    ("sql", "SQL"),
    ("sqlite", "SQLite"),
    ("ssl", "SSL"),
    ("sso", "SSO"),
    ("surveymonkey", "SurveyMonkey"),
    ("tiktok", "TikTok"),
    ("tls", "TLS"),
    ("ui", "UI"),
    ("uk", "UK"),
    ("uri", "URI"),
    ("url", "URL"),
    ("urls", "URLs"),
    ("usa", "USA"),
    ("usd", "USD"),
    ("utc", "UTC"),
    ("utm", "UTM"),
    ("uuid", "UUID"),
    ("ux", "UX"),
    ("vat", "VAT"),
    ("vip", "VIP"),
    ("voip", "VoIP"),
    ("vpn", "VPN"),
    ("wau", "WAU"),
    ("whatsapp", "WhatsApp"),
    ("woocommerce", "WooCommerce"),
    ("wordpress", "WordPress"),
    ("xml", "XML"),
    ("youtube", "YouTube"),
    ("zoominfo", "ZoomInfo"),
];

/// The name that a key is shown by: `space_id` is `Space ID`, `facebookAds` is `Facebook Ads`.
///
/// Words are parted at `_`, `-`, `.`, `/`, spaces and where a small letter meets a capital; each is
/// written as [`SPELLINGS`] has it, or else with a capital first letter. A key with other
/// characters, or none that could begin a word, is returned unchanged.
pub fn humanise(key: &str) -> Cow<'_, str> {
    if !is_plain_key(key) {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len() + 4);
    push_humanised(&mut out, key);
    if out.is_empty() { Cow::Borrowed(key) } else { Cow::Owned(out) }
}

/// Writes a plain key humanised; writes nothing if no word is in it.
fn push_humanised(out: &mut String, key: &str) {
    for chunk in key.split(['_', '-', '.', '/', ' ']).filter(|chunk| !chunk.is_empty()) {
        if let Some(spelling) = spelling(chunk) {
            push_word(out, spelling);
            continue;
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            let (word, tail) = rest.split_at(word_end(rest));
            match spelling(word) {
                Some(spelling) => push_word(out, spelling),
                None => push_capitalised(out, word),
            }
            rest = tail;
        }
    }
}

fn push_word(out: &mut String, word: &str) {
    if !out.is_empty() {
        out.push(' ');
    }
    out.push_str(word);
}

fn push_capitalised(out: &mut String, word: &str) {
    push_word(out, "");
    let mut chars = word.chars();
    if let Some(first) = chars.next() {
        out.push(capital(first));
        out.push_str(chars.as_str());
    }
}

/// The capital of a letter, where it is one letter and the script sets words in it. (Georgian has
/// capitals in Unicode, but no word begins with one.)
fn capital(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) if (c as u32) < 0x590 && !matches!(c as u32, 0x1C4..=0x1CC | 0x1F1..=0x1F3) => one,
        _ => c,
    }
}

/// Where the first word of a chunk ends: `facebook|Ads`, `HTTP|Server`, `mrr|USD`.
fn word_end(chunk: &str) -> usize {
    let mut chars = chunk.char_indices().peekable();
    let mut previous = '\0';
    while let Some((at, c)) = chars.next() {
        if at > 0 && c.is_uppercase() {
            let next_is_small = chars.peek().is_some_and(|(_, next)| next.is_lowercase());
            if !previous.is_uppercase() || next_is_small {
                return at;
            }
        }
        previous = c;
    }
    chunk.len()
}

fn spelling(word: &str) -> Option<&'static str> {
    if word.len() > 14 || !word.is_ascii() {
        return None;
    }
    let mut small = [0_u8; 14];
    let small = &mut small[..word.len()];
    small.copy_from_slice(word.as_bytes());
    small.make_ascii_lowercase();
    SPELLINGS.binary_search_by(|(known, _)| known.as_bytes().cmp(small)).ok().map(|at| SPELLINGS[at].1)
}

/// The printed names of sibling keys, in their order, no two alike: humanised (if `human`); as they
/// are where two would be alike; with invisible characters shown where that does not part them; numbered at last.
pub(crate) fn names(keys: &[&str], human: bool, style: TextStyle) -> Vec<String> {
    let first = if human { Stage::Human } else { Stage::Raw };
    let mut printed: Vec<String> = keys.iter().map(|key| print(key, first, style)).collect();
    if keys.len() < 2 {
        return printed;
    }
    let mut stage = vec![first; keys.len()];
    loop {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by(|a, b| printed[*a].cmp(&printed[*b]).then(a.cmp(b)));
        let mut changed = false;
        for group in order.chunk_by(|a, b| printed[*a] == printed[*b]).filter(|group| group.len() > 1) {
            for (number, &at) in group.iter().enumerate() {
                changed = true;
                stage[at] = match stage[at] {
                    Stage::Human => Stage::Raw,
                    Stage::Raw => Stage::Revealed,
                    Stage::Revealed | Stage::Numbered(_) => Stage::Numbered(number + 1),
                };
            }
        }
        if !changed {
            return printed;
        }
        for (at, key) in keys.iter().enumerate() {
            printed[at] = print(key, stage[at], style);
        }
        // A number is the last word: siblings are numbered apart, and no other name ends in one.
        if stage.iter().any(|stage| matches!(stage, Stage::Numbered(_))) {
            return printed;
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Human,
    Raw,
    Revealed,
    Numbered(usize),
}

fn print(key: &str, stage: Stage, style: TextStyle) -> String {
    let mut out = String::with_capacity(key.len() + 8);
    match stage {
        Stage::Human => {
            let cleaned = clean(key);
            if cleaned.cut == 0 && is_plain_key(&cleaned.text) {
                push_humanised(&mut out, &cleaned.text);
            }
            if out.is_empty() {
                style.write_key(&mut out, key, false);
            } else if style.mark_spaces {
                out = out.replace(' ', MARKED_SPACE.encode_utf8(&mut [0; 4]));
            }
        }
        Stage::Raw => style.write_key(&mut out, key, false),
        Stage::Revealed => style.write_key(&mut out, key, true),
        Stage::Numbered(number) => {
            style.write_key(&mut out, key, true);
            out.push_str(&format!(" #{number}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(keys: &[&str]) -> Vec<String> {
        names(keys, true, TextStyle::default())
    }

    #[test]
    fn the_table_is_sorted_and_says_something() {
        assert!(SPELLINGS.is_sorted_by(|a, b| a.0 < b.0));
        for (small, spelling) in SPELLINGS {
            assert_eq!(spelling.to_ascii_lowercase(), *small);
            assert!(small.len() <= 14, "{small}");
        }
    }

    #[test]
    fn keys_are_humanised() {
        for (key, name) in [
            ("space_id", "Space ID"),
            ("facebook_ads", "Facebook Ads"),
            ("hubspot", "HubSpot"),
            ("pandadocId", "PandaDoc ID"),
            ("signed_up_at", "Signed Up At"),
            ("mrrUSD", "MRR USD"),
            ("HTTPServer", "HTTP Server"),
            ("HubSpot", "HubSpot"),
            ("iosVersion", "iOS Version"),
            ("callback-url", "Callback URL"),
            ("user ids", "User IDs"),
            ("имя_клиента", "Имя Клиента"),
            ("ქართული", "ქართული"),
            ("会社名", "会社名"),
            ("2024_total", "2024 Total"),
            ("SKU", "SKU"),
            ("a: b", "a: b"),
        ] {
            assert_eq!(humanise(key), name);
        }
    }

    #[test]
    fn names_never_coincide() {
        assert_eq!(named(&["spaceId", "space_id", "tier"]), ["spaceId", "space_id", "Tier"]);
        assert_eq!(named(&["Plan", "plan"]), ["Plan", "plan"]);
        assert_eq!(named(&["plan", "pl\u{200b}an"]), ["\"plan\"", "\"pl{200B}an\""]);
        let long = ["x".repeat(1_500), "x".repeat(1_501)];
        let out = named(&[&long[0], &long[1]]);
        assert_ne!(out[0], out[1]);
    }
}
