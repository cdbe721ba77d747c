//! What memory the machine has, what the process takes of it, and the plan of a run that is printed before it begins.

use crate::arguments::{MachineArguments, ScheduleChoice};
use crate::failure::{ExitStatus, Failure};
use crate::output;
use concord_scorer::{Demand, MemoryPlan, Wanted};
use std::path::{Path, PathBuf};

/// What the user allows a run.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    /// Which schedule.
    pub wanted: Wanted,
    /// Bytes at most; without it, what is available.
    pub memory: Option<u64>,
    /// The folder for rows between layers.
    pub spill: PathBuf,
    /// Whether the weights are loaded already, which decides the schedule.
    pub loaded: bool,
    /// Whether the plan is only looked at.
    pub silent: bool,
}

impl Allowed {
    /// By the flags; rows between layers go into `folder` where the user names none.
    pub fn by(arguments: &MachineArguments, folder: &Path) -> Self {
        Self {
            wanted: match arguments.schedule {
                ScheduleChoice::Auto => Wanted::Auto,
                ScheduleChoice::PassMajor => Wanted::PassMajor,
                ScheduleChoice::LayerMajor => Wanted::LayerMajor,
                ScheduleChoice::Spilled => Wanted::Spilled,
            },
            memory: arguments.memory,
            spill: arguments.spill.clone().unwrap_or_else(|| folder.to_owned()),
            loaded: false,
            silent: false,
        }
    }

    /// Plans what a checkpoint is asked, and says so where its weights are still to be loaded.
    ///
    /// # Errors
    /// [`Failure`] where no wanted schedule fits.
    pub fn plan(&self, name: &str, demands: &[Demand<'_>]) -> Result<MemoryPlan, Failure> {
        give_back_freed();
        let before = resident_bytes();
        let cap = self
            .memory
            .or_else(|| available_bytes().map(|free| (before + free) / 20 * 19));
        let plan = MemoryPlan::new(demands, self.wanted, before, cap, &self.spill);
        let plan = plan.map_err(|error| {
            // Rounded up, and one word: it is to be copied.
            let least = format!("{}MiB", error.least.div_ceil(1 << 20));
            let help = match (self.wanted, self.memory) {
                (Wanted::PassMajor, _) if !self.loaded => {
                    "leave --schedule to the program: layer-major takes less".to_owned()
                }
                (_, Some(_)) => format!("allow at least {least} with --memory"),
                (_, None) => {
                    format!("end other programs, or name more than is free now: --memory {least}")
                }
            };
            Failure::new(ExitStatus::Device, format!("{name}: {error}"), help)
        })?;
        if !self.loaded && !self.silent {
            output::message(&format!("{name}: {plan}"));
        }
        Ok(plan)
    }
}

/// Below this a plain number was hardly meant as bytes.
const MEBIBYTE: f64 = 1_048_576.0;

/// Parses a size such as `8GiB`, `8G`, `512MiB` or bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no size, for example 8GiB"))?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        "t" | "tib" => 1 << 40,
        "tb" => 1_000_000_000_000,
        other => return Err(format!("`{other}` is no unit: GiB, MiB, GB, …")),
    };
    let bytes = number * factor as f64;
    if unit.is_empty() && bytes < MEBIBYTE {
        return Err(format!("{text} of what? for example {text}GiB"));
    }
    if !(1.0..9e18).contains(&bytes) {
        return Err(format!("`{text}` is no size that a machine has"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    Ok(bytes as u64)
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
pub(crate) fn keep_freed() {
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
pub(crate) fn resident_bytes() -> u64 {
    kib("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// The most that the process ever had; 0 where the system does not say.
pub(crate) fn peak_bytes() -> u64 {
    kib("/proc/self/status", "VmHWM:").unwrap_or(0)
}

/// What is free, or can be freed, for this process; `None` where the system does not say.
pub(crate) fn available_bytes() -> Option<u64> {
    let free = kib("/proc/meminfo", "MemAvailable:")?;
    let number = |file: &str| {
        let text = std::fs::read_to_string(file).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // Of a group of processes, by its second version and its first.
    let groups = [
        [
            "memory.max",
            "memory.current",
            "memory.stat",
            "inactive_file ",
        ],
        [
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file ",
        ],
    ];
    let of_groups = groups.iter().filter_map(|[most, taken, stat, cached]| {
        let path = |file: &str| format!("/sys/fs/cgroup/{file}");
        let stat = std::fs::read_to_string(path(stat)).unwrap_or_default();
        // Files in memory that nobody uses make room.
        let cached = stat.lines().find_map(|line| line.strip_prefix(cached));
        let cached = cached.and_then(|bytes| bytes.trim().parse::<u64>().ok());
        let taken = number(&path(taken))?.saturating_sub(cached.unwrap_or(0));
        Some(number(&path(most))?.saturating_sub(taken))
    });
    Some(of_groups.fold(free, u64::min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!(size("8g"), Ok(8 << 30));
        assert_eq!(size("1.5 MiB"), Ok(3 << 19));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        assert_eq!(size("1048576"), Ok(1 << 20));
        assert!(size("8").unwrap_err().contains("8GiB"));
        assert!(size("banana").unwrap_err().contains("no size"));
        for wrong in ["", "GiB", "8 bananas", "-1", "0", "1e3", "9999999TB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_says_what_there_is() {
        let resident = resident_bytes();
        assert!(resident > 1 << 20 && peak_bytes() >= resident);
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
