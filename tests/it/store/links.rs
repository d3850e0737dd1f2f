//! Who is whose company.

use halo_sync::domain::Rank;
use halo_sync::store::Store;
use halo_sync::store::identity::{CompanyLink, LinkState, PartyObserved};
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

const IN_CRM: &str = "stripe_company_id";

/// A CRM company that says under which ids it was known before, and by which domains.
fn merged(name: &str, of: &[&str], candidates: &[(&'static str, &str, &str)]) -> PartyObserved {
    PartyObserved { merged: of.iter().map(|name| key(name)).collect(), ..party(name, candidates, true) }
}

/// A new party takes the place of two, each of which had a company that was made for it: there is one company then, and
/// whatever names one of the old ones finds it.
async fn what_two_parties_were_merged_into_has_one_company_of_theirs(store: &dyn Store) {
    connected(store).await;
    let domains = [("domain", "domain", "one.com"), ("domain", "domain", "two.com")];
    let mut companies = Vec::new();
    for (n, domain) in [(1, "one.com"), (2, "two.com")] {
        let mut seen = party(&format!("companies/{n}"), &domains[n - 1..n], true);
        seen.create.as_mut().unwrap().domain = Some(domain.into());
        customer(store, n as i64, seen).await;
        companies.push(link(store, &format!("companies/{n}")).await.company_id.unwrap());
    }
    let of_old = [("association", "party:stripe/companies", "2")];
    customer(store, 3, party("deals/9", &of_old, false)).await;
    assert_eq!(link(store, "deals/9").await.company_id.as_ref(), companies.get(1));
    take_dirty(store).await;
    let seen = merged("companies/3", &["companies/1", "companies/2"], &domains);
    customer(store, 4, seen.clone()).await;
    let left = link(store, "companies/3").await;
    let company_id = left.company_id.clone().unwrap();
    assert!(left.state == LinkState::Linked && companies.contains(&company_id), "{left:?}");
    for name in ["companies/1", "companies/2", "deals/9"] {
        assert_eq!(link(store, name).await.company_id, left.company_id, "{name}");
    }
    assert_eq!(store.count_identities(&org()).await.unwrap().companies, 1, "the other one has gone");
    let dirty = take_dirty(store).await;
    assert_eq!(dirty.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), [company_id.as_str()]);
    assert!(dirty[0].1.contains(&"link".to_owned()), "{dirty:?}");
    // The same again changes no link.
    customer(store, 5, seen).await;
    let dirty = take_dirty(store).await;
    assert!(dirty.iter().all(|(_, reasons)| !reasons.contains(&"link".to_owned())), "{dirty:?}");
    // All of them go on to a real company.
    let real = company(store, "a", json!({"domain": "two.com"}), 6).await;
    for name in ["companies/1", "companies/2", "companies/3", "deals/9"] {
        assert_eq!(link(store, name).await.company_id.as_ref(), Some(&real), "{name}");
    }
    assert_eq!(store.count_identities(&org()).await.unwrap().companies, 1);
    // And what is left may be merged into another, in one page with it.
    let mut page = commit(7, vec![]);
    for seen in [
        merged("companies/3", &["companies/1", "companies/2"], &domains),
        merged("companies/4", &["companies/1", "companies/2", "companies/3"], &[]),
    ] {
        page.parties.push(seen);
    }
    ingest(store, page).await;
    for name in ["companies/1", "companies/2", "companies/3", "companies/4", "deals/9"] {
        assert_eq!(link(store, name).await.company_id.as_ref(), Some(&real), "{name}");
    }
}

/// What somebody decided for a party holds for what it was merged into, which may be a new one or an old one.
async fn a_link_by_hand_outlives_a_merge(store: &dyn Store) {
    connected(store).await;
    let a = company(store, "a", json!({"domain": "acme.com"}), 1).await;
    let b = company(store, "b", json!({}), 1).await;
    for n in 1..=4 {
        customer(store, n, party(&format!("companies/{n}"), &[DOMAIN], true)).await;
        assert_eq!(link(store, &format!("companies/{n}")).await.company_id.as_ref(), Some(&a));
    }
    let by_hand = async |name: &str, company: Option<&halo_sync::domain::CompanyId>, us| {
        store.put_manual_link(&org(), &con(), &key(name), company, at(us)).await.unwrap().unwrap()
    };
    by_hand("companies/1", Some(&b), 5).await;
    take_dirty(store).await;
    customer(store, 6, merged("companies/9", &["companies/1", "companies/2"], &[DOMAIN])).await;
    let left = link(store, "companies/9").await;
    assert_eq!((left.company_id.as_ref(), left.rule.as_deref()), (Some(&b), Some("manual")));
    assert_eq!(take_dirty(store).await.len(), 2, "that which one of them left, and that which it came to");
    for name in ["companies/1", "companies/2"] {
        assert_eq!(link(store, name).await.company_id.as_ref(), Some(&b), "{name}");
    }
    // Merged into one that keeps its id: nobody's, as somebody said.
    by_hand("companies/4", None, 7).await;
    customer(store, 8, merged("companies/3", &["companies/4", "companies/3"], &[DOMAIN])).await;
    let left = link(store, "companies/3").await;
    assert_eq!(
        (left.company_id, left.rule.as_deref(), left.state),
        (None, Some("manual"), LinkState::Unmatched)
    );
    // Two that were decided otherwise wait for somebody, and neither decision is lost.
    customer(store, 9, merged("companies/10", &["companies/9", "companies/3"], &[DOMAIN])).await;
    let left = link(store, "companies/10").await;
    assert_eq!((left.state, left.company_id), (LinkState::Ambiguous, None));
    assert!(left.reason.unwrap().contains(b.as_str()));
    company(store, "a", json!({"name": "again", "domain": "other.com"}), 10).await;
    assert_eq!(link(store, "companies/10").await.state, LinkState::Ambiguous);
    assert_eq!(link(store, "companies/9").await.company_id.as_ref(), Some(&b));
    by_hand("companies/10", Some(&a), 11).await;
    customer(store, 12, merged("companies/10", &["companies/9", "companies/3"], &[])).await;
    for name in ["companies/3", "companies/9", "companies/10"] {
        assert_eq!(link(store, name).await.company_id.as_ref(), Some(&a), "{name}");
    }
}

/// A company that keeps the old id leads there; two that keep one each are one too many.
async fn an_id_that_a_company_keeps_leads_what_it_was_merged_into_there(store: &dyn Store) {
    connected(store).await;
    let x = company(store, "x", json!({IN_CRM: "1"}), 1).await;
    let kind = format!("field:{IN_CRM}");
    let ids: Vec<(&'static str, &str, &str)> =
        vec![("provider_id", &kind, "9"), ("merged", &kind, "1"), ("merged", &kind, "2")];
    customer(store, 2, merged("companies/9", &["companies/1", "companies/2"], &ids)).await;
    let left = link(store, "companies/9").await;
    assert_eq!((left.company_id.as_ref(), left.rule.as_deref()), (Some(&x), Some("merged")));
    let y = company(store, "y", json!({IN_CRM: "2"}), 3).await;
    let left = link(store, "companies/9").await;
    let reason = left.reason.unwrap_or_default();
    assert!(left.state == LinkState::Ambiguous && reason.contains(x.as_str()) && reason.contains(y.as_str()));
    let z = company(store, "z", json!({IN_CRM: "9"}), 4).await;
    assert_eq!(link(store, "companies/9").await.company_id, Some(z), "its own id comes first");
}

contract!(
    what_two_parties_were_merged_into_has_one_company_of_theirs,
    a_link_by_hand_outlives_a_merge,
    an_id_that_a_company_keeps_leads_what_it_was_merged_into_there,
    every_state_has_its_reason,
    the_order_of_arrival_does_not_matter,
    two_parties_of_one_new_domain_share_a_company_and_follow_the_real_one,
    a_link_by_hand_is_never_overruled,
    a_user_makes_its_company_real,
    custom_fields_match_and_claimed_ones_do_not,
    deleting_a_connection_leaves_real_companies_dirty,
    concurrent_pages_make_one_company_for_one_domain,
);
