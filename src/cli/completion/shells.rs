//! The answers in the format of each shell's script.
//!
//! Each script calls the hidden command `__complete` with the name of its shell and the words, and inserts what it prints. A script
//! may be older or newer than the program: a format is never changed, only added under a new name.

use super::candidates::CompletionCandidate;
use super::words::{BashLine, quoted};

/// A shell whose script calls the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    /// Returns the shell of a name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    /// Returns the script.
    pub const fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("scripts/ocisweep.bash"),
            Self::Zsh => include_str!("scripts/_ocisweep"),
            Self::Fish => include_str!("scripts/ocisweep.fish"),
        }
    }
}

/// The request of bash.
#[derive(Debug)]
pub struct BashQuestion<'a> {
    /// The line up to the cursor.
    pub line: &'a str,
    /// The part of the last word that readline replaces: after the last `:`, `=` or `@`, without an open quote.
    pub replaced: &'a str,
    /// readline lists the candidates and inserts none.
    pub is_list: bool,
    /// The width of the terminal.
    pub columns: usize,
}

/// Prints for bash: first `space`, or `nospace` if the only candidate is incomplete; then the candidates, one per line, as
/// they are inserted into the command line.
///
/// readline inserts them unchanged, so each is quoted here for the quotes that are open at the cursor.
pub fn for_bash(
    question: &BashQuestion<'_>,
    read: &BashLine,
    candidates: &[CompletionCandidate],
) -> String {
    let typed = question.line.get(read.start..).unwrap_or_default();
    let Some(kept) = typed.strip_suffix(question.replaced) else {
        return String::new();
    };
    // The part that remains on the line is not inserted again. A `~` in quotes is not a home directory.
    let kept = BashLine::read(kept);
    let tilde = match kept.word.is_empty() && question.replaced.starts_with("~/") {
        true => "~/",
        false => "",
    };
    let insert = |candidate: &CompletionCandidate| {
        let rest = candidate.value.strip_prefix(&kept.word)?;
        let rest = rest.strip_prefix(tilde)?;
        Some(format!("{tilde}{}", quoted(rest, kept.quote)?))
    };
    if let (true, [_, _, ..]) = (question.is_list, candidates) {
        return list(candidates, question.columns);
    }
    let lines: Vec<String> = candidates.iter().filter_map(insert).collect();
    let goes_on = match candidates {
        [only] => only.is_partial,
        _ => false,
    };
    let mut text = match goes_on {
        true => "nospace\n".to_owned(),
        false => "space\n".to_owned(),
    };
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Prints candidates with descriptions for a list, which readline shows without inserting anything.
fn list(candidates: &[CompletionCandidate], columns: usize) -> String {
    let width = width_of(candidates);
    // readline puts several on a line if they fit.
    let alone = if width > 0 { columns / 2 + 1 } else { 0 };
    let mut text = "space\n".to_owned();
    for candidate in candidates {
        let line: String = described(candidate, width).chars().take(columns).collect();
        text.push_str(&format!("{line:alone$}\n"));
    }
    text
}

/// Prints for zsh: first the part of the word that must not change, `~/` or nothing; then for each candidate whether the
/// word is incomplete (`+`) or not (`=`), the rest of the word, and the text to show. `compadd` quotes what it inserts.
pub fn for_zsh(word: &str, candidates: &[CompletionCandidate]) -> String {
    let tilde = match word.starts_with("~/") {
        true => "~/",
        false => "",
    };
    let width = width_of(candidates);
    let mut text = format!("{tilde}\n");
    for candidate in candidates {
        let kind = if candidate.is_partial { '+' } else { '=' };
        let Some(rest) = candidate.value.strip_prefix(tilde) else {
            continue;
        };
        let shown = described(candidate, width);
        text.push_str(&format!("{kind}\t{rest}\t{}\n", shown.trim_end()));
    }
    text
}

/// Prints for fish, which quotes by itself and inserts no space after `/`, `=`, `:` or `,`.
pub fn for_fish(candidates: &[CompletionCandidate]) -> String {
    let mut text = String::new();
    for candidate in candidates {
        text.push_str(&candidate.value);
        if !candidate.description.is_empty() {
            text.push('\t');
            text.push_str(&candidate.description);
        }
        text.push('\n');
    }
    text
}

/// Returns the width of the longest value that has a description, in characters.
fn width_of(candidates: &[CompletionCandidate]) -> usize {
    let described = candidates.iter().filter(|one| !one.description.is_empty());
    let widths = described.map(|one| one.value.chars().count());
    widths.max().unwrap_or_default()
}

fn described(candidate: &CompletionCandidate, width: usize) -> String {
    match candidate.description.as_str() {
        "" => candidate.value.clone(),
        about => format!("{:width$}  {about}", candidate.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bash(line: &str, replaced: &str, candidates: &[CompletionCandidate]) -> String {
        let question = BashQuestion {
            line,
            replaced,
            is_list: false,
            columns: 80,
        };
        for_bash(&question, &BashLine::read(line), candidates)
    }

    #[test]
    fn bash_gets_the_replaced_part_quoted() {
        let name = |value: &str| [CompletionCandidate::new(value, "about")];
        for (line, replaced, value, want) in [
            ("x rm L ", "", "app:1.4", "app:1.4"),
            ("x rm L app:", "", "app:1.4", "1.4"),
            ("x rm L app:1", "1", "app:1.4", "1.4"),
            (
                "x rm --platform=linux/a",
                "linux/a",
                "--platform=linux/amd64",
                "linux/amd64",
            ),
            ("x rm L a", "a", "a b", r"a\ b"),
            (r"x rm L a\ ", r"a\ ", "a b", r"a\ b"),
            ("x rm L 'a", "a", "a 'b", r"a '\''b"),
            ("x rm L \"a", "a", "a $b", r"a \$b"),
            ("x rm L a", "a", "a;$(id)`id`", r"a\;\$\(id\)\`id\`"),
            ("x rm ~/i", "~/i", "~/im ages", r"~/im\ ages"),
            ("x rm '~/i", "~/i", "~/images", "~/images"),
            ("x rm L '", "", "~root", "~root"),
            ("x rm L ", "", "~root", r"\~root"),
        ] {
            assert_eq!(
                bash(line, replaced, &name(value)),
                format!("space\n{want}\n"),
                "{line}"
            );
        }
        assert_eq!(bash("x rm L \"a", "a", &name("a!b")), "space\n");
        assert_eq!(bash("x rm L a", "else", &name("ab")), "");
        let directory = [CompletionCandidate::partial("images/", "directory")];
        assert_eq!(bash("x rm im", "im", &directory), "nospace\nimages/\n");
    }

    #[test]
    fn descriptions_are_listed_in_columns() {
        let candidates = [
            CompletionCandidate::new("a", "one"),
            CompletionCandidate::new("abc", "two"),
        ];
        let question = BashQuestion {
            line: "x ",
            replaced: "",
            is_list: true,
            columns: 7,
        };
        let text = for_bash(&question, &BashLine::read("x "), &candidates);
        assert_eq!(text, "space\na    on\nabc  tw\n");
        assert_eq!(
            for_zsh("", &candidates),
            "\n=\ta\ta    one\n=\tabc\tabc  two\n"
        );
        assert_eq!(for_fish(&candidates), "a\tone\nabc\ttwo\n");
        let home = [CompletionCandidate::partial("~/images/", "")];
        assert_eq!(for_zsh("~/im", &home), "~/\n+\timages/\t~/images/\n");
    }
}
