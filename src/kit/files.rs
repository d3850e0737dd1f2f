//! The files of the template.

/// A file of a new connector.
pub(super) struct File {
    /// Where it is put, from the connector's folder.
    pub(super) path: &'static str,
    /// What is in it; `acme`, `Acme` and `ACME` stand for the names.
    pub(super) text: &'static str,
}

macro_rules! files {
    ($($path:literal $(from $template:literal)?),* $(,)?) => {
        [$(files!(@file $path $(, $template)?)),*]
    };
    (@file $path:literal) => { files!(@file $path, $path) };
    (@file $path:literal, $template:literal) => {
        File { path: $path, text: include_str!(concat!("template/", $template)) }
    };
}

pub(super) static COMMON: [File; 15] = files![
    "Cargo.toml",
    "README.md",
    "fixtures/accounts.json",
    "fixtures/subscriptions.json",
    "src/client.rs",
    "src/config.rs",
    "src/facts.rs",
    "src/lib.rs",
    "src/session.rs",
    "src/streams.rs",
    "tests/it/conformance.rs",
    "tests/it/main.rs",
    "tests/it/meaning.rs",
    "tests/it/server.rs",
    "tests/it/support.rs",
];

pub(super) static API_KEY: [File; 1] = files!["src/auth.rs" from "src/auth_api_key.rs"];

pub(super) static OAUTH2: [File; 1] = files!["src/auth.rs" from "src/auth_oauth2.rs"];

pub(super) static CURSOR: [File; 2] = files![
    "src/paging.rs" from "src/paging_cursor.rs",
    "tests/it/paging.rs" from "tests/it/paging_cursor.rs",
];

pub(super) static OFFSET: [File; 2] = files![
    "src/paging.rs" from "src/paging_offset.rs",
    "tests/it/paging.rs" from "tests/it/paging_offset.rs",
];

pub(super) static PAGE: [File; 2] = files![
    "src/paging.rs" from "src/paging_page.rs",
    "tests/it/paging.rs" from "tests/it/paging_page.rs",
];

pub(super) static LINK: [File; 2] = files![
    "src/paging.rs" from "src/paging_link.rs",
    "tests/it/paging.rs" from "tests/it/paging_link.rs",
];
