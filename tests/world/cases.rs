//! Seeds of random cases. They are the same in every run; the variables `PREFIX_CASES`, `PREFIX_FIRST` and `PREFIX_SEED` set
//! their number, the number of the first case, or the single seed that a failure prints. Without them a sample runs a quarter.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::support::extent::{Extent, extent};

/// Calls `visit` with `count` seeds, with a quarter of them in a sample, or with those that the variables select.
pub(crate) fn each_seed(
    prefix: &str,
    count: u64,
    length: impl Fn(u64) -> u64,
    visit: impl FnMut(u64),
) {
    let count = match extent() {
        Extent::Sample => count.div_ceil(4),
        Extent::Wide | Extent::All => count,
    };
    every_seed(prefix, count, length, visit);
}

/// The same at every extent, for cheap cases.
pub(crate) fn every_seed(
    prefix: &str,
    count: u64,
    length: impl Fn(u64) -> u64,
    mut visit: impl FnMut(u64),
) {
    if let Some(seed) = variable(&format!("{prefix}_SEED")) {
        visit(seed);
        return;
    }
    let first = variable(&format!("{prefix}_FIRST")).unwrap_or(1);
    let count = variable(&format!("{prefix}_CASES")).unwrap_or(count);
    for step in 0..count {
        // The low half of a seed is the length of the source, the high half its randomness, which must not be zero.
        let number = first.wrapping_add(step);
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        visit(((random | 1) << 32) | length(number));
    }
}

/// The length of the source of a case: from few random bytes to many, since shorter sources make plainer layouts.
pub(crate) fn varied(number: u64) -> u64 {
    (number % 60).saturating_mul(32).saturating_add(64)
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The cases that failed: size, seed, and a description.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<(usize, u64, String)>);

impl Failures {
    /// Adds a failed case.
    pub(crate) fn add(&mut self, size: usize, seed: u64, story: String) {
        self.0.push((size, seed, story));
    }

    /// Panics with the smallest case, and with one line for each of the others, if there are any.
    #[track_caller]
    pub(crate) fn assert_none(mut self, prefix: &str) {
        self.0.sort();
        let Some((_, seed, story)) = self.0.first() else {
            return;
        };
        let others = self.0.iter().skip(1).take(200).map(|(_, seed, story)| {
            format!("{seed:#x} {}", story.lines().next().unwrap_or_default())
        });
        let others: Vec<String> = others.collect();
        panic!(
            "{} fail; the smallest has {prefix}_SEED={seed:#x}\n{story}\nothers:\n{}",
            self.0.len(),
            others.join("\n")
        );
    }
}

/// Panics unless each kind occurs often enough: a change of the generator could silently leave nothing to test.
#[track_caller]
pub(crate) fn assert_kinds<K: Ord + Borrow<str> + Debug>(
    kinds: &[&str],
    seen: &BTreeMap<K, u32>,
    total: u32,
    many: u32,
) {
    for kind in kinds {
        let count = seen.get(kind).copied().unwrap_or(0);
        assert!(
            total < many || count >= total / many,
            "only {count} of {total}: {kind}\n{seen:?}"
        );
    }
}
