//! Sessions of people who were not known when they began.

use super::Conn;
use crate::domain::users::EndUser;
use crate::domain::{CompanyId, OrgId, UserId};
use crate::store::Result;

statements! {}

/// Makes what was said in sessions, while nobody knew by whom, the users'.
pub(crate) async fn link_sessions(_c: &mut Conn, _org: &OrgId, _sessions: &[(&str, &UserId)]) -> Result<()> {
    Ok(())
}

/// Deletes what was said by a user.
pub(crate) async fn erase_user(_c: &mut Conn, _org: &OrgId, _user: &EndUser) -> Result<()> {
    Ok(())
}

/// Deletes what was said about a company.
pub(crate) async fn erase_company(_c: &mut Conn, _org: &OrgId, _company: &CompanyId) -> Result<()> {
    Ok(())
}
