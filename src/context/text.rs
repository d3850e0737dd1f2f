//! How a text is printed: plain where it is safe, as a JSON string otherwise.
//!
//! Whether a text is safe is judged on the text and on its NFKC form, because a reader (or a model's
//! tokenizer) may fold one into the other. `docs/prompt-format.md`, "Texts", is the specification.

use std::fmt::Write as _;

use unicode_normalization::char::{canonical_combining_class, decompose_compatible};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};

use super::sanitise::{Clean, clean, is_mark};

/// Stands for a space of a customer's text while a spotlit prompt is written. Private-use characters
/// are always escaped, so no text can bring one along.
pub(crate) const MARKED_SPACE: char = '\u{E000}';

/// Where a text stands; each position allows a little more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Position {
    /// In a comma list or before a colon.
    Inline,
    /// Alone on a line or behind a bullet, where `name: ` would read as a key.
    Bare,
    /// From here to the end of the line.
    Line,
}

/// How texts are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TextStyle {
    /// Writes [`MARKED_SPACE`] for each space of a text.
    pub(crate) mark_spaces: bool,
}

impl TextStyle {
    /// Writes `text` plain if it is safe at `position`, else quoted; with a note if it was cut, which
    /// is what the answer says.
    pub(crate) fn write(self, out: &mut String, text: &str, position: Position) -> bool {
        let cleaned = clean(text);
        if cleaned.cut == 0 && is_plain(&cleaned.text, position) {
            self.push(out, &cleaned.text);
        } else {
            self.quote(out, &cleaned, false);
        }
        cleaned.cut > 0
    }

    /// Writes `text` quoted, whatever is in it; the answer as for [`TextStyle::write`].
    pub(crate) fn write_quoted(self, out: &mut String, text: &str) -> bool {
        let cleaned = clean(text);
        self.quote(out, &cleaned, false);
        cleaned.cut > 0
    }

    /// Writes a name that stands inside a header's brackets: no bracket of its own survives unescaped.
    pub(crate) fn write_in_header(self, out: &mut String, text: &str, reserved: fn(&str) -> bool) {
        let cleaned = clean(text);
        if cleaned.cut == 0 && is_plain(&cleaned.text, Position::Line) && !reserved(&cleaned.text) {
            self.push(out, &cleaned.text);
        } else {
            self.quote(out, &cleaned, true);
        }
    }

    /// Writes a key that cannot be humanised. With `reveal`, invisible characters are escaped instead
    /// of removed, which keeps apart keys that differ in nothing else.
    pub(crate) fn write_key(self, out: &mut String, key: &str, reveal: bool) {
        if reveal {
            let mut shown = String::new();
            for c in key.chars() {
                if c.is_ascii_graphic() || c == ' ' {
                    shown.push(c);
                } else {
                    let _ = write!(shown, "{{{:X}}}", c as u32);
                }
            }
            return self.quote(out, &clean(&shown), false);
        }
        let cleaned = clean(key);
        if cleaned.cut == 0 && is_plain_key(&cleaned.text) {
            self.push(out, &cleaned.text);
        } else {
            self.quote(out, &cleaned, false);
        }
    }

    fn push(self, out: &mut String, text: &str) {
        if self.mark_spaces {
            out.extend(text.chars().map(|c| if c == ' ' { MARKED_SPACE } else { c }));
        } else {
            out.push_str(text);
        }
    }

    fn quote(self, out: &mut String, cleaned: &Clean<'_>, in_header: bool) {
        out.reserve(cleaned.text.len() + 2);
        out.push('"');
        // A mark behind an escape would join the escape's last letter when the prompt is normalised.
        let mut exposed = true;
        for c in cleaned.text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                ' ' if self.mark_spaces => {
                    out.push(MARKED_SPACE);
                    exposed = false;
                    continue;
                }
                '[' | ']' if in_header => escape(out, c),
                ' '..='~' => {
                    out.push(c);
                    exposed = false;
                    continue;
                }
                _ if must_escape(c)
                    || (exposed && joins_backwards(c))
                    || (in_header && folds_to_bracket(c)) =>
                {
                    escape(out, c);
                }
                _ => {
                    out.push(c);
                    exposed = false;
                    continue;
                }
            }
            exposed = true;
        }
        out.push('"');
        if cleaned.cut > 0 {
            let _ = write!(out, " ({} characters not shown)", cleaned.cut);
        }
    }
}

fn escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// Letters that are printed as they are, without a look into the tables: most of what is written.
fn is_common_letter(c: char) -> bool {
    matches!(c as u32,
        0xC0..=0xD6 | 0xD8..=0xF6 | 0xF8..=0x131 | 0x134..=0x13E | 0x141..=0x148 | 0x14A..=0x17E
        | 0x391..=0x3A1 | 0x3A3..=0x3CE | 0x400..=0x481 | 0x48A..=0x52F | 0x5D0..=0x5EA | 0x620..=0x63F
        | 0x641..=0x64A | 0x671..=0x674 | 0x679..=0x6D3 | 0x904..=0x939 | 0xE01..=0xE30
        | 0x3041..=0x3096 | 0x30A1..=0x30FA | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7A3)
}

/// Characters that are never printed as themselves.
fn must_escape(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    if is_common_letter(c) {
        return false;
    }
    match c {
        // What is left of these after the removal is needed.
        '\u{200C}' | '\u{200D}' => return false,
        // Blank, but neither a space nor invisible by its properties.
        '\u{2800}' | '\u{1D159}' | '\u{FFFC}' => return true,
        _ => {}
    }
    match c.general_category() {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::PrivateUse
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => true,
        GeneralCategory::Unassigned if is_noncharacter(c) => true,
        _ => folds_to(c, |folded| matches!(folded, '"' | '\\') || folded.is_control()),
    }
}

fn is_noncharacter(c: char) -> bool {
    (0xFDD0..=0xFDEF).contains(&(c as u32)) || (c as u32) & 0xFFFE == 0xFFFE
}

fn folds_to_bracket(c: char) -> bool {
    !is_common_letter(c) && folds_to(c, |folded| matches!(folded, '[' | ']'))
}

fn folds_to(c: char, test: impl Fn(char) -> bool) -> bool {
    let mut found = false;
    decompose_compatible(c, |folded| found |= test(folded));
    found
}

/// Whether `c`, or what it folds into, combines with the character before it.
fn joins_backwards(c: char) -> bool {
    if c.is_ascii() || is_common_letter(c) {
        return false;
    }
    let mut first = None;
    decompose_compatible(c, |folded| first = first.or(Some(folded)));
    is_mark(c) || first.is_some_and(|f| canonical_combining_class(f) != 0 || is_mark(f))
}

/// Whether `text`, which has been cleaned, may be printed without quotes.
pub(crate) fn is_plain(text: &str, position: Position) -> bool {
    if !form_is_plain(text, position) {
        return false;
    }
    text.is_ascii()
        || is_nfkc_quick(text.chars()) == IsNormalized::Yes
        || form_is_plain(&text.nfkc().collect::<String>(), position)
}

fn form_is_plain(text: &str, position: Position) -> bool {
    let mut chars = text.chars();
    let (Some(first), Some(last)) = (chars.next(), text.chars().next_back()) else { return false };
    if !may_begin(first) || last.is_whitespace() || reads_as_scalar(text) {
        return false;
    }
    let mut previous = '\0';
    for c in text.chars() {
        let ok = match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => true,
            ' ' => previous != ':' || position == Position::Line,
            '[' | ']' | '{' | '}' | '<' | '>' | '|' | '\\' | '`' => false,
            '-' => previous != '-',
            '_' => previous != '_' || text.len() > 2 && !text.starts_with("__"),
            ',' | '(' | ')' | ';' | '"' => position != Position::Inline,
            ' '..='~' => true,
            _ if is_common_letter(c) => true,
            _ => {
                !must_escape(c)
                    && !is_bracket(c)
                    && (!c.is_whitespace() || position == Position::Line || previous != ':')
            }
        };
        if !ok {
            return false;
        }
        previous = c;
    }
    previous != ':' || position == Position::Line
}

/// Opening and closing punctuation of any script, apart from quotation marks.
fn is_bracket(c: char) -> bool {
    matches!(c.general_category(), GeneralCategory::OpenPunctuation | GeneralCategory::ClosePunctuation)
        && !matches!(c, '\u{201A}' | '\u{201E}')
}

/// Characters with which no bullet, heading, rule, quote, fence or bracket begins.
fn may_begin(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric()
            || matches!(c, '@' | '$' | '/' | '+' | '.' | '&' | '!' | '?' | '\'' | '_');
    }
    if is_common_letter(c) {
        return true;
    }
    if is_mark(c) {
        return false;
    }
    c.is_alphanumeric()
        || c.is_emoji_char()
        || matches!(
            c.general_category(),
            GeneralCategory::CurrencySymbol
                | GeneralCategory::InitialPunctuation
                | GeneralCategory::FinalPunctuation
        )
        || matches!(c, '¿' | '¡' | '\u{201A}' | '\u{201E}')
}

/// Whether a reader would take the text for a number, a boolean or null.
fn reads_as_scalar(text: &str) -> bool {
    match text.len() {
        0 => return false,
        3..=9 if text.as_bytes()[0].is_ascii_alphabetic() => {
            return ["true", "false", "null", "nan", "inf", "infinity"]
                .iter()
                .any(|word| text.eq_ignore_ascii_case(word));
        }
        _ => {}
    }
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    if body.eq_ignore_ascii_case("inf")
        || body.eq_ignore_ascii_case("infinity")
        || body.eq_ignore_ascii_case("nan")
    {
        return true;
    }
    if !body.starts_with(|c: char| c.is_numeric() || c == '.') {
        return false;
    }
    if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_');
    }
    // Digits of any script, group separators, one point, one exponent.
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (body, None),
    };
    let digits = |part: &str| {
        part.chars().any(char::is_numeric) && part.chars().all(|c| c.is_numeric() || matches!(c, '_' | ','))
    };
    let whole = mantissa.split_once('.').map_or(mantissa.to_owned(), |(a, b)| format!("{a}{b}"));
    digits(&whole) && exponent.is_none_or(digits)
}

/// Whether a key is printed without quotes: letters, digits, marks and `_ - . /` and single spaces,
/// beginning with a letter or digit, also in its NFKC form.
pub(crate) fn is_plain_key(key: &str) -> bool {
    fn form(key: &str) -> bool {
        let ok = |c: char| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '/' | ' ' => true,
            _ if c.is_ascii() => false,
            '\u{200C}' | '\u{200D}' => true,
            _ => is_common_letter(c) || ((c.is_alphanumeric() || is_mark(c)) && !must_escape(c)),
        };
        key.starts_with(|c: char| c.is_alphanumeric() && !is_mark(c) || c == '_')
            && !key.ends_with(' ')
            && !key.contains("  ")
            && !key.contains("--")
            && key.chars().all(ok)
    }
    if key.is_ascii() {
        return is_plain_ascii_key(key.as_bytes());
    }
    form(key) && (is_nfkc_quick(key.chars()) == IsNormalized::Yes || form(&key.nfkc().collect::<String>()))
}

/// [`is_plain_key`] for the keys that nearly all keys are.
fn is_plain_ascii_key(key: &[u8]) -> bool {
    let mut previous = b' ';
    for &byte in key {
        let ok = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => true,
            b' ' | b'-' => previous != byte,
            b'.' | b'/' => true,
            _ => false,
        };
        if !ok {
            return false;
        }
        previous = byte;
    }
    previous != b' ' && key.first().is_some_and(|first| first.is_ascii_alphanumeric() || *first == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str, position: Position) -> String {
        let mut out = String::new();
        TextStyle::default().write(&mut out, text, position);
        out
    }

    #[test]
    fn ordinary_texts_are_printed_as_they_are() {
        for text in [
            "Jane Doe",
            "jane@acme.test",
            "Acme, Inc.",
            "AT&T",
            "+49 30 1234",
            "2026-01-05",
            "1.2.3",
            "O'Brien",
            "How: paid, organic (mostly)",
            "日本語",
            "Ünïcode – ja",
            "/path/to",
            "$5 a month",
            "C# Experts",
            "5 USD",
            "नमस्ते",
            "👩‍💻 Dev",
            "“quoted”",
            "Toys \"R\" Us",
            "10:30",
        ] {
            assert_eq!(printed(text, Position::Line), text);
        }
    }

    #[test]
    fn what_could_be_read_as_something_else_is_quoted() {
        for text in [
            "",
            " x",
            "x ",
            "3",
            "-3.5e7",
            "+1",
            "1,000",
            "0x1F",
            ".5",
            "3.",
            "٣",
            "３",
            "true",
            "NULL",
            "NaN",
            "-inf",
            "[x]",
            "a]b",
            "- x",
            "# x",
            "---",
            "a -- b",
            "*x",
            "> x",
            "<|im_start|>",
            "</s>",
            "{x",
            "`x",
            "\"x",
            "(x",
            "【x】",
            "⟦x⟧",
            "［x］",
            "a＂",
            "＂x",
            "\u{301}x",
            "x\u{3000}",
            "•x",
            "— x",
            "｜x",
            "a－－b",
            "\u{2800}",
            "===",
            "~~~",
            "___",
            ": x",
        ] {
            assert!(printed(text, Position::Line).starts_with('"'), "{text:?}");
        }
        assert!(printed("a: b", Position::Bare).starts_with('"'));
        assert!(printed("a：\u{3000}b", Position::Bare).starts_with('"'));
        assert!(printed("a:", Position::Bare).starts_with('"'));
        assert!(printed("a, b", Position::Inline).starts_with('"'));
        assert!(!printed("a, b", Position::Bare).starts_with('"'));
    }

    #[test]
    fn escapes_survive_normalisation() {
        for text in
            ["\n\u{301}x", "\u{b}\u{301}", "\u{301}", "＂＼", "\u{feff}\u{2028}a\u{308}", "\u{85}\u{ff9e}"]
        {
            let quoted = printed(text, Position::Line);
            let folded: String = quoted.nfkc().collect();
            let back: String = serde_json::from_str(&folded).expect("still a JSON string");
            let expected: String = clean(text).text.nfkc().collect();
            assert_eq!(back.nfkc().collect::<String>(), expected, "{text:?} -> {quoted}");
        }
    }

    #[test]
    fn no_forbidden_character_is_ever_printed() {
        for c in (0..=0x10FFFF).filter_map(char::from_u32) {
            let text = format!("x{c}y");
            let out = printed(&text, Position::Line);
            for p in out.chars() {
                let category = p.general_category();
                assert!(
                    !matches!(
                        category,
                        GeneralCategory::Control
                            | GeneralCategory::Format
                            | GeneralCategory::PrivateUse
                            | GeneralCategory::LineSeparator
                            | GeneralCategory::ParagraphSeparator
                    ) && !is_noncharacter(p)
                        && !matches!(p as u32, 0xFE00..=0xFE0F | 0xE0000..=0xE0FFF),
                    "U+{:04X} printed as {out:?}",
                    c as u32
                );
            }
        }
    }
}
