//! Parses a template.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::Mistake;
use super::functions::{self, Function};
use super::lex::{self, Piece, Token, What};
use super::syntax::{Base, Call, Command, Node, Operand, Pipeline, Setting};

/// The maximum nesting of blocks and parentheses.
const MAX_DEPTH: usize = 64;

/// Words of Go's templates that are not supported.
const KEYWORDS: [&str; 5] = ["define", "template", "block", "break", "continue"];

/// Parses a template.
///
/// # Errors
/// What is wrong with its syntax.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, Mistake> {
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
    fn nodes(&mut self) -> Result<(Vec<Node>, End), Mistake> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let word = match tokens.first() {
                Some(Token {
                    what: What::Word(word),
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
                    nodes.push(Node::Range {
                        list,
                        body,
                        otherwise,
                    });
                    continue;
                }
                "with" => {
                    let value = action.pipeline(Sets::One)?;
                    let (body, otherwise) = self.body("with")?;
                    nodes.push(Node::With {
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
                "else" => match action.tokens.next().map(|token| token.what) {
                    None => End::Else,
                    Some(What::Word(word)) if word == "if" => {
                        End::ElseIf(action.pipeline(Sets::One)?)
                    }
                    Some(what) => {
                        return Err(Mistake::new(format!(
                            "`{{{{else {}}}}}` is not supported",
                            what.written()
                        )));
                    }
                },
                _ => {
                    nodes.push(Node::Action(action.pipeline(Sets::One)?));
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
    fn condition(&mut self, first: Pipeline) -> Result<Node, Mistake> {
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
            return Ok(Node::If {
                branches,
                otherwise,
            });
        }
    }

    /// Parses the body of a block and what follows its `else`.
    fn body(&mut self, block: &str) -> Result<(Vec<Node>, Vec<Node>), Mistake> {
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
    fn last(&mut self, block: &str) -> Result<Vec<Node>, Mistake> {
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
    tokens: Peekable<IntoIter<Token>>,
    depth: usize,
}

impl Action {
    fn ends(&mut self) -> Result<(), Mistake> {
        match self.tokens.next() {
            None => Ok(()),
            Some(token) => Err(unexpected(&token.what)),
        }
    }

    /// Parses a pipeline up to the end of the action.
    fn pipeline(&mut self, sets: Sets) -> Result<Pipeline, Mistake> {
        let setting = self.setting(sets)?;
        let pipeline = self.commands(setting)?;
        self.ends()?;
        Ok(pipeline)
    }

    fn peek(&mut self) -> Option<&What> {
        self.tokens.peek().map(|token| &token.what)
    }

    /// Parses `$x :=`, `$x =` and `$i, $x :=`, if the pipeline begins with one.
    fn setting(&mut self, sets: Sets) -> Result<Option<Setting>, Mistake> {
        let mut ahead = self.tokens.clone();
        let mut names = Vec::new();
        loop {
            let Some(What::Variable(name)) = ahead.next().map(|token| token.what) else {
                return Ok(None);
            };
            names.push(name);
            match ahead.next().map(|token| token.what) {
                Some(What::Comma) => {}
                Some(what @ (What::Declare | What::Assign)) => {
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
                    let declares = what == What::Declare;
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
        while self.peek() == Some(&What::Pipe) {
            self.tokens.next();
            match self.command()? {
                Command::Call(call) => rest.push(call),
                Command::Value(_) => {
                    return Err(Mistake::new("what follows `|` is not a function"));
                }
            }
        }
        self.depth -= 1;
        Ok(Pipeline { sets, first, rest })
    }

    fn command(&mut self) -> Result<Command, Mistake> {
        if let Some(What::Word(word)) = self.peek() {
            let word = word.clone();
            if let Some(flag) = flag(&word) {
                self.tokens.next();
                return self.alone(Base::Flag(flag));
            }
            let function = function(&word)?;
            self.tokens.next();
            let mut args = Vec::new();
            while !matches!(self.peek(), None | Some(What::Pipe | What::Close)) {
                args.push(self.operand()?);
            }
            return Ok(Command::Call(Call { function, args }));
        }
        let operand = self.operand()?;
        self.single(operand)
    }

    fn alone(&mut self, base: Base) -> Result<Command, Mistake> {
        let fields = Vec::new();
        self.single(Operand { base, fields })
    }

    /// Refuses arguments after a value.
    fn single(&mut self, operand: Operand) -> Result<Command, Mistake> {
        match self.peek() {
            None | Some(What::Pipe | What::Close) => Ok(Command::Value(operand)),
            Some(what) => Err(Mistake::new(format!(
                "`{}` follows a value that is not a function",
                what.written()
            ))),
        }
    }

    fn operand(&mut self) -> Result<Operand, Mistake> {
        let Some(token) = self.tokens.next() else {
            return Err(Mistake::new("a value is missing"));
        };
        let mut fields = Vec::new();
        let base = match token.what {
            What::Dot => Base::Dot,
            What::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            What::Variable(name) => Base::Variable(name),
            What::Text(text) => Base::Text(text),
            What::Number(number) => Base::Number(number),
            What::Word(word) => match flag(&word) {
                Some(flag) => Base::Flag(flag),
                None => Base::Call(Box::new(Call {
                    function: function(&word)?,
                    args: Vec::new(),
                })),
            },
            What::Open => {
                let pipeline = self.commands(None)?;
                match self.tokens.next().map(|token| token.what) {
                    Some(What::Close) => Base::Parenthesis(Box::new(pipeline)),
                    Some(what) => return Err(unexpected(&what)),
                    None => return Err(Mistake::new("a parenthesis is not closed")),
                }
            }
            what @ (What::Close | What::Pipe | What::Comma | What::Declare | What::Assign) => {
                return Err(unexpected(&what));
            }
        };
        while let Some(Token {
            what: What::Field(name),
            is_apart: false,
        }) = self.tokens.peek()
        {
            fields.push(name.clone());
            self.tokens.next();
        }
        Ok(Operand { base, fields })
    }
}

fn unexpected(what: &What) -> Mistake {
    Mistake::new(format!("unexpected `{}` in an action", what.written()))
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
