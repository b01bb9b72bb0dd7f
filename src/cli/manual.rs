//! Pages of the manual.
//!
//! `clap_mangen` makes them, except for the text after the options: it fills that as running text, so that a long command is
//! broken in two and cannot be pasted. Here examples are not filled, and everything else gets its own section.

use std::fmt::Write as _;
use std::io;

use clap::Command;
use clap::builder::Resettable;
use clap_mangen::Man;

/// The longest command on one line: 80 columns without the indentation of `man`.
const MAX_COMMAND: usize = 73;

/// Returns the name of a command with those of its parents: `ocisweep-hold-add`.
pub fn name(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

/// Returns the page of a command, in the language of `man`.
///
/// # Errors
/// Those of `clap_mangen`.
pub fn page(command: &Command) -> io::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string);
    let bare = command.clone().after_help(Resettable::Reset);
    let mut text = Vec::new();
    Man::new(bare)
        .title(name(command).to_uppercase())
        .source(concat!("ocisweep ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    // Hyphens and wide spaces in a command must survive copying.
    let text = text.replacen(".SH NAME", ".nh\n.ad l\n.SH NAME", 1);
    let sections = Sections::of(&after.unwrap_or_default()).render();
    Ok((text + &sections).into_bytes())
}

/// What help prints after the options.
#[derive(Debug, Default)]
struct Sections<'a> {
    exit_status: Vec<&'a str>,
    notes: Vec<&'a str>,
    topics: Vec<(&'a str, &'a str)>,
    /// Commands and what they do.
    examples: Vec<(&'a str, &'a str)>,
}

impl<'a> Sections<'a> {
    fn of(text: &'a str) -> Self {
        let mut sections = Self::default();
        let mut is_topic = false;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if matches!(line, "Examples:" | "Topics:") {
                is_topic = line == "Topics:";
            } else if let Some(item) = line.strip_prefix("  ") {
                let (command, about) = item.split_once("  ").unwrap_or((item, ""));
                let list = match is_topic {
                    true => &mut sections.topics,
                    false => &mut sections.examples,
                };
                list.push((command, about.trim_start()));
            } else if let Some(status) = line.strip_prefix("Exit status: ") {
                sections.exit_status.push(status);
            } else {
                sections.notes.push(line);
            }
        }
        sections
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for (title, lines) in [("EXIT STATUS", &self.exit_status), ("NOTES", &self.notes)] {
            if !lines.is_empty() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, ".SH \"{title}\"");
            }
            for line in lines {
                let _ = writeln!(text, ".PP\n{}", escaped(line));
            }
        }
        if !self.topics.is_empty() {
            text.push_str(".SH TOPICS\n");
        }
        for (topic, about) in &self.topics {
            let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(topic), escaped(about));
        }
        if !self.examples.is_empty() {
            text.push_str(".SH EXAMPLES\n");
        }
        for (command, about) in &self.examples {
            text.push_str(".PP\n.nf\n");
            for line in lines_of(command) {
                let _ = writeln!(text, "\\fB{}\\fR", escaped(&line));
            }
            text.push_str(".fi\n");
            if !about.is_empty() {
                let _ = writeln!(text, ".RS 4\n{}\n.RE", escaped(about));
            }
        }
        text
    }
}

/// Returns a command on lines that fit 80 columns and can be pasted.
fn lines_of(command: &str) -> Vec<String> {
    if command.chars().count() <= MAX_COMMAND {
        return vec![command.to_owned()];
    }
    let breaks = [" && ", " | ", " > "].into_iter();
    let mut places = breaks.filter_map(|place| Some((place, command.find(place)?)));
    let Some((place, at)) = places.next() else {
        return vec![command.to_owned()];
    };
    let (first, rest) = command.split_at(at);
    vec![
        format!("{first} \\"),
        format!("    {} {}", place.trim(), &rest[place.len()..]),
    ]
}

/// Returns text without `man` requests, in which every character can be copied unchanged.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            '.' if escaped.is_empty() => escaped.push_str("\\&."),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_lines_and_long_ones_are_continued() {
        let text = "Exit status: 0 done\n\nExamples:\n  \
                    x -n 'a'   show it\n  x b\n\nSee also: y";
        assert_eq!(
            Sections::of(text).render(),
            ".SH \"EXIT STATUS\"\n.PP\n0 done\n.SH \"NOTES\"\n.PP\nSee also: y\n.SH EXAMPLES\n\
             .PP\n.nf\n\\fBx \\-n \\(aqa\\(aq\\fR\n.fi\n.RS 4\nshow it\n.RE\n\
             .PP\n.nf\n\\fBx b\\fR\n.fi\n"
        );
        let long = format!("x {} && y", "a".repeat(80));
        assert_eq!(
            lines_of(&long),
            [&format!("x {} \\", "a".repeat(80)), "    && y"]
        );
        assert_eq!(escaped(".x\\y"), "\\&.x\\ey");
    }
}
