//! The header of `table TEMPLATE`.
//!
//! docker executes the template once more, with the header of each field in place of its value and functions that return
//! their argument. The result is the same here, but a header never makes a function fail: of an `if` the first branch is
//! printed, the body of a `range` is printed once, and functions print the headers of their arguments.

use super::functions::Function;
use super::printf;
use super::syntax::{Base, Call, Operand, Pipeline, TemplateCommand, TemplateNode};
use super::value::{Schema, TemplateValue};

/// Returns the lines of headers, with a tab between two columns.
pub(super) fn header(nodes: &[TemplateNode], schema: &'static Schema) -> String {
    let mut builder = HeaderBuilder {
        schema,
        variables: Vec::new(),
        text: String::new(),
    };
    builder.nodes(nodes, "");
    builder.text
}

struct HeaderBuilder<'a> {
    schema: &'static Schema,
    /// The header of each variable.
    variables: Vec<(&'a str, String)>,
    text: String,
}

impl<'a> HeaderBuilder<'a> {
    /// Appends nodes. `dot`: the header of what `.` is; empty for the row.
    fn nodes(&mut self, nodes: &'a [TemplateNode], dot: &str) {
        for node in nodes {
            match node {
                TemplateNode::Text(text) => self.text.push_str(text),
                TemplateNode::Action(pipeline) => {
                    let header = self.pipeline(pipeline, dot);
                    if pipeline.sets.is_none() {
                        self.text.push_str(&header);
                    }
                }
                TemplateNode::If { branches, .. } => {
                    if let Some((condition, body)) = branches.first() {
                        self.pipeline(condition, dot);
                        self.nodes(body, dot);
                    }
                }
                TemplateNode::Range { list, body, .. } => {
                    let header = self.pipeline(list, dot);
                    self.nodes(body, &header);
                }
                TemplateNode::With { value, body, .. } => {
                    let header = self.pipeline(value, dot);
                    self.nodes(body, &header);
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &str) -> String {
        let mut header = match &pipeline.first {
            TemplateCommand::Value(operand) => self.operand(operand, dot),
            TemplateCommand::Call(call) => self.call(call, None, dot),
        };
        for call in &pipeline.rest {
            header = self.call(call, Some(header), dot);
        }
        if let Some(sets) = &pipeline.sets {
            for name in &sets.names {
                self.variables.push((name, header.clone()));
            }
        }
        header
    }

    fn call(&mut self, call: &'a Call, last: Option<String>, dot: &str) -> String {
        let args = call.args.iter().map(|arg| self.operand(arg, dot));
        let mut args: Vec<String> = args.collect();
        args.extend(last);
        let values = || {
            args.iter()
                .cloned()
                .map(TemplateValue::Text)
                .collect::<Vec<TemplateValue>>()
        };
        match call.function {
            Function::Print => printf::print(&values()),
            Function::Println => printf::println(&values()),
            Function::Printf => match values().split_first() {
                Some((TemplateValue::Text(format), values)) => {
                    // The header of a number is a string. A value that cannot be printed is an error at the first row.
                    printf::printf(&verbs_of_strings(format), values).unwrap_or_default()
                }
                _ => String::new(),
            },
            // `or .Tag .ID` is the column of what is printed most often.
            _ => args.into_iter().next().unwrap_or_default(),
        }
    }

    fn operand(&mut self, operand: &'a Operand, dot: &str) -> String {
        if let Some(name) = operand.fields.last() {
            let field = self.schema.field(name);
            return field.map_or_else(String::new, |field| field.header.to_owned());
        }
        match &operand.base {
            Base::Dot => dot.to_owned(),
            Base::Variable(name) => {
                let mut visible = self.variables.iter().rev();
                let found = visible.find(|(known, _)| known == name);
                found.map_or_else(String::new, |(_, header)| header.clone())
            }
            Base::Text(text) => text.clone(),
            Base::Number(number) => number.to_string(),
            Base::Flag(flag) => flag.to_string(),
            Base::Parenthesis(pipeline) => self.pipeline(pipeline, dot),
            Base::Call(call) => self.call(call, None, dot),
        }
    }
}

/// Returns a format in which every verb is `%s`.
fn verbs_of_strings(format: &str) -> String {
    let mut is_verb = false;
    let change = |c: char| {
        if is_verb && !matches!(c, '-' | '.' | '0'..='9') {
            is_verb = false;
            return if c == '%' { '%' } else { 's' };
        }
        is_verb = c == '%' || is_verb;
        c
    };
    format.chars().map(change).collect()
}
