//! Signed docker schema 1 manifests: the digest is that of the payload, whatever the descriptor declares.

use crate::support::{Cmd, Desc, Findings, LayoutBuilder, Run, base64, digest_of, media};

/// The contents of `protected`, and how the file differs from a valid one.
struct Sign<'a> {
    length: &'a str,
    tail: &'a str,
    /// Bytes of the layer's digest that are changed after signing.
    forged: bool,
}

fn url(bytes: &[u8]) -> String {
    let text = base64(bytes).replace('+', "-").replace('/', "_");
    text.trim_end_matches('=').to_owned()
}

fn payload(layers: &[&Desc]) -> String {
    let sums: Vec<String> = layers
        .iter()
        .map(|layer| {
            format!(
                "      {{\n         \"blobSum\": \"{}\"\n      }}",
                layer.digest
            )
        })
        .collect();
    format!(
        "{{\n   \"schemaVersion\": 1,\n   \"name\": \"old\",\n   \"fsLayers\": [\n{}\n   ]\n}}",
        sums.join(",\n")
    )
}

/// Stores a signed manifest of these layers under the digest of its payload.
fn signed(
    layout: &LayoutBuilder,
    algorithm: &str,
    layers: &[&Desc],
    sign: Option<&Sign<'_>>,
) -> Desc {
    let payload = payload(layers);
    let length = (payload.len() - 2).to_string();
    let honest = Sign {
        length: &length,
        tail: "\n}",
        forged: false,
    };
    let sign = sign.unwrap_or(&honest);
    let header = format!(
        r#"{{"formatLength":{},"formatTail":"{}"}}"#,
        sign.length,
        url(sign.tail.as_bytes())
    );
    let head = payload.strip_suffix("\n}").expect("it ends so");
    let mut text = format!(
        "{head},\n   \"signatures\": [{{\"signature\": \"c2ln\", \"protected\": \"{}\"}}]\n}}",
        url(header.as_bytes())
    );
    if sign.forged {
        text = text.replacen("\"old\"", "\"odd\"", 1);
    }
    let digest = digest_of(algorithm, payload.as_bytes());
    let size = u64::try_from(payload.len()).expect("it is short");
    let desc = Desc::new(media::SCHEMA1_SIGNED, &digest, size);
    layout.file(&desc.blob_path(), text.as_bytes());
    desc
}

fn check(layout: &LayoutBuilder, args: &[&str]) -> Findings {
    let run = Cmd::new(["check", "--format", "json"])
        .arg(layout.path())
        .args(args)
        .run();
    Findings::of(run)
}

fn gc(layout: &LayoutBuilder) -> Run {
    Cmd::gc(layout.path()).run()
}

fn is_here(layout: &LayoutBuilder, desc: &Desc) -> bool {
    layout.join(&desc.blob_path()).exists()
}

#[test]
fn a_signed_manifest_is_intact_and_keeps_its_layers_whatever_its_descriptor_declares() {
    let types = [
        media::SCHEMA1_SIGNED,
        media::SCHEMA1,
        media::MANIFEST,
        "application/json",
        "",
    ];
    for algorithm in ["sha256", "sha512"] {
        for media_type in types {
            for place in ["entry", "child", "unlisted child"] {
                let mut layout = LayoutBuilder::new();
                let layers = [layout.layer(b"one"), layout.layer(b"two")];
                let desc = signed(&layout, algorithm, &[&layers[0], &layers[1]], None);
                let desc = desc.typed(media_type);
                match place {
                    "entry" => layout.tag(&desc, "old:1"),
                    "child" => {
                        let list = layout.index(std::slice::from_ref(&desc));
                        layout.tag(&list, "old:1").entry(&desc)
                    }
                    _ => {
                        let list = layout.index(std::slice::from_ref(&desc));
                        layout.tag(&list, "old:1")
                    }
                };
                layout.write();
                let orphan = layout.layer(b"orphan");
                let context = format!("{algorithm} {media_type} {place}");
                check(&layout, &[]).finds(&[]);
                let why = Cmd::new(["why"])
                    .arg(layout.path())
                    .arg(&layers[0].digest)
                    .run();
                why.ok().says("old:1");
                let run = gc(&layout);
                run.ok();
                for desc in [&desc, &layers[0], &layers[1]] {
                    assert!(is_here(&layout, desc), "{context}\n{}", run.all());
                }
                assert!(!is_here(&layout, &orphan), "{context}\n{}", run.all());
                let run = Cmd::new(["rm"]).arg(layout.path()).arg("old:1").run();
                run.ok();
                assert!(!is_here(&layout, &desc), "{context}\n{}", run.all());
            }
        }
    }
}

#[test]
fn a_signed_manifest_without_an_entry_is_an_orphan_like_others() {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    let layer = layout.layer(b"old");
    let desc = signed(&layout, "sha256", &[&layer], None);
    layout.tag(&app.manifest, "app:1").write();
    let checked = check(&layout, &["--orphans"]);
    checked.finds(&[]);
    gc(&layout).ok();
    assert!(!is_here(&layout, &desc) && !is_here(&layout, &layer));
}

#[test]
fn the_sizes_of_the_file_and_of_the_payload_are_valid_and_others_are_not() {
    for (more, class) in [(None, "ok"), (Some(1), "wrong-size")] {
        let mut layout = LayoutBuilder::new();
        let layer = layout.layer(b"old");
        let desc = signed(&layout, "sha256", &[&layer], None);
        let file = std::fs::metadata(layout.join(&desc.blob_path())).expect("it is there");
        let size = file.len() + more.unwrap_or(0);
        layout.tag(&desc.clone().set("size", size), "old:1").write();
        let checked = check(&layout, &[]);
        match class {
            "ok" => checked.finds(&[]),
            class => checked.finds(&[(&desc, class)]),
        };
    }
}

#[test]
fn false_headers_are_damage() {
    let tail = "\n}";
    let lies = [
        ("18446744073709551615", tail, false),
        ("99999999999999999999999999", tail, false),
        ("-1", tail, false),
        ("0", tail, false),
        ("null", tail, false),
        ("10", tail, false),
    ];
    for (length, tail, forged) in lies {
        let mut layout = LayoutBuilder::new();
        let layer = layout.layer(b"old");
        let sign = Sign {
            length,
            tail,
            forged,
        };
        let desc = signed(&layout, "sha256", &[&layer], Some(&sign));
        layout.tag(&desc, "old:1").write();
        gc(&layout).refused().warns("does not match its digest");
        assert!(is_here(&layout, &layer), "{length}");
        let checked = check(&layout, &[]);
        assert_eq!(checked.found().len(), 1, "{length}: {}", checked.run.all());
    }
    // A payload that was changed after signing.
    let mut layout = LayoutBuilder::new();
    let layer = layout.layer(b"old");
    let right = (payload(&[&layer]).len() - 2).to_string();
    let sign = Sign {
        length: &right,
        tail,
        forged: true,
    };
    let desc = signed(&layout, "sha256", &[&layer], Some(&sign));
    layout.tag(&desc, "old:1").write();
    gc(&layout).refused().warns("does not match its digest");
    // Its length is that of the signed payload, as declared: only the digest is wrong. If the length of the file is
    // declared, that is valid as well.
    for args in [&[][..], &["--quick"]] {
        check(&layout, args).finds(&[(&desc, "wrong-digest")]);
    }
    let file = std::fs::metadata(layout.join(&desc.blob_path())).expect("it is there");
    let mut layout = LayoutBuilder::new();
    let layer = layout.layer(b"old");
    let desc = signed(&layout, "sha256", &[&layer], Some(&sign));
    let desc = Desc::new(media::SCHEMA1_SIGNED, &desc.digest, file.len());
    layout.tag(&desc, "old:1").write();
    check(&layout, &[]).finds(&[(&desc, "wrong-digest")]);
    // Another length is a wrong one.
    let desc = Desc::new(media::SCHEMA1_SIGNED, &desc.digest, 7);
    let mut layout = LayoutBuilder::new();
    let layer = layout.layer(b"old");
    signed(&layout, "sha256", &[&layer], Some(&sign));
    layout.tag(&desc, "old:1").write();
    check(&layout, &[]).finds(&[(&desc, "wrong-size")]);
}

/// The digest of a signed manifest is not that of its file: comparisons must take that into account.
#[test]
fn repair_and_undo_accept_a_signed_manifest() {
    let old = || {
        let mut layout = LayoutBuilder::new();
        let layer = layout.layer(b"one");
        let desc = signed(&layout, "sha256", &[&layer], None);
        layout.tag(&desc, "old:1").write();
        (layout, desc)
    };
    let (layout, desc) = old();
    let (mirror, _) = old();
    let file = layout.join(&desc.blob_path());
    let bytes = std::fs::read(&file).expect("it is there");
    std::fs::remove_file(&file).expect("it is there");
    let repair = Cmd::new(["check", "--repair", "--from"]);
    let run = repair.arg(mirror.path()).arg(layout.path()).run();
    run.ok().says(&format!("Repaired: {}", desc.digest));
    assert_eq!(std::fs::read(&file).expect("it is there"), bytes);

    // Another program has written the same image again before the run is undone.
    let rm = ["rm", "--trash", "--grace", "0"];
    Cmd::new(rm).arg(layout.path()).arg("old:1").run().ok();
    layout.file(&desc.blob_path(), &bytes);
    let run = Cmd::new(["undo"]).arg(layout.path()).run();
    run.ok()
        .says("and 1 name")
        .keeps_quiet_about("does not match");
}
