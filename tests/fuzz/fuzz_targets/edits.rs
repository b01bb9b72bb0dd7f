//! See the rule `edits` in `tests/properties/rules.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::feed("edits", data));
