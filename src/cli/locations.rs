//! Layouts in the notation of other programs, and layouts that are not named.
//!
//! `oci:DIR:TAG`, `oci-archive:FILE:TAG` and `docker-archive:FILE:NAME` are skopeo's, `ocidir://DIR:TAG` is regctl's. A path
//! that exists under exactly that name takes precedence. As in skopeo on Unix, the first colon ends the directory.
//!
//! *Promise*: a command that works on whole layouts refuses a location that names an image: `prune oci:DIR:TAG` must not
//! prune all of `DIR`. A default layout is only used if no argument could be a layout: `rm imagse app:1` is never read as
//! two images of the current directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ocisweep::oci::Digest;

use super::args::{Command, HoldCommand, LayoutArgs, SharedArgs, TrashCommand};
use super::exit::{self, Exit};
use super::quote::{dashes, quote, quote_path};
use super::term::Term;

/// The environment variable that names the layout of commands that are given none.
pub const VARIABLE: &str = "OCISWEEP_LAYOUT";

/// Transports that name a layout or an archive on disk.
const ON_DISK: [&str; 4] = ["oci:", "oci-archive:", "docker-archive:", "ocidir://"];

/// Transports of skopeo that name something else.
const ELSEWHERE: [&str; 6] = [
    "docker://",
    "docker-daemon:",
    "containers-storage:",
    "dir:",
    "ostree:",
    "sif:",
];

/// Why the arguments do not name a layout: a message and a hint.
type LocationError = (String, String);

/// A layout, and an image of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Location {
    layout: PathBuf,
    image: Option<String>,
}

/// Replaces locations in the arguments of a command with paths, and adds a layout if none was given.
///
/// # Errors
/// The exit status, after the reason was printed.
pub fn resolve(term: &Term, command: &mut Command, variable: Option<OsString>) -> Result<(), Exit> {
    let implied = Implied {
        variable: variable.filter(|value| !value.is_empty()),
        deletes: deletes(command),
    };
    resolve_all(term, command, &implied).map_err(|(text, hint)| {
        term.error(&text, Some(&hint));
        exit::USAGE
    })
}

/// Returns the path of the layout that an argument names, in any notation.
pub fn layout_of(word: &Path) -> PathBuf {
    let location = Location::of(word).ok().flatten();
    location.map_or_else(|| word.to_owned(), |location| location.layout)
}

/// Returns the transport that a word begins with, such as `oci:`, if a path comes after it; else an empty string.
pub fn transport(word: &str) -> &str {
    let mut schemes = ON_DISK.iter();
    let scheme = schemes.find(|scheme| word.starts_with(**scheme));
    scheme.map_or("", |scheme| &word[..scheme.len()])
}

fn resolve_all(term: &Term, command: &mut Command, implied: &Implied) -> Result<(), LocationError> {
    match command {
        Command::Gc(args) => layouts("gc", term, implied, &mut args.layouts),
        Command::Prune(args) => layouts("prune", term, implied, &mut args.layouts),
        Command::Ls(args) => layouts("ls", term, implied, &mut args.layouts),
        Command::Df(args) => layouts("df", term, implied, &mut args.layouts),
        Command::Blobs(args) => layouts("blobs", term, implied, &mut args.layouts),
        Command::Check(args) => {
            whole_all("check --from", &mut args.from)?;
            layouts("check", term, implied, &mut args.layouts)
        }
        Command::Rm(args) => {
            whole_all("rm --with", &mut args.shared.with)?;
            if let Some(named) = take(&mut args.layout, &mut args.images)? {
                args.images.insert(0, named);
            }
            if args.images.is_empty() {
                refuse_implied("rm", &args.shared, "LAYOUT IMAGE...")?;
                let word = lone(&args.layout, "rm", "[LAYOUT] IMAGE...", "IMAGE")?;
                args.layout =
                    implied.layout("rm", "LAYOUT and IMAGE", "[LAYOUT] IMAGE...", term)?;
                args.images = vec![word];
            }
            Ok(())
        }
        Command::Why(args) => {
            whole_all("why --with", &mut args.shared.with)?;
            let mut words: Vec<String> = args.what.take().into_iter().collect();
            let named = take(&mut args.layout, &mut words)?;
            args.what = words.pop();
            match (&args.what, named) {
                (Some(_), Some(_)) => {
                    return Err((
                        "`why` explains one blob or image, but two were given".to_owned(),
                        "`ocisweep why LAYOUT DIGEST|IMAGE`".to_owned(),
                    ));
                }
                (None, Some(named)) => args.what = Some(named),
                (Some(_), None) => {}
                (None, None) => {
                    refuse_implied("why", &args.shared, "LAYOUT DIGEST|IMAGE")?;
                    let usage = "[LAYOUT] DIGEST|IMAGE";
                    let word = lone(&args.layout, "why", usage, "DIGEST|IMAGE")?;
                    args.layout = implied.layout("why", "LAYOUT and DIGEST|IMAGE", usage, term)?;
                    args.what = Some(word);
                }
            }
            Ok(())
        }
        Command::Hold(HoldCommand::Add(args)) => {
            let mut words: Vec<String> = args.image.take().into_iter().collect();
            let named = take(&mut args.layout, &mut words)?;
            args.image = words.pop().or(named);
            if args.image.is_none() && args.bundle.is_none() {
                let usage = "[LAYOUT] NAME IMAGE";
                let name = lone(&args.layout, "hold add", usage, "IMAGE")?;
                args.layout = implied.layout("hold add", "LAYOUT, NAME and IMAGE", usage, term)?;
                args.image = Some(std::mem::replace(&mut args.name, name));
            }
            Ok(())
        }
        Command::Hold(HoldCommand::Rm(args)) => {
            whole("hold rm", &mut args.layout)?;
            if args.names.is_empty() {
                let word = lone(&args.layout, "hold rm", "[LAYOUT] NAME...", "NAME")?;
                args.layout =
                    implied.layout("hold rm", "LAYOUT and NAME", "[LAYOUT] NAME...", term)?;
                args.names = vec![word];
            }
            Ok(())
        }
        Command::Hold(HoldCommand::Ls(args)) => {
            optional("hold ls", term, implied, &mut args.layout, false)
        }
        Command::Undo(args) => {
            whole_all("undo", &mut args.more)?;
            let needs = args.recursive || args.shared_blobs.is_some();
            optional("undo", term, implied, &mut args.layout, needs)
        }
        Command::Trash(TrashCommand::Ls(args)) => match args.shared_blobs {
            Some(_) => Ok(()),
            None => optional("trash ls", term, implied, &mut args.layout, false),
        },
        Command::Trash(TrashCommand::Empty(args)) => match args.shared_blobs {
            Some(_) => Ok(()),
            None => optional("trash empty", term, implied, &mut args.layout, false),
        },
        Command::Apply(_) | Command::Completions(_) | Command::Man(_) | Command::Help(_) => Ok(()),
    }
}

/// Resolves the layouts of a command that takes several.
fn layouts(
    command: &str,
    term: &Term,
    implied: &Implied,
    args: &mut LayoutArgs,
) -> Result<(), LocationError> {
    whole_all(command, &mut args.paths)?;
    if args.paths.is_empty() {
        if args.recursive || args.shared_blobs.is_some() {
            return Err(missing(command, "LAYOUT", "LAYOUT..."));
        }
        args.paths = vec![implied.layout(command, "LAYOUT", "LAYOUT...", term)?];
    }
    Ok(())
}

/// Resolves the layout of a command that takes one and no image. `needs`: it must be given.
fn optional(
    command: &str,
    term: &Term,
    implied: &Implied,
    layout: &mut Option<PathBuf>,
    needs: bool,
) -> Result<(), LocationError> {
    match layout {
        Some(path) => whole(command, path),
        None if needs => Err(missing(command, "LAYOUT", "LAYOUT")),
        None => {
            *layout = Some(implied.layout(command, "LAYOUT", "LAYOUT", term)?);
            Ok(())
        }
    }
}

fn whole_all(command: &str, paths: &mut [PathBuf]) -> Result<(), LocationError> {
    paths.iter_mut().try_for_each(|path| whole(command, path))
}

/// Resolves a layout for a command that works on all of it.
fn whole(command: &str, path: &mut PathBuf) -> Result<(), LocationError> {
    let Some(location) = Location::of(path)? else {
        return Ok(());
    };
    let layout = quote_path(&location.layout);
    if let Some(image) = &location.image {
        let text = format!(
            "`{command}` works on a whole layout, and `{}` names an image of it",
            path.display()
        );
        let (dashes, word) = (dashes([image]), quote(image));
        let hint = match command {
            "ls" => {
                let filter = quote(&format!("reference={image}"));
                format!("`ocisweep ls -f {filter} {layout}` lists that image")
            }
            "gc" | "prune" => {
                format!(
                    "`ocisweep rm {dashes}{layout} {word}` removes that image, `ocisweep {command} {layout}` applies to the whole layout"
                )
            }
            "df" => format!("`ocisweep df -v {layout}` shows every image"),
            command => format!("write `{layout}`: `ocisweep {command} {layout}`"),
        };
        return Err((text, hint));
    }
    *path = location.layout;
    Ok(())
}

/// Resolves a layout and the images of it, and returns the image that the location of the layout names.
fn take(layout: &mut PathBuf, images: &mut [String]) -> Result<Option<String>, LocationError> {
    let mut named = None;
    if let Some(location) = Location::of(layout)? {
        *layout = location.layout;
        named = location.image;
    }
    for image in images {
        let Some(location) = Location::of(Path::new(image.as_str())).ok().flatten() else {
            continue;
        };
        let Some(inside) = location.image else {
            continue;
        };
        if is_same(&location.layout, layout) {
            *image = inside;
        } else if location.layout.exists() {
            return Err((
                format!("`{image}` is in another layout than `{}`", layout.display()),
                "a command with images takes one layout: run it once for each".to_owned(),
            ));
        }
    }
    Ok(named)
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}

/// Returns the only argument of a command that takes a layout and more, if it is not a layout because no such path exists.
fn lone(word: &Path, command: &str, usage: &str, lacks: &str) -> Result<String, LocationError> {
    let is_path = std::fs::symlink_metadata(word).is_ok() || word == Path::new("-");
    match word.to_str() {
        Some(word) if !is_path && !word.is_empty() => Ok(word.to_owned()),
        _ => Err(missing(command, lacks, usage)),
    }
}

/// Refuses the current directory as the default if several layouts share their blobs.
fn refuse_implied(command: &str, shared: &SharedArgs, usage: &str) -> Result<(), LocationError> {
    match shared.shared_blobs {
        Some(_) => Err(missing(command, "LAYOUT", usage)),
        None => Ok(()),
    }
}

fn missing(command: &str, lacks: &str, usage: &str) -> LocationError {
    (
        format!("`{command}` needs {lacks}"),
        format!(
            "`ocisweep {command} [OPTIONS] {usage}`; `ocisweep help {command}` lists the options"
        ),
    )
}

/// The default for a layout that is not given.
struct Implied {
    variable: Option<OsString>,
    /// The command can change the layout. Also set for a dry run, which must be refused in the same cases as the run.
    deletes: bool,
}

impl Implied {
    /// Returns the layout that `OCISWEEP_LAYOUT` names, or the current directory. A command that changes it prints a note.
    fn layout(
        &self,
        command: &str,
        lacks: &str,
        usage: &str,
        term: &Term,
    ) -> Result<PathBuf, LocationError> {
        let here = Path::new(".");
        let is_here = is_layout(here);
        let path = match &self.variable {
            None if is_here => here.to_owned(),
            None => {
                let (text, hint) = missing(command, lacks, usage);
                let more = format!(
                    "; LAYOUT may be omitted in a directory that is a layout, or with ${VARIABLE}"
                );
                return Err((text, hint + &more));
            }
            Some(value) => {
                let path = named(value)?;
                if self.deletes && is_here && !is_same(&path, here) {
                    return Err((
                        format!(
                            "`{command}` was given no layout, and two are possible: the current directory and `{}` from ${VARIABLE}",
                            path.display()
                        ),
                        format!("`ocisweep {command} .` uses the current directory"),
                    ));
                }
                path
            }
        };
        if self.deletes {
            term.note(&match self.variable {
                Some(_) => format!("the layout is `{}`, from ${VARIABLE}", path.display()),
                None => "the layout is the current directory".to_owned(),
            });
        }
        Ok(path)
    }
}

/// Returns the layout that the variable names.
fn named(value: &OsString) -> Result<PathBuf, LocationError> {
    let path = PathBuf::from(value);
    let Some(location) = Location::of(&path)? else {
        return Ok(path);
    };
    match location.image {
        None => Ok(location.layout),
        Some(_) => Err((
            format!(
                "${VARIABLE} names a whole layout, and `{}` an image of it",
                path.display()
            ),
            format!("`export {VARIABLE}={}`", quote_path(&location.layout)),
        )),
    }
}

/// Returns `true` for the commands that change a layout, in a dry run too.
const fn deletes(command: &Command) -> bool {
    matches!(
        command,
        Command::Gc(_)
            | Command::Rm(_)
            | Command::Prune(_)
            | Command::Undo(_)
            | Command::Trash(TrashCommand::Empty(_))
            | Command::Hold(HoldCommand::Add(_) | HoldCommand::Rm(_))
    )
}

impl Location {
    /// Reads a location; `None`: the word is a path.
    fn of(word: &Path) -> Result<Option<Self>, LocationError> {
        let Some(text) = word.to_str() else {
            return Ok(None);
        };
        let is_location = |schemes: &[&str]| schemes.iter().any(|scheme| text.starts_with(scheme));
        if !is_location(&ON_DISK) && !is_location(&ELSEWHERE)
            || std::fs::symlink_metadata(word).is_ok()
        {
            return Ok(None);
        }
        let mut schemes = ON_DISK.iter();
        let Some(rest) = schemes.find_map(|scheme| text.strip_prefix(scheme)) else {
            return Err((
                format!("`{text}` does not name a layout on disk"),
                format!("a layout is a path, or begins with {}", ON_DISK.join(", ")),
            ));
        };
        let is_there = |path: &str| std::fs::symlink_metadata(path).is_ok();
        if text.starts_with("ocidir://")
            && let Some((path, digest)) = rest.split_once('@')
            && Digest::parse(digest).is_ok()
            && !is_there(rest)
        {
            let path = Self::split(text, path)?.layout;
            return Ok(Some(Self {
                layout: path,
                image: Some(digest.to_owned()),
            }));
        }
        Self::split(text, rest).map(Some)
    }

    /// Splits at the first colon; or at a later one, or nowhere, if only that names an existing path.
    fn split(text: &str, rest: &str) -> Result<Self, LocationError> {
        let colons = rest.match_indices(':').map(|(at, _)| at);
        let ends = colons.clone().chain([rest.len()]);
        let there: Vec<usize> = ends
            .filter(|&end| end > 0 && std::fs::symlink_metadata(&rest[..end]).is_ok())
            .collect();
        let first = rest.find(':').unwrap_or(rest.len());
        let end = match there.as_slice() {
            [] => first,
            [end] => *end,
            [short, .., long] => {
                return Err((
                    format!(
                        "`{text}` could be `{}` or `{}`: both exist",
                        &rest[..*short],
                        &rest[..*long]
                    ),
                    "write the path without the transport".to_owned(),
                ));
            }
        };
        let layout = PathBuf::from(&rest[..end]);
        if layout.as_os_str().is_empty() {
            return Err((
                format!("`{text}` names no directory or file"),
                "such as oci:DIR:TAG".to_owned(),
            ));
        }
        let image = rest.get(end + 1..).filter(|image| !image.is_empty());
        Ok(Self {
            layout,
            image: image.map(str::to_owned),
        })
    }
}

/// Returns `true` if a directory has the files of a layout, so that it is the default.
pub fn is_layout(path: &Path) -> bool {
    path.join("index.json").is_file()
        && (path.join("blobs").is_dir() || path.join("oci-layout").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, Option<String>)> {
        let location = Location::of(Path::new(text)).expect(text)?;
        Some((
            location.layout.to_string_lossy().into_owned(),
            location.image,
        ))
    }

    #[test]
    fn locations_are_read_as_skopeo_and_regctl_read_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, layout, image) in [
            ("oci:nowhere", "nowhere", None),
            ("oci:nowhere:v1", "nowhere", Some("v1")),
            ("oci:/no/where:app:1.4", "/no/where", Some("app:1.4")),
            ("oci:nowhere:", "nowhere", None),
            ("oci:C:\\images:v1", "C", Some("\\images:v1")),
            ("oci-archive:no.tar:v1", "no.tar", Some("v1")),
            (
                "docker-archive:no.tar:ex.com/app:1",
                "no.tar",
                Some("ex.com/app:1"),
            ),
            ("ocidir://no/where:v1", "no/where", Some("v1")),
            ("ocidir://nowhere", "nowhere", None),
        ] {
            let want = Some((layout.to_owned(), image.map(str::to_owned)));
            assert_eq!(parsed(text), want, "{text}");
        }
        for text in [
            format!("ocidir://nowhere@{digest}"),
            format!("ocidir://nowhere:v1@{digest}"),
        ] {
            let want = Some(("nowhere".to_owned(), Some(digest.clone())));
            assert_eq!(parsed(&text), want, "{text}");
        }
        for text in ["images", "./oci:images", "app:1", "ocidir:images", "-", ""] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn locations_that_are_not_on_disk_are_refused() {
        for text in [
            "docker://alpine",
            "dir:images",
            "containers-storage:x",
            "oci:",
            "oci::v1",
        ] {
            assert!(Location::of(Path::new(text)).is_err(), "{text}");
        }
    }
}
