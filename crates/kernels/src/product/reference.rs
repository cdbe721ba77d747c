//! The product by the definition.

/// `x · weightᵀ` in `f64`, one sum after another.
///
/// # Shapes
/// `x`: `[rows, inner]`, `weight`: `[outer, inner]`; returns `[rows, outer]`.
pub fn product_reference(x: &[f32], weight: &[f32], inner: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| -> f64 {
        let products = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
        products.sum()
    };
    x.chunks(inner)
        .flat_map(|x| weight.chunks(inner).map(move |w| dot(x, w)))
        .collect()
}
