//! Helpers of the integration tests: layouts, runs of the program, and the invariants of every call.
//!
//! - [`json`]: JSON text in which keys may be repeated, in odd case or wrong; descriptors and documents made of it.
//! - [`layout`]: [`LayoutBuilder`] writes a layout blob by blob.
//! - [`dated`]: [`TestLayout`], a layout in which every file has a fixed time.
//! - [`test_dir`]: [`TestDir`], a directory with several layouts.
//! - [`tools`]: [`ClientDir`], a directory in which `umoci` and `skopeo` build images.
//! - [`samples`]: layouts that several tests start from.
//! - [`corpus`]: the recorded layouts of other programs.
//! - [`run`]: [`Cmd`] runs the program, [`Run`] is the result.
//! - [`invariants`]: [`checked`] runs a command and checks the invariants of every call.
//! - [`pruned`]: the same for `prune`, with the verdicts.
//! - [`removed`]: the same for `rm`, with its output.
//! - [`restored`]: the files that `undo` has to restore.
//! - [`environment`]: other users, terminals, mounts, little memory, programs that may be absent.
//! - [`findings`]: the report of `check`.
//! - [`files`]: a layout in memory, and what is reachable in it.
//! - [`snapshot`]: the state of a directory, to the nanosecond.
//! - [`transcript`]: comparison of output with recorded files.
//! - [`typing`]: [`Typing`], an interactive shell in which keys are pressed.
//! - [`stopping`]: [`Stopping`], the real file system with a fault at one call.
#![expect(
    dead_code,
    unused_imports,
    reason = "two test binaries compile this module, and each uses a part of it"
)]

pub(crate) mod corpus;
pub(crate) mod dated;
pub(crate) mod environment;
pub(crate) mod extent;
pub(crate) mod files;
pub(crate) mod findings;
pub(crate) mod invariants;
pub(crate) mod json;
pub(crate) mod layout;
pub(crate) mod pruned;
pub(crate) mod pty;
pub(crate) mod removed;
pub(crate) mod restored;
pub(crate) mod run;
pub(crate) mod samples;
pub(crate) mod snapshot;
pub(crate) mod stopping;
pub(crate) mod test_dir;
pub(crate) mod tools;
pub(crate) mod transcript;
pub(crate) mod typing;

pub(crate) use corpus::{Case, CaseLayout, Unpacked, cases, unpack};
pub(crate) use dated::{ImageBuilder, TestLayout, bulk, days_ago};
pub(crate) use files::Files;
pub(crate) use findings::Findings;
pub(crate) use invariants::{Checked, Invariants, checked};
pub(crate) use json::{Desc, Doc, Json, Obj, base64, media};
pub(crate) use layout::{Image, LayoutBuilder};
pub(crate) use pruned::{Pruned, Verdict, listed, prune, prune_call, verdicts};
pub(crate) use run::{Cmd, Item, Report, Run, total, with_action};
pub(crate) use samples::{FullLayout, GuardedLayout, IntactLayout};
pub(crate) use snapshot::{
    Snapshot, assert_same, blobs, differences, snapshot, without_directory_times,
};
pub(crate) use stopping::{Stopping, Way};
pub(crate) use test_dir::TestDir;
pub(crate) use tools::ClientDir;
pub(crate) use typing::Typing;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Returns the digest of `bytes` in the form `algorithm:hex`; knows sha256, sha384 and sha512.
pub(crate) fn digest_of(algorithm: &str, bytes: &[u8]) -> String {
    let hex = match algorithm {
        "sha256" => hex(&Sha256::digest(bytes)),
        "sha384" => hex(&Sha384::digest(bytes)),
        "sha512" => hex(&Sha512::digest(bytes)),
        other => panic!("the tests cannot compute {other}"),
    };
    format!("{algorithm}:{hex}")
}

/// Returns the sha256 digest of `bytes` in the form `sha256:hex`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest_of("sha256", bytes)
}

/// Returns `bytes` as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

/// Returns the message of a caught panic.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
        .unwrap_or_else(|| "a panic without text".to_owned())
}

/// Runs `check` on every item, continues after a failure, and reports all failures in one panic.
pub(crate) fn for_each<T>(
    items: impl IntoIterator<Item = T>,
    label: impl Fn(&T) -> String,
    check: impl Fn(&T),
) {
    let mut seen = 0_usize;
    let mut failures = Vec::new();
    for item in items {
        seen = seen.saturating_add(1);
        let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&item)));
        if let Err(payload) = attempt {
            failures.push(format!("== {}\n{}", label(&item), panic_message(&*payload)));
        }
    }
    assert_ne!(seen, 0, "nothing was checked: the list of cases is empty");
    assert!(
        failures.is_empty(),
        "{} of {seen} failed\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Returns a time from nanoseconds since 1970.
pub(crate) fn at(nanoseconds: i128) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(nanoseconds).expect("a time that the system can represent")
}

/// Returns a duration from nanoseconds.
pub(crate) fn lasting(nanoseconds: i128) -> std::time::Duration {
    std::time::Duration::from_nanos(u64::try_from(nanoseconds).expect("no negative duration"))
}
