//! The rows of `df --format TEMPLATE`.
//!
//! Without `-v` a row is a line of the table of one layout, or one of several layouts. With `-v` it is a layout with its
//! `.Images`, as in docker; with `table TEMPLATE`, where docker ignores the template, it is an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ocisweep::model::images::{Image, ImageInspector, list_images};
use ocisweep::oci::Digest;
use ocisweep::ops::SharedUsage;
use ocisweep::parse::size::human_size;
use ocisweep::report::usage::{ImageUsage, UsageRow};
use ocisweep::{Error, Snapshot};

use super::{UsageReport, ordered, reclaimable, types};
use crate::cli::args::{DfArgs, SortName};
use crate::cli::commands::fields::{self, IMAGE_USAGE, ImageFacts, LAYOUT_USAGE, USAGE, Values};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::render::template::{Template, TemplateRow, TemplateValue, of_table};

/// What is read from the configuration of an image, if the template uses it.
#[derive(Debug, Clone, Default)]
pub(super) struct Built {
    created: Option<Timestamp>,
    platforms: Vec<String>,
}

/// The details of each image, by its digest.
pub(super) type AllBuilt = BTreeMap<Digest, Built>;

/// Parses and checks the template of the command line, if there is one.
///
/// # Errors
/// The exit status, after the error was reported.
pub(super) fn template(context: &Context<'_>, args: &DfArgs) -> Result<Option<Template>, Exit> {
    let is_table = args
        .format
        .template()
        .is_some_and(|text| of_table(text).is_some());
    let schema = match (args.verbose, is_table) {
        (false, _) => &USAGE,
        (true, true) => &IMAGE_USAGE,
        (true, false) => &LAYOUT_USAGE,
    };
    fields::compile(context, &args.format, schema)
}

/// Reads the configurations of images, if the template uses what they contain.
pub(super) fn built(snapshot: &Snapshot, images: &[Image], template: &Template) -> AllBuilt {
    let uses_time = template.uses("CreatedSince") || template.uses("CreatedAt");
    let uses_platforms = template.uses("Platforms");
    if !uses_time && !uses_platforms {
        return AllBuilt::new();
    }
    let mut cache = ImageInspector::new(snapshot);
    let built = images.iter().map(|image| {
        let created = cache.config(image.id).and_then(|config| config.created);
        let platforms = fields::platforms(image, &mut cache);
        (image.digest.clone(), Built { created, platforms })
    });
    built.collect()
}

/// Returns the rows of layouts, and whether they are images.
pub(super) fn of(
    context: &Context<'_>,
    template: &Template,
    (is_verbose, sort): (bool, Option<SortName>),
    reports: &[UsageReport],
) -> Vec<TemplateRow> {
    let rows = reports.iter().flat_map(|report| {
        let layout = &report.path;
        if !is_verbose {
            let types = types(report).into_iter();
            let row = |(name, row): (&str, UsageRow)| measure(context, layout, name, &row);
            return types.map(row).collect();
        }
        let images = report.images.as_deref().unwrap_or_default();
        let images = ordered(images, sort);
        of_layout(context, template, layout, &images, &report.built)
    });
    rows.collect()
}

/// Returns the rows of layouts that share a store.
///
/// # Errors
/// Those of reading a layout again for what the template uses.
pub(super) fn of_shared(
    context: &Context<'_>,
    template: &Template,
    store: &Path,
    layouts: &[PathBuf],
    usage: &SharedUsage,
    trash: &UsageRow,
    is_verbose: bool,
) -> Result<Vec<TemplateRow>, Error> {
    let mut rows = Vec::new();
    for (number, layout) in layouts.iter().enumerate() {
        let path = layout.to_string_lossy();
        if is_verbose {
            let images = usage.images.get(number).map(Vec::as_slice);
            let snapshot = context.read(layout, Some(store))?;
            // Blob numbers of this snapshot: those of the other one cover all layouts.
            let own = list_images(&snapshot, context.now);
            let built = built(&snapshot, &own, template);
            let images = ordered(images.unwrap_or_default(), None);
            rows.extend(of_layout(context, template, &path, &images, &built));
        } else if let Some(row) = usage.layouts.get(number) {
            rows.push(measure(context, &path, "Images", row));
        }
    }
    if !is_verbose {
        let store = store.to_string_lossy();
        rows.push(measure(context, &store, "Orphans", &usage.orphans));
        if trash.total > 0 {
            rows.push(measure(context, &store, "Trash", trash));
        }
    }
    Ok(rows)
}

/// Returns the fields of a line of the table.
fn measure(context: &Context<'_>, layout: &str, name: &str, row: &UsageRow) -> TemplateRow {
    let values = Values(context);
    TemplateRow::new([
        ("Type", TemplateValue::Text(name.to_owned())),
        ("TotalCount", TemplateValue::Text(row.total.to_string())),
        ("Active", TemplateValue::Text(row.active.to_string())),
        ("Size", TemplateValue::Text(human_size(row.size))),
        ("Reclaimable", TemplateValue::Text(reclaimable(row))),
        ("Layout", values.text(layout)),
        ("SizeBytes", values.number(row.size)),
        ("ReclaimableBytes", values.number(row.reclaimable)),
    ])
}

/// Returns the images of a layout, in the order of the table: as rows of a table, else as one row with all of them.
fn of_layout(
    context: &Context<'_>,
    template: &Template,
    layout: &str,
    images: &[&(Image, ImageUsage)],
    built: &AllBuilt,
) -> Vec<TemplateRow> {
    let values = Values(context);
    let rows = images.iter().map(|(image, usage)| {
        let built = built.get(&image.digest).cloned().unwrap_or_default();
        let facts = ImageFacts {
            layout,
            created: built.created,
            platforms: built.platforms,
            id: image.digest.short(),
            size: human_size(usage.size),
            size_bytes: usage.size,
        };
        let more = [
            ("SharedSize", TemplateValue::Text(human_size(usage.shared))),
            ("UniqueSize", TemplateValue::Text(human_size(usage.unique))),
            ("SharedBytes", values.number(usage.shared)),
            ("UniqueBytes", values.number(usage.unique)),
        ];
        // As in docker, the first name stands for the image.
        let fields = fields::image(values, image, 0, &facts);
        TemplateRow::new(fields.into_iter().chain(more))
    });
    let rows: Vec<TemplateRow> = rows.collect();
    if template.is_table() {
        return rows;
    }
    vec![TemplateRow::new([
        ("Images", TemplateValue::Rows(rows.into())),
        ("Layout", values.text(layout)),
    ])]
}
