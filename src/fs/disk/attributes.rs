//! Extended attributes of a file that is replaced: ACL, security label, and those of users and programs.
//!
//! *Promise*: the new file has the attributes of the old one, or the old one is kept and the error names the attribute. Without its
//! ACL a file would grant the whole group what the mask of the ACL allows to one user.

use std::fmt;
use std::fs::File;
use std::io;

use rustix::fs::XattrFlags;
use rustix::io::{Errno, retry_on_intr};

/// The ACL. A directory with a default ACL gives one to every new file.
const ACL: &str = "system.posix_acl_access";

/// Attributes that the kernel or a file system computes: they differ for another file.
const OF_THE_SYSTEM: [&str; 11] = [
    "security.ima",
    "security.evm",
    // It is only for programs, and every write to a file removes it.
    "security.capability",
    "trusted.overlay.",
    "user.overlay.",
    "trusted.afr.",
    "trusted.ec.",
    "trusted.gfid",
    "trusted.glusterfs.",
    "trusted.lov",
    "trusted.lma",
];

/// The namespaces that are copied. Others (`btrfs.`, `ceph.`, `lustre.`) describe the place of a file.
const COPIED: [&str; 6] = [
    "user.",
    "trusted.",
    "security.",
    ACL,
    "system.nfs4_acl",
    "system.richacl",
];

/// The longest list of names and the longest value of Linux, in bytes.
const MAX_BYTES: usize = 1 << 16;

/// An attribute of a file that its replacement cannot have.
#[derive(Debug)]
pub struct CannotKeep {
    /// The attribute.
    pub name: String,
    source: io::Error,
}

impl fmt::Display for CannotKeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its attribute `{}` cannot be kept: {}",
            self.name.escape_debug(),
            self.source
        )
    }
}

impl std::error::Error for CannotKeep {}

/// Returns the names of the attributes that a replacement must have.
pub(super) fn names(file: &File) -> io::Result<Vec<String>> {
    let mut list = vec![0; MAX_BYTES];
    let length = match retry_on_intr(|| rustix::fs::flistxattr(file, list.as_mut_slice())) {
        Ok(length) => length,
        // The file system does not support them, or a sandbox refuses the call.
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let list = list.get(..length).unwrap_or_default();
    let mut names = Vec::new();
    for name in list.split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else {
            let name = String::from_utf8_lossy(name);
            return Err(cannot_keep(&name, Errno::INVAL.into()));
        };
        if is_copied(name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn is_copied(name: &str) -> bool {
    let begins = |prefix: &&str| name.starts_with(*prefix);
    COPIED.iter().any(begins) && !OF_THE_SYSTEM.iter().any(begins)
}

/// Copies the attributes of the old file to the new one.
///
/// # Errors
/// [`CannotKeep`], as the source of an error of the same kind.
pub(super) fn copy(old: &File, new: &File) -> io::Result<()> {
    let names = names(old)?;
    for name in &names {
        let fail = |error: Errno| cannot_keep(name, error.into());
        let Some(value) = value(old, name).map_err(fail)? else {
            continue;
        };
        // Setting a label may need a privilege even if the new file has it.
        if matches!(self::value(new, name), Ok(Some(found)) if found == value) {
            continue;
        }
        let set = || rustix::fs::fsetxattr(new, name.as_str(), &value, XattrFlags::empty());
        retry_on_intr(set).map_err(fail)?;
    }
    if !names.iter().any(|name| name == ACL) {
        match retry_on_intr(|| rustix::fs::fremovexattr(new, ACL)) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => {}
            // A sandbox that hides ACLs does not allow to set one either.
            Err(Errno::PERM | Errno::ACCESS) if !matches!(value(new, ACL), Ok(Some(_))) => {}
            Err(error) => return Err(cannot_keep(ACL, error.into())),
        }
    }
    Ok(())
}

/// Returns the value of an attribute; `None` if it does not exist.
fn value(file: &File, name: &str) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; MAX_BYTES];
    match retry_on_intr(|| rustix::fs::fgetxattr(file, name, value.as_mut_slice())) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error),
    }
}

fn cannot_keep(name: &str, source: io::Error) -> io::Error {
    let kind = source.kind();
    let name = name.to_owned();
    io::Error::new(kind, CannotKeep { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_users_are_copied_and_those_of_the_system_are_not() {
        for (name, expected) in [
            ("user.note", true),
            ("user.overlay.opaque", false),
            ("security.selinux", true),
            ("security.ima", false),
            ("system.posix_acl_access", true),
            ("trusted.overlay.origin", false),
            ("trusted.note", true),
            ("btrfs.compression", false),
            ("ceph.file.layout", false),
        ] {
            assert_eq!(is_copied(name), expected, "{name}");
        }
    }
}
