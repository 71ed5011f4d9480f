//! Instruction counters, lines of the log, and traps.

use super::context::{Address, BYTE_SENT, Context, Host, api};
use super::state::violation;
use crate::log::Log;
use crate::runtime::failure::{Failure, HostTrap};
use wasmtime::Linker;

/// Bytes of a trap's message that are kept.
const MAX_TRAP_MESSAGE: u64 = 16 << 10;

impl Context<'_, '_> {
    fn log_cost(&mut self, len: u64) -> u64 {
        let len = len as usize;
        let room = self.api().log.room_for(len);
        2 * Log::considered(len) as u64 + BYTE_SENT * room as u64
    }

    fn executed(&mut self) -> u64 {
        let left = self.counter();
        (self.caller.data().left_at_start as i64 - left).max(0) as u64
    }
}

pub(super) fn define<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, performance_counter(kind: i32) -> i64, |c| {
        let executed = c.executed();
        match kind {
            0 => Ok(executed as i64),
            1 => Ok((c.api().context_instructions + executed) as i64),
            _ => Err(violation(format!("Error getting performance counter type {kind}"))),
        }
    });
    api!(linker, debug_print(src: A, size: A) -> (), |c| {
        let cost = c.log_cost(size.to_u64());
        c.charge(cost)?;
        let line = c.heap(src.to_u64(), size.to_u64().min(1 << 16))?;
        let api = c.api();
        if api.mode.is_replicated() {
            api.log.push(api.env.time_ns, &line);
        }
        Ok(())
    });
    api!(linker, trap(src: A, size: A) -> (), |c| {
        let cost = c.log_cost(size.to_u64());
        c.charge(size.to_u64().saturating_add(cost))?;
        let message = c.text(src.to_u64(), size.to_u64().min(MAX_TRAP_MESSAGE))?;
        Err(HostTrap(Failure::CalledTrap { message, backtrace: String::new() }))
    });
    Ok(())
}
