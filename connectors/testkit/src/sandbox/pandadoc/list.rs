//! The list of documents: filters, order, page numbers.

use chrono::DateTime;
use connector_sdk::Timestamp;
use serde_json::{Value, json};

use super::Refused;
use super::documents::{Document, Documents, STATUSES};

fn number(name: &str, text: &str, least: usize, most: usize) -> Result<usize, Refused> {
    let found = text.parse().map_err(|_| Refused::invalid(name, "A valid integer is required."))?;
    if !(least..=most).contains(&found) {
        return Err(Refused::invalid(name, "Ensure this value is in its range."));
    }
    Ok(found)
}

fn time(name: &str, text: &str) -> Result<Timestamp, Refused> {
    let at = DateTime::parse_from_rfc3339(text);
    at.map(|at| at.to_utc()).map_err(|_| Refused::invalid(name, "Datetime has wrong format."))
}

fn at(document: &Document, name: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(document.text(name)).ok().map(|at| at.to_utc())
}

pub(super) fn list(documents: &Documents, query: &[(String, String)]) -> Result<Value, Refused> {
    let (mut count, mut page, mut deleted) = (50, 1, false);
    let (mut order, mut backwards) = ("date_created".to_owned(), false);
    let mut found: Vec<&Document> = documents.all().collect();
    for (name, value) in query {
        match name.as_str() {
            "count" => count = number(name, value, 1, 100)?,
            "page" => page = number(name, value, 1, usize::MAX)?,
            "deleted" => deleted = value == "true",
            "order_by" => {
                backwards = value.starts_with('-');
                order = value.trim_start_matches('-').to_owned();
            }
            "id" => found.retain(|d| d.text("id") == value),
            "q" => found.retain(|d| d.text("name").contains(value.as_str())),
            "template_id" => found.retain(|d| d.details["template"]["id"] == value.as_str()),
            "folder_uuid" => found.retain(|d| d.details["folder_uuid"] == value.as_str()),
            "tag" => found.retain(|d| {
                d.details["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == value.as_str()))
            }),
            "status" | "status__ne" => {
                let status = STATUSES.get(number(name, value, 0, STATUSES.len() - 1)?).copied();
                found.retain(|d| (Some(d.text("status")) == status) == (name == "status"));
            }
            _ => {
                let Some((of, end)) = name.rsplit_once('_') else { continue };
                let member = match of {
                    "created" => "date_created",
                    "modified" => "date_modified",
                    "completed" => "date_completed",
                    _ => continue,
                };
                let border = time(name, value)?;
                match end {
                    "from" => found.retain(|d| at(d, member).is_some_and(|at| at >= border)),
                    "to" => found.retain(|d| at(d, member).is_some_and(|at| at < border)),
                    _ => {}
                }
            }
        }
    }
    found.retain(|d| d.deleted == deleted);
    if !order.starts_with("date_") && order != "name" && order != "status" {
        return Err(Refused::invalid("order_by", "is not a field to order by"));
    }
    // Equal ones come in an order of their own, which is no order to rely on.
    let member = if order == "date_status_changed" { "date_modified" } else { order.as_str() };
    found.sort_by_cached_key(|document| document.text(member));
    if backwards {
        found.reverse();
    }
    let rows: Vec<Value> =
        found.into_iter().skip((page - 1) * count).take(count).map(Document::row).collect();
    Ok(json!({ "results": rows }))
}
