//! `check --trash`: verifies that the blobs in the trash can be restored.
//!
//! *Promise*: nothing is changed and nothing is locked. Each record is read, and each blob compared with its digest.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

use rayon::prelude::*;

use super::read::{BUFFER_BYTES, hash_rest};
use super::{Class, Content, Count};
use crate::error::{Error, Result};
use crate::fs::{FileStat, has_payload};
use crate::layout::trash::{Trash, TrashedRun};
use crate::oci::Digest;
use crate::progress::{Phase, Progress, Running, Total};

/// A problem in a trash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrashFinding {
    /// What is wrong.
    pub class: Class,
    /// The run; `None` for a foreign file beside the runs.
    pub run: Option<String>,
    /// The file, relative to the layout or to the shared store.
    pub file: PathBuf,
    /// The blob, if it is one.
    pub digest: Option<Digest>,
    /// Its length in bytes, if known.
    pub len: Option<u64>,
    /// The length in bytes according to the record, if it differs.
    pub declared: Option<u64>,
    /// What is wrong, as text that follows the path.
    pub why: String,
}

/// The result of checking a trash.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TrashReport {
    /// The number of runs.
    pub runs: u64,
    /// The blobs in the trash.
    pub blobs: Count,
    /// Blobs that were compared with their digest.
    pub verified: Count,
    /// Damage first; foreign files after that.
    pub findings: Vec<TrashFinding>,
}

impl TrashReport {
    /// Returns the number of findings of a class.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.class == class).count() as u64
    }

    /// Returns the number of damaged files.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.class.is_damage()).count() as u64
    }
}

/// Checks the records and blobs of a trash.
///
/// # Errors
/// [`Error::Read`] if a directory cannot be listed, and [`Error::Interrupted`].
pub fn check_trash(
    trash: Trash<'_>,
    content: Content,
    progress: &dyn Progress,
) -> Result<TrashReport> {
    crate::threads::start();
    let mut report = TrashReport::default();
    let runs = trash.runs()?;
    for run in &runs {
        report.runs += 1;
        if let Err(why) = &run.record {
            report.findings.push(TrashFinding {
                class: Class::Malformed,
                run: Some(run.name.clone()),
                file: trash.relative(&run.name).join("run.json"),
                digest: None,
                len: None,
                declared: None,
                why: format!("cannot be understood: {why}"),
            });
        }
        for (_, file) in &run.blobs {
            report.blobs.add(file.len);
        }
    }
    let blobs: Vec<_> = runs
        .iter()
        .flat_map(|run| run.blobs.iter().map(move |blob| (run, blob)))
        .collect();
    let sizes: HashMap<(&str, &str), u64> = runs.iter().flat_map(sizes).collect();
    let total = Total::of(blobs.len()).with_bytes(report.blobs.bytes);
    let hashing = Running::begin(progress, Phase::Hashing, total);
    let found: Vec<Option<JudgedBlob>> = blobs
        .par_iter()
        .with_max_len(1)
        .map_init(
            || vec![0; BUFFER_BYTES],
            |buffer, (run, (digest, file))| {
                let declared = sizes.get(&(&*run.name, &*digest.to_string())).copied();
                let blob = (&*run.name, digest, file);
                judge(trash, blob, (content, declared), buffer, progress)
            },
        )
        .collect();
    drop(hashing);
    for ((run, (digest, file)), found) in blobs.into_iter().zip(found) {
        let JudgedBlob {
            is_verified,
            damage,
            declared,
        } = found.ok_or(Error::Interrupted)?;
        if is_verified {
            report.verified.add(file.len);
        }
        report.findings.extend(damage.map(|(class, why)| {
            let name = digest.blob_name();
            let run_path = trash.relative(&run.name);
            TrashFinding {
                class,
                run: Some(run.name.clone()),
                file: run_path.join(name.path()),
                digest: Some(digest.clone()),
                len: Some(file.len),
                declared,
                why,
            }
        }));
    }
    let foreign = trash.foreign()?.into_iter();
    report.findings.extend(foreign.map(|file| TrashFinding {
        class: Class::Foreign,
        run: None,
        file,
        digest: None,
        len: None,
        declared: None,
        why: "was not created by a run".to_owned(),
    }));
    Ok(report)
}

/// Returns the sizes in a record.
fn sizes(run: &TrashedRun) -> impl Iterator<Item = ((&str, &str), u64)> {
    let record = run.record.as_ref().ok().and_then(Option::as_ref);
    let deletions = record.into_iter().flat_map(|record| &record.deletions);
    deletions.map(|deletion| ((&*run.name, &*deletion.digest), deletion.size))
}

/// The result for one blob.
struct JudgedBlob {
    /// It was read, and compared with its digest.
    is_verified: bool,
    damage: Option<(Class, String)>,
    /// The size according to the record, if it differs.
    declared: Option<u64>,
}

/// Checks one blob; `None` if it was cancelled.
fn judge(
    trash: Trash<'_>,
    (run, digest, file): (&str, &Digest, &FileStat),
    (content, declared): (Content, Option<u64>),
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> Option<JudgedBlob> {
    let declared = declared.filter(|declared| *declared != file.len);
    let damaged = |class, why| {
        Some(JudgedBlob {
            is_verified: false,
            damage: Some((class, why)),
            declared,
        })
    };
    if let Some(declared) = declared {
        let why = format!("is {} bytes long, {declared} were moved", file.len);
        return damaged(Class::WrongSize, why);
    }
    let sound = |is_verified| {
        Some(JudgedBlob {
            is_verified,
            damage: None,
            declared: None,
        })
    };
    let Some(algorithm) = digest.algorithm().filter(|_| content != Content::Documents) else {
        return sound(false);
    };
    let unreadable = |error| damaged(Class::Unreadable, format!("cannot be read: {error}"));
    let mut blob = match trash.open_blob(run, digest) {
        Ok(blob) => File::from(blob),
        Err(error) => return unreadable(error),
    };
    let (hashed, _) = match hash_rest(&mut blob, algorithm, buffer, progress) {
        Ok(hashed) => hashed?,
        Err(error) => return unreadable(error),
    };
    let is_equal = match hashed == *digest {
        true => Ok(true),
        false => has_payload(&mut blob, digest),
    };
    match is_equal {
        Ok(true) => sound(true),
        Ok(false) => Some(JudgedBlob {
            is_verified: true,
            damage: Some((Class::WrongDigest, "does not match its digest".to_owned())),
            declared: None,
        }),
        Err(error) => unreadable(error),
    }
}
