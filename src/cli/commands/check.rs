//! `ocisweep check`

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::ops::Repaired;
use ocisweep::parse::size::human_size;
use ocisweep::report::check::{
    CheckOptions, Class, Content, Count, Finding, Orphans, Report, TrashFinding, TrashReport,
    check, check_trash,
};
use ocisweep::{Error, Snapshot};
use serde::Serialize;

use super::check_trash::{self, JsonTrash, Place};
use super::repair;
use crate::cli::args::{CheckArgs, TextFormat};
use crate::cli::context::{Context, dashes, quote, quote_path, rm_command};
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::choose;
use crate::cli::mistaken::CommandLine;
use crate::cli::render::json::{self, SCHEMA_VERSION};
use crate::cli::render::sweep::count;
use crate::cli::render::table::Table;

/// How many names a line lists.
const MAX_NAMES: usize = 5;

/// Checks each layout. One that cannot be read does not stop the others.
pub fn run(context: &Context<'_>, args: &CheckArgs) -> Exit {
    let line = CommandLine {
        shared_blobs: args.layouts.shared_blobs.as_deref(),
        ..CommandLine::default()
    };
    let chosen = match choose(context, &args.layouts.tree, line) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let mut rows = Vec::new();
    let mut document = JsonCheck {
        schema_version: SCHEMA_VERSION,
        command: "check",
        quick: args.quick,
        layouts: Vec::new(),
        damaged: 0,
    };
    // One after another: the reading of one layout takes all that the disk gives. Everything is read before
    // anything is printed.
    let mut checked = Vec::with_capacity(chosen.layouts.len() + 1);
    let store_path = args.layouts.shared_blobs.clone().unwrap_or_default();
    for path in &chosen.layouts {
        if context.stopped() {
            exit = exit.and(exit::INTERRUPTED);
            break;
        }
        checked.push((path, one(context, args, path)));
    }
    if let (true, Some(store)) = (args.trash, args.layouts.shared_blobs.as_deref()) {
        checked.push((&store_path, trash_of_store(context, args, store)));
    }
    for (path, checked) in checked {
        match checked {
            Ok(checked) => {
                let damaged = checked.layout.damaged;
                if damaged > 0 {
                    exit = exit.and(exit::INCOMPLETE);
                }
                rows.push(Row {
                    path,
                    found: Some((checked.blobs, damaged)),
                    state: if damaged > 0 { "damaged" } else { "whole" },
                });
                document.damaged += damaged;
                document.layouts.push(checked.layout);
                exit = exit.and(context.print(&checked.text));
            }
            Err(error) => {
                let ended = context.report(&error);
                exit = exit.and(ended);
                rows.push(Row {
                    path,
                    found: None,
                    state: ended.state(),
                });
                document.layouts.push(JsonLayout {
                    error: Some(error.to_string()),
                    ..JsonLayout::of(args, path, &Report::default())
                });
            }
        }
    }
    match args.format {
        TextFormat::Json => exit.and(context.print(&json::pretty(&document))),
        TextFormat::Text if chosen.is_many && !args.quiet && !rows.is_empty() => {
            exit.and(context.print(&table(context, &rows)))
        }
        TextFormat::Text => exit,
    }
}

/// What a check of one layout found, ready to be printed. The report itself may be large.
struct Checked {
    text: String,
    layout: JsonLayout,
    /// How many blobs there are or should be.
    blobs: u64,
}

/// What the table of several layouts says of one.
struct Row<'a> {
    path: &'a Path,
    /// Blobs, and how many of them are damaged; `None` where nothing was checked.
    found: Option<(u64, u64)>,
    state: &'static str,
}

fn table(context: &Context<'_>, rows: &[Row<'_>]) -> String {
    let mut table = Table::new(&["LAYOUT", "BLOBS", "DAMAGED", "STATE"]);
    table.names(0);
    table.fit(context.term.width());
    let (mut all, mut all_damaged) = (0_u64, 0_u64);
    for row in rows {
        let [blobs, damaged] = match row.found {
            Some((blobs, damaged)) => {
                all = all.saturating_add(blobs);
                all_damaged = all_damaged.saturating_add(damaged);
                [blobs.to_string(), damaged.to_string()]
            }
            None => ["-".to_owned(), "-".to_owned()],
        };
        let path = row.path.to_string_lossy();
        table.row(vec![
            context.term.foreign(&path).into_owned(),
            blobs,
            damaged,
            row.state.to_owned(),
        ]);
    }
    table.row(vec![
        "Total".to_owned(),
        all.to_string(),
        all_damaged.to_string(),
        String::new(),
    ]);
    table.render()
}

/// Reads and checks one layout.
///
/// # Errors
/// What [`Snapshot::read`] and [`check`] say. Damage is none.
fn one(context: &Context<'_>, args: &CheckArgs, path: &Path) -> Result<Checked, Error> {
    let pool = args.layouts.shared_blobs.as_deref();
    let options = options_of(args);
    let repaired = if args.repair {
        let is_meant = |finding: &Finding| is_damage(args, finding.class);
        repair::run(context, args, path, &options, is_meant)?
    } else {
        Vec::new()
    };
    let view = match pool {
        Some(pool) => context.read_in(path, pool)?,
        None => context.read(path)?,
    };
    let report = check(&view, &options, context.watcher())?;
    let place = Place {
        path,
        is_store: false,
    };
    // That of a shared store is checked once, after all layouts.
    let trash = match args.trash && pool.is_none() {
        true => Some(check_trash(
            view.layout.trash(),
            options.content,
            context.watcher(),
        )?),
        false => None,
    };
    let checked = match args.format {
        TextFormat::Json => Checked {
            text: String::new(),
            layout: JsonLayout {
                repaired: repaired.iter().map(JsonRepaired::of).collect(),
                ..JsonLayout::of(args, path, &report)
            },
            blobs: total(&report),
        },
        TextFormat::Text => Checked {
            text: {
                let lines = repair::lines(context, &repaired);
                text(context, args, &view, &report, lines)
            },
            layout: JsonLayout {
                damaged: damaged(args, &report),
                ..JsonLayout::of(args, path, &Report::default())
            },
            blobs: total(&report),
        },
    };
    Ok(match trash {
        Some(trash) => checked.with_trash(context, args, place, &trash),
        None => checked,
    })
}

/// Checks the trash of a shared store.
fn trash_of_store(context: &Context<'_>, args: &CheckArgs, path: &Path) -> Result<Checked, Error> {
    let store = SharedStore::open(path)?;
    let content = options_of(args).content;
    let trash = check_trash(store.trash(), content, context.watcher())?;
    let checked = Checked {
        text: String::new(),
        layout: JsonLayout::of(args, path, &Report::default()),
        blobs: 0,
    };
    let place = Place {
        path,
        is_store: true,
    };
    Ok(checked.with_trash(context, args, place, &trash))
}

impl Checked {
    /// Adds what was found in a trash.
    fn with_trash(
        mut self,
        context: &Context<'_>,
        args: &CheckArgs,
        place: Place<'_>,
        trash: &TrashReport,
    ) -> Self {
        self.layout.damaged += trash.damaged();
        self.layout.trash = Some(JsonTrash::of(trash));
        if args.format == TextFormat::Json {
            let items = trash.findings.iter();
            let items = items.map(|finding| JsonItem::of_trash(place, finding));
            self.layout.items.extend(items);
            return self;
        }
        let how = (args.verbose, args.quiet);
        let text = check_trash::lines(context, place, trash, how);
        if self.text.is_empty() && !text.is_empty() && args.layouts.is_many() {
            let path = place.path.to_string_lossy();
            self.text = format!("{}:\n", context.term.foreign(&path));
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
            // What this layout does not lead to is what the others have.
            Some(_) => Orphans::Skip,
            None if args.orphans => Orphans::Read,
            None => Orphans::Count,
        },
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
    view: &Snapshot,
    report: &Report,
    mut text: String,
) -> String {
    let path = view.layout.path();
    let shown = report
        .findings
        .iter()
        .filter(|finding| args.verbose || is_damage(args, finding.class));
    for finding in shown {
        describe(context, path, finding, &mut text);
    }
    if args.verbose {
        for stray in &view.graph.blobs().foreign {
            let file = stray.path.to_string_lossy();
            line(
                &mut text,
                &format!("foreign: {}", context.term.foreign(&file)),
            );
        }
    }
    if !args.quiet {
        text.push_str(&classes(report));
        let total = total(report);
        let blobs = match damaged(args, report) {
            0 => format!("no damage in {}", count(total, "blob")),
            damaged => format!("damaged: {damaged} of {}", count(total, "blob")),
        };
        let Count { blobs: read, bytes } = report.verified;
        let read = format!("{read} compared with their digests ({})", human_size(bytes));
        let bare = match report.without_layers.len() {
            0 => String::new(),
            images => {
                let images = count(images as u64, "image");
                let names = names(&report.without_layers);
                format!(
                    "; {images} without any layers: {}",
                    context.term.foreign(&names)
                )
            }
        };
        line(&mut text, &format!("{blobs}, {read}{bare}"));
    }
    if args.layouts.is_many() && !text.is_empty() {
        let path = path.to_string_lossy();
        text.insert_str(0, &format!("{}:\n", context.term.foreign(&path)));
    }
    text
}

/// Returns how many blobs there are or should be. Foreign files are none.
fn total(report: &Report) -> u64 {
    let classes = Class::ALL.into_iter();
    classes
        .filter(|class| *class != Class::Foreign)
        .map(|class| report.count(class).blobs)
        .sum()
}

/// Returns a row for each class that there is.
fn classes(report: &Report) -> String {
    let mut table = Table::new(&["CLASS", "BLOBS", "SIZE"]);
    for class in Class::ALL {
        let found = report.count(class);
        if found.blobs > 0 || class == Class::Ok {
            let size = match class {
                // Nobody looked at these.
                Class::Foreign => String::new(),
                _ => human_size(found.bytes),
            };
            table.row(vec![class.name().to_owned(), found.blobs.to_string(), size]);
        }
    }
    table.render()
}

/// Says what is wrong with one blob, how one gets there, whom it concerns, and what helps.
fn describe(context: &Context<'_>, layout: &Path, finding: &Finding, text: &mut String) {
    let what = match (&finding.digest, &finding.file) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(file)) => context.term.foreign(&file.to_string_lossy()).into_owned(),
        (None, None) => "an entry of index.json".to_owned(),
    };
    let class = finding.class.name();
    let why = context.term.foreign(&finding.why);
    let colon = if finding.file.is_some() { ":" } else { "" };
    line(text, &format!("{class}: {what}{colon} {why}"));
    if finding.path.len() > 1 {
        let way = finding.path.join(" → ");
        line(text, &format!("  {}", context.term.foreign(&way)));
    }
    if !finding.images.is_empty() {
        let images = names(&finding.images);
        line(
            text,
            &format!("  needed by {}", context.term.foreign(&images)),
        );
    }
    if !finding.holds.is_empty() {
        let holds = names(&finding.holds);
        line(text, &format!("  held by {}", context.term.foreign(&holds)));
    }
    if !finding.second_indexes.is_empty() && finding.file.is_none() {
        let lists = names(&finding.second_indexes);
        line(
            text,
            &format!("  listed in {}", context.term.foreign(&lists)),
        );
    }
    if finding.class.is_damage() {
        let hint = hint(layout, finding);
        line(text, &format!("  {}", context.term.foreign(&hint)));
    }
}

fn names(names: &[String]) -> String {
    let shown = names.get(..MAX_NAMES).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Returns what helps against a damage.
fn hint(layout: &Path, finding: &Finding) -> String {
    let path = quote_path(layout);
    let mut ways = Vec::new();
    if finding.class == Class::Unreadable {
        ways.push("run as the owner of the layout, or check the disk for errors".to_owned());
    }
    if finding.is_orphan {
        ways.push(format!("`ocisweep gc {path}` deletes unreferenced blobs"));
        return ways.join("; ");
    }
    if let Some(file) = &finding.file {
        ways.push("write the file again".to_owned());
        let file = quote(&file.to_string_lossy());
        ways.push(format!("`--ignore-index {file}` leaves it out"));
        return ways.join("; ");
    }
    ways.push(match finding.images.len() {
        0 => "write the layout again".to_owned(),
        1 => "pull or copy the image again".to_owned(),
        _ => "pull or copy one of the images again".to_owned(),
    });
    match finding.images.len() {
        0 => {}
        images if images > MAX_NAMES => {
            ways.push(format!("`ocisweep rm {path} IMAGE...` removes images"));
        }
        images => {
            let them = if images == 1 { "it" } else { "them" };
            let command = rm_command(layout, &finding.images);
            ways.push(format!("{command} removes {them}"));
        }
    }
    if let Some(hold) = finding.holds.first() {
        ways.push(format!(
            "`ocisweep hold rm {}{path} {}` ends the hold",
            dashes([hold]),
            quote(hold)
        ));
    }
    if let Some(file) = finding.second_indexes.first() {
        let file = quote(file);
        ways.push(format!(
            "`--ignore-index {file}` leaves out what that file lists"
        ));
    }
    ways.join("; ")
}

fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

#[derive(Serialize)]
struct JsonCheck {
    schema_version: u32,
    command: &'static str,
    /// Whether the content of layers was not read.
    quick: bool,
    layouts: Vec<JsonLayout>,
    /// Damaged blobs of all layouts.
    damaged: u64,
}

#[derive(Serialize)]
struct JsonLayout {
    path: String,
    /// What is damaged or sparse.
    items: Vec<JsonItem>,
    classes: Vec<JsonClass>,
    verified: JsonCount,
    damaged: u64,
    /// Images of which manifests are here and no layer is; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without_layers: Vec<String>,
    /// What was repaired before; absent if nothing was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    repaired: Vec<JsonRepaired>,
    /// With `--trash`: what is in the trash.
    #[serde(skip_serializing_if = "Option::is_none")]
    trash: Option<JsonTrash>,
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

#[derive(Serialize)]
struct JsonItem {
    class: &'static str,
    damage: bool,
    /// The blob; `null` for an entry of `index.json` that names none.
    digest: Option<String>,
    /// The file, relative to the layout.
    path: Option<String>,
    /// Bytes that are here.
    size: Option<u64>,
    /// Bytes that a descriptor declares.
    declared_size: Option<u64>,
    reasons: Vec<String>,
    /// The reference path from a root to it.
    reference_path: Vec<String>,
    /// Images that need it.
    #[serde(serialize_with = "json::shared")]
    names: Arc<[String]>,
    #[serde(serialize_with = "json::shared")]
    holds: Arc<[String]>,
    /// Second indexes that reference it.
    #[serde(serialize_with = "json::shared")]
    second_indexes: Arc<[String]>,
    /// What repairs it; absent where nothing is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl JsonLayout {
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
                .map(|finding| JsonItem::of(args, path, finding))
                .collect(),
            classes: Class::ALL.into_iter().map(class_of).collect(),
            verified: JsonCount {
                blobs: report.verified.blobs,
                bytes: report.verified.bytes,
            },
            damaged: damaged(args, report),
            without_layers: report.without_layers.clone(),
            repaired: Vec::new(),
            trash: None,
            error: None,
        }
    }
}

impl JsonItem {
    fn of_trash(place: Place<'_>, finding: &TrashFinding) -> Self {
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
                (Some(digest), _) => {
                    let name = digest.blob_name();
                    Some(format!("blobs/{}/{}", name.directory(), name.file()))
                }
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
