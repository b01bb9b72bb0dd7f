//! Commands on a terminal of their own: a pseudoterminal, which `setsid` makes the controlling terminal of a new session.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::environment::has_tools;
use super::run::new_command;

/// Ends the input of a program that reads lines: Ctrl-D on an empty line.
pub(crate) const END_OF_INPUT: u8 = 0x04;

/// A new terminal.
pub(crate) struct Pty {
    /// The user's side: reads the screen, writes what is typed.
    person: File,
    program: OwnedFd,
}

impl Pty {
    /// Opens a terminal without a size, as the kernel creates it, with echo. `None`: it cannot become a controlling terminal
    /// on this machine.
    #[track_caller]
    pub(crate) fn open() -> Option<Self> {
        if !has_tools(&["setsid"]) {
            return None;
        }
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal can be made");
        grantpt(&person).expect("it is ours");
        unlockpt(&person).expect("it can be unlocked");
        let name = ptsname(&person, Vec::new()).expect("it has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = rustix::fs::open(name, flags, Mode::empty()).expect("it can be opened");
        Some(Self {
            person: person.into(),
            program,
        })
    }

    /// Sets its size.
    pub(crate) fn sized(self, columns: u16, rows: u16) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.program, size).expect("its size can be set");
        self
    }

    /// Disables echo, since the program may or may not be fast enough to disable it before something is typed.
    pub(crate) fn without_echo(self) -> Self {
        let mut modes = tcgetattr(&self.program).expect("it has modes");
        modes.local_modes -= LocalModes::ECHO;
        tcsetattr(&self.program, OptionalActions::Now, &modes).expect("its modes can be set");
        self
    }

    /// Returns a command that runs a shell command line on it, with an environment that does not depend on ours.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let stream = || Stdio::from(self.program.try_clone().expect("it can be opened again"));
        let mut command = new_command("setsid");
        command
            .args(["--ctty", "sh", "-c", line])
            .env("TERM", "xterm")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        command
    }

    /// Starts it. The output ends with the last process on the terminal: this process keeps no handle of it.
    #[track_caller]
    pub(crate) fn start(self, mut command: Command) -> (Child, File) {
        let child = command.spawn().expect("`setsid` can be started");
        (child, self.person)
    }
}
