//! The OpenAPI 3.1 document: written beside the handlers, collected here.
//!
//! A schema is JSON Schema 2020-12, which is OpenAPI 3.1's own dialect and what `schemars` derives from the types
//! that the handlers read and write. What an operation says besides (who may call, its refusals by name, examples,
//! headers) is an [`Operation`]. CONTRIBUTING.md says how to write one.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`Operation`] | what an operation says about itself |
//! | [`Routes`] | routes that cannot be served without being documented |
//! | [`document()`] | the document |
//! | [`page`] | the same for people |

mod document;
mod operation;
pub mod page;
mod routes;
mod serve;

pub use document::document;
pub use operation::{Access, In, Operation, Tag};
pub use routes::Routes;
pub(super) use serve::{operations, serve};
