//! What changed, new or deleted users mean for companies: their keys and their team.

use std::collections::BTreeSet;

use super::dirty::{self, Marks};
use super::keys::{self, Key};
use super::links::Settled;
use super::{Conn, rows};
use crate::domain::OrgId;
use crate::domain::users::EndUser;
use crate::store::Result;

statements! {}

/// A user before and after: `None` where there was none, or is none any more.
pub(crate) type Move<'a> = (Option<&'a EndUser>, Option<&'a EndUser>);

/// Takes users whose rows are written: notes the companies whose team changed, and answers the keys that decide
/// links anew.
pub(crate) async fn after(
    c: &mut Conn,
    org: &OrgId,
    moves: &[Move<'_>],
    marks: &mut Marks,
) -> Result<BTreeSet<Key>> {
    let (mut gone, mut come) = (BTreeSet::new(), BTreeSet::new());
    for (before, after) in moves {
        let place = |user: &Option<&EndUser>| user.and_then(|user| user.company_id.clone());
        let counted = |user: &Option<&EndUser>| user.is_some_and(|user| !user.is_test);
        let (old, new) = (place(before), place(after));
        if old != new || counted(before) != counted(after) {
            for company in old.iter().chain(&new) {
                dirty::note(marks, "members", &company.0);
            }
        }
        let key = |user: &Option<&EndUser>| {
            let user = (*user)?;
            Some((user.company_id.clone()?.0, rows::matchable_email(user)?))
        };
        let (old, new) = (key(before), key(after));
        if old != new {
            gone.extend(old);
            come.extend(new);
        }
    }
    let mut changed: BTreeSet<Key> = keys::drop_emails(c, org, &gone).await?.into_iter().collect();
    changed.extend(keys::add_emails(c, org, &come).await?);
    Ok(changed)
}

/// Companies whose parties changed are dirty for that.
pub(crate) fn mark_settled(marks: &mut Marks, settled: &Settled) {
    for company in &settled.companies {
        dirty::note(marks, "link", company);
    }
    for company in &settled.members {
        dirty::note(marks, "members", company);
    }
}
