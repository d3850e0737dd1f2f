//! `/api/settings/custom-fields`: fields that an organisation defines.

use axum::Json;
use axum::extract::{FromRequest as _, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::unavailable;
use crate::context::fields::{COMPANY_FIELDS, USER_FIELDS};
use crate::domain::OrgId;
use crate::domain::attributes::{AttributeScope, CustomField, FieldType};
use crate::domain::ids::new_id;
use crate::http::ApiError;
use crate::http::extract::{JsonBody, Named};
use crate::http::openapi::{In, Operation, Routes, Tag};
use crate::http::sdk::{Caller, Sdk};

const LIST: &str = "/api/settings/custom-fields";
const ONE: &str = "/api/settings/custom-fields/{id}";
/// Fields of an organisation.
const MOST_FIELDS: usize = 500;
const KEY_CHARS: usize = 100;
const LABEL_CHARS: usize = 100;
const MOST_OPTIONS: usize = 200;
const OPTION_CHARS: usize = 100;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CustomFieldList")]
struct List {
    /// All of them, by scope and key.
    data: Vec<CustomField>,
}

/// A field to be defined.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewCustomField")]
struct New {
    /// Whose.
    scope: AttributeScope,
    /// The trait's key: 1 to 100 characters. Does not change.
    #[schemars(length(min = 1, max = 100))]
    key: String,
    /// Its name for people, at most 100 characters.
    #[schemars(length(min = 1, max = 100))]
    label: String,
    /// What its values are.
    #[serde(rename = "type")]
    kind: FieldType,
    /// The values of a `select`: 1 to 200 different ones, each of 1 to 100 characters.
    #[serde(default)]
    #[schemars(length(max = 200))]
    options: Vec<String>,
    /// Whether a value that does not fit is refused. Otherwise it is taken, and counted as a mismatch.
    #[serde(default)]
    strict: bool,
}

/// What is changed of a field; members that are absent stay.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "CustomFieldChange")]
struct Change {
    /// Its name for people.
    label: Option<String>,
    /// What its values are.
    #[serde(rename = "type")]
    kind: Option<FieldType>,
    /// The values of a `select`.
    options: Option<Vec<String>>,
    /// Whether a value that does not fit is refused.
    strict: Option<bool>,
}

pub(super) fn routes() -> Routes<Sdk> {
    Routes::new()
        .add(list_operation(), list)
        .add(add_operation(), add)
        .add(change_operation(), change)
        .add(delete_operation(), delete)
}

fn example() -> Value {
    json!({
        "id": "cfd_01K0000000000000000000000A", "scope": "user", "key": "tier", "label": "Tier", "type": "select",
        "options": ["gold", "silver"], "strict": false,
        "created_at": "2026-11-22T15:00:00Z", "updated_at": "2026-11-22T15:00:00Z",
    })
}

fn list_operation() -> Operation {
    Operation::get(LIST, "list_custom_fields", "Fields that are defined").tag(Tag::Settings).answer::<List>(
        200,
        "All of them.",
        json!({"data": [example()]}),
    )
}

fn add_operation() -> Operation {
    Operation::post(LIST, "add_custom_field", "Define a field")
        .about(
            "A definition says what a trait's values are. Values are taken as before; one that does not fit is counted at the \
             attribute, or refused where the definition is `strict`. What is stored already is not judged.",
        )
        .tag(Tag::Settings)
        .body::<New>(json!({"scope": "user", "key": "tier", "label": "Tier", "type": "select", "options": ["gold", "silver"]}))
        .answer::<CustomField>(201, "It is defined.", example())
        .codes(&["invalid_value", "field_exists", "too_many"])
        .idempotent()
}

fn change_operation() -> Operation {
    Operation::patch(ONE, "change_custom_field", "Change a field's definition")
        .tag(Tag::Settings)
        .parameter::<String>(In::Path, "id", "Its id, `cfd_…`.")
        .body::<Change>(json!({"options": ["gold", "silver", "bronze"]}))
        .answer::<CustomField>(200, "It, as it is now.", example())
        .codes(&["invalid_value", "not_found"])
}

fn delete_operation() -> Operation {
    Operation::delete(ONE, "delete_custom_field", "Forget a field's definition")
        .about("The values stay, as those of any trait.")
        .tag(Tag::Settings)
        .parameter::<String>(In::Path, "id", "Its id, `cfd_…`.")
        .answer_empty(204, "It is not defined any more.")
        .codes(&["not_found"])
}

async fn list(State(sdk): State<Sdk>, caller: Caller) -> Result<Response, ApiError> {
    caller.need_server()?;
    let data = sdk.store.list_custom_fields(caller.org()).await.map_err(unavailable)?;
    Ok(Json(List { data }).into_response())
}

async fn add(
    State(sdk): State<Sdk>,
    caller: Caller,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let JsonBody(new) = JsonBody::<New>::from_request(request, &()).await?;
    let at = sdk.attributes.now();
    let field = CustomField {
        id: new_id("cfd", &*sdk.attributes.clock()),
        scope: new.scope,
        key: new.key,
        label: new.label,
        kind: new.kind,
        options: new.options,
        strict: new.strict,
        created_at: at,
        updated_at: at,
    };
    check(&field)?;
    let known = sdk.store.list_custom_fields(caller.org()).await.map_err(unavailable)?;
    if known.len() >= MOST_FIELDS {
        let detail = format!("there are {MOST_FIELDS} fields already; delete some");
        return Err(ApiError::new(StatusCode::CONFLICT, "too_many", "Conflict").detail(detail));
    }
    if !sdk.store.add_custom_field(caller.org(), &field).await.map_err(unavailable)? {
        let detail = format!("key: a field {:?} is defined already", field.key);
        return Err(ApiError::new(StatusCode::CONFLICT, "field_exists", "Conflict").detail(detail));
    }
    Ok((StatusCode::CREATED, Json(field)).into_response())
}

async fn change(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let JsonBody(change) = JsonBody::<Change>::from_request(request, &()).await?;
    let mut field = find(&sdk, caller.org(), &id).await?;
    field.label = change.label.unwrap_or(field.label);
    if let Some(kind) = change.kind {
        // A select's values mean nothing to another type.
        if kind != FieldType::Select {
            field.options.clear();
        }
        field.kind = kind;
    }
    field.options = change.options.unwrap_or(field.options);
    field.strict = change.strict.unwrap_or(field.strict);
    field.updated_at = sdk.attributes.now();
    check(&field)?;
    match sdk.store.put_custom_field(caller.org(), &field).await.map_err(unavailable)? {
        true => Ok(Json(field).into_response()),
        false => Err(unknown()),
    }
}

async fn delete(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    match sdk.store.delete_custom_field(caller.org(), &id).await.map_err(unavailable)? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(unknown()),
    }
}

async fn find(sdk: &Sdk, org: &OrgId, id: &str) -> Result<CustomField, ApiError> {
    let all = sdk.store.list_custom_fields(org).await.map_err(unavailable)?;
    all.into_iter().find(|field| field.id == id).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no custom field of this id")
}

fn check(field: &CustomField) -> Result<(), ApiError> {
    let mut wrong: Vec<(&str, &'static str, String)> = Vec::new();
    let mut text = |pointer, text: &str, most: usize| {
        let chars = text.chars().count();
        if text.trim().is_empty() {
            wrong.push((pointer, "empty", "must not be empty".to_owned()));
        } else if chars > most {
            wrong.push((pointer, "too_long", format!("{chars} characters, at most {most} are accepted")));
        } else if text.chars().any(char::is_control) {
            wrong.push((pointer, "invalid", "control characters are not accepted".to_owned()));
        }
    };
    text("/key", &field.key, KEY_CHARS);
    text("/label", &field.label, LABEL_CHARS);
    for option in &field.options {
        text("/options", option, OPTION_CHARS);
    }
    let recognised = match field.scope {
        AttributeScope::User => USER_FIELDS,
        AttributeScope::Company => COMPANY_FIELDS,
    };
    if recognised.contains(&field.key.as_str()) {
        wrong.push(("/key", "reserved", "is a field with a meaning of its own".to_owned()));
    }
    let mut options = field.options.clone();
    options.sort_unstable();
    options.dedup();
    if options.len() != field.options.len() {
        wrong.push(("/options", "duplicate", "an option stands there twice".to_owned()));
    }
    match (field.kind, field.options.len()) {
        (FieldType::Select, 0) => wrong.push(("/options", "empty", "a select needs options".to_owned())),
        (FieldType::Select, MOST_OPTIONS..) if field.options.len() > MOST_OPTIONS => {
            wrong.push(("/options", "too_long", format!("at most {MOST_OPTIONS} options are accepted")));
        }
        (FieldType::Select, _) | (_, 0) => {}
        _ => wrong.push(("/options", "invalid", "only a select has options".to_owned())),
    }
    let Some((pointer, _, detail)) = wrong.first() else { return Ok(()) };
    let mut error =
        ApiError::bad_request("invalid_value", format!("{}: {detail}", pointer.trim_start_matches('/')));
    for (pointer, code, detail) in wrong {
        error = error.field(pointer, code, detail);
    }
    Err(error)
}
