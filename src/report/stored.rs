//! The bytes that layouts occupy, without reading their documents.

use std::collections::HashSet;

use crate::error::Result;
use crate::layout::Layout;

/// Returns the bytes of the blobs of layouts, referenced or not, each file once. Layouts over a shared store have its blobs.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) if they cannot be listed or measured.
pub fn stored_bytes(layouts: &[Layout]) -> Result<u64> {
    let mut sum = 0_u64;
    let mut seen = HashSet::new();
    for layout in layouts {
        let blobs = layout.list()?;
        let ids = 0..u32::try_from(blobs.len()).unwrap_or(u32::MAX);
        for digest in ids.filter_map(|id| blobs.digest(id)) {
            let Some(file) = layout.look_at_blob(digest)? else {
                continue;
            };
            if seen.insert((file.st_dev, file.st_ino)) {
                sum = sum.saturating_add(u64::try_from(file.st_size).unwrap_or_default());
            }
        }
    }
    Ok(sum)
}
