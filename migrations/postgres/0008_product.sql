-- email_key: the address in its normal form, whoever said it. What a lead or a ticket is found by; parties are matched
-- by matchable_email alone.
ALTER TABLE end_users ADD COLUMN email_key TEXT COLLATE "C";
-- The migration's user owns the table and is bound by its policies as long as they are forced.
ALTER TABLE end_users NO FORCE ROW LEVEL SECURITY;
UPDATE end_users SET email_key = lower(trim(email)) WHERE email IS NOT NULL AND length(email) <= 320;
ALTER TABLE end_users FORCE ROW LEVEL SECURITY;
CREATE INDEX end_users_email_key ON end_users (org_id, email_key) WHERE email_key IS NOT NULL;

-- Records of providers that went with a deleted company or user: what is read of them, or refers to them, is passed
-- over. Only digests are kept,
-- so that nothing of the deleted is.
CREATE TABLE erased_keys (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    key_digest TEXT COLLATE "C" NOT NULL,
    erased_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, connection_id, key_digest)
);
SELECT halo_sync_protect('erased_keys', false);
