//! Which column is which trait, and of which type.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::context::Scope;
use crate::context::fields::system_fields;
use crate::product::ImportKind;
use crate::store::traits::{Kind, company_kind, user_kind};

/// What a cell of a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellType {
    /// Text, as it stands.
    Text,
    /// A JSON number.
    Number,
    /// `true`, `false`, `yes`, `no`, `1`, `0`.
    Boolean,
    /// An ISO 8601 date or time.
    Date,
    /// Any JSON.
    Json,
    /// A number or a boolean where it reads as one beyond doubt, else text.
    Guessed,
}

impl CellType {
    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "text" | "email" | "tel" | "select" => Self::Text,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

/// How the columns of a file are meant.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the rows are.
    pub kind: ImportKind,
    /// Trait by column; an empty one drops the column.
    pub map: BTreeMap<String, String>,
    /// The column of ids, where one is named.
    pub id_column: Option<String>,
    /// Types by trait.
    pub types: BTreeMap<String, CellType>,
    /// Traits that are text whatever they look like; `*` for all.
    pub as_text: BTreeSet<String>,
    /// Whether an empty cell removes the value.
    pub empty_clears: bool,
}

/// What a column is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// The id; and a trait of that name, where one is given.
    Id(Option<(String, CellType)>),
    /// The user's company.
    Company,
    /// A trait.
    Trait(String, CellType),
    /// Nothing.
    Dropped,
}

/// The columns of a file, in their order.
#[derive(Debug, Clone)]
pub struct Columns(pub Vec<Column>);

/// Columns of our own rejects files.
pub const OURS: [&str; 2] = ["_line", "_reason"];

impl Plan {
    /// Names that ids go by, in order of preference.
    pub(super) fn id_names(&self) -> &'static [&'static str] {
        match self.kind {
            ImportKind::Contacts => &["user_id", "external_id", "id"],
            ImportKind::Companies => &["company_id", "external_id", "id"],
        }
    }

    fn scope(&self) -> Scope {
        match self.kind {
            ImportKind::Contacts => Scope::User,
            ImportKind::Companies => Scope::Company,
        }
    }

    fn known(&self, key: &str) -> Option<Kind> {
        match self.kind {
            ImportKind::Contacts => user_kind(key),
            ImportKind::Companies => company_kind(key),
        }
    }

    /// The trait that a column or member is.
    pub(super) fn key<'a>(&'a self, column: &'a str) -> &'a str {
        self.map.get(column).map_or(column, String::as_str)
    }

    /// The type of a trait's cells.
    fn cell_type(&self, key: &str) -> CellType {
        if let Some(named) = self.types.get(key) {
            return *named;
        }
        if self.as_text.contains(key) || self.as_text.contains("*") {
            return CellType::Text;
        }
        if matches!(key, "mrr" | "arr") {
            return CellType::Number;
        }
        match self.known(key) {
            Some(Kind::Integer) => CellType::Number,
            Some(Kind::Flag) => CellType::Boolean,
            Some(Kind::Instant | Kind::Date) => CellType::Date,
            Some(_) => CellType::Text,
            None => CellType::Guessed,
        }
    }

    /// The columns of a header.
    ///
    /// # Errors
    ///
    /// What of the header or the plan does not fit: names that stand twice, that are not there, that the server sets;
    /// no column that says who a row is about.
    pub fn columns(&self, header: &[String]) -> Result<Columns, String> {
        let mut seen = BTreeSet::new();
        for name in header.iter().filter(|name| !name.is_empty()) {
            if !seen.insert(name.as_str()) {
                return Err(format!("the column {name:?} stands twice in the header"));
            }
        }
        let known = || header.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        for name in self.map.keys().chain(&self.id_column) {
            if !seen.contains(name.as_str()) {
                return Err(format!("there is no column {name:?}; the header has: {}", known()));
            }
        }
        let id = match &self.id_column {
            Some(name) => Some(name.clone()),
            None => {
                let named = |id: &&str| header.iter().find(|column| self.key(column) == *id).cloned();
                self.id_names().iter().find_map(named)
            }
        };
        let mut keys = BTreeSet::new();
        let mut columns = Vec::with_capacity(header.len());
        for name in header {
            let key = self.key(name);
            let is_id = Some(name) == id.as_ref();
            if key.is_empty() || OURS.contains(&key) {
                columns.push(if is_id { Column::Id(None) } else { Column::Dropped });
                continue;
            }
            if !keys.insert(key.to_owned()) {
                return Err(format!("two columns are the trait {key:?}; drop one: --map \"{name}=\""));
            }
            if is_id {
                // An address may be the id, and is the address all the same.
                let also = self.known(key).is_some().then(|| (key.to_owned(), self.cell_type(key)));
                columns.push(Column::Id(also));
            } else if self.kind == ImportKind::Contacts && key == "company_id" {
                columns.push(Column::Company);
            } else if system_fields(self.scope()).contains(&key) {
                return Err(format!(
                    "the column {name:?} is set by the server; map it (--map \"{name}=signed_up_at\") or drop it \
                     (--map \"{name}=\")"
                ));
            } else {
                columns.push(Column::Trait(key.to_owned(), self.cell_type(key)));
            }
        }
        let by_address = self.kind == ImportKind::Contacts && keys.contains("email");
        if id.is_none() && !by_address {
            let names = self.id_names().join(", ");
            return Err(format!(
                "no column says who a row is about ({names}); name it with --id-column; the header has: {}",
                known()
            ));
        }
        Ok(Columns(columns))
    }

    /// Columns that would be recognised under another spelling: column and trait.
    pub fn near_misses(&self, header: &[String]) -> Vec<(String, String)> {
        let near = |name: &String| {
            let key: String = name.trim().to_lowercase().replace([' ', '-'], "_");
            let recognised = self.known(&key).is_some() || matches!(key.as_str(), "mrr" | "arr" | "role");
            let missed = recognised && key != *name && !self.map.contains_key(name);
            missed.then(|| (name.clone(), key))
        };
        header.iter().filter_map(near).collect()
    }
}

/// The JSON text of a cell that is not empty.
pub(super) fn cell(key: &str, kind: CellType, text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    let wrong = |what: &str| {
        let shown: String = trimmed.chars().take(40).collect();
        Err(format!("{key}: {shown:?} is not {what}"))
    };
    match kind {
        CellType::Text => Ok(Value::from(text).to_string()),
        CellType::Number if is_number(trimmed) => Ok(trimmed.to_owned()),
        CellType::Number => wrong("a number such as 299 or 299.5"),
        CellType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok("true".to_owned()),
            "false" | "no" | "0" => Ok("false".to_owned()),
            _ => wrong("true or false"),
        },
        CellType::Date if is_date(trimmed) => Ok(Value::from(trimmed).to_string()),
        CellType::Date => wrong("an ISO 8601 date or time such as 2026-11-22 or 2026-11-22T10:00:00Z"),
        CellType::Json => match serde_json::from_str::<Value>(trimmed) {
            Ok(_) => Ok(trimmed.to_owned()),
            Err(_) => wrong("JSON"),
        },
        CellType::Guessed => Ok(match trimmed {
            "true" | "TRUE" | "True" => "true".to_owned(),
            "false" | "FALSE" | "False" => "false".to_owned(),
            _ if is_plain_number(trimmed) => trimmed.to_owned(),
            _ => Value::from(text).to_string(),
        }),
    }
}

/// A JSON number.
fn is_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// A number that nobody would mean otherwise: no leading zeros, no exponent, no more digits than a binary fraction
/// holds. Telephone numbers, postcodes and long ids stay text.
fn is_plain_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits <= 15 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')) && is_number(text)
}

fn is_date(text: &str) -> bool {
    chrono::DateTime::parse_from_rfc3339(text).is_ok()
        || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}
