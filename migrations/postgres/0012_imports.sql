-- How far the import of a file is, written with the records of each batch: what was killed goes on behind them.
-- id: digest of what is imported and of the file's path. state: JSON.
CREATE TABLE imports (
    org_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, id)
);
SELECT halo_sync_protect('imports', false);
