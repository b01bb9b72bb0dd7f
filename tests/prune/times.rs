//! The filters on dates: `until`, `before` and `since`.

use std::time::{Duration, SystemTime};

use crate::prune::filters::{ALL, check, passes, shelf};
use crate::support::dated::NOW;
use crate::support::{Cmd, TestLayout, days_ago, for_each};

#[test]
fn until_accepts_every_form_of_a_time() {
    // Added: prod 60, dangling 45, dev 30, plain 10, multi 5, sparse 4, hollow 3, chart 2 days ago.
    let shelf = shelf();
    let old = ["app:prod", "<none>"];
    let cases: [(&str, &[&str]); 19] = [
        ("960h", &old),
        ("40d", &old),
        ("39d24h", &old),
        ("57600m", &old),
        ("6w", &old),
        ("2026-10-12", &old),
        ("2026-10-12T12:00", &old),
        ("2026-10-12T12:00:00", &old),
        ("2026-10-12T12:00:00Z", &old),
        ("2026-10-12T12:00:00.5Z", &old),
        ("2026-10-12T14:00:00+02:00", &old),
        ("1791806400", &old),
        ("1791806400.25", &old),
        ("0s", &ALL),
        ("-1h", &ALL),
        ("2026-11-21", &ALL),
        ("0", &[]),
        ("10", &[]),
        ("10000d", &[]),
    ];
    for_each(
        cases,
        |(time, _)| (*time).to_owned(),
        |(time, expected)| check(&shelf, &[&format!("until={time}")], expected),
    );
    // The earliest of several counts.
    check(
        &shelf,
        &["until=20d", "until=50d", "until=1d"],
        &["app:prod"],
    );
}

/// An equal time is not earlier.
#[test]
fn until_is_strict() {
    let mut shelf = TestLayout::new();
    let image = shelf.small("app:1", 10);
    shelf.added_at(&image.manifest, days_ago(10) + Duration::from_nanos(1));
    shelf.small("app:2", 10);
    shelf.write();
    check(&shelf, &["until=2026-11-11T12:00:00Z"], &[]);
    check(
        &shelf,
        &["until=2026-11-11T12:00:00.000000001Z"],
        &["app:2"],
    );
    check(
        &shelf,
        &["until=2026-11-11T12:00:00.000000002Z"],
        &["app:1", "app:2"],
    );
}

#[test]
fn a_date_without_a_zone_is_local() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 10);
    shelf.write();
    let list = |zone: &str| {
        let args = ["ls", "-q", "-f", "until=2026-11-11T12:00:01", "--now", NOW];
        let run = Cmd::new(args).arg(shelf.path()).env("TZ", zone).run();
        run.ok();
        run.stdout.lines().count()
    };
    // POSIX zones need no database: the first is west of Greenwich, the second east.
    assert_eq!(list("UTC0"), 1);
    assert_eq!(list("WST1"), 1);
    assert_eq!(list("EST-1"), 0);
}

#[test]
fn until_uses_the_requested_clock_and_images_without_a_date_are_never_old() {
    let shelf = shelf();
    let created = ["--time", "created"];
    let cases: [(&str, &[&str]); 4] = [
        ("until=2026-02-01", &["app:prod"]),
        ("until=2026-04-01", &["<none>", "app:prod"]),
        ("until=2026-07-01", &["<none>", "app:dev", "app:prod"]),
        // 1970 and a missing config never match.
        (
            "until=2030-01-01",
            &[
                "<none>",
                "app:dev",
                "app:prod",
                "team/multi:1",
                "team/sparse:1",
            ],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(passes(&shelf, &[filter], &created), expected, "{filter}");
    }
    let mut shelf = TestLayout::new();
    let image = shelf.small("app:1", 10);
    shelf.added_at(&image.manifest, SystemTime::UNIX_EPOCH);
    shelf.small("app:2", 10);
    shelf.write();
    check(&shelf, &["until=1d"], &["app:2"]);
}

#[test]
fn before_and_since_compare_when_images_were_built() {
    // Built: prod January, dangling March, dev June, multi and sparse September.
    let shelf = shelf();
    let short = |name: &str| {
        let listed = crate::support::listed(shelf.path());
        let found = listed
            .iter()
            .find(|(_, names)| names.iter().any(|other| other == name));
        found.expect("it is listed").0.clone()
    };
    let digest = short("app:dev");
    let id = digest.get(7..19).expect("a digest is long").to_owned();
    for dev in [
        "app:dev",
        "docker.io/library/app:dev",
        digest.as_str(),
        id.as_str(),
    ] {
        check(&shelf, &[&format!("before={dev}")], &["app:prod", "<none>"]);
        check(
            &shelf,
            &[&format!("since={dev}")],
            &["team/multi:1", "team/sparse:1"],
        );
    }
    check(&shelf, &["before=app:prod"], &[]);
    check(&shelf, &["since=team/multi:1"], &[]);
    check(
        &shelf,
        &["since=app:prod", "before=team/multi:1"],
        &["app:dev", "<none>"],
    );
    // The strictest of several counts.
    check(
        &shelf,
        &["before=team/multi:1", "before=app:dev"],
        &["app:prod", "<none>"],
    );
    check(
        &shelf,
        &["since=app:prod", "since=app:dev"],
        &["team/multi:1", "team/sparse:1"],
    );
}
