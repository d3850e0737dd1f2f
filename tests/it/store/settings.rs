//! Organisations, connections, secrets, keys.

use connector_sdk::{Mode, Timestamp};
use halo_sync::domain::connections::{ApiKey, Connection, ConnectionStatus, KeyClass};
use halo_sync::domain::{ConnectionId, OrgId};
use halo_sync::store::settings::SealedSecret;
use halo_sync::store::{SettingsStore, Store, StoreError};
use serde_json::json;

pub(crate) fn at(us: i64) -> Timestamp {
    Timestamp::from_timestamp_micros(1_767_225_600_000_000 + us).unwrap()
}

pub(crate) fn connection(org: &OrgId, id: &str, name: &str) -> Connection {
    Connection {
        id: id.into(),
        org_id: org.clone(),
        connector: "stripe".into(),
        name: name.into(),
        account_id: Some("acct_1".into()),
        account_name: None,
        mode: Mode::Test,
        status: ConnectionStatus::Active,
        status_reason: None,
        config: json!({"b": 1, "a": {"z": [1, 2], "y": "\u{0}"}}),
        limits: json!([]),
        checked_at: Some(at(5)),
        created_at: at(1),
        updated_at: at(2),
    }
}

fn secret(name: &str, slot: i64, sealed: &[u8]) -> SealedSecret {
    SealedSecret { name: name.into(), slot, sealed: sealed.to_vec(), expires_at: None }
}

async fn the_default_org_exists_and_settings_are_replaced(store: &dyn SettingsStore) {
    let org = OrgId::default_org();
    assert_eq!(store.find_org_settings(&org).await.unwrap(), Some(json!({})));
    store.put_org(&org, "Acme", &json!({"reporting_currency": "eur"}), at(0)).await.unwrap();
    assert_eq!(store.find_org_settings(&org).await.unwrap(), Some(json!({"reporting_currency": "eur"})));
    assert_eq!(store.find_org_settings(&"org_none".into()).await.unwrap(), None);
    store.put_org(&"org_b".into(), "B", &json!({}), at(0)).await.unwrap();
    assert_eq!(store.list_orgs().await.unwrap(), vec!["org_b".into(), org]);
}

async fn a_connection_reads_back_as_it_was_put(store: &dyn SettingsStore) {
    let org = OrgId::default_org();
    let put = connection(&org, "con_1", "stripe");
    store.put_connection(&put, &[secret("api_key", 0, b"\x00\xffsealed")]).await.unwrap();
    for text in ["con_1", "stripe"] {
        assert_eq!(store.find_connection(&org, text).await.unwrap().as_ref(), Some(&put));
    }
    assert_eq!(store.find_connection_any_org(&"con_1".into()).await.unwrap().as_ref(), Some(&put));
    assert_eq!(store.find_connection(&"org_b".into(), "stripe").await.unwrap(), None);
    assert_eq!(store.list_connections(None).await.unwrap(), vec![put.clone()]);
    assert_eq!(store.list_connections(Some(&org)).await.unwrap(), vec![put]);
}

async fn secrets_that_are_not_named_again_go(store: &dyn SettingsStore) {
    let org = OrgId::default_org();
    let id: ConnectionId = "con_1".into();
    let put = connection(&org, "con_1", "stripe");
    store.put_connection(&put, &[secret("api_key", 0, b"1"), secret("webhook", 0, b"2")]).await.unwrap();
    store.put_secret(&org, &id, &secret("webhook", 1, b"3")).await.unwrap();
    store.put_secret(&org, &id, &secret("webhook", 1, b"4")).await.unwrap();
    let names = |list: Vec<SealedSecret>| -> Vec<(String, i64, Vec<u8>)> {
        list.into_iter().map(|s| (s.name, s.slot, s.sealed)).collect()
    };
    assert_eq!(
        names(store.load_secrets(&org, &id).await.unwrap()),
        [
            ("api_key".into(), 0, b"1".to_vec()),
            ("webhook".into(), 0, b"2".to_vec()),
            ("webhook".into(), 1, b"4".to_vec())
        ]
    );
    store.update_connection(&put).await.unwrap();
    assert_eq!(store.load_secrets(&org, &id).await.unwrap().len(), 3);
    store.put_connection(&put, &[secret("api_key", 0, b"9")]).await.unwrap();
    assert_eq!(names(store.load_secrets(&org, &id).await.unwrap()), [("api_key".into(), 0, b"9".to_vec())]);
}

async fn a_name_is_taken_once_and_an_id_keeps_its_owner(store: &dyn SettingsStore) {
    let org = OrgId::default_org();
    store.put_org(&"org_b".into(), "B", &json!({}), at(0)).await.unwrap();
    store.put_connection(&connection(&org, "con_1", "stripe"), &[]).await.unwrap();
    let twice = store.put_connection(&connection(&org, "con_2", "stripe"), &[]).await;
    assert!(matches!(twice, Err(StoreError::Invalid(text)) if text.contains("stripe")));
    // Another organisation may use the name, and may not take the id.
    store.put_connection(&connection(&"org_b".into(), "con_3", "stripe"), &[]).await.unwrap();
    assert!(store.put_connection(&connection(&"org_b".into(), "con_1", "mine"), &[]).await.is_err());
    let kept = store.find_connection_any_org(&"con_1".into()).await.unwrap().unwrap();
    assert_eq!((kept.org_id, kept.name.as_str()), (org, "stripe"));
}

async fn an_equal_status_writes_nothing(store: &dyn SettingsStore) {
    let org = OrgId::default_org();
    let id: ConnectionId = "con_1".into();
    store.put_connection(&connection(&org, "con_1", "stripe"), &[]).await.unwrap();
    let set = |status, reason: Option<&'static str>, t| {
        let (org, id) = (org.clone(), id.clone());
        async move { store.set_connection_status(&org, &id, status, reason, at(t)).await.unwrap() }
    };
    set(ConnectionStatus::Active, None, 50).await;
    assert_eq!(store.find_connection(&org, "con_1").await.unwrap().unwrap().updated_at, at(2));
    set(ConnectionStatus::NeedsAttention, Some("key revoked"), 60).await;
    set(ConnectionStatus::NeedsAttention, Some("key revoked"), 70).await;
    let now = store.find_connection(&org, "con_1").await.unwrap().unwrap();
    assert_eq!(
        (now.status, now.status_reason.as_deref(), now.updated_at),
        (ConnectionStatus::NeedsAttention, Some("key revoked"), at(60))
    );
}

async fn keys_are_found_by_hash_until_revoked(store: &dyn Store) {
    let org = OrgId::default_org();
    let key = ApiKey {
        id: "key_1".into(),
        org_id: org.clone(),
        class: KeyClass::Server,
        name: "ci".into(),
        prefix: "hs_sk_ab".into(),
        created_at: at(1),
        revoked_at: None,
        origins: None,
        expires_at: None,
        last_used_at: None,
    };
    store.put_key(&key, "hash").await.unwrap();
    assert_eq!(store.find_key("hash").await.unwrap(), Some(key.clone()));
    assert_eq!(store.find_key("other").await.unwrap(), None);
    assert!(!store.revoke_key(&"org_b".into(), &key.id, at(2)).await.unwrap());
    assert!(store.revoke_key(&org, &key.id, at(2)).await.unwrap());
    assert!(!store.revoke_key(&org, &key.id, at(3)).await.unwrap());
    assert_eq!(store.find_key("hash").await.unwrap(), None);
    assert_eq!(store.list_keys(&org).await.unwrap()[0].revoked_at, Some(at(2)));
}

contract!(
    the_default_org_exists_and_settings_are_replaced,
    a_connection_reads_back_as_it_was_put,
    secrets_that_are_not_named_again_go,
    a_name_is_taken_once_and_an_id_keeps_its_owner,
    an_equal_status_writes_nothing,
    keys_are_found_by_hash_until_revoked,
);
