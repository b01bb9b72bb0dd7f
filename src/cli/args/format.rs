//! `--format` of the commands that list.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::render::template::{is_template, of_table};

/// How a list is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The command's own table.
    Table,
    /// One document.
    Json,
    /// One document on each line.
    Jsonl,
    /// `raw`, `table TEMPLATE` or a template; the command that defines the fields of the rows parses it.
    Template(String),
}

impl Format {
    /// Returns the text of a template.
    pub fn template(&self) -> Option<&str> {
        match self {
            Self::Template(text) => Some(text),
            Self::Table | Self::Json | Self::Jsonl => None,
        }
    }
}

/// Parses a [`Format`]. Shells complete its values.
#[derive(Debug, Clone, Copy)]
pub struct FormatParser {
    /// `jsonl` is one of the formats.
    pub has_lines: bool,
}

impl FormatParser {
    fn words(self) -> impl Iterator<Item = &'static str> {
        let words = ["table", "json", "jsonl", "raw"].into_iter();
        words.filter(move |word| *word != "jsonl" || self.has_lines)
    }
}

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Format, clap::Error> {
        let text = value.to_string_lossy();
        match text.as_ref() {
            "table" => return Ok(Format::Table),
            "json" => return Ok(Format::Json),
            "jsonl" if self.has_lines => return Ok(Format::Jsonl),
            text if is_template(text) || of_table(text).is_some() => {
                return Ok(Format::Template(text.to_owned()));
            }
            _ => {}
        }
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        let arg = arg.map(ToString::to_string).unwrap_or_default();
        let words = self.words().map(str::to_owned);
        let words = words.chain(["a template such as '{{.ID}}'".to_owned()]);
        for (kind, value) in [
            (ContextKind::InvalidArg, ContextValue::String(arg)),
            (
                ContextKind::InvalidValue,
                ContextValue::String(text.into_owned()),
            ),
            (
                ContextKind::ValidValue,
                ContextValue::Strings(words.collect()),
            ),
        ] {
            error.insert(kind, value);
        }
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words().map(PossibleValue::new)))
    }
}
