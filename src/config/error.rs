use std::fmt;
use std::path::PathBuf;

use super::Origin;

/// Why the settings cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file is not TOML; the text names line and column.
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// Keys that do not exist.
    Unknown(Vec<UnknownKey>),
    /// Values that cannot be used.
    Invalid(Vec<Problem>),
}

/// A key that does not exist.
#[derive(Debug, Clone, PartialEq)]
pub struct UnknownKey {
    /// As it was written: `sever.listen`, `HALO_SYNC_SEVER__LISTEN`.
    pub written: String,
    /// The nearest key that exists, written the same way.
    pub nearest: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// `section.key`.
    pub key: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// What is wrong. Never quotes a secret.
    pub message: String,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no setting {}", self.written)?;
        match &self.nearest {
            Some(nearest) => write!(f, " ({}); did you mean {nearest}?", self.origin),
            None => write!(f, " ({})", self.origin),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    f.write_str("\n")?;
                }
                write!(f, "{item}")?;
            }
            Ok(())
        }
        match self {
            Self::Unreadable { path, reason } => write!(f, "{} cannot be read: {reason}", path.display()),
            Self::Syntax { path, reason } => write!(f, "{}: {}", path.display(), reason.trim_end()),
            Self::Unknown(keys) => list(f, keys),
            Self::Invalid(problems) => list(f, problems),
        }
    }
}

impl std::error::Error for ConfigError {}
