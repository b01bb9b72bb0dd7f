//! How much the tests do. `cargo test` takes a sample of what differs in a number only: seeds, calls that fail, moments of a kill. Every
//! test runs, whatever the extent. `OCISWEEP_EXTENT=wide` is what a change has to pass, `all` leaves nothing out.

/// The variable that asks for more.
const VARIABLE: &str = "OCISWEEP_EXTENT";

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// A sample that takes a minute or two.
    Sample,
    /// Three to five times as many.
    Wide,
    /// Everything: each fault at each call.
    All,
}

/// Returns what is wanted.
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

/// Returns `true` if this one of many is taken: in a sample each `sample`-th, in a wide run each `wide`-th.
pub(crate) fn takes(turn: usize, sample: usize, wide: usize) -> bool {
    turn.is_multiple_of(every(sample, wide))
}

/// Returns the distance between those that are taken.
pub(crate) fn every(sample: usize, wide: usize) -> usize {
    match extent() {
        Extent::Sample => sample,
        Extent::Wide => wide,
        Extent::All => 1,
    }
}
