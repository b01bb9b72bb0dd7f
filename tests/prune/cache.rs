//! Build caches with a budget: after one command, the newest tags remain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::support::files::references_of;
use crate::support::{
    Desc, Doc, Obj, TestLayout, blobs, bulk, cases, days_ago, for_each, listed, media, prune,
    unpack,
};

/// Exports of the large cache.
const EXPORTS: u32 = 300;

/// Exports of a cache that is quicker to write.
const FEW: u32 = 40;

/// The tags to which exports are written in turn.
const TAGS: u32 = 12;

/// A cache as BuildKit writes it into one directory, export by export: a tag moves, its previous content remains as garbage.
struct Cache {
    shelf: TestLayout,
    /// The tags with their final content, the newest first.
    tags: Vec<(String, Desc)>,
}

impl Cache {
    fn grown(exports: u32) -> Self {
        let mut shelf = TestLayout::new();
        shelf.layout.without_marker().directory("ingest");
        let base = shelf.layout.layer(&bulk("base", 5000));
        let mut tags: BTreeMap<u32, (u32, Desc)> = BTreeMap::new();
        for export in 0..exports {
            let tag = export % TAGS;
            // Blobs that several tags share, that one tag keeps for a while, and that only this export has.
            let epoch = shelf
                .layout
                .layer(&bulk(&format!("epoch {}", export / 25), 3000));
            let branch = shelf
                .layout
                .layer(&bulk(&format!("branch {tag} {}", export / 30), 2000));
            let own_len = 500 + 37 * usize::try_from(export % 23).expect("small");
            let own = shelf
                .layout
                .layer(&bulk(&format!("export {export}"), own_len));
            let layers = [base.clone(), epoch, branch, own];
            let records = Obj::new().with("export", u64::from(export));
            let config = shelf
                .layout
                .blob(media::CACHE_CONFIG, records.json().text().as_bytes());
            // Old BuildKit writes an index of layers, new BuildKit a manifest.
            let root = if tag.is_multiple_of(3) {
                let mut children = layers.to_vec();
                children.push(config);
                shelf.layout.put(&Doc::index(&children))
            } else {
                shelf.layout.put(&Doc::manifest(&config, &layers))
            };
            shelf.added_at(&root, days_ago(60) + Duration::from_secs(3600) * export);
            tags.insert(tag, (export, root));
        }
        // The order of entries is not that of age.
        for (tag, (_, root)) in &tags {
            shelf.layout.tag(root, &format!("branch-{tag}"));
        }
        shelf.write();
        let mut tags: Vec<(u32, String, Desc)> = tags
            .into_iter()
            .map(|(tag, (export, root))| (export, format!("branch-{tag}"), root))
            .collect();
        tags.sort_by_key(|(export, ..)| std::cmp::Reverse(*export));
        Self {
            shelf,
            tags: tags
                .into_iter()
                .map(|(_, name, root)| (name, root))
                .collect(),
        }
    }

    /// Everything that is reachable from the newest `count` tags.
    fn reach(&self, count: usize) -> BTreeSet<String> {
        let refs = references_of(self.shelf.path());
        let mut found = BTreeSet::new();
        for (_, root) in self.tags.iter().take(count) {
            found.insert(root.digest.clone());
            found.extend(refs.get(&root.digest).into_iter().flatten().cloned());
        }
        found
    }

    fn bytes(&self, digests: &BTreeSet<String>) -> u64 {
        let here = blobs(self.shelf.path());
        digests.iter().filter_map(|digest| here.get(digest)).sum()
    }
}

/// Prunes a cache to a budget, and panics unless exactly the newest tags that fit remain, intact.
#[track_caller]
fn check_budget(exports: u32, budget: impl Fn(u64) -> u64) {
    let cache = Cache::grown(exports);
    let budget = budget(cache.bytes(&cache.reach(cache.tags.len())));
    let count = (1..=cache.tags.len())
        .rev()
        .find(|count| cache.bytes(&cache.reach(*count)) <= budget)
        .expect("a budget that can be reached");
    let left = cache.reach(count);
    let tags = cache.tags.iter().take(count);
    let names: Vec<&str> = tags.map(|(name, _)| name.as_str()).collect();
    let size = format!("{budget}B");
    let pruned = prune(cache.shelf.path(), &["-a", "--max-size", &size]);
    pruned.ok().leaves(&names);
    let here: BTreeSet<String> = blobs(cache.shelf.path()).into_keys().collect();
    assert_eq!(here, left, "{}", pruned.run.all());
}

#[test]
fn a_cache_of_300_exports_is_pruned_to_its_budget_with_the_newest_tags() {
    check_budget(EXPORTS, |whole| whole / 2);
}

#[test]
fn every_budget_keeps_the_newest_tags_that_fit() {
    // Larger than everything, exact, a byte less, and down to one tag.
    let budgets: [fn(u64) -> u64; 5] = [
        |whole| whole * 3,
        |whole| whole,
        |whole| whole - 1,
        |whole| whole / 3,
        |_| 12_500,
    ];
    for budget in budgets {
        check_budget(FEW, budget);
    }
}

#[test]
fn the_last_tag_of_a_cache_is_never_removed() {
    let cache = Cache::grown(FEW);
    let pruned = cache.shelf.prune(&["-a", "--max-size", "1kB"]);
    pruned.run.exits(5);
    pruned.leaves(&[cache.tags[0].0.as_str()]);
    let here: BTreeSet<String> = blobs(cache.shelf.path()).into_keys().collect();
    assert_eq!(here, cache.reach(1), "{}", pruned.run.all());
}

#[test]
fn without_all_a_cache_loses_only_garbage() {
    let cache = Cache::grown(FEW);
    let all = cache.reach(cache.tags.len());
    let pruned = cache.shelf.prune(&["--max-size", "1GB"]);
    pruned.ok();
    let here: BTreeSet<String> = blobs(cache.shelf.path()).into_keys().collect();
    assert_eq!(here, all, "{}", pruned.run.all());
}

fn names(layout: &Path) -> BTreeSet<String> {
    listed(layout)
        .into_iter()
        .flat_map(|(_, names)| names)
        .collect()
}

#[test]
fn recorded_caches_are_pruned_to_their_budget() {
    let recorded: Vec<String> = cases()
        .into_iter()
        .map(|case| case.name)
        .filter(|name| name.starts_with("bkcache-") || name == "buildx-cache")
        .collect();
    assert!(recorded.len() >= 5, "{recorded:?}");
    for_each(recorded, String::clone, |name| {
        let case = cases()
            .into_iter()
            .find(|case| case.name == *name)
            .expect("it was listed");
        for layout in case.layouts {
            let (_unpacked, path) = layout.unpack();
            let here = blobs(&path);
            let live: u64 = layout
                .expected("keep")
                .iter()
                .filter_map(|digest| here.get(digest))
                .sum();
            let tags = names(&path);
            let pruned = prune(
                &path,
                &["-a", "--grace", "0", "--max-size", &format!("{live}B")],
            );
            pruned.ok();
            assert_eq!(pruned.names, tags, "{}", pruned.run.all());
            assert_eq!(
                blobs(&path).into_keys().collect::<BTreeSet<_>>(),
                layout.expected("keep"),
                "{}",
                pruned.run.all()
            );
            // A cache of one tag cannot be reduced by another byte.
            let less = format!("{}B", live - 1);
            let pruned = prune(&path, &["-a", "--grace", "0", "--max-size", &less]);
            assert!(
                !pruned.names.is_empty(),
                "the last tag is kept\n{}",
                pruned.run.all()
            );
            if tags.len() == 1 {
                pruned.run.exits(5).one_error_with_hint();
                assert_eq!(pruned.names, tags, "{}", pruned.run.all());
            }
        }
    });
}

/// Image exports and cache exports into one directory, under tags of their own.
#[test]
fn images_and_caches_in_one_directory_have_one_budget() {
    let unpacked = unpack("bk-mixed");
    let tags = names(&unpacked.root);
    let pruned = prune(&unpacked.root, &["-a", "--grace", "0", "--max-size", "1GB"]);
    pruned.ok();
    assert_eq!(pruned.names, tags, "{}", pruned.run.all());
    let pruned = prune(&unpacked.root, &["-a", "--grace", "0", "--max-size", "1B"]);
    pruned.run.exits(5);
    assert_eq!(pruned.entries.len(), 1, "{}", pruned.run.all());
}
