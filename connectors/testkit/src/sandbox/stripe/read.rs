//! Lists and reads by id, with Stripe's parameters and refusals.

use serde_json::{Value, json};

use super::render;
use super::store::{Kind, Object, Store};

/// A refusal in Stripe's shape.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) param: Option<String>,
    pub(super) message: String,
    /// Further members of the error object.
    pub(super) more: Vec<(&'static str, Value)>,
}

impl Refusal {
    /// A request that names nothing wrong and cannot be carried out.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, kind: "invalid_request_error", message: message.into(), ..Self::default() }
    }

    pub(super) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::bad(message) }
    }

    /// An object that does not exist: 404 for the one that is asked for, 400 in a parameter.
    pub(super) fn missing(kind: Kind, id: &str, param: &str) -> Self {
        let word = match kind {
            Kind::Schedules => "subscription schedule",
            Kind::PaymentMethods => "PaymentMethod",
            Kind::TaxRates => "tax rate",
            Kind::BalanceTransactions => "balance transaction",
            other => other.object(),
        };
        Self {
            status: if param == "id" { 404 } else { 400 },
            code: Some("resource_missing"),
            ..Self::invalid(param, format!("No such {word}: '{id}'"))
        }
    }

    pub(super) fn unknown_url(method: &str, path: &str) -> Self {
        Self {
            status: 404,
            kind: "invalid_request_error",
            message: format!("Unrecognized request URL ({method}: {path})."),
            ..Self::default()
        }
    }

    pub(super) fn body(&self) -> String {
        let mut error = json!({"type": self.kind, "message": self.message});
        if let Some(code) = self.code {
            error["code"] = json!(code);
        }
        if let Some(param) = &self.param {
            error["param"] = json!(param);
        }
        for (name, value) in &self.more {
            error[*name] = value.clone();
        }
        json!({ "error": error }).to_string()
    }
}

/// The parameters of a listing.
#[derive(Debug, Default)]
struct Listing {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
    from: Option<i64>,
    until: Option<i64>,
    filters: Vec<(String, String)>,
    expand: Vec<String>,
}

fn filters_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Customers => &["email"],
        Kind::Products => &["active"],
        Kind::Prices => &["active", "product", "currency", "type"],
        Kind::Coupons => &[],
        Kind::Subscriptions => &["customer", "status", "price"],
        Kind::Invoices => &["customer", "status", "subscription"],
        Kind::Charges => &["customer", "payment_intent"],
        Kind::Refunds | Kind::Disputes => &["charge", "payment_intent"],
        Kind::Schedules => &["customer"],
        Kind::PaymentIntents => &["customer"],
        Kind::PaymentMethods => &["customer", "type"],
        Kind::InvoiceItems => &["customer", "invoice"],
        Kind::PromotionCodes => &["active", "code"],
        Kind::TaxRates => &["active", "inclusive"],
        Kind::BalanceTransactions => &["currency", "source", "type"],
        Kind::Events => &["type", "types"],
    }
}

fn listing(kind: Kind, query: &[(String, String)]) -> Result<Listing, Refusal> {
    let mut listing = Listing { limit: 10, ..Listing::default() };
    for (name, value) in query {
        let number =
            || value.parse::<i64>().map_err(|_| Refusal::invalid(name, format!("Invalid integer: {value}")));
        match name.as_str() {
            "limit" => {
                let n = number()?;
                listing.limit = usize::try_from(n)
                    .ok()
                    .filter(|n| (1..=100).contains(n))
                    .ok_or_else(|| Refusal::invalid("limit", "Limit must be between 1 and 100."))?;
            }
            "starting_after" => listing.after = Some(value.clone()),
            "ending_before" => listing.before = Some(value.clone()),
            "created" => (listing.from, listing.until) = (Some(number()?), Some(number()?)),
            "created[gte]" => listing.from = listing.from.max(Some(number()?)),
            "created[gt]" => listing.from = listing.from.max(Some(number()? + 1)),
            "created[lte]" => listing.until = earliest(listing.until, number()?),
            "created[lt]" => listing.until = earliest(listing.until, number()? - 1),
            other => {
                let bare = other.split('[').next().unwrap_or(other);
                if bare == "expand" {
                    listing.expand.push(value.clone());
                } else if filters_of(kind).contains(&bare) {
                    listing.filters.push((bare.to_owned(), value.clone()));
                } else {
                    return Err(Refusal::invalid(other, format!("Received unknown parameter: {other}")));
                }
            }
        }
    }
    Ok(listing)
}

fn earliest(a: Option<i64>, b: i64) -> Option<i64> {
    Some(a.map_or(b, |a| a.min(b)))
}

fn passes(kind: Kind, object: &Object, filters: &[(String, String)]) -> bool {
    if kind == Kind::Subscriptions && !filters.iter().any(|(n, _)| n == "status") {
        // What callers trip over: without a status the canceled ones are hidden.
        return object.status.as_deref() != Some("canceled")
            && filters.iter().all(|(n, v)| matches(object, n, v));
    }
    if filters.iter().any(|(n, _)| n == "types") {
        let doc = object.doc();
        return filters.iter().any(|(n, v)| n == "types" && doc["type"].as_str() == Some(v));
    }
    filters.iter().all(|(n, v)| matches(object, n, v))
}

fn matches(object: &Object, name: &str, wanted: &str) -> bool {
    match name {
        "customer" => object.customer.as_deref() == Some(wanted),
        "status" => match wanted {
            "all" => true,
            "ended" => matches!(object.status.as_deref(), Some("canceled" | "incomplete_expired")),
            other => object.status.as_deref() == Some(other),
        },
        "subscription" => {
            let doc = object.doc();
            doc["parent"]["subscription_details"]["subscription"].as_str() == Some(wanted)
        }
        "price" => {
            let doc = object.doc();
            doc["items"]
                .as_array()
                .is_some_and(|items| items.iter().any(|i| i["price"].as_str() == Some(wanted)))
        }
        other => match &object.doc()[other] {
            Value::String(text) => text == wanted,
            Value::Bool(flag) => flag.to_string() == wanted,
            _ => false,
        },
    }
}

/// `GET /v1/{kind}`.
pub(super) fn list(store: &Store, kind: Kind, query: &[(String, String)]) -> Result<String, Refusal> {
    let listing = listing(kind, query)?;
    let expand = render::check_expansion(kind, &listing.expand, true)
        .map_err(|message| Refusal::invalid("expand", message))?;
    for (id, param) in [(&listing.after, "starting_after"), (&listing.before, "ending_before")] {
        if let Some(id) = id
            && store.find(kind, id).is_none()
        {
            return Err(Refusal::missing(kind, id, param));
        }
    }
    if listing.after.is_some() && listing.before.is_some() {
        return Err(Refusal::invalid(
            "ending_before",
            "You can only specify one of these parameters: starting_after, ending_before.",
        ));
    }
    let created = (listing.from.unwrap_or(i64::MIN), listing.until.unwrap_or(i64::MAX));
    let Some(collection) = store.of(kind) else { return Ok(page(kind.path(), &[], false)) };
    let candidates = match &listing.before {
        Some(before) => collection.oldest_first(before, created),
        None => collection.newest_first(listing.after.as_deref(), created),
    };
    let mut found: Vec<&Object> =
        candidates.filter(|o| passes(kind, o, &listing.filters)).take(listing.limit + 1).collect();
    let has_more = found.len() > listing.limit;
    found.truncate(listing.limit);
    if listing.before.is_some() {
        found.reverse();
    }
    let texts: Vec<String> = found.iter().map(|o| render::text(store, kind, o, &expand)).collect();
    Ok(page(kind.path(), &texts, has_more))
}

fn page(path: &str, texts: &[String], has_more: bool) -> String {
    format!(
        "{{\"object\":\"list\",\"url\":\"/v1/{path}\",\"has_more\":{has_more},\"data\":[{}]}}",
        texts.join(",")
    )
}

fn expansion(query: &[(String, String)]) -> Result<Vec<String>, Refusal> {
    query
        .iter()
        .map(|(name, value)| match name.split('[').next() {
            Some("expand") => Ok(value.clone()),
            _ => Err(Refusal::invalid(name, format!("Received unknown parameter: {name}"))),
        })
        .collect()
}

/// `GET /v1/{kind}/{id}`.
pub(super) fn retrieve(
    store: &Store,
    kind: Kind,
    id: &str,
    query: &[(String, String)],
) -> Result<String, Refusal> {
    let expand = render::check_expansion(kind, &expansion(query)?, false)
        .map_err(|message| Refusal::invalid("expand", message))?;
    match store.find(kind, id) {
        Some(object) => Ok(render::text(store, kind, object, &expand)),
        // A deleted customer is the one object that still answers.
        None if kind == Kind::Customers && store.find_ever(kind, id).is_some() => {
            Ok(json!({"id": id, "object": "customer", "deleted": true}).to_string())
        }
        None => Err(Refusal::missing(kind, id, "id")),
    }
}

/// `GET /v1/subscription_items` and `GET /v1/invoices/{id}/lines`: the whole of a nested list, in pages.
pub(super) fn nested(
    store: &Store,
    parent: (Kind, &str),
    member: &str,
    query: &[(String, String)],
) -> Result<String, Refusal> {
    let (kind, id) = parent;
    let param = if kind == Kind::Subscriptions { "subscription" } else { "id" };
    let object = store.find(kind, id).ok_or_else(|| Refusal::missing(kind, id, param))?;
    let mut limit = 10;
    let mut after = None;
    let mut discounts = false;
    for (name, value) in query {
        match name.split('[').next().unwrap_or(name) {
            "limit" => limit = value.parse().ok().filter(|n| (1..=100).contains(n)).unwrap_or(10),
            "starting_after" => after = Some(value.as_str()),
            "subscription" if kind == Kind::Subscriptions => {}
            "expand" if value == "data.discounts" => discounts = true,
            "expand" => {
                return Err(Refusal::invalid(
                    "expand",
                    format!("This property cannot be expanded ({value})."),
                ));
            }
            _ => return Err(Refusal::invalid(name, format!("Received unknown parameter: {name}"))),
        }
    }
    let doc = object.doc();
    let all = match &doc[member] {
        Value::Array(items) => items.clone(),
        // A bulk object is kept as it is answered.
        other => other["data"].as_array().cloned().unwrap_or_default(),
    };
    let start = match after {
        None => 0,
        Some(after) => {
            1 + all
                .iter()
                .position(|i| i["id"].as_str() == Some(after))
                .ok_or_else(|| Refusal::invalid("starting_after", format!("No such {member}: '{after}'")))?
        }
    };
    let rest = all.get(start..).unwrap_or_default();
    let texts: Vec<String> = rest
        .iter()
        .take(limit)
        .map(|i| match kind {
            Kind::Subscriptions => render::item(store, i, discounts, false).to_string(),
            _ => i.to_string(),
        })
        .collect();
    Ok(page(member, &texts, rest.len() > limit))
}
