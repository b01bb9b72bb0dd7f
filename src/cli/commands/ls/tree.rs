//! `ocisweep ls --tree`
//!
//! An image is a block: its names, one below the other, with the details beside the last one; its children; an empty line if
//! it has children. The layout is docker's with three differences: the first column is as wide as a terminal shows it
//! (docker counts bytes, and so leaves four spaces too many below a branch), no line ends in spaces, and children may have
//! children. An image without a name that is shown below another one, as oras lists children and referrers again, has no
//! block of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ocisweep::Snapshot;
use ocisweep::graph::{Edge, is_attestation, kind_of};
use ocisweep::layout::BlobId;
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::{ImageInspector, Presence, Sizes};
use ocisweep::oci::{Digest, Kind, REFERENCE_DIGEST, Role};
use ocisweep::parse::size::human_size3;
use serde::Serialize;

use super::referrer::{ReferrerKinds, SBOM};
use super::{Listed, state};
use crate::cli::context::Context;
use crate::cli::render::table::{HELD, NO_LAYERS, NONE, Table};
use crate::cli::term::Colors;

/// How deep the tree follows nested indexes and referrers of referrers. Deeper than any real image.
const MAX_DEPTH: usize = 16;

/// Returns the images with what is below them.
pub(super) fn tree<'v>(
    context: &Context<'_>,
    snapshot: &'v Snapshot,
    roots: &[Listed],
    cache: &mut ImageInspector<'v>,
    is_cut: bool,
) -> String {
    let mut builder = TreeBuilder::new(context, snapshot, cache);
    builder.is_cut = is_cut;
    let mut nodes = Vec::new();
    let mut above: HashMap<BlobId, BTreeSet<usize>> = HashMap::new();
    for (number, listed) in roots.iter().enumerate() {
        nodes.push(builder.root(listed));
        for id in std::mem::take(&mut builder.below) {
            above.entry(id).or_default().insert(number);
        }
    }
    let is_below = |of: usize, root: &Listed| {
        let above = above.get(&root.image.id);
        above.is_some_and(|above| above.contains(&of))
    };
    let mut number = 0;
    nodes.retain(|_| {
        let this = number;
        number += 1;
        let Some(root) = roots.get(this).filter(|root| root.follows()) else {
            return true;
        };
        // Two images that are below each other are both shown.
        let others = above.get(&root.image.id).into_iter().flatten();
        !others.copied().any(|other| {
            let is_other = |other: &&Listed| {
                other.image.id != root.image.id && !(other.follows() && is_below(this, other))
            };
            roots.get(other).filter(is_other).is_some()
        })
    });
    let width = context.term.width().filter(|_| is_cut);
    render(&nodes, width, context.term.colors())
}

/// Returns what is below each image, for JSON.
pub(super) fn parts<'v>(
    context: &Context<'_>,
    snapshot: &'v Snapshot,
    roots: &[Listed],
    cache: &mut ImageInspector<'v>,
) -> Vec<Vec<TreePart>> {
    let mut builder = TreeBuilder::new(context, snapshot, cache);
    let below = roots.iter().map(|root| {
        let nodes = builder.all_below(root.image.id).into_iter();
        nodes.filter_map(TreeNode::into_part).collect()
    });
    below.collect()
}

/// A document below an image, in JSON.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TreePart {
    digest: String,
    /// Its role for the document above it.
    role: &'static str,
    kind: &'static str,
    platform: Option<String>,
    artifact_type: Option<String>,
    /// Bytes that are present, each blob once.
    disk_bytes: u64,
    /// Bytes that the descriptors declare.
    content_bytes: u64,
    state: &'static str,
    /// What is below it; `None`: more levels than are listed.
    children: Option<Vec<Self>>,
}

/// A line of the tree and the lines below it.
///
/// Foreign text in it has gone through [`Term::foreign`](crate::cli::term::Term::foreign).
#[derive(Debug, Default)]
struct TreeNode {
    /// Names, one below the other.
    label: Vec<String>,
    /// Short digest, bytes that are present, bytes that the descriptors declare, marks such as `H` and `missing`.
    cells: [String; 4],
    /// What the image contains, in its order.
    children: Vec<Self>,
    /// The blob is absent. The marks show that as well.
    dim: bool,
    /// The same for JSON, without children; `None`: the line is not a document.
    part: Option<TreePart>,
}

/// Returns the headers and the blocks.
///
/// On a narrow terminal, CONTENT SIZE is omitted, then DISK USAGE, and names are cut. EXTRA is always printed, because
/// nothing else reports what is missing.
fn render(nodes: &[TreeNode], width: Option<usize>, colors: Colors) -> String {
    // An ID has 12 digits, even if none is listed.
    let headers = [
        "IMAGE",
        "ID          ",
        "DISK USAGE",
        "CONTENT SIZE",
        "EXTRA",
    ];
    let mut table = Table::new(&headers, &[0], width).with_numbers(&[2, 3]);
    for node in nodes {
        node.push("", "", &mut table, colors);
        if !node.children.is_empty() {
            table.row(Vec::new());
        }
    }
    table.render()
}

impl TreeNode {
    /// Returns the document with what is below it.
    fn into_part(self) -> Option<TreePart> {
        let mut part = self.part?;
        // A line that is not a document marks the last level.
        let children = self.children.into_iter().map(Self::into_part);
        part.children = children.collect();
        Some(part)
    }

    /// Appends the lines of a node: `branch` is printed before the first one, `below` before the others.
    fn push(&self, branch: &str, below: &str, table: &mut Table, colors: Colors) {
        let (last, stacked) = self.label.split_last().expect("a node has a label");
        let mut prefix = branch;
        for name in stacked {
            table.row(vec![format!("{prefix}{name}")]);
            prefix = below;
        }
        let mut cells = vec![format!("{prefix}{last}")];
        cells.extend_from_slice(&self.cells);
        table.row(cells);
        if self.dim {
            table.dim(colors);
        }
        for (left, child) in (0..self.children.len()).rev().zip(&self.children) {
            let (branch, guide) = if left > 0 {
                ("├─ ", "│  ")
            } else {
                ("└─ ", "   ")
            };
            let (branch, below) = (format!("{below}{branch}"), format!("{below}{guide}"));
            child.push(&branch, &below, table, colors);
        }
    }
}

/// Returns the referrers of each subject: by `subject`, by annotation, and by digest tag.
fn referrers(snapshot: &Snapshot) -> BTreeMap<BlobId, BTreeSet<BlobId>> {
    let mut found: BTreeMap<BlobId, BTreeSet<BlobId>> = BTreeMap::new();
    for entry in list_entries(snapshot) {
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

struct TreeBuilder<'a, 'c, 'v> {
    context: &'a Context<'a>,
    snapshot: &'v Snapshot,
    cache: &'c mut ImageInspector<'v>,
    referrers: BTreeMap<BlobId, BTreeSet<BlobId>>,
    kinds: ReferrerKinds,
    /// IDs are truncated.
    is_cut: bool,
    /// What is shown below the current image.
    below: BTreeSet<BlobId>,
    /// Blobs whose children are shown below the current image. Once is enough: an index of a few kilobytes can have millions
    /// of paths through it.
    shown: BTreeSet<BlobId>,
}

impl<'a, 'c, 'v> TreeBuilder<'a, 'c, 'v> {
    fn new(
        context: &'a Context<'a>,
        snapshot: &'v Snapshot,
        cache: &'c mut ImageInspector<'v>,
    ) -> Self {
        Self {
            context,
            snapshot,
            cache,
            referrers: referrers(snapshot),
            kinds: ReferrerKinds::of(snapshot),
            is_cut: true,
            below: BTreeSet::new(),
            shown: BTreeSet::new(),
        }
    }

    /// Returns text from the layout as it may be shown.
    fn foreign(&self, text: &str) -> String {
        self.context.term.foreign(text)
    }

    fn id(&self, digest: &Digest) -> String {
        if self.is_cut {
            digest.short()
        } else {
            digest.to_string()
        }
    }

    fn root(&mut self, listed: &Listed) -> TreeNode {
        let image = &listed.image;
        let names = image.names.iter();
        let mut label: Vec<String> = names.map(|name| self.foreign(&name.text)).collect();
        if label.is_empty() {
            label.push(NONE.to_owned());
        }
        let mut extra = Vec::new();
        if !image.holds.is_empty() {
            extra.push(HELD.to_owned());
        }
        extra.push(match listed.presence {
            Presence::Partial if listed.lacks_layers => NO_LAYERS.to_owned(),
            presence => absent(presence).to_owned(),
        });
        extra.extend(image.second_indexes.iter().map(|file| self.foreign(file)));
        extra.retain(|text| !text.is_empty());
        TreeNode {
            label,
            cells: [
                self.id(&image.digest),
                human_size3(listed.sizes.disk),
                human_size3(listed.sizes.content),
                extra.join(" "),
            ],
            children: self.all_below(image.id),
            ..TreeNode::default()
        }
    }

    /// Returns what is below an image.
    fn all_below(&mut self, id: BlobId) -> Vec<TreeNode> {
        self.shown.clear();
        self.children(id, 0)
    }

    fn children(&mut self, id: BlobId, depth: usize) -> Vec<TreeNode> {
        if self.shown.contains(&id) {
            return Vec::new();
        }
        let is_index = self.snapshot.graph.is_index(id);
        let edges = self.snapshot.graph.edges(id).iter();
        let listed: Vec<&Edge> = edges
            .filter(|edge| is_index && edge.role == Role::Child)
            .collect();
        let referrers = self.referrers_of(id);
        if depth >= MAX_DEPTH && !(listed.is_empty() && referrers.is_empty()) {
            return vec![TreeNode {
                label: vec!["deeper levels are not shown".to_owned()],
                ..TreeNode::default()
            }];
        }
        self.shown.insert(id);
        let mut nodes = Vec::new();
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
            // Below a child that is listed twice, they are shown once.
            for attestation in below.remove(&edge.to).into_iter().flatten() {
                node.children.push(self.child(attestation));
            }
            node.children.extend(self.children(edge.to, depth + 1));
            nodes.push(node);
        }
        for referrer in referrers {
            let artifact_type = self.artifact_type(referrer);
            let kind = self.kinds.kind(referrer, artifact_type);
            let label = match artifact_type {
                Some(artifact_type) => format!("{kind} {}", self.foreign(artifact_type)),
                None => kind.to_owned(),
            };
            let mut node = self.node(label, kind, referrer, Kind::Manifest, None);
            node.children = self.children(referrer, depth + 1);
            nodes.push(node);
        }
        nodes
    }

    /// Returns the referrers of a blob, by digest: numbers follow the directory, which every file system lists in another
    /// order.
    fn referrers_of(&self, id: BlobId) -> Vec<BlobId> {
        let mut found = self.referrers.get(&id).cloned().unwrap_or_default();
        found.extend(self.snapshot.graph.referrers(id));
        // An attestation of BuildKit may have its platform as subject; it is shown as an attestation.
        for edge in self
            .snapshot
            .graph
            .edges(id)
            .iter()
            .filter(|edge| is_attestation(edge))
        {
            found.remove(&edge.to);
        }
        let mut found: Vec<BlobId> = found.into_iter().collect();
        found.sort_by_key(|referrer| self.snapshot.graph.digest(*referrer));
        found
    }

    fn child(&mut self, edge: &Edge) -> TreeNode {
        let (label, role, platform) = if is_attestation(edge) {
            ("attestation".to_owned(), "attestation", None)
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
            let platform = platform.map(|platform| platform.to_string());
            let label = match &platform {
                Some(platform) => self.foreign(platform),
                None => kind_of(&self.snapshot.graph, edge.to, edge.kind).to_owned(),
            };
            (label, "child", platform)
        };
        let mut node = self.node(label, role, edge.to, edge.kind, edge.size());
        if let Some(part) = &mut node.part {
            part.platform = platform;
        }
        node
    }

    fn artifact_type(&self, id: BlobId) -> Option<&'v str> {
        let node = self.snapshot.graph.node(id)?;
        node.artifact_type.as_deref()
    }

    /// Returns the line of a blob, without children.
    fn node(
        &mut self,
        label: String,
        role: &'static str,
        id: BlobId,
        kind: Kind,
        declared: Option<u64>,
    ) -> TreeNode {
        self.below.insert(id);
        let presence = self.cache.presence(id);
        // docker shows no bytes at all for what is missing.
        let sizes = if presence == Presence::Missing {
            Sizes::default()
        } else {
            self.cache.sizes(id, declared)
        };
        TreeNode {
            label: vec![label],
            cells: [
                self.id(self.snapshot.graph.digest(id)),
                human_size3(sizes.disk),
                human_size3(sizes.content),
                absent(presence).to_owned(),
            ],
            children: Vec::new(),
            dim: presence == Presence::Missing,
            part: Some(TreePart {
                digest: self.snapshot.graph.digest(id).to_string(),
                role: if role == SBOM { "sbom" } else { role },
                kind: kind_of(&self.snapshot.graph, id, kind),
                platform: None,
                artifact_type: self.artifact_type(id).map(str::to_owned),
                disk_bytes: sizes.disk,
                content_bytes: sizes.content,
                state: state(presence),
                children: None,
            }),
        }
    }

    /// Returns the child that an attestation names, unless it names itself.
    fn child_of(&self, attestation: &Edge) -> Option<BlobId> {
        let details = attestation.details.as_ref()?;
        let digest = Digest::parse(details.annotations.get(REFERENCE_DIGEST)?).ok()?;
        let child = self.snapshot.graph.id(&digest)?;
        (child != attestation.to).then_some(child)
    }
}

/// Returns what is absent, as in the column EXTRA.
const fn absent(presence: Presence) -> &'static str {
    match presence {
        Presence::Whole => "",
        Presence::Partial => "partial",
        Presence::Missing => "missing",
        Presence::Damaged => "damaged",
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    fn node(names: &[&str], cells: [&str; 4], children: Vec<TreeNode>) -> TreeNode {
        TreeNode {
            label: names.iter().map(|&name| name.to_owned()).collect(),
            cells: cells.map(str::to_owned),
            children,
            dim: cells.contains(&"missing"),
            part: None,
        }
    }

    fn sample() -> Vec<TreeNode> {
        let leaf = |name, id, size, extra| node(&[name], [id, size, size, extra], vec![]);
        let pair = node(
            &["a", "b"],
            ["8db9726086ad", "71.4kB", "71.4kB", ""],
            vec![],
        );
        let nested = node(
            &["nested index"],
            ["abf68d5e9a03", "71.4kB", "71.4kB", ""],
            vec![leaf("linux/arm64", "d01c407f5a61", "71.4kB", ""), pair],
        );
        let amd64 = node(
            &["linux/amd64"],
            ["cfdb479d914d", "588kB", "272kB", ""],
            vec![],
        );
        vec![
            node(
                &["multi:1", "multi:latest"],
                ["8fb78cf4b1cd", "971kB", "566kB", "H"],
                vec![
                    amd64,
                    nested,
                    leaf("linux/riscv64", "d331578c0b1a", "0B", "missing"),
                ],
            ),
            node(&["alpha:1"], ["01da2a5a9765", "259kB", "0B", ""], vec![]),
            node(&["bravo:1"], ["4851c1a360cc", "259kB", "0B", ""], vec![]),
        ]
    }

    #[test]
    fn shows_blocks_with_names_stacked_and_children_below() {
        let want = "\
IMAGE               ID             DISK USAGE   CONTENT SIZE   EXTRA
multi:1
multi:latest        8fb78cf4b1cd        971kB          566kB   H
├─ linux/amd64      cfdb479d914d        588kB          272kB
├─ nested index     abf68d5e9a03       71.4kB         71.4kB
│  ├─ linux/arm64   d01c407f5a61       71.4kB         71.4kB
│  └─ a
│     b             8db9726086ad       71.4kB         71.4kB
└─ linux/riscv64    d331578c0b1a           0B             0B   missing

alpha:1             01da2a5a9765        259kB             0B
bravo:1             4851c1a360cc        259kB             0B
";
        for width in [None, Some(80), Some(200)] {
            assert_eq!(render(&sample(), width, Colors::Off), want, "{width:?}");
        }
    }

    #[test]
    fn colour_only_makes_missing_blobs_faint() {
        let coloured = render(&sample(), None, Colors::On);
        let line = coloured
            .lines()
            .find(|line| line.contains("riscv64"))
            .expect("it is there");
        assert!(
            line.starts_with("\x1b[2m└─ ") && line.ends_with("missing\x1b[0m"),
            "{line:?}"
        );
        let plain = coloured.replace("\x1b[2m", "").replace("\x1b[0m", "");
        assert_eq!(plain, render(&sample(), None, Colors::Off));
    }

    #[test]
    fn an_empty_tree_is_its_headers() {
        let want = "IMAGE   ID             DISK USAGE   CONTENT SIZE   EXTRA\n";
        assert_eq!(render(&[], Some(80), Colors::Off), want);
    }

    #[test]
    fn omits_numbers_and_cuts_names_on_a_narrow_terminal() {
        let name = "registry.example.com/platform/team/application:1.4.2";
        let image = || {
            [node(
                &[name, name],
                ["8fb78cf4b1cd", "971kB", "566kB", "H"],
                vec![],
            )]
        };
        let cases = [
            (
                80,
                "IMAGE                           ID             DISK USAGE   CONTENT SIZE   EXTRA\n\
                 registry.example.com/platform/team/application:1.4.2\n\
                 registry.examp…lication:1.4.2   8fb78cf4b1cd        971kB          566kB   H\n",
            ),
            (
                60,
                "IMAGE                      ID             DISK USAGE   EXTRA\n\
                 registry.example.com/platform/team/application:1.4.2\n\
                 registry.ex…cation:1.4.2   8fb78cf4b1cd        971kB   H\n",
            ),
            (
                40,
                "IMAGE               ID             EXTRA\n\
                 registry.example.co…am/application:1.4.2\n\
                 registry…on:1.4.2   8fb78cf4b1cd   H\n",
            ),
        ];
        for (width, want) in cases {
            let text = render(&image(), Some(width), Colors::Off);
            assert_eq!(text, want, "{width}:\n{text}");
        }
    }

    #[test]
    fn the_deepest_tree_fits_the_screen() {
        let mut image = node(&["leaf"], [""; 4], vec![]);
        for level in 0..=MAX_DEPTH {
            image = node(
                &[&format!("level {level}")],
                ["8fb78cf4b1cd", "1B", "1B", ""],
                vec![image],
            );
        }
        let image = [image];
        for width in [None, Some(80), Some(200)] {
            let text = render(&image, width, Colors::Off);
            // Headers, the levels, the leaf, and the empty line.
            assert_eq!(text.lines().count(), 1 + (MAX_DEPTH + 1) + 1 + 1);
            for line in text.lines() {
                assert!(
                    line.width() <= width.unwrap_or(usize::MAX),
                    "{width:?} {line}"
                );
            }
        }
    }

    #[test]
    fn a_name_cannot_add_rows() {
        let forged = [
            node(&["a\nb", ""], ["c\td", "1B", "1B", "\r"], vec![]),
            node(&[""], [""; 4], vec![]),
        ];
        let text = render(&forged, None, Colors::Off);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains(r"a\x0ab") && text.contains(r"c\x09d"));
    }
}
