//! The rows that templates print, and their types.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The type of a field or of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    Text,
    Number,
    /// `true` or `false`.
    Flag,
    /// A list of strings.
    List,
    Row(&'static Schema),
    Rows(&'static Schema),
    /// What `and` and `or` return of values of several types.
    Any,
}

impl ValueKind {
    /// Returns what a message calls a value of this type.
    pub(super) const fn called(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Flag => "a boolean",
            Self::List => "a list",
            Self::Row(_) => "a row",
            Self::Rows(_) => "a list of rows",
            Self::Any => "a value of several types",
        }
    }

    /// Returns the type of the elements of a list.
    pub(super) const fn element(self) -> Option<Self> {
        match self {
            Self::List => Some(Self::Text),
            Self::Rows(schema) => Some(Self::Row(schema)),
            Self::Text | Self::Number | Self::Flag | Self::Row(_) | Self::Any => None,
        }
    }
}

/// A field of a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in a template, without the dot.
    pub name: &'static str,
    /// The header of its column.
    pub header: &'static str,
    pub kind: ValueKind,
}

impl Field {
    /// Returns a field that is a string.
    pub const fn text(name: &'static str, header: &'static str) -> Self {
        Self::of(name, header, ValueKind::Text)
    }

    /// Returns a field of any type.
    pub const fn of(name: &'static str, header: &'static str, kind: ValueKind) -> Self {
        Self { name, header, kind }
    }
}

/// The fields of the rows of one command.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    /// What messages call a row: `an image`.
    pub row: &'static str,
    pub fields: &'static [Field],
    /// The template of `--format raw`.
    pub raw: &'static str,
}

impl Schema {
    /// Returns the field of a name.
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The value of a field or of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateValue {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<String>),
    Row(TemplateRow),
    Rows(Arc<Vec<TemplateRow>>),
}

impl TemplateValue {
    /// Returns `false` for what is empty, as in Go: an empty string or list, 0 and `false`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0,
            Self::Flag(flag) => *flag,
            Self::List(list) => !list.is_empty(),
            Self::Row(_) => true,
            Self::Rows(rows) => !rows.is_empty(),
        }
    }

    /// Returns the value as Go prints it. A row, for which Go prints addresses, is printed as JSON.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(list) => format!("[{}]", list.join(" ")),
            Self::Row(_) | Self::Rows(_) => self.json(),
        }
    }

    /// Returns the value as docker's function `json` does: a row is an object of strings with sorted keys.
    pub(super) fn json(&self) -> String {
        match self {
            Self::Text(text) => to_json(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(list) => to_json(list),
            Self::Row(row) => row.json(),
            Self::Rows(rows) => {
                let rows: Vec<String> = rows.iter().map(TemplateRow::json).collect();
                format!("[{}]", rows.join(","))
            }
        }
    }
}

/// Returns a string or a list of strings as JSON.
fn to_json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings always serialise")
}

/// One row: its fields by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateRow(Arc<BTreeMap<&'static str, TemplateValue>>);

impl TemplateRow {
    /// Returns a row with these fields.
    pub fn new(fields: impl IntoIterator<Item = (&'static str, TemplateValue)>) -> Self {
        Self(Arc::new(fields.into_iter().collect()))
    }

    /// Returns the value of a field. One that the command did not compute, because no template uses it, is empty.
    pub(super) fn get(&self, name: &str) -> TemplateValue {
        let value = self.0.get(name).cloned();
        value.unwrap_or_else(|| TemplateValue::Text(String::new()))
    }

    /// Returns docker's object: all fields as strings, with `<`, `>` and `&` escaped as Go's encoder does.
    fn json(&self) -> String {
        let fields = self.0.iter().map(|(name, value)| {
            let value = match value {
                TemplateValue::Rows(_) | TemplateValue::Row(_) => value.json(),
                TemplateValue::List(list) => TemplateValue::Text(list.join(",")).json(),
                value => TemplateValue::Text(value.print()).json(),
            };
            format!("\"{name}\":{value}")
        });
        let fields: Vec<String> = fields.collect();
        let mut text = format!("{{{}}}", fields.join(","));
        for (from, to) in [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")] {
            text = text.replace(from, to);
        }
        text
    }
}
