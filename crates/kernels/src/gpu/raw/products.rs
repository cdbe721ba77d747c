//! The calls to the matrix products.

use super::{Address, Context, Number, ProductShape, Stream};
use crate::gpu::GpuError;
use crate::gpu::choices::Operands;
use cudarc::cublaslt::{result as lt, sys as lt_sys};
use std::ffi::c_void;
use std::sync::Arc;

fn kind(number: Number) -> lt_sys::cudaDataType {
    match number {
        Number::F32 => lt_sys::cudaDataType::CUDA_R_32F,
        Number::Bf16 => lt_sys::cudaDataType::CUDA_R_16BF,
        Number::F16 => lt_sys::cudaDataType::CUDA_R_16F,
    }
}

/// The products of one stream.
pub(in crate::gpu) struct Products {
    context: Arc<Context>,
    handle: lt_sys::cublasLtHandle_t,
}

#[expect(
    unsafe_code,
    reason = "SAFETY: the handle may be used from any thread, and is by one at a time"
)]
unsafe impl Send for Products {}

/// A product that is prepared: how it is laid out, and the algorithm that was chosen for it.
pub(in crate::gpu) struct Prepared {
    shape: ProductShape,
    operation: lt_sys::cublasLtMatmulDesc_t,
    weight: lt_sys::cublasLtMatrixLayout_t,
    rows: lt_sys::cublasLtMatrixLayout_t,
    result: lt_sys::cublasLtMatrixLayout_t,
    algorithm: lt_sys::cublasLtMatmulAlgo_t,
}

#[expect(
    unsafe_code,
    reason = "SAFETY: descriptions are plain data of the library"
)]
unsafe impl Send for Prepared {}

fn multiplied(call: &'static str) -> impl Fn(lt::CublasError) -> GpuError {
    move |error| match error.0 {
        lt_sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => {
            GpuError::OutOfMemory { bytes: 0, free: 0 }
        }
        status => GpuError::Call {
            call,
            message: format!("{status:?}"),
        },
    }
}

#[expect(
    unsafe_code,
    reason = "SAFETY: descriptions are made here and live as long as what holds them; attributes are given with their size; \
              addresses are of buffers that the callers own"
)]
impl Products {
    pub fn new(context: &Arc<Context>) -> Result<Self, GpuError> {
        context.enter()?;
        Ok(Self {
            context: Arc::clone(context),
            handle: lt::create_handle().map_err(multiplied("cublasLtCreate"))?,
        })
    }

    /// The library's version.
    pub fn version() -> usize {
        unsafe { lt_sys::cublasLtGetVersion() }
    }

    /// Prepares a product by the algorithm of another one, with at most `workspace` bytes to work in.
    ///
    /// # Errors
    /// Where that does not do.
    pub fn prepare_like(
        &self,
        shape: ProductShape,
        workspace: usize,
        like: &Prepared,
    ) -> Result<Prepared, GpuError> {
        let mut prepared = self.described(shape)?;
        prepared.algorithm = like.algorithm;
        self.checked(prepared, workspace)
    }

    /// Prepares a product by the library's own first choice with at most `workspace` bytes to work in: it is the same for the same
    /// shape, device and library, which bit stability rests on.
    pub fn prepare(&self, shape: ProductShape, workspace: usize) -> Result<Prepared, GpuError> {
        let first = self.candidates(shape, workspace)?.into_iter().next();
        first.ok_or_else(|| GpuError::Shape(format!("no algorithm for {shape:?}")))
    }

    /// The library's choices, at least one, the first one first.
    pub fn candidates(
        &self,
        shape: ProductShape,
        workspace: usize,
    ) -> Result<Vec<Prepared>, GpuError> {
        // Always as many: what is first may depend on how many are asked for.
        const MOST: usize = 8;
        let first = self.described(shape)?;
        let algorithms = self.algorithms(&first, workspace, MOST)?;
        let each = algorithms.into_iter().map(|algorithm| {
            let mut prepared = self.described(shape)?;
            prepared.algorithm = algorithm;
            Ok(prepared)
        });
        each.collect()
    }

    fn algorithms(
        &self,
        product: &Prepared,
        workspace: usize,
        most: usize,
    ) -> Result<Vec<lt_sys::cublasLtMatmulAlgo_t>, GpuError> {
        let preference = lt::create_matmul_pref();
        let preference = preference.map_err(multiplied("cublasLtMatmulPreferenceCreate"))?;
        let mut found: Vec<std::mem::MaybeUninit<lt_sys::cublasLtMatmulHeuristicResult_t>> =
            Vec::new();
        found.resize_with(most, std::mem::MaybeUninit::zeroed);
        let mut count = 0;
        let set = unsafe {
            lt::set_matmul_pref_attribute(
                preference,
                lt_sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )
            .and_then(|()| {
                // Sums are not split over inputs: an output is one sum, wherever its row stands.
                let unsplit: u32 = 0;
                lt::set_matmul_pref_attribute(
                    preference,
                    lt_sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    (&raw const unsplit).cast(),
                    size_of::<u32>(),
                )
            })
            .and_then(|()| {
                lt_sys::cublasLtMatmulAlgoGetHeuristic(
                    self.handle,
                    product.operation,
                    product.weight,
                    product.rows,
                    product.result,
                    product.result,
                    preference,
                    i32::try_from(most).unwrap_or(1),
                    found.as_mut_ptr().cast(),
                    &raw mut count,
                )
                .result()
            })
        };
        let _ = unsafe { lt::destroy_matmul_pref(preference) };
        let shape = product.shape;
        let failed = |error| match multiplied("cublasLtMatmulAlgoGetHeuristic")(error) {
            GpuError::Call { call, message } => GpuError::Call {
                call,
                message: format!("{message} for {shape:?}"),
            },
            other => other,
        };
        set.map_err(failed)?;
        found.truncate(usize::try_from(count).unwrap_or(0));
        let found = found
            .into_iter()
            .map(|found| unsafe { found.assume_init() });
        let found = found.filter(|found| found.state.result().is_ok());
        let algorithms: Vec<_> = found.map(|found| found.algo).collect();
        if algorithms.is_empty() {
            return Err(GpuError::Shape(format!("no algorithm for {shape:?}")));
        }
        Ok(algorithms)
    }

    /// How a product is laid out, by no algorithm yet.
    fn described(&self, shape: ProductShape) -> Result<Prepared, GpuError> {
        self.context.enter()?;
        let failed = multiplied("cublasLtMatmulDescCreate");
        let operation = lt::create_matmul_desc(
            lt_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            lt_sys::cudaDataType::CUDA_R_32F,
        )
        .map_err(&failed)?;
        let set = |attribute, value: *const c_void, bytes| unsafe {
            lt::set_matmul_desc_attribute(operation, attribute, value, bytes).map_err(&failed)
        };
        // The library counts by columns: a weight [out, in] by rows is [in, out] to it, and is turned.
        let turned: i32 = 1;
        set(
            lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
            (&raw const turned).cast(),
            size_of::<i32>(),
        )?;
        if shape.biased {
            let epilogue = lt_sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            set(
                lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_EPILOGUE,
                (&raw const epilogue).cast(),
                size_of_val(&epilogue),
            )?;
            let kind = kind(shape.result);
            set(
                lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                (&raw const kind).cast(),
                size_of_val(&kind),
            )?;
            // Any address that is aligned like the real one, for the choice of an algorithm.
            let bias: Address = 1 << 20;
            set(
                lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                (&raw const bias).cast(),
                size_of::<Address>(),
            )?;
        }
        let layout = |number: Number, rows: usize, columns: usize| {
            let stride = i64::try_from(rows).unwrap_or(i64::MAX);
            lt::create_matrix_layout(kind(number), rows as u64, columns as u64, stride)
                .map_err(multiplied("cublasLtMatrixLayoutCreate"))
        };
        let weight = layout(shape.operands, shape.inner, shape.outer)?;
        let rows = layout(shape.operands, shape.inner, shape.rows)?;
        let result = layout(shape.result, shape.outer, shape.rows)?;
        Ok(Prepared {
            shape,
            operation,
            weight,
            rows,
            result,
            algorithm: lt_sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        })
    }

    /// Refuses an algorithm that does not do for a product.
    fn checked(&self, prepared: Prepared, workspace: usize) -> Result<Prepared, GpuError> {
        let mut found = std::mem::MaybeUninit::zeroed();
        let status = unsafe {
            lt_sys::cublasLtMatmulAlgoCheck(
                self.handle,
                prepared.operation,
                prepared.weight,
                prepared.rows,
                prepared.result,
                prepared.result,
                &raw const prepared.algorithm,
                found.as_mut_ptr(),
            )
        };
        status
            .result()
            .map_err(multiplied("cublasLtMatmulAlgoCheck"))?;
        let found: lt_sys::cublasLtMatmulHeuristicResult_t = unsafe { found.assume_init() };
        if found.workspaceSize > workspace {
            return Err(GpuError::Call {
                call: "cublasLtMatmulAlgoCheck",
                message: format!("{} bytes to work in", found.workspaceSize),
            });
        }
        Ok(prepared)
    }

    /// `out = factor · (rows · weightᵀ) + kept · out + bias`.
    pub fn run(
        &self,
        prepared: &Prepared,
        stream: &Stream,
        operands: Operands,
        workspace: (Address, usize),
    ) -> Result<(), GpuError> {
        let Operands {
            weight,
            rows,
            out,
            bias,
            factor,
            kept,
        } = operands;
        self.context.enter()?;
        if prepared.shape.biased != bias.is_some() {
            return Err(GpuError::Shape("a bias where none was prepared".into()));
        }
        let failed = multiplied("cublasLtMatmul");
        unsafe {
            if let Some(bias) = bias {
                lt::set_matmul_desc_attribute(
                    prepared.operation,
                    lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                    (&raw const bias).cast(),
                    size_of::<Address>(),
                )
                .map_err(&failed)?;
            }
            lt::matmul(
                self.handle,
                prepared.operation,
                (&raw const factor).cast(),
                (&raw const kept).cast(),
                weight as *const c_void,
                prepared.weight,
                rows as *const c_void,
                prepared.rows,
                out as *const c_void,
                prepared.result,
                out as *mut c_void,
                prepared.result,
                &raw const prepared.algorithm,
                workspace.0 as *mut c_void,
                workspace.1,
                stream.stream.cast(),
            )
            .map_err(&failed)
        }
    }
}

#[expect(unsafe_code, reason = "SAFETY: the handle is destroyed once")]
impl Drop for Products {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            let _ = unsafe { lt::destroy_handle(self.handle) };
        }
    }
}

impl Prepared {
    /// The algorithm, as the library writes it.
    pub fn algorithm(&self) -> String {
        let words = self.algorithm.data.iter();
        words.fold(String::new(), |all, word| all + &format!("{word:016x}"))
    }

    /// Rows of the product.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }
}

#[expect(unsafe_code, reason = "SAFETY: descriptions are destroyed once")]
impl Drop for Prepared {
    fn drop(&mut self) {
        unsafe {
            let _ = lt::destroy_matmul_desc(self.operation);
            for layout in [self.weight, self.rows, self.result] {
                let _ = lt::destroy_matrix_layout(layout);
            }
        }
    }
}
