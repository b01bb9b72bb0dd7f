//! `--metrics FILE`: what a run did, as text that Prometheus reads through the textfile collector of `node_exporter`.
//!
//! *Promise*: the file is replaced, so that a reader sees the old numbers or the new ones. Counters and the time of the last
//! success are carried over from the old file, if they belong to the same command and layouts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use ocisweep::plan::{Plan, Totals};

use super::exit::{self, Exit};
use super::replaced::{self, FileFormat};

/// The first line of every file.
const HEAD: &str = "# HELP ocisweep_";

const FORMAT: FileFormat<'static> = FileFormat {
    name: "a file of metrics of ocisweep",
    max_bytes: 1 << 20,
    is_one: |bytes| bytes.starts_with(HEAD.as_bytes()),
};

/// A file of metrics, and what the run has done so far.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    /// The labels of every sample.
    labels: String,
    /// The old file.
    before: String,
    done: Mutex<Done>,
}

/// What a run has done.
#[derive(Debug, Default)]
struct Done {
    totals: Totals,
    trashed_blobs: u64,
    trashed_bytes: u64,
    kept_blobs: u64,
    kept_bytes: u64,
    layouts: u64,
    stored: Vec<Stored>,
}

/// Where a layout has its blobs.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The layout.
    pub layout: PathBuf,
    /// The store that it shares.
    pub store: Option<PathBuf>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Its exit status.
    pub exit: Exit,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The bytes that its layouts occupy, if that is known.
    pub stored_bytes: Option<u64>,
}

impl Metrics {
    /// Reads the old file, and checks that it can be replaced. `command` and `targets` become labels.
    ///
    /// # Errors
    /// As [`replaced::read`], and if there is no such directory.
    pub fn open(path: &Path, command: &str, targets: &[PathBuf]) -> std::io::Result<Self> {
        let before = replaced::read(path, FORMAT)?;
        if !std::fs::metadata(replaced::directory_of(path))?.is_dir() {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        let targets = targets.iter().map(|target| {
            let target = std::path::absolute(target).unwrap_or_else(|_| target.clone());
            target.to_string_lossy().into_owned()
        });
        let targets: Vec<String> = targets.collect();
        Ok(Self {
            path: path.to_owned(),
            labels: format!(
                "command=\"{}\",target=\"{}\"",
                escaped(command),
                escaped(&targets.join(" "))
            ),
            before: String::from_utf8_lossy(&before).into_owned(),
            done: Mutex::default(),
        })
    }

    /// Adds what was done in a layout or a shared store.
    pub fn add(&self, plan: &Plan, totals: &Totals, (trashed_blobs, trashed_bytes): (u64, u64)) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.totals = done.totals.plus(*totals);
        done.trashed_blobs += trashed_blobs;
        done.trashed_bytes += trashed_bytes;
        for kept in plan.kept() {
            done.kept_blobs += 1;
            done.kept_bytes = done.kept_bytes.saturating_add(kept.len);
        }
    }

    /// Adds layouts that the run was to process.
    pub fn add_layouts(&self, store: Option<&Path>, layouts: &[PathBuf]) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.layouts += layouts.len() as u64;
        done.stored.extend(layouts.iter().map(|layout| Stored {
            layout: layout.clone(),
            store: store.map(Path::to_owned),
        }));
    }

    /// Returns the layouts that the run was to process.
    pub fn stored(&self) -> Vec<Stored> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.stored.clone()
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// A message that names the file.
    pub fn write(&self, ended: &Ended) -> Result<(), String> {
        let text = self.text(ended);
        replaced::replace(&self.path, &text, FORMAT)
            .map_err(|error| format!("cannot write `{}`: {error}", self.path.display()))
    }

    fn text(&self, ended: &Ended) -> String {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let is_success = ended.exit == exit::DONE;
        let seconds = |time: Timestamp| (time.as_millisecond() as f64) / 1000.0;
        let last_success = if is_success {
            Some(seconds(ended.ended))
        } else {
            self.value_before("last_success_timestamp_seconds")
        };
        let reclaimed = done.totals.reclaimed_bytes();
        let files = done.totals.blobs.saturating_add(done.totals.temporary);
        let mut text = MetricsText {
            labels: &self.labels,
            text: String::new(),
        };
        let gauge =
            |text: &mut MetricsText<'_>, name, help, value| text.add(name, "gauge", help, value);
        let counter = |text: &mut MetricsText<'_>, name, help, more: u64| {
            let before = self.value_before(name).unwrap_or_default();
            text.add(name, "counter", help, before + more as f64);
        };
        gauge(
            &mut text,
            "last_run_timestamp_seconds",
            "When the last run ended.",
            seconds(ended.ended),
        );
        if let Some(time) = last_success {
            gauge(
                &mut text,
                "last_success_timestamp_seconds",
                "When the last run with exit status 0 ended.",
                time,
            );
        }
        gauge(
            &mut text,
            "last_run_success",
            "1 if the last run had exit status 0.",
            f64::from(u8::from(is_success)),
        );
        gauge(
            &mut text,
            "last_run_exit_status",
            "The exit status of the last run.",
            f64::from(ended.exit.status()),
        );
        gauge(
            &mut text,
            "last_run_duration_seconds",
            "How long the last run took.",
            ended.ended.duration_since(ended.started).as_secs_f64(),
        );
        for (name, help, value) in [
            (
                "last_run_layouts",
                "The layouts of the last run.",
                done.layouts,
            ),
            (
                "last_run_reclaimed_bytes",
                "The bytes that the last run freed.",
                reclaimed,
            ),
            (
                "last_run_deleted_files",
                "The blobs and temporary files that the last run deleted.",
                files,
            ),
            (
                "last_run_trashed_blobs",
                "The blobs that the last run moved into the trash.",
                done.trashed_blobs,
            ),
            ("last_run_trashed_bytes", "Their bytes.", done.trashed_bytes),
            (
                "last_run_kept_orphans",
                "The unreferenced blobs that the last run kept, mostly because they are recent.",
                done.kept_blobs,
            ),
            (
                "last_run_kept_orphan_bytes",
                "Their bytes.",
                done.kept_bytes,
            ),
        ] {
            gauge(&mut text, name, help, value as f64);
        }
        if let Some(bytes) = ended.stored_bytes {
            gauge(
                &mut text,
                "layout_bytes",
                "The bytes of all blobs in the layouts after the last run.",
                bytes as f64,
            );
        }
        counter(&mut text, "runs_total", "The runs.", 1);
        counter(
            &mut text,
            "failures_total",
            "The runs whose exit status was not 0.",
            u64::from(!is_success),
        );
        counter(
            &mut text,
            "reclaimed_bytes_total",
            "The bytes that all runs freed.",
            reclaimed,
        );
        counter(
            &mut text,
            "deleted_files_total",
            "The blobs and temporary files that all runs deleted.",
            files,
        );
        text.text
    }

    /// Returns the value of a sample in the old file, of the same command and layouts.
    fn value_before(&self, name: &str) -> Option<f64> {
        let start = format!("ocisweep_{name}{{{}}} ", self.labels);
        let line = self
            .before
            .lines()
            .find_map(|line| line.strip_prefix(&start))?;
        let value: f64 = line.parse().ok()?;
        value.is_finite().then_some(value)
    }
}

/// Samples in the text format.
struct MetricsText<'a> {
    labels: &'a str,
    text: String,
}

impl MetricsText<'_> {
    fn add(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        let labels = self.labels;
        // Writing to a String cannot fail.
        let _ = write!(
            self.text,
            "# HELP ocisweep_{name} {help}\n# TYPE ocisweep_{name} {kind}\nocisweep_{name}{{{labels}}} {value}\n"
        );
    }
}

/// Returns a string as the value of a label: the format escapes these three characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str(r"\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str(r"\n"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd é"), "a\\\"b\\\\c\\nd é");
    }

    #[test]
    fn large_numbers_are_whole() {
        let mut text = MetricsText {
            labels: "a=\"b\"",
            text: String::new(),
        };
        text.add("x", "gauge", "Help.", 344_000_000_001_f64);
        let want =
            "# HELP ocisweep_x Help.\n# TYPE ocisweep_x gauge\nocisweep_x{a=\"b\"} 344000000001\n";
        assert_eq!(text.text, want);
    }
}
