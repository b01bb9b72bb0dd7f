//! Go's `print`, `println` and `printf`.

use super::Mistake;
use super::value::TemplateValue;

/// The maximum width or precision.
const MAX_WIDTH: usize = 10_000;

/// Flags and verbs of Go that are not supported.
const OTHERS: [char; 17] = [
    '+', '#', ' ', '*', '[', 'x', 'X', 'c', 'U', 'b', 'o', 'O', 'e', 'f', 'g', 'T', 'p',
];

/// Returns the values, with a space between adjacent ones unless one of them is a string.
pub(super) fn print(values: &[TemplateValue]) -> String {
    let mut text = String::new();
    let mut was_text = true;
    for value in values {
        let is_text = matches!(value, TemplateValue::Text(_));
        if !text.is_empty() && !was_text && !is_text {
            text.push(' ');
        }
        text.push_str(&value.print());
        was_text = is_text;
    }
    text
}

/// Returns the values with a space between them and a line end.
pub(super) fn println(values: &[TemplateValue]) -> String {
    let values: Vec<String> = values.iter().map(TemplateValue::print).collect();
    values.join(" ") + "\n"
}

/// The part between `%` and a verb.
#[derive(Default)]
struct Directive {
    is_left: bool,
    is_zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Returns the values in a format with the verbs `%s`, `%v`, `%d`, `%q` and `%t`, each with the flags `-` and `0`, a width
/// and a precision. Mismatches are printed as by Go: `%!d(string=a)`.
///
/// # Errors
/// For other verbs and flags of Go.
pub(super) fn printf(format: &str, values: &[TemplateValue]) -> Result<String, Mistake> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0')) {
            directive.is_left |= flag == '-';
            directive.is_zero |= flag == '0';
        }
        directive.width = digits(&mut chars).unwrap_or_default();
        if chars.next_if_eq(&'.').is_some() {
            directive.precision = Some(digits(&mut chars).unwrap_or_default());
        }
        if let Some(other) = chars.next_if(|c| OTHERS.contains(c)) {
            return Err(Mistake::new(format!(
                "`printf` has %s, %v, %d, %q and %t, with `-`, `0`, a width and a precision, but not `{other}` in `{format}`"
            )));
        }
        match chars.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(verb) => match values.next() {
                None => text.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => text.push_str(&directive.print(verb, value)),
            },
        }
    }
    let extra: Vec<String> = values
        .map(|value| format!("{}={}", type_name(value), value.print()))
        .collect();
    if !extra.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(text)
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or_default() as usize;
        number = Some((number.unwrap_or(0) * 10 + digit).min(MAX_WIDTH));
    }
    number
}

impl Directive {
    fn print(&self, verb: char, value: &TemplateValue) -> String {
        let printed = match (verb, value) {
            ('v', value) => value.print(),
            (
                's',
                TemplateValue::Text(_)
                | TemplateValue::List(_)
                | TemplateValue::Row(_)
                | TemplateValue::Rows(_),
            ) => value.print(),
            ('d', TemplateValue::Number(_)) | ('t', TemplateValue::Flag(_)) => value.print(),
            ('q', TemplateValue::Text(text)) => format!("{text:?}"),
            (verb, value) => {
                return format!("%!{verb}({}={})", type_name(value), value.print());
            }
        };
        let printed = match self.precision {
            Some(most) if verb == 's' || verb == 'v' && matches!(value, TemplateValue::Text(_)) => {
                printed.chars().take(most).collect()
            }
            _ => printed,
        };
        let missing = self.width.saturating_sub(printed.chars().count());
        if self.is_left {
            return printed + &" ".repeat(missing);
        }
        if self.is_zero {
            let (sign, digits) = match printed.strip_prefix('-') {
                Some(digits) if matches!(value, TemplateValue::Number(_)) => ("-", digits),
                _ => ("", printed.as_str()),
            };
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        " ".repeat(missing) + &printed
    }
}

/// Returns what Go calls the type.
const fn type_name(value: &TemplateValue) -> &'static str {
    match value {
        TemplateValue::Text(_) => "string",
        TemplateValue::Number(_) => "int",
        TemplateValue::Flag(_) => "bool",
        TemplateValue::List(_) => "[]string",
        TemplateValue::Row(_) | TemplateValue::Rows(_) => "row",
    }
}
