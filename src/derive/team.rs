//! Team size (R15).

use std::collections::BTreeSet;

/// An end user, as far as the count needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The user's id.
    pub id: &'a str,
    /// Whether the user was deleted.
    pub deleted: bool,
    /// Whether the user was merged into another, who is counted instead.
    pub merged: bool,
    /// Whether it is a test user.
    pub test: bool,
}

/// Distinct end users, without deleted, merged and test ones. Not seats, not employees.
pub fn team_size<'a>(members: impl IntoIterator<Item = Member<'a>>) -> u64 {
    let ids: BTreeSet<&str> =
        members.into_iter().filter(|m| !(m.deleted || m.merged || m.test)).map(|m| m.id).collect();
    ids.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_people_once_and_only_real_ones() {
        let real = Member { id: "a", deleted: false, merged: false, test: false };
        let members = [
            real,
            real,
            Member { id: "b", ..real },
            Member { id: "c", deleted: true, ..real },
            Member { id: "d", merged: true, ..real },
            Member { id: "e", test: true, ..real },
        ];
        assert_eq!(team_size(members), 2);
    }
}
