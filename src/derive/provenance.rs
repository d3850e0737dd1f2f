//! Why each value is what it is, and the values that a person entered.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::document::{Loser, Provenance, Values};
use super::inputs::{DeriveError, Inputs};
use super::ltv::Paid;
use super::plan::Primary;
use super::renewal::Renewal;
use super::subscription::Valued;

fn as_map(values: &Values) -> Map<String, Value> {
    match serde_json::to_value(values) {
        Ok(Value::Object(map)) => map,
        // A struct of plain members is always an object.
        _ => Map::new(),
    }
}

/// Puts what a person entered over what was derived. Names that no derived value has are somebody else's.
///
/// An entered MRR without an entered ARR gives the ARR too, for the two must not contradict each other.
pub(super) fn enter(inputs: &Inputs<'_>, values: &mut Values) -> Result<(), DeriveError> {
    if inputs.manual.is_empty() {
        return Ok(());
    }
    let mut map = as_map(values);
    for (field, entered) in inputs.manual {
        let Some(old) = map.get(field).cloned() else { continue };
        map.insert(field.clone(), entered.clone());
        if let Err(e) = serde_json::from_value::<Values>(Value::Object(map.clone())) {
            // A null where there is always a value enters nothing.
            if entered.is_null() {
                map.insert(field.clone(), old);
                continue;
            }
            return Err(DeriveError::Manual { field: field.clone(), message: e.to_string() });
        }
    }
    if let Ok(entered) = serde_json::from_value::<Values>(Value::Object(map)) {
        *values = entered;
    }
    let is_entered = |field: &str| inputs.manual.get(field).is_some_and(|v| !v.is_null());
    if is_entered("renewal_date") {
        values.renewal_source = Some("manual".to_owned());
    }
    if is_entered("mrr_minor") {
        values.mrr_incomplete = false;
        if !is_entered("arr_minor") {
            values.arr_minor = values.mrr_minor.and_then(|mrr| mrr.checked_mul(12));
        }
    }
    Ok(())
}

fn rule(rule: &str, records: impl IntoIterator<Item = String>) -> Provenance {
    let mut records: Vec<String> = records.into_iter().collect();
    records.sort();
    records.dedup();
    Provenance { rule: rule.to_owned(), records, ..Provenance::default() }
}

/// What values were worked out from.
pub(super) struct Grounds<'g, 'p, 'a> {
    /// The subscriptions.
    pub(super) all: &'g [Valued<'a>],
    pub(super) primary: Option<&'g Primary<'p, 'a>>,
    pub(super) paid: &'g Paid,
    pub(super) renewal: &'g Renewal,
    /// Why what a CRM says is what it is.
    pub(super) said: BTreeMap<String, Provenance>,
}

/// Provenance of every value that says something.
pub(super) fn of(
    inputs: &Inputs<'_>,
    grounds: Grounds<'_, '_, '_>,
    derived: &Values,
    values: &Values,
) -> BTreeMap<String, Provenance> {
    let Grounds { all, primary, paid, renewal, said } = grounds;
    let counting = || all.iter().filter(|v| v.left_out.is_none()).map(|v| v.of.record());
    let mut mrr = rule("R3", counting());
    mrr.inputs.insert("mrr_discounts".to_owned(), json!(inputs.settings.mrr_discounts));
    mrr.inputs.insert("mrr_cancel_mode".to_owned(), json!(inputs.settings.mrr_cancel_mode));
    mrr.losers = all
        .iter()
        .filter_map(|v| Some(Loser { source: v.of.record(), value: Value::Null, why: v.left_out.clone()? }))
        .collect();
    let mut ltv = rule("R11", paid.records.iter().cloned());
    ltv.inputs.insert("ltv_mode".to_owned(), json!(inputs.settings.ltv_mode));
    let plan = rule("R10", primary.map(|p| p.subscription.of.record()));
    let dates = renewal.provenance();
    let status = rule("R13", all.iter().map(|v| v.of.record()));

    let mut map: BTreeMap<String, Provenance> = said;
    let mut put = |fields: &[&str], provenance: &Provenance| {
        for field in fields {
            map.insert((*field).to_owned(), provenance.clone());
        }
    };
    put(&["mrr_minor"], &mrr);
    put(&["arr_minor"], &Provenance { rule: "R5".to_owned(), losers: Vec::new(), ..mrr.clone() });
    put(&["currency"], &rule("R7", counting()));
    put(&["monthly_spend_minor"], &rule("R14", counting()));
    put(&["plan"], &plan);
    put(&["ltv_minor"], &ltv);
    put(&["subscription_status"], &rule("R8", all.iter().map(|v| v.of.record())));
    put(&["renewal_date"], &dates);
    put(&["renewal_status"], &status);
    put(&["team_size"], &rule("R15", Vec::new()));

    // What a person entered wins; what was derived is the loser.
    if !inputs.manual.is_empty() {
        let (was, is) = (as_map(derived), as_map(values));
        for field in inputs.manual.keys().filter(|field| is.contains_key(*field)) {
            let loser = Loser {
                source: "derived".to_owned(),
                value: was.get(field).cloned().unwrap_or_default(),
                why: "a person entered another value".to_owned(),
            };
            let entered =
                Provenance { rule: "manual".to_owned(), losers: vec![loser], ..Provenance::default() };
            map.insert(field.clone(), entered);
        }
    }
    map
}
