//! Commands that only read name the files of other tools that list something, and continue if such a file is torn.

use serde_json::{Value, json};

use crate::support::{Cmd, Desc, Image, Json, LayoutBuilder, Obj, Run};

const LIST: &str = "hauler-index.json";

/// `app:1` is listed in both, a chart only in the other file.
struct Haul {
    layout: LayoutBuilder,
    app: Image,
    chart: Image,
}

impl Haul {
    fn new() -> Self {
        let mut layout = LayoutBuilder::new();
        let app = layout.image("linux/amd64", "app", &[b"app"]);
        let chart = layout.image("linux/amd64", "chart", &[b"chart"]);
        layout.tag(&app.manifest, "app:1").write();
        let haul = Self { layout, app, chart };
        haul.layout.file(LIST, haul.text().as_bytes());
        haul
    }

    fn text(&self) -> String {
        let listed = [&self.app.manifest, &self.chart.manifest].map(Desc::json);
        let text = Obj::new().with("manifests", Json::array(listed));
        text.json().text().to_owned()
    }

    /// Cuts the file in the middle of its second descriptor.
    fn tear(&self) {
        let text = self.text();
        self.layout.file(LIST, &text.as_bytes()[..text.len() - 20]);
    }

    fn run(&self, args: &[&str]) -> Run {
        let (command, args) = args.split_first().expect("a command");
        Cmd::new([command]).arg(self.layout.path()).args(args).run()
    }
}

#[test]
fn the_file_is_named_like_a_hold() {
    let haul = Haul::new();
    let list = haul.run(&["ls", "--format", "json"]);
    let list = list.ok().json();
    assert_eq!(
        list["layouts"][0]["images"][0]["second_indexes"],
        json!([LIST])
    );
    let tree = haul.run(&["ls", "--tree"]);
    let line = tree
        .ok()
        .stdout
        .lines()
        .find(|line| line.starts_with("app:1"));
    assert!(
        line.is_some_and(|line| line.ends_with(LIST)),
        "{}",
        tree.all()
    );
    let why = haul.run(&["why", &haul.chart.layers[0].digest]);
    why.ok().says("hauler-index.json → manifest ");
    let why = haul.run(&["why", &haul.app.manifest.digest]);
    why.ok()
        .says("app:1, hauler-index.json → manifest ")
        .says("removing only this image frees 0B");
}

#[test]
fn the_list_of_live_blobs_includes_the_file_and_what_it_lists() {
    let haul = Haul::new();
    let run = haul.run(&["blobs", "--live"]);
    let lines: Vec<&str> = run.ok().stdout.lines().collect();
    let blobs = haul.app.digests().len() + haul.chart.digests().len();
    let files = &lines[lines.len() - 3..];
    assert_eq!(files, ["oci-layout", LIST, "index.json"], "{}", run.all());
    assert_eq!(lines.len(), blobs + 3, "{}", run.all());
    let run = haul.run(&["blobs", "--live", "--ignore-index", LIST]);
    run.ok().keeps_quiet_about(LIST);
    run.keeps_quiet_about(haul.chart.manifest.hex());
    haul.run(&["blobs", "--unreferenced", "--grace", "0"])
        .ok()
        .keeps_quiet_about("blobs");
}

#[test]
fn images_that_only_the_file_lists_are_checked() {
    let haul = Haul::new();
    let found = |run: &Run| run.json()["layouts"][0]["items"].clone();
    haul.layout
        .file(&haul.chart.layers[0].blob_path(), b"other");
    let run = haul.run(&["check", "--format", "json"]);
    let items = found(run.exits(1));
    assert_eq!(
        items[0]["digest"],
        haul.chart.layers[0].digest,
        "{}",
        run.all()
    );
    assert_eq!(items[0]["second_indexes"], json!([LIST]), "{}", run.all());
    assert_eq!(items[0]["names"], json!([]), "{}", run.all());
    let text = haul.run(&["check"]);
    text.says("listed in hauler-index.json\n")
        .says("`--ignore-index hauler-index.json`");
    text.keeps_quiet_about("ocisweep rm");
    // Another tool may have changed its images since: that is not damage.
    let haul = Haul::new();
    haul.layout.drop_blob(&haul.chart.manifest);
    let run = haul.run(&["check", "--format", "json"]);
    assert_eq!(found(run.ok())[0]["class"], "sparse", "{}", run.all());
}

#[test]
fn a_truncated_second_index_is_reported_and_stops_no_reading() {
    let haul = Haul::new();
    haul.tear();
    let cannot = "hauler-index.json`: it lists blobs and is not valid: ";
    for args in [&["ls"][..], &["df"], &["why", &haul.app.manifest.digest]] {
        let run = haul.run(args);
        run.ok().warns(cannot);
        assert!(!run.stdout.is_empty(), "{}", run.all());
    }
    let df = haul.run(&["df", "--format", "json", "--grace", "0"]);
    let layout = df.ok().json()["layouts"][0].clone();
    assert_eq!(layout["total"]["reclaimable_bytes"], 0, "{}", df.all());
    assert!(layout["refusal"].is_string(), "{}", df.all());
    let run = haul.run(&["check", "--format", "json"]);
    let items = run.exits(1).json()["layouts"][0]["items"].clone();
    let torn: Vec<&Value> = items
        .as_array()
        .into_iter()
        .flatten()
        .filter(|item| item["path"] == LIST)
        .collect();
    let [item] = torn.as_slice() else {
        panic!("{}", run.all())
    };
    assert_eq!(
        (&item["class"], &item["damage"]),
        (&json!("malformed"), &json!(true))
    );
    haul.run(&["check"])
        .says("malformed: hauler-index.json: it lists blobs");
    for args in [
        &["blobs", "--live"][..],
        &["blobs", "--unreferenced"],
        &["gc"],
        &["prune", "-f"],
    ] {
        let run = haul.run(args);
        run.refused().one_error_with_hint();
        run.warns(cannot)
            .warns("`--ignore-index hauler-index.json`");
    }
    haul.run(&["gc", "--ignore-index", LIST]).ok();
}

#[test]
fn an_ignore_option_without_effect_is_reported() {
    let haul = Haul::new();
    let run = haul.run(&["ls", "--ignore-index", "nowhere.json"]);
    run.ok()
        .warns("`--ignore-index nowhere.json` ignored nothing");
    let path = haul.layout.join(LIST);
    let run = haul.run(&[
        "gc",
        "-n",
        "--grace",
        "0",
        "--ignore-index",
        &path.to_string_lossy(),
    ]);
    run.ok().says(&haul.chart.manifest.digest);
    assert_eq!(run.stderr, "", "{}", run.all());
}
