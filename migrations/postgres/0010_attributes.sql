-- Every trait and context key that was ever seen, with what an organisation says about it. The n_ columns count values
-- by JSON type; claimed counts those that a publishable key sent. listed: up to 50 distinct short values as JSON, each
-- with the row that alone said it; more_values: there are more, or they are nobody's to see. sample comes from sample_row.
CREATE TABLE attributes (
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    scope TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    n_string BIGINT NOT NULL,
    n_number BIGINT NOT NULL,
    n_boolean BIGINT NOT NULL,
    n_list BIGINT NOT NULL,
    n_object BIGINT NOT NULL,
    n_null BIGINT NOT NULL,
    claimed BIGINT NOT NULL,
    mismatches BIGINT NOT NULL,
    listed TEXT COLLATE "C" NOT NULL,
    more_values BOOLEAN NOT NULL,
    sample TEXT COLLATE "C",
    sample_redacted BOOLEAN NOT NULL,
    sample_row TEXT COLLATE "C",
    label TEXT COLLATE "C",
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    description TEXT COLLATE "C",
    in_prompt BOOLEAN,
    hidden BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (org_id, scope, kind, key)
);
CREATE UNIQUE INDEX attributes_by_id ON attributes (org_id, id);

-- Keys that were not recorded because there were too many.
CREATE TABLE attribute_overflow (
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    scope TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    refused BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, scope, kind)
);

-- Fields that an organisation defines. options: the values of a select, as a JSON list.
CREATE TABLE custom_fields (
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    scope TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    options TEXT COLLATE "C" NOT NULL,
    strict BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, scope, key)
);
CREATE UNIQUE INDEX custom_fields_by_id ON custom_fields (org_id, id);

-- Answers to requests that came with an Idempotency-Key. status 0: the request is being worked on, until lease_until.
CREATE TABLE idempotency_keys (
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    api_key_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    body_hash TEXT COLLATE "C" NOT NULL,
    status BIGINT NOT NULL,
    headers TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    lease_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, api_key_id, key)
);
CREATE INDEX idempotency_keys_by_end ON idempotency_keys (org_id, expires_at);
SELECT halo_sync_protect('attributes', false);
SELECT halo_sync_protect('attribute_overflow', false);
SELECT halo_sync_protect('custom_fields', false);
SELECT halo_sync_protect('idempotency_keys', false);
