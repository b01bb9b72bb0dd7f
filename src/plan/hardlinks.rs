//! Computes what several layouts free together if they share files by hard links.

use std::collections::HashMap;

use crate::fs::FileStat;

use super::Totals;

/// The names of one inode.
#[derive(Default)]
struct Names {
    /// Their number before any deletion.
    links: u32,
    /// The number of them that are deleted and not counted yet.
    deleted: u32,
    /// They are all names of the inode.
    are_all: bool,
}

/// Returns what each of several layouts frees if these blobs of theirs are deleted, in the order given, without
/// temporary files.
///
/// The bytes of an inode with several names are counted where its last name is deleted, so that each byte is counted once
/// and the sum is what the disk gains. It makes no difference whether a file was inspected before or after other names of it
/// were deleted: layouts are processed concurrently, and the first inspection saw all names.
#[must_use]
pub fn hardlink_totals(layouts: &[Vec<FileStat>]) -> Vec<Totals> {
    let mut inodes: HashMap<(u64, u64), Names> = HashMap::new();
    let inode = |file: &FileStat| (file.device, file.inode);
    for file in layouts.iter().flatten().filter(|file| file.links > 1) {
        let names = inodes.entry(inode(file)).or_default();
        names.links = names.links.max(file.links);
    }
    for file in layouts.iter().flatten() {
        // Also a file that was inspected when it was the last name left.
        if let Some(names) = inodes.get_mut(&inode(file)) {
            names.deleted += 1;
            names.are_all = names.deleted >= names.links;
        }
    }
    let mut sums = Vec::with_capacity(layouts.len());
    for files in layouts {
        let mut totals = Totals::default();
        for file in files {
            totals.blobs += 1;
            totals.bytes = totals.bytes.saturating_add(file.len);
            let counted = match inodes.get_mut(&inode(file)) {
                None => &mut totals.freed_bytes,
                Some(names) => {
                    names.deleted -= 1;
                    match (names.deleted, names.are_all) {
                        (0, true) => &mut totals.freed_bytes,
                        (0, false) => &mut totals.linked_bytes,
                        _ => continue,
                    }
                }
            };
            *counted = counted.saturating_add(file.len);
        }
        sums.push(totals);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64, links: u32) -> FileStat {
        crate::plan::tests::file(inode, 10, links)
    }

    #[test]
    fn each_byte_is_counted_once_where_the_last_name_is_deleted() {
        type Case<'a> = (&'a [&'a [FileStat]], &'a [(u64, u64)]);
        let cases: &[Case<'_>] = &[
            (&[&[file(1, 1)], &[file(2, 1)]], &[(10, 0), (10, 0)]),
            (&[&[file(1, 2)], &[file(1, 2)]], &[(0, 0), (10, 0)]),
            // The second was inspected after the first was deleted, or the first after the second.
            (&[&[file(1, 2)], &[file(1, 1)]], &[(0, 0), (10, 0)]),
            (&[&[file(1, 1)], &[file(1, 2)]], &[(0, 0), (10, 0)]),
            (
                &[&[file(1, 1)], &[file(1, 3)], &[file(1, 2)]],
                &[(0, 0), (0, 0), (10, 0)],
            ),
            // One name is kept elsewhere.
            (&[&[file(1, 3)], &[file(1, 3)]], &[(0, 0), (0, 10)]),
            (&[&[file(1, 2)], &[]], &[(0, 10), (0, 0)]),
            (&[&[file(1, 2), file(1, 2)], &[]], &[(10, 0), (0, 0)]),
            // The same number on another device is another inode.
            (
                &[
                    &[file(1, 2)],
                    &[FileStat {
                        device: 2,
                        ..file(1, 2)
                    }],
                ],
                &[(0, 10), (0, 10)],
            ),
        ];
        for (layouts, expected) in cases {
            let layouts: Vec<Vec<FileStat>> = layouts.iter().map(|files| files.to_vec()).collect();
            let sums = hardlink_totals(&layouts);
            let found: Vec<_> = sums
                .iter()
                .map(|totals| (totals.freed_bytes, totals.linked_bytes))
                .collect();
            assert_eq!(found, *expected, "{layouts:?}");
            let names: u64 = sums.iter().map(|totals| totals.blobs).sum();
            assert_eq!(names, layouts.iter().flatten().count() as u64);
        }
    }
}
