//! The command `ocisweep`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
