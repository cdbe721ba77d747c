//! One file a subcommand.

mod answers;
pub mod bench;
pub mod cache;
pub mod compare;
pub mod doctor;
mod engine;
pub mod export;
pub mod generate;
mod identity;
mod inputs;
mod lines;
pub mod measure;
pub mod merge;
mod model_list;
pub mod models;
pub mod prompts;
mod question_counts;
pub mod questions;
pub mod rate;
pub mod report;
mod results;
pub mod run;
pub mod schema;
pub mod score;
mod suite_prompts;
pub mod suites;
pub mod sweep;
