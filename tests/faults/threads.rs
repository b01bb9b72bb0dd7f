//! If no thread can be started, one does everything.

use std::fs;
use std::path::Path;

use crate::commands::{GC, RM_PLATFORM};
use crate::slow::orphans;
use crate::strace::{Disturbed, args};
use crate::support::environment::{has_strace, memory_dir};
use crate::support::run::new_command;
use crate::support::{Cmd, Files, FullLayout, sha256};

/// Every call that starts a thread fails.
const NO_THREAD: &str = "clone,clone3:error=EAGAIN";

/// As with `pids.max` of a container or `ulimit -u`: `clone3` and then `clone` fail.
#[test]
fn without_a_second_thread_everything_is_done_by_the_first() {
    if !has_strace() {
        return;
    }
    for command in [GC, RM_PLATFORM] {
        // As many files as one thread reads in 2 ms are read by it anyway.
        let [fixture, undisturbed] = [command.fixture(), command.fixture()];
        for fixture in [&fixture, &undisturbed] {
            orphans(fixture, 1000);
        }
        Cmd::new(command.on(undisturbed.path())).run().ok();
        let disturbed = Disturbed::by(NO_THREAD, &command.on(fixture.path()));
        disturbed.run.ok();
        assert!(disturbed.faults > 0, "{}", disturbed.run.all());
        let after = Files::of(undisturbed.path());
        assert_ne!(
            after,
            Files::of(command.fixture().path()),
            "it does nothing"
        );
        let differences = Files::of(fixture.path()).differences(&after);
        assert!(
            differences.is_empty(),
            "{differences}\n{}",
            disturbed.run.all()
        );
    }
    let (one, two) = (FullLayout::new(), FullLayout::new());
    let call = [
        "ls".as_ref(),
        one.path().as_os_str(),
        two.path().as_os_str(),
    ];
    let disturbed = Disturbed::by(NO_THREAD, &args(call));
    disturbed.run.ok().says("app");
}

#[test]
fn without_a_second_thread_an_archive_is_decompressed_by_the_first() {
    if !has_strace() {
        return;
    }
    let layout = FullLayout::new();
    // Longer than the limit for decompression without a thread.
    let mut noise = Vec::new();
    for number in 0..20_000_u32 {
        noise.extend_from_slice(sha256(&number.to_le_bytes()).as_bytes());
    }
    fs::write(layout.path().join("noise"), noise).expect("it can be written");
    let directory = memory_dir();
    let archive = directory.path().join("images.tgz");
    let packed = new_command("tar")
        .arg("-C")
        .arg(layout.path())
        .arg("-czf")
        .args([&archive, Path::new(".")])
        .status();
    assert!(packed.expect("tar can be started").success());
    assert!(fs::metadata(&archive).expect("it is there").len() > 300_000);
    let of = |archive: &Path| args(["ls".as_ref(), archive.as_os_str()]);
    let undisturbed = Cmd::new(of(&archive)).run();
    let disturbed = Disturbed::by(NO_THREAD, &of(&archive));
    disturbed.run.ok().says("app");
    assert!(disturbed.faults > 0, "{}", disturbed.run.all());
    assert_eq!(disturbed.run.stdout, undisturbed.stdout);
}

/// A sandbox without `chmod`: `fchmod` fails with ENOSYS.
#[test]
fn without_chmod_holds_are_written_and_platforms_dropped() {
    if !has_strace() {
        return;
    }
    for command in [crate::commands::HOLD_ADD, RM_PLATFORM] {
        for error in ["ENOSYS", "EPERM", "EOPNOTSUPP"] {
            let fixture = command.fixture();
            let injection = format!("fchmod:error={error}");
            let disturbed = Disturbed::by(&injection, &command.on(fixture.path()));
            disturbed.run.ok();
        }
    }
}
