//! Discovered attributes.

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::Timestamp;
use sqlx::FromRow;

use super::{Conn, bulk, new_id_at};
use crate::domain::OrgId;
use crate::domain::attributes::{
    Attribute, AttributeKind, AttributeName, AttributeScope, AttributeSeen, DistinctValue, Overflow, Sample,
    TypeCounts, add_value,
};
use crate::store::Result;
use crate::store::attributes::{
    AttributeChange, AttributeFilter, AttributeSaying, Changed, MOST_CLAIMED_KEYS, MOST_KEYS,
};
use crate::store::convert::{clean, from_json, from_word, json_list, time, to_json, us, word};

/// What [`AttributeRow`] reads.
macro_rules! columns {
    () => {
        "id, scope, kind, key, n_string, n_number, n_boolean, n_list, n_object, n_null, claimed, mismatches,
        listed, more_values, sample, sample_redacted, sample_row, label, first_seen, last_seen, description, in_prompt,
        hidden, version"
    };
}

statements! {
    LOAD_ATTRIBUTES = concat!("SELECT ", columns!(), " FROM attributes
        WHERE org_id = $1 AND scope = $2 AND kind = $3 AND key", in_list!("$4"), " ORDER BY key", for_update!());
    LIST_ATTRIBUTES = concat!("SELECT ", columns!(), " FROM attributes
        WHERE org_id = $1 AND ($2 = '' OR scope = $2) AND ($3 = '' OR kind = $3)
            AND (lower(key) LIKE $4 ESCAPE '!') AND (hidden = FALSE OR $5)
            AND (scope, kind, key) > ($6, $7, $8)
        ORDER BY scope, kind, key LIMIT $9");
    FIND_ATTRIBUTE = concat!("SELECT ", columns!(), " FROM attributes WHERE org_id = $1 AND id = $2");
    LOCK_ATTRIBUTE = concat!("SELECT ", columns!(), " FROM attributes WHERE org_id = $1 AND id = $2", for_update!());
    COUNT_ATTRIBUTES = "SELECT COUNT(*), COUNT(CASE WHEN claimed > 0
            AND claimed = n_string + n_number + n_boolean + n_list + n_object + n_null THEN 1 END)
        FROM attributes WHERE org_id = $1 AND scope = $2 AND kind = $3";
    CHANGE_ATTRIBUTE = "UPDATE attributes SET description = $3, in_prompt = $4, hidden = $5, version = version + 1
        WHERE org_id = $1 AND id = $2";
    ADD_ATTRIBUTE = "INSERT INTO attributes (org_id, scope, kind, key, id, n_string, n_number, n_boolean, n_list,
            n_object, n_null, claimed, mismatches, listed, more_values, sample_redacted, first_seen, last_seen, hidden,
            version)
        VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 0, 0, 0, 0, 0, '[]', FALSE, FALSE, $6, $6, FALSE, 0)
        ON CONFLICT DO NOTHING";
    FIND_ATTRIBUTE_ID = "SELECT id FROM attributes WHERE org_id = $1 AND scope = $2 AND kind = $3 AND key = $4";
    LOAD_SAMPLES = concat!("SELECT ", columns!(), " FROM attributes
        WHERE org_id = $1 AND (sample IS NOT NULL OR listed <> '[]') ORDER BY scope, kind, key", for_update!());
    DROP_SAMPLE = "UPDATE attributes SET sample = $3, sample_redacted = $4, sample_row = $5, listed = $6
        WHERE org_id = $1 AND id = $2";
    LOAD_SAYINGS = "SELECT scope, kind, key, description, in_prompt FROM attributes
        WHERE org_id = $1 AND (description IS NOT NULL OR in_prompt IS NOT NULL) ORDER BY scope, kind, key";
    LIST_OVERFLOWS = "SELECT scope, kind, refused, last_at FROM attribute_overflow
        WHERE org_id = $1 ORDER BY scope, kind";
    ADD_OVERFLOW = "INSERT INTO attribute_overflow (org_id, scope, kind, refused, last_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (org_id, scope, kind) DO UPDATE
        SET refused = attribute_overflow.refused + excluded.refused, last_at = excluded.last_at";
    LIVE_USERS = concat!("SELECT id FROM end_users WHERE org_id = $1 AND id", in_list!("$2"));
    LIVE_COMPANIES = concat!("SELECT id FROM companies WHERE org_id = $1 AND id", in_list!("$2"));
}

const INSERT: &str = "INSERT INTO attributes (org_id, scope, kind, key, id, n_string, n_number, n_boolean, n_list,
    n_object, n_null, claimed, mismatches, listed, more_values, sample, sample_redacted, sample_row, label, first_seen,
    last_seen, hidden, version)";
/// Counts add up, also when two processes store at once.
const UPSERT: &str = "ON CONFLICT (org_id, scope, kind, key) DO UPDATE SET
    n_string = attributes.n_string + excluded.n_string, n_number = attributes.n_number + excluded.n_number,
    n_boolean = attributes.n_boolean + excluded.n_boolean, n_list = attributes.n_list + excluded.n_list,
    n_object = attributes.n_object + excluded.n_object, n_null = attributes.n_null + excluded.n_null,
    claimed = attributes.claimed + excluded.claimed, mismatches = attributes.mismatches + excluded.mismatches,
    listed = excluded.listed, more_values = excluded.more_values, sample = excluded.sample,
    sample_redacted = excluded.sample_redacted, sample_row = excluded.sample_row, label = excluded.label,
    last_seen = CASE WHEN excluded.last_seen > attributes.last_seen THEN excluded.last_seen
        ELSE attributes.last_seen END";

#[derive(FromRow)]
struct AttributeRow {
    id: String,
    scope: String,
    kind: String,
    key: String,
    n_string: i64,
    n_number: i64,
    n_boolean: i64,
    n_list: i64,
    n_object: i64,
    n_null: i64,
    claimed: i64,
    mismatches: i64,
    listed: String,
    more_values: bool,
    sample: Option<String>,
    sample_redacted: bool,
    sample_row: Option<String>,
    label: Option<String>,
    first_seen: i64,
    last_seen: i64,
    description: Option<String>,
    in_prompt: Option<bool>,
    hidden: bool,
    version: i64,
}

impl AttributeRow {
    fn read(self) -> Result<Attribute> {
        let sample = match (&self.sample, self.sample_row) {
            (Some(text), Some(row)) => {
                let value = from_json("attributes", "sample", &self.id, text)?;
                Some(Sample { value, redacted: self.sample_redacted, row })
            }
            _ => None,
        };
        Ok(Attribute {
            name: AttributeName {
                scope: from_word("attributes", "scope", &self.id, &self.scope)?,
                kind: from_word("attributes", "kind", &self.id, &self.kind)?,
                key: self.key,
            },
            types: TypeCounts {
                string: self.n_string,
                number: self.n_number,
                boolean: self.n_boolean,
                list: self.n_list,
                object: self.n_object,
                null: self.n_null,
            },
            claimed: self.claimed,
            mismatches: self.mismatches,
            values: from_json("attributes", "listed", &self.id, &self.listed)?,
            more_values: self.more_values,
            sample,
            label: self.label,
            first_seen: time(self.first_seen),
            last_seen: time(self.last_seen),
            description: self.description,
            in_prompt: self.in_prompt,
            hidden: self.hidden,
            version: self.version,
            id: self.id,
        })
    }
}

type Place = (AttributeScope, AttributeKind);

pub(crate) async fn record_attributes(
    c: &mut Conn,
    org: &OrgId,
    seen: &[AttributeSeen],
    refused: &[Overflow],
    at: Timestamp,
) -> Result<()> {
    let mut places: BTreeMap<Place, Vec<&AttributeSeen>> = BTreeMap::new();
    for one in seen {
        places.entry((one.name.scope, one.name.kind)).or_default().push(one);
    }
    let mut overflow: BTreeMap<Place, i64> = BTreeMap::new();
    for one in refused {
        *overflow.entry((one.scope, one.kind)).or_default() += one.refused;
    }
    for ((scope, kind), mut seen) in places {
        // In key order, as rows are locked.
        seen.sort_by(|a, b| a.name.key.cmp(&b.name.key));
        let live = live_rows(c, org, scope, &seen).await?;
        let stored = load(c, org, (scope, kind), &seen).await?;
        let (all, claimed): (i64, i64) = sqlx::query_as(COUNT_ATTRIBUTES)
            .bind(&org.0)
            .bind(word(scope)?)
            .bind(word(kind)?)
            .fetch_one(&mut *c)
            .await?;
        let (mut room, mut claimed_room) = (MOST_KEYS - all, MOST_CLAIMED_KEYS - claimed);
        let mut rows = Vec::new();
        for one in seen {
            let known = stored.get(&clean(&one.name.key));
            if known.is_none() {
                let claim = one.claimed == one.types.total();
                if room <= 0 || (claim && claimed_room <= 0) {
                    *overflow.entry((scope, kind)).or_default() += one.types.total();
                    continue;
                }
                room -= 1;
                claimed_room -= i64::from(claim);
            }
            rows.push(merged(known, one, &live)?);
        }
        put(c, org, (scope, kind), &rows, at).await?;
    }
    for ((scope, kind), count) in overflow {
        sqlx::query(ADD_OVERFLOW)
            .bind(&org.0)
            .bind(word(scope)?)
            .bind(word(kind)?)
            .bind(count)
            .bind(us(at))
            .execute(&mut *c)
            .await?;
    }
    Ok(())
}

/// The rows that samples and single values come from, those of them that there still are.
async fn live_rows(
    c: &mut Conn,
    org: &OrgId,
    scope: AttributeScope,
    seen: &[&AttributeSeen],
) -> Result<BTreeSet<String>> {
    let named: BTreeSet<&str> = seen
        .iter()
        .flat_map(|one| {
            let singles = one.values.iter().filter_map(|value| value.row.as_deref());
            singles.chain(one.sample.as_ref().map(|sample| sample.row.as_str()))
        })
        .collect();
    let statement = match scope {
        AttributeScope::User => LIVE_USERS,
        AttributeScope::Company => LIVE_COMPANIES,
    };
    let live: Vec<String> =
        sqlx::query_scalar(statement).bind(&org.0).bind(json_list(named)).fetch_all(c).await?;
    Ok(live.into_iter().collect())
}

async fn load(
    c: &mut Conn,
    org: &OrgId,
    (scope, kind): Place,
    seen: &[&AttributeSeen],
) -> Result<BTreeMap<String, Attribute>> {
    let rows: Vec<AttributeRow> = sqlx::query_as(LOAD_ATTRIBUTES)
        .bind(&org.0)
        .bind(word(scope)?)
        .bind(word(kind)?)
        .bind(json_list(seen.iter().map(|one| &one.name.key)))
        .fetch_all(c)
        .await?;
    rows.into_iter().map(|row| row.read().map(|attribute| (attribute.name.key.clone(), attribute))).collect()
}

/// A row to be put: counts are what is added, the rest is what will be.
struct Put<'a> {
    seen: &'a AttributeSeen,
    listed: String,
    more_values: bool,
    sample: Option<Sample>,
    label: Option<String>,
}

fn merged<'a>(
    known: Option<&Attribute>,
    seen: &'a AttributeSeen,
    live: &BTreeSet<String>,
) -> Result<Put<'a>> {
    let mut values: Vec<DistinctValue> = known.map(|known| known.values.clone()).unwrap_or_default();
    let mut more_values = seen.more_values || known.is_some_and(|known| known.more_values);
    for value in &seen.values {
        match value.row.as_deref() {
            Some(row) if !live.contains(row) => {}
            row => more_values |= add_value(&mut values, &value.value, value.count, row),
        }
    }
    if more_values {
        values.clear();
    }
    let own = seen.sample.clone().filter(|sample| live.contains(&sample.row));
    Ok(Put {
        listed: clean(&to_json(&values)?),
        more_values,
        sample: own.or_else(|| known.and_then(|known| known.sample.clone())),
        label: seen.label.clone().or_else(|| known.and_then(|known| known.label.clone())),
        seen,
    })
}

async fn put(c: &mut Conn, org: &OrgId, (scope, kind): Place, rows: &[Put<'_>], at: Timestamp) -> Result<()> {
    let (scope, kind) = (word(scope)?, word(kind)?);
    let mut texts = Vec::with_capacity(rows.len());
    for row in rows {
        texts.push(row.sample.as_ref().map(|sample| to_json(&sample.value)).transpose()?);
    }
    let rows: Vec<_> = rows.iter().zip(texts).collect();
    bulk::insert(c, INSERT, &rows, UPSERT, |row, (put, sample)| {
        let seen = put.seen;
        row.push_bind(org.0.clone());
        row.push_bind(scope.clone());
        row.push_bind(kind.clone());
        row.push_bind(clean(&seen.name.key));
        row.push_bind(new_id_at("atr", at));
        row.push_bind(seen.types.string);
        row.push_bind(seen.types.number);
        row.push_bind(seen.types.boolean);
        row.push_bind(seen.types.list);
        row.push_bind(seen.types.object);
        row.push_bind(seen.types.null);
        row.push_bind(seen.claimed);
        row.push_bind(seen.mismatches);
        row.push_bind(put.listed.clone());
        row.push_bind(put.more_values);
        row.push_bind(sample.as_deref().map(clean));
        row.push_bind(put.sample.as_ref().is_some_and(|sample| sample.redacted));
        row.push_bind(put.sample.as_ref().map(|sample| sample.row.clone()));
        row.push_bind(put.label.as_deref().map(clean));
        row.push_bind(us(seen.first_seen));
        row.push_bind(us(seen.last_seen));
        row.push_bind(false);
        row.push_bind(0i64);
    })
    .await?;
    Ok(())
}

pub(crate) async fn list_attributes(
    c: &mut Conn,
    org: &OrgId,
    filter: &AttributeFilter,
    after: Option<&AttributeName>,
    limit: u32,
) -> Result<Vec<Attribute>> {
    let part: String = filter
        .part
        .iter()
        .flat_map(|part| part.to_ascii_lowercase().chars().collect::<Vec<_>>())
        .flat_map(|c| if matches!(c, '!' | '%' | '_') { vec!['!', c] } else { vec![c] })
        .collect();
    let (scope, kind, key) = match after {
        Some(name) => (word(name.scope)?, word(name.kind)?, clean(&name.key)),
        None => Default::default(),
    };
    let rows: Vec<AttributeRow> = sqlx::query_as(LIST_ATTRIBUTES)
        .bind(&org.0)
        .bind(filter.scope.map(word).transpose()?.unwrap_or_default())
        .bind(filter.kind.map(word).transpose()?.unwrap_or_default())
        .bind(clean(&format!("%{part}%")))
        .bind(filter.hidden)
        .bind(scope)
        .bind(kind)
        .bind(key)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await?;
    rows.into_iter().map(AttributeRow::read).collect()
}

pub(crate) async fn find_attribute(c: &mut Conn, org: &OrgId, id: &str) -> Result<Option<Attribute>> {
    let row: Option<AttributeRow> =
        sqlx::query_as(FIND_ATTRIBUTE).bind(&org.0).bind(id).fetch_optional(c).await?;
    row.map(AttributeRow::read).transpose()
}

pub(crate) async fn change_attribute(
    c: &mut Conn,
    org: &OrgId,
    id: &str,
    change: &AttributeChange,
    version: Option<i64>,
) -> Result<Changed> {
    let row: Option<AttributeRow> =
        sqlx::query_as(LOCK_ATTRIBUTE).bind(&org.0).bind(id).fetch_optional(&mut *c).await?;
    let Some(mut found) = row.map(AttributeRow::read).transpose()? else { return Ok(Changed::Unknown) };
    if version.is_some_and(|version| version != found.version) {
        return Ok(Changed::Stale(found.version));
    }
    let before = (found.description.clone(), found.in_prompt, found.hidden);
    if let Some(description) = &change.description {
        found.description = description.as_deref().map(clean);
    }
    if let Some(in_prompt) = change.in_prompt {
        found.in_prompt = in_prompt;
    }
    if let Some(hidden) = change.hidden {
        found.hidden = hidden;
    }
    if before != (found.description.clone(), found.in_prompt, found.hidden) {
        sqlx::query(CHANGE_ATTRIBUTE)
            .bind(&org.0)
            .bind(id)
            .bind(&found.description)
            .bind(found.in_prompt)
            .bind(found.hidden)
            .execute(c)
            .await?;
        found.version += 1;
    }
    Ok(Changed::Done(Box::new(found)))
}

pub(crate) async fn put_attribute(
    c: &mut Conn,
    org: &OrgId,
    name: &AttributeName,
    at: Timestamp,
) -> Result<String> {
    let (scope, kind, key) = (word(name.scope)?, word(name.kind)?, clean(&name.key));
    sqlx::query(ADD_ATTRIBUTE)
        .bind(&org.0)
        .bind(&scope)
        .bind(&kind)
        .bind(&key)
        .bind(new_id_at("atr", at))
        .bind(us(at))
        .execute(&mut *c)
        .await?;
    Ok(sqlx::query_scalar(FIND_ATTRIBUTE_ID)
        .bind(&org.0)
        .bind(scope)
        .bind(kind)
        .bind(key)
        .fetch_one(c)
        .await?)
}

pub(crate) async fn forget_samples(c: &mut Conn, org: &OrgId, row: &str) -> Result<u64> {
    let rows: Vec<AttributeRow> = sqlx::query_as(LOAD_SAMPLES).bind(&org.0).fetch_all(&mut *c).await?;
    let mut changed = 0;
    for found in rows {
        let mut found = found.read()?;
        let values = found.values.len();
        found.values.retain(|value| value.row.as_deref() != Some(row));
        let sampled = found.sample.as_ref().is_some_and(|sample| sample.row == row);
        if !sampled && values == found.values.len() {
            continue;
        }
        let sample = found.sample.filter(|_| !sampled);
        let text = sample.as_ref().map(|sample| to_json(&sample.value)).transpose()?;
        sqlx::query(DROP_SAMPLE)
            .bind(&org.0)
            .bind(&found.id)
            .bind(text)
            .bind(sample.as_ref().is_some_and(|sample| sample.redacted))
            .bind(sample.map(|sample| sample.row))
            .bind(to_json(&found.values)?)
            .execute(&mut *c)
            .await?;
        changed += 1;
    }
    Ok(changed)
}

#[derive(FromRow)]
struct SayingRow {
    scope: String,
    kind: String,
    key: String,
    description: Option<String>,
    in_prompt: Option<bool>,
}

pub(crate) async fn load_sayings(c: &mut Conn, org: &OrgId) -> Result<Vec<AttributeSaying>> {
    let rows: Vec<SayingRow> = sqlx::query_as(LOAD_SAYINGS).bind(&org.0).fetch_all(c).await?;
    let read = |row: SayingRow| {
        Ok(AttributeSaying {
            scope: from_word("attributes", "scope", &row.key, &row.scope)?,
            kind: from_word("attributes", "kind", &row.key, &row.kind)?,
            key: row.key,
            description: row.description,
            in_prompt: row.in_prompt,
        })
    };
    rows.into_iter().map(read).collect()
}

pub(crate) async fn list_overflows(c: &mut Conn, org: &OrgId) -> Result<Vec<Overflow>> {
    let rows: Vec<(String, String, i64, i64)> =
        sqlx::query_as(LIST_OVERFLOWS).bind(&org.0).fetch_all(c).await?;
    let read = |(scope, kind, refused, last_at): (String, String, i64, i64)| {
        Ok(Overflow {
            scope: from_word("attribute_overflow", "scope", &scope, &scope)?,
            kind: from_word("attribute_overflow", "kind", &kind, &kind)?,
            refused,
            last_at: time(last_at),
        })
    };
    rows.into_iter().map(read).collect()
}
