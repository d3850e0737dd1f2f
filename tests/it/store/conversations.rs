//! Conversations, tickets, events, activity, the view of a chat.

use halo_sync::domain::conversations::{
    ActivityDay, ConversationStatus, Mode, Priority, Rating, Role, TicketStatus,
};
use halo_sync::domain::{OrgId, Rank, UserId};
use halo_sync::store::Store;
use halo_sync::store::conversations::{
    Author, Change, ConversationRef, ConversationWrite, EventWrite, MessageWrite, Owner, Refusal,
    TicketChange, TicketWrite, TurnEnd, TurnStart, ViewStamp,
};
use halo_sync::store::identity::Lookup;
use serde_json::json;

use super::kit::*;

contract!(
    a_conversation_sent_again_changes_nothing,
    messages_are_replaced_by_name_only,
    a_browser_writes_to_its_own_only,
    a_judgement_is_not_overruled_from_below,
    a_refused_write_leaves_nothing,
    turns_make_one_conversation_a_session,
    a_ticket_finds_its_user,
    a_ticket_is_made_once,
    a_ticket_is_closed_and_opened,
    events_are_counted_by_day,
    a_session_goes_to_its_user,
    old_events_go,
    what_is_a_users_goes_with_the_user,
    a_company_leaves_what_is_its_users,
    organisations_do_not_see_each_other,
    a_stamp_changes_with_what_it_stands_for,
);

const DAY: i64 = 86_400_000_000;

/// The day of `at(0)`.
fn first_day() -> i64 {
    at(0).timestamp_micros() / DAY
}

fn author(user: Option<&str>, session: Option<&str>, rank: Rank, us: i64) -> Author {
    Author {
        user: user.map(external),
        company: None,
        session_id: session.map(str::to_owned),
        rank,
        verified: false,
        at: at(us),
    }
}

fn said(role: Role, text: &str) -> MessageWrite {
    MessageWrite { external_id: None, ordinal: None, role, text: text.to_owned(), sent_at: None }
}

fn named(id: &str, role: Role, text: &str) -> MessageWrite {
    MessageWrite { external_id: Some(id.to_owned()), ..said(role, text) }
}

fn conversation(id: &str, author: Author, messages: Vec<MessageWrite>) -> ConversationWrite {
    ConversationWrite {
        conversation: ConversationRef::parse(id),
        author,
        mode: None,
        agent_id: None,
        status: None,
        subject: None,
        sentiment_millionths: Change::Keep,
        rating: Change::Keep,
        started_at: None,
        messages,
    }
}

async fn user_id(store: &dyn Store, id: &str) -> UserId {
    store.find_user(&org(), &external(id)).await.unwrap().unwrap().id
}

async fn texts(store: &dyn Store, id: &str) -> Vec<(i64, String)> {
    let found = store.find_conversation(&org(), &ConversationRef::parse(id)).await.unwrap().unwrap();
    let messages = store.list_messages(&org(), &found.id, 0, 100).await.unwrap();
    messages.into_iter().map(|message| (message.ordinal, message.text)).collect()
}

async fn a_conversation_sent_again_changes_nothing(store: &dyn Store) {
    let company = company(store, "acme", json!({}), 1).await;
    let source = from(Rank::Server, 2);
    store.put_user(&org(), &external("u1"), &traits(json!({})), Some(&company), &source).await.unwrap();
    let mut write = conversation(
        "c1",
        author(Some("u1"), Some("s1"), Rank::Server, 10),
        vec![said(Role::User, "hello\0"), said(Role::Assistant, "hi")],
    );
    write.subject = Some("billing".to_owned());
    write.sentiment_millionths = Change::Set(-250_000);
    write.rating = Change::Set(Rating::Positive);
    let first = store.put_conversation(&org(), write.clone()).await.unwrap().unwrap();
    assert!(first.created);
    assert_eq!((first.added, first.replaced), (2, 0));
    let stored = &first.conversation;
    assert_eq!(stored.user_id, Some(user_id(store, "u1").await));
    assert_eq!((&stored.company_id, stored.messages), (&Some(company), 2));
    assert_eq!((stored.sentiment_millionths, stored.rating), (Some(-250_000), Some(Rating::Positive)));
    assert_eq!((stored.mode, stored.status), (Mode::Chat, ConversationStatus::Open));
    write.author.at = at(20);
    let again = store.put_conversation(&org(), write.clone()).await.unwrap().unwrap();
    assert_eq!((again.created, again.added, again.replaced), (false, 0, 0));
    assert_eq!(again.conversation, first.conversation, "not even the time of its last change");
    // The transcript goes on.
    write.messages.push(said(Role::User, "bye"));
    write.status = Some(ConversationStatus::Closed);
    let more = store.put_conversation(&org(), write).await.unwrap().unwrap();
    assert_eq!((more.added, more.conversation.status), (1, ConversationStatus::Closed));
    assert_eq!((more.conversation.active_at, more.conversation.started_at), (at(20), at(10)));
    let expected = [(0, "hello\u{fffd}".to_owned()), (1, "hi".to_owned()), (2, "bye".to_owned())];
    assert_eq!(texts(store, "c1").await, expected);
    // What is not said stays.
    assert_eq!(more.conversation.subject.as_deref(), Some("billing"));
    let owner = Owner::User(user_id(store, "u1").await);
    assert_eq!(store.list_conversations(&org(), &owner, None, 9).await.unwrap(), vec![more.conversation]);
    let day = store.list_activity(&org(), &user_id(store, "u1").await, 0).await.unwrap();
    assert_eq!(day, vec![ActivityDay { day: first_day(), messages: 2, ..ActivityDay::default() }]);
}

async fn messages_are_replaced_by_name_only(store: &dyn Store) {
    let by = || author(Some("u1"), None, Rank::Server, 1);
    let first = vec![named("m1", Role::User, "helo"), named("m2", Role::Assistant, "hi")];
    store.put_conversation(&org(), conversation("c1", by(), first)).await.unwrap().unwrap();
    // By its id, wherever it stands in the list; a new one comes behind.
    let changed = vec![named("m3", Role::User, "thanks"), named("m1", Role::User, "hello")];
    let put = store.put_conversation(&org(), conversation("c1", by(), changed)).await.unwrap().unwrap();
    assert_eq!((put.added, put.replaced, put.conversation.messages), (1, 1, 3));
    let now = [(0, "hello".to_owned()), (1, "hi".to_owned()), (2, "thanks".to_owned())];
    assert_eq!(texts(store, "c1").await, now);
    // By its place alone nothing is overwritten.
    let other = vec![said(Role::User, "something else")];
    let refused = store.put_conversation(&org(), conversation("c1", by(), other)).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::Conflict { index: 0, ordinal: 0 });
    let mut at_place = said(Role::Assistant, "hi there");
    at_place.ordinal = Some(1);
    let put =
        store.put_conversation(&org(), conversation("c1", by(), vec![at_place])).await.unwrap().unwrap();
    assert_eq!((put.added, put.replaced), (0, 1));
    let mut far = said(Role::User, "far");
    far.ordinal = Some(10_000);
    let refused = store.put_conversation(&org(), conversation("c1", by(), vec![far])).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::TooMany);
}

async fn a_browser_writes_to_its_own_only(store: &dyn Store) {
    let hello = || vec![said(Role::User, "hello")];
    let put = |id: &'static str, by: Author, messages: Vec<MessageWrite>| {
        let write = conversation(id, by, messages);
        async move { store.put_conversation(&org(), write).await.unwrap() }
    };
    put("jane", author(Some("jane"), Some("s1"), Rank::Server, 1), hello()).await.unwrap();
    put("nobody", author(None, Some("s2"), Rank::Claimed, 1), hello()).await.unwrap();
    let more = || vec![said(Role::User, "hello"), said(Role::User, "more")];
    for (id, by) in [
        ("jane", author(Some("eve"), Some("s1"), Rank::Claimed, 2)),
        ("jane", author(None, Some("s1"), Rank::Claimed, 2)),
        ("nobody", author(Some("eve"), Some("s3"), Rank::Claimed, 2)),
        ("nobody", author(None, None, Rank::Claimed, 2)),
    ] {
        assert_eq!(put(id, by, more()).await.unwrap_err(), Refusal::OfAnother, "{id}");
    }
    assert_eq!(store.find_user(&org(), &external("eve")).await.unwrap(), None, "a refusal makes nobody");
    put("jane", author(Some("jane"), None, Rank::Claimed, 2), more()).await.unwrap();
    // What the server has said is not rewritten by a browser.
    let mut rewritten = said(Role::User, "hijacked");
    rewritten.ordinal = Some(0);
    let refused = put("jane", author(Some("jane"), None, Rank::Claimed, 3), vec![rewritten]).await;
    assert_eq!(refused.unwrap_err(), Refusal::Conflict { index: 0, ordinal: 0 });
    // Nobody's conversation is the user's who goes on with it in the same session.
    let put_it = put("nobody", author(Some("eve"), Some("s2"), Rank::Claimed, 3), more()).await.unwrap();
    assert_eq!(put_it.conversation.user_id, Some(user_id(store, "eve").await));
    assert_eq!(put_it.conversation.user_rank, Rank::Claimed);
    // A server key corrects whose it is; a browser does not take it back.
    let corrected = put("nobody", author(Some("jane"), None, Rank::Server, 4), Vec::new()).await.unwrap();
    assert_eq!(corrected.conversation.user_id, Some(user_id(store, "jane").await));
    let back = put("nobody", author(Some("eve"), Some("s2"), Rank::Claimed, 5), Vec::new()).await;
    assert_eq!(back.unwrap_err(), Refusal::OfAnother);
}

async fn a_judgement_is_not_overruled_from_below(store: &dyn Store) {
    let judged = |rank, sentiment, rating, us| {
        let mut write = conversation("c1", author(Some("u1"), None, rank, us), Vec::new());
        (write.sentiment_millionths, write.rating) = (sentiment, rating);
        async move {
            let put = store.put_conversation(&org(), write).await.unwrap().unwrap();
            (put.conversation.sentiment_millionths, put.conversation.rating)
        }
    };
    let good = Change::Set(Rating::Positive);
    let claimed = judged(Rank::Claimed, Change::Set(1_000_000), good, 1).await;
    assert_eq!(claimed, (Some(1_000_000), Some(Rating::Positive)));
    let known = judged(Rank::Server, Change::Set(-500_000), Change::Keep, 2).await;
    assert_eq!(known, (Some(-500_000), Some(Rating::Positive)));
    let bad = Change::Set(Rating::Negative);
    let again = judged(Rank::Claimed, Change::Set(1_000_000), bad, 3).await;
    assert_eq!(again, (Some(-500_000), Some(Rating::Negative)));
    assert_eq!(judged(Rank::Server, Change::Clear, Change::Clear, 4).await, (None, None));
}

async fn a_refused_write_leaves_nothing(store: &dyn Store) {
    let unknown = author(None, None, Rank::Server, 1);
    let unknown = Author { user: Some(Lookup::Id("usr_nobody".to_owned())), ..unknown };
    let write = conversation("c1", unknown.clone(), vec![said(Role::User, "x")]);
    let refused = store.put_conversation(&org(), write).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::Unknown("user_id"));
    assert_eq!(store.find_conversation(&org(), &ConversationRef::parse("c1")).await.unwrap(), None);
    let write = conversation("cnv_nothing", author(Some("new"), None, Rank::Server, 1), Vec::new());
    let refused = store.put_conversation(&org(), write).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::Unknown("conversation_id"));
    assert_eq!(store.find_user(&org(), &external("new")).await.unwrap(), None);
    let refused = store.put_events(&org(), &unknown, vec![event("click")]).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::Unknown("user_id"));
}

fn turn(by: Author, text: &str) -> TurnStart {
    TurnStart {
        author: by,
        mode: Mode::Voice,
        agent_id: Some("helper".to_owned()),
        text: text.to_owned(),
        history: 3,
    }
}

async fn turns_make_one_conversation_a_session(store: &dyn Store) {
    let begin = |user: Option<&'static str>, session: &'static str, text: &'static str, us| {
        let start = turn(author(user, Some(session), Rank::Claimed, us), text);
        async move { store.begin_turn(&org(), start).await.unwrap().unwrap() }
    };
    let first = begin(None, "s1", "one", 1).await;
    assert!(first.history.is_empty() && first.user_id.is_none());
    let end = |text: &str, complete, us| TurnEnd {
        conversation_id: first.conversation_id.clone(),
        text: text.to_owned(),
        complete,
        at: at(us),
    };
    store.finish_turn(&org(), end("answer", false, 2)).await.unwrap();
    // The same session, now with a name.
    let second = begin(Some("jane"), "s1", "two", 3).await;
    assert_eq!(second.conversation_id, first.conversation_id);
    assert_eq!(second.user_id, Some(user_id(store, "jane").await));
    let history: Vec<_> = second.history.iter().map(|m| (m.text.as_str(), m.role, m.complete)).collect();
    assert_eq!(history, [("one", Role::User, true), ("answer", Role::Assistant, false)]);
    store.finish_turn(&org(), end("answer two", true, 4)).await.unwrap();
    let third = begin(Some("jane"), "s1", "three", 5).await;
    assert_eq!(
        third.history.iter().map(|m| m.text.as_str()).collect::<Vec<_>>(),
        ["answer", "two", "answer two"]
    );
    // Somebody else in the same session, and nobody, do not go on with it.
    let other = begin(Some("eve"), "s1", "who", 6).await;
    assert_ne!(other.conversation_id, first.conversation_id);
    assert!(other.history.is_empty());
    let nobody = begin(None, "s1", "who", 7).await;
    assert!(![&first.conversation_id, &other.conversation_id].contains(&&nobody.conversation_id));
    // One that is over is not gone on with.
    let mut close =
        conversation(first.conversation_id.as_str(), author(Some("jane"), None, Rank::Server, 8), Vec::new());
    close.status = Some(ConversationStatus::Closed);
    store.put_conversation(&org(), close).await.unwrap().unwrap();
    assert_ne!(begin(Some("jane"), "s1", "four", 9).await.conversation_id, first.conversation_id);
    let stored =
        store.find_conversation(&org(), &ConversationRef::Id(first.conversation_id)).await.unwrap().unwrap();
    assert_eq!((stored.mode, stored.agent_id.as_deref(), stored.messages), (Mode::Voice, Some("helper"), 5));
    assert_eq!(stored.source, "chat");
}

fn ticket(by: Author, email: Option<&str>) -> TicketWrite {
    TicketWrite {
        external_id: None,
        author: by,
        email: email.map(str::to_owned),
        name: Some("Jane".to_owned()),
        subject: "It does not work".to_owned(),
        message: Some("At all.".to_owned()),
        metadata: json!({"browser": "x"}).as_object().cloned(),
        source: "api".to_owned(),
        status: TicketStatus::Open,
        priority: Priority::Priority,
    }
}

async fn a_ticket_finds_its_user(store: &dyn Store) {
    let email = json!({"email": "Jane@Acme.test"});
    let source = from(Rank::Server, 1);
    let company = company(store, "acme", json!({}), 1).await;
    store.put_user(&org(), &external("jane"), &traits(email.clone()), Some(&company), &source).await.unwrap();
    let claimed = from(Rank::Claimed, 1);
    store.put_user(&org(), &external("eve"), &traits(email), None, &claimed).await.unwrap();
    let put = |user, email| {
        let write = ticket(author(user, None, Rank::Server, 2), email);
        async move { store.put_ticket(&org(), write).await.unwrap().unwrap() }
    };
    // By the caller's id, whatever the address says.
    let of_eve = put(Some("eve"), Some("jane@acme.test")).await;
    assert_eq!(of_eve.ticket.user_id, Some(user_id(store, "eve").await));
    // By the address: who is known by it goes before who claims it.
    let of_jane = put(None, Some("JANE@acme.test")).await;
    assert_eq!(of_jane.ticket.user_id, Some(user_id(store, "jane").await));
    assert_eq!((of_jane.ticket.company_id.as_ref(), of_jane.user_created), (Some(&company), false));
    let seen = store.find_user(&org(), &external("jane")).await.unwrap().unwrap().last_seen;
    assert_eq!(seen, Some(at(1)), "a ticket is no presence");
    // Somebody new, and found again.
    let new = put(None, Some("ola@north.test")).await;
    assert!(new.user_created);
    let again = put(None, Some("OLA@north.test")).await;
    assert_eq!((again.ticket.user_id.clone(), again.user_created), (new.ticket.user_id.clone(), false));
    let lookup = Lookup::Id(new.ticket.user_id.unwrap().0);
    let ola = store.find_user(&org(), &lookup).await.unwrap().unwrap();
    assert_eq!(
        (ola.fields.name.as_deref(), ola.fields.email.as_deref()),
        (Some("Jane"), Some("ola@north.test"))
    );
    assert_eq!((ola.external_id, ola.last_seen), (None, None));
    let by_id = put(Some("kim"), None).await;
    assert!(by_id.user_created);
    assert_eq!(by_id.ticket.user_id, Some(user_id(store, "kim").await));
    let owner = Owner::Company(company);
    let tickets = store.list_tickets(&org(), &owner, None, 9).await.unwrap();
    assert_eq!(tickets, vec![of_jane.ticket]);
    assert_eq!(tickets[0].metadata, json!({"browser": "x"}).as_object().cloned());
}

async fn a_ticket_is_made_once(store: &dyn Store) {
    let mut write = ticket(author(Some("jane"), None, Rank::Server, 1), None);
    write.external_id = Some("T-1".to_owned());
    let first = store.put_ticket(&org(), write.clone()).await.unwrap().unwrap();
    let again = store.put_ticket(&org(), write.clone()).await.unwrap().unwrap();
    assert_eq!((again.created, &again.ticket), (false, &first.ticket));
    let by = author(Some("eve"), None, Rank::Claimed, 2);
    let other = TicketWrite { author: by, ..write.clone() };
    assert_eq!(store.put_ticket(&org(), other).await.unwrap().unwrap_err(), Refusal::OfAnother);
    let other = TicketWrite { subject: "another".to_owned(), ..write };
    assert_eq!(store.put_ticket(&org(), other).await.unwrap().unwrap_err(), Refusal::OfAnother);
    let days = store.list_activity(&org(), &user_id(store, "jane").await, 0).await.unwrap();
    assert_eq!(days, vec![ActivityDay { day: first_day(), tickets: 1, ..ActivityDay::default() }]);
}

async fn a_ticket_is_closed_and_opened(store: &dyn Store) {
    let write = ticket(author(Some("jane"), None, Rank::Server, 1), None);
    let put = store.put_ticket(&org(), write).await.unwrap().unwrap();
    let id = put.ticket.id.0;
    let to = |status| TicketChange { status: Some(status), ..TicketChange::default() };
    let change = |status, us| {
        let (id, change) = (id.clone(), to(status));
        async move { store.change_ticket(&org(), &id, &change, at(us)).await.unwrap().unwrap() }
    };
    let closed = change(TicketStatus::Resolved, 5).await;
    assert_eq!(
        (closed.closed_at, closed.updated_at, closed.priority),
        (Some(at(5)), at(5), Priority::Priority)
    );
    assert_eq!(change(TicketStatus::Resolved, 6).await.updated_at, at(5), "no change, no write");
    assert_eq!(change(TicketStatus::Closed, 7).await.closed_at, Some(at(5)));
    assert_eq!(change(TicketStatus::Pending, 8).await.closed_at, None);
    let none = store.change_ticket(&org(), "tkt_none", &to(TicketStatus::Open), at(9)).await.unwrap();
    assert_eq!(none, None);
}

fn event(kind: &str) -> EventWrite {
    EventWrite {
        event_type: kind.to_owned(),
        element_selector: None,
        page_url: Some("https://app.test/".to_owned()),
        metadata: Some(json!([1, {"b": null, "a": 2}])),
    }
}

async fn events_are_counted_by_day(store: &dyn Store) {
    let put = |us: i64, n: usize| {
        let by = author(Some("jane"), Some("s1"), Rank::Claimed, us);
        async move { store.put_events(&org(), &by, vec![event("click"); n]).await.unwrap().unwrap() }
    };
    put(1, 100).await;
    put(2 * DAY, 1).await;
    put(2 * DAY + 1_000_000, 2).await;
    let jane = store.find_user(&org(), &external("jane")).await.unwrap().unwrap();
    assert_eq!((jane.first_seen, jane.last_seen), (Some(at(1)), Some(at(2 * DAY + 1_000_000))));
    let day = |day, events| ActivityDay { day: first_day() + day, events, ..ActivityDay::default() };
    assert_eq!(store.list_activity(&org(), &jane.id, 0).await.unwrap(), [day(0, 100), day(2, 3)]);
    assert_eq!(store.list_activity(&org(), &jane.id, first_day() + 1).await.unwrap(), [day(2, 3)]);
    let newest = store.list_events(&org(), &jane.id, None, 4).await.unwrap();
    assert_eq!(newest.len(), 4);
    assert_eq!(newest[0].created_at, at(2 * DAY + 1_000_000));
    assert_eq!(newest[0].metadata, Some(json!([1, {"b": null, "a": 2}])));
    let rest = store.list_events(&org(), &jane.id, Some(newest[3].id.as_str()), 1_000).await.unwrap();
    assert_eq!(rest.len(), 99);
}

async fn a_session_goes_to_its_user(store: &dyn Store) {
    let nobody = |session| author(None, Some(session), Rank::Claimed, DAY);
    for session in ["s1", "s2"] {
        store
            .put_events(&org(), &nobody(session), vec![event("click"), event("view")])
            .await
            .unwrap()
            .unwrap();
        let write = conversation(
            &format!("c-{session}"),
            nobody(session),
            vec![said(Role::User, "x"), said(Role::Assistant, "y")],
        );
        store.put_conversation(&org(), write).await.unwrap().unwrap();
    }
    let company = company(store, "acme", json!({}), 1).await;
    let source = from(Rank::Server, 2);
    let jane =
        store.put_user(&org(), &external("jane"), &traits(json!({})), Some(&company), &source).await.unwrap();
    let link = || async { store.link_session(&org(), "s1", &jane.id, Rank::Claimed, at(2 * DAY)).await };
    let linked = link().await.unwrap();
    assert_eq!((linked.conversations, linked.tickets, linked.events), (1, 0, 2));
    assert_eq!(link().await.unwrap(), Default::default(), "once");
    let owner = Owner::Company(company);
    let found = store.list_conversations(&org(), &owner, None, 9).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].external_id.as_deref(), &found[0].user_id), (Some("c-s1"), &Some(jane.id.clone())));
    let days = store.list_activity(&org(), &jane.id, 0).await.unwrap();
    assert_eq!(
        days,
        [ActivityDay { day: first_day() + 1, events: 2, messages: 1, ..ActivityDay::default() }]
    );
    assert_eq!(store.list_events(&org(), &jane.id, None, 9).await.unwrap().len(), 2);
    // Another's session is not anybody's.
    let eve = store.put_user(&org(), &external("eve"), &traits(json!({})), None, &source).await.unwrap();
    let nothing = store.link_session(&org(), "s1", &eve.id, Rank::Server, at(3 * DAY)).await.unwrap();
    assert_eq!(nothing, Default::default());
}

async fn old_events_go(store: &dyn Store) {
    for us in [1, DAY, 2 * DAY] {
        let by = author(Some("jane"), None, Rank::Server, us);
        store.put_events(&org(), &by, vec![event("click"); 3]).await.unwrap().unwrap();
    }
    let jane = user_id(store, "jane").await;
    assert_eq!(store.prune_events(&org(), at(2 * DAY), 4).await.unwrap(), 4);
    assert_eq!(store.prune_events(&org(), at(2 * DAY), 4).await.unwrap(), 2);
    assert_eq!(store.prune_events(&org(), at(2 * DAY), 4).await.unwrap(), 0);
    assert_eq!(store.list_events(&org(), &jane, None, 99).await.unwrap().len(), 3);
    assert_eq!(store.list_activity(&org(), &jane, 0).await.unwrap().len(), 3, "the days stay longer");
    assert_eq!(store.prune_activity(&org(), first_day() + 2, 1).await.unwrap(), 1);
    assert_eq!(store.prune_activity(&org(), first_day() + 2, 9).await.unwrap(), 1);
    assert_eq!(store.list_activity(&org(), &jane, 0).await.unwrap().len(), 1);
}

async fn full(store: &dyn Store, user: &str, us: i64) {
    let by = || author(Some(user), Some("s"), Rank::Server, us);
    store.put_events(&org(), &by(), vec![event("click")]).await.unwrap().unwrap();
    let write = conversation(&format!("c-{user}"), by(), vec![said(Role::User, "x")]);
    store.put_conversation(&org(), write).await.unwrap().unwrap();
    store.put_ticket(&org(), ticket(by(), None)).await.unwrap().unwrap();
}

async fn what_is_a_users_goes_with_the_user(store: &dyn Store) {
    full(store, "jane", 1).await;
    full(store, "eve", 1).await;
    let (jane, eve) = (user_id(store, "jane").await, user_id(store, "eve").await);
    store.delete_conversations_of_user(&org(), &jane).await.unwrap();
    for (user, left) in [(&jane, 0), (&eve, 1)] {
        let owner = Owner::User(user.clone());
        assert_eq!(store.list_conversations(&org(), &owner, None, 9).await.unwrap().len(), left);
        assert_eq!(store.list_tickets(&org(), &owner, None, 9).await.unwrap().len(), left);
        assert_eq!(store.list_events(&org(), user, None, 9).await.unwrap().len(), left);
        assert_eq!(store.list_activity(&org(), user, 0).await.unwrap().len(), left);
    }
    assert_eq!(store.find_conversation(&org(), &ConversationRef::parse("c-jane")).await.unwrap(), None);
}

async fn a_company_leaves_what_is_its_users(store: &dyn Store) {
    let company = company(store, "acme", json!({}), 1).await;
    let source = from(Rank::Server, 2);
    store.put_user(&org(), &external("jane"), &traits(json!({})), Some(&company), &source).await.unwrap();
    full(store, "jane", 3).await;
    let nobody = Author { company: Some(external("acme")), ..author(None, Some("s2"), Rank::Server, 4) };
    let write = conversation("c-nobody", nobody, vec![said(Role::User, "x")]);
    store.put_conversation(&org(), write).await.unwrap().unwrap();
    let of_company = Owner::Company(company.clone());
    assert_eq!(store.list_conversations(&org(), &of_company, None, 9).await.unwrap().len(), 2);
    store.delete_conversations_of_company(&org(), &company).await.unwrap();
    assert_eq!(store.list_conversations(&org(), &of_company, None, 9).await.unwrap().len(), 0);
    assert_eq!(store.list_tickets(&org(), &of_company, None, 9).await.unwrap().len(), 0);
    assert_eq!(store.find_conversation(&org(), &ConversationRef::parse("c-nobody")).await.unwrap(), None);
    let jane = Owner::User(user_id(store, "jane").await);
    assert_eq!(store.list_conversations(&org(), &jane, None, 9).await.unwrap().len(), 1);
    assert_eq!(store.list_tickets(&org(), &jane, None, 9).await.unwrap().len(), 1);
}

async fn organisations_do_not_see_each_other(store: &dyn Store) {
    let other: OrgId = "org_b".into();
    store.put_org(&other, "B", &json!({}), at(0)).await.unwrap();
    full(store, "jane", 1).await;
    let jane = user_id(store, "jane").await;
    let mine = store.find_conversation(&org(), &ConversationRef::parse("c-jane")).await.unwrap().unwrap();
    for conversation in [ConversationRef::parse("c-jane"), ConversationRef::Id(mine.id.clone())] {
        assert_eq!(store.find_conversation(&other, &conversation).await.unwrap(), None);
    }
    assert!(store.list_messages(&other, &mine.id, 0, 9).await.unwrap().is_empty());
    let owner = Owner::User(jane.clone());
    assert!(store.list_conversations(&other, &owner, None, 9).await.unwrap().is_empty());
    assert!(store.list_tickets(&other, &owner, None, 9).await.unwrap().is_empty());
    assert!(store.list_events(&other, &jane, None, 9).await.unwrap().is_empty());
    assert!(store.list_activity(&other, &jane, 0).await.unwrap().is_empty());
    let theirs = author(None, None, Rank::Server, 2);
    let theirs = Author { user: Some(Lookup::Id(jane.0.clone())), ..theirs };
    let write = conversation(mine.id.as_str(), theirs.clone(), Vec::new());
    assert!(store.put_conversation(&other, write).await.unwrap().is_err());
    assert!(store.begin_turn(&other, turn(theirs, "x")).await.unwrap().is_err());
    let end = TurnEnd { conversation_id: mine.id.clone(), text: "x".to_owned(), complete: true, at: at(3) };
    store.finish_turn(&other, end).await.unwrap();
    store.delete_conversations_of_user(&other, &jane).await.unwrap();
    assert_eq!(texts(store, "c-jane").await.len(), 1);
    let stamp =
        store.find_view_stamp(&other, Some(&Lookup::Id(jane.0)), Some(&external("acme"))).await.unwrap();
    assert_eq!(stamp, ViewStamp::default());
}

async fn a_stamp_changes_with_what_it_stands_for(store: &dyn Store) {
    let acme = company(store, "acme", json!({"plan": "Pro"}), 1).await;
    company(store, "other", json!({}), 1).await;
    let (jane, named) = (external("jane"), external("other"));
    let stamp = |user: Option<Lookup>, company: Option<Lookup>| async move {
        let found = store.find_view_stamp(&org(), user.as_ref(), company.as_ref()).await.unwrap();
        let view = store.load_chat_view(&org(), user.as_ref(), company.as_ref()).await.unwrap();
        assert_eq!(found, view.stamp, "one statement says what the whole view says");
        assert_eq!(view.view.user.map(|user| user.id.0), found.user.as_ref().map(|user| user.0.clone()));
        assert_eq!(
            view.view.company.map(|company| company.id.0),
            found.company.as_ref().map(|row| row.0.clone())
        );
        found
    };
    assert_eq!(stamp(Some(jane.clone()), None).await, ViewStamp::default());
    assert_eq!(stamp(None, None).await, ViewStamp::default());
    let put = |values, company: Option<&halo_sync::domain::CompanyId>, us| {
        let (jane, company) = (jane.clone(), company.cloned());
        async move {
            let source = from(Rank::Server, us);
            store.put_user(&org(), &jane, &traits(values), company.as_ref(), &source).await.unwrap()
        }
    };
    let user = put(json!({"role": "admin"}), None, 2).await;
    let alone = stamp(Some(jane.clone()), None).await;
    assert!(alone.user.is_some() && alone.company.is_none());
    // A company that is named counts where the user has none.
    let with_named = stamp(Some(jane.clone()), Some(named.clone())).await;
    assert!(with_named.company.is_some() && with_named.user == alone.user);
    put(json!({}), Some(&acme), 3).await;
    let linked = stamp(Some(jane.clone()), Some(named)).await;
    assert_eq!(linked.company.as_ref().map(|row| row.0.as_str()), Some(acme.as_str()));
    assert_ne!(linked.user, alone.user);
    assert_eq!(stamp(Some(Lookup::Id(user.id.0)), Some(Lookup::Id(acme.0.clone()))).await, linked);
    company(store, "acme", json!({"plan": "Team"}), 4).await;
    let changed = stamp(Some(jane.clone()), None).await;
    assert!(changed.company != linked.company && changed.user == linked.user);
    company(store, "acme", json!({"plan": "Team"}), 5).await;
    assert_eq!(stamp(Some(jane.clone()), None).await, changed, "the same again is no change");
    put(json!({"role": "viewer"}), None, 6).await;
    assert_ne!(stamp(Some(jane), None).await.user, changed.user);
}
