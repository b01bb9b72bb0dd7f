//! docker's words for the commands.

use crate::support::TestDir;
use crate::support::run::new_command;

/// Each equals the command of the same name, with global flags before and after it.
#[test]
fn groups_are_the_same_commands() {
    let dir = TestDir::with_cases(&["skopeo-old-tags"]);
    for (docker, own) in [
        (
            &["image", "ls", "skopeo-old-tags"][..],
            &["ls", "skopeo-old-tags"][..],
        ),
        (
            &["image", "ls", "-a", "skopeo-old-tags"],
            &["ls", "skopeo-old-tags"],
        ),
        (
            &["image", "list", "-q", "skopeo-old-tags"],
            &["ls", "-q", "skopeo-old-tags"],
        ),
        (
            &["images", "--all", "skopeo-old-tags"],
            &["ls", "skopeo-old-tags"],
        ),
        (
            &["--color", "never", "image", "ls", "skopeo-old-tags"],
            &["ls", "skopeo-old-tags"],
        ),
        (
            &["system", "df", "skopeo-old-tags"],
            &["df", "skopeo-old-tags"],
        ),
        (
            &[
                "system",
                "df",
                "-v",
                "--progress",
                "never",
                "skopeo-old-tags",
            ],
            &["df", "-v", "skopeo-old-tags"],
        ),
        (
            &["image", "prune", "-n", "skopeo-old-tags"],
            &["prune", "-n", "skopeo-old-tags"],
        ),
        (
            &[
                "system",
                "prune",
                "-n",
                "-a",
                "--allow-empty",
                "skopeo-old-tags",
            ],
            &["prune", "-n", "-a", "--allow-empty", "skopeo-old-tags"],
        ),
        (
            &["image", "rm", "-n", "skopeo-old-tags", "b"],
            &["rm", "-n", "skopeo-old-tags", "b"],
        ),
        (
            &["image", "remove", "-n", "skopeo-old-tags", "b"],
            &["rm", "-n", "skopeo-old-tags", "b"],
        ),
        (
            &["rmi", "-n", "skopeo-old-tags", "b"],
            &["rm", "-n", "skopeo-old-tags", "b"],
        ),
    ] {
        let (docker, own) = (dir.run(docker), dir.run(own));
        assert_eq!(docker.ok().stdout, own.ok().stdout, "{}", docker.all());
        assert_eq!(docker.stderr, own.stderr, "{}", docker.all());
    }
    // They make the requested changes.
    let run = dir.run(&["image", "rm", "skopeo-old-tags", "b"]);
    run.ok().says("Untagged: b");
    dir.run(&["rm", "skopeo-old-tags", "b"]).exits(1);
}

/// Locations as skopeo and regctl write them, where a layout is expected.
#[test]
fn locations_name_layouts_and_images() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "ctr-export"]);
    std::fs::rename(dir.join("skopeo-old-tags"), dir.join("images")).expect("it can be renamed");
    let tar = new_command("tar")
        .args(["-C", "images", "-cf", "images.tar", "."])
        .current_dir(dir.path())
        .status();
    assert!(tar.expect("tar is there").success());
    for args in [
        &["ls", "-q", "oci:images"][..],
        &[
            "ls",
            "-q",
            "ocidir://images",
            "oci-archive:images.tar",
            "ctr-export",
        ],
        &["rm", "-n", "-q", "oci:images:b"],
        &[
            "rm",
            "-n",
            "-q",
            "oci:images",
            "oci:./images:b",
            "ocidir://images:docker.io/library/foo:latest",
        ],
        &["rm", "-n", "-q", "oci-archive:images.tar:b"],
        &["rm", "-n", "oci:images:b", "oci:ctr-export:v1"],
        &["rm", "-n", "oci:images"],
        &["why", "oci:images:b"],
        &["why", "oci:images:b", "a"],
        &["hold", "add", "oci:images:b", "release"],
        &["hold", "ls", "oci:images"],
        // A location of one image never means the whole layout.
        &["ls", "oci:images:b"],
        &["df", "oci:images:b"],
        &["gc", "-n", "oci:images:b"],
        &["prune", "-f", "-a", "--allow-empty", "oci:images:b"],
        &["check", "oci:images:b"],
        &["undo", "oci:images:b"],
        // Not a layout on disk.
        &["ls", "docker://alpine"],
        &["ls", "dir:images"],
        &["ls", "oci:nowhere"],
    ] {
        dir.run_noted(args);
    }
    dir.matches("locations");
}

#[test]
fn an_existing_path_takes_precedence_over_a_location() {
    let dir = TestDir::with_cases(&["skopeo-old-tags", "ctr-export"]);
    let rename = |from: &str, to: &str| {
        std::fs::rename(dir.join(from), dir.join(to)).expect("it can be renamed");
    };
    rename("skopeo-old-tags", "oci:images:v1");
    let run = dir.run(&["ls", "-q", "oci:images:v1"]);
    assert_eq!(run.ok().stdout.lines().count(), 3, "{}", run.all());
    // A colon in the name of the directory is accepted if nothing else exists.
    rename("oci:images:v1", "images:v1");
    let run = dir.run(&["rm", "-n", "oci:images:v1:b"]);
    run.ok().says("Would untag: b");
    // If both interpretations exist, neither is used.
    rename("ctr-export", "images");
    dir.run(&["rm", "-n", "oci:images:v1:b"])
        .exits(2)
        .one_error();
    dir.run(&["prune", "-f", "oci:images:v1"])
        .exits(2)
        .one_error();
}

/// A layout that is not given: the current directory, or that of the environment.
#[test]
fn a_layout_may_be_omitted_in_its_directory() {
    let dir = TestDir::with_cases(&["skopeo-old-tags", "ctr-export"]);
    let inside = |args: &[&str]| {
        dir.cmd_now(args)
            .current_dir(&dir.join("skopeo-old-tags"))
            .run()
    };
    for (args, whole) in [
        (&["ls"][..], &["ls", "."][..]),
        (
            &["ls", "--format", "json"],
            &["ls", "--format", "json", "."],
        ),
        (&["df", "-v"], &["df", "-v", "."]),
        (&["check"], &["check", "."]),
        (&["blobs", "--live"], &["blobs", "--live", "."]),
        (&["hold", "ls"], &["hold", "ls", "."]),
        (&["trash", "ls"], &["trash", "ls", "."]),
        (&["why", "b"], &["why", ".", "b"]),
        (&["gc", "-n"], &["gc", "-n", "."]),
        (&["prune", "-n"], &["prune", "-n", "."]),
        (&["rm", "-n", "b"], &["rm", "-n", ".", "b"]),
    ] {
        let (short, whole) = (inside(args), inside(whole));
        assert_eq!(short.ok().stdout, whole.ok().stdout, "{}", short.all());
    }
    inside(&["hold", "add", "release", "b"]).ok();
    inside(&["hold", "rm", "release"])
        .ok()
        .says("Released: release");
    // Commands that change something print which layout that is.
    let run = inside(&["prune", "-f"]);
    run.ok();
    assert!(
        run.stderr.contains("the layout is the current directory\n"),
        "{}",
        run.all()
    );
    assert!(!inside(&["ls"]).stderr.contains("the layout is"));
    // Two arguments are a layout and an image, and a typing error in the first is not an image of this directory.
    let before = inside(&["ls"]).stdout;
    inside(&["rm", "imagse", "b"]).exits(4);
    inside(&["rm", "blobs"]).exits(2);
    inside(&["gc", "-r"]).exits(2);
    inside(&["gc", ""]).exits(2);
    assert_eq!(inside(&["ls"]).stdout, before);
    // Elsewhere it has to be named.
    dir.run(&["ls"]).exits(2).one_error();
    dir.run(&["prune", "-f"]).exits(2).one_error();
    dir.run(&["rm", "b"]).exits(2).one_error();
}

#[test]
fn the_environment_names_a_layout() {
    let dir = TestDir::with_cases(&["skopeo-old-tags", "ctr-export"]);
    let with = |place: &str, layout: &str, args: &[&str]| {
        let cmd = dir.cmd_now(args).current_dir(&dir.join(place));
        cmd.env("OCISWEEP_LAYOUT", layout).run()
    };
    let named = dir
        .run(&["ls", "-q", "skopeo-old-tags"])
        .ok()
        .stdout
        .clone();
    for layout in ["skopeo-old-tags", "oci:skopeo-old-tags"] {
        let run = with(".", layout, &["ls", "-q"]);
        assert_eq!(run.ok().stdout, named, "{}", run.all());
    }
    // A given layout takes precedence.
    let run = with(".", "skopeo-old-tags", &["ls", "-q", "ctr-export"]);
    assert_ne!(run.ok().stdout, named);
    let run = with(".", "skopeo-old-tags", &["rm", "-n", "b"]);
    run.ok().says("Would untag: b");
    assert!(run.stderr.contains("$OCISWEEP_LAYOUT"), "{}", run.all());
    // Inside another layout, reading uses the variable; changing is refused as ambiguous.
    let run = with("ctr-export", "../skopeo-old-tags", &["ls", "-q"]);
    assert_eq!(run.ok().stdout, named);
    for args in [
        &["gc"][..],
        &["gc", "-n"],
        &["rm", "b"],
        &["prune", "-f", "-a", "--allow-empty"],
    ] {
        with("ctr-export", "../skopeo-old-tags", args)
            .exits(2)
            .one_error();
    }
    with("skopeo-old-tags", ".", &["gc"]).ok();
    with(".", "oci:skopeo-old-tags:b", &["ls"])
        .exits(2)
        .one_error();
    with(".", "", &["ls"]).exits(2).one_error();
}
