//! `halo-sync derive`.

use std::path::PathBuf;

use super::cli::STDIN_HINT;
use super::host::{Access, Host};
use super::{App, CommandError, ExitCode, read_text};
use crate::derive::{self, Derivation, cases};
use crate::domain::companies::Company;
use crate::recompute::{LookError, Recompute};
use crate::service::find_company;

/// What is given to `derive`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("of").required(true).args(["company", "input"])))]
pub struct Args {
    /// Which company: its id (`cmp_…`) or the id that your product gave
    #[arg(long)]
    pub company: Option<String>,
    /// A case, an array of cases or a case file as JSON; answers one JSON object a line
    #[arg(long, value_name = STDIN_HINT)]
    pub input: Option<PathBuf>,
    /// Show the sum line by line: source records, rules, what lost and why
    #[arg(long)]
    pub explain: bool,
}

/// Works a company out and shows it, or answers cases from a file.
///
/// # Errors
///
/// An unknown company; a case that is not understood, which names the member. Cases before it are answered.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    if let Some(file) = &args.input {
        return answer_cases(app, &read_text(file)?, args.explain);
    }
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let host = Host::open(app, loaded, Access::Read).await?;
    let company = find_company(host.store(), &host.org, args.company.as_deref().unwrap_or_default()).await?;
    let derivation = look(app, &host, &company).await?;
    if app.out.is_json() {
        return app.out.json(&derivation);
    }
    let text = if args.explain {
        derive::explain(&derivation)
    } else {
        let values = serde_json::to_value(&derivation.values).unwrap_or_default();
        let lines = values.as_object().into_iter().flatten().map(|(name, value)| format!("{name} = {value}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    app.out.line(text.trim_end())?;
    if !args.explain {
        app.out.note(&format!("Why:  halo-sync derive --company {} --explain", company.id));
    }
    Ok(())
}

/// Needs neither settings nor a database.
/// A company's derivation, worked out from what is stored.
pub(super) async fn look(app: &App, host: &Host, company: &Company) -> Result<Derivation, CommandError> {
    let services = &host.services;
    let recompute = Recompute::new(services.store.clone(), services.providers.clone(), host.derive.clone());
    let derivation = recompute.look(&host.org, company, app.clock.now()).await.map_err(|e| match e {
        LookError::Store(e) => e.into(),
        LookError::Derive(e) => {
            CommandError::new(ExitCode::Failed, "not_derivable", "the company cannot be derived")
                .why(e.to_string())
        }
    })?;
    derivation.ok_or_else(|| CommandError::not_found(format_args!("company {}", company.id)))
}

fn answer_cases(app: &App, text: &str, explain: bool) -> Result<(), CommandError> {
    let wrong = |e: cases::CaseError| {
        CommandError::new(ExitCode::Failed, "bad_case", "a case cannot be answered").why(e.to_string())
    };
    let cases = cases::Cases::read(text).map_err(wrong)?;
    let connectors: Vec<_> = app.connectors.iter().map(AsRef::as_ref).collect();
    cases::with_connectors(&connectors, |connectors| {
        if explain && !app.out.is_json() {
            for answer in cases.derivations(connectors) {
                let (id, derivation) = answer.map_err(wrong)?;
                app.out.line(&format!("case {id}\n{}", derive::explain(&derivation)))?;
            }
            return Ok(());
        }
        for answer in cases.answers(connectors) {
            app.out.json(&answer.map_err(wrong)?)?;
        }
        Ok(())
    })
}
