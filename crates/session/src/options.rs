//! What a user may choose, as plain types.

use concord_scorer::SchedulePreference;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Which devices are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where there is one, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// A GPU by its number.
    Cuda(usize),
    /// Every GPU.
    CudaAll,
    /// The GPU of a Mac.
    Metal,
    /// The processor through the generic path, to compare with.
    Generic,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(index) => write!(formatter, "cuda:{index}"),
            Self::CudaAll => formatter.write_str("cuda:all"),
            Self::Metal => formatter.write_str("metal"),
            Self::Generic => formatter.write_str("generic"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" | "" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "cuda:all" => Ok(Self::CudaAll),
            "metal" => Ok(Self::Metal),
            "generic" => Ok(Self::Generic),
            other => {
                let number = other
                    .strip_prefix("cuda:")
                    .and_then(|number| number.parse().ok());
                number.map(Self::Cuda).ok_or_else(|| {
                    format!("`{other}` is none of auto, cpu, cuda:0, cuda:1, …, cuda:all and metal")
                })
            }
        }
    }
}

/// What products multiply; sums are 32-bit floats whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As the checkpoint is stored, where the device has products of that.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
    /// Weights rounded to 16-bit floats.
    F16,
    /// Weights of layers rounded to eight bits.
    Int8,
}

/// How the machine is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineOptions {
    /// Where to compute.
    pub device: DeviceChoice,
    /// What products multiply.
    pub precision: Precision,
    /// In which order layers and passes are gone through.
    pub schedule: SchedulePreference,
    /// The most memory that may be used, in bytes; without it, what is free.
    pub memory: Option<u64>,
    /// Where rows between layers go that do not fit into memory.
    pub spill: Option<PathBuf>,
}

impl MachineOptions {
    /// A device, and everything else as it comes.
    pub fn on(device: DeviceChoice) -> Self {
        Self {
            device,
            precision: Precision::Auto,
            schedule: SchedulePreference::Auto,
            memory: None,
            spill: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read() {
        assert_eq!(DeviceChoice::from_str("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(DeviceChoice::from_str("cuda"), Ok(DeviceChoice::Cuda(0)));
        assert_eq!(DeviceChoice::from_str("cuda:3"), Ok(DeviceChoice::Cuda(3)));
        assert_eq!(
            DeviceChoice::from_str("cuda:all"),
            Ok(DeviceChoice::CudaAll)
        );
        // An empty variable is none.
        assert_eq!(DeviceChoice::from_str(""), Ok(DeviceChoice::Auto));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(
                DeviceChoice::from_str(wrong)
                    .unwrap_err()
                    .contains("cuda:all"),
                "{wrong}"
            );
        }
    }
}
