//! JSON as text, for documents that no serializer would write.
//!
//! `serde_json::Value` cannot hold a key twice. Here an object is a list of keys and texts, so that duplicated keys, keys in
//! odd case and values of the wrong type can be written on purpose.

use super::{digest_of, sha256};

/// The media types that the tests use by name.
pub(crate) mod media {
    /// OCI image index.
    pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI artifact manifest, withdrawn from the specification and still written.
    pub(crate) const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
    /// OCI image configuration.
    pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// The empty JSON object, which means "no config".
    pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// OCI layer, uncompressed.
    pub(crate) const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub(crate) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub(crate) const DOCKER_LIST: &str =
        "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image manifest, schema 2.
    pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker image configuration.
    pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker image manifest, schema 1, unsigned.
    pub(crate) const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker image manifest, schema 1, signed.
    pub(crate) const SCHEMA1_SIGNED: &str =
        "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// The config of a BuildKit cache.
    pub(crate) const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
    /// An in-toto statement.
    pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
    /// Artifact type of the attestations that BuildKit lists in the index of the image.
    pub(crate) const ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";
    /// No known type at all.
    pub(crate) const STRANGE: &str = "application/vnd.example.thing.v1+json";
}

/// The annotation that holds a tag.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that holds a full name.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// JSON text that is written as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Json(String);

impl Json {
    /// Wraps `text` without parsing it.
    pub(crate) fn raw(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Makes an array.
    pub(crate) fn array<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<String> = items.into_iter().map(|item| item.into().0).collect();
        Self(format!("[{}]", items.join(",")))
    }

    /// Returns JSON's `null`.
    pub(crate) fn null() -> Self {
        Self("null".to_owned())
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self(value.to_string())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self(value.to_string())
    }
}

impl From<&Desc> for Json {
    fn from(desc: &Desc) -> Self {
        desc.json()
    }
}

impl From<Desc> for Json {
    fn from(desc: Desc) -> Self {
        desc.json()
    }
}

impl From<Obj> for Json {
    fn from(object: Obj) -> Self {
        object.json()
    }
}

impl From<&Self> for Json {
    fn from(json: &Self) -> Self {
        json.clone()
    }
}

/// A JSON object whose keys keep their order and may repeat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obj(Vec<(String, Json)>);

impl Obj {
    /// Makes an empty object.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a key at the end, even if it is already present.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    /// Sets the only value of a key, at its first position.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Json>) -> Self {
        let place = self.0.iter().position(|(name, _)| name == key);
        let place = place.unwrap_or(self.0.len());
        self.0.retain(|(name, _)| name != key);
        self.0
            .insert(place.min(self.0.len()), (key.to_owned(), value.into()));
        self
    }

    /// Removes a key.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.0.retain(|(name, _)| name != key);
        self
    }

    /// Changes the spelling of a key, for instance `layers` as `Layers`.
    pub(crate) fn rename(mut self, key: &str, spelling: &str) -> Self {
        for (name, _) in &mut self.0 {
            if name == key {
                spelling.clone_into(name);
            }
        }
        self
    }

    /// Returns `true` if the object has no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the object as JSON.
    pub(crate) fn json(&self) -> Json {
        let fields: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{}:{}", Json::from(key.as_str()).0, value.0))
            .collect();
        Json(format!("{{{}}}", fields.join(",")))
    }
}

/// A descriptor, as documents and `index.json` contain it.
#[derive(Clone, Debug)]
pub(crate) struct Desc {
    /// The digest, in the form `algorithm:hex`.
    pub(crate) digest: String,
    /// The length of the blob in bytes.
    pub(crate) size: u64,
    /// The media type.
    pub(crate) media_type: String,
    fields: Obj,
    annotations: Obj,
}

impl Desc {
    /// Describes a blob that need not exist.
    pub(crate) fn new(media_type: &str, digest: &str, size: u64) -> Self {
        Self {
            digest: digest.to_owned(),
            size,
            media_type: media_type.to_owned(),
            fields: Obj::new()
                .with("mediaType", media_type)
                .with("digest", digest)
                .with("size", size),
            annotations: Obj::new(),
        }
    }

    /// Describes `bytes` without storing them anywhere.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        let size = u64::try_from(bytes.len()).expect("a length fits into 64 bits");
        Self::new(media_type, &sha256(bytes), size)
    }

    /// Describes a blob that no layout contains: its digest is that of the word `seed`.
    pub(crate) fn missing(media_type: &str, seed: &str) -> Self {
        Self::new(media_type, &digest_of("sha256", seed.as_bytes()), 7)
    }

    /// Adds an annotation, even if it is already present.
    pub(crate) fn annotate(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.annotations = self.annotations.with(key, value);
        self
    }

    /// Sets its tag, by `org.opencontainers.image.ref.name`.
    pub(crate) fn tagged(self, tag: &str) -> Self {
        self.annotate(REF_NAME, tag)
    }

    /// Sets its full name, by `io.containerd.image.name`.
    pub(crate) fn named(self, name: &str) -> Self {
        self.annotate(IMAGE_NAME, name)
    }

    /// Sets its full name and its tag, as docker and BuildKit write them.
    pub(crate) fn dockered(&self, name: &str) -> Self {
        let (_, tag) = name.rsplit_once(':').expect("a name with a tag");
        self.clone().named(name).tagged(tag)
    }

    /// Sets its platform, written as `os/architecture` or `os/architecture/variant`.
    pub(crate) fn platform(self, platform: &str) -> Self {
        let mut parts = platform.split('/');
        let os = parts.next().unwrap_or_default();
        let mut object = Obj::new()
            .with("architecture", parts.next().unwrap_or_default())
            .with("os", os);
        if let Some(variant) = parts.next() {
            object = object.with("variant", variant);
        }
        self.set("platform", object)
    }

    /// Marks it as the attestation of another child, as BuildKit does.
    pub(crate) fn attests(self, child: &Self) -> Self {
        self.platform("unknown/unknown")
            .annotate("vnd.docker.reference.type", "attestation-manifest")
            .annotate("vnd.docker.reference.digest", child.digest.as_str())
    }

    /// Sets its artifact type.
    pub(crate) fn artifact_type(self, artifact_type: &str) -> Self {
        self.set("artifactType", artifact_type)
    }

    /// Embeds `bytes` in `data`.
    pub(crate) fn data(self, bytes: &[u8]) -> Self {
        self.set("data", base64(bytes))
    }

    /// Sets another media type than that of the blob.
    pub(crate) fn typed(mut self, media_type: &str) -> Self {
        media_type.clone_into(&mut self.media_type);
        self.set("mediaType", media_type)
    }

    /// Adds a key at the end, even if it is already present.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.fields = self.fields.with(key, value);
        self
    }

    /// Sets the only value of a key.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.fields = self.fields.set(key, value);
        self
    }

    /// Removes a key.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.fields = self.fields.without(key);
        self
    }

    /// Changes the spelling of a key.
    pub(crate) fn rename(mut self, key: &str, spelling: &str) -> Self {
        self.fields = self.fields.rename(key, spelling);
        self
    }

    /// Returns the part of the digest after the colon.
    pub(crate) fn hex(&self) -> &str {
        self.digest.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// Returns the first 12 hexadecimal digits of the digest.
    pub(crate) fn short(&self) -> &str {
        self.hex().get(..12).expect("a digest has more digits")
    }

    /// Returns the path of the blob inside a layout.
    pub(crate) fn blob_path(&self) -> String {
        format!("blobs/{}", self.digest.replacen(':', "/", 1))
    }

    /// Returns the descriptor as JSON.
    pub(crate) fn json(&self) -> Json {
        if self.annotations.is_empty() {
            self.fields.json()
        } else {
            self.fields
                .clone()
                .with("annotations", self.annotations.json())
                .json()
        }
    }
}

/// A document that refers to blobs: index, manifest or anything else in JSON.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    /// The media type in descriptors of the document.
    pub(crate) media_type: String,
    fields: Obj,
    annotations: Obj,
}

impl Doc {
    /// Makes a document of any type from any fields.
    pub(crate) fn custom(media_type: &str, fields: Obj) -> Self {
        Self {
            media_type: media_type.to_owned(),
            fields,
            annotations: Obj::new(),
        }
    }

    /// Makes a manifest of the given media type, which is also its `mediaType`.
    pub(crate) fn manifest_of(media_type: &str, config: &Desc, layers: &[Desc]) -> Self {
        let fields = Obj::new()
            .with("schemaVersion", 2)
            .with("mediaType", media_type)
            .with("config", config)
            .with("layers", Json::array(layers));
        Self::custom(media_type, fields)
    }

    /// Makes an OCI image manifest.
    pub(crate) fn manifest(config: &Desc, layers: &[Desc]) -> Self {
        Self::manifest_of(media::MANIFEST, config, layers)
    }

    /// Makes a Docker schema 2 manifest.
    pub(crate) fn docker_manifest(config: &Desc, layers: &[Desc]) -> Self {
        Self::manifest_of(media::DOCKER_MANIFEST, config, layers)
    }

    /// Makes an index of the given media type, which is also its `mediaType`.
    pub(crate) fn index_of(media_type: &str, children: &[Desc]) -> Self {
        let fields = Obj::new()
            .with("schemaVersion", 2)
            .with("mediaType", media_type)
            .with("manifests", Json::array(children));
        Self::custom(media_type, fields)
    }

    /// Makes an OCI image index.
    pub(crate) fn index(children: &[Desc]) -> Self {
        Self::index_of(media::INDEX, children)
    }

    /// Makes a Docker manifest list.
    pub(crate) fn docker_list(children: &[Desc]) -> Self {
        Self::index_of(media::DOCKER_LIST, children)
    }

    /// Makes an OCI artifact manifest, which lists `blobs`.
    pub(crate) fn artifact(artifact_type: &str, blobs: &[Desc]) -> Self {
        let fields = Obj::new()
            .with("mediaType", media::ARTIFACT)
            .with("artifactType", artifact_type)
            .with("blobs", Json::array(blobs));
        Self::custom(media::ARTIFACT, fields)
    }

    /// Makes a Docker schema 1 manifest, which lists `fsLayers`.
    pub(crate) fn schema1(name: &str, layers: &[Desc]) -> Self {
        let sums = layers
            .iter()
            .map(|layer| Obj::new().with("blobSum", layer.digest.as_str()));
        let history = layers.iter().map(|layer| {
            Obj::new().with("v1Compatibility", format!("{{\"id\":\"{}\"}}", layer.hex()))
        });
        let fields = Obj::new()
            .with("schemaVersion", 1)
            .with("name", name)
            .with("tag", "latest")
            .with("architecture", "amd64")
            .with("fsLayers", Json::array(sums))
            .with("history", Json::array(history));
        Self::custom(media::SCHEMA1, fields)
    }

    /// Sets its subject.
    pub(crate) fn subject(self, subject: &Desc) -> Self {
        self.set("subject", subject)
    }

    /// Sets its artifact type.
    pub(crate) fn artifact_type(self, artifact_type: &str) -> Self {
        self.set("artifactType", artifact_type)
    }

    /// Adds an annotation, even if it is already present.
    pub(crate) fn annotate(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.annotations = self.annotations.with(key, value);
        self
    }

    /// Adds a key at the end, even if it is already present.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.fields = self.fields.with(key, value);
        self
    }

    /// Sets the only value of a key.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.fields = self.fields.set(key, value);
        self
    }

    /// Removes a key.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.fields = self.fields.without(key);
        self
    }

    /// Changes the spelling of a key.
    pub(crate) fn rename(mut self, key: &str, spelling: &str) -> Self {
        self.fields = self.fields.rename(key, spelling);
        self
    }

    /// Returns the text of the document.
    pub(crate) fn text(&self) -> String {
        let fields = self.fields.clone();
        let fields = if self.annotations.is_empty() {
            fields
        } else {
            fields.with("annotations", self.annotations.json())
        };
        fields.json().text().to_owned()
    }
}

/// Returns `bytes` in the standard base64 alphabet, padded, as descriptors carry them in `data`.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = 0_u32;
        for place in 0..3 {
            group = (group << 8) | u32::from(chunk.get(place).copied().unwrap_or(0));
        }
        for place in 0..4_usize {
            let shift = 18_usize.saturating_sub(place.saturating_mul(6));
            let digit = usize::try_from((group >> shift) & 63).expect("six bits fit");
            let letter = ALPHABET
                .get(digit)
                .copied()
                .expect("six bits are the index of a letter");
            text.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}
