//! Lines of prose on a terminal, broken between words if they are too long. Lines that users copy are not broken, and
//! neither is output to a pipe.

use unicode_width::UnicodeWidthStr;

/// The columns by which the rest of a line is indented, beside the indentation of the line.
const HANGING: usize = 4;

/// Breaks lines at spaces so that they are at most `width` columns wide. A word that is wider is not broken. `None` breaks nothing;
/// this is for [`Term::width`](crate::cli::term::Term::width).
pub fn wrapped(text: String, width: Option<usize>) -> String {
    let Some(width) = width else { return text };
    let is_long = |line: &&str| line.trim_end_matches('\n').width() > width;
    if !text.lines().any(|line| is_long(&line)) {
        return text;
    }
    let lines = text.split_inclusive('\n');
    let broken = lines.map(|line| match is_long(&line) {
        true => wrapped_line(line, width),
        false => line.to_owned(),
    });
    broken.collect()
}

fn wrapped_line(line: &str, width: usize) -> String {
    let start = line.len() - line.trim_start_matches(' ').len();
    let (indentation, words) = line.split_at(start);
    let hanging = " ".repeat(start.saturating_add(HANGING));
    let mut text = indentation.to_owned();
    let mut used = start;
    // Several spaces between words stay as they are.
    let mut gap = "";
    let mut rest = words;
    while !rest.is_empty() {
        let end = rest.find(' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let needed = gap
            .len()
            .saturating_add(word.trim_end_matches('\n').width());
        let is_first = used <= hanging.len();
        if is_first || used.saturating_add(needed) <= width {
            text.push_str(gap);
            used = used.saturating_add(needed);
        } else {
            text.push('\n');
            text.push_str(&hanging);
            used = hanging.len().saturating_add(word.width());
        }
        text.push_str(word);
        rest = after.trim_start_matches(' ');
        gap = after.get(..after.len() - rest.len()).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let cases = [
            ("", ""),
            ("a line that fits\n", "a line that fits\n"),
            ("just twenty columns!\n", "just twenty columns!\n"),
            (
                "more than twenty columns\n",
                "more than twenty\n    columns\n",
            ),
            (
                "keep    a  b  (one; two)\n",
                "keep    a  b  (one;\n    two)\n",
            ),
            (
                "  indented, and the rest more\n",
                "  indented, and the\n      rest more\n",
            ),
            // Lines that users copy are not broken.
            (
                "Kept: sha256:0123456789abcdef (recent)\n",
                "Kept:\n    sha256:0123456789abcdef\n    (recent)\n",
            ),
            (
                "aa bb\nmore than twenty columns",
                "aa bb\nmore than twenty\n    columns",
            ),
            // The cursor stays after a question.
            (
                "more than twenty columns\n[y/N] ",
                "more than twenty\n    columns\n[y/N] ",
            ),
            // Wide characters take two columns.
            ("日本語 日本語 日本語\n", "日本語 日本語 日本語\n"),
            ("日本語 日本語 日本語 x\n", "日本語 日本語 日本語\n    x\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(wrapped(text.to_owned(), Some(20)), expected, "{text}");
            assert_eq!(wrapped(text.to_owned(), None), text);
        }
        // A line that is no longer than the indentation is not broken: nothing would be gained.
        assert_eq!(wrapped("a b c d".to_owned(), Some(1)), "a b c\n    d");
    }
}
