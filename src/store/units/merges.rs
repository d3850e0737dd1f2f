//! Parties that were merged into others at their provider.
//!
//! The one that is left has the company that those had: what was decided by hand for one of them holds for it, and
//! companies that were made for them are one. The links of the others stay and follow it, so that whatever still
//! names one of them finds the same company.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::links::{
    CREATED, Candidate, Decision, Evidence, Item, LinkRow, MANUAL, Match, Matches, Party, connectors,
    load_links, party_key,
};
use super::{Conn, links};
use crate::domain::OrgId;
use crate::domain::keys::party_of_kind;
use crate::store::Result;
use crate::store::convert::{from_json, json_list};

statements! {
    PLACEHOLDERS_OF = concat!("SELECT id FROM companies WHERE org_id = $1 AND placeholder AND id", in_list!("$2"));
}

/// The rule by which a party has the company of what was merged into it, or of what it was merged into.
pub(crate) const MERGED: &str = "merged";

/// What the parties had that were merged into one.
#[derive(Debug, Default)]
pub(super) struct Estate {
    /// Companies that were decided by hand; `None` for a party that was said to be of none.
    by_hand: BTreeSet<Option<String>>,
    /// Companies that are placeholders: with whether the party was what it was made of, which those come behind that
    /// have other parties.
    placeholders: BTreeSet<(bool, String)>,
    /// Other companies.
    real: BTreeSet<String>,
}

/// Whether the party was merged into another, and is wherever that one is.
pub(super) fn follows(evidence: &Evidence) -> bool {
    let named = evidence.candidates.iter().map(|x| (x.rule.as_str(), party_of_kind(&x.kind).is_some()));
    evidence.merged.is_empty() && named.into_iter().any(|named| named == (MERGED, true))
}

/// What each of the parties inherits. Those that were merged into one of them come in the place of what was known of
/// them, as parties that follow it.
pub(super) async fn open(c: &mut Conn, org: &OrgId, items: &mut Vec<Item>) -> Result<HashMap<Party, Estate>> {
    let mut estates: HashMap<Party, Estate> = HashMap::new();
    let heirs = heirs(items);
    if heirs.is_empty() {
        return Ok(estates);
    }
    let connectors = connectors(c, org).await?;
    let mut rows: Vec<(Party, LinkRow)> = Vec::new();
    let mut by_connection: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for (connection, party) in heirs.keys() {
        by_connection.entry(connection).or_default().push(party);
    }
    for (connection, parties) in by_connection {
        for (party, row) in load_links(c, org, connection, parties.into_iter()).await? {
            rows.push(((connection.clone(), party), row));
        }
    }
    let placeholders = placeholders(c, org, items, &rows).await?;
    let mut followers = Vec::new();
    for (place, row) in rows.into_iter().filter(|(_, row)| !row.person) {
        let Some(heir) = heirs.get(&place) else { continue };
        let old: Evidence = from_json("company_links", "evidence", &row.party_key, &row.evidence)?;
        let estate = estates.entry(heir.clone()).or_default();
        if row.rule.as_deref() == Some(MANUAL) {
            estate.by_hand.insert(row.company_id.clone());
        } else if !follows(&old)
            && let Some(company) = row.company_id.clone()
        {
            let made = row.rule.as_deref() == Some(CREATED);
            if placeholders.contains(&company) {
                estate.placeholders.insert((made, company));
            } else {
                estate.real.insert(company);
            }
        }
        let Some((kind, value)) = connectors.get(&heir.0).and_then(|name| party_key(name, &heir.1)) else {
            continue;
        };
        let evidence = Evidence {
            candidates: vec![Candidate { rule: MERGED.to_owned(), kind, value }],
            ..Evidence::default()
        };
        if old != evidence {
            followers.push(Item {
                connection: place.0,
                party: place.1,
                label: row.party_label.clone(),
                evidence,
                person: false,
                existing: Some(row),
            });
        }
    }
    for item in items.iter() {
        let Some(estate) = estates.get_mut(&item.place()) else { continue };
        // Its own comes before those that it inherits.
        let own = item.existing.as_ref().and_then(|row| row.company_id.clone());
        if let Some(own) = own.filter(|own| placeholders.contains(own)) {
            estate.placeholders.retain(|(_, company)| *company != own);
            let others = std::mem::take(&mut estate.placeholders);
            estate.placeholders = others.into_iter().map(|(_, company)| (true, company)).collect();
            estate.placeholders.insert((false, own));
        }
    }
    // As long as several decisions by hand stand against each other, each is kept.
    let is_manual =
        |item: &Item| item.existing.as_ref().is_some_and(|row| row.rule.as_deref() == Some(MANUAL));
    let decided: HashSet<Party> =
        items.iter().filter(|item| is_manual(item)).map(|item| item.place()).collect();
    let is_open = |item: &Item| {
        let heir = heirs.get(&item.place()).filter(|heir| !decided.contains(*heir));
        is_manual(item)
            && heir.and_then(|heir| estates.get(heir)).is_some_and(|estate| estate.by_hand.len() > 1)
    };
    followers.retain(|item| !is_open(item));
    items.retain(|item| !heirs.contains_key(&item.place()));
    items.extend(followers);
    Ok(estates)
}

/// By each party that was merged into another of these: the one that is left.
fn heirs(items: &[Item]) -> HashMap<Party, Party> {
    let merged: HashMap<Party, &Item> = items
        .iter()
        .filter(|item| !item.evidence.merged.is_empty())
        .map(|item| (item.place(), item))
        .collect();
    let of = |item: &Item| -> Vec<Party> {
        item.evidence.merged.iter().map(|party| (item.connection.clone(), party.clone())).collect()
    };
    let named: HashSet<Party> = merged.values().flat_map(|item| of(item)).collect();
    let mut heirs = HashMap::new();
    for item in merged.values().filter(|item| !named.contains(&item.place())) {
        let mut open = of(item);
        while let Some(party) = open.pop() {
            if party != item.place() && heirs.insert(party.clone(), item.place()).is_none() {
                open.extend(merged.get(&party).into_iter().flat_map(|inner| of(inner)));
            }
        }
    }
    heirs
}

/// Those of the companies of these parties that are placeholders.
async fn placeholders(
    c: &mut Conn,
    org: &OrgId,
    items: &[Item],
    rows: &[(Party, LinkRow)],
) -> Result<HashSet<String>> {
    let own = items.iter().filter_map(|item| item.existing.as_ref());
    let ids: BTreeSet<&String> =
        rows.iter().map(|(_, row)| row).chain(own).filter_map(|row| row.company_id.as_ref()).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let found: Vec<String> =
        sqlx::query_scalar(PLACEHOLDERS_OF).bind(&org.0).bind(json_list(ids)).fetch_all(c).await?;
    Ok(found.into_iter().collect())
}

impl Estate {
    /// The company of the party that is left. What somebody decided holds; companies that were made for the merged
    /// ones are one company; and a real company of theirs comes before a placeholder.
    pub(super) fn settle(&self, evidence: &Evidence, matches: &Matches) -> Decision {
        let mut by_hand = self.by_hand.iter();
        match (by_hand.next(), by_hand.next()) {
            (Some(company), None) => return Decision::ByHand(company.clone()),
            (Some(_), Some(_)) => {
                return several("parties that were merged into this one are matched by hand to", || {
                    let none = || "no company".to_owned();
                    self.by_hand.iter().map(|company| company.clone().unwrap_or_else(none)).collect()
                });
            }
            (None, _) => {}
        }
        let left = self.placeholders.first().map(|(_, company)| company);
        let is_ours = |company: &String| self.placeholders.iter().any(|(_, ours)| ours == company);
        let mut seen = Matches::new();
        for candidate in &evidence.candidates {
            let key = (candidate.kind.clone(), candidate.value.clone());
            let Some(found) = matches.get(&key) else { continue };
            let as_one = |m: &Match| match left.filter(|_| is_ours(&m.company)) {
                Some(left) => Match { company: left.clone(), ..m.clone() },
                None => m.clone(),
            };
            seen.insert(key, found.iter().map(as_one).collect());
        }
        let decided = links::decide(evidence, &seen);
        let is_real = match &decided {
            Decision::Linked { company, .. } => {
                seen.values().flatten().any(|m| m.company == *company && !m.placeholder)
            }
            Decision::Ambiguous { .. } | Decision::ByHand(_) => true,
            Decision::Open => false,
        };
        if is_real {
            return decided;
        }
        let linked = |company: &String, rule: &str| Decision::Linked {
            company: company.clone(),
            rule: rule.to_owned(),
        };
        let mut real = self.real.iter();
        match (real.next(), real.next()) {
            (Some(company), None) => linked(company, MERGED),
            (Some(_), Some(_)) => several("parties that were merged into this one are of", || {
                self.real.iter().cloned().collect()
            }),
            (None, _) => match (decided, left) {
                (Decision::Open, Some(left)) => linked(left, CREATED),
                (Decision::Linked { company, .. }, Some(left)) if company == *left => linked(left, CREATED),
                (decided, _) => decided,
            },
        }
    }
}

fn several(what: &str, names: impl Fn() -> Vec<String>) -> Decision {
    let names = names();
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
    Decision::Ambiguous { reason: format!("{what} several: {shown}{more}") }
}
