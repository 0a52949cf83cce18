//! The commands, a file each.

mod check;
mod compare;
mod completions;
mod cost;
mod ctl;
mod demo;
mod doctor;
mod explain;
mod man;
mod no_proxy;
mod run;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use phzd::config::{Config, Problem};

/// Where a package puts the configuration.
const CONFIG: &str = "/etc/phzd/phzd.toml";

/// Split-horizon DNS for an AWS VPC: chosen S3 buckets resolve to an interface endpoint for the subnets you allow, and
/// everything else is what the VPC's resolver says.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What phzd can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: answer and forward until stopped
    ///
    /// SIGTERM or Ctrl-C ends it after what is under way is answered. SIGHUP reads the configuration again; if that has
    /// a mistake, the old one goes on serving and the log says why.
    Run {
        /// The configuration; files in the folder of the same name with `.d` for `.toml` are added to it
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
        /// The folder in which learned addresses and cached answers are kept over a restart; systemd names it. None: they
        /// are not kept
        #[arg(long, value_name = "FOLDER", env = "STATE_DIRECTORY")]
        state_dir: Option<PathBuf>,
    },
    /// Say every mistake of a configuration
    ///
    /// Exit status 0 if `phzd run` would serve with it, 1 if it has a mistake.
    Check {
        /// The configuration
        #[arg(value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// Ask the running daemon how it is, or have it reload, or forget a name
    ///
    /// For root and for phzd's own user. Exit status 1 if the daemon does not run, or says no.
    Ctl(ctl::Ctl),
    /// Say why a client is answered as it is: who it is, who decides, what it gets
    ///
    /// With the file and the line of all that has a part in it. No packet is sent.
    Explain(explain::Explain),
    /// Ask phzd and another resolver the same, and show field by field where they differ
    ///
    /// For whoever has a hosted zone behind the other. What differs on purpose is said with its reason. Exit status 1 if
    /// something differs that should not.
    Compare(compare::Compare),
    /// Print what hosts behind an HTTP proxy must leave to themselves: the private names, as NO_PROXY and its kin have them
    ///
    /// With a proxy it is the proxy that resolves a name, and it gets the public address.
    NoProxy(no_proxy::NoProxy),
    /// Say what a month costs, with a Route 53 hosted zone for each bucket and with phzd
    ///
    /// Line by line, by the prices that phzd comes with or those of a file.
    Cost(cost::Cost),
    /// Examine this host: all that must hold for the private names to work, and what to do where it does not
    ///
    /// Looks at name servers, ports, resolvers, endpoints and their certificates, answers, proxies and more, in some ten
    /// seconds at most, and changes nothing. As root it sees more. Exit status 1 if something fails.
    Doctor {
        /// The configuration that phzd runs with
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
        /// Print an array of {check, subject, verdict, said, remedy}
        #[arg(long)]
        json: bool,
    },
    /// Show what phzd does, without root and without AWS
    ///
    /// Starts the real server on 127.0.0.1:5300 with a stand-in for the VPC's resolver, asks as a host of the private
    /// and as one of the public subnet, shows the answers side by side, and goes on serving until Ctrl-C.
    Demo {
        /// End after the questions; exit status 1 if an answer was wrong
        #[arg(long)]
        once: bool,
    },
    /// Print completions for a shell
    ///
    /// Packages have them already. By hand, in bash: source <(phzd completions bash)
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a manual page, in roff
    ///
    /// Packages have them already, for man(1). By hand: phzd man phzd | man -l -
    Man {
        /// Which one
        page: man::Page,
    },
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config, state_dir } => run::run(&config, state_dir),
        Command::Check { config } => check::check(&config),
        Command::Ctl(arguments) => ctl::ctl(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Cost(arguments) => cost::cost(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::NoProxy(arguments) => no_proxy::no_proxy(&arguments),
        Command::Doctor { config, json } => doctor::doctor(&config, json),
        Command::Demo { once } => demo::demo(once),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { page } => man::man(page),
    }
}

/// Reads a configuration and says what is wrong or doubtful about it; `None` if it has a mistake.
fn load(path: &Path) -> Option<(Config, Vec<Problem>)> {
    match Config::load(path) {
        Ok((config, warnings)) => {
            warnings.iter().for_each(|warning| say(warning));
            Some((config, warnings))
        }
        Err(problems) => {
            say(&problems);
            None
        }
    }
}

/// Writes a line to standard error. Nobody may be there to read it (`phzd check 2>&1 | head -1`), which is no reason to
/// panic.
fn say(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
