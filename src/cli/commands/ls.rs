//! `ocisweep ls`

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use ocisweep::graph::{kind_of, lacks_layers};
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::TimeSource;
use ocisweep::model::images::{Image, ImageInspector, Presence, Sizes, list_images};
use ocisweep::oci::Kind;
use ocisweep::oci::reference::Reference;
use ocisweep::oci::split_name;
use ocisweep::parse::size::{human_duration, human_size3};
use ocisweep::plan::{
    FilterError, Filters, Policy, Unmatched, dangling, unmatched, unmatched_everywhere,
};
use ocisweep::{Error, Snapshot};
use serde::Serialize;

use super::ls_tree::{Shown, tree};
use crate::cli::args::{ClockName, ListFormat, LsArgs};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{choose, each};
use crate::cli::mistaken::CommandLine;
use crate::cli::render::json::{self, SCHEMA_VERSION};
use crate::cli::render::table::{NO_LAYERS, NONE, Table};

/// Lists each layout. One that fails does not stop the others.
pub fn run(context: &Context<'_>, args: &LsArgs) -> Exit {
    if args.tree && args.format != ListFormat::Table {
        context.term.error(
            "cannot print a tree as JSON",
            Some("`--format json` without `--tree` prints the state of each image, `ocisweep why` its parts"),
        );
        return exit::USAGE;
    }
    let filters = match Filters::parse(&args.filter, context.now, &context.zone) {
        Ok(filters) => filters,
        Err(error) => {
            context.term.error(&error.to_string(), None);
            return exit::USAGE;
        }
    };
    let line = CommandLine {
        is_quiet: args.quiet,
        shared_blobs: args.layouts.shared_blobs.as_deref(),
        ..CommandLine::default()
    };
    let chosen = match choose(context, &args.layouts.tree, line) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let mut document = JsonList {
        schema_version: SCHEMA_VERSION,
        command: "ls",
        layouts: Vec::new(),
    };
    let lists = each(context, &chosen.layouts, |_, path| {
        list(context, args, &filters, path)
    });
    let listed = lists.iter().flatten().flatten();
    let unmatched = unmatched_everywhere(listed.map(|list| list.unmatched.as_slice()));
    context.warn_unmatched(&unmatched);
    let mut ids = BTreeSet::new();
    for (path, list) in chosen.layouts.iter().zip(lists) {
        let list = match list {
            None => {
                exit = exit.and(exit::INTERRUPTED);
                continue;
            }
            Some(Ok(list)) => list,
            Some(Err(Failure::Layout(error))) => {
                exit = exit.and(context.report(&error));
                continue;
            }
            Some(Err(Failure::Filter(error))) => {
                context.term.error(&error.to_string(), None);
                exit = exit.and(exit::USAGE);
                continue;
            }
        };
        let mut text = list.text;
        if args.quiet {
            for id in list.ids {
                if ids.insert(id.clone()) {
                    text.push_str(&id);
                    text.push('\n');
                }
            }
        } else if chosen.is_many && args.format == ListFormat::Table {
            let path = path.to_string_lossy();
            text = format!("{}:\n{text}", context.term.foreign(&path));
        }
        document.layouts.extend(list.json);
        exit = exit.and(context.print(&text));
        if let Some(error) = list.trouble {
            exit = exit.and(context.report(&error));
        }
        for complaint in list.complaints {
            context.term.error(&complaint, None);
            exit = exit.and(exit::INCOMPLETE);
        }
    }
    if args.format == ListFormat::Json && !args.quiet {
        exit = exit.and(context.print(&json::pretty(&document)));
    }
    exit
}

/// Why a layout is not listed.
enum Failure {
    Layout(Error),
    Filter(FilterError),
}

/// One layout, ready to be printed.
#[derive(Default)]
struct List {
    text: String,
    /// With `--quiet`: image IDs in their order.
    ids: Vec<String>,
    /// With `--format json`.
    json: Option<JsonLayout>,
    /// What could not be read of an image.
    trouble: Option<Error>,
    complaints: Vec<String>,
    unmatched: Vec<Unmatched>,
}

fn list(
    context: &Context<'_>,
    args: &LsArgs,
    filters: &Filters,
    path: &Path,
) -> Result<List, Failure> {
    let view = match &args.layouts.shared_blobs {
        Some(pool) => context.read_in(path, pool),
        None => context.read(path),
    };
    let view = view.map_err(Failure::Layout)?;
    context.note_unknown_lists(&view);
    let mut cache = ImageInspector::new(&view);
    let mut found = list_images(&view, context.now);
    let mut list = List::default();
    // What was not asked for is read neither from the disk nor from configurations.
    let clock = args.time.map_or(TimeSource::default(), Into::into);
    if !args.filter.is_empty() {
        let dangling = dangling(&view);
        let entries = list_entries(&view);
        list.unmatched = unmatched(&view, &found, &entries, filters, &Policy::default());
        let filters = filters
            .against(&view, &entries, &mut cache, &dangling)
            .map_err(Failure::Filter)?;
        found.retain(|image| filters.matches(image, &mut cache, clock));
        for image in &mut found {
            filters.retain_names(image);
        }
    }
    let mut listed: Vec<Listed> = found
        .into_iter()
        .map(|image| {
            let mut listed = Listed::of(image, &view, &mut cache);
            if args.time == Some(ClockName::Added) {
                listed.added = Some(cache.time(listed.image.id, clock));
            }
            listed
        })
        .collect();
    sort(&mut listed);
    match args.format {
        _ if args.quiet => {
            let ids = listed.iter();
            list.ids = ids
                .map(|listed| image_id(&listed.image, args.no_trunc))
                .collect();
        }
        ListFormat::Table if args.tree => {
            let roots: Vec<Shown<'_>> = listed
                .iter()
                .map(|listed| Shown {
                    image: &listed.image,
                    sizes: listed.sizes,
                    presence: listed.presence,
                    lacks_layers: listed.lacks_layers,
                })
                .collect();
            list.text = tree(context, &view, &roots, &mut cache);
        }
        ListFormat::Table => list.text = table(context, &listed, args),
        ListFormat::Jsonl => {
            for image in &listed {
                let mut image = image.to_json(&view);
                if args.layouts.is_many() {
                    image.layout = Some(path.to_string_lossy().into_owned());
                }
                let line =
                    serde_json::to_string(&image).expect("strings and numbers always serialise");
                list.text.push_str(&line);
                list.text.push('\n');
            }
        }
        ListFormat::Json => {
            list.json = Some(JsonLayout {
                path: path.to_string_lossy().into_owned(),
                images: listed.iter().map(|image| image.to_json(&view)).collect(),
            });
        }
    }
    list.trouble = cache.take_error().err();
    let entries = view.state.index.entries().iter().enumerate();
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

/// An image with what the list shows of it.
struct Listed {
    image: Image,
    created: Option<Timestamp>,
    /// Where that was asked for: when it was added to the layout, if its file tells.
    added: Option<Option<Timestamp>>,
    sizes: Sizes,
    presence: Presence,
    /// Manifests are here and no layer is.
    lacks_layers: bool,
}

impl Listed {
    fn of(image: Image, view: &Snapshot, cache: &mut ImageInspector<'_>) -> Self {
        let declared = image
            .entries
            .first()
            .and_then(|&position| view.state.index.entries().get(position))
            .and_then(|entry| entry.size);
        Self {
            created: cache.config(image.id).and_then(|config| config.created),
            added: None,
            sizes: cache.sizes(image.id, declared),
            presence: cache.presence(image.id),
            lacks_layers: lacks_layers(&view.graph, image.id),
            image,
        }
    }

    /// Returns a row for each name: repository and tag. An untagged image has one row.
    fn rows(&self) -> Vec<(String, String)> {
        if self.image.names.is_empty() {
            return vec![(NONE.to_owned(), NONE.to_owned())];
        }
        let none = || NONE.to_owned();
        self.image
            .names
            .iter()
            .map(|name| {
                let (repository, tag) = split_name(&name.text);
                (
                    repository.map_or_else(none, familiar),
                    tag.map_or_else(none, str::to_owned),
                )
            })
            .collect()
    }

    /// Returns the time by which it is listed.
    fn time(&self) -> Option<Timestamp> {
        self.added.unwrap_or(self.created)
    }

    fn first_name(&self) -> &str {
        self.image.names.first().map_or("", |name| &name.text)
    }
}

/// Shortens a repository as docker does: without `docker.io/` and `library/`.
fn familiar(repository: &str) -> String {
    Reference::parse_normalized(repository).map_or_else(
        |_| repository.to_owned(),
        |reference| reference.familiar_name(),
    )
}

/// Newest first, then by name, then by digest; what has no date comes last.
fn sort(listed: &mut [Listed]) {
    listed.sort_by(|a, b| {
        b.time()
            .cmp(&a.time())
            .then_with(|| a.first_name().is_empty().cmp(&b.first_name().is_empty()))
            .then_with(|| a.first_name().cmp(b.first_name()))
            .then_with(|| a.image.digest.cmp(&b.image.digest))
    });
}

fn image_id(image: &Image, no_trunc: bool) -> String {
    if no_trunc {
        image.digest.to_string()
    } else {
        image.digest.short()
    }
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
    // Only where there is something to say: a layout whose images are whole looks as in docker.
    if listed.iter().any(|listed| listed.lacks_layers) {
        headers.push("EXTRA");
    }
    let mut table = Table::new(&headers);
    table.names(0);
    table.names(1);
    table.fit(context.term.width());
    for listed in listed {
        for (repository, tag) in listed.rows() {
            let mut row = vec![
                context.term.foreign(&repository).into_owned(),
                context.term.foreign(&tag).into_owned(),
            ];
            if args.digests {
                row.push(listed.image.digest.to_string());
            }
            row.push(image_id(&listed.image, args.no_trunc));
            row.push(ago(context.now, listed.time()));
            row.push(human_size3(listed.sizes.disk));
            if listed.lacks_layers {
                row.push(NO_LAYERS.to_owned());
            }
            table.row(row);
        }
    }
    table.render()
}

/// Returns a time as docker words it. Without one it says so: docker shows 1970, which looks like a
/// fact.
fn ago(now: Timestamp, created: Option<Timestamp>) -> String {
    let Some(created) = created else {
        return "N/A".to_owned();
    };
    let passed = now.duration_since(created);
    let passed = std::time::Duration::try_from(passed).unwrap_or_default();
    format!("{} ago", human_duration(passed))
}

#[derive(Serialize)]
struct JsonList {
    schema_version: u32,
    command: &'static str,
    layouts: Vec<JsonLayout>,
}

#[derive(Serialize)]
struct JsonLayout {
    path: String,
    images: Vec<JsonImage>,
}

/// One image, as scripts read it.
#[derive(Serialize)]
struct JsonImage {
    schema_version: u32,
    /// In a line of its own, of several layouts: which one it is in.
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
    /// Bytes that are here, each blob once.
    disk_bytes: u64,
    /// Bytes that the descriptors declare.
    content_bytes: u64,
    state: &'static str,
    /// Manifests are here and no layer is; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lacks_layers: bool,
    holds: Vec<String>,
    /// Files beside `index.json` that list it as well.
    second_indexes: Vec<String>,
}

impl Listed {
    fn to_json(&self, view: &Snapshot) -> JsonImage {
        JsonImage {
            schema_version: SCHEMA_VERSION,
            layout: None,
            digest: self.image.digest.to_string(),
            kind: kind_of(&view.graph, self.image.id, Kind::of(&self.image.media_type)),
            media_type: self.image.media_type.clone().into(),
            artifact_type: self.image.artifact_type.clone().map(Into::into),
            names: self
                .image
                .names
                .iter()
                .map(|name| name.text.clone().into())
                .collect(),
            created: self.created.map(|created| created.to_string()),
            added: self.added.map(|added| added.map(|added| added.to_string())),
            disk_bytes: self.sizes.disk,
            content_bytes: self.sizes.content,
            state: match self.presence {
                Presence::Whole => "whole",
                Presence::Partial => "partial",
                Presence::Missing => "missing",
                Presence::Damaged => "damaged",
            },
            lacks_layers: self.lacks_layers,
            holds: self.image.holds.clone(),
            second_indexes: self.image.second_indexes.clone(),
        }
    }
}
