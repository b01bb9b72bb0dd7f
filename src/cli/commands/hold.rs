//! `ocisweep hold`

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::layout::BlobId;
use ocisweep::layout::holds::{Hold, Holds};
use ocisweep::model::entries::list_entries;
use ocisweep::oci::{Digest, split_name};
use ocisweep::ops::change_holds;
use ocisweep::parse::time::{parse_duration, parse_until};
use ocisweep::plan::{Force, SelectError, Selector};
use ocisweep::{Error, Snapshot};
use serde::{Deserialize, Serialize};

use super::fields::{self, HOLD, Values};
use crate::cli::args::{Format, HoldAddArgs, HoldCommand, HoldLsArgs, HoldRmArgs};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::quote::{hold_rm_command, wider_hint};
use crate::cli::render::json;
use crate::cli::render::sweep::count;
use crate::cli::render::table::{NONE, Table};
use crate::cli::render::template::{TemplateRow, TemplateValue};
use crate::cli::render::time::until;

/// The largest `umoci.json` that is read, in bytes.
const MAX_BUNDLE_BYTES: u64 = 1 << 20;

/// Runs one of the subcommands.
///
/// # Errors
/// The exit status, if nothing was done.
pub fn run(context: &Context<'_>, command: &HoldCommand) -> Result<Exit, Exit> {
    match command {
        HoldCommand::Add(args) => add(context, args),
        HoldCommand::Ls(args) => ls(context, args),
        HoldCommand::Rm(args) => rm(context, args),
    }
}

/// Why a hold command did nothing.
enum HoldFailure {
    Library(Error),
    /// A message and a hint.
    Message(String, Option<String>),
}

impl From<Error> for HoldFailure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<String> for HoldFailure {
    fn from(text: String) -> Self {
        Self::Message(text, None)
    }
}

impl HoldFailure {
    fn report(&self, context: &Context<'_>) -> Exit {
        match self {
            Self::Library(error) => context.report(error),
            Self::Message(text, hint) => context.fail(exit::INCOMPLETE, text, hint.as_deref()),
        }
    }
}

/// Changes the holds of a layout under its lock.
fn change(
    context: &Context<'_>,
    layout: &Path,
    store: Option<&Path>,
    lock_wait: Duration,
    edit: impl FnMut(&Snapshot, &mut Holds) -> Result<(), HoldFailure>,
) -> Result<(), Exit> {
    let open = || match store {
        Some(_) => context.open_in(layout, store),
        None => context.open_directory(layout, "an archive cannot have holds"),
    };
    let journal = context.journal();
    let observers = (journal.as_deref(), context.watcher());
    let changed = change_holds(&open, context.now, lock_wait, observers, edit);
    changed.map_err(|failure: HoldFailure| failure.report(context))
}

fn add(context: &Context<'_>, args: &HoldAddArgs) -> Result<Exit, Exit> {
    let bundle = args.bundle.as_deref().map(read_bundle).transpose();
    let bundle = bundle.map_err(|text| HoldFailure::from(text).report(context))?;
    let until = args
        .until
        .as_deref()
        .map(|text| end_of(text, context.now, context.zone()));
    let until = until.transpose();
    let until = until.map_err(|text| context.fail(exit::USAGE, &text, None))?;
    let mut digest_of = None;
    let store = args.shared_blobs.as_deref();
    change(
        context,
        &args.layout,
        store,
        args.lock.lock_wait,
        |snapshot, holds| {
            if holds.holds.iter().any(|hold| hold.name == args.name) {
                let text = format!("cannot add hold `{}`: it already exists", args.name);
                let command = hold_rm_command(&args.layout, &args.name);
                return Err(HoldFailure::Message(
                    text,
                    Some(format!("{command} ends it")),
                ));
            }
            let (digest, image, while_path) = match (&bundle, &args.image) {
                (Some(digest), _) => (digest.clone(), None, args.bundle.clone()),
                (None, Some(image)) => {
                    let digest = resolve(snapshot, image)?;
                    (digest, Some(image.clone()), args.while_path.clone())
                }
                (None, None) => return Err("cannot add a hold without an image".to_owned().into()),
            };
            let id = snapshot.graph.id(&digest);
            if id.is_none_or(|id| !snapshot.graph.is_present(id)) {
                let layout = args.layout.display();
                return Err(format!("cannot hold {digest}: it is not in `{layout}`").into());
            }
            digest_of = Some(digest.clone());
            holds.holds.push(Hold {
                name: args.name.clone(),
                digest,
                image,
                reason: args.reason.clone(),
                until,
                // A relative path would mean something else in another directory.
                while_path: while_path.map(|path| std::path::absolute(&path).unwrap_or(path)),
                added: Some(context.now),
            });
            Ok(())
        },
    )?;
    let digest = digest_of.expect("a hold was added");
    let name = context.term.foreign(&args.name);
    Ok(context.print(&format!("Held: {name} {digest}\n")))
}

/// Parses the end of a hold. Unlike in a filter, a duration counts into the future.
fn end_of(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let end = match parse_duration(text) {
        Ok(duration) => now.checked_add(duration).map_err(|error| error.to_string()),
        Err(_) => parse_until(text, now, zone).map_err(|error| error.to_string()),
    };
    end.map_err(|why| format!("cannot use `--until {text}`: {why}"))
}

/// Returns the digest of the one image that an argument selects.
fn resolve(snapshot: &Snapshot, text: &str) -> Result<Digest, HoldFailure> {
    let entries = list_entries(snapshot);
    let pick = match Selector::new(snapshot, &entries, Force::No).pick(text) {
        Ok(pick) => pick,
        Err(error) => {
            // A digest that is not an entry can be held as well: a platform, or an image that another tool removed from the
            // index. `name:tag` only reads like a digest of an unknown algorithm.
            if let Ok(digest) = Digest::parse(text)
                && (digest.algorithm().is_some() || snapshot.graph.id(&digest).is_some())
            {
                return Ok(digest);
            }
            let hint = match &error {
                SelectError::NoMatch { wider, .. } => wider.as_deref().map(wider_hint),
                _ => None,
            };
            return Err(HoldFailure::Message(error.to_string(), hint));
        }
    };
    let ids = pick.images.iter().chain(pick.names.keys());
    let ids: BTreeSet<BlobId> = ids.copied().collect();
    match ids.first() {
        Some(id) if ids.len() == 1 => Ok(snapshot.graph.digest(*id).clone()),
        _ => {
            let images = count(ids.len() as u64, "image");
            Err(format!("cannot hold `{text}`: it names {images}").into())
        }
    }
}

/// Returns the image that an umoci bundle was unpacked from.
fn read_bundle(directory: &Path) -> Result<Digest, String> {
    #[derive(Deserialize)]
    struct Meta {
        from_descriptor_path: BundlePath,
    }
    #[derive(Deserialize)]
    struct BundlePath {
        descriptor_walk: Vec<BundleDescriptor>,
    }
    #[derive(Deserialize)]
    struct BundleDescriptor {
        digest: String,
    }

    let path = directory.join("umoci.json");
    let cannot = |why: String| format!("cannot read the bundle `{}`: {why}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(MAX_BUNDLE_BYTES).read_to_end(&mut bytes))
        .map_err(|error| cannot(error.to_string()))?;
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| cannot(error.to_string()))?;
    // The first step is the entry of `index.json`; what it references is held with it.
    let first = meta
        .from_descriptor_path
        .descriptor_walk
        .first()
        .ok_or_else(|| cannot("it names no image".to_owned()))?;
    Digest::parse(&first.digest).map_err(|error| cannot(error.to_string()))
}

fn rm(context: &Context<'_>, args: &HoldRmArgs) -> Result<Exit, Exit> {
    let mut misses = Vec::new();
    let mut removed = Vec::new();
    change(
        context,
        &args.layout,
        None,
        args.lock.lock_wait,
        |_, holds| {
            misses.clear();
            removed.clear();
            for name in &args.names {
                let before = holds.holds.len();
                holds.holds.retain(|hold| hold.name != *name);
                if holds.holds.len() == before {
                    misses.push(name.as_str());
                } else {
                    removed.push(name.as_str());
                }
            }
            if removed.is_empty() {
                return Err(format!("No such hold: {}", misses.join(", ")).into());
            }
            Ok(())
        },
    )?;
    let mut exit = exit::DONE;
    for name in removed {
        let name = context.term.foreign(name);
        exit = exit.and(context.print(&format!("Released: {name}\n")));
    }
    for name in misses {
        let text = format!("No such hold: {name}");
        exit = exit.and(context.fail(exit::INCOMPLETE, &text, None));
    }
    Ok(exit)
}

fn ls(context: &Context<'_>, args: &HoldLsArgs) -> Result<Exit, Exit> {
    let template = fields::compile(context, &args.format, &HOLD)?;
    let layout = args.layout.as_deref().unwrap_or(Path::new("."));
    let snapshot = context.read(layout, None);
    let snapshot = snapshot.map_err(|error| context.report(&error))?;
    let entries = list_entries(&snapshot);
    let image_of = |hold: &Hold| {
        let id = snapshot.graph.id(&hold.digest);
        entries
            .iter()
            .filter(|entry| entry.id == id && id.is_some())
            .find_map(|entry| entry.names.first())
            .map(|name| name.text.to_string())
            .or_else(|| hold.image.clone())
    };
    let holds = snapshot.state.holds.holds.iter();
    if args.format == Format::Json {
        let holds = holds.map(|hold| JsonHold {
            name: hold.name.clone(),
            digest: hold.digest.to_string(),
            image: image_of(hold),
            reason: hold.reason.clone(),
            until: hold.until.map(|until| until.to_string()),
            r#while: hold
                .while_path
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
            added: hold.added.map(|added| added.to_string()),
            active: hold.is_active(context.now),
        });
        let holds = holds.collect();
        return Ok(context.print(&json::document("hold ls", JsonHolds { holds })));
    }
    if let Some(template) = &template {
        let values = Values(context);
        let rows: Vec<TemplateRow> = holds
            .map(|hold| row(values, hold, image_of(hold), context.now))
            .collect();
        return Ok(fields::print(context, template, &rows));
    }
    let headers = ["NAME", "IMAGE", "IMAGE ID", "ADDED", "ENDS", "REASON"];
    let mut table = Table::new(&headers, &[0, 1], context.term.width());
    for hold in holds {
        let image = image_of(hold).unwrap_or_else(|| NONE.to_owned());
        let image = match split_name(&image) {
            (None, Some(tag)) => tag.to_owned(),
            _ => image,
        };
        let foreign = |text: &str| context.term.foreign(text);
        table.row(vec![
            foreign(&hold.name),
            foreign(&image),
            hold.digest.short(),
            hold.added.map(date).unwrap_or_default(),
            foreign(&ends(hold, context.now)),
            foreign(hold.reason.as_deref().unwrap_or_default()),
        ]);
    }
    Ok(context.print(&table.render()))
}

/// Returns the fields of a hold.
fn row(values: Values<'_>, hold: &Hold, image: Option<String>, now: Timestamp) -> TemplateRow {
    let removed = hold.while_path.as_ref();
    let removed = removed.map(|path| path.to_string_lossy().into_owned());
    let until = hold.until.map(|until| until.to_string());
    TemplateRow::new([
        ("Name", values.text(&hold.name)),
        ("Image", values.text(image.as_deref().unwrap_or(NONE))),
        ("ID", TemplateValue::Text(hold.digest.short())),
        ("Digest", TemplateValue::Text(hold.digest.to_string())),
        ("Ends", values.text(&ends(hold, now))),
        (
            "Added",
            TemplateValue::Text(hold.added.map(date).unwrap_or_default()),
        ),
        (
            "AddedAt",
            TemplateValue::Text(hold.added.map(|time| time.to_string()).unwrap_or_default()),
        ),
        ("Until", values.text(until.as_deref().unwrap_or_default())),
        ("While", values.text(removed.as_deref().unwrap_or_default())),
        (
            "Reason",
            values.text(hold.reason.as_deref().unwrap_or_default()),
        ),
        ("Active", TemplateValue::Flag(hold.is_active(now))),
    ])
}

/// Returns the date of a time, in UTC.
fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// Returns when a hold ends.
fn ends(hold: &Hold, now: Timestamp) -> String {
    if !hold.is_active(now) {
        return "ended".to_owned();
    }
    let until = |time| format!("{} ({})", until(now, time), date(time));
    let until = hold.until.map(until);
    let removed = hold.while_path.as_ref();
    let removed = removed.map(|path| format!("when {} is removed", path.display()));
    match (until, removed) {
        (None, None) => "never".to_owned(),
        (Some(text), None) | (None, Some(text)) => text,
        (Some(until), Some(removed)) => format!("{until} or {removed}"),
    }
}

#[derive(Serialize)]
struct JsonHolds {
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
    added: Option<String>,
    active: bool,
}
