//! Killed at any moment, `rm` leaves the old image or the new one intact, and the next run completes the work; if the disk
//! fails, nothing is lost. `strace` injects the faults.

use std::fs;
use std::path::{Path, PathBuf};

use crate::rm::platform_words::multi;
use crate::support::environment::has_strace;
use crate::support::files::{entries, field};
use crate::support::invariants::assert_no_litter;
use crate::support::removed::{bare, dropping};
use crate::support::run::{PROGRAM, new_command, run};
use crate::support::{
    Cmd, Desc, Image, LayoutBuilder, Run, assert_same, snapshot, without_directory_times,
};

/// The calls that change names. Those that do not exist on a machine are skipped.
const RENAME: &str = "?rename,?renameat,?renameat2";
const UNLINK: &str = "?unlink,?unlinkat";
const SYNC: &str = "?fsync,?fdatasync";

/// Runs `rm` with a fault: `what` happens at the `when`th of these calls.
fn with_fault(layout: &Path, args: &[&str], calls: &str, what: &str, when: usize) -> Run {
    let inject = format!("inject={calls}:{what}:when={when}");
    let mut strace = new_command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).args([
        &format!("trace={calls}"),
        "-e",
        &inject,
    ]);
    // Stops only at these calls; otherwise a signal would never be delivered.
    if what.starts_with("error=") {
        strace.arg("--seccomp-bpf");
    }
    strace.args([PROGRAM, "rm"]).arg(layout).args(args);
    run(strace)
}

/// A multi-platform image, an image that shares a layer with it, and docker save's list.
struct Fixture {
    layout: LayoutBuilder,
    index: Desc,
    images: Vec<Image>,
    other: Image,
}

fn fixture() -> Fixture {
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let other = layout.image("linux/amd64", "other", &[b"linux/arm64", b"other"]);
    layout
        .tag(&index, "multi:1")
        .tag(&other.manifest, "other:1")
        .save_element(&["multi:1"], &images[0].config, &images[0].layers)
        .write();
    Fixture {
        layout,
        index,
        images,
        other,
    }
}

impl Fixture {
    /// Returns the current digest of `multi:1`.
    fn digest(&self) -> Option<String> {
        let entries = entries(self.layout.path());
        let entry = entries.iter().find(|entry| entry.contains("multi:1"))?;
        field(entry, "digest")
    }

    /// Panics unless everything that is listed is intact; returns `true` if the old image is still listed.
    #[track_caller]
    fn assert_whole(&self, run: &Run) -> bool {
        let layout = &self.layout;
        layout.assert_has(self.other.parts(), run);
        let path = layout.path();
        let old = match self.digest() {
            Some(digest) if digest == self.index.digest => {
                layout.assert_has([&self.index], run);
                layout.assert_has(self.images.iter().flat_map(Image::parts), run);
                true
            }
            Some(digest) => {
                let text = fs::read_to_string(crate::support::files::blob_path(path, &digest));
                let text = text.unwrap_or_else(|error| panic!("{digest}: {error}\n{}", run.all()));
                assert!(
                    text.contains(self.images[0].manifest.hex()),
                    "{text}\n{}",
                    run.all()
                );
                layout.assert_has(self.images[0].parts(), run);
                false
            }
            None => false,
        };
        let list = fs::read_to_string(layout.join("manifest.json")).expect("it is there");
        if list.contains(self.images[0].config.hex()) {
            layout.assert_has(self.images[0].parts(), run);
        }
        Cmd::new(["ls", "--tree"]).arg(path).run().ok();
        old
    }

    fn litter(&self) -> Vec<PathBuf> {
        let names = snapshot(self.layout.path()).into_keys();
        names
            .filter(|name| name.to_string_lossy().contains(".ocisweep-"))
            .collect()
    }
}

const DROP: [&str; 3] = ["multi:1", "--platform", "linux/arm64"];

#[test]
fn a_rewrite_killed_before_any_rename_leaves_the_old_image_and_the_next_run_finishes() {
    if !has_strace() {
        return;
    }
    // First the new index gets its name, then `index.json` does.
    for when in 1..=2 {
        let fixture = fixture();
        let before = snapshot(fixture.layout.path());
        let run = with_fault(fixture.layout.path(), &DROP, RENAME, "signal=KILL", when);
        assert_eq!(run.code, None, "it was not killed\n{}", run.all());
        assert!(
            fixture.assert_whole(&run),
            "the old image is listed\n{}",
            run.all()
        );
        let after = snapshot(fixture.layout.path());
        let index = Path::new("index.json");
        assert_eq!(before.get(index), after.get(index), "{}", run.all());
        assert!(
            !fixture.litter().is_empty(),
            "a temporary file is all that is left\n{}",
            run.all()
        );

        let again = bare(fixture.layout.path(), DROP).run();
        again.ok();
        assert!(!fixture.assert_whole(&again), "{}", again.all());
        assert!(
            !fixture.layout.has(&fixture.images[1].manifest),
            "{}",
            again.all()
        );
        assert!(!fixture.layout.has(&fixture.index), "{}", again.all());
        // Files of the killed process are recognised, and deleted once they are old enough.
        let gc = Cmd::gc(fixture.layout.path())
            .args(["--temp-age", "0s"])
            .run();
        gc.ok();
        assert_eq!(fixture.litter(), Vec::<PathBuf>::new(), "{}", gc.all());
        assert_no_litter(fixture.layout.path(), &gc.all());
    }
}

#[test]
fn after_a_kill_at_any_deletion_listed_images_are_intact_and_a_sweep_finishes() {
    if !has_strace() {
        return;
    }
    for arguments in [&DROP[..], &["multi:1"], &dropping("linux/arm64", "sparse")] {
        let mut when = 1;
        loop {
            let fixture = fixture();
            let run = with_fault(
                fixture.layout.path(),
                arguments,
                UNLINK,
                "signal=KILL",
                when,
            );
            if run.code.is_some() {
                run.ok();
                assert!(when > 2, "nothing was deleted\n{}", run.all());
                break;
            }
            let digest = fixture.digest();
            // The first unlink of a removal deletes the old manifest.json, before the new index.json is in place.
            let is_early = when == 1 && arguments == ["multi:1"];
            if !arguments.contains(&"sparse") && !is_early {
                assert!(
                    !fixture.assert_whole(&run),
                    "the new index comes before any deletion\n{}",
                    run.all()
                );
            }
            // Only the same command can tell what is intentionally missing from a sparse index; it may find nothing to do.
            bare(fixture.layout.path(), arguments).run();
            let gc = Cmd::gc(fixture.layout.path()).run();
            gc.ok();
            let twin = crate::rm::crash::fixture();
            bare(twin.layout.path(), arguments).run().ok();
            if !is_early {
                assert_eq!(fixture.digest(), digest, "{}", gc.all());
            }
            assert_eq!(
                crate::support::blobs(fixture.layout.path()),
                crate::support::blobs(twin.layout.path()),
                "after kill {when} and a sweep\n{}{}",
                run.all(),
                gc.all()
            );
            when += 1;
        }
    }
}

#[test]
fn a_removal_killed_at_any_rename_or_sync_loses_nothing_listed() {
    if !has_strace() {
        return;
    }
    for calls in [RENAME, SYNC] {
        let mut when = 1;
        loop {
            let fixture = fixture();
            let run = with_fault(
                fixture.layout.path(),
                &["multi:1"],
                calls,
                "signal=KILL",
                when,
            );
            if run.code.is_some() {
                run.ok();
                assert!(
                    when > 2,
                    "index.json and manifest.json are written\n{}",
                    run.all()
                );
                break;
            }
            let is_old = fixture.assert_whole(&run);
            let again = bare(fixture.layout.path(), ["multi:1"]).run();
            again.exits(if is_old { 0 } else { 1 });
            Cmd::gc(fixture.layout.path()).run().ok();
            assert_eq!(
                crate::support::blobs(fixture.layout.path()).len(),
                fixture.other.parts().len(),
                "{}",
                run.all()
            );
            when += 1;
        }
    }
}

#[test]
fn a_rename_that_fails_changes_nothing_and_leaves_no_temporary_file() {
    if !has_strace() {
        return;
    }
    for error in ["EIO", "EROFS", "EACCES"] {
        for when in 1..=2 {
            let fixture = fixture();
            let before = without_directory_times(&snapshot(fixture.layout.path()));
            let run = with_fault(
                fixture.layout.path(),
                &DROP,
                RENAME,
                &format!("error={error}"),
                when,
            );
            run.exits(4).warns("ocisweep: cannot write");
            assert_eq!(run.stdout, "", "{}", run.all());
            let mut after = without_directory_times(&snapshot(fixture.layout.path()));
            // The new index may exist as an orphan: it was written first.
            after.retain(|path, _| {
                before.contains_key(path) || when == 1 || !path.starts_with("blobs")
            });
            assert_same(&before, &after, &run.all());
            assert_no_litter(fixture.layout.path(), &run.all());
            bare(fixture.layout.path(), DROP).run().ok();
        }
    }
}

#[test]
fn a_blob_that_cannot_be_deleted_is_reported_and_does_not_stop_the_others() {
    if !has_strace() {
        return;
    }
    let fixture = fixture();
    // The first two delete the old manifest.json and the old index.json, which have temporary names by then.
    let run = with_fault(
        fixture.layout.path(),
        &["multi:1"],
        UNLINK,
        "error=EPERM",
        3,
    );
    run.exits(1)
        .warns("ocisweep: cannot delete `")
        .warns(fixture.index.hex());
    run.keeps_quiet_about(&format!("Deleted: {}", fixture.index.digest));
    run.says(&format!("Deleted: {}\n", fixture.images[0].manifest.digest));
    fixture.layout.assert_has([&fixture.index], &run);
    assert!(
        !fixture.layout.has(&fixture.images[1].manifest),
        "{}",
        run.all()
    );
    assert_eq!(fixture.digest(), None, "{}", run.all());
    fixture.assert_whole(&run);
}
