//! What happens between a command and an answer: machines are opened, memory is planned, decoders are loaded.
//!
//! **Invariant: no flag, no study, no terminal.** Options are plain types; what happens is told as [`Event`]s, which the program prints.

pub mod bench;
mod cached;
mod ceiling;
mod decoders;
mod error;
mod event;
mod machine;
mod memory;
mod options;
pub mod rounds;
mod served;
mod timeline;

pub use cached::Cached;
pub use ceiling::{Sustained, peak_flops, product_rate, product_rate_of, sustained_rate};
pub use decoders::{Asks, Base, OnDemand, has_room, spill_of};
pub use error::SessionError;
pub use event::{Event, Events, silent};
pub use machine::{Machine, kernel_cache, processor, sharing};
pub use memory::{Allowed, available_bytes, keep_freed, peak_bytes, resident_bytes};
pub use options::{DeviceChoice, MachineOptions, Precision};
pub use rounds::{Meter, Round, Size, Unseen};
pub use timeline::Timeline;
