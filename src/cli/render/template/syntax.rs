//! The parts of a parsed template.

use super::functions::Function;

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateNode {
    Text(String),
    /// `{{pipeline}}`: prints its value, unless it sets a variable.
    Action(Pipeline),
    /// `{{if a}}…{{else if b}}…{{else}}…{{end}}`
    If {
        branches: Vec<(Pipeline, Vec<Self>)>,
        otherwise: Vec<Self>,
    },
    /// `{{range pipeline}}…{{else}}…{{end}}`
    Range {
        list: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    /// `{{with pipeline}}…{{else}}…{{end}}`
    With {
        value: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pipeline {
    pub(super) sets: Option<Setting>,
    pub(super) first: TemplateCommand,
    pub(super) rest: Vec<Call>,
}

/// Variables that a pipeline sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// One, or in a `range` also two: index and element. Without `$`.
    pub(super) names: Vec<String>,
    /// `:=` and not `=`.
    pub(super) declares: bool,
}

/// The first command of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateCommand {
    Value(Operand),
    Call(Call),
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) args: Vec<Operand>,
}

/// A value and the fields that are taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

/// Where an operand begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    Dot,
    /// Without `$`; the row itself if empty.
    Variable(String),
    Text(String),
    Number(i64),
    Flag(bool),
    Parenthesis(Box<Pipeline>),
    /// A function without arguments that is an argument, which Go calls.
    Call(Box<Call>),
}
