//! The extent of the tests. `cargo test` samples cases that differ only in a number: seeds, calls that fail, moments of a
//! kill. Every test runs at every extent. A change must pass `OCISWEEP_EXTENT=wide`; `all` runs every case.

/// The variable that sets the extent.
const VARIABLE: &str = "OCISWEEP_EXTENT";

/// The extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// A sample that takes a minute or two.
    Sample,
    /// Three to five times as many.
    Wide,
    /// Everything: each fault at each call.
    All,
}

/// Returns the requested extent.
#[track_caller]
pub(crate) fn extent() -> Extent {
    let Some(value) = std::env::var_os(VARIABLE) else {
        return Extent::Sample;
    };
    match value.to_str() {
        Some("sample" | "") => Extent::Sample,
        Some("wide") => Extent::Wide,
        Some("all") => Extent::All,
        _ => panic!("{VARIABLE} is sample, wide or all, not {value:?}"),
    }
}

/// Returns `true` if a case is selected: every `sample`-th in a sample, every `wide`-th in a wide run.
pub(crate) fn takes(turn: usize, sample: usize, wide: usize) -> bool {
    turn.is_multiple_of(every(sample, wide))
}

/// Returns the distance between selected cases.
pub(crate) fn every(sample: usize, wide: usize) -> usize {
    match extent() {
        Extent::Sample => sample,
        Extent::Wide => wide,
        Extent::All => 1,
    }
}
