//! What an agent can call.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector_sdk::Timestamp;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::view::{Asked, CustomerContext, Explanation};
use super::{Agent, Refusal};
use crate::context::money::Money;
use crate::derive::{self, Derivation};
use crate::domain::companies::Company;
use crate::domain::users::EndUser;
use crate::store::identity::{Listed, Lookup};

/// Rows of a page where the caller says nothing, and at most.
const PAGE: u32 = 20;
const LARGEST_PAGE: u32 = 100;

/// A tool's answer: the text, and the same as a value of the output schema.
pub(super) type Answer = Result<(String, Value), Refusal>;

/// Whose derivation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompanyArgs {
    /// The company: the product's own id of it, or `cmp_…`
    pub(super) company_id: String,
}

/// Which companies.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct FindCompanies {
    /// Beginning of a word of the name, the domain or the product's own id; without it: all
    search: Option<String>,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// Rows of a page, 1 to 100; 20 where nothing is said
    limit: Option<u32>,
}

/// Which users.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct FindUsers {
    /// Beginning of a word of the name, the e-mail address or the product's own id; without it: all
    search: Option<String>,
    /// Only users of this company: the product's own id of it, or `cmp_…`
    company_id: Option<String>,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// Rows of a page, 1 to 100; 20 where nothing is said
    limit: Option<u32>,
}

/// What is known of a company at a glance.
#[derive(Debug, Serialize, JsonSchema)]
struct CompanyRow {
    /// Our id
    id: String,
    /// The product's own id
    external_id: Option<String>,
    /// Display name
    name: Option<String>,
    /// Web domain
    domain: Option<String>,
    /// Name of the plan
    plan: Option<String>,
    /// Monthly recurring revenue, as `299.00 USD`
    mrr: Option<String>,
    /// When the agreement renews or ends, UTC
    renewal_date: Option<String>,
    /// Number of its users
    team_size: Option<i64>,
    /// What is derived comes from a provider's test mode
    test: bool,
}

/// A page of companies.
#[derive(Debug, Serialize, JsonSchema)]
struct Companies {
    /// The companies, in order of creation
    companies: Vec<CompanyRow>,
    /// Give it as `cursor` for the next page; null at the end
    next_cursor: Option<String>,
}

/// What is known of a user at a glance.
#[derive(Debug, Serialize, JsonSchema)]
struct UserRow {
    /// Our id
    id: String,
    /// The product's own id
    external_id: Option<String>,
    /// Display name
    name: Option<String>,
    /// E-mail address
    email: Option<String>,
    /// Our id of the user's company
    company_id: Option<String>,
    /// When the user was last seen in the product
    last_seen: Option<Timestamp>,
}

/// A page of users.
#[derive(Debug, Serialize, JsonSchema)]
struct Users {
    /// The users, in order of creation
    users: Vec<UserRow>,
    /// Give it as `cursor` for the next page; null at the end
    next_cursor: Option<String>,
}

/// A derivation: every value and why it is what it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DerivationAnswer {
    /// Our id of the company
    company_id: String,
    /// The product's own id of it
    external_id: Option<String>,
    /// Display name
    name: Option<String>,
    /// The figures come from a provider's test mode
    test: bool,
    /// Every derived value by its name, with its reason. Money in minor units
    values: BTreeMap<String, Derived>,
    /// The sum behind the monthly recurring revenue, line by line
    mrr: Map<String, Value>,
    /// Parts that a value needs and that are not there
    missing: Vec<Value>,
    /// The company's accounts at each provider
    accounts: BTreeMap<String, Vec<String>>,
    /// When time alone may change a value
    next_turn: Option<Timestamp>,
    /// Version of the rules
    version: u32,
    /// The same in words
    #[serde(skip)]
    text: String,
}

/// A derived value and its reason.
#[derive(Debug, Serialize, JsonSchema)]
struct Derived {
    /// The value; null where it is unknown
    value: Value,
    /// The rule that gave it
    rule: Option<String>,
    /// The source records that it was made of, `connection/stream/id`
    records: Vec<String>,
    /// What went in
    inputs: BTreeMap<String, Value>,
    /// What could have been the value, and why it is not
    losers: Vec<Value>,
}

/// Every tool.
pub(super) fn all() -> Vec<Tool> {
    vec![
        tool::<Asked, CustomerContext>(
            "customer_context",
            "What support sees of a customer",
            "The text that a support chat's system prompt has about an end user and their company, and the merged \
             values behind it. Custom fields and context entries given here are laid over what is stored, for this \
             answer only.",
        ),
        tool::<Asked, Explanation>(
            "explain_customer",
            "Where each line comes from",
            "For every field and context entry of a customer: who said it, when, which values lost to it and why, and \
             whether the prompt shows it.",
        ),
        tool::<CompanyArgs, DerivationAnswer>(
            "company_derivation",
            "Why a company's figures are what they are",
            "Plan, MRR, lifetime value, renewal and contract of a company with the rule, the inputs and the source \
             records of each, and the sum behind the MRR line by line.",
        ),
        tool::<FindCompanies, Companies>(
            "find_companies",
            "Find companies",
            "Companies by the beginning of a word of their name, domain or id, a page at a time.",
        ),
        tool::<FindUsers, Users>(
            "find_users",
            "Find end users",
            "End users by the beginning of a word of their name, e-mail address or id, a page at a time.",
        ),
    ]
}

fn tool<In: JsonSchema, Out: JsonSchema>(
    name: &'static str,
    title: &'static str,
    description: &'static str,
) -> Tool {
    Tool::new(name, description, schema::<In>())
        .with_title(title)
        .with_raw_output_schema(schema::<Out>())
        // Nothing is changed, and nobody outside is asked.
        .with_annotations(ToolAnnotations::with_title(title).read_only(true).open_world(false))
}

/// Without references: not every client resolves them.
fn schema<T: JsonSchema>() -> Arc<JsonObject> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}

impl Agent {
    /// Calls a tool; `None` when there is none of that name.
    pub(super) async fn call(&self, name: &str, arguments: JsonObject) -> Option<Answer> {
        Some(match name {
            "customer_context" => self.customer_context(arguments).await,
            "explain_customer" => self.explain_customer(arguments).await,
            "company_derivation" => self.company_derivation(arguments).await,
            "find_companies" => self.find_companies(arguments).await,
            "find_users" => self.find_users(arguments).await,
            _ => return None,
        })
    }

    async fn customer_context(&self, arguments: JsonObject) -> Answer {
        let answer = self.context_of(self.customer(read(arguments)?).await?);
        Ok((answer.text.clone(), json!(answer)))
    }

    async fn explain_customer(&self, arguments: JsonObject) -> Answer {
        let answer = self.explanation_of(self.customer(read(arguments)?).await?);
        Ok((answer.text.clone(), json!(answer)))
    }

    async fn company_derivation(&self, arguments: JsonObject) -> Answer {
        let args: CompanyArgs = read(arguments)?;
        let answer = self.derivation(&args.company_id).await?;
        Ok((answer.text.clone(), json!(answer)))
    }

    /// The derivation of a company, as it is stored.
    pub(super) async fn derivation(&self, company_id: &str) -> Result<DerivationAnswer, Refusal> {
        let company = self.company(company_id).await?;
        let document = self.store.find_derivation(&self.org, &company.id).await?.ok_or_else(|| {
            Refusal::Asked(format!("company_id: nothing is derived of company {company_id:?} yet"))
        })?;
        // A document of older rules may lack what this program knows; it is written again by the next derivation.
        let derivation: Derivation = serde_json::from_value(document).map_err(|_| {
            Refusal::Asked(format!("company_id: company {company_id:?} is being derived again, ask later"))
        })?;
        Ok(answer_of(company, &derivation))
    }

    async fn company(&self, id: &str) -> Result<Company, Refusal> {
        let found = self.store.find_company(&self.org, &Lookup::parse(id)).await?;
        found.ok_or_else(|| {
            Refusal::Asked(format!("company_id: there is no company {id:?}; find_companies finds one"))
        })
    }

    async fn find_companies(&self, arguments: JsonObject) -> Answer {
        let args: FindCompanies = read(arguments)?;
        let (after, limit) = (cursor("companies", args.cursor.as_deref())?, limit(args.limit)?);
        let page =
            self.store.list_companies(&self.org, args.search.as_deref(), after.as_deref(), limit).await?;
        let next_cursor = page.next.as_deref().map(|id| cursor_text("companies", id));
        let companies = page.rows.into_iter().map(CompanyRow::from).collect();
        Ok(plain(&Companies { companies, next_cursor }))
    }

    async fn find_users(&self, arguments: JsonObject) -> Answer {
        let args: FindUsers = read(arguments)?;
        let (after, limit) = (cursor("users", args.cursor.as_deref())?, limit(args.limit)?);
        let company = match &args.company_id {
            Some(id) => Some(self.company(id).await?.id),
            None => None,
        };
        let search = args.search.as_deref().unwrap_or_default();
        let page = self.store.search_users(&self.org, search, company.as_ref(), after.as_deref(), limit);
        let Listed { rows, next } = page.await?;
        let next_cursor = next.as_deref().map(|id| cursor_text("users", id));
        Ok(plain(&Users { users: rows.into_iter().map(UserRow::from).collect(), next_cursor }))
    }
}

/// Arguments of a tool, or what is wrong with them.
fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!("{path}: ") };
        Refusal::Asked(format!("{at}{}", error.inner()))
    })
}

fn limit(given: Option<u32>) -> Result<i64, Refusal> {
    let limit = given.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Refusal::Asked(format!("limit: 1 to {LARGEST_PAGE}, not {limit}")));
    }
    Ok(i64::from(limit))
}

/// Where a list goes on, as a caller carries it: nothing that they could build on.
pub(super) fn cursor_text(list: &str, after: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list} {after}"))
}

/// What [`cursor_text`] made for that list.
pub(super) fn cursor(list: &str, given: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    let text = URL_SAFE_NO_PAD.decode(given).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let after = text.as_deref().and_then(|text| text.split_once(' ')).filter(|(of, _)| *of == list);
    match after {
        Some((_, after)) => Ok(Some(after.to_owned())),
        None => Err(Refusal::Asked("cursor: not one that this list gave".to_owned())),
    }
}

/// A value whose text is its JSON.
fn plain(value: &impl Serialize) -> (String, Value) {
    let value = json!(value);
    (value.to_string(), value)
}

fn answer_of(company: Company, derivation: &Derivation) -> DerivationAnswer {
    let values = match json!(derivation.values) {
        Value::Object(values) => values,
        _ => Map::new(),
    };
    let derived = |(field, value): (String, Value)| {
        let why = derivation.why(&field);
        let derived = Derived {
            value,
            rule: why.map(|why| why.rule.clone()),
            records: why.map(|why| why.records.clone()).unwrap_or_default(),
            inputs: why.map(|why| why.inputs.clone()).unwrap_or_default(),
            losers: why.map(|why| why.losers.iter().map(|l| json!(l)).collect()).unwrap_or_default(),
        };
        (field, derived)
    };
    DerivationAnswer {
        company_id: company.id.0,
        external_id: company.external_id,
        name: company.fields.name,
        test: derivation.test,
        values: values.into_iter().map(derived).collect(),
        mrr: json!(derivation.mrr).as_object().cloned().unwrap_or_default(),
        missing: derivation.missing.iter().map(|gap| json!(gap)).collect(),
        accounts: derivation.accounts.clone(),
        next_turn: derivation.next_turn,
        version: derivation.version,
        text: derive::explain(derivation),
    }
}

impl From<Company> for CompanyRow {
    fn from(company: Company) -> Self {
        let fields = company.fields;
        let money = fields.mrr_minor.zip(fields.mrr_currency.as_deref());
        Self {
            id: company.id.0,
            external_id: company.external_id,
            name: fields.name,
            domain: fields.domain,
            plan: fields.plan,
            mrr: money.and_then(|(minor, code)| Money::new(minor, code)).map(|money| money.to_string()),
            renewal_date: fields.renewal_date.map(|day| day.to_string()),
            team_size: fields.team_size,
            test: company.test,
        }
    }
}

impl From<EndUser> for UserRow {
    fn from(user: EndUser) -> Self {
        Self {
            id: user.id.0,
            external_id: user.external_id,
            name: user.fields.name,
            email: user.fields.email,
            company_id: user.company_id.map(|id| id.0),
            last_seen: user.last_seen,
        }
    }
}
