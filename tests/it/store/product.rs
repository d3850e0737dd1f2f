//! Users and companies as a product writes them, many at once; and what deleting them leaves.

use halo_sync::domain::Rank;
use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::users::EndUser;
use halo_sync::store::Store;
use halo_sync::store::identity::Lookup;
use halo_sync::store::mirror::MirrorWrite;
use halo_sync::store::product::{
    Change, Clear, Layer, Outcome, ProductWrite, RecordPart, Refused, Sighting, UserPart, Written,
};
use serde_json::{Value, json};

use super::kit::*;

fn record(id: &str, rank: Rank, values: Value) -> RecordPart {
    let layers = vec![Layer { rank, patch: traits(values) }];
    RecordPart { layers, ..RecordPart::named(external(id)) }
}

fn user(id: &str, values: Value, us: i64) -> ProductWrite {
    let record = record(id, Rank::Server, values);
    let user = UserPart { record, sighting: Sighting::Elsewhere, adopt: None, session: None };
    ProductWrite { user: Some(user), company: None, link: None, source: "sdk".to_owned(), at: at(us) }
}

fn of_company(write: ProductWrite, company: &str, rank: Rank) -> ProductWrite {
    ProductWrite { company: Some(RecordPart::named(external(company))), link: Some(rank), ..write }
}

fn seen(mut write: ProductWrite) -> ProductWrite {
    if let Some(user) = &mut write.user {
        user.sighting = Sighting::Identified;
    }
    write
}

async fn put(store: &dyn Store, writes: Vec<ProductWrite>) -> Vec<Outcome> {
    store.put_product(&org(), writes).await.unwrap()
}

fn written(outcome: &Outcome) -> &Written {
    match outcome {
        Outcome::Written(written) => written,
        other => panic!("{other:?}"),
    }
}

async fn find(store: &dyn Store, id: &str) -> EndUser {
    store.find_user(&org(), &external(id)).await.unwrap().expect(id)
}

async fn emails(store: &dyn Store, email: &str) -> Vec<Option<String>> {
    // A party that nothing but the address leads anywhere tells whose key the address is.
    let observed = party(&format!("customers/{email}"), &[("email", "email", email)], false);
    customer(store, store.next_read_seq().await.unwrap(), observed).await;
    let links = store.list_links(&org(), None, None, None, 100).await.unwrap().rows;
    let mut named = Vec::new();
    for link in links.into_iter().filter(|link| link.party.id == email) {
        named.push(match link.company_id {
            Some(id) => store.find_company(&org(), &Lookup::Id(id.0)).await.unwrap().unwrap().external_id,
            None => None,
        });
    }
    named
}

async fn writes_of_a_unit_happen_in_order_each_whole_or_not(store: &dyn Store) {
    let mut unknown = user("nobody", json!({}), 1);
    if let Some(user) = &mut unknown.user {
        user.record.create = false;
    }
    let outcomes = put(
        store,
        vec![
            of_company(user("a", json!({"name": "A", "x": 1}), 1), "acme", Rank::Server),
            user("b", json!({"name": "B", "on_contract": "perhaps"}), 1),
            user("a", json!({"x": 2, "y": 1}), 1),
            unknown,
            of_company(user("", json!({}), 1), "made-in-vain", Rank::Server),
            user("c", json!({}), 1),
            user("a", json!({"x": 2}), 1),
        ],
    )
    .await;
    let changes: Vec<Option<Change>> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Written(written) => written.user.as_ref().map(|(_, change)| *change),
            _ => None,
        })
        .collect();
    let (made, updated, same) = (Some(Change::Created), Some(Change::Updated), Some(Change::Unchanged));
    assert_eq!(changes, [made, None, updated, None, None, made, same]);
    assert!(matches!(&outcomes[1], Outcome::Refused(Refused::Invalid(text)) if text.contains("on_contract")));
    assert!(matches!(&outcomes[3], Outcome::Unknown("user")));
    assert_eq!(written(&outcomes[6]).user_company.as_deref(), Some("acme"));
    let a = find(store, "a").await;
    assert_eq!(
        (a.fields.name.as_deref(), Value::Object(a.custom_fields)),
        (Some("A"), json!({"x": 2, "y": 1}))
    );
    let counts = store.count_identities(&org()).await.unwrap();
    assert_eq!((counts.users, counts.companies), (2, 1));
    assert!(put(store, Vec::new()).await.is_empty());
}

async fn many_are_written_at_once_and_their_company_is_marked(store: &dyn Store) {
    let writes = |values: Value| -> Vec<ProductWrite> {
        (0..700)
            .map(|n| of_company(user(&format!("u{n}"), values.clone(), 1), "acme", Rank::Server))
            .collect()
    };
    let made = put(store, writes(json!({"a": 1}))).await;
    assert!(made.iter().all(|outcome| written(outcome).user.as_ref().unwrap().1 == Change::Created));
    let dirty = take_dirty(store).await;
    assert_eq!(dirty.len(), 1);
    assert_eq!(dirty[0].1, ["fields", "members"]);
    let same = put(store, writes(json!({"a": 1}))).await;
    assert!(same.iter().all(|outcome| written(outcome).user.as_ref().unwrap().1 == Change::Unchanged));
    assert_eq!(take_dirty(store).await, []);
    let changed = put(store, writes(json!({"a": 2}))).await;
    assert!(changed.iter().all(|outcome| written(outcome).user.as_ref().unwrap().1 == Change::Updated));
    assert_eq!(store.count_identities(&org()).await.unwrap().users, 700);
}

async fn a_sighting_moves_nothing_else(store: &dyn Store) {
    put(store, vec![user("a", json!({"x": 1}), 1), user("b", json!({}), 1)]).await;
    let outcomes = put(store, vec![seen(user("a", json!({"x": 1}), 5)), seen(user("b", json!({}), 6))]).await;
    assert_eq!(written(&outcomes[0]).user.as_ref().unwrap().1, Change::Unchanged);
    for (id, us) in [("a", 5), ("b", 6)] {
        let user = find(store, id).await;
        assert_eq!((user.first_seen, user.last_seen, user.updated_at), (Some(at(us)), Some(at(us)), at(1)));
    }
    // A call that was overtaken does not set the clock back.
    put(store, vec![seen(user("a", json!({}), 3))]).await;
    put(store, vec![seen(user("b", json!({"y": 1}), 9))]).await;
    assert_eq!(find(store, "a").await.last_seen, Some(at(5)));
    let b = find(store, "b").await;
    assert_eq!((b.first_seen, b.last_seen, b.updated_at), (Some(at(6)), Some(at(9)), at(9)));
}

async fn an_address_is_its_companys_while_a_user_has_it_there(store: &dyn Store) {
    connected(store).await;
    let jane = |id: &str, us| user(id, json!({"email": "Jane@x.example"}), us);
    put(
        store,
        vec![of_company(jane("a", 1), "one", Rank::Server), of_company(jane("b", 1), "one", Rank::Server)],
    )
    .await;
    assert_eq!(emails(store, "jane@x.example").await, [Some("one".to_owned())]);
    // The first of two leaves: the address stays. The second leaves: it goes along.
    put(store, vec![of_company(jane("a", 2), "two", Rank::Server), user("c", json!({}), 2)]).await;
    assert_eq!(emails(store, "jane@x.example").await, [None], "ambiguous");
    put(store, vec![of_company(jane("b", 3), "two", Rank::Server)]).await;
    assert_eq!(emails(store, "jane@x.example").await, [Some("two".to_owned())]);
    // New addresses of both in one unit.
    let other = |id: &str| user(id, json!({"email": "other@x.example"}), 4);
    put(store, vec![other("a"), other("b")]).await;
    assert_eq!(emails(store, "jane@x.example").await, [None]);
    assert_eq!(emails(store, "other@x.example").await, [Some("two".to_owned())]);
    // A claimed link leads no party there.
    let claimed = of_company(user("d", json!({"email": "d@x.example"}), 5), "two", Rank::Claimed);
    put(store, vec![claimed]).await;
    assert_eq!(emails(store, "d@x.example").await, [None]);
    put(store, vec![of_company(user("d", json!({}), 6), "two", Rank::Server)]).await;
    assert_eq!(emails(store, "d@x.example").await, [Some("two".to_owned())]);
}

async fn entries_are_cleared_by_rank(store: &dyn Store) {
    let mut write = user("a", json!({}), 1);
    let entry = |text: &str| {
        let entry = serde_json::from_value(json!({"label": text, "value": text})).unwrap();
        (text.to_owned(), Some(entry))
    };
    if let Some(user) = &mut write.user {
        let of = |rank, context| Layer { rank, patch: TraitPatch { context, ..TraitPatch::default() } };
        user.record.layers = vec![
            of(Rank::Server, [entry("server")].into()),
            of(Rank::Claimed, [entry("claimed"), entry("other")].into()),
        ];
    }
    put(store, vec![write]).await;
    let clear = |clear: Clear| {
        let record = RecordPart { clear: Some(clear), create: false, ..RecordPart::named(external("a")) };
        let user = UserPart { record, sighting: Sighting::Elsewhere, adopt: None, session: None };
        ProductWrite { user: Some(user), company: None, link: None, source: "sdk".into(), at: at(2) }
    };
    let keys = |keys: &[&str]| Clear::Keys(Rank::Claimed, keys.iter().map(|key| (*key).to_owned()).collect());
    let outcomes =
        put(store, vec![clear(keys(&["other", "server", "none"])), clear(Clear::All(Rank::Claimed))]).await;
    assert_eq!(written(&outcomes[0]).cleared, ["other"]);
    assert_eq!(written(&outcomes[1]).cleared, ["claimed"]);
    let outcomes = put(store, vec![clear(Clear::All(Rank::Server))]).await;
    assert_eq!(written(&outcomes[0]).cleared, ["server"]);
}

async fn what_was_deleted_with_a_company_is_passed_over(store: &dyn Store) {
    connected(store).await;
    company(store, "acme", json!({"domain": "acme.example"}), 1).await;
    let acme = || party("customers/cus_1", &[("domain", "domain", "acme.example")], true);
    let other = || party("customers/cus_2", &[("domain", "domain", "other.example")], true);
    let page = |seq: i64| {
        let record = super::kit::record;
        let mut commit = commit(
            seq,
            vec![
                record("customers/cus_1", Some("customers/cus_1"), &[], &format!("v{seq}")),
                record("customers/cus_2", Some("customers/cus_2"), &[], &format!("v{seq}")),
                record("charges/ch_1", Some("customers/cus_1"), &[], &format!("v{seq}")),
                // Names its party by what it refers to.
                record("refunds/re_1", None, &["charges/ch_1"], &format!("v{seq}")),
                record("prices/p_1", None, &[], &format!("v{seq}")),
            ],
        );
        commit.parties = vec![acme(), other()];
        commit
    };
    ingest(store, page(1)).await;
    let erased = store.erase_company(&org(), &external("acme"), at(2)).await.unwrap().unwrap();
    assert_eq!((erased.parties, erased.records, erased.users_unlinked), (1, 3, 0));
    assert_eq!(store.erase_company(&org(), &external("acme"), at(2)).await.unwrap(), None);
    let after = ingest(store, page(3)).await;
    assert_eq!((after.counts.created, after.counts.updated), (0, 2));
    let keys = ["customers/cus_1", "charges/ch_1", "refunds/re_1", "customers/cus_2", "prices/p_1"].map(key);
    let stored = store.load_records(&org(), &con(), &keys).await.unwrap();
    let mut stored: Vec<String> = stored.into_iter().map(|record| record.key.to_string()).collect();
    stored.sort();
    assert_eq!(stored, ["customers/cus_2", "prices/p_1"]);
    let links = store.list_links(&org(), None, None, None, 100).await.unwrap().rows;
    assert_eq!(links.iter().map(|link| link.party.id.as_str()).collect::<Vec<_>>(), ["cus_2"]);
    assert_eq!(store.count_identities(&org()).await.unwrap().companies, 1);
    // The same account read by another organisation is that one's own matter.
    assert_eq!(store.erase_company(&"org_b".into(), &external("acme"), at(4)).await.unwrap(), None);
}

async fn a_deleted_users_party_stays_while_another_has_the_address(store: &dyn Store) {
    connected(store).await;
    let of = |id: &str| of_company(user(id, json!({"email": "desk@x.example"}), 1), "one", Rank::Server);
    put(store, vec![of("a"), of("b")]).await;
    assert_eq!(emails(store, "desk@x.example").await, [Some("one".to_owned())]);
    let erased = store.erase_user(&org(), &external("a"), at(2)).await.unwrap().unwrap();
    assert_eq!((erased.parties, erased.records), (0, 0));
    assert_eq!(emails(store, "desk@x.example").await, [Some("one".to_owned())]);
    let erased = store.erase_user(&org(), &external("b"), at(3)).await.unwrap().unwrap();
    assert_eq!((erased.parties, erased.records), (1, 1));
    assert_eq!(emails(store, "desk@x.example").await, [None::<String>; 0]);
    assert_eq!(store.find_user_by_email(&org(), "desk@x.example").await.unwrap(), None);
}

/// What somebody else signed, too, or is a contract at all, is not the user's own.
async fn a_deleted_users_address_leaves_what_is_not_theirs_alone(store: &dyn Store) {
    connected(store).await;
    let of =
        |id: &str| of_company(user(id, json!({"email": format!("{id}@x.example")}), 1), "acme", Rank::Server);
    put(store, vec![of("ann"), of("bob")]).await;
    let acme = store.find_company(&org(), &external("acme")).await.unwrap().unwrap().id;
    let (ann, bob) = (("email", "email", "ann@x.example"), ("email", "email", "bob@x.example"));
    let contract = |name: &str, of: &str| MirrorWrite {
        facts: json!([{"contract": {"id": of, "name": name}}]).to_string(),
        ..super::kit::record(&format!("documents/{name}"), Some(&format!("documents/{name}")), &[], name)
    };
    let mut page = commit(1, vec![contract("both", "1"), contract("anns", "2")]);
    page.parties = vec![party("documents/both", &[ann, bob], false), party("documents/anns", &[ann], false)];
    ingest(store, page).await;
    customer(store, 2, party("customers/desk", &[ann, bob], false)).await;
    customer(store, 3, party("customers/own", &[ann], false)).await;

    let erased = store.erase_user(&org(), &external("ann"), at(4)).await.unwrap().unwrap();
    assert_eq!((erased.parties, erased.records), (1, 1), "her own customer");
    let links = store.list_links(&org(), None, None, None, 100).await.unwrap().rows;
    let of = |name: &str| links.iter().find(|link| link.party == key(name));
    assert!(of("customers/own").is_none());
    for name in ["documents/both", "customers/desk"] {
        assert_eq!(of(name).unwrap().company_id.as_ref(), Some(&acme), "{name}: Bob's address leads there");
    }
    assert_eq!(of("documents/anns").unwrap().company_id, None);
    assert!(!of("documents/anns").unwrap().reason.as_deref().unwrap_or_default().contains("ann@"));
    // They are read on, as before.
    let again = contract("both", "changed");
    let after = ingest(store, commit(5, vec![MirrorWrite { hash: "v5".to_owned(), ..again }])).await;
    assert_eq!(after.counts.updated, 1);
    // Nobody finds them by her address any more.
    put(store, vec![of_company(user("eve", json!({"email": "ann@x.example"}), 6), "other", Rank::Server)])
        .await;
    let links = store.list_links(&org(), None, None, None, 100).await.unwrap().rows;
    let other = store.find_company(&org(), &external("other")).await.unwrap().unwrap().id;
    assert!(links.iter().all(|link| link.company_id.as_ref() != Some(&other)), "{links:?}");
}

/// Metadata names the company by now: the address is no longer all that leads there.
async fn a_deleted_user_leaves_a_customer_that_metadata_names(store: &dyn Store) {
    connected(store).await;
    let ann = of_company(user("ann", json!({"email": "ann@x.example"}), 1), "acme", Rank::Server);
    put(store, vec![ann]).await;
    let email = ("email", "email", "ann@x.example");
    customer(store, 1, party("customers/1", &[email], false)).await;
    customer(store, 2, party("customers/1", &[("metadata", "external_id", "acme"), email], false)).await;
    let rule = async || {
        let links = store.list_links(&org(), None, None, None, 100).await.unwrap().rows;
        links.into_iter().find(|link| link.party == key("customers/1")).and_then(|link| link.rule)
    };
    assert_eq!(rule().await.as_deref(), Some("metadata"));
    let erased = store.erase_user(&org(), &external("ann"), at(3)).await.unwrap().unwrap();
    assert_eq!((erased.parties, erased.records), (0, 0));
    assert_eq!(rule().await.as_deref(), Some("metadata"));
    // And the other way round: once the address alone is left, it is what decides.
    put(store, vec![of_company(user("bob", json!({"email": "bob@x.example"}), 4), "acme", Rank::Server)])
        .await;
    let bob = ("email", "email", "bob@x.example");
    customer(store, 5, party("customers/1", &[("metadata", "external_id", "acme"), bob], false)).await;
    customer(store, 6, party("customers/1", &[bob], false)).await;
    assert_eq!(rule().await.as_deref(), Some("email"));
    let erased = store.erase_user(&org(), &external("bob"), at(7)).await.unwrap().unwrap();
    assert_eq!(erased.parties, 1);
}

contract!(
    a_deleted_users_address_leaves_what_is_not_theirs_alone,
    a_deleted_user_leaves_a_customer_that_metadata_names,
    writes_of_a_unit_happen_in_order_each_whole_or_not,
    many_are_written_at_once_and_their_company_is_marked,
    a_sighting_moves_nothing_else,
    an_address_is_its_companys_while_a_user_has_it_there,
    entries_are_cleared_by_rank,
    what_was_deleted_with_a_company_is_passed_over,
    a_deleted_users_party_stays_while_another_has_the_address,
);
