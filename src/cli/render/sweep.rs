//! What a sweep did, or would do, as text and as JSON: both from the same plan and the same outcome.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::execute::{DeleteResult, Outcome, Restored, Trashed};
use ocisweep::graph::Writer;
use ocisweep::layout::BlobId;
use ocisweep::oci::Digest;
use ocisweep::ops::Finished;
use ocisweep::parse::size::{human_duration, human_size};
use ocisweep::plan::{Deletion, EmptyLayouts, KeepReason, Kept, Order, Plan, Totals};
use rayon::prelude::*;

use super::json::{self, JsonTotals, JsonTrashed, SweptItem};
use super::pieces::Pieces;
use super::wrap::wrapped;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::hint::with_causes;
use crate::cli::quote::quote_path;

/// The maximum number of files that could not be deleted with a line each.
const MAX_FAILURES: usize = 3;

/// How the results of a run are shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Nothing is changed.
    pub is_dry_run: bool,
    /// Several layouts were given.
    pub is_many: bool,
    /// A document is printed instead of text.
    pub is_json: bool,
    /// Only the total is printed.
    pub is_quiet: bool,
    /// A dry run in which something would change has an exit status of its own.
    pub has_exit_code: bool,
    /// A table is appended to the summary of a CI job.
    pub has_summary: bool,
}

/// What is shown of one layout.
#[derive(Debug)]
pub struct Shown<'a> {
    /// What was decided.
    pub plan: &'a Plan,
    /// The outcome; `None` in a dry run.
    pub outcome: Option<&'a Outcome>,
    /// With several groups: the share of this one in the bytes that they free together.
    pub share: Option<Totals>,
    /// `true` for a store that several layouts share, which is not a layout.
    pub is_store: bool,
}

/// Up to this number, blobs are sorted by one thread.
const FEW: usize = 4096;

/// Returns the parts of a run with the notes of planning: first a shared store, which has no notes, then the layouts.
pub fn parts<T>(finished: &Finished<T>) -> impl Iterator<Item = (Shown<'_>, Option<&T>)> {
    let stores = finished.parts.len().saturating_sub(finished.notes.len());
    let notes = std::iter::repeat_n(None, stores).chain(finished.notes.iter().map(Some));
    let parts = finished.parts.iter().zip(notes);
    parts.map(|((plan, outcome), note)| {
        let shown = Shown {
            plan,
            outcome: outcome.as_ref(),
            share: None,
            is_store: note.is_none(),
        };
        (shown, note)
    })
}

impl Shown<'_> {
    /// Returns what was freed, or would be.
    pub fn totals(&self) -> Totals {
        match (self.share, self.outcome) {
            (Some(share), _) => share,
            (None, Some(outcome)) => outcome.done,
            (None, None) => self.plan.totals(),
        }
    }

    /// Returns `true` if the layout itself was removed, or would be.
    pub fn removes_layout(&self) -> bool {
        match self.outcome {
            Some(outcome) => outcome.layout_removed,
            None => self.plan.empty_layout() == EmptyLayouts::Remove,
        }
    }

    /// Returns `true` if there was nothing to do.
    pub fn is_clean(&self) -> bool {
        self.plan.is_empty()
    }

    /// Returns one of two words: for a dry run, or for a run.
    pub fn tense(&self, would: &'static str, did: &'static str) -> &'static str {
        if self.outcome.is_some() { did } else { would }
    }

    /// Returns the blobs to delete with their results and digests, in an order that is the same on every file system: two
    /// runs, or a dry run and the run, can be compared line by line.
    fn results(&self) -> impl Iterator<Item = (Deletion, DeleteResult, Option<&Digest>)> {
        let results = self.outcome.map(|outcome| outcome.results.as_slice());
        // Numbers of blobs have 32 bits.
        let count = u32::try_from(self.plan.sweep().len()).unwrap_or(u32::MAX);
        let mut order: Vec<(u32, u32)> = Vec::new();
        let is_sorted = self.plan.order() == Order::Docker;
        if !is_sorted {
            let digest = |at: u32| {
                let id = self.plan.sweep().ids().get(at as usize)?;
                self.plan.blobs().digest(*id)
            };
            // There can be a million: nearly all differ in their first bytes, so most digests are not read.
            let key = |at| digest(at).map_or(u32::MAX, sort_key);
            order = (0..count).map(|at| (key(at), at)).collect();
            let compare = |(a, at_a): &(u32, u32), (b, at_b): &(u32, u32)| {
                a.cmp(b).then_with(|| digest(*at_a).cmp(&digest(*at_b)))
            };
            if order.len() > FEW {
                ocisweep::threads::start();
                order.par_sort_unstable_by(compare);
            } else {
                order.sort_unstable_by(compare);
            }
        }
        (0..count).filter_map(move |number| {
            let position = match is_sorted {
                true => number,
                false => order.get(number as usize)?.1,
            } as usize;
            let deletion = self.plan.sweep().get(position)?;
            let result = match results {
                Some(results) => results
                    .get(position)
                    .copied()
                    .unwrap_or(DeleteResult::Skipped),
                None if self.plan.is_trashing() => DeleteResult::Trashed,
                None => DeleteResult::Deleted,
            };
            Some((deletion, result, self.plan.blobs().digest(deletion.id)))
        })
    }

    /// Returns the orphans that are kept, with their digests, by digest.
    fn kept(&self) -> Vec<(&Digest, &Kept)> {
        let kept = self.plan.kept().iter();
        let mut found: Vec<_> = kept
            .filter_map(|kept| Some((self.plan.blobs().digest(kept.id)?, kept)))
            .collect();
        found.sort_unstable_by_key(|(digest, _)| *digest);
        found
    }

    /// Returns the orphans that were deleted to make room on a full disk, by digest.
    fn made_room(&self) -> Vec<(Deletion, &Digest)> {
        let Some(outcome) = self.outcome else {
            return Vec::new();
        };
        let spare = self.plan.spare().iter().zip(&outcome.spare_results);
        let mut found: Vec<_> = spare
            .filter(|(_, result)| **result == DeleteResult::Deleted)
            .filter_map(|(spare, _)| Some((spare, self.plan.blobs().digest(spare.id)?)))
            .collect();
        found.sort_unstable_by_key(|(_, digest)| *digest);
        found
    }

    /// Returns `true` if the files that the plan writes were written, or would be.
    pub fn is_written(&self) -> bool {
        self.outcome.is_none_or(|outcome| outcome.written)
    }

    /// Prints a line for each file, with several layouts below the path.
    pub fn print(&self, context: &Context<'_>, style: &Style) -> Exit {
        let mut pieces = Pieces::new(context, self.heading(context, style));
        self.add_lines(&mut pieces, context);
        pieces.finish()
    }

    /// Adds a line for each file, worded as in docker.
    pub fn add_lines(&self, pieces: &mut Pieces<'_>, context: &Context<'_>) {
        for restored in self.outcome.iter().flat_map(|outcome| &outcome.restored) {
            pieces.line(format_args!("{}", restored_line(context, restored)));
        }
        let verb = self.tense("Would delete:", "Deleted:");
        let trash_verb = self.tense("Would move to trash:", "Moved to trash:");
        for (_, result, digest) in self.results() {
            match (result, digest) {
                (DeleteResult::Trashed, Some(digest)) => {
                    pieces.line(format_args!("{trash_verb} {digest}"));
                }
                (DeleteResult::Deleted, Some(digest)) => {
                    pieces.line(format_args!("{verb} {digest}"));
                }
                _ => {}
            }
        }
        for (_, digest) in self.made_room() {
            pieces.line(format_args!("{verb} {digest}"));
        }
        let temporary = match self.outcome {
            Some(outcome) => outcome.temporary.as_slice(),
            None => self.plan.temporary(),
        };
        for file in temporary {
            let path = context.term.path(&file.path);
            let size = human_size(file.len);
            pieces.line(format_args!("{verb} {path} (temporary file, {size})"));
        }
        if self.removes_layout() {
            let verb = self.tense("Would remove:", "Removed:");
            let path = context.term.path(self.plan.layout());
            pieces.line(format_args!("{verb} {path} (empty layout)"));
        }
        for (digest, kept) in self.kept() {
            if kept.because != KeepReason::WriterAtWork {
                let why = describe(kept.because, context.now);
                let line = wrapped(format!("Kept: {digest} ({why})"), context.term.width());
                pieces.line(format_args!("{line}"));
            }
        }
        if let Some(writer) = self.plan.writer() {
            let sign = context.term.foreign(&sign_of(writer, context.now));
            // Dropped platforms that are still listed are not garbage to `gc`.
            let is_listed = !self.is_store && self.plan.writes().index.is_none();
            let later = if is_listed {
                "repeat this command later"
            } else {
                "gc deletes them later"
            };
            let line = format!("kept: a writer is at work ({sign}); {later}");
            let line = wrapped(line, context.term.width());
            pieces.line(format_args!("{line}"));
        }
    }

    /// Returns the heading of a layout, if there are several.
    pub fn heading(&self, context: &Context<'_>, style: &Style) -> Option<String> {
        let path = || format!("{}:\n", context.term.path(self.plan.layout()));
        style.is_many.then(path)
    }

    /// Returns the layout as JSON; without items unless a document is printed.
    pub fn to_json(&self, now: Timestamp, style: &Style) -> json::SweptLayout {
        let mut totals = JsonTotals::of(&self.totals());
        for kept in self.plan.kept() {
            totals.kept += 1;
            totals.kept_bytes += kept.len;
        }
        let items = if style.is_json {
            self.items(now)
        } else {
            Vec::new()
        };
        let trash = self.trashed().map(|trashed| JsonTrashed {
            run: (!trashed.run.is_empty()).then_some(trashed.run),
            blobs: trashed.blobs,
            bytes: trashed.bytes,
        });
        json::SweptLayout {
            path: self.plan.layout().to_string_lossy().into_owned(),
            items,
            foreign: self.plan.foreign() as u64,
            totals,
            trash,
            ..json::SweptLayout::default()
        }
    }

    /// Adds this to the metrics of the run.
    pub fn count(&self, context: &Context<'_>) {
        if let Some(metrics) = &context.metrics {
            let trashed = self.trashed();
            let trashed = trashed.map_or((0, 0), |trashed| (trashed.blobs, trashed.bytes));
            metrics.add(self.plan, &self.totals(), trashed);
        }
    }

    /// Returns what was moved into the trash, or would be.
    pub fn trashed(&self) -> Option<Trashed> {
        match self.outcome {
            Some(outcome) => outcome.trashed.clone(),
            None if self.plan.is_trashing() => {
                let sweep = self.plan.sweep();
                Some(Trashed {
                    run: String::new(),
                    blobs: sweep.len() as u64,
                    bytes: sweep.iter().map(|deletion| deletion.file.len).sum(),
                })
            }
            None => None,
        }
    }

    fn items(&self, now: Timestamp) -> Vec<SweptItem> {
        let mut items = Vec::with_capacity(self.plan.sweep().len() + self.plan.kept().len());
        let made_room = self.made_room();
        let has_made_room: HashSet<BlobId> = made_room.iter().map(|(spare, _)| spare.id).collect();
        let untried = self.outcome.map_or("interrupted", why_untried);
        for (deletion, result, digest) in self.results() {
            if has_made_room.contains(&deletion.id) {
                continue;
            }
            let (action, reason) = match result {
                DeleteResult::Deleted => (self.tense("would-delete", "delete"), "unreferenced"),
                DeleteResult::Trashed => (self.tense("would-trash", "trash"), "unreferenced"),
                DeleteResult::Restored => ("keep", "listed concurrently"),
                DeleteResult::AlreadyGone => ("already-gone", "gone"),
                DeleteResult::Replaced => ("keep", "rewritten"),
                DeleteResult::Failed => ("failed", "unreferenced"),
                DeleteResult::Skipped => ("keep", untried),
            };
            items.push(SweptItem::blob(digest, deletion.file.len, action, reason));
        }
        for (spare, digest) in made_room {
            let mut item = SweptItem::blob(Some(digest), spare.file.len, "delete", "unreferenced");
            item.reasons.push("the disk was full".to_owned());
            items.push(item);
        }
        let temporary = match self.outcome {
            Some(outcome) => outcome.temporary.as_slice(),
            None => self.plan.temporary(),
        };
        let action = self.tense("would-delete", "delete");
        items.extend(temporary.iter().map(|file| SweptItem {
            path: Some(file.path.to_string_lossy().into_owned()),
            size: file.len,
            ..SweptItem::new("temporary", action, "stale")
        }));
        if self.removes_layout() {
            let action = self.tense("would-remove", "remove");
            items.push(SweptItem {
                path: Some(".".to_owned()),
                ..SweptItem::new("layout", action, "it is empty")
            });
        }
        let kept = self.kept().into_iter();
        items.extend(kept.map(|(digest, kept)| {
            let why = describe(kept.because, now);
            SweptItem::blob(Some(digest), kept.len, "keep", &why)
        }));
        items
    }

    /// Reports on stderr what did not go as planned, and what other programs did concurrently. Returns the exit for this
    /// layout.
    pub fn report_trouble(&self, context: &Context<'_>, style: &Style) -> Exit {
        let mut exit = exit::DONE;
        if !self.report_incomplete(context, style) {
            let is_late = self.outcome.is_some_and(|outcome| outcome.late.is_some());
            exit = if is_late { exit::IO } else { exit::INCOMPLETE };
        }
        match self.outcome {
            Some(outcome) if outcome.interrupted => exit.and(exit::INTERRUPTED),
            None if style.has_exit_code && !self.is_clean() => exit.and(exit::WOULD_CHANGE),
            _ => exit,
        }
    }

    /// Reports what was not done. Returns `true` if everything that was planned is done.
    fn report_incomplete(&self, context: &Context<'_>, style: &Style) -> bool {
        let path = self.plan.layout().display();
        let (blobs, index) = if self.is_store {
            (
                path.to_string(),
                format!("an `index.json` that uses `{path}`"),
            )
        } else {
            (format!("{path}/blobs"), format!("`{path}/index.json`"))
        };
        if self.plan.foreign() > 0 {
            let files = count(self.plan.foreign() as u64, "foreign file");
            context.term.note(&format!("kept {files} in `{blobs}`"));
        }
        if let [(digest, why), more @ ..] = self.plan.unread() {
            let more = match more.len() {
                0 => String::new(),
                more => format!(" (and {} more)", count(more as u64, "document")),
            };
            // Its references are unknown: the blobs may be among those that remain unreferenced.
            let rest = match (self.plan.leaves_orphans(), self.is_store) {
                (true, false) => format!(
                    "`ocisweep gc {}` deletes the blobs that only it referenced",
                    quote_path(self.plan.layout())
                ),
                (true, true) => format!(
                    "`ocisweep gc --shared-blobs {} LAYOUT...` deletes the blobs that only it referenced",
                    quote_path(self.plan.layout())
                ),
                (false, _) => "no blob that only it referenced is left".to_owned(),
            };
            context
                .term
                .note(&format!("{digest}{more} is removed and {why}; {rest}"));
        }
        let kept = self.plan.kept().iter();
        let unreadable = kept.filter(|kept| kept.because == KeepReason::Unreadable);
        let unreadable = unreadable.count() as u64;
        if unreadable > 0 {
            let orphans = count(unreadable, "orphan");
            context.term.error(
                &format!("cannot read {orphans} of `{path}`: kept, since they may be referrers of live images"),
                Some("run as the owner of the layout"),
            );
        }
        // With several layouts, the total shows it.
        if !style.is_many {
            note_linked(context, &self.totals());
        }
        let merges_layers = match self.outcome {
            Some(outcome) => outcome.merges_layers,
            None => self.plan.merges_layers() && !self.plan.sweep().is_empty(),
        };
        if merges_layers {
            context.note_overlay(&blobs);
        }
        let Some(outcome) = self.outcome else {
            return unreadable == 0;
        };
        self.report_failed(context, outcome);
        let rewritten = count_results(outcome, DeleteResult::Replaced);
        if rewritten > 0 {
            context.term.note(&format!(
                "kept {} that a writer has just written again",
                count(rewritten, "blob")
            ));
        }
        for image in &outcome.concurrent.broken {
            context.term.error(
                &format!(
                    "`{image}` was added to `{path}` during the sweep and references a deleted blob, which was unreferenced before"
                ),
                Some("write that image again"),
            );
        }
        let untried = count_results(outcome, DeleteResult::Skipped);
        let (ls, gc) = if self.is_store {
            // Every layout must be given with it.
            (String::new(), "`ocisweep gc --shared-blobs`".to_owned())
        } else {
            let layout = quote_path(self.plan.layout());
            (
                format!("inspect it with `ocisweep ls {layout}`; "),
                format!("`ocisweep gc {layout}`"),
            )
        };
        if let Some(error) = &outcome.late {
            let mut what = if outcome.written && !self.plan.writes().is_empty() {
                format!("`{path}` was changed, but not everything was done")
            } else {
                format!("cannot change `{path}`, but some files were deleted or changed")
            };
            if untried > 0 {
                let _ = write!(what, " ({} not deleted)", count(untried, "blob"));
            }
            context.term.error(
                &format!("{what}: {}", with_causes(error)),
                Some(&format!("{gc} deletes unreferenced blobs")),
            );
            return false;
        }
        if outcome.concurrent.changed && untried > 0 && !outcome.interrupted {
            context.term.error(
                &format!(
                    "{index} was written by another program right after this one: {} not deleted",
                    count(untried, "blob")
                ),
                Some(&format!("{ls}{gc} deletes unreferenced blobs")),
            );
            return false;
        }
        if outcome.concurrent.changed && outcome.concurrent.broken.is_empty() {
            context.term.note(&format!(
                "{index} was changed by another program during the sweep; nothing that it lists was deleted"
            ));
        }
        unreadable == 0 && outcome.failed.is_empty() && outcome.concurrent.broken.is_empty()
    }

    /// Reports the files that could not be deleted.
    fn report_failed(&self, context: &Context<'_>, outcome: &Outcome) {
        let path = self.plan.layout().display();
        let mut failed: Vec<_> = outcome.failed.iter().collect();
        failed.sort_by_key(|(file, _)| file);
        let lines = failed
            .iter()
            .map(|(file, error)| format!("`{path}/{file}`: {error}"));
        if failed.len() <= MAX_FAILURES {
            for line in lines {
                context.term.error(&format!("cannot delete {line}"), None);
            }
            return;
        }
        let mut lines = lines.peekable();
        let first = lines.peek().cloned().unwrap_or_default();
        let files = count(failed.len() as u64, "file");
        context.term.error(
            &format!("cannot delete {files} of `{path}`, the first of them {first}"),
            Some("`-v` names all of them"),
        );
        for line in lines {
            context.term.detail(&format!("not deleted: {line}"));
        }
    }
}

/// Returns a number that sorts like the digest, if two numbers differ.
fn sort_key(digest: &Digest) -> u32 {
    match digest {
        Digest::Sha256([a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
        // The other algorithms follow.
        _ => u32::MAX,
    }
}

/// Notes the bytes that hard links keep.
pub fn note_linked(context: &Context<'_>, totals: &Totals) {
    if totals.linked_bytes > 0 {
        context.term.note(&format!(
            "{} remain on disk: hard links outside this run keep them",
            human_size(totals.linked_bytes)
        ));
    }
}

/// Returns why blobs that the plan deletes were not deleted.
fn why_untried(outcome: &Outcome) -> &'static str {
    if outcome.interrupted {
        "interrupted"
    } else if outcome.late.is_some() {
        "not tried after an error"
    } else if outcome.concurrent.changed {
        "the layout changed concurrently"
    } else {
        "interrupted"
    }
}

fn count_results(outcome: &Outcome, wanted: DeleteResult) -> u64 {
    outcome
        .results
        .iter()
        .filter(|result| **result == wanted)
        .count() as u64
}

/// Returns the line about a blob that was restored from the trash.
pub fn restored_line(context: &Context<'_>, restored: &Restored) -> String {
    let digest = &restored.digest;
    match &restored.needed_by {
        Some(image) => format!(
            "Restored: {digest} needed by {}",
            context.term.foreign(image)
        ),
        None => format!("Restored: {digest}"),
    }
}

/// Returns the last line.
pub fn total_line(totals: &Totals, is_dry_run: bool) -> String {
    let size = human_size(totals.reclaimed_bytes());
    if is_dry_run {
        format!("Would reclaim {size}; nothing was changed\n")
    } else {
        format!("Total reclaimed space: {size}\n")
    }
}

/// Returns a number with a noun: `1 blob`, `2 blobs`.
pub fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Returns the first names of a list and how many more there are.
pub fn listed(names: &[String], most: usize) -> String {
    let shown = names.get(..most).unwrap_or(names).join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Returns the sign that a writer is at work.
fn sign_of(writer: &Writer, now: Timestamp) -> String {
    match writer {
        Writer::File(path) => path.to_string_lossy().into_owned(),
        Writer::Blob { digest, modified } => {
            format!("blob {}, {}", digest.short(), age(now, *modified))
        }
    }
}

/// Returns the line about blobs that are kept because they are recent; empty if there are none.
pub fn age_line(recent: &RecentBlobs) -> String {
    if recent.blobs == 0 {
        return String::new();
    }
    let (size, blobs) = (human_size(recent.bytes), count(recent.blobs, "blob"));
    if recent.is_all() {
        return format!("kept {size}: {blobs} in flight (`--grace`){NOTHING_ELSE}\n");
    }
    let them = if recent.blobs == 1 { "it" } else { "them" };
    format!(
        "kept {size}: {blobs} in flight (`--grace`); `--grace 0` deletes {them} if no writer is at work\n"
    )
}

/// Returns the line about dangling images that `gc` keeps; empty if there are none.
pub fn dangling_line(images: usize) -> String {
    match images {
        0 => String::new(),
        1 => "kept 1 dangling image; `ocisweep prune` removes it\n".to_owned(),
        images => format!("kept {images} dangling images; `ocisweep prune` removes them\n"),
    }
}

/// The end of the last line if every orphan is kept only because it is recent.
pub const NOTHING_ELSE: &str =
    "; nothing else is unreferenced, `--grace 0` deletes it if no writer is at work";

/// Blobs that layouts keep because they are recent.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecentBlobs {
    blobs: u64,
    bytes: u64,
    /// Something is deleted, or kept for another reason.
    has_more: bool,
}

impl RecentBlobs {
    /// Counts the blobs of a plan.
    pub fn add(&mut self, plan: &Plan) {
        self.has_more |= !plan.sweep().is_empty() || !plan.temporary().is_empty();
        for kept in plan.kept() {
            if matches!(
                kept.because,
                KeepReason::InFlight { .. } | KeepReason::UsedInFlight
            ) {
                self.blobs += 1;
                self.bytes = self.bytes.saturating_add(kept.len);
            } else {
                self.has_more = true;
            }
        }
    }

    /// Returns `true` if every orphan is kept, and only because it is recent.
    pub const fn is_all(&self) -> bool {
        self.blobs > 0 && !self.has_more
    }
}

fn describe(because: KeepReason, now: Timestamp) -> String {
    match because {
        KeepReason::InFlight { modified } => format!("in flight, {}", age(now, modified)),
        KeepReason::UsedInFlight => "in flight, used by a blob that is".to_owned(),
        KeepReason::WriterAtWork => "a writer is at work".to_owned(),
        KeepReason::Released => "released while a writer was at work".to_owned(),
        KeepReason::Unreadable => "cannot be read".to_owned(),
        _ => "kept".to_owned(),
    }
}

/// Returns how old a file is. `modified` is in nanoseconds since 1970.
fn age(now: Timestamp, modified: i64) -> String {
    let passed = now.as_nanosecond() - i128::from(modified);
    match u64::try_from(passed) {
        Ok(passed) => format!(
            "{} old",
            human_duration(Duration::from_nanos(passed)).to_lowercase()
        ),
        Err(_) => "modified in the future".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_that_were_not_deleted_have_a_reason() {
        let outcome = |interrupted, changed| {
            let mut outcome = Outcome::nothing();
            outcome.interrupted = interrupted;
            outcome.concurrent.changed = changed;
            outcome
        };
        assert_eq!(why_untried(&outcome(true, false)), "interrupted");
        let changed = "the layout changed concurrently";
        assert_eq!(why_untried(&outcome(false, true)), changed);
        let mut late = outcome(false, false);
        late.late = Some(ocisweep::Error::Interrupted);
        assert_eq!(why_untried(&late), "not tried after an error");
    }
}
