//! `/api/settings/attributes`: every trait and context key that was ever seen, and what is said about it.

use axum::Json;
use axum::extract::{FromRequest as _, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use connector_sdk::Timestamp;
use http::StatusCode;
use http::header::{ETAG, HeaderValue, IF_MATCH};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{export, unavailable};
use crate::context::{self, AttributeInfo, fields::QUIET_FIELDS};
use crate::domain::OrgId;
use crate::domain::attributes::{
    Attribute, AttributeKind, AttributeName, AttributeScope, CustomField, DESCRIPTION_CHARS, FieldType,
    Overflow, TypeCounts,
};
use crate::http::ApiError;
use crate::http::cursor::{self, Cursors};
use crate::http::extract::{JsonBody, Named, Params};
use crate::http::openapi::{In, Operation, Routes, Tag};
use crate::http::sdk::{Caller, Sdk};
use crate::store::attributes::{AttributeChange, AttributeFilter, Changed};

const LIST: &str = "/api/settings/attributes";
const ONE: &str = "/api/settings/attributes/{id}";
/// Rows that an export reads at once.
const EXPORT_PAGE: u32 = 500;

/// What is known of an attribute.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attribute")]
pub(super) struct View {
    /// `atr_…`
    pub(super) id: String,
    /// Whose.
    pub(super) scope: AttributeScope,
    /// A trait, or an entry of the context.
    pub(super) kind: AttributeKind,
    /// The key.
    pub(super) key: String,
    /// The latest label of a context entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    /// The type that most values have: `string`, `number`, `boolean`, `list`, `object`; `null` when none was seen.
    pub(super) data_type: Option<&'static str>,
    /// Values by type.
    pub(super) types: TypeCounts,
    /// Whether values of more than one type were seen: rules and segments on such a key will surprise.
    pub(super) mixed_types: bool,
    /// How often it was seen.
    pub(super) seen: i64,
    /// How often of these by a publishable key.
    pub(super) claimed: i64,
    /// Whether only publishable keys ever sent it: anybody can make up such a key.
    pub(super) claimed_only: bool,
    /// An example. What looks secret or personal in it reads `[redacted: WHY]`.
    pub(super) sample: Option<Value>,
    /// Whether something in the example is replaced.
    pub(super) sample_redacted: bool,
    /// The distinct values, the most frequent first, where there are at most 50 short ones that are neither secret nor
    /// personal.
    pub(super) values: Vec<ValueView>,
    /// Whether there are values that `values` does not list.
    pub(super) more_values: bool,
    /// When it was first seen.
    pub(super) first_seen: Timestamp,
    /// When it was last seen.
    pub(super) last_seen: Timestamp,
    /// What it means. Goes into the prompt behind the value.
    pub(super) description: Option<String>,
    /// Whether the prompt shows it.
    pub(super) in_prompt: bool,
    /// Whether `in_prompt` was decided for this attribute, or is the default.
    pub(super) in_prompt_decided: bool,
    /// Whether lists leave it out.
    pub(super) hidden: bool,
    /// The custom field of this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom_field: Option<FieldView>,
    /// How many values did not fit the custom field when they came.
    pub(super) mismatches: i64,
    /// Grows with every change of what is said about it; the `ETag` in quotes.
    pub(super) version: i64,
}

/// A distinct value.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AttributeValue")]
pub(super) struct ValueView {
    /// The value.
    pub(super) value: Value,
    /// How often it was seen.
    pub(super) count: i64,
}

/// The definition of an attribute.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AttributeField")]
pub(super) struct FieldView {
    /// `cfd_…`
    id: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: FieldType,
    /// Whether values that do not fit are refused.
    strict: bool,
    /// Values of `values` that do not fit the definition as it is now.
    misfits: Vec<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AttributeList")]
struct List {
    #[serde(flatten)]
    page: cursor::Page<View>,
    /// Keys that were not recorded because a scope and kind has 2,000 already (500 of keys that only publishable keys
    /// sent), counted each time that one came.
    not_recorded: Vec<Overflow>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// Whose: `user` or `company`. Absent: all.
    scope: Option<AttributeScope>,
    /// `trait` or `context`. Absent: all.
    kind: Option<AttributeKind>,
    /// A part of the key, in any case.
    q: Option<String>,
    /// Also attributes that are hidden.
    #[serde(default)]
    hidden: bool,
    /// Rows of the page: 1 to 200, 50 unless said otherwise.
    #[schemars(range(min = 1, max = 200))]
    #[serde(skip_serializing)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing)]
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    /// `json` or `csv`.
    #[serde(default)]
    format: export::Format,
}

/// What is changed; members that are absent stay.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "AttributeChange")]
struct Change {
    /// What it means, at most 500 characters. `null` or empty: none.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<String>", length(max = 500))]
    description: Option<Option<String>>,
    /// Whether the prompt shows it. `null`: as it is by default.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<bool>")]
    in_prompt: Option<Option<bool>>,
    /// Whether lists leave it out.
    hidden: Option<bool>,
}

/// Tells a member that is `null` from one that is absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

pub(super) fn routes() -> Routes<Sdk> {
    Routes::new()
        .add(list_operation(), list)
        .add(export_operation(), export_all)
        .add(find_operation(), find)
        .add(change_operation(), change)
}

fn example() -> Value {
    json!({
        "id": "atr_01K0000000000000000000000A", "scope": "user", "kind": "trait", "key": "acquisition_channel",
        "data_type": "string",
        "types": {"string": 40, "number": 0, "boolean": 0, "list": 0, "object": 0, "null": 0},
        "mixed_types": false, "seen": 40, "claimed": 0, "claimed_only": false,
        "sample": "paid_search", "sample_redacted": false,
        "values": [{"value": "paid_search", "count": 31}, {"value": "referral", "count": 9}], "more_values": false,
        "first_seen": "2026-11-01T09:00:00Z", "last_seen": "2026-11-22T15:00:00Z",
        "description": "How the user found us", "in_prompt": true, "in_prompt_decided": false, "hidden": false,
        "mismatches": 0, "version": 1,
    })
}

fn list_operation() -> Operation {
    Operation::get(LIST, "list_attributes", "Attributes that were ever seen")
        .about(
            "Every trait and context key that was ever sent, by scope, kind and key. What was sent up to three seconds ago to \
             another process may be missing.",
        )
        .tag(Tag::Settings)
        .query::<Query>()
        .answer::<List>(
            200,
            "A page of them.",
            json!({"data": [example()], "next_cursor": null, "has_more": false, "not_recorded": []}),
        )
        .codes(&["bad_cursor"])
}

fn export_operation() -> Operation {
    Operation::get("/api/settings/attributes/export", "export_attributes", "All attributes, as a file")
        .about(
            "Hidden ones as well. In CSV a text that a spreadsheet would take for a formula begins with `'`.",
        )
        .tag(Tag::Settings)
        .query::<ExportQuery>()
        .answer::<Vec<View>>(
            200,
            "JSON, or CSV (`text/csv; charset=utf-8`) with `format=csv`.",
            json!([example()]),
        )
        .also_text("text/csv; charset=utf-8")
}

fn find_operation() -> Operation {
    Operation::get(ONE, "find_attribute", "One attribute")
        .tag(Tag::Settings)
        .parameter::<String>(In::Path, "id", "Its id, `atr_…`.")
        .answer::<View>(200, "It.", example())
        .header("ETag", "Its version.")
        .codes(&["not_found"])
}

fn change_operation() -> Operation {
    Operation::patch(ONE, "change_attribute", "Say what an attribute means, or keep it out of the prompt")
        .about("In effect within a second on every process.")
        .tag(Tag::Settings)
        .parameter::<String>(In::Path, "id", "Its id, `atr_…`.")
        .parameter::<String>(
            In::Header,
            "If-Match",
            "The `ETag` that the change is based on. Absent: whatever it is.",
        )
        .body::<Change>(json!({"description": "How the user found us", "in_prompt": true}))
        .answer::<View>(200, "It, as it is now.", example())
        .header("ETag", "Its new version.")
        .codes(&["not_found", "invalid_value", "version_conflict"])
}

async fn list(
    State(sdk): State<Sdk>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let org = caller.org();
    let limit = cursor::limit(query.limit)?;
    let cursors = Cursors::new(org, LIST, &query);
    let after: Option<AttributeName> = cursors.read(query.cursor.as_deref())?;
    sdk.attributes.flush_org(org).await.map_err(unavailable)?;
    let filter =
        AttributeFilter { scope: query.scope, kind: query.kind, part: query.q, hidden: query.hidden };
    let rows =
        sdk.store.list_attributes(org, &filter, after.as_ref(), limit + 1).await.map_err(unavailable)?;
    let page = cursors.page(rows, limit, |row| row.name.clone());
    let views = Views::load(&sdk, org).await?;
    let page = cursor::Page {
        data: page.data.into_iter().map(|row| views.of(row)).collect(),
        next_cursor: page.next_cursor,
        has_more: page.has_more,
    };
    let not_recorded = sdk.store.list_attribute_overflows(org).await.map_err(unavailable)?;
    Ok(Json(List { page, not_recorded }).into_response())
}

async fn export_all(
    State(sdk): State<Sdk>,
    caller: Caller,
    Params(query): Params<ExportQuery>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    Ok(export::answer(query.format, &all(&sdk, caller.org()).await?))
}

async fn all(sdk: &Sdk, org: &OrgId) -> Result<Vec<View>, ApiError> {
    sdk.attributes.flush_org(org).await.map_err(unavailable)?;
    let views = Views::load(sdk, org).await?;
    let filter = AttributeFilter { hidden: true, ..AttributeFilter::default() };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let rows = sdk.store.list_attributes(org, &filter, after.as_ref(), EXPORT_PAGE).await;
        let rows = rows.map_err(unavailable)?;
        let Some(last) = rows.last() else { return Ok(all) };
        after = Some(last.name.clone());
        all.extend(rows.into_iter().map(|row| views.of(row)));
    }
}

async fn find(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    sdk.attributes.flush_org(caller.org()).await.map_err(unavailable)?;
    let found = sdk.store.find_attribute(caller.org(), &id).await.map_err(unavailable)?;
    one(&sdk, caller.org(), found.ok_or_else(unknown)?).await
}

async fn change(
    State(sdk): State<Sdk>,
    caller: Caller,
    Named(id): Named<String>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    caller.need_server()?;
    let version = expected(&headers)?;
    let JsonBody(body) = JsonBody::<Change>::from_request(request, &()).await?;
    let description = body.description.map(|text| text.filter(|text| !text.trim().is_empty()));
    if let Some(Some(text)) = &description {
        let chars = text.chars().count();
        if chars > DESCRIPTION_CHARS {
            let detail = format!("{chars} characters, at most {DESCRIPTION_CHARS} are accepted");
            return Err(ApiError::bad_request("invalid_value", format!("description: {detail}")).field(
                "/description",
                "too_long",
                detail,
            ));
        }
    }
    let change = AttributeChange { description, in_prompt: body.in_prompt, hidden: body.hidden };
    let changed = sdk.store.change_attribute(caller.org(), &id, &change, version).await;
    match changed.map_err(unavailable)? {
        Changed::Done(now) => one(&sdk, caller.org(), *now).await,
        Changed::Unknown => Err(unknown()),
        Changed::Stale(now) => {
            Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "version_conflict", "Precondition failed")
                .detail(format!("it was changed meanwhile: its version is {now}"))
                .hint("read it again and decide anew"))
        }
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no attribute of this id")
}

/// The version that `If-Match` names.
fn expected(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version =
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    version.map(Some).ok_or_else(|| {
        ApiError::bad_request(
            "bad_parameter",
            "If-Match: an ETag of this attribute is expected, \"3\" for one",
        )
    })
}

async fn one(sdk: &Sdk, org: &OrgId, found: Attribute) -> Result<Response, ApiError> {
    let view = Views::load(sdk, org).await?.of(found);
    let tag = HeaderValue::try_from(format!("\"{}\"", view.version)).map_err(|e| ApiError::internal(&e))?;
    Ok(([(ETAG, tag)], Json(view)).into_response())
}

/// What views are made with.
struct Views<'a> {
    defaults: &'a [AttributeInfo],
    fields: Vec<CustomField>,
}

impl<'a> Views<'a> {
    async fn load(sdk: &'a Sdk, org: &OrgId) -> Result<Self, ApiError> {
        let fields = sdk.store.list_custom_fields(org).await.map_err(unavailable)?;
        Ok(Self { defaults: &sdk.prompt.attributes, fields })
    }

    fn of(&self, found: Attribute) -> View {
        let AttributeName { scope, kind, key } = found.name;
        let field = self
            .fields
            .iter()
            .find(|field| kind == AttributeKind::Trait && field.scope == scope && field.key == key);
        let seen = found.types.total();
        let mut values: Vec<ValueView> = found
            .values
            .into_iter()
            .map(|value| ValueView { value: value.value, count: value.count })
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.count));
        View {
            id: found.id,
            data_type: data_type(&found.types),
            types: found.types,
            mixed_types: found.types.mixed(),
            seen,
            claimed: found.claimed,
            claimed_only: seen > 0 && found.claimed == seen,
            sample_redacted: found.sample.as_ref().is_some_and(|sample| sample.redacted),
            sample: found.sample.map(|sample| sample.value),
            custom_field: field.map(|field| FieldView {
                id: field.id.clone(),
                kind: field.kind,
                strict: field.strict,
                misfits: values
                    .iter()
                    .filter(|value| field.misfit(&value.value).is_some())
                    .map(|value| value.value.clone())
                    .collect(),
            }),
            values,
            more_values: found.more_values,
            first_seen: found.first_seen,
            last_seen: found.last_seen,
            description: found.description,
            in_prompt: found.in_prompt.unwrap_or_else(|| self.by_default(scope, kind, &key)),
            in_prompt_decided: found.in_prompt.is_some(),
            hidden: found.hidden,
            mismatches: found.mismatches,
            version: found.version,
            label: found.label,
            scope,
            kind,
            key,
        }
    }

    fn by_default(&self, scope: AttributeScope, kind: AttributeKind, key: &str) -> bool {
        let scope = match (kind, scope) {
            (AttributeKind::Context, _) => context::Scope::Context,
            (AttributeKind::Trait, AttributeScope::User) => context::Scope::User,
            (AttributeKind::Trait, AttributeScope::Company) => context::Scope::Company,
        };
        let info = self.defaults.iter().find(|info| info.scope == scope && info.key == key);
        info.and_then(|info| info.in_prompt)
            .unwrap_or(kind == AttributeKind::Context || !QUIET_FIELDS.contains(&key))
    }
}

fn data_type(types: &TypeCounts) -> Option<&'static str> {
    let counts = [
        (types.string, "string"),
        (types.number, "number"),
        (types.boolean, "boolean"),
        (types.list, "list"),
        (types.object, "object"),
    ];
    let most = counts.into_iter().max_by_key(|(count, _)| *count)?;
    (most.0 > 0).then_some(most.1)
}
