//! What must hold after crashes, as pure functions over what was sent and what is stored.
//!
//! Each answers with its complaints, so that a run that fails tells all of them at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What an event must come to: known kinds are applied, others are kept and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Applied,
    Ignored,
}

impl Expected {
    fn state(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
        }
    }
}

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) event: String,
    pub(super) state: String,
    pub(super) attempts: i64,
    /// Microseconds.
    pub(super) finished_at: Option<i64>,
}

/// Every acknowledged event is in the inbox exactly once and has come to what it must come to; nothing is there
/// that was never sent.
pub(super) fn inbox(
    acked: &BTreeSet<String>,
    sent: &BTreeMap<String, Expected>,
    rows: &[Row],
) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut stored: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        stored.entry(&row.event).or_default().push(row);
    }
    for event in acked {
        if !stored.contains_key(event.as_str()) {
            complaints.push(format!("{event}: acknowledged and lost"));
        }
    }
    for (event, rows) in stored {
        let Some(expected) = sent.get(event) else {
            complaints.push(format!("{event}: stored and never sent"));
            continue;
        };
        if rows.len() > 1 {
            complaints.push(format!("{event}: stored {} times", rows.len()));
        }
        for row in rows {
            if row.state != expected.state() {
                complaints.push(format!("{event}: {}, not {}", row.state, expected.state()));
            }
            if row.finished_at.is_none() || row.attempts < 1 {
                complaints.push(format!("{event}: never worked on ({row:?})"));
            }
        }
    }
    complaints
}

/// Rows that were seen finished. A delivery that is finished stays as it is: another end, or another time of
/// it, means that it was applied again.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    finished: BTreeMap<String, Row>,
}

impl Ledger {
    /// Looks at the inbox; complains about finished rows that have changed or gone since an earlier look.
    pub(super) fn observe(&mut self, rows: &[Row]) -> Vec<String> {
        let mut complaints = Vec::new();
        let now: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.event.as_str(), row)).collect();
        for (event, before) in &self.finished {
            match now.get(event.as_str()) {
                None => complaints.push(format!("{event}: was finished and is gone")),
                Some(row) if *row != before => {
                    complaints.push(format!("{event}: finished twice ({before:?}, then {row:?})"));
                }
                Some(_) => {}
            }
        }
        self.finished
            .extend(rows.iter().filter(|r| r.finished_at.is_some()).map(|r| (r.event.clone(), r.clone())));
        complaints
    }
}

/// The history of a value that only ever grows: each change begins where the one before ended, none is
/// repeated, none goes back to an older state, and the last one leads to `last`.
pub(super) fn chain(changes: &[(Value, Value)], last: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut at = &Value::Null;
    for (old, new) in changes {
        if old != at {
            complaints.push(format!("a change from {old} to {new} where the value was {at}"));
        }
        if let (Some(old), Some(new)) = (old.as_i64(), new.as_i64())
            && new <= old
        {
            complaints.push(format!("from {old} back to {new}"));
        }
        at = new;
    }
    if at != last {
        complaints.push(format!("the history ends at {at}, the value is {last}"));
    }
    complaints
}

/// Stored documents against the provider's, by name.
pub(super) fn mirror(theirs: &BTreeMap<String, Value>, ours: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let mut complaints = Vec::new();
    for name in names {
        match (theirs.get(name), ours.get(name)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(_), None) => complaints.push(format!("{name}: not in the mirror")),
            (None, _) => complaints.push(format!("{name}: in the mirror alone")),
            (Some(a), Some(b)) => complaints.push(format!("{name}: the provider says {a}, the mirror {b}")),
        }
    }
    complaints
}

/// The oracle must be able to fail: each forgery below is what a faulty program would leave behind.
mod forgeries {
    use serde_json::json;

    use super::*;

    fn row(event: &str, state: &str, finished_at: Option<i64>) -> Row {
        Row { event: event.to_owned(), state: state.to_owned(), attempts: 1, finished_at }
    }

    fn sent() -> (BTreeSet<String>, BTreeMap<String, Expected>) {
        let sent = BTreeMap::from([
            ("evt_1".to_owned(), Expected::Applied),
            ("evt_2".to_owned(), Expected::Applied),
            ("evt_3".to_owned(), Expected::Ignored),
        ]);
        (sent.keys().cloned().collect(), sent)
    }

    fn good() -> Vec<Row> {
        vec![
            row("evt_1", "applied", Some(10)),
            row("evt_2", "applied", Some(11)),
            row("evt_3", "ignored", Some(12)),
        ]
    }

    #[test]
    fn a_loss_a_double_and_a_wrong_end_are_seen() {
        let (acked, sent) = sent();
        let judge = |rows: &[Row]| inbox(&acked, &sent, rows);
        assert_eq!(judge(&good()), [""; 0]);

        let mut lost = good();
        lost.remove(1);
        assert_eq!(judge(&lost), ["evt_2: acknowledged and lost"]);

        let mut twice = good();
        twice.push(twice[0].clone());
        assert_eq!(judge(&twice), ["evt_1: stored 2 times"]);

        let mut dropped = good();
        dropped[0].state = "ignored".to_owned();
        assert_eq!(judge(&dropped), ["evt_1: ignored, not applied"]);

        let mut waiting = good();
        waiting[1] = row("evt_2", "pending", None);
        assert_eq!(judge(&waiting).len(), 2, "{:?}", judge(&waiting));

        let mut invented = good();
        invented.push(row("evt_9", "applied", Some(13)));
        assert_eq!(judge(&invented), ["evt_9: stored and never sent"]);
    }

    #[test]
    fn a_delivery_that_is_applied_again_is_seen() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.observe(&[row("evt_1", "pending", None)]), [""; 0]);
        assert_eq!(ledger.observe(&good()), [""; 0]);
        assert_eq!(ledger.observe(&good()), [""; 0]);

        let mut again = good();
        again[0].finished_at = Some(99);
        assert_eq!(ledger.observe(&again).len(), 1);

        let mut reopened = Ledger::default();
        reopened.observe(&good());
        assert_eq!(reopened.observe(&[row("evt_1", "pending", None)]).len(), 3, "one open, two gone");
    }

    #[test]
    fn a_history_with_a_gap_a_repetition_or_a_way_back_is_seen() {
        let changes = |pairs: &[(Value, i64)]| {
            pairs.iter().map(|(old, new)| (old.clone(), json!(new))).collect::<Vec<_>>()
        };
        let good = changes(&[(Value::Null, 1), (json!(1), 3), (json!(3), 4)]);
        assert_eq!(chain(&good, &json!(4)), [""; 0]);
        assert_eq!(chain(&[], &Value::Null), [""; 0]);

        let gap = changes(&[(Value::Null, 1), (json!(3), 4)]);
        assert_eq!(chain(&gap, &json!(4)).len(), 1);
        let repeated = changes(&[(Value::Null, 1), (json!(1), 3), (json!(1), 3)]);
        assert_eq!(chain(&repeated, &json!(3)).len(), 1);
        let back = changes(&[(Value::Null, 3), (json!(3), 1), (json!(1), 3)]);
        assert_eq!(chain(&back, &json!(3)).len(), 1);
        assert_eq!(chain(&good, &json!(5)).len(), 1, "the last change is missing");
    }

    #[test]
    fn a_mirror_that_is_behind_is_seen() {
        let documents = |text: &str| -> BTreeMap<String, Value> { serde_json::from_str(text).unwrap() };
        let theirs = documents(r#"{"a": {"n": 2}, "b": {"n": 1}}"#);
        assert_eq!(mirror(&theirs, &theirs), [""; 0]);
        assert_eq!(mirror(&theirs, &documents(r#"{"a": {"n": 1}, "b": {"n": 1}}"#)).len(), 1);
        assert_eq!(mirror(&theirs, &documents(r#"{"a": {"n": 2}}"#)), ["b: not in the mirror"]);
        let more = documents(r#"{"a": {"n": 2}, "b": {"n": 1}, "c": {}}"#);
        assert_eq!(mirror(&theirs, &more), ["c: in the mirror alone"]);
    }
}
