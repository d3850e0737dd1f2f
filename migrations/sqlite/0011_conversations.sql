-- What a chat's view is told apart by: counted up with every change of the row.
ALTER TABLE end_users ADD COLUMN version BIGINT NOT NULL DEFAULT 0;

-- user_id, company_id: ours; NULL while nobody is known. user_rank: whose word the user is. sentiment: millionths,
-- from -1,000,000 to 1,000,000; sentiment_rank, rating_rank: whose word they are. active_at: its newest message.
CREATE TABLE conversations (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    external_id TEXT,
    session_id TEXT,
    user_id TEXT,
    user_rank TEXT NOT NULL,
    company_id TEXT,
    mode TEXT NOT NULL,
    agent_id TEXT,
    status TEXT NOT NULL,
    subject TEXT,
    sentiment BIGINT,
    sentiment_rank TEXT,
    rating TEXT,
    rating_rank TEXT,
    source TEXT NOT NULL,
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

-- complete: false for an answer that broke off. claimed: a browser says that this was said.
CREATE TABLE messages (
    org_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    ordinal BIGINT NOT NULL,
    external_id TEXT,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    complete BOOLEAN NOT NULL,
    claimed BOOLEAN NOT NULL,
    sent_at BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, ordinal),
    UNIQUE (conversation_id, external_id)
);

CREATE TABLE tickets (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    external_id TEXT,
    session_id TEXT,
    user_id TEXT,
    user_rank TEXT NOT NULL,
    company_id TEXT,
    status TEXT NOT NULL,
    priority TEXT NOT NULL,
    subject TEXT NOT NULL,
    message TEXT,
    metadata TEXT,
    source TEXT NOT NULL,
    closed_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (org_id, external_id)
);
CREATE INDEX tickets_user ON tickets (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX tickets_company ON tickets (company_id, created_at, id) WHERE company_id IS NOT NULL;
CREATE INDEX tickets_session ON tickets (org_id, session_id) WHERE user_id IS NULL;

CREATE TABLE user_events (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    user_id TEXT,
    session_id TEXT,
    event_type TEXT NOT NULL,
    element_selector TEXT,
    page_url TEXT,
    metadata TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX user_events_user ON user_events (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX user_events_session ON user_events (org_id, session_id) WHERE user_id IS NULL;
CREATE INDEX user_events_created ON user_events (org_id, created_at);

-- What a user did on a day (days since 1970, UTC), so that nobody has to count events.
CREATE TABLE activity_days (
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    identifies BIGINT NOT NULL,
    events BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    tickets BIGINT NOT NULL,
    PRIMARY KEY (user_id, day)
) WITHOUT ROWID;
CREATE INDEX activity_days_day ON activity_days (org_id, day);

-- As in 0004: what the planner believes.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('conversations', 'sqlite_autoindex_conversations_1', '500000 1'),
    ('conversations', 'sqlite_autoindex_conversations_2', '500000 500000 1'),
    ('conversations', 'conversations_user', '500000 5 1 1'),
    ('conversations', 'conversations_company', '500000 20 1 1'),
    ('conversations', 'conversations_session', '500000 500000 2 1'),
    ('messages', 'sqlite_autoindex_messages_1', '5000000 10 1'),
    ('messages', 'sqlite_autoindex_messages_2', '5000000 10 1'),
    ('tickets', 'sqlite_autoindex_tickets_1', '500000 1'),
    ('tickets', 'sqlite_autoindex_tickets_2', '500000 500000 1'),
    ('tickets', 'tickets_user', '500000 5 1 1'),
    ('tickets', 'tickets_company', '500000 20 1 1'),
    ('tickets', 'tickets_session', '10000 10000 2'),
    ('user_events', 'sqlite_autoindex_user_events_1', '5000000 1'),
    ('user_events', 'user_events_user', '5000000 50 1'),
    ('user_events', 'user_events_session', '100000 100000 10'),
    ('user_events', 'user_events_created', '5000000 5000000 1'),
    ('activity_days', 'activity_days', '5000000 10 1'),
    ('activity_days', 'activity_days_day', '5000000 5000000 10000');
ANALYZE sqlite_schema;
