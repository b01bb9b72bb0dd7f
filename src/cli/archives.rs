//! Archive flags on the command line.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use ocisweep::archive::{ArchiveOptions, Archives, Compare, STANDARD};

use super::args::Command;
use super::exit::{self, Exit};
use super::term::Term;

/// Other names of standard output.
const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Returns where a new archive is written.
fn output_of(command: &Command) -> Option<&Path> {
    let output = command.archive()?.output.as_deref()?;
    let is_stdout = STDOUT.iter().any(|name| output == Path::new(name));
    Some(if is_stdout {
        Path::new(STANDARD)
    } else {
        output
    })
}

/// Returns `true` if a new archive is written to standard output, so that messages are written to standard error.
pub fn writes_to_stdout(command: &Command) -> bool {
    command.changes() && output_of(command) == Some(Path::new(STANDARD))
}

/// Returns why these layouts cannot be written to one file, and what to do about it.
pub fn no_output(layouts: &[PathBuf], is_recursive: bool) -> Option<(&'static str, &'static str)> {
    if !matches!(layouts, [_]) || is_recursive {
        return Some((
            "cannot write several archives to one file",
            "`--output` takes a single layout, which is an archive",
        ));
    }
    layouts.iter().any(|path| path.is_dir()).then_some((
        "cannot write a directory to an archive",
        "`--output` takes a layout that is an archive",
    ))
}

/// Reads the flags for archives.
///
/// # Errors
/// The exit status, after the reason was printed, if flags and layouts cannot be combined.
pub fn of(term: &Term, command: &Command) -> Result<Archives, Exit> {
    let mut options = ArchiveOptions::default();
    options.writes = command.changes();
    #[expect(
        clippy::disallowed_methods,
        reason = "the command has the environment of its user"
    )]
    let directory = std::env::var_os("TMPDIR");
    // A directory for temporary files that the user set is always used.
    if directory.is_none() {
        options.memory = Some(PathBuf::from("/dev/shm"));
    }
    options.accepts_classic = command.accepts_classic();
    if let Command::Check(args) = command
        && !args.quick
        && !args.is_partial()
    {
        options.compare = Compare::Yes;
    }
    let Some(args) = command.archive() else {
        return Ok(Archives::new(options));
    };
    let refuse = |text: &str, hint: &str| {
        term.error(text, Some(hint));
        Err(exit::USAGE)
    };
    let layouts = command.layouts();
    let is_planned = matches!(command, Command::Apply(_));
    if args.output.is_some() {
        let refused = if is_planned {
            None
        } else {
            no_output(layouts, command.is_recursive())
        };
        if let Some((text, hint)) = refused {
            return refuse(text, hint);
        }
    } else if command.changes() && layouts.iter().any(|path| path == Path::new(STANDARD)) {
        return refuse(
            "cannot replace an archive that is read from standard input",
            "`-o FILE` names the new one; `-o -` writes to standard output",
        );
    }
    if writes_to_stdout(command) && std::io::stdout().is_terminal() {
        return refuse(
            "cannot write an archive to a terminal",
            "`-o FILE` names a file; or redirect standard output",
        );
    }
    options.output = output_of(command).map(Path::to_owned);
    options.compression = args.compress.map(Into::into);
    Ok(Archives::new(options))
}
