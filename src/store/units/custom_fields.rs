//! Fields that organisations define.

use sqlx::FromRow;

use super::Conn;
use crate::domain::OrgId;
use crate::domain::attributes::CustomField;
use crate::store::Result;
use crate::store::convert::{clean, from_json, from_word, time, to_json, us, word};

statements! {
    LIST_CUSTOM_FIELDS = "SELECT id, scope, key, label, type AS kind, options, strict, created_at, updated_at
        FROM custom_fields WHERE org_id = $1 ORDER BY scope, key";
    ADD_CUSTOM_FIELD = "INSERT INTO custom_fields
        (org_id, scope, key, id, label, type, options, strict, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
    PUT_CUSTOM_FIELD = "UPDATE custom_fields SET label = $3, type = $4, options = $5, strict = $6, updated_at = $7
        WHERE org_id = $1 AND id = $2";
    DELETE_CUSTOM_FIELD = "DELETE FROM custom_fields WHERE org_id = $1 AND id = $2";
}

#[derive(FromRow)]
struct CustomFieldRow {
    id: String,
    scope: String,
    key: String,
    label: String,
    kind: String,
    options: String,
    strict: bool,
    created_at: i64,
    updated_at: i64,
}

impl CustomFieldRow {
    fn read(self) -> Result<CustomField> {
        Ok(CustomField {
            scope: from_word("custom_fields", "scope", &self.id, &self.scope)?,
            kind: from_word("custom_fields", "type", &self.id, &self.kind)?,
            options: from_json("custom_fields", "options", &self.id, &self.options)?,
            key: self.key,
            label: self.label,
            strict: self.strict,
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
            id: self.id,
        })
    }
}

pub(crate) async fn list_custom_fields(c: &mut Conn, org: &OrgId) -> Result<Vec<CustomField>> {
    let rows: Vec<CustomFieldRow> = sqlx::query_as(LIST_CUSTOM_FIELDS).bind(&org.0).fetch_all(c).await?;
    rows.into_iter().map(CustomFieldRow::read).collect()
}

pub(crate) async fn add_custom_field(c: &mut Conn, org: &OrgId, field: &CustomField) -> Result<bool> {
    let done = sqlx::query(ADD_CUSTOM_FIELD)
        .bind(&org.0)
        .bind(word(field.scope)?)
        .bind(clean(&field.key))
        .bind(&field.id)
        .bind(clean(&field.label))
        .bind(word(field.kind)?)
        .bind(clean(&to_json(&field.options)?))
        .bind(field.strict)
        .bind(us(field.created_at))
        .bind(us(field.updated_at))
        .execute(c)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn put_custom_field(c: &mut Conn, org: &OrgId, field: &CustomField) -> Result<bool> {
    let done = sqlx::query(PUT_CUSTOM_FIELD)
        .bind(&org.0)
        .bind(&field.id)
        .bind(clean(&field.label))
        .bind(word(field.kind)?)
        .bind(clean(&to_json(&field.options)?))
        .bind(field.strict)
        .bind(us(field.updated_at))
        .execute(c)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn delete_custom_field(c: &mut Conn, org: &OrgId, id: &str) -> Result<bool> {
    let done = sqlx::query(DELETE_CUSTOM_FIELD).bind(&org.0).bind(id).execute(c).await?;
    Ok(done.rows_affected() > 0)
}
