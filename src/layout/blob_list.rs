//! Lists `blobs/`: blobs by digest, temporary files of writers, and foreign files.
//!
//! Names only: a `stat` takes four times as long (measured on ext4, xfs, btrfs and tmpfs),
//! and a blob that is kept never needs one.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hashbrown::HashTable;
use rayon::prelude::*;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::Layout;
use super::entries::each_entry;
use super::temp_files::LOCK_FILE;
use super::temp_files::{self, TempName};
use crate::error::{Error, Result};
use crate::fs::{Links, modified_of, open_dir, stat_at};
use crate::oci::{Algorithm, Digest};

/// The directory of this program's own files.
pub(crate) const OWN_DIRECTORY: &str = ".ocisweep";

/// The lock on the trash of a shared store, beside its directories of blobs.
pub(crate) const STORE_LOCK: &str = ".ocisweep.lock";

/// The number of digests that are hashed before they are inserted into the table.
const HASHED_AT_ONCE: usize = 1 << 16;

/// Up to this number, digests are hashed by one thread.
const FEW: usize = 1024;

/// The number of a digest. It is that of a listed blob if it is below [`BlobList::len`].
pub type BlobId = u32;

/// Digests by number and numbers by digest: 40 bytes and about 10 more for the table per digest.
#[derive(Debug, Default)]
pub(crate) struct DigestTable {
    digests: Vec<Digest>,
    numbers: HashTable<u32>,
    keys: Keys,
}

/// The keys of a hash over digests, random for each table: an attacker may choose the digests in documents.
///
/// A listing hashes millions of them, and SipHash would take a good part of the time. Two folded products of 64-bit words
/// under secret keys are enough: no order or timing reveals the keys.
#[derive(Debug)]
struct Keys {
    words: [u64; 5],
    /// For digests without bytes of fixed length.
    text: RandomState,
}

impl Default for Keys {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            words: std::array::from_fn(|number| random.hash_one(number)),
            text: random,
        }
    }
}

impl Keys {
    /// Hashes one of some digests.
    fn hash_at(&self, digests: &[Digest], number: u32) -> u64 {
        let digest = digests.get(number as usize);
        digest.map_or(0, |digest| self.hash(digest))
    }

    fn hash(&self, digest: &Digest) -> u64 {
        let Digest::Sha256(bytes) = digest else {
            return self.text.hash_one(digest);
        };
        let mut words = [0; 4];
        for ((word, key), bytes) in words.iter_mut().zip(self.words).zip(bytes.chunks_exact(8)) {
            *word = key
                ^ bytes
                    .iter()
                    .fold(0, |word, byte| (word << 8) | u64::from(*byte));
        }
        let [a, b, c, d] = words;
        let [.., last] = self.words;
        fold(fold(a, b) ^ fold(c, d).rotate_left(32), last | 1)
    }
}

/// Multiplies, and XORs both halves of the product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    u64::try_from((product & u128::from(u64::MAX)) ^ (product >> 64)).unwrap_or_default()
}

impl DigestTable {
    pub(crate) fn get(&self, digest: &Digest) -> Option<u32> {
        self.numbers
            .find(self.keys.hash(digest), |&number| {
                self.digests.get(number as usize) == Some(digest)
            })
            .copied()
    }

    /// Adds a digest. Returns its number, new or known.
    pub(crate) fn insert(&mut self, digest: Digest) -> u32 {
        let hash = self.keys.hash(&digest);
        let (digests, keys) = (&mut self.digests, &self.keys);
        let entry = self.numbers.entry(
            hash,
            |&number| digests.get(number as usize) == Some(&digest),
            |&number| keys.hash_at(digests, number),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let number = number_of(digests.len());
                entry.insert(number);
                digests.push(digest);
                number
            }
        }
    }

    /// Numbers the digests that were pushed after the first N. All at once, hashed on all cores, so that the table does not
    /// grow step by step, which rehashes every digest. A directory that changes while it is listed can report a name twice:
    /// it gets one number.
    fn number_from(&mut self, first: usize) {
        let Self {
            digests,
            numbers,
            keys,
        } = self;
        numbers.reserve(digests.len() - first, |&number| {
            keys.hash_at(digests, number)
        });
        let mut hashes = Vec::new();
        let mut next = first;
        for begin in (first..digests.len()).step_by(HASHED_AT_ONCE) {
            let end = digests.len().min(begin + HASHED_AT_ONCE);
            let batch = digests.get(begin..end).unwrap_or_default();
            if batch.len() <= FEW {
                hashes = batch.iter().map(|digest| keys.hash(digest)).collect();
            } else {
                crate::threads::start();
                batch
                    .par_iter()
                    .with_min_len(FEW)
                    .map(|digest| keys.hash(digest))
                    .collect_into_vec(&mut hashes);
            }
            for (position, &hash) in (begin..end).zip(&hashes) {
                let entry = numbers.entry(
                    hash,
                    |&number| digests.get(number as usize) == digests.get(position),
                    |&number| keys.hash_at(digests, number),
                );
                if let hashbrown::hash_table::Entry::Vacant(entry) = entry {
                    entry.insert(number_of(next));
                    digests.swap(next, position);
                    next += 1;
                }
            }
        }
        digests.truncate(next);
        // Up to half of what was reserved while the directory was listed.
        digests.shrink_to_fit();
    }

    pub(crate) fn digest(&self, number: u32) -> Option<&Digest> {
        self.digests.get(number as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }
}

fn number_of(position: usize) -> u32 {
    u32::try_from(position).expect("four billion digests do not fit into memory")
}

/// A file or directory that is not a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TempFile {
    /// The path relative to the layout.
    pub path: PathBuf,
    /// The confidence that this is the name of a temporary file; `None` for a foreign file.
    pub temp: Option<TempName>,
    /// It is a directory.
    pub is_dir: bool,
    /// When it, or the newest file in it, was written, in nanoseconds since 1970. Only known for
    /// temporary files.
    pub modified: i128,
    /// Its bytes. Only known for temporary files.
    pub len: u64,
}

/// The files of a layout below `blobs/`, and temporary files.
#[derive(Debug, Default)]
pub struct BlobList {
    table: DigestTable,
    /// The numbers of blobs that are symbolic links, ascending.
    links: Vec<BlobId>,
    /// Temporary files of writers, by path.
    pub temporary: Vec<TempFile>,
    /// Everything else in `blobs/`, by path.
    pub foreign: Vec<TempFile>,
}

impl TempFile {
    /// Returns `true` if it is the lock file that a killed process leaves.
    pub(crate) fn is_lock(&self) -> bool {
        self.path == Path::new(LOCK_FILE)
    }
}

impl BlobList {
    /// Returns the number of blobs. Their numbers count from 0 in the order of the directories.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns `true` if there is no blob.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the numbers of the blobs. Further numbers can begin at its end.
    #[must_use]
    pub fn ids(&self) -> Range<BlobId> {
        0..number_of(self.len())
    }

    /// Returns the number of a blob, if it exists.
    #[must_use]
    pub fn id(&self, digest: &Digest) -> Option<BlobId> {
        self.table.get(digest)
    }

    /// Returns the digest of a blob.
    #[must_use]
    pub fn digest(&self, id: BlobId) -> Option<&Digest> {
        self.table.digest(id)
    }

    /// Returns `true` if the blob is a symbolic link.
    #[must_use]
    pub fn is_link(&self, id: BlobId) -> bool {
        self.links.binary_search(&id).is_ok()
    }

    pub(super) fn read(layout: &Layout) -> Result<Self> {
        let mut list = Self::default();
        for (algorithm, dir) in &layout.blob_dirs().algorithms {
            list.read_algorithm(layout, *algorithm, dir)?;
        }
        list.read_blobs_root(layout)?;
        list.read_root(layout)?;
        for files in [&mut list.temporary, &mut list.foreign] {
            files.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(list)
    }

    /// Lists a store of blobs that these layouts share, with the temporary files of all layouts: a writer of any of them
    /// may be about to list a blob of the store.
    pub(crate) fn read_store(layouts: &[Layout]) -> Result<Self> {
        let Some((first, others)) = layouts.split_first() else {
            return Ok(Self::default());
        };
        let mut list = Self::read(first)?;
        for layout in others {
            list.read_root(layout)?;
        }
        Ok(list)
    }

    /// Lists only the temporary files outside `blobs/`.
    pub(crate) fn read_beside(layout: &Layout) -> Result<Self> {
        let mut list = Self::default();
        list.read_root(layout)?;
        Ok(list)
    }

    fn read_algorithm(
        &mut self,
        layout: &Layout,
        algorithm: Algorithm,
        dir: impl AsFd,
    ) -> Result<()> {
        let relative = Path::new("blobs").join(algorithm.name());
        let mut others = Vec::new();
        let mut links = Vec::new();
        let first = self.table.len();
        each_entry(
            &dir,
            &layout.path().join(&relative),
            |entry| match Digest::from_hex(algorithm, entry.name) {
                Some(digest) if matches!(entry.kind, FileType::RegularFile | FileType::Symlink) => {
                    if entry.kind == FileType::Symlink {
                        links.push(digest.clone());
                    }
                    self.table.digests.push(digest);
                }
                _ => others.push((entry.name.to_owned(), entry.kind)),
            },
        )?;
        self.table.number_from(first);
        self.links
            .extend(links.iter().filter_map(|link| self.table.get(link)));
        self.links.sort_unstable();
        for (name, kind) in others {
            let text = std::str::from_utf8(&name).ok();
            let recognised = text
                .filter(|_| kind == FileType::RegularFile)
                .and_then(|name| temp_files::in_blobs(algorithm, name));
            self.add_file(layout, &dir, &relative, &name, kind, recognised)?;
        }
        Ok(())
    }

    /// Lists what is directly in `blobs/`: directories of unknown algorithms, and other files.
    fn read_blobs_root(&mut self, layout: &Layout) -> Result<()> {
        let Some(root) = &layout.blob_dirs().root else {
            return Ok(());
        };
        let mut others = Vec::new();
        each_entry(root, &layout.path().join("blobs"), |entry| {
            let mut known = layout.blob_dirs().algorithms.iter();
            // The trash of a shared store, and its lock.
            let own = [OWN_DIRECTORY, STORE_LOCK].map(str::as_bytes);
            if !known.any(|(algorithm, _)| algorithm.name().as_bytes() == entry.name)
                && !own.contains(&entry.name)
            {
                others.push((entry.name.to_owned(), entry.kind));
            }
        })?;
        for (name, kind) in others {
            self.add_file(layout, root, Path::new("blobs"), &name, kind, None)?;
        }
        Ok(())
    }

    /// Lists temporary files next to `index.json` and in the directories of writers. Other files are not reported.
    fn read_root(&mut self, layout: &Layout) -> Result<()> {
        let mut found = Vec::new();
        let mut own = false;
        let mut ingest = false;
        let mut uploads = Vec::new();
        each_entry(layout.dir(), layout.path(), |entry| {
            let is_dir = entry.kind == FileType::Directory;
            let Ok(name) = std::str::from_utf8(entry.name) else {
                return;
            };
            match name {
                OWN_DIRECTORY if is_dir => own = true,
                // Whether it is stale is checked before it is deleted.
                LOCK_FILE if entry.kind == FileType::RegularFile => {
                    let recognised = TempName::Unmistakable;
                    found.push((entry.name.to_owned(), entry.kind, recognised));
                }
                "ingest" if is_dir => ingest = true,
                // zot stages uploads and even its index.json there; olareg uses `_uploads`.
                ".uploads" | ".sync" | "_uploads" if is_dir => uploads.push(name.to_owned()),
                _ if !is_dir && entry.kind != FileType::RegularFile => {}
                _ => {
                    if let Some(recognised) = temp_files::in_root(name, is_dir) {
                        found.push((entry.name.to_owned(), entry.kind, recognised));
                    }
                }
            }
        })?;
        for (name, kind, recognised) in found {
            let dir = layout.dir();
            self.add_file(layout, dir, Path::new(""), &name, kind, Some(recognised))?;
        }
        if own {
            self.read_staging(layout, OWN_DIRECTORY, |name, is_dir| {
                (!is_dir && name.is_some_and(crate::fs::is_own)).then_some(TempName::Unmistakable)
            })?;
        }
        // Everything in the other directories belongs to a writer, even under an unknown name.
        if ingest {
            self.read_staging(layout, "ingest", |name, is_dir| {
                let known = name.map(|name| temp_files::in_ingest(name, is_dir));
                known.or(Some(TempName::Plausible))
            })?;
        }
        for name in uploads {
            self.read_staging(layout, &name, |name, is_dir| {
                let known = name.map(|name| temp_files::in_uploads(name, is_dir));
                known.or(Some(TempName::Plausible))
            })?;
        }
        Ok(())
    }

    /// Lists a directory with temporary files. `recognise` returns `None` for other files, which are omitted.
    fn read_staging(
        &mut self,
        layout: &Layout,
        directory: &str,
        recognise: impl Fn(Option<&str>, bool) -> Option<TempName>,
    ) -> Result<()> {
        let path = layout.path().join(directory);
        let dir = match open_dir(layout.dir(), directory, Links::Refuse) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {
                return Ok(());
            }
            Err(error) => return Err(Error::read(path)(error.into())),
        };
        let mut found = Vec::new();
        each_entry(&dir, &path, |entry| {
            found.push((entry.name.to_owned(), entry.kind));
        })?;
        for (name, kind) in found {
            let text = std::str::from_utf8(&name).ok();
            let recognised = recognise(text, kind == FileType::Directory);
            if recognised.is_some() {
                self.add_file(layout, &dir, Path::new(directory), &name, kind, recognised)?;
            }
        }
        Ok(())
    }

    /// Adds a file that is not a blob. Temporary files are inspected: their age decides.
    fn add_file(
        &mut self,
        layout: &Layout,
        dir: impl AsFd,
        relative: &Path,
        name: &[u8],
        kind: FileType,
        temp: Option<TempName>,
    ) -> Result<()> {
        let mut file = TempFile {
            path: relative.join(OsStr::from_bytes(name)),
            temp,
            is_dir: kind == FileType::Directory,
            modified: 0,
            len: 0,
        };
        if temp.is_none() {
            self.foreign.push(file);
            return Ok(());
        }
        let path = layout.path().join(&file.path);
        match measure(dir, name, file.is_dir, &path) {
            Ok(measured) => {
                (file.modified, file.len) = measured;
                self.temporary.push(file);
                Ok(())
            }
            // A temporary file that no longer exists was completed by its writer.
            Err(Errno::NOENT) => Ok(()),
            // A file that cannot be inspected may belong to an active writer.
            Err(error) => Err(Error::read(path)(error.into())),
        }
    }
}

/// Returns the mtime of a temporary file, or of the newest file in a temporary directory, and its bytes.
pub(crate) fn measure(
    dir: impl AsFd,
    name: &[u8],
    is_dir: bool,
    path: &Path,
) -> rustix::io::Result<(i128, u64)> {
    let stat = stat_at(&dir, name, Links::Refuse)?;
    let mut modified = modified_of(&stat);
    if !is_dir {
        return Ok((modified, u64::try_from(stat.st_size).unwrap_or_default()));
    }
    let mut len = 0_u64;
    let mut names = Vec::new();
    // The newest known time of an unreadable directory is its own.
    if let Ok(inner) = open_dir(&dir, name, Links::Refuse)
        && each_entry(&inner, path, |entry| names.push(entry.name.to_owned())).is_ok()
    {
        for name in names {
            if let Ok(stat) = stat_at(&inner, name.as_slice(), Links::Refuse) {
                modified = modified.max(modified_of(&stat));
                len = len.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
            }
        }
    }
    Ok((modified, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::Sha256([number; 32])
    }

    #[test]
    fn a_digest_listed_twice_has_one_number() {
        let mut table = DigestTable::default();
        assert_eq!(table.insert(digest(9)), 0);
        table.digests.extend([3, 1, 3, 9, 2, 1, 4].map(digest));
        table.number_from(1);
        let listed: Vec<_> = (0..5).map(|number| table.digest(number)).collect();
        assert_eq!(
            listed,
            [9, 3, 1, 2, 4].map(digest).each_ref().map(Some),
            "in the order of the directory"
        );
        assert_eq!(table.len(), 5);
        for (number, seed) in (0..).zip([9, 3, 1, 2, 4]) {
            assert_eq!(table.get(&digest(seed)), Some(number));
        }
        assert_eq!(table.get(&digest(5)), None);
        assert_eq!(table.insert(digest(2)), 3);
        assert_eq!(table.insert(digest(5)), 5);
    }

    #[test]
    fn many_digests_are_numbered_in_order() {
        let count = u32::try_from(2 * HASHED_AT_ONCE + 77).expect("it is small");
        let seeded = |seed: u32| {
            let mut bytes = [0; 32];
            for (byte, seed) in bytes.iter_mut().skip(5).zip(seed.to_be_bytes()) {
                *byte = seed;
            }
            Digest::Sha256(bytes)
        };
        let mut table = DigestTable::default();
        table.digests.extend((0..count).map(seeded));
        table.number_from(0);
        assert!((0..count).all(|number| table.get(&seeded(number)) == Some(number)));
        assert_eq!(table.get(&seeded(count)), None);
    }
}
