//! Associations: which objects an object is associated with, and which of them is the main one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::object::Number;

/// Ids of one type that an object is associated with, and whether that is the main one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links(pub(crate) BTreeMap<u64, bool>);

/// The associations of objects with others of one type, by the object's id.
pub(crate) type ByObject = BTreeMap<u64, Links>;

/// Ids of HubSpot's own association types that mark the main company: of a contact, a deal, a ticket.
const PRIMARY: [u64; 3] = [1, 5, 26];

impl Links {
    pub(crate) fn add(&mut self, id: u64, primary: bool) {
        *self.0.entry(id).or_default() |= primary;
    }

    /// There is one main company, and the object's own property says which.
    pub(crate) fn settle(&mut self, primary: Option<u64>) {
        if let Some(primary) = primary.filter(|id| self.0.contains_key(id)) {
            self.0.iter_mut().for_each(|(id, is)| *is = *id == primary);
        }
    }

    /// Ids, the main ones first, then the older ones (ids ascend with time).
    pub(crate) fn ordered(&self) -> Vec<(u64, bool)> {
        let mut all: Vec<(u64, bool)> = self.0.iter().map(|(id, primary)| (*id, *primary)).collect();
        all.sort_by_key(|(id, primary)| (!primary, *id));
        all
    }

    /// `[{"id":"1","primary":true},{"id":"2"}]`
    pub(crate) fn json(&self) -> String {
        let mut out = String::from("[");
        for (n, (id, primary)) in self.ordered().into_iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let mark = if primary { ",\"primary\":true" } else { "" };
            let _ = write!(out, "{comma}{{\"id\":\"{id}\"{mark}}}");
        }
        out.push(']');
        out
    }
}

/// The associations that a list shows inside an object.
#[derive(Debug, Deserialize)]
pub(crate) struct Inline<'a> {
    #[serde(borrow)]
    results: Vec<InlineItem<'a>>,
    paging: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct InlineItem<'a> {
    id: Number,
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
}

impl Inline<'_> {
    /// The associations; `None` where the list is cut. The main company comes under the bare name beside
    /// `…_unlabeled`.
    pub(crate) fn links(&self, bare: &str) -> Option<Links> {
        if self.paging.is_some() {
            return None;
        }
        let mut links = Links::default();
        for item in &self.results {
            let primary = bare.ends_with("_company") && item.kind.as_deref() == Some(bare);
            links.add(item.id.0, primary);
        }
        // Of engagements the bare name is the only one: none of their companies is the main one.
        if self.results.iter().all(|item| item.kind.as_deref() == Some(bare)) {
            links.0.values_mut().for_each(|primary| *primary = false);
        }
        Some(links)
    }
}

/// One result of a batch.
#[derive(Debug, Deserialize)]
pub(crate) struct Batched<'a> {
    pub(crate) from: From,
    #[serde(borrow, default)]
    pub(crate) to: Vec<To<'a>>,
    pub(crate) paging: Option<crate::object::Paging>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct From {
    pub(crate) id: Number,
}

#[derive(Debug, Deserialize)]
pub(crate) struct To<'a> {
    #[serde(rename = "toObjectId")]
    pub(crate) id: Number,
    #[serde(rename = "associationTypes", borrow, default)]
    types: Vec<Type<'a>>,
}

#[derive(Debug, Deserialize)]
struct Type<'a> {
    #[serde(borrow)]
    category: Option<Cow<'a, str>>,
    #[serde(rename = "typeId")]
    id: Option<u64>,
}

impl To<'_> {
    pub(crate) fn is_primary(&self) -> bool {
        self.types.iter().any(|t| {
            t.category.as_deref() == Some("HUBSPOT_DEFINED") && t.id.is_some_and(|id| PRIMARY.contains(&id))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(text: &str, bare: &str) -> Option<Links> {
        serde_json::from_str::<Inline<'_>>(text).unwrap().links(bare)
    }

    #[test]
    fn lists_and_batches_say_the_same() {
        let listed = inline(
            r#"{"results":[{"id":"9","type":"contact_to_company_unlabeled"},{"id":"7","type":"contact_to_company"},
                {"id":"7","type":"contact_to_company_unlabeled"},{"id":"8","type":"board_member"}]}"#,
            "contact_to_company",
        );
        let batch: Batched<'_> = serde_json::from_str(
            r#"{"from":{"id":"1"},"to":[
                {"toObjectId":9,"associationTypes":[{"category":"HUBSPOT_DEFINED","typeId":279,"label":null}]},
                {"toObjectId":7,"associationTypes":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":"Primary"},
                    {"category":"HUBSPOT_DEFINED","typeId":279,"label":null}]},
                {"toObjectId":"8","associationTypes":[{"category":"USER_DEFINED","typeId":1,"label":"Board"}]}]}"#,
        )
        .unwrap();
        let mut batched = Links::default();
        batch.to.iter().for_each(|to| batched.add(to.id.0, to.is_primary()));
        assert_eq!(listed.unwrap(), batched);
        assert_eq!(batched.json(), r#"[{"id":"7","primary":true},{"id":"8"},{"id":"9"}]"#);
        batched.settle(Some(9));
        assert_eq!(batched.ordered(), [(9, true), (7, false), (8, false)]);
        batched.settle(Some(5));
        assert_eq!(batched.ordered().first(), Some(&(9, true)), "no company of theirs");
    }

    #[test]
    fn a_cut_list_says_nothing() {
        let text = r#"{"results":[{"id":"9","type":"deal_to_contact"}],"paging":{"next":{"after":"9"}}}"#;
        assert_eq!(inline(text, "deal_to_contact"), None);
        let engagement = inline(r#"{"results":[{"id":"9","type":"note_to_company"}]}"#, "note_to_company");
        assert_eq!(engagement.unwrap().json(), r#"[{"id":"9"}]"#);
    }
}
