//! Sessions of people who were not known when they began.

use std::collections::BTreeSet;

use connector_sdk::Timestamp;

use super::{Conn, user_events};
use crate::domain::{OrgId, Rank, UserId};
use crate::store::Result;
use crate::store::convert::{clean, json_list};

statements! {
    // Nearly every session that a call names has nothing that nobody owns.
    ORPHANED = concat!("SELECT session_id FROM conversations
            WHERE org_id = $1 AND user_id IS NULL AND session_id IS NOT NULL AND session_id", in_list!("$2"),
        " UNION SELECT session_id FROM tickets
            WHERE org_id = $1 AND user_id IS NULL AND session_id IS NOT NULL AND session_id", in_list!("$2"),
        " UNION SELECT session_id FROM user_events
            WHERE org_id = $1 AND user_id IS NULL AND session_id IS NOT NULL AND session_id", in_list!("$2"));
}

/// Makes what was said and done in sessions, while nobody knew by whom, the users'.
pub(crate) async fn link(
    c: &mut Conn,
    org: &OrgId,
    sessions: &[(&str, Rank, &UserId)],
    at: Timestamp,
) -> Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    let orphaned: Vec<String> = sqlx::query_scalar(ORPHANED)
        .bind(&org.0)
        .bind(json_list(sessions.iter().map(|(session, ..)| session)))
        .fetch_all(&mut *c)
        .await?;
    let orphaned: BTreeSet<String> = orphaned.into_iter().collect();
    for (session, rank, user) in sessions {
        if orphaned.contains(&clean(session)) {
            user_events::link_session(c, org, session, user, *rank, at).await?;
        }
    }
    Ok(())
}
