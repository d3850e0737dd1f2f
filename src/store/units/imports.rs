//! Batches of imports.

use super::{Conn, product};
use crate::domain::OrgId;
use crate::store::convert::{from_json, to_json, us};
use crate::store::imports::{ImportBatch, ImportState, ImportedBatch};
use crate::store::product::{Change, Outcome, Written};
use crate::store::{Result, StoreError};

statements! {
    FIND = "SELECT state FROM imports WHERE org_id = $1 AND id = $2";
    LOCK = concat!("SELECT state FROM imports WHERE org_id = $1 AND id = $2", for_update!());
    PUT = "INSERT INTO imports (org_id, id, state, updated_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (org_id, id) DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at";
}

pub(crate) async fn find(c: &mut Conn, org: &OrgId, id: &str) -> Result<Option<ImportState>> {
    read(c, FIND, org, id).await
}

async fn read(c: &mut Conn, sql: &'static str, org: &OrgId, id: &str) -> Result<Option<ImportState>> {
    let text: Option<String> = sqlx::query_scalar(sql).bind(&org.0).bind(id).fetch_optional(c).await?;
    text.map(|text| from_json("imports", "state", id, &text)).transpose()
}

pub(crate) async fn put(c: &mut Conn, org: &OrgId, batch: &ImportBatch) -> Result<ImportedBatch> {
    let before = &batch.before;
    let rows = u64::try_from(batch.writes.len() + batch.refused.len()).unwrap_or(u64::MAX);
    let stored = read(c, LOCK, org, &batch.id).await?;
    let begins = before.counts.rows() == 0;
    match stored {
        // Written already: its answer was lost.
        Some(stored)
            if stored.run == before.run
                && stored.counts.rows() == before.counts.rows() + rows
                && stored.digest == batch.digest =>
        {
            return Ok(ImportedBatch { state: stored, outcomes: Vec::new() });
        }
        Some(stored) if stored.run == before.run && stored.counts == before.counts => {}
        None if begins => {}
        Some(stored) if begins && stored.run != before.run => {}
        _ => {
            let text = "the import of this file is elsewhere: another process imports it, too";
            return Err(StoreError::Invalid(text.to_owned()));
        }
    }
    let writes: Vec<_> = batch.writes.iter().map(|(_, write)| write.clone()).collect();
    let outcomes = product::put(c, org, &writes).await?;
    let mut counts = before.counts;
    let mut rejects = batch.refused.clone();
    for ((row, _), outcome) in batch.writes.iter().zip(&outcomes) {
        match outcome {
            Outcome::Written(written) => match change(written) {
                Change::Created => counts.created += 1,
                Change::Updated => counts.updated += 1,
                Change::Unchanged => counts.unchanged += 1,
            },
            Outcome::Unknown(_) => counts.skipped += 1,
            Outcome::Refused(refused) => rejects.push((*row, refused.to_string())),
        }
    }
    counts.rejected += u64::try_from(rejects.len()).unwrap_or(u64::MAX);
    counts.duplicates += batch.duplicates;
    rejects.sort();
    let state = ImportState {
        run: before.run.clone(),
        options: before.options.clone(),
        counts,
        digest: batch.digest.clone(),
        rejects_bytes: batch.rejects_bytes,
        rejects,
        finished: batch.last,
    };
    sqlx::query(PUT)
        .bind(&org.0)
        .bind(&batch.id)
        .bind(to_json(&state)?)
        .bind(us(batch.at))
        .execute(c)
        .await?;
    Ok(ImportedBatch { state, outcomes })
}

/// What became of the record that a row is about: the user, where it names one and their company.
fn change(written: &Written) -> Change {
    match (&written.user, &written.company) {
        (Some((_, change)), _) => *change,
        (None, Some((_, change))) => *change,
        (None, None) => Change::Unchanged,
    }
}
