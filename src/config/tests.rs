use std::ffi::OsString;
use std::path::Path;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn file(dir: &Path, text: &str) -> FileChoice {
    let path = dir.join("halo-sync.toml");
    std::fs::write(&path, text).unwrap();
    FileChoice::Required(path)
}

fn flag(name: &str, key: &str, value: &str) -> Flag {
    Flag { name: name.to_owned(), key: key.to_owned(), value: value.to_owned() }
}

fn fails(sources: &Sources) -> String {
    Config::load(sources).expect_err("settings that must be refused").to_string()
}

#[test]
fn nothing_set_is_the_default() {
    let loaded = Config::load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.rows().iter().all(|row| row.origin == "default"));
    assert!(
        matches!(loaded.config.database(), Ok(DatabaseTarget::Sqlite(p)) if p == Path::new("./data/halo-sync.db"))
    );
    assert!(
        matches!(loaded.secret_key(), SecretKeySource::FileOrNew(p) if p == Path::new("./data/secret.key"))
    );
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[worker]\nconcurrency = 2\n[sync]\npage_budget = 2\njob_seconds = 2\n";
    let sources = Sources {
        file: file(dir.path(), text),
        env: env(&[("HALO_SYNC_SYNC__PAGE_BUDGET", "3"), ("HALO_SYNC_SYNC__JOB_SECONDS", "3")]),
        flags: vec![flag("--job-seconds", "sync.job_seconds", "4")],
    };
    let loaded = Config::load(&sources).unwrap();
    let config = &loaded.config;
    assert_eq!((config.worker.concurrency, config.sync.page_budget, config.sync.job_seconds), (2, 3, 4));
    assert_eq!(loaded.origin("worker.concurrency"), Origin::File(dir.path().join("halo-sync.toml")));
    assert_eq!(loaded.origin("sync.page_budget"), Origin::Env("HALO_SYNC_SYNC__PAGE_BUDGET".into()));
    assert_eq!(loaded.origin("sync.job_seconds"), Origin::Flag("--job-seconds".into()));
    assert_eq!(loaded.origin("worker.enabled"), Origin::Default);
}

#[test]
fn unknown_keys_name_the_nearest_and_where_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let text = "listen = \"127.0.0.1:1\"\n[serve]\n[worker]\nconcurency = 2\n[log]\nzzzzzz = 1\n";
    let error = fails(&Sources { file: file(dir.path(), text), ..Sources::default() });
    let place = dir.path().join("halo-sync.toml");
    let place = place.display();
    assert_eq!(
        error,
        format!(
            "there is no setting listen (file {place}); did you mean server.listen?\n\
             there is no setting serve (file {place}); did you mean server?\n\
             there is no setting worker.concurency (file {place}); did you mean worker.concurrency?\n\
             there is no setting log.zzzzzz (file {place})"
        )
    );

    let error = fails(&Sources { env: env(&[("HALO_SYNC_SERVER__LISTN", "x")]), ..Sources::default() });
    assert_eq!(
        error,
        "there is no setting HALO_SYNC_SERVER__LISTN (environment HALO_SYNC_SERVER__LISTN); did you mean \
         HALO_SYNC_SERVER__LISTEN?"
    );
}

#[test]
fn variables_of_others_are_passed_over() {
    use std::os::unix::ffi::OsStringExt;
    let mut env =
        env(&[("HALO_SYNC_SERVICE_HOST", "10.0.0.1"), ("HALO_SYNC_PORT", "tcp://x"), ("PATH", "/")]);
    env.push((OsString::from_vec(vec![0xff]), OsString::from_vec(vec![0xff])));
    env.push((OsString::from("OTHER"), OsString::from_vec(vec![0xff])));
    assert_eq!(Config::load(&Sources { env, ..Sources::default() }).unwrap().config, Config::default());

    let broken = vec![(OsString::from("HALO_SYNC_LOG__LEVEL"), OsString::from_vec(vec![0xff]))];
    let error = fails(&Sources { env: broken, ..Sources::default() });
    assert_eq!(error, "log.level (environment HALO_SYNC_LOG__LEVEL): is not UTF-8 text");
}

#[test]
fn values_are_read_strictly() {
    let dir = tempfile::tempdir().unwrap();
    for (text, wants) in [
        ("[worker]\nconcurrency = 1.7\n", "worker.concurrency"),
        ("[worker]\nconcurrency = true\n", "worker.concurrency"),
        ("[worker]\nconcurrency = -1\n", "worker.concurrency"),
        ("[worker]\nconcurrency = \"2\"\n", "worker.concurrency"),
        ("[worker]\nconcurrency = 0\n", "0 is not between 1 and 1000"),
        ("[worker]\nenabled = \"yes\"\n", "worker.enabled"),
        ("[server]\nlisten = \"here\"\n", "server.listen"),
        ("[server]\npublic_url = \"ftp://x\"\n", "server.public_url"),
        ("[log]\nformat = \"xml\"\n", "log.format"),
        ("[log]\nlevel = \"loud\"\n", "log.level"),
        ("[sync]\ntime_zone = \"Mars/Olympus\"\n", "sync.time_zone"),
        ("[sync]\nfull_schedule = \"daily\"\n", "sync.full_schedule"),
        ("[sync]\nincremental_schedule = \"61 * * * *\"\n", "sync.incremental_schedule"),
        ("[orgs]\ndefault = \"acme\"\n", "orgs.default"),
        ("[database]\nurl = \"mysql://u:hunter2@h/d\"\n", "database.url"),
        ("[database]\nurl = \"sqlite::memory:\"\n", "database.url"),
        ("worker = 3\n", "there is no setting worker"),
    ] {
        let error = fails(&Sources { file: file(dir.path(), text), ..Sources::default() });
        assert!(error.contains(wants), "{text:?} gave {error:?}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for (name, value) in [("WORKER__CONCURRENCY", "two"), ("WORKER__ENABLED", "maybe")] {
        let name = format!("HALO_SYNC_{name}");
        let error = fails(&Sources { env: env(&[(&name, value)]), ..Sources::default() });
        assert!(error.contains(&name) && error.contains(value), "{error}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let env = env(&[
        ("HALO_SYNC_WORKER__CONCURRENCY", "0"),
        ("HALO_SYNC_LOG__LEVEL", "loud"),
        ("HALO_SYNC_SERVER__LISTEN", "0.0.0.0:80"),
    ]);
    assert_eq!(fails(&Sources { env, ..Sources::default() }).lines().count(), 3);
}

#[test]
fn a_file_that_is_not_toml_names_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let error = fails(&Sources { file: file(dir.path(), "[server]\nlisten = \n"), ..Sources::default() });
    assert!(error.contains("halo-sync.toml: line 2, column "), "{error}");
    let secret = "[database]\npassword = \"hunter2\nurl = 1\n";
    let error = fails(&Sources { file: file(dir.path(), secret), ..Sources::default() });
    assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_is_named_must_be_there_and_one_that_is_looked_for_need_not() {
    let missing = Path::new("/nonexistent/halo-sync.toml").to_owned();
    let error = fails(&Sources { file: FileChoice::Required(missing.clone()), ..Sources::default() });
    assert!(error.contains("/nonexistent/halo-sync.toml cannot be read"), "{error}");
    let loaded =
        Config::load(&Sources { file: FileChoice::IfPresent(missing), ..Sources::default() }).unwrap();
    assert_eq!(loaded.file, None);
}

#[test]
fn remote_addresses_need_a_second_word() {
    for address in ["0.0.0.0:8420", "192.0.2.1:8420", "[::]:8420"] {
        let only = env(&[("HALO_SYNC_SERVER__LISTEN", address)]);
        let error = fails(&Sources { env: only, ..Sources::default() });
        assert!(error.contains("server.allow_remote = true"), "{error}");
        let both = env(&[("HALO_SYNC_SERVER__LISTEN", address), ("HALO_SYNC_SERVER__ALLOW_REMOTE", "true")]);
        Config::load(&Sources { env: both, ..Sources::default() }).unwrap();
    }
    for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:8420"] {
        let only = env(&[("HALO_SYNC_SERVER__LISTEN", address)]);
        Config::load(&Sources { env: only, ..Sources::default() }).unwrap();
    }
}

fn postgres(config: &Config) -> String {
    use secrecy::ExposeSecret;
    match config.database().unwrap() {
        DatabaseTarget::Postgres(url) => url.expose_secret().to_owned(),
        DatabaseTarget::Sqlite(path) => panic!("SQLite at {}", path.display()),
    }
}

#[test]
fn secrets_come_from_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "p@ss/word\n").unwrap();
    let password = password.to_str().unwrap();
    let sources = Sources {
        env: env(&[
            ("HALO_SYNC_DATABASE__URL", "postgres://halo@db.example/halo"),
            ("HALO_SYNC_DATABASE__PASSWORD_FILE", password),
        ]),
        ..Sources::default()
    };
    let loaded = Config::load(&sources).unwrap();
    assert_eq!(postgres(&loaded.config), "postgres://halo:p%40ss%2Fword@db.example/halo");
    let rows = loaded.rows();
    let row = rows.iter().find(|row| row.key == "database.password").unwrap();
    assert_eq!(row.value, "[redacted]");
    let origin = format!("secret file {password} (environment HALO_SYNC_DATABASE__PASSWORD_FILE)");
    assert_eq!(row.origin, origin);
    assert!(!format!("{loaded:?}{}", serde_json::to_string(&rows).unwrap()).contains("p@ss"));
}

#[test]
fn a_secret_and_its_file_are_one_setting_in_two_layers() {
    let dir = tempfile::tempdir().unwrap();
    let held = dir.path().join("url");
    std::fs::write(&held, "postgres://u:fromfile@h/d").unwrap();
    let text = format!("[database]\nurl_file = {:?}\n", held.to_str().unwrap());
    let url = ("HALO_SYNC_DATABASE__URL", "postgres://u:fromenv@h/d");
    let url_file = ("HALO_SYNC_DATABASE__URL_FILE", held.to_str().unwrap());

    // The higher layer wins, whichever of the two it uses.
    let loaded =
        Config::load(&Sources { file: file(dir.path(), &text), env: env(&[url]), flags: vec![] }).unwrap();
    assert_eq!(postgres(&loaded.config), "postgres://u:fromenv@h/d");
    let text = "[database]\nurl = \"postgres://u:intoml@h/d\"\n";
    let loaded =
        Config::load(&Sources { file: file(dir.path(), text), env: env(&[url_file]), flags: vec![] })
            .unwrap();
    assert_eq!(postgres(&loaded.config), "postgres://u:fromfile@h/d");

    // Both in one layer is not guessed about.
    let error = fails(&Sources { env: env(&[url, url_file]), ..Sources::default() });
    assert!(error.contains("database.url is set too"), "{error}");
    assert!(!error.contains("fromenv") && !error.contains("fromfile"), "{error}");
}

#[test]
fn a_secret_file_that_is_missing_or_empty_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    for (path, wants) in [("/nonexistent/url", "cannot be read"), (empty.to_str().unwrap(), "is empty")] {
        let error =
            fails(&Sources { env: env(&[("HALO_SYNC_DATABASE__URL_FILE", path)]), ..Sources::default() });
        assert!(error.contains(path) && error.contains(wants), "{error}");
    }
}

#[test]
fn the_open_section_passes_through_with_types() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "[derive]\nreporting_currency = \"usd\"\nthresholds = [1, 2.5]\n[derive.nested]\ndeep = true\n";
    let sources = Sources {
        file: file(dir.path(), text),
        env: env(&[("HALO_SYNC_DERIVE__WINDOW_DAYS", "30"), ("HALO_SYNC_DERIVE__MODE", "cash basis")]),
        flags: vec![],
    };
    let loaded = Config::load(&sources).unwrap();
    assert_eq!(
        Value::Object(loaded.config.derive),
        serde_json::json!({
            "reporting_currency": "usd", "thresholds": [1, 2.5], "nested": {"deep": true},
            "window_days": 30, "mode": "cash basis",
        })
    );
}

#[test]
fn apps_stand_below_their_connectors() {
    let dir = tempfile::tempdir().unwrap();
    let held = dir.path().join("app");
    std::fs::write(&held, "s3cret\n").unwrap();
    let text = format!(
        "[oauth.hubspot]\nclient_id = \"from-file\"\nclient_secret_file = {:?}\nscopes = \"a b\"\n",
        held.to_str().unwrap()
    );
    let sources = Sources {
        file: file(dir.path(), &text),
        env: env(&[("HALO_SYNC_OAUTH__HUBSPOT__CLIENT_ID", "from-env")]),
        flags: vec![],
    };
    let loaded = Config::load(&sources).unwrap();
    let app = &loaded.config.oauth.0["hubspot"];
    assert_eq!((app.client_id.as_deref(), app.scopes.as_deref()), (Some("from-env"), Some("a b")));
    assert_eq!(app.client_secret.as_ref().unwrap().expose(), "s3cret");
    let rows = loaded.rows();
    let row = |key: &str| rows.iter().find(|row| row.key == key).unwrap();
    assert_eq!(row("oauth.hubspot.client_secret").value, "[redacted]");
    assert_eq!(row("oauth.hubspot.client_id").origin, "environment HALO_SYNC_OAUTH__HUBSPOT__CLIENT_ID");

    for (text, wants) in [
        ("[oauth.hubspot]\nclient_di = \"x\"\n", "did you mean oauth.hubspot.client_id?"),
        ("[oauth]\nhubspot = 1\n", "there is no setting oauth.hubspot"),
        ("[oauth.hubspot]\nclient_id = \"x\"\n", "oauth.hubspot.client_secret_file"),
        ("[oauth.hubspot]\nclient_secret = \"x\"\n", "oauth.hubspot.client_id"),
        (
            "[oauth.hubspot]\nclient_id = \"x\"\nclient_secret = \"y\"\ntoken_url = \"http://example.com/t\"\n",
            "oauth.hubspot.token_url",
        ),
    ] {
        let error = fails(&Sources { file: file(dir.path(), text), ..Sources::default() });
        assert!(error.contains(wants), "{text:?} gave {error:?}");
    }
}

#[test]
fn the_example_file_is_the_defaults_and_names_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = Config::load(&Sources { file: file(dir.path(), EXAMPLE), ..Sources::default() }).unwrap();
    assert_eq!(loaded.config, Config::default());

    // Keys without a default stand there commented out; each key has a comment above it.
    let mut named = Vec::new();
    let mut section = "";
    let mut above = "";
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            assert!(above.starts_with("# ") && !above.contains(" = "), "{section}.{key} has no comment");
            named.push(format!("{section}.{key}"));
        }
        above = line;
    }
    let mut known: Vec<String> =
        layers::flatten(&Config::default()).into_iter().map(|(key, _)| key).collect();
    known.sort();
    named.sort();
    assert_eq!(named, known);
}

#[test]
fn the_schema_knows_every_key_and_refuses_others() {
    let schema = Config::schema();
    for (key, _) in layers::flatten(&Config::default()) {
        let (section, key) = key.split_once('.').unwrap();
        let reference = schema["properties"][section]["$ref"].as_str().unwrap();
        let section = schema.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        assert_eq!(section["additionalProperties"], false);
        assert!(section["properties"][key]["description"].is_string(), "{key} has no description");
    }
}

#[test]
fn variables_are_named_after_keys() {
    assert_eq!(layers::env_name("server.max_body_bytes"), "HALO_SYNC_SERVER__MAX_BODY_BYTES");
}
