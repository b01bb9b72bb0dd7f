//! Layouts that share their blobs: blobs that any of them needs are kept, and nothing is deleted while one of them cannot be
//! read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::environment::Terminal;
use crate::support::layout::{FileLock, set_modified};
use crate::support::run::number;
use crate::support::test_dir::{entries, of_layouts, rows};
use crate::support::{
    Cmd, Desc, Doc, LayoutBuilder, Run, TestDir, assert_same, snapshot, unpack,
    without_directory_times,
};

/// How a layout refers to the shared blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// skopeo: an empty `blobs`.
    Empty,
    /// No `blobs` at all.
    None,
    /// LXC: `blobs/sha256` is a link.
    Algorithm,
    /// `blobs` is a link.
    Whole,
}

const WAYS: [Way; 4] = [Way::Empty, Way::None, Way::Algorithm, Way::Whole];
const NAMES: [&str; 3] = ["one", "two", "three"];
const GC: [&str; 5] = ["gc", "--grace", "0", "--shared-blobs", "pool"];

/// Three layouts with an image each, a layer that all of them have, and orphans: one that nothing needs, and one with a document.
struct Commune {
    fixture: TestDir,
    /// What each layout references.
    needs: Vec<BTreeSet<String>>,
    orphans: BTreeSet<String>,
}

impl Commune {
    fn new(way: Way) -> Self {
        let fixture = TestDir::new();
        let mut needs = Vec::new();
        for name in NAMES {
            let mut layout = LayoutBuilder::at(&fixture.join(name));
            let image = layout.image("linux/amd64", name, &[b"common", name.as_bytes()]);
            layout.entry(image.manifest.clone().tagged("v1"));
            let mut need: BTreeSet<String> = image.digests().into_iter().collect();
            if name == "two" {
                // A signature that no entry lists.
                let signature =
                    Doc::artifact("application/vnd.example", &[layout.layer(b"signed")]);
                let signature = layout.put(&signature.subject(&image.manifest));
                need.insert(signature.digest);
                need.insert(layout.layer(b"signed").digest);
            }
            layout.write();
            needs.push(need);
        }
        let pool = LayoutBuilder::at(&fixture.join("temporary"));
        let plain = pool.layer(b"an unrelated orphan");
        let image = pool.image("linux/arm64", "gone", &[b"layer of a removed image"]);
        let mut orphans: BTreeSet<String> = image.digests().into_iter().collect();
        orphans.insert(plain.digest);
        let commune = Self {
            fixture,
            needs,
            orphans,
        };
        commune.pool_them(way);
        commune
    }

    /// Moves all blobs into the shared directory.
    fn pool_them(&self, way: Way) {
        let pool = self.fixture.join("pool/sha256");
        fs::create_dir_all(&pool).expect("the pool can be made");
        for name in NAMES.iter().chain(&["temporary"]) {
            let layout = self.fixture.join(name);
            let own = layout.join("blobs/sha256");
            for blob in fs::read_dir(&own).expect("it has blobs") {
                let blob = blob.expect("it has blobs");
                fs::rename(blob.path(), pool.join(blob.file_name())).expect("it can be moved");
            }
            fs::remove_dir(&own).expect("it is empty");
            let blobs = layout.join("blobs");
            match way {
                Way::Empty => {}
                Way::None => fs::remove_dir(&blobs).expect("it is empty"),
                Way::Algorithm => symlink("../../pool/sha256", own).expect("a link can be made"),
                Way::Whole => {
                    fs::remove_dir(&blobs).expect("it is empty");
                    symlink("../pool", blobs).expect("a link can be made");
                }
            }
        }
        fs::remove_dir_all(self.fixture.join("temporary")).expect("it can be removed");
    }

    fn pool(&self) -> BTreeSet<String> {
        digests(&self.fixture.join("pool/sha256"))
    }

    fn needed(&self) -> BTreeSet<String> {
        self.needs.iter().flatten().cloned().collect()
    }
}

fn digests(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .expect("it can be listed")
        .map(|name| name.expect("it can be listed").file_name())
        .map(|name| format!("sha256:{}", name.to_string_lossy()))
        .collect()
}

#[test]
fn shared_blobs_that_no_layout_needs_are_deleted() {
    for way in WAYS {
        let commune = Commune::new(way);
        let fixture = &commune.fixture;
        let layouts = |fixture: &TestDir| NAMES.map(|name| snapshot(&fixture.join(name)));
        let before = (layouts(fixture), commune.pool());
        let bytes = fixture.bytes(|path| path.starts_with("pool"));
        let dry = fixture.run(&[&GC[..], &["-n", "--format", "json"], &NAMES].concat());
        let dry = dry.ok().json();
        assert_eq!(commune.pool(), before.1, "{way:?}");
        let run = fixture.run(&[&GC[..], &["--format", "json"], &NAMES].concat());
        let ran = run.ok().json();
        assert_eq!(commune.pool(), commune.needed(), "{way:?}\n{}", run.all());
        let after = fixture.bytes(|path| path.starts_with("pool"));
        let freed = bytes.sum() - after.sum();
        assert_eq!(number(&ran, "/totals/reclaimed_bytes"), freed, "{way:?}");
        assert_eq!(dry["totals"], ran["totals"], "{way:?}");
        assert_eq!(of_layouts(&ran, "path"), ["pool", "one", "two", "three"]);
        let [one, two, three] = layouts(fixture);
        for (old, new) in before.0.iter().zip([one, two, three]) {
            assert_same(
                &without_directory_times(old),
                &without_directory_times(&new),
                &run.all(),
            );
        }
        let again = fixture.run(&[&GC[..], &NAMES].concat());
        again.ok().says("Total reclaimed space: 0B");
    }
}

/// A user who gives too few layouts declares that the others do not count; the references of an unreadable layout are
/// unknown.
#[test]
fn a_layout_that_cannot_be_read_stops_the_sweep() {
    type Harm = fn(&Commune);
    let harms: [(&str, i32, Harm); 6] = [
        ("a half written index", 3, |commune| {
            fs::write(commune.fixture.join("two/index.json"), b"{").expect("it can be written");
        }),
        ("no index", 3, |commune| {
            fs::remove_file(commune.fixture.join("two/index.json")).expect("it can be removed");
        }),
        ("no layout", 4, |commune| {
            fs::remove_dir_all(commune.fixture.join("two")).expect("it can be removed");
        }),
        ("an index without images", 3, |commune| {
            let text = br#"{"schemaVersion":2,"manifests":[]}"#;
            fs::write(commune.fixture.join("two/index.json"), text).expect("it can be written");
        }),
        ("a damaged manifest", 3, |commune| {
            let index = fs::read(commune.fixture.join("two/index.json")).expect("it is there");
            let index: serde_json::Value = serde_json::from_slice(&index).expect("it is JSON");
            let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
            let path = format!("pool/{}", digest.replacen(':', "/", 1));
            fs::write(commune.fixture.join(&path), b"damaged").expect("it can be written");
        }),
        ("blobs of its own", 3, |commune| {
            fs::create_dir_all(commune.fixture.join("two/blobs/sha256")).expect("it can be made");
            fs::write(commune.fixture.join("two/blobs/sha256/x"), b"").expect("it can be written");
        }),
    ];
    for (what, code, harm) in harms {
        let commune = Commune::new(Way::Empty);
        harm(&commune);
        let before = commune.pool();
        for dry in [&["-n"][..], &[]] {
            let run = commune.fixture.run(&[&GC[..], dry, &NAMES].concat());
            run.exits(code).warns("ocisweep: cannot ");
            assert!(run.stderr.contains("two"), "{what}\n{}", run.all());
            run.keeps_quiet_about("Deleted:");
            assert_eq!(commune.pool(), before, "{what}");
        }
    }
}

#[test]
fn a_link_to_other_shared_blobs_is_refused() {
    for (link, target) in [
        ("blobs", "../other"),
        ("blobs/sha256", "../../other/sha256"),
    ] {
        let commune = Commune::new(Way::Empty);
        let fixture = &commune.fixture;
        fs::create_dir_all(fixture.join("other/sha256")).expect("it can be made");
        fs::write(fixture.join("other/sha256/x"), b"").expect("it can be written");
        let path = fixture.join("three").join(link);
        if link == "blobs" {
            fs::remove_dir(&path).expect("it is empty");
        }
        symlink(target, path).expect("a link can be made");
        let before = commune.pool();
        let run = fixture.run(&[&GC[..], &NAMES].concat());
        run.refused().warns("it has its own in `three/blobs");
        assert_eq!(commune.pool(), before);
    }
}

#[test]
fn a_directory_without_blobs_is_refused() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    fs::create_dir_all(fixture.join("empty")).expect("it can be made");
    fs::create_dir_all(fixture.join("linked")).expect("it can be made");
    symlink("../pool/sha256", fixture.join("linked/sha256")).expect("a link can be made");
    let before = commune.pool();
    for (pool, why) in [
        ("empty", "there is no directory `sha256`"),
        ("linked", "`linked/sha256` is a symbolic link"),
    ] {
        let args = ["gc", "--grace", "0", "--shared-blobs", pool];
        let run = fixture.run(&[&args[..], &NAMES].concat());
        run.refused().warns(why);
        assert_eq!(commune.pool(), before);
    }
}

/// The shared blobs may be the `blobs` of a layout, which must then be given as well.
#[test]
fn the_owner_of_shared_blobs_must_be_given() {
    let fixture = TestDir::new();
    let (_, owned) = fixture.layout("owner");
    let mut other = LayoutBuilder::at(&fixture.join("other"));
    fs::remove_dir_all(other.join("blobs")).expect("it can be removed");
    symlink("../owner/blobs", other.join("blobs")).expect("a link can be made");
    let image = other.image("linux/amd64", "other", &[b"other"]);
    other.entry(image.manifest.clone().tagged("v1"));
    other.write();
    let pool = fixture.join("owner/blobs/sha256");
    let before = digests(&pool);
    let gc = ["gc", "--grace", "0", "--shared-blobs", "owner/blobs"];
    let run = fixture.run(&[&gc[..], &["other"]].concat());
    run.refused()
        .warns("owner`, which is not among those given");
    // The note that it is the only one, the error and its hint.
    assert_eq!(run.stderr.trim_end().lines().count(), 3, "{}", run.all());
    run.warns("hint: give every layout that uses these blobs");
    assert_eq!(digests(&pool), before);
    fixture.run(&[&gc[..], &["other", "owner"]].concat()).ok();
    let needed: BTreeSet<String> = [owned.digests(), image.digests()]
        .concat()
        .into_iter()
        .collect();
    assert_eq!(digests(&pool), needed);
}

/// Without `--shared-blobs` the owner of the blobs looks like any other layout, but not if both are given.
#[test]
fn an_owner_is_refused_together_with_a_layout_that_uses_its_blobs() {
    for link in ["blobs", "blobs/sha256"] {
        let fixture = TestDir::new();
        fixture.layout("tree/owner");
        fixture.layout("tree/alone");
        let mut user = LayoutBuilder::at(&fixture.join("tree/user"));
        fs::remove_dir_all(user.join(link)).expect("it can be removed");
        let target = format!("{}/owner/{link}", fixture.join("tree").display());
        symlink(target, user.join(link)).expect("a link can be made");
        let image = user.image("linux/amd64", "user", &[b"user"]);
        user.entry(image.manifest.clone().tagged("v1"));
        user.write();
        let before = digests(&fixture.join("tree/owner/blobs/sha256"));
        let df = fixture.run(&["df", "--grace", "0", "--format", "json", "-r", "tree"]);
        let df = number(&df.json(), "/total/reclaimable_bytes");
        for command in [
            &["gc", "--grace", "0"][..],
            &["prune", "-f", "--grace", "0"],
            &["gc", "-n", "--grace", "0"],
        ] {
            let args = [command, &["--format", "json", "-r", "tree"]].concat();
            let run = fixture.run(&args);
            let json = run.refused().json();
            let states = of_layouts(&json, "state");
            assert_eq!(states[1..], ["refused", "refused"], "{}", run.all());
            run.warns("cannot sweep `tree/owner`: `tree/user` uses the same blobs");
            assert_eq!(digests(&fixture.join("tree/owner/blobs/sha256")), before);
        }
        assert_eq!(df, 20, "only the orphan of the independent layout");
        let run = fixture.run(&["blobs", "--unreferenced", "--grace", "0", "-r", "tree"]);
        run.refused().keeps_quiet_about("owner");
    }
}

#[test]
fn a_tree_is_searched_completely_or_refused() {
    let commune = Commune::new(Way::Algorithm);
    let fixture = &commune.fixture;
    let before = commune.pool();
    let run = fixture.run(&[&GC[..], &["-r", "one", "two", "three", "nowhere"]].concat());
    run.exits(3).warns("could be searched for layouts");
    assert_eq!(commune.pool(), before);
    let run = fixture.run(&[&GC[..], &["-r", "."]].concat());
    run.ok();
    assert_eq!(commune.pool(), commune.needed(), "{}", run.all());
}

/// A writer writes shared blobs first and its index last, while others write concurrently.
#[test]
fn unreferenced_shared_blobs_are_in_flight_while_recent() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let now = std::time::SystemTime::now();
    let minutes = |n: u64| now - Duration::from_secs(60 * n);
    let set = |path: &Path, time| crate::support::layout::set_modified(path, time);
    for (name, age) in [("one", 50), ("two", 2), ("three", 1)] {
        set(&fixture.join(name).join("index.json"), minutes(age));
    }
    let blob = |digest: &str| fixture.join("pool").join(digest.replacen(':', "/", 1));
    // A blob that one of them has just listed is not an orphan to the others either.
    for digest in commune.needed() {
        set(&blob(&digest), minutes(0));
    }
    for digest in &commune.orphans {
        set(&blob(digest), minutes(65));
    }
    let layer = Desc::of("x", b"an unrelated orphan").digest;
    set(&blob(&layer), minutes(55));
    let args = ["gc", "--shared-blobs", "pool"];
    let run = fixture.run(&[&args[..], &NAMES].concat());
    run.ok()
        .says(&format!("Kept: {layer} (in flight"))
        .ends_with_line("kept 19B: 1 blob in flight (`--grace`); `--grace 0` deletes it if no writer is at work");
    let mut kept = commune.needed();
    kept.insert(layer.clone());
    assert_eq!(commune.pool(), kept, "{}", run.all());
    fixture
        .run(&[&args[..], &["--grace", "0"], &NAMES].concat())
        .ok();
    assert_eq!(commune.pool(), commune.needed());
}

/// Blobs that another layout has just listed are not a sign of a writer; a temporary file in any of them is.
#[test]
fn blobs_released_by_a_prune_of_a_shared_store_are_kept_while_a_writer_is_active() {
    let args = [
        "prune",
        "-f",
        "-a",
        "--keep",
        "*:none",
        "--allow-empty",
        "--shared-blobs",
        "pool",
    ];
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    for digest in &commune.orphans {
        let path = fixture.join("pool").join(digest.replacen(':', "/", 1));
        let old = std::time::SystemTime::now() - Duration::from_secs(3 * 3600);
        crate::support::layout::set_modified(&path, old);
    }
    fs::write(fixture.join("three/oci-put-blob123456789"), b"").expect("it can be written");
    let run = fixture.run(&[&args[..], &NAMES].concat());
    run.ok()
        .says("kept: a writer is at work (oci-put-blob123456789); gc deletes them later");
    for digest in commune.needed() {
        assert!(commune.pool().contains(&digest), "{}", run.all());
    }
    // A writer of another layout may list a released blob.
    let sweep = ["gc", "--allow-empty", "--shared-blobs", "pool"];
    for again in [&args[..], &sweep] {
        let run = fixture.run(&[again, &NAMES].concat());
        run.ok().says("(released while a writer was at work)");
        for digest in commune.needed() {
            assert!(commune.pool().contains(&digest), "{}", run.all());
        }
    }
    let note = |name: &str| fixture.join(name).join(".ocisweep/released.json");
    assert!(NAMES.iter().all(|name| note(name).exists()));
    fs::write(note("two"), b"no note").expect("it can be written");
    let run = fixture.run(&[&sweep[..], &NAMES].concat());
    run.exits(3)
        .warns("cannot parse `two/.ocisweep/released.json`");
    fs::write(note("two"), b"{\"schema_version\":1,\"blobs\":[]}").expect("it can be written");
    fs::remove_file(fixture.join("three/oci-put-blob123456789")).expect("it can be removed");
    let run = fixture.run(
        &[
            &[
                "gc",
                "--allow-empty",
                "--grace",
                "0",
                "--shared-blobs",
                "pool",
            ][..],
            &NAMES,
        ]
        .concat(),
    );
    run.ok();
    assert!(commune.pool().is_empty(), "{}", run.all());
    assert!(!NAMES.iter().any(|name| note(name).exists()));
}

#[test]
fn stale_temporary_files_of_every_layout_are_removed() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    for name in NAMES {
        let path = fixture.join(name).join("oci-put-blob123456789");
        fs::write(&path, vec![0; 1000]).expect("it can be written");
        let old = std::time::SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
        crate::support::layout::set_modified(&path, old);
    }
    let run = fixture.run(&[&GC[..], &["--format", "json"], &NAMES].concat());
    let json = run.ok().json();
    assert_eq!(number(&json, "/totals/temporary_bytes"), 3000);
    for name in NAMES {
        assert!(!fixture.join(name).join("oci-put-blob123456789").exists());
    }
    assert_eq!(commune.pool(), commune.needed());
}

#[test]
fn one_busy_layout_makes_the_shared_blobs_busy() {
    let commune = Commune::new(Way::Algorithm);
    let fixture = &commune.fixture;
    let lock = fs::File::create(fixture.join("three/index.json.lock")).expect("it can be made");
    let _lock = FileLock::of(lock);
    let before = commune.pool();
    let run = fixture.run(&[&GC[..], &["--lock-wait", "0s"], &NAMES].concat());
    run.exits(6).warns("cannot lock `three`");
    assert_eq!(commune.pool(), before);
    // The locks of the others are released.
    for name in ["one", "two"] {
        assert!(!fixture.join(name).join("index.json.lock").exists());
    }
}

#[test]
fn shared_blobs_are_listed_and_measured() {
    for way in WAYS {
        let commune = Commune::new(way);
        let fixture = &commune.fixture;
        let shared = ["--shared-blobs", "pool", "--format", "json"];
        let json = fixture
            .run(&[&["ls"], &shared[..], &NAMES].concat())
            .ok()
            .json();
        for at in 0..3 {
            let image = &json["layouts"][at]["images"][0];
            assert_eq!(image["state"], "whole", "{way:?} {json:#}");
        }
        let df = ["df", "--grace", "0"];
        let json = fixture
            .run(&[&df, &shared[..], &NAMES].concat())
            .ok()
            .json();
        let all = fixture.bytes(|path| path.starts_with("pool")).sum();
        assert_eq!(number(&json, "/total/size_bytes"), all, "{way:?}");
        let reclaimable = number(&json, "/total/reclaimable_bytes");
        let gc = fixture.run(&[&GC[..], &["--format", "json"], &NAMES].concat());
        let freed = number(&gc.ok().json(), "/totals/reclaimed_bytes");
        assert_eq!(reclaimable, freed, "{way:?}");
        assert!(freed > 0);
        let json = fixture
            .run(&[&df, &shared[..], &NAMES].concat())
            .ok()
            .json();
        assert_eq!(number(&json, "/total/size_bytes"), all - freed);
        assert_eq!(number(&json, "/total/reclaimable_bytes"), 0);
    }
}

/// Blobs of the others are not orphans of a layout, and damage is reported for the layouts that need the blob.
#[test]
fn each_layout_with_shared_blobs_is_checked() {
    for way in WAYS {
        let commune = Commune::new(way);
        let fixture = &commune.fixture;
        let check = ["check", "--shared-blobs", "pool", "--format", "json"];
        let run = fixture.run(&[&check, &NAMES[..]].concat());
        let json = run.ok().json();
        assert_eq!(number(&json, "/damaged"), 0, "{way:?} {}", run.all());
        for (at, need) in commune.needs.iter().enumerate() {
            let verified = number(&json, &format!("/layouts/{at}/verified/blobs"));
            assert_eq!(verified, need.len() as u64, "{way:?} {}", run.all());
            let orphans = json["layouts"][at]["classes"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|class| class["class"] == "orphan");
            assert!(
                orphans.is_none_or(|class| class["blobs"] == 0),
                "{}",
                run.all()
            );
        }
        let [one, others @ ..] = commune.needs.as_slice() else {
            panic!("there are three");
        };
        let own = one
            .iter()
            .find(|digest| !others.iter().any(|need| need.contains(*digest)));
        let own = own
            .expect("each has blobs of its own")
            .replace("sha256:", "pool/sha256/");
        let file = fixture.join(&own);
        let bytes = fs::read(&file).expect("a blob can be read");
        fs::write(&file, vec![b'x'; bytes.len()]).expect("a blob can be written");
        let run = fixture.run(&[&check, &NAMES[..]].concat());
        run.exits(1);
        let json = run.json();
        assert_eq!(
            number(&json, "/layouts/0/damaged"),
            1,
            "{way:?} {}",
            run.all()
        );
        assert_eq!(number(&json, "/damaged"), 1, "{way:?} {}", run.all());
    }
}

/// Removing an image from one layout deletes the blobs that no other layout needs.
#[test]
fn prune_removes_entries_and_blobs_that_no_layout_then_needs() {
    for way in WAYS {
        let commune = Commune::new(way);
        let fixture = &commune.fixture;
        let prune = [ASK, &["-f"]].concat();
        let shared = ["--shared-blobs", "pool", "--format", "json"];
        // The second layout gets a name that is kept.
        let index = fs::read_to_string(fixture.join("two/index.json")).expect("it can be read");
        fs::write(
            fixture.join("two/index.json"),
            index.replace("\"v1\"", "\"v2\""),
        )
        .expect("it can be written");
        let before = fixture.bytes(|path| path.starts_with("pool"));
        let pictures = NAMES.map(|name| snapshot(&fixture.join(name)));
        let dry = fixture.run(&[&prune[..], &shared, &["-n"], &NAMES].concat());
        let dry = dry.ok().json();
        for (name, picture) in NAMES.iter().zip(&pictures) {
            assert_same(picture, &snapshot(&fixture.join(name)), "a dry run");
        }
        let run = fixture.run(&[&prune[..], &shared, &NAMES].concat());
        let ran = run.ok().json();
        assert_eq!(commune.pool(), commune.needs[1], "{way:?}\n{}", run.all());
        let counts = NAMES.map(|name| crate::support::files::entries(&fixture.join(name)).len());
        assert_eq!(counts, [0, 1, 0], "{way:?}");
        let after = fixture.bytes(|path| path.starts_with("pool"));
        assert_eq!(
            number(&ran, "/totals/reclaimed_bytes"),
            before.sum() - after.sum(),
            "{way:?}"
        );
        assert_eq!(dry["totals"], ran["totals"], "{way:?}");
        let again = fixture.run(&[&prune[..], &shared, &NAMES].concat());
        assert_eq!(number(&again.ok().json(), "/totals/blobs"), 0);
    }
}

#[test]
fn prune_of_shared_blobs_is_refused_completely() {
    type Harm = fn(&Commune);
    let harms: [(&[&str], Harm); 3] = [
        // Without --allow-empty no layout loses its last image.
        (&["-a"], |_| {}),
        (&["-a", "--allow-empty"], |commune| {
            fs::write(commune.fixture.join("two/index.json"), b"{").expect("it can be written");
        }),
        (&["-a", "--allow-empty", "--lock-wait", "0s"], |commune| {
            let lock = fs::File::create(commune.fixture.join("three/index.json.lock"));
            // Held until the tests end.
            std::mem::forget(FileLock::of(lock.expect("it can be made")));
        }),
    ];
    for (args, harm) in harms {
        let commune = Commune::new(Way::Algorithm);
        let fixture = &commune.fixture;
        harm(&commune);
        let before = (
            commune.pool(),
            fs::read(fixture.join("one/index.json")).ok(),
        );
        let prune = ["prune", "-f", "--grace", "0", "--shared-blobs", "pool"];
        let run = fixture.run(&[&prune[..], args, &NAMES].concat());
        assert!(matches!(run.code, Some(3 | 6)), "{}", run.all());
        let after = (
            commune.pool(),
            fs::read(fixture.join("one/index.json")).ok(),
        );
        assert!(before == after, "{args:?}\n{}", run.all());
    }
    // Flags without a meaning for shared blobs are refused by the command line.
    let commune = Commune::new(Way::Empty);
    let prune = [
        "prune",
        "-f",
        "--shared-blobs",
        "pool",
        "--remove-empty-layouts",
    ];
    let run = commune.fixture.run(&[&prune[..], &NAMES].concat());
    run.exits(2);
}

/// Layouts of skopeo and LXC: refused alone, with a hint that works, and swept together.
#[test]
fn recorded_layouts_with_shared_blobs_are_refused_alone_and_swept_together() {
    for (case, layouts, pool) in [
        ("skopeo-shared", ["one", "two"], "shared"),
        ("lxc-shared", ["c1/oci", "c2/oci"], "cache"),
    ] {
        let unpacked = unpack(case);
        let run = |args: &[&str]| {
            crate::support::Cmd::new(args)
                .current_dir(&unpacked.root)
                .run()
        };
        let blobs = unpacked.root.join(pool).join("sha256");
        let before = digests(&blobs);
        for layout in layouts {
            let alone = run(&["gc", "--grace", "0", layout]);
            alone.refused().one_error_with_hint();
            alone.warns("`ocisweep gc --shared-blobs ").warns(layout);
            assert_eq!(digests(&blobs), before);
        }
        let gc = ["gc", "--grace", "0", "--shared-blobs", pool];
        let all = run(&[&gc[..], &layouts].concat());
        all.ok().says("Total reclaimed space: 0B");
        assert_eq!(digests(&blobs), before, "{}", all.all());
        let orphan = blobs.join("ab".repeat(32));
        fs::write(&orphan, b"an orphan").expect("it can be written");
        run(&[&gc[..], &layouts].concat())
            .ok()
            .says("Total reclaimed space: 9B");
        assert_eq!(digests(&blobs), before);
        // With only one of them, blobs that the other needs are deleted, which is why all must be given.
        let dry = run(&[&gc[..], &["-n", layouts[0]]].concat());
        dry.ok().says("Would delete:");
        let ls = run(&[&["ls", "--shared-blobs", pool], &layouts[..]].concat());
        ls.ok();
    }
}

/// Images that a file of another tool lists in one of the layouts are needed like those in its `index.json`.
#[test]
fn a_second_index_of_any_layout_keeps_shared_blobs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let orphans: Vec<String> = commune.orphans.iter().cloned().collect();
    let lists = orphans
        .iter()
        .map(|digest| format!(r#"{{"digest":"{digest}","size":1}}"#));
    let text = format!("[{}]", lists.collect::<Vec<_>>().join(","));
    fs::write(fixture.join("two/other.json"), &text).expect("it can be written");
    let before = commune.pool();
    let run = fixture.run(&[&GC[..], &NAMES].concat());
    run.ok().says("Total reclaimed space: 0B");
    assert_eq!(commune.pool(), before, "{}", run.all());
    let torn = text.trim_end_matches(']');
    fs::write(fixture.join("two/other.json"), torn).expect("it can be written");
    let run = fixture.run(&[&GC[..], &NAMES].concat());
    run.refused().warns("two/other.json");
    assert_eq!(commune.pool(), before, "{}", run.all());
    let run = fixture.run(&[&GC[..], &["--ignore-index", "other.json"], &NAMES].concat());
    run.ok();
    assert_eq!(commune.pool(), commune.needed(), "{}", run.all());
}

const SHARED: [&str; 2] = ["--shared-blobs", "pool"];

/// Returns the blobs that only the layout at this position references.
fn own(commune: &Commune, position: usize) -> BTreeSet<String> {
    let others = commune.needs.iter().enumerate();
    let others: BTreeSet<&String> = others
        .filter(|(other, _)| *other != position)
        .flat_map(|(_, need)| need)
        .collect();
    let need = commune.needs.get(position).expect("there are three");
    need.iter()
        .filter(|digest| !others.contains(digest))
        .cloned()
        .collect()
}

#[test]
fn rm_deletes_shared_blobs_that_no_other_layout_references() {
    for way in WAYS {
        let commune = Commune::new(way);
        let fixture = &commune.fixture;
        let rm = ["rm", "--grace", "0", "one", "v1"];
        let with = ["--with", "two", "--with", "three"];
        let before = commune.pool();
        let bytes = fixture.bytes(|path| path.starts_with("pool"));
        let others = || ["two", "three"].map(|name| snapshot(&fixture.join(name)));
        let pictures = others();
        let dry = fixture.run(&[&rm[..], &SHARED, &with, &["-n", "--format", "json"]].concat());
        let dry = dry.ok().json();
        assert_eq!(commune.pool(), before, "{way:?}");
        let run = fixture.run(&[&rm[..], &SHARED, &with, &["--format", "json"]].concat());
        let ran = run.ok().json();
        let gone = own(&commune, 0);
        assert!(!gone.is_empty());
        let expected: BTreeSet<String> = before.difference(&gone).cloned().collect();
        assert_eq!(commune.pool(), expected, "{way:?}\n{}", run.all());
        let after = fixture.bytes(|path| path.starts_with("pool"));
        let freed = bytes.sum() - after.sum();
        assert_eq!(number(&ran, "/totals/reclaimed_bytes"), freed, "{way:?}");
        assert_eq!(dry["totals"], ran["totals"], "{way:?}");
        assert_eq!(
            crate::support::files::entries(&fixture.join("one")).len(),
            0
        );
        for (old, new) in pictures.iter().zip(others()) {
            let new = without_directory_times(&new);
            assert_same(&without_directory_times(old), &new, &run.all());
        }
    }
}

#[test]
fn rm_reports_shared_blobs_that_other_layouts_keep() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    // Searching a tree finds the others as well.
    let run = fixture.run(&[&["rm", "one", "v1", "--with", "."], &SHARED[..]].concat());
    run.ok()
        .says("Untagged: v1")
        .says("kept: 1 blob also used by other layouts");
}

/// Blobs that only a damaged document references are left to a sweep of the shared blobs, which deletes them.
#[test]
fn blobs_left_by_a_damaged_document_are_reported() {
    for is_sweep in [false, true] {
        let commune = Commune::new(Way::Empty);
        let fixture = &commune.fixture;
        let index = fs::read_to_string(fixture.join("one/index.json")).expect("it is there");
        let listed = commune.needs[0]
            .iter()
            .find(|digest| index.contains(*digest));
        let damaged = listed.expect("it lists its manifest");
        let file = damaged.replacen("sha256:", "pool/sha256/", 1);
        let bytes = fs::read(fixture.join(&file)).expect("it is there");
        fs::write(fixture.join(&file), [&bytes[..], b" "].concat()).expect("it can be written");
        set_modified(
            &fixture.join(&file),
            SystemTime::now() - Duration::from_secs(7200),
        );
        let words: &[&str] = match is_sweep {
            false => &["rm", "one", "v1", "--with", "two", "--with", "three"],
            true => &[
                "prune",
                "-fa",
                "--keep",
                "v1",
                "--allow-empty",
                "one",
                "two",
                "three",
            ],
        };
        if is_sweep {
            // Its name is no longer one that a rule keeps.
            let index = index.replace("\"v1\"", "\"old\"");
            fs::write(fixture.join("one/index.json"), index).expect("it can be written");
        }
        let run = fixture.run(&[words, &SHARED, &["--grace", "0"]].concat());
        run.ok().warns(&format!("{damaged} is removed"));
        let left = "; `ocisweep gc --shared-blobs pool LAYOUT...` deletes the blobs that only it referenced";
        assert_eq!(run.stderr.contains(left), !is_sweep, "{}", run.all());
        let none = "; no blob that only it referenced is left";
        assert_eq!(run.stderr.contains(none), is_sweep, "{}", run.all());
        let layers = own(&commune, 0);
        let left = layers.intersection(&commune.pool()).count();
        assert_eq!(left == 0, is_sweep, "{}", run.all());
    }
}

#[test]
fn rm_with_shared_blobs_needs_every_layout_that_uses_them() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let before = commune.pool();
    let rm = ["rm", "one", "v1"];
    fixture
        .run(&[&rm[..], &SHARED].concat())
        .exits(2)
        .warns("without the other layouts")
        .warns("`--with` names each of them");
    fs::write(fixture.join("two/index.json"), b"{").expect("it can be written");
    let run = fixture.run(&[&rm[..], &SHARED, &["--with", "two", "--with", "three"]].concat());
    assert_eq!(run.code, Some(3), "{}", run.all());
    assert_eq!(commune.pool(), before);
    assert_eq!(
        crate::support::files::entries(&fixture.join("one")).len(),
        1
    );
}

/// If it counted as another layout, this would hide that the others were forgotten.
#[test]
fn the_layout_itself_is_not_one_of_the_others() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let before = commune.pool();
    for with in ["one", "./one", "two/../one"] {
        for args in [["rm", "one", "v1"], ["why", "one", "v1"]] {
            let run = fixture.run(&[&args[..], &SHARED, &["--with", with]].concat());
            run.exits(2).warns("is the layout itself");
        }
        let both = ["--with", "two", "--with", with, "--with", "three"];
        let run = fixture.run(&[&["rm", "one", "v1"][..], &SHARED, &both].concat());
        run.exits(2).warns("is the layout itself");
    }
    assert_eq!(commune.pool(), before);
}

#[test]
fn a_sweep_of_shared_blobs_with_one_layout_warns_that_others_lose_theirs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    for (layouts, is_noted) in [
        (&["one"][..], true),
        (&NAMES[..], false),
        (&["-r", "."], false),
    ] {
        for command in [&["gc", "-n"][..], &["prune", "-n"]] {
            let run = fixture.run(&[command, &SHARED[..], layouts].concat());
            let note = "is the only layout given that uses";
            assert_eq!(run.ok().stderr.contains(note), is_noted, "{}", run.all());
        }
    }
    let df = fixture.run(&[&["df", "one"][..], &SHARED].concat());
    assert!(!df.ok().stderr.contains("only layout"), "{}", df.all());
}

/// If several layouts share their blobs, the current directory is not a default.
#[test]
fn no_default_layout_is_used_with_shared_blobs() {
    let commune = Commune::new(Way::Empty);
    let before = commune.pool();
    let one = commune.fixture.join("one");
    let shared = [
        "--shared-blobs",
        "../pool",
        "--with",
        "../two",
        "--with",
        "../three",
    ];
    for args in [["rm", "v1"], ["why", "v1"]] {
        let run = Cmd::new(args).args(shared).current_dir(&one).run();
        run.exits(2).warns("needs LAYOUT");
    }
    assert_eq!(commune.pool(), before);
}

#[test]
fn why_reports_no_shared_bytes_if_other_layouts_use_the_blobs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let why = |flags: &[&str]| {
        let args = [&["why", "one", "v1", "--with", "."], &SHARED[..], flags].concat();
        fixture.run(&args)
    };
    why(&[]).ok().keeps_quiet_about("frees ").says("rm -n");
    let json = why(&["--format", "json"]).ok().json();
    let image = &json["items"][0]["image"];
    assert!(image["size_bytes"].as_u64().is_some_and(|size| size > 0));
    assert!(image["shared_bytes"].is_null() && image["unique_bytes"].is_null());
}

/// As for a single layout: blobs that the grace period protects are read, so that their kind is known.
#[test]
fn why_reads_what_the_given_grace_period_protects_in_a_pool() {
    let commune = Commune::new(Way::Empty);
    for (grace, manifests) in [("0", 0), ("36500d", 1)] {
        let reports = commune.orphans.iter().map(|orphan| {
            let why = ["why", "one", orphan, "--with", ".", "--grace", grace];
            let run = commune.fixture.run(&[&why[..], &SHARED].concat());
            run.ok().stdout.clone()
        });
        let reports: Vec<String> = reports.collect();
        let found = reports.iter().filter(|it| it.contains("orphan manifest"));
        assert_eq!(found.count(), manifests, "{grace}: {reports:?}");
    }
}

#[test]
fn a_hold_protects_an_image_with_shared_blobs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let hold = ["hold", "add", "one", "release", "v1"];
    fixture.run(&[&hold[..], &SHARED].concat()).ok();
    let run = fixture.run(&[&["rm", "one", "v1", "--with", "."], &SHARED[..]].concat());
    run.exits(1).warns("hold");
    let prune = ["prune", "-f", "-a", "--allow-empty", "--grace", "0"];
    fixture.run(&[&prune[..], &SHARED, &NAMES].concat()).ok();
    let one = commune.needs.first().expect("there are three");
    assert_eq!(&commune.pool(), one);
}

#[test]
fn why_reports_what_a_sweep_of_shared_blobs_would_do() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let why = |digest: &str| {
        let args = ["why", "--grace", "0", "one", digest, "--with", "."];
        fixture.run(&[&args[..], &SHARED].concat())
    };
    let mine = own(&commune, 0);
    why(mine.first().expect("it has some")).ok().says("v1");
    let other = own(&commune, 1);
    let other = other.first().expect("it has some");
    why(other)
        .ok()
        .says("another layout that shares the blobs references it");
    let orphan = commune.orphans.first().expect("there are some");
    why(orphan).ok().says("`gc` would delete it");
}

#[test]
fn shared_blobs_are_printed_by_layout_and_for_all_layouts() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let run = fixture.run(&[&["blobs", "--live", "one"], &SHARED[..]].concat());
    let live: BTreeSet<String> = run
        .ok()
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("blobs/sha256/"))
        .map(|hex| format!("sha256:{hex}"))
        .collect();
    assert_eq!(Some(&live), commune.needs.first());
    let blobs = ["blobs", "--unreferenced", "--grace", "0"];
    let run = fixture.run(&[&blobs[..], &SHARED, &NAMES].concat());
    let dead: BTreeSet<String> = run
        .ok()
        .stdout
        .lines()
        .map(|line| {
            line.strip_prefix("pool/sha256/")
                .expect("paths of the shared blobs")
        })
        .map(|hex| format!("sha256:{hex}"))
        .collect();
    assert_eq!(dead, commune.orphans);
}

/// The layouts are searched once, and a path that contains a newline is refused.
#[test]
fn shared_blobs_are_found_once_and_printed_as_lines() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let blobs = ["blobs", "--unreferenced", "--grace", "0"];
    let run = fixture.run(&[&blobs[..], &SHARED, &NAMES, &["one/"]].concat());
    let notes = run.ok().stderr.matches("are the same layout").count();
    assert_eq!(notes, 1, "{}", run.all());
    fs::rename(fixture.join("pool"), fixture.join("odd\npool")).expect("it can be moved");
    let odd = ["--shared-blobs", "odd\npool"];
    let run = fixture.run(&[&blobs[..], &odd, &NAMES].concat());
    run.exits(2).one_error_with_hint();
    assert_eq!(run.stdout, "", "{}", run.all());
    let run = fixture.run(&[&blobs[..], &odd, &["-0"], &NAMES].concat());
    let paths = run.ok().stdout.matches("odd\npool/sha256/").count();
    assert_eq!(paths, commune.orphans.len(), "{}", run.all());
}

#[test]
fn df_measures_each_image_with_shared_blobs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let df = ["df", "-v", "--format", "json"];
    let json = fixture
        .run(&[&df[..], &SHARED, &NAMES].concat())
        .ok()
        .json();
    for position in 0..NAMES.len() {
        let unique: u64 = own(&commune, position)
            .iter()
            .map(|digest| {
                let file = fixture.join(&digest.replace("sha256:", "pool/sha256/"));
                fs::metadata(file).expect("it is there").len()
            })
            .sum();
        let path = format!("/layouts/{position}/items/0/unique_bytes");
        assert_eq!(number(&json, &path), unique, "{json:#}");
    }
    let text = fixture.run(&[&["df", "-v"], &SHARED[..], &NAMES].concat());
    text.ok().says("UNIQUE").says("v1");
}

#[test]
fn a_plan_for_shared_blobs_is_applied_completely_or_not_at_all() {
    let prune = [
        "prune",
        "-a",
        "--allow-empty",
        "--grace",
        "0",
        "--plan",
        "plan.json",
    ];
    let keep = ["--keep-from", "keep"];
    let planned = || {
        let commune = Commune::new(Way::Empty);
        let fixture = &commune.fixture;
        let index = fs::read_to_string(fixture.join("two/index.json")).expect("it can be read");
        let index = index.replace("\"v1\"", "\"v2\"");
        fs::write(fixture.join("two/index.json"), index).expect("it can be written");
        fs::write(fixture.join("keep"), "v2\n").expect("it can be written");
        let before = commune.pool();
        fixture
            .run(&[&prune[..], &keep, &SHARED, &NAMES].concat())
            .ok();
        assert_eq!(commune.pool(), before);
        commune
    };
    let commune = planned();
    let apply = commune.fixture.run(&["apply", "plan.json"]);
    apply.ok();
    assert_eq!(commune.pool(), commune.needs[1], "{}", apply.all());

    // Another layout changed: nothing is done.
    let commune = planned();
    let two = commune.fixture.join("two/index.json");
    let index = fs::read_to_string(&two).expect("it can be read");
    fs::write(&two, index.replace("\"v2\"", "\"v3\"")).expect("it can be written");
    let before = commune.pool();
    let run = commune.fixture.run(&["apply", "plan.json"]);
    run.exits(3).warns("two");
    assert_eq!(commune.pool(), before);
    assert_eq!(
        crate::support::files::entries(&commune.fixture.join("one")).len(),
        1
    );
}

/// A blob that several layouts reference is one file.
#[test]
fn a_budget_counts_shared_blobs_once() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let pool = |digest: &String| {
        let hex = digest.trim_start_matches("sha256:");
        let path = fixture.join("pool/sha256").join(hex);
        fs::metadata(path).expect("it is there").len()
    };
    let needed: u64 = commune.needed().iter().map(pool).sum();
    let prune = [
        "prune",
        "-n",
        "-a",
        "--grace",
        "0",
        "--format",
        "json",
        "--max-size",
    ];
    let enough = format!("{needed}B");
    let run = fixture.run(&[&prune[..], &[&enough], &SHARED, &NAMES].concat());
    let json = run.ok().json();
    assert_eq!(json["budget"]["scope"], "tree");
    assert_eq!(json["budget"]["layouts"], NAMES.len());
    assert_eq!(json["budget"]["used_bytes"], needed, "{}", run.all());
    let too_few = format!("{}B", needed - 1);
    let run = fixture.run(&[&prune[..], &[&too_few], &SHARED, &NAMES].concat());
    run.exits(5);
}

#[test]
fn a_budget_applies_to_each_layout_with_shared_blobs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    let prune = [
        "prune",
        "-f",
        "-a",
        "--allow-empty",
        "--grace",
        "0",
        "--max-size",
    ];
    fixture
        .run(&[&prune[..], &["1GB"], &SHARED, &NAMES].concat())
        .ok();
    assert_eq!(commune.pool(), commune.needed());
    fixture
        .run(&[&prune[..], &["1B"], &SHARED, &NAMES].concat())
        .ok();
    assert_eq!(commune.pool(), BTreeSet::new());
}

const ASK: &[&str] = &[
    "prune",
    "-a",
    "--allow-empty",
    "--grace",
    "0",
    "--keep",
    "v2",
];
const QUESTION: &str = "Are you sure you want to continue? [y/N] ";

/// Adds an image to a layout with others, like a program without a lock.
fn list(commune: &Commune, layout: &str, entry: &serde_json::Value, name: &str) {
    let path = commune.fixture.join(layout).join("index.json");
    let mut index = read_index(&path);
    let mut entry = entry.clone();
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
    let entries = index["manifests"].as_array_mut();
    entries.expect("it lists entries").push(entry);
    fs::write(path, index.to_string()).expect("it can be written");
}

fn read_index(path: &Path) -> serde_json::Value {
    let text = fs::read(path).expect("there is an index.json");
    serde_json::from_slice(&text).expect("it is JSON")
}

/// Returns the first entry of a layout.
fn first_entry(commune: &Commune, layout: &str) -> serde_json::Value {
    read_index(&commune.fixture.join(layout).join("index.json"))["manifests"][0].clone()
}

/// Gives the image of the second layout the name that [`ASK`] keeps.
fn keep_two(commune: &Commune) {
    let path = commune.fixture.join("two/index.json");
    let index = fs::read_to_string(&path).expect("it can be read");
    fs::write(&path, index.replace("\"v1\"", "\"v2\"")).expect("it can be written");
}

/// Prunes the shared blobs on a terminal, runs `change` at the confirmation, and then types `answer`.
fn when_asked(commune: &Commune, answer: &str, change: impl FnOnce()) -> Option<Run> {
    let path = |name: &str| {
        let path = commune.fixture.join(name).into_os_string().into_string();
        path.expect("paths of the tests are UTF-8")
    };
    let mut words: Vec<String> = ASK.iter().map(|&word| word.to_owned()).collect();
    words.extend(["--shared-blobs".to_owned(), path("pool")]);
    words.extend(NAMES.map(path));
    let terminal = Terminal::program(words, "")?.wait_for_question();
    change();
    Some(terminal.answer(answer))
}

/// Returns the entries of the layouts and the shared blobs.
fn picture(commune: &Commune) -> (BTreeSet<String>, [Vec<u8>; 3]) {
    let index = |name: &str| fs::read(commune.fixture.join(name).join("index.json"));
    let indexes = NAMES.map(|name| index(name).expect("it can be read"));
    (commune.pool(), indexes)
}

fn short(entry: &serde_json::Value) -> String {
    let digest = entry["digest"].as_str().expect("an entry has a digest");
    digest.get(7..19).expect("a digest is long").to_owned()
}

#[test]
fn a_confirmed_prune_removes_from_each_layout_what_was_shown() {
    let commune = Commune::new(Way::Empty);
    keep_two(&commune);
    let ids = NAMES.map(|name| short(&first_entry(&commune, name)));
    let before = picture(&commune);
    let Some(run) = when_asked(&commune, "n\n", || {}) else {
        return;
    };
    run.ok().says("nothing was changed");
    assert!(picture(&commune) == before, "{}", run.all());
    let run = when_asked(&commune, "y\n", || {}).expect("there is a terminal");
    run.ok();
    assert_eq!(run.stdout.matches(QUESTION).count(), 1, "{}", run.all());
    let (shown, done) = run.stdout.split_once(QUESTION).expect("it asks");
    for (name, (id, is_removed)) in NAMES.iter().zip(ids.iter().zip([true, false, true])) {
        let path = commune.fixture.join(name).display().to_string();
        let warned = shown.contains(&format!("of {path}:\n  {id}  v1"));
        assert_eq!(warned, is_removed, "{name}\n{}", run.all());
    }
    let removed = before.0.len() - commune.needs[1].len();
    let pool = commune.fixture.join("pool").display().to_string();
    let line =
        format!("This will delete {removed} blobs of {pool} that no layout will reference.\n");
    assert!(shown.contains(&line), "{line}\n{}", run.all());
    assert_eq!(commune.pool(), commune.needs[1], "{}", run.all());
    assert_eq!(
        NAMES.map(|name| entries(&commune.fixture.join(name))),
        [0, 1, 0]
    );
    // The same bytes before and after.
    let (_, size) = shown.split_once("This reclaims ").expect("there is a size");
    let (size, _) = size.split_once(".\n").expect("a sentence ends");
    let total = format!("Total reclaimed space: {size}\n");
    assert!(done.contains(&total), "{total}\n{}", run.all());
}

/// A confirmation for one layout does not apply to another one, and a store is pruned completely or not at all.
#[test]
fn images_added_during_the_confirmation_stop_a_prune_of_shared_blobs() {
    type Change = fn(&Commune);
    let changes: [(&str, Change); 3] = [
        ("one", |commune| {
            let aside = LayoutBuilder::at(&commune.fixture.join("aside"));
            let image = aside.image("linux/amd64", "another", &[b"another layer"]);
            for digest in image.digests() {
                let path = digest.replacen(':', "/", 1);
                let from = aside.join("blobs").join(&path);
                let to = commune.fixture.join("pool").join(&path);
                fs::rename(from, to).expect("it can be moved");
            }
            let manifest = &image.manifest;
            let entry = serde_json::json!({
                "mediaType": manifest.media_type,
                "digest": manifest.digest,
                "size": manifest.size,
            });
            list(commune, "one", &entry, "v3");
        }),
        // The image that is removed from the first layout.
        ("two", |commune| {
            list(commune, "two", &first_entry(commune, "one"), "v3");
        }),
        // The image that the second layout keeps.
        ("three", |commune| {
            list(commune, "three", &first_entry(commune, "two"), "v3");
        }),
    ];
    for (name, change) in changes {
        let commune = Commune::new(Way::Empty);
        keep_two(&commune);
        let mut before = None;
        let Some(run) = when_asked(&commune, "y\n", || {
            change(&commune);
            before = Some(picture(&commune));
        }) else {
            return;
        };
        let path = commune.fixture.join(name).display().to_string();
        run.exits(3).says(QUESTION).says(&format!(
            "ocisweep: cannot prune `{path}`: more would be removed than was confirmed\n"
        ));
        run.says(
            "hint: the layout was changed concurrently and was not pruned; run the command again",
        );
        assert!(Some(picture(&commune)) == before, "{}", run.all());
        run.keeps_quiet_about("Total reclaimed space:");
    }
    // Removing less than was confirmed is allowed.
    let commune = Commune::new(Way::Empty);
    keep_two(&commune);
    let run = when_asked(&commune, "y\n", || {
        let path = commune.fixture.join("one/index.json");
        let index = fs::read_to_string(&path).expect("it can be read");
        fs::write(&path, index.replace("\"v1\"", "\"v2\"")).expect("it can be written");
    });
    run.expect("there is a terminal").ok();
    assert_eq!(
        NAMES.map(|name| entries(&commune.fixture.join(name))),
        [1, 1, 0]
    );
    let kept = commune.needs[0].union(&commune.needs[1]);
    assert_eq!(commune.pool(), kept.cloned().collect());
}

#[test]
fn a_layout_that_cannot_be_planned_is_reported_once_without_a_confirmation() {
    let commune = Commune::new(Way::Empty);
    fs::write(commune.fixture.join("two/index.json"), b"{").expect("it can be written");
    let before = picture(&commune);
    let Some(run) = when_asked(&commune, "y\n", || {}) else {
        return;
    };
    run.exits(3).keeps_quiet_about("[y/N]");
    run.keeps_quiet_about("This will")
        .keeps_quiet_about("Total reclaimed space:");
    let errors = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("ocisweep: cannot"));
    let errors: Vec<&str> = errors.collect();
    let [error] = errors[..] else {
        panic!("{}", run.all());
    };
    assert!(error.contains("two/index.json"), "{error}");
    // The store has a row, but no layout: nothing was done in any of them.
    let states: Vec<_> = rows(&run)
        .into_iter()
        .filter_map(|row| row.last().cloned())
        .collect();
    assert_eq!(
        states.first().map(String::as_str),
        Some("refused"),
        "{}",
        run.all()
    );
    assert!(picture(&commune) == before, "{}", run.all());
}

#[test]
fn bytes_that_links_keep_are_noted_once_for_shared_blobs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    fs::create_dir(fixture.join("outside")).expect("a directory can be made");
    let mut kept = 0;
    for digest in &commune.orphans {
        let path = digest.replacen(':', "/", 1);
        let blob = fixture.join("pool").join(&path);
        kept += fs::metadata(&blob).expect("it is there").len();
        let link = fixture.join("outside").join(path.replace('/', "-"));
        fs::hard_link(blob, link).expect("a link can be made");
    }
    let note = format!("{kept}B remain on disk: hard links outside this run keep them");
    let prune = ["prune", "--grace", "0", "--shared-blobs", "pool"];
    for command in [&GC[..], &prune] {
        for format in ["text", "json"] {
            let args = [command, &["-n", "--format", format], &NAMES];
            let run = fixture.run(&args.concat());
            assert_eq!(run.ok().stderr.matches(&note).count(), 1, "{}", run.all());
            assert!(!run.stdout.contains("remain on disk"), "{}", run.all());
        }
    }
    let run = fixture.run(&[&GC[..], &NAMES].concat());
    assert_eq!(run.ok().stderr.matches(&note).count(), 1, "{}", run.all());
    run.says("Total reclaimed space: 0B");
}

/// Puts a file of another program into a layout under a temporary name, as left by a killed run.
fn park(fixture: &TestDir, layout: &str) -> String {
    let (old, new) = ("0".repeat(32), "1".repeat(32));
    let name = format!(".ocisweep-swap-aB3dE6-{old}-{new}-index.json");
    let layout = fixture.join(layout);
    fs::copy(layout.join("index.json"), layout.join(&name)).expect("it can be copied");
    set_modified(&layout.join(&name), SystemTime::UNIX_EPOCH);
    name
}

/// A parked file of another program is not garbage, and a list of paths contains only paths.
#[test]
fn a_parked_file_is_noted_once_beside_a_list_of_unreferenced_blobs() {
    let commune = Commune::new(Way::Empty);
    let fixture = &commune.fixture;
    fixture.layout("alone");
    let names = ["alone", "two"].map(|layout| park(fixture, layout));
    let [name, _] = &names;
    let blobs = ["blobs", "--unreferenced", "--grace", "0"];
    for (layouts, parked) in [
        (&["alone"][..], "alone"),
        (&["-r", "alone"], "alone"),
        (&["--shared-blobs", "pool", "one", "two", "three"], "two"),
    ] {
        let run = fixture.run(&[&blobs[..], layouts].concat());
        let note = format!("`{parked}/{name}` was written by another program");
        assert_eq!(run.ok().stderr.matches(&note).count(), 1, "{}", run.all());
        assert_eq!(
            run.stderr.matches("another program").count(),
            1,
            "{}",
            run.all()
        );
        assert!(!run.stdout.contains("ocisweep"), "{}", run.all());
        let paths = run.stdout.lines().filter(|line| line.contains("sha256/"));
        assert_eq!(paths.count(), run.stdout.lines().count(), "{}", run.all());
    }
}

/// The plans before and after the confirmation both find the file.
#[test]
fn a_parked_file_is_noted_once_by_a_prune_with_confirmation() {
    let commune = Commune::new(Way::Empty);
    let name = park(&commune.fixture, "two");
    let Some(run) = when_asked(&commune, "y\n", || {}) else {
        return;
    };
    let note = format!("two/{name}` was written by another program");
    assert_eq!(run.ok().stdout.matches(&note).count(), 1, "{}", run.all());
}

/// A parked index counts even before a run that changes the layout has restored its name.
#[test]
fn blobs_that_a_parked_file_lists_are_not_unreferenced() {
    let fixture = TestDir::new();
    let (layout, image) = fixture.layout("alone");
    let theirs = layout.image("linux/amd64", "theirs", &[b"a layer of theirs"]);
    let mut index = read_index(&layout.join("index.json"));
    index["manifests"][0]["digest"] = theirs.manifest.digest.clone().into();
    index["manifests"][0]["size"] = theirs.manifest.size.into();
    let parked = park(&fixture, "alone");
    fs::write(layout.join(&parked), index.to_string()).expect("it can be written");
    set_modified(&layout.join(&parked), SystemTime::UNIX_EPOCH);
    let blobs = fixture.run(&["blobs", "--unreferenced", "--grace", "0", "alone"]);
    let listed = &blobs.ok().stdout;
    for digest in theirs.digests().iter().chain(&image.digests()) {
        assert!(
            !listed.contains(&digest["sha256:".len()..]),
            "{}",
            blobs.all()
        );
    }
    assert_eq!(listed.lines().count(), 1, "the orphan\n{}", blobs.all());
}
