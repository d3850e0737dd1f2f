//! Deliveries that a person asks for: found, and processed again.

use std::collections::BTreeMap;

use connector_sdk::{RecordKey, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Failure, Services, companies};
use crate::domain::connections::ConnectionStatus;
use crate::domain::{ConnectionId, DeliveryId, OrgId};
use crate::store::Store;
use crate::store::inbox::{Delivery, DeliveryFilter};
use crate::webhooks::process::process_job;

/// Which deliveries are meant. Everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deliveries {
    /// These: our ids, or the provider's ids of their events.
    pub ids: Vec<String>,
    /// Of this connection: id or name.
    pub connection: Option<String>,
    /// About a customer of the provider that is this company: our id, external id or name.
    pub company: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Of this type; with a `*` at its end, of every type that begins so.
    pub kind: Option<String>,
    /// Received at this instant or later.
    pub since: Option<Timestamp>,
    /// Received before this instant.
    pub until: Option<Timestamp>,
}

/// Deliveries in one unit, and in one page of a search.
const PAGE: i64 = 500;

/// A company's parties, by connection.
pub async fn parties_of(
    store: &dyn Store,
    org: &OrgId,
    company: &crate::domain::CompanyId,
) -> Result<BTreeMap<ConnectionId, Vec<RecordKey>>, Failure> {
    let mut parties: BTreeMap<ConnectionId, Vec<RecordKey>> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list_links(org, None, Some(company), after.as_deref(), PAGE).await?;
        for link in page.rows {
            parties.entry(link.connection_id).or_default().push(link.party);
        }
        after = page.next;
        if after.is_none() {
            return Ok(parties);
        }
    }
}

/// The searches that a request comes to: one, or one for each connection of the company.
async fn searches(
    services: &Services,
    org: &OrgId,
    wanted: &Deliveries,
) -> Result<Vec<DeliveryFilter>, Failure> {
    let connection = match &wanted.connection {
        Some(name) => Some(services.connection(org, name).await?.id),
        None => None,
    };
    let filter = DeliveryFilter {
        connection: connection.clone(),
        state: wanted.state.clone(),
        kind: wanted.kind.clone(),
        since: wanted.since,
        until: wanted.until,
        ..DeliveryFilter::default()
    };
    let Some(company) = &wanted.company else { return Ok(vec![filter]) };
    let company = companies::find(&*services.store, org, company).await?;
    let parties = parties_of(&*services.store, org, &company.id).await?;
    Ok(parties
        .into_iter()
        .filter(|(id, _)| connection.as_ref().is_none_or(|wanted| wanted == id))
        .map(|(id, parties)| DeliveryFilter {
            connection: Some(id),
            parties: Some(parties),
            ..filter.clone()
        })
        .collect())
}

impl Services {
    /// Deliveries that are meant, without their bodies, newest first, at most `limit`.
    ///
    /// # Errors
    /// An unknown id, connection or company.
    pub async fn deliveries(
        &self,
        org: &OrgId,
        wanted: &Deliveries,
        limit: i64,
    ) -> Result<Vec<Delivery>, Failure> {
        let mut found = Vec::new();
        if !wanted.ids.is_empty() {
            for id in &wanted.ids {
                found.push(self.delivery(org, id).await?);
            }
            return Ok(found);
        }
        for mut filter in searches(self, org, wanted).await? {
            let mut of_this = 0;
            while of_this < limit {
                let page = self.store.find_deliveries(org, &filter, PAGE.min(limit - of_this)).await?;
                let Some(last) = page.last() else { break };
                filter.after = Some((last.received_at, last.id.clone()));
                of_this += i64::try_from(page.len()).unwrap_or(i64::MAX);
                found.extend(page);
            }
        }
        found.sort_by(|a, b| (b.received_at, &b.id).cmp(&(a.received_at, &a.id)));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// One delivery with its body, by our id or that of its event.
    ///
    /// # Errors
    /// An unknown id.
    pub async fn delivery(&self, org: &OrgId, id: &str) -> Result<Delivery, Failure> {
        self.store.find_delivery(org, id).await?.ok_or_else(|| {
            Failure::not_found("delivery_not_found", format!("no delivery {id:?}"))
                .hint("List them: halo-sync webhooks list")
        })
    }

    /// Has deliveries processed again. What they name is read again, so that a replay changes only what is not as
    /// the provider has it.
    pub(super) async fn replay(&self, org: &OrgId, mut wanted: Deliveries) -> Result<Value, Failure> {
        // What comes from now on is not meant.
        wanted.until =
            Some(wanted.until.unwrap_or_else(|| self.clock.now() + chrono::TimeDelta::microseconds(1)));
        let found = self.deliveries(org, &wanted, i64::MAX).await?;
        let mut waiting = BTreeMap::new();
        for connection in self.store.list_connections(Some(org)).await? {
            if connection.status != ConnectionStatus::Active {
                waiting.insert(connection.id, connection.name);
            }
        }
        let mut replayed = Vec::new();
        for piece in found.chunks(usize::try_from(PAGE).unwrap_or(1)) {
            let ids: Vec<DeliveryId> = piece.iter().map(|d| d.id.clone()).collect();
            let mut connections: Vec<&ConnectionId> = piece.iter().map(|d| &d.connection_id).collect();
            connections.sort_unstable();
            connections.dedup();
            let now = self.clock.now();
            let jobs = connections.into_iter().map(|id| process_job(org, id, now)).collect();
            replayed.extend(self.store.replay_deliveries(org, &ids, jobs).await?);
        }
        let held: Vec<&String> = waiting
            .iter()
            .filter(|(id, _)| found.iter().any(|d| d.connection_id == **id))
            .map(|(_, name)| name)
            .collect();
        Ok(json!({
            "found": found.len(),
            "replayed": replayed.len(),
            "pending_already": found.len() - replayed.len(),
            "ids": replayed,
            "held_by": held,
        }))
    }
}
