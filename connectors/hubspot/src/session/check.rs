//! Whose credentials these are, and what they may read.

use connector_sdk::connector::MissingPermission;
use connector_sdk::{Account, ConnectorError, Mode};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use serde::Deserialize;

use super::associate::LINES_SCOPE;
use super::{CALLS_AT_ONCE, HubSpotSession};
use crate::client::Area;
use crate::object::List;
use crate::streams::{self, DEFINED, Reads, Stream};

#[derive(Deserialize)]
struct Details {
    #[serde(rename = "portalId")]
    portal: u64,
    #[serde(rename = "portalName")]
    name: Option<String>,
    #[serde(rename = "accountType")]
    kind: Option<String>,
}

/// What a probe gave.
enum Probe {
    Readable,
    Missing(Option<String>),
    NotOffered,
}

/// Of what there are line items: nothing else is named so.
const LINE_ITEMS: (&str, &str) = ("line_items", LINES_SCOPE);

impl HubSpotSession {
    pub(super) async fn checked(&self) -> Result<Account, ConnectorError> {
        let (mut missing, mut not_offered) = (Vec::new(), Vec::new());
        let details = self.details().await?;
        if details.is_none() {
            not_offered.push("account".to_owned());
        }
        let portal = details.as_ref().map(|details| details.portal);
        if let Some((wanted, found)) =
            self.config.portal.zip(portal).filter(|(wanted, found)| wanted != found)
        {
            return Err(ConnectorError::Config(format!(
                "portal: the settings name {wanted}, the credentials are of portal {found}"
            )));
        }
        // Futures first, then the stream of them: a closure over borrowed items is not general enough for the boxed
        // future of the trait.
        let mut wanted: Vec<(&str, &str)> =
            streams::ALL.iter().map(|s| (s.spec.name, s.spec.permission.unwrap_or_default())).collect();
        wanted.extend(self.config.line_items.then_some(LINE_ITEMS));
        let probes: Vec<_> = wanted.iter().map(|(name, scope)| self.probe(name, scope)).collect();
        let probes: Vec<Probe> =
            futures_util::stream::iter(probes).buffered(CALLS_AT_ONCE).try_collect().await?;
        for ((name, scope), probe) in wanted.into_iter().zip(probes) {
            match probe {
                Probe::Readable => {}
                Probe::Missing(named) => missing.push(MissingPermission {
                    stream: name.to_owned(),
                    permission: named.unwrap_or_else(|| scope.to_owned()),
                }),
                Probe::NotOffered => not_offered.push(name.to_owned()),
            }
        }
        self.check_properties(&missing).await?;
        let kind = details.as_ref().and_then(|details| details.kind.as_deref());
        let mode = match kind {
            Some("SANDBOX" | "DEVELOPER_TEST" | "APP_DEVELOPER") => Mode::Test,
            _ => Mode::Live,
        };
        let name = details.and_then(|details| details.name);
        let name = name.or_else(|| portal.map(|portal| format!("HubSpot portal {portal}")));
        Ok(Account { id: portal.map(|portal| portal.to_string()), name, mode, missing, not_offered })
    }

    /// Whose portal this is; `None` of an imitation that does not say.
    async fn details(&self) -> Result<Option<Details>, ConnectorError> {
        let call = self.client.get("GET /account-info/details", Area::Account, &[])?;
        let answer = self.client.send(&call, None).await?;
        match answer.status {
            StatusCode::OK => answer.json_owned().map(Some),
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    async fn probe(&self, name: &str, scope: &str) -> Result<Probe, ConnectorError> {
        let reads = streams::find(name).ok().map(|(_, stream)| &stream.reads);
        let call = match reads {
            Some(Reads::Owners) => self.client.get("GET /crm/owners", Area::Owners, &[])?.query("limit", "1"),
            // One that every portal has.
            Some(Reads::Properties) => self.client.get(
                "GET /crm/properties/:type/:name",
                Area::Properties("companies"),
                &["name"],
            )?,
            _ => self.client.get("GET /crm/objects/:type", Area::Objects(name), &[])?.query("limit", "1"),
        };
        let answer = match self.client.send(&call, Some(scope)).await {
            Ok(answer) => answer,
            Err(ConnectorError::Auth { missing_permission: Some(named), .. }) => {
                return Ok(Probe::Missing(Some(named)));
            }
            Err(error) => return Err(error),
        };
        match answer.status {
            StatusCode::OK if matches!(reads, Some(Reads::Properties)) => Ok(Probe::Readable),
            StatusCode::OK => answer.json::<List<'_>>().map(|_| Probe::Readable),
            // An imitation may not know the property that is asked for; what it does not offer, reading will say.
            StatusCode::NOT_FOUND if matches!(reads, Some(Reads::Properties)) => Ok(Probe::Readable),
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Ok(Probe::NotOffered)
            }
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    /// HubSpot leaves out in silence what it does not know: a name that is misspelt is found here.
    async fn check_properties(&self, missing: &[MissingPermission]) -> Result<(), ConnectorError> {
        let (_, definitions) = streams::find("properties")?;
        let may_not = |stream: &Stream| missing.iter().any(|m| m.stream == stream.spec.name);
        if may_not(definitions) {
            return Ok(());
        }
        for object in DEFINED {
            if self.config.named(object).next().is_none() {
                continue;
            }
            let known = self.defined(definitions, object).await?;
            for name in self.config.named(object) {
                if !known.names.contains(name) {
                    return Err(ConnectorError::Config(format!(
                        "properties.{object}: this portal has no property named {name:?}"
                    )));
                }
            }
        }
        Ok(())
    }
}
