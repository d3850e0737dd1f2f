//! A running tap.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connector_sdk::{ConnectorError, Programs};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::session::Running;
use crate::workplace::{Redaction, Workplace};

/// Lines of standard error that an error quotes, and characters of each.
const LAST_LINES: usize = 5;
const LINE_CHARS: usize = 300;
/// Bytes of a line of standard error that are looked at.
const KEPT_BYTES: usize = 64 << 10;
/// How long a tap may live on after it closed its output.
const END: Duration = Duration::from_secs(10);
/// What there is of the system, for every tap the same.
const ENV: [(&str, &str); 3] = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("TZ", "UTC")];

/// A program under its keeper. Dropping it ends it, with everything that it started.
pub(crate) struct Tap {
    child: Child,
    /// The keeper ends the tap when this is closed.
    _lifeline: Option<ChildStdin>,
    out: BufReader<ChildStdout>,
    line: Vec<u8>,
    last: Arc<Mutex<VecDeque<String>>>,
    errors: JoinHandle<()>,
    most: usize,
    idle: Duration,
    total: Duration,
    started: Instant,
    heard: Instant,
}

/// What comes from a tap.
pub(crate) enum Heard {
    /// A line, without its end.
    Line(Vec<u8>),
    /// Nothing, in the time that was given.
    Quiet,
    /// The output is closed. What stood behind the last end of a line comes with it.
    End(Vec<u8>),
}

impl Tap {
    /// Starts a program. The folder is removed when it has ended.
    pub(crate) fn start<A: AsRef<OsStr>>(
        programs: &Programs,
        program: &Path,
        place: Workplace,
        args: impl IntoIterator<Item = A>,
        redaction: Redaction,
    ) -> Result<Self, ConnectorError> {
        let [keeper, rest @ ..] = programs.keeper.as_slice() else {
            return Err(ConnectorError::Config(
                "tap: this system does not say where halo-sync's own program is, which keeps taps".to_owned(),
            ));
        };
        let mut command = Command::new(keeper);
        command.args(rest).arg(programs.memory.to_string()).arg(place.path()).arg(program).args(args);
        command.env_clear().envs(ENV).envs(programs.env.iter().map(|(name, value)| (name, value)));
        command.env("HOME", place.path()).env("TMPDIR", place.path()).current_dir(place.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let failed = |error| ConnectorError::Transient(format!("the tap cannot be started: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        // From here on the keeper removes it.
        place.hand_over();
        let lifeline = child.stdin.take();
        let (Some(out), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(ConnectorError::Transient("the tap has no output".to_owned()));
        };
        let last: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let errors = tokio::spawn(listen(errors, last.clone(), redaction));
        let now = Instant::now();
        Ok(Self {
            child,
            _lifeline: lifeline,
            out: BufReader::with_capacity(64 << 10, out),
            line: Vec::new(),
            last,
            errors,
            most: programs.line,
            idle: programs.idle,
            total: programs.total,
            started: now,
            heard: now,
        })
    }

    /// The next line, waited for until then.
    pub(crate) async fn hear(&mut self, until: Instant) -> Result<Heard, ConnectorError> {
        let (silent, over) = (self.heard + self.idle, self.started + self.total);
        let limit = until.min(silent).min(over);
        loop {
            // A tap that always has something to say must not have the page for ever.
            let now = Instant::now();
            let come = if now < limit { timeout_at(limit, self.out.fill_buf()).await.ok() } else { None };
            let Some(buffer) = come else {
                let now = Instant::now();
                let what = match (now >= over, now >= silent) {
                    (true, _) => format!("ran for more than {} s (singer.run_seconds)", self.total.as_secs()),
                    (_, true) => format!("said nothing for {} s (singer.idle_seconds)", self.idle.as_secs()),
                    _ => return Ok(Heard::Quiet),
                };
                return Err(ConnectorError::Transient(format!(
                    "the tap {what} and was ended{}",
                    self.words()
                )));
            };
            let buffer = buffer.map_err(|e| ConnectorError::Transient(format!("the tap's output: {e}")))?;
            if buffer.is_empty() {
                return Ok(Heard::End(std::mem::take(&mut self.line)));
            }
            self.heard = Instant::now();
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(buffer.len());
            if self.line.len() + taken > self.most {
                return Err(ConnectorError::Protocol(format!(
                    "the tap wrote a line of more than {} bytes (singer.line_bytes)",
                    self.most
                )));
            }
            self.line.extend_from_slice(&buffer[..taken]);
            self.out.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Heard::Line(std::mem::take(&mut self.line)));
            }
        }
    }

    /// Waits for the end of a tap that has closed its output: the error quotes its last words.
    pub(crate) async fn end(&mut self) -> Result<(), ConnectorError> {
        let ended = timeout(END, self.child.wait()).await;
        // What it said last may still be on its way.
        let _ = timeout(END, &mut self.errors).await;
        let what = match ended {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) => match status.code() {
                Some(code) => format!("ended with exit code {code}"),
                None => "was killed".to_owned(),
            },
            Ok(Err(error)) => format!("cannot be waited for: {error}"),
            Err(_) => "closed its output and did not end".to_owned(),
        };
        Err(ConnectorError::Transient(format!("the tap {what}{}", self.words())))
    }

    /// The last lines of its standard error.
    fn words(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.is_empty() {
            true => String::new(),
            false => {
                format!("; it said last: {}", last.iter().map(String::as_str).collect::<Vec<_>>().join(" / "))
            }
        }
    }
}

/// Reads standard error to its end: into the log, and the last lines for errors. Long lines are cut, secrets taken out.
async fn listen(errors: ChildStderr, last: Arc<Mutex<VecDeque<String>>>, redaction: Redaction) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        let Ok(buffer) = errors.fill_buf().await else { return };
        let ended = buffer.is_empty();
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffer.len());
        // Secrets are longer than what is shown; a few times as much is kept, so that none is cut in two.
        let room = KEPT_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&buffer[..taken.min(room)]);
        errors.consume(taken + usize::from(end.is_some()));
        if end.is_none() && !ended {
            continue;
        }
        let text = redaction.clean(&String::from_utf8_lossy(&line));
        line.clear();
        let text: String = text.trim().chars().filter(|c| !c.is_control()).take(LINE_CHARS).collect();
        if !text.is_empty() {
            tracing::debug!(target: "connector_singer", "tap: {text}");
            // Figures that taps log all the time say nothing of why they ended.
            if !text.contains("METRIC") {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(text);
            }
        }
        if ended {
            return;
        }
    }
}

/// Taps that wait for their next page to be asked for. A run is read in slices with a session each, and a tap cannot
/// begin anew with every one of them.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<HashMap<String, Running>>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lock().keys()).finish()
    }
}

/// How long a tap waits.
const LINGER: Duration = Duration::from_secs(60);

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a tap wait; it is ended when nobody asks for more.
    pub(crate) fn put(self: &Arc<Self>, running: Running) {
        let (name, read) = (running.name().to_owned(), running.read());
        self.lock().insert(name.clone(), running);
        let waiting = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(LINGER).await;
            let Some(waiting) = waiting.upgrade() else { return };
            let mut all = waiting.lock();
            // One that was asked since waits anew.
            if all.get(&name).is_some_and(|running| running.read() == read) {
                all.remove(&name);
            }
        });
    }

    /// The tap of that name, if it waits.
    pub(crate) fn take(&self, name: &str) -> Option<Running> {
        self.lock().remove(name)
    }
}
