//! Hints: for each error, what the user can do about it.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::path::Path;

use ocisweep::Error;
use ocisweep::error::{ArchiveProblem, Broken, NotALayout, SharedStoreProblem};
use ocisweep::fs::CannotKeep;

use super::quote::{quote, quote_path, rm_command, undo_shared};

/// Returns the hint for an error, if there is one. `has_trash`: blobs are moved into the trash, which frees no space.
pub fn hint(error: &Error, has_trash: bool) -> Option<String> {
    Some(match error {
        Error::NotALayout { path, what } => return not_a_layout(path, what),
        Error::Archive { path, what } => return archive(path, what),
        Error::Trash { path, .. } => {
            let is_layout = path.join("index.json").exists();
            let place = if is_layout { "" } else { "--shared-blobs " };
            format!(
                "`ocisweep trash ls {place}{}` shows what can be undone; `--trash=0` deletes without a trash",
                quote_path(path)
            )
        }
        Error::RunOfOthers { path, run, layouts } => format!(
            "`ocisweep undo {}` undoes it in all of them",
            undo_shared(path, Some(run), layouts)
        ),
        Error::SharedBlobs { path, link } => format!(
            "`ocisweep gc --shared-blobs {} {} LAYOUT...` sweeps it, with every other layout that uses the same blobs",
            store_behind(link),
            quote_path(path)
        ),
        Error::SharedWith { path, other } => format!(
            "`ocisweep gc --shared-blobs {} {} {}` sweeps them together, with every other layout that uses the same blobs",
            store_behind(&path.join("blobs")),
            quote_path(path),
            quote_path(other)
        ),
        Error::NotInSharedStore { .. } => {
            "only layouts that use the shared blobs, and have no others, can be given with them"
                .to_owned()
        }
        Error::SharedStore { what, .. } => match what {
            SharedStoreProblem::NoBlobs | SharedStoreProblem::Link(_) => {
                "give the directory that holds `sha256`: what skopeo was given as `--dest-shared-blob-dir`"
            }
            SharedStoreProblem::Owned(_) => {
                "give every layout that uses these blobs; otherwise blobs that the others need would be deleted"
            }
            _ => "give every layout, or run it as a user who can read all of them",
        }
        .to_owned(),
        Error::Incomplete { path, broken } => incomplete(path, broken.first()?),
        Error::Empty { .. } => {
            "a writer may be about to fill it; `--allow-empty` proceeds anyway".to_owned()
        }
        Error::Write { source, .. }
            if has_trash
                && matches!(
                    source.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                ) =>
        {
            "the trash is already empty; `--trash=0` deletes immediately and frees space".to_owned()
        }
        Error::Read { path, source } | Error::Write { path, source } => {
            return cannot_access(path, source, matches!(error, Error::Write { .. }));
        }
        Error::Busy { .. } => "`--lock-wait DURATION` waits longer".to_owned(),
        Error::Unstable { .. } | Error::Changed { .. } => "try again when its writer is done".to_owned(),
        Error::SecondIndex { file, .. } => format!(
            "nothing was changed; write the file again, or ignore it with `--ignore-index {}`: what only it lists becomes unreferenced",
            quote(&file.to_string_lossy())
        ),
        Error::ReleasedNote { path, .. } => format!(
            "nothing was changed; when no writer is at work, `rm {}` removes the record, and `--grace 0` proceeds anyway",
            quote_path(path)
        ),
        Error::Malformed { .. } => {
            "nothing was changed; a writer may have been killed: write the layout again or restore the file".to_owned()
        }
        _ => return None,
    })
}

/// Returns the hint for a path that is not a layout.
fn not_a_layout(path: &Path, what: &NotALayout) -> Option<String> {
    let hint = match what {
        NotALayout::Tar => return Some(extract(path)),
        NotALayout::RegistryStorage => "use the `garbage-collect` command of that registry",
        NotALayout::ContentStore => {
            "let the daemon that owns it clean up: `ctr content prune references`, `buildctl prune`, `docker image prune`"
        }
        NotALayout::DirCopy => "copy it into a layout: `skopeo copy dir:SOURCE oci:DIR:NAME`",
        NotALayout::Old => {
            "copy its images into a new layout with a tool of that time, such as `skopeo` before 0.1.20"
        }
        NotALayout::Mirror => {
            "mirror it to a layout: `oc image mirror` to a registry, then `skopeo copy docker://SOURCE oci:DIR:NAME`"
        }
        NotALayout::Sparse => "it is a result of a build, which `bazel clean` removes",
        NotALayout::Flat => "`ocm download artifact --oci-layout` writes a layout",
        NotALayout::NoIndex => {
            "a writer may be writing its first image; without `index.json` every blob would look like garbage"
        }
        NotALayout::NothingBelow => "a layout is a directory that holds `index.json` and `blobs`",
        NotALayout::NotADirectory => {
            "give the directory that holds `index.json` and `blobs`, or a tar archive of it"
        }
        NotALayout::Nothing | NotALayout::NoBlobs => {
            "give the directory that holds `index.json` and `blobs`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns the hint for an archive that cannot be used.
fn archive(path: &Path, what: &ArchiveProblem) -> Option<String> {
    let hint = match what {
        ArchiveProblem::NoTrash => {
            "`-o FILE` writes the new archive to another file, so that the old one is kept; `--trash=0` deletes without a trash"
        }
        ArchiveProblem::Classic => {
            let (old, new) = (
                quote_path(path),
                quote_path(&path.with_extension("oci.tar")),
            );
            return Some(format!(
                "convert it to a layout: `skopeo copy docker-archive:{old} oci-archive:{new}` for one image; or `docker load -i {old}`, then `docker save` with docker 25 or newer"
            ));
        }
        ArchiveProblem::NeedsOutput => "`-o FILE` names it; `-o -` writes to standard output",
        ArchiveProblem::NoEncoder(_) => {
            "`--compress gzip` or `--compress none` writes another format, best with `-o FILE`"
        }
        ArchiveProblem::Scratch(_) => "TMPDIR names another directory",
        ArchiveProblem::Several(_) | ArchiveProblem::Unsupported(_) => return Some(extract(path)),
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns the command that unpacks an archive.
fn extract(path: &Path) -> String {
    let path = quote_path(path);
    format!("extract it first: `mkdir DIR && tar -C DIR -xf {path}`")
}

/// Returns the hint for a file that cannot be read or written.
fn cannot_access(path: &Path, source: &io::Error, is_write: bool) -> Option<String> {
    // The attribute that a rewritten file could not keep.
    let attribute = source.get_ref().and_then(|error| error.downcast_ref());
    if let Some(CannotKeep { name, .. }) = attribute.filter(|_| is_write) {
        return Some(format!(
            "nothing was changed; run it as a user who may set it, or remove it: `setfattr -x {} {}`",
            quote(name),
            quote(&path.to_string_lossy())
        ));
    }
    let hint = match source.kind() {
        ErrorKind::ReadOnlyFilesystem if is_write => {
            "commands that only read, and `--dry-run`, work on a read-only file system; others need it mounted for writing"
        }
        ErrorKind::PermissionDenied => "run as the owner of the layout",
        ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy => {
            "it is used by another program or a mount; try again later"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns the hint for the first document that stops a sweep.
fn incomplete(layout: &Path, first: &Broken) -> String {
    if let Some(file) = first.second_indexes.first().filter(|_| !first.missing) {
        return format!(
            "write the damaged file again; `--ignore-index {}` ignores that list, and what only it lists becomes unreferenced",
            quote(file)
        );
    }
    if first.images.is_empty() {
        return "run as the owner of the layout, or write the damaged file again".to_owned();
    }
    // skopeo leaves `blobs` empty when it shares blobs.
    let has_blobs =
        || std::fs::read_dir(layout.join("blobs")).is_ok_and(|mut names| names.next().is_some());
    if first.missing && !has_blobs() {
        return format!(
            "if it shares its blobs with other layouts: `ocisweep gc --shared-blobs DIR {} LAYOUT...`, with all of them",
            quote_path(layout)
        );
    }
    let holders = match first.images.as_slice() {
        [_] => "the image that references it",
        _ => "the images that reference it",
    };
    let proceed = if first.missing {
        "; `--allow-missing` proceeds anyway"
    } else {
        ""
    };
    let command = rm_command(layout, &first.images);
    format!("{command} removes {holders}{proceed}")
}

/// Returns the target of a link in place of `blobs`, as `--shared-blobs` accepts it.
fn store_behind(link: &Path) -> String {
    let target = std::fs::canonicalize(link).ok();
    let is_whole = link.file_name().is_some_and(|name| name == "blobs");
    let store = match target.as_deref() {
        Some(target) if is_whole => Some(target),
        target => target.and_then(Path::parent),
    };
    store.map_or_else(|| "DIR".to_owned(), quote_path)
}

/// Returns an error with its causes.
pub fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
