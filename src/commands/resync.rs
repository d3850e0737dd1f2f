//! `halo-sync sync --company` and `sync --since`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use connector_sdk::{ConnectorError, Priority, RecordKey, Timestamp};
use serde_json::{Map, Value, json};

use super::host::Host;
use super::sync::Args;
use super::{App, CommandError, ExitCode, diff, render};
use crate::domain::CompanyId;
use crate::domain::companies::Company;
use crate::domain::runs::Counts;
use crate::recompute::{Coming, Recompute};
use crate::service::deliveries::parties_of;
use crate::service::{Failure, Request, find_company};
use crate::store::identity::Lookup;
use crate::sync::SyncError;
use crate::sync::compare::{Comparer, Difference, Drift};
use crate::sync::resync::{Reading, read_company};

/// Records in one request to the process that writes.
const TOGETHER: usize = 200;
/// How often a company that another process derives is looked at, and for how long.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 600;

/// Reads everything of one company, shows what differs from what is stored, and stores it unless it is a dry run.
///
/// # Errors
///
/// An unknown company or connection; the provider's.
pub(super) async fn of_company(
    app: &App,
    host: &Host,
    company: &str,
    args: &Args,
) -> Result<ExitCode, CommandError> {
    let services = &host.services;
    let company = find_company(host.store(), &host.org, company).await?;
    let mut parties = parties_of(host.store(), &host.org, &company.id).await?;
    if let Some(connection) = &args.connection {
        let only = services.connection(&host.org, connection).await?.id;
        parties.retain(|id, _| *id == only);
    }
    if parties.is_empty() {
        return Err(CommandError::new(
            ExitCode::Failed,
            "no_parties",
            format!("no customer of a provider is company {}", company.id),
        )
        .try_this("halo-sync companies unmatched"));
    }
    let readings =
        read_company(host.store(), &services.providers, &host.org, parties).await.map_err(Failure::from)?;
    let recompute = Recompute::new(services.store.clone(), services.providers.clone(), host.derive.clone());
    let after = if args.dry_run {
        let coming = Coming::of(&services.providers, &readings, app.clock.now());
        recompute.foresee(&host.org, &company, &coming, app.clock.now()).await?
    } else {
        store(app, host, &readings, &company.id).await?;
        host.store().find_company(&host.org, &Lookup::Id(company.id.0.clone())).await?
    };
    let after = after.ok_or_else(|| CommandError::not_found(format_args!("company {}", company.id)))?;
    let prompt = host.prompt_of_org().await?;
    let (text_before, text_after) =
        (render::company_text(&prompt, company.clone()), render::company_text(&prompt, after.clone()));
    let fields = field_changes(&company, &after);
    let changes = readings.iter().map(|r| r.compared.different.len()).sum::<usize>();
    let rejected = readings.iter().map(|r| r.compared.rejected.len()).sum::<usize>();
    let answer = json!({
        "company": company.id,
        "name": company.fields.name,
        "connections": readings.iter().map(reading).collect::<Vec<_>>(),
        "fields": fields,
        "prompt": {
            "before": text_before,
            "after": text_after,
            "changed": text_before != text_after,
        },
        "written": !args.dry_run,
    });
    app.out.one(&answer, |_| describe(&readings, &fields, &text_before, &text_after))?;
    app.out.note(match args.dry_run {
        true => "Nothing was written.",
        false => "It is stored and derived.",
    });
    Ok(match () {
        () if args.dry_run && args.exit_code && changes > 0 => ExitCode::ChangesPending,
        () if rejected > 0 => ExitCode::RecordErrors,
        () => ExitCode::Ok,
    })
}

/// Has what differs read again and stored, and waits until the company is derived.
async fn store(
    app: &App,
    host: &Host,
    readings: &[Reading],
    company: &CompanyId,
) -> Result<(), CommandError> {
    for reading in readings {
        // A party first: its link decides what is derived of the others.
        let mut keys: Vec<RecordKey> =
            reading.compared.different.iter().map(|(key, _)| key.clone()).collect();
        keys.sort_by_key(|key| !reading.parties.contains(key));
        // What was rejected is kept aside by the process that writes.
        keys.extend(
            reading
                .compared
                .rejected
                .iter()
                .filter_map(|(name, _)| name.split_once('/').map(|(stream, id)| RecordKey::new(stream, id))),
        );
        let connection = &reading.connection.id.0;
        for piece in keys.chunks(TOGETHER) {
            host.execute(Request::Reread { connection: connection.clone(), keys: piece.to_vec() }).await?;
        }
    }
    let worker = if host.writes { Some(host.start_worker(app).await?) } else { None };
    let derived = until_derived(host, company).await;
    if let Some(worker) = worker {
        if derived.is_ok() && !host.on_postgres() {
            worker.drain().await;
        }
        worker.stop(Duration::from_secs(host.loaded.config.worker.shutdown_seconds)).await;
    }
    derived
}

async fn until_derived(host: &Host, company: &CompanyId) -> Result<(), CommandError> {
    for _ in 0..LOOKS {
        let inputs = host.store().load_company_inputs(&host.org, company).await?;
        if inputs.is_none_or(|inputs| inputs.dirty.is_none()) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(CommandError::new(
        ExitCode::TryLater,
        "not_derived",
        format!("{company} is stored, and nobody has derived it"),
    )
    .try_this("halo-sync serve   (jobs wait for a worker)"))
}

fn change_word(drift: Drift) -> &'static str {
    match drift {
        Drift::Missing => "created",
        Drift::Extra => "deleted",
        Drift::Different => "updated",
    }
}

fn record(difference: &Difference) -> Value {
    json!({
        "record": difference.record,
        "change": change_word(difference.drift),
        "pointers": difference.pointers,
    })
}

fn reading(reading: &Reading) -> Value {
    let compared = &reading.compared;
    json!({
        "connection": reading.connection.name,
        "parties": reading.parties.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "read": compared.records.len() + compared.gone.len(),
        "unchanged": compared.equal.len(),
        "records": compared.different.iter().map(|(_, d)| record(d)).collect::<Vec<_>>(),
        "rejected": compared.rejected.iter()
            .map(|(record, reason)| json!({ "record": record, "reason": reason }))
            .collect::<Vec<_>>(),
        "skipped": compared.skipped,
    })
}

/// What people and the prompt see of a company, by name.
fn values(company: &Company) -> Map<String, Value> {
    let mut all = match serde_json::to_value(&company.fields) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    all.retain(|_, value| !value.is_null());
    all.extend(company.custom_fields.clone());
    for (key, entry) in &company.context {
        all.insert(format!("context.{key}"), json!(entry));
    }
    all
}

fn field_changes(before: &Company, after: &Company) -> Vec<Value> {
    let (before, after) = (values(before), values(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| json!({ "field": name, "old": before.get(name), "new": after.get(name) }))
        .collect()
}

fn describe(readings: &[Reading], fields: &[Value], before: &str, after: &str) -> String {
    let mut lines = Vec::new();
    for reading in readings {
        let compared = &reading.compared;
        let parties = reading.parties.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        lines.push(format!(
            "{} ({parties}): {} records read, {} differ",
            reading.connection.name,
            compared.records.len() + compared.gone.len(),
            compared.different.len()
        ));
        for (_, difference) in &compared.different {
            let pointers = difference.pointers.join(" ");
            lines.push(
                format!("  {} {}  {pointers}", change_word(difference.drift), difference.record)
                    .trim_end()
                    .to_owned(),
            );
        }
        lines.extend(compared.rejected.iter().map(|(record, why)| format!("  rejected {record}: {why}")));
        lines.extend(compared.skipped.iter().map(|(stream, why)| format!("  skipped {stream}: {why}")));
    }
    if fields.is_empty() {
        lines.push("no field changes".to_owned());
    }
    for change in fields {
        let name = change["field"].as_str().unwrap_or_default();
        lines.push(format!("{name}: {} -> {}", change["old"], change["new"]));
    }
    if before == after {
        lines.push("the prompt stays as it is".to_owned());
    } else {
        lines.push("the prompt:".to_owned());
        lines.extend(diff::lines(before, after));
    }
    lines.join("\n")
}

/// How a read since an instant ended.
pub(super) enum Since {
    /// It is done.
    Done(ExitCode),
    /// The provider does not remember that far: everything must be read. Why, in words.
    Everything(String),
}

/// Reads what was created or changed since an instant, by the provider's own history.
///
/// # Errors
///
/// An unknown connection; the provider's.
pub(super) async fn since(
    app: &App,
    host: &Host,
    since: Timestamp,
    args: &Args,
) -> Result<Since, CommandError> {
    let services = &host.services;
    let connection = services.connection(&host.org, args.connection()).await?;
    let comparer = Comparer::open(host.store(), &services.providers, &connection, Priority::Incremental)
        .await
        .map_err(Failure::from)?;
    let mut seen: HashSet<RecordKey> = HashSet::new();
    let mut cursor = None;
    let mut counts = Counts::default();
    let mut skipped: BTreeMap<String, String> = BTreeMap::new();
    let mut differences: Vec<Difference> = Vec::new();
    loop {
        let page = match comparer.session.changed_since(since, cursor.as_ref()).await {
            Ok(page) => page,
            Err(ConnectorError::NotOffered(why)) => return Ok(Since::Everything(why)),
            Err(error) => return Err(Failure::from(error).into()),
        };
        let keys: Vec<RecordKey> = page.keys.into_iter().filter(|key| seen.insert(key.clone())).collect();
        for piece in keys.chunks(TOGETHER) {
            if args.dry_run {
                let found = comparer.keys(piece).await.map_err(Failure::from)?;
                counts.read += i64::try_from(found.records.len() + found.gone.len()).unwrap_or(i64::MAX);
                counts.unchanged += i64::try_from(found.equal.len()).unwrap_or(i64::MAX);
                counts.rejected += i64::try_from(found.rejected.len()).unwrap_or(i64::MAX);
                skipped.extend(found.skipped);
                for (_, difference) in found.different {
                    *match difference.drift {
                        Drift::Missing => &mut counts.created,
                        Drift::Extra => &mut counts.deleted,
                        Drift::Different => &mut counts.updated,
                    } += 1;
                    differences.push(difference);
                }
            } else {
                let request = Request::Reread { connection: connection.id.0.clone(), keys: piece.to_vec() };
                let answer = host.execute(request).await?;
                let some: Counts = serde_json::from_value(answer["counts"].clone()).unwrap_or_default();
                counts.add(&some);
                let passed: BTreeMap<String, String> =
                    serde_json::from_value(answer["skipped"].clone()).unwrap_or_default();
                skipped.extend(passed);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    drop(comparer);
    if !args.dry_run && host.writes {
        let worker = host.start_worker(app).await?;
        if !host.on_postgres() {
            worker.drain().await;
        }
        worker.stop(Duration::from_secs(host.loaded.config.worker.shutdown_seconds)).await;
    }
    let answer = json!({
        "connection": connection.name,
        "since": since,
        "named": seen.len(),
        "counts": counts,
        "skipped": skipped,
        "records": differences.iter().map(record).collect::<Vec<_>>(),
        "written": !args.dry_run,
    });
    app.out.one(&answer, |_| {
        let mut lines =
            vec![format!("{} records changed since {since}: {}", seen.len(), super::runs::changed(&counts))];
        lines.extend(differences.iter().map(|d| format!("  {} {}", change_word(d.drift), d.record)));
        lines.extend(skipped.iter().map(|(stream, why)| format!("  skipped {stream}: {why}")));
        lines.join("\n")
    })?;
    if args.dry_run {
        app.out.note("Nothing was written.");
    }
    let pending = counts.created + counts.updated + counts.deleted > 0;
    Ok(Since::Done(match () {
        () if args.dry_run && args.exit_code && pending => ExitCode::ChangesPending,
        () if counts.rejected > 0 => ExitCode::RecordErrors,
        () => ExitCode::Ok,
    }))
}

impl From<SyncError> for CommandError {
    fn from(error: SyncError) -> Self {
        Failure::from(error).into()
    }
}
