//! The command line of ktrial: parse the arguments, run one command, turn its outcome into an exit code.

mod args;
mod commands;
mod exit;
mod load;
mod page;
mod style;

use args::{Cli, Command};
use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way too, and are no mistake.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::AsExpected
            };
            let _ = error.print();
            return exit.into();
        }
    };
    let exit = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Sweep(args) => commands::sweep::sweep(&args),
        Command::Yardstick(args) => commands::yardstick::yardstick(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::List(args) => commands::list::list(&args),
        Command::Describe(args) => commands::describe::describe(&args),
        Command::Schema => commands::schema::schema(),
    };
    exit.into()
}
