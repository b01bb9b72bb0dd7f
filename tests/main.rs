//! All tests of the command and the library except those of `tests/faults`, in one binary: it is linked once, and its tests
//! keep all cores busy to the end. One suite: `cargo test --test suite rm::`.
//!
//! | module | what it tests or provides |
//! | --- | --- |
//! | `rm`, `prune`, `check`, `many`, `cli` | the command line |
//! | `archive` | layouts in tar archives |
//! | `corpus` | recorded layouts of real tools |
//! | `hostile` | malformed and adversarial layouts |
//! | `model`, `properties` | random layouts and commands against oracles |
//! | `world` | the generator of random layouts, and their oracles |
//! | `interop` | real clients before, during and after a run |
//! | `operate` | records, budgets of the disk, signals, short output |
//! | `library` | the library as used by a program that embeds it |
//! | `readme` | every session of the README and of `docs/` |
//! | `tidy` | rules about the sources |
//! | `support` | layouts, the program, and the invariants of every call; see its documentation |

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and change layouts, and read the clock"
)]

mod support;
mod world;

mod archive;
mod check;
mod cli;
mod corpus;
mod hostile;
mod interop;
mod library;
mod many;
mod model;
mod operate;
mod properties;
mod prune;
mod readme;
mod rm;
mod tidy;
