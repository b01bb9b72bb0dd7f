//! Commands and arguments that can be pasted into a shell.

use std::path::{Path, PathBuf};

/// Returns a command that removes images, ready to be pasted into a shell.
pub fn rm_command(layout: &Path, images: &[String]) -> String {
    let path = layout.to_string_lossy();
    let words = std::iter::once(path.as_ref()).chain(images.iter().map(String::as_str));
    let dashes = dashes(words);
    let images: Vec<String> = images.iter().map(|image| quote(image)).collect();
    format!(
        "`ocisweep rm {dashes}{} {}`",
        quote(&path),
        images.join(" ")
    )
}

/// Returns a command that removes a hold, ready to be pasted into a shell.
pub fn hold_rm_command(layout: &Path, hold: &str) -> String {
    let (dashes, hold) = (dashes([hold]), quote(hold));
    format!("`ocisweep hold rm {dashes}{} {hold}`", quote_path(layout))
}

/// Returns `-- ` if one of the following arguments looks like a flag.
pub fn dashes<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> &'static str {
    let is_flag = |word: S| word.as_ref().starts_with('-');
    if words.into_iter().any(is_flag) {
        "-- "
    } else {
        ""
    }
}

/// Returns the hint for a pattern that crosses `/` and would match.
pub fn wider_hint(pattern: &str) -> String {
    format!("`*` stops at `/`; {} does not", quote(pattern))
}

/// Quotes a string for a shell if needed. Names come from untrusted layouts: an unquoted name could be a command.
pub fn quote(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Returns a list of names, each quoted for a shell.
pub fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
    names.join(", ")
}

/// Quotes a path for a shell. A path that looks like a flag gets `./` in front.
pub fn quote_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') {
        quote(&format!("./{text}"))
    } else {
        quote(&text)
    }
}

/// Returns the arguments that undo a run over a shared store, ready to be pasted into a shell.
pub fn undo_shared(store: &Path, run: Option<&str>, layouts: &[PathBuf]) -> String {
    let mut text = format!("--shared-blobs {}", quote_path(store));
    if let Some(run) = run {
        text.push_str(" --run ");
        text.push_str(run);
    }
    for layout in layouts {
        text.push(' ');
        text.push_str(&quote_path(layout));
    }
    text
}
