//! Bodies of the units of work. This folder is compiled twice, once for each driver: `Db` and `Conn` are the
//! parent's. How to add one: see the module text of `store`.

pub(crate) use super::{Conn, Db, MANY_WRITERS, serialise_links};

use connector_sdk::{Clock, Timestamp};

pub(crate) mod adopt;
pub(crate) mod attributes;
pub(crate) mod authors;
pub(crate) mod blank;
pub(crate) mod bulk;
pub(crate) mod changes;
pub(crate) mod conversations;
pub(crate) mod custom_fields;
pub(crate) mod derivations;
pub(crate) mod dirty;
pub(crate) mod erase;
pub(crate) mod grants;
pub(crate) mod idempotency;
pub(crate) mod identity;
pub(crate) mod imports;
pub(crate) mod inbox;
pub(crate) mod ingest;
pub(crate) mod inputs;
pub(crate) mod job_lists;
pub(crate) mod job_outcomes;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod members;
pub(crate) mod merges;
pub(crate) mod mirror;
pub(crate) mod passes;
pub(crate) mod people;
pub(crate) mod product;
pub(crate) mod rates;
pub(crate) mod rows;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod sealing;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod tickets;
pub(crate) mod trust;
pub(crate) mod user_events;
pub(crate) mod views;
pub(crate) mod watch;

/// A clock that stands: ids made inside a unit carry the unit's own time.
#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A new id stamped with the unit's time.
pub(crate) fn new_id_at(prefix: &str, at: Timestamp) -> String {
    crate::domain::ids::new_id(prefix, &At(at))
}

/// Every static statement of every unit, for the test that prepares each.
pub(crate) fn all_statements() -> Vec<(&'static str, &'static str)> {
    [
        dirty::ALL,
        erase::ALL,
        grants::ALL,
        identity::ALL,
        imports::ALL,
        adopt::ALL,
        blank::ALL,
        attributes::ALL,
        custom_fields::ALL,
        idempotency::ALL,
        authors::ALL,
        changes::ALL,
        conversations::ALL,
        derivations::ALL,
        inbox::ALL,
        ingest::ALL,
        inputs::ALL,
        job_lists::ALL,
        job_outcomes::ALL,
        jobs::ALL,
        keys::ALL,
        links::ALL,
        members::ALL,
        merges::ALL,
        mirror::ALL,
        passes::ALL,
        people::ALL,
        product::ALL,
        rates::ALL,
        rows::ALL,
        runs::ALL,
        schedules::ALL,
        sealing::ALL,
        sessions::ALL,
        settings::ALL,
        tickets::ALL,
        user_events::ALL,
        views::ALL,
        trust::ALL,
        watch::ALL,
    ]
    .concat()
}
