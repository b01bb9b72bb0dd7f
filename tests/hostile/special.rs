//! FIFOs, sockets, directories, devices and links with the names of blobs: none blocks, none is followed to delete anything,
//! and no reference is lost because of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::support::environment::{is_root, skip};
use crate::support::{
    Cmd, Desc, GuardedLayout, assert_same, for_each, media, snapshot, total, with_action,
};

/// A file in place of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    Fifo,
    Socket,
    EmptyDirectory,
    FullDirectory,
    Device,
    LinkToZero,
    LinkToNothing,
    LinkToItself,
    LinkToDirectory,
    LinkToFifo,
}

impl Odd {
    const ALL: [Self; 10] = [
        Self::Fifo,
        Self::Socket,
        Self::EmptyDirectory,
        Self::FullDirectory,
        Self::Device,
        Self::LinkToZero,
        Self::LinkToNothing,
        Self::LinkToItself,
        Self::LinkToDirectory,
        Self::LinkToFifo,
    ];

    fn is_link(self) -> bool {
        matches!(
            self,
            Self::LinkToZero
                | Self::LinkToNothing
                | Self::LinkToItself
                | Self::LinkToDirectory
                | Self::LinkToFifo
        )
    }

    /// Puts it in place of a blob. Returns `true` if that is possible here.
    fn replace(self, fixture: &GuardedLayout, desc: &Desc) -> bool {
        let relative = desc.blob_path();
        let outside = fixture.builder.outside().join("third-name");
        fixture.builder.remove(&relative);
        match self {
            Self::Fifo => {
                fixture.builder.fifo(&relative);
            }
            Self::Socket => {
                // Bound elsewhere, because the name of a socket may have no more than 107 bytes.
                let short = fixture.builder.outside().join("s");
                let socket = UnixListener::bind(&short).expect("a socket can be made");
                drop(socket);
                fs::rename(&short, fixture.builder.join(&relative)).expect("a socket can be moved");
            }
            Self::EmptyDirectory => {
                fixture.builder.directory(&relative);
            }
            Self::FullDirectory => {
                fixture
                    .builder
                    .file(&format!("{relative}/precious"), b"precious");
            }
            Self::Device => {
                let made = rustix::fs::mknodat(
                    rustix::fs::CWD,
                    fixture.builder.join(&relative),
                    rustix::fs::FileType::CharacterDevice,
                    rustix::fs::Mode::from_raw_mode(0o666),
                    // Like `/dev/zero`: it can be read for ever.
                    rustix::fs::makedev(1, 5),
                );
                if !is_root() || made.is_err() {
                    skip("only root can make a device node");
                    return false;
                }
            }
            Self::LinkToZero => {
                fixture.builder.symlink(&relative, "/dev/zero");
            }
            Self::LinkToNothing => {
                fixture.builder.symlink(&relative, "../../nowhere");
            }
            Self::LinkToItself => {
                fixture.builder.symlink(&relative, desc.hex());
            }
            Self::LinkToDirectory => {
                fixture.builder.symlink(&relative, &outside);
            }
            Self::LinkToFifo => {
                fixture
                    .builder
                    .fifo("pipe")
                    .symlink(&relative, "../../pipe");
            }
        }
        true
    }
}

#[test]
fn non_files_are_kept_and_links_are_deleted_without_their_targets() {
    for_each(
        Odd::ALL,
        |odd| format!("{odd:?}"),
        |odd| {
            let fixture = GuardedLayout::new();
            if !odd.replace(&fixture, &fixture.orphan) {
                return;
            }
            let before = fixture.picture();
            let dry = Cmd::gc_json(fixture.path()).arg("-n").run();
            assert_eq!(
                total(&dry.ok().json(), "reclaimed_bytes"),
                0,
                "{}",
                dry.all()
            );
            assert_same(&before, &fixture.picture(), &dry.all());
            let run = Cmd::gc_json(fixture.path()).run();
            let report = run.ok().json();
            assert_eq!(total(&report, "reclaimed_bytes"), 0, "{}", run.all());
            fixture.assert_whole(&run.all());
            if odd.is_link() {
                assert!(
                    !fixture.has(&fixture.orphan),
                    "the link stays\n{}",
                    run.all()
                );
                assert_eq!(
                    with_action(&report, "delete"),
                    std::slice::from_ref(&fixture.orphan.digest)
                );
            } else {
                assert_same(&before, &fixture.picture(), &run.all());
            }
        },
    );
}

#[test]
fn special_files_in_place_of_configs_and_layers_are_not_opened() {
    for_each(
        Odd::ALL,
        |odd| format!("{odd:?}"),
        |odd| {
            for is_config in [false, true] {
                let fixture = GuardedLayout::new();
                let desc = if is_config {
                    fixture.app.config.clone()
                } else {
                    fixture.app.layers[0].clone()
                };
                if !odd.replace(&fixture, &desc) {
                    return;
                }
                let run = fixture.gc_deletes_only_the_orphan();
                assert!(fixture.has(&desc), "{}", run.all());
                for call in [&["ls"][..], &["ls", "--tree"], &["df"], &["df", "-v"]] {
                    let run = Cmd::new(call).arg(fixture.path()).run();
                    run.no_panic();
                }
            }
        },
    );
}

#[test]
fn a_document_that_cannot_be_read_stops_the_sweep() {
    for_each(
        Odd::ALL,
        |odd| format!("{odd:?}"),
        |odd| {
            for place in 0..4 {
                let mut fixture = GuardedLayout::new();
                let desc = match place {
                    0 => fixture.app.manifest.clone(),
                    1 => fixture.multi.clone(),
                    2 => fixture.arm64.manifest.clone(),
                    _ => {
                        let text = format!("{{\"thing\":{}}}", fixture.orphan.json().text());
                        let strange = fixture.builder.blob(media::STRANGE, text.as_bytes());
                        fixture.builder.tag(&strange, "strange").write();
                        strange
                    }
                };
                if !odd.replace(&fixture, &desc) {
                    return;
                }
                // A dangling link exists: its target may be unmounted. Its references are unknown.
                fixture.gc_is_refused().warns(&desc.digest);
                for call in [&["ls"][..], &["ls", "--tree"], &["df"], &["df", "-v"]] {
                    let run = Cmd::new(call).arg(fixture.path()).run();
                    run.no_panic();
                }
            }
        },
    );
}

#[test]
fn documents_behind_links_are_read_and_their_references_are_kept() {
    // Bazel's rules write every blob as a link into a cache.
    let fixture = GuardedLayout::new();
    let cache = fixture.builder.outside().join("cache");
    fs::create_dir_all(&cache).expect("the cache can be made");
    for desc in fixture.live() {
        let path = fixture.builder.join(&desc.blob_path());
        let target = cache.join(desc.hex());
        fs::rename(&path, &target).expect("a blob can be moved");
        symlink(&target, &path).expect("a link can be made");
    }
    let before = snapshot(&cache);
    let run = fixture.gc_deletes_only_the_orphan();
    assert_same(&before, &snapshot(&cache), &run.all());
}

/// Makes the orphan a link to `target`, whose content it has.
fn link_orphan_to(fixture: &GuardedLayout, target: &Path) {
    let path = fixture.builder.join(&fixture.orphan.blob_path());
    fs::copy(&path, target).expect("the blob can be copied");
    fixture.builder.symlink(&fixture.orphan.blob_path(), target);
}

#[test]
fn a_linked_orphan_is_removed_only_as_a_link_and_frees_nothing() {
    let fixture = GuardedLayout::new();
    let target = fixture.builder.outside().join("somebody else's");
    link_orphan_to(&fixture, &target);
    let content = fs::read(&target).expect("the target can be read");
    let dry = Cmd::gc_json(fixture.path()).arg("-n").run();
    let run = Cmd::gc_json(fixture.path()).run();
    for (run, action) in [(&dry, "would-delete"), (&run, "delete")] {
        let report = run.ok().json();
        assert_eq!(
            with_action(&report, action),
            std::slice::from_ref(&fixture.orphan.digest)
        );
        assert_eq!(total(&report, "reclaimed_bytes"), 0, "{}", run.all());
    }
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    assert_eq!(fs::read(&target).ok(), Some(content), "{}", run.all());
    fixture.assert_whole(&run.all());
}

#[test]
fn removing_an_orphan_that_links_to_a_live_blob_keeps_that_blob() {
    let fixture = GuardedLayout::new();
    let live = fixture.builder.join(&fixture.app.layers[0].blob_path());
    fixture.builder.symlink(&fixture.orphan.blob_path(), &live);
    let run = fixture.gc_deletes_only_the_orphan();
    assert!(live.is_file(), "{}", run.all());
    // Conversely, a live link to a file that is an orphan by its own name keeps it.
    let fixture = GuardedLayout::new();
    let layer = &fixture.app.layers[0];
    let bytes = fs::read(fixture.builder.join(&layer.blob_path())).expect("a layer can be read");
    fixture.builder.file("kept/elsewhere", &bytes);
    fixture
        .builder
        .symlink(&layer.blob_path(), "../../kept/elsewhere");
    let run = fixture.gc_deletes_only_the_orphan();
    assert!(
        fixture.builder.join("kept/elsewhere").is_file(),
        "{}",
        run.all()
    );
}

#[test]
fn hard_links_are_freed_once_and_only_with_their_last_name() {
    let fixture = GuardedLayout::new();
    let size = fixture.orphan.size;
    let original = fixture.builder.join(&fixture.orphan.blob_path());
    let twin = Desc::missing(media::LAYER, "the same file again");
    fixture.builder.hard_link(&twin.blob_path(), &original);
    let expect = |key: &str, bytes: u64| {
        let dry = Cmd::gc_json(fixture.path()).arg("-n").run();
        assert_eq!(total(&dry.ok().json(), key), bytes, "{}", dry.all());
    };
    // Two names in the layout, both garbage.
    expect("reclaimed_bytes", size);
    // A third name outside keeps all bytes.
    let outside = fixture.builder.outside().join("third-name");
    fs::hard_link(&original, &outside).expect("a hard link can be made");
    expect("reclaimed_bytes", 0);
    let run = Cmd::gc_json(fixture.path()).run();
    assert_eq!(
        total(&run.ok().json(), "reclaimed_bytes"),
        0,
        "{}",
        run.all()
    );
    assert!(
        !fixture.has(&fixture.orphan) && !fixture.has(&twin),
        "{}",
        run.all()
    );
    assert!(outside.is_file(), "{}", run.all());
}

#[test]
fn garbage_that_is_a_second_name_of_a_live_blob_frees_nothing() {
    let fixture = GuardedLayout::new();
    let live = fixture.builder.join(&fixture.app.layers[0].blob_path());
    fixture
        .builder
        .hard_link(&fixture.orphan.blob_path(), &live);
    let run = Cmd::gc_json(fixture.path()).run();
    assert_eq!(
        total(&run.ok().json(), "reclaimed_bytes"),
        0,
        "{}",
        run.all()
    );
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    fixture.assert_whole(&run.all());
}

#[test]
fn a_dry_run_and_a_run_agree_on_hard_links_among_thousands_of_files() {
    // More than the program inspects before it begins to delete, so that some names are already deleted when their twin is
    // inspected.
    const FILES: usize = 6000;
    const TWINS: usize = 200;
    let fixture = GuardedLayout::new();
    fixture.builder.remove(&fixture.orphan.blob_path());
    let mut freed = 0;
    for number in 0..FILES {
        let bytes = format!("garbage {number}");
        let desc = fixture.builder.layer(bytes.as_bytes());
        freed += desc.size;
        if number < TWINS {
            let twin = Desc::missing(media::LAYER, &format!("twin of {number}"));
            let original = fixture.builder.join(&desc.blob_path());
            fixture.builder.hard_link(&twin.blob_path(), &original);
        }
    }
    let dry = Cmd::gc_json(fixture.path()).arg("-n").run().ok().json();
    let run = Cmd::gc_json(fixture.path()).run().ok().json();
    assert_eq!(total(&dry, "reclaimed_bytes"), freed);
    assert_eq!(dry.get("totals"), run.get("totals"));
    assert_eq!(
        with_action(&dry, "would-delete"),
        with_action(&run, "delete")
    );
}

#[test]
fn foreign_files_among_the_blobs_are_kept_and_counted() {
    let fixture = GuardedLayout::new();
    let hex = "ab".repeat(32);
    let files = [
        "blobs/notes.txt".to_owned(),
        "blobs/sha256/notes.txt".to_owned(),
        "blobs/sha256/.nfs000000000012345600000001".to_owned(),
        "blobs/sha256/.hidden".to_owned(),
        format!("blobs/sha256/{}", hex.to_uppercase()),
        format!("blobs/sha256/{}", &hex[1..]),
        format!("blobs/sha256/{hex}c"),
        format!("blobs/sha256/{hex}.bak"),
        format!("blobs/sha256/{hex} "),
        format!("blobs/sha256/{}\n", &hex[1..]),
        format!("blobs/sha256/{}\u{1b}", &hex[1..]),
        format!("blobs/sha256/{hex}.d/{hex}"),
        format!("blobs/sha256/{}/inside", "cd".repeat(32)),
        format!("blobs/sha512/{hex}"),
        format!("blobs/sha256/{}", "ab".repeat(64)),
        format!("blobs/sha1/{}", "ab".repeat(20)),
        format!("blobs/blake3/{hex}"),
        format!("blobs/SHA256/{hex}"),
        format!("blobs/sha256.old/{hex}"),
        format!("blobs/{hex}"),
        format!("{hex}.tar"),
        "sha256/precious".to_owned(),
        "index.json.bak".to_owned(),
        "README".to_owned(),
    ];
    for file in &files {
        fixture.builder.file(file, b"a foreign file");
        fixture
            .builder
            .age(file, std::time::Duration::from_secs(90 * 86_400));
    }
    let run = fixture.gc_deletes_only_the_orphan();
    for file in &files {
        let bytes = fs::read(fixture.builder.join(file)).ok();
        assert_eq!(
            bytes.as_deref(),
            Some(&b"a foreign file"[..]),
            "{file:?}\n{}",
            run.all()
        );
    }
    // The names directly in `blobs/` and directly below an algorithm that is known.
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains("20"),
        "foreign files are not counted\n{}",
        run.all()
    );
}

/// All commands agree on whether a blob exists: a dangling or circular link is an absent blob.
#[test]
fn a_dangling_link_is_an_absent_blob_to_every_command() {
    for odd in [Odd::LinkToNothing, Odd::LinkToItself] {
        let fixture = GuardedLayout::new();
        let layer = fixture.app.layers.last().expect("it has one").clone();
        assert!(odd.replace(&fixture, &layer), "a link can be made");
        let run = |args: &[&str]| Cmd::new(args).arg(fixture.path()).run();
        for args in [
            &["check"][..],
            &["ls", "--tree"],
            &["df", "-v"],
            &["blobs", "--live"],
            &["gc", "--grace", "0"],
        ] {
            let run = run(args);
            let context = format!("{odd:?}\n{}", run.all());
            assert!(matches!(run.code, Some(0 | 1)), "{context}");
            assert!(!run.stderr.contains("cannot read"), "{context}");
            assert!(!run.stderr.contains("cannot measure"), "{context}");
        }
        let check = run(&["check", "--format", "json"]).json();
        let items = check["layouts"][0]["items"].as_array().cloned();
        let item = items
            .unwrap_or_default()
            .into_iter()
            .find(|item| item["digest"] == layer.digest.as_str());
        let class = item.map(|item| item["class"].clone());
        assert_eq!(class, Some("missing".into()), "{odd:?} {check:#}");
        let why = Cmd::new(["why"]).arg(fixture.path()).arg(&layer.digest);
        let why = why.run();
        why.ok().says("not here");
    }
}
