//! The process as the system sees it, under the names that all exporters use.

use std::fmt;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use super::Page;
use crate::operator::desk::Desk;
use crate::operator::status::seconds;

/// Where in /proc/self/stat, behind the program's name, the ticks in user space and in the kernel are, and the pages in memory.
const USER_TICKS: usize = 11;
const KERNEL_TICKS: usize = 12;
const RESIDENT_PAGES: usize = 21;

/// What the system says; what it does not say is left out.
pub fn write(page: &mut Page<'_>, desk: &Desk) -> fmt::Result {
    let help = "When the process began, in seconds of Unix time";
    page.gauge("process_start_time_seconds", help, seconds(desk.started()) as f64)?;
    if let Some(count) = fs::read_dir("/proc/self/fd").ok().map(Iterator::count) {
        page.gauge("process_open_fds", "Open file descriptors", count as f64)?;
    }
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return Ok(()) };
    // The name stands in parentheses and may hold blanks.
    let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
    let field = |at| behind.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok());
    let system = |variable| sysconf(variable).ok().flatten().map(|value| value as f64);
    if let (Some(pages), Some(size)) = (field(RESIDENT_PAGES), system(SysconfVar::PAGE_SIZE)) {
        page.gauge("process_resident_memory_bytes", "Memory of the process that is in use", pages * size)?;
    }
    if let (Some(user), Some(kernel), Some(ticks)) =
        (field(USER_TICKS), field(KERNEL_TICKS), system(SysconfVar::CLK_TCK))
    {
        page.seconds("process_cpu_seconds", "Time that the process has had a processor", (user + kernel) / ticks)?;
    }
    Ok(())
}
