//! Archives of docker before version 25: `manifest.json` lists the images, and layers are files of any name.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::pack::{Format, compress, decompress, members};
use crate::support::environment::memory_dir;
use crate::support::{Cmd, sha256};

/// Two images with one base layer, one of which references it by a link, as docker wrote them.
struct Fixture {
    temp: TempDir,
    bytes: Vec<u8>,
    manifest: Value,
}

const BASE: &[u8] = &[1; 20_000];
const ONE: &[u8] = &[2; 90_000];
const TWO: &[u8] = &[3; 90_000];

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs});
    config.to_string().into_bytes()
}

fn name_of(config: &[u8]) -> String {
    format!("{}.json", sha256(config).trim_start_matches("sha256:"))
}

impl Fixture {
    fn new() -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            let added = builder.append_data(&mut header, path, content);
            added.expect("it can be packed");
        };
        let configs = [config(&[BASE, ONE]), config(&[BASE, TWO])];
        for (id, layer) in [("base", BASE), ("one", ONE), ("two", TWO)] {
            add(&format!("{id}/VERSION"), b"1.0");
            add(&format!("{id}/json"), b"{}");
            add(&format!("{id}/layer.tar"), layer);
        }
        for config in &configs {
            add(&name_of(config), config);
        }
        let [first, second] = configs.map(|config| name_of(&config));
        let manifest = json!([
            {"Config": first, "RepoTags": ["app:1", "app:one"], "Layers": ["base/layer.tar", "one/layer.tar"]},
            {"Config": second, "RepoTags": ["app:2"], "Layers": ["again/layer.tar", "two/layer.tar"]},
        ]);
        add("manifest.json", manifest.to_string().as_bytes());
        let repositories = json!({"app": {"1": "one", "2": "two", "one": "one"}});
        add("repositories", repositories.to_string().as_bytes());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder
            .append_link(&mut link, "again/layer.tar", "../base/layer.tar")
            .expect("it can be packed");
        let bytes = builder.into_inner().expect("it can be packed");
        let temp = memory_dir();
        fs::write(temp.path().join("save.tar"), &bytes).expect("it can be written");
        Self {
            temp,
            bytes,
            manifest,
        }
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("save.tar")
    }

    /// Returns the paths in the archive, and a file in it as JSON.
    fn now(&self, format: Format) -> (Vec<String>, impl Fn(&str) -> Value) {
        let bytes = fs::read(self.path()).expect("it is there");
        let members = members(&decompress(&bytes, format));
        let paths = members.iter().map(|member| member.path.clone()).collect();
        let read = move |path: &str| {
            let found = members.iter().find(|member| member.path == path);
            let found = found.expect("it is in the archive");
            serde_json::from_slice(&found.content).expect("it is JSON")
        };
        (paths, read)
    }
}

#[test]
fn images_are_listed_and_measured() {
    let fixture = Fixture::new();
    let run = Cmd::new(["ls"]).arg(fixture.path()).run();
    let lines: Vec<&str> = run.ok().stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", run.all());
    let run = Cmd::new(["df", "--format", "json"])
        .arg(fixture.path())
        .run();
    let json = run.ok().json();
    let images = json.pointer("/layouts/0/images").expect("a row");
    assert_eq!(images.get("total"), Some(&json!(2)));
    let size = images.get("size_bytes").and_then(Value::as_u64);
    // The base counts once, and the generated manifests count.
    let layers = (BASE.len() + ONE.len() + TWO.len()) as u64;
    let size = size.expect("a size");
    assert!((layers..layers + 3000).contains(&size), "{size}");
}

#[test]
fn removing_the_last_name_removes_the_image() {
    for format in [Format::Plain, Format::Gzip] {
        let fixture = Fixture::new();
        fs::write(fixture.path(), compress(&fixture.bytes, format)).expect("it can be written");
        let rm = |name: &str| Cmd::new(["rm"]).arg(fixture.path()).arg(name).run();
        let run = rm("app:one");
        run.ok().says("Untagged: app:one");
        let (paths, read) = fixture.now(format);
        let mut manifest = fixture.manifest.clone();
        manifest[0]["RepoTags"] = json!(["app:1"]);
        assert_eq!(read("manifest.json"), manifest);
        assert_eq!(
            read("repositories"),
            json!({"app": {"1": "one", "2": "two"}})
        );
        assert_eq!(paths.len(), 14);
        // The other image references the base by a link: it is kept.
        let run = rm("app:1");
        run.ok().says(&format!("Deleted: {}", sha256(ONE)));
        run.keeps_quiet_about(&sha256(BASE));
        let (paths, read) = fixture.now(format);
        assert_eq!(read("manifest.json"), json!([fixture.manifest[1]]));
        assert_eq!(read("repositories"), json!({"app": {"2": "two"}}));
        assert!(
            !paths.iter().any(|path| path.starts_with("one/")),
            "{paths:?}"
        );
        assert!(paths.contains(&"base/layer.tar".to_owned()));
        assert!(paths.contains(&"again/layer.tar".to_owned()));
        assert_eq!(paths.len(), 10, "{paths:?}");
        Cmd::new(["ls"]).arg(fixture.path()).run().ok().says("app");
    }
}

#[test]
fn a_dry_run_reports_by_how_much_the_file_gets_shorter() {
    let fixture = Fixture::new();
    let rm = Cmd::new(["rm", "--format", "json"]).arg(fixture.path());
    let sum = |run: &crate::support::Run| {
        let json = run.json();
        let sum = json.pointer("/totals/reclaimed_bytes");
        sum.and_then(Value::as_u64).expect("a sum")
    };
    let dry = rm.clone().args(["app:2", "-n"]).run();
    let done = rm.args(["app:2"]).run();
    done.ok();
    let new = fs::metadata(fixture.path()).expect("it is there").len();
    let shorter = fixture.bytes.len() as u64 - new;
    assert_eq!((sum(&dry), sum(&done)), (shorter, shorter), "{}", dry.all());
}

#[test]
fn unsupported_commands_are_refused_by_name() {
    let fixture = Fixture::new();
    let path = fixture.path();
    let path = path.to_str().expect("a path");
    for args in [
        &["gc", path][..],
        &["prune", "-a", "-f", path],
        &["check", path],
        &["why", path, "app:1"],
        &["blobs", path, "--live"],
        &["rm", path, "app:1", "--platform", "linux/amd64"],
    ] {
        let run = Cmd::new(args).run();
        run.refused()
            .one_error_with_hint()
            .warns("before version 25")
            .warns(&format!("skopeo copy docker-archive:{path} oci-archive:"));
    }
    assert!(fs::read(fixture.path()).expect("it is there") == fixture.bytes);
}

#[test]
fn a_list_that_names_missing_files_is_refused() {
    let fixture = Fixture::new();
    for target in ["nothing/layer.tar", "../outside", "/etc/passwd", "base"] {
        let list = json!([{"Config": "x.json", "RepoTags": null, "Layers": [target]}]);
        let bytes = super::pack::pack([
            ("x.json", &b"{}"[..]),
            ("base/layer.tar", BASE),
            ("manifest.json", list.to_string().as_bytes()),
        ]);
        fs::write(fixture.path(), bytes).expect("it can be written");
        let run = Cmd::new(["ls"]).arg(fixture.path()).run();
        run.refused().warns(target);
    }
}

#[test]
fn a_file_in_two_roles_is_kept_while_one_of_them_is_needed() {
    let (first, second) = (config(&[ONE]), config(&[TWO]));
    // The second image lists the configuration of the first one and the file beside its layer as layers.
    let list = json!([
        {"Config": "first.json", "RepoTags": ["app:1"], "Layers": ["one/layer.tar"]},
        {"Config": "second.json", "RepoTags": ["app:2"], "Layers": ["first.json"]},
        {"Config": "one/json", "RepoTags": ["app:3"], "Layers": ["two/layer.tar"]},
    ]);
    let list = list.to_string();
    let third = config(&[BASE]);
    let bytes = super::pack::pack([
        ("one/VERSION", &b"1.0"[..]),
        ("one/json", &third),
        ("one/layer.tar", ONE),
        ("two/layer.tar", TWO),
        ("first.json", &first),
        ("second.json", &second),
        ("manifest.json", list.as_bytes()),
    ]);
    let fixture = Fixture::new();
    fs::write(fixture.path(), bytes).expect("it can be written");
    let rm = Cmd::new(["rm"]).arg(fixture.path()).arg("app:1").run();
    rm.ok();
    let (paths, _) = fixture.now(Format::Plain);
    for path in ["first.json", "one/json", "second.json", "two/layer.tar"] {
        assert!(paths.contains(&path.to_owned()), "{path}: {paths:?}");
    }
    for path in ["one/VERSION", "one/layer.tar"] {
        assert!(!paths.contains(&path.to_owned()), "{path}: {paths:?}");
    }
    Cmd::new(["ls"]).arg(fixture.path()).run().ok();
}

#[test]
fn a_list_that_names_itself_is_refused() {
    for name in ["manifest.json", "repositories", "link"] {
        let config = config(&[ONE]);
        let list = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": [name]}]);
        let list = list.to_string();
        let mut builder = tar::Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Link);
        link.set_size(0);
        builder
            .append_link(&mut link, "link", "manifest.json")
            .expect("it can be packed");
        let mut bytes = builder.into_inner().expect("it can be packed");
        bytes.truncate(512);
        bytes.extend(super::pack::pack([
            ("c.json", &*config),
            ("manifest.json", list.as_bytes()),
            ("repositories", b"{}"),
        ]));
        let fixture = Fixture::new();
        fs::write(fixture.path(), &bytes).expect("it can be written");
        for args in [&["ls"][..], &["rm", "app:1"]] {
            let run = Cmd::new(&args[..1]).arg(fixture.path()).args(&args[1..]);
            run.run().refused().warns(&format!("`{name}`"));
        }
        assert!(fs::read(fixture.path()).expect("it is there") == bytes);
    }
}
