//! Which characters of a text reach the prompt: nothing invisible that no script and no emoji needs.
//!
//! `docs/prompt-format.md`, "What is removed", is the specification.

use std::borrow::Cow;

use unicode_normalization::char::canonical_combining_class;
use unicode_properties::{GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory};
use unicode_segmentation::GraphemeCursor;

/// Characters of one text (a value, a key, a label, a name) that are printed at most.
pub const TEXT_CHARS: usize = 1_000;

/// A text without its invisible characters, cut to [`TEXT_CHARS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clean<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Characters that were cut off at the end, after removal of the invisible ones.
    pub(crate) cut: usize,
}

/// Removes what cannot be seen and cuts the rest at a grapheme border.
pub(crate) fn clean(text: &str) -> Clean<'_> {
    let mut kept = remove_invisible(text);
    let mut cut = 0;
    // A text is never longer in characters than in bytes: most need no count.
    if kept.len() > TEXT_CHARS
        && let Some((limit, _)) = kept.char_indices().nth(TEXT_CHARS)
    {
        let end = grapheme_border(&kept, limit);
        cut = kept[end..].chars().count();
        match &mut kept {
            Cow::Borrowed(all) => *all = &all[..end],
            Cow::Owned(all) => all.truncate(end),
        }
    }
    Clean { text: kept, cut }
}

/// The last grapheme border at or before `limit`; `limit` itself where the first grapheme is longer than
/// that (a letter under a thousand marks), so that something is shown.
fn grapheme_border(text: &str, limit: usize) -> usize {
    let mut cursor = GraphemeCursor::new(limit, text.len(), true);
    if cursor.is_boundary(text, 0).unwrap_or(true) {
        return limit;
    }
    match cursor.prev_boundary(text, 0) {
        Ok(Some(border)) if border > 0 => border,
        _ => limit,
    }
}

fn remove_invisible(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out: Option<String> = None;
    let mut previous: Option<char> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let keep = !may_be_invisible(c) || needed(c, previous, chars.peek().map(|(_, next)| *next));
        if keep {
            previous = Some(c);
            if let Some(out) = &mut out {
                out.push(c);
            }
        } else if out.is_none() {
            let mut head = String::with_capacity(text.len());
            head.push_str(&text[..at]);
            out = Some(head);
        }
    }
    out.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Default-ignorable characters and format characters that print nothing. The visible format
/// characters (the Arabic number signs and their like) are not here: they are escaped.
fn may_be_invisible(c: char) -> bool {
    matches!(c as u32,
        0x00AD | 0x034F | 0x061C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF
        | 0xFFA0 | 0xFFF0..=0xFFFB | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
        | 0xE0000..=0xE0FFF)
}

/// Whether an invisible character does something to its neighbours that the text would lose.
fn needed(c: char, previous: Option<char>, next: Option<char>) -> bool {
    let Some(before) = previous else { return false };
    match c {
        '\u{200C}' | '\u{200D}' => {
            let after_is = |test: fn(char) -> bool| next.is_some_and(test);
            if c == '\u{200D}' && joins_emoji(before) && after_is(is_pictograph) {
                return true;
            }
            if is_cursive(before)
                && (after_is(is_cursive) || (c == '\u{200D}' && !after_is(may_be_invisible)))
            {
                return true;
            }
            // Conjuncts and half forms of the Indic scripts: beside a virama (combining class 9).
            is_virama(before) || (is_word_part(before) && after_is(is_virama))
        }
        '\u{FE0E}' | '\u{FE0F}' => {
            is_pictograph(before) || (matches!(before, '0'..='9' | '#' | '*') && next == Some('\u{20E3}'))
        }
        // Mongolian letters choose their form by the selector behind them.
        '\u{180B}'..='\u{180D}' | '\u{180F}' => matches!(before, '\u{1820}'..='\u{18AA}'),
        _ => false,
    }
}

/// An emoji that is a sign of its own: digits, `#` and `*` have the property too, and are none.
fn is_pictograph(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char()
}

fn joins_emoji(c: char) -> bool {
    is_pictograph(c) || c == '\u{FE0F}'
}

fn is_virama(c: char) -> bool {
    !c.is_ascii() && canonical_combining_class(c) == 9
}

fn is_word_part(c: char) -> bool {
    c.is_alphabetic() || is_mark(c)
}

/// Letters and marks of the scripts whose letters join.
fn is_cursive(c: char) -> bool {
    matches!(c as u32,
        0x0600..=0x074F | 0x0750..=0x077F | 0x07C0..=0x07FF | 0x0840..=0x086F | 0x0870..=0x08FF
        | 0x1800..=0x18AF | 0xA840..=0xA87F | 0xFB50..=0xFDFF | 0xFE70..=0xFEFE | 0x10AC0..=0x10AFF
        | 0x10B80..=0x10BAF | 0x10D00..=0x10D3F | 0x10F30..=0x10F6F | 0x10FB0..=0x10FDF
        | 0x1E900..=0x1E95F)
        && is_word_part(c)
}

/// A combining mark: it changes the look of what stands before it.
pub(crate) fn is_mark(c: char) -> bool {
    !c.is_ascii() && c.general_category_group() == GeneralCategoryGroup::Mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        clean(text).text.into_owned()
    }

    #[test]
    fn joiners_stay_where_a_script_or_an_emoji_needs_them() {
        for text in [
            "نمی\u{200c}خواهم",
            "ه\u{200d}",
            "क्\u{200d}ष",
            "ক্\u{200c}ষ",
            "র\u{200d}্য",
            "ශ්\u{200d}රී",
            "👩\u{200d}💻",
            "🏳\u{fe0f}\u{200d}🌈",
            "👩🏽\u{200d}🚒",
            "1\u{fe0f}\u{20e3}",
            "❤\u{fe0f}",
            "ᠠ\u{180b}",
        ] {
            assert_eq!(kept(text), text);
        }
    }

    #[test]
    fn joiners_and_selectors_go_where_nothing_needs_them() {
        assert_eq!(kept("Ja\u{200c}ne\u{200d} Doe"), "Jane Doe");
        assert_eq!(kept("a\u{fe0f}b\u{fe01}c\u{e0100}"), "abc");
        assert_eq!(kept("1\u{fe0f}2"), "12");
        assert_eq!(kept("❤\u{fe0f}\u{fe0f}\u{fe0e}"), "❤\u{fe0f}");
        assert_eq!(kept("👩\u{200d}\u{200d}💻"), "👩\u{200d}💻");
        assert_eq!(kept("\u{200d}💻\u{200d}"), "💻");
        assert_eq!(kept("Jane\u{e0049}\u{e0067}\u{200b}\u{202e} Doe"), "Jane Doe");
        assert_eq!(kept("\u{3164}\u{115f}\u{ffa0}\u{2064}x"), "x");
    }

    #[test]
    fn removal_is_idempotent_for_every_pair_of_characters() {
        let samples =
            ['a', 'ه', 'क', '\u{94d}', '👩', '\u{200c}', '\u{200d}', '\u{fe0f}', '\u{200b}', '1', '\u{20e3}'];
        for a in samples {
            for b in samples {
                for c in samples {
                    let text: String = [a, b, c].iter().collect();
                    let once = kept(&text);
                    assert_eq!(kept(&once), once, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn long_texts_are_cut_between_graphemes() {
        let family = "👩\u{200d}👩\u{200d}👧";
        let text = format!("{}{family}{family}", "x".repeat(TEXT_CHARS - 2));
        let cleaned = clean(&text);
        assert_eq!(cleaned.text.len(), TEXT_CHARS - 2);
        assert_eq!(cleaned.cut, 10);
        let pile = format!("e{}", "\u{301}".repeat(3_000));
        let cleaned = clean(&pile);
        assert_eq!((cleaned.text.chars().count(), cleaned.cut), (TEXT_CHARS, 2_001));
        let exact = "é".repeat(TEXT_CHARS);
        assert_eq!(clean(&exact).cut, 0);
    }
}
