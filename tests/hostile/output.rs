//! Names are untrusted: they can neither control a terminal nor forge rows.

use std::ffi::OsStr;

use crate::support::environment::{Terminal, shell};
use crate::support::extent::takes;
use crate::support::run::run;
use crate::support::{Cmd, GuardedLayout, Obj, for_each, media, with_action};

/// Hostile names.
fn names() -> Vec<String> {
    vec![
        "\u{1b}[2J\u{1b}[31mred".to_owned(),
        "\u{1b}]0;owned\u{7}".to_owned(),
        "\u{1b}]52;c;Y3VybA==\u{7}".to_owned(),
        "\u{9b}31mc1".to_owned(),
        "\u{90}dcs\u{9c}".to_owned(),
        "back\u{8}\u{8}\u{8}\u{8}space".to_owned(),
        "carriage\rreturn".to_owned(),
        "a\nmade-up   latest   123456789abc   2 days ago   1MB".to_owned(),
        "a\r\nb".to_owned(),
        "vertical\u{b}tab\u{c}feed".to_owned(),
        "next\u{85}line".to_owned(),
        "line\u{2028}separator\u{2029}".to_owned(),
        "right\u{202e}tfel".to_owned(),
        "isolate\u{2066}\u{2069}".to_owned(),
        "zero\u{200b}width\u{feff}".to_owned(),
        "tab\there".to_owned(),
        "nul\0inside".to_owned(),
        "del\u{7f}".to_owned(),
        "e\u{301}".repeat(500),
        "宽".repeat(300),
        String::new(),
        " ".to_owned(),
        ":".to_owned(),
        "@".to_owned(),
        "/".to_owned(),
        "<none>".to_owned(),
        "x".repeat(100_000),
        "\u{1b}[31m".repeat(20_000),
    ]
}

/// A fixture in which the image has this name by both annotations, as have a platform, a type and an annotation.
fn named(name: &str) -> GuardedLayout {
    let mut fixture = GuardedLayout::new();
    let config = fixture.builder.empty_config();
    let platform = Obj::new()
        .with("os", name)
        .with("architecture", name)
        .with("variant", name);
    let child = fixture.app.manifest.clone().set("platform", platform);
    let attestation = fixture
        .arm64
        .manifest
        .clone()
        .annotate("vnd.docker.reference.type", name)
        .annotate("vnd.docker.reference.digest", name);
    let index = fixture.builder.index(&[child, attestation]);
    let referrer = crate::support::Doc::manifest(&config, &[])
        .artifact_type(name)
        .subject(&index);
    let referrer = fixture.builder.put(&referrer).artifact_type(name);
    let strange = fixture.builder.blob(name, b"of a type with an odd name");
    fixture
        .builder
        .clear_entries()
        .entry(index.clone().tagged(name).named(name))
        .entry(index.annotate(crate::support::json::REF_NAME, name))
        .entry(referrer)
        .entry(strange.typed(name))
        .write();
    fixture
}

/// Runs the program on a terminal and returns every byte that it writes there, with the exit code.
#[track_caller]
fn on_terminal<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
) -> Option<(Option<i32>, Vec<u8>)> {
    let output = Terminal::program(args, "")?.bytes("");
    Some((output.code, output.stdout))
}

#[test]
fn through_a_pipe_every_row_is_one_line() {
    let mut fixture = GuardedLayout::new();
    for name in names() {
        let entry = fixture.app.manifest.clone().tagged(&name);
        fixture.builder.entry(entry);
    }
    fixture.builder.write();
    let quiet = Cmd::new(["ls", "-q"]).arg(fixture.path()).run();
    assert_eq!(
        quiet.ok().stdout.lines().count(),
        2,
        "two images\n{}",
        quiet.all()
    );
    let mut plain = GuardedLayout::new();
    for number in 0..names().len() {
        let entry = plain.app.manifest.clone().tagged(&format!("plain{number}"));
        plain.builder.entry(entry);
    }
    plain.builder.write();
    for call in [&["ls"][..], &["ls", "--no-trunc"], &["ls", "--digests"]] {
        let expected = Cmd::new(call).arg(plain.path()).run();
        let expected = expected.ok().stdout.split('\n').count();
        let run = Cmd::new(call).arg(fixture.path()).run();
        // Names that are empty or equal share a row or are shown as `<none>`; no name adds a row.
        let rows = run.ok().stdout.split('\n').count();
        assert!(rows <= expected, "{rows} lines, {expected} expected");
        assert!(rows + 4 >= expected, "{rows} lines, {expected} expected");
        assert!(
            !run.stdout
                .contains(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
        );
    }
}

#[test]
fn through_a_pipe_names_are_raw_except_for_newlines() {
    let mut fixture = GuardedLayout::new();
    fixture
        .builder
        .tag(&fixture.app.manifest.clone(), "esc\u{1b}[31m\u{202e}end")
        .write();
    let run = Cmd::new(["ls", "--no-trunc"]).arg(fixture.path()).run();
    run.ok().says("esc\u{1b}[31m\u{202e}end");
}

#[test]
fn json_has_exact_names() {
    for_each(
        names(),
        |name| name.chars().take(20).collect(),
        |name| {
            let fixture = named(name);
            let run = Cmd::new(["ls", "--format", "json"])
                .arg(fixture.path())
                .run();
            let json = run.ok().json();
            if !name.trim().is_empty() {
                let text = serde_json::to_string(name).expect("a name can be written as JSON");
                // Under any key; a name may be split into repository and tag.
                let whole = serde_json::to_string(&json).expect("JSON can be written");
                let head: String = text
                    .chars()
                    .take(12)
                    .skip(1)
                    .take_while(|c| *c != ':')
                    .collect();
                assert!(whole.contains(&head), "{head:?} is not in it");
            }
            let lines = Cmd::new(["ls", "--format", "jsonl"])
                .arg(fixture.path())
                .run();
            for line in lines.ok().stdout.lines() {
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
                assert!(parsed.is_ok(), "no JSON: {line:?}");
            }
        },
    );
}

/// Panics if bytes that were written to a terminal could control it.
#[track_caller]
fn assert_tame(bytes: &[u8], what: &str) {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let wild: Vec<char> = text
        .chars()
        .filter(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        })
        .collect();
    let head: String = text.chars().take(400).collect();
    assert!(
        wild.is_empty(),
        "{what}: {wild:?} reached the terminal\n{head:?}"
    );
}

#[test]
fn no_control_sequence_reaches_a_terminal() {
    for_each(
        names().into_iter().enumerate(),
        |(_, name)| name.chars().take(20).collect(),
        |(number, name)| {
            let fixture = named(name);
            let path = fixture
                .path()
                .to_str()
                .expect("paths of the tests are UTF-8");
            let calls: [&[&str]; 11] = [
                &["ls", path],
                &["ls", path, "--no-trunc"],
                &["ls", path, "--digests"],
                &["ls", path, "--tree"],
                &["df", path],
                &["df", path, "-v"],
                &["check", path, "-v"],
                &["why", path, "@0"],
                &["why", path, fixture.app.layers[0].hex()],
                &["gc", path, "-n", "--grace", "0"],
                &["gc", path, "--grace", "0"],
            ];
            for (position, call) in calls.into_iter().enumerate() {
                if !takes(number.wrapping_add(position), 5, 1) {
                    continue;
                }
                let Some((code, bytes)) = on_terminal(call) else {
                    return;
                };
                assert_eq!(
                    code,
                    Some(0),
                    "{call:?}: {}",
                    String::from_utf8_lossy(&bytes)
                );
                assert_tame(&bytes, &call.join(" "));
            }
            // An error that names the image.
            fixture.builder.file(&fixture.app.manifest.blob_path(), b"");
            if let Some((code, bytes)) = on_terminal(["gc", path, "--grace", "0"]) {
                assert_eq!(code, Some(3), "{}", String::from_utf8_lossy(&bytes));
                assert_tame(&bytes, "an error");
            }
            for call in [&["check", path][..], &["check", path, "-v"]] {
                if let Some((code, bytes)) = on_terminal(call) {
                    assert_eq!(code, Some(1), "{}", String::from_utf8_lossy(&bytes));
                    assert_tame(&bytes, &call.join(" "));
                }
            }
        },
    );
}

#[test]
fn hostile_text_in_documents_reaches_no_terminal() {
    let evil = "\\u001b]0;owned\\u0007\\u202e\\u009b31m";
    let texts = [
        format!(
            "{{\"schemaVersion\":2,\"layers\":[{{\"mediaType\":\"{}\",\"digest\":\"{evil}\",\"size\":1}}]}}",
            media::LAYER
        ),
        format!("{{\"{evil}\":1,\"layers\":5}}"),
        format!("{{\"layers\":[\"{evil}\"]}}"),
        "{\"layers\":\u{1b}]0;owned\u{7}}".to_owned(),
    ];
    for_each(texts, String::clone, |text| {
        let mut fixture = GuardedLayout::new();
        let manifest = fixture.builder.blob(media::MANIFEST, text.as_bytes());
        fixture.builder.tag(&manifest, "odd").write();
        let path = fixture
            .path()
            .to_str()
            .expect("paths of the tests are UTF-8");
        if let Some((code, bytes)) = on_terminal(["gc", path, "--grace", "0"]) {
            assert_eq!(code, Some(3), "{}", String::from_utf8_lossy(&bytes));
            assert_tame(&bytes, "an error");
        }
        if let Some((code, bytes)) = on_terminal(["check", path]) {
            assert_eq!(code, Some(1), "{}", String::from_utf8_lossy(&bytes));
            assert_tame(&bytes, "damage");
        }
        // To a file or a pipe an error is one line as well.
        fixture.gc_is_refused();
    });
}

#[test]
fn a_name_of_100_kilobytes_is_truncated_on_a_terminal_and_complete_in_json() {
    let mut fixture = GuardedLayout::new();
    let name = "long".repeat(25_000);
    fixture
        .builder
        .tag(&fixture.app.manifest.clone(), &name)
        .write();
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    if let Some((code, bytes)) = on_terminal(["ls", path]) {
        assert_eq!(code, Some(0));
        let text = String::from_utf8_lossy(&bytes);
        let longest = text.lines().map(|line| line.chars().count()).max();
        // Truncated to the width, or one wide row, but not every row as wide as the name.
        assert!(
            longest < Some(2000),
            "a row of {longest:?} letters on a terminal of 200"
        );
    }
    let run = Cmd::new(["ls", "--format", "json"])
        .arg(fixture.path())
        .run();
    run.ok().says(&name);
}

#[test]
fn a_closed_pipe_ends_a_listing_quietly_but_does_not_stop_a_sweep() {
    let mut fixture = GuardedLayout::new();
    for number in 0..2000 {
        fixture
            .builder
            .tag(&fixture.app.manifest.clone(), &format!("name{number}"));
        fixture
            .builder
            .layer(format!("garbage {number}").as_bytes());
    }
    fixture.builder.write();
    for call in [
        &["ls"][..],
        &["ls", "--tree"],
        &["ls", "--format", "json"],
        &["check", "-v"],
        &["blobs", "--live"],
    ] {
        let args = call
            .iter()
            .map(OsStr::new)
            .chain([fixture.path().as_os_str()]);
        let listing = run(shell("{ \"$@\"; echo \"code $?\" >&2; } | true", &[], args));
        listing.no_panic();
        assert!(listing.stderr.contains("code 0"), "{}", listing.all());
        assert_eq!(listing.stderr.lines().count(), 1, "{}", listing.all());
    }
    let args = [
        "gc".as_ref(),
        fixture.path().as_os_str(),
        "--grace".as_ref(),
        "0".as_ref(),
    ];
    let sweep = run(shell("{ \"$@\"; echo \"code $?\" >&2; } | true", &[], args));
    sweep.no_panic();
    fixture.assert_whole(&sweep.all());
    assert!(!fixture.has(&fixture.orphan), "{}", sweep.all());
    let again = Cmd::gc_json(fixture.path()).run();
    let left = with_action(&again.ok().json(), "delete");
    assert!(left.is_empty(), "{} files were left", left.len());
}

#[test]
fn a_full_disk_for_the_output_is_an_error_and_not_a_crash() {
    let fixture = GuardedLayout::new();
    for call in [
        &["ls"][..],
        &["df"],
        &["check"],
        &["blobs", "--live"],
        &["gc", "--grace", "0"],
    ] {
        let args = call
            .iter()
            .map(OsStr::new)
            .chain([fixture.path().as_os_str()]);
        let run = run(shell("\"$@\" > /dev/full", &[], args));
        run.no_panic();
        assert_ne!(
            run.code,
            Some(0),
            "the output is lost without an error\n{}",
            run.all()
        );
        fixture.assert_whole(&run.all());
    }
}
