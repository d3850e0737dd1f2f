//! What a document's record is made of: the text of its details as PandaDoc wrote it, and behind it two members
//! of our own where there is something to say: `ai_metadata`, which PandaDoc keeps apart, and `halo_sync`, the
//! names that the connection's settings give. A translation sees one record and no settings, so what the settings
//! say about it is in it.

use std::borrow::Cow;

use connector_sdk::{ConnectorError, Record, RecordKey, Rejected};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::DOCUMENTS;
use crate::config::Fields;

/// The member that holds the settings' part.
pub(crate) const OURS: &str = "halo_sync";
/// The member that holds the extracted contract data; `null` while PandaDoc cannot say it.
pub(crate) const AI_METADATA: &str = "ai_metadata";
/// What PandaDoc puts before the name of a document that a sandbox key made.
const SANDBOX_PREFIX: &str = "[DEV]";

/// The members of a row of the list, and of a document, that reading needs. One of another shape than expected says
/// nothing; a document is not lost for it.
#[derive(Debug)]
pub(crate) struct Head {
    name: Option<String>,
    status: Option<String>,
    pub(crate) date_created: Option<String>,
    pub(crate) date_modified: Option<String>,
    pub(crate) folder: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    date_created: Option<&'a RawValue>,
    #[serde(borrow)]
    date_modified: Option<&'a RawValue>,
    #[serde(borrow)]
    folder_uuid: Option<&'a RawValue>,
    #[serde(borrow)]
    template: Option<&'a RawValue>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

/// The template that a document was made from.
#[derive(Deserialize)]
struct Template {
    id: String,
}

fn lenient<T: DeserializeOwned>(member: Option<&RawValue>) -> Option<T> {
    serde_json::from_str(member?.get()).ok()
}

impl Head {
    /// Still being made, or never made: there are no details of it.
    pub(crate) fn is_unmade(&self) -> bool {
        matches!(self.status.as_deref(), Some("document.uploaded" | "document.error"))
    }

    /// Complete, so that contract data may have been extracted.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.status.as_deref(), Some("document.completed" | "document.paid"))
    }

    /// Made with a sandbox key.
    pub(crate) fn is_of_sandbox(&self) -> bool {
        self.name.as_deref().is_some_and(|name| name.starts_with(SANDBOX_PREFIX))
    }
}

/// Reads the head of a row or a document; the error is the item set aside, with the reason.
pub(crate) fn head(text: &str) -> Result<(String, Head), Rejected> {
    let reason = match serde_json::from_str::<Members<'_>>(text) {
        Ok(members) => match members.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => {
                let head = Head {
                    name: lenient(members.name),
                    status: lenient(members.status),
                    date_created: lenient(members.date_created),
                    date_modified: lenient(members.date_modified),
                    folder: lenient(members.folder_uuid),
                    template: lenient::<Template>(members.template).map(|template| template.id),
                    tags: lenient(members.tags),
                };
                return Ok((id.to_owned(), head));
            }
            None => "id: missing".to_owned(),
        },
        Err(e) => {
            let sentence = e.to_string();
            format!("not a document: {}", sentence.split(" at line ").next().unwrap_or_default())
        }
    };
    let id = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|value| value.get("id")?.as_str().map(str::to_owned));
    Err(rejected(id, reason, text))
}

pub(crate) fn rejected(id: Option<String>, reason: String, text: &str) -> Rejected {
    Rejected { stream: DOCUMENTS.to_owned(), id, reason, payload: text.to_owned() }
}

/// What the settings say about every record; `None` where they say nothing.
pub(crate) fn ours(fields: &Fields) -> Result<Option<String>, ConnectorError> {
    if *fields == Fields::default() {
        return Ok(None);
    }
    let member = serde_json::json!({ "fields": fields });
    crate::cursor::to_json(&member).map(Some)
}

/// A document's record.
pub(crate) fn record(
    id: &str,
    details: &str,
    ai_metadata: Option<&RawValue>,
    ours: Option<&str>,
) -> Result<Record, ConnectorError> {
    let not_json = || ConnectorError::Protocol("a document is not JSON".to_owned());
    let members = [(AI_METADATA, ai_metadata.map(RawValue::get)), (OURS, ours)];
    let mut text = details.trim().to_owned();
    for (name, value) in members {
        if let Some(value) = value {
            let end = text.trim_end_matches('}').len();
            if end == text.len() {
                return Err(not_json());
            }
            // One brace: those of what stands last inside stay.
            text.truncate(text.len() - 1);
            text.push_str(&format!(",\"{name}\":{value}}}"));
        }
    }
    let payload = RawValue::from_string(text).map_err(|_| not_json())?;
    Ok(Record { key: RecordKey::new(DOCUMENTS, id), payload })
}

/// What of a record tells whether its stored text has what it waits for. A `null` is none.
#[derive(Deserialize)]
struct Waiting<'a> {
    #[serde(borrow)]
    ai_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    content_date_modified: Option<&'a RawValue>,
    #[serde(borrow)]
    date_completed: Option<&'a RawValue>,
}

impl<'a> Waiting<'a> {
    fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What tells one state of a document's content from another.
    fn content(&self) -> Option<&str> {
        self.content_date_modified.or(self.date_completed).map(RawValue::get)
    }
}

/// How the member stands in a record that waits for it: behind all that is PandaDoc's, where no text can look so.
fn waiting() -> String {
    format!(",\"{AI_METADATA}\":null")
}

/// Whether the record waits for extracted data.
pub(crate) fn is_partial(record: &Record) -> bool {
    record.payload.get().contains(&waiting())
}

/// The record with the extracted data of its stored text, where that is of the same content.
pub(crate) fn completed(record: &Record, stored: &str) -> Option<Record> {
    let text = record.payload.get();
    let (new, old) = (Waiting::read(text)?, Waiting::read(stored)?);
    let known = old.ai_metadata?;
    if new.content().is_none() || new.content() != old.content() {
        return None;
    }
    let member = waiting();
    let at = text.rfind(&member)?;
    let text = format!("{},\"{AI_METADATA}\":{known}{}", &text[..at], &text[at + member.len()..]);
    Some(Record { key: record.key.clone(), payload: RawValue::from_string(text).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_details_stay_byte_for_byte() {
        let details = r#" {"id":"a" , "pricing":{"x":{}}} "#;
        let plain = record("a", details, None, None).unwrap();
        assert_eq!(plain.payload.get(), r#"{"id":"a" , "pricing":{"x":{}}}"#);
        let ai = RawValue::from_string(r#"{"count":0,"results":[]}"#.to_owned()).unwrap();
        let both = record("a", details, Some(&ai), Some(r#"{"fields":{}}"#)).unwrap();
        assert_eq!(
            both.payload.get(),
            r#"{"id":"a" , "pricing":{"x":{}},"ai_metadata":{"count":0,"results":[]},"halo_sync":{"fields":{}}}"#
        );
        assert!(record("a", "null", Some(&ai), None).is_err());
    }

    #[test]
    fn what_was_extracted_of_the_same_content_stays_known() {
        let of = |details: &str, ai: Option<&str>, ours: Option<&str>| {
            let ai = ai.map(|text| RawValue::from_string(text.to_owned()).unwrap());
            record("a", details, ai.as_deref(), ours).unwrap()
        };
        let known = r#"{"count":1,"results":[{"key":"Expiration date"}]}"#;
        let details = |content: &str, name: &str| {
            format!(
                r#"{{"id":"a","name":{name:?},"content_date_modified":{content},"date_completed":"2026-01-02"}}"#
            )
        };
        let stored = of(&details("\"2026-01-01\"", "x"), Some(known), None);
        let text = stored.payload.get();
        assert!(!is_partial(&stored));
        let waits = of(&details("\"2026-01-01\"", ",\"ai_metadata\":null"), Some("null"), Some("{}"));
        assert!(is_partial(&waits));
        let whole = completed(&waits, text).unwrap();
        assert!(!is_partial(&whole) && whole.key == waits.key);
        let member = format!(r#","ai_metadata":{known},"halo_sync":{{}}}}"#);
        assert!(whole.payload.get().ends_with(&member), "{}", whole.payload.get());
        // Other content, none that is known, or nothing that says what it is.
        let other = of(&details("\"2026-01-02\"", "x"), Some("null"), None);
        assert!(completed(&other, text).is_none());
        assert!(completed(&waits, waits.payload.get()).is_none());
        assert!(completed(&waits, "[").is_none());
        let bare = of(r#"{"id":"a"}"#, Some("null"), None);
        assert!(completed(&bare, bare.payload.get()).is_none());
        assert!(completed(&bare, of(r#"{"id":"a"}"#, Some(known), None).payload.get()).is_none());
        // Where the content's own time is not said, that of its completion.
        assert!(completed(&of(&details("null", "x"), Some("null"), None), text).is_none());
        let older = of(&details("null", "x"), Some(known), None);
        assert!(completed(&of(&details("null", "y"), Some("null"), None), older.payload.get()).is_some());
    }

    #[test]
    fn what_is_no_document_is_set_aside() {
        for bad in ["1", "null", "{}", r#"{"id":""}"#, r#"{"id":7}"#, r#"{"id":{"not":"a text"}}"#, "["] {
            let set_aside = head(bad).unwrap_err();
            assert!(!set_aside.reason.is_empty() && set_aside.payload == bad);
        }
        let (id, found) =
            head(r#"{"id":"a","name":"[DEV] x","status":"document.uploaded","new":1}"#).unwrap();
        assert!(id == "a" && found.is_of_sandbox() && found.is_unmade() && !found.is_complete());
        // Members of another shape say nothing; the document is one all the same.
        let (_, found) =
            head(r#"{"id":"a","name":7,"template":"t","tags":[1],"date_modified":null}"#).unwrap();
        assert!(!found.is_of_sandbox() && found.template.is_none() && found.tags.is_none());
    }
}
