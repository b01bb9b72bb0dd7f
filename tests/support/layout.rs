//! [`LayoutBuilder`]: layouts written blob by blob, as valid or as broken as a test needs them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::environment::{disk_dir, memory_dir};
use super::json::{Desc, Doc, Json, Obj, media};
use super::{Run, digest_of, sha256};

/// The result of [`LayoutBuilder::image`].
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The descriptor of the manifest, as `index.json` or an index would list it.
    pub(crate) manifest: Desc,
    /// The descriptor of the config.
    pub(crate) config: Desc,
    /// The descriptors of the layers, from the bottom up.
    pub(crate) layers: Vec<Desc>,
}

impl Image {
    /// Returns the digests of manifest, config and layers.
    pub(crate) fn digests(&self) -> Vec<String> {
        [&self.manifest, &self.config]
            .into_iter()
            .chain(&self.layers)
            .map(|desc| desc.digest.clone())
            .collect()
    }
}

impl Image {
    /// Returns manifest, config and layers from the top down: the order in which `rm` deletes them.
    pub(crate) fn parts(&self) -> Vec<&Desc> {
        let mut parts = vec![&self.manifest, &self.config];
        parts.extend(self.layers.iter().rev());
        parts
    }

    /// Returns the top layer.
    pub(crate) fn top(&self) -> &Desc {
        self.layers.last().expect("an image has layers")
    }
}

/// The age of the blobs of a layout, unless a test sets another one.
const WRITTEN: Duration = Duration::from_secs(3 * 3600);

/// Writes a layout into a directory of its own, which is deleted when the builder is dropped.
///
/// Blobs are written immediately; `index.json` and docker's `manifest.json` are written by [`write`](Self::write), which can
/// be called repeatedly.
#[derive(Debug)]
pub(crate) struct LayoutBuilder {
    dir: PathBuf,
    entries: Vec<Json>,
    index: Obj,
    raw_index: Option<Vec<u8>>,
    elements: Vec<Json>,
    /// Dropped last: it contains everything above.
    temp: Option<TempDir>,
}

impl LayoutBuilder {
    /// Creates a layout with `oci-layout` and an empty `blobs/sha256` in a new temporary directory, in memory if possible.
    pub(crate) fn new() -> Self {
        Self::below(memory_dir())
    }

    /// Creates a layout on disk.
    pub(crate) fn on_disk() -> Self {
        Self::below(disk_dir())
    }

    fn below(temp: TempDir) -> Self {
        let mut builder = Self::at(&temp.path().join("layout"));
        builder.temp = Some(temp);
        builder
    }

    /// Creates a layout in `dir`, which is created and not deleted.
    pub(crate) fn at(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("the layout directory can be made");
        let builder = Self {
            dir: dir.to_owned(),
            entries: Vec::new(),
            index: Obj::new()
                .with("schemaVersion", 2)
                .with("mediaType", media::INDEX),
            raw_index: None,
            elements: Vec::new(),
            temp: None,
        };
        builder.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        builder
    }

    /// Returns the directory of the layout.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns the parent directory of the layout, for other files in it.
    pub(crate) fn outside(&self) -> &Path {
        self.dir.parent().expect("a layout is in a directory")
    }

    /// Returns a path inside the layout.
    pub(crate) fn join(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// Returns `true` if a blob exists, as a file or as a link.
    pub(crate) fn has(&self, desc: &Desc) -> bool {
        fs::symlink_metadata(self.join(&desc.blob_path())).is_ok()
    }

    /// Returns `true` if an image exists with all its blobs.
    pub(crate) fn has_all(&self, image: &Image) -> bool {
        image.parts().into_iter().all(|desc| self.has(desc))
    }

    /// Panics unless all of these blobs exist.
    #[track_caller]
    pub(crate) fn assert_has<'a>(&self, descs: impl IntoIterator<Item = &'a Desc>, run: &Run) {
        for desc in descs {
            assert!(self.has(desc), "{} is gone\n{}", desc.digest, run.all());
        }
    }

    /// Stores a blob under its sha256 and describes it by `media_type`.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Desc {
        self.blob_as("sha256", media_type, bytes)
    }

    /// Stores a blob under its digest by any algorithm that the tests can compute.
    pub(crate) fn blob_as(&self, algorithm: &str, media_type: &str, bytes: &[u8]) -> Desc {
        self.forged(&digest_of(algorithm, bytes), media_type, bytes)
    }

    /// Stores bytes under a digest, which need not match.
    pub(crate) fn forged(&self, digest: &str, media_type: &str, bytes: &[u8]) -> Desc {
        let size = u64::try_from(bytes.len()).expect("a length fits into 64 bits");
        let desc = Desc::new(media_type, digest, size);
        self.file(&desc.blob_path(), bytes);
        // Unpacked files keep their times: they are older than any grace period that no user set.
        self.age(&desc.blob_path(), WRITTEN);
        desc
    }

    /// Stores an OCI layer.
    pub(crate) fn layer(&self, bytes: &[u8]) -> Desc {
        self.blob(media::LAYER, bytes)
    }

    /// Stores an OCI image config for `platform`, made unique by `salt`.
    pub(crate) fn config(&self, platform: &str, salt: &str) -> Desc {
        self.blob(media::CONFIG, config_text(platform, salt, &[]).as_bytes())
    }

    /// Stores the empty JSON object, which means "no config".
    pub(crate) fn empty_config(&self) -> Desc {
        self.blob(media::EMPTY, b"{}")
    }

    /// Stores a document under its sha256.
    pub(crate) fn put(&self, doc: &Doc) -> Desc {
        self.put_as("sha256", doc)
    }

    /// Stores a document under its digest by any algorithm that the tests can compute.
    pub(crate) fn put_as(&self, algorithm: &str, doc: &Doc) -> Desc {
        self.blob_as(algorithm, &doc.media_type, doc.text().as_bytes())
    }

    /// Stores a document under the digest of the word `seed`, which is known before the document is: this allows cycles.
    pub(crate) fn put_forged(&self, seed: &str, doc: &Doc) -> Desc {
        self.forged(
            &sha256(seed.as_bytes()),
            &doc.media_type,
            doc.text().as_bytes(),
        )
    }

    /// Stores an OCI manifest.
    pub(crate) fn manifest(&self, config: &Desc, layers: &[Desc]) -> Desc {
        self.put(&Doc::manifest(config, layers))
    }

    /// Stores an OCI index.
    pub(crate) fn index(&self, children: &[Desc]) -> Desc {
        self.put(&Doc::index(children))
    }

    /// Stores an OCI index of these images, each under a platform.
    pub(crate) fn platforms(&self, images: &[(&str, &Image)]) -> Desc {
        let children: Vec<Desc> = images
            .iter()
            .map(|(platform, image)| image.manifest.clone().platform(platform))
            .collect();
        self.index(&children)
    }

    /// Stores a complete image with config and layers, without listing it; `salt` makes its config unique.
    pub(crate) fn image(&self, platform: &str, salt: &str, layers: &[&[u8]]) -> Image {
        let layers: Vec<Desc> = layers.iter().map(|bytes| self.layer(bytes)).collect();
        let text = config_text(platform, salt, &layers);
        let config = self.blob(media::CONFIG, text.as_bytes());
        let manifest = self.manifest(&config, &layers);
        Image {
            manifest,
            config,
            layers,
        }
    }

    /// Stores a signature-like referrer of `subject` without listing it.
    pub(crate) fn referrer(&self, subject: &Desc, artifact_type: &str, payload: &[u8]) -> Image {
        let config = self.empty_config();
        let layer = self.blob("application/vnd.example.signature", payload);
        let doc = Doc::manifest(&config, std::slice::from_ref(&layer))
            .artifact_type(artifact_type)
            .subject(subject);
        Image {
            manifest: self.put(&doc),
            config,
            layers: vec![layer],
        }
    }

    /// Lists a descriptor in `index.json`.
    pub(crate) fn entry(&mut self, desc: impl Into<Json>) -> &mut Self {
        self.entries.push(desc.into());
        self
    }

    /// Lists a descriptor in `index.json` under a tag.
    pub(crate) fn tag(&mut self, desc: &Desc, tag: &str) -> &mut Self {
        self.entry(desc.clone().tagged(tag))
    }

    /// Removes all entries.
    pub(crate) fn clear_entries(&mut self) -> &mut Self {
        self.entries.clear();
        self
    }

    /// Changes the fields of `index.json` other than `manifests`.
    pub(crate) fn index_fields(&mut self, fields: Obj) -> &mut Self {
        self.index = fields;
        self
    }

    /// Uses these bytes as `index.json`, whatever the entries are.
    pub(crate) fn raw_index(&mut self, bytes: &[u8]) -> &mut Self {
        self.raw_index = Some(bytes.to_vec());
        self
    }

    /// Adds an element to docker's `manifest.json`, with the paths that docker writes for blobs.
    pub(crate) fn save_element(
        &mut self,
        tags: &[&str],
        config: &Desc,
        layers: &[Desc],
    ) -> &mut Self {
        let tags = if tags.is_empty() {
            Json::null()
        } else {
            Json::array(tags.iter().copied())
        };
        let element = Obj::new()
            .with("Config", config.blob_path())
            .with("RepoTags", tags)
            .with("Layers", Json::array(layers.iter().map(Desc::blob_path)));
        self.raw_save_element(element)
    }

    /// Adds any JSON as an element to docker's `manifest.json`.
    pub(crate) fn raw_save_element(&mut self, element: impl Into<Json>) -> &mut Self {
        self.elements.push(element.into());
        self
    }

    /// Writes docker's `repositories`: name, tag and the top layer's hexadecimal digits.
    pub(crate) fn repositories(&self, rows: &[(&str, &str, &str)]) -> &Self {
        let mut object = Obj::new();
        for (name, tag, id) in rows {
            object = object.with(name, Obj::new().with(tag, *id));
        }
        self.file("repositories", object.json().text().as_bytes())
    }

    /// Writes `index.json`, and `manifest.json` if it has elements.
    pub(crate) fn write(&self) -> &Self {
        let text = self
            .index
            .clone()
            .with("manifests", Json::array(&self.entries))
            .json();
        let bytes = self
            .raw_index
            .clone()
            .unwrap_or_else(|| text.text().as_bytes().to_vec());
        self.file("index.json", &bytes);
        if !self.elements.is_empty() {
            self.file(
                "manifest.json",
                Json::array(&self.elements).text().as_bytes(),
            );
        }
        self
    }

    /// Writes any file in the layout, and its parent directories.
    pub(crate) fn file(&self, relative: &str, bytes: &[u8]) -> &Self {
        let path = self.join(relative);
        let parent = path.parent().expect("a file is in a directory");
        fs::create_dir_all(parent).expect("the directory can be made");
        if path.exists() {
            fs::remove_file(&path).expect("the older file can be replaced");
        }
        fs::write(&path, bytes).expect("the file can be written");
        self
    }

    /// Creates an empty directory in the layout.
    pub(crate) fn directory(&self, relative: &str) -> &Self {
        fs::create_dir_all(self.join(relative)).expect("the directory can be made");
        self
    }

    /// Creates a symbolic link in the layout and replaces what existed at its path.
    pub(crate) fn symlink(&self, relative: &str, target: impl AsRef<Path>) -> &Self {
        let path = self.join(relative);
        let parent = path.parent().expect("a link is in a directory");
        fs::create_dir_all(parent).expect("the directory can be made");
        self.remove(relative);
        std::os::unix::fs::symlink(target, &path).expect("the link can be made");
        self
    }

    /// Creates a hard link in the layout to any file.
    pub(crate) fn hard_link(&self, relative: &str, original: &Path) -> &Self {
        self.remove(relative);
        fs::hard_link(original, self.join(relative)).expect("the hard link can be made");
        self
    }

    /// Creates a FIFO in the layout, which blocks a process that opens it without `O_NONBLOCK`.
    pub(crate) fn fifo(&self, relative: &str) -> &Self {
        self.remove(relative);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            self.join(relative),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .expect("the FIFO can be made");
        self
    }

    /// Removes a file, a link or a whole directory of the layout, if it exists.
    pub(crate) fn remove(&self, relative: &str) -> &Self {
        let path = self.join(relative);
        let Ok(found) = fs::symlink_metadata(&path) else {
            return self;
        };
        let gone = if found.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        gone.expect("files of the test can be removed");
        self
    }

    /// Removes the blob of a descriptor, so that the layout becomes sparse.
    pub(crate) fn drop_blob(&self, desc: &Desc) -> &Self {
        self.remove(&desc.blob_path())
    }

    /// Removes `oci-layout`, which BuildKit caches and hauler stores lack.
    pub(crate) fn without_marker(&self) -> &Self {
        self.remove("oci-layout")
    }

    /// Sets the times of blobs to now, as if a writer had just stored them.
    pub(crate) fn fresh<'a>(&self, descs: impl IntoIterator<Item = &'a Desc>) -> &Self {
        for desc in descs {
            self.age(&desc.blob_path(), Duration::ZERO);
        }
        self
    }

    /// Sets the modification time of a file of the layout to `age` before now.
    pub(crate) fn age(&self, relative: &str, age: Duration) -> &Self {
        let time = SystemTime::now()
            .checked_sub(age)
            .expect("the age is less than the time since 1970");
        self.modified(relative, time)
    }

    /// Sets the modification time of a file of the layout.
    pub(crate) fn modified(&self, relative: &str, time: SystemTime) -> &Self {
        set_modified(&self.join(relative), time);
        self
    }

    /// Sets the permissions of a file of the layout.
    pub(crate) fn mode(&self, relative: &str, mode: u32) -> &Self {
        fs::set_permissions(self.join(relative), fs::Permissions::from_mode(mode))
            .expect("the permissions can be set");
        self
    }

    /// Takes an exclusive flock on a file of the layout, which is created if necessary, and holds it until the result is
    /// dropped.
    pub(crate) fn flock(&self, relative: &str) -> FileLock {
        let path = self.join(relative);
        let file = if path.is_dir() {
            fs::File::open(&path)
        } else {
            fs::OpenOptions::new().create(true).append(true).open(&path)
        };
        let file = file.expect("the lock file can be opened");
        FileLock::of(file)
    }
}

/// An exclusive flock, held until this is dropped: the only way in which tests take one.
#[derive(Debug)]
pub(crate) struct FileLock(fs::File);

impl FileLock {
    #[track_caller]
    pub(crate) fn of(file: fs::File) -> Self {
        Self::try_of(file).expect("no other process holds the lock")
    }

    /// `None`: another process holds it.
    pub(crate) fn try_of(file: fs::File) -> Option<Self> {
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, exclusive).ok()?;
        Some(Self(file))
    }

    pub(crate) fn file(&self) -> &fs::File {
        &self.0
    }
}

impl Drop for FileLock {
    /// Closing the file is not enough: a child that another test starts may keep it open for a moment.
    fn drop(&mut self) {
        let _closed = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

/// Sets the modification time of a file or directory.
pub(crate) fn set_modified(path: &Path, time: SystemTime) {
    // Read access is enough to set the times of one's own file, and blobs are often read-only.
    fs::File::open(path)
        .and_then(|file| file.set_modified(time))
        .expect("the modification time can be set");
}

/// Returns the text of an image config for `platform`; `salt` makes it unique.
pub(crate) fn config_text(platform: &str, salt: &str, layers: &[Desc]) -> String {
    let mut parts = platform.split('/');
    let os = parts.next().unwrap_or_default().to_owned();
    let architecture = parts.next().unwrap_or_default().to_owned();
    let diff_ids = layers
        .iter()
        .map(|layer| sha256(format!("uncompressed {}", layer.digest).as_bytes()));
    let root = Obj::new()
        .with("type", "layers")
        .with("diff_ids", Json::array(diff_ids));
    let mut object = Obj::new()
        .with("created", "2026-01-02T03:04:05Z")
        .with("architecture", architecture)
        .with("os", os)
        .with("author", salt)
        .with("config", Obj::new().with("Cmd", Json::array(["/bin/true"])))
        .with("rootfs", root);
    if let Some(variant) = parts.next() {
        object = object.with("variant", variant);
    }
    object.json().text().to_owned()
}
