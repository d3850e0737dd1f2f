//! What was seen since the last time that it was stored, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use connector_sdk::Timestamp;
use serde_json::Value;

use super::redact;
use crate::domain::attributes::{
    AttributeKind, AttributeName, AttributeScope, AttributeSeen, CustomField, MOST_VALUES, Overflow, Sample,
    TypeCounts, add_value,
};
use crate::domain::{OrgId, Rank};

/// Keys of one scope and kind that are held between two times of storing; more are counted only.
const MOST_HELD: usize = 2_000;
/// Longer keys are counted only: no one reads them, and a page could fill the table with them.
const LONGEST_KEY: usize = 200;
/// Times of storing after which what was not seen again is dropped.
const IDLE: u32 = 20;

const KINDS: [(AttributeScope, AttributeKind); 4] = [
    (AttributeScope::User, AttributeKind::Trait),
    (AttributeScope::User, AttributeKind::Context),
    (AttributeScope::Company, AttributeKind::Trait),
    (AttributeScope::Company, AttributeKind::Context),
];

/// One value of one write.
pub(super) struct Given<'a> {
    pub(super) kind: AttributeKind,
    pub(super) key: &'a str,
    pub(super) value: &'a Value,
    pub(super) label: Option<&'a str>,
}

/// Who wrote, and when.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) scope: AttributeScope,
    pub(super) row: &'a str,
    pub(super) rank: Rank,
    pub(super) at: Timestamp,
}

/// What is held of one key. What is known (values, a sample) stays over a time of storing, so that seeing the same again
/// costs no memory.
#[derive(Debug)]
struct Held {
    types: TypeCounts,
    claimed: i64,
    mismatches: i64,
    values: Vec<crate::domain::attributes::DistinctValue>,
    more_values: bool,
    sample: Option<Sample>,
    label: Option<String>,
    first_seen: Timestamp,
    last_seen: Timestamp,
    /// The sample is to be taken anew: the stored one comes from a row that is gone, or none was stored since.
    wants_sample: bool,
    idle: u32,
}

impl Held {
    fn new(at: Timestamp) -> Self {
        Self {
            types: TypeCounts::default(),
            claimed: 0,
            mismatches: 0,
            values: Vec::new(),
            more_values: false,
            sample: None,
            label: None,
            first_seen: at,
            last_seen: at,
            wants_sample: true,
            idle: 0,
        }
    }

    fn count(&mut self, given: &Given<'_>, by: By<'_>, fields: &[CustomField]) {
        self.types.count(given.value);
        self.claimed += i64::from(by.rank == Rank::Claimed);
        self.last_seen = self.last_seen.max(by.at);
        if given.kind == AttributeKind::Trait
            && let Some(field) = fields.iter().find(|field| field.scope == by.scope && field.key == given.key)
            && field.misfit(given.value).is_some()
        {
            self.mismatches += 1;
        }
        if self.wants_sample && !given.value.is_null() {
            let (value, redacted) = redact::sample(by.scope, given.key, given.value);
            self.sample = Some(Sample { value, redacted, row: by.row.to_owned() });
            self.wants_sample = false;
        }
        if let Some(label) = given.label
            && self.label.as_deref() != Some(label)
        {
            self.label = Some(label.chars().take(200).collect());
        }
        self.list(given, by);
    }

    fn list(&mut self, given: &Given<'_>, by: By<'_>) {
        if self.more_values || given.value.is_null() {
            return;
        }
        // A value that is known was judged before.
        if let Some(known) = self.values.iter_mut().find(|known| known.value == *given.value) {
            known.count += 1;
            if known.row.as_deref().is_some_and(|row| row != by.row) {
                known.row = None;
            }
            return;
        }
        let plain = redact::listable(given.value) && redact::why(by.scope, given.key, given.value).is_none();
        if !plain || add_value(&mut self.values, given.value, 1, Some(by.row)) {
            self.more_values = true;
            self.values = Vec::new();
        }
    }

    fn take(&mut self, name: AttributeName) -> AttributeSeen {
        let seen = AttributeSeen {
            name,
            types: std::mem::take(&mut self.types),
            claimed: std::mem::take(&mut self.claimed),
            mismatches: std::mem::take(&mut self.mismatches),
            values: self.values.iter().filter(|value| value.count > 0).cloned().collect(),
            more_values: self.more_values,
            sample: self.sample.take(),
            label: self.label.clone(),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
        };
        for value in &mut self.values {
            value.count = 0;
        }
        // One example in each period is enough, and stays fresh.
        self.wants_sample = true;
        seen
    }

    /// Puts back what could not be stored.
    fn put_back(&mut self, seen: AttributeSeen) {
        let (own, theirs) = (&mut self.types, seen.types);
        own.string += theirs.string;
        own.number += theirs.number;
        own.boolean += theirs.boolean;
        own.list += theirs.list;
        own.object += theirs.object;
        own.null += theirs.null;
        self.claimed += seen.claimed;
        self.mismatches += seen.mismatches;
        self.first_seen = self.first_seen.min(seen.first_seen);
        self.last_seen = self.last_seen.max(seen.last_seen);
        for value in seen.values {
            if !self.more_values
                && add_value(&mut self.values, &value.value, value.count, value.row.as_deref())
            {
                self.more_values = true;
            }
        }
        if self.more_values {
            self.values = Vec::new();
        }
        if self.sample.is_none() {
            self.wants_sample = seen.sample.is_none();
            self.sample = seen.sample;
        }
    }

    fn forget(&mut self, row: &str) {
        if self.sample.as_ref().is_some_and(|sample| sample.row == row) {
            self.sample = None;
            self.wants_sample = true;
        }
        self.values.retain(|value| value.row.as_deref() != Some(row));
    }
}

#[derive(Debug, Default)]
struct HeldOfOrg {
    keys: [HashMap<String, Held>; 4],
    refused: [i64; 4],
    fields: Arc<Vec<CustomField>>,
}

/// What was seen, by organisation.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    orgs: Mutex<HashMap<OrgId, HeldOfOrg>>,
}

/// What is to be stored of an organisation.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) seen: Vec<AttributeSeen>,
    pub(super) refused: Vec<Overflow>,
}

impl Recorder {
    /// Notes values of one write.
    pub(super) fn note<'a>(&self, org: &OrgId, by: By<'_>, given: impl Iterator<Item = Given<'a>>) {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        if !orgs.contains_key(org) {
            orgs.insert(org.clone(), HeldOfOrg::default());
        }
        let Some(held) = orgs.get_mut(org) else { return };
        let fields = Arc::clone(&held.fields);
        for one in given {
            let place = place(by.scope, one.kind);
            let keys = &mut held.keys[place];
            if let Some(known) = keys.get_mut(one.key) {
                known.count(&one, by, &fields);
            } else if keys.len() >= MOST_HELD || one.key.len() > LONGEST_KEY {
                held.refused[place] += 1;
            } else {
                let mut new = Held::new(by.at);
                new.count(&one, by, &fields);
                keys.insert(one.key.to_owned(), new);
            }
        }
    }

    /// Organisations of which something is held.
    pub(super) fn orgs(&self) -> Vec<OrgId> {
        self.orgs.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The fields that values of an organisation are held against from now on.
    pub(super) fn set_fields(&self, org: &OrgId, fields: Arc<Vec<CustomField>>) {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = orgs.get_mut(org) {
            held.fields = fields;
        }
    }

    /// Takes what is to be stored; `None` when nothing was seen. What was not seen for long is dropped.
    pub(super) fn take(&self, org: &OrgId, at: Timestamp) -> Option<Batch> {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        let held = orgs.get_mut(org)?;
        let mut batch = Batch::default();
        for (place, (scope, kind)) in KINDS.into_iter().enumerate() {
            for (key, one) in &mut held.keys[place] {
                if one.types.total() == 0 {
                    one.idle += 1;
                    continue;
                }
                one.idle = 0;
                batch.seen.push(one.take(AttributeName { scope, kind, key: key.clone() }));
            }
            held.keys[place].retain(|_, one| one.idle < IDLE);
            let refused = std::mem::take(&mut held.refused[place]);
            if refused > 0 {
                batch.refused.push(Overflow { scope, kind, refused, last_at: at });
            }
        }
        if held.keys.iter().all(HashMap::is_empty) && batch.seen.is_empty() {
            orgs.remove(org);
        }
        (!batch.seen.is_empty() || !batch.refused.is_empty()).then_some(batch)
    }

    /// Puts back what could not be stored.
    pub(super) fn put_back(&self, org: &OrgId, batch: Batch) {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        let held = orgs.entry(org.clone()).or_default();
        for seen in batch.seen {
            let keys = &mut held.keys[place(seen.name.scope, seen.name.kind)];
            let first = seen.first_seen;
            keys.entry(seen.name.key.clone()).or_insert_with(|| Held::new(first)).put_back(seen);
        }
        for refused in batch.refused {
            held.refused[place(refused.scope, refused.kind)] += refused.refused;
        }
    }

    /// Drops what a row alone said.
    pub(super) fn forget(&self, org: &OrgId, row: &str) {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        for keys in orgs.get_mut(org).into_iter().flat_map(|held| &mut held.keys) {
            keys.values_mut().for_each(|held| held.forget(row));
        }
    }
}

fn place(scope: AttributeScope, kind: AttributeKind) -> usize {
    match (scope, kind) {
        (AttributeScope::User, AttributeKind::Trait) => 0,
        (AttributeScope::User, AttributeKind::Context) => 1,
        (AttributeScope::Company, AttributeKind::Trait) => 2,
        (AttributeScope::Company, AttributeKind::Context) => 3,
    }
}

const _: () = assert!(MOST_VALUES <= 64, "values are looked for one by one");
