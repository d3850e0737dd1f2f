//! Derived company fields: pure functions over facts.
//!
//! [`derive()`] takes the facts of a company, what the organisation decided and what a person entered, and
//! gives a [`Derivation`]: values, why each is what it is, and until when time alone leaves them so. It reads no
//! clock and no store, and its answer does not depend on the order of the records. It knows facts and
//! roles and no vendor; a connector's id is only data.
//!
//! The rules R1 to R17 are those of `docs/billing.md`. Money is exact throughout ([`Exact`]) and rounded
//! half up once for each figure.

pub mod cases;
pub mod currency;
pub mod health;

mod amount;
mod book;
mod crm;
mod discount;
mod document;
mod exact;
mod explain;
mod inputs;
mod ltv;
mod notes;
mod outputs;
mod plan;
mod provenance;
mod renewal;
mod revenue;
mod settings;
mod subscription;
mod team;
mod term;

pub use currency::major_text;
pub use document::{
    ContractState, CurrencySum, Derivation, LineDiscount, Loser, Missing, MrrBreakdown, MrrLine,
    MrrSubscription, Provenance, SubscriptionState, Values,
};
pub use exact::Exact;
pub use explain::explain;
pub use inputs::{DeriveError, FactRecord, Inputs, Previous, Source, Stored, StoredNotes, last_known};
pub use notes::Noted;
pub use outputs::{DerivedFields, outputs};
pub use settings::{LtvMode, MrrCancelMode, MrrDiscounts, MrrMode, Settings, SettingsError};
pub use team::{Member, team_size};

use std::collections::BTreeMap;

use connector_sdk::Timestamp;
use connector_sdk::facts::SubscriptionStatus;

use book::Book;
use subscription::Valued;

/// Version of the rules. A larger one makes stored derivations stale.
pub const DERIVE_VERSION: u32 = 2;

/// Derives every field of a company.
///
/// # Errors
///
/// [`DeriveError`] when stored facts cannot be read back, or a value that a person entered has the wrong type.
/// Missing parts are no errors: they are named in [`Derivation::missing`].
pub fn derive(inputs: &Inputs<'_>) -> Result<Derivation, DeriveError> {
    let records = inputs::read(inputs)?;
    let book = Book::new(inputs, &records);
    let all = subscription::value_all(inputs, &book);

    let mut values = Values::default();
    let mut missing = Vec::new();
    let mrr = revenue::derive(inputs, &book, &all, &mut values, &mut missing);
    let paid = ltv::derive(inputs, &book, &mut values, &mut missing);
    values.subscription_status = revenue::status(&all).to_owned();
    values.delinquent = revenue::delinquent(&book, &all);
    values.team_size = inputs.team_size;

    let primary = plan::primary(inputs, &book, &all);
    values.plan = primary.as_ref().and_then(|p| plan::name(&book, &p.subscription.of, &p.item?.price));
    values.last_plan = values
        .plan
        .clone()
        // What is on record comes before what was seen: which states of a subscription were seen depends on
        // the order in which its events came.
        .or_else(|| plan::last_ended(inputs, &book, &all))
        .or_else(|| inputs.previous.and_then(|p| p.plan.clone().or_else(|| p.last_plan.clone())));

    let said = crm::derive(&book, &mut values);
    let renewal = renewal::derive(inputs, &book, &all, &mut values);
    let derived = values.clone();
    provenance::enter(inputs, &mut values)?;
    let mut turns = renewal.status(inputs, &book, &all, &mut values);
    let derived =
        Values { renewal_status: values.renewal_status.clone(), renewed_on: values.renewed_on, ..derived };
    provenance::enter(inputs, &mut values)?;

    missing.sort();
    missing.dedup();
    turns.extend(all.iter().flat_map(|v| v.turns.iter().copied()));
    let grounds =
        provenance::Grounds { all: &all, primary: primary.as_ref(), paid: &paid, renewal: &renewal, said };
    let mut provenance = provenance::of(inputs, grounds, &derived, &values);
    let (noted, why) = notes::derive(&book);
    for (key, reason) in why {
        provenance.entry(key).or_insert(reason);
    }
    Ok(Derivation {
        version: DERIVE_VERSION,
        inputs_hash: inputs.hash(),
        test: book.test,
        values,
        provenance,
        mrr,
        missing,
        accounts: ids(book.accounts().map(|of| (of.source, of.id))),
        organizations: ids(book.organizations().map(|of| (of.source, of.id))),
        contracts: crm::contracts(&book),
        noted,
        subscriptions: all.iter().filter(|v| is_shown(v)).map(|v| state(inputs, &book, v)).collect(),
        next_turn: turns.into_iter().filter(|at| *at > inputs.now).min(),
    })
}

/// Ids by connector, sorted.
fn ids<'a>(all: impl Iterator<Item = (&'a Source, &'a str)>) -> BTreeMap<String, Vec<String>> {
    let mut by_connector: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (source, id) in all {
        by_connector.entry(source.connector.clone()).or_default().push(id.to_owned());
    }
    for ids in by_connector.values_mut() {
        ids.sort();
        ids.dedup();
    }
    by_connector
}

/// What never began is no state of a customer.
fn is_shown(v: &Valued<'_>) -> bool {
    !matches!(v.status, SubscriptionStatus::IncompleteExpired)
}

fn state(inputs: &Inputs<'_>, book: &Book<'_>, v: &Valued<'_>) -> SubscriptionState {
    let s = v.of.fact;
    let item = plan::primary_item(inputs, book, v);
    let day = |at: Option<Timestamp>| at.map(ltv::date);
    SubscriptionState {
        plan: item.and_then(|i| plan::name(book, &v.of, &i.price)),
        status: subscription::word(v.status).to_owned(),
        per_month: v
            .currency
            .as_deref()
            .filter(|_| v.missing.is_empty() && v.status != SubscriptionStatus::Canceled)
            .and_then(|currency| Some(currency::major_text(v.per_month.to_minor()?, currency))),
        currency: v.currency.as_deref().map(str::to_ascii_uppercase),
        quantity: item.filter(|i| !i.metered).map(|i| i.fact.quantity.unwrap_or(1)),
        billing: item.and_then(|i| i.every).map(subscription::every_words),
        current_period_end: day(item.and_then(|i| i.fact.period_end)),
        trial_end: day(s.trial_end.filter(|_| v.status == SubscriptionStatus::Trialing)),
        cancels_on: day(v.end().filter(|_| v.is_set_to_cancel())),
    }
}
