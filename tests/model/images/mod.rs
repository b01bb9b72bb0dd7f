//! Random commands on random image layouts, against a judge who knows the contract and nothing of the program.
//!
//! Each case draws a layout as tools write it and some commands. Every command runs dry first, then for real, and then:
//! - nothing that is reachable from what is kept is deleted, and what nothing references is deleted when its time has come;
//! - an entry is removed only if it was named, or belongs to what was and to nothing kept; a name only if it was selected;
//! - holds end by `hold rm` alone; second indexes and every other byte are kept as they are; docker's lists are in step;
//! - the dry run, `df` and `ls` say what the run does.
//!
//! The cases are the same in every run; the variables of the suite set their number and choose one of them.

mod ask;
mod checks;
mod disk;
mod draw;
mod judge;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;

use crate::model::PREFIX;
use crate::support::panic_message;
use crate::world::cases::{Failures, assert_kinds, each_seed, varied};
use crate::world::generate::{chance, weighted};
use checks::{Released, Step};
use disk::Disk;

/// Cases of the test; about ten seconds in a debug build.
const CASES: u64 = 150;

/// Which draws are on.
struct Features {
    /// Entries that name their subject in an annotation.
    note_subjects: bool,
    /// `prune -a --filter reference=`.
    name_filters: bool,
    /// Other JSON files that list descriptors.
    second_indexes: bool,
    /// `--ignore-index`.
    ignored_indexes: bool,
    /// Annotations whose value is the digest of a blob.
    note_digests: bool,
    /// OS versions and features.
    versions: bool,
    /// Children of one platform.
    twins: bool,
    /// Indexes that have a subject.
    index_subjects: bool,
    /// One name on two images.
    one_name_twice: bool,
    /// Signatures that share the name of their image.
    kinds: bool,
    /// docker's `manifest.json` and `repositories`.
    docker_save: bool,
    /// Names that only docker's list has.
    saved_names: bool,
    /// Force on the name of a held image whose entry has it in two annotations.
    held_names: bool,
    /// Fresh orphans and temporary files.
    writers: bool,
    /// Rewriting, sparse and hollow drops.
    platforms: bool,
    /// `df -v` against what `rm` frees.
    unique: bool,
    /// The same for images that are or have referrers or listed children.
    unique_with_referrers: bool,
}

/// Draws that are off wait for the program.
const FEATURES: Features = Features {
    note_subjects: true,
    name_filters: true,
    second_indexes: true,
    ignored_indexes: true,
    note_digests: true,
    versions: true,
    twins: true,
    index_subjects: true,
    one_name_twice: true,
    kinds: true,
    docker_save: true,
    saved_names: true,
    held_names: true,
    writers: true,
    platforms: true,
    unique: true,
    unique_with_referrers: true,
};

#[test]
fn commands_take_what_they_name_and_nothing_else() {
    let mut failures = Failures::default();
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    let mut total = 0_u32;
    let attempt = |seed: u64| {
        let run = |u: &mut Unstructured<'_>| {
            let mut story = Vec::new();
            let tried = catch_unwind(AssertUnwindSafe(|| case(u, &mut story)));
            let error = match tried {
                Ok(Ok(Some(error))) => Some(error),
                Ok(Ok(None)) => None,
                Ok(Err(error)) => return Err(error),
                Err(payload) => Some(panic_message(&*payload)),
            };
            total = total.saturating_add(1);
            for kind in KINDS {
                if story.iter().any(|line| line.contains(kind)) {
                    let seen = kinds.entry(kind).or_default();
                    *seen = seen.saturating_add(1);
                }
            }
            if let Some(error) = error {
                failures.add(story.len(), seed, format!("{error}\n{}", story.join("\n")));
            }
            Ok(())
        };
        arbtest(run).seed(seed).run();
    };
    each_seed(PREFIX, CASES, varied, attempt);
    failures.assert_none(PREFIX);
    assert_kinds(&KINDS, &kinds, total);
}

/// What must occur in the stories.
const KINDS: [&str; 27] = [
    "second index hauler-index.json",
    "-tags.json",
    "only in the second index",
    "digest tag",
    "digest tag of a repository",
    " annotation",
    " kind",
    "unlisted",
    "without subject",
    "with a subject",
    "is missing",
    "untagged child",
    "form 5",
    "docker's list",
    "only docker's list has",
    "orphan",
    "all blobs have one time",
    "temporary file",
    "hold add",
    "--platform-mode rewrite",
    "--platform-mode sparse",
    "--platform-mode hollow",
    "--keep-last",
    "--no-prune",
    "--keep-referrers",
    "exit 1",
    "exit 0, blobs deleted",
];

/// Draws and tries one case; returns what went wrong.
fn case(u: &mut Unstructured<'_>, story: &mut Vec<String>) -> Result<Option<String>> {
    let drawn = draw::layout(u)?;
    story.extend(drawn.story.iter().map(|line| format!("  {line}")));
    let mut released = Released::default();
    for _ in 0..u.int_in_range(1..=3)? {
        let disk = Disk::read(drawn.layout.path(), &drawn.ignored);
        let ask = ask::ask(u, &disk)?;
        if !FEATURES.platforms && matches!(ask.what, ask::What::Platform { .. }) {
            continue;
        }
        story.push(format!(
            "$ ocisweep {}",
            ask.args("L", &drawn.ignored).join(" ")
        ));
        let step = Step {
            layout: &drawn.layout,
            ignored: &drawn.ignored,
            ask: &ask,
            before: disk,
            released: &released,
        };
        match step.run() {
            Ok((outcome, left)) => {
                story.push(format!("  {outcome}"));
                released = left;
            }
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}
