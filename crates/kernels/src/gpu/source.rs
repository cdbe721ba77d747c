//! The kernels' sources: compiled for the device that is found, and kept on disk by what they were compiled from.

use super::GpuError;
use super::config::{GpuConfig, QUERIES_HELD, Tiles};
use super::raw::{self, Context, Function, Module, Number};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const PRELUDE: &str = include_str!("../../cuda/prelude.cuh");

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Norm,
    Heads,
    Rows,
    Attention,
    Texts,
    Experts,
    Summary,
}

impl Source {
    fn file(self) -> &'static str {
        match self {
            Self::Norm => "norm.cu",
            Self::Heads => "heads.cu",
            Self::Rows => "rows.cu",
            Self::Attention => "attention.cu",
            Self::Texts => "texts.cu",
            Self::Experts => "experts.cu",
            Self::Summary => "summary.cu",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Norm => include_str!("../../cuda/norm.cu"),
            Self::Heads => include_str!("../../cuda/heads.cu"),
            Self::Rows => include_str!("../../cuda/rows.cu"),
            Self::Attention => {
                concat!(
                    include_str!("../../cuda/tensor.cuh"),
                    include_str!("../../cuda/attention.cu")
                )
            }
            Self::Texts => {
                concat!(
                    include_str!("../../cuda/tensor.cuh"),
                    include_str!("../../cuda/texts.cu")
                )
            }
            Self::Experts => include_str!("../../cuda/experts.cu"),
            Self::Summary => include_str!("../../cuda/summary.cu"),
        }
    }
}

/// What a source is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    pub source: Source,
    pub element: Number,
    /// Of attention; 0 elsewhere.
    pub head_dim: usize,
    /// Query heads that share keys in a block of attention over a pass; 0 elsewhere.
    pub together: usize,
}

impl Variant {
    fn defines(self, tiles: Tiles) -> Vec<String> {
        let element = match self.element {
            Number::F32 => 0,
            Number::Bf16 => 1,
            Number::F16 => 2,
        };
        let mut defines = vec![format!("ELEMENT={element}")];
        if self.head_dim > 0 {
            defines.push(format!("HEAD_DIM={}", self.head_dim));
        }
        if self.source == Source::Attention {
            defines.push(format!("TILE={}", tiles.queries(self.together)));
            defines.push(format!("TOGETHER={}", self.together));
            defines.push(format!("BLOCK={}", tiles.keys));
            defines.push(format!("QUERIES_HELD={QUERIES_HELD}"));
        }
        defines
    }

    /// Compiles it.
    ///
    /// # Errors
    /// [`GpuError::Source`] with what the compiler says.
    pub fn compile(self, architecture: &str, tiles: Tiles) -> Result<Vec<u8>, GpuError> {
        let whole = format!("{PRELUDE}\n{}", self.source.text());
        raw::compile(
            self.source.file(),
            &whole,
            architecture,
            &self.defines(tiles),
        )
    }
}

/// Compiles every kernel for an architecture such as `sm_90`, which needs no device: for each kind of rows, and for heads of these
/// widths, so many of which share keys, with the tiles of that kind of device. Gives what was compiled, and the images.
///
/// # Errors
/// [`GpuError::Source`] with what the compiler says; [`GpuError::Library`] where there is none.
pub fn compile_kernels(
    capability: (i32, i32),
    head_dims: &[usize],
    groups: &[usize],
) -> Result<Vec<(String, Vec<u8>)>, GpuError> {
    let tiles = GpuConfig::of(capability)?.attention;
    let architecture = format!("sm_{}{}", capability.0, capability.1);
    let mut compiled = Vec::new();
    for element in [Number::F32, Number::Bf16, Number::F16] {
        let plain = [
            Source::Norm,
            Source::Heads,
            Source::Rows,
            Source::Experts,
            Source::Summary,
        ]
        .map(|source| (source, 0, 0));
        let of_head = |head_dim: &usize| {
            let head_dim = *head_dim;
            let passes = groups
                .iter()
                .map(move |group| (Source::Attention, head_dim, tiles.together(*group)));
            passes.chain(std::iter::once((Source::Texts, head_dim, 0)))
        };
        for (source, head_dim, together) in
            plain.into_iter().chain(head_dims.iter().flat_map(of_head))
        {
            let variant = Variant {
                source,
                element,
                head_dim,
                together,
            };
            let image = variant.compile(&architecture, tiles)?;
            let defines = variant.defines(tiles).join(" ");
            compiled.push((format!("{} {defines}", source.file()), image));
        }
    }
    Ok(compiled)
}

/// The kernels of one device.
pub(super) struct Kernels {
    context: Arc<Context>,
    architecture: String,
    tiles: Tiles,
    cache: Option<PathBuf>,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<Variant, Module>,
    functions: HashMap<(Variant, &'static str), Function>,
}

impl Kernels {
    pub fn new(context: &Arc<Context>, tiles: Tiles, cache: Option<PathBuf>) -> Self {
        let (major, minor) = context.properties.capability;
        Self {
            context: Arc::clone(context),
            architecture: format!("sm_{major}{minor}"),
            tiles,
            cache,
            loaded: Mutex::default(),
        }
    }

    /// A kernel, compiled where it is not yet. It may ask for `shared` bytes of shared memory.
    pub fn function(
        &self,
        variant: Variant,
        name: &'static str,
        shared: usize,
    ) -> Result<Function, GpuError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = loaded.functions.get(&(variant, name)) {
            return Ok(*function);
        }
        let Loaded { modules, functions } = &mut *loaded;
        let module = match modules.entry(variant) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.module(variant)?),
        };
        let function = module.function(name, shared)?;
        functions.insert((variant, name), function);
        Ok(function)
    }

    fn module(&self, variant: Variant) -> Result<Module, GpuError> {
        let kept = self
            .cache
            .as_ref()
            .map(|folder| folder.join(self.name(variant)));
        // The driver is given no length: what is no whole file it would read on.
        let is_whole = |image: &Vec<u8>| image.starts_with(b"\x7fELF") && image.len() > 64;
        let image = kept.as_deref().and_then(|path| std::fs::read(path).ok());
        let image = image.filter(is_whole);
        if let Some(module) = image.and_then(|image| self.context.module(&image).ok()) {
            return Ok(module);
        }
        let image = variant.compile(&self.architecture, self.tiles)?;
        let module = self.context.module(&image)?;
        if let Some(path) = kept {
            keep(&path, &image);
        }
        Ok(module)
    }

    /// What a compiled source is kept as: by everything that decides what it is.
    fn name(&self, variant: Variant) -> String {
        let mut hasher = blake3::Hasher::new();
        let defines = variant.defines(self.tiles).join(" ");
        let version = raw::compiler_version();
        for part in [PRELUDE, variant.source.text(), &defines, &version] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let digest = hasher.finalize().to_hex();
        let file = variant.source.file().trim_end_matches(".cu");
        format!("{file}-{}-{}.cubin", self.architecture, &digest[..32])
    }
}

/// Keeps a file for the next start. A cache that cannot be written is no reason to stop.
pub(super) fn keep(path: &Path, image: &[u8]) {
    let Some(folder) = path.parent() else { return };
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::NamedTempFile::new_in(folder))
        .and_then(|file| {
            std::fs::write(file.path(), image)?;
            Ok(file)
        });
    if let Ok(file) = written {
        let _ = file.persist(path);
    }
}
