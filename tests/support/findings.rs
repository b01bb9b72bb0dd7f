//! [`Findings`]: the report of `check`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Desc, Run};

/// What `check --format json` found in one layout.
pub(crate) struct Findings {
    pub(crate) run: Run,
    pub(crate) layout: Value,
}

impl Findings {
    pub(crate) fn of(run: Run) -> Self {
        let document = run.json();
        assert_eq!(document["schema_version"], 1, "{}", run.all());
        assert_eq!(document["command"], "check", "{}", run.all());
        let layout = document["layouts"][0].clone();
        Self { run, layout }
    }

    /// Returns the class of every blob that is not `ok`, by digest.
    pub(crate) fn found(&self) -> BTreeMap<String, String> {
        let items = self.layout["items"].as_array().expect("items");
        items
            .iter()
            .map(|item| {
                let digest = item["digest"].as_str().unwrap_or("none");
                (digest.to_owned(), text(&item["class"]))
            })
            .collect()
    }

    /// Returns the item of a blob.
    #[track_caller]
    pub(crate) fn item(&self, digest: &str) -> &Value {
        let items = self.layout["items"].as_array().expect("items");
        let found = items.iter().find(|item| item["digest"] == digest);
        found.unwrap_or_else(|| panic!("{digest} is not mentioned\n{}", self.run.all()))
    }

    /// Returns how many blobs are of a class.
    pub(crate) fn count(&self, class: &str) -> u64 {
        let classes = self.layout["classes"].as_array().expect("classes");
        let found = classes.iter().find(|found| found["class"] == class);
        found.expect("every class is present")["blobs"]
            .as_u64()
            .expect("a number")
    }

    /// Panics unless exactly this was found, with the exit code that belongs to it.
    #[track_caller]
    pub(crate) fn finds(&self, expected: &[(&Desc, &str)]) -> &Self {
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(desc, class)| (desc.digest.clone(), (*class).to_owned()))
            .collect();
        assert_eq!(self.found(), expected, "{}", self.run.all());
        let damage = expected.values().filter(|class| *class != "sparse").count();
        self.run.exits(i32::from(damage > 0));
        assert_eq!(self.layout["damaged"], damage, "{}", self.run.all());
        self
    }
}

/// Returns the strings of an array.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .expect("an array")
        .iter()
        .map(text)
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
