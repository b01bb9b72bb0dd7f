//! A file whose attributes cannot be kept is not replaced.

use rustix::fs::{XattrFlags, setxattr};

use crate::commands::{HOLD_RM, RM, RM_PLATFORM};
use crate::strace::Disturbed;
use crate::support::Files;
use crate::support::environment::{has_strace, skip};

#[test]
fn if_an_attribute_cannot_be_kept_nothing_is_changed_and_the_error_names_it() {
    if !has_strace() {
        return;
    }
    for (command, file) in [
        (RM, "index.json"),
        (RM, "manifest.json"),
        (RM_PLATFORM, "index.json"),
        (HOLD_RM, ".ocisweep/holds.json"),
    ] {
        let fixture = command.fixture();
        let path = fixture.builder.join(file);
        if !path.exists() {
            continue;
        }
        if let Err(error) = setxattr(&path, "user.note", b"by a job", XattrFlags::empty()) {
            skip(&format!("`user.note` cannot be set here: {error}"));
            return;
        }
        let before = Files::of(fixture.path());
        let disturbed = Disturbed::by("fsetxattr:error=EOPNOTSUPP", &command.on(fixture.path()));
        let run = disturbed.run;
        run.exits(4)
            .one_error_with_hint()
            .warns("its attribute `user.note` cannot be kept")
            .warns(file);
        let differences = Files::of(fixture.path())
            .without_lock()
            .differences(&before);
        assert!(differences.is_empty(), "{differences}\n{}", run.all());
    }
}
