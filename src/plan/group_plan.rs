//! A plan for a group of layouts over one store of blobs.

use crate::layout::trash::TrashOptions;

use super::{EmptyLayouts, Plan, Totals, Trashing};

/// The plan of a group of layouts, and of the store of blobs that they share.
#[derive(Debug)]
pub struct GroupPlan {
    /// The sweep of a shared store; `None` for a single layout, whose own plan sweeps its blobs.
    pub(crate) store: Option<Plan>,
    pub(crate) layouts: Vec<Plan>,
}

impl GroupPlan {
    /// Moves deleted blobs into the trash of the layout, or of the shared store, which has one run for all of its layouts.
    pub(crate) fn trashing(self, options: &TrashOptions) -> Self {
        let can_be_undone = self.plans().any(Plan::can_be_undone);
        let Self { store, layouts } = self;
        let keep = |own: Plan| Plan {
            empty_layout: EmptyLayouts::Keep,
            ..own
        };
        match store {
            None => Self {
                store: None,
                layouts: layouts
                    .into_iter()
                    .map(|own| own.trashing(options))
                    .collect(),
            },
            Some(store) => Self {
                store: Some(Plan {
                    trash: can_be_undone.then(|| Trashing::now(options)),
                    ..store
                }),
                layouts: layouts.into_iter().map(keep).collect(),
            },
        }
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

    /// Returns the plan of each layout: what is written and, without a shared store, what is deleted.
    #[must_use]
    pub fn layouts(&self) -> &[Plan] {
        &self.layouts
    }

    /// Returns the plan of the store, if there is one, then those of the layouts.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.store.iter().chain(&self.layouts)
    }

    /// Returns the plan of the store, if there is one, then those of the layouts.
    pub(crate) fn into_plans(self) -> impl Iterator<Item = Plan> {
        self.store.into_iter().chain(self.layouts)
    }

    /// Returns `true` if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plans().all(Plan::is_empty)
    }

    /// Returns the sum of what the plans free.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.plans()
            .fold(Totals::default(), |sum, plan| sum.plus(plan.totals()))
    }
}
