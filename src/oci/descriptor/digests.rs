//! The digests of one descriptor.

use crate::oci::digest::Digest;

/// The digests of an object: nearly always one, which needs no list.
#[derive(Debug, Default)]
pub(super) struct Digests {
    first: Option<Result<Digest, String>>,
    others: Vec<Result<Digest, String>>,
}

impl Digests {
    pub(super) fn push(&mut self, digest: Result<Digest, String>) {
        match self.first {
            None => self.first = Some(digest),
            Some(_) => self.others.push(digest),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.others.len() + self.first.is_some() as usize
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Result<Digest, String>> {
        self.first.into_iter().chain(self.others)
    }
}
