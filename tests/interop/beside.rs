//! The real programs write while `ocisweep` sweeps the same layout repeatedly.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::interop::seen::tags;
use crate::support::{ClientDir, Cmd};

/// The number of images that are written beside the sweeps.
const IMAGES: usize = 6;

/// Runs `write` once, and at the same time each of these commands repeatedly; returns their output, and the number of runs.
fn beside(
    clients: &ClientDir,
    commands: &[&[&str]],
    write: impl FnOnce() + Send,
) -> (String, usize) {
    let is_done = AtomicBool::new(false);
    let mut said = String::new();
    let mut runs = 0;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            write();
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) && !writer.is_finished() {
            for words in commands {
                let (command, flags) = words.split_first().expect("a command has a name");
                let run = Cmd::new([*command])
                    .arg(clients.join("layout"))
                    .args(flags.iter().copied())
                    .run();
                // Done, or the writer is writing its index, or it holds its lock.
                assert!(matches!(run.code, Some(0 | 3 | 6)), "{}", run.all());
                said.push_str(&run.all());
                runs += 1;
            }
        }
    });
    (said, runs)
}

/// Panics unless the layout has these tags, and a copy of each can be made: `skopeo` reads and checks every blob.
fn is_whole(clients: &ClientDir, wanted: &[String], said: &str) {
    let mut names = tags(clients, "layout");
    names.sort();
    let mut wanted = wanted.to_vec();
    wanted.sort();
    assert_eq!(names, wanted, "{said}");
    for name in &names {
        let args = [
            "--insecure-policy",
            "copy",
            "--quiet",
            &format!("oci:layout:{name}"),
            &format!("dir:copy-of-{name}"),
        ];
        let copy = clients.attempt("skopeo", &args);
        assert_eq!(
            copy.code,
            Some(0),
            "{name} is broken\n{}\n{said}",
            copy.all()
        );
    }
}

/// Makes a layout `source` with images of a common and a private layer each, and returns their tags.
fn source(clients: &ClientDir) -> Vec<String> {
    clients.init("source");
    clients.new_image("source:base");
    clients.insert("source:base", "etc-base", "everybody has this", None);
    (0..IMAGES)
        .map(|number| {
            let tag = format!("v{number}");
            clients.insert("source:base", "etc-own", &format!("only {tag}"), Some(&tag));
            tag
        })
        .collect()
}

#[test]
fn images_that_skopeo_copies_beside_sweeps_are_intact() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    let all = source(&clients);
    clients.copy("oci:source:base", "oci:layout:base", &[]);
    let (said, runs) = beside(&clients, &[&["gc"], &["prune", "-f"]], || {
        for tag in &all {
            let (from, to) = (format!("oci:source:{tag}"), format!("oci:layout:{tag}"));
            clients.copy(&from, &to, &[]);
        }
    });
    assert!(runs >= IMAGES, "only {runs} sweeps ran");
    let wanted = [all.as_slice(), &["base".to_owned()]].concat();
    is_whole(&clients, &wanted, &said);
}

#[test]
fn images_that_umoci_changes_beside_sweeps_are_intact() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    let mut wanted = vec!["base".to_owned(), "again".to_owned()];
    clients.init("layout");
    clients.new_image("layout:base");
    let (said, runs) = beside(&clients, &[&["gc"], &["prune", "-f"]], || {
        for number in 0..IMAGES {
            clients.insert(
                "layout:base",
                "etc-base",
                &format!("generation {number}"),
                None,
            );
            let tag = format!("v{number}");
            clients.configure("layout:base", &tag, Some(&tag));
            clients.umoci(&["tag", "--image", "layout:base", "again"]);
            wanted.push(tag);
        }
    });
    assert!(runs >= IMAGES, "only {runs} sweeps ran");
    is_whole(&clients, &wanted, &said);
}

/// The job that writes also removes: its earlier images are removed, its last ones are intact.
#[test]
fn a_job_that_copies_and_removes_beside_sweeps_keeps_what_it_wrote_last() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    let all = source(&clients);
    clients.copy("oci:source:base", "oci:layout:base", &[]);
    let (said, runs) = beside(&clients, &[&["gc"]], || {
        let mut before: Option<&String> = None;
        for tag in &all {
            let (from, to) = (format!("oci:source:{tag}"), format!("oci:layout:{tag}"));
            clients.copy(&from, &to, &[]);
            if let Some(before) = before.replace(tag) {
                let rm = Cmd::new(["rm"])
                    .arg(clients.join("layout"))
                    .arg(before)
                    .run();
                rm.ok();
            }
        }
    });
    assert!(runs >= IMAGES, "only {runs} sweeps ran");
    let last = all.last().expect("there are images").clone();
    is_whole(&clients, &[last, "base".to_owned()], &said);
}

/// A writer without a lock that uses old orphans again, beside sweeps without a pause: with a trash nothing is lost.
#[test]
fn images_that_skopeo_writes_again_beside_sweeps_with_a_trash_are_intact() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    let all = source(&clients);
    clients.copy("oci:source:base", "oci:layout:base", &[]);
    let sweep: &[&str] = &["gc", "--trash", "--grace", "0", "--lock-wait", "0s"];
    let (said, runs) = beside(&clients, &[sweep], || {
        for tag in &all {
            let (from, to) = (format!("oci:source:{tag}"), format!("oci:layout:{tag}"));
            clients.copy(&from, &to, &[]);
        }
    });
    assert!(runs >= IMAGES, "only {runs} sweeps ran");
    let last = Cmd::new(["gc", "--trash", "--grace", "0"])
        .arg(clients.join("layout"))
        .run();
    last.ok();
    let wanted = [all.as_slice(), &["base".to_owned()]].concat();
    is_whole(&clients, &wanted, &format!("{said}{}", last.all()));
    // Another collector deletes nothing in the trash, and does not fail because of it.
    Cmd::new(["rm", "--trash", "--grace", "0"])
        .arg(clients.join("layout"))
        .arg(&all[0])
        .run()
        .ok();
    clients.umoci(&["gc", "--layout", "layout"]);
    Cmd::new(["undo"]).arg(clients.join("layout")).run().ok();
    is_whole(&clients, &wanted, "after umoci gc and undo");
}
