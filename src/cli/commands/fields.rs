//! The fields of `--format TEMPLATE`: those of docker under docker's names, and those specific to layouts.

use jiff::Timestamp;
use ocisweep::model::images::{Image, ImageInspector, Presence};
use ocisweep::oci::reference::Reference;
use ocisweep::oci::split_name;

use crate::cli::args::Format;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::render::table::NONE;
use crate::cli::render::template::{
    Field, Mistake, Schema, Template, TemplateRow, TemplateValue, ValueKind,
};
use crate::cli::render::time::ago;

/// Printed in place of a time or a number that is unknown, as in docker.
pub(super) const UNKNOWN: &str = "N/A";

/// Declares the fields of an image, followed by further fields.
macro_rules! image_fields {
    ($($more:expr),*) => {
        &[
            Field::text("ID", "IMAGE ID"),
            Field::text("Repository", "REPOSITORY"),
            Field::text("Tag", "TAG"),
            Field::text("Digest", "DIGEST"),
            Field::text("CreatedSince", "CREATED"),
            Field::text("CreatedAt", "CREATED AT"),
            Field::text("Size", "SIZE"),
            Field::text("SharedSize", "SHARED SIZE"),
            Field::text("UniqueSize", "UNIQUE SIZE"),
            Field::text("Containers", "CONTAINERS"),
            Field::text("Layout", "LAYOUT"),
            Field::text("Name", "NAME"),
            Field::of("Names", "NAMES", ValueKind::List),
            Field::of("Holds", "HOLDS", ValueKind::List),
            Field::of("SecondIndexes", "SECOND INDEXES", ValueKind::List),
            Field::of("Platforms", "PLATFORMS", ValueKind::List),
            Field::text("MediaType", "MEDIA TYPE"),
            Field::text("ArtifactType", "ARTIFACT TYPE"),
            Field::of("SizeBytes", "SIZE BYTES", ValueKind::Number),
            $($more),*
        ]
    };
}

/// A row of `ls`: a name of an image.
pub(super) static IMAGE: Schema = Schema {
    row: "an image",
    fields: image_fields![
        Field::text("ContentSize", "CONTENT SIZE"),
        Field::of("ContentBytes", "CONTENT BYTES", ValueKind::Number),
        Field::text("State", "STATE"),
        Field::text("AddedSince", "ADDED"),
        Field::text("AddedAt", "ADDED AT")
    ],
    raw: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
};

/// A row of the images of `df -v`.
pub(super) static IMAGE_USAGE: Schema = Schema {
    row: "an image",
    fields: image_fields![
        Field::of("SharedBytes", "SHARED BYTES", ValueKind::Number),
        Field::of("UniqueBytes", "UNIQUE BYTES", ValueKind::Number)
    ],
    raw: "",
};

/// A layout in `df -v`.
pub(super) static LAYOUT_USAGE: Schema = Schema {
    row: "a layout",
    fields: &[
        Field::of("Images", "IMAGES", ValueKind::Rows(&IMAGE_USAGE)),
        Field::text("Layout", "LAYOUT"),
    ],
    raw: "{{range .Images}}repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\nsize: {{.Size}}\n\
          shared_size: {{.SharedSize}}\nunique_size: {{.UniqueSize}}\n\n{{end -}}",
};

/// A row of `df`.
pub(super) static USAGE: Schema = Schema {
    row: "a row of `df`",
    fields: &[
        Field::text("Type", "TYPE"),
        Field::text("TotalCount", "TOTAL"),
        Field::text("Active", "ACTIVE"),
        Field::text("Size", "SIZE"),
        Field::text("Reclaimable", "RECLAIMABLE"),
        Field::text("Layout", "LAYOUT"),
        Field::of("SizeBytes", "SIZE BYTES", ValueKind::Number),
        Field::of("ReclaimableBytes", "RECLAIMABLE BYTES", ValueKind::Number),
    ],
    raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n",
};

/// A row of `hold ls`.
pub(super) static HOLD: Schema = Schema {
    row: "a hold",
    fields: &[
        Field::text("Name", "NAME"),
        Field::text("Image", "IMAGE"),
        Field::text("ID", "IMAGE ID"),
        Field::text("Digest", "DIGEST"),
        Field::text("Ends", "ENDS"),
        Field::text("Added", "ADDED"),
        Field::text("AddedAt", "ADDED AT"),
        Field::text("Until", "UNTIL"),
        Field::text("While", "WHILE"),
        Field::text("Reason", "REASON"),
        Field::of("Active", "ACTIVE", ValueKind::Flag),
    ],
    raw: "name: {{.Name}}\nimage: {{.Image}}\nimage_id: {{.ID}}\nends: {{.Ends}}\nreason: {{.Reason}}\n",
};

/// A row of `trash ls`.
pub(super) static RUN: Schema = Schema {
    row: "a run",
    fields: &[
        Field::text("Run", "RUN"),
        Field::text("When", "WHEN"),
        Field::text("Command", "COMMAND"),
        Field::of("Names", "NAMES", ValueKind::List),
        Field::of("Blobs", "BLOBS", ValueKind::Number),
        Field::text("Size", "SIZE"),
        Field::text("Ends", "ENDS"),
        Field::of("SizeBytes", "SIZE BYTES", ValueKind::Number),
        Field::text("StartedAt", "STARTED AT"),
        Field::text("EndsAt", "ENDS AT"),
    ],
    raw: "run: {{.Run}}\nwhen: {{.When}}\ncommand: {{.Command}}\nblobs: {{.Blobs}}\nsize: {{.Size}}\nends: {{.Ends}}\n",
};

/// Parses and checks the template of a format, if it is one.
///
/// # Errors
/// The exit status, after the error was reported; nothing was read by then.
pub(super) fn compile(
    context: &Context<'_>,
    format: &Format,
    schema: &'static Schema,
) -> Result<Option<Template>, Exit> {
    let template = format.template();
    let compiled = template.map(|text| Template::compile(text, schema));
    compiled
        .transpose()
        .map_err(|mistake| report(context, &mistake))
}

/// Prints rows with a template, and returns the result of printing.
pub(super) fn print<'a>(
    context: &Context<'_>,
    template: &Template,
    rows: impl IntoIterator<Item = &'a TemplateRow>,
) -> Exit {
    match template.render(rows) {
        Ok(text) => context.print(&text),
        Err(mistake) => report(context, &mistake),
    }
}

fn report(context: &Context<'_>, mistake: &Mistake) -> Exit {
    let text = format!("cannot use the template of `--format`: {}", mistake.text);
    context.fail(exit::USAGE, &text, mistake.hint.as_deref())
}

/// Makes values from the contents of layouts, escaped for the output.
#[derive(Clone, Copy)]
pub(super) struct Values<'a>(pub(super) &'a Context<'a>);

impl Values<'_> {
    /// Returns foreign text.
    pub(super) fn text(self, text: &str) -> TemplateValue {
        TemplateValue::Text(self.0.term.foreign(text))
    }

    /// Returns a list of foreign texts.
    pub(super) fn list(self, texts: &[String]) -> TemplateValue {
        let texts = texts.iter().map(|text| self.0.term.foreign(text));
        TemplateValue::List(texts.collect())
    }

    /// Returns a number.
    pub(super) fn number(self, number: u64) -> TemplateValue {
        TemplateValue::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// Returns how long ago a time was.
    pub(super) fn since(self, time: Option<Timestamp>) -> TemplateValue {
        let text = time.map(|time| ago(self.0.now, time));
        TemplateValue::Text(text.unwrap_or_else(|| UNKNOWN.to_owned()))
    }

    /// Returns a time as docker prints it: `2026-11-20 22:26:02 +0000 UTC`.
    pub(super) fn at(self, time: Option<Timestamp>) -> TemplateValue {
        let text = time.map(|time| {
            let time = time.to_zoned(self.0.zone().clone());
            time.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
        });
        TemplateValue::Text(text.unwrap_or_else(|| UNKNOWN.to_owned()))
    }
}

/// What the fields of an image need in addition to the image.
pub(super) struct ImageFacts<'a> {
    pub(super) layout: &'a str,
    pub(super) created: Option<Timestamp>,
    pub(super) platforms: Vec<String>,
    /// The ID, cut to twelve digits or not.
    pub(super) id: String,
    pub(super) size: String,
    pub(super) size_bytes: u64,
}

/// Returns the fields that every row of an image has. `name`: the number of its name; an image without names has one row.
pub(super) fn image(
    values: Values<'_>,
    image: &Image,
    name: usize,
    facts: &ImageFacts<'_>,
) -> Vec<(&'static str, TemplateValue)> {
    let none = || TemplateValue::Text(NONE.to_owned());
    let name = image.names.get(name).map(|name| name.text.as_ref());
    let (repository, tag) = name.map_or((None, None), split_name);
    vec![
        ("ID", TemplateValue::Text(facts.id.clone())),
        (
            "Repository",
            repository.map_or_else(none, |text| values.text(&familiar(text))),
        ),
        ("Tag", tag.map_or_else(none, |tag| values.text(tag))),
        ("Digest", TemplateValue::Text(image.digest.to_string())),
        ("CreatedSince", values.since(facts.created)),
        ("CreatedAt", values.at(facts.created)),
        ("Size", TemplateValue::Text(facts.size.clone())),
        ("SharedSize", TemplateValue::Text(UNKNOWN.to_owned())),
        ("UniqueSize", TemplateValue::Text(UNKNOWN.to_owned())),
        // A hold is to a layout what a container is to docker.
        (
            "Containers",
            TemplateValue::Text(image.holds.len().to_string()),
        ),
        ("Layout", values.text(facts.layout)),
        ("Name", name.map_or_else(none, |name| values.text(name))),
        ("Names", values.list(&image.name_list())),
        ("Holds", values.list(&image.holds)),
        ("SecondIndexes", values.list(&image.second_indexes)),
        ("Platforms", values.list(&facts.platforms)),
        ("MediaType", values.text(&image.media_type)),
        (
            "ArtifactType",
            values.text(image.artifact_type.as_deref().unwrap_or_default()),
        ),
        ("SizeBytes", values.number(facts.size_bytes)),
    ]
}

/// Returns the platforms of an image whose manifests are present, in the order of its index.
pub(super) fn platforms(image: &Image, cache: &mut ImageInspector<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (manifest, edge) in cache.manifests(image.id) {
        if cache.presence(manifest) == Presence::Missing {
            continue;
        }
        let platform = cache.platform(manifest, edge);
        let platform = platform.filter(|platform| !matches!(&*platform.os, "" | "unknown"));
        if let Some(platform) = platform.map(|platform| platform.to_string())
            && !found.contains(&platform)
        {
            found.push(platform);
        }
    }
    found
}

/// Shortens a repository as docker does: without `docker.io/` and `library/`.
pub(super) fn familiar(repository: &str) -> String {
    Reference::parse_normalized(repository).map_or_else(
        |_| repository.to_owned(),
        |reference| reference.familiar_name(),
    )
}
