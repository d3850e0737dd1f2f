//! Which of the program's names the job engine uses.

pub(super) use crate::telemetry::metric::{
    JOB_CLAIMS_LOST as LOST, JOB_RUNS as RUNS, JOB_SECONDS as RUN_SECONDS, JOB_WAIT as WAIT_SECONDS,
};
pub(super) use crate::telemetry::span::JOB as RUN_SPAN;
