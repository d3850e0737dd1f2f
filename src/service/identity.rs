//! Identity secrets: what a customer's backend signs `user_token` with.

use connector_sdk::Timestamp;

use crate::store::settings::SealedSecret;
use crate::store::trust::OrgTrust;

/// The name that identity secrets are kept under.
pub const IDENTITY: &str = "identity";

/// The sealed identity secrets of an organisation, with when each stops being accepted.
pub fn sealed(trust: &OrgTrust) -> impl Iterator<Item = (&SealedSecret, Option<Timestamp>)> {
    let identity = trust.secrets.iter().filter(|stored| stored.secret.name == IDENTITY);
    identity.map(|stored| (&stored.secret, stored.secret.expires_at))
}
