//! The calls to the matrix products.

use super::{Address, Context, Number, ProductShape, Stream};
use crate::gpu::GpuError;
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

    /// Prepares a product with at most `workspace` bytes to work in. The library's own first choice is taken: it is the same for
    /// the same shape, device and library, which bit stability rests on.
    pub fn prepare(&self, shape: ProductShape, workspace: usize) -> Result<Prepared, GpuError> {
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
        let preference = lt::create_matmul_pref();
        let preference = preference.map_err(multiplied("cublasLtMatmulPreferenceCreate"))?;
        let found = unsafe {
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
                lt::get_matmul_algo_heuristic(
                    self.handle, operation, weight, rows, result, result, preference,
                )
            })
        };
        let _ = unsafe { lt::destroy_matmul_pref(preference) };
        let found =
            found.map_err(
                |error| match multiplied("cublasLtMatmulAlgoGetHeuristic")(error) {
                    GpuError::Call { call, message } => GpuError::Call {
                        call,
                        message: format!("{message} for {shape:?}"),
                    },
                    other => other,
                },
            )?;
        Ok(Prepared {
            shape,
            operation,
            weight,
            rows,
            result,
            algorithm: found.algo,
        })
    }

    /// `out = factor · (rows · weightᵀ) + kept · out + bias`.
    #[expect(clippy::too_many_arguments, reason = "a product has so many operands")]
    pub fn run(
        &self,
        prepared: &Prepared,
        stream: &Stream,
        weight: Address,
        rows: Address,
        out: Address,
        bias: Option<Address>,
        factor: f32,
        kept: f32,
        workspace: (Address, usize),
    ) -> Result<(), GpuError> {
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
