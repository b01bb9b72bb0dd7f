//! The simplest interpretation of JSON: every member in its order, with the text of its value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, those of one name too.
pub(crate) struct Members<'t>(pub(crate) Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Returns the members of an object, if the text is one.
pub(crate) fn members(text: &str) -> Option<Vec<(String, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(text)
        .ok()
        .map(|members| members.0)
}

/// Returns `true` if no object in it has two members whose names are equal for a lenient reader, and no name is odd.
pub(crate) fn is_plain(text: &str) -> bool {
    let Some(members) = members(text) else {
        return serde_json::from_str::<Vec<&RawValue>>(text)
            .map_or(true, |items| items.iter().all(|item| is_plain(item.get())));
    };
    let mut names: Vec<String> = members
        .iter()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    names.sort();
    let total = names.len();
    names.dedup();
    names.len() == total
        && members
            .iter()
            .all(|(name, value)| name.is_ascii() && is_plain(value.get()))
}

/// Returns `true` if `short` is `long` without some bytes.
pub(crate) fn is_cut_from(short: &str, long: &str) -> bool {
    let mut rest = long.bytes();
    short.bytes().all(|byte| rest.any(|other| other == byte))
}
