//! Cases in files: what `halo-sync render --input FILE` reads and answers.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::input::{AttributeInfo, CompanyDoc, Request, UserDoc};
use super::merge::{MergeOptions, Merged, merge};
use super::render::{RenderOptions, Rendered, render};

/// What is wrong with a case, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CaseError {
    /// The case's id, or its position (`#0`).
    pub case: String,
    /// The member, as a path (`input.user.context.limits.type`); empty for the case itself.
    pub member: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {}: ", self.case)?;
        if !self.member.is_empty() {
            write!(f, "{}: ", self.member)?;
        }
        f.write_str(&self.reason)
    }
}

/// The input of a case.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Input {
    /// The stored user, or `null`.
    pub user: Option<UserDoc>,
    /// The stored company, or `null`.
    pub company: Option<CompanyDoc>,
    /// What the request brings.
    pub request: Option<Request>,
    /// What is known of attributes.
    pub attributes: Vec<AttributeInfo>,
    /// How the text is to look.
    pub options: RenderOptions,
    /// ISO 4217 code for plain numbers in `mrr` and `arr`.
    pub reporting_currency: Option<String>,
}

impl Input {
    /// Merges and renders, and hands both to `with` (the merged document borrows from the input).
    pub fn run<T>(&self, with: impl FnOnce(&Merged<'_>, Rendered) -> T) -> T {
        let default = Request::default();
        let request = self.request.as_ref().unwrap_or(&default);
        let options = MergeOptions { reporting_currency: self.reporting_currency.clone() };
        let merged = merge(self.user.as_ref(), self.company.as_ref(), request, &self.attributes, &options);
        let rendered = render(&merged, &self.options);
        with(&merged, rendered)
    }
}

/// The cases of a document: one case, an array of cases, or a file `{about, cases: [...]}`.
///
/// # Errors
///
/// Where the document is none of these.
pub fn cases(document: Value) -> Result<Vec<Value>, CaseError> {
    let wrong = |member: &str, reason: &str| CaseError {
        case: "file".to_owned(),
        member: member.to_owned(),
        reason: reason.to_owned(),
    };
    match document {
        Value::Array(cases) => Ok(cases),
        Value::Object(mut file) if file.contains_key("cases") => match file.remove("cases") {
            Some(Value::Array(cases)) => Ok(cases),
            _ => Err(wrong("cases", "expected an array of cases")),
        },
        case @ Value::Object(_) => Ok(vec![case]),
        _ => Err(wrong("", "expected a case, an array of cases, or an object with `cases`")),
    }
}

/// Answers one case: `{"id", "text", "tokens", "sections", "trimmed", "refused"}`.
///
/// # Errors
///
/// [`CaseError`] names the member that is wrong.
pub fn answer(case: &Value) -> Result<Value, CaseError> {
    let (id, input) = read(case, 0)?;
    Ok(input.run(|merged, rendered| {
        let mut answer = Map::new();
        answer.insert("id".to_owned(), id);
        answer.insert("text".to_owned(), Value::String(rendered.text));
        answer.insert("tokens".to_owned(), json!(rendered.tokens));
        answer.insert("sections".to_owned(), json!(rendered.sections));
        answer.insert("trimmed".to_owned(), json!(rendered.trimmed));
        answer.insert("refused".to_owned(), json!(merged.refused));
        if let Some(marker) = rendered.marker {
            answer.insert("marker".to_owned(), Value::String(marker));
        }
        Value::Object(answer)
    }))
}

/// Reads one case: its id and its input. `position` names it in errors where it has no id.
///
/// # Errors
///
/// As for [`answer`].
pub fn read(case: &Value, position: usize) -> Result<(Value, Input), CaseError> {
    let id = case.get("id").cloned().unwrap_or(Value::Null);
    let name = match &id {
        Value::String(id) => id.clone(),
        Value::Null => format!("#{position}"),
        other => other.to_string(),
    };
    let wrong =
        |member: &str, reason: String| CaseError { case: name.clone(), member: member.to_owned(), reason };
    let Some(members) = case.as_object() else { return Err(wrong("", "expected an object".to_owned())) };
    let Some(input) = members.get("input") else { return Err(wrong("input", "missing".to_owned())) };
    let input: Input = serde_path_to_error::deserialize(input).map_err(|error| {
        let path = error.path().to_string();
        let member = if path == "." { "input".to_owned() } else { format!("input.{path}") };
        wrong(&member, error.into_inner().to_string())
    })?;
    Ok((id, input))
}
