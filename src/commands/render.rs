//! `halo-sync render`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::cli::STDIN_HINT;
use super::host::{Access, Host};
use super::{App, CommandError, ExitCode, read_text};
use crate::context::{
    CompanyDoc, MergeOptions, Merged, RenderOptions, Rendered, Request, UserDoc, cases, merge, render,
};
use crate::domain::companies::Company;
use crate::http::sdk::PromptSettings;
use crate::service::find_company;
use crate::store::identity::Lookup;

/// What is given to `render`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("of").required(true).multiple(true).args(["company", "user", "input"])))]
pub struct Args {
    /// Which company [default: the user's]
    #[arg(long, conflicts_with = "input")]
    pub company: Option<String>,
    /// Which end user
    #[arg(long, conflicts_with = "input")]
    pub user: Option<String>,
    /// A case, an array of cases or a case file as JSON; answers one JSON object a line
    #[arg(long, value_name = STDIN_HINT)]
    pub input: Option<PathBuf>,
    /// Say where each line comes from, what lost and what was left out
    #[arg(long)]
    pub explain: bool,
    /// Largest size of the text, in tokens as docs/prompt-format.md counts them
    #[arg(long, value_name = "N")]
    pub budget: Option<usize>,
}

/// Renders what is stored, or answers cases from a file.
///
/// # Errors
///
/// An unknown user or company; a case that is not understood, which names the member. Cases before it are
/// answered.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    if let Some(file) = &args.input {
        return answer_cases(app, &read_text(file)?, &args);
    }
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let host = Host::open(app, loaded, Access::Read).await?;
    let company = match &args.company {
        Some(text) => Some(Lookup::Id(find_company(host.store(), &host.org, text).await?.id.0)),
        None => None,
    };
    let user = args.user.as_deref().map(Lookup::parse);
    let view = host.store().load_view(&host.org, user.as_ref(), company.as_ref()).await?;
    if let (None, Some(user)) = (&view.user, &args.user) {
        return Err(CommandError::not_found(format_args!("user {user}")));
    }
    let user = view.user.map(UserDoc::from);
    let company = view.company.map(CompanyDoc::from);
    let prompt = host.prompt_of_org().await?;
    let request = Request::default();
    let options = MergeOptions { reporting_currency: prompt.reporting_currency.clone() };
    let merged = merge(user.as_ref(), company.as_ref(), &request, &prompt.attributes, &options);
    let budget_tokens = args.budget.or(prompt.budget_tokens);
    let rendered = render(&merged, &RenderOptions { budget_tokens, ..RenderOptions::default() });
    print(app, &merged, &rendered, args.explain)
}

/// The text that a chat of a company gets, without a user.
pub(super) fn company_text(prompt: &PromptSettings, company: Company) -> String {
    let company = CompanyDoc::from(company);
    let request = Request::default();
    let options = MergeOptions { reporting_currency: prompt.reporting_currency.clone() };
    let merged = merge(None, Some(&company), &request, &prompt.attributes, &options);
    let budget_tokens = prompt.budget_tokens;
    render(&merged, &RenderOptions { budget_tokens, ..RenderOptions::default() }).text
}

fn print(app: &App, merged: &Merged<'_>, rendered: &Rendered, explain: bool) -> Result<(), CommandError> {
    let mut answer = json!({
        "text": rendered.text,
        "tokens": rendered.tokens,
        "sections": rendered.sections,
        "trimmed": rendered.trimmed,
    });
    if explain && let Some(members) = answer.as_object_mut() {
        members.insert("explain".to_owned(), json!(merged));
    }
    app.out.one(&answer, |_| rendered.text.clone())?;
    if explain && !app.out.is_json() {
        for line in crate::context::explain(merged) {
            app.out.note(&line);
        }
    }
    let trimmed = rendered.trimmed.len();
    app.out.note(&format!(
        "about {} tokens{}",
        rendered.tokens,
        if trimmed > 0 { format!("; {trimmed} sections were trimmed") } else { String::new() }
    ));
    Ok(())
}

/// Needs neither settings nor a database.
fn answer_cases(app: &App, text: &str, args: &Args) -> Result<(), CommandError> {
    let wrong =
        |why: String| CommandError::new(ExitCode::Failed, "bad_case", "a case cannot be answered").why(why);
    let document: Value = serde_json::from_str(text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    for (n, case) in cases::cases(document).map_err(|e| wrong(e.to_string()))?.iter().enumerate() {
        let (id, mut input) = cases::read(case, n).map_err(|e| wrong(e.to_string()))?;
        if args.budget.is_some() {
            input.options.budget_tokens = args.budget;
        }
        input.run(|merged, rendered| {
            let mut answer = json!({
                "id": id,
                "text": rendered.text,
                "tokens": rendered.tokens,
                "sections": rendered.sections,
                "trimmed": rendered.trimmed,
                "refused": merged.refused,
            });
            if args.explain
                && let Some(members) = answer.as_object_mut()
            {
                members.insert("explain".to_owned(), json!(merged));
            }
            app.out.json(&answer)
        })?;
    }
    Ok(())
}
