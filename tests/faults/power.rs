//! A power loss: the file system stops, and what was not flushed to disk is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Command as Process;

use crate::commands::{Command, GC, HOLD_ADD, RM, RM_ALL, RM_PLATFORM, RM_SPARSE};
use crate::mounts::Mount;
use crate::support::environment::has_tools;
use crate::support::{Cmd, Desc, Files, FullLayout, Run, for_each};

/// A kind of file system and its options.
type Make = fn() -> Option<Mount>;

const KINDS: [(&str, Make); 2] = [
    ("ext4", || Mount::disk("ext4", 32, &[])),
    ("xfs", || Mount::disk("xfs", 300, &[])),
];

/// The part of the last writes that reached the disk.
#[derive(Clone, Copy, Debug)]
enum Last {
    /// Nothing that was not flushed explicitly.
    Nothing,
    /// All names and deletions, because another program flushed a file of its own, but no content.
    Names,
}

/// Puts a fixture on a disk of each kind, runs `work` on it, cuts the power, and inspects what is left.
fn on_disks(work: impl Fn(&mut FullLayout) -> Run, look: impl Fn(&FullLayout, &Run)) {
    if !has_tools(&["xfs_io"]) {
        return;
    }
    let cases = KINDS
        .into_iter()
        .flat_map(|kind| [(kind, Last::Nothing), (kind, Last::Names)]);
    for_each(
        cases,
        |((kind, _), last)| format!("{kind}, {last:?}"),
        |((_, make), last)| {
            let Some(mut mount) = make() else { return };
            let mut fixture = FullLayout::at(&mount.path().join("layout"));
            sync(mount.path());
            let run = work(&mut fixture);
            if matches!(last, Last::Names) {
                let other = File::create(mount.path().join("other")).expect("there is room");
                other.sync_all().expect("a file can be flushed");
            }
            cut(mount.path());
            mount.unmount();
            mount.mount().expect("the file system can be used again");
            look(&fixture, &run);
        },
    );
}

fn sync(path: &Path) {
    let dir = File::open(path).expect("a directory can be opened");
    rustix::fs::syncfs(dir).expect("everything can be flushed");
}

/// Stops the file system without another write.
fn cut(path: &Path) {
    let output = Process::new("xfs_io")
        .args(["-x", "-c", "shutdown"])
        .arg(path)
        .output();
    let output = output.expect("`xfs_io` can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Panics if an entry, a hold or a docker-save element has lost a blob.
#[track_caller]
fn is_whole(fixture: &FullLayout, run: &Run) {
    let broken = Files::of(fixture.path()).broken();
    let broken: Vec<_> = broken.into_values().collect();
    assert!(broken.is_empty(), "{}\n{}", broken.join("\n"), run.all());
}

#[test]
fn the_changes_of_a_command_survive_a_power_loss() {
    let commands: [Command; 5] = [RM, RM_ALL, RM_PLATFORM, RM_SPARSE, HOLD_ADD];
    for command in commands {
        let judge = command.judge();
        on_disks(
            |fixture| {
                let run = Cmd::new(command.on(fixture.path())).run();
                run.ok();
                run
            },
            |fixture, run| {
                judge.check(fixture.path(), &run.all());
                let after = Files::of(fixture.path());
                for file in ["index.json", "manifest.json", ".ocisweep/holds.json"] {
                    assert_eq!(
                        after.get(file),
                        judge.after.get(file),
                        "{file}\n{}",
                        run.all()
                    );
                }
            },
        );
    }
}

/// How other programs write `index.json`: in place, and without flushing it.
#[derive(Clone, Copy, Debug)]
enum Writer {
    /// skopeo, oras, crane: truncates the file first.
    Emptying,
    /// BuildKit: overwrites it and truncates the rest.
    Cutting,
}

impl Writer {
    fn write(self, path: &Path, bytes: &[u8]) {
        let mut options = OpenOptions::new();
        options.write(true).truncate(matches!(self, Self::Emptying));
        let mut file = options.open(path).expect("the index can be opened");
        file.write_all(bytes).expect("there is room");
        let length = file.stream_position().expect("a file has a position");
        file.set_len(length).expect("a file can be cut");
    }

    /// Lists these in `index.json` and in no other file.
    fn list(self, fixture: &mut FullLayout, entries: &[(&Desc, &str)]) {
        let path = fixture.builder.join("index.json");
        let before = fs::read(&path).expect("the index can be read");
        fixture.builder.clear_entries();
        for (desc, tag) in entries {
            fixture.builder.tag(desc, tag);
        }
        fixture.builder.write();
        // docker's list names the image as well, which this writer ignores.
        fixture
            .builder
            .remove("manifest.json")
            .remove("repositories");
        let after = fs::read(&path).expect("the index can be read");
        // Only the write of this writer is not on disk.
        fs::write(&path, before).expect("there is room");
        sync(fixture.path());
        self.write(&path, &after);
    }
}

#[test]
fn an_old_index_that_returns_after_a_power_loss_has_its_blobs() {
    for writer in [Writer::Emptying, Writer::Cutting] {
        on_disks(
            |fixture| {
                let (two, multi) = (fixture.two.manifest.clone(), fixture.multi.clone());
                writer.list(fixture, &[(&two, "app:2"), (&multi, "multi:1")]);
                let run = Cmd::new(GC.on(fixture.path())).run();
                run.ok();
                assert!(!fixture.has(&fixture.one.manifest), "{}", run.all());
                run
            },
            is_whole,
        );
    }
}

#[test]
fn an_unflushed_new_image_is_flushed_before_the_old_one_is_removed() {
    for writer in [Writer::Emptying, Writer::Cutting] {
        on_disks(
            |fixture| {
                let (two, multi) = (fixture.two.manifest.clone(), fixture.multi.clone());
                let entries = [(&two, "app:2"), (&multi, "multi:1")];
                writer.list(fixture, &entries);
                // The tag moves to an image that is only in memory.
                let new =
                    fixture
                        .builder
                        .image("linux/amd64", "new", &[b"base layer", b"new layer"]);
                let index = fixture.builder.join("index.json");
                let text = fs::read_to_string(&index).expect("the index can be read");
                let text = text.replace(&two.digest, &new.manifest.digest).replace(
                    &format!("\"size\":{}", two.size),
                    &format!("\"size\":{}", new.manifest.size),
                );
                assert!(text.contains(&new.manifest.digest), "{text}");
                writer.write(&index, text.as_bytes());
                Cmd::new(["hold", "rm"])
                    .arg(fixture.path())
                    .arg("release")
                    .run()
                    .ok();
                let run = Cmd::new(GC.on(fixture.path())).run();
                run.ok();
                assert!(!fixture.has(&two), "{}", run.all());
                run
            },
            is_whole,
        );
    }
}
