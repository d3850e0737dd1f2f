//! Which fields the reference knows, in which order they are printed, and which are not traits.

/// Whose field or entry something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The end user.
    User,
    /// The user's company.
    Company,
    /// A context entry of either.
    Context,
}

/// Recognised fields of a user, in printed order.
pub const USER_FIELDS: &[&str] = &[
    "name",
    "email",
    "avatar",
    "role",
    "plan",
    "signed_up_at",
    "renewal_status",
    "renewal_date",
    "contract_term",
    "payment_terms",
    "on_contract",
    "mrr",
    "arr",
    "health_score",
];

/// Recognised fields of a company, in printed order; the name stands in the header.
pub const COMPANY_FIELDS: &[&str] = &[
    "name",
    "plan",
    "industry",
    "domain",
    "employee_count",
    "monthly_spend",
    "signed_up_at",
    "renewal_status",
    "renewal_date",
    "contract_term",
    "contract_term_months",
    "payment_terms",
    "on_contract",
    "mrr",
    "arr",
    "health_score",
    "team_size",
];

/// Amounts of money: `X_minor` with `X_currency` (or `mrr_currency`) is printed as `X`.
pub const MONEY_FIELDS: &[&str] = &["mrr", "arr", "monthly_spend", "lifetime_value"];

/// Fields that stay out of the prompt unless an attribute switches them on: its reader may be the customer.
pub const QUIET_FIELDS: &[&str] = &["health_score", "renewal_status"];

/// Fields of which a derived value stays out of the prompt, too, unless an attribute switches them on: how many people
/// have been seen so far is not what a team's size is, and the reference's own text leaves it out; what the own sales
/// people call a customer, and whose it is, is not for a customer to read.
pub const QUIET_WHEN_DERIVED: &[&str] = &["team_size", "lifecycle_stage", "owner"];

/// Whether a field is printed of which no attribute says whether; `derived`: its value was worked out here.
pub fn printed_by_default(key: &str, derived: bool) -> bool {
    !(QUIET_FIELDS.contains(&key) || derived && QUIET_WHEN_DERIVED.contains(&key))
}

/// What the system writes about a user; a request that names one of these in its traits is refused.
pub const SYSTEM_USER_FIELDS: &[&str] = &[
    "id",
    "external_id",
    "org_id",
    "company_id",
    "created_at",
    "updated_at",
    "first_seen",
    "last_seen",
    "last_contacted_at",
];

/// What the system writes about a company.
pub const SYSTEM_COMPANY_FIELDS: &[&str] = &[
    "id",
    "external_id",
    "org_id",
    "created_at",
    "updated_at",
    "health_score",
    "team_size",
    "last_contacted_at",
];

/// Context keys with this prefix come from derivation; nothing else may write them.
pub const RESERVED_PREFIX: &str = "halo.";

pub(crate) fn order_of(scope: Scope) -> &'static [&'static str] {
    match scope {
        Scope::Company => COMPANY_FIELDS,
        Scope::User | Scope::Context => USER_FIELDS,
    }
}

pub(crate) fn system_fields(scope: Scope) -> &'static [&'static str] {
    match scope {
        Scope::Company => SYSTEM_COMPANY_FIELDS,
        Scope::User | Scope::Context => SYSTEM_USER_FIELDS,
    }
}

/// Columns that say something about the row, not about the customer: never printed.
pub(crate) fn is_bookkeeping(scope: Scope, key: &str) -> bool {
    matches!(key, "source" | "is_test")
        || (system_fields(scope).contains(&key) && !matches!(key, "health_score" | "team_size"))
}
