//! The stable names of what can go wrong, each with its status and its meaning: the one list.
//!
//! The OpenAPI document enumerates it. A code that is answered and does not stand here fails a test.

/// A stable name of a refusal or a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// The status that it always comes with.
    pub status: u16,
    /// The name, `snake_case`.
    pub code: &'static str,
    /// What it means and what to do, for the documentation.
    pub meaning: &'static str,
}

const fn code(status: u16, code: &'static str, meaning: &'static str) -> ErrorCode {
    ErrorCode { status, code, meaning }
}

/// Every code of a whole answer, by status and name. One line each, so that lists grown side by side merge.
#[rustfmt::skip]
pub const CODES: &[ErrorCode] = &[
    code(400, "bad_cursor", "The cursor is not one that this list gave for these filters. Begin without one."),
    code(400, "bad_idempotency_key", "`Idempotency-Key` is not 1 to 255 visible ASCII characters."),
    code(400, "bad_parameter", "A parameter of the path or the query is not what it may be; it is named."),
    code(400, "bad_request", "The request is not one of the protocol that this path speaks; the text says why."),
    code(400, "body_cut", "The body ended early. Send the request again."),
    code(400, "invalid_body", "The body is JSON, but not of the expected shape; the member is named."),
    code(
        400,
        "invalid_field",
        "A member is not what it may be; `errors` names each with what to send instead.",
    ),
    code(400, "invalid_json", "The body is not JSON; line and column are named."),
    code(400, "invalid_record", "The record cannot be stored like this; the text says why."),
    code(400, "invalid_value", "A member's value is not what it may be; it is named."),
    code(
        400,
        "key_in_url",
        "A key stands in the address, where it is logged. Send it as `Authorization: Bearer`, and revoke this one.",
    ),
    code(400, "malformed", "The delivery's body is not what the provider sends."),
    code(400, "malformed_head", "The request's head is not well formed."),
    code(400, "missing_field", "A member that is required is missing; it is named."),
    code(
        400,
        "reserved_keys",
        "Traits that the server sets were sent; `reserved_keys` names each, `errors` says what to send instead.",
    ),
    code(400, "signature_refused", "The delivery's signature is not right."),
    code(400, "too_large", "A member is larger than it may be; member, size and limit are named."),
    code(401, "unauthorized", "No key was sent, or none that is valid."),
    code(403, "forbidden", "The request may not be made from where it comes."),
    code(403, "identity_expired", "`user_token` has expired. Get a new one from your backend."),
    code(
        403,
        "identity_invalid",
        "`user_token` is not a token that the organisation's identity secret signed, or says nothing that can be taken.",
    ),
    code(403, "identity_mismatch", "`user_token` is for another user than the one that is named."),
    code(
        403,
        "identity_required",
        "Identity verification is on and a user is named, or many users are updated: a `user_token` is needed.",
    ),
    code(
        403,
        "identity_scope",
        "`user_token` is for other calls: one with a scope speaks for no user, one without updates nobody in bulk.",
    ),
    code(
        403,
        "not_yours",
        "A publishable key writes to its own user's or session's; this is another's, or says otherwise.",
    ),
    code(403, "origin_not_allowed", "The key is not taken from pages of this origin."),
    code(
        403,
        "server_key_in_browser",
        "A server key came with an `Origin`: it must not be used from a browser.",
    ),
    code(403, "server_key_needed", "The operation needs a server key."),
    code(404, "not_found", "It does not exist, or belongs to another organisation."),
    code(405, "method_not_allowed", "The path does not take this method; `Allow` lists those that it takes."),
    code(406, "not_acceptable", "The answer would be of a media type that the request does not accept."),
    code(408, "body_timeout", "The body did not arrive in time."),
    code(409, "field_exists", "A custom field of this key is defined already."),
    code(409, "idempotency_in_flight", "A request with this `Idempotency-Key` is being worked on. Come again."),
    code(409, "message_conflict", "Another message is stored at that place. Give messages an `id` or a `position`, or send all."),
    code(409, "too_many", "There are as many as there may be."),
    code(412, "version_conflict", "It was changed since the version that `If-Match` names. Read it again."),
    code(413, "body_too_large", "The body has more bytes than the operation takes (`max_bytes`)."),
    code(
        413,
        "payload_too_large",
        "A record, or the number of records, is larger than it may be; size and limit are named.",
    ),
    code(415, "encoded_body", "The body is compressed. Send it as it is, without `Content-Encoding`."),
    code(415, "unsupported_media_type", "The body is not of the media type that the operation takes."),
    code(422, "idempotency_mismatch", "This `Idempotency-Key` was used for another request."),
    code(
        429,
        "rate_limited",
        "Key, organisation or address (`limited`) call too often. Come again after `Retry-After` seconds.",
    ),
    code(500, "internal", "A fault of ours. It is logged under the request's id."),
    code(502, "model_failed", "The model's endpoint gave no answer, or no whole one."),
    code(
        502,
        "model_refused",
        "The model's endpoint does not take the call: look at the settings of `[chat]`.",
    ),
    code(503, "busy", "Too many large bodies at once. Come again after `Retry-After` seconds."),
    code(
        503,
        "chat_busy",
        "As many chats as are allowed are being answered. Come again after `Retry-After` seconds.",
    ),
    code(
        503,
        "chat_not_configured",
        "No model is configured to answer chats: set `chat.base_url` and `chat.model`.",
    ),
    code(503, "model_busy", "The model has too much to do. Come again after `Retry-After` seconds."),
    code(503, "unavailable", "A trouble of ours, nothing was kept. Come again after `Retry-After` seconds."),
    code(504, "model_timeout", "The model took too long."),
];

/// Names of what is wrong with one member (`errors[].code`).
pub const FIELD_CODES: &[(&str, &str)] = &[
    ("duplicate", "Something stands there twice."),
    ("empty", "The member must not be empty."),
    ("invalid", "The member is not what it may be."),
    ("reserved", "The member is set by the server, or has a meaning of its own."),
    ("too_long", "The member is longer than it may be."),
];

/// Codes of an operation whose body speaks for a user (`Caller::voice`, `Caller::bulk_voice`).
pub const VOICE: &[&str] =
    &["identity_expired", "identity_invalid", "identity_mismatch", "identity_required", "identity_scope"];

/// The code of that name.
pub fn find(name: &str) -> Option<&'static ErrorCode> {
    CODES.iter().find(|known| known.code == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_says_each_name_once() {
        let keys: Vec<_> = CODES.iter().map(|known| (known.status, known.code)).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(keys, sorted, "by status, then by name");
        let mut names: Vec<_> = CODES.iter().map(|known| known.code).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CODES.len());
        for known in CODES {
            assert!(known.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", known.code);
            assert!(known.meaning.ends_with('.'), "{}", known.code);
        }
    }
}
