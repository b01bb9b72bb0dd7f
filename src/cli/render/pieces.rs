//! Long lists of lines, printed in pieces: a million lines need not be held.

use std::fmt::{Arguments, Write as _};

use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};

/// The number of bytes printed at a time.
const PIECE: usize = 1 << 16;

/// Lines that are printed.
#[derive(Debug)]
pub struct Pieces<'a> {
    context: &'a Context<'a>,
    /// The heading, until something follows it.
    heading: Option<String>,
    text: String,
    exit: Exit,
}

impl<'a> Pieces<'a> {
    /// Begins with a heading, which is printed only if anything follows.
    pub fn new(context: &'a Context<'a>, heading: Option<String>) -> Self {
        Self {
            context,
            heading,
            text: String::new(),
            exit: exit::DONE,
        }
    }

    /// Adds a line of a list, if it fits on the screen.
    pub fn line(&mut self, words: Arguments<'_>) {
        let start = self.text.len();
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{words}");
        if self
            .context
            .fits(self.text.get(start..).unwrap_or_default())
        {
            self.added();
        } else {
            self.text.truncate(start);
        }
    }

    /// Adds lines whether they fit or not.
    pub fn push(&mut self, lines: &str) {
        if !lines.is_empty() {
            self.text.push_str(lines);
            self.added();
        }
    }

    fn added(&mut self) {
        if let Some(heading) = self.heading.take() {
            self.text.insert_str(0, &heading);
        }
        // After an error the rest is not printed.
        if self.text.len() >= PIECE {
            self.print();
        }
    }

    fn print(&mut self) {
        if self.exit == exit::DONE {
            self.exit = self.context.print(&self.text);
        }
        self.text.clear();
    }

    /// Prints the rest, and returns the result of printing.
    pub fn finish(mut self) -> Exit {
        self.print();
        self.exit
    }
}
