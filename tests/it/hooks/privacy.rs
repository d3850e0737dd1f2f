//! A person whom the provider was told to forget is nowhere here either, and does not come back.

use connector_sdk::RecordKey;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::hubspot::Kind;
use halo_sync::service::Request;
use serde_json::json;

use super::hubspot::{connect, sandbox};
use crate::support::app::{App, on_both};

on_both!(
    nothing_of_a_forgotten_person_is_left,
    what_named_a_forgotten_person_is_read_again_though_the_first_try_fails,
    nor_of_those_who_were_merged_into_them,
);

const HUBSPOT: &str = "hubspot";

async fn nothing_of_a_forgotten_person_is_left(app: &App) {
    let hubspot = sandbox(app, 62_515).await;
    let company = hubspot.create(Kind::Companies, &json!({"name": "Acme", "domain": "acme.example"}));
    let person = |name: &str, email: &str| {
        hubspot.create(
            Kind::Contacts,
            &json!({"firstname": name, "lastname": "Person", "email": email, "phone": name}),
        )
    };
    let (canary, other) = (person("Canary", "canary@acme.example"), person("Jane", "jane@acme.example"));
    let deal = hubspot.create(Kind::Deals, &json!({"dealname": "Renewal", "amount": "100"}));
    for id in [canary, other] {
        hubspot.associate((Kind::Contacts, id), (Kind::Companies, company), true);
        hubspot.associate((Kind::Deals, deal), (Kind::Contacts, id), false);
    }
    hubspot.associate((Kind::Deals, deal), (Kind::Companies, company), true);
    let (connection, url) = connect(app, &app.org, &hubspot, HUBSPOT, json!({})).await;
    hubspot.register_webhook(&url);
    let flush = async || {
        let sent = hubspot.flush().await;
        assert!(!sent.is_empty() && sent.iter().all(|sent| sent.status == Some(200)), "{sent:?}");
    };
    hubspot.update(Kind::Contacts, canary, &json!({"email": "canary.new@acme.example"}));
    hubspot.update(Kind::Contacts, other, &json!({"phone": "1"}));
    hubspot.update(Kind::Companies, company, &json!({"name": "Acme & Sons"}));
    flush().await;
    app.drain().await;
    let key = format!("contacts/{canary}");
    let canaries = ["canary", key.as_str()];
    let held = app.holding(&canaries).await;
    for table in [
        "mirror_records",
        "record_refs",
        "deliveries",
        "end_users",
        "user_links",
        "user_candidates",
        "company_keys",
    ] {
        assert!(held.iter().any(|place| place.contains(&format!(" in {table}:"))), "{table}: {held:#?}");
    }
    let record = async |stream: &str, id: u64| {
        let keys = [RecordKey::new(stream, id.to_string())];
        app.store.load_records(&app.org, &connection.id, &keys).await.unwrap().pop()
    };

    // A change of theirs that still waits when the demand comes, and one that comes after it.
    hubspot.update(Kind::Contacts, canary, &json!({"email": "canary.waits@acme.example"}));
    let mut late = hubspot.take_events();
    let waits = late.clone();
    assert!(hubspot.deliver(&waits).await.iter().all(|sent| sent.status == Some(200)));
    assert!(hubspot.erase_contact(canary));
    flush().await;
    app.drain().await;
    assert_eq!(app.holding(&canaries).await, [""; 0]);
    for event in &mut late {
        event.body["eventId"] = json!(900_001);
        event.body["occurredAt"] = json!(app.now().timestamp_millis());
    }
    hubspot.deliver(&late).await;
    app.drain().await;
    assert_eq!(app.holding(&canaries).await, [""; 0]);

    // Neither a full read nor somebody who calls themselves so by another id is touched by it.
    app.pass(120);
    let request = Request::Sync { connection: HUBSPOT.to_owned(), full: true, streams: Vec::new() };
    app.execute(request).await.unwrap();
    app.drain().await;
    assert_eq!(app.holding(&canaries).await, [""; 0]);
    for (stream, id) in [("contacts", other), ("companies", company), ("deals", deal)] {
        let kept = record(stream, id).await.unwrap_or_else(|| panic!("{stream}/{id} went, too"));
        assert!(kept.deleted_at.is_none(), "{kept:?}");
    }
    assert!(app.deliveries().await.iter().any(|delivery| delivery.state == "applied"), "others' stay");
    hubspot.update(Kind::Deals, deal, &json!({"amount": "200"}));
    flush().await;
    app.drain().await;
    assert!(record("deals", deal).await.unwrap().payload.contains("200"), "what named them is still read");
}

async fn what_named_a_forgotten_person_is_read_again_though_the_first_try_fails(app: &App) {
    let hubspot = sandbox(app, 62_515).await;
    let canary =
        hubspot.create(Kind::Contacts, &json!({"firstname": "Canary", "email": "canary@acme.example"}));
    let deal = hubspot.create(Kind::Deals, &json!({"dealname": "Renewal"}));
    hubspot.associate((Kind::Deals, deal), (Kind::Contacts, canary), false);
    let (connection, url) = connect(app, &app.org, &hubspot, HUBSPOT, json!({})).await;
    hubspot.register_webhook(&url);
    let keys = [RecordKey::new("deals", deal.to_string())];
    let names_them = async || {
        let deals = app.store.load_records(&app.org, &connection.id, &keys).await.unwrap();
        deals[0].payload.contains(&canary.to_string())
    };
    assert!(names_them().await, "the deal's record names its contact");
    assert!(hubspot.erase_contact(canary));
    assert!(hubspot.flush().await.iter().all(|sent| sent.status == Some(200)));
    // Nothing can be read when the demand is worked off.
    hubspot.faults().add(FaultRule {
        path: "/crm".to_owned(),
        skip: 0,
        times: 20,
        fault: Fault::Status(503),
    });
    app.drain_due().await;
    hubspot.faults().clear();
    app.drain_retries().await;
    assert!(!names_them().await, "it was read again");
    assert_eq!(app.holding(&["canary", &format!("contacts/{canary}")]).await, [""; 0]);
}

async fn nor_of_those_who_were_merged_into_them(app: &App) {
    let hubspot = sandbox(app, 62_515).await;
    let person = |name: &str| {
        hubspot.create(Kind::Contacts, &json!({"firstname": name, "email": format!("{name}@acme.example")}))
    };
    let (first, second, other, third) = (person("Canary"), person("Jane"), person("Canary2"), person("Joan"));
    let (_, url) = connect(app, &app.org, &hubspot, HUBSPOT, json!({})).await;
    hubspot.register_webhook(&url);
    let flush = async || {
        let sent = hubspot.flush().await;
        assert!(!sent.is_empty() && sent.iter().all(|sent| sent.status == Some(200)), "{sent:?}");
    };
    assert_ne!(app.holding(&["canary"]).await, [""; 0]);
    // The merge is known when the demand comes.
    let left = hubspot.merge(Kind::Contacts, second, first).unwrap();
    flush().await;
    app.drain().await;
    assert!(hubspot.erase_contact(left));
    flush().await;
    app.drain().await;
    let [first, second, left] = [first, second, left].map(|id| format!("contacts/{id}"));
    assert_eq!(app.holding(&["canary@", "jane", &first, &second, &left]).await, [""; 0]);
    // Or both are worked off at once, and what was merged into whom cannot be read any more.
    let left = hubspot.merge(Kind::Contacts, third, other).unwrap();
    assert!(hubspot.erase_contact(left));
    flush().await;
    app.drain().await;
    assert_eq!(app.holding(&["canary", "joan"]).await, [""; 0]);
}
