//! Cycles: balances, what calls bring, and what things cost.

use super::context::{Address, Context, Host, Result, api, cycles};
use super::state::violation;
use crate::cycles::{MAX_CALL_ANSWER, UPDATE_LIMIT};
use crate::runtime::failure::HostTrap;
use crate::runtime::mode;
use wasmtime::Linker;

impl Context<'_, '_> {
    fn accept_cycles(&mut self, most: u128) -> u128 {
        let api = self.api();
        let accepted = most.min(api.cycles_available);
        api.cycles_available -= accepted;
        api.cycles_accepted += accepted;
        api.balance = api.balance.saturating_add(accepted);
        accepted
    }
}

pub(super) fn define<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, canister_cycle_balance() -> i64, |c| {
        c.allow(mode::NOT_START)?;
        narrow(c.api().balance, "canister_cycle_balance")
    });
    api!(linker, canister_cycle_balance128(dst: A) -> (), |c| {
        c.allow(mode::NOT_START)?;
        let balance = c.api().balance;
        c.write_u128(dst.to_u64(), balance)
    });
    api!(linker, canister_liquid_cycle_balance128(dst: A) -> (), |c| {
        c.allow(mode::NOT_START)?;
        let liquid = c.api().liquid();
        c.write_u128(dst.to_u64(), liquid)
    });
    api!(linker, msg_cycles_available() -> i64, |c| {
        c.allow(mode::CYCLES)?;
        narrow(c.api().cycles_available, "msg_cycles_available")
    });
    api!(linker, msg_cycles_available128(dst: A) -> (), |c| {
        c.allow(mode::CYCLES)?;
        let available = c.api().cycles_available;
        c.write_u128(dst.to_u64(), available)
    });
    api!(linker, msg_cycles_refunded() -> i64, |c| {
        c.allow(mode::REFUND)?;
        narrow(c.api().cycles_refunded, "msg_cycles_refunded")
    });
    api!(linker, msg_cycles_refunded128(dst: A) -> (), |c| {
        c.allow(mode::REFUND)?;
        let refunded = c.api().cycles_refunded;
        c.write_u128(dst.to_u64(), refunded)
    });
    api!(linker, msg_cycles_accept(most: i64) -> i64, |c| {
        c.allow(mode::CYCLES)?;
        Ok(c.accept_cycles(u128::from(most as u64)) as i64)
    });
    api!(linker, msg_cycles_accept128(high: i64, low: i64, dst: A) -> (), |c| {
        c.allow(mode::CYCLES)?;
        let accepted = c.accept_cycles(cycles(high as u64, low as u64));
        c.write_u128(dst.to_u64(), accepted)
    });
    api!(linker, cycles_burn128(high: i64, low: i64, dst: A) -> (), |c| {
        c.allow(mode::BURN)?;
        let api = c.api();
        let burnt = cycles(high as u64, low as u64).min(api.liquid());
        api.balance -= burnt;
        api.cycles_burnt += burnt;
        c.write_u128(dst.to_u64(), burnt)
    });
    api!(linker, mint_cycles(_amount: i64) -> i64, |c| {
        Err(mint(c))
    });
    api!(linker, mint_cycles128(_high: i64, _low: i64, _dst: A) -> (), |c| {
        Err(mint(c))
    });
    api!(linker, cost_call(name_size: i64, payload_size: i64, dst: A) -> (), |c| {
        let fees = c.api().env.fees;
        let memory64 = c.api().memory64();
        let bytes = (name_size as u64).saturating_add(payload_size as u64);
        let cost = fees.call(bytes)
            + fees.answer(MAX_CALL_ANSWER)
            + fees.execution(UPDATE_LIMIT, memory64);
        c.write_u128(dst.to_u64(), cost)
    });
    api!(linker, cost_create_canister(dst: A) -> (), |c| {
        let cost = c.api().env.fees.create();
        c.write_u128(dst.to_u64(), cost)
    });
    api!(linker, cost_http_request(request: i64, answer: i64, dst: A) -> (), |c| {
        let cost = c.api().env.fees.http_request(request as u64, answer as u64);
        c.write_u128(dst.to_u64(), cost)
    });
    // There are no threshold keys here: known algorithms have no key of any name (2), others are
    // unknown (1).
    api!(linker, cost_sign_with_ecdsa(src: A, size: A, curve: i32, _dst: A) -> i32, |c| {
        c.heap(src.to_u64(), size.to_u64())?;
        Ok(if curve == 0 { 2 } else { 1 })
    });
    api!(linker, cost_sign_with_schnorr(src: A, size: A, algorithm: i32, _dst: A) -> i32, |c| {
        c.heap(src.to_u64(), size.to_u64())?;
        Ok(if algorithm == 0 || algorithm == 1 { 2 } else { 1 })
    });
    api!(linker, cost_vetkd_derive_key(src: A, size: A, curve: i32, _dst: A) -> i32, |c| {
        c.heap(src.to_u64(), size.to_u64())?;
        Ok(if curve == 0 { 2 } else { 1 })
    });
    Ok(())
}

fn narrow(cycles: u128, name: &str) -> Result<i64> {
    u64::try_from(cycles)
        .map(|cycles| cycles as i64)
        .map_err(|_| violation(format!("ic0_{name}: the amount does not fit in 64 bits")))
}

fn mint(c: &mut Context<'_, '_>) -> HostTrap {
    if let Err(refused) = c.allow(mode::MINT) {
        return refused;
    }
    let name = c.name;
    violation(format!(
        "ic0.{name} cannot be executed on non Cycles Minting Canister: {} != \
         rkp4c-7iaaa-aaaaa-aaaca-cai",
        c.api().env.canister
    ))
}
