//! Progress of an import: a bar over the file's bytes on a terminal, a line now and then elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::Output;
use crate::store::imports::ImportCounts;

/// How often a line is printed where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct ImportProgress<'a> {
    out: &'a Output,
    bar: ProgressBar,
    size: Option<u64>,
    began: Instant,
    /// Rows that an earlier run had answered for.
    first: u64,
    last_line: Instant,
}

impl<'a> ImportProgress<'a> {
    /// Over a file of that many bytes; `None` where nobody knows how many will come.
    pub(super) fn new(out: &'a Output, size: Option<u64>) -> Self {
        let bar = match (out.is_lively(), size) {
            (false, _) => ProgressBar::with_draw_target(size, ProgressDrawTarget::hidden()),
            (true, Some(size)) => ProgressBar::new(size),
            (true, None) => ProgressBar::no_length(),
        };
        let template =
            if size.is_some() { "{spinner} {percent:>3} %  {msg}  {eta} left" } else { "{spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { out, bar, size, began: now, first: 0, last_line: now }
    }

    /// So many rows were answered for before this run.
    pub(super) fn begin(&mut self, rows: u64) {
        self.first = rows;
    }

    /// So many bytes have been read, and that became of the rows.
    pub(super) fn show(&mut self, bytes: u64, counts: &ImportCounts) {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let rows = counts.rows();
        let mut text = format!("{rows} rows  {:.0}/s", rows.saturating_sub(self.first) as f64 / seconds);
        if counts.rejected > 0 {
            text.push_str(&format!("  {} rejected", counts.rejected));
        }
        self.bar.set_position(bytes);
        self.bar.set_message(text.clone());
        if self.out.is_lively() || self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        if let Some(size) = self.size.filter(|size| *size > 0) {
            let part = bytes as f64 / size as f64;
            let left = seconds * (1.0 - part) / part.max(0.001);
            text.push_str(&format!("  {:.0} %  {left:.0} s left", part * 100.0));
        }
        self.out.note(&text);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
