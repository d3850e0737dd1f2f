//! A provider in a hundred lines: two collections, sorted by creation, with the lists and refusals of the real one.

#[path = "paging.rs"]
mod paging;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use connector_sdk::{Clock, SystemClock};
use connector_testkit::sandbox::loopback::{Api, Asked, Reply};
use serde_json::{Value, json};

/// The secret that it takes.
pub(crate) const KEY: &str = "key-0123456789";

#[derive(Default)]
struct State {
    made: u64,
    /// By stream and id; an id sorts by creation.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    forbidden: BTreeSet<String>,
}

/// The provider.
#[derive(Default)]
pub(crate) struct Server(Mutex<State>);

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn create(&self, stream: &str) -> String {
        let mut state = self.state();
        state.made += 1;
        let (n, now) = (state.made, SystemClock.now().timestamp());
        let id = format!("{}_{n:06}", &stream[..3]);
        let mut object = json!({"id": id, "created": now, "updated": now, "live": false});
        let more = match stream {
            "accounts" => json!({
                "name": format!("Company {n} \u{1f98a}"), "email": format!("billing@company{n}.example"),
                "currency": "USD", "metadata": {"company_id": format!("c-{n}")},
            }),
            _ => json!({
                "account": format!("acc_{:06}", n - 1), "status": "active", "currency": "USD", "quantity": n,
                "period_end": now + 86_400, "plan": {"id": "p", "name": "Pro", "amount": 900, "interval": "month"},
            }),
        };
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        state.objects.entry(stream.to_owned()).or_default().insert(id.clone(), object);
        id
    }

    pub(crate) fn delete(&self, stream: &str, id: &str) -> bool {
        self.state().objects.get_mut(stream).is_some_and(|all| all.remove(id).is_some())
    }

    pub(crate) fn ids(&self, stream: &str) -> BTreeSet<String> {
        self.state().objects.get(stream).into_iter().flat_map(|all| all.keys().cloned()).collect()
    }

    pub(crate) fn forbid(&self, stream: &str) {
        self.state().forbidden.insert(stream.to_owned());
    }
}

fn refused(status: u16, code: &str, message: String) -> Reply {
    Reply::json(status, json!({"error": {"code": code, "message": message}}))
}

impl Api for Server {
    fn answer(&self, call: &Asked) -> Reply {
        let given = call.header("authorization").unwrap_or_default();
        if given != format!("Bearer {KEY}") {
            // With what was sent in the sentence, as careless servers answer.
            return refused(401, "unauthorized", format!("not a good key: {given}"));
        }
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        let state = self.state();
        let stream = path.get(1).copied().unwrap_or_default();
        if state.forbidden.contains(stream) {
            let error = json!({"code": "forbidden", "message": "no", "permission": format!("{stream}.read")});
            return Reply::json(403, json!({"error": error}));
        }
        let none = BTreeMap::new();
        let objects = state.objects.get(stream).unwrap_or(&none);
        match path.as_slice() {
            ["v1", "me"] => Reply::json(200, json!({"id": "org_1", "name": "Sandbox", "live": false})),
            ["v1", "accounts" | "subscriptions"] => {
                let since = call.parameter("updated_since").and_then(|text| text.parse::<i64>().ok());
                let changed =
                    |object: &&Value| since.is_none_or(|since| object["updated"].as_i64() >= Some(since));
                paging::list(call, objects.values().filter(changed).cloned().collect())
            }
            ["v1", "accounts" | "subscriptions", id] => match objects.get(*id) {
                Some(object) => Reply::json(200, object.clone()),
                None => refused(404, "not_found", "no such object".to_owned()),
            },
            _ => refused(404, "not_found", "no such operation".to_owned()),
        }
    }

    fn error(&self, status: u16) -> Value {
        json!({"error": {"code": format!("http_{status}"), "message": "an error on our side"}})
    }

    fn items(&self) -> &'static str {
        "data"
    }
}
