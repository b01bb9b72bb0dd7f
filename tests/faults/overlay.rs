//! An overlay file system, as in containers: files of its lower layer are hidden and not freed.

use crate::mounts::Mount;
use crate::support::{Cmd, FullLayout};

const LINE: &str =
    "is on an overlay file system: the bytes of files in its lower layers are not freed";

#[test]
fn bytes_of_a_lower_layer_are_reported_once() {
    let lower = FullLayout::new();
    let second = FullLayout::at(&lower.path().with_file_name("second"));
    let above = lower.path().parent().expect("it lies in a directory");
    let Some(mount) = Mount::overlay(above) else {
        return;
    };
    let name = |fixture: &FullLayout| fixture.path().file_name().expect("a name").to_owned();
    let run = Cmd::new(["gc"])
        .arg(mount.path().join(name(&lower)))
        .arg(mount.path().join(name(&second)))
        .run();
    run.ok().warns(LINE);
    assert_eq!(run.stderr.matches(LINE).count(), 1, "{}", run.all());
    // The lower layer is unchanged.
    assert!(lower.orphans.iter().all(|orphan| lower.has(orphan)));
    let layout = mount.path().join(name(&lower));
    let rm = Cmd::new(["rm"]).arg(&layout).arg("app:1");
    rm.run().ok().warns(LINE);
    let dry = Cmd::new(["rm", "-n", "-f"]).arg(&layout).arg("multi:1");
    dry.run().ok().warns(LINE);
    let again = Cmd::new(["gc"]).arg(&layout).run();
    assert!(!again.ok().stderr.contains(LINE), "{}", again.all());
}

/// A layout that was created in the upper layer frees the reported bytes.
#[test]
fn a_layout_of_the_upper_layer_frees_its_bytes() {
    let lower = FullLayout::new();
    let Some(mount) = Mount::overlay(lower.path()) else {
        return;
    };
    let fixture = FullLayout::at(&mount.path().join("made here"));
    let run = Cmd::new(["gc"]).arg(fixture.path()).run();
    assert!(!run.ok().stderr.contains(LINE), "{}", run.all());
    assert!(!fixture.orphans.iter().any(|orphan| fixture.has(orphan)));
}
