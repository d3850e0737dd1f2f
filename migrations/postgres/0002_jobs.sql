-- Jobs that wait or run. Finished ones move to finished_jobs, so that this table stays as small as the backlog.
-- lane: kind/org/connection, what takes turns. due: its time has come (rows are marked in passing, so that the
-- claim looks at nothing that is not due). claim: counts claims, the fence. suspicion: 0 none; 1 its process
-- died while it ran; 2 so it did while the job ran alone, and the job was charged.
CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C",
    kind TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    dedupe_key TEXT COLLATE "C",
    args TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    due BOOLEAN NOT NULL,
    run_at BIGINT NOT NULL,
    pushed_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    claim BIGINT NOT NULL,
    suspicion BIGINT NOT NULL,
    worker TEXT COLLATE "C",
    claimed_at BIGINT,
    lease_until BIGINT
);
-- At most one waits, at most one runs.
CREATE UNIQUE INDEX jobs_key_waiting ON jobs (org_id, dedupe_key) WHERE state = 'ready';
CREATE UNIQUE INDEX jobs_key_running ON jobs (org_id, dedupe_key) WHERE state = 'running';
CREATE INDEX jobs_turn ON jobs (lane, priority, run_at, id) WHERE state = 'ready' AND due AND suspicion = 0;
CREATE INDEX jobs_suspect ON jobs (run_at, id) WHERE state = 'ready' AND due AND suspicion > 0;
CREATE INDEX jobs_later ON jobs (run_at) WHERE state = 'ready' AND NOT due;
CREATE INDEX jobs_lease ON jobs (lease_until) WHERE state = 'running';

-- Pushes that met a waiting job with their key. A claim of that job takes them with it; those that were not yet
-- committed then are left over and become a job of their own: no touch is swallowed, and no pusher waits for
-- another's commit. Only filled where writers are concurrent (Postgres).
CREATE TABLE job_touches (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C",
    kind TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    dedupe_key TEXT COLLATE "C" NOT NULL,
    args TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    pushed_at BIGINT NOT NULL
);
CREATE INDEX job_touches_key ON job_touches (org_id, dedupe_key);

-- state: done, merged (into a waiting job with its key), dead (a dead letter, kept until it is retried).
CREATE TABLE finished_jobs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C",
    kind TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    dedupe_key TEXT COLLATE "C",
    args TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    pushed_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    claim BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    error TEXT COLLATE "C"
);
CREATE INDEX finished_jobs_state ON finished_jobs (state, finished_at);

-- outcome: done, snoozed, failed, discarded, lost (the process died), released (a graceful stop).
CREATE TABLE job_attempts (
    job_id TEXT COLLATE "C" NOT NULL,
    claim BIGINT NOT NULL,
    org_id TEXT COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    error TEXT COLLATE "C",
    PRIMARY KEY (job_id, claim)
);

CREATE TABLE schedules (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" REFERENCES connections (id) ON DELETE CASCADE,
    job_kind TEXT COLLATE "C" NOT NULL,
    args TEXT COLLATE "C" NOT NULL,
    expression TEXT COLLATE "C" NOT NULL,
    time_zone TEXT COLLATE "C" NOT NULL,
    next_run_at BIGINT NOT NULL,
    last_run_at BIGINT,
    enabled BOOLEAN NOT NULL
);
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE enabled;
CREATE INDEX schedules_org ON schedules (org_id, id);

SELECT halo_sync_protect('jobs', true);
SELECT halo_sync_protect('job_touches', true);
SELECT halo_sync_protect('finished_jobs', true);
SELECT halo_sync_protect('job_attempts', true);
SELECT halo_sync_protect('schedules', true);
