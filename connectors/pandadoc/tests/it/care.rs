//! One document whole, what changed since an instant, webhook subscriptions and deliveries.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use connector_pandadoc::PandaDoc;
use connector_sdk::{
    Clock, Connector, ConnectorError, RawRequest, RecordKey, Session, SystemClock, Timestamp,
};
use connector_testkit::sandbox::pandadoc::PandaDocSandbox;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{open, sandbox};

/// Path with query, and body.
type Came = (String, Vec<u8>);

/// A receiver of webhooks that keeps what comes and answers what it is told to.
#[derive(Clone, Default)]
struct Inbox {
    came: Arc<Mutex<Vec<Came>>>,
    answer: Arc<Mutex<Option<u16>>>,
}

impl Inbox {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inbox = self.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let mut buffer = [0; 4096];
                let (head, body) = loop {
                    let n = socket.read(&mut buffer).await.unwrap();
                    bytes.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head
                        .lines()
                        .find_map(|line| {
                            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                        })
                        .map_or(0, |length| length.trim().parse::<usize>().unwrap());
                    if bytes.len() >= head.len() + 4 + length {
                        break (head.to_owned(), bytes[head.len() + 4..].to_vec());
                    }
                };
                let path = head.split(' ').nth(1).unwrap().to_owned();
                inbox.came.lock().unwrap().push((path, body));
                let status = inbox.answer.lock().unwrap().unwrap_or(200);
                let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                socket.write_all(text.as_bytes()).await.unwrap();
            }
        });
        url
    }

    fn take(&self) -> Vec<Came> {
        std::mem::take(&mut self.came.lock().unwrap())
    }
}

async fn changed(session: &dyn Session, since: Timestamp) -> (BTreeSet<String>, usize) {
    let (mut named, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = session.changed_since(since, cursor.as_ref()).await.unwrap();
        named.extend(page.keys.into_iter().map(|key| key.id));
        pages += 1;
        assert!(pages < 1_000);
        cursor = page.next;
        if cursor.is_none() {
            return (named, pages);
        }
    }
}

/// What a delivery comes to by way of the connector, as the inbox asks.
fn take(secret: &SecretString, path: &str, body: &[u8]) -> Vec<connector_sdk::Event> {
    let headers = http::HeaderMap::new();
    let url = format!("https://halo.example{path}");
    let request = RawRequest {
        method: "POST",
        url: &url,
        headers: &headers,
        body,
        received_at: SystemClock.now(),
        tolerance: std::time::Duration::ZERO,
    };
    let webhooks = Connector::webhooks(&PandaDoc).unwrap();
    webhooks.verify(std::slice::from_ref(secret), &request).unwrap();
    // Routing has the body alone, as when a stored delivery is applied.
    webhooks.route(&RawRequest { url: "", ..request }).unwrap()
}

#[tokio::test]
async fn subscriptions_are_made_found_changed_and_removed() {
    let sandbox = sandbox().await;
    let session = open(&sandbox, json!({}));
    let admin = session.endpoints().unwrap();
    assert!(admin.list().await.unwrap().is_empty());
    let made = admin.create("https://halo.example/hook?team=org_1", "con_1").await.unwrap();
    assert!(!format!("{made:?}").contains(made.secret.expose_secret()));
    let endpoint = made.endpoint;
    assert_eq!(
        (endpoint.enabled, endpoint.tag.as_deref(), endpoint.api_version.as_deref()),
        (true, Some("con_1"), None)
    );
    let wanted: BTreeSet<String> =
        Connector::spec(&PandaDoc).webhook_events.iter().map(|e| (*e).to_owned()).collect();
    assert_eq!(endpoint.events.clone().unwrap().into_iter().collect::<BTreeSet<_>>(), wanted);
    // PandaDoc deactivates a subscription by itself; that is seen though it is "active" still.
    sandbox.change_subscription(&endpoint.id, |doc| doc["status"] = json!("DEACTIVATED"));
    assert_eq!(sandbox.subscriptions()[0]["active"], true);
    let seen = admin.list().await.unwrap();
    assert!(!seen[0].enabled && seen[0].id == endpoint.id);
    let mended = admin.update(&endpoint.id, "https://halo.example/new").await.unwrap();
    assert_eq!((mended.enabled, mended.url.as_str()), (true, "https://halo.example/new"));
    sandbox.change_subscription(&endpoint.id, |doc| doc["name"] = json!("Somebody's own"));
    assert_eq!(admin.list().await.unwrap()[0].tag, None);
    admin.remove(&endpoint.id).await.unwrap();
    admin.remove(&endpoint.id).await.unwrap();
    let late = admin.update(&endpoint.id, "https://x.example").await;
    assert!(matches!(late, Err(ConnectorError::Transient(_))), "{late:?}");
    let refused = admin.create("not an address", "con_1").await;
    assert!(matches!(&refused, Err(ConnectorError::Config(why)) if why.contains("valid URL")), "{refused:?}");
    sandbox.forbid("webhook-subscriptions", true);
    let refused = admin.create("https://x.example", "con_1").await;
    assert!(
        matches!(&refused, Err(ConnectorError::Auth { missing_permission: Some(p), .. }) if p == "write"),
        "{refused:?}"
    );
    let refused = admin.list().await;
    assert!(
        matches!(&refused, Err(ConnectorError::Auth { missing_permission: Some(p), .. }) if p == "read"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn deliveries_verify_and_name_what_changed() {
    let sandbox = sandbox().await;
    let inbox = Inbox::default();
    let base = inbox.start().await;
    let session = open(&sandbox, json!({}));
    let path = "/api/integrations/pandadoc/webhook?team=org_1";
    let made = session.endpoints().unwrap().create(&format!("{base}{path}"), "con_1").await.unwrap();
    let id = sandbox.create("Order", "a@b.example");
    sandbox.complete(&id).unwrap();
    let waiting = sandbox.take_events();
    assert_eq!(waiting.len(), 2);
    // Both in one body, and each by itself: the same events.
    sandbox.deliver(&waiting).await;
    for event in &waiting {
        sandbox.deliver(std::slice::from_ref(event)).await;
    }
    let came = inbox.take();
    assert_eq!(came.len(), 3);
    assert!(came[0].0.starts_with(&format!("{path}&signature=")), "{}", came[0].0);
    let together = take(&made.secret, &came[0].0, &came[0].1);
    assert_eq!(together.len(), 2);
    for (n, (path, body)) in came[1..].iter().enumerate() {
        assert_eq!(take(&made.secret, path, body), [together[n].clone()]);
    }
    assert_ne!(together[0].id, together[1].id);
    assert!(together.iter().all(|event| event.touches == [RecordKey::new("documents", id.as_str())]));
    sandbox.delete(&id).unwrap();
    sandbox.flush().await;
    let (path, body) = inbox.take().remove(0);
    assert_eq!(take(&made.secret, &path, &body)[0].tombstones, [RecordKey::new("documents", id.as_str())]);
    // Gone once: PandaDoc gives up, and the subscription says so.
    *inbox.answer.lock().unwrap() = Some(410);
    sandbox.create("Another", "a@b.example");
    assert_eq!(sandbox.flush().await[0].status, Some(410));
    assert!(!session.endpoints().unwrap().list().await.unwrap()[0].enabled);
    sandbox.create("Unheard", "a@b.example");
    assert!(sandbox.flush().await.is_empty());
}

#[tokio::test]
async fn history_names_what_the_list_and_the_log_know() {
    let sandbox = sandbox().await;
    let inbox = Inbox::default();
    let base = inbox.start().await;
    let session = open(&sandbox, json!({}));
    session.endpoints().unwrap().create(&base, "con_1").await.unwrap();
    let old = sandbox.create("Old", "a@b.example");
    let gone = sandbox.create("Gone", "a@b.example");
    let made: BTreeSet<String> = (0..120).map(|n| sandbox.create(&format!("D {n}"), "a@b.example")).collect();
    sandbox.flush().await;
    // Long ago; then only its links change, which moves no date, and the delivery about it is refused.
    for id in [&old, &gone] {
        sandbox.change(id, None, |d| d["date_modified"] = json!("2020-01-01T00:00:00.000000Z")).unwrap();
    }
    let since = SystemClock.now() - chrono::TimeDelta::hours(1);
    let (named, pages) = changed(session.as_ref(), since).await;
    assert_eq!(named, made, "the log's deliveries all went well");
    assert!(pages >= 5, "{pages}");
    *inbox.answer.lock().unwrap() = Some(500);
    let unmoved = |sandbox: &PandaDocSandbox, id: &str, event: &str| {
        sandbox.change(id, Some(event), |_| ()).unwrap();
        sandbox.change(id, None, |d| d["date_modified"] = json!("2020-01-01T00:00:00.000000Z")).unwrap();
    };
    unmoved(&sandbox, &old, "document_updated");
    sandbox.flush().await;
    let (named, _) = changed(session.as_ref(), since).await;
    assert!(named.contains(&old) && !named.contains(&gone));
    // A deletion is named whether or not it was told.
    *inbox.answer.lock().unwrap() = None;
    sandbox.delete(&gone).unwrap();
    sandbox.flush().await;
    let (named, _) = changed(session.as_ref(), since).await;
    assert!(named.contains(&gone) && named.len() == made.len() + 2);
    // What is read again by these names: all that is, and the one that is gone.
    let ids: Vec<String> = named.into_iter().collect();
    let batch = session.read_many("documents", &ids).await.unwrap();
    assert_eq!(batch.tombstones, [RecordKey::new("documents", gone)]);
    let later = changed(session.as_ref(), SystemClock.now() + chrono::TimeDelta::hours(1)).await;
    assert!(later.0.is_empty());
    // Without the right to the log the list is all there is.
    sandbox.forbid("webhook-events", true);
    assert_eq!(changed(session.as_ref(), since).await.0.len(), made.len() + 1);
    let strange = session.changed_since(since, Some(&connector_sdk::Cursor("{}".to_owned()))).await;
    assert!(matches!(strange, Err(ConnectorError::Protocol(_))));
}

#[tokio::test]
async fn a_party_is_its_document() {
    let sandbox = sandbox().await;
    let id = sandbox.create("Order", "a@b.example");
    let session = open(&sandbox, json!({}));
    let batch = session.read_party(&RecordKey::new("documents", id.as_str())).await.unwrap();
    assert_eq!(batch.records.len(), 1);
    let doc: Value = serde_json::from_str(batch.records[0].payload.get()).unwrap();
    assert_eq!(Some(doc), sandbox.document(&id));
    let gone = session.read_party(&RecordKey::new("documents", "none")).await.unwrap();
    assert_eq!(gone.tombstones.len(), 1);
    assert!(session.read_party(&RecordKey::new("contacts", id)).await.is_err());
}
