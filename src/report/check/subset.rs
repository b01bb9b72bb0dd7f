//! Chooses the blobs to read if not all of them are read.
//!
//! *Promise*: the parts of a [`Subset::Part`] are a partition, on every machine and in every version. A [`Subset::Amount`] with a
//! record reads every blob after enough runs: those that were never verified come first, then those verified longest ago.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;

use crate::graph::BlobSet;
use crate::layout::BlobId;
use crate::oci::Digest;
use crate::parse::size::{Amount, SizeError, parse_amount};

/// The part of the content of blobs that is read. Documents and configurations are always read, and the presence and size of
/// every blob is always checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// One of several equal parts by digest: a blob is in the same part in every run.
    Part {
        /// The number of the part, from 1.
        number: u32,
        /// The number of parts.
        of: u32,
    },
    /// An amount of bytes, or a percentage of the bytes that would be read. Whole blobs are read, at least one; the last one may
    /// exceed the amount.
    Amount {
        /// The amount.
        amount: Amount,
        /// The seed that selects the blobs if there is no record.
        seed: u64,
    },
}

/// Why a string is not a subset. Each variant has the string last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubsetError {
    /// It is not a part such as `2/10`.
    #[error("`{0}` is not a part, write for example `1/10` for the first of ten parts")]
    Part(String),
    /// It is not an amount.
    #[error(transparent)]
    Amount(#[from] SizeError),
}

impl Subset {
    /// Parses a part such as `2/10`, a percentage such as `10%`, or a size such as `20GB`. `seed` decides which blobs an
    /// amount selects without a record.
    ///
    /// # Errors
    /// [`SubsetError`].
    pub fn parse(text: &str, seed: u64) -> Result<Self, SubsetError> {
        let Some((number, of)) = text.split_once('/') else {
            let amount = parse_amount(text)?;
            return Ok(Self::Amount { amount, seed });
        };
        let parse = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| text.parse().ok()).flatten()
        };
        match (parse(number), parse(of)) {
            (Some(number), Some(of)) if 1 <= number && number <= of => {
                Ok(Self::Part { number, of })
            }
            _ => Err(SubsetError::Part(text.to_owned())),
        }
    }
}

/// A blob that a check of everything would read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) id: BlobId,
    pub(super) digest: &'a Digest,
    pub(super) len: u64,
    /// When an earlier run verified it.
    pub(super) verified: Option<Timestamp>,
}

/// Returns the candidates that are read. `is_recorded`: a record shows what was verified.
pub(super) fn choose(
    mut candidates: Vec<Candidate<'_>>,
    subset: Option<Subset>,
    is_recorded: bool,
) -> BlobSet {
    let mut chosen = BlobSet::default();
    let (amount, seed) = match subset {
        Some(Subset::Amount { amount, seed }) => (amount, seed),
        Some(Subset::Part { .. }) | None => {
            let wanted = candidates.iter().filter(|candidate| {
                let is_in_part = subset.is_none_or(|subset| is_in(candidate.digest, subset));
                is_in_part && candidate.verified.is_none()
            });
            wanted.for_each(|candidate| {
                chosen.insert(candidate.id);
            });
            return chosen;
        }
    };
    if is_recorded {
        // `None` is before every time. The largest first: then the last one exceeds the amount by little.
        candidates.sort_by(|a, b| {
            let key = |it: &Candidate<'_>| (it.verified, Reverse(it.len));
            key(a).cmp(&key(b)).then_with(|| a.digest.cmp(b.digest))
        });
    } else {
        candidates.sort_by_cached_key(|candidate| {
            let mut hasher = DefaultHasher::new();
            (seed, candidate.digest).hash(&mut hasher);
            hasher.finish()
        });
    }
    let lens = candidates.iter().map(|candidate| candidate.len);
    let wanted = amount.of(lens.fold(0, u64::saturating_add));
    let mut bytes = 0_u64;
    for (position, candidate) in candidates.iter().enumerate() {
        if position > 0 && bytes >= wanted {
            break;
        }
        chosen.insert(candidate.id);
        bytes = bytes.saturating_add(candidate.len);
    }
    chosen
}

/// Returns `true` if a blob is in a part. The parts are ranges of the first 64 bits of the digest.
fn is_in(digest: &Digest, subset: Subset) -> bool {
    let Subset::Part { number, of } = subset else {
        return true;
    };
    let start = match digest {
        Digest::Sha256(bytes) => bytes.first_chunk(),
        Digest::Sha384(bytes) => bytes.first_chunk(),
        Digest::Sha512(bytes) => bytes.first_chunk(),
        // It cannot be verified.
        Digest::Other(_) => None,
    };
    let start = u64::from_be_bytes(start.copied().unwrap_or_default());
    (u128::from(start) * u128::from(of)) >> 64 == u128::from(number) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn digests(count: u32) -> Vec<Digest> {
        let digest = |number: u32| {
            let algorithm = match number % 7 {
                0 => Algorithm::Sha512,
                1 => Algorithm::Sha384,
                _ => Algorithm::Sha256,
            };
            Digest::of(algorithm, &number.to_be_bytes())
        };
        (0..count).map(digest).collect()
    }

    fn candidates(digests: &[Digest], len: impl Fn(u32) -> u64) -> Vec<Candidate<'_>> {
        let candidate = |(id, digest)| Candidate {
            id,
            digest,
            len: len(id),
            verified: None,
        };
        (0..).zip(digests).map(candidate).collect()
    }

    fn ids(chosen: &BlobSet, count: u32) -> Vec<BlobId> {
        (0..count).filter(|id| chosen.contains(*id)).collect()
    }

    #[test]
    fn subsets_are_parsed() {
        let part = |number, of| Ok(Subset::Part { number, of });
        let amount = |amount| Ok(Subset::Amount { amount, seed: 7 });
        for (text, expected) in [
            ("1/1", part(1, 1)),
            ("2/10", part(2, 10)),
            ("10%", amount(Amount::Part(1000))),
            ("0.5%", amount(Amount::Part(50))),
            ("20GB", amount(Amount::Bytes(20_000_000_000))),
        ] {
            assert_eq!(Subset::parse(text, 7), expected, "{text}");
        }
        for text in [
            "0/5", "6/5", "1/0", "/", "1/", "/2", "-1/5", "+1/5", " 1/5", "1/5/5", "x/5",
        ] {
            let error = Subset::parse(text, 7).expect_err(text);
            assert!(matches!(error, SubsetError::Part(_)), "{text}: {error}");
        }
        for text in ["", "10", "%", "101%", "20XB", "all"] {
            let error = Subset::parse(text, 7).expect_err(text);
            assert!(matches!(error, SubsetError::Amount(_)), "{text}: {error}");
        }
    }

    #[test]
    fn the_parts_are_a_partition() {
        const COUNT: u32 = 2000;
        let digests = digests(COUNT);
        for of in [1, 2, 3, 10, 256, 1000] {
            let mut all = Vec::new();
            for number in 1..=of {
                let candidates = candidates(&digests, |_| 1);
                let chosen = choose(candidates, Some(Subset::Part { number, of }), false);
                let chosen = ids(&chosen, COUNT);
                if of <= 10 {
                    let fair = (COUNT / of) as usize;
                    let is_fair = (fair * 3 / 4..=fair * 5 / 4).contains(&chosen.len());
                    assert!(is_fair, "part {number} of {of} has {}", chosen.len());
                }
                all.extend(chosen);
            }
            all.sort_unstable();
            assert_eq!(all, (0..COUNT).collect::<Vec<_>>(), "{of} parts");
        }
    }

    /// Another version must not read other blobs: the runs for the other parts may already be done.
    #[test]
    fn a_blob_is_always_in_the_same_part() {
        let digest = |first: u8| {
            let mut bytes = [0; 32];
            bytes[0] = first;
            Digest::Sha256(bytes)
        };
        for (first, number) in [(0, 1), (0x3f, 1), (0x40, 2), (0x80, 3), (0xff, 4)] {
            assert!(is_in(&digest(first), Subset::Part { number, of: 4 }));
        }
    }

    #[test]
    fn an_amount_is_exceeded_by_less_than_a_blob() {
        const COUNT: u32 = 300;
        let digests = digests(COUNT);
        let len = |id: u32| u64::from(id % 17) * 10;
        let total: u64 = (0..COUNT).map(len).sum();
        for amount in [
            Amount::Part(0),
            Amount::Part(1000),
            Amount::Part(10_000),
            Amount::Bytes(0),
            Amount::Bytes(777),
            Amount::Bytes(u64::MAX),
        ] {
            for seed in 0..20 {
                for is_recorded in [false, true] {
                    let subset = Some(Subset::Amount { amount, seed });
                    let chosen = choose(candidates(&digests, len), subset, is_recorded);
                    let chosen = ids(&chosen, COUNT);
                    let bytes: u64 = chosen.iter().map(|id| len(*id)).sum();
                    let wanted = amount.of(total).min(total);
                    assert!(!chosen.is_empty(), "{amount:?}: at least one");
                    assert!(bytes >= wanted, "{amount:?} {bytes}");
                    assert!(bytes <= wanted + 160, "{amount:?} {bytes}");
                }
            }
        }
    }

    #[test]
    fn different_seeds_read_different_blobs_and_finally_all() {
        const COUNT: u32 = 100;
        let digests = digests(COUNT);
        let chosen = |seed| {
            let amount = Amount::Part(1000);
            let subset = Some(Subset::Amount { amount, seed });
            ids(&choose(candidates(&digests, |_| 10), subset, false), COUNT)
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        let mut seen: Vec<BlobId> = (0..200).flat_map(chosen).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), COUNT as usize, "some are never read");
    }

    /// Ten runs of a tenth read everything once; then they start again with the first ones.
    #[test]
    fn runs_with_a_record_roll_over_all_blobs() {
        const COUNT: u32 = 57;
        let digests = digests(COUNT);
        let mut candidates = candidates(&digests, |id| u64::from(id * id) % 1000 + 1);
        let subset = Some(Subset::Amount {
            amount: Amount::Part(1000),
            seed: 0,
        });
        let mut first = Vec::new();
        for night in 1..=10 {
            let chosen = choose(candidates.clone(), subset, true);
            let now = Timestamp::from_second(night).expect("a time");
            for candidate in &mut candidates {
                if chosen.contains(candidate.id) {
                    candidate.verified = Some(now);
                }
            }
            if night == 1 {
                first = ids(&chosen, COUNT);
            }
        }
        assert!(candidates.iter().all(|it| it.verified.is_some()));
        let next = ids(&choose(candidates.clone(), subset, true), COUNT);
        let oldest = candidates.iter().min_by_key(|it| it.verified);
        assert!(next.contains(&oldest.expect("there are some").id));
        assert!(!first.is_empty() && !next.is_empty());
        // Blobs that were never verified come first.
        candidates[11].verified = None;
        let next = choose(candidates.clone(), subset, true);
        assert!(next.contains(candidates[11].id));
    }

    #[test]
    fn without_an_amount_recorded_blobs_are_not_read() {
        let digests = digests(10);
        let mut candidates = candidates(&digests, |_| 1);
        candidates[3].verified = Some(Timestamp::UNIX_EPOCH);
        let chosen = ids(&choose(candidates.clone(), None, true), 10);
        assert_eq!(chosen, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        let part = Some(Subset::Part { number: 1, of: 1 });
        assert_eq!(ids(&choose(candidates, part, true), 10), chosen);
    }
}
