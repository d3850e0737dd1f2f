use proptest::prelude::*;

use super::*;

/// A list as PandaDoc keeps it: id and time, ordered by time alone.
#[derive(Debug, Clone)]
struct Listed(Vec<(String, i64)>);

fn text(at: i64) -> String {
    crate::cursor::stamp(chrono::DateTime::from_timestamp_micros(1_790_000_000_000_000 + at).unwrap())
}

impl Listed {
    fn page(&self, place: &Place, count: usize) -> Vec<(String, String)> {
        let from = place.from.as_deref().and_then(instant);
        let mut rows: Vec<&(String, i64)> = self
            .0
            .iter()
            .filter(|row| from.is_none_or(|from| instant(&text(row.1)).unwrap() >= from))
            .collect();
        rows.sort_by_key(|row| row.1);
        let skip = (place.page.get() as usize - 1) * count;
        rows.into_iter().skip(skip).take(count).map(|(id, at)| (id.clone(), text(*at))).collect()
    }
}

/// What the list undergoes before a page.
#[derive(Debug, Clone)]
enum Change {
    Delete(usize),
    Add,
    /// The row moves to the end, as one that is modified.
    Touch(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<usize>().prop_map(Change::Delete),
        Just(Change::Add),
        any::<usize>().prop_map(Change::Touch),
    ]
}

/// Walks to the end; the ids given, in order, and the calls.
fn walk(list: &mut Listed, count: usize, end: End, changes: &[Vec<Change>]) -> (Vec<String>, usize) {
    let (mut place, mut given, mut calls) = (Place::default(), Vec::new(), 0);
    let mut added = 0;
    loop {
        let page = list.page(&place, count);
        let rows: Vec<Row<'_>> = page.iter().map(|(id, at)| Row { id, at }).collect();
        let step = place.step(&rows, rows.len(), count, end);
        given.extend(step.fresh.iter().map(|n| page[*n].0.clone()));
        calls += 1;
        assert!(calls < 5_000, "the walk does not end");
        let Some(next) = step.next else { return (given, calls) };
        // As every cursor, through its text.
        place = serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap();
        for change in changes.get(calls - 1).into_iter().flatten() {
            let n = list.0.len();
            match change {
                Change::Delete(at) if n > 0 => drop(list.0.remove(at % n)),
                Change::Add => {
                    added += 1;
                    list.0.push((format!("new{added}"), 1_000_000 + added));
                }
                Change::Touch(at) if n > 0 => {
                    added += 1;
                    list.0[at % n].1 = 1_000_000 + added;
                }
                _ => {}
            }
        }
    }
}

proptest! {
    /// Whatever is deleted, added or touched between pages: every row that was there all the time and did not
    /// move is given, exactly once.
    #[test]
    fn no_row_is_lost_or_given_twice_while_the_list_changes(
        times in proptest::collection::vec(0i64..40, 0..60),
        count in 2usize..8,
        changes in proptest::collection::vec(proptest::collection::vec(change(), 0..3), 0..30),
        confirm in any::<bool>(),
    ) {
        // Of one instant at most as many as a page holds: more is the next test's.
        let mut list = Listed(Vec::new());
        for (n, at) in times.iter().enumerate() {
            if list.0.iter().filter(|row| row.1 == *at).count() < count - 1 {
                list.0.push((format!("d{n}"), *at));
            }
        }
        let before: BTreeSet<(String, i64)> = list.0.iter().cloned().collect();
        let end = if confirm { End::NothingNew } else { End::ShortPage };
        let (given, _) = walk(&mut list, count, end, &changes);
        let after: BTreeSet<(String, i64)> = list.0.iter().cloned().collect();
        for (id, _) in before.intersection(&after) {
            prop_assert_eq!(given.iter().filter(|g| *g == id).count(), 1, "{} of {:?}", id, given);
        }
    }

    /// More rows of one instant than a page holds: all are given, some of them deleted meanwhile.
    #[test]
    fn an_instant_with_more_rows_than_a_page_is_gone_over(
        tied in 1usize..40,
        count in 2usize..6,
        before in 0usize..5,
        after in 0usize..5,
        deletes in proptest::collection::vec(proptest::collection::vec(any::<usize>().prop_map(Change::Delete), 0..2), 0..10),
    ) {
        let mut list = Listed(
            (0..before).map(|n| (format!("b{n}"), n as i64))
                .chain((0..tied).map(|n| (format!("t{n}"), 100)))
                .chain((0..after).map(|n| (format!("z{n}"), 200 + n as i64)))
                .collect(),
        );
        let (given, _) = walk(&mut list, count, End::NothingNew, &deletes);
        for (id, _) in &list.0 {
            prop_assert_eq!(given.iter().filter(|g| *g == id).count(), 1, "{} of {:?}", id, given);
        }
    }
}

#[test]
fn a_page_costs_one_call_and_the_border_one_row() {
    let rows = |n: i64| Listed((0..n).map(|n| (format!("d{n}"), n)).collect());
    for (n, count, end, calls) in [
        (0, 100, End::ShortPage, 1),
        (0, 100, End::NothingNew, 1),
        (1, 100, End::ShortPage, 1),
        (1, 100, End::NothingNew, 2),
        (1_000, 100, End::ShortPage, 11),
        (10_000, 50, End::NothingNew, 206),
    ] {
        let (given, found) = walk(&mut rows(n), count, end, &[]);
        assert_eq!((given.len() as i64, found), (n, calls), "{n} rows, {count} a page, {end:?}");
    }
}

#[test]
fn rows_without_a_time_and_items_that_are_none_end_the_walk_too() {
    let place = Place::default();
    let rows = [Row { id: "a", at: "" }, Row { id: "b", at: "yesterday" }];
    let step = place.step(&rows, 2, 2, End::NothingNew);
    assert_eq!(step.fresh, [0, 1]);
    let again = step.next.unwrap().step(&[], 0, 2, End::NothingNew);
    assert!(again.fresh.is_empty());
    // A page of nothing but unreadable items is passed by its number.
    let step = place.step(&[], 3, 3, End::ShortPage);
    assert_eq!(step.next.unwrap().page.get(), 2);
}
