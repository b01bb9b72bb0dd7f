//! `ocisweep hold`

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::layout::BlobId;
use ocisweep::layout::holds::{Hold, Holds};
use ocisweep::model::entries::list_entries;
use ocisweep::oci::Digest;
use ocisweep::oci::split_name;
use ocisweep::ops::change_holds;
use ocisweep::parse::size::human_duration;
use ocisweep::parse::time::{parse_duration, parse_until};
use ocisweep::plan::{Force, SelectError, Selector};
use ocisweep::{Error, Snapshot};
use serde::{Deserialize, Serialize};

use crate::cli::args::{HoldAddArgs, HoldCommand, HoldLsArgs, HoldRmArgs, TableFormat};
use crate::cli::context::{Context, dashes, quote, quote_path, wider_hint};
use crate::cli::exit::{self, Exit};
use crate::cli::render::json;
use crate::cli::render::sweep::count;
use crate::cli::render::table::Table;

/// The largest `umoci.json` that is read, in bytes.
const MAX_BUNDLE_BYTES: u64 = 1 << 20;

/// Runs one of the sub-commands.
pub fn run(context: &Context<'_>, command: &HoldCommand) -> Exit {
    match command {
        HoldCommand::Add(args) => add(context, args),
        HoldCommand::Ls(args) => ls(context, args),
        HoldCommand::Rm(args) => rm(context, args),
    }
}

/// Why a hold command did nothing.
enum Failure {
    Library(Error),
    PlanNotes { text: String, hint: Option<String> },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl Failure {
    fn said(text: String) -> Self {
        Self::PlanNotes { text, hint: None }
    }

    fn report(&self, context: &Context<'_>) -> Exit {
        match self {
            Self::Library(error) => context.report(error),
            Self::PlanNotes { text, hint } => {
                context.term.error(text, hint.as_deref());
                exit::INCOMPLETE
            }
        }
    }
}

/// Changes the holds of a layout under its lock.
fn change(
    context: &Context<'_>,
    layout: &Path,
    store: Option<&Path>,
    lock_wait: std::time::Duration,
    edit: impl FnMut(&Snapshot, &mut Holds) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let open = || match store {
        Some(store) => context.open_in(layout, store),
        None => context.open_directory(
            layout,
            "holds are kept in a directory, and not in an archive",
        ),
    };
    change_holds(&open, context.now, lock_wait, context.watcher(), edit)
}

fn add(context: &Context<'_>, args: &HoldAddArgs) -> Exit {
    let bundle = match args.bundle.as_deref().map(read_bundle).transpose() {
        Ok(bundle) => bundle,
        Err(text) => return Failure::said(text).report(context),
    };
    let until = match args
        .until
        .as_deref()
        .map(|text| end_of(text, context.now, &context.zone))
        .transpose()
    {
        Ok(until) => until,
        Err(text) => {
            context.term.error(&text, None);
            return exit::USAGE;
        }
    };
    let mut digest_of = None;
    let result = change(
        context,
        &args.layout,
        args.shared_blobs.as_deref(),
        args.lock_wait,
        |view, holds| {
            if holds.holds.iter().any(|hold| hold.name == args.name) {
                return Err(Failure::PlanNotes {
                    text: format!("cannot add hold `{}`: there is one of that name", args.name),
                    hint: Some(format!(
                        "`ocisweep hold rm {}{} {}` ends it",
                        dashes([&args.name]),
                        quote_path(&args.layout),
                        quote(&args.name)
                    )),
                });
            }
            let (digest, image, while_path) = match (&bundle, &args.image) {
                (Some((digest, directory)), _) => (digest.clone(), None, Some(directory.clone())),
                (None, Some(image)) => {
                    let digest = resolve(view, image)?;
                    (digest, Some(image.clone()), args.while_path.clone())
                }
                (None, None) => {
                    return Err(Failure::said(
                        "cannot add a hold without an image".to_owned(),
                    ));
                }
            };
            if view
                .graph
                .id(&digest)
                .is_none_or(|id| !view.graph.is_present(id))
            {
                return Err(Failure::said(format!(
                    "cannot hold {digest}: it is not in `{}`",
                    args.layout.display()
                )));
            }
            digest_of = Some(digest.clone());
            holds.holds.push(Hold {
                name: args.name.clone(),
                digest,
                image,
                reason: args.reason.clone(),
                until,
                while_path: absolute(while_path),
            });
            Ok(())
        },
    );
    match (result, digest_of) {
        (Ok(()), Some(digest)) => {
            let name = context.term.foreign(&args.name);
            context.print(&format!("Held: {name} {digest}\n"))
        }
        (Ok(()), None) => exit::DONE,
        (Err(failure), _) => failure.report(context),
    }
}

/// Reads when a hold ends: unlike a filter a duration looks ahead here.
fn end_of(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let cannot = |why: String| format!("cannot use `--until {text}`: {why}");
    if let Ok(duration) = parse_duration(text) {
        return now
            .checked_add(duration)
            .map_err(|error| cannot(error.to_string()));
    }
    parse_until(text, now, zone).map_err(|error| cannot(error.to_string()))
}

/// A relative path would mean something else in another directory.
fn absolute(path: Option<PathBuf>) -> Option<PathBuf> {
    path.map(|path| std::path::absolute(&path).unwrap_or(path))
}

/// Finds the one image that an argument names.
fn resolve(view: &Snapshot, text: &str) -> Result<Digest, Failure> {
    let entries = list_entries(view);
    let picked = Selector::new(view, &entries, Force::No).pick(text);
    let pick = match picked {
        Ok(pick) => pick,
        Err(error) => {
            // A digest that is no entry can be held as well: a platform, or what another tool
            // dropped from the index. `name:tag` only reads like one of an unknown algorithm.
            if let Ok(digest) = Digest::parse(text)
                && (digest.algorithm().is_some() || view.graph.id(&digest).is_some())
            {
                return Ok(digest);
            }
            let hint = match &error {
                SelectError::NoMatch {
                    wider: Some(wider), ..
                } => Some(wider_hint(wider)),
                _ => None,
            };
            let text = error.to_string();
            return Err(Failure::PlanNotes { text, hint });
        }
    };
    let ids: BTreeSet<BlobId> = pick
        .images
        .iter()
        .chain(pick.names.keys())
        .copied()
        .collect();
    match ids.first() {
        Some(id) if ids.len() == 1 => Ok(view.graph.digest(*id).clone()),
        _ => Err(Failure::said(format!(
            "cannot hold `{text}`: it names {}",
            count(ids.len() as u64, "image")
        ))),
    }
}

/// Reads which image an unpacked umoci bundle was made from.
fn read_bundle(directory: &Path) -> Result<(Digest, PathBuf), String> {
    #[derive(Deserialize)]
    struct Meta {
        from_descriptor_path: Walk,
    }
    #[derive(Deserialize)]
    struct Walk {
        descriptor_walk: Vec<Step>,
    }
    #[derive(Deserialize)]
    struct Step {
        digest: String,
    }

    let path = directory.join("umoci.json");
    let cannot = |why: String| format!("cannot read the bundle `{}`: {why}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(MAX_BUNDLE_BYTES).read_to_end(&mut bytes))
        .map_err(|error| cannot(error.to_string()))?;
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| cannot(error.to_string()))?;
    // The first step is the entry of `index.json`; what stands below it is held with it.
    let first = meta
        .from_descriptor_path
        .descriptor_walk
        .first()
        .ok_or_else(|| cannot("it names no image".to_owned()))?;
    let digest = Digest::parse(&first.digest).map_err(|error| cannot(error.to_string()))?;
    Ok((digest, directory.to_owned()))
}

fn rm(context: &Context<'_>, args: &HoldRmArgs) -> Exit {
    let mut misses = Vec::new();
    let mut gone = Vec::new();
    let result = change(context, &args.layout, None, args.lock_wait, |_, holds| {
        misses.clear();
        gone.clear();
        for name in &args.names {
            let before = holds.holds.len();
            holds.holds.retain(|hold| hold.name != *name);
            if holds.holds.len() == before {
                misses.push(name.clone());
            } else {
                gone.push(name.clone());
            }
        }
        if gone.is_empty() {
            return Err(Failure::said(format!(
                "No such hold: {}",
                misses.join(", ")
            )));
        }
        Ok(())
    });
    if let Err(failure) = result {
        return failure.report(context);
    }
    let mut exit = exit::DONE;
    for name in &gone {
        let name = context.term.foreign(name);
        exit = exit.and(context.print(&format!("Released: {name}\n")));
    }
    for name in &misses {
        context.term.error(&format!("No such hold: {name}"), None);
        exit = exit.and(exit::INCOMPLETE);
    }
    exit
}

fn ls(context: &Context<'_>, args: &HoldLsArgs) -> Exit {
    let view = match context.read(&args.layout) {
        Ok(view) => view,
        Err(error) => return context.report(&error),
    };
    let entries = list_entries(&view);
    let image_of = |hold: &Hold| {
        let id = view.graph.id(&hold.digest);
        entries
            .iter()
            .filter(|entry| entry.id == id && id.is_some())
            .find_map(|entry| entry.names.first())
            .map(|name| name.text.to_string())
            .or_else(|| hold.image.clone())
    };
    if args.format == TableFormat::Json {
        let document = JsonHolds {
            schema_version: json::SCHEMA_VERSION,
            command: "hold ls",
            holds: view
                .state
                .holds
                .holds
                .iter()
                .map(|hold| JsonHold {
                    name: hold.name.clone(),
                    digest: hold.digest.to_string(),
                    image: image_of(hold),
                    reason: hold.reason.clone(),
                    until: hold.until.map(|until| until.to_string()),
                    r#while: hold
                        .while_path
                        .as_ref()
                        .map(|path| path.to_string_lossy().into_owned()),
                    active: hold.is_active(context.now),
                })
                .collect(),
        };
        return context.print(&json::pretty(&document));
    }
    let mut table = Table::new(&["NAME", "IMAGE", "IMAGE ID", "ENDS", "REASON"]);
    table.names(0);
    table.names(1);
    table.fit(context.term.width());
    for hold in &view.state.holds.holds {
        let image = image_of(hold).unwrap_or_else(|| "<none>".to_owned());
        let image = match split_name(&image) {
            (None, Some(tag)) => tag.to_owned(),
            _ => image,
        };
        let foreign = |text: &str| context.term.foreign(text).into_owned();
        table.row(vec![
            foreign(&hold.name),
            foreign(&image),
            hold.digest.short(),
            foreign(&ends(hold, context.now)),
            foreign(hold.reason.as_deref().unwrap_or_default()),
        ]);
    }
    context.print(&table.render())
}

/// Says when a hold ends.
fn ends(hold: &Hold, now: Timestamp) -> String {
    if !hold.is_active(now) {
        return "ended".to_owned();
    }
    let until = hold.until.map(|until| {
        let left = std::time::Duration::try_from(until.duration_since(now)).unwrap_or_default();
        format!("in {}", human_duration(left).to_lowercase())
    });
    let gone = hold
        .while_path
        .as_ref()
        .map(|path| format!("when {} is removed", path.display()));
    match (until, gone) {
        (None, None) => "never".to_owned(),
        (Some(text), None) | (None, Some(text)) => text,
        (Some(until), Some(gone)) => format!("{until} or {gone}"),
    }
}

#[derive(Serialize)]
struct JsonHolds {
    schema_version: u32,
    command: &'static str,
    holds: Vec<JsonHold>,
}

#[derive(Serialize)]
struct JsonHold {
    name: String,
    digest: String,
    image: Option<String>,
    reason: Option<String>,
    until: Option<String>,
    r#while: Option<String>,
    active: bool,
}
