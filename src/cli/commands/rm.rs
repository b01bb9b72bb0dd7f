//! `ocisweep rm`

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ocisweep::fs::Disk;
use ocisweep::graph::content_of;
use ocisweep::graph::{EmptyIndex, MissingDocuments};
use ocisweep::model::entries::{EntryFacts, list_entries};
use ocisweep::model::images::list_images;
use ocisweep::oci::Shape;
use ocisweep::oci::platform::{Platform, PlatformSelector};
use ocisweep::ops::{self, Finished};
use ocisweep::plan::{
    Conflict, Dropped, Extent, Force, KeptImage, LeftCompanion, Moved, Pick, PlatformRequest,
    Referrers, Removal, RemoveOptions, SelectError, Selector, Which, drop_platforms, remove,
    sweep_all,
};
use ocisweep::{Error, Snapshot};

use crate::cli::args::{RmArgs, TextFormat};
use crate::cli::context::{Context, dashes, quote, quote_path, quoted, rm_command, wider_hint};
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::group_of;
use crate::cli::render::json;
use crate::cli::render::kept::{kept_items, kept_lines};
use crate::cli::render::sweep::{Shown, count, parts, total_line};
use crate::cli::render::trashed::TrashTotals;
use crate::cli::run::{Clock, protection, run_mode};

/// How many companion tags that are kept are named one by one.
const MAX_COMPANIONS: usize = 20;

/// What planning said beside the plan.
#[derive(Default)]
struct PlanNotes {
    untagged: Vec<String>,
    left_referrers: Vec<String>,
    left_companions: Vec<LeftCompanion>,
    conflicts: Vec<Conflict>,
    misses: Vec<SelectError>,
    deletes: bool,
    moved: Vec<Moved>,
    dropped: Vec<Dropped>,
    kept_by: Vec<KeptImage>,
    more_kept: usize,
    /// How many blobs the layout does not need any more.
    released: usize,
}

/// Removes what the arguments name, all against one state and with one write.
pub fn run(context: &Context<'_>, args: &RmArgs) -> Exit {
    let request = match platforms(args) {
        Ok(request) => request,
        Err(text) => {
            context.term.error(
                &text,
                Some(
                    "a platform is os[(version+feature)][/arch[/variant]], such as linux/arm64, or the digest of a child",
                ),
            );
            return exit::USAGE;
        }
    };
    if args.shared.shared_blobs.is_some() && args.shared.with.is_empty() {
        context.term.error(
            "cannot remove from a layout with shared blobs without the other layouts that use them",
            Some("`--with` names each of them, or a directory below which they are"),
        );
        return exit::USAGE;
    }
    let group = match group_of(context, &args.layout, &args.shared) {
        Ok(group) => group,
        Err(exit) => return exit,
    };
    // Temporary files were not named, those of the other layouts least of all.
    let rule = protection(context, args.grace, Duration::MAX, Clock::of(args.dry_run));
    let force = if args.force { Force::Yes } else { Force::No };
    let mode = run_mode(args.dry_run, args.lock_wait);
    let mut damaged: Vec<&str> = Vec::new();
    let done = ops::run(&group, &rule, mode, context.watcher(), |view| {
        if view.layout.path() != args.layout {
            let missing = MissingDocuments::allow_if(args.allow_missing);
            let plan = sweep_all(view, missing, EmptyIndex::Allow, &Disk, &rule.sweep)?;
            return Ok((plan, PlanNotes::default()));
        }
        let entries = list_entries(view);
        let images = list_images(view, rule.now);
        let mut selector = Selector::new(view, &entries, force);
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
                    platforms_of_one(view, &entries, text).map_or_else(|| selector.pick(text), Ok)
                }
                picked => picked,
            };
            match picked {
                Ok(pick) => {
                    if is_damaged(view, &pick) {
                        damaged.push(text);
                    }
                    picks.push(pick);
                }
                Err(error) if !misses.contains(&error) => misses.push(error),
                Err(_) => {}
            }
        }
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
            missing: MissingDocuments::allow_if(args.allow_missing),
        };
        let removal = match &request {
            None => remove(
                view,
                &images,
                &entries,
                &picks,
                &options,
                &rule.sweep,
                &Disk,
            )?,
            Some(request) => drop_platforms(
                view,
                &images,
                &entries,
                &picks,
                request,
                &options,
                &rule.sweep,
                &Disk,
            )?,
        };
        let Removal {
            plan,
            untagged,
            left_referrers,
            left_companions,
            conflicts,
            images,
            moved,
            dropped,
            kept_by,
            more_kept,
            ..
        } = removal;
        let said = PlanNotes {
            untagged,
            left_referrers,
            left_companions,
            conflicts,
            misses,
            // What only manifest.json lists is no image with an ID.
            deletes: !images.is_empty() || !moved.is_empty() || !plan.sweep().is_empty(),
            moved,
            dropped,
            kept_by,
            more_kept,
            released: plan.sweep().len(),
        };
        Ok((plan, said))
    });
    match done {
        Ok(done) => show(context, args, &done),
        Err(error) => match way_out(args, &damaged, &error) {
            Some(hint) => {
                context.term.error(&error.to_string(), Some(&hint));
                Exit::of(&error)
            }
            None => context.report(&error),
        },
    }
}

/// Returns `true` if something that was picked is damaged or missing itself.
fn is_damaged(view: &Snapshot, pick: &Pick) -> bool {
    let graph = &view.graph;
    let is_missing = |id| !graph.is_present(id) && !graph.is_embedded(id);
    !pick.entries.is_empty()
        || pick.names.keys().chain(&pick.images).any(|&id| {
            is_missing(id)
                || content_of(graph, id, None)
                    .iter()
                    .any(|(id, _)| graph.damage(*id).is_some())
        })
}

/// Returns the hint when what is damaged stands on both sides: of two such images neither can go alone,
/// and a hint that names only the other one would lead in circles.
fn way_out(args: &RmArgs, damaged: &[&str], error: &Error) -> Option<String> {
    let Error::Incomplete { broken, .. } = error else {
        return None;
    };
    // No removal of images ends what a second index lists.
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
        rm_command(&args.layout, &together)
    );
    if broken.iter().all(|broken| broken.missing) {
        hint.push_str("; `--allow-missing` proceeds anyway");
    }
    Some(hint)
}

/// Reads `--platform` and `--only-platform`. An empty value is an error: docker takes it for an absent
/// flag and removes the whole image.
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

/// Picks everything of one name, if it all is single manifests: then `index.json` itself is the index of
/// that image, and each entry is a platform.
fn platforms_of_one(view: &Snapshot, entries: &[EntryFacts], text: &str) -> Option<Pick> {
    let pick = Selector::new(view, entries, Force::Yes).pick(text).ok()?;
    let is_manifest = |id| {
        view.graph
            .node(id)
            .is_some_and(|node| node.shape == Shape::Manifest)
    };
    let is_one = pick.names.keys().all(|id| is_manifest(*id))
        && pick.entries.is_empty()
        && pick.names.values().all(|names| names.len() == 1);
    is_one.then_some(pick)
}

fn show(context: &Context<'_>, args: &RmArgs, done: &Finished<PlanNotes>) -> Exit {
    let mut parts = parts(done);
    // With a shared store its part comes first, and deletes what the layout releases.
    let store = match args.shared.shared_blobs {
        Some(_) => parts.next(),
        None => None,
    };
    let (Some(shown), Some(said)) = (parts.next(), done.notes.first()) else {
        return exit::DONE;
    };
    let totals = match &store {
        Some(store) => shown.totals().plus(store.totals()),
        None => shown.totals(),
    };
    let mut exit = match args.format {
        TextFormat::Json => context.print(&to_json(context, args, &shown, store.as_ref(), said)),
        TextFormat::Text => {
            let mut text = String::new();
            if !args.quiet {
                let verb = if args.dry_run {
                    "Would untag"
                } else {
                    "Untagged"
                };
                for name in said.untagged.iter().filter(|_| shown.is_written()) {
                    let name = context.term.foreign(name);
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{verb}: {name}");
                }
                for Dropped {
                    platform, digest, ..
                } in &said.dropped
                {
                    let verb = if args.dry_run {
                        "Would drop"
                    } else {
                        "Dropped"
                    };
                    let platform = context.term.foreign(platform);
                    let _ = writeln!(text, "{verb}: {platform} {digest}");
                }
                if let Some(store) = &store {
                    text.push_str(&store.lines(context));
                }
                text.push_str(&shown.lines(context));
                text.push_str(&kept_lines(context, &said.kept_by, said.more_kept));
                if let Some(store) = &store {
                    text.push_str(&kept_by_others(store, said));
                }
                for Moved { names, digest, .. } in said.moved.iter().filter(|_| shown.is_written())
                {
                    let verb = if args.dry_run {
                        "Would rewrite"
                    } else {
                        "Rewritten"
                    };
                    let names = match names.as_slice() {
                        [] => "<none>".to_owned(),
                        names => names.join(", "),
                    };
                    let names = context.term.foreign(&names);
                    let _ = writeln!(text, "{verb}: {names}, image ID {digest}");
                }
            }
            if said.deletes {
                text.push_str(&total_line(&totals, args.dry_run));
            }
            let mut trashed = TrashTotals::default();
            for shown in store.iter().chain([&shown]) {
                trashed.add(shown);
            }
            text.push_str(&trashed.line(args.dry_run));
            context.print(&text)
        }
    };
    for name in &said.left_referrers {
        context.term.note(&format!(
            "keeping `{name}` and what it references: it has a name, and its subject is removed"
        ));
    }
    for LeftCompanion { name, owner } in said.left_companions.iter().take(MAX_COMPANIONS) {
        context.term.note(&format!(
            "`{name}` was derived from `{owner}` and is kept; to delete it as well: {}",
            rm_command(&args.layout, std::slice::from_ref(name))
        ));
    }
    let more = said.left_companions.len().saturating_sub(MAX_COMPANIONS);
    if more > 0 {
        context.term.note(&format!(
            "{} of removed names kept as well",
            count(more as u64, "companion tag")
        ));
    }
    for shown in std::iter::once(&shown).chain(&store) {
        if !shown.report_trouble(context) {
            exit = exit.and(shown.trouble_exit());
        }
        if shown.outcome.is_some_and(|outcome| outcome.interrupted) {
            exit = exit.and(exit::INTERRUPTED);
        }
        if args.exit_code && shown.outcome.is_none() && !shown.is_clean() {
            exit = exit.and(exit::WOULD_CHANGE);
        }
    }
    // Errors come last, as docker has them.
    for conflict in &said.conflicts {
        let hint = hint(conflict, &args.layout);
        context.term.error(&conflict.to_string(), Some(&hint));
        exit = exit.and(exit::INCOMPLETE);
    }
    let is_forgiven = args.force
        && said.conflicts.is_empty()
        && said.misses.iter().all(SelectError::is_not_found);
    for miss in &said.misses {
        context
            .term
            .error(&miss.to_string(), miss_hint(miss, args).as_deref());
        if !is_forgiven {
            exit = exit.and(exit::INCOMPLETE);
        }
    }
    exit
}

/// Returns a line for the blobs that the layout released and that other layouts still need.
fn kept_by_others(store: &Shown<'_>, said: &PlanNotes) -> String {
    let kept = store.plan.kept().len();
    let here = store.plan.sweep().len() + kept;
    match said.released.saturating_sub(here) {
        0 => String::new(),
        others => format!(
            "kept: {} also used by other layouts\n",
            count(others as u64, "blob")
        ),
    }
}

fn hint(conflict: &Conflict, layout: &Path) -> String {
    if let Conflict::Held {
        can_be_forced,
        hold,
        ..
    } = conflict
    {
        let force = match can_be_forced {
            true => "`-f` removes the name and keeps the image; ",
            false => "",
        };
        return format!(
            "{force}`ocisweep hold rm {}{} {}` ends the hold",
            dashes([hold.as_str()]),
            quote_path(layout),
            quote(hold)
        );
    }
    let hint = match conflict {
        Conflict::Referenced { .. } => "give the names to remove, or `-f` to remove all of them",
        Conflict::NoPlatform { .. } => {
            return format!(
                "`ocisweep ls --tree {}` shows the platforms; a digest shown there selects one of several that are alike",
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

fn miss_hint(miss: &SelectError, args: &RmArgs) -> Option<String> {
    let layout = quote_path(&args.layout);
    Some(match miss {
        SelectError::NoSuchImage { similar, .. } if similar.is_empty() => {
            format!("`ocisweep ls {layout}` lists what is there")
        }
        SelectError::NoSuchImage { similar, .. } => {
            format!("there is {}", quoted(similar))
        }
        SelectError::Ambiguous {
            exact,
            can_be_forced,
            ..
        } => {
            let command = rm_command(&args.layout, exact.get(..1)?);
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
    args: &RmArgs,
    shown: &Shown<'_>,
    store: Option<&Shown<'_>>,
    said: &PlanNotes,
) -> String {
    let mut layout = shown.to_json(context.now, args.format);
    let action = if args.dry_run { "would-untag" } else { "untag" };
    let untagged = said.untagged.iter().filter(|_| shown.is_written());
    let names = untagged.map(|name| json::Item {
        digest: None,
        path: None,
        kind: "name",
        size: 0,
        action,
        reasons: vec!["removed".to_owned()],
        names: vec![name.clone()],
        platform: None,
    });
    let drop = if args.dry_run { "would-drop" } else { "drop" };
    let dropped = said.dropped.iter().map(|dropped| json::Item {
        digest: Some(dropped.digest.to_string()),
        path: None,
        kind: "platform",
        size: 0,
        action: drop,
        reasons: vec!["platform dropped".to_owned()],
        names: dropped.names.clone(),
        platform: Some(dropped.platform.clone()),
    });
    let first: Vec<json::Item> = names.chain(dropped).collect();
    layout.items.splice(0..0, first);
    let action = if args.dry_run {
        "would-rewrite"
    } else {
        "rewrite"
    };
    for moved in said.moved.iter().filter(|_| shown.is_written()) {
        layout.items.push(json::Item {
            digest: Some(moved.digest.to_string()),
            path: None,
            kind: "index",
            size: moved.size,
            action,
            reasons: vec!["platform dropped".to_owned()],
            names: moved.names.clone(),
            platform: None,
        });
    }
    layout.items.extend(kept_items(&said.kept_by));
    let failures = said
        .conflicts
        .iter()
        .map(ToString::to_string)
        .chain(said.misses.iter().map(ToString::to_string));
    let failures: Vec<_> = failures.collect();
    layout.error = (!failures.is_empty()).then(|| failures.join("; "));
    let store = store.map(|store| store.to_json(context.now, args.format));
    let mut totals = json::Totals::default();
    let layouts: Vec<_> = store.into_iter().chain([layout]).collect();
    for layout in &layouts {
        totals.add(&layout.totals);
    }
    json::pretty(&json::Sweep {
        schema_version: json::SCHEMA_VERSION,
        command: "rm",
        dry_run: args.dry_run,
        layouts,
        totals,
    })
}
