//! `rm` and `rm --platform` against layouts that other programs wrote.
//!
//! How the scenarios of `testdata/corpus/<case>.json` are read:
//! - `untag` removes every entry whose annotation has the value in `select` (`removed_root_indexes`), and then what belongs
//!   only to it (`cascade_root_indexes`). The entries are named here by their own full names, because a bare tag may mean
//!   several images. `garbage_after_cascade` is everything that is unreachable afterwards, including earlier garbage.
//!   Elements of docker's `manifest.json` are taken to be removed with their image.
//! - `drop-platform` takes `drop_children`, their attestations (`drop_attestations_with_them`) and untagged entries that
//!   list the same (`drop_nameless_root_indexes`) out of the index `old_index_digest`, for all its entries. `must_go` is
//!   what becomes unreachable by that, without older garbage and without the old index itself. If no child is left, the
//!   image is removed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::corpus::strings;
use crate::support::files::entries;
use crate::support::{CaseLayout, Cmd, assert_same, blobs, cases, for_each, snapshot};

/// Cases that no command may change.
const REFUSED: [&str; 4] = [
    "skopeo-dir",
    "skopeo-dir-v2s2",
    "skopeo-shared",
    "lxc-shared",
];

/// The scenarios of one kind in all layouts that can be changed.
fn scenarios(operation: &str) -> Vec<(CaseLayout, Value)> {
    cases()
        .into_iter()
        .filter(|case| !REFUSED.contains(&case.name.as_str()))
        .flat_map(|case| case.layouts)
        .flat_map(|layout| {
            let all = layout.scenarios(operation);
            all.into_iter()
                .map(move |scenario| (layout.clone(), scenario))
        })
        .collect()
}

fn numbers(value: &Value, key: &str) -> BTreeSet<usize> {
    let items = value.get(key).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .map(|number| usize::try_from(number).expect("an index fits"))
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("the scenario lacks {key}"))
}

fn digest(entry: &str) -> String {
    let entry: Value = serde_json::from_str(entry).expect("an entry is JSON");
    text(&entry, "digest").to_owned()
}

/// The name by which an entry is removed: the full one if it has one, else the tag.
fn name(entry: &str) -> String {
    let entry: Value = serde_json::from_str(entry).expect("an entry is JSON");
    let annotations = entry
        .get("annotations")
        .expect("a selected entry has annotations");
    [
        "io.containerd.image.name",
        "org.opencontainers.image.ref.name",
    ]
    .iter()
    .find_map(|key| annotations.get(*key).and_then(Value::as_str))
    .expect("a selected entry has a name")
    .to_owned()
}

/// Entries of the cascade that refer to an image which is kept.
///
/// The child of a removed digest tag can be one. As a child it is removed, as a referrer it is kept, and its blobs are live in
/// both cases.
fn referrers_of_what_stays(case: &CaseLayout, gone: &BTreeSet<usize>) -> BTreeSet<usize> {
    let roots = case.facts.get("roots").and_then(Value::as_array);
    let roots = roots.expect("a layout has roots");
    let staying: BTreeSet<&str> = roots
        .iter()
        .enumerate()
        .filter(|(position, _)| !gone.contains(position))
        .map(|(_, root)| text(root, "digest"))
        .collect();
    let refers = |root: &Value| {
        let subjects = strings(root.get("subject"));
        subjects
            .iter()
            .any(|subject| staying.contains(subject.as_str()))
    };
    let nameless = |root: &Value| text(root, "class") == "nameless";
    roots
        .iter()
        .enumerate()
        .filter(|(position, root)| gone.contains(position) && nameless(root) && refers(root))
        .map(|(position, _)| position)
        .collect()
}

fn describe((layout, scenario): &(CaseLayout, Value)) -> String {
    let keys = ["select", "platform", "root_index", "old_index_digest"];
    let facts: Vec<String> = keys
        .iter()
        .filter_map(|key| scenario.get(*key).map(Value::to_string))
        .collect();
    format!("{} {}", layout.label(), facts.join(" "))
}

#[test]
fn removing_a_name_leaves_what_others_need_and_frees_the_rest() {
    for_each(scenarios("untag"), describe, |(case, scenario)| {
        let (_unpacked, layout) = case.unpack();
        let all: BTreeSet<String> = blobs(&layout).into_keys().collect();
        let before = entries(&layout);
        let removed = numbers(scenario, "removed_root_indexes");
        let gone: BTreeSet<usize> = removed
            .union(&numbers(scenario, "cascade_root_indexes"))
            .copied()
            .collect();
        let names: BTreeSet<String> = removed
            .iter()
            .map(|position| name(before.get(*position).expect("the entry is there")))
            .collect();
        let rm = Cmd::new(["rm", "-f"]).arg(&layout).args(&names).run();
        rm.ok();
        let after = entries(&layout);
        let optional = referrers_of_what_stays(case, &gone);
        let left: Vec<&String> = before
            .iter()
            .enumerate()
            .filter(|(position, entry)| {
                !gone.contains(position) || (optional.contains(position) && after.contains(entry))
            })
            .map(|(_, entry)| entry)
            .collect();
        assert_eq!(
            after.iter().collect::<Vec<_>>(),
            left,
            "entries left\n{}",
            rm.all()
        );
        let gc = Cmd::gc(&layout).arg("--allow-empty").run();
        gc.ok();
        let garbage = strings(scenario.get("garbage_after_cascade"));
        let left: BTreeSet<String> = blobs(&layout).into_keys().collect();
        let expected: BTreeSet<String> = all.difference(&garbage).cloned().collect();
        assert_eq!(left, expected, "blobs left\n{}{}", rm.all(), gc.all());
    });
}

#[test]
fn dropping_a_platform_frees_its_own_blobs_and_keeps_shared_ones() {
    for_each(scenarios("drop-platform"), describe, |(case, scenario)| {
        let (_unpacked, layout) = case.unpack();
        let all: BTreeSet<String> = blobs(&layout).into_keys().collect();
        let before = entries(&layout);
        let old = text(scenario, "old_index_digest");

        let rm = Cmd::new(["rm", "-f", "--platform", text(scenario, "platform")])
            .arg(&layout)
            .arg(old)
            .run();
        rm.ok();
        let after = entries(&layout);
        let gc = Cmd::gc(&layout).arg("--allow-empty").run();
        gc.ok();
        let left: BTreeSet<String> = blobs(&layout).into_keys().collect();
        let output = format!("{}{}", rm.all(), gc.all());

        let must_go = strings(scenario.get("must_go"));
        let must_stay = strings(scenario.get("shared_with_survivors_must_stay"));
        let survivors: Vec<&String> = must_go.intersection(&left).collect();
        assert!(
            survivors.is_empty(),
            "should have gone: {survivors:?}\n{output}"
        );
        let lost: Vec<&String> = must_stay.difference(&left).collect();
        assert!(
            lost.is_empty(),
            "lost, though others need it: {lost:?}\n{output}"
        );

        // In addition, only older garbage and the old index are deleted, and only one new index is added.
        let mut expected: BTreeSet<String> = all.clone();
        expected.retain(|digest| {
            digest != old && !must_go.contains(digest) && !case.expected("garbage").contains(digest)
        });
        let new: BTreeSet<String> = left.difference(&all).cloned().collect();
        let listed: BTreeSet<String> = after.iter().map(|entry| digest(entry)).collect();
        let old_ones: BTreeSet<String> = before.iter().map(|entry| digest(entry)).collect();
        assert!(new.len() <= 1, "new blobs: {new:?}\n{output}");
        assert!(
            new.is_subset(&listed),
            "a new blob is not listed: {new:?}\n{output}"
        );
        assert!(
            !listed.contains(old),
            "the old index is still listed\n{output}"
        );
        assert_eq!(
            listed
                .difference(&old_ones)
                .cloned()
                .collect::<BTreeSet<_>>(),
            new,
            "entries that are new\n{output}"
        );
        expected.extend(new);
        assert_eq!(left, expected, "blobs left\n{output}");

        // Entries of other images keep every byte.
        let dropped = numbers(scenario, "drop_nameless_root_indexes");
        let others = before
            .iter()
            .enumerate()
            .filter(|(position, entry)| !dropped.contains(position) && digest(entry) != old);
        let others: Vec<&String> = others.map(|(_, entry)| entry).collect();
        let same: Vec<&String> = after
            .iter()
            .filter(|entry| old_ones.contains(&digest(entry)))
            .collect();
        assert_eq!(same, others, "entries of other images\n{output}");
    });
}

#[test]
fn a_dry_run_of_every_removal_reports_what_the_run_does() {
    let all = [scenarios("untag"), scenarios("drop-platform")].concat();
    for_each(all, describe, |(case, scenario)| {
        let (unpacked, layout) = case.unpack();
        let mut rm = Cmd::new(["rm", "-f", "--format", "json"]).arg(&layout);
        if let Some(platform) = scenario.get("platform").and_then(Value::as_str) {
            rm = rm
                .args(["--platform", platform])
                .arg(text(scenario, "old_index_digest"));
        } else {
            let before = entries(&layout);
            let removed = numbers(scenario, "removed_root_indexes");
            rm = rm.args(
                removed
                    .iter()
                    .map(|position| name(before.get(*position).expect("the entry is there"))),
            );
        }
        let before = snapshot(&unpacked.root);
        let sizes = blobs(&layout);
        let dry = rm.clone().arg("-n").run();
        let announced = dry.ok().report();
        assert_same(&before, &snapshot(&unpacked.root), &dry.all());
        let run = rm.run();
        let done = run.ok().report();
        let output = format!("{}{}", dry.all(), run.all());
        assert_eq!(announced.deleted(), done.deleted(), "deleted\n{output}");
        assert_eq!(announced.freed_bytes, done.freed_bytes, "freed\n{output}");
        let left = blobs(&layout);
        let gone: BTreeMap<String, u64> = sizes
            .into_iter()
            .filter(|(digest, _)| !left.contains_key(digest))
            .collect();
        assert_eq!(done.deleted(), gone, "files\n{output}");
    });
}

#[test]
fn a_platform_can_be_removed_without_a_new_index_and_frees_the_same() {
    for_each(scenarios("drop-platform"), describe, |(case, scenario)| {
        let old = text(scenario, "old_index_digest");
        let must_go = strings(scenario.get("must_go"));
        let must_stay = strings(scenario.get("shared_with_survivors_must_stay"));
        for mode in ["sparse", "hollow"] {
            let (_unpacked, layout) = case.unpack();
            let all: BTreeSet<String> = blobs(&layout).into_keys().collect();
            let rm = Cmd::new([
                "rm",
                "-f",
                "--platform-mode",
                mode,
                "--platform",
                text(scenario, "platform"),
            ])
            .arg(&layout)
            .arg(old)
            .run();
            // In a layout that is already sparse, it may not exist.
            let is_here = !strings(scenario.get("drop_children")).is_disjoint(&all);
            rm.exits(if is_here { 0 } else { 1 });
            let gone: BTreeSet<String> = all
                .difference(&blobs(&layout).into_keys().collect())
                .cloned()
                .collect();
            let output = format!("{mode}\n{}", rm.all());
            assert!(
                must_stay.is_disjoint(&gone),
                "lost, though others need it\n{output}"
            );
            let listed: BTreeSet<String> =
                entries(&layout).iter().map(|entry| digest(entry)).collect();
            if listed.contains(old) {
                assert!(
                    !gone.contains(old),
                    "the index is listed and missing\n{output}"
                );
                if mode == "sparse" && is_here {
                    assert_eq!(gone, must_go, "gone\n{output}");
                } else {
                    assert!(gone.is_subset(&must_go), "gone\n{output}");
                }
            }
            // Missing platforms are normal: only earlier garbage is deleted.
            let gc = Cmd::gc(&layout).arg("--allow-empty").run();
            let swept: BTreeSet<String> = gc
                .ok()
                .stdout
                .lines()
                .filter_map(|line| line.strip_prefix("Deleted: "))
                .map(str::to_owned)
                .collect();
            assert!(
                swept.is_subset(&case.expected("garbage")),
                "{output}{}",
                gc.all()
            );
        }
    });
}
