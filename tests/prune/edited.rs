//! Plan files that were edited, truncated or forged: a plan is not trusted.

use std::fs;

use serde_json::{Value, json};

use crate::prune::plans::Planned;
use crate::support::{Cmd, assert_same, blobs, for_each, sha256, snapshot};

fn write(planned: &Planned, json: &Value) {
    fs::write(&planned.plan, json.to_string()).expect("the plan can be written");
}

fn blob(digest: &str, size: u64) -> Value {
    json!({"digest": digest, "size": size, "modified_ns": 1_786_622_400_000_000_000_i64})
}

/// An edit of the first layout of a plan, and what the refusal says.
type Edit = (&'static str, fn(&Planned, &mut Value), &'static str);

#[test]
fn unjustified_deletions_in_a_plan_are_refused() {
    fn delete(layout: &mut Value) -> &mut Vec<Value> {
        layout["delete"].as_array_mut().expect("a list")
    }
    fn live(planned: &Planned, digest: &str) -> Value {
        let here = blobs(planned.shelf.path());
        blob(digest, here.get(digest).copied().expect("it is here"))
    }
    let edits: [Edit; 16] = [
        (
            "a live layer",
            |planned, layout| delete(layout).push(live(planned, &planned.kept.layers[0].digest)),
            "is referenced now",
        ),
        (
            "a live config",
            |planned, layout| delete(layout).insert(0, live(planned, &planned.kept.config.digest)),
            "is referenced now",
        ),
        (
            "a live manifest",
            |planned, layout| delete(layout).push(live(planned, &planned.kept.manifest.digest)),
            "is referenced now",
        ),
        (
            "only a live blob",
            |planned, layout| {
                let blob = live(planned, &planned.kept.manifest.digest);
                *delete(layout) = vec![blob];
            },
            "is referenced now",
        ),
        (
            "a blob of an image whose entry is kept",
            |_, layout| layout["entries"] = json!([]),
            "is referenced now",
        ),
        (
            "a blob that does not exist",
            |_, layout| delete(layout).push(blob(&sha256(b"nobody"), 3)),
            "is gone",
        ),
        (
            "a blob twice",
            |_, layout| {
                let twice = delete(layout)[0].clone();
                delete(layout).push(twice);
            },
            "",
        ),
        (
            "a path for a digest",
            |_, layout| delete(layout).push(blob("sha256:../../victim/precious", 8)),
            "",
        ),
        (
            "a digest of capitals",
            |planned, layout| {
                let digest = planned
                    .orphan
                    .digest
                    .to_uppercase()
                    .replacen("SHA256", "sha256", 1);
                delete(layout).push(blob(&digest, 6));
            },
            "",
        ),
        (
            "another size",
            |_, layout| delete(layout)[0]["size"] = json!(1),
            "written again",
        ),
        (
            "another time",
            |_, layout| delete(layout)[0]["modified_ns"] = json!(-1),
            "written again",
        ),
        (
            "another entry",
            |planned, layout| {
                layout["entries"][0]["digest"] = json!(planned.kept.manifest.digest);
            },
            "entry",
        ),
        (
            "an entry that does not exist",
            |planned, layout| {
                let entry = json!({"position": 99, "digest": planned.kept.manifest.digest});
                layout["entries"]
                    .as_array_mut()
                    .expect("a list")
                    .push(entry);
            },
            "entry 99",
        ),
        (
            "another state",
            |_, layout| layout["state"] = json!(sha256(b"another state")),
            "have changed",
        ),
        (
            "a file outside as a temporary one",
            |_, layout| layout["temporary"] = json!(["../victim/precious"]),
            "temporary",
        ),
        (
            "index.json as a temporary file",
            |_, layout| layout["temporary"] = json!(["index.json"]),
            "temporary",
        ),
    ];
    for_each(
        edits,
        |(what, ..)| (*what).to_owned(),
        |(_, edit, text)| {
            let planned = Planned::new();
            let victim = planned.shelf.layout.outside().join("victim");
            fs::create_dir(&victim).expect("a directory can be made");
            fs::write(victim.join("precious"), b"precious").expect("a file can be written");
            let mut json = planned.json();
            edit(&planned, &mut json["layouts"][0]);
            write(&planned, &json);
            let run = planned.is_refused(text);
            assert!(planned.shelf.has_all(&planned.kept), "{}", run.all());
            assert!(victim.join("precious").exists(), "{}", run.all());
        },
    );
}

/// A plan with lines removed does less, which is allowed.
#[test]
fn a_plan_may_be_made_smaller() {
    let planned = Planned::new();
    let mut json = planned.json();
    let delete = json["layouts"][0]["delete"].as_array_mut().expect("a list");
    delete.retain(|blob| blob["digest"] != planned.orphan.digest.as_str());
    write(&planned, &json);
    let run = planned.apply(&[]);
    run.ok();
    assert!(planned.shelf.has(&planned.orphan), "{}", run.all());
    assert!(!planned.shelf.has(&planned.old.manifest), "{}", run.all());
    assert!(planned.shelf.has_all(&planned.kept), "{}", run.all());
}

/// A forged state makes the entries acceptable; the documents of the layout still decide what may be deleted.
#[test]
fn a_plan_made_for_one_layout_deletes_nothing_live_in_another() {
    let planned = Planned::new();
    let other = Planned::new();
    // The old image got a name that is kept, in the other layout only.
    let mut layout = other.shelf.layout;
    layout.tag(&other.old.manifest, "stays:1");
    layout.write();
    let run = Cmd::new(["prune", "-n", "--plan"])
        .arg(&other.plan)
        .arg(layout.path())
        .run();
    run.ok();
    let text = fs::read(&other.plan).expect("the plan can be read");
    let there: Value = serde_json::from_slice(&text).expect("the plan is JSON");
    let mut json = planned.json();
    json["layouts"][0]["path"] = there["layouts"][0]["path"].clone();
    json["layouts"][0]["state"] = there["layouts"][0]["state"].clone();
    write(&planned, &json);
    let before = snapshot(layout.path());
    let run = planned.apply(&[]);
    run.refused().one_error_with_hint();
    assert_same(&before, &snapshot(layout.path()), &run.all());
}

#[test]
fn an_invalid_plan_is_not_applied() {
    let planned = Planned::new();
    let whole = planned.json();
    let without = |pointer: &str, key: &str| {
        let mut json = whole.clone();
        let object = json.pointer_mut(pointer).and_then(Value::as_object_mut);
        object.expect("an object").remove(key);
        json.to_string()
    };
    let with = |pointer: &str, value: Value| {
        let mut json = whole.clone();
        *json.pointer_mut(pointer).expect("it is there") = value;
        json.to_string()
    };
    let text = whole.to_string();
    let texts = [
        String::new(),
        "no JSON".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        text.get(..text.len() / 2).expect("ASCII").to_owned(),
        format!("{text} {text}"),
        without("", "schema_version"),
        without("", "layouts"),
        without("/layouts/0", "state"),
        without("/layouts/0", "delete"),
        without("/layouts/0", "entries"),
        without("/layouts/0", "path"),
        with("/schema_version", json!(2)),
        with("/schema_version", json!("1")),
        with("/layouts/0/entries/0/position", json!(-1)),
        with("/layouts/0/delete/0/size", json!("large")),
    ];
    for_each(
        texts,
        |text| text.chars().take(60).collect(),
        |text| {
            fs::write(&planned.plan, text).expect("the plan can be written");
            let before = snapshot(planned.shelf.path());
            let run = planned.apply(&[]);
            run.refused().warns("ocisweep: cannot");
            assert!(!run.stderr.contains("panicked"), "{}", run.all());
            assert_same(&before, &snapshot(planned.shelf.path()), &run.all());
        },
    );
    let run = Cmd::new(["apply", "no-such-plan.json"]).run();
    run.exits(4).warns("no-such-plan.json");
    Cmd::new(["apply"]).run().exits(2);
}

#[test]
fn a_plan_for_a_removed_layout_is_an_error() {
    let planned = Planned::new();
    fs::remove_dir_all(planned.shelf.path()).expect("the layout can be removed");
    let run = planned.apply(&[]);
    assert!(matches!(run.code, Some(3 | 4)), "{}", run.all());
    run.warns("ocisweep: cannot");
}
