-- key_id: the id of the key that a secret is sealed with (eight bytes of its head, in hex), by which what is still
-- sealed with an older key is found. The owner sees no row of a table whose row-level security is forced.
ALTER TABLE connection_secrets NO FORCE ROW LEVEL SECURITY;
ALTER TABLE connection_secrets ADD COLUMN key_id TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE connection_secrets SET key_id = encode(substr(sealed, 2, 8), 'hex');
ALTER TABLE connection_secrets FORCE ROW LEVEL SECURITY;
ALTER TABLE org_secrets NO FORCE ROW LEVEL SECURITY;
ALTER TABLE org_secrets ADD COLUMN key_id TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE org_secrets SET key_id = encode(substr(sealed, 2, 8), 'hex');
ALTER TABLE org_secrets FORCE ROW LEVEL SECURITY;

-- Which keys are in use is asked across organisations; the secrets themselves are not.
GRANT SELECT (org_id, key_id) ON connection_secrets, org_secrets TO halo_sync_system;
CREATE POLICY system ON connection_secrets FOR SELECT TO halo_sync_system USING (true);
CREATE POLICY system ON org_secrets FOR SELECT TO halo_sync_system USING (true);
