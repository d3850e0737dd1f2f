//! Dirty marks: which companies' derivations may be out of date.

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::Timestamp;
use serde_json::json;

use super::{Conn, jobs};
use crate::domain::OrgId;
use crate::domain::jobs::NewJob;
use crate::store::Result;
use crate::store::convert::{json_list, us};
use crate::store::derivations::DERIVE_KIND;

statements! {
    // A mark that is made anew after a derivation cleared the last one starts at the time, so that a slower
    // derivation cannot mistake it for the mark that it read.
    MARK = concat!(
        "INSERT INTO dirty_companies (org_id, company_id, seq, reasons, marked_at)
        SELECT CAST($1 AS TEXT), value, CAST($3 AS BIGINT), CAST($4 AS TEXT), CAST($3 AS BIGINT) FROM",
        json_texts!("$2"),
        "WHERE true
        ON CONFLICT (org_id, company_id) DO UPDATE SET
            seq = CASE WHEN excluded.seq > dirty_companies.seq THEN excluded.seq ELSE dirty_companies.seq + 1 END,
            reasons = CASE
                WHEN replace(dirty_companies.reasons, excluded.reasons, '') <> dirty_companies.reasons
                THEN dirty_companies.reasons
                ELSE dirty_companies.reasons || excluded.reasons END");
}

/// Companies to be marked, by reason.
pub(crate) type Marks = BTreeMap<String, BTreeSet<String>>;

/// Adds a mark.
pub(crate) fn note(marks: &mut Marks, reason: &str, company: &str) {
    if let Some(companies) = marks.get_mut(reason) {
        companies.insert(company.to_owned());
    } else {
        marks.insert(reason.to_owned(), BTreeSet::from([company.to_owned()]));
    }
}

/// Writes the marks and pushes the organisation's derive job, due now. Answers how many companies were marked.
pub(crate) async fn mark(c: &mut Conn, org: &OrgId, marks: &Marks, at: Timestamp) -> Result<i64> {
    mark_for(c, org, marks, at, at).await
}

/// As [`mark`], with the time at which the job is due.
pub(crate) async fn mark_for(
    c: &mut Conn,
    org: &OrgId,
    marks: &Marks,
    at: Timestamp,
    due: Timestamp,
) -> Result<i64> {
    let distinct: BTreeSet<&String> = marks.values().flatten().collect();
    if distinct.is_empty() {
        return Ok(0);
    }
    for (reason, companies) in marks {
        // In the set's order: two transactions lock the rows that they share in the same sequence.
        sqlx::query(MARK)
            .bind(&org.0)
            .bind(json_list(companies))
            .bind(us(at))
            .bind(stored(reason))
            .execute(&mut *c)
            .await?;
    }
    push_derive(c, org, at, due).await?;
    Ok(i64::try_from(distinct.len()).unwrap_or(i64::MAX))
}

/// Pushes the job that derives an organisation's dirty companies; one waits at most, until the earliest time
/// that it was asked for.
pub(crate) async fn push_derive(c: &mut Conn, org: &OrgId, at: Timestamp, due: Timestamp) -> Result<()> {
    let job = NewJob {
        kind: DERIVE_KIND,
        org_id: org.clone(),
        connection_id: None,
        dedupe_key: Some(format!("derive:{org}")),
        args: json!({}),
        run_at: due,
        priority: 0,
        max_attempts: 10,
    };
    jobs::push_in(c, std::slice::from_ref(&job), at).await?;
    Ok(())
}

/// `|reason|`: bars cannot occur inside.
fn stored(reason: &str) -> String {
    format!("|{}|", reason.replace('|', "/"))
}

/// The distinct reasons of a stored mark, sorted.
pub(crate) fn reasons(stored: &str) -> Vec<String> {
    let set: BTreeSet<&str> = stored.split('|').filter(|reason| !reason.is_empty()).collect();
    set.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_back_distinct_and_sorted() {
        let text = [stored("record:subscriptions"), stored("link"), stored("a|b")].concat();
        assert_eq!(reasons(&text), ["a/b", "link", "record:subscriptions"]);
    }
}
