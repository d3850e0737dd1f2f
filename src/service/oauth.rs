//! Connections that a person grants at the provider: begun here, ended by the callback.

use chrono::TimeDelta;
use connector_sdk::{AuthKind, ConnectorError};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Authorize, Connect, Failure, FailureKind, Services};
use crate::domain::connections::Connection;
use crate::domain::{FlowId, OrgId};
use crate::store::grants::{Flow, FlowStatus};
use crate::sync::SyncError;
use crate::sync::credentials::CredentialError;
use crate::sync::oauth::{
    ACCESS_TOKEN, Begun, FLOW_MINUTES, FlowSecrets, GrantError, REFRESH_TOKEN, Registered, Returned, digest,
    open_secrets, random, seal_secrets,
};

/// Where a provider sends a person back to, below the public address.
pub fn callback_path(connector: &str) -> String {
    format!("/api/integrations/{connector}/callback")
}

/// The code of a callback whose state is not one that we wait for.
pub const UNKNOWN_STATE: &str = "unknown_state";

fn credential(error: CredentialError) -> Failure {
    SyncError::from(error).into()
}

impl Services {
    /// Begins a flow: the answer is a [`Begun`].
    pub(super) async fn authorize(&self, org: &OrgId, request: Authorize) -> Result<Value, Failure> {
        let connector = &request.connector;
        let app = self.app(connector)?;
        let redirect_uri = self.redirect_uri(connector)?;
        self.check_connect(org, connector, &request.name, &request.config).await?;
        let (now, flow) = (self.clock.now(), FlowId::generate(&*self.clock));
        let state = random().map_err(credential)?;
        let secrets = FlowSecrets::new(request.webhook_secrets).map_err(credential)?;
        let authorize_url = app.authorize_url(&redirect_uri, &state, &secrets.verifier)?;
        let sealed = seal_secrets(self.providers.keyring(), org, &flow, &secrets).map_err(credential)?;
        let expires_at = now + TimeDelta::minutes(FLOW_MINUTES);
        self.store
            .put_flow(&Flow {
                id: flow.clone(),
                org_id: org.clone(),
                connector: connector.clone(),
                name: request.name,
                config: request.config,
                redirect_uri: redirect_uri.clone(),
                state_digest: digest(&state),
                sealed,
                status: FlowStatus::Open,
                outcome: None,
                created_at: now,
                expires_at,
            })
            .await?;
        Ok(json!(Begun { flow, authorize_url: authorize_url.into(), redirect_uri, expires_at }))
    }

    /// The app of a connector, or what to set.
    fn app(&self, connector: &str) -> Result<&Registered, Failure> {
        let spec = self.providers.connector(connector)?.spec();
        if !spec.auth.iter().any(|auth| matches!(auth, AuthKind::OAuth2 { .. })) {
            return Err(Failure::invalid("no_oauth", format!("{} is connected by a key", spec.display_name))
                .hint(format!("halo-sync connect {connector} --api-key-file FILE")));
        }
        self.providers.app(connector).ok_or_else(|| {
            let message = format!(
                "no {} app is set: oauth.{connector}.client_id is missing", spec.display_name
            );
            let variable = format!("HALO_SYNC_OAUTH__{}__", connector.to_ascii_uppercase());
            Failure::new(FailureKind::Setup, "no_oauth_app", message).hint(format!(
                "Register an app at {} and set oauth.{connector}.client_id and oauth.{connector}.client_secret_file (or \
                 {variable}CLIENT_ID and {variable}CLIENT_SECRET_FILE), or use a key: halo-sync connect {connector} \
                 --api-key-file FILE",
                spec.display_name
            ))
        })
    }

    fn redirect_uri(&self, connector: &str) -> Result<String, Failure> {
        let setup = |code, message: String| {
            Failure::new(FailureKind::Setup, code, message).hint(
                "Set server.public_url (or HALO_SYNC_SERVER__PUBLIC_URL) to the https address by which browsers reach \
                 halo-sync; on this machine alone http://localhost:8420 will do",
            )
        };
        let Some(base) = &self.public_url else {
            let message =
                "where the provider is to send the person back to is not known: server.public_url is not set";
            return Err(setup("no_public_url", message.to_owned()));
        };
        match connector_sdk::http::base_url(base) {
            Ok(_) => Ok(format!("{base}{}", callback_path(connector))),
            Err(_) => Err(setup(
                "not_https",
                format!("server.public_url is {base}: codes would go over an open line"),
            )),
        }
    }

    /// Ends a flow with what a person brought back: checks it, gets tokens, makes the connection.
    ///
    /// # Errors
    /// [`UNKNOWN_STATE`] for a state that is not waited for, was used, has ended, or belongs to another connector: they
    /// are not told apart. Else why there is no connection; whoever waits for the flow learns the same.
    pub async fn complete(&self, connector: &str, returned: Returned) -> Result<Value, Failure> {
        let now = self.clock.now();
        let Some(flow) = self.store.take_flow(&digest(&returned.state), connector, now).await? else {
            return Err(Failure::invalid(
                UNKNOWN_STATE,
                "this address is not waited for: it was used, has expired, or was never given out",
            ));
        };
        let (org, id) = (flow.org_id.clone(), flow.id.clone());
        let completed = self.finish(flow, returned).await;
        let (status, outcome) = match &completed {
            Ok(answer) => (FlowStatus::Done, answer.clone()),
            Err(failure) => (FlowStatus::Failed, json!(failure)),
        };
        self.store.end_flow(&org, &id, status, &outcome).await?;
        completed
    }

    async fn finish(&self, flow: Flow, returned: Returned) -> Result<Value, Failure> {
        let again = || format!("halo-sync connect {} --name {}", flow.connector, flow.name);
        let app = self.app(&flow.connector)?;
        if returned.issuer.as_deref().is_some_and(|issuer| !app.is_issuer(issuer)) {
            let message = "the answer is not from the provider that was asked";
            return Err(Failure::invalid("wrong_issuer", message).hint(again()));
        }
        if let Some(error) = &returned.error {
            let word: String =
                error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(60).collect();
            return Err(Failure::new(
                FailureKind::Credentials,
                "access_denied",
                format!("access was not granted: the provider says {word}"),
            )
            .hint(again()));
        }
        let Some(code) = returned.code else {
            return Err(Failure::invalid("no_code", "the provider sent no code").hint(again()));
        };
        let secrets = open_secrets(self.providers.keyring(), &flow.org_id, &flow.id, flow.sealed.clone())
            .map_err(credential)?;
        let tokens =
            app.redeem(code, &secrets.verifier, &flow.redirect_uri).await.map_err(|error| match error {
                GrantError::Refused(code) => Failure::new(
                    FailureKind::Credentials,
                    "code_refused",
                    format!("the provider does not accept what was brought back ({code})"),
                )
                .hint(again()),
                GrantError::App(message) => Failure::new(FailureKind::Credentials, "app_refused", message),
                GrantError::Failed(error) => ConnectorError::into(error),
            })?;
        let mut given = vec![(ACCESS_TOKEN.to_owned(), tokens.access)];
        given.extend(tokens.refresh.clone().map(|refresh| (REFRESH_TOKEN.to_owned(), refresh)));
        // A provider may know all grants of an app and an account as one.
        let others = self.store.list_connections(None).await?;
        let is_alone = !others.iter().any(|other| other.connector == flow.connector);
        let request = Connect {
            connector: flow.connector.clone(),
            name: flow.name.clone(),
            config: flow.config.clone(),
            secrets: given,
            webhook_secrets: secrets.webhook_secrets,
            backfill: true,
        };
        let connected = self.connect(&flow.org_id, request, Some(&tokens.life)).await;
        if connected.is_err()
            && let Some(refresh) = &tokens.refresh
            && is_alone
        {
            // Nothing uses them.
            self.forget(app, refresh).await;
        }
        connected
    }

    async fn forget(&self, app: &Registered, refresh: &SecretString) {
        if let Err(error) = app.revoke(refresh).await {
            tracing::debug!(%error, "tokens that are not used could not be revoked");
        }
    }

    /// Ends a connection's grant at its provider; what there is to say of it, if anything.
    pub(super) async fn end_grant(&self, connection: &Connection) -> Result<Option<Value>, Failure> {
        let shares = |other: &Connection| {
            other.id != connection.id
                && other.connector == connection.connector
                && other.account_id.is_some()
                && other.account_id == connection.account_id
        };
        if self.store.list_connections(None).await?.iter().any(shares) {
            let why = "another connection reads the same account; its grant may be the same";
            return Ok(Some(json!({ "revoked": false, "why": why })));
        }
        // As with endpoints: a provider that is down keeps no connection alive.
        Ok(self.providers.end_grant(connection).await?.map(|ended| match ended {
            Ok(()) => json!({ "revoked": true }),
            Err(error) => json!({ "revoked": false, "why": error.to_string() }),
        }))
    }

    /// How a flow stands, for whoever waits for it: its answer once it is done.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn flow_outcome(&self, org: &OrgId, id: &FlowId) -> Result<Option<Value>, Failure> {
        let Some(flow) = self.store.find_flow(org, id).await? else {
            return Err(Failure::not_found("flow_not_found", "nobody waits for the provider any more"));
        };
        match (flow.status, flow.outcome) {
            (FlowStatus::Open | FlowStatus::Taken, _) | (FlowStatus::Done, None) => Ok(None),
            (FlowStatus::Done, Some(answer)) => Ok(Some(answer)),
            (FlowStatus::Failed, outcome) => Err(outcome
                .and_then(|value| serde_json::from_value(value).ok())
                .unwrap_or_else(|| Failure::new(FailureKind::Internal, "flow_failed", "it failed"))),
        }
    }
}
