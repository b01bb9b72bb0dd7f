//! Parses a template.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::Mistake;
use super::functions::{self, Function};
use super::lex::{self, Piece, TemplateToken, TokenKind};
use super::syntax::{Base, Call, Operand, Pipeline, Setting, TemplateCommand, TemplateNode};

/// The maximum nesting of blocks and parentheses.
const MAX_DEPTH: usize = 64;

/// Words of Go's templates that are not supported.
const KEYWORDS: [&str; 5] = ["define", "template", "block", "break", "continue"];

/// Parses a template.
///
/// # Errors
/// What is wrong with its syntax.
pub(super) fn parse(text: &str) -> Result<Vec<TemplateNode>, Mistake> {
    let mut parser = Parser {
        pieces: lex::split(text)?.into_iter(),
        depth: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Text => Ok(nodes),
        end => Err(Mistake::new(format!(
            "`{{{{{}}}}}` ends nothing",
            end.written()
        ))),
    }
}

/// What ends the nodes of a block.
enum End {
    /// The end of the template.
    Text,
    Block,
    Else,
    ElseIf(Pipeline),
}

impl End {
    const fn written(&self) -> &'static str {
        match self {
            Self::Text => "",
            Self::Block => "end",
            Self::Else => "else",
            Self::ElseIf(_) => "else if",
        }
    }
}

struct Parser {
    pieces: IntoIter<Piece>,
    depth: usize,
}

impl Parser {
    /// Parses up to what ends the block.
    fn nodes(&mut self) -> Result<(Vec<TemplateNode>, End), Mistake> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(TemplateNode::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let word = match tokens.first() {
                Some(TemplateToken {
                    kind: TokenKind::Word(word),
                    ..
                }) => word.clone(),
                Some(_) => String::new(),
                None => return Err(Mistake::new("an action `{{}}` is empty")),
            };
            let mut action = Action {
                tokens: tokens.into_iter().peekable(),
                depth: 0,
            };
            if matches!(word.as_str(), "if" | "range" | "with" | "else" | "end") {
                action.tokens.next();
            }
            let end = match word.as_str() {
                "if" => {
                    nodes.push(self.condition(action.pipeline(Sets::One)?)?);
                    continue;
                }
                "range" => {
                    let list = action.pipeline(Sets::Two)?;
                    let (body, otherwise) = self.body("range")?;
                    nodes.push(TemplateNode::Range {
                        list,
                        body,
                        otherwise,
                    });
                    continue;
                }
                "with" => {
                    let value = action.pipeline(Sets::One)?;
                    let (body, otherwise) = self.body("with")?;
                    nodes.push(TemplateNode::With {
                        value,
                        body,
                        otherwise,
                    });
                    continue;
                }
                "end" => {
                    action.ends()?;
                    End::Block
                }
                "else" => match action.tokens.next().map(|token| token.kind) {
                    None => End::Else,
                    Some(TokenKind::Word(word)) if word == "if" => {
                        End::ElseIf(action.pipeline(Sets::One)?)
                    }
                    Some(kind) => {
                        return Err(Mistake::new(format!(
                            "`{{{{else {}}}}}` is not supported",
                            kind.written()
                        )));
                    }
                },
                _ => {
                    nodes.push(TemplateNode::Action(action.pipeline(Sets::One)?));
                    continue;
                }
            };
            self.depth -= 1;
            return Ok((nodes, end));
        }
        self.depth -= 1;
        Ok((nodes, End::Text))
    }

    /// Parses what follows the first condition of an `if`.
    fn condition(&mut self, first: Pipeline) -> Result<TemplateNode, Mistake> {
        let mut branches = Vec::new();
        let mut condition = first;
        loop {
            let (body, end) = self.nodes()?;
            branches.push((condition, body));
            let otherwise = match end {
                End::Block => Vec::new(),
                End::Else => self.last("if")?,
                End::ElseIf(next) => {
                    condition = next;
                    continue;
                }
                End::Text => return Err(unended("if")),
            };
            return Ok(TemplateNode::If {
                branches,
                otherwise,
            });
        }
    }

    /// Parses the body of a block and what follows its `else`.
    fn body(&mut self, block: &str) -> Result<(Vec<TemplateNode>, Vec<TemplateNode>), Mistake> {
        let (body, end) = self.nodes()?;
        match end {
            End::Block => Ok((body, Vec::new())),
            End::Else => Ok((body, self.last(block)?)),
            End::ElseIf(_) => Err(Mistake::new(format!(
                "`{{{{else if}}}}` is not supported in `{{{{{block}}}}}`"
            ))),
            End::Text => Err(unended(block)),
        }
    }

    /// Parses up to the end of a block.
    fn last(&mut self, block: &str) -> Result<Vec<TemplateNode>, Mistake> {
        match self.nodes()? {
            (nodes, End::Block) => Ok(nodes),
            (_, End::Text) => Err(unended(block)),
            (_, end) => Err(Mistake::new(format!(
                "`{{{{{}}}}}` follows `{{{{else}}}}`",
                end.written()
            ))),
        }
    }
}

fn unended(block: &str) -> Mistake {
    Mistake::new(format!("`{{{{{block}}}}}` has no `{{{{end}}}}`"))
}

fn too_deep() -> Mistake {
    Mistake::new(format!("more than {MAX_DEPTH} levels are nested"))
}

/// The maximum number of variables that a pipeline sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sets {
    One,
    Two,
}

/// The tokens of one action.
struct Action {
    tokens: Peekable<IntoIter<TemplateToken>>,
    depth: usize,
}

impl Action {
    fn ends(&mut self) -> Result<(), Mistake> {
        match self.tokens.next() {
            None => Ok(()),
            Some(token) => Err(unexpected(&token.kind)),
        }
    }

    /// Parses a pipeline up to the end of the action.
    fn pipeline(&mut self, sets: Sets) -> Result<Pipeline, Mistake> {
        let setting = self.setting(sets)?;
        let pipeline = self.commands(setting)?;
        self.ends()?;
        Ok(pipeline)
    }

    fn peek(&mut self) -> Option<&TokenKind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    /// Parses `$x :=`, `$x =` and `$i, $x :=`, if the pipeline begins with one.
    fn setting(&mut self, sets: Sets) -> Result<Option<Setting>, Mistake> {
        let mut ahead = self.tokens.clone();
        let mut names = Vec::new();
        loop {
            let Some(TokenKind::Variable(name)) = ahead.next().map(|token| token.kind) else {
                return Ok(None);
            };
            names.push(name);
            match ahead.next().map(|token| token.kind) {
                Some(TokenKind::Comma) => {}
                Some(kind @ (TokenKind::Declare | TokenKind::Assign)) => {
                    let most = match sets {
                        Sets::One => 1,
                        Sets::Two => 2,
                    };
                    if names.len() > most {
                        return Err(Mistake::new("too many variables are set at once"));
                    }
                    if names.iter().any(String::is_empty) {
                        return Err(Mistake::new("`$` cannot be set"));
                    }
                    self.tokens = ahead;
                    let declares = kind == TokenKind::Declare;
                    return Ok(Some(Setting { names, declares }));
                }
                _ => return Ok(None),
            }
        }
    }

    fn commands(&mut self, sets: Option<Setting>) -> Result<Pipeline, Mistake> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let first = self.command()?;
        let mut rest = Vec::new();
        while self.peek() == Some(&TokenKind::Pipe) {
            self.tokens.next();
            match self.command()? {
                TemplateCommand::Call(call) => rest.push(call),
                TemplateCommand::Value(_) => {
                    return Err(Mistake::new("what follows `|` is not a function"));
                }
            }
        }
        self.depth -= 1;
        Ok(Pipeline { sets, first, rest })
    }

    fn command(&mut self) -> Result<TemplateCommand, Mistake> {
        if let Some(TokenKind::Word(word)) = self.peek() {
            let word = word.clone();
            if let Some(flag) = flag(&word) {
                self.tokens.next();
                return self.alone(Base::Flag(flag));
            }
            let function = function(&word)?;
            self.tokens.next();
            let mut args = Vec::new();
            while !matches!(self.peek(), None | Some(TokenKind::Pipe | TokenKind::Close)) {
                args.push(self.operand()?);
            }
            return Ok(TemplateCommand::Call(Call { function, args }));
        }
        let operand = self.operand()?;
        self.single(operand)
    }

    fn alone(&mut self, base: Base) -> Result<TemplateCommand, Mistake> {
        let fields = Vec::new();
        self.single(Operand { base, fields })
    }

    /// Refuses arguments after a value.
    fn single(&mut self, operand: Operand) -> Result<TemplateCommand, Mistake> {
        match self.peek() {
            None | Some(TokenKind::Pipe | TokenKind::Close) => Ok(TemplateCommand::Value(operand)),
            Some(kind) => Err(Mistake::new(format!(
                "`{}` follows a value that is not a function",
                kind.written()
            ))),
        }
    }

    fn operand(&mut self) -> Result<Operand, Mistake> {
        let Some(token) = self.tokens.next() else {
            return Err(Mistake::new("a value is missing"));
        };
        let mut fields = Vec::new();
        let base = match token.kind {
            TokenKind::Dot => Base::Dot,
            TokenKind::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            TokenKind::Variable(name) => Base::Variable(name),
            TokenKind::Text(text) => Base::Text(text),
            TokenKind::Number(number) => Base::Number(number),
            TokenKind::Word(word) => match flag(&word) {
                Some(flag) => Base::Flag(flag),
                None => Base::Call(Box::new(Call {
                    function: function(&word)?,
                    args: Vec::new(),
                })),
            },
            TokenKind::Open => {
                let pipeline = self.commands(None)?;
                match self.tokens.next().map(|token| token.kind) {
                    Some(TokenKind::Close) => Base::Parenthesis(Box::new(pipeline)),
                    Some(kind) => return Err(unexpected(&kind)),
                    None => return Err(Mistake::new("a parenthesis is not closed")),
                }
            }
            kind @ (TokenKind::Close
            | TokenKind::Pipe
            | TokenKind::Comma
            | TokenKind::Declare
            | TokenKind::Assign) => {
                return Err(unexpected(&kind));
            }
        };
        while let Some(TemplateToken {
            kind: TokenKind::Field(name),
            is_apart: false,
        }) = self.tokens.peek()
        {
            fields.push(name.clone());
            self.tokens.next();
        }
        Ok(Operand { base, fields })
    }
}

fn unexpected(kind: &TokenKind) -> Mistake {
    Mistake::new(format!("unexpected `{}` in an action", kind.written()))
}

fn flag(word: &str) -> Option<bool> {
    match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Returns the function of a name.
fn function(word: &str) -> Result<Function, Mistake> {
    if let Some(function) = Function::of(word) {
        return Ok(function);
    }
    if KEYWORDS.contains(&word) || functions::UNSUPPORTED.contains(&word) {
        return Err(Mistake::new(format!(
            "`{word}` is not supported in templates"
        )));
    }
    let known: Vec<&str> = Function::ALL.iter().map(|(name, _)| *name).collect();
    let hint = if word.starts_with(|c: char| c.is_uppercase()) {
        format!("a field begins with a dot: `.{word}`")
    } else {
        format!("functions: {}", known.join(", "))
    };
    Err(Mistake::with_hint(
        format!("unknown function `{word}`"),
        hint,
    ))
}
