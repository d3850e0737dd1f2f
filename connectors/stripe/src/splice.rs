//! Lists inside an object that Stripe cuts at its first page (subscription items, invoice lines).
//!
//! The whole list is read from its own endpoint and put into the object's text in place of the first page:
//! everything else of the payload stays byte for byte as Stripe wrote it. The whole, not the rest: the
//! first page costs no further call (it is ten items, an answer holds a hundred), the items come from one
//! reading, and imitations that cannot begin behind an item can be read too.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A nested list as it stands in the object's text.
pub(crate) struct Nested<'a> {
    data: &'a str,
    has_more: &'a str,
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    has_more: &'a RawValue,
}

impl<'a> Nested<'a> {
    /// The nested list, if there is more of it than the object holds. `list` is the member's own text,
    /// a slice of the object's.
    pub(crate) fn cut(list: &'a str) -> Option<Self> {
        let items: Items<'a> = serde_json::from_str(list).ok()?;
        if items.has_more.get() != "true" {
            return None;
        }
        Some(Self { data: items.data.get(), has_more: items.has_more.get() })
    }

    /// The object's text with `items` in the list, and `has_more` false.
    pub(crate) fn completed(&self, object: &str, items: &[Box<RawValue>]) -> Option<String> {
        let data = offset(object, self.data)?;
        let flag = offset(object, self.has_more)?;
        let items: Vec<&str> = items.iter().map(|i| i.get()).collect();
        let items = format!("[{}]", items.join(","));
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

    fn splice(object: &str, items: &[&str]) -> Option<String> {
        #[derive(Deserialize)]
        struct Outer<'a> {
            #[serde(borrow)]
            items: &'a RawValue,
        }
        let outer: Outer<'_> = serde_json::from_str(object).unwrap();
        let nested = Nested::cut(outer.items.get())?;
        let items: Vec<Box<RawValue>> =
            items.iter().map(|m| RawValue::from_string((*m).to_owned()).unwrap()).collect();
        Some(nested.completed(object, &items).unwrap())
    }

    #[test]
    fn the_whole_list_goes_in_and_nothing_else_changes() {
        let object = r#"{ "id":"sub_1" , "items": {"has_more" : true,"data":[ {"id":"si_1","q":1.50} ],"url":"/x"},"z":"é\u00e9"}"#;
        let text = splice(object, &[r#"{"id":"si_1","q":1.50}"#, r#"{"id":"si_2"}"#]).unwrap();
        assert_eq!(
            text,
            r#"{ "id":"sub_1" , "items": {"has_more" : false,"data":[{"id":"si_1","q":1.50},{"id":"si_2"}],"url":"/x"},"z":"é\u00e9"}"#
        );
    }

    #[test]
    fn an_empty_first_page_and_a_late_flag_work_too() {
        let object = r#"{"items":{"data":[],"has_more":true}}"#;
        assert_eq!(
            splice(object, &[r#"{"id":"a"}"#]).unwrap(),
            r#"{"items":{"data":[{"id":"a"}],"has_more":false}}"#
        );
        assert_eq!(splice(object, &[]).unwrap(), r#"{"items":{"data":[],"has_more":false}}"#);
    }

    #[test]
    fn a_whole_list_is_left_alone() {
        assert!(splice(r#"{"items":{"data":[{"id":"a"}],"has_more":false}}"#, &[]).is_none());
        assert!(splice(r#"{"items":[1,2]}"#, &[]).is_none());
        assert!(splice(r#"{"items":null}"#, &[]).is_none());
    }
}
