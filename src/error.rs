//! All errors of the library.
//!
//! `Display` returns one lower-case fragment with the path or name in backticks. An underlying I/O error is the
//! [`source`](std::error::Error::source), which the command prints after it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::oci::Digest;

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory is not an OCI image layout.
    #[error("cannot use `{}`: {what}", path.display())]
    NotALayout {
        /// The path as given.
        path: PathBuf,
        /// What the path is instead, or what it lacks.
        what: NotALayout,
    },
    /// `oci-layout` has an unknown version.
    #[error("cannot use `{}`: image layout version `{version}` is not 1.0.0", path.display())]
    UnsupportedVersion {
        /// The layout.
        path: PathBuf,
        /// The version as written.
        version: String,
    },
    /// A file that determines which blobs are live cannot be parsed.
    #[error("cannot parse `{}`: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        why: String,
    },
    /// A file or directory cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `blobs` or a directory in it is a symbolic link, so that other layouts may use the blobs.
    #[error("cannot sweep `{}`: `{}` is a symbolic link, so other layouts may use its blobs", path.display(), link.display())]
    SharedBlobs {
        /// The layout.
        path: PathBuf,
        /// The link.
        link: PathBuf,
    },
    /// Another layout of the same run uses the same directory of blobs.
    #[error("cannot sweep `{}`: `{}` uses the same blobs", path.display(), other.display())]
    SharedWith {
        /// The layout.
        path: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// A directory cannot be used for shared blobs.
    #[error("cannot use `{}` for shared blobs: {what}", path.display())]
    SharedStore {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: SharedStoreProblem,
    },
    /// A layout was given together with a shared store but has its blobs elsewhere.
    #[error("cannot use `{}` with the shared blobs in `{}`: it has its own in `{}`", path.display(), store.display(), blobs.display())]
    NotInSharedStore {
        /// The layout.
        path: PathBuf,
        /// The shared store.
        store: PathBuf,
        /// The directory of its blobs.
        blobs: PathBuf,
    },
    /// Live blobs cannot be determined, because documents are damaged or missing.
    #[error("cannot sweep `{}`: {}", path.display(), describe_broken(broken))]
    Incomplete {
        /// The layout.
        path: PathBuf,
        /// The documents, at least one.
        broken: Vec<Broken>,
    },
    /// Another file beside `index.json` lists blobs but cannot be parsed.
    #[error("cannot parse `{}`: {why}{}", layout.join(file).display(), and_more(*more))]
    SecondIndex {
        /// The layout.
        layout: PathBuf,
        /// The file, in its root directory.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The number of further such files.
        more: usize,
    },
    /// The record of blobs that were released while a writer was at work cannot be read, and a writer is visible.
    #[error("cannot parse `{}`: {why}; a writer is at work and may list the blobs in it again", path.display())]
    ReleasedNote {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// `index.json` lists nothing although there are blobs.
    #[error("cannot sweep `{}`: `index.json` lists no image, so all of its {blobs} blobs would be deleted", path.display())]
    Empty {
        /// The layout.
        path: PathBuf,
        /// The number of blobs.
        blobs: usize,
    },
    /// Another process works on the layout.
    #[error("cannot lock `{}`: {by}{}", path.display(), after(*waited))]
    Busy {
        /// The layout.
        path: PathBuf,
        /// The holder of the lock.
        by: String,
        /// How long this process waited; zero if it was told not to wait.
        waited: Duration,
    },
    /// The layout changed each time it was read.
    #[error("cannot sweep `{}`: `index.json` changed {times} times while it was read", path.display())]
    Unstable {
        /// The layout.
        path: PathBuf,
        /// The number of attempts.
        times: u32,
    },
    /// The layout has changed since it was read, so the plan was not executed. Plan again.
    #[error("`{}` was changed by another program in the meantime", path.display())]
    Changed {
        /// The layout.
        path: PathBuf,
    },
    /// The plan was made for a later time, at which protections that are still needed have expired.
    #[error("cannot sweep `{}`: the plan was made as of {now}, which is in the future", path.display())]
    AheadOfClock {
        /// The layout.
        path: PathBuf,
        /// The time.
        now: Timestamp,
    },
    /// The trash cannot be used.
    #[error("cannot use the trash of `{}`: {why}", path.display())]
    Trash {
        /// The layout.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A run over a shared store changed layouts that were not given.
    #[error("cannot undo run {run} in `{}`: it changed layouts that are not among those given", path.display())]
    RunOfOthers {
        /// The shared store.
        path: PathBuf,
        /// The run.
        run: String,
        /// Every layout that the run changed.
        layouts: Vec<PathBuf>,
    },
    /// An archive cannot be read, or cannot be written as requested.
    #[error("cannot use `{}`: {what}", path.display())]
    Archive {
        /// The archive, as given.
        path: PathBuf,
        /// What is wrong with it, or what it does not support.
        what: ArchiveProblem,
    },
    /// The run was cancelled before anything was changed.
    #[error("interrupted")]
    Interrupted,
    /// An edit of `index.json` is impossible. Nothing was written.
    #[error("cannot edit `{}`: {why}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// What is impossible.
        why: String,
    },
}

/// Why a path is not a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotALayout {
    /// A regular file that begins like a tar archive.
    #[error("it is a tar archive, not a directory")]
    Tar,
    /// Another kind of file.
    #[error("it is not a directory")]
    NotADirectory,
    /// The storage of a registry (docker distribution, oc-mirror).
    #[error("it is the storage of a registry (`docker/registry/v2`), not an image layout")]
    RegistryStorage,
    /// A content store of containerd, BuildKit or dockerd.
    #[error(
        "it is a containerd content store (`blobs` and `ingest`, no `index.json`), not an image layout"
    )]
    ContentStore,
    /// A `dir:` copy of skopeo.
    #[error(
        "it is a `dir:` copy (`version` and `manifest.json`, no `index.json`), not an image layout"
    )]
    DirCopy,
    /// A layout of 2016, before image-spec 1.0.0-rc5.
    #[error("it is a layout of 2016 (`refs`, no `index.json`)")]
    Old,
    /// A `file://` mirror of `oc image mirror`.
    #[error("it is a tree of `oc image mirror` (`v2`, no `index.json`), not an image layout")]
    Mirror,
    /// An image of Bazel's rules_img whose layers are elsewhere.
    #[error("it is a sparse layout of rules_img (`sparse-oci-layout`), not an image layout")]
    Sparse,
    /// An artifact set of the Open Component Model in its own format.
    #[error("it is an OCM artifact set (`blobs/sha256.<hex>`), not an image layout")]
    Flat,
    /// An `oci-layout` file without `index.json`.
    #[error("it has no `index.json`")]
    NoIndex,
    /// Neither `oci-layout` nor `index.json` with `blobs`.
    #[error("it is not an image layout (no `index.json`)")]
    Nothing,
    /// A directory without layouts at any depth.
    #[error("there is no image layout in it or below it")]
    NothingBelow,
    /// Only `index.json`.
    #[error("it is not an image layout (neither `oci-layout` nor `blobs`)")]
    NoBlobs,
}

/// What is wrong with an archive, or what it does not support.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveProblem {
    /// It cannot be parsed, or readers would disagree about its contents.
    #[error("{0}")]
    Malformed(String),
    /// It is compressed in a way that this build cannot read.
    #[error("it is compressed with {0}, which this program was built without")]
    NoDecoder(&'static str),
    /// It is compressed in a way that can only be read.
    #[error("it is compressed with {0}, which can only be read")]
    NoEncoder(&'static str),
    /// The directory for temporary files has no space for the unpacked files, or cannot be used.
    #[error("cannot unpack its documents into the directory for temporary files: {0}")]
    Scratch(String),
    /// It contains more than one layout.
    #[error("there are several image layouts in it: {0}")]
    Several(String),
    /// It is in docker's format from before version 25, which few commands support.
    #[error(
        "it is an archive of docker before version 25 (no `index.json`), which only `ls`, `df` and `rm NAME` support"
    )]
    Classic,
    /// It cannot have a trash.
    #[error("an archive cannot have a trash")]
    NoTrash,
    /// An archive cannot do what a directory can.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It was read from a pipe and no output was given.
    #[error("it is read from a pipe, so the new archive needs another place")]
    NeedsOutput,
}

/// Why a directory cannot be used for shared blobs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedStoreProblem {
    /// It contains no directory of an algorithm.
    #[error("there is no directory `sha256`, `sha384` or `sha512` in it")]
    NoBlobs,
    /// The directory of an algorithm is a link.
    #[error("`{}` is a symbolic link", .0.display())]
    Link(PathBuf),
    /// It belongs to a layout that was not given.
    #[error("it belongs to the layout `{}`, which is not among those given", .0.display())]
    Owned(PathBuf),
    /// Other layouts may use it.
    #[error("not every directory below those given could be searched for layouts")]
    Unsearched,
}

/// A document that is damaged, or listed in `index.json` and missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broken {
    /// The document; `None` for an entry of `index.json` whose digest is invalid.
    pub digest: Option<Digest>,
    /// The damage.
    pub why: Box<str>,
    /// Whether it is only missing, which `--allow-missing` accepts.
    pub missing: bool,
    /// A reference path from a root: the names or the ID of an image first, the document last. Empty for all but the first few
    /// documents, and for unreachable ones.
    pub path: Vec<String>,
    /// The arguments of an `rm` after which no image references the document: every image that does so now. Empty if `path`
    /// is empty.
    pub images: Vec<String>,
    /// The second indexes that reference it, by file name: they still do so after every image was removed.
    pub second_indexes: Vec<String>,
}

/// The kind of an error, for callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Refused, nothing was changed.
    Refused,
    /// A file could not be read or written.
    Io,
    /// Another process works on the layout, or has changed it; retrying may succeed.
    Busy,
    /// The run was cancelled.
    Interrupted,
}

impl Error {
    /// Returns the kind, which determines the exit status of the command.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotALayout { .. }
            | Self::UnsupportedVersion { .. }
            | Self::Malformed { .. }
            | Self::SharedBlobs { .. }
            | Self::SharedWith { .. }
            | Self::SharedStore { .. }
            | Self::NotInSharedStore { .. }
            | Self::Incomplete { .. }
            | Self::Edit { .. }
            | Self::SecondIndex { .. }
            | Self::ReleasedNote { .. }
            | Self::AheadOfClock { .. }
            | Self::Trash { .. }
            | Self::RunOfOthers { .. }
            | Self::Empty { .. } => ErrorKind::Refused,
            Self::Archive {
                what: ArchiveProblem::Scratch(_),
                ..
            } => ErrorKind::Io,
            Self::Archive { .. } => ErrorKind::Refused,
            Self::Read { .. } | Self::Write { .. } => ErrorKind::Io,
            Self::Busy { .. } | Self::Unstable { .. } | Self::Changed { .. } => ErrorKind::Busy,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }

    /// Returns a read error; for `map_err`.
    pub(crate) fn read(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Read { path, source }
    }

    /// Returns the error for a layout that has changed since it was read.
    pub(crate) fn changed(layout: &Path) -> Self {
        let path = layout.to_owned();
        Self::Changed { path }
    }

    /// Returns a write error; for `map_err`.
    pub(crate) fn write(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Write { path, source }
    }
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(", and {more} more"),
    }
}

fn describe_broken(broken: &[Broken]) -> String {
    let Some(first) = broken.first() else {
        return "a document cannot be read".to_owned();
    };
    let what = match &first.digest {
        Some(digest) => format!("{digest} {}", first.why),
        None => format!("an entry of `index.json` has {}", first.why),
    };
    let path = if first.path.is_empty() {
        String::new()
    } else {
        format!(" ({})", first.path.join(" → "))
    };
    match broken.len() - 1 {
        0 => format!("{what}{path}"),
        more => format!("{what}{path}, and {more} more"),
    }
}

fn after(waited: Duration) -> String {
    if waited.is_zero() {
        return String::new();
    }
    format!(", waited {:.1}s", waited.as_secs_f64())
}
