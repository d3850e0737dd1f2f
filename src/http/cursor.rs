//! Pages of lists: `?limit=&cursor=` gives `{data, next_cursor, has_more}`.
//!
//! A cursor is opaque. It holds where the next page begins (the sort key of the last row, not a number of rows), and a
//! hash of the organisation, the list and its filters: one that was made elsewhere is refused, it would skip rows silently.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ApiError;
use crate::domain::OrgId;

/// Rows of a page unless the request says otherwise.
pub const USUAL: u32 = 50;
/// The most rows of a page.
pub const MOST: u32 = 200;
/// No cursor of ours is longer.
const LONGEST: usize = 2_000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// What `cursor` the next page has; `null` on the last.
    pub next_cursor: Option<String>,
    /// Whether there is a next page.
    pub has_more: bool,
}

/// Cursors of one list with its filters.
#[derive(Debug)]
pub struct Cursors {
    mark: String,
}

#[derive(Serialize, Deserialize)]
struct Held<A> {
    m: String,
    a: A,
}

impl Cursors {
    /// Of an organisation's list; `filter` is everything that decides what is in it and in which order.
    pub fn new<F: Serialize>(org: &OrgId, list: &str, filter: &F) -> Self {
        let text = serde_json::to_string(&(&org.0, list, filter)).unwrap_or_default();
        Self { mark: hex::encode(&Sha256::digest(text.as_bytes())[..8]) }
    }

    /// The cursor behind a row.
    pub fn behind<A: Serialize>(&self, after: A) -> String {
        let held = Held { m: self.mark.clone(), a: after };
        URL_SAFE_NO_PAD.encode(serde_json::to_string(&held).unwrap_or_default())
    }

    /// Where the page begins.
    ///
    /// # Errors
    ///
    /// 400 `bad_cursor` for what is no cursor of this list with these filters.
    pub fn read<A: DeserializeOwned>(&self, cursor: Option<&str>) -> Result<Option<A>, ApiError> {
        let Some(cursor) = cursor else { return Ok(None) };
        let broken = || {
            ApiError::bad_request("bad_cursor", "cursor: it is not one that this list gave")
                .hint("begin without a cursor")
        };
        let held: Held<A> = (cursor.len() <= LONGEST)
            .then(|| URL_SAFE_NO_PAD.decode(cursor).ok())
            .flatten()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(broken)?;
        if held.m != self.mark {
            return Err(ApiError::bad_request(
                "bad_cursor",
                "cursor: it was given for another list, or for other filters",
            )
            .hint("send the filters that the cursor was given for, or begin without a cursor"));
        }
        Ok(Some(held.a))
    }

    /// A page of rows, of which one more than `limit` was read where there are more.
    pub fn page<T, A: Serialize>(&self, mut rows: Vec<T>, limit: u32, after: impl Fn(&T) -> A) -> Page<T> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| has_more).map(|last| self.behind(after(last)));
        Page { data: rows, next_cursor, has_more }
    }
}

/// The rows that a page has.
///
/// # Errors
///
/// 400 `bad_parameter` for none, and for more than [`MOST`].
pub fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        limit => {
            Err(ApiError::bad_request("bad_parameter", format!("limit: {limit}, 1 to {MOST} are accepted")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_list_and_filters_only() {
        let org = OrgId::default_org();
        let own = Cursors::new(&org, "things", &("a", 1));
        let page = own.page(vec![1, 2, 3], 2, |row| *row);
        assert_eq!((page.data, page.has_more), (vec![1, 2], true));
        let cursor = page.next_cursor.unwrap();
        assert_eq!(own.read::<i32>(Some(&cursor)).unwrap(), Some(2));
        assert_eq!(own.read::<i32>(None).unwrap(), None);
        let others = [
            Cursors::new(&org, "others", &("a", 1)),
            Cursors::new(&org, "things", &("b", 1)),
            Cursors::new(&"org_b".into(), "things", &("a", 1)),
        ];
        for other in others {
            let error = other.read::<i32>(Some(&cursor)).unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (400, "bad_cursor"));
        }
        let cut = &cursor[..cursor.len() - 3];
        for broken in ["", "x", cut, "eyJ", "\u{0}", &"a".repeat(9_999)] {
            assert_eq!(own.read::<i32>(Some(broken)).unwrap_err().code(), "bad_cursor", "{broken}");
        }
        assert_eq!(own.read::<String>(Some(&cursor)).unwrap_err().code(), "bad_cursor");
        let last = own.page(vec![1, 2], 2, |row| *row);
        assert_eq!((last.next_cursor, last.has_more), (None, false));
    }
}
