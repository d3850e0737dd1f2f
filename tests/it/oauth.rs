//! Connections that a person grants at the provider: the way there and back, tokens that renew themselves once an
//! expiry, and their end.

mod callbacks;
mod commands;
mod life;
mod renewals;
mod stand;
