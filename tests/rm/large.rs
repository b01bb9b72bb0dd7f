//! Thousands of names: each test takes about a second, and took minutes with quadratic algorithms.

use crate::support::LayoutBuilder;
use crate::support::files::{entries, field};
use crate::support::removed::bare;

#[test]
fn thousands_of_names_of_one_image_are_removed_in_one_call() {
    const NAMES: usize = 6000;
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    let names: Vec<String> = (0..NAMES).map(|number| format!("app:v{number}")).collect();
    for name in &names {
        layout.tag(&image.manifest, name);
    }
    layout.tag(&other.manifest, "other:1");
    let tags: Vec<&str> = names.iter().map(String::as_str).collect();
    layout
        .save_element(&tags, &image.config, &image.layers)
        .write();

    // In docker's full form, so that every argument has to be completed.
    let full: Vec<String> = names
        .iter()
        .map(|name| format!("docker.io/library/{name}"))
        .collect();
    let run = bare(layout.path(), &full[NAMES / 2..]).arg("-q").run();
    run.ok();
    let left: Vec<String> = entries(layout.path())
        .iter()
        .filter_map(|entry| {
            let (_, name) = entry.split_once("\"org.opencontainers.image.ref.name\":\"")?;
            Some(name.split_once('"')?.0.to_owned())
        })
        .collect();
    let mut expected = names[..NAMES / 2].to_vec();
    expected.push("other:1".to_owned());
    assert_eq!(left, expected);
    let list = std::fs::read_to_string(layout.join("manifest.json")).expect("it is there");
    for (number, name) in names.iter().enumerate() {
        let is_listed = list.contains(&format!("\"{name}\""));
        assert_eq!(is_listed, number < NAMES / 2, "{name}");
    }

    let run = bare(layout.path(), ["app:*", "-q"]).run();
    run.ok();
    let listed = entries(layout.path());
    assert_eq!(listed.len(), 1, "{}", run.all());
    assert_eq!(
        field(&listed[0], "digest"),
        Some(other.manifest.digest.clone())
    );
    assert!(!layout.has(&image.manifest) && layout.has(&other.manifest));
}

#[test]
fn thousands_of_images_are_removed_by_their_ids() {
    const IMAGES: usize = 3000;
    let mut layout = LayoutBuilder::new();
    let config = layout.empty_config();
    let ids: Vec<String> = (0..IMAGES)
        .map(|number| {
            let doc = crate::support::Doc::manifest(&config, &[]);
            let manifest = layout.put(&doc.annotate("number", number.to_string()));
            layout.tag(&manifest, &format!("ghcr.io/acme/app{number}:1"));
            manifest.hex()[..16].to_owned()
        })
        .collect();
    layout.write();
    let run = bare(layout.path(), &ids[1..]).arg("-q").run();
    run.ok();
    let listed = entries(layout.path());
    assert_eq!(listed.len(), 1, "{}", run.all());
    assert!(listed[0].contains("ghcr.io/acme/app0:1"));
}
