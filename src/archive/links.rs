//! Links among the members of an archive.
//!
//! *Promise*: links are never created in the scratch directory. If the target of a link may decide what is kept, or may be
//! deleted, the archive is refused: a list under another name may keep a blob, and no program can unpack a hard link without
//! its target.

use std::collections::{HashMap, HashSet};

use super::failure::{Failure, bad};
use super::paths::{inside_blobs, may_be_edited, split};
use super::tar::shown;
use crate::layout::second_indexes::may_list;

/// The maximum length of a chain of links.
const MAX_LINKS: usize = 8;

/// A link or a device.
pub(super) struct ArchiveLink {
    path: Vec<u8>,
    /// Its target, as written; empty for a device.
    target: Vec<u8>,
    kind: LinkKind,
}

/// The kind of a member that is neither a file nor a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// Another name of a file; the target is a path from the root of the archive.
    Hard,
    /// The target is a path from the directory of the link.
    Symbolic,
    /// A device or a FIFO.
    Special,
}

/// The links of an archive by path, and their target files.
pub(super) struct LinkTable<'a> {
    by_path: HashMap<&'a [u8], &'a ArchiveLink>,
    members: &'a HashMap<Box<[u8]>, u32>,
}

impl ArchiveLink {
    pub(super) const fn new(path: Vec<u8>, target: Vec<u8>, kind: LinkKind) -> Self {
        Self { path, target, kind }
    }

    /// Returns its target path; `None`: outside of the archive.
    fn leads_to(&self) -> Option<Vec<u8>> {
        match self.kind {
            LinkKind::Hard => {
                // `tar` strips leading slashes when it unpacks.
                let start = self.target.iter().position(|byte| *byte != b'/');
                join(b"", self.target.get(start?..)?)
            }
            LinkKind::Symbolic => join(split(&self.path).0, &self.target),
            LinkKind::Special => None,
        }
    }
}

impl<'a> LinkTable<'a> {
    /// `members` are the numbers of all members by path, including links.
    pub(super) fn new(links: &'a [ArchiveLink], members: &'a HashMap<Box<[u8]>, u32>) -> Self {
        let by_path = links.iter().map(|link| (link.path.as_slice(), link));
        Self {
            by_path: by_path.collect(),
            members,
        }
    }

    /// Returns the paths of all links and devices.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        self.by_path.keys().copied()
    }

    /// Follows links to a member that is not a link, and returns its path and number.
    pub(super) fn resolve(&self, path: &[u8]) -> Option<(&'a [u8], u32)> {
        let mut path = join(b"", path)?;
        for _ in 0..MAX_LINKS {
            let Some(link) = self.by_path.get(path.as_slice()) else {
                let (path, number) = self.members.get_key_value(path.as_slice())?;
                return Some((path, *number));
            };
            path = link.leads_to()?;
        }
        None
    }

    /// Refuses links that matter to the layout in this directory, which has a trailing slash or is empty.
    ///
    /// # Errors
    /// The path of the first one found.
    pub(super) fn refuse_in(&self, prefix: &[u8]) -> Result<(), Failure> {
        for link in self.by_path.values() {
            if link.kind == LinkKind::Hard {
                self.refuse_name_of_layout(link, prefix)?;
            }
            let Some(inside) = link.path.strip_prefix(prefix) else {
                continue;
            };
            let (directory, name) = split(inside);
            let is_own = inside == b"oci-layout"
                || inside == b"ingest"
                || inside == b".ocisweep"
                || may_be_edited(inside)
                || inside_blobs(inside)
                // FIFOs and devices are never read as lists.
                || directory.is_empty()
                    && (link.kind != LinkKind::Special || name.ends_with(b".json"))
                    && may_list(name, false);
            if is_own {
                return Err(bad(format!(
                    "its member `{}` is a link or a device, where a file should be",
                    shown(&link.path)
                )));
            }
        }
        Ok(())
    }

    /// Refuses another name of a file of the layout: that file may be deleted or edited.
    fn refuse_name_of_layout(&self, link: &ArchiveLink, prefix: &[u8]) -> Result<(), Failure> {
        let target = link.leads_to();
        let is_known =
            |target: &[u8]| self.by_path.contains_key(target) || self.members.contains_key(target);
        let Some(target) = target.filter(|target| is_known(target)) else {
            return Err(bad(format!(
                "its member `{}` is a hard link to `{}`, which is not in it",
                shown(&link.path),
                shown(&link.target)
            )));
        };
        let is_own = |inside: &[u8]| inside_blobs(inside) || may_be_edited(inside);
        if target.strip_prefix(prefix).is_some_and(is_own) {
            return Err(bad(format!(
                "its member `{}` is a link to the file `{}` of the layout",
                shown(&link.path),
                shown(&target)
            )));
        }
        Ok(())
    }

    /// Refuses members below a link: another program would write them to the target of the link.
    ///
    /// # Errors
    /// The path of such a member.
    pub(super) fn refuse_members_below(&self) -> Result<(), Failure> {
        if self.by_path.is_empty() {
            return Ok(());
        }
        let mut known: HashSet<&[u8]> = HashSet::new();
        for path in self.members.keys() {
            let mut directory: &[u8] = path;
            while let Some(at) = directory.iter().rposition(|byte| *byte == b'/') {
                directory = directory.get(..at).unwrap_or_default();
                if !known.insert(directory) {
                    break;
                }
                if self.by_path.contains_key(directory) {
                    return Err(bad(format!(
                        "its member `{}` is below another one that is a link or a device",
                        shown(path)
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Appends a relative path to a directory; `None`: the result is outside of the archive.
fn join(directory: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    if path.first() == Some(&b'/') {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    let all = directory.split(|byte| *byte == b'/');
    for part in all.chain(path.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_link_is_in_the_archive_or_outside_of_it() {
        let to = |kind, path: &str, target: &str| {
            let link = ArchiveLink::new(path.into(), target.into(), kind);
            link.leads_to().map(|it| shown(&it))
        };
        let hard = |target| to(LinkKind::Hard, "a/b", target);
        assert_eq!(hard("././blobs//x"), Some("blobs/x".to_owned()));
        assert_eq!(hard("//blobs/x"), Some("blobs/x".to_owned()));
        assert_eq!(hard("y/../blobs/x"), Some("blobs/x".to_owned()));
        assert_eq!(hard("../x"), None);
        let symbolic = |target| to(LinkKind::Symbolic, "a/b", target);
        assert_eq!(symbolic("../blobs/x"), Some("blobs/x".to_owned()));
        assert_eq!(symbolic("x"), Some("a/x".to_owned()));
        assert_eq!(symbolic("../../x"), None);
        assert_eq!(symbolic("/x"), None);
        assert_eq!(to(LinkKind::Special, "a", ""), None);
    }
}
