//! The contenders, and running them in turn.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::args::Options;
use crate::host::{self, FileSystem};
use crate::layout::{Layout, MIDDLE_AGE, Place};
use crate::measure::{self, Calls, Invocation, Meter, Sample};
use crate::parallel;
use crate::shape::Shape;

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// `ocisweep gc`.
    Ours,
    /// The same of another build.
    Baseline,
    /// The floor.
    Floor,
    /// `xargs rm` of the list.
    Rm,
    /// `find -delete` of files older than any live blob.
    Find,
    /// `ocisweep apply` of a plan that was made before.
    Apply,
    /// `umoci gc`.
    Umoci,
    /// `ocisweep gc --dry-run`.
    DryRun,
    /// `ocisweep df`.
    Df,
    /// `ocisweep prune --dry-run` by a rule that keeps half of the images.
    Prune,
    /// `ocisweep ls`.
    Ls,
    /// `ocisweep check --quick`.
    Quick,
    /// Listing the blobs and a `stat` of each.
    Stat,
    /// `ocisweep check --orphans`.
    Check,
    /// Reading and hashing all blobs.
    Hash,
    /// The floor of a dry run: all that a sweep reads, and nothing deleted.
    FloorDry,
}

impl Contender {
    /// Those that sweep. The reference comes first.
    const SWEEPING: [Self; 7] = [
        Self::Floor,
        Self::Ours,
        Self::Baseline,
        Self::Apply,
        Self::Rm,
        Self::Find,
        Self::Umoci,
    ];

    /// Those that only read.
    const READING: [Self; 5] = [
        Self::Stat,
        Self::FloorDry,
        Self::DryRun,
        Self::Df,
        Self::Prune,
    ];

    /// Those that read everything.
    const HASHING: [Self; 2] = [Self::Hash, Self::Check];

    /// Returns its name in the report.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ours => "`ocisweep gc`",
            Self::Baseline => "baseline `gc`",
            Self::Floor => "floor",
            Self::Rm => "`xargs rm`",
            Self::Find => "`find -delete`",
            Self::Apply => "`ocisweep apply`",
            Self::Umoci => "`umoci gc`",
            Self::DryRun => "`ocisweep gc -n`",
            Self::Df => "`ocisweep df`",
            Self::Prune => "`ocisweep prune -n`",
            Self::Ls => "`ocisweep ls`",
            Self::Quick => "`ocisweep check --quick`",
            Self::Stat => "list and stat",
            Self::Check => "`ocisweep check`",
            Self::Hash => "read and hash",
            Self::FloorDry => "floor of a dry run",
        }
    }
}

/// The result of a contender.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) contender: Contender,
    /// One sample a round, in the order of the rounds.
    pub(crate) samples: Vec<Sample>,
    pub(crate) calls: Option<Calls>,
    /// Why there is nothing to compare.
    pub(crate) note: Option<Note>,
}

/// Why a contender has no numbers.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// It is not installed, or was not requested.
    Skipped(String),
    /// It did not do its work.
    Failed(String),
}

impl Row {
    const fn new(contender: Contender) -> Self {
        Self {
            contender,
            samples: Vec::new(),
            calls: None,
            note: None,
        }
    }

    fn fail(&mut self, why: String) {
        self.note = Some(Note::Failed(why));
    }

    /// Returns the median of something, over the rounds.
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        measure::median(self.samples.iter().filter_map(of))
    }
}

/// The measurements of one shape.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) sweeping: Vec<Row>,
    pub(crate) reading: Vec<Row>,
}

impl Measured {
    /// Returns `true` if every contender did exactly the required work.
    pub(crate) fn is_sound(&self) -> bool {
        self.sweeping
            .iter()
            .chain(&self.reading)
            .all(|row| !matches!(row.note, Some(Note::Failed(_))))
    }

    /// Returns the row of a contender.
    pub(crate) fn row(&self, contender: Contender) -> Option<&Row> {
        self.sweeping
            .iter()
            .chain(&self.reading)
            .find(|row| row.contender == contender)
    }
}

/// Everything that is needed to measure.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) meter: Meter,
    pub(crate) file_system: FileSystem,
    umoci: Option<PathBuf>,
    xargs: Option<PathBuf>,
    find: Option<PathBuf>,
    floor: PathBuf,
    work: TempDir,
    /// The measuring programs write elsewhere, so that only the test uses the file system under test.
    _notes: TempDir,
}

impl Bench {
    /// Prepares a directory to work in.
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        std::fs::create_dir_all(&options.dir)?;
        let work = tempfile::Builder::new()
            .prefix("ocisweep-bench-")
            .tempdir_in(&options.dir)?;
        let notes = TempDir::new()?;
        Ok(Self {
            options: options.clone(),
            meter: Meter::new(notes.path()),
            file_system: host::file_system(work.path())?,
            umoci: measure::find("umoci"),
            xargs: measure::find("xargs"),
            find: measure::find("find"),
            floor: std::env::current_exe()?,
            work,
            _notes: notes,
        })
    }

    /// Returns the program that does the least.
    pub(crate) fn floor(&self) -> &Path {
        &self.floor
    }

    /// Drops the page cache, if requested.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if self.options.cold {
            let work = std::fs::File::open(self.work.path())?;
            rustix::fs::syncfs(&work)?;
            let path = "/proc/sys/vm/drop_caches";
            std::fs::write(path, "3").map_err(|error| {
                io::Error::other(format!(
                    "cannot write `{path}`, which drops the page cache: {error}"
                ))
            })?;
        }
        Ok(())
    }

    /// Makes a fresh layout.
    pub(crate) fn generate(&self, shape: &Shape) -> io::Result<Layout> {
        let dir = tempfile::Builder::new()
            .prefix("layout-")
            .tempdir_in(self.work.path())?;
        Layout::temporary(shape, dir)
    }

    /// Returns the command of a contender, or why it is skipped.
    fn call(&self, contender: Contender, place: &Place) -> Result<Invocation, String> {
        let path = place.layout();
        let ocisweep = |program: Option<&PathBuf>, args: &[&str]| {
            let program = program.ok_or("not asked for")?;
            let args = args.iter().map(OsString::from);
            Ok(Invocation::new(program, args.chain([path.clone().into()])))
        };
        let floor = |args: Vec<OsString>| Ok(Invocation::new(&self.floor, args));
        match contender {
            Contender::Ours => ocisweep(Some(&self.options.binary), &["gc"]),
            Contender::Baseline => ocisweep(self.options.baseline.as_ref(), &["gc"]),
            Contender::DryRun => ocisweep(Some(&self.options.binary), &["gc", "--dry-run"]),
            Contender::Df => ocisweep(Some(&self.options.binary), &["df"]),
            Contender::Ls => ocisweep(Some(&self.options.binary), &["ls"]),
            Contender::Quick => ocisweep(Some(&self.options.binary), &["check", "--quick"]),
            Contender::Prune => {
                // All images are of one repository and of the same age.
                let kept = (place.names / 2).max(1).to_string();
                let args = ["prune", "--dry-run", "--all", "--keep-last", &kept];
                ocisweep(Some(&self.options.binary), &args)
            }
            Contender::Apply => {
                let args: [OsString; 2] = ["apply".into(), place.plan().into()];
                Ok(Invocation::new(&self.options.binary, args))
            }
            Contender::Check => ocisweep(Some(&self.options.binary), &["check", "--orphans"]),
            Contender::Hash => floor(vec![
                "floor".into(),
                "--hash".into(),
                "--threads".into(),
                parallel::cores().to_string().into(),
                path.into(),
            ]),
            Contender::Floor | Contender::FloorDry => {
                let mut args: Vec<OsString> = vec![
                    "floor".into(),
                    "--list".into(),
                    place.garbage_list().into(),
                    "--documents".into(),
                    place.document_list().into(),
                    "--threads".into(),
                    self.file_system.threads.to_string().into(),
                ];
                if contender == Contender::FloorDry {
                    args.push("--dry-run".into());
                }
                args.push(path.into());
                floor(args)
            }
            Contender::Stat => floor(vec![
                "floor".into(),
                "--stat".into(),
                "--threads".into(),
                parallel::cores().to_string().into(),
                path.into(),
            ]),
            Contender::Rm => {
                let xargs = self.xargs.as_ref().ok_or("xargs is not installed")?;
                let list = place.garbage_list();
                let args: Vec<OsString> = vec![
                    "-a".into(),
                    list.into(),
                    "rm".into(),
                    "-f".into(),
                    "--".into(),
                ];
                let mut call = Invocation::new(xargs, args);
                call.directory = Some(place.blobs());
                Ok(call)
            }
            Contender::Find => {
                let find = self.find.as_ref().ok_or("find is not installed")?;
                // Between the age of the garbage and that of the live blobs.
                let minutes = format!("+{}", MIDDLE_AGE.as_secs() / 60);
                let mut args: Vec<OsString> = vec![place.blobs().into()];
                args.extend(["-type", "f", "-mmin", &minutes, "-delete"].map(Into::into));
                Ok(Invocation::new(find, args))
            }
            Contender::Umoci => {
                if !self.options.umoci {
                    return Err("not wanted".to_owned());
                }
                let umoci = self.umoci.as_ref().ok_or("umoci is not installed")?;
                let args: Vec<OsString> = vec!["gc".into(), "--layout".into(), path.into()];
                Ok(Invocation::new(umoci, args))
            }
        }
    }

    /// Returns the command lines of all contenders, with `DIR` for where the layout is.
    pub(crate) fn command_lines(&self) -> Vec<(Contender, String)> {
        let example = Place::new("DIR", 1000);
        Contender::SWEEPING
            .into_iter()
            .chain(Contender::READING)
            .chain(Contender::HASHING)
            .filter_map(|contender| {
                let call = self.call(contender, &example).ok()?;
                let program = match contender {
                    Contender::Floor | Contender::FloorDry | Contender::Stat | Contender::Hash => {
                        "bench".into()
                    }
                    _ => call.program.file_name()?.to_string_lossy(),
                };
                let args = call.args.iter().map(|arg| arg.to_string_lossy());
                let line: Vec<_> = std::iter::once(program).chain(args).collect();
                Some((contender, line.join(" ")))
            })
            .collect()
    }

    /// Returns the versions of the programs that are not this one.
    pub(crate) fn versions(&self) -> Vec<String> {
        let umoci = self.umoci.as_ref().filter(|_| self.options.umoci);
        [
            Some(&self.options.binary),
            self.options.baseline.as_ref(),
            umoci,
            self.xargs.as_ref(),
            self.find.as_ref(),
        ]
        .into_iter()
        .flatten()
        .filter_map(|program| measure::version(program))
        .collect()
    }

    /// Measures all contenders on one shape.
    pub(crate) fn shape(&self, shape: &Shape) -> io::Result<Measured> {
        if shape.is_for_hashing() {
            let reading = self.reading(&self.generate(shape)?, &Contender::HASHING)?;
            return Ok(Measured {
                sweeping: Vec::new(),
                reading,
            });
        }
        let reading = self.reading(&self.generate(shape)?, &Contender::READING)?;
        let who: Vec<_> = Contender::SWEEPING
            .into_iter()
            .filter(|who| *who != Contender::Baseline || self.options.baseline.is_some())
            .collect();
        let sweeping = self.sweeping(shape, &who)?;
        Ok(Measured { sweeping, reading })
    }

    /// Measures contenders that sweep: in each round every one gets a fresh layout.
    pub(crate) fn sweeping(&self, shape: &Shape, who: &[Contender]) -> io::Result<Vec<Row>> {
        let rounds = self.options.runs;
        // A skipped contender leaves its layout to the next one.
        let mut ready = None;
        let mut rows: Vec<_> = who.iter().copied().map(Row::new).collect();
        for round in 0..rounds + usize::from(self.counts_calls()) {
            // A different contender begins each round, so that none always follows the same one.
            let count = rows.len();
            for turn in 0..count {
                let Some(row) = rows.get_mut((turn + round) % count) else {
                    continue;
                };
                if row.note.is_some() {
                    continue;
                }
                let layout = match ready.take() {
                    Some(layout) => layout,
                    None => self.generate(shape)?,
                };
                if row.contender == Contender::Apply
                    && let Err(error) = self.write_plan(&layout.place)
                {
                    row.fail(error.to_string());
                    continue;
                }
                match self.call(row.contender, &layout.place) {
                    Ok(call) if round < rounds => self.take_time(row, &call),
                    Ok(call) => self.take_calls(row, &call),
                    Err(why) => {
                        row.note = Some(Note::Skipped(why));
                        ready = Some(layout);
                        continue;
                    }
                }
                if row.note.is_none()
                    && let Some(fault) = layout.fault_after_sweep()?
                {
                    row.fail(fault);
                }
            }
        }
        Ok(rows)
    }

    /// Writes the plan of a prune whose rule keeps all images: only the garbage is deleted.
    fn write_plan(&self, place: &Place) -> io::Result<()> {
        let kept = place.names.to_string();
        let args = [
            "prune",
            "--dry-run",
            "--all",
            "--keep-last",
            &kept,
            "--plan",
        ];
        let mut args: Vec<OsString> = args.map(Into::into).into();
        args.extend([place.plan().into(), place.layout().into()]);
        let call = Invocation::new(&self.options.binary, args);
        self.meter.run(&call).map(drop)
    }

    /// Measures those that only read, all on the same layout.
    pub(crate) fn reading(&self, layout: &Layout, who: &[Contender]) -> io::Result<Vec<Row>> {
        let mut rows: Vec<_> = who.iter().copied().map(Row::new).collect();
        for round in 0..self.options.runs + usize::from(self.counts_calls()) {
            for row in rows.iter_mut().filter(|row| row.note.is_none()) {
                match self.call(row.contender, &layout.place) {
                    Ok(call) if round < self.options.runs => self.take_time(row, &call),
                    Ok(call) => self.take_calls(row, &call),
                    Err(why) => row.note = Some(Note::Skipped(why)),
                }
            }
        }
        if let Some(fault) = layout.fault_untouched()? {
            for row in &mut rows {
                row.fail(format!("one of the reading commands wrote: {fault}"));
            }
        }
        Ok(rows)
    }

    fn counts_calls(&self) -> bool {
        self.options.strace && self.meter.counts_calls()
    }

    fn take_time(&self, row: &mut Row, call: &Invocation) {
        match self.settle().and_then(|()| self.meter.run(call)) {
            Ok(sample) => row.samples.push(sample),
            Err(error) => row.fail(error.to_string()),
        }
    }

    fn take_calls(&self, row: &mut Row, call: &Invocation) {
        match self.meter.count(call) {
            Ok(calls) => row.calls = calls,
            Err(error) => row.fail(error.to_string()),
        }
    }
}
