use connector_sdk::facts::{Decimal, Interval, Period, TicketPriority, TicketStatus};
use connector_sdk::{Fact, RecordKey};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::shape::{date, domain, duration, frequency, instant};
use super::*;

fn extract(stream: &str, object: &Value) -> Extract {
    try_extract(stream, &object.to_string()).unwrap()
}

fn try_extract(stream: &str, text: &str) -> Result<Extract, FactsError> {
    let payload = RawValue::from_string(text.to_owned()).unwrap();
    facts(&Record { key: RecordKey::new(stream, "7"), payload })
}

fn only(extract: &Extract) -> &Fact {
    let [fact] = extract.facts.as_slice() else { panic!("{extract:?}") };
    fact
}

fn key(stream: &str, id: &str) -> RecordKey {
    RecordKey::new(stream, id)
}

#[test]
fn a_company_is_an_organization_with_its_fields() {
    let out = extract(
        "companies",
        &json!({"id": "7", "archived": false, "properties": {
            "name": "Acme", "domain": "WWW.Acme.com", "hs_additional_domains": "acme.io;https://acme.com/x;",
            "industry": "COMPUTER_SOFTWARE", "numberofemployees": "250", "lifecyclestage": "customer",
            "hubspot_owner_id": "88842095", "hs_merged_object_ids": "5;6", "country": null, "type": "",
        }}),
    );
    let Fact::Organization(o) = only(&out) else { panic!() };
    assert_eq!(o.name.as_deref(), Some("Acme"));
    assert_eq!(o.domains, ["acme.com", "acme.io"]);
    assert_eq!((o.industry.as_deref(), o.employees), (Some("COMPUTER_SOFTWARE"), Some(250)));
    assert_eq!((o.lifecycle_stage.as_deref(), o.owner.as_deref()), (Some("customer"), Some("88842095")));
    assert_eq!((o.merged.join(","), o.deleted), ("5,6".to_owned(), false));
    assert!(!o.properties.contains_key("country") && !o.properties.contains_key("type"));
    assert_eq!(out.party, Some(key("companies", "7")));
    assert_eq!(out.refs, [key("owners", "88842095")]);
}

#[test]
fn settings_choose_the_property_of_a_field() {
    let out = extract(
        "companies",
        &json!({"id": "7", "properties": {
            "industry": "COMPUTER_SOFTWARE", "sector": "Rail", "headcount": "about 50", "numberofemployees": "9",
        }, "fields": {"industry": "sector", "employee_count": "headcount"}}),
    );
    let Fact::Organization(o) = only(&out) else { panic!() };
    assert_eq!((o.industry.as_deref(), o.employees), (Some("Rail"), None), "what is no number is unknown");
    let out = extract(
        "deals",
        &json!({"id": "7", "properties": {"amount": "1", "acv": "1200.50", "hs_is_closed_won": "false"},
                "fields": {"amount": "acv"}}),
    );
    let Fact::Deal(d) = only(&out) else { panic!() };
    assert_eq!(d.amount, "1200.5".parse::<Decimal>().ok());
}

#[test]
fn a_contact_is_of_its_main_company_first() {
    let out = extract(
        "contacts",
        &json!({"id": "7", "properties": {
            "firstname": " Zoë ", "lastname": "Doe", "email": "Zoe@Acme.com", "hs_additional_emails": "z@x.org;zoe@acme.com",
            "associatedcompanyid": "30", "lifecyclestage": "lead",
        }, "associations": {"companies": [{"id": "30", "primary": true}, {"id": "20"}]}}),
    );
    let Fact::Person(p) = only(&out) else { panic!() };
    assert_eq!((p.name.as_deref(), p.staff), (Some("Zoë Doe"), false));
    assert_eq!(
        (p.emails.join(" "), p.organizations.join(" ")),
        ("zoe@acme.com z@x.org".to_owned(), "30 20".to_owned())
    );
    assert_eq!(out.party, Some(key("companies", "30")));
    assert_eq!(out.refs, [key("companies", "20"), key("companies", "30")]);
    // Associations could not be read: the contact says at least this.
    let out = extract("contacts", &json!({"id": "7", "properties": {"associatedcompanyid": "30"}}));
    assert_eq!(out.party, Some(key("companies", "30")));
    let out = extract("contacts", &json!({"id": "7", "properties": {}}));
    assert_eq!((out.party, out.refs.len()), (None, 0));
}

#[test]
fn a_won_deal_has_its_lines_and_an_open_one_is_not_closed() {
    let out = extract(
        "deals",
        &json!({"id": "18640", "properties": {
            "dealname": "Acme renewal", "hs_is_closed_won": "true", "closedate": "2026-01-10T00:00:00Z",
            "deal_currency_code": "USD", "amount": "12000",
        }, "associations": {"companies": [{"id": "3"}], "contacts": [{"id": "4"}]},
        "line_items": [
            {"id": "1", "properties": {
                "name": "Pro", "recurringbillingfrequency": "monthly", "hs_recurring_billing_period": "P12M",
                "hs_recurring_billing_start_date": "2026-01-15"}},
            {"id": "2", "properties": {"name": "Set-up", "hs_recurring_billing_period": "soon"}}]}),
    );
    let Fact::Deal(d) = only(&out) else { panic!() };
    assert_eq!((d.won, d.currency.as_deref(), d.amount), (true, Some("usd"), Some(Decimal::from(12_000))));
    assert_eq!(d.closed_at.unwrap().to_rfc3339(), "2026-01-10T00:00:00+00:00");
    let [pro, setup] = d.lines.as_slice() else { panic!() };
    assert_eq!(pro.start.unwrap().to_string(), "2026-01-15");
    assert_eq!(pro.term, Some(Period { interval: Interval::Month, count: 12 }));
    assert_eq!(pro.every, Some(Period { interval: Interval::Month, count: 1 }));
    assert_eq!((setup.start, setup.term, setup.every), (None, None, None), "a term is not guessed");
    assert_eq!(out.party, Some(key("companies", "3")));
    assert_eq!(out.refs, [key("companies", "3"), key("contacts", "4")]);

    let open =
        json!({"id": "7", "properties": {"closedate": "2026-12-31T00:00:00Z", "hs_is_closed": "false"}});
    let out = extract("deals", &open);
    let Fact::Deal(d) = only(&out) else { panic!() };
    assert_eq!((d.won, d.closed_at, d.amount), (false, None, None));
    let bad = try_extract("deals", r#"{"id":"7","properties":{"amount":"12,000"}}"#).unwrap_err();
    assert_eq!(bad.path, "properties.amount");
}

#[test]
fn tickets_stand_where_hubspot_or_the_settings_say() {
    let status = |object: Value| {
        let out = extract("tickets", &object);
        let Fact::Ticket(t) = only(&out) else { panic!() };
        (t.status, t.priority, t.closed.is_some())
    };
    let ticket = |properties: Value| json!({"id": "7", "properties": properties});
    let open = (TicketStatus::Open, None, false);
    assert_eq!(status(ticket(json!({"hs_pipeline": "0", "hs_pipeline_stage": "1"}))), open);
    assert_eq!(
        status(ticket(json!({"hs_pipeline": "8", "hs_pipeline_stage": "2", "hs_is_closed": "false"}))),
        open
    );
    let waiting = ticket(json!({
        "hs_pipeline": "0", "hs_pipeline_stage": "2", "hs_is_closed": "false", "hs_ticket_priority": "HIGH",
    }));
    assert_eq!(status(waiting), (TicketStatus::Pending, Some(TicketPriority::High), false));
    // Recorded without `hs_is_closed`.
    let closed =
        ticket(json!({"hs_pipeline": "0", "hs_pipeline_stage": "4", "hs_ticket_priority": "MEDIUM"}));
    assert_eq!(status(closed), (TicketStatus::Closed, Some(TicketPriority::Normal), false));
    let closed =
        ticket(json!({"hs_pipeline": "8", "hs_is_closed": "true", "closed_date": "2026-03-01T00:00:00Z"}));
    assert_eq!(status(closed), (TicketStatus::Closed, None, true));
    let mut set = ticket(json!({"hs_pipeline": "8", "hs_pipeline_stage": "77", "hs_is_closed": "false"}));
    set["stage_status"] = json!("pending");
    assert_eq!(status(set), (TicketStatus::Pending, None, false));
    // Opened again: when it was closed before is no matter.
    let again = ticket(
        json!({"hs_pipeline": "0", "hs_pipeline_stage": "1", "hs_is_closed": "false", "closed_date": "1"}),
    );
    assert_eq!(status(again), open);
    let words = ["URGENT", "urgent", "LOW", "later"];
    let found = words.map(|word| status(ticket(json!({"hs_ticket_priority": word}))).1);
    assert_eq!(
        found,
        [Some(TicketPriority::Urgent), Some(TicketPriority::Urgent), Some(TicketPriority::Low), None]
    );
}

/// HubSpot's documented outcomes, each with whether there was contact.
#[test]
fn what_did_not_take_place_is_no_engagement() {
    let counts = |stream: &str, properties: serde_json::Value| {
        let text = json!({"id": "7", "createdAt": "2026-01-01T00:00:00Z", "properties": properties,
            "associations": {"companies": [{"id": "3"}]}});
        let out = extract(stream, &text);
        // Whose it is is known all the same.
        assert_eq!(out.party, Some(key("companies", "3")));
        !out.facts.is_empty()
    };
    for (outcome, took_place) in [
        ("SCHEDULED", true),
        ("COMPLETED", true),
        ("an outcome of the portal's own", true),
        ("", true),
        ("RESCHEDULED", false),
        ("NO_SHOW", false),
        ("CANCELED", false),
    ] {
        assert_eq!(counts("meetings", json!({"hs_meeting_outcome": outcome})), took_place, "{outcome}");
    }
    for (status, took_place) in [
        ("COMPLETED", true),
        ("IN_PROGRESS", true),
        ("RINGING", true),
        ("UNKNOWN", true),
        ("NO_ANSWER", false),
        ("BUSY", false),
        ("FAILED", false),
        ("CANCELED", false),
        ("MISSED", false),
    ] {
        assert_eq!(counts("calls", json!({"hs_call_status": status})), took_place, "{status}");
    }
    for (disposition, took_place) in [
        ("f240bbac-87c9-4f6e-bf70-924b57d47db7", true),
        ("a4c4c377-d246-4b32-a13b-75a56a4cd0ff", true),
        ("b2cf5968-551e-4856-9783-52b3da59a7d0", true),
        ("00000000-0000-0000-0000-000000000000", true),
        ("9d9162e7-6cf3-4944-bf63-4dff82258764", false),
        ("73a0d17f-1163-4015-bdd5-ec830791da20", false),
        ("17b47fee-58de-441e-a44c-c6300d46f273", false),
    ] {
        let noted = json!({"hs_call_disposition": disposition, "hs_call_status": "COMPLETED"});
        assert_eq!(counts("calls", noted), took_place, "{disposition}");
    }
    let noted =
        json!({"hs_call_disposition": "f240bbac-87c9-4f6e-bf70-924b57d47db7", "hs_call_status": "FAILED"});
    assert!(counts("calls", noted), "somebody noted that they spoke");
    for (status, took_place) in [("SENT", true), ("BOUNCED", false), ("FAILED", false)] {
        assert_eq!(counts("emails", json!({"hs_email_status": status})), took_place, "{status}");
    }
    assert!(counts("notes", json!({"hs_meeting_outcome": "CANCELED"})));
}

#[test]
fn engagements_say_when_with_whom_and_which_way() {
    let out = extract(
        "emails",
        &json!({"id": "7", "createdAt": "2026-01-01T00:00:00Z", "properties": {
            "hs_timestamp": "2026-02-25T16:14:38.670Z", "hs_email_subject": "Hello", "hs_email_direction": "INCOMING_EMAIL",
            "hubspot_owner_id": "5", "hs_email_text": "body",
        }, "associations": {"companies": [{"id": "3"}], "contacts": [{"id": "4"}, {"id": "9"}]}}),
    );
    let Fact::Engagement(e) = only(&out) else { panic!() };
    assert_eq!((e.kind.as_str(), e.title.as_deref(), e.inbound), ("email", Some("Hello"), Some(true)));
    assert_eq!(e.at.unwrap().timestamp_millis(), 1_772_036_078_670);
    assert_eq!((e.organizations.join(" "), e.people.join(" ")), ("3".to_owned(), "4 9".to_owned()));
    assert_eq!((e.owner.as_deref(), e.body.as_deref()), (Some("5"), Some("body")));
    assert_eq!(out.party, Some(key("companies", "3")));
    for (stream, properties, at, inbound) in [
        ("notes", json!({"hs_timestamp": "1772036078670"}), 1_772_036_078, None),
        (
            "calls",
            json!({"hs_timestamp": "2026-02-25T16:14:38Z", "hs_call_direction": "OUTBOUND"}),
            1_772_036_078,
            Some(false),
        ),
        (
            "meetings",
            json!({"hs_timestamp": "1", "hs_meeting_start_time": "2026-02-25T16:14:38Z"}),
            1_772_036_078,
            None,
        ),
        ("notes", json!({}), 1_767_225_600, None),
    ] {
        let out = extract(
            stream,
            &json!({"id": "7", "createdAt": "2026-01-01T00:00:00.000Z", "properties": properties}),
        );
        let Fact::Engagement(e) = only(&out) else { panic!() };
        assert_eq!((e.at.unwrap().timestamp(), e.inbound), (at, inbound), "{stream}");
        assert_eq!(out.party, None);
    }
}

#[test]
fn owners_are_of_our_side() {
    let out = extract(
        "owners",
        &json!({"id": "7", "email": "o@us.example", "type": "PERSON", "firstName": "O", "lastName": "Wner", "archived": true}),
    );
    let Fact::Person(p) = only(&out) else { panic!() };
    assert_eq!((p.staff, p.deleted, p.name.as_deref()), (true, true, Some("O Wner")));
    assert!(out.party.is_none() && out.refs.is_empty());
    let definition = extract("properties", &json!({"name": "industry", "label": "Industry"}));
    assert_eq!(definition, Extract::default());
    assert!(try_extract("nothing", "{}").unwrap_err().is_unknown_stream());
}

#[test]
fn hubspot_writes_time_in_several_ways() {
    let at = |text: &str| instant(text).map(|at| at.timestamp_millis());
    assert_eq!(at("2026-02-25T16:14:38.670Z"), Some(1_772_036_078_670));
    assert_eq!(at("2026-02-25T16:14:38Z"), Some(1_772_036_078_000));
    assert_eq!(at("2019-10-30T03:30:17.883+00:00"), Some(1_572_406_217_883));
    assert_eq!(at("1772036078670"), Some(1_772_036_078_670));
    assert_eq!(at("2026-02-25"), Some(1_771_977_600_000));
    for bad in ["", " ", "soon", "2026-13-01", "99999999999999999999", "-1"] {
        assert_eq!(at(bad), None, "{bad:?}");
    }
    assert_eq!(date("2026-02-25T23:59:59Z"), date("2026-02-25"));
    assert_eq!(date("1772036078670"), date("2026-02-25"));
    let period = |interval, count| Some(Period { interval, count });
    assert_eq!(duration("P12M"), period(Interval::Month, 12));
    assert_eq!((duration("P1Y"), duration("P2W")), (period(Interval::Year, 1), period(Interval::Week, 2)));
    for bad in ["", "P", "PM", "P0M", "12M", "P1Y6M", "P-1M", "PT1M", "P99999999999M"] {
        assert_eq!(duration(bad), None, "{bad:?}");
    }
    assert_eq!((frequency("quarterly"), frequency("now and then")), (period(Interval::Month, 3), None));
    let domains =
        ["acme.com", "HTTPS://www.Acme.com/a?b", "acme", "a@acme.com", "acme com.de", "", "acme.com."];
    let bare = Some("acme.com".to_owned());
    assert_eq!(domains.map(domain), [bare.clone(), bare.clone(), None, None, None, None, bare]);
}

proptest::proptest! {
    #[test]
    fn garbage_is_an_error(text in "\\PC{0,200}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            for stream in ["companies", "contacts", "deals", "tickets", "emails", "owners"] {
                let _ = try_extract(stream, &value.to_string());
            }
        }
    }

    #[test]
    fn properties_of_any_text_never_panic(
        value in "\\PC{0,40}", stream in proptest::sample::select(vec![
            "companies", "contacts", "deals", "tickets", "emails", "notes", "calls", "meetings"]),
        name in proptest::sample::select(vec![
            "domain", "numberofemployees", "hs_additional_domains", "closedate", "amount", "hs_timestamp",
            "hs_merged_object_ids", "hs_ticket_priority", "associatedcompanyid", "closed_date"]),
    ) {
        let object = json!({"id": "1", "properties": {name: value, "hs_is_closed": "true"},
            "line_items": [{"id": "1", "properties": {"hs_recurring_billing_period": value}}]});
        match try_extract(stream, &object.to_string()) {
            Ok(_) => {}
            // Nothing of what was found is in the error.
            Err(e) => proptest::prop_assert_eq!(e.to_string(), "properties.amount: expected a decimal number"),
        }
    }
}
