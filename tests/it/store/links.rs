//! Who is whose company.

use halo_sync::domain::Rank;
use halo_sync::store::identity::{CompanyLink, LinkState};
use halo_sync::store::{IdentityStore as _, Store};
use serde_json::json;

use super::kit::*;

async fn link(store: &dyn Store, name: &str) -> CompanyLink {
    let links = store.list_links(&org(), None, None, None, 1000).await.unwrap().rows;
    links.into_iter().find(|link| link.party == key(name)).unwrap()
}

const DOMAIN: (&str, &str, &str) = ("domain", "domain", "acme.com");

async fn every_state_has_its_reason(store: &dyn Store) {
    connected(store).await;
    let acme = company(store, "a", json!({"domain": "acme.com"}), 1).await;
    let twin = |n: i64| async move { company(store, &format!("t{n}"), json!({"name": "Twin"}), n).await };
    let twins = [twin(2).await, twin(3).await];
    customer(store, 1, party("customers/1", &[("metadata", "external_id", "none"), DOMAIN], false)).await;
    customer(store, 2, party("customers/2", &[("name", "name", " TWIN ")], true)).await;
    customer(store, 3, party("customers/3", &[("email", "email", "x@y.z")], false)).await;
    customer(store, 4, party("customers/4", &[], true)).await;
    let linked = link(store, "customers/1").await;
    assert_eq!(
        (linked.state, linked.company_id.as_ref(), linked.rule.as_deref()),
        (LinkState::Linked, Some(&acme), Some("domain"))
    );
    let ambiguous = link(store, "customers/2").await;
    let reason = ambiguous.reason.unwrap();
    assert!(
        ambiguous.state == LinkState::Ambiguous && twins.iter().all(|id| reason.contains(id.as_str())),
        "{reason}"
    );
    let unmatched = link(store, "customers/3").await;
    assert!(unmatched.state == LinkState::Unmatched && unmatched.reason.unwrap().contains("x@y.z"));
    let made = link(store, "customers/4").await;
    assert_eq!((made.state, made.rule.as_deref()), (LinkState::Linked, Some("created")));
    let counts = store.count_identities(&org()).await.unwrap();
    assert_eq!((counts.companies, counts.linked, counts.ambiguous, counts.unmatched), (4, 2, 1, 1));
    let open = store.list_unmatched_party_records(&org(), &con(), None, 10).await.unwrap();
    assert_eq!(open.iter().map(|r| r.key.id.as_str()).collect::<Vec<_>>(), ["2", "3"]);
    let page = store.list_links(&org(), None, None, None, 3).await.unwrap();
    let rest = store.list_links(&org(), None, None, page.next.as_deref(), 3).await.unwrap();
    assert_eq!((page.rows.len(), rest.rows.len()), (3, 1));
    assert_eq!(
        store.list_links(&org(), Some(LinkState::Ambiguous), None, None, 9).await.unwrap().rows.len(),
        1
    );
    assert_eq!(store.list_links(&org(), None, Some(&acme), None, 9).await.unwrap().rows.len(), 1);
}

/// The company comes before the party, or after: the end is the same, and no placeholder is left.
async fn the_order_of_arrival_does_not_matter(store: &dyn Store) {
    connected(store).await;
    let candidates = [("metadata", "external_id", "acme"), DOMAIN];
    customer(store, 1, party("customers/1", &candidates, true)).await;
    let placeholder = link(store, "customers/1").await.company_id.unwrap();
    take_dirty(store).await;
    let real = company(store, "acme", json!({}), 2).await;
    let moved = link(store, "customers/1").await;
    assert_eq!((moved.company_id.as_ref(), moved.rule.as_deref()), (Some(&real), Some("metadata")));
    assert_eq!(store.count_identities(&org()).await.unwrap().companies, 1, "{placeholder} has gone");
    assert_eq!(take_dirty(store).await, [(real.0.clone(), vec!["fields".to_owned(), "link".to_owned()])]);
    customer(store, 3, party("customers/2", &candidates, true)).await;
    assert_eq!(link(store, "customers/2").await.company_id, Some(real));
    assert_eq!(store.count_identities(&org()).await.unwrap().companies, 1);
}

async fn two_parties_of_one_new_domain_share_a_company_and_follow_the_real_one(store: &dyn Store) {
    connected(store).await;
    let mut first = commit(1, vec![]);
    for name in ["customers/1", "customers/2"] {
        let mut seen = party(name, &[DOMAIN], true);
        seen.create.as_mut().unwrap().domain = Some("acme.com".into());
        first.parties.push(seen);
        first.records.push(record(name, Some(name), &[], "v"));
    }
    ingest(store, first).await;
    let one = link(store, "customers/1").await.company_id;
    assert_eq!(one, link(store, "customers/2").await.company_id);
    let real = company(store, "a", json!({"domain": "acme.com"}), 2).await;
    for name in ["customers/1", "customers/2"] {
        assert_eq!(link(store, name).await.company_id.as_ref(), Some(&real));
    }
    assert_eq!(store.count_identities(&org()).await.unwrap().companies, 1);
    // The key goes: both parties need a company again.
    let gone = traits(json!({"domain": null}));
    store.put_company(&org(), &external("a"), &gone, &from(Rank::Server, 3)).await.unwrap();
    let one = link(store, "customers/1").await;
    assert_eq!((one.state, one.rule.as_deref()), (LinkState::Linked, Some("created")));
    assert_ne!(one.company_id, Some(real));
}

async fn a_link_by_hand_is_never_overruled(store: &dyn Store) {
    connected(store).await;
    let a = company(store, "a", json!({"domain": "acme.com"}), 1).await;
    let b = company(store, "b", json!({}), 1).await;
    customer(store, 1, party("customers/1", &[DOMAIN], false)).await;
    assert_eq!(link(store, "customers/1").await.company_id, Some(a.clone()));
    take_dirty(store).await;
    let put = |company: Option<halo_sync::domain::CompanyId>, us| async move {
        store
            .put_manual_link(&org(), &con(), &key("customers/1"), company.as_ref(), at(us))
            .await
            .unwrap()
            .unwrap()
    };
    let by_hand = put(Some(b.clone()), 2).await;
    assert_eq!((by_hand.company_id.as_ref(), by_hand.rule.as_deref()), (Some(&b), Some("manual")));
    assert_eq!(take_dirty(store).await.len(), 2);
    customer(store, 3, party("customers/1", &[("metadata", "external_id", "a"), DOMAIN], true)).await;
    company(store, "a", json!({"name": "again"}), 4).await;
    assert_eq!(link(store, "customers/1").await.company_id, Some(b));
    assert_eq!(put(None, 5).await.state, LinkState::Unmatched);
    customer(store, 6, party("customers/1", &[DOMAIN], true)).await;
    assert_eq!(link(store, "customers/1").await.company_id, None);
    let nobody = store.put_manual_link(&org(), &con(), &key("customers/9"), Some(&a), at(7)).await.unwrap();
    assert_eq!(nobody, None);
}

async fn a_user_makes_its_company_real(store: &dyn Store) {
    connected(store).await;
    customer(store, 1, party("customers/1", &[DOMAIN], true)).await;
    let made = link(store, "customers/1").await.company_id.unwrap();
    store
        .put_user(
            &org(),
            &external("u"),
            &traits(json!({"email": "Jane@Acme.com"})),
            Some(&made),
            &from(Rank::Server, 2),
        )
        .await
        .unwrap();
    let real = company(store, "acme", json!({"domain": "acme.com"}), 3).await;
    assert_eq!(link(store, "customers/1").await.company_id, Some(real));
    let kept = store.load_view(&org(), Some(&external("u")), None).await.unwrap().company.unwrap();
    assert_eq!(kept.id, made, "the user's company stays");
    // A user's address names its company; a claimed one does not.
    customer(store, 4, party("customers/2", &[("email", "email", "jane@acme.com")], false)).await;
    assert_eq!(link(store, "customers/2").await.company_id, Some(made.clone()));
    store
        .put_user(
            &org(),
            &external("v"),
            &traits(json!({"email": "eve@acme.com"})),
            Some(&made),
            &from(Rank::Claimed, 5),
        )
        .await
        .unwrap();
    customer(store, 6, party("customers/3", &[("email", "email", "eve@acme.com")], false)).await;
    assert_eq!(link(store, "customers/3").await.company_id, None);
}

async fn custom_fields_match_and_claimed_ones_do_not(store: &dyn Store) {
    connected(store).await;
    let by_field = [("field", "field:stripe_id", "cus_A")];
    customer(store, 1, party("customers/cus_A", &by_field, false)).await;
    let claim = traits(json!({"stripe_id": "cus_A"}));
    store.put_company(&org(), &external("evil"), &claim, &from(Rank::Claimed, 2)).await.unwrap();
    assert_eq!(link(store, "customers/cus_A").await.state, LinkState::Unmatched);
    let good = company(store, "good", json!({"stripe_id": "cus_A"}), 3).await;
    assert_eq!(link(store, "customers/cus_A").await.company_id, Some(good));
}

async fn deleting_a_connection_leaves_real_companies_dirty(store: &dyn Store) {
    connected(store).await;
    let real = company(store, "a", json!({"domain": "acme.com"}), 1).await;
    customer(store, 1, party("customers/1", &[DOMAIN], false)).await;
    customer(store, 2, party("customers/2", &[], true)).await;
    take_dirty(store).await;
    assert_eq!(store.delete_connection(&org(), &con(), at(3)).await.unwrap(), Some(2));
    assert_eq!(store.delete_connection(&org(), &con(), at(3)).await.unwrap(), None);
    assert_eq!(take_dirty(store).await, [(real.0, vec!["link".to_owned()])]);
    let counts = store.count_identities(&org()).await.unwrap();
    assert_eq!((counts.companies, counts.linked), (1, 0));
    assert!(
        store.commit_ingest(&org(), commit(4, vec![record("customers/3", None, &[], "x")])).await.is_err()
    );
}

async fn concurrent_pages_make_one_company_for_one_domain(store: &dyn Store) {
    connected(store).await;
    let pages = (0..16i64).map(|n| async move {
        let mut seen = party(&format!("customers/{n}"), &[DOMAIN], true);
        seen.create.as_mut().unwrap().domain = Some("acme.com".into());
        customer(store, n + 1, seen).await;
    });
    futures_util::future::join_all(pages).await;
    let counts = store.count_identities(&org()).await.unwrap();
    assert_eq!((counts.companies, counts.linked), (1, 16));
}

contract!(
    every_state_has_its_reason,
    the_order_of_arrival_does_not_matter,
    two_parties_of_one_new_domain_share_a_company_and_follow_the_real_one,
    a_link_by_hand_is_never_overruled,
    a_user_makes_its_company_real,
    custom_fields_match_and_claimed_ones_do_not,
    deleting_a_connection_leaves_real_companies_dirty,
    concurrent_pages_make_one_company_for_one_domain,
);
