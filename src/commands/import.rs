//! `halo-sync contacts import` and `halo-sync companies import`.
//!
//! Each batch is written together with how far the import is by it, in one transaction: whatever is killed, and
//! whenever, `--resume` goes on behind the last row that was written. It reads the rows in front of it again, which
//! costs little, and so knows that the file is the same and which ids it had.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::cli::STDIN_HINT;
use super::host::{Access, Host};
use super::import_progress::ImportProgress;
use super::rejects::Rejects;
use super::{App, CommandError, ExitCode};
use crate::domain::attributes::{AttributeScope, CustomField, FieldType};
use crate::domain::ids::new_id;
use crate::import::columns::CellType;
use crate::import::{FileError, Format, Plan, ROW_BYTES, Reader, Row, Source};
use crate::product::{ForeseenRow, ImportKind, ImportStep};
use crate::service::Request;
use crate::store::imports::{Foreseen, ImportCounts, ImportState};
use crate::store::product::{Change, Outcome};

/// Rows in one batch.
const TOGETHER: usize = 1_000;
/// Bytes of a batch from which on no further row joins it. The running process takes 1 MiB in one request, and the
/// last row may have its share of that.
const BATCH_BYTES: usize = 256 * 1024;
/// Changes that a dry run shows.
const SHOWN: usize = 10;

/// What is given to an import.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// CSV with a header, or JSON Lines
    #[arg(value_name = STDIN_HINT)]
    pub file: PathBuf,
    /// How the file is written [default: by its name's ending]
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// Which trait a column is ("Email=email"); without a trait it is left out [default: the column's name]
    #[arg(long, value_name = "COLUMN=TRAIT")]
    pub map: Vec<String>,
    /// The column of your product's ids [default: user_id or company_id, external_id, id]
    #[arg(long, value_name = "COLUMN")]
    pub id_column: Option<String>,
    /// Type of a trait's cells: text, number, boolean, date, json ("seats=number")
    #[arg(long, value_name = "TRAIT=TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Keep cells of these traits as text, whatever they look like; * for all
    #[arg(long, value_name = "TRAIT", value_delimiter = ',')]
    pub as_text: Vec<String>,
    /// What an empty cell means
    #[arg(long, value_enum, default_value_t)]
    pub empty: Empty,
    /// What separates cells [default: what the header shows]
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<String>,
    /// Leave out what is not known yet
    #[arg(long)]
    pub update_only: bool,
    /// Say what would happen, and write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Go on where an import of this file stopped
    #[arg(long, conflicts_with = "dry_run")]
    pub resume: bool,
    /// At most so many rows a second
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub rate: Option<u32>,
    /// Where rows that are refused go [default: beside the file, NAME.rejects.csv or .jsonl]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// What an empty cell means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Empty {
    /// The stored value stays.
    #[default]
    Keep,
    /// The stored value is removed.
    Clear,
}

fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse() {
        Ok(rate) if rate > 0 => Ok(rate),
        _ => Err("rows a second, such as 500/s".to_owned()),
    }
}

/// What is said at the end.
#[derive(Serialize)]
struct Summary<'a> {
    kind: ImportKind,
    file: String,
    dry_run: bool,
    rows: u64,
    #[serde(flatten)]
    counts: ImportCounts,
    /// Where the rejected rows are.
    rejects_file: Option<String>,
    /// Of a dry run: what the first records would become.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    changes: &'a [Value],
}

/// Imports a file.
///
/// # Errors
///
/// A file that cannot be read or is not UTF-8; columns that do not fit; the store's. Rows that are refused are no
/// error: they are counted, kept in the rejects file, and the exit code is 3.
pub(super) async fn run(app: &App, kind: ImportKind, args: Args) -> Result<ExitCode, CommandError> {
    let (plan, format) = (args.plan(kind)?, args.format()?);
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let access = if args.dry_run { Access::Read } else { Access::WriteIfFree };
    let host = Host::open(app, loaded, access).await?;
    let is_stdin = args.file == Path::new("-");
    if is_stdin && args.resume {
        return Err(CommandError::usage("what comes from stdin cannot be resumed"));
    }
    let (file, bytes): (Box<dyn Read>, Option<u64>) = if is_stdin {
        (Box::new(std::io::stdin()), None)
    } else {
        let opened = File::open(&args.file).map_err(|e| unreadable(&args.file, &e.into()))?;
        let bytes = opened.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        (Box::new(opened), bytes)
    };
    let options = format!("{plan:?} {format:?} {}", args.update_only);
    let plan = with_fields(plan, &host.services.attributes.fields(&host.org).await?);
    let reader = Reader::open(file, format, plan.clone()).map_err(|error| unreadable(&args.file, &error))?;
    for (column, key) in plan.near_misses(reader.header()) {
        app.out.warn(&format!(
            "the column {column:?} is no recognised field; if it is: --map \"{column}={key}\""
        ));
    }
    let rejects = Rejects::new(args.rejects_path(), reader.header(), reader.delimiter());
    let mut import = Import {
        app,
        host: &host,
        kind,
        update_only: args.update_only,
        rate: args.rate,
        id: import_id(kind, &args.file),
        reader,
        rejects,
        seen: Seen::default(),
        progress: ImportProgress::new(&app.out, bytes),
        file: args.file.clone(),
    };
    if args.dry_run {
        return import.foresee().await;
    }
    let state = import.begin(args.resume, options).await?;
    import.write(state).await
}

impl Args {
    fn plan(&self, kind: ImportKind) -> Result<Plan, CommandError> {
        let pair = |text: &str, what: &str| match text.split_once('=') {
            Some((left, right)) if !left.is_empty() => Ok((left.to_owned(), right.to_owned())),
            _ => Err(CommandError::usage(format!("{text:?} is not {what}"))),
        };
        let map = self.map.iter().map(|text| pair(text, "COLUMN=TRAIT")).collect::<Result<_, _>>()?;
        let mut types = BTreeMap::new();
        for text in &self.types {
            let (key, name) = pair(text, "TRAIT=TYPE")?;
            let kind = CellType::parse(&name).ok_or_else(|| {
                CommandError::usage(format!("{name:?} is no type: text, number, boolean, date, json"))
            })?;
            types.insert(key, kind);
        }
        Ok(Plan {
            kind,
            map,
            id_column: self.id_column.clone(),
            types,
            as_text: self.as_text.iter().cloned().collect::<BTreeSet<_>>(),
            empty_clears: self.empty == Empty::Clear,
        })
    }

    fn format(&self) -> Result<Format, CommandError> {
        let ending = self.file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let format = match (self.format, ending.as_deref()) {
            (Some(format), _) => format,
            (None, Some("csv" | "tsv" | "txt")) => FileFormat::Csv,
            (None, Some("jsonl" | "ndjson")) => FileFormat::Jsonl,
            _ => {
                return Err(CommandError::usage("how the file is written cannot be told from its name")
                    .try_this("add --format csv or --format jsonl"));
            }
        };
        if format == FileFormat::Jsonl {
            return Ok(Format::JsonLines);
        }
        let delimiter = match self.delimiter.as_deref() {
            None => None,
            Some("\\t" | "tab") => Some(b'\t'),
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
                _ => {
                    return Err(CommandError::usage(format!(
                        "{text:?} is not one character that separates cells"
                    )));
                }
            },
        };
        Ok(Format::Csv { delimiter })
    }

    fn rejects_path(&self) -> PathBuf {
        if let Some(path) = &self.rejects {
            return path.clone();
        }
        let ending = match self.format() {
            Ok(Format::JsonLines) => "rejects.jsonl",
            _ => "rejects.csv",
        };
        if self.file == Path::new("-") {
            PathBuf::from("stdin").with_extension(ending)
        } else {
            self.file.with_extension(ending)
        }
    }
}

/// Ids of earlier rows, as hashes: a million of them take 16 MiB.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    ids: HashSet<u64>,
}

impl Seen {
    /// Whether an earlier row had this id.
    fn again(&mut self, row: &Row) -> bool {
        let id = row.said.as_ref().ok().and_then(|said| said.id.as_deref());
        id.is_some_and(|id| !self.ids.insert(self.hasher.hash_one(id)))
    }
}

struct Import<'a> {
    app: &'a App,
    host: &'a Host,
    kind: ImportKind,
    update_only: bool,
    rate: Option<u32>,
    id: String,
    reader: Reader<Box<dyn Read>>,
    rejects: Rejects,
    seen: Seen,
    progress: ImportProgress<'a>,
    file: PathBuf,
}

/// Rows of one request.
struct Batch {
    step: ImportStep,
    /// Line and text of each row, by its number.
    sources: BTreeMap<u64, (u64, Source)>,
    /// Numbers of rows whose id an earlier one had.
    again: BTreeSet<u64>,
}

impl Import<'_> {
    /// How far the import is before it goes on.
    async fn begin(&mut self, resume: bool, options: String) -> Result<ImportState, CommandError> {
        let stored = self.host.store().find_import(&self.host.org, &self.id).await?;
        if !resume {
            if let Some(stored) = stored.filter(|stored| !stored.finished) {
                self.app.out.note(&format!(
                    "An import of this file stopped after {} rows; this begins anew. To go on there: --resume",
                    stored.counts.rows()
                ));
            }
            self.rejects.begin().map_err(|e| unwritable(self.rejects.path(), &e))?;
            return Ok(ImportState {
                run: new_id("imp", &*self.app.clock),
                options,
                ..ImportState::default()
            });
        }
        let Some(state) = stored else {
            return Err(CommandError::not_found("import of this file that could be resumed")
                .try_this("the same command without --resume"));
        };
        if state.options != options {
            return Err(CommandError::usage("the import was begun with other options")
                .try_this("give the same ones, or begin anew without --resume"));
        }
        self.catch_up(&state)?;
        Ok(state)
    }

    /// Reads the rows that are answered for, and writes again what the last batch's rejects may lack.
    fn catch_up(&mut self, state: &ImportState) -> Result<(), CommandError> {
        let unwritable = |path: &Path, e: std::io::Error| unwritable(path, &e);
        self.rejects.resume(state.rejects_bytes).map_err(|e| unwritable(self.rejects.path(), e))?;
        let changed = || {
            CommandError::new(
                ExitCode::Failed,
                "file_changed",
                "the file is not the one that the import began with",
            )
            .try_this("begin anew, without --resume: what is written already is found unchanged")
        };
        let mut rejects = state.rejects.iter().peekable();
        while self.reader.count() < state.counts.rows() {
            let row = self.next_row()?.ok_or_else(changed)?;
            self.seen.again(&row);
            if let Some((_, why)) = rejects.next_if(|(number, _)| *number == self.reader.count()) {
                self.rejects
                    .put(row.line, &row.source, why)
                    .map_err(|e| unwritable(self.rejects.path(), e))?;
            }
        }
        if state.counts.rows() > 0 && self.reader.digest() != state.digest {
            return Err(changed());
        }
        self.rejects.sync().map_err(|e| unwritable(self.rejects.path(), e))
    }

    async fn write(&mut self, mut state: ImportState) -> Result<ExitCode, CommandError> {
        let began = Instant::now();
        let before = state.counts.rows();
        self.progress.begin(before);
        while !state.finished {
            let Batch { step, sources, .. } =
                self.next_batch(ImportState { rejects: Vec::new(), ..state.clone() })?;
            let currency = self.host.derive.reporting_currency.clone();
            let answer = self.host.execute(Request::Import { step: Box::new(step), currency }).await;
            let answer = answer.map_err(|e| match &e.what_to_type {
                None if self.file != Path::new("-") => {
                    e.try_this("the same command with --resume goes on there")
                }
                _ => e,
            })?;
            state =
                serde_json::from_value(answer).map_err(|e| anyhow::Error::new(e).context("its answer"))?;
            for (number, why) in &state.rejects {
                if let Some((line, source)) = sources.get(number) {
                    self.rejects.put(*line, source, why).map_err(|e| unwritable(self.rejects.path(), &e))?;
                }
            }
            self.rejects.sync().map_err(|e| unwritable(self.rejects.path(), &e))?;
            self.progress.show(self.reader.bytes(), &state.counts);
            if let Some(rate) = self.rate.filter(|_| !state.finished) {
                let rows = u32::try_from(state.counts.rows() - before).unwrap_or(u32::MAX);
                tokio::time::sleep_until(began + Duration::from_secs(1) * rows / rate).await;
            }
        }
        self.progress.finish();
        if self.host.writes {
            // No running process will store what this one has seen of attributes.
            self.host.services.attributes.flush().await?;
        }
        self.say(&state.counts, false, &[])
    }

    async fn foresee(&mut self) -> Result<ExitCode, CommandError> {
        let product = self.host.services.product(self.host.derive.reporting_currency.as_deref());
        let mut state = ImportState::default();
        let mut changes = Vec::new();
        loop {
            let Batch { step, sources, again } = self.next_batch(state.clone())?;
            let foreseen = product.foresee_import(&self.host.org, &step).await;
            let foreseen = foreseen.map_err(crate::service::Failure::from)?;
            let counts = &mut state.counts;
            counts.duplicates += step.duplicates;
            for ForeseenRow { row: number, foreseen } in foreseen {
                let line = sources.get(&number).map_or(0, |(line, _)| *line);
                let change = match &foreseen {
                    Ok(Foreseen { outcome: Outcome::Written(written), before }) => {
                        let change = match (&written.user, &written.company) {
                            (Some((user, change)), _) => (*change, json!(user)),
                            (None, Some((company, change))) => (*change, json!(company)),
                            (None, None) => (Change::Unchanged, Value::Null),
                        };
                        match change {
                            (Change::Unchanged, _) => counts.unchanged += 1,
                            // An earlier row of the file would have made it.
                            (Change::Created, _) if again.contains(&number) => counts.updated += 1,
                            (Change::Created, _) => counts.created += 1,
                            (Change::Updated, _) => counts.updated += 1,
                        }
                        (change.0 != Change::Unchanged).then(|| difference(line, before.as_ref(), &change.1))
                    }
                    Ok(Foreseen { outcome: Outcome::Unknown(_), .. }) => {
                        counts.skipped += 1;
                        None
                    }
                    Ok(Foreseen { outcome: Outcome::Refused(refused), .. }) => {
                        counts.rejected += 1;
                        Some(json!({ "line": line, "rejected": refused.to_string() }))
                    }
                    Err(why) => {
                        counts.rejected += 1;
                        Some(json!({ "line": line, "rejected": why }))
                    }
                };
                changes.extend(change.filter(|_| changes.len() < SHOWN));
            }
            self.progress.show(self.reader.bytes(), &state.counts);
            if step.last {
                break;
            }
        }
        self.progress.finish();
        self.say(&state.counts, true, &changes)
    }

    fn say(&self, counts: &ImportCounts, dry_run: bool, changes: &[Value]) -> Result<ExitCode, CommandError> {
        let rejects = (counts.rejected > 0 && !dry_run).then(|| self.rejects.path().display().to_string());
        let summary = Summary {
            kind: self.kind,
            file: self.file.display().to_string(),
            dry_run,
            rows: counts.rows(),
            counts: *counts,
            rejects_file: rejects.clone(),
            changes,
        };
        self.app.out.one(&summary, |summary| {
            let ImportCounts { created, updated, unchanged, skipped, rejected, duplicates } = summary.counts;
            let mut text = format!(
                "{} rows: {created} created, {updated} updated, {unchanged} unchanged, {skipped} skipped, \
                 {rejected} rejected",
                summary.rows
            );
            if duplicates > 0 {
                text.push_str(&format!("; {duplicates} had the id of an earlier row"));
            }
            changes.iter().for_each(|change| text.push_str(&format!("\n  {change}")));
            text
        })?;
        if dry_run {
            self.app.out.note("Nothing was written.");
        }
        if let Some(path) = rejects {
            self.app.out.note(&format!("Rejected rows and why:  {path}"));
        }
        Ok(if counts.rejected > 0 { ExitCode::RecordErrors } else { ExitCode::Ok })
    }

    fn next_row(&mut self) -> Result<Option<Row>, CommandError> {
        self.reader.next_row().map_err(|error| {
            let why = format!("behind row {}: {error}", self.reader.count());
            unreadable(&self.file, &error).why(why)
        })
    }

    /// The rows of the next request.
    fn next_batch(&mut self, before: ImportState) -> Result<Batch, CommandError> {
        let most = self.rate.map_or(TOGETHER, |rate| TOGETHER.min(usize::try_from(rate).unwrap_or(TOGETHER)));
        let mut batch = Batch {
            step: ImportStep {
                kind: self.kind,
                id: self.id.clone(),
                before,
                rows: Vec::new(),
                refused: Vec::new(),
                duplicates: 0,
                digest: String::new(),
                rejects_bytes: self.rejects.bytes(),
                last: false,
                update_only: self.update_only,
            },
            sources: BTreeMap::new(),
            again: BTreeSet::new(),
        };
        let mut bytes = 0;
        while batch.sources.len() < most && bytes < BATCH_BYTES {
            let Some(row) = self.next_row()? else {
                batch.step.last = true;
                break;
            };
            let number = self.reader.count();
            if self.seen.again(&row) {
                batch.step.duplicates += 1;
                batch.again.insert(number);
            }
            match row.said {
                Ok(said) => match json_text_bytes(&said) {
                    size if size > ROW_BYTES => {
                        let why = format!("{size} bytes of JSON, a row may have {ROW_BYTES}");
                        batch.step.refused.push((number, why));
                    }
                    size => {
                        bytes += size;
                        batch.step.rows.push(said);
                    }
                },
                Err(why) => batch.step.refused.push((number, why)),
            }
            batch.sources.insert(number, (row.line, row.source));
        }
        batch.step.digest = self.reader.digest();
        Ok(batch)
    }
}

/// Custom fields say what the cells of their columns are, where the command line does not.
fn with_fields(mut plan: Plan, fields: &[CustomField]) -> Plan {
    let scope = match plan.kind {
        ImportKind::Contacts => AttributeScope::User,
        ImportKind::Companies => AttributeScope::Company,
    };
    for field in fields.iter().filter(|field| field.scope == scope && !plan.as_text.contains(&field.key)) {
        let kind = match field.kind {
            FieldType::Number => CellType::Number,
            FieldType::Date => CellType::Date,
            _ => CellType::Text,
        };
        plan.types.entry(field.key.clone()).or_insert(kind);
    }
    plan
}

/// The size that a row has in a request.
fn json_text_bytes(row: &impl Serialize) -> usize {
    serde_json::to_string(row).map_or(0, |text| text.len())
}

/// What a record would become: the members that differ.
fn difference(line: u64, before: Option<&Value>, after: &Value) -> Value {
    let mut changes = serde_json::Map::new();
    for part in ["fields", "custom_fields", "context"] {
        let of = |value: Option<&Value>| value.and_then(|v| v[part].as_object()).cloned().unwrap_or_default();
        let (old, new) = (of(before), of(Some(after)));
        for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            if old.get(key) != new.get(key) {
                changes.insert(key.clone(), json!({ "from": old.get(key), "to": new.get(key) }));
            }
        }
    }
    if before.is_some_and(|before| before["company_id"] != after["company_id"]) {
        let to = &after["company_id"];
        changes.insert("company".to_owned(), json!({ "from": before.map(|b| &b["company_id"]), "to": to }));
    }
    let id = &after["external_id"];
    json!({ "line": line, "id": id, "new": before.is_none(), "changes": changes })
}

/// Names what is imported from where; the same file by another name is another import.
fn import_id(kind: ImportKind, file: &Path) -> String {
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    hex::encode(Sha256::digest(format!("{kind:?}\0{}", path.display())))
}

fn unreadable(file: &Path, error: &FileError) -> CommandError {
    let code = match error {
        FileError::Io(_) => "unreadable_file",
        FileError::Content(_) => "bad_file",
    };
    CommandError::new(ExitCode::Failed, code, format!("{} cannot be imported", file.display()))
        .why(error.to_string())
}

fn unwritable(file: &Path, error: &std::io::Error) -> CommandError {
    CommandError::new(ExitCode::Failed, "unwritable_file", format!("{} cannot be written", file.display()))
        .why(error.to_string())
        .try_this("name another with --rejects FILE")
}
