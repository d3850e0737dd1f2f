//! Rows of CSV.

use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::columns::{Column, Columns, cell};
use super::{FileError, Plan, ROW_BYTES, Row, Source};
use crate::product::ImportRow;

/// What cells may be separated by.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// What is read ahead of the row that is asked for.
const READ_AHEAD: usize = 64 * 1024;

/// Ends the file where a row does not end: without it one quote that is never closed would be read to memory's end.
struct Bounded<R> {
    inner: BufReader<R>,
    /// Bytes since the last row ended.
    since: Arc<AtomicUsize>,
}

const ENDLESS: &str = "a row does not end";

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.since.load(Ordering::Relaxed) > ROW_BYTES + READ_AHEAD {
            return Err(std::io::Error::other(ENDLESS));
        }
        let read = self.inner.read(buffer)?;
        self.since.fetch_add(read, Ordering::Relaxed);
        Ok(read)
    }
}

/// Reads CSV row by row.
pub(super) struct CsvRows<R: Read> {
    reader: csv::Reader<Bounded<R>>,
    since: Arc<AtomicUsize>,
    delimiter: u8,
    header: Vec<String>,
    columns: Columns,
    empty_clears: bool,
    record: ByteRecord,
}

impl<R: Read> CsvRows<R> {
    pub(super) fn open(mut file: BufReader<R>, delimiter: Option<u8>, plan: Plan) -> Result<Self, FileError> {
        let delimiter = match delimiter {
            Some(delimiter) => delimiter,
            None => shown_by(std::io::BufRead::fill_buf(&mut file)?),
        };
        let since = Arc::new(AtomicUsize::new(0));
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .terminator(Terminator::CRLF)
            .buffer_capacity(READ_AHEAD)
            .from_reader(Bounded { inner: file, since: Arc::clone(&since) });
        let names = reader.byte_headers().map_err(|error| ended(error, 1))?.clone();
        let header = names
            .iter()
            .map(|name| String::from_utf8(name.to_vec()).map(|name| name.trim().to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| FileError::Content("the header is not UTF-8".to_owned()))?;
        if header.iter().all(String::is_empty) {
            return Err(FileError::Content(
                "the file has no header: its first row names the columns".to_owned(),
            ));
        }
        let columns = plan.columns(&header).map_err(FileError::Content)?;
        let empty_clears = plan.empty_clears;
        Ok(Self { reader, since, delimiter, header, columns, empty_clears, record: ByteRecord::new() })
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, FileError> {
        self.since.store(0, Ordering::Relaxed);
        let line = self.reader.position().line();
        if !self.reader.read_byte_record(&mut self.record).map_err(|error| ended(error, line))? {
            return Ok(None);
        }
        let line = self.record.position().map_or(line, csv::Position::line);
        let source = Source::Cells(self.record.iter().map(<[u8]>::to_vec).collect());
        let said = self.said();
        Ok(Some(Row { line, source, said }))
    }

    fn said(&self) -> Result<ImportRow, String> {
        let (cells, columns) = (self.record.len(), self.columns.0.len());
        if cells != columns {
            return Err(format!("{cells} cells, the header has {columns}"));
        }
        let size = self.record.as_slice().len();
        if size > ROW_BYTES {
            return Err(format!("{size} bytes, a row may have {ROW_BYTES}"));
        }
        let mut row = ImportRow::default();
        let mut traits = String::from("{");
        let mut put = |key: &str, json: &str| {
            let comma = if traits.len() > 1 { "," } else { "" };
            traits.push_str(&format!("{comma}{}:{json}", serde_json::Value::from(key)));
        };
        for ((column, name), bytes) in self.columns.0.iter().zip(&self.header).zip(&self.record) {
            let text = std::str::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8"))?;
            let is_empty = text.trim().is_empty();
            match column {
                Column::Dropped => {}
                Column::Company => row.company_id = (!is_empty).then(|| text.trim().to_owned()),
                Column::Id(also) => {
                    row.id = (!is_empty).then(|| text.trim().to_owned());
                    if let (Some((key, kind)), false) = (also, is_empty) {
                        put(key, &cell(key, *kind, text)?);
                    }
                }
                Column::Trait(key, _) if is_empty => {
                    if self.empty_clears {
                        put(key, "null");
                    }
                }
                Column::Trait(key, kind) => put(key, &cell(key, *kind, text)?),
            }
        }
        traits.push('}');
        row.traits = traits;
        Ok(row)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.reader.position().byte()
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }
}

/// What the header separates its names by.
fn shown_by(beginning: &[u8]) -> u8 {
    let line = beginning.split(|b| *b == b'\n').next().unwrap_or_default();
    let mut counts = [0usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in line {
        quoted ^= *byte == b'"';
        if let Some(n) = DELIMITERS.iter().position(|d| d == byte).filter(|_| !quoted) {
            counts[n] += 1;
        }
    }
    // Of equals the first: a comma.
    let best = (0..DELIMITERS.len()).rev().max_by_key(|n| counts[*n]).unwrap_or(0);
    DELIMITERS[best]
}

fn ended(error: csv::Error, line: u64) -> FileError {
    let endless = matches!(error.kind(), csv::ErrorKind::Io(e) if e.to_string() == ENDLESS);
    if endless {
        return FileError::Content(format!(
            "the row that begins on line {line} has more than {ROW_BYTES} bytes: is a quote not closed?"
        ));
    }
    match error.into_kind() {
        csv::ErrorKind::Io(error) => FileError::Io(error),
        other => FileError::Content(format!("{other:?}")),
    }
}
