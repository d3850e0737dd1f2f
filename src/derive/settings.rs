//! What an organisation may decide about its derived fields.

use std::collections::BTreeMap;

use connector_sdk::facts::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which running discounts lower the MRR (R12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MrrDiscounts {
    /// Those that last for ever, and those that can hit at least two invoices.
    #[default]
    Recurring,
    /// Only those that last for ever.
    Forever,
    /// All that run now.
    All,
    /// None.
    None,
}

/// When a subscription that will be cancelled leaves the MRR (R8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MrrCancelMode {
    /// When it ends.
    #[default]
    PeriodEnd,
    /// When the cancellation is asked for.
    Immediate,
}

/// In which currency the lifetime value is counted (R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LtvMode {
    /// In the currencies that customers paid in.
    #[default]
    Presentment,
    /// In the currency that the provider settled in.
    Settlement,
}

/// What MRR is made of.
///
/// An open word: a value that this version does not know is kept, and the MRR is then unknown instead of
/// wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MrrMode(pub String);

impl MrrMode {
    /// The sum over live subscriptions.
    pub const SUBSCRIPTION: &str = "stripe_subscription";

    /// Whether it is the one that this version implements.
    pub fn is_known(&self) -> bool {
        self.0 == Self::SUBSCRIPTION
    }
}

impl Default for MrrMode {
    fn default() -> Self {
        Self(Self::SUBSCRIPTION.to_owned())
    }
}

/// What an organisation may decide about its derived fields. An unknown member is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What MRR is made of: `stripe_subscription`.
    pub mrr_mode: MrrMode,
    /// Which running discounts lower the MRR.
    pub mrr_discounts: MrrDiscounts,
    /// When a subscription that will be cancelled leaves the MRR.
    pub mrr_cancel_mode: MrrCancelMode,
    /// ISO 4217 code into which figures are converted, where every currency in them has a rate.
    pub reporting_currency: Option<String>,
    /// Price of one major unit of a currency in the reporting currency, as a decimal text (`"1.10"`).
    #[schemars(with = "BTreeMap<String, String>")]
    pub fx: BTreeMap<String, Decimal>,
    /// In which currency the lifetime value is counted.
    pub ltv_mode: LtvMode,
    /// From how many days before its renewal a company is up for renewal, and for how many after it counts
    /// as renewed.
    pub up_for_renewal_days: u32,
    /// Take test rows instead of live ones, whatever the mode of the connection.
    pub include_test: bool,
    /// Take what lives on a provider's simulated clock too.
    pub include_test_clocks: bool,
    /// Products that are plans; they come before the highest amount when the plan is named.
    pub plan_product_ids: Vec<String>,
    /// Take of a contract only what a person wrote or accepted, no guesses.
    pub accepted_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mrr_mode: MrrMode::default(),
            mrr_discounts: MrrDiscounts::default(),
            mrr_cancel_mode: MrrCancelMode::default(),
            reporting_currency: None,
            fx: BTreeMap::new(),
            ltv_mode: LtvMode::default(),
            up_for_renewal_days: 30,
            include_test: false,
            include_test_clocks: false,
            plan_product_ids: Vec::new(),
            accepted_only: false,
        }
    }
}

/// A setting that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {message}")]
pub struct SettingsError {
    /// The member, as a dotted path.
    pub member: String,
    /// What is wrong with it.
    pub message: String,
}

impl Settings {
    /// Checks what the types cannot say: currencies are three letters, rates are above zero.
    pub fn check(&self) -> Result<(), SettingsError> {
        let currency = |member: &str, code: &str| {
            if code.len() == 3 && code.bytes().all(|b| b.is_ascii_alphabetic()) {
                return Ok(());
            }
            Err(SettingsError {
                member: member.to_owned(),
                message: format!("expected an ISO 4217 code of three letters, found {code:?}"),
            })
        };
        if let Some(code) = &self.reporting_currency {
            currency("reporting_currency", code)?;
        }
        for (code, rate) in &self.fx {
            currency("fx", code)?;
            if rate.mantissa() <= 0 {
                return Err(SettingsError {
                    member: format!("fx.{code}"),
                    message: "expected a rate above zero".to_owned(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_str(text).map_err(|e| e.to_string())?;
        settings.check().map_err(|e| e.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_and_refusals() {
        assert_eq!(read("{}").unwrap(), Settings::default());
        assert!(read(r#"{"mrr_discount": "all"}"#).unwrap_err().contains("mrr_discount"));
        assert!(read(r#"{"mrr_discounts": "some"}"#).unwrap_err().contains("some"));
        assert!(read(r#"{"fx": {"eur": 1.1}}"#).unwrap_err().contains("string"), "no binary floats");
        assert!(read(r#"{"fx": {"eur": "0"}}"#).unwrap_err().contains("fx.eur"));
        assert!(read(r#"{"reporting_currency": "dollar"}"#).unwrap_err().contains("reporting_currency"));
        assert!(!read(r#"{"mrr_mode": "invoiced"}"#).unwrap().mrr_mode.is_known());
    }

    #[test]
    fn reads_back_what_it_writes() {
        let s = read(r#"{"reporting_currency": "usd", "fx": {"eur": "1.10"}, "plan_product_ids": ["p"]}"#)
            .unwrap();
        assert_eq!(read(&serde_json::to_string(&s).unwrap()).unwrap(), s);
        assert!(
            serde_json::to_string(&schemars::schema_for!(Settings)).unwrap().contains("up_for_renewal_days")
        );
    }
}
