//! Weights that no file has, for benches.

use crate::stored::{Bytes, File, Place, Stored};
use crate::weights::Weights;
use crate::{CheckpointError, Snapshot};
use half::bf16;
use rayon::prelude::*;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Numbers that are made and written at once, and those of one task.
const PIECE: usize = 1 << 23;
const TASK: usize = 1 << 18;

/// Norms' weights of one, everything else uniform with a deviation of 0.02 (SplitMix64, Steele et al. 2014).
pub(crate) fn made_up(seed: u64, name: &str) -> impl Fn(u64) -> f32 + Sync + use<> {
    let is_norm = name.ends_with("norm.weight");
    let digest = blake3::hash(name.as_bytes());
    let mut start = [0u8; 8];
    start.copy_from_slice(&digest.as_bytes()[..8]);
    let start = u64::from_le_bytes(start) ^ seed;
    move |index| {
        if is_norm {
            return 1.0;
        }
        let mut z = start.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0;
        (unit - 0.5) * 0.02 * 12f32.sqrt()
    }
}

impl Snapshot {
    /// The same with its made-up weights in a file of `folder` that nobody sees and that goes with them, as `bf16`: what streams layers
    /// reads them there, as it reads those of a checkpoint. One whose weights are in files stays as it is.
    ///
    /// # Errors
    /// [`CheckpointError::Unreadable`] where the file cannot be written.
    pub fn written_to(mut self, folder: &Path) -> Result<Self, CheckpointError> {
        let Some(seed) = self.weights.seed() else {
            return Ok(self);
        };
        let failed = |source| CheckpointError::Unreadable {
            path: folder.to_owned(),
            source,
        };
        let mut file = tempfile::tempfile_in(folder).map_err(failed)?;
        let mut places = HashMap::new();
        let (mut at, mut numbers) = (0u64, Vec::new());
        for (name, shape) in self.spec.tensors() {
            let count: usize = shape.iter().product();
            let of = made_up(seed, name.as_str());
            for first in (0..count).step_by(PIECE) {
                numbers.resize(PIECE.min(count - first), bf16::ZERO);
                let tasks = numbers.par_chunks_mut(TASK).enumerate();
                tasks.for_each(|(task, out)| {
                    let from = (first + task * TASK) as u64;
                    for (out, index) in out.iter_mut().zip(from..) {
                        *out = bf16::from_f32(of(index));
                    }
                });
                let bytes: &[u8] = bytemuck::cast_slice(&numbers);
                file.write_all(bytes).map_err(failed)?;
            }
            let place = Place {
                file: 0,
                stored: Stored::BF16,
                shape,
                start: at,
            };
            places.insert(name, place);
            at += 2 * count as u64;
        }
        let files = vec![File {
            path: self.path.clone(),
            bytes: Bytes::File(file),
            length: at,
        }];
        self.weights = Arc::new(Weights::new(&self.path, files, places));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn what_is_written_is_what_is_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let texts = vec!["a text".to_owned()];
        let preset = Snapshot::preset("smollm2-135m", texts, 7).unwrap().unwrap();
        let made = preset.weights.clone();
        let spec = preset.spec.clone();
        let written = preset.written_to(folder.path()).unwrap().weights;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(written.stored_dtype(), DType::BF16);
        let layer = spec.layer(3);
        for parameter in [&layer.qkv.weight, &spec.outer().embedding] {
            let of = |weights: &Weights| {
                let table = weights.parameter(parameter, None, None, DType::BF16, &Device::Cpu);
                table
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1::<bf16>()
                    .unwrap()
            };
            assert_eq!(of(&written), of(&made));
        }
    }
}
