//! The features of a random layout: a change of the generator could silently omit some.

use std::collections::BTreeSet;

use crate::world::layout::{Content, Document, Place, Ref, Shape, State, World};

/// Everything that the generator draws, as named by [`kinds`].
pub(crate) const KINDS: &str = "
sha256, sha384, sha512, state Whole, state Absent, state Forged, state Cut, state Hollow, linked, written in 1970, fresh,
content Binary, content Plain, content Config, content Pretence, content Statement, content List, content Document, built,
never built, label prod, label dev, shape Manifest, shape Index, shape DockerManifest, shape DockerList, shape Artifact,
shape Schema1, shape Strange, flaw, mention, odd document, split, nulls, indented, no own type, attestation,
place Manifests, place Config, place Layers, place Blobs, place Subject, place FsLayers, place Unknown, place Deep,
size Right, size Wrong, size Absent, data None, data Embedded, data Rubbish, twin, two types, no type, odd keys,
platform linux/arm/v7, platform windows/amd64, platform unknown/unknown, os.version, os.features,
Text in org.opencontainers.image.ref.name, Text in io.containerd.image.name, Text in org.opencontainers.image.base.name,
Pinned in org.opencontainers.image.ref.name, Pinned in io.containerd.image.name,
Pinned in org.opencontainers.image.base.name, DigestTag in org.opencontainers.image.ref.name, cut digest tag,
digest tag of a repository, digest tag without a suffix, Text in kind, Digest in vnd.docker.reference.digest,
Digest in containerd.io/snapshot/nydus-ref, Digest in io.containerd.manifest.subject,
Digest in org.olareg.referrer.subject, Digest in org.opencontainers.image.referrer.subject,
name without a repository, companion, names of an image that disagree, index Plain, index Bare, index OddCase, index Twice,
index Null, index InvalidDigest, element, repositories, element of an image that is not listed, hold, no oci-layout,
second Hauler, second Kitops, second Values, second Array, ignored second index, second index of the same images,
foreign README, foreign umoci.json, foreign ingest, foreign package.json, foreign oci-put-blob31415,
foreign oci-put-blob2718, foreign 0123456789.tmp-123, no entries, no names, some entries without a name,
several names of an image, one name of two images, shared layer, documents of one time, missing child, listed child,
index of images, two of a platform, index with a subject, listed referrer, unlisted referrer, referrer of a referrer";

/// Returns the features of a world.
pub(crate) fn kinds(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // The name of a variant, without its fields.
    let name = |value: &dyn std::fmt::Debug| {
        let text = format!("{value:?}");
        let end = text.find(|c: char| !c.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    };
    for node in &world.nodes {
        found.insert(node.algorithm.to_owned());
        found.insert(format!("state {:?}", node.state));
        found.insert(format!("content {}", name(&node.content)));
        found.extend(node.hours.is_none().then(|| "written in 1970".to_owned()));
        let mut add = |holds: bool, kind: &str| found.extend(holds.then(|| kind.to_owned()));
        add(node.is_linked, "linked");
        add(node.hours == Some(0), "fresh");
        if let Content::Config(config) = &node.content {
            add(config.created.is_some(), "built");
            add(config.created.is_none(), "never built");
            add(config.label == Some("prod"), "label prod");
            add(config.label == Some("dev"), "label dev");
        }
        if let Content::Document(document) = &node.content {
            add(document.flaw.is_some(), "flaw");
            add(!document.mentions.is_empty(), "mention");
            add(document.odd_keys, "odd document");
            add(document.split, "split");
            add(document.nulls, "nulls");
            add(document.indented, "indented");
            add(document.own_type.is_none(), "no own type");
            let attests = document
                .artifact_type
                .is_some_and(|it| it.contains("attestation"));
            add(attests, "attestation");
            found.insert(format!("shape {:?}", document.shape));
        }
    }
    for item in world.refs() {
        found.insert(format!("place {:?}", item.place));
        found.insert(format!("size {:?}", item.size));
        found.insert(format!("data {:?}", item.data));
        if let Some(platform) = item.platform {
            found.insert(format!("platform {}", platform.name));
            found.extend(platform.version.map(|_| "os.version".to_owned()));
            found.extend(platform.feature.map(|_| "os.features".to_owned()));
        }
        for (key, note) in &item.notes {
            found.insert(format!("{} in {key}", name(note)));
            let text = format!("{note:?}");
            let mut add = |part: &str, kind: &str| {
                found.extend(text.contains(part).then(|| kind.to_owned()));
            };
            add("is_cut: true", "cut digest tag");
            add("repository: \"ex", "digest tag of a repository");
            add("suffix: \"\"", "digest tag without a suffix");
            add("-esgztoc", "companion");
            add("Text(\"other", "names of an image that disagree");
        }
    }
    found.insert(format!("index {:?}", world.index));
    found.extend(
        world
            .second
            .iter()
            .map(|second| format!("second {:?}", second.form)),
    );
    for (path, ..) in &world.foreign {
        let file = path.rsplit('/').next().unwrap_or_default();
        found.insert(format!(
            "foreign {}",
            &file[file.len().saturating_sub(18)..]
        ));
    }
    let facts = shape_of_images(world);
    let holds = facts.into_iter().filter(|(_, holds)| *holds);
    found.extend(holds.map(|(kind, _)| kind.to_owned()));
    found
}

/// Returns the features that are visible only in several references together.
fn shape_of_images(world: &World) -> [(&'static str, bool); 27] {
    let nodes = || world.nodes.iter().enumerate();
    let documents: Vec<(usize, &Document)> = nodes()
        .filter_map(|(position, node)| match &node.content {
            Content::Document(document) => Some((position, document)),
            _ => None,
        })
        .collect();
    let indexes = documents.iter().filter(|(_, it)| it.shape == Shape::Index);
    let children = indexes.clone().flat_map(|(_, it)| &it.refs);
    let mut children = children.filter(|item| item.place == Place::Manifests);
    let is_listed = |node: usize| world.entries.iter().any(|entry| entry.target == node);
    let referrers: Vec<usize> = documents
        .iter()
        .filter(|(_, it)| it.has_subject())
        .map(|(node, _)| *node)
        .collect();
    let names = |entry: &Ref| entry.names().cloned().collect::<Vec<_>>();
    let is_named = |entry: &Ref| !names(entry).is_empty();
    let pairs = || {
        let named = world.entries.iter().filter(|entry| is_named(entry));
        named
            .clone()
            .flat_map(move |left| named.clone().map(move |right| (left, right)))
    };
    let is_double = |platforms: Vec<_>| {
        let distinct: BTreeSet<_> = platforms.iter().collect();
        distinct.len() < platforms.len()
    };
    let platforms = |document: &Document| {
        let platforms = document.refs.iter().filter_map(|item| item.platform);
        platforms
            .map(|it| (it.name, it.version, it.feature))
            .collect()
    };
    let layers = world.refs().filter(|item| item.place == Place::Layers);
    let layers: Vec<usize> = layers.map(|item| item.target).collect();
    let times: BTreeSet<_> = documents
        .iter()
        .map(|(node, _)| world.node(*node).hours)
        .collect();
    let second = || world.second.iter().flat_map(|second| &second.refs);
    [
        ("twin", world.refs().any(|item| item.twin.is_some())),
        ("two types", world.refs().any(|item| item.types.len() > 1)),
        ("no type", world.refs().any(|item| item.types.is_empty())),
        ("odd keys", world.refs().any(|item| item.odd_keys)),
        (
            "name without a repository",
            world.names().iter().any(|name| !name.contains(':')),
        ),
        ("element", !world.elements.is_empty()),
        (
            "repositories",
            world.repositories && !world.elements.is_empty(),
        ),
        (
            "element of an image that is not listed",
            world
                .elements
                .iter()
                .flat_map(|it| &it.tags)
                .any(|tag| tag.starts_with("ex.com/gone")),
        ),
        ("hold", !world.holds.is_empty()),
        ("no oci-layout", !world.marker),
        ("ignored second index", !world.ignored().is_empty()),
        (
            "second index of the same images",
            second().any(|item| is_listed(item.target)),
        ),
        ("no entries", world.entries.is_empty()),
        ("no names", !world.entries.iter().any(is_named)),
        (
            "some entries without a name",
            !world.entries.iter().all(is_named),
        ),
        (
            "several names of an image",
            pairs().any(|(left, right)| left.target == right.target && names(left) != names(right)),
        ),
        ("one name of two images", world.is_ambiguous()),
        (
            "shared layer",
            layers.iter().collect::<BTreeSet<_>>().len() < layers.len(),
        ),
        (
            "documents of one time",
            documents.len() > 2 && times.len() == 1,
        ),
        (
            "missing child",
            children
                .clone()
                .any(|child| world.node(child.target).state == State::Absent),
        ),
        (
            "listed child",
            children.clone().any(|child| is_listed(child.target)),
        ),
        (
            "index of images",
            children.any(|child| child.platform.is_none()),
        ),
        (
            "two of a platform",
            documents.iter().any(|(_, it)| is_double(platforms(it))),
        ),
        (
            "index with a subject",
            indexes.clone().any(|(_, it)| it.has_subject()),
        ),
        (
            "listed referrer",
            referrers.iter().any(|node| is_listed(*node)),
        ),
        (
            "unlisted referrer",
            referrers.iter().any(|node| !is_listed(*node)),
        ),
        (
            "referrer of a referrer",
            referrers.iter().any(|node| {
                let mut subjects = world.node(*node).content.at(Place::Subject);
                subjects.any(|subject| referrers.contains(&subject))
            }),
        ),
    ]
}
