//! The streams: by which properties objects are read, and what they are associated with.

mod companies;
mod contacts;
pub(crate) mod deals;
mod engagements;
mod owners;
mod properties;
pub(crate) mod tickets;

use connector_sdk::{ConnectorError, StreamSpec};

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the engine knows.
    pub(crate) spec: StreamSpec,
    /// How it is read.
    pub(crate) reads: Reads,
}

/// How a stream is read.
#[derive(Debug)]
pub(crate) enum Reads {
    /// CRM objects: listed, searched for, read in batches. The stream's name is that of the object type.
    Objects(Object),
    /// `/crm/owners`
    Owners,
    /// `/crm/properties`, a page for each object type.
    Properties,
}

/// A type of CRM object.
#[derive(Debug)]
pub(crate) struct Object {
    /// The name of one (`company`), as it stands in the names of associations.
    pub(crate) singular: &'static str,
    /// The property that says when an object was changed.
    pub(crate) modified: &'static str,
    /// What is read of each.
    pub(crate) properties: &'static [&'static str],
    /// What is read where the settings ask for texts.
    pub(crate) bodies: &'static [&'static str],
    /// The types whose associated ids belong to a record.
    pub(crate) to: &'static [&'static str],
    /// The property that names the main company.
    pub(crate) primary: Option<&'static str>,
    /// Whether HubSpot lists what is archived of this type.
    pub(crate) lists_archived: bool,
}

pub(crate) const ALL: [&Stream; 10] = [
    &companies::STREAM,
    &owners::STREAM,
    &contacts::STREAM,
    &deals::STREAM,
    &tickets::STREAM,
    &engagements::EMAILS,
    &engagements::NOTES,
    &engagements::CALLS,
    &engagements::MEETINGS,
    &properties::STREAM,
];

/// The object types whose properties are read, in the order of their pages.
pub(crate) const DEFINED: [&str; 4] = ["companies", "contacts", "deals", "tickets"];

/// The stream of that name and its place in [`ALL`].
pub(crate) fn find(name: &str) -> Result<(usize, &'static Stream), ConnectorError> {
    ALL.iter()
        .enumerate()
        .find(|(_, s)| s.spec.name == name)
        .map(|(n, s)| (n, *s))
        .ok_or_else(|| ConnectorError::Config(format!("HubSpot has no stream named {name:?}")))
}

/// The name of one object of that type.
pub(crate) fn singular(name: &str) -> &str {
    let object = ALL.iter().find_map(|s| match &s.reads {
        Reads::Objects(object) if s.spec.name == name => Some(object.singular),
        _ => None,
    });
    object.unwrap_or_else(|| name.strip_suffix('s').unwrap_or(name))
}

/// What every stream of CRM objects has in common.
const fn objects(name: &'static str, about: &'static str, permission: &'static str, order: u8) -> StreamSpec {
    StreamSpec {
        name,
        about,
        permission: Some(permission),
        incremental: true,
        party: false,
        full_pass_deletes: true,
        feed: false,
        order,
    }
}
