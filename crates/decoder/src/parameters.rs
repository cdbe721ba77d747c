//! Parameters of the decoder as its kernels take them.

use crate::DecoderError;
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{
    Adapter, DecoderSpec, NormKind, NormParameters, Parameter, Product, Weights,
};
use concord_kernels::{Engine, Norm, Vector, Weight};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A matrix product's weight and bias.
pub(crate) struct Linear {
    pub weight: Arc<Weight>,
    pub bias: Option<Vector>,
}

/// Where weights come from, and what they become.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub weights: &'a Weights,
    pub adapter: Option<&'a Adapter>,
    pub spec: &'a DecoderSpec,
    pub dtype: DType,
    pub engine: &'a Engine,
    /// Set where nobody waits any more for what is loaded.
    pub is_left: &'a AtomicBool,
}

/// Ends what nobody waits for.
pub(crate) fn goes_on(is_left: &AtomicBool) -> Result<(), DecoderError> {
    if is_left.load(Ordering::Relaxed) {
        return Err(DecoderError::Thread(std::io::ErrorKind::Interrupted.into()));
    }
    Ok(())
}

impl Loader<'_> {
    /// Whether the adapter changes a parameter.
    fn changes(&self, parameter: &Parameter) -> bool {
        self.adapter
            .is_some_and(|adapter| adapter.changes(parameter))
    }

    /// What a parameter is held as: where products are in `f32`, the narrowest type that loses nothing.
    pub fn held(&self, parameter: &Parameter) -> DType {
        match self.dtype {
            DType::F32 if self.changes(parameter) => DType::F32,
            DType::F32 => self.weights.exact_dtype(),
            other => other,
        }
    }

    /// A parameter as it is in the files; `base` is the same without an adapter, where that is loaded.
    pub fn table(
        &self,
        parameter: &Parameter,
        base: Option<&Tensor>,
    ) -> Result<Tensor, DecoderError> {
        let held = self.held(parameter);
        let base = base.map(|base| base.to_dtype(held)).transpose()?;
        let (adapter, base) = (self.adapter, base.as_ref());
        Ok(self
            .weights
            .parameter(parameter, adapter, base, held, &Device::Cpu)?)
    }

    /// A weight, packed; `gated` where its outputs are gates and what they open.
    pub fn matrix(
        &self,
        parameter: &Parameter,
        gated: bool,
        base: Option<&Arc<Weight>>,
    ) -> Result<Arc<Weight>, DecoderError> {
        if let (None, Some(weight)) = (base, self.filled(parameter, (gated, false))?) {
            return Ok(Arc::new(weight));
        }
        self.weight(parameter, base, |table| self.packed(table, gated))
    }

    /// A weight that is read on its way to the device, where it goes there as it is stored.
    fn filled(
        &self,
        parameter: &Parameter,
        kind: (bool, bool),
    ) -> Result<Option<Weight>, DecoderError> {
        let &[outer, inner] = &parameter.shape[..] else {
            return Ok(None);
        };
        if !self.weights.has_parts(parameter, self.adapter) {
            return Ok(None);
        }
        let (weights, dtype, is_left) = (self.weights, self.dtype, self.is_left);
        self.engine
            .filled_weight((outer, inner), kind, dtype, |at, room| {
                goes_on(is_left)?;
                Ok(weights.read_part(parameter, dtype, at, room)?)
            })
    }

    /// A table whose rows are looked up, where it is read on its way to the device; else what [`Loader::table`] gives, placed there.
    pub fn looked_up(
        &self,
        parameter: &Parameter,
        base: Option<&Tensor>,
    ) -> Result<Weight, DecoderError> {
        if let (None, Some(table)) = (base, self.filled(parameter, (false, true))?) {
            return Ok(table);
        }
        Ok(self
            .engine
            .table(self.table(parameter, base)?, self.dtype)?)
    }

    /// A table, as products of the device take it.
    pub fn packed(&self, table: &Tensor, gated: bool) -> Result<Arc<Weight>, DecoderError> {
        Ok(Arc::new(self.engine.weight(table, gated, self.dtype)?))
    }

    /// The head, which is never held in eight bits; `base` is the same without an adapter, where that is loaded.
    pub fn head(
        &self,
        parameter: &Parameter,
        base: Option<&Arc<Weight>>,
    ) -> Result<Arc<Weight>, DecoderError> {
        if let (None, Some(weight)) = (base, self.filled(parameter, (false, true))?) {
            return Ok(Arc::new(weight));
        }
        self.weight(parameter, base, |table| self.packed_head(table))
    }

    /// The weight of a base where the adapter leaves it as it is, else one that `pack` makes of the table.
    fn weight(
        &self,
        parameter: &Parameter,
        base: Option<&Arc<Weight>>,
        pack: impl FnOnce(&Tensor) -> Result<Arc<Weight>, DecoderError>,
    ) -> Result<Arc<Weight>, DecoderError> {
        let plain = match base {
            Some(base) if !self.changes(parameter) => return Ok(Arc::clone(base)),
            Some(base) => Some(base.unpack()?),
            None => None,
        };
        let table = self.table(parameter, plain.as_ref())?;
        drop(plain);
        pack(&table)
    }

    /// A table, as the product of the head takes it.
    pub fn packed_head(&self, table: &Tensor) -> Result<Arc<Weight>, DecoderError> {
        Ok(Arc::new(self.engine.whole_weight(table, self.dtype)?))
    }

    /// A norm's weight or a bias on the host, which stay `f32`.
    fn numbers(&self, parameter: &Parameter) -> Result<Tensor, DecoderError> {
        let adapter = self.adapter;
        Ok(self
            .weights
            .parameter(parameter, adapter, None, DType::F32, &Device::Cpu)?)
    }

    /// A bias.
    pub fn vector(&self, parameter: &Parameter) -> Result<Vector, DecoderError> {
        Ok(self.engine.vector(self.numbers(parameter)?)?)
    }

    pub fn linear(
        &self,
        product: &Product,
        gated: bool,
        base: Option<&Linear>,
    ) -> Result<Linear, DecoderError> {
        let bias = product.bias.as_ref();
        Ok(Linear {
            weight: self.matrix(&product.weight, gated, base.map(|base| &base.weight))?,
            bias: bias.map(|bias| self.vector(bias)).transpose()?,
        })
    }

    pub fn norm(&self, norm: &NormParameters) -> Result<Norm, DecoderError> {
        let weight = match &norm.weight {
            Some(weight) => self.numbers(weight)?,
            None => Tensor::ones(self.spec.hidden_size, DType::F32, &Device::Cpu)?,
        };
        let mut rows = vec![self.offset(weight)?];
        if let Some(bias) = &norm.bias {
            rows.push(self.numbers(bias)?);
        }
        self.kind(Tensor::stack(&rows, 0)?)
    }

    /// The norm of queries and keys, as wide as both.
    pub fn qk_norm(&self, weight: &Parameter) -> Result<Norm, DecoderError> {
        let weight = self.offset(self.numbers(weight)?)?;
        self.kind(weight.unsqueeze(0)?)
    }

    fn offset(&self, weight: Tensor) -> candle_core::Result<Tensor> {
        match self.spec.norm {
            NormKind::RmsOnePlus => weight + 1.0,
            _ => Ok(weight),
        }
    }

    fn kind(&self, weights: Tensor) -> Result<Norm, DecoderError> {
        Ok(Norm {
            weights: self.engine.vector(weights)?,
            centred: !matches!(self.spec.norm, NormKind::Rms | NormKind::RmsOnePlus),
            eps: self.spec.norm_eps,
        })
    }
}
