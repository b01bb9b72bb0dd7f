//! Names that are removed, and what keeps images whose last name was removed, as text and as JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::mem::take;

use ocisweep::oci::reference::Reference;
use ocisweep::plan::{KeptImage, Removal};

use super::json::SweptItem;
use super::pieces::Pieces;
use super::sweep::{Shown, count};
use super::wrap::wrapped;
use crate::cli::context::Context;

/// Notes of planning about names that are removed.
#[derive(Debug, Default)]
pub struct RemovedNames {
    untagged: Vec<String>,
    left_referrers: Vec<String>,
    kept_by: Vec<KeptImage>,
    more_kept: usize,
}

/// Adds the lines of a layout or of a shared store: names that are removed, files, and what keeps images.
pub fn add_lines(
    pieces: &mut Pieces<'_>,
    context: &Context<'_>,
    shown: &Shown<'_>,
    names: Option<&RemovedNames>,
) {
    if let Some(names) = names {
        names.add_untagged(pieces, context, shown);
    }
    shown.add_lines(pieces, context);
    if let Some(names) = names {
        pieces.push(&names.kept_lines(context));
    }
}

/// Returns a name without the registry and the repository that docker adds to `app:1`. A bare tag has neither.
fn familiar(name: &str) -> Cow<'_, str> {
    match Reference::parse_normalized(name) {
        Ok(reference) if name.contains(['/', ':']) => reference.familiar().into(),
        _ => name.into(),
    }
}

impl RemovedNames {
    /// Takes the notes of a removal.
    pub fn take(removal: &mut Removal) -> Self {
        Self {
            untagged: take(&mut removal.untagged),
            left_referrers: take(&mut removal.left_referrers),
            kept_by: take(&mut removal.kept_by),
            more_kept: removal.more_kept,
        }
    }

    /// Returns the names that were removed, or would be.
    pub fn untagged(&self, shown: &Shown<'_>) -> &[String] {
        if shown.is_written() {
            &self.untagged
        } else {
            &[]
        }
    }

    /// Adds a line for each name that was removed, or would be, in the short form that docker and `ls` show.
    pub fn add_untagged(&self, pieces: &mut Pieces<'_>, context: &Context<'_>, shown: &Shown<'_>) {
        let verb = shown.tense("Would untag", "Untagged");
        for name in self.untagged(shown) {
            let name = context.term.foreign(&familiar(name));
            pieces.line(format_args!("{verb}: {name}"));
        }
    }

    /// Returns a line for each reason why an image is kept.
    pub fn kept_lines(&self, context: &Context<'_>) -> String {
        let mut text = String::new();
        for image in &self.kept_by {
            // A single image does not have to be named.
            let which = match self.kept_by.as_slice() {
                [_] => String::new(),
                _ => format!(" ({})", image.digest.short()),
            };
            // Writing to a String cannot fail.
            for keeper in &image.by {
                let keeper = context.term.foreign(&keeper.to_string());
                let _ = writeln!(text, "kept: {keeper}{which}");
            }
            if image.more > 0 {
                let _ = writeln!(text, "kept: and {} more{which}", image.more);
            }
        }
        if self.more_kept > 0 {
            let _ = writeln!(text, "kept: {}", count(self.more_kept as u64, "more image"));
        }
        wrapped(text, context.term.width())
    }

    /// Returns an item for the document of each image that is kept.
    pub fn kept_items(&self) -> impl Iterator<Item = SweptItem> {
        self.kept_by.iter().map(|image| SweptItem {
            reasons: image.by.iter().map(ToString::to_string).collect(),
            ..SweptItem::blob(Some(&image.digest), image.size, "keep", "")
        })
    }

    /// Notes the referrers that are kept because they have a name.
    pub fn note_referrers(&self, context: &Context<'_>) {
        for name in &self.left_referrers {
            context.term.note(&format!(
                "keeping `{name}` and what it references: it has a name, and its subject is removed"
            ));
        }
    }
}
