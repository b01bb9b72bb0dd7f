//! The parts of a run, each with a suitable number of rounds: parts that take long and hardly vary are measured less often.

use std::io;

use crate::args::{self, Options};

/// Returns the parts of a run, in their order.
///
/// # Errors
/// If a requested shape does not exist.
pub(crate) fn of(options: &Options) -> io::Result<Vec<Options>> {
    if !options.all {
        return Ok(vec![options.clone()]);
    }
    let nothing = Options {
        sweeps: false,
        strace: false,
        scaling: false,
        archives: false,
        lists: false,
        trash: false,
        places: false,
        latency: false,
        phases: false,
        ..options.clone()
    };
    let sweeps = |names: &[&str], runs: usize, strace: bool| -> io::Result<Options> {
        Ok(Options {
            shapes: args::shapes(options.scale, names)?,
            sweeps: true,
            runs,
            strace,
            ..nothing.clone()
        })
    };
    Ok(vec![
        sweeps(&["P1", "P3"], 5, true)?,
        sweeps(&["P2b", "P4", "H"], 3, false)?,
        sweeps(&["M"], 1, false)?,
        Options {
            scaling: true,
            runs: 1,
            ..nothing.clone()
        },
        Options {
            lists: true,
            runs: 3,
            ..nothing.clone()
        },
        Options {
            places: true,
            runs: 1,
            ..nothing.clone()
        },
        Options {
            latency: true,
            runs: 1,
            ..nothing.clone()
        },
        Options {
            trash: true,
            shapes: args::shapes(options.scale, &["P1", "P2b"])?,
            runs: 2,
            ..nothing.clone()
        },
        Options {
            archives: true,
            dir: options.disk.clone(),
            runs: 1,
            ..nothing
        },
    ])
}
