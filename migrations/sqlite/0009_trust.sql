-- origins: the web origins that a publishable key is taken from, as a JSON list; NULL where the organisation's list
-- counts. expires_at: when the key stops working by itself. last_used_at: to the minute.
ALTER TABLE api_keys ADD COLUMN origins TEXT;
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;

-- Sealed secrets of an organisation itself. A rotated one is accepted until expires_at, beside the one of the
-- next slot.
CREATE TABLE org_secrets (
    org_id TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    slot BIGINT NOT NULL,
    sealed BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (org_id, name, slot)
);
