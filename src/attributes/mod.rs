//! Discovered attributes: every trait and context key that was ever seen, and what an organisation says about them.
//!
//! [`Attributes::observe`] notes in memory, [`Attributes::flush`] stores what was noted, many calls in one write: every
//! few seconds, when a settings page reads, and when the process stops. A kill loses what was noted since; a key is
//! seen again at its next call, only its counts stay behind. What an organisation says reaches the prompt within half
//! a second on every process ([`Attributes::prompt`]).

mod recorder;
mod redact;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connector_sdk::{Clock, Timestamp};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::context::{self, AttributeInfo, PromptSettings};
use crate::domain::attributes::{AttributeKind, AttributeScope, CustomField};
use crate::domain::{OrgId, Rank};
use crate::recent::Recent;
use crate::store::attributes::AttributeSaying;
use crate::store::{Result, Store};
use recorder::{By, Given, Recorder};

/// How often what was noted is stored.
const EVERY: Duration = Duration::from_secs(3);
/// How long what an organisation says is remembered: a change is in effect within this time, on every process.
const REMEMBERED: Duration = Duration::from_millis(500);
/// Organisations that are remembered at once.
const REMEMBERED_AT_ONCE: usize = 10_000;

/// What a write says, after it was done.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Our id of the row that was written (`usr_…`, `cmp_…`): samples go with it.
    pub row: &'a str,
    /// In whose voice.
    pub rank: Rank,
    /// The traits that were sent.
    pub traits: &'a Map<String, Value>,
    /// The context entries that were sent, by key; what is no entry (`null` removes one) is passed over.
    pub context: &'a Map<String, Value>,
}

/// Notes what is seen, and knows what organisations say about it.
pub struct Attributes {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    prompt: Recent<OrgId, Arc<PromptSettings>>,
    fields: Recent<OrgId, Arc<Vec<CustomField>>>,
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attributes").finish_non_exhaustive()
    }
}

impl Attributes {
    /// Over the store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            recorder: Recorder::default(),
            prompt: Recent::new(REMEMBERED, REMEMBERED_AT_ONCE),
            fields: Recent::new(REMEMBERED, REMEMBERED_AT_ONCE),
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Notes the keys and values of a write. In memory; nothing is allocated for what is known.
    pub fn observe(&self, org: &OrgId, scope: AttributeScope, seen: &Seen<'_>) {
        if seen.traits.is_empty() && seen.context.is_empty() {
            return;
        }
        let traits = seen.traits.iter().map(|(key, value)| Given {
            kind: AttributeKind::Trait,
            key,
            value,
            label: None,
        });
        let context = seen.context.iter().filter_map(|(key, entry)| {
            let (value, label) = (entry.get("value")?, entry.get("label").and_then(Value::as_str));
            Some(Given { kind: AttributeKind::Context, key, value, label })
        });
        let by = By { scope, row: seen.row, rank: seen.rank, at: self.clock.now() };
        self.recorder.note(org, by, traits.chain(context));
    }

    /// Stores what was noted, one write an organisation. What cannot be stored is noted again.
    ///
    /// # Errors
    ///
    /// The first that the store gave.
    pub async fn flush(&self) -> Result<()> {
        let mut result = Ok(());
        for org in self.recorder.orgs() {
            if let Err(error) = self.flush_org(&org).await {
                result = result.and(Err(error));
            }
        }
        result
    }

    /// As [`Self::flush`], of one organisation.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn flush_org(&self, org: &OrgId) -> Result<()> {
        let at = self.clock.now();
        if let Some(batch) = self.recorder.take(org, at)
            && let Err(error) = self.store.record_attributes(org, &batch.seen, &batch.refused, at).await
        {
            self.recorder.put_back(org, batch);
            return Err(error);
        }
        let fields = self.fields(org).await?;
        self.recorder.set_fields(org, fields);
        Ok(())
    }

    /// Stores every few seconds until `stop`, and once more then.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            if let Err(error) = self.flush().await {
                tracing::warn!(%error, "attributes could not be stored; they are kept for the next time");
            }
            if stopped {
                return;
            }
        }
    }

    /// Drops the samples that come from a row and the values that it alone said: to be called when the row is deleted.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn forget(&self, org: &OrgId, row: &str) -> Result<()> {
        self.recorder.forget(org, row);
        self.store.forget_attribute_samples(org, row).await.map(drop)
    }

    /// How an organisation's prompts are printed: what it says about its attributes, laid over what the settings file says
    /// for all organisations; member by member, the organisation's own wins.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn prompt(&self, org: &OrgId, defaults: &Arc<PromptSettings>) -> Result<Arc<PromptSettings>> {
        if let Some(known) = self.prompt.get(org) {
            return Ok(known);
        }
        let sayings = self.store.load_attribute_sayings(org).await?;
        let joined = match sayings.is_empty() {
            true => Arc::clone(defaults),
            false => {
                let attributes = join(&defaults.attributes, sayings);
                Arc::new(PromptSettings { attributes, ..PromptSettings::clone(defaults) })
            }
        };
        self.prompt.put(org.clone(), Arc::clone(&joined));
        Ok(joined)
    }

    /// The fields that the organisation defines, for the validation of writes
    /// ([`misfits`](crate::domain::attributes::misfits)).
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn fields(&self, org: &OrgId) -> Result<Arc<Vec<CustomField>>> {
        if let Some(known) = self.fields.get(org) {
            return Ok(known);
        }
        let fields = Arc::new(self.store.list_custom_fields(org).await?);
        self.fields.put(org.clone(), Arc::clone(&fields));
        Ok(fields)
    }
}

/// Lays what an organisation says over the defaults. A context key has one description in the prompt: where a user's and a
/// company's differ, the user's.
pub fn join(defaults: &[AttributeInfo], sayings: Vec<AttributeSaying>) -> Vec<AttributeInfo> {
    let mut all: BTreeMap<(context::Scope, String), AttributeInfo> =
        defaults.iter().map(|info| ((info.scope, info.key.clone()), info.clone())).collect();
    let mut said: BTreeMap<(context::Scope, String), (bool, bool)> = BTreeMap::new();
    // The user's first.
    let (users, companies): (Vec<_>, Vec<_>) =
        sayings.into_iter().partition(|saying| saying.scope == AttributeScope::User);
    for saying in users.into_iter().chain(companies) {
        let scope = match (saying.kind, saying.scope) {
            (AttributeKind::Context, _) => context::Scope::Context,
            (AttributeKind::Trait, AttributeScope::User) => context::Scope::User,
            (AttributeKind::Trait, AttributeScope::Company) => context::Scope::Company,
        };
        let name = (scope, saying.key.clone());
        let said = said.entry(name.clone()).or_default();
        let info = all.entry(name).or_insert(AttributeInfo {
            scope,
            key: saying.key,
            description: None,
            in_prompt: None,
        });
        if saying.description.is_some() && !said.0 {
            info.description = saying.description;
            said.0 = true;
        }
        if saying.in_prompt.is_some() && !said.1 {
            info.in_prompt = saying.in_prompt;
            said.1 = true;
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_organisation_wins_member_by_member() {
        let info = |scope, key: &str, description: Option<&str>, in_prompt| AttributeInfo {
            scope,
            key: key.to_owned(),
            description: description.map(str::to_owned),
            in_prompt,
        };
        let saying = |scope, kind, key: &str, description: Option<&str>, in_prompt| AttributeSaying {
            scope,
            kind,
            key: key.to_owned(),
            description: description.map(str::to_owned),
            in_prompt,
        };
        let (user, company) = (AttributeScope::User, AttributeScope::Company);
        let (of_trait, of_context) = (AttributeKind::Trait, AttributeKind::Context);
        let defaults = [
            info(context::Scope::User, "tier", Some("default"), Some(false)),
            info(context::Scope::User, "kept", Some("kept"), None),
        ];
        let joined = join(
            &defaults,
            vec![
                saying(company, of_context, "errors", Some("company's"), Some(false)),
                saying(user, of_context, "errors", Some("user's"), None),
                saying(user, of_trait, "tier", Some("own"), None),
                saying(company, of_trait, "tier", None, Some(false)),
            ],
        );
        assert_eq!(
            joined,
            [
                info(context::Scope::User, "kept", Some("kept"), None),
                info(context::Scope::User, "tier", Some("own"), Some(false)),
                info(context::Scope::Company, "tier", None, Some(false)),
                info(context::Scope::Context, "errors", Some("user's"), Some(false)),
            ]
        );
    }
}
