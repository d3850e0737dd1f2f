//! The list of what changed, of connectors that have one. Others pass by having none.

use std::collections::BTreeSet;

use connector_sdk::{
    Clock, ConnectorError, Cursor, DynConnector, FeedSpec, Next, Partition, ReadMode, RecordKey, Session,
    SystemClock,
};

use super::{Provider, fail, ok, open};

/// Pages that following may take before the suite calls it endless.
const PAGES: usize = 1_000;

async fn partition(session: &dyn Session, feed: &FeedSpec, mode: ReadMode) -> Partition {
    let plan = ok(session.plan(feed.name, mode, SystemClock.now()).await, feed.name);
    let [partition] = plan.as_slice() else { fail("a feed is one partition") };
    partition.clone()
}

/// The feed's present end: one page that names nothing.
async fn end(session: &dyn Session, feed: &FeedSpec) -> Cursor {
    let partition = partition(session, feed, ReadMode::Full).await;
    let page = ok(session.read_page(feed.name, ReadMode::Full, &partition, None).await, feed.name);
    assert!(page.records.is_empty() && page.rejected.is_empty() && page.split.is_none());
    assert!(page.touched.is_empty() && page.tombstones.is_empty(), "the past is no change: {page:?}");
    match page.next {
        Next::CaughtUp(cursor) => cursor,
        Next::More(_) => fail("the end is taken with one page"),
    }
}

/// Everything that changed since, where that ends, and the cursors between the pages.
async fn follow(
    session: &dyn Session,
    feed: &FeedSpec,
    from: &Cursor,
) -> (BTreeSet<RecordKey>, Cursor, Vec<Cursor>) {
    let partition = partition(session, feed, ReadMode::Incremental).await;
    let (mut named, mut between, mut cursor) = (BTreeSet::new(), Vec::new(), from.clone());
    for _ in 0..PAGES {
        let page = session.read_page(feed.name, ReadMode::Incremental, &partition, Some(&cursor)).await;
        let page = ok(page, feed.name);
        assert!(page.records.is_empty() && page.rejected.is_empty() && page.split.is_none());
        named.extend(page.touched.into_iter().map(|touch| touch.key));
        named.extend(page.tombstones);
        match page.next {
            Next::More(next) => {
                between.push(next.clone());
                cursor = next;
            }
            Next::CaughtUp(end) => return (named, end, between),
        }
    }
    fail("the feed does not end")
}

/// What is made and what is deleted after the end was taken is named, in a declared stream, and not again
/// from the new end.
pub async fn what_changes_is_named_once<P: Provider>(connector: &dyn DynConnector) {
    let spec = connector.spec();
    let Some(feed) = &spec.feed else { return };
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    let mut place = end(session.as_ref(), feed).await;
    let mut told = 0;
    for stream in spec.streams.iter().filter(|s| s.feed) {
        let Some(id) = provider.create(stream.name) else { continue };
        let key = RecordKey::new(stream.name, id.as_str());
        let deleted = async |place: &Cursor| {
            let (named, next, _) = follow(session.as_ref(), feed, place).await;
            assert!(named.contains(&key), "{key} is not in {named:?}");
            let declared = |k: &RecordKey| spec.stream(&k.stream).is_some();
            assert!(named.iter().all(declared), "{named:?}");
            let (again, next, _) = follow(session.as_ref(), feed, &next).await;
            assert!(again.is_empty(), "{again:?} a second time");
            next
        };
        place = deleted(&place).await;
        told += 1;
        if provider.delete(stream.name, &id) {
            place = deleted(&place).await;
        }
    }
    assert!(told > 0, "something can be made in a stream that the feed covers");
}

/// Following that stops after any page and goes on in another session misses nothing.
pub async fn following_resumes_from_every_cursor<P: Provider>(connector: &dyn DynConnector) {
    let spec = connector.spec();
    let Some(feed) = &spec.feed else { return };
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    let place = end(session.as_ref(), feed).await;
    for _ in 0..4 {
        for stream in spec.streams.iter().filter(|s| s.feed) {
            let _ = provider.create(stream.name);
        }
    }
    let (all, whole, between) = follow(session.as_ref(), feed, &place).await;
    assert!(between.len() >= 2, "small pages, and several of them");
    let mut before = BTreeSet::new();
    let partition = partition(session.as_ref(), feed, ReadMode::Incremental).await;
    let mut cursor = place;
    for next in between {
        let page = session.read_page(feed.name, ReadMode::Incremental, &partition, Some(&cursor)).await;
        before.extend(ok(page, feed.name).touched.into_iter().map(|touch| touch.key));
        let fresh = open(connector, &provider);
        let (rest, _, _) = follow(fresh.as_ref(), feed, &next).await;
        assert_eq!(before.union(&rest).cloned().collect::<BTreeSet<_>>(), all, "from {next:?}");
        cursor = next;
    }
    assert!(follow(session.as_ref(), feed, &whole).await.0.is_empty());
}

/// Without a place to go on from there is no telling what changed; a cursor that this program did not write
/// is an error.
pub async fn a_place_that_is_none_is_refused<P: Provider>(connector: &dyn DynConnector) {
    let Some(feed) = connector.spec().feed else { return };
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    let partition = partition(session.as_ref(), &feed, ReadMode::Incremental).await;
    let page = async |cursor: Option<&Cursor>| {
        session.read_page(feed.name, ReadMode::Incremental, &partition, cursor).await.map(drop)
    };
    match page(None).await {
        Err(ConnectorError::Expired(_)) => {}
        other => fail(&format!("no cursor gave {other:?}")),
    }
    for strange in ["", "{}", "null", "0", "garbage", "{\"v\":999999}"] {
        match page(Some(&Cursor(strange.to_owned()))).await {
            Err(ConnectorError::Protocol(_)) => {}
            other => fail(&format!("{strange:?} gave {other:?}")),
        }
    }
}

/// A feed that may not be read is named with its permission, by the check and by reading it.
pub async fn a_missing_permission_is_named<P: Provider>(connector: &dyn DynConnector) {
    let Some(feed) = connector.spec().feed else { return };
    let provider = P::start().await;
    provider.fill();
    provider.forbid(feed.name);
    let session = open(connector, &provider);
    let account = ok(session.check().await, feed.name);
    let missing: Vec<&str> = account.missing.iter().map(|m| m.stream.as_str()).collect();
    assert_eq!(missing, [feed.name]);
    let partition = partition(session.as_ref(), &feed, ReadMode::Full).await;
    match session.read_page(feed.name, ReadMode::Full, &partition, None).await {
        Err(ConnectorError::Auth { missing_permission, .. }) => assert!(missing_permission.is_some()),
        other => fail(&format!("{other:?}")),
    }
}
