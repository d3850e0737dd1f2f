//! Companies and users.

use halo_sync::domain::{ContextEntry, Rank};
use halo_sync::store::identity::Lookup;
use halo_sync::store::{IdentityStore as _, Store, StoreError};
use serde_json::json;

use super::kit::*;

async fn recognised_keys_become_columns_and_the_rest_is_kept(store: &dyn Store) {
    let values = json!({
        "name": "Acme Corp", "domain": "https://WWW.acme.com/", "employee_count": 7, "on_contract": false,
        "renewal_date": "2026-12-31", "signed_up_at": "2025-01-02T03:04:05Z", "tier": {"z": 1, "a": [null, "\u{0}"]},
    });
    let id = company(store, "ext 1", values, 1).await;
    let back = store.find_company(&org(), &external("ext 1")).await.unwrap().unwrap();
    assert_eq!(back.id, id);
    assert_eq!(back.fields.domain.as_deref(), Some("acme.com"));
    assert_eq!((back.fields.employee_count, back.fields.on_contract), (Some(7), Some(false)));
    assert_eq!(back.fields.renewal_date.unwrap().to_string(), "2026-12-31");
    assert_eq!(back.custom_fields["tier"], json!({"z": 1, "a": [null, "\u{0}"]}));
    assert_eq!(store.find_company(&org(), &Lookup::Id(id.0.clone())).await.unwrap(), Some(back));
    assert_eq!(store.find_company(&"org_b".into(), &external("ext 1")).await.unwrap(), None);
}

async fn an_equal_write_changes_nothing_and_dirties_nobody(store: &dyn Store) {
    let id = company(store, "a", json!({"plan": "Pro", "x": 1}), 1).await;
    assert_eq!(take_dirty(store).await, [(id.0.clone(), vec!["fields".to_owned()])]);
    company(store, "a", json!({"plan": "Pro", "x": 1}), 2).await;
    assert_eq!(store.find_company(&org(), &external("a")).await.unwrap().unwrap().updated_at, at(1));
    assert_eq!(take_dirty(store).await, []);
    company(store, "a", json!({"x": 2}), 3).await;
    assert_eq!(take_dirty(store).await, [(id.0, vec!["fields".to_owned()])]);
}

async fn manual_values_stay_until_released(store: &dyn Store) {
    let id = company(store, "a", json!({"plan": "Pro"}), 1).await;
    store
        .put_company(&org(), &external("a"), &traits(json!({"plan": "Gold"})), &from(Rank::Manual, 2))
        .await
        .unwrap();
    company(store, "a", json!({"plan": "Free"}), 3).await;
    let plan = || async { store.find_company(&org(), &external("a")).await.unwrap().unwrap().fields.plan };
    assert_eq!(plan().await.as_deref(), Some("Gold"));
    take_dirty(store).await;
    store.release_company_fields(&org(), &id, &["plan".into(), "name".into()], at(4)).await.unwrap();
    assert_eq!(plan().await, None);
    assert_eq!(take_dirty(store).await, [(id.0, vec!["released".to_owned()])]);
    company(store, "a", json!({"plan": "Free"}), 5).await;
    assert_eq!(plan().await.as_deref(), Some("Free"));
}

async fn what_a_browser_claims_loses_against_the_server(store: &dyn Store) {
    company(store, "a", json!({"plan": "Pro"}), 1).await;
    let claim = traits(json!({"plan": "Enterprise", "theme": "dark"}));
    store.put_company(&org(), &external("a"), &claim, &from(Rank::Claimed, 2)).await.unwrap();
    let row = store.find_company(&org(), &external("a")).await.unwrap().unwrap();
    assert_eq!(row.fields.plan.as_deref(), Some("Pro"));
    assert_eq!(row.custom_fields["theme"], "dark");
    company(store, "a", json!({"theme": "light"}), 3).await;
    let row = store.find_company(&org(), &external("a")).await.unwrap().unwrap();
    assert_eq!(row.custom_fields["theme"], "light");
}

async fn wrong_types_and_reserved_entries_are_refused_whole(store: &dyn Store) {
    let wrong = traits(json!({"name": "x", "employee_count": "seven"}));
    match store.put_company(&org(), &external("a"), &wrong, &from(Rank::Server, 1)).await {
        Err(StoreError::Invalid(text)) => assert!(text.contains("employee_count")),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.find_company(&org(), &external("a")).await.unwrap(), None);
    let mut reserved = traits(json!({}));
    let entry = ContextEntry { label: "x".into(), kind: None, value: json!(1) };
    reserved.context.insert("halo.subscriptions".into(), Some(entry));
    assert!(store.put_company(&org(), &external("a"), &reserved, &from(Rank::Server, 1)).await.is_err());
    assert!(
        store.put_company(&org(), &external(""), &traits(json!({})), &from(Rank::Server, 1)).await.is_err()
    );
    assert!(
        store
            .put_company(&org(), &Lookup::Id("cmp_none".into()), &traits(json!({})), &from(Rank::Server, 1))
            .await
            .is_err()
    );
}

async fn context_entries_are_replaced_whole(store: &dyn Store) {
    let entry = |value| Some(ContextEntry { label: "L".into(), kind: None, value });
    let mut patch = traits(json!({}));
    patch.context.insert("a".into(), entry(json!({"x": 1, "y": 2})));
    patch.context.insert("b".into(), entry(json!(1)));
    store.put_company(&org(), &external("a"), &patch, &from(Rank::Server, 1)).await.unwrap();
    let mut patch = traits(json!({}));
    patch.context.insert("a".into(), entry(json!({"x": 3})));
    patch.context.insert("b".into(), None);
    let row = store.put_company(&org(), &external("a"), &patch, &from(Rank::Server, 2)).await.unwrap();
    assert_eq!(row.context.len(), 1);
    assert_eq!(row.context["a"].value, json!({"x": 3}));
}

async fn lists_page_in_order_of_creation_and_search_word_beginnings(store: &dyn Store) {
    for (n, name) in ["Acme Corp", "Beta_100% Ltd", "Gamma acme"].iter().enumerate() {
        company(store, &format!("ext-{n}"), json!({"name": name}), i64::try_from(n).unwrap() * 2_000).await;
    }
    let first = store.list_companies(&org(), None, None, 2).await.unwrap();
    assert_eq!(first.rows.len(), 2);
    let rest = store.list_companies(&org(), None, first.next.as_deref(), 2).await.unwrap();
    assert_eq!((rest.rows.len(), rest.next), (1, None));
    for (search, found) in [
        ("acm", 2),
        ("ACME", 2),
        ("cme", 0),
        ("beta_1", 1),
        ("beta%", 0),
        ("100%", 0),
        ("ext-1", 1),
        ("%", 0),
    ] {
        let rows = store.list_companies(&org(), Some(search), None, 10).await.unwrap().rows;
        assert_eq!(rows.len(), found, "{search}");
    }
}

async fn moving_a_user_dirties_both_companies(store: &dyn Store) {
    let a = company(store, "a", json!({}), 1).await;
    let b = company(store, "b", json!({}), 1).await;
    take_dirty(store).await;
    let put = |company: Option<halo_sync::domain::CompanyId>, us, values| async move {
        store
            .put_user(&org(), &external("u"), &traits(values), company.as_ref(), &from(Rank::Server, us))
            .await
            .unwrap()
    };
    let user = put(Some(a.clone()), 2, json!({"email": "jane@acme.com", "role": "owner"})).await;
    assert_eq!((user.first_seen, user.last_seen), (Some(at(2)), Some(at(2))));
    assert_eq!(user.custom_fields["role"], "owner");
    assert_eq!(take_dirty(store).await, [(a.0.clone(), vec!["members".to_owned()])]);
    put(None, 3, json!({"role": "admin"})).await;
    assert_eq!(take_dirty(store).await, []);
    put(Some(b.clone()), 4, json!({})).await;
    let mut both = vec![a.0.clone(), b.0.clone()];
    both.sort();
    assert_eq!(take_dirty(store).await.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), both);
    // A test user does not count: that changes the team.
    put(None, 5, json!({"is_test": true})).await;
    assert_eq!(take_dirty(store).await.len(), 1);
    let view = store.load_view(&org(), Some(&external("u")), None).await.unwrap();
    assert_eq!(view.company.unwrap().id, b);
    assert!(view.user.unwrap().is_test);
    let missing = store
        .put_user(
            &org(),
            &external("u"),
            &traits(json!({})),
            Some(&"cmp_none".into()),
            &from(Rank::Server, 6),
        )
        .await;
    assert!(matches!(missing, Err(StoreError::Invalid(_))));
    assert!(store.delete_user(&org(), &user.id, at(7)).await.unwrap());
    assert!(!store.delete_user(&org(), &user.id, at(7)).await.unwrap());
    assert_eq!(store.list_users(&org(), Some(&b), None, 10).await.unwrap().rows, vec![]);
}

async fn concurrent_writers_of_one_company_lose_nothing(store: &dyn Store) {
    let writes = (0..20).map(|n| async move {
        company(store, "shared", json!({ (format!("k{n}")): n }), n).await;
    });
    futures_util::future::join_all(writes).await;
    let row = store.find_company(&org(), &external("shared")).await.unwrap().unwrap();
    assert_eq!(row.custom_fields.len(), 20);
    assert_eq!(store.count_identities(&org()).await.unwrap().companies, 1);
}

contract!(
    recognised_keys_become_columns_and_the_rest_is_kept,
    an_equal_write_changes_nothing_and_dirties_nobody,
    manual_values_stay_until_released,
    what_a_browser_claims_loses_against_the_server,
    wrong_types_and_reserved_entries_are_refused_whole,
    context_entries_are_replaced_whole,
    lists_page_in_order_of_creation_and_search_word_beginnings,
    moving_a_user_dirties_both_companies,
    concurrent_writers_of_one_company_lose_nothing,
);
