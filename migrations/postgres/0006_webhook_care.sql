-- What a delivery named, as a JSON list of keys (`subscriptions/sub_1`), and the party that it was about: filled in
-- when it is finished. replays: how often a person had it processed again.
ALTER TABLE deliveries ADD COLUMN touched TEXT COLLATE "C";
ALTER TABLE deliveries ADD COLUMN party_key TEXT COLLATE "C";
ALTER TABLE deliveries ADD COLUMN replays BIGINT NOT NULL DEFAULT 0;
CREATE INDEX deliveries_party ON deliveries (connection_id, party_key, received_at) WHERE party_key IS NOT NULL;

-- The address at the provider that a connection's webhooks come through, as it was last seen. endpoint_id: the
-- provider's, NULL while none was found. made_by_us: registered through the API, so removed with the connection.
-- secret_slot: which of the connection's webhook secrets signs for it. faults: JSON list, empty when all is well.
CREATE TABLE webhook_endpoints (
    connection_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    org_id TEXT COLLATE "C" NOT NULL,
    endpoint_id TEXT COLLATE "C",
    url TEXT COLLATE "C" NOT NULL,
    made_by_us BOOLEAN NOT NULL,
    secret_slot BIGINT,
    faults TEXT COLLATE "C" NOT NULL,
    checked_at BIGINT NOT NULL
);
SELECT halo_sync_protect('webhook_endpoints', true);

-- Comparisons of the mirror with the provider. drift: records that differed; repaired: how many of them were read
-- again. report: counts by stream and what differed, as JSON.
CREATE TABLE audits (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    started_by TEXT COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    compared BIGINT NOT NULL,
    drift BIGINT NOT NULL,
    repaired BIGINT NOT NULL,
    report TEXT COLLATE "C" NOT NULL
);
CREATE INDEX audits_connection ON audits (connection_id, id);
SELECT halo_sync_protect('audits', false);
