-- How far the import of a file is, written with the records of each batch: what was killed goes on behind them.
-- id: digest of what is imported and of the file's path. state: JSON.
CREATE TABLE imports (
    org_id TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, id)
);
