//! People of providers: what a record says of a person, and how that is laid over an end user. Pure.

use std::collections::BTreeMap;

use connector_sdk::{RecordKey, Timestamp};
use serde_json::Value;

use super::Result;
use super::traits::{self, COMPANY_LINK};
use crate::domain::companies::FieldSource;
use crate::domain::users::EndUser;
use crate::domain::{CompanyId, Rank};

/// A person seen by a read, who is an end user or becomes one.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonObserved {
    /// Stream and id.
    pub record: RecordKey,
    /// The connector's id: where the values come from.
    pub source: String,
    /// E-mail addresses, the main one first.
    pub emails: Vec<String>,
    /// Traits of the user that the record says.
    pub traits: BTreeMap<String, String>,
    /// The record of the person of our side who looks after them; the trait `owner` is that one's name.
    pub owner: Option<RecordKey>,
    /// Records that were merged into this one.
    pub merged: Vec<RecordKey>,
    /// Whether somebody whom the product does not know becomes a user.
    pub create: bool,
    /// Whether the provider says that the record is gone.
    pub deleted: bool,
}

/// A value that a record says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) value: String,
    /// The connector.
    pub(crate) source: String,
}

/// Lays what records say over a user, and the company that they name with its connector. What the product or a person
/// said stays, whenever it was said; what a browser claimed gives way; what no record says any more goes. True when
/// something changed.
pub(crate) fn lay_person(
    user: &mut EndUser,
    said: &BTreeMap<String, Said>,
    company: Option<&(CompanyId, String)>,
    at: Timestamp,
) -> Result<bool> {
    let mut fields = traits::to_map(&user.fields)?;
    let mut changed = false;
    let normal = |key: &str, said: &Said| {
        let value = Value::from(said.value.as_str());
        match traits::user_kind(key) {
            // A text that the column cannot hold is not said.
            Some(kind) => traits::normal(key, kind, &value).ok(),
            None => Some(value),
        }
    };
    let said: BTreeMap<&str, (Value, &str)> = said
        .iter()
        .filter_map(|(key, said)| Some((key.as_str(), (normal(key, said)?, said.source.as_str()))))
        .collect();
    let is_trait = |key: &str| key != COMPANY_LINK && !key.starts_with("context.");
    let gone: Vec<String> = user
        .provenance
        .iter()
        .filter(|(key, from)| from.rank == Rank::Synced && is_trait(key) && !said.contains_key(key.as_str()))
        .map(|(key, _)| key.clone())
        .collect();
    for key in gone {
        fields.remove(&key);
        user.custom_fields.remove(&key);
        user.provenance.remove(&key);
        changed = true;
    }
    for (key, (value, source)) in said {
        let place = if traits::user_kind(key).is_some() { &mut fields } else { &mut user.custom_fields };
        let stored = user.provenance.get(key);
        let rank = stored.map(|from| from.rank).or(place.contains_key(key).then_some(Rank::Server));
        let ours = stored.is_some_and(|from| from.rank == Rank::Synced && from.source == source);
        if matches!(rank, Some(Rank::Server | Rank::Manual)) || (ours && place.get(key) == Some(&value)) {
            continue;
        }
        place.insert(key.to_owned(), value);
        let from = FieldSource { rank: Rank::Synced, source: source.to_owned(), at };
        user.provenance.insert(key.to_owned(), from);
        changed = true;
    }
    changed |= lay_company(user, company, at);
    user.fields = traits::from_map(fields)?;
    if changed {
        user.updated_at = at;
    }
    Ok(changed)
}

fn lay_company(user: &mut EndUser, company: Option<&(CompanyId, String)>, at: Timestamp) -> bool {
    let stored = user.provenance.get(COMPANY_LINK).map(|from| from.rank);
    let rank = stored.or(user.company_id.is_some().then_some(Rank::Server));
    match (company, rank) {
        (_, Some(Rank::Server | Rank::Manual)) | (None, None | Some(Rank::Claimed)) => false,
        (None, Some(Rank::Synced)) => {
            user.company_id = None;
            user.provenance.remove(COMPANY_LINK);
            true
        }
        (Some((id, source)), _) => {
            if rank == Some(Rank::Synced) && user.company_id.as_ref() == Some(id) {
                return false;
            }
            user.company_id = Some(id.clone());
            let from = FieldSource { rank: Rank::Synced, source: source.clone(), at };
            user.provenance.insert(COMPANY_LINK.to_owned(), from);
            true
        }
    }
}

/// Whether anybody but a record said something of the user.
pub(crate) fn has_own_word(user: &EndUser) -> Result<bool> {
    let synced = |key: &str| user.provenance.get(key).is_some_and(|from| from.rank == Rank::Synced);
    let fields = traits::to_map(&user.fields)?;
    let said = fields.keys().chain(user.custom_fields.keys()).any(|key| !synced(key));
    Ok(said || !user.context.is_empty() || (user.company_id.is_some() && !synced(COMPANY_LINK)))
}

/// Gives a user what was said of another one, who is the same person, where nobody said it of this one.
pub(crate) fn inherit(user: &mut EndUser, other: &EndUser) -> Result<()> {
    let synced = |user: &EndUser, key: &str| user.provenance.get(key).is_some_and(|x| x.rank == Rank::Synced);
    let mut fields = traits::to_map(&user.fields)?;
    let theirs = traits::to_map(&other.fields)?;
    for (key, value) in theirs.iter().chain(&other.custom_fields) {
        let place = if theirs.contains_key(key) { &mut fields } else { &mut user.custom_fields };
        let has = place.contains_key(key) && user.provenance.get(key).is_none_or(|x| x.rank != Rank::Synced);
        if has || synced(other, key) {
            continue;
        }
        place.insert(key.clone(), value.clone());
        take_provenance(user, other, key);
    }
    for (key, entry) in &other.context {
        if !user.context.contains_key(key) {
            user.context.insert(key.clone(), entry.clone());
            take_provenance(user, other, &format!("context.{key}"));
        }
    }
    let has_company = user.company_id.is_some() && !synced(user, COMPANY_LINK);
    if other.company_id.is_some() && !synced(other, COMPANY_LINK) && !has_company {
        user.company_id.clone_from(&other.company_id);
        take_provenance(user, other, COMPANY_LINK);
    }
    user.first_seen = user.first_seen.into_iter().chain(other.first_seen).min();
    user.last_seen = user.last_seen.max(other.last_seen);
    user.fields = traits::from_map(fields)?;
    Ok(())
}

fn take_provenance(user: &mut EndUser, other: &EndUser, key: &str) {
    match other.provenance.get(key) {
        Some(from) => user.provenance.insert(key.to_owned(), from.clone()),
        None => user.provenance.remove(key),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::DateTime;
    use serde_json::{Map, json};

    use super::*;
    use crate::domain::UserId;
    use crate::domain::users::UserFields;

    fn at(us: i64) -> Timestamp {
        DateTime::from_timestamp_micros(us).unwrap()
    }

    fn user() -> EndUser {
        EndUser {
            id: UserId("usr_1".into()),
            external_id: None,
            company_id: None,
            source: "crm".into(),
            fields: UserFields::default(),
            custom_fields: Map::new(),
            context: BTreeMap::new(),
            provenance: BTreeMap::new(),
            first_seen: None,
            last_seen: None,
            is_test: false,
            created_at: at(1),
            updated_at: at(1),
        }
    }

    fn said(all: &[(&str, &str)]) -> BTreeMap<String, Said> {
        let said = |value: &str| Said { value: value.to_owned(), source: "crm".to_owned() };
        all.iter().map(|(key, value)| ((*key).to_owned(), said(value))).collect()
    }

    fn from(rank: Rank) -> FieldSource {
        FieldSource { rank, source: "sdk".into(), at: at(1) }
    }

    #[test]
    fn what_the_product_said_stays_and_what_was_claimed_gives_way() {
        let mut known = user();
        known.fields.name = Some("Jane".into());
        known.custom_fields.insert("role".into(), json!("admin"));
        known.provenance.insert("role".into(), from(Rank::Claimed));
        let contact = said(&[("name", "Dr. Jane"), ("role", "CTO"), ("lifecycle_stage", "customer")]);
        assert!(lay_person(&mut known, &contact, None, at(2)).unwrap());
        assert_eq!(known.fields.name.as_deref(), Some("Jane"), "absent means that a server said it");
        assert_eq!(
            (&known.custom_fields["role"], &known.custom_fields["lifecycle_stage"]),
            (&json!("CTO"), &json!("customer"))
        );
        assert_eq!(known.provenance["lifecycle_stage"].source, "crm");
        assert!(!lay_person(&mut known, &contact, None, at(3)).unwrap(), "the same again is nothing");
        // What the record says no more goes, and only that.
        assert!(lay_person(&mut known, &said(&[]), None, at(4)).unwrap());
        assert_eq!((known.fields.name.as_deref(), known.custom_fields.len()), (Some("Jane"), 0));
    }

    #[test]
    fn a_value_that_its_column_cannot_hold_is_not_said() {
        let mut known = user();
        let contact = said(&[("signed_up_at", "soon"), ("on_contract", "perhaps"), ("name", "Jane")]);
        lay_person(&mut known, &contact, None, at(2)).unwrap();
        assert_eq!(known.fields, UserFields { name: Some("Jane".into()), ..UserFields::default() });
    }

    #[test]
    fn a_company_that_the_product_named_is_not_left() {
        let crm = |id: &str| (CompanyId(id.to_owned()), "crm".to_owned());
        let mut known = user();
        assert!(lay_person(&mut known, &said(&[]), Some(&crm("cmp_1")), at(2)).unwrap());
        assert!(!lay_person(&mut known, &said(&[]), Some(&crm("cmp_1")), at(3)).unwrap());
        assert!(lay_person(&mut known, &said(&[]), Some(&crm("cmp_2")), at(4)).unwrap());
        assert_eq!(known.company_id, Some(CompanyId("cmp_2".into())));
        assert!(lay_person(&mut known, &said(&[]), None, at(5)).unwrap());
        assert_eq!(known.company_id, None);
        known.company_id = Some(CompanyId("cmp_3".into()));
        known.provenance.insert(COMPANY_LINK.into(), from(Rank::Server));
        assert!(!lay_person(&mut known, &said(&[]), Some(&crm("cmp_1")), at(6)).unwrap());
        known.provenance.insert(COMPANY_LINK.into(), from(Rank::Claimed));
        assert!(lay_person(&mut known, &said(&[]), Some(&crm("cmp_1")), at(7)).unwrap());
    }

    #[test]
    fn what_was_said_of_the_same_person_is_kept() {
        let (mut known, mut other) = (user(), user());
        known.custom_fields.insert("tier".into(), json!(1));
        other.fields.name = Some("Jane".into());
        other.provenance.insert("name".into(), from(Rank::Manual));
        other.fields.email = Some("jane@acme.example".into());
        other.provenance.insert("email".into(), from(Rank::Synced));
        other.custom_fields.insert("tier".into(), json!(2));
        other.last_seen = Some(at(9));
        assert!(has_own_word(&other).unwrap());
        inherit(&mut known, &other).unwrap();
        assert_eq!((known.fields.name.as_deref(), known.fields.email.as_deref()), (Some("Jane"), None));
        assert_eq!(known.provenance["name"].rank, Rank::Manual);
        assert_eq!((&known.custom_fields["tier"], known.last_seen), (&json!(1), Some(at(9))));
    }
}
