//! UNIQUE of `df -v` and of `why` is what `rm -f` of the image frees, for every image of every layout.

use serde_json::Value;

use crate::corpus::sweepable;
use crate::support::{Cmd, for_each};

#[test]
fn unique_is_what_rm_frees() {
    for_each(sweepable(), crate::support::CaseLayout::label, |case| {
        let (_unpacked, layout) = case.unpack();
        let df = Cmd::new(["df", "-v", "--format", "json", "--grace", "0"])
            .arg(&layout)
            .run();
        let json = df.ok().json();
        let items = json["layouts"][0]["items"].as_array();
        let mut failures = Vec::new();
        for item in items.expect("df -v lists the images") {
            let digest = item["digest"].as_str().expect("a digest");
            let rm = Cmd::new(["rm", "-f", "-n", "--format", "json"])
                .arg(&layout)
                .arg(digest)
                .run();
            if rm.code != Some(0) {
                // Damaged or missing documents elsewhere stop it, whatever is unique to the image.
                continue;
            }
            let freed = rm.json()["totals"]["freed_bytes"].as_u64();
            let unique = item["unique_bytes"].as_u64();
            if unique != freed {
                failures.push(format!("{digest}: UNIQUE {unique:?}, freed {freed:?}"));
            }
            let why = Cmd::new(["why", "--format", "json"])
                .arg(&layout)
                .arg(digest)
                .run();
            let mut said = Vec::new();
            collect(&why.ok().json(), &mut said);
            if said.iter().any(|said| Some(*said) != freed) {
                failures.push(format!("{digest}: why says {said:?}, freed {freed:?}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

/// Finds every `unique_bytes`.
fn collect(value: &Value, found: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("unique_bytes").and_then(Value::as_u64));
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}
