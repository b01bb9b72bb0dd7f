//! Complete use cases of prune: a build cache in CI, a device image, a mirror, a tree of layouts, a release pipeline, a
//! laptop.

use std::fs;
use std::path::Path;

use crate::support::dated::NOW;
use crate::support::environment::Terminal;
use crate::support::{
    Cmd, Doc, ImageBuilder, TestLayout, blobs, bulk, listed, media, prune_call, unpack, verdicts,
};

fn names(layout: &Path) -> Vec<String> {
    let mut names: Vec<String> = listed(layout)
        .into_iter()
        .flat_map(|(_, names)| names)
        .collect();
    names.sort();
    names
}

fn size(layout: &Path) -> u64 {
    blobs(layout).values().sum()
}

/// A job prunes its cache before it saves it; the next job can import it.
#[test]
fn a_build_cache_in_ci_remains_within_its_budget() {
    let mut shelf = TestLayout::new();
    shelf.layout.without_marker().directory("ingest");
    let base = shelf.layout.layer(&bulk("base", 2000));
    for job in 0..20_u64 {
        shelf.layout.clear_entries();
        let own = shelf.layout.layer(&bulk(&format!("job {job}"), 3000));
        let config = shelf
            .layout
            .blob(media::CACHE_CONFIG, format!("{{\"job\":{job}}}").as_bytes());
        let cache = shelf
            .layout
            .put(&Doc::manifest(&config, &[base.clone(), own]));
        shelf.layout.tag(&cache, "latest");
        shelf.write();
        let run = shelf.call(["--max-size", "8kB", "-f"]).run();
        run.ok()
            .says("Total reclaimed space:")
            .says("kept ")
            .says(": 1 name ");
        assert_eq!(names(shelf.path()), ["latest"], "{}", run.all());
        assert!(size(shelf.path()) <= 8000, "{}", run.all());
        assert!(
            shelf.has(&cache) && shelf.has(&base) && shelf.has(&config),
            "{}",
            run.all()
        );
    }
    // In the crontab of a machine with many: a cache that is still too large has its own exit status.
    let run = shelf
        .call([
            "--max-size",
            "4kB",
            "-f",
            "--lock-wait",
            "30s",
            "--format",
            "json",
        ])
        .run();
    run.exits(5);
    assert_eq!(names(shelf.path()), ["latest"], "{}", run.all());
    let lock = shelf.layout.flock("index.json.lock");
    shelf.layout.layer(b"garbage");
    shelf.date();
    shelf.call(["-f", "--lock-wait", "0s"]).run().exits(6);
    drop(lock);
}

/// After the platforms of other devices are removed, a prune finds almost nothing.
#[test]
fn a_device_image_is_small_after_its_platforms_are_dropped() {
    let mut shelf = TestLayout::new();
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
    let children: Vec<_> = platforms
        .iter()
        .map(|platform| {
            let image = ImageBuilder::new(platform)
                .weighs(4000)
                .platform(platform)
                .store(&shelf.layout);
            shelf.layout.entry(&image.manifest);
            image.manifest.platform(platform)
        })
        .collect();
    let index = shelf.layout.index(&children);
    shelf.layout.tag(&index, "app:1.4");
    shelf.write();
    let run = Cmd::new(["rm"])
        .arg(shelf.path())
        .args(["app:1.4", "--only-platform", "linux/arm64"])
        .run();
    run.ok();
    shelf.prune(&[]).ok().leaves(&["app:1.4"]).deletes([]);
    assert!(
        shelf.has(&children[1]) && !shelf.has(&children[0]),
        "{}",
        run.all()
    );
}

/// Monthly, with a list of what customers run: plan, review, apply.
#[test]
fn a_mirror_keeps_the_images_of_its_list_and_rules() {
    let mut shelf = TestLayout::new();
    for repository in ["web", "team/db"] {
        for version in 1..=9_u64 {
            let tag = if version % 4 == 0 {
                format!("{version}-lts")
            } else {
                version.to_string()
            };
            let name = format!("{repository}:{tag}");
            let build = ImageBuilder::new(&name).weighs(1000);
            let image = shelf.named(&name, 100 - version * 10, &build);
            let signature = shelf.layout.referrer(
                &image.manifest,
                "application/vnd.example.sig",
                name.as_bytes(),
            );
            let tag = image.manifest.digest.replacen(':', "-", 1);
            shelf.layout.tag(&signature.manifest, &format!("{tag}.sig"));
        }
    }
    shelf.write();
    let list = shelf.layout.outside().join("allow.txt");
    fs::write(&list, "# contract 17\nweb:1\nteam/db:2\n").expect("the list can be written");
    let plan = shelf.layout.outside().join("2026-11.plan.json");
    let call = shelf.call([
        "--keep-last",
        "3",
        "--keep",
        "*:*-lts",
        "--keep",
        "*/*:*-lts",
        "--keep-from",
    ]);
    let run = call.arg(&list).arg("--plan").arg(&plan).run();
    run.ok();
    assert_eq!(names(shelf.path()).len(), 36, "{}", run.all());
    let text = fs::read_to_string(&plan).expect("the plan can be read");
    assert!(
        text.contains("last 3 of team/db") && text.contains("listed as web:1"),
        "{text}"
    );
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok();
    let left: Vec<String> = names(shelf.path())
        .into_iter()
        .filter(|name| !name.starts_with("sha256-"))
        .collect();
    let expected = [
        "team/db:2",
        "team/db:4-lts",
        "team/db:7",
        "team/db:8-lts",
        "team/db:9",
        "web:1",
        "web:4-lts",
        "web:7",
        "web:8-lts",
        "web:9",
    ];
    assert_eq!(left, expected, "{}", run.all());
    // Signatures follow their images.
    assert_eq!(names(shelf.path()).len(), 20, "{}", run.all());
    // A damaged image stops its own layout, not the others.
    let other = TestLayout::new();
    let mut other = other;
    other.small("x:1", 5);
    other.overwritten("x", 9);
    other.write();
    let bad = listed(shelf.path())[0].0.replacen(':', "/", 1);
    shelf.layout.file(&format!("blobs/{bad}"), b"{ torn");
    let run = prune_call(shelf.path()).arg(other.path()).arg("-f").run();
    run.refused();
    assert_eq!(listed(other.path()).len(), 1, "{}", run.all());
}

/// Repositories share layers by hard links: only blobs that no other repository has are freed.
#[test]
fn a_tree_of_linked_layouts_frees_blobs_without_other_links() {
    let (mut base, mut app) = (TestLayout::new(), TestLayout::new());
    let layer = bulk("shared by hard link", 9000);
    base.named("base:1", 5, &ImageBuilder::new("base").layer(&layer));
    let old = app.untagged(20, &ImageBuilder::new("old").weighs(500).layer(&layer));
    app.small("app:1", 5);
    app.write();
    let shared = old.layers[1].blob_path();
    base.layout.hard_link(&shared, &app.layout.join(&shared));
    base.write();
    let run = app.call(["-f", "--format", "json"]).run();
    let json = run.ok().json();
    assert_eq!(json["totals"]["linked_bytes"], 9000, "{}", run.all());
    let freed = json["totals"]["freed_bytes"].as_u64().expect("a number");
    assert!(freed > 500 && freed < 2000, "{}", run.all());
    run.warns("hard links");
    assert!(
        base.layout.join(&shared).exists() && !app.layout.join(&shared).exists(),
        "{}",
        run.all()
    );
    base.prune(&[]).ok().deletes([]);
}

/// A signing pipeline keeps the last nightlies and every release, and checks before whether there is anything to do.
#[test]
fn a_release_pipeline_keeps_releases_and_the_last_nightlies() {
    let mut shelf = TestLayout::new();
    for number in 1..=12_u64 {
        let name = format!("app:nightly-{number:02}");
        let image = shelf.named(&name, 40 - number, &ImageBuilder::new(&name).weighs(800));
        let bundle = shelf.layout.referrer(
            &image.manifest,
            "application/vnd.example.bundle",
            name.as_bytes(),
        );
        shelf.layout.entry(&bundle.manifest);
    }
    for version in ["1.3", "1.4"] {
        let image = shelf.named(
            &format!("app:{version}"),
            90,
            &ImageBuilder::new(version).weighs(800),
        );
        shelf.layout.referrer(
            &image.manifest,
            "application/vnd.example.sbom",
            version.as_bytes(),
        );
    }
    shelf.write();
    let policy = [
        "-a",
        "--filter",
        "reference=*:nightly-*",
        "--keep-last",
        "7",
    ];
    let gate = shelf.call(policy).args(["-n", "--exit-code"]).run();
    gate.exits(10);
    let pruned = shelf.prune(&policy);
    pruned.ok();
    assert_eq!(pruned.names.len(), 9, "{}", pruned.run.all());
    assert!(
        pruned.names.contains("app:1.3") && pruned.names.contains("app:nightly-06"),
        "{}",
        pruned.run.all()
    );
    assert!(
        !pruned.names.contains("app:nightly-05"),
        "{}",
        pruned.run.all()
    );
    // Seven bundles are kept with their nightlies, five were removed.
    assert_eq!(pruned.entries.len(), 16, "{}", pruned.run.all());
    // Manifest, config, layer and bundle each; the empty config of the bundles is still in use.
    assert_eq!(pruned.deleted.len(), 5 * 5, "{}", pruned.run.all());
    shelf.call(policy).args(["-n", "--exit-code"]).run().ok();
}

/// Several directories, one confirmation, and the entry without a name that blocks podman is removed.
#[test]
fn a_laptop_is_cleaned_with_one_confirmation() {
    // With the entries without a name that are kept: in the second nothing has one.
    let layouts = [
        ("oras-retag", 0),
        ("skopeo-new-untagged", 3),
        ("buildah-sid", 0),
    ];
    let unpacked: Vec<_> = layouts.iter().map(|(name, _)| unpack(name)).collect();
    let mut args = vec!["prune".to_owned(), "--now".to_owned(), NOW.to_owned()];
    for one in &unpacked {
        args.push(
            one.root
                .to_str()
                .expect("paths of the tests are UTF-8")
                .to_owned(),
        );
    }
    args.extend(["--grace".to_owned(), "0".to_owned()]);
    let before: Vec<Vec<String>> = unpacked.iter().map(|one| names(&one.root)).collect();
    let df = Cmd::new(["df", "--grace", "0"])
        .args(unpacked.iter().map(|one| &one.root))
        .run();
    df.ok().says("RECLAIMABLE");
    let Some(run) = Terminal::program(&args, "").map(|it| it.answer("yes\n")) else {
        return;
    };
    run.ok().says("Total reclaimed space:");
    assert_eq!(run.stdout.matches("[y/N]").count(), 1, "{}", run.all());
    for ((one, before), (_, nameless)) in unpacked.iter().zip(before).zip(layouts) {
        let listed = listed(&one.root);
        let found = listed.iter().filter(|(_, names)| names.is_empty());
        assert_eq!(found.count(), nameless, "{}", run.all());
        assert_eq!(names(&one.root), before, "no name is lost\n{}", run.all());
        let again = prune_call(&one.root)
            .args(["-n", "--format", "json", "--grace", "0"])
            .run();
        assert!(
            verdicts(again.ok()).iter().all(|verdict| !verdict.goes),
            "{}",
            again.all()
        );
    }
}
