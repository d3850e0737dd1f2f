//! One renewal for each expiry, over all workers and processes, and no token lost on the way.
//!
//! Within a process a gate lets one caller at a time look; over processes a claim in the database does
//! ([`crate::store::GrantStore::claim_grant`]). The holder of a claim calls the provider once, stores what it got, and only then is
//! the new token used. A claim is an id that is never used twice and every later write is conditional on it, so that a
//! holder that was stopped for longer than its claim lasts writes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_sdk::{AccessTokens, Clock, ConnectorError, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::app::{GrantError, Registered};
use super::{ACCESS_TOKEN, REFRESH_TOKEN};
use crate::domain::connections::Connection;
use crate::domain::ids::new_id;
use crate::store::grants::{Grant, GrantClaim, GrantState, TokenLife};
use crate::store::{Store, StoreError};
use crate::sync::credentials::Keyring;

/// How long a claim lasts: twice as long as the longest call.
const CLAIM: TimeDelta = TimeDelta::seconds(60);
/// What must be left of a claim when the call begins: a process that was stopped in between calls no more.
const LEFT_FOR_CALL: TimeDelta = TimeDelta::seconds(35);
/// How often whoever waits for another process looks.
const LOOK: Duration = Duration::from_millis(100);
/// After a renewal that failed, none for so long, unless the provider asks for more.
const PAUSE: TimeDelta = TimeDelta::seconds(10);
/// After one that failed because the app is refused: a person must change the settings.
const PAUSE_OF_APP: TimeDelta = TimeDelta::minutes(5);
/// A token that was got within this time and is refused would not be mended by another.
const JUST_GOT: TimeDelta = TimeDelta::seconds(60);
/// So many renewals in a row that were begun and never ended are enough: each of them may have used the token up.
const MOST_INTERRUPTED: i64 = 2;
/// How often storing new tokens is tried before they are given up.
const STORE_TRIES: u32 = 8;

/// Renewals of this process.
pub(crate) struct Renewals {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keyring: Arc<Keyring>,
    apps: BTreeMap<String, Registered>,
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A token with what is known of it.
#[derive(Clone)]
struct Held {
    token: SecretString,
    version: i64,
    life: TokenLife,
}

/// Why a newer token is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The one there is expires soon, and works.
    Ahead,
    /// The one there is has expired, or was refused.
    Needed,
}

/// That only a person can mend it, in the words that stand on the connection.
fn needs_reauth(connection: &Connection, why: &str) -> ConnectorError {
    ConnectorError::Auth {
        message: format!(
            "needs_reauth: {why}; connect again: halo-sync connect {} --name {}",
            connection.connector, connection.name
        ),
        missing_permission: None,
    }
}

fn storage(error: &StoreError) -> ConnectorError {
    ConnectorError::Transient(format!("access tokens in the database: {error}"))
}

impl Renewals {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        keyring: Arc<Keyring>,
        apps: BTreeMap<String, Registered>,
    ) -> Self {
        Self { store, clock, keyring, apps, gates: Mutex::default() }
    }

    fn gate(&self, connection: &Connection) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(connection.id.0.clone()).or_default().clone()
    }

    /// The stored secret of that name.
    async fn secret(
        &self,
        connection: &Connection,
        name: &str,
    ) -> Result<Option<SecretString>, ConnectorError> {
        let all =
            self.store.load_secrets(&connection.org_id, &connection.id).await.map_err(|e| storage(&e))?;
        let Some(sealed) = all.iter().find(|secret| secret.name == name && secret.slot == 0) else {
            return Ok(None);
        };
        let opened = self.keyring.open(&connection.org_id, &connection.id, sealed);
        opened
            .map(Some)
            .map_err(|e| ConnectorError::Auth { message: e.to_string(), missing_permission: None })
    }

    async fn grant(&self, connection: &Connection) -> Result<Grant, ConnectorError> {
        let found =
            self.store.find_grant(&connection.org_id, &connection.id).await.map_err(|e| storage(&e))?;
        found.ok_or_else(|| ConnectorError::Auth {
            message: "the connection has no OAuth grant any more".to_owned(),
            missing_permission: None,
        })
    }

    /// The token that is stored now.
    async fn load(&self, connection: &Connection, grant: Grant) -> Result<Held, ConnectorError> {
        if grant.state == GrantState::Refused {
            let why = grant.reason.unwrap_or_default();
            // Its own words, without the class that they are stored with.
            let message = why.strip_prefix("credentials: ").unwrap_or(&why).to_owned();
            return Err(ConnectorError::Auth { message, missing_permission: None });
        }
        let token = self.secret(connection, ACCESS_TOKEN).await?;
        let token = token.ok_or_else(|| needs_reauth(connection, "its access token is not stored"))?;
        Ok(Held { token, version: grant.version, life: grant.life })
    }

    /// A token that is newer than `seen`, renewed where there is none yet; `seen` again where a renewal ahead of time
    /// has to wait.
    async fn newer(
        self: &Arc<Self>,
        connection: &Connection,
        seen: Held,
        why: Why,
    ) -> Result<Held, ConnectorError> {
        let gate = self.gate(connection);
        let _passed = match why {
            // Its token works, and somebody is at it.
            Why::Ahead => match gate.try_lock() {
                Ok(passed) => passed,
                Err(_) => return Ok(seen),
            },
            _ => gate.lock().await,
        };
        loop {
            let grant = self.grant(connection).await?;
            if grant.version != seen.version || grant.state == GrantState::Refused {
                return self.load(connection, grant).await;
            }
            let now = self.clock.now();
            let claim = new_id("rnw", &*self.clock);
            let until = now + CLAIM;
            let claimed = self
                .store
                .claim_grant(&connection.org_id, &connection.id, seen.version, &claim, now, until)
                .await
                .map_err(|e| storage(&e))?;
            match claimed {
                GrantClaim::Moved => {}
                GrantClaim::Taken { .. } | GrantClaim::TooSoon { .. } if why == Why::Ahead => {
                    return Ok(seen);
                }
                GrantClaim::Taken { .. } => tokio::time::sleep(LOOK).await,
                GrantClaim::TooSoon { until } => return Err(ConnectorError::RateLimited { until }),
                GrantClaim::Claimed { interrupted } => {
                    let held = Claim { connection: connection.clone(), id: claim, until, interrupted };
                    let this = Arc::clone(self);
                    // A task of its own: whoever waits for it may be cancelled, and the provider's answer must be
                    // stored all the same.
                    let renewed = tokio::spawn(async move { this.renew(held).await }).await;
                    let renewed = renewed.map_err(|_| ConnectorError::Cancelled)?;
                    return match renewed {
                        Ok(Some(held)) => Ok(held),
                        // Another took over meanwhile: what it stored counts.
                        Ok(None) => continue,
                        Err(error) if why == Why::Ahead && !is_final(&error) => {
                            tracing::debug!(connection = %connection.id, %error, "a token could not be renewed ahead of time");
                            Ok(seen)
                        }
                        Err(error) => Err(error),
                    };
                }
            }
        }
    }

    /// Renews, holding the claim. `None` when the claim was lost.
    async fn renew(&self, claim: Claim) -> Result<Option<Held>, ConnectorError> {
        let connection = &claim.connection;
        let (org, id) = (&connection.org_id, &connection.id);
        let Some(app) = self.apps.get(&connection.connector) else {
            self.release(&claim, self.clock.now() + PAUSE).await;
            return Err(ConnectorError::Config(format!(
                "oauth.{0}.client_id and oauth.{0}.client_secret_file are not set: the access token cannot be renewed",
                connection.connector
            )));
        };
        if claim.interrupted > MOST_INTERRUPTED {
            let why = format!("{} renewals of its token were cut off one after the other", claim.interrupted);
            return self.refuse(&claim, &why).await;
        }
        let refresh = match self.secret(connection, REFRESH_TOKEN).await {
            Ok(Some(refresh)) => refresh,
            Ok(None) => {
                return self
                    .refuse(&claim, "its access token has expired, and the provider gave no refresh token")
                    .await;
            }
            Err(error) => {
                self.release(&claim, self.clock.now() + PAUSE).await;
                return Err(error);
            }
        };
        if self.clock.now() + LEFT_FOR_CALL > claim.until {
            return Ok(None);
        }
        let tokens = match app.renew(&refresh).await {
            Ok(tokens) => tokens,
            Err(GrantError::Refused(code)) => {
                let why = match claim.interrupted {
                    0 => format!("the provider no longer accepts the refresh token ({code})"),
                    _ => format!(
                        "a renewal was cut off before the tokens that the provider may have given were stored, and it no \
                         longer accepts the ones before ({code})"
                    ),
                };
                return self.refuse(&claim, &why).await;
            }
            Err(error @ GrantError::App(_)) => {
                self.release(&claim, self.clock.now() + PAUSE_OF_APP).await;
                return Err(error.into());
            }
            Err(GrantError::Failed(error)) => {
                let pause = self.clock.now() + PAUSE;
                let until = match &error {
                    ConnectorError::RateLimited { until } => pause.max(*until),
                    _ => pause,
                };
                self.release(&claim, until).await;
                return Err(error);
            }
        };
        let seal = |name: &str, secret: &SecretString| {
            let sealed = self.keyring.seal(org, id, name, 0, secret);
            sealed.map_err(|e| ConnectorError::Transient(e.to_string()))
        };
        let mut sealed = vec![seal(ACCESS_TOKEN, &tokens.access)?];
        if let Some(refresh) = &tokens.refresh {
            sealed.push(seal(REFRESH_TOKEN, refresh)?);
        }
        let mut tries = 0;
        let stored = loop {
            tries += 1;
            match self.store.finish_grant(org, id, &claim.id, &sealed, &tokens.life).await {
                Ok(stored) => break stored,
                Err(error) if tries >= STORE_TRIES => {
                    tracing::error!(connection = %id, %error, "renewed tokens could not be stored and are lost");
                    return Err(storage(&error));
                }
                Err(_) => tokio::time::sleep(LOOK * (1 << tries)).await,
            }
        };
        let Some(version) = stored else {
            tracing::warn!(connection = %id, "a renewal took longer than its claim: what it got is not used");
            return Ok(None);
        };
        tracing::info!(connection = %id, version, "access token renewed");
        metrics::counter!(crate::telemetry::metric::TOKEN_RENEWALS, "connector" => connection.connector.clone(), "outcome" => "renewed").increment(1);
        Ok(Some(Held { token: tokens.access, version, life: tokens.life }))
    }

    /// The next may try from then on. A claim that cannot be ended ends by itself.
    async fn release(&self, claim: &Claim, not_before: Timestamp) {
        let Claim { connection, id, .. } = claim;
        if let Err(error) = self.store.release_grant(&connection.org_id, &connection.id, id, not_before).await
        {
            tracing::warn!(connection = %connection.id, %error, "a claim could not be ended");
        }
        metrics::counter!(crate::telemetry::metric::TOKEN_RENEWALS, "connector" => connection.connector.clone(), "outcome" => "failed").increment(1);
    }

    /// A person must connect again.
    async fn refuse(&self, claim: &Claim, why: &str) -> Result<Option<Held>, ConnectorError> {
        let Claim { connection, id, .. } = claim;
        let error = needs_reauth(connection, why);
        let (org, now) = (&connection.org_id, self.clock.now());
        let refused = self.store.refuse_grant(org, &connection.id, id, &error.to_string(), now).await;
        if !refused.map_err(|e| storage(&e))? {
            return Ok(None);
        }
        tracing::warn!(connection = %connection.id, why, "a person must connect again");
        metrics::counter!(crate::telemetry::metric::TOKEN_RENEWALS, "connector" => connection.connector.clone(), "outcome" => "refused").increment(1);
        Err(error)
    }

    /// Tells the provider that the grant is over, with nobody renewing meanwhile. `None` for a connection without a
    /// grant, or where the provider cannot be told; else how it went.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn end(
        &self,
        connection: &Connection,
    ) -> Result<Option<Result<(), GrantError>>, StoreError> {
        let gate = self.gate(connection);
        let _passed = gate.lock().await;
        let (org, id) = (&connection.org_id, &connection.id);
        let patience = self.clock.now() + CLAIM;
        let begun = tokio::time::Instant::now();
        // A renewal that is on its way stores another refresh token: that one is to be revoked.
        loop {
            let Some(grant) = self.store.find_grant(org, id).await? else { return Ok(None) };
            let (now, claim) = (self.clock.now(), new_id("rnw", &*self.clock));
            match self.store.claim_grant(org, id, grant.version, &claim, now, now + CLAIM).await? {
                GrantClaim::Taken { .. } if now < patience && begun.elapsed() < Duration::from_secs(40) => {
                    tokio::time::sleep(LOOK).await;
                }
                GrantClaim::Moved if grant.state == GrantState::Good => {}
                _ => break,
            }
        }
        let Some(app) = self.apps.get(&connection.connector).filter(|app| app.revokes()) else {
            return Ok(None);
        };
        Ok(match self.secret(connection, REFRESH_TOKEN).await {
            Ok(Some(refresh)) => Some(app.revoke(&refresh).await),
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        })
    }

    /// Tokens for the calls of a session.
    pub(crate) fn tokens(
        self: &Arc<Self>,
        connection: &Connection,
        grant: Grant,
        token: SecretString,
    ) -> ConnectionTokens {
        let held = Held { token, version: grant.version, life: grant.life };
        ConnectionTokens {
            renewals: Arc::clone(self),
            connection: connection.clone(),
            state: Mutex::new((held, None)),
        }
    }
}

/// Whether a renewal ahead of time is to fail the call that it was for: the old token is as good as gone.
fn is_final(error: &ConnectorError) -> bool {
    matches!(error, ConnectorError::Auth { message, .. } if message.starts_with("needs_reauth"))
}

/// A claim that this process holds.
struct Claim {
    connection: Connection,
    id: String,
    until: Timestamp,
    interrupted: i64,
}

/// The tokens of one session.
pub(crate) struct ConnectionTokens {
    renewals: Arc<Renewals>,
    connection: Connection,
    /// The token there is, and the one before.
    state: Mutex<(Held, Option<SecretString>)>,
}

impl ConnectionTokens {
    fn seen(&self) -> Held {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn keep(&self, new: Held) -> SecretString {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if new.version > state.0.version {
            let before = std::mem::replace(&mut state.0, new);
            state.1 = Some(before.token);
        }
        state.0.token.clone()
    }
}

#[async_trait]
impl AccessTokens for ConnectionTokens {
    async fn current(&self) -> Result<SecretString, ConnectorError> {
        let seen = self.seen();
        let now = self.renewals.clock.now();
        let reached = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let why = match (reached(seen.life.expires_at), reached(seen.life.renew_at)) {
            (true, _) => Why::Needed,
            (false, true) => Why::Ahead,
            (false, false) => return Ok(seen.token),
        };
        Ok(self.keep(self.renewals.newer(&self.connection, seen, why).await?))
    }

    async fn renewed(&self, refused: &SecretString) -> Result<SecretString, ConnectorError> {
        let seen = self.seen();
        if seen.token.expose_secret() != refused.expose_secret() {
            return Ok(seen.token);
        }
        let now = self.renewals.clock.now();
        let grant = self.renewals.grant(&self.connection).await?;
        if grant.version == seen.version
            && grant.state == GrantState::Good
            && now - seen.life.renewed_at < JUST_GOT
        {
            return Err(ConnectorError::Auth {
                message: "the provider refuses an access token that it has just given".to_owned(),
                missing_permission: None,
            });
        }
        Ok(self.keep(self.renewals.newer(&self.connection, seen, Why::Needed).await?))
    }

    fn held(&self) -> Vec<SecretString> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(state.0.token.clone()).chain(state.1.clone()).collect()
    }
}
