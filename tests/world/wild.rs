//! Content that no tool writes: damaged and forged blobs, keys in odd case or repeated, wrong types, unknown places, lists
//! of anything.

use arbtest::arbitrary::{Result, Unstructured};

use crate::support::media;
use crate::world::draw::{Hand, chance, weighted};
use crate::world::features::Mood;
use crate::world::layout::{
    Config, Content, Data, Document, Element, IndexStyle, Node, Place, Ref, Shape, Size, State,
    World,
};
use crate::world::oracle::judge;

/// Strings that are not digests, each for a different reason.
const INVALID_DIGESTS: [&str; 7] = [
    "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
    "../../../../etc/passwd",
    "sha256:../../index.json",
    "sha256:",
    "",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

#[derive(Clone, Copy)]
enum Kind {
    Binary,
    Plain,
    Pretence,
    Statement,
    List,
    Document,
}

impl Hand<'_, '_> {
    /// Draws blobs of any kind after the images, and lists of them.
    pub(super) fn wild(&mut self) -> Result<()> {
        let (u, world) = (&mut *self.u, &mut self.world);
        let mood = self.on.wild.unwrap_or(Mood::Calm);
        let first = world.nodes.len();
        for position in 0..first {
            if chance(u, 4)? {
                let states = [State::Absent, State::Forged, State::Cut, State::Hollow];
                let was = std::mem::replace(&mut world.nodes[position].state, *u.choose(&states)?);
                if mood == Mood::Calm && !judge(world).must_refuse.is_empty() {
                    world.nodes[position].state = was;
                }
            }
        }
        let count: usize = u.int_in_range(1..=20)?;
        world.allow_missing = chance(u, 12)?;
        world.allow_empty = chance(u, 8)?;
        for position in 0..count {
            let node = bare_node(u, position, count)?;
            world.nodes.push(node);
        }
        for position in 0..count {
            // Late documents are rarely listed; half of them become signatures and the like.
            let subject = if position * 2 > count { 50 } else { 15 };
            let content = filled(u, world, first + position, subject)?;
            world.nodes[first + position].content = content;
        }
        entries(u, world, mood)?;
        if !world.entries.is_empty() && chance(u, 12)? {
            elements(u, world)?;
        }
        Ok(())
    }
}

/// Draws the type of a node; references are drawn later, when the possible targets are known.
fn bare_node(u: &mut Unstructured<'_>, position: usize, count: usize) -> Result<Node> {
    let low = [
        (60, Kind::Binary),
        (20, Kind::Plain),
        (3, Kind::Pretence),
        (17, Kind::Document),
    ];
    let high = [
        (72, Kind::Document),
        (12, Kind::Binary),
        (4, Kind::Plain),
        (2, Kind::Pretence),
        (4, Kind::Statement),
        (6, Kind::List),
    ];
    let leaves = position.saturating_mul(3) < count;
    let kind = if leaves {
        weighted(u, &low)?
    } else {
        weighted(u, &high)?
    };
    let content = match kind {
        Kind::Binary => Content::Binary(0),
        Kind::Plain => Content::Config(Config {
            platform: "linux/amd64",
            created: None,
            label: None,
        }),
        Kind::Pretence => Content::Pretence,
        Kind::Statement => Content::Statement { about: 0 },
        Kind::List => Content::List(Vec::new()),
        Kind::Document => Content::Document(Document {
            shape: weighted(
                u,
                &[
                    (40, Shape::Manifest),
                    (22, Shape::Index),
                    (8, Shape::DockerManifest),
                    (6, Shape::DockerList),
                    (7, Shape::Artifact),
                    (4, Shape::Schema1),
                    (13, Shape::Strange),
                ],
            )?,
            ..Document::default()
        }),
    };
    let algorithm = weighted(u, &[(80, "sha256"), (15, "sha512"), (5, "sha384")])?;
    let state = weighted(
        u,
        &[
            (76, State::Whole),
            (10, State::Absent),
            (9, State::Forged),
            (4, State::Cut),
            (1, State::Hollow),
        ],
    )?;
    Ok(Node {
        algorithm,
        content,
        state,
        hours: Some(3),
        is_linked: false,
    })
}

/// Draws the references of a node.
///
/// A digest must be known before it can be referenced, so a node references earlier nodes, or forged ones anywhere.
fn filled(
    u: &mut Unstructured<'_>,
    world: &World,
    position: usize,
    subject: u8,
) -> Result<Content> {
    let pool: Vec<usize> = (0..world.nodes.len())
        .rev()
        .filter(|other| *other < position || world.node(*other).state == State::Forged)
        .collect();
    Ok(match &world.node(position).content {
        // The first node has no possible target.
        Content::Statement { .. } | Content::List(_) if pool.is_empty() => Content::Plain,
        Content::Statement { .. } => Content::Statement {
            about: *u.choose(&pool)?,
        },
        Content::List(_) => {
            let mut refs = Vec::new();
            for _ in 0..u.int_in_range(1..=3)? {
                refs.extend(reference(u, world, &pool, Place::Unknown, |_| true)?);
            }
            Content::List(refs)
        }
        Content::Document(document) => {
            Content::Document(document_refs(u, world, &pool, document.shape, subject)?)
        }
        leaf @ (Content::Binary(_) | Content::Plain | Content::Config(_) | Content::Pretence) => {
            leaf.clone()
        }
    })
}

fn document_refs(
    u: &mut Unstructured<'_>,
    world: &World,
    pool: &[usize],
    shape: Shape,
    subject: u8,
) -> Result<Document> {
    let mut document = Document {
        shape,
        own_type: Some(shape.media_type()),
        odd_keys: chance(u, 8)?,
        split: chance(u, 8)?,
        nulls: chance(u, 8)?,
        indented: chance(u, 6)?,
        ..Document::default()
    };
    if chance(u, 15)? {
        document.own_type = None;
    } else if chance(u, 4)? {
        document.own_type = Some(*u.choose(&[media::INDEX, media::MANIFEST, media::STRANGE])?);
    }
    let is_leaf = |content: &Content| !content.is_parent();
    let is_document = |content: &Content| matches!(content, Content::Document(_));
    let anything = |_: &Content| true;
    let (place, wanted): (Place, &dyn Fn(&Content) -> bool) = match shape {
        Shape::Manifest | Shape::DockerManifest => (Place::Layers, &is_leaf),
        Shape::Index | Shape::DockerList if chance(u, 12)? => (Place::Manifests, &is_leaf),
        Shape::Index | Shape::DockerList => (Place::Manifests, &is_document),
        Shape::Artifact => (Place::Blobs, &is_leaf),
        Shape::Schema1 => (Place::FsLayers, &|content| {
            matches!(content, Content::Binary(_))
        }),
        Shape::Strange => (Place::Unknown, &anything),
    };
    if matches!(shape, Shape::Manifest | Shape::DockerManifest) {
        let config = reference(u, world, pool, Place::Config, is_leaf)?;
        document.refs.extend(config);
    }
    for _ in 0..u.int_in_range(1..=4)? {
        let picked = if shape == Shape::Strange && chance(u, 50)? {
            reference(u, world, pool, Place::Deep, anything)?
        } else if shape != Shape::Schema1 && chance(u, 16)? {
            let places = [
                Place::Deep,
                Place::Deep,
                Place::Unknown,
                Place::Manifests,
                Place::Layers,
                Place::Blobs,
            ];
            let place = *u.choose(&places)?;
            reference(u, world, pool, place, anything)?
        } else {
            reference(u, world, pool, place, wanted)?
        };
        document.refs.extend(picked);
    }
    if shape != Shape::Schema1 && chance(u, subject)? {
        let subject = reference(u, world, pool, Place::Subject, is_document)?;
        document.refs.extend(subject);
        if chance(u, 5)? {
            document
                .refs
                .extend(reference(u, world, pool, Place::Subject, anything)?);
        }
        document.artifact_type = weighted(
            u,
            &[
                (50, Some("application/vnd.example.signature")),
                (30, None),
                (20, Some(media::ATTESTATION)),
            ],
        )?;
    } else if shape != Shape::Schema1 && shape != Shape::Strange && chance(u, 4)? {
        // A document with a flaw gets no subject: the status of a flawed orphan with a live subject is not documented.
        document.flaw = Some((
            *u.choose(&[place, Place::Subject])?,
            *u.choose(&INVALID_DIGESTS)?,
        ));
    }
    if !pool.is_empty() && chance(u, 12)? {
        document.mentions.push(*u.choose(pool)?);
    }
    Ok(document)
}

/// Draws a reference to one of `pool`, if possible to one whose content is `wanted`.
fn reference(
    u: &mut Unstructured<'_>,
    world: &World,
    pool: &[usize],
    place: Place,
    wanted: impl Fn(&Content) -> bool,
) -> Result<Option<Ref>> {
    let good: Vec<usize> = pool
        .iter()
        .copied()
        .filter(|position| wanted(&world.node(*position).content))
        .collect();
    let pool = if good.is_empty() && place != Place::FsLayers {
        pool
    } else {
        &good
    };
    if pool.is_empty() {
        return Ok(None);
    }
    let target = *u.choose(pool)?;
    let mut reference = Ref {
        target,
        types: types(u, world, target)?,
        size: weighted(
            u,
            &[(85, Size::Right), (10, Size::Wrong), (5, Size::Absent)],
        )?,
        odd_keys: chance(u, 6)?,
        ..Ref::plain(target, "", place)
    };
    let in_the_wild = matches!(place, Place::Unknown | Place::Deep);
    if in_the_wild
        && reference
            .types
            .iter()
            .all(|media_type| media_type.is_empty())
    {
        // Without media type and size it would not have the shape of a descriptor.
        reference.size = Size::Right;
    }
    let whole = matches!(world.node(target).state, State::Whole | State::Absent);
    let document = matches!(world.node(target).content, Content::Document(_));
    if whole && document && chance(u, 3)? {
        let layer = *u.choose(&[media::LAYER, media::CONFIG])?;
        let place = u.int_in_range(0..=reference.types.len())?;
        reference.types.insert(place, layer);
    } else if whole
        && chance(
            u,
            if world.node(target).state == State::Absent {
                35
            } else {
                5
            },
        )?
    {
        reference.data = weighted(u, &[(90, Data::Embedded), (10, Data::Rubbish)])?;
    } else if chance(u, 3)? && place != Place::FsLayers {
        // Two digests with one media type: only of two blobs that this type fits equally.
        let same = |other: &usize| {
            *other != target
                && std::mem::discriminant(&world.node(*other).content)
                    == std::mem::discriminant(&world.node(target).content)
        };
        let others: Vec<usize> = pool.iter().copied().filter(same).collect();
        if !others.is_empty() {
            reference.twin = Some(*u.choose(&others)?);
        }
    }
    Ok(Some(reference))
}

/// Draws the media type of a reference to a node: mostly its own, sometimes none, rarely a wrong one.
fn types(u: &mut Unstructured<'_>, world: &World, target: usize) -> Result<Vec<&'static str>> {
    let natural: &[(u16, &'static str)] = match &world.node(target).content {
        Content::Binary(_) => &[
            (50, media::LAYER),
            (8, media::LAYER_TAR),
            (8, media::LAYER_ZSTD),
            (10, media::DOCKER_LAYER),
            (6, media::STRANGE),
            (5, ""),
            (1, media::MANIFEST),
        ],
        Content::Plain | Content::Config(_) => &[
            (50, media::CONFIG),
            (12, media::DOCKER_CONFIG),
            (6, media::CACHE_CONFIG),
            (6, media::STRANGE),
            (5, ""),
        ],
        Content::Pretence => &[(90, media::LAYER), (10, media::STRANGE)],
        Content::Statement { .. } => &[(90, media::IN_TOTO), (10, "")],
        Content::List(_) => &[(60, media::STRANGE), (40, "")],
        Content::Document(document) => {
            let own = document.shape.media_type();
            let other = if own == media::MANIFEST {
                media::DOCKER_MANIFEST
            } else {
                media::MANIFEST
            };
            let picked = weighted(
                u,
                &[
                    (76, own),
                    (9, ""),
                    (5, media::STRANGE),
                    (6, other),
                    (4, media::LAYER),
                ],
            )?;
            return typed(u, picked);
        }
    };
    let picked = weighted(u, natural)?;
    typed(u, picked)
}

/// Writes a missing media type in one of two ways.
fn typed(u: &mut Unstructured<'_>, media_type: &'static str) -> Result<Vec<&'static str>> {
    if media_type.is_empty() && chance(u, 50)? {
        return Ok(Vec::new());
    }
    Ok(vec![media_type])
}

/// Draws the entries of `index.json`.
fn entries(u: &mut Unstructured<'_>, world: &mut World, mood: Mood) -> Result<()> {
    let pool: Vec<usize> = (0..world.nodes.len()).rev().collect();
    let wanted: usize = if chance(u, 4)? {
        0
    } else {
        u.int_in_range(1..=4)?
    };
    for _ in 0..wanted {
        let is_image = |content: &Content| match content {
            Content::Document(document) => !document.has_subject(),
            _ => false,
        };
        let is_document = |content: &Content| matches!(content, Content::Document(_));
        let entry = match u.int_in_range(0..=19)? {
            0..=12 => reference(u, world, &pool, Place::Manifests, is_image)?,
            13..=18 => reference(u, world, &pool, Place::Manifests, is_document)?,
            _ => reference(u, world, &pool, Place::Manifests, |_| true)?,
        };
        let Some(mut entry) = entry else { continue };
        // Two digests or two media types in index.json may be errors; in documents they must be followed.
        entry.twin = None;
        entry.types.truncate(1);
        let copies = if chance(u, 10)? { 2 } else { 1 };
        let harmless = mood == Mood::Wild || {
            let mut tried = world.clone();
            tried.entries.push(entry.clone());
            judge(&tried).must_refuse.is_empty()
        };
        if harmless || chance(u, 10)? {
            for _ in 0..copies {
                let number = world.entries.len();
                let entry = entry.clone();
                world.entries.push(match u.int_in_range(0..=2)? {
                    0 => entry,
                    1 => entry.tagged(&format!("tag{number}")),
                    _ => entry.tagged(&format!("app:{number}")),
                });
            }
        }
    }
    world.index = weighted(
        u,
        &[
            (78, IndexStyle::Plain),
            (8, IndexStyle::Bare),
            (6, IndexStyle::OddCase),
            (6, IndexStyle::Twice),
            (2, IndexStyle::InvalidDigest),
        ],
    )?;
    if world.entries.is_empty() && chance(u, 40)? {
        world.index = IndexStyle::Null;
    }
    Ok(())
}

/// Draws docker-save elements; their configs and layers are intact or absent, since nothing is promised for damaged ones.
fn elements(u: &mut Unstructured<'_>, world: &mut World) -> Result<()> {
    let usable: Vec<usize> = (0..world.nodes.len())
        .rev()
        .filter(|position| {
            let node = world.node(*position);
            matches!(node.state, State::Whole | State::Absent)
                && matches!(node.content, Content::Binary(_) | Content::Config(_))
        })
        .collect();
    if usable.is_empty() {
        return Ok(());
    }
    for _ in 0..u.int_in_range(1..=2)? {
        let config = *u.choose(&usable)?;
        let mut layers = Vec::new();
        for _ in 0..u.int_in_range(0..=3)? {
            layers.push(*u.choose(&usable)?);
        }
        let tags = vec!["example/app:1".to_owned()];
        world.elements.push(Element {
            config,
            layers,
            tags,
        });
    }
    Ok(())
}
