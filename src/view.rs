//! A layout with everything that was read of it at one moment.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::Result;
use crate::graph::{Documents, Graph};
use crate::layout::{Layout, State};
use crate::observe::{Observer, Phase};

/// A layout, its state, and what refers to what in it.
#[derive(Debug)]
pub struct View {
    /// The layout.
    pub layout: Layout,
    /// `index.json`, holds, `manifest.json`, second indexes.
    pub state: State,
    /// What refers to what.
    pub graph: Graph,
}

impl View {
    /// Opens and reads a layout. Damage is no error: a damaged image can still be shown and removed.
    ///
    /// *Order*: the blobs are listed before `index.json` is read, so that a blob which appears
    /// between the two is in no list and can never become a victim. The other way round, an image
    /// that was finished in between would look like garbage.
    ///
    /// # Errors
    /// What [`Layout::open`], [`Layout::list`] and [`Layout::read_state`] refuse.
    pub fn read(path: impl Into<PathBuf>, now: Timestamp, observer: &dyn Observer) -> Result<Self> {
        Self::of(Layout::open(path)?, now, observer)
    }

    /// Reads a layout for a sweep of what nothing leads to, and for nothing else, in less memory: what the documents
    /// say is forgotten when they were followed. Images of such a view look empty, and what stands in the way of a
    /// sweep is told without the way that leads there.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn read_to_sweep(
        path: impl Into<PathBuf>,
        now: Timestamp,
        observer: &dyn Observer,
    ) -> Result<Self> {
        Self::of_to_sweep(Layout::open(path)?, now, observer)
    }

    /// Reads a layout that is open for a sweep, as [`View::read_to_sweep`].
    ///
    /// # Errors
    /// As [`View::of`].
    pub fn of_to_sweep(layout: Layout, now: Timestamp, observer: &dyn Observer) -> Result<Self> {
        Self::read_by(layout, now, observer, Documents::Forget)
    }

    /// Reads a layout that is open, for example [in a pool](Layout::open_in).
    ///
    /// # Errors
    /// What [`Layout::list`] and [`Layout::read_state`] refuse.
    pub fn of(layout: Layout, now: Timestamp, observer: &dyn Observer) -> Result<Self> {
        Self::read_by(layout, now, observer, Documents::Remember)
    }

    fn read_by(
        layout: Layout,
        now: Timestamp,
        observer: &dyn Observer,
        documents: Documents,
    ) -> Result<Self> {
        observer.begin(Phase::Listing, None);
        let blobs = Arc::new(layout.list()?);
        let state = layout.read_state()?;
        let graph = Graph::read_and(&layout, &state, blobs, now, observer, documents)?;
        Ok(Self {
            layout,
            state,
            graph,
        })
    }

    /// Forgets what `index.json` and the documents say, to make room for a large plan, when everything
    /// that was to be asked of them is answered by a [`LiveSet`](crate::graph::LiveSet). What is live, what
    /// is an orphan and the fingerprint of the state stay known.
    pub fn forget_documents(&mut self) {
        self.graph.forget_documents();
        self.state.forget_index();
    }
}
