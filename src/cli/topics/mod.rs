//! Help topics: what several commands share, explained once with examples.
//!
//! Each topic is text of at most 80 columns. `tests/cli/topics.rs` runs the commands and checks the tables in it.

/// Every topic with its text, in the order in which help lists them.
pub const TOPICS: [(&str, &str); 5] = [
    ("filters", include_str!("filters.txt")),
    ("times", include_str!("times.txt")),
    ("patterns", include_str!("patterns.txt")),
    ("sizes", include_str!("sizes.txt")),
    ("templates", include_str!("templates.txt")),
];

/// Returns the text of a topic.
pub fn text(name: &str) -> Option<&'static str> {
    let mut topics = TOPICS.into_iter();
    topics.find_map(|(topic, text)| (topic == name).then_some(text))
}
