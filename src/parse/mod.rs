//! Times, durations and sizes as docker and Go write them.

pub mod size;
pub mod time;

/// Splits a string after its leading ASCII digits.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}
