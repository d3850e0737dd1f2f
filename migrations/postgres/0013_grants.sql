-- What an OAuth connection may do, and until when. Its tokens are sealed rows of connection_secrets (access_token,
-- refresh_token). version: grows with every renewed pair. state: good, or refused (a person must connect again; reason
-- says why). claim, claimed_until: who renews at the moment, by an id that is never used twice. interrupted: renewals
-- that were begun since and never ended. not_before: no renewal before then, after one that failed.
CREATE TABLE connection_grants (
    connection_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    org_id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    scopes TEXT COLLATE "C" NOT NULL,
    renewed_at BIGINT NOT NULL,
    renew_at BIGINT,
    expires_at BIGINT,
    claim TEXT COLLATE "C",
    claimed_until BIGINT,
    interrupted BIGINT NOT NULL,
    not_before BIGINT NOT NULL
);

-- Connections that wait for a person at the provider. state_digest: SHA-256 of the one-time state, hex. sealed: the
-- PKCE verifier, and secrets that the connection will get. status: open, taken, done, failed. outcome: JSON.
CREATE TABLE oauth_flows (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    connector TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    config TEXT COLLATE "C" NOT NULL,
    redirect_uri TEXT COLLATE "C" NOT NULL,
    state_digest TEXT COLLATE "C" NOT NULL UNIQUE,
    sealed BYTEA NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauth_flows_ended ON oauth_flows (org_id, expires_at);

SELECT halo_sync_protect('connection_grants', false);
SELECT halo_sync_protect('oauth_flows', true);
