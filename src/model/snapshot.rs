//! A consistent read of a layout at one moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::graph::{Documents, GracePolicy, Graph};
use crate::layout::change_detector::is_unchanged;
use crate::layout::{Layout, State};
use crate::progress::{Phase, Progress, Running, Total};

/// A layout, its state and its references.
#[derive(Debug)]
pub struct Snapshot {
    /// The layout.
    pub layout: Layout,
    /// `index.json`, holds, `manifest.json`, second indexes.
    pub state: State,
    /// The references between its blobs.
    pub graph: Graph,
}

/// The maximum number of attempts to read a layout that changes while it is read.
const MAX_ATTEMPTS: u32 = 10;

/// The pause before the second attempt. Each pause is twice as long as the previous one, up to a second: a deleting process
/// runs for at least that long.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Whether a read of a layout is consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// There is no sign that the layout changed.
    None,
    /// A document vanished, and nothing else changed. That is damage, unless a further read no longer lists it.
    Vanished,
    /// It changed while it was read: missing blobs may have been deleted together with their references.
    Changed,
}

impl Doubt {
    /// Assesses a read. `has_changed` is only called if a document is missing.
    pub(crate) fn of(graph: &Graph, has_changed: impl FnOnce() -> bool) -> Self {
        let has_vanished = graph.has_vanished();
        if !has_vanished && graph.missing_listed().next().is_none() {
            Self::None
        } else if has_changed() {
            Self::Changed
        } else if has_vanished {
            Self::Vanished
        } else {
            Self::None
        }
    }
}

/// Reads until there is no sign that the layout changed concurrently, or the attempts are used up.
///
/// # Errors
/// [`Error::Unstable`] if it changed during the last attempt, and those of `read`.
pub(crate) fn settled<T, E: From<Error>>(
    path: &Path,
    mut read: impl FnMut() -> Result<(T, Doubt), E>,
) -> Result<T, E> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let (found, doubt) = read()?;
        match doubt {
            Doubt::None => return Ok(found),
            Doubt::Changed | Doubt::Vanished if attempt < MAX_ATTEMPTS => {}
            Doubt::Vanished => return Ok(found),
            Doubt::Changed => break,
        }
        drop(found);
        std::thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
    Err(E::from(Error::Unstable {
        path: path.to_owned(),
        times: MAX_ATTEMPTS,
    }))
}

impl Snapshot {
    /// Opens and reads a layout. Damage is not an error: a damaged image can still be listed and removed.
    ///
    /// Orphans newer than [an hour](GracePolicy::HOUR) are protected, with everything that they reference: a writer may be about
    /// to list them. [`Snapshot::protect`] sets another grace period.
    ///
    /// *Order*: the blobs are listed before `index.json` is read, so that a blob which appears between the two is not in the
    /// list and cannot be deleted. In the other order, an image that was completed in between would look like garbage. A
    /// document that disappears between the listing and the reading means that another process removed something: everything
    /// is read again.
    ///
    /// # Errors
    /// [`Error::Unstable`] if the layout changes each time it is read, and those of [`Layout::open`], [`Layout::list`] and
    /// [`Layout::read_state`].
    pub fn read(path: impl Into<PathBuf>, now: Timestamp, progress: &dyn Progress) -> Result<Self> {
        Self::of(Layout::open(path)?, now, progress)
    }

    /// Reads a layout only for a sweep: unless they are `needed`, documents are discarded after their references were
    /// followed, as are the entries of `index.json`, so the layout seems to list nothing and its images look empty.
    pub(crate) fn of_to_sweep(
        layout: Layout,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
        needed: impl Fn(&State) -> bool,
    ) -> Result<Self> {
        let mut snapshot = Self::read_by(layout, now, progress, |state| {
            if needed(state) {
                Documents::Remember
            } else {
                Documents::Forget
            }
        })?;
        snapshot.protect(in_flight, progress)?;
        Ok(snapshot)
    }

    /// Reads an open layout, and protects orphans by this rule.
    ///
    /// # Errors
    /// Those of [`Snapshot::of`].
    pub fn of_protected(
        layout: Layout,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut snapshot = Self::of_to_show(layout, now, progress)?;
        snapshot.protect(in_flight, progress)?;
        Ok(snapshot)
    }

    /// Reads an open layout to show its contents. No orphan is protected, so no sweep can be planned from the snapshot.
    ///
    /// # Errors
    /// Those of [`Snapshot::of`].
    pub fn of_to_show(layout: Layout, now: Timestamp, progress: &dyn Progress) -> Result<Self> {
        Self::read_by(layout, now, progress, |_| Documents::Remember)
    }

    /// Protects orphans by this rule instead of the previous one.
    ///
    /// # Errors
    /// Those of [`Graph::protect_in_flight`].
    pub fn protect(&mut self, rule: GracePolicy, progress: &dyn Progress) -> Result<()> {
        self.graph.protect_in_flight(&self.layout, rule, progress)
    }

    /// Reads an open layout, for example [with shared blobs](Layout::open_in).
    ///
    /// # Errors
    /// [`Error::Unstable`], and those of [`Layout::list`] and [`Layout::read_state`].
    pub fn of(layout: Layout, now: Timestamp, progress: &dyn Progress) -> Result<Self> {
        let mut snapshot = Self::read_by(layout, now, progress, |_| Documents::Remember)?;
        snapshot.protect(GracePolicy::by_default(now), progress)?;
        Ok(snapshot)
    }

    /// Reads the same layout again, as [`Snapshot::of_to_show`] does.
    pub(crate) fn again(&self, progress: &dyn Progress) -> Result<Self> {
        Self::of_to_show(self.layout.try_clone()?, self.graph.now(), progress)
    }

    fn read_by(
        layout: Layout,
        now: Timestamp,
        progress: &dyn Progress,
        documents: impl Fn(&State) -> Documents,
    ) -> Result<Self> {
        let (state, graph) = settled(layout.path(), || {
            let listing = Running::begin(progress, Phase::Listing, Total::default());
            let blobs = Arc::new(layout.list()?);
            drop(listing);
            let mut state = layout.read_state()?;
            let graph = match documents(&state) {
                Documents::Remember => Graph::read(&layout, &state, blobs, now, progress),
                Documents::Forget => {
                    Graph::read_to_sweep(&layout, &mut state, blobs, now, progress)
                }
            }?;
            let base = state.fingerprint().clone();
            let doubt = Doubt::of(&graph, || !is_unchanged(&layout, &base));
            Ok::<_, Error>(((state, graph), doubt))
        })?;
        Ok(Self {
            layout,
            state,
            graph,
        })
    }

    /// Discards `index.json` and the documents, to make room for a large plan, once a [`LiveSet`](crate::graph::LiveSet) has been
    /// computed. Reached blobs, orphans and the fingerprint of the state are kept.
    pub(crate) fn forget_documents(&mut self) {
        self.graph.forget_documents();
        self.state.forget_index();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of attempts with these results, the last of which is repeated, and the final result.
    fn attempts(doubts: &[Doubt]) -> (u32, Result<u32>) {
        let mut asked = 0;
        let result = settled(Path::new("layout"), || {
            let last = doubts.len() - 1;
            let doubt = doubts[last.min(asked as usize)];
            asked += 1;
            Ok((asked, doubt))
        });
        (asked, result)
    }

    #[test]
    fn a_sweep_keeps_neither_documents_nor_index_entries_in_memory() {
        use crate::oci::{Algorithm, Digest};

        let temp = tempfile::tempdir().expect("a directory");
        let blobs = temp.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("it can be made");
        let manifest = br#"{"schemaVersion":2,"layers":[]}"#;
        let digest = Digest::of(Algorithm::Sha256, manifest);
        let write = |path: std::path::PathBuf, bytes: &[u8]| {
            std::fs::write(path, bytes).expect("it can be written");
        };
        write(blobs.join(digest.encoded()), manifest);
        let root = |name| temp.path().join(name);
        write(root("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        let index = format!(
            r#"{{"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{}}}]}}"#,
            manifest.len()
        );
        write(root("index.json"), index.as_bytes());
        for (is_needed, entries, documents) in [(true, 1, 1), (false, 0, 0)] {
            let layout = Layout::open(temp.path()).expect("a layout");
            let now = Timestamp::now();
            let rule = GracePolicy::by_default(now);
            let progress = &crate::progress::Silent;
            let snapshot = Snapshot::of_to_sweep(layout, now, rule, progress, |_| is_needed);
            let Snapshot { state, graph, .. } = snapshot.expect("it can be read");
            assert_eq!(state.index.entries().len(), entries);
            let id = graph.id(&digest).expect("it is listed");
            assert_eq!(graph.node(id).into_iter().count(), documents);
            assert!(graph.is_rooted(id) && graph.roots().len() == 1);
        }
    }

    #[test]
    fn a_layout_that_changes_is_read_again() {
        for (doubts, reads) in [
            (&[Doubt::None][..], 1),
            (&[Doubt::Changed, Doubt::None], 2),
            (&[Doubt::Vanished, Doubt::Changed, Doubt::None], 3),
        ] {
            let (asked, result) = attempts(doubts);
            assert_eq!(
                (asked, result.expect("it was read")),
                (reads, reads),
                "{doubts:?}"
            );
        }
    }

    #[test]
    fn a_missing_document_is_damage_and_a_layout_that_keeps_changing_is_busy() {
        // The pauses of all attempts take some seconds.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (asked, result) = attempts(&[Doubt::Vanished]);
                assert_eq!(asked, MAX_ATTEMPTS);
                result.expect("only marking refuses it");
            });
            scope.spawn(|| {
                let (asked, result) = attempts(&[Doubt::Changed]);
                assert_eq!(asked, MAX_ATTEMPTS);
                let error = result.expect_err("it keeps changing");
                assert!(matches!(error, Error::Unstable { times, .. } if times == MAX_ATTEMPTS));
                assert_eq!(error.kind(), crate::ErrorKind::Busy);
            });
        });
    }
}
