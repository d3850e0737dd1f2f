//! The SDK API and what is around it, over the real router.

mod matrix;
mod openapi;
mod trust;
