//! An interactive shell on a terminal of its own, in which keys are pressed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use super::environment::has_tools;
use super::pty::Pty;
use super::run::PROGRAM;

/// The time limit for an answer of a shell. Far more than any needs, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A shell that completes `ocisweep`, and a command `args` that prints its arguments, in the same way.
pub(crate) struct Typing {
    shell: &'static str,
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    /// Output that no call has waited for yet.
    seen: String,
}

impl Typing {
    /// Starts a shell in a directory, which is also the home directory. `None`: this shell is not installed.
    #[track_caller]
    pub(crate) fn start(shell: &'static str, directory: &Path) -> Option<Self> {
        if !has_tools(&[shell]) {
            return None;
        }
        let program = Path::new(PROGRAM).parent().expect("it is in a directory");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [program.as_os_str(), path.as_os_str()].join(":".as_ref());
        let line = match shell {
            "bash" => "exec bash --norc --noprofile -i",
            "zsh" => "exec zsh -f -i",
            _ => "exec fish --no-config -i",
        };
        let pty = Pty::open()?.sized(160, 50);
        let mut command = pty.shell(line);
        command
            .current_dir(directory)
            .env("PATH", path)
            .env("HOME", directory)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME");
        let (child, keys) = pty.start(command);
        let mut output = keys.try_clone().expect("the terminal can be read");
        let (sender, screen) = channel();
        spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let shown = buffer.iter().take(count).copied().collect();
                if sender.send(shown).is_err() {
                    break;
                }
            }
        });
        let mut typing = Self {
            shell,
            child,
            keys,
            screen,
            seen: String::new(),
        };
        typing.set_up();
        Some(typing)
    }

    /// Loads the script, and defines `args`. The marks are composed so that the echo of a typed line is not mistaken for
    /// output.
    fn set_up(&mut self) {
        let line = match self.shell {
            "bash" => {
                "PS1='READY''> '; bind 'set enable-bracketed-paste off'; source <(ocisweep completions bash); \
                 complete -o nosort -F _ocisweep args; args() { printf '\\nARGS''['; printf '<%s>' \"$@\"; printf ']''END\\n'; }"
            }
            "zsh" => {
                "PS1='READY''> '; unsetopt PROMPT_SP; mkdir -p ~/.zfunc; ocisweep completions zsh >| ~/.zfunc/_ocisweep; \
                 fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit -u -D; compdef _ocisweep args; \
                 args() { printf '\\nARGS''['; printf '<%s>' \"$@\"; printf ']''END\\n'; }"
            }
            _ => {
                "function fish_prompt; echo -n 'READY''> '; end; function fish_greeting; end; \
                 ocisweep completions fish | source; complete -c args -f -a '(__ocisweep_complete)'; \
                 function args; printf '\\nARGS''['; printf '<%s>' $argv; printf ']''END\\n'; end"
            }
        };
        self.press(line);
        self.press("\r");
        self.wait_for("READY> ");
    }

    /// Presses keys.
    #[track_caller]
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .and_then(|()| self.keys.flush())
            .expect("the shell reads");
    }

    /// Waits for a text on the screen, and returns the output from the last call to its end.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(shown) => self.seen.push_str(&String::from_utf8_lossy(&shown)),
                Err(error) => panic!(
                    "{} does not show {text:?} ({error}): {:?}",
                    self.shell, self.seen
                ),
            }
        }
    }

    /// Types a line after `args `, runs it, and returns the arguments.
    #[track_caller]
    pub(crate) fn args(&mut self, line: &str) -> Vec<String> {
        self.press(&format!("args {line}\r"));
        self.wait_for("ARGS[");
        let text = self.wait_for("]END");
        self.wait_for("READY> ");
        let text = text.trim_end_matches("]END");
        let text = text
            .strip_prefix('<')
            .and_then(|text| text.strip_suffix('>'));
        let words = text.unwrap_or_default().split("><");
        words.map(str::to_owned).collect()
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        // Dropping this closes the terminal, which ends the shell.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
