//! `--metrics`: numbers for a monitoring system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::environment::memory_dir;
use crate::support::{
    Cmd, ImageBuilder, LayoutBuilder, Run, TestLayout, assert_same, blobs, snapshot,
};

fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    shelf.named("app:1", 10, &ImageBuilder::new("app").weighs(5000));
    shelf.layout.layer(b"nothing references this");
    shelf.write();
    shelf
}

fn gc(layout: &Path, file: &Path) -> Run {
    Cmd::gc(layout).arg("--metrics").arg(file).run()
}

/// Parses samples of the format: name, labels, value.
fn samples(file: &Path) -> BTreeMap<String, (String, f64)> {
    let text = fs::read_to_string(file).expect("there is a file");
    let mut found = BTreeMap::new();
    let mut last = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            last.push(comment.to_owned());
            continue;
        }
        let (name, rest) = line.split_once('{').expect("labels");
        let (labels, value) = rest.rsplit_once("} ").expect("a value");
        let [help, kind] = &last[..] else {
            panic!("each sample has its help and its type: {text}");
        };
        assert!(help.starts_with(&format!("HELP {name} ")), "{help}");
        let kinds = ["gauge", "counter"].map(|kind| format!("TYPE {name} {kind}"));
        assert!(kinds.contains(kind), "{kind}");
        last.clear();
        let value: f64 = value.parse().expect("a number");
        let name = name.strip_prefix("ocisweep_").expect("our prefix");
        let twice = found.insert(name.to_owned(), (labels.to_owned(), value));
        assert_eq!(twice, None, "{name} is there twice");
    }
    found
}

fn value(samples: &BTreeMap<String, (String, f64)>, name: &str) -> f64 {
    let found = samples.get(name);
    found.unwrap_or_else(|| panic!("no {name}: {samples:?}")).1
}

#[test]
fn the_numbers_are_those_of_the_run_and_counters_continue() {
    let shelf = shelf();
    let temp = memory_dir();
    let file = temp.path().join("ocisweep.prom");
    let before: u64 = blobs(shelf.path()).values().sum();
    gc(shelf.path(), &file).ok();
    let after: u64 = blobs(shelf.path()).values().sum();
    let first = samples(&file);
    let is = |name: &str, want: u64| {
        let want = want as f64;
        assert_eq!(value(&first, name), want, "{name}: {first:?}");
    };
    is("last_run_success", 1);
    is("last_run_exit_status", 0);
    is("last_run_layouts", 1);
    is("last_run_deleted_files", 1);
    is("last_run_reclaimed_bytes", before - after);
    is("reclaimed_bytes_total", before - after);
    is("layout_bytes", after);
    is("runs_total", 1);
    is("failures_total", 0);
    let ended = value(&first, "last_run_timestamp_seconds");
    assert_eq!(value(&first, "last_success_timestamp_seconds"), ended);
    assert!(value(&first, "last_run_duration_seconds") >= 0.0);
    let path = shelf.path().display();
    let labels = format!("command=\"gc\",target=\"{path}\"");
    assert!(first.values().all(|(own, _)| *own == labels), "{first:?}");

    // A reader that has the old file open still reads the old numbers.
    let inode = fs::metadata(&file).expect("a file").ino();
    shelf.layout.file("index.json", b"{");
    gc(shelf.path(), &file).exits(3);
    assert_ne!(fs::metadata(&file).expect("a file").ino(), inode);
    let second = samples(&file);
    assert_eq!(value(&second, "last_run_success"), 0.0);
    assert_eq!(value(&second, "last_run_exit_status"), 3.0);
    assert_eq!(value(&second, "last_success_timestamp_seconds"), ended);
    assert!(value(&second, "last_run_timestamp_seconds") > ended);
    assert_eq!(value(&second, "runs_total"), 2.0);
    assert_eq!(value(&second, "failures_total"), 1.0);
    let total = (before - after) as f64;
    assert_eq!(value(&second, "reclaimed_bytes_total"), total);
    assert_eq!(value(&second, "last_run_reclaimed_bytes"), 0.0);

    // Another command has its own counters.
    shelf.write();
    let words = ["prune", "-f", "--metrics"];
    Cmd::new(words).arg(&file).arg(shelf.path()).run().ok();
    assert_eq!(value(&samples(&file), "runs_total"), 1.0);
}

#[test]
fn labels_are_escaped() {
    let temp = memory_dir();
    let path = temp.path().join("a \"b\"\n\\c");
    let mut layout = LayoutBuilder::at(&path);
    let image = layout.image("linux/amd64", "app", &[b"layer"]);
    layout.tag(&image.manifest, "app:1").write();
    let file = temp.path().join("ocisweep.prom");
    gc(&path, &file).ok();
    let text = fs::read_to_string(&file).expect("a file");
    let target = format!(r#"target="{}/a \"b\"\n\\c"}} "#, temp.path().display());
    assert!(text.contains(&target), "{text}");
    assert!(
        text.lines()
            .all(|line| line.starts_with("# ") || line.starts_with("ocisweep_"))
    );
    gc(&path, &file).ok();
    assert!(fs::read_to_string(&file).expect("a file").contains("} 2\n"));
}

#[test]
fn rm_and_apply_write_them_and_dry_runs_do_not() {
    let shelf = shelf();
    let temp = memory_dir();
    let file = temp.path().join("ocisweep.prom");
    let plan = temp.path().join("plan.json");
    let words = ["prune", "--grace", "0", "--metrics"];
    let dry = Cmd::new(words).arg(&file).arg("--plan").arg(&plan);
    dry.arg(shelf.path()).run().ok();
    assert!(!file.exists(), "nothing was changed");
    let words = ["apply", "--metrics"];
    Cmd::new(words).arg(&file).arg(&plan).run().ok();
    assert_eq!(value(&samples(&file), "last_run_deleted_files"), 1.0);
    let words = ["rm", "--metrics"];
    let rm = Cmd::new(words).arg(&file).arg(shelf.path()).arg("app:1");
    rm.run().ok();
    assert!(value(&samples(&file), "last_run_deleted_files") > 1.0);
    rm.run().exits(1);
    assert_eq!(value(&samples(&file), "last_run_success"), 0.0);
}

#[test]
fn a_file_of_another_kind_is_kept_and_nothing_is_changed() {
    let shelf = shelf();
    let temp = memory_dir();
    let other = temp.path().join("node.prom");
    fs::write(&other, "# HELP node_x X.\n").expect("a file can be written");
    let before = snapshot(shelf.path());
    let index = shelf.path().join("index.json");
    for file in [&other, &index, &temp.path().join("absent/x.prom")] {
        let run = gc(shelf.path(), file);
        run.exits(4).warns("nothing was changed");
        assert_same(&before, &snapshot(shelf.path()), &run.all());
    }
    let text = fs::read_to_string(&other).expect("the file is there");
    assert_eq!(text, "# HELP node_x X.\n");
}
