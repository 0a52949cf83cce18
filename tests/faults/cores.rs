//! Who runs on which core: the program that is tried on one of its own, beside all that asks and answers it.

use std::sync::OnceLock;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::namespace::Outcome;

/// Which core does what; on a machine with one, all is done there.
#[derive(Clone, Copy)]
pub struct Cores {
    /// The program's.
    pub program: usize,
    /// For clients, resolvers and the forger.
    pub load: usize,
}

impl Cores {
    /// The first two of those this process was started on. To be asked before any thread stays on one of them.
    pub fn of_this_run() -> Outcome<Cores> {
        static CORES: OnceLock<Cores> = OnceLock::new();
        if let Some(cores) = CORES.get() {
            return Ok(*cores);
        }
        let allowed = sched_getaffinity(Pid::this())?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        let program = cores.next().ok_or("no core")?;
        let load = cores.next().unwrap_or(program);
        Ok(*CORES.get_or_init(|| Cores { program, load }))
    }
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub fn stay_on(core: usize) -> std::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
