//! What commands print: data to stdout, everything else to stderr.
//!
//! With `--json` data is one JSON object a line, so that lists stream and `jq` works; without it lists are
//! aligned columns. Notes (`note`) are for people: they go to stderr and `--quiet` drops them.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::json;

use super::CommandError;

/// When colour is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` says otherwise; `CLICOLOR_FORCE` forces it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether a stream gets colour. `var` reads the environment.
    pub fn enabled(self, is_terminal: bool, var: impl Fn(&str) -> Option<String>) -> bool {
        let set = |name: &str| var(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if set("NO_COLOR") => false,
            Self::Auto if set("CLICOLOR_FORCE") && var("CLICOLOR_FORCE").as_deref() != Some("0") => true,
            Self::Auto => is_terminal && var("TERM").as_deref() != Some("dumb"),
        }
    }
}

/// How an [`Output`] prints.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// No notes.
    pub quiet: bool,
    /// Colour on stdout.
    pub stdout_colour: bool,
    /// Colour on stderr.
    pub stderr_colour: bool,
    /// Whether stderr is a terminal, where progress may move.
    pub stderr_terminal: bool,
}

/// Where a command prints.
pub struct Output {
    style: Style,
    stdout: Mutex<Box<dyn Write + Send>>,
    stderr: Mutex<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("style", &self.style).finish_non_exhaustive()
    }
}

/// A column of a list: its heading and the cell of a row.
pub type Column<'a, T> = (&'a str, &'a dyn Fn(&T) -> String);

impl Output {
    /// Prints to the given streams.
    pub fn new(style: Style, stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self { style, stdout: Mutex::new(stdout), stderr: Mutex::new(stderr) }
    }

    /// Whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.style.json
    }

    /// Whether progress may move: stderr is a terminal, and neither `--json` nor `--quiet` was given.
    pub fn is_lively(&self) -> bool {
        self.style.stderr_terminal && !self.style.quiet && !self.style.json
    }

    /// A line of data.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written; a reader that has gone is [`CommandError::is_broken_pipe`].
    pub fn line(&self, text: &str) -> Result<(), CommandError> {
        let mut out = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(out, "{text}")?;
        out.flush()?;
        Ok(())
    }

    /// Bytes of data as they are, without a line end of ours.
    ///
    /// # Errors
    ///
    /// As [`Output::line`].
    pub fn raw(&self, bytes: &[u8]) -> Result<(), CommandError> {
        let mut out = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// One JSON object on one line, with and without `--json`.
    ///
    /// # Errors
    ///
    /// As [`Output::line`].
    pub fn json(&self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string(value)
            .map_err(|e| CommandError::from(anyhow::Error::new(e).context("the answer is not JSON")))?;
        self.line(&text)
    }

    /// One thing: its JSON with `--json`, else the text that `text` makes of it.
    ///
    /// # Errors
    ///
    /// As [`Output::line`].
    pub fn one<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), CommandError> {
        if self.style.json { self.json(value) } else { self.line(&text(value)) }
    }

    /// A list: a JSON object a line with `--json`, else aligned columns under headings. An empty list prints
    /// no heading to stdout; `empty` is the note that says what belongs here and what to type.
    ///
    /// # Errors
    ///
    /// As [`Output::line`].
    pub fn list<T: Serialize>(
        &self,
        rows: &[T],
        columns: &[Column<'_, T>],
        empty: &str,
    ) -> Result<(), CommandError> {
        if self.style.json {
            return rows.iter().try_for_each(|row| self.json(row));
        }
        if rows.is_empty() {
            self.note(empty);
            return Ok(());
        }
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(columns.iter().map(|(heading, _)| self.bold(heading)));
        for row in rows {
            table.add_row(columns.iter().map(|(_, cell)| plain(&cell(row))));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().try_for_each(|line| self.line(line.trim_end()))
    }

    /// A sentence for people, on stderr. Dropped by `--quiet`; stderr that is gone is no failure.
    pub fn note(&self, text: &str) {
        if !self.style.quiet {
            self.say(text);
        }
    }

    /// What clap says, with its own colours where stderr has them.
    pub(super) fn clap_text(&self, error: &clap::Error) -> String {
        let (answer, colour) = match error.use_stderr() {
            true => (error.render(), self.style.stderr_colour),
            false => (error.render(), self.style.stdout_colour),
        };
        if colour { answer.ansi().to_string() } else { answer.to_string() }
    }

    /// A text for people, on stderr, also with `--quiet`.
    pub(super) fn usage(&self, text: &str) {
        self.say(text);
    }

    /// A warning for people, on stderr, also with `--quiet`.
    pub fn warn(&self, text: &str) {
        self.say(&format!("{} {text}", self.paint("33", "warning:")));
    }

    /// An error in three parts, or as one JSON object with `--json`.
    pub fn error(&self, error: &CommandError) {
        if self.style.json {
            self.say(&json!(error).to_string());
            return;
        }
        let mut text = format!("{} {}", self.paint("31", "error:"), plain(&error.message));
        if let Some(why) = &error.why {
            for (i, line) in why.lines().enumerate() {
                text.push_str(if i == 0 { "\n  why: " } else { "\n       " });
                text.push_str(&plain(line));
            }
        }
        if let Some(hint) = &error.what_to_type {
            text.push_str("\n  try: ");
            text.push_str(hint);
        }
        self.say(&text);
    }

    fn say(&self, text: &str) {
        let mut err = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(err, "{text}").and_then(|()| err.flush());
    }

    fn bold(&self, text: &str) -> String {
        if self.style.stdout_colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.style.stderr_colour { format!("\u{1b}[1;{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Text that came from outside, without what would steer a terminal or break a column.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    /// A stream that keeps what is written.
    #[derive(Clone, Default)]
    pub(in crate::commands) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(in crate::commands) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn output(style: Style) -> (Output, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        (Output::new(style, Box::new(out.clone()), Box::new(err.clone())), out, err)
    }

    #[derive(Serialize)]
    struct Company {
        name: &'static str,
        plan: &'static str,
    }

    const COLUMNS: &[Column<'_, Company>] =
        &[("NAME", &|c: &Company| c.name.to_owned()), ("PLAN", &|c: &Company| c.plan.to_owned())];

    #[test]
    fn lists_are_columns_or_json_lines() {
        let rows = [Company { name: "Acme", plan: "Pro" }, Company { name: "\u{1b}[31mB\nC", plan: "" }];
        let (text, out, err) = output(Style::default());
        text.list(&rows, COLUMNS, "none").unwrap();
        assert_eq!(out.text(), "NAME      PLAN\nAcme      Pro\n [31mB C\n");
        assert_eq!(err.text(), "");

        let (json, out, _) = output(Style { json: true, ..Style::default() });
        json.list(&rows, COLUMNS, "none").unwrap();
        assert_eq!(out.text().lines().count(), 2);
        assert_eq!(out.text().lines().next().unwrap(), r#"{"name":"Acme","plan":"Pro"}"#);
    }

    #[test]
    fn an_empty_list_says_so_to_people_only() {
        let (text, out, err) = output(Style::default());
        text.list::<Company>(&[], COLUMNS, "No companies yet.").unwrap();
        assert_eq!((out.text(), err.text()), (String::new(), "No companies yet.\n".to_owned()));
        let (json, out, err) = output(Style { json: true, ..Style::default() });
        json.list::<Company>(&[], COLUMNS, "No companies yet.").unwrap();
        assert_eq!((out.text(), err.text()), (String::new(), String::new()));
    }

    #[test]
    fn errors_have_three_parts_and_go_to_stderr() {
        let error = CommandError::not_found("company acme").why("first\nsecond").try_this("halo-sync x");
        let (text, out, err) = output(Style::default());
        text.error(&error);
        assert_eq!(
            err.text(),
            "error: there is no company acme\n  why: first\n       second\n  try: halo-sync x\n"
        );
        assert_eq!(out.text(), "");

        let (json, _, err) = output(Style { json: true, ..Style::default() });
        json.error(&error);
        let value: serde_json::Value = serde_json::from_str(&err.text()).unwrap();
        assert_eq!(
            value,
            json!({"exit_code": 1, "code": "not_found", "title": "there is no company acme",
                   "detail": "first\nsecond", "hint": "halo-sync x"})
        );
    }

    #[test]
    fn quiet_drops_notes_but_neither_warnings_nor_errors() {
        let (quiet, _, err) = output(Style { quiet: true, ..Style::default() });
        quiet.note("a note");
        quiet.warn("a warning");
        assert_eq!(err.text(), "warning: a warning\n");
    }

    #[test]
    fn a_reader_that_has_gone_is_a_broken_pipe() {
        let out = Output::new(Style::default(), Box::new(Gone), Box::new(Gone));
        assert!(out.line("x").unwrap_err().is_broken_pipe());
        out.note("nobody hears this");
    }

    #[test]
    fn colour_follows_flag_then_environment_then_terminal() {
        let with = |vars: &'static [(&'static str, &'static str)]| {
            move |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        };
        let auto = ColorChoice::Auto;
        assert!(auto.enabled(true, with(&[])));
        assert!(!auto.enabled(false, with(&[])));
        assert!(!auto.enabled(true, with(&[("NO_COLOR", "1")])));
        assert!(auto.enabled(true, with(&[("NO_COLOR", "")])));
        assert!(!auto.enabled(true, with(&[("TERM", "dumb")])));
        assert!(auto.enabled(false, with(&[("CLICOLOR_FORCE", "1")])));
        assert!(!auto.enabled(false, with(&[("CLICOLOR_FORCE", "0")])));
        assert!(!auto.enabled(false, with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")])));
        assert!(ColorChoice::Always.enabled(false, with(&[("NO_COLOR", "1")])));
        assert!(!ColorChoice::Never.enabled(true, with(&[("CLICOLOR_FORCE", "1")])));
    }
}
