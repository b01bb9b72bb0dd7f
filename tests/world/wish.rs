//! Random options of a prune: filters, keep rules and a budget.

use arbtest::arbitrary::{Result, Unstructured};

use crate::world::draw::{TAGS, chance, maybe};

/// The options, as flags and as values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) all: bool,
    pub(crate) until_hours: Option<u64>,
    pub(crate) label: Option<(bool, &'static str)>,
    pub(crate) repository: Option<&'static str>,
    /// Ages are by the build dates of images.
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

/// Draws the options.
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
            lines.push(*u.choose(&TAGS)?);
        }
        Ok(lines)
    })?;
    wish.max_size = maybe(u, 35, |u| u.int_in_range(0..=9_000))?;
    wish.by_created = chance(u, 15)?;
    Ok(wish)
}

impl Wish {
    /// Returns the flags; the list is at this path.
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
