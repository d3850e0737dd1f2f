//! `halo-sync sdk`.

use clap::Subcommand;
use serde::Serialize;
use url::Url;

use super::{App, CommandError};
use crate::domain::connections::KeyClass;
use crate::http::browser::{self, STUB, SdkFile};
use crate::service::keys;

/// What is given to `sdk`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to show of the browser SDK.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// What to paste into pages: the tag with its hash, and the form without inline scripts
    Snippet {
        /// Where pages reach this server [default: the setting server.public_url, else the address of `serve`]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// The publishable key to put in (`ab_live_…`)
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// A global name of the SDK beside HaloSync, for pages that were written for it (`HaloAgents`)
        #[arg(long, value_name = "NAME")]
        alias: Option<String>,
    },
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Snippet {
    /// The server.
    url: String,
    /// For `<script>`.
    script: Form,
    /// For `import`.
    module: Form,
    /// What a content security policy must allow.
    content_security_policy: String,
}

#[derive(Debug, Serialize)]
struct Form {
    /// The address that never changes.
    src: String,
    integrity: String,
    /// As it goes into the page.
    html: String,
    /// As it goes into a file of the page's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    javascript: Option<String>,
}

/// Prints what goes into pages.
///
/// # Errors
///
/// An address, a key or a name that cannot be put into a page.
pub fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let Action::Snippet { url, key, alias } = args.action;
    let loaded = app.settings()?;
    let server = &loaded.config.server;
    let base =
        url.or_else(|| server.public_url.clone()).unwrap_or_else(|| format!("http://{}", server.listen));
    let snippet = Snippet::new(&base_of(&base)?, &key_of(key)?, &global_of(alias)?);
    app.out.one(&snippet, |snippet| {
        format!(
            "<!-- 1. In every page, as high as can be. -->\n{}\n\n\
             <!-- 2. Or, without inline scripts (and without the global): -->\n{}\n\n\
             // halo.js, a file of your own\n{}\n\n\
             <!-- A content security policy must allow: {} -->",
            snippet.script.html,
            snippet.module.html,
            snippet.module.javascript.as_deref().unwrap_or_default(),
            snippet.content_security_policy,
        )
    })
}

fn base_of(text: &str) -> Result<String, CommandError> {
    match Url::parse(text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none() =>
        {
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        _ => Err(CommandError::usage(format!("{text:?} is not an http or https address"))
            .try_this("halo-sync sdk snippet --url https://halo.example.com")),
    }
}

fn key_of(key: Option<String>) -> Result<String, CommandError> {
    let begins = keys::prefix(KeyClass::Publishable);
    let Some(key) = key else { return Ok(format!("{begins}…")) };
    match key.strip_prefix(begins) {
        Some(rest) if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
            Ok(key)
        }
        // What was given is not said again: it may be a secret.
        _ => Err(CommandError::usage(format!("only a publishable key ({begins}…) may be in a page"))
            .try_this("halo-sync keys create --class publishable --name NAME")),
    }
}

/// The global that the page calls, and whether it is another than the SDK's own.
fn global_of(alias: Option<String>) -> Result<String, CommandError> {
    let name = alias.unwrap_or_else(|| "HaloSync".to_owned());
    let letter = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$');
    if name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Ok(name);
    }
    Err(CommandError::usage(format!("{name:?} cannot be the name of a global"))
        .try_this("halo-sync sdk snippet --alias HaloAgents"))
}

impl Snippet {
    fn new(base: &str, key: &str, global: &str) -> Self {
        let src = |file: &SdkFile| format!("{base}/sdk/{}", file.hashed);
        let (script, module) = (browser::script(), browser::module());
        let init =
            format!("init({{ apiKey: \"{key}\", userId: \"user_123\", companyId: \"company_456\" }});");
        let alias = if global == "HaloSync" { String::new() } else { format!(" data-alias=\"{global}\"") };
        let origin =
            Url::parse(base).map_or_else(|_| base.to_owned(), |url| url.origin().ascii_serialization());
        Self {
            url: base.to_owned(),
            script: Form {
                html: format!(
                    "<script>{}</script>\n\
                     <script async src=\"{}\" integrity=\"{}\" crossorigin=\"anonymous\"{alias}></script>\n\
                     <script>\n{global}.{init}\n</script>",
                    STUB.replace("\"HaloSync\"", &format!("\"{global}\"")),
                    src(script),
                    script.integrity,
                ),
                src: src(script),
                integrity: script.integrity.clone(),
                javascript: None,
            },
            module: Form {
                html: format!(
                    "<link rel=\"modulepreload\" href=\"{}\" integrity=\"{}\" crossorigin=\"anonymous\">\n\
                     <script type=\"module\" src=\"/halo.js\"></script>",
                    src(module),
                    module.integrity,
                ),
                src: src(module),
                integrity: module.integrity.clone(),
                javascript: Some(format!("import {{ init }} from \"{}\";\n{init}", src(module))),
            },
            content_security_policy: format!("script-src 'self' {origin}; connect-src {origin}"),
        }
    }
}
