//! Chargebee in a hundred lines: six collections and the items of its prices with its lists, its deleted objects and its refusals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use connector_sdk::{Clock, SystemClock};
use connector_testkit::sandbox::loopback::{Api, Asked, Reply};
use serde_json::{Value, json};

/// The key that it takes, and what basic authentication makes of it.
pub(crate) const KEY: &str = "key-0123456789";
const BASIC: &str = "Basic a2V5LTAxMjM0NTY3ODk6";
/// The streams, in an order in which one can be made of the ones before.
pub(crate) const STREAMS: [&str; 6] =
    ["customers", "item_prices", "coupons", "subscriptions", "invoices", "transactions"];

/// An object with the count of changes at which it changed last: Chargebee's seconds do not tell them apart.
type Object = (u64, Value);

#[derive(Default)]
struct State {
    changes: u64,
    /// By stream and id.
    objects: BTreeMap<String, BTreeMap<String, Object>>,
    forbidden: BTreeSet<String>,
}

/// The site.
#[derive(Default)]
pub(crate) struct Server(Mutex<State>);

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn create(&self, stream: &str) -> String {
        let mut state = self.state();
        state.changes += 1;
        let (n, now) = (state.changes, SystemClock.now().timestamp());
        let id = format!("{}-{n}", &stream[..3]);
        let first = |stream: &str| state.objects.get(stream).and_then(|all| all.keys().next()).cloned();
        let more = match stream {
            "customers" => json!({
                "company": format!("Company {n} \u{1f98a}"), "email": format!("billing@company{n}.example"),
                "preferred_currency_code": "USD", "deleted": false, "meta_data": {"company_id": format!("c-{n}")},
            }),
            "item_prices" => json!({
                "name": "Pro USD", "item_type": "plan", "period": 1, "period_unit": "month", "currency_code": "USD",
                "status": "active", "item_id": format!("item-{n}"),
            }),
            "transactions" => json!({
                "customer_id": first("customers"), "subscription_id": first("subscriptions"), "type": "payment",
                "status": "success", "currency_code": "USD", "amount": 1_800, "date": now, "deleted": false,
                "linked_invoices": [{"invoice_id": first("invoices"), "applied_amount": 1_800}],
            }),
            "coupons" => json!({
                "name": "Ten", "discount_percentage": 10, "duration_type": "forever", "status": "active",
                "apply_on": "invoice_amount",
            }),
            "subscriptions" => json!({
                "customer_id": first("customers"), "status": "active", "currency_code": "USD", "deleted": false,
                "billing_period": 1, "billing_period_unit": "month", "current_term_end": now + 86_400,
                "subscription_items": [{"item_price_id": first("item_prices"), "quantity": 2, "amount": 1_800}],
                "coupons": [{"coupon_id": first("coupons")}],
            }),
            _ => json!({
                "customer_id": first("customers"), "subscription_id": first("subscriptions"), "status": "paid",
                "currency_code": "USD", "date": now, "recurring": true, "deleted": false, "line_items": [],
            }),
        };
        if let Some(item) = more["item_id"].as_str() {
            let own = json!({"id": item, "name": "Pro", "type": "plan", "metered": false});
            state.objects.entry("items".to_owned()).or_default().insert(item.to_owned(), (n, own));
        }
        let mut object = json!({"id": id, "created_at": now, "updated_at": now});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        state.objects.entry(stream.to_owned()).or_default().insert(id.clone(), (n, object));
        id
    }

    /// Marks an object as deleted, as Chargebee does; it is then behind all others.
    pub(crate) fn delete(&self, stream: &str, id: &str) -> bool {
        let mut state = self.state();
        state.changes += 1;
        let change = state.changes;
        let Some(object) = state.objects.get_mut(stream).and_then(|all| all.get_mut(id)) else {
            return false;
        };
        object.0 = change;
        match object.1.get("deleted") {
            Some(_) => object.1["deleted"] = json!(true),
            None => object.1["status"] = json!("deleted"),
        }
        true
    }

    /// Changes a member of an object.
    pub(crate) fn set(&self, stream: &str, id: &str, member: &str, value: Value) {
        let mut state = self.state();
        state.changes += 1;
        let change = state.changes;
        let object = state.objects.get_mut(stream).and_then(|all| all.get_mut(id)).unwrap();
        object.0 = change;
        object.1[member] = value;
    }

    pub(crate) fn ids(&self, stream: &str) -> BTreeSet<String> {
        let state = self.state();
        let all = state.objects.get(stream).into_iter().flatten();
        all.filter(|(_, (_, object))| !is_gone(object)).map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn forbid(&self, stream: &str) {
        self.state().forbidden.insert(stream.to_owned());
    }
}

fn is_gone(object: &Value) -> bool {
    object["deleted"] == true || object["status"] == "deleted"
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, json!({"message": message, "type": "invalid_request", "api_error_code": code}))
}

/// A page behind the change that `offset` names. An item price or a coupon that is deleted is not listed.
fn list(call: &Asked, stream: &str, objects: &BTreeMap<String, Object>) -> Reply {
    let limit = call.number("limit").unwrap_or(10);
    if !(1..=100).contains(&limit) {
        return refused(400, "param_wrong_value", "limit : should be between 1 and 100");
    }
    let deleted = call.parameter("include_deleted") == Some("true");
    let since = call.parameter("updated_at[after]").and_then(|text| text.parse::<i64>().ok());
    let after: Option<u64> =
        call.parameter("offset").and_then(|text| text.strip_prefix("[\"")?.strip_suffix("\"]")?.parse().ok());
    let newest_first = call.parameter("sort_by[desc]").is_some();
    let customer = call.parameter("customer_id[is]");
    let mut rows: Vec<&Object> = objects
        .values()
        .filter(|(change, object)| {
            after.is_none_or(|after| if newest_first { *change < after } else { *change > after })
                && customer.is_none_or(|customer| object["customer_id"] == customer)
                && since.is_none_or(|since| object["updated_at"].as_i64() > Some(since))
                && (!is_gone(object) || (deleted && object.get("deleted").is_some()))
        })
        .collect();
    rows.sort_by_key(|(change, _)| *change);
    if newest_first {
        rows.reverse();
    }
    let next =
        rows.get(limit).and(rows.get(limit.wrapping_sub(1))).map(|(change, _)| format!("[\"{change}\"]"));
    let name = stream.trim_end_matches('s');
    let page: Vec<Value> = rows.into_iter().take(limit).map(|(_, object)| json!({name: object})).collect();
    let mut body = json!({"list": page});
    if let Some(next) = next {
        body["next_offset"] = json!(next);
    }
    Reply::json(200, body)
}

impl Api for Server {
    fn answer(&self, call: &Asked) -> Reply {
        let given = call.header("authorization").unwrap_or_default();
        if given != BASIC {
            return refused(401, "api_authentication_failed", &format!("not a good key: {given}"));
        }
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        let state = self.state();
        let stream = path.get(2).copied().unwrap_or_default();
        if state.forbidden.contains(stream) {
            return refused(403, "api_authorization_failed", "The key has not the permission for this.");
        }
        let none = BTreeMap::new();
        let objects = state.objects.get(stream).unwrap_or(&none);
        match path.as_slice() {
            ["api", "v2", "configurations"] => {
                let site = json!({"domain": "sandbox-test", "product_catalog_version": "v2"});
                Reply::json(200, json!({"configurations": [site]}))
            }
            ["api", "v2", "items"] => {
                let asked =
                    call.parameter("id[in]").and_then(|ids| serde_json::from_str::<Vec<String>>(ids).ok());
                let of = |id: &String| objects.get(id).map(|(_, object)| json!({"item": object}));
                let found: Vec<Value> = asked.iter().flatten().filter_map(of).collect();
                Reply::json(200, json!({"list": found}))
            }
            ["api", "v2", stream] if STREAMS.contains(stream) => list(call, stream, objects),
            ["api", "v2", stream, id] if STREAMS.contains(stream) => match objects.get(*id) {
                Some((_, object)) => Reply::json(200, json!({stream.trim_end_matches('s'): object})),
                None => refused(404, "resource_not_found", "Sorry, we couldn't find that resource"),
            },
            _ => refused(404, "site_not_found", "Sorry, we couldn't find that resource"),
        }
    }

    fn error(&self, status: u16) -> Value {
        json!({"message": "an error on our side", "type": "operation_failed", "api_error_code": format!("http_{status}")})
    }

    fn items(&self) -> &'static str {
        "list"
    }
}
