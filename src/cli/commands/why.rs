//! `ocisweep why`

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, MissingDocuments, ReferencePath, ReferencePaths, Remaining};
use ocisweep::layout::BlobId;
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::{Image, ImageInspector, list_images};
use ocisweep::oci::Role;
use ocisweep::ops::{self, GcOptions, LayoutGroup, Mode, Protection};
use ocisweep::parse::size::{human_duration, human_size};
use ocisweep::plan::{KeepReason, Plan, SelectError};
use ocisweep::report::usage::{ImageUsage, image_usages};
use ocisweep::report::why::{FindError, Part, find, parts};
use ocisweep::{Error, Snapshot};
use serde::Serialize;

use crate::cli::args::{TextFormat, WhyArgs};
use crate::cli::context::{Context, quote_path, quoted, wider_hint};
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::group_of;
use crate::cli::render::json::{self, SCHEMA_VERSION};
use crate::cli::render::sweep::count;
use crate::cli::render::table::Table;
use crate::cli::run::{self, Clock, plan_gc, protection};

/// How many images a row of the table names.
const MAX_NAMES: usize = 3;

/// Explains what the argument means.
pub fn run(context: &Context<'_>, args: &WhyArgs) -> Exit {
    match explain(context, args) {
        Ok(exit) => exit,
        Err(error) => context.report(&error),
    }
}

fn explain(context: &Context<'_>, args: &WhyArgs) -> Result<Exit, Error> {
    let rule = protection(context, args.grace, Protection::TEMP_AGE, Clock::Real);
    let group = match group_of(context, &args.layout, &args.shared) {
        Ok(group) => group,
        Err(exit) => return Ok(exit),
    };
    let view = match &args.shared.shared_blobs {
        Some(store) => context.read_in(&args.layout, store)?,
        None => run::read(context, &rule, &args.layout)?,
    };
    context.note_unknown_lists(&view);
    let entries = list_entries(&view);
    let ids = match find(&view, &entries, &args.what) {
        Ok(ids) => ids,
        Err(error) => {
            let layout = quote_path(&args.layout);
            context
                .term
                .error(&error.to_string(), Some(&hint(&error, &layout)));
            return Ok(exit::INCOMPLETE);
        }
    };
    let ways = ReferencePaths::of(&view.graph, &view.state);
    let images = list_images(&view, rule.now);
    let is_image = |image: &Image| ids.contains(&image.id);
    let usages = if images.iter().any(is_image) {
        image_usages(&view, &images, &Disk)
    } else {
        Vec::new()
    };
    // Asked once, and only if something is an orphan.
    let plan =
        ids.iter()
            .any(|id| !view.graph.is_rooted(*id))
            .then(|| match &args.shared.shared_blobs {
                Some(_) => plan_of_store(context, &group, &rule),
                None => plan_gc(&view, &rule, MissingDocuments::Refuse, EmptyIndex::Refuse),
            });
    let limit = if args.all { usize::MAX } else { args.limit };
    let mut sizes = ImageInspector::new(&view);
    let mut subjects = Vec::new();
    for id in ids {
        let (found, more) = ways.to(id, limit);
        let image = match images.iter().zip(&usages).find(|(image, _)| image.id == id) {
            Some((image, usage)) => Some((image, *usage, parts(&view, image)?)),
            None => None,
        };
        subjects.push(Subject {
            id,
            len: sizes.len(id),
            paths: found,
            more,
            image,
            fate: DeleteResult::of(context, args, &view, id, plan.as_ref()),
        });
    }
    sizes.take_error()?;
    Ok(match args.format {
        TextFormat::Json => {
            let document = JsonWhy {
                schema_version: SCHEMA_VERSION,
                command: "why",
                path: args.layout.to_string_lossy().into_owned(),
                items: subjects
                    .iter()
                    .map(|subject| subject.to_json(&view))
                    .collect(),
            };
            context.print(&json::pretty(&document))
        }
        TextFormat::Text => {
            let texts: Vec<String> = subjects
                .iter()
                .map(|subject| subject.to_text(context, &view))
                .collect();
            context.print(&texts.join("\n"))
        }
    })
}

/// Plans the sweep of a shared store, as `gc` does it.
fn plan_of_store(
    context: &Context<'_>,
    group: &LayoutGroup,
    protection: &Protection,
) -> Result<Plan, Error> {
    let options = GcOptions::default();
    let finished = ops::gc(group, protection, &options, Mode::Plan, context.watcher())?;
    let mut parts = finished.parts.into_iter();
    let store = parts.next().map(|(plan, _)| plan);
    Ok(store.expect("a shared store has a part of its own"))
}

fn hint(error: &FindError, layout: &str) -> String {
    match error {
        FindError::Image(SelectError::NoSuchImage { similar, .. }) if !similar.is_empty() => {
            format!("there is {}", quoted(similar))
        }
        FindError::Image(SelectError::NoMatch {
            wider: Some(wider), ..
        }) => wider_hint(wider),
        FindError::Ambiguous { .. } | FindError::Image(SelectError::Ambiguous { .. }) => {
            "give more digits of the digest, or the whole name".to_owned()
        }
        _ => format!("`ocisweep ls --digests {layout}` lists the images"),
    }
}

/// What is to be explained.
struct Subject<'a> {
    id: BlobId,
    /// Bytes that are here; `None`: it is not.
    len: Option<u64>,
    paths: Vec<ReferencePath>,
    more: Remaining,
    image: Option<(&'a Image, ImageUsage, Vec<Part>)>,
    /// What becomes of an orphan; `None` for what is live.
    fate: Option<DeleteResult>,
}

/// What a sweep now would do with an orphan.
struct DeleteResult {
    action: &'static str,
    why: String,
    /// When that changes by itself.
    until: Option<Timestamp>,
}

impl DeleteResult {
    fn of(
        context: &Context<'_>,
        args: &WhyArgs,
        view: &Snapshot,
        id: BlobId,
        plan: Option<&Result<Plan, Error>>,
    ) -> Option<Self> {
        if view.graph.is_rooted(id) {
            return None;
        }
        let keep = |why: String, until| Self {
            action: "keep",
            why,
            until,
        };
        let plan = match plan? {
            Ok(plan) => plan,
            Err(error) => {
                return Some(Self {
                    action: "refused",
                    why: format!("`gc` would be refused: {error}"),
                    until: None,
                });
            }
        };
        // A shared store has numbers of its own.
        let digest = view.graph.digest(id);
        let is_it = |id| plan.blobs().digest(id) == Some(digest);
        if plan.sweep().iter().any(|victim| is_it(victim.id)) {
            return Some(Self {
                action: "delete",
                why: "`gc` would delete it".to_owned(),
                until: None,
            });
        }
        let kept = plan.kept().iter().find(|kept| is_it(kept.id));
        Some(match kept.map(|kept| kept.because) {
            Some(KeepReason::InFlight { modified }) => {
                let grace = i128::try_from(args.grace.as_nanos()).unwrap_or(i128::MAX);
                let end = i128::from(modified).saturating_add(grace);
                let until = Timestamp::from_nanosecond(end).ok();
                let when = until.map_or_else(String::new, |until| {
                    format!(" until {}", in_words(context.now, until))
                });
                keep(
                    format!("in flight{when}: a writer may be about to list it"),
                    until,
                )
            }
            Some(KeepReason::UsedInFlight) => keep(
                "in flight: a recent blob references it, which a writer may be about to list"
                    .to_owned(),
                None,
            ),
            Some(KeepReason::Released) => keep(
                "it was released while a writer was at work, and a writer that is at work may list it again"
                    .to_owned(),
                None,
            ),
            Some(KeepReason::Unreadable) => keep(
                "it is kept, since it cannot be read and may be a referrer of a live image"
                    .to_owned(),
                None,
            ),
            Some(_) => keep("`gc` would keep it".to_owned(), None),
            None if args.shared.shared_blobs.is_some() => keep(
                "another layout that shares the blobs references it".to_owned(),
                None,
            ),
            None => Self {
                action: "already-gone",
                why: "it was deleted concurrently".to_owned(),
                until: None,
            },
        })
    }
}

/// Returns a time, and how far away it is.
fn in_words(now: Timestamp, until: Timestamp) -> String {
    let seconds = until.as_second().saturating_sub(now.as_second());
    let left = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    // To the second: nobody waits for less.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    format!("{until} (in {})", human_duration(left).to_lowercase())
}

impl Subject<'_> {
    /// Says what the blob is: what it is to the last document of the shortest way.
    fn what(&self, view: &Snapshot) -> String {
        if let Some(step) = self.paths.first().and_then(|way| way.steps.last()) {
            return step.role.clone();
        }
        ocisweep::graph::kind_of(&view.graph, self.id, ocisweep::oci::Kind::Unknown).to_owned()
    }

    fn state(&self, view: &Snapshot) -> &'static str {
        let is_here = view.graph.is_present(self.id) || view.graph.is_embedded(self.id);
        match (&self.fate, is_here) {
            (None, true) => "live",
            (None, false) => "missing",
            (Some(_), _) => "orphan",
        }
    }

    fn to_text(&self, context: &Context<'_>, view: &Snapshot) -> String {
        let graph = &view.graph;
        let mut text = String::new();
        let size = match self.len {
            Some(len) => human_size(len),
            None if graph.is_embedded(self.id) => "carried by its descriptor".to_owned(),
            None => "not here".to_owned(),
        };
        let digest = graph.digest(self.id);
        let what = match &self.fate {
            Some(_) => format!("orphan {}", self.what(view)),
            None => self.what(view),
        };
        let what = context.term.foreign(&what).into_owned();
        line(&mut text, &format!("{digest}  {what}, {size}"));
        for way in &self.paths {
            let way = way.parts(graph).join(" → ");
            line(&mut text, &context.term.foreign(&way));
        }
        match self.more {
            Remaining::Exactly(0) => {}
            Remaining::Exactly(more) => {
                let paths = count(more as u64, "more path");
                line(&mut text, &format!("and {paths}; `--all` shows them"));
            }
            Remaining::AtLeast(0) => line(&mut text, "there may be more paths"),
            Remaining::AtLeast(more) => {
                line(&mut text, &format!("and more than {more} more paths"));
            }
        }
        if let Some(fate) = &self.fate {
            line(&mut text, &format!("unreferenced; {}", fate.why));
            for subject in subjects(view, self.id) {
                let digest = graph.digest(subject);
                line(&mut text, &format!("its subject {digest} is unreachable"));
            }
        }
        if let Some((_, usage, parts)) = &self.image {
            text.push('\n');
            text.push_str(&table(context, view, parts));
            let (size, shared) = (human_size(usage.size), human_size(usage.shared));
            let unique = human_size(usage.unique);
            line(
                &mut text,
                &format!(
                    "{size}, of which {shared} are shared; removing only this image frees {unique}"
                ),
            );
        }
        text
    }

    fn to_json(&self, view: &Snapshot) -> JsonItem {
        let graph = &view.graph;
        let (more_paths, more_is_exact) = match self.more {
            Remaining::Exactly(more) => (more, true),
            Remaining::AtLeast(more) => (more, false),
        };
        JsonItem {
            digest: graph.digest(self.id).to_string(),
            kind: self.what(view),
            size: self.len,
            state: self.state(view),
            paths: self
                .paths
                .iter()
                .map(|way| JsonPath {
                    roots: Arc::clone(&way.roots),
                    steps: way
                        .steps
                        .iter()
                        .map(|step| JsonStep {
                            digest: graph.digest(step.id).to_string(),
                            role: step.role.clone(),
                        })
                        .collect(),
                })
                .collect(),
            more_paths,
            more_is_exact,
            sweep: self.fate.as_ref().map(|fate| JsonFate {
                action: fate.action,
                reasons: vec![fate.why.clone()],
                until: fate.until.map(|until| until.to_string()),
            }),
            image: self.image.as_ref().map(|(image, usage, parts)| JsonImage {
                names: image.name_list(),
                size_bytes: usage.size,
                shared_bytes: usage.shared,
                unique_bytes: usage.unique,
                blobs: parts
                    .iter()
                    .map(|part| JsonPart {
                        digest: graph.digest(part.id).to_string(),
                        role: part.what.clone(),
                        size: part.len,
                        shared_with: part.shared_with.clone(),
                    })
                    .collect(),
            }),
        }
    }
}

/// Returns what an orphan is about.
fn subjects(view: &Snapshot, id: BlobId) -> Vec<BlobId> {
    let edges = view.graph.edges(id);
    edges
        .iter()
        .filter(|edge| edge.role == Role::Subject)
        .map(|edge| edge.to)
        .collect()
}

fn table(context: &Context<'_>, view: &Snapshot, parts: &[Part]) -> String {
    let mut table = Table::new(&["BLOB", "WHAT", "SIZE", "SHARED WITH"]);
    table.names(3);
    table.fit(context.term.width());
    for part in parts {
        let shown = part.shared_with.get(..MAX_NAMES);
        let names = shown.unwrap_or(&part.shared_with).join(", ");
        let shared = match part.shared_with.len().saturating_sub(MAX_NAMES) {
            0 => names,
            more => format!("{names} and {more} more"),
        };
        table.row(vec![
            view.graph.digest(part.id).short(),
            context.term.foreign(&part.what).into_owned(),
            part.len.map_or_else(|| "not here".to_owned(), human_size),
            context.term.foreign(&shared).into_owned(),
        ]);
    }
    table.render()
}

fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

#[derive(Serialize)]
struct JsonWhy {
    schema_version: u32,
    command: &'static str,
    path: String,
    items: Vec<JsonItem>,
}

#[derive(Serialize)]
struct JsonItem {
    digest: String,
    kind: String,
    /// Bytes that are here.
    size: Option<u64>,
    state: &'static str,
    paths: Vec<JsonPath>,
    /// Reference paths that are not listed.
    more_paths: usize,
    /// Whether it is known how many.
    more_is_exact: bool,
    /// What a sweep now would do with an orphan.
    sweep: Option<JsonFate>,
    image: Option<JsonImage>,
}

#[derive(Serialize)]
struct JsonPath {
    #[serde(serialize_with = "json::shared")]
    roots: Arc<[String]>,
    steps: Vec<JsonStep>,
}

#[derive(Serialize)]
struct JsonStep {
    digest: String,
    role: String,
}

#[derive(Serialize)]
struct JsonFate {
    action: &'static str,
    reasons: Vec<String>,
    until: Option<String>,
}

#[derive(Serialize)]
struct JsonImage {
    names: Vec<String>,
    size_bytes: u64,
    shared_bytes: u64,
    unique_bytes: u64,
    blobs: Vec<JsonPart>,
}

#[derive(Serialize)]
struct JsonPart {
    digest: String,
    role: String,
    size: Option<u64>,
    #[serde(serialize_with = "json::shared")]
    shared_with: Arc<[String]>,
}
