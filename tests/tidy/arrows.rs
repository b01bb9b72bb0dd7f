//! The modules of the library depend on one another in one direction, and no files depend on one another in a circle.
//!
//! The arrows are drawn from the `use` lines and from paths that begin with `crate::`, without those of tests. A re-exported
//! name (`pub use`) is followed to the file that defines it. Between a `mod.rs` and the files of its own directory arrows
//! may point both ways.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, sources};

/// The modules of the library, from the bottom up. A file uses only its own module and those before it.
const ROOMS: &[&str] = &[
    "vectors", "parse", "clock", "threads", "oci", "error", "progress", "fs", "layout", "archive",
    "graph", "model", "plan", "execute", "report", "ops",
];

/// The modules of the command, from the bottom up. All of them are above the library.
const COMMAND_ROOMS: &[&str] = &[
    "exit",
    "term",
    "quote",
    "hint",
    "audit",
    "replaced",
    "metrics",
    "context",
    "trash",
    "render",
    "mistaken",
    "run",
    "layouts",
    "args",
    "locations",
    "archives",
    "topics",
    "command_line",
    "completion",
    "manual",
    "docs",
    "commands",
];

/// A path in the source: `["oci", "digest"]`.
type Path = Vec<String>;

/// The dependencies of one file.
#[derive(Default)]
struct Uses {
    /// Paths from the root of the crate.
    paths: BTreeSet<Path>,
    /// Re-exported names, with their origins.
    exports: BTreeMap<String, Path>,
}

/// The files of the library with what they use.
struct Library {
    files: BTreeMap<Path, Uses>,
}

impl Library {
    fn read() -> Self {
        let sources = sources(&["src"]);
        let is_library = |source: &&Source| source.path != "src/main.rs";
        let sources: Vec<&Source> = sources.iter().filter(is_library).collect();
        let names: BTreeSet<Path> = sources.iter().map(|source| module(source)).collect();
        let files = sources
            .iter()
            .map(|source| (module(source), uses(source, &names)))
            .collect();
        Self { files }
    }

    /// Returns the file that defines what a path names.
    fn defines(&self, path: &Path) -> Option<&Path> {
        let mut path = path.clone();
        // A name is re-exported a few times at most.
        for _ in 0..8 {
            let known = (0..=path.len()).rev().find_map(|len| {
                let file = self.files.get_key_value(&path[..len]);
                file.map(|(file, uses)| (file, uses, len))
            });
            let (file, uses, len) = known?;
            match path.get(len).and_then(|name| uses.exports.get(name)) {
                Some(from) => path = [from.as_slice(), &path[len + 1..]].concat(),
                None => return Some(file),
            }
        }
        panic!("{path:?} is re-exported in a circle");
    }

    /// Returns the files that a file uses, without itself and the root of the crate.
    fn arrows(&self, file: &Path) -> BTreeSet<&Path> {
        let uses = self
            .files
            .get(file)
            .expect("the file is one of the library");
        let found = uses.paths.iter().filter_map(|path| self.defines(path));
        found
            .filter(|target| !target.is_empty() && *target != file)
            .collect()
    }
}

/// Returns the path of a file's module.
fn module(source: &Source) -> Path {
    let path = source.path.trim_start_matches("src/");
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    match path {
        "lib" => Path::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// Returns what a file uses.
fn uses(source: &Source, files: &BTreeSet<Path>) -> Uses {
    let here = module(source);
    let mut text = String::new();
    for (_, line) in source.body() {
        let code = line.trim();
        if !code.starts_with("//") {
            text.push_str(code);
            text.push('\n');
        }
    }
    let mut uses = Uses::default();
    let mut rest = text.as_str();
    while let Some(at) = find_use(rest) {
        let before = rest[..at].trim_end();
        let is_test = before.ends_with("#[cfg(test)]");
        let is_export = before.ends_with("pub")
            || before.ends_with(')') && before[before.rfind('(').unwrap_or(0)..].len() < 24;
        let (tree, after) = rest[at + 3..].split_once(';').unwrap_or_default();
        rest = after;
        for path in branches(tree) {
            let Some(path) = from_root(&path, &here, files) else {
                continue;
            };
            if is_test {
                continue;
            }
            if let (true, Some(name)) = (is_export, path.last()) {
                uses.exports.insert(name.clone(), path.clone());
            }
            uses.paths.insert(path);
        }
    }
    for (at, _) in text.match_indices("crate::") {
        let path = text[at..].split(|c: char| c != ':' && c != '_' && !c.is_alphanumeric());
        let path = path.take(1).flat_map(|path| path.split("::")).skip(1);
        let path: Path = path
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        // What follows in braces was read above.
        if path.len() > 1 {
            uses.paths.insert(path);
        }
    }
    uses
}

/// Returns the position of the next `use`: at the beginning of a line, or after its visibility.
fn find_use(text: &str) -> Option<usize> {
    let mut found = text.match_indices("use ").map(|(at, _)| at);
    found.find(|at| {
        let before = text[..*at].rsplit('\n').next().unwrap_or_default();
        let is_visibility = |text: &str| text == "pub" || text.starts_with("pub(");
        before.is_empty() || is_visibility(before.trim_end())
    })
}

/// Returns the paths of a tree of `use`.
fn branches(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.trim().to_owned()];
    };
    let inner = inner
        .trim_end()
        .strip_suffix('}')
        .expect("braces are closed");
    let mut found = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let branch = inner[start..at].trim();
                if !branch.is_empty() {
                    found.extend(branches(branch).iter().map(|rest| format!("{head}{rest}")));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Returns a path from the root of the crate, if it is one of this crate.
fn from_root(path: &str, here: &Path, files: &BTreeSet<Path>) -> Option<Path> {
    let mut names: Vec<&str> = path.split("::").map(str::trim).collect();
    if names.last() == Some(&"self") {
        names.pop();
    }
    let ups = names.iter().take_while(|name| **name == "super").count();
    let base: &[String] = match names.first() {
        Some(&"crate") => &[],
        Some(&"super") => &here[..here.len() - ups],
        Some(&"self") => here,
        Some(first) if files.contains(&[here.as_slice(), &[(*first).to_owned()]].concat()) => here,
        _ => return None,
    };
    let skip = match names.first() {
        Some(&"crate" | &"self") => 1,
        _ => ups,
    };
    let names = names.iter().skip(skip).map(|name| (*name).to_owned());
    Some(base.iter().cloned().chain(names).collect())
}

#[test]
fn every_module_uses_only_those_below_it() {
    let library = Library::read();
    let rank = |file: &Path| {
        let place = |room: &String, rooms: &[&str]| {
            let place = rooms.iter().position(|known| known == room);
            place.unwrap_or_else(|| panic!("{room} has no place among {rooms:?}"))
        };
        match file.as_slice() {
            [room] if room == "cli" => ROOMS.len() + COMMAND_ROOMS.len(),
            [room, inner, ..] if room == "cli" => ROOMS.len() + place(inner, COMMAND_ROOMS),
            [room, ..] => place(room, ROOMS),
            [] => panic!("only the root has no room"),
        }
    };
    let mut upward = Vec::new();
    let mut arrows = 0;
    for file in library.files.keys().filter(|file| !file.is_empty()) {
        for target in library.arrows(file) {
            arrows += 1;
            if rank(target) > rank(file) {
                upward.push(format!("{} uses {}", file.join("/"), target.join("/")));
            }
        }
    }
    assert!(arrows > 300, "only {arrows} arrows were found");
    assert!(upward.is_empty(), "upward:\n{}", upward.join("\n"));
}

#[test]
fn no_files_depend_on_one_another_in_a_circle() {
    let library = Library::read();
    let is_door = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    let mut left: BTreeMap<&Path, BTreeSet<&Path>> = library
        .files
        .keys()
        .map(|file| {
            let arrows = library.arrows(file);
            let arrows = arrows.into_iter().filter(|target| !is_door(file, target));
            (file, arrows.collect())
        })
        .collect();
    // A file without remaining dependencies is not in a circle.
    loop {
        let free: Vec<&Path> = left
            .iter()
            .filter(|(_, arrows)| arrows.iter().all(|target| !left.contains_key(target)))
            .map(|(file, _)| *file)
            .collect();
        if free.is_empty() {
            break;
        }
        for file in free {
            left.remove(file);
        }
    }
    let circles: Vec<String> = left
        .iter()
        .map(|(file, arrows)| {
            let arrows = arrows.iter().filter(|target| left.contains_key(*target));
            let arrows: Vec<String> = arrows.map(|target| target.join("/")).collect();
            format!("{} uses {}", file.join("/"), arrows.join(", "))
        })
        .collect();
    assert!(
        circles.is_empty(),
        "in or above a circle:\n{}",
        circles.join("\n")
    );
}

#[test]
fn reexported_names_are_followed() {
    let library = Library::read();
    let path = |text: &str| -> Path { text.split("::").map(str::to_owned).collect() };
    for (used, defined) in [
        ("oci::Digest", "oci::digest"),
        ("fs::FileStat", "fs::stat"),
        ("model::Snapshot", "model::snapshot"),
        ("graph::Graph", "graph"),
    ] {
        assert_eq!(library.defines(&path(used)), Some(&path(defined)), "{used}");
    }
    let arrows = library.arrows(&path("layout::blob_list"));
    assert!(arrows.contains(&path("fs::open")), "{arrows:?}");
    assert_eq!(
        branches(" crate::a::{b::{self, C}, d as e, f}"),
        [
            "crate::a::b::self",
            "crate::a::b::C",
            "crate::a::d",
            "crate::a::f"
        ]
    );
}
