//! One file a subcommand.

pub mod bench;
pub mod compare;
mod decoders;
pub mod doctor;
pub mod generate;
mod inputs;
mod lines;
pub mod measure;
pub mod models;
pub mod prompts;
pub mod questions;
pub mod read;
pub mod report;
mod results;
pub mod run;
pub mod score;
mod study;
