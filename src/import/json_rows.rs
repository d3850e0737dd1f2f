//! Lines of JSON.
//!
//! An object is either what the API takes (`user_id`, `traits`, `context`, `company_id`) or flat: every member that
//! is not one of these is a trait.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::columns::OURS;
use super::{FileError, Plan, ROW_BYTES, Row, Source};
use crate::product::{ImportKind, ImportRow};

type Members = BTreeMap<String, Box<RawValue>>;

/// Reads JSON line by line.
pub(super) struct JsonRows<R: Read> {
    file: BufReader<R>,
    plan: Plan,
    line: u64,
    bytes: u64,
}

impl<R: Read> JsonRows<R> {
    pub(super) fn new(file: BufReader<R>, plan: Plan) -> Self {
        Self { file, plan, line: 0, bytes: 0 }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, FileError> {
        loop {
            let Some((line, whole)) = self.next_line()? else { return Ok(None) };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let said = if whole {
                self.said(&line)
            } else {
                Err(format!("the line has more than {ROW_BYTES} bytes"))
            };
            return Ok(Some(Row { line: self.line, source: Source::Line(line), said }));
        }
    }

    /// A line without its end, and whether all of it was kept.
    fn next_line(&mut self) -> Result<Option<(Vec<u8>, bool)>, FileError> {
        let (mut line, mut whole, mut any) = (Vec::new(), true, false);
        loop {
            let ahead = self.file.fill_buf()?;
            if ahead.is_empty() {
                break;
            }
            any = true;
            let end = ahead.iter().position(|b| *b == b'\n');
            let part = &ahead[..end.unwrap_or(ahead.len())];
            let room = ROW_BYTES.saturating_sub(line.len());
            whole &= part.len() <= room;
            line.extend_from_slice(&part[..part.len().min(room)]);
            let used = end.map_or(ahead.len(), |end| end + 1);
            self.bytes += used as u64;
            self.file.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.line += 1;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some((line, whole)))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn said(&self, line: &[u8]) -> Result<ImportRow, String> {
        let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
        if !text.trim_start().starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let mut members: Members = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        for ours in OURS {
            members.remove(ours);
        }
        let mut row = ImportRow { id: self.take_id(&mut members)?, ..ImportRow::default() };
        if self.plan.kind == ImportKind::Contacts
            && let Some(company) = take(&mut members, "company_id")
        {
            row.company_id = scalar("company_id", &company)?;
        }
        if let Some(context) = take(&mut members, "context") {
            row.context = object("context", &context)?;
        }
        let traits = match members.get("traits").map(|raw| raw.get().trim_start().starts_with('{')) {
            Some(true) => {
                let raw = members.remove("traits").map(|raw| raw.get().to_owned()).unwrap_or_default();
                if let Some(other) = members.keys().next() {
                    return Err(format!(
                        "{other}: beside traits only an id, company_id and context are known"
                    ));
                }
                serde_json::from_str::<Members>(&raw).map_err(|e| format!("traits: {e}"))?
            }
            _ => members,
        };
        let mut text = String::from("{");
        for (member, value) in &traits {
            let key = self.plan.key(member);
            let value = value.get();
            let is_empty = value == "\"\"";
            if key.is_empty() || (is_empty && !self.plan.empty_clears) {
                continue;
            }
            let comma = if text.len() > 1 { "," } else { "" };
            let value = if is_empty { "null" } else { value };
            text.push_str(&format!("{comma}{}:{value}", Value::from(key)));
        }
        text.push('}');
        row.traits = text;
        Ok(row)
    }

    /// The id, under the name that the plan or the API has for it.
    fn take_id(&self, members: &mut Members) -> Result<Option<String>, String> {
        if let Some(name) = &self.plan.id_column {
            // An address may be the id, and is the address all the same.
            let raw = if name == "email" { members.get(name).cloned() } else { members.remove(name) };
            return raw.map_or(Ok(None), |raw| scalar(name, &raw));
        }
        for name in self.plan.id_names() {
            let member = members.keys().find(|member| self.plan.key(member) == *name).cloned();
            if let Some(raw) = member.and_then(|member| members.remove(&member)) {
                return scalar(name, &raw);
            }
        }
        Ok(None)
    }
}

fn take(members: &mut Members, name: &str) -> Option<Box<RawValue>> {
    members.remove(name).filter(|raw| raw.get() != "null")
}

/// An id: text, or a whole number as it is written.
fn scalar(name: &str, raw: &RawValue) -> Result<Option<String>, String> {
    match serde_json::from_str(raw.get()) {
        Ok(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Ok(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(raw.get().to_owned())),
        Ok(Value::Null) => Ok(None),
        _ => Err(format!("{name}: text is expected")),
    }
}

fn object(name: &str, raw: &RawValue) -> Result<Map<String, Value>, String> {
    serde_json::from_str(raw.get()).map_err(|_| format!("{name}: an object is expected"))
}
