//! Rows that an import refused, as they stand in the file, with the line and the reason: mended there, the file can
//! be imported as it is.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::import::Source;
use crate::import::columns::OURS;

/// A rejects file; made with the first row that is refused.
pub(super) struct Rejects {
    path: PathBuf,
    header: Vec<String>,
    /// Places of the columns that are the file's own.
    own: Vec<usize>,
    delimiter: u8,
    file: Option<File>,
    bytes: u64,
    dirty: bool,
}

impl Rejects {
    pub(super) fn new(path: PathBuf, header: &[String], delimiter: u8) -> Self {
        let own = (0..header.len()).filter(|n| !OURS.contains(&header[*n].as_str())).collect();
        Self { path, header: header.to_vec(), own, delimiter, file: None, bytes: 0, dirty: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An earlier import's goes.
    pub(super) fn begin(&self) -> std::io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Cuts it to what is known to belong there.
    pub(super) fn resume(&mut self, bytes: u64) -> std::io::Result<()> {
        if bytes == 0 {
            return self.begin();
        }
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        if file.metadata()?.len() < bytes {
            return Err(std::io::Error::other("it is shorter than the import left it"));
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        (self.file, self.bytes) = (Some(file), bytes);
        Ok(())
    }

    /// Adds a row.
    pub(super) fn put(&mut self, line: u64, source: &Source, why: &str) -> std::io::Result<()> {
        let mut text = Vec::new();
        if self.bytes == 0 && !self.header.is_empty() {
            let names = self.own.iter().map(|n| self.header[*n].as_bytes());
            self.cells(&mut text, names.chain(OURS.iter().map(|name| name.as_bytes())))?;
        }
        match source {
            Source::Cells(cells) => {
                let empty: &[u8] = b"";
                let own = self.own.iter().map(|n| cells.get(*n).map_or(empty, Vec::as_slice));
                // Cells that the header has no name for come last.
                let beyond = cells.iter().skip(self.header.len()).map(Vec::as_slice);
                let line = line.to_string();
                let row = own.chain([line.as_bytes(), why.as_bytes()]).chain(beyond);
                self.cells(&mut text, row)?;
            }
            Source::Line(bytes) => {
                text.extend_from_slice(with_reason(bytes, line, why).as_bytes());
                text.push(b'\n');
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        file.write_all(&text)?;
        self.bytes += text.len() as u64;
        self.dirty = true;
        Ok(())
    }

    fn cells<'a>(&self, to: &mut Vec<u8>, cells: impl Iterator<Item = &'a [u8]>) -> std::io::Result<()> {
        let mut writer = csv::WriterBuilder::new().delimiter(self.delimiter).flexible(true).from_writer(to);
        writer.write_record(cells)?;
        writer.flush()
    }

    /// Brings it to the disk, before what follows is told of it.
    pub(super) fn sync(&mut self) -> std::io::Result<()> {
        if let (Some(file), true) = (&self.file, self.dirty) {
            file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// The object with our two members; what is no object, as text in one.
fn with_reason(bytes: &[u8], line: u64, why: &str) -> String {
    let [line_member, reason_member] = OURS;
    let text = String::from_utf8_lossy(bytes);
    let members: Result<std::collections::BTreeMap<String, Box<RawValue>>, _> = serde_json::from_str(&text);
    let Ok(members) = members else {
        let mut members = Map::new();
        members.insert(line_member.to_owned(), json!(line));
        members.insert(reason_member.to_owned(), json!(why));
        members.insert("_row".to_owned(), json!(text));
        return Value::Object(members).to_string();
    };
    let own = members.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
    let mut parts: Vec<String> =
        own.map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), value.get())).collect();
    parts.push(format!("\"{line_member}\":{line}"));
    parts.push(format!("\"{reason_member}\":{}", Value::from(why)));
    format!("{{{}}}", parts.join(","))
}
