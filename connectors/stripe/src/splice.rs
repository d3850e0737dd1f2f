//! Lists inside an object that Stripe cuts at its first page (subscription items, invoice lines).
//!
//! The rest is read from the list's own endpoint and put into the object's text at the right place:
//! everything else of the payload stays byte for byte as Stripe wrote it.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A nested list as it stands in the object's text.
pub(crate) struct Nested<'a> {
    text: &'a str,
    data: &'a str,
    has_more: &'a str,
    /// Id of the last item that is there.
    pub(crate) last_id: Option<String>,
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    has_more: &'a RawValue,
}

#[derive(Deserialize)]
struct Id {
    id: Option<String>,
}

impl<'a> Nested<'a> {
    /// The nested list, if there is more of it than the object holds. `list` is the member's own text,
    /// a slice of the object's.
    pub(crate) fn cut(list: &'a str) -> Option<Self> {
        let items: Items<'a> = serde_json::from_str(list).ok()?;
        if items.has_more.get() != "true" {
            return None;
        }
        let ids: Vec<Id> = serde_json::from_str(items.data.get()).ok()?;
        Some(Self {
            text: list,
            data: items.data.get(),
            has_more: items.has_more.get(),
            last_id: ids.into_iter().last().and_then(|i| i.id),
        })
    }

    /// The object's text with `more` behind the items that it holds, and `has_more` false.
    pub(crate) fn completed(&self, object: &str, more: &[Box<RawValue>]) -> Option<String> {
        let _whole = offset(object, self.text)?;
        let data = offset(object, self.data)?;
        let flag = offset(object, self.has_more)?;
        let mut items = self.data.strip_suffix(']')?.trim_end().to_owned();
        for item in more {
            if !items.ends_with('[') {
                items.push(',');
            }
            items.push_str(item.get());
        }
        items.push(']');
        let mut edits = [(data, self.data.len(), items.as_str()), (flag, self.has_more.len(), "false")];
        edits.sort_unstable_by_key(|(at, ..)| *at);
        let mut out = String::with_capacity(object.len() + items.len());
        let mut from = 0;
        for (at, len, new) in edits {
            out.push_str(object.get(from..at)?);
            out.push_str(new);
            from = at + len;
        }
        out.push_str(object.get(from..)?);
        Some(out)
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset(whole: &str, part: &str) -> Option<usize> {
    let at = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (at + part.len() <= whole.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splice(object: &str, more: &[&str]) -> Option<(String, Option<String>)> {
        #[derive(Deserialize)]
        struct Outer<'a> {
            #[serde(borrow)]
            items: &'a RawValue,
        }
        let outer: Outer<'_> = serde_json::from_str(object).unwrap();
        let nested = Nested::cut(outer.items.get())?;
        let more: Vec<Box<RawValue>> =
            more.iter().map(|m| RawValue::from_string((*m).to_owned()).unwrap()).collect();
        Some((nested.completed(object, &more).unwrap(), nested.last_id))
    }

    #[test]
    fn the_rest_goes_in_and_nothing_else_changes() {
        let object = r#"{ "id":"sub_1" , "items": {"has_more" : true,"data":[ {"id":"si_1","q":1.50} ],"url":"/x"},"z":"é\u00e9"}"#;
        let (text, last) = splice(object, &[r#"{"id":"si_2"}"#, r#"{"id":"si_3"}"#]).unwrap();
        assert_eq!(
            text,
            r#"{ "id":"sub_1" , "items": {"has_more" : false,"data":[ {"id":"si_1","q":1.50},{"id":"si_2"},{"id":"si_3"}],"url":"/x"},"z":"é\u00e9"}"#
        );
        assert_eq!(last.as_deref(), Some("si_1"));
    }

    #[test]
    fn an_empty_first_page_and_a_late_flag_work_too() {
        let (text, last) =
            splice(r#"{"items":{"data":[],"has_more":true}}"#, &[r#"{"id":"a"}"#, r#"{"id":"b"}"#]).unwrap();
        assert_eq!(text, r#"{"items":{"data":[{"id":"a"},{"id":"b"}],"has_more":false}}"#);
        assert_eq!(last, None);
    }

    #[test]
    fn a_whole_list_is_left_alone() {
        assert!(splice(r#"{"items":{"data":[{"id":"a"}],"has_more":false}}"#, &[]).is_none());
        assert!(splice(r#"{"items":[1,2]}"#, &[]).is_none());
        assert!(splice(r#"{"items":null}"#, &[]).is_none());
    }
}
