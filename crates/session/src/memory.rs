//! What memory the machine has, what the process takes of it, and the plan of a run that is printed before it begins.

use crate::{MachineOptions, SessionError};
use concord_scorer::{Demand, MemoryPlan, SchedulePreference, Spill};
use std::path::{Component, Path, PathBuf};

/// What the user allows a run.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// Which schedule.
    pub wanted: SchedulePreference,
    /// Bytes at most; without it, what is available.
    pub memory: Option<u64>,
    /// Where rows between layers go.
    pub spill: Spill,
    /// Whether the weights are loaded already, which decides the schedule.
    pub loaded: bool,
}

impl Allowed {
    /// By options; rows between layers go into `folder` where the user names none.
    pub fn by(options: &MachineOptions, folder: &Path) -> Self {
        Self {
            wanted: options.schedule,
            memory: options.memory,
            spill: Spill::within(options.spill.as_deref().unwrap_or(folder)),
            loaded: false,
        }
    }

    /// The schedules that are left where it is known whether layers are streamed.
    pub fn wanted_of(&self, streamed: Option<bool>) -> SchedulePreference {
        match streamed {
            None => self.wanted,
            Some(false) => SchedulePreference::PassMajor,
            Some(true) if self.wanted == SchedulePreference::Spilled => SchedulePreference::Spilled,
            Some(true) => SchedulePreference::LayerMajor,
        }
    }

    /// Plans what a checkpoint is asked on the processor.
    pub(crate) fn plan(
        &self,
        name: &str,
        demands: &[Demand<'_>],
    ) -> Result<MemoryPlan, SessionError> {
        give_back_freed();
        let before = resident_bytes();
        let cap = self
            .memory
            .or_else(|| available_bytes().map(|free| (before + free) / 20 * 19));
        let plan = MemoryPlan::new(demands, self.wanted, before, cap, &self.spill);
        plan.map_err(|error| {
            // Rounded up, and one word: it is to be copied.
            let least = format!("{}MiB", error.least.div_ceil(1 << 20));
            let help = match (self.wanted, self.memory) {
                (SchedulePreference::PassMajor, _) if !self.loaded => {
                    "leave --schedule to the program: layer-major takes less".to_owned()
                }
                (_, Some(_)) => format!("allow at least {least} with --memory"),
                (_, None) => {
                    format!("end other programs, or name more than is free now: --memory {least}")
                }
            };
            SessionError::Device {
                message: format!("{name}: {error}"),
                help,
            }
        })
    }
}

/// A number of KiB from a file of the kernel, in bytes.
fn kib(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib = line.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(kib * 1024)
}

/// Keeps freed memory in the process: what a pass frees, the next one takes again, and giving it back in between costs a page
/// fault for every four kilobytes. Blocks from 32 MiB on go back at once all the same.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE: i32 = 32 << 20;
        const KEPT: i32 = 1 << 30;
        #[expect(
            unsafe_code,
            reason = "SAFETY: two settings of the allocator, set before the threads that compute begin"
        )]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}

/// Gives back what is free, so that what the process has is what it uses.
fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(
            unsafe_code,
            reason = "SAFETY: the allocator gives back pages that no block is in"
        )]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// What the process has; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    kib("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// The most that the process ever had; 0 where the system does not say.
pub fn peak_bytes() -> u64 {
    kib("/proc/self/status", "VmHWM:").unwrap_or(0)
}

/// What is free, or can be freed, for this process; `None` where the system does not say.
pub fn available_bytes() -> Option<u64> {
    let free = kib("/proc/meminfo", "MemAvailable:")?;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = groups(&own, Path::new("/sys/fs/cgroup"));
    Some(
        of_groups
            .iter()
            .filter_map(Group::free)
            .fold(free, u64::min),
    )
}

/// A group of processes that share a limit.
struct Group {
    folder: PathBuf,
    /// Files of the limit, of what is taken, and the line of cached files that nobody uses in `memory.stat`.
    names: [&'static str; 3],
}

/// The groups that a process is in, and all above them: a limit of any holds. `own` is `/proc/self/cgroup`.
///
/// # Source
/// `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst` of Linux.
fn groups(own: &str, mount: &Path) -> Vec<Group> {
    const SECOND: [&str; 3] = ["memory.max", "memory.current", "inactive_file "];
    const FIRST: [&str; 3] = [
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file ",
    ];
    let mut groups = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (mount, names) = match controllers {
            "" => (mount.to_owned(), SECOND),
            list if list.split(',').any(|name| name == "memory") => (mount.join("memory"), FIRST),
            _ => continue,
        };
        // In a container the path may be the host's, and what is mounted the container's own: upwards, both are met.
        let plain = Path::new(path.trim_start_matches('/'));
        let inside = plain
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        for folder in plain.ancestors().filter(|_| inside || path == "/") {
            groups.push(Group {
                folder: mount.join(folder),
                names,
            });
        }
        if !inside {
            let folder = mount;
            groups.push(Group { folder, names });
        }
    }
    groups
}

impl Group {
    /// What the group may still take; `None` where it has no limit.
    fn free(&self) -> Option<u64> {
        let [most, taken, cached] = self.names;
        let read = |file: &str| std::fs::read_to_string(self.folder.join(file)).ok();
        let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
        let most = number(most)?;
        let stat = read("memory.stat").unwrap_or_default();
        // Files in memory that nobody uses make room.
        let cached = stat.lines().find_map(|line| line.strip_prefix(cached));
        let cached = cached.and_then(|bytes| bytes.trim().parse::<u64>().ok());
        let taken = number(taken)?.saturating_sub(cached.unwrap_or(0));
        Some(most.saturating_sub(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_process_s_own_groups_hold() {
        let mount = tempfile::tempdir().unwrap();
        let write = |folder: &str, files: &[(&str, &str)]| {
            let folder = mount.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                std::fs::write(folder.join(name), text).unwrap();
            }
        };
        let free = |own: &str| {
            let groups = groups(own, mount.path());
            groups.iter().filter_map(Group::free).min()
        };
        // As Slurm sets it: the limit is two groups up.
        let job = [
            ("memory.max", "1000\n"),
            ("memory.current", "600\n"),
            ("memory.stat", "anon 1\ninactive_file 100\n"),
        ];
        write("slurm/job_7", &job);
        write(
            "slurm/job_7/step/task",
            &[("memory.max", "max\n"), ("memory.current", "500\n")],
        );
        assert_eq!(free("0::/slurm/job_7/step/task\n"), Some(500));
        assert_eq!(free("0::/slurm\n"), None);
        // The nearest is not always the tightest.
        write(
            "slurm/job_7/step",
            &[("memory.max", "100"), ("memory.current", "90")],
        );
        assert_eq!(free("0::/slurm/job_7/step/task\n"), Some(10));
        // In a container, what is mounted is its own group; and the first version, among other controllers.
        write("", &[("memory.max", "70"), ("memory.current", "20")]);
        assert_eq!(free("0::/\n"), Some(50));
        assert_eq!(free("0::/../../elsewhere\n"), Some(50));
        write(
            "memory/docker/x",
            &[
                ("memory.limit_in_bytes", "40"),
                ("memory.usage_in_bytes", "30"),
                ("memory.stat", "total_inactive_file 5"),
            ],
        );
        assert_eq!(free("5:cpu,memory:/docker/x\n3:cpuset:/y\n"), Some(15));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_says_what_there_is() {
        let resident = resident_bytes();
        assert!(resident > 1 << 20 && peak_bytes() >= resident);
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
