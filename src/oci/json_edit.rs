//! Edits JSON by cutting spans out of its text.
//!
//! `serde_json::value::RawValue` borrows from the input, so the address of a value gives its position in the text. Only the
//! requested spans are replaced; every other byte is kept.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Applies splices to a text.
pub(super) fn apply(text: &str, mut splices: Vec<Splice>) -> Result<String, String> {
    splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
    let outside = || "a span is outside the text".to_owned();
    let mut edited = String::with_capacity(text.len());
    let mut copied = 0;
    for splice in &splices {
        if splice.range.start < copied {
            return Err("two edits of one place overlap".to_owned());
        }
        edited.push_str(text.get(copied..splice.range.start).ok_or_else(outside)?);
        edited.push_str(&splice.with);
        copied = splice.range.end;
    }
    edited.push_str(text.get(copied..).ok_or_else(outside)?);
    Ok(edited)
}

/// Returns the members of an object with their spans. The span of a member begins after the preceding brace or comma.
pub(super) fn member_spans(text: &str, object: &str) -> Result<Vec<Member>, String> {
    let whole = offset_in(text, object)?;
    let mut start = whole.start + 1;
    let mut spans = Vec::new();
    for (key, value) in members(object)? {
        let value = offset_in(text, value)?;
        let end = value.end;
        spans.push(Member {
            key,
            span: start..end,
            value,
        });
        // Only spaces and one comma are between a value and the next member.
        start = text
            .get(end..whole.end)
            .and_then(|rest| rest.find(','))
            .map_or(end, |comma| end + comma + 1);
    }
    Ok(spans)
}

/// One member of an object.
pub(super) struct Member {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Returns the elements of an array as written.
pub(super) fn elements(array: &str) -> Result<Vec<&str>, String> {
    serde_json::from_str::<Vec<&RawValue>>(array)
        .map(|elements| elements.into_iter().map(RawValue::get).collect())
        .map_err(|error| error.to_string())
}

/// A member of an object whose lists are split while it is read: a text of a hundred megabytes is read once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MemberPart<'a> {
    /// The value of another key, as written.
    Member(&'a str),
    /// The elements of a list, as written.
    List(Vec<&'a str>),
    /// `null` in place of a list.
    Null,
    /// Anything else in place of a list.
    NoList,
}

/// Returns the members of an object. `is_list` returns `true` for keys whose value should be a list.
pub(super) fn members_and_lists(
    object: &str,
    is_list: impl Fn(&str) -> bool,
) -> Result<Vec<(String, MemberPart<'_>)>, String> {
    struct Parts<F>(F);

    impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Parts<F> {
        type Value = Vec<(String, MemberPart<'de>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut parts = Vec::new();
            while let Some(key) = map.next_key::<String>()? {
                let part = if (self.0)(&key) {
                    map.next_value()?
                } else {
                    MemberPart::Member(map.next_value::<&RawValue>()?.get())
                };
                parts.push((key, part));
            }
            Ok(parts)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(object);
    deserializer
        .deserialize_map(Parts(is_list))
        .and_then(|parts| deserializer.end().map(|()| parts))
        .map_err(|error| error.to_string())
}

/// Reads a value in place of a list.
impl<'de> Deserialize<'de> for MemberPart<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = MemberPart<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element::<&RawValue>()? {
                    elements.push(element.get());
                }
                Ok(MemberPart::List(elements))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(MemberPart::NoList)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(MemberPart::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(MemberPart::NoList)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(MemberPart::NoList)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(MemberPart::NoList)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(MemberPart::NoList)
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(MemberPart::NoList)
            }
        }

        deserializer.deserialize_any(List)
    }
}

/// A range of the text and what replaces it.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) with: String,
}

/// Cuts the marked elements. Each run of them is cut with the comma before it or, at the beginning of the list, with the one
/// after it.
pub(super) fn cut_runs(spans: &[(Range<usize>, bool)]) -> Vec<Splice> {
    let mut splices = Vec::new();
    let mut before: Option<usize> = None;
    let mut elements = spans.iter().peekable();
    while let Some((span, gone)) = elements.next() {
        if !gone {
            before = Some(span.end);
            continue;
        }
        let mut end = span.end;
        while let Some((next, _)) = elements.next_if(|(_, gone)| *gone) {
            end = next.end;
        }
        let range = match (before, elements.peek()) {
            (Some(start), _) => start..end,
            (None, Some((next, _))) => span.start..next.start,
            (None, None) => span.start..end,
        };
        splices.push(Splice {
            range,
            with: String::new(),
        });
    }
    splices
}

/// Returns the range of `part` in `text`, of which it is a slice.
pub(super) fn offset_in(text: &str, part: &str) -> Result<Range<usize>, String> {
    (part.as_ptr() as usize)
        .checked_sub(text.as_ptr() as usize)
        .and_then(|start| Some(start..start.checked_add(part.len())?))
        .filter(|range| range.end <= text.len())
        .ok_or_else(|| "a value is not in the text".to_owned())
}

/// Returns the members of an object: unescaped keys, and values as written.
pub(super) fn members(object: &str) -> Result<Vec<(String, &str)>, String> {
    let parts = members_and_lists(object, |_| false)?.into_iter();
    let members = parts.filter_map(|(key, part)| match part {
        MemberPart::Member(value) => Some((key, value)),
        // No key was declared to hold a list.
        MemberPart::List(_) | MemberPart::Null | MemberPart::NoList => None,
    });
    Ok(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(range: Range<usize>) -> Splice {
        Splice {
            range,
            with: String::new(),
        }
    }

    #[test]
    fn lists_are_split_and_other_members_are_not() {
        fn is_list(key: &str) -> bool {
            key.eq_ignore_ascii_case("list")
        }
        fn read(text: &str) -> Vec<MemberPart<'_>> {
            let parts = members_and_lists(text, is_list).expect("JSON").into_iter();
            parts.map(|(_, part)| part).collect()
        }
        let text = r#" {"a" : [1,2], "List": [ {"x":[ ]} ,1e400,"\u0061" ], "list":null} "#;
        let parts = read(text);
        let list = vec![r#"{"x":[ ]}"#, "1e400", r#""\u0061""#];
        assert_eq!(
            parts,
            [
                MemberPart::Member("[1,2]"),
                MemberPart::List(list),
                MemberPart::Null
            ]
        );
        for other in ["{\"a\":[{}]}", "true", "1", "-1", "1.5", "\"x\""] {
            let text = format!("{{\"list\":{other}}}");
            assert_eq!(read(&text), [MemberPart::NoList], "{other}");
        }
        for damaged in [
            "",
            "[]",
            "{\"list\":[1 2]}",
            "{\"list\":[}",
            "{\"list\":[]} x",
            "{\"list\":{]}",
        ] {
            assert!(members_and_lists(damaged, is_list).is_err(), "{damaged}");
        }
    }

    #[test]
    fn overlapping_edits_are_refused_and_adjacent_edits_are_not() {
        let text = "abcdef";
        assert_eq!(apply(text, vec![cut(2..4), cut(0..2)]).as_deref(), Ok("ef"));
        assert_eq!(
            apply(text, vec![cut(0..2), cut(3..4)]).as_deref(),
            Ok("cef")
        );
        assert!(apply(text, vec![cut(0..3), cut(2..4)]).is_err());
        assert!(apply(text, vec![cut(0..4), cut(1..2)]).is_err());
        assert!(apply(text, vec![cut(5..9)]).is_err());
    }
}
