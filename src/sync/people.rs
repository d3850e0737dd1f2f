//! Who of a provider's people is an end user, and what its record says of the user.
//!
//! A record is a person's where its facts hold a [`Person`] of the record's own id who is not of our side. What a record
//! of something else says of people (who signs a document) makes no users.

use std::collections::BTreeMap;

use connector_sdk::facts::Person;
use connector_sdk::{Extract, Fact, RecordKey};

use super::links::{LinkSettings, is_end_user};
use crate::store::people::PersonObserved;

/// The longest text that becomes a trait, in bytes: longer ones are notes, and would fill a user.
const LONGEST: usize = 2_000;

/// The person that a record describes. `None` for a record that describes none, or a party.
pub fn observe(
    connector: &str,
    settings: &LinkSettings,
    record: &RecordKey,
    is_party: bool,
    extract: &Extract,
) -> Option<PersonObserved> {
    let person = extract.facts.iter().find_map(|fact| match fact {
        Fact::Person(person) if !is_party && is_end_user(record, person) => Some(person),
        _ => None,
    })?;
    let party = extract.party.as_ref().map(|party| party.stream.as_str());
    // The record of the one who looks after them, among those that this one refers to.
    let owner = person.owner.as_ref().and_then(|id| {
        let is_other = |key: &&RecordKey| Some(key.stream.as_str()) != party && key.stream != record.stream;
        extract.refs.iter().filter(is_other).find(|key| key.id == *id).cloned()
    });
    Some(PersonObserved {
        record: record.clone(),
        source: connector.to_owned(),
        emails: person.emails.iter().filter(|email| email.contains('@')).cloned().collect(),
        traits: traits(person),
        owner,
        merged: person.merged.iter().map(|id| RecordKey::new(record.stream.as_str(), id.as_str())).collect(),
        create: settings.create_users,
        deleted: person.deleted,
    })
}

/// Whether a record says what somebody of our side is called.
pub fn is_staff(extract: &Extract) -> bool {
    extract.facts.iter().any(|fact| matches!(fact, Fact::Person(person) if person.staff))
}

fn traits(person: &Person) -> BTreeMap<String, String> {
    let own = [
        ("name", person.name.as_ref()),
        ("email", person.emails.first()),
        ("lifecycle_stage", person.lifecycle_stage.as_ref()),
    ];
    let own = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let all = person.traits.iter().map(|(key, value)| (key.clone(), value)).chain(own);
    all.filter(|(_, value)| !value.trim().is_empty() && value.len() <= LONGEST)
        .map(|(key, value)| (key, value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn extract(person: serde_json::Value) -> Extract {
        Extract {
            facts: vec![Fact::Person(serde_json::from_value(person).unwrap())],
            refs: vec![RecordKey::new("companies", "7"), RecordKey::new("owners", "7")],
            party: Some(RecordKey::new("companies", "7")),
        }
    }

    #[test]
    fn a_person_says_traits_and_names_its_owner() {
        let said = json!({"id": "1", "name": "Jane", "emails": ["jane@acme.example", "j@acme.example"],
            "lifecycle_stage": "customer", "owner": "7", "merged": ["2"],
            "traits": {"job_title": "CTO", "empty": " ", "note": "x".repeat(LONGEST + 1)}});
        let key = RecordKey::new("contacts", "1");
        let seen = observe("crm", &LinkSettings::default(), &key, false, &extract(said)).unwrap();
        let traits: Vec<(&str, &str)> = seen.traits.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            traits,
            [
                ("email", "jane@acme.example"),
                ("job_title", "CTO"),
                ("lifecycle_stage", "customer"),
                ("name", "Jane")
            ]
        );
        assert_eq!(seen.owner, Some(RecordKey::new("owners", "7")));
        assert_eq!(seen.merged, [RecordKey::new("contacts", "2")]);
        assert!(seen.create && !seen.deleted);
    }

    #[test]
    fn staff_and_signers_are_no_users() {
        let key = RecordKey::new("contacts", "1");
        let none = |person| observe("crm", &LinkSettings::default(), &key, false, &extract(person)).is_none();
        assert!(none(json!({"id": "1", "staff": true})), "of our side");
        assert!(none(json!({"id": "9", "emails": ["a@b.example"]})), "another's record");
        assert!(is_staff(&extract(json!({"id": "1", "staff": true}))));
    }
}
