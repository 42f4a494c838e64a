//! Generation: prompts are read in a few passes, then one token of each sequence per step, chosen on the device.
//!
//! Sequences run as one batch, each with interventions of its own or none: base and personalized answers cost one reading of
//! the weights.

mod decode;
mod generation;
mod persona;
mod prefill;
mod sampler;
mod stop;

pub use generation::{Finish, GenerateOptions, Generation, Piece, Prompt};
pub use persona::Persona;
pub use prefill::prefill_plan;
