//! Layouts that the real `umoci` and `skopeo` write, swept, and then used by the same programs again: every tag is
//! unchanged, to the byte, and umoci and ocisweep agree on what is garbage.
//!
//! Everything is made from empty images; nothing is downloaded. If a program is absent, the tests are skipped with the
//! reason; with `OCISWEEP_REQUIRE_TOOLS=1` in the environment they fail, so that a build that should run them cannot skip
//! them silently.
//!
//! - [`seen`]: everything that the programs report about a layout, for comparing before and after.
//! - [`umoci`] and [`skopeo`]: the promises of `gc`.
//! - [`peers`]: `umoci gc` and `ocisweep gc` side by side.
//! - [`rm`]: those of `rm` and `hold`.
//! - [`archives`]: tar archives, slimmed and read again.
//! - [`engine`]: a docker engine and its containerd load slimmed archives and layouts.
//! - [`beside`]: the programs and sweeps at the same time.

mod archives;
mod beside;
mod engine;
mod peers;
mod rm;
mod seen;
mod skopeo;
mod umoci;
