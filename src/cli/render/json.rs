//! The JSON that scripts read. Changed only by adding; `schema_version` says so.

use serde::Serialize;

/// The version of all documents here.
pub const SCHEMA_VERSION: u32 = 1;

/// What a sweeping command did, or would do.
#[derive(Debug, Serialize)]
pub struct Sweep<'a> {
    pub schema_version: u32,
    pub command: &'a str,
    pub dry_run: bool,
    pub layouts: Vec<SweptLayout>,
    pub totals: Totals,
}

/// One layout of a sweep.
#[derive(Debug, Serialize)]
pub struct SweptLayout {
    pub path: String,
    pub items: Vec<Item>,
    /// Foreign files in `blobs/`, which were left alone.
    pub foreign: u64,
    pub totals: Totals,
    /// What went into the trash, or would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trash: Option<Trash>,
    /// Of several layouts: how this one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a run moved into the trash.
#[derive(Debug, Serialize)]
pub struct Trash {
    /// The name of the run; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    pub blobs: u64,
    pub bytes: u64,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct Item {
    /// The digest, or `null` for a temporary file.
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

/// Sums over files.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Totals {
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
    /// `freed_bytes` and `temporary_bytes` together; of a plain archive the difference of the files' lengths.
    pub reclaimed_bytes: u64,
    /// Orphans that stay, for example because they are in flight.
    pub kept: u64,
    pub kept_bytes: u64,
}

impl Totals {
    /// Takes over the library's sums.
    pub const fn of(totals: &ocisweep::plan::Totals) -> Self {
        Self {
            blobs: totals.blobs,
            bytes: totals.bytes,
            freed_bytes: totals.freed_bytes,
            linked_bytes: totals.linked_bytes,
            temporary: totals.temporary,
            temporary_bytes: totals.temporary_bytes,
            reclaimed_bytes: totals.reclaimed_bytes(),
            kept: 0,
            kept_bytes: 0,
        }
    }

    /// Adds another layout's sums.
    pub const fn add(&mut self, other: &Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
        self.freed_bytes += other.freed_bytes;
        self.linked_bytes += other.linked_bytes;
        self.temporary += other.temporary;
        self.temporary_bytes += other.temporary_bytes;
        self.reclaimed_bytes += other.reclaimed_bytes;
        self.kept += other.kept;
        self.kept_bytes += other.kept_bytes;
    }
}

/// Writes a list that several items share.
pub fn shared<S: serde::Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    list.serialize(serializer)
}

/// Writes a document as people and scripts can read it.
pub fn pretty(document: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(document).expect("strings and numbers always serialise");
    text.push('\n');
    text
}
