//! The context of a System API call: instructions, modes and the heap.

use super::state::{Api, violation};
use crate::memory::heap::View;
use crate::runtime::failure::{Failure, HostTrap};
use crate::runtime::mode;
use candid::Principal;
use std::sync::Arc;
use wasmtime::{AsContextMut, Caller, Global, ResourceLimiter, Val, WasmTy};

/// Instructions for each byte of a reply or of a call's argument.
pub(super) const BYTE_SENT: u64 = 50;

pub(super) type Result<T> = std::result::Result<T, HostTrap>;

/// What the System API works on; the store's data.
#[derive(Default)]
pub struct Host {
    /// State of the running execution.
    pub api: Option<Box<Api>>,
    /// The counter of instructions left.
    pub counter: Option<Global>,
    /// The heap.
    pub view: Option<Arc<View>>,
    /// Instructions left when the execution began.
    pub left_at_start: u64,
    /// Callbacks take 64-bit environments.
    pub memory64: bool,
}

impl Host {
    /// Takes the state of the execution that has ended.
    pub fn take_api(&mut self) -> Api {
        *self.api.take().expect("set when the execution began")
    }

    fn api(&mut self) -> &mut Api {
        self.api.as_mut().expect("only called in an execution")
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let (Some(api), Some(view)) = (&mut self.api, &self.view) else {
            return Ok(true);
        };
        if desired > view.heap().capacity() || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if let (true, Some(limit)) = (api.mode.is_in(mode::HEAP_LIMIT), api.env.heap_limit)
            && desired as u64 > limit
        {
            return Err(HostTrap(Failure::WasmMemoryLimit {
                used: desired as u64,
                limit,
            })
            .into());
        }
        api.grow((desired - current) as u64)?;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

impl Api {
    /// Accounts for memory growing by some bytes.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<()> {
        if !self.mode.is_replicated() || bytes == 0 {
            return Ok(());
        }
        let grown = self.grown.saturating_add(bytes);
        match self.env.allocation_left {
            Some(left) if grown > left => return Err(HostTrap(Failure::OutOfMemory)),
            Some(_) => {}
            None => {
                if self.mode.is_in(mode::FREEZING) {
                    self.check_balance(self.freezing_limit(bytes), bytes)?;
                }
                if self.mode.is_in(mode::RESERVE) {
                    self.reserve(bytes)?;
                }
            }
        }
        self.grown = grown;
        Ok(())
    }

    /// Puts cycles aside for bytes of memory.
    fn reserve(&mut self, bytes: u64) -> Result<()> {
        let at = self.env.saturation.with(self.grown);
        let cycles = self.env.fees.reservation(at, bytes);
        let all = self.env.reserved + self.reserved + cycles;
        let limit = self.env.reserved_limit;
        if all > limit {
            let over = all - limit;
            return Err(HostTrap(Failure::ReservedLimit { bytes, limit, over }));
        }
        self.check_balance(cycles, bytes)?;
        self.balance -= cycles;
        self.reserved += cycles;
        Ok(())
    }

    /// Checks that the balance allows for more bytes of memory.
    fn check_balance(&self, needed: u128, bytes: u64) -> Result<()> {
        if self.balance >= needed {
            return Ok(());
        }
        let missing = self.caller_controls().then_some(needed - self.balance);
        Err(HostTrap(Failure::CyclesForMemory { bytes, missing }))
    }
}

/// An address or size, 32 or 64 bits wide as the module's memory is.
pub trait Address: WasmTy + Copy + Send + Sync {
    /// The address as 64 bits.
    fn to_u64(self) -> u64;
    /// The address of these bits; the upper half is dropped where there is no room.
    fn from_u64(value: u64) -> Self;
}

impl Address for u32 {
    fn to_u64(self) -> u64 {
        self.into()
    }

    fn from_u64(value: u64) -> Self {
        value as u32
    }
}

impl Address for u64 {
    fn to_u64(self) -> u64 {
        self
    }

    fn from_u64(value: u64) -> Self {
        value
    }
}

/// The context of one System API call.
pub(super) struct Context<'a, 'b> {
    pub(super) caller: &'a mut Caller<'b, Host>,
    pub(super) name: &'static str,
}

impl Context<'_, '_> {
    pub(super) fn api(&mut self) -> &mut Api {
        self.caller.data_mut().api()
    }

    pub(super) fn counter(&mut self) -> i64 {
        let counter = self.caller.data().counter.expect("set with the instance");
        match counter.get(self.caller.as_context_mut()) {
            Val::I64(left) => left,
            _ => 0,
        }
    }

    /// Takes instructions; stops the message when there are not that many left.
    pub(super) fn charge(&mut self, instructions: u64) -> Result<()> {
        let left = self
            .counter()
            .saturating_sub(i64::try_from(instructions).unwrap_or(i64::MAX));
        let counter = self.caller.data().counter.expect("set with the instance");
        let set = counter.set(self.caller.as_context_mut(), Val::I64(left));
        debug_assert!(set.is_ok());
        if left < 0 {
            let limit = self.api().limit;
            return Err(HostTrap(Failure::InstructionLimit(limit)));
        }
        Ok(())
    }

    pub(super) fn allow(&mut self, modes: u32) -> Result<()> {
        let name = format!("ic0_{}", self.name);
        self.allow_as(modes, &name)
    }

    pub(super) fn allow_as(&mut self, modes: u32, name: &str) -> Result<()> {
        self.api().allow(modes, name)
    }

    pub(super) fn view(&self) -> Arc<View> {
        let view = self.caller.data().view.clone();
        view.expect("set with the instance")
    }

    pub(super) fn out_of_heap(&self, start: u64, len: u64, size: usize) -> HostTrap {
        violation(format!(
            "ic0.{} heap: src={start} + length={len} exceeds the slice size={size}",
            self.name
        ))
    }

    /// Bytes of the heap.
    pub(super) fn heap(&self, start: u64, len: u64) -> Result<Vec<u8>> {
        let view = self.view();
        let size = view.size();
        if start.checked_add(len).is_none_or(|end| end > size as u64) {
            return Err(self.out_of_heap(start, len, size));
        }
        // SAFETY: in range, readable, and nothing writes to the heap meanwhile.
        let bytes =
            unsafe { std::slice::from_raw_parts(view.start().add(start as usize), len as usize) };
        Ok(bytes.to_vec())
    }

    /// Lets `fill` write to a part of the heap.
    pub(super) fn fill_heap(
        &mut self,
        start: u64,
        len: u64,
        fill: impl FnOnce(&mut Api, &mut [u8]),
    ) -> Result<()> {
        let view = self.view();
        let size = view.size();
        if start.checked_add(len).is_none_or(|end| end > size as u64) {
            return Err(self.out_of_heap(start, len, size));
        }
        if !view.prepare_write(start as usize, len as usize) {
            return Err(HostTrap(Failure::OutOfMemory));
        }
        // SAFETY: in range, writable, and nothing else uses the heap meanwhile.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(view.start().add(start as usize), len as usize)
        };
        fill(self.api(), bytes);
        Ok(())
    }

    /// Copies a part of what `source` gives to the heap.
    pub(super) fn copy_out(
        &mut self,
        target: u64,
        offset: u64,
        len: u64,
        source: impl FnOnce(&Api) -> &[u8],
    ) -> Result<()> {
        let available = source(self.api());
        let size = available.len() as u64;
        let part = match offset.checked_add(len) {
            Some(end) if end <= size => available[offset as usize..end as usize].to_vec(),
            _ => return Err(self.out_of_payload(offset, len, size)),
        };
        self.fill_heap(target, len, |_, heap| heap.copy_from_slice(&part))
    }

    /// Copies a part of some bytes to the heap.
    pub(super) fn copy_bytes(
        &mut self,
        target: u64,
        offset: u64,
        len: u64,
        source: &[u8],
    ) -> Result<()> {
        let size = source.len() as u64;
        match offset.checked_add(len) {
            Some(end) if end <= size => self.fill_heap(target, len, |_, heap| {
                heap.copy_from_slice(&source[offset as usize..end as usize]);
            }),
            _ => Err(self.out_of_payload(offset, len, size)),
        }
    }

    pub(super) fn out_of_payload(&self, offset: u64, len: u64, size: u64) -> HostTrap {
        violation(format!(
            "ic0.{} payload: src={offset} + length={len} exceeds the slice size={size}",
            self.name
        ))
    }

    pub(super) fn write_u128(&mut self, target: u64, value: u128) -> Result<()> {
        self.fill_heap(target, 16, |_, heap| {
            heap.copy_from_slice(&value.to_le_bytes());
        })
    }

    pub(super) fn text(&self, start: u64, len: u64) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.heap(start, len)?).into_owned())
    }
}

pub(super) fn cycles(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

pub(super) fn principal(bytes: &[u8]) -> Result<Principal> {
    Principal::try_from_slice(bytes).map_err(|_| HostTrap(Failure::InvalidPrincipal))
}

/// Defines one function: charges its fixed cost, then runs the body.
macro_rules! api {
    ($linker:ident, $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, |$context:ident| $body:expr) => {
        let cost = $crate::modules::imports::find(stringify!($name)).map_or(0, |import| import.cost);
        $linker.func_wrap(
            "ic0",
            stringify!($name),
            move |mut caller: ::wasmtime::Caller<'_, $crate::runtime::system_api::context::Host> $(, $arg: $ty)*| -> wasmtime::Result<$ret> {
                #[allow(unused_mut)]
                let mut body = |$context: &mut $crate::runtime::system_api::context::Context<'_, '_>| -> $crate::runtime::system_api::context::Result<$ret> { $body };
                let mut context = $crate::runtime::system_api::context::Context { caller: &mut caller, name: stringify!($name) };
                context.charge(cost)?;
                Ok(body(&mut context)?)
            },
        )?;
    };
}
pub(super) use api;
