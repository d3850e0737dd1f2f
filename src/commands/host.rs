//! The store and everything on it, opened for a command.
//!
//! Reading opens the database for reading, beside whatever process runs. Changing is one
//! [`service::Request`](crate::service::Request): carried out here when the database is free, sent to the
//! process that holds it otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use connector_sdk::{HttpClient, Programs};
use serde_json::Value;

use super::{App, CommandError, ExitCode};
use crate::attributes::Attributes;
use crate::chat::{Chat, Model, ModelSettings};
use crate::config::{Config, DatabaseTarget, Loaded, OrgEntry, SecretKeySource, Singer};
use crate::derive;
use crate::domain::OrgId;
use crate::domain::connections::ConnectionStatus;
use crate::domain::origin::OriginError;
use crate::domain::runs::{RunKind, SyncRun};
use crate::http::control;
use crate::http::sdk::PromptSettings;
use crate::jobs::RuntimeHandle;
use crate::recompute;
use crate::registry;
use crate::service::sealing::missing_keys;
use crate::service::{AuditPlan, OrgChange, Request, ScheduleTemplate, Services};
use crate::store::{self, JobsSignal, OpenMode, Store, StoreConfig, StoreError, Target};
use crate::sync::credentials::Keyring;
use crate::sync::credentials::keys::KeySource;
use crate::sync::oauth;
use crate::sync::providers::Providers;
use crate::sync::run::RunLimits;
use crate::worker;

/// An opened store with what stands on it.
pub(super) struct Host {
    pub(super) services: Services,
    pub(super) loaded: Loaded,
    pub(super) org: OrgId,
    /// Told by every commit that inserts jobs.
    pub(super) signal: JobsSignal,
    /// Whether this process may write: always on Postgres, on SQLite when it holds the file's lock.
    pub(super) writes: bool,
    /// Settings of derivation, checked.
    pub(super) derive: Arc<derive::Settings>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("org", &self.org).field("writes", &self.writes).finish_non_exhaustive()
    }
}

/// Whether a command works where a key is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// It refuses.
    Needed,
    /// It does.
    Any,
}

/// What a command needs of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading.
    Read,
    /// Writing, or nothing.
    Write,
    /// Writing where the database is free, reading where another process holds it.
    WriteIfFree,
}

impl Host {
    /// Opens.
    ///
    /// # Errors
    /// The settings', the store's, the key file's.
    pub(super) async fn open(app: &App, loaded: Loaded, access: Access) -> Result<Self, CommandError> {
        let host = Self::open_for_any_org(app, loaded, access).await?;
        host.services.need_org(&host.org).await?;
        Ok(host)
    }

    /// As [`Self::open_for_any_org`], also where stored credentials are sealed with a key that is not here: for
    /// commands that say so or mend it.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn open_with_any_key(
        app: &App,
        loaded: Loaded,
        access: Access,
    ) -> Result<Self, CommandError> {
        Self::open_with(app, loaded, access, Keys::Any).await
    }

    /// As [`Self::open`], whether or not there is the organisation to act for.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn open_for_any_org(
        app: &App,
        loaded: Loaded,
        access: Access,
    ) -> Result<Self, CommandError> {
        Self::open_with(app, loaded, access, Keys::Needed).await
    }

    async fn open_with(app: &App, loaded: Loaded, access: Access, keys: Keys) -> Result<Self, CommandError> {
        let config = &loaded.config;
        let derive = Arc::new(derive_settings(config)?);
        let target = target(&loaded)?;
        let on_postgres = matches!(target, Target::Postgres(_));
        let settings = StoreConfig {
            target,
            migrate: config.database.migrate,
            max_connections: config.database.max_connections,
        };
        // Before anything is made, migrated or written.
        let keyring = keyring_for(&loaded, &settings.target, access, keys).await?;
        make_private(&loaded.config.data.dir)?;
        make_private(&data_dir(&loaded))?;
        let open = |mode| store::open(&settings, mode, app.clock.clone());
        let (store, writes) = match access {
            Access::Read if !on_postgres => match open(OpenMode::ReadOnly).await {
                // A first look at a fresh installation: make the file, so that lists are empty and no error.
                Err(StoreError::Setup(_)) if !database_exists(&loaded) => {
                    (open(OpenMode::Exclusive).await?, true)
                }
                other => (other?, false),
            },
            Access::Read | Access::Write => (open(OpenMode::Exclusive).await?, true),
            Access::WriteIfFree => match open(OpenMode::Exclusive).await {
                Err(StoreError::Locked { .. }) => (open(OpenMode::ReadOnly).await?, false),
                other => (other?, true),
            },
        };
        let signal = store.jobs_signal();
        let services = services(app, &loaded, store, keyring)?;
        let org = app.org(&loaded.config);
        if writes {
            if keys == Keys::Needed && access != Access::Read {
                // A database that an older program left says it only now.
                services.need_keys().await?;
            }
            services.ensure_orgs(&listed_orgs(&loaded.config)?).await?;
            if !on_postgres {
                for org in services.store.list_orgs().await? {
                    services.store.orphan_grants(&org).await?;
                }
            }
        }
        Ok(Self { services, loaded, org, signal, writes, derive })
    }

    /// The store.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.services.store
    }

    /// Carries a request out: here, or in the process that holds the database.
    pub(super) async fn execute(&self, request: Request) -> Result<Value, CommandError> {
        if self.writes {
            return Ok(self.services.execute(&self.org, request).await?);
        }
        Ok(control::send(&self.data_dir(), &self.org, request).await?)
    }

    /// How the organisation's prompts are printed: `[prompt]`, and what it says about its attributes itself.
    pub(super) async fn prompt_of_org(&self) -> Result<Arc<PromptSettings>, CommandError> {
        let defaults = Arc::new(self.prompt()?);
        Ok(self.services.attributes.prompt(&self.org, &defaults).await?)
    }

    /// How the prompt is printed (`[prompt]`).
    pub(super) fn prompt(&self) -> Result<PromptSettings, CommandError> {
        let prompt = &self.loaded.config.prompt;
        let mut attributes = Vec::new();
        for (n, value) in prompt.attributes.iter().enumerate() {
            attributes.push(serde_path_to_error::deserialize(value).map_err(|e| {
                CommandError::new(ExitCode::Config, "config_invalid", "the settings cannot be used")
                    .why(format!("prompt.attributes[{n}].{}: {}", e.path(), e.inner()))
            })?);
        }
        Ok(PromptSettings {
            attributes,
            budget_tokens: prompt.budget_tokens,
            reporting_currency: self.derive.reporting_currency.clone(),
        })
    }

    /// Who answers chats (`[chat]`).
    pub(super) fn chat(&self) -> Result<Chat, CommandError> {
        let settings = &self.loaded.config.chat;
        let clock = self.services.clock.clone();
        let (Some(base_url), Some(model)) = (&settings.base_url, &settings.model) else {
            return Ok(Chat::new(None, clock));
        };
        let wrong = |why: String| {
            CommandError::new(ExitCode::Config, "config_invalid", "the settings cannot be used").why(why)
        };
        let settings = ModelSettings {
            base_url: base_url
                .parse()
                .map_err(|_| wrong("chat.base_url is not a valid address".to_owned()))?,
            model: model.clone(),
            api_key: settings.api_key.as_ref().map(|key| key.expose().to_owned().into()),
            max_tokens: settings.max_tokens,
            parameters: settings.parameters.clone(),
            instructions: settings.instructions.clone(),
            timeout: Duration::from_secs(settings.timeout_seconds),
            stall_timeout: Duration::from_secs(settings.stall_timeout_seconds),
            max_concurrent: usize::try_from(settings.max_concurrent).unwrap_or(usize::MAX),
        };
        Ok(Chat::new(Some(Model::new(settings).map_err(wrong)?), clock))
    }

    /// Starts the worker in this process.
    pub(super) async fn start_worker(&self, app: &App) -> Result<RuntimeHandle, CommandError> {
        let config = &self.loaded.config;
        let limits =
            RunLimits { pages: config.sync.page_budget, time: Duration::from_secs(config.sync.job_seconds) };
        let changed = recompute::mark_if_settings_changed(self.store(), &*app.clock, &self.derive).await?;
        if changed {
            tracing::info!("settings of derivation changed: every company is derived again");
        }
        self.services.ensure_audits().await?;
        let handle = worker::builder(&self.services, &self.derive, &self.signal, limits)
            .scan(Arc::new(worker::OldActivity {
                store: self.services.store.clone(),
                events: TimeDelta::days(i64::from(config.retention.events_days)),
                days: TimeDelta::days(i64::from(config.retention.activity_days)),
            }))
            .concurrency(config.worker.concurrency)
            .sole_process(!self.on_postgres())
            .start()
            .await?;
        Ok(handle)
    }

    /// The exit code of a failed run: a person must act where the connection says so, else later.
    pub(super) async fn why_failed(&self, run: &SyncRun) -> Result<ExitCode, CommandError> {
        let connection = self.store().find_connection(&self.org, run.connection_id.as_str()).await?;
        Ok(match connection.map(|c| c.status) {
            Some(ConnectionStatus::NeedsAttention) => ExitCode::NeedsPerson,
            _ => ExitCode::TryLater,
        })
    }

    /// Whether the database is a Postgres server.
    pub(super) fn on_postgres(&self) -> bool {
        self.store().engine() == "postgres"
    }

    /// The address that webhooks are shown under, without a trailing slash.
    pub(super) fn webhook_base(&self) -> String {
        let server = &self.loaded.config.server;
        let public = server.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        public.unwrap_or_else(|| format!("http://{}", server.listen))
    }

    /// Where the database's own files are.
    pub(super) fn data_dir(&self) -> PathBuf {
        data_dir(&self.loaded)
    }
}

/// The folder of the SQLite file: lock, control file and backups lie beside the database.
pub(super) fn data_dir(loaded: &Loaded) -> PathBuf {
    match loaded.config.database() {
        Ok(DatabaseTarget::Sqlite(path)) => match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        },
        _ => loaded.config.data.dir.clone(),
    }
}

/// Makes a folder that holds customers' data and a key: for its owner only. One that is there stays as it is.
fn make_private(dir: &Path) -> Result<(), CommandError> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir).map_err(|e| {
        CommandError::new(ExitCode::Failed, "data_dir", format!("cannot make the folder {}", dir.display()))
            .why(e.to_string())
            .try_this("choose another with --data-dir DIR")
    })
}

fn database_exists(loaded: &Loaded) -> bool {
    match loaded.config.database() {
        Ok(DatabaseTarget::Sqlite(path)) => path.exists(),
        _ => true,
    }
}

/// The database that the settings name.
pub(super) fn target(loaded: &Loaded) -> Result<Target, CommandError> {
    use secrecy::ExposeSecret as _;

    let target = loaded.config.database().map_err(|why| {
        CommandError::new(ExitCode::Config, "config_invalid", "the settings cannot be used")
            .why(format!("database.url {why}"))
    })?;
    Ok(match target {
        DatabaseTarget::Sqlite(path) => Target::Sqlite(path),
        DatabaseTarget::Postgres(url) => Target::Postgres(url.expose_secret().to_owned()),
    })
}

/// The settings of derivation (`[derive]`), which derivation itself checks.
pub(super) fn derive_settings(config: &Config) -> Result<derive::Settings, CommandError> {
    let wrong = |why: String| {
        CommandError::new(ExitCode::Config, "config_invalid", "the settings cannot be used").why(why)
    };
    let settings: derive::Settings = serde_path_to_error::deserialize(Value::Object(config.derive.clone()))
        .map_err(|e| wrong(format!("derive.{}: {}", e.path(), e.inner())))?;
    settings.check().map_err(|e| wrong(format!("derive.{e}")))?;
    Ok(settings)
}

/// The organisations that the settings name (`[[orgs.list]]`), with what they say of each.
fn listed_orgs(config: &Config) -> Result<Vec<(OrgId, OrgChange)>, CommandError> {
    let entry = |entry: &OrgEntry| {
        let origins = entry.origins.as_ref().map(|list| list.iter().map(|text| text.parse()).collect());
        let change = OrgChange {
            name: entry.name.clone(),
            identity_verification: entry.identity_verification,
            unverified_chat: entry.unverified_chat,
            origins: origins.transpose().map_err(|e: OriginError| {
                CommandError::new(ExitCode::Config, "config_invalid", "the settings cannot be used")
                    .why(format!("orgs.list: {e}"))
            })?,
        };
        Ok((OrgId::from(entry.id.as_str()), change))
    };
    config.orgs.list.iter().map(entry).collect()
}

/// The keys that seal secrets, when everything is sealed with one of them.
async fn keyring_for(
    loaded: &Loaded,
    target: &Target,
    access: Access,
    keys: Keys,
) -> Result<Keyring, CommandError> {
    let is_new = match loaded.secret_key() {
        SecretKeySource::FileOrNew(path) => !path.exists(),
        _ => false,
    };
    // Reading opens no secret: a key that does not fit is of no matter to it.
    let reads = access == Access::Read && !is_new;
    let used = if reads { None } else { store::sealed_with(target).await? };
    let used: Vec<String> = used.unwrap_or_default().into_iter().map(|with| with.key).collect();
    if is_new && !used.is_empty() {
        // Another key in its place would hide that it is missing.
        return match (keys, access) {
            (Keys::Needed, Access::Write | Access::WriteIfFree) => Err(missing_keys(&used, &[]).into()),
            _ => Ok(Keyring::empty()),
        };
    }
    let keyring = match (keyring(loaded), keys) {
        (Err(error), Keys::Needed) if !used.is_empty() => {
            let why = error.why.clone().unwrap_or_default();
            return Err(error.why(format!("{why}\nstored credentials are sealed with {}", used.join(", "))));
        }
        (Err(_), Keys::Any) => Keyring::empty(),
        (keyring, _) => keyring?,
    };
    let have = keyring.key_ids();
    let missing: Vec<String> = used.into_iter().filter(|key| !have.contains(key)).collect();
    if keys == Keys::Needed && !missing.is_empty() {
        return Err(missing_keys(&missing, &have).into());
    }
    Ok(keyring)
}

/// The keys that seal secrets.
pub(super) fn keyring(loaded: &Loaded) -> Result<Keyring, CommandError> {
    let keyring = match loaded.secret_key() {
        SecretKeySource::Value(key) => Keyring::from_text(key.expose()),
        SecretKeySource::File(path) => Keyring::load(&path),
        SecretKeySource::Credential(path) => Keyring::of(KeySource::Credential(path)),
        SecretKeySource::FileOrNew(path) => Keyring::load_or_create(&path),
    };
    keyring.map_err(|e| {
        CommandError::new(ExitCode::Config, "secret_key", "the key of stored credentials cannot be used")
            .why(e.to_string())
    })
}

/// The apps that the settings name (`[oauth.CONNECTOR]`).
fn apps(config: &Config) -> BTreeMap<String, oauth::App> {
    let apps = config.oauth.0.iter().filter_map(|(connector, app)| {
        let scopes = app.scopes.as_ref().map(|text| text.split_whitespace().map(str::to_owned).collect());
        let app = oauth::App {
            client_id: app.client_id.clone()?,
            client_secret: app.client_secret.as_ref()?.expose().to_owned().into(),
            authorize_url: app.authorize_url.clone(),
            token_url: app.token_url.clone(),
            revoke_url: app.revoke_url.clone(),
            scopes,
        };
        Some((connector.clone(), app))
    });
    apps.collect()
}

/// Variables of this process's environment that say how the network is reached.
const OF_THE_NETWORK: [&str; 9] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
];

/// The programs that the settings allow (`[singer]`).
fn programs(app: &App, settings: &Singer) -> Programs {
    let env = app.env().iter().filter(|(name, _)| OF_THE_NETWORK.iter().any(|known| name == known));
    Programs {
        by_name: settings.taps.clone(),
        // A system that does not say where this program is has no keeper, and a tap is refused with that reason.
        keeper: std::env::current_exe()
            .map(|path| vec![path.into_os_string(), registry::KEEPER.into()])
            .unwrap_or_default(),
        env: env.cloned().collect(),
        memory: settings.memory_mb << 20,
        total: Duration::from_secs(settings.run_seconds),
        idle: Duration::from_secs(settings.idle_seconds),
        line: settings.line_bytes,
    }
}

fn services(
    app: &App,
    loaded: &Loaded,
    store: Arc<dyn Store>,
    keyring: Keyring,
) -> Result<Services, CommandError> {
    let http = HttpClient::new(connector_sdk::http::HttpConfig::default(), app.clock.clone())?;
    let providers =
        Providers::new(store.clone(), app.clock.clone(), http, Arc::new(keyring), app.connectors.0.clone())
            .with_apps(apps(&loaded.config))?
            .with_programs(&programs(app, &loaded.config.singer));
    let sync = &loaded.config.sync;
    let template = |kind, expression: &str| ScheduleTemplate {
        kind,
        expression: expression.to_owned(),
        time_zone: sync.time_zone.clone(),
    };
    Ok(Services {
        attributes: Arc::new(Attributes::new(store.clone(), app.clock.clone())),
        store,
        providers: Arc::new(providers),
        clock: app.clock.clone(),
        schedules: Arc::new(vec![
            template(RunKind::Incremental, &sync.incremental_schedule),
            template(RunKind::FullResync, &sync.full_schedule),
        ]),
        audit: (!sync.audit_schedule.is_empty()).then(|| AuditPlan {
            expression: sync.audit_schedule.clone(),
            time_zone: sync.time_zone.clone(),
            sample: sync.audit_sample,
            repair: sync.audit_repair,
        }),
        public_url: loaded
            .config
            .server
            .public_url
            .as_deref()
            .map(|url| url.trim_end_matches('/').to_owned()),
    })
}
