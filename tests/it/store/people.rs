//! Which end user a provider's person is.

use halo_sync::domain::Rank;
use halo_sync::domain::users::EndUser;
use halo_sync::store::Store;
use halo_sync::store::identity::{Lookup, PartyObserved};
use halo_sync::store::people::PersonObserved;
use halo_sync::store::product::{Layer, ProductWrite, RecordPart, Sighting, UserPart};
use serde_json::{Value, json};

use super::kit::*;

const JANE: &str = "jane@acme.example";

/// What the product says of a user; `here`: by an identify, which becomes the lead with the address.
fn told(id: &str, rank: Rank, values: Value, here: bool, us: i64) -> ProductWrite {
    let email = values["email"].as_str().map(str::to_owned);
    let layers = vec![Layer { rank, patch: traits(values) }];
    let record = RecordPart { layers, ..RecordPart::named(external(id)) };
    let sighting = if here { Sighting::Identified } else { Sighting::Elsewhere };
    let adopt = email.filter(|_| here && rank != Rank::Claimed);
    let user = UserPart { record, sighting, adopt, session: None };
    ProductWrite { user: Some(user), company: None, link: None, source: "sdk".to_owned(), at: at(us) }
}

fn of(write: ProductWrite, company: &str, rank: Rank) -> ProductWrite {
    ProductWrite { company: Some(RecordPart::named(external(company))), link: Some(rank), ..write }
}

async fn put(store: &dyn Store, write: ProductWrite) {
    store.put_product(&org(), vec![write]).await.unwrap();
}

/// Commits people with the parties that they are associated with.
async fn seen(store: &dyn Store, seq: i64, people: Vec<(PersonObserved, &[&str])>) {
    let mut one = commit(seq, vec![]);
    for (person, companies) in people {
        let name = person.record.to_string();
        one.records.push(record(&name, None, &[], &format!("v{seq}")));
        let candidates: Vec<_> =
            companies.iter().map(|id| ("association", "party:stripe/customers", *id)).collect();
        one.parties.push(PartyObserved { person: true, label: None, ..party(&name, &candidates, false) });
        one.people.push(person);
    }
    ingest(store, one).await;
}

async fn users(store: &dyn Store) -> Vec<EndUser> {
    store.list_users(&org(), None, None, 1_000).await.unwrap().rows
}

async fn only(store: &dyn Store) -> EndUser {
    let mut all = users(store).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// What is the same whatever came first.
fn shape(user: &EndUser) -> Value {
    let provenance: Vec<_> =
        user.provenance.iter().map(|(key, from)| (key, from.rank, &from.source)).collect();
    json!({"external_id": user.external_id, "company": user.company_id, "fields": user.fields,
        "custom_fields": user.custom_fields, "provenance": provenance})
}

fn contact() -> PersonObserved {
    person("contacts/1", &[JANE], &[("name", "Jane Doe"), ("lifecycle_stage", "customer")])
}

async fn a_contact_and_the_products_user_are_one_in_any_order(store: &dyn Store) {
    connected(store).await;
    let acme = company(store, "acme", json!({"domain": "acme.example"}), 1).await;
    let mut ends = Vec::new();
    let mut seq = 10;
    // Which comes first: the contact, its company at the CRM, the product's word (by identify, or in bulk).
    for here in [true, false] {
        for order in ["cps", "csp", "pcs", "psc", "scp", "spc"] {
            let id = format!("x{}x", ends.len());
            let email = format!("{id}@acme.example");
            let said = [("name", "Jane Doe"), ("lifecycle_stage", "customer")];
            for step in order.chars() {
                seq += 10;
                match step {
                    'c' => {
                        let contact = person(&format!("contacts/{id}"), &[&email], &said);
                        seen(store, seq, vec![(contact, &[&id])]).await;
                    }
                    'p' => {
                        let domain = [("domain", "domain", "acme.example")];
                        customer(store, seq, party(&format!("customers/{id}"), &domain, true)).await;
                    }
                    _ => {
                        let said = json!({"name": "Jane", "email": email, "role": "admin"});
                        put(store, told(&id, Rank::Server, said, here, seq)).await;
                    }
                }
            }
            let found = users(store).await;
            let of_this = found.iter().filter(|user| user.fields.email.as_deref() == Some(&email));
            let of_this: Vec<_> = of_this.collect();
            assert_eq!(of_this.len(), 1, "{order}: {of_this:#?}");
            assert_eq!(of_this[0].company_id.as_ref(), Some(&acme), "{order}");
            ends.push(shape(of_this[0]).to_string().replace(&id, "x"));
        }
    }
    assert_eq!(users(store).await.len(), ends.len());
    for end in &ends {
        assert_eq!(end, &ends[0]);
    }
    let end: Value = serde_json::from_str(&ends[0]).unwrap();
    assert_eq!(
        (&end["fields"]["name"], &end["external_id"]),
        (&json!("Jane"), &json!("x")),
        "the product's word"
    );
    assert_eq!(end["custom_fields"], json!({"lifecycle_stage": "customer", "role": "admin"}));
}

async fn nobody_is_stolen_and_nobody_guessed(store: &dyn Store) {
    connected(store).await;
    put(store, told("claims", Rank::Claimed, json!({"email": JANE}), true, 1)).await;
    seen(store, 2, vec![(contact(), &[])]).await;
    let all = users(store).await;
    assert_eq!(all.len(), 2, "an address that somebody claims is nobody's");
    let claims = |user: &&EndUser| user.external_id.as_deref() == Some("claims");
    assert!(all.iter().find(claims).unwrap().custom_fields.is_empty());
    assert_eq!(all.iter().find(|user| !claims(user)).unwrap().source, "crm");
    // Two whom the product knows by it: the contact is neither, and no third.
    for (id, us) in [("u-1", 3), ("u-2", 4)] {
        put(store, told(id, Rank::Server, json!({"email": JANE}), false, us)).await;
    }
    let all = users(store).await;
    let names: Vec<_> = all.iter().map(|user| user.external_id.as_deref()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(all.iter().all(|user| user.custom_fields.is_empty()), "{all:#?}");
    // One of them has another address now: then it is the other one.
    put(store, told("u-2", Rank::Server, json!({"email": "other@acme.example"}), false, 5)).await;
    let joined = store.find_user(&org(), &external("u-1")).await.unwrap().unwrap();
    assert_eq!(joined.custom_fields["lifecycle_stage"], "customer");
    assert_eq!(users(store).await.len(), 3);
}

async fn the_company_is_that_of_the_association_unless_the_product_says_one(store: &dyn Store) {
    connected(store).await;
    let [one, two] = [("one", 1), ("two", 2)].map(|(id, us)| async move {
        company(store, id, json!({"domain": format!("{id}.example")}), us).await
    });
    let (one, two) = (one.await, two.await);
    // The main one is not read yet.
    customer(store, 3, party("customers/2", &[("domain", "domain", "two.example")], false)).await;
    seen(store, 4, vec![(contact(), &["1", "2"])]).await;
    assert_eq!(only(store).await.company_id.as_ref(), Some(&two));
    take_dirty(store).await;
    customer(store, 5, party("customers/1", &[("domain", "domain", "one.example")], false)).await;
    assert_eq!(only(store).await.company_id.as_ref(), Some(&one));
    let dirty: Vec<String> = take_dirty(store).await.into_iter().map(|(id, _)| id).collect();
    assert!(dirty.contains(&one.0) && dirty.contains(&two.0), "both teams: {dirty:?}");
    seen(store, 6, vec![(contact(), &["2"])]).await;
    assert_eq!(only(store).await.company_id.as_ref(), Some(&two));
    seen(store, 7, vec![(contact(), &[])]).await;
    assert_eq!(only(store).await.company_id, None);
    // A company that a browser claims gives way, one that the product says does not.
    put(store, of(told("u-1", Rank::Server, json!({"email": JANE}), false, 8), "one", Rank::Claimed)).await;
    seen(store, 9, vec![(contact(), &["2"])]).await;
    assert_eq!(only(store).await.company_id.as_ref(), Some(&two));
    put(store, of(told("u-1", Rank::Server, json!({}), false, 10), "two", Rank::Server)).await;
    seen(store, 11, vec![(contact(), &["1"])]).await;
    assert_eq!(only(store).await.company_id.as_ref(), Some(&two));
    // People are no parties in anybody's list.
    assert_eq!(store.count_identities(&org()).await.unwrap().linked, 2);
    assert_eq!(store.list_links(&org(), None, None, None, 9).await.unwrap().rows.len(), 2);
}

async fn what_is_gone_takes_its_user_along(store: &dyn Store) {
    connected(store).await;
    put(store, told("u-1", Rank::Server, json!({"email": JANE}), true, 1)).await;
    let other = person("contacts/2", &["bob@acme.example"], &[("name", "Bob")]);
    seen(store, 2, vec![(contact(), &[]), (other.clone(), &[])]).await;
    assert_eq!(users(store).await.len(), 2);
    // Archived, and gone.
    let archived = PersonObserved { deleted: true, ..contact() };
    seen(store, 3, vec![(archived, &[]), (other.clone(), &[])]).await;
    let known = store.find_user(&org(), &external("u-1")).await.unwrap().unwrap();
    assert!(known.custom_fields.is_empty() && known.fields.name.is_none(), "{known:?}");
    let gone =
        halo_sync::store::mirror::IngestCommit { tombstones: vec![key("contacts/2")], ..commit(4, vec![]) };
    ingest(store, gone).await;
    assert_eq!(only(store).await.external_id.as_deref(), Some("u-1"));
    // Restored.
    seen(store, 5, vec![(contact(), &[]), (other.clone(), &[])]).await;
    assert_eq!(users(store).await.len(), 2);
    // Nobody is to be made: who was goes, who is known stays.
    let known_only = |person: PersonObserved| PersonObserved { create: false, ..person };
    seen(store, 6, vec![(known_only(contact()), &[]), (known_only(other), &[])]).await;
    let left = only(store).await;
    assert_eq!(
        (left.external_id.as_deref(), &left.custom_fields["lifecycle_stage"]),
        (Some("u-1"), &json!("customer"))
    );
    // The connection goes with all that it said.
    store.delete_connection(&org(), &con(), at(7)).await.unwrap();
    assert!(only(store).await.custom_fields.is_empty());
}

async fn two_contacts_become_one(store: &dyn Store) {
    connected(store).await;
    let lost = person("contacts/2", &["j.doe@old.example"], &[("name", "J. Doe")]);
    seen(store, 1, vec![(contact(), &[]), (lost, &[])]).await;
    let all = users(store).await;
    // Something was said of the one that goes.
    let bob = all.iter().find(|user| user.fields.email.as_deref() == Some("j.doe@old.example")).unwrap();
    let patch = traits(json!({"vip": true}));
    let by_id = Lookup::Id(bob.id.0.clone());
    store.put_user(&org(), &by_id, &patch, None, &from(Rank::Manual, 2)).await.unwrap();
    let merged = PersonObserved {
        emails: vec![JANE.to_owned(), "j.doe@old.example".to_owned()],
        merged: vec![key("contacts/2")],
        ..contact()
    };
    seen(store, 3, vec![(merged, &[])]).await;
    let one = only(store).await;
    assert_eq!((one.fields.name.as_deref(), &one.custom_fields["vip"]), (Some("Jane Doe"), &json!(true)));
    // The product knows the person by the address that was lost: it takes the row over.
    put(store, told("u-1", Rank::Server, json!({"email": "j.doe@old.example"}), false, 4)).await;
    let known = only(store).await;
    assert_eq!((known.external_id.as_deref(), &known.custom_fields["vip"]), (Some("u-1"), &json!(true)));
    assert_eq!(known.fields.email.as_deref(), Some("j.doe@old.example"));
}

async fn an_owner_is_named(store: &dyn Store) {
    connected(store).await;
    let owned = PersonObserved { owner: Some(key("owners/9")), ..contact() };
    seen(store, 1, vec![(owned, &[])]).await;
    assert!(!only(store).await.custom_fields.contains_key("owner"));
    for (seq, name) in [(2, "Sam Seller"), (3, "Sam Smith")] {
        let mut row = record("owners/9", None, &[], name);
        let facts = connector_sdk::Fact::Person(
            serde_json::from_value(json!({"id": "9", "name": name, "staff": true})).unwrap(),
        );
        row.facts = serde_json::to_string(&[facts]).unwrap();
        let mut one = commit(seq, vec![row]);
        one.staff.insert(key("owners/9"));
        ingest(store, one).await;
        assert_eq!(only(store).await.custom_fields["owner"], name);
    }
}

async fn a_deleted_user_does_not_come_back(store: &dyn Store) {
    connected(store).await;
    seen(store, 1, vec![(contact(), &[])]).await;
    let user = only(store).await;
    let by_id = Lookup::Id(user.id.0);
    assert!(store.erase_user(&org(), &by_id, at(2)).await.unwrap().is_some());
    seen(store, 3, vec![(contact(), &[])]).await;
    assert_eq!(users(store).await.len(), 0);
}

contract!(
    a_contact_and_the_products_user_are_one_in_any_order,
    nobody_is_stolen_and_nobody_guessed,
    the_company_is_that_of_the_association_unless_the_product_says_one,
    what_is_gone_takes_its_user_along,
    two_contacts_become_one,
    an_owner_is_named,
    a_deleted_user_does_not_come_back,
);
