//! Records from objects: what they are associated with, the line items of won deals, what the settings add.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use connector_sdk::{ConnectorError, Record};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::batch::BATCH;
use super::{HubSpotSession, Objects};
use crate::client::Area;
use crate::links::{Batched, ByObject, Inline, Links};
use crate::object::{self, BatchError, DROPPED, Found, List, Paging};
use crate::streams::deals::{LINE_ITEMS, LINE_PROPERTIES, WON};
use crate::streams::tickets::STAGE;
use crate::streams::{self};

/// HubSpot reads the associations of so many objects in one call.
pub(super) const ASSOCIATION_INPUTS: usize = 1_000;
/// The scope that reading line items needs.
pub(super) const LINES_SCOPE: &str = "crm.objects.line_items.read";
/// Pages of one batch of associations; a longer one never ends.
const ASSOCIATION_PAGES: usize = 10_000;

/// Where objects come from, and so what is known of their associations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A list, which shows up to 100 of them inside the object.
    List,
    /// A search or a batch, which show none.
    Plain,
}

#[derive(Deserialize)]
struct AssociationsAnswer<'a> {
    #[serde(borrow)]
    results: Vec<Batched<'a>>,
    #[serde(borrow, default)]
    errors: Option<Vec<BatchError<'a>>>,
}

/// The associations that a list shows inside an object, by type; `None` for those that are cut.
fn inline_links(found: &Found<'_>, from: &str, to: &str) -> Option<Links> {
    let bare = format!("{}_to_{}", streams::singular(from), streams::singular(to));
    let Some(all) = found.members.get("associations") else { return Some(Links::default()) };
    let all: object::Members<'_> = serde_json::from_str(all.get()).ok()?;
    // HubSpot writes `line items` here.
    let Some(of_type) = all.get(to).or_else(|| all.get(&to.replace('_', " "))) else {
        return Some(Links::default());
    };
    serde_json::from_str::<Inline<'_>>(of_type.get()).ok()?.links(&bare)
}

impl HubSpotSession {
    /// Whether line items are read.
    pub(super) fn reads_lines(&self) -> bool {
        self.config.line_items && !self.no_lines.load(Ordering::Relaxed)
    }

    /// What objects of one type are associated with in another, all of it: batches of 1,000, each paged to its end.
    pub(super) async fn linked(&self, from: &str, to: &str, ids: &[u64]) -> Result<ByObject, ConnectorError> {
        let mut out = ByObject::new();
        for ids in ids.chunks(ASSOCIATION_INPUTS) {
            let mut inputs: Vec<Value> = ids.iter().map(|id| json!({"id": id.to_string()})).collect();
            let mut pages = 0;
            while !inputs.is_empty() {
                pages += 1;
                let call = self.client.post(
                    "POST /crm/associations/:from/:to/batch/read",
                    Area::Associations(from, to),
                    &["batch", "read"],
                    &json!({ "inputs": inputs }),
                )?;
                let answer = self.client.send(&call, None).await?;
                match answer.status {
                    StatusCode::OK | StatusCode::MULTI_STATUS => {}
                    StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                        return Err(ConnectorError::NotOffered("associations".to_owned()));
                    }
                    _ => return Err(self.client.unexpected(&call, &answer)),
                }
                let batch: AssociationsAnswer<'_> = answer.json()?;
                if batch.errors.iter().flatten().any(|error| !error.is_absence()) {
                    return Err(ConnectorError::Transient(format!(
                        "{}: a part of the batch failed",
                        call.endpoint
                    )));
                }
                if pages > ASSOCIATION_PAGES {
                    return Err(ConnectorError::Protocol(format!("{}: never ends", call.endpoint)));
                }
                inputs = Vec::new();
                for result in batch.results {
                    let links = out.entry(result.from.id.0).or_default();
                    result.to.iter().for_each(|to| links.add(to.id.0, to.is_primary()));
                    if let Some(after) = Paging::after(result.paging) {
                        inputs.push(json!({"id": result.from.id.0.to_string(), "after": after}));
                    }
                }
            }
        }
        Ok(out)
    }

    /// What the objects of a page are associated with in one type: what the page shows, and batches for the rest.
    async fn links_of(
        &self,
        (n, stream, _): Objects,
        to: &str,
        found: &[Found<'_>],
        source: Source,
    ) -> Result<ByObject, ConnectorError> {
        let (mut out, mut rest) = (ByObject::new(), Vec::new());
        if self.is_unlinked(n) {
            return Ok(out);
        }
        for one in found {
            let shown = (source == Source::List).then(|| inline_links(one, stream.spec.name, to)).flatten();
            match shown {
                Some(links) => drop(out.insert(one.id, links)),
                None => rest.push(one.id),
            }
        }
        if rest.is_empty() {
            return Ok(out);
        }
        match self.linked(stream.spec.name, to, &rest).await {
            Ok(read) => out.extend(read),
            // Without the scope, or of an imitation that has none: the objects themselves are read all the same.
            Err(why) if why.is_of_one_stream() => self.unlink(n, stream, &why),
            Err(error) => return Err(error),
        }
        Ok(out)
    }

    /// The texts of the line items of won deals, by deal.
    async fn lines_of(
        &self,
        of: Objects,
        found: &[Found<'_>],
        source: Source,
    ) -> Result<BTreeMap<u64, Vec<String>>, ConnectorError> {
        let count = |one: &Found<'_>| one.property(LINE_ITEMS).and_then(|n| n.parse::<u64>().ok());
        let won: Vec<u64> =
            found.iter().filter(|one| one.is(WON) && count(one) != Some(0)).map(|one| one.id).collect();
        let mut deals = ByObject::new();
        let mut rest = Vec::new();
        for one in found.iter().filter(|one| won.contains(&one.id)) {
            // A list that was asked for no associations shows none.
            let listed = source == Source::List && !self.is_unlinked(of.0);
            match listed.then(|| inline_links(one, "deals", "line_items")).flatten() {
                Some(links) => drop(deals.insert(one.id, links)),
                None => rest.push(one.id),
            }
        }
        if !rest.is_empty() {
            deals.extend(self.linked("deals", "line_items", &rest).await?);
        }
        let mut ids: Vec<u64> = deals.values().flat_map(|links| links.0.keys().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut texts: BTreeMap<u64, String> = BTreeMap::new();
        for ids in ids.chunks(BATCH) {
            let inputs: Vec<Value> = ids.iter().map(|id| json!({"id": id.to_string()})).collect();
            let body = json!({"inputs": inputs, "properties": LINE_PROPERTIES});
            let call = self.client.post(
                "POST /crm/objects/line_items/batch/read",
                Area::Objects("line_items"),
                &["batch", "read"],
                &body,
            )?;
            let answer = self.client.send(&call, Some(LINES_SCOPE)).await?;
            if !matches!(answer.status, StatusCode::OK | StatusCode::MULTI_STATUS) {
                return Err(self.client.unexpected(&call, &answer));
            }
            let list: List<'_> = answer.json()?;
            if list.errors.iter().flatten().any(|error| !error.is_absence()) {
                return Err(ConnectorError::Transient(format!(
                    "{}: a part of the batch failed",
                    call.endpoint
                )));
            }
            for raw in &list.results {
                // One that cannot be read is missing from its deal; the deal itself is whole.
                match object::read("line_items", raw.get()) {
                    Ok(line) => drop(texts.insert(line.id, line.members.write(&DROPPED, &[]))),
                    Err(bad) => tracing::warn!(reason = bad.reason, "a line item cannot be read"),
                }
            }
        }
        Ok(deals
            .into_iter()
            .map(|(deal, links)| {
                let lines = links.0.keys().filter_map(|id| texts.get(id).cloned()).collect();
                (deal, lines)
            })
            .collect())
    }

    /// Records of the objects of a page, whichever way they were read.
    pub(super) async fn records(
        &self,
        of: Objects,
        found: Vec<Found<'_>>,
        source: Source,
    ) -> Result<Vec<Record>, ConnectorError> {
        let (_, stream, object) = of;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut linked: Vec<(&str, ByObject)> = Vec::with_capacity(object.to.len());
        for to in object.to {
            linked.push((to, self.links_of(of, to, &found, source).await?));
        }
        let mut lines = BTreeMap::new();
        if stream.spec.name == "deals" && self.reads_lines() {
            match self.lines_of(of, &found, source).await {
                Ok(read) => lines = read,
                Err(why) if why.is_of_one_stream() => {
                    tracing::warn!(%why, "line items cannot be read");
                    self.no_lines.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        let fields = self.config.fields.get(stream.spec.name).filter(|fields| !fields.is_empty());
        let fields = fields.map(|fields| json!(fields).to_string());
        let mut records = Vec::with_capacity(found.len());
        for one in found {
            let mut own: Vec<(&str, String)> = Vec::new();
            if !linked.is_empty() {
                let primary = object.primary.and_then(|name| object::id(&one.property(name)?));
                let mut text = String::from("{");
                for (to, by_object) in &linked {
                    let mut links = by_object.get(&one.id).cloned().unwrap_or_default();
                    if *to == "companies" {
                        links.settle(primary);
                    }
                    let comma = if text.len() > 1 { "," } else { "" };
                    text.push_str(&format!("{comma}\"{to}\":{}", links.json()));
                }
                text.push('}');
                own.push(("associations", text));
            }
            if let Some(lines) = lines.get(&one.id).filter(|lines| !lines.is_empty()) {
                own.push(("line_items", format!("[{}]", lines.join(","))));
            }
            own.extend(fields.clone().map(|fields| ("fields", fields)));
            if stream.spec.name == "tickets"
                && let Some(status) =
                    one.property(STAGE).and_then(|s| self.config.ticket_stages.get(s.as_ref()))
            {
                own.push(("stage_status", format!("\"{}\"", status.word())));
            }
            let text = one.members.write(&DROPPED, &own);
            records.push(object::record(stream.spec.name, one.id.to_string(), text)?);
        }
        Ok(records)
    }
}
