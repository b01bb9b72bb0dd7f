//! Keep rules: one that keeps an image is enough, and each is a reason.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::support::{Desc, Doc, Image, ImageBuilder, Run, TestLayout, days_ago, for_each, media};

/// Names with their age in days.
const AGES: [(&str, u64); 10] = [
    ("app:1", 90),
    ("app:2", 40),
    ("app:3", 12),
    ("app:4", 2),
    ("app:5", 1),
    ("team/tool:1", 80),
    ("team/tool:2", 9),
    ("old", 70),
    ("new", 7),
    ("last:1", 95),
];

fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    for (name, days) in AGES {
        shelf.small(name, days);
    }
    shelf.overwritten("dangling", 3);
    shelf.write();
    shelf
}

#[test]
fn rules_keep_what_they_name() {
    // The current time is a Saturday: up to five days ago is this week, up to twenty days ago this month.
    let cases: [(&[&str], &[&str]); 12] = [
        (
            &["--keep-last", "1"],
            &["app:5", "team/tool:2", "new", "last:1"],
        ),
        (
            &["--keep-last", "2"],
            &[
                "app:4",
                "app:5",
                "team/tool:1",
                "team/tool:2",
                "old",
                "new",
                "last:1",
            ],
        ),
        (
            &["--keep-last", "3", "--group-by", "none"],
            &["app:4", "app:5", "new"],
        ),
        (
            &["--keep-within", "10d"],
            &["app:4", "app:5", "team/tool:2", "new"],
        ),
        (&["--keep-within", "36h"], &["app:5"]),
        (&["--keep-within", "24h1m"], &["app:5"]),
        (
            &["--keep-daily", "2", "--group-by", "none"],
            &["app:4", "app:5"],
        ),
        (
            &["--keep-weekly", "2", "--group-by", "none"],
            &["app:5", "new"],
        ),
        (
            &["--keep-monthly", "2", "--group-by", "none"],
            &["app:5", "app:2"],
        ),
        (
            &[
                "--keep-last",
                "1",
                "--keep-within",
                "3d",
                "--group-by",
                "none",
            ],
            &["app:4", "app:5"],
        ),
        (&["--keep-last", "0", "--keep", "*:1"], &["app:1", "last:1"]),
        (
            &["--keep", "app:[1-3]", "--keep", "**/tool:*"],
            &["app:1", "app:2", "app:3", "team/tool:1", "team/tool:2"],
        ),
    ];
    for_each(
        cases,
        |(args, _)| args.join(" "),
        |(args, names)| {
            let shelf = shelf();
            let mut all = vec!["-a"];
            all.extend(*args);
            shelf.prune(&all).ok().leaves(names);
        },
    );
}

#[test]
fn each_reason_names_its_rule_and_its_group() {
    let shelf = shelf();
    let pruned = shelf.prune(&[
        "-a",
        "--keep-last",
        "1",
        "--keep-within",
        "10d",
        "--keep-daily",
        "1",
        "--keep-weekly",
        "2",
        "--keep-monthly",
        "2",
        "--keep",
        "*:2",
    ]);
    pruned
        .ok()
        .because(
            "app:5",
            false,
            &[
                "within 10 days",
                "last 1 of app",
                "daily 2026-11-20 of app",
                "weekly 2026-W47 of app",
                "monthly 2026-11 of app",
            ],
        )
        .because("app:4", false, &["within 10 days"])
        .because("app:3", false, &["weekly 2026-W46 of app"])
        .because("app:2", false, &["--keep *:2", "monthly 2026-10 of app"])
        .because("app:1", true, &["no hold, filter or rule keeps it"])
        .because(
            "team/tool:2",
            false,
            &[
                "within 10 days",
                "last 1 of team/tool",
                "daily 2026-11-12 of team/tool",
                "weekly 2026-W46 of team/tool",
                "monthly 2026-11 of team/tool",
            ],
        )
        .because(
            "new",
            false,
            &[
                "within 10 days",
                "last 1",
                "daily 2026-11-14",
                "weekly 2026-W46",
                "monthly 2026-11",
            ],
        );
}

#[test]
fn periods_without_an_image_do_not_count() {
    let mut shelf = TestLayout::new();
    // Two on one day, then gaps of weeks and months.
    for (name, days) in [("a:1", 200), ("a:2", 110), ("a:3", 45), ("a:4", 44)] {
        shelf.small(name, days);
    }
    let noon = ImageBuilder::new("noon")
        .layer(b"noon")
        .store(&shelf.layout);
    shelf.layout.tag(&noon.manifest, "a:5");
    shelf.added_at(&noon.manifest, days_ago(44) + Duration::from_secs(3600));
    shelf.write();
    let kept = |args: &[&str]| -> BTreeSet<String> {
        let run = shelf
            .call(args)
            .args(["-a", "-n", "--format", "json"])
            .run();
        run.ok();
        crate::support::verdicts(&run)
            .into_iter()
            .filter(|verdict| !verdict.goes)
            .flat_map(|verdict| verdict.names)
            .collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(kept(&["--keep-daily", "3"]), set(&["a:5", "a:3", "a:2"]));
    assert_eq!(kept(&["--keep-weekly", "3"]), set(&["a:5", "a:2", "a:1"]));
    assert_eq!(kept(&["--keep-monthly", "9"]), set(&["a:5", "a:2", "a:1"]));
}

#[test]
fn overwritten_tags_neither_count_nor_are_kept_by_rules() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 30);
    shelf.small("app:2", 20);
    for salt in ["x", "y", "z"] {
        shelf.overwritten(salt, 1);
    }
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep-last", "2", "--group-by", "none"]);
    pruned.ok().leaves(&["app:1", "app:2"]);
    assert_eq!(pruned.entries.len(), 2, "{}", pruned.run.all());
}

#[test]
fn without_all_rules_protect_dangling_images() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 30);
    let old = shelf.overwritten("generation 1", 20);
    let new = shelf.overwritten("generation 2", 10);
    shelf.write();
    let pruned = shelf.prune(&["--keep-last", "1"]);
    pruned.ok().leaves(&["app:1"]).deletes(&old.digests());
    assert!(shelf.has_all(&new), "{}", pruned.run.all());
    pruned.run.warns("--all");
    let pruned = shelf.prune(&["--keep-within", "11d"]);
    pruned
        .ok()
        .deletes([])
        .because(&new.manifest.digest, false, &["within 11 days"]);
    shelf
        .prune(&["--keep-within", "9d"])
        .ok()
        .deletes(&new.digests());
}

/// A part or the base of a removed image is kept by its own rule.
#[test]
fn images_that_a_rule_keeps_are_not_removed_along_with_others() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 30);
    let part = shelf.overwritten("young part", 2);
    let index = shelf.layout.index(std::slice::from_ref(&part.manifest));
    shelf.layout.entry(&index);
    shelf.added(&index, 50);
    let base = shelf.overwritten("young base", 3);
    let config = shelf.layout.config("linux/amd64", "built upon it");
    let upon = Doc::manifest(&config, &[]).annotate(
        "org.opencontainers.image.base.digest",
        base.manifest.digest.as_str(),
    );
    let upon = shelf.layout.put(&upon);
    shelf.layout.entry(&upon);
    shelf.added(&upon, 40);
    shelf.write();
    let pruned = shelf.prune(&["--keep-within", "9d"]);
    pruned
        .ok()
        .leaves(&["app:1"])
        .because(&part.manifest.digest, false, &["within 9 days"])
        .because(&base.manifest.digest, false, &["within 9 days"])
        .because(&index.digest, true, &["dangling"])
        .because(&upon.digest, true, &["dangling"]);
    assert!(
        shelf.has_all(&part) && shelf.has_all(&base),
        "{}",
        pruned.run.all()
    );
}

/// Five releases whose files all have the same modification time, as in an unpacked bundle; `None` is 1970.
fn bundle(days: Option<u64>, created: &dyn Fn(u32) -> Option<String>) -> TestLayout {
    let mut shelf = TestLayout::new();
    for number in 0..5_u32 {
        let name = format!("ex.com/app:1.{number}");
        let build = ImageBuilder::new(&name).layer(name.as_bytes());
        let build = match created(number) {
            Some(created) => build.created(&created),
            None => build,
        };
        let image = shelf.named(&name, 0, &build);
        let time = days.map_or(SystemTime::UNIX_EPOCH, days_ago);
        shelf.added_at(&image.manifest, time);
    }
    shelf.write();
    shelf
}

#[test]
fn equal_times_decide_nothing() {
    let ascending = |number: u32| Some(format!("2025-0{}-01T00:00:00Z", number + 1));
    let descending = |number: u32| Some(format!("2025-0{}-01T00:00:00Z", 5 - number));
    let alike = |_: u32| Some("2025-01-01T00:00:00Z".to_owned());
    let none = |_: u32| None;
    let (created, position) = (", by created", ", by position in index.json");
    let last: &[&str] = &["1.3", "1.4"];
    type Created<'a> = &'a dyn Fn(u32) -> Option<String>;
    let cases: [(&str, Created<'_>, &[&str], &str); 4] = [
        ("ascending", &ascending, last, created),
        ("descending", &descending, &["1.0", "1.1"], created),
        ("alike", &alike, last, position),
        ("none", &none, last, position),
    ];
    for days in [Some(40), Some(400), None] {
        for (what, dates, left, tie) in cases {
            let left: Vec<String> = left.iter().map(|tag| format!("ex.com/app:{tag}")).collect();
            let left: Vec<&str> = left.iter().map(String::as_str).collect();
            let pruned = bundle(days, dates).prune(&["-a", "--keep-last", "2"]);
            assert_eq!(
                pruned.names.iter().collect::<Vec<_>>(),
                left,
                "{what}, added {days:?} days ago\n{}",
                pruned.run.all()
            );
            let reason = format!("last 2 of ex.com/app{tie}");
            pruned.because(left[0], false, &[&reason]);
        }
    }
    // By that clock the dates differ, or only the position decides.
    let args = ["-a", "--keep-last", "2", "--time", "created"];
    bundle(Some(40), &descending)
        .prune(&args)
        .ok()
        .leaves(&["ex.com/app:1.0", "ex.com/app:1.1"])
        .because("ex.com/app:1.0", false, &["last 2 of ex.com/app"]);
    bundle(Some(40), &alike)
        .prune(&args)
        .ok()
        .leaves(&["ex.com/app:1.3", "ex.com/app:1.4"])
        .because(
            "ex.com/app:1.4",
            false,
            &["last 2 of ex.com/app, by position in index.json"],
        );
}

/// One image per month would be one for the whole archive.
#[test]
fn equal_times_do_not_form_one_period() {
    let monthly = |number: u32| Some(format!("2025-0{}-01T00:00:00Z", number + 1));
    let shelf = bundle(Some(40), &monthly);
    let pruned = shelf.prune(&["-a", "--keep-monthly", "3"]);
    pruned
        .ok()
        .leaves(&["ex.com/app:1.2", "ex.com/app:1.3", "ex.com/app:1.4"])
        .because(
            "ex.com/app:1.4",
            false,
            &["monthly 2025-05 of ex.com/app, by created"],
        )
        .because(
            "ex.com/app:1.2",
            false,
            &["monthly 2025-03 of ex.com/app, by created"],
        );
}

/// A rule on age that compares no images uses only its clock.
#[test]
fn age_ignores_the_other_time() {
    let shelf = bundle(Some(40), &|_| Some("2026-11-20T00:00:00Z".to_owned()));
    let args = ["-a", "--keep-within", "30d", "--keep-last", "2"];
    shelf
        .prune(&args)
        .ok()
        .leaves(&["ex.com/app:1.3", "ex.com/app:1.4"]);
    let args = ["-a", "--filter", "until=30d", "--keep-last", "1"];
    shelf.prune(&args).ok().leaves(&["ex.com/app:1.4"]);
}

#[test]
fn the_later_entry_of_two_alike_is_the_newer() {
    let mut shelf = TestLayout::new();
    let first = shelf.small("app:1", 10);
    shelf.small("app:2", 10);
    shelf.layout.tag(&first.manifest, "app:3");
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok().leaves(&["app:1", "app:3"]);
}

#[test]
fn images_without_a_date_are_never_old() {
    let mut shelf = TestLayout::new();
    let first = shelf.small("app:1", 30);
    shelf.added_at(&first.manifest, SystemTime::UNIX_EPOCH);
    shelf.small("app:2", 20);
    shelf.small("app:3", 10);
    shelf.write();
    for_each(
        [
            &["--keep-last", "1"][..],
            &["--keep-within", "1h"],
            &["--keep-daily", "1"],
            &["--keep-weekly", "1"],
            &["--keep-monthly", "1"],
        ],
        |args| args.join(" "),
        |args| {
            let run = shelf
                .call(["-a", "-n", "--format", "json"])
                .args(*args)
                .run();
            run.ok();
            let verdicts = crate::support::verdicts(&run);
            let app = verdicts.iter().find(|verdict| verdict.names == ["app:1"]);
            assert!(app.is_some_and(|verdict| !verdict.goes), "{}", run.all());
        },
    );
}

#[test]
fn age_follows_the_chosen_time() {
    let mut shelf = TestLayout::new();
    let dated = |salt: &str, created: &str| {
        ImageBuilder::new(salt)
            .layer(salt.as_bytes())
            .created(created)
    };
    // Added in one order, built in the other.
    shelf.named("app:1", 10, &dated("1", "2026-03-01T00:00:00Z"));
    shelf.named("app:2", 20, &dated("2", "2026-04-01T00:00:00Z"));
    shelf.named("app:3", 30, &dated("3", "2026-05-01T00:00:00Z"));
    shelf.named("app:4", 40, &dated("4", "1970-01-01T00:00:00Z"));
    shelf.named("app:5", 50, &ImageBuilder::new("5").layer(b"5"));
    shelf.write();
    let kept = |args: &[&str]| {
        let run = shelf
            .call(args)
            .args(["-a", "-n", "--keep-last", "3", "--format", "json"])
            .run();
        run.ok();
        let verdicts = crate::support::verdicts(&run).into_iter();
        verdicts
            .filter(|verdict| !verdict.goes)
            .flat_map(|verdict| verdict.names)
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(&[]), ["app:1", "app:2", "app:3"]);
    assert_eq!(kept(&["--time", "added"]), ["app:1", "app:2", "app:3"]);
    // Builders write 1970 for an unknown date.
    assert_eq!(kept(&["--time", "created"]), ["app:3", "app:4", "app:5"]);
}

#[test]
fn now_tries_out_a_policy() {
    let shelf = shelf();
    let kept = |now: &str| {
        let args = [
            "prune",
            "-a",
            "-n",
            "--keep-within",
            "5d",
            "--format",
            "json",
            "--now",
            now,
        ];
        let run = crate::support::Cmd::new(args)
            .arg(shelf.path())
            .arg("--allow-empty")
            .run();
        run.ok();
        let verdicts = crate::support::verdicts(&run).into_iter();
        verdicts
            .filter(|verdict| !verdict.goes)
            .flat_map(|verdict| verdict.names)
            .collect::<Vec<_>>()
    };
    assert_eq!(kept("2026-11-21T12:00:00Z"), ["app:4", "app:5"]);
    assert_eq!(kept("2026-11-25T00:00:00Z"), ["app:5"]);
    assert_eq!(kept("2027-11-25T00:00:00Z"), [""; 0]);
    // Seen from the past everything is recent.
    assert_eq!(kept("2026-07-01T00:00:00Z").len(), AGES.len());
}

#[test]
fn filtered_out_images_do_not_count_for_rules() {
    let mut shelf = TestLayout::new();
    for number in 1..=5 {
        shelf.small(&format!("app:nightly-{number}"), 60 - number);
    }
    shelf.small("app:1.0", 2);
    shelf.small("app:1.1", 1);
    shelf.write();
    let pruned = shelf.prune(&[
        "-a",
        "--filter",
        "reference=*:nightly-*",
        "--keep-last",
        "2",
    ]);
    pruned
        .ok()
        .leaves(&["app:1.0", "app:1.1", "app:nightly-4", "app:nightly-5"])
        .because("app:1.1", false, &["does not pass the filters"])
        .because("app:nightly-4", false, &["last 2 of app"]);
}

#[test]
fn an_image_in_two_repositories_is_kept_by_either() {
    let mut shelf = TestLayout::new();
    let both = shelf.small("app:1", 30);
    shelf.layout.tag(&both.manifest, "tool:1");
    shelf.small("app:2", 20);
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned
        .ok()
        .leaves(&["app:1", "app:2", "tool:1"])
        .because("app:1", false, &["last 1 of tool"]);
}

/// Names of one repository in different spellings.
#[test]
fn a_repository_is_one_in_every_spelling() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 30);
    shelf.small("docker.io/library/app:2", 20);
    shelf.small("library/app:3", 10);
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok().leaves(&["library/app:3"]);
}

fn keep_from(shelf: &TestLayout, text: &str) -> String {
    let file = shelf.layout.outside().join("allow.txt");
    fs::write(&file, text).expect("the list can be written");
    file.to_str()
        .expect("paths of the tests are UTF-8")
        .to_owned()
}

#[test]
fn a_list_keeps_its_images_and_all_others_are_removed() {
    let shelf = shelf();
    let digest = {
        let listed = crate::support::listed(shelf.path());
        let found = listed.iter().find(|(_, names)| names == &["old"]);
        found.expect("it is listed").0.clone()
    };
    let file = keep_from(
        &shelf,
        &format!(
            "# what the customers run\n\n  app:3  \r\nteam/tool:*\n{digest}\n#app:5\nnothing:7\nlast:1@{}\nno?hing\n",
            crate::support::sha256(b"nobody has this")
        ),
    );
    let pruned = shelf.prune(&["--keep-from", &file]);
    pruned
        .ok()
        .leaves(&["app:3", "team/tool:1", "team/tool:2", "old"])
        .because("app:3", false, &["listed as app:3"])
        .because("team/tool:1", false, &["listed as team/tool:*"])
        .because("app:5", true, &["no hold, filter or rule keeps it"]);
    pruned
        .run
        .warns("nothing:7")
        .warns("no?hing")
        .warns("last:1@sha256:");
    let complaints = pruned.run.stderr.lines().count();
    assert_eq!(
        complaints,
        3,
        "only unused lines are mentioned\n{}",
        pruned.run.all()
    );
}

#[test]
fn a_list_names_images_in_every_form() {
    let lines: [(&str, &[&str]); 8] = [
        ("app", &["app:latest"]),
        ("app:latest", &["app:latest"]),
        ("docker.io/library/app", &["app:latest"]),
        ("docker.io/library/app:latest", &["app:latest"]),
        ("app:1", &["docker.io/library/app:1"]),
        ("**app:*", &["app:latest", "docker.io/library/app:1"]),
        ("v1", &["v1"]),
        ("v?", &["v1"]),
    ];
    for_each(
        lines,
        |(line, _)| (*line).to_owned(),
        |(line, names)| {
            let mut shelf = TestLayout::new();
            for name in ["app:latest", "docker.io/library/app:1", "v1", "other:1"] {
                shelf.small(name, 10);
            }
            shelf.write();
            let file = keep_from(&shelf, line);
            shelf.prune(&["--keep-from", &file]).ok().leaves(names);
        },
    );
}

/// Spaces around a line are ignored, and so are those around a name.
#[test]
fn a_list_keeps_a_name_with_spaces_around_it() {
    let mut shelf = TestLayout::new();
    for name in ["app:1", " app:2 ", "app 3"] {
        shelf.small(name, 10);
    }
    shelf.write();
    let file = keep_from(&shelf, " app:2 \napp 3\n");
    let pruned = shelf.prune(&["--keep-from", &file]);
    pruned.ok().leaves(&[" app:2 ", "app 3"]);
    assert_eq!(pruned.run.stderr, "", "{}", pruned.run.all());
}

#[test]
fn a_list_works_with_other_rules_and_filters() {
    let shelf = shelf();
    let file = keep_from(&shelf, "app:1\n");
    let pruned = shelf.prune(&[
        "--keep-from",
        &file,
        "--keep",
        "app:2",
        "--keep-last",
        "1",
        "--filter",
        "reference=app:*",
    ]);
    pruned.ok().leaves(&[
        "app:1",
        "app:2",
        "app:5",
        "team/tool:1",
        "team/tool:2",
        "old",
        "new",
        "last:1",
    ]);
}

#[test]
fn a_list_that_matches_nothing_does_not_delete_everything() {
    let shelf = shelf();
    let file = keep_from(&shelf, "# nothing\n");
    shelf
        .refuses(&["--keep-from", &file], 3)
        .warns("--allow-empty");
    let file = keep_from(&shelf, "else:1\n");
    shelf.refuses(&["--keep-from", &file], 3).warns("else:1");
}

#[test]
fn invalid_rules_are_refused() {
    let shelf = shelf();
    let missing = shelf.layout.outside().join("no-such-list");
    let bad = keep_from(&shelf, "app:1\n\napp:[\n");
    let missing = missing.to_str().expect("paths of the tests are UTF-8");
    let cases: [(&[&str], &str); 14] = [
        (&["--keep", "["], "--keep"),
        (&["--keep", "a[b-]"], "--keep"),
        (&["--keep-last", "-1"], "-1"),
        (&["--keep-last", "many"], "--keep-last"),
        (&["--keep-last", ""], "--keep-last"),
        (&["--keep-daily", "1.5"], "--keep-daily"),
        (&["--keep-within", "5"], "--keep-within"),
        (&["--keep-within", "soon"], "--keep-within"),
        (&["--keep-within", "-5d"], "-5"),
        (&["--group-by", "tag"], "--group-by"),
        (&["--time", "used"], "--time"),
        (&["--now", "yesterday"], "--now"),
        (&["--keep-from", &bad], "line 3"),
        (&["--keep-from", missing], "no-such-list"),
    ];
    for_each(
        cases,
        |(args, _)| args.join(" "),
        |(args, text)| {
            let run: Run = shelf.refuses(&[&["-a"], *args].concat(), 2);
            run.warns(text);
        },
    );
}

/// A digest tag whose image is gone must not displace a release that a rule keeps. A tag with the digest of its own image,
/// as imgpkg writes, is an image.
#[test]
fn a_digest_tag_is_not_an_image_of_its_repository() {
    let absent = format!("app:sha256-{}", "0".repeat(64));
    for_each(
        COMPARING,
        |args| args.join(" "),
        |args| {
            for suffix in ["", ".sig", ".c0ffee1234567890.meta"] {
                let mut shelf = TestLayout::new();
                shelf.small("app:1", 60);
                let release = shelf.small("app:2", 50);
                let stale = shelf.small(&format!("{absent}{suffix}"), 2);
                shelf.write();
                let pruned = shelf.prune(args);
                pruned.ok().leaves(&["app:2"]);
                assert!(shelf.has_all(&release) && !shelf.has(&stale.manifest));
            }
        },
    );
    let mut shelf = TestLayout::new();
    for (name, days) in [("app:1", 60), ("app:2", 50), (&absent, 2)] {
        shelf.small(name, days);
    }
    let image = ImageBuilder::new("own").store(&shelf.layout);
    let own = format!("app:{}.imgpkg", image.manifest.digest.replacen(':', "-", 1));
    shelf.layout.tag(&image.manifest, &own);
    shelf.added(&image.manifest, 40);
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep-last", "2"]);
    pruned.ok().leaves(&[&own, "app:2"]);
    // Its age is its own, and so is its name.
    let stale: [&[&str]; 2] = [
        &["-a", "--keep-within", "3d"],
        &["-a", "--keep", "app:sha256-0*"],
    ];
    for args in stale {
        let mut shelf = TestLayout::new();
        shelf.small(&absent, 2);
        shelf.small("app:1", 60);
        shelf.write().hold("one", "app:1");
        shelf.prune(args).ok().leaves(&[&absent, "app:1"]);
    }
}

/// Without a rule that removes it, the tag of a removed image may also be a name.
#[test]
fn a_stale_digest_tag_is_kept_without_all() {
    let mut shelf = TestLayout::new();
    let absent = format!("app:sha256-{}.sig", "0".repeat(64));
    shelf.small(&absent, 60);
    shelf.small("app:1", 60);
    shelf.write();
    shelf.prune(&[]).ok().leaves(&[&absent, "app:1"]);
    shelf
        .prune(&["--keep-last", "1"])
        .ok()
        .leaves(&[&absent, "app:1"]);
}

/// Calls of rules that compare images.
const COMPARING: [&[&str]; 4] = [
    &["-a", "--keep-last", "1"],
    &["-a", "--keep-last", "1", "--group-by", "none"],
    &["-a", "--keep-daily", "1"],
    &["-a", "--keep-last", "1", "--group-by", "tree"],
];

/// A signature, attestation or SBOM with the name of a removed image is not an image, like a digest tag.
#[test]
fn a_referrer_with_the_name_of_a_removed_image_is_not_an_image_of_its_repository() {
    const KINDS: [&str; 5] = [
        "dev.cosignproject.cosign/sigs",
        "dev.cosignproject.cosign/atts",
        "dev.cosignproject.cosign/sboms",
        "dev.hauler/referrers/0123456789abcdef",
        "signature",
    ];
    let list = |shelf: &mut TestLayout, name: &str, kind: &str| -> Image {
        let image = ImageBuilder::new(kind).layer(kind.as_bytes());
        let image = image.store(&shelf.layout);
        let entry = image.manifest.clone().tagged(name);
        shelf.layout.entry(entry.annotate("kind", kind));
        shelf.added(&image.manifest, 2);
        image
    };
    for kind in KINDS {
        for_each(
            COMPARING,
            |args| format!("{kind} {}", args.join(" ")),
            |args| {
                let mut shelf = TestLayout::new();
                shelf.small("app:1", 60);
                let release = shelf.small("app:2", 50);
                let stale = list(&mut shelf, "app:3", kind);
                shelf.write();
                let pruned = shelf.prune(args);
                pruned.ok().leaves(&["app:2"]);
                assert!(shelf.has_all(&release) && !shelf.has(&stale.manifest));
            },
        );
    }
    // A held one does not count either.
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 60);
    shelf.small("app:2", 50);
    let stale = list(&mut shelf, "app:3", KINDS[0]);
    shelf.write().hold("one", &stale.manifest.digest);
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok().leaves(&["app:2", "app:3"]);
    // One that has a name of its own as well is an image of that one.
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 60);
    shelf.small("app:2", 50);
    let both = list(&mut shelf, "app:3", KINDS[0]);
    shelf.layout.tag(&both.manifest, "tool:1");
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok().leaves(&["app:2", "app:3", "tool:1"]);
    // Of an image, it is no matter by what else it has the name.
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 60);
    let both = list(&mut shelf, "app:3", KINDS[0]);
    shelf.layout.tag(&both.manifest, "app:3");
    shelf.write();
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok().leaves(&["app:3"]);
    // Its age is its own, and so is its name.
    let own: [&[&str]; 2] = [&["-a", "--keep-within", "3d"], &["-a", "--keep", "app:3"]];
    for args in own {
        let mut shelf = TestLayout::new();
        list(&mut shelf, "app:3", KINDS[0]);
        shelf.small("app:1", 60);
        shelf.write().hold("one", "app:1");
        shelf.prune(args).ok().leaves(&["app:3", "app:1"]);
    }
    // Without a rule that removes it, it is kept.
    let mut shelf = TestLayout::new();
    list(&mut shelf, "app:3", KINDS[0]);
    shelf.small("app:1", 60);
    shelf.write();
    shelf.prune(&[]).ok().leaves(&["app:3", "app:1"]);
}

/// Lists something without a name that refers to a digest.
type Refer = fn(&mut TestLayout, &Desc) -> Desc;

/// Stores something small that is two days old.
fn recent(shelf: &mut TestLayout) -> Desc {
    let image = ImageBuilder::new("recent").layer(b"recent");
    let desc = image.store(&shelf.layout).manifest;
    shelf.added(&desc, 2);
    desc
}

/// Lists such an image with an annotation that has a digest.
fn annotated(shelf: &mut TestLayout, of: &Desc, key: &str) -> Desc {
    let desc = recent(shelf);
    let entry = desc.clone().annotate(key, of.digest.as_str());
    shelf.layout.entry(entry);
    desc
}

const REFERRERS: [(&str, Refer); 5] = [
    ("subject", |shelf, of| {
        let desc = shelf
            .layout
            .referrer(of, "application/vnd.example.sig", b"sig");
        shelf.layout.entry(&desc.manifest);
        shelf.added(&desc.manifest, 2);
        desc.manifest
    }),
    ("io.containerd.manifest.subject", |shelf, of| {
        annotated(shelf, of, "io.containerd.manifest.subject")
    }),
    ("org.olareg.referrer.subject", |shelf, of| {
        annotated(shelf, of, "org.olareg.referrer.subject")
    }),
    ("org.opencontainers.image.referrer.subject", |shelf, of| {
        annotated(shelf, of, "org.opencontainers.image.referrer.subject")
    }),
    ("an attestation", |shelf, of| {
        let desc = recent(shelf);
        shelf.layout.entry(desc.clone().attests(of));
        desc
    }),
];

/// In a layout without names every entry is an image, but not what belongs to one that is gone.
#[test]
fn an_untagged_referrer_of_a_removed_image_does_not_count_as_an_image() {
    let absent = Desc::new(media::MANIFEST, &format!("sha256:{}", "0".repeat(64)), 7);
    for (form, refer) in REFERRERS {
        for_each(
            COMPARING,
            |args| format!("{form} {}", args.join(" ")),
            |args| {
                let mut shelf = TestLayout::new();
                shelf.overwritten("one", 60);
                let release = shelf.overwritten("two", 50);
                let stale = refer(&mut shelf, &absent);
                shelf.write();
                let pruned = shelf.prune(args);
                pruned.ok();
                assert_eq!(pruned.entries, [release.manifest.digest.as_str()]);
                assert!(shelf.has_all(&release) && !shelf.has(&stale));
            },
        );
        // With names it is dangling.
        let mut shelf = TestLayout::new();
        shelf.small("app:1", 60);
        let stale = refer(&mut shelf, &absent);
        shelf.write();
        shelf.prune(&[]).ok().leaves(&["app:1"]);
        assert!(!shelf.has(&stale), "{form}");
        // If nothing else is listed, it is the content of the layout.
        let mut shelf = TestLayout::new();
        let only = refer(&mut shelf, &absent);
        shelf.write();
        shelf.prune(COMPARING[0]).ok();
        assert!(shelf.has(&only), "{form}");
        // It is not the last image that a budget leaves.
        let mut shelf = TestLayout::new();
        let one = shelf.overwritten("one", 60);
        let stale = refer(&mut shelf, &absent);
        shelf.write();
        let run = shelf.call(["-fa", "--max-size", "1B"]).run();
        assert!(shelf.has_all(&one), "{form}\n{}", run.all());
        assert!(!shelf.has(&stale), "{form}\n{}", run.all());
        // What it refers to may be here and not listed: it is all that keeps that.
        let mut shelf = TestLayout::new();
        shelf.overwritten("one", 60);
        let subject = ImageBuilder::new("subject").store(&shelf.layout);
        let only = refer(&mut shelf, &subject.manifest);
        shelf.write();
        shelf.prune(COMPARING[0]).ok();
        assert!(shelf.has(&only), "{form}");
    }
}

/// It is kept when its image is removed, and is then judged separately, as before.
#[test]
fn a_referrer_with_a_name_of_its_own_is_an_image_of_its_repository() {
    let absent = Desc::new(media::MANIFEST, &format!("sha256:{}", "0".repeat(64)), 7);
    for (form, refer) in REFERRERS {
        let mut shelf = TestLayout::new();
        shelf.small("app:1", 60);
        shelf.small("app:2", 50);
        let named = refer(&mut shelf, &absent);
        shelf.layout.tag(&named, "app:sbom");
        shelf.write();
        let pruned = shelf.prune(COMPARING[0]);
        pruned.ok().leaves(&["app:sbom"]);
        assert!(shelf.has(&named), "{form}");
    }
}
