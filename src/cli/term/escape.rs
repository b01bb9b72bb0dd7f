//! Escaping of foreign text.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// The longest run of combining marks that is not escaped. Living languages need four; a few hundred cover the lines above,
/// and have no width by which they could be cut.
const MAX_MARKS: usize = 8;

/// Returns `text` with everything escaped that could deceive a reader or control a terminal.
///
/// Controls (C0, C1, DEL), bidi controls, zero-width and other format characters, variation selectors, line separators,
/// tags, private use and noncharacters become `\x1b` or `\u{202e}`, and so do combining marks without a base. An emoji that
/// is joined from several is therefore shown in its parts. A backslash is not escaped, so escaping twice is harmless and the
/// result cannot be reversed. Other spaces than U+0020 pass, and so do letters that merely look alike.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Cow::Borrowed(text);
    }
    // A mark that follows nothing, or an escape, has no base.
    let mut has_base = false;
    let mut marks = 0_usize;
    escape_where(text, |c| {
        let is_mark = !is_hazardous(c) && c.width() == Some(0);
        marks = if is_mark { marks.saturating_add(1) } else { 0 };
        has_base = match is_mark {
            true => has_base && marks <= MAX_MARKS,
            false => !is_hazardous(c),
        };
        !has_base
    })
}

/// Returns `text` with visible tabs and line ends, and everything else raw.
///
/// This is for text that is written to a pipe as a cell or a message: a name must not add rows to what a program reads by line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape_where(text, |c| {
        matches!(c, '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
    })
}

/// Returns `text` with an escape in place of each character for which `is_escaped` returns `true`.
fn escape_where(text: &str, mut is_escaped: impl FnMut(char) -> bool) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut copied = 0;
    for (at, c) in text.char_indices() {
        if !is_escaped(c) {
            continue;
        }
        let code = u32::from(c);
        shown.push_str(&text[copied..at]);
        // `\x` is for ASCII only: `\x9b` would read as a byte that is not in the text.
        shown.push_str(&if c.is_ascii() {
            format!("\\x{code:02x}")
        } else {
            format!("\\u{{{code:x}}}")
        });
        copied = at + c.len_utf8();
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[copied..]);
    Cow::Owned(shown)
}

/// Returns `true` if `c` is dangerous at any place (general categories Cc, Cf, Zl, Zp, Co, noncharacters, and
/// default-ignorable letters and marks, Unicode 16).
fn is_hazardous(c: char) -> bool {
    c.is_control()
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{e000}'..='\u{f8ff}'
                | '\u{fdd0}'..='\u{fdef}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
                | '\u{f0000}'..
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_passes_unchanged() {
        let cases = [
            "",
            "docker.io/library/alpine:3.20",
            r"C:\layouts\x1b",
            "naïve café ñ",
            "cafe\u{301} o\u{302}\u{323}",
            "面白い/イメージ:最新",
            "한국어 \u{1112}\u{1161}\u{11ab}",
            "שלום مرحبا",
            "नमस्ते สวัสดี",
            "🚀 ❤ © 1\u{20e3}",
            "👩🏽 🇫🇷",
            "├─ … → \u{a0}",
        ];
        for text in cases {
            assert!(
                matches!(escape(text), Cow::Borrowed(_)),
                "{text:?} became {:?}",
                escape(text)
            );
        }
    }

    #[test]
    fn deceptive_characters_become_visible() {
        let cases = [
            ("\x1b[2Jx", r"\x1b[2Jx"),
            ("a\nb\tc\r\0", r"a\x0ab\x09c\x0d\x00"),
            ("\x7f\u{80}\u{9b}31m", r"\x7f\u{80}\u{9b}31m"),
            ("app\u{202e}gpj.exe", r"app\u{202e}gpj.exe"),
            ("\u{200e}\u{200f}\u{61c}", r"\u{200e}\u{200f}\u{61c}"),
            ("\u{2066}\u{2069}\u{202a}", r"\u{2066}\u{2069}\u{202a}"),
            (
                "a\u{200b}b\u{200c}c\u{200d}d\u{2060}",
                r"a\u{200b}b\u{200c}c\u{200d}d\u{2060}",
            ),
            ("\u{feff}latest\u{ad}", r"\u{feff}latest\u{ad}"),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
            ("🏴\u{e0067}\u{e007f}", r"🏴\u{e0067}\u{e007f}"),
            (
                "\u{e000}\u{fffe}\u{10ffff}\u{fdd0}",
                r"\u{e000}\u{fffe}\u{10ffff}\u{fdd0}",
            ),
            ("\u{3164}\u{2800}\u{34f}", r"\u{3164}\u{2800}\u{34f}"),
            // No base.
            ("\u{301}a", r"\u{301}a"),
            ("\x1b\u{301}a", r"\x1b\u{301}a"),
            ("a\u{fe0f}", r"a\u{fe0f}"),
            ("1\u{fe0f}", r"1\u{fe0f}"),
            ("❤\u{fe0f}\u{fe0f}", r"❤\u{fe0f}\u{fe0f}"),
            ("1\u{fe0f}\u{20e3}", r"1\u{fe0f}\u{20e3}"),
            (
                "👩🏽\u{200d}💻 🏳\u{fe0f}\u{200d}🌈",
                r"👩🏽\u{200d}💻 🏳\u{fe0f}\u{200d}🌈",
            ),
            ("💻\u{200d}", "💻\\u{200d}"),
            ("\u{200d}💻", "\\u{200d}💻"),
        ];
        for (text, want) in cases {
            assert_eq!(escape(text), want);
            assert_eq!(escape(want), want, "escaping twice changes {want:?}");
        }
    }

    #[test]
    fn a_tower_of_marks_is_capped() {
        let tower = format!("a{}", "\u{301}".repeat(500));
        let shown = escape(&tower);
        assert!(shown.starts_with(&format!("a{}\\u{{301}}", "\u{301}".repeat(MAX_MARKS))));
        // After an escape the count begins again, but there is no base.
        assert_eq!(shown.matches('\u{301}').count(), MAX_MARKS);
    }

    #[test]
    fn no_control_character_passes_unescaped() {
        for c in '\0'..=char::MAX {
            let text = format!("a{c}b");
            let shown = escape(&text);
            assert!(!shown.chars().any(char::is_control), "{c:?}");
            if !matches!(c, ' '..='~') && shown == text {
                assert!(!is_hazardous(c), "{c:?}");
            }
            assert_eq!(escape(&shown), shown, "{c:?}");
        }
    }

    #[test]
    fn a_pipe_gets_one_line_and_the_rest_raw() {
        let cases = [
            ("plain", "plain"),
            ("a\nb\r\tc", r"a\x0ab\x0d\x09c"),
            ("a\u{85}b\u{2028}", r"a\u{85}b\u{2028}"),
            ("\x1b[31m\u{202e}", "\x1b[31m\u{202e}"),
        ];
        for (text, want) in cases {
            assert_eq!(one_line(text), want);
        }
    }
}
