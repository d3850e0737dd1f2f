//! Organisations do not see each other: by the queries on both engines, by the database itself on Postgres.

use halo_sync::domain::OrgId;
use halo_sync::store::{OpenMode, Store, StoreError};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use super::kit::*;
use crate::support::postgres::{Database, open};

async fn queries_see_their_own_organisation_only(store: &dyn Store) {
    connected(store).await;
    let other: OrgId = "org_b".into();
    store.put_org(&other, "B", &json!({}), at(0)).await.unwrap();
    let id = company(store, "a", json!({"domain": "acme.com"}), 1).await;
    customer(store, 2, party("customers/1", &[("domain", "domain", "acme.com")], false)).await;
    let found =
        store.find_company(&other, &halo_sync::store::identity::Lookup::Id(id.0.clone())).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(store.count_identities(&other).await.unwrap(), Default::default());
    assert_eq!(store.load_records(&other, &con(), &[key("customers/1")]).await.unwrap(), vec![]);
    assert!(store.load_dirty_inputs(&other, None, 9).await.unwrap().is_empty());
    assert!(store.load_company_inputs(&other, &id).await.unwrap().is_none());
    assert!(
        store.commit_ingest(&other, commit(3, vec![record("customers/1", None, &[], "x")])).await.is_err()
    );
    assert_eq!(store.delete_connection(&other, &con(), at(3)).await.unwrap(), None);
    assert_eq!(store.load_records(&org(), &con(), &[key("customers/1")]).await.unwrap().len(), 1);
    let odd = store.find_org_settings(&"org'; DROP TABLE orgs; --".into()).await;
    assert!(matches!(odd, Ok(None) | Err(StoreError::Invalid(_))));
}

contract!(queries_see_their_own_organisation_only);

async fn count(c: &mut PgConnection, sql: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql).fetch_one(c).await
}

#[tokio::test]
async fn the_database_itself_keeps_organisations_apart() {
    let Some(database) = Database::migrated().await else { return };
    let engine = open(&database.url, OpenMode::Exclusive).await;
    connected(&*engine).await;
    company(&*engine, "a", json!({}), 1).await;
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    c.execute("SET ROLE halo_sync_app").await.unwrap();
    assert_eq!(count(&mut c, "SELECT COUNT(*) FROM companies").await.unwrap(), 0, "unbound");
    c.execute("SELECT set_config('halo_sync.org_id', 'org_b', false)").await.unwrap();
    assert_eq!(count(&mut c, "SELECT COUNT(*) FROM companies").await.unwrap(), 0, "another's");
    assert_eq!(count(&mut c, "SELECT COUNT(*) FROM orgs").await.unwrap(), 0);
    let forged = c.execute("UPDATE companies SET org_id = 'org_b'").await.unwrap();
    assert_eq!(forged.rows_affected(), 0);
    let forged = c
        .execute("INSERT INTO company_keys (org_id, kind, value, company_id) VALUES ('org_default', 'k', 'v', 'c')")
        .await;
    assert!(forged.unwrap_err().to_string().contains("row-level security"));
    c.execute("SELECT set_config('halo_sync.org_id', 'org_default', false)").await.unwrap();
    assert_eq!(count(&mut c, "SELECT COUNT(*) FROM companies").await.unwrap(), 1);
    c.execute("RESET ROLE").await.unwrap();
    c.execute("SET ROLE halo_sync_system").await.unwrap();
    assert_eq!(count(&mut c, "SELECT COUNT(*) FROM connections").await.unwrap(), 1);
    for closed in [
        "SELECT COUNT(*) FROM companies",
        "SELECT COUNT(*) FROM mirror_records",
        // Which keys they are sealed with may be asked across organisations, and nothing else of them.
        "SELECT COUNT(sealed) FROM connection_secrets",
        "SELECT COUNT(name) FROM connection_secrets",
        "SELECT COUNT(sealed) FROM org_secrets",
    ] {
        assert!(
            count(&mut c, closed).await.unwrap_err().to_string().contains("permission denied"),
            "{closed}"
        );
    }
    c.close().await.unwrap();
    engine.close().await;
    database.drop_it().await;
}

#[tokio::test]
async fn a_user_that_may_not_make_roles_is_told_the_grant() {
    let Some(database) = Database::migrated().await else { return };
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    let user = format!("plain_{}", database.url.rsplit('_').next().unwrap());
    c.execute(sqlx::AssertSqlSafe(format!("CREATE ROLE {user} LOGIN"))).await.unwrap();
    c.execute(sqlx::AssertSqlSafe(format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")))
        .await
        .unwrap();
    let url = database.url.replace("postgres://postgres@", &format!("postgres://{user}@"));
    let config = halo_sync::store::StoreConfig::new(halo_sync::store::Target::Postgres(url.clone()));
    let clock = std::sync::Arc::new(crate::support::clock::TestClock::default());
    match halo_sync::store::open(&config, OpenMode::Exclusive, clock).await {
        Err(StoreError::Setup(text)) => assert!(text.contains("GRANT halo_sync_app"), "{text}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
    c.execute(sqlx::AssertSqlSafe(format!("DROP OWNED BY {user}"))).await.unwrap();
    c.execute(sqlx::AssertSqlSafe(format!("DROP ROLE {user}"))).await.unwrap();
    c.close().await.unwrap();
    database.drop_it().await;
}
