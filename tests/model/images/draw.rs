//! Random image layouts as tools write them: names, platforms, signatures, docker's list, second indexes, holds.
//!
//! A layout is written while it is drawn, and each step leaves a line in [`Drawn::story`]. Every draw has a first choice that
//! is the plain one, so a shorter source of random bytes makes a plainer layout.

use std::time::Duration;

use arbtest::arbitrary::{Result, Unstructured};

use super::{FEATURES, chance, weighted};
use crate::support::json::{IMAGE_NAME, REF_NAME};
use crate::support::layout::config_text;
use crate::support::{Desc, Doc, Json, LayoutBuilder, Obj, media};

const BASE_NAME: &str = "org.opencontainers.image.base.name";
const REPOSITORIES: [&str; 4] = ["ex.com/app", "ex.com/lib/db", "ex.com/web", "redis"];
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A layout on disk, and how it came about.
pub(crate) struct Drawn {
    pub(crate) layout: LayoutBuilder,
    /// A line for each thing that was drawn.
    pub(crate) story: Vec<String>,
    /// A second index that commands leave out with `--ignore-index`.
    pub(crate) ignored: Vec<String>,
}

/// One image, artifact or signature.
#[derive(Clone, Debug)]
struct Piece {
    desc: Desc,
    /// Full names on its entries, without digests.
    names: Vec<String>,
    /// The config and layers of a single-platform image.
    parts: Option<(Desc, Vec<Desc>)>,
}

struct Hand<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    drawn: Drawn,
    pieces: Vec<Piece>,
    layers: Vec<Desc>,
    entries: Vec<Desc>,
    /// Documents and layers with the time they were added, in days ago.
    number: usize,
}

/// Draws a layout.
pub(crate) fn layout(u: &mut Unstructured<'_>) -> Result<Drawn> {
    let mut hand = Hand {
        u,
        drawn: Drawn {
            layout: LayoutBuilder::new(),
            story: Vec::new(),
            ignored: Vec::new(),
        },
        pieces: Vec::new(),
        layers: Vec::new(),
        entries: Vec::new(),
        number: 0,
    };
    for _ in 0..hand.u.int_in_range(1..=5)? {
        hand.image()?;
    }
    for _ in 0..hand.u.int_in_range(0..=3)? {
        hand.referrer()?;
    }
    hand.saved()?;
    hand.second_index()?;
    hand.garbage()?;
    hand.write()?;
    Ok(hand.drawn)
}

impl Hand<'_, '_> {
    fn chance(&mut self, percent: u8) -> Result<bool> {
        chance(self.u, percent)
    }

    fn tell(&mut self, line: String) {
        self.drawn.story.push(line);
    }

    fn next(&mut self) -> usize {
        self.number += 1;
        self.number
    }

    fn layer(&mut self) -> Result<Desc> {
        if !self.layers.is_empty() && self.chance(30)? {
            return Ok(self.u.choose(&self.layers)?.clone());
        }
        let number = self.next();
        let bytes = format!("\u{1}layer {number} ").repeat(number % 7 + 1);
        let layer = self.drawn.layout.layer(bytes.as_bytes());
        self.layers.push(layer.clone());
        Ok(layer)
    }

    /// Stores a manifest, mostly under its sha256.
    fn put(&mut self, doc: &Doc) -> Result<Desc> {
        let algorithm = weighted(self.u, &[(88, "sha256"), (12, "sha512")])?;
        Ok(self.drawn.layout.put_as(algorithm, doc))
    }

    fn manifest(&mut self, platform: &str) -> Result<(Desc, Desc, Vec<Desc>)> {
        let mut layers = Vec::new();
        for _ in 0..self.u.int_in_range(1..=2)? {
            layers.push(self.layer()?);
        }
        let salt = self.next().to_string();
        let text = config_text(platform, &salt, &layers);
        // Pushed again on another day, or on the same.
        let day = weighted(self.u, &[(60, "02"), (20, "03"), (20, "04")])?;
        let text = text.replace("2026-01-02", &format!("2026-01-{day}"));
        let config = self.drawn.layout.blob(media::CONFIG, text.as_bytes());
        if FEATURES.note_digests && self.chance(8)? {
            let bytes = format!("\u{1}referenced by an annotation {salt}");
            let noted = self.drawn.layout.layer(bytes.as_bytes());
            layers[0] = layers[0]
                .clone()
                .annotate("containerd.io/snapshot/nydus-ref", noted.digest.as_str());
            self.tell(format!("a layer of the next names {}", short(&noted)));
        }
        let doc = Doc::manifest(&config, &layers);
        let desc = self.put(&doc)?;
        Ok((desc, config, layers))
    }

    /// Draws an image, single or of several platforms, with its names.
    fn image(&mut self) -> Result<()> {
        let several = self.chance(35)?;
        let piece = if several {
            self.index()?
        } else {
            let (desc, config, layers) = self.manifest("linux/amd64")?;
            self.tell(format!("image {}", short(&desc)));
            Piece {
                desc,
                names: Vec::new(),
                parts: Some((config, layers)),
            }
        };
        self.pieces.push(piece);
        let position = self.pieces.len() - 1;
        let count = weighted(self.u, &[(62, 1), (15, 0), (16, 2), (7, 3)])?;
        for _ in 0..count {
            self.name(position)?;
        }
        if count == 0 || self.chance(6)? {
            let desc = self.pieces[position].desc.clone();
            self.entry(desc, "untagged");
        }
        Ok(())
    }

    fn index(&mut self) -> Result<Piece> {
        let mut children: Vec<Desc> = Vec::new();
        let mut listed = Vec::new();
        for _ in 0..self.u.int_in_range(2..=4)? {
            let child = if FEATURES.twins && !children.is_empty() && self.chance(12)? {
                // A twin: another compression or format of the same platform.
                let platform = "linux/amd64";
                self.manifest(platform)?.0.platform(platform)
            } else {
                self.child(children.len())?
            };
            if self.chance(12)? {
                self.tell(format!("{} is missing", short(&child)));
                self.drawn.layout.drop_blob(&child);
            } else if self.chance(12)? {
                listed.push(child.clone());
            }
            children.push(child);
        }
        if self.chance(25)? {
            let about = children[0].clone();
            let statement = format!("{{\"_type\":\"statement {}\"}}", self.next());
            let statement = self.drawn.layout.blob(media::IN_TOTO, statement.as_bytes());
            let config = self
                .drawn
                .layout
                .blob(media::CONFIG, b"{\"os\":\"unknown\"}");
            let doc = Doc::manifest(&config, &[statement]);
            let attestation = self.put(&doc)?.attests(&about);
            if self.chance(20)? {
                listed.push(attestation.clone());
            }
            children.push(attestation);
        }
        let mut doc = Doc::index(&children);
        let subject = FEATURES.index_subjects && !self.pieces.is_empty() && self.chance(10)?;
        if subject {
            let subject = self.u.choose(&self.pieces)?.desc.clone();
            doc = doc.subject(&Desc::new(
                &subject.media_type,
                &subject.digest,
                subject.size,
            ));
        }
        let desc = self.put(&doc)?;
        let names: Vec<String> = children.iter().map(short).collect();
        self.tell(format!(
            "index {} of {names:?}{}",
            short(&desc),
            if subject { " with a subject" } else { "" }
        ));
        for child in listed {
            let plain = Desc::new(&child.media_type, &child.digest, child.size);
            self.entry(plain, "untagged child");
        }
        Ok(Piece {
            desc,
            names: Vec::new(),
            parts: None,
        })
    }

    fn child(&mut self, position: usize) -> Result<Desc> {
        let windows = FEATURES.versions && self.chance(25)?;
        let features = FEATURES.versions && !windows && self.chance(12)?;
        if windows {
            let version =
                *self
                    .u
                    .choose(&["10.0.20348.2700", "10.0.20348.1000", "10.0.26100.2"])?;
            let platform = Obj::new()
                .with("architecture", "amd64")
                .with("os", "windows")
                .with("os.version", version);
            return Ok(self.manifest("windows/amd64")?.0.set("platform", platform));
        }
        if features {
            let platform = Obj::new()
                .with("architecture", "amd64")
                .with("os", "linux")
                .with("os.features", Json::array(["nydus.remoteimage.v1"]));
            return Ok(self.manifest("linux/amd64")?.0.set("platform", platform));
        }
        let all = [
            "linux/amd64",
            "linux/arm64",
            "linux/s390x",
            "linux/riscv64",
            "linux/arm/v7",
        ];
        let platform = all[position % all.len()];
        Ok(self.manifest(platform)?.0.platform(platform))
    }

    fn entry(&mut self, desc: Desc, how: &str) {
        self.tell(format!("entry {} {how}", short(&desc)));
        self.entries.push(desc);
    }

    /// Gives a piece a name, in one of the forms that tools write.
    fn name(&mut self, position: usize) -> Result<()> {
        let repository = weighted(
            self.u,
            &[
                (50, REPOSITORIES[0]),
                (20, REPOSITORIES[1]),
                (20, REPOSITORIES[2]),
                (10, REPOSITORIES[3]),
            ],
        )?;
        let mut tag = weighted(
            self.u,
            &[
                (30, "1"),
                (25, "2"),
                (20, "3"),
                (15, "latest"),
                (5, "alpine"),
                (5, "1-esgztoc"),
            ],
        )?
        .to_owned();
        let mut full = format!("{repository}:{tag}");
        let taken = self.pieces.iter().any(|piece| piece.names.contains(&full));
        let twice = FEATURES.one_name_twice && self.chance(8)?;
        if taken && !twice {
            tag = format!("{tag}.{}", self.next());
            full = format!("{repository}:{tag}");
        }
        let desc = self.pieces[position].desc.clone();
        let pinned = format!("{full}@{}", desc.digest);
        let form = weighted(
            self.u,
            &[
                (45, 0),
                (20, 1),
                (12, 2),
                (6, 3),
                (4, 4),
                (5, 5),
                (3, 6),
                (2, 7),
                (3, 8),
            ],
        )?;
        let (entry, is_full) = match form {
            0 => (desc.tagged(&full), true),
            1 => (desc.named(&full).annotate(REF_NAME, tag.as_str()), true),
            2 => (desc.tagged(&format!("bare{tag}")), false),
            3 => (desc.named(&full), true),
            4 => (desc.annotate(BASE_NAME, full.as_str()), true),
            5 => (desc.tagged(&pinned), false),
            6 => (desc.annotate(IMAGE_NAME, pinned.as_str()), false),
            7 => (desc.annotate(BASE_NAME, pinned.as_str()), false),
            // Two names that disagree, as buildx imagetools writes them.
            _ => (desc.named(&full).tagged(&format!("other{tag}")), true),
        };
        if is_full {
            self.pieces[position].names.push(full.clone());
        }
        self.entry(entry, &format!("as {full}, form {form}"));
        Ok(())
    }

    /// Draws a signature, an SBOM or an attestation.
    fn referrer(&mut self) -> Result<()> {
        let subject = self.u.choose(&self.pieces)?.clone();
        let payload = format!("{{\"payload\":{}}}", self.next());
        let layer = self
            .drawn
            .layout
            .blob("application/vnd.example.sig", payload.as_bytes());
        let config = self.drawn.layout.blob(media::CONFIG, b"{\"empty\":true}");
        let artifact = weighted(
            self.u,
            &[
                (60, "application/vnd.example.signature"),
                (25, "application/spdx+json"),
                (15, media::ATTESTATION),
            ],
        )?;
        let how = weighted(
            self.u,
            &[
                (30, "unlisted"),
                (22, "untagged"),
                (14, "digest tag"),
                (10, "digest tag of a repository"),
                (10, "annotation"),
                (6, "named"),
                (8, "kind"),
            ],
        )?;
        let plain = Desc::new(
            &subject.desc.media_type,
            &subject.desc.digest,
            subject.desc.size,
        );
        // Old cosign writes none where a digest tag says it.
        let has_subject = how == "unlisted" || how == "untagged" || self.chance(50)?;
        let mut doc = Doc::manifest(&config, &[layer]).artifact_type(artifact);
        if has_subject {
            doc = doc.subject(&plain);
        }
        let mut desc = self.put(&doc)?;
        if how.starts_with("digest tag") && self.chance(20)? {
            // The tag names an index of referrers, as the distribution specification has it.
            desc = self.put(&Doc::index(&[desc]))?;
        }
        self.tell(format!(
            "referrer {} of {} {how}{}{}",
            short(&desc),
            short(&subject.desc),
            if has_subject { "" } else { ", without subject" },
            if artifact == media::ATTESTATION {
                ", attestation"
            } else {
                ""
            },
        ));
        let tag = self.digest_tag(&subject.desc)?;
        let entry = match how {
            "unlisted" => None,
            "untagged" => Some(desc.clone()),
            "digest tag" => Some(desc.clone().tagged(&tag)),
            "digest tag of a repository" => Some(desc.clone().tagged(&format!("ex.com/app:{tag}"))),
            "annotation" if FEATURES.note_subjects => {
                let key = *self.u.choose(&[
                    "io.containerd.manifest.subject",
                    "org.olareg.referrer.subject",
                    "org.opencontainers.image.referrer.subject",
                ])?;
                Some(desc.clone().annotate(key, subject.desc.digest.as_str()))
            }
            "kind" if !subject.names.is_empty() && FEATURES.kinds => Some(
                desc.clone()
                    .tagged(&subject.names[0])
                    .annotate("kind", "dev.cosignproject.cosign/sigs"),
            ),
            _ => Some(desc.clone().tagged(&format!("ex.com/sig:{}", self.next()))),
        };
        if let Some(entry) = entry {
            self.entry(entry, how);
        }
        self.pieces.push(Piece {
            desc,
            names: Vec::new(),
            parts: None,
        });
        Ok(())
    }

    fn digest_tag(&mut self, subject: &Desc) -> Result<String> {
        let (algorithm, hex) = subject
            .digest
            .split_once(':')
            .expect("a digest has a colon");
        let cut = hex.len() > 64 && self.chance(50)?;
        let hex = if cut { &hex[..64] } else { hex };
        let suffix = weighted(
            self.u,
            &[
                (30, ""),
                (40, ".sig"),
                (10, ".att"),
                (10, ".sbom"),
                (10, ".c0ffee1234567890.meta"),
            ],
        )?;
        Ok(format!("{algorithm}-{hex}{suffix}"))
    }

    /// Draws docker's `manifest.json` and `repositories`.
    fn saved(&mut self) -> Result<()> {
        if !FEATURES.docker_save || !self.chance(18)? {
            return Ok(());
        }
        let mut rows = Vec::new();
        for position in 0..self.pieces.len() {
            let piece = self.pieces[position].clone();
            let Some((config, layers)) = piece.parts else {
                continue;
            };
            if self.chance(25)? {
                continue;
            }
            let mut tags = piece.names.clone();
            if FEATURES.saved_names && self.chance(30)? {
                tags.push(format!("ex.com/saved:{}", self.next()));
            }
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            self.tell(format!(
                "docker's list has {} as {tags:?}",
                short(&piece.desc)
            ));
            let plain: Vec<Desc> = layers;
            self.drawn.layout.save_element(&tags, &config, &plain);
            for tag in tags {
                let (name, tag) = tag.rsplit_once(':').expect("a full name has a tag");
                rows.push((name.to_owned(), tag.to_owned(), config.hex().to_owned()));
            }
        }
        if FEATURES.saved_names && self.chance(25)? {
            let (desc, config, layers) = self.manifest("linux/amd64")?;
            let mut tags = vec![format!("ex.com/gone:{}", self.next())];
            if self.chance(40)? {
                tags.push(format!("ex.com/gone:{}", self.next()));
            }
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            self.tell(format!(
                "only docker's list has {} as {tags:?}",
                short(&desc)
            ));
            self.drawn.layout.save_element(&tags, &config, &layers);
        }
        if !rows.is_empty() && self.chance(60)? {
            let mut object: Vec<(String, Obj)> = Vec::new();
            for (name, tag, id) in rows {
                match object.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, tags)) => *tags = std::mem::take(tags).set(&tag, id),
                    None => object.push((name, Obj::new().with(&tag, id))),
                }
            }
            let text = object
                .into_iter()
                .fold(Obj::new(), |all, (name, tags)| all.with(&name, tags));
            self.drawn
                .layout
                .file("repositories", text.json().text().as_bytes());
        }
        Ok(())
    }

    /// Draws another JSON file in the root directory that lists descriptors, and others that list none.
    fn second_index(&mut self) -> Result<()> {
        if self.chance(10)? {
            self.drawn
                .layout
                .file("package.json", br#"{"name":"x","files":["a"],"size":3}"#);
        }
        if !FEATURES.second_indexes || !self.chance(16)? {
            return Ok(());
        }
        let mut listed: Vec<Desc> = Vec::new();
        if !self.entries.is_empty() && self.chance(70)? {
            for _ in 0..self.u.int_in_range(1..=2)? {
                listed.push(self.u.choose(&self.entries)?.clone());
            }
        }
        if listed.is_empty() || self.chance(60)? {
            let (chart, _, _) = self.manifest("linux/amd64")?;
            self.tell(format!("{} is only in the second index", short(&chart)));
            listed.push(chart.tagged("hauler/chart:1"));
        }
        let names: Vec<String> = listed.iter().map(short).collect();
        let kind = *self
            .u
            .choose(&["manifests", "values", "array", "elsewhere"])?;
        let (name, text) = match kind {
            "manifests" => ("hauler-index.json", Doc::index(&listed).text()),
            "elsewhere" => ("ZXguY29tL2tpdA==-index.json", Doc::index(&listed).text()),
            "array" => ("list.json", Json::array(&listed).text().to_owned()),
            _ => {
                let values = listed.iter().enumerate();
                let object = values.fold(Obj::new(), |all, (at, desc)| {
                    all.with(&format!("tag{at}"), desc)
                });
                (
                    "ZXguY29tL2tpdA==-tags.json",
                    object.json().text().to_owned(),
                )
            }
        };
        self.drawn.layout.file(name, text.as_bytes());
        self.tell(format!("second index {name} lists {names:?}"));
        if FEATURES.ignored_indexes && self.chance(10)? {
            self.tell(format!("commands ignore {name}"));
            self.drawn.ignored.push(name.to_owned());
        }
        Ok(())
    }

    fn garbage(&mut self) -> Result<()> {
        for _ in 0..weighted(self.u, &[(55, 0), (30, 1), (15, 2)])? {
            if self.chance(50)? {
                let desc = self.manifest("linux/amd64")?.0;
                self.tell(format!("orphan {}", short(&desc)));
            } else {
                let bytes = format!("\u{1}orphan {}", self.next());
                let desc = self.drawn.layout.layer(bytes.as_bytes());
                self.tell(format!("orphan layer {}", short(&desc)));
            }
        }
        Ok(())
    }

    /// Writes the lists, and gives every file its time.
    fn write(&mut self) -> Result<()> {
        for entry in self.entries.clone() {
            self.drawn.layout.entry(&entry);
        }
        self.drawn.layout.write();
        let paths: Vec<String> = crate::support::blobs(self.drawn.layout.path())
            .keys()
            .map(|digest| format!("blobs/{}", digest.replacen(':', "/", 1)))
            .collect();
        let now = std::time::SystemTime::now();
        let base = now - 40 * DAY;
        for path in &paths {
            self.drawn.layout.modified(path, base);
        }
        // Documents of different days, or of one.
        if !self.chance(20)? {
            for piece in self.pieces.clone() {
                let day = self.u.int_in_range(0..=30_u32)?;
                let path = piece.desc.blob_path();
                if self.drawn.layout.join(&path).exists() {
                    self.drawn.layout.modified(&path, base + day * DAY);
                }
            }
        } else {
            self.tell("all blobs have one time".to_owned());
        }
        if FEATURES.writers && self.chance(10)? {
            let bytes = format!("\u{1}fresh {}", self.next());
            let desc = self.drawn.layout.layer(bytes.as_bytes());
            self.tell(format!("fresh orphan {}", short(&desc)));
        }
        if FEATURES.writers && self.chance(6)? {
            self.drawn.layout.file("oci-put-blob31415", b"half a blob");
            self.tell("fresh temporary file".to_owned());
        }
        if self.chance(6)? {
            self.drawn.layout.file("oci-put-blob2718", b"half a blob");
            self.drawn
                .layout
                .modified("oci-put-blob2718", now - 50 * HOUR);
            self.tell("old temporary file".to_owned());
        }
        Ok(())
    }
}

/// Returns the beginning of a digest, for stories.
pub(crate) fn short(desc: &Desc) -> String {
    desc.digest.chars().take(19).collect()
}
