//! A CRM's contacts are end users.

use std::sync::Arc;

use connector_testkit::sandbox::hubspot::{HubSpotSandbox, Kind, Options};
use halo_sync::domain::Rank;
use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::users::EndUser;
use halo_sync::service::{Connect, Request};
use halo_sync::store::identity::{Lookup, WriteSource};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(contacts_become_users_of_their_companies, users_are_not_made_where_it_is_switched_off);

async fn sandbox(app: &App) -> HubSpotSandbox {
    let clock = Arc::new(app.clock.clone());
    HubSpotSandbox::start(Options { clock, ..Options::default() }).await.unwrap()
}

async fn connect(app: &App, hubspot: &HubSpotSandbox, settings: Value) {
    let mut config = json!({"base_url": hubspot.base_url(), "rate_limit": "none"});
    for (name, value) in settings.as_object().unwrap() {
        config[name] = value.clone();
    }
    let connect = Connect {
        connector: "hubspot".to_owned(),
        name: "hubspot".to_owned(),
        config,
        secrets: vec![("api_key".to_owned(), hubspot.access_token().into())],
        webhook_secrets: Vec::new(),
        backfill: true,
    };
    app.execute(Request::Connect(connect)).await.unwrap();
    app.drain().await;
}

async fn sync(app: &App, full: bool) {
    app.pass(120);
    let request = Request::Sync { connection: "hubspot".to_owned(), full, streams: Vec::new() };
    app.execute(request).await.unwrap();
    app.drain().await;
}

/// Users by address.
async fn user(app: &App, email: &str) -> Option<EndUser> {
    let all = app.store.list_users(&app.org, None, None, 1_000).await.unwrap().rows;
    let mut found = all.into_iter().filter(|user| user.fields.email.as_deref() == Some(email));
    let first = found.next();
    assert!(found.next().is_none(), "{email} twice");
    first
}

async fn told(app: &App, id: &str, traits: Value) {
    let patch = TraitPatch { traits: traits.as_object().unwrap().clone(), ..TraitPatch::default() };
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
    app.store.put_user(&app.org, &Lookup::External(id.to_owned()), &patch, None, &source).await.unwrap();
}

async fn contacts_become_users_of_their_companies(app: &App) {
    let hubspot = sandbox(app).await;
    hubspot.define_property(Kind::Contacts, "jobtitle", "Job title", &[]);
    let owner = hubspot.add_owner("sam@us.example", "Sam", "Seller", false);
    let [one, two] = ["one", "two"].map(|name| {
        hubspot.create(Kind::Companies, &json!({"name": name, "domain": format!("{name}.example")}))
    });
    let person = |given: &str, email: &str| {
        hubspot.create(
            Kind::Contacts,
            &json!({"firstname": given, "lastname": "Doe", "email": email, "jobtitle": "CTO",
                "lifecyclestage": "customer", "hubspot_owner_id": owner.to_string()}),
        )
    };
    let jane = person("Jane", "jane@gmail.com");
    hubspot.associate((Kind::Contacts, jane), (Kind::Companies, two), false);
    hubspot.associate((Kind::Contacts, jane), (Kind::Companies, one), true);
    let ann = person("Ann", "ann@one.example");
    hubspot.associate((Kind::Contacts, ann), (Kind::Companies, one), true);
    // Of no company: by the domain that one has, and by no free-mail domain.
    person("Bob", "bob@two.example");
    person("Eve", "eve@gmail.com");
    told(app, "u-ann", json!({"name": "Ann from the product", "email": "ann@one.example"})).await;
    connect(app, &hubspot, json!({"fields": {"contacts": {"job_title": "jobtitle"}}})).await;

    let of = async |email: &str| {
        let user = user(app, email).await.unwrap_or_else(|| panic!("{email}"));
        let companies = app.companies().await;
        let company = companies.into_iter().find(|company| Some(&company.id) == user.company_id.as_ref());
        (user, company.and_then(|company| company.fields.name))
    };
    let (jane_user, company) = of("jane@gmail.com").await;
    assert_eq!(company.as_deref(), Some("one"), "the main one");
    assert_eq!((jane_user.source.as_str(), &jane_user.external_id), ("hubspot", &None));
    assert_eq!(jane_user.fields.name.as_deref(), Some("Jane Doe"));
    for (key, value) in [("job_title", "CTO"), ("lifecycle_stage", "customer"), ("owner", "Sam Seller")] {
        assert_eq!(jane_user.custom_fields[key], value);
        let from = &jane_user.provenance[key];
        assert_eq!((from.rank, from.source.as_str()), (Rank::Synced, "hubspot"));
    }
    let (ann_user, company) = of("ann@one.example").await;
    assert_eq!((ann_user.external_id.as_deref(), company.as_deref()), (Some("u-ann"), Some("one")));
    assert_eq!(ann_user.fields.name.as_deref(), Some("Ann from the product"));
    assert_eq!(ann_user.custom_fields["owner"], "Sam Seller");
    assert_eq!(of("bob@two.example").await.1.as_deref(), Some("two"));
    assert_eq!(of("eve@gmail.com").await.1, None);
    assert_eq!(app.company("one").await.fields.team_size, Some(2));

    // The same again changes nothing.
    let before = app.store.list_users(&app.org, None, None, 1_000).await.unwrap().rows;
    sync(app, true).await;
    assert_eq!(app.store.list_users(&app.org, None, None, 1_000).await.unwrap().rows, before);

    // The contact moves, and the product learns of her: it is the same user.
    hubspot.dissociate((Kind::Contacts, jane), (Kind::Companies, one));
    hubspot.associate((Kind::Contacts, jane), (Kind::Companies, two), true);
    hubspot.update(Kind::Contacts, jane, &json!({"lifecyclestage": "evangelist"}));
    sync(app, true).await;
    told(app, "u-jane", json!({"email": "jane@gmail.com"})).await;
    app.drain().await;
    let (jane_user, company) = of("jane@gmail.com").await;
    assert_eq!((jane_user.external_id.as_deref(), company.as_deref()), (Some("u-jane"), Some("two")));
    assert_eq!(jane_user.custom_fields["lifecycle_stage"], "evangelist");
    assert_eq!(app.company("one").await.fields.team_size, Some(1));
    assert_eq!(app.company("two").await.fields.team_size, Some(2));

    // Archived and merged.
    let old = person("Bobby", "bobby@two.example");
    sync(app, true).await;
    assert!(user(app, "bobby@two.example").await.is_some());
    let bob = hubspot.ids(Kind::Contacts).into_iter().find(|id| *id > ann && *id < old).unwrap();
    assert!(hubspot.merge(Kind::Contacts, bob, old).is_some());
    assert!(hubspot.archive(Kind::Contacts, jane));
    sync(app, true).await;
    assert!(user(app, "bobby@two.example").await.is_none());
    let (jane_user, _) = of("jane@gmail.com").await;
    assert!(!jane_user.custom_fields.contains_key("lifecycle_stage"), "{jane_user:?}");
}

async fn users_are_not_made_where_it_is_switched_off(app: &App) {
    let hubspot = sandbox(app).await;
    let company = hubspot.create(Kind::Companies, &json!({"name": "one", "domain": "one.example"}));
    for email in ["ann@one.example", "bob@one.example"] {
        let id = hubspot.create(Kind::Contacts, &json!({"email": email, "lifecyclestage": "lead"}));
        hubspot.associate((Kind::Contacts, id), (Kind::Companies, company), true);
    }
    told(app, "u-ann", json!({"email": "ann@one.example"})).await;
    connect(app, &hubspot, json!({"link": {"create_users": false}})).await;
    assert!(user(app, "bob@one.example").await.is_none());
    let ann = user(app, "ann@one.example").await.unwrap();
    assert_eq!((&ann.custom_fields["lifecycle_stage"], ann.company_id.is_some()), (&json!("lead"), true));
}
