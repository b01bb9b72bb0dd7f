//! `ocisweep ls --tree`

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ocisweep::Snapshot;
use ocisweep::graph::Edge;
use ocisweep::graph::{is_attestation, kind_of};
use ocisweep::layout::BlobId;
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::{Image, ImageInspector, Presence, Sizes};
use ocisweep::oci::REFERENCE_DIGEST;
use ocisweep::oci::{Digest, Role, Shape};
use ocisweep::parse::size::human_size3;

use crate::cli::context::Context;
use crate::cli::render::table::{NO_LAYERS, NONE};
use crate::cli::render::tree::{TreeNode, render};

/// How deep the tree follows nested indexes and referrers of referrers. Deeper than any real image.
const MAX_DEPTH: usize = 16;

/// One image with what is shown of it.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The image.
    pub image: &'a Image,
    /// How much of it is here.
    pub sizes: Sizes,
    /// Whether all of it is.
    pub presence: Presence,
    /// Manifests are here and no layer is.
    pub lacks_layers: bool,
}

/// Returns the images with what stands below them.
pub fn tree<'v>(
    context: &Context<'_>,
    view: &'v Snapshot,
    roots: &[Shown<'_>],
    cache: &mut ImageInspector<'v>,
) -> String {
    let mut maker = Maker {
        context,
        view,
        cache,
        referrers: referrers(view),
        shown: BTreeSet::new(),
    };
    let nodes: Vec<TreeNode> = roots.iter().map(|shown| maker.root(shown)).collect();
    render(&nodes, context.term.width(), context.term.colors())
}

/// Finds out who is about whom: by `subject`, by annotation, and by digest tag.
fn referrers(view: &Snapshot) -> BTreeMap<BlobId, BTreeSet<BlobId>> {
    let mut found: BTreeMap<BlobId, BTreeSet<BlobId>> = BTreeMap::new();
    for entry in list_entries(view) {
        for about in entry.about {
            if let Some(id) = entry.id
                && id != about
            {
                found.entry(about).or_default().insert(id);
            }
        }
    }
    found
}

struct Maker<'a, 'c, 'v> {
    context: &'a Context<'a>,
    view: &'v Snapshot,
    cache: &'c mut ImageInspector<'v>,
    referrers: BTreeMap<BlobId, BTreeSet<BlobId>>,
    /// What is shown below the image at hand with all that is below it. Once is enough: an index of a
    /// few kilobytes can have millions of paths through it.
    shown: BTreeSet<BlobId>,
}

impl<'v> Maker<'_, '_, 'v> {
    /// Returns text from the layout as it may be shown. Platforms and types come from strangers just
    /// as names do.
    fn foreign(&self, text: &str) -> String {
        self.context.term.foreign(text).into_owned()
    }

    fn root(&mut self, shown: &Shown<'_>) -> TreeNode {
        let image = shown.image;
        let mut names: Vec<String> = image
            .names
            .iter()
            .map(|name| self.foreign(&name.text))
            .collect();
        if names.is_empty() {
            names.push(NONE.to_owned());
        }
        let mut node = TreeNode::new(names);
        node.id = image.digest.short();
        node.disk = human_size3(shown.sizes.disk);
        node.content = human_size3(shown.sizes.content);
        let lists: Vec<String> = image
            .second_indexes
            .iter()
            .map(|file| self.foreign(file))
            .collect();
        node.extra = extra(shown.presence, !image.holds.is_empty(), &lists);
        if shown.lacks_layers && shown.presence == Presence::Partial {
            node.extra = node.extra.replace("partial", NO_LAYERS);
        }
        self.shown.clear();
        node.children = self.children(image.id, 0);
        node
    }

    fn edges(&self, id: BlobId) -> &'v [Edge] {
        self.view.graph.node(id).map_or(&[], |node| &node.edges)
    }

    fn children(&mut self, id: BlobId, depth: usize) -> Vec<TreeNode> {
        if depth >= MAX_DEPTH || !self.shown.insert(id) {
            return Vec::new();
        }
        let mut nodes = Vec::new();
        let node = self.view.graph.node(id);
        if node.is_some_and(|node| node.shape == Shape::Index) {
            let listed: Vec<&Edge> = self
                .edges(id)
                .iter()
                .filter(|edge| edge.role == Role::Child)
                .collect();
            // An attestation is shown below the child that it belongs to, if that is listed too.
            let ids: HashSet<BlobId> = listed.iter().map(|edge| edge.to).collect();
            let mut below: HashMap<BlobId, Vec<&Edge>> = HashMap::new();
            for edge in listed.iter().filter(|edge| is_attestation(edge)) {
                if let Some(child) = self.child_of(edge).filter(|child| ids.contains(child)) {
                    below.entry(child).or_default().push(edge);
                }
            }
            for edge in &listed {
                let child = self.child_of(edge).filter(|_| is_attestation(edge));
                if child.is_some_and(|child| ids.contains(&child)) {
                    continue;
                }
                let mut node = self.child(edge);
                // Of a child that is listed twice once, as with all that is below it.
                for attestation in below.remove(&edge.to).into_iter().flatten() {
                    node.children.push(self.child(attestation));
                }
                node.children.extend(self.children(edge.to, depth + 1));
                nodes.push(node);
            }
        }
        // Attestations of BuildKit have their platform as subject; they are shown as such above.
        let attestations: BTreeSet<BlobId> = self
            .edges(id)
            .iter()
            .filter(|edge| is_attestation(edge))
            .map(|edge| edge.to)
            .collect();
        let mut about = self.referrers.get(&id).cloned().unwrap_or_default();
        about.extend(self.view.graph.referrers(id));
        let mut about: Vec<BlobId> = about.difference(&attestations).copied().collect();
        // Numbers follow the directory, which every file system lists in another order.
        about.sort_by_key(|referrer| self.view.graph.digest(*referrer));
        for referrer in about {
            nodes.push(self.referrer(referrer, depth));
        }
        nodes
    }

    fn referrer(&mut self, id: BlobId, depth: usize) -> TreeNode {
        let artifact_type = self
            .view
            .graph
            .node(id)
            .and_then(|node| node.artifact_type.as_deref());
        let label = match artifact_type {
            Some(artifact_type) => format!("referrer {}", self.foreign(artifact_type)),
            None => "referrer".to_owned(),
        };
        let mut node = TreeNode::new(vec![label]);
        self.fill(&mut node, id, None);
        node.children = self.children(id, depth + 1);
        node
    }

    fn child(&mut self, edge: &Edge) -> TreeNode {
        let label = if is_attestation(edge) {
            "attestation".to_owned()
        } else {
            let written = edge
                .details
                .as_ref()
                .and_then(|details| details.platform.as_ref())
                .filter(|platform| !platform.os.is_empty())
                .cloned();
            let platform = written
                .or_else(|| self.cache.platform(edge.to, Some(edge)))
                .filter(|platform| platform.os != "unknown");
            match platform {
                Some(platform) => self.foreign(&platform.to_string()),
                None => kind_of(&self.view.graph, edge.to, edge.kind).to_owned(),
            }
        };
        let mut node = TreeNode::new(vec![label]);
        self.fill(&mut node, edge.to, edge.size);
        node
    }

    fn fill(&mut self, node: &mut TreeNode, id: BlobId, declared: Option<u64>) {
        let presence = self.cache.presence(id);
        // docker shows what is not here with nothing at all.
        let sizes = if presence == Presence::Missing {
            Sizes::default()
        } else {
            self.cache.sizes(id, declared)
        };
        node.id = self.view.graph.digest(id).short();
        node.disk = human_size3(sizes.disk);
        node.content = human_size3(sizes.content);
        node.extra = extra(presence, false, &[]);
        node.dim = presence == Presence::Missing;
    }

    /// Returns the child that an attestation names, unless it names itself.
    fn child_of(&self, attestation: &Edge) -> Option<BlobId> {
        let details = attestation.details.as_ref()?;
        let digest = Digest::parse(details.annotations.get(REFERENCE_DIGEST)?).ok()?;
        let child = self.view.graph.id(&digest)?;
        (child != attestation.to).then_some(child)
    }
}

/// Returns the last column: `H` for a held image, what is not here, and which other files list the image.
fn extra(presence: Presence, is_held: bool, lists: &[String]) -> String {
    let held = if is_held { "H" } else { "" };
    let state = match presence {
        Presence::Whole => "",
        Presence::Partial => "partial",
        Presence::Missing => "missing",
        Presence::Damaged => "damaged",
    };
    [held, state]
        .into_iter()
        .chain(lists.iter().map(String::as_str))
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
