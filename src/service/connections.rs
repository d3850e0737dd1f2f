//! Connections: checked before they are saved, scheduled, paused, removed.

use connector_sdk::{Account, Mode, Priority, RecordKey, Secrets};
use serde_json::{Value, json};

use super::{Connect, Failure, FailureKind, Services};
use crate::domain::connections::{Connection, ConnectionStatus, Schedule};
use crate::domain::runs::RunKind;
use crate::domain::{ConnectionId, OrgId, ScheduleId};
use crate::jobs::cron;
use crate::store::grants::TokenLife;
use crate::store::settings::SealedSecret;
use crate::sync::SyncError;
use crate::sync::audit::AUDIT_JOB;
use crate::sync::oauth::REFRESH_TOKEN;
use crate::sync::providers::{ConnectionSettings, WEBHOOK_SECRET};
use crate::sync::reread::reread;
use crate::sync::start::{RunRequest, SCHEDULED_JOB, Started, start_run};
use crate::webhooks::endpoint::{Endpoints, RegisterError};
use crate::webhooks::process::process_job;

/// How long a replaced webhook secret is still accepted: the provider may sign with it for as long.
const ROTATION_HOURS: i64 = 24;

/// A document over another, member by member (RFC 7396): `null` takes a member away.
fn over(old: Value, new: &Value) -> Value {
    let Value::Object(new) = new else { return new.clone() };
    let mut all = match old {
        Value::Object(all) => all,
        _ => serde_json::Map::new(),
    };
    for (name, value) in new {
        if value.is_null() {
            all.remove(name);
        } else {
            let old = all.remove(name).unwrap_or_default();
            all.insert(name.clone(), over(old, value));
        }
    }
    Value::Object(all)
}

impl Services {
    /// Checks what a connection is to be called and how it is set. Answers the one of that name, where there is one,
    /// and how it is set then: what is said now over what was said before, for whoever connects again renews
    /// credentials, and need not know every setting.
    pub(super) async fn check_connect(
        &self,
        org: &OrgId,
        connector: &str,
        name: &str,
        config: &Value,
    ) -> Result<(Option<Connection>, Value), Failure> {
        let old = self.store.find_connection(org, name).await?;
        if let Some(old) = &old
            && old.connector != connector
        {
            return Err(Failure::invalid(
                "name_taken",
                format!("the name {name:?} belongs to a {} connection", old.connector),
            )
            .hint("Choose another: --name NAME"));
        }
        let config = match &old {
            Some(old) => over(old.config.clone(), config),
            None => config.clone(),
        };
        let settings = ConnectionSettings::parse(&config)?;
        self.providers.connector(connector)?.check_config(&settings.connector)?;
        Ok((old, config))
    }

    /// `life`: that of the access token among the secrets, where a person granted it.
    pub(super) async fn connect(
        &self,
        org: &OrgId,
        request: Connect,
        life: Option<&TokenLife>,
    ) -> Result<Value, Failure> {
        let now = self.clock.now();
        let (old, config) =
            self.check_connect(org, &request.connector, &request.name, &request.config).await?;
        let mut connection = Connection {
            id: old.as_ref().map_or_else(|| ConnectionId::generate(&*self.clock), |c| c.id.clone()),
            org_id: org.clone(),
            connector: request.connector.clone(),
            name: request.name.clone(),
            account_id: None,
            account_name: None,
            mode: Mode::Test,
            status: ConnectionStatus::Active,
            status_reason: None,
            config,
            limits: Value::Null,
            checked_at: Some(now),
            created_at: old.as_ref().map_or(now, |c| c.created_at),
            updated_at: now,
        };
        let given = request.secrets.iter().filter(|(name, _)| name != REFRESH_TOKEN);
        let secrets = Secrets(given.cloned().collect());
        let session = self.providers.session_with(&connection, secrets, Priority::Webhook)?;
        let account = session.check().await?;
        if let Some(old) = &old {
            same_account(old, &account)?;
        }
        apply_account(&mut connection, &account);

        let mut sealed = Vec::new();
        for (name, secret) in &request.secrets {
            sealed.push(self.seal(&connection, name, 0, secret)?);
        }
        sealed.extend(self.webhook_slots(&connection, old.is_some(), &request).await?);
        match life {
            Some(life) => self.store.put_granted_connection(&connection, &sealed, life).await?,
            None => self.store.put_connection(&connection, &sealed).await?,
        }
        self.put_schedules(&connection).await?;
        if old.is_some() {
            // What came while the old credentials were refused.
            self.store.push_jobs(vec![process_job(org, &connection.id, now)]).await?;
        }

        let run = match request.backfill {
            true => Some(self.start(&connection, RunKind::Backfill, "connect", Vec::new()).await?),
            false => None,
        };
        Ok(json!({
            "connection": connection,
            "renewed": old.is_some(),
            "run": run.as_ref().map(Started::run),
            "webhook_path": self.providers.webhook_path(&connection),
        }))
    }

    /// New webhook secrets in new slots; those there were stay good for a day, those that end are dropped.
    async fn webhook_slots(
        &self,
        connection: &Connection,
        renewed: bool,
        request: &Connect,
    ) -> Result<Vec<SealedSecret>, Failure> {
        let now = self.clock.now();
        let mut slots: Vec<_> = match renewed {
            true => self.store.load_secrets(&connection.org_id, &connection.id).await?,
            false => Vec::new(),
        }
        .into_iter()
        .filter(|s| s.name == WEBHOOK_SECRET && s.expires_at.is_none_or(|at| at > now))
        .collect();
        if request.webhook_secrets.is_empty() {
            return Ok(slots);
        }
        let until = now + chrono::TimeDelta::hours(ROTATION_HOURS);
        for old in &mut slots {
            old.expires_at = Some(old.expires_at.map_or(until, |at| at.min(until)));
        }
        let first = slots.iter().map(|s| s.slot + 1).max().unwrap_or(0);
        for (slot, secret) in (first..).zip(&request.webhook_secrets) {
            slots.push(self.seal(connection, WEBHOOK_SECRET, slot, secret)?);
        }
        Ok(slots)
    }

    fn seal(
        &self,
        connection: &Connection,
        name: &str,
        slot: i64,
        secret: &secrecy::SecretString,
    ) -> Result<SealedSecret, Failure> {
        let keyring = self.providers.keyring();
        keyring
            .seal(&connection.org_id, &connection.id, name, slot, secret)
            .map_err(|e| SyncError::from(e).into())
    }

    /// Schedule ids are made from the connection's, so that connecting again replaces them.
    async fn put_schedules(&self, connection: &Connection) -> Result<(), Failure> {
        let now = self.clock.now();
        for template in self.schedules.iter() {
            let next = cron::next_after(&template.expression, &template.time_zone, now)
                .map_err(|e| Failure::new(FailureKind::Setup, "schedule", e.to_string()))?;
            let kind = serde_json::to_value(template.kind).unwrap_or(Value::Null);
            let name = kind.as_str().unwrap_or("run").to_owned();
            self.store
                .put_schedule(&Schedule {
                    id: ScheduleId(format!(
                        "sch_{}_{name}",
                        connection.id.as_str().trim_start_matches("con_")
                    )),
                    org_id: connection.org_id.clone(),
                    connection_id: Some(connection.id.clone()),
                    job_kind: SCHEDULED_JOB.to_owned(),
                    args: json!({ "kind": kind }),
                    expression: template.expression.clone(),
                    time_zone: template.time_zone.clone(),
                    next_run_at: next,
                    last_run_at: None,
                    enabled: true,
                })
                .await?;
        }
        if let Some(audit) = self.audit_schedule(connection)? {
            self.store.put_schedule(&audit).await?;
        }
        Ok(())
    }

    /// The schedule of a connection's audit, as it should be.
    fn audit_schedule(&self, connection: &Connection) -> Result<Option<Schedule>, Failure> {
        let Some(plan) = &self.audit else { return Ok(None) };
        let next = cron::next_after(&plan.expression, &plan.time_zone, self.clock.now())
            .map_err(|e| Failure::new(FailureKind::Setup, "schedule", e.to_string()))?;
        Ok(Some(Schedule {
            id: audit_schedule_id(connection),
            org_id: connection.org_id.clone(),
            connection_id: Some(connection.id.clone()),
            job_kind: AUDIT_JOB.to_owned(),
            args: json!({ "kind": "audit", "sample": plan.sample, "repair": plan.repair }),
            expression: plan.expression.clone(),
            time_zone: plan.time_zone.clone(),
            next_run_at: next,
            last_run_at: None,
            enabled: true,
        }))
    }

    /// Gives every connection the audit that the settings ask for, those that were made before it was asked for too,
    /// and ends it where they ask for none. An audit that is as it should be keeps its place.
    ///
    /// # Errors
    /// The store's; a schedule that is not understood.
    pub async fn ensure_audits(&self) -> Result<(), Failure> {
        let known = self.store.list_schedules(None).await?;
        for connection in self.store.list_connections(None).await? {
            let id = audit_schedule_id(&connection);
            let old = known.iter().find(|s| s.id == id);
            match (self.audit_schedule(&connection)?, old) {
                (Some(new), Some(old))
                    if old.enabled
                        && (&old.expression, &old.time_zone, &old.args)
                            == (&new.expression, &new.time_zone, &new.args) => {}
                (Some(new), _) => self.store.put_schedule(&new).await?,
                (None, Some(old)) if old.enabled => {
                    self.store.put_schedule(&Schedule { enabled: false, ..old.clone() }).await?;
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn reread(&self, org: &OrgId, name: &str, keys: &[RecordKey]) -> Result<Value, Failure> {
        let connection = self.connection(org, name).await?;
        let (counts, skipped) =
            reread(&*self.store, &self.providers, &*self.clock, &connection, keys, Priority::Webhook, None)
                .await?;
        Ok(json!({ "counts": counts, "skipped": skipped }))
    }

    pub(super) async fn check_connection(&self, org: &OrgId, name: &str) -> Result<Value, Failure> {
        let mut connection = self.connection(org, name).await?;
        let session = match self.providers.session(&connection, Priority::Webhook).await {
            Ok(session) => session,
            Err(error) => {
                self.providers.note_unusable(&connection, &error).await?;
                return Err(error.into());
            }
        };
        let now = self.clock.now();
        match session.check().await {
            Ok(account) => {
                same_account(&connection, &account)?;
                apply_account(&mut connection, &account);
                if connection.status == ConnectionStatus::NeedsAttention {
                    connection.status = ConnectionStatus::Active;
                    connection.status_reason = None;
                }
                connection.checked_at = Some(now);
                connection.updated_at = now;
                self.store.update_connection(&connection).await?;
                self.store.push_jobs(vec![process_job(org, &connection.id, now)]).await?;
                let endpoint = self.endpoints().inspect(&connection, &*session).await?;
                Ok(json!({ "connection": connection, "account": account, "endpoint": endpoint }))
            }
            Err(error) => {
                let failure = Failure::from(error);
                if failure.kind == FailureKind::Credentials {
                    let status = ConnectionStatus::NeedsAttention;
                    self.store
                        .set_connection_status(org, &connection.id, status, Some(&failure.message), now)
                        .await?;
                }
                Err(failure)
            }
        }
    }

    pub(super) async fn pause_connection(
        &self,
        org: &OrgId,
        name: &str,
        pause: bool,
    ) -> Result<Value, Failure> {
        let connection = self.connection(org, name).await?;
        let status = if pause { ConnectionStatus::Paused } else { ConnectionStatus::Active };
        let now = self.clock.now();
        self.store.set_connection_status(org, &connection.id, status, None, now).await?;
        if !pause {
            self.store.push_jobs(vec![process_job(org, &connection.id, now)]).await?;
        }
        Ok(json!({ "connection": connection.id, "status": status }))
    }

    pub(super) async fn remove_connection(&self, org: &OrgId, name: &str) -> Result<Value, Failure> {
        let connection = self.connection(org, name).await?;
        // Credentials that were revoked, or a provider that is down, do not keep a connection alive.
        let endpoint = match self.endpoints().remove(&connection).await {
            Ok(removed) => removed.map(|id| json!({ "id": id, "removed": true })),
            Err(error) => self
                .endpoints()
                .made_by_us(&connection)
                .await?
                .map(|id| json!({ "id": id, "removed": false, "why": error.to_string() })),
        };
        let grant = self.end_grant(&connection).await?;
        let records = self.store.delete_connection(org, &connection.id, self.clock.now()).await?;
        Ok(
            json!({ "connection": connection.id, "removed_records": records, "endpoint": endpoint, "grant": grant }),
        )
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        let (store, providers) = (self.store.clone(), self.providers.clone());
        Endpoints::new(store, providers, self.clock.clone(), self.public_url.clone())
    }

    pub(super) async fn register_webhook(
        &self,
        org: &OrgId,
        name: &str,
        public_url: Option<&str>,
    ) -> Result<Value, Failure> {
        let connection = self.connection(org, name).await?;
        let (did, endpoint) = self.endpoints().register(&connection, public_url).await.map_err(|error| {
            let message = error.to_string();
            let again = format!("halo-sync webhooks register {}", connection.name);
            match error {
                RegisterError::NotOffered(_) => Failure::invalid("not_offered", message),
                RegisterError::NoPublicUrl => Failure::new(FailureKind::Setup, "no_public_url", message)
                    .hint(format!("Set server.public_url, or give it once: {again} --url https://…")),
                RegisterError::NotHttps(_) => {
                    Failure::invalid("not_https", message).hint(format!("{again} --url https://…"))
                }
                RegisterError::Foreign(id) => Failure::invalid("endpoint_exists", message).hint(format!(
                    "Delete endpoint {id} at the provider and run this again, or give its secret: halo-sync \
                     connect {} --name {} --api-key-file FILE --webhook-secret-file FILE",
                    connection.connector, connection.name
                )),
                RegisterError::Sync(error) => error.into(),
            }
        })?;
        Ok(json!({ "did": did, "endpoint": endpoint }))
    }

    pub(super) async fn sync(
        &self,
        org: &OrgId,
        name: &str,
        full: bool,
        streams: Vec<String>,
    ) -> Result<Value, Failure> {
        let connection = self.connection(org, name).await?;
        if connection.status == ConnectionStatus::Paused {
            return Err(Failure::invalid("paused", format!("{} is paused", connection.name))
                .hint(format!("halo-sync connections resume {}", connection.name)));
        }
        let kind = if full { RunKind::FullResync } else { RunKind::Incremental };
        let started = self.start(&connection, kind, "manual", streams).await?;
        let already = matches!(started, Started::AlreadyRunning(_));
        Ok(json!({ "run": started.run(), "already_running": already }))
    }

    async fn start(
        &self,
        connection: &Connection,
        kind: RunKind,
        trigger: &'static str,
        streams: Vec<String>,
    ) -> Result<Started, Failure> {
        let spec = self.providers.connector(&connection.connector)?.spec();
        let request = RunRequest { kind, trigger, streams };
        Ok(start_run(&*self.store, &*self.clock, &spec, connection, request).await?)
    }
}

fn audit_schedule_id(connection: &Connection) -> ScheduleId {
    ScheduleId(format!("sch_{}_audit", connection.id.as_str().trim_start_matches("con_")))
}

/// A key of another account, or of the other mode, would mix two books under one connection.
fn same_account(old: &Connection, account: &Account) -> Result<(), Failure> {
    let hint = "Make a connection of its own: halo-sync connect … --name NAME";
    if old.mode != account.mode {
        return Err(Failure::invalid(
            "other_mode",
            format!(
                "connection {} is in {:?} mode, this key is in {:?} mode",
                old.name, old.mode, account.mode
            ),
        )
        .hint(hint));
    }
    match (&old.account_id, &account.id) {
        (Some(had), Some(has)) if had != has => Err(Failure::invalid(
            "other_account",
            format!("connection {} is account {had}, this key belongs to {has}", old.name),
        )
        .hint(hint)),
        _ => Ok(()),
    }
}

fn apply_account(connection: &mut Connection, account: &Account) {
    connection.account_id.clone_from(&account.id);
    connection.account_name.clone_from(&account.name);
    connection.mode = account.mode;
    connection.limits = json!({ "missing": account.missing, "not_offered": account.not_offered });
}

pub use crate::webhooks::endpoint::webhook_path;
