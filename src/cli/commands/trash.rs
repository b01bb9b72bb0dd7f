//! `ocisweep trash`

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use ocisweep::Error;
use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::layout::trash::TrashedRun;
use ocisweep::ops::{EmptyRequest, TrashOwner, empty_trash};
use ocisweep::parse::size::human_size;
use ocisweep::plan::Totals;
use serde::Serialize;

use super::fields::{self, RUN, Values};
use crate::cli::args::{Format, TrashCommand, TrashEmptyArgs, TrashLsArgs};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::quote::quote_path;
use crate::cli::render::json;
use crate::cli::render::sweep::{count, restored_line, total_line};
use crate::cli::render::table::Table;
use crate::cli::render::template::{TemplateRow, TemplateValue};
use crate::cli::render::time::{ago, until};
use crate::cli::run::run_mode;

/// Runs one of the sub-commands.
pub fn run(context: &Context<'_>, command: &TrashCommand) -> Exit {
    match command {
        TrashCommand::Ls(args) => ls(context, args),
        TrashCommand::Empty(args) => empty(context, args),
    }
}

/// Opens the owner of the trash: a layout, or the shared store of layouts.
fn open(
    context: &Context<'_>,
    layout: Option<&Path>,
    store: Option<&Path>,
) -> Result<TrashOwner, Error> {
    match (layout, store) {
        (_, Some(store)) => SharedStore::open(store).map(TrashOwner::Store),
        (layout, None) => {
            let layout = layout.unwrap_or(Path::new("."));
            let layout = context.open_directory(layout, "an archive cannot have a trash");
            layout.map(TrashOwner::Layout)
        }
    }
}

fn ls(context: &Context<'_>, args: &TrashLsArgs) -> Exit {
    let template = match fields::compile(context, &args.format, &RUN) {
        Ok(template) => template,
        Err(exit) => return exit,
    };
    let owner = open(
        context,
        args.layout.as_deref(),
        args.shared_blobs.as_deref(),
    );
    let runs = match owner.and_then(|owner| owner.trash().runs()) {
        Ok(runs) => runs,
        Err(error) => return context.report(&error),
    };
    let shown = runs
        .iter()
        .filter(|run| !matches!(run.record, Ok(None)) || !run.blobs.is_empty());
    if args.format == Format::Json {
        let document = JsonTrashList {
            runs: shown.map(JsonRun::of).collect(),
        };
        return context.print(&json::document("trash ls", document));
    }
    if let Some(template) = &template {
        let rows: Vec<TemplateRow> = shown.map(|run| fields_of(context, run)).collect();
        return fields::print(context, template, &rows);
    }
    let headers = ["RUN", "WHEN", "COMMAND", "NAMES", "BLOBS", "SIZE", "ENDS"];
    let mut table = Table::new(&headers, &[2, 3], context.term.width());
    for run in shown {
        table.row(row(context, run).to_vec());
    }
    context.print(&table.render())
}

/// Returns the fields of a run.
fn fields_of(context: &Context<'_>, run: &TrashedRun) -> TemplateRow {
    let values = Values(context);
    let record = run.record.as_ref().ok().and_then(Option::as_ref);
    let names = record.map(|record| record.names()).unwrap_or_default();
    let time = |time: Option<Timestamp>| {
        let time = time.map(|time| time.to_string());
        TemplateValue::Text(time.unwrap_or_default())
    };
    // Cells went through `Term::foreign` already.
    let [run_name, when, command, _, _, size, ends] = row(context, run).map(TemplateValue::Text);
    TemplateRow::new([
        ("Run", run_name),
        ("When", when),
        ("Command", command),
        ("Names", values.list(&names)),
        ("Blobs", values.number(run.blobs.len() as u64)),
        ("Size", size),
        ("Ends", ends),
        ("SizeBytes", values.number(run.bytes())),
        (
            "StartedAt",
            time(record.and_then(|record| record.started())),
        ),
        ("EndsAt", time(record.and_then(|record| record.ends()))),
    ])
}

fn row(context: &Context<'_>, run: &TrashedRun) -> [String; 7] {
    let foreign = |text: &str| context.term.foreign(text);
    let (when, command, names, ends) = match &run.record {
        Ok(Some(record)) => (
            record.started().map(|time| ago(context.now, time)),
            foreign(&record.command),
            foreign(&record.names().join(", ")),
            match (&record.undone, record.ends()) {
                (Some(_), _) => Some("undone".to_owned()),
                (None, Some(time)) if time <= context.now => Some("over".to_owned()),
                (None, ends) => ends.map(|time| until(context.now, time)),
            },
        ),
        Ok(None) => (None, "(being emptied)".to_owned(), String::new(), None),
        Err(why) => (
            None,
            foreign(&format!("(unknown: {why})")),
            String::new(),
            None,
        ),
    };
    [
        run.name.clone(),
        when.unwrap_or_default(),
        command,
        names,
        run.blobs.len().to_string(),
        human_size(run.bytes()),
        ends.unwrap_or_default(),
    ]
}

fn empty(context: &Context<'_>, args: &TrashEmptyArgs) -> Exit {
    // Without a layout the first argument is the run.
    let in_place = args.layout.as_ref().filter(|_| args.shared_blobs.is_some());
    if let (Some(_), Some(extra)) = (in_place, &args.run) {
        let text = format!("cannot use `{extra}`: with --shared-blobs no layout is given");
        let hint = "`ocisweep trash empty --shared-blobs DIR [RUN]`";
        context.term.error(&text, Some(hint));
        return exit::USAGE;
    }
    let run = in_place.map(|run| run.to_string_lossy());
    let run = run.as_deref().or(args.run.as_deref());
    if let (Some(run), Some(_)) = (run, args.older_than) {
        let text = format!("cannot use `--older-than` with the run `{run}`");
        context.term.error(&text, Some("give one of them"));
        return exit::USAGE;
    }
    let store = args.shared_blobs.as_deref();
    let owner = match open(context, args.layout.as_deref(), store) {
        Ok(owner) => owner,
        Err(error) => return context.report(&error),
    };
    let before = args
        .older_than
        .and_then(|age| context.started.checked_sub(age).ok());
    let request = match (run, args.older_than) {
        (Some(run), _) => EmptyRequest::Run(run),
        (None, None) => EmptyRequest::All,
        (None, Some(_)) => EmptyRequest::Before(before.unwrap_or(Timestamp::MIN)),
    };
    let mode = run_mode(args.dry_run, args.lock.lock_wait);
    let journal = context.journal();
    let emptied = empty_trash(&owner, request, mode, journal.as_deref(), context.watcher());
    let emptied = match emptied {
        Ok(emptied) => emptied,
        Err(error) => return report_trash(context, owner.trash().owner(), store, &error),
    };
    let verb = if args.dry_run {
        "Would empty:"
    } else {
        "Emptied:"
    };
    let mut text = String::new();
    let mut sum = Totals::default();
    for restored in &emptied.restored {
        text.push_str(&restored_line(context, restored));
        text.push('\n');
    }
    for (run, totals) in &emptied.runs {
        let blobs = count(run.blobs.len() as u64, "blob");
        let size = human_size(run.bytes());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{verb} {} ({blobs}, {size})", run.name);
        sum = sum.plus(*totals);
    }
    text.push_str(&total_line(&sum, args.dry_run));
    exit::DONE.and(context.print(&text))
}

/// Reports an error of a trash, with the command that lists its runs, or that repairs the layout.
pub fn report_trash(
    context: &Context<'_>,
    layout: &Path,
    store: Option<&Path>,
    error: &Error,
) -> Exit {
    let place = match store {
        Some(store) => format!("--shared-blobs {}", quote_path(store)),
        None => quote_path(layout),
    };
    let hint = match (error, store) {
        (Error::Trash { .. }, _) => Some(format!("`ocisweep trash ls {place}` lists the runs")),
        (Error::Incomplete { path, .. }, store) => {
            let store = store.map(|_| format!("{place} "));
            let (store, path) = (store.unwrap_or_default(), quote_path(path));
            Some(format!(
                "what it references may be in the trash; `ocisweep check --repair {store}{path}` replaces it if the trash has it whole"
            ))
        }
        _ => None,
    };
    context.report_with(error, hint)
}

#[derive(Serialize)]
struct JsonTrashList {
    runs: Vec<JsonRun>,
}

#[derive(Serialize)]
struct JsonRun {
    run: String,
    command: Option<String>,
    names: Vec<String>,
    blobs: u64,
    bytes: u64,
    started: Option<String>,
    ends: Option<String>,
    undone: Option<String>,
}

impl JsonRun {
    fn of(run: &TrashedRun) -> Self {
        let record = run.record.as_ref().ok().and_then(Option::as_ref);
        Self {
            run: run.name.clone(),
            command: record.map(|record| record.command.clone()),
            names: record.map(|record| record.names()).unwrap_or_default(),
            blobs: run.blobs.len() as u64,
            bytes: run.bytes(),
            started: record
                .and_then(|record| record.started())
                .map(|time| time.to_string()),
            ends: record
                .and_then(|record| record.ends())
                .map(|time| time.to_string()),
            undone: record.and_then(|record| record.undone.clone()),
        }
    }
}
