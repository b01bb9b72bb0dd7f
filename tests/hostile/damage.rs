//! Documents that a crash, a bad disk or an attacker left other than their digest says.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::run::run;
use crate::support::{Cmd, Desc, Doc, GuardedLayout, Run, assert_same, for_each, media};

/// A way to spoil the bytes of a document.
type Spoil = fn(&[u8]) -> Vec<u8>;

/// A document of a scene.
type Which = fn(&GuardedLayout) -> &Desc;

/// Ways to spoil the bytes of a document, with names for messages.
const SPOILS: [(&str, Spoil); 8] = [
    ("empty", |_| Vec::new()),
    ("truncated", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("one byte short", |bytes| bytes[..bytes.len() - 1].to_vec()),
    ("one byte long", |bytes| [bytes, b"\n"].concat()),
    ("zeros", |bytes| vec![0; bytes.len()]),
    ("other JSON", |_| b"{}".to_vec()),
    ("a sound manifest of nothing", |_| {
        br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec()
    }),
    ("one bit turned", |bytes| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    }),
];

fn spoil(scene: &GuardedLayout, desc: &Desc, how: Spoil) {
    let path = scene.builder.join(&desc.blob_path());
    let bytes = fs::read(&path).expect("the document can be read");
    scene.builder.file(&desc.blob_path(), &how(&bytes));
}

/// The hint of a refusal.
#[track_caller]
fn hint(run: &Run) -> &str {
    run.stderr
        .lines()
        .find(|line| line.starts_with("hint: "))
        .unwrap_or_else(|| panic!("no hint\n{}", run.all()))
}

#[test]
fn a_damaged_document_that_is_reachable_stops_the_sweep_and_is_explained() {
    for_each(
        SPOILS,
        |(name, _)| (*name).to_owned(),
        |(_, how)| {
            // The document, the name of its image, and a word of the path that leads there.
            let cases: [(Which, &str, &str); 3] = [
                (|scene| &scene.app.manifest, "app", "app"),
                (|scene| &scene.multi, "multi", "multi"),
                (|scene| &scene.arm64.manifest, "multi", "linux/arm64"),
            ];
            for (which, image, step) in cases {
                let scene = GuardedLayout::new();
                let desc = which(&scene).clone();
                spoil(&scene, &desc, *how);
                let run = scene.gc_is_refused();
                run.warns(&desc.digest).warns(step).one_error_with_hint();
                let hint = hint(&run);
                assert!(
                    hint.contains("ocisweep rm") && hint.contains(image),
                    "the hint does not say how to remove `{image}`\n{}",
                    run.all()
                );
                // A dry run refuses what the run refuses, and says the same.
                let dry = Cmd::gc(scene.path()).arg("-n").run();
                dry.refused();
                assert_eq!(dry.stderr, run.stderr);
                for call in [&["ls"][..], &["ls", "--tree"], &["df"], &["df", "-v"]] {
                    let run = Cmd::new(call).arg(scene.path()).run();
                    run.no_panic();
                }
            }
        },
    );
}

#[test]
fn damage_below_two_indexes_is_reported_with_its_whole_path() {
    let mut scene = GuardedLayout::new();
    let image = scene.builder.image("linux/s390x", "deep", &[b"deep"]);
    let inner = scene
        .builder
        .index(&[image.manifest.clone().platform("linux/s390x")]);
    let outer = scene.builder.index(std::slice::from_ref(&inner));
    scene.builder.tag(&outer, "outer").write();
    scene.builder.file(&image.manifest.blob_path(), b"");
    let run = scene.gc_is_refused();
    run.warns("outer")
        .warns(&inner.hex()[..12])
        .warns("linux/s390x")
        .warns(&image.manifest.digest);
}

#[test]
fn several_damaged_documents_are_still_one_error() {
    let scene = GuardedLayout::new();
    for desc in [
        &scene.app.manifest,
        &scene.arm64.manifest,
        &scene.amd64.manifest,
    ] {
        scene.builder.file(&desc.blob_path(), b"");
    }
    scene.gc_is_refused();
}

#[test]
fn damage_in_a_document_of_unknown_type_stops_the_sweep() {
    for_each(
        SPOILS,
        |(name, _)| (*name).to_owned(),
        |(_, how)| {
            for media_type in [media::STRANGE, ""] {
                let mut scene = GuardedLayout::new();
                let hidden = scene.builder.layer(b"hidden");
                let text = format!("{{\"thing\":{}}}", hidden.json().text());
                let strange = scene.builder.blob(media_type, text.as_bytes());
                scene.builder.tag(&strange, "strange").write();
                spoil(&scene, &strange, *how);
                scene.gc_is_refused().warns(&strange.digest);
            }
        },
    );
}

#[test]
fn damage_in_an_unlisted_referrer_stops_nothing_and_loses_nothing_it_still_names() {
    let scene = GuardedLayout::new();
    let signature =
        scene
            .builder
            .referrer(&scene.app.manifest, "application/vnd.example", b"signature");
    // Other bytes that still name the same subject and the same blobs: doubt keeps.
    let path = scene.builder.join(&signature.manifest.blob_path());
    let text = fs::read_to_string(&path).expect("the signature can be read");
    let text = text.replacen('{', "{\"added\":true,", 1);
    scene
        .builder
        .file(&signature.manifest.blob_path(), text.as_bytes());
    let run = scene.gc_deletes_only_the_orphan();
    assert!(
        scene.has(&signature.manifest) && scene.has(&signature.layers[0]),
        "{}",
        run.all()
    );
}

#[test]
fn damaged_orphans_are_swept_like_any_other() {
    for_each(
        SPOILS,
        |(name, _)| (*name).to_owned(),
        |(_, how)| {
            let scene = GuardedLayout::new();
            let old = scene.builder.image("linux/amd64", "old", &[b"old"]);
            let index = scene.builder.index(std::slice::from_ref(&old.manifest));
            for desc in [&old.manifest, &old.config, &old.layers[0], &index] {
                spoil(&scene, desc, *how);
            }
            let run = scene.gc_deletes_only_the_orphan();
            for desc in [&old.manifest, &old.config, &old.layers[0], &index] {
                assert!(!scene.has(desc), "{}", run.all());
            }
        },
    );
}

#[test]
fn damage_in_configs_and_layers_is_not_gcs_business() {
    for_each(
        SPOILS,
        |(name, _)| (*name).to_owned(),
        |(_, how)| {
            let scene = GuardedLayout::new();
            for desc in [&scene.app.config, &scene.app.layers[0], &scene.arm64.config] {
                spoil(&scene, desc, *how);
            }
            scene.gc_deletes_only_the_orphan();
        },
    );
}

#[test]
fn a_known_type_that_holds_something_else_is_damage() {
    let texts = [
        "null",
        "5",
        "[]",
        "\"manifest\"",
        "not JSON",
        "{\"schemaVersion\":2,\"layers\":5}",
        "{\"schemaVersion\":2,\"layers\":{}}",
        "{\"schemaVersion\":2,\"config\":[],\"layers\":[]}",
        "{\"schemaVersion\":2,\"manifests\":{}}",
        "{\"schemaVersion\":2,\"layers\":[5]}",
        "{\"schemaVersion\":2}{\"schemaVersion\":2}",
    ];
    for_each(
        texts,
        |text| (*text).to_owned(),
        |text| {
            for media_type in [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST] {
                let mut scene = GuardedLayout::new();
                let desc = scene.builder.blob(media_type, text.as_bytes());
                scene.builder.tag(&desc, "odd").write();
                scene.gc_is_refused().warns(&desc.digest);
            }
        },
    );
}

#[test]
fn a_document_that_says_another_type_than_its_descriptor_loses_nothing() {
    let types = [
        media::MANIFEST,
        media::INDEX,
        media::LAYER,
        media::CONFIG,
        media::STRANGE,
        "",
    ];
    for_each(
        types,
        |said| (*said).to_owned(),
        |said| {
            let mut scene = GuardedLayout::new();
            let image = scene
                .builder
                .image("linux/amd64", "said", &[b"below a lie"]);
            let config = scene.builder.config("linux/amd64", "both");
            let doc = Doc::manifest(&config, &[])
                .with("manifests", "placeholder")
                .set("manifests", support_array(&image.manifest));
            let both = scene.builder.put(&doc);
            // Listed under its stated type, once as a root and once below an index.
            let index = scene.builder.index(&[both.clone().typed(said)]);
            scene.builder.tag(&both, "both").tag(&index, "lie").write();
            let run = scene.gc_deletes_only_the_orphan();
            for desc in [&image.manifest, &image.config, &image.layers[0], &config] {
                assert!(scene.has(desc), "{}", run.all());
            }
        },
    );
}

fn support_array(desc: &Desc) -> crate::support::Json {
    crate::support::Json::array([desc])
}

/// Returns the command that a hint shows.
#[track_caller]
fn command_in(hint: &str) -> &str {
    let start = hint.find("ocisweep rm").expect("the hint shows a command");
    let line = hint[start..].trim_end();
    // Where a sentence continues after it, the command is between backticks.
    let is_quoted = hint[..start].ends_with('`');
    match line.split_once("` removes") {
        Some((command, _)) if is_quoted => command,
        _ => line.trim_end_matches('`'),
    }
}

/// Runs the command that a hint shows in a shell, with a program in place of ours that only notes its arguments.
fn paste(scene: &GuardedLayout, hint: &str) -> (Run, Vec<String>) {
    // A function and not a script: a file that was just written cannot be run while another test forks
    // with the descriptor still open.
    let notes = scene.builder.outside().join("notes");
    let line = format!(
        "ocisweep() {{ for word in \"$@\"; do printf '%s\\0' \"$word\"; done >> \"$NOTES\"; }}\n{}",
        command_in(hint)
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &line])
        .current_dir(scene.builder.outside())
        .env("NOTES", &notes);
    let run = run(command);
    let noted = fs::read(&notes).unwrap_or_default();
    let words = noted
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| !word.is_empty())
        .collect();
    (run, words)
}

#[test]
fn a_hint_can_be_pasted_into_a_shell_whatever_the_image_is_called() {
    let names = [
        "plain",
        "x; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "a' ; touch pwned ; '",
        "a\" ; touch pwned ; \"",
        "a && touch pwned",
        "a | tee pwned",
        "a > pwned",
        "*",
        "~",
        "--force",
        "-f",
        "a\\",
        "a # b",
        "a b",
        "!!",
    ];
    for_each(
        names,
        |name| (*name).to_owned(),
        |name| {
            let mut scene = GuardedLayout::new();
            let image = scene.builder.image("linux/amd64", "named", &[b"named"]);
            scene.builder.tag(&image.manifest, name).write();
            scene.builder.file(&image.manifest.blob_path(), b"");
            let run = scene.gc_is_refused();
            let (pasted, words) = paste(&scene, hint(&run));
            let context = format!("{}\n{}\n{words:?}", run.all(), pasted.all());
            for place in [scene.builder.outside(), scene.path(), Path::new(".")] {
                assert!(
                    !place.join("pwned").exists(),
                    "the hint runs a command\n{context}"
                );
            }
            pasted.ok();
            let layout = scene.path().to_string_lossy().into_owned();
            assert_eq!(words.first().map(String::as_str), Some("rm"), "{context}");
            assert!(words.contains(&layout), "{context}");
            // By name or by digest, but so that it is taken for the image and not for a flag.
            let last = words.last().expect("there are words");
            let is_name =
                last == name && (!name.starts_with('-') || words.contains(&"--".to_owned()));
            let hex = last.strip_prefix("sha256:").unwrap_or(last);
            let is_digest = hex.len() >= 12 && image.manifest.hex().starts_with(hex);
            assert!(is_name || is_digest, "{context}");
        },
    );
}

#[test]
fn following_the_hints_ends_in_a_sweep_and_costs_only_what_is_damaged() {
    type Break = fn(&mut GuardedLayout);
    let cases: [(&str, Break); 8] = [
        ("a manifest", |scene| {
            let image = scene.builder.image("linux/amd64", "bad", &[b"bad"]);
            scene.builder.tag(&image.manifest, "bad").write();
            scene.builder.file(&image.manifest.blob_path(), b"");
        }),
        ("a manifest with two names", |scene| {
            let image = scene.builder.image("linux/amd64", "bad", &[b"bad"]);
            let manifest = &image.manifest;
            scene.builder.tag(manifest, "one").tag(manifest, "two");
            scene.builder.write().file(&manifest.blob_path(), b"{");
        }),
        ("a manifest without a name", |scene| {
            let image = scene.builder.image("linux/amd64", "bad", &[b"bad"]);
            scene.builder.entry(&image.manifest).write();
            scene.builder.file(&image.manifest.blob_path(), b"");
        }),
        ("a child of two images", |scene| {
            let image = scene.builder.image("linux/amd64", "bad", &[b"bad"]);
            let one = scene.builder.index(std::slice::from_ref(&image.manifest));
            let two = [image.manifest.clone(), scene.app.manifest.clone()];
            let two = scene.builder.index(&two);
            scene.builder.tag(&one, "one").tag(&two, "two").write();
            scene.builder.file(&image.manifest.blob_path(), b"");
        }),
        ("an entry that is nonsense", |scene| {
            let digest = "sha256:../../outside";
            scene.builder.entry(Desc::new(media::MANIFEST, digest, 7));
            scene.builder.write();
        }),
        ("an entry that is nonsense and has a name", |scene| {
            let digest = "sha256:../../outside";
            let entry = Desc::new(media::MANIFEST, digest, 7);
            scene.builder.tag(&entry, "nonsense").write();
        }),
        ("a missing root", |scene| {
            let missing = Desc::missing(media::INDEX, "missing");
            scene.builder.tag(&missing, "missing").write();
        }),
        ("a name with blanks and quotes", |scene| {
            let image = scene.builder.image("linux/amd64", "bad", &[b"bad"]);
            scene
                .builder
                .tag(&image.manifest, "it's a \"name\" $HOME")
                .write();
            scene.builder.file(&image.manifest.blob_path(), b"");
        }),
    ];
    for_each(
        cases,
        |(name, _)| (*name).to_owned(),
        |(_, damage)| {
            let mut scene = GuardedLayout::new();
            damage(&mut scene);
            let bin = scene.builder.outside().join("bin");
            fs::create_dir_all(&bin).expect("a directory can be made");
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ocisweep"), bin.join("ocisweep"))
                .expect("a link can be made");
            for _ in 0..4 {
                let refusal = scene.gc();
                if refusal.code == Some(0) {
                    break;
                }
                refusal.refused();
                let mut command = Command::new("sh");
                let path = std::env::var("PATH").unwrap_or_default();
                command
                    .args(["-c", command_in(hint(&refusal))])
                    .env("PATH", format!("{}:{path}", bin.display()));
                run(command).ok();
            }
            let run = scene.gc();
            run.ok();
            assert!(!scene.has(&scene.orphan), "{}", run.all());
            scene.assert_whole(&run.all());
        },
    );
}

#[test]
fn a_hint_names_the_layout_so_that_it_can_be_pasted() {
    let scene = GuardedLayout::new();
    let odd = scene.builder.outside().join("it's; touch pwned");
    fs::rename(scene.path(), &odd).expect("a directory can have any name");
    fs::write(odd.join(scene.app.manifest.blob_path()), b"").expect("a blob can be spoiled");
    let run = Cmd::gc(&odd).run();
    run.refused();
    let (pasted, words) = paste(&scene, hint(&run));
    pasted.ok();
    assert!(
        words.contains(&odd.to_string_lossy().into_owned()),
        "{}\n{words:?}",
        run.all()
    );
}

#[test]
fn a_referrer_that_nothing_can_be_known_of_is_not_swept_when_its_subject_lives() {
    // A document whose `subject` is there twice, in odd case, and in a list: every reader's reading keeps it.
    let scene = GuardedLayout::new();
    let config = scene.builder.empty_config();
    let nowhere = Desc::missing(media::MANIFEST, "nowhere");
    let docs = [
        Doc::manifest(&config, &[])
            .subject(&nowhere)
            .with("Subject", &scene.app.manifest),
        Doc::manifest(&config, &[])
            .subject(&scene.app.manifest)
            .with("subject", &nowhere),
        Doc::manifest(&config, &[]).with("SUBJECT", &scene.app.manifest),
    ];
    let referrers: Vec<Desc> = docs.iter().map(|doc| scene.builder.put(doc)).collect();
    let run = scene.gc_deletes_only_the_orphan();
    for referrer in &referrers {
        assert!(scene.has(referrer), "{}", run.all());
    }
    let before = scene.picture();
    scene.gc().ok();
    let after = scene.picture();
    assert_same(
        &crate::support::without_directory_times(&before),
        &crate::support::without_directory_times(&after),
        "a second run",
    );
}
