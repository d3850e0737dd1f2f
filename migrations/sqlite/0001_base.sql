-- Times are unix microseconds, documents are JSON text, ids are prefixed text, money is minor units.
-- A record, a party and a reference are named `stream/id` (record_key, party_key, to_key, from_key).

CREATE TABLE orgs (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE connections (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES orgs (id),
    connector TEXT NOT NULL,
    name TEXT NOT NULL,
    account_id TEXT,
    account_name TEXT,
    mode TEXT NOT NULL,
    status TEXT NOT NULL,
    status_reason TEXT,
    config TEXT NOT NULL,
    limits TEXT NOT NULL,
    checked_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, name)
);

CREATE TABLE connection_secrets (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    slot BIGINT NOT NULL,
    sealed BLOB NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (connection_id, name, slot)
);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES orgs (id),
    class TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX api_keys_org ON api_keys (org_id, id);

-- placeholder: made from a provider's party, and nothing but parties hangs on it: it goes with its last link.
-- search: lower-case words, each with a space before it.
CREATE TABLE companies (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    external_id TEXT,
    source TEXT NOT NULL,
    placeholder BOOLEAN NOT NULL,
    name TEXT,
    domain TEXT,
    industry TEXT,
    plan TEXT,
    employee_count BIGINT,
    signed_up_at BIGINT,
    renewal_status TEXT,
    renewal_date TEXT,
    contract_term TEXT,
    contract_term_months BIGINT,
    payment_terms TEXT,
    on_contract BOOLEAN,
    mrr_minor BIGINT,
    arr_minor BIGINT,
    mrr_currency TEXT,
    team_size BIGINT,
    health_score BIGINT,
    last_contacted_at BIGINT,
    custom_fields TEXT NOT NULL,
    context TEXT NOT NULL,
    provenance TEXT NOT NULL,
    test BOOLEAN NOT NULL,
    search TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, external_id)
);
CREATE INDEX companies_org ON companies (org_id, id);

-- What parties are matched by.
CREATE TABLE company_keys (
    org_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    company_id TEXT NOT NULL,
    PRIMARY KEY (org_id, kind, value, company_id)
) WITHOUT ROWID;
CREATE INDEX company_keys_company ON company_keys (company_id);

-- matchable_email: the address in its normal form, unless a browser merely claimed it.
CREATE TABLE end_users (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    external_id TEXT,
    company_id TEXT,
    source TEXT NOT NULL,
    name TEXT,
    email TEXT,
    matchable_email TEXT,
    signed_up_at BIGINT,
    renewal_status TEXT,
    renewal_date TEXT,
    contract_term TEXT,
    payment_terms TEXT,
    on_contract BOOLEAN,
    mrr_minor BIGINT,
    arr_minor BIGINT,
    mrr_currency TEXT,
    custom_fields TEXT NOT NULL,
    context TEXT NOT NULL,
    provenance TEXT NOT NULL,
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
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    party_key TEXT NOT NULL,
    party_label TEXT,
    company_id TEXT,
    state TEXT NOT NULL,
    rule TEXT,
    reason TEXT,
    evidence TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, party_key)
);
CREATE INDEX company_links_company ON company_links (company_id);
CREATE INDEX company_links_org ON company_links (org_id, updated_at);

-- The reverse of evidence: which parties a company key decides.
CREATE TABLE link_candidates (
    org_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    party_key TEXT NOT NULL,
    PRIMARY KEY (org_id, kind, value, connection_id, party_key)
) WITHOUT ROWID;
CREATE INDEX link_candidates_party ON link_candidates (connection_id, party_key);

-- refs: the keys that this record's facts depend on, as JSON.
CREATE TABLE mirror_records (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    record_key TEXT NOT NULL,
    stream TEXT NOT NULL,
    party_key TEXT,
    hash TEXT NOT NULL,
    read_seq BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    deleted_at BIGINT,
    facts_version BIGINT NOT NULL,
    refs TEXT NOT NULL,
    facts TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (connection_id, record_key)
);
CREATE INDEX mirror_records_party ON mirror_records (connection_id, party_key) WHERE party_key IS NOT NULL;

-- Reverse of mirror_records.refs, without references to the record's own party. party_key: the party of
-- from_key, empty for a catalogue record.
CREATE TABLE record_refs (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    to_key TEXT NOT NULL,
    from_key TEXT NOT NULL,
    party_key TEXT NOT NULL,
    PRIMARY KEY (connection_id, to_key, from_key)
) WITHOUT ROWID;

-- Keys that a read found unchanged: proof for the sweep of a full pass, and against a slower, older read.
-- generation 0: outside a full pass; such notes are dropped when no read can be that old.
CREATE TABLE seen_notes (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    stream TEXT NOT NULL,
    generation BIGINT NOT NULL,
    read_seq BIGINT NOT NULL,
    record_keys TEXT NOT NULL,
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, stream, generation, read_seq)
);

CREATE TABLE rejected_records (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    record_key TEXT NOT NULL,
    stream TEXT NOT NULL,
    external_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, record_key)
);

-- start_seq: the read_seq at the pass's beginning; a row with a larger one was read since.
CREATE TABLE stream_passes (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    stream TEXT NOT NULL,
    generation BIGINT NOT NULL,
    completed_generation BIGINT NOT NULL,
    start_seq BIGINT NOT NULL,
    caught_up_at BIGINT,
    PRIMARY KEY (connection_id, stream)
);

CREATE TABLE checkpoints (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    stream TEXT NOT NULL,
    partition_id TEXT NOT NULL,
    spec TEXT NOT NULL,
    cursor TEXT,
    caught_up BOOLEAN NOT NULL,
    generation BIGINT NOT NULL,
    records BIGINT NOT NULL,
    total BIGINT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, stream, partition_id)
);

CREATE TABLE sync_runs (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    started_by TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX sync_runs_org ON sync_runs (org_id, id);
CREATE INDEX sync_runs_connection ON sync_runs (connection_id, id);

CREATE TABLE sync_run_streams (
    org_id TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES sync_runs (id) ON DELETE CASCADE,
    stream TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
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
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    error TEXT,
    received_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (connection_id, event_id)
);
CREATE INDEX deliveries_pending ON deliveries (connection_id, received_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_received ON deliveries (received_at);

-- reasons: each between bars (`|link||record:subscriptions|`).
CREATE TABLE dirty_companies (
    org_id TEXT NOT NULL,
    company_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    reasons TEXT NOT NULL,
    marked_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, company_id)
);
CREATE INDEX dirty_companies_marked ON dirty_companies (org_id, marked_at);

CREATE TABLE company_derivations (
    org_id TEXT NOT NULL,
    company_id TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL,
    inputs_hash TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- When a derived value next changes by the passing of time alone.
CREATE TABLE company_turns (
    org_id TEXT NOT NULL,
    company_id TEXT NOT NULL PRIMARY KEY,
    next_turn_at BIGINT NOT NULL
);
CREATE INDEX company_turns_due ON company_turns (next_turn_at);

CREATE TABLE field_changes (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    company_id TEXT NOT NULL,
    field TEXT NOT NULL,
    old_value TEXT NOT NULL,
    new_value TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    cause TEXT NOT NULL
);
CREATE INDEX field_changes_company ON field_changes (company_id, id);

-- The sequence that orders reads; on Postgres a sequence of the same name.
CREATE TABLE read_seq (value BIGINT NOT NULL);
INSERT INTO read_seq (value) VALUES (0);

INSERT INTO orgs (id, name, settings, created_at, updated_at) VALUES ('org_default', 'default', '{}', 0, 0);
