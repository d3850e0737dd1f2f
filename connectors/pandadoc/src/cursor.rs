//! Where a read stands.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta};
use connector_sdk::signature::hmac_sha256;
use connector_sdk::{ConnectorError, Cursor, Partition, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::walk::Place;

const VERSION: u32 = 1;

/// How far behind the beginning of the last pass an incremental read begins: a list may lag behind a write.
pub(crate) const OVERLAP: TimeDelta = TimeDelta::minutes(2);
/// Documents of the overlap that are remembered as read, and documents whose extraction is waited for. What is
/// beyond is read once more, or found by the next full pass.
const MOST_KEPT: usize = 1_000;

/// Which documents one partition lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    /// Which other settings decide what a record holds: under others it is another partition, which is read from
    /// the start. `None` for the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<String>,
}

/// A word for the settings that decide which documents are records, and what is in them.
fn settings(config: &Config) -> Option<String> {
    let usual = Config::default();
    let of = |config: &Config| {
        serde_json::json!([config.fields, config.created_since, config.sandbox, config.ai_metadata])
            .to_string()
    };
    let text = of(config);
    (text != of(&usual)).then(|| hex::encode(hmac_sha256(b"settings", &[text.as_bytes()]).split_at(4).0))
}

impl Plan {
    /// One for each combination of template, folder and tag: a list can be asked for one of each.
    pub(crate) fn all(config: &Config) -> Vec<Self> {
        let settings = settings(config);
        let or_any = |list: &[String]| match list {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let mut plans = Vec::new();
        for template in or_any(&config.templates) {
            for folder in or_any(&config.folders) {
                for tag in or_any(&config.tags) {
                    let (template, folder, settings) = (template.clone(), folder.clone(), settings.clone());
                    plans.push(Self { v: VERSION, template, folder, tag, settings });
                }
            }
        }
        plans
    }

    pub(crate) fn id(&self) -> String {
        let parts = [
            ("template", &self.template),
            ("folder", &self.folder),
            ("tag", &self.tag),
            ("settings", &self.settings),
        ];
        let named: Vec<String> =
            parts.iter().filter_map(|(name, value)| Some(format!("{name}:{}", value.as_ref()?))).collect();
        if named.is_empty() { "all".to_owned() } else { named.join(" ") }
    }

    pub(crate) fn partition(&self) -> Result<Partition, ConnectorError> {
        Ok(Partition { id: self.id(), spec: to_json(self)? })
    }

    pub(crate) fn parse(partition: &Partition) -> Result<Self, ConnectorError> {
        check_version(&partition.spec, "partition")?;
        from_json(&partition.spec, "partition")
    }
}

/// What a pass goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Every document, by its creation, which never changes.
    All,
    /// Documents that changed since, by the time of the change.
    Changed,
    /// Documents that were deleted since.
    Deleted,
}

/// What is carried from pass to pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// Documents that changed so lately that the next pass lists them again, with the change that was read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) recent: BTreeMap<String, String>,
    /// Documents whose contract data PandaDoc is still extracting, and since when that is waited for (Unix
    /// seconds): its end moves no date.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) extracting: BTreeMap<String, i64>,
}

impl Kept {
    /// With what another partition keeps. A change that the two tell differently was read by neither for sure.
    fn join(&mut self, other: Self) {
        for (id, change) in other.recent {
            match self.recent.get(&id) {
                Some(known) if *known != change => drop(self.recent.remove(&id)),
                _ => drop(self.recent.insert(id, change)),
            }
        }
        for (id, since) in other.extracting {
            let first = self.extracting.get(&id).map_or(since, |known| since.min(*known));
            self.extracting.insert(id, first);
        }
    }

    /// Forgets what is more than can be kept: the oldest changes, and any of those that are waited for.
    fn trim(&mut self) {
        while self.recent.len() > MOST_KEPT {
            let oldest = self.recent.iter().min_by_key(|(_, at)| at.as_str()).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            self.recent.remove(&oldest);
        }
        while self.extracting.len() > MOST_KEPT {
            self.extracting.pop_last();
        }
    }
}

/// A pass between two of its pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pass {
    pub(crate) phase: Phase,
    /// When the pass began, by PandaDoc's clock: the next one goes on from here. `None` before its first page.
    #[serde(default, with = "chrono::serde::ts_seconds_option", skip_serializing_if = "Option::is_none")]
    pub(crate) began: Option<Timestamp>,
    /// Nothing that happened later is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    /// Nothing that happened earlier is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    pub(crate) place: Place,
    /// What the last pass left.
    #[serde(default)]
    pub(crate) before: Kept,
    /// What this one leaves.
    #[serde(default)]
    pub(crate) kept: Kept,
}

impl Pass {
    pub(crate) fn new(phase: Phase, since: Option<String>, before: Kept) -> Self {
        let kept = Kept::default();
        Self { phase, began: None, until: None, since, place: Place::default(), before, kept }
    }
}

/// Where one partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub(crate) enum Position {
    /// Between two pages.
    Page(Box<Pass>),
    /// At the end; the next incremental read starts a little before `began`.
    Done {
        /// The partition.
        of: String,
        /// When the last pass began, in Unix seconds.
        #[serde(with = "chrono::serde::ts_seconds")]
        began: Timestamp,
        #[serde(default)]
        kept: Kept,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    v: u32,
    #[serde(flatten)]
    position: Position,
}

impl Position {
    pub(crate) fn cursor(mut self) -> Result<Cursor, ConnectorError> {
        match &mut self {
            Self::Page(pass) => pass.kept.trim(),
            Self::Done { kept, .. } => kept.trim(),
        }
        to_json(&Versioned { v: VERSION, position: self }).map(Cursor)
    }

    pub(crate) fn parse(cursor: &Cursor) -> Result<Self, ConnectorError> {
        check_version(&cursor.0, "cursor")?;
        let versioned: Versioned = from_json(&cursor.0, "cursor")?;
        Ok(versioned.position)
    }
}

/// One place for all partitions of the last pass, where they are those of `plans` and each is at its end.
pub(crate) fn join(plans: &[Plan], cursors: &[Cursor]) -> Result<Option<Cursor>, ConnectorError> {
    let (mut ids, mut first, mut all) = (BTreeSet::new(), None::<Timestamp>, Kept::default());
    for cursor in cursors {
        let Position::Done { of, began, kept } = Position::parse(cursor)? else { return Ok(None) };
        ids.insert(of);
        first = Some(first.map_or(began, |first| first.min(began)));
        all.join(kept);
    }
    let wanted: BTreeSet<String> = plans.iter().map(Plan::id).collect();
    match first {
        Some(began) if ids == wanted => {
            Position::Done { of: "joined".to_owned(), began, kept: all }.cursor().map(Some)
        }
        _ => Ok(None),
    }
}

/// An instant as PandaDoc writes it.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An instant that PandaDoc wrote.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|at| at.to_utc())
}

/// A text of another version than this program writes is an error that says so.
fn check_version(text: &str, what: &str) -> Result<(), ConnectorError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Version { v } = from_json(text, what)?;
    if v != VERSION {
        return Err(ConnectorError::Protocol(format!(
            "{what}: version {v} is not known to this program (it knows {VERSION})"
        )));
    }
    Ok(())
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, ConnectorError> {
    serde_json::to_string(value).map_err(|e| ConnectorError::Protocol(format!("cursor: {e}")))
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, ConnectorError> {
    serde_json::from_str(text).map_err(|e| ConnectorError::Protocol(format!("{what}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip() {
        let began = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let kept = Kept {
            recent: BTreeMap::from([("a".to_owned(), "2026-01-01T00:00:00Z".to_owned())]),
            extracting: BTreeMap::from([("b".to_owned(), 7)]),
        };
        let mut pass = Pass::new(Phase::Changed, Some(stamp(began)), kept.clone());
        pass.began = Some(began);
        for position in [
            Position::Done { of: "all".to_owned(), began, kept: Kept::default() },
            Position::Done { of: "tag:x".to_owned(), began, kept },
            Position::Page(Box::new(pass)),
            Position::Page(Box::new(Pass::new(Phase::All, None, Kept::default()))),
        ] {
            assert_eq!(Position::parse(&position.clone().cursor().unwrap()).unwrap(), position);
        }
    }

    #[test]
    fn a_strange_cursor_is_refused() {
        for bad in [
            "",
            "{}",
            "null",
            r#"{"v":2,"at":"done","began":1}"#,
            r#"{"v":1,"at":"done"}"#,
            r#"{"v":1,"at":"elsewhere"}"#,
            r#"{"v":1,"at":"page"}"#,
            r#"{"v":1,"at":"page","phase":"all","place":{"page":0}}"#,
            r#"{"v":"1","at":"done","began":1}"#,
        ] {
            let parsed = Position::parse(&Cursor(bad.to_owned()));
            assert!(matches!(parsed, Err(ConnectorError::Protocol(_))), "{bad}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_kept_stays_small() {
        let began = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let mut kept = Kept::default();
        for n in 0..3 * MOST_KEPT {
            kept.recent.insert(format!("{n:022}"), format!("2026-01-01T00:00:{:02}.{n:06}Z", n % 60));
            kept.extracting.insert(format!("{n:022}"), 1);
        }
        let cursor = Position::Done { of: "all".to_owned(), began, kept }.cursor().unwrap();
        let Position::Done { kept, .. } = Position::parse(&cursor).unwrap() else { panic!() };
        assert_eq!((kept.recent.len(), kept.extracting.len()), (MOST_KEPT, MOST_KEPT));
    }

    #[test]
    fn every_combination_is_a_list() {
        let list = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect();
        let config = Config { templates: list(&["t1", "t2"]), tags: list(&["a b"]), ..Config::default() };
        let ids: Vec<String> = Plan::all(&config).iter().map(|plan| plan.partition().unwrap().id).collect();
        assert_eq!(ids, ["template:t1 tag:a b", "template:t2 tag:a b"]);
        let all = Plan::all(&Config::default());
        assert_eq!((all.len(), all[0].partition().unwrap().id.as_str()), (1, "all"));
        // What decides what a record holds makes it another partition; the size of a page does not.
        let page_size = Plan::all(&Config { page_size: 7, ..Config::default() });
        assert_eq!(page_size, all);
        let mut mapped = Config::default();
        mapped.fields.end = vec!["End".to_owned()];
        let mapped = Plan::all(&mapped)[0].id();
        assert!(mapped.starts_with("settings:") && mapped.len() == "settings:".len() + 8, "{mapped}");
    }

    #[test]
    fn partitions_are_joined_where_they_are_the_planned_ones() {
        let at = |n: i64| DateTime::from_timestamp(1_790_000_000 + n, 0).unwrap();
        let config = Config { tags: vec!["a".to_owned(), "b".to_owned()], ..Config::default() };
        let plans = Plan::all(&config);
        let kept = |recent: &[(&str, &str)], extracting: &[(&str, i64)]| Kept {
            recent: recent.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            extracting: extracting.iter().map(|(a, b)| ((*a).to_owned(), *b)).collect(),
        };
        let done = |of: &str, n, kept: &Kept| {
            Position::Done { of: of.to_owned(), began: at(n), kept: kept.clone() }.cursor().unwrap()
        };
        let a = done("tag:a", 5, &kept(&[("x", "1"), ("y", "1")], &[("p", 9)]));
        let b = done("tag:b", 3, &kept(&[("x", "1"), ("y", "2"), ("z", "3")], &[("p", 7)]));
        let joined = join(&plans, &[a.clone(), b.clone()]).unwrap().unwrap();
        let expected = kept(&[("x", "1"), ("z", "3")], &[("p", 7)]);
        assert_eq!(
            Position::parse(&joined).unwrap(),
            Position::Done { of: "joined".to_owned(), began: at(3), kept: expected }
        );
        // Other partitions than the settings name now: from the start.
        assert_eq!(join(&plans, std::slice::from_ref(&a)).unwrap(), None);
        assert_eq!(join(&Plan::all(&Config::default()), &[a.clone(), b]).unwrap(), None);
        let between =
            Position::Page(Box::new(Pass::new(Phase::All, None, Kept::default()))).cursor().unwrap();
        assert_eq!(join(&plans, &[a, between]).unwrap(), None);
        assert_eq!(join(&plans, &[]).unwrap(), None);
    }
}
