//! What studies have in common: letters, orders, draws, ratings, means with gates, paired differences.

pub(crate) mod clusters;
pub(crate) mod draw;
pub(crate) mod estimate;
pub(crate) mod gates;
pub(crate) mod letters;
pub(crate) mod orders;
pub(crate) mod paired;
pub(crate) mod ranks;
pub(crate) mod rating;
mod reading;
pub(crate) mod requests;
pub(crate) mod rows;
pub(crate) mod words;

pub use gates::Gates;
pub use reading::ReadingError;
pub(crate) use reading::{continuation, reading};
pub use requests::{Family, Pair};
