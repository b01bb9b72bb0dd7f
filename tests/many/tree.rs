//! A zot registry with two hundred repositories, whose blobs are hard linked.

use std::fs;
use std::time::Duration;

use crate::support::run::number;
use crate::support::test_dir::{Bytes, of_layouts, rows};
use crate::support::{Desc, LayoutBuilder, TestDir};

const REPOSITORIES: usize = 200;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAMAGED: usize = 77;

/// Every repository has a base layer of its organisation, an image under a name, one that lost its name, and an orphan of
/// its own. Pairs of repositories share an orphan, and every tenth has an orphan that the next one still uses.
struct Registry {
    fixture: TestDir,
}

impl Registry {
    fn new() -> Self {
        let fixture = TestDir::new();
        let mut linked: Vec<(Desc, LayoutBuilder)> = Vec::new();
        for number in 0..REPOSITORIES {
            let mut repository = LayoutBuilder::at(&fixture.join(&Self::path(number)));
            let base = format!("base of organisation {}", number / 20).repeat(50);
            let own = format!("content {number}").repeat(30);
            let image = repository.image(
                "linux/amd64",
                &number.to_string(),
                &[base.as_bytes(), own.as_bytes()],
            );
            repository.entry(image.manifest.clone().tagged("latest"));
            let old = format!("old content {number}").repeat(20);
            let old = repository.image(
                "linux/amd64",
                &format!("old {number}"),
                &[base.as_bytes(), old.as_bytes()],
            );
            repository.entry(&old.manifest);
            repository.layer(format!("orphan {number}").repeat(10).as_bytes());
            let pair = format!("orphan of the pair {}", number / 2).repeat(40);
            let pair = repository.layer(pair.as_bytes());
            if number % 10 == 9 {
                let next = format!("content {}", number + 1).repeat(30);
                repository.layer(next.as_bytes());
            }
            if number == 120 {
                // Sparse: one of three platforms is present.
                let away = [
                    Desc::missing(&image.manifest.media_type, "arm64"),
                    Desc::missing(&image.manifest.media_type, "s390x"),
                ];
                let children = [image.manifest.clone(), away[0].clone(), away[1].clone()];
                let index = repository.index(&children);
                repository.entry(index.tagged("multi"));
            }
            repository.write();
            linked.push((pair, repository));
        }
        let registry = Self { fixture };
        registry.deduplicate();
        let (_, damaged) = &linked[DAMAGED];
        registry.damage(damaged);
        for (name, age) in [
            ("11111111-2222-3333-4444-555555555555", DAY * 3),
            ("66666666-7777-8888-9999-aaaaaaaaaaaa", Duration::ZERO),
        ] {
            let (_, repository) = &linked[5];
            let file = format!(".uploads/{name}");
            repository.file(&file, &[7; 70_000]).age(&file, age);
        }
        registry
    }

    fn path(number: usize) -> String {
        // Repositories nest: `org/repository` and `org/repository/debug`.
        if number % 7 == 3 {
            format!("registry/org{}/r{}/debug", number / 20, number - 1)
        } else {
            format!("registry/org{}/r{number}", number / 20)
        }
    }

    /// Hard links all files with the same name, as zot does.
    fn deduplicate(&self) {
        let mut first = std::collections::BTreeMap::new();
        for number in 0..REPOSITORIES {
            let directory = self.fixture.join(&Self::path(number)).join("blobs/sha256");
            for entry in fs::read_dir(directory).expect("blobs can be listed") {
                let path = entry.expect("blobs can be listed").path();
                let name = path.file_name().expect("a blob has a name").to_owned();
                if let Some(original) = first.get(&name) {
                    fs::remove_file(&path).expect("a blob can be removed");
                    fs::hard_link(original, &path).expect("a link can be made");
                } else {
                    first.insert(name, path);
                }
            }
        }
    }

    fn damage(&self, repository: &LayoutBuilder) {
        let index = fs::read(repository.join("index.json")).expect("it has an index");
        let index: serde_json::Value = serde_json::from_slice(&index).expect("it is JSON");
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
        let path = format!("blobs/{}", digest.replacen(':', "/", 1));
        repository.file(&path, b"damaged");
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let run = self
            .fixture
            .run(&[args, &["--format", "json", "-r", "registry"]].concat());
        assert!(matches!(run.code, Some(0 | 3)), "{}", run.all());
        run.json()
    }

    fn bytes(&self) -> Bytes {
        self.fixture.blobs()
    }
}

#[test]
fn a_tree_is_listed_with_one_command() {
    let registry = Registry::new();
    let json = registry.json(&["ls"]);
    let layouts = json["layouts"].as_array().expect("there are layouts");
    assert_eq!(layouts.len(), REPOSITORIES);
    for layout in layouts {
        let images = layout["images"].as_array().expect("there are images");
        assert!(matches!(images.len(), 2 | 3), "{layout:#}");
    }
    let ids = registry.fixture.run(&["ls", "-q", "-r", "registry"]);
    assert_eq!(ids.ok().stdout.lines().count(), 2 * REPOSITORIES + 1);
}

#[test]
fn a_tree_is_measured_with_every_inode_counted_once() {
    let registry = Registry::new();
    let bytes = registry.bytes();
    let json = registry.json(&["df"]);
    assert_eq!(number(&json, "/total/size_bytes"), bytes.sum());
    let rows: u64 = (0..REPOSITORIES)
        .map(|at| number(&json, &format!("/layouts/{at}/total/size_bytes")))
        .sum();
    assert!(rows > bytes.sum(), "shared bytes are in every row");
    let text = registry.fixture.run(&["df", "-r", "registry"]);
    text.ok();
    let refused = of_layouts(&json, "refusal");
    let refused = refused.iter().filter(|refusal| refusal.is_string());
    assert_eq!(refused.count(), 1);
}

/// The announced, the freed and the actually gained bytes are equal.
#[test]
fn a_tree_is_swept_and_pruned_with_true_bytes() {
    for command in [
        &["gc", "--grace", "0"][..],
        &["prune", "--grace", "0", "-f"],
    ] {
        let registry = Registry::new();
        let before = registry.bytes();
        let df = ["df", "--grace", "0"];
        let measured = registry.json(&df);
        let dry = registry.json(&[command, &["-n"]].concat());
        assert_eq!(registry.bytes(), before, "a dry run changes nothing");
        let ran = registry.json(command);
        let after = registry.bytes();
        let gained = before.sum() - after.sum();
        assert_eq!(
            number(&ran, "/totals/reclaimed_bytes"),
            gained,
            "{command:?}"
        );
        assert!(before.allocated > after.allocated);
        assert_eq!(
            number(&ran, "/totals/blobs") + number(&ran, "/totals/temporary"),
            before.names - after.names
        );
        // The dry run and the run: the same totals, and the same in every layout.
        assert_eq!(dry["totals"], ran["totals"], "{command:?}");
        assert_eq!(of_layouts(&dry, "path"), of_layouts(&ran, "path"));
        let share = |json: &serde_json::Value| {
            let totals = of_layouts(json, "totals");
            totals
                .iter()
                .map(|totals| number(totals, "/reclaimed_bytes"))
                .collect::<Vec<_>>()
        };
        assert_eq!(share(&dry), share(&ran), "{command:?}");
        assert_eq!(share(&ran).iter().sum::<u64>(), gained, "{command:?}");
        // Every inode that lost a name but still exists is among the linked bytes.
        assert!(number(&ran, "/totals/linked_bytes") > 0, "{command:?}");
        assert_eq!(number(&ran, "/totals/temporary"), 1, "{command:?}");
        if command.contains(&"prune") {
            assert_eq!(number(&measured, "/total/reclaimable_bytes"), gained);
            let left = registry.json(&df);
            assert_eq!(number(&left, "/total/reclaimable_bytes"), 0);
        }
        let (paths, states) = (of_layouts(&ran, "path"), of_layouts(&ran, "state"));
        for (at, state) in states.iter().enumerate() {
            let is_damaged = paths
                .get(at)
                .is_some_and(|path| *path == Registry::path(DAMAGED));
            let expected = if is_damaged { "refused" } else { "done" };
            assert_eq!(state, expected, "{command:?} {at}");
        }
    }
}

#[test]
fn bytes_that_a_link_elsewhere_keeps_are_counted_separately() {
    let registry = Registry::new();
    let outside = registry.fixture.join("outside");
    fs::create_dir(&outside).expect("a directory can be made");
    let mut kept = 0;
    for number in [20, 21] {
        let orphan = format!("orphan {number}").repeat(10);
        let digest = crate::support::sha256(orphan.as_bytes());
        let blob = registry
            .fixture
            .join(&Registry::path(number))
            .join("blobs")
            .join(digest.replacen(':', "/", 1));
        fs::hard_link(blob, outside.join(number.to_string())).expect("a link can be made");
        kept += orphan.len() as u64;
    }
    let before = registry.bytes().sum();
    let dry = registry.json(&["gc", "--grace", "0", "-n"]);
    let run = registry
        .fixture
        .run(&["gc", "--grace", "0", "-r", "registry"]);
    run.refused();
    let after = registry.bytes().sum();
    assert_eq!(
        number(&dry, "/totals/reclaimed_bytes") + kept,
        before - after,
        "the walk does not include names outside"
    );
    let notes = run.stderr.matches("hard links outside this run").count();
    assert_eq!(notes, 1, "reported once for all\n{}", run.all());
    assert_eq!(rows(&run).len(), REPOSITORIES + 1);
}

#[test]
fn the_output_does_not_depend_on_the_order_of_threads() {
    let registry = Registry::new();
    let outputs: Vec<(String, String)> = (0..3)
        .map(|_| {
            let run = registry
                .fixture
                .run(&["prune", "-n", "-v", "--grace", "0", "-r", "registry"]);
            (run.stdout, run.stderr)
        })
        .collect();
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}
