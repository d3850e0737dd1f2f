//! The catalogue: products, prices and their older name, coupons, promotion codes, and the discounts that
//! coupons give.

use serde_json::{Map, Value, json};

use super::fields::{missing_param, number, required, required_number, set, text};
use super::read::Refusal;
use super::store::Kind;
use super::write::{Ctx, Written};
use super::{render, shapes};

impl Ctx<'_> {
    pub(super) fn create_product(&mut self, form: &Value) -> Written {
        let id = self.id_or_new(Kind::Products, form)?;
        let mut doc = shapes::product(&id, self.now, self.live, required(form, "name")?);
        set(&mut doc, form, &["description", "default_price"], &[], &["active"]);
        Ok(self.put(Kind::Products, doc, Some("product.created")))
    }

    pub(super) fn create_price(&mut self, form: &Value) -> Written {
        let currency = required(form, "currency")?;
        let product = match (text(form, "product"), form.get("product_data")) {
            (Some(id), _) => {
                self.doc(Kind::Products, id, "product")?;
                id.to_owned()
            }
            (None, Some(data)) => {
                let product = self.create_product(data)?;
                product["id"].as_str().unwrap_or_default().to_owned()
            }
            (None, None) => return Err(missing_param("product")),
        };
        let id = self.id_or_new(Kind::Prices, form)?;
        let mut doc = shapes::price(&id, self.now, self.live, &product, currency);
        set(
            &mut doc,
            form,
            &[
                "nickname",
                "lookup_key",
                "billing_scheme",
                "tiers_mode",
                "tax_behavior",
                "unit_amount_decimal",
            ],
            &["unit_amount"],
            &["active"],
        );
        if let Some(amount) = number(form, "unit_amount") {
            doc["unit_amount_decimal"] = json!(amount.to_string());
        } else if let Some(amount) = text(form, "unit_amount_decimal").and_then(|d| d.parse::<i64>().ok()) {
            doc["unit_amount"] = json!(amount);
        }
        if let Some(recurring) = form.get("recurring") {
            doc["type"] = json!("recurring");
            doc["recurring"] = json!({
                "interval": required(recurring, "interval")?,
                "interval_count": number(recurring, "interval_count").unwrap_or(1),
                "meter": null, "trial_period_days": null,
                "usage_type": text(recurring, "usage_type").unwrap_or("licensed"),
            });
        }
        if let Some(transform) = form.get("transform_quantity") {
            doc["transform_quantity"] = json!({
                "divide_by": required_number(transform, "divide_by")?,
                "round": required(transform, "round")?,
            });
        }
        if let Some(Value::Array(tiers)) = form.get("tiers") {
            doc["tiers"] = tiers
                .iter()
                .map(|tier| {
                    let unit = number(tier, "unit_amount");
                    let flat = number(tier, "flat_amount");
                    json!({
                        "up_to": number(tier, "up_to"),
                        "unit_amount": unit,
                        "unit_amount_decimal": unit.map(|u| u.to_string()).or_else(|| text(tier, "unit_amount_decimal").map(str::to_owned)),
                        "flat_amount": flat,
                        "flat_amount_decimal": flat.map(|f| f.to_string()),
                    })
                })
                .collect();
        }
        if let Some(Value::Object(options)) = form.get("currency_options") {
            let options: Map<String, Value> = options
                .iter()
                .map(|(currency, option)| {
                    let amount = number(option, "unit_amount");
                    let option = json!({
                        "custom_unit_amount": null, "tax_behavior": "unspecified", "unit_amount": amount,
                        "unit_amount_decimal": amount.map(|a| a.to_string()),
                    });
                    (currency.clone(), option)
                })
                .collect();
            doc["currency_options"] = Value::Object(options);
        }
        Ok(self.put(Kind::Prices, doc, Some("price.created")))
    }

    pub(super) fn create_coupon(&mut self, form: &Value) -> Written {
        let id = self.id_or_new(Kind::Coupons, form)?;
        let mut doc = shapes::coupon(&id, self.now, self.live);
        set(
            &mut doc,
            form,
            &["name", "currency", "duration"],
            &["amount_off", "duration_in_months", "max_redemptions", "redeem_by"],
            &[],
        );
        if let Some(percent) = text(form, "percent_off") {
            doc["percent_off"] = percent
                .parse::<f64>()
                .ok()
                .filter(|p| (0.0..=100.0).contains(p))
                .map(|p| json!(p))
                .ok_or_else(|| Refusal::invalid("percent_off", "Invalid decimal"))?;
        }
        if doc["percent_off"].is_null() == doc["amount_off"].is_null() {
            return Err(Refusal::invalid(
                "amount_off",
                "You must pass either percent_off or amount_off, and not both.",
            ));
        }
        if let Some(applies_to) = form.get("applies_to") {
            doc["applies_to"] = applies_to.clone();
        }
        Ok(self.put(Kind::Coupons, doc, Some("coupon.created")))
    }

    pub(super) fn discounts(&mut self, wanted: &[Value]) -> Written {
        wanted
            .iter()
            .map(|d| self.discount(required(d, "coupon")?))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array)
    }

    pub(super) fn discount(&mut self, coupon: &str) -> Written {
        let doc = self.doc(Kind::Coupons, coupon, "coupon")?;
        let id = self.store.new_id("di");
        let end = (doc["duration"] == "repeating").then(|| doc["duration_in_months"].as_i64()).flatten().map(
            |months| {
                let recurring = json!({"recurring": {"interval": "month", "interval_count": months}});
                shapes::period_end(&recurring, self.now)
            },
        );
        Ok(shapes::discount(&id, coupon, self.now, end))
    }

    /// Stripe keeps a product as long as something is sold at a price of it.
    pub(super) fn delete_product(&mut self, id: &str) -> Written {
        let prices = self.store.of(Kind::Prices);
        let mut all = prices.into_iter().flat_map(|all| all.newest_first(None, (i64::MIN, i64::MAX)));
        if all.any(|price| price.doc()["product"].as_str() == Some(id)) {
            return Err(Refusal::bad(
                "This product cannot be deleted because it has one or more user-created prices.",
            ));
        }
        drop(all);
        self.delete(Kind::Products, id)
    }

    /// A plan is a price under its older name, with the same id.
    pub(super) fn create_plan(&mut self, form: &Value) -> Written {
        let product = match form.get("product") {
            Some(Value::String(id)) => json!({ "product": id }),
            Some(data) => json!({ "product_data": data }),
            None => return Err(missing_param("product")),
        };
        let mut price = json!({
            "currency": required(form, "currency")?,
            "recurring": {"interval": required(form, "interval")?},
        });
        price["id"] = match text(form, "id") {
            Some(id) => json!(id),
            None => json!(self.store.new_id("plan")),
        };
        for (name, value) in product.as_object().into_iter().flatten() {
            price[name] = value.clone();
        }
        for (theirs, ours) in [("amount", "unit_amount"), ("nickname", "nickname"), ("metadata", "metadata")]
        {
            if let Some(value) = form.get(theirs) {
                price[ours] = value.clone();
            }
        }
        for name in ["interval_count", "usage_type"] {
            if let Some(value) = form.get(name) {
                price["recurring"][name] = value.clone();
            }
        }
        let plan = render::plan(&self.create_price(&price)?);
        self.emit("plan.created", &plan, None);
        Ok(plan)
    }

    pub(super) fn update_plan(&mut self, id: &str, form: &Value) -> Written {
        let price = self.change(Kind::Prices, id, "price.updated", |_, doc| {
            set(doc, form, &["nickname"], &[], &["active"]);
            Ok(())
        })?;
        let plan = render::plan(&price);
        self.emit("plan.updated", &plan, None);
        Ok(plan)
    }

    pub(super) fn delete_plan(&mut self, id: &str) -> Written {
        let plan = render::plan(&self.shown(Kind::Prices, id)?);
        self.delete(Kind::Prices, id)?;
        self.emit("plan.deleted", &plan, None);
        Ok(json!({"id": id, "object": "plan", "deleted": true}))
    }

    pub(super) fn create_promotion_code(&mut self, form: &Value) -> Written {
        // Newer versions name the coupon inside `promotion`.
        let coupon = form.get("promotion").and_then(|p| text(p, "coupon")).or_else(|| text(form, "coupon"));
        let coupon = coupon.ok_or_else(|| missing_param("promotion[coupon]"))?;
        self.doc(Kind::Coupons, coupon, "coupon")?;
        let id = self.store.new_id(Kind::PromotionCodes.prefix());
        let code = text(form, "code").map_or_else(|| id.to_uppercase(), str::to_owned);
        let mut doc = shapes::promotion_code(&id, self.now, self.live, coupon, &code);
        set(&mut doc, form, &["customer"], &["max_redemptions", "expires_at"], &["active"]);
        Ok(self.put(Kind::PromotionCodes, doc, Some("promotion_code.created")))
    }
}
