//! Kills while several layouts are pruned with one budget: completed layouts remain so, and a further run does the rest.

use std::path::Path;

use crate::strace::{Disturbed, args};
use crate::support::dated::NOW;
use crate::support::environment::has_strace;
use crate::support::{Cmd, ImageBuilder, TestDir, TestLayout, blobs, listed};

const LAYOUTS: [&str; 3] = ["a", "b", "c"];

/// Each layout has an old image, and one of ten days, which the last one has as well.
fn tree() -> TestDir {
    let dir = TestDir::new();
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let mut shelf = TestLayout::at(&dir.join(layout));
        let old = format!("{layout}:old");
        shelf.named(
            &old,
            50 - number as u64,
            &ImageBuilder::new(&old).weighs(50_000),
        );
        let new = format!("{layout}:new");
        shelf.named(&new, 10, &ImageBuilder::new(&new).weighs(50_000));
        shelf.write();
    }
    dir
}

fn names(dir: &TestDir, layout: &str) -> Vec<String> {
    let listed = listed(&dir.join(layout)).into_iter();
    listed.flat_map(|(_, names)| names).collect()
}

/// Panics unless a layout has the blobs of its images: three for each.
fn is_whole(path: &Path, context: &str) {
    let check = Cmd::new(["check", "--format", "json"]).arg(path).run();
    let json = check.ok().json();
    let missing = json["layouts"][0]["missing"].as_u64();
    assert_eq!(missing.unwrap_or(0), 0, "{context}");
    let needed = listed(path).len() * 3;
    assert!(blobs(path).len() >= needed, "{context}");
}

#[test]
fn a_kill_between_two_layouts_leaves_each_intact_and_a_further_run_completes_it() {
    if !has_strace() {
        return;
    }
    let call = |dir: &TestDir| {
        // Space for four of the six images.
        let words = ["prune", "-f", "-a", "--now", NOW, "--max-size", "210kB"];
        let mut words = args(words);
        words.extend(LAYOUTS.iter().map(|layout| dir.join(layout).into()));
        words
    };
    let done = tree();
    Cmd::new(call(&done)).run().ok();
    let expected: Vec<Vec<String>> = LAYOUTS.map(|layout| names(&done, layout)).into();
    assert_eq!(
        expected,
        [vec!["a:new"], vec!["b:new"], vec!["c:old", "c:new"]]
    );
    let before = tree();
    let mut kills = 0;
    for name in ["renameat", "unlinkat", "fsync"] {
        for when in 1.. {
            let dir = tree();
            let injection = format!("{name}:signal=KILL:when={when}");
            let killed = Disturbed::by(&injection, &call(&dir));
            let context = format!("{injection}\n{}", killed.run.all());
            if killed.run.code.is_some() {
                break;
            }
            kills += 1;
            for (layout, after) in LAYOUTS.into_iter().zip(&expected) {
                let found = names(&dir, layout);
                let first = names(&before, layout);
                assert!(found == *after || found == first, "{found:?}\n{context}");
                is_whole(&dir.join(layout), &context);
            }
            // Orphans of the run that was killed are not in flight: they are old.
            let again = Cmd::new(call(&dir)).run();
            again.ok();
            for (layout, after) in LAYOUTS.into_iter().zip(&expected) {
                let all = format!("{context}\n{}", again.all());
                assert_eq!(names(&dir, layout), *after, "{all}");
                assert_eq!(blobs(&dir.join(layout)), blobs(&done.join(layout)), "{all}");
            }
        }
    }
    assert!(kills > 5, "only {kills} kills");
}
