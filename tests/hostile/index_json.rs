//! `index.json` and `oci-layout` after crashes, edits and attacks: one clear error, or every reference followed.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use crate::support::extent::every;
use crate::support::{Cmd, Desc, GuardedLayout, LayoutBuilder, assert_same, for_each, media};

/// Checks the items on many threads: a file that does not parse is read again after a pause, so the calls wait most of the time.
fn in_parallel<T: Sync>(items: Vec<T>, check: impl Fn(&[T]) + Sync) {
    let share = items.len().div_ceil(16).max(1);
    thread::scope(|scope| {
        for items in items.chunks(share) {
            scope.spawn(|| check(items));
        }
    });
}

/// The text of a small index.
fn text_of(fixture: &GuardedLayout) -> String {
    fs::read_to_string(fixture.builder.join("index.json")).expect("the index can be read")
}

#[test]
fn an_index_truncated_anywhere_is_refused_and_nothing_is_swept() {
    let full = text_of(&GuardedLayout::new());
    let lengths = (0..full.len()).step_by(every(3, 1));
    in_parallel(lengths.collect(), |lengths| {
        let fixture = GuardedLayout::new();
        for length in lengths {
            fs::write(fixture.builder.join("index.json"), &full[..*length])
                .expect("the index can be written");
            fixture.gc_is_refused();
        }
    });
}

#[test]
fn an_invalid_index_is_refused_and_nothing_is_swept() {
    let fixture = GuardedLayout::new();
    let full = text_of(&fixture);
    let manifest = fs::read(fixture.builder.join(&fixture.app.manifest.blob_path()));
    let manifest = manifest.expect("the manifest can be read");
    let (front, back) = full.split_at(full.len() / 2);
    let mut utf16: Vec<u8> = vec![0xff, 0xfe];
    utf16.extend(full.encode_utf16().flat_map(u16::to_le_bytes));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("blanks", b" \n\t\r\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("zeros behind", [full.as_bytes(), &[0; 512]].concat()),
        ("an array", b"[]".to_vec()),
        ("an array of an index", format!("[{full}]").into_bytes()),
        ("null", b"null".to_vec()),
        ("a number", b"5".to_vec()),
        ("a string", b"\"index\"".to_vec()),
        ("true", b"true".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("a manifest", manifest),
        (
            "another JSON",
            br#"{"name":"web app","version":1}"#.to_vec(),
        ),
        ("a BOM", format!("\u{feff}{full}").into_bytes()),
        ("UTF-16", utf16),
        (
            "invalid UTF-8",
            [&b"{\"x\":\"\xff\xfe\","[..], &full.as_bytes()[1..]].concat(),
        ),
        ("invalid UTF-8 behind", [full.as_bytes(), b"\xff"].concat()),
        ("a brace behind", format!("{full}}}").into_bytes()),
        ("an index behind", format!("{full}{full}").into_bytes()),
        (
            "the end of a longer one behind",
            format!("{full}\n{back}").into_bytes(),
        ),
        ("a hole", format!("{front}\0\0\0\0{back}").into_bytes()),
        ("single quotes", full.replace('"', "'").into_bytes()),
        ("an extra comma", full.replace("]}", ",]}").into_bytes()),
        ("a comment", format!("// hello\n{full}").into_bytes()),
        ("manifests as an object", br#"{"manifests":{}}"#.to_vec()),
        ("manifests as a string", br#"{"manifests":"none"}"#.to_vec()),
        ("manifests as a number", br#"{"manifests":0}"#.to_vec()),
        ("manifests as false", br#"{"manifests":false}"#.to_vec()),
        ("a number in manifests", br#"{"manifests":[5]}"#.to_vec()),
        ("null in manifests", br#"{"manifests":[null]}"#.to_vec()),
        ("an array in manifests", br#"{"manifests":[[]]}"#.to_vec()),
        ("an empty entry", br#"{"manifests":[{}]}"#.to_vec()),
        (
            "manifests inside",
            format!("{{\"index\":{full}}}").into_bytes(),
        ),
        (
            "manifests twice, once as an object",
            full.replacen("\"manifests\"", "\"manifests\":{},\"manifests\"", 1)
                .into_bytes(),
        ),
    ];
    in_parallel(cases, |cases| {
        for_each(
            cases,
            |(name, _)| (*name).to_owned(),
            |(_, bytes)| {
                let mut fixture = GuardedLayout::new();
                fixture.builder.raw_index(bytes).write();
                fixture.gc_is_refused();
                // Listing a file that cannot be parsed is an error as well, and not an empty list. A list with an invalid
                // entry can be shown; only removals are in doubt.
                let is_list = bytes.starts_with(b"{\"manifests\":[");
                let run = Cmd::new(["ls"]).arg(fixture.path()).run();
                assert!(is_list || run.code == Some(3), "{}", run.all());
            },
        );
    });
}

#[test]
fn an_index_that_lists_nothing_needs_a_flag() {
    let texts = [
        r#"{"schemaVersion":2,"manifests":[]}"#,
        r#"{"schemaVersion":2,"manifests":null}"#,
        r#"{"manifests":[],"manifests":null}"#,
    ];
    for_each(
        texts,
        |text| (*text).to_owned(),
        |text| {
            let mut fixture = GuardedLayout::new();
            fixture.builder.raw_index(text.as_bytes()).write();
            fixture.gc_is_refused().warns("--allow-empty");
            let run = Cmd::gc(fixture.path()).arg("--allow-empty").run();
            run.ok();
            assert!(
                !fixture.has(&fixture.orphan) && !fixture.has(&fixture.multi),
                "{}",
                run.all()
            );
            fixture.assert_outside(&run.all());
        },
    );
    // If there is nothing to lose, no flag is needed.
    let builder = LayoutBuilder::new();
    builder.write();
    Cmd::gc(builder.path()).run().ok();
}

#[test]
fn every_list_of_manifests_is_followed_whatever_its_case() {
    let frames: [fn(&str, &str) -> String; 7] = [
        // Half a surrogate is not a character, but the grammar of JSON allows it, and so do readers written in Go.
        |one, two| format!(r#"{{"x":"\ud800","manifests":[{one},{two}]}}"#),
        |one, two| format!(r#"{{"manifests":[{one}],"manifests":[{two}]}}"#),
        |one, two| format!(r#"{{"manifests":[{one}],"Manifests":[{two}]}}"#),
        |one, two| format!(r#"{{"MANIFESTS":[{one},{two}]}}"#),
        |one, two| format!(r#"{{"manifests":null,"manifeſts":[{one},{two}]}}"#),
        |one, two| format!(r#"{{"manifests":[{one},{two}],"manifests":[]}}"#),
        |one, two| format!(r#"{{"manifests":[{one}],"manifests":null,"manifests":[{two}]}}"#),
    ];
    for frame in frames {
        let mut fixture = GuardedLayout::new();
        let text = frame(
            fixture.app.manifest.clone().tagged("app").json().text(),
            fixture.multi.clone().tagged("multi").json().text(),
        );
        fixture.builder.raw_index(text.as_bytes()).write();
        fixture.gc_deletes_only_the_orphan();
        let now = text_of(&fixture);
        assert_eq!(now, text, "gc never touches index.json");
    }
}

#[test]
fn descriptors_in_index_json_outside_its_list_count() {
    let mut fixture = GuardedLayout::new();
    let subject = fixture
        .builder
        .image("linux/amd64", "subject", &[b"subject"]);
    let strange = fixture.builder.layer(b"a descriptor in a key of its own");
    let full = text_of(&fixture);
    let text = format!(
        r#"{{"subject":{},"x":{{"y":[{}]}},{}"#,
        subject.manifest.json().text(),
        strange.json().text(),
        &full[1..]
    );
    fixture.builder.raw_index(text.as_bytes()).write();
    let run = fixture.gc_deletes_only_the_orphan();
    for desc in [&subject.manifest, &subject.layers[0], &strange] {
        assert!(fixture.has(desc), "{}", run.all());
    }
}

#[test]
fn an_index_that_is_not_a_file_is_refused_without_blocking() {
    type Make = fn(&GuardedLayout);
    let kinds: [(&str, Make); 6] = [
        ("FIFO", |fixture| {
            fixture.builder.fifo("index.json");
        }),
        ("link to a FIFO", |fixture| {
            fixture.builder.fifo("pipe").symlink("index.json", "pipe");
        }),
        ("directory", |fixture| {
            fixture.builder.remove("index.json").directory("index.json");
        }),
        ("link to /dev/zero", |fixture| {
            fixture.builder.symlink("index.json", "/dev/zero");
        }),
        ("link to /dev/null", |fixture| {
            fixture.builder.symlink("index.json", "/dev/null");
        }),
        ("link to nothing", |fixture| {
            fixture.builder.symlink("index.json", "nowhere");
        }),
    ];
    for_each(
        kinds,
        |(name, _)| (*name).to_owned(),
        |(_, make)| {
            let fixture = GuardedLayout::new();
            make(&fixture);
            fixture.gc_is_refused();
            for call in [["ls"], ["df"]] {
                let run = Cmd::new(call).arg(fixture.path()).run();
                run.refused();
            }
        },
    );
}

#[test]
fn an_index_that_is_a_link_to_itself_is_an_error() {
    let fixture = GuardedLayout::new();
    fixture.builder.symlink("index.json", "index.json");
    let before = fixture.picture();
    let run = fixture.gc();
    assert!(matches!(run.code, Some(3 | 4)), "{}", run.all());
    run.one_error();
    assert_same(&before, &fixture.picture(), &run.all());
}

#[test]
fn a_linked_index_is_read_through_the_link() {
    let fixture = GuardedLayout::new();
    let text = text_of(&fixture);
    let real = fixture.builder.outside().join("the real index.json");
    fs::rename(fixture.builder.join("index.json"), &real).expect("the index can be moved");
    symlink(&real, fixture.builder.join("index.json")).expect("the link can be made");
    let run = fixture.gc_deletes_only_the_orphan();
    let link = fs::read_link(fixture.builder.join("index.json"));
    assert_eq!(link.ok().as_deref(), Some(real.as_path()), "{}", run.all());
    assert_eq!(fs::read_to_string(real).ok(), Some(text), "{}", run.all());
}

#[test]
fn a_layout_without_its_marker_is_accepted_if_it_has_blobs() {
    let fixture = GuardedLayout::new();
    fixture.builder.without_marker();
    fixture.gc_deletes_only_the_orphan();
}

#[test]
fn a_marker_with_additional_members_is_accepted() {
    let fixture = GuardedLayout::new();
    let text = b"\n {\"x\": [1], \"imageLayoutVersion\": \"1.0.0\", \"y\": null} \n";
    fixture.builder.file("oci-layout", text);
    fixture.gc_deletes_only_the_orphan();
}

#[test]
fn a_marker_of_another_version_or_none_at_all_is_refused() {
    let texts: [&[u8]; 14] = [
        br#"{"imageLayoutVersion":"2.0.0"}"#,
        br#"{"imageLayoutVersion":"1.1.0"}"#,
        br#"{"imageLayoutVersion":"1.0.0 "}"#,
        br#"{"imageLayoutVersion":"1.0"}"#,
        br#"{"imageLayoutVersion":""}"#,
        br#"{"imageLayoutVersion":1.0}"#,
        br#"{"imageLayoutVersion":null}"#,
        br#"{"imageLayoutVersion":["1.0.0"]}"#,
        b"{}",
        b"",
        b"[]",
        b"1.0.0",
        b"{\"imageLayoutVersion\":\"1.0.0\"",
        b"\xff\xfe\0\0",
    ];
    for_each(
        texts,
        |text| String::from_utf8_lossy(text).into_owned(),
        |text| {
            let fixture = GuardedLayout::new();
            fixture.builder.file("oci-layout", text);
            fixture.gc_is_refused();
        },
    );
}

#[test]
fn a_marker_that_is_not_a_file_is_refused_without_blocking() {
    let fixture = GuardedLayout::new();
    fixture.builder.fifo("oci-layout");
    fixture.gc_is_refused();
    for target in ["/dev/zero", "/dev/null", "nowhere", "oci-layout"] {
        let fixture = GuardedLayout::new();
        fixture.builder.symlink("oci-layout", target);
        let before = fixture.picture();
        let run = fixture.gc();
        assert!(matches!(run.code, Some(3 | 4)), "{target}\n{}", run.all());
        run.one_error();
        assert_same(&before, &fixture.picture(), &run.all());
    }
}

#[test]
fn a_missing_root_needs_a_flag() {
    for media_type in [
        media::MANIFEST,
        media::INDEX,
        media::DOCKER_LIST,
        media::STRANGE,
    ] {
        let mut fixture = GuardedLayout::new();
        let missing = Desc::missing(media_type, "gone");
        fixture.builder.tag(&missing, "gone").write();
        let run = fixture.gc_is_refused();
        run.warns(&missing.digest)
            .warns("gone")
            .warns("--allow-missing");
        let run = Cmd::gc(fixture.path()).arg("--allow-missing").run();
        run.ok();
        assert!(!fixture.has(&fixture.orphan), "{}", run.all());
        fixture.assert_whole(&run.all());
    }
}

#[test]
fn allowing_missing_documents_allows_no_damaged_ones() {
    let mut fixture = GuardedLayout::new();
    let missing = Desc::missing(media::MANIFEST, "gone");
    fixture.builder.tag(&missing, "gone").write();
    fixture.builder.file(&fixture.app.manifest.blob_path(), b"");
    let before = fixture.picture();
    let run = Cmd::gc(fixture.path())
        .args(["--allow-missing", "--allow-empty"])
        .run();
    run.refused().warns(&fixture.app.manifest.digest);
    assert_same(&before, &fixture.picture(), &run.all());
}

#[test]
fn missing_children_configs_and_layers_are_normal() {
    let fixture = GuardedLayout::new();
    fixture
        .builder
        .drop_blob(&fixture.arm64.manifest)
        .drop_blob(&fixture.amd64.config)
        .drop_blob(&fixture.app.layers[0]);
    let run = fixture.gc();
    run.ok();
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    // Blobs that only the missing manifest references are garbage: their references are unknown.
    for desc in [
        &fixture.app.layers[1],
        &fixture.amd64.layers[0],
        &fixture.multi,
    ] {
        assert!(fixture.has(desc), "{}", run.all());
    }
    assert!(!fixture.has(&fixture.arm64.layers[0]), "{}", run.all());
}
