//! Prints a row through a checked template.

use super::Mistake;
use super::functions::Function;
use super::syntax::{Base, Call, Operand, Pipeline, Setting, TemplateCommand, TemplateNode};
use super::value::{TemplateRow, TemplateValue};

/// Appends a row to a text.
///
/// # Errors
/// A value is too short for a function.
pub(super) fn print(
    nodes: &[TemplateNode],
    row: &TemplateRow,
    text: &mut String,
) -> Result<(), Mistake> {
    let row = TemplateValue::Row(row.clone());
    let mut printer = Printer {
        variables: vec![(String::new(), row.clone())],
        text,
    };
    printer.nodes(nodes, &row)
}

struct Printer<'t> {
    /// The visible variables, the innermost last.
    variables: Vec<(String, TemplateValue)>,
    text: &'t mut String,
}

impl Printer<'_> {
    fn nodes(&mut self, nodes: &[TemplateNode], dot: &TemplateValue) -> Result<(), Mistake> {
        let visible = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(visible);
        Ok(())
    }

    fn node(&mut self, node: &TemplateNode, dot: &TemplateValue) -> Result<(), Mistake> {
        let visible = self.variables.len();
        match node {
            TemplateNode::Text(text) => self.text.push_str(text),
            TemplateNode::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match &pipeline.sets {
                    // It is visible to the end of the block.
                    Some(sets) => self.set(sets, [value]),
                    None => self.text.push_str(&value.print()),
                }
            }
            TemplateNode::If {
                branches,
                otherwise,
            } => {
                let mut chosen = otherwise;
                for (condition, body) in branches {
                    let value = self.pipeline(condition, dot)?;
                    let is_true = value.is_true();
                    if let Some(sets) = &condition.sets {
                        self.set(sets, [value]);
                    }
                    if is_true {
                        chosen = body;
                        break;
                    }
                }
                self.nodes(chosen, dot)?;
                self.variables.truncate(visible);
            }
            TemplateNode::Range {
                list,
                body,
                otherwise,
            } => {
                let elements = elements(self.pipeline(list, dot)?);
                if elements.is_empty() {
                    self.nodes(otherwise, dot)?;
                }
                for (number, element) in (0..).zip(elements) {
                    match &list.sets {
                        Some(sets) if sets.names.len() == 2 => {
                            self.set(sets, [TemplateValue::Number(number), element.clone()]);
                        }
                        Some(sets) => self.set(sets, [element.clone()]),
                        None => {}
                    }
                    self.nodes(body, &element)?;
                    self.variables.truncate(visible);
                }
            }
            TemplateNode::With {
                value,
                body,
                otherwise,
            } => {
                let found = self.pipeline(value, dot)?;
                if let Some(sets) = &value.sets {
                    self.set(sets, [found.clone()]);
                }
                if found.is_true() {
                    self.nodes(body, &found)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
                self.variables.truncate(visible);
            }
        }
        Ok(())
    }

    fn set(&mut self, sets: &Setting, values: impl IntoIterator<Item = TemplateValue>) {
        for (name, value) in sets.names.iter().zip(values) {
            if sets.declares {
                self.variables.push((name.clone(), value));
                continue;
            }
            let mut visible = self.variables.iter_mut().rev();
            if let Some((_, variable)) = visible.find(|(known, _)| known == name) {
                *variable = value;
            }
        }
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &TemplateValue) -> Result<TemplateValue, Mistake> {
        let mut value = match &pipeline.first {
            TemplateCommand::Value(operand) => self.operand(operand, dot)?,
            TemplateCommand::Call(call) => self.call(call, None, dot)?,
        };
        for call in &pipeline.rest {
            value = self.call(call, Some(value), dot)?;
        }
        Ok(value)
    }

    fn call(
        &self,
        call: &Call,
        last: Option<TemplateValue>,
        dot: &TemplateValue,
    ) -> Result<TemplateValue, Mistake> {
        // These evaluate no more arguments than they need, so that `and` can protect an `index`.
        if let Function::And | Function::Or = call.function {
            let mut value = None;
            for arg in &call.args {
                let next = self.operand(arg, dot)?;
                if next.is_true() == (call.function == Function::Or) {
                    return Ok(next);
                }
                value = Some(next);
            }
            let value = last.or(value);
            return value.ok_or_else(|| Mistake::new("`and` and `or` take values"));
        }
        let mut values = Vec::new();
        for arg in &call.args {
            values.push(self.operand(arg, dot)?);
        }
        values.extend(last);
        call.function.call(&values)
    }

    fn operand(&self, operand: &Operand, dot: &TemplateValue) -> Result<TemplateValue, Mistake> {
        let mut value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let mut visible = self.variables.iter().rev();
                let found = visible.find(|(known, _)| known == name);
                let found = found.map(|(_, value)| value.clone());
                found.ok_or_else(|| Mistake::new(format!("the variable `${name}` is not set")))?
            }
            Base::Text(text) => TemplateValue::Text(text.clone()),
            Base::Number(number) => TemplateValue::Number(*number),
            Base::Flag(flag) => TemplateValue::Flag(*flag),
            Base::Parenthesis(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Call(call) => self.call(call, None, dot)?,
        };
        for name in &operand.fields {
            let TemplateValue::Row(row) = &value else {
                return Err(Mistake::new(format!("a value has no field `{name}`")));
            };
            value = row.get(name);
        }
        Ok(value)
    }
}

fn elements(list: TemplateValue) -> Vec<TemplateValue> {
    match list {
        TemplateValue::List(list) => list.into_iter().map(TemplateValue::Text).collect(),
        TemplateValue::Rows(rows) => rows.iter().cloned().map(TemplateValue::Row).collect(),
        TemplateValue::Text(_)
        | TemplateValue::Number(_)
        | TemplateValue::Flag(_)
        | TemplateValue::Row(_) => Vec::new(),
    }
}
