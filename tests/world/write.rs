//! Writes a world to disk, and describes it as text.

use std::fs;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

use crate::support::dated::NOW;
use crate::support::{Desc, Json, LayoutBuilder, Obj, base64, digest_of, media, sha256};
use crate::world::layout::{
    Config, Content, Data, Document, IndexStyle, Node, Note, Place, Ref, SecondForm, Shape, Size,
    State, World,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A world on disk.
#[derive(Debug)]
pub(crate) struct Written {
    /// The layout, which is deleted when this is dropped.
    pub(crate) layout: LayoutBuilder,
    /// The digest of each node.
    pub(crate) digests: Vec<String>,
}

struct Writer<'a> {
    world: &'a World,
    digests: Vec<String>,
    /// The content of each node if it were intact.
    contents: Vec<Vec<u8>>,
}

/// Returns the time this number of hours before [`NOW`].
pub(crate) fn hours_ago(hours: u64) -> Timestamp {
    let now: Timestamp = NOW.parse().expect("a time");
    now - SignedDuration::from_hours(i64::try_from(hours).expect("small"))
}

/// Writes a world into a new temporary directory.
pub(crate) fn write(world: &World) -> Written {
    write_to(world, LayoutBuilder::new(), SystemTime::now())
}

/// Writes a world into a layout, with the ages of files relative to `now`.
pub(crate) fn write_to(world: &World, mut layout: LayoutBuilder, now: SystemTime) -> Written {
    let mut writer = Writer {
        world,
        digests: Vec::new(),
        contents: Vec::new(),
    };
    // The digests of forged nodes are fixed first, so that any node may reference them; the others follow in order.
    for (position, node) in world.nodes.iter().enumerate() {
        let promise = format!("forged {position}");
        writer.digests.push(if node.state == State::Forged {
            digest_of(node.algorithm, promise.as_bytes())
        } else {
            String::new()
        });
    }
    for (position, node) in world.nodes.iter().enumerate() {
        let content = writer.content(position, node);
        if node.state != State::Forged
            && let Some(digest) = writer.digests.get_mut(position)
        {
            *digest = digest_of(node.algorithm, &content);
        }
        let digest = writer.digest(position);
        let on_disk = match node.state {
            State::Whole | State::Forged => Some(content.as_slice()),
            State::Cut => content.get(..content.len() / 2),
            State::Hollow => Some(&[][..]),
            State::Absent => None,
        };
        if let Some(bytes) = on_disk {
            let path = layout.forged(digest, media::STRANGE, bytes).blob_path();
            let hours = node.hours.map(|hours| u32::try_from(hours).expect("small"));
            let time = hours.map_or(SystemTime::UNIX_EPOCH, |hours| now - HOUR * hours);
            layout.modified(&path, time);
            if node.is_linked {
                let other = layout
                    .outside()
                    .join(format!("link-{}", path.replace('/', "-")));
                // Another layout next to this one may have linked it.
                if !other.exists() {
                    fs::hard_link(layout.join(&path), other).expect("a link can be made");
                }
            }
        }
        writer.contents.push(content);
    }
    for element in &world.elements {
        let blob = |position: &usize| Desc::new(media::LAYER, writer.digest(*position), 1);
        let layers: Vec<Desc> = element.layers.iter().map(blob).collect();
        let tags: Vec<&str> = element.tags.iter().map(String::as_str).collect();
        layout.save_element(&tags, &blob(&element.config), &layers);
    }
    if world.repositories {
        writer.repositories(&layout);
    }
    for second in &world.second {
        let items: Vec<Json> = second
            .refs
            .iter()
            .map(|item| writer.descriptor(item))
            .collect();
        let numbered = items.iter().enumerate();
        let list = Json::array(&items);
        let text = match second.form {
            SecondForm::Array => list,
            SecondForm::Values => numbered
                .fold(Obj::new(), |all, (at, item)| {
                    all.with(&format!("tag{at}"), item)
                })
                .json(),
            SecondForm::Hauler | SecondForm::Kitops => Obj::new()
                .with("schemaVersion", 2)
                .with("mediaType", media::INDEX)
                .with("manifests", list)
                .json(),
        };
        layout.file(second.form.file(), text.text().as_bytes());
    }
    writer.index(&mut layout);
    layout.write();
    layout.modified("index.json", now - 99 * 24 * HOUR);
    if !world.marker {
        layout.without_marker();
    }
    if !world.holds.is_empty() {
        let hold = |held: &usize| {
            let name = format!("hold-{held}");
            let hold = Obj::new().with("name", name);
            hold.with("digest", writer.digest(*held)).json()
        };
        let holds: Vec<Json> = world.holds.iter().map(hold).collect();
        let file = Obj::new()
            .with("schema_version", 1)
            .with("holds", Json::array(holds));
        layout.file(".ocisweep/holds.json", file.json().text().as_bytes());
    }
    for (path, text, hours) in &world.foreign {
        if text.is_empty() {
            layout.directory(path);
        } else {
            layout.file(path, text.as_bytes());
            layout.modified(path, now - HOUR * *hours);
        }
    }
    Written {
        layout,
        digests: writer.digests,
    }
}

impl Writer<'_> {
    fn digest(&self, position: usize) -> &str {
        let digest = self.digests.get(position);
        digest.expect("references are to nodes that exist")
    }

    /// Returns the content of a node; its number makes every content unique.
    fn content(&self, position: usize, node: &Node) -> Vec<u8> {
        let number = u64::try_from(position).expect("a position fits");
        let salt = position.to_string();
        match &node.content {
            Content::Binary(length) => {
                let mut bytes = b"\x1f\x8b\x08layer ".to_vec();
                bytes.extend(salt.as_bytes());
                let mut bytes = bytes.repeat(3);
                bytes.resize(bytes.len().max(*length), b'.');
                bytes
            }
            Content::Plain => Obj::new()
                .with("payload", salt)
                .json()
                .text()
                .as_bytes()
                .to_vec(),
            Content::Config(config) => self::config(*config, &salt),
            Content::Pretence => format!("{{{{ template {salt} }}}}").into_bytes(),
            Content::Statement { about } => {
                let digest = self.digest(*about);
                let (algorithm, hex) = digest.split_once(':').expect("a digest has a colon");
                let subject = Obj::new()
                    .with("name", "app")
                    .with("digest", Obj::new().with(algorithm, hex));
                let statement = Obj::new()
                    .with("_type", "https://in-toto.io/Statement/v0.1")
                    .with("subject", Json::array([subject]))
                    .with("predicate", Obj::new().with("number", number));
                statement.json().text().as_bytes().to_vec()
            }
            Content::List(refs) => {
                let mut items: Vec<Json> = refs.iter().map(|item| self.descriptor(item)).collect();
                items.push(Json::from(number));
                Json::array(items).text().as_bytes().to_vec()
            }
            Content::Document(document) => {
                let text = self.document(document, number);
                let lead = if document.indented { "\n \t" } else { "" };
                format!("{lead}{}", text.text()).into_bytes()
            }
        }
    }

    fn document(&self, document: &Document, number: u64) -> Json {
        let version = if document.shape == Shape::Schema1 {
            1
        } else {
            2
        };
        let mut object = Obj::new();
        if document.shape != Shape::Strange {
            object = object.with("schemaVersion", version);
        }
        if let Some(own_type) = document.own_type {
            let key = if document.odd_keys {
                "MediaType"
            } else {
                "mediaType"
            };
            object = object.with(key, own_type);
        }
        if let Some(artifact_type) = document.artifact_type {
            object = object.with("artifactType", artifact_type);
        }
        let flaw = |place: Place| {
            let digest = document.flaw.filter(|(where_, _)| *where_ == place);
            digest.map(|(_, digest)| Desc::new(media::LAYER, digest, 3).json())
        };
        let at = |place: Place| {
            let refs = document.refs.iter().filter(move |item| item.place == place);
            let mut items: Vec<Json> = refs.map(|item| self.descriptor(item)).collect();
            items.extend(flaw(place));
            items
        };
        let keys = |plain: &'static str, odd: &'static str| {
            // Split documents with odd keys have both spellings, others the same key twice.
            let first = if document.odd_keys { odd } else { plain };
            (first, plain)
        };
        for (place, plain, odd) in [
            (Place::Config, "config", "CONFIG"),
            (Place::Subject, "subject", "Subject"),
        ] {
            let (key, again) = keys(plain, odd);
            for (count, item) in at(place).into_iter().enumerate() {
                object = object.with(if count == 0 { key } else { again }, item);
            }
        }
        for (place, plain, odd) in [
            (Place::Manifests, "manifests", "Manifests"),
            (Place::Layers, "layers", "LAYERS"),
            (Place::Blobs, "blobs", "Blobs"),
            (Place::FsLayers, "fsLayers", "FSLayers"),
            (Place::Unknown, "things", "Things"),
        ] {
            let (key, again) = keys(plain, odd);
            let mut items = at(place);
            let natural = natural_places(document.shape).contains(&place);
            if items.is_empty() {
                if natural {
                    let none = Json::array(Vec::<Json>::new());
                    object = object.with(key, if document.nulls { Json::null() } else { none });
                }
            } else if document.split && items.len() > 1 {
                let rest = items.split_off(1);
                object = object
                    .with(key, Json::array(items))
                    .with(again, Json::array(rest));
            } else {
                object = object.with(key, Json::array(items));
            }
        }
        let has_subject = !at(Place::Subject).is_empty();
        if document.nulls && !has_subject && document.shape != Shape::Schema1 {
            object = object.with("subject", Json::null());
        }
        for (count, item) in at(Place::Deep).into_iter().enumerate() {
            let inner = Obj::new().with("items", Json::array([Obj::new().with("it", item)]));
            object = object.with(&format!("extra{count}"), Obj::new().with("level", inner));
        }
        for position in &document.mentions {
            let digest = self.digest(*position);
            object = object.with("see", Json::array([digest])).with(
                "note",
                Obj::new()
                    .with("digest", digest)
                    .with("text", "no size, no type"),
            );
        }
        object.with("number", number).json()
    }

    /// Writes docker's `repositories`: the tags of all elements.
    fn repositories(&self, layout: &LayoutBuilder) {
        let mut object: Vec<(String, Obj)> = Vec::new();
        for element in &self.world.elements {
            let id = self
                .digest(element.config)
                .split_once(':')
                .map_or("", |(_, hex)| hex);
            for (name, tag) in element.tags.iter().filter_map(|name| name.rsplit_once(':')) {
                match object.iter_mut().find(|(known, _)| known == name) {
                    Some((_, tags)) => *tags = std::mem::take(tags).set(tag, id),
                    None => object.push((name.to_owned(), Obj::new().with(tag, id))),
                }
            }
        }
        if !object.is_empty() {
            let object = object.into_iter();
            let text = object.fold(Obj::new(), |all, (name, tags)| all.with(&name, tags));
            layout.file("repositories", text.json().text().as_bytes());
        }
    }

    /// Returns the value of an annotation.
    fn note(&self, note: &Note) -> String {
        match note {
            Note::Text(text) => text.clone(),
            Note::Digest(of) => self.digest(*of).to_owned(),
            Note::Pinned(name, of) => format!("{name}@{}", self.digest(*of)),
            Note::DigestTag {
                repository,
                of,
                is_cut,
                suffix,
            } => {
                let digest = self.digest(*of);
                let (algorithm, hex) = digest.split_once(':').expect("a digest has a colon");
                let hex = if *is_cut { &hex[..64] } else { hex };
                format!("{repository}{algorithm}-{hex}{suffix}")
            }
        }
    }

    fn descriptor(&self, item: &Ref) -> Json {
        let digest = self.digest(item.target);
        if item.place == Place::FsLayers {
            let key = if item.odd_keys { "BlobSum" } else { "blobSum" };
            return Obj::new().with(key, digest).json();
        }
        let odd = item.odd_keys;
        let mut object = Obj::new();
        for media_type in &item.types {
            object = object.with(if odd { "MediaType" } else { "mediaType" }, *media_type);
        }
        object = object.with(if odd { "Digest" } else { "digest" }, digest);
        if let Some(twin) = item.twin {
            object = object.with("digest", self.digest(twin));
        }
        // The length of a forged or later node is not known yet; any number will do.
        let content = self.contents.get(item.target);
        let length = content.map_or(1, |content| u64::try_from(content.len()).unwrap_or(1));
        let size_key = if odd { "SIZE" } else { "size" };
        object = match item.size {
            Size::Right => object.with(size_key, length),
            Size::Wrong => object.with(size_key, length.saturating_add(3)),
            Size::Absent => object,
        };
        match item.data {
            Data::None => {}
            Data::Embedded => {
                let content = content.expect("only earlier nodes are embedded");
                object = object.with(if odd { "Data" } else { "data" }, base64(content));
            }
            Data::Rubbish => object = object.with("data", "!not base64!"),
        }
        if let Some(platform) = item.platform {
            let mut fields = self::platform(platform.name);
            if let Some(version) = platform.version {
                fields = fields.with("os.version", version);
            }
            if let Some(feature) = platform.feature {
                fields = fields.with("os.features", Json::array([feature]));
            }
            object = object.with("platform", fields);
        }
        if !item.notes.is_empty() {
            let notes = item.notes.iter();
            let notes = notes.fold(Obj::new(), |all, (key, note)| {
                all.with(key, self.note(note))
            });
            object = object.with("annotations", notes);
        }
        object.json()
    }

    fn index(&self, layout: &mut LayoutBuilder) {
        let style = self.world.index;
        let items: Vec<Json> = self
            .world
            .entries
            .iter()
            .map(|item| self.descriptor(item))
            .collect();
        let (fields, manifests) = match style {
            IndexStyle::Bare => (Obj::new(), "manifests"),
            IndexStyle::OddCase => (Obj::new().with("schemaVersion", 2), "Manifests"),
            IndexStyle::Plain
            | IndexStyle::Twice
            | IndexStyle::Null
            | IndexStyle::InvalidDigest => (
                Obj::new()
                    .with("schemaVersion", 2)
                    .with("mediaType", media::INDEX),
                "manifests",
            ),
        };
        let object = match style {
            IndexStyle::Null => fields.with(manifests, Json::null()),
            IndexStyle::Twice => {
                let (left, right) = items.split_at(items.len() / 2);
                fields
                    .with(manifests, Json::array(left))
                    .with(manifests, Json::array(right))
            }
            IndexStyle::InvalidDigest => {
                let bad = Desc::new(media::MANIFEST, "sha256:../../outside", 5);
                fields.with(
                    manifests,
                    Json::array(items.into_iter().chain([bad.json()])),
                )
            }
            IndexStyle::Plain | IndexStyle::Bare | IndexStyle::OddCase => {
                fields.with(manifests, Json::array(items))
            }
        };
        layout.raw_index(object.json().text().as_bytes());
    }
}

fn platform(name: &str) -> Obj {
    let mut parts = name.split('/');
    let os = parts.next().unwrap_or_default();
    let architecture = parts.next().unwrap_or_default();
    let fields = Obj::new().with("architecture", architecture).with("os", os);
    match parts.next() {
        Some(variant) => fields.with("variant", variant),
        None => fields,
    }
}

fn config(config: Config, salt: &str) -> Vec<u8> {
    let mut object = platform(config.platform).with("author", format!("author {salt}"));
    if let Some(hours) = config.created {
        object = object.with("created", hours_ago(hours).to_string());
    }
    if let Some(label) = config.label {
        let labels = Obj::new().with("Labels", Obj::new().with("env", label));
        object = object.with("config", labels);
    }
    let diff_id = sha256(format!("diff {salt}").as_bytes());
    let root = Obj::new()
        .with("type", "layers")
        .with("diff_ids", Json::array([diff_id]));
    object
        .with("rootfs", root)
        .json()
        .text()
        .as_bytes()
        .to_vec()
}

fn natural_places(shape: Shape) -> &'static [Place] {
    match shape {
        Shape::Manifest | Shape::DockerManifest => &[Place::Layers],
        Shape::Index | Shape::DockerList => &[Place::Manifests],
        Shape::Artifact => &[Place::Blobs],
        Shape::Schema1 => &[Place::FsLayers],
        Shape::Strange => &[],
    }
}

/// Describes a world for investigating a failure.
pub(crate) fn describe(world: &World, digests: &[String]) -> String {
    let mut lines = Vec::new();
    for (position, (node, digest)) in world.nodes.iter().zip(digests).enumerate() {
        let mut bare = node.clone();
        if let Content::Document(document) = &mut bare.content {
            document.refs.clear();
        }
        lines.push(format!("#{position} {digest:.15} {bare:?}"));
        let refs = node.content.refs().iter();
        lines.extend(refs.map(|item| format!("    {item:?}")));
    }
    lines.extend(world.entries.iter().map(|entry| format!("entry {entry:?}")));
    let rest = World {
        nodes: Vec::new(),
        entries: Vec::new(),
        ..world.clone()
    };
    lines.push(format!("{rest:?}\n"));
    lines.join("\n")
}
