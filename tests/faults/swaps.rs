//! Another program renames its own file into place while the program replaces that file: its version is in place in the end,
//! even if the program is killed in between.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::commands::RM;
use crate::stall::Stalled;
use crate::strace::Recording;
use crate::support::environment::has_strace;
use crate::support::layout::set_modified;
use crate::support::samples::make_old;
use crate::support::{Cmd, Files, FullLayout, Image, snapshot};

/// A file that `rm` replaces, and another program at the same time.
#[derive(Clone, Copy, Debug)]
enum Target {
    Index,
    Saved,
}

const TARGETS: [Target; 2] = [Target::Index, Target::Saved];

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Index => "index.json",
            Self::Saved => "manifest.json",
        }
    }

    /// Returns the version of another program: with one more image.
    fn updated(self, fixture: &FullLayout, image: &Image, name: &str) -> Vec<u8> {
        let text = fs::read(fixture.builder.join(self.name())).expect("it can be read");
        let mut document: Value = serde_json::from_slice(&text).expect("it is JSON");
        let (list, entry) = match self {
            Self::Index => {
                let manifest = &image.manifest;
                let entry = json!({
                    "mediaType": manifest.media_type,
                    "digest": manifest.digest,
                    "size": manifest.size,
                    "annotations": {"org.opencontainers.image.ref.name": name},
                });
                (document["manifests"].as_array_mut(), entry)
            }
            Self::Saved => {
                let path = |digest: &str| format!("blobs/{}", digest.replacen(':', "/", 1));
                let layers: Vec<String> = image.layers.iter().map(|l| path(&l.digest)).collect();
                let entry = json!({
                    "Config": path(&image.config.digest),
                    "RepoTags": [name],
                    "Layers": layers,
                });
                (document.as_array_mut(), entry)
            }
        };
        list.expect("it is a list").push(entry);
        document.to_string().into_bytes()
    }

    /// Renames it into place.
    fn put(self, fixture: &FullLayout, bytes: &[u8]) {
        let temporary = fixture.builder.join("of-another-program");
        fs::write(&temporary, bytes).expect("it can be written");
        fs::rename(&temporary, fixture.builder.join(self.name())).expect("it can be renamed");
    }

    fn there(self, fixture: &FullLayout) -> String {
        fs::read_to_string(fixture.builder.join(self.name())).expect("it is there")
    }

    /// Returns the number of the call that exchanges this file with the new one.
    fn exchange(self) -> u32 {
        let fixture = FullLayout::new();
        let recording = Recording::of(&["openat", "renameat2"], &RM.on(fixture.path()));
        recording.run.ok();
        let name = format!("\"{}\"", self.name());
        let numbers = recording.numbers("renameat2", fixture.path(), |call| {
            call.text.contains(&name) && call.text.contains("RENAME_EXCHANGE")
        });
        let [number] = numbers[..] else {
            panic!("{numbers:?}\n{}", recording.all());
        };
        number
    }
}

fn image(fixture: &mut FullLayout, salt: &str) -> Image {
    let layer = format!("layer of {salt}");
    fixture
        .builder
        .image("linux/amd64", salt, &[b"base layer", layer.as_bytes()])
}

#[track_caller]
fn is_whole(fixture: &FullLayout, context: &str) {
    let broken: Vec<_> = Files::of(fixture.path()).broken().into_values().collect();
    assert!(broken.is_empty(), "{}\n{context}", broken.join("\n"));
}

/// Returns the temporary files of exchanges.
fn parked(fixture: &FullLayout) -> Vec<PathBuf> {
    let names = snapshot(fixture.path()).into_keys();
    names
        .filter(|path| path.to_string_lossy().contains(".ocisweep-swap-"))
        .collect()
}

/// `true`: just before the exchange, after the last comparison; `false`: just after it.
#[test]
fn a_file_that_another_program_renames_into_place_during_an_exchange_is_kept() {
    if !has_strace() {
        return;
    }
    for target in TARGETS {
        let exchange = target.exchange();
        for is_before in [true, false] {
            let mut fixture = FullLayout::new();
            let theirs = image(&mut fixture, "theirs");
            let update = target.updated(&fixture, &theirs, "theirs:1");
            let number = exchange - u32::from(is_before);
            let stalled =
                Stalled::after("renameat2", number, &RM.on(fixture.path())).expect("it stops");
            target.put(&fixture, &update);
            let run = stalled.go_on();
            let context = format!("{target:?} {is_before}\n{}", run.all());
            assert!(target.there(&fixture).contains("theirs:1"), "{context}");
            is_whole(&fixture, &context);
            assert_eq!(parked(&fixture), Vec::<PathBuf>::new(), "{context}");
            if is_before {
                // The comparison detects it: everything is planned again.
                run.ok();
                assert!(!target.there(&fixture).contains("app:1"), "{context}");
            }
            Cmd::gc(fixture.path()).run().ok();
            is_whole(&fixture, &context);
        }
    }
}

/// Stops the command right after the exchange that has moved another program's file to a temporary name, and kills it.
fn killed(target: Target, exchange: u32) -> (FullLayout, Vec<u8>) {
    let mut fixture = FullLayout::new();
    let theirs = image(&mut fixture, "theirs");
    let update = target.updated(&fixture, &theirs, "theirs:1");
    let stalled =
        Stalled::after_each("renameat2", exchange - 1, &RM.on(fixture.path())).expect("it stops");
    target.put(&fixture, &update);
    stalled.step();
    stalled.kill();
    assert!(!target.there(&fixture).contains("theirs:1"));
    let [parked] = &parked(&fixture)[..] else {
        panic!("{:?}", snapshot(fixture.path()).keys());
    };
    let bytes = fs::read(fixture.path().join(parked)).expect("it is there");
    assert!(bytes == update, "{}", String::from_utf8_lossy(&bytes));
    // The next run is days later.
    make_old(fixture.path());
    (fixture, update)
}

#[test]
fn a_file_that_a_killed_run_has_parked_is_restored_by_the_next_one() {
    if !has_strace() {
        return;
    }
    for target in TARGETS {
        let exchange = target.exchange();
        for command in [&["gc"][..], &["prune", "-f"], &["hold", "add"]] {
            let (fixture, update) = killed(target, exchange);
            let mut args: Vec<&str> = vec!["--grace", "0"];
            if command[0] == "hold" {
                args = vec!["pin", "app:2"];
            } else {
                let dry = Cmd::new(command)
                    .arg(fixture.path())
                    .args(&args)
                    .arg("-n")
                    .run();
                dry.ok().warns("written by another program");
                assert!(
                    !target.there(&fixture).contains("theirs:1"),
                    "{}",
                    dry.all()
                );
            }
            let run = Cmd::new(command).arg(fixture.path()).args(args).run();
            let context = format!("{target:?}\n{}", run.all());
            run.ok();
            let there = target.there(&fixture);
            assert!(there.as_bytes() == update, "{there}\n{context}");
            assert_eq!(parked(&fixture), Vec::<PathBuf>::new(), "{context}");
            is_whole(&fixture, &context);
        }
    }
}

/// A file cannot be restored if a third program has written its place since: both are kept, and what they list.
#[test]
fn a_parked_file_is_a_second_index_if_its_place_is_taken() {
    if !has_strace() {
        return;
    }
    let exchange = Target::Index.exchange();
    let (mut fixture, update) = killed(Target::Index, exchange);
    let third = image(&mut fixture, "third");
    let newer = Target::Index.updated(&fixture, &third, "third:1");
    Target::Index.put(&fixture, &newer);
    make_old(fixture.path());
    let args = ["--grace", "0", "--temp-age", "0s"];
    let run = Cmd::new(["gc"]).arg(fixture.path()).args(args).run();
    run.ok().warns("written by another program");
    assert!(Target::Index.there(&fixture).as_bytes() == newer);
    let rescued = snapshot(fixture.path()).into_keys().find(|path| {
        path.to_string_lossy().starts_with("index.rescued-")
            && path
                .extension()
                .is_some_and(|extension| extension == "json")
    });
    let rescued = rescued.unwrap_or_else(|| panic!("it is gone\n{}", run.all()));
    let bytes = fs::read(fixture.path().join(rescued)).expect("it is there");
    assert!(bytes == update, "{}", run.all());
    // Its entries are kept from now on.
    let run = Cmd::new(["gc"]).arg(fixture.path()).args(args).run();
    run.ok();
    for digest in image(&mut fixture, "theirs").digests() {
        let path = format!("blobs/{}", digest.replacen(':', "/", 1));
        let stat = fs::metadata(fixture.builder.join(&path)).expect("it is there");
        // Not rewritten just now.
        let age = SystemTime::now().duration_since(stat.modified().expect("a time"));
        assert!(age.is_ok_and(|age| age.as_secs() > 3600), "{path}");
    }
    assert_eq!(parked(&fixture), Vec::<PathBuf>::new(), "{}", run.all());
}

/// An exchange without another program's file leaves the old bytes: they are garbage like any temporary file.
#[test]
fn a_file_that_a_killed_run_has_replaced_is_swept_like_other_temporary_files() {
    if !has_strace() {
        return;
    }
    for (target, after) in [(Target::Index, 0), (Target::Index, 1), (Target::Saved, 0)] {
        let number = target.exchange() - after;
        let fixture = FullLayout::new();
        let stalled =
            Stalled::after("renameat2", number, &RM.on(fixture.path())).expect("it stops");
        stalled.kill();
        let left = parked(&fixture);
        assert_eq!(left.len(), 1, "{left:?}");
        for path in &left {
            let old = SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
            set_modified(&fixture.path().join(path), old);
        }
        let run = Cmd::new(["gc"]).arg(fixture.path()).run();
        run.ok().says("(temporary file, ");
        assert!(!run.stderr.contains("another program"), "{}", run.all());
        assert_eq!(parked(&fixture), Vec::<PathBuf>::new(), "{}", run.all());
    }
}
