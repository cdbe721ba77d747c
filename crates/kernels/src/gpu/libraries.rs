//! Where the libraries of CUDA are: with the system, with a toolkit, or with the wheels of `PyTorch`.

use super::GpuError;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A library that is loaded when a GPU is asked for.
pub(super) struct Wanted {
    /// What the error calls it.
    pub name: &'static str,
    /// The names of its files, newest first, each with the driver's version of CUDA that it needs.
    files: &'static [(&'static str, i32)],
}

/// The driver's own library, which comes with the driver.
pub(super) const DRIVER: Wanted = Wanted {
    name: "libcuda.so.1",
    files: &[("libcuda.so.1", 0), ("libcuda.so", 0)],
};

/// The compiler of kernels and the matrix products, which come with a toolkit of version 12 or 13.
pub(super) const TOOLKIT: [Wanted; 2] = [
    Wanted {
        name: "libnvrtc.so.13 (or .12)",
        files: &[
            ("libnvrtc.so.13", 13_000),
            ("libnvrtc.so.12", 12_000),
            ("libnvrtc.so", 0),
        ],
    },
    Wanted {
        name: "libcublasLt.so.13 (or .12)",
        files: &[
            ("libcublasLt.so.13", 13_000),
            ("libcublasLt.so.12", 12_000),
            ("libcublasLt.so", 0),
        ],
    },
];

/// Loads a library for good, so that who asks for it by name later is given this one. What is newer than the driver is passed over.
pub(super) fn load(wanted: &Wanted, driver: i32) -> Result<(), GpuError> {
    let folders = folders();
    // A folder that is named goes before the system's.
    let named = folders.named.iter().map(PathBuf::as_path);
    let found = folders.found.iter().map(PathBuf::as_path);
    let places = named.chain([Path::new("")]).chain(found);
    for place in places {
        for (file, _) in wanted.files.iter().filter(|(_, needs)| *needs <= driver) {
            if keep_loaded(&place.join(file)) {
                beside(place);
                return Ok(());
            }
        }
    }
    Err(GpuError::Library {
        library: wanted.name,
    })
}

/// Loads what the compiler of kernels asks for by name when it is first used: it looks where the system does alone.
fn beside(place: &Path) {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    for entry in entries {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("libnvrtc-builtins.so")
        {
            keep_loaded(&entry.path());
        }
    }
}

#[cfg(unix)]
fn keep_loaded(path: &Path) -> bool {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};
    if path.components().count() > 1 && !path.is_file() {
        return false;
    }
    #[expect(
        unsafe_code,
        reason = "SAFETY: a library of CUDA, whose initialisers touch nothing of this program"
    )]
    let library = unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_GLOBAL) };
    library.map(std::mem::forget).is_ok()
}

#[cfg(not(unix))]
fn keep_loaded(path: &Path) -> bool {
    #[expect(
        unsafe_code,
        reason = "SAFETY: a library of CUDA, whose initialisers touch nothing of this program"
    )]
    let library = unsafe { libloading::Library::new(path) };
    library.map(std::mem::forget).is_ok()
}

static FIRST: OnceLock<PathBuf> = OnceLock::new();

/// Looks in a folder before anywhere else.
pub(super) fn look_in(folder: &Path) {
    let _ = FIRST.set(folder.to_owned());
}

/// A file in a folder that is named to be looked in first.
pub(super) fn named(file: &str) -> Option<PathBuf> {
    let folders = folders().named.into_iter();
    folders
        .map(|folder| folder.join(file))
        .find(|path| path.is_file())
}

/// Folders that may hold libraries.
struct Folders {
    named: Vec<PathBuf>,
    found: Vec<PathBuf>,
}

fn folders() -> Folders {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut named: Vec<PathBuf> = FIRST.get().cloned().into_iter().collect();
    if let Some(value) = variable("CONCORD_CUDA_LIBRARIES") {
        named.extend(std::env::split_paths(&value));
    }
    let mut found = Vec::new();
    for home in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable) {
        found.extend(["lib64", "lib"].map(|lib| Path::new(&home).join(lib)));
    }
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"];
    let pythons = environments
        .into_iter()
        .filter_map(variable)
        .map(PathBuf::from);
    for prefix in pythons.chain(["/usr/local".into(), "/usr".into(), "/opt/conda".into()]) {
        found.push(prefix.join("lib"));
        found.extend(wheels(&prefix.join("lib")));
    }
    found.extend([
        "/usr/local/cuda/lib64".into(),
        "/usr/lib/x86_64-linux-gnu".into(),
    ]);
    Folders { named, found }
}

/// The folders of NVIDIA's wheels under the folder of a Python's versions.
fn wheels(lib: &Path) -> Vec<PathBuf> {
    let within = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let is_python = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("python3")
    };
    let mut folders = Vec::new();
    for python in within(lib).into_iter().filter(is_python) {
        for packages in ["site-packages", "dist-packages"] {
            let parts = within(&python.join(packages).join("nvidia"));
            folders.extend(parts.into_iter().map(|part| part.join("lib")));
        }
    }
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_wheels_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder
            .path()
            .join("python3.12/site-packages/nvidia/cublas/lib");
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::create_dir_all(folder.path().join("perl/site-packages/nvidia/x/lib")).unwrap();
        assert_eq!(wheels(folder.path()), [lib]);
        assert!(wheels(&folder.path().join("missing")).is_empty());
    }
}
