//! Attributes as a file.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::attributes::View;
use crate::domain::attributes::{AttributeKind, AttributeScope};

/// The form of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// A JSON list.
    #[default]
    Json,
    /// CSV of RFC 4180, with a header.
    Csv,
}

const COLUMNS: &str = "scope,kind,key,data_type,mixed_types,seen,claimed_only,sample,values,first_seen,last_seen,description,in_prompt,hidden,mismatches\r\n";

/// The file.
pub(super) fn answer(format: Format, all: &[View]) -> Response {
    match format {
        Format::Json => Json(all).into_response(),
        Format::Csv => {
            let headers = [
                (CONTENT_TYPE, "text/csv; charset=utf-8"),
                (CONTENT_DISPOSITION, "attachment; filename=\"attributes.csv\""),
            ];
            (headers, csv(all)).into_response()
        }
    }
}

fn csv(all: &[View]) -> String {
    let mut text = COLUMNS.to_owned();
    for one in all {
        let scope = match one.scope {
            AttributeScope::User => "user",
            AttributeScope::Company => "company",
        };
        let kind = match one.kind {
            AttributeKind::Trait => "trait",
            AttributeKind::Context => "context",
        };
        let values: Vec<String> = one.values.iter().map(|value| plain(&value.value)).collect();
        let cells = [
            scope.to_owned(),
            kind.to_owned(),
            one.key.clone(),
            one.data_type.unwrap_or_default().to_owned(),
            one.mixed_types.to_string(),
            one.seen.to_string(),
            one.claimed_only.to_string(),
            one.sample.as_ref().map(plain).unwrap_or_default(),
            values.join("; "),
            one.first_seen.to_rfc3339(),
            one.last_seen.to_rfc3339(),
            one.description.clone().unwrap_or_default(),
            one.in_prompt.to_string(),
            one.hidden.to_string(),
            one.mismatches.to_string(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A cell: in quotes where it must be, and never a formula.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_cell_and_no_formula() {
        for (cell, expected) in [
            ("pro", "pro"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-1", "-1"),
            ("-1+cmd", "'-1+cmd"),
            ("a\r\nb", "\"a\r\nb\""),
        ] {
            assert_eq!(quoted(cell), expected);
        }
    }
}
