-- Times are unix microseconds, documents are JSON text, ids are prefixed text, money is minor units.
-- A record, a party and a reference are named `stream/id` (record_key, party_key, to_key, from_key).

CREATE TABLE orgs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    settings TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE connections (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id),
    connector TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    account_id TEXT COLLATE "C",
    account_name TEXT COLLATE "C",
    mode TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    status_reason TEXT COLLATE "C",
    config TEXT COLLATE "C" NOT NULL,
    limits TEXT COLLATE "C" NOT NULL,
    checked_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, name)
);

CREATE TABLE connection_secrets (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    slot BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (connection_id, name, slot)
);

CREATE TABLE api_keys (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id),
    class TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    prefix TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX api_keys_org ON api_keys (org_id, id);

-- placeholder: made from a provider's party, and nothing but parties hangs on it: it goes with its last link.
-- search: lower-case words, each with a space before it.
CREATE TABLE companies (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C",
    source TEXT COLLATE "C" NOT NULL,
    placeholder BOOLEAN NOT NULL,
    name TEXT COLLATE "C",
    domain TEXT COLLATE "C",
    industry TEXT COLLATE "C",
    plan TEXT COLLATE "C",
    employee_count BIGINT,
    signed_up_at BIGINT,
    renewal_status TEXT COLLATE "C",
    renewal_date TEXT COLLATE "C",
    contract_term TEXT COLLATE "C",
    contract_term_months BIGINT,
    payment_terms TEXT COLLATE "C",
    on_contract BOOLEAN,
    mrr_minor BIGINT,
    arr_minor BIGINT,
    mrr_currency TEXT COLLATE "C",
    team_size BIGINT,
    health_score BIGINT,
    last_contacted_at BIGINT,
    custom_fields TEXT COLLATE "C" NOT NULL,
    context TEXT COLLATE "C" NOT NULL,
    provenance TEXT COLLATE "C" NOT NULL,
    test BOOLEAN NOT NULL,
    search TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, external_id)
);
CREATE INDEX companies_org ON companies (org_id, id);

-- What parties are matched by.
CREATE TABLE company_keys (
    org_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org_id, kind, value, company_id)
);
CREATE INDEX company_keys_company ON company_keys (company_id);

-- matchable_email: the address in its normal form, unless a browser merely claimed it.
CREATE TABLE end_users (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C",
    company_id TEXT COLLATE "C",
    source TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C",
    email TEXT COLLATE "C",
    matchable_email TEXT COLLATE "C",
    signed_up_at BIGINT,
    renewal_status TEXT COLLATE "C",
    renewal_date TEXT COLLATE "C",
    contract_term TEXT COLLATE "C",
    payment_terms TEXT COLLATE "C",
    on_contract BOOLEAN,
    mrr_minor BIGINT,
    arr_minor BIGINT,
    mrr_currency TEXT COLLATE "C",
    custom_fields TEXT COLLATE "C" NOT NULL,
    context TEXT COLLATE "C" NOT NULL,
    provenance TEXT COLLATE "C" NOT NULL,
    first_seen BIGINT,
    last_seen BIGINT,
    is_test BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, external_id)
);
CREATE INDEX end_users_org ON end_users (org_id, id);
CREATE INDEX end_users_company ON end_users (company_id, id);
CREATE INDEX end_users_email ON end_users (company_id, matchable_email);

-- evidence: the party's candidates and what to make when none matches, so that a link can be decided again.
CREATE TABLE company_links (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    party_key TEXT COLLATE "C" NOT NULL,
    party_label TEXT COLLATE "C",
    company_id TEXT COLLATE "C",
    state TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C",
    reason TEXT COLLATE "C",
    evidence TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, party_key)
);
CREATE INDEX company_links_company ON company_links (company_id);
CREATE INDEX company_links_org ON company_links (org_id, updated_at);

-- The reverse of evidence: which parties a company key decides.
CREATE TABLE link_candidates (
    org_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    party_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org_id, kind, value, connection_id, party_key)
);
CREATE INDEX link_candidates_party ON link_candidates (connection_id, party_key);

-- refs: the keys that this record's facts depend on, as JSON.
CREATE TABLE mirror_records (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    record_key TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    party_key TEXT COLLATE "C",
    hash TEXT COLLATE "C" NOT NULL,
    read_seq BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    deleted_at BIGINT,
    facts_version BIGINT NOT NULL,
    refs TEXT COLLATE "C" NOT NULL,
    facts TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (connection_id, record_key)
);
CREATE INDEX mirror_records_party ON mirror_records (connection_id, party_key) WHERE party_key IS NOT NULL;

-- Reverse of mirror_records.refs, without references to the record's own party. party_key: the party of
-- from_key, empty for a catalogue record.
CREATE TABLE record_refs (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    to_key TEXT COLLATE "C" NOT NULL,
    from_key TEXT COLLATE "C" NOT NULL,
    party_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (connection_id, to_key, from_key)
);

-- Keys that a read found unchanged: proof for the sweep of a full pass, and against a slower, older read.
-- generation 0: outside a full pass; such notes are dropped when no read can be that old.
CREATE TABLE seen_notes (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    read_seq BIGINT NOT NULL,
    record_keys TEXT COLLATE "C" NOT NULL,
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, stream, generation, read_seq)
);

CREATE TABLE rejected_records (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    record_key TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, record_key)
);

-- start_seq: the read_seq at the pass's beginning; a row with a larger one was read since.
CREATE TABLE stream_passes (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    stream TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    completed_generation BIGINT NOT NULL,
    start_seq BIGINT NOT NULL,
    caught_up_at BIGINT,
    PRIMARY KEY (connection_id, stream)
);

CREATE TABLE checkpoints (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    stream TEXT COLLATE "C" NOT NULL,
    partition_id TEXT COLLATE "C" NOT NULL,
    spec TEXT COLLATE "C" NOT NULL,
    cursor TEXT COLLATE "C",
    caught_up BOOLEAN NOT NULL,
    generation BIGINT NOT NULL,
    records BIGINT NOT NULL,
    total BIGINT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, stream, partition_id)
);

CREATE TABLE sync_runs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    kind TEXT COLLATE "C" NOT NULL,
    started_by TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    error TEXT COLLATE "C",
    started_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX sync_runs_org ON sync_runs (org_id, id);
CREATE INDEX sync_runs_connection ON sync_runs (connection_id, id);

CREATE TABLE sync_run_streams (
    org_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL REFERENCES sync_runs (id) ON DELETE CASCADE,
    stream TEXT COLLATE "C" NOT NULL,
    ordinal BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    pages BIGINT NOT NULL,
    records_read BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    stale BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    PRIMARY KEY (run_id, stream)
);

CREATE TABLE deliveries (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    error TEXT COLLATE "C",
    received_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (connection_id, event_id)
);
CREATE INDEX deliveries_pending ON deliveries (connection_id, received_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_received ON deliveries (received_at);

-- reasons: each between bars (`|link||record:subscriptions|`).
CREATE TABLE dirty_companies (
    org_id TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    reasons TEXT COLLATE "C" NOT NULL,
    marked_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, company_id)
);
CREATE INDEX dirty_companies_marked ON dirty_companies (org_id, marked_at);

CREATE TABLE company_derivations (
    org_id TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    document TEXT COLLATE "C" NOT NULL,
    inputs_hash TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL
);

-- When a derived value next changes by the passing of time alone.
CREATE TABLE company_turns (
    org_id TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    next_turn_at BIGINT NOT NULL
);
CREATE INDEX company_turns_due ON company_turns (next_turn_at);

CREATE TABLE field_changes (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL,
    field TEXT COLLATE "C" NOT NULL,
    old_value TEXT COLLATE "C" NOT NULL,
    new_value TEXT COLLATE "C" NOT NULL,
    changed_at BIGINT NOT NULL,
    cause TEXT COLLATE "C" NOT NULL
);
CREATE INDEX field_changes_company ON field_changes (company_id, id);

CREATE SEQUENCE read_seq;

INSERT INTO orgs (id, name, settings, created_at, updated_at) VALUES ('org_default', 'default', '{}', 0, 0);

-- Puts a table behind row-level security: the app role sees the organisation that its transaction is bound
-- to; the system role sees everything, and only on tables that are cross-organisation by nature.
CREATE FUNCTION halo_sync_protect(target REGCLASS, cross_org BOOLEAN, org_column TEXT DEFAULT 'org_id')
RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO halo_sync_app', target);
    EXECUTE format(
        'CREATE POLICY org ON %s TO halo_sync_app
         USING (%I = (SELECT current_setting(''halo_sync.org_id'', true)))
         WITH CHECK (%I = (SELECT current_setting(''halo_sync.org_id'', true)))',
        target, org_column, org_column);
    IF cross_org THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO halo_sync_system', target);
        EXECUTE format('CREATE POLICY system ON %s TO halo_sync_system USING (true) WITH CHECK (true)', target);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION halo_sync_protect(REGCLASS, BOOLEAN, TEXT) FROM PUBLIC;

GRANT USAGE ON SEQUENCE read_seq TO halo_sync_app, halo_sync_system;

SELECT halo_sync_protect('orgs', true, 'id');
SELECT halo_sync_protect('connections', true);
SELECT halo_sync_protect('connection_secrets', false);
SELECT halo_sync_protect('api_keys', true);
SELECT halo_sync_protect('companies', false);
SELECT halo_sync_protect('company_keys', false);
SELECT halo_sync_protect('end_users', false);
SELECT halo_sync_protect('company_links', false);
SELECT halo_sync_protect('link_candidates', false);
SELECT halo_sync_protect('mirror_records', false);
SELECT halo_sync_protect('record_refs', false);
SELECT halo_sync_protect('seen_notes', false);
SELECT halo_sync_protect('rejected_records', false);
SELECT halo_sync_protect('stream_passes', false);
SELECT halo_sync_protect('checkpoints', false);
SELECT halo_sync_protect('sync_runs', false);
SELECT halo_sync_protect('sync_run_streams', false);
SELECT halo_sync_protect('deliveries', true);
SELECT halo_sync_protect('dirty_companies', true);
SELECT halo_sync_protect('company_derivations', false);
SELECT halo_sync_protect('company_turns', true);
SELECT halo_sync_protect('field_changes', false);
