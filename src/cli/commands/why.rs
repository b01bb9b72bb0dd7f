//! `ocisweep why`

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::fs::Disk;
use ocisweep::graph::{
    EmptyIndex, MissingDocuments, PathStep, ReferencePath, ReferencePaths, Remaining, kind_of,
};
use ocisweep::layout::BlobId;
use ocisweep::model::entries::{EntryFacts, list_entries};
use ocisweep::model::images::{Image, ImageInspector, list_images};
use ocisweep::model::inventory::files;
use ocisweep::oci::{Kind, Role};
use ocisweep::ops::{self, GcOptions, LayoutGroup, Mode, Protection};
use ocisweep::parse::size::human_size;
use ocisweep::plan::{KeepReason, Plan, SelectError, sweep_all};
use ocisweep::report::usage::{ImageUsage, image_usages};
use ocisweep::report::why::{FindError, Part, find, parts};
use ocisweep::{Error, Snapshot};
use serde::Serialize;

use crate::cli::args::{TextFormat, WhyArgs};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::group_of;
use crate::cli::quote::{quote_path, quoted, wider_hint};
use crate::cli::render::json;
use crate::cli::render::sweep::{count, listed};
use crate::cli::render::table::Table;
use crate::cli::render::time::until;
use crate::cli::run::{self, RunClock, protection};

/// The maximum number of images that a row of the table names.
const MAX_NAMES: usize = 3;

/// Explains why the blobs that the argument selects are kept.
///
/// # Errors
/// The exit status, if the layout cannot be read or nothing is selected.
pub fn run(context: &Context<'_>, args: &WhyArgs) -> Result<Exit, Exit> {
    let store = args.shared.shared_blobs.as_deref();
    let group = group_of(context, &args.layout, store, &args.shared.with)?;
    let rule = protection(context, args.grace, Protection::TEMP_AGE, RunClock::Real);
    let snapshot = run::read(context, &rule, &args.layout, store);
    let snapshot = snapshot.map_err(|error| context.report(&error))?;
    context.note_unknown_lists(&snapshot);
    let what = args.what.as_deref().unwrap_or_default();
    let entries = list_entries(&snapshot);
    let ids = find(&snapshot, &entries, what).map_err(|error| {
        let hint = hint(&error, &quote_path(&args.layout));
        context.fail(exit::INCOMPLETE, &error.to_string(), Some(&hint))
    })?;
    // Planned once, and only if something is an orphan.
    let plan = ids
        .iter()
        .any(|id| !snapshot.graph.is_rooted(*id))
        .then(|| match store {
            Some(_) => plan_of_store(context, &group, &rule),
            None => sweep_all(
                &snapshot,
                MissingDocuments::Refuse,
                EmptyIndex::Refuse,
                &Disk,
                &rule.sweep,
            ),
        });
    let decision = |id| {
        SweepDecision::of(
            context,
            args.grace,
            store.is_some(),
            &snapshot,
            id,
            plan.as_ref(),
        )
    };
    let limit = if args.all { usize::MAX } else { args.limit };
    let images = list_images(&snapshot, rule.now);
    let subjects = explain(
        &snapshot,
        (&images, &entries),
        ids,
        (limit, store.is_some()),
        decision,
    );
    let subjects = subjects.map_err(|error| context.report(&error))?;
    let subjects = subjects.iter();
    Ok(context.print(&match args.format {
        TextFormat::Json => {
            let document = JsonWhy {
                path: args.layout.to_string_lossy().into_owned(),
                items: subjects.map(|subject| subject.to_json(&snapshot)).collect(),
            };
            json::document("why", document)
        }
        TextFormat::Text => {
            let texts: Vec<String> = subjects
                .map(|subject| subject.to_text(context, &snapshot))
                .collect();
            texts.join("\n")
        }
    }))
}

fn explain<'i>(
    snapshot: &Snapshot,
    (images, entries): (&'i [Image], &[EntryFacts]),
    ids: Vec<BlobId>,
    (limit, is_shared): (usize, bool),
    decision: impl Fn(BlobId) -> Option<SweepDecision>,
) -> Result<Vec<Subject<'i>>, Error> {
    let paths = ReferencePaths::of(&snapshot.graph, &snapshot.state);
    let usages = if images.iter().any(|image| ids.contains(&image.id)) {
        image_usages(snapshot, images, entries, &files(snapshot, &Disk))
    } else {
        Vec::new()
    };
    let mut sizes = ImageInspector::new(snapshot);
    let mut subjects = Vec::new();
    for id in ids {
        let (found, more) = paths.to(id, limit);
        let image = match images.iter().zip(&usages).find(|(image, _)| image.id == id) {
            Some((image, usage)) => Some((image, *usage, parts(snapshot, image)?)),
            None => None,
        };
        subjects.push(Subject {
            id,
            len: sizes.len(id),
            paths: found,
            more,
            image,
            is_shared,
            decision: decision(id),
        });
    }
    sizes.take_error()?;
    Ok(subjects)
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

/// A blob with what keeps it.
struct Subject<'a> {
    id: BlobId,
    /// Bytes that are present; `None`: it is absent.
    len: Option<u64>,
    paths: Vec<ReferencePath>,
    more: Remaining,
    image: Option<(&'a Image, ImageUsage, Vec<Part>)>,
    /// Other layouts use the blobs too, so the shared bytes are unknown.
    is_shared: bool,
    /// What a sweep would do with an orphan; `None` for what is live.
    decision: Option<SweepDecision>,
}

/// What a sweep now would do with an orphan.
struct SweepDecision {
    action: &'static str,
    why: String,
    /// When that changes without any action.
    until: Option<Timestamp>,
}

impl SweepDecision {
    fn of(
        context: &Context<'_>,
        grace: Duration,
        is_shared: bool,
        snapshot: &Snapshot,
        id: BlobId,
        plan: Option<&Result<Plan, Error>>,
    ) -> Option<Self> {
        if snapshot.graph.is_rooted(id) {
            return None;
        }
        let decision = |action, why: &str| Self {
            action,
            why: why.to_owned(),
            until: None,
        };
        let plan = match plan? {
            Ok(plan) => plan,
            Err(error) => {
                return Some(decision(
                    "refused",
                    &format!("`gc` would be refused: {error}"),
                ));
            }
        };
        // A shared store has numbers of its own.
        let digest = snapshot.graph.digest(id);
        let is_it = |id| plan.blobs().digest(id) == Some(digest);
        if plan.sweep().iter().any(|deletion| is_it(deletion.id)) {
            return Some(decision("delete", "`gc` would delete it"));
        }
        let kept = plan.kept().iter().find(|kept| is_it(kept.id));
        Some(match kept.map(|kept| kept.because) {
            Some(KeepReason::InFlight { modified }) => {
                let grace = i128::try_from(grace.as_nanos()).unwrap_or(i128::MAX);
                let end = i128::from(modified).saturating_add(grace);
                let end = Timestamp::from_nanosecond(end).ok();
                let when = end.map_or_else(String::new, |end| {
                    let second = Timestamp::from_second(end.as_second()).unwrap_or(end);
                    format!(" until {second} ({})", until(context.now, second))
                });
                Self {
                    until: end,
                    ..decision(
                        "keep",
                        &format!("in flight{when}: a writer may be about to list it"),
                    )
                }
            }
            Some(KeepReason::UsedInFlight) => decision(
                "keep",
                "in flight: a recent blob references it, which a writer may be about to list",
            ),
            Some(KeepReason::Released) => decision(
                "keep",
                "it was released while a writer was at work, and a writer that is at work may list it again",
            ),
            Some(KeepReason::Unreadable) => decision(
                "keep",
                "it is kept, since it cannot be read and may be a referrer of a live image",
            ),
            Some(_) => decision("keep", "`gc` would keep it"),
            None if is_shared => {
                decision("keep", "another layout that shares the blobs references it")
            }
            None => decision("already-gone", "it was deleted concurrently"),
        })
    }
}

impl Subject<'_> {
    /// Returns the role of the blob for the last document of the shortest reference path, else its kind.
    fn role(&self, snapshot: &Snapshot) -> String {
        if let Some(step) = self.paths.first().and_then(|path| path.steps.last()) {
            return step.role.clone();
        }
        kind_of(&snapshot.graph, self.id, Kind::Unknown).to_owned()
    }

    fn state(&self, snapshot: &Snapshot) -> &'static str {
        let is_here = snapshot.graph.is_present(self.id) || snapshot.graph.is_embedded(self.id);
        match (&self.decision, is_here) {
            (None, true) => "live",
            (None, false) => "missing",
            (Some(_), _) => "orphan",
        }
    }

    fn to_text(&self, context: &Context<'_>, snapshot: &Snapshot) -> String {
        let graph = &snapshot.graph;
        let mut text = String::new();
        let size = match self.len {
            Some(len) => human_size(len),
            None if graph.is_embedded(self.id) => "embedded in its descriptor".to_owned(),
            None => "not here".to_owned(),
        };
        let digest = graph.digest(self.id);
        let orphan = self.decision.as_ref().map_or("", |_| "orphan ");
        let role = context.term.foreign(&self.role(snapshot));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{digest}  {orphan}{role}, {size}");
        for path in &self.paths {
            let path = path.parts(graph).join(" → ");
            let _ = writeln!(text, "{}", context.term.foreign(&path));
        }
        let _ = match self.more {
            Remaining::Exactly(0) => Ok(()),
            Remaining::Exactly(more) => {
                let paths = count(more as u64, "more path");
                writeln!(text, "and {paths}; `--all` shows them")
            }
            Remaining::AtLeast(0) => writeln!(text, "there may be more paths"),
            Remaining::AtLeast(more) => writeln!(text, "and more than {more} more paths"),
        };
        if let Some(decision) = &self.decision {
            let _ = writeln!(text, "unreferenced; {}", decision.why);
            let edges = graph.edges(self.id);
            for edge in edges.iter().filter(|edge| edge.role == Role::Subject) {
                let digest = graph.digest(edge.to);
                let _ = writeln!(text, "its subject {digest} is unreachable");
            }
        }
        if let Some((_, usage, parts)) = &self.image {
            text.push('\n');
            text.push_str(&table(context, snapshot, parts));
            let [size, shared, unique] = [usage.size, usage.shared, usage.unique].map(human_size);
            let _ = if self.is_shared {
                writeln!(
                    text,
                    "{size}; `ocisweep rm -n` prints what removing it frees, with the other layouts as `--with`"
                )
            } else {
                writeln!(
                    text,
                    "{size}, of which {shared} are shared; removing only this image frees {unique}"
                )
            };
        }
        text
    }

    fn to_json(&self, snapshot: &Snapshot) -> JsonSubject {
        let graph = &snapshot.graph;
        let (more_paths, more_is_exact) = match self.more {
            Remaining::Exactly(more) => (more, true),
            Remaining::AtLeast(more) => (more, false),
        };
        let step = |step: &PathStep| JsonStep {
            digest: graph.digest(step.id).to_string(),
            role: step.role.clone(),
        };
        let path = |path: &ReferencePath| JsonPath {
            roots: Arc::clone(&path.roots),
            steps: path.steps.iter().map(step).collect(),
        };
        let part = |part: &Part| JsonPart {
            digest: graph.digest(part.id).to_string(),
            role: part.what.clone(),
            size: part.len,
            shared_with: part.shared_with.clone(),
        };
        JsonSubject {
            digest: graph.digest(self.id).to_string(),
            kind: self.role(snapshot),
            size: self.len,
            state: self.state(snapshot),
            paths: self.paths.iter().map(path).collect(),
            more_paths,
            more_is_exact,
            sweep: self.decision.as_ref().map(|decision| JsonSweepDecision {
                action: decision.action,
                reasons: vec![decision.why.clone()],
                until: decision.until.map(|until| until.to_string()),
            }),
            image: self
                .image
                .as_ref()
                .map(|(image, usage, parts)| JsonImageParts {
                    names: image.name_list(),
                    size_bytes: usage.size,
                    shared_bytes: (!self.is_shared).then_some(usage.shared),
                    unique_bytes: (!self.is_shared).then_some(usage.unique),
                    blobs: parts.iter().map(part).collect(),
                }),
        }
    }
}

fn table(context: &Context<'_>, snapshot: &Snapshot, parts: &[Part]) -> String {
    let headers = ["BLOB", "WHAT", "SIZE", "SHARED WITH"];
    let mut table = Table::new(&headers, &[3], context.term.width());
    for part in parts {
        table.row(vec![
            snapshot.graph.digest(part.id).short(),
            context.term.foreign(&part.what),
            part.len.map_or_else(|| "not here".to_owned(), human_size),
            context.term.foreign(&listed(&part.shared_with, MAX_NAMES)),
        ]);
    }
    table.render()
}

#[derive(Serialize)]
struct JsonWhy {
    path: String,
    items: Vec<JsonSubject>,
}

#[derive(Serialize)]
struct JsonSubject {
    digest: String,
    kind: String,
    /// Bytes that are present.
    size: Option<u64>,
    state: &'static str,
    paths: Vec<JsonPath>,
    /// Reference paths that are not listed.
    more_paths: usize,
    /// `true` if their number is exact.
    more_is_exact: bool,
    /// What a sweep now would do with an orphan.
    sweep: Option<JsonSweepDecision>,
    image: Option<JsonImageParts>,
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
struct JsonSweepDecision {
    action: &'static str,
    reasons: Vec<String>,
    until: Option<String>,
}

#[derive(Serialize)]
struct JsonImageParts {
    names: Vec<String>,
    size_bytes: u64,
    shared_bytes: Option<u64>,
    unique_bytes: Option<u64>,
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
