//! Tags and platforms removed from layouts of umoci and skopeo: both programs still read everything else, to the byte, and
//! continue writing; and a bundle that umoci unpacked can be repacked while a hold protects its base.

use std::fs;

use serde_json::{Value, json};

use crate::interop::seen::{Readers, see, tags};
use crate::support::{ClientDir, Cmd, Run, blobs, media, sha256};

/// Builds a layout of umoci in which tags share layers, and two share an image.
fn family(clients: &ClientDir, layout: &str) {
    clients.init(layout);
    let image = |tag: &str| format!("{layout}:{tag}");
    clients.new_image(&image("base"));
    clients.insert(&image("base"), "base", "what all have", None);
    clients.insert(&image("base"), "middle", "what two have", Some("middle"));
    clients.insert(&image("middle"), "top", "what one has", Some("top"));
    clients.umoci(&["tag", "--image", &image("top"), "top-again"]);
    clients.new_image(&image("alone"));
    clients.insert(&image("alone"), "alone", "not shared with others", None);
}

/// Runs `rm` on a layout of the workshop and panics unless it succeeds.
#[track_caller]
fn rm(clients: &ClientDir, layout: &str, args: &[&str]) -> Run {
    let run = Cmd::new(["rm"]).arg(clients.join(layout)).args(args).run();
    run.ok();
    run
}

#[test]
fn after_removing_any_tag_umoci_and_skopeo_read_all_others() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    family(&clients, "umoci");
    for tag in tags(&clients, "umoci") {
        clients.copy(
            &format!("oci:umoci:{tag}"),
            &format!("oci:skopeo:{tag}"),
            &[],
        );
    }
    for source in ["umoci", "skopeo"] {
        let names = tags(&clients, source);
        assert_eq!(names, ["alone", "base", "middle", "top", "top-again"]);
        // Older garbage of umoci is deleted first, so that the last step can compare.
        clients.gc(source);
        let before = see(&clients, source, &names, Readers::UmociAndSkopeo);
        for gone in &names {
            let layout = format!("{source}-without-{gone}");
            clients.clone_layout(source, &layout);
            let run = rm(&clients, &layout, &[gone]);
            run.says(&format!("Untagged: {gone}\n"));
            let left: Vec<String> = names.iter().filter(|name| *name != gone).cloned().collect();
            assert_eq!(tags(&clients, &layout), left, "{}", run.all());
            let mut expected = before.clone();
            expected.remove(gone);
            assert_eq!(
                see(&clients, &layout, &left, Readers::UmociAndSkopeo),
                expected,
                "{}",
                run.all()
            );
            // Neither of them finds any garbage.
            let all = blobs(&clients.join(&layout));
            clients.umoci(&["gc", "--layout", &layout]);
            assert_eq!(blobs(&clients.join(&layout)), all, "{}", run.all());
            assert!(clients.gc(&layout).is_empty(), "{}", run.all());
        }
    }
}

#[test]
fn an_image_untagged_by_skopeo_is_removed_by_its_id_and_the_tag_is_kept() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    family(&clients, "source");
    clients.copy("oci:source:middle", "oci:layout:tag", &[]);
    let first = see(
        &clients,
        "layout",
        &["tag".to_owned()],
        Readers::UmociAndSkopeo,
    );
    let first = first.get("tag").expect("it was read").digest.clone();
    clients.copy("oci:source:top", "oci:layout:tag", &[]);
    let names = ["tag".to_owned()];
    let before = see(&clients, "layout", &names, Readers::UmociAndSkopeo);
    let run = rm(&clients, "layout", &[&first]);
    run.says(&format!("Deleted: {first}\n"));
    assert_eq!(
        before,
        see(&clients, "layout", &names, Readers::UmociAndSkopeo),
        "{}",
        run.all()
    );
    // The name refers to the other image, which can be removed by it.
    rm(&clients, "layout", &["tag"]);
    assert_eq!(clients.count("layout"), 0);
}

#[test]
fn umoci_and_skopeo_continue_in_a_layout_from_which_everything_was_removed() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    family(&clients, "source");
    family(&clients, "layout");
    clients.gc("layout");
    rm(&clients, "layout", &["*"]);
    assert_eq!(clients.count("layout"), 0);
    assert!(tags(&clients, "layout").is_empty());
    clients.new_image("layout:new");
    clients.insert("layout:new", "file", "in an empty layout", None);
    clients.copy("oci:source:top", "oci:layout:top", &[]);
    let top = ["top".to_owned()];
    assert_eq!(
        see(&clients, "source", &top, Readers::UmociAndSkopeo),
        see(&clients, "layout", &top, Readers::UmociAndSkopeo)
    );
    assert_eq!(tags(&clients, "layout"), ["new", "top"]);
}

#[test]
fn a_held_bundle_can_be_repacked_after_its_tags_were_removed() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    for held in [true, false] {
        let (layout, bundle) = if held {
            ("held", "bundle")
        } else {
            ("free", "other-bundle")
        };
        family(&clients, layout);
        let image = format!("{layout}:top");
        clients.unpack(&image, bundle);
        if held {
            let add = Cmd::new(["hold", "add"]).arg(clients.join(layout));
            add.args(["dev", "--bundle"])
                .arg(clients.join(bundle))
                .run()
                .ok();
            // The last name needs force, which would end the hold; of two the first does not.
            let run = Cmd::new(["rm"])
                .arg(clients.join(layout))
                .args(["top", "top-again"])
                .run();
            run.exits(1).warns("hold \"dev\" is using its image");
        }
        rm(&clients, layout, &["top"]);
        // The other one is moved by umoci itself, so that no tag references the manifest of the bundle any more.
        clients.umoci(&["tag", "--image", &format!("{layout}:alone"), "top-again"]);
        rm(&clients, layout, &["middle"]);
        clients.gc(layout);
        let file = clients.join(bundle).join("rootfs/packed");
        fs::write(file, "after its tags were removed").expect("a file of a bundle can be written");
        let packed = format!("{layout}:packed");
        let repack = clients.attempt("umoci", &["repack", "--image", &packed, bundle]);
        assert_eq!(repack.code == Some(0), held, "{}", repack.all());
        if held {
            let names = ["packed".to_owned()];
            see(&clients, layout, &names, Readers::UmociAndSkopeo);
            // Without the bundle the hold ends by itself.
            fs::remove_dir_all(clients.join(bundle)).expect("a bundle can be removed");
            assert!(!clients.gc(layout).is_empty(), "what only the hold kept");
            see(&clients, layout, &names, Readers::UmociAndSkopeo);
        }
    }
}

/// Writes a layout with an index of three platforms, whose images share a layer.
fn platforms(clients: &ClientDir, layout: &str) {
    let source = format!("source-of-{layout}");
    family(clients, &source);
    let images = [("base", "s390x"), ("middle", "arm64"), ("top", "amd64")];
    for (tag, _) in images {
        clients.copy(
            &format!("oci:{source}:{tag}"),
            &format!("oci:{layout}:{tag}"),
            &[],
        );
    }
    let path = clients.join(layout).join("index.json");
    let text = fs::read(&path).expect("the index can be read");
    let mut index: Value = serde_json::from_slice(&text).expect("the index is JSON");
    let listed = index["manifests"]
        .as_array()
        .cloned()
        .expect("the index lists something");
    let children: Vec<Value> = images
        .iter()
        .map(|(tag, architecture)| {
            let mut is_called = listed
                .iter()
                .filter(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == *tag);
            let entry = is_called.next().expect("the image is listed");
            json!({
                "mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
                "platform": {"os": "linux", "architecture": architecture},
            })
        })
        .collect();
    let document =
        json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": children}).to_string();
    let digest = sha256(document.as_bytes());
    fs::write(blob_path(clients, layout, &digest), &document).expect("the index can be stored");
    index["manifests"] = json!([{
        "mediaType": media::INDEX, "digest": digest, "size": document.len(),
        "annotations": {"org.opencontainers.image.ref.name": "multi"},
    }]);
    fs::write(&path, index.to_string()).expect("index.json can be written");
}

fn blob_path(clients: &ClientDir, layout: &str, digest: &str) -> std::path::PathBuf {
    clients
        .join(layout)
        .join("blobs")
        .join(digest.replacen(':', "/", 1))
}

/// Copies one platform of `multi` and returns the result.
fn copy_platform(clients: &ClientDir, layout: &str, architecture: &str) -> Run {
    let (from, to) = (
        format!("oci:{layout}:multi"),
        format!("oci:only-{layout}-{architecture}:one"),
    );
    let args = [
        "--insecure-policy",
        "--override-os",
        "linux",
        "--override-arch",
        architecture,
        "copy",
        "--quiet",
        &from,
        &to,
    ];
    clients.attempt("skopeo", &args)
}

#[test]
fn after_a_rewrite_skopeo_copies_the_whole_image_and_every_remaining_platform() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    platforms(&clients, "whole");
    let all = ["amd64", "arm64", "s390x"];
    for dropped in all {
        let layout = format!("without-{dropped}");
        clients.clone_layout("whole", &layout);
        let run = rm(
            &clients,
            &layout,
            &["multi", "--platform", &format!("linux/{dropped}")],
        );
        run.says("Rewritten: multi, image ID ");
        let copy = format!("copy-of-{layout}");
        clients.copy(
            &format!("oci:{layout}:multi"),
            &format!("oci:{copy}:multi"),
            &["--all"],
        );
        assert_eq!(
            blobs(&clients.join(&layout)),
            blobs(&clients.join(&copy)),
            "a copy has all remaining blobs\n{}",
            run.all()
        );
        for architecture in all {
            let copied = copy_platform(&clients, &layout, architecture);
            assert_eq!(
                copied.code == Some(0),
                architecture != dropped,
                "{}\n{}",
                copied.all(),
                run.all()
            );
        }
        // Other programs sweep it like any other layout.
        let left = blobs(&clients.join(&layout));
        clients.umoci(&["gc", "--layout", &layout]);
        assert_eq!(blobs(&clients.join(&layout)), left, "{}", run.all());
        assert!(clients.gc(&layout).is_empty(), "{}", run.all());
    }
}

#[test]
fn the_only_remaining_platform_is_copied_by_skopeo() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    platforms(&clients, "layout");
    let run = rm(
        &clients,
        "layout",
        &["multi", "--only-platform", "linux/arm64"],
    );
    let copied = copy_platform(&clients, "layout", "arm64");
    copied.ok();
    // The index, and the blobs of the one image.
    assert_eq!(
        clients.count("layout"),
        clients.count("only-layout-arm64") + 1,
        "{}",
        run.all()
    );
    rm(
        &clients,
        "layout",
        &["-f", "multi", "--platform", "linux/arm64"],
    );
    assert_eq!(clients.count("layout"), 0);
}

#[test]
fn skopeo_copies_the_present_platforms_of_a_sparse_index() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    for mode in ["sparse", "hollow"] {
        let layout = format!("layout-{mode}");
        platforms(&clients, &layout);
        let before = clients
            .skopeo(&["inspect", "--raw", &format!("oci:{layout}:multi")])
            .stdout;
        let run = rm(
            &clients,
            &layout,
            &[
                "multi",
                "--platform",
                "linux/amd64",
                "--platform-mode",
                mode,
            ],
        );
        let after = clients
            .skopeo(&["inspect", "--raw", &format!("oci:{layout}:multi")])
            .stdout;
        assert_eq!(before, after, "the digest stays\n{}", run.all());
        for (architecture, works) in [("arm64", true), ("s390x", true), ("amd64", false)] {
            let copied = copy_platform(&clients, &layout, architecture);
            assert_eq!(
                copied.code == Some(0),
                works,
                "{}\n{}",
                copied.all(),
                run.all()
            );
        }
        let whole = [
            "--insecure-policy",
            "copy",
            "--all",
            &format!("oci:{layout}:multi"),
            &format!("oci:whole-{mode}:multi"),
        ];
        let copied = clients.attempt("skopeo", &whole);
        assert_ne!(
            copied.code,
            Some(0),
            "an absent platform cannot be copied\n{}",
            copied.all()
        );
    }
}
