//! Temporary files of the tools that write layouts, recognised by name.
//!
//! A recent one indicates an active writer; an old one that is not locked is the remnant of a crash. The names are taken
//! from the sources of the writers, or were observed on disk after a `kill -9`.

use std::ffi::OsStr;

use crate::fs::{OWN_PREFIX, is_own};
use crate::oci::Algorithm;
use crate::oci::digest::is_hex;

/// BuildKit's lock file (moby/buildkit `client/ociindex`).
pub(crate) const LOCK_FILE: &str = "index.json.lock";

/// The confidence that a name is that of a temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TempName {
    /// No other program uses such names: the file may be deleted once it is old and unlocked.
    Unmistakable,
    /// A writer uses such names, but a person may as well: the file indicates an active writer and is kept.
    Plausible,
}

/// Recognises a file or directory in the root of a layout.
#[must_use]
pub(crate) fn in_root(name: &str, is_dir: bool) -> Option<TempName> {
    let sure = Some(TempName::Unmistakable);
    if is_dir {
        // umoci's temporary directory, flocked while in use.
        if name.strip_prefix(".umoci-").is_some_and(is_digits) {
            return sure;
        }
        // containerd's local store probes for fs-verity.
        if name.strip_prefix(".fsverity-check-").is_some_and(is_digits) {
            return Some(TempName::Plausible);
        }
        return None;
    }
    // containers/image: skopeo, buildah, podman.
    if name.strip_prefix("oci-put-blob").is_some_and(is_digits) {
        return sure;
    }
    let between = |prefix: &str, suffix: &str| {
        let rest = name.strip_prefix(prefix);
        rest.and_then(|rest| rest.strip_suffix(suffix))
            .is_some_and(is_digits)
    };
    // regclient, and this program's replacement of index.json.
    if between("index.json.", ".tmp") || is_own(name) {
        return sure;
    }
    // olareg and hauler; but a person's dated copy may have such a name as well.
    if between("index.json.", "") || between("index-", ".json") {
        return Some(TempName::Plausible);
    }
    // ocidir-rs through cap-tempfile.
    is_uuid(name).then_some(TempName::Plausible)
}

/// Recognises a file in `blobs/<algorithm>/`.
#[must_use]
pub(crate) fn in_blobs(algorithm: Algorithm, name: &str) -> Option<TempName> {
    if is_own(name) {
        return Some(TempName::Unmistakable);
    }
    let (hex, rest) = match name.as_bytes().iter().position(|byte| !is_hex(*byte)) {
        Some(end) => name.split_at_checked(end)?,
        None => (name, ""),
    };
    let whole = algorithm.hex_len();
    let digits = match rest {
        // go-containerregistry: the digest followed by digits, or only digits.
        "" if name.len() > whole => name.get(whole..)?,
        // regclient: `<digits>.tmp`.
        "" | ".tmp" => hex,
        _ if hex.len() != whole => return None,
        // hauler: `<hex>.tmp-<digits>`; regclient: `<hex>.<digits>.tmp`.
        _ => match rest.strip_prefix(".tmp-") {
            Some(digits) => digits,
            None => rest.strip_prefix('.')?.strip_suffix(".tmp")?,
        },
    };
    if !is_digits(digits) || name.len() == whole {
        return None;
    }
    // A digest with the suffix of a writer is certain. A few digits may be a date, or a mistyped digest.
    let is_random = matches!(digits.len(), 9 | 10);
    let is_suffixed = rest.contains(".tmp") && hex.len() == whole;
    Some(if is_random || is_suffixed {
        TempName::Unmistakable
    } else {
        TempName::Plausible
    })
}

/// Recognises a name in `ingest/`: containerd's local store creates a directory named by the hash of
/// a reference, oras a file `<hex>_<digits>`, kitops one named by the digest, which a later pull resumes.
#[must_use]
pub(crate) fn in_ingest(name: &str, is_dir: bool) -> TempName {
    let sure = if is_dir {
        name.len() == 64 && name.bytes().all(is_hex)
    } else {
        let is_digest = |hex: &str| matches!(hex.len(), 64 | 96 | 128) && hex.bytes().all(is_hex);
        is_digest(name)
            || name
                .split_once('_')
                .is_some_and(|(hex, digits)| is_digest(hex) && is_digits(digits))
    };
    if sure {
        TempName::Unmistakable
    } else {
        TempName::Plausible
    }
}

/// Recognises a name in `.uploads/`, `.sync/` and `_uploads/`. olareg names an upload `upload.<digits>`, zot by a random
/// UUID, and never removes aborted ones (project-zot/zot#2598); a directory of its sync is an unfinished layout.
#[must_use]
pub(crate) fn in_uploads(name: &str, is_dir: bool) -> TempName {
    let is_upload = name.strip_prefix("upload.").is_some_and(is_digits);
    if !is_dir && (is_upload || is_uuid(name)) {
        TempName::Unmistakable
    } else {
        TempName::Plausible
    }
}

/// Returns `true` if a directory is not searched for layouts, since its contents are unfinished or deleted: zot's `.uploads`
/// and `.sync`, olareg's `_uploads`, trash directories, and this program's own. `in_layout`: it is directly in a layout,
/// where every hidden directory belongs to a writer; blobs are not searched either.
#[must_use]
pub(crate) fn is_staging(name: &OsStr, in_layout: bool) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    // freedesktop.org's trash specification: `.Trash` and `.Trash-<uid>` at the top of a mount.
    let is_anywhere = name.starts_with(".Trash-")
        // Files that another run has unpacked from an archive.
        || name.starts_with(OWN_PREFIX)
        || matches!(
            name,
            ".uploads" | ".sync" | ".ocisweep" | ".trash" | ".Trash"
        );
    is_anywhere
        || in_layout && (matches!(name, "blobs" | "ingest" | "_uploads") || name.starts_with('.'))
}

/// Returns `true` if a file in a temporary directory is one that its writer creates. A directory with any other file is
/// kept.
#[must_use]
pub(crate) fn inside(directory: &str, file: &str) -> bool {
    if directory.starts_with(".umoci-") {
        return file.strip_prefix("blob-").is_some_and(is_digits)
            || file.strip_prefix("index-").is_some_and(is_digits);
    }
    matches!(file, "data" | "ref" | "startedat" | "updatedat" | "total")
        || file
            .strip_suffix(".tmp")
            .is_some_and(|name| !name.is_empty())
}

fn is_digits(text: &str) -> bool {
    // Go's os.CreateTemp uses 32 random bits: up to ten digits; older versions used nine.
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_uuid(name: &str) -> bool {
    let groups: Vec<_> = name.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_the_names_of_every_known_writer() {
        use TempName::{Plausible, Unmistakable};
        let hex = "0a".repeat(32);
        let root: &[(&str, bool, Option<TempName>)] = &[
            ("oci-put-blob470874052", false, Some(Unmistakable)),
            ("oci-put-blob", false, None),
            ("oci-put-blob470874052", true, None),
            (".umoci-123456", true, Some(Unmistakable)),
            (".umoci-123456", false, None),
            (".umoci-x", true, None),
            ("index.json.123.tmp", false, Some(Unmistakable)),
            ("index.json.bak", false, None),
            ("index.json.2570917683", false, Some(Plausible)),
            ("index.json.", false, None),
            ("index-123.json", false, Some(Plausible)),
            ("index-old.json", false, None),
            (".ocisweep-aB3dE6", false, Some(Unmistakable)),
            (".ocisweep-notes", false, None),
            (".ocisweep-swap-abcdef-12-34-index.json", false, None),
            (
                "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                false,
                Some(Plausible),
            ),
            (".fsverity-check-12", true, Some(Plausible)),
            ("index.json", false, None),
            ("index.json.lock", false, None),
            ("manifest.json", false, None),
        ];
        for (name, is_dir, expected) in root {
            assert_eq!(in_root(name, *is_dir), *expected, "{name}");
        }
        let blobs = [
            (format!("{hex}123456789"), Some(Unmistakable)),
            ("123456789".to_owned(), Some(Unmistakable)),
            ("123456789.tmp".to_owned(), Some(Unmistakable)),
            (format!("{hex}.123.tmp"), Some(Unmistakable)),
            (format!("{hex}.tmp-42"), Some(Unmistakable)),
            ("2026".to_owned(), Some(Plausible)),
            ("20260101.tmp".to_owned(), Some(Plausible)),
            (format!("{hex}1"), Some(Plausible)),
            (format!("{hex}.bak"), None),
            (format!("{hex}abc"), None),
            ("notes.tmp".to_owned(), None),
            (".nfs000000000001".to_owned(), None),
            (hex.clone(), None),
            (String::new(), None),
        ];
        for (name, expected) in blobs {
            assert_eq!(in_blobs(Algorithm::Sha256, &name), expected, "{name}");
        }
        let ingest = [
            (hex.clone(), true, Unmistakable),
            (format!("{hex}_123"), false, Unmistakable),
            ("mine".to_owned(), false, Plausible),
            (hex.clone(), false, Unmistakable),
            ("0a".repeat(64), false, Unmistakable),
        ];
        for (name, is_dir, expected) in ingest {
            assert_eq!(in_ingest(&name, is_dir), expected, "{name}");
        }
        let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let uploads = [
            ("upload.2570917683", false, Unmistakable),
            ("upload.2570917683", true, Plausible),
            ("upload.mine", false, Plausible),
            (uuid, false, Unmistakable),
            (uuid, true, Plausible),
            ("mine", false, Plausible),
        ];
        for (name, is_dir, expected) in uploads {
            assert_eq!(in_uploads(name, is_dir), expected, "{name}");
        }
    }
}
