//! What keeps images whose last name was removed, as text and as JSON.

use std::fmt::Write as _;

use ocisweep::plan::KeptImage;

use super::json;
use crate::cli::context::Context;

/// Returns a line for each reason. `more`: images that are not among these.
pub fn kept_lines(context: &Context<'_>, kept: &[KeptImage], more: usize) -> String {
    let mut text = String::new();
    for image in kept {
        // Of one image everybody knows which.
        let which = match kept {
            [_] => String::new(),
            _ => format!(" ({})", image.digest.short()),
        };
        // Writing to a String cannot fail.
        for keeper in &image.by {
            let keeper = keeper.to_string();
            let _ = writeln!(text, "kept: {}{which}", context.term.foreign(&keeper));
        }
        if image.more > 0 {
            let _ = writeln!(text, "kept: and {} more{which}", image.more);
        }
    }
    if more > 0 {
        let images = super::sweep::count(more as u64, "more image");
        let _ = writeln!(text, "kept: {images}");
    }
    text
}

/// Returns an item for the document of each image.
pub fn kept_items(kept: &[KeptImage]) -> impl Iterator<Item = json::Item> {
    kept.iter().map(|image| json::Item {
        platform: None,
        digest: Some(image.digest.to_string()),
        path: None,
        kind: "blob",
        size: image.size,
        action: "keep",
        reasons: image.by.iter().map(ToString::to_string).collect(),
        names: Vec::new(),
    })
}
