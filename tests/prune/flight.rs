//! Writers at work and damage: blobs that may be in use are kept, and unclear layouts are not changed.

use std::time::Duration;

use crate::support::{
    Cmd, Doc, ImageBuilder, TestLayout, assert_same, for_each, media, snapshot, verdicts,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Prunes by the real clock.
fn call(shelf: &TestLayout, args: &[&str]) -> Cmd {
    Cmd::new(["prune"]).arg(shelf.path()).args(args)
}

fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 10);
    shelf.overwritten("dangling", 20);
    shelf.write();
    shelf
}

#[test]
fn orphans_in_flight_are_kept_and_the_last_line_counts_them() {
    for flag in ["-n", "-f"] {
        let shelf = shelf();
        let young = shelf.layout.layer(b"twelve bytes");
        shelf.layout.fresh([&young]);
        let old = shelf.layout.layer(b"old");
        shelf.layout.age(&old.blob_path(), HOUR * 2);
        let run = call(&shelf, &[flag]).run();
        run.ok().says(&format!("Kept: {} (in flight", young.digest));
        assert!(shelf.has(&young), "{}", run.all());
        assert_eq!(shelf.has(&old), flag == "-n", "{}", run.all());
        let last = run.stdout.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("kept ") && last.ends_with("in flight 12B"),
            "{}",
            run.all()
        );
    }
    let shelf = shelf();
    let young = shelf.layout.layer(b"twelve bytes");
    shelf.layout.fresh([&young]);
    let run = call(&shelf, &["-f", "--format", "json"]).run();
    let json = run.ok().json();
    // The dangling image is released while a writer is at work: its three blobs are kept as well.
    assert_eq!(json["totals"]["kept"], 4, "{}", run.all());
    assert_eq!(json["totals"]["kept_bytes"], 590, "{}", run.all());
    let items = json["layouts"][0]["items"].as_array().expect("a list");
    let item = items
        .iter()
        .find(|item| item["digest"] == young.digest.as_str());
    let item = item.unwrap_or_else(|| panic!("nothing on the orphan\n{}", run.all()));
    assert_eq!(item["action"], "keep", "{}", run.all());
    let run = call(&shelf, &["-f", "--grace", "0"]).run();
    run.ok().keeps_quiet_about("in flight");
    assert!(!shelf.has(&young), "{}", run.all());
}

/// A writer does not rewrite existing blobs.
#[test]
fn released_blobs_are_kept_while_in_flight_blobs_use_them() {
    let mut shelf = TestLayout::new();
    shelf.small("app:2", 10);
    let old = shelf.named(
        "app:1",
        60,
        &ImageBuilder::new("old").weighs(300).layer(b"base"),
    );
    shelf.write();
    let config = shelf.layout.config("linux/amd64", "coming");
    let coming = shelf.layout.manifest(&config, &[old.layers[1].clone()]);
    shelf.layout.fresh([&config, &coming]);
    let run = call(&shelf, &["-a", "-f", "--keep", "app:2"]).run();
    run.ok();
    for desc in [&old.layers[0], &old.layers[1], &config, &coming] {
        assert!(shelf.has(desc), "{} is gone\n{}", desc.digest, run.all());
    }
    // The writer ends; the blobs that it relied on exist.
    shelf.layout.clear_entries();
    shelf.layout.tag(&coming, "app:3");
    shelf.layout.write();
    call(&shelf, &["-f", "--grace", "0"]).run().ok();
    assert!(
        shelf.has(&old.layers[1]) && shelf.has(&config),
        "{}",
        run.all()
    );
    assert!(!shelf.has(&old.layers[0]), "{}", run.all());
}

#[test]
fn in_flight_blobs_survive_prune() {
    let shelf = shelf();
    let young = shelf.layout.layer(b"in flight");
    shelf
        .layout
        .age(&young.blob_path(), Duration::from_secs(300));
    let first = call(&shelf, &["-f"]).run();
    let second = call(&shelf, &["-f"]).run();
    second.ok();
    assert!(shelf.has(&young), "{}{}", first.all(), second.all());
}

#[test]
fn a_layout_with_damage_is_refused_untouched_with_a_hint() {
    type Damage = (&'static str, fn(&mut TestLayout));
    let damages: [Damage; 5] = [
        ("a cut manifest", |shelf| {
            let image = shelf.small("bad:1", 5);
            shelf.write();
            shelf.layout.file(&image.manifest.blob_path(), b"{\"schema");
        }),
        ("a manifest that is another one", |shelf| {
            let image = shelf.small("bad:1", 5);
            let config = shelf.layout.empty_config();
            shelf.write();
            let other = Doc::manifest(&config, &[]).text();
            shelf
                .layout
                .file(&image.manifest.blob_path(), other.as_bytes());
        }),
        ("an index with a truncated child", |shelf| {
            let image = ImageBuilder::new("child")
                .layer(b"child")
                .store(&shelf.layout);
            let index = shelf.layout.index(std::slice::from_ref(&image.manifest));
            shelf.layout.tag(&index, "bad:1");
            shelf.write();
            shelf.layout.file(&image.manifest.blob_path(), b"");
        }),
        ("a listed manifest that is missing", |shelf| {
            let image = shelf.small("bad:1", 5);
            shelf.write();
            shelf.layout.drop_blob(&image.manifest);
        }),
        ("an invalid digest", |shelf| {
            let desc = crate::support::Desc::new(media::MANIFEST, "sha256:../../etc", 5);
            shelf.layout.tag(&desc, "bad:1");
            shelf.write();
        }),
    ];
    for_each(
        damages,
        |(what, _)| (*what).to_owned(),
        |(_, damage)| {
            let mut shelf = shelf();
            shelf.layout.layer(b"orphan");
            damage(&mut shelf);
            for args in [
                &[][..],
                &["-n"],
                &["-a", "--keep", "app:1", "--keep", "bad:1"],
                &["--max-size", "1GB"],
            ] {
                let run = shelf.refuses(args, 3);
                run.one_error_with_hint();
            }
            let plan = shelf.layout.outside().join("plan.json");
            let before = snapshot(shelf.path());
            let run = shelf.call(["--plan"]).arg(&plan).run();
            run.refused();
            assert!(!plan.exists(), "{}", run.all());
            assert_same(&before, &snapshot(shelf.path()), &run.all());
        },
    );
}

/// The damaged image can be removed, after which the layout can be pruned again.
#[test]
fn a_removed_damaged_image_stops_nothing() {
    let mut shelf = TestLayout::new();
    let kept = shelf.small("app:1", 5);
    let bad = shelf.small("bad:1", 50);
    shelf.write();
    shelf.layout.file(&bad.manifest.blob_path(), b"{\"schema");
    shelf
        .layout
        .modified(&bad.manifest.blob_path(), crate::support::days_ago(50));
    shelf.refuses(&[], 3).one_error_with_hint().warns("bad:1");
    let pruned = shelf.prune(&["-a", "--keep", "app:1"]);
    pruned.ok().leaves(&["app:1"]);
    assert!(shelf.has_all(&kept), "{}", pruned.run.all());
}

#[test]
fn missing_documents_are_accepted_on_request() {
    let mut shelf = shelf();
    let gone = shelf.small("gone:1", 5);
    shelf.write();
    shelf.layout.drop_blob(&gone.manifest);
    shelf
        .refuses(&[], 3)
        .one_error_with_hint()
        .warns("--allow-missing");
    let pruned = shelf.prune(&["--allow-missing"]);
    pruned.ok().leaves(&["app:1", "gone:1"]);
    assert!(!verdicts(&pruned.run).is_empty());
}

/// Platforms that were never fetched and layers that are elsewhere are not damage.
#[test]
fn a_sparse_layout_is_pruned_like_any_other() {
    let mut shelf = shelf();
    let here = ImageBuilder::new("here")
        .layer(b"here")
        .store(&shelf.layout);
    let absent = crate::support::Desc::missing(media::MANIFEST, "absent");
    let index = shelf.layout.index(&[
        here.manifest.clone().platform("linux/amd64"),
        absent.platform("linux/arm64"),
    ]);
    shelf.layout.tag(&index, "multi:1");
    let hollow = shelf.small("hollow:1", 5);
    shelf
        .layout
        .drop_blob(&hollow.layers[0])
        .drop_blob(&hollow.config);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().leaves(&["app:1", "multi:1", "hollow:1"]);
    let pruned = shelf.prune(&["-a", "--keep", "multi:1"]);
    pruned.ok().leaves(&["multi:1"]);
    assert!(shelf.has_all(&here), "{}", pruned.run.all());
}

#[test]
fn without_entries_nothing_is_pruned_unless_requested() {
    let shelf = shelf();
    shelf
        .layout
        .file("index.json", br#"{"schemaVersion":2,"manifests":[]}"#);
    shelf
        .refuses(&[], 3)
        .one_error_with_hint()
        .warns("--allow-empty");
    let run = shelf.call(["-f", "--allow-empty"]).run();
    run.ok();
    assert!(
        crate::support::blobs(shelf.path()).is_empty(),
        "{}",
        run.all()
    );
}

/// skopeo reads `index.json` at its start and writes it at its end: what was removed in between is listed again.
#[test]
fn images_pruned_while_a_writer_is_at_work_are_untagged_and_kept() {
    type Sign = (&'static str, fn(&TestLayout));
    let signs: [Sign; 2] = [
        ("(oci-put-blob123456789)", |shelf| {
            shelf.layout.file("oci-put-blob123456789", b"half");
        }),
        ("(blob ", |shelf| {
            let blob = shelf.layout.layer(b"coming");
            shelf.layout.fresh([&blob]);
        }),
    ];
    for_each(
        signs,
        |(sign, _)| (*sign).to_owned(),
        |(sign, appear)| {
            let mut shelf = TestLayout::new();
            shelf.small("app:1", 10);
            let dangling = shelf.overwritten("dangling", 20);
            shelf.write();
            let orphan = shelf.layout.layer(b"an older orphan");
            appear(&shelf);
            let index = std::fs::read(shelf.layout.join("index.json")).expect("an index");
            let df = Cmd::new(["df", "--format", "json"]).arg(shelf.path()).run();
            let df = df.ok().json();
            let dry = call(&shelf, &["-n", "--format", "json"]).run();
            let run = call(&shelf, &["-f", "--format", "json"]).run();
            let (dry, report) = (dry.ok().json(), run.ok().json());
            assert_eq!(dry["totals"], report["totals"], "{}", run.all());
            assert_eq!(
                df["layouts"][0]["total"]["reclaimable_bytes"],
                report["totals"]["reclaimed_bytes"],
                "{df}\n{}",
                run.all()
            );
            assert!(
                shelf.has_all(&dangling) && !shelf.has(&orphan),
                "{}",
                run.all()
            );
            let items = report["layouts"][0]["items"].as_array().expect("a list");
            for desc in [&dangling.manifest, &dangling.config] {
                let mut of = items
                    .iter()
                    .filter(|item| item["digest"] == desc.digest.as_str());
                let is_kept = of.any(|item| {
                    item["action"] == "keep" && item["reasons"][0] == "a writer is at work"
                });
                assert!(is_kept, "{}\n{}", desc.digest, run.all());
            }
            // The writer writes the index that it has read at its start: everything exists.
            shelf.layout.file("index.json", &index);
            Cmd::new(["check"]).arg(shelf.path()).run().ok();
            let run = call(&shelf, &["-f"]).run();
            run.ok().says(&format!("kept: a writer is at work {sign}"));
            let run = call(&shelf, &["-f", "--grace", "0"]).run();
            run.ok().keeps_quiet_about("a writer is at work");
            Cmd::gc(shelf.path()).run().ok();
            assert!(!shelf.has(&dangling.manifest), "{}", run.all());
        },
    );
}

/// Blobs that one prune has kept for a writer look old to the next one, and to a plan that is applied.
#[test]
fn blobs_kept_for_a_writer_are_kept_by_the_next_prune_and_by_apply() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 10);
    let first = shelf.overwritten("first", 20);
    shelf.write();
    let index = std::fs::read(shelf.layout.join("index.json")).expect("an index");
    shelf.layout.file("oci-put-blob123456789", b"half");
    // A plan that untags keeps and records released blobs, like the command.
    let plan = shelf.layout.outside().join("plan.json");
    call(&shelf, &["--plan"]).arg(&plan).run().ok();
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok().says("kept: a writer is at work");
    let orphan = shelf.layout.layer(b"an older orphan");
    let df = Cmd::new(["df", "--format", "json"]).arg(shelf.path()).run();
    let df = df.ok().json();
    let dry = call(&shelf, &["-n", "--format", "json"]).run();
    call(&shelf, &["--plan"]).arg(&plan).run().ok();
    let run = Cmd::new(["apply", "--format", "json"]).arg(&plan).run();
    let (dry, report) = (dry.ok().json(), run.ok().json());
    assert_eq!(dry["totals"], report["totals"], "{}", run.all());
    assert_eq!(
        df["layouts"][0]["total"]["reclaimable_bytes"],
        report["totals"]["reclaimed_bytes"],
        "{df}\n{}",
        run.all()
    );
    assert!(
        shelf.has_all(&first) && !shelf.has(&orphan),
        "{}",
        run.all()
    );
    let run = call(&shelf, &["-f"]).run();
    run.ok()
        .says("(released while a writer was at work)")
        .says("removed while a writer is at work")
        .keeps_quiet_about("nothing else is unreferenced");
    assert!(shelf.has_all(&first), "{}", run.all());
    // The writer lists it again, and ends. Another prune finally deletes it, and the record with it.
    shelf.layout.file("index.json", &index);
    Cmd::new(["check"]).arg(shelf.path()).run().ok();
    std::fs::remove_file(shelf.layout.join("oci-put-blob123456789")).expect("it is there");
    let run = call(&shelf, &["-f"]).run();
    run.ok();
    assert!(!shelf.has(&first.manifest), "{}", run.all());
    assert!(!shelf.layout.join(".ocisweep").exists(), "{}", run.all());
}

#[test]
fn if_age_alone_keeps_everything_the_last_line_names_the_flag() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 10);
    shelf.write();
    let young = shelf.layout.layer(b"twelve bytes");
    shelf.layout.fresh([&young]);
    for flag in ["-n", "-f"] {
        let run = call(&shelf, &[flag]).run();
        let last = run.ok().stdout.lines().last().unwrap_or_default();
        let end = "in flight 12B; nothing else is unreferenced, `--grace 0` deletes it if no writer is at work";
        assert!(last.ends_with(end), "{}", run.all());
    }
}

/// `--now` is for trying out a policy: a hold that ends next week protects today.
#[test]
fn a_time_in_the_future_ends_no_hold_except_in_a_dry_run() {
    const FUTURE: [&str; 2] = ["--now", "2099-01-01T00:00:00Z"];
    let mut shelf = TestLayout::new();
    let held = shelf.small("app:1", 10);
    shelf.small("app:2", 20);
    shelf.write();
    Cmd::new(["hold", "add"])
        .arg(shelf.path())
        .args(["release", "app:1", "--until", "7d"])
        .run()
        .ok();
    let all = ["-a", "--keep", "app:2"];
    let dry = call(&shelf, &all).args(FUTURE).arg("-n").run();
    dry.ok().says("Would untag: app:1");
    let run = call(&shelf, &all).args(FUTURE).arg("-f").run();
    run.ok();
    assert!(shelf.has_all(&held), "{}", run.all());
    let run = Cmd::new(["rm"])
        .arg(shelf.path())
        .arg("app:1")
        .args(FUTURE)
        .run();
    run.exits(1).warns("hold \"release\" is using its image");
    assert!(shelf.has_all(&held), "{}", run.all());
    // A plan that was made for that time is not executed today either.
    let plan = shelf.layout.outside().join("plan.json");
    let made = call(&shelf, &all)
        .args(FUTURE)
        .arg("--plan")
        .arg(&plan)
        .run();
    made.ok();
    let run = Cmd::new(["apply"]).arg(&plan).args(FUTURE).run();
    run.refused();
    assert!(shelf.has_all(&held), "{}", run.all());
}
