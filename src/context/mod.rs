//! From what is known of a customer to the text that an AI support agent reads.
//!
//! [`merge()`] lays a request over the stored user and company; [`render()`] prints the result. Both are
//! pure: no store, no HTTP, no clock. Same input, same bytes. The chat route, the dashboard and the command
//! line call them. The format, its grammar and its limits are specified in `docs/prompt-format.md`.
//!
//! ```
//! use halo_sync::context::{MergeOptions, RenderOptions, Request, UserDoc, merge, render};
//!
//! let user: UserDoc = serde_json::from_str(r#"{"name": "Jane", "custom_fields": {"space_id": "s_1"}}"#)?;
//! let (request, options) = (Request::default(), MergeOptions::default());
//! let merged = merge(Some(&user), None, &request, &[], &options);
//! let rendered = render(&merged, &RenderOptions::default());
//! assert_eq!(rendered.text, "[User Profile]\nName: Jane\nSpace ID: s_1");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`input`] | what merge takes |
//! | [`fields`] | recognised fields, their order, system-managed fields |
//! | [`merge`](mod@merge) | who wins, and who lost to whom |
//! | [`render`](mod@render) | sections, headers, limits, token budget |
//! | [`explain`](mod@explain) | where each line comes from, in words |
//! | [`names`] | how keys are humanised |
//! | [`money`] | amounts |
//! | [`cases`] | cases in files, as `render --input` reads them |

mod body;
mod budget;
pub mod cases;
pub mod explain;
pub mod fields;
pub mod input;
pub mod merge;
pub mod money;
pub mod names;
pub mod render;
mod sanitise;
mod text;

pub use explain::explain;
pub use fields::Scope;
pub use input::{AttributeInfo, CompanyDoc, CompanyPart, KeyClass, PromptSettings, Request, UserDoc};
pub use merge::{MergeOptions, Merged, merge};
pub use render::{RenderOptions, Rendered, Section, render};
pub use sanitise::TEXT_CHARS;
