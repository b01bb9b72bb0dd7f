//! The lists of docker save beside `index.json`: names and elements are removed from `manifest.json` and `repositories` as
//! well, and every other byte of them is kept; blobs of a remaining element exist.

use std::fs;

use serde_json::Value;

use crate::support::removed::{assert_output, bare, rm};
use crate::support::{Image, LayoutBuilder, Run};

/// The files of docker save for two images, the first with three names; with intentionally odd spaces.
struct Save {
    layout: LayoutBuilder,
    alpha: Image,
    bravo: Image,
}

const MANIFESTS: &str = "[ {\"Config\":\"ALPHA\",\"RepoTags\":[\"alpha:1\" , \"alpha:2\",\"ghcr.io/acme/alpha:1\"],\n \"Layers\":[ALPHA_LAYERS],\"LayerSources\":{\"x\": 1e3}},\n{\"Config\":\"BRAVO\", \"RepoTags\":[\"bravo:1\"],\"Layers\":[BRAVO_LAYERS]} ]\n";
const REPOSITORIES: &str = "{\"alpha\": {\"1\":\"ID\", \"2\":\"ID\"},\n \"bravo\":{\"1\":\"OTHER\"} ,\"ghcr.io/acme/alpha\":{\"1\":\"ID\"}}\n";

fn manifests(alpha: &Image, bravo: &Image) -> String {
    let layers = |image: &Image| -> String {
        let paths: Vec<String> = image
            .layers
            .iter()
            .map(|layer| format!("\"{}\"", layer.blob_path()))
            .collect();
        paths.join(",")
    };
    MANIFESTS
        .replace("ALPHA_LAYERS", &layers(alpha))
        .replace("BRAVO_LAYERS", &layers(bravo))
        .replace("ALPHA", &alpha.config.blob_path())
        .replace("BRAVO", &bravo.config.blob_path())
}

impl Save {
    fn new() -> Self {
        let mut layout = LayoutBuilder::new();
        let alpha = layout.image("linux/amd64", "alpha", &[b"base", b"alpha"]);
        let bravo = layout.image("linux/amd64", "bravo", &[b"base", b"bravo"]);
        for name in [
            "docker.io/library/alpha:1",
            "docker.io/library/alpha:2",
            "ghcr.io/acme/alpha:1",
        ] {
            layout.entry(alpha.manifest.dockered(name));
        }
        layout
            .entry(bravo.manifest.dockered("docker.io/library/bravo:1"))
            .write();
        layout.file("manifest.json", manifests(&alpha, &bravo).as_bytes());
        layout.file("repositories", REPOSITORIES.as_bytes());
        Self {
            layout,
            alpha,
            bravo,
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.layout.join(name)).expect("the file can be read")
    }

    /// Panics unless every file that an element names exists.
    #[track_caller]
    fn assert_sound(&self, run: &Run) {
        let elements: Value =
            serde_json::from_str(&self.read("manifest.json")).expect("it is JSON");
        for element in elements.as_array().expect("it is a list") {
            let layers = element["Layers"].as_array().expect("layers are a list");
            for path in layers.iter().chain([&element["Config"]]) {
                let path = path.as_str().expect("paths are text");
                assert!(
                    self.layout.join(path).exists(),
                    "{path} is gone\n{}",
                    run.all()
                );
            }
        }
        serde_json::from_str::<Value>(&self.read("repositories")).expect("it is JSON");
    }

    /// Panics unless both lists have this content, except for white space.
    #[track_caller]
    fn assert_lists(&self, manifest: &str, repositories: &str, run: &Run) {
        let squeeze = |text: &str| text.split_whitespace().collect::<String>();
        let all = run.all();
        assert_eq!(
            squeeze(&self.read("manifest.json")),
            squeeze(manifest),
            "{all}"
        );
        assert_eq!(
            squeeze(&self.read("repositories")),
            squeeze(repositories),
            "{all}"
        );
        self.assert_sound(run);
    }
}

#[test]
fn a_name_is_removed_from_all_lists_and_every_other_byte_is_kept() {
    let save = Save::new();
    let before = save.read("manifest.json");
    let run = rm(&save.layout, &["alpha:2"]);
    run.ok();
    assert_output(&run, &["docker.io/library/alpha:2"], &[]);
    let manifest = manifests(&save.alpha, &save.bravo).replace(" , \"alpha:2\"", "");
    let repositories = REPOSITORIES.replace(", \"2\":\"ID\"", "");
    save.assert_lists(&manifest, &repositories, &run);
    // Before and after the cut, not even a space differs.
    let after = save.read("manifest.json");
    let (head, tail) = before.split_once("\"alpha:2\"").expect("it was there");
    let head = head.trim_end_matches([' ', ',']);
    assert!(
        after.starts_with(head) && after.ends_with(tail),
        "{after}\n{}",
        run.all()
    );

    // The line of a repository is removed with its last name.
    let run = rm(&save.layout, &["ghcr.io/acme/alpha:1"]);
    run.ok();
    let manifest = manifest.replace(",\"ghcr.io/acme/alpha:1\"", "");
    let repositories = repositories.replace(" ,\"ghcr.io/acme/alpha\":{\"1\":\"ID\"}", "");
    save.assert_lists(&manifest, &repositories, &run);
}

#[test]
fn the_element_is_removed_with_the_image_and_shared_layers_are_kept() {
    let save = Save::new();
    let (alpha, bravo) = (&save.alpha, &save.bravo);
    let run = rm(&save.layout, &["-f", alpha.manifest.short()]);
    run.ok();
    let names = [
        "docker.io/library/alpha:1",
        "docker.io/library/alpha:2",
        "ghcr.io/acme/alpha:1",
    ];
    assert_output(
        &run,
        &names,
        &[&alpha.manifest, &alpha.config, &alpha.layers[1]],
    );
    let all = manifests(alpha, bravo);
    let (_, kept) = all.split_once("}},\n").expect("two elements");
    save.assert_lists(&format!("[ {kept}"), "{\"bravo\":{\"1\":\"OTHER\"}}", &run);
    save.layout.assert_has(bravo.parts(), &run);

    let run = rm(&save.layout, &["bravo:1"]);
    run.ok();
    assert_output(&run, &["docker.io/library/bravo:1"], &bravo.parts());
    save.assert_lists("[]", "{}", &run);
}

#[test]
fn an_element_without_names_is_removed_with_its_image() {
    // `docker save ID` writes `null`.
    for tags in [None, Some("alpha:1")] {
        let mut layout = LayoutBuilder::new();
        let alpha = layout.image("linux/amd64", "alpha", &[b"alpha"]);
        let bravo = layout.image("linux/amd64", "bravo", &[b"bravo"]);
        let of_alpha: Vec<&str> = tags.into_iter().collect();
        layout
            .entry(&alpha.manifest)
            .tag(&bravo.manifest, "bravo:1")
            .save_element(&of_alpha, &alpha.config, &alpha.layers)
            .save_element(&["bravo:1"], &bravo.config, &bravo.layers)
            .write();
        let run = rm(&layout, &[alpha.manifest.short()]);
        run.ok();
        assert_output(&run, &of_alpha, &alpha.parts());
        let text = fs::read_to_string(layout.join("manifest.json")).expect("it is there");
        assert!(!text.contains(alpha.config.hex()), "{text}\n{}", run.all());
        assert!(text.contains(bravo.config.hex()), "{text}\n{}", run.all());
    }
}

#[test]
fn blobs_named_by_a_kept_element_are_kept() {
    // Classic docker save lists images in `manifest.json` that are not in `index.json`.
    let mut layout = LayoutBuilder::new();
    let alpha = layout.image("linux/amd64", "alpha", &[b"shared", b"alpha"]);
    let config = layout.config("linux/amd64", "only here");
    let layer = layout.layer(b"only here");
    let layers = [alpha.layers[0].clone(), layer.clone()];
    layout
        .tag(&alpha.manifest, "alpha:1")
        .save_element(&["alpha:1"], &alpha.config, &alpha.layers)
        .save_element(&["elsewhere:1"], &config, &layers)
        .write();
    let run = rm(&layout, &["alpha:1"]);
    run.ok();
    assert_output(
        &run,
        &["alpha:1"],
        &[&alpha.manifest, &alpha.config, &alpha.layers[1]],
    );
    layout.assert_has([&config, &layer, &alpha.layers[0]], &run);
    let text = fs::read_to_string(layout.join("manifest.json")).expect("it is there");
    assert!(
        text.contains("elsewhere:1") && !text.contains("alpha:1"),
        "{text}"
    );
}

#[test]
fn an_element_is_kept_while_an_image_of_the_same_config_is() {
    let mut layout = LayoutBuilder::new();
    let alpha = layout.image("linux/amd64", "alpha", &[b"alpha"]);
    // Another manifest with the same config and layers, as in a copy with other media types.
    let twin = layout.put(&crate::support::Doc::docker_manifest(
        &alpha.config,
        &alpha.layers,
    ));
    layout
        .tag(&alpha.manifest, "alpha:1")
        .tag(&twin, "twin:1")
        .save_element(&["alpha:1", "twin:1"], &alpha.config, &alpha.layers)
        .write();
    let run = rm(&layout, &["alpha:1"]);
    run.ok();
    assert_output(&run, &["alpha:1"], &[&alpha.manifest]);
    let text = fs::read_to_string(layout.join("manifest.json")).expect("it is there");
    assert!(text.contains("[\"twin:1\"]"), "{text}\n{}", run.all());
    let run = rm(&layout, &["twin:1"]);
    run.ok();
    assert!(!layout.has(&alpha.config), "{}", run.all());
    let text = fs::read_to_string(layout.join("manifest.json")).expect("it is there");
    assert_eq!(text, "[]", "{}", run.all());
}

#[test]
fn the_element_of_a_platform_is_removed_with_the_platform() {
    // docker save describes the best platform of an image in `manifest.json`.
    for mode in ["rewrite", "sparse", "hollow"] {
        for (dropped, stays) in [("linux/amd64", false), ("linux/arm64", true)] {
            let mut layout = LayoutBuilder::new();
            let amd64 = layout.image("linux/amd64", "amd64", &[b"shared", b"amd64"]);
            let arm64 = layout.image("linux/arm64", "arm64", &[b"shared", b"arm64"]);
            let index = layout.index(&[
                amd64.manifest.clone().platform("linux/amd64"),
                arm64.manifest.clone().platform("linux/arm64"),
            ]);
            layout
                .entry(index.dockered("docker.io/library/multi:1"))
                .save_element(&["multi:1"], &amd64.config, &amd64.layers)
                .write();
            let run = bare(layout.path(), ["multi:1", "--platform", dropped])
                .args(["--platform-mode", mode])
                .run();
            run.ok();
            let text = fs::read_to_string(layout.join("manifest.json")).expect("it is there");
            assert_eq!(
                text.contains(amd64.config.hex()),
                stays,
                "{mode} {text}\n{}",
                run.all()
            );
            let (gone, kept) = if stays {
                (&arm64, &amd64)
            } else {
                (&amd64, &arm64)
            };
            assert!(!layout.has(&gone.layers[1]), "{mode}\n{}", run.all());
            layout.assert_has(kept.parts(), &run);
        }
    }
}

#[test]
fn a_malformed_list_stops_the_removal_and_another_file_of_that_name_does_not() {
    // Whether it begins like docker's list.
    let cases = [
        ("[", true),
        ("[{\"Config\":7}]", true),
        ("[7]", true),
        ("[] trailing", true),
        ("{}", false),
        ("{\"schemaVersion\":2}", false),
        ("nothing", false),
    ];
    for (text, is_list) in cases {
        let save = Save::new();
        save.layout.file("manifest.json", text.as_bytes());
        let run = rm(&save.layout, &["bravo:1"]);
        if is_list {
            run.refused().one_error_with_hint();
            run.warns("manifest.json");
            save.layout.assert_has(save.bravo.parts(), &run);
        } else {
            run.ok();
            assert!(!save.layout.has(&save.bravo.manifest), "{}", run.all());
        }
        assert_eq!(save.read("manifest.json"), text, "{}", run.all());
    }
}

/// No tool writes such elements; if their blobs are unknown, their names decide.
#[test]
fn an_element_without_a_config_is_removed_with_the_last_of_its_names() {
    for (tags, left) in [
        (&["tool:1"][..], 1),
        (&["tool:1", "other:1"], 2),
        (&["other:1"], 2),
        (&[], 2),
    ] {
        let mut layout = LayoutBuilder::new();
        let tool = layout.image("linux/amd64", "tool", &[b"tool"]);
        let other = layout.image("linux/amd64", "other", &[b"other"]);
        let tags: Vec<String> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
        let text = format!(
            "[{{\"RepoTags\":[{}]}},{{\"Config\":\"{}\",\"RepoTags\":[\"other:1\"],\"Layers\":[]}}]",
            tags.join(","),
            other.config.blob_path(),
        );
        layout
            .tag(&tool.manifest, "tool:1")
            .tag(&other.manifest, "other:1")
            .write();
        layout.file("manifest.json", text.as_bytes());
        let run = rm(&layout, &["tool:1"]);
        run.ok();
        let after = fs::read_to_string(layout.join("manifest.json")).expect("it can be read");
        let elements: Value = serde_json::from_str(&after).expect("it is JSON");
        let count = elements.as_array().map(Vec::len);
        assert_eq!(count, Some(left), "{tags:?} {after}\n{}", run.all());
        layout.assert_has(other.parts(), &run);
    }
}

/// `index.json` names only the first image, `alpha:1`; its other names are only in docker's lists. The second image is in
/// `index.json` without a name.
fn named_by_lists() -> Save {
    let mut save = Save::new();
    let alpha = save.alpha.manifest.clone();
    let bravo = save.bravo.manifest.clone();
    save.layout
        .clear_entries()
        .entry(alpha.dockered("docker.io/library/alpha:1"))
        .entry(&bravo)
        .write();
    save
}

#[test]
fn a_name_only_in_manifest_json_keeps_its_image() {
    let save = named_by_lists();
    let run = rm(&save.layout, &["alpha:1"]);
    run.ok();
    assert_output(&run, &["docker.io/library/alpha:1"], &[]);
    save.layout.assert_has(save.alpha.parts(), &run);
    save.assert_sound(&run);
    assert!(
        !save.read("manifest.json").contains("\"alpha:1\""),
        "{}",
        run.all()
    );
    assert!(save.read("manifest.json").contains("\"alpha:2\""));
    // The others are removed one by one, and the image is removed with the last one.
    let run = rm(&save.layout, &["alpha:2"]);
    run.ok();
    assert_output(&run, &["alpha:2"], &[]);
    save.layout.assert_has(save.alpha.parts(), &run);
    let run = rm(&save.layout, &["ghcr.io/acme/alpha:1"]);
    run.ok().says("Untagged: ghcr.io/acme/alpha:1\n");
    assert!(!save.layout.has(&save.alpha.manifest), "{}", run.all());
    assert!(!save.read("manifest.json").contains("alpha"));
    assert!(!save.read("repositories").contains("alpha"));
    save.layout.assert_has(save.bravo.parts(), &run);
    save.assert_sound(&run);
}

#[test]
fn a_name_only_in_manifest_json_is_listed_found_and_counted() {
    let save = named_by_lists();
    let ls = crate::support::Cmd::new(["ls"])
        .arg(save.layout.path())
        .run();
    let rows: Vec<Vec<&str>> = ls
        .ok()
        .stdout
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    for row in [
        ["alpha", "1"],
        ["alpha", "2"],
        ["ghcr.io/acme/alpha", "1"],
        ["bravo", "1"],
    ] {
        assert!(rows.contains(&row.to_vec()), "{row:?}\n{}", ls.all());
    }
    assert_eq!(rows.len(), 4, "{}", ls.all());
    let run = rm(&save.layout, &[save.alpha.manifest.short()]);
    run.exits(1).warns("is referenced by 3 names");
    save.layout.assert_has(save.alpha.parts(), &run);
    // The image that `index.json` does not name at all is removed by its name as well.
    let run = rm(&save.layout, &["bravo:1"]);
    run.ok().says("Untagged: bravo:1\n");
    assert!(!save.layout.has(&save.bravo.manifest), "{}", run.all());
    assert!(!save.read("manifest.json").contains("bravo"));
    assert!(!save.read("repositories").contains("bravo"));
    save.assert_sound(&run);
    // One of several, while the name in `index.json` is kept.
    let run = rm(&save.layout, &["alpha:2"]);
    run.ok();
    assert_output(&run, &["alpha:2"], &[]);
    save.layout.assert_has(save.alpha.parts(), &run);
    assert!(save.read("manifest.json").contains("\"alpha:1\""));
    assert!(!save.read("repositories").contains("\"2\""));
}

#[test]
fn removing_one_of_two_images_of_one_name_keeps_the_name_of_the_other() {
    for name in ["alpha:1", "ghcr.io/acme/app:1"] {
        let mut save = Save::new();
        let (alpha, bravo) = (save.alpha.manifest.clone(), save.bravo.manifest.clone());
        save.layout
            .clear_entries()
            .tag(&alpha, name)
            .tag(&bravo, name)
            .write();
        let text = manifests(&save.alpha, &save.bravo)
            .replace(
                "\"alpha:1\" , \"alpha:2\",\"ghcr.io/acme/alpha:1\"",
                &format!("\"{name}\""),
            )
            .replace("\"bravo:1\"", &format!("\"{name}\""));
        save.layout.file("manifest.json", text.as_bytes());
        let (repository, tag) = name.rsplit_once(':').expect("it has a tag");
        let listed = |hex: &str| format!("{{\"{repository}\":{{\"{tag}\":\"{hex}\"}}}}");
        save.layout
            .file("repositories", listed(bravo.hex()).as_bytes());
        let run = rm(&save.layout, &[&format!("{name}@{}", alpha.digest)]);
        run.ok();
        assert!(!save.layout.has(&alpha), "{}", run.all());
        save.layout.assert_has(save.bravo.parts(), &run);
        let elements: Value =
            serde_json::from_str(&save.read("manifest.json")).expect("it is JSON");
        assert_eq!(elements.as_array().map(Vec::len), Some(1));
        assert_eq!(elements[0]["RepoTags"], serde_json::json!([name]));
        assert_eq!(save.read("repositories"), listed(bravo.hex()));
        // If the list names the removed image, that name is removed.
        save.layout.tag(&alpha, name).write();
    }
}

/// The oldest list has one image per name: it never names a removed one.
#[test]
fn repositories_never_names_a_removed_image() {
    let mut save = Save::new();
    let (alpha, bravo) = (save.alpha.manifest.clone(), save.bravo.manifest.clone());
    save.layout
        .clear_entries()
        .tag(&alpha, "app:1")
        .tag(&bravo, "app:1")
        .write();
    let text = manifests(&save.alpha, &save.bravo)
        .replace(
            "\"alpha:1\" , \"alpha:2\",\"ghcr.io/acme/alpha:1\"",
            "\"app:1\"",
        )
        .replace("\"bravo:1\"", "\"app:1\"");
    save.layout.file("manifest.json", text.as_bytes());
    let listed = format!(
        "{{\"app\":{{\"1\":\"{}\"}},\"other\":{{\"1\":\"x\"}}}}",
        save.alpha.config.hex()
    );
    save.layout.file("repositories", listed.as_bytes());
    let run = rm(&save.layout, &[&format!("app:1@{}", alpha.digest)]);
    run.ok();
    assert_eq!(save.read("repositories"), "{\"other\":{\"1\":\"x\"}}");
}

/// Another tool has removed the entries of an image, but the list still has it: its name can be removed.
#[test]
fn the_name_of_an_image_without_an_entry_can_be_removed() {
    let save = || {
        let mut layout = LayoutBuilder::new();
        let alpha = layout.image("linux/amd64", "alpha", &[b"shared", b"alpha"]);
        let config = layout.config("linux/amd64", "only here");
        let layer = layout.layer(b"only here");
        let layers = [alpha.layers[0].clone(), layer.clone()];
        layout
            .tag(&alpha.manifest, "alpha:1")
            .save_element(&["alpha:1"], &alpha.config, &alpha.layers)
            .save_element(&["old:1", "ghcr.io/acme/old:1"], &config, &layers)
            .repositories(&[("alpha", "1", "a"), ("old", "1", "b")]);
        layout.write();
        (layout, alpha, config, layer)
    };
    let read = |layout: &LayoutBuilder, name: &str| {
        fs::read_to_string(layout.join(name)).expect("it can be read")
    };
    let (layout, alpha, config, layer) = save();
    // One of two names.
    let run = rm(&layout, &["docker.io/library/old:1"]);
    run.ok();
    assert_output(&run, &["old:1"], &[]);
    assert!(read(&layout, "manifest.json").contains("[\"ghcr.io/acme/old:1\"]"));
    assert!(!read(&layout, "repositories").contains("old"));
    // The last one, and with it the blobs that nothing else names.
    let run = rm(&layout, &["ghcr.io/acme/old:1"]);
    run.ok();
    assert_output(&run, &["ghcr.io/acme/old:1"], &[&config, &layer]);
    layout.assert_has(alpha.parts(), &run);
    assert!(!read(&layout, "manifest.json").contains("old"));
    rm(&layout, &["ghcr.io/acme/old:1"])
        .exits(1)
        .warns("No such image: ghcr.io/acme/old:1");
    // A pattern matches these names too, but a bare word or a platform matches none of them.
    let (layout, alpha, config, layer) = save();
    for arguments in [&["old"][..], &["old:1", "--platform", "linux/amd64"]] {
        rm(&layout, arguments).exits(1).warns("No such image: old:");
    }
    let run = rm(&layout, &["**old*"]);
    run.ok();
    for desc in [&config, &layer] {
        assert!(!layout.has(desc), "{}", run.all());
    }
    layout.assert_has(alpha.parts(), &run);
    // Without its blobs only the names are removed.
    let (layout, _, config, layer) = save();
    let run = rm(&layout, &["--no-prune", "old:1", "ghcr.io/acme/old:1"]);
    run.ok();
    layout.assert_has([&config, &layer], &run);
}
