-- origins: the web origins that a publishable key is taken from, as a JSON list; NULL where the organisation's list
-- counts. expires_at: when the key stops working by itself. last_used_at: to the minute.
ALTER TABLE api_keys ADD COLUMN origins TEXT COLLATE "C";
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;

-- Sealed secrets of an organisation itself. A rotated one is accepted until expires_at, beside the one of the
-- next slot.
CREATE TABLE org_secrets (
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    slot BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (org_id, name, slot)
);
SELECT halo_sync_protect('org_secrets', false);
