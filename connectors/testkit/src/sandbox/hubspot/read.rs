//! What is read: lists, searches, reads by id, associations, owners, definitions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use super::store::{Kind, Object, Store, Version, shown, time};

/// Query parameters, decoded.
pub(super) type Query = [(String, String)];

/// Pages of a list hold so many objects at most, a batch so many ids.
const LONGEST_PAGE: usize = 100;
/// Pages of a search.
const LONGEST_SEARCH: usize = 200;
/// A search shows so many results, however many there are.
const SEARCH_ENDS: usize = 10_000;
/// A search's body has so many characters at most.
const SEARCH_BODY: usize = 3_000;
/// Pages of owners.
const LONGEST_OWNERS: usize = 500;
/// An inline list of associations has so many at most.
const INLINE: usize = 100;
/// A batch of associations is asked for so many objects.
const ASSOCIATION_INPUTS: usize = 1_000;
/// Addresses longer than this are refused.
pub(super) const LONGEST_URL: usize = 16_000;

fn number(name: &str, text: &str, most: usize) -> Result<usize, Refusal> {
    text.parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| {
        Refusal::invalid(format!("Invalid input: {name} must be between 1 and {most}, got {text}"))
    })
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn url(kind: Kind, object: &Object) -> Value {
    json!(format!("https://app.hubspot.com/contacts/1/record/{}/{}", kind.type_id(), object.id))
}

/// `GET /crm/objects/{version}/{type}`.
pub(super) fn list(store: &Store, kind: Kind, query: &Query) -> Result<Value, Refusal> {
    let (mut limit, mut after, mut archived) = (10, 0, false);
    let (mut properties, mut associations) = (Vec::new(), Vec::new());
    for (name, value) in query {
        match name.as_str() {
            "limit" => limit = number("limit", value, LONGEST_PAGE)?,
            "after" => {
                after = value.parse().map_err(|_| Refusal::invalid(format!("invalid cursor: {value}")))?;
            }
            "archived" => archived = value == "true",
            "properties" => properties.extend(names(value)),
            "associations" => associations.extend(names(value)),
            other => return Err(Refusal::invalid(format!("unknown parameter {other}"))),
        }
    }
    if archived && kind == Kind::Meetings {
        return Err(Refusal::invalid(
            "Paging through deleted objects is not yet supported for object type 0-47 (MEETING_EVENT)",
        ));
    }
    let mut found: Vec<&Object> =
        store.behind(kind, after).filter(|o| o.archived_at.is_some() == archived).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let results: Vec<Value> = found
        .iter()
        .map(|object| {
            let mut out = shown(kind, object, &object.now, &properties);
            out.insert("url".to_owned(), url(kind, object));
            let mut inline = Map::new();
            for to in associations.iter().filter_map(|name| Kind::of_path(name)) {
                inline.extend(inlined(store, (kind, object.id), to));
            }
            if !inline.is_empty() {
                out.insert("associations".to_owned(), Value::Object(inline));
            }
            Value::Object(out)
        })
        .collect();
    let next = found.last().filter(|_| more).map(|o| o.id.to_string());
    Ok(page(results, next))
}

fn page(results: Vec<Value>, after: Option<String>) -> Value {
    let mut out = json!({ "results": results });
    if let Some(after) = after {
        out["paging"] = json!({"next": {"after": after, "link": "https://api.hubapi.com/"}});
    }
    out
}

/// The types of an association, as (id, name in lists): the main one of companies comes beside the plain one.
fn types(from: Kind, to: Kind, primary: bool) -> Vec<(u64, String)> {
    let name = format!("{}_to_{}", from.singular(), to.singular());
    let pair = match (from, to) {
        (Kind::Contacts, Kind::Companies) => Some((1, 279)),
        (Kind::Companies, Kind::Contacts) => Some((2, 280)),
        (Kind::Deals, Kind::Companies) => Some((5, 341)),
        (Kind::Companies, Kind::Deals) => Some((6, 342)),
        (Kind::Tickets, Kind::Companies) => Some((26, 339)),
        (Kind::Companies, Kind::Tickets) => Some((25, 340)),
        _ => None,
    };
    match pair {
        Some((main, plain)) => {
            let mut types = vec![(plain, format!("{name}_unlabeled"))];
            types.extend(primary.then_some((main, name)));
            types
        }
        None => vec![(100 + from as u64 * 20 + to as u64, name)],
    }
}

fn inlined(store: &Store, from: (Kind, u64), to: Kind) -> Option<(String, Value)> {
    let all = store.linked(from, to);
    if all.is_empty() {
        return None;
    }
    let mut out = Map::new();
    let results: Vec<Value> = all
        .iter()
        .take(INLINE)
        .flat_map(|link| types(from.0, to, link.primary).into_iter().map(|(_, name)| (link.id, name)))
        .map(|(id, name)| json!({"id": id.to_string(), "type": name}))
        .collect();
    out.insert("results".to_owned(), Value::Array(results));
    if all.len() > INLINE {
        let last = all.get(INLINE - 1).map_or(0, |link| link.id);
        out.insert(
            "paging".to_owned(),
            json!({"next": {"after": last.to_string(), "link": "https://api.hubapi.com/"}}),
        );
    }
    // As HubSpot writes it, with a blank.
    Some((to.path().replace('_', " "), Value::Object(out)))
}

/// `POST /crm/objects/{version}/{type}/search`.
pub(super) fn search(
    store: &Store,
    kind: Kind,
    body: &Value,
    length: usize,
    indexed_until: i64,
) -> Result<Value, Refusal> {
    if length > SEARCH_BODY {
        return Err(Refusal::invalid(format!("the request has more than {SEARCH_BODY} characters")));
    }
    let limit = match &body["limit"] {
        Value::Null => 10,
        value => number("limit", &value.to_string(), LONGEST_SEARCH)?,
    };
    let offset: usize = match &body["after"] {
        Value::Null => 0,
        value => value
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Refusal::invalid("after must be a number"))?,
    };
    if offset + limit > SEARCH_ENDS {
        return Err(Refusal::invalid(format!("a search shows no more than {SEARCH_ENDS} results")));
    }
    let groups = body["filterGroups"].as_array().cloned().unwrap_or_default();
    let mut found: Vec<(&Object, &Version)> = Vec::new();
    for object in store.of(kind) {
        let Some(version) = object.indexed(indexed_until) else { continue };
        let mut passes = groups.is_empty();
        for group in &groups {
            let mut all = true;
            for filter in group["filters"].as_array().into_iter().flatten() {
                all &= holds(kind, object, version, filter)?;
            }
            passes |= all;
        }
        if passes {
            found.push((object, version));
        }
    }
    for sort in body["sorts"].as_array().into_iter().flatten() {
        let down = sort["direction"] == "DESCENDING";
        match sort["propertyName"].as_str() {
            Some("hs_object_id") => found.sort_by_key(|(o, _)| o.id),
            Some(name) if name == kind.modified() => found.sort_by_key(|(o, v)| (v.updated, o.id)),
            Some("createdate") => found.sort_by_key(|(o, _)| (o.created, o.id)),
            other => return Err(Refusal::invalid(format!("cannot sort by {other:?}"))),
        }
        if down {
            found.reverse();
        }
    }
    let properties = texts(&body["properties"]);
    let total = found.len();
    let results: Vec<Value> = found
        .iter()
        .skip(offset)
        .take(limit)
        .map(|(object, version)| {
            let mut out = shown(kind, object, version, &properties);
            out.insert("url".to_owned(), url(kind, object));
            Value::Object(out)
        })
        .collect();
    let end = offset + results.len();
    let mut out = page(results, (end < total).then(|| end.to_string()));
    out["total"] = json!(total);
    Ok(out)
}

fn holds(kind: Kind, object: &Object, version: &Version, filter: &Value) -> Result<bool, Refusal> {
    let bad = || Refusal::invalid(format!("There was a problem with the request: {filter}"));
    let name = filter["propertyName"].as_str().ok_or_else(bad)?;
    let value = filter["value"].as_str().ok_or_else(bad)?;
    let wanted: i128 = value.parse().map_err(|_| bad())?;
    let found = match name {
        "hs_object_id" => i128::from(object.id),
        "createdate" => i128::from(object.created),
        name if name == kind.modified() => i128::from(version.updated),
        _ => return Err(bad()),
    };
    Ok(match filter["operator"].as_str() {
        Some("GT") => found > wanted,
        Some("GTE") => found >= wanted,
        Some("LT") => found < wanted,
        Some("LTE") => found <= wanted,
        Some("EQ") => found == wanted,
        _ => return Err(bad()),
    })
}

fn inputs<'a>(body: &'a Value, member: &str, most: usize) -> Result<Vec<&'a Value>, Refusal> {
    let all = body["inputs"].as_array().ok_or_else(|| Refusal::invalid("inputs is missing"))?;
    if all.len() > most {
        return Err(Refusal::invalid(format!("Maximum batch size is {most}; got {}", all.len())));
    }
    let all: Vec<&Value> = all.iter().collect();
    if all.iter().any(|input| !input[member].is_string()) {
        return Err(Refusal::invalid(format!("each of the inputs has a text {member}")));
    }
    Ok(all)
}

fn id_of(text: &Value) -> Result<u64, Refusal> {
    let text = text.as_str().unwrap_or_default();
    text.parse().map_err(|_| Refusal::invalid(format!("Invalid input JSON: {text:?} is no id")))
}

/// A whole or a partly failed batch, with the status that says so.
fn batch(results: Vec<Value>, errors: Vec<Value>) -> (u16, Value) {
    let now = time(0);
    let mut out =
        json!({"status": "COMPLETE", "results": results, "startedAt": now.clone(), "completedAt": now});
    if errors.is_empty() {
        return (200, out);
    }
    out["numErrors"] = json!(errors.len());
    out["errors"] = Value::Array(errors);
    (207, out)
}

/// `POST /crm/objects/{version}/{type}/batch/read`.
pub(super) fn batch_read(store: &Store, kind: Kind, body: &Value) -> Result<(u16, Value), Refusal> {
    let properties = texts(&body["properties"]);
    let (mut results, mut missing) = (BTreeMap::new(), Vec::new());
    for input in inputs(body, "id", LONGEST_PAGE)? {
        let id = id_of(&input["id"])?;
        match store.live(kind, id) {
            // Two ids of one merged object give one result.
            Some(object) => {
                results.insert(object.id, Value::Object(shown(kind, object, &object.now, &properties)));
            }
            None => missing.push(id.to_string()),
        }
    }
    let errors = (!missing.is_empty()).then(|| {
        json!({
            "status": "error", "category": "OBJECT_NOT_FOUND", "context": {"ids": missing},
            "message": format!(
                "Could not get some {} objects, they may be deleted or not exist. Check that ids are valid.",
                kind.singular().to_uppercase()
            ),
        })
    });
    Ok(batch(results.into_values().collect(), errors.into_iter().collect()))
}

/// `POST /crm/associations/{version}/{from}/{to}/batch/read`.
pub(super) fn associations(
    store: &Store,
    (from, to): (Kind, Kind),
    body: &Value,
    most: usize,
) -> Result<(u16, Value), Refusal> {
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in inputs(body, "id", ASSOCIATION_INPUTS)? {
        let id = id_of(&input["id"])?;
        let after = match &input["after"] {
            Value::Null => 0,
            text => id_of(text)?,
        };
        let all = store.linked((from, id), to);
        let rest: Vec<_> = all.iter().filter(|link| link.id > after).collect();
        if rest.is_empty() {
            errors.push(json!({
                "status": "error", "category": "OBJECT_NOT_FOUND",
                "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                "message": format!("No {} is associated with {} {id}.", to.singular(), from.singular()),
                "context": {"fromObjectId": [id.to_string()], "toObjectType": [to.singular()]},
            }));
            continue;
        }
        let shown: Vec<Value> = rest
            .iter()
            .take(most)
            .map(|link| {
                let types: Vec<Value> = types(from, to, link.primary)
                    .into_iter()
                    .map(|(id, name)| {
                        let label = (link.primary && !name.ends_with("unlabeled")).then_some("Primary");
                        json!({"category": "HUBSPOT_DEFINED", "typeId": id, "label": label})
                    })
                    .collect();
                // A number, unlike all other ids.
                json!({"toObjectId": link.id, "associationTypes": types})
            })
            .collect();
        let mut result = json!({"from": {"id": id.to_string()}, "to": shown});
        if rest.len() > most {
            let last = rest.get(most - 1).map_or(0, |link| link.id);
            result["paging"] = json!({"next": {"after": last.to_string()}});
        }
        results.push(result);
    }
    Ok(batch(results, errors))
}

/// `GET /crm/owners/{version}`.
pub(super) fn owners(store: &Store, query: &Query) -> Result<Value, Refusal> {
    let (mut limit, mut after, mut archived) = (100, 0, false);
    for (name, value) in query {
        match name.as_str() {
            "limit" => limit = number("limit", value, LONGEST_OWNERS)?,
            "after" => after = value.parse().map_err(|_| Refusal::invalid("invalid cursor"))?,
            "archived" => archived = value == "true",
            other => return Err(Refusal::invalid(format!("unknown parameter {other}"))),
        }
    }
    let mut found: Vec<(&u64, &Value)> = store
        .owners
        .range(after + 1..)
        .filter(|(_, owner)| owner["archived"] == archived)
        .take(limit + 1)
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(id, _)| id.to_string());
    Ok(page(found.into_iter().map(|(_, owner)| owner.clone()).collect(), next))
}

/// `GET /crm/owners/{version}/{id}`.
pub(super) fn owner(store: &Store, id: &str, query: &Query) -> Result<Value, Refusal> {
    let archived = query.iter().any(|(name, value)| name == "archived" && value == "true");
    let owner = id.parse().ok().and_then(|id: u64| store.owners.get(&id));
    owner
        .filter(|owner| owner["archived"] == archived)
        .cloned()
        .ok_or_else(|| Refusal::missing(&format!("owner {id}")))
}

/// `GET /crm/properties/{version}/{type}`: all at once.
pub(super) fn definitions(store: &Store, kind: Kind) -> Value {
    let all: Vec<&Value> = store.definitions.get(&kind).into_iter().flat_map(BTreeMap::values).collect();
    json!({ "results": all })
}

/// `GET /crm/properties/{version}/{type}/{name}`.
pub(super) fn definition(store: &Store, kind: Kind, name: &str) -> Result<Value, Refusal> {
    let found = store.definitions.get(&kind).and_then(|all| all.get(name));
    found.cloned().ok_or_else(|| Refusal::missing(&format!("property {name}")))
}

/// `POST /crm/properties/{version}/{type}/batch/read`.
pub(super) fn batch_definitions(store: &Store, kind: Kind, body: &Value) -> Result<(u16, Value), Refusal> {
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in inputs(body, "name", LONGEST_PAGE)? {
        let name = input["name"].as_str().unwrap_or_default();
        match definition(store, kind, name) {
            Ok(found) => results.push(found),
            Err(_) => errors.push(json!({
                "status": "error", "category": "OBJECT_NOT_FOUND", "context": {"name": [name]},
                "message": format!("property {name} does not exist"),
            })),
        }
    }
    Ok(batch(results, errors))
}
