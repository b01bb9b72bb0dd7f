//! `ocisweep ls`

mod referrer;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use ocisweep::graph::{kind_of, lacks_layers};
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::{Image, ImageInspector, Presence, Sizes, TimeSource, list_images};
use ocisweep::oci::{Kind, split_name};
use ocisweep::parse::size::human_size3;
use ocisweep::plan::{
    FilterError, Filters, Policy, Unmatched, dangling, unmatched, unmatched_everywhere,
};
use ocisweep::{Error, Snapshot};
use serde::Serialize;

use self::tree::{TreePart, parts, tree};
use super::fields::{self, IMAGE, ImageFacts, Values, familiar};
use crate::cli::args::{ClockName, Format, LsArgs};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{choose, each};
use crate::cli::mistaken::Given;
use crate::cli::render::json::{self, SCHEMA_VERSION};
use crate::cli::render::table::{HELD, NO_LAYERS, NONE, Table};
use crate::cli::render::template::{Template, TemplateRow, TemplateValue};
use crate::cli::render::time::ago;

/// Lists each layout. A layout that fails does not stop the others.
///
/// # Errors
/// The exit status, if the command line cannot be used, or the layouts were not found.
pub fn run(context: &Context<'_>, args: &LsArgs) -> Result<Exit, Exit> {
    if args.tree && args.format.template().is_some() {
        return Err(context.fail(
            exit::USAGE,
            "cannot print a tree through a template",
            Some("`--tree --format json` prints the parts of each image; `{{.Platforms}}` needs no `--tree`"),
        ));
    }
    let template = fields::compile(context, &args.format, &IMAGE)?;
    let filters = context.filters(&args.filter);
    let filters = filters.map_err(|error| context.fail(exit::USAGE, &error.to_string(), None))?;
    let given = Given {
        is_quiet: args.quiet,
        ..args.layouts.given()
    };
    let chosen = choose(context, given)?;
    let mut exit = chosen.exit;
    let lists = each(context, &chosen.groups, |_, group| {
        let list = list(context, args, &filters, template.as_ref(), group.path());
        context.done_with(group.path());
        list
    });
    let listed = lists.iter().flatten().flatten();
    let unmatched = unmatched_everywhere(listed.map(|list| list.unmatched.as_slice()));
    context.warn_unmatched(&unmatched);
    let mut layouts = Vec::new();
    let mut ids = BTreeSet::new();
    let mut rows = Vec::new();
    for (path, list) in chosen.paths().zip(lists) {
        let list = match list {
            None => {
                exit = exit.and(exit::INTERRUPTED);
                continue;
            }
            Some(Ok(list)) => list,
            Some(Err(ListFailure::Layout(error))) => {
                exit = exit.and(context.report(&error));
                continue;
            }
            Some(Err(ListFailure::Filter(error))) => {
                exit = exit.and(context.fail(exit::USAGE, &error.to_string(), None));
                continue;
            }
        };
        let mut text = list.text;
        if args.quiet {
            let ids = list.ids.into_iter().filter(|id| ids.insert(id.clone()));
            text.extend(ids.map(|id| id + "\n"));
        } else if chosen.is_many && args.format == Format::Table {
            text = format!("{}:\n{text}", context.term.path(path));
        }
        layouts.extend(list.json);
        rows.extend(list.rows);
        exit = exit.and(context.print(&text));
        if let Some(error) = list.error {
            exit = exit.and(context.report(&error));
        }
        for complaint in list.complaints {
            exit = exit.and(context.fail(exit::INCOMPLETE, &complaint, None));
        }
    }
    if let Some(template) = &template {
        exit = exit.and(fields::print(context, template, &rows));
    }
    if args.format == Format::Json && !args.quiet {
        exit = exit.and(context.print(&json::document("ls", JsonList { layouts })));
    }
    Ok(exit)
}

/// Why a layout is not listed.
enum ListFailure {
    Layout(Error),
    Filter(FilterError),
}

/// The list of one layout, ready to be printed.
#[derive(Default)]
struct ImageList {
    text: String,
    /// With `--quiet`: image IDs in their order.
    ids: Vec<String>,
    /// With `--format json`.
    json: Option<JsonListedLayout>,
    /// With a template.
    rows: Vec<TemplateRow>,
    /// Why an image could not be read.
    error: Option<Error>,
    complaints: Vec<String>,
    unmatched: Vec<Unmatched>,
}

fn list(
    context: &Context<'_>,
    args: &LsArgs,
    filters: &Filters,
    template: Option<&Template>,
    path: &Path,
) -> Result<ImageList, ListFailure> {
    let snapshot = context.read(path, args.layouts.shared_blobs.as_deref());
    let snapshot = snapshot.map_err(ListFailure::Layout)?;
    context.note_unknown_lists(&snapshot);
    let mut cache = ImageInspector::new(&snapshot);
    let mut found = list_images(&snapshot, context.now);
    let mut list = ImageList::default();
    // Times and configurations are read only if they are needed.
    let clock = args.time.map_or(TimeSource::default(), Into::into);
    if !args.filter.is_empty() {
        let entries = list_entries(&snapshot);
        let dangling = dangling(&snapshot, &entries);
        list.unmatched = unmatched(&snapshot, &found, &entries, filters, &Policy::default());
        let filters = filters
            .against(&snapshot, &entries, &mut cache, &dangling)
            .map_err(ListFailure::Filter)?;
        found.retain(|image| filters.matches(image, &mut cache, clock));
        for image in &mut found {
            filters.retain_names(image);
        }
    }
    cache.prefetch(found.iter());
    let mut listed: Vec<Listed> = found
        .into_iter()
        .map(|image| {
            let mut listed = Listed::of(image, &snapshot, &mut cache);
            if args.time == Some(ClockName::Added) {
                listed.added = Some(cache.time(listed.image.id, clock));
            }
            listed
        })
        .collect();
    sort(&mut listed);
    if args.tree && args.format != Format::Table {
        let parts = parts(context, &snapshot, &listed, &mut cache);
        for (listed, parts) in listed.iter_mut().zip(parts) {
            listed.children = Some(parts);
        }
    }
    match &args.format {
        // As in docker, a template takes precedence over `--quiet`.
        Format::Template(_) => {
            let Some(template) = template else {
                return Ok(list);
            };
            for listed in &listed {
                list.rows
                    .extend(listed.fields(context, template, args, path, &mut cache));
            }
        }
        _ if args.quiet => {
            let ids = listed.iter();
            list.ids = ids.map(|listed| listed.id(args.no_trunc)).collect();
        }
        Format::Table if args.tree => {
            let is_cut = !args.no_trunc;
            list.text = tree(context, &snapshot, &listed, &mut cache, is_cut);
            list.text += &legend(context, &listed);
        }
        Format::Table => list.text = table(context, &listed, args),
        Format::Jsonl => {
            let is_many = args.layouts.given().is_many();
            for image in &listed {
                let mut image = image.to_json(&snapshot);
                image.layout = is_many.then(|| path.to_string_lossy().into_owned());
                let line = serde_json::to_string(&image);
                list.text += &line.expect("strings and numbers always serialise");
                list.text.push('\n');
            }
        }
        Format::Json => {
            list.json = Some(JsonListedLayout {
                path: path.to_string_lossy().into_owned(),
                images: listed
                    .iter()
                    .map(|image| image.to_json(&snapshot))
                    .collect(),
            });
        }
    }
    list.error = cache.take_error().err();
    let entries = snapshot.state.index.entries().iter().enumerate();
    list.complaints = entries
        .filter_map(|(position, entry)| {
            let why = entry.digest.as_ref().err()?;
            Some(format!(
                "cannot show entry {position} of `{}/index.json`: it has {why}",
                path.display()
            ))
        })
        .collect();
    Ok(list)
}

/// An image with the details that the list shows.
pub(super) struct Listed {
    pub(super) image: Image,
    created: Option<Timestamp>,
    /// With `--time added`: when it was added to the layout, if its file has a time.
    added: Option<Option<Timestamp>>,
    pub(super) sizes: Sizes,
    pub(super) presence: Presence,
    /// Manifests are present and no layer is.
    pub(super) lacks_layers: bool,
    /// With `--tree` in JSON.
    children: Option<Vec<TreePart>>,
}

impl Listed {
    fn of(image: Image, snapshot: &Snapshot, cache: &mut ImageInspector<'_>) -> Self {
        let declared = image
            .entries
            .first()
            .and_then(|&position| snapshot.state.index.entries().get(position))
            .and_then(|entry| entry.size);
        Self {
            created: cache.config(image.id).and_then(|config| config.created),
            added: None,
            sizes: cache.sizes(image.id, declared),
            presence: cache.presence(image.id),
            lacks_layers: lacks_layers(&snapshot.graph, image.id),
            children: None,
            image,
        }
    }

    /// Returns a row for each name: repository and tag. An untagged image has one row.
    fn rows(&self) -> Vec<(String, String)> {
        let none = || NONE.to_owned();
        if self.image.names.is_empty() {
            return vec![(none(), none())];
        }
        let names = self.image.names.iter().map(|name| {
            let (repository, tag) = split_name(&name.text);
            let repository = repository.map_or_else(none, familiar);
            (repository, tag.map_or_else(none, str::to_owned))
        });
        names.collect()
    }

    fn id(&self, no_trunc: bool) -> String {
        if no_trunc {
            self.image.digest.to_string()
        } else {
            self.image.digest.short()
        }
    }

    /// Returns the time that is shown and sorted by.
    fn time(&self) -> Option<Timestamp> {
        self.added.unwrap_or(self.created)
    }

    /// Returns what the table shows in addition to docker's columns.
    fn extra(&self) -> String {
        let held = (!self.image.holds.is_empty()).then_some(HELD);
        let absent = self.lacks_layers.then_some(NO_LAYERS);
        let marks: Vec<&str> = held.into_iter().chain(absent).collect();
        marks.join(" ")
    }

    /// Returns `true` if an image is worth showing only below another one: it has no name and no hold.
    fn follows(&self) -> bool {
        self.image.names.is_empty() && self.image.holds.is_empty()
    }

    const fn state(&self) -> &'static str {
        state(self.presence)
    }

    fn first_name(&self) -> &str {
        self.image.names.first().map_or("", |name| &name.text)
    }
}

/// Returns how much of an image is present, as in JSON.
pub(super) const fn state(presence: Presence) -> &'static str {
    match presence {
        Presence::Whole => "whole",
        Presence::Partial => "partial",
        Presence::Missing => "missing",
        Presence::Damaged => "damaged",
    }
}

/// Sorts by time, newest first, then by name, then by digest. An image without a time comes last.
fn sort(listed: &mut [Listed]) {
    listed.sort_by(|a, b| {
        b.time()
            .cmp(&a.time())
            .then_with(|| a.first_name().is_empty().cmp(&b.first_name().is_empty()))
            .then_with(|| a.first_name().cmp(b.first_name()))
            .then_with(|| a.image.digest.cmp(&b.image.digest))
    });
}

fn table(context: &Context<'_>, listed: &[Listed], args: &LsArgs) -> String {
    let time = match args.time {
        Some(ClockName::Added) => "ADDED",
        Some(ClockName::Created) | None => "CREATED",
    };
    let mut headers = vec!["REPOSITORY", "TAG", "IMAGE ID", time, "SIZE"];
    if args.digests {
        headers.insert(2, "DIGEST");
    }
    // Only if it is needed: the table of a layout whose images are whole and not held is docker's.
    let has_extra = listed.iter().any(|listed| !listed.extra().is_empty());
    if has_extra {
        headers.push("EXTRA");
    }
    let width = context.term.width().filter(|_| !args.no_trunc);
    let mut table = Table::new(&headers, &[0, 1], width);
    for listed in listed {
        for (repository, tag) in listed.rows() {
            let mut row = vec![
                context.term.foreign(&repository),
                context.term.foreign(&tag),
            ];
            if args.digests {
                row.push(listed.image.digest.to_string());
            }
            row.push(listed.id(args.no_trunc));
            row.push(listed.time().map_or_else(
                // docker shows 1970 if there is no time, which looks like a real date.
                || "N/A".to_owned(),
                |time| ago(context.now, time),
            ));
            row.push(human_size3(listed.sizes.disk));
            if has_extra {
                row.push(listed.extra());
            }
            table.row(row);
        }
    }
    table.render() + &legend(context, listed)
}

/// Returns the explanation of `H`, on terminals only, as docker does.
fn legend(context: &Context<'_>, listed: &[Listed]) -> String {
    let is_held = listed.iter().any(|listed| !listed.image.holds.is_empty());
    match context.term.width() {
        Some(_) if is_held => format!("{HELD}: held, see `ocisweep hold ls`\n"),
        _ => String::new(),
    }
}

#[derive(Serialize)]
struct JsonList {
    layouts: Vec<JsonListedLayout>,
}

#[derive(Serialize)]
struct JsonListedLayout {
    path: String,
    images: Vec<JsonListedImage>,
}

/// One image; with `--format jsonl` a document of its own.
#[derive(Serialize)]
struct JsonListedImage {
    schema_version: u32,
    /// With `--format jsonl` and several layouts: the path of its layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<String>,
    digest: String,
    kind: &'static str,
    media_type: String,
    artifact_type: Option<String>,
    names: Vec<String>,
    created: Option<String>,
    /// With `--time added`.
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<Option<String>>,
    /// Bytes that are present, each blob once.
    disk_bytes: u64,
    /// Bytes that the descriptors declare.
    content_bytes: u64,
    state: &'static str,
    /// Manifests are present and no layer is; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lacks_layers: bool,
    holds: Vec<String>,
    /// Other JSON files of the layout that list it as well.
    second_indexes: Vec<String>,
    /// With `--tree`: what is below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<TreePart>>,
}

impl Listed {
    fn to_json(&self, snapshot: &Snapshot) -> JsonListedImage {
        JsonListedImage {
            schema_version: SCHEMA_VERSION,
            layout: None,
            digest: self.image.digest.to_string(),
            kind: kind_of(
                &snapshot.graph,
                self.image.id,
                Kind::of(&self.image.media_type),
            ),
            media_type: self.image.media_type.clone().into(),
            artifact_type: self.image.artifact_type.clone().map(Into::into),
            names: self.image.name_list(),
            created: self.created.map(|created| created.to_string()),
            added: self.added.map(|added| added.map(|added| added.to_string())),
            disk_bytes: self.sizes.disk,
            content_bytes: self.sizes.content,
            state: self.state(),
            lacks_layers: self.lacks_layers,
            holds: self.image.holds.clone(),
            second_indexes: self.image.second_indexes.clone(),
            children: self.children.clone(),
        }
    }

    /// Returns the fields of each row. Anything that costs more than the table is read only if the template uses it.
    fn fields(
        &self,
        context: &Context<'_>,
        template: &Template,
        args: &LsArgs,
        layout: &Path,
        cache: &mut ImageInspector<'_>,
    ) -> Vec<TemplateRow> {
        let values = Values(context);
        let platforms = if template.uses("Platforms") {
            fields::platforms(&self.image, cache)
        } else {
            Vec::new()
        };
        let added = if template.uses("AddedSince") || template.uses("AddedAt") {
            cache.time(self.image.id, TimeSource::Added)
        } else {
            None
        };
        let facts = ImageFacts {
            layout: &layout.to_string_lossy(),
            created: self.created,
            platforms,
            id: self.id(args.no_trunc),
            size: human_size3(self.sizes.disk),
            size_bytes: self.sizes.disk,
        };
        let row = |name| {
            let more = [
                (
                    "ContentSize",
                    TemplateValue::Text(human_size3(self.sizes.content)),
                ),
                ("ContentBytes", values.number(self.sizes.content)),
                ("State", TemplateValue::Text(self.state().to_owned())),
                ("AddedSince", values.since(added)),
                ("AddedAt", values.at(added)),
            ];
            let fields = fields::image(values, &self.image, name, &facts);
            TemplateRow::new(fields.into_iter().chain(more))
        };
        (0..self.image.names.len().max(1)).map(row).collect()
    }
}
