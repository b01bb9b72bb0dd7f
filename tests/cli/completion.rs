//! The text that TAB inserts, in real shells on a terminal.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::support::environment::has_strace;
use crate::support::run::{PROGRAM, new_command, run};
use crate::support::snapshot::copy_dir;
use crate::support::{ImageBuilder, LayoutBuilder, TestDir, Typing, assert_same, snapshot};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Names with a meaning for a shell.
const ODD: [&str; 12] = [
    "space and more",
    "dollar$(touch PWNED)",
    "back`touch PWNED`",
    "semi;touch PWNED",
    "pipe|cat>PWNED",
    "single'quote",
    "double\"quote",
    "slash\\x",
    "star*",
    "brace{a,b}",
    "bang!x",
    "percent%F{red}~",
];

/// Makes a layout `images` with ordinary and odd names, held images, several platforms and labels.
fn images(dir: &TestDir) -> LayoutBuilder {
    let mut layout = LayoutBuilder::at(&dir.join("images"));
    let arm = ImageBuilder::new("arm")
        .platform("linux/arm64")
        .store(&layout);
    let amd = ImageBuilder::new("amd")
        .platform("linux/amd64")
        .label("team", "web")
        .store(&layout);
    let index = layout.platforms(&[("linux/arm64", &arm), ("linux/amd64", &amd)]);
    for name in [
        "ghcr.io/acme/app:1.3",
        "ghcr.io/acme/app:1.4",
        "docker.io/library/redis:7",
    ] {
        layout.tag(&index, name);
    }
    for name in ODD.into_iter().chain([
        "-dash",
        "escape\u{1b}]0;PWNED\u{7}",
        "line\nfeed",
        "bidi\u{202e}",
    ]) {
        layout.tag(&amd.manifest, name);
    }
    layout.write();
    layout
}

/// Returns the candidates of the program itself.
fn asked(dir: &TestDir, words: &[&str]) -> Vec<String> {
    let run = dir
        .cmd(&[&["__complete", "fish", "ocisweep"], words].concat())
        .run();
    assert_eq!(run.ok().stderr, "", "{}", run.all());
    let lines = run.stdout.lines();
    let values = lines.filter_map(|line| line.split('\t').next());
    values.map(str::to_owned).collect()
}

/// Each argument is completed from the layout that the line names.
#[test]
fn candidates_come_from_the_layout_of_the_line() {
    let dir = TestDir::new();
    let layout = images(&dir);
    for args in [
        &[
            "hold", "add", "images", "release", "redis:7", "--reason", "shipped",
        ][..],
        &["rm", "--trash", "images", "star*"],
        &["rm", "--trash", "images", "bang!x"],
    ] {
        dir.cmd(args).run().ok();
    }
    let runs = dir
        .cmd(&["trash", "ls", "--format", "{{.Run}}", "images"])
        .run();
    let mut runs: Vec<String> = runs.ok().stdout.lines().map(str::to_owned).collect();
    runs.reverse();
    assert_eq!(runs.len(), 2);
    let id = dir
        .cmd(&["ls", "-q", "images", "-f", "reference=redis"])
        .run();
    let id = id.ok().stdout.trim().to_owned();
    let blobs = fs::read_dir(layout.join("blobs/sha256"))
        .expect("there are blobs")
        .count();
    let app = ["ghcr.io/acme/app:1.3", "ghcr.io/acme/app:1.4"];
    let platforms = ["linux/amd64", "linux/arm64"];
    for (words, want) in [
        (&["rm", "images", "gh"][..], &app[..]),
        (&["rm", "images", "ghcr.io/acme/app:1.3", "gh"], &app[1..]),
        (&["image", "rm", "images", "gh"], &app),
        (&["rm", "oci:images", "gh"], &app),
        (&["rm", "./images", "re"], &["redis:7"]),
        (&["rm", "images", "-da"], &[]),
        (&["rm", "images", "--", "-"], &["-dash"]),
        (&["rm", "images", &id[..4]], &[&id]),
        (&["rm", "images", &id[..2]], &[]),
        (&["hold", "add", "images", "x", "red"], &["redis:7"]),
        (&["hold", "add", "images", ""], &[]),
        (&["hold", "rm", "images", ""], &["release"]),
        (&["hold", "rm", "images", "release", ""], &[]),
        (&["rm", "images", "redis:7", "--platform", ""], &platforms),
        (
            &["rm", "images", "redis:7", "--only-platform", "linux/arm64,"],
            &["linux/arm64,linux/amd64"],
        ),
        (
            &["rm", "images", "space and more", "--platform", ""],
            &["linux/amd64"],
        ),
        (
            &["prune", "images", "--keep", "ghcr.io/acme/app:1.4"],
            &app[1..],
        ),
        (
            &["ls", "images", "-f", "reference=red"],
            &["reference=redis:7"],
        ),
        (
            &["ls", "images", "-f", "platform="],
            &["platform=linux/amd64", "platform=linux/arm64"],
        ),
        // As a pattern it would match other names too.
        (&["rm", "images", "slash"], &["slash\\x"]),
        (&["ls", "images", "-f", "reference=slash"], &[]),
        (
            &["ls", "images", "-f", "before=slash"],
            &["before=slash\\x"],
        ),
        (&["prune", "images", "--keep", "slash"], &[]),
        (&["ls", "images", "-f", "label="], &["label=team"]),
        (
            &["ls", "images", "-f", "label!=team="],
            &["label!=team=web"],
        ),
        (&["ls", "images", "-f", "artifacttype="], &[]),
        (
            &["undo", "images", ""],
            &runs.iter().map(String::as_str).collect::<Vec<_>>(),
        ),
        (&["trash", "empty", "images", &runs[1]], &[&runs[1]]),
        (&["undo", "images", &runs[0], ""], &[]),
        (&["why", "images", "redis:7", ""], &[]),
        (&["gc", "im"], &["images"]),
        (&["gc", "oci:im"], &["oci:images"]),
        (
            &["rm", "oci:images:gh"],
            &[
                "oci:images:ghcr.io/acme/app:1.3",
                "oci:images:ghcr.io/acme/app:1.4",
            ],
        ),
        (
            &["image", "rm", "ocidir://./images:re"],
            &["ocidir://./images:redis:7"],
        ),
        (&["why", "oci:images:re"], &["oci:images:redis:7"]),
        (&["hold", "add", "oci:images:re"], &["oci:images:redis:7"]),
        // These take only layouts.
        (&["gc", "oci:images:re"], &[]),
        (&["hold", "rm", "oci:images:re"], &[]),
        (&["rm", "oci:nowhere:"], &[]),
        // Words after the cursor, as a shell counts them.
        (&["rm", "--platform", ""], &[]),
        (&["gc", "--shared-blobs", "im"], &["images/"]),
        (&["apply", "im"], &["images/"]),
    ] {
        assert_eq!(asked(&dir, words), want, "{words:?}");
    }
    let behind = |count: &str, words: &[&str]| {
        let words = [&["__complete", "fish", count, "ocisweep"], words].concat();
        let run = dir.cmd(&words).run();
        let lines = run.ok().stdout.lines();
        let values = lines.filter_map(|line| line.split('\t').next());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let words = ["rm", "--platform", "", "images", "redis:7"];
    assert_eq!(behind("--behind=2", &words), platforms);
    assert_eq!(behind("--behind=0", &["rm", "images", "gh"]), app);
    // Of the positional arguments, only those before the cursor count.
    assert_eq!(behind("--behind=1", &["rm", "", "images"]), ["images"]);
    assert_eq!(behind("--behind=9", &words), [""; 0]);
    assert_eq!(asked(&dir, &["why", "images", "sha256:"]).len(), blobs);
    let described = dir
        .cmd(&["__complete", "fish", "ocisweep", "undo", "images", ""])
        .run();
    let first = described.stdout.lines().next().unwrap_or_default();
    assert!(
        first.ends_with(": ocisweep rm --trash images 'bang!x'"),
        "{first}"
    );
    let id = dir
        .cmd(&["__complete", "fish", "ocisweep", "hold", "rm", "images", ""])
        .run();
    assert_eq!(id.stdout, "release\tredis:7: shipped\n");
}

/// A layout may be omitted; then the default one is used, as by commands.
#[test]
fn the_layout_may_be_omitted() {
    let dir = TestDir::new();
    images(&dir);
    let ask = |words: &[&str]| {
        let words = [&["__complete", "fish", "ocisweep"], words].concat();
        dir.cmd(&words)
    };
    let here = |words: &[&str]| ask(words).current_dir(&dir.join("images")).run().stdout;
    assert!(here(&["rm", "red"]).starts_with("redis:7\t"));
    assert!(here(&["hold", "add", "week", "red"]).starts_with("redis:7\t"));
    assert!(here(&["ls", "-f", "reference=red"]).starts_with("reference=redis:7\t"));
    assert_eq!(
        here(&["rm", "redis:7", "gh"]),
        "",
        "one word is an image, two are not"
    );
    assert_eq!(ask(&["rm", "red"]).run().stdout, "");
    let named = ask(&["rm", "red"]).env("OCISWEEP_LAYOUT", "images");
    assert!(named.run().stdout.starts_with("redis:7\t"));
}

/// The blobs, and the trash, may be in a directory that layouts share.
#[test]
fn shared_blobs_have_platforms_and_runs() {
    let dir = TestDir::with_cases(&["regctl"]);
    fs::rename(dir.join("regctl/blobs"), dir.join("pool")).expect("it can be moved");
    let shared = ["--shared-blobs", "pool"];
    let ask = |before: &[&str], after: &[&str]| asked(&dir, &[before, &shared, after].concat());
    assert_eq!(ask(&["rm"], &["regctl", "m"]), ["m"]);
    let platforms = ask(&["rm"], &["regctl", "m", "--platform", ""]);
    assert!(
        platforms.contains(&"linux/arm/v7".to_owned()),
        "{platforms:?}"
    );
    assert_eq!(ask(&["undo"], &["--run", ""]), [""; 0]);
    copy_dir(&dir.join("regctl"), &dir.join("other"));
    for [layout, other] in [["regctl", "other"], ["other", "regctl"]] {
        let remove = [
            "rm", "--trash", "--grace", "0", layout, "m", "--with", other,
        ];
        dir.cmd(&[&remove[..], &shared].concat()).run().ok();
    }
    let runs = dir
        .cmd(&[&["trash", "ls", "--format", "{{.Run}}"], &shared[..]].concat())
        .run();
    let mut runs: Vec<String> = runs.ok().stdout.lines().map(str::to_owned).collect();
    runs.reverse();
    assert_eq!(runs.len(), 2);
    assert_eq!(ask(&["undo"], &["--run", ""]), runs);
    assert_eq!(ask(&["undo"], &["regctl", "--run", ""]), runs);
    assert_eq!(ask(&["trash", "empty"], &[""]), runs);
    assert_eq!(ask(&["undo"], &["re"]), ["regctl"]);
    let blobs = ask(&["undo"], &["regctl", "--blob", "sha256:064"]);
    assert_eq!(blobs.len(), 1, "{blobs:?}");
}

/// Only paths: no error, no wait.
#[test]
fn unreadable_layouts_offer_nothing() {
    let dir = TestDir::with_cases(&["docker-save-names"]);
    let (layout, _) = dir.layout("whole");
    let (damaged, _) = dir.layout("damaged");
    damaged.file("index.json", b"{\"manifests\":[{]}");
    let (holds, _) = dir.layout("holds");
    holds
        .directory(".ocisweep")
        .file(".ocisweep/holds.json", b"[]");
    let (pipe, _) = dir.layout("pipe");
    pipe.remove("index.json").fifo("index.json");
    dir.layout("large")
        .0
        .file("index.json", &vec![b' '; 65 << 20]);
    fs::create_dir(dir.join("empty")).expect("a directory");
    symlink("/dev/zero", dir.join("zero")).expect("a link");
    assert_eq!(asked(&dir, &["rm", "whole", ""]), ["v1"]);
    for name in [
        "damaged", "holds", "pipe", "large", "empty", "zero", "nowhere",
    ] {
        for words in [
            &["rm", name, ""][..],
            &["rm", name, "--platform", ""],
            &["hold", "rm", name, ""],
            &["undo", name, ""],
            &["ls", name, "-f", "label="],
        ] {
            let begin = Instant::now();
            assert_eq!(asked(&dir, words), [""; 0], "{words:?}");
            assert!(begin.elapsed() < Duration::from_secs(10), "{words:?}");
        }
    }
    assert_eq!(asked(&dir, &["rm", "dam"]), ["damaged"]);
    drop(layout);
    // A plain archive is listed, also one of docker before version 25; a compressed one is not unpacked.
    fs::create_dir_all(dir.join("classic/abc")).expect("directories can be made");
    fs::write(dir.join("classic/abc/layer.tar"), "a layer").expect("a file can be written");
    let list =
        r#"[{"Config":"abc.json","RepoTags":["old:1","older:2"],"Layers":["abc/layer.tar"]}]"#;
    fs::write(dir.join("classic/manifest.json"), list).expect("a file can be written");
    let tar = |flags: &str, to: &str, from: &str| {
        let mut command = new_command("tar");
        command
            .args([flags, to, "-C", from, "."])
            .current_dir(dir.path());
        run(command).ok();
    };
    tar("-cf", "plain.tar", "docker-save-names");
    tar("-czf", "packed.tar.gz", "docker-save-names");
    tar("-cf", "classic.tar", "classic");
    assert_eq!(
        asked(&dir, &["rm", "classic.tar", ""]),
        ["old:1", "older:2"]
    );
    assert_eq!(asked(&dir, &["rm", "pla"]), ["plain.tar"]);
    assert_eq!(
        asked(&dir, &["rm", "plain.tar", "localhost:5"]),
        ["localhost:5000/team/app:v1"]
    );
    assert_eq!(asked(&dir, &["rm", "packed.tar.gz", ""]), [""; 0]);
    assert_eq!(asked(&dir, &["hold", "rm", "pla"]), [""; 0]);
    let bytes = fs::read(dir.join("plain.tar")).expect("it is there");
    fs::write(dir.join("cut.tar"), &bytes[..bytes.len() / 2]).expect("it can be written");
    assert_eq!(asked(&dir, &["rm", "cut.tar", ""]), [""; 0]);
}

/// A completion request neither writes nor locks, and reads no blob that is not a document.
#[test]
fn a_completion_request_changes_nothing() {
    let dir = TestDir::new();
    let layout = images(&dir);
    dir.cmd(&["rm", "--trash", "images", "star*"]).run().ok();
    let before = snapshot(layout.path());
    let questions = [
        &["rm", "images", ""][..],
        &["why", "images", "sha256:"],
        &["undo", "images", ""],
        &["ls", "images", "-f", "label="],
        &["rm", "images", "redis:7", "--platform", ""],
    ];
    for words in questions {
        assert!(!asked(&dir, words).is_empty(), "{words:?}");
    }
    assert_same(&before, &snapshot(layout.path()), "after questions");
    if !has_strace() {
        return;
    }
    for words in questions {
        let mut command = new_command("strace");
        command
            .args(["-f", "-qq", "-e", "trace=%file,flock,fcntl,write,socket"])
            .arg(PROGRAM)
            .args(["__complete", "fish", "ocisweep"])
            .args(words)
            .current_dir(dir.path());
        let calls = run(command).stderr;
        assert!(calls.contains("index.json"), "{calls}");
        for word in [
            "O_WRONLY", "O_RDWR", "O_CREAT", "flock(", "F_SETLK", "F_OFD", "unlink", "rename",
            "mkdir", "socket(",
        ] {
            assert!(!calls.contains(word), "{words:?}: {word}\n{calls}");
        }
    }
}

/// A thousand names are offered, with the right common prefix, and 100,000 do not block the shell.
#[test]
fn a_large_layout_is_completed_in_time() {
    let dir = TestDir::new();
    for count in [5_000, 100_000] {
        let mut layout = LayoutBuilder::at(&dir.join(&count.to_string()));
        let image = layout.image("linux/amd64", "one", &[b"layer"]);
        for number in 0..count {
            let name = format!("ghcr.io/acme/app-{:02}:{number}", number % 50);
            layout.tag(&image.manifest, &name);
        }
        layout.write();
    }
    let few = asked(&dir, &["rm", "5000", ""]);
    assert_eq!(few.len(), 1000);
    let ends = (few[0].as_str(), few[999].as_str());
    assert_eq!(ends, ("ghcr.io/acme/app-00:0", "ghcr.io/acme/app-49:999"));
    // The program stops reading after 8 s without optimisation, after 0.8 s with it; on a busy machine that may be too short.
    let begin = Instant::now();
    let many = asked(&dir, &["rm", "100000", ""]);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(many.is_empty() || many.len() == 1000, "{}", many.len());
}

/// Returns the keys that move the cursor back over a text.
fn back(text: &str) -> String {
    "\u{2}".repeat(text.len())
}

#[test]
fn names_with_colons_are_completed_in_every_shell() {
    let dir = TestDir::new();
    images(&dir);
    fs::create_dir(dir.join("my dir")).expect("a directory");
    fs::rename(dir.join("images"), dir.join("my dir/images")).expect("it can be moved");
    images(&dir);
    for shell in SHELLS {
        let Some(mut typing) = Typing::start(shell, dir.path()) else {
            continue;
        };
        for (line, want) in [
            ("rm im\t", &["rm", "images"][..]),
            ("rm images gh\t3", &["rm", "images", "ghcr.io/acme/app:1.3"]),
            (
                "rm images ghcr.io/acme/app:1.4\t",
                &["rm", "images", "ghcr.io/acme/app:1.4"],
            ),
            ("rm images redis:\t", &["rm", "images", "redis:7"]),
            (
                "rm images docker.io/l\t",
                &["rm", "images", "docker.io/library/redis:7"],
            ),
            ("rm --platform=linux/am\t", &["rm", "--platform=linux/am"]),
            (
                "rm images red\t--platform linux/am\t",
                &["rm", "images", "redis:7", "--platform", "linux/amd64"],
            ),
            (
                "rm images red\t--platform=linux/am\t",
                &["rm", "images", "redis:7", "--platform=linux/amd64"],
            ),
            (
                "ls images --filter dang\tt\t",
                &["ls", "images", "--filter", "dangling=true"],
            ),
            (
                "ls images --filter=dangling=t\t",
                &["ls", "images", "--filter=dangling=true"],
            ),
            ("rm my\timages red\t", &["rm", "my dir/images", "redis:7"]),
            (
                "rm ~/im\tred\t",
                &["rm", dir.join("images").to_str().expect("UTF-8"), "redis:7"],
            ),
            ("hol\tad\t", &["hold", "add"]),
            ("rm oci:images:red\t", &["rm", "oci:images:redis:7"]),
            (
                "rm ocidir://images:gh\t4",
                &["rm", "ocidir://images:ghcr.io/acme/app:1.4"],
            ),
        ] {
            assert_eq!(typing.args(line), want, "{shell}: {line:?}");
        }
        // fish does not pass the words after the cursor to a completion.
        if shell == "fish" {
            continue;
        }
        for (line, want) in [
            (
                format!(
                    "rm --platform linux/ar images redis:7{}\t",
                    back(" images redis:7")
                ),
                &["rm", "--platform", "linux/arm64", "images", "redis:7"][..],
            ),
            (
                format!("prune --keep gh images{}\t4", back(" images")),
                &["prune", "--keep", "ghcr.io/acme/app:1.4", "images"],
            ),
        ] {
            let args = typing.args(&line);
            assert_eq!(args, want, "{shell}: {line:?}");
        }
    }
}

#[test]
fn no_name_is_executed_by_a_shell() {
    let dir = TestDir::new();
    images(&dir);
    for shell in SHELLS {
        let Some(mut typing) = Typing::start(shell, dir.path()) else {
            continue;
        };
        for name in ODD {
            let start: String = name.chars().take(3).collect();
            let args = typing.args(&format!("rm images {start}\t"));
            assert_eq!(args, ["rm", "images", name], "{shell}");
        }
        // In quotes that the user opened; in double ones bash would expand `!`.
        for name in ODD.into_iter().filter(|name| !name.contains('!')) {
            let start: String = name.chars().take(3).collect();
            for quote in ['\'', '"'] {
                let args = typing.args(&format!("rm images {quote}{start}\t"));
                assert_eq!(args, ["rm", "images", name], "{shell} {quote}");
            }
        }
        // After quotes and backslashes that are already on the line.
        for (typed, name) in [
            (r"space\ and\ m", ODD[0]),
            ("'space and m", ODD[0]),
            (r"dollar\$\(t", ODD[1]),
            ("\"dollar\\$(t", ODD[1]),
            ("'dollar$(t", ODD[1]),
            (r"single\'q", ODD[5]),
            ("\"single'q", ODD[5]),
            (r"slash\\", ODD[7]),
        ] {
            let args = typing.args(&format!("rm images {typed}\t"));
            assert_eq!(args, ["rm", "images", name], "{shell} {typed}");
        }
        // Names that would move the cursor or add a line are not offered.
        for start in ["esc", "line", "bidi"] {
            let args = typing.args(&format!("rm images {start}\t"));
            assert_eq!(args, ["rm", "images", start], "{shell}");
        }
        assert!(!dir.join("PWNED").exists(), "{shell} ran a name");
    }
}

/// Several candidates are listed with their descriptions.
#[test]
fn candidates_are_listed_with_descriptions() {
    let dir = TestDir::new();
    images(&dir);
    for name in ["star*", "bang!x"] {
        dir.cmd(&["rm", "--trash", "images", name]).run().ok();
    }
    for shell in SHELLS {
        let Some(mut typing) = Typing::start(shell, dir.path()) else {
            continue;
        };
        // bash lists at the second TAB that inserts nothing.
        let list = if shell == "bash" { "\t\t\t" } else { "\t\t" };
        typing.press(&format!("args undo images {list}"));
        // The newest first.
        typing.wait_for(": ocisweep rm --trash images 'bang!x'");
        typing.wait_for(": ocisweep rm --trash images 'star*'");
    }
}
