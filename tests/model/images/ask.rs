//! Random commands on a layout.

use std::collections::BTreeSet;

use arbtest::arbitrary::{Result, Unstructured};
use serde_json::Value;

use super::disk::{Disk, Reading};
use super::{chance, weighted};

/// One command.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// Its meaning, for the judge.
    pub(crate) what: What,
    /// Whether it has `-f`.
    pub(crate) force: bool,
    /// Whether it has `--grace 0`.
    pub(crate) alone: bool,
    /// What is removed along with images, if it removes images.
    pub(crate) extent: Extent,
}

/// What is removed along with the last name of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Its entries, parts and referrers.
    All,
    /// Its entries and parts: `--keep-referrers`.
    NoReferrers,
    /// Nothing: `--no-prune`.
    Nothing,
}

/// The meaning of a command.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Gc,
    Prune,
    PruneAll {
        reference: Option<String>,
        keep: Option<String>,
        keep_last: Option<usize>,
    },
    Rm(Vec<Word>),
    Platform {
        image: Word,
        digest: String,
        platform: String,
        dropped: BTreeSet<String>,
        mode: &'static str,
    },
    HoldAdd {
        name: &'static str,
        image: String,
    },
    HoldRm(String),
}

/// One IMAGE of `rm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The exact text of a name.
    Name(String),
    /// `repository:tag@digest`.
    At(String, String),
    /// The first digits of an ID.
    Id(String),
    /// A pattern over names.
    Glob(String),
    /// A word without `/` and `:`.
    Bare(&'static str),
}

impl Word {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Name(text) | Self::Id(text) | Self::Glob(text) => text.clone(),
            Self::At(name, digest) => format!("{name}@{digest}"),
            Self::Bare(word) => (*word).to_owned(),
        }
    }
}

impl Ask {
    /// Returns the arguments; the layout comes second.
    pub(crate) fn args(&self, layout: &str, ignored: &[String]) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
        match &self.what {
            What::Gc => add(&["gc", layout, "--allow-empty"]),
            What::Prune => add(&["prune", layout, "-f", "--allow-empty"]),
            What::PruneAll {
                reference,
                keep,
                keep_last,
            } => {
                add(&["prune", layout, "-a", "-f", "--allow-empty"]);
                if let Some(pattern) = reference {
                    add(&["--filter", &format!("reference={pattern}")]);
                }
                if let Some(pattern) = keep {
                    add(&["--keep", pattern]);
                }
                if let Some(count) = keep_last {
                    add(&["--keep-last", &count.to_string()]);
                }
            }
            What::Rm(words) => {
                add(&["rm", layout]);
                for word in words {
                    add(&[&word.text()]);
                }
            }
            What::Platform {
                image,
                platform,
                mode,
                ..
            } => {
                let mode = ["--platform-mode", *mode];
                add(&["rm", layout, &image.text(), "--platform", platform]);
                add(&mode);
            }
            What::HoldAdd { name, image } => add(&["hold", "add", layout, name, image]),
            What::HoldRm(name) => add(&["hold", "rm", layout, name]),
        }
        if self.force && matches!(self.what, What::Rm(_) | What::Platform { .. }) {
            add(&["-f"]);
        }
        if self.alone && self.has_grace() {
            add(&["--grace", "0"]);
        }
        match self.extent {
            Extent::All => {}
            Extent::NoReferrers => add(&["--keep-referrers"]),
            Extent::Nothing => add(&["--no-prune"]),
        }
        if !matches!(self.what, What::HoldAdd { .. } | What::HoldRm(_)) {
            for file in ignored {
                add(&["--ignore-index", file]);
            }
        }
        args
    }

    /// Returns `true` if the command has a dry run and a report in JSON.
    pub(crate) fn reports(&self) -> bool {
        !matches!(self.what, What::HoldAdd { .. } | What::HoldRm(_))
    }

    fn has_grace(&self) -> bool {
        matches!(self.what, What::Gc | What::Prune | What::PruneAll { .. })
    }
}

/// Draws a command for a layout.
pub(crate) fn ask(u: &mut Unstructured<'_>, disk: &Disk) -> Result<Ask> {
    let kind = weighted(
        u,
        &[
            (34, "rm"),
            (14, "gc"),
            (16, "prune"),
            (12, "prune -a"),
            (16, "platform"),
            (6, "hold"),
            (2, "unhold"),
        ],
    )?;
    let mut force = chance(u, 30)?;
    let what = match kind {
        "gc" => What::Gc,
        "prune" => What::Prune,
        "prune -a" => everything(u, disk)?,
        "platform" => match platform(u, disk)? {
            Some(what) => what,
            None => What::Gc,
        },
        "hold" => hold(u, disk)?,
        "unhold" if !disk.holds.is_empty() => {
            let names: Vec<&String> = disk.holds.keys().collect();
            What::HoldRm((*u.choose(&names)?).clone())
        }
        _ => rm(u, disk)?,
    };
    // A name on two images needs it, and it is useful to test there.
    if let What::Rm(words) = &what
        && let [Word::Id(_)] = words.as_slice()
    {
        force = chance(u, 60)?;
    }
    let alone = chance(u, 40)?;
    let extent = match what {
        What::Rm(_) => weighted(
            u,
            &[
                (80, Extent::All),
                (10, Extent::NoReferrers),
                (10, Extent::Nothing),
            ],
        )?,
        _ => Extent::All,
    };
    Ok(Ask {
        what,
        force,
        alone,
        extent,
    })
}

fn everything(u: &mut Unstructured<'_>, disk: &Disk) -> Result<What> {
    let mut reference = None;
    let mut keep = None;
    let mut keep_last = None;
    let rule = weighted(
        u,
        &[(30, "none"), (25, "last"), (25, "reference"), (20, "keep")],
    )?;
    if rule == "last" {
        keep_last = Some(u.int_in_range(1..=2)?);
    }
    if rule == "reference" {
        reference = Some(pattern(u, disk)?);
    }
    if rule == "keep" {
        keep = Some(pattern(u, disk)?);
    }
    Ok(What::PruneAll {
        reference,
        keep,
        keep_last,
    })
}

/// Draws a pattern over full names with a registry, of which there are no short forms.
fn pattern(u: &mut Unstructured<'_>, disk: &Disk) -> Result<String> {
    let pairs = disk.all_names();
    let full: Vec<&String> = pairs
        .iter()
        .map(|(_, name)| name)
        .filter(|name| name.starts_with("ex.com/") && !name.contains('@'))
        .collect();
    if full.is_empty() {
        return Ok("ex.com/app:*".to_owned());
    }
    let name = *u.choose(&full)?;
    let (repository, _) = name.rsplit_once(':').unwrap_or((name, ""));
    Ok(if chance(u, 40)? {
        name.clone()
    } else {
        format!("{repository}:*")
    })
}

fn rm(u: &mut Unstructured<'_>, disk: &Disk) -> Result<What> {
    let mut words = Vec::new();
    for _ in 0..weighted(u, &[(80, 1), (20, 2)])? {
        words.push(word(u, disk)?);
    }
    words.dedup();
    Ok(What::Rm(words))
}

fn word(u: &mut Unstructured<'_>, disk: &Disk) -> Result<Word> {
    let kind = weighted(
        u,
        &[
            (50, "name"),
            (22, "id"),
            (12, "at"),
            (10, "glob"),
            (6, "bare"),
        ],
    )?;
    let names: Vec<(String, String)> = disk.all_names().into_iter().collect();
    let listed: Vec<String> = disk.listed().into_iter().collect();
    if listed.is_empty() || kind == "bare" || (names.is_empty() && kind != "id") {
        return Ok(Word::Bare(u.choose(&["alpine", "latest", "1", "redis"])?));
    }
    if kind == "id" {
        let digest = u.choose(&listed)?;
        let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
        return Ok(Word::Id(hex.get(..12).unwrap_or(hex).to_owned()));
    }
    let (digest, name) = u.choose(&names)?.clone();
    Ok(match kind {
        "at" if name.contains(':') && !name.contains('@') && listed.contains(&digest) => {
            Word::At(name, digest)
        }
        "glob" => Word::Glob(pattern(u, disk)?),
        _ => Word::Name(name),
    })
}

fn hold(u: &mut Unstructured<'_>, disk: &Disk) -> Result<What> {
    let listed: Vec<String> = disk.listed().into_iter().collect();
    if listed.is_empty() {
        return Ok(What::Gc);
    }
    Ok(What::HoldAdd {
        name: u.choose(&["release", "beta"])?,
        image: u.choose(&listed)?.clone(),
    })
}

/// Draws the drop of a platform, if there is an index.
fn platform(u: &mut Unstructured<'_>, disk: &Disk) -> Result<Option<What>> {
    let is_index = |digest: &String| !children(disk, digest).is_empty();
    let listed: Vec<String> = disk.listed().into_iter().filter(is_index).collect();
    if listed.is_empty() {
        return Ok(None);
    }
    let digest = u.choose(&listed)?.clone();
    let all = children(disk, &digest);
    let platforms: Vec<&Child> = all.iter().filter(|child| child.about.is_none()).collect();
    if platforms.is_empty() {
        return Ok(None);
    }
    let chosen = *u.choose(&platforms)?;
    let form = weighted(u, &[(50, 0), (25, 1), (25, 2)])?;
    let (platform, mut dropped): (String, BTreeSet<String>) = match form {
        0 => {
            let same = |child: &&&Child| {
                child.short() == chosen.short()
                    && (chosen.version.is_none() || child.version == chosen.version)
                    && (chosen.features.is_empty() || child.features == chosen.features)
            };
            let found = platforms.iter().filter(same);
            (
                chosen.exact(),
                found.map(|child| child.digest.clone()).collect(),
            )
        }
        1 => {
            let same = |child: &&&Child| child.short() == chosen.short();
            let found = platforms.iter().filter(same);
            (
                chosen.short(),
                found.map(|child| child.digest.clone()).collect(),
            )
        }
        _ => (chosen.digest.clone(), [chosen.digest.clone()].into()),
    };
    let attestations = all.iter().filter(|child| {
        child
            .about
            .as_ref()
            .is_some_and(|about| dropped.contains(about))
    });
    let attestations: Vec<String> = attestations.map(|child| child.digest.clone()).collect();
    dropped.extend(attestations);
    let names: Vec<String> = disk.names(&digest).into_iter().collect();
    let alone = |name: &String| {
        let mut images = disk
            .all_names()
            .into_iter()
            .filter(|(_, other)| other == name);
        images.next().is_some() && images.next().is_none()
    };
    let names: Vec<String> = names.into_iter().filter(alone).collect();
    let image = if names.is_empty() || chance(u, 20)? {
        let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
        Word::Id(hex.get(..12).unwrap_or(hex).to_owned())
    } else {
        Word::Name(u.choose(&names)?.clone())
    };
    Ok(Some(What::Platform {
        image,
        digest,
        platform,
        dropped,
        mode: weighted(u, &[(50, "rewrite"), (30, "sparse"), (20, "hollow")])?,
    }))
}

/// A child of an index.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) digest: String,
    /// The child that this attestation belongs to.
    pub(crate) about: Option<String>,
    os: String,
    architecture: String,
    variant: Option<String>,
    version: Option<String>,
    features: Vec<String>,
}

impl Child {
    /// Returns `os/architecture/variant`.
    fn short(&self) -> String {
        let variant = self.variant.iter().map(|variant| format!("/{variant}"));
        format!(
            "{}/{}{}",
            self.os,
            self.architecture,
            variant.collect::<String>()
        )
    }

    /// Returns the platform with version and features.
    fn exact(&self) -> String {
        let mut inside = self.version.clone().unwrap_or_default();
        for feature in &self.features {
            inside.push('+');
            inside.push_str(feature);
        }
        let (os, rest) = (&self.os, self.short());
        let rest = rest.strip_prefix(os.as_str()).unwrap_or_default();
        if inside.is_empty() {
            format!("{os}{rest}")
        } else {
            format!("{os}({inside}){rest}")
        }
    }
}

/// Returns what `manifests` of an image index lists with a platform.
pub(crate) fn children(disk: &Disk, digest: &str) -> Vec<Child> {
    let list = disk.json(digest).and_then(|json| json.get("manifests"));
    let list = list.and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    list.iter()
        .filter_map(|child| {
            let platform = child.get("platform")?;
            let about = child
                .pointer("/annotations")
                .and_then(|notes| notes.get("vnd.docker.reference.digest"));
            let features = platform.get("os.features").and_then(Value::as_array);
            Some(Child {
                digest: text(child.get("digest"))?,
                about: text(about),
                os: text(platform.get("os"))?,
                architecture: text(platform.get("architecture"))?,
                variant: text(platform.get("variant")),
                version: text(platform.get("os.version")),
                features: features
                    .into_iter()
                    .flatten()
                    .filter_map(|one| text(Some(one)))
                    .collect(),
            })
        })
        .collect()
}

/// Returns the references of an image that a drop cuts: parent and child.
pub(crate) fn cut(
    disk: &Disk,
    index: &str,
    dropped: &BTreeSet<String>,
    mode: &str,
) -> BTreeSet<(String, String)> {
    let mut cut = BTreeSet::new();
    for child in dropped {
        if mode == "hollow" {
            let json = disk.json(child);
            let layers = json
                .and_then(|json| json.get("layers"))
                .and_then(Value::as_array);
            for layer in layers.into_iter().flatten() {
                let layer = layer
                    .get("digest")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                cut.insert((child.clone(), layer.to_owned()));
            }
        } else if disk.down(index, Reading::Generous).contains(child) {
            cut.insert((index.to_owned(), child.clone()));
        }
    }
    cut
}
