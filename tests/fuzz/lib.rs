//! The rules of `tests/properties`, for a fuzzer.

#[path = "../properties/draw.rs"]
mod draw;
#[path = "../properties/oracle.rs"]
mod oracle;
#[path = "../properties/rules.rs"]
mod rules;

use arbtest::arbitrary::Unstructured;

/// Feeds one rule.
///
/// # Panics
/// If the rule is violated.
pub fn feed(name: &str, data: &[u8]) {
    let (_, rule) = rules::RULES
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target has the name of a rule");
    // An input that is too short to be drawn is skipped.
    let _ = rule(&mut Unstructured::new(data));
}
