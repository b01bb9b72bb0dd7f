//! docker's words for the commands.

use crate::support::TestDir;

/// Each does what the command of the same name does, with global flags before and behind it.
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
    // They change what they are told to change.
    let run = dir.run(&["image", "rm", "skopeo-old-tags", "b"]);
    run.ok().says("Untagged: b");
    dir.run(&["rm", "skopeo-old-tags", "b"]).exits(1);
}
