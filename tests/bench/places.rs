//! The same layouts on several file systems, with a warm and with an empty page cache: ext4, xfs and btrfs, each on a loop device of a
//! file on the machine's own disk, and that disk itself.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::args::Options;
use crate::contend::{Bench, Contender, Note, Row};
use crate::host;
use crate::measure::find;
use crate::report::{compared, seconds, thousands};
use crate::shape::{Images, Scale, Shape};
use crate::targets::{Targets, Wanted};

/// Those that only read, after their reference.
const READING: [Contender; 6] = [
    Contender::Stat,
    Contender::FloorDry,
    Contender::DryRun,
    Contender::Df,
    Contender::Ls,
    Contender::Quick,
];

/// Those that sweep, after their reference.
const SWEEPING: [Contender; 4] = [
    Contender::Floor,
    Contender::Ours,
    Contender::Rm,
    Contender::Umoci,
];

/// The command that creates a file system.
struct Maker {
    name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
}

const MAKERS: [Maker; 3] = [
    Maker {
        name: "ext4",
        program: "mkfs.ext4",
        // Deferred initialisation would otherwise be written while the runs are measured.
        args: &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    },
    Maker {
        name: "xfs",
        program: "mkfs.xfs",
        args: &["-q", "-f"],
    },
    Maker {
        name: "btrfs",
        program: "mkfs.btrfs",
        args: &["-q", "-f"],
    },
];

/// A file system on a loop device, which is unmounted and detached when this is dropped.
#[derive(Debug)]
struct Mount {
    point: PathBuf,
    _directory: TempDir,
}

impl Mount {
    /// Makes a file system in a file below a directory, and mounts it. The inner error explains why that is impossible here.
    fn new(below: &Path, maker: &Maker, bytes: u64) -> io::Result<Result<Self, String>> {
        let (Some(make), Some(mount)) = (find_tool(maker.program), find_tool("mount")) else {
            return Ok(Err(format!("{} is not installed", maker.program)));
        };
        let directory = tempfile::Builder::new()
            .prefix("ocisweep-place-")
            .tempdir_in(below)?;
        let (image, point) = (directory.path().join("image"), directory.path().join("top"));
        fs::File::create(&image)?.set_len(bytes)?;
        fs::create_dir(&point)?;
        // The loop device is freed with the mount.
        let steps = [
            Command::new(make).args(maker.args).arg(&image).output()?,
            Command::new(mount)
                .args(["-o", "loop"])
                .args([&image, &point])
                .output()?,
        ];
        for step in steps {
            if !step.status.success() {
                let said = String::from_utf8_lossy(&step.stderr);
                let said = said.lines().next_back().unwrap_or_default();
                return Ok(Err(said.replace('|', "/")));
            }
        }
        Ok(Ok(Self {
            point,
            _directory: directory,
        }))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(umount) = find_tool("umount") else {
            return;
        };
        let unmount = |args: &[&str]| {
            Command::new(&umount)
                .args(args)
                .arg(&self.point)
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        // A busy file system is unmounted once it is idle.
        let _unmounted = unmount(&[]) || unmount(&["-l"]);
    }
}

/// Finds an administration program: these are not on the PATH of every user.
fn find_tool(name: &str) -> Option<PathBuf> {
    let others = ["/usr/sbin", "/sbin"].map(|dir| Path::new(dir).join(name));
    find(name).or_else(|| others.into_iter().find(|path| path.is_file()))
}

/// The results of one place: the rows of each shape, warm and cold, in the order of [`kinds`].
struct Measured {
    name: String,
    rows: Result<Vec<Vec<Row>>, String>,
}

fn shapes(scale: Scale) -> Vec<Shape> {
    let shape = |name, count, layers| Shape::halves(name, Images::plain(count, layers), count);
    match scale {
        Scale::Full => vec![shape("P1", 1000, 10), shape("P2b/5", 2000, 8)],
        Scale::Smoke => vec![shape("P1", 3, 10)],
    }
}

/// Returns each shape, warm and cold.
fn kinds(shapes: &[Shape]) -> impl Iterator<Item = (&Shape, bool)> {
    let both = |shape| [(shape, false), (shape, true)];
    shapes.iter().flat_map(both)
}

/// Measures all places, and prints a table for each shape, warm and cold. `false`: a run did not do its work.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench, targets: &mut Targets) -> io::Result<bool> {
    writeln!(out, "\n## Places")?;
    if !rustix::process::geteuid().is_root() {
        writeln!(
            out,
            "\nSkipped: only root mounts, and drops the page cache."
        )?;
        return Ok(true);
    }
    let options = &bench.options;
    let shapes = shapes(options.scale);
    let bytes = match options.scale {
        Scale::Full => 4 << 30,
        Scale::Smoke => 400 << 20,
    };
    fs::create_dir_all(&options.disk)?;
    let mut places = vec![Measured {
        name: format!("own {}", host::file_system(&options.disk)?.name),
        rows: measure(options, &options.disk, &shapes)?,
    }];
    for maker in &MAKERS {
        let rows = match Mount::new(&options.disk, maker, bytes)? {
            Ok(mount) => measure(options, &mount.point, &shapes)?,
            Err(why) => Err(why),
        };
        let name = maker.name.to_owned();
        places.push(Measured { name, rows });
    }
    for place in &places {
        if let Err(why) = &place.rows {
            writeln!(out, "\n{} was skipped: {why}", place.name)?;
        }
    }
    let mut is_sound = true;
    for (position, (shape, is_cold)) in kinds(&shapes).enumerate() {
        let measured: Vec<_> = places
            .iter()
            .filter_map(|place| Some((&*place.name, place.rows.as_ref().ok()?.get(position)?)))
            .map(|(name, rows)| (name, &**rows))
            .collect();
        is_sound &= table(out, shape, is_cold, &measured)?;
        for (name, rows) in measured.iter().filter(|_| !is_cold) {
            let on = match MAKERS.iter().any(|maker| maker.name == *name) {
                true => format!("{}, {name} on a loop device", shape.name),
                false => format!("{}, {name}", shape.name),
            };
            for (row, base, limit) in [
                (Contender::Ours, Contender::Floor, 1.25),
                (Contender::DryRun, Contender::Stat, 1.5),
                (Contender::Df, Contender::Stat, 1.5),
            ] {
                let what = format!("wall of {} / {}", row.label(), base.label());
                let found = pair(rows, row, base);
                targets.add(&on, &what, Wanted::AtMost(limit), found);
            }
        }
    }
    Ok(is_sound)
}

/// Measures all kinds in one place. The inner error explains why that is impossible here.
fn measure(
    options: &Options,
    dir: &Path,
    shapes: &[Shape],
) -> io::Result<Result<Vec<Vec<Row>>, String>> {
    let mut all = Vec::new();
    for (shape, cold) in kinds(shapes) {
        let bench = Bench::new(&Options {
            dir: dir.to_owned(),
            cold,
            strace: false,
            ..options.clone()
        })?;
        // Root in a container may not be permitted to do this.
        if let Err(error) = bench.settle() {
            return Ok(Err(error.to_string()));
        }
        // Emptying the cache of a large machine takes seconds: once is enough to verify that it works.
        let bench = match options.scale {
            Scale::Full => bench,
            Scale::Smoke => Bench::new(&Options {
                cold: false,
                ..bench.options.clone()
            })?,
        };
        let mut rows = bench.reading(&bench.generate(shape)?, &READING)?;
        let sweeps = Bench::new(&Options {
            runs: options.runs.div_ceil(2),
            ..bench.options.clone()
        })?;
        rows.extend(sweeps.sweeping(shape, &SWEEPING)?);
        all.push(rows);
    }
    Ok(Ok(all))
}

/// Prints the results of all places for one kind. `false`: a run did not do its work.
fn table(
    out: &mut dyn Write,
    shape: &Shape,
    is_cold: bool,
    places: &[(&str, &[Row])],
) -> io::Result<bool> {
    let cache = if is_cold { "cold" } else { "warm" };
    let runs = |contender: Contender| {
        let rows = places.first().map_or(&[][..], |(_, rows)| rows);
        let row = rows.iter().find(|row| row.contender == contender);
        row.map_or(0, |row| row.samples.len())
    };
    writeln!(
        out,
        "\n{}, {} blobs, {cache}: medians of {} rounds for what reads and {} for what sweeps; in brackets the ratio to the first row of \
         its kind.\n",
        shape.name,
        thousands(shape.blobs()),
        runs(Contender::Stat),
        runs(Contender::Floor)
    )?;
    let names: Vec<_> = places.iter().map(|(name, _)| *name).collect();
    writeln!(out, "| | {} |", names.join(" | "))?;
    writeln!(out, "| --- |{}", " ---: |".repeat(names.len()))?;
    let mut is_sound = true;
    for (contender, base) in READING
        .map(|it| (it, READING[0]))
        .into_iter()
        .chain(SWEEPING.map(|it| (it, SWEEPING[0])))
    {
        write!(out, "| {} |", contender.label())?;
        for (_, rows) in places {
            let row = rows.iter().find(|row| row.contender == contender);
            let note = row.and_then(|row| row.note.as_ref());
            is_sound &= !matches!(note, Some(Note::Failed(_)));
            let text = match note {
                Some(Note::Failed(why)) => format!("**failed**: {}", why.replace('|', "/")),
                Some(Note::Skipped(_)) => "–".to_owned(),
                None => time(row, pair(rows, contender, base)),
            };
            write!(out, " {text} |")?;
        }
        writeln!(out)?;
    }
    Ok(is_sound)
}

fn time(row: Option<&Row>, ratio: Option<f64>) -> String {
    let wall = row.and_then(|row| row.median(|sample| Some(sample.wall.as_secs_f64())));
    let wall = wall.map_or("–".to_owned(), seconds);
    ratio.map_or(wall.clone(), |ratio| format!("{wall} ({ratio:.2})"))
}

/// Compares two of the rows.
fn pair(rows: &[Row], row: Contender, base: Contender) -> Option<f64> {
    let find = |contender| rows.iter().find(|row| row.contender == contender);
    compared(find(row)?, find(base)?)
}
