//! `ocisweep trash`

use std::fmt::Write as _;

use jiff::Timestamp;
use ocisweep::layout::trash::TrashedRun;
use ocisweep::ops::{EmptyRequest, empty_trash};
use ocisweep::parse::size::{human_duration, human_size};
use ocisweep::plan::Totals;
use serde::Serialize;

use crate::cli::args::{TableFormat, TrashCommand, TrashEmptyArgs, TrashLsArgs};
use crate::cli::context::{Context, quote_path};
use crate::cli::exit::{self, Exit};
use crate::cli::render::json;
use crate::cli::render::sweep::{count, total_line};
use crate::cli::render::table::Table;
use crate::cli::run::run_mode;

/// Runs one of the sub-commands.
pub fn run(context: &Context<'_>, command: &TrashCommand) -> Exit {
    match command {
        TrashCommand::Ls(args) => ls(context, args),
        TrashCommand::Empty(args) => empty(context, args),
    }
}

fn ls(context: &Context<'_>, args: &TrashLsArgs) -> Exit {
    let layout = context.open(&args.layout);
    let runs = match layout.and_then(|layout| layout.trashed_runs()) {
        Ok(runs) => runs,
        Err(error) => return context.report(&error),
    };
    let shown = runs
        .iter()
        .filter(|run| !matches!(run.record, Ok(None)) || !run.blobs.is_empty());
    if args.format == TableFormat::Json {
        let document = JsonTrash {
            schema_version: json::SCHEMA_VERSION,
            command: "trash ls",
            runs: shown.map(JsonRun::of).collect(),
        };
        return context.print(&json::pretty(&document));
    }
    let mut table = Table::new(&["RUN", "WHEN", "COMMAND", "NAMES", "BLOBS", "SIZE", "ENDS"]);
    table.names(2);
    table.names(3);
    table.fit(context.term.width());
    for run in shown {
        table.row(row(context, run));
    }
    context.print(&table.render())
}

fn row(context: &Context<'_>, run: &TrashedRun) -> Vec<String> {
    let foreign = |text: &str| context.term.foreign(text).into_owned();
    let (when, command, names, ends) = match &run.record {
        Ok(Some(record)) => (
            record.started().map(|time| ago(time, context.now)),
            foreign(&record.command),
            foreign(&record.names().join(", ")),
            match (&record.undone, record.ends()) {
                (Some(_), _) => Some("undone".to_owned()),
                (None, ends) => ends.map(|time| until(time, context.now)),
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
    vec![
        run.name.clone(),
        when.unwrap_or_default(),
        command,
        names,
        run.blobs.len().to_string(),
        human_size(run.bytes()),
        ends.unwrap_or_default(),
    ]
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    let passed = now.duration_since(time).unsigned_abs();
    format!("{} ago", human_duration(passed))
}

fn until(time: Timestamp, now: Timestamp) -> String {
    let left = time.duration_since(now);
    if left.is_positive() {
        format!("in {}", human_duration(left.unsigned_abs()))
    } else {
        "over".to_owned()
    }
}

fn empty(context: &Context<'_>, args: &TrashEmptyArgs) -> Exit {
    let layout = match context.open(&args.layout) {
        Ok(layout) => layout,
        Err(error) => return context.report(&error),
    };
    let before = args
        .older_than
        .and_then(|age| context.started.checked_sub(age).ok());
    let request = match (&args.run, args.older_than) {
        (Some(run), _) => EmptyRequest::Run(run),
        (None, None) => EmptyRequest::All,
        (None, Some(_)) => EmptyRequest::Before(before.unwrap_or(Timestamp::MIN)),
    };
    let mode = run_mode(args.dry_run, args.lock_wait);
    let emptied = match empty_trash(&layout, request, mode, context.watcher()) {
        Ok(emptied) => emptied,
        Err(error) => {
            let hint = matches!(error, ocisweep::Error::Trash { .. }).then(|| {
                format!(
                    "`ocisweep trash ls {}` lists the runs",
                    quote_path(&args.layout)
                )
            });
            return context.report_with(&error, hint);
        }
    };
    let verb = if args.dry_run {
        "Would empty:"
    } else {
        "Emptied:"
    };
    let mut text = String::new();
    let mut sum = Totals::default();
    for (run, totals) in &emptied {
        let blobs = count(run.blobs.len() as u64, "blob");
        let size = human_size(run.bytes());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{verb} {} ({blobs}, {size})", run.name);
        sum = sum.plus(*totals);
    }
    text.push_str(&total_line(&sum, args.dry_run));
    exit::DONE.and(context.print(&text))
}

#[derive(Serialize)]
struct JsonTrash {
    schema_version: u32,
    command: &'static str,
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
