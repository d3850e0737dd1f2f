//! The vocabulary that every provider is translated into. Derivations read facts and roles, and know
//! no vendor.

use serde::{Deserialize, Serialize};

use crate::connector::Mode;

/// One statement about a customer, an article or a payment, in the shared vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// Who pays: a customer of a billing tool.
    BillingAccount(BillingAccount),
}

/// Who pays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BillingAccount {
    /// The provider's id (`cus_123`).
    pub id: String,
    /// Display name.
    pub name: Option<String>,
    /// Billing e-mail address.
    pub email: Option<String>,
    /// ISO 4217 code in lower case, the account's own currency.
    pub currency: Option<String>,
    /// Whether the provider calls the account delinquent.
    pub delinquent: bool,
    /// Live or test.
    pub mode: Mode,
    /// Provider metadata, by key.
    pub metadata: std::collections::BTreeMap<String, String>,
}
