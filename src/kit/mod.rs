//! The kit for a new connector: a crate that works at once, made from the files under `template/`.
//!
//! The template is a connector as its author would write it; only names are put in, and the file of the chosen kind of
//! authentication and paging is taken. A new connector is its folder, one line in the workspace's `Cargo.toml` and one in
//! `src/registry.rs`.

mod files;
mod page;
mod scrub;

use std::path::{Path, PathBuf};

pub use page::page;
pub use scrub::Scrubber;

use files::{COMMON, File};

/// How a new connector authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// A key that an operator pastes.
    ApiKey,
    /// OAuth 2.
    OAuth2,
}

/// How a new connector's provider pages its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// The answer hands out a cursor.
    Cursor,
    /// The caller counts rows.
    Offset,
    /// The caller counts pages.
    Page,
    /// The answer holds a link to the next page.
    Link,
}

/// A connector to be made.
#[derive(Debug, Clone)]
pub struct NewConnector {
    /// Its id (`acme_billing`), also the name of its folder.
    pub id: String,
    /// The vendor's own spelling.
    pub display_name: String,
    /// How it authenticates.
    pub auth: Auth,
    /// How lists are paged.
    pub paging: Paging,
}

/// Why no connector was made. Nothing was written, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The id or name cannot be one.
    #[error("{0}")]
    Name(String),
    /// No folder above is halo-sync's source tree.
    #[error("{0} is not in halo-sync's source tree")]
    NoTree(PathBuf),
    /// The folder is there already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// A file of the tree is not as it was expected.
    #[error("{file}: {what}")]
    Tree {
        /// The file, from the tree's root.
        file: &'static str,
        /// What was not found.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The folder, from the tree's root.
    pub folder: String,
    /// The package.
    pub package: String,
    /// Its files, from the folder.
    pub files: Vec<String>,
    /// The two lines that were added: file, from the tree's root, and text.
    pub lines: [(&'static str, String); 2],
}

const CARGO: &str = "Cargo.toml";
const REGISTRY: &str = "src/registry.rs";
/// The longest id: with it no line of the template grows over the width of the tree's format.
const LONGEST: usize = 24;
/// Words that a type of the connector cannot be called, for they are what it is written with.
const TAKEN: [&str; 39] = [
    "account",
    "batch",
    "box",
    "config",
    "connector",
    "connector_error",
    "cursor",
    "err",
    "extract",
    "fact",
    "facts_error",
    "io",
    "mode",
    "next",
    "none",
    "ok",
    "option",
    "page",
    "partition",
    "rate",
    "rate_budget",
    "record",
    "result",
    "role",
    "sample",
    "sandbox",
    "sdk",
    "secrets",
    "self",
    "server",
    "session",
    "some",
    "spec",
    "string",
    "testkit",
    "timestamp",
    "value",
    "vec",
    "webhook_source",
];

/// The root of halo-sync's source tree, of which `folder` is a part.
///
/// # Errors
/// [`KitError::NoTree`].
pub fn tree(folder: &Path) -> Result<PathBuf, KitError> {
    let is_root = |path: &&Path| {
        path.join(REGISTRY).is_file()
            && path.join("connectors/sdk/Cargo.toml").is_file()
            && std::fs::read_to_string(path.join(CARGO)).is_ok_and(|t| t.contains("name = \"halo-sync\""))
    };
    let absolute = std::path::absolute(folder).map_err(|source| io(folder, source))?;
    let found = absolute.ancestors().find(is_root).map(Path::to_path_buf);
    found.ok_or_else(|| KitError::NoTree(absolute.clone()))
}

fn io(path: &Path, source: std::io::Error) -> KitError {
    KitError::Io { path: path.to_path_buf(), source }
}

impl NewConnector {
    /// Checks id and name.
    ///
    /// # Errors
    /// [`KitError::Name`], in words for whoever chose them.
    pub fn check(&self) -> Result<(), KitError> {
        let id = self.id.as_str();
        let bad = |why: String| Err(KitError::Name(format!("a connector cannot be called {id:?}: {why}")));
        let plain = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let one_by_one = !id.contains("__") && !id.ends_with('_');
        if !id.starts_with(|c: char| c.is_ascii_lowercase()) || !plain || !one_by_one {
            let words: Vec<String> = id
                .split(|c: char| !c.is_ascii_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_ascii_lowercase)
                .collect();
            let better = words.join("_");
            let starts = better.starts_with(|c: char| c.is_ascii_lowercase());
            let hint = if starts { format!("; {better} would do") } else { String::new() };
            return bad(format!(
                "it is lower-case letters, digits and single underscores, a letter first{hint}"
            ));
        }
        if id.len() > LONGEST {
            return bad(format!("it has more than {LONGEST} characters"));
        }
        if TAKEN.contains(&id) {
            return bad("the word has a meaning of its own in connectors".to_owned());
        }
        let name = self.display_name.as_str();
        let printable = name.chars().all(|c| !c.is_control() && !matches!(c, '"' | '\\' | '{' | '}' | '`'));
        if name.trim() != name || name.is_empty() || name.chars().count() > 40 || !printable {
            return Err(KitError::Name(format!(
                "a vendor cannot be called {name:?}: 1 to 40 characters, without quotes, backslashes, braces and blanks \
                 at the ends"
            )));
        }
        Ok(())
    }

    /// The type's name: `AcmeBilling`.
    fn type_name(&self) -> String {
        let mut out = String::new();
        for word in self.id.split('_') {
            let mut letters = word.chars();
            out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            out.extend(letters);
        }
        out
    }

    fn files(&self) -> impl Iterator<Item = &'static File> {
        let auth = match self.auth {
            Auth::ApiKey => &files::API_KEY,
            Auth::OAuth2 => &files::OAUTH2,
        };
        let paging = match self.paging {
            Paging::Cursor => &files::CURSOR,
            Paging::Offset => &files::OFFSET,
            Paging::Page => &files::PAGE,
            Paging::Link => &files::LINK,
        };
        COMMON.iter().chain(auth).chain(paging)
    }

    /// The text of a file of the template with the names put in. In one pass: a name may hold what stands for another.
    fn named(&self, text: &str) -> String {
        let (package, kind) = (self.package(), self.type_name());
        // The package's name is first: in it words are joined by hyphens.
        let names =
            [("connector-acme", &package), ("ACME", &self.display_name), ("Acme", &kind), ("acme", &self.id)];
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((at, mark, name)) = names
            .iter()
            .filter_map(|(mark, name)| rest.find(mark).map(|at| (at, *mark, *name)))
            .min_by_key(|(at, ..)| *at)
        {
            out.push_str(&rest[..at]);
            out.push_str(name);
            rest = &rest[at + mark.len()..];
        }
        out.push_str(rest);
        out
    }

    fn package(&self) -> String {
        format!("connector-{}", self.id.replace('_', "-"))
    }

    /// Makes the connector in the tree of that root.
    ///
    /// # Errors
    /// [`KitError`]; everything is looked at before anything is written.
    pub fn make(&self, root: &Path) -> Result<Made, KitError> {
        self.check()?;
        let folder = root.join("connectors").join(&self.id);
        if folder.exists() {
            return Err(KitError::Exists(folder));
        }
        let (package, library) = (self.package(), self.package().replace('-', "_"));
        let dependency = format!("{package} = {{ path = \"connectors/{}\" }}", self.id);
        let entry = format!("        Arc::new({library}::{}),", self.type_name());
        let cargo = with_line(root, CARGO, &dependency, &package, |line| {
            line.starts_with("connector-") && line.contains("{ path = \"connectors/")
        })?;
        let registry = with_line(root, REGISTRY, &entry, &format!("{library}::"), |line| {
            line.trim_start().starts_with("Arc::new(connector_")
        })?;

        let mut written = Vec::new();
        for file in self.files() {
            let path = folder.join(file.path);
            put(&path, &self.named(file.text))?;
            written.push(file.path.to_owned());
        }
        put(&root.join(CARGO), &cargo)?;
        put(&root.join(REGISTRY), &registry)?;
        written.sort_unstable();
        Ok(Made {
            folder: format!("connectors/{}", self.id),
            package,
            files: written,
            lines: [(CARGO, dependency), (REGISTRY, entry.trim().to_owned())],
        })
    }
}

/// The text of a file with a line more, behind the last one that is like it.
fn with_line(
    root: &Path,
    file: &'static str,
    line: &str,
    name: &str,
    alike: impl Fn(&str) -> bool,
) -> Result<String, KitError> {
    let path = root.join(file);
    let text = std::fs::read_to_string(&path).map_err(|source| io(&path, source))?;
    let mut lines: Vec<&str> = text.lines().collect();
    let taken = |l: &&str| {
        l.trim_start().trim_start_matches("Arc::new(").strip_prefix(name).is_some_and(|rest| {
            !rest.starts_with(|c: char| {
                c.is_ascii_alphanumeric() && !name.ends_with(':') || c == '-' || c == '_'
            })
        })
    };
    if lines.iter().any(taken) {
        return Err(KitError::Tree { file, what: format!("there is a line for {name} already") });
    }
    let Some(last) = lines.iter().rposition(|l| alike(l)) else {
        return Err(KitError::Tree {
            file,
            what: format!("the lines of the other connectors were not found; add this one by hand: {line}"),
        });
    };
    lines.insert(last + 1, line);
    Ok(lines.join("\n") + "\n")
}

/// Writes a file of the tree, with the folders above it.
///
/// # Errors
/// [`KitError::Io`].
pub fn put(path: &Path, text: &str) -> Result<(), KitError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
    }
    std::fs::write(path, text).map_err(|source| io(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(id: &str) -> NewConnector {
        NewConnector {
            id: id.to_owned(),
            display_name: "Any".to_owned(),
            auth: Auth::ApiKey,
            paging: Paging::Cursor,
        }
    }

    /// A connector's type must not hide what its crate is written with.
    #[test]
    fn no_type_of_the_template_can_be_taken() {
        // Where the type is declared.
        let template = files::COMMON.iter().find(|file| file.path == "src/lib.rs").unwrap().text;
        let mut taken = std::collections::BTreeSet::from([
            "Option", "Result", "Vec", "Box", "String", "Some", "None", "Ok", "Err",
        ]);
        for list in template.split("use connector_sdk::").skip(1) {
            let list = list.split(';').next().unwrap_or_default();
            taken.extend(
                list.split(|c: char| !c.is_ascii_alphanumeric())
                    .filter(|w| w.starts_with(|c: char| c.is_ascii_uppercase())),
            );
        }
        assert!(taken.len() > 12, "{taken:?}");
        for word in taken {
            let mut id = String::new();
            for (at, letter) in word.char_indices() {
                if letter.is_ascii_uppercase() && at > 0 {
                    id.push('_');
                }
                id.push(letter.to_ascii_lowercase());
            }
            assert!(connector(&id).check().is_err(), "{id} would hide {word}");
        }
    }

    #[test]
    fn names_are_checked_in_words() {
        for good in ["zebra", "a1", "acme_billing", "x_2_y"] {
            assert!(connector(good).check().is_ok(), "{good}");
        }
        for bad in ["", "_a", "1a", "A", "a-b", "a__b", "a_", "a/b", "../a", "ä", "self", "sdk", "a b"] {
            assert!(matches!(connector(bad).check(), Err(KitError::Name(_))), "{bad}");
        }
        let said = connector("Acme-Billing").check().unwrap_err().to_string();
        assert!(said.contains("acme_billing would do"), "{said}");
        assert!(connector(&"a".repeat(LONGEST + 1)).check().is_err());
        for name in ["", " a", "a\"b", "a\nb", "a{b"] {
            assert!(
                NewConnector { display_name: name.to_owned(), ..connector("a1") }.check().is_err(),
                "{name:?}"
            );
        }
    }

    #[test]
    fn every_file_of_the_template_is_used_and_no_placeholder_stays() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kit/template");
        let mut there = Vec::new();
        let mut open = vec![folder];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path)
                } else {
                    there.push(std::fs::read_to_string(path).unwrap())
                }
            }
        }
        let all = || {
            let kinds = [files::CURSOR.as_slice(), &files::OFFSET, &files::PAGE, &files::LINK];
            let auth = [files::API_KEY.as_slice(), &files::OAUTH2];
            COMMON.iter().chain(kinds.into_iter().chain(auth).flatten())
        };
        assert_eq!(all().count(), there.len());
        assert!(all().all(|file| there.iter().any(|text| text == file.text)));
        for file in all() {
            assert!(!connector("zebra").named(file.text).to_lowercase().contains("acme"), "{}", file.path);
        }
    }
}
