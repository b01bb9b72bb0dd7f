//! Whether a command moves deleted blobs into the trash.

use std::ffi::OsString;
use std::time::Duration;

use ocisweep::layout::trash::TrashOptions;
use ocisweep::parse::time::parse_duration;

use super::quote::quote;

/// The variable with the meaning of `--trash`.
pub const VARIABLE: &str = "OCISWEEP_TRASH";

/// The maximum number of bytes of a command line in a record.
const MAX_COMMAND: usize = 4096;

/// Returns the value of the flag or else of the variable. `None`: no trash.
///
/// # Errors
/// A description of what is wrong with the variable.
pub fn options(
    flag: Option<Duration>,
    variable: Option<OsString>,
) -> Result<Option<TrashOptions>, String> {
    let variable = variable.filter(|text| !text.is_empty());
    let keep = match (flag, variable) {
        (Some(keep), _) => keep,
        (None, None) => Duration::ZERO,
        (None, Some(text)) => {
            let text = text.to_string_lossy();
            parse_duration(&text)
                .map_err(|error| format!("cannot use `{VARIABLE}={text}`: {error}"))?
        }
    };
    Ok((keep > Duration::ZERO).then(|| TrashOptions {
        keep,
        command: command_line(),
    }))
}

/// Returns the arguments of this process, as they can be pasted into a shell.
fn command_line() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the record of a run includes the command line"
    )]
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| quote(&word.to_string_lossy())).collect();
    let mut text = words.join(" ");
    if text.len() > MAX_COMMAND {
        let end = (0..=MAX_COMMAND)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}
