//! Checks a template before any row exists: fields, variables, and the types of arguments.

use std::collections::BTreeSet;

use super::Mistake;
use super::syntax::{Base, Call, Operand, Pipeline, TemplateCommand, TemplateNode};
use super::value::{Schema, ValueKind};

/// The maximum number of wrong letters in the name of a field for a suggestion.
const MAX_DISTANCE: usize = 2;

/// Checks a template, and returns the fields of a row that it uses.
///
/// # Errors
/// The first expression that cannot be evaluated.
pub(super) fn check(
    nodes: &[TemplateNode],
    schema: &'static Schema,
) -> Result<BTreeSet<&'static str>, Mistake> {
    let mut checker = Checker {
        root: schema,
        variables: vec![(String::new(), ValueKind::Row(schema))],
        used: BTreeSet::new(),
    };
    checker.nodes(nodes, ValueKind::Row(schema))?;
    Ok(checker.used)
}

struct Checker {
    root: &'static Schema,
    /// The visible variables, the innermost last.
    variables: Vec<(String, ValueKind)>,
    used: BTreeSet<&'static str>,
}

impl Checker {
    fn nodes(&mut self, nodes: &[TemplateNode], dot: ValueKind) -> Result<(), Mistake> {
        let visible = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(visible);
        Ok(())
    }

    fn node(&mut self, node: &TemplateNode, dot: ValueKind) -> Result<(), Mistake> {
        match node {
            TemplateNode::Text(_) => {}
            TemplateNode::Action(pipeline) => {
                let kind = self.pipeline(pipeline, dot)?;
                self.set(pipeline, &[kind])?;
                if pipeline.sets.is_none() {
                    self.uses_all(kind);
                }
            }
            TemplateNode::If {
                branches,
                otherwise,
            } => {
                let visible = self.variables.len();
                for (condition, body) in branches {
                    let kind = self.pipeline(condition, dot)?;
                    self.set(condition, &[kind])?;
                    self.nodes(body, dot)?;
                }
                self.nodes(otherwise, dot)?;
                self.variables.truncate(visible);
            }
            TemplateNode::Range {
                list,
                body,
                otherwise,
            } => {
                let visible = self.variables.len();
                let kind = self.pipeline(list, dot)?;
                let element = kind.element().ok_or_else(|| {
                    Mistake::new(format!("`range` takes a list, not {}", kind.called()))
                })?;
                let names = list.sets.as_ref().map_or(0, |sets| sets.names.len());
                match names {
                    2 => self.set(list, &[ValueKind::Number, element])?,
                    _ => self.set(list, &[element])?,
                }
                self.nodes(body, element)?;
                self.variables.truncate(visible);
                self.nodes(otherwise, dot)?;
            }
            TemplateNode::With {
                value,
                body,
                otherwise,
            } => {
                let visible = self.variables.len();
                let kind = self.pipeline(value, dot)?;
                self.set(value, &[kind])?;
                self.nodes(body, kind)?;
                self.nodes(otherwise, dot)?;
                self.variables.truncate(visible);
            }
        }
        Ok(())
    }

    /// Sets the variables of a pipeline to values of these types.
    fn set(&mut self, pipeline: &Pipeline, kinds: &[ValueKind]) -> Result<(), Mistake> {
        let Some(sets) = &pipeline.sets else {
            return Ok(());
        };
        for (name, kind) in sets.names.iter().zip(kinds) {
            if sets.declares {
                self.variables.push((name.clone(), *kind));
                continue;
            }
            let was = self.variable(name)?;
            if was != *kind {
                return Err(Mistake::new(format!(
                    "`${name}` is {} and cannot become {}",
                    was.called(),
                    kind.called()
                )));
            }
        }
        Ok(())
    }

    fn variable(&self, name: &str) -> Result<ValueKind, Mistake> {
        let mut visible = self.variables.iter().rev();
        let found = visible.find(|(known, _)| known == name);
        found
            .map(|(_, kind)| *kind)
            .ok_or_else(|| Mistake::new(format!("the variable `${name}` is not set")))
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: ValueKind) -> Result<ValueKind, Mistake> {
        let mut kind = match &pipeline.first {
            TemplateCommand::Value(operand) => self.operand(operand, dot)?,
            TemplateCommand::Call(call) => self.call(call, None, dot)?,
        };
        for call in &pipeline.rest {
            kind = self.call(call, Some(kind), dot)?;
        }
        Ok(kind)
    }

    fn call(
        &mut self,
        call: &Call,
        last: Option<ValueKind>,
        dot: ValueKind,
    ) -> Result<ValueKind, Mistake> {
        let mut kinds = Vec::new();
        for arg in &call.args {
            kinds.push(self.operand(arg, dot)?);
        }
        kinds.extend(last);
        for kind in &kinds {
            self.uses_all(*kind);
        }
        call.function.check(&kinds)
    }

    fn operand(&mut self, operand: &Operand, dot: ValueKind) -> Result<ValueKind, Mistake> {
        let mut kind = match &operand.base {
            Base::Dot => dot,
            Base::Variable(name) => self.variable(name)?,
            Base::Text(_) => ValueKind::Text,
            Base::Number(_) => ValueKind::Number,
            Base::Flag(_) => ValueKind::Flag,
            Base::Parenthesis(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Call(call) => self.call(call, None, dot)?,
        };
        for name in &operand.fields {
            kind = self.field(kind, name)?;
        }
        Ok(kind)
    }

    fn field(&mut self, of: ValueKind, name: &str) -> Result<ValueKind, Mistake> {
        let ValueKind::Row(schema) = of else {
            let text = format!("{} has no field `{name}`", of.called());
            let outer = self.root.field(name);
            let hint = outer.map(|_| format!("`$.{name}` is the field of the row"));
            return Err(Mistake { text, hint });
        };
        let Some(field) = schema.field(name) else {
            return Err(Mistake::with_hint(
                format!("{} has no field `{name}`", schema.row),
                known(schema, name),
            ));
        };
        self.used.insert(field.name);
        Ok(field.kind)
    }

    /// Records that whole rows are used.
    fn uses_all(&mut self, kind: ValueKind) {
        if let ValueKind::Row(schema) | ValueKind::Rows(schema) = kind {
            for field in schema.fields {
                self.used.insert(field.name);
                self.uses_all(field.kind);
            }
        }
    }
}

/// Returns the field that was probably meant, if one is similar, and all fields.
fn known(schema: &Schema, name: &str) -> String {
    let names: Vec<&str> = schema.fields.iter().map(|field| field.name).collect();
    let lower = name.to_lowercase();
    let distance = |known: &str| strsim::osa_distance(&known.to_lowercase(), &lower);
    let alike = names
        .iter()
        .map(|known| (distance(known), *known))
        .filter(|(distance, known)| *distance <= MAX_DISTANCE && *distance < known.len())
        .min();
    let meant = match alike {
        Some((_, known)) => format!("did you mean `.{known}`? "),
        None => String::new(),
    };
    format!("{meant}fields: {}", names.join(", "))
}
