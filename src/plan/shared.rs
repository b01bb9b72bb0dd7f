//! A plan for layouts that share their blobs.

use super::Plan;

/// What is to be done to a pool and to the layouts that use it.
#[derive(Debug)]
pub struct SharedPlan {
    pub(crate) pool: Plan,
    pub(crate) layouts: Vec<Plan>,
}

impl SharedPlan {
    /// Returns the sweep of the pool.
    #[must_use]
    pub const fn pool(&self) -> &Plan {
        &self.pool
    }

    /// Returns for each layout what is written, and the temporary files of its writers.
    #[must_use]
    pub fn layouts(&self) -> &[Plan] {
        &self.layouts
    }

    /// Returns the plan of the pool, then those of the layouts.
    pub fn into_plans(self) -> impl Iterator<Item = Plan> {
        std::iter::once(self.pool).chain(self.layouts)
    }
}
