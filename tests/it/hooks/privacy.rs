//! A person whom the provider was told to forget is nowhere here either, and does not come back.

use connector_sdk::RecordKey;
use connector_testkit::sandbox::hubspot::Kind;
use halo_sync::service::Request;
use serde_json::json;

use super::hubspot::{connect, sandbox};
use crate::support::app::{App, on_both};

on_both!(nothing_of_a_forgotten_person_is_left);

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
