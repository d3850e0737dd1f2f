//! Who is whose company.
//!
//! A link is a function of the party's evidence (its candidates in order, and the company to make when none
//! matches) and of the companies' keys, whatever came first: evidence is kept, and a change of a key decides
//! the links again that could depend on it. Companies that were made from parties are placeholders: where a
//! candidate names a real company too, that one is meant. A link by hand is never decided again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::keys::{self, Key};
use super::merges::{self, Estate, MERGED};
use super::{Conn, bulk, new_id_at, people, rows};
use crate::domain::companies::{Company, CompanyFields};
use crate::domain::keys::{party_kind, party_of_kind};
use crate::domain::{CompanyId, OrgId};
use crate::store::convert::{clean, from_json, json_list, key_text, time, to_json, us};
use crate::store::identity::{LinkState, NewCompany, PartyObserved};
use crate::store::{Result, StoreError};

statements! {
    LOAD_LINKS = concat!("SELECT connection_id, party_key, party_label, company_id, state, rule, reason, evidence,
            person, updated_at FROM company_links WHERE org_id = $1 AND connection_id = $2 AND party_key", in_list!("$3"));
    LOAD_MATCHES = concat!("SELECT k.value, k.company_id, c.placeholder FROM company_keys k
        JOIN companies c ON c.id = k.company_id
        WHERE k.org_id = $1 AND k.kind = $2 AND k.value", in_list!("$3"), " ORDER BY k.company_id");
    // What a party of another connection is linked to.
    LOAD_PARTY_MATCHES = concat!("SELECT l.party_key AS value, l.company_id, c.placeholder FROM connections n
        JOIN company_links l ON l.connection_id = n.id AND l.party_key", in_list!("$3"), "
        JOIN companies c ON c.id = l.company_id
        WHERE n.org_id = $1 AND n.connector = $2 AND l.org_id = $1 ORDER BY l.company_id");
    CONNECTORS = "SELECT id, connector FROM connections WHERE org_id = $1";
    LOAD_DEPENDENTS = concat!("SELECT DISTINCT connection_id, party_key FROM link_candidates
        WHERE org_id = $1 AND kind = $2 AND value", in_list!("$3"));
    DELETE_PERSONS = concat!("DELETE FROM company_links
        WHERE org_id = $1 AND connection_id = $2 AND person AND party_key", in_list!("$3"));
    DELETE_CANDIDATES = concat!("DELETE FROM link_candidates
        WHERE org_id = $1 AND (kind, value, connection_id, party_key) IN
            (SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM", json_rows!("$2"), fence!(), ")");
    PLACEHOLDERS_WITHOUT_LINKS = concat!("SELECT id FROM companies WHERE org_id = $1 AND placeholder AND id",
        in_list!("$2"), " AND NOT EXISTS (SELECT 1 FROM company_links l WHERE l.company_id = companies.id)
            AND NOT EXISTS (SELECT 1 FROM end_users u WHERE u.company_id = companies.id)");
    LOAD_KEYS_OF = concat!("SELECT kind, value FROM company_keys WHERE org_id = $1 AND company_id", in_list!("$2"));
    DELETE_KEYS_OF = concat!("DELETE FROM company_keys WHERE org_id = $1 AND company_id", in_list!("$2"));
    DELETE_DIRTY_OF = concat!("DELETE FROM dirty_companies WHERE org_id = $1 AND company_id", in_list!("$2"));
    DELETE_DERIVATIONS_OF = concat!("DELETE FROM company_derivations WHERE org_id = $1 AND company_id", in_list!("$2"));
    DELETE_TURNS_OF = concat!("DELETE FROM company_turns WHERE org_id = $1 AND company_id", in_list!("$2"));
    DELETE_CHANGES_OF = concat!("DELETE FROM field_changes WHERE org_id = $1 AND company_id", in_list!("$2"));
    DELETE_COMPANIES = concat!("DELETE FROM companies WHERE org_id = $1 AND id", in_list!("$2"));
}

/// A row of `company_links`.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct LinkRow {
    pub(crate) connection_id: String,
    pub(crate) party_key: String,
    pub(crate) party_label: Option<String>,
    pub(crate) company_id: Option<String>,
    pub(crate) state: String,
    pub(crate) rule: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) evidence: String,
    /// Whether the party is a person, whose company alone is kept here.
    pub(crate) person: bool,
    pub(crate) updated_at: i64,
}

/// The rule of a decision by hand.
pub(crate) const MANUAL: &str = "manual";
/// The kind of key that an address is.
const EMAIL: &str = "email";
/// The rule of a company that was made from the party.
pub(super) const CREATED: &str = "created";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub(super) rule: String,
    pub(super) kind: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Evidence {
    pub(super) candidates: Vec<Candidate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) create: Option<NewCompany>,
    /// Keys of the parties that were merged into this one, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) merged: Vec<String>,
}

impl Evidence {
    fn of(party: &PartyObserved) -> Self {
        let mut seen = HashSet::new();
        let candidates = party
            .candidates
            .iter()
            .filter_map(|candidate| {
                let (kind, value) = keys::key(&candidate.key_kind, &candidate.value)?;
                seen.insert((kind.clone(), value.clone())).then(|| Candidate {
                    rule: candidate.rule.to_owned(),
                    kind,
                    value,
                })
            })
            .collect();
        let own = clean(&key_text(&party.party));
        let merged = party.merged.iter().map(|key| clean(&key_text(key))).filter(|key| *key != own);
        let merged: BTreeSet<String> = merged.collect();
        Self { candidates, create: party.create.clone(), merged: merged.into_iter().collect() }
    }

    /// Whether one of the candidates has this one's key.
    fn names(&self, other: &Candidate) -> bool {
        self.candidates.iter().any(|candidate| candidate.kind == other.kind && candidate.value == other.value)
    }
}

/// A party whose link is to be decided.
pub(super) struct Item {
    pub(super) connection: String,
    pub(super) party: String,
    pub(super) label: Option<String>,
    pub(super) evidence: Evidence,
    pub(super) person: bool,
    pub(super) existing: Option<LinkRow>,
}

impl Item {
    /// Its connection and its key.
    pub(super) fn place(&self) -> Party {
        (self.connection.clone(), self.party.clone())
    }
}

/// A company that a key names, and whether it is a placeholder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    pub(super) company: String,
    pub(super) placeholder: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    Linked {
        company: String,
        rule: String,
    },
    Ambiguous {
        reason: String,
    },
    Open,
    /// By hand, for a party that was merged into this one.
    ByHand(Option<String>),
}

pub(super) type Matches = HashMap<Key, Vec<Match>>;

/// Rules that infer whose a party is from addresses, which nobody wrote down for that.
const INFERRED: [&str; 2] = ["domain", "email"];

/// The first way that names exactly one company decides; the first that names several makes the link ambiguous. A
/// way is a candidate that somebody wrote down on purpose, or all domains, or all addresses, or all ids of parties that
/// were merged into it, of a party that has several. Where a way names real companies, placeholders do not count; where addresses do, neither do the
/// placeholders that its domains name.
pub(super) fn decide(evidence: &Evidence, matches: &Matches) -> Decision {
    let mut ways: Vec<&[Candidate]> = Vec::new();
    let is_one_way =
        |a: &Candidate, b: &Candidate| a.rule == b.rule && (INFERRED.contains(&&*a.rule) || a.rule == MERGED);
    ways.extend(evidence.candidates.chunk_by(is_one_way));
    let is_inferred = |way: &[Candidate]| way.first().is_some_and(|x| INFERRED.contains(&&*x.rule));
    let inferred = ways.iter().position(|way| is_inferred(way)).unwrap_or(ways.len());
    let (written, inferred) = ways.split_at(inferred);
    let meant = |way: &[Candidate], placeholders: bool| {
        let mut all: Vec<&Match> =
            way.iter().filter_map(|x| matches.get(&(x.kind.clone(), x.value.clone()))).flatten().collect();
        if !placeholders || all.iter().any(|m| !m.placeholder) {
            all.retain(|m| !m.placeholder);
        }
        let companies: BTreeSet<&str> = all.into_iter().map(|m| m.company.as_str()).collect();
        decided(way, &companies)
    };
    written
        .iter()
        .map(|way| (way, true))
        .chain(inferred.iter().map(|way| (way, false)))
        .chain(inferred.iter().map(|way| (way, true)))
        .find_map(|(way, placeholders)| meant(way, placeholders))
        .unwrap_or(Decision::Open)
}

/// What a way that names these companies decides.
fn decided(way: &[Candidate], companies: &BTreeSet<&str>) -> Option<Decision> {
    let first = way.first()?;
    let mut names = companies.iter();
    match (companies.len(), names.next()) {
        (1, Some(company)) => {
            Some(Decision::Linked { company: (*company).to_owned(), rule: first.rule.clone() })
        }
        (several @ 2.., _) => {
            let values: Vec<String> = way.iter().take(5).map(|x| format!("{:?}", x.value)).collect();
            let names: Vec<&str> = companies.iter().take(5).copied().collect();
            let more = if several > 5 { format!(" and {} more", several - 5) } else { String::new() };
            Some(Decision::Ambiguous {
                reason: format!(
                    "{} {} matches {several} companies by {}: {}{more}",
                    first.kind,
                    values.join(", "),
                    first.rule,
                    names.join(", "),
                ),
            })
        }
        _ => None,
    }
}

/// Why nothing matched, for people.
fn open_reason(evidence: &Evidence) -> String {
    if evidence.candidates.is_empty() {
        return "the party carries nothing that a company could be found by".to_owned();
    }
    let tried: Vec<String> = evidence
        .candidates
        .iter()
        .take(5)
        .map(|c| format!("{} {:?} ({})", c.kind, c.value, c.rule))
        .collect();
    format!("no company has {}", tried.join(", nor "))
}

/// What deciding links changed.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Companies whose parties changed.
    pub(crate) companies: BTreeSet<String>,
    /// Companies whose team changed.
    pub(crate) members: BTreeSet<String>,
}

impl Settled {
    /// Adds what deciding others changed.
    pub(crate) fn add(&mut self, other: Self) {
        self.companies.extend(other.companies);
        self.members.extend(other.members);
    }
}

/// Takes parties as a read saw them. Equal evidence costs one look and writes nothing.
pub(crate) async fn observe(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    parties: &[&PartyObserved],
    at: Timestamp,
) -> Result<Settled> {
    if parties.is_empty() {
        return Ok(Settled::default());
    }
    let mut observed: BTreeMap<String, &PartyObserved> = BTreeMap::new();
    for party in parties {
        observed.insert(clean(&key_text(&party.party)), party);
    }
    let mut items = changed_items(c, org, connection, &observed).await?;
    if items.is_empty() {
        return Ok(Settled::default());
    }
    if super::MANY_WRITERS {
        super::serialise_links(c, org.as_str()).await?;
        items = changed_items(c, org, connection, &observed).await?;
    }
    settle(c, org, items, at).await
}

/// Parties whose evidence or label differs from the stored one.
async fn changed_items(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    observed: &BTreeMap<String, &PartyObserved>,
) -> Result<Vec<Item>> {
    let mut existing = load_links(c, org, connection, observed.keys()).await?;
    let mut items = Vec::new();
    for (party, seen) in observed {
        let evidence = Evidence::of(seen);
        let label = seen.label.as_deref().map(clean);
        let stored = existing.remove(party);
        if stored.is_none() && seen.person && evidence.candidates.is_empty() {
            // Many people are of no company; nothing is kept of that.
            continue;
        }
        if let Some(row) = &stored
            && row.party_label == label
            && row.evidence == to_json(&evidence)?
        {
            continue;
        }
        items.push(Item {
            connection: connection.to_owned(),
            party: party.clone(),
            label,
            evidence,
            person: seen.person,
            existing: stored,
        });
    }
    Ok(items)
}

/// Decides the links again that depend on any of these keys.
pub(crate) async fn reevaluate(
    c: &mut Conn,
    org: &OrgId,
    changed: &BTreeSet<Key>,
    at: Timestamp,
) -> Result<Settled> {
    if changed.is_empty() {
        return Ok(Settled::default());
    }
    super::serialise_links(c, org.as_str()).await?;
    let items = dependents(c, org, changed, |_| true).await?;
    settle(c, org, items, at).await
}

/// A party: its connection and its key.
pub(super) type Party = (String, String);

/// Links whose evidence names any of the keys, of those parties that are wanted.
async fn dependents(
    c: &mut Conn,
    org: &OrgId,
    changed: &BTreeSet<Key>,
    is_wanted: impl Fn(&Party) -> bool,
) -> Result<Vec<Item>> {
    let mut parties: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (kind, values) in by_kind(changed.iter()) {
        let found: Vec<Party> = sqlx::query_as(LOAD_DEPENDENTS)
            .bind(&org.0)
            .bind(kind)
            .bind(json_list(values))
            .fetch_all(&mut *c)
            .await?;
        for (connection, party) in found.into_iter().filter(&is_wanted) {
            parties.entry(connection).or_default().insert(party);
        }
    }
    let mut items = Vec::new();
    for (connection, keys) in parties {
        for (party, row) in load_links(c, org, &connection, keys.iter()).await? {
            if row.rule.as_deref() == Some(MANUAL) {
                continue;
            }
            items.push(Item {
                connection: connection.clone(),
                label: row.party_label.clone(),
                evidence: from_json("company_links", "evidence", &party, &row.evidence)?,
                party,
                person: row.person,
                existing: Some(row),
            });
        }
    }
    Ok(items)
}

fn by_kind<'k>(keys: impl Iterator<Item = &'k Key>) -> BTreeMap<&'k str, BTreeSet<&'k str>> {
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (kind, value) in keys {
        kinds.entry(kind).or_default().insert(value);
    }
    kinds
}

/// Links of parties of a connection, by party.
pub(crate) async fn load_links<'k>(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    parties: impl Iterator<Item = &'k String>,
) -> Result<BTreeMap<String, LinkRow>> {
    let rows: Vec<LinkRow> = sqlx::query_as(LOAD_LINKS)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(parties))
        .fetch_all(c)
        .await?;
    Ok(rows.into_iter().map(|row| (row.party_key.clone(), row)).collect())
}

/// Decides, writes, removes placeholders that nothing hangs on any more, and goes on with the links that
/// depend on the keys that came or went thereby. A round knows what it changed itself; a party that an earlier one
/// decided is decided again, but not for ever: parties may name each other.
async fn settle(c: &mut Conn, org: &OrgId, first: Vec<Item>, at: Timestamp) -> Result<Settled> {
    let mut settled = Settled::default();
    let mut times: HashMap<Party, usize> = HashMap::new();
    let mut items = first;
    while !items.is_empty() {
        let estates = merges::open(c, org, &mut items).await?;
        // Those that other parties name come before those that name them: a company, those that were merged into it,
        // its deal, a document of it.
        items.sort_by_key(|item| {
            let named = item.evidence.candidates.iter().find(|x| party_of_kind(&x.kind).is_some());
            match named.filter(|_| !estates.contains_key(&item.place())).map(|x| x.rule.as_str()) {
                None => 0,
                Some(MERGED) => 1,
                Some(ASSOCIATION) => 2,
                Some(_) => 3,
            }
        });
        let changed = settle_round(c, org, &items, &estates, &mut settled, at).await?;
        let round: HashSet<Party> = items.into_iter().map(|item| (item.connection, item.party)).collect();
        for party in &round {
            *times.entry(party.clone()).or_default() += 1;
        }
        let is_wanted = |party: &Party| {
            !round.contains(party) && times.get(party).is_none_or(|times| *times < MOST_TIMES)
        };
        items = if changed.is_empty() { Vec::new() } else { dependents(c, org, &changed, is_wanted).await? };
    }
    Ok(settled)
}

/// How often one unit decides a party's link.
const MOST_TIMES: usize = 8;
/// The rule by which a party has the company of another of its own connection.
const ASSOCIATION: &str = "association";

async fn settle_round(
    c: &mut Conn,
    org: &OrgId,
    items: &[Item],
    estates: &HashMap<Party, Estate>,
    settled: &mut Settled,
    at: Timestamp,
) -> Result<BTreeSet<Key>> {
    let mut matches = load_matches(c, org, items).await?;
    let mut created: Vec<Company> = Vec::new();
    let mut links: Vec<LinkRow> = Vec::new();
    let mut left: BTreeSet<String> = BTreeSet::new();
    let mut people: BTreeSet<people::Place> = BTreeSet::new();
    let connectors = connectors(c, org).await?;
    let mut moved: BTreeSet<Key> = BTreeSet::new();
    let mut placeholders: HashSet<String> =
        matches.values().flatten().filter(|m| m.placeholder).map(|m| m.company.clone()).collect();
    for item in items {
        let evidence = to_json(&item.evidence)?;
        let existing = item.existing.as_ref();
        if let Some(row) = existing
            && row.rule.as_deref() == Some(MANUAL)
            && !merges::follows(&item.evidence)
        {
            // By hand: only what it was decided from is kept up to date.
            links.push(LinkRow { party_label: item.label.clone(), evidence, ..row.clone() });
            continue;
        }
        let own = existing.and_then(|row| row.company_id.clone());
        let decided = match estates.get(&item.place()) {
            Some(estate) => estate.settle(&item.evidence, &matches),
            None => decide(&item.evidence, &matches),
        };
        let (state, company, rule, reason) = match decided {
            Decision::ByHand(company) => {
                let (state, reason) = by_hand(company.as_ref());
                (state, company, Some(MANUAL.to_owned()), reason)
            }
            Decision::Linked { company, rule } => {
                // The rule that decides now: what led a party where it is may be gone, or be the least of the
                // reasons, and deleting a user asks for it. That a company was made from the party stays known.
                let rule = match existing {
                    Some(row)
                        if row.company_id.as_deref() == Some(&*company)
                            && row.rule.as_deref() == Some(CREATED) =>
                    {
                        CREATED.to_owned()
                    }
                    _ => rule,
                };
                (LinkState::Linked, Some(company), Some(rule), None)
            }
            Decision::Ambiguous { reason } => (LinkState::Ambiguous, None, None, Some(reason)),
            Decision::Open => match (existing, &item.evidence.create) {
                (Some(row), _) if own.is_some() && keeps(row, &item.evidence) => {
                    (LinkState::Linked, own.clone(), row.rule.clone(), None)
                }
                (_, Some(new)) => {
                    let company = placeholder(new, at);
                    for key in keys::of_company(&company) {
                        matches
                            .entry(key)
                            .or_default()
                            .push(Match { company: company.id.0.clone(), placeholder: true });
                    }
                    let id = company.id.0.clone();
                    placeholders.insert(id.clone());
                    created.push(company);
                    (LinkState::Linked, Some(id), Some(CREATED.to_owned()), None)
                }
                (_, None) => (LinkState::Unmatched, None, None, Some(open_reason(&item.evidence))),
            },
        };
        if own != company && item.person {
            left.extend(own.clone());
            people.insert((item.connection.clone(), item.party.clone()));
        } else if own != company {
            settled.companies.extend(own.clone());
            settled.companies.extend(company.clone());
            left.extend(own.clone());
            if let Some(key) = connectors.get(&item.connection).and_then(|name| party_key(name, &item.party))
            {
                // The parties of this round that name it.
                if let Some(named) = matches.get_mut(&key) {
                    named.retain(|other| Some(&other.company) != own.as_ref());
                }
                if let Some(company) = &company {
                    let placeholder = placeholders.contains(company);
                    matches
                        .entry(key.clone())
                        .or_default()
                        .push(Match { company: company.clone(), placeholder });
                }
                moved.insert(key);
            }
        }
        let row = LinkRow {
            connection_id: item.connection.clone(),
            party_key: item.party.clone(),
            party_label: item.label.clone(),
            company_id: company,
            state: state_word(state).to_owned(),
            rule,
            reason,
            evidence,
            person: item.person,
            updated_at: us(at),
        };
        match existing {
            Some(old)
                if same_decision(old, &row)
                    && old.evidence == row.evidence
                    && old.party_label == row.party_label => {}
            // When it was last decided: not when a label changed.
            Some(old) if same_decision(old, &row) => {
                links.push(LinkRow { updated_at: old.updated_at, ..row })
            }
            _ => links.push(row),
        }
    }
    let mut changed = make_placeholders(c, org, &created).await?;
    write_links(c, org, &links).await?;
    write_candidates(c, org, items).await?;
    if !people.is_empty() {
        // Before the companies are looked at that they leave.
        let followed = people::follow(c, org, &people, at).await?;
        settled.members.extend(followed.members);
        changed.extend(followed.keys);
    }
    changed.extend(remove_bare_placeholders(c, org, &left, settled).await?);
    changed.extend(moved);
    Ok(changed)
}

/// Whether a party that nothing matches stays with its company: one that was made of it, or that it inherited.
fn keeps(row: &LinkRow, evidence: &Evidence) -> bool {
    let rule = row.rule.as_deref();
    rule == Some(CREATED) || (rule == Some(MERGED) && !evidence.merged.is_empty())
}

/// State and reason of a decision by hand.
pub(crate) fn by_hand(company: Option<&String>) -> (LinkState, Option<String>) {
    match company {
        Some(_) => (LinkState::Linked, None),
        None => (LinkState::Unmatched, Some("unlinked by hand".to_owned())),
    }
}

/// Parties of a connection, with whether this address is the only one that they have.
pub(crate) async fn with_address(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    parties: &BTreeSet<String>,
    address: &str,
) -> Result<BTreeMap<String, bool>> {
    let mut found = BTreeMap::new();
    for (party, row) in load_links(c, org, connection, parties.iter()).await? {
        let evidence: Evidence = from_json("company_links", "evidence", &party, &row.evidence)?;
        let mut addresses = evidence.candidates.iter().filter(|x| x.kind == EMAIL);
        found.insert(party, addresses.all(|x| x.value == address));
    }
    Ok(found)
}

/// Takes an address out of what these parties could be found by, and decides their links again.
pub(crate) async fn forget_address(
    c: &mut Conn,
    org: &OrgId,
    parties: &BTreeMap<String, BTreeSet<String>>,
    address: &str,
    at: Timestamp,
) -> Result<Settled> {
    let mut items = Vec::new();
    for (connection, keys) in parties {
        for (party, row) in load_links(c, org, connection, keys.iter()).await? {
            let mut evidence: Evidence = from_json("company_links", "evidence", &party, &row.evidence)?;
            evidence.candidates.retain(|candidate| candidate.value != address);
            items.push(Item {
                connection: connection.clone(),
                label: row.party_label.clone(),
                evidence,
                person: row.person,
                party,
                existing: Some(row),
            });
        }
    }
    settle(c, org, items, at).await
}

/// The connector of each connection, by its id.
pub(crate) async fn connectors(c: &mut Conn, org: &OrgId) -> Result<HashMap<String, String>> {
    let all: Vec<(String, String)> = sqlx::query_as(CONNECTORS).bind(&org.0).fetch_all(c).await?;
    Ok(all.into_iter().collect())
}

/// The key that a party of a connector is, for those that name it.
pub(crate) fn party_key(connector: &str, party: &str) -> Option<Key> {
    let (stream, id) = party.split_once('/')?;
    keys::key(&party_kind(connector, stream), id)
}

fn same_decision(a: &LinkRow, b: &LinkRow) -> bool {
    (&a.company_id, &a.state, &a.rule, &a.reason) == (&b.company_id, &b.state, &b.rule, &b.reason)
}

/// The stored word of a state.
pub(crate) fn state_word(state: LinkState) -> &'static str {
    match state {
        LinkState::Linked => "linked",
        LinkState::Unmatched => "unmatched",
        LinkState::Ambiguous => "ambiguous",
    }
}

async fn load_matches(c: &mut Conn, org: &OrgId, items: &[Item]) -> Result<Matches> {
    #[derive(FromRow)]
    struct Row {
        value: String,
        company_id: String,
        placeholder: bool,
    }
    let wanted: BTreeSet<Key> = items
        .iter()
        .flat_map(|item| &item.evidence.candidates)
        .map(|candidate| (candidate.kind.clone(), candidate.value.clone()))
        .collect();
    let mut matches = Matches::new();
    for (kind, values) in by_kind(wanted.iter()) {
        let rows: Vec<Row> = match party_of_kind(kind) {
            Some((connector, stream)) => {
                let parties = values.iter().map(|id| format!("{stream}/{id}"));
                let rows: Vec<Row> = sqlx::query_as(LOAD_PARTY_MATCHES)
                    .bind(&org.0)
                    .bind(connector)
                    .bind(json_list(parties))
                    .fetch_all(&mut *c)
                    .await?;
                let id_of = |row: Row| {
                    let value = row.value.split_once('/')?.1.to_owned();
                    Some(Row { value, ..row })
                };
                rows.into_iter().filter_map(id_of).collect()
            }
            None => {
                sqlx::query_as(LOAD_MATCHES)
                    .bind(&org.0)
                    .bind(kind)
                    .bind(json_list(values))
                    .fetch_all(&mut *c)
                    .await?
            }
        };
        for row in rows {
            matches
                .entry((kind.to_owned(), row.value))
                .or_default()
                .push(Match { company: row.company_id, placeholder: row.placeholder });
        }
    }
    Ok(matches)
}

fn placeholder(new: &NewCompany, at: Timestamp) -> Company {
    Company {
        id: CompanyId(new_id_at(CompanyId::PREFIX, at)),
        external_id: None,
        source: new.source.clone(),
        fields: CompanyFields {
            name: new.name.clone(),
            domain: new.domain.as_deref().and_then(crate::domain::keys::domain),
            ..CompanyFields::default()
        },
        custom_fields: serde_json::Map::new(),
        context: BTreeMap::new(),
        provenance: BTreeMap::new(),
        test: false,
        created_at: at,
        updated_at: at,
    }
}

async fn make_placeholders(c: &mut Conn, org: &OrgId, created: &[Company]) -> Result<BTreeSet<Key>> {
    let companies: Vec<(&Company, bool)> = created.iter().map(|company| (company, true)).collect();
    rows::write_companies(c, org, &companies).await?;
    let fresh: Vec<(Key, String)> = created
        .iter()
        .flat_map(|company| keys::of_company(company).into_iter().map(|key| (key, company.id.0.clone())))
        .collect();
    keys::insert(c, org, &fresh).await?;
    Ok(fresh.into_iter().map(|(key, _)| key).collect())
}

/// Makes or replaces link rows.
pub(crate) async fn write_links(c: &mut Conn, org: &OrgId, links: &[LinkRow]) -> Result<()> {
    bulk::insert(
        c,
        "INSERT INTO company_links (org_id, connection_id, party_key, party_label, company_id, state, rule, \
         reason, evidence, person, updated_at)",
        links,
        "ON CONFLICT (connection_id, party_key) DO UPDATE SET party_label = excluded.party_label, \
         company_id = excluded.company_id, state = excluded.state, rule = excluded.rule, \
         reason = excluded.reason, evidence = excluded.evidence, updated_at = excluded.updated_at",
        |row, x| {
            row.push_bind(&org.0)
                .push_bind(&x.connection_id)
                .push_bind(&x.party_key)
                .push_bind(&x.party_label)
                .push_bind(&x.company_id)
                .push_bind(&x.state)
                .push_bind(&x.rule)
                .push_bind(&x.reason)
                .push_bind(&x.evidence)
                .push_bind(x.person)
                .push_bind(x.updated_at);
        },
    )
    .await?;
    Ok(())
}

/// Brings the reverse of the evidence in step, for parties whose evidence changed.
async fn write_candidates(c: &mut Conn, org: &OrgId, items: &[Item]) -> Result<()> {
    let mut stale: Vec<(String, String, &str, &str)> = Vec::new();
    let mut fresh: Vec<(&Item, &Candidate)> = Vec::new();
    for item in items {
        let old: Evidence = match &item.existing {
            Some(row) => from_json("company_links", "evidence", &item.party, &row.evidence)?,
            None => Evidence::default(),
        };
        let new = &item.evidence.candidates;
        fresh.extend(new.iter().filter(|candidate| !old.names(candidate)).map(|candidate| (item, candidate)));
        let gone = old.candidates.into_iter().filter(|candidate| !item.evidence.names(candidate));
        stale.extend(gone.map(|x| (x.kind, x.value, item.connection.as_str(), item.party.as_str())));
    }
    if !stale.is_empty() {
        sqlx::query(DELETE_CANDIDATES).bind(&org.0).bind(to_json(&stale)?).execute(&mut *c).await?;
    }
    bulk::insert(
        c,
        "INSERT INTO link_candidates (org_id, kind, value, connection_id, party_key)",
        &fresh,
        "ON CONFLICT (org_id, kind, value, connection_id, party_key) DO NOTHING",
        |row, (item, candidate)| {
            row.push_bind(&org.0)
                .push_bind(&candidate.kind)
                .push_bind(&candidate.value)
                .push_bind(&item.connection)
                .push_bind(&item.party);
        },
    )
    .await?;
    Ok(())
}

/// Removes those of the companies that are placeholders without parties and users. Answers their keys.
pub(crate) async fn remove_bare_placeholders(
    c: &mut Conn,
    org: &OrgId,
    left: &BTreeSet<String>,
    settled: &mut Settled,
) -> Result<BTreeSet<Key>> {
    #[derive(FromRow)]
    struct KeyRow {
        kind: String,
        value: String,
    }
    if left.is_empty() {
        return Ok(BTreeSet::new());
    }
    let bare: Vec<String> = sqlx::query_scalar(PLACEHOLDERS_WITHOUT_LINKS)
        .bind(&org.0)
        .bind(json_list(left))
        .fetch_all(&mut *c)
        .await?;
    if bare.is_empty() {
        return Ok(BTreeSet::new());
    }
    let list = json_list(&bare);
    let keys: Vec<KeyRow> = sqlx::query_as(LOAD_KEYS_OF).bind(&org.0).bind(&list).fetch_all(&mut *c).await?;
    delete_companies(c, org, &bare).await?;
    for id in &bare {
        settled.companies.remove(id);
        settled.members.remove(id);
    }
    Ok(keys.into_iter().map(|row| (row.kind, row.value)).collect())
}

/// Deletes companies with what is kept about them by their id, but their parties and users.
pub(crate) async fn delete_companies(c: &mut Conn, org: &OrgId, ids: &[String]) -> Result<()> {
    let list = json_list(ids);
    for sql in [
        DELETE_KEYS_OF,
        DELETE_DIRTY_OF,
        DELETE_DERIVATIONS_OF,
        DELETE_TURNS_OF,
        DELETE_CHANGES_OF,
        DELETE_COMPANIES,
    ] {
        sqlx::query(sql).bind(&org.0).bind(&list).execute(&mut *c).await?;
    }
    Ok(())
}

/// Deletes what is kept of the companies of people.
pub(crate) async fn delete_people(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    records: &BTreeSet<&String>,
) -> Result<()> {
    let rows = load_links(c, org, connection, records.iter().copied()).await?;
    let mut candidates = Vec::new();
    for row in rows.values().filter(|row| row.person) {
        for (kind, value) in candidates_of(&row.party_key, &row.evidence)? {
            candidates.push((kind, value, connection, row.party_key.as_str()));
        }
    }
    if !candidates.is_empty() {
        sqlx::query(DELETE_CANDIDATES).bind(&org.0).bind(to_json(&candidates)?).execute(&mut *c).await?;
    }
    if !rows.is_empty() {
        sqlx::query(DELETE_PERSONS).bind(&org.0).bind(connection).bind(json_list(records)).execute(c).await?;
    }
    Ok(())
}

/// Kinds and values of the candidates of a party's evidence.
pub(crate) fn candidates_of(party: &str, evidence: &str) -> Result<Vec<Key>> {
    let evidence: Evidence = from_json("company_links", "evidence", party, evidence)?;
    Ok(evidence.candidates.into_iter().map(|candidate| (candidate.kind, candidate.value)).collect())
}

impl LinkRow {
    /// The link as the trait gives it.
    pub(crate) fn read(self) -> Result<crate::store::identity::CompanyLink> {
        let state = match self.state.as_str() {
            "linked" => LinkState::Linked,
            "unmatched" => LinkState::Unmatched,
            "ambiguous" => LinkState::Ambiguous,
            other => {
                return Err(StoreError::Inconsistent {
                    table: "company_links",
                    column: "state",
                    row: self.party_key,
                    reason: format!("{other:?} is no state"),
                });
            }
        };
        Ok(crate::store::identity::CompanyLink {
            connection_id: self.connection_id.into(),
            party: crate::store::convert::key_of(&self.party_key),
            party_label: self.party_label,
            company_id: self.company_id.map(Into::into),
            state,
            rule: self.rule,
            reason: self.reason,
            updated_at: time(self.updated_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(rows: &[(&str, &str, &str, bool)]) -> Matches {
        let mut map = Matches::new();
        for (kind, value, company, placeholder) in rows {
            map.entry(((*kind).to_owned(), (*value).to_owned()))
                .or_default()
                .push(Match { company: (*company).to_owned(), placeholder: *placeholder });
        }
        map
    }

    fn evidence(candidates: &[(&str, &str, &str)]) -> Evidence {
        Evidence {
            candidates: candidates
                .iter()
                .map(|(rule, kind, value)| Candidate {
                    rule: (*rule).into(),
                    kind: (*kind).into(),
                    value: (*value).into(),
                })
                .collect(),
            create: None,
            merged: Vec::new(),
        }
    }

    #[test]
    fn the_first_candidate_that_matches_decides() {
        let wanted = evidence(&[("metadata", "external_id", "a"), ("domain", "domain", "x.com")]);
        let only_domain = matches(&[("domain", "x.com", "cmp_2", false)]);
        assert_eq!(
            decide(&wanted, &only_domain),
            Decision::Linked { company: "cmp_2".into(), rule: "domain".into() }
        );
        let both = matches(&[("domain", "x.com", "cmp_2", false), ("external_id", "a", "cmp_1", false)]);
        assert_eq!(
            decide(&wanted, &both),
            Decision::Linked { company: "cmp_1".into(), rule: "metadata".into() }
        );
        assert_eq!(decide(&wanted, &Matches::new()), Decision::Open);
    }

    #[test]
    fn what_addresses_suggest_comes_last_and_real_companies_before_placeholders() {
        let wanted = evidence(&[
            ("linked", "party:crm/deals", "1"),
            ("domain", "domain", "x.com"),
            ("email", "email", "a@x.com"),
        ]);
        let linked =
            |company: &str, rule: &str| Decision::Linked { company: company.into(), rule: rule.into() };
        let by_crm = ("domain", "x.com", "cmp_crm", true);
        let by_user = ("email", "a@x.com", "cmp_product", false);
        assert_eq!(decide(&wanted, &matches(&[by_crm])), linked("cmp_crm", "domain"));
        assert_eq!(decide(&wanted, &matches(&[by_crm, by_user])), linked("cmp_product", "email"));
        let named = ("party:crm/deals", "1", "cmp_crm", true);
        assert_eq!(decide(&wanted, &matches(&[named, by_user])), linked("cmp_crm", "linked"));
        // All domains are one way: two companies are one too many, the same one twice is one.
        let two = evidence(&[("domain", "domain", "x.com"), ("domain", "domain", "y.com")]);
        let other = |company| ("domain", "y.com", company, true);
        assert!(matches!(decide(&two, &matches(&[by_crm, other("cmp_2")])), Decision::Ambiguous { .. }));
        assert_eq!(decide(&two, &matches(&[by_crm, other("cmp_crm")])), linked("cmp_crm", "domain"));
    }

    #[test]
    fn several_make_it_ambiguous_and_are_named_but_placeholders_give_way() {
        let wanted = evidence(&[("domain", "domain", "x.com")]);
        let real = matches(&[("domain", "x.com", "cmp_1", false), ("domain", "x.com", "cmp_2", true)]);
        assert_eq!(
            decide(&wanted, &real),
            Decision::Linked { company: "cmp_1".into(), rule: "domain".into() }
        );
        let two = matches(&[("domain", "x.com", "cmp_1", false), ("domain", "x.com", "cmp_2", false)]);
        match decide(&wanted, &two) {
            Decision::Ambiguous { reason } => assert!(reason.contains("cmp_1") && reason.contains("cmp_2")),
            other => panic!("{other:?}"),
        }
    }
}
