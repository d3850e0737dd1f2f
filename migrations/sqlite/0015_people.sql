-- person: the party is a person, of whom only the company is kept here; user_links says who it is.
ALTER TABLE company_links ADD COLUMN person BOOLEAN NOT NULL DEFAULT false;

-- Which end user a provider's person is. state: made (the user stands by such records alone), joined (the product
-- knows the user, too), ambiguous, unmatched. owner_key: the record of whoever of our side looks after the person.
-- evidence: what the record says, as JSON.
CREATE TABLE user_links (
    org_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    record_key TEXT NOT NULL,
    user_id TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    owner_key TEXT,
    evidence TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, record_key)
);
CREATE INDEX user_links_user ON user_links (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX user_links_owner ON user_links (connection_id, owner_key) WHERE owner_key IS NOT NULL;

-- The reverse of evidence: whose links an e-mail address decides.
CREATE TABLE user_candidates (
    org_id TEXT NOT NULL,
    email_key TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    record_key TEXT NOT NULL,
    PRIMARY KEY (org_id, email_key, connection_id, record_key)
) WITHOUT ROWID;
CREATE INDEX user_candidates_record ON user_candidates (connection_id, record_key);

-- As in 0004: what the planner believes.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('user_links', 'sqlite_autoindex_user_links_1', '500000 250000 1'),
    ('user_links', 'user_links_user', '500000 1'),
    ('user_links', 'user_links_owner', '500000 250000 1000'),
    ('user_candidates', 'user_candidates', '500000 500000 1 1 1'),
    ('user_candidates', 'user_candidates_record', '500000 250000 1');
ANALYZE sqlite_schema;
