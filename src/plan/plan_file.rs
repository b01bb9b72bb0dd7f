//! A prune as a file that is reviewed and applied later.
//!
//! *Promise*: exactly the plan in the file is applied, and only to the state that it was made from. The file is not trusted:
//! a blob that it deletes must be unreferenced according to the documents of the layout, and the same file as when the plan
//! was made.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::fs::{FileStat, Fs};
use crate::graph::{BlobSet, EmptyIndex, MissingDocuments};
use crate::model::entries::list_entries;
use crate::model::snapshot::Snapshot;
use crate::oci::{Digest, entry_names};
use crate::parse::size::human_size;

use super::prune::Prune;
use super::remove::{Removal, RemovalSet, SweepExtent, finish, kept_by};
use super::{Known, Order, Plan, SweepOptions};

/// A plan file: one prune over some layouts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanFile {
    schema_version: u32,
    /// When the plan was made, RFC 3339.
    pub made_at: String,
    /// The grace period for orphans, in nanoseconds. It applies again when the plan is applied: a
    /// writer that started since then may use a blob that the plan deletes.
    grace_ns: u64,
    /// The minimum age of temporary files, in nanoseconds.
    temp_age_ns: u64,
    /// The store of blobs, if the layouts share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_blobs: Option<PlannedStore>,
    /// The layouts, in the order in which they were given.
    pub layouts: Vec<PlannedLayout>,
}

/// The part of a plan file about a shared store of blobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedStore {
    /// The directory, as an absolute path.
    pub path: PathBuf,
    /// The bytes that are freed in it.
    pub reclaimed_bytes: u64,
}

/// The part of a plan file about one layout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedLayout {
    /// The layout, as an absolute path.
    pub path: PathBuf,
    /// The bytes that are freed.
    pub reclaimed_bytes: u64,
    /// For review only: each image with the decision and its reason.
    images: Vec<PlannedImage>,
    /// The fingerprint of the state that it was made from.
    state: String,
    /// The second indexes that were ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignored_indexes: Vec<PathBuf>,
    /// The entries of `index.json` to remove, by position.
    entries: Vec<PlannedEntry>,
    /// Whether documents that remain listed may be missing.
    allow_missing: bool,
    /// Whether the layout may become empty.
    allow_empty: bool,
    /// The blobs to delete.
    delete: Vec<PlannedBlob>,
    /// The temporary files to delete, by path relative to the layout.
    temporary: Vec<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PlannedEntry {
    position: usize,
    digest: String,
}

/// There can be a million of them: 56 bytes each, without an allocation for sha256.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PlannedBlob {
    digest: PlannedDigest,
    size: u64,
    modified_ns: i64,
}

/// A digest, or the string in place of one.
#[derive(Debug, Clone)]
struct PlannedDigest(Result<Digest, Box<str>>);

impl Serialize for PlannedDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(digest) => digest.serialize(serializer),
            Err(text) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PlannedDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = PlannedDigest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PlannedDigest, E> {
                Ok(PlannedDigest(Digest::parse(text).map_err(|_| text.into())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl PlannedBlob {
    /// Returns the digest. The error explains why it is invalid.
    fn digest(&self) -> Result<&Digest, String> {
        self.digest.0.as_ref().map_err(|text| {
            let why = Digest::parse(text).map_or_else(|error| error.to_string(), |_| String::new());
            format!("`{text}` is {why}")
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PlannedImage {
    digest: String,
    names: Vec<String>,
    action: String,
    reasons: Vec<String>,
    /// Its bytes on disk, shared ones included.
    #[serde(default)]
    size: u64,
}

/// The text of a plan file: the part for review comes first, and is ignored when the plan is applied.
#[derive(Serialize)]
struct Reviewed<'a> {
    review: Vec<String>,
    #[serde(flatten)]
    file: &'a PlanFile,
}

/// Why a plan file is not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// It is not a plan file.
    #[error("not a plan file: {0}")]
    Syntax(String),
    /// The layout is not in the state that the plan was made from.
    #[error("cannot apply the plan to `{path}`: {what}")]
    Changed {
        /// The layout.
        path: String,
        /// What changed.
        what: String,
    },
    /// The layout cannot be read or swept.
    #[error(transparent)]
    Layout(#[from] Error),
}

impl PlanFile {
    /// Starts an empty plan file.
    #[must_use]
    pub fn new(made_at: Timestamp, grace: Duration, temp_age: Duration) -> Self {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            schema_version: 1,
            made_at: made_at.to_string(),
            grace_ns: ns(grace),
            temp_age_ns: ns(temp_age),
            shared_blobs: None,
            layouts: Vec::new(),
        }
    }

    /// Adds layouts that share a store of blobs.
    pub fn share(&mut self, store: &Plan, layouts: impl Iterator<Item = PlannedLayout>) {
        let deleted = store.sweep.set();
        let is_deleted = |blob: &PlannedBlob| {
            let digest = blob.digest.0.as_ref().ok();
            let id = digest.and_then(|digest| store.blobs.id(digest));
            id.is_some_and(|id| deleted.contains(id))
        };
        self.layouts.extend(layouts.map(|mut layout| {
            // Blobs that another layout references are not deleted, and bytes count once for all layouts.
            layout.delete.retain(is_deleted);
            layout.reclaimed_bytes = 0;
            layout
        }));
        self.shared_blobs = Some(PlannedStore {
            path: absolute(&store.layout),
            reclaimed_bytes: store.totals().reclaimed_bytes(),
        });
    }

    /// Returns the grace period for orphans.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_nanos(self.grace_ns)
    }

    /// Returns the minimum age of temporary files to delete.
    #[must_use]
    pub const fn temp_age(&self) -> Duration {
        Duration::from_nanos(self.temp_age_ns)
    }

    /// Parses a plan file.
    ///
    /// # Errors
    /// [`ApplyError::Syntax`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ApplyError> {
        let file: Self =
            serde_json::from_slice(bytes).map_err(|error| ApplyError::Syntax(error.to_string()))?;
        if file.schema_version != 1 {
            return Err(ApplyError::Syntax(format!(
                "schema version {} is not 1",
                file.schema_version
            )));
        }
        Ok(file)
    }

    /// Frees the memory of the part for review.
    #[must_use]
    pub fn without_review(mut self) -> Self {
        for layout in &mut self.layouts {
            layout.images = Vec::new();
            layout.delete.shrink_to_fit();
        }
        self
    }

    /// Returns the text of the file.
    ///
    /// # Errors
    /// If the path of a layout is not UTF-8.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(&Reviewed {
            review: self.review(),
            file: self,
        })?;
        text.push('\n');
        Ok(text)
    }

    /// Describes the plan, a line for each layout and for each image.
    fn review(&self) -> Vec<String> {
        let store = self.shared_blobs.iter().map(|store| {
            let size = human_size(store.reclaimed_bytes);
            format!("{}: free {size}", store.path.display())
        });
        let layouts = self.layouts.iter().flat_map(|layout| {
            let images = layout.images.iter();
            let removed = images.filter(|image| image.action == "remove").count();
            let head = format!(
                "{}: remove {removed} of {} images, delete {} blobs and {} temporary files, free {}",
                layout.path.display(),
                layout.images.len(),
                layout.delete.len(),
                layout.temporary.len(),
                human_size(layout.reclaimed_bytes)
            );
            let images = layout.images.iter().map(PlannedImage::review);
            std::iter::once(head).chain(images)
        });
        store.chain(layouts).collect()
    }
}

impl PlannedImage {
    /// Describes the decision on the image.
    fn review(&self) -> String {
        let names = match self.names.as_slice() {
            [] => "<none>".to_owned(),
            names => names.join(", "),
        };
        let id = Digest::parse(&self.digest);
        let id = id.map_or_else(|_| self.digest.clone(), |digest| digest.short());
        let size = human_size(self.size);
        let reasons = self.reasons.join("; ");
        format!("{:6} {names}  {id}  {size}  ({reasons})", self.action)
    }
}

impl PlannedLayout {
    /// Describes a prune. The path is made absolute, so that the file can be applied from another directory.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        prune: &Prune,
        missing: MissingDocuments,
        empty: EmptyIndex,
    ) -> Self {
        let plan = &prune.removal.plan;
        let digest_at = |position: usize| {
            let entry = snapshot.state.index.entries().get(position);
            entry
                .and_then(|entry| entry.digest.as_ref().ok())
                .map_or_else(String::new, ToString::to_string)
        };
        Self {
            path: absolute(&plan.layout),
            state: plan.base.to_string(),
            ignored_indexes: snapshot
                .layout
                .ignored()
                .files()
                .map(PathBuf::from)
                .collect(),
            entries: prune
                .entries
                .iter()
                .map(|&position| PlannedEntry {
                    position,
                    digest: digest_at(position),
                })
                .collect(),
            allow_missing: missing == MissingDocuments::Allow,
            allow_empty: empty == EmptyIndex::Allow,
            delete: plan
                .sweep
                .iter()
                .filter_map(|blob| {
                    Some(PlannedBlob {
                        digest: PlannedDigest(Ok(plan.blobs.digest(blob.id)?.clone())),
                        size: blob.file.len,
                        modified_ns: blob.file.modified,
                    })
                })
                .collect(),
            temporary: plan
                .temporary
                .iter()
                .map(|file| file.path.clone())
                .collect(),
            reclaimed_bytes: plan.totals().reclaimed_bytes(),
            images: prune
                .verdicts
                .iter()
                .map(|verdict| PlannedImage {
                    digest: verdict.digest.to_string(),
                    names: verdict.names.clone(),
                    action: if verdict.is_removed { "remove" } else { "keep" }.to_owned(),
                    reasons: verdict.reasons.clone(),
                    size: verdict.size,
                })
                .collect(),
        }
    }

    /// Makes the plan that the file describes, if the layout is unchanged.
    ///
    /// # Errors
    /// [`ApplyError::Changed`] with what changed; [`ApplyError::Layout`].
    pub fn plan(
        &self,
        snapshot: &Snapshot,
        options: &SweepOptions,
        fs: &dyn Fs,
    ) -> Result<Removal, ApplyError> {
        snapshot.layout.refuse_shared_blobs()?;
        let changed = |what: String| ApplyError::Changed {
            path: self.path.display().to_string(),
            what,
        };
        if snapshot.state.fingerprint().to_string() != self.state {
            let given: Vec<_> = snapshot.layout.ignored().files().collect();
            let mut lacking = self.ignored_indexes.iter();
            return Err(changed(
                match lacking.find(|file| !given.contains(&file.as_path())) {
                    Some(file) => format!(
                        "it was made with `--ignore-index {}`, which must be given again",
                        file.display()
                    ),
                    None => "index.json, manifest.json, the holds or another index have changed"
                        .to_owned(),
                },
            ));
        }
        let mut gone = RemovalSet::default();
        for entry in &self.entries {
            let found = snapshot.state.index.entries().get(entry.position);
            let digest = found.and_then(|found| found.digest.as_ref().ok());
            let Some(digest) = digest.filter(|digest| digest.to_string() == entry.digest) else {
                return Err(changed(format!(
                    "entry {} is not {}",
                    entry.position, entry.digest
                )));
            };
            gone.entries.insert(entry.position);
            let details = found.map(|found| snapshot.state.index.details(found));
            let names = details.iter().flat_map(entry_names);
            gone.names.extend(names.map(|name| name.text.into()));
            if let Some(id) = snapshot.graph.id(digest)
                && !gone.images.contains(&id)
            {
                gone.images.push(id);
                gone.unwanted.insert(id);
            }
        }
        let extent = SweepExtent::Everything {
            empty: EmptyIndex::allow_if(self.allow_empty),
        };
        let missing = MissingDocuments::allow_if(self.allow_missing);
        let entries = list_entries(snapshot);
        let mut removal = finish(
            snapshot,
            &entries,
            &gone,
            missing,
            extent,
            options,
            Known::Nothing(fs),
        )?;
        self.narrow(&mut removal).map_err(changed)?;
        (removal.kept_by, removal.more_kept) = kept_by(snapshot, &entries, &gone, &removal.plan);
        Ok(removal)
    }

    /// Reduces a new plan to the contents of the file. Blobs that have become unreferenced since are kept; a blob that the
    /// file deletes and the new plan does not is a change.
    fn narrow(&self, removal: &mut Removal) -> Result<(), String> {
        let plan = &mut removal.plan;
        let in_flight: BlobSet = plan.kept.iter().map(|kept| kept.id).collect();
        let fresh = &plan.sweep;
        let left = fresh.set();
        let mut chosen = BlobSet::default();
        let mut ids = Vec::with_capacity(self.delete.len());
        for blob in &self.delete {
            let digest = blob.digest()?;
            let id = plan.blobs.id(digest);
            if id.is_some_and(|id| in_flight.contains(id)) {
                return Err(format!("a writer may be using {digest} now"));
            }
            let deletion = id
                .filter(|id| left.contains(*id) && chosen.insert(*id))
                .and_then(|id| fresh.find(id))
                .ok_or_else(|| format!("{digest} is gone, or is referenced now"))?;
            let FileStat { len, modified, .. } = deletion.file;
            if (len, modified) != (blob.size, blob.modified_ns) {
                return Err(format!("{digest} was written again"));
            }
            ids.push(deletion.id);
        }
        let sweep = fresh.in_order(ids);
        // On a full disk only these may be deleted to make room.
        plan.spare.retain(|id| chosen.contains(id));
        plan.sweep = sweep;
        plan.order = Order::Docker;
        let wanted: BTreeSet<&PathBuf> = self.temporary.iter().collect();
        plan.temporary.retain(|file| wanted.contains(&file.path));
        if plan.temporary.len() != self.temporary.len() {
            return Err("a temporary file is gone or in use".to_owned());
        }
        Ok(())
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_takes_56_bytes_and_an_invalid_digest_is_an_error() {
        assert_eq!(size_of::<PlannedBlob>(), 56);
        let digest = Digest::of(crate::oci::Algorithm::Sha256, b"blob").to_string();
        for (text, expected) in [
            (&*digest, Ok(&*digest)),
            (
                "sha256:ab",
                Err("`sha256:ab` is not 64 lower-case hex digits after `sha256:`"),
            ),
            ("", Err("`` is not a digest")),
        ] {
            let json = format!(r#"{{"digest":"{text}","size":1,"modified_ns":-2}}"#);
            let blob: PlannedBlob = serde_json::from_str(&json).expect("a blob");
            let found = blob.digest().map(ToString::to_string);
            assert_eq!(found.as_deref(), expected.map_err(str::to_owned).as_deref());
            assert_eq!(serde_json::to_string(&blob).expect("JSON"), json);
        }
    }

    #[test]
    fn the_part_for_review_can_be_freed() {
        let mut file = PlanFile::new(Timestamp::UNIX_EPOCH, Duration::ZERO, Duration::ZERO);
        let text = r#"{"path":"/a","reclaimed_bytes":1,"images":[{"digest":"","names":[],"action":"keep","reasons":[]}],
            "state":"","entries":[],"allow_missing":false,"allow_empty":true,"delete":[],"temporary":["b"]}"#;
        file.layouts = vec![serde_json::from_str(text).expect("a layout")];
        let mut expected = serde_json::to_value(&file).expect("JSON");
        expected["layouts"][0]["images"] = serde_json::json!([]);
        let freed = serde_json::to_value(file.without_review()).expect("JSON");
        assert_eq!(freed, expected);
    }
}
