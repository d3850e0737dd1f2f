//! What a CRM says about a company, and its agreements as the prompt may show them.

use std::collections::BTreeMap;

use connector_sdk::facts::{Confidence, Contract, ContractStatus, Organization, Stated};
use serde_json::{Value, json};

use super::book::{Book, Of};
use super::document::{ContractState, Loser, Provenance, Values};
use super::ltv::date;

/// The rule's name in provenance.
const RULE: &str = "R16";

/// Industry, head count, lifecycle stage and owner into `values`, and why (R16): of each the first that a record of
/// a CRM says, in the order of the records; others that say something else are losers.
pub(super) fn derive(book: &Book<'_>, values: &mut Values) -> BTreeMap<String, Provenance> {
    let mut why = BTreeMap::new();
    let owner = |of: &Of<'_, Organization>| {
        let person = book.person(of.source, of.fact.owner.as_deref()?)?.fact;
        person.name.clone().or_else(|| person.emails.first().cloned())
    };
    let industry = |of: &Of<'_, Organization>| of.fact.industry.clone();
    let stage = |of: &Of<'_, Organization>| of.fact.lifecycle_stage.clone();
    let employees = |of: &Of<'_, Organization>| of.fact.employees.and_then(|n| i64::try_from(n).ok());
    values.industry = said(book, "industry", industry, &mut why);
    values.employee_count = said(book, "employee_count", employees, &mut why);
    values.lifecycle_stage = said(book, "lifecycle_stage", stage, &mut why);
    values.owner = said(book, "owner", owner, &mut why);
    why
}

fn said<T: PartialEq + Into<Value> + Clone>(
    book: &Book<'_>,
    field: &str,
    of: impl Fn(&Of<'_, Organization>) -> Option<T>,
    why: &mut BTreeMap<String, Provenance>,
) -> Option<T> {
    let mut all =
        book.organizations().filter_map(|organization| Some((of(&organization)?, organization.record())));
    let (value, record) = all.next()?;
    let losers = all
        .filter(|(other, _)| *other != value)
        .map(|(other, source)| Loser {
            source,
            value: other.into(),
            why: "another record comes first".to_owned(),
        })
        .collect();
    let provenance =
        Provenance { rule: RULE.to_owned(), records: vec![record], losers, ..Provenance::default() };
    why.insert(field.to_owned(), provenance);
    Some(value)
}

/// Agreements that the other side has seen, the latest first. What is still being written, or was never sent, is the
/// own house's business.
pub(super) fn contracts(book: &Book<'_>) -> Vec<ContractState> {
    let mut all: Vec<ContractState> = book.contracts().filter_map(|of| contract(of.fact)).collect();
    all.sort_by(|a, b| (b.signed_on, &a.name, a.status).cmp(&(a.signed_on, &b.name, b.status)));
    all
}

fn contract(c: &Contract) -> Option<ContractState> {
    let status = match c.status {
        // A status can be set by hand; only a signature binds.
        ContractStatus::Completed if c.signed_at.is_some() => "signed",
        ContractStatus::Sent | ContractStatus::Viewed => "sent",
        ContractStatus::InReview => "in_review",
        ContractStatus::WaitingPayment => "waiting_for_payment",
        _ => return None,
    };
    Some(ContractState {
        name: c.name.clone(),
        status,
        signed_on: c.signed_at.map(date),
        ends_on: known(c.end),
        auto_renews: known(c.auto_renews),
    })
}

/// What somebody wrote or accepted. A guess that nobody has looked at is not told to a customer as a fact.
fn known<T: Copy>(stated: Option<Stated<T>>) -> Option<T> {
    stated.filter(|stated| stated.confidence != Confidence::Low).map(|stated| stated.value)
}

impl ContractState {
    /// As the prompt shows it, without what is not known.
    pub(super) fn entry(&self) -> Value {
        let all = [
            ("label", json!(self.name)),
            ("status", json!(self.status)),
            ("signed_on", json!(self.signed_on)),
            ("ends_on", json!(self.ends_on)),
            ("auto_renews", json!(self.auto_renews)),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_that_nobody_looked_at_is_no_fact() {
        let of = |confidence| known(Some(Stated { value: 1, confidence }));
        assert_eq!(of(Confidence::Low), None);
        assert_eq!((of(Confidence::Accepted), of(Confidence::Stated)), (Some(1), Some(1)));
    }
}
