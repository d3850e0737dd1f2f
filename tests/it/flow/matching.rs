//! Which company a customer is.

use connector_sdk::RecordKey;
use halo_sync::domain::Rank;
use halo_sync::domain::companies::{Company, TraitPatch};
use halo_sync::service::Request;
use halo_sync::store::identity::{CompanyLink, LinkState, Lookup, WriteSource};
use serde_json::{Value, json};

use crate::support::app::{App, STRIPE, on_both};

on_both!(
    customers_find_their_companies,
    a_link_by_hand_is_never_overruled,
    a_company_that_comes_later_is_found,
    an_id_that_was_noted_keeps_nobody,
);

/// A company as the product's backend tells of it.
async fn told(app: &App, id: &str, traits: Value) -> Company {
    let patch = TraitPatch { traits: traits.as_object().unwrap().clone(), ..TraitPatch::default() };
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
    app.store.put_company(&app.org, &Lookup::External(id.to_owned()), &patch, &source).await.unwrap()
}

async fn link_of(app: &App, customer: &str) -> CompanyLink {
    let all = app.store.list_links(&app.org, None, None, None, 100).await.unwrap().rows;
    all.into_iter().find(|link| link.party.id == customer).unwrap()
}

fn subscribed(app: &App, id: &str, extra: Value) {
    let mut form = json!({"id": id, "name": id});
    for (name, value) in extra.as_object().unwrap() {
        form[name] = value.clone();
    }
    app.call("POST", "/v1/customers", form);
    app.call("POST", "/v1/subscriptions", json!({"customer": id, "items": [{"price": "price_Starter"}]}));
}

async fn customers_find_their_companies(app: &App) {
    app.price("Starter", 2_900);
    let by_metadata = told(app, "c-1", json!({"name": "Metadata"})).await;
    let by_field = told(app, "c-2", json!({"name": "Field", "billing_ref": "cus_field"})).await;
    let by_domain = told(app, "c-3", json!({"name": "Domain", "domain": "domain.example"})).await;
    for id in ["c-4", "c-5"] {
        told(app, id, json!({"name": id, "domain": "twice.example"})).await;
    }
    subscribed(app, "cus_metadata", json!({"metadata": {"company_id": "C-1 "}}));
    subscribed(app, "cus_field", json!({"metadata": {"company_id": "c-1"}}));
    subscribed(app, "cus_domain", json!({"email": "billing@Domain.example"}));
    subscribed(app, "cus_twice", json!({"email": "billing@twice.example"}));
    subscribed(app, "cus_nobody", json!({"email": "somebody@gmail.com"}));
    app.connect(json!({"link": {"customer_id_field": "billing_ref", "create_companies": false}})).await;
    app.drain().await;

    for (customer, rule, company) in [
        ("cus_metadata", "metadata", &by_metadata),
        ("cus_field", "field", &by_field),
        ("cus_domain", "domain", &by_domain),
    ] {
        let link = link_of(app, customer).await;
        assert_eq!((link.state, link.rule.as_deref()), (LinkState::Linked, Some(rule)), "{link:?}");
        assert_eq!(link.company_id.as_ref(), Some(&company.id));
        let name = company.fields.name.as_deref().unwrap();
        assert_eq!(app.company(name).await.fields.mrr_minor, Some(2_900), "{name}");
    }
    let twice = link_of(app, "cus_twice").await;
    assert_eq!((twice.state, &twice.company_id), (LinkState::Ambiguous, &None));
    let nobody = link_of(app, "cus_nobody").await;
    assert_eq!((nobody.state, &nobody.company_id), (LinkState::Unmatched, &None));
    for link in [twice, nobody] {
        assert!(link.reason.as_deref().is_some_and(|why| !why.is_empty()), "{link:?}");
    }
    assert_eq!(app.companies().await.len(), 5, "none was made");
}

async fn a_link_by_hand_is_never_overruled(app: &App) {
    app.price("Starter", 2_900);
    let right = told(app, "right", json!({"name": "Right"})).await;
    told(app, "wrong", json!({"name": "Wrong"})).await;
    subscribed(app, "cus_1", json!({"metadata": {"company_id": "wrong"}}));
    app.connected().await;
    app.lose_events();
    assert_eq!(app.company("Wrong").await.fields.mrr_minor, Some(2_900));
    let link = |company: Option<&str>| Request::Link {
        connection: STRIPE.to_owned(),
        party: RecordKey::new("customers", "cus_1"),
        company: company.map(str::to_owned),
    };
    app.execute(link(Some("right"))).await.unwrap();
    app.drain().await;
    assert_eq!(app.company("Right").await.fields.mrr_minor, Some(2_900));
    assert_eq!(app.company("Wrong").await.fields.mrr_minor, None, "what derivation wrote went with the link");

    let metadata = json!({"metadata": {"company_id": "wrong", "round": "2"}});
    app.call("POST", "/v1/customers/cus_1", metadata);
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    app.sync(true).await;
    let found = link_of(app, "cus_1").await;
    assert_eq!((found.rule.as_deref(), found.company_id), (Some("manual"), Some(right.id)));

    // Nobody's, by hand.
    app.execute(link(None)).await.unwrap();
    app.sync(true).await;
    assert_eq!(link_of(app, "cus_1").await.company_id, None);
    for name in ["Right", "Wrong"] {
        assert_eq!(app.company(name).await.fields.mrr_minor, None, "{name}");
    }
    assert_eq!(app.companies().await.len(), 2);
}

async fn a_company_that_comes_later_is_found(app: &App) {
    app.price("Starter", 2_900);
    subscribed(app, "cus_1", json!({"metadata": {"company_id": "late"}}));
    app.connect(json!({"link": {"create_companies": false}})).await;
    app.drain().await;
    assert_eq!(link_of(app, "cus_1").await.state, LinkState::Unmatched);
    told(app, "late", json!({"name": "Late"})).await;
    app.drain().await;
    assert_eq!(link_of(app, "cus_1").await.state, LinkState::Linked);
    assert_eq!(app.company("Late").await.fields.mrr_minor, Some(2_900));
}

/// Derivation notes the customer's id on its company. That is no reason for the customer to stay; what the product itself
/// sends is.
async fn an_id_that_was_noted_keeps_nobody(app: &App) {
    app.price("Starter", 2_900);
    told(app, "c-1", json!({"name": "Bolt", "domain": "bolt.example"})).await;
    let right = told(app, "c-2", json!({"name": "Nuts", "domain": "nuts.example"})).await;
    let sent = told(app, "c-3", json!({"name": "Sent", "stripe_customer_id": "cus_sent"})).await;
    subscribed(app, "cus_moves", json!({"email": "billing@bolt.example"}));
    subscribed(app, "cus_sent", json!({}));
    app.connect(json!({"link": {"create_companies": false}})).await;
    app.drain().await;
    for name in ["Bolt", "Sent"] {
        let company = app.company(name).await;
        assert!(company.custom_fields.contains_key("stripe_customer_id"), "{company:?}");
    }
    // Each written anew, keys and all.
    told(app, "c-1", json!({"name": "Bolt Ltd"})).await;
    told(app, "c-3", json!({"name": "Sent Ltd"})).await;
    app.call("POST", "/v1/customers/cus_moves", json!({"email": "billing@nuts.example"}));
    app.sync(false).await;
    assert_eq!(link_of(app, "cus_moves").await.company_id, Some(right.id));
    assert_eq!(link_of(app, "cus_sent").await.company_id, Some(sent.id));
}
