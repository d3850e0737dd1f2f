-- Calls of provider accounts, which the processes that read one account share. The endpoint '' is the account's own
-- bucket. Tokens and rates are millionths of calls, times microseconds.
CREATE TABLE rate_buckets (
    account TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    tokens BIGINT NOT NULL,
    rate BIGINT NOT NULL,
    filled_at BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL,
    refused_at BIGINT NOT NULL,
    urgency BIGINT NOT NULL,
    urgent_until BIGINT NOT NULL,
    processes TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (account, endpoint)
);

-- An account may be read by connections of several organisations: no organisation owns its bucket, and none sees it.
ALTER TABLE rate_buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE rate_buckets FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON rate_buckets TO halo_sync_system;
CREATE POLICY system ON rate_buckets TO halo_sync_system USING (true) WITH CHECK (true);
