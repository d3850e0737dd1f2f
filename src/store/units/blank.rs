//! What is kept of a person whose record is gone: that there was one, and who was merged into them.
//!
//! The facts of other records that are gone still mean something to what refers to them (a price that nobody can
//! choose any more). A person's do not, and nobody who is to be forgotten later would be looked for in a tombstone. A
//! record that comes back is read whole.

use connector_sdk::{Fact, facts::Person};
use sqlx::FromRow;

use super::Conn;
use crate::domain::OrgId;
use crate::store::Result;
use crate::store::convert::{json_list, to_json};

statements! {
    // A document has persons, too, behind what it is itself.
    PEOPLE = concat!("SELECT record_key, facts FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"), " AND facts LIKE '[{\"person\":%'");
    BLANK = concat!("UPDATE mirror_records SET payload = '{}', facts = blank.facts
        FROM (SELECT value ->> 0 AS record_key, value ->> 1 AS facts FROM ", json_rows!("$3"), fence!(), ") blank
        WHERE mirror_records.org_id = $1 AND mirror_records.connection_id = $2
            AND mirror_records.record_key = blank.record_key");
}

/// Blanks those of the records, which are gone, that are people of the customers' side.
pub(crate) async fn blank_people<'k>(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    gone: impl Iterator<Item = &'k String>,
) -> Result<()> {
    #[derive(FromRow)]
    struct Row {
        record_key: String,
        facts: String,
    }
    let people: Vec<Row> =
        sqlx::query_as(PEOPLE).bind(&org.0).bind(connection).bind(json_list(gone)).fetch_all(&mut *c).await?;
    let mut blank: Vec<(String, String)> = Vec::with_capacity(people.len());
    for row in people {
        match serde_json::from_str::<Vec<Fact>>(&row.facts) {
            Ok(facts) => {
                // Whose accounts somebody of our side looked after is still told.
                if let Some(facts) = blanked(&facts) {
                    blank.push((row.record_key, to_json(&facts)?));
                }
            }
            // Facts of another version: nobody can tell what is in them.
            Err(_) => blank.push((row.record_key, "[]".to_owned())),
        }
    }
    if !blank.is_empty() {
        sqlx::query(BLANK).bind(&org.0).bind(connection).bind(to_json(&blank)?).execute(c).await?;
    }
    Ok(())
}

/// What is kept; `None` for somebody of our side.
fn blanked(facts: &[Fact]) -> Option<Vec<Fact>> {
    let people = facts.iter().filter_map(|fact| match fact {
        Fact::Person(person) => Some(person),
        _ => None,
    });
    let blank = |person: &Person| Person {
        id: person.id.clone(),
        merged: person.merged.clone(),
        deleted: true,
        ..Person::default()
    };
    let all: Vec<&Person> = people.collect();
    (!all.iter().any(|person| person.staff))
        .then(|| all.into_iter().map(|p| Fact::Person(blank(p))).collect())
}
