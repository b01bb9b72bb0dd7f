//! `ocisweep df`

use std::collections::BTreeMap;

use ocisweep::Error;
use ocisweep::fs::Disk;
use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::layout::trash::Trash;
use ocisweep::model::images::{Image, list_images};
use ocisweep::ops::{Detail, SharedUsage};
use ocisweep::parse::size::human_size;
use ocisweep::plan::Tally;
use ocisweep::report::usage::{ImageUsage, Row, Usage, image_usages, together, usage};
use serde::Serialize;
use std::path::{Path, PathBuf};

use crate::cli::args::{DfArgs, TableFormat};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{choose, choose_sharing, each};
use crate::cli::mistaken::CommandLine;
use crate::cli::render::json::{self, SCHEMA_VERSION};
use crate::cli::render::sweep::count;
use crate::cli::render::table::Table;
use crate::cli::run::{self, Clock, protection};

/// What was found in one layout.
struct Report {
    path: String,
    usage: Usage,
    images: Vec<(Image, ImageUsage)>,
    /// What lies in the trash; no other row counts it.
    trash: Row,
    /// Images were asked for.
    is_verbose: bool,
}

/// Measures each layout. One that fails does not stop the others.
pub fn run(context: &Context<'_>, args: &DfArgs) -> Exit {
    if let Some(pool) = &args.layouts.shared_blobs {
        return shared(context, args, pool);
    }
    let chosen = match choose(context, &args.layouts.tree, CommandLine::default()) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let mut reports = Vec::new();
    let measured = each(context, &chosen.layouts, |number, path| {
        let mut report = one(context, args, path)?;
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
    if args.format == TableFormat::Json {
        let document = JsonDf {
            schema_version: SCHEMA_VERSION,
            command: "df",
            layouts: reports.iter().map(Report::to_json).collect(),
            total: chosen.is_many.then(|| JsonRow::of(&sum(&reports))),
        };
        exit = exit.and(context.print(&json::pretty(&document)));
        for report in &reports {
            if let Some(unmeasured) = &report.usage.unmeasured {
                exit = exit.and(context.report_unmeasured(&report.path, unmeasured));
            }
        }
        return exit;
    }
    if reports.is_empty() {
        return exit;
    }
    let mut text = String::new();
    match reports.as_slice() {
        [report] if !args.layouts.tree.recursive => text.push_str(&rows(context, report)),
        reports => text.push_str(&by_layout(context, reports)),
    }
    if args.verbose {
        for report in &reports {
            text.push('\n');
            let is_headed = reports.len() > 1 || args.layouts.tree.recursive;
            text.push_str(&by_image(context, &report.path, &report.images, is_headed));
        }
    }
    exit = exit.and(context.print(&text));
    for report in &reports {
        if let Some(refusal) = &report.usage.refusal {
            context.term.error(
                refusal,
                Some("until then nothing of the layout is reclaimable"),
            );
        }
        if let Some(unmeasured) = &report.usage.unmeasured {
            exit = exit.and(context.report_unmeasured(&report.path, unmeasured));
        }
        if report.usage.foreign > 0 {
            context.term.note(&format!(
                "{} in `{}/blobs` not counted",
                count(report.usage.foreign, "foreign file"),
                report.path
            ));
        }
    }
    exit
}

fn one(context: &Context<'_>, args: &DfArgs, path: &std::path::Path) -> Result<Report, Error> {
    let rule = protection(context, args.grace, args.temp_age, Clock::Real);
    let view = run::read(context, &rule, path)?;
    let images = list_images(&view, rule.now);
    let usage = usage(&view, &images, &Disk, &rule.sweep)?;
    let trash = in_trash(view.layout.trash())?;
    let usages = if args.verbose {
        image_usages(&view, &images, &Disk)
    } else {
        Vec::new()
    };
    Ok(Report {
        path: path.to_string_lossy().into_owned(),
        usage,
        trash,
        images: images.into_iter().zip(usages).collect(),
        is_verbose: args.verbose,
    })
}

/// Measures the trash. `trash empty` frees it.
fn in_trash(trash: Trash<'_>) -> Result<Row, Error> {
    let mut tally = Tally::default();
    for (_, file) in trash.blobs()? {
        tally.blob(&file);
    }
    let totals = tally.totals();
    Ok(Row {
        total: totals.blobs,
        active: 0,
        size: totals.freed_bytes.saturating_add(totals.linked_bytes),
        reclaimable: totals.freed_bytes,
    })
}

/// docker's table, with rows that fit a layout.
fn rows(context: &Context<'_>, report: &Report) -> String {
    let usage = &report.usage;
    let mut table = Table::new(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    table.fit(context.term.width());
    let mut rows = vec![
        ("Images", usage.images),
        ("Untagged", usage.untagged),
        ("Orphans", usage.orphans),
        ("Temporary", usage.temporary),
    ];
    if report.trash.total > 0 {
        rows.push(("Trash", report.trash));
    }
    for (name, row) in &rows {
        table.row(vec![
            (*name).to_owned(),
            row.total.to_string(),
            row.active.to_string(),
            human_size(row.size),
            reclaimable(row),
        ]);
    }
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    add_bars(&mut table, &rows);
    table.render()
}

/// A bar of fewer columns shows nothing, and one of more nothing new.
const LEAST_BAR: usize = 10;
const MOST_BAR: usize = 30;

/// Adds a bar to each row where a terminal has room: how large it is beside the largest one, and how much of that would go.
fn add_bars(table: &mut Table, rows: &[Row]) {
    let largest = rows.iter().map(|row| row.size).max().unwrap_or_default();
    table.beside(LEAST_BAR, |number, room| {
        rows.get(number)
            .map_or_else(String::new, |row| bar(row, largest, room.min(MOST_BAR)))
    });
}

/// Draws what stays as full blocks and what is reclaimable as light ones, without colour. Whatever is there is seen.
fn bar(row: &Row, largest: u64, width: usize) -> String {
    let cells = |bytes: u64| {
        let share = u128::from(bytes) * width as u128;
        let cells = share.div_ceil(u128::from(largest.max(1)));
        usize::try_from(cells).unwrap_or(width).min(width)
    };
    let all = cells(row.size);
    let going = cells(row.reclaimable.min(row.size));
    // Both were rounded up; where there is room for one cell only, what can be had is worth more than what stays.
    let going = if row.reclaimable < row.size && all > 1 {
        going.min(all - 1)
    } else {
        going
    };
    "█".repeat(all - going) + &"░".repeat(going)
}

/// Returns the reclaimable bytes with their share, as docker writes them.
pub fn reclaimable(row: &Row) -> String {
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
fn sum(reports: &[Report]) -> Row {
    let usages: Vec<&Usage> = reports.iter().map(|report| &report.usage).collect();
    together(&usages)
}

fn by_layout(context: &Context<'_>, reports: &[Report]) -> String {
    let mut table = Table::new(&["LAYOUT", "IMAGES", "SIZE", "RECLAIMABLE"]);
    table.names(0);
    table.fit(context.term.width());
    let mut all_images = 0;
    let mut totals = Vec::with_capacity(reports.len());
    for report in reports {
        let total = report.usage.total();
        let images = report.usage.images.total + report.usage.untagged.total;
        all_images += images;
        table.row(vec![
            context.term.foreign(&report.path).into_owned(),
            images.to_string(),
            human_size(total.size),
            reclaimable(&total),
        ]);
        totals.push(total);
    }
    let sum = sum(reports);
    table.row(vec![
        "Total".to_owned(),
        all_images.to_string(),
        human_size(sum.size),
        reclaimable(&sum),
    ]);
    if totals.len() > 1 {
        add_bars(&mut table, &totals);
    }
    table.render()
}

fn by_image(
    context: &Context<'_>,
    path: &str,
    images: &[(Image, ImageUsage)],
    is_headed: bool,
) -> String {
    let mut table = Table::new(&["IMAGE", "IMAGE ID", "SIZE", "SHARED", "UNIQUE"]);
    table.names(0);
    table.fit(context.term.width());
    let mut rows: Vec<&(Image, ImageUsage)> = images.iter().collect();
    // What frees most stands first.
    rows.sort_by(|(a, a_usage), (b, b_usage)| {
        b_usage
            .unique
            .cmp(&a_usage.unique)
            .then_with(|| a.digest.cmp(&b.digest))
    });
    for (image, usage) in rows {
        let name = match image.names.as_slice() {
            [] => "<none>".to_owned(),
            [name] => name.text.to_string(),
            [name, rest @ ..] => format!("{} and {} more", name.text, rest.len()),
        };
        table.row(vec![
            context.term.foreign(&name).into_owned(),
            image.digest.short(),
            human_size(usage.size),
            human_size(usage.shared),
            human_size(usage.unique),
        ]);
    }
    let head = if is_headed {
        format!("{}:\n", context.term.foreign(path))
    } else {
        String::new()
    };
    let mut text = head + &table.render();
    let mut listed: BTreeMap<&str, u64> = BTreeMap::new();
    let images = images.iter().map(|(image, _)| image);
    for file in images.flat_map(|image| &image.second_indexes) {
        *listed.entry(file).or_default() += 1;
    }
    for (file, images) in listed {
        let (images, verb) = (
            count(images, "image"),
            if images == 1 { "is" } else { "are" },
        );
        let file = context.term.foreign(file);
        text.push_str(&format!("{images} {verb} also listed in {file}\n"));
    }
    text
}

#[derive(Serialize)]
struct JsonDf {
    schema_version: u32,
    command: &'static str,
    layouts: Vec<JsonLayout>,
    /// Of several layouts: all together, each inode once.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<JsonRow>,
}

#[derive(Serialize)]
struct JsonLayout {
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
    items: Option<Vec<JsonImage>>,
}

/// A row, as scripts read it.
#[derive(Serialize)]
pub struct JsonRow {
    total: u64,
    active: u64,
    size_bytes: u64,
    reclaimable_bytes: u64,
}

#[derive(Serialize)]
struct JsonImage {
    digest: String,
    names: Vec<String>,
    holds: Vec<String>,
    /// Files beside `index.json` that list it as well.
    second_indexes: Vec<String>,
    size_bytes: u64,
    shared_bytes: u64,
    unique_bytes: u64,
}

impl JsonRow {
    /// Takes over the library's numbers.
    pub const fn of(row: &Row) -> Self {
        Self {
            total: row.total,
            active: row.active,
            size_bytes: row.size,
            reclaimable_bytes: row.reclaimable,
        }
    }
}

fn json_images(images: &[(Image, ImageUsage)]) -> Vec<JsonImage> {
    let images = images.iter();
    images
        .map(|(image, usage)| JsonImage {
            digest: image.digest.to_string(),
            names: image.name_list(),
            holds: image.holds.clone(),
            second_indexes: image.second_indexes.clone(),
            size_bytes: usage.size,
            shared_bytes: usage.shared,
            unique_bytes: usage.unique,
        })
        .collect()
}

impl Report {
    fn to_json(&self) -> JsonLayout {
        let row = |row: Row| JsonRow::of(&row);
        JsonLayout {
            path: self.path.clone(),
            images: row(self.usage.images),
            untagged: row(self.usage.untagged),
            orphans: row(self.usage.orphans),
            temporary: row(self.usage.temporary),
            trash: row(self.trash),
            total: row(self.usage.total()),
            foreign: self.usage.foreign,
            refusal: self.usage.refusal.clone(),
            items: self.is_verbose.then(|| json_images(&self.images)),
        }
    }
}

/// Measures a pool.
fn shared(context: &Context<'_>, args: &DfArgs, pool: &Path) -> Exit {
    let group = match choose_sharing(context, pool, &args.layouts.tree) {
        Ok(group) => group,
        Err(refused) => return refused,
    };
    let (_, layouts) = group.paths();
    let protection = protection(context, args.grace, args.temp_age, Clock::Real);
    let detail = if args.verbose {
        Detail::Images
    } else {
        Detail::Layouts
    };
    let usage = group
        .open(context.watcher())
        .and_then(|mut open| open.usage(detail, &protection, &Disk, context.watcher()));
    let usage = match usage {
        Ok(usage) => usage.expect("the group has a shared store"),
        Err(error) => return context.report(&error),
    };
    let trash = match SharedStore::open(pool).and_then(|store| in_trash(store.trash())) {
        Ok(trash) => trash,
        Err(error) => return context.report(&error),
    };
    let exit = match args.format {
        TableFormat::Json => {
            let document = JsonPool::of(pool, layouts, &usage, &trash);
            context.print(&json::pretty(&document))
        }
        TableFormat::Table => {
            let mut text = pool_table(context, pool, layouts, &usage, &trash);
            for (layout, images) in layouts.iter().zip(&usage.images) {
                text.push('\n');
                text.push_str(&by_image(context, &layout.to_string_lossy(), images, true));
            }
            context.print(&text)
        }
    };
    let mut exit = exit;
    if let Some(unmeasured) = &usage.unmeasured {
        exit = exit.and(context.report_unmeasured(&pool.to_string_lossy(), unmeasured));
    }
    if let Some(refusal) = &usage.refusal {
        let hint = "until then nothing of the pool is reclaimable";
        context.term.error(refusal, Some(hint));
    }
    exit
}

fn pool_table(
    context: &Context<'_>,
    pool: &Path,
    layouts: &[PathBuf],
    usage: &SharedUsage,
    trash: &Row,
) -> String {
    let mut table = Table::new(&["LAYOUT", "IMAGES", "SIZE", "RECLAIMABLE"]);
    table.names(0);
    table.fit(context.term.width());
    for (path, row) in layouts.iter().zip(&usage.layouts) {
        table.row(vec![
            context.term.foreign(&path.to_string_lossy()).into_owned(),
            row.total.to_string(),
            human_size(row.size),
            reclaimable(row),
        ]);
    }
    let path = format!("{} (orphans)", pool.display());
    table.row(vec![
        context.term.foreign(&path).into_owned(),
        "0".to_owned(),
        human_size(usage.orphans.size),
        reclaimable(&usage.orphans),
    ]);
    table.row(vec![
        "Total".to_owned(),
        usage.total.total.to_string(),
        human_size(usage.total.size),
        reclaimable(&usage.total),
    ]);
    if trash.total > 0 {
        // After the total, which does not include it.
        let path = format!("{} (trash)", pool.display());
        table.row(vec![
            context.term.foreign(&path).into_owned(),
            String::new(),
            human_size(trash.size),
            reclaimable(trash),
        ]);
    }
    table.render()
}

#[derive(Serialize)]
struct JsonPool {
    schema_version: u32,
    command: &'static str,
    layouts: Vec<PoolLayout>,
    shared_blobs: JsonShared,
    total: JsonRow,
}

#[derive(Serialize)]
struct PoolLayout {
    path: String,
    images: JsonRow,
    /// With `--verbose`: each image.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<JsonImage>>,
}

#[derive(Serialize)]
struct JsonShared {
    path: String,
    orphans: JsonRow,
    /// What `trash empty` frees; no other row counts it.
    trash: JsonRow,
    /// Why a sweep would refuse.
    refusal: Option<String>,
}

impl JsonPool {
    fn of(pool: &Path, layouts: &[PathBuf], usage: &SharedUsage, trash: &Row) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: "df",
            layouts: layouts
                .iter()
                .zip(&usage.layouts)
                .enumerate()
                .map(|(number, (path, row))| PoolLayout {
                    path: path.to_string_lossy().into_owned(),
                    images: JsonRow::of(row),
                    items: usage.images.get(number).map(|images| json_images(images)),
                })
                .collect(),
            shared_blobs: JsonShared {
                path: pool.to_string_lossy().into_owned(),
                orphans: JsonRow::of(&usage.orphans),
                trash: JsonRow::of(trash),
                refusal: usage.refusal.clone(),
            },
            total: JsonRow::of(&usage.total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_whatever_is_there() {
        let row = |size, reclaimable| Row {
            size,
            reclaimable,
            ..Row::default()
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
