//! The cases that a verifier of tokens is known to get wrong, one by one.

use chrono::DateTime;
use serde_json::json;

use super::*;

const SECRET: &str = "ha_secret_7f3c";
const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn mac(secret: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A token of these texts, signed with the secret.
fn raw(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    format!("{signed}.{}", encoded(mac(SECRET.as_bytes(), &signed)))
}

fn token(claims: &Value) -> String {
    raw(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

fn with_header(header: Value) -> String {
    raw(&header.to_string(), &good().to_string())
}

fn good() -> Value {
    json!({ "user_id": "u1", "exp": NOW + 600 })
}

/// The good claims, these laid over them; null takes one away.
fn but(changes: Value) -> String {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    token(&claims)
}

fn of(token: &str, purpose: Purpose<'_>) -> Result<Map<String, Value>, TokenError> {
    verify(token, &[SECRET.to_owned().into()], purpose, now())
}

fn user(token: &str) -> Result<Map<String, Value>, TokenError> {
    of(token, Purpose::User("u1"))
}

#[track_caller]
fn refused(token: &str) {
    assert!(matches!(user(token), Err(TokenError::Invalid(_))), "{:?}", user(token));
}

macro_rules! cases {
    ($($name:ident => $body:expr;)*) => {$(
        #[test]
        fn $name() {
            $body;
        }
    )*};
}

cases! {
    a_valid_token_is_taken => assert_eq!(user(&token(&good())), Ok(Map::new()));
    sub_alone_is_taken => assert_eq!(user(&but(json!({"user_id": null, "sub": "u1"}))), Ok(Map::new()));
    sub_beside_the_same_user_id_is_taken => assert!(user(&but(json!({"sub": "u1"}))).is_ok());
    a_header_without_typ_is_taken => assert!(user(&with_header(json!({"alg": "HS256"}))).is_ok());
    five_seconds_of_leeway_are_given => {
        assert!(user(&but(json!({"exp": NOW - 5}))).is_ok());
        assert_eq!(user(&but(json!({"exp": NOW - 6}))), Err(TokenError::Expired));
        assert!(user(&but(json!({"nbf": NOW + 5, "iat": NOW + 5}))).is_ok());
        refused(&but(json!({"nbf": NOW + 6})));
        refused(&but(json!({"iat": NOW + 6})));
    };
    times_may_be_broken => assert!(user(&but(json!({"exp": NOW as f64 + 0.5}))).is_ok());
    no_algorithm_is_no_algorithm => for alg in ["none", "None", "nOnE", "NONE", ""] {
        refused(&with_header(json!({"alg": alg})));
        let unsigned = format!("{}.{}.", encoded(json!({"alg": alg}).to_string()), encoded(good().to_string()));
        refused(&unsigned);
    };
    hs384_is_refused => refused(&with_header(json!({"alg": "HS384"})));
    hs512_is_refused => refused(&with_header(json!({"alg": "HS512"})));
    rs256_with_our_mac_is_refused => refused(&with_header(json!({"alg": "RS256"})));
    es256_is_refused => refused(&with_header(json!({"alg": "ES256"})));
    an_algorithm_in_other_letters_is_refused => refused(&with_header(json!({"alg": "hs256"})));
    a_list_of_algorithms_is_refused => refused(&with_header(json!({"alg": ["HS256"]})));
    an_empty_signature_is_refused => {
        let whole = token(&good());
        refused(&whole[..=whole.rfind('.').unwrap()]);
    };
    a_short_signature_is_refused => {
        let signed = format!("{}.{}", encoded(r#"{"alg":"HS256"}"#), encoded(good().to_string()));
        refused(&format!("{signed}.{}", encoded(&mac(SECRET.as_bytes(), &signed)[..16])));
    };
    a_kid_is_refused => for kid in ["../../dev/null", "' UNION SELECT 'x", "https://evil.example/key"] {
        refused(&with_header(json!({"alg": "HS256", "kid": kid})));
    };
    a_key_in_the_header_is_refused => {
        refused(&with_header(json!({"alg": "HS256", "jwk": {"kty": "oct", "k": encoded("x")}})));
        refused(&with_header(json!({"alg": "HS256", "jku": "https://evil.example/jwks"})));
        refused(&with_header(json!({"alg": "HS256", "x5c": ["MIIB"]})));
        refused(&with_header(json!({"alg": "HS256", "x5u": "https://evil.example/x"})));
    };
    crit_is_refused => refused(&with_header(json!({"alg": "HS256", "crit": ["exp"]})));
    b64_false_is_refused => refused(&with_header(json!({"alg": "HS256", "b64": false, "crit": ["b64"]})));
    another_secret_is_refused => {
        let other = verify(&token(&good()), &["ha_secret_other".to_owned().into()], Purpose::User("u1"), now());
        assert!(matches!(other, Err(TokenError::Invalid(_))));
        assert!(verify(&token(&good()), &[], Purpose::User("u1"), now()).is_err());
    };
    any_of_several_secrets_signs => {
        let secrets = ["ha_secret_new".to_owned().into(), SECRET.to_owned().into()];
        assert!(verify(&token(&good()), &secrets, Purpose::User("u1"), now()).is_ok());
    };
    an_expired_token_is_refused => assert_eq!(user(&but(json!({"exp": NOW - 3600}))), Err(TokenError::Expired));
    a_token_without_exp_is_refused => refused(&but(json!({"exp": null})));
    exp_is_at_most_a_day_ahead => {
        assert!(user(&but(json!({"exp": NOW + 86_400}))).is_ok());
        refused(&but(json!({"exp": NOW + 86_400 + 6})));
        refused(&but(json!({"exp": 1e300})));
    };
    exp_of_a_bulk_token_is_at_most_an_hour_ahead => {
        let bulk = |exp: i64| of(&token(&json!({"scope": "users.update", "exp": exp})), Purpose::Update);
        assert_eq!(bulk(NOW + 3_600), Ok(Map::new()));
        assert!(matches!(bulk(NOW + 3_606), Err(TokenError::Invalid(_))));
        assert_eq!(bulk(NOW - 6), Err(TokenError::Expired));
        let without = of(&token(&json!({"scope": "users.update"})), Purpose::Update);
        assert!(matches!(without, Err(TokenError::Invalid(_))));
    };
    times_that_are_no_numbers_are_refused => for (name, value) in [
        ("exp", json!("1800000600")), ("exp", json!(true)), ("exp", json!([NOW])), ("exp", json!(-1)),
        ("nbf", json!("0")), ("iat", json!({})),
    ] {
        refused(&but(json!({name: value})));
    };
    another_user_is_refused => {
        assert_eq!(user(&but(json!({"user_id": "u2"}))), Err(TokenError::Mismatch));
        assert_eq!(user(&but(json!({"user_id": null, "sub": "u2"}))), Err(TokenError::Mismatch));
        assert_eq!(user(&but(json!({"user_id": "U1"}))), Err(TokenError::Mismatch));
        assert_eq!(of(&token(&good()), Purpose::User("")), Err(TokenError::Mismatch));
    };
    a_user_that_is_no_text_is_refused => for id in [json!(1), json!(["u1"]), json!({"$ne": ""}), json!(true), json!("")] {
        refused(&but(json!({"user_id": id})));
        refused(&but(json!({"user_id": null, "sub": id})));
    };
    no_user_is_refused => refused(&but(json!({"user_id": null})));
    sub_and_user_id_that_differ_are_refused => {
        refused(&but(json!({"sub": "u2"})));
        refused(&but(json!({"user_id": "u2", "sub": "u1"})));
    };
    a_member_that_stands_twice_is_refused => {
        let exp = NOW + 600;
        let header = r#"{"alg":"HS256"}"#;
        refused(&raw(header, &format!(r#"{{"user_id":"u2","user_id":"u1","exp":{exp}}}"#)));
        refused(&raw(header, &format!(r#"{{"user_id":"u2","user\u005fid":"u1","exp":{exp}}}"#)));
        refused(&raw(header, &format!(r#"{{"user_id":"u1","exp":{exp},"o":{{"a":1,"a":2}}}}"#)));
        refused(&raw(r#"{"alg":"none","alg":"HS256"}"#, &good().to_string()));
    };
    five_parts_are_refused => refused("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.Y3Q.dGFn");
    other_numbers_of_parts_are_refused => {
        let whole = token(&good());
        refused(&format!("{whole}.{}", encoded("x")));
        refused(whole.rsplit_once('.').unwrap().0);
        for text in ["", ".", "..", "...", "x"] {
            refused(text);
        }
    };
    a_token_of_64_kib_is_refused => {
        refused(&but(json!({"x": "y".repeat(64 * 1024)})));
        assert!(user(&but(json!({"x": "y".repeat(5 * 1024)}))).is_ok());
    };
    base64_has_one_form => {
        let whole = token(&good());
        refused(&format!("{whole}="));
        refused(&format!("{whole}\n"));
        refused(&format!(" {whole}"));
        // The last character of 32 bytes carries two bits that are nobody's: each other value decodes the same.
        let (rest, last) = whole.split_at(whole.len() - 1);
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let at = alphabet.find(last).unwrap();
        let other = &alphabet[at / 4 * 4..][..4];
        let taken = other.chars().filter(|c| user(&format!("{rest}{c}")).is_ok()).count();
        assert_eq!(taken, 1, "{other}");
        // The other alphabet.
        let padded = raw(r#"{"alg":"HS256"}"#, &json!({"user_id": "u1", "exp": NOW + 600, "x": "???>>>"}).to_string());
        assert!(user(&padded).is_ok());
        assert!(padded.contains(['-', '_']), "{padded}");
        refused(&padded.replace('-', "+").replace('_', "/"));
    };
    trailing_junk_is_refused => {
        refused(&raw(r#"{"alg":"HS256"} x"#, &good().to_string()));
        refused(&raw(r#"{"alg":"HS256"}"#, &format!("{} {{}}", good())));
    };
    parts_that_are_no_objects_are_refused => for claims in ["[]", "null", "\"u1\"", "7", "", "{"] {
        refused(&raw(r#"{"alg":"HS256"}"#, claims));
    };
    a_publishable_key_signs_nothing => {
        let signed = format!("{}.{}", encoded(r#"{"alg":"HS256"}"#), encoded(good().to_string()));
        refused(&format!("{signed}.{}", encoded(mac(b"ab_live_0123456789", &signed))));
        refused(&format!("{signed}.{}", encoded(mac(b"", &signed))));
    };
    a_bulk_token_speaks_for_no_user => {
        let bulk = json!({"scope": "users.update", "exp": NOW + 600});
        assert!(matches!(user(&token(&bulk)), Err(TokenError::Scope(_))));
        assert!(matches!(user(&but(json!({"scope": "users.update"}))), Err(TokenError::Scope(_))));
    };
    a_users_token_updates_nobody_in_bulk => {
        assert!(matches!(of(&token(&good()), Purpose::Update), Err(TokenError::Scope(_))));
        let both = but(json!({"scope": "users.update"}));
        assert!(matches!(of(&both, Purpose::Update), Err(TokenError::Scope(_))));
        for scope in [json!("users.update users.read"), json!(["users.update"]), json!("Users.Update"), json!("")] {
            let near = token(&json!({"scope": scope, "exp": NOW + 600}));
            assert!(matches!(of(&near, Purpose::Update), Err(TokenError::Scope(_))), "{scope}");
        }
    };
    what_a_token_says_of_the_user_is_handed_on => {
        let said = but(json!({
            "iss": "acme", "aud": "halo", "jti": "1", "iat": NOW, "nbf": NOW, "sub": "u1",
            "email": "a@acme.com", "company_id": "c1", "plan": {"name": "pro"},
        }));
        let expected = json!({"email": "a@acme.com", "company_id": "c1", "plan": {"name": "pro"}});
        assert_eq!(Value::Object(user(&said).unwrap()), expected);
    };
}

/// The worked example of RFC 7515, A.1: signed by others. Its claims are no user's, so that the first fault that is
/// found lies behind the signature.
#[test]
fn the_example_of_the_standard_is_signed() {
    let key = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let example = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6L\
                   y9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let (signed, signature) = example.rsplit_once('.').unwrap();
    assert_eq!(encoded(mac(&key, signed)), signature);
    check_header(&object(signed.split_once('.').unwrap().0).unwrap()).unwrap();
}

/// No bit of a token can be turned.
#[test]
fn every_turned_bit_is_refused() {
    let whole = token(&good()).into_bytes();
    for bit in 0..whole.len() * 8 {
        let mut turned = whole.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(turned) {
            assert!(user(&text).is_err(), "bit {bit}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in ".{0,200}", header in ".{0,80}", claims in ".{0,200}") {
        let _ = user(&text);
        let _ = user(&raw(&header, &claims));
    }
}
