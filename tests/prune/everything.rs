//! `--all` removes every image that no hold, filter or rule keeps, but never the last one by accident.

use crate::support::dated::NOW;
use crate::support::{Cmd, ImageBuilder, TestLayout, assert_same, blobs, snapshot};

#[test]
fn all_removes_images_that_nothing_keeps() {
    let mut shelf = TestLayout::new();
    let kept = shelf.small("app:1", 1);
    shelf.small("app:2", 2);
    shelf.small("tool:1", 3);
    shelf.overwritten("old", 4);
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep", "app:1"]);
    pruned
        .ok()
        .leaves(&["app:1"])
        .because("app:1", false, &["--keep app:1"])
        .because("app:2", true, &["no hold, filter or rule keeps it"])
        .because("tool:1", true, &["no hold, filter or rule keeps it"]);
    let mut left = kept.digests();
    left.sort();
    assert_eq!(blobs(shelf.path()).into_keys().collect::<Vec<_>>(), left);
}

#[test]
fn without_all_no_name_is_ever_lost() {
    for args in [
        &["--keep-last", "0"][..],
        &["--max-size", "1B"],
        &["--keep", "nothing:*"],
        &["--filter", "until=1s"],
        &["--filter", "dangling=false"],
        &["--filter", "reference=**"],
        &["--keep-within", "1s", "--group-by", "none"],
    ] {
        let mut shelf = TestLayout::new();
        shelf.small("app:1", 90);
        shelf.small("app:2", 80);
        shelf.write();
        shelf.prune(args).leaves(&["app:1", "app:2"]).deletes([]);
    }
}

#[test]
fn a_held_image_is_kept_with_the_hold_as_its_reason() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    shelf.small("app:2", 80);
    let dangling = shelf.overwritten("dangling", 70);
    let lost = shelf.overwritten("lost", 60);
    shelf.write();
    shelf
        .hold("release", "app:1")
        .hold("proof", &dangling.manifest.digest);
    let pruned = shelf.prune(&[]);
    pruned
        .ok()
        .leaves(&["app:1", "app:2"])
        .deletes(&lost.digests())
        .because(&lost.manifest.digest, true, &["dangling"]);
    let reasons = &pruned.verdict(&dangling.manifest.digest).reasons;
    assert!(
        reasons.contains(&"held by proof".to_owned()),
        "{}",
        pruned.run.all()
    );
    let pruned = shelf.prune(&["-a"]);
    pruned
        .ok()
        .leaves(&["app:1"])
        .because("app:1", false, &["held by release"])
        .because(&dangling.manifest.digest, false, &["held by proof"]);
    assert!(shelf.has_all(&dangling), "{}", pruned.run.all());
}

#[test]
fn a_hold_takes_precedence_over_a_budget() {
    let mut shelf = TestLayout::new();
    shelf.named("app:1", 90, &ImageBuilder::new("1").weighs(5000));
    shelf.named("app:2", 80, &ImageBuilder::new("2").weighs(5000));
    shelf.write();
    shelf.hold("release", "app:1");
    let pruned = shelf.prune(&["-a", "--max-size", "8kB"]);
    pruned
        .ok()
        .leaves(&["app:1"])
        .because("app:1", false, &["held by release"]);
}

#[test]
fn an_expired_hold_keeps_nothing() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    shelf.small("app:2", 80);
    shelf.small("app:3", 70);
    shelf.write();
    let bundle = shelf.layout.outside().join("bundle");
    std::fs::create_dir(&bundle).expect("a directory can be made");
    for (hold, image, args) in [
        ("past", "app:1", ["--until", "2026-11-22"]),
        ("future", "app:2", ["--until", "2026-12-22"]),
        (
            "bundle",
            "app:3",
            ["--while", bundle.to_str().expect("UTF-8")],
        ),
    ] {
        let call = Cmd::new(["hold", "add", "--now", NOW]).arg(shelf.path());
        call.args([hold, image]).args(args).run().ok();
    }
    let later = [
        "--now",
        "2026-11-23T00:00:00Z",
        "-a",
        "-n",
        "--format",
        "json",
    ];
    let kept = || {
        let run = Cmd::new(["prune"]).arg(shelf.path()).args(later).run();
        run.ok();
        let mut names: Vec<String> = crate::support::verdicts(&run)
            .into_iter()
            .filter(|verdict| !verdict.goes)
            .flat_map(|verdict| verdict.names)
            .collect();
        names.sort();
        names
    };
    assert_eq!(kept(), ["app:2", "app:3"]);
    std::fs::remove_dir(&bundle).expect("the directory can be removed");
    assert_eq!(kept(), ["app:2"]);
}

#[test]
fn a_held_digest_that_is_no_longer_listed_is_kept() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    let held = shelf.small("app:2", 80);
    shelf.write();
    shelf.hold("release", "app:2");
    // Another program drops the entry.
    shelf.layout.clear_entries();
    let again = shelf.small("app:1", 90);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().deletes([]);
    assert!(
        shelf.has_all(&held) && shelf.has_all(&again),
        "{}",
        pruned.run.all()
    );
}

#[test]
fn the_last_image_needs_allow_empty() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    shelf.overwritten("dangling", 70);
    shelf.write();
    let run = shelf.refuses(&["-a"], 3);
    run.one_error_with_hint().warns("--allow-empty");
    shelf
        .refuses(&["-a", "--keep-last", "0"], 3)
        .one_error_with_hint()
        .warns("--allow-empty");
    shelf
        .refuses(&["-a", "--keep", "other:*"], 3)
        .warns("no image has a name that matches `--keep other:*`")
        .warns("--allow-empty");
    // A dry run is refused like the run.
    let before = snapshot(shelf.path());
    let dry = shelf.call(["-a", "-n"]).run();
    dry.refused().one_error_with_hint();
    assert_same(&before, &snapshot(shelf.path()), &dry.all());
    let run = shelf.call(["-a", "-f", "--allow-empty"]).run();
    run.ok();
    assert!(blobs(shelf.path()).is_empty(), "{}", run.all());
    assert!(
        crate::support::listed(shelf.path()).is_empty(),
        "{}",
        run.all()
    );
    // A layout that was emptied intentionally is not refused the next time.
    shelf.call(["-f"]).run().ok();
}

#[test]
fn a_held_last_name_does_not_count_as_removed() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    shelf.write();
    shelf.hold("release", "app:1");
    shelf.prune(&["-a"]).ok().leaves(&["app:1"]).deletes([]);
}

/// An importer of a tag does not find an untagged image.
#[test]
fn an_untagged_image_is_no_substitute_for_the_last_name() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    let held = shelf.overwritten("held", 70);
    shelf.write();
    shelf.hold("proof", &held.manifest.digest);
    shelf.refuses(&["-a"], 3).one_error_with_hint();
    shelf.prune(&["-a", "--allow-empty"]).ok().leaves(&[]);
    assert!(shelf.has_all(&held));
}

#[test]
fn in_a_layout_without_names_all_requires_allow_empty_too() {
    let mut shelf = TestLayout::new();
    shelf.overwritten("one", 70);
    shelf.overwritten("two", 60);
    shelf.write();
    shelf
        .refuses(&["-a"], 3)
        .one_error_with_hint()
        .warns("--allow-empty");
    let run = shelf
        .call(["-a", "-n", "--allow-empty", "--format", "json"])
        .run();
    run.ok();
    for verdict in crate::support::verdicts(&run) {
        // Nothing is dangling if nothing is named.
        assert_eq!(
            verdict.reasons,
            ["no hold, filter or rule keeps it"],
            "{}",
            run.all()
        );
    }
    shelf.prune(&["-a", "--keep-last", "1"]).ok();
    assert_eq!(crate::support::listed(shelf.path()).len(), 1);
}

#[test]
fn an_image_with_several_names_is_removed_or_kept_with_all_of_them() {
    let mut shelf = TestLayout::new();
    let image = shelf.small("app:1", 90);
    shelf
        .layout
        .tag(&image.manifest, "app:latest")
        .tag(&image.manifest, "tool:1");
    shelf.small("app:2", 80);
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep", "app:latest"]);
    pruned
        .ok()
        .leaves(&["app:1", "app:latest", "tool:1"])
        .because("tool:1", false, &["--keep app:latest"]);
    assert_eq!(
        pruned.verdict("app:1").names.len(),
        3,
        "{}",
        pruned.run.all()
    );
    let pruned = shelf.prune(&["-a", "--allow-empty"]);
    pruned.ok().leaves(&[]);
}

#[test]
fn a_named_part_of_a_removed_image_is_judged_separately() {
    let mut shelf = TestLayout::new();
    let part = shelf.small("app:arm64", 90);
    let other = ImageBuilder::new("amd64").weighs(70).store(&shelf.layout);
    let index = shelf.layout.index(&[
        part.manifest.clone().platform("linux/arm64"),
        other.manifest.clone().platform("linux/amd64"),
    ]);
    shelf.layout.tag(&index, "app:all");
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep", "*:arm64"]);
    let mut gone = other.digests();
    gone.push(index.digest);
    pruned.ok().leaves(&["app:arm64"]).deletes(&gone);
    assert!(shelf.has_all(&part), "{}", pruned.run.all());
}

#[test]
fn a_named_referrer_of_a_removed_image_is_kept_and_noted() {
    let mut shelf = TestLayout::new();
    let image = shelf.small("app:1", 90);
    shelf.small("app:2", 80);
    let signature = shelf
        .layout
        .referrer(&image.manifest, "application/vnd.example.sbom", b"sbom");
    shelf.layout.tag(&signature.manifest, "app:sbom");
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep", "app:2", "--keep", "app:sbom"]);
    pruned.ok().leaves(&["app:2", "app:sbom"]);
    assert!(
        shelf.has_all(&image),
        "its subject is kept\n{}",
        pruned.run.all()
    );
    pruned.run.warns("app:sbom");
}

/// Signed by a digest tag, and the signature is signed by a referrer: both follow.
#[test]
fn a_signature_of_a_signature_is_removed_with_the_image() {
    let mut shelf = TestLayout::new();
    let kept = shelf.small("keep:1", 5);
    let image = shelf.small("app:1", 90);
    let layer = shelf.layout.layer(b"signature");
    let signature = shelf
        .layout
        .manifest(&shelf.layout.empty_config(), &[layer]);
    let tag = image.manifest.digest.replacen(':', "-", 1);
    shelf.layout.tag(&signature, &format!("{tag}.sig"));
    let second = shelf
        .layout
        .referrer(&signature, "application/vnd.example.sig", b"second");
    shelf.layout.entry(&second.manifest);
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep", "keep:1"]);
    pruned.ok().leaves(&["keep:1"]);
    assert_eq!(pruned.entries.len(), 1, "{}", pruned.run.all());
    assert_eq!(
        blobs(shelf.path()).len(),
        kept.digests().len(),
        "{}",
        pruned.run.all()
    );
}

/// A document that only a removed index listed and that is the subject of a kept referrer is removed with that referrer.
#[test]
fn the_subject_of_a_kept_referrer_is_kept() {
    let mut shelf = TestLayout::new();
    shelf.small("keep:1", 5);
    let child = shelf.overwritten("child", 50);
    let index = shelf.layout.index(std::slice::from_ref(&child.manifest));
    shelf.layout.tag(&index, "app:1");
    let sbom = shelf
        .layout
        .referrer(&child.manifest, "application/vnd.example.sbom", b"sbom");
    shelf.layout.tag(&sbom.manifest, "app:sbom");
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep", "keep:1", "--keep", "app:sbom"]);
    pruned.ok().leaves(&["keep:1", "app:sbom"]);
    assert_eq!(pruned.entries.len(), 3, "{}", pruned.run.all());
    let pruned = shelf.prune(&["-a", "--keep", "keep:1"]);
    pruned.ok().leaves(&["keep:1"]);
    assert_eq!(pruned.entries.len(), 1, "{}", pruned.run.all());
}

/// A held part is kept.
#[test]
fn a_hold_on_a_part_keeps_it() {
    let mut shelf = TestLayout::new();
    shelf.small("keep:1", 5);
    let part = ImageBuilder::new("arm64").weighs(60).store(&shelf.layout);
    let other = ImageBuilder::new("amd64").weighs(70).store(&shelf.layout);
    let index = shelf.layout.index(&[
        part.manifest.clone().platform("linux/arm64"),
        other.manifest.clone().platform("linux/amd64"),
    ]);
    shelf.layout.tag(&index, "app:1").entry(&part.manifest);
    shelf.write();
    shelf.hold("device", &part.manifest.digest);
    let pruned = shelf.prune(&["-a", "--keep", "keep:1"]);
    pruned.ok();
    assert!(shelf.has_all(&part), "{}", pruned.run.all());
    let said = &pruned.verdicts;
    let held = said
        .iter()
        .filter(|verdict| verdict.reasons.iter().any(|why| why == "held by device"));
    assert_eq!(
        held.count(),
        1,
        "the hold is a reason\n{}",
        pruned.run.all()
    );
}

#[test]
fn a_dry_run_of_several_names_prints_each() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    shelf.small("app:2", 80);
    shelf.small("app:3", 70);
    shelf.write();
    let dry = shelf.call(["-a", "-n", "--keep", "app:3"]).run();
    dry.ok()
        .says("Would untag: app:1")
        .says("Would untag: app:2")
        .keeps_quiet_about("app:3");
    let run = shelf.call(["-a", "-f", "--keep", "app:3"]).run();
    run.ok()
        .says("Untagged: app:1")
        .says("Untagged: app:2")
        .keeps_quiet_about("app:3");
    let words = |text: &str| {
        text.replace("Would untag:", "Untagged:")
            .replace("Would delete:", "Deleted:")
    };
    let body = |text: &str| {
        let lines: Vec<String> = words(text).lines().map(str::to_owned).collect();
        lines
            .into_iter()
            .filter(|line| line.contains("ed: "))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        body(&dry.stdout),
        body(&run.stdout),
        "{}{}",
        dry.all(),
        run.all()
    );
}

/// The subject of a held referrer is kept with it, even if nothing lists it; so is the signature that belongs to it by its
/// tag.
#[test]
fn a_digest_tag_of_an_unlisted_subject_is_kept_with_it() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 10);
    let build = |salt: &str| crate::support::ImageBuilder::new(salt).layer(salt.as_bytes());
    let subject = build("subject").store(&shelf.layout);
    let sbom = shelf
        .layout
        .referrer(&subject.manifest, "application/vnd.example.sbom", b"sbom");
    shelf.layout.entry(&sbom.manifest);
    let signature = build("signature").store(&shelf.layout);
    let tag = subject.manifest.digest.replacen(':', "-", 1);
    shelf.layout.tag(&signature.manifest, &format!("{tag}.sig"));
    shelf.added(&signature.manifest, 50);
    shelf.write();
    shelf.hold("audit", &sbom.manifest.digest);
    for args in [&["-a", "--keep-last", "1"][..], &["-a", "--max-size", "1B"]] {
        let pruned = shelf.prune(args);
        assert!(
            shelf.has_all(&signature) && shelf.has_all(&subject),
            "{}",
            pruned.run.all()
        );
    }
}
