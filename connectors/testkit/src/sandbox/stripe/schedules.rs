//! Subscription schedules: phases that a subscription will go through.

use serde_json::{Value, json};

use super::fields::{filled, missing_param, number, required, set, text};
use super::read::Refusal;
use super::shapes;
use super::store::Kind;
use super::write::{Ctx, Written};

impl Ctx<'_> {
    pub(super) fn create_schedule(&mut self, form: &Value) -> Written {
        if let Some(subscription) = filled(form, "from_subscription") {
            let doc = self.doc(Kind::Subscriptions, subscription, "from_subscription")?;
            let end = doc["items"][0]["current_period_end"].as_i64().unwrap_or(self.now);
            let end_behavior = text(form, "end_behavior").unwrap_or("release").to_owned();
            return self.schedule(subscription, end, &end_behavior);
        }
        let customer = required(form, "customer")?.to_owned();
        self.doc(Kind::Customers, &customer, "customer")?;
        let start = match text(form, "start_date") {
            None | Some("now") => self.now,
            Some(_) => number(form, "start_date")
                .ok_or_else(|| Refusal::invalid("start_date", "Invalid timestamp"))?,
        };
        let phases = self.phases(form, start)?;
        let id = self.store.new_id(Kind::Schedules.prefix());
        let mut doc = shapes::empty_schedule(&id, self.now, self.live, &customer);
        set(&mut doc, form, &["end_behavior"], &[], &[]);
        doc["phases"] = json!(phases);
        if start > self.now {
            doc["status"] = json!("not_started");
            return Ok(self.put(Kind::Schedules, doc, Some("subscription_schedule.created")));
        }
        let first = phases.first().cloned().unwrap_or_default();
        let subscription =
            self.create_subscription(&json!({"customer": customer, "items": form_items(&first)}))?;
        let subscription = subscription["id"].as_str().unwrap_or_default().to_owned();
        doc["status"] = json!("active");
        doc["subscription"] = json!(subscription);
        doc["current_phase"] = json!({"start_date": first["start_date"], "end_date": first["end_date"]});
        self.put(Kind::Schedules, doc, Some("subscription_schedule.created"));
        self.bind(&subscription, Some(&id))?;
        self.shown(Kind::Schedules, &id)
    }

    /// The phases of a form, one behind the other from `start` on.
    fn phases(&self, form: &Value, start: i64) -> Result<Vec<Value>, Refusal> {
        let wanted = form.get("phases").and_then(Value::as_array).ok_or_else(|| missing_param("phases"))?;
        let mut at = start;
        let mut phases = Vec::with_capacity(wanted.len());
        for phase in wanted {
            let items = phase.get("items").and_then(Value::as_array).ok_or_else(|| missing_param("items"))?;
            let mut built = Vec::with_capacity(items.len());
            let mut price = Value::Null;
            for item in items {
                let id = required(item, "price")?;
                price = self.doc(Kind::Prices, id, "items[price]")?;
                built.push(shapes::phase_item(id, number(item, "quantity").unwrap_or(1)));
            }
            let end = match (number(phase, "end_date"), phase.get("duration")) {
                (Some(end), _) => end,
                (None, Some(duration)) => shapes::period_end(
                    &json!({ "recurring": {
                        "interval": required(duration, "interval")?,
                        "interval_count": number(duration, "interval_count").unwrap_or(1),
                    }}),
                    at,
                ),
                (None, None) => (0..number(phase, "iterations").unwrap_or(1))
                    .fold(at, |at, _| shapes::period_end(&price, at)),
            };
            if end <= at {
                return Err(Refusal::invalid("phases", "A phase must end after it starts."));
            }
            phases.push(shapes::phase(&price["currency"], at, end, json!(built)));
            at = end;
        }
        Ok(phases)
    }

    pub(super) fn update_schedule(&mut self, id: &str, form: &Value) -> Written {
        let before = self.doc(Kind::Schedules, id, "id")?;
        let phases = match form.get("phases") {
            Some(_) => {
                let start = before["phases"][0]["start_date"].as_i64().unwrap_or(self.now);
                Some(self.phases(form, start)?)
            }
            None => None,
        };
        self.change(Kind::Schedules, id, "subscription_schedule.updated", |_, doc| {
            set(doc, form, &["end_behavior"], &[], &[]);
            if let Some(phases) = phases {
                if let Some(first) = phases.first().filter(|_| !doc["current_phase"].is_null()) {
                    doc["current_phase"]["end_date"] = first["end_date"].clone();
                }
                doc["phases"] = json!(phases);
            }
            Ok(())
        })
    }

    /// Binds a subscription to a schedule of one phase that ends at `end`.
    pub(super) fn schedule(&mut self, subscription: &str, end: i64, end_behavior: &str) -> Written {
        let doc = self.doc(Kind::Subscriptions, subscription, "subscription")?;
        let id = self.store.new_id(Kind::Schedules.prefix());
        let schedule = shapes::schedule(&id, self.now, &doc, end, end_behavior);
        let schedule = self.put(Kind::Schedules, schedule, Some("subscription_schedule.created"));
        self.bind(subscription, Some(&id))?;
        Ok(schedule)
    }

    fn bind(&mut self, subscription: &str, schedule: Option<&str>) -> Written {
        self.change(Kind::Subscriptions, subscription, "customer.subscription.updated", |_, doc| {
            doc["schedule"] = json!(schedule);
            Ok(())
        })
    }

    /// Ends a schedule, and at once the subscription that follows it.
    pub(super) fn cancel_schedule(&mut self, id: &str) -> Written {
        let doc = self.open_schedule(id)?;
        match doc["subscription"].as_str() {
            Some(subscription) => self.cancel(subscription).map(drop)?,
            None => self.schedule_canceled(id)?,
        }
        self.shown(Kind::Schedules, id)
    }

    /// The schedule of a subscription that is canceled.
    pub(super) fn schedule_canceled(&mut self, id: &str) -> Result<(), Refusal> {
        self.change(Kind::Schedules, id, "subscription_schedule.canceled", |cx, doc| {
            doc["status"] = json!("canceled");
            doc["canceled_at"] = json!(cx.now);
            doc["current_phase"] = Value::Null;
            Ok(())
        })
        .map(drop)
    }

    /// Lets the subscription go on without its schedule.
    pub(super) fn release_schedule(&mut self, id: &str) -> Written {
        let subscription = self.open_schedule(id)?["subscription"].as_str().map(str::to_owned);
        let shown = self.change(Kind::Schedules, id, "subscription_schedule.released", |cx, doc| {
            doc["status"] = json!("released");
            doc["released_at"] = json!(cx.now);
            doc["released_subscription"] = doc["subscription"].clone();
            doc["subscription"] = Value::Null;
            doc["current_phase"] = Value::Null;
            Ok(())
        })?;
        if let Some(subscription) = subscription {
            self.bind(&subscription, None)?;
        }
        Ok(shown)
    }

    fn open_schedule(&self, id: &str) -> Written {
        let doc = self.doc(Kind::Schedules, id, "id")?;
        match doc["status"].as_str() {
            Some("active" | "not_started") => Ok(doc),
            status => Err(Refusal::bad(format!(
                "This subscription schedule is in the {} state and can no longer be changed.",
                status.unwrap_or_default()
            ))),
        }
    }
}

/// A phase's items as a subscription's form names them.
fn form_items(phase: &Value) -> Value {
    phase["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| json!({"price": item["price"], "quantity": item["quantity"].to_string()}))
        .collect()
}
