//! Replacing and removing a file only if it is the expected one, concurrently with programs that rename their files over it.
//!
//! *Promise*: a file that another program renames into place is in place in the end, however often that happens. A file of another
//! program that cannot be put back gets a name that no sweep deletes, and the error names it.
//!
//! *Order* of a replacement: the new and the old file exchange their names, so that the old file has a temporary name and can be
//! compared. If the run is killed then, the next run that changes something recognises a file of another program by that name and
//! puts it back. A file that is not the expected one is put back by a second exchange, which may in turn bring out a file that was
//! renamed into place in between: that file is newer and is put back too, until the exchange brings out the last file of this
//! program.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{Temporary, has_bytes, holds_bytes, letters, rename, unlink};
use crate::fs::{Links, OWN_PREFIX, SwapName, open_file, stat_at, stat_of};
use crate::oci::index_json::MAX_INDEX_BYTES;

/// The maximum number of exchanges that put a file back. Each further one needs another program that writes within
/// microseconds.
const MAX_ROUNDS: usize = 64;

/// The file that has a name at some moment. While it is open, no other file gets its inode.
struct Held {
    /// The open file, or why it cannot be opened, which is no reason to lose it.
    file: rustix::io::Result<File>,
    inode: (u64, u64),
}

impl Held {
    fn of(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Self> {
        // Retried: without it the owner of the file is unknown.
        let stat = stat_at(dir, name, Links::Refuse);
        let stat = stat.or_else(|_| stat_at(dir, name, Links::Refuse))?;
        let inode = (stat.st_dev, stat.st_ino);
        let file = open_file(dir, name, Links::Refuse)
            .map(File::from)
            .and_then(|file| {
                let stat = stat_of(&file)?;
                // It may have been replaced since.
                let is_same = (stat.st_dev, stat.st_ino) == inode;
                if is_same { Ok(file) } else { Err(Errno::STALE) }
            });
        Ok(Self { file, inode })
    }

    fn holds(&self, expected: &[u8]) -> io::Result<bool> {
        let mut file = self.file.as_ref().map_err(|error| *error)?;
        file.rewind()?;
        holds_bytes(file, expected)
    }
}

/// Replaces a file with the expected bytes. Returns `false` if it does not exist or has other bytes.
pub(super) fn replace(
    mut temporary: Temporary<'_>,
    name: &str,
    expected: &[u8],
    bytes: &[u8],
) -> io::Result<bool> {
    let dir = temporary.dir;
    // Most other files are noticed here, before a rename. Both files are held open, so that later comparisons do not depend on a
    // call that may fail.
    let old = match Held::of(dir, name) {
        Ok(old) => old,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if matches!(old.file, Err(Errno::NOENT | Errno::LOOP | Errno::STALE)) {
        return Ok(false);
    }
    let ours = Held::of(dir, temporary.name())?;
    ours.holds(bytes)?;
    if !old.holds(expected)? {
        return Ok(false);
    }
    // A crash after the exchange leaves a file of another program under a name that the next run recognises.
    temporary.begin_swap(expected, bytes, name)?;
    step("compared");
    match rename(dir, temporary.name(), name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(false),
        // The file system cannot exchange names: the comparison above is the last one.
        Err(Errno::NOSYS | Errno::INVAL | Errno::NOTSUP) => {
            rename(dir, temporary.name(), name, RenameFlags::empty())?;
            temporary.keep();
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    }
    step("exchanged");
    // The file that was in place now has the temporary name.
    let found = match Held::of(dir, temporary.name()) {
        Ok(found) => found,
        Err(error) => return Err(rescue(temporary, name, &error.into())),
    };
    let is_expected = if found.inode == old.inode {
        // A writer may have rewritten it in place since.
        old.holds(expected)
    } else {
        found.holds(expected)
    };
    match is_expected {
        // A crash before this leaves the old file under the temporary name.
        Ok(true) => Ok(true),
        Ok(false) => put_back(temporary, name, ours, found, bytes).map(|()| false),
        // A file that cannot be read is not the expected one.
        Err(error) => put_back(temporary, name, ours, found, bytes).and(Err(error)),
    }
}

/// Puts back a file of another program that has the temporary name. `placed` has its name.
fn put_back(
    temporary: Temporary<'_>,
    name: &str,
    mut placed: Held,
    mut held: Held,
    bytes: &[u8],
) -> io::Result<()> {
    let dir = temporary.dir;
    let mut is_ours = true;
    for _ in 0..MAX_ROUNDS {
        match rename(dir, temporary.name(), name, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // Another program has removed the file with its name.
            Err(Errno::NOENT) => return give_back(temporary, name),
            Err(error) => return Err(rescue(temporary, name, &error.into())),
        }
        step("put back");
        let got = match Held::of(dir, temporary.name()) {
            Ok(got) => got,
            Err(error) => return Err(rescue(temporary, name, &error.into())),
        };
        // A writer that rewrites in place may have written into the file of this program.
        let is_placed = got.inode == placed.inode;
        if is_placed && (!is_ours || placed.holds(bytes).unwrap_or(false)) {
            return Ok(());
        }
        // It was renamed into place in between, and is newer than the file that was just put back.
        placed = std::mem::replace(&mut held, got);
        is_ours = false;
    }
    let error = io::Error::other("other programs replaced it repeatedly");
    Err(rescue(temporary, name, &error))
}

/// Gives a new file its name. Returns `false` if another file has it.
pub(super) fn create(temporary: Temporary<'_>, name: &str) -> io::Result<bool> {
    match move_to_free(temporary.dir, temporary.name(), name) {
        Ok(()) => {
            temporary.keep();
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes a file with the expected bytes. Returns `false` if it does not exist or has other bytes.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &str, expected: &[u8]) -> io::Result<bool> {
    match has_bytes(dir, name, expected) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    step("compared");
    // No other program writes to a file with a name of this program, so the compared file is the removed one.
    let (temporary, _) = Temporary::create_called(dir, 0o600, |letters| {
        SwapName::make(letters, expected, expected, name)
            .unwrap_or_else(|| format!("{OWN_PREFIX}{letters}"))
    })?;
    match rename(dir, name, temporary.name(), RenameFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    step("moved away");
    match has_bytes(dir, temporary.name(), expected) {
        Ok(true) => Ok(true),
        Ok(false) => give_back(temporary, name).map(|()| false),
        Err(error) => give_back(temporary, name).and(Err(error)),
    }
}

/// Restores the name of a file, which no other file should have now.
fn give_back(temporary: Temporary<'_>, name: &str) -> io::Result<()> {
    match move_to_free(temporary.dir, temporary.name(), name) {
        Ok(()) => {
            temporary.keep();
            Ok(())
        }
        Err(error) => Err(rescue(temporary, name, &error.into())),
    }
}

/// Renames a file to a name that no other file has.
fn move_to_free(dir: BorrowedFd<'_>, from: &str, to: &str) -> rustix::io::Result<()> {
    if is_linked_to_free((dir, from), (dir, to))? {
        // Both names are the same file, so that nothing is lost if this fails.
        drop(unlink(dir, from, AtFlags::empty()));
    }
    Ok(())
}

/// Moves a file to another directory, where no other file has its name.
pub(super) fn move_between(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &str,
) -> rustix::io::Result<()> {
    if is_linked_to_free((from, name), (to, name))? {
        // A crash here leaves both names of the same file. So does an error, and then the blob is still in its place.
        retry_on_intr(|| rustix::fs::unlinkat(from, name, AtFlags::empty()))?;
    }
    Ok(())
}

/// Renames a file to a name that no other file has, by the first call that the file system supports. Returns `true` if that is a
/// link, so that the file still has its old name.
fn is_linked_to_free(
    (from_dir, from): (BorrowedFd<'_>, &str),
    (to_dir, to): (BorrowedFd<'_>, &str),
) -> rustix::io::Result<bool> {
    let rename = || {
        #[cfg(test)]
        if tests::is_old_file_system() {
            return Err(Errno::INVAL);
        }
        rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE)
    };
    match retry_on_intr(rename) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::NOTSUP) => {}
        result => return result.map(|()| false),
    }
    let link = || rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty());
    retry_on_intr(link).map(|()| true)
}

/// Gives a file of another program its name back: see [`Fs::restore`](crate::fs::Fs::restore).
pub(super) fn restore(dir: BorrowedFd<'_>, parked: &str) -> io::Result<Option<String>> {
    let Some(swap) = SwapName::parse(parked) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let is_ours = |name: &str| -> io::Result<bool> {
        let mut bytes = Vec::new();
        File::from(open_file(dir, name, Links::Refuse)?)
            .take(MAX_INDEX_BYTES + 1)
            .read_to_end(&mut bytes)?;
        Ok(swap.is_new(&bytes))
    };
    match is_ours(swap.name) {
        // No program has written it since: this completes the killed run.
        Ok(true) => {
            step("compared");
            rename(dir, parked, swap.name, RenameFlags::EXCHANGE)?;
            step("put back");
            // A crash here leaves bytes of this program under a name that identifies them.
            if is_ours(parked)? {
                drop(unlink(dir, parked, AtFlags::empty()));
                return Ok(None);
            }
            // Another file was renamed into place in between, and is newer.
            rename(dir, parked, swap.name, RenameFlags::EXCHANGE)?;
        }
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match move_to_rescued(dir, parked, swap.name) {
        Some(rescued) => Ok(Some(rescued)),
        None => Err(io::Error::other("no other name could be given to it")),
    }
}

/// Gives a file of another program a name that no sweep deletes; `None` if that is impossible.
fn move_to_rescued(dir: BorrowedFd<'_>, from: &str, name: &str) -> Option<String> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) => (stem, format!(".{extension}")),
        None => (name, String::new()),
    };
    let random = RandomState::new();
    (0..8_u32).find_map(|attempt| {
        let letters = letters(random.hash_one(attempt));
        let free = format!("{stem}.rescued-{letters}{extension}");
        move_to_free(dir, from, &free).is_ok().then_some(free)
    })
}

/// Gives a file of another program a name that no sweep deletes, and returns the error that names it.
fn rescue(temporary: Temporary<'_>, name: &str, why: &io::Error) -> io::Error {
    let rescued = move_to_rescued(temporary.dir, temporary.name(), name)
        .unwrap_or_else(|| temporary.name().to_owned());
    temporary.keep();
    let text = format!(
        "another program wrote it in the same moment, and what it wrote could not be put back ({why}): it is kept as `{rescued}`"
    );
    io::Error::new(why.kind(), text)
}

/// Allows a test to act as another program between two steps.
#[cfg(not(test))]
const fn step(_name: &str) {}

#[cfg(test)]
use tests::step;

#[cfg(test)]
mod tests {
    use crate::fs::SwapName;
    use std::cell::{Cell, RefCell};
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::path::{Path, PathBuf};

    use super::super::super::{Disk, FileTime, Fs as _};

    type Other = Box<dyn FnMut(&str)>;

    thread_local! {
        static OTHER: RefCell<Option<Other>> = const { RefCell::new(None) };
        static IS_OLD: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn step(name: &str) {
        // Taken, so that the other program does not call it.
        let other = OTHER.with_borrow_mut(Option::take);
        if let Some(mut other) = other {
            other(name);
            OTHER.with_borrow_mut(|slot| *slot = Some(other));
        }
    }

    pub(super) fn is_old_file_system() -> bool {
        IS_OLD.get()
    }

    /// Renames a file into place, like a writer, at each of these steps.
    fn writes(path: &Path, steps: &'static [(&'static str, &'static str)]) {
        let path = path.to_owned();
        let mut left = steps.iter();
        let mut next = left.next();
        OTHER.with_borrow_mut(|slot| {
            *slot = Some(Box::new(move |name| {
                if let Some((step, text)) = next
                    && *step == name
                {
                    let temporary = path.with_extension("tmp");
                    fs::write(&temporary, text).expect("there is room");
                    fs::rename(&temporary, &path).expect("it can be renamed");
                    next = left.next();
                }
            }));
        });
    }

    fn stop() {
        OTHER.with_borrow_mut(|slot| *slot = None);
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a list");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    /// Returns a directory with an `index.json`, its path and the open directory.
    fn layout(index: &str) -> (tempfile::TempDir, PathBuf, fs::File) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let path = temp.path().join("index.json");
        fs::write(&path, index).expect("a file");
        let dir = fs::File::open(temp.path()).expect("a directory");
        (temp, path, dir)
    }

    /// Replaces the `index.json` if it is `old`.
    fn replace_old(dir: &fs::File) -> bool {
        let (old, new) = (b"old", b"new");
        Disk.replace_expected(dir.as_fd(), "index.json", Some(old), new, FileTime::New)
            .expect("nothing fails")
    }

    #[test]
    fn a_file_that_is_renamed_into_place_between_any_two_steps_is_kept() {
        // The writes of other programs by step, whether the file is replaced, and its content in the end.
        type Case = (&'static [(&'static str, &'static str)], bool, &'static str);
        let cases: [Case; 7] = [
            (&[], true, "new"),
            (&[("compared", "X")], false, "X"),
            // After the replacement: it is newer.
            (&[("exchanged", "X")], true, "X"),
            (&[("compared", "X"), ("exchanged", "Y")], false, "Y"),
            (&[("compared", "X"), ("put back", "Y")], false, "Y"),
            (
                &[("compared", "X"), ("exchanged", "Y"), ("put back", "Z")],
                false,
                "Z",
            ),
            (
                &[
                    ("compared", "X"),
                    ("exchanged", "Y"),
                    ("put back", "Z"),
                    ("put back", "last"),
                ],
                false,
                "last",
            ),
        ];
        for (steps, replaced, there) in cases {
            let (temp, path, dir) = layout("old");
            writes(&path, steps);
            let found = replace_old(&dir);
            stop();
            assert_eq!(found, replaced, "{steps:?}");
            let text = fs::read_to_string(&path).expect("it is there");
            assert_eq!(text, there, "{steps:?}");
            assert_eq!(names(temp.path()), ["index.json"], "{steps:?}");
        }
    }

    #[test]
    fn a_file_that_is_rewritten_in_place_is_kept() {
        let (temp, path, dir) = layout("old");
        let file = path.clone();
        OTHER.with_borrow_mut(|slot| {
            *slot = Some(Box::new(move |name| match name {
                "compared" => fs::write(&file, "X").expect("there is room"),
                "exchanged" => fs::write(&file, "Y").expect("there is room"),
                _ => {}
            }));
        });
        let found = replace_old(&dir);
        stop();
        assert!(!found);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "Y");
        assert_eq!(names(temp.path()), ["index.json"]);
    }

    #[test]
    fn a_file_is_created_only_if_it_does_not_exist() {
        for is_old in [false, true] {
            IS_OLD.set(is_old);
            let temp = tempfile::tempdir().expect("a temporary directory");
            let dir = fs::File::open(temp.path()).expect("a directory");
            for (text, created) in [(&b"first"[..], true), (b"second", false)] {
                let found = Disk
                    .replace_expected(dir.as_fd(), "holds.json", None, text, FileTime::New)
                    .expect("nothing fails");
                assert_eq!(found, created, "{is_old}");
            }
            let text = fs::read(temp.path().join("holds.json")).expect("it is there");
            assert_eq!(text, b"first", "{is_old}");
            assert_eq!(names(temp.path()), ["holds.json"], "{is_old}");
        }
        IS_OLD.set(false);
    }

    /// Some file systems do not support `RENAME_NOREPLACE` (NFS, many FUSE): there a hard link gives the name back.
    #[test]
    fn a_removal_puts_back_the_file_of_another_program_on_every_file_system() {
        for is_old in [false, true] {
            IS_OLD.set(is_old);
            let (temp, path, dir) = layout("old");
            writes(&path, &[("compared", "X")]);
            let found = Disk.remove_expected(dir.as_fd(), "index.json", b"old");
            stop();
            assert!(!found.expect("nothing fails"), "{is_old}");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), "X");
            assert_eq!(names(temp.path()), ["index.json"], "{is_old}");

            // A third program has renamed its own into place: the other file is kept, and named.
            fs::write(&path, "old").expect("a file");
            writes(&path, &[("compared", "X"), ("moved away", "Y")]);
            let error = Disk
                .remove_expected(dir.as_fd(), "index.json", b"old")
                .expect_err("there is no place for it")
                .to_string();
            stop();
            assert_eq!(fs::read_to_string(&path).expect("it is there"), "Y");
            let names = names(temp.path());
            let rescued = names.iter().find(|name| name.contains("rescued"));
            let rescued = rescued.unwrap_or_else(|| panic!("{names:?}"));
            assert!(error.contains(rescued.as_str()), "{error}");
            let text = fs::read_to_string(temp.path().join(rescued)).expect("it is there");
            assert_eq!(text, "X");
            assert_eq!(crate::layout::temp_files::in_root(rescued, false), None);
        }
        IS_OLD.set(false);
    }

    #[test]
    fn a_parked_file_gets_its_name_back_unless_it_is_taken() {
        // The file in place, the writes of another program by step, the file in the end, and whether the parked file gets
        // another name.
        type Case = (
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static str,
            bool,
        );
        let cases: [Case; 4] = [
            ("new", &[], "parked", false),
            ("newer", &[], "newer", true),
            ("new", &[("compared", "newer")], "newer", true),
            // It replaces the parked file, as without the exchange.
            ("new", &[("put back", "newer")], "newer", false),
        ];
        for (place, steps, there, is_rescued) in cases {
            let (temp, path, dir) = layout(place);
            let parked =
                SwapName::make("abcdef", b"old", b"new", "index.json").expect("it is short");
            fs::write(temp.path().join(&parked), "parked").expect("a file");
            writes(&path, steps);
            let rescued = Disk.restore(dir.as_fd(), &parked).expect("nothing fails");
            stop();
            let text = fs::read_to_string(&path).expect("it is there");
            let mut expected = vec!["index.json".to_owned()];
            if is_rescued {
                let rescued = rescued.expect("it has another name");
                let text = fs::read_to_string(temp.path().join(&rescued)).expect("it is there");
                assert_eq!(text, "parked");
                expected.push(rescued);
            }
            assert_eq!(text, there, "{place} {steps:?}");
            assert_eq!(names(temp.path()), expected, "{place} {steps:?}");
        }
    }
}
