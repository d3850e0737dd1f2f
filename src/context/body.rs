//! The lines under a header: what each type of entry and each JSON value looks like.
//!
//! `docs/prompt-format.md`, "Bodies", is the specification.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use super::names::names;
use super::sanitise::clean;
use super::text::{Position, TextStyle};
use crate::domain::ContextType;

/// Containers within containers that are printed; the value of an entry or trait is the first.
pub(crate) const DEPTH: usize = 5;
/// Keys, and list items, that are printed in one section.
pub(crate) const KEYS: usize = 200;

/// A line of a section with what hangs below it: what the budget keeps or drops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// A browser's claim: dropped before anything that is not.
    pub(crate) claimed: bool,
}

/// Writes the lines of one section; every line begins with its line break.
pub(crate) struct Body {
    pub(crate) text: String,
    pub(crate) units: Vec<Unit>,
    /// Keys or items of the section itself that are left out.
    pub(crate) hidden: usize,
    /// Something below them is left out or cut.
    pub(crate) cut: bool,
    pub(crate) style: TextStyle,
    keys_left: usize,
    items_left: usize,
}

impl Body {
    pub(crate) fn new(style: TextStyle) -> Self {
        let text = String::with_capacity(256);
        Self { text, units: Vec::new(), hidden: 0, cut: false, style, keys_left: KEYS, items_left: KEYS }
    }

    /// Takes `count` keys of the section itself out of the allowance, so that what is nested in the first
    /// of them cannot crowd out the last.
    pub(crate) fn reserve_keys(&mut self, count: usize) {
        self.keys_left = self.keys_left.saturating_sub(count);
    }

    pub(crate) fn unit(&mut self, claimed: bool, write: impl FnOnce(&mut Self)) {
        let start = self.text.len();
        write(self);
        self.units.push(Unit { start, end: self.text.len(), claimed });
    }

    /// The whole body of a context entry.
    pub(crate) fn entry(&mut self, kind: Option<ContextType>, value: &Value) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                let shown = items.len().min(KEYS);
                self.items_left -= shown;
                self.hidden = items.len() - shown;
                for item in &items[..shown] {
                    self.unit(false, |body| match (kind, item) {
                        (Some(ContextType::Error), Value::Object(map)) if is_error(map) => {
                            body.error(None, map, 0, 1)
                        }
                        (Some(ContextType::Integration), Value::Object(map)) if descriptor(map).is_some() => {
                            body.listed_service(map);
                        }
                        _ => body.bullet(item, 0, 1),
                    });
                }
            }
            Value::Object(map) if kind == Some(ContextType::Error) && is_error(map) => {
                self.unit(false, |body| body.error(None, map, 0, 0));
            }
            Value::Object(map) if !map.is_empty() => {
                let human = kind != Some(ContextType::Relationship);
                let shown = map.len().min(KEYS);
                self.reserve_keys(shown);
                self.hidden = map.len() - shown;
                let members = sorted(map);
                let names = self.names(&members[..shown], human);
                for ((_, value), name) in members.into_iter().zip(names) {
                    self.unit(false, |body| match kind {
                        Some(ContextType::Integration) => body.service(&name, value),
                        Some(ContextType::Feature) => body.feature(&name, value),
                        Some(ContextType::Error) => match value {
                            Value::Object(map) if is_error(map) => body.error(Some(&name), map, 0, 1),
                            _ => body.keyed("- ", &name, value, 0, 1, ""),
                        },
                        Some(ContextType::Relationship) => body.keyed("- ", &name, value, 0, 1, ""),
                        _ => body.keyed("", &name, value, 0, 1, ""),
                    });
                }
            }
            scalar => self.unit(false, |body| {
                body.line(0);
                body.leaf(scalar, Position::Bare);
            }),
        }
    }

    /// `PREFIX NAME: VALUE`, or `PREFIX NAME:` with the members of the value below. `depth` is the number of
    /// containers around the value, `notes` is what stands at the end of the first line.
    pub(crate) fn keyed(
        &mut self,
        prefix: &str,
        name: &str,
        value: &Value,
        indent: usize,
        depth: usize,
        notes: &str,
    ) {
        self.line(indent);
        self.text.push_str(prefix);
        self.text.push_str(name);
        self.text.push(':');
        if self.opens(value, depth) {
            self.text.push_str(notes);
            self.members(value, indent + 2, depth + 1);
        } else {
            self.text.push(' ');
            self.leaf_or_count(value, Position::Line);
            self.text.push_str(notes);
        }
    }

    fn line(&mut self, indent: usize) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', indent));
    }

    fn names(&self, members: &[(&str, &Value)], human: bool) -> Vec<String> {
        let keys: Vec<&str> = members.iter().map(|(key, _)| *key).collect();
        names(&keys, human, self.style)
    }

    /// Whether the members of a value at this depth are printed: a container, not empty, not too deep,
    /// and something of the allowance is left.
    fn opens(&self, value: &Value, depth: usize) -> bool {
        match value {
            Value::Array(items) => !items.is_empty() && depth < DEPTH && self.items_left > 0,
            Value::Object(map) => !map.is_empty() && depth < DEPTH && self.keys_left > 0,
            _ => false,
        }
    }

    /// A scalar, or an empty container.
    fn leaf(&mut self, value: &Value, position: Position) {
        match value {
            Value::Null => self.text.push_str("null"),
            Value::Bool(true) => self.text.push_str("true"),
            Value::Bool(false) => self.text.push_str("false"),
            Value::Number(number) => {
                let _ = write!(self.text, "{number}");
            }
            Value::String(text) => self.cut |= self.style.write(&mut self.text, text, position),
            Value::Array(_) => self.text.push_str("(empty list)"),
            Value::Object(_) => self.text.push_str("(empty object)"),
        }
    }

    /// As [`Body::leaf`]; for a container that is not opened, how much is in it.
    fn leaf_or_count(&mut self, value: &Value, position: Position) {
        let (count, what) = match value {
            Value::Array(items) if !items.is_empty() => (items.len(), "items"),
            Value::Object(map) if !map.is_empty() => (map.len(), "keys"),
            _ => return self.leaf(value, position),
        };
        self.cut = true;
        let _ = write!(self.text, "({count} {what} not shown)");
    }

    /// The members of a container below its line.
    fn members(&mut self, value: &Value, indent: usize, depth: usize) {
        let hidden = match value {
            Value::Array(items) => {
                let shown = items.len().min(self.items_left);
                self.items_left -= shown;
                for item in &items[..shown] {
                    self.bullet(item, indent, depth);
                }
                items.len() - shown
            }
            Value::Object(map) => {
                let members = sorted(map);
                let shown = members.len().min(self.keys_left);
                self.keys_left -= shown;
                let names = self.names(&members[..shown], true);
                for ((_, value), name) in members.iter().zip(names) {
                    self.keyed("", &name, value, indent, depth, "");
                }
                members.len() - shown
            }
            _ => 0,
        };
        if hidden > 0 {
            self.cut = true;
            self.line(indent);
            let _ = write!(self.text, "({hidden} more not shown)");
        }
    }

    /// An item of a list; `depth` is the number of containers around it.
    fn bullet(&mut self, item: &Value, indent: usize, depth: usize) {
        if let Value::Object(map) = item
            && self.opens_item(map, depth)
        {
            return self.described(map, indent, depth);
        }
        self.line(indent);
        self.text.push_str("- ");
        if self.opens(item, depth) {
            self.text.push_str("(list)");
            self.members(item, indent + 2, depth + 1);
        } else {
            self.leaf_or_count(item, Position::Bare);
        }
    }

    /// An item's descriptor and status are printed even when the allowance of keys is used up.
    fn opens_item(&self, map: &Map<String, Value>, depth: usize) -> bool {
        !map.is_empty()
            && depth < DEPTH
            && (self.keys_left > 0 || descriptor(map).is_some() || map.get("status").is_some_and(is_scalar))
    }

    /// `- "DESCRIPTOR" (key: value, …) -- STATUS`, and containers below.
    fn described(&mut self, map: &Map<String, Value>, indent: usize, depth: usize) {
        self.line(indent);
        self.text.push('-');
        let head = descriptor(map);
        if let Some((_, text)) = head {
            self.text.push(' ');
            self.cut |= self.style.write_quoted(&mut self.text, text);
        }
        let status = map.get("status").filter(|status| is_scalar(status));
        let skip =
            |key: &str| head.is_some_and(|(head, _)| head == key) || (status.is_some() && key == "status");
        let nested = self.fields(map, skip);
        if head.is_none() && self.text.ends_with('-') {
            self.text.push_str(" (object)");
        }
        if let Some(status) = status {
            self.text.push_str(" -- ");
            self.leaf(status, Position::Line);
        }
        self.below(nested, indent, depth);
    }

    /// ` (key: value, …)` of the scalar members that are not skipped; answers the containers.
    fn fields<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        skip: impl Fn(&str) -> bool,
    ) -> Vec<(String, &'v Value)> {
        let members: Vec<(&str, &Value)> = sorted(map).into_iter().filter(|(key, _)| !skip(key)).collect();
        if members.is_empty() {
            return Vec::new();
        }
        let shown = members.len().min(self.keys_left);
        self.keys_left -= shown;
        let names = self.names(&members[..shown], false);
        let mut nested = Vec::new();
        let mut separator = " (";
        for ((_, value), name) in members.iter().zip(names) {
            if is_scalar(value) {
                self.text.push_str(separator);
                self.text.push_str(&name);
                self.text.push_str(": ");
                self.leaf(value, Position::Inline);
                separator = ", ";
            } else {
                nested.push((name, *value));
            }
        }
        if members.len() > shown {
            self.cut = true;
            let _ = write!(self.text, "{separator}{} more not shown", members.len() - shown);
            separator = ", ";
        }
        if separator == ", " {
            self.text.push(')');
        }
        nested
    }

    fn below(&mut self, nested: Vec<(String, &Value)>, indent: usize, depth: usize) {
        for (name, value) in nested {
            self.keyed("", &name, value, indent + 2, depth + 1, "");
        }
    }

    /// `- AREA (key: value, …): MESSAGE -- STATUS`. `name` stands for the area where the value is an object by area.
    fn error(&mut self, name: Option<&str>, map: &Map<String, Value>, indent: usize, depth: usize) {
        self.line(indent);
        self.text.push('-');
        let area = if name.is_none() { map.get("area").and_then(Value::as_str) } else { None };
        if let Some(name) = name {
            self.text.push(' ');
            self.text.push_str(name);
        }
        if let Some(area) = area {
            self.text.push(' ');
            self.cut |= self.style.write(&mut self.text, area, Position::Inline);
        }
        let status = map.get("status").filter(|status| is_scalar(status));
        let skip = |key: &str| {
            key == "message" || (area.is_some() && key == "area") || (status.is_some() && key == "status")
        };
        let nested = self.fields(map, skip);
        let mut position = Position::Line;
        if self.text.ends_with('-') {
            position = Position::Bare;
        } else {
            self.text.push(':');
        }
        self.text.push(' ');
        if let Some(message) = map.get("message") {
            self.leaf(message, position);
        }
        if let Some(status) = status {
            self.text.push_str(" -- ");
            self.leaf(status, Position::Line);
        }
        self.below(nested, indent, depth);
    }

    /// `- NAME: connected, STATUS (key: value, …)`, with `ERROR -- MESSAGE` where there is one.
    fn service(&mut self, name: &str, value: &Value) {
        match value {
            Value::Bool(_) | Value::String(_) => {
                self.line(0);
                let _ = write!(self.text, "- {name}: ");
                match value {
                    Value::Bool(connected) => self.text.push_str(connection_word(*connected)),
                    Value::String(status) => self.state(status),
                    _ => {}
                }
            }
            Value::Object(map) if !map.is_empty() => {
                self.line(0);
                let _ = write!(self.text, "- {name}:");
                self.service_state(map, |_| false);
            }
            _ => self.keyed("- ", name, value, 0, 1, ""),
        }
    }

    fn listed_service(&mut self, map: &Map<String, Value>) {
        let Some((head, text)) = descriptor(map) else { return };
        self.line(0);
        self.text.push_str("- ");
        self.cut |= self.style.write(&mut self.text, text, Position::Inline);
        self.text.push(':');
        self.service_state(map, |key| key == head);
    }

    fn service_state(&mut self, map: &Map<String, Value>, also_skip: impl Fn(&str) -> bool) {
        let connected = map.get("connected").and_then(Value::as_bool);
        let text_of = |key: &str| map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let absent = |key: &str| map.get(key).is_some_and(Value::is_null);
        let (status, error) = (text_of("status"), text_of("error"));
        let failed = error.is_some() || status.is_some_and(|status| status.eq_ignore_ascii_case("error"));
        let mut separator = " ";
        if let Some(connected) = connected {
            self.text.push_str(separator);
            self.text.push_str(connection_word(connected));
            separator = ", ";
        }
        if let Some(status) = status.filter(|status| !status.eq_ignore_ascii_case("error")) {
            self.text.push_str(separator);
            self.state(status);
            separator = ", ";
        }
        if failed {
            self.text.push_str(separator);
            self.text.push_str("ERROR");
        }
        let before = self.text.len();
        let nested = self.fields(map, |key| {
            also_skip(key)
                || (key == "connected" && connected.is_some())
                || (key == "status" && (status.is_some() || absent("status")))
                || (key == "error" && (error.is_some() || absent("error")))
        });
        if separator == " " && !failed && self.text.len() == before {
            self.text.push_str(" (object)");
        }
        if let Some(error) = error {
            self.text.push_str(" -- ");
            self.cut |= self.style.write(&mut self.text, error, Position::Line);
        }
        self.below(nested, 0, 1);
    }

    /// A status, quoted where it would read as one of our own words.
    fn state(&mut self, status: &str) {
        self.word(status, &["connected", "not connected", "error"]);
    }

    fn word(&mut self, text: &str, ours: &[&str]) {
        self.cut |= if reads_as_one_of(text, ours) {
            self.style.write_quoted(&mut self.text, text)
        } else {
            self.style.write(&mut self.text, text, Position::Inline)
        };
    }

    /// `- NAME: enabled`.
    fn feature(&mut self, name: &str, value: &Value) {
        let enabled = |on: bool| if on { "enabled" } else { "disabled" };
        match value {
            Value::Bool(on) => {
                self.line(0);
                let _ = write!(self.text, "- {name}: {}", enabled(*on));
            }
            Value::String(text) => {
                self.line(0);
                let _ = write!(self.text, "- {name}: ");
                self.word(text, &["enabled", "disabled"]);
            }
            Value::Object(map) if map.get("enabled").is_some_and(Value::is_boolean) => {
                self.line(0);
                let on = map.get("enabled").and_then(Value::as_bool).unwrap_or(false);
                let _ = write!(self.text, "- {name}: {}", enabled(on));
                let nested = self.fields(map, |key| key == "enabled");
                self.below(nested, 0, 1);
            }
            _ => self.keyed("- ", name, value, 0, 1, ""),
        }
    }
}

/// Whether a text is one of these words once it is sanitised or normalised.
fn reads_as_one_of(text: &str, words: &[&str]) -> bool {
    let is = |text: &str| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    is(text) || (!text.is_ascii() && is(&clean(text).text.nfkc().collect::<String>()))
}

fn connection_word(connected: bool) -> &'static str {
    if connected { "connected" } else { "not connected" }
}

/// A scalar or an empty container: one that fits on its line.
fn is_scalar(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    }
}

/// What an item of a list is called by: `label`, else `name`, else `title`, where that is a text.
fn descriptor(map: &Map<String, Value>) -> Option<(&'static str, &str)> {
    ["label", "name", "title"].into_iter().find_map(|key| Some((key, map.get(key)?.as_str()?)))
}

fn is_error(map: &Map<String, Value>) -> bool {
    map.get("message").is_some_and(Value::is_string)
}

/// Members by code point of their keys, whatever order the map keeps.
fn sorted(map: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut members: Vec<(&str, &Value)> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
    if !members.is_sorted_by(|a, b| a.0 < b.0) {
        members.sort_unstable_by(|a, b| a.0.cmp(b.0));
    }
    members
}
