//! One file a subcommand.

pub mod bench;
mod inputs;
pub mod measure;
pub mod models;
pub mod prompts;
pub mod questions;
pub mod run;
pub mod score;
