//! One company of several tools: what each knows of it finds the others, in whatever order they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_sdk::RecordKey;
use connector_testkit::sandbox::hubspot::{self, HubSpotSandbox, Kind};
use connector_testkit::sandbox::pandadoc::{self, PandaDocSandbox};
use halo_sync::domain::runs::RunStatus;
use halo_sync::service::{Connect, Request};
use halo_sync::store::identity::LinkState;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    three_tools_make_one_company_in_every_order,
    a_document_follows_its_deal,
    what_addresses_suggest_comes_last,
    what_was_extracted_stays_known_while_it_is_worked_out_again,
);

/// The other two tools.
struct Others {
    hubspot: HubSpotSandbox,
    pandadoc: PandaDocSandbox,
}

impl Others {
    async fn start(app: &App) -> Self {
        let clock = || Arc::new(app.clock.clone());
        let hubspot = hubspot::Options { clock: clock(), ..hubspot::Options::default() };
        let pandadoc = pandadoc::Options { clock: clock(), ..pandadoc::Options::default() };
        Self {
            hubspot: HubSpotSandbox::start(hubspot).await.unwrap(),
            pandadoc: PandaDocSandbox::start(pandadoc).await.unwrap(),
        }
    }

    /// Connects one of them, or the app's own, and works until all is read and derived.
    async fn read(&self, app: &App, connector: &str) {
        let (base_url, secret) = match connector {
            "stripe" => (app.sandbox.base_url(), app.sandbox.api_key().to_owned()),
            "hubspot" => (self.hubspot.base_url(), self.hubspot.access_token()),
            _ => (self.pandadoc.base_url(), self.pandadoc.api_key().to_owned()),
        };
        let connect = Connect {
            connector: connector.to_owned(),
            name: connector.to_owned(),
            config: json!({ "base_url": base_url, "rate_limit": "none" }),
            secrets: vec![("api_key".to_owned(), secret.into())],
            webhook_secrets: Vec::new(),
            backfill: true,
        };
        app.execute(Request::Connect(connect)).await.unwrap();
        app.drain().await;
        assert_eq!(app.last_run().await.status, RunStatus::Succeeded, "{connector}");
    }

    async fn sync(&self, app: &App, connector: &str) {
        let request = Request::Sync { connection: connector.to_owned(), full: true, streams: Vec::new() };
        app.execute(request).await.unwrap();
        app.drain().await;
    }

    /// A company with a deal; their ids.
    fn company(&self, properties: &Value) -> (u64, u64) {
        let company = self.hubspot.create(Kind::Companies, properties);
        let deal = self.hubspot.create(Kind::Deals, &json!({"dealname": "First year"}));
        self.hubspot.associate((Kind::Deals, deal), (Kind::Companies, company), true);
        (company, deal)
    }

    /// A signed document that is linked to a deal; its id.
    fn document(&self, name: &str, email: &str, deal: Option<u64>) -> String {
        let id = self.pandadoc.create(name, email);
        if let Some(deal) = deal {
            let linked = json!([{"id": "1", "provider": "hubspot", "entity_type": "deal",
                "entity_id": deal.to_string(), "children": []}]);
            self.pandadoc.change(&id, None, |details| details["linked_objects"] = linked).unwrap();
        }
        self.pandadoc.complete(&id).unwrap();
        id
    }
}

/// State and company, by the party's id.
async fn links(app: &App) -> BTreeMap<String, (LinkState, Option<String>, Option<String>)> {
    let names: BTreeMap<String, Option<String>> =
        app.companies().await.into_iter().map(|company| (company.id.0, company.fields.name)).collect();
    let all = app.store.list_links(&app.org, None, None, None, 1_000).await.unwrap().rows;
    all.into_iter()
        .map(|link| {
            let company = link.company_id.and_then(|id| names.get(&id.0).cloned().flatten());
            (link.party.id, (link.state, company, link.rule))
        })
        .collect()
}

async fn three_tools_make_one_company_in_every_order(app: &App) {
    let others = Others::start(app).await;
    app.price("Starter", 2_900);
    app.call(
        "POST",
        "/v1/customers",
        json!({"id": "cus_1", "name": "Acme", "email": "billing@acme.example"}),
    );
    app.call(
        "POST",
        "/v1/subscriptions",
        json!({"customer": "cus_1", "items": [{"price": "price_Starter"}]}),
    );
    let owner = others.hubspot.add_owner("sam@us.example", "Sam", "Seller", false);
    let (company, deal) = others.company(&json!({"name": "Acme Inc.", "domain": "acme.example",
        "industry": "MACHINERY", "numberofemployees": "420", "hubspot_owner_id": owner.to_string()}));
    let document = others.document("Order form", "counsel@elsewhere.example", Some(deal));
    let orders = [
        ["stripe", "hubspot", "pandadoc"],
        ["stripe", "pandadoc", "hubspot"],
        ["hubspot", "stripe", "pandadoc"],
        ["hubspot", "pandadoc", "stripe"],
        ["pandadoc", "stripe", "hubspot"],
        ["pandadoc", "hubspot", "stripe"],
    ];
    for order in orders {
        let fresh = app.fresh().await;
        for connector in order {
            others.read(&fresh, connector).await;
        }
        assert_one_company(&fresh, [company, deal], &document).await;
        fresh.end().await;
    }
    for connector in orders[5] {
        others.read(app, connector).await;
    }
    assert_one_company(app, [company, deal], &document).await;
}

async fn assert_one_company(app: &App, [company, deal]: [u64; 2], document: &str) {
    let companies = app.companies().await;
    assert_eq!(companies.len(), 1, "{companies:#?}");
    let found = links(app).await;
    for party in ["cus_1", &company.to_string(), &deal.to_string(), document] {
        assert_eq!(found[party].0, LinkState::Linked, "{party}: {found:?}");
    }
    let acme = &companies[0];
    assert_eq!((acme.fields.plan.as_deref(), acme.fields.mrr_minor), (Some("Starter"), Some(2_900)));
    assert_eq!((acme.fields.industry.as_deref(), acme.fields.employee_count), (Some("MACHINERY"), Some(420)));
    assert_eq!(acme.custom_fields["owner"], "Sam Seller");
    assert_eq!(acme.custom_fields["stripe_customer_id"], "cus_1");
    assert_eq!(acme.custom_fields["hubspot_company_id"], company.to_string());
    let contracts = &acme.context["halo.contracts"].value;
    assert_eq!((&contracts[0]["label"], &contracts[0]["status"]), (&json!("Order form"), &json!("signed")));
    // Each value names the record that it came from.
    let derivation = app.document(acme).await;
    let records = derivation["provenance"]["industry"]["records"].to_string();
    assert!(records.contains(&format!("/companies/{company}")), "{records}");
}

async fn a_document_follows_its_deal(app: &App) {
    let others = Others::start(app).await;
    let (one, deal) = others.company(&json!({"name": "One", "domain": "one.example"}));
    let (two, _) = others.company(&json!({"name": "Two", "domain": "two.example"}));
    // Its signer is of the other company: a link that somebody made says more.
    let document = others.document("Order form", "buyer@two.example", Some(deal));
    for connector in ["pandadoc", "hubspot"] {
        others.read(app, connector).await;
    }
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(links(app).await[&document], (LinkState::Linked, named("One"), named("linked")));

    // The deal is somebody else's now.
    others.hubspot.dissociate((Kind::Deals, deal), (Kind::Companies, one));
    others.hubspot.associate((Kind::Deals, deal), (Kind::Companies, two), true);
    others.sync(app, "hubspot").await;
    assert_eq!(links(app).await[&document].1, named("Two"));
    assert!(app.company("One").await.context.is_empty());
    assert!(app.company("Two").await.context.contains_key("halo.contracts"));

    // By hand the company at the CRM is another's: what hangs on it goes along.
    let target = app.company("One").await;
    let request = Request::Link {
        connection: "hubspot".to_owned(),
        party: RecordKey::new("companies", two.to_string()),
        company: Some(target.id.0.clone()),
    };
    app.execute(request).await.unwrap();
    app.drain().await;
    let found = links(app).await;
    assert_eq!((&found[&deal.to_string()].1, &found[&document].1), (&named("One"), &named("One")));
    assert!(app.company("One").await.context.contains_key("halo.contracts"));
}

async fn what_addresses_suggest_comes_last(app: &App) {
    let others = Others::start(app).await;
    for (name, domain) in [("One", "one.example"), ("Two", "two.example")] {
        others.company(&json!({"name": name, "domain": domain}));
    }
    let by_domain = others.document("By domain", "buyer@one.example", None);
    let nobodys = others.document("Nobody's", "somebody@gmail.com", None);
    let both = others.document("Both", "buyer@one.example", None);
    others
        .pandadoc
        .change(&both, None, |details| {
            let mut second = details["recipients"][0].clone();
            second["id"] = json!("rcp_second");
            second["email"] = json!("seller@two.example");
            details["recipients"].as_array_mut().unwrap().push(second);
        })
        .unwrap();
    for connector in ["hubspot", "pandadoc"] {
        others.read(app, connector).await;
    }
    let found = links(app).await;
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(found[&by_domain], (LinkState::Linked, named("One"), named("domain")));
    // Signed by two companies: a person decides. A document makes no company.
    assert_eq!(found[&both].0, LinkState::Ambiguous);
    assert_eq!(found[&nobodys].0, LinkState::Unmatched);
    assert_eq!(app.companies().await.len(), 2);
}

/// PandaDoc may not be able to say for a while what it extracted. The document's end stays what it was, whichever way
/// it is read meanwhile, and goes only with the content that it was extracted from.
async fn what_was_extracted_stays_known_while_it_is_worked_out_again(app: &App) {
    let others = Others::start(app).await;
    others.company(&json!({"name": "One", "domain": "one.example"}));
    let document = others.document("Agreement", "buyer@one.example", None);
    let end = json!([{"key": "Expiration date", "name": "Expiration date", "type": "date",
        "value": {"value": "2027-06-30", "acceptance_status": "accepted"}}]);
    others.pandadoc.extract(&document, Some(end.clone())).unwrap();
    for connector in ["hubspot", "pandadoc"] {
        others.read(app, connector).await;
    }
    let key = RecordKey::new("documents", document.as_str());
    let knows = async || {
        let connections = app.store.list_connections(Some(&app.org)).await.unwrap();
        let connection = connections.iter().find(|c| c.name == "pandadoc").unwrap();
        let stored =
            app.store.load_records(&app.org, &connection.id, std::slice::from_ref(&key)).await.unwrap();
        (stored[0].payload.contains("2027-06-30"), stored[0].payload.contains("Renamed"))
    };
    assert_eq!(knows().await, (true, false));
    app.pass(600);
    // It is being worked out again, and the document's name changes.
    others.pandadoc.extract(&document, None).unwrap();
    let rename = |details: &mut Value| details["name"] = json!("Renamed");
    others.pandadoc.change(&document, Some("document_updated"), rename).unwrap();
    let incremental = |full| Request::Sync { connection: "pandadoc".to_owned(), full, streams: Vec::new() };
    let again = Request::Reread { connection: "pandadoc".to_owned(), keys: vec![key.clone()] };
    for request in [incremental(false), again, incremental(true)] {
        app.execute(request).await.unwrap();
        app.drain().await;
        assert_eq!(knows().await, (true, true));
    }
    app.pass(600);
    // Of other content nothing is known until it is there.
    let changed = json!("2031-01-01T00:00:00.000000Z");
    let rewrite = |details: &mut Value| details["content_date_modified"] = changed;
    others.pandadoc.change(&document, Some("document_updated"), rewrite).unwrap();
    others.sync(app, "pandadoc").await;
    assert_eq!(knows().await, (false, true));
    others.pandadoc.extract(&document, Some(end)).unwrap();
    others.sync(app, "pandadoc").await;
    assert_eq!(knows().await, (true, true));
}
