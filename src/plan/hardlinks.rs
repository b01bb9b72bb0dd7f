//! What several layouts free together when hard links tie them to one another.

use std::collections::HashMap;

use crate::fs::FileStat;

use super::Totals;

/// The names of one inode.
#[derive(Default)]
struct Names {
    /// How many there were before anything went.
    links: u32,
    /// How many of them go, and are still to be counted.
    going: u32,
    /// They are all that there were.
    all_go: bool,
}

/// Returns what each of several layouts frees when these of their blobs go, in the order given.
/// Temporary files are not among it.
///
/// The bytes of an inode with several names are counted where its last name goes, so that each byte is
/// counted once and the sum is what the disk gains. Whether a file was looked at before or after other
/// names of it went makes no difference: layouts are worked on at the same time, and whoever comes first
/// has seen all names.
#[must_use]
pub fn hardlink_totals(layouts: &[Vec<FileStat>]) -> Vec<Totals> {
    let mut inodes: HashMap<(u64, u64), Names> = HashMap::new();
    let inode = |file: &FileStat| (file.device, file.inode);
    for file in layouts.iter().flatten().filter(|file| file.links > 1) {
        let names = inodes.entry(inode(file)).or_default();
        names.links = names.links.max(file.links);
    }
    for file in layouts.iter().flatten() {
        // Also what was looked at when it was the last name left.
        if let Some(names) = inodes.get_mut(&inode(file)) {
            names.going += 1;
            names.all_go = names.going >= names.links;
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
                    names.going -= 1;
                    match (names.going, names.all_go) {
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
        FileStat {
            len: 10,
            modified: 0,
            device: 1,
            inode,
            links,
        }
    }

    #[test]
    fn each_byte_is_counted_once_and_where_the_last_name_goes() {
        type Case<'a> = (&'a [&'a [FileStat]], &'a [(u64, u64)]);
        let cases: &[Case<'_>] = &[
            (&[&[file(1, 1)], &[file(2, 1)]], &[(10, 0), (10, 0)]),
            (&[&[file(1, 2)], &[file(1, 2)]], &[(0, 0), (10, 0)]),
            // The second was looked at after the first had gone, or the first after the second.
            (&[&[file(1, 2)], &[file(1, 1)]], &[(0, 0), (10, 0)]),
            (&[&[file(1, 1)], &[file(1, 2)]], &[(0, 0), (10, 0)]),
            (
                &[&[file(1, 1)], &[file(1, 3)], &[file(1, 2)]],
                &[(0, 0), (0, 0), (10, 0)],
            ),
            // One name stays somewhere else.
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
