//! Copies a blob and verifies the copy.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::RenameFlags;

use super::{Fs as _, Temporary, rename};
use crate::fs::verify::{copies_digest, has_payload};
use crate::fs::{Disk, Links, open_file};
use crate::oci::Digest;

/// Copies a file into a directory of blobs if it has this digest. Returns `false` if it has another one, or the algorithm is unknown.
pub(super) fn copy(
    source: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    digest: &Digest,
) -> io::Result<bool> {
    let (temporary, mut file) = Temporary::create(dir, 0o644)?;
    let reopened = || open_file(dir, temporary.name(), Links::Refuse).map(File::from);
    let is_equal = if rustix::fs::ioctl_ficlone(&file, source).is_ok() {
        // The clone is verified, since it will be the blob.
        copies_digest(&mut reopened()?, &mut io::sink(), digest)?
    } else {
        let mut source = File::from(source.try_clone_to_owned()?);
        copies_digest(&mut source, &mut file, digest)?
    };
    if !is_equal && !has_payload(&mut reopened()?, digest)? {
        return Ok(false);
    }
    Disk.sync(file.as_fd())?;
    let name = digest.blob_name();
    rename(dir, temporary.name(), name.file(), RenameFlags::empty())?;
    temporary.keep();
    Disk.sync_dir(dir)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn only_a_file_with_the_digest_is_copied_and_no_other_file_is_left() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (temp.path().join("source"), temp.path().join("blobs"));
        std::fs::write(&from, "a layer").expect("a file");
        std::fs::create_dir(&to).expect("a directory");
        let dir = File::open(&to).expect("a directory");
        let right = Digest::of(Algorithm::Sha256, b"a layer");
        let wrong = Digest::of(Algorithm::Sha256, b"another layer");
        std::fs::write(to.join(right.encoded()), "damaged").expect("a file");
        for (digest, expected) in [(&wrong, false), (&right, true)] {
            let source = File::open(&from).expect("a file");
            let copied = Disk.copy_blob(source.as_fd(), dir.as_fd(), digest);
            assert_eq!(copied.expect("nothing fails"), expected);
        }
        let names = std::fs::read_dir(&to).expect("a list").count();
        assert_eq!(names, 1, "something else is left");
        let bytes = std::fs::read(to.join(right.encoded())).expect("it is there");
        assert_eq!(bytes, b"a layer");
    }
}
