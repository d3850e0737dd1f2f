//! What a derivation says: the document that is stored, one for each company.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exact::Exact;
use super::notes::Noted;

/// The derived values. `None` is a legal answer: unknown, or nothing there.
///
/// Money is minor units of the currency named beside it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Values {
    /// Monthly recurring revenue.
    pub mrr_minor: Option<i64>,
    /// Annual recurring revenue: 12 times the unrounded MRR (R5).
    pub arr_minor: Option<i64>,
    /// Currency of `mrr_minor`, `arr_minor` and `monthly_spend_minor`, ISO 4217 in lower case.
    pub currency: Option<String>,
    /// MRR in each currency that it is made of; `None` while it is incomplete.
    pub mrr_by_currency: Option<BTreeMap<String, i64>>,
    /// Whether `mrr_minor` leaves out other currencies.
    pub mixed_currency: bool,
    /// Whether a part that the MRR needs is missing; then it is unknown.
    pub mrr_incomplete: bool,
    /// MRR and the mean of what metered items cost (R14).
    pub monthly_spend_minor: Option<i64>,
    /// Name of the plan (R10).
    pub plan: Option<String>,
    /// The plan, or the last one where there is none now.
    pub last_plan: Option<String>,
    /// Realised cash (R11).
    pub ltv_minor: Option<i64>,
    /// Currency of `ltv_minor`.
    pub ltv_currency: Option<String>,
    /// Realised cash in each currency.
    pub ltv_by_currency: Option<BTreeMap<String, i64>>,
    /// UTC date of the latest payment.
    pub last_payment_date: Option<NaiveDate>,
    /// Best status of the subscriptions; `none` without one (R8).
    pub subscription_status: String,
    /// Whether anything is overdue, which the best status hides.
    pub delinquent: bool,
    /// UTC date of the next renewal or end (R9).
    pub renewal_date: Option<NaiveDate>,
    /// The agreement's length in a word.
    pub contract_term: Option<String>,
    /// The agreement's length in months, where it is a whole number of them.
    pub contract_term_months: Option<u32>,
    /// How often it is paid, in the same words.
    pub payment_terms: Option<String>,
    /// Whether a contract is in force.
    pub on_contract: bool,
    /// What is about to happen (R13).
    pub renewal_status: Option<String>,
    /// Who says so: a connector's id, or `manual`.
    pub renewal_source: Option<String>,
    /// The date on which the renewal date moved on, while that makes the company `renewed`.
    pub renewed_on: Option<NaiveDate>,
    /// Distinct end users (R15).
    pub team_size: Option<u64>,
    /// What the company does, in a CRM's word (R16).
    pub industry: Option<String>,
    /// How many people work there, as a CRM says (R16). Not who uses the product: that is `team_size`.
    pub employee_count: Option<i64>,
    /// How far it has come as a customer, in a CRM's word (R16).
    pub lifecycle_stage: Option<String>,
    /// Who of our side looks after it: name, or e-mail address (R16).
    pub owner: Option<String>,
}

/// Why a value is what it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The rule, as `reference` names it (`R3`), or `manual`.
    pub rule: String,
    /// The records that it was made of, `connection/stream/id`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// What went in, in words or numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Value>,
    /// What could have been the value and why it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losers: Vec<Loser>,
}

/// What could have been the value and why it is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loser {
    /// Who said it: `connection/stream/id`, or `derived`.
    pub source: String,
    /// What it said.
    pub value: Value,
    /// Why it lost.
    pub why: String,
}

/// A part that a value needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// The value that needs it: `mrr`, `ltv`.
    pub field: String,
    /// What kind of thing: `price`, `coupon`, `tiers` …
    pub what: String,
    /// Its id, where that is known.
    pub id: Option<String>,
    /// The record that needs it, `stream/id`.
    pub of: String,
}

/// What a discount took off one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineDiscount {
    /// The coupon.
    pub coupon: String,
    /// What it is, in words (`10%`, `500 off each invoice`).
    pub terms: String,
    /// Minor units that it took off this line, each period.
    pub off: Exact,
}

/// One subscription item in the sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MrrLine {
    /// The item's id.
    pub item: String,
    /// The name that a plan would have.
    pub name: String,
    /// The price's id.
    pub price: Option<String>,
    /// The quantity that the amount was worked out with.
    pub quantity: u64,
    /// How often it bills (`year`, `3 months`).
    pub every: String,
    /// Minor units each period, rounded as an invoice line shows it.
    pub gross: Exact,
    /// What discounts took off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<LineDiscount>,
    /// Tax inside the price, taken out.
    #[serde(default, skip_serializing_if = "Exact::is_zero")]
    pub tax: Exact,
    /// `gross` less discounts and tax.
    pub net: Exact,
    /// Periods in a month (`1/12`).
    pub factor: Exact,
    /// `net` times `factor`, unrounded.
    pub per_month: Exact,
}

/// One subscription in the sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MrrSubscription {
    /// `connection/stream/id`.
    pub record: String,
    /// Its status, in the vocabulary's word.
    pub status: String,
    /// ISO 4217, lower case.
    pub currency: Option<String>,
    /// Why it is not in the sum; `None` for one that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Its licensed recurring items. Empty for one that is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<MrrLine>,
    /// Discounts that run on it and are not in the sum, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// Sum of the lines, unrounded; `None` while a part is missing.
    pub per_month: Option<Exact>,
}

/// How a currency went into the reported figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurrencySum {
    /// ISO 4217, lower case.
    pub currency: String,
    /// Sum of its subscriptions, unrounded.
    pub per_month: Exact,
    /// The same in the reported currency, unrounded; `None` where it is not in the figure.
    pub converted: Option<Exact>,
}

/// The sum behind the MRR, line by line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MrrBreakdown {
    /// Every subscription that was looked at, oldest first.
    pub subscriptions: Vec<MrrSubscription>,
    /// The currencies of those that count.
    pub currencies: Vec<CurrencySum>,
    /// The figure before rounding; `None` while a part is missing.
    pub exact: Option<Exact>,
}

/// A derivation: values, why, and until when.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Derivation {
    /// Version of the rules.
    pub version: u32,
    /// Hash of the inputs ([`super::Inputs::hash`]).
    pub inputs_hash: String,
    /// Whether the figures come from test objects.
    pub test: bool,
    /// The values.
    pub values: Values,
    /// Why values are what they are; ask [`Derivation::why`], for values that always have the same reason share it.
    pub provenance: BTreeMap<String, Provenance>,
    /// The sum behind the MRR.
    pub mrr: MrrBreakdown,
    /// What is missing, sorted.
    pub missing: Vec<Missing>,
    /// Ids of the accounts at each connector, sorted.
    pub accounts: BTreeMap<String, Vec<String>>,
    /// Ids of the company at each CRM, sorted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub organizations: BTreeMap<String, Vec<String>>,
    /// Subscriptions, as the prompt may show them.
    pub subscriptions: Vec<SubscriptionState>,
    /// Agreements, as the prompt may show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    pub contracts: Vec<ContractState>,
    /// What the connections' settings show, outside the vocabulary.
    #[serde(default, skip_serializing_if = "Noted::is_empty", skip_deserializing)]
    pub noted: Noted,
    /// The first instant at which time alone may change a value.
    pub next_turn: Option<Timestamp>,
}

impl Derivation {
    /// Why a value is what it is.
    pub fn why(&self, field: &str) -> Option<&Provenance> {
        let shared = match field {
            "contract_term" | "contract_term_months" | "payment_terms" | "on_contract" | "renewal_source" => {
                "renewal_date"
            }
            "delinquent" => "subscription_status",
            "last_payment_date" | "ltv_currency" | "ltv_by_currency" => "ltv_minor",
            "mrr_by_currency" | "mrr_incomplete" | "mixed_currency" => "mrr_minor",
            "renewed_on" => "renewal_status",
            "last_plan" => "plan",
            _ => field,
        };
        // A value that a person entered has its own reason, and lends it to no other.
        let own = self.provenance.get(field);
        own.or_else(|| self.provenance.get(shared).filter(|p| p.rule != "manual"))
    }
}

/// An agreement, as the prompt may show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractState {
    /// Its title.
    pub name: Option<String>,
    /// `signed`, `sent`, `in_review`, `waiting_for_payment`.
    pub status: &'static str,
    /// UTC date of the first signature.
    pub signed_on: Option<NaiveDate>,
    /// Its last day, where somebody said it.
    pub ends_on: Option<NaiveDate>,
    /// Whether it renews itself, where somebody said it.
    pub auto_renews: Option<bool>,
}

/// A subscription, as the prompt may show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionState {
    /// The name that a plan would have.
    pub plan: Option<String>,
    /// Its status.
    pub status: String,
    /// What it is worth each month, as a text in major units; `None` where unknown.
    pub per_month: Option<String>,
    /// ISO 4217, upper case.
    pub currency: Option<String>,
    /// Units of the primary item.
    pub quantity: Option<u64>,
    /// How often it bills.
    pub billing: Option<String>,
    /// End of the running period, UTC date.
    pub current_period_end: Option<NaiveDate>,
    /// End of the trial, UTC date, while it is a trial.
    pub trial_end: Option<NaiveDate>,
    /// The date on which it ends, where somebody asked for that.
    pub cancels_on: Option<NaiveDate>,
}
