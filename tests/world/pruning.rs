//! Random layouts and random wishes for a prune.

use std::time::Duration;

use arbtest::arbitrary::{Result, Unstructured};
use jiff::{SignedDuration, Timestamp};

use crate::support::dated::NOW;
use crate::support::{Desc, Doc, Json, Obj, TestLayout, bulk, days_ago, media, sha256};

/// What an image is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A manifest with these layers.
    Manifest(Vec<usize>),
    /// An index of these images.
    Index(Vec<usize>),
    /// A manifest with these layers about this image.
    Referrer(usize, Vec<usize>),
}

/// One image, in the order in which they refer to each other.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    /// Its names; none on an image that is only listed.
    pub(crate) names: Vec<String>,
    /// Whether an entry without a name lists it.
    pub(crate) is_listed: bool,
    /// The image that an annotation of its nameless entry says it is about.
    pub(crate) about: Option<usize>,
    /// The image that it signs by its name.
    pub(crate) digest_tag_of: Option<usize>,
    /// When it was added, in hours before the current time; `None` is 1970.
    pub(crate) hours: Option<u64>,
    /// When it was built, in hours before the current time; `None` is nothing that its config says.
    pub(crate) created: Option<u64>,
    /// The value of the label `env`.
    pub(crate) label: Option<&'static str>,
    /// Whether a hold is on it.
    pub(crate) is_held: bool,
    /// Whether docker's `manifest.json` describes it, under its names.
    pub(crate) is_saved: bool,
}

/// A layout.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) orphans: usize,
}

/// What is asked for, as flags and as what they mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) all: bool,
    pub(crate) until_hours: Option<u64>,
    pub(crate) label: Option<(bool, &'static str)>,
    pub(crate) repository: Option<&'static str>,
    /// Goes by when images were built.
    pub(crate) by_created: bool,
    pub(crate) last: Option<usize>,
    pub(crate) within_hours: Option<u64>,
    pub(crate) daily: Option<usize>,
    pub(crate) weekly: Option<usize>,
    pub(crate) monthly: Option<usize>,
    pub(crate) group_all: bool,
    pub(crate) keep: Option<&'static str>,
    pub(crate) keep_from: Option<Vec<&'static str>>,
    pub(crate) max_size: Option<u64>,
    pub(crate) allow_empty: bool,
}

/// Repositories and tags; bare tags are of no repository.
const NAMES: [&str; 9] = [
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

const SIZES: [usize; 6] = [20, 50, 100, 400, 900, 2000];

fn chance(u: &mut Unstructured<'_>, percent: u8) -> Result<bool> {
    u.ratio(percent, 100_u8)
}

fn maybe<T>(
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

fn some_of(u: &mut Unstructured<'_>, count: usize, at_most: usize) -> Result<Vec<usize>> {
    let mut picked = Vec::new();
    for _ in 0..u.int_in_range(1..=at_most)? {
        let one = u.choose_index(count)?;
        if !picked.contains(&one) {
            picked.push(one);
        }
    }
    Ok(picked)
}

/// Draws a layout.
pub(crate) fn world(u: &mut Unstructured<'_>) -> Result<World> {
    let count = u.int_in_range(1..=9)?;
    let nameless = chance(u, 8)?;
    // Unpacked from an archive that has one time for all.
    let archived = maybe(u, 25, |u| {
        maybe(u, 80, |u| Ok(u.int_in_range(1..=40_u64)? * 17))
    })?;
    let mut free: Vec<&str> = if nameless { Vec::new() } else { NAMES.to_vec() };
    let mut pieces: Vec<Piece> = Vec::new();
    for position in 0..count {
        let kind = match u.int_in_range(0..=9)? {
            0..=2 if position > 0 => Kind::Index(some_of(u, position, 3)?),
            3..=4 if position > 0 => {
                Kind::Referrer(u.choose_index(position)?, some_of(u, SIZES.len(), 2)?)
            }
            _ => Kind::Manifest(some_of(u, SIZES.len(), 3)?),
        };
        let mut names = Vec::new();
        let is_named = match kind {
            Kind::Referrer(..) => chance(u, 10)?,
            Kind::Manifest(_) | Kind::Index(_) => chance(u, 65)?,
        };
        while is_named && !free.is_empty() && (names.is_empty() || chance(u, 45)?) {
            let at = u.choose_index(free.len())?;
            names.push(free.remove(at).to_owned());
        }
        let other = |u: &mut Unstructured<'_>| u.choose_index(position);
        let is_plain = names.is_empty() && matches!(kind, Kind::Manifest(_)) && position > 0;
        let digest_tag_of = if is_plain && !nameless {
            maybe(u, 10, other)?
        } else {
            None
        };
        let about = if is_plain && digest_tag_of.is_none() {
            maybe(u, 10, other)?
        } else {
            None
        };
        let is_saved = matches!(kind, Kind::Manifest(_)) && !names.is_empty() && chance(u, 8)?;
        pieces.push(Piece {
            is_listed: digest_tag_of.is_none()
                && (about.is_some() || chance(u, if names.is_empty() { 75 } else { 8 })?),
            kind,
            names,
            about,
            digest_tag_of,
            // Few enough moments that several images share a day.
            hours: match archived {
                Some(hours) => hours,
                None => maybe(u, 92, |u| Ok(u.int_in_range(1..=40)? * 17))?,
            },
            created: maybe(u, 80, |u| Ok(u.int_in_range(1..=6)? * 301))?,
            label: maybe(u, 60, |u| Ok(*u.choose(&["prod", "dev"])?))?,
            is_held: false,
            is_saved,
        });
    }
    if pieces.iter().all(|piece| piece.names.is_empty()) {
        // Whether a digest tag alone makes a layout with names is not for this test to say.
        for piece in &mut pieces {
            piece.is_listed |= piece.digest_tag_of.take().is_some();
        }
    }
    for piece in &mut pieces {
        let is_entry = piece.is_listed || !piece.names.is_empty();
        piece.is_held = is_entry && chance(u, 7)?;
    }
    Ok(World {
        pieces,
        orphans: u.int_in_range(0..=3)?,
    })
}

/// Draws what is asked for.
pub(crate) fn wish(u: &mut Unstructured<'_>) -> Result<Wish> {
    let number = |u: &mut Unstructured<'_>| u.int_in_range(0..=3_usize);
    let hours = |u: &mut Unstructured<'_>| Ok(u.int_in_range(0..=40_u64)? * 17 + 5);
    let mut wish = Wish {
        all: chance(u, 75)?,
        allow_empty: chance(u, 40)?,
        ..Wish::default()
    };
    if chance(u, 35)? {
        wish.until_hours = maybe(u, 50, hours)?;
        wish.label = maybe(u, 40, |u| {
            Ok((chance(u, 60)?, *u.choose(&["prod", "dev"])?))
        })?;
    }
    let repositories = ["app", "app", "app", "tool", "tool", "team/deep"];
    wish.repository = maybe(u, 35, |u| Ok(*u.choose(&repositories)?))?;
    if chance(u, 60)? {
        wish.last = maybe(u, 40, number)?;
        wish.within_hours = maybe(u, 25, hours)?;
        wish.daily = maybe(u, 20, number)?;
        wish.weekly = maybe(u, 20, number)?;
        wish.monthly = maybe(u, 20, number)?;
        wish.group_all = chance(u, 30)?;
    }
    wish.keep = maybe(u, 20, |u| Ok(*u.choose(&["app:*", "*:1", "v?", "**"])?))?;
    wish.keep_from = maybe(u, 12, |u| {
        let mut lines = Vec::new();
        for _ in 0..u.int_in_range(0..=3)? {
            lines.push(*u.choose(&NAMES)?);
        }
        Ok(lines)
    })?;
    wish.max_size = maybe(u, 35, |u| u.int_in_range(0..=9_000))?;
    wish.by_created = chance(u, 15)?;
    Ok(wish)
}

impl Wish {
    /// Returns the flags, with the list at this path.
    pub(crate) fn args(&self, list: &str) -> Vec<String> {
        let mut args = Vec::new();
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                args.push(name.to_owned());
                args.push(value);
            }
        };
        flag(
            "--filter",
            self.until_hours.map(|hours| format!("until={hours}h")),
        );
        flag(
            "--filter",
            self.label.map(|(wanted, value)| {
                let key = if wanted { "label" } else { "label!" };
                format!("{key}=env={value}")
            }),
        );
        flag(
            "--filter",
            self.repository.map(|name| format!("reference={name}")),
        );
        flag("--time", self.by_created.then(|| "created".to_owned()));
        flag("--keep-last", self.last.map(|count| count.to_string()));
        flag(
            "--keep-within",
            self.within_hours.map(|hours| format!("{hours}h")),
        );
        flag("--keep-daily", self.daily.map(|count| count.to_string()));
        flag("--keep-weekly", self.weekly.map(|count| count.to_string()));
        flag(
            "--keep-monthly",
            self.monthly.map(|count| count.to_string()),
        );
        flag("--group-by", self.group_all.then(|| "none".to_owned()));
        flag("--keep", self.keep.map(str::to_owned));
        flag(
            "--keep-from",
            self.keep_from.as_ref().map(|_| list.to_owned()),
        );
        flag("--max-size", self.max_size.map(|size| format!("{size}B")));
        args.extend(self.all.then(|| "-a".to_owned()));
        args.extend(self.allow_empty.then(|| "--allow-empty".to_owned()));
        args
    }
}

/// Returns the moment so many hours before the current time.
pub(crate) fn hours_ago(hours: u64) -> Timestamp {
    let now: Timestamp = NOW.parse().expect("a time");
    now - SignedDuration::from_hours(i64::try_from(hours).expect("small"))
}

/// Writes a layout; returns it with the descriptor of each piece.
pub(crate) fn write(world: &World) -> (TestLayout, Vec<Desc>) {
    let mut shelf = TestLayout::new();
    let mut descs: Vec<Desc> = Vec::new();
    for (position, piece) in world.pieces.iter().enumerate() {
        let layers = |picked: &[usize]| -> Vec<Desc> {
            let sizes = picked
                .iter()
                .filter_map(|layer| Some((*layer, *SIZES.get(*layer)?)));
            sizes
                .map(|(layer, size)| shelf.layout.layer(&bulk(&format!("layer {layer}"), size)))
                .collect()
        };
        let config = || {
            let mut labels = Obj::new();
            if let Some(value) = piece.label {
                labels = labels.with("env", value);
            }
            let diff_ids = Json::array([sha256(b"diff")]);
            let config = Obj::new()
                .with("architecture", "amd64")
                .with("os", "linux")
                .with("author", format!("piece {position}"))
                .with("config", Obj::new().with("Labels", labels))
                .with(
                    "rootfs",
                    Obj::new().with("type", "layers").with("diff_ids", diff_ids),
                );
            let config = match piece.created {
                Some(hours) => config.with("created", hours_ago(hours).to_string()),
                None => config,
            };
            shelf
                .layout
                .blob(media::CONFIG, config.json().text().as_bytes())
        };
        let desc = match &piece.kind {
            Kind::Manifest(picked) => {
                let (config, layers) = (config(), layers(picked));
                if piece.is_saved {
                    let names: Vec<&str> = piece.names.iter().map(String::as_str).collect();
                    shelf.layout.save_element(&names, &config, &layers);
                }
                shelf.layout.manifest(&config, &layers)
            }
            Kind::Index(children) => {
                let children: Vec<Desc> = children
                    .iter()
                    .filter_map(|child| descs.get(*child).cloned())
                    .collect();
                let number = u64::try_from(position).expect("small");
                shelf
                    .layout
                    .put(&Doc::index(&children).with("position", number))
            }
            Kind::Referrer(subject, picked) => {
                let doc = Doc::manifest(&config(), &layers(picked)).subject(&descs[*subject]);
                shelf
                    .layout
                    .put(&doc.artifact_type("application/vnd.example.signature"))
            }
        };
        for name in &piece.names {
            shelf.layout.tag(&desc, name);
        }
        if let Some(of) = piece.digest_tag_of {
            let tag = descs[of].digest.replacen(':', "-", 1);
            shelf.layout.tag(&desc, &format!("{tag}.sig"));
        }
        if piece.is_listed {
            let entry = match piece.about {
                Some(about) => {
                    let about = descs[about].digest.as_str();
                    desc.clone()
                        .annotate("io.containerd.manifest.subject", about)
                }
                None => desc.clone(),
            };
            shelf.layout.entry(entry);
        }
        let time = piece
            .hours
            .map_or(std::time::SystemTime::UNIX_EPOCH, |hours| {
                days_ago(0) - Duration::from_secs(3600) * u32::try_from(hours).expect("small")
            });
        shelf.added_at(&desc, time);
        descs.push(desc);
    }
    for number in 0..world.orphans {
        shelf
            .layout
            .layer(&bulk(&format!("orphan {number}"), 30 + 11 * number));
    }
    shelf.write();
    for (position, piece) in world.pieces.iter().enumerate() {
        if piece.is_held {
            shelf.hold(&format!("hold-{position}"), &descs[position].digest);
        }
    }
    (shelf, descs)
}
