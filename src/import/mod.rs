//! Files of users and companies, row by row: CSV and JSON Lines, in memory that does not grow with the file.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`columns`] | which column is which trait, and of which type |
//! | `csv_rows` | rows of CSV |
//! | `json_rows` | lines of JSON |
//!
//! Nothing here writes: `commands::import` sends the rows, and keeps those that were refused.

pub mod columns;
mod csv_rows;
mod json_rows;

use std::io::{BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

use crate::product::ImportRow;
pub use columns::{Columns, Plan};

/// Bytes that one row may take, quotes and line breaks included.
pub const ROW_BYTES: usize = 256 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header.
    Csv {
        /// What separates; nothing for what the header shows.
        delimiter: Option<u8>,
    },
    /// One JSON object a line.
    JsonLines,
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk's or the pipe's trouble.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is not what it should be, as a whole.
    #[error("{0}")]
    Content(String),
}

/// A row as it stands in the file, to be written to the rejects file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The cells.
    Cells(Vec<Vec<u8>>),
    /// The line; cut where it is too long to be kept.
    Line(Vec<u8>),
}

/// A row of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// As it stands there.
    pub source: Source,
    /// What it says, or why that cannot be told.
    pub said: Result<ImportRow, String>,
}

enum Rows<R: Read> {
    Csv(csv_rows::CsvRows<R>),
    JsonLines(json_rows::JsonRows<R>),
}

/// Reads a file row by row.
pub struct Reader<R: Read> {
    rows: Rows<R>,
    count: u64,
    digest: Sha256,
}

impl<R: Read> Reader<R> {
    /// Looks at the beginning of a file.
    ///
    /// # Errors
    ///
    /// An encoding other than UTF-8; a header that the plan does not fit.
    pub fn open(file: R, format: Format, plan: Plan) -> Result<Self, FileError> {
        let mut file = BufReader::with_capacity(64 * 1024, file);
        let beginning = file.fill_buf()?;
        if let Some(name) = foreign_encoding(beginning) {
            return Err(FileError::Content(format!(
                "the file is {name}, UTF-8 is expected; convert it: iconv -f {name} -t UTF-8 FILE > NEW"
            )));
        }
        if beginning.starts_with(b"\xef\xbb\xbf") {
            file.consume(3);
        }
        let rows = match format {
            Format::Csv { delimiter } => Rows::Csv(csv_rows::CsvRows::open(file, delimiter, plan)?),
            Format::JsonLines => Rows::JsonLines(json_rows::JsonRows::new(file, plan)),
        };
        Ok(Self { rows, count: 0, digest: Sha256::new() })
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    ///
    /// What ends the file for good: the disk's trouble, a row without an end.
    pub fn next_row(&mut self) -> Result<Option<Row>, FileError> {
        let row = match &mut self.rows {
            Rows::Csv(rows) => rows.next_row()?,
            Rows::JsonLines(rows) => rows.next_row()?,
        };
        let Some(mut row) = row else { return Ok(None) };
        self.count += 1;
        if let Ok(said) = &mut row.said {
            said.row = self.count;
        }
        // Lengths keep the cells apart.
        let mut part = |bytes: &[u8]| {
            self.digest.update(bytes.len().to_le_bytes());
            self.digest.update(bytes);
        };
        match &row.source {
            Source::Cells(cells) => cells.iter().for_each(|cell| part(cell)),
            Source::Line(line) => part(line),
        }
        Ok(Some(row))
    }

    /// Rows that were read.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Digest of the rows that were read.
    pub fn digest(&self) -> String {
        hex::encode(self.digest.clone().finalize())
    }

    /// Bytes of the file in front of the next row.
    pub fn bytes(&self) -> u64 {
        match &self.rows {
            Rows::Csv(rows) => rows.bytes(),
            Rows::JsonLines(rows) => rows.bytes(),
        }
    }

    /// The header of a CSV file; none of JSON Lines.
    pub fn header(&self) -> &[String] {
        match &self.rows {
            Rows::Csv(rows) => rows.header(),
            Rows::JsonLines(_) => &[],
        }
    }

    /// What separates cells.
    pub fn delimiter(&self) -> u8 {
        match &self.rows {
            Rows::Csv(rows) => rows.delimiter(),
            Rows::JsonLines(_) => b',',
        }
    }
}

/// The name of an encoding that begins so and is not UTF-8.
fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] => Some("UTF-32LE"),
        [0, 0, 0xfe, 0xff, ..] => Some("UTF-32BE"),
        [0xff, 0xfe, ..] => Some("UTF-16LE"),
        [0xfe, 0xff, ..] => Some("UTF-16BE"),
        // Without a mark: every other byte of Western text is zero.
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Some("UTF-16LE"),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => Some("UTF-16BE"),
        _ => None,
    }
}
