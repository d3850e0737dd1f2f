//! Companies and users as rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::{Conn, bulk, keys};
use crate::domain::companies::{Company, CompanyFields, FieldSource};
use crate::domain::users::{EndUser, UserFields};
use crate::domain::{OrgId, Rank};
use crate::store::Result;
use crate::store::convert::{clean, from_json, time, to_json, us};
use crate::store::derivations::CompanyState;

statements! {
    COMPANIES = concat!("SELECT * FROM companies WHERE org_id = $1 AND id", in_list!("$2"));
}

/// A row of `companies`.
#[derive(FromRow)]
pub(crate) struct CompanyRow {
    id: String,
    external_id: Option<String>,
    source: String,
    pub(crate) placeholder: bool,
    name: Option<String>,
    domain: Option<String>,
    industry: Option<String>,
    plan: Option<String>,
    employee_count: Option<i64>,
    signed_up_at: Option<i64>,
    renewal_status: Option<String>,
    renewal_date: Option<String>,
    contract_term: Option<String>,
    contract_term_months: Option<i64>,
    payment_terms: Option<String>,
    on_contract: Option<bool>,
    mrr_minor: Option<i64>,
    arr_minor: Option<i64>,
    mrr_currency: Option<String>,
    team_size: Option<i64>,
    health_score: Option<i64>,
    last_contacted_at: Option<i64>,
    custom_fields: String,
    context: String,
    provenance: String,
    test: bool,
    created_at: i64,
    updated_at: i64,
    pub(crate) version: i64,
}

fn read_date(table: &'static str, row: &str, text: Option<String>) -> Result<Option<chrono::NaiveDate>> {
    text.map(|text| from_json(table, "renewal_date", row, &format!("\"{text}\""))).transpose()
}

/// Keys of one source, as stored: a derivation writes many at once.
#[derive(Serialize, Deserialize)]
struct Sourced<'a> {
    rank: Rank,
    source: Cow<'a, str>,
    /// Microseconds.
    at: i64,
    keys: Vec<Cow<'a, str>>,
}

fn provenance_text(provenance: &BTreeMap<String, FieldSource>) -> Result<String> {
    let mut groups: Vec<Sourced<'_>> = Vec::new();
    for (key, from) in provenance {
        let at = us(from.at);
        match groups.iter_mut().find(|x| x.at == at && x.rank == from.rank && x.source == from.source) {
            Some(group) => group.keys.push(key.into()),
            None => groups.push(Sourced {
                rank: from.rank,
                source: Cow::Borrowed(&from.source),
                at,
                keys: vec![key.into()],
            }),
        }
    }
    to_json(&groups)
}

fn read_provenance(table: &'static str, row: &str, text: &str) -> Result<BTreeMap<String, FieldSource>> {
    // Rows of before 2026-11-22 hold an object, a source for each key.
    if text.starts_with('{') {
        return from_json(table, "provenance", row, text);
    }
    let groups: Vec<Sourced<'_>> = from_json(table, "provenance", row, text)?;
    let mut provenance = BTreeMap::new();
    for group in groups {
        let from = FieldSource { rank: group.rank, source: group.source.into_owned(), at: time(group.at) };
        provenance.extend(group.keys.into_iter().map(|key| (key.into_owned(), from.clone())));
    }
    Ok(provenance)
}

impl CompanyRow {
    pub(crate) fn read(self) -> Result<Company> {
        let row = &self.id;
        Ok(Company {
            custom_fields: from_json("companies", "custom_fields", row, &self.custom_fields)?,
            context: from_json("companies", "context", row, &self.context)?,
            provenance: read_provenance("companies", row, &self.provenance)?,
            fields: CompanyFields {
                renewal_date: read_date("companies", row, self.renewal_date)?,
                name: self.name,
                domain: self.domain,
                industry: self.industry,
                plan: self.plan,
                employee_count: self.employee_count,
                signed_up_at: self.signed_up_at.map(time),
                renewal_status: self.renewal_status,
                contract_term: self.contract_term,
                contract_term_months: self.contract_term_months,
                payment_terms: self.payment_terms,
                on_contract: self.on_contract,
                mrr_minor: self.mrr_minor,
                arr_minor: self.arr_minor,
                mrr_currency: self.mrr_currency,
                team_size: self.team_size,
                health_score: self.health_score,
                last_contacted_at: self.last_contacted_at.map(time),
            },
            id: self.id.into(),
            external_id: self.external_id,
            source: self.source,
            test: self.test,
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
        })
    }
}

/// What `list_companies` searches: lower-case words, each with a space before it.
fn search_text(company: &Company) -> String {
    let parts =
        [company.fields.name.as_deref(), company.fields.domain.as_deref(), company.external_id.as_deref()];
    let mut text = String::new();
    for word in parts.into_iter().flatten().flat_map(str::split_whitespace) {
        text.push(' ');
        text.push_str(&word.to_lowercase());
    }
    clean(&text)
}

/// The pattern that finds a beginning of a word in [`search_text`]; empty for no search. `fold` is how the words
/// that are searched have lost their case.
pub(crate) fn search_pattern(search: Option<&str>, fold: fn(&str) -> String) -> String {
    let words: Vec<String> = search.unwrap_or_default().split_whitespace().map(fold).collect();
    if words.is_empty() {
        return String::new();
    }
    let mut pattern = String::from("% ");
    for ch in clean(&words.join(" ")).chars() {
        if matches!(ch, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(ch);
    }
    pattern.push('%');
    pattern
}

struct CompanyTexts<'a> {
    company: &'a Company,
    placeholder: bool,
    custom_fields: String,
    context: String,
    provenance: String,
}

/// Makes or replaces companies, whole rows.
pub(crate) async fn write_companies(c: &mut Conn, org: &OrgId, companies: &[(&Company, bool)]) -> Result<()> {
    let rows = companies
        .iter()
        .map(|(company, placeholder)| {
            Ok(CompanyTexts {
                company,
                placeholder: *placeholder,
                custom_fields: to_json(&company.custom_fields)?,
                context: to_json(&company.context)?,
                provenance: provenance_text(&company.provenance)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    bulk::insert(
        c,
        "INSERT INTO companies (id, org_id, external_id, source, placeholder, name, domain, industry, plan, \
         employee_count, signed_up_at, renewal_status, renewal_date, contract_term, contract_term_months, \
         payment_terms, on_contract, mrr_minor, arr_minor, mrr_currency, team_size, health_score, \
         last_contacted_at, custom_fields, context, provenance, test, search, created_at, updated_at)",
        &rows,
        "ON CONFLICT (id) DO UPDATE SET external_id = excluded.external_id, placeholder = excluded.placeholder, \
         name = excluded.name, domain = excluded.domain, industry = excluded.industry, plan = excluded.plan, \
         employee_count = excluded.employee_count, signed_up_at = excluded.signed_up_at, \
         renewal_status = excluded.renewal_status, renewal_date = excluded.renewal_date, \
         contract_term = excluded.contract_term, contract_term_months = excluded.contract_term_months, \
         payment_terms = excluded.payment_terms, on_contract = excluded.on_contract, \
         mrr_minor = excluded.mrr_minor, arr_minor = excluded.arr_minor, mrr_currency = excluded.mrr_currency, \
         team_size = excluded.team_size, health_score = excluded.health_score, \
         last_contacted_at = excluded.last_contacted_at, custom_fields = excluded.custom_fields, \
         context = excluded.context, provenance = excluded.provenance, test = excluded.test, \
         search = excluded.search, updated_at = excluded.updated_at, version = companies.version + 1",
        |row, x| {
            let f = &x.company.fields;
            row.push_bind(&x.company.id.0)
                .push_bind(&org.0)
                .push_bind(x.company.external_id.as_deref())
                .push_bind(&x.company.source)
                .push_bind(x.placeholder)
                .push_bind(f.name.as_deref().map(clean))
                .push_bind(f.domain.as_deref().map(clean))
                .push_bind(f.industry.as_deref().map(clean))
                .push_bind(f.plan.as_deref().map(clean))
                .push_bind(f.employee_count)
                .push_bind(f.signed_up_at.map(us))
                .push_bind(f.renewal_status.as_deref().map(clean))
                .push_bind(f.renewal_date.map(|day| day.to_string()))
                .push_bind(f.contract_term.as_deref().map(clean))
                .push_bind(f.contract_term_months)
                .push_bind(f.payment_terms.as_deref().map(clean))
                .push_bind(f.on_contract)
                .push_bind(f.mrr_minor)
                .push_bind(f.arr_minor)
                .push_bind(f.mrr_currency.as_deref().map(clean))
                .push_bind(f.team_size)
                .push_bind(f.health_score)
                .push_bind(f.last_contacted_at.map(us))
                .push_bind(&x.custom_fields)
                .push_bind(&x.context)
                .push_bind(&x.provenance)
                .push_bind(x.company.test)
                .push_bind(search_text(x.company))
                .push_bind(us(x.company.created_at))
                .push_bind(us(x.company.updated_at));
        },
    )
    .await?;
    Ok(())
}

/// A row of `end_users`.
#[derive(FromRow)]
pub(crate) struct UserRow {
    id: String,
    external_id: Option<String>,
    company_id: Option<String>,
    source: String,
    name: Option<String>,
    email: Option<String>,
    signed_up_at: Option<i64>,
    renewal_status: Option<String>,
    renewal_date: Option<String>,
    contract_term: Option<String>,
    payment_terms: Option<String>,
    on_contract: Option<bool>,
    mrr_minor: Option<i64>,
    arr_minor: Option<i64>,
    mrr_currency: Option<String>,
    custom_fields: String,
    context: String,
    provenance: String,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    is_test: bool,
    created_at: i64,
    updated_at: i64,
    pub(crate) version: i64,
}

impl UserRow {
    pub(crate) fn read(self) -> Result<EndUser> {
        let row = &self.id;
        Ok(EndUser {
            custom_fields: from_json("end_users", "custom_fields", row, &self.custom_fields)?,
            context: from_json("end_users", "context", row, &self.context)?,
            provenance: read_provenance("end_users", row, &self.provenance)?,
            fields: UserFields {
                renewal_date: read_date("end_users", row, self.renewal_date)?,
                name: self.name,
                email: self.email,
                signed_up_at: self.signed_up_at.map(time),
                renewal_status: self.renewal_status,
                contract_term: self.contract_term,
                payment_terms: self.payment_terms,
                on_contract: self.on_contract,
                mrr_minor: self.mrr_minor,
                arr_minor: self.arr_minor,
                mrr_currency: self.mrr_currency,
            },
            id: self.id.into(),
            external_id: self.external_id,
            company_id: self.company_id.map(Into::into),
            source: self.source,
            first_seen: self.first_seen.map(time),
            last_seen: self.last_seen.map(time),
            is_test: self.is_test,
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
        })
    }
}

pub(crate) use crate::store::traits::COMPANY_LINK;

/// The address by which a party may find the user's company. What a browser merely claimed, the address or the
/// company, identifies nobody.
pub(crate) fn matchable_email(user: &EndUser) -> Option<String> {
    let claimed = |name: &str| user.provenance.get(name).is_some_and(|source| source.rank == Rank::Claimed);
    if claimed("email") || claimed(COMPANY_LINK) {
        return None;
    }
    email_key(user)
}

/// The address by which a provider's person may be the user: not one that a browser merely claimed.
pub(crate) fn trusted_email(user: &EndUser) -> Option<String> {
    let claimed = user.provenance.get("email").is_some_and(|source| source.rank == Rank::Claimed);
    if claimed { None } else { email_key(user) }
}

/// The address in its normal form, whoever said it.
pub(crate) fn email_key(user: &EndUser) -> Option<String> {
    user.fields.email.as_deref().and_then(|email| keys::key("email", email)).map(|(_, value)| value)
}

struct UserTexts<'a> {
    user: &'a EndUser,
    custom_fields: String,
    context: String,
    provenance: String,
}

/// What a written user replaces but what users are found by.
macro_rules! user_values {
    () => {
        "name = excluded.name, email = excluded.email, signed_up_at = excluded.signed_up_at, \
         renewal_status = excluded.renewal_status, renewal_date = excluded.renewal_date, \
         contract_term = excluded.contract_term, payment_terms = excluded.payment_terms, \
         on_contract = excluded.on_contract, mrr_minor = excluded.mrr_minor, arr_minor = excluded.arr_minor, \
         mrr_currency = excluded.mrr_currency, custom_fields = excluded.custom_fields, \
         context = excluded.context, provenance = excluded.provenance, first_seen = excluded.first_seen, \
         last_seen = excluded.last_seen, is_test = excluded.is_test, updated_at = excluded.updated_at, \
         version = end_users.version + 1"
    };
}

/// Whether two states of a user are found by the same: no index has to be touched.
pub(crate) fn found_alike(a: &EndUser, b: &EndUser) -> bool {
    let keys = |user: &EndUser| (matchable_email(user), email_key(user));
    a.external_id == b.external_id && a.company_id == b.company_id && keys(a) == keys(b)
}

/// Makes or replaces users, whole rows.
pub(crate) async fn write_users(c: &mut Conn, org: &OrgId, users: &[&EndUser]) -> Result<()> {
    let after = concat!(
        "ON CONFLICT (id) DO UPDATE SET external_id = excluded.external_id, company_id = excluded.company_id, \
         matchable_email = excluded.matchable_email, email_key = excluded.email_key, ",
        user_values!()
    );
    write_users_with(c, org, users, after).await
}

/// As [`write_users`], of users who are there and are found by what they were found by ([`found_alike`]).
pub(crate) async fn write_user_values(c: &mut Conn, org: &OrgId, users: &[&EndUser]) -> Result<()> {
    write_users_with(c, org, users, concat!("ON CONFLICT (id) DO UPDATE SET ", user_values!())).await
}

async fn write_users_with(c: &mut Conn, org: &OrgId, users: &[&EndUser], after: &'static str) -> Result<()> {
    let rows = users
        .iter()
        .map(|user| {
            Ok(UserTexts {
                user,
                custom_fields: to_json(&user.custom_fields)?,
                context: to_json(&user.context)?,
                provenance: provenance_text(&user.provenance)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    bulk::insert(
        c,
        "INSERT INTO end_users (id, org_id, external_id, company_id, source, name, email, matchable_email, email_key, \
         signed_up_at, renewal_status, renewal_date, contract_term, payment_terms, on_contract, mrr_minor, \
         arr_minor, mrr_currency, custom_fields, context, provenance, first_seen, last_seen, is_test, created_at, updated_at)",
        &rows,
        after,
        |row, x| {
            let user = x.user;
            let f = &user.fields;
            row.push_bind(&user.id.0)
                .push_bind(&org.0)
                .push_bind(user.external_id.as_deref())
                .push_bind(user.company_id.as_ref().map(|id| &id.0))
                .push_bind(&user.source)
                .push_bind(f.name.as_deref().map(clean))
                .push_bind(f.email.as_deref().map(clean))
                .push_bind(matchable_email(user))
                .push_bind(email_key(user))
                .push_bind(f.signed_up_at.map(us))
                .push_bind(f.renewal_status.as_deref().map(clean))
                .push_bind(f.renewal_date.map(|day| day.to_string()))
                .push_bind(f.contract_term.as_deref().map(clean))
                .push_bind(f.payment_terms.as_deref().map(clean))
                .push_bind(f.on_contract)
                .push_bind(f.mrr_minor)
                .push_bind(f.arr_minor)
                .push_bind(f.mrr_currency.as_deref().map(clean))
                .push_bind(&x.custom_fields)
                .push_bind(&x.context)
                .push_bind(&x.provenance)
                .push_bind(user.first_seen.map(us))
                .push_bind(user.last_seen.map(us))
                .push_bind(user.is_test)
                .push_bind(us(user.created_at))
                .push_bind(us(user.updated_at));
        },
    )
    .await?;
    Ok(())
}

impl CompanyRow {
    /// The company, and the row beside it.
    fn read_whole(self) -> Result<(Company, CompanyState)> {
        let state = CompanyState { version: self.version, placeholder: self.placeholder };
        Ok((self.read()?, state))
    }
}

/// Companies by id.
pub(crate) async fn load_companies(
    c: &mut Conn,
    org: &OrgId,
    ids: &str,
) -> Result<HashMap<String, (Company, CompanyState)>> {
    let rows: Vec<CompanyRow> = sqlx::query_as(COMPANIES).bind(&org.0).bind(ids).fetch_all(c).await?;
    rows.into_iter()
        .map(|row| row.read_whole().map(|(company, state)| (company.id.0.clone(), (company, state))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::search_pattern;

    #[test]
    fn a_search_is_taken_literally() {
        assert_eq!(search_pattern(None, str::to_lowercase), "");
        assert_eq!(search_pattern(Some("  "), str::to_lowercase), "");
        assert_eq!(search_pattern(Some("Acme  Co"), str::to_lowercase), "% acme co%");
        assert_eq!(search_pattern(Some("50%_\\"), str::to_lowercase), "% 50\\%\\_\\\\%");
    }
}
