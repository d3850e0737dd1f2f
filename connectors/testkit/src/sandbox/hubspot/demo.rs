//! A small company's HubSpot portal: the customers of the sandbox Stripe's demo, as sales and support know them.

use serde_json::{Value, json};

use super::store::{Kind, time};
use super::{Inner, lock, write};

/// What the demo is about, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// The company that changes.
    pub company: u64,
    /// Its name.
    pub name: String,
    /// Its domain, which the demo of the sandbox Stripe has, too.
    pub domain: String,
}

const DAY: i64 = 86_400_000;
/// The company whose demo changes.
const CHANGED: &str = "northwind.example";

/// (name, domain, industry, employees, lifecycle stage, people).
type Customer =
    (&'static str, &'static str, &'static str, u32, &'static str, &'static [(&'static str, &'static str)]);

const CUSTOMERS: [Customer; 5] = [
    ("Northwind Traders", "northwind.example", "FOOD_BEVERAGES", 34, "customer", &[("Nancy", "Davolio")]),
    ("Acme Corp", "acme.example", "MACHINERY", 420, "customer", &[("Jane", "Doe"), ("Wile", "Coyote")]),
    (
        "Globex",
        "globex.example",
        "MECHANICAL_OR_INDUSTRIAL_ENGINEERING",
        5_200,
        "customer",
        &[("Hank", "Scorpio")],
    ),
    (
        "Initech",
        "initech.example",
        "COMPUTER_SOFTWARE",
        160,
        "customer",
        &[("Peter", "Gibbons"), ("Bill", "Lumbergh")],
    ),
    (
        "Umbrella Health",
        "umbrella.example",
        "HOSPITAL_HEALTH_CARE",
        900,
        "opportunity",
        &[("Alice", "Abernathy")],
    ),
];

fn put(inner: &Inner, kind: Kind, at: i64, properties: &Value) -> u64 {
    let mut store = lock(&inner.store);
    let id = store.new_id();
    store.put(kind, id, at, write::properties(properties));
    id
}

fn link(inner: &Inner, from: (Kind, u64), to: (Kind, u64), primary: bool) {
    lock(&inner.store).link(from, to, primary);
}

/// Fills an empty portal. Nothing is announced by webhook: it all happened before. `None` where it is not empty.
pub(super) fn seed(inner: &Inner) -> Option<Demo> {
    if lock(&inner.store).of(Kind::Companies).next().is_some() {
        return None;
    }
    let today = inner.now();
    let owner = {
        let mut store = lock(&inner.store);
        let id = store.new_id();
        let at = time(today - 900 * DAY);
        let doc = json!({
            "id": id.to_string(), "email": "sam@halo.example", "type": "PERSON", "firstName": "Sam",
            "lastName": "Seller", "userId": id, "userIdIncludingInactive": id, "createdAt": at, "updatedAt": at,
            "archived": false,
        });
        store.owners.insert(id, doc);
        id.to_string()
    };
    let mut demo = None;
    for (n, (name, domain, industry, employees, stage, people)) in (0..).zip(CUSTOMERS) {
        let begun = today - (700 - 120 * n) * DAY;
        let company = put(
            inner,
            Kind::Companies,
            begun,
            &json!({
                "name": name, "domain": domain, "industry": industry, "numberofemployees": employees,
                "lifecyclestage": stage, "hubspot_owner_id": owner,
            }),
        );
        if domain == CHANGED {
            demo = Some(Demo { company, name: name.to_owned(), domain: domain.to_owned() });
        }
        let mut first = None;
        for (given, family) in people {
            let email = format!("{}@{domain}", given.to_lowercase());
            let properties =
                json!({"firstname": given, "lastname": family, "email": email, "lifecyclestage": stage});
            let contact = put(inner, Kind::Contacts, begun + DAY, &properties);
            link(inner, (Kind::Contacts, contact), (Kind::Companies, company), true);
            first = first.or(Some(contact));
        }
        let won = stage == "customer";
        let deal = put(
            inner,
            Kind::Deals,
            begun + 20 * DAY,
            &json!({
                "dealname": format!("{name}: first year"), "amount": (1_200 * (n + 1)).to_string(),
                "deal_currency_code": "USD", "closedate": time(begun + 40 * DAY), "hubspot_owner_id": owner,
                "hs_is_closed": won.to_string(), "hs_is_closed_won": won.to_string(),
                "hs_num_of_associated_line_items": "1", "pipeline": "default",
                "dealstage": if won { "closedwon" } else { "qualifiedtobuy" },
            }),
        );
        let start = time(begun + 45 * DAY);
        let start = start.split('T').next().unwrap_or_default();
        let line = put(
            inner,
            Kind::LineItems,
            begun + 20 * DAY,
            &json!({
                "name": "Team", "hs_recurring_billing_period": "P12M", "hs_recurring_billing_start_date": start,
                "recurringbillingfrequency": "annually",
            }),
        );
        link(inner, (Kind::Deals, deal), (Kind::Companies, company), true);
        link(inner, (Kind::Deals, deal), (Kind::LineItems, line), false);
        let meeting = put(
            inner,
            Kind::Meetings,
            today - (n + 3) * DAY,
            &json!({"hs_meeting_title": "Review", "hs_meeting_start_time": time(today - (n + 3) * DAY),
                    "hs_timestamp": time(today - (n + 3) * DAY), "hubspot_owner_id": owner}),
        );
        link(inner, (Kind::Meetings, meeting), (Kind::Companies, company), false);
        if let Some(contact) = first {
            link(inner, (Kind::Deals, deal), (Kind::Contacts, contact), false);
            link(inner, (Kind::Meetings, meeting), (Kind::Contacts, contact), false);
        }
    }
    for (name, label) in [("name", "Company name"), ("numberofemployees", "Number of Employees")] {
        inner.define(Kind::Companies, name, label, &[]);
    }
    inner.define(
        Kind::Companies,
        "industry",
        "Industry",
        &[("MACHINERY", "Machinery"), ("COMPUTER_SOFTWARE", "Computer Software")],
    );
    demo
}

/// The company grows, and asks for support: changes that are announced.
pub(super) fn change(inner: &Inner, demo: &Demo) {
    inner.update(Kind::Companies, demo.company, write::properties(&json!({"numberofemployees": "41"})));
    let ticket = inner.create(
        Kind::Tickets,
        write::properties(&json!({
            "subject": "The import stops at row 10,000", "hs_pipeline": "0", "hs_pipeline_stage": "1",
            "hs_is_closed": "false", "hs_ticket_priority": "HIGH",
        })),
    );
    inner.associate((Kind::Tickets, ticket), (Kind::Companies, demo.company), true);
}
