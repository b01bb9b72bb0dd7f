//! The trash on real disks: full ones, after a power loss, and with files that share bytes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command as Process;

use crate::mounts::Mount;
use crate::support::environment::{has_tools, memory_dir, skip};
use crate::support::{Cmd, Files, FullLayout, Run, for_each};

/// A kind of file system and its options.
type Make = fn() -> Option<Mount>;

/// Every kind, with its minimum size.
const KINDS: [(&str, Make); 3] = [
    ("tmpfs", || Mount::tmpfs("4m")),
    ("ext4", || Mount::disk("ext4", 16, &["-m", "0"])),
    ("xfs", || Mount::disk("xfs", 300, &[])),
];

fn run(words: &[&str], layout: &Path, more: &[&str]) -> Run {
    Cmd::new(words).arg(layout).args(more).run()
}

/// On xfs a new file takes more than one block; deleting a real layer makes room for it.
fn with_large_orphan(layout: &mut FullLayout) {
    let large = layout.builder.layer(&vec![b'l'; 1 << 20]);
    layout.orphans.push(large);
    layout.make_old();
}

const GC: &[&str] = &["gc", "--grace", "0", "--temp-age", "0s", "--trash"];
const RM: &[&str] = &["rm", "--grace", "0", "-f", "--trash"];

/// Makes a layout on a small disk of each kind.
fn on_each_disk(check: impl Fn(&mut Mount, &FullLayout)) {
    for_each(
        KINDS,
        |(kind, _)| (*kind).to_owned(),
        |(_, make)| {
            let Some(mut mount) = make() else { return };
            let mut layout = FullLayout::at(&mount.path().join("layout"));
            with_large_orphan(&mut layout);
            check(&mut mount, &layout);
        },
    );
}

#[test]
fn the_oldest_run_is_deleted_on_a_full_disk() {
    on_each_disk(|mount, layout| {
        run(GC, layout.path(), &[]).ok();
        let runs = || fs::read_dir(layout.path().join(".ocisweep/trash"));
        let old = runs().expect("there is a trash").next();
        let old = old.expect("there is a run").expect("it can be read").path();
        mount.fill();
        let temp = memory_dir();
        let log = temp.path().join("audit.jsonl");
        let audit = ["app:1", "--audit-log", log.to_str().expect("UTF-8")];
        let rm = run(RM, layout.path(), &audit);
        rm.ok().says("Moved to trash: ");
        assert!(!old.exists(), "the oldest run still exists\n{}", rm.all());
        // It was announced, and its blobs are in the log.
        let text = fs::read_to_string(&log).expect("there is a log");
        let name = old.file_name().expect("a name").to_string_lossy();
        let of_run = |event: &str| {
            let event = format!(r#""event":"{event}""#);
            let mut lines = text.lines().filter(|line| line.contains(&event));
            lines.any(|line| line.contains(&*name))
        };
        for event in ["may-empty", "empty", "delete"] {
            assert!(of_run(event), "{event}\n{text}\n{}", rm.all());
        }
        assert!(text.contains("the disk was full"), "{text}");
        assert!(Files::of(layout.path()).broken().is_empty(), "{}", rm.all());
        run(&["undo"], layout.path(), &[]).ok();
        assert!(
            layout
                .builder
                .join(&layout.one.manifest.blob_path())
                .is_file()
        );
    });
}

#[test]
fn a_full_disk_without_a_run_has_a_hint() {
    on_each_disk(|mount, layout| {
        mount.fill();
        let before = Files::of(layout.path());
        for (words, more) in [(GC, &[][..]), (RM, &["app:1"])] {
            let full = run(words, layout.path(), more);
            full.exits(4)
                .warns("No space left on device")
                .warns("`--trash=0` deletes immediately");
            let differences = Files::of(layout.path()).differences(&before);
            assert!(differences.is_empty(), "{differences}\n{}", full.all());
        }
        let free = ["rm", "--grace", "0", "-f", "--trash=0"];
        run(&free, layout.path(), &["app:1"]).ok().says("Deleted: ");
    });
}

fn sync(path: &Path) {
    let dir = File::open(path).expect("a directory can be opened");
    rustix::fs::syncfs(dir).expect("everything can be flushed");
}

/// Stops the file system without another write, and mounts it again.
fn cut(mount: &mut Mount) {
    let output = Process::new("xfs_io")
        .args(["-x", "-c", "shutdown"])
        .arg(mount.path())
        .output();
    let output = output.expect("`xfs_io` can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    mount.unmount();
    mount.mount().expect("the file system can be used again");
}

/// Returns the names of blobs, in the layout and in its trash.
fn places(layout: &Path) -> BTreeSet<String> {
    let files = Files::of(layout);
    let names = files.paths().into_iter().filter_map(|path| {
        let name = path.rsplit('/').next()?;
        (name.len() == 64).then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn named_images_are_intact_and_nothing_is_lost_after_a_power_loss() {
    if !has_tools(&["xfs_io"]) {
        return;
    }
    let kinds: [(&str, Make); 2] = [
        ("ext4", || Mount::disk("ext4", 32, &[])),
        ("xfs", || Mount::disk("xfs", 300, &[])),
    ];
    // Names that another program's fsync flushes to disk, and nothing that was not flushed explicitly.
    let cases = kinds
        .into_iter()
        .flat_map(|kind| [false, true].map(|names| (kind, names)))
        .flat_map(|case| [false, true].map(|undoes| (case, undoes)));
    for_each(
        cases,
        |(((kind, _), names), undoes)| format!("{kind}, names: {names}, undo: {undoes}"),
        |(((_, make), names), undoes)| {
            let Some(mut mount) = make() else { return };
            let layout = FullLayout::at(&mount.path().join("layout"));
            let path = layout.path().to_owned();
            let blobs = places(&path);
            let index = fs::read(path.join("index.json")).expect("it is there");
            sync(mount.path());
            let mut last = run(RM, &path, &["app:1", "multi:1"]);
            last.ok();
            if *undoes {
                sync(mount.path());
                last = run(&["undo"], &path, &[]);
                last.ok();
            }
            if *names {
                let other = File::create(mount.path().join("other")).expect("there is room");
                other.sync_all().expect("a file can be flushed");
            }
            cut(&mut mount);
            let broken = Files::of(&path).broken();
            assert!(broken.is_empty(), "{broken:?}\n{}", last.all());
            let lost: Vec<_> = blobs.difference(&places(&path)).cloned().collect();
            assert!(
                lost.is_empty(),
                "in neither place: {lost:?}\n{}",
                last.all()
            );
            let back = run(&["undo"], &path, &[]);
            back.ok();
            let now = fs::read(path.join("index.json")).expect("it is there");
            assert!(now == index, "{}", back.all());
            let broken = Files::of(&path).broken();
            assert!(broken.is_empty(), "{broken:?}\n{}", back.all());
        },
    );
}

/// Returns the number of free bytes.
fn free(path: &Path) -> u64 {
    let found = rustix::fs::statvfs(path).expect("it can be asked");
    found.f_bavail * found.f_frsize
}

#[test]
fn a_repair_shares_bytes_if_the_file_system_supports_it() {
    let kinds: [(&str, Make, bool); 3] = [
        ("btrfs", || Mount::disk("btrfs", 256, &[]), true),
        (
            "xfs",
            || Mount::disk("xfs", 300, &["-m", "reflink=1"]),
            true,
        ),
        ("ext4", || Mount::disk("ext4", 256, &[]), false),
    ];
    const LARGE: usize = 24 << 20;
    for_each(
        kinds,
        |(kind, ..)| (*kind).to_owned(),
        |(kind, make, shares)| {
            let Some(mount) = make() else { return };
            let bytes = vec![b'l'; LARGE];
            let mut layouts = ["mirror", "layout"].map(|name| {
                let mut layout = crate::support::LayoutBuilder::at(&mount.path().join(name));
                let image = layout.image("linux/amd64", "large", &[&bytes, b"small"]);
                layout.tag(&image.manifest, "app:1").write();
                (layout, image)
            });
            let (layout, image) = &mut layouts[1];
            let large = layout.join(&image.layers[0].blob_path());
            fs::remove_file(layout.join(&image.manifest.blob_path())).expect("it is there");
            fs::remove_file(&large).expect("it is there");
            fs::write(layout.join(&image.layers[1].blob_path()), "s").expect("it can be written");
            sync(mount.path());
            let before = free(mount.path());
            let mirror = mount.path().join("mirror");
            let repair = || {
                let words = ["check", "--repair", "--from"];
                Cmd::new(words).arg(&mirror).arg(layout.path()).run()
            };
            let run = repair();
            run.ok();
            assert_eq!(run.stdout.matches("Repaired: ").count(), 3, "{}", run.all());
            sync(mount.path());
            let taken = before.saturating_sub(free(mount.path()));
            if *shares && taken > LARGE as u64 / 2 {
                panic!("{taken} bytes more on {kind}\n{}", run.all());
            }
            assert!(fs::read(&large).expect("it is there") == bytes);
            // A file of the mirror under the name of another digest is not used.
            fs::remove_file(&large).expect("it is there");
            let theirs = mirror.join(image.layers[0].blob_path());
            let mut wrong = bytes.clone();
            wrong[LARGE / 2] = b'X';
            fs::write(theirs, wrong).expect("it can be written");
            let refused = repair();
            refused.exits(1).keeps_quiet_about("Repaired: ");
            assert!(!large.exists(), "{}", refused.all());
            if !*shares {
                skip(&format!("{kind} shares no bytes: copied"));
            }
        },
    );
}
