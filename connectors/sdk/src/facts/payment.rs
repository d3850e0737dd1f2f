//! Money that moved.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::connector::Mode;

/// Money that moved, or was asked back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// Money from a customer.
    Charge(Box<Charge>),
    /// Money back to a customer.
    Refund(Refund),
    /// Money that a customer's bank asks back.
    Dispute(Dispute),
}

impl Payment {
    /// The provider's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Charge(x) => &x.id,
            Self::Refund(x) => &x.id,
            Self::Dispute(x) => &x.id,
        }
    }
}

/// Where a charge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// The money came, or is authorised.
    Succeeded,
    /// On its way.
    Pending,
    /// It did not come.
    Failed,
    /// A status that this translation does not know.
    Unknown,
}

/// Money from a customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// The provider's id.
    pub id: String,
    /// The billing account's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The invoice that it pays, where the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    /// The payment attempt that it belongs to; refunds and disputes may name only that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Where it stands.
    pub status: ChargeStatus,
    /// Whether it was paid (an authorisation is not).
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub paid: bool,
    /// Whether the authorised money was taken.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub captured: bool,
    /// ISO 4217 code in lower case.
    pub currency: String,
    /// Minor units that were taken.
    pub amount_captured: i64,
    /// Minor units that went back, as the charge itself says; refunds of their own know better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_refunded: Option<i64>,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The settlement's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<String>,
    /// Whether there are refunds that did not come with it.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub refunds_incomplete: bool,
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// The money went back.
    Succeeded,
    /// On its way.
    Pending,
    /// The customer has to do something first.
    RequiresAction,
    /// It did not go back.
    Failed,
    /// Called off.
    Canceled,
    /// A status that this translation does not know.
    Unknown,
}

/// Money back to a customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// The provider's id.
    pub id: String,
    /// The charge's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<String>,
    /// The payment attempt's id, where the charge is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Where it stands.
    pub status: RefundStatus,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217 code in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
    /// The settlement's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<String>,
}

/// Where a dispute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// The money is withdrawn, an answer is due.
    NeedsResponse,
    /// The money is withdrawn, the bank reads the answer.
    UnderReview,
    /// The money is gone.
    Lost,
    /// The money is back.
    Won,
    /// Nothing was withdrawn: an inquiry, or one that was prevented.
    NotWithdrawn,
    /// A status that this translation does not know.
    Unknown,
}

/// Money that a customer's bank asks back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispute {
    /// The provider's id.
    pub id: String,
    /// The charge's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<String>,
    /// The payment attempt's id, where the charge is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Where it stands.
    pub status: DisputeStatus,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217 code in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
    /// The settlements' ids: none, the withdrawal, or that and the return.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settlements: Vec<String>,
}

/// What a payment did to the account's balance, in the currency of the balance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// The provider's id.
    pub id: String,
    /// The id of the charge, refund or dispute that it settles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Minor units before fees; negative where the balance fell.
    pub amount: i64,
    /// Minor units of fees, which `amount` still holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<i64>,
    /// ISO 4217 code in lower case of the balance.
    pub currency: String,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
}
