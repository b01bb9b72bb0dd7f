//! `ocisweep check`

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::ops::Repaired;
use ocisweep::parse::size::{Amount, human_size};
use ocisweep::report::check::{
    CheckOptions, Class, Content, Count, Finding, Orphans, Report, Subset, TrashFinding,
    TrashReport, Verified, check_since, check_trash,
};
use ocisweep::report::stored_bytes;
use ocisweep::{Error, Snapshot};
use serde::Serialize;

use super::check_record::{Record, Unusable, owner_of};
use super::check_trash::{self, JsonCheckedTrash, TrashLocation};
use super::repair;
use crate::cli::args::{CheckArgs, TextFormat};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::choose;
use crate::cli::quote::{hold_rm_command, quote, quote_path, rm_command};
use crate::cli::render::json;
use crate::cli::render::sweep::{count, listed};
use crate::cli::render::table::Table;

/// The maximum number of names in a line.
const MAX_NAMES: usize = 5;

/// Checks each layout. A layout that cannot be read does not stop the others.
///
/// # Errors
/// The exit status, if the layouts were not found.
pub fn run(context: &Context<'_>, args: &CheckArgs) -> Result<Exit, Exit> {
    let chosen = choose(context, args.layouts.given())?;
    let mut exit = chosen.exit;
    let mut rows = Vec::new();
    let mut document = JsonCheck {
        quick: args.quick,
        layouts: Vec::new(),
        damaged: 0,
    };
    // One after another: reading one layout uses the whole bandwidth of the disk. Everything is read before anything is
    // printed.
    let mut checked = Vec::with_capacity(chosen.groups.len() + 1);
    let paths: Vec<&Path> = chosen.paths().collect();
    let record = open_record(context, args, &paths)?;
    for (path, subset) in paths.iter().copied().zip(subsets(context, args, &paths)) {
        if context.stopped() {
            exit = exit.and(exit::INTERRUPTED);
            break;
        }
        checked.push((path, one(context, args, path, subset, record.as_ref())));
        context.done_with(path);
    }
    let recorded = record.map_or(Ok(()), Record::finish);
    if let (true, Some(store)) = (args.trash, args.layouts.shared_blobs.as_deref()) {
        checked.push((store, trash_of_store(context, args, store)));
    }
    for (path, checked) in checked {
        let (found, layout, state) = match checked {
            Ok(checked) => {
                exit = exit.and(context.print(&checked.text));
                let damaged = checked.layout.damaged;
                let state = if damaged > 0 { "damaged" } else { "whole" };
                (Some((checked.blobs, damaged)), checked.layout, state)
            }
            Err(error) => {
                let ended = context.report(&error);
                exit = exit.and(ended);
                let layout = JsonCheckedLayout {
                    error: Some(error.to_string()),
                    ..JsonCheckedLayout::of(args, path, &Report::default())
                };
                (None, layout, ended.state())
            }
        };
        rows.push((path, found, state));
        document.damaged += layout.damaged;
        document.layouts.push(layout);
    }
    if document.damaged > 0 {
        exit = exit.and(exit::INCOMPLETE);
    }
    if let (Err(error), Some(path)) = (recorded, &args.since_run) {
        let path = path.display();
        let text = format!("cannot write `{path}`: {error}");
        let hint = "the next run reads again what was not recorded";
        exit = exit.and(context.fail(exit::IO, &text, Some(hint)));
    }
    Ok(match args.format {
        TextFormat::Json => exit.and(context.print(&json::document("check", document))),
        TextFormat::Text if chosen.is_many && !args.quiet && !rows.is_empty() => {
            exit.and(context.print(&table(context, &rows)))
        }
        TextFormat::Text => exit,
    })
}

/// Opens the record of `--since-run`, before anything is read.
///
/// # Errors
/// The exit status, after the reason was printed.
fn open_record(
    context: &Context<'_>,
    args: &CheckArgs,
    layouts: &[&Path],
) -> Result<Option<Record>, Exit> {
    let Some(path) = args.since_run.as_deref() else {
        return Ok(None);
    };
    let shown = path.display();
    let store = args.layouts.shared_blobs.as_deref();
    if let Some(owner) = owner_of(path, layouts, store) {
        let text = format!(
            "cannot write `{shown}`: it would be among the files of `{}`",
            owner.display()
        );
        let hint = "`--since-run` names a file outside of the layout";
        return Err(context.fail(exit::REFUSED, &text, Some(hint)));
    }
    match Record::open(path, context.now) {
        Ok(record) => Ok(Some(record)),
        Err(Unusable::Busy) => {
            let text = format!("cannot write `{shown}`: another check is using it");
            let hint = "wait until it ends, or give each check a file of its own";
            Err(context.fail(exit::BUSY, &text, Some(hint)))
        }
        Err(Unusable::Io(error)) => {
            let text = format!("cannot write `{shown}`: {error}; nothing was checked");
            let hint = "`--since-run` names a file that only `check --since-run` writes";
            Err(context.fail(exit::IO, &text, Some(hint)))
        }
    }
}

/// Returns the subset of each layout. A number of bytes is divided among the layouts by size: if the first ones used all of
/// it, the others would never be read.
fn subsets(context: &Context<'_>, args: &CheckArgs, layouts: &[&Path]) -> Vec<Option<Subset>> {
    let subset = args.read_data_subset;
    let (Some(Subset::Amount { amount, seed }), false) = (subset, layouts.len() == 1) else {
        return vec![subset; layouts.len()];
    };
    let Amount::Bytes(bytes) = amount else {
        return vec![subset; layouts.len()];
    };
    let store = args.layouts.shared_blobs.as_deref();
    let stored = layouts.iter().map(|path| {
        // A layout that cannot be read is reported when it is checked.
        context
            .open_in(path, store)
            .and_then(|layout| stored_bytes(&[layout]))
            .unwrap_or(0)
    });
    let stored: Vec<u64> = stored.collect();
    let total: u128 = stored.iter().map(|bytes| u128::from(*bytes)).sum();
    let part = |stored: u64| {
        let part = u128::from(bytes) * u128::from(stored) / total.max(1);
        let amount = Amount::Bytes(u64::try_from(part).unwrap_or(u64::MAX));
        Some(Subset::Amount { amount, seed })
    };
    stored.into_iter().map(part).collect()
}

/// The result of one layout, ready to be printed. The report itself may be large.
struct Checked {
    text: String,
    layout: JsonCheckedLayout,
    /// The number of blobs that exist or should exist.
    blobs: u64,
}

/// A layout with the number of its blobs and of its damaged blobs, `None` if nothing was checked, and its state.
type CheckRow<'a> = (&'a Path, Option<(u64, u64)>, &'static str);

fn table(context: &Context<'_>, rows: &[CheckRow<'_>]) -> String {
    let headers = ["LAYOUT", "BLOBS", "DAMAGED", "STATE"];
    let mut table = Table::new(&headers, &[0], context.term.width());
    let (mut all, mut all_damaged) = (0_u64, 0_u64);
    for (path, found, state) in rows {
        let mut row = vec![context.term.path(path), "-".to_owned(), "-".to_owned()];
        if let Some((blobs, damaged)) = found {
            all = all.saturating_add(*blobs);
            all_damaged = all_damaged.saturating_add(*damaged);
            row.splice(1.., [blobs.to_string(), damaged.to_string()]);
        }
        row.push((*state).to_owned());
        table.row(row);
    }
    table.row(vec![
        "Total".to_owned(),
        all.to_string(),
        all_damaged.to_string(),
    ]);
    table.render()
}

/// Reads and checks one layout, after repairing it if that is requested.
///
/// # Errors
/// Those of reading and repairing it. Damage is not an error.
fn one(
    context: &Context<'_>,
    args: &CheckArgs,
    path: &Path,
    subset: Option<Subset>,
    record: Option<&Record>,
) -> Result<Checked, Error> {
    let options = CheckOptions {
        subset,
        ..options_of(args)
    };
    let mut repaired = Vec::new();
    if args.repair {
        let is_meant = |finding: &Finding| is_damage(args, finding.class);
        repaired = repair::run(context, args, path, &options, is_meant)?;
    }
    let store = args.layouts.shared_blobs.as_deref();
    if args.is_partial() && store.is_none() {
        context.open_directory(path, "a part of an archive cannot be checked")?;
    }
    let snapshot = context.read(path, store)?;
    if let Some(record) = record {
        record.begin(path);
    }
    let verified = record.map(|record| -> &dyn Verified { record });
    let report = check_since(&snapshot, &options, verified, context.watcher())?;
    if let Some(record) = record {
        record.end();
    }
    let blobs = total(&report);
    let checked = match args.format {
        TextFormat::Json => Checked {
            text: String::new(),
            layout: JsonCheckedLayout {
                repaired: repaired.iter().map(JsonRepaired::of).collect(),
                ..JsonCheckedLayout::of(args, path, &report)
            },
            blobs,
        },
        TextFormat::Text => Checked {
            text: text(
                context,
                args,
                &snapshot,
                &report,
                repair::lines(context, &repaired),
            ),
            layout: JsonCheckedLayout {
                damaged: damaged(args, &report),
                ..JsonCheckedLayout::of(args, path, &Report::default())
            },
            blobs,
        },
    };
    // The trash of a shared store is checked once, after all layouts.
    if !args.trash || store.is_some() {
        return Ok(checked);
    }
    let trash = check_trash(snapshot.layout.trash(), options.content, context.watcher())?;
    let is_store = false;
    Ok(checked.with_trash(context, args, TrashLocation { path, is_store }, &trash))
}

/// Checks the trash of a shared store.
fn trash_of_store(context: &Context<'_>, args: &CheckArgs, path: &Path) -> Result<Checked, Error> {
    let store = SharedStore::open(path)?;
    let content = options_of(args).content;
    let trash = check_trash(store.trash(), content, context.watcher())?;
    let checked = Checked {
        text: String::new(),
        layout: JsonCheckedLayout::of(args, path, &Report::default()),
        blobs: 0,
    };
    let is_store = true;
    Ok(checked.with_trash(context, args, TrashLocation { path, is_store }, &trash))
}

impl Checked {
    /// Adds what was found in a trash.
    fn with_trash(
        mut self,
        context: &Context<'_>,
        args: &CheckArgs,
        place: TrashLocation<'_>,
        trash: &TrashReport,
    ) -> Self {
        self.layout.damaged += trash.damaged();
        self.layout.trash = Some(JsonCheckedTrash::of(trash));
        if args.format == TextFormat::Json {
            let items = trash.findings.iter();
            let items = items.map(|finding| JsonFinding::of_trash(place, finding));
            self.layout.items.extend(items);
            return self;
        }
        let how = (args.verbose, args.quiet);
        let text = check_trash::lines(context, place, trash, how);
        if self.text.is_empty() && !text.is_empty() && args.layouts.given().is_many() {
            self.text = format!("{}:\n", context.term.path(place.path));
        }
        self.text.push_str(&text);
        self
    }
}

fn options_of(args: &CheckArgs) -> CheckOptions {
    CheckOptions {
        content: if args.quick {
            Content::Documents
        } else {
            Content::All
        },
        orphans: match &args.layouts.shared_blobs {
            // Blobs that this layout does not reference belong to the others.
            Some(_) => Orphans::Skip,
            None if args.orphans => Orphans::Read,
            None => Orphans::Count,
        },
        subset: args.read_data_subset,
    }
}

fn is_damage(args: &CheckArgs, class: Class) -> bool {
    class.is_damage() || (args.complete && class == Class::Sparse)
}

fn damaged(args: &CheckArgs, report: &Report) -> u64 {
    let damaged = report
        .findings
        .iter()
        .filter(|finding| is_damage(args, finding.class));
    damaged.count() as u64
}

fn text(
    context: &Context<'_>,
    args: &CheckArgs,
    snapshot: &Snapshot,
    report: &Report,
    mut text: String,
) -> String {
    let path = snapshot.layout.path();
    let findings = report.findings.iter();
    for finding in findings.filter(|finding| args.verbose || is_damage(args, finding.class)) {
        describe(context, path, finding, &mut text);
    }
    // Writing to a String cannot fail.
    if args.verbose {
        for file in &snapshot.graph.blobs().foreign {
            let _ = writeln!(text, "foreign: {}", context.term.path(&file.path));
        }
    }
    if !args.quiet {
        text.push_str(&classes(report));
        let blobs = count(total(report), "blob");
        let found = match damaged(args, report) {
            0 => format!("no damage in {blobs}"),
            damaged => format!("damaged: {damaged} of {blobs}"),
        };
        let Count { blobs: read, bytes } = report.verified;
        let bytes = human_size(bytes);
        let _ = write!(
            text,
            "{found}, {read} compared with their digests ({bytes})"
        );
        if !report.without_layers.is_empty() {
            let images = count(report.without_layers.len() as u64, "image");
            let names = context
                .term
                .foreign(&listed(&report.without_layers, MAX_NAMES));
            let _ = write!(text, "; {images} without any layers: {names}");
        }
        text.push_str(&not_read(args, report));
        text.push('\n');
    }
    if args.layouts.given().is_many() && !text.is_empty() {
        text.insert_str(0, &format!("{}:\n", context.term.path(path)));
    }
    text
}

/// Returns the part of the last line about blobs that were not read.
fn not_read(args: &CheckArgs, report: &Report) -> String {
    let Count { blobs, bytes } = report.not_read;
    if blobs == 0 {
        return String::new();
    }
    let all = count(total(report), "blob");
    let were = if blobs == 1 { "was" } else { "were" };
    let size = human_size(bytes);
    let text = format!("; {blobs} of {all} ({size}) {were} not read:");
    let earlier = report.verified_earlier;
    match (&args.read_data_subset, &args.since_run) {
        (Some(_), Some(_)) => {
            let size = human_size(earlier.bytes);
            format!(
                "{text} --read-data-subset, {} of them ({size}) verified by earlier runs",
                earlier.blobs
            )
        }
        (Some(_), None) => format!("{text} --read-data-subset"),
        (None, _) => format!("{text} --since-run"),
    }
}

/// Returns the number of blobs that exist or should exist. Foreign files are not blobs.
fn total(report: &Report) -> u64 {
    let classes = Class::ALL.into_iter();
    classes
        .filter(|class| *class != Class::Foreign)
        .map(|class| report.count(class).blobs)
        .sum()
}

/// Returns a row for each class that is not empty.
fn classes(report: &Report) -> String {
    let mut table = Table::new(&["CLASS", "BLOBS", "SIZE"], &[], None);
    for class in Class::ALL {
        let found = report.count(class);
        if found.blobs > 0 || class == Class::Ok {
            let size = match class {
                // These are not read.
                Class::Foreign => String::new(),
                _ => human_size(found.bytes),
            };
            table.row(vec![class.name().to_owned(), found.blobs.to_string(), size]);
        }
    }
    table.render()
}

/// Appends the damage of a blob, its reference path, the images that need it, and a hint.
fn describe(context: &Context<'_>, layout: &Path, finding: &Finding, text: &mut String) {
    let what = match (&finding.digest, &finding.file) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(file)) => context.term.path(file),
        (None, None) => "an entry of index.json".to_owned(),
    };
    let class = finding.class.name();
    let why = context.term.foreign(&finding.why);
    let colon = if finding.file.is_some() { ":" } else { "" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{class}: {what}{colon} {why}");
    let mut line = |start: &str, words: &str| {
        let _ = writeln!(text, "  {start}{}", context.term.foreign(words));
    };
    if finding.path.len() > 1 {
        line("", &finding.path.join(" → "));
    }
    let lists: &[String] = match finding.file {
        Some(_) => &[],
        None => &finding.second_indexes,
    };
    for (start, names) in [
        ("needed by ", &finding.images[..]),
        ("held by ", &finding.holds),
        ("listed in ", lists),
    ] {
        if !names.is_empty() {
            line(start, &listed(names, MAX_NAMES));
        }
    }
    if finding.class.is_damage() {
        line("", &hint(layout, finding));
    }
}

/// Returns the hint for damage.
fn hint(layout: &Path, finding: &Finding) -> String {
    let path = quote_path(layout);
    let mut hints = Vec::new();
    if finding.class == Class::Unreadable {
        hints.push("run as the owner of the layout, or check the disk for errors".to_owned());
    }
    if finding.is_orphan {
        hints.push(format!("`ocisweep gc {path}` deletes unreferenced blobs"));
        return hints.join("; ");
    }
    if let Some(file) = &finding.file {
        hints.push("write the file again".to_owned());
        let file = quote(&file.to_string_lossy());
        hints.push(format!("`--ignore-index {file}` ignores it"));
        return hints.join("; ");
    }
    let images = finding.images.len();
    hints.push(match images {
        0 => "write the layout again".to_owned(),
        1 => "pull or copy the image again".to_owned(),
        _ => "pull or copy one of the images again".to_owned(),
    });
    if images > MAX_NAMES {
        hints.push(format!("`ocisweep rm {path} IMAGE...` removes images"));
    } else if images > 0 {
        let them = if images == 1 { "it" } else { "them" };
        let command = rm_command(layout, &finding.images);
        hints.push(format!("{command} removes {them}"));
    }
    if let Some(hold) = finding.holds.first() {
        hints.push(format!("{} ends the hold", hold_rm_command(layout, hold)));
    }
    if let Some(file) = finding.second_indexes.first() {
        let file = quote(file);
        hints.push(format!(
            "`--ignore-index {file}` ignores what that file lists"
        ));
    }
    hints.join("; ")
}

#[derive(Serialize)]
struct JsonCheck {
    /// Layers were not read.
    quick: bool,
    layouts: Vec<JsonCheckedLayout>,
    /// The number of damaged blobs in all layouts.
    damaged: u64,
}

#[derive(Serialize)]
struct JsonCheckedLayout {
    path: String,
    /// Damaged or sparse blobs.
    items: Vec<JsonFinding>,
    classes: Vec<JsonClass>,
    verified: JsonCount,
    /// With `--read-data-subset` or `--since-run`: blobs that were not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_read: Option<JsonCount>,
    /// With `--since-run`: those of them that an earlier run verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_earlier: Option<JsonCount>,
    damaged: u64,
    /// Images whose manifests are present without any layer; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without_layers: Vec<String>,
    /// Blobs that were repaired; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    repaired: Vec<JsonRepaired>,
    /// With `--trash`: what is in the trash.
    #[serde(skip_serializing_if = "Option::is_none")]
    trash: Option<JsonCheckedTrash>,
    /// Why nothing was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct JsonRepaired {
    digest: String,
    /// The file that was copied; `null`: it was moved back from the trash.
    from: Option<String>,
}

impl JsonRepaired {
    fn of(repaired: &Repaired) -> Self {
        let from = repaired.from.as_ref();
        Self {
            digest: repaired.digest.to_string(),
            from: from.map(|path| path.to_string_lossy().into_owned()),
        }
    }
}

#[derive(Serialize)]
struct JsonClass {
    class: &'static str,
    blobs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct JsonCount {
    blobs: u64,
    bytes: u64,
}

impl JsonCount {
    const fn of(Count { blobs, bytes }: Count) -> Self {
        Self { blobs, bytes }
    }
}

#[derive(Serialize)]
struct JsonFinding {
    class: &'static str,
    damage: bool,
    /// The blob; `null` for an entry of `index.json` that has no valid digest.
    digest: Option<String>,
    /// The file, relative to the layout.
    path: Option<String>,
    /// The size of the file in bytes.
    size: Option<u64>,
    /// Bytes that a descriptor declares.
    declared_size: Option<u64>,
    reasons: Vec<String>,
    /// A reference path from a root to it.
    reference_path: Vec<String>,
    /// The images that need it.
    #[serde(serialize_with = "json::shared")]
    names: Arc<[String]>,
    #[serde(serialize_with = "json::shared")]
    holds: Arc<[String]>,
    /// Second indexes that reference it.
    #[serde(serialize_with = "json::shared")]
    second_indexes: Arc<[String]>,
    /// What repairs it; absent if it is not damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl JsonCheckedLayout {
    fn of(args: &CheckArgs, path: &Path, report: &Report) -> Self {
        let class_of = |class: Class| {
            let Count { blobs, bytes } = report.count(class);
            JsonClass {
                class: class.name(),
                blobs,
                bytes,
            }
        };
        Self {
            path: path.to_string_lossy().into_owned(),
            items: report
                .findings
                .iter()
                .map(|finding| JsonFinding::of(args, path, finding))
                .collect(),
            classes: Class::ALL.into_iter().map(class_of).collect(),
            verified: JsonCount::of(report.verified),
            not_read: args.is_partial().then(|| JsonCount::of(report.not_read)),
            verified_earlier: args
                .since_run
                .as_ref()
                .map(|_| JsonCount::of(report.verified_earlier)),
            damaged: damaged(args, report),
            without_layers: report.without_layers.clone(),
            repaired: Vec::new(),
            trash: None,
            error: None,
        }
    }
}

impl JsonFinding {
    fn of_trash(place: TrashLocation<'_>, finding: &TrashFinding) -> Self {
        Self {
            class: finding.class.name(),
            damage: finding.class.is_damage(),
            digest: finding.digest.as_ref().map(ToString::to_string),
            path: Some(finding.file.to_string_lossy().into_owned()),
            size: finding.len,
            declared_size: finding.declared,
            reasons: vec![finding.why.clone()],
            reference_path: Vec::new(),
            names: Arc::default(),
            holds: Arc::default(),
            second_indexes: Arc::default(),
            hint: check_trash::hint(place, finding),
        }
    }

    fn of(args: &CheckArgs, layout: &Path, finding: &Finding) -> Self {
        let damage = is_damage(args, finding.class);
        Self {
            class: finding.class.name(),
            damage,
            digest: finding.digest.as_ref().map(ToString::to_string),
            path: match (&finding.digest, &finding.file) {
                (Some(digest), _) => Some(digest.path_in_layout()),
                (None, file) => file
                    .as_ref()
                    .map(|file| file.to_string_lossy().into_owned()),
            },
            size: finding.len,
            declared_size: finding.declared,
            reasons: vec![finding.why.clone().into()],
            reference_path: finding.path.clone(),
            names: finding.images.clone(),
            holds: finding.holds.clone(),
            second_indexes: finding.second_indexes.clone(),
            hint: damage.then(|| hint(layout, finding)),
        }
    }
}
