//! Why a GPU could not be used.

use std::path::PathBuf;

/// Why a GPU could not be used, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The program was built without CUDA.
    #[error("this program was built without CUDA")]
    NotBuilt,
    /// A library of CUDA is not there.
    #[error("{library} is not there")]
    Library {
        /// Its name, for example `libcublasLt`.
        library: &'static str,
    },
    /// The driver finds no device.
    #[error("the driver finds no GPU")]
    NoDevice,
    /// There is no device of this number.
    #[error("no device cuda:{index}: the driver finds {count}")]
    NoSuchDevice {
        /// The number that was asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver is older than what the libraries need.
    #[error("the driver is made for CUDA {found}, and {needed} is needed")]
    OldDriver {
        /// The driver's, for example `11.4`.
        found: String,
        /// The oldest that will do.
        needed: &'static str,
    },
    /// The device is older than the kernels.
    #[error(
        "{name} has compute capability {capability}, and 8.0 is the least that kernels are made for"
    )]
    Capability {
        /// The device's name.
        name: String,
        /// Its compute capability.
        capability: String,
    },
    /// Memory of the device is used up.
    #[error("the device's memory is used up{}", more(*bytes, *free))]
    OutOfMemory {
        /// What was asked for; 0 where a library does not say.
        bytes: usize,
        /// What is free.
        free: usize,
    },
    /// A kernel does not compile.
    #[error("the kernels of {file} do not compile: {log}")]
    Source {
        /// The source.
        file: &'static str,
        /// What the compiler says.
        log: String,
    },
    /// A table of sizes makes no sense.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The table.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A call failed.
    #[error("{call} failed: {message}")]
    Call {
        /// What was tried.
        call: &'static str,
        /// What the library says.
        message: String,
    },
    /// Shapes do not fit.
    #[error("{0}")]
    Shape(String),
}

fn more(bytes: usize, free: usize) -> String {
    match bytes {
        0 => String::new(),
        _ => format!(
            ": {} MiB more do not fit, {} MiB are free",
            bytes.div_ceil(1 << 20),
            free >> 20
        ),
    }
}
