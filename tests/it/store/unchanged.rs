//! A second run without changes writes no row of records, links, companies or derivations.

use std::collections::BTreeMap;

use halo_sync::store::identity::PartyObserved;
use halo_sync::store::{OpenMode, Store};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use super::kit::*;
use crate::support::postgres::{Database, open};

/// Tables that keep what is known. The others keep how far reading got.
const KNOWN: &[&str] = &[
    "companies",
    "company_keys",
    "company_links",
    "link_candidates",
    "end_users",
    "user_links",
    "user_candidates",
    "mirror_records",
    "record_refs",
    "rejected_records",
    "company_derivations",
    "field_changes",
    "dirty_companies",
    "jobs",
];

async fn backfill(store: &dyn Store, first: i64) -> (i64, i64) {
    let pass = store
        .begin_pass(&org(), &con(), "customers", true, vec![partition("all")], None, at(first))
        .await
        .unwrap();
    let mut written = 0;
    let mut dirty = 0;
    for page in 0..3i64 {
        let mut one = commit(store.next_read_seq().await.unwrap(), vec![]);
        one.generation = Some(pass.generation);
        one.at = at(first + page);
        for n in 0..50i64 {
            let name = format!("customers/{}", page * 50 + n);
            let domain = format!("c{}.example.com", page * 50 + n);
            one.records.push(record(&name, Some(&name), &[], "same"));
            one.records.push(record(
                &format!("subscriptions/{n}-{page}"),
                Some(&name),
                &["prices/1"],
                "same",
            ));
            one.parties.push(party(&name, &[("domain", "domain", &domain)], true));
            let contact = format!("contacts/{}", page * 50 + n);
            one.records.push(record(&contact, Some(&name), &[], "same"));
            let number = (page * 50 + n).to_string();
            let of = [("association", "party:stripe/customers", number.as_str())];
            one.parties.push(PartyObserved { person: true, label: None, ..party(&contact, &of, false) });
            one.people.push(person(&contact, &[&format!("jane@{domain}")], &[("name", "Jane")]));
        }
        one.checkpoint = Some(checkpoint("customers", "all", pass.generation, page == 2));
        let done = ingest(store, one).await;
        written += done.counts.created + done.counts.updated + done.counts.deleted;
        dirty += done.dirty;
    }
    let swept =
        store.finish_pass(&org(), &con(), "customers", None, Some(100), None, at(first + 9)).await.unwrap();
    (written + swept.counts.deleted, dirty)
}

async fn prepare(store: &dyn Store) {
    connected(store).await;
    company(store, "real", json!({"domain": "c7.example.com"}), 1).await;
    assert_eq!(backfill(store, 10).await, (450, 150));
    assert_eq!(take_dirty(store).await.len(), 150);
}

#[tokio::test]
async fn on_sqlite() {
    let bench = super::SqliteBench::new().await;
    prepare(&*bench.engine).await;
    let mut c =
        SqliteConnection::connect(&format!("sqlite://{}", bench.folder.path().join("halo.db").display()))
            .await
            .unwrap();
    let before = dump_sqlite(&mut c).await;
    assert_eq!(backfill(&*bench.engine, 100).await, (0, 0));
    assert_eq!(dump_sqlite(&mut c).await, before);
}

async fn dump_sqlite(c: &mut SqliteConnection) -> BTreeMap<&'static str, Vec<String>> {
    let mut dump = BTreeMap::new();
    for table in KNOWN {
        let columns: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')")))
                .fetch_all(&mut *c)
                .await
                .unwrap();
        let quoted: Vec<String> = columns.iter().map(|name| format!("quote({name})")).collect();
        let sql = format!("SELECT {} FROM {table} ORDER BY 1", quoted.join(" || '|' || "));
        dump.insert(*table, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *c).await.unwrap());
    }
    dump
}

#[tokio::test]
async fn on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    let engine = open(&database.url, OpenMode::Exclusive).await;
    prepare(&*engine).await;
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    let before = dump_postgres(&mut c).await;
    assert_eq!((before["mirror_records"].len(), before["end_users"].len()), (450, 150));
    assert_eq!(backfill(&*engine, 100).await, (0, 0));
    assert_eq!(dump_postgres(&mut c).await, before);
    c.close().await.unwrap();
    engine.close().await;
    database.drop_it().await;
}

/// With the row version's place and transaction: a rewritten equal row shows, and so does a lock.
async fn dump_postgres(c: &mut PgConnection) -> BTreeMap<&'static str, Vec<String>> {
    let mut dump = BTreeMap::new();
    for table in KNOWN {
        let sql =
            format!("SELECT ctid::text || xmin::text || xmax::text || t::text FROM {table} t ORDER BY 1");
        dump.insert(*table, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *c).await.unwrap());
    }
    dump
}
