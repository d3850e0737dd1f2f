//! What a connector says about itself, its settings, its check, its facts.

use std::collections::BTreeSet;

use connector_sdk::{ConnectorError, DynConnector, ReadMode, Secrets};
use serde_json::{Value, json};

use super::{Provider, fail, ok, open, open_with, read_all};
use std::time::Duration;

/// Names are stable and unique, budgets allow something, versions are pinned, the schema is one.
pub async fn spec_is_whole<P: Provider>(connector: &dyn DynConnector) {
    let spec = connector.spec();
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    assert!(plain(spec.id), "id {:?} is lower case, digits and underscores", spec.id);
    assert!(!spec.display_name.is_empty() && !spec.api_version.is_empty() && !spec.auth.is_empty());
    assert!(spec.default_base_url.starts_with("https://"), "{}", spec.default_base_url);
    assert!(spec.facts_version > 0);
    let names: BTreeSet<&str> = spec.streams.iter().map(|s| s.name).collect();
    assert_eq!(names.len(), spec.streams.len(), "stream names are unique");
    for stream in &spec.streams {
        assert!(plain(stream.name), "stream {:?}", stream.name);
        assert!(stream.about.ends_with('.'), "{}: about is a sentence", stream.name);
        assert_eq!(spec.stream(stream.name), Some(stream));
    }
    assert!(spec.streams.iter().any(|s| s.party), "some stream says who the customers are");
    let events: BTreeSet<&str> = spec.webhook_events.iter().copied().collect();
    assert_eq!(events.len(), spec.webhook_events.len(), "webhook events are unique");
    assert_eq!(connector.webhooks().is_some(), !events.is_empty(), "events and a webhook side go together");
    assert!(spec.budget.live_per_second > 0.0 && spec.budget.test_per_second > 0.0);
    assert!(spec.budget.concurrency > 0);
    assert!(spec.config_schema.is_object(), "the settings have a JSON Schema");
    assert_eq!(spec.config_schema["additionalProperties"], json!(false), "unknown settings are refused");
    for (name, property) in spec.config_schema["properties"].as_object().into_iter().flatten() {
        assert!(property["description"].is_string(), "setting {name} says what it is");
    }
}

/// Good settings are taken, unknown and mistyped ones refused by name.
pub async fn config_is_strict<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    ok(connector.check_config(&provider.config()), "the sandbox's settings");
    let mut unknown = provider.config();
    unknown["no_such_setting"] = json!(1);
    match connector.check_config(&unknown) {
        Err(ConnectorError::Config(text)) => assert!(text.contains("no_such_setting"), "{text}"),
        other => fail(&format!("an unknown setting gave {other:?}")),
    }
    for (name, value) in provider.config().as_object().into_iter().flatten() {
        let mut wrong = provider.config();
        // No setting is a list of lists.
        wrong[name] = json!([[value]]);
        match connector.check_config(&wrong) {
            Err(ConnectorError::Config(text)) => assert!(text.contains(name.as_str()), "{text}"),
            other => fail(&format!("a mistyped {name} gave {other:?}")),
        }
    }
    assert!(matches!(connector.check_config(&Value::Null), Err(ConnectorError::Config(_))));
}

/// The check tells whose account it is, and that nothing is missing.
pub async fn check_tells_account_and_mode<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let account = ok(open(connector, &provider).check().await, "check");
    assert!(account.id.as_deref().is_some_and(|id| !id.is_empty()), "{account:?}");
    assert!(account.name.as_deref().is_some_and(|name| !name.is_empty()), "{account:?}");
    assert!(account.missing.is_empty() && account.not_offered.is_empty(), "{account:?}");
}

/// Wrong and absent secrets are a matter of credentials, and the secret is not in the error.
pub async fn check_refuses_wrong_secrets<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    let refused = match open_with(connector, &provider, provider.wrong_secrets(), Duration::from_secs(20)) {
        Err(e) => Err(e),
        Ok(session) => session.check().await,
    };
    assert!(matches!(refused, Err(ConnectorError::Auth { .. })), "{refused:?}");
    let absent = open_with(connector, &provider, Secrets::default(), Duration::from_secs(20));
    assert!(matches!(absent.err(), Some(ConnectorError::Auth { .. })), "no secrets at all");
}

/// A stream that may not be read is named with the permission that is missing; the others are checked
/// all the same, and reading it is a matter of credentials.
pub async fn check_names_missing_permissions<P: Provider>(connector: &dyn DynConnector) {
    for stream in connector.spec().streams {
        let provider = P::start().await;
        provider.fill();
        provider.forbid(stream.name);
        let session = open(connector, &provider);
        let account = ok(session.check().await, stream.name);
        let missing: Vec<&str> = account.missing.iter().map(|m| m.stream.as_str()).collect();
        assert_eq!(missing, [stream.name]);
        assert!(account.missing.iter().all(|m| !m.permission.is_empty()), "{account:?}");
        match read_all(session.as_ref(), stream.name, ReadMode::Full).await {
            Err(ConnectorError::Auth { missing_permission, .. }) => {
                assert!(missing_permission.is_some(), "{}: the permission is named", stream.name);
            }
            other => fail(&format!("{}: {other:?}", stream.name)),
        }
    }
}

/// A stream that the connector does not have is refused everywhere.
pub async fn an_unknown_stream_is_refused<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    let session = open(connector, &provider);
    assert!(read_all(session.as_ref(), "no_such_stream", ReadMode::Full).await.is_err());
    assert!(session.read_many("no_such_stream", &["x".to_owned()]).await.is_err());
}

/// The same record gives the same facts, references and party, and all that they name is declared.
pub async fn facts_are_pure_and_name_declared_streams<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    let spec = connector.spec();
    let mut facts = 0;
    for stream in &spec.streams {
        let all = ok(read_all(session.as_ref(), stream.name, ReadMode::Full).await, stream.name);
        for record in all.records.values() {
            let extract = ok(connector.facts(record), &record.key.to_string());
            assert_eq!(ok(connector.facts(record), "again"), extract, "{}: facts are pure", record.key);
            facts += extract.facts.len();
            for key in &extract.refs {
                assert!(spec.stream(&key.stream).is_some(), "{}: refers to {key}", record.key);
            }
            if let Some(party) = &extract.party {
                let declared = spec.stream(&party.stream);
                assert!(declared.is_some_and(|s| s.party), "{}: party {party}", record.key);
            }
            if stream.party {
                assert_eq!(extract.party.as_ref(), Some(&record.key), "a party is its own");
            }
        }
    }
    assert!(facts > 0, "the records mean something");
}

/// The samples are records of declared streams that are translated, each once, and nobody's: e-mail addresses in them
/// are of domains that are kept for examples (RFC 2606).
pub async fn samples_are_understood<P: Provider>(connector: &dyn DynConnector) {
    let spec = connector.spec();
    let mut seen = BTreeSet::new();
    for sample in connector.samples() {
        assert!(spec.stream(sample.stream).is_some(), "a sample of {}", sample.stream);
        for record in ok(sample.records(), sample.stream) {
            ok(connector.facts(&record), &record.key.to_string());
            for word in record.payload.get().split(|c: char| c.is_whitespace() || "\"<>,;()".contains(c)) {
                let Some((_, domain)) = word.rsplit_once('@') else { continue };
                let kept = ["example", "test", "example.com", "example.org", "example.net"];
                let is_kept = kept.iter().any(|k| domain == *k || domain.ends_with(&format!(".{k}")));
                assert!(is_kept, "{}: {domain} may be somebody's", record.key);
            }
            assert!(seen.insert(record.key.clone()), "{} is there twice", record.key);
        }
    }
}
