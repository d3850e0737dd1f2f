//! What is written, with the events that it makes.

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::server::{self, Target};
use super::store::{Kind, Properties};
use super::{Inner, lock};

/// Texts of properties; a number or a flag is taken by its spelling, a null clears.
pub(super) fn properties(value: &Value) -> Properties {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    value.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// A write by its path, without HTTP.
pub(super) fn call(inner: &Inner, method: &str, path: &str, body: &Value) -> Result<Value, Refusal> {
    let target = server::target(path).ok_or_else(Refusal::unknown_url)?;
    apply(inner, method, &target, body).map(|(_, value)| value)
}

fn id(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::missing(text))
}

/// Carries a write out.
pub(super) fn apply(
    inner: &Inner,
    method: &str,
    target: &Target<'_>,
    body: &Value,
) -> Result<(u16, Value), Refusal> {
    let Target::Objects(kind, rest) = target else {
        return Err(Refusal::new(405, "INVALID_METHOD", "Method Not Allowed"));
    };
    let kind = *kind;
    match (method, rest.as_slice()) {
        ("POST", []) => {
            let made = inner.create(kind, properties(&body["properties"]));
            Ok((201, json!({"id": made.to_string()})))
        }
        ("PATCH", [text]) => {
            let at = id(text)?;
            inner.update(kind, at, properties(&body["properties"])).ok_or_else(|| Refusal::missing(text))?;
            Ok((200, json!({"id": text})))
        }
        ("DELETE", [text]) => {
            // Archiving what is not there is no error.
            inner.archive(kind, id(text)?);
            Ok((204, Value::Null))
        }
        ("POST", ["merge"]) => {
            let member = |name: &str| body[name].as_str().and_then(|text| text.parse::<u64>().ok());
            let ids = member("primaryObjectId").zip(member("objectIdToMerge"));
            let (primary, merged) = ids.ok_or_else(|| Refusal::invalid("both ids are needed"))?;
            let left = inner.merge(kind, primary, merged);
            let left = left.ok_or_else(|| Refusal::invalid("these cannot be merged"))?;
            Ok((200, json!({"id": left.to_string()})))
        }
        ("PUT", [from, "associations", "default", to_kind, to]) => {
            let to_kind = Kind::of_path(to_kind).ok_or_else(Refusal::unknown_url)?;
            inner.associate((kind, id(from)?), (to_kind, id(to)?), false);
            Ok((200, json!({"status": "COMPLETE"})))
        }
        _ => Err(Refusal::new(405, "INVALID_METHOD", "Method Not Allowed")),
    }
}

/// The engagement kinds have no association events of their own.
fn announces(kind: Kind) -> bool {
    matches!(kind, Kind::Companies | Kind::Contacts | Kind::Deals | Kind::Tickets | Kind::LineItems)
}

impl Inner {
    fn emit(&self, kind: &str, at: i64, own: Value) {
        lock(&self.outbox).emit(self.portal(), kind, at, own);
    }

    pub(super) fn create(&self, kind: Kind, properties: Properties) -> u64 {
        let at = self.now();
        let mut store = lock(&self.store);
        let id = store.new_id();
        store.put(kind, id, at, properties);
        drop(store);
        self.emit(
            &format!("{}.creation", kind.singular()),
            at,
            json!({"objectId": id, "changeFlag": "CREATED"}),
        );
        id
    }

    pub(super) fn update(&self, kind: Kind, id: u64, changes: Properties) -> Option<()> {
        let at = self.now();
        let mut store = lock(&self.store);
        store.live(kind, id)?;
        let changed = store.change(kind, id, at, changes)?;
        drop(store);
        for (name, value) in changed {
            let own = json!({"objectId": id, "propertyName": name, "propertyValue": value});
            self.emit(&format!("{}.propertyChange", kind.singular()), at, own);
        }
        Some(())
    }

    pub(super) fn archive(&self, kind: Kind, id: u64) -> bool {
        let at = self.now();
        let done = lock(&self.store).set_archived(kind, id, Some(at));
        if done {
            let own = json!({"objectId": id, "changeFlag": "DELETED"});
            self.emit(&format!("{}.deletion", kind.singular()), at, own);
        }
        done
    }

    pub(super) fn restore(&self, kind: Kind, id: u64) -> bool {
        let at = self.now();
        let done = lock(&self.store).set_archived(kind, id, None);
        if done {
            self.emit(&format!("{}.restore", kind.singular()), at, json!({"objectId": id}));
        }
        done
    }

    pub(super) fn merge(&self, kind: Kind, primary: u64, merged: u64) -> Option<u64> {
        let at = self.now();
        let left = lock(&self.store).merge(kind, primary, merged, at)?;
        self.emit_merge(kind, primary, merged, left, at);
        Some(left)
    }

    pub(super) fn merge_into(&self, kind: Kind, primary: u64, merged: u64) -> bool {
        let at = self.now();
        let done = lock(&self.store).merge_into(kind, primary, merged, at);
        if done {
            self.emit_merge(kind, primary, merged, primary, at);
        }
        done
    }

    fn emit_merge(&self, kind: Kind, primary: u64, merged: u64, left: u64, at: i64) {
        let own = json!({
            "objectId": primary, "primaryObjectId": primary, "mergedObjectIds": [merged],
            "newObjectId": left, "numberOfPropertiesMoved": 1,
        });
        self.emit(&format!("{}.merge", kind.singular()), at, own);
    }

    pub(super) fn erase(&self, id: u64) -> bool {
        let at = self.now();
        let done = lock(&self.store).forget(Kind::Contacts, id);
        if done {
            self.emit("contact.privacyDeletion", at, json!({"objectId": id}));
        }
        done
    }

    pub(super) fn associate(&self, from: (Kind, u64), to: (Kind, u64), primary: bool) {
        lock(&self.store).link(from, to, primary);
        self.announce(from, to, primary, false);
    }

    pub(super) fn dissociate(&self, from: (Kind, u64), to: (Kind, u64)) -> bool {
        let done = lock(&self.store).unlink(from, to);
        if done {
            self.announce(from, to, false, true);
        }
        done
    }

    fn announce(&self, from: (Kind, u64), to: (Kind, u64), primary: bool, removed: bool) {
        if announces(from.0) && announces(to.0) {
            lock(&self.outbox).associated(self.portal(), self.now(), [from, to], primary, removed);
        }
    }

    /// Adds a definition of a property.
    pub(super) fn define(&self, kind: Kind, name: &str, label: &str, options: &[(&str, &str)]) {
        let options: Vec<Value> = options
            .iter()
            .enumerate()
            .map(|(n, (value, label))| json!({"value": value, "label": label, "displayOrder": n, "hidden": false}))
            .collect();
        let at = super::store::time(self.now());
        let doc = json!({
            "name": name, "label": label, "type": if options.is_empty() { "string" } else { "enumeration" },
            "fieldType": if options.is_empty() { "text" } else { "select" }, "description": "", "options": options,
            "groupName": format!("{}information", kind.singular()), "createdAt": at, "updatedAt": at,
            "archived": false, "hidden": false, "calculated": false, "hubspotDefined": true,
        });
        lock(&self.store).definitions.entry(kind).or_default().insert(name.to_owned(), doc);
    }
}
