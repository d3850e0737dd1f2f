//! What a connection's settings show of its records, outside the vocabulary (R17).

use std::collections::BTreeMap;

use connector_sdk::facts::NoteEntry;
use serde::Serialize;
use serde_json::Value;

use super::book::{Book, Of};
use super::document::{Loser, Provenance};
use crate::domain::{ContextEntry, ContextType};

/// The rule's name in provenance.
const RULE: &str = "R17";

/// Custom fields and context entries of a company.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Noted {
    /// Custom fields, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub traits: BTreeMap<String, Value>,
    /// Context entries, by the settings' own key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, ContextEntry>,
}

impl Noted {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.traits.is_empty() && self.context.is_empty()
    }

    /// The key that an entry is stored under.
    pub(crate) fn context_key(key: &str) -> String {
        format!("halo.note.{key}")
    }
}

/// Of each custom field the first that a record says, in the order of the records; others that say something else are
/// losers. An entry is the first record's; a list holds an item of each record, the newest first.
pub(super) fn derive(book: &Book<'_>) -> (Noted, BTreeMap<String, Provenance>) {
    let mut noted = Noted::default();
    let mut why: BTreeMap<String, Provenance> = BTreeMap::new();
    let mut lists: BTreeMap<&str, Vec<(&NoteEntry, Of<'_, _>)>> = BTreeMap::new();
    for of in book.notes() {
        for (key, value) in &of.fact.traits {
            match noted.traits.get(key) {
                None => {
                    noted.traits.insert(key.clone(), value.clone());
                    let (rule, records) = (RULE.to_owned(), vec![of.record()]);
                    why.insert(key.clone(), Provenance { rule, records, ..Provenance::default() });
                }
                Some(first) if first == value => {}
                Some(_) => {
                    let (source, value) = (of.record(), value.clone());
                    let loser = Loser { source, value, why: "another record comes first".to_owned() };
                    if let Some(of_first) = why.get_mut(key) {
                        of_first.losers.push(loser);
                    }
                }
            }
        }
        for entry in &of.fact.context {
            if entry.most.is_some() {
                lists.entry(&entry.key).or_default().push((entry, of));
            } else if !noted.context.contains_key(&entry.key) {
                let (label, value) = (entry.label.clone(), entry.value.clone());
                noted.context.insert(entry.key.clone(), ContextEntry { label, kind: None, value });
            }
        }
    }
    for (key, mut items) in lists {
        // The newest first; what has no time last, in the order of the records.
        items.sort_by_key(|(entry, of)| (std::cmp::Reverse(entry.at), of.record()));
        let Some((first, _)) = items.first() else { continue };
        let most = usize::try_from(first.most.unwrap_or_default()).unwrap_or(usize::MAX);
        let label = first.label.clone();
        let value = items.iter().take(most).map(|(entry, _)| entry.value.clone()).collect();
        let kind = Some(ContextType::List);
        noted.context.entry(key.to_owned()).or_insert(ContextEntry { label, kind, value });
    }
    (noted, why)
}
