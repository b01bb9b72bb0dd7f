//! Arbitrary input: untrusted input is parsed or refused, and never parsed partially.
//!
//! The rules get random input here, the same in every run; `OCISWEEP_PROPERTY_CASES` sets the number of cases for each. A
//! fuzzer runs the same rules with coverage-guided input: `cargo +nightly fuzz run --fuzz-dir tests/fuzz index`.

mod draw;
mod oracle;
mod rules;

use arbtest::arbitrary::Unstructured;

/// Cases for each rule; some seconds in a debug build.
const CASES: u64 = 3_000;

/// Bytes from which one case is drawn.
const LENGTH: usize = 768;

/// Runs one rule. Panics with the number of the case, which `OCISWEEP_PROPERTY_FIRST` accepts.
fn hold(name: &str) {
    let (_, rule) = rules::RULES
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a rule has a name");
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cases = variable("OCISWEEP_PROPERTY_CASES").unwrap_or(CASES);
    let first = variable("OCISWEEP_PROPERTY_FIRST").unwrap_or(0);
    let mut taken = 0;
    for case in first..first + cases {
        let bytes = noise(case);
        let tried = std::panic::catch_unwind(|| rule(&mut Unstructured::new(&bytes)));
        match tried {
            Ok(is_taken) => taken += u64::from(is_taken.unwrap_or(false)),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().map_or("", String::as_str);
                panic!("OCISWEEP_PROPERTY_FIRST={case}: {text}");
            }
        }
    }
    // If the reader refused nearly everything, hardly anything would be tested.
    assert!(taken * 20 > cases, "only {taken} of {cases} were taken");
}

/// Returns the bytes of a case: splitmix64, so that no version of any crate changes them.
fn noise(case: u64) -> Vec<u8> {
    let mut state = case.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6f63_6973_7765_6570;
    let mut bytes = Vec::with_capacity(LENGTH);
    while bytes.len() < LENGTH {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes
}

#[test]
fn the_entries_of_an_index_are_the_elements_of_its_lists() {
    hold("index");
}

#[test]
fn an_edit_keeps_every_other_byte() {
    hold("edits");
}

#[test]
fn every_reference_of_a_document_is_found() {
    hold("document");
}

#[test]
fn only_removed_names_and_elements_are_cut_from_dockers_list() {
    hold("saved");
}

#[test]
fn only_removed_names_are_cut_from_dockers_oldest_list() {
    hold("repositories");
}

#[test]
fn a_plan_can_be_written_again() {
    hold("plan");
}

#[test]
fn a_reference_means_the_same_in_each_spelling() {
    hold("reference");
}

#[test]
fn a_platform_has_one_normal_form() {
    hold("platform");
}

#[test]
fn typed_values_are_parsed_or_refused() {
    hold("filter");
}
