//! The JSON output. While [`SCHEMA_VERSION`] is the same, keys are only added.

use ocisweep::oci::Digest;
use ocisweep::parse::size::human_size;
use serde::{Serialize, Serializer};

/// The version of all documents.
pub const SCHEMA_VERSION: u32 = 1;

/// A document of a command.
#[derive(Debug, Serialize)]
struct JsonDocument<'a, T> {
    schema_version: u32,
    command: &'a str,
    #[serde(flatten)]
    content: T,
}

/// Returns the document of a command, indented.
pub fn document(command: &str, content: impl Serialize) -> String {
    pretty(&JsonDocument {
        schema_version: SCHEMA_VERSION,
        command,
        content,
    })
}

/// Returns a document, indented.
pub fn pretty(document: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(document).expect("strings and numbers always serialise");
    text.push('\n');
    text
}

/// What a sweeping command did, or would do.
#[derive(Debug, Default, Serialize)]
pub struct Sweep {
    pub dry_run: bool,
    pub layouts: Vec<SweptLayout>,
    pub totals: JsonTotals,
    /// The budget of a prune.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<JsonBudget>,
}

/// A budget: its scope, and whether it was reached.
#[derive(Debug, Serialize)]
pub struct JsonBudget {
    /// `tree`: one of all layouts; `layout`: each has its own.
    pub scope: &'static str,
    /// How many layouts there are.
    pub layouts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// The bytes of the file system that must be free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_free: Option<u64>,
    /// With a budget for all layouts: the bytes that they keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    pub reached: bool,
    /// The rules that keep the remaining images.
    pub held: Vec<JsonBudgetHolder>,
}

/// What keeps images although a budget is not reached.
#[derive(Debug, Serialize)]
pub struct JsonBudgetHolder {
    pub holder: String,
    pub images: u64,
    pub bytes: u64,
}

impl JsonBudgetHolder {
    /// Converts the report of the library.
    pub fn of(holder: &ocisweep::plan::BudgetHolder) -> Self {
        Self {
            holder: holder.what.clone(),
            images: holder.images,
            bytes: holder.bytes,
        }
    }
}

impl JsonBudget {
    /// Returns the line about a budget of several layouts.
    pub fn line(&self, is_dry_run: bool) -> String {
        let layouts = self.layouts;
        let whose = match self.scope {
            "tree" => format!("for {layouts} layouts together"),
            _ => format!("for each of {layouts} layouts"),
        };
        let mut limits = Vec::new();
        limits.extend(self.max_size.map(human_size));
        let free = self.min_free.map(human_size);
        limits.extend(free.map(|size| format!("{size} of free space")));
        let limits = limits.join(" and ");
        match self.used_bytes.map(human_size) {
            Some(used) if is_dry_run => format!("budget {limits} {whose}: {used} would remain\n"),
            Some(used) => format!("budget {limits} {whose}: {used} remain\n"),
            None => format!("budget {limits} {whose}\n"),
        }
    }
}

impl Sweep {
    /// Adds a layout and its totals.
    pub fn add(&mut self, layout: SweptLayout) {
        self.totals.add(&layout.totals);
        self.layouts.push(layout);
    }
}

/// One layout of a sweep.
#[derive(Debug, Default, Serialize)]
pub struct SweptLayout {
    pub path: String,
    pub items: Vec<SweptItem>,
    /// Foreign files in `blobs/`, which are kept.
    pub foreign: u64,
    pub totals: JsonTotals,
    /// What was moved into the trash, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trash: Option<JsonTrashed>,
    /// With several layouts: the result of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a run moved into the trash.
#[derive(Debug, Serialize)]
pub struct JsonTrashed {
    /// The name of the run; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    pub blobs: u64,
    pub bytes: u64,
}

/// A file, an image, a name or a platform, and what was done with it.
#[derive(Debug, Default, Serialize)]
pub struct SweptItem {
    /// The digest; `null` for a name or a temporary file.
    pub digest: Option<String>,
    /// The path of a temporary file, relative to the layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub kind: &'static str,
    /// Bytes of the file.
    pub size: u64,
    pub action: &'static str,
    pub reasons: Vec<String>,
    pub names: Vec<String>,
    /// The platform that `rm --platform` drops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

impl SweptItem {
    /// Returns an item with a single reason.
    pub fn new(kind: &'static str, action: &'static str, reason: &str) -> Self {
        Self {
            kind,
            action,
            reasons: vec![reason.to_owned()],
            ..Self::default()
        }
    }

    /// Returns the item of a blob with a single reason.
    pub fn blob(digest: Option<&Digest>, size: u64, action: &'static str, reason: &str) -> Self {
        Self {
            digest: digest.map(ToString::to_string),
            size,
            ..Self::new("blob", action, reason)
        }
    }
}

/// Sums over files.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct JsonTotals {
    /// Blobs deleted.
    pub blobs: u64,
    /// Their bytes, each name counted.
    pub bytes: u64,
    /// Bytes freed by deleting blobs: once per inode.
    pub freed_bytes: u64,
    /// Bytes that a hard link elsewhere keeps.
    pub linked_bytes: u64,
    /// Temporary files deleted.
    pub temporary: u64,
    pub temporary_bytes: u64,
    /// Bytes of new documents.
    pub written_bytes: u64,
    /// `freed_bytes` and `temporary_bytes` together, less `written_bytes`; of a plain archive the difference of the file
    /// lengths.
    pub reclaimed_bytes: u64,
    /// Orphans that are kept, for example because they are in flight.
    pub kept: u64,
    pub kept_bytes: u64,
}

impl JsonTotals {
    /// Converts the library's sums.
    pub const fn of(totals: &ocisweep::plan::Totals) -> Self {
        Self {
            blobs: totals.blobs,
            bytes: totals.bytes,
            freed_bytes: totals.freed_bytes,
            linked_bytes: totals.linked_bytes,
            temporary: totals.temporary,
            temporary_bytes: totals.temporary_bytes,
            written_bytes: totals.written_bytes,
            reclaimed_bytes: totals.reclaimed_bytes(),
            kept: 0,
            kept_bytes: 0,
        }
    }

    const fn add(&mut self, other: &Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
        self.freed_bytes += other.freed_bytes;
        self.linked_bytes += other.linked_bytes;
        self.temporary += other.temporary;
        self.temporary_bytes += other.temporary_bytes;
        self.written_bytes += other.written_bytes;
        self.reclaimed_bytes += other.reclaimed_bytes;
        self.kept += other.kept;
        self.kept_bytes += other.kept_bytes;
    }
}

/// Serialises a list that several items share.
pub fn shared<S: Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    list.serialize(serializer)
}
