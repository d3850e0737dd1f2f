//! `POST /api/sdk/companies/identify` and `POST /api/sdk/companies/update`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::answers::{CompanyAnswer, failed, refused};
use super::bulk::{self, BulkAnswer};
use super::{Caller, Sdk, author};
use crate::http::ApiError;
use crate::http::extract::{JsonBody, RawBody, parse_object};
use crate::product::{ANONYMOUS, CompanyWrite, ItemResult, Status, Traits};

/// One company, as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CompanyBody {
    company_id: Option<String>,
    user_id: Option<String>,
    traits: Traits,
    context: Option<Map<String, Value>>,
    user_token: Option<String>,
}

impl CompanyBody {
    fn write(self) -> CompanyWrite {
        CompanyWrite {
            company_id: self.company_id.unwrap_or_default(),
            traits: self.traits,
            context: self.context.unwrap_or_default(),
            user_id: self.user_id.filter(|id| id != ANONYMOUS),
        }
    }
}

/// The route of `identify`: a company, and the user who is of it.
pub(super) async fn identify(
    State(sdk): State<Sdk>,
    caller: Caller,
    JsonBody(body): JsonBody<CompanyBody>,
) -> Result<Response, ApiError> {
    let voice = caller.voice(&sdk, body.user_id.as_deref(), body.user_token.as_deref()).await?;
    let write = body.write();
    let written = sdk.product.identify_company(caller.org(), &write, &author(voice)).await.map_err(failed)?;
    let company = match caller.is_server() {
        true => written.company,
        false => written.said(),
    };
    Ok(axum::Json(CompanyAnswer::of(company, write.user_id, written.change)).into_response())
}

/// The body of `update`: `companies`, or the members of one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct UpdateBody<'a> {
    #[serde(borrow)]
    companies: Option<Vec<&'a RawValue>>,
    update_only: Option<bool>,
    user_token: Option<String>,
}

/// The route of `update`: one or up to a thousand.
pub(super) async fn update(
    State(sdk): State<Sdk>,
    caller: Caller,
    RawBody(bytes): RawBody,
) -> Result<Response, ApiError> {
    let body: UpdateBody<'_> = parse_object(&bytes)?;
    let voice = caller.bulk_voice(&sdk, body.user_token.as_deref()).await?;
    let (author, update_only) = (author(voice), body.update_only.unwrap_or(false));
    let mut answer = BulkAnswer::new();
    let Some(companies) = body.companies else {
        let company: CompanyBody = parse_object(&bytes)?;
        let name = company.company_id.clone();
        let result =
            sdk.product.update_companies(caller.org(), &[company.write()], update_only, &author).await;
        for result in result.map_err(failed)? {
            if let (Status::Rejected, Some(refusal)) = (result.status, result.refusal.clone()) {
                return Err(refused(refusal));
            }
            answer.add("company_id", name.clone(), result);
        }
        return Ok(axum::Json(answer).into_response());
    };
    bulk::check_count("companies", companies.len())?;
    for piece in companies.chunks(bulk::TOGETHER) {
        let mut names = Vec::with_capacity(piece.len());
        let mut read = Vec::with_capacity(piece.len());
        for raw in piece {
            let company = bulk::parse::<CompanyBody>(raw);
            names.push(company.as_ref().ok().and_then(|company| company.company_id.clone()));
            read.push(company.map(CompanyBody::write));
        }
        let right: Vec<CompanyWrite> = read.iter().filter_map(|x| x.as_ref().ok().cloned()).collect();
        let results = sdk.product.update_companies(caller.org(), &right, update_only, &author).await;
        let mut results = results.map_err(failed)?.into_iter();
        for (name, company) in names.into_iter().zip(read) {
            let result = match company {
                Err(refusal) => Some(ItemResult::rejected(refusal)),
                Ok(_) => results.next(),
            };
            if let Some(result) = result {
                answer.add("company_id", name, result);
            }
        }
    }
    Ok(axum::Json(answer).into_response())
}
