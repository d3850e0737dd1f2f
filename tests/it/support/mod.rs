//! What several test modules need.

pub(crate) mod app;
pub(crate) mod clock;
pub(crate) mod installation;
pub(crate) mod model;
pub(crate) mod postgres;
pub(crate) mod program;
mod required;
pub(crate) mod truth;

pub(crate) use required::required;
