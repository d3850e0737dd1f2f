-- person: the party is a person, of whom only the company is kept here; user_links says who it is.
ALTER TABLE company_links ADD COLUMN person BOOLEAN NOT NULL DEFAULT false;

-- Which end user a provider's person is. state: made (the user stands by such records alone), joined (the product
-- knows the user, too), ambiguous, unmatched. owner_key: the record of whoever of our side looks after the person.
-- evidence: what the record says, as JSON.
CREATE TABLE user_links (
    org_id TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    record_key TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C",
    state TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    owner_key TEXT COLLATE "C",
    evidence TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (connection_id, record_key)
);
CREATE INDEX user_links_user ON user_links (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX user_links_owner ON user_links (connection_id, owner_key) WHERE owner_key IS NOT NULL;

-- The reverse of evidence: whose links an e-mail address decides.
CREATE TABLE user_candidates (
    org_id TEXT COLLATE "C" NOT NULL,
    email_key TEXT COLLATE "C" NOT NULL,
    connection_id TEXT COLLATE "C" NOT NULL,
    record_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org_id, email_key, connection_id, record_key)
);
CREATE INDEX user_candidates_record ON user_candidates (connection_id, record_key);

SELECT halo_sync_protect('user_links', false);
SELECT halo_sync_protect('user_candidates', false);
