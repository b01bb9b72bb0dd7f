//! `ocisweep df`

mod rows;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocisweep::Error;
use ocisweep::fs::Disk;
use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::{Image, list_images};
use ocisweep::model::inventory::files;
use ocisweep::ops::{Detail, Protection, SharedUsage};
use ocisweep::parse::size::human_size;
use ocisweep::report::usage::{
    ImageUsage, Usage, UsageRow, image_usages, together, trash_usage, usage,
};
use serde::Serialize;

use super::fields;
use crate::cli::args::{DfArgs, Format, SortName};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{choose, choose_sharing, each};
use crate::cli::render::json;
use crate::cli::render::sweep::count;
use crate::cli::render::table::{HELD, NONE, Table};
use crate::cli::render::template::Template;
use crate::cli::run::{self, RunClock, protection};

use rows::AllBuilt;

/// The measures of one layout.
struct UsageReport {
    path: String,
    usage: Usage,
    /// With `--verbose`.
    images: Option<Vec<(Image, ImageUsage)>>,
    /// With `--verbose` and a template that uses it.
    built: AllBuilt,
    /// What is in the trash; no other row counts it.
    trash: UsageRow,
}

/// Measures the usage of each layout, or of a shared store with all its layouts. A layout that fails does not stop the
/// others.
///
/// # Errors
/// The exit status, if the layouts were not found.
pub fn run(context: &Context<'_>, args: &DfArgs) -> Result<Exit, Exit> {
    let template = rows::template(context, args)?;
    let template = template.as_ref();
    let protection = protection(context, args.grace, args.temp_age, RunClock::Real);
    let is_json = args.format == Format::Json;
    if let Some(store) = &args.layouts.shared_blobs {
        let group = choose_sharing(context, store, args.layouts.given())?;
        let detail = if args.verbose {
            Detail::Images
        } else {
            Detail::Layouts
        };
        let usage = group
            .open(context.watcher())
            .and_then(|mut open| open.usage(detail, &protection, &Disk, context.watcher()))
            .map_err(|error| context.report(&error))?
            .expect("the group has a shared store");
        let trash = SharedStore::open(store)
            .and_then(|store| trash_usage(store.trash()))
            .map_err(|error| context.report(&error))?;
        let layouts = group.paths().1;
        if let Some(template) = template {
            let rows = rows::of_shared(
                context,
                template,
                store,
                layouts,
                &usage,
                &trash,
                args.verbose,
            );
            let rows = rows.map_err(|error| context.report(&error))?;
            let exit = fields::print(context, template, &rows);
            return Ok(exit.and(obstacles(context, store, &usage)));
        }
        return Ok(shared(context, is_json, store, layouts, &usage, &trash));
    }
    let chosen = choose(context, args.layouts.given())?;
    let mut exit = chosen.exit;
    let mut reports = Vec::new();
    let measured = each(context, &chosen.groups, |number, group| {
        let report = one(context, &protection, args.verbose, template, group.path());
        context.done_with(group.path());
        let mut report = report?;
        // A prune would refuse it as well.
        if let Err(error) = chosen.refuse_sharing(number) {
            report.usage.refuse(error.to_string());
        }
        Ok(report)
    });
    for report in measured {
        match report {
            Some(Ok(report)) => reports.push(report),
            Some(Err(error)) => exit = exit.and(context.report(&error)),
            None => exit = exit.and(exit::INTERRUPTED),
        }
    }
    match args.sort {
        Some(SortName::Size) => reports.sort_by_key(|report| Reverse(report.usage.total().size)),
        Some(SortName::Name) => reports.sort_by(|a, b| a.path.cmp(&b.path)),
        None => {}
    }
    if let Some(template) = template {
        let rows = rows::of(context, template, (args.verbose, args.sort), &reports);
        exit = exit.and(fields::print(context, template, &rows));
    } else if is_json {
        let document = JsonDf {
            layouts: reports
                .iter()
                .map(|report| report.to_json(args.sort))
                .collect(),
            total: chosen.is_many.then(|| JsonRow::of(&sum(&reports))),
        };
        exit = exit.and(context.print(&json::document("df", document)));
    } else {
        exit = exit.and(context.print(&tables(
            context,
            &reports,
            args.sort,
            args.layouts.recursive,
        )));
    }
    for UsageReport { path, usage, .. } in &reports {
        if let Some(refusal) = usage.refusal.as_ref().filter(|_| !is_json) {
            let hint = "until then nothing of the layout is reclaimable";
            context.term.error(refusal, Some(hint));
        }
        if let Some(unmeasured) = &usage.unmeasured {
            exit = exit.and(context.report_unmeasured(path, unmeasured));
        }
        if usage.foreign > 0 && !is_json {
            let files = count(usage.foreign, "foreign file");
            context
                .term
                .note(&format!("{files} in `{path}/blobs` not counted"));
        }
    }
    Ok(exit)
}

fn one(
    context: &Context<'_>,
    protection: &Protection,
    is_verbose: bool,
    template: Option<&Template>,
    path: &Path,
) -> Result<UsageReport, Error> {
    let snapshot = run::read(context, protection, path, None)?;
    let images = list_images(&snapshot, protection.now);
    let (entries, files) = (list_entries(&snapshot), files(&snapshot, &Disk));
    let usage = usage(&snapshot, &images, &entries, &files, &protection.sweep)?;
    let trash = trash_usage(snapshot.layout.trash())?;
    let usages = is_verbose.then(|| image_usages(&snapshot, &images, &entries, &files));
    let built = template.filter(|_| is_verbose);
    let built = built.map(|template| rows::built(&snapshot, &images, template));
    Ok(UsageReport {
        path: path.to_string_lossy().into_owned(),
        usage,
        images: usages.map(|usages| images.into_iter().zip(usages).collect()),
        built: built.unwrap_or_default(),
        trash,
    })
}

/// Returns the table of the layout, or of several layouts, and with `--verbose` those of their images.
fn tables(
    context: &Context<'_>,
    reports: &[UsageReport],
    sort: Option<SortName>,
    is_recursive: bool,
) -> String {
    let is_many = is_recursive || reports.len() != 1;
    let mut text = match reports {
        [] => return String::new(),
        [report] if !is_many => by_type(context, report),
        reports => {
            let rows = reports.iter().map(|report| {
                let images = report.usage.images.total + report.usage.untagged.total;
                (report.path.clone(), images, report.usage.total())
            });
            by_layout(
                context,
                rows.collect(),
                &sum(reports),
                reports.len() > 1,
                None,
            )
        }
    };
    for UsageReport { path, images, .. } in reports {
        if let Some(images) = images {
            text.push('\n');
            text.push_str(&by_image(context, path, images, sort, is_many));
        }
    }
    text
}

/// Returns the rows of a layout.
fn types(report: &UsageReport) -> Vec<(&'static str, UsageRow)> {
    let usage = &report.usage;
    let mut rows = vec![
        ("Images", usage.images),
        ("Untagged", usage.untagged),
        ("Orphans", usage.orphans),
        ("Temporary", usage.temporary),
    ];
    if report.trash.total > 0 {
        rows.push(("Trash", report.trash));
    }
    rows
}

/// Returns images in the order of the table: the one that frees most first, or the largest first, or by name, with unnamed
/// images last.
fn ordered(images: &[(Image, ImageUsage)], sort: Option<SortName>) -> Vec<&(Image, ImageUsage)> {
    let mut rows: Vec<&(Image, ImageUsage)> = images.iter().collect();
    rows.sort_by(|(a, _), (b, _)| a.digest.cmp(&b.digest));
    match sort {
        None => rows.sort_by_key(|(_, usage)| Reverse(usage.unique)),
        Some(SortName::Size) => rows.sort_by_key(|(_, usage)| Reverse(usage.size)),
        Some(SortName::Name) => rows.sort_by(|(a, _), (b, _)| {
            let name = |image: &Image| image.names.first().map(|name| name.text.to_string());
            let (a, b) = (name(a), name(b));
            a.is_none().cmp(&b.is_none()).then_with(|| a.cmp(&b))
        }),
    }
    rows
}

/// Returns docker's table, with the rows of a layout.
fn by_type(context: &Context<'_>, report: &UsageReport) -> String {
    let headers = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
    let mut table = Table::new(&headers, &[], context.term.width());
    let rows = types(report);
    for (name, row) in &rows {
        table.row(vec![
            (*name).to_owned(),
            row.total.to_string(),
            row.active.to_string(),
            human_size(row.size),
            reclaimable(row),
        ]);
    }
    let rows: Vec<UsageRow> = rows.into_iter().map(|(_, row)| row).collect();
    add_bars(&mut table, &rows);
    table.render()
}

/// A bar of fewer columns shows nothing; one of more columns shows no more.
const LEAST_BAR: usize = 10;
const MOST_BAR: usize = 30;

/// Adds a bar to each row if the terminal is wide enough: its size relative to the largest row, and the reclaimable part of
/// it.
fn add_bars(table: &mut Table, rows: &[UsageRow]) {
    let largest = rows.iter().map(|row| row.size).max().unwrap_or_default();
    table.beside(LEAST_BAR, |number, room| {
        rows.get(number)
            .map_or_else(String::new, |row| bar(row, largest, room.min(MOST_BAR)))
    });
}

/// Draws the kept part as full blocks and the reclaimable part as light ones, without colour. A part that is not zero is
/// visible.
fn bar(row: &UsageRow, largest: u64, width: usize) -> String {
    let cells = |bytes: u64| {
        let share = u128::from(bytes) * width as u128;
        let cells = share.div_ceil(u128::from(largest.max(1)));
        usize::try_from(cells).unwrap_or(width).min(width)
    };
    let all = cells(row.size);
    let light = cells(row.reclaimable.min(row.size));
    // Both were rounded up. A single cell shows the reclaimable part.
    let light = if row.reclaimable < row.size && all > 1 {
        light.min(all - 1)
    } else {
        light
    };
    "█".repeat(all - light) + &"░".repeat(light)
}

/// Returns the reclaimable bytes with their share, formatted as in docker.
fn reclaimable(row: &UsageRow) -> String {
    let size = human_size(row.reclaimable);
    match u128::from(row.reclaimable)
        .saturating_mul(100)
        .checked_div(u128::from(row.size))
    {
        Some(percent) => format!("{size} ({percent}%)"),
        None => size,
    }
}

/// Returns the sum over all layouts, each inode once.
fn sum(reports: &[UsageReport]) -> UsageRow {
    let usages: Vec<&Usage> = reports.iter().map(|report| &report.usage).collect();
    together(&usages)
}

/// Returns a row for each layout, with its path and the number of its images, and their sum, which does not include the
/// trash.
fn by_layout(
    context: &Context<'_>,
    mut rows: Vec<(String, u64, UsageRow)>,
    sum: &UsageRow,
    has_bars: bool,
    trash: Option<(String, UsageRow)>,
) -> String {
    let headers = ["LAYOUT", "IMAGES", "SIZE", "RECLAIMABLE"];
    let mut table = Table::new(&headers, &[0], context.term.width());
    let bars: Vec<UsageRow> = rows.iter().map(|(_, _, row)| *row).collect();
    let images = rows.iter().map(|(_, images, _)| images).sum();
    rows.push(("Total".to_owned(), images, *sum));
    let rows = rows
        .into_iter()
        .map(|(path, images, row)| (path, images.to_string(), row));
    for (path, images, row) in rows.chain(trash.map(|(path, row)| (path, String::new(), row))) {
        table.row(vec![
            context.term.foreign(&path),
            images,
            human_size(row.size),
            reclaimable(&row),
        ]);
    }
    if has_bars {
        add_bars(&mut table, &bars);
    }
    table.render()
}

fn by_image(
    context: &Context<'_>,
    path: &str,
    images: &[(Image, ImageUsage)],
    sort: Option<SortName>,
    is_headed: bool,
) -> String {
    let mut headers = vec!["IMAGE", "IMAGE ID", "SIZE", "SHARED", "UNIQUE"];
    // Only if it is needed, as in `ls`.
    let is_held = |image: &Image| !image.holds.is_empty();
    let has_held = images.iter().any(|(image, _)| is_held(image));
    if has_held {
        headers.push("EXTRA");
    }
    let mut table = Table::new(&headers, &[0], context.term.width());
    for (image, usage) in ordered(images, sort) {
        let name = match image.names.as_slice() {
            [] => NONE.to_owned(),
            [name] => name.text.to_string(),
            [name, rest @ ..] => format!("{} and {} more", name.text, rest.len()),
        };
        let mut row = vec![
            context.term.foreign(&name),
            image.digest.short(),
            human_size(usage.size),
            human_size(usage.shared),
            human_size(usage.unique),
        ];
        if is_held(image) {
            row.push(HELD.to_owned());
        }
        table.row(row);
    }
    let mut text = String::new();
    if is_headed {
        text = format!("{}:\n", context.term.foreign(path));
    }
    text.push_str(&table.render());
    if has_held && context.term.width().is_some() {
        text.push_str(&format!("{HELD}: held, see `ocisweep hold ls`\n"));
    }
    let mut listed: BTreeMap<&str, u64> = BTreeMap::new();
    let images = images.iter().map(|(image, _)| image);
    for file in images.flat_map(|image| &image.second_indexes) {
        *listed.entry(file).or_default() += 1;
    }
    for (file, images) in listed {
        let verb = if images == 1 { "is" } else { "are" };
        let (images, file) = (count(images, "image"), context.term.foreign(file));
        text.push_str(&format!("{images} {verb} also listed in {file}\n"));
    }
    text
}

/// Prints the usage of a shared store, and returns the result of printing.
fn shared(
    context: &Context<'_>,
    is_json: bool,
    store: &Path,
    layouts: &[PathBuf],
    usage: &SharedUsage,
    trash: &UsageRow,
) -> Exit {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let text = if is_json {
        let rows = layouts.iter().zip(&usage.layouts).enumerate();
        let layouts = rows.map(|(number, (layout, row))| JsonMember {
            path: path(layout),
            images: JsonRow::of(row),
            items: usage.images.get(number).map(json_images),
        });
        let document = JsonShared {
            layouts: layouts.collect(),
            shared_blobs: JsonStore {
                path: path(store),
                orphans: JsonRow::of(&usage.orphans),
                trash: JsonRow::of(trash),
                refusal: usage.refusal.clone(),
            },
            total: JsonRow::of(&usage.total),
        };
        json::document("df", document)
    } else {
        let rows = layouts.iter().zip(&usage.layouts);
        let mut rows: Vec<_> = rows
            .map(|(layout, row)| (path(layout), row.total, *row))
            .collect();
        rows.push((format!("{} (orphans)", path(store)), 0, usage.orphans));
        let trash = (trash.total > 0).then(|| (format!("{} (trash)", path(store)), *trash));
        let mut text = by_layout(context, rows, &usage.total, false, trash);
        for (layout, images) in layouts.iter().zip(&usage.images) {
            text.push('\n');
            text.push_str(&by_image(context, &path(layout), images, None, true));
        }
        text
    };
    let exit = context.print(&text);
    exit.and(obstacles(context, store, usage))
}

/// Reports blobs of a shared store that cannot be measured, and why a sweep would be refused.
fn obstacles(context: &Context<'_>, store: &Path, usage: &SharedUsage) -> Exit {
    let mut exit = exit::DONE;
    if let Some(unmeasured) = &usage.unmeasured {
        exit = exit.and(context.report_unmeasured(&store.to_string_lossy(), unmeasured));
    }
    if let Some(refusal) = &usage.refusal {
        let hint = "until then nothing of the shared blobs is reclaimable";
        context.term.error(refusal, Some(hint));
    }
    exit
}

#[derive(Serialize)]
struct JsonDf {
    layouts: Vec<JsonLayoutUsage>,
    /// With several layouts: all together, each inode once.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<JsonRow>,
}

#[derive(Serialize)]
struct JsonLayoutUsage {
    path: String,
    images: JsonRow,
    untagged: JsonRow,
    orphans: JsonRow,
    temporary: JsonRow,
    /// What `trash empty` frees; no other row counts it.
    trash: JsonRow,
    total: JsonRow,
    foreign: u64,
    /// Why a prune would refuse.
    refusal: Option<String>,
    /// With `--verbose`: each image.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<JsonImageUsage>>,
}

#[derive(Serialize)]
struct JsonRow {
    total: u64,
    active: u64,
    size_bytes: u64,
    reclaimable_bytes: u64,
}

#[derive(Serialize)]
struct JsonImageUsage {
    digest: String,
    names: Vec<String>,
    holds: Vec<String>,
    /// Other JSON files of the layout that list it as well.
    second_indexes: Vec<String>,
    size_bytes: u64,
    shared_bytes: u64,
    unique_bytes: u64,
}

#[derive(Serialize)]
struct JsonShared {
    layouts: Vec<JsonMember>,
    shared_blobs: JsonStore,
    total: JsonRow,
}

/// A layout that shares a store.
#[derive(Serialize)]
struct JsonMember {
    path: String,
    images: JsonRow,
    /// With `--verbose`: each image.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<JsonImageUsage>>,
}

#[derive(Serialize)]
struct JsonStore {
    path: String,
    orphans: JsonRow,
    /// What `trash empty` frees; no other row counts it.
    trash: JsonRow,
    /// Why a sweep would refuse.
    refusal: Option<String>,
}

impl JsonRow {
    const fn of(row: &UsageRow) -> Self {
        Self {
            total: row.total,
            active: row.active,
            size_bytes: row.size,
            reclaimable_bytes: row.reclaimable,
        }
    }
}

fn json_images<'a>(
    images: impl IntoIterator<Item = &'a (Image, ImageUsage)>,
) -> Vec<JsonImageUsage> {
    let images = images.into_iter().map(|(image, usage)| JsonImageUsage {
        digest: image.digest.to_string(),
        names: image.name_list(),
        holds: image.holds.clone(),
        second_indexes: image.second_indexes.clone(),
        size_bytes: usage.size,
        shared_bytes: usage.shared,
        unique_bytes: usage.unique,
    });
    images.collect()
}

impl UsageReport {
    fn to_json(&self, sort: Option<SortName>) -> JsonLayoutUsage {
        JsonLayoutUsage {
            path: self.path.clone(),
            images: JsonRow::of(&self.usage.images),
            untagged: JsonRow::of(&self.usage.untagged),
            orphans: JsonRow::of(&self.usage.orphans),
            temporary: JsonRow::of(&self.usage.temporary),
            trash: JsonRow::of(&self.trash),
            total: JsonRow::of(&self.usage.total()),
            foreign: self.usage.foreign,
            refusal: self.usage.refusal.clone(),
            items: self.images.as_deref().map(|images| match sort {
                None => json_images(images),
                Some(_) => json_images(ordered(images, sort)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_every_part_that_is_not_zero() {
        let row = |size, reclaimable| UsageRow {
            size,
            reclaimable,
            ..UsageRow::default()
        };
        for (row, largest, want) in [
            (row(0, 0), 0, ""),
            (row(0, 0), 100, ""),
            (row(100, 0), 100, "██████████"),
            (row(100, 100), 100, "░░░░░░░░░░"),
            (row(100, 30), 100, "███████░░░"),
            (row(100, 1), 100, "█████████░"),
            (row(100, 99), 100, "█░░░░░░░░░"),
            (row(1, 0), 100, "█"),
            (row(1, 1), 100, "░"),
            (row(10, 5), 100, "░"),
            (row(20, 1), 100, "█░"),
            (row(u64::MAX, 1), u64::MAX, "█████████░"),
            // Hard links can make more reclaimable than a row counts for itself.
            (row(10, 50), 100, "░"),
        ] {
            assert_eq!(bar(&row, largest, 10), want, "{row:?} of {largest}");
        }
    }
}
