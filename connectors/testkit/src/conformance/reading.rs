//! Pages, cursors, reads by id.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use connector_sdk::{
    Clock, ConnectorError, Cursor, DynConnector, Io, Next, Page, ReadMode, RecordKey, SystemClock, Timestamp,
};
use serde_json::Value;

use super::{Provider, fail, io, ok, open, read_all, read_on, take_split};

/// Every stream gives exactly what is there, in whole records under its own name.
pub async fn every_stream_is_read_completely<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    for stream in connector.spec().streams {
        for mode in [ReadMode::Full, ReadMode::Incremental] {
            let all = ok(read_all(session.as_ref(), stream.name, mode).await, stream.name);
            let truth = provider.ids(stream.name);
            assert_eq!(all.ids(), truth, "{} {mode:?}", stream.name);
            assert!(all.pages >= 3, "{}: fill() gives three pages, found {}", stream.name, all.pages);
            assert_eq!(all.rejected, 0);
        }
    }
}

/// An account without objects reads as nothing, and the check works.
pub async fn an_empty_account_is_no_trouble<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    let session = open(connector, &provider);
    ok(session.check().await, "check");
    for stream in connector.spec().streams {
        for mode in [ReadMode::Full, ReadMode::Incremental] {
            let all = ok(read_all(session.as_ref(), stream.name, mode).await, stream.name);
            assert!(all.records.is_empty() && all.rejected == 0, "{}", stream.name);
            for (partition, end) in all.ends {
                // What comes later is found from the cursor of the empty read.
                ok(session.read_page(stream.name, mode, &partition, Some(&end)).await.map(drop), stream.name);
            }
        }
    }
}

/// A read that stops after any page and goes on in another session from its cursor misses nothing.
pub async fn reading_resumes_from_every_cursor<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    for stream in connector.spec().streams {
        let session = open(connector, &provider);
        let partitions = ok(session.plan(stream.name, ReadMode::Full, SystemClock.now()).await, stream.name);
        let whole = ok(read_all(session.as_ref(), stream.name, ReadMode::Full).await, stream.name);
        assert!(!whole.cursors.is_empty());
        for partition in &partitions {
            let mut before = BTreeSet::new();
            let mut cursor: Option<Cursor> = None;
            let all = ok(
                read_on(session.as_ref(), stream.name, ReadMode::Full, partition, None).await,
                stream.name,
            )
            .ids();
            loop {
                let page = session.read_page(stream.name, ReadMode::Full, partition, cursor.as_ref()).await;
                let mut page = ok(page, stream.name);
                before.extend(page.records.iter().map(|r| r.key.id.clone()));
                let mut parts = Vec::new();
                let next = take_split(&mut page, &mut parts);
                for (part, _) in &parts {
                    let rest = read_on(session.as_ref(), stream.name, ReadMode::Full, part, None).await;
                    before.extend(ok(rest, stream.name).ids());
                }
                let Next::More(next) = next else { break };
                let fresh = open(connector, &provider);
                let rest =
                    read_on(fresh.as_ref(), stream.name, ReadMode::Full, partition, Some(next.clone())).await;
                let union: BTreeSet<String> = before.union(&ok(rest, stream.name).ids()).cloned().collect();
                assert_eq!(union, all, "{} from {next:?}", stream.name);
                cursor = Some(next);
            }
        }
    }
}

/// A cursor that this program did not write is an error, never a silent restart.
pub async fn strange_cursors_are_refused<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    for stream in connector.spec().streams {
        let whole = ok(read_all(session.as_ref(), stream.name, ReadMode::Full).await, stream.name);
        let (partition, real) =
            whole.cursors.first().unwrap_or_else(|| fail("fill() gives more than one page"));
        let mut strange: Vec<String> =
            ["", " ", "{}", "[]", "null", "0", "\"x\"", "garbage", "{\"v\":999999}", "{\"v\":-1}"]
                .map(str::to_owned)
                .to_vec();
        // A real one from a later version of the program.
        let mut later: Value = ok(serde_json::from_str(&real.0), "a cursor is JSON");
        later["v"] = 999_999.into();
        strange.push(later.to_string());
        // And one that was cut.
        strange.push(real.0[..real.0.len() / 2].to_owned());
        for text in strange {
            for mode in [ReadMode::Full, ReadMode::Incremental] {
                let page = session.read_page(stream.name, mode, partition, Some(&Cursor(text.clone()))).await;
                assert!(
                    matches!(page, Err(ConnectorError::Protocol(_))),
                    "{} {text:?}: {page:?}",
                    stream.name
                );
            }
        }
    }
}

/// What is added after a read is found by the incremental read that goes on from its end.
pub async fn an_incremental_read_sees_what_is_new<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    let mut told = 0;
    for stream in connector.spec().streams {
        let first = ok(read_all(session.as_ref(), stream.name, ReadMode::Incremental).await, stream.name);
        let Some(added) = provider.create(stream.name) else { continue };
        told += 1;
        let mut seen = BTreeSet::new();
        for (partition, end) in first.ends {
            let on =
                read_on(session.as_ref(), stream.name, ReadMode::Incremental, &partition, Some(end.clone()))
                    .await;
            let on = ok(on, stream.name);
            seen.extend(on.ids());
            // Once more from the same place: the same answer.
            let again =
                read_on(session.as_ref(), stream.name, ReadMode::Incremental, &partition, Some(end)).await;
            assert_eq!(ok(again, stream.name).ids(), on.ids());
        }
        assert!(seen.contains(&added), "{}: {added} is new", stream.name);
    }
    assert!(told > 0, "something can be made in a stream");
}

/// A clock that is wrong.
#[derive(Debug)]
struct Skewed(TimeDelta);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }
}

/// Whether our clock is a day ahead of the provider's or behind it: everything is read, and what is made after a read
/// is found by the next.
pub async fn a_wrong_clock_loses_nothing<P: Provider>(connector: &dyn DynConnector) {
    for skew in [TimeDelta::days(1), TimeDelta::days(-1)] {
        let provider = P::start().await;
        provider.fill();
        let io = Io { clock: Arc::new(Skewed(skew)), ..io(Duration::from_secs(20)) };
        let session = ok(connector.open(&provider.config(), provider.secrets(), io), "open");
        let mut told = 0;
        for stream in connector.spec().streams {
            let first = ok(read_all(session.as_ref(), stream.name, ReadMode::Incremental).await, stream.name);
            assert_eq!(first.ids(), provider.ids(stream.name), "{} {skew}", stream.name);
            let Some(added) = provider.create(stream.name) else { continue };
            told += 1;
            let mut seen = BTreeSet::new();
            for (partition, end) in first.ends {
                let on = read_on(session.as_ref(), stream.name, ReadMode::Incremental, &partition, Some(end))
                    .await;
                seen.extend(ok(on, stream.name).ids());
            }
            assert!(seen.contains(&added), "{}: {added} is new, our clock off by {skew}", stream.name);
        }
        assert!(told > 0, "something can be made in a stream");
    }
}

/// A page that is asked for a second time, after a crash or by two workers, is the same page and goes on at the same
/// place; no page holds a record twice.
pub async fn a_page_asked_for_again_is_the_same<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    for stream in connector.spec().streams {
        let partitions = ok(session.plan(stream.name, ReadMode::Full, SystemClock.now()).await, stream.name);
        for partition in partitions {
            let mut cursor: Option<Cursor> = None;
            loop {
                let read = || session.read_page(stream.name, ReadMode::Full, &partition, cursor.as_ref());
                let (once, again) = (ok(read().await, stream.name), ok(read().await, stream.name));
                let records = |page: &Page| -> Vec<(RecordKey, String)> {
                    page.records.iter().map(|r| (r.key.clone(), r.payload.get().to_owned())).collect()
                };
                assert_eq!(records(&once), records(&again), "{} from {cursor:?}", stream.name);
                let keys: BTreeSet<&RecordKey> = once.records.iter().map(|r| &r.key).collect();
                assert_eq!(keys.len(), once.records.len(), "{}: a record twice on a page", stream.name);
                match once.next {
                    Next::More(next) => cursor = Some(next),
                    Next::CaughtUp(_) => break,
                }
            }
        }
    }
}

/// A partition that was read to its end answers so again.
pub async fn a_caught_up_full_read_stays_caught_up<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    for stream in connector.spec().streams {
        let whole = ok(read_all(session.as_ref(), stream.name, ReadMode::Full).await, stream.name);
        for (partition, end) in whole.ends {
            let page = session.read_page(stream.name, ReadMode::Full, &partition, Some(&end)).await;
            let page = ok(page, stream.name);
            assert_eq!(page.next, Next::CaughtUp(end), "{}", stream.name);
        }
    }
}

/// Whatever of the objects already read is deleted, the others are still found.
pub async fn objects_deleted_while_reading_hide_no_other<P: Provider>(connector: &dyn DynConnector) {
    let mut pages = 0;
    for stream in connector.spec().streams {
        // The last object of the first page, and then all of it.
        for all in [false, true] {
            let provider = P::start().await;
            provider.fill();
            let session = open(connector, &provider);
            let partitions =
                ok(session.plan(stream.name, ReadMode::Full, SystemClock.now()).await, stream.name);
            let mut seen = BTreeSet::new();
            let mut deleted = BTreeSet::new();
            for partition in partitions {
                let page = session.read_page(stream.name, ReadMode::Full, &partition, None).await;
                let page = ok(page, stream.name);
                let ids: Vec<String> = page.records.iter().map(|r| r.key.id.clone()).collect();
                seen.extend(ids.iter().cloned());
                let Next::More(next) = page.next else { continue };
                pages += 1;
                let take = if all { ids.len() } else { 1 };
                for id in ids.iter().rev().take(take) {
                    if provider.delete(stream.name, id) {
                        deleted.insert(id.clone());
                    }
                }
                // An offer to be divided that is not taken changes nothing.
                let rest =
                    read_on(session.as_ref(), stream.name, ReadMode::Full, &partition, Some(next)).await;
                seen.extend(ok(rest, stream.name).ids());
            }
            let missed: Vec<String> = provider.ids(stream.name).difference(&seen).cloned().collect();
            assert!(missed.is_empty(), "{}: missed {missed:?} after deleting {deleted:?}", stream.name);
        }
    }
    assert!(pages > 0, "fill() gives more than a page");
}

/// New objects that appear between two pages push no old one out of sight.
pub async fn objects_added_while_reading_hide_no_other<P: Provider>(connector: &dyn DynConnector) {
    let mut told = 0;
    for stream in connector.spec().streams {
        let provider = P::start().await;
        provider.fill();
        let before = provider.ids(stream.name);
        let session = open(connector, &provider);
        let partitions = ok(session.plan(stream.name, ReadMode::Full, SystemClock.now()).await, stream.name);
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<_> = partitions.into_iter().map(|p| (p, None::<Cursor>)).collect();
        while let Some((partition, mut cursor)) = waiting.pop() {
            loop {
                let page = session.read_page(stream.name, ReadMode::Full, &partition, cursor.as_ref()).await;
                let mut page = ok(page, stream.name);
                seen.extend(page.records.iter().map(|r| r.key.id.clone()));
                let next = take_split(&mut page, &mut waiting);
                told += usize::from(provider.create(stream.name).is_some());
                match next {
                    Next::More(next) => cursor = Some(next),
                    Next::CaughtUp(_) => break,
                }
            }
        }
        let missed: Vec<&String> = before.difference(&seen).collect();
        assert!(missed.is_empty(), "{}: missed {missed:?}", stream.name);
    }
    assert!(told > 0, "something can be made in a stream");
}

/// A read by id gives the same text as the page did: a webhook re-read of an unchanged object changes
/// nothing.
pub async fn reads_by_id_agree_with_pages<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    for stream in connector.spec().streams {
        let all = ok(read_all(session.as_ref(), stream.name, ReadMode::Full).await, stream.name);
        let mut ids: Vec<String> = all.ids().into_iter().collect();
        // An id that is asked for twice is one object.
        ids.extend(ids.first().cloned());
        let batch = ok(session.read_many(stream.name, &ids).await, stream.name);
        assert!(batch.tombstones.is_empty() && batch.rejected.is_empty(), "{}", stream.name);
        assert_eq!(batch.records.len(), all.records.len(), "{}", stream.name);
        for record in batch.records {
            let paged = all.records.get(&record.key.id).map(|r| r.payload.get());
            assert_eq!(Some(record.payload.get()), paged, "{}", record.key);
        }
        let none = ok(session.read_many(stream.name, &[]).await, stream.name);
        assert!(none.records.is_empty() && none.tombstones.is_empty());
    }
}

/// An object that was deleted, and one that never was, come back as tombstones beside those that are.
pub async fn what_is_gone_is_a_tombstone<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    for stream in connector.spec().streams {
        let ids: Vec<String> = provider.ids(stream.name).into_iter().collect();
        let [deleted, kept, ..] = ids.as_slice() else { fail("fill() gives more than two objects") };
        let mut gone = vec![RecordKey::new(stream.name, "never_was_1")];
        if provider.delete(stream.name, deleted) {
            gone.push(RecordKey::new(stream.name, deleted.as_str()));
        }
        let mut asked: Vec<String> = gone.iter().map(|k| k.id.clone()).collect();
        asked.push(kept.clone());
        let mut batch = ok(session.read_many(stream.name, &asked).await, stream.name);
        batch.tombstones.sort();
        gone.sort();
        assert_eq!(batch.tombstones, gone, "{}", stream.name);
        assert_eq!(batch.records.iter().map(|r| &r.key.id).collect::<Vec<_>>(), [kept]);
    }
}

/// Ids come from outside: one that looks like a path or a query names no other object and no list.
pub async fn strange_ids_name_nothing_else<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session =
        ok(connector.open(&provider.config(), provider.secrets(), io(Duration::from_secs(20))), "open");
    for stream in connector.spec().streams {
        let real = provider.ids(stream.name).into_iter().next().unwrap_or_default();
        let strange = [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("../{}/{real}", stream.name),
            format!("{real}?x=1"),
            format!("{real}/"),
            format!("{real}#"),
            "%2e%2e".to_owned(),
            "a b\u{e9}\u{0}\n".to_owned(),
        ];
        for id in strange {
            match session.read_many(stream.name, std::slice::from_ref(&id)).await {
                Ok(batch) => assert!(batch.records.is_empty(), "{} {id:?} gave a record", stream.name),
                Err(e) => fail(&format!("{} {id:?}: {e}", stream.name)),
            }
        }
    }
}
