-- What the planner believes about the sizes of tables. Without it SQLite takes an index on the organisation
-- alone for selective, and walks all of an organisation's links for each page that is read. The figures are of a
-- filled database (one organisation, 100,000 companies, some records each); only their proportions matter. Nothing
-- runs ANALYZE later: plans do not change under a running program.
ANALYZE;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('companies', 'sqlite_autoindex_companies_1', '100000 1'),
    ('companies', 'sqlite_autoindex_companies_2', '100000 100000 1'),
    ('companies', 'companies_org', '100000 100000 1'),
    ('company_keys', 'company_keys', '300000 300000 100000 1 1'),
    ('company_keys', 'company_keys_company', '300000 3'),
    ('end_users', 'sqlite_autoindex_end_users_1', '500000 1'),
    ('end_users', 'sqlite_autoindex_end_users_2', '500000 500000 1'),
    ('end_users', 'end_users_org', '500000 500000 1'),
    ('end_users', 'end_users_company', '500000 5 1'),
    ('end_users', 'end_users_email', '500000 5 1'),
    ('company_links', 'sqlite_autoindex_company_links_1', '100000 50000 1'),
    ('company_links', 'company_links_company', '100000 1'),
    ('company_links', 'company_links_org', '100000 100000 2'),
    ('link_candidates', 'link_candidates', '400000 400000 100000 2 1 1'),
    ('mirror_records', 'sqlite_autoindex_mirror_records_1', '1000000 500000 1'),
    ('mirror_records', 'mirror_records_party', '1000000 500000 10'),
    ('record_refs', 'record_refs', '2000000 1000000 4 1'),
    ('rejected_records', 'sqlite_autoindex_rejected_records_1', '1000 500 1'),
    ('seen_notes', 'sqlite_autoindex_seen_notes_1', '10000 5000 500 100 1'),
    ('deliveries', 'sqlite_autoindex_deliveries_1', '1000000 1'),
    ('deliveries', 'sqlite_autoindex_deliveries_2', '1000000 500000 1'),
    ('deliveries', 'deliveries_pending', '10000 5000 1 1'),
    ('deliveries', 'deliveries_received', '1000000 1'),
    ('dirty_companies', 'sqlite_autoindex_dirty_companies_1', '10000 10000 1'),
    ('dirty_companies', 'dirty_companies_marked', '10000 10000 50'),
    ('company_derivations', 'sqlite_autoindex_company_derivations_1', '100000 1'),
    ('company_turns', 'sqlite_autoindex_company_turns_1', '50000 1'),
    ('company_turns', 'company_turns_due', '50000 100'),
    ('field_changes', 'field_changes', '1000000 10 1');
ANALYZE sqlite_schema;
