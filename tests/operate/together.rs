//! One budget for several layouts, and keep rules that count in all of them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use arbtest::arbitrary::{self, Unstructured};
use arbtest::arbtest;
use serde_json::Value;

use crate::support::dated::{NOW, days_ago};
use crate::support::environment::{Terminal, in_namespace, memory_dir};
use crate::support::{
    Cmd, ImageBuilder, LayoutBuilder, Run, TestDir, TestLayout, assert_same, blobs, listed,
    snapshot,
};
use crate::world::cases::{each_seed, varied};
use crate::world::draw;
use crate::world::features::Features;
use crate::world::write::write_to;

/// Three layouts below a directory, in which the oldest images of the tree are not those that a budget per layout would
/// remove.
struct Tree {
    dir: TestDir,
}

/// Name, age in days; each image has 100 kB of its own.
const IMAGES: [(&str, &[(&str, u64)]); 3] = [
    ("a", &[("app:1", 50), ("app:2", 40), ("app:3", 5)]),
    ("b", &[("web:1", 30), ("web:2", 20)]),
    ("c", &[("db:1", 45), ("db:2", 10)]),
];

impl Tree {
    fn new() -> Self {
        let tree = Self {
            dir: TestDir::new(),
        };
        for (layout, images) in IMAGES {
            let mut shelf = TestLayout::at(&tree.path(layout));
            for (name, days) in images {
                shelf.named(name, *days, &ImageBuilder::new(name).weighs(100_000));
            }
            shelf.write();
        }
        tree
    }

    /// Holds an image of a layout as `release`.
    fn hold(&self, layout: &str, image: &str) {
        let hold = Cmd::new(["hold", "add", "--now", NOW]).arg(self.path(layout));
        hold.args(["release", image]).run().ok();
    }

    fn path(&self, layout: &str) -> PathBuf {
        self.dir.join("tree").join(layout)
    }

    fn call(&self, args: &[&str]) -> Cmd {
        let words = ["prune", "-a", "--now", NOW, "-r", "tree"];
        Cmd::new(words).args(args).current_dir(self.dir.path())
    }

    #[track_caller]
    fn prune(&self, args: &[&str]) -> Run {
        self.call(&["-f"]).args(args).run()
    }

    /// Returns the remaining names.
    fn names(&self) -> Vec<String> {
        let layouts = IMAGES.iter().map(|(layout, _)| listed(&self.path(layout)));
        layouts.flatten().flat_map(|(_, names)| names).collect()
    }

    fn snapshots(&self) -> Vec<crate::support::Snapshot> {
        let layouts = IMAGES.iter().map(|(layout, _)| self.path(layout));
        layouts.map(|path| snapshot(&path)).collect()
    }
}

/// Returns the names that a document removes, with the reasons.
fn removed(json: &Value) -> Vec<(String, String)> {
    let layouts = json["layouts"].as_array().expect("layouts");
    let items = layouts
        .iter()
        .flat_map(|layout| layout["items"].as_array().expect("items"));
    let removed = items.filter(|item| item["action"].as_str().expect("text").ends_with("remove"));
    removed
        .map(|item| {
            let text = |value: &Value| value[0].as_str().unwrap_or_default().to_owned();
            (text(&item["names"]), text(&item["reasons"]))
        })
        .collect()
}

#[test]
fn the_oldest_of_the_tree_are_removed_whatever_layout_they_are_in() {
    let oldest = "over the size budget of the tree, and the oldest";
    // Each image has some documents in addition to its 100 kB.
    for (size, gone) in [
        ("800kB", &[][..]),
        ("700kB", &["app:1"]),
        ("620kB", &["app:1"]),
        ("520kB", &["app:1", "db:1"]),
        ("420kB", &["app:1", "app:2", "db:1"]),
        ("320kB", &["app:1", "app:2", "web:1", "db:1"]),
    ] {
        let tree = Tree::new();
        let before = tree.snapshots();
        let json = tree.prune(&["-n", "--max-size", size, "--format", "json"]);
        let json = json.ok().json();
        let found = removed(&json);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, gone, "{size}");
        assert!(
            found.iter().all(|(_, reason)| reason == oldest),
            "{found:?}"
        );
        let budget = &json["budget"];
        assert_eq!(budget["scope"], "tree");
        assert_eq!(budget["layouts"], 3);
        assert_eq!(budget["reached"], true);
        for (before, after) in before.iter().zip(&tree.snapshots()) {
            assert_same(before, after, size);
        }
        let run = tree.prune(&["--max-size", size]);
        run.ok()
            .says(&format!("budget {size} for 3 layouts together: "));
        let left = tree.names();
        assert_eq!(left.len(), 7 - gone.len(), "{}", run.all());
        assert!(left.iter().all(|name| !gone.contains(&name.as_str())));
        let used = budget["used_bytes"].as_u64().expect("a number");
        let human = run.stdout.lines().last().expect("a line");
        assert!(human.contains(" remain"), "{human}");
        let stored: u64 = IMAGES
            .iter()
            .flat_map(|(layout, _)| crate::support::blobs(&tree.path(layout)).into_values())
            .sum();
        assert_eq!(used, stored, "{size}: {}", run.all());
        // There is nothing left to do.
        let again = tree.prune(&["--max-size", size]);
        again.ok().says("Total reclaimed space: 0B");
    }
}

#[test]
fn the_output_states_the_scope_of_the_budget() {
    let tree = Tree::new();
    // Every layout has less than that, and all together more.
    let run = tree.prune(&["-n", "--max-size", "350kB", "--group-by", "layout"]);
    run.ok()
        .says("budget 350kB for each of 3 layouts\n")
        .keeps_quiet_about("Would untag");
    let args = ["-n", "--max-size", "350kB", "--format", "json"];
    let json = tree.prune(&args).ok().json();
    assert_eq!(json["budget"]["scope"], "tree");
    let more = tree.prune(&[&args[..], &["--group-by", "layout"]].concat());
    assert_eq!(more.ok().json()["budget"]["scope"], "layout");
    // The layouts may also be given.
    let call = Cmd::new(["prune", "-n", "-a", "--now", NOW, "--max-size", "620kB"]);
    let paths = IMAGES.map(|(layout, _)| tree.path(layout));
    let run = paths.iter().fold(call, |call, path| call.arg(path)).run();
    run.ok()
        .says("Would untag: app:1\n")
        .says("budget 620kB for 3 layouts together: ");
    // A single layout is a tree as well.
    let run = tree.call(&["-n", "--max-size", "1MB"]).run();
    run.ok().says("together");
    let single = Cmd::new(["prune", "-n", "-a", "--now", NOW, "--max-size", "210kB"]);
    let run = single.arg(&paths[0]).run();
    run.ok()
        .says("Would untag: app:1\n")
        .keeps_quiet_about("budget");
    for words in ["layout,tree", "name,none", "disk"] {
        let run = tree.prune(&["-n", "--group-by", words]);
        run.exits(2).warns("--group-by");
    }
}

#[test]
fn images_protected_in_a_layout_are_protected_in_the_tree() {
    let tree = Tree::new();
    tree.hold("c", "db:1");
    let args = ["--max-size", "320kB", "--keep", "app:1"];
    let run = tree.prune(&args);
    run.ok();
    assert_eq!(tree.names(), ["app:1", "web:2", "db:1"], "{}", run.all());
}

#[test]
fn a_budget_that_cannot_be_reached_has_its_own_status() {
    let tree = Tree::new();
    tree.hold("c", "db:1");
    let args = ["--max-size", "50kB", "--keep", "app:*"];
    let run = tree.prune(&args);
    run.exits(5)
        .warns("cannot reduce 3 layouts together to 50kB: ")
        .warns("; --keep app:* keeps 3 images with ")
        .warns("; hold \"release\" keeps 1 image with ")
        .warns("the last image keeps 1 image with ");
    // The last image of each layout is kept as well.
    let left = ["app:1", "app:2", "app:3", "web:2", "db:1"];
    assert_eq!(tree.names(), left, "{}", run.all());
    let json = tree.prune(&[&args[..], &["--format", "json"]].concat());
    let json = json.exits(5).json();
    assert_eq!(json["budget"]["reached"], false);
    let held = json["budget"]["held"].as_array().expect("holders").len();
    assert_eq!(held, 3);
    let all = tree.prune(&["--max-size", "50kB", "--allow-empty"]);
    all.exits(5);
    assert_eq!(tree.names(), ["db:1"], "{}", all.all());
}

/// All of its bytes count, so that the others make room for it.
#[test]
fn a_damaged_layout_counts_and_nothing_is_removed_from_it() {
    let tree = Tree::new();
    let index = tree.path("a").join("index.json");
    fs::write(&index, b"{ half").expect("it can be written");
    let before = snapshot(&tree.path("a"));
    let run = tree.prune(&["--max-size", "520kB"]);
    run.exits(3);
    assert_same(&before, &snapshot(&tree.path("a")), &run.all());
    let left = |layout| listed(&tree.path(layout)).len();
    assert_eq!((left("b"), left("c")), (1, 1), "{}", run.all());
    let run = tree.prune(&["--max-size", "420kB"]);
    run.exits(3)
        .warns("; 1 layout that cannot be pruned with 30");
    assert_eq!((left("b"), left("c")), (1, 1), "{}", run.all());
}

/// A file in several layouts is one file on disk.
#[test]
fn hard_linked_blobs_count_once() {
    let dir = TestDir::new();
    let mut shelves = Vec::new();
    for layout in ["a", "b", "c"] {
        let mut shelf = TestLayout::at(&dir.join("tree").join(layout));
        let base = ImageBuilder::new("base").weighs(300_000);
        shelf.named("base:1", 50, &base);
        shelf.named(
            &format!("{layout}:1"),
            10,
            &ImageBuilder::new(layout).weighs(50_000),
        );
        shelf.write();
        shelves.push(shelf);
    }
    let first = crate::support::blobs(shelves[0].path());
    for other in &shelves[1..] {
        for digest in crate::support::blobs(other.path()).into_keys() {
            if first.contains_key(&digest) {
                let file = |shelf: &TestLayout| {
                    let hex = digest.trim_start_matches("sha256:");
                    shelf.path().join("blobs/sha256").join(hex)
                };
                fs::remove_file(file(other)).expect("it can be removed");
                fs::hard_link(file(&shelves[0]), file(other)).expect("a link can be made");
            }
        }
    }
    let prune = |size: &str| {
        let words = [
            "prune",
            "-f",
            "-a",
            "--now",
            NOW,
            "-r",
            "tree",
            "--max-size",
        ];
        Cmd::new(words).arg(size).current_dir(dir.path()).run()
    };
    let run = prune("500kB");
    run.ok().says("Total reclaimed space: 0B");
    // The base is deleted with its last layout.
    let run = prune("400kB");
    run.ok().says("Untagged: base:1");
    for shelf in &shelves {
        assert_eq!(listed(shelf.path()).len(), 1, "{}", run.all());
    }
}

#[test]
fn the_newest_of_the_tree_are_kept_by_repository() {
    let dir = TestDir::new();
    let shelf = |layout: &str, images: &[(&str, u64)]| {
        let mut shelf = TestLayout::at(&dir.join("tree").join(layout));
        for (name, days) in images {
            // The same name is the same image.
            shelf.small(name, *days);
        }
        shelf.write();
    };
    shelf(
        "a",
        &[("app:1", 50), ("app:3", 30), ("1.0", 90), ("2.0", 80)],
    );
    shelf(
        "b",
        &[("app:2", 40), ("app:4", 20), ("web:1", 60), ("3.0", 70)],
    );
    // A copy of an image does not take the place of another one, and is kept with it, whatever its age.
    shelf("c", &[("app:4", 70), ("app:0", 95), ("web:0", 96)]);
    let plan = |args: &[&str]| {
        let words = ["prune", "-n", "-v", "-a", "--now", NOW, "-r", "tree"];
        let run = Cmd::new(words).args(args).current_dir(dir.path()).run();
        run.ok();
        let lines = run.stdout.lines();
        let kept = lines.filter(|line| line.starts_with("keep "));
        let names = kept.filter_map(|line| line.split_whitespace().nth(2));
        let names: Vec<String> = names.map(str::to_owned).collect();
        (names, run)
    };
    // Without a name for it a bare tag belongs to its layout.
    let (kept, run) = plan(&["--keep-last", "2", "--group-by", "tree"]);
    let expected = [
        "app:3", "1.0", "2.0", "app:4", "web:1", "3.0", "app:4", "web:0",
    ];
    assert_eq!(kept, expected, "{}", run.all());
    run.says("(last 2 of app in the tree)").says("(last 2)");
    let (kept, run) = plan(&["--keep-last", "2"]);
    let expected = [
        "app:1", "app:3", "1.0", "2.0", "app:2", "app:4", "web:1", "3.0", "app:4", "app:0", "web:0",
    ];
    assert_eq!(kept, expected, "{}", run.all());
    let (kept, run) = plan(&["--keep-last", "3", "--group-by", "tree,none"]);
    assert_eq!(kept, ["app:3", "app:2", "app:4", "app:4"], "{}", run.all());
    run.says("(last 3 of the tree)");
    let (kept, run) = plan(&[
        "--keep-monthly",
        "1",
        "--keep",
        "web:0",
        "--group-by",
        "tree",
    ]);
    let expected = ["2.0", "app:4", "web:1", "3.0", "app:4", "web:0"];
    assert_eq!(kept, expected, "{}", run.all());
    run.says("(monthly 2026-11 of app in the tree)");
}

/// Images that another program adds between the plan and the run are kept, and nothing is removed in their place.
#[test]
fn no_more_than_planned_is_removed_from_a_layout_with_new_images() {
    let tree = Tree::new();
    let words = ["prune", "-a", "--now", NOW, "--max-size", "520kB"].map(str::to_owned);
    let paths = IMAGES.map(|(layout, _)| {
        let path = tree.path(layout).into_os_string().into_string();
        path.expect("paths of the tests are UTF-8")
    });
    let Some(terminal) = Terminal::program(words.into_iter().chain(paths), "") else {
        return;
    };
    let terminal = terminal.wait_for_question();
    // The oldest of all, and the newest.
    let mut shelf = TestLayout::at(&tree.path("b"));
    for (name, days) in [("web:1", 30), ("web:2", 20), ("web:0", 90), ("web:9", 1)] {
        shelf.named(name, days, &ImageBuilder::new(name).weighs(100_000));
    }
    shelf.write();
    let run = terminal.answer("y\n");
    run.exits(5)
        .says("Budget: 520kB for 3 layouts together")
        .says("cannot reduce 3 layouts together");
    let left = ["app:2", "app:3", "web:1", "web:2", "web:0", "web:9", "db:2"];
    assert_eq!(tree.names(), left, "{}", run.all());
}

/// Prunes copies of the layouts on a file system of two MiB.
fn on_small_disk(tree: &Tree, script: &str, args: &[&str]) -> Option<Run> {
    let temp = memory_dir();
    let place = temp.path().join("disk");
    fs::create_dir(&place).expect("a directory can be made");
    let words = ["prune", "-f", "-a", "--now", NOW, "-r", "tree"].into_iter();
    let words = words.chain(args.iter().copied());
    let source = tree.dir.join("tree");
    let before: [&OsStr; 2] = [place.as_os_str(), source.as_os_str()];
    in_namespace(Path::new("."), script, &before, words)
}

#[test]
fn all_layouts_free_the_disk_together() {
    const MOUNT: &str = r#"mount -t tmpfs -o size=1m tmpfs "$1" && cp -a "$2" "$1"/tree || exit 99
        place=$1; shift 2; cd "$place" && "$@""#;
    let tree = Tree::new();
    for (wanted, gone) in [
        ("100kB", &[][..]),
        ("300kB", &["app:1"]),
        ("400kB", &["app:1", "db:1"]),
        ("40%", &["app:1", "db:1"]),
    ] {
        let Some(run) = on_small_disk(&tree, MOUNT, &["--min-free", wanted]) else {
            return;
        };
        run.ok().says("of free space for 3 layouts together");
        let untagged: Vec<&str> = run
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("Untagged: "))
            .collect();
        assert_eq!(untagged, gone, "{wanted}: {}", run.all());
    }
    let run = on_small_disk(&tree, MOUNT, &["--min-free", "100%"]).expect("as before");
    run.exits(5)
        .warns("of the file system of 3 layouts, which has ")
        .warns("more are needed");
}

#[test]
fn layouts_on_several_file_systems_are_refused_for_disk_budgets() {
    const MOUNT: &str = r#"mount -t tmpfs -o size=2m tmpfs "$1" && cp -a "$2" "$1"/tree &&
        mkdir "$1"/other && mount -t tmpfs -o size=1m tmpfs "$1"/other && mv "$1"/tree/b "$1"/other || exit 99
        place=$1; shift 2; cd "$place" && "$@" other"#;
    let tree = Tree::new();
    for (args, what) in [
        (&["--min-free", "10%"][..], "`--min-free`"),
        (&["--max-size", "10%"], "`--max-size` in percent"),
    ] {
        let Some(run) = on_small_disk(&tree, MOUNT, args) else {
            return;
        };
        run.exits(2)
            .warns(&format!("cannot use {what}: "))
            .warns("are on different file systems")
            .keeps_quiet_about("Untagged");
    }
    // A number of bytes needs no disk.
    let run = on_small_disk(&tree, MOUNT, &["--max-size", "620kB"]).expect("as before");
    run.ok().says("Untagged: app:1");
}

/// `apply` executes the common decision in each layout.
#[test]
fn a_plan_of_several_layouts_is_applied() {
    let tree = Tree::new();
    let run = tree
        .call(&["--max-size", "420kB", "--plan", "plan.json"])
        .run();
    run.ok();
    assert_eq!(tree.names().len(), 7);
    let apply = Cmd::new(["apply", "plan.json"]);
    let run = apply.current_dir(tree.dir.path()).run();
    run.ok();
    assert_eq!(
        tree.names(),
        ["app:3", "web:1", "web:2", "db:2"],
        "{}",
        run.all()
    );
}

/// An image of a random tree: its layout, its name, its age, whether it is held, and its blobs with their bytes.
struct Drawn {
    layout: usize,
    name: String,
    hours: u64,
    is_held: bool,
    blobs: Vec<(String, u64)>,
}

/// The simplest algorithm: removes the oldest, one after another, until the rest fits.
fn expected(images: &[Drawn], max_size: u64) -> (BTreeSet<(usize, String)>, bool) {
    let mut left: Vec<&Drawn> = images.iter().collect();
    let mut by_age: Vec<&Drawn> = images.iter().filter(|image| !image.is_held).collect();
    by_age.sort_by_key(|image| Reverse(image.hours));
    for image in by_age {
        if used(left.iter().copied()) <= max_size {
            break;
        }
        let own = left.iter().filter(|other| other.layout == image.layout);
        if own.count() > 1 {
            left.retain(|other| (other.layout, &other.name) != (image.layout, &image.name));
        }
    }
    let names = left.iter().map(|image| (image.layout, image.name.clone()));
    (names.collect(), used(left.iter().copied()) <= max_size)
}

/// Returns the bytes of images that share blobs in their layouts.
fn used<'a>(images: impl Iterator<Item = &'a Drawn>) -> u64 {
    let blobs = images.flat_map(|image| {
        let blobs = image.blobs.iter();
        blobs.map(|(digest, len)| (image.layout, digest, *len))
    });
    let blobs: BTreeSet<_> = blobs.collect();
    blobs.iter().map(|(_, _, len)| len).sum()
}

/// Images, some of them held: what a budget takes where there is more is for the judge of one layout.
const FEATURES: Features = Features {
    holds: true,
    ..Features::PLAIN
};

/// Draws some layouts and writes them, with images no two of which are of one age.
fn tree(u: &mut Unstructured<'_>, dir: &TestDir) -> arbitrary::Result<Vec<Drawn>> {
    let mut ages: Vec<u64> = (1..40).map(|days| days * 24).collect();
    let mut images = Vec::new();
    for layout in 0..u.int_in_range(2..=4)? {
        let mut world = draw::world(u, &FEATURES)?;
        let named = world.entries.clone();
        for entry in &named {
            let hours = ages.remove(u.choose_index(ages.len())?);
            world.nodes[entry.target].hours = Some(hours);
        }
        let path = dir.join("tree").join(layout.to_string());
        let written = write_to(&world, LayoutBuilder::at(&path), days_ago(0));
        let sizes = blobs(&path);
        for (entry, name) in named.iter().zip(world.names()) {
            let node = world.node(entry.target);
            let nodes = node.content.refs().iter().map(|item| item.target);
            let digests = nodes
                .chain([entry.target])
                .map(|node| &written.digests[node]);
            images.push(Drawn {
                layout,
                name,
                hours: node.hours.expect("it was dated"),
                is_held: world.holds.contains(&entry.target),
                blobs: digests
                    .map(|digest| (digest.clone(), sizes[digest]))
                    .collect(),
            });
        }
    }
    Ok(images)
}

#[test]
fn random_trees_are_pruned_as_by_the_simplest_algorithm() {
    let mut total = 0;
    let mut reached = 0;
    each_seed("OCISWEEP_BUDGET", 25, varied, |seed| {
        let run = |u: &mut Unstructured<'_>| {
            let dir = TestDir::new();
            let images = tree(u, &dir)?;
            let max_size = used(images.iter()) * u.int_in_range(10..=105)? / 100;
            total += 1;
            reached += u32::from(is_simplest(&dir, &images, max_size, seed));
            Ok(())
        };
        arbtest(run).seed(seed).run();
    });
    assert!(
        total < 25 || reached > total / 4 && reached < total,
        "{reached} of {total}"
    );
}

/// Panics unless a tree is pruned as expected; returns `true` if it fits afterwards.
fn is_simplest(dir: &TestDir, images: &[Drawn], max_size: u64, seed: u64) -> bool {
    let (names, is_reached) = expected(images, max_size);
    let size = format!("{max_size}B");
    let words = ["prune", "-a", "--now", NOW, "-r", "tree", "--max-size"];
    let call = Cmd::new(words).arg(&size).current_dir(dir.path());
    let plan = call.clone().args(["-n", "--format", "json"]).run();
    let run = call.clone().args(["-f", "--format", "json"]).run();
    let context = format!("OCISWEEP_BUDGET_SEED={seed:#x}, {size}: {}", run.all());
    assert_eq!(run.code, Some(if is_reached { 0 } else { 5 }), "{context}");
    let count = images.iter().map(|image| image.layout + 1).max();
    let left = (0..count.expect("there are images")).flat_map(|layout| {
        let listed = listed(&dir.join("tree").join(layout.to_string()));
        let names = listed.into_iter().flat_map(|(_, names)| names);
        names.map(move |name| (layout, name))
    });
    assert_eq!(left.collect::<BTreeSet<_>>(), names, "{context}");
    // The dry run has announced it, and a second run has nothing to do.
    assert_eq!(removed(&plan.json()), removed(&run.json()), "{context}");
    assert_eq!(plan.json()["budget"], run.json()["budget"], "{context}");
    let again = call.args(["-f", "--format", "json"]).run();
    assert!(removed(&again.json()).is_empty(), "{context}");
    is_reached
}
