-- email_key: the address in its normal form, whoever said it. What a lead or a ticket is found by; parties are matched
-- by matchable_email alone.
ALTER TABLE end_users ADD COLUMN email_key TEXT;
UPDATE end_users SET email_key = lower(trim(email)) WHERE email IS NOT NULL AND length(email) <= 320;
CREATE INDEX end_users_email_key ON end_users (org_id, email_key) WHERE email_key IS NOT NULL;

-- Records of providers that went with a deleted company or user: what is read of them, or refers to them, is passed
-- over. Only digests are kept,
-- so that nothing of the deleted is.
CREATE TABLE erased_keys (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    key_digest TEXT NOT NULL,
    erased_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, connection_id, key_digest)
) WITHOUT ROWID;

-- As in 0004: what the planner believes.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('end_users', 'end_users_email_key', '500000 500000 1'),
    ('erased_keys', 'erased_keys', '10000 10000 5000 1');
ANALYZE sqlite_schema;
