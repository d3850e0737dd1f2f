//! Derived values laid over the stored ones: what a derivation makes of a company. Pure, so that it can be foreseen.

use std::collections::BTreeMap;

use connector_sdk::Timestamp;
use serde_json::{Map, Value};

use super::Result;
use super::derivations::DerivationWrite;
use super::traits::{self, outranked};
use crate::domain::Rank;
use crate::domain::companies::{Company, FieldSource};
use crate::domain::keys::notes_party;

/// Field, old value, new value: an element of `field_changes.changes`.
pub(crate) type Changed = (String, Value, Value);

/// A company with derived values laid over it.
pub(crate) struct Laid {
    /// As it is then.
    pub(crate) company: Company,
    /// Whether its row must be written.
    pub(crate) moved: bool,
    /// The values that differ.
    pub(crate) changes: Vec<Changed>,
}

/// Lays derived values over the stored ones, each judged by its rank.
pub(crate) fn lay_derivation(mut company: Company, write: &DerivationWrite, at: Timestamp) -> Result<Laid> {
    let from = FieldSource { rank: Rank::Synced, source: DERIVED.to_owned(), at };
    let mut fields = traits::to_map(&company.fields)?;
    let mut derived = traits::to_map(&write.fields)?;
    let mut changes = Vec::new();
    let mut moved = false;
    for name in &write.owned_fields {
        let value = derived.remove(name).unwrap_or(Value::Null);
        moved |= lay(&mut fields, &mut company.provenance, name, value, &from, &mut changes);
    }
    for (name, value) in &write.traits {
        let custom = &mut company.custom_fields;
        // An id that the product itself sent is what parties are found by; noting the same leaves it the product's.
        let sent = |source: &FieldSource| source.source != DERIVED && source.rank != Rank::Claimed;
        if notes_party(name)
            && custom.get(name) == Some(value)
            && company.provenance.get(name).is_none_or(sent)
        {
            continue;
        }
        moved |= lay(custom, &mut company.provenance, name, value.clone(), &from, &mut changes);
    }
    for (key, entry) in &write.context {
        if company.context.get(key) == entry.as_ref() {
            continue;
        }
        moved = true;
        match entry {
            Some(entry) => {
                company.context.insert(key.clone(), entry.clone());
                company.provenance.insert(format!("context.{key}"), from.clone());
            }
            None => {
                company.context.remove(key);
                company.provenance.remove(&format!("context.{key}"));
            }
        }
    }
    moved |= company.test != write.test;
    company.test = write.test;
    company.fields = traits::from_map(fields)?;
    if moved {
        company.updated_at = at;
    }
    Ok(Laid { company, moved, changes })
}

/// The source of what derivation wrote.
pub(crate) const DERIVED: &str = "derived";

/// Lays one derived value over a stored one. True when the row must be written.
fn lay(
    place: &mut Map<String, Value>,
    provenance: &mut BTreeMap<String, FieldSource>,
    name: &str,
    value: Value,
    from: &FieldSource,
    changes: &mut Vec<Changed>,
) -> bool {
    let stored = provenance.get(name);
    let newer = stored.is_some_and(|stored| stored.rank != Rank::Claimed && stored.at > from.at);
    if newer || outranked(provenance, name, place.contains_key(name), from.rank) {
        return false;
    }
    let is_ours = stored.is_some_and(|stored| stored.source == DERIVED);
    if value.is_null() && !is_ours {
        // Derivation clears what it wrote, nothing else.
        return false;
    }
    let old = place.get(name).cloned().unwrap_or(Value::Null);
    if old == value && (is_ours || value.is_null()) {
        return false;
    }
    if value.is_null() {
        place.remove(name);
        provenance.remove(name);
    } else {
        place.insert(name.to_owned(), value.clone());
        provenance.insert(name.to_owned(), from.clone());
    }
    if old != value {
        changes.push((name.to_owned(), old, value));
    }
    true
}
