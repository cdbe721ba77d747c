//! The K/V of texts that are being generated: a tree of pages.

use crate::layer::attention_shape;
use candle_core::DType;
use concord_checkpoint::DecoderSpec;
use concord_kernels::{Engine, KernelError, KvPages, Pages};

/// Where the K/V of one row is kept: a page, and the row's place in it.
pub type KvPlace = (u32, usize);

/// The K/V of many paths, by layer, in pages that paths share as far as they are the same.
pub struct KvTree {
    pub(crate) layers: Vec<Pages>,
    /// How many branches a page is on.
    uses: Vec<u32>,
    free: Vec<u32>,
}

/// One path of a [`KvTree`]. Its pages are taken until [`KvTree::release`] gives them back.
#[derive(Debug, Default)]
pub struct KvBranch {
    pub(crate) pages: Vec<u32>,
    length: usize,
}

/// The beginning of a page that is to be copied once it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCopy {
    from: u32,
    to: u32,
    count: usize,
}

impl KvBranch {
    /// Rows on the path.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The depth of the next row.
    pub(crate) fn depth(&self) -> u32 {
        u32::try_from(self.length).unwrap_or(u32::MAX)
    }
}

impl KvTree {
    /// Makes room for `pages` pages; memory is taken as they are used.
    pub fn new(spec: &DecoderSpec, engine: &Engine, pages: usize) -> Self {
        let shape = attention_shape(spec);
        let last = u32::try_from(pages).unwrap_or(u32::MAX);
        Self {
            layers: (0..spec.layers.len())
                .map(|_| engine.pages(shape, pages))
                .collect(),
            uses: vec![0; pages],
            free: (0..last).rev().collect(),
        }
    }

    /// Bytes of one page over all layers, where keys and values are held as `dtype`.
    pub fn page_bytes(spec: &DecoderSpec, dtype: DType) -> usize {
        let numbers = KvPages::page_length(attention_shape(spec)) * spec.layers.len();
        numbers * dtype.size_in_bytes()
    }

    /// Pages that paths of so many rows take, where they share none.
    pub fn pages_of(rows: usize) -> usize {
        rows.div_ceil(KvPages::DEPTHS)
    }

    /// Pages that are not taken.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// A path that begins with the first `length` rows of another. Whole pages are shared; what is to be copied of the
    /// last one is returned, to be done ([`KvTree::copy`]) once the other's rows are computed.
    pub fn fork(&mut self, branch: &KvBranch, length: usize) -> (KvBranch, Option<PageCopy>) {
        let (whole, count) = (length / KvPages::DEPTHS, length % KvPages::DEPTHS);
        let mut pages = branch.pages[..whole].to_vec();
        for page in &pages {
            self.uses[*page as usize] += 1;
        }
        let copy = (count > 0).then(|| {
            let to = self.take();
            pages.push(to);
            let from = branch.pages[whole];
            PageCopy { from, to, count }
        });
        (KvBranch { pages, length }, copy)
    }

    /// Copies the beginning of a page, in all layers.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn copy(&mut self, copy: PageCopy) -> Result<(), KernelError> {
        for layer in &mut self.layers {
            layer.copy(copy.from, copy.to, copy.count)?;
        }
        Ok(())
    }

    /// Adds a row to a path and says where its K/V belongs.
    ///
    /// # Panics
    /// Where no page is left and the path needs one.
    pub fn extend(&mut self, branch: &mut KvBranch) -> KvPlace {
        let place = branch.length % KvPages::DEPTHS;
        if place == 0 {
            let page = self.take();
            branch.pages.push(page);
        }
        branch.length += 1;
        let page = branch.pages[branch.pages.len() - 1];
        (page, place)
    }

    /// Gives a path's pages back.
    pub fn release(&mut self, branch: KvBranch) {
        for page in branch.pages {
            let uses = &mut self.uses[page as usize];
            *uses -= 1;
            if *uses == 0 {
                self.free.push(page);
            }
        }
    }

    fn take(&mut self) -> u32 {
        let Some(page) = self.free.pop() else {
            panic!("the tree of K/V has no page left: its user counts them")
        };
        self.uses[page as usize] = 1;
        page
    }
}
