//! `prune_together`: several layouts with one budget, and with keep rules that count in all of them.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::Error;
use ocisweep::ops::{
    BudgetRequest, LayoutGroup, Limits, LimitsError, Mode, Protection, PrunedTogether,
    prune_together,
};
use ocisweep::parse::size::Amount;
use ocisweep::plan::{Across, Filters, Policy, PruneError, PruneOptions, Scope};
use ocisweep::progress::Silent;

use crate::support::dated::{ImageBuilder, TestLayout};
use crate::support::{blobs, snapshot};

const EXECUTE: Mode = Mode::Execute(Duration::ZERO);

/// Two layouts with images of 100 kB, of these ages in days.
fn layouts() -> [TestLayout; 2] {
    [
        [("app:1", 40), ("app:4", 10)],
        [("app:2", 30), ("app:3", 20)],
    ]
    .map(|images| {
        let mut layout = TestLayout::new();
        for (name, days) in images {
            layout.named(name, days, &ImageBuilder::new(name).weighs(100_000));
        }
        layout.write();
        layout
    })
}

fn prune(
    layouts: &[TestLayout],
    policy: &Policy,
    max_size: Option<u64>,
    mode: Mode,
) -> PrunedTogether {
    let groups = layouts.iter().map(|layout| LayoutGroup::of(layout.path()));
    let groups: Vec<LayoutGroup> = groups.collect();
    let now = Timestamp::now();
    let filters = Filters::default();
    let options = PruneOptions::new(Scope::All, &filters, policy, now);
    let limits = max_size.map(|max_size| Limits {
        max_size: Some(max_size),
        free: None,
    });
    prune_together(
        &groups,
        &Protection::new(now),
        &options,
        limits,
        mode,
        &Silent,
    )
}

/// Returns the names of the images that are removed, layout by layout.
fn removed(pruned: &PrunedTogether) -> Vec<Vec<String>> {
    let runs = pruned.runs.iter().map(|run| {
        let Some(Ok(done)) = run else {
            return vec!["failed".to_owned()];
        };
        let verdicts = done.notes.iter().flat_map(|notes| &notes.verdicts);
        let removed = verdicts.filter(|verdict| verdict.is_removed);
        removed.flat_map(|verdict| verdict.names.clone()).collect()
    });
    runs.collect()
}

#[test]
fn the_oldest_of_all_layouts_are_removed_until_the_budget_is_reached() {
    let layouts = layouts();
    let before: Vec<_> = layouts
        .iter()
        .map(|layout| snapshot(layout.path()))
        .collect();
    let planned = prune(&layouts, &Policy::default(), Some(250_000), Mode::Plan);
    assert_eq!(removed(&planned), [["app:1"], ["app:2"]]);
    for (layout, before) in layouts.iter().zip(&before) {
        assert_eq!(snapshot(layout.path()), *before, "a plan changes nothing");
    }
    let done = prune(&layouts, &Policy::default(), Some(250_000), EXECUTE);
    assert_eq!(removed(&done), removed(&planned));
    let (planned, budget) = (
        planned.budget.expect("there is one"),
        done.budget.expect("there is one"),
    );
    assert!(budget.is_reached());
    assert_eq!(budget.used_bytes, planned.used_bytes);
    let left = layouts.iter().flat_map(|layout| blobs(layout.path()));
    assert_eq!(left.map(|(_, len)| len).sum::<u64>(), budget.used_bytes);
}

#[test]
fn keep_rules_count_in_all_layouts() {
    let layouts = layouts();
    let policy = Policy {
        last: Some(1),
        across: Across::Tree,
        ..Policy::default()
    };
    let done = prune(&layouts, &policy, None, Mode::Plan);
    // The second layout would be left without an image.
    assert!(done.budget.is_none());
    assert!(matches!(
        done.runs.as_slice(),
        [Some(Ok(_)), Some(Err(PruneError::LastImage { .. }))]
    ));
    let policy = Policy {
        last: Some(2),
        ..policy
    };
    let done = prune(&layouts, &policy, None, EXECUTE);
    assert_eq!(removed(&done), [["app:1"], ["app:2"]]);
}

/// Nothing is removed from an unreadable layout, its bytes count, and it does not stop the other one.
#[test]
fn layouts_that_cannot_be_planned_count_and_are_kept() {
    let layouts = layouts();
    fs::write(layouts[0].path().join("index.json"), "{").expect("a file can be written");
    let before = snapshot(layouts[0].path());
    let done = prune(&layouts, &Policy::default(), Some(350_000), EXECUTE);
    assert_eq!(removed(&done), [vec!["failed"], vec!["app:2"]]);
    assert_eq!(snapshot(layouts[0].path()), before);
    let budget = done.budget.expect("there is one");
    assert!(budget.is_reached(), "{budget:?}");
    let (lost, bytes) = budget.lost;
    assert_eq!(lost, 1);
    assert!(bytes > 200_000, "{bytes}");
}

/// Each of two layouts that share their blobs would delete blobs that only the other one needs.
#[test]
fn layouts_that_share_blobs_are_refused() {
    let [first, second] = layouts();
    let blobs = second.path().join("blobs");
    fs::remove_dir_all(&blobs).expect("a directory can be removed");
    std::os::unix::fs::symlink(first.path().join("blobs"), &blobs).expect("a link can be made");
    let before = snapshot(first.path());
    let layouts = [first, second];
    let done = prune(&layouts, &Policy::default(), Some(1), EXECUTE);
    for run in &done.runs {
        let is_refused = matches!(run, Some(Err(PruneError::Layout(Error::SharedWith { .. }))));
        assert!(is_refused, "{run:?}");
    }
    assert_eq!(snapshot(layouts[0].path()), before);
}

#[test]
fn limits_are_bytes() {
    let [first, second] = layouts();
    let paths = [first.path().to_owned(), second.path().to_owned()];
    let all = Amount::Part(10_000);
    let request = BudgetRequest {
        max_size: Some(Amount::Bytes(5)),
        min_free: None,
    };
    let limits = request
        .limits(first.path())
        .expect("no file system is read");
    assert_eq!((limits.max_size, limits.free_bytes()), (Some(5), None));
    let request = BudgetRequest {
        max_size: Some(all),
        min_free: Some(all),
    };
    let limits = request.limits_together(&paths).expect("one file system");
    let free = limits.free.expect("it is requested");
    assert_eq!(limits.max_size, Some(free.wanted));
    assert_eq!(limits.free_bytes(), Some(free.wanted - free.available));
    let paths = [first.path().to_owned(), "/proc".into()];
    let error = request.limits_together(&paths);
    assert!(
        matches!(error, Err(LimitsError::FileSystems { .. })),
        "{error:?}"
    );
}
