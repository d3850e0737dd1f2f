//! Owners: the present ones, then the former.

use connector_sdk::{Batch, ConnectorError, Cursor, Next, Page, ReadMode, Record, RecordKey, Rejected};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;

use super::{CALLS_AT_ONCE, HubSpotSession, gone, page, rejected};
use crate::client::{Area, is_error};
use crate::cursor::Position;
use crate::object::{self, List, Members, Paging};
use crate::streams::Stream;

/// An owner as it stands in an answer.
fn read(stream: &Stream, text: &str) -> Result<Record, Rejected> {
    let members: Members<'_> = serde_json::from_str(text)
        .map_err(|e| rejected(stream, None, &format!("not an object: {e}"), text))?;
    let named = members.text("id");
    let Some(id) = named.as_deref().filter(|id| object::id(id).is_some()) else {
        return Err(rejected(stream, None, "id: no id of an owner", text));
    };
    object::record(stream.spec.name, id, text.to_owned())
        .map_err(|e| rejected(stream, Some(id.to_owned()), &e.to_string(), text))
}

impl HubSpotSession {
    pub(super) async fn page_of_owners(
        &self,
        stream: &'static Stream,
        mode: ReadMode,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        let (archived, after) = match cursor.map(Position::parse).transpose()? {
            None => (false, None),
            Some(Position::Done { since }) if mode == ReadMode::Full => {
                return Ok(page(Next::CaughtUp(Position::Done { since }.cursor()?)));
            }
            // They have no time of change that could be asked for.
            Some(Position::Done { .. }) => (false, None),
            Some(Position::Owners { archived, after }) => (archived, after),
            Some(_) => return Err(Position::misplaced(stream.spec.name)),
        };
        let limit = u16::from(self.config.page_size) * 5;
        let mut call = self
            .client
            .get("GET /crm/owners", Area::Owners, &[])?
            .query("limit", &limit.to_string())
            .query("archived", if archived { "true" } else { "false" });
        if let Some(after) = &after {
            call = call.query("after", after);
        }
        let answer = self.client.send(&call, stream.spec.permission).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                return Err(ConnectorError::NotOffered(stream.spec.name.to_owned()));
            }
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let list: List<'_> = answer.json()?;
        let next = match Paging::after(list.paging) {
            Some(next) if Some(&next) == after.as_ref() => {
                return Err(ConnectorError::Protocol(format!("{}: the list never ends", call.endpoint)));
            }
            Some(next) => Next::More(Position::Owners { archived, after: Some(next) }.cursor()?),
            None if !archived => Next::More(Position::Owners { archived: true, after: None }.cursor()?),
            None => {
                let since = self.client.now().timestamp_millis();
                Next::CaughtUp(Position::Done { since }.cursor()?)
            }
        };
        let mut out = page(next);
        for raw in &list.results {
            match read(stream, raw.get()) {
                Ok(record) => out.records.push(record),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
        Ok(out)
    }

    pub(super) async fn owners_by_id(
        &self,
        stream: &'static Stream,
        ids: &[&str],
    ) -> Result<Batch, ConnectorError> {
        let mut out = Batch::default();
        let reads: Vec<_> = ids.iter().map(|id| self.owner(stream, id)).collect();
        let found: Vec<Result<Option<Record>, Rejected>> =
            futures_util::stream::iter(reads).buffered(CALLS_AT_ONCE).try_collect().await?;
        for (id, one) in ids.iter().zip(found) {
            match one {
                Ok(Some(record)) => out.records.push(record),
                Ok(None) => out.tombstones.push(RecordKey::new(stream.spec.name, *id)),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
        Ok(out)
    }

    /// An owner, also a former one.
    async fn owner(
        &self,
        stream: &'static Stream,
        id: &str,
    ) -> Result<Result<Option<Record>, Rejected>, ConnectorError> {
        if object::id(id).is_none() {
            return Ok(Ok(None));
        }
        for archived in ["false", "true"] {
            let call =
                self.client.get("GET /crm/owners/:id", Area::Owners, &[id])?.query("archived", archived);
            let answer = self.client.send(&call, stream.spec.permission).await?;
            match answer.status {
                StatusCode::OK if is_error(&answer) => return Err(self.client.unexpected(&call, &answer)),
                StatusCode::OK => {
                    let raw: &serde_json::value::RawValue = answer.json()?;
                    return Ok(match read(stream, raw.get()) {
                        Ok(record) if record.key == gone(stream, id) => Ok(Some(record)),
                        Ok(_) => Err(rejected(
                            stream,
                            Some(id.to_owned()),
                            "id: not the owner that was asked for",
                            raw.get(),
                        )),
                        Err(rejected) => Err(rejected),
                    });
                }
                StatusCode::NOT_FOUND => {}
                _ => return Err(self.client.unexpected(&call, &answer)),
            }
        }
        Ok(Ok(None))
    }
}
