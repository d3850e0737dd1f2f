//! The text: sections in their order, headers that nothing can forge, limits, the token budget.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::body::{Body, KEYS};
use super::budget::{Draft, dropped_note, fit};
use super::fields::{MONEY_FIELDS, RESERVED_PREFIX, Scope};
use super::merge::{Entry, Field, FieldValue, Merged, Origin, Party};
use super::names::{humanise, names};
use super::text::{MARKED_SPACE, Position, TextStyle};
use crate::domain::{ContextType, Rank};

/// Bytes of UTF-8 that a token is reckoned at. See [`estimate_tokens`].
pub const BYTES_PER_TOKEN: usize = 4;

/// Context entries that are printed at most.
pub const SECTIONS: usize = 100;

/// The header of the last section.
const BEHAVIOR_HEADER: &str = "[Behavior Context]";
/// Behind every entry's priority.
const LEAST_IMPORTANT: u8 = u8::MAX;

/// How many tokens a text is reckoned at: its bytes by four, rounded up.
///
/// An estimate without a tokenizer. English prose has 4 to 5 bytes a token, so it errs on the safe side
/// there; ids, hex and dense punctuation have 2 to 3, so it may be short by half; scripts of three bytes a
/// character have 2 to 4. Leave a quarter of room where the limit is hard.
pub fn estimate_tokens(text: &str) -> usize {
    text.len().div_ceil(BYTES_PER_TOKEN)
}

/// How the text is to look. The default is the reference's format, without a total budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenderOptions {
    /// Tokens ([`estimate_tokens`]) of the whole text; absent: each section has its own limit, and so no
    /// section can shorten another.
    pub budget_tokens: Option<usize>,
    /// Tokens of one section.
    pub section_tokens: usize,
    /// Names the origin of every field and entry: `claimed`, `synced`, `server`, `verified`, `manual`.
    pub labels: bool,
    /// Datamarks customers' texts: each of their spaces is replaced by a marker that is chosen by this
    /// seed, and that occurs nowhere else in the text. Give a fresh random number for each prompt, and
    /// tell the model that marked text is data ([`Rendered::marker`]).
    pub spotlight: Option<u64>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { budget_tokens: None, section_tokens: 4_000, labels: false, spotlight: None }
    }
}

/// The text and what is to be known about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rendered {
    /// What the model reads; no line break at the end.
    pub text: String,
    /// Tokens of the text ([`estimate_tokens`]).
    pub tokens: usize,
    /// Its sections, in order.
    pub sections: Vec<Section>,
    /// What is left out.
    pub trimmed: Vec<Trimmed>,
    /// What stands for a space of a customer's text, in a spotlit prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// A section as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Section {
    /// Its header line with its marks.
    pub name: String,
    /// Tokens ([`estimate_tokens`]).
    pub tokens: usize,
    /// Bytes of UTF-8.
    pub bytes: usize,
    /// Whether a line of it is left out or a text in it is cut.
    pub truncated: bool,
}

/// What a section lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Trimmed {
    /// Its header line with its marks.
    pub section: String,
    /// How many of its own keys or items are not printed.
    pub hidden: usize,
    /// The section is not printed at all.
    pub dropped: bool,
}

/// Prints what has been merged. The format is specified in `docs/prompt-format.md`.
pub fn render(merged: &Merged<'_>, options: &RenderOptions) -> Rendered {
    let style = TextStyle { mark_spaces: options.spotlight.is_some() };
    let mut drafts = Vec::with_capacity(merged.entries.len() + 2);
    if let Some(user) = &merged.user {
        let body = traits(user, style, options.labels, |_| true);
        if !body.units.is_empty() {
            drafts.push(Draft {
                name: "[User Profile]".to_owned(),
                description: String::new(),
                body,
                priority: 0,
            });
        }
    }
    if let Some(company) = &merged.company {
        let name = company_header(company, style, options.labels);
        let body = traits(company, style, options.labels, |key| key != "name");
        drafts.push(Draft { name, description: String::new(), body, priority: 1 });
    }
    let test = merged.company.as_ref().is_some_and(|company| company.test);
    entry_drafts(merged, style, options.labels, test, &mut drafts);
    let behavior = merged.behavior.and_then(|text| behavior_draft(text, style, options.labels));
    let most = SECTIONS + 2 + usize::from(behavior.is_some());
    drafts.extend(behavior);
    assemble(drafts, most, options)
}

/// The last section: a bullet for each line of what the visitor is doing. All of it is a claim.
fn behavior_draft(text: &str, style: TextStyle, labels: bool) -> Option<Draft> {
    let lines: Vec<Value> = text
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !super::sanitise::clean(line).text.trim().is_empty())
        .map(Value::from)
        .collect();
    if lines.is_empty() {
        return None;
    }
    let mut body = Body::new(style);
    body.entry(None, &Value::Array(lines));
    body.units.iter_mut().for_each(|unit| unit.claimed = true);
    let mut name = BEHAVIOR_HEADER.to_owned();
    if labels {
        push_marks(&mut name, &[origin_word(Origin::Request, Rank::Claimed)]);
    }
    Some(Draft { name, description: String::new(), body, priority: LEAST_IMPORTANT })
}

/// Sections beyond the number of `most` go, the least important first.
fn assemble(mut drafts: Vec<Draft>, most: usize, options: &RenderOptions) -> Rendered {
    let mut trimmed = Vec::new();
    let mut dropped = Vec::new();
    let section_bytes = options.section_tokens.saturating_mul(BYTES_PER_TOKEN);
    for (at, draft) in drafts.iter_mut().enumerate() {
        if draft.size() > section_bytes && !draft.shrink(section_bytes) {
            dropped.push(at);
        }
    }
    let mut rest: Vec<usize> = (0..drafts.len()).filter(|at| !dropped.contains(at)).collect();
    if rest.len() > most {
        rest.sort_by_key(|&at| (drafts[at].priority, at));
        dropped.extend(rest.drain(most..));
    }
    let mut remaining = Vec::with_capacity(drafts.len());
    let mut lost = 0;
    for (at, draft) in drafts.into_iter().enumerate() {
        if dropped.contains(&at) {
            lost += 1;
            trimmed.push(Trimmed { section: draft.name, hidden: draft.body.units.len(), dropped: true });
        } else {
            remaining.push(draft);
        }
    }
    let mut drafts = remaining;
    if let Some(budget) = options.budget_tokens {
        let bytes = budget.saturating_mul(BYTES_PER_TOKEN);
        let note = if lost > 0 { dropped_note(usize::MAX).len() + 2 } else { 0 };
        let gone = fit(&mut drafts, bytes.saturating_sub(note));
        for at in gone.into_iter().rev() {
            let draft = drafts.remove(at);
            lost += 1;
            trimmed.push(Trimmed { section: draft.name, hidden: draft.body.units.len(), dropped: true });
        }
    }
    let mut texts: Vec<String> = drafts.iter().map(Draft::print).collect();
    let marker = options.spotlight.map(|seed| choose_marker(&texts, seed));
    let marked = |text: &mut String| {
        if let Some(marker) = &marker {
            *text = text.replace(MARKED_SPACE, marker);
        }
    };
    texts.iter_mut().for_each(marked);
    let mut sections = Vec::with_capacity(drafts.len());
    for (mut draft, text) in drafts.into_iter().zip(&texts) {
        let truncated = draft.is_cut();
        marked(&mut draft.name);
        if draft.body.hidden > 0 {
            trimmed.push(Trimmed { section: draft.name.clone(), hidden: draft.body.hidden, dropped: false });
        }
        sections.push(Section {
            name: draft.name,
            tokens: estimate_tokens(text),
            bytes: text.len(),
            truncated,
        });
    }
    trimmed.iter_mut().for_each(|trimmed| marked(&mut trimmed.section));
    if lost > 0 {
        texts.push(dropped_note(lost));
    }
    let text = texts.join("\n\n");
    Rendered { tokens: estimate_tokens(&text), text, sections, trimmed, marker }
}

/// A caret and letters that no text of this prompt contains.
fn choose_marker(texts: &[String], seed: u64) -> String {
    let mut number = seed % (26 * 26);
    let mut letters = 2;
    loop {
        let mut marker = String::from("^");
        let mut rest = number;
        for _ in 0..letters {
            marker.push(char::from(b'a' + (rest % 26) as u8));
            rest /= 26;
        }
        if !texts.iter().any(|text| text.contains(&marker)) {
            return marker;
        }
        // A text of n bytes contains at most n markers: some longer one is free.
        number = (number + 1) % 26_u64.pow(letters);
        if number == seed % 26_u64.pow(letters) {
            letters += 1;
        }
    }
}

fn origin_word(origin: Origin, rank: Rank) -> &'static str {
    match (origin, rank) {
        (Origin::Token, _) => "verified",
        (_, Rank::Claimed) => "claimed",
        (_, Rank::Synced) => "synced",
        (_, Rank::Server) => "server",
        (_, Rank::Manual) => "manual",
    }
}

fn is_absent(value: &FieldValue<'_>) -> bool {
    matches!(value, FieldValue::Json(Value::Null))
}

fn traits(party: &Party<'_>, style: TextStyle, labels: bool, printed: impl Fn(&str) -> bool) -> Body {
    let mut body = Body::new(style);
    let mut fields: Vec<&Field<'_>> = party
        .fields
        .iter()
        .filter(|field| field.in_prompt && !is_absent(&field.value) && printed(field.key))
        .collect();
    if fields.len() > KEYS {
        // A flood of claims must not push out what is known.
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by_key(|&at| (fields[at].rank == Rank::Claimed, at));
        order.truncate(KEYS);
        order.sort_unstable();
        body.hidden = fields.len() - KEYS;
        fields = order.into_iter().map(|at| fields[at]).collect();
    }
    body.reserve_keys(fields.len());
    let keys: Vec<&str> = fields.iter().map(|field| field.key).collect();
    let names = names(&keys, true, style);
    let mut notes = String::new();
    for (field, name) in fields.into_iter().zip(names) {
        notes.clear();
        if labels {
            notes.push_str(" -- ");
            notes.push_str(origin_word(field.origin, field.rank));
        }
        describe(&mut notes, field.description);
        body.unit(field.rank == Rank::Claimed, |body| match field.value {
            FieldValue::Json(Value::String(text)) if MONEY_FIELDS.contains(&field.key) => {
                // `5 USD` as a text must not look like an amount.
                body.text.push('\n');
                body.text.push_str(&name);
                body.text.push_str(": ");
                body.cut |= style.write_quoted(&mut body.text, text);
                body.text.push_str(&notes);
            }
            FieldValue::Json(value) => body.keyed("", &name, value, 0, 0, &notes),
            FieldValue::Money(money) => {
                use std::fmt::Write as _;
                let _ = write!(body.text, "\n{name}: {money}{notes}");
            }
        });
    }
    body
}

/// ` -- DESCRIPTION`. The operator wrote it: it is no customer's text and is not spotlit.
fn describe(out: &mut String, description: Option<&str>) {
    if let Some(description) = description.filter(|text| !text.trim().is_empty()) {
        out.push_str(" -- ");
        TextStyle::default().write(out, description.trim(), Position::Line);
    }
}

fn company_header(company: &Party<'_>, style: TextStyle, labels: bool) -> String {
    let mut header = String::from("[Company");
    let mut marks = Vec::new();
    if company.test {
        marks.push("TEST");
    }
    let name = company.field("name").filter(|field| field.in_prompt && !is_absent(&field.value));
    if let Some(field) = name {
        let text = match field.value {
            FieldValue::Json(Value::String(text)) => text.clone(),
            FieldValue::Json(value) => value.to_string(),
            FieldValue::Money(money) => money.to_string(),
        };
        if !super::sanitise::clean(&text).text.trim().is_empty() {
            header.push_str(": ");
            style.write_in_header(&mut header, &text, |_| false);
            if labels {
                marks.push(origin_word(field.origin, field.rank));
            }
        }
    }
    header.push(']');
    push_marks(&mut header, &marks);
    header
}

fn push_marks(header: &mut String, marks: &[&str]) {
    if !marks.is_empty() {
        header.push_str(" (");
        header.push_str(&marks.join(", "));
        header.push(')');
    }
}

/// In small letters and NFKC.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        text.nfkc().flat_map(char::to_lowercase).collect()
    }
}

/// Whether a label reads like one of the three headers that are not an entry's.
fn is_reserved_label(label: &str) -> bool {
    let mut folded = fold(label);
    folded.retain(|c| !c.is_whitespace());
    folded == "userprofile"
        || folded == "behaviorcontext"
        || folded == "company"
        || folded.starts_with("company:")
}

fn type_word(kind: ContextType) -> &'static str {
    match kind {
        ContextType::List => "list",
        ContextType::Integration => "integration",
        ContextType::Error => "error",
        ContextType::Status => "status",
        ContextType::Config => "config",
        ContextType::Feature => "feature",
        ContextType::Metric => "metric",
        ContextType::Relationship => "relationship",
        ContextType::Custom => "custom",
    }
}

fn entry_header(entry: &Entry<'_>, style: TextStyle, labels: bool, test: bool, key: Option<&str>) -> String {
    let mut header = String::from("[");
    let label = entry.entry.label.as_str();
    if super::sanitise::clean(label).text.trim().is_empty() {
        style.write_in_header(&mut header, &humanise(entry.key), is_reserved_label);
    } else {
        style.write_in_header(&mut header, label, is_reserved_label);
    }
    header.push(']');
    let mut marks: Vec<&str> = entry.entry.kind.map(type_word).into_iter().collect();
    if entry.shared && entry.scope == Scope::Company {
        marks.push("company");
    }
    if test && entry.scope == Scope::Company && entry.key.starts_with(RESERVED_PREFIX) {
        marks.push("TEST");
    }
    let key = key.map(|key| format!("key: {key}"));
    marks.extend(key.as_deref());
    if labels {
        marks.push(origin_word(entry.origin, entry.rank));
    }
    push_marks(&mut header, &marks);
    header
}

/// Smaller is more important: what is claimed last, within that errors first, long lists last.
fn priority(entry: &Entry<'_>) -> u8 {
    let kind = match entry.entry.kind {
        Some(ContextType::Error) => 2,
        _ if entry.key.starts_with(RESERVED_PREFIX) => 3,
        Some(ContextType::Integration) => 4,
        Some(ContextType::Status) => 5,
        Some(ContextType::Metric) => 6,
        Some(ContextType::Feature) => 7,
        Some(ContextType::Config) => 8,
        Some(ContextType::Relationship) => 9,
        Some(ContextType::Custom) | None => 10,
        Some(ContextType::List) => 11,
    };
    if entry.rank == Rank::Claimed { kind + 20 } else { kind }
}

fn entry_drafts(merged: &Merged<'_>, style: TextStyle, labels: bool, test: bool, drafts: &mut Vec<Draft>) {
    let entries: Vec<&Entry<'_>> = merged.entries.iter().filter(|entry| entry.in_prompt).collect();
    let mut headers: Vec<String> =
        entries.iter().map(|entry| entry_header(entry, style, labels, test, None)).collect();
    // Two headers that read alike name their keys.
    let folded: Vec<String> = headers.iter().map(|header| fold(header)).collect();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_unstable_by(|a, b| folded[*a].cmp(&folded[*b]));
    for group in order.chunk_by(|a, b| folded[*a] == folded[*b]).filter(|group| group.len() > 1) {
        let keys: Vec<&str> = group.iter().map(|&at| entries[at].key).collect();
        for (&at, key) in group.iter().zip(names(&keys, false, style)) {
            headers[at] = entry_header(entries[at], style, labels, test, Some(&key));
        }
    }
    for (entry, name) in entries.into_iter().zip(headers) {
        let mut description = String::new();
        describe(&mut description, entry.description);
        let mut body = Body::new(style);
        body.entry(entry.entry.kind, &entry.entry.value);
        if entry.rank == Rank::Claimed {
            body.units.iter_mut().for_each(|unit| unit.claimed = true);
        }
        drafts.push(Draft { name, description, body, priority: priority(entry) });
    }
}
