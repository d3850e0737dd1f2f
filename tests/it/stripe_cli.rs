//! Stripe's own command line (npm `@stripe/cli`, which nobody of this project wrote) fires at the sandbox Stripe,
//! and the built program hears of it.
//!
//! `stripe trigger EVENT` makes the calls that cause an event, and fails when one is refused. Each event must then
//! have been sent, signed, to the program, which must have dealt with it; what the program holds in the end must be
//! what the sandbox holds. The program is found by `tests/stripe_cli/setup.sh`; where that cannot make it, the test
//! is skipped with a notice, or fails where `HALO_SYNC_REQUIRE` names `stripe-cli`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox};
use halo_sync::domain::companies::Company;
use halo_sync::domain::{ConnectionId, OrgId};
use halo_sync::store::Store;
use serde_json::{Value, json};

use crate::support::installation::{LOOK, Program, Serving};
use crate::support::postgres::Database;
use crate::support::program::run;
use crate::support::required;
use crate::support::truth::{self, Known, Truth};

/// Making the environment may have to download.
const SETUP: Duration = Duration::from_secs(300);
const TRIGGER: Duration = Duration::from_secs(60);
/// From an event to what it comes to.
const EFFECT: Duration = Duration::from_secs(60);

/// The program, or why there is none. `None` where nobody insists on it.
fn stripe() -> Option<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let look = || {
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stripe_cli/setup.sh");
        let said = run(Command::new("sh").arg(&setup), SETUP).map_err(|e| format!("setup.sh: {e}"))?;
        let program = PathBuf::from(said.trim());
        if program.is_file() { Ok(program) } else { Err(format!("{} is no file", program.display())) }
    };
    match FOUND.get_or_init(look).clone() {
        Ok(program) => Some(program),
        Err(why) => {
            assert!(!required("stripe-cli"), "stripe-cli is required and missing: {why}");
            eprintln!("skipped: no Stripe command line here: {why}");
            None
        }
    }
}

/// The sandbox, and the built program that its webhooks go to.
struct Rig<'a> {
    stripe: PathBuf,
    home: tempfile::TempDir,
    sandbox: StripeSandbox,
    connection: ConnectionId,
    program: &'a Program,
    serving: Serving<'a>,
    store: std::sync::Arc<dyn Store>,
}

fn org() -> OrgId {
    OrgId::default_org()
}

impl<'a> Rig<'a> {
    async fn new(stripe: PathBuf, program: &'a Program) -> Self {
        // In two parts, so that no scanner takes it for somebody's key.
        let api_key = concat!("sk_test", "_1234567890123").to_owned();
        let options = Options { api_key, auto_deliver: true, ..Options::default() };
        let sandbox = StripeSandbox::start(options).await.unwrap();
        let path = program.connect(&sandbox.base_url(), sandbox.api_key(), sandbox.webhook_secret()).await;
        let connection = ConnectionId(path.rsplit('/').next().unwrap().to_owned());
        let mut serving = program.serve();
        serving.ready().await;
        sandbox.register_webhook(&format!("{}{path}", program.address()));
        let store = program.read().await;
        let home = tempfile::tempdir().unwrap();
        Self { stripe, home, sandbox, connection, program, serving, store }
    }

    /// Runs the command line.
    async fn fire(&self, event: &str, more: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.stripe);
        command
            .args([
                "trigger",
                event,
                "--api-base",
                &self.sandbox.base_url(),
                "--api-key",
                self.sandbox.api_key(),
            ])
            .args(more)
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("STRIPE_CLI_TELEMETRY_OPTOUT", "1")
            .current_dir(self.home.path());
        // The sandbox answers in this process: the thread must not be held.
        tokio::task::spawn_blocking(move || run(&mut command, TRIGGER)).await.unwrap()
    }

    /// Fires; the object of the event that was made.
    async fn trigger(&mut self, event: &str, more: &[&str]) -> Value {
        let before: BTreeSet<String> = self.sandbox.ids(Kind::Events).into_iter().collect();
        self.fire(event, more).await.unwrap_or_else(|e| panic!("trigger {event}: {e}"));
        let mut made: Vec<Value> = self
            .sandbox
            .ids(Kind::Events)
            .into_iter()
            .filter(|id| !before.contains(id))
            .map(|id| self.sandbox.object(Kind::Events, &id).unwrap())
            .collect();
        let kinds: Vec<String> = made.iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect();
        self.heard(event, &made).await;
        made.retain(|made| made["type"] == event);
        assert!(!made.is_empty(), "{event} was not made: {kinds:?}");
        made[0]["data"]["object"].clone()
    }

    /// Waits until every event has come in as a signed webhook and was dealt with.
    async fn heard(&mut self, what: &str, events: &[Value]) {
        let ids: BTreeSet<&str> = events.iter().map(|e| e["id"].as_str().unwrap()).collect();
        let until = Instant::now() + EFFECT;
        loop {
            let stored = self.store.list_deliveries(&org(), None, None, 100_000).await.unwrap();
            let ours: Vec<_> = stored.iter().filter(|d| ids.contains(d.event_id.as_str())).collect();
            if let Some(failed) = ours.iter().find(|d| d.state == "failed") {
                panic!("{what}: {} failed: {:?}", failed.kind, failed.error);
            }
            if ours.len() == ids.len() && ours.iter().all(|d| d.finished_at.is_some()) {
                // Only what the connector knows nothing of is set aside.
                let aside: BTreeSet<&str> =
                    ours.iter().filter(|d| d.state != "applied").map(|d| d.kind.as_str()).collect();
                for kind in aside {
                    let unknown = [
                        "payment_method.",
                        "payment_intent.",
                        "invoiceitem.",
                        "promotion_code.",
                        "customer.source.",
                    ];
                    assert!(
                        unknown.iter().any(|family| kind.starts_with(family)),
                        "{what}: {kind} changed nothing"
                    );
                }
                return;
            }
            self.serving.assert_lives();
            assert!(
                Instant::now() < until,
                "{what}: {} of {} events came in\n{}",
                ours.len(),
                ids.len(),
                self.program.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is stored of an object.
    async fn mirrored(&self, stream: &str, id: &Value) -> Option<Value> {
        let key = connector_sdk::RecordKey::new(stream, id.as_str().unwrap());
        let record = self.store.load_records(&org(), &self.connection, &[key]).await.unwrap().pop()?;
        record.deleted_at.is_none().then(|| serde_json::from_str(&record.payload).unwrap())
    }

    async fn companies(&self) -> Vec<Company> {
        self.store.list_companies(&org(), None, None, 10_000).await.unwrap().rows
    }

    /// Waits until a customer's company says so.
    async fn company_says(&mut self, customer: &Value, what: &str, says: impl Fn(&Company) -> bool) {
        let until = Instant::now() + EFFECT;
        loop {
            let companies = self.companies().await;
            let found = truth::find(&companies, customer.as_str().unwrap());
            if found.is_some_and(&says) {
                return;
            }
            self.serving.assert_lives();
            assert!(Instant::now() < until, "{what}: {found:#?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn lifetime_value(company: &Company) -> &Value {
    company.custom_fields.get("lifetime_value").unwrap_or(&Value::Null)
}

fn status(company: &Company) -> &Value {
    company.custom_fields.get("subscription_status").unwrap_or(&Value::Null)
}

/// Further events that the command line can fire and the sandbox knows; they only have to come and to leave the
/// mirror as the account is.
const MORE: [&str; 45] = [
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.updated",
    "charge.failed",
    "charge.refund.updated",
    "charge.succeeded",
    "coupon.deleted",
    "coupon.updated",
    "customer.discount.created",
    "customer.discount.deleted",
    "customer.discount.updated",
    "customer.source.created",
    "customer.source.updated",
    "customer.subscription.paused",
    "customer.subscription.trial_will_end",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.sent",
    "invoice.updated",
    "invoice.voided",
    "invoiceitem.created",
    "invoiceitem.deleted",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_method.attached",
    "payment_method.detached",
    "plan.created",
    "plan.deleted",
    "plan.updated",
    "price.updated",
    "product.deleted",
    "product.updated",
    "promotion_code.created",
    "promotion_code.updated",
    "subscription_schedule.canceled",
    "subscription_schedule.created",
    "subscription_schedule.released",
];

async fn fire(engine: &str, stripe: PathBuf, program: &Program) {
    let mut rig = Rig::new(stripe, program).await;
    let began = Instant::now();

    // A customer comes, changes, goes.
    let customer = rig.trigger("customer.created", &[]).await;
    let held = rig.mirrored("customers", &customer["id"]).await.expect("a row");
    assert_eq!(held["description"], "(created by Stripe CLI)");
    let customer = rig.trigger("customer.updated", &[]).await;
    assert_eq!(rig.mirrored("customers", &customer["id"]).await.unwrap()["metadata"]["foo"], "bar");
    let customer = rig.trigger("customer.deleted", &[]).await;
    assert_eq!(rig.mirrored("customers", &customer["id"]).await, None);

    // A subscription: 15.00 a month, paid at once.
    let subscription = rig.trigger("customer.subscription.created", &[]).await;
    rig.company_says(&subscription["customer"], "created", |c| {
        c.fields.mrr_minor == Some(1_500)
            && c.fields.plan.as_deref() == Some("myproduct")
            && lifetime_value(c) == "15.00 USD"
            && status(c) == "active"
    })
    .await;
    let subscription = rig.trigger("customer.subscription.updated", &[]).await;
    assert_eq!(rig.mirrored("subscriptions", &subscription["id"]).await.unwrap()["metadata"]["foo"], "bar");
    rig.company_says(&subscription["customer"], "updated", |c| c.fields.mrr_minor == Some(1_500)).await;
    let subscription = rig.trigger("customer.subscription.deleted", &[]).await;
    rig.company_says(&subscription["customer"], "deleted", |c| {
        c.fields.mrr_minor == Some(0) && lifetime_value(c) == "15.00 USD" && status(c) == "canceled"
    })
    .await;

    // A card that declines: an open invoice and a failed charge, and no money.
    let invoice = rig.trigger("invoice.payment_failed", &[]).await;
    let held = rig.mirrored("invoices", &invoice["id"]).await.unwrap();
    assert_eq!((&held["status"], &held["amount_remaining"]), (&json!("open"), &json!(2_000)));
    rig.company_says(&invoice["customer"], "unpaid", |c| {
        *lifetime_value(c) == json!(null) || lifetime_value(c) == "0.00 USD"
    })
    .await;
    let failed = rig.sandbox.ids(Kind::Charges)[0].clone();
    assert_eq!(rig.mirrored("charges", &json!(failed)).await.unwrap()["status"], "failed");

    // Money comes, goes back, is disputed: of a customer that has a subscription.
    let payer = rig.trigger("customer.subscription.created", &[]).await["customer"].clone();
    let of_payer = format!("payment_intent:customer={}", payer.as_str().unwrap());
    let of_payer = ["--override", of_payer.as_str()];
    let charge = rig.trigger("charge.refunded", &of_payer).await;
    let held = rig.mirrored("charges", &charge["id"]).await.unwrap();
    assert_eq!((&held["amount_refunded"], &held["refunded"]), (&json!(100), &json!(true)));
    rig.company_says(&payer, "refunded", |c| lifetime_value(c) == "15.00 USD").await;
    rig.trigger("charge.succeeded", &of_payer).await;
    rig.company_says(&payer, "paid", |c| lifetime_value(c) == "16.00 USD").await;
    // What the command line calls a dispute is an inquiry, which takes no money.
    let dispute = rig.trigger("charge.dispute.created", &of_payer).await;
    assert_eq!(rig.mirrored("disputes", &dispute["id"]).await.unwrap()["status"], "warning_needs_response");
    assert_eq!(rig.mirrored("charges", &dispute["charge"]).await.unwrap()["disputed"], true);
    rig.company_says(&payer, "asked about", |c| lifetime_value(c) == "17.00 USD").await;
    let withdrawn =
        [of_payer[0], of_payer[1], "--override", "payment_intent:payment_method=pm_card_createDispute"];
    rig.trigger("charge.dispute.created", &withdrawn).await;
    rig.trigger("charge.succeeded", &of_payer).await;
    rig.company_says(&payer, "disputed", |c| lifetime_value(c) == "18.00 USD").await;

    // The catalogue.
    for (event, stream, member, value) in [
        ("price.created", "prices", "unit_amount", json!(1_500)),
        ("product.created", "products", "name", json!("myproduct")),
        ("coupon.created", "coupons", "percent_off", json!(20.0)),
    ] {
        let object = rig.trigger(event, &[]).await;
        assert_eq!(rig.mirrored(stream, &object["id"]).await.unwrap()[member], value, "{event}");
    }
    let schedule = rig.trigger("subscription_schedule.updated", &[]).await;
    let held = rig.mirrored("subscription_schedules", &schedule["id"]).await.unwrap();
    assert_eq!((&held["metadata"]["foo"], &held["status"]), (&json!("bar"), &json!("active")));
    rig.company_says(&schedule["customer"], "scheduled", |c| c.fields.mrr_minor == Some(1_500)).await;

    for event in MORE {
        rig.trigger(event, &[]).await;
    }
    let refused = rig.fire("quote.created", &[]).await;
    assert!(
        refused.is_err_and(|e| e.contains("Unrecognized request URL")),
        "a refused call fails the trigger"
    );

    // All in all: what is held is what is there.
    let all = rig.sandbox.ids(Kind::Events);
    let all: Vec<Value> = all.iter().map(|id| rig.sandbox.object(Kind::Events, id).unwrap()).collect();
    rig.heard("everything", &all).await;
    let truth = Truth::of(&rig.sandbox);
    let complaints = truth.mirror_complaints(&*rig.store, &org(), &rig.connection).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let until = Instant::now() + EFFECT;
    loop {
        let known = Known::of(&*rig.store, &org()).await;
        let complaints = truth.company_complaints(&rig.companies().await, &rig.connection, &known);
        if complaints.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "{}", complaints.join("\n"));
        tokio::time::sleep(LOOK).await;
    }
    eprintln!(
        "stripe-cli on {engine}: {} events fired in {:.0?}",
        rig.sandbox.count(Kind::Events),
        began.elapsed()
    );
    rig.store.close().await;
    let (status, _) = rig.serving.stop(EFFECT).await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripes_command_line_fires_arrives_on_sqlite() {
    let Some(stripe) = stripe() else { return };
    let program = Program::new(None);
    fire("SQLite", stripe, &program).await;
    program.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripes_command_line_fires_arrives_on_postgres() {
    let Some(stripe) = stripe() else { return };
    let Some(database) = Database::empty().await else { return };
    let program = Program::new(Some(database));
    fire("Postgres", stripe, &program).await;
    program.remove().await;
}
