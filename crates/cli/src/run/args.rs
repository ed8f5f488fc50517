//! The options of `hull run`, which `hull trace` has too.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{Annotation, Bytes, Cpus, EnvVar, Mount, User, mount, volume};

const EXAMPLES: &str = "\
Examples:
  hull run app.wasm -- one two              a Wasm module with two arguments
  hull run maths.wasm#add 40 2              one function of a module; prints what it gives
  hull run -it --rootfs ./busybox -- sh     a shell in a directory, which stays as it is
  hull run -v ./data:/data:ro -e TZ --memory 64m app.wasm
  hull run --net host --user 1000 --read-only --rootfs ./busybox -- id

Exit code: the container's; 128+n if signal n ended it; 125 hull failed, 126 the program cannot be
executed, 127 it was not found, 2 the command line is wrong.
SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on. 10 s after SIGTERM, or at the third
SIGINT, the container is killed. See docs/cli.md.";

/// Runs a container in the foreground, without containerd.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "hull run [OPTIONS] APP.wasm [-- ARGS...]\n       \
                      hull run [OPTIONS] --rootfs DIR -- COMMAND [ARGS...]"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) container: ContainerArgs,

    /// Afterwards print to standard error where the time went (see hull trace).
    #[arg(long)]
    pub(crate) trace: bool,
}

/// Its brackets would be links in a doc comment.
const MOUNT_HELP: &str =
    "Mount type=bind,src=PATH,dst=PATH[,ro] or type=tmpfs,dst=PATH[,size=SIZE]; may be repeated";

/// What container it is.
#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    /// Directory with a root file system. What the container changes is lost at its end: the
    /// directory itself stays as it is.
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,

    /// Let the container change the directory of --rootfs itself.
    #[arg(long, requires = "rootfs", conflicts_with = "read_only")]
    pub(crate) writable_rootfs: bool,

    /// Pass standard input on; without it the container's is empty.
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the container a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Variable NAME=VALUE, or NAME alone for the value it has here; may be repeated.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<EnvVar>,

    /// What is mounted.
    #[arg(long, value_name = "MOUNT", value_parser = mount, help = MOUNT_HELP)]
    pub(crate) mount: Vec<Mount>,

    /// Mount a file or directory of the host; may be repeated.
    #[arg(short, long, value_name = "SRC:DST[:ro]", value_parser = volume)]
    pub(crate) volume: Vec<Mount>,

    /// Most memory, swap and files in memory included: 64m, 1g.
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,

    /// Most processors: 0.5, 2.
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<Cpus>,

    /// Most processes and threads.
    #[arg(long, value_name = "N", alias = "pids-limit", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: Option<u32>,

    /// User and group, by number.
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<User>,

    /// Working directory in the container.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// Host name in the container; otherwise its name.
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// Make the root file system read-only.
    #[arg(long)]
    pub(crate) read_only: bool,

    /// Network: none but a loopback, or host for the host's.
    #[arg(
        long,
        value_name = "NET",
        default_value = "none",
        hide_possible_values = true
    )]
    pub(crate) net: Net,

    /// Name of the container: its cgroup is /hull-NAME.
    #[arg(long, alias = "id", value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Grant a capability beyond Docker's default set; may be repeated.
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,

    /// Take a capability away, or ALL; may be repeated.
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,

    /// Annotation of the container, such as io.containerd.hull.wasm.timeout=5s (see docs/wasm.md); may be
    /// repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<Annotation>,

    /// Seccomp profile: default, none, or a file with linux.seccomp of the OCI spec.
    #[arg(long, value_name = "PROFILE", default_value = "default")]
    pub(crate) seccomp: String,

    /// The Wasm file and its arguments, or with --rootfs the command.
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(crate) command: Vec<String>,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Net {
    /// A namespace of its own with nothing but a loopback.
    None,
    /// The host's, with everything that listens there.
    Host,
}
