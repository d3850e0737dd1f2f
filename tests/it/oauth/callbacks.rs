//! Callbacks that are not what they seem (S8): each is refused on a page of one sentence, and leaves no connection.

use halo_sync::domain::OrgId;
use halo_sync::service::Request;
use halo_sync::sync::oauth::Begun;
use secrecy::ExposeSecret as _;
use url::Url;

use super::stand::{Stand, on_both};

on_both!(bad_callbacks_leave_no_connection, a_state_is_good_once_at_the_same_time);

fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned()
}

/// The address with a parameter set, or taken away.
fn with(url: &str, name: &str, value: Option<&str>) -> String {
    let mut url = Url::parse(url).unwrap();
    let mut pairs: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(n, _)| n != name).collect();
    pairs.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url.into()
}

async fn refused(stand: &Stand, what: &str, url: &str) {
    let (status, page) = stand.visit(url).await;
    assert_eq!(status, 400, "{what}: {page}");
    assert!(page.contains("<h1>Not connected</h1>"), "{what}: {page}");
    for secret in ["code", "state"] {
        let found = Url::parse(url).unwrap();
        let value = found.query_pairs().find(|(name, _)| name == secret).map(|(_, value)| value.into_owned());
        assert!(
            !value.is_some_and(|value| value.len() > 8 && page.contains(&value)),
            "{what} shows its {secret}"
        );
    }
    assert_eq!(stand.count("connections").await, 0, "{what} left a connection");
    assert_eq!(stand.count("connection_secrets").await, 0, "{what} left a secret");
    assert_eq!(stand.count("connection_grants").await, 0, "{what} left a grant");
}

async fn fresh(stand: &Stand) -> (Begun, String) {
    let begun = stand.begin("hubspot").await;
    let back = stand.grant(&begun.authorize_url).await;
    (begun, back)
}

async fn bad_callbacks_leave_no_connection(stand: &Stand) {
    let begun = stand.begin("hubspot").await;
    let asked = &begun.authorize_url;
    assert_eq!(parameter(asked, "code_challenge_method"), "S256");
    assert_eq!(parameter(asked, "code_challenge").len(), 43);
    assert_eq!(parameter(asked, "redirect_uri"), begun.redirect_uri);
    assert_eq!(begun.redirect_uri, format!("{}/api/integrations/hubspot/callback", stand.base));

    let (_, back) = fresh(stand).await;
    refused(stand, "no state", &with(&back, "state", None)).await;
    refused(stand, "an empty state", &with(&back, "state", Some(""))).await;
    refused(stand, "a state that was never given out", &with(&back, "state", Some("x".repeat(43).as_str())))
        .await;
    refused(stand, "no code", &with(&back, "code", None)).await;
    refused(stand, "two states", &format!("{back}&state=x")).await;
    refused(stand, "two codes", &format!("{back}&code=x")).await;
    refused(stand, "a code and an error", &format!("{back}&error=x")).await;
    for elsewhere in [
        "/",
        "//evil.example",
        "https://evil.example",
        "http:evil.example",
        "\\\\evil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "https:@evil.example",
    ] {
        refused(stand, "a way elsewhere", &with(&back, "return_to", Some(elsewhere))).await;
    }
    refused(stand, "another redirect_uri", &with(&back, "redirect_uri", Some("https://evil.example"))).await;
    // None of these used the state up.
    let unused = stand.grant(&begun.authorize_url).await;
    assert!(unused.starts_with(&begun.redirect_uri));

    let (_, back) = fresh(stand).await;
    refused(stand, "a code that is none", &with(&back, "code", Some("no-code"))).await;
    refused(stand, "a state that was used", &back).await;

    let (_, back) = fresh(stand).await;
    stand.pass(601);
    refused(stand, "a state that has expired", &back).await;

    let (_, back) = fresh(stand).await;
    let other = back.replace("/hubspot/", "/pandadoc/");
    refused(stand, "a state of another connector", &other).await;

    // Somebody else's code, put under a state that waits: the verifier does not fit.
    let ((_, mine), (_, theirs)) = (fresh(stand).await, fresh(stand).await);
    let mixed = with(&mine, "code", Some(&parameter(&theirs, "code")));
    refused(stand, "a code of another session", &mixed).await;
    stand.execute(Request::CreateOrg { id: Some(OrgId::from("org_b")), name: "B".into() }).await;
    let b = stand.begin_for(&OrgId::from("org_b"), "hubspot", "hubspot").await;
    let theirs = stand.grant(&b.authorize_url).await;
    let (_, mine) = fresh(stand).await;
    let mixed = with(&mine, "state", Some(&parameter(&theirs, "state")));
    refused(stand, "a state of another organisation", &mixed).await;

    for (what, name, value) in [
        ("no PKCE", "code_challenge", None),
        ("plain PKCE", "code_challenge_method", Some("plain")),
        ("another challenge", "code_challenge", Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")),
    ] {
        let begun = stand.begin("hubspot").await;
        let mut changed = with(&begun.authorize_url, name, value);
        if what == "no PKCE" {
            changed = with(&changed, "code_challenge_method", None);
        }
        refused(stand, what, &stand.grant(&changed).await).await;
    }

    // The provider itself sends nobody to an address that is not registered; a code that was given for another one
    // is good for nothing.
    let elsewhere = format!("{}/elsewhere", stand.base);
    let begun = stand.begin("hubspot").await;
    let changed = with(&begun.authorize_url, "redirect_uri", Some(&elsewhere));
    assert_eq!(stand.browser.get(&changed).send().await.unwrap().status(), 400);
    stand.hub.oauth().register_redirect(&elsewhere);
    let back = stand.grant(&changed).await.replace(&elsewhere, &begun.redirect_uri);
    refused(stand, "a code for another address", &back).await;

    let (_, back) = fresh(stand).await;
    let denied = with(&with(&back, "code", None), "error", Some("access_denied"));
    refused(stand, "a refusal", &denied).await;
    refused(stand, "the state of a refusal", &back).await;
    let (_, back) = fresh(stand).await;
    refused(stand, "another issuer", &with(&back, "iss", Some("https://evil.example"))).await;
    let (_, back) = fresh(stand).await;
    refused(stand, "a page in an error", &with(&with(&back, "code", None), "error", Some("<script>"))).await;

    // Nothing of what was refused is asked again, and the right way works.
    let (_, back) = fresh(stand).await;
    let used = with(&back, "iss", Some(&stand.hub.base_url()));
    assert_eq!(stand.visit(&used).await.0, 200);
    stand.ended().await;
    let connected = stand.connection("hubspot").await.unwrap();
    let (status, _) = stand.visit(&used).await;
    assert_eq!(status, 400, "the same once more");
    // A code that was used ends all that came of it, so that it is tried last.
    let begun = stand.begin("hubspot").await;
    let state = parameter(&begun.authorize_url, "state");
    assert_eq!(stand.visit(&with(&used, "state", Some(&state))).await.0, 400);
    assert_eq!(stand.connection("hubspot").await.unwrap(), connected, "the connection is as it was");
    assert_eq!(stand.hub.oauth().counts().reuses, 1);

    let posted = stand.browser.post(&back).send().await.unwrap();
    assert_eq!(posted.status(), 405);
}

async fn a_state_is_good_once_at_the_same_time(stand: &Stand) {
    let (begun, back) = fresh(stand).await;
    // Whoever looks at links before a person follows them uses nothing up.
    let looked = stand.browser.head(&back).send().await.unwrap();
    assert_eq!(looked.status(), 405);
    let visits: Vec<_> = (0..10)
        .map(|_| {
            let (browser, url) = (stand.browser.clone(), back.clone());
            tokio::spawn(async move { browser.get(url).send().await.unwrap().status().as_u16() })
        })
        .collect();
    let mut seen = Vec::new();
    for visit in visits {
        seen.push(visit.await.unwrap());
    }
    assert_eq!(seen.iter().filter(|status| **status == 200).count(), 1, "{seen:?}");
    assert_eq!(seen.iter().filter(|status| **status == 400).count(), 9, "{seen:?}");
    stand.ended().await;
    let counts = stand.hub.oauth().counts();
    assert_eq!((counts.calls, counts.codes, counts.reuses), (1, 1, 0));

    // What is stored of the way says nothing of its secrets.
    let flow = stand.store.find_flow(&stand.org, &begun.flow).await.unwrap().unwrap();
    let state = parameter(&begun.authorize_url, "state");
    assert_ne!(flow.state_digest, state);
    assert!(!format!("{flow:?}").contains(&state));
    assert!(flow.sealed.is_empty(), "its secrets have done their work");
    let connection = stand.connection("hubspot").await.unwrap();
    let keyring = stand.services.providers.keyring();
    for secret in stand.store.load_secrets(&stand.org, &connection.id).await.unwrap() {
        let text = keyring.open(&stand.org, &connection.id, &secret).unwrap();
        assert!(text.expose_secret().starts_with("sandbox-"), "{}", secret.name);
        assert!(!secret.sealed.windows(8).any(|bytes| bytes == b"sandbox-"));
        assert!(!format!("{:?}", flow.outcome).contains(text.expose_secret()));
    }
}
