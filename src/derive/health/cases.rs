//! Worked cases of health scores: signals in, score out, without a database.
//!
//! A case is a JSON object with `id`, `now`, `config` and `input`. `input` holds what the score is counted from
//! (`users`, `tickets`, `transcripts`, `feedback`, `team_size`, `stripe`), or under `components` signals that are
//! given. What is absent is not known; an empty list is known to be empty.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use connector_sdk::Timestamp;
use connector_sdk::facts::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::settings::number;
use super::{Health, HealthInputs, HealthSettings, Signal, TicketLoad, as_number, health};
use crate::derive::cases::{CaseError, Cases, read};
use crate::derive::exact::Exact;
use crate::derive::team::{Member, team_size};

#[derive(Deserialize)]
struct Case<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    now: Option<Timestamp>,
    #[serde(borrow)]
    config: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// Every member of `input` that is known.
const MEMBERS: [&str; 7] =
    ["components", "users", "tickets", "transcripts", "feedback", "team_size", "stripe"];

#[derive(Deserialize)]
struct Input {
    components: Option<BTreeMap<Signal, Points>>,
    users: Option<Vec<User>>,
    tickets: Option<Vec<Ticket>>,
    transcripts: Option<Vec<Transcript>>,
    feedback: Option<Vec<Feedback>>,
    team_size: Option<u64>,
    stripe: Option<Billing>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Points(#[serde(deserialize_with = "number")] Option<Decimal>);

#[derive(Deserialize)]
struct User {
    id: Option<Value>,
    last_seen_at: Option<Timestamp>,
    deleted_at: Option<Value>,
    merged_into: Option<Value>,
    #[serde(default)]
    is_test: Option<bool>,
}

#[derive(Deserialize)]
struct Ticket {
    status: String,
    priority: Option<String>,
}

#[derive(Deserialize)]
struct Transcript {
    #[serde(default, deserialize_with = "number")]
    sentiment: Option<Decimal>,
}

#[derive(Deserialize)]
struct Feedback {
    rating: Option<String>,
}

#[derive(Deserialize)]
struct Billing {
    subscription_status: Option<String>,
    #[serde(default)]
    delinquent: Option<bool>,
}

/// Answers the cases of a text, in its order: one case, an array of cases, or a file `{"cases": […]}`.
///
/// # Errors
///
/// [`CaseError::Shape`] when the text is none of the three, and for each case that is not understood; the message
/// names the member.
pub fn answers(text: &str) -> Result<impl Iterator<Item = Result<Value, CaseError>>, CaseError> {
    let all = each(text)?;
    Ok(all.map(|case| case.map(|(id, health, ignored)| answer_of(id, &health, &ignored))))
}

/// The whole score of each case, with its id.
///
/// # Errors
///
/// As [`answers`].
pub fn scores(text: &str) -> Result<impl Iterator<Item = Result<(Value, Health), CaseError>>, CaseError> {
    Ok(each(text)?.map(|case| case.map(|(id, health, _)| (id, health))))
}

/// A case's id, its score, and the members of its input that nobody knows.
type Scored = (Value, Health, Vec<String>);

fn each(text: &str) -> Result<impl Iterator<Item = Result<Scored, CaseError>>, CaseError> {
    let texts: Vec<&str> = Cases::read(text)?.texts().collect();
    Ok(texts.into_iter().enumerate().map(|(i, text)| run(text, i)))
}

fn answer_of(id: Value, health: &Health, ignored: &[String]) -> Value {
    let mut answer = Map::new();
    answer.insert("id".to_owned(), id);
    let components: Map<String, Value> = health
        .signals
        .iter()
        .map(|line| {
            let value =
                line.value.as_ref().and_then(|value| as_number(value, serde_json::value::Serializer).ok());
            (line.signal.as_str().to_owned(), value.unwrap_or_default())
        })
        .collect();
    if let Ok(Value::Object(members)) = serde_json::to_value(health) {
        answer.extend(members);
    }
    answer.insert("components".to_owned(), json!(components));
    if !ignored.is_empty() {
        answer.insert("ignored_input".to_owned(), json!(ignored));
    }
    Value::Object(answer)
}

fn run(text: &str, index: usize) -> Result<Scored, CaseError> {
    let position = format!("case {index}");
    let case: Case<'_> = read(text, &position)?;
    let id: Value = case.id.map_or(Ok(Value::Null), |raw| read(raw.get(), &format!("{position}.id")))?;
    let at = match &id {
        Value::String(id) => format!("case {id:?}"),
        _ => position,
    };
    let shape = |member: String, message: String| CaseError::Shape { at: format!("{at}.{member}"), message };
    let now = case.now.ok_or_else(|| shape("now".to_owned(), "expected an instant (RFC 3339)".to_owned()))?;
    let config = case.config.map_or("{}", RawValue::get);
    let settings: HealthSettings = read(config, &format!("{at}.config"))?;
    settings.check().map_err(|e| shape(format!("config.{}", e.member), e.message))?;
    let raw = case
        .input
        .ok_or_else(|| shape("input".to_owned(), "expected an object with what is known".to_owned()))?;
    let input: Input = read(raw.get(), &format!("{at}.input"))?;
    let members: BTreeMap<String, &RawValue> = read(raw.get(), &format!("{at}.input"))?;
    let ignored = members.into_keys().filter(|name| !MEMBERS.contains(&name.as_str())).collect();
    let inputs = inputs(input, &settings, now, &shape)?;
    Ok((id, health(&inputs, &settings), ignored))
}

fn inputs(
    input: Input,
    settings: &HealthSettings,
    now: Timestamp,
    shape: &impl Fn(String, String) -> CaseError,
) -> Result<HealthInputs, CaseError> {
    let day = |at: Timestamp| -> NaiveDate { at.date_naive() };
    let given = given(input.components, shape)?;
    let real: Option<Vec<(String, Option<NaiveDate>)>> = input.users.map(|users| {
        let set = |value: &Option<Value>| value.as_ref().is_some_and(|v| !v.is_null());
        users
            .iter()
            .filter(|u| !(set(&u.deleted_at) || set(&u.merged_into) || u.is_test.unwrap_or(false)))
            .map(|u| {
                let id = u.id.as_ref().map(Value::to_string).unwrap_or_default();
                (id, u.last_seen_at.map(day))
            })
            .collect()
    });
    let counted =
        real.iter().flatten().map(|(id, _)| Member { id, deleted: false, merged: false, test: false });
    let team_size = input.team_size.unwrap_or_else(|| team_size(counted));
    // Of a user that is listed twice the latest day counts.
    let last_seen = real.map(|users| {
        let mut latest: BTreeMap<String, NaiveDate> = BTreeMap::new();
        for (id, seen) in users {
            if let Some(seen) = seen {
                let at = latest.entry(id).or_insert(seen);
                *at = seen.max(*at);
            }
        }
        latest.into_values().collect()
    });
    let tickets = input.tickets.map(|tickets| {
        let mut load = TicketLoad::default();
        for ticket in &tickets {
            load.count(&settings.support, &ticket.status, ticket.priority.as_deref());
        }
        load
    });
    let mut transcripts = None;
    for (i, transcript) in input.transcripts.unwrap_or_default().iter().enumerate() {
        let Some(value) = transcript.sentiment.map(Exact::from) else { continue };
        if value < Exact::from(-1i64) || value > Exact::from(1i64) {
            return Err(shape(
                format!("input.transcripts[{i}].sentiment"),
                "expected a number from -1 to 1".to_owned(),
            ));
        }
        let (sum, count) = transcripts.unwrap_or_else(|| (Exact::zero(), 0));
        transcripts = Some((&sum + &value, count + 1));
    }
    let mut feedback = None;
    for (i, one) in input.feedback.unwrap_or_default().iter().enumerate() {
        let (positive, all) = feedback.unwrap_or((0, 0));
        feedback = match one.rating.as_deref() {
            Some("positive") => Some((positive + 1, all + 1)),
            Some("negative" | "neutral") => Some((positive, all + 1)),
            None => feedback,
            Some(other) => {
                return Err(shape(
                    format!("input.feedback[{i}].rating"),
                    format!("expected positive, neutral or negative, found {other:?}"),
                ));
            }
        };
    }
    let (status, delinquent) = match input.stripe {
        Some(billing) => (billing.subscription_status, billing.delinquent.unwrap_or(false)),
        None => (None, false),
    };
    if let Some(status) = &status
        && !super::STATUSES.contains(&status.as_str())
    {
        return Err(shape(
            "input.stripe.subscription_status".to_owned(),
            format!("expected one of {}, found {status:?}", super::STATUSES.join(", ")),
        ));
    }
    Ok(HealthInputs {
        today: day(now),
        team_size,
        last_seen,
        tickets,
        transcripts,
        feedback,
        subscription_status: status,
        delinquent,
        given,
    })
}

/// Signals that a case gives, in the order of [`Signal::ALL`]. One that it does not name is counted.
fn given(
    components: Option<BTreeMap<Signal, Points>>,
    shape: &impl Fn(String, String) -> CaseError,
) -> Result<[Option<Option<Exact>>; 4], CaseError> {
    let mut given = [const { None }; 4];
    for (signal, Points(points)) in components.unwrap_or_default() {
        let value = points.map(Exact::from);
        if value.as_ref().is_some_and(|v| v.is_negative() || *v > Exact::from(100i64)) {
            return Err(shape(
                format!("input.components.{}", signal.as_str()),
                "expected a number from 0 to 100, or null".to_owned(),
            ));
        }
        given[signal as usize] = Some(value);
    }
    Ok(given)
}
