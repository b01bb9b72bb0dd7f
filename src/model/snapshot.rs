//! A layout with everything that was read of it at one moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::graph::{Documents, GracePolicy, Graph};
use crate::layout::change_detector::is_unchanged;
use crate::layout::{Layout, State};
use crate::progress::{Phase, Progress, Running, Total};

/// A layout, its state, and what refers to what in it.
#[derive(Debug)]
pub struct Snapshot {
    /// The layout.
    pub layout: Layout,
    /// `index.json`, holds, `manifest.json`, second indexes.
    pub state: State,
    /// What refers to what.
    pub graph: Graph,
}

/// How often a layout is read again because it changed while it was read.
const MAX_ATTEMPTS: u32 = 10;

/// How long to wait before the first further attempt. Each pause is twice as long as the one before, up to a second: whoever
/// deletes is at work for that long at least.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Whether what was read of a layout can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// Nothing suggests that the layout changed.
    None,
    /// A document vanished, and nothing else changed. That is damage, unless it is listed no more when one looks again.
    Vanished,
    /// It changed while it was read: what is missing in it may have been deleted together with what refers to it.
    Changed,
}

impl Doubt {
    /// Judges what was read. `has_changed` is only asked where something is missing.
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

/// Reads until nothing suggests that the layout changed meanwhile, or the attempts are used up.
///
/// # Errors
/// [`Error::Unstable`] when it still changed at the last attempt, and what `read` returns.
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
    /// Opens and reads a layout. Damage is no error: a damaged image can still be shown and removed.
    ///
    /// Orphans younger than [an hour](GracePolicy::HOUR) are protected, and what they reference: a writer may be about to
    /// list them. [`Snapshot::protect`] sets another grace period.
    ///
    /// *Order*: the blobs are listed before `index.json` is read, so that a blob which appears
    /// between the two is in no list and can never become a victim. The other way round, an image
    /// that was finished in between would look like garbage. A document that disappears between the listing and the reading
    /// means that another process removed something: everything is read again.
    ///
    /// # Errors
    /// [`Error::Unstable`] when the layout changes each time it is read, and what [`Layout::open`], [`Layout::list`] and [`Layout::read_state`] refuse.
    pub fn read(path: impl Into<PathBuf>, now: Timestamp, progress: &dyn Progress) -> Result<Self> {
        Self::of(Layout::open(path)?, now, progress)
    }

    /// Reads a layout for a sweep and for nothing else: documents are forgotten once they were followed, so that its
    /// images look empty.
    pub(crate) fn of_to_sweep(
        layout: Layout,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut view = Self::read_by(layout, now, progress, Documents::Forget)?;
        view.protect(in_flight, progress)?;
        Ok(view)
    }

    /// Opens and reads a layout, and protects orphans by this rule.
    ///
    /// # Errors
    /// As [`Snapshot::read`].
    pub fn read_protected(
        path: impl Into<PathBuf>,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Self::of_protected(Layout::open(path)?, now, in_flight, progress)
    }

    /// Reads a layout that is open, and protects orphans by this rule.
    ///
    /// # Errors
    /// As [`Snapshot::of`].
    pub fn of_protected(
        layout: Layout,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut view = Self::of_to_show(layout, now, progress)?;
        view.protect(in_flight, progress)?;
        Ok(view)
    }

    /// Opens and reads a layout to show what is in it. Nothing is protected, so that a plan made from this view
    /// deletes nothing.
    ///
    /// # Errors
    /// As [`Snapshot::read`].
    pub fn read_to_show(
        path: impl Into<PathBuf>,
        now: Timestamp,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Self::of_to_show(Layout::open(path)?, now, progress)
    }

    /// Reads a layout that is open to show what is in it, as [`Snapshot::read_to_show`].
    ///
    /// # Errors
    /// As [`Snapshot::of`].
    pub fn of_to_show(layout: Layout, now: Timestamp, progress: &dyn Progress) -> Result<Self> {
        Self::read_by(layout, now, progress, Documents::Remember)
    }

    /// Protects orphans by this rule, in place of the one before.
    ///
    /// # Errors
    /// As [`Graph::protect_in_flight`].
    pub fn protect(&mut self, rule: GracePolicy, progress: &dyn Progress) -> Result<()> {
        self.graph.protect_in_flight(&self.layout, rule, progress)
    }

    /// Reads a layout that is open, for example [in a pool](Layout::open_in).
    ///
    /// # Errors
    /// What [`Layout::list`] and [`Layout::read_state`] refuse.
    pub fn of(layout: Layout, now: Timestamp, progress: &dyn Progress) -> Result<Self> {
        let mut view = Self::read_by(layout, now, progress, Documents::Remember)?;
        view.protect(GracePolicy::by_default(now), progress)?;
        Ok(view)
    }

    /// Reads the same layout as it is now.
    ///
    /// # Errors
    /// As [`Snapshot::of`].
    pub(crate) fn again(&self, progress: &dyn Progress) -> Result<Self> {
        Self::of(self.layout.try_clone()?, self.graph.now(), progress)
    }

    fn read_by(
        layout: Layout,
        now: Timestamp,
        progress: &dyn Progress,
        documents: Documents,
    ) -> Result<Self> {
        crate::threads::start();
        let (state, graph) = settled(layout.path(), || {
            let listing = Running::begin(progress, Phase::Listing, Total::default());
            let blobs = Arc::new(layout.list()?);
            drop(listing);
            let state = layout.read_state()?;
            let graph = Graph::read_and(&layout, &state, blobs, now, progress, documents)?;
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

    /// Forgets what `index.json` and the documents say, to make room for a large plan, when everything
    /// that was to be asked of them is answered by a [`LiveSet`](crate::graph::LiveSet). What is live, what
    /// is an orphan and the fingerprint of the state stay known.
    pub(crate) fn forget_documents(&mut self) {
        self.graph.forget_documents();
        self.state.forget_index();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the attempts that were made with these doubts, the last one for ever, and what came of it.
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
    fn what_is_gone_in_a_layout_at_rest_is_damage_and_a_layout_without_rest_is_busy() {
        // The pauses of all attempts together take some seconds.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (asked, result) = attempts(&[Doubt::Vanished]);
                assert_eq!(asked, MAX_ATTEMPTS);
                result.expect("marking refuses it");
            });
            scope.spawn(|| {
                let (asked, result) = attempts(&[Doubt::Changed]);
                assert_eq!(asked, MAX_ATTEMPTS);
                let error = result.expect_err("it changes for ever");
                assert!(matches!(error, Error::Unstable { times, .. } if times == MAX_ATTEMPTS));
                assert_eq!(error.kind(), crate::ErrorKind::Busy);
            });
        });
    }
}
