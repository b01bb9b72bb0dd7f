//! Temporary files of the tools that write layouts, known by name.
//!
//! A fresh one says that a writer is at work; an old one that nobody holds is left over from a
//! crash. The names were read in the sources of the writers or seen on disk after a `kill -9`.

use std::ffi::OsStr;

use crate::fs::is_own;
use crate::oci::Algorithm;

/// BuildKit's lock file (moby/buildkit `client/ociindex`).
pub(super) const LOCK_FILE: &str = "index.json.lock";

/// Where a temporary file was found, and how sure its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TempName {
    /// No other program gives a file such a name: it may be deleted when it is old and unlocked.
    Unmistakable,
    /// A writer uses such names, but so may a person: it counts as a sign of life and stays.
    Plausible,
}

/// Recognises a file or directory in the root of a layout.
#[must_use]
pub fn in_root(name: &str, is_dir: bool) -> Option<TempName> {
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
    // regclient, and our own replacement of index.json.
    if let Some(middle) = name
        .strip_prefix("index.json.")
        .and_then(|rest| rest.strip_suffix(".tmp"))
        && is_digits(middle)
    {
        return sure;
    }
    if is_own(name) {
        return sure;
    }
    // olareg; but an older copy kept by a person or a tool is called so as well.
    if name.strip_prefix("index.json.").is_some_and(is_digits) {
        return Some(TempName::Plausible);
    }
    // hauler; but a person's dated copy is called so as well.
    if let Some(middle) = name
        .strip_prefix("index-")
        .and_then(|rest| rest.strip_suffix(".json"))
        && is_digits(middle)
    {
        return Some(TempName::Plausible);
    }
    // ocidir-rs through cap-tempfile.
    is_uuid(name).then_some(TempName::Plausible)
}

/// Recognises a file in `blobs/<algorithm>/`.
#[must_use]
pub fn in_blobs(algorithm: Algorithm, name: &str) -> Option<TempName> {
    if is_own(name) {
        return Some(TempName::Unmistakable);
    }
    let (hex, rest) = match name.as_bytes().iter().position(|byte| !is_hex(*byte)) {
        Some(end) => name.split_at_checked(end)?,
        None => (name, ""),
    };
    let whole = algorithm.hex_len();
    let digits = match rest {
        // go-containerregistry: the digest with digits behind it, or digits alone.
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
    // A digest with a suffix of its writer's making is nobody else's. Few digits alone may be a date,
    // or a digest with a slip of the pen.
    let is_random = matches!(digits.len(), 9 | 10);
    let is_suffixed = rest.contains(".tmp") && hex.len() == whole;
    Some(if is_random || is_suffixed {
        TempName::Unmistakable
    } else {
        TempName::Plausible
    })
}

/// Recognises what lies in `ingest/`: containerd's local store makes a directory named by the hash of
/// a reference, oras a file `<hex>_<digits>`, kitops one named by the digest alone, which a later pull resumes.
#[must_use]
pub fn in_ingest(name: &str, is_dir: bool) -> Option<TempName> {
    let sure = if is_dir {
        name.len() == 64 && name.bytes().all(is_hex)
    } else {
        let is_digest = |hex: &str| matches!(hex.len(), 64 | 96 | 128) && hex.bytes().all(is_hex);
        is_digest(name)
            || name
                .split_once('_')
                .is_some_and(|(hex, digits)| is_digest(hex) && is_digits(digits))
    };
    Some(if sure {
        TempName::Unmistakable
    } else {
        TempName::Plausible
    })
}

/// Recognises what lies in `.uploads/`, `.sync/` and `_uploads/`. olareg names an upload `upload.<digits>`; zot gives each upload the name of a random UUID, and
/// never cleans up those that were broken off (project-zot/zot#2598); a directory of its sync is a layout
/// that is not ready yet.
#[must_use]
pub fn in_uploads(name: &str, is_dir: bool) -> TempName {
    let is_upload = name.strip_prefix("upload.").is_some_and(is_digits);
    if !is_dir && (is_upload || is_uuid(name)) {
        TempName::Unmistakable
    } else {
        TempName::Plausible
    }
}

/// Returns `true` if a directory holds what its owner has not finished or has thrown away, so that a layout
/// in it is none: zot's `.uploads` and `.sync`, olareg's `_uploads`, trash cans, and what this program keeps. `in_layout`: it
/// lies directly in a layout, where every hidden directory is a writer's, and so are the blobs.
#[must_use]
pub(crate) fn is_staging(name: &OsStr, in_layout: bool) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let is_anywhere = matches!(name, ".uploads" | ".sync" | ".ocisweep" | ".trash")
        // freedesktop.org's trash specification: `.Trash` and `.Trash-<uid>` at the top of a mount.
        || name == ".Trash"
        || name.starts_with(".Trash-");
    is_anywhere
        || in_layout && (matches!(name, "blobs" | "ingest" | "_uploads") || name.starts_with('.'))
}

/// Returns `true` if a file inside a temporary directory is one that its writer puts there. A directory
/// that holds anything else is left alone.
#[must_use]
pub fn inside(directory: &str, file: &str) -> bool {
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
    // Go's os.CreateTemp draws from 32 bits: up to ten digits; older versions drew nine.
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
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
        assert_eq!(in_ingest(&hex, true), Some(Unmistakable));
        assert_eq!(in_ingest(&format!("{hex}_123"), false), Some(Unmistakable));
        assert_eq!(in_ingest("mine", false), Some(Plausible));
        assert_eq!(in_ingest(&hex, false), Some(Unmistakable));
        assert_eq!(in_ingest(&"0a".repeat(64), false), Some(Unmistakable));
        assert_eq!(in_uploads("upload.2570917683", false), Unmistakable);
        assert_eq!(in_uploads("upload.2570917683", true), Plausible);
        assert_eq!(in_uploads("upload.mine", false), Plausible);
        let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        assert_eq!(in_uploads(uuid, false), Unmistakable);
        assert_eq!(in_uploads(uuid, true), Plausible);
        assert_eq!(in_uploads("mine", false), Plausible);
    }
}
