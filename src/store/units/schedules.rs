//! Schedules, and the tick that is claimed once.

use sqlx::FromRow;

use super::{Conn, jobs};
use crate::domain::connections::Schedule;
use crate::domain::jobs::NewJob;
use crate::domain::{OrgId, ScheduleId};
use crate::store::convert::{clean, from_json, time, to_json, us};
use crate::store::{Result, StoreError};
use connector_sdk::Timestamp;

statements! {
    LIST_DUE = "SELECT * FROM schedules WHERE enabled AND next_run_at <= $1 ORDER BY next_run_at, id LIMIT 1000";
    LIST = "SELECT * FROM schedules WHERE ($1 IS NULL OR org_id = $1) ORDER BY org_id, id";
    CLAIM_TICK = "UPDATE schedules SET next_run_at = $3, last_run_at = $2
        WHERE id = $1 AND next_run_at = $2 AND enabled";
    PUT = "INSERT INTO schedules (id, org_id, connection_id, job_kind, args, expression, time_zone, next_run_at,
            last_run_at, enabled)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (id) DO UPDATE SET connection_id = excluded.connection_id, job_kind = excluded.job_kind,
            args = excluded.args, expression = excluded.expression, time_zone = excluded.time_zone,
            next_run_at = excluded.next_run_at, last_run_at = excluded.last_run_at, enabled = excluded.enabled
        WHERE schedules.org_id = excluded.org_id";
}

#[derive(FromRow)]
struct ScheduleRow {
    id: String,
    org_id: String,
    connection_id: Option<String>,
    job_kind: String,
    args: String,
    expression: String,
    time_zone: String,
    next_run_at: i64,
    last_run_at: Option<i64>,
    enabled: bool,
}

impl ScheduleRow {
    fn read(self) -> Result<Schedule> {
        Ok(Schedule {
            args: from_json("schedules", "args", &self.id, &self.args)?,
            id: self.id.into(),
            org_id: self.org_id.into(),
            connection_id: self.connection_id.map(Into::into),
            job_kind: self.job_kind,
            expression: self.expression,
            time_zone: self.time_zone,
            next_run_at: time(self.next_run_at),
            last_run_at: self.last_run_at.map(time),
            enabled: self.enabled,
        })
    }
}

pub(crate) async fn list_due_schedules(c: &mut Conn, now: Timestamp) -> Result<Vec<Schedule>> {
    let rows: Vec<ScheduleRow> = sqlx::query_as(LIST_DUE).bind(us(now)).fetch_all(c).await?;
    rows.into_iter().map(ScheduleRow::read).collect()
}

pub(crate) async fn list_schedules(c: &mut Conn, org: Option<&OrgId>) -> Result<Vec<Schedule>> {
    let rows: Vec<ScheduleRow> = sqlx::query_as(LIST).bind(org.map(OrgId::as_str)).fetch_all(c).await?;
    rows.into_iter().map(ScheduleRow::read).collect()
}

/// Moves the schedule from one tick to the next and inserts the job, or does neither.
pub(crate) async fn claim_tick(
    c: &mut Conn,
    schedule: &ScheduleId,
    expected: Timestamp,
    next: Timestamp,
    job: &NewJob,
    now: Timestamp,
) -> Result<bool> {
    let moved =
        sqlx::query(CLAIM_TICK).bind(&schedule.0).bind(us(expected)).bind(us(next)).execute(&mut *c).await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    jobs::push_in(c, std::slice::from_ref(job), now).await?;
    Ok(true)
}

pub(crate) async fn put_schedule(c: &mut Conn, x: &Schedule) -> Result<()> {
    let written = sqlx::query(PUT)
        .bind(&x.id.0)
        .bind(&x.org_id.0)
        .bind(x.connection_id.as_ref().map(|id| id.as_str()))
        .bind(clean(&x.job_kind))
        .bind(to_json(&x.args)?)
        .bind(clean(&x.expression))
        .bind(clean(&x.time_zone))
        .bind(us(x.next_run_at))
        .bind(x.last_run_at.map(us))
        .bind(x.enabled)
        .execute(c)
        .await?;
    if written.rows_affected() == 0 {
        return Err(StoreError::Invalid(format!("{} belongs to another organisation", x.id)));
    }
    Ok(())
}
