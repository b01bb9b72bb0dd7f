//! Sets of blobs.

/// A growing set of numbers, one bit each.
#[derive(Debug, Clone, Default)]
pub struct BlobSet(Vec<u64>);

impl BlobSet {
    /// Returns an empty set with room for numbers below `capacity`.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(vec![0; capacity.div_ceil(64)])
    }

    /// Adds a number. Returns `true` if it is new.
    pub fn insert(&mut self, number: u32) -> bool {
        let word = number as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let bit = 1_u64 << (number % 64);
        self.0.get_mut(word).is_some_and(|word| {
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        })
    }

    /// Adds the numbers of another set.
    pub fn merge(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// Returns `true` if no number is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Returns `true` if the number is in the set.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.0
            .get(number as usize / 64)
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

impl FromIterator<u32> for BlobSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut set = Self::default();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(numbers: &[u32]) -> BlobSet {
        let mut bits = BlobSet::new(3);
        for number in numbers {
            assert!(bits.insert(*number), "{number}");
            assert!(!bits.insert(*number), "{number}");
        }
        bits
    }

    #[test]
    fn a_set_contains_exactly_the_added_numbers() {
        let numbers = [0, 1, 63, 64, 65, 127, 128, 1000];
        let all = bits(&numbers);
        for number in 0..1200 {
            assert_eq!(all.contains(number), numbers.contains(&number), "{number}");
        }
        assert!(!all.is_empty() && bits(&[]).is_empty() && BlobSet::default().is_empty());
    }

    #[test]
    fn sets_of_any_length_can_be_merged() {
        for (one, other) in [(&[1, 70][..], &[2, 500][..]), (&[3], &[3]), (&[], &[200])] {
            for (one, other) in [(one, other), (other, one)] {
                let mut merged = bits(one);
                merged.merge(&bits(other));
                for number in 0..600 {
                    let expected = one.contains(&number) || other.contains(&number);
                    assert_eq!(merged.contains(number), expected, "{number}");
                }
            }
        }
    }
}
