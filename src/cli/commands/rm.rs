//! `ocisweep rm`

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use ocisweep::fs::Disk;
use ocisweep::graph::MissingDocuments;
use ocisweep::graph::content_of;
use ocisweep::model::entries::{EntryFacts, list_entries};
use ocisweep::model::images::list_images;
use ocisweep::oci::Shape;
use ocisweep::oci::platform::{Platform, PlatformSelector};
use ocisweep::ops::{self, Finished};
use ocisweep::plan::{
    Conflict, Dropped, Extent, Force, LeftCompanion, Moved, Pick, PlatformRequest, Referrers,
    Removal, RemoveOptions, SelectError, Selector, Totals, Which, drop_platforms, remove,
};
use ocisweep::{Error, Snapshot};

use crate::cli::args::{RmArgs, TextFormat};
use crate::cli::audit::AuditRemoval;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{group_of, is_absent};
use crate::cli::quote::{hold_rm_command, quote, quote_path, quoted, rm_command, wider_hint};
use crate::cli::render::json::{self, SweptItem};
use crate::cli::render::names::RemovedNames;
use crate::cli::render::pieces::Pieces;
use crate::cli::render::sweep::{Shown, Style, count, parts, total_line};
use crate::cli::render::table::NONE;
use crate::cli::render::trashed::TrashTotals;
use crate::cli::run::{RunClock, protection, run_mode};

/// The maximum number of kept companion tags that are named one by one.
const MAX_COMPANIONS: usize = 20;

/// Notes of planning that are not part of the plan.
#[derive(Default)]
struct RemovalNotes {
    names: RemovedNames,
    left_companions: Vec<LeftCompanion>,
    conflicts: Vec<Conflict>,
    misses: Vec<SelectError>,
    deletes: bool,
    moved: Vec<Moved>,
    dropped: Vec<Dropped>,
    /// The number of blobs that the layout no longer needs.
    released: usize,
}

/// Removes the images that the arguments select, all resolved against one state and removed with one write.
///
/// # Errors
/// The exit status, if the command line is invalid or an argument is not a layout.
pub fn run(context: &Context<'_>, args: &RmArgs) -> Result<Exit, Exit> {
    let request = platforms(args).map_err(|text| {
        let hint = "a platform is os[(version+feature)][/arch[/variant]], such as linux/arm64, or the digest of a child";
        context.fail(exit::USAGE, &text, Some(hint))
    })?;
    let store = args.shared.shared_blobs.as_deref();
    if store.is_some() && args.shared.with.is_empty() {
        return Err(context.fail(
            exit::USAGE,
            "cannot remove from a layout with shared blobs without the other layouts that use them",
            Some("`--with` names each of them, or a directory below which they are"),
        ));
    }
    if args.if_exists && is_absent(context, &args.layout) {
        let nothing = json::Sweep {
            dry_run: args.dry_run,
            ..json::Sweep::default()
        };
        return Ok(match args.format {
            TextFormat::Json => context.print(&json::document("rm", &nothing)),
            TextFormat::Text => exit::DONE,
        });
    }
    let group = group_of(context, &args.layout, store, &args.shared.with)?;
    if let Some(metrics) = &context.metrics {
        let (store, layouts) = group.paths();
        metrics.add_layouts(store, layouts);
    }
    // Temporary files were not named, and those of the other layouts even less so.
    let rule = protection(
        context,
        args.grace,
        Duration::MAX,
        RunClock::of(args.dry_run),
    );
    let force = if args.force { Force::Yes } else { Force::No };
    let missing = MissingDocuments::allow_if(args.allow_missing);
    let options = RemoveOptions {
        force,
        referrers: if args.keep_referrers {
            Referrers::Keep
        } else {
            Referrers::Follow
        },
        extent: if args.no_prune {
            Extent::Names
        } else {
            Extent::Images
        },
        missing,
    };
    let mode = run_mode(args.dry_run, args.lock.lock_wait);
    let mut damaged: Vec<&str> = Vec::new();
    let watcher = context.watcher();
    let done = ops::run_in_first(&group, &rule, missing, mode, watcher, |snapshot| {
        let entries = list_entries(snapshot);
        let images = list_images(snapshot, rule.now);
        let mut selector = Selector::new(snapshot, &entries, force);
        if request.is_none() {
            selector = selector.with_saved_names();
        }
        let mut picks: Vec<Pick> = Vec::new();
        let mut misses = Vec::new();
        damaged.clear();
        for text in &args.images {
            let picked = match selector.pick(text) {
                // Several entries of one name can be the platforms of one image.
                Err(SelectError::Ambiguous { .. }) if request.is_some() => {
                    platforms_of_one(snapshot, &entries, text)
                        .map_or_else(|| selector.pick(text), Ok)
                }
                picked => picked,
            };
            match picked {
                Ok(pick) => {
                    if is_damaged(snapshot, &pick) {
                        damaged.push(text);
                    }
                    picks.push(pick);
                }
                Err(error) if !misses.contains(&error) => misses.push(error),
                Err(_) => {}
            }
        }
        let sweep = &rule.sweep;
        let mut removal = match &request {
            None => remove(snapshot, &images, &entries, &picks, &options, sweep, &Disk)?,
            Some(request) => drop_platforms(
                snapshot, &images, &entries, &picks, request, &options, sweep, &Disk,
            )?,
        };
        if let Some(audit) = &context.audit {
            audit.note(
                snapshot.layout.path(),
                AuditRemoval::by_name(&removal, "rm"),
            );
        }
        let names = RemovedNames::take(&mut removal);
        let Removal {
            plan,
            left_companions,
            conflicts,
            images,
            moved,
            dropped,
            ..
        } = removal;
        let notes = RemovalNotes {
            names,
            left_companions,
            conflicts,
            misses,
            // An image that only manifest.json lists has no ID.
            deletes: !images.is_empty() || !moved.is_empty() || !plan.sweep().is_empty(),
            moved,
            dropped,
            released: plan.sweep().len(),
        };
        Ok((plan, notes))
    });
    let done = done.map_err(|error| match way_out(&args.layout, &damaged, &error) {
        Some(hint) => context.report_with(&error, Some(hint)),
        None => context.report(&error),
    })?;
    let style = Style {
        is_dry_run: args.dry_run,
        is_json: args.format == TextFormat::Json,
        is_quiet: args.quiet,
        has_exit_code: args.exit_code,
        ..Style::default()
    };
    Ok(show(context, &style, &args.layout, args.force, &done))
}

/// Returns `true` if a selected image or a part of it is damaged or missing.
fn is_damaged(snapshot: &Snapshot, pick: &Pick) -> bool {
    let graph = &snapshot.graph;
    let is_missing = |id| !graph.is_present(id) && !graph.is_embedded(id);
    !pick.entries.is_empty()
        || pick.names.keys().chain(&pick.images).any(|&id| {
            is_missing(id)
                || content_of(graph, id, None)
                    .iter()
                    .any(|(id, _)| graph.damage(*id).is_some())
        })
}

/// Returns the hint if both removed images and others are damaged: none of them can be removed alone, so a hint that names
/// only the others would not help.
fn way_out(layout: &Path, damaged: &[&str], error: &Error) -> Option<String> {
    let Error::Incomplete { broken, .. } = error else {
        return None;
    };
    // Removing images does not affect what a second index lists.
    let is_listed = broken
        .iter()
        .any(|broken| !broken.second_indexes.is_empty());
    let mut seen: HashSet<&str> = damaged.iter().copied().collect();
    let images = broken.iter().flat_map(|broken| &broken.images);
    let others: Vec<&str> = images
        .map(String::as_str)
        .filter(|image| seen.insert(image))
        .collect();
    if damaged.is_empty() || others.is_empty() || is_listed {
        return None;
    }
    let together = damaged.iter().chain(&others);
    let together: Vec<String> = together.map(|image| (*image).to_owned()).collect();
    let mut hint = format!(
        "{} removes all damaged images",
        rm_command(layout, &together)
    );
    if broken.iter().all(|broken| broken.missing) {
        hint.push_str("; `--allow-missing` proceeds anyway");
    }
    Some(hint)
}

/// Reads `--platform` and `--only-platform`. An empty value is an error: docker ignores it and removes the whole image.
fn platforms(args: &RmArgs) -> Result<Option<PlatformRequest>, String> {
    let (flag, values, which) = match (args.platform.as_slice(), args.only_platform.as_slice()) {
        ([], []) => return Ok(None),
        ([], values) => ("--only-platform", values, Which::Others),
        (values, _) => ("--platform", values, Which::These),
    };
    let wanted = PlatformSelector::parse_list(values, &Platform::host())
        .map_err(|error| format!("cannot use `{flag}`: {error}"))?;
    Ok(Some(PlatformRequest {
        wanted,
        which,
        mode: args.platform_mode.into(),
    }))
}

/// Selects every entry of one name, if all of them are single manifests: `index.json` itself is then the index of that
/// image, and each entry is a platform.
fn platforms_of_one(snapshot: &Snapshot, entries: &[EntryFacts], text: &str) -> Option<Pick> {
    let pick = Selector::new(snapshot, entries, Force::Yes)
        .pick(text)
        .ok()?;
    let is_manifest = |id| {
        snapshot
            .graph
            .node(id)
            .is_some_and(|node| node.shape == Shape::Manifest)
    };
    let is_one = pick.names.keys().all(|id| is_manifest(*id))
        && pick.entries.is_empty()
        && pick.names.values().all(|names| names.len() == 1);
    is_one.then_some(pick)
}

/// Prints the results and the errors, and returns the exit of the run.
fn show(
    context: &Context<'_>,
    style: &Style,
    layout: &Path,
    is_forced: bool,
    done: &Finished<RemovalNotes>,
) -> Exit {
    let mut parts = parts(done).peekable();
    // A shared store comes first; the blobs that the layout releases are deleted from it.
    let store = parts.next_if(|(shown, _)| shown.is_store);
    let store = store.map(|(store, _)| store);
    let Some((shown, Some(notes))) = parts.next() else {
        return exit::DONE;
    };
    let mut exit = if style.is_json {
        context.print(&to_json(context, style, &shown, store.as_ref(), notes))
    } else {
        print_text(context, style, &shown, store.as_ref(), notes)
    };
    notes.names.note_referrers(context);
    for LeftCompanion { name, owner } in notes.left_companions.iter().take(MAX_COMPANIONS) {
        context.term.note(&format!(
            "`{name}` was derived from `{owner}` and is kept; to delete it as well: {}",
            rm_command(layout, std::slice::from_ref(name))
        ));
    }
    let more = notes.left_companions.len().saturating_sub(MAX_COMPANIONS);
    if more > 0 {
        context.term.note(&format!(
            "{} of removed names are kept as well",
            count(more as u64, "companion tag")
        ));
    }
    for shown in std::iter::once(&shown).chain(&store) {
        shown.count(context);
        exit = exit.and(shown.report_trouble(context, style));
    }
    // Errors come last, as in docker.
    for conflict in &notes.conflicts {
        let hint = hint(conflict, layout);
        exit = exit.and(context.fail(exit::INCOMPLETE, &conflict.to_string(), Some(&hint)));
    }
    let is_forgiven = is_forced
        && notes.conflicts.is_empty()
        && notes.misses.iter().all(SelectError::is_not_found);
    for miss in &notes.misses {
        let hint = miss_hint(miss, layout);
        let ended = context.fail(exit::INCOMPLETE, &miss.to_string(), hint.as_deref());
        if !is_forgiven {
            exit = exit.and(ended);
        }
    }
    exit
}

fn print_text(
    context: &Context<'_>,
    style: &Style,
    shown: &Shown<'_>,
    store: Option<&Shown<'_>>,
    notes: &RemovalNotes,
) -> Exit {
    let mut pieces = Pieces::new(context, None);
    if !style.is_quiet {
        notes.names.add_untagged(&mut pieces, context, shown);
        let verb = shown.tense("Would drop", "Dropped");
        for Dropped {
            platform, digest, ..
        } in &notes.dropped
        {
            let platform = context.term.foreign(platform);
            pieces.line(format_args!("{verb}: {platform} {digest}"));
        }
        for shown in store.into_iter().chain([shown]) {
            shown.add_lines(&mut pieces, context);
        }
        pieces.push(&context.more_line());
        pieces.push(&notes.names.kept_lines(context));
        if let Some(store) = store {
            pieces.push(&kept_by_others(store, notes));
        }
        let verb = shown.tense("Would rewrite", "Rewritten");
        for Moved { names, digest, .. } in notes.moved.iter().filter(|_| shown.is_written()) {
            let names = match names.as_slice() {
                [] => NONE.to_owned(),
                names => context.term.foreign(&names.join(", ")),
            };
            pieces.push(&format!("{verb}: {names}, image ID {digest}\n"));
        }
    }
    if notes.deletes {
        let totals = store.map_or_else(Totals::default, Shown::totals);
        let totals = shown.totals().plus(totals);
        pieces.push(&total_line(&totals, style.is_dry_run));
    }
    let mut trashed = TrashTotals::default();
    for shown in store.into_iter().chain([shown]) {
        trashed.add(shown);
    }
    pieces.push(&trashed.line(style.is_dry_run));
    pieces.finish()
}

/// Returns a line for the blobs that the layout no longer needs but other layouts do.
fn kept_by_others(store: &Shown<'_>, notes: &RemovalNotes) -> String {
    let here = store.plan.sweep().len() + store.plan.kept().len();
    match notes.released.saturating_sub(here) {
        0 => String::new(),
        others => {
            let blobs = count(others as u64, "blob");
            format!("kept: {blobs} also used by other layouts\n")
        }
    }
}

fn hint(conflict: &Conflict, layout: &Path) -> String {
    if let Conflict::Held {
        can_be_forced,
        hold,
        ..
    } = conflict
    {
        let force = if *can_be_forced {
            "`-f` removes the name and keeps the image; "
        } else {
            ""
        };
        return format!("{force}{} ends the hold", hold_rm_command(layout, hold));
    }
    let hint = match conflict {
        Conflict::Referenced { .. } => "give the names to remove, or `-f` to remove all of them",
        Conflict::NoPlatform { .. } => {
            return format!(
                "`ocisweep ls --tree {}` shows the platforms; a digest in it selects one of several equal ones",
                quote_path(layout)
            );
        }
        Conflict::AmbiguousPlatform { .. } => "give more digits of the digest",
        Conflict::SameManifest { .. } => {
            "`--platform-mode rewrite` removes the platform from the index and deletes nothing"
        }
        Conflict::SharedVariant { .. } => "`-f` drops it from all of them",
        Conflict::LastPlatform { .. } => "`-f` removes the image",
        Conflict::Referred { .. } => {
            "`--platform-mode sparse` or `--platform-mode hollow` keeps the index and its digest; `-f` rewrites it anyway"
        }
        _ => "`-f` overrides it",
    };
    hint.to_owned()
}

fn miss_hint(miss: &SelectError, path: &Path) -> Option<String> {
    let layout = quote_path(path);
    Some(match miss {
        SelectError::NoSuchImage { similar, .. } if similar.is_empty() => {
            format!("`ocisweep ls {layout}` lists its images")
        }
        SelectError::NoSuchImage { similar, .. } => {
            format!("there is {}", quoted(similar))
        }
        SelectError::Ambiguous {
            exact,
            can_be_forced,
            ..
        } => {
            let command = rm_command(path, exact.get(..1)?);
            let all = if *can_be_forced {
                "; `-f` removes all that have exactly this name"
            } else {
                ""
            };
            format!("{command} removes the first of them{all}")
        }
        SelectError::Inside {
            platform: Some(platform),
            image,
            ..
        } => {
            let image = image.rsplit_once(" (").map_or(&**image, |(name, _)| name);
            let (image, platform) = (quote(image), quote(platform));
            format!("`ocisweep rm {layout} {image} --platform {platform}` drops it")
        }
        SelectError::NoMatch { wider, .. } => match wider {
            Some(wider) => wider_hint(wider),
            None => format!("`ocisweep ls {layout}` lists the names"),
        },
        _ => return None,
    })
}

fn to_json(
    context: &Context<'_>,
    style: &Style,
    shown: &Shown<'_>,
    store: Option<&Shown<'_>>,
    notes: &RemovalNotes,
) -> String {
    let mut layout = shown.to_json(context.now, style);
    let action = shown.tense("would-untag", "untag");
    let names = notes.names.untagged(shown).iter().map(|name| SweptItem {
        names: vec![name.clone()],
        ..SweptItem::new("name", action, "removed")
    });
    let action = shown.tense("would-drop", "drop");
    let dropped = notes.dropped.iter().map(|dropped| SweptItem {
        digest: Some(dropped.digest.to_string()),
        names: dropped.names.clone(),
        platform: Some(dropped.platform.clone()),
        ..SweptItem::new("platform", action, "platform dropped")
    });
    let first: Vec<SweptItem> = names.chain(dropped).collect();
    layout.items.splice(0..0, first);
    let action = shown.tense("would-rewrite", "rewrite");
    let moved = notes.moved.iter().filter(|_| shown.is_written());
    layout.items.extend(moved.map(|moved| SweptItem {
        digest: Some(moved.digest.to_string()),
        size: moved.size,
        names: moved.names.clone(),
        ..SweptItem::new("index", action, "platform dropped")
    }));
    layout.items.extend(notes.names.kept_items());
    let conflicts = notes.conflicts.iter().map(ToString::to_string);
    let misses = notes.misses.iter().map(ToString::to_string);
    let failures: Vec<String> = conflicts.chain(misses).collect();
    layout.error = (!failures.is_empty()).then(|| failures.join("; "));
    let mut document = json::Sweep {
        dry_run: style.is_dry_run,
        ..json::Sweep::default()
    };
    let store = store.map(|store| store.to_json(context.now, style));
    for layout in store.into_iter().chain([layout]) {
        document.add(layout);
    }
    json::document("rm", document)
}
