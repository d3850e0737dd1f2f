//! Organisations, their secrets, and keys.

use std::collections::BTreeSet;

use halo_sync::domain::OrgId;
use halo_sync::domain::connections::{ApiKey, KeyClass};
use halo_sync::domain::orgs::Org;
use halo_sync::store::settings::SealedSecret;
use halo_sync::store::trust::OrgSecret;
use halo_sync::store::{OpenMode, SettingsStore as _, Store, TrustStore as _};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::kit::{commit, company, con, connected, ingest, record};
use super::settings::at;
use super::{SqliteBench, settings};
use crate::support::postgres::{Database, open};

fn other(id: &str) -> Org {
    Org { id: id.into(), name: "B".into(), settings: json!({"x": 1}), created_at: at(1) }
}

fn key(id: &str, org: &OrgId) -> ApiKey {
    ApiKey {
        id: id.into(),
        org_id: org.clone(),
        class: KeyClass::Publishable,
        name: "web".into(),
        prefix: "ab_live_abcd".into(),
        created_at: at(1),
        revoked_at: None,
        origins: Some(vec!["https://*.acme.com".parse().unwrap(), "http://localhost:3000".parse().unwrap()]),
        expires_at: Some(at(100)),
        last_used_at: None,
    }
}

fn members(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn an_organisation_is_made_once_and_changed_by_member(store: &dyn Store) {
    assert!(store.add_org(&other("org_b")).await.unwrap());
    let again = Org { name: "C".into(), ..other("org_b") };
    assert!(!store.add_org(&again).await.unwrap());
    let id: OrgId = "org_b".into();
    assert!(store.patch_org(&id, None, &members(json!({"y": [2]})), at(2)).await.unwrap());
    assert!(store.patch_org(&id, Some("Bee"), &members(json!({"x": null})), at(3)).await.unwrap());
    let rows = store.list_org_rows().await.unwrap();
    let found = rows.iter().find(|org| org.id == id).unwrap();
    assert_eq!((found.name.as_str(), &found.settings, found.created_at), ("Bee", &json!({"y": [2]}), at(1)));
    assert!(!store.patch_org(&"org_c".into(), Some("x"), &Map::new(), at(3)).await.unwrap());
    assert!(store.load_org_trust(&"org_c".into()).await.unwrap().is_none());
}

async fn a_key_keeps_its_bounds_and_overlaps_with_its_successor(store: &dyn Store) {
    let org = OrgId::default_org();
    let old = key("key_1", &org);
    store.put_key(&old, "h1").await.unwrap();
    assert_eq!(store.find_key("h1").await.unwrap(), Some(old.clone()));
    store.touch_key(&org, &old.id, at(60)).await.unwrap();
    store.touch_key(&org, &old.id, at(30)).await.unwrap();
    assert_eq!(store.list_keys(&org).await.unwrap()[0].last_used_at, Some(at(60)));

    let new = ApiKey { created_at: at(50), expires_at: None, ..key("key_2", &org) };
    assert!(store.rotate_key(&old.id, &new, "h2", at(70)).await.unwrap());
    let ended = store.find_key("h1").await.unwrap().unwrap();
    assert_eq!(ended.expires_at, Some(at(70)), "its own end came later");
    assert!(ended.is_live(at(69)) && !ended.is_live(at(70)));
    assert_eq!(store.find_key("h2").await.unwrap().unwrap().expires_at, None);

    let late = ApiKey { created_at: at(71), ..key("key_3", &org) };
    assert!(!store.rotate_key(&old.id, &late, "h3", at(90)).await.unwrap(), "it has ended");
    assert_eq!(store.find_key("h3").await.unwrap(), None);
    assert!(!store.revoke_key(&org, &old.id, at(71)).await.unwrap(), "it has ended");
    let foreign = ApiKey { org_id: "org_b".into(), ..late };
    store.add_org(&other("org_b")).await.unwrap();
    assert!(!store.rotate_key(&new.id, &foreign, "h4", at(90)).await.unwrap(), "another's");
    assert!(store.revoke_key(&org, &new.id, at(71)).await.unwrap());
    assert_eq!(store.find_key("h2").await.unwrap(), None);
}

async fn a_rotated_secret_is_accepted_for_a_while(store: &dyn Store) {
    let org = OrgId::default_org();
    let secret = |slot: i64, made: i64| OrgSecret {
        secret: SealedSecret { name: "identity".into(), slot, sealed: vec![0, 255, 7], expires_at: None },
        created_at: at(made),
    };
    store.add_org_secret(&org, &secret(0, 1), at(1)).await.unwrap();
    store.add_org_secret(&org, &secret(1, 10), at(20)).await.unwrap();
    let ends = |trust: halo_sync::store::trust::OrgTrust| -> Vec<_> {
        trust.secrets.into_iter().map(|s| (s.secret.slot, s.secret.expires_at, s.secret.sealed)).collect()
    };
    let bytes = vec![0, 255, 7];
    let found = ends(store.load_org_trust(&org).await.unwrap().unwrap());
    assert_eq!(found, [(0, Some(at(20)), bytes.clone()), (1, None, bytes.clone())]);
    assert!(store.add_org_secret(&org, &secret(1, 11), at(20)).await.is_err(), "the slot is taken");
    store.add_org_secret(&org, &secret(2, 15), at(15)).await.unwrap();
    let found = ends(store.load_org_trust(&org).await.unwrap().unwrap());
    assert_eq!(found, [(2, None, bytes)], "at once");
}

contract!(
    an_organisation_is_made_once_and_changed_by_member,
    a_key_keeps_its_bounds_and_overlaps_with_its_successor,
    a_rotated_secret_is_accepted_for_a_while,
);

/// One row of every table for the default organisation: those that behaviours make, and what else there is, put in
/// by the schema's own word, so that a table that is added later is filled, too.
async fn fill(store: &dyn Store) {
    connected(store).await;
    company(store, "a", json!({"domain": "acme.com"}), 1).await;
    ingest(store, commit(2, vec![record("customers/1", None, &["prices/1"], "x")])).await;
    store.put_key(&key("key_1", &OrgId::default_org()), "h1").await.unwrap();
    let secret = SealedSecret { name: "api_key".into(), slot: 0, sealed: vec![1], expires_at: None };
    store.put_secret(&OrgId::default_org(), &con(), &secret).await.unwrap();
    let connection = settings::connection(&"org_b".into(), "con_b", "stripe");
    store.put_connection(&connection, &[]).await.unwrap();
}

/// A value for a column that a row must have, by its type.
fn filler(kind: &str, column: &str) -> String {
    match (kind.to_ascii_lowercase().as_str(), column) {
        (_, "org_id") => "'org_default'".to_owned(),
        (_, "connection_id") => "'con_1'".to_owned(),
        (_, "run_id") => "'run_1'".to_owned(),
        ("blob" | "bytea", _) => "''".to_owned(),
        ("bigint" | "integer" | "int8" | "real" | "double precision", _) => "1".to_owned(),
        ("boolean", _) => "true".to_owned(),
        _ => "'{}'".to_owned(),
    }
}

/// Tables with an `org_id`, and for each the columns that a row must have, with their types.
type Tables = Vec<(String, Vec<(String, String)>)>;

fn grouped(rows: Vec<(String, String, String)>) -> Tables {
    let mut tables: Tables = Vec::new();
    for (table, column, kind) in rows {
        match tables.last_mut() {
            Some((last, columns)) if *last == table => columns.push((column, kind)),
            _ => tables.push((table, vec![(column, kind)])),
        }
    }
    tables
}

fn insert(table: &str, columns: &[(String, String)]) -> String {
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<_> = columns.iter().map(|(name, kind)| filler(kind, name)).collect();
    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
}

const RUN: &str = "INSERT INTO sync_runs";

#[tokio::test]
async fn nothing_of_a_deleted_organisation_is_left_on_sqlite() {
    let bench = SqliteBench::new().await;
    bench.engine.add_org(&other("org_b")).await.unwrap();
    fill(&*bench.engine).await;
    let url = format!("sqlite://{}", bench.folder.path().join("halo.db").display());
    let mut c = SqliteConnection::connect(&url).await.unwrap();
    let tables = grouped(
        sqlx::query_as(
            "SELECT t.name, c.name, c.type FROM sqlite_master t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND (c.\"notnull\" = 1 OR c.pk > 0) AND EXISTS (
                 SELECT 1 FROM pragma_table_info(t.name) o WHERE o.name = 'org_id')
             ORDER BY t.name, c.cid",
        )
        .fetch_all(&mut c)
        .await
        .unwrap(),
    );
    assert!(tables.len() >= 30, "{}", tables.len());
    let run = tables.iter().find(|(table, _)| table == "sync_runs").unwrap();
    let run = insert(&run.0, &run.1).replacen("'{}'", "'run_1'", 1);
    assert!(run.starts_with(RUN));
    sqlx::query(AssertSqlSafe(run)).execute(&mut c).await.unwrap();
    for (table, columns) in &tables {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE org_id = 'org_default'"));
        if sqlx::query_scalar::<_, i64>(count).fetch_one(&mut c).await.unwrap() == 0 {
            let sql = insert(table, columns);
            sqlx::query(AssertSqlSafe(sql.clone()))
                .execute(&mut c)
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }
    let gone = bench.engine.clear_org(&OrgId::default_org()).await.unwrap();
    assert!(!gone.is_empty());
    assert!(bench.engine.delete_org(&OrgId::default_org()).await.unwrap());
    for (table, _) in &tables {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE org_id = 'org_default'"));
        assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut c).await.unwrap(), 0, "{table}");
    }
    assert_eq!(bench.engine.list_orgs().await.unwrap(), vec![OrgId::from("org_b")]);
    let kept = bench.engine.list_connections(None).await.unwrap();
    assert_eq!(kept.len(), 1, "the other's stay");
    c.close().await.unwrap();
    bench.engine.close().await;
}

#[tokio::test]
async fn nothing_of_a_deleted_organisation_is_left_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    let engine = open(&database.url, OpenMode::Exclusive).await;
    engine.add_org(&other("org_b")).await.unwrap();
    fill(&*engine).await;
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    let tables = grouped(
        sqlx::query_as(
            "SELECT c.table_name::text, c.column_name::text, c.data_type::text FROM information_schema.columns c
             WHERE c.table_schema = 'public' AND c.is_nullable = 'NO' AND EXISTS (
                 SELECT 1 FROM information_schema.columns o
                 WHERE o.table_schema = 'public' AND o.table_name = c.table_name AND o.column_name = 'org_id')
             ORDER BY c.table_name, c.ordinal_position",
        )
        .fetch_all(&mut c)
        .await
        .unwrap(),
    );
    assert!(tables.len() >= 30, "{}", tables.len());
    let run = tables.iter().find(|(table, _)| table == "sync_runs").unwrap();
    let run = insert(&run.0, &run.1).replacen("'{}'", "'run_1'", 1);
    sqlx::query(AssertSqlSafe(run)).execute(&mut c).await.unwrap();
    for (table, columns) in &tables {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE org_id = 'org_default'"));
        if sqlx::query_scalar::<_, i64>(count).fetch_one(&mut c).await.unwrap() == 0 {
            let sql = insert(table, columns);
            sqlx::query(AssertSqlSafe(sql.clone()))
                .execute(&mut c)
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }
    engine.clear_org(&OrgId::default_org()).await.unwrap();
    assert!(engine.delete_org(&OrgId::default_org()).await.unwrap());
    for (table, _) in &tables {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE org_id = 'org_default'"));
        assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut c).await.unwrap(), 0, "{table}");
    }
    assert_eq!(engine.list_connections(None).await.unwrap().len(), 1, "the other's stay");
    c.close().await.unwrap();
    engine.close().await;
    database.drop_it().await;
}

/// T2: every table is behind row-level security that its owner cannot look past, none is the app role's, and the role
/// may not step out.
#[tokio::test]
async fn every_table_stands_behind_row_level_security() {
    let Some(database) = Database::migrated().await else { return };
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
           AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname",
    )
    .fetch_all(&mut c)
    .await
    .unwrap();
    assert_eq!(open, ["halo_sync_migrations"], "which holds no customer's row");
    let without: Vec<String> = sqlx::query_scalar(
        "SELECT t.relname::text FROM pg_class t
         WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND NOT EXISTS (
             SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'org_id')
         ORDER BY t.relname",
    )
    .fetch_all(&mut c)
    .await
    .unwrap();
    // An organisation's own row is found by its id; provider accounts are of no organisation.
    assert_eq!(without, ["halo_sync_migrations", "orgs", "rate_buckets"]);
    let (superuser, bypasses, owned): (bool, bool, i64) = sqlx::query_as(
        "SELECT bool_or(r.rolsuper), bool_or(r.rolbypassrls),
                (SELECT COUNT(*) FROM pg_class t WHERE t.relowner = ANY (array_agg(r.oid)))
         FROM pg_roles r WHERE r.rolname IN ('halo_sync_app', 'halo_sync_system')",
    )
    .fetch_one(&mut c)
    .await
    .unwrap();
    assert_eq!((superuser, bypasses, owned), (false, false, 0));
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.table_name::text FROM information_schema.columns c
         WHERE c.table_schema = 'public' AND c.column_name = 'org_id' ORDER BY 1",
    )
    .fetch_all(&mut c)
    .await
    .unwrap();
    let engine = crate::support::postgres::open(&database.url, OpenMode::Exclusive).await;
    engine.add_org(&other("org_b")).await.unwrap();
    fill(&*engine).await;
    sqlx::query("SET ROLE halo_sync_app").execute(&mut c).await.unwrap();
    for table in tables.iter().collect::<BTreeSet<_>>() {
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut c).await.unwrap(), 0, "{table}, unbound");
    }
    c.close().await.unwrap();
    engine.close().await;
    database.drop_it().await;
}

/// T2: what one call bound a pooled connection to, the next does not see.
#[tokio::test]
async fn pooled_connections_forget_their_organisation() {
    let Some(database) = Database::migrated().await else { return };
    let engine = open(&database.url, OpenMode::Exclusive).await;
    engine.add_org(&other("org_b")).await.unwrap();
    connected(&*engine).await;
    let (a, b) = (OrgId::default_org(), OrgId::from("org_b"));
    for _ in 0..100 {
        let (one, two) = tokio::join!(engine.list_connections(Some(&a)), engine.list_connections(Some(&b)));
        assert_eq!((one.unwrap().len(), two.unwrap().len()), (1, 0));
    }
    engine.close().await;
    database.drop_it().await;
}
