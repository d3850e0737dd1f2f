//! The objects of the sandbox, with what its search index knows of them and what is associated with what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

/// A kind of CRM object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `companies`
    Companies,
    /// `contacts`
    Contacts,
    /// `deals`
    Deals,
    /// `tickets`
    Tickets,
    /// `line_items`
    LineItems,
    /// `emails`
    Emails,
    /// `notes`
    Notes,
    /// `calls`
    Calls,
    /// `meetings`
    Meetings,
}

/// All kinds.
pub const KINDS: [Kind; 9] = [
    Kind::Companies,
    Kind::Contacts,
    Kind::Deals,
    Kind::Tickets,
    Kind::LineItems,
    Kind::Emails,
    Kind::Notes,
    Kind::Calls,
    Kind::Meetings,
];

impl Kind {
    /// The name in paths, which is also that of the stream.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Companies => "companies",
            Self::Contacts => "contacts",
            Self::Deals => "deals",
            Self::Tickets => "tickets",
            Self::LineItems => "line_items",
            Self::Emails => "emails",
            Self::Notes => "notes",
            Self::Calls => "calls",
            Self::Meetings => "meetings",
        }
    }

    /// The name of one (`company`), as it stands in event types.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Companies => "company",
            other => other.path().strip_suffix('s').unwrap_or(other.path()),
        }
    }

    /// HubSpot's id of the object type.
    #[must_use]
    pub fn type_id(self) -> &'static str {
        match self {
            Self::Contacts => "0-1",
            Self::Companies => "0-2",
            Self::Deals => "0-3",
            Self::Tickets => "0-5",
            Self::LineItems => "0-8",
            Self::Notes => "0-46",
            Self::Meetings => "0-47",
            Self::Calls => "0-48",
            Self::Emails => "0-49",
        }
    }

    /// The kind of that path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        KINDS.into_iter().find(|k| k.path() == path)
    }

    /// The property that holds the time of the last change.
    #[must_use]
    pub fn modified(self) -> &'static str {
        match self {
            Self::Contacts => "lastmodifieddate",
            _ => "hs_lastmodifieddate",
        }
    }

    /// The property that holds the main company, where the kind has one.
    #[must_use]
    pub fn primary_company(self) -> Option<&'static str> {
        match self {
            Self::Contacts => Some("associatedcompanyid"),
            Self::Deals => Some("hs_primary_associated_company"),
            Self::Tickets => Some("hs_primary_company_id"),
            _ => None,
        }
    }

    /// The scope that reading needs.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Companies => "crm.objects.companies.read",
            Self::Deals => "crm.objects.deals.read",
            Self::Tickets => "tickets",
            Self::LineItems => "crm.objects.line_items.read",
            // Activities are read with the scope of the people they are about.
            Self::Contacts | Self::Emails | Self::Notes | Self::Calls | Self::Meetings => {
                "crm.objects.contacts.read"
            }
        }
    }
}

/// The texts of an object's properties, by name.
pub(super) type Properties = BTreeMap<String, String>;

/// An object as it was from an instant on.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) properties: Properties,
    pub(super) updated: i64,
}

/// One object; times in milliseconds since 1970.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) id: u64,
    pub(super) created: i64,
    pub(super) now: Version,
    /// Former versions, oldest first: what the search index may still show.
    before: Vec<Version>,
    pub(super) archived_at: Option<i64>,
}

impl Object {
    /// As the index has it, which lags behind: `None` where it does not know the object yet.
    pub(super) fn indexed(&self, until: i64) -> Option<&Version> {
        if self.archived_at.is_some() {
            return None;
        }
        std::iter::once(&self.now).chain(self.before.iter().rev()).find(|v| v.updated <= until)
    }
}

/// What an association is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) primary: bool,
}

/// Everything the sandbox holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: HashMap<Kind, BTreeMap<u64, Object>>,
    /// From a merged id to the one that is left.
    merged: HashMap<(Kind, u64), u64>,
    links: HashMap<(Kind, u64), BTreeSet<Link>>,
    pub(super) owners: BTreeMap<u64, Value>,
    /// By object type, then by name.
    pub(super) definitions: BTreeMap<Kind, BTreeMap<String, Value>>,
    ids: u64,
}

/// Ids begin behind what 32 bits hold, as real ones do.
const FIRST_ID: u64 = 400_000_000_000;

/// The property that names what was merged into an object.
const MERGED: &str = "hs_merged_object_ids";

impl Store {
    pub(super) fn new_id(&mut self) -> u64 {
        self.ids += 1;
        FIRST_ID + self.ids
    }

    pub(super) fn of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Object> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Objects behind that id.
    pub(super) fn behind(&self, kind: Kind, after: u64) -> impl Iterator<Item = &Object> {
        let all = self.objects.get(&kind);
        all.into_iter().flat_map(move |all| all.range(after.saturating_add(1)..)).map(|(_, o)| o)
    }

    /// The object, archived or not.
    pub(super) fn find(&self, kind: Kind, id: u64) -> Option<&Object> {
        self.objects.get(&kind)?.get(&id)
    }

    /// The object that a read by id answers with: the one that is left of a merge.
    pub(super) fn live(&self, kind: Kind, id: u64) -> Option<&Object> {
        let mut id = id;
        while let Some(left) = self.merged.get(&(kind, id)) {
            id = *left;
        }
        self.find(kind, id).filter(|o| o.archived_at.is_none())
    }

    pub(super) fn put(&mut self, kind: Kind, id: u64, created: i64, properties: Properties) {
        let now = Version { properties, updated: created };
        let object = Object { id, created, now, before: Vec::new(), archived_at: None };
        self.objects.entry(kind).or_default().insert(id, object);
    }

    /// Changes properties; gives those that are another now.
    pub(super) fn change(
        &mut self,
        kind: Kind,
        id: u64,
        at: i64,
        changes: Properties,
    ) -> Option<Vec<(String, String)>> {
        let object = self.objects.get_mut(&kind)?.get_mut(&id)?;
        let changed: Vec<(String, String)> = changes
            .into_iter()
            .filter(|(name, value)| object.now.properties.get(name).is_none_or(|old| old != value))
            .collect();
        if !changed.is_empty() {
            object.before.push(object.now.clone());
            // Nothing lags behind for long.
            if object.before.len() > 8 {
                object.before.remove(0);
            }
            object.now.properties.extend(changed.iter().cloned());
            object.now.updated = at.max(object.now.updated + 1);
        }
        Some(changed)
    }

    pub(super) fn set_archived(&mut self, kind: Kind, id: u64, at: Option<i64>) -> bool {
        let object = self.objects.get_mut(&kind).and_then(|all| all.get_mut(&id));
        let Some(object) = object.filter(|o| o.archived_at.is_some() != at.is_some()) else { return false };
        object.archived_at = at;
        true
    }

    /// Removes an object without a trace.
    pub(super) fn forget(&mut self, kind: Kind, id: u64) -> bool {
        for link in self.links.remove(&(kind, id)).unwrap_or_default() {
            if let Some(back) = self.links.get_mut(&(link.kind, link.id)) {
                back.retain(|l| (l.kind, l.id) != (kind, id));
            }
        }
        self.objects.get_mut(&kind).and_then(|all| all.remove(&id)).is_some()
    }

    /// Both are gone, and what they had is that of a new object: the first one's properties and main company before the
    /// second one's. Gives the new id.
    pub(super) fn merge(&mut self, kind: Kind, primary: u64, merged: u64, at: i64) -> Option<u64> {
        let ids = self.merged_ids(kind, primary, merged)?;
        let (first, second) = (self.find(kind, primary)?, self.find(kind, merged)?);
        let created = first.created.min(second.created);
        let mut properties = second.now.properties.clone();
        properties.extend(first.now.properties.clone());
        properties.insert(MERGED.to_owned(), [ids, vec![primary.to_string()]].concat().join(";"));
        let left = self.new_id();
        self.put(kind, left, created, properties);
        if let Some(object) = self.objects.get_mut(&kind).and_then(|all| all.get_mut(&left)) {
            object.now.updated = at;
        }
        for id in [primary, merged] {
            self.move_links(kind, id, left);
            self.forget(kind, id);
            self.merged.insert((kind, id), left);
        }
        Some(left)
    }

    /// As HubSpot merged companies and contacts formerly: the second is gone, and what it had is the first's.
    pub(super) fn merge_into(&mut self, kind: Kind, primary: u64, merged: u64, at: i64) -> bool {
        let Some(ids) = self.merged_ids(kind, primary, merged) else { return false };
        self.move_links(kind, merged, primary);
        self.forget(kind, merged);
        self.merged.insert((kind, merged), primary);
        self.change(kind, primary, at, BTreeMap::from([(MERGED.to_owned(), ids.join(";"))])).is_some()
    }

    /// What was merged into either of them, and the second; `None` where they cannot be merged.
    fn merged_ids(&self, kind: Kind, primary: u64, merged: u64) -> Option<Vec<String>> {
        let is_there = |id| self.find(kind, id).is_some_and(|object| object.archived_at.is_none());
        if primary == merged || !is_there(primary) || !is_there(merged) {
            return None;
        }
        let mut ids = BTreeSet::from([merged.to_string()]);
        for id in [primary, merged] {
            let known = self.find(kind, id).and_then(|object| object.now.properties.get(MERGED));
            ids.extend(known.into_iter().flat_map(|ids| ids.split(';')).map(str::to_owned));
        }
        Some(ids.into_iter().collect())
    }

    /// What one is associated with another is, too. A main company stays the one that it had.
    fn move_links(&mut self, kind: Kind, from: u64, to: u64) {
        for link in self.links.get(&(kind, from)).cloned().unwrap_or_default() {
            if kind == Kind::Companies {
                self.link((link.kind, link.id), (kind, to), link.primary);
            } else {
                let has_one = self.links.get(&(kind, to)).is_some_and(|all| all.iter().any(|l| l.primary));
                self.link((kind, to), (link.kind, link.id), link.primary && !has_one);
            }
        }
    }

    pub(super) fn link(&mut self, from: (Kind, u64), to: (Kind, u64), primary: bool) {
        if primary && to.0 == Kind::Companies {
            self.set_primary(from, Some(to.1));
        }
        let known = |links: &BTreeSet<Link>, end: (Kind, u64)| {
            links.iter().any(|l| (l.kind, l.id) == end && l.primary)
        };
        for (from, to) in [(from, to), (to, from)] {
            let links = self.links.entry(from).or_default();
            let primary = primary || known(links, to);
            links.retain(|l| (l.kind, l.id) != to);
            links.insert(Link { kind: to.0, id: to.1, primary });
        }
    }

    /// There is one main company.
    fn set_primary(&mut self, of: (Kind, u64), company: Option<u64>) {
        let links = self.links.entry(of).or_default();
        *links = std::mem::take(links)
            .into_iter()
            .map(|l| Link { primary: l.primary && l.kind != Kind::Companies, ..l })
            .collect();
        let object = self.objects.get_mut(&of.0).and_then(|all| all.get_mut(&of.1));
        if let (Some(name), Some(object)) = (of.0.primary_company(), object) {
            // An association is no change of the object: its time stays.
            match company {
                Some(id) => object.now.properties.insert(name.to_owned(), id.to_string()),
                None => object.now.properties.remove(name),
            };
        }
    }

    pub(super) fn unlink(&mut self, from: (Kind, u64), to: (Kind, u64)) -> bool {
        let mut gone = false;
        for (from, to) in [(from, to), (to, from)] {
            let Some(links) = self.links.get_mut(&from) else { continue };
            let was_primary =
                links.iter().any(|l| (l.kind, l.id) == to && l.primary && l.kind == Kind::Companies);
            let before = links.len();
            links.retain(|l| (l.kind, l.id) != to);
            gone |= links.len() < before;
            if was_primary {
                self.set_primary(from, None);
            }
        }
        gone
    }

    /// Live objects of a kind that are associated with this one, by id.
    pub(super) fn linked(&self, from: (Kind, u64), kind: Kind) -> Vec<Link> {
        let links = self.links.get(&from).into_iter().flatten();
        let mut found: Vec<Link> =
            links.filter(|l| l.kind == kind && self.live(kind, l.id).is_some()).copied().collect();
        found.sort_unstable_by_key(|l| l.id);
        found
    }
}

/// How HubSpot writes an instant.
pub(super) fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An object as an answer shows it, with the properties that were asked for.
pub(super) fn shown(kind: Kind, object: &Object, version: &Version, names: &[String]) -> Map<String, Value> {
    let mut properties = Map::new();
    for name in names {
        properties.insert(name.clone(), version.properties.get(name).map_or(Value::Null, |v| json!(v)));
    }
    properties.insert("createdate".to_owned(), json!(time(object.created)));
    properties.insert(kind.modified().to_owned(), json!(time(version.updated)));
    properties.insert("hs_object_id".to_owned(), json!(object.id.to_string()));
    let mut out = Map::new();
    out.insert("id".to_owned(), json!(object.id.to_string()));
    out.insert("properties".to_owned(), Value::Object(properties));
    out.insert("createdAt".to_owned(), json!(time(object.created)));
    out.insert("updatedAt".to_owned(), json!(time(version.updated)));
    out.insert("archived".to_owned(), json!(object.archived_at.is_some()));
    if let Some(at) = object.archived_at {
        out.insert("archivedAt".to_owned(), json!(time(at)));
    }
    out
}
