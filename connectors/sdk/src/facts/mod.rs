//! The vocabulary that every provider is translated into. Derivations read facts and roles, and know
//! no vendor.
//!
//! Facts are stored as JSON beside the record that they come from, so every struct leaves out what is
//! empty and reads back what an older translation left out. Three conventions hold everywhere:
//!
//! - Money is an integer count of minor units as the provider writes them (`i64`), a unit amount that may
//!   have more places is a [`Decimal`] of minor units. No binary float exists in this vocabulary.
//! - `None` means "the provider did not say", which is not the same as zero or empty: a derivation that
//!   needs the part reports it as missing.
//! - Instants are UTC, stored as integer milliseconds.

mod billing;
mod catalog;
mod crm;
mod currency;
mod decimal;
mod note;
mod payment;

pub use billing::{
    BillingAccount, EndBehavior, Invoice, InvoiceLine, InvoiceStatus, PauseBehavior, PauseCollection, Phase,
    ScheduleStatus, Subscription, SubscriptionItem, SubscriptionSchedule, SubscriptionStatus, TaxRateRef,
};
pub use catalog::{
    Amounts, CatalogItem, Coupon, CouponDuration, Discount, DiscountRef, Interval, Period, Price, PriceKind,
    Product, Rounding, Scheme, TaxBehavior, TaxRate, Tier, TiersMode, TransformQuantity, Usage,
};
pub use crm::{
    Confidence, Contract, ContractStatus, Conversation, Deal, DealLine, Engagement, Organization, Person,
    Stated, Ticket, TicketPriority, TicketStatus,
};
pub use currency::exponent;
pub use decimal::{Decimal, ParseDecimalError};
pub use note::{Note, NoteEntry};
pub use payment::{Charge, ChargeStatus, Dispute, DisputeStatus, Payment, Refund, RefundStatus, Settlement};

use serde::{Deserialize, Serialize};

/// One statement about a customer, an article or a payment, in the shared vocabulary.
///
/// Written with its name outside (`{"subscription":{…}}`), which reads back without buffering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A company, as a CRM or a support tool knows it.
    Organization(Organization),
    /// A person, as a CRM or a support tool knows them.
    Person(Person),
    /// Who pays: a customer of a billing tool.
    BillingAccount(BillingAccount),
    /// Something that is sold, or a rule about its price.
    CatalogItem(CatalogItem),
    /// A running or ended subscription.
    Subscription(Box<Subscription>),
    /// What was agreed about a subscription's future.
    SubscriptionSchedule(SubscriptionSchedule),
    /// A bill.
    Invoice(Box<Invoice>),
    /// Money that moved, or was asked back.
    Payment(Payment),
    /// What a payment did to the account's balance, in the currency of the balance.
    Settlement(Settlement),
    /// A signed (or unsigned) agreement.
    Contract(Box<Contract>),
    /// A deal of a CRM.
    Deal(Box<Deal>),
    /// A call, meeting, mail or note.
    Engagement(Engagement),
    /// A support ticket.
    Ticket(Ticket),
    /// A conversation with a customer.
    Conversation(Conversation),
    /// What a person decided to show of a record, outside this vocabulary.
    Note(Note),
}

impl Fact {
    /// The provider's id of the object that the fact is about.
    pub fn id(&self) -> &str {
        match self {
            Self::Organization(x) => &x.id,
            Self::Person(x) => &x.id,
            Self::BillingAccount(x) => &x.id,
            Self::CatalogItem(x) => x.id(),
            Self::Subscription(x) => &x.id,
            Self::SubscriptionSchedule(x) => &x.id,
            Self::Invoice(x) => &x.id,
            Self::Payment(x) => x.id(),
            Self::Settlement(x) => &x.id,
            Self::Contract(x) => &x.id,
            Self::Deal(x) => &x.id,
            Self::Engagement(x) => &x.id,
            Self::Ticket(x) => &x.id,
            Self::Conversation(x) => &x.id,
            Self::Note(x) => &x.id,
        }
    }
}

/// For `skip_serializing_if`: a flag that is off is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn is_false(b: &bool) -> bool {
    !*b
}
