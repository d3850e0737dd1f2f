//! A reader of prompts, written from the grammar of `docs/prompt-format.md` and sharing nothing with the renderer.

use serde_json::Value;

/// What stands for a JSON value in a prompt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    /// null, a boolean, a number.
    Scalar(Value),
    /// A text, and how many characters of it are not shown.
    Text(String, usize),
    /// `(empty list)`
    EmptyList,
    /// `(empty object)`
    EmptyObject,
    /// `(3 keys not shown)`
    Closed(usize),
    /// `299.00 USD`
    Money(String),
    /// Bullets, and how many are not shown.
    List(Vec<Tree>, usize),
    /// Pairs, and how many are not shown.
    Map(Vec<(String, Tree)>, usize),
    /// `"descriptor" (fields) -- status`
    Item { head: Option<String>, fields: Vec<(String, Tree)>, status: Option<Box<Tree>> },
    /// `area (fields): message -- status`
    Error { area: Option<String>, fields: Vec<(String, Tree)>, message: String, status: Option<Box<Tree>> },
    /// `name: states (fields) -- error`
    Service { name: String, states: Vec<Tree>, fields: Vec<(String, Tree)>, error: Option<String> },
    /// `name: enabled (fields)`
    Feature { name: String, enabled: bool, fields: Vec<(String, Tree)> },
}

/// What a header says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Title {
    User,
    Company(Option<String>),
    Behavior,
    Label(String),
}

/// A field of user or company.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: Tree,
    pub(crate) origin: Option<String>,
    pub(crate) description: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    pub(crate) title: Title,
    pub(crate) marks: Vec<String>,
    pub(crate) description: Option<String>,
    /// Of user and company.
    pub(crate) fields: Vec<Field>,
    /// Of an entry.
    pub(crate) value: Option<Tree>,
    pub(crate) hidden: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Prompt {
    pub(crate) sections: Vec<Section>,
    pub(crate) dropped: usize,
}

type Parsed<T> = Result<T, String>;

/// Reads a whole prompt. `labels` as it was printed with.
pub(crate) fn parse(text: &str, labels: bool) -> Parsed<Prompt> {
    let mut prompt = Prompt::default();
    if text.is_empty() {
        return Ok(prompt);
    }
    for part in text.split("\n\n") {
        if let Some(count) = number_note(part, " sections not shown)") {
            prompt.dropped = count;
        } else {
            prompt.sections.push(section(part, labels)?);
        }
    }
    Ok(prompt)
}

/// Header lines of a text: the lines that begin with a bracket.
pub(crate) fn headers(text: &str) -> usize {
    text.split('\n').filter(|line| line.starts_with('[')).count()
}

struct Line<'t> {
    text: &'t str,
    below: Vec<Line<'t>>,
}

fn section(part: &str, labels: bool) -> Parsed<Section> {
    let (header, body) = part.split_once('\n').unwrap_or((part, ""));
    let inside = header.strip_prefix('[').ok_or_else(|| format!("no header: {header:?}"))?;
    let (title, mut rest) = inside.split_once(']').ok_or("header does not close")?;
    let mut marks = Vec::new();
    if let Some(list) = rest.strip_prefix(" (") {
        let mut list = list;
        loop {
            if let Some(key) = list.strip_prefix("key: ") {
                let (key, tail) = key_name(key)?;
                marks.push(format!("key: {key}"));
                list = tail;
            } else {
                let end = list.find([',', ')']).ok_or("marks do not close")?;
                marks.push(list[..end].to_owned());
                list = &list[end..];
            }
            match list.strip_prefix(", ") {
                Some(tail) => list = tail,
                None => break,
            }
        }
        rest = list.strip_prefix(')').ok_or("marks do not close")?;
    }
    let description = match rest.strip_prefix(" -- ") {
        Some(text) => Some(whole_text(text)?.0),
        None if rest.is_empty() => None,
        None => return Err(format!("header goes on with {rest:?}")),
    };
    let title = match title {
        "User Profile" => Title::User,
        "Company" => Title::Company(None),
        "Behavior Context" => Title::Behavior,
        _ => match title.strip_prefix("Company: ") {
            Some(name) => Title::Company(Some(whole_text(name)?.0)),
            None => Title::Label(whole_text(title)?.0),
        },
    };
    let flat: Vec<(usize, &str)> = body
        .split('\n')
        .filter(|_| !body.is_empty())
        .map(|line| {
            let text = line.trim_start_matches(' ');
            ((line.len() - text.len()), text)
        })
        .collect();
    if let Some((indent, line)) = flat.iter().find(|(indent, text)| indent % 2 != 0 || text.is_empty()) {
        return Err(format!("odd line at {indent}: {line:?}"));
    }
    let mut at = 0;
    let mut lines = tree(&flat, &mut at, 0)?;
    let hidden = take_more(&mut lines);
    let mut section = Section { title, marks, description, fields: Vec::new(), value: None, hidden };
    match section.title {
        Title::User | Title::Company(_) => {
            for line in &lines {
                section.fields.push(field(line, labels)?);
            }
        }
        Title::Behavior | Title::Label(_) => section.value = Some(entry(&section.marks, &lines, hidden)?),
    }
    Ok(section)
}

fn tree<'t>(flat: &[(usize, &'t str)], at: &mut usize, indent: usize) -> Parsed<Vec<Line<'t>>> {
    let mut lines: Vec<Line<'t>> = Vec::new();
    while let Some(&(here, text)) = flat.get(*at) {
        if here < indent {
            break;
        }
        if here == indent {
            *at += 1;
            lines.push(Line { text, below: Vec::new() });
        } else if here == indent + 2 {
            lines.last_mut().ok_or("indented without a parent")?.below = tree(flat, at, indent + 2)?;
        } else {
            return Err(format!("too deep: {text:?}"));
        }
    }
    Ok(lines)
}

fn number_note(text: &str, suffix: &str) -> Option<usize> {
    text.strip_prefix('(')?.strip_suffix(suffix)?.parse().ok()
}

fn take_more(lines: &mut Vec<Line<'_>>) -> usize {
    let hidden = lines.last().and_then(|line| number_note(line.text, " more not shown)"));
    if hidden.is_some() {
        lines.pop();
    }
    hidden.unwrap_or(0)
}

/// A JSON string at the beginning of `s`, how much of it is not shown, and what follows.
fn quoted(s: &str) -> Parsed<(String, usize, &str)> {
    let mut escaped = false;
    for (at, c) in s.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let text = serde_json::from_str(&s[..=at]).map_err(|error| format!("{error}: {s:?}"))?;
                let rest = &s[at + 1..];
                if let Some(note) = rest.strip_prefix(" (")
                    && let Some((count, tail)) = note.split_once(" characters not shown)")
                    && let Ok(count) = count.parse()
                {
                    return Ok((text, count, tail));
                }
                return Ok((text, 0, rest));
            }
            _ => {}
        }
    }
    Err(format!("string does not close: {s:?}"))
}

/// What follows the number that parts two keys, if there is one.
fn after_number(rest: &str) -> &str {
    rest.strip_prefix(" #").map_or(rest, |tail| tail.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// A text that goes to the end.
fn whole_text(s: &str) -> Parsed<(String, usize)> {
    if s.starts_with('"') {
        let (text, cut, rest) = quoted(s)?;
        return if rest.is_empty() { Ok((text, cut)) } else { Err(format!("after a string: {rest:?}")) };
    }
    if s.is_empty() || s.starts_with([' ', '(', '[', '-', '#']) || s.ends_with(' ') {
        return Err(format!("not plain: {s:?}"));
    }
    Ok((s.to_owned(), 0))
}

fn scalar(s: &str) -> Parsed<Tree> {
    match s {
        "null" | "true" | "false" => return Ok(Tree::Scalar(serde_json::from_str(s).unwrap())),
        "(empty list)" => return Ok(Tree::EmptyList),
        "(empty object)" => return Ok(Tree::EmptyObject),
        _ => {}
    }
    if let Some(count) = number_note(s, " keys not shown)").or_else(|| number_note(s, " items not shown)")) {
        return Ok(Tree::Closed(count));
    }
    if let Ok(number) = serde_json::from_str::<serde_json::Number>(s) {
        // serde_json reads the last digit of a float inexactly, the standard library does not.
        let float =
            if number.is_f64() { s.parse().ok().and_then(serde_json::Number::from_f64) } else { None };
        return Ok(Tree::Scalar(Value::Number(float.unwrap_or(number))));
    }
    whole_text(s).map(|(text, cut)| Tree::Text(text, cut))
}

/// A key at the beginning of `s` and what follows it.
fn key_name(s: &str) -> Parsed<(String, &str)> {
    if s.starts_with('"') {
        let (text, _, rest) = quoted(s)?;
        if let Some(tail) = rest.strip_prefix(" #") {
            let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
            return Ok((text, &tail[end..]));
        }
        return Ok((text, rest));
    }
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ') || !c.is_ascii();
    let end = s.find(|c| !plain(c)).unwrap_or(s.len());
    if end == 0 { Err(format!("no key: {s:?}")) } else { Ok((s[..end].to_owned(), &s[end..])) }
}

/// `value -- note -- note`: parts at ` -- ` outside strings.
fn split_notes(s: &str) -> Parsed<Vec<&str>> {
    let mut parts = Vec::new();
    let mut rest = s;
    loop {
        let after = if rest.starts_with('"') { quoted(rest)?.2 } else { rest };
        let skipped = rest.len() - after.len();
        match after.find(" -- ") {
            Some(at) => {
                parts.push(&rest[..skipped + at]);
                rest = &rest[skipped + at + 4..];
            }
            None => {
                parts.push(rest);
                return Ok(parts);
            }
        }
    }
}

fn field(line: &Line<'_>, labels: bool) -> Parsed<Field> {
    let (name, rest) = key_name(line.text)?;
    let rest = rest.strip_prefix(':').ok_or_else(|| format!("no colon: {:?}", line.text))?;
    let mut notes;
    let value = if line.below.is_empty() {
        let rest = rest.strip_prefix(' ').ok_or("no value")?;
        notes = split_notes(rest)?;
        let value = notes.remove(0);
        let money = value.split_once(' ').is_some_and(|(amount, code)| {
            amount.strip_prefix('-').unwrap_or(amount).bytes().all(|b| b.is_ascii_digit() || b == b'.')
                && code.len() == 3
                && code.bytes().all(|b| b.is_ascii_uppercase())
        });
        let is_money = ["mrr", "arr", "monthlyspend", "lifetimevalue"]
            .contains(&name.to_lowercase().replace(['_', ' '], "").as_str());
        if money && is_money { Tree::Money(value.to_owned()) } else { scalar(value)? }
    } else {
        notes = match rest.strip_prefix(" -- ") {
            Some(rest) => split_notes(rest)?,
            None if rest.is_empty() => Vec::new(),
            None => return Err(format!("members and a value: {:?}", line.text)),
        };
        members(&line.below)?
    };
    let mut notes = notes.into_iter();
    let origin = if labels { notes.next().map(str::to_owned) } else { None };
    let description = match notes.next() {
        Some(text) => Some(whole_text(text)?.0),
        None => None,
    };
    if notes.next().is_some() {
        return Err(format!("too many notes: {:?}", line.text));
    }
    Ok(Field { name, value, origin, description })
}

fn pair(line: &Line<'_>) -> Parsed<(String, Tree)> {
    let (name, rest) = key_name(line.text)?;
    let rest = rest.strip_prefix(':').ok_or_else(|| format!("no colon: {:?}", line.text))?;
    Ok((name, pair_value(rest, &line.below)?))
}

fn pair_value(rest: &str, below: &[Line<'_>]) -> Parsed<Tree> {
    if below.is_empty() {
        scalar(rest.strip_prefix(' ').ok_or_else(|| format!("no value: {rest:?}"))?)
    } else if rest.is_empty() {
        members(below)
    } else {
        Err(format!("members and a value: {rest:?}"))
    }
}

fn members(lines: &[Line<'_>]) -> Parsed<Tree> {
    let hidden = lines.last().and_then(|line| number_note(line.text, " more not shown)"));
    let shown = &lines[..lines.len() - usize::from(hidden.is_some())];
    let hidden = hidden.unwrap_or(0);
    let first = shown.first().ok_or("no members")?;
    if first.text.starts_with("- ") {
        Ok(Tree::List(shown.iter().map(bullet).collect::<Parsed<_>>()?, hidden))
    } else {
        Ok(Tree::Map(shown.iter().map(pair).collect::<Parsed<_>>()?, hidden))
    }
}

fn pairs(lines: &[Line<'_>]) -> Parsed<Vec<(String, Tree)>> {
    lines.iter().map(pair).collect()
}

fn after_dash<'t>(line: &Line<'t>) -> Parsed<&'t str> {
    line.text.strip_prefix("- ").ok_or_else(|| format!("no bullet: {:?}", line.text))
}

fn bullet(line: &Line<'_>) -> Parsed<Tree> {
    let text = after_dash(line)?;
    if text == "(list)" {
        return members(&line.below);
    }
    let (head, mut rest) = if text.starts_with('"') {
        let (head, cut, rest) = quoted(text)?;
        if rest.is_empty() && line.below.is_empty() {
            return Ok(Tree::Text(head, cut));
        }
        (Some(head), rest)
    } else {
        (None, text)
    };
    let mut fields = Vec::new();
    if head.is_none() && rest.starts_with("(object)") {
        rest = &rest["(object)".len()..];
    } else if let Some(list) = if head.is_none() { Some(rest) } else { rest.strip_prefix(' ') }
        && list.starts_with('(')
        && scalar(list).is_err()
    {
        (fields, rest) = parenthesised(list)?;
    } else if head.is_none() {
        if !line.below.is_empty() {
            return Err(format!("members below a scalar: {text:?}"));
        }
        return scalar(text);
    }
    let status = status_of(rest)?;
    fields.extend(pairs(&line.below)?);
    Ok(Tree::Item { head, fields, status })
}

fn status_of(rest: &str) -> Parsed<Option<Box<Tree>>> {
    match rest.strip_prefix(" -- ") {
        Some(status) => Ok(Some(Box::new(scalar(status)?))),
        None if rest.is_empty() => Ok(None),
        None => Err(format!("unexpected {rest:?}")),
    }
}

/// `(key: value, …)` at the beginning of `s` and what follows.
fn parenthesised(s: &str) -> Parsed<(Vec<(String, Tree)>, &str)> {
    let mut rest = s.strip_prefix('(').ok_or("no parenthesis")?;
    let mut fields = Vec::new();
    loop {
        let (name, tail) = key_name(rest)?;
        rest = tail.strip_prefix(": ").ok_or_else(|| format!("no field: {rest:?}"))?;
        if rest.starts_with('"') {
            let (text, cut, tail) = quoted(rest)?;
            fields.push((name, Tree::Text(text, cut)));
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("(empty list)") {
            fields.push((name, Tree::EmptyList));
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("(empty object)") {
            fields.push((name, Tree::EmptyObject));
            rest = tail;
        } else {
            let end = rest.find([',', ')']).ok_or("fields do not close")?;
            fields.push((name, scalar(&rest[..end])?));
            rest = &rest[end..];
        }
        match rest.strip_prefix(", ") {
            Some(tail) => rest = tail,
            None => return Ok((fields, rest.strip_prefix(')').ok_or("fields do not close")?)),
        }
    }
}

fn entry(marks: &[String], lines: &[Line<'_>], hidden: usize) -> Parsed<Tree> {
    let kind = marks.first().map_or("", String::as_str);
    let first = lines.first().ok_or("no body")?;
    let dashed = first.text.starts_with("- ");
    let special = matches!(kind, "error" | "integration" | "feature" | "relationship");
    if dashed && special {
        let items = lines.iter().map(|line| match kind {
            "error" => error(line),
            "integration" => service(line),
            _ => feature(line, kind == "feature"),
        });
        return Ok(Tree::List(items.collect::<Parsed<_>>()?, hidden));
    }
    if dashed {
        return Ok(Tree::List(lines.iter().map(bullet).collect::<Parsed<_>>()?, hidden));
    }
    let is_pair = key_name(first.text).is_ok_and(|(_, rest)| rest.starts_with(": ") || rest == ":");
    if is_pair {
        return Ok(Tree::Map(pairs(lines)?, hidden));
    }
    match lines {
        [only] if only.below.is_empty() => scalar(only.text),
        _ => Err(format!("not a body: {:?}", first.text)),
    }
}

/// `area (fields): message -- status`, or any other bullet, or a pair behind a bullet.
fn error(line: &Line<'_>) -> Parsed<Tree> {
    let text = after_dash(line)?;
    // An area, then a parenthesis or a colon.
    let (area, rest) = if text.starts_with('(') {
        (None, text)
    } else if text.starts_with('"') {
        let (area, _, rest) = quoted(text)?;
        (Some(area), after_number(rest))
    } else {
        let colon = text.ends_with(':').then(|| text.len() - 1);
        let end = [text.find(": "), text.find(" ("), colon].into_iter().flatten().min().unwrap_or(text.len());
        (Some(text[..end].to_owned()), &text[end..])
    };
    let list = if area.is_none() { Some(rest) } else { rest.strip_prefix(' ') };
    let (mut fields, tail) = match list {
        Some(list) if list.starts_with('(') => match parenthesised(list) {
            Ok(done) => done,
            Err(_) => (Vec::new(), rest),
        },
        _ => (Vec::new(), rest),
    };
    if let Some(message) = tail.strip_prefix(": ")
        && (text.starts_with('"') || !area.as_deref().is_some_and(|area| area.contains("--")))
    {
        let parts = split_notes(message)?;
        if let Ok(Tree::Text(message, cut)) = scalar(parts[0])
            && cut == 0
        {
            let status = match parts.get(1) {
                Some(status) => Some(Box::new(scalar(status)?)),
                None => None,
            };
            fields.extend(pairs(&line.below)?);
            return Ok(Tree::Error { area, fields, message, status });
        }
        let (name, value) =
            (area.unwrap_or_default(), pair_value(tail.strip_prefix(':').unwrap(), &line.below)?);
        return Ok(Tree::Map(vec![(name, value)], 0));
    }
    if tail == ":" && fields.is_empty() {
        return Ok(Tree::Map(vec![(area.unwrap_or_default(), members(&line.below)?)], 0));
    }
    // A message alone, with a status or members behind it.
    if !text.starts_with('(')
        && let Ok(parts) = split_notes(text)
        && (parts.len() > 1 || !line.below.is_empty())
        && let Ok(Tree::Text(message, 0)) = scalar(parts[0])
    {
        let status = match parts.get(1) {
            Some(status) => Some(Box::new(scalar(status)?)),
            None => None,
        };
        return Ok(Tree::Error { area: None, fields: pairs(&line.below)?, message, status });
    }
    bullet(line)
}

fn service(line: &Line<'_>) -> Parsed<Tree> {
    let text = after_dash(line)?;
    let (name, rest) = if text.starts_with('"') {
        let (name, _, rest) = quoted(text)?;
        let rest = after_number(rest);
        (name, rest)
    } else {
        match text.find(": ").or_else(|| text.ends_with(':').then(|| text.len() - 1)) {
            Some(at) if !text.starts_with('(') => (text[..at].to_owned(), &text[at..]),
            _ => return bullet(line),
        }
    };
    let Some(rest) = rest.strip_prefix(':') else { return bullet(line) };
    if rest.is_empty() {
        return Ok(Tree::Map(vec![(name, members(&line.below)?)], 0));
    }
    let mut rest = rest.strip_prefix(' ').ok_or("no state")?;
    if line.below.is_empty()
        && let Ok(value) = scalar(rest)
        && !matches!(value, Tree::Text(..))
    {
        return Ok(Tree::Map(vec![(name, value)], 0));
    }
    let (mut states, mut fields) = (Vec::new(), Vec::new());
    if let Some(tail) = rest.strip_prefix("(object)") {
        rest = tail;
    } else if !rest.starts_with('(') {
        loop {
            if rest.starts_with('"') {
                let (text, _, tail) = quoted(rest)?;
                states.push(Tree::Text(text, 0));
                rest = tail;
            } else {
                let ends = [", ", " (", " -- "].iter().filter_map(|mark| rest.find(mark)).min();
                let end = ends.unwrap_or(rest.len());
                states.push(match &rest[..end] {
                    word @ ("connected" | "not connected" | "ERROR") => Tree::Scalar(Value::from(word)),
                    text => Tree::Text(text.to_owned(), 0),
                });
                rest = &rest[end..];
            }
            match rest.strip_prefix(", ") {
                Some(tail) => rest = tail,
                None => break,
            }
        }
    }
    if let Some(list) = if rest.starts_with('(') { Some(rest) } else { rest.strip_prefix(' ') }
        && list.starts_with('(')
    {
        (fields, rest) = parenthesised(list)?;
    }
    let error = match rest.strip_prefix(" -- ") {
        Some(error) => Some(whole_text(error)?.0),
        None if rest.is_empty() => None,
        None => return Err(format!("after states: {rest:?}")),
    };
    fields.extend(pairs(&line.below)?);
    Ok(Tree::Service { name, states, fields, error })
}

/// `name: enabled (fields)`, or a pair behind a bullet.
fn feature(line: &Line<'_>, words: bool) -> Parsed<Tree> {
    let text = after_dash(line)?;
    let Ok((name, rest)) = key_name(text) else { return bullet(line) };
    let Some(rest) = rest.strip_prefix(':').filter(|rest| rest.is_empty() || rest.starts_with(' ')) else {
        return bullet(line);
    };
    if words && let Some(said) = rest.strip_prefix(' ') {
        for (word, enabled) in [("enabled", true), ("disabled", false)] {
            let Some(tail) = said.strip_prefix(word) else { continue };
            let mut fields = Vec::new();
            if let Some(list) = tail.strip_prefix(' ').filter(|list| list.starts_with('(')) {
                fields = parenthesised(list)?.0;
            } else if !tail.is_empty() {
                continue;
            }
            fields.extend(pairs(&line.below)?);
            return Ok(Tree::Feature { name, enabled, fields });
        }
    }
    Ok(Tree::Map(vec![(name, pair_value(rest, &line.below)?)], 0))
}
