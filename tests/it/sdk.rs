//! The SDK API and what is around it, over the real router.

mod openapi;
