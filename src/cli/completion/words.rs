//! The words of an incomplete command line of bash.
//!
//! bash passes words to a completion function that are split at `:`, `=` and `@` and still have their quotes. An image name
//! has all three, so the line itself is read.

/// The quotes that are open at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quote {
    None,
    Single,
    Double,
}

/// A line up to the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BashLine {
    /// The words before the one at the cursor, the command first, without quotes.
    pub before: Vec<String>,
    /// The word at the cursor, without quotes.
    pub word: String,
    /// Where that word begins in the line, in bytes.
    pub start: usize,
    /// The quotes that are open at the cursor.
    pub quote: Quote,
    /// The word at the cursor is the target of a redirection, or contains an expansion that only the shell can do.
    pub is_other: bool,
}

impl BashLine {
    /// Reads a line up to the cursor.
    pub fn read(line: &str) -> Self {
        let mut reader = Reader::new();
        let mut chars = line.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match (reader.quote, c) {
                (Quote::Single, '\'') | (Quote::Double, '"') => reader.quote = Quote::None,
                (Quote::Single, c) => reader.push(at, c),
                (_, '\\') => match chars.next() {
                    // In double quotes a backslash only quotes these.
                    Some((_, next))
                        if reader.quote == Quote::Double && !r#"$`"\"#.contains(next) =>
                    {
                        reader.push(at, c);
                        reader.push(at, next);
                    }
                    Some((_, next)) => reader.push(at, next),
                    None => reader.begin(at),
                },
                (_, '$' | '`') => {
                    reader.is_expanded = true;
                    reader.push(at, c);
                }
                (Quote::Double, c) => reader.push(at, c),
                (Quote::None, '\'') => {
                    reader.begin(at);
                    reader.quote = Quote::Single;
                }
                (Quote::None, '"') => {
                    reader.begin(at);
                    reader.quote = Quote::Double;
                }
                (Quote::None, ' ' | '\t') => reader.end(),
                (Quote::None, '<' | '>') => {
                    reader.end_before_redirection();
                    while chars.next_if(|(_, c)| "<>&|".contains(*c)).is_some() {}
                }
                (Quote::None, ';' | '|' | '&' | '\n' | '(') => reader = Reader::new(),
                (Quote::None, c) => reader.push(at, c),
            }
        }
        reader.finish(line.len())
    }
}

struct Reader {
    before: Vec<String>,
    word: String,
    /// Where the word begins; `None` between words.
    start: Option<usize>,
    quote: Quote,
    is_expanded: bool,
    /// The word is the target of a redirection.
    is_target: bool,
}

impl Reader {
    const fn new() -> Self {
        Self {
            before: Vec::new(),
            word: String::new(),
            start: None,
            quote: Quote::None,
            is_expanded: false,
            is_target: false,
        }
    }

    fn begin(&mut self, at: usize) {
        self.start.get_or_insert(at);
    }

    fn push(&mut self, at: usize, c: char) {
        self.begin(at);
        self.word.push(c);
    }

    fn end(&mut self) {
        if self.start.take().is_none() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        if !std::mem::take(&mut self.is_target) {
            self.before.push(word);
        }
        self.is_expanded = false;
    }

    fn end_before_redirection(&mut self) {
        // The number of a file descriptor is not a word.
        if self.start.is_some() && self.word.bytes().all(|byte| byte.is_ascii_digit()) {
            self.start = None;
            self.word.clear();
        }
        self.end();
        self.is_target = true;
    }

    fn finish(self, len: usize) -> BashLine {
        BashLine {
            before: self.before,
            word: self.word,
            start: self.start.unwrap_or(len),
            quote: self.quote,
            is_other: self.is_target || self.is_expanded,
        }
    }
}

/// Returns the words of a line after the one at the cursor; `quote`: the quotes that are open there.
pub fn behind(rest: &str, quote: Quote) -> Vec<String> {
    let command = rest.split([';', '|', '&', '\n', '(']).next();
    let (Some((_, words)), Quote::None) = (command.unwrap_or_default().split_once(' '), quote)
    else {
        return Vec::new();
    };
    BashLine::read(&format!("{words} ")).before
}

/// Quotes a string for insertion in bash inside these open quotes. `None`: that is impossible.
pub fn quoted(text: &str, quote: Quote) -> Option<String> {
    match quote {
        Quote::Single => Some(text.replace('\'', r"'\''")),
        // An interactive bash expands `!` there, and a backslash before it is not removed.
        Quote::Double if text.contains('!') => None,
        Quote::Double => Some(with_backslashes(text, |c| r#"$`"\"#.contains(c))),
        Quote::None => Some(with_backslashes(text, |c| {
            c.is_ascii() && !c.is_ascii_alphanumeric() && !"_./:@%+=,-".contains(c)
        })),
    }
}

fn with_backslashes(text: &str, is_special: impl Fn(char) -> bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if is_special(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Vec<String>, String, usize, Quote) {
        let line = BashLine::read(line);
        (line.before, line.word, line.start, line.quote)
    }

    #[test]
    fn words_are_split_as_by_the_shell() {
        type Case<'a> = (&'a str, &'a [&'a str], &'a str, usize, Quote);
        let cases: &[Case<'_>] = &[
            ("", &[], "", 0, Quote::None),
            ("x ", &["x"], "", 2, Quote::None),
            ("x rm a:b@c=d", &["x", "rm"], "a:b@c=d", 5, Quote::None),
            (r"x my\ im", &["x"], "my im", 2, Quote::None),
            ("x 'my im", &["x"], "my im", 2, Quote::Single),
            (r#"x "a\"b\c"#, &["x"], r#"a"b\c"#, 2, Quote::Double),
            (r#"x a"b c"'d' e"#, &["x", "ab cd"], "e", 12, Quote::None),
            ("x '' ", &["x", ""], "", 5, Quote::None),
            (r"x a\", &["x"], "a", 2, Quote::None),
            ("y | x a", &["x"], "a", 6, Quote::None),
            ("x 2>/dev/null a", &["x"], "a", 14, Quote::None),
            ("x a >b c", &["x", "a"], "c", 7, Quote::None),
            ("x é ", &["x", "é"], "", 5, Quote::None),
        ];
        for (line, before, word, start, quote) in cases {
            let before = before.iter().map(|word| (*word).to_owned()).collect();
            let want = (before, (*word).to_owned(), *start, *quote);
            assert_eq!(read(line), want, "{line}");
        }
    }

    #[test]
    fn words_that_only_the_shell_can_expand_are_left_to_it() {
        for line in ["x $HOME/a", "x `id`", "x >fi", "x \"$a"] {
            assert!(BashLine::read(line).is_other, "{line}");
        }
        for line in ["x '$HOME/a", r"x \$a", "x $a b", "x >fi a"] {
            assert!(!BashLine::read(line).is_other, "{line}");
        }
    }

    #[test]
    fn words_after_the_cursor_are_those_of_the_same_command() {
        for (rest, quote, words) in [
            ("", Quote::None, &[][..]),
            (" images app:1", Quote::None, &["images", "app:1"]),
            ("rest images", Quote::None, &["images"]),
            (" 'my images'; ls a", Quote::None, &["my images"]),
            (" images", Quote::Single, &[]),
        ] {
            assert_eq!(behind(rest, quote), words, "{rest}");
        }
    }

    #[test]
    fn quoted_text_is_read_back_unchanged() {
        let names = [
            "app:1.4", "a b", "$(id)", "`id`", "'", "\"", "\\", "a;b|c&d", "~root", "#x", "{a,b}",
            "*?[x]", "!!", "naïve",
        ];
        for name in names {
            for (quote, open) in [
                (Quote::None, ""),
                (Quote::Single, "'"),
                (Quote::Double, "\""),
            ] {
                let Some(text) = quoted(name, quote) else {
                    assert!(name.contains('!') && quote == Quote::Double);
                    continue;
                };
                let line = BashLine::read(&format!("x {open}{text}{open} "));
                assert_eq!(line.before, ["x", name], "{text}");
            }
        }
    }
}
