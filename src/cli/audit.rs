//! The audit log: lines of JSON that record who changed what, when and why.
//!
//! *Order*: `begin` and a line for everything that is removed are flushed to disk before the first change of a layout, `end`
//! after the last one. A crash leaves a `begin` without an `end`: everything that the lines after it name may then have been
//! deleted.
//!
//! *Failure*: if the lines before a change cannot be written, nothing is changed. If `end` cannot be written, the run
//! reports that and fails, after the change.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use ocisweep::execute::{DeleteResult, Outcome, Restored};
use ocisweep::fs::AppendFile;
use ocisweep::layout::holds::Hold;
use ocisweep::layout::trash::TrashedRun;
use ocisweep::oci::Digest;
use ocisweep::ops::{Change, ChangeResult, Journal, Repaired};
use ocisweep::plan::{EmptyLayouts, Plan, Removal, Totals, Verdict};
use ocisweep::{Error, Result};
use serde::Serialize;

use super::hint::with_causes;

/// The version of the lines.
const SCHEMA_VERSION: u32 = 1;

/// The beginning of every line, and so of every log.
const HEAD: &[u8] = b"{\"schema_version\":1,\"event\":\"";

/// The number of bytes written at a time.
const PIECE: usize = 1 << 20;

/// The reason for deleting a blob that no command named.
const UNREFERENCED: &str = "unreferenced";

/// An audit log that is open.
#[derive(Debug)]
pub struct Audit {
    log: AppendFile,
    path: PathBuf,
    who: Who,
    state: Mutex<AuditState>,
}

#[derive(Debug, Default)]
struct AuditState {
    changes: HashMap<u64, Begun>,
    last: u64,
    /// Details that were recorded during planning, by layout.
    noted: HashMap<PathBuf, Vec<AuditRemoval>>,
    /// The error of writing an `end`.
    failure: Option<String>,
}

/// A change that has begun.
#[derive(Debug)]
struct Begun {
    run: String,
    layout: String,
    at: Timestamp,
}

/// An image, a name or a platform that a plan removes, and why.
#[derive(Debug, Clone)]
pub struct AuditRemoval {
    /// Its kind.
    pub kind: RemovedKind,
    /// The image.
    pub digest: Option<Digest>,
    /// The names that are removed from it.
    pub names: Vec<String>,
    /// The platform, if only that is removed.
    pub platform: Option<String>,
    /// Its bytes, shared ones included.
    pub bytes: Option<u64>,
    /// Why.
    pub reasons: Vec<String>,
}

/// The kind of what is removed from `index.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovedKind {
    /// An image.
    Image,
    /// A name.
    Name,
    /// A platform of an image.
    Platform,
}

/// Who runs the command, and how.
#[derive(Debug, Serialize)]
struct Who {
    uid: u32,
    user: Option<String>,
    /// The user that called sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    sudo_user: Option<String>,
    host: Option<String>,
    pid: u32,
    version: &'static str,
    directory: Option<String>,
    command: Vec<String>,
}

/// One line.
#[derive(Default, Serialize)]
struct AuditLine<'a> {
    schema_version: u32,
    event: &'static str,
    run: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trash_run: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reasons: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reclaimed_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(flatten)]
    who: Option<&'a Who>,
}

impl Audit {
    /// Opens a log, and creates it if it does not exist.
    ///
    /// # Errors
    /// Those of [`AppendFile::open`].
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            log: AppendFile::open(path, HEAD)?,
            path: path.to_owned(),
            who: Who::of_this_process(),
            state: Mutex::default(),
        })
    }

    /// Records what the plan of a layout removes, replacing an earlier record: a plan may be made several times.
    pub fn note(&self, layout: &Path, removed: Vec<AuditRemoval>) {
        self.lock().noted.insert(layout.to_owned(), removed);
    }

    /// Returns why the log is not complete, if it is not.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, AuditState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_change(&self, begun: &Begun, layouts: &[&Path], change: &Change<'_>) -> Writing<'_> {
        let mut lines = Writing::to(&self.log);
        let Begun { run, layout, at } = begun;
        lines.line(&AuditLine {
            time: Some(at.to_string()),
            layout: Some(layout),
            who: Some(&self.who),
            ..AuditLine::of("begin", run)
        });
        match change {
            Change::Plan {
                plan,
                expired,
                others,
            } => {
                let noted = {
                    let state = self.lock();
                    let noted = layouts.iter().map(|path| state.noted.get(*path).cloned());
                    noted.collect::<Vec<_>>()
                };
                for (path, noted) in layouts.iter().zip(noted) {
                    let path = absolute(path);
                    let removed = noted.unwrap_or_default();
                    removed
                        .iter()
                        .for_each(|removed| removed.write(&mut lines, run, &path));
                }
                write_emptied(&mut lines, run, layout, (expired, "trash expired"));
                for trashed in *others {
                    lines.line(&AuditLine {
                        layout: Some(layout),
                        trash_run: Some(&trashed.name),
                        bytes: Some(trashed.bytes()),
                        reasons: &["only if the disk is full"],
                        ..AuditLine::of("may-empty", run)
                    });
                }
                plan.plans()
                    .for_each(|plan| write_plan(&mut lines, run, plan));
            }
            Change::Restore(digests) => write_restored(&mut lines, run, layout, digests.iter()),
            Change::Return(blobs) => {
                for blob in *blobs {
                    lines.line(&AuditLine {
                        layout: Some(layout),
                        digest: Some(&blob.digest),
                        trash_run: Some(&blob.run),
                        bytes: Some(blob.len),
                        reasons: &["restored from there and not needed any more"],
                        ..AuditLine::of("trash", run)
                    });
                }
            }
            Change::Undo(plan) => {
                for own in &plan.layouts {
                    let path = absolute(&own.path);
                    for name in &own.index.names {
                        lines.line(&AuditLine {
                            layout: Some(&path),
                            names: Some(std::slice::from_ref(name)),
                            reasons: &["undo"],
                            ..AuditLine::of("restore", run)
                        });
                    }
                }
                for (digest, bytes) in &plan.blobs {
                    lines.line(&AuditLine {
                        layout: Some(layout),
                        digest: Some(digest),
                        trash_run: Some(&plan.run),
                        bytes: Some(*bytes),
                        reasons: &["undo"],
                        ..AuditLine::of("restore", run)
                    });
                }
            }
            Change::Empty(runs) => {
                write_emptied(&mut lines, run, layout, (runs, "trash emptied"));
            }
            Change::Holds { added, removed } => {
                removed
                    .iter()
                    .for_each(|hold| write_hold(&mut lines, run, layout, ("release", hold)));
                added
                    .iter()
                    .for_each(|hold| write_hold(&mut lines, run, layout, ("hold", hold)));
            }
            Change::Repair(digests) => {
                for digest in *digests {
                    lines.line(&AuditLine {
                        layout: Some(layout),
                        digest: Some(digest),
                        reasons: &["missing or damaged, if there is a whole copy"],
                        ..AuditLine::of("repair", run)
                    });
                }
            }
            // A change of an unknown kind has no details.
            _ => {}
        }
        lines
    }

    fn write_end(&self, begun: &Begun, result: &ChangeResult<'_>) -> std::io::Result<()> {
        let mut lines = Writing::to(&self.log);
        let Begun { run, layout, at } = begun;
        let now = now();
        let mut end = AuditLine {
            time: Some(now.to_string()),
            layout: Some(layout),
            result: Some("done"),
            seconds: Some(now.duration_since(*at).as_secs_f64()),
            ..AuditLine::of("end", run)
        };
        match result {
            ChangeResult::Executed(plan, outcome) => {
                let outcomes: Vec<&Outcome> =
                    outcome.store.iter().chain(&outcome.layouts).collect();
                for (plan, outcome) in plan.plans().zip(&outcomes) {
                    write_kept(&mut lines, run, plan, outcome);
                }
                let totals = outcomes.iter().map(|outcome| outcome.done);
                let totals = totals.fold(Totals::default(), Totals::plus);
                let trashed = outcomes
                    .iter()
                    .filter_map(|outcome| outcome.trashed.as_ref());
                let trashed: u64 = trashed.map(|trashed| trashed.blobs).sum();
                end.blobs = Some(totals.blobs + trashed);
                end.reclaimed_bytes = Some(totals.reclaimed_bytes());
                if outcomes.iter().any(|outcome| outcome.interrupted) {
                    end.result = Some("interrupted");
                } else if !outcomes.iter().all(|outcome| outcome.is_complete()) {
                    end.result = Some("incomplete");
                }
                let mut late = outcomes.iter().filter_map(|outcome| outcome.late.as_ref());
                end.error = late.next().map(with_causes);
            }
            ChangeResult::Restored(restored) => {
                for Restored {
                    digest,
                    len,
                    needed_by,
                    ..
                } in *restored
                {
                    let needed_by = needed_by.as_ref().map(|by| format!("needed by {by}"));
                    let reasons: Vec<&str> = needed_by.iter().map(String::as_str).collect();
                    lines.line(&AuditLine {
                        layout: Some(layout),
                        digest: Some(digest),
                        bytes: Some(*len),
                        reasons: &reasons,
                        ..AuditLine::of("restored", run)
                    });
                }
                end.blobs = Some(restored.len() as u64);
            }
            ChangeResult::Returned(blobs) => end.blobs = Some(blobs.len() as u64),
            ChangeResult::RestoredBlob(restored) => end.blobs = Some(restored.iter().len() as u64),
            ChangeResult::Undone(undone) => {
                let others = undone.restored.iter().map(|other| &other.digest);
                write_restored(&mut lines, run, layout, others);
                let restored = undone.plan.blobs.len() + undone.restored.len();
                end.blobs = Some(restored as u64);
            }
            ChangeResult::Emptied(totals) => {
                end.blobs = Some(totals.blobs);
                end.reclaimed_bytes = Some(totals.reclaimed_bytes());
            }
            ChangeResult::Repaired(repaired) => {
                for Repaired { digest, from } in *repaired {
                    let from = from.as_deref().map(absolute);
                    lines.line(&AuditLine {
                        layout: Some(layout),
                        digest: Some(digest),
                        path: from,
                        ..AuditLine::of("repaired", run)
                    });
                }
                end.blobs = Some(repaired.len() as u64);
            }
            ChangeResult::Failed(error) => {
                end.result = Some(match error {
                    Error::Interrupted => "interrupted",
                    Error::Changed { .. } => "changed concurrently, planned again",
                    _ => "failed",
                });
                end.error = Some(with_causes(error));
            }
            _ => {}
        }
        lines.line(&end);
        lines.finish()
    }
}

impl Journal for Audit {
    fn begin(&self, layouts: &[&Path], change: &Change<'_>) -> Result<u64> {
        let at = now();
        let store = match change {
            Change::Plan { plan, .. } => plan.store().map(Plan::layout),
            _ => None,
        };
        let layout = store.or(layouts.first().copied());
        let number = {
            let mut state = self.lock();
            state.last += 1;
            state.last
        };
        let begun = Begun {
            run: format!(
                "{}-{}-{number}",
                at.strftime("%Y%m%dT%H%M%S%6fZ"),
                self.who.pid
            ),
            layout: layout.map(absolute).unwrap_or_default(),
            at,
        };
        let lines = self.write_change(&begun, layouts, change);
        lines.finish().map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })?;
        self.lock().changes.insert(number, begun);
        Ok(number)
    }

    fn made_room(&self, number: u64, emptied: &[TrashedRun]) {
        let mut state = self.lock();
        let Some(begun) = state.changes.get(&number) else {
            return;
        };
        let mut lines = Writing::to(&self.log);
        let Begun { run, layout, .. } = begun;
        write_emptied(&mut lines, run, layout, (emptied, "the disk was full"));
        if let Err(error) = lines.finish() {
            let path = self.path.display();
            let text = format!("cannot record the deleted runs in `{path}`: {error}");
            state.failure.get_or_insert(text);
        }
    }

    fn end(&self, number: u64, result: &ChangeResult<'_>) {
        let Some(begun) = self.lock().changes.remove(&number) else {
            return;
        };
        if let Err(error) = self.write_end(&begun, result) {
            let path = self.path.display();
            let text = format!("cannot write the end of a run to `{path}`: {error}");
            self.lock().failure.get_or_insert(text);
        }
    }
}

impl AuditRemoval {
    /// Returns what a command that names images removes.
    pub fn by_name(removal: &Removal, reason: &str) -> Vec<Self> {
        let of = |kind| Self {
            kind,
            digest: None,
            names: Vec::new(),
            platform: None,
            reasons: vec![reason.to_owned()],
            bytes: None,
        };
        let names = removal.untagged.iter().map(|name| Self {
            names: vec![name.clone()],
            ..of(RemovedKind::Name)
        });
        let platforms = removal.dropped.iter().map(|dropped| Self {
            digest: Some(dropped.digest.clone()),
            names: dropped.names.clone(),
            platform: Some(dropped.platform.clone()),
            ..of(RemovedKind::Platform)
        });
        let images = removal.images.iter().map(|digest| Self {
            digest: Some(digest.clone()),
            ..of(RemovedKind::Image)
        });
        names.chain(platforms).chain(images).collect()
    }

    /// Returns what a prune decides to remove.
    pub fn by_rule(verdicts: &[Verdict]) -> Vec<Self> {
        let removed = verdicts.iter().filter_map(|verdict| {
            let (kind, names) = if verdict.is_removed {
                (RemovedKind::Image, &verdict.names)
            } else if verdict.untagged.is_empty() {
                return None;
            } else {
                (RemovedKind::Name, &verdict.untagged)
            };
            Some(Self {
                kind,
                digest: Some(verdict.digest.clone()),
                names: names.clone(),
                platform: None,
                bytes: Some(verdict.size),
                reasons: verdict.reasons.clone(),
            })
        });
        removed.collect()
    }

    fn write(&self, lines: &mut Writing<'_>, run: &str, layout: &str) {
        let reasons: Vec<&str> = self.reasons.iter().map(String::as_str).collect();
        let event = match self.kind {
            RemovedKind::Image => "remove",
            RemovedKind::Name => "untag",
            RemovedKind::Platform => "drop",
        };
        lines.line(&AuditLine {
            layout: Some(layout),
            digest: self.digest.as_ref(),
            names: (!self.names.is_empty()).then_some(&self.names),
            platform: self.platform.as_deref(),
            bytes: self.bytes,
            reasons: &reasons,
            ..AuditLine::of(event, run)
        });
    }
}

impl Who {
    fn of_this_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the log records the command line, the directory and the user"
        )]
        let (words, directory, sudo_user) = (
            std::env::args_os(),
            std::env::current_dir(),
            std::env::var_os("SUDO_USER"),
        );
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        let uid = rustix::process::getuid().as_raw();
        let read = |path| std::fs::read_to_string(path).ok();
        Self {
            uid,
            user: read("/etc/passwd").and_then(|text| user_of(&text, uid)),
            sudo_user: sudo_user.filter(|user| !user.is_empty()).map(lossy),
            host: read("/proc/sys/kernel/hostname").map(|host| host.trim().to_owned()),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            directory: directory.ok().map(|path| lossy(path.into_os_string())),
            command: words.map(lossy).collect(),
        }
    }
}

/// Returns the name of a user in the text of `/etc/passwd`.
fn user_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

impl<'a> AuditLine<'a> {
    fn of(event: &'static str, run: &'a str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            event,
            run,
            ..Self::default()
        }
    }
}

/// Lines that are not written yet.
struct Writing<'a> {
    log: &'a AppendFile,
    buffer: Vec<u8>,
    result: std::io::Result<()>,
}

impl<'a> Writing<'a> {
    const fn to(log: &'a AppendFile) -> Self {
        Self {
            log,
            buffer: Vec::new(),
            result: Ok(()),
        }
    }

    fn line(&mut self, line: &AuditLine<'_>) {
        serde_json::to_writer(&mut self.buffer, line)
            .expect("strings and numbers always serialise");
        self.buffer.push(b'\n');
        if self.buffer.len() >= PIECE {
            self.put();
        }
    }

    fn put(&mut self) {
        if self.result.is_ok() {
            self.result = self.log.append(&self.buffer);
        }
        self.buffer.clear();
    }

    /// Flushes the lines to disk.
    fn finish(mut self) -> std::io::Result<()> {
        self.put();
        self.result?;
        self.log.sync()
    }
}

/// Writes a line for each file that a plan deletes.
fn write_plan(lines: &mut Writing<'_>, run: &str, plan: &Plan) {
    let layout = absolute(plan.layout());
    let event = if plan.is_trashing() {
        "trash"
    } else {
        "delete"
    };
    for deletion in plan.sweep().iter() {
        lines.line(&AuditLine {
            layout: Some(&layout),
            digest: plan.blobs().digest(deletion.id),
            bytes: Some(deletion.file.len),
            reasons: &[UNREFERENCED],
            ..AuditLine::of(event, run)
        });
    }
    let swept: HashSet<_> = plan.sweep().iter().map(|deletion| deletion.id).collect();
    for spare in plan
        .spare()
        .iter()
        .filter(|spare| !swept.contains(&spare.id))
    {
        lines.line(&AuditLine {
            layout: Some(&layout),
            digest: plan.blobs().digest(spare.id),
            bytes: Some(spare.file.len),
            reasons: &[UNREFERENCED, "only if the disk is full"],
            ..AuditLine::of("may-delete", run)
        });
    }
    for file in plan.temporary() {
        lines.line(&AuditLine {
            layout: Some(&layout),
            path: Some(file.path.to_string_lossy().into_owned()),
            bytes: Some(file.len),
            reasons: &["stale temporary file"],
            ..AuditLine::of("delete", run)
        });
    }
    if plan.empty_layout() == EmptyLayouts::Remove {
        lines.line(&AuditLine {
            layout: Some(&layout),
            reasons: &["empty"],
            ..AuditLine::of("remove-layout", run)
        });
    }
}

/// Writes a line for each announced blob that was kept.
fn write_kept(lines: &mut Writing<'_>, run: &str, plan: &Plan, outcome: &Outcome) {
    let layout = absolute(plan.layout());
    for (deletion, result) in plan.sweep().iter().zip(&outcome.results) {
        let reason = match result {
            DeleteResult::Deleted | DeleteResult::Trashed => continue,
            DeleteResult::AlreadyGone => "already gone",
            DeleteResult::Restored => "listed concurrently",
            DeleteResult::Replaced => "rewritten concurrently",
            DeleteResult::Failed => "cannot be deleted",
            DeleteResult::Skipped => "the run ended early",
        };
        lines.line(&AuditLine {
            layout: Some(&layout),
            digest: plan.blobs().digest(deletion.id),
            bytes: Some(deletion.file.len),
            reasons: &[reason],
            ..AuditLine::of("kept", run)
        });
    }
    for (file, error) in &outcome.failed {
        lines.line(&AuditLine {
            layout: Some(&layout),
            path: Some(file.clone()),
            error: Some(error.to_string()),
            ..AuditLine::of("failed", run)
        });
    }
}

/// Writes lines for runs that are deleted from the trash, and for what they hold.
fn write_emptied(
    lines: &mut Writing<'_>,
    run: &str,
    layout: &str,
    (runs, reason): (&[TrashedRun], &str),
) {
    for trashed in runs {
        lines.line(&AuditLine {
            layout: Some(layout),
            trash_run: Some(&trashed.name),
            bytes: Some(trashed.bytes()),
            reasons: &[reason],
            ..AuditLine::of("empty", run)
        });
        for (digest, file) in &trashed.blobs {
            lines.line(&AuditLine {
                layout: Some(layout),
                digest: Some(digest),
                trash_run: Some(&trashed.name),
                bytes: Some(file.len),
                reasons: &[reason],
                ..AuditLine::of("delete", run)
            });
        }
    }
}

/// Writes a line for a hold that begins or ends.
fn write_hold(
    lines: &mut Writing<'_>,
    run: &str,
    layout: &str,
    (event, hold): (&'static str, &Hold),
) {
    let reasons: Vec<&str> = hold.reason.iter().map(String::as_str).collect();
    lines.line(&AuditLine {
        layout: Some(layout),
        hold: Some(&hold.name),
        digest: Some(&hold.digest),
        names: hold.image.as_ref().map(std::slice::from_ref),
        reasons: &reasons,
        until: hold.until.map(|until| until.to_string()),
        path: hold.while_path.as_deref().map(absolute),
        ..AuditLine::of(event, run)
    });
}

fn write_restored<'a>(
    lines: &mut Writing<'_>,
    run: &str,
    layout: &str,
    digests: impl Iterator<Item = &'a Digest>,
) {
    for digest in digests {
        lines.line(&AuditLine {
            layout: Some(layout),
            digest: Some(digest),
            reasons: &["missing, if it is in the trash"],
            ..AuditLine::of("restore", run)
        });
    }
}

/// Returns an absolute path.
fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
}

fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the log records the time of each event"
    )]
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_begins_like_the_log() {
        let line = serde_json::to_vec(&AuditLine::of("begin", "1")).expect("a line is JSON");
        assert!(line.starts_with(HEAD));
    }

    #[test]
    fn the_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nci:x:1001:1001::/home/ci:/bin/sh\nbroken\n";
        assert_eq!(user_of(passwd, 1001).as_deref(), Some("ci"));
        assert_eq!(user_of(passwd, 2), None);
    }
}
