//! What a command is given.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use connector_sdk::DynConnector;

use super::CommandError;
use super::cli::Global;
use super::output::{ColorChoice, Output, Style};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, FILE_NAME, FileChoice, Flag, Loaded, Sources};
use crate::domain::OrgId;
use crate::telemetry;

/// Makes a stream to print to.
type Stream = Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

/// Everything ambient that a command may touch, named once, so that tests can give their own.
pub struct Invocation {
    /// The command line, program name first.
    pub args: Vec<OsString>,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// Folder in which the settings file is looked for.
    pub dir: PathBuf,
    /// Stdout.
    pub stdout: Stream,
    /// Stderr.
    pub stderr: Stream,
    /// Whether stdin, stdout and stderr are terminals.
    pub terminals: (bool, bool, bool),
    /// Whether logging may be started: once a process.
    pub logs: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The connectors.
    pub connectors: Vec<Arc<dyn DynConnector>>,
}

impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither arguments nor environment: either may hold what nobody should print.
        f.debug_struct("Invocation").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Invocation {
    /// This process's own.
    pub fn of_process(connectors: Vec<Arc<dyn DynConnector>>) -> Self {
        Self {
            args: std::env::args_os().collect(),
            env: std::env::vars_os().collect(),
            dir: PathBuf::new(),
            stdout: Arc::new(|| Box::new(std::io::stdout())),
            stderr: Arc::new(|| Box::new(std::io::stderr())),
            terminals: (
                std::io::stdin().is_terminal(),
                std::io::stdout().is_terminal(),
                std::io::stderr().is_terminal(),
            ),
            logs: true,
            clock: Arc::new(SystemClock),
            connectors,
        }
    }

    fn var(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.to_str().map(str::to_owned))
    }

    /// The style for what clap itself prints, before its result is known.
    pub(super) fn style_before_parsing(&self) -> Style {
        let words: Vec<&str> = self.args.iter().filter_map(|arg| arg.to_str()).collect();
        let colour = words
            .iter()
            .enumerate()
            .find_map(|(i, word)| match word.strip_prefix("--color") {
                Some("") => words.get(i + 1).copied(),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            })
            .map_or(ColorChoice::Auto, |word| match word {
                "always" => ColorChoice::Always,
                "never" => ColorChoice::Never,
                _ => ColorChoice::Auto,
            });
        self.style(words.contains(&"--json"), false, colour)
    }

    fn style(&self, json: bool, quiet: bool, colour: ColorChoice) -> Style {
        let (_, stdout, stderr) = self.terminals;
        Style {
            json,
            quiet,
            stdout_colour: colour.enabled(stdout, |name| self.var(name)),
            stderr_colour: colour.enabled(stderr, |name| self.var(name)),
            stderr_terminal: stderr,
        }
    }

    pub(super) fn output(&self, style: Style) -> Output {
        Output::new(style, (self.stdout)(), (self.stderr)())
    }
}

/// What a command is given: where to print, the settings' sources, time, the connectors.
#[derive(Debug)]
pub struct App {
    /// Where to print.
    pub out: Output,
    /// The global flags.
    pub global: Global,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The connectors.
    pub connectors: Connectors,
    sources: Sources,
    style: Style,
    stdin_terminal: bool,
    logs: bool,
}

/// The list of connectors.
#[derive(Clone)]
pub struct Connectors(pub Vec<Arc<dyn DynConnector>>);

impl std::fmt::Debug for Connectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|connector| connector.spec().id)).finish()
    }
}

impl std::ops::Deref for Connectors {
    type Target = [Arc<dyn DynConnector>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl App {
    pub(super) fn new(invocation: Invocation, global: Global, own_settings: Vec<Flag>) -> Self {
        let style = invocation.style(global.json, global.quiet, global.color);
        let file = match &global.config {
            Some(path) => FileChoice::Required(path.clone()),
            None => FileChoice::IfPresent(invocation.dir.join(FILE_NAME)),
        };
        let mut flags = global.settings();
        flags.extend(own_settings);
        Self {
            out: invocation.output(style),
            clock: Arc::clone(&invocation.clock),
            connectors: Connectors(invocation.connectors.clone()),
            stdin_terminal: invocation.terminals.0,
            logs: invocation.logs,
            sources: Sources { file, env: invocation.env, flags },
            style,
            global,
        }
    }

    /// The environment's variables.
    pub(super) fn env(&self) -> &[(std::ffi::OsString, std::ffi::OsString)] {
        &self.sources.env
    }

    /// The settings, read now.
    ///
    /// # Errors
    ///
    /// Exit code 6: names every mistake and where it stands.
    pub fn settings(&self) -> Result<Loaded, CommandError> {
        Ok(Config::load(&self.sources)?)
    }

    /// The organisation that the command acts for.
    pub fn org(&self, config: &Config) -> OrgId {
        OrgId::from(config.orgs.default.as_str())
    }

    /// Whether a question may be asked: a person sits at the terminal and did not say `--no-input`.
    pub fn may_ask(&self) -> bool {
        self.stdin_terminal && self.style.stderr_terminal && !self.global.no_input && !self.global.json
    }

    /// Starts logging. A service logs by `log.level`; a command that ends by itself logs warnings, unless
    /// `-v` or the setting asks for more.
    ///
    /// # Errors
    ///
    /// Logging that was started before.
    pub fn start_logs(&self, loaded: &Loaded, service: bool) -> Result<(), CommandError> {
        if !self.logs {
            return Ok(());
        }
        let log = &loaded.config.log;
        let set = loaded.origin("log.level") != crate::config::Origin::Default;
        let level = match (self.global.verbose, self.global.quiet) {
            (0, true) => "error",
            (0, false) if service || set => &log.level,
            (0, false) => "warn",
            (1, _) if service => "debug",
            (1, _) => "info,halo_sync=debug",
            (_, _) => "debug,halo_sync=trace",
        };
        telemetry::init_logs(level, log.format, self.style.stderr_colour)
            .map_err(|why| CommandError::from(anyhow::anyhow!(why).context("cannot start logging")))
    }
}
