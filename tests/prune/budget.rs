//! `--max-size`: the oldest images are removed until the rest fits, and no more.

use std::time::SystemTime;

use crate::prune::belongings::belongings;
use crate::support::{ImageBuilder, TestLayout, blobs, bulk, for_each, listed};

/// The tie-breaker between two images of the same age.
#[test]
fn equal_times_are_ordered_by_created_and_then_by_position() {
    let shelf = |created: &dyn Fn(u64) -> Option<String>| {
        let mut shelf = TestLayout::new();
        for number in 1..=5 {
            let build = ImageBuilder::new(&format!("app {number}")).weighs(10_000);
            let build = match created(number) {
                Some(created) => build.created(&created),
                None => build,
            };
            shelf.named(&format!("app:{number}"), 60, &build);
        }
        shelf.write();
        shelf
    };
    let args = ["-a", "--max-size", "25kB"];
    let descending = shelf(&|number| Some(format!("2026-0{}-01T00:00:00Z", 6 - number)));
    let reason = "over the size budget, and the oldest by created";
    descending
        .prune(&args)
        .ok()
        .leaves(&["app:1", "app:2"])
        .because("app:5", true, &[reason])
        .because("app:3", true, &[reason]);
    let alike = shelf(&|_| Some("2026-01-01T00:00:00Z".to_owned()));
    let reason = "over the size budget, and the oldest by position in index.json";
    alike
        .prune(&args)
        .ok()
        .leaves(&["app:4", "app:5"])
        .because("app:1", true, &[reason]);
    shelf(&|_| None)
        .prune(&args)
        .ok()
        .leaves(&["app:4", "app:5"]);
}

/// Five images of ten kilobytes; `app:5` is the newest.
fn five() -> TestLayout {
    let mut shelf = TestLayout::new();
    for number in 1..=5 {
        let build = ImageBuilder::new(&format!("app {number}")).weighs(10_000);
        shelf.named(&format!("app:{number}"), 60 - number, &build);
    }
    shelf.write();
    shelf
}

fn live(shelf: &TestLayout) -> u64 {
    blobs(shelf.path()).values().sum()
}

#[test]
fn images_within_the_budget_are_kept() {
    let mut shelf = five();
    let garbage = shelf.layout.layer(&bulk("orphan", 30_000));
    let dangling = shelf.untagged(1, &ImageBuilder::new("dangling").weighs(20_000));
    shelf.write();
    let mut gone = dangling.digests();
    gone.push(garbage.digest);
    let all = ["app:1", "app:2", "app:3", "app:4", "app:5"];
    let pruned = shelf.prune(&["-a", "--max-size", "60kB"]);
    pruned.ok().leaves(&all).deletes(&gone);
    for name in all {
        pruned.because(name, false, &["fits the budget"]);
    }
}

#[test]
fn the_oldest_are_removed_first_and_no_more_than_need_be() {
    let whole = live(&five());
    let each = whole / 5;
    // A budget to the byte, and one byte less.
    let sizes = [
        (whole, 5),
        (whole - 1, 4),
        (4 * each, 4),
        (4 * each - 1, 3),
        (2 * each + 1, 2),
        (each, 1),
    ];
    for_each(
        sizes,
        |(size, _)| format!("{size}B"),
        |(size, left)| {
            let shelf = five();
            let pruned = shelf.prune(&["-a", "--max-size", &format!("{size}B")]);
            pruned.ok();
            let names: Vec<String> = (6 - left..=5)
                .map(|number| format!("app:{number}"))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            pruned.leaves(&names);
            assert!(live(&shelf) <= *size, "{}", pruned.run.all());
            for verdict in pruned.verdicts.iter().filter(|verdict| verdict.goes) {
                assert_eq!(verdict.reasons, ["over the size budget, and the oldest"]);
            }
        },
    );
}

/// Blobs that belong to an image are freed with it, so they count in the number of images to remove.
#[test]
fn signatures_of_the_oldest_count_as_freed_with_it() {
    for_each(
        belongings(),
        |(what, _)| (*what).to_owned(),
        |(_, make)| {
            let mut shelf = TestLayout::new();
            let old = shelf.named("old:1", 50, &ImageBuilder::new("old").weighs(1000));
            shelf.named("mid:1", 40, &ImageBuilder::new("mid").weighs(1000));
            shelf.named("new:1", 30, &ImageBuilder::new("new").weighs(1000));
            let before: u64 = blobs(shelf.path()).values().sum();
            make(&mut shelf, &old.manifest, "old:1");
            shelf.write();
            let after: u64 = blobs(shelf.path()).values().sum();
            assert!(after > before);
            // The oldest is enough with its referrers, but not without.
            let own: u64 = blobs(shelf.path())
                .iter()
                .filter(|(digest, _)| old.digests().contains(*digest))
                .map(|(_, size)| size)
                .sum();
            let budget = after - own - 1;
            let pruned = shelf.prune(&["-a", "--max-size", &format!("{budget}B")]);
            pruned.ok().leaves(&["mid:1", "new:1"]);
        },
    );
}

#[test]
fn a_layer_is_freed_with_the_last_image_that_has_it() {
    let mut shelf = TestLayout::new();
    let base = bulk("base", 50_000);
    for (name, days, shares) in [
        ("a:1", 50, true),
        ("a:2", 40, true),
        ("a:3", 30, false),
        ("a:4", 20, false),
    ] {
        let build = ImageBuilder::new(name).weighs(1000);
        let build = if shares { build.layer(&base) } else { build };
        shelf.named(name, days, &build);
    }
    shelf.write();
    let pruned = shelf.prune(&["-a", "--max-size", "10kB"]);
    pruned.ok().leaves(&["a:3", "a:4"]);
}

#[test]
fn a_layer_that_the_newest_has_is_never_freed() {
    let mut shelf = TestLayout::new();
    let base = bulk("base", 50_000);
    for (name, days) in [("a:1", 50), ("a:2", 40), ("a:3", 30)] {
        shelf.named(
            name,
            days,
            &ImageBuilder::new(name).weighs(1000).layer(&base),
        );
    }
    shelf.write();
    let pruned = shelf.prune(&["-a", "--max-size", "10kB"]);
    pruned.run.exits(5);
    pruned.leaves(&["a:3"]);
}

/// An image that others are built upon frees nothing at first.
#[test]
fn removing_a_named_part_of_a_newer_image_frees_nothing() {
    let mut shelf = TestLayout::new();
    let part = shelf.named("app:arm64", 90, &ImageBuilder::new("part").weighs(10_000));
    let middle = shelf.named("mid:1", 50, &ImageBuilder::new("middle").weighs(10_000));
    let index = shelf
        .layout
        .index(&[part.manifest.clone().platform("linux/arm64")]);
    shelf.layout.tag(&index, "app:all");
    shelf.added(&index, 10);
    shelf.write();
    let pruned = shelf.prune(&["-a", "--max-size", "15kB"]);
    pruned.ok().leaves(&["app:all"]).deletes(&middle.digests());
    assert!(shelf.has_all(&part), "{}", pruned.run.all());
}

#[test]
fn untagged_images_are_removed_before_tagged_ones_unless_a_rule_keeps_them() {
    let mut shelf = TestLayout::new();
    shelf.named("app:1", 50, &ImageBuilder::new("app").weighs(10_000));
    let young = shelf.untagged(2, &ImageBuilder::new("young").weighs(10_000));
    shelf.write();
    let rule = ["-a", "--keep-within", "60d"];
    let pruned = shelf.prune(&[&rule[..], &["--max-size", "25kB"]].concat());
    pruned.ok().deletes([]);
    let pruned = shelf.prune(&[&rule[..], &["--max-size", "15kB"]].concat());
    pruned.deletes([]);
    pruned
        .run
        .exits(5)
        .warns("--keep-within 60d keeps 2 images with 21.14kB");
    let pruned = shelf.prune(&["-a", "--max-size", "15kB"]);
    pruned.ok().leaves(&["app:1"]).deletes(&young.digests());
}

#[test]
fn without_all_only_dangling_images_are_removed() {
    let mut shelf = five();
    let dangling = shelf.untagged(3, &ImageBuilder::new("dangling").weighs(10_000));
    shelf.write();
    let pruned = shelf.prune(&["--max-size", "20kB"]);
    pruned
        .leaves(&["app:1", "app:2", "app:3", "app:4", "app:5"])
        .deletes(&dangling.digests());
    pruned.run.exits(5).warns("--all");
    let holder = "the choice by scope and filters keeps 5 images with ";
    pruned.run.warns(holder);
}

#[test]
fn the_last_name_is_kept_and_exit_5_reports_what_keeps_the_rest() {
    let shelf = five();
    let pruned = shelf.prune(&["-a", "--max-size", "1kB"]);
    pruned.leaves(&["app:5"]);
    pruned
        .run
        .exits(5)
        .one_error_with_hint()
        .warns("1 name 10.")
        .warns("1kB")
        .warns("--allow-empty");
    let empty = shelf.prune(&["-a", "--max-size", "1kB", "--allow-empty"]);
    empty.ok().leaves(&[]);
}

#[test]
fn images_that_are_always_kept_are_never_removed_for_a_budget() {
    let list = |shelf: &TestLayout| {
        let file = shelf.layout.outside().join("list");
        std::fs::write(&file, "app:1\n").expect("the list can be written");
        file.to_str()
            .expect("paths of the tests are UTF-8")
            .to_owned()
    };
    let shelf = five();
    let pruned = shelf.prune(&["-a", "--max-size", "15kB", "--keep", "app:1"]);
    pruned
        .ok()
        .leaves(&["app:1"])
        .because("app:1", false, &["--keep app:1"]);
    let shelf = five();
    let pruned = shelf.prune(&["--max-size", "15kB", "--keep-from", &list(&shelf)]);
    pruned.ok().leaves(&["app:1"]);
    let shelf = five();
    shelf.hold("release", "app:1");
    let pruned = shelf.prune(&["-a", "--max-size", "5kB"]);
    pruned.leaves(&["app:1"]);
    pruned.run.exits(5).warns("hold");
    let shelf = five();
    let pruned = shelf.prune(&[
        "-a",
        "--max-size",
        "35kB",
        "--filter",
        "reference=app:[3-5]",
    ]);
    pruned.ok().leaves(&["app:1", "app:2", "app:5"]).because(
        "app:1",
        false,
        &["does not pass the filters"],
    );
}

/// "Keep the last three" does not mean "unless they are large".
#[test]
fn keep_rules_take_precedence_over_a_budget() {
    // The images that the rule keeps, and those that the budget would have to remove.
    let cases: [(&[&str], &[&str], &str); 7] = [
        (
            &["--keep-last", "3"],
            &["app:3", "app:4", "app:5"],
            "--keep-last 3 keeps 3 images with 31.71kB",
        ),
        (
            &["--keep-within", "58d1h"],
            &["app:2", "app:3", "app:4", "app:5"],
            "--keep-within 1393h keeps 4 images with 42.28kB",
        ),
        (
            &["--keep-daily", "3"],
            &["app:3", "app:4", "app:5"],
            "--keep-daily 3 keeps 3 images with 31.71kB",
        ),
        (
            &["--keep-weekly", "3"],
            &["app:5"],
            "--keep-weekly 3 keeps 1 image with 10.57kB",
        ),
        (
            &["--keep-monthly", "1", "--keep-last", "2"],
            &["app:4", "app:5"],
            "--keep-last 2 keeps 2 images with 21.14kB; --keep-monthly 1 keeps 1 image with 10.57kB",
        ),
        (
            &["--keep", "app:[12]"],
            &["app:1", "app:2"],
            "--keep app:[12] keeps 2 images with 21.14kB",
        ),
        (
            &["--keep-last", "2", "--keep", "app:1"],
            &["app:1", "app:4", "app:5"],
            "--keep app:1 keeps 1 image with 10.57kB; --keep-last 2 keeps 2 images with 21.14kB",
        ),
    ];
    for_each(
        cases,
        |(rules, ..)| rules.join(" "),
        |(rules, left, why)| {
            let shelf = five();
            let pruned = shelf.prune(&[&["-a", "--max-size", "9kB"], *rules].concat());
            pruned.leaves(left);
            pruned.run.exits(5).one_error_with_hint().warns(why);
            for name in *left {
                let reasons = &pruned.verdict(name).reasons;
                assert!(
                    reasons.iter().all(|reason| !reason.contains("budget")),
                    "{name} {reasons:?}"
                );
            }
        },
    );
}

#[test]
fn a_budget_that_rules_leave_room_for_is_reached() {
    let shelf = five();
    let pruned = shelf.prune(&["-a", "--keep-last", "2", "--max-size", "22kB"]);
    pruned
        .ok()
        .leaves(&["app:4", "app:5"])
        .because("app:3", true, &["no hold, filter or rule keeps it"])
        .because("app:4", false, &["last 2 of app"]);
}

#[test]
fn age_in_a_budget_follows_the_chosen_time() {
    let build = |salt: &str, created: Option<&str>| {
        let build = ImageBuilder::new(salt).weighs(10_000);
        created.map_or(build.clone(), |created| build.created(created))
    };
    let shelf = || {
        let mut shelf = TestLayout::new();
        shelf.named("app:1", 10, &build("1", Some("2026-03-01T00:00:00Z")));
        shelf.named("app:2", 20, &build("2", Some("2026-05-01T00:00:00Z")));
        let undated = shelf.named("app:3", 30, &build("3", None));
        (shelf, undated)
    };
    let (one, _) = shelf();
    one.write();
    one.prune(&["-a", "--max-size", "25kB"])
        .ok()
        .leaves(&["app:1", "app:2"]);
    let (two, _) = shelf();
    two.write();
    let args = ["-a", "--max-size", "25kB", "--time", "created"];
    two.prune(&args).ok().leaves(&["app:2", "app:3"]);
    let (mut three, undated) = shelf();
    three.added_at(&undated.manifest, SystemTime::UNIX_EPOCH);
    three.write();
    three
        .prune(&["-a", "--max-size", "25kB"])
        .ok()
        .leaves(&["app:1", "app:3"]);
}

#[test]
fn in_a_layout_without_names_a_budget_works_alike() {
    let fixture = || {
        let mut shelf = TestLayout::new();
        let images: Vec<_> = (1..=3)
            .map(|number| {
                shelf.untagged(
                    60 - number,
                    &ImageBuilder::new(&format!("{number}")).weighs(10_000),
                )
            })
            .collect();
        shelf.write();
        (shelf, images)
    };
    let (shelf, images) = fixture();
    let pruned = shelf.prune(&["-a", "--max-size", "1MB"]);
    pruned.ok().deletes([]);
    pruned.because(&images[0].manifest.digest, false, &["fits the budget"]);
    let pruned = shelf.prune(&["-a", "--max-size", "25kB"]);
    pruned.ok().deletes(&images[0].digests());
    let pruned = shelf.prune(&["-a", "--max-size", "5kB"]);
    pruned.run.exits(5);
    assert_eq!(
        listed(shelf.path()).len(),
        1,
        "the last stays\n{}",
        pruned.run.all()
    );
    assert!(shelf.has_all(&images[2]), "{}", pruned.run.all());
    // Without `--all` such a layout is not changed.
    let (shelf, _) = fixture();
    let pruned = shelf.prune(&["--max-size", "5kB"]);
    pruned.deletes([]);
    pruned.run.exits(5);
}

#[test]
fn a_size_needs_its_unit() {
    let shelf = five();
    for_each(
        ["5", "0", "5 ", "5X", "-5GB", "", "GB", "5GBit", "1e3B"],
        |size| (*size).to_owned(),
        |size| {
            let run = shelf.refuses(&["-a", "--max-size", size], 2);
            assert!(
                run.stderr.contains("--max-size") || size.starts_with('-'),
                "{}",
                run.all()
            );
        },
    );
    for_each(
        [
            "1MB",
            "1mb",
            "1 MB",
            "0.5MiB",
            "200k",
            "999999999GB",
            "60000B",
        ],
        |size| (*size).to_owned(),
        |size| {
            shelf.prune(&["-a", "--max-size", size]).ok().deletes([]);
        },
    );
}

#[test]
fn each_layout_has_its_own_budget_on_request() {
    let (one, two) = (five(), five());
    let run = one
        .call(["-f", "-a", "--max-size", "25kB", "--group-by", "layout"])
        .arg(two.path())
        .run();
    run.ok();
    for shelf in [&one, &two] {
        let names: Vec<String> = listed(shelf.path())
            .into_iter()
            .flat_map(|(_, names)| names)
            .collect();
        assert_eq!(names, ["app:4", "app:5"], "{}", run.all());
    }
}

/// The budget stops at the last named image and reports what keeps the rest. A held digest tag is not such a name, but one
/// that is only in docker's list is.
#[test]
fn a_budget_keeps_the_last_name_and_is_missed() {
    let mut shelf = TestLayout::new();
    shelf.small("app:2", 60);
    let untagged = shelf.overwritten("untagged", 50);
    let tag = format!("{}.sig", untagged.manifest.digest.replacen(':', "-", 1));
    shelf.small(&tag, 40);
    shelf.write().hold("signature", &tag);
    let pruned = shelf.prune(&["-a", "--max-size", "10B"]);
    pruned.run.exits(5);
    pruned.leaves(&["app:2", &tag]);

    let mut shelf = TestLayout::new();
    let saved = shelf.overwritten("saved", 60);
    let held = shelf.overwritten("held", 50);
    shelf.saves("tool:1", &saved);
    shelf.write().hold("held", &held.manifest.digest);
    let pruned = shelf.prune(&["-a", "--max-size", "10B"]);
    pruned.run.exits(5);
    assert!(shelf.has_all(&saved), "{}", pruned.run.all());
}
