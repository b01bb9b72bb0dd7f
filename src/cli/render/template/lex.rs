//! Splits a template into text and actions, and actions into tokens.

use super::Mistake;

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<TemplateToken>),
}

/// A token of an action. `is_apart`: there is space before it, so that `.A.B` and `.A .B` differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateToken {
    pub(super) kind: TokenKind,
    pub(super) is_apart: bool,
}

/// The kind of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    Dot,
    /// `.Name`
    Field(String),
    /// `$name`
    Variable(String),
    Word(String),
    Text(String),
    Number(i64),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

impl TokenKind {
    /// Returns the token as it is written.
    pub(super) fn written(&self) -> String {
        match self {
            Self::Dot => ".".to_owned(),
            Self::Field(name) => format!(".{name}"),
            Self::Variable(name) => format!("${name}"),
            Self::Word(word) => word.clone(),
            Self::Text(text) => format!("{text:?}"),
            Self::Number(number) => number.to_string(),
            Self::Open => "(".to_owned(),
            Self::Close => ")".to_owned(),
            Self::Pipe => "|".to_owned(),
            Self::Comma => ",".to_owned(),
            Self::Declare => ":=".to_owned(),
            Self::Assign => "=".to_owned(),
        }
    }
}

/// What Go trims beside `{{- ` and ` -}}`.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template.
///
/// # Errors
/// An action that does not end, or a character or constant that is not allowed in one.
pub(super) fn split(template: &str) -> Result<Vec<Piece>, Mistake> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trims = false;
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        // As docker does, before Go sees them.
        let mut text = text.replace("\\t", "\t").replace("\\n", "\n");
        if trims {
            text = text.trim_start_matches(SPACE).to_owned();
        }
        let Some(mut action) = action else {
            push(&mut pieces, text);
            return Ok(pieces);
        };
        if let Some(after) = action.strip_prefix('-')
            && after.starts_with(SPACE)
        {
            text.truncate(text.trim_end_matches(SPACE).len());
            action = after.trim_start_matches(SPACE);
        }
        push(&mut pieces, text);
        if let Some(comment) = action.strip_prefix("/*") {
            (rest, trims) = after_comment(comment)?;
            continue;
        }
        let tokens;
        (tokens, rest, trims) = tokens_of(action)?;
        pieces.push(Piece::Action(tokens));
    }
}

fn push(pieces: &mut Vec<Piece>, text: String) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

/// Returns what follows a comment, and whether the text there is trimmed.
fn after_comment(comment: &str) -> Result<(&str, bool), Mistake> {
    let after = comment.split_once("*/").map(|(_, after)| after);
    let after = after.ok_or_else(|| Mistake::new("a comment does not end with `*/}}`"))?;
    if let Some(rest) = after.strip_prefix("}}") {
        return Ok((rest, false));
    }
    let trimmed = after.trim_start_matches(SPACE);
    match trimmed.strip_prefix("-}}") {
        Some(rest) if trimmed.len() < after.len() => Ok((rest, true)),
        _ => Err(Mistake::new("a comment does not end with `*/}}`")),
    }
}

/// Returns the tokens of an action, what follows it, and whether the text there is trimmed.
fn tokens_of(action: &str) -> Result<(Vec<TemplateToken>, &str, bool), Mistake> {
    let mut tokens = Vec::new();
    let mut rest = action;
    loop {
        let trimmed = rest.trim_start_matches(SPACE);
        let is_apart = trimmed.len() < rest.len();
        if let Some(after) = trimmed.strip_prefix("}}") {
            return Ok((tokens, after, false));
        }
        if is_apart && let Some(after) = trimmed.strip_prefix("-}}") {
            return Ok((tokens, after, true));
        }
        if trimmed.is_empty() {
            return Err(Mistake::new("an action `{{` does not end with `}}`"));
        }
        let (kind, after) = token(trimmed)?;
        tokens.push(TemplateToken { kind, is_apart });
        rest = after;
    }
}

/// Returns the token that a text begins with, and what follows it.
fn token(text: &str) -> Result<(TokenKind, &str), Mistake> {
    for (mark, kind) in [
        ("(", TokenKind::Open),
        (")", TokenKind::Close),
        ("|", TokenKind::Pipe),
        (",", TokenKind::Comma),
        (":=", TokenKind::Declare),
        ("=", TokenKind::Assign),
    ] {
        if let Some(rest) = text.strip_prefix(mark) {
            return Ok((kind, rest));
        }
    }
    let first = text.chars().next().unwrap_or_default();
    match first {
        '.' => match word(&text[1..]) {
            ("", rest) if !rest.starts_with(|c: char| c.is_ascii_digit()) => {
                Ok((TokenKind::Dot, rest))
            }
            ("", _) => number(text),
            (name, rest) => Ok((TokenKind::Field(name.to_owned()), rest)),
        },
        '$' => {
            let (name, rest) = word(&text[1..]);
            Ok((TokenKind::Variable(name.to_owned()), rest))
        }
        '"' => quoted(&text[1..]),
        '`' => {
            let raw = text[1..].split_once('`');
            let (raw, rest) = raw.ok_or_else(|| Mistake::new("a string does not end with '`'"))?;
            Ok((TokenKind::Text(raw.to_owned()), rest))
        }
        '\'' => Err(Mistake::with_hint(
            "character constants are not supported",
            "strings are written with \"…\" or `…`",
        )),
        '+' | '-' | '0'..='9' => number(text),
        _ => match word(text) {
            ("", _) => Err(Mistake::new(format!(
                "unexpected character `{first}` in an action"
            ))),
            (name, rest) => Ok((TokenKind::Word(name.to_owned()), rest)),
        },
    }
}

/// Returns the identifier that a text begins with, which may be empty, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let is_part = |c: char| c == '_' || c.is_alphanumeric();
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => ("", text),
        false => text.split_at(end),
    }
}

/// Reads a number in Go's syntax: decimal, `0x`, `0o`, `0b`, and `_` between digits.
fn number(text: &str) -> Result<(TokenKind, &str), Mistake> {
    let is_part = |c: char| c == '_' || c == '.' || c.is_ascii_alphanumeric();
    let unsigned = text.trim_start_matches(['+', '-']);
    let end = unsigned.find(|c| !is_part(c)).unwrap_or(unsigned.len());
    let end = end + (text.len() - unsigned.len());
    let (written, rest) = text.split_at(end);
    let wrong = || Mistake::new(format!("`{written}` is not a number"));
    let digits = written.replace('_', "");
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some(two) if two.starts_with('0') && !two.ends_with(['.', 'e']) => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if radix == 10
        && digits.contains(['.', 'e'])
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return Err(Mistake::new(format!(
            "`{written}`: floating-point numbers are not supported"
        )));
    }
    let value = i64::from_str_radix(&format!("{sign}{digits}"), radix);
    match value {
        Ok(value) if !digits.starts_with(['+', '-']) => Ok((TokenKind::Number(value), rest)),
        _ => Err(wrong()),
    }
}

/// Reads a string behind its first quote, with Go's escapes.
fn quoted(text: &str) -> Result<(TokenKind, &str), Mistake> {
    let open = || Mistake::new("a string does not end with `\"`");
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((TokenKind::Text(value), &text[at + 1..])),
            '\\' => {
                let (_, escaped) = chars.next().ok_or_else(open)?;
                let digits = |count| text.get(at + 2..at + 2 + count);
                let (value_of, skipped) = match escaped {
                    'n' => (Some('\n'), 0),
                    't' => (Some('\t'), 0),
                    'r' => (Some('\r'), 0),
                    'a' => (Some('\x07'), 0),
                    'b' => (Some('\x08'), 0),
                    'f' => (Some('\x0c'), 0),
                    'v' => (Some('\x0b'), 0),
                    '\\' | '"' => (Some(escaped), 0),
                    'x' => (code(digits(2)), 2),
                    'u' => (code(digits(4)), 4),
                    'U' => (code(digits(8)), 8),
                    _ => (None, 0),
                };
                let Some(c) = value_of else {
                    return Err(Mistake::new(format!(
                        "a string has the unknown escape `\\{escaped}`"
                    )));
                };
                value.push(c);
                for _ in 0..skipped {
                    chars.next();
                }
            }
            c => value.push(c),
        }
    }
    Err(open())
}

/// Returns the character of a code in hexadecimal digits.
fn code(digits: Option<&str>) -> Option<char> {
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}
