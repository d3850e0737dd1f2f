-- What a chat's view is told apart by: counted up with every change of the row.
ALTER TABLE end_users ADD COLUMN version BIGINT NOT NULL DEFAULT 0;

-- user_id, company_id: ours; NULL while nobody is known. user_rank: whose word the user is. sentiment: millionths,
-- from -1,000,000 to 1,000,000; sentiment_rank, rating_rank: whose word they are. active_at: its newest message.
CREATE TABLE conversations (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C",
    session_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    user_rank TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C",
    mode TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C",
    sentiment BIGINT,
    sentiment_rank TEXT COLLATE "C",
    rating TEXT COLLATE "C",
    rating_rank TEXT COLLATE "C",
    source TEXT COLLATE "C" NOT NULL,
    message_count BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    active_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, external_id)
);
CREATE INDEX conversations_user ON conversations (user_id, active_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX conversations_company ON conversations (company_id, active_at, id) WHERE company_id IS NOT NULL;
CREATE INDEX conversations_session ON conversations (org_id, session_id, id) WHERE session_id IS NOT NULL;
SELECT halo_sync_protect('conversations', false);

-- complete: false for an answer that broke off. claimed: a browser says that this was said.
CREATE TABLE messages (
    org_id TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    ordinal BIGINT NOT NULL,
    external_id TEXT COLLATE "C",
    role TEXT COLLATE "C" NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    complete BOOLEAN NOT NULL,
    claimed BOOLEAN NOT NULL,
    sent_at BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, ordinal),
    UNIQUE (conversation_id, external_id)
);
SELECT halo_sync_protect('messages', false);

CREATE TABLE tickets (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    external_id TEXT COLLATE "C",
    session_id TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    user_rank TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL,
    priority TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    message TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    source TEXT COLLATE "C" NOT NULL,
    closed_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, external_id)
);
CREATE INDEX tickets_user ON tickets (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX tickets_company ON tickets (company_id, created_at, id) WHERE company_id IS NOT NULL;
CREATE INDEX tickets_session ON tickets (org_id, session_id) WHERE user_id IS NULL;
SELECT halo_sync_protect('tickets', false);

CREATE TABLE user_events (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C",
    session_id TEXT COLLATE "C",
    event_type TEXT COLLATE "C" NOT NULL,
    element_selector TEXT COLLATE "C",
    page_url TEXT COLLATE "C",
    metadata TEXT COLLATE "C",
    created_at BIGINT NOT NULL
);
CREATE INDEX user_events_user ON user_events (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX user_events_session ON user_events (org_id, session_id) WHERE user_id IS NULL;
CREATE INDEX user_events_created ON user_events (org_id, created_at);
SELECT halo_sync_protect('user_events', false);

-- What a user did on a day (days since 1970, UTC), so that nobody has to count events.
CREATE TABLE activity_days (
    org_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    identifies BIGINT NOT NULL,
    events BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    tickets BIGINT NOT NULL,
    PRIMARY KEY (user_id, day)
);
CREATE INDEX activity_days_day ON activity_days (org_id, day);
SELECT halo_sync_protect('activity_days', false);
