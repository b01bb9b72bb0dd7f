//! The tables in `testdata/vectors`, for tests.

use std::path::Path;

/// Returns the cells of every row of `testdata/vectors/<name>`, with `\u{…}` decoded.
pub(crate) fn rows(name: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/vectors")
        .join(name);
    let text = std::fs::read_to_string(&path).expect("the vectors are part of the repository");
    let rows: Vec<Vec<String>> = text
        .lines()
        .map(|line| line.split('\t').map(unescape).collect())
        .collect();
    assert!(!rows.is_empty(), "{name} is empty");
    rows
}

/// Returns a cell, or an empty string after the end of the row.
pub(crate) fn cell(row: &[String], at: usize) -> &str {
    row.get(at).map_or("", String::as_str)
}

fn unescape(cell: &str) -> String {
    let mut parts = cell.split("\\u{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_once('}').expect("an escape ends with a brace");
        let code = u32::from_str_radix(hex, 16).expect("an escape is hexadecimal");
        text.push(char::from_u32(code).expect("an escape is a character"));
        text.push_str(rest);
    }
    text
}
