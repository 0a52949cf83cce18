//! A network namespace of a run's own: a host without a way out of this machine.
//!
//! It carries a name with the run's process id in it and goes with the value, also by a panic; what a killed run left
//! behind is removed by the next one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// What a step yields, or why it could not be done.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A namespace, removed with all that runs in it when this is dropped.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it. Names are `<prefix><process id>-<rest>`, for [`remove_leftovers`].
    pub fn new(name: String) -> Outcome<Namespace> {
        run("ip", &["netns", "add", &name], "")?;
        Ok(Namespace { name })
    }

    /// As ip(8) knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Carries out lines of ip(8) in it.
    pub fn ip(&self, lines: &str) -> Outcome<()> {
        run("ip", &["-n", &self.name, "-batch", "-"], lines).map(drop)
    }

    /// Runs a program in it with `input`; what it printed.
    pub fn run(&self, command: &[&str], input: &str) -> Outcome<String> {
        run("ip", &[&["netns", "exec", &self.name], command].concat(), input)
    }

    /// Does `work` on a thread of it: sockets it opens and processes it starts are in it.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Outcome<T> {
        let namespace = File::open(Path::new("/run/netns").join(&self.name))?;
        thread::scope(|scope| {
            let entered = scope.spawn(|| setns(namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
            Ok(entered.join().map_err(|_| "a thread of the lab panicked")??)
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes namespaces of this prefix whose runs were killed.
pub fn remove_leftovers(prefix: &str) {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_dead = |name: &String| {
        let process = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    };
    names.filter(is_dead).for_each(|name| remove(&name));
}

/// Ends what runs in a namespace, and removes it. It may be gone already.
fn remove(namespace: &str) {
    for process in run("ip", &["netns", "pids", namespace], "").unwrap_or_default().split_whitespace() {
        let _ = run("kill", &["-KILL", process], "");
    }
    let _ = run("ip", &["netns", "delete", namespace], "");
}

/// Runs `program` with `input`; what it printed.
fn run(program: &str, arguments: &[&str], input: &str) -> Outcome<String> {
    let (reader, mut writer) = io::pipe()?;
    // A few lines, far below what a pipe holds: writing them first cannot block.
    writer.write_all(input.as_bytes())?;
    drop(writer);
    let output =
        Command::new(program).args(arguments).stdin(reader).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}
