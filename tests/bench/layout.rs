//! Generated layouts: valid, with correct digests, of files that a collector must process.
//!
//! A layout is a function of its shape: the same blobs with the same bytes each time. So a fresh one is generated for each
//! run instead of copied, and no run is affected by another one.
//!
//! *Order*: blobs first, `index.json` last, then everything is flushed to disk. Without that, files that
//! were never written out would be deleted, which costs less than deleting real ones, and the disk
//! would be busy while the run is measured.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::shape::{Images, Shape};
use crate::{floor, parallel};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The names of the platforms of an index, in turn.
const PLATFORMS: [(&str, &str); 8] = [
    ("amd64", ""),
    ("arm64", ""),
    ("arm", "v7"),
    ("arm", "v6"),
    ("386", ""),
    ("ppc64le", ""),
    ("s390x", ""),
    ("riscv64", ""),
];

/// The ages of files: garbage is older than live blobs, both are older than `index.json`, and nothing is recent.
const GARBAGE_AGE: Duration = Duration::from_secs(72 * 3600);
const LIVE_AGE: Duration = Duration::from_secs(48 * 3600);
/// An age between both.
pub(crate) const MIDDLE_AGE: Duration = Duration::from_secs(60 * 3600);
const INDEX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The number of images that a thread makes at a time.
const CHUNK: usize = 8;

/// The hash that names a blob.
pub(crate) type Name = [u8; 32];

/// The paths of a layout and its lists.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    /// The number of names of its images.
    pub(crate) names: usize,
}

impl Place {
    pub(crate) fn new(dir: impl Into<PathBuf>, names: usize) -> Self {
        let dir = dir.into();
        Self { dir, names }
    }

    /// Returns the directory of the layout.
    pub(crate) fn layout(&self) -> PathBuf {
        self.dir.join("layout")
    }

    /// Returns the directory of the blobs.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.layout().join("blobs/sha256")
    }

    /// Returns the file that names the garbage, one name a line, in the order of the directory.
    pub(crate) fn garbage_list(&self) -> PathBuf {
        self.dir.join("garbage")
    }

    /// Returns the file that names the live indexes and manifests.
    pub(crate) fn document_list(&self) -> PathBuf {
        self.dir.join("documents")
    }

    /// Returns the file of a plan.
    pub(crate) fn plan(&self) -> PathBuf {
        self.dir.join("plan.json")
    }
}

/// A layout on disk.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) place: Place,
    live: HashSet<Name>,
    garbage: HashSet<Name>,
    /// The directory, if it is to be deleted with the layout.
    temporary: Option<TempDir>,
}

impl Layout {
    /// Generates a layout that is removed when it is dropped.
    pub(crate) fn temporary(shape: &Shape, dir: TempDir) -> io::Result<Self> {
        let place = Place::new(dir.path(), shape.tags);
        Self::empty(place, Some(dir)).fill(shape)
    }

    /// Generates a layout that is kept.
    pub(crate) fn lasting(shape: &Shape, dir: &Path) -> io::Result<Self> {
        Self::empty(Place::new(dir, shape.tags), None).fill(shape)
    }

    fn empty(place: Place, temporary: Option<TempDir>) -> Self {
        Self {
            place,
            live: HashSet::new(),
            garbage: HashSet::new(),
            temporary,
        }
    }

    /// Writes everything.
    fn fill(mut self, shape: &Shape) -> io::Result<Self> {
        let path = self.place.layout();
        fs::create_dir_all(path.join("blobs/sha256"))?;
        let blobs = floor::open_blobs(&path)?;
        let now = SystemTime::now();
        // Live images and garbage alternate, as in a layout that has grown: neither is contiguous in the directory or in the
        // inode table.
        let count = shape.live.count.max(shape.garbage.count);
        let parts =
            parallel::in_chunks(count, CHUNK, parallel::cores(), |part: &mut Part, range| {
                for number in range {
                    for (half, images, age) in [
                        (Half::Live, shape.live, LIVE_AGE),
                        (Half::Garbage, shape.garbage, GARBAGE_AGE),
                    ] {
                        if number < images.count {
                            let mut writer = Writer {
                                blobs: blobs.as_fd(),
                                times: times(now, age),
                                noise: Noise::of(number, half),
                                written: Vec::new(),
                            };
                            let root = writer.image(number, images)?;
                            part.take(half, number, root, writer.written);
                        }
                    }
                }
                Ok(())
            })?;
        let mut roots = vec![None; shape.live.count];
        let mut documents = HashSet::new();
        for part in parts {
            for (number, root) in part.roots {
                if let Some(slot) = roots.get_mut(number) {
                    *slot = Some(root);
                }
            }
            self.live.extend(part.live.iter().map(|blob| blob.name));
            self.garbage
                .extend(part.garbage.iter().map(|blob| blob.name));
            let is_document = |blob: &&Written| blob.is_document;
            documents.extend(part.live.iter().filter(is_document).map(|blob| blob.name));
        }
        let roots: Vec<_> = roots.into_iter().flatten().collect();
        write_aged(
            &path,
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            now,
        )?;
        write_aged(&path, "index.json", &index_json(&roots, shape.tags), now)?;
        self.write_lists(blobs.as_fd(), &documents)?;
        rustix::fs::syncfs(&blobs)?;
        Ok(self)
    }

    fn write_lists(&self, blobs: BorrowedFd<'_>, documents: &HashSet<Name>) -> io::Result<()> {
        let mut garbage = io::BufWriter::new(fs::File::create(self.place.garbage_list())?);
        let mut document = io::BufWriter::new(fs::File::create(self.place.document_list())?);
        for (text, name) in listed(blobs)? {
            let file = if self.garbage.contains(&name) {
                &mut garbage
            } else if documents.contains(&name) {
                &mut document
            } else {
                continue;
            };
            writeln!(file, "{text}")?;
        }
        garbage.flush()?;
        document.flush()
    }

    /// Returns what is wrong with the layout after a sweep; `None`: exactly the garbage was deleted.
    pub(crate) fn fault_after_sweep(&self) -> io::Result<Option<String>> {
        self.fault(&HashSet::new())
    }

    /// Returns what is wrong with the layout after a command that only reads.
    pub(crate) fn fault_untouched(&self) -> io::Result<Option<String>> {
        self.fault(&self.garbage)
    }

    fn fault(&self, garbage: &HashSet<Name>) -> io::Result<Option<String>> {
        let blobs = floor::open_blobs(&self.place.layout())?;
        let there: HashSet<Name> = listed(blobs.as_fd())?
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        let lost = self.live.difference(&there).count() + garbage.difference(&there).count();
        let left = there.len() + lost - self.live.len() - garbage.len();
        Ok((lost + left > 0).then(|| format!("{lost} blobs lost, {left} blobs left over")))
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        if self.temporary.is_none() {
            return;
        }
        // A million files on one thread would take longer than a whole run does. What cannot be
        // removed here is tried again with the directory.
        if let Ok(blobs) = floor::open_blobs(&self.place.layout())
            && let Ok(names) = listed(blobs.as_fd())
        {
            let names: Vec<_> = names.iter().map(|(text, _)| text.as_str()).collect();
            let _deleted = floor::delete_all(blobs.as_fd(), &names, 4);
        }
    }
}

/// Lists a directory of blobs: the names as they are, and as hashes. Files with other names are ignored.
fn listed(blobs: BorrowedFd<'_>) -> io::Result<Vec<(String, Name)>> {
    let mut names = Vec::new();
    floor::each_name(blobs, |name| {
        if let Ok(text) = name.to_str()
            && let Some(hash) = from_hex(text)
        {
            names.push((text.to_owned(), hash));
        }
    })?;
    Ok(names)
}

/// What one thread has written.
#[derive(Debug, Default)]
struct Part {
    roots: Vec<(usize, Descriptor)>,
    live: Vec<Written>,
    garbage: Vec<Written>,
}

impl Part {
    fn take(&mut self, half: Half, number: usize, root: Descriptor, written: Vec<Written>) {
        match half {
            Half::Live => {
                self.roots.push((number, root));
                self.live.extend(written);
            }
            Half::Garbage => self.garbage.extend(written),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Half {
    Live,
    Garbage,
}

#[derive(Debug)]
struct Written {
    name: Name,
    is_document: bool,
}

/// A descriptor as JSON, without the closing brace, so that more can be added.
#[derive(Clone, Debug)]
struct Descriptor(String);

/// Writes the blobs of one image.
struct Writer<'a> {
    blobs: BorrowedFd<'a>,
    times: Timestamps,
    noise: Noise,
    written: Vec<Written>,
}

impl Writer<'_> {
    fn image(&mut self, number: usize, images: Images) -> io::Result<Descriptor> {
        if images.platforms == 0 {
            return self.manifest(number, 0, images);
        }
        let mut children = Vec::new();
        for platform in 0..images.platforms {
            let Descriptor(manifest) = self.manifest(number, platform, images)?;
            let (architecture, variant) = platform_name(platform);
            let variant = match variant {
                "" => String::new(),
                variant => format!(r#","variant":"{variant}""#),
            };
            children.push(format!(
                r#"{manifest},"platform":{{"architecture":"{architecture}","os":"linux"{variant}}}}}"#
            ));
        }
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
            children.join(",")
        );
        self.blob(INDEX, index.as_bytes())
    }

    fn manifest(
        &mut self,
        number: usize,
        platform: usize,
        images: Images,
    ) -> io::Result<Descriptor> {
        let mut descriptors = Vec::new();
        for _ in 0..images.layers {
            let bytes = self.noise.layer(images.layer_bytes);
            let Descriptor(layer) = self.blob(LAYER, &bytes)?;
            descriptors.push(format!("{layer}}}"));
        }
        let (architecture, _) = platform_name(platform);
        // The noise makes every config different, and so every manifest.
        let config = format!(
            r#"{{"created":"2026-01-01T00:00:00Z","architecture":"{architecture}","os":"linux","config":{{"Labels":{{"number":"{number}","noise":"{:016x}"}}}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#,
            self.noise.next()
        );
        let Descriptor(config) = self.blob(CONFIG, config.as_bytes())?;
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config}}},"layers":[{}]}}"#,
            descriptors.join(",")
        );
        self.blob(MANIFEST, manifest.as_bytes())
    }

    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> io::Result<Descriptor> {
        let name: Name = Sha256::digest(bytes).into();
        let text = to_hex(&name);
        let mut file = fs::File::from(rustix::fs::openat(
            self.blobs,
            text.as_str(),
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )?);
        file.write_all(bytes)?;
        rustix::fs::futimens(&file, &self.times)?;
        self.written.push(Written {
            name,
            is_document: matches!(media_type, INDEX | MANIFEST),
        });
        Ok(Descriptor(format!(
            r#"{{"mediaType":"{media_type}","digest":"sha256:{text}","size":{}"#,
            bytes.len()
        )))
    }
}

fn platform_name(platform: usize) -> (&'static str, &'static str) {
    PLATFORMS
        .into_iter()
        .cycle()
        .nth(platform)
        .unwrap_or(("amd64", ""))
}

/// Makes `index.json`: entry after entry names the next image, from the front again when there are more names.
fn index_json(roots: &[Descriptor], tags: usize) -> Vec<u8> {
    let entries: Vec<_> = roots
        .iter()
        .cycle()
        .take(tags)
        .enumerate()
        .map(|(tag, Descriptor(root))| {
            format!(
                r#"{root},"annotations":{{"org.opencontainers.image.ref.name":"service:v{tag:06}"}}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        entries.join(",")
    )
    .into_bytes()
}

fn write_aged(layout: &Path, name: &str, bytes: &[u8], now: SystemTime) -> io::Result<()> {
    let mut file = fs::File::create(layout.join(name))?;
    file.write_all(bytes)?;
    rustix::fs::futimens(&file, &times(now, INDEX_AGE))?;
    Ok(())
}

fn times(now: SystemTime, age: Duration) -> Timestamps {
    let since = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(age);
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(since.subsec_nanos()),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// A stream of pseudo-random numbers (splitmix64): the same one for the same image.
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    fn of(number: usize, half: Half) -> Self {
        let half = match half {
            Half::Live => 0,
            Half::Garbage => 1,
        };
        let mut noise = Self(((number as u64) << 1) | half);
        // Neighbouring seeds give neighbouring states: one step apart, they would share their streams.
        Self(noise.next().rotate_left(32) ^ noise.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Makes a layer that begins like gzip, as nearly all layers do; 0: of 0.4 to 2 KB.
    fn layer(&mut self, len: usize) -> Vec<u8> {
        let len = match len {
            0 => 400 + usize::try_from(self.next() % 1648).unwrap_or_default(),
            len => len,
        };
        let mut bytes = vec![0x1f, 0x8b, 8, 0];
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

pub(crate) fn to_hex(name: &Name) -> String {
    let mut text = String::with_capacity(64);
    for byte in name {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    text
}

fn from_hex(text: &str) -> Option<Name> {
    let mut name = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in name.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(name)
}
