//! Sessions of people who were not known when they began, and what goes with whom they turned out to be.

use connector_sdk::Timestamp;

use super::{Conn, user_events};
use crate::domain::users::EndUser;
use crate::domain::{CompanyId, OrgId, Rank, UserId};
use crate::store::Result;

/// A session that turned out to be a user's.
pub(crate) struct Session<'a> {
    /// Its id.
    pub(crate) id: &'a str,
    /// Whose it is.
    pub(crate) user: &'a UserId,
    /// Whose word that is.
    pub(crate) rank: Rank,
    /// Now.
    pub(crate) at: Timestamp,
}

/// Makes what was said in sessions, while nobody knew by whom, the users'.
pub(crate) async fn link_sessions(c: &mut Conn, org: &OrgId, sessions: &[Session<'_>]) -> Result<()> {
    for session in sessions {
        user_events::link_session(c, org, session.id, session.user, session.rank, session.at).await?;
    }
    Ok(())
}

/// Deletes what was said by a user.
pub(crate) async fn erase_user(c: &mut Conn, org: &OrgId, user: &EndUser) -> Result<()> {
    user_events::delete_of_user(c, org, &user.id).await
}

/// Deletes what was said about a company.
pub(crate) async fn erase_company(c: &mut Conn, org: &OrgId, company: &CompanyId) -> Result<()> {
    user_events::delete_of_company(c, org, company).await
}
