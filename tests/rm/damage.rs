//! Images that are damaged or missing: they can be removed, and while they are listed nothing else is swept, because their
//! references are unknown. The hint shows the remedy.

use std::fs;

use crate::support::files::entries;
use crate::support::removed::{assert_output, bare, rm};
use crate::support::run::new_command;
use crate::support::samples::app_and_other;
use crate::support::{Cmd, Desc, Image, LayoutBuilder, Obj, Run, assert_same, media, snapshot};

/// The ways in which a listed image can be unusable.
const WAYS: [&str; 5] = ["cut short", "empty", "not its digest", "no JSON", "missing"];

/// A valid image and one with an unusable manifest, which may be in an index.
fn with_damage(way: &str, nested: bool) -> (LayoutBuilder, Image, Image, Desc) {
    let mut layout = LayoutBuilder::new();
    let sound = layout.image("linux/amd64", "sound", &[b"shared", b"sound"]);
    let broken = layout.image("linux/amd64", "broken", &[b"shared", b"broken"]);
    let root = if nested {
        layout.index(&[broken.manifest.clone().platform("linux/amd64")])
    } else {
        broken.manifest.clone()
    };
    layout
        .tag(&sound.manifest, "sound:1")
        .tag(&root, "broken:1")
        .write();
    spoil(&layout, &broken.manifest, way);
    (layout, sound, broken, root)
}

fn spoil(layout: &LayoutBuilder, desc: &Desc, way: &str) {
    let path = layout.join(&desc.blob_path());
    let bytes = fs::read(&path).expect("the blob exists");
    let bytes = match way {
        "cut short" => bytes[..bytes.len() / 2].to_vec(),
        "empty" => Vec::new(),
        "not its digest" => [&bytes[..], b" "].concat(),
        "no JSON" => vec![0; bytes.len()],
        "missing" => {
            fs::remove_file(&path).expect("the blob can be removed");
            return;
        }
        other => panic!("no such way: {other}"),
    };
    layout.file(&desc.blob_path(), &bytes);
}

#[test]
fn a_damaged_or_missing_image_can_be_removed() {
    for way in WAYS {
        for nested in [false, true] {
            let (layout, sound, broken, root) = with_damage(way, nested);
            let run = rm(&layout, &["broken:1"]);
            run.ok();
            run.says("Untagged: broken:1\n");
            assert!(!layout.has(&broken.manifest), "{way}\n{}", run.all());
            assert!(!layout.has(&root), "{way}\n{}", run.all());
            layout.assert_has(sound.parts(), &run);
            // The references of the damaged document are unknown; now `gc` can find the orphans.
            Cmd::gc(layout.path()).run().ok();
            assert!(!layout.has(&broken.layers[1]), "{way}\n{}", run.all());
            layout.assert_has(sound.parts(), &run);
        }
    }
}

/// Runs the command of a hint.
#[track_caller]
fn run_hint(run: &Run) {
    let hint = run
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("hint: `ocisweep "))
        .and_then(|rest| rest.split('`').next())
        .unwrap_or_else(|| panic!("no command in a hint\n{}", run.all()));
    let command = format!("exec {} {hint}", env!("CARGO_BIN_EXE_ocisweep"));
    let output = new_command("sh").args(["-c", &command]).output();
    let output = output.expect("a shell can be started");
    assert!(
        output.status.success(),
        "{command}\n{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        run.all()
    );
}

#[test]
fn another_damaged_image_stops_the_removal_and_the_hint_resolves_it() {
    for way in WAYS.into_iter().filter(|way| *way != "missing") {
        for nested in [false, true] {
            let (layout, sound, broken, _) = with_damage(way, nested);
            let before = snapshot(layout.path());
            for arguments in [
                &["sound:1"][..],
                &["-f", "sound:1"],
                &["--allow-missing", "sound:1"],
            ] {
                let run = rm(&layout, arguments);
                run.refused().one_error_with_hint();
                run.warns(&broken.manifest.digest).warns("broken:1");
                assert_eq!(run.stdout, "", "{}", run.all());
                assert_same(&before, &snapshot(layout.path()), &run.all());
            }
            let run = rm(&layout, &["sound:1"]);
            run_hint(&run);
            let run = rm(&layout, &["sound:1"]);
            run.ok();
            assert!(!layout.has(&sound.manifest), "{way}\n{}", run.all());
        }
    }
}

#[test]
fn names_can_be_removed_while_another_image_is_damaged() {
    // That releases nothing, so no references have to be known.
    let (mut layout, sound, ..) = with_damage("empty", false);
    layout.tag(&sound.manifest, "sound:2").write();
    let run = rm(&layout, &["sound:2"]);
    run.ok();
    assert_output(&run, &["sound:2"], &[]);
}

#[test]
fn several_damaged_images_are_removed_in_one_call() {
    let (mut layout, sound, broken, _) = with_damage("empty", false);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout.tag(&other.manifest, "other:1").write();
    spoil(&layout, &other.manifest, "cut short");
    let run = rm(&layout, &["broken:1", "other:1"]);
    run.ok();
    assert!(!layout.has(&broken.manifest), "{}", run.all());
    assert!(!layout.has(&other.manifest), "{}", run.all());
    layout.assert_has(sound.parts(), &run);
}

#[test]
fn following_the_hints_removes_any_number_of_damaged_images() {
    for (one, two) in [
        ("empty", "cut short"),
        ("missing", "empty"),
        ("missing", "missing"),
    ] {
        let (mut layout, sound, broken, _) = with_damage(one, false);
        let other = layout.image("linux/amd64", "other", &[b"other"]);
        layout.tag(&other.manifest, "other:1").write();
        spoil(&layout, &other.manifest, two);
        let run = rm(&layout, &["sound:1"]);
        run.refused().one_error_with_hint();
        // Neither of them can be removed alone, so a hint that named only the other one would be circular.
        for argument in ["broken:1", "other:1"] {
            let run = rm(&layout, &[argument]);
            run.refused().one_error_with_hint();
            run.warns("broken:1 ").warns("other:1");
        }
        let run = rm(&layout, &["broken:1"]);
        run_hint(&run);
        assert!(!layout.has(&broken.manifest), "{}", run.all());
        assert!(!layout.has(&other.manifest), "{}", run.all());
        let run = rm(&layout, &["sound:1"]);
        run.ok();
        assert!(!layout.has(&sound.manifest), "{}", run.all());
    }
}

#[test]
fn another_missing_image_stops_the_removal_until_that_is_accepted() {
    let (layout, sound, broken, _) = with_damage("missing", false);
    let before = snapshot(layout.path());
    let run = rm(&layout, &["sound:1"]);
    run.refused().one_error_with_hint();
    run.warns(&broken.manifest.digest)
        .warns("is missing")
        .warns("--allow-missing")
        .warns("broken:1`");
    assert_same(&before, &snapshot(layout.path()), &run.all());
    let run = rm(&layout, &["--allow-missing", "sound:1"]);
    run.ok();
    // No present document lists the layer of both.
    assert_output(&run, &["sound:1"], &sound.parts());

    let (layout, sound, ..) = with_damage("missing", false);
    let run = rm(&layout, &["sound:1"]);
    run_hint(&run);
    let run = rm(&layout, &["sound:1"]);
    run.ok();
    assert!(!layout.has(&sound.manifest), "{}", run.all());
}

#[test]
fn missing_platforms_configs_and_layers_are_normal() {
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"shared", b"amd64"]);
    let arm64 = layout.image("linux/arm64", "arm64", &[b"shared", b"arm64"]);
    let index = layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64"),
    ]);
    let other = layout.image("linux/amd64", "other", &[b"other", b"gone"]);
    layout
        .tag(&index, "sparse:1")
        .tag(&other.manifest, "other:1")
        .write();
    for desc in [
        &arm64.manifest,
        &arm64.config,
        &arm64.layers[1],
        &other.layers[1],
    ] {
        layout.drop_blob(desc);
    }
    let run = rm(&layout, &["other:1"]);
    run.ok();
    assert_output(
        &run,
        &["other:1"],
        &[&other.manifest, &other.config, &other.layers[0]],
    );
    let run = rm(&layout, &["sparse:1"]);
    run.ok();
    let gone = [
        &index,
        &amd64.manifest,
        &amd64.config,
        &amd64.layers[1],
        &amd64.layers[0],
    ];
    assert_output(&run, &["sparse:1"], &gone);
}

/// Digests that no blob can have.
const INVALID: [&str; 6] = [
    "sha256:../../../victim",
    "sha256:ABCDEF",
    "sha256:",
    "not a digest at all",
    "",
    "sha256:00000000000000000000000000000000000000000000000000000000000000",
];

fn with_invalid(digest: &str, name: Option<&str>) -> (LayoutBuilder, Image, Image) {
    let mut layout = LayoutBuilder::new();
    let one = layout.image("linux/amd64", "one", &[b"one"]);
    let two = layout.image("linux/amd64", "two", &[b"two"]);
    let mut bad = Desc::new(media::MANIFEST, digest, 7);
    if let Some(name) = name {
        bad = bad.tagged(name);
    }
    layout
        .tag(&one.manifest, "one:1")
        .entry(bad)
        .tag(&two.manifest, "two:1")
        .write();
    (layout, one, two)
}

#[test]
fn an_entry_with_an_invalid_digest_is_removed_by_name_and_by_position() {
    for digest in INVALID {
        for (name, argument) in [
            (Some("bad:1"), "bad:1"),
            (Some("bad:1"), "@1"),
            (Some("bad:1"), "bad*"),
            (None, "@1"),
        ] {
            let (layout, one, two) = with_invalid(digest, name);
            let before = entries(layout.path());
            // Nothing else is possible while it is listed.
            let run = rm(&layout, &["one:1"]);
            run.refused().one_error_with_hint();
            run_hint_works(&run, name);
            assert_eq!(entries(layout.path()), before, "{}", run.all());

            let run = rm(&layout, &[argument]);
            run.ok();
            let untagged: Vec<&str> = name.into_iter().collect();
            assert!(
                untagged
                    .iter()
                    .all(|name| run.stdout.contains(&format!("Untagged: {name}\n"))),
                "{}",
                run.all()
            );
            assert_eq!(
                entries(layout.path()),
                [before[0].clone(), before[2].clone()],
                "{digest}\n{}",
                run.all()
            );
            layout.assert_has(one.parts().into_iter().chain(two.parts()), &run);
            let run = rm(&layout, &["one:1"]);
            run.ok();
            assert_output(&run, &["one:1"], &one.parts());
        }
    }
}

/// The hint names the entry by its name, or by its position if it has none.
#[track_caller]
fn run_hint_works(run: &Run, name: Option<&str>) {
    let what = name.unwrap_or("@1");
    run.warns(&format!(" {what}` removes the image that references it"));
}

#[test]
fn two_entries_with_invalid_digests_are_removed_in_one_call() {
    let (mut layout, one, _) = with_invalid("sha256:no", Some("bad:1"));
    layout
        .entry(Desc::new(media::MANIFEST, "nothing", 7))
        .write();
    let run = rm(&layout, &["bad:1", "@3"]);
    run.ok();
    assert_eq!(entries(layout.path()).len(), 2, "{}", run.all());
    layout.assert_has(one.parts(), &run);
}

#[test]
fn an_index_that_lists_an_invalid_digest_is_damaged_and_can_be_removed() {
    let mut layout = LayoutBuilder::new();
    let sound = layout.image("linux/amd64", "sound", &[b"sound"]);
    let index = layout.index(&[
        sound.manifest.clone().platform("linux/amd64"),
        Desc::new(media::MANIFEST, "sha256:../../../victim", 7),
    ]);
    layout
        .tag(&sound.manifest, "sound:1")
        .tag(&index, "bad:1")
        .write();
    let run = rm(&layout, &["sound:1"]);
    run.refused().one_error_with_hint();
    let run = rm(&layout, &["bad:1"]);
    run.ok();
    assert_output(&run, &["bad:1"], &[&index]);
    layout.assert_has(sound.parts(), &run);
}

#[test]
fn an_index_json_that_is_not_an_index_is_never_written() {
    for text in [
        "",
        "{",
        "[]",
        "{\"manifests\":7}",
        "{\"manifests\":[{}",
        "null",
    ] {
        let mut layout = LayoutBuilder::new();
        let image = layout.image("linux/amd64", "app", &[b"app"]);
        layout.raw_index(text.as_bytes()).write();
        let before = snapshot(layout.path());
        let run = bare(layout.path(), ["app:1"]).run();
        run.refused();
        assert_same(&before, &snapshot(layout.path()), &run.all());
        layout.assert_has(image.parts(), &run);
    }
    // Without any entry, the only error is that there is no such name.
    let mut layout = LayoutBuilder::new();
    layout
        .index_fields(Obj::new().with("schemaVersion", 2))
        .write();
    let run = rm(&layout, &["app:1"]);
    run.exits(1).warns("No such image: app:1");
}

const LEFT: &str = "` deletes the blobs that only it referenced";
const NOTHING_LEFT: &str = "; no blob that only it referenced is left";

/// Blobs that only a damaged document referenced are unknown: `rm` leaves them to `gc`, and `prune` deletes them with
/// everything unreferenced.
#[test]
fn blobs_left_by_a_damaged_image_are_reported() {
    for way in WAYS.into_iter().filter(|way| *way != "missing") {
        for nested in [false, true] {
            let (layout, _, broken, _) = with_damage(way, nested);
            let dry = bare(layout.path(), ["-n", "broken:1"]).run();
            let run = rm(&layout, &["broken:1"]);
            for run in [&dry, &run] {
                run.ok()
                    .warns(&format!("{} is removed", broken.manifest.digest));
                run.warns(&format!("; `ocisweep gc {}{LEFT}", layout.path().display()));
            }
            assert!(layout.has(broken.top()), "{}", run.all());

            let (layout, sound, broken, _) = with_damage(way, nested);
            let prune = || {
                let args = ["prune", "-fa", "--keep", "sound:1", "--grace", "0"];
                Cmd::new(args).arg(layout.path())
            };
            let (dry, run) = (prune().arg("-n").run(), prune().run());
            for run in [&dry, &run] {
                run.ok().warns(NOTHING_LEFT);
                assert!(!run.stderr.contains(LEFT), "{}", run.all());
            }
            assert!(!layout.has(broken.top()), "{}", run.all());
            layout.assert_has(sound.parts(), &run);
        }
    }
    // Everything that it referenced is in use, and nothing else is unreferenced.
    let mut layout = LayoutBuilder::new();
    let sound = layout.image("linux/amd64", "sound", &[b"sound"]);
    let document = crate::support::Doc::manifest(&sound.config, &sound.layers);
    let broken = layout.put_forged("broken", &document);
    layout
        .tag(&sound.manifest, "sound:1")
        .tag(&broken, "broken:1")
        .write();
    let run = rm(&layout, &["broken:1"]);
    run.ok().warns(NOTHING_LEFT);
    assert!(!run.stderr.contains(LEFT), "{}", run.all());
    layout.assert_has(sound.parts(), &run);
}

/// A damaged signature is removed with its image, and with its references as far as they can be read.
#[test]
fn blobs_left_by_a_damaged_referrer_are_reported() {
    for is_cut in [false, true] {
        let mut layout = LayoutBuilder::new();
        let app = layout.image("linux/amd64", "app", &[b"app"]);
        let other = layout.image("linux/amd64", "other", &[b"other"]);
        let signature = layout.referrer(&app.manifest, "application/vnd.example.sig", b"signature");
        let tag = format!("{}.sig", app.manifest.digest.replacen(':', "-", 1));
        layout
            .tag(&app.manifest, "app:1")
            .tag(&other.manifest, "other:1")
            .tag(&signature.manifest, &tag)
            .write();
        let way = if is_cut {
            "cut short"
        } else {
            "not its digest"
        };
        spoil(&layout, &signature.manifest, way);
        let run = rm(&layout, &["app:1"]);
        run.ok()
            .warns(&format!("{} is removed", signature.manifest.digest));
        assert_eq!(run.stderr.contains(LEFT), is_cut, "{}", run.all());
        assert_eq!(run.stderr.contains(NOTHING_LEFT), !is_cut, "{}", run.all());
        assert_eq!(layout.has(signature.top()), is_cut, "{}", run.all());
        layout.assert_has(other.parts(), &run);
    }
}

/// A damaged document that the run keeps is not reported as removed.
#[test]
fn a_kept_damaged_document_is_not_reported_as_removed() {
    // Nothing references it: it is left to `gc`.
    let (layout, ..) = app_and_other();
    let orphan = layout.image("linux/amd64", "orphan", &[b"orphan"]);
    spoil(&layout, &orphan.manifest, "not its digest");
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert!(!run.stderr.contains("is removed"), "{}", run.all());
    assert!(layout.has(&orphan.manifest), "{}", run.all());
    // A writer is at work.
    let (layout, _, broken, _) = with_damage("not its digest", false);
    layout.file("oci-put-blob470874052", b"half a blob");
    let run = bare(layout.path(), ["broken:1"]).run();
    run.ok().says("kept: a writer is at work");
    assert!(!run.stderr.contains("is removed"), "{}", run.all());
    assert!(layout.has(&broken.manifest), "{}", run.all());
}
