-- key_id: the id of the key that a secret is sealed with (eight bytes of its head, in hex), by which what is still
-- sealed with an older key is found.
ALTER TABLE connection_secrets ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
UPDATE connection_secrets SET key_id = lower(hex(substr(sealed, 2, 8)));
ALTER TABLE org_secrets ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
UPDATE org_secrets SET key_id = lower(hex(substr(sealed, 2, 8)));
