//! Definitions of properties, a page for each object type.

use std::collections::BTreeSet;

use connector_sdk::{Batch, ConnectorError, Cursor, Next, Page, ReadMode, Record, RecordKey, Rejected};
use http::StatusCode;
use serde_json::{Value, json};

use super::batch::BATCH;
use super::{HubSpotSession, page, rejected};
use crate::client::Area;
use crate::config::is_property;
use crate::cursor::Position;
use crate::object::{self, List, Members};
use crate::streams::{DEFINED, Stream};

/// The definitions of one object type.
pub(super) struct Defined {
    pub(super) names: BTreeSet<String>,
    records: Vec<Record>,
    rejected: Vec<Rejected>,
}

/// `companies.industry`
fn key(object: &str, name: &str) -> String {
    format!("{object}.{name}")
}

/// The object type and the name in a record's id.
fn parts(id: &str) -> Option<(&'static str, &str)> {
    let (object, name) = id.split_once('.')?;
    let object = DEFINED.into_iter().find(|known| *known == object)?;
    is_property(name).then_some((object, name))
}

fn read(stream: &Stream, object: &str, list: &List<'_>) -> Defined {
    let mut out = Defined { names: BTreeSet::new(), records: Vec::new(), rejected: Vec::new() };
    for raw in &list.results {
        let text = raw.get();
        let name = serde_json::from_str::<Members<'_>>(text).ok().and_then(|members| members.text("name"));
        let Some(name) = name.filter(|name| is_property(name)) else {
            out.rejected.push(rejected(stream, None, "name: no name of a property", text));
            continue;
        };
        match object::record(stream.spec.name, key(object, &name), text.to_owned()) {
            Ok(record) => out.records.push(record),
            Err(e) => out.rejected.push(rejected(stream, Some(name.to_string()), &e.to_string(), text)),
        }
        out.names.insert(name.into_owned());
    }
    out
}

impl HubSpotSession {
    /// All definitions of one object type.
    pub(super) async fn defined(
        &self,
        stream: &'static Stream,
        object: &str,
    ) -> Result<Defined, ConnectorError> {
        let call = self.client.get("GET /crm/properties/:type", Area::Properties(object), &[])?;
        let answer = self.client.send(&call, stream.spec.permission).await?;
        match answer.status {
            StatusCode::OK => Ok(read(stream, object, &answer.json()?)),
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Err(ConnectorError::NotOffered(stream.spec.name.to_owned()))
            }
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    pub(super) async fn page_of_definitions(
        &self,
        stream: &'static Stream,
        mode: ReadMode,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        let at = match cursor.map(Position::parse).transpose()? {
            None => 0,
            Some(Position::Done { since }) if mode == ReadMode::Full => {
                return Ok(page(Next::CaughtUp(Position::Done { since }.cursor()?)));
            }
            Some(Position::Done { .. }) => 0,
            Some(Position::Types { next }) => next,
            Some(_) => return Err(Position::misplaced(stream.spec.name)),
        };
        let object = DEFINED.get(at).ok_or_else(|| Position::misplaced(stream.spec.name))?;
        let defined = self.defined(stream, object).await?;
        let next = if at + 1 < DEFINED.len() {
            Next::More(Position::Types { next: at + 1 }.cursor()?)
        } else {
            let since = self.client.now().timestamp_millis();
            Next::CaughtUp(Position::Done { since }.cursor()?)
        };
        Ok(Page { records: defined.records, rejected: defined.rejected, ..page(next) })
    }

    pub(super) async fn definitions_by_name(
        &self,
        stream: &'static Stream,
        ids: &[&str],
    ) -> Result<Batch, ConnectorError> {
        let mut out = Batch::default();
        for object in DEFINED {
            let of_type = ids.iter().filter_map(|id| parts(id)).filter(|(of, _)| *of == object);
            let names: Vec<&str> = of_type.map(|(_, name)| name).collect();
            for names in names.chunks(BATCH) {
                let inputs: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
                let call = self.client.post(
                    "POST /crm/properties/:type/batch/read",
                    Area::Properties(object),
                    &["batch", "read"],
                    &json!({"archived": false, "inputs": inputs}),
                )?;
                let answer = self.client.send(&call, stream.spec.permission).await?;
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
                let found = read(stream, object, &list);
                out.records.extend(found.records);
                out.rejected.extend(found.rejected);
            }
        }
        let found: BTreeSet<&str> = out.records.iter().map(|record| record.key.id.as_str()).collect();
        let absent = ids.iter().filter(|id| !found.contains(*id));
        out.tombstones = absent.map(|id| RecordKey::new(stream.spec.name, *id)).collect();
        Ok(out)
    }
}
