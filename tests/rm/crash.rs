//! Killed at any moment, `rm` leaves the old image whole or the new one, and the next run finishes what was begun; and when the disk
//! refuses a call, nothing is lost. The calls are made to fail from outside, by `strace`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rm::platform_words::multi;
use crate::rm::scene::{assert_here, assert_no_litter, bare, entries, field, has, parts};
use crate::support::{
    Cmd, Desc, Image, LayoutBuilder, Run, assert_same, snapshot, without_directory_times,
};

/// The variable that makes an absent program a failure.
const REQUIRE: &str = "OCISWEEP_REQUIRE_TOOLS";

/// The calls by which names change. What a machine does not know is passed over.
const RENAME: &str = "?rename,?renameat,?renameat2";
const UNLINK: &str = "?unlink,?unlinkat";
const SYNC: &str = "?fsync,?fdatasync";

/// Returns `true` if calls can be made to fail here.
fn can_inject() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let reason = match tried {
        Ok(status) if status.success() => return true,
        Ok(_) => "`strace` may not trace here",
        Err(_) => "no `strace` on PATH",
    };
    assert!(
        std::env::var_os(REQUIRE).is_none_or(|value| value != "1"),
        "{REQUIRE}=1, but {reason}"
    );
    crate::rm::skip(reason);
    false
}

/// Runs `rm` with a fault: `what` happens at the `when`th of these calls.
fn with_fault(layout: &Path, args: &[&str], calls: &str, what: &str, when: usize) -> Run {
    let inject = format!("inject={calls}:{what}:when={when}");
    let output = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &inject,
        ])
        .arg(env!("CARGO_BIN_EXE_ocisweep"))
        .arg("rm")
        .arg(layout)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .expect("strace can be started");
    Run {
        line: format!(
            "ocisweep rm {} {} with {inject}",
            layout.display(),
            args.join(" ")
        ),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A multi-platform image, an image that shares a layer with it, and docker save's list.
struct Scene {
    layout: LayoutBuilder,
    index: Desc,
    images: Vec<Image>,
    other: Image,
}

fn scene() -> Scene {
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let other = layout.image("linux/amd64", "other", &[b"linux/arm64", b"other"]);
    layout
        .tag(&index, "multi:1")
        .tag(&other.manifest, "other:1")
        .save_element(&["multi:1"], &images[0].config, &images[0].layers)
        .write();
    Scene {
        layout,
        index,
        images,
        other,
    }
}

impl Scene {
    /// Returns the digest that `multi:1` stands for now.
    fn digest(&self) -> Option<String> {
        let entries = entries(self.layout.path());
        let entry = entries.iter().find(|entry| entry.contains("multi:1"))?;
        field(entry, "digest")
    }

    /// Panics unless everything that is listed is whole, whichever state that is; returns whether it is still the old one.
    #[track_caller]
    fn assert_whole(&self, run: &Run) -> bool {
        let layout = &self.layout;
        assert_here(layout, parts(&self.other), run);
        let path = layout.path();
        let old = match self.digest() {
            Some(digest) if digest == self.index.digest => {
                assert_here(layout, [&self.index], run);
                assert_here(layout, self.images.iter().flat_map(parts), run);
                true
            }
            Some(digest) => {
                let text = fs::read_to_string(crate::rm::scene::blob_path(path, &digest));
                let text = text.unwrap_or_else(|error| panic!("{digest}: {error}\n{}", run.all()));
                assert!(
                    text.contains(self.images[0].manifest.hex()),
                    "{text}\n{}",
                    run.all()
                );
                assert_here(layout, parts(&self.images[0]), run);
                false
            }
            None => false,
        };
        let list = fs::read_to_string(layout.join("manifest.json")).expect("it is there");
        if list.contains(self.images[0].config.hex()) {
            assert_here(layout, parts(&self.images[0]), run);
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
fn killed_before_any_rename_of_a_rewrite_the_old_image_is_whole_and_the_next_run_finishes() {
    if !can_inject() {
        return;
    }
    // First the new index gets its name, then `index.json` does.
    for when in 1..=2 {
        let scene = scene();
        let before = snapshot(scene.layout.path());
        let run = with_fault(scene.layout.path(), &DROP, RENAME, "signal=KILL", when);
        assert_eq!(run.code, None, "it was not killed\n{}", run.all());
        assert!(
            scene.assert_whole(&run),
            "the old image is listed\n{}",
            run.all()
        );
        let after = snapshot(scene.layout.path());
        let index = Path::new("index.json");
        assert_eq!(before.get(index), after.get(index), "{}", run.all());
        assert!(
            !scene.litter().is_empty(),
            "a temporary file is all that is left\n{}",
            run.all()
        );

        let again = bare(scene.layout.path(), DROP).run();
        again.ok();
        assert!(!scene.assert_whole(&again), "{}", again.all());
        assert!(
            !has(&scene.layout, &scene.images[1].manifest),
            "{}",
            again.all()
        );
        assert!(!has(&scene.layout, &scene.index), "{}", again.all());
        // What the killed one left is recognised, and goes when it is old enough.
        let gc = Cmd::gc(scene.layout.path())
            .args(["--temp-age", "0s"])
            .run();
        gc.ok();
        assert_eq!(scene.litter(), Vec::<PathBuf>::new(), "{}", gc.all());
        assert_no_litter(scene.layout.path(), &gc.all());
    }
}

#[test]
fn killed_at_any_deletion_what_is_listed_is_whole_and_a_sweep_finishes() {
    if !can_inject() {
        return;
    }
    for arguments in [
        &DROP[..],
        &["multi:1"],
        &[
            "multi:1",
            "--platform",
            "linux/arm64",
            "--platform-mode",
            "sparse",
        ],
    ] {
        let mut when = 1;
        loop {
            let scene = scene();
            let run = with_fault(scene.layout.path(), arguments, UNLINK, "signal=KILL", when);
            if run.code.is_some() {
                run.ok();
                assert!(when > 2, "nothing was deleted\n{}", run.all());
                break;
            }
            let digest = scene.digest();
            // The first unlink of a removal takes the old manifest.json away, before the new index.json is there.
            let is_early = when == 1 && arguments == ["multi:1"];
            if !arguments.contains(&"sparse") && !is_early {
                assert!(
                    !scene.assert_whole(&run),
                    "the new index comes before any deletion\n{}",
                    run.all()
                );
            }
            // Of a sparse index only the same command knows what is missing on purpose; it may find nothing to do.
            bare(scene.layout.path(), arguments).run();
            let gc = Cmd::gc(scene.layout.path()).run();
            gc.ok();
            let twin = crate::rm::crash::scene();
            bare(twin.layout.path(), arguments).run().ok();
            if !is_early {
                assert_eq!(scene.digest(), digest, "{}", gc.all());
            }
            assert_eq!(
                crate::support::blobs(scene.layout.path()),
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
fn killed_at_any_rename_or_sync_of_a_removal_nothing_listed_is_lost() {
    if !can_inject() {
        return;
    }
    for calls in [RENAME, SYNC] {
        let mut when = 1;
        loop {
            let scene = scene();
            let run = with_fault(
                scene.layout.path(),
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
            let is_old = scene.assert_whole(&run);
            let again = bare(scene.layout.path(), ["multi:1"]).run();
            again.exits(if is_old { 0 } else { 1 });
            Cmd::gc(scene.layout.path()).run().ok();
            assert_eq!(
                crate::support::blobs(scene.layout.path()).len(),
                parts(&scene.other).len(),
                "{}",
                run.all()
            );
            when += 1;
        }
    }
}

#[test]
fn a_rename_that_fails_changes_nothing_and_leaves_no_temporary_file() {
    if !can_inject() {
        return;
    }
    for error in ["EIO", "EROFS", "EACCES"] {
        for when in 1..=2 {
            let scene = scene();
            let before = without_directory_times(&snapshot(scene.layout.path()));
            let run = with_fault(
                scene.layout.path(),
                &DROP,
                RENAME,
                &format!("error={error}"),
                when,
            );
            run.exits(4).warns("ocisweep: cannot write");
            assert_eq!(run.stdout, "", "{}", run.all());
            let mut after = without_directory_times(&snapshot(scene.layout.path()));
            // The new index may be there as an orphan: it was written first.
            after.retain(|path, _| {
                before.contains_key(path) || when == 1 || !path.starts_with("blobs")
            });
            assert_same(&before, &after, &run.all());
            assert_no_litter(scene.layout.path(), &run.all());
            bare(scene.layout.path(), DROP).run().ok();
        }
    }
}

#[test]
fn a_blob_that_cannot_be_deleted_is_reported_and_does_not_stop_the_others() {
    if !can_inject() {
        return;
    }
    let scene = scene();
    // The first two take the old manifest.json and the old index.json away, which bear temporary names by then.
    let run = with_fault(scene.layout.path(), &["multi:1"], UNLINK, "error=EPERM", 3);
    run.exits(1)
        .warns("ocisweep: cannot delete `")
        .warns(scene.index.hex());
    run.keeps_quiet_about(&format!("Deleted: {}", scene.index.digest));
    run.says(&format!("Deleted: {}\n", scene.images[0].manifest.digest));
    assert_here(&scene.layout, [&scene.index], &run);
    assert!(
        !has(&scene.layout, &scene.images[1].manifest),
        "{}",
        run.all()
    );
    assert_eq!(scene.digest(), None, "{}", run.all());
    scene.assert_whole(&run);
}
