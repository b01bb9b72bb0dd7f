//! `gc` on layouts of other programs: what must be kept is kept to the byte, garbage is deleted, and the numbers are true.
//!
//! The expected blobs come from `testdata/corpus/<case>.json`; see `testdata/README.md`. [`scenarios`] runs `rm` on the same
//! layouts, and [`unique`] compares `df` and `why` for each image.

mod forgetful;
mod scenarios;
mod unique;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::snapshot::What;
use crate::support::{
    CaseLayout, Cmd, Snapshot, Unpacked, assert_same, blobs, cases, for_each, snapshot, unpack,
    without_directory_times,
};

/// Cases in which no layout may be swept, with the directories to try.
const REFUSED: [(&str, &[&str]); 4] = [
    ("skopeo-dir", &["."]),
    ("skopeo-dir-v2s2", &["."]),
    ("skopeo-shared", &["one", "two"]),
    ("lxc-shared", &["c1/oci", "c2/oci"]),
];

/// A layout of the corpus on disk, and a snapshot of its whole case before anything ran.
struct Bench {
    unpacked: Unpacked,
    layout: PathBuf,
    before: Snapshot,
    sizes: BTreeMap<String, u64>,
}

impl Bench {
    fn new(case: &CaseLayout) -> Self {
        let (unpacked, layout) = case.unpack();
        refresh_temporary_files(&layout);
        Self {
            before: snapshot(&unpacked.root),
            sizes: blobs(&layout),
            unpacked,
            layout,
        }
    }

    fn now(&self) -> Snapshot {
        snapshot(&self.unpacked.root)
    }

    /// The snapshot before, without the files of these blobs.
    fn before_without(&self, gone: &BTreeSet<String>) -> Snapshot {
        let inside = self.layout.strip_prefix(&self.unpacked.root);
        let inside = inside.expect("the layout is in the case");
        let mut picture = self.before.clone();
        for digest in gone {
            let path = inside.join("blobs").join(digest.replacen(':', "/", 1));
            assert!(picture.remove(&path).is_some(), "the corpus lacks {digest}");
        }
        picture
    }

    fn sizes_of(&self, digests: &BTreeSet<String>) -> BTreeMap<String, u64> {
        self.sizes
            .iter()
            .filter(|(digest, _)| digests.contains(*digest))
            .map(|(digest, size)| (digest.clone(), *size))
            .collect()
    }
}

/// Makes writers' temporary files as recent as they were when the writer ran; the archives are older than any limit.
fn refresh_temporary_files(layout: &Path) {
    for path in temporary_files(layout) {
        crate::support::layout::set_modified(&path, SystemTime::now());
    }
}

fn temporary_files(layout: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(layout).expect("the layout can be listed") {
        let file = file.expect("the layout can be listed");
        if file
            .file_name()
            .to_string_lossy()
            .starts_with("oci-put-blob")
        {
            found.push(file.path());
        }
    }
    found
}

/// All layouts that can be swept on their own.
fn sweepable() -> Vec<CaseLayout> {
    let refused: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
    cases()
        .into_iter()
        .filter(|case| !refused.contains(&case.name.as_str()))
        .flat_map(|case| {
            assert!(!case.layouts.is_empty(), "{} has no layout", case.name);
            case.layouts
        })
        .collect()
}

#[test]
fn the_corpus_is_complete_and_describes_itself() {
    let cases = cases();
    assert_eq!(cases.len(), 70, "cases in testdata/corpus");
    for_each(sweepable(), CaseLayout::label, |case| {
        let bench = Bench::new(case);
        let keep = case.expected("keep");
        let garbage = case.expected("garbage");
        let here: BTreeSet<String> = bench.sizes.keys().cloned().collect();
        assert!(
            keep.is_disjoint(&garbage),
            "a blob is both kept and garbage"
        );
        assert_eq!(keep.union(&garbage).cloned().collect::<BTreeSet<_>>(), here);
    });
}

#[test]
fn deletes_the_garbage_of_every_writer_and_nothing_else() {
    for_each(sweepable(), CaseLayout::label, |case| {
        let bench = Bench::new(case);
        let garbage = case.expected("garbage");
        let run = Cmd::gc(&bench.layout).run();
        run.ok();
        let left: BTreeSet<String> = blobs(&bench.layout).into_keys().collect();
        assert_eq!(left, case.expected("keep"), "blobs left\n{}", run.all());
        // Modes, times and bytes of everything that is kept; only directories may show that names were removed.
        assert_same(
            &without_directory_times(&bench.before_without(&garbage)),
            &without_directory_times(&bench.now()),
            &run.all(),
        );
    });
}

#[test]
fn a_dry_run_announces_what_the_run_does_and_changes_nothing() {
    for_each(sweepable(), CaseLayout::label, |case| {
        let bench = Bench::new(case);
        let garbage = bench.sizes_of(&case.expected("garbage"));

        let dry = Cmd::gc_json(&bench.layout).arg("-n").run();
        let announced = dry.ok().report();
        assert!(announced.dry_run, "{}", dry.all());
        assert_eq!(announced.deleted(), garbage, "announced\n{}", dry.all());
        assert_same(&bench.before, &bench.now(), &dry.all());

        let run = Cmd::gc_json(&bench.layout).run();
        let done = run.ok().report();
        assert!(!done.dry_run, "{}", run.all());
        assert_eq!(done.deleted(), garbage, "done\n{}", run.all());
        assert_eq!(
            announced.freed_bytes,
            done.freed_bytes,
            "freed\n{}{}",
            dry.all(),
            run.all()
        );
        assert_eq!(
            announced.deleted_bytes,
            done.deleted_bytes,
            "{}{}",
            dry.all(),
            run.all()
        );
        assert_eq!(
            announced.deleted_blobs,
            done.deleted_blobs,
            "{}{}",
            dry.all(),
            run.all()
        );
    });
}

#[test]
fn the_freed_bytes_are_those_that_the_disk_gained() {
    for_each(sweepable(), CaseLayout::label, |case| {
        let bench = Bench::new(case);
        let run = Cmd::gc_json(&bench.layout).run();
        let report = run.ok().report();
        let length = |picture: &Snapshot| -> u64 {
            let files = picture.values().filter(|stat| stat.what == What::File);
            files.map(|stat| stat.size).sum()
        };
        let difference = length(&bench.before).checked_sub(length(&bench.now()));
        assert_eq!(Some(report.freed_bytes), difference, "{}", run.all());
        assert_eq!(report.freed_bytes, report.deleted_bytes, "{}", run.all());
        let listed: u64 = report.deleted().values().sum();
        assert_eq!(report.deleted_bytes, listed, "{}", run.all());
        let count = u64::try_from(report.deleted().len()).expect("a count fits");
        assert_eq!(report.deleted_blobs, count, "{}", run.all());
    });
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    for_each(sweepable(), CaseLayout::label, |case| {
        let bench = Bench::new(case);
        Cmd::gc(&bench.layout).run().ok();
        let swept = bench.now();
        let again = Cmd::gc(&bench.layout).run();
        again.ok().says("Total reclaimed space: 0B");
        assert_same(
            &without_directory_times(&swept),
            &without_directory_times(&bench.now()),
            &again.all(),
        );
        let report = Cmd::gc_json(&bench.layout).run().ok().report();
        assert_eq!(report.deleted(), BTreeMap::new());
        assert_eq!(report.freed_bytes, 0);
    });
}

#[test]
fn many_layouts_are_swept_in_one_call_as_one_by_one() {
    let layouts = sweepable();
    let benches: Vec<Bench> = layouts.iter().map(Bench::new).collect();
    let paths = benches.iter().map(|bench| bench.layout.clone());
    let run = Cmd::new(["gc"])
        .args(paths)
        .args(["--grace", "0", "--format", "json"])
        .run();
    let report = run.ok().report();
    assert_eq!(report.layouts.len(), benches.len());
    let mut bytes = 0_u64;
    for (case, bench) in layouts.iter().zip(&benches) {
        let garbage = case.expected("garbage");
        bytes = bytes.saturating_add(bench.sizes_of(&garbage).values().sum());
        assert_same(
            &without_directory_times(&bench.before_without(&garbage)),
            &without_directory_times(&bench.now()),
            &case.label(),
        );
    }
    assert_eq!(report.freed_bytes, bytes);
}

#[test]
fn refuses_paths_without_a_layout_or_with_shared_blobs_and_changes_nothing() {
    let mut tries = Vec::new();
    for (name, directories) in REFUSED {
        for directory in directories {
            tries.push((name, *directory));
        }
    }
    for_each(
        tries,
        |(name, directory)| format!("{name} ({directory})"),
        |(name, directory)| {
            let unpacked = unpack(name);
            let layout = unpacked.layout(directory);
            let before = snapshot(&unpacked.root);
            for dry in [true, false] {
                let run = Cmd::gc(&layout).args(dry.then_some("-n")).run();
                run.refused().one_error_with_hint();
                assert_eq!(run.stdout, "", "a refusal has no result\n{}", run.all());
                assert_same(&before, &snapshot(&unpacked.root), &run.all());
            }
        },
    );
}

#[test]
fn stale_temporary_files_of_a_killed_writer_are_deleted_and_recent_ones_kept() {
    let interrupted: Vec<CaseLayout> = sweepable()
        .into_iter()
        .filter(|case| case.case == "skopeo-interrupted")
        .collect();
    for_each(interrupted, CaseLayout::label, |case| {
        let bench = Bench::new(case);
        let files = temporary_files(&bench.layout);
        assert_eq!(files.len(), 1, "the case has one temporary file");
        Cmd::gc(&bench.layout).run().ok();
        assert!(
            files.iter().all(|file| file.exists()),
            "a recent temporary file was deleted"
        );

        let two_days = Duration::from_secs(2 * 24 * 3600);
        let then = SystemTime::now().checked_sub(two_days);
        for file in &files {
            crate::support::layout::set_modified(file, then.expect("the clock is past 1970"));
        }
        let picture = bench.now();
        let dry = Cmd::gc(&bench.layout).arg("-n").run();
        dry.ok();
        assert_same(&picture, &bench.now(), &dry.all());
        let run = Cmd::gc(&bench.layout).run();
        run.ok();
        assert!(
            !files.iter().any(|file| file.exists()),
            "an old temporary file was kept\n{}",
            run.all()
        );
        let keep: BTreeSet<String> = blobs(&bench.layout).into_keys().collect();
        assert_eq!(keep, case.expected("keep"));
    });
}
