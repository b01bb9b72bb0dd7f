//! Every class of `check`, one kind of damage after another.

use crate::support::findings::texts;
use crate::support::{
    Cmd, Desc, Doc, Findings, IntactLayout, LayoutBuilder, assert_same, media, snapshot,
};

#[test]
fn a_whole_layout_is_ok_and_unchanged() {
    let fixture = IntactLayout::new();
    let before = snapshot(fixture.path());
    let checked = fixture.report(&[]);
    checked.finds(&[]);
    // Six manifests, four configs and the empty one, five layers and the payload of the signature.
    assert_eq!(checked.count("ok"), 17, "{}", checked.run.all());
    assert_eq!(checked.layout["verified"]["blobs"], 17);
    let run = fixture.check(&[]);
    run.ok()
        .says("no damage in 17 blobs, 17 compared with their digests");
    assert_eq!(run.stderr, "");
    assert_same(&before, &snapshot(fixture.path()), "check changes nothing");
}

#[test]
fn a_layer_that_does_not_match_its_digest() {
    let fixture = IntactLayout::new();
    let layer = &fixture.one.layers[1];
    fixture.overwrite(layer, b"eno");
    let checked = fixture.report(&[]);
    checked.finds(&[(layer, "wrong-digest")]);
    let item = checked.item(&layer.digest);
    assert_eq!(texts(&item["names"]), ["app:1"]);
    assert_eq!(item["path"], layer.blob_path());
    assert_eq!(item["size"], 3);
    assert_eq!(item["damage"], true);
    let way = texts(&item["reference_path"]);
    let [name, manifest, last] = way.as_slice() else {
        panic!("{way:?}");
    };
    assert_eq!(name, "app:1");
    assert_eq!(
        *manifest,
        format!("manifest {}", &fixture.one.manifest.hex()[..12])
    );
    assert_eq!(*last, format!("layer 2/2 {}", &layer.hex()[..12]));
    let run = fixture.check(&[]);
    run.exits(1)
        .says(&format!("wrong-digest: {} does not match", layer.digest))
        .says("needed by app:1\n")
        .says("ocisweep rm ")
        .says("damaged: 1 of 17 blobs");
    // With `--quick` layers are not read.
    fixture.report(&["--quick"]).finds(&[]);
}

#[test]
fn the_command_in_the_hint_removes_the_damage() {
    let fixture = IntactLayout::new();
    let shared = &fixture.one.layers[0];
    fixture.overwrite(shared, b"esab");
    let checked = fixture.report(&[]);
    checked.finds(&[(shared, "wrong-digest")]);
    let item = checked.item(&shared.digest);
    assert_eq!(texts(&item["names"]), ["app:1", "app:2", "multi"]);
    let advice = item["hint"].as_str().expect("advice");
    let command = advice.split('`').nth(1).expect("a command");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    crate::support::Cmd::new(words).run().ok();
    fixture.report(&[]).finds(&[]);
}

#[test]
fn a_blob_of_another_length_is_found_without_reading_it() {
    let fixture = IntactLayout::new();
    let layer = &fixture.arm64.layers[1];
    fixture.overwrite(layer, b"arm");
    for args in [&[][..], &["--quick"]] {
        let checked = fixture.report(args);
        checked.finds(&[(layer, "wrong-size")]);
        let item = checked.item(&layer.digest);
        assert_eq!(
            (&item["size"], &item["declared_size"]),
            (&3.into(), &5.into())
        );
        let way = texts(&item["reference_path"]);
        assert_eq!(way[0], "multi");
        assert!(way[2].starts_with("linux/arm64 "), "{way:?}");
    }
}

#[test]
fn a_descriptor_that_declares_another_length_of_a_correct_blob() {
    let mut builder = LayoutBuilder::new();
    let mut layer = builder.layer(b"layer");
    layer = layer.set("size", 6);
    let config = builder.config("linux/amd64", "");
    let manifest = builder.manifest(&config, std::slice::from_ref(&layer));
    builder.tag(&manifest, "a").write();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    let checked = fixture.report(&[]);
    checked.finds(&[(&layer, "wrong-size")]);
    let why = texts(&checked.item(&layer.digest)["reasons"]);
    assert_eq!(
        why,
        ["is 5 bytes long, and 6 are declared, though its digest is right"]
    );
}

#[test]
fn an_entry_that_declares_another_length_of_its_manifest() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"layer"]);
    builder
        .entry(image.manifest.clone().set("size", 1).tagged("a"))
        .write();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    fixture
        .report(&["--quick"])
        .finds(&[(&image.manifest, "wrong-size")]);
}

#[test]
fn two_descriptors_that_disagree_are_damage() {
    let mut builder = LayoutBuilder::new();
    let layer = builder.layer(b"layer");
    let config = builder.config("linux/amd64", "");
    let one = builder.manifest(&config, std::slice::from_ref(&layer));
    let two = builder.manifest(&config, &[layer.clone().set("size", 9)]);
    builder.tag(&one, "one").tag(&two, "two").write();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    let checked = fixture.report(&[]);
    checked.finds(&[(&layer, "wrong-size")]);
    assert_eq!(checked.item(&layer.digest)["declared_size"], 9);
}

#[test]
fn damaged_documents_stop_a_sweep_but_not_a_check() {
    let fixture = IntactLayout::new();
    // With the declared length, so that only reading detects it.
    let zeros = vec![b' '; usize::try_from(fixture.two.manifest.size).expect("small")];
    fixture.overwrite(&fixture.two.manifest, &zeros);
    fixture.overwrite(&fixture.multi, b"");
    fixture.overwrite(&fixture.one.config, b"{");
    for args in [&[][..], &["--quick"]] {
        fixture.report(args).finds(&[
            (&fixture.two.manifest, "wrong-digest"),
            (&fixture.multi, "wrong-size"),
            (&fixture.one.config, "wrong-size"),
        ]);
    }
    crate::support::Cmd::gc(fixture.path()).run().refused();
}

#[test]
fn a_config_is_read_even_if_layers_are_not() {
    let fixture = IntactLayout::new();
    let config = &fixture.one.config;
    fixture.overwrite(
        config,
        &vec![b' '; usize::try_from(config.size).expect("small")],
    );
    fixture
        .report(&["--quick"])
        .finds(&[(config, "wrong-digest")]);
}

#[test]
fn a_file_that_matches_its_digest_but_is_not_a_document_is_malformed() {
    let mut builder = LayoutBuilder::new();
    let broken = builder.blob(media::MANIFEST, b"{\"config\": ");
    let odd = builder.put(&Doc::custom(
        media::MANIFEST,
        crate::support::Obj::new().with("layers", 7),
    ));
    builder.tag(&broken, "broken").tag(&odd, "odd").write();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    let checked = fixture.report(&[]);
    checked.finds(&[(&broken, "malformed"), (&odd, "malformed")]);
    assert_eq!(texts(&checked.item(&odd.digest)["names"]), ["odd"]);
}

#[test]
fn an_entry_without_a_blob_is_malformed() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"layer"]);
    let bad = Desc::new(media::MANIFEST, "sha256:../../etc/passwd", 7);
    builder.tag(&image.manifest, "a").tag(&bad, "bad").write();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    let checked = fixture.report(&[]);
    checked.run.exits(1);
    assert_eq!(checked.layout["items"][0]["class"], "malformed");
    assert_eq!(
        checked.layout["items"][0]["digest"],
        serde_json::Value::Null
    );
    assert_eq!(texts(&checked.layout["items"][0]["names"]), ["bad"]);
    fixture
        .check(&[])
        .exits(1)
        .says("malformed: an entry of index.json has ");
}

#[test]
fn dangling_links_and_special_files() {
    let fixture = IntactLayout::new();
    let [base, top] = fixture.one.layers.as_slice() else {
        panic!("two layers");
    };
    fixture.builder.symlink(&top.blob_path(), "/nowhere/at/all");
    fixture.builder.fifo("pipe");
    fixture
        .builder
        .symlink(&base.blob_path(), fixture.builder.join("pipe"));
    let checked = fixture.report(&[]);
    checked.finds(&[(top, "missing"), (base, "unreadable")]);
    let why = texts(&checked.item(&top.digest)["reasons"]);
    assert_eq!(why, ["is a symbolic link without a target"]);
}

#[test]
fn links_to_intact_blobs_are_intact() {
    let fixture = IntactLayout::new();
    for desc in [&fixture.one.layers[1], &fixture.two.manifest] {
        let elsewhere = fixture.builder.outside().join(desc.hex());
        std::fs::rename(fixture.builder.join(&desc.blob_path()), &elsewhere).expect("moved");
        fixture.builder.symlink(&desc.blob_path(), &elsewhere);
    }
    fixture.report(&[]).finds(&[]);
}

#[test]
fn every_swept_algorithm_is_checked() {
    for algorithm in ["sha256", "sha384", "sha512"] {
        let mut builder = LayoutBuilder::new();
        let layer = builder.blob_as(algorithm, media::LAYER, b"layer");
        let config = builder.blob_as(algorithm, media::CONFIG, b"{}");
        let doc = Doc::manifest(&config, std::slice::from_ref(&layer));
        let manifest = builder.put_as(algorithm, &doc);
        builder.tag(&manifest, "a").write();
        let fixture = IntactLayout {
            builder,
            ..IntactLayout::new()
        };
        let checked = fixture.report(&[]);
        checked.finds(&[]);
        assert_eq!(checked.layout["verified"]["blobs"], 3, "{algorithm}");
        fixture.overwrite(&layer, b"reyal");
        fixture.report(&[]).finds(&[(&layer, "wrong-digest")]);
    }
}

#[test]
fn blobs_of_unknown_algorithms_are_only_measured() {
    let mut builder = LayoutBuilder::new();
    let layer = builder.forged("blake3:0123456789abcdef", media::LAYER, b"layer");
    let config = builder.config("linux/amd64", "");
    let manifest = builder.manifest(&config, std::slice::from_ref(&layer));
    builder.tag(&manifest, "a").write();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    let checked = fixture.report(&[]);
    checked.finds(&[]);
    assert_eq!(checked.count("ok"), 3);
    assert_eq!(checked.layout["verified"]["blobs"], 2);
    fixture.overwrite(&layer, b"longer than that");
    fixture.report(&[]).finds(&[(&layer, "wrong-size")]);
}

#[test]
fn orphans_are_counted_and_read_on_demand() {
    let fixture = IntactLayout::new();
    fixture.builder.layer(b"whole orphan");
    let bad = fixture.builder.layer(b"orphan");
    fixture.overwrite(&bad, b"nahpro");
    let checked = fixture.report(&[]);
    checked.finds(&[]);
    assert_eq!(checked.count("orphan"), 2);
    for args in [&["--orphans"][..], &["--orphans", "--quick"]] {
        let checked = fixture.report(args);
        checked.finds(&[(&bad, "wrong-digest")]);
        assert_eq!(checked.count("orphan"), 1);
        assert_eq!(texts(&checked.item(&bad.digest)["names"]), [""; 0]);
        let advice = checked.item(&bad.digest)["hint"].as_str().expect("advice");
        assert!(advice.contains("ocisweep gc "), "{advice}");
    }
}

#[test]
fn foreign_files_are_counted_and_named_on_demand() {
    let fixture = IntactLayout::new();
    fixture.builder.file("blobs/sha256/README", b"what is this");
    fixture.builder.file("blobs/notes.txt", b"and this");
    let checked = fixture.report(&[]);
    checked.finds(&[]);
    assert_eq!(checked.count("foreign"), 2);
    assert_eq!(checked.count("ok"), 17);
    fixture.check(&[]).ok().keeps_quiet_about("README");
    fixture
        .check(&["-v"])
        .ok()
        .says("foreign: blobs/notes.txt\nforeign: blobs/sha256/README\n");
}

#[test]
fn an_unlisted_signature_is_live_and_checked() {
    let fixture = IntactLayout::new();
    let payload = &fixture.signature.layers[0];
    fixture.overwrite(payload, b"forged");
    let checked = fixture.report(&[]);
    checked.finds(&[(payload, "wrong-digest")]);
    let way = texts(&checked.item(&payload.digest)["reference_path"]);
    assert!(way[2].starts_with("referrer "), "{way:?}");
    assert_eq!(texts(&checked.item(&payload.digest)["names"]), ["app:1"]);
}

/// A sweep accepts it: nothing depends on it, and doubt keeps.
#[test]
fn an_unlisted_signature_that_does_not_match_its_digest() {
    let fixture = IntactLayout::new();
    let doc = Doc::manifest(&fixture.builder.empty_config(), &[])
        .artifact_type("application/signature")
        .subject(&fixture.one.manifest);
    let forged = fixture.builder.put_forged("signature", &doc);
    let checked = fixture.report(&[]);
    checked.finds(&[(&forged, "wrong-digest")]);
}

#[test]
fn every_one_of_many_damaged_blobs_is_found() {
    let fixture = IntactLayout::new();
    let damaged: Vec<&Desc> = [&fixture.one, &fixture.two, &fixture.amd64, &fixture.arm64]
        .iter()
        .map(|image| &image.layers[1])
        .collect();
    for desc in &damaged {
        fixture.overwrite(
            desc,
            &desc.hex().as_bytes()[..usize::try_from(desc.size).expect("small")],
        );
    }
    let expected: Vec<_> = damaged.iter().map(|desc| (*desc, "wrong-digest")).collect();
    fixture.report(&[]).finds(&expected);
    let quiet = fixture.check(&["-q"]);
    quiet.exits(1);
    assert_eq!(
        quiet.stdout.matches("wrong-digest: ").count(),
        4,
        "{}",
        quiet.all()
    );
    quiet.keeps_quiet_about("CLASS");
}

#[test]
fn some_of_many_images_are_named_and_json_names_all() {
    let mut fixture = IntactLayout::new();
    for number in 3..9 {
        let name = format!("app:{number}");
        let image = fixture
            .builder
            .image("linux/amd64", &name, &[b"base", name.as_bytes()]);
        fixture.builder.tag(&image.manifest, &name);
    }
    fixture.builder.write();
    let base = &fixture.one.layers[0];
    fixture.overwrite(base, b"esab");
    fixture
        .check(&[])
        .exits(1)
        .says("  needed by app:1, app:2, multi, app:3, app:4 and 4 more\n")
        .says(" IMAGE...` removes images\n");
    let names = texts(&fixture.report(&[]).item(&base.digest)["names"]);
    assert_eq!(names.len(), 9, "{names:?}");
}

/// Large blobs are read by one thread per core, small ones in batches by more.
#[test]
fn damage_is_found_in_blobs_of_any_length() {
    let mut builder = LayoutBuilder::new();
    let lengths = [0, 1, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 300 << 10];
    let lengths = lengths
        .into_iter()
        .chain((0..300).map(|number| 10 + number));
    let letters = (b'a'..=b'z').cycle();
    let layers: Vec<Desc> = lengths
        .zip(letters)
        .map(|(len, letter)| builder.layer(&vec![letter; len]))
        .collect();
    let config = builder.config("linux/amd64", "");
    let manifest = builder.manifest(&config, &layers);
    builder.tag(&manifest, "app:1").write();
    let check = || {
        Findings::of(
            Cmd::new(["check", "--format", "json"])
                .arg(builder.path())
                .run(),
        )
    };
    let whole = check();
    whole.finds(&[]);
    assert_eq!(whole.layout["verified"]["blobs"], layers.len() + 2);
    let damaged: Vec<&Desc> = layers.iter().filter(|layer| layer.size % 3 == 1).collect();
    for layer in &damaged {
        let bytes = vec![b'-'; usize::try_from(layer.size).expect("it is small")];
        builder.file(&layer.blob_path(), &bytes);
    }
    let expected: Vec<(&Desc, &str)> = damaged.iter().map(|it| (*it, "wrong-digest")).collect();
    check().finds(&expected);
}
