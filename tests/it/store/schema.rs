//! Both schemas are one schema, and every statement is good on both.

use std::collections::{BTreeMap, BTreeSet};

use halo_sync::store::{OpenMode, StoreError, postgres, sqlite};
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection};

use super::{SqliteBench, open_sqlite};
use crate::support::postgres::{Database, open};

async fn sqlite_connection(bench: &SqliteBench) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", bench.folder.path().join("halo.db").display()))
        .await
        .unwrap()
}

#[tokio::test]
async fn both_engines_have_the_same_tables_and_columns() {
    let Some(database) = Database::migrated().await else { return };
    let bench = SqliteBench::new().await;
    let mut lite = sqlite_connection(&bench).await;
    let mut pg = PgConnection::connect(&database.url).await.unwrap();
    let group = |rows: Vec<(String, String, bool)>| {
        let mut tables: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
        for (table, column, required) in rows {
            tables.entry(table).or_default().push((column, required));
        }
        tables
    };
    let mut from_sqlite = group(
        sqlx::query_as(
            "SELECT t.name, c.name, c.\"notnull\" = 1 FROM sqlite_master t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY t.name, c.cid",
        )
        .fetch_all(&mut lite)
        .await
        .unwrap(),
    );
    let from_postgres = group(
        sqlx::query_as(
            "SELECT table_name::text, column_name::text, is_nullable = 'NO' FROM information_schema.columns
             WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
        )
        .fetch_all(&mut pg)
        .await
        .unwrap(),
    );
    // Stands for the Postgres sequence of the same name.
    assert!(from_sqlite.remove("read_seq").is_some());
    let ours = |tables: BTreeMap<String, Vec<(String, bool)>>| {
        tables.into_iter().filter(|(name, _)| name != "halo_sync_migrations").collect::<BTreeMap<_, _>>()
    };
    assert_eq!(ours(from_sqlite), ours(from_postgres));
    assert_eq!(
        sqlite::Engine::migrations(&bench.folder.path().join("halo.db")).await.unwrap(),
        postgres::Engine::migrations(&database.url).await.unwrap(),
        "equal numbers and names, all applied"
    );
    pg.close().await.unwrap();
    database.drop_it().await;
}

/// A rotation finds what it has to seal anew in these; another one belongs into `units/sealing.rs`. But what waits for
/// somebody at a provider (`oauth_flows`) ends within minutes: with its key retired it is begun again.
#[tokio::test]
async fn what_is_sealed_lies_where_a_rotation_looks() {
    let bench = SqliteBench::new().await;
    let mut c = sqlite_connection(&bench).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT t.name FROM sqlite_master t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND c.name LIKE '%sealed%' ORDER BY t.name",
    )
    .fetch_all(&mut c)
    .await
    .unwrap();
    assert_eq!(tables, ["connection_secrets", "oauth_flows", "org_secrets"]);
}

#[tokio::test]
async fn every_statement_is_prepared_on_sqlite() {
    let bench = SqliteBench::new().await;
    let mut c = sqlite_connection(&bench).await;
    assert!(sqlite::statements().len() > 20);
    for (name, sql) in sqlite::statements() {
        if let Err(error) = (&mut c).prepare(AssertSqlSafe(sql).into_sql_str()).await {
            panic!("{name}: {error}\n{sql}");
        }
    }
}

/// Tables that grow with the customers, whose rows no statement of a page, a webhook, a derivation or a chat may
/// look for by walking them.
const LARGE: [&str; 18] = [
    "companies",
    "company_keys",
    "company_links",
    "link_candidates",
    "mirror_records",
    "record_refs",
    "dirty_companies",
    "company_derivations",
    "field_changes",
    "end_users",
    "deliveries",
    "conversations",
    "messages",
    "tickets",
    "user_events",
    "activity_days",
    "user_links",
    "user_candidates",
];
/// Statements that walk an organisation's or a connection's rows, as they are meant to: counts, what goes with a
/// connection or names what was deleted, and whether anything is dirty at all.
const WALKS: [&str; 14] = [
    "ANY_DIRTY",
    "COUNT_COMPANIES",
    "COUNT_LINKS",
    "COUNT_STREAMS",
    "COUNT_USERS",
    "DELETE_CANDIDATES",
    "DELETE_CHANGES_NAMING",
    "DELETE_DELIVERIES",
    "DELETE_DELIVERIES_NAMING",
    "DELETE_DELIVERIES_TOUCHING",
    "DELETE_LINKS",
    "DELETE_RECORDS",
    "DELETE_REFS",
    "DELIVERIES_ABOUT",
];

#[tokio::test]
async fn every_statement_finds_its_rows_by_more_than_the_organisation_on_sqlite() {
    let bench = SqliteBench::new().await;
    let mut c = sqlite_connection(&bench).await;
    let (mut judged, mut walks) = (0, BTreeSet::new());
    for (name, sql) in sqlite::statements() {
        let text = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut c).await.unwrap();
        for (.., step) in steps {
            let mut words = step.split_whitespace();
            let (how, named) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            // A step names a table as the statement does: by its alias where it has one.
            let is_large = |table: &&str| named == *table || text.contains(&format!(" {table} {named} "));
            // The pending ones, in their order.
            if !LARGE.iter().any(is_large) || step.contains("INDEX deliveries_pending") {
                continue;
            }
            judged += 1;
            if how != "SEARCH" || step.ends_with("(org_id=?)") || step.ends_with("(connection_id=?)") {
                walks.insert(name);
            }
        }
    }
    assert_eq!(walks.into_iter().collect::<Vec<_>>(), WALKS);
    assert!(judged > 70, "{judged} steps on large tables");
}

#[tokio::test]
async fn every_statement_is_prepared_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    for (name, sql) in postgres::statements() {
        if let Err(error) = (&mut c).prepare(AssertSqlSafe(sql).into_sql_str()).await {
            panic!("{name}: {error}\n{sql}");
        }
    }
    c.close().await.unwrap();
    database.drop_it().await;
}

/// Autovacuum would come a minute later.
#[tokio::test]
async fn statistics_are_gathered_while_a_postgres_database_fills() {
    use super::kit::{commit, connected, ingest, record};
    let Some(database) = Database::migrated().await else { return };
    let engine = open(&database.url, OpenMode::Exclusive).await;
    connected(&*engine).await;
    for seq in 1..=8i64 {
        let records = (0..50).map(|n| record(&format!("prices/{seq}-{n}"), None, &[], "a")).collect();
        ingest(&*engine, commit(seq, records)).await;
    }
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    let known =
        "SELECT COUNT(*) FROM pg_stats WHERE tablename = 'mirror_records' AND attname = 'connection_id'";
    let mut tries = 0;
    while sqlx::query_scalar::<_, i64>(known).fetch_one(&mut c).await.unwrap() == 0 {
        tries += 1;
        assert!(tries < 200, "no statistics after ten seconds");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    c.close().await.unwrap();
    engine.close().await;
    database.drop_it().await;
}

#[tokio::test]
async fn a_second_process_on_the_file_is_told_who_holds_it() {
    let bench = SqliteBench::new().await;
    let path = bench.folder.path().join("halo.db");
    match open_sqlite(&path, OpenMode::Exclusive).await {
        Err(StoreError::Locked { holder, .. }) => {
            assert_eq!(holder, format!(" (pid {})", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    bench.engine.close().await;
    let SqliteBench { engine, folder } = bench;
    drop(engine);
    open_sqlite(&folder.path().join("halo.db"), OpenMode::Exclusive).await.unwrap();
}

#[tokio::test]
async fn beside_a_running_process_reads_work_and_writes_are_refused() {
    use halo_sync::store::SettingsStore as _;
    let bench = SqliteBench::new().await;
    let beside = open_sqlite(&bench.folder.path().join("halo.db"), OpenMode::ReadOnly).await.unwrap();
    let org = halo_sync::domain::OrgId::default_org();
    bench.engine.put_org(&org, "x", &serde_json::json!({"k": 1}), super::settings::at(1)).await.unwrap();
    assert_eq!(beside.find_org_settings(&org).await.unwrap(), Some(serde_json::json!({"k": 1})));
    let refused = beside.put_org(&org, "y", &serde_json::json!({}), super::settings::at(2)).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly)));
}

#[tokio::test]
async fn a_newer_database_is_refused_on_sqlite() {
    let bench = SqliteBench::new().await;
    let path = bench.folder.path().join("halo.db");
    bench.engine.close().await;
    let mut c = sqlite_connection(&bench).await;
    c.execute(
        "INSERT INTO halo_sync_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, x'00', 0)",
    )
    .await
    .unwrap();
    let SqliteBench { engine, folder } = bench;
    drop(engine);
    for mode in [OpenMode::Exclusive, OpenMode::ReadOnly] {
        assert!(matches!(open_sqlite(&path, mode).await, Err(StoreError::NewerSchema { found: 9999, .. })));
    }
    drop(folder);
}

#[tokio::test]
async fn a_newer_database_is_refused_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    c.execute(
        "INSERT INTO halo_sync_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, '\\x00', 0)",
    )
    .await
    .unwrap();
    c.close().await.unwrap();
    let config = halo_sync::store::StoreConfig::new(halo_sync::store::Target::Postgres(database.url.clone()));
    let clock = std::sync::Arc::new(crate::support::clock::TestClock::default());
    let refused = postgres::Engine::open(&database.url, &config, OpenMode::Exclusive, clock).await;
    assert!(matches!(refused, Err(StoreError::NewerSchema { found: 9999, .. })));
    database.drop_it().await;
}

#[tokio::test]
async fn a_fresh_postgres_database_is_migrated_and_row_level_security_asserted() {
    let Some(database) = Database::empty().await else { return };
    open(&database.url, OpenMode::Exclusive).await.close().await;
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    c.execute("ALTER TABLE companies NO FORCE ROW LEVEL SECURITY").await.unwrap();
    c.close().await.unwrap();
    let config = halo_sync::store::StoreConfig::new(halo_sync::store::Target::Postgres(database.url.clone()));
    let clock = std::sync::Arc::new(crate::support::clock::TestClock::default());
    match postgres::Engine::open(&database.url, &config, OpenMode::Exclusive, clock).await {
        Err(StoreError::Setup(text)) => assert!(text.contains("companies"), "{text}"),
        other => panic!("{other:?}"),
    }
    database.drop_it().await;
}

/// What an older program left is kept as it was, and whoever goes back to that program finds it.
#[tokio::test]
async fn a_database_is_copied_before_it_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("halo.db");
    let all = sqlx::migrate!("migrations/sqlite");
    let mut versions: Vec<i64> = all.iter().map(|m| m.version).collect();
    versions.sort_unstable();
    let [.., last, newest] = versions[..] else { panic!("{versions:?}") };
    let mut older = Migrator::with_migrations(all.iter().filter(|m| m.version < newest).cloned().collect());
    older.dangerous_set_table_name("halo_sync_migrations");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut c = SqliteConnection::connect(&url).await.unwrap();
    older.run(&mut c).await.unwrap();
    let insert =
        "INSERT INTO orgs (id, name, settings, created_at, updated_at) VALUES ('org_kept', '', '{}', 1, 1)";
    sqlx::query(insert).execute(&mut c).await.unwrap();
    c.close().await.unwrap();

    open_sqlite(&path, OpenMode::Exclusive).await.unwrap().close().await;
    let of = async |path: &std::path::Path| {
        let mut c = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let version = "SELECT MAX(version) FROM halo_sync_migrations";
        let version: i64 = sqlx::query_scalar(version).fetch_one(&mut c).await.unwrap();
        let orgs = "SELECT COUNT(*) FROM orgs WHERE id = 'org_kept'";
        let orgs: i64 = sqlx::query_scalar(orgs).fetch_one(&mut c).await.unwrap();
        c.close().await.unwrap();
        (version, orgs)
    };
    let copy = folder.path().join("backups").join(format!("pre-v{newest}.db"));
    assert_eq!((of(&path).await, of(&copy).await), ((newest, 1), (last, 1)));
}

/// The nodes of a plan that read a table, each with the columns that an index is searched by.
fn reads(plan: &Value, found: &mut Vec<(String, String)>) {
    let is_read = plan["Node Type"] != "ModifyTable" && plan["Index Name"] != "deliveries_pending";
    if let Some(table) = plan["Relation Name"].as_str().filter(|_| is_read) {
        // A bitmap's condition is on the node below.
        let by = plan["Index Cond"].as_str().or(plan["Recheck Cond"].as_str()).unwrap_or_default();
        found.push((table.to_owned(), by.to_owned()));
    }
    for inner in plan["Plans"].as_array().into_iter().flatten() {
        reads(inner, found);
    }
}

/// Rows of one organisation and one connection in every large table, different in all other columns, so that the
/// planner has something to judge by. What rows mean to one another is of no matter to it.
const FILL: &str = "DO $$
DECLARE r RECORD; t TEXT;
BEGIN
    FOR r IN SELECT conrelid::regclass AS target, conname FROM pg_constraint
        WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', r.target, r.conname); END LOOP;
    FOREACH t IN ARRAY string_to_array('TABLES', ',')
    LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', t);
        EXECUTE (SELECT format('INSERT INTO %I (%s) SELECT %s FROM generate_series(1, 2000) n', t,
            string_agg(quote_ident(column_name), ','),
            string_agg(CASE WHEN column_name IN ('org_id', 'connection_id') THEN '''default'''
                WHEN column_name = 'state' THEN '''pending'''
                WHEN is_nullable = 'YES' AND data_type = 'text' THEN 'CASE WHEN n % 2 = 0 THEN n::text END'
                WHEN data_type = 'text' THEN 'n::text'
                WHEN data_type = 'boolean' THEN 'n % 2 = 0'
                WHEN data_type = 'bytea' THEN 'n::text::bytea'
                ELSE 'n' END, ','))
            FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name = t AND is_generated = 'NEVER');
        EXECUTE format('ANALYZE %I', t);
    END LOOP;
END $$";

/// Row-level security lets no condition search an index that could leak another organisation's row. Whether one may
/// is seen where the planner is left no other way to join.
#[tokio::test]
async fn every_statement_finds_its_rows_by_more_than_the_organisation_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(FILL.replace("TABLES", &LARGE.join(",")))).execute(&mut c).await.unwrap();
    sqlx::raw_sql(
        "SET ROLE halo_sync_app; SELECT set_config('halo_sync.org_id', 'default', false);
         SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
         SET plan_cache_mode = force_generic_plan",
    )
    .execute(&mut c)
    .await
    .unwrap();
    let (mut judged, mut walks) = (0, BTreeSet::new());
    for (name, sql) in postgres::statements() {
        let parameters = (1_usize..).take_while(|n| sql.contains(&format!("${n}"))).count();
        let values = vec!["NULL"; parameters].join(", ");
        let execute = if parameters == 0 { "statement".to_owned() } else { format!("statement ({values})") };
        let prepare = AssertSqlSafe(format!("PREPARE statement AS {sql}"));
        sqlx::raw_sql(prepare).execute(&mut c).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) EXECUTE {execute}"));
        let plan: Result<Value, sqlx::Error> =
            sqlx::query_scalar(explain).persistent(false).fetch_one(&mut c).await;
        sqlx::raw_sql("DEALLOCATE statement").execute(&mut c).await.unwrap();
        let plan = match plan {
            Ok(plan) => plan,
            // The other role's tables, of which none is large.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        let mut found = Vec::new();
        reads(&plan[0]["Plan"], &mut found);
        for (_, by) in found.iter().filter(|(table, _)| LARGE.contains(&table.as_str())) {
            judged += 1;
            let narrow = by.split(" AND ").any(|part| {
                !part.is_empty() && !part.contains("org_id =") && !part.contains("connection_id =")
            });
            if !narrow {
                walks.insert(name);
            }
        }
    }
    assert_eq!(walks.into_iter().collect::<Vec<_>>(), WALKS);
    assert!(judged > 70, "{judged} steps on large tables");
    c.close().await.unwrap();
    database.drop_it().await;
}
