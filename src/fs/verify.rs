//! Compares the content of files with digests.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};

use crate::oci::Digest;
use crate::oci::digest::Hasher;
use crate::oci::signed::{Identity, MAX_MANIFEST_BYTES, identify};

/// The bytes that are read at a time.
const PIECE: usize = 1 << 18;

/// Returns `true` if an open file has this digest, or is a signed manifest whose payload has it. Returns `false` if the algorithm is
/// unknown.
pub(crate) fn has_digest(file: &mut File, digest: &Digest) -> io::Result<bool> {
    Ok(copies_digest(file, &mut io::sink(), digest)? || has_payload(file, digest)?)
}

/// Copies the rest of a file, and returns `true` if its bytes have this digest.
pub(super) fn copies_digest(
    from: &mut impl Read,
    to: &mut impl Write,
    digest: &Digest,
) -> io::Result<bool> {
    let Some(algorithm) = digest.algorithm() else {
        return Ok(false);
    };
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish() == *digest),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        hasher.update(bytes);
        to.write_all(bytes)?;
    }
}

/// Returns `true` if a file is a signed manifest whose payload has this digest.
pub(crate) fn has_payload(file: &mut File, digest: &Digest) -> io::Result<bool> {
    let len = file.metadata()?.len();
    if len > MAX_MANIFEST_BYTES {
        return Ok(false);
    }
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(matches!(identify(digest, &bytes), Identity::Payload(_)))
}
