//! A plan for a group of layouts over one store of blobs.

use std::path::Path;

use crate::error::{Error, Result};
use crate::layout::trash::TrashOptions;

use super::{Plan, Totals};

/// What is to be done to a group of layouts, and to the store of blobs that they share.
#[derive(Debug)]
pub struct GroupPlan {
    /// The sweep of a shared store; `None` for a single layout, whose own plan sweeps its blobs.
    pub(crate) store: Option<Plan>,
    pub(crate) layouts: Vec<Plan>,
}

impl GroupPlan {
    /// Moves into the trash what a single layout deletes. The layout stays then, for what lies there.
    ///
    /// # Errors
    /// [`Error::Trash`] for layouts that share their blobs.
    pub(crate) fn trashing(self, options: &TrashOptions, path: &Path) -> Result<Self> {
        if self.store.is_some() {
            return Err(Error::Trash {
                path: path.to_owned(),
                why: "layouts with shared blobs have none".to_owned(),
            });
        }
        let layouts = self.layouts.into_iter();
        Ok(Self {
            store: None,
            layouts: layouts.map(|own| own.trashing(options)).collect(),
        })
    }

    /// Returns the plan of a single layout.
    #[must_use]
    pub fn of(plan: Plan) -> Self {
        Self {
            store: None,
            layouts: vec![plan],
        }
    }

    /// Returns the sweep of the shared store; `None` for a single layout.
    #[must_use]
    pub const fn store(&self) -> Option<&Plan> {
        self.store.as_ref()
    }

    /// Returns for each layout what is written and, without a shared store, what is deleted.
    #[must_use]
    pub fn layouts(&self) -> &[Plan] {
        &self.layouts
    }

    /// Returns the plan of the store, if there is one, then those of the layouts.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.store.iter().chain(&self.layouts)
    }

    /// Returns the plan of the store, if there is one, then those of the layouts.
    pub fn into_plans(self) -> impl Iterator<Item = Plan> {
        self.store.into_iter().chain(self.layouts)
    }

    /// Returns `true` if nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plans().all(Plan::is_empty)
    }

    /// Returns what the plan frees altogether.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.plans()
            .fold(Totals::default(), |sum, plan| sum.plus(plan.totals()))
    }
}
