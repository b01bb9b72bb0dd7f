//! Documents that do not match their digest, because of a crash, a bad disk or an attacker.

use std::fs;
use std::path::Path;

use crate::support::run::{new_command, run};
use crate::support::{Cmd, Desc, Doc, GuardedLayout, Run, assert_same, for_each, media};

/// A way to damage the bytes of a document.
type Spoil = fn(&[u8]) -> Vec<u8>;

/// A document of a fixture.
type Which = fn(&GuardedLayout) -> &Desc;

/// Ways to damage the bytes of a document, with names for messages.
const SPOILS: [(&str, Spoil); 8] = [
    ("empty", |_| Vec::new()),
    ("truncated", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("one byte short", |bytes| bytes[..bytes.len() - 1].to_vec()),
    ("one byte long", |bytes| [bytes, b"\n"].concat()),
    ("zeros", |bytes| vec![0; bytes.len()]),
    ("other JSON", |_| b"{}".to_vec()),
    ("a valid empty manifest", |_| {
        br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec()
    }),
    ("one bit turned", |bytes| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    }),
];

fn spoil(fixture: &GuardedLayout, desc: &Desc, how: Spoil) {
    let path = fixture.builder.join(&desc.blob_path());
    let bytes = fs::read(&path).expect("the document can be read");
    fixture.builder.file(&desc.blob_path(), &how(&bytes));
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
            // The document, the name of its image, and a part of its reference path.
            let cases: [(Which, &str, &str); 3] = [
                (|fixture| &fixture.app.manifest, "app", "app"),
                (|fixture| &fixture.multi, "multi", "multi"),
                (|fixture| &fixture.arm64.manifest, "multi", "linux/arm64"),
            ];
            for (which, image, step) in cases {
                let fixture = GuardedLayout::new();
                let desc = which(&fixture).clone();
                spoil(&fixture, &desc, *how);
                let run = fixture.gc_is_refused();
                run.warns(&desc.digest).warns(step).one_error_with_hint();
                let hint = hint(&run);
                assert!(
                    hint.contains("ocisweep rm") && hint.contains(image),
                    "the hint does not say how to remove `{image}`\n{}",
                    run.all()
                );
                // A dry run is refused like the run, with the same message.
                let dry = Cmd::gc(fixture.path()).arg("-n").run();
                dry.refused();
                assert_eq!(dry.stderr, run.stderr);
                for call in [&["ls"][..], &["ls", "--tree"], &["df"], &["df", "-v"]] {
                    let run = Cmd::new(call).arg(fixture.path()).run();
                    run.no_panic();
                }
            }
        },
    );
}

#[test]
fn damage_below_two_indexes_is_reported_with_its_full_path() {
    let mut fixture = GuardedLayout::new();
    let image = fixture.builder.image("linux/s390x", "deep", &[b"deep"]);
    let inner = fixture
        .builder
        .index(&[image.manifest.clone().platform("linux/s390x")]);
    let outer = fixture.builder.index(std::slice::from_ref(&inner));
    fixture.builder.tag(&outer, "outer").write();
    fixture.builder.file(&image.manifest.blob_path(), b"");
    let run = fixture.gc_is_refused();
    run.warns("outer")
        .warns(&inner.hex()[..12])
        .warns("linux/s390x")
        .warns(&image.manifest.digest);
}

#[test]
fn several_damaged_documents_are_still_one_error() {
    let fixture = GuardedLayout::new();
    for desc in [
        &fixture.app.manifest,
        &fixture.arm64.manifest,
        &fixture.amd64.manifest,
    ] {
        fixture.builder.file(&desc.blob_path(), b"");
    }
    fixture.gc_is_refused();
}

#[test]
fn damage_in_a_document_of_unknown_type_stops_the_sweep() {
    for_each(
        SPOILS,
        |(name, _)| (*name).to_owned(),
        |(_, how)| {
            for media_type in [media::STRANGE, ""] {
                let mut fixture = GuardedLayout::new();
                let hidden = fixture.builder.layer(b"hidden");
                let text = format!("{{\"thing\":{}}}", hidden.json().text());
                let strange = fixture.builder.blob(media_type, text.as_bytes());
                fixture.builder.tag(&strange, "strange").write();
                spoil(&fixture, &strange, *how);
                fixture.gc_is_refused().warns(&strange.digest);
            }
        },
    );
}

#[test]
fn damage_in_an_unlisted_referrer_stops_nothing_and_its_references_are_kept() {
    let fixture = GuardedLayout::new();
    let signature = fixture.builder.referrer(
        &fixture.app.manifest,
        "application/vnd.example",
        b"signature",
    );
    // Other bytes that still name the same subject and the same blobs: doubt keeps.
    let path = fixture.builder.join(&signature.manifest.blob_path());
    let text = fs::read_to_string(&path).expect("the signature can be read");
    let text = text.replacen('{', "{\"added\":true,", 1);
    fixture
        .builder
        .file(&signature.manifest.blob_path(), text.as_bytes());
    let run = fixture.gc_deletes_only_the_orphan();
    assert!(
        fixture.has(&signature.manifest) && fixture.has(&signature.layers[0]),
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
            let fixture = GuardedLayout::new();
            let old = fixture.builder.image("linux/amd64", "old", &[b"old"]);
            let index = fixture.builder.index(std::slice::from_ref(&old.manifest));
            for desc in [&old.manifest, &old.config, &old.layers[0], &index] {
                spoil(&fixture, desc, *how);
            }
            let run = fixture.gc_deletes_only_the_orphan();
            for desc in [&old.manifest, &old.config, &old.layers[0], &index] {
                assert!(!fixture.has(desc), "{}", run.all());
            }
        },
    );
}

#[test]
fn gc_ignores_damage_in_configs_and_layers() {
    for_each(
        SPOILS,
        |(name, _)| (*name).to_owned(),
        |(_, how)| {
            let fixture = GuardedLayout::new();
            for desc in [
                &fixture.app.config,
                &fixture.app.layers[0],
                &fixture.arm64.config,
            ] {
                spoil(&fixture, desc, *how);
            }
            fixture.gc_deletes_only_the_orphan();
        },
    );
}

#[test]
fn a_known_type_with_other_content_is_damage() {
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
                let mut fixture = GuardedLayout::new();
                let desc = fixture.builder.blob(media_type, text.as_bytes());
                fixture.builder.tag(&desc, "odd").write();
                fixture.gc_is_refused().warns(&desc.digest);
            }
        },
    );
}

#[test]
fn a_document_with_another_type_than_its_descriptor_loses_nothing() {
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
            let mut fixture = GuardedLayout::new();
            let image = fixture
                .builder
                .image("linux/amd64", "said", &[b"below a lie"]);
            let config = fixture.builder.config("linux/amd64", "both");
            let doc = Doc::manifest(&config, &[])
                .with("manifests", "placeholder")
                .set("manifests", support_array(&image.manifest));
            let both = fixture.builder.put(&doc);
            // Listed under its declared type, once as a root and once below an index.
            let index = fixture.builder.index(&[both.clone().typed(said)]);
            fixture
                .builder
                .tag(&both, "both")
                .tag(&index, "lie")
                .write();
            let run = fixture.gc_deletes_only_the_orphan();
            for desc in [&image.manifest, &image.config, &image.layers[0], &config] {
                assert!(fixture.has(desc), "{}", run.all());
            }
        },
    );
}

fn support_array(desc: &Desc) -> crate::support::Json {
    crate::support::Json::array([desc])
}

/// Returns the command in a hint.
#[track_caller]
fn command_in(hint: &str) -> &str {
    let start = hint.find("ocisweep rm").expect("the hint shows a command");
    let line = hint[start..].trim_end();
    // If text follows, the command is between backticks.
    let is_quoted = hint[..start].ends_with('`');
    match line.split_once("` removes") {
        Some((command, _)) if is_quoted => command,
        _ => line.trim_end_matches('`'),
    }
}

/// Runs the command of a hint in a shell, with a replacement of the program that only records its arguments.
fn paste(fixture: &GuardedLayout, hint: &str) -> (Run, Vec<String>) {
    // A function and not a script: a file that was just written cannot be run while another test forks
    // with the descriptor still open.
    let notes = fixture.builder.outside().join("notes");
    let line = format!(
        "ocisweep() {{ for word in \"$@\"; do printf '%s\\0' \"$word\"; done >> \"$NOTES\"; }}\n{}",
        command_in(hint)
    );
    let mut command = new_command("sh");
    command
        .args(["-c", &line])
        .current_dir(fixture.builder.outside())
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
fn a_hint_can_be_pasted_into_a_shell_for_any_image_name() {
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
            let mut fixture = GuardedLayout::new();
            let image = fixture.builder.image("linux/amd64", "named", &[b"named"]);
            fixture.builder.tag(&image.manifest, name).write();
            fixture.builder.file(&image.manifest.blob_path(), b"");
            let run = fixture.gc_is_refused();
            let (pasted, words) = paste(&fixture, hint(&run));
            let context = format!("{}\n{}\n{words:?}", run.all(), pasted.all());
            for place in [fixture.builder.outside(), fixture.path(), Path::new(".")] {
                assert!(
                    !place.join("pwned").exists(),
                    "the hint runs a command\n{context}"
                );
            }
            pasted.ok();
            let layout = fixture.path().to_string_lossy().into_owned();
            assert_eq!(words.first().map(String::as_str), Some("rm"), "{context}");
            assert!(words.contains(&layout), "{context}");
            // By name or by digest, but such that it is read as an image and not as a flag.
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
fn following_the_hints_enables_a_sweep_and_removes_only_damaged_images() {
    type Break = fn(&mut GuardedLayout);
    let cases: [(&str, Break); 8] = [
        ("a manifest", |fixture| {
            let image = fixture.builder.image("linux/amd64", "bad", &[b"bad"]);
            fixture.builder.tag(&image.manifest, "bad").write();
            fixture.builder.file(&image.manifest.blob_path(), b"");
        }),
        ("a manifest with two names", |fixture| {
            let image = fixture.builder.image("linux/amd64", "bad", &[b"bad"]);
            let manifest = &image.manifest;
            fixture.builder.tag(manifest, "one").tag(manifest, "two");
            fixture.builder.write().file(&manifest.blob_path(), b"{");
        }),
        ("a manifest without a name", |fixture| {
            let image = fixture.builder.image("linux/amd64", "bad", &[b"bad"]);
            fixture.builder.entry(&image.manifest).write();
            fixture.builder.file(&image.manifest.blob_path(), b"");
        }),
        ("a child of two images", |fixture| {
            let image = fixture.builder.image("linux/amd64", "bad", &[b"bad"]);
            let one = fixture.builder.index(std::slice::from_ref(&image.manifest));
            let two = [image.manifest.clone(), fixture.app.manifest.clone()];
            let two = fixture.builder.index(&two);
            fixture.builder.tag(&one, "one").tag(&two, "two").write();
            fixture.builder.file(&image.manifest.blob_path(), b"");
        }),
        ("an entry that is nonsense", |fixture| {
            let digest = "sha256:../../outside";
            fixture.builder.entry(Desc::new(media::MANIFEST, digest, 7));
            fixture.builder.write();
        }),
        ("an entry that is nonsense and has a name", |fixture| {
            let digest = "sha256:../../outside";
            let entry = Desc::new(media::MANIFEST, digest, 7);
            fixture.builder.tag(&entry, "nonsense").write();
        }),
        ("a missing root", |fixture| {
            let missing = Desc::missing(media::INDEX, "missing");
            fixture.builder.tag(&missing, "missing").write();
        }),
        ("a name with spaces and quotes", |fixture| {
            let image = fixture.builder.image("linux/amd64", "bad", &[b"bad"]);
            fixture
                .builder
                .tag(&image.manifest, "it's a \"name\" $HOME")
                .write();
            fixture.builder.file(&image.manifest.blob_path(), b"");
        }),
    ];
    for_each(
        cases,
        |(name, _)| (*name).to_owned(),
        |(_, damage)| {
            let mut fixture = GuardedLayout::new();
            damage(&mut fixture);
            let bin = fixture.builder.outside().join("bin");
            fs::create_dir_all(&bin).expect("a directory can be made");
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ocisweep"), bin.join("ocisweep"))
                .expect("a link can be made");
            for _ in 0..4 {
                let refusal = fixture.gc();
                if refusal.code == Some(0) {
                    break;
                }
                refusal.refused();
                let mut command = new_command("sh");
                let path = std::env::var("PATH").unwrap_or_default();
                command
                    .args(["-c", command_in(hint(&refusal))])
                    .env("PATH", format!("{}:{path}", bin.display()));
                run(command).ok();
            }
            let run = fixture.gc();
            run.ok();
            assert!(!fixture.has(&fixture.orphan), "{}", run.all());
            fixture.assert_whole(&run.all());
        },
    );
}

#[test]
fn a_hint_names_the_layout_so_that_it_can_be_pasted() {
    let fixture = GuardedLayout::new();
    let odd = fixture.builder.outside().join("it's; touch pwned");
    fs::rename(fixture.path(), &odd).expect("a directory can have any name");
    fs::write(odd.join(fixture.app.manifest.blob_path()), b"").expect("a blob can be damaged");
    let run = Cmd::gc(&odd).run();
    run.refused();
    let (pasted, words) = paste(&fixture, hint(&run));
    pasted.ok();
    assert!(
        words.contains(&odd.to_string_lossy().into_owned()),
        "{}\n{words:?}",
        run.all()
    );
}

#[test]
fn an_unreadable_referrer_is_kept_while_its_subject_is_live() {
    // A document with two `subject`s, in odd case, and in a list: every interpretation keeps it.
    let fixture = GuardedLayout::new();
    let config = fixture.builder.empty_config();
    let nowhere = Desc::missing(media::MANIFEST, "nowhere");
    let docs = [
        Doc::manifest(&config, &[])
            .subject(&nowhere)
            .with("Subject", &fixture.app.manifest),
        Doc::manifest(&config, &[])
            .subject(&fixture.app.manifest)
            .with("subject", &nowhere),
        Doc::manifest(&config, &[]).with("SUBJECT", &fixture.app.manifest),
    ];
    let referrers: Vec<Desc> = docs.iter().map(|doc| fixture.builder.put(doc)).collect();
    let run = fixture.gc_deletes_only_the_orphan();
    for referrer in &referrers {
        assert!(fixture.has(referrer), "{}", run.all());
    }
    let before = fixture.picture();
    fixture.gc().ok();
    let after = fixture.picture();
    assert_same(
        &crate::support::without_directory_times(&before),
        &crate::support::without_directory_times(&after),
        "a second run",
    );
}
