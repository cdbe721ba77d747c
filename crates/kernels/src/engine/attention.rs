//! Attention, and the keys and values that it finds.

use super::{Engine, KvPrefix, List, Pages, RowUse, Rows, tensor};
use crate::attention::{
    AttentionShape, PageRows, PassRows, Scores, page_attention, trie_attention,
};
use crate::{KernelError, generic};
use candle_core::{DType, Device};

impl Engine {
    /// Attention of the querying rows of a pass over the path that it was handed and its own rows.
    ///
    /// # Shapes
    /// `qkv`: `[rows, (heads + 2 · kv_heads) · head_dim]`, rotated; returns `[queries, heads · head_dim]` in `dtype`.
    ///
    /// # Errors
    /// [`KernelError`].
    #[expect(clippy::too_many_arguments, reason = "attention depends on so much")]
    pub fn trie_attention(
        &self,
        qkv: &Rows,
        carried: &KvPrefix,
        rows: &PassRows,
        shape: AttentionShape,
        scores: Scores,
        dtype: DType,
        role: RowUse,
    ) -> Result<Rows, KernelError> {
        Ok(match (self, carried) {
            (Self::Cuda(gpu, _), KvPrefix::Gpu(path)) => {
                // Texts attend over pages: no number of theirs is asked for.
                let block = self.block(role, 0);
                let qkv = qkv.gpu()?;
                Rows::Gpu(gpu.trie_attention(qkv, path, rows, shape, scores, block)?)
            }
            (Self::Generic(_), KvPrefix::Generic(path)) => {
                let qkv = qkv.tensor()?;
                Rows::Tensor(generic::trie_attention(qkv, path, rows, shape, scores)?)
            }
            _ => {
                let path = carried.cpu()?;
                Rows::Tensor(trie_attention(
                    qkv.tensor()?,
                    path,
                    rows,
                    shape,
                    scores,
                    dtype,
                )?)
            }
        })
    }

    /// Writes the keys and values of new rows to their pages, and attends each over its path.
    ///
    /// # Shapes
    /// As [`Engine::trie_attention`].
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn page_attention(
        &self,
        qkv: &Rows,
        pages: &mut Pages,
        rows: &PageRows,
        scores: Scores,
        dtype: DType,
    ) -> Result<Rows, KernelError> {
        Ok(match self {
            Self::Cuda(gpu, _) => {
                Rows::Gpu(gpu.page_attention(qkv.gpu()?, pages.gpu()?, rows, scores)?)
            }
            Self::Cpu(..) => Rows::Tensor(page_attention(
                qkv.tensor()?,
                pages.host()?,
                rows,
                scores,
                dtype,
            )?),
            Self::Generic(device) => {
                let qkv = qkv.tensor()?.to_device(&Device::Cpu)?;
                let out = page_attention(&qkv, pages.host()?, rows, scores, DType::F32)?;
                Rows::Tensor(out.to_device(device)?)
            }
        })
    }

    /// Keeps the keys and values of rows in their places: page and place, by row.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn put_rows(
        &self,
        pages: &mut Pages,
        qkv: &Rows,
        places: &[(u32, usize)],
    ) -> Result<(), KernelError> {
        match self {
            Self::Cuda(..) => Ok(pages.gpu()?.put_rows(qkv.gpu()?, places)?),
            _ => {
                let qkv = qkv.tensor()?.to_device(&Device::Cpu)?;
                tensor(pages.host()?.put_rows(&qkv, places))
            }
        }
    }

    /// Moves a path on to another row: keeps its first `kept` entries and adds the keys and values of some rows.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn advance(
        &self,
        carried: &mut KvPrefix,
        qkv: &Rows,
        kept: usize,
        rows: &List,
    ) -> Result<(), KernelError> {
        match carried {
            KvPrefix::Cpu(path) => tensor(path.advance(qkv.tensor()?, kept, &rows.host)),
            KvPrefix::Generic(path) => tensor(path.advance(qkv.tensor()?, kept, &rows.host)),
            KvPrefix::Gpu(path) => {
                let qkv = qkv.gpu()?;
                let list = rows.on_gpu(qkv.gpu())?;
                Ok(path.advance(qkv, kept, (&rows.host, &list))?)
            }
        }
    }
}
