//! The results of `umoci gc` and `ocisweep gc` for every recorded layout.

use std::collections::BTreeMap;

use crate::support::{ClientDir, Cmd, blobs, cases};

/// The result of a sweep of one layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Exactly the garbage was deleted.
    Exact,
    /// It refused, and everything exists.
    Refused,
    /// It succeeded, but garbage remains.
    Left,
    /// A needed blob was deleted.
    Lost,
}

/// The README has these numbers: with `--nocapture` they are printed.
#[test]
fn exactly_the_garbage_of_every_recorded_layout_is_deleted_or_nothing() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    let mut ends: BTreeMap<(&str, End), Vec<String>> = BTreeMap::new();
    for layout in cases().iter().flat_map(|case| &case.layouts) {
        for tool in ["ocisweep", "umoci"] {
            let (_unpacked, path) = layout.unpack();
            let before = blobs(&path);
            let run = if tool == "umoci" {
                let path = path.to_str().expect("paths of the tests are UTF-8");
                clients.attempt("umoci", &["gc", "--layout", path])
            } else {
                Cmd::gc(&path).run()
            };
            let after = blobs(&path);
            let keep = layout.expected("keep");
            let lost = keep
                .iter()
                .any(|digest| before.contains_key(digest) && !after.contains_key(digest));
            let left = layout
                .expected("garbage")
                .iter()
                .any(|digest| after.contains_key(digest));
            let end = match (lost, run.code == Some(0), left) {
                (true, ..) => End::Lost,
                (false, false, _) => End::Refused,
                (false, true, true) => End::Left,
                (false, true, false) => End::Exact,
            };
            ends.entry((tool, end)).or_default().push(layout.label());
        }
    }
    for ((tool, end), layouts) in &ends {
        count(&format!(
            "{tool}: {end:?} {}: {}",
            layouts.len(),
            layouts.join(" ")
        ));
    }
    let of = |end| ends.get(&("ocisweep", end)).map_or(0, Vec::len);
    assert_eq!((of(End::Lost), of(End::Left)), (0, 0), "{ends:#?}");
    // Those that share their blobs must be given together.
    let refused = ends.get(&("ocisweep", End::Refused));
    let is_shared = |label: &String| label.contains("shared");
    assert!(refused.into_iter().flatten().all(is_shared), "{ends:#?}");
    assert!(of(End::Exact) > 60, "{ends:#?}");
}

#[expect(clippy::print_stderr, reason = "the numbers are printed on request")]
fn count(text: &str) {
    eprintln!("{text}");
}
