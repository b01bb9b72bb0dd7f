//! Comparison of output with the files in `tests/cli/snapshots/`.

use std::fs;
use std::path::PathBuf;

/// Compares a text with a file in `tests/cli/snapshots/`, or writes the file.
#[track_caller]
pub(crate) fn matches(name: &str, text: &str) {
    let path = package().join(format!("tests/cli/snapshots/{name}.txt"));
    if std::env::var_os("OCISWEEP_UPDATE").is_some() {
        fs::write(&path, text).expect("a snapshot can be written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{name}.txt is not what the program says now; if that is meant, `OCISWEEP_UPDATE=1 cargo test --test suite cli::` \
         writes it\n{}",
        first_difference(&expected, text)
    );
}

/// Returns both sides around the first different line, then the whole new text.
fn first_difference(expected: &str, text: &str) -> String {
    let common = expected
        .lines()
        .zip(text.lines())
        .take_while(|(left, right)| left == right)
        .count();
    let line = |text: &str| {
        text.lines()
            .nth(common)
            .unwrap_or("(no such line)")
            .to_owned()
    };
    format!(
        "line {}\nwas: {}\nnow: {}\n\nwhole new text:\n{text}",
        common + 1,
        line(expected),
        line(text)
    )
}

/// Returns the directory of the package.
pub(crate) fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
