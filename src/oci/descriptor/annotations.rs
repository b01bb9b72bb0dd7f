//! The annotations of a descriptor.

use std::fmt;

/// Keys and values in the order of the keys, each key once.
///
/// An index may have a million entries with one or two of them: a list takes a quarter of the memory of a tree.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Annotations(Vec<(Box<str>, Box<str>)>);

impl Annotations {
    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.position(key).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// Returns `true` if there is such a key.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_ok()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: impl Into<Box<str>>, value: impl Into<Box<str>>) {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Ok(at) => {
                if let Some((_, old)) = self.0.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Removes a key. Returns `true` if it existed.
    pub fn remove(&mut self, key: &str) -> bool {
        let found = self.position(key);
        if let Ok(at) = found {
            self.0.remove(at);
        }
        found.is_ok()
    }

    /// Returns the keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns the number of keys.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the position of a key, or the position to insert it at.
    fn position(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(key))
    }
}

impl fmt::Debug for Annotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The last value of a repeated key counts, as in Go. A descriptor may have a million of them, in any order.
impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Annotations {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(items: T) -> Self {
        let items = items.into_iter();
        let mut list: Vec<(Box<str>, Box<str>)> = items
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        // Equal keys stay in their order.
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        list.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(&mut later.1, &mut earlier.1);
            }
            is_same
        });
        list.shrink_to_fit();
        Self(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_keys_are_in_order() {
        let mut annotations: Annotations =
            [("b", "1"), ("a", "2"), ("b", "0"), ("c", "3"), ("b", "4")]
                .into_iter()
                .collect();
        let mut one_by_one = Annotations::default();
        for (key, value) in [("b", "1"), ("a", "2"), ("b", "0"), ("c", "3"), ("b", "4")] {
            one_by_one.insert(key, value);
        }
        assert_eq!(annotations, one_by_one);
        let all = |annotations: &Annotations| {
            let pairs = annotations
                .iter()
                .map(|(key, value)| format!("{key}{value}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(all(&annotations), "a2 b4 c3");
        assert_eq!(
            (annotations.get("b"), annotations.get("d")),
            (Some("4"), None)
        );
        assert_eq!(
            (annotations.remove("b"), annotations.remove("b")),
            (true, false)
        );
        assert_eq!(all(&annotations), "a2 c3");
        assert!(!annotations.contains_key("b") && annotations.contains_key("c"));
        assert_eq!((annotations.len(), annotations.is_empty()), (2, false));
    }
}
