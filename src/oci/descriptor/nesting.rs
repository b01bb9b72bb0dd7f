//! The nesting of a JSON text.

/// The kinds of the open containers, one bit each.
#[derive(Debug, Default)]
pub(super) struct Levels {
    bits: Vec<u64>,
    pub(super) depth: usize,
}

impl Levels {
    pub(super) fn push(&mut self, is_object: bool) {
        let word = self.depth / 64;
        if word >= self.bits.len() {
            self.bits.push(0);
        }
        if let Some(bits) = self.bits.get_mut(word) {
            let bit = 1 << (self.depth % 64);
            *bits = if is_object { *bits | bit } else { *bits & !bit };
        }
        self.depth += 1;
    }

    pub(super) const fn pop(&mut self) {
        self.depth -= 1;
    }

    /// Returns `true` if the innermost container is an object; `None` if all are closed.
    pub(super) fn is_object(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        let bits = self.bits.get(last / 64)?;
        Some(bits & (1 << (last % 64)) != 0)
    }

    /// Closes all of them.
    pub(super) const fn clear(&mut self) {
        self.depth = 0;
    }
}
