//! What a stream's records can be, and the fields of each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a stream's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A company, as a CRM or a support tool knows it; a party.
    Company,
    /// Who pays; a party.
    Customer,
    /// Somebody of a company.
    Person,
    /// A subscription of one price.
    Subscription,
    /// A bill.
    Invoice,
    /// Money from a customer.
    Payment,
    /// A deal.
    Deal,
    /// An agreement.
    Contract,
    /// A support ticket.
    Ticket,
    /// Nothing of the vocabulary: custom fields and context entries alone.
    Note,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Text.
    Text,
    /// ISO 4217.
    Currency,
    /// True or false.
    Flag,
    /// A whole number, not negative.
    Count,
    /// Money, which is kept in minor units: the settings say the unit.
    Minor,
    /// Money, which is kept in major units: the settings say the unit.
    Major,
    /// An instant.
    Time,
    /// A date.
    Date,
    /// How often, or how long: `1 month`.
    Period,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The key of a party's record.
    Party,
    /// The key of a subscription's record.
    Subscription,
}

/// A field of a kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) holds: Holds,
    /// Whether the settings must name it.
    pub(crate) needed: bool,
}

const fn may(name: &'static str, holds: Holds) -> Field {
    Field { name, holds, needed: false }
}

const fn must(name: &'static str, holds: Holds) -> Field {
    Field { name, holds, needed: true }
}

const SUBSCRIPTION: &[&str] =
    &["active", "past_due", "trialing", "unpaid", "paused", "incomplete", "canceled", "incomplete_expired"];
const INVOICE: &[&str] = &["draft", "open", "paid", "uncollectible", "void"];
const PAYMENT: &[&str] = &["succeeded", "pending", "failed"];
const CONTRACT: &[&str] = &[
    "open",
    "created",
    "draft",
    "scheduled",
    "waiting_approval",
    "approved",
    "rejected",
    "sent",
    "viewed",
    "in_review",
    "waiting_payment",
    "completed",
    "expired",
    "declined",
    "void",
    "failed",
];
const TICKET: &[&str] = &["open", "pending", "closed"];
const PRIORITY: &[&str] = &["low", "normal", "high", "urgent"];

impl Kind {
    /// Whether its records are parties.
    pub(crate) fn is_party(self) -> bool {
        matches!(self, Self::Company | Self::Customer)
    }

    /// The word of the settings.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Company => "company",
            Self::Customer => "customer",
            Self::Person => "person",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::Payment => "payment",
            Self::Deal => "deal",
            Self::Contract => "contract",
            Self::Ticket => "ticket",
            Self::Note => "note",
        }
    }

    /// Its fields.
    pub(crate) fn fields(self) -> &'static [Field] {
        use Holds::{
            Count, Currency, Date, Flag, Major, Minor, Party, Period, Subscription, Text, Time, Word,
        };
        const COMPANY: &[Field] = &[
            may("name", Text),
            may("domain", Text),
            may("industry", Text),
            may("employees", Count),
            may("lifecycle_stage", Text),
            may("deleted", Flag),
        ];
        const CUSTOMER: &[Field] = &[
            may("name", Text),
            may("email", Text),
            may("currency", Currency),
            may("delinquent", Flag),
            may("created", Time),
            may("deleted", Flag),
        ];
        const PERSON: &[Field] = &[
            must("party", Party),
            may("name", Text),
            may("email", Text),
            may("lifecycle_stage", Text),
            may("deleted", Flag),
        ];
        const OF_SUBSCRIPTION: &[Field] = &[
            must("party", Party),
            must("status", Word(SUBSCRIPTION)),
            must("amount", Minor),
            must("currency", Currency),
            must("every", Period),
            may("quantity", Count),
            may("plan", Text),
            may("created", Time),
            may("period_start", Time),
            may("period_end", Time),
            may("trial_end", Time),
            may("cancel_at_period_end", Flag),
            may("cancel_at", Time),
            may("canceled_at", Time),
            may("ended_at", Time),
        ];
        const OF_INVOICE: &[Field] = &[
            must("party", Party),
            must("status", Word(INVOICE)),
            must("amount", Minor),
            must("currency", Currency),
            may("subscription", Subscription),
            may("created", Time),
            may("paid_at", Time),
        ];
        const OF_PAYMENT: &[Field] = &[
            must("party", Party),
            must("status", Word(PAYMENT)),
            must("amount", Minor),
            must("currency", Currency),
            may("created", Time),
        ];
        const DEAL: &[Field] = &[
            must("party", Party),
            must("won", Flag),
            may("name", Text),
            may("closed_at", Time),
            may("amount", Major),
            may("currency", Currency),
        ];
        const OF_CONTRACT: &[Field] = &[
            must("party", Party),
            must("status", Word(CONTRACT)),
            may("name", Text),
            may("signed_at", Time),
            may("completed_at", Time),
            may("effective", Date),
            may("end", Date),
            may("auto_renews", Flag),
            may("value", Major),
            may("currency", Currency),
        ];
        const OF_TICKET: &[Field] = &[
            must("party", Party),
            must("status", Word(TICKET)),
            may("title", Text),
            may("priority", Word(PRIORITY)),
            may("created", Time),
            may("closed", Time),
        ];
        const NOTE: &[Field] = &[must("party", Party)];
        match self {
            Self::Company => COMPANY,
            Self::Customer => CUSTOMER,
            Self::Person => PERSON,
            Self::Subscription => OF_SUBSCRIPTION,
            Self::Invoice => OF_INVOICE,
            Self::Payment => OF_PAYMENT,
            Self::Deal => DEAL,
            Self::Contract => OF_CONTRACT,
            Self::Ticket => OF_TICKET,
            Self::Note => NOTE,
        }
    }
}
