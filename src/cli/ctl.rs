//! `phzd ctl`: asks the running daemon, or has it do something, over its control socket.

mod show;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::operator::client::{CannotAsk, ask};
use crate::operator::control::{Flushed, Reloaded};
use crate::operator::status::Status;
use phzd::config::File;
use phzd::endpoint::watch::Look;
use phzd::observation::{CachedAnswer, Observation};

/// Where the daemon's socket is unless its configuration says otherwise.
const SOCKET: &str = "/run/phzd/control.sock";

/// The arguments.
#[derive(Debug, Args)]
pub struct Ctl {
    #[command(subcommand)]
    what: What,
    /// The control socket [default: server.control of the configuration]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The configuration that says where the socket is
    #[arg(long, value_name = "FILE", default_value = super::CONFIG, global = true)]
    config: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// What can be asked for, or done.
#[derive(Debug, Subcommand)]
enum What {
    /// How the daemon is: whether it is ready, its resolvers, endpoints, cache
    Status,
    /// Read the configuration again
    ///
    /// Waits until the new one serves. With a mistake in it the old one goes on serving; every mistake is printed, and the
    /// exit status is 1.
    Reload,
    /// Forget what is cached of a name
    Flush {
        /// The name, of every type
        name: String,
        /// And of all names below it
        #[arg(long)]
        below: bool,
    },
    /// What is cached of a name
    Cache {
        /// The name, of every type
        name: String,
    },
    /// Every endpoint: its addresses, how they are, which of them clients are given
    Endpoints,
    /// What was counted since the start
    Stats,
}

/// Does what the arguments say.
pub fn ctl(ctl: &Ctl) -> ExitCode {
    let socket = ctl.socket.clone().unwrap_or_else(|| socket_of(&ctl.config));
    if socket.as_os_str().is_empty() {
        super::say(&"phzd: server.control is \"\", so this daemon has no control socket");
        return ExitCode::FAILURE;
    }
    let desk = Desk { socket: &socket, json: ctl.json };
    let done = match &ctl.what {
        What::Status => desk.show::<Status>("/status", &[], ToString::to_string),
        What::Endpoints => desk.show::<Vec<Look>>("/endpoints", &[], |looks| show::endpoints(looks)),
        What::Stats => desk.show::<Observation>("/stats", &[], show::stats),
        What::Cache { name } => {
            desk.show::<Vec<CachedAnswer>>("/cache", &[("name", name)], |answers| show::cached(name, answers))
        }
        What::Flush { name, below } => {
            let parameters = [("name", name.as_str()), ("below", "")];
            desk.flush(if *below { &parameters } else { &parameters[..1] })
        }
        What::Reload => desk.reload(),
    };
    done.unwrap_or_else(|error| {
        super::say(&format_args!("phzd: {error}"));
        ExitCode::FAILURE
    })
}

/// The socket that the configuration names, be it good or not: a reload is asked for when it is not, too.
pub fn socket_of(path: &Path) -> PathBuf {
    let stated = File::load(path).server.control.map_or(SOCKET.into(), |control| PathBuf::from(control.value));
    // The file may have changed since the daemon was started, which has its socket still where it usually is.
    if !stated.exists() && Path::new(SOCKET).exists() { SOCKET.into() } else { stated }
}

/// The way to the daemon.
struct Desk<'a> {
    socket: &'a Path,
    json: bool,
}

impl Desk<'_> {
    /// Prints what stands at `path`.
    fn show<T: DeserializeOwned + Serialize>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        words: impl FnOnce(&T) -> String,
    ) -> Result<ExitCode, CannotAsk> {
        let value: T = ask(self.socket, Method::GET, path, parameters)?;
        self.print(&value, words);
        Ok(ExitCode::SUCCESS)
    }

    fn print<T: Serialize>(&self, value: &T, words: impl FnOnce(&T) -> String) {
        let text = if self.json { serde_json::to_string_pretty(value).unwrap_or_default() } else { words(value) };
        // Who closed the output does not want it.
        let _ = writeln!(io::stdout(), "{}", text.trim_end());
    }

    fn flush(&self, parameters: &[(&str, &str)]) -> Result<ExitCode, CannotAsk> {
        let flushed: Flushed = ask(self.socket, Method::POST, "/flush", parameters)?;
        self.print(&flushed, |Flushed { flushed }| {
            format!("{flushed} answer{} forgotten", if *flushed == 1 { "" } else { "s" })
        });
        Ok(ExitCode::SUCCESS)
    }

    fn reload(&self) -> Result<ExitCode, CannotAsk> {
        let came: Reloaded = ask(self.socket, Method::POST, "/reload", &[])?;
        if !self.json && !came.told.is_empty() {
            super::say(&came.told.trim_end());
        }
        if came.reloaded || self.json {
            self.print(&came, |_| "reloaded".into());
        } else {
            super::say(&"phzd: not reloaded, the old configuration goes on serving");
        }
        Ok(if came.reloaded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
