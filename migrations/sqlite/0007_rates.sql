-- Calls of provider accounts, which the processes that read one account share. The endpoint '' is the account's own
-- bucket. Tokens and rates are millionths of calls, times microseconds.
CREATE TABLE rate_buckets (
    account TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    rate BIGINT NOT NULL,
    filled_at BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL,
    refused_at BIGINT NOT NULL,
    urgency BIGINT NOT NULL,
    urgent_until BIGINT NOT NULL,
    processes TEXT NOT NULL,
    PRIMARY KEY (account, endpoint)
) WITHOUT ROWID;
