//! Progress of reading: a bar a stream on a terminal, a line now and then elsewhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use connector_sdk::Clock;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::Output;
use super::runs::{changed, how_far};
use crate::domain::runs::{self, StreamProgress};

/// How often a line is printed where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A stream of unknown size, and one whose size is known.
const COUNTED: &str = "{spinner} {prefix:<14} {pos:>8} records  {per_sec}  {msg}";
const EXPECTED: &str = "{spinner} {prefix:<14} {pos:>8} of about {len} records  {per_sec}  {eta} left  {msg}";

/// Shows streams as they are read.
pub(super) struct Progress<'a> {
    out: &'a Output,
    clock: &'a dyn Clock,
    bars: MultiProgress,
    by_stream: RefCell<HashMap<String, ProgressBar>>,
    last_line: RefCell<Option<Instant>>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(out: &'a Output, clock: &'a dyn Clock) -> Self {
        let target =
            if out.is_lively() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            out,
            clock,
            bars: MultiProgress::with_draw_target(target),
            by_stream: RefCell::default(),
            last_line: RefCell::default(),
        }
    }

    pub(super) fn show(&self, streams: &[StreamProgress]) {
        if !self.out.is_lively() {
            return self.line(streams);
        }
        let mut bars = self.by_stream.borrow_mut();
        for stream in streams.iter().filter(|s| s.state != "pending") {
            let bar = bars.entry(stream.stream.clone()).or_insert_with(|| {
                let bar = self.bars.add(ProgressBar::no_length());
                if let Ok(style) = ProgressStyle::with_template(COUNTED) {
                    bar.set_style(style);
                }
                bar.set_prefix(stream.stream.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            });
            if let Some(expected) = stream.expected.filter(|_| bar.length().is_none())
                && let Ok(style) = ProgressStyle::with_template(EXPECTED)
            {
                bar.set_length(expected.unsigned_abs());
                bar.set_style(style);
            }
            bar.set_position(stream.counts.read.unsigned_abs());
            bar.set_message(stream.reason.clone().unwrap_or_else(|| changed(&stream.counts)));
            if matches!(stream.state.as_str(), "done" | "skipped" | "failed") && !bar.is_finished() {
                bar.finish();
            }
        }
    }

    fn line(&self, streams: &[StreamProgress]) {
        let now = Instant::now();
        let mut last = self.last_line.borrow_mut();
        if last.is_some_and(|at| now.duration_since(at) < LINE_EVERY) {
            return;
        }
        // The first look is no news.
        if last.is_some() {
            let far = how_far(&runs::Progress::of(streams, self.clock.now()));
            let at_work: Vec<_> =
                streams.iter().filter(|s| s.state == "running").map(|s| s.stream.as_str()).collect();
            self.out.note(&format!("{far}; reading {}", at_work.join(", ")));
        }
        *last = Some(now);
    }

    pub(super) fn finish(&self) {
        for bar in self.by_stream.borrow().values() {
            bar.finish();
        }
    }
}
