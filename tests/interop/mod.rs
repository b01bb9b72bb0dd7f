//! Layouts that the real `umoci` and `skopeo` write, swept, and then used by the same programs again: every tag still works,
//! to the byte, and what one of them calls garbage the other does too.
//!
//! Everything is made here from empty images; nothing is fetched. Where a program is absent the tests are skipped with the
//! reason; with `OCISWEEP_REQUIRE_TOOLS=1` in the environment that is a failure, so that a build that means to run them
//! cannot lose them in silence.
//!
//! - [`seen`]: everything that the programs can tell about a layout, for comparing before and after.
//! - [`umoci`] and [`skopeo`]: the promises of `gc`.
//! - [`peers`]: `umoci gc` and `ocisweep gc` side by side.
//! - [`rm`]: those of `rm` and `hold`.
//! - [`archives`]: tar archives, slimmed and read again.
//! - [`engine`]: a docker engine and its containerd load what was slimmed.
//! - [`beside`]: the programs and the sweeps at the same time.

mod archives;
mod beside;
mod engine;
mod peers;
mod rm;
mod seen;
mod skopeo;
mod umoci;
