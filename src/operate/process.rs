//! What the system says of this process.

use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`: fixed in Linux's interface to programs.
const TICKS_PER_SECOND: u64 = 100;

/// Memory, threads, open files and CPU time; none where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Resident memory in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
    /// Open file descriptors.
    pub(crate) open_files: Option<u64>,
    /// CPU time, user and system.
    pub(crate) cpu: Option<Duration>,
}

impl Process {
    /// Asks the system.
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            open_files: std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            cpu: cpu(&stat),
            resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1_024),
            threads: field(&status, "Threads:"),
        }
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of the line; the second one, a name in parentheses, may hold spaces.
fn cpu(stat: &str) -> Option<Duration> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_proc_are_read() {
        assert_eq!(field("Name:\tx\nVmRSS:\t  1234 kB\nThreads:\t7\n", "VmRSS:"), Some(1_234));
        let stat = "42 (a b) c) S 1 1 1 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 7 0 1 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!((cpu(""), field("", "Threads:")), (None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_known() {
        let process = Process::now();
        assert!(process.resident_bytes > Some(1 << 20) && process.threads >= Some(1) && process.open_files >= Some(3));
    }
}
