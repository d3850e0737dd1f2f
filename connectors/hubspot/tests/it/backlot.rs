//! backlot, an imitation of HubSpot that nobody of this project wrote: it reads alone, knows no owners, no
//! account and no batches of associations, and answers under the numbered paths.
//!
//! `tests/backlot` puts it into a folder of its own; `HALO_SYNC_BACKLOT` names a program that is there already. Skipped
//! where there is none, unless `HALO_SYNC_REQUIRE` names `backlot`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use connector_hubspot::HubSpot;
use connector_sdk::{Connector, ConnectorError, DynConnector, Fact, ReadMode, Session};
use connector_testkit::parts::{skip, workspace};
use serde_json::json;

use crate::support::{io, pages, records, secrets};

const TOKEN: &str = "admin-service-token";
const EACH: usize = 230;

/// A server that ends with the test.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn corpus() -> String {
    let mut out = String::new();
    for n in 0..EACH {
        let (company, contact) = (10_000 + n, 20_000 + n);
        for (object_type, id, properties) in [
            (
                "companies",
                company,
                json!({"name": format!("Company {n}"), "domain": format!("c{n}.example"), "industry": "RAIL"}),
            ),
            (
                "contacts",
                contact,
                json!({"firstname": "P", "lastname": n.to_string(), "email": format!("p@c{n}.example"),
                                         "associatedcompanyid": company.to_string()}),
            ),
        ] {
            let mut properties = properties;
            properties["createdate"] = json!("2026-02-25T16:14:38.670Z");
            properties["hs_lastmodifieddate"] = json!("2026-02-26T16:14:38.670Z");
            let line = json!({
                "source_type": "hubspot", "object_type": object_type, "record_id": id.to_string(),
                "doc_id": format!("d{id}"), "title": format!("{object_type} {n}"),
                "content": format!("{object_type} {n}"), "properties": properties,
                "author_email": "owner@us.example", "created": "2026-02-25T16:14:38Z",
            });
            out.push_str(&line.to_string());
            out.push('\n');
        }
    }
    out
}

async fn serve(program: &Path) -> (Server, String) {
    let folder = std::env::temp_dir().join(format!("halo-sync-backlot-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (corpus_file, data) = (folder.join("corpus.jsonl"), folder.join("data"));
    std::fs::write(&corpus_file, corpus()).unwrap();
    let imported = Command::new(program)
        .args(["import", "--data-dir"])
        .arg(&data)
        .arg(&corpus_file)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(imported.success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(program)
        .args(["serve", "--host", "127.0.0.1", "--disable-telemetry", "--log-level", "error", "--port"])
        .arg(port.to_string())
        .arg("--data-dir")
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, folder };
    let mut tries = 0;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tries += 1;
        assert!(tries < 600, "backlot does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (server, format!("http://127.0.0.1:{port}/hubspot"))
}

fn open(url: &str, token: &str) -> Box<dyn Session> {
    let settings = json!({"base_url": url, "api_version": "v3"});
    DynConnector::open(&HubSpot, &settings, secrets(token), io()).unwrap()
}

fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("HALO_SYNC_BACKLOT") {
        return Some(PathBuf::from(program));
    }
    let why = match Command::new("sh").arg(workspace().join("tests/backlot/setup.sh")).output() {
        Ok(made) if made.status.success() => {
            return Some(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()));
        }
        Ok(made) => String::from_utf8_lossy(&made.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skip("backlot", &why);
    None
}

#[tokio::test]
async fn an_independent_hubspot_is_read() {
    let Some(program) = program() else { return };
    let (_server, url) = serve(&program).await;
    let session = open(&url, TOKEN);
    let account = session.check().await.unwrap();
    assert!(account.not_offered.contains(&"account".to_owned()), "{account:?}");
    assert!(account.not_offered.contains(&"owners".to_owned()), "{account:?}");
    for (stream, first) in [("companies", 10_000), ("contacts", 20_000)] {
        assert!(!account.not_offered.contains(&stream.to_owned()));
        let (read, _) = pages(session.as_ref(), stream, ReadMode::Full, None).await;
        assert_eq!(read.len(), 3, "pages of a hundred");
        let mut read = records(read);
        read.sort_by_key(|record| record.key.clone());
        let ids: Vec<String> = read.iter().map(|record| record.key.id.clone()).collect();
        assert_eq!(ids, (first..first + EACH).map(|id| id.to_string()).collect::<Vec<_>>());
        for (n, record) in read.iter().enumerate() {
            let extract = Connector::facts(&HubSpot, record).unwrap();
            assert_eq!(extract.party.unwrap().id, (10_000 + n).to_string());
            match &extract.facts[0] {
                Fact::Organization(o) => assert_eq!(o.industry.as_deref(), Some("RAIL")),
                Fact::Person(p) => assert_eq!(p.emails, [format!("p@c{n}.example")]),
                other => panic!("{other:?}"),
            }
        }
        // By id the same text, and what is not there is gone.
        let mut asked = ids.clone();
        asked.push("77".to_owned());
        let batch = session.read_many(stream, &asked).await.unwrap();
        let gone: Vec<&str> = batch.tombstones.iter().map(|key| key.id.as_str()).collect();
        assert_eq!((batch.records.len(), gone), (EACH, vec!["77"]));
        for record in &batch.records {
            let listed = read.iter().find(|other| other.key == record.key).unwrap();
            assert_eq!(record.payload.get(), listed.payload.get());
        }
    }
    let refused = open(&url, "not-the-token").check().await;
    assert!(matches!(refused, Err(ConnectorError::Auth { .. })), "{refused:?}");
    let read = open(&url, "not-the-token");
    let plan = read.plan("companies", ReadMode::Full, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let refused = read.read_page("companies", ReadMode::Full, &plan[0], None).await;
    assert!(matches!(refused, Err(ConnectorError::Auth { .. })), "{refused:?}");
}
