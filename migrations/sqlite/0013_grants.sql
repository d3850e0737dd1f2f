-- What an OAuth connection may do, and until when. Its tokens are sealed rows of connection_secrets (access_token,
-- refresh_token). version: grows with every renewed pair. state: good, or refused (a person must connect again; reason
-- says why). claim, claimed_until: who renews at the moment, by an id that is never used twice. interrupted: renewals
-- that were begun since and never ended. not_before: no renewal before then, after one that failed.
CREATE TABLE connection_grants (
    connection_id TEXT NOT NULL PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    org_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    scopes TEXT NOT NULL,
    renewed_at BIGINT NOT NULL,
    renew_at BIGINT,
    expires_at BIGINT,
    claim TEXT,
    claimed_until BIGINT,
    interrupted BIGINT NOT NULL,
    not_before BIGINT NOT NULL
);

-- Connections that wait for a person at the provider. state_digest: SHA-256 of the one-time state, hex. sealed: the
-- PKCE verifier, and secrets that the connection will get. status: open, taken, done, failed. outcome: JSON.
CREATE TABLE oauth_flows (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    connector TEXT NOT NULL,
    name TEXT NOT NULL,
    config TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    state_digest TEXT NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    status TEXT NOT NULL,
    outcome TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauth_flows_ended ON oauth_flows (org_id, expires_at);
