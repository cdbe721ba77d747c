//! Parameters of the decoder as tensors on its device.

use crate::DecoderError;
use candle_core::{DType, Device, Tensor};
use concord_checkpoint::{
    Adapter, DecoderSpec, NormKind, NormParameters, Parameter, Product, Weights,
};
use concord_kernels::{Norm, linear};

/// A matrix product's weight and bias.
pub(crate) struct Linear {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Linear {
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        linear(x, &self.weight, self.bias.as_ref())
    }
}

/// Where weights come from, and what they become.
pub(crate) struct Loader<'a> {
    pub weights: &'a Weights,
    pub adapter: Option<&'a Adapter>,
    pub spec: &'a DecoderSpec,
    pub dtype: DType,
    pub device: &'a Device,
}

impl Loader<'_> {
    /// A table or a weight, in the decoder's dtype; `base` is the same without an adapter, where that is loaded.
    pub fn matrix(
        &self,
        parameter: &Parameter,
        base: Option<&Tensor>,
    ) -> Result<Tensor, DecoderError> {
        let (adapter, dtype) = (self.adapter, self.dtype);
        Ok(self
            .weights
            .parameter(parameter, adapter, base, dtype, self.device)?)
    }

    /// A norm's weight or a bias, which stay `f32`.
    pub fn vector(&self, parameter: &Parameter) -> Result<Tensor, DecoderError> {
        let adapter = self.adapter;
        Ok(self
            .weights
            .parameter(parameter, adapter, None, DType::F32, self.device)?)
    }

    pub fn linear(&self, product: &Product, base: Option<&Linear>) -> Result<Linear, DecoderError> {
        let bias = product.bias.as_ref();
        Ok(Linear {
            weight: self.matrix(&product.weight, base.map(|base| &base.weight))?,
            bias: bias.map(|bias| self.vector(bias)).transpose()?,
        })
    }

    pub fn norm(&self, norm: &NormParameters) -> Result<Norm, DecoderError> {
        let weight = match &norm.weight {
            Some(weight) => self.vector(weight)?,
            None => Tensor::ones(self.spec.hidden_size, DType::F32, self.device)?,
        };
        let mut rows = vec![self.offset(weight)?];
        if let Some(bias) = &norm.bias {
            rows.push(self.vector(bias)?);
        }
        Ok(self.kind(Tensor::stack(&rows, 0)?))
    }

    /// The norm of queries and keys, as wide as both.
    pub fn qk_norm(&self, weight: &Parameter) -> Result<Norm, DecoderError> {
        let weight = self.offset(self.vector(weight)?)?;
        Ok(self.kind(weight.unsqueeze(0)?))
    }

    fn offset(&self, weight: Tensor) -> candle_core::Result<Tensor> {
        match self.spec.norm {
            NormKind::RmsOnePlus => weight + 1.0,
            _ => Ok(weight),
        }
    }

    fn kind(&self, weights: Tensor) -> Norm {
        Norm {
            weights,
            centred: !matches!(self.spec.norm, NormKind::Rms | NormKind::RmsOnePlus),
            eps: self.spec.norm_eps,
        }
    }
}
