//! An image layout on disk: reading only.
//!
//! ```text
//! LAYOUT/ oci-layout            {"imageLayoutVersion":"1.0.0"}; BuildKit caches and hauler may lack it index.json
//! the roots blobs/<algorithm>/…   the blobs, named by their digest manifest.json         docker save only; edited together
//! with index.json *.json                of other tools: files that list descriptors are second indexes, see
//! `second_indexes` ingest/ .umoci-*/ …   temporary files of writers, see `temp_files` .ocisweep/holds.json  the holds, see
//! [`holds`] .ocisweep/trash/…     blobs that runs with `--trash` removed, see [`trash`]
//! ```
//!
//! *Promise*: every directory is opened once and files are opened relative to it, so that no process can replace a directory
//! by a link between a check and its use. The content of a layout is never trusted: sizes are limited, and a file that
//! cannot be parsed is an error and never "empty".

pub(crate) mod archive_change;
pub mod blob_list;
pub(crate) mod change_detector;
pub(crate) mod classic;
pub mod discover;
pub(crate) mod entries;
pub mod holds;
pub(crate) mod hollow;
pub mod lock;
mod note;
pub(crate) mod packed;
mod read;
pub(crate) mod released;
pub(crate) mod replaced_ids;
pub(crate) mod second_indexes;
pub mod shared_blobs;
#[cfg(feature = "oci-spec")]
mod spec;
mod stat;
mod state;
pub mod temp_files;
pub mod trash;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, FileType};

use crate::error::{ArchiveProblem, Error, NotALayout, Result};
use crate::fs::{FileSystem, Links, exists, open_dir, open_file, real_path, stat_at};
use crate::layout::holds::Emptied;
use crate::layout::packed::Packed;
use crate::oci::digest::DeletableName;
use crate::oci::index_json::MAX_INDEX_BYTES;
use crate::oci::signed::{Identity, identify};
use crate::oci::{Algorithm, Digest};

pub use crate::layout::replaced_ids::ReplacedId;
pub use blob_list::{BlobId, BlobList, TempFile};
pub use second_indexes::{IgnoredIndexes, SecondIndex};
pub use state::{IndexTime, NewBlob, State, Writes};

/// The number of times that a file that cannot be parsed is read. BuildKit, skopeo, oras and crane rewrite `index.json` in
/// place, so a reader can see it half written for some milliseconds.
const PARSE_ATTEMPTS: u32 = 6;

/// The pause before each further attempt.
const PARSE_PAUSE: Duration = Duration::from_millis(25);

/// The largest `oci-layout`, `manifest.json` or holds file that is read, in bytes.
pub(crate) const MAX_SMALL_FILE_BYTES: u64 = 64 << 20;

/// An open image layout.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    dir: OwnedFd,
    blobs: BlobDirs,
    ignored: IgnoredIndexes,
    packed: Option<Arc<Packed>>,
}

/// The location of the blobs of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blobs {
    /// In its `blobs`.
    Inside,
    /// In a shared store, which is opened afterwards.
    Elsewhere,
}

/// The directories that hold blobs, each opened once.
#[derive(Debug, Default)]
pub(crate) struct BlobDirs {
    pub(crate) root: Option<OwnedFd>,
    pub(crate) algorithms: Vec<(Algorithm, OwnedFd)>,
    /// The first of them that is a symbolic link.
    pub(crate) link: Option<PathBuf>,
    /// The shared store, if the layout was opened in one.
    pub(crate) store: Option<PathBuf>,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`Error::NotALayout`], [`Error::UnsupportedVersion`], and [`Error::Read`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_unchecked(path.into(), Blobs::Inside)
    }

    /// Opens the layout in an archive. Messages name the archive.
    pub(crate) fn open_packed(archive: PathBuf, packed: Arc<Packed>) -> Result<Self> {
        let prefix = Path::new(std::ffi::OsStr::from_bytes(&packed.prefix));
        let place = packed.scratch.path().join(prefix);
        let dir = open_dir(CWD, &place, Links::Refuse)
            .map_err(|error| Error::read(&archive)(error.into()))?;
        let layout = Self::of_directory(archive, dir, Blobs::Inside)?;
        Ok(Self {
            packed: Some(packed),
            ..layout
        })
    }

    /// Returns the details of the archive that the layout was unpacked from.
    pub(crate) fn packed(&self) -> Option<&Packed> {
        self.packed.as_deref()
    }

    /// Returns `true` if the layout is in an archive.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// Refuses a layout in an archive, for operations that need a directory.
    ///
    /// # Errors
    /// [`Error::Archive`].
    pub(crate) fn refuse_packed(&self, what: ArchiveProblem) -> Result<()> {
        if !self.is_packed() {
            return Ok(());
        }
        let path = self.path.clone();
        Err(Error::Archive { path, what })
    }

    fn open_unchecked(path: PathBuf, place: Blobs) -> Result<Self> {
        let dir = match open_dir(CWD, &path, Links::Follow) {
            Ok(dir) => dir,
            Err(rustix::io::Errno::NOTDIR) => {
                let what = what_file(&path);
                return Err(Error::NotALayout { path, what });
            }
            Err(error) => return Err(Error::read(&path)(error.into())),
        };
        Self::of_directory(path, dir, place)
    }

    fn of_directory(path: PathBuf, dir: OwnedFd, place: Blobs) -> Result<Self> {
        let refused = |what| {
            let path = path.clone();
            Error::NotALayout { path, what }
        };
        let has = |name: &str| exists(&dir, name).map_err(Error::read(path.join(name)));
        let has_marker = has("oci-layout")?;
        if !has_marker && has("sparse-oci-layout")? {
            return Err(refused(NotALayout::Sparse));
        }
        if !has("index.json")? {
            let what = if has_marker && has("refs")? {
                NotALayout::Old
            } else if has_marker {
                NotALayout::NoIndex
            } else if has("docker/registry/v2")? || has("blobs")? && has("repositories")? {
                NotALayout::RegistryStorage
            } else if has("version")? && has("manifest.json")? {
                NotALayout::DirCopy
            } else if has("v2")? {
                NotALayout::Mirror
            } else if has("blobs")? && has("ingest")? {
                NotALayout::ContentStore
            } else {
                NotALayout::Nothing
            };
            return Err(refused(what));
        }
        if has_marker {
            check_version(&path, &dir)?;
        } else if !has("blobs")? {
            return Err(refused(NotALayout::NoBlobs));
        }
        let blobs = match place {
            Blobs::Inside => BlobDirs::open(&path, &dir)?,
            Blobs::Elsewhere => BlobDirs::default(),
        };
        if blobs.is_flat(&path)? {
            return Err(refused(NotALayout::Flat));
        }
        Ok(Self {
            path,
            dir,
            blobs,
            ignored: IgnoredIndexes::default(),
            packed: None,
        })
    }

    /// Returns the path as given to [`Layout::open`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the same layout, with file descriptors of its own.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            dir: self.dir.try_clone().map_err(Error::read(&self.path))?,
            blobs: self.blobs.try_clone().map_err(Error::read(&self.path))?,
            ignored: self.ignored.clone(),
            packed: self.packed.clone(),
        })
    }

    /// Returns device and inode of the directory.
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        shared_blobs::identity(&self.dir, &self.path)
    }

    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    pub(crate) const fn blob_dirs(&self) -> &BlobDirs {
        &self.blobs
    }

    /// Refuses a layout whose blobs other layouts may use as well.
    ///
    /// # Errors
    /// [`Error::SharedBlobs`] if `blobs` or a directory in it is a symbolic link, as LXC's
    /// template creates them.
    pub fn refuse_shared_blobs(&self) -> Result<()> {
        self.refuse_if(self.blobs.link.as_ref())
    }

    /// Returns `true` if it was opened in a shared store.
    pub(crate) const fn is_in_store(&self) -> bool {
        self.blobs.store.is_some()
    }

    /// Refuses to sweep this layout alone if its blobs are in a shared store or behind a link.
    ///
    /// # Errors
    /// [`Error::SharedBlobs`].
    pub(crate) fn refuse_to_sweep_alone(&self) -> Result<()> {
        self.refuse_if(self.blobs.store.as_ref())?;
        self.refuse_shared_blobs()
    }

    fn refuse_if(&self, link: Option<&PathBuf>) -> Result<()> {
        link.map_or(Ok(()), |link| {
            Err(Error::SharedBlobs {
                path: self.path.clone(),
                link: link.clone(),
            })
        })
    }

    /// Opens a blob for reading, following a symbolic link (in rules_oci all blobs are links).
    ///
    /// # Errors
    /// Those of `openat`; `ENOENT` is normal for a sparse image.
    pub(crate) fn open_blob(&self, digest: &Digest) -> io::Result<OwnedFd> {
        let name = digest.blob_name();
        let missing = || io::Error::from(rustix::io::Errno::NOENT);
        if let Some(algorithm) = digest.algorithm() {
            let dir = self.blobs.algorithm(algorithm).ok_or_else(missing)?;
            return Ok(open_file(dir, name.file(), Links::Follow)?);
        }
        let root = self.blobs.root.as_ref().ok_or_else(missing)?;
        let dir = open_dir(root, name.directory(), Links::Refuse)?;
        Ok(open_file(&dir, name.file(), Links::Follow)?)
    }

    /// Reads a document and verifies its digest.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Malformed`] if it is too large or does not match its digest.
    pub(crate) fn read_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let file = self.open_blob(digest).map_err(Error::read(&path))?;
        let mut bytes = Vec::new();
        File::from(file)
            .take(MAX_SMALL_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::read(&path))?;
        let why = if bytes.len() as u64 > MAX_SMALL_FILE_BYTES {
            format!("it is too large: more than {MAX_SMALL_FILE_BYTES} bytes")
        } else if identify(digest, &bytes) == Identity::Other {
            "it does not match its digest".to_owned()
        } else {
            return Ok(bytes);
        };
        Err(Error::Malformed { path, why })
    }

    /// Returns the directory and the name of a blob; `None` if there is no directory for its algorithm.
    pub(crate) fn place_of_blob(&self, digest: &Digest) -> Option<(BorrowedFd<'_>, DeletableName)> {
        let name = digest.deletable_name()?;
        let dir = self.blobs.algorithm(name.algorithm())?;
        Some((dir.as_fd(), name))
    }

    /// Returns the path of a blob, for messages.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        match &self.blobs.store {
            Some(store) => store.join(digest.blob_name().path()),
            None => self.path.join(digest.path_in_layout()),
        }
    }

    /// Lists the blobs and everything else below `blobs/`, and the temporary files of writers.
    ///
    /// # Errors
    /// [`Error::Read`] if a directory cannot be listed: a partial list would make a partial mark.
    pub fn list(&self) -> Result<BlobList> {
        BlobList::read(self)
    }
}

/// The location of a file to replace.
#[derive(Debug)]
pub(crate) struct FilePlace {
    pub(crate) dir: OwnedFd,
    pub(crate) name: String,
}

/// Returns `true` if another program's file has this temporary name, because a run was killed after it had exchanged the
/// two.
pub(crate) fn is_parked(name: &str, file: &OwnedFd) -> bool {
    let Some(swap) = crate::fs::SwapName::parse(name) else {
        return false;
    };
    let mut bytes = Vec::new();
    let read = file.try_clone().and_then(|file| {
        let mut file = File::from(file).take(MAX_INDEX_BYTES + 1);
        file.read_to_end(&mut bytes)
    });
    // A file that cannot be read may be anything.
    read.is_err() || !swap.is_expendable(&bytes)
}

/// An open temporary file.
#[derive(Debug)]
pub(crate) struct OpenTempFile {
    pub(crate) dir: OwnedFd,
    pub(crate) name: String,
    /// The directory itself, if it is one.
    pub(crate) inner: Option<OwnedFd>,
}

impl Layout {
    /// Returns `true` if deleted blobs may be files of a lower layer of an overlay file system.
    pub(crate) fn merges_layers(&self) -> bool {
        if self.is_packed() {
            return false;
        }
        let mut dirs = self.blobs.algorithms.iter();
        dirs.any(|(_, dir)| FileSystem::merges_layers(dir))
    }

    /// Returns the temporary files that [hold what another program wrote](is_parked).
    pub(crate) fn parked<'a>(&self, files: impl IntoIterator<Item = &'a TempFile>) -> Vec<PathBuf> {
        let is_parked = |file: &&TempFile| {
            let name = file.path.file_name().and_then(|name| name.to_str());
            !file.is_dir
                && name.is_some_and(|name| crate::fs::SwapName::parse(name).is_some())
                && matches!(self.open_temp_file(file), Ok(None))
                && std::fs::symlink_metadata(self.path.join(&file.path)).is_ok()
        };
        let parked = files.into_iter().filter(is_parked);
        parked.map(|file| file.path.clone()).collect()
    }

    /// Opens the directory of a temporary file. `None` if the file no longer exists, is another kind of
    /// file, is locked by another process, or [holds what another program wrote](is_parked).
    pub(crate) fn open_temp_file(&self, file: &TempFile) -> io::Result<Option<OpenTempFile>> {
        let mut dir = self.dir.try_clone()?;
        let mut names = file.path.iter();
        let Some(name) = names.next_back().and_then(|name| name.to_str()) else {
            return Ok(None);
        };
        let if_present = |opened: rustix::io::Result<OwnedFd>| match opened {
            Ok(file) => Ok(Some(file)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(io::Error::from(error)),
        };
        for parent in names {
            let Some(inner) = if_present(open_dir(&dir, parent, Links::Refuse))? else {
                return Ok(None);
            };
            dir = inner;
        }
        let opened = if file.is_dir {
            open_dir(&dir, name, Links::Refuse)
        } else {
            open_file(&dir, name, Links::Refuse)
        };
        let Some(opened) = if_present(opened)? else {
            return Ok(None);
        };
        if lock::is_flocked(&opened)? || !file.is_dir && is_parked(name, &opened) {
            return Ok(None);
        }
        Ok(Some(OpenTempFile {
            dir,
            name: name.to_owned(),
            inner: file.is_dir.then_some(opened),
        }))
    }

    /// Returns the directory and name of a file to replace. For a symbolic link it is the target, so that the link is kept.
    pub(crate) fn place_of(&self, name: &str) -> Result<FilePlace> {
        let path = self.path.join(name);
        let to_error = |error: rustix::io::Errno| Error::write(&path)(error.into());
        let is_link = match stat_at(&self.dir, name, Links::Refuse) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Symlink,
            Err(rustix::io::Errno::NOENT) => false,
            Err(error) => return Err(Error::read(&path)(error.into())),
        };
        if !is_link {
            return Ok(FilePlace {
                dir: open_dir(&self.dir, ".", Links::Refuse).map_err(to_error)?,
                name: name.to_owned(),
            });
        }
        let target = real_path(&path).map_err(Error::read(&path))?;
        let (Some(parent), Some(file)) = (
            target.parent(),
            target.file_name().and_then(|name| name.to_str()),
        ) else {
            return Err(Error::Malformed {
                path,
                why: "the target of the link has no file name".to_owned(),
            });
        };
        Ok(FilePlace {
            dir: open_dir(CWD, parent, Links::Follow).map_err(to_error)?,
            name: file.to_owned(),
        })
    }

    /// Returns `true` if `index.json` lists nothing because this program removed the last image, and
    /// it was not written since then.
    #[must_use]
    pub fn was_emptied(&self, state: &State) -> bool {
        let note = self.read_own_file(Emptied::FILE).ok().flatten();
        note.is_some_and(|note| note == Emptied::note(&state.index).as_bytes())
    }

    /// Reads a small file; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Malformed`] if it is too large.
    pub(crate) fn read_own_file(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let read = self.read_file(file, MAX_SMALL_FILE_BYTES)?;
        Ok(read.map(|(bytes, _)| bytes))
    }

    /// Returns `true` if a temporary file could be deleted: it exists, can be opened and is not locked, and a directory
    /// contains only files that its writer creates.
    pub(crate) fn is_removable(&self, file: &TempFile) -> bool {
        let Ok(Some(place)) = self.open_temp_file(file) else {
            return false;
        };
        let is_known = |file: &String| temp_files::inside(&place.name, file);
        place.inner.as_ref().is_none_or(|inner| {
            let files = self.files_in(file, inner);
            files.is_ok_and(|files| files.iter().all(is_known))
        })
    }

    /// Lists a temporary directory.
    pub(crate) fn files_in(&self, file: &TempFile, dir: &OwnedFd) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        entries::each_entry(dir, &self.path.join(&file.path), |entry| {
            files.push(String::from_utf8_lossy(entry.name).into_owned());
        })
        .map_err(|error| match error {
            Error::Read { source, .. } => source,
            other => io::Error::other(other.to_string()),
        })?;
        Ok(files)
    }
}

impl BlobDirs {
    fn open(path: &Path, dir: &OwnedFd) -> Result<Self> {
        let mut dirs = Self::default();
        let blobs = path.join("blobs");
        let Some(root) = dirs.open_one(dir, "blobs", &blobs)? else {
            return Ok(dirs);
        };
        for algorithm in Algorithm::ALL {
            let inner = blobs.join(algorithm.name());
            if let Some(fd) = dirs.open_one(&root, algorithm.name(), &inner)? {
                dirs.algorithms.push((algorithm, fd));
            }
        }
        dirs.root = Some(root);
        Ok(dirs)
    }

    fn try_clone(&self) -> io::Result<Self> {
        let algorithms = self.algorithms.iter();
        let algorithms = algorithms.map(|(algorithm, fd)| Ok((*algorithm, fd.try_clone()?)));
        Ok(Self {
            root: self.root.as_ref().map(OwnedFd::try_clone).transpose()?,
            algorithms: algorithms.collect::<io::Result<_>>()?,
            link: self.link.clone(),
            store: self.store.clone(),
        })
    }

    /// Returns `true` if blobs are directly in `blobs`, as `<algorithm>.<encoded>`, instead of in a directory per algorithm.
    fn is_flat(&self, path: &Path) -> Result<bool> {
        let Some(root) = self.root.as_ref().filter(|_| self.algorithms.is_empty()) else {
            return Ok(false);
        };
        let mut is_flat = false;
        entries::each_entry(root, &path.join("blobs"), |entry| {
            let name = std::str::from_utf8(entry.name).ok();
            let parts = name.and_then(|name| name.split_once('.'));
            let digest = parts.and_then(|(algorithm, hex)| {
                Digest::from_hex(Algorithm::from_name(algorithm)?, hex.as_bytes())
            });
            is_flat |= digest.is_some();
        })?;
        Ok(is_flat)
    }

    /// Opens a directory and records whether it is a link. Files behind a link are only read.
    fn open_one(&mut self, parent: &OwnedFd, name: &str, path: &Path) -> Result<Option<OwnedFd>> {
        use rustix::io::Errno;
        let mut opened = open_dir(parent, name, Links::Refuse);
        // For a link Linux returns ENOTDIR because of O_DIRECTORY, and not O_NOFOLLOW's ELOOP.
        if matches!(opened, Err(Errno::LOOP | Errno::NOTDIR)) {
            opened = open_dir(parent, name, Links::Follow);
            if matches!(opened, Ok(_) | Err(Errno::NOENT)) {
                self.link.get_or_insert_with(|| path.to_owned());
            }
        }
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::read(path)(error.into())),
        }
    }

    pub(crate) fn algorithm(&self, algorithm: Algorithm) -> Option<&OwnedFd> {
        self.algorithms
            .iter()
            .find(|(name, _)| *name == algorithm)
            .map(|(_, fd)| fd)
    }
}

/// Returns the kind of a path that is not a directory.
fn what_file(path: &Path) -> NotALayout {
    let mut head = [0; 512];
    let is_tar = open_file(CWD, path, Links::Follow)
        .ok()
        .and_then(|file| File::from(file).read_exact(&mut head).ok())
        // POSIX ustar and GNU tar both have this magic at byte 257.
        .is_some_and(|()| head.get(257..262) == Some(b"ustar"));
    if is_tar {
        NotALayout::Tar
    } else {
        NotALayout::NotADirectory
    }
}

/// Returns what is wrong with the encoding of a JSON file that does not begin like UTF-8 (RFC 8259, section 8.1).
fn encoding_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some(
            "it starts with a byte order mark, which no reader of layouts accepts: save it as UTF-8 without one",
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(
            "it starts with a byte order mark of UTF-16, and must be UTF-8: save it as UTF-8 without one",
        ),
        [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..] => {
            Some("it is UTF-16, and must be UTF-8: save it as UTF-8")
        }
        _ => None,
    }
}

/// Refuses a layout of another version. regclient truncates the file while it writes a layout, so
/// a file that cannot be parsed is read again.
fn check_version(path: &Path, dir: &OwnedFd) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }

    let file = path.join("oci-layout");
    let mut why = String::new();
    for attempt in 0..PARSE_ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PARSE_PAUSE);
        }
        let mut bytes = Vec::new();
        open_file(dir, "oci-layout", Links::Follow)
            .map_err(io::Error::from)
            .and_then(|fd| File::from(fd).take(1 << 16).read_to_end(&mut bytes))
            .map_err(Error::read(&file))?;
        if let Some(what) = encoding_of(&bytes) {
            why = what.to_owned();
            continue;
        }
        match serde_json::from_slice::<Version>(&bytes) {
            Ok(Version { version }) if version == "1.0.0" => return Ok(()),
            Ok(Version { version }) => {
                return Err(Error::UnsupportedVersion {
                    path: path.to_owned(),
                    version,
                });
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(Error::Malformed { path: file, why })
}
