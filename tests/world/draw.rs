//! The generator: draws a [`World`] from a finite string of random bytes.
//!
//! The first choice of every draw is the simplest, and an exhausted source draws first choices: shorter sources yield
//! simpler worlds, which allows a failure to be minimised. Images as tools write them are drawn first, then the content of
//! [`wild`](super::wild) that no tool writes, then the lists of both.

use arbtest::arbitrary::{Result, Unstructured};

use crate::support::json::{IMAGE_NAME, REF_NAME};
use crate::support::media;
use crate::world::features::{Features, Names};
use crate::world::layout::{
    ATTESTS, BASE_NAME, Config, Content, Document, Element, FRESH_TEMPORARY, NYDUS, Node, Note,
    OLD_TEMPORARY, Place, Platform, Ref, SUBJECTS, SecondForm, SecondIndex, Shape, State, World,
};

/// Names that occur once: of three repositories, and without one.
pub(crate) const TAGS: [&str; 9] = [
    "app:1",
    "app:2",
    "app:3",
    "tool:1",
    "tool:2",
    "team/deep:1",
    "v1",
    "v2",
    "v3",
];

const REPOSITORIES: [(u16, &str); 4] = [
    (50, "ex.com/app"),
    (20, "ex.com/lib/db"),
    (20, "ex.com/web"),
    (10, "redis"),
];

/// The minimum size of layers of images, in bytes.
const LENGTHS: [usize; 6] = [20, 50, 100, 400, 900, 2000];

/// The age of documents without a date of their own, in hours.
const OLD: Option<u64> = Some(100 * 24);

/// Returns `true` in `percent` of a hundred cases, and `false` if the source is exhausted.
pub(crate) fn chance(u: &mut Unstructured<'_>, percent: u8) -> Result<bool> {
    let draw: u8 = u.int_in_range(0..=99)?;
    Ok(draw >= 100_u8.saturating_sub(percent))
}

/// Draws one of `choices` by weight; the first when the source is exhausted.
pub(crate) fn weighted<T: Copy>(u: &mut Unstructured<'_>, choices: &[(u16, T)]) -> Result<T> {
    let total: u16 = choices.iter().map(|(weight, _)| *weight).sum();
    let mut draw = u.int_in_range(0..=total.saturating_sub(1))?;
    for (weight, choice) in choices {
        match draw.checked_sub(*weight) {
            Some(rest) => draw = rest,
            None => return Ok(*choice),
        }
    }
    unreachable!("the draw is less than the sum of the weights");
}

/// Draws a value in `percent` of a hundred cases.
pub(crate) fn maybe<T>(
    u: &mut Unstructured<'_>,
    percent: u8,
    draw: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if chance(u, percent)? {
        draw(u).map(Some)
    } else {
        Ok(None)
    }
}

/// Draws a world.
pub(crate) fn world(u: &mut Unstructured<'_>, features: &Features) -> Result<World> {
    let mut hand = Hand {
        has_names: !(features.names != Names::One && chance(u, 6)?),
        u,
        on: features,
        world: World {
            marker: true,
            ..World::default()
        },
        images: Vec::new(),
        layers: Vec::new(),
        tags: TAGS.to_vec(),
    };
    let (least, most) = features.images;
    for _ in 0..hand.u.int_in_range(least..=most)? {
        if features.referrers && !hand.images.is_empty() && hand.chance(35)? {
            hand.referrer()?;
        } else {
            hand.image()?;
        }
    }
    if features.wild.is_some() {
        hand.wild()?;
    }
    hand.saved()?;
    hand.second_index()?;
    hand.garbage()?;
    hand.times()?;
    hand.around()?;
    Ok(hand.world)
}

/// One image, artifact or signature.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) node: usize,
    /// Full names on its entries, without digests.
    names: Vec<String>,
    /// The config and layers of a single-platform image.
    parts: Option<(usize, Vec<usize>)>,
}

/// The state of a draw.
pub(super) struct Hand<'a, 'b> {
    pub(super) u: &'a mut Unstructured<'b>,
    pub(super) on: &'a Features,
    pub(super) world: World,
    images: Vec<Image>,
    layers: Vec<usize>,
    /// The unused names of [`TAGS`].
    tags: Vec<&'static str>,
    /// Whether any image has a name.
    has_names: bool,
}

impl Hand<'_, '_> {
    pub(super) fn chance(&mut self, percent: u8) -> Result<bool> {
        chance(self.u, percent)
    }

    /// Adds a blob; returns its position.
    pub(super) fn add(&mut self, algorithm: &'static str, content: Content) -> usize {
        self.world.nodes.push(Node {
            algorithm,
            content,
            state: State::Whole,
            hours: OLD,
            is_linked: false,
        });
        self.world.nodes.len() - 1
    }

    /// Adds a document, mostly under its sha256.
    fn document(&mut self, shape: Shape, refs: Vec<Ref>) -> Result<usize> {
        let is_long = self.on.algorithms && self.chance(20)?;
        let document = Document {
            shape,
            own_type: Some(shape.media_type()),
            refs,
            ..Document::default()
        };
        let algorithm = if is_long { "sha512" } else { "sha256" };
        Ok(self.add(algorithm, Content::Document(document)))
    }

    fn edit(&mut self, node: usize) -> &mut Document {
        match &mut self.world.nodes[node].content {
            Content::Document(document) => document,
            other => unreachable!("an image is a document: {other:?}"),
        }
    }

    fn media_type(&self, node: usize) -> &'static str {
        match &self.world.node(node).content {
            Content::Document(document) => document.shape.media_type(),
            other => unreachable!("an image is a document: {other:?}"),
        }
    }

    /// Describes an image, as `index.json` or an index lists it.
    fn listed(&self, node: usize) -> Ref {
        Ref::plain(node, self.media_type(node), Place::Manifests)
    }

    fn layer(&mut self) -> Result<usize> {
        if !self.layers.is_empty() && self.chance(35)? {
            return Ok(*self.u.choose(&self.layers)?);
        }
        let length = *self.u.choose(&LENGTHS)?;
        let layer = self.add("sha256", Content::Binary(length));
        self.layers.push(layer);
        Ok(layer)
    }

    fn config(&mut self, platform: &'static str) -> Result<usize> {
        let config = Config {
            platform,
            created: maybe(self.u, 80, |u| Ok(u.int_in_range(1..=6)? * 301))?,
            label: maybe(self.u, 60, |u| Ok(*u.choose(&["prod", "dev"])?))?,
        };
        Ok(self.add("sha256", Content::Config(config)))
    }

    /// Draws a manifest with config and layers.
    fn manifest(&mut self, platform: &'static str) -> Result<Image> {
        let mut layers = Vec::new();
        for _ in 0..self.u.int_in_range(1..=3)? {
            let layer = self.layer()?;
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        let config = self.config(platform)?;
        let mut refs = vec![Ref::plain(config, media::CONFIG, Place::Config)];
        for layer in &layers {
            refs.push(Ref::plain(*layer, media::LAYER, Place::Layers));
        }
        if self.on.lists && self.chance(8)? {
            let noted = self.add("sha256", Content::Binary(30));
            refs[1] = refs[1].clone().note(NYDUS, Note::Digest(noted));
        }
        Ok(Image {
            node: self.document(Shape::Manifest, refs)?,
            names: Vec::new(),
            parts: Some((config, layers)),
        })
    }

    /// Draws an image, single or an index, with its names.
    fn image(&mut self) -> Result<()> {
        let is_nested = self.on.nested && !self.images.is_empty();
        let is_index = (self.on.platforms || is_nested) && self.chance(35)?;
        let image = if !is_index {
            self.manifest("linux/amd64")?
        } else if is_nested && (!self.on.platforms || self.chance(35)?) {
            self.index_of_images()?
        } else {
            self.index_of_platforms()?
        };
        self.images.push(image);
        let position = self.images.len() - 1;
        let count = match self.on.names {
            Names::One => 1,
            _ if !self.has_names => 0,
            Names::Tags => weighted(self.u, &[(36, 1), (35, 0), (16, 2), (13, 3)])?,
            Names::Forms => weighted(self.u, &[(57, 1), (20, 0), (16, 2), (7, 3)])?,
        };
        for _ in 0..count {
            self.name(position)?;
        }
        let node = self.images[position].node;
        let is_named = self.world.entries.iter().any(|entry| entry.target == node);
        if self.on.names != Names::One && self.chance(if is_named { 7 } else { 80 })? {
            let entry = self.listed(node);
            self.world.entries.push(entry);
        }
        Ok(())
    }

    fn index_of_images(&mut self) -> Result<Image> {
        let mut children = Vec::new();
        for _ in 0..self.u.int_in_range(1..=3)? {
            let child = self.u.choose(&self.images)?.node;
            if !children.contains(&child) {
                children.push(child);
            }
        }
        let refs = children.iter().map(|child| self.listed(*child)).collect();
        self.index(refs)
    }

    fn index_of_platforms(&mut self) -> Result<Image> {
        let mut children: Vec<Ref> = Vec::new();
        let mut listed = Vec::new();
        for position in 0..self.u.int_in_range(2..=4)? {
            let platform = if position > 0 && self.chance(12)? {
                // Another compression or format of the same platform.
                Platform {
                    name: "linux/amd64",
                    version: None,
                    feature: None,
                }
            } else {
                self.platform(position)?
            };
            let child = self.manifest(platform.name)?.node;
            if self.chance(12)? {
                self.world.nodes[child].state = State::Absent;
            } else if self.chance(12)? {
                listed.push(child);
            }
            let mut child = self.listed(child);
            child.platform = Some(platform);
            children.push(child);
        }
        if self.chance(25)? {
            let about = children[0].target;
            let statement = self.add("sha256", Content::Statement { about });
            let config = self.add("sha256", Content::Plain);
            let refs = vec![
                Ref::plain(config, media::CONFIG, Place::Config),
                Ref::plain(statement, media::IN_TOTO, Place::Layers),
            ];
            let attestation = self.document(Shape::Manifest, refs)?;
            if self.chance(20)? {
                listed.push(attestation);
            }
            let kind = Note::Text("attestation-manifest".to_owned());
            let child = self.listed(attestation).on("unknown/unknown");
            let child = child.note("vnd.docker.reference.type", kind);
            children.push(child.note(ATTESTS, Note::Digest(about)));
        }
        let image = self.index(children)?;
        for child in listed {
            let entry = self.listed(child);
            self.world.entries.push(entry);
        }
        Ok(image)
    }

    fn index(&mut self, mut refs: Vec<Ref>) -> Result<Image> {
        if self.on.platforms && !self.images.is_empty() && self.chance(10)? {
            let subject = self.u.choose(&self.images)?.node;
            refs.push(Ref::plain(
                subject,
                self.media_type(subject),
                Place::Subject,
            ));
        }
        Ok(Image {
            node: self.document(Shape::Index, refs)?,
            names: Vec::new(),
            parts: None,
        })
    }

    fn platform(&mut self, position: usize) -> Result<Platform> {
        let (mut version, mut feature) = (None, None);
        let mut name = ["linux/amd64", "linux/arm64", "linux/s390x", "linux/riscv64"][position];
        if self.chance(25)? {
            let versions = ["10.0.20348.2700", "10.0.20348.1000", "10.0.26100.2"];
            version = Some(*self.u.choose(&versions)?);
            name = "windows/amd64";
        } else if self.chance(12)? {
            feature = Some("nydus.remoteimage.v1");
            name = "linux/amd64";
        } else if self.chance(15)? {
            name = "linux/arm/v7";
        }
        Ok(Platform {
            name,
            version,
            feature,
        })
    }

    /// Gives an image a name, in one of the forms that tools write.
    fn name(&mut self, position: usize) -> Result<()> {
        let entry = self.listed(self.images[position].node);
        let plain = match self.on.names {
            Names::One => Some(format!("app:{position}")),
            Names::Tags if self.tags.is_empty() => return Ok(()),
            Names::Tags => {
                let at = self.u.choose_index(self.tags.len())?;
                Some(self.tags.remove(at).to_owned())
            }
            Names::Forms => None,
        };
        if let Some(name) = plain {
            self.world.entries.push(entry.tagged(&name));
            self.images[position].names.push(name);
            return Ok(());
        }
        let repository = weighted(self.u, &REPOSITORIES)?;
        let tags = [
            (30, "1"),
            (25, "2"),
            (20, "3"),
            (15, "latest"),
            (5, "alpine"),
            (5, "1-esgztoc"),
        ];
        let mut tag = weighted(self.u, &tags)?.to_owned();
        let mut full = format!("{repository}:{tag}");
        let is_taken = self.images.iter().any(|image| image.names.contains(&full));
        if is_taken && !self.chance(8)? {
            tag = format!("{tag}.{}", self.world.entries.len());
            full = format!("{repository}:{tag}");
        }
        let pinned = Note::Pinned(full.clone(), entry.target);
        let text = |text: &str| Note::Text(text.to_owned());
        let forms = [
            (45, 0),
            (20, 1),
            (12, 2),
            (6, 3),
            (4, 4),
            (5, 5),
            (3, 6),
            (2, 7),
            (3, 8),
        ];
        let (entry, is_full) = match weighted(self.u, &forms)? {
            0 => (entry.tagged(&full), true),
            1 => (entry.note(IMAGE_NAME, text(&full)).tagged(&tag), true),
            2 => (entry.tagged(&format!("bare{tag}")), false),
            3 => (entry.note(IMAGE_NAME, text(&full)), true),
            4 => (entry.note(BASE_NAME, text(&full)), true),
            5 => (entry.note(REF_NAME, pinned), false),
            6 => (entry.note(IMAGE_NAME, pinned), false),
            7 => (entry.note(BASE_NAME, pinned), false),
            // Two names that disagree, as buildx imagetools writes them.
            _ => {
                let other = format!("other{tag}");
                (entry.note(IMAGE_NAME, text(&full)).tagged(&other), true)
            }
        };
        if is_full {
            self.images[position].names.push(full);
        }
        self.world.entries.push(entry);
        Ok(())
    }

    /// Draws a signature, an SBOM or an attestation.
    fn referrer(&mut self) -> Result<()> {
        let odd = self.on.odd_referrers;
        let subject = self.u.choose(&self.images)?.clone();
        let is_long = self.world.node(subject.node).algorithm == "sha512";
        let payload = self.add("sha256", Content::Plain);
        let config = if odd {
            self.add("sha256", Content::Plain)
        } else {
            self.config("linux/amd64")?
        };
        let artifacts = [
            (60, "application/vnd.example.signature"),
            (25, "application/spdx+json"),
            (if odd { 15 } else { 0 }, media::ATTESTATION),
        ];
        let artifact = weighted(self.u, &artifacts)?;
        // More of those whose digest may be abbreviated.
        let tagged = u16::from(self.has_names) * if is_long { 3 } else { 1 };
        let mut how = weighted(
            self.u,
            &[
                (30, "unlisted"),
                (30, "untagged"),
                (20 * tagged, "digest tag"),
                (10, "annotation"),
                (6 * tagged, "named"),
                (
                    if odd { 10 * tagged } else { 0 },
                    "digest tag of a repository",
                ),
                (if odd { 8 * tagged } else { 0 }, "kind"),
            ],
        )?;
        if how == "kind" && subject.names.is_empty() {
            how = "named";
        }
        // Old cosign writes no subject where a digest tag has the same meaning.
        let has_subject = match how {
            "unlisted" | "untagged" => true,
            _ => odd && self.chance(50)? || how == "named",
        };
        let mut refs = vec![
            Ref::plain(config, media::CONFIG, Place::Config),
            Ref::plain(payload, "application/vnd.example.sig", Place::Layers),
        ];
        if has_subject {
            let media_type = self.media_type(subject.node);
            refs.push(Ref::plain(subject.node, media_type, Place::Subject));
        }
        let mut node = self.document(Shape::Manifest, refs)?;
        // A document without a subject is an image, whatever its type.
        self.edit(node).artifact_type = (odd || has_subject).then_some(artifact);
        if odd && how.starts_with("digest tag") && self.chance(15)? {
            // The tag names an index of referrers, as in the distribution specification.
            let child = self.listed(node);
            node = self.document(Shape::Index, vec![child])?;
        }
        let image = Image {
            node,
            names: Vec::new(),
            parts: None,
        };
        self.images.push(image);
        let entry = self.listed(node);
        let entry = match how {
            "unlisted" => return Ok(()),
            "untagged" => entry,
            "digest tag" => {
                let tag = self.digest_tag("", subject.node)?;
                entry.note(REF_NAME, tag)
            }
            "digest tag of a repository" => {
                let tag = self.digest_tag("ex.com/app:", subject.node)?;
                entry.note(REF_NAME, tag)
            }
            "annotation" => {
                let key = *self.u.choose(&SUBJECTS)?;
                entry.note(key, Note::Digest(subject.node))
            }
            "kind" => {
                let kind = Note::Text("dev.cosignproject.cosign/sigs".to_owned());
                entry.tagged(&subject.names[0]).note("kind", kind)
            }
            _ => return self.name(self.images.len() - 1),
        };
        self.world.entries.push(entry);
        Ok(())
    }

    fn digest_tag(&mut self, repository: &'static str, of: usize) -> Result<Note> {
        let mut suffix = ".sig";
        let mut is_cut = false;
        if self.on.odd_referrers {
            is_cut = self.world.node(of).algorithm == "sha512" && self.chance(80)?;
            let suffixes = [
                (40, ".sig"),
                (30, ""),
                (10, ".att"),
                (10, ".sbom"),
                (10, ".c0ffee1234567890.meta"),
            ];
            suffix = weighted(self.u, &suffixes)?;
        }
        Ok(Note::DigestTag {
            repository,
            of,
            is_cut,
            suffix,
        })
    }

    /// Draws docker's `manifest.json` and `repositories`.
    fn saved(&mut self) -> Result<()> {
        if !self.on.docker_save || !self.chance(18)? {
            return Ok(());
        }
        for image in self.images.clone() {
            let Some((config, layers)) = image.parts else {
                continue;
            };
            let is_here = self.world.node(image.node).state == State::Whole;
            let mut tags = image.names.clone();
            if self.on.lists && self.chance(30)? {
                tags.push(format!("ex.com/saved:{}", image.node));
            }
            let has_tags = self.on.lists || !tags.is_empty();
            if is_here && has_tags && !self.chance(25)? {
                self.world.elements.push(Element {
                    config,
                    layers,
                    tags,
                });
            }
        }
        if self.on.lists && self.chance(25)? {
            let image = self.manifest("linux/amd64")?;
            let (config, layers) = image.parts.expect("a manifest has parts");
            let count = if self.chance(40)? { 2 } else { 1 };
            let tags = (0..count).map(|tag| format!("ex.com/gone:{}.{tag}", image.node));
            self.world.elements.push(Element {
                config,
                layers,
                tags: tags.collect(),
            });
        }
        self.world.repositories = self.on.lists && self.chance(60)?;
        Ok(())
    }

    /// Draws another JSON file in the root directory that lists descriptors.
    fn second_index(&mut self) -> Result<()> {
        if !self.on.lists || !self.chance(16)? {
            return Ok(());
        }
        let mut refs: Vec<Ref> = Vec::new();
        // In such a file, only an object with digest, size and media type counts as a descriptor.
        let entries: Vec<Ref> = self
            .world
            .entries
            .iter()
            .filter(|entry| entry.is_plain())
            .cloned()
            .collect();
        if !entries.is_empty() && self.chance(70)? {
            for _ in 0..self.u.int_in_range(1..=2)? {
                refs.push(self.u.choose(&entries)?.clone());
            }
        }
        if refs.is_empty() || self.chance(60)? {
            let chart = self.manifest("linux/amd64")?.node;
            refs.push(self.listed(chart).tagged("hauler/chart:1"));
        }
        let forms = [
            SecondForm::Hauler,
            SecondForm::Values,
            SecondForm::Array,
            SecondForm::Kitops,
        ];
        let second = SecondIndex {
            form: *self.u.choose(&forms)?,
            refs,
            is_ignored: self.on.ignored_indexes && self.chance(10)?,
        };
        self.world.second.push(second);
        Ok(())
    }

    fn garbage(&mut self) -> Result<()> {
        for _ in 0..weighted(self.u, &[(50, 0), (25, 1), (15, 2), (10, 3)])? {
            if self.on.orphans && self.chance(50)? {
                self.manifest("linux/amd64")?;
            } else {
                self.add("sha256", Content::Binary(41));
            }
        }
        if self.on.writers && self.chance(10)? {
            let fresh = self.add("sha256", Content::Binary(10));
            self.world.nodes[fresh].hours = Some(0);
        }
        Ok(())
    }

    /// Sets the times of documents: on different days, or on the same one, as if unpacked from an archive.
    fn times(&mut self) -> Result<()> {
        let undated = if self.on.undated { 8 } else { 0 };
        let one = maybe(self.u, 22, |u| {
            let is_undated = chance(u, undated * 2)?;
            let hours = u.int_in_range(1..=40_u64)? * 17;
            Ok((!is_undated).then_some(hours))
        })?;
        for image in self.images.clone() {
            // So few times that several images share a day.
            let hours = match one {
                Some(hours) => hours,
                None if self.chance(undated)? => None,
                None => Some(self.u.int_in_range(1..=40)? * 17),
            };
            self.world.nodes[image.node].hours = hours;
        }
        Ok(())
    }

    /// Draws everything around the blobs: holds, links, foreign files, a missing `oci-layout`.
    fn around(&mut self) -> Result<()> {
        let is_wild = self.on.wild.is_some();
        if self.on.holds && self.chance(20)? {
            // The possible targets of holds: images, and in wild layouts everything whose digest a hold can contain.
            let can_be_held = |position: &usize| {
                let is_entry = self
                    .world
                    .entries
                    .iter()
                    .any(|entry| entry.target == *position);
                is_wild && self.world.node(*position).algorithm != "sha384" || is_entry
            };
            let known: Vec<usize> = (0..self.world.nodes.len())
                .rev()
                .filter(can_be_held)
                .collect();
            for _ in 0..self.u.int_in_range(1..=2)? {
                if !known.is_empty() {
                    let held = *self.u.choose(&known)?;
                    if !self.world.holds.contains(&held) {
                        self.world.holds.push(held);
                    }
                }
            }
        }
        if self.on.links && self.chance(15)? {
            for _ in 0..self.u.int_in_range(1..=3)? {
                if !self.world.nodes.is_empty() {
                    let linked = self.u.choose_index(self.world.nodes.len())?;
                    self.world.nodes[linked].is_linked = true;
                }
            }
        }
        if !self.on.foreign.is_empty() && self.chance(if is_wild { 40 } else { 15 })? {
            for _ in 0..self.u.int_in_range(1..=4)? {
                let foreign = *self.u.choose(self.on.foreign)?;
                if !self.world.foreign.contains(&foreign) {
                    self.world.foreign.push(foreign);
                }
            }
        }
        for temporary in FRESH_TEMPORARY.into_iter().chain([OLD_TEMPORARY]) {
            if self.on.writers && self.chance(5)? {
                self.world.foreign.push(temporary);
            }
        }
        self.world.marker = !self.chance(10)?;
        Ok(())
    }
}
