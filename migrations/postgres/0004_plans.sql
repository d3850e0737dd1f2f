-- Records and derivations are JSON texts of some kilobytes, which Postgres compresses; lz4, where the server was
-- built with it, takes a fraction of pglz's time. (SQLite's part of this number tells its planner how large
-- tables are; here the store gathers statistics while a database fills.)
DO $$
BEGIN
    ALTER TABLE mirror_records ALTER COLUMN payload SET COMPRESSION lz4;
    ALTER TABLE mirror_records ALTER COLUMN facts SET COMPRESSION lz4;
    ALTER TABLE company_derivations ALTER COLUMN document SET COMPRESSION lz4;
    ALTER TABLE deliveries ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
