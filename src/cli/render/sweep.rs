//! What a sweep did, or would do, as text and as JSON: both from the same plan and the same outcome.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::execute::{DeleteResult, Outcome, Trashed};
use ocisweep::graph::Writer;
use ocisweep::layout::BlobId;
use ocisweep::oci::Digest;
use ocisweep::ops::Finished;
use ocisweep::parse::size::{human_duration, human_size};
use ocisweep::plan::{Deletion, EmptyLayouts, KeepReason, Kept, Order, Plan, Totals};
use rayon::prelude::*;

use super::json;
use crate::cli::args::TextFormat;
use crate::cli::context::{Context, quote_path, with_causes};
use crate::cli::exit::{self, Exit};

/// How many bytes of text are printed at a time.
const PIECE: usize = 1 << 16;

/// How many files that could not be deleted get a line each.
const MAX_FAILURES: usize = 3;

/// What is to be shown of one layout.
#[derive(Debug)]
pub struct Shown<'a> {
    /// What was decided.
    pub plan: &'a Plan,
    /// What became of it; `None` in a dry run.
    pub outcome: Option<&'a Outcome>,
    /// Of several layouts: what this one adds to what they free together.
    pub share: Option<Totals>,
    /// It is no layout, but a pool of blobs that several layouts use.
    pub is_pool: bool,
}

/// Returns the parts of a run as they are shown: a shared store first, then the layouts.
pub fn parts<T>(finished: &Finished<T>) -> impl Iterator<Item = Shown<'_>> {
    let has_store = finished.parts.len() > finished.notes.len();
    let parts = finished.parts.iter().enumerate();
    parts.map(move |(position, (plan, outcome))| Shown {
        plan,
        outcome: outcome.as_ref(),
        share: None,
        is_pool: has_store && position == 0,
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

    /// Returns `true` if nothing was to be done.
    pub fn is_clean(&self) -> bool {
        self.plan.is_empty()
    }

    /// Returns the victims, what became of them, and their digests, in an order that is the same on every file
    /// system: two runs, or a dry run and the run, can be compared line by line.
    fn results(&self) -> impl Iterator<Item = (Deletion, DeleteResult, Option<&Digest>)> {
        let results = self.outcome.map(|outcome| outcome.results.as_slice());
        let mut order: Vec<(u64, usize)> = (0..self.plan.sweep().len()).map(|at| (0, at)).collect();
        if self.plan.order() == Order::Directories {
            let digest = |at: usize| {
                let victim = self.plan.sweep().get(at)?;
                self.plan.blobs().digest(victim.id)
            };
            // There can be a million: nearly all are told apart by their first bytes, without a look at the digests.
            for (begin, at) in &mut order {
                *begin = digest(*at).map_or(u64::MAX, begin_of);
            }
            order.par_sort_unstable_by(|(a, at_a), (b, at_b)| {
                a.cmp(b).then_with(|| digest(*at_a).cmp(&digest(*at_b)))
            });
        }
        order.into_iter().filter_map(move |(_, position)| {
            let victim = self.plan.sweep().get(position)?;
            let result = match results {
                Some(results) => results
                    .get(position)
                    .copied()
                    .unwrap_or(DeleteResult::Skipped),
                None if self.plan.is_trashing() => DeleteResult::Trashed,
                None => DeleteResult::Deleted,
            };
            Some((victim, result, self.plan.blobs().digest(victim.id)))
        })
    }

    /// Returns the orphans that stay, with their digests, by digest.
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
            .filter_map(|(victim, _)| Some((victim, self.plan.blobs().digest(victim.id)?)))
            .collect();
        found.sort_unstable_by_key(|(_, digest)| *digest);
        found
    }

    /// Returns how a run ends of which not everything is done.
    pub fn trouble_exit(&self) -> Exit {
        match self.outcome.and_then(|outcome| outcome.late.as_ref()) {
            Some(_) => exit::IO,
            None => exit::INCOMPLETE,
        }
    }

    /// Returns `true` if what the plan writes is written, or would be.
    pub fn is_written(&self) -> bool {
        self.outcome.is_none_or(|outcome| outcome.written)
    }

    /// Returns a line for each file, as docker words it.
    pub fn lines(&self, context: &Context<'_>) -> String {
        let mut text = String::new();
        self.each_line(context, &mut |words| line(&mut text, words));
        text
    }

    /// Prints a line for each file, below the path of one of several layouts, in pieces: a million lines
    /// need not be held.
    pub fn print(&self, context: &Context<'_>, is_many: bool) -> Exit {
        let mut exit = exit::DONE;
        let mut text = String::new();
        let mut is_first = true;
        self.each_line(context, &mut |words| {
            line(&mut text, words);
            if std::mem::take(&mut is_first) {
                text = self.headed(context, std::mem::take(&mut text), is_many);
            }
            // After an error nobody reads on.
            if text.len() >= PIECE && exit == exit::DONE {
                exit = context.print(&text);
                text.clear();
            }
        });
        if exit == exit::DONE {
            exit = context.print(&text);
        }
        exit
    }

    fn each_line(&self, context: &Context<'_>, put: &mut dyn FnMut(std::fmt::Arguments<'_>)) {
        for restored in self.outcome.iter().flat_map(|outcome| &outcome.restored) {
            let digest = &restored.digest;
            match &restored.needed_by {
                Some(image) => {
                    let image = context.term.foreign(image);
                    put(format_args!("Restored: {digest} needed by {image}"));
                }
                None => put(format_args!("Restored: {digest}")),
            }
        }
        let verb = if self.outcome.is_some() {
            "Deleted:"
        } else {
            "Would delete:"
        };
        let (trash_verb, is_trashing) = match self.outcome {
            Some(_) => ("Moved to trash:", true),
            None => ("Would move to trash:", self.plan.is_trashing()),
        };
        for (_, result, digest) in self.results() {
            if let (DeleteResult::Trashed, true, Some(digest)) = (result, is_trashing, digest) {
                put(format_args!("{trash_verb} {digest}"));
            } else if result == DeleteResult::Deleted
                && let Some(digest) = digest
            {
                put(format_args!("{verb} {digest}"));
            }
        }
        for (_, digest) in self.made_room() {
            put(format_args!("{verb} {digest}"));
        }
        let temporary = match self.outcome {
            Some(outcome) => outcome.temporary.as_slice(),
            None => self.plan.temporary(),
        };
        for stray in temporary {
            let path = stray.path.to_string_lossy();
            let path = context.term.foreign(&path);
            let size = human_size(stray.len);
            put(format_args!("{verb} {path} (temporary file, {size})"));
        }
        if self.removes_layout() {
            let verb = if self.outcome.is_some() {
                "Removed:"
            } else {
                "Would remove:"
            };
            let path = self.plan.layout().to_string_lossy();
            let path = context.term.foreign(&path);
            put(format_args!("{verb} {path} (empty layout)"));
        }
        for (digest, kept) in self.kept() {
            if kept.because != KeepReason::WriterAtWork {
                let why = in_words(kept.because, context.now);
                put(format_args!("Kept: {digest} ({why})"));
            }
        }
        if let Some(writer) = self.plan.writer() {
            let sign = sign_of(writer, context.now);
            let sign = context.term.foreign(&sign);
            // Platforms that are dropped and stay listed are no garbage to `gc`.
            let is_listed = !self.is_pool && self.plan.writes().index.is_none();
            let later = if is_listed {
                "repeat this command later"
            } else {
                "gc deletes them later"
            };
            put(format_args!("kept: a writer is at work ({sign}); {later}"));
        }
    }

    /// Puts the path above the lines of one of several layouts, if there are any.
    pub fn headed(&self, context: &Context<'_>, lines: String, is_many: bool) -> String {
        if !is_many || lines.is_empty() {
            return lines;
        }
        let path = self.plan.layout().to_string_lossy();
        format!("{}:\n{lines}", context.term.foreign(&path))
    }

    /// Returns the layout as JSON.
    pub fn to_json(&self, now: Timestamp, format: TextFormat) -> json::SweptLayout {
        let mut totals = json::Totals::of(&self.totals());
        for kept in self.plan.kept() {
            totals.kept += 1;
            totals.kept_bytes += kept.len;
        }
        json::SweptLayout {
            path: self.plan.layout().to_string_lossy().into_owned(),
            items: match format {
                TextFormat::Json => self.items(now),
                // Nobody sees them, and there can be a million.
                TextFormat::Text => Vec::new(),
            },
            foreign: self.plan.foreign() as u64,
            totals,
            trash: self.trash_json(),
            state: None,
            error: None,
        }
    }

    /// Returns what went into the trash, or would.
    pub fn trashed(&self) -> Option<Trashed> {
        match self.outcome {
            Some(outcome) => outcome.trashed.clone(),
            None if self.plan.is_trashing() => {
                let sweep = self.plan.sweep();
                Some(Trashed {
                    run: String::new(),
                    blobs: sweep.len() as u64,
                    bytes: sweep.iter().map(|victim| victim.file.len).sum(),
                })
            }
            None => None,
        }
    }

    fn trash_json(&self) -> Option<json::Trash> {
        let trashed = self.trashed()?;
        Some(json::Trash {
            run: (!trashed.run.is_empty()).then_some(trashed.run),
            blobs: trashed.blobs,
            bytes: trashed.bytes,
        })
    }

    fn items(&self, now: Timestamp) -> Vec<json::Item> {
        let mut items = Vec::with_capacity(self.plan.sweep().len() + self.plan.kept().len());
        let made_room = self.made_room();
        let has_made_room: HashSet<BlobId> =
            made_room.iter().map(|(victim, _)| victim.id).collect();
        let untried = self.outcome.map_or("interrupted", why_untried);
        for (victim, result, digest) in self.results() {
            if has_made_room.contains(&victim.id) {
                continue;
            }
            let (action, reason) = match result {
                DeleteResult::Deleted if self.outcome.is_none() => ("would-delete", "unreferenced"),
                DeleteResult::Deleted => ("delete", "unreferenced"),
                DeleteResult::Trashed if self.outcome.is_none() => ("would-trash", "unreferenced"),
                DeleteResult::Trashed => ("trash", "unreferenced"),
                DeleteResult::Restored => ("keep", "listed concurrently"),
                DeleteResult::AlreadyGone => ("already-gone", "gone"),
                DeleteResult::Replaced => ("keep", "rewritten"),
                DeleteResult::Failed => ("failed", "unreferenced"),
                DeleteResult::Skipped => ("keep", untried),
            };
            items.push(json::Item {
                digest: digest.map(ToString::to_string),
                path: None,
                kind: "blob",
                size: victim.file.len,
                action,
                reasons: vec![reason.to_owned()],
                names: Vec::new(),
                platform: None,
            });
        }
        for (victim, digest) in made_room {
            items.push(json::Item {
                platform: None,
                digest: Some(digest.to_string()),
                path: None,
                kind: "blob",
                size: victim.file.len,
                action: "delete",
                reasons: vec!["unreferenced".to_owned(), "the disk was full".to_owned()],
                names: Vec::new(),
            });
        }
        let (temporary, action) = match self.outcome {
            Some(outcome) => (outcome.temporary.as_slice(), "delete"),
            None => (self.plan.temporary(), "would-delete"),
        };
        for stray in temporary {
            items.push(json::Item {
                digest: None,
                path: Some(stray.path.to_string_lossy().into_owned()),
                kind: "temporary",
                size: stray.len,
                action,
                reasons: vec!["left over".to_owned()],
                names: Vec::new(),
                platform: None,
            });
        }
        if self.removes_layout() {
            items.push(json::Item {
                digest: None,
                path: Some(".".to_owned()),
                kind: "layout",
                size: 0,
                action: if self.outcome.is_some() {
                    "remove"
                } else {
                    "would-remove"
                },
                reasons: vec!["nothing is left in it".to_owned()],
                names: Vec::new(),
                platform: None,
            });
        }
        for (digest, kept) in self.kept() {
            items.push(json::Item {
                digest: Some(digest.to_string()),
                path: None,
                kind: "blob",
                size: kept.len,
                action: "keep",
                reasons: vec![in_words(kept.because, now)],
                names: Vec::new(),
                platform: None,
            });
        }
        items
    }

    /// Tells on stderr what did not go as planned, and what somebody else did meanwhile. Says whether
    /// everything that was planned is done.
    pub fn report_trouble(&self, context: &Context<'_>) -> bool {
        let path = self.plan.layout().display();
        let (blobs, index) = if self.is_pool {
            (
                path.to_string(),
                format!("an `index.json` that uses `{path}`"),
            )
        } else {
            (format!("{path}/blobs"), format!("`{path}/index.json`"))
        };
        if self.plan.foreign() > 0 {
            let files = count(self.plan.foreign() as u64, "foreign file");
            context
                .term
                .note(&format!("left {files} in `{blobs}` alone"));
        }
        let unreadable = self
            .plan
            .kept()
            .iter()
            .filter(|kept| kept.because == KeepReason::Unreadable)
            .count() as u64;
        if unreadable > 0 {
            let orphans = count(unreadable, "orphan");
            context.term.error(
                &format!("cannot read {orphans} of `{path}`: kept, since they may be referrers of live images"),
                Some("run as the owner of the layout"),
            );
        }
        if self.share.is_none() {
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
        let mut failed: Vec<_> = outcome.failed.iter().collect();
        failed.sort_by_key(|(file, _)| file);
        let lines = failed.iter().map(|(file, error)| {
            let file = match file.strip_prefix("blobs/") {
                Some(file) if self.is_pool => file,
                _ => file,
            };
            format!("`{path}/{file}`: {error}")
        });
        if failed.len() <= MAX_FAILURES {
            for line in lines {
                context.term.error(&format!("cannot delete {line}"), None);
            }
        } else {
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
        let (ls, gc) = if self.is_pool {
            // With it every layout has to be named.
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
                format!("cannot change `{path}`, and not everything is as it was")
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
}

/// Returns a number that orders digests as they order themselves, as far as it differs.
fn begin_of(digest: &Digest) -> u64 {
    match digest {
        Digest::Sha256([a, b, c, d, e, f, g, h, ..]) => {
            u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
        }
        // The others come after all of those.
        _ => u64::MAX,
    }
}

/// Tells how much stays because of hard links.
pub fn note_linked(context: &Context<'_>, totals: &Totals) {
    if totals.linked_bytes > 0 {
        context.term.note(&format!(
            "{} remain on disk: hard links outside this run keep them",
            human_size(totals.linked_bytes)
        ));
    }
}

/// Returns why blobs were left that the plan deletes.
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

/// Returns the last line.
pub fn total_line(totals: &Totals, is_dry_run: bool) -> String {
    let size = human_size(totals.reclaimed_bytes());
    if is_dry_run {
        format!("Would reclaim {size}; nothing was changed\n")
    } else {
        format!("Total reclaimed space: {size}\n")
    }
}

/// Returns a number with a noun, `1 blob` or `2 blobs`.
pub fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Returns what shows that a writer is at work.
fn sign_of(writer: &Writer, now: Timestamp) -> String {
    match writer {
        Writer::File(path) => path.to_string_lossy().into_owned(),
        Writer::Blob { digest, modified } => {
            format!("blob {}, {}", digest.short(), age(now, *modified))
        }
    }
}

/// Returns the line on what is kept for its age; nothing if there is none.
pub fn age_line(aged: &Aged) -> String {
    if aged.blobs == 0 {
        return String::new();
    }
    let (size, blobs) = (human_size(aged.bytes), count(aged.blobs, "blob"));
    let way_out = if aged.is_all() { NOTHING_ELSE } else { "" };
    format!("kept {size}: {blobs} in flight (`--grace`){way_out}\n")
}

/// What the last line says where everything is kept for its age alone.
pub const NOTHING_ELSE: &str =
    "; nothing else is unreferenced, `--grace 0` deletes it where no writer is at work";

/// What several layouts keep because it is recent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Aged {
    blobs: u64,
    bytes: u64,
    /// Something goes, or is kept for another reason.
    has_more: bool,
}

impl Aged {
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

    /// Returns `true` if age alone keeps everything that nothing references.
    pub const fn is_all(&self) -> bool {
        self.blobs > 0 && !self.has_more
    }
}

fn in_words(because: KeepReason, now: Timestamp) -> String {
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

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_deleted_says_why() {
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
