//! The Singer bridge: taps that the tests write, and one that nobody here wrote.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `installed` | the built program with a tap of PyPI, and what it leaves when it is killed |

mod installed;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_sdk::{
    Budget, ConnectorError, Cursor, DynConnector, HttpClient, HttpConfig, Io, Next, Page, Partition,
    Priority, Programs, ReadMode, Secrets, Session, SystemClock,
};
use halo_sync::registry;
use serde_json::{Value, json};

const STREAM: &str = "records";
const SECRET: &str = "sk_live_4f9a2c";
const CATALOG: &str = r#"{"streams":[{"tap_stream_id":"accounts","stream":"accounts","schema":{}},{"tap_stream_id":"others","stream":"others","schema":{}}]}"#;
const SCHEMA: &str = r#"echo '{"type":"SCHEMA","stream":"accounts","schema":{},"key_properties":["id"]}'"#;
const PATIENCE: Duration = Duration::from_secs(30);

/// A tap in a folder: a shell script whose body runs when it is not asked for its catalog.
struct Stand {
    folder: tempfile::TempDir,
    programs: Programs,
}

pub(super) fn write_tap(path: &Path, body: &str) {
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--discover*) echo '{CATALOG}'; exit 0;; esac\n\
         while [ $# -gt 0 ]; do case $1 in --config) CONFIG=$2;; --catalog) LIST=$2;; --state) STATE=$2;; esac; shift; done\n\
         {body}\n"
    );
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Stand {
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tap");
        write_tap(&path, &body.replace("@OUT@", folder.path().to_str().unwrap()));
        let programs = Programs {
            by_name: BTreeMap::from([("test".to_owned(), path)]),
            keeper: vec![env!("CARGO_BIN_EXE_halo-sync").into(), registry::KEEPER.into()],
            ..Programs::default()
        };
        Self { folder, programs }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn connector(&self) -> Arc<dyn DynConnector> {
        let connectors = registry::connectors();
        let singer = connectors.iter().find(|connector| connector.spec().id == "singer").unwrap();
        singer.with_programs(&self.programs).unwrap()
    }

    fn session(&self) -> Box<dyn Session> {
        open(&*self.connector(), &config()).unwrap()
    }
}

fn config() -> Value {
    json!({
        "tap": "test", "account": "acme",
        "config": {"token": "Bearer {secret}"},
        "streams": {"accounts": {"as": "company", "fields": {"name": "name"}, "traits": {"balance": "balance"}}},
    })
}

fn open(connector: &dyn DynConnector, config: &Value) -> Result<Box<dyn Session>, ConnectorError> {
    connector_testkit::install_crypto();
    let clock = Arc::new(SystemClock);
    let io = Io {
        http: HttpClient::new(HttpConfig::default(), clock.clone()).unwrap(),
        clock,
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    };
    let secrets = Secrets(BTreeMap::from([("api_key".to_owned(), SECRET.to_owned().into())]));
    connector.open(config, secrets, io)
}

async fn page(
    session: &dyn Session,
    mode: ReadMode,
    cursor: Option<&Cursor>,
) -> Result<Page, ConnectorError> {
    let partition = Partition::whole();
    session.read_page(STREAM, mode, &partition, cursor).await
}

fn cursor_of(page: &Page) -> Cursor {
    match &page.next {
        Next::More(cursor) | Next::CaughtUp(cursor) => cursor.clone(),
    }
}

/// Reads to the end: ids, tombstones, the end's cursor.
async fn read_all(
    session: &dyn Session,
    mode: ReadMode,
    mut cursor: Option<Cursor>,
) -> Result<(Vec<String>, Vec<String>, Cursor), ConnectorError> {
    let (mut ids, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..1_000 {
        let page = page(session, mode, cursor.as_ref()).await?;
        ids.extend(page.records.iter().map(|record| record.key.id.clone()));
        gone.extend(page.tombstones.iter().map(|key| key.id.clone()));
        match page.next {
            Next::More(more) => cursor = Some(more),
            Next::CaughtUp(end) => return Ok((ids, gone, end)),
        }
    }
    panic!("the read does not end");
}

fn record(id: &str) -> String {
    format!(
        r#"echo '{{"type":"RECORD","stream":"accounts","record":{{"id":"{id}","name":"N","balance":1.10}}}}'"#
    )
}

/// Waits until a file is there; its text.
pub(super) async fn written(path: &Path) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(Instant::now() < end, "{} is not written", path.display()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn lives(pid: &str) -> bool {
    // A zombie is none that lives.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Waits until none of the processes is there, nor the folder.
pub(super) async fn gone(pids: &str, folder: &str) {
    let end = Instant::now() + PATIENCE;
    assert!(!pids.trim().is_empty());
    while pids.split_whitespace().any(lives) || Path::new(folder.trim()).exists() {
        assert!(Instant::now() < end, "{pids} or {folder} is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A tap that writes who it is, starts children within its group and outside of it, says this and then hangs.
pub(super) fn hanging(said: &str) -> String {
    format!(
        "sleep 1000 & A=$!\nsetsid sleep 1000 & B=$!\n{SCHEMA}\n{said}\n\
         pwd > @OUT@/folder\necho $$ $A $B > @OUT@/pids\ntrap '' TERM\nwhile :; do sleep 1; done"
    )
}

#[tokio::test]
async fn a_page_holds_records_and_the_state_behind_them() {
    let body = [
        SCHEMA.to_owned(),
        record("a"),
        r#"echo '{"type":"RECORD","stream":"accounts","record":{"name":"nobody"}}'"#.to_owned(),
        r#"echo '{"type":"RECORD","stream":"others","record":{}}'"#.to_owned(),
        r#"echo '{"type":"LOG","message":"x"}'"#.to_owned(),
        "echo".to_owned(),
        record("b"),
        record("a"),
        r#"if [ -n "$STATE" ]; then cp "$STATE" @OUT@/state; fi; cp "$LIST" @OUT@/list"#.to_owned(),
        r#"echo '{"type":"STATE","value":{"at":1.10}}'"#.to_owned(),
    ];
    let stand = Stand::new(&body.join("\n"));
    let session = stand.session();
    let account = session.check().await.unwrap();
    assert_eq!((account.id.as_deref(), account.name.as_deref()), (Some("acme"), Some("test")));
    let first = page(&*session, ReadMode::Full, None).await.unwrap();
    let ids: Vec<&str> = first.records.iter().map(|record| record.key.id.as_str()).collect();
    assert_eq!(ids, ["acme/accounts/a", "acme/accounts/b"]);
    assert!(first.records[0].payload.get().contains(r#""balance":1.10"#));
    assert_eq!(first.rejected.len(), 1);
    assert_eq!(first.rejected[0].reason, "accounts: id: the key is missing");
    let Next::CaughtUp(end) = first.next else { panic!("{:?}", first.next) };
    assert!(end.0.contains(r#"{"at":1.10}"#), "{}", end.0);
    let list: Value = serde_json::from_str(&std::fs::read_to_string(stand.out("list")).unwrap()).unwrap();
    assert_eq!(list["streams"][0]["metadata"][0]["metadata"]["selected"], true);
    assert_eq!(list["streams"][1]["metadata"][0]["metadata"]["selected"], false);
    assert!(!stand.out("state").exists());
    // A full read that is at its end stays there; a later one of what changed is given the state, as it was.
    let again = page(&*session, ReadMode::Full, Some(&end)).await.unwrap();
    assert!(again.records.is_empty() && again.next == Next::CaughtUp(end.clone()));
    page(&*session, ReadMode::Incremental, Some(&end)).await.unwrap();
    assert_eq!(std::fs::read_to_string(stand.out("state")).unwrap(), r#"{"at":1.10}"#);
    for strange in ["", "null", r#"{"v":1,"at":{}}"#, r#"{"v":9,"at":{}}"#] {
        let error = page(&*session, ReadMode::Full, Some(&Cursor(strange.to_owned()))).await.unwrap_err();
        assert!(matches!(error, ConnectorError::Protocol(_)), "{error}");
    }
    for refused in [
        session.read_many(STREAM, &["acme/accounts/a".to_owned()]).await.unwrap_err(),
        session.read_many("nothing", &[]).await.unwrap_err(),
        session.changed_since(chrono::DateTime::UNIX_EPOCH, None).await.unwrap_err(),
    ] {
        assert!(matches!(refused, ConnectorError::NotOffered(_)), "{refused}");
    }
    assert!(session.plan("nothing", ReadMode::Full, chrono::DateTime::UNIX_EPOCH).await.is_err());
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_no_secret_with_it() {
    let exit = format!("{SCHEMA}; echo \"bad token: Bearer {SECRET}\" >&2; exit 3");
    let cases = [
        ("echo garbage".to_owned(), "line 1 of the tap: it is no JSON"),
        (record("a"), "line 1 of the tap: a RECORD of accounts before its SCHEMA"),
        (format!("{SCHEMA}\nprintf '{{\"type\":\"RECO'"), "line 2 of the tap: it is no JSON, and is cut off"),
        (format!("{SCHEMA}\nprintf '{{\"type\":\"RECO'; exit 4"), "the tap ended with exit code 4"),
        ("head -c 2000 /dev/zero | tr '\\0' x; echo".to_owned(), "a line of more than 1024 bytes"),
        (exit, "ended with exit code 3; it said last: bad token: Bearer [redacted]"),
        ("kill -9 $$".to_owned(), "the tap ended with exit code 137"),
        (r#"echo '{"type":"BATCH","stream":"accounts"}'"#.to_owned(), "batch_config"),
        (
            r#"echo '{"type":"SCHEMA","stream":"accounts","schema":{}}'"#.to_owned(),
            "streams.accounts.key: missing",
        ),
        ("sleep 100".to_owned(), "said nothing for 1 s (singer.idle_seconds)"),
        ("exec >&-; sleep 100".to_owned(), "said nothing for 1 s"),
    ];
    for (body, says) in cases {
        let mut stand = Stand::new(&body);
        (stand.programs.line, stand.programs.idle) = (1024, Duration::from_secs(1));
        let error = read_all(&*stand.session(), ReadMode::Full, None).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains(SECRET), "{body}: {error}");
    }
    let mut stand = Stand::new("while :; do echo; sleep 0.1; done");
    stand.programs.total = Duration::from_secs(1);
    let error = read_all(&*stand.session(), ReadMode::Full, None).await.unwrap_err().to_string();
    assert!(error.contains("ran for more than 1 s (singer.run_seconds)"), "{error}");
}

#[tokio::test]
async fn a_tap_that_fails_keeps_what_came_before_and_goes_on_from_its_state() {
    let body = [
        r#"if [ -n "$STATE" ]; then cp "$STATE" @OUT@/state; exit 0; fi"#.to_owned(),
        SCHEMA.to_owned(),
        record("a"),
        r#"echo '{"type":"STATE","value":{"n":1}}'"#.to_owned(),
        record("b"),
        "exit 1".to_owned(),
    ];
    let stand = Stand::new(&body.join("\n"));
    let connector = stand.connector();
    let session = open(&*connector, &config()).unwrap();
    let first = page(&*session, ReadMode::Full, None).await.unwrap();
    assert_eq!(first.records.len(), 2);
    let cursor = cursor_of(&first);
    let error = page(&*session, ReadMode::Full, Some(&cursor)).await.unwrap_err();
    assert!(matches!(&error, ConnectorError::Transient(why) if why.contains("exit code 1")), "{error}");
    // The next try begins with the state whose records are stored.
    page(&*session, ReadMode::Full, Some(&cursor)).await.unwrap();
    assert_eq!(std::fs::read_to_string(stand.out("state")).unwrap(), r#"{"n":1}"#);
}

#[tokio::test]
async fn what_is_of_an_older_version_of_a_table_is_gone() {
    let versioned = |id: &str, version: u32| {
        format!(
            r#"echo '{{"type":"RECORD","stream":"accounts","record":{{"id":"{id}"}},"version":{version}}}'"#
        )
    };
    let activate = r#"echo '{"type":"ACTIVATE_VERSION","stream":"accounts","version":2}'"#;
    let body =
        [SCHEMA.to_owned(), versioned("a", 1), versioned("b", 1), versioned("a", 2), activate.to_owned()];
    let stand = Stand::new(&body.join("\n"));
    let (ids, gone, _) = read_all(&*stand.session(), ReadMode::Incremental, None).await.unwrap();
    assert_eq!((ids, gone), (vec!["acme/accounts/a".to_owned()], vec!["acme/accounts/b".to_owned()]));
}

#[tokio::test]
async fn a_tap_is_read_no_further_than_is_asked_and_goes_on_where_it_stopped() {
    let endless = format!(
        "{SCHEMA}\ni=0; while :; do echo '{{\"type\":\"RECORD\",\"stream\":\"accounts\",\"record\":{{\"id\":'$i'}}}}'; \
         i=$((i+1)); echo $i > @OUT@/count; done"
    );
    let stand = Stand::new(&endless);
    let connector = stand.connector();
    let first = page(&*open(&*connector, &config()).unwrap(), ReadMode::Full, None).await.unwrap();
    assert_eq!(first.records.len(), 500);
    // Another session of the same connector: a run is read in slices.
    let second = page(&*open(&*connector, &config()).unwrap(), ReadMode::Full, Some(&cursor_of(&first)))
        .await
        .unwrap();
    assert_eq!(second.records[0].key.id, "acme/accounts/500");
    // What fits in the pipe and in the buffer of two pages, and not all that the tap could say.
    let stops = |text: String| text.trim().parse::<u64>().unwrap();
    let mut count = stops(written(&stand.out("count")).await);
    let end = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = stops(written(&stand.out("count")).await);
        if now == count {
            break;
        }
        assert!(Instant::now() < end, "the tap does not wait");
        count = now;
    }
    assert!(count < 10_000, "{count}");
    // Its cursor was passed: it begins anew. So it does with other settings.
    let again = page(&*open(&*connector, &config()).unwrap(), ReadMode::Full, Some(&cursor_of(&first)))
        .await
        .unwrap();
    assert_eq!(again.records[0].key.id, "acme/accounts/0");
    let mut other = config();
    other["streams"]["accounts"]["fields"] = json!({});
    let changed = page(&*open(&*connector, &other).unwrap(), ReadMode::Full, Some(&cursor_of(&again))).await;
    assert_eq!(changed.unwrap().records[0].key.id, "acme/accounts/0");
}

#[tokio::test]
async fn nothing_of_a_tap_is_left_when_it_is_given_up() {
    // Silence, then a reader that goes away in the middle of a page.
    let mut stand = Stand::new(&hanging(""));
    stand.programs.idle = Duration::from_secs(2);
    let error = read_all(&*stand.session(), ReadMode::Full, None).await.unwrap_err();
    assert!(error.to_string().contains("said nothing"), "{error}");
    gone(&written(&stand.out("pids")).await, &written(&stand.out("folder")).await).await;

    let stand = Stand::new(&hanging(""));
    let session = stand.session();
    let task = tokio::spawn(async move { page(&*session, ReadMode::Full, None).await.map(drop) });
    let pids = written(&stand.out("pids")).await;
    assert!(pids.split_whitespace().all(lives), "{pids}");
    task.abort();
    gone(&pids, &written(&stand.out("folder")).await).await;

    // One that ends by itself and leaves children.
    let stand = Stand::new(&format!(
        "sleep 1000 >/dev/null 2>&1 & A=$!\nsetsid sleep 1000 >/dev/null 2>&1 & B=$!\necho $A $B > @OUT@/pids\npwd > @OUT@/folder\n{SCHEMA}"
    ));
    read_all(&*stand.session(), ReadMode::Full, None).await.unwrap();
    gone(&written(&stand.out("pids")).await, &written(&stand.out("folder")).await).await;
}

#[tokio::test]
async fn a_tap_sees_little_and_its_secret_is_in_a_private_file_alone() {
    let stand = Stand::new(
        "env | sort > @OUT@/env; ulimit -v > @OUT@/memory; pwd > @OUT@/folder\n\
         cp \"$CONFIG\" @OUT@/config; stat -c %a \"$CONFIG\" . > @OUT@/modes\n\
         tr '\\0' ' ' < /proc/$$/cmdline > @OUT@/args; tr '\\0' ' ' < /proc/$PPID/cmdline >> @OUT@/args\n\
         ls -l /proc/$$/fd > @OUT@/fds; readlink /proc/$$/fd/0 > @OUT@/stdin",
    );
    // What this process has open is not open there.
    let ours = std::fs::File::create(stand.out("ours")).unwrap();
    read_all(&*stand.session(), ReadMode::Full, None).await.unwrap();
    drop(ours);
    let text = |name: &str| std::fs::read_to_string(stand.out(name)).unwrap();
    let names: Vec<String> = text("env").lines().map(|l| l.split('=').next().unwrap().to_owned()).collect();
    // The shell adds PWD, OLDPWD, SHLVL and `_` by itself.
    let known = ["HOME", "LANG", "OLDPWD", "PATH", "PWD", "SHLVL", "TMPDIR", "TZ", "_"];
    assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
    assert!(!text("env").contains(SECRET) && !text("args").contains(SECRET));
    assert!(text("args").contains("--config"));
    assert_eq!(text("config"), format!(r#"{{"token":"Bearer {SECRET}"}}"#));
    assert_eq!(text("modes"), "600\n700\n");
    assert_eq!(text("memory").trim(), (2_u64 << 20).to_string());
    assert_eq!(text("stdin").trim(), "/dev/null");
    assert!(!text("fds").contains("/ours"), "{}", text("fds"));
    gone("0", &text("folder")).await;
}

#[tokio::test]
async fn only_what_the_operator_names_is_run_and_settings_are_checked_against_the_tap() {
    let stand = Stand::new(SCHEMA);
    let bare = registry::connectors().into_iter().find(|c| c.spec().id == "singer").unwrap();
    let refused = |connector: &dyn DynConnector, config: &Value| match open(connector, config) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    };
    assert!(refused(&*bare, &config()).contains("singer.taps (there: none)"));
    let with = |change: Value| {
        let mut config = config();
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        config
    };
    let connector = stand.connector();
    for (change, says) in [
        (
            json!({"tap": "/bin/sh"}),
            "no program that this server may run; its operator names them in singer.taps (there: test)",
        ),
        (json!({"comand": 1}), "unknown field `comand`"),
        (json!({"streams": {"accounts": {"as": "firm"}}}), "streams.accounts.as: unknown variant `firm`"),
        (
            json!({"streams": {"accounts": {"as": "company", "fields": {"mane": "x"}}}}),
            "streams.accounts.fields.mane",
        ),
        (
            json!({"streams": {"accounts": {"as": "company", "fields": {"name": 7}}}}),
            "streams.accounts.fields.name: invalid type",
        ),
    ] {
        let said = refused(&*connector, &with(change));
        assert!(said.contains(says), "{said}");
    }
    let checked = |change: Value| {
        let session = open(&*connector, &with(change)).unwrap();
        async move { session.check().await.unwrap_err().to_string() }
    };
    let said = checked(json!({"streams": {"acounts": {"as": "company"}}})).await;
    assert!(said.contains("streams.acounts: the tap has no such stream; it has accounts, others"), "{said}");
    let said = checked(json!({"config": {"token": "x"}})).await;
    assert!(said.contains("no text of config says {secret}"), "{said}");
    let mut broken = Stand::new("");
    broken.programs.by_name.insert("test".to_owned(), "/nowhere/tap".into());
    let said = broken.session().check().await.unwrap_err().to_string();
    assert!(said.contains("exit code 127") && said.contains("cannot be started"), "{said}");
}
