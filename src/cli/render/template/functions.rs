//! The functions of templates: docker's, and those of Go that scripts use.

use super::Mistake;
use super::printf;
use super::value::{TemplateValue, ValueKind};

/// Functions of Go's templates that are not supported.
pub(super) const UNSUPPORTED: [&str; 5] = ["call", "html", "js", "urlquery", "nil"];

/// The maximum number of characters that `pad` adds on a side.
const MAX_PAD: i64 = 10_000;

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Json,
    Upper,
    Lower,
    Title,
    Join,
    Split,
    Truncate,
    Pad,
    Print,
    Println,
    Printf,
    Len,
    Index,
    Slice,
    And,
    Or,
    Not,
    Compare(Comparison),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Function {
    /// All functions with their names, in the order in which messages list them.
    pub(super) const ALL: [(&'static str, Self); 23] = [
        ("json", Self::Json),
        ("upper", Self::Upper),
        ("lower", Self::Lower),
        ("title", Self::Title),
        ("join", Self::Join),
        ("split", Self::Split),
        ("truncate", Self::Truncate),
        ("pad", Self::Pad),
        ("print", Self::Print),
        ("println", Self::Println),
        ("printf", Self::Printf),
        ("len", Self::Len),
        ("index", Self::Index),
        ("slice", Self::Slice),
        ("and", Self::And),
        ("or", Self::Or),
        ("not", Self::Not),
        ("eq", Self::Compare(Comparison::Eq)),
        ("ne", Self::Compare(Comparison::Ne)),
        ("lt", Self::Compare(Comparison::Lt)),
        ("le", Self::Compare(Comparison::Le)),
        ("gt", Self::Compare(Comparison::Gt)),
        ("ge", Self::Compare(Comparison::Ge)),
    ];

    /// Returns the function of a name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(known, function)| (known == name).then_some(function))
    }

    pub(super) fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(name, function)| (function == self).then_some(name))
            .unwrap_or_default()
    }

    /// Returns the type of the result.
    ///
    /// # Errors
    /// Arguments that the function does not take.
    pub(super) fn check(self, args: &[ValueKind]) -> Result<ValueKind, Mistake> {
        use ValueKind::{Flag, List, Number, Rows, Text};
        let wrong = |takes: &str| {
            let given: Vec<&str> = args.iter().map(|kind| kind.called()).collect();
            let given = match given.as_slice() {
                [] => "nothing".to_owned(),
                given => given.join(", "),
            };
            Mistake::new(format!("`{}` takes {takes}, not {given}", self.name()))
        };
        match self {
            Self::Json => match args {
                [_] => Ok(Text),
                _ => Err(wrong("one value")),
            },
            Self::Upper | Self::Lower | Self::Title => match args {
                [Text] => Ok(Text),
                _ => Err(wrong("a string")),
            },
            Self::Join => match args {
                [List, Text] => Ok(Text),
                _ => Err(wrong("a list, a string")),
            },
            Self::Split => match args {
                [Text, Text] => Ok(List),
                _ => Err(wrong("a string, a string")),
            },
            Self::Truncate => match args {
                [Text, Number] => Ok(Text),
                _ => Err(wrong("a string, a number")),
            },
            Self::Pad => match args {
                [Text, Number, Number] => Ok(Text),
                _ => Err(wrong("a string, a number, a number")),
            },
            Self::Print | Self::Println => Ok(Text),
            Self::Printf => match args {
                [Text, ..] => Ok(Text),
                _ => Err(wrong("a string and values")),
            },
            Self::Len => match args {
                [Text | List | Rows(_)] => Ok(Number),
                _ => Err(wrong("a string or a list")),
            },
            Self::Index => match args {
                [list @ (List | Rows(_)), Number] => list.element().ok_or_else(|| wrong("a list")),
                _ => Err(wrong("a list, a number")),
            },
            Self::Slice => match args {
                [kind @ (Text | List), numbers @ ..]
                    if numbers.len() <= 2 && numbers.iter().all(|kind| *kind == Number) =>
                {
                    Ok(*kind)
                }
                _ => Err(wrong("a string or a list and at most two numbers")),
            },
            Self::And | Self::Or => match args {
                [first, rest @ ..] if rest.iter().all(|kind| kind == first) => Ok(*first),
                [] => Err(wrong("values")),
                _ => Ok(ValueKind::Any),
            },
            Self::Not => match args {
                [_] => Ok(Flag),
                _ => Err(wrong("one value")),
            },
            Self::Compare(comparison) => match (comparison, args) {
                (Comparison::Eq, [first, rest @ ..]) if !rest.is_empty() => {
                    let is_same = rest.iter().all(|kind| kind == first);
                    match first {
                        Text | Number | Flag if is_same => Ok(Flag),
                        _ => Err(wrong("strings, numbers or booleans")),
                    }
                }
                (Comparison::Ne, [Text, Text] | [Number, Number] | [Flag, Flag]) => Ok(Flag),
                (Comparison::Eq | Comparison::Ne, _) => {
                    Err(wrong("two strings, numbers or booleans"))
                }
                (_, [Text, Text] | [Number, Number]) => Ok(Flag),
                _ => Err(wrong("two strings or two numbers")),
            },
        }
    }

    /// Returns the result. The types of the arguments were checked; the caller evaluates `and` and `or`.
    ///
    /// # Errors
    /// An index, a slice or a padding that the values do not allow.
    pub(super) fn call(self, args: &[TemplateValue]) -> Result<TemplateValue, Mistake> {
        let text = |text: String| Ok(TemplateValue::Text(text));
        match (self, args) {
            (Self::Json, [value]) => text(value.json()),
            (Self::Upper, [TemplateValue::Text(value)]) => text(value.to_uppercase()),
            (Self::Lower, [TemplateValue::Text(value)]) => text(value.to_lowercase()),
            (Self::Title, [TemplateValue::Text(value)]) => text(title(value)),
            (Self::Join, [TemplateValue::List(list), TemplateValue::Text(between)]) => {
                text(list.join(between))
            }
            (Self::Split, [TemplateValue::Text(value), TemplateValue::Text(between)]) => {
                Ok(TemplateValue::List(split(value, between)))
            }
            (Self::Truncate, [TemplateValue::Text(value), TemplateValue::Number(length)]) => {
                let length = usize::try_from(*length).unwrap_or_default();
                text(value.chars().take(length).collect())
            }
            (
                Self::Pad,
                [
                    TemplateValue::Text(value),
                    TemplateValue::Number(before),
                    TemplateValue::Number(after),
                ],
            ) => text(pad(value, *before, *after)?),
            (Self::Print, values) => text(printf::print(values)),
            (Self::Println, values) => text(printf::println(values)),
            (Self::Printf, [TemplateValue::Text(format), values @ ..]) => {
                text(printf::printf(format, values)?)
            }
            (Self::Len, [value]) => Ok(TemplateValue::Number(len(value))),
            (Self::Index, [list, TemplateValue::Number(at)]) => index(list, *at),
            (Self::Slice, [value, bounds @ ..]) => slice(value, bounds),
            (Self::Not, [value]) => Ok(TemplateValue::Flag(!value.is_true())),
            (Self::Compare(comparison), [first, rest @ ..]) => {
                Ok(TemplateValue::Flag(compare(comparison, first, rest)))
            }
            _ => Err(Mistake::new(format!(
                "`{}` got arguments that it does not take",
                self.name()
            ))),
        }
    }
}

/// Makes the first letter of each word a capital, as Go's `strings.Title` does.
fn title(text: &str) -> String {
    let mut is_first = true;
    let mut titled = String::new();
    for c in text.chars() {
        if is_first {
            titled.extend(c.to_uppercase());
        } else {
            titled.push(c);
        }
        is_first = if c.is_ascii() {
            c != '_' && !c.is_ascii_alphanumeric()
        } else {
            c.is_whitespace()
        };
    }
    titled
}

/// Splits a string; by nothing, into its characters.
fn split(text: &str, between: &str) -> Vec<String> {
    if between.is_empty() {
        return text.chars().map(String::from).collect();
    }
    text.split(between).map(str::to_owned).collect()
}

fn pad(text: &str, before: i64, after: i64) -> Result<String, Mistake> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let spaces = |count: i64| match usize::try_from(count) {
        Ok(spaces) if count <= MAX_PAD => Ok(" ".repeat(spaces)),
        _ => Err(Mistake::new(format!("cannot pad with {count} spaces"))),
    };
    Ok(format!("{}{text}{}", spaces(before)?, spaces(after)?))
}

/// Returns the number of elements; of a string, as in Go, of its bytes.
fn len(value: &TemplateValue) -> i64 {
    let len = match value {
        TemplateValue::Text(text) => text.len(),
        TemplateValue::List(list) => list.len(),
        TemplateValue::Rows(rows) => rows.len(),
        TemplateValue::Number(_) | TemplateValue::Flag(_) | TemplateValue::Row(_) => 0,
    };
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn index(list: &TemplateValue, at: i64) -> Result<TemplateValue, Mistake> {
    let position = usize::try_from(at).ok();
    let found = match list {
        TemplateValue::List(list) => {
            position.and_then(|at| list.get(at).cloned().map(TemplateValue::Text))
        }
        TemplateValue::Rows(rows) => {
            position.and_then(|at| rows.get(at).cloned().map(TemplateValue::Row))
        }
        TemplateValue::Text(_)
        | TemplateValue::Number(_)
        | TemplateValue::Flag(_)
        | TemplateValue::Row(_) => None,
    };
    found.ok_or_else(|| {
        let elements = len(list);
        Mistake::with_hint(
            format!("`index` cannot take element {at} of a list of {elements}"),
            "`{{if gt (len LIST) N}}` checks the length",
        )
    })
}

fn slice(value: &TemplateValue, bounds: &[TemplateValue]) -> Result<TemplateValue, Mistake> {
    let bound = |at: usize, default: i64| match bounds.get(at) {
        Some(TemplateValue::Number(number)) => *number,
        _ => default,
    };
    let (from, to) = (bound(0, 0), bound(1, len(value)));
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let range = range.filter(|(from, to)| from <= to);
    let range = range.map(|(from, to)| from..to);
    let part = match value {
        TemplateValue::Text(text) => range
            .and_then(|range| text.get(range))
            .map(|part| TemplateValue::Text(part.to_owned())),
        TemplateValue::List(list) => range
            .and_then(|range| list.get(range))
            .map(|part| TemplateValue::List(part.to_vec())),
        _ => None,
    };
    part.ok_or_else(|| {
        Mistake::new(format!(
            "`slice` cannot take {from} to {to} of {}",
            match value {
                TemplateValue::Text(text) => format!("`{text}`"),
                value => format!("a list of {}", len(value)),
            }
        ))
    })
}

fn compare(comparison: Comparison, first: &TemplateValue, rest: &[TemplateValue]) -> bool {
    let order = |second: &TemplateValue| match (first, second) {
        (TemplateValue::Number(first), TemplateValue::Number(second)) => first.cmp(second),
        (first, second) => first.print().cmp(&second.print()),
    };
    match (comparison, rest) {
        (Comparison::Eq, rest) => rest.contains(first),
        (Comparison::Ne, rest) => !rest.contains(first),
        (Comparison::Lt, [second, ..]) => order(second).is_lt(),
        (Comparison::Le, [second, ..]) => order(second).is_le(),
        (Comparison::Gt, [second, ..]) => order(second).is_gt(),
        (Comparison::Ge, [second, ..]) => order(second).is_ge(),
        (_, []) => false,
    }
}
