//! Writers at work and damage: what may be in use stays, and what cannot be judged is left alone.

use std::time::Duration;

use crate::checks::verdicts;
use crate::shelf::{Build, Shelf};
use crate::support::{Cmd, Doc, assert_same, for_each, media, snapshot};

const HOUR: Duration = Duration::from_secs(3600);

/// Prunes by the real clock.
fn call(shelf: &Shelf, args: &[&str]) -> Cmd {
    Cmd::new(["prune"]).arg(shelf.path()).args(args)
}

fn shelf() -> Shelf {
    let mut shelf = Shelf::new();
    shelf.small("app:1", 10);
    shelf.overwritten("dangling", 20);
    shelf.write();
    shelf
}

#[test]
fn orphans_in_flight_stay_and_the_last_line_counts_them() {
    for flag in ["-n", "-f"] {
        let shelf = shelf();
        let young = shelf.layout.layer(b"twelve bytes");
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
    let run = call(&shelf, &["-f", "--format", "json"]).run();
    let json = run.ok().json();
    assert_eq!(json["totals"]["kept"], 1, "{}", run.all());
    assert_eq!(json["totals"]["kept_bytes"], 12, "{}", run.all());
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

/// A writer does not write again what is there already.
#[test]
fn what_is_released_stays_while_something_in_flight_uses_it() {
    let mut shelf = Shelf::new();
    shelf.small("app:2", 10);
    let old = shelf.named("app:1", 60, &Build::new("old").weighs(300).layer(b"base"));
    shelf.write();
    let config = shelf.layout.config("linux/amd64", "coming");
    let coming = shelf.layout.manifest(&config, &[old.layers[1].clone()]);
    let run = call(&shelf, &["-a", "-f", "--keep", "app:2"]).run();
    run.ok();
    for desc in [&old.layers[1], &config, &coming] {
        assert!(shelf.has(desc), "{} is gone\n{}", desc.digest, run.all());
    }
    assert!(!shelf.has(&old.layers[0]), "{}", run.all());
    // The writer ends; what it counted on is there.
    shelf.layout.clear_entries();
    shelf.layout.tag(&coming, "app:3");
    shelf.layout.write();
    call(&shelf, &["-f", "--grace", "0"]).run().ok();
    assert!(
        shelf.has(&old.layers[1]) && shelf.has(&config),
        "{}",
        run.all()
    );
}

#[test]
fn what_is_in_flight_stays_so_after_a_prune() {
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
    type Damage = (&'static str, fn(&mut Shelf));
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
        ("an index with a cut child", |shelf| {
            let image = Build::new("child").layer(b"child").store(&shelf.layout);
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

/// The image that is damaged can be removed, and by that the layout is pruned again.
#[test]
fn a_damaged_image_that_goes_stops_nothing() {
    let mut shelf = Shelf::new();
    let kept = shelf.small("app:1", 5);
    let bad = shelf.small("bad:1", 50);
    shelf.write();
    shelf.layout.file(&bad.manifest.blob_path(), b"{\"schema");
    shelf
        .layout
        .modified(&bad.manifest.blob_path(), crate::shelf::days_ago(50));
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

/// What is normal is no damage: platforms that were never fetched, layers that are elsewhere.
#[test]
fn a_sparse_layout_is_pruned_like_any_other() {
    let mut shelf = shelf();
    let here = Build::new("here").layer(b"here").store(&shelf.layout);
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
fn without_entries_nothing_is_pruned_unless_told_so() {
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
