//! The System API: the functions that a canister imports from `ic0`, one file a family.

mod calls;
mod canister;
pub mod context;
mod cycles;
mod debugging;
mod message;
mod stable_memory;
pub mod state;

use context::{Address, Host};
use wasmtime::Linker;

/// Defines the System API for a module whose addresses are of type `A`.
///
/// # Errors
/// When a name is defined twice.
pub fn define<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    message::define::<A>(linker)?;
    calls::define::<A>(linker)?;
    canister::define::<A>(linker)?;
    cycles::define::<A>(linker)?;
    stable_memory::define(linker)?;
    debugging::define::<A>(linker)
}
