//! The command line: its subcommands, and how a wrong one is told.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, one_line};
use crate::{cache, check, compile, features, guard, image, output, plan, run, stats, trace};

/// Containers without containerd, and a look at what the shim does.
#[derive(Debug, Parser)]
#[command(name = "hull", version, disable_help_subcommand = false, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  hull run app.wasm -- one two
  hull run -it --rootfs ./busybox -- sh
  hull compile app.wasm
  hull trace --rootfs ./busybox -- true

hull COMMAND --help says more about a command.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a container in the foreground, without containerd
    Run(run::RunArgs),
    /// Compile a Wasm file, so that its first start does not have to
    Compile(compile::CompileArgs),
    /// Run a container and show where the time went
    Trace(trace::TraceArgs),
    /// See whether this machine can run containers, and what to do where it cannot
    Check(check::CheckArgs),
    /// Show what the shim would do for a config, in order
    Plan(plan::PlanArgs),
    /// Show what a config may ask of the shim, as the OCI features document
    Features(features::FeaturesArgs),
    /// Look at the store of compiled Wasm, and make room in it
    Cache(cache::CacheArgs),
    /// Show how the Wasm servers of this machine do
    Stats(stats::StatsArgs),
    /// Remove a container when its hull is killed
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    /// Ask containerd for the module of an image
    #[command(hide = true)]
    ImageModule(image::ImageModuleArgs),
}

impl Command {
    /// Does it; gives the exit code of `hull`.
    ///
    /// # Errors
    /// The one line that says why it could not be done.
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        match self {
            Self::Run(args) => run::run(args),
            Self::Compile(args) => compile::run(args),
            Self::Trace(args) => trace::run(args),
            Self::Guard(args) => guard::run(args),
            Self::ImageModule(args) => image::run(args),
            Self::Check(args) => check::run(args),
            Self::Plan(args) => plan::run(args),
            Self::Cache(args) => cache::run(args),
            Self::Stats(args) => stats::run(args),
            Self::Features(args) => features::run(args),
        }
    }
}

/// Reads the command line. `--help` and `--version` are printed and end the program.
///
/// # Errors
/// What is wrong with the command line, with exit code 2.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    Cli::try_parse_from(&words).or_else(|error| {
        if error.use_stderr() {
            return Err(usage_error(&error, &words));
        }
        let text = error.render().to_string();
        output::print(&format!("{}\n", text.trim_end()))?;
        std::process::exit(0)
    })
}

/// clap's message in one line, without its usage text.
fn usage_error(error: &clap::Error, words: &[OsString]) -> Error {
    let incomplete = matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    );
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let cause = if incomplete {
        "a command is missing".to_owned()
    } else {
        one_line(message.strip_prefix("error: ").unwrap_or(message))
    };
    let known = Cli::command();
    let command = words
        .get(1)
        .and_then(|word| word.to_str())
        .filter(|word| known.find_subcommand(word).is_some());
    match command {
        Some(command) => Error::usage(command, cause).advise(format!("see hull {command} --help")),
        None => Error::usage("command line", cause).advise("see hull --help"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(words: &str) -> String {
        let words = words.split(' ').map(OsString::from);
        parse(words).unwrap_err().to_string()
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        for (words, part) in [
            (
                "hull",
                "command line: a command is missing; see hull --help",
            ),
            ("hull frob", "command line: unrecognized subcommand 'frob'"),
            (
                "hull run --frob a.wasm",
                "run: unexpected argument '--frob' found",
            ),
            ("hull run --pids many a.wasm", "run: invalid value 'many'"),
            ("hull compile", "see hull compile --help"),
        ] {
            let text = wrong(words);
            assert!(text.contains(part), "{words}: {text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let words = "hull run -i app.wasm --frob -- -x"
            .split(' ')
            .map(OsString::from);
        let Command::Run(args) = parse(words).unwrap().command else {
            panic!("not run")
        };
        assert_eq!(args.container.command, ["app.wasm", "--frob", "--", "-x"]);
        assert!(args.container.interactive);
    }
}
