//! What a person or a local command can ask the program to do, whichever process does it.
//!
//! One [`Request`], one [`Services::execute`]: a command that holds the database calls it directly; a command
//! beside a running `serve` sends the same request over loopback (`http::control`). Reading is not here:
//! every command reads through its own connection.

mod companies;
pub mod connections;
pub mod deliveries;
mod failure;
pub mod identity;
pub mod keys;
pub mod oauth;
pub mod orgs;
pub mod sealing;

use std::sync::Arc;

use connector_sdk::{Clock, RecordKey};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use deliveries::Deliveries;
pub use failure::{Failure, FailureKind};
pub use keys::KeyBounds;
pub use orgs::OrgChange;
pub use sealing::{SealStep, SealStepDone};

use crate::attributes::Attributes;
use crate::domain::attributes::AttributeName;
use crate::domain::connections::KeyClass;
use crate::domain::watch::Audit;
use crate::domain::{CompanyId, ConnectionId, JobId, KeyId, OrgId};
use crate::product::{ImportStep, Product};
use crate::store::Store;
use crate::store::attributes::AttributeChange;
use crate::sync::providers::Providers;

/// Something to be done. Serialised only between two processes of one machine, over loopback, because of the
/// secrets in [`Request::Connect`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Checks credentials, then saves a connection (or renews the one of that name) and starts its backfill.
    Connect(Connect),
    /// Begins a connection that a person grants at the provider.
    Authorize(Authorize),
    /// Checks the stored credentials again.
    CheckConnection {
        /// Id or name.
        connection: String,
    },
    /// Stops schedules and webhook processing; deliveries are still taken.
    PauseConnection {
        /// Id or name.
        connection: String,
    },
    /// Ends a pause.
    ResumeConnection {
        /// Id or name.
        connection: String,
    },
    /// Deletes a connection with everything that was read through it.
    RemoveConnection {
        /// Id or name.
        connection: String,
    },
    /// Makes a run.
    Sync {
        /// Id or name.
        connection: String,
        /// Read everything and drop what is gone.
        full: bool,
        /// Streams; empty for all.
        streams: Vec<String>,
    },
    /// Reads records again and stores them.
    Reread {
        /// Id or name.
        connection: String,
        /// Which records.
        keys: Vec<RecordKey>,
    },
    /// Keeps the result of an audit.
    KeepAudit {
        /// The result.
        audit: Box<Audit>,
    },
    /// Has deliveries processed again.
    ReplayDeliveries {
        /// Which.
        deliveries: Deliveries,
    },
    /// Makes the connection's webhook endpoint at the provider, or puts the one there is right.
    RegisterWebhook {
        /// Id or name.
        connection: String,
        /// How the world reaches us; nothing for the configured address.
        public_url: Option<String>,
    },
    /// Links a party by hand, or (without a company) says that it is nobody's.
    Link {
        /// Connection id or name.
        connection: String,
        /// The party.
        party: RecordKey,
        /// Our id, external id, or nothing.
        company: Option<String>,
    },
    /// Makes or updates a company by hand: these values win until they are released.
    SetCompany {
        /// Our id or the external id.
        company: String,
        /// Fields and traits.
        traits: Map<String, Value>,
    },
    /// Releases values that were set by hand.
    ReleaseCompany {
        /// Our id or the external id.
        company: String,
        /// Names.
        fields: Vec<String>,
    },
    /// Marks a company (or, without one, every company) for derivation.
    Rederive {
        /// Our id or the external id.
        company: Option<String>,
    },
    /// Makes an API key. The answer is the only time that it is shown.
    CreateKey {
        /// Publishable or server.
        class: KeyClass,
        /// A name for people.
        name: String,
    },
    /// Makes an API key that works from some origins only, or for a time. The answer is the only time that it is
    /// shown.
    CreateBoundKey {
        /// Publishable or server.
        class: KeyClass,
        /// A name for people.
        name: String,
        /// Where and how long it works.
        bounds: KeyBounds,
    },
    /// Makes a key in the place of another. The answer is the only time that it is shown.
    RotateKey {
        /// The other's id.
        key: KeyId,
        /// How long the other goes on working.
        overlap_seconds: u64,
    },
    /// Makes the organisation's identity secret. The answer is the only time that it is shown.
    CreateIdentitySecret,
    /// Makes an identity secret in the place of the one there is. The answer is the only time that it is shown.
    RotateIdentitySecret {
        /// How long the old one goes on being accepted.
        overlap_seconds: u64,
    },
    /// Makes an organisation.
    CreateOrg {
        /// Its id; nothing for a new one.
        id: Option<OrgId>,
        /// Its name, for people.
        name: String,
    },
    /// Changes an organisation.
    SetOrg {
        /// Which.
        id: OrgId,
        /// What changes.
        change: OrgChange,
    },
    /// Deletes an organisation with everything that is its.
    RemoveOrg {
        /// Which.
        id: OrgId,
    },
    /// Revokes an API key.
    RevokeKey {
        /// Its id.
        key: KeyId,
    },
    /// Says what an attribute means, and whether the prompt shows it; it need not have been seen.
    DescribeAttribute {
        /// Which.
        name: AttributeName,
        /// What it means; empty for nothing.
        description: String,
        /// Whether the prompt shows it; nothing leaves that as it is.
        in_prompt: Option<bool>,
    },
    /// Writes a batch of a file that is imported.
    Import {
        /// The batch.
        step: Box<ImportStep>,
        /// What amounts are in, ISO 4217.
        currency: Option<String>,
    },
    /// Seals stored secrets anew with the current key: one step.
    SealAnew {
        /// Which step.
        step: SealStep,
    },
    /// Takes the keys out of the key file that nothing is sealed with.
    RetireKeys,
    /// Deletes what is sealed with a key that is lost.
    ForgetKey {
        /// Its id.
        key: String,
    },
    /// Puts dead letters back.
    RetryJobs {
        /// Which; nothing for all.
        jobs: Option<Vec<JobId>>,
    },
}

/// A connection to be made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Connect {
    /// The connector.
    pub connector: String,
    /// A name, unique in the organisation.
    pub name: String,
    /// Settings, the `link` member included.
    pub config: Value,
    /// Secrets by name. Crosses loopback between two processes of one user, never a log or a job.
    #[serde(with = "secret_map")]
    pub secrets: Vec<(String, SecretString)>,
    /// Signing secrets of the webhook endpoint; empty keeps those there are.
    #[serde(with = "secret_list")]
    pub webhook_secrets: Vec<SecretString>,
    /// Whether to begin reading at once.
    pub backfill: bool,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("connector", &self.connector)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A connection that a person is to grant at the provider.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authorize {
    /// The connector.
    pub connector: String,
    /// A name, unique in the organisation.
    pub name: String,
    /// Settings, the `link` member included.
    pub config: Value,
    /// Signing secrets of the webhook endpoint; empty keeps those there are.
    #[serde(with = "secret_list")]
    pub webhook_secrets: Vec<SecretString>,
}

impl std::fmt::Debug for Authorize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorize")
            .field("connector", &self.connector)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Everything that carries a request out.
#[derive(Clone)]
pub struct Services {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Connectors, sessions, secrets.
    pub providers: Arc<Providers>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Schedules that a new connection gets.
    pub schedules: Arc<Vec<ScheduleTemplate>>,
    /// The daily audit that every connection gets.
    pub audit: Option<AuditPlan>,
    /// How the world reaches this installation, without a trailing slash, where that is set.
    pub public_url: Option<String>,
    /// Discovered attributes.
    pub attributes: Arc<Attributes>,
}

/// A schedule that every new connection gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleTemplate {
    /// What it starts.
    pub kind: crate::domain::runs::RunKind,
    /// Cron expression.
    pub expression: String,
    /// IANA time zone.
    pub time_zone: String,
}

/// When connections are audited, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPlan {
    /// Cron expression.
    pub expression: String,
    /// IANA time zone.
    pub time_zone: String,
    /// Records of the mirror that are compared each time.
    pub sample: u32,
    /// Whether what differs is read again.
    pub repair: bool,
}

impl Services {
    /// Carries a request out for an organisation. The answer is shaped for people's tools: stable names,
    /// no secrets but a new key's own text.
    pub async fn execute(&self, org: &OrgId, request: Request) -> Result<Value, Failure> {
        match request {
            Request::Connect(connect) => self.connect(org, connect, None).await,
            Request::Authorize(authorize) => self.authorize(org, authorize).await,
            Request::CheckConnection { connection } => self.check_connection(org, &connection).await,
            Request::PauseConnection { connection } => self.pause_connection(org, &connection, true).await,
            Request::ResumeConnection { connection } => self.pause_connection(org, &connection, false).await,
            Request::RemoveConnection { connection } => self.remove_connection(org, &connection).await,
            Request::Sync { connection, full, streams } => self.sync(org, &connection, full, streams).await,
            Request::Reread { connection, keys } => self.reread(org, &connection, &keys).await,
            Request::KeepAudit { audit } => {
                self.store.put_audit(org, &audit, crate::sync::audit::KEEP).await?;
                Ok(serde_json::json!({ "audit": audit.id }))
            }
            Request::ReplayDeliveries { deliveries } => self.replay(org, deliveries).await,
            Request::RegisterWebhook { connection, public_url } => {
                self.register_webhook(org, &connection, public_url.as_deref()).await
            }
            Request::Link { connection, party, company } => {
                self.link(org, &connection, &party, company.as_deref()).await
            }
            Request::SetCompany { company, traits } => self.set_company(org, &company, traits).await,
            Request::ReleaseCompany { company, fields } => self.release_company(org, &company, &fields).await,
            Request::Rederive { company } => self.rederive(org, company.as_deref()).await,
            Request::CreateKey { class, name } => {
                self.create_key(org, class, &name, KeyBounds::default()).await
            }
            Request::CreateBoundKey { class, name, bounds } => {
                self.create_key(org, class, &name, bounds).await
            }
            Request::RotateKey { key, overlap_seconds } => self.rotate_key(org, &key, overlap_seconds).await,
            Request::CreateIdentitySecret => self.create_identity_secret(org).await,
            Request::RotateIdentitySecret { overlap_seconds } => {
                self.rotate_identity_secret(org, overlap_seconds).await
            }
            Request::CreateOrg { id, name } => self.create_org(id, &name).await,
            Request::SetOrg { id, change } => self.set_org(&id, &change).await,
            Request::RemoveOrg { id } => self.remove_org(&id).await,
            Request::RevokeKey { key } => self.revoke_key(org, &key).await,
            Request::DescribeAttribute { name, description, in_prompt } => {
                let id = self.store.put_attribute(org, &name, self.clock.now()).await?;
                let description = Some(description).filter(|text| !text.trim().is_empty());
                let change = AttributeChange {
                    description: Some(description),
                    in_prompt: in_prompt.map(Some),
                    hidden: None,
                };
                self.store.change_attribute(org, &id, &change, None).await?;
                Ok(serde_json::json!({ "attribute": id }))
            }
            Request::Import { step, currency } => {
                let last = step.last;
                let state = self.product(currency.as_deref()).import(org, *step).await?;
                if last {
                    // A command's own process ends here, with nobody to write down later what was seen.
                    self.attributes.flush_org(org).await?;
                }
                Ok(serde_json::json!(state))
            }
            Request::SealAnew { step } => self.seal_step(&step).await,
            Request::RetireKeys => self.retire_keys().await,
            Request::ForgetKey { key } => self.forget_key(&key).await,
            Request::RetryJobs { jobs } => {
                let retried =
                    self.store.retry_dead_jobs(Some(org), jobs.as_deref(), self.clock.now()).await?;
                Ok(serde_json::json!({ "retried": retried }))
            }
        }
    }

    /// What writes users and companies; amounts are in that currency.
    pub fn product(&self, currency: Option<&str>) -> Product {
        Product::new(self.store.clone(), self.clock.clone(), currency).noting(self.attributes.clone())
    }

    /// The connection of that id or name, or an error that names those there are.
    pub async fn connection(
        &self,
        org: &OrgId,
        id_or_name: &str,
    ) -> Result<crate::domain::connections::Connection, Failure> {
        if let Some(found) = self.store.find_connection(org, id_or_name).await? {
            return Ok(found);
        }
        let known: Vec<_> =
            self.store.list_connections(Some(org)).await?.into_iter().map(|c| c.name).collect();
        let hint = if known.is_empty() {
            "No connection exists yet. Make one: halo-sync connect stripe --api-key-file FILE".to_owned()
        } else {
            format!("There are: {}", known.join(", "))
        };
        Err(Failure::not_found("connection_not_found", format!("no connection {id_or_name:?}")).hint(hint))
    }

    /// The company of that id, external id or (when only one has it) name.
    pub async fn company(
        &self,
        org: &OrgId,
        text: &str,
    ) -> Result<crate::domain::companies::Company, Failure> {
        companies::find(&*self.store, org, text).await
    }
}

/// The company of that id, external id or unique name: how every command names one.
pub use companies::find as find_company;

/// Ids that a link answer carries.
#[derive(Debug, Serialize)]
struct Linked<'a> {
    connection: &'a ConnectionId,
    party: &'a RecordKey,
    company: Option<&'a CompanyId>,
}

mod secret_list {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(secrets: &[SecretString], to: S) -> Result<S::Ok, S::Error> {
        secrets.iter().map(SecretString::expose_secret).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SecretString>, D::Error> {
        Vec::<SecretString>::deserialize(from)
    }
}

mod secret_map {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        secrets: &[(String, SecretString)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secrets.iter().map(|(name, s)| (name, s.expose_secret())).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, SecretString)>, D::Error> {
        Vec::<(String, SecretString)>::deserialize(from)
    }
}
