-- One row for all that a derivation changed of a company, where there was one for each field: a first derivation
-- changes a dozen. `changes` is a JSON list of [field, old value, new value].
CREATE TABLE field_changes_by_set (
    org_id TEXT COLLATE "C" NOT NULL,
    company_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    changed_at BIGINT NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    changes TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (company_id, id)
);
INSERT INTO field_changes_by_set (org_id, company_id, id, changed_at, cause, changes)
    SELECT org_id, company_id, id, changed_at, cause,
        json_build_array(json_build_array(field, old_value::json, new_value::json))::text
    FROM field_changes;
DROP TABLE field_changes;
ALTER TABLE field_changes_by_set RENAME TO field_changes;
ALTER INDEX field_changes_by_set_pkey RENAME TO field_changes_pkey;
SELECT halo_sync_protect('field_changes', false);

-- A party's old candidates are known from its evidence: nothing looks for them by the party.
DROP INDEX link_candidates_party;

-- Counted up by every write of the row: what was worked out from a row is laid over it without reading it again
-- while it is the same.
ALTER TABLE companies ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
