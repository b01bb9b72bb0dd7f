//! The commands that faults are injected into, and the state in which each leaves the fixture when no fault occurs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::judge::{Judge, LOCK, NOTE};
use crate::strace::args;
use crate::support::{Cmd, Files, FullLayout};

/// A command line, without the layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// The arguments before the layout.
    before: &'static [&'static str],
    /// The arguments after it.
    after: &'static [&'static str],
    /// It removes blobs of an index that is kept.
    is_sparse: bool,
}

const fn command(before: &'static [&'static str], after: &'static [&'static str]) -> Command {
    Command {
        before,
        after,
        is_sparse: false,
    }
}

pub(crate) const GC: Command = command(&["gc"], &["--grace", "0", "--temp-age", "0s"]);
pub(crate) const RM: Command = command(&["rm"], &["app:1"]);
pub(crate) const RM_ALL: Command = command(&["rm", "-f"], &["app:1", "app:2", "multi:1"]);
pub(crate) const RM_PLATFORM: Command = command(&["rm"], &["multi:1", "--platform", "linux/arm64"]);
pub(crate) const RM_SPARSE: Command = Command {
    before: &["rm"],
    after: &[
        "multi:1",
        "--platform",
        "linux/arm64",
        "--platform-mode",
        "sparse",
    ],
    is_sparse: true,
};
/// At a given time, which is part of the file: two runs must write the same.
pub(crate) const HOLD_ADD: Command = command(
    &["hold", "add", "--now", "2026-11-24T12:00:00Z"],
    &["pin", "app:1"],
);
pub(crate) const HOLD_RM: Command = command(&["hold", "rm"], &["release"]);

pub(crate) const PRUNE: Command = command(
    &["prune", "--all", "--force"],
    &["--keep", "multi:*", "--grace", "0", "--temp-age", "0s"],
);
/// [`PRUNE`] from a plan that was written before.
pub(crate) const APPLY: Command = command(&["apply"], &[]);

impl Command {
    /// Makes a fixture for it.
    pub(crate) fn fixture(&self) -> FullLayout {
        let fixture = FullLayout::new();
        if self.is_apply() {
            let mut words = PRUNE.on(fixture.path());
            words.extend(["--plan".into(), plan_of(fixture.path()).into()]);
            Cmd::new(words).run().ok();
        }
        fixture
    }

    fn is_apply(&self) -> bool {
        self.before == APPLY.before
    }

    /// Returns the command line for a layout.
    pub(crate) fn on(&self, layout: &Path) -> Vec<OsString> {
        let mut words = args(self.before);
        if self.is_apply() {
            words.push(plan_of(layout).into());
            return words;
        }
        words.push(layout.into());
        words.extend(args(self.after));
        words
    }

    /// Runs it undisturbed on its own fixture, and returns the judge for faults.
    pub(crate) fn judge(&self) -> Judge {
        let fixture = self.fixture();
        let before = Files::of(fixture.path());
        let run = Cmd::new(self.on(fixture.path())).run();
        run.ok();
        let after = Files::of(fixture.path());
        assert_ne!(before, after, "it does nothing\n{}", run.all());
        assert!(after.get(LOCK).is_none(), "{}", run.all());
        let sparse: BTreeSet<String> = if self.is_sparse {
            fixture.of_arm64().into_iter().collect()
        } else {
            BTreeSet::new()
        };
        let mut context = String::new();
        tidy(fixture.path(), &mut context);
        Judge {
            before,
            after,
            settled: Files::of(fixture.path())
                .without_blobs(&sparse)
                .without_file(NOTE),
            sparse,
        }
    }

    /// Runs it once more, undisturbed, and panics unless the result is that of a run without the fault.
    #[track_caller]
    pub(crate) fn finishes(&self, layout: &Path, judge: &Judge, context: &str) {
        let now = Files::of(layout);
        // The result of the former is known, and the latter exists.
        if now == judge.before || now == judge.after {
            return;
        }
        // A plan applies only to the state that it was made from.
        let command = if self.is_apply() { &PRUNE } else { self };
        let again = Cmd::new(command.on(layout)).run();
        // A completed removal cannot be repeated: "no such image".
        let mut context = format!("{context}\nthen\n{}", again.all());
        assert!(matches!(again.code, Some(0 | 1)), "{context}");
        judge.check(layout, &context);
        tidy(layout, &mut context);
        // Between the manifest and its attestation a kill leaves the attestation, which the index lists: no second run finds
        // the platform to drop it with. Its bytes are kept until the image is removed.
        let settled = Files::of(layout)
            .without_blobs(&judge.sparse)
            .without_file(NOTE);
        let differences = settled.differences(&judge.settled);
        assert!(
            differences.is_empty(),
            "the result differs from that of a run without the fault:\n{differences}\n{context}"
        );
    }
}

/// Returns where the plan for a layout is stored.
fn plan_of(layout: &Path) -> PathBuf {
    layout.with_file_name("plan.json")
}

/// Removes the hold, if there is one, and sweeps everything unreferenced. The hold is removed after its image: a kill
/// between the two leaves the hold, which keeps the image.
fn tidy(layout: &Path, context: &mut String) {
    let release = Cmd::new(["hold", "rm"]).arg(layout).arg("release");
    let sweep = Cmd::gc(layout).args(["--temp-age", "0s", "--allow-empty", "--allow-missing"]);
    for command in [release, sweep] {
        let run = command.run();
        *context = format!("{context}\nthen\n{}", run.all());
        assert!(matches!(run.code, Some(0 | 1)), "{context}");
    }
}
