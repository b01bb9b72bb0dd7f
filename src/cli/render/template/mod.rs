//! Templates of `--format`: the part of Go's text/template that docker's templates use.
//!
//! *Promise*: a template is parsed and checked against the fields of its rows before a layout is opened. After that only
//! `index`, `slice` and `pad` can fail, on values that are too short or numbers that are too large.
//!
//! *Order*: [`parse`] reads the text, [`check`] knows the type of every expression, [`eval`] prints a row, and [`header`]
//! prints the header of a table. Values are typed when the template is checked; Go inspects them when it is executed.
//!
//! Unsupported parts of Go's templates are named in the error: `define`, `template`, `block`, `break`, `continue`, `call`,
//! `html`, `js`, `urlquery`, floating-point numbers, character constants and `nil`.

mod check;
mod eval;
mod functions;
mod header;
mod lex;
mod parse;
mod printf;
mod syntax;
mod value;

use std::collections::BTreeSet;

use crate::cli::render::table::Table;

pub use value::{Field, Schema, TemplateRow, TemplateValue, ValueKind};

use syntax::TemplateNode;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The problem, as the end of a message.
    pub text: String,
    /// The hint.
    pub hint: Option<String>,
}

impl Mistake {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
        }
    }

    fn with_hint(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: Some(hint.into()),
        }
    }
}

/// The layout of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TemplateShape {
    /// One line for each row.
    Lines,
    /// Aligned columns below headers.
    Table,
}

/// A template that was checked against the fields of its rows.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<TemplateNode>,
    shape: TemplateShape,
    schema: &'static Schema,
    used: BTreeSet<&'static str>,
}

/// Returns `true` if a value of `--format` is a template and not one of the other formats.
pub fn is_template(text: &str) -> bool {
    text == "raw" || text.contains("{{")
}

/// Returns the template after `table`, if the text begins with that.
pub fn of_table(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("table")?;
    let is_word = rest.starts_with([' ', '\t', '\n', '{']) || rest.starts_with("\\t");
    is_word.then_some(rest)
}

impl Template {
    /// Parses the value of `--format` and checks it against the fields of the rows: `raw`, `table TEMPLATE`, or a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(text: &str, schema: &'static Schema) -> Result<Self, Mistake> {
        let (text, shape) = match of_table(text) {
            Some(rest) => (rest, TemplateShape::Table),
            None if text == "raw" => (schema.raw, TemplateShape::Lines),
            None => (text, TemplateShape::Lines),
        };
        // As docker does: `table {{.ID}}` has no space in its first cell.
        let nodes = parse::parse(text.trim_matches(' '))?;
        let used = check::check(&nodes, schema)?;
        Ok(Self {
            nodes,
            shape,
            schema,
            used,
        })
    }

    /// Returns `true` for `table TEMPLATE`.
    pub fn is_table(&self) -> bool {
        self.shape == TemplateShape::Table
    }

    /// Returns `true` if a field of a row, or of the rows in it, is needed.
    pub fn uses(&self, field: &str) -> bool {
        self.used.contains(field)
    }

    /// Returns the lines of the rows, in their order.
    ///
    /// The text of rows is foreign and must have gone through [`Term::foreign`](crate::cli::term::Term::foreign): the text
    /// of the template itself, such as a newline, is printed unchanged.
    ///
    /// # Errors
    /// A row is too short for a function.
    pub fn render<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a TemplateRow>,
    ) -> Result<String, Mistake> {
        let mut text = String::new();
        for row in rows {
            eval::print(&self.nodes, row, &mut text)?;
            text.push('\n');
        }
        Ok(match self.shape {
            TemplateShape::Lines => text,
            TemplateShape::Table => self.aligned(&text),
        })
    }

    /// Returns tab-separated lines as a table.
    fn aligned(&self, text: &str) -> String {
        let header = header::header(&self.nodes, self.schema);
        let mut headers = header.lines();
        let first: Vec<&str> = headers.next().unwrap_or_default().split('\t').collect();
        // Programs read such tables, so no column is cut to the width of a terminal.
        let mut table = Table::new(&first, &[], None);
        for line in headers.chain(text.lines()) {
            table.row(line.split('\t').map(str::to_owned).collect());
        }
        table.render()
    }
}

#[cfg(test)]
mod tests;
