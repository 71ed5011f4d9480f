//! What a canister knows of itself, its subnet and the time; certified data and the timer.

use super::context::{Address, Host, Result, api, principal};
use super::state::{Api, violation};
use crate::runtime::failure::{Failure, HostTrap};
use crate::runtime::mode;
use wasmtime::Linker;

const MAX_CERTIFIED_DATA: u64 = 32;
/// Nodes of the subnet that this one stands for: prices are those of so many.
const NODES: i32 = 13;

pub(super) fn define<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, canister_self_size() -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(c.api().env.canister.as_slice().len() as u64))
    });
    api!(linker, canister_self_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| api.env.canister.as_slice())
    });
    api!(linker, canister_status() -> i32, |c| {
        c.allow(mode::NOT_START)?;
        Ok(c.api().env.status as i32)
    });
    api!(linker, canister_version() -> i64, |c| {
        c.allow(mode::NOT_START)?;
        Ok(c.api().env.version as i64)
    });
    api!(linker, subnet_self_size() -> A, |c| {
        c.allow_as(mode::NOT_START, "ic0_subnet_self_size")?;
        Ok(A::from_u64(c.api().env.subnet.as_slice().len() as u64))
    });
    api!(linker, subnet_self_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow_as(mode::NOT_START, "ic0.subnet_self_copy")?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| api.env.subnet.as_slice())
    });
    api!(linker, subnet_self_node_count() -> i32, |c| {
        c.allow(mode::NOT_START)?;
        Ok(NODES)
    });
    api!(linker, root_key_size() -> A, |c| {
        c.allow_as(mode::BURN, "ic0_root_key_size")?;
        Ok(A::from_u64(c.api().env.root_key.len() as u64))
    });
    api!(linker, root_key_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow_as(mode::BURN, "ic0.root_key_copy")?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| &api.env.root_key)
    });
    api!(linker, certified_data_set(src: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::CHANGE)?;
        if size.to_u64() > MAX_CERTIFIED_DATA {
            return Err(violation(format!(
                "ic0_certified_data_set failed because the passed data must be no larger than 32 \
                 bytes. Found {} bytes",
                size.to_u64()
            )));
        }
        let data = c.heap(src.to_u64(), size.to_u64())?;
        c.api().new_certified_data = Some(data);
        Ok(())
    });
    api!(linker, data_certificate_present() -> i32, |c| {
        c.allow(mode::NOT_START)?;
        let api = c.api();
        Ok((api.mode.is_in(mode::CERTIFICATE) && api.env.certificate.is_some()).into())
    });
    api!(linker, data_certificate_size() -> A, |c| {
        c.allow(mode::CERTIFICATE)?;
        Ok(A::from_u64(certificate(c.api())?.len() as u64))
    });
    api!(linker, data_certificate_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::CERTIFICATE)?;
        certificate(c.api())?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| {
            api.env.certificate.as_ref().map_or(&[], |certificate| certificate.bytes())
        })
    });
    api!(linker, time() -> i64, |c| {
        c.allow(mode::NOT_START)?;
        Ok(c.api().env.time_ns as i64)
    });
    api!(linker, global_timer_set(time: i64) -> i64, |c| {
        c.allow(mode::TIMER)?;
        let api = c.api();
        let old = api.new_timer.unwrap_or(api.env.global_timer);
        api.new_timer = Some((time != 0).then_some(time as u64));
        Ok(old.unwrap_or(0) as i64)
    });
    api!(linker, is_controller(src: A, size: A) -> i32, |c| {
        c.charge(size.to_u64())?;
        let who = principal(&c.heap(src.to_u64(), size.to_u64())?)?;
        Ok(c.api().env.controllers.contains(&who).into())
    });
    api!(linker, in_replicated_execution() -> i32, |c| {
        Ok(c.api().mode.is_replicated().into())
    });
    define_variables::<A>(linker)
}

fn certificate(api: &Api) -> Result<&[u8]> {
    api.env
        .certificate
        .as_ref()
        .map(|certificate| certificate.bytes())
        .ok_or_else(|| violation("ic0_data_certificate_size called without a certificate"))
}

fn define_variables<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    fn variable(api: &Api, index: u64) -> Result<&str> {
        let found = api.env.variables.get(index as usize);
        found
            .map(|(name, _)| name.as_str())
            .ok_or(HostTrap(Failure::VariableIndex {
                index,
                count: api.env.variables.len(),
            }))
    }
    fn value<'a>(api: &'a Api, name: &str) -> Result<&'a str> {
        let found = api.env.variables.iter().find(|(n, _)| n == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| HostTrap(Failure::VariableNotFound(name.into())))
    }
    api!(linker, env_var_count() -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(c.api().env.variables.len() as u64))
    });
    api!(linker, env_var_name_size(index: A) -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(variable(c.api(), index.to_u64())?.len() as u64))
    });
    api!(linker, env_var_name_copy(index: A, dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        let name = variable(c.api(), index.to_u64())?.to_owned();
        c.copy_bytes(dst.to_u64(), offset.to_u64(), size.to_u64(), name.as_bytes())
    });
    api!(linker, env_var_name_exists(src: A, size: A) -> i32, |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        let name = c.text(src.to_u64(), size.to_u64())?;
        Ok(value(c.api(), &name).is_ok().into())
    });
    api!(linker, env_var_value_size(src: A, size: A) -> A, |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        let name = c.text(src.to_u64(), size.to_u64())?;
        Ok(A::from_u64(value(c.api(), &name)?.len() as u64))
    });
    api!(
        linker,
        env_var_value_copy(src: A, name_size: A, dst: A, offset: A, size: A) -> (),
        |c| {
            c.charge(name_size.to_u64().saturating_add(size.to_u64()))?;
            c.allow(mode::NOT_START)?;
            let name = c.text(src.to_u64(), name_size.to_u64())?;
            let value = value(c.api(), &name)?.to_owned();
            c.copy_bytes(dst.to_u64(), offset.to_u64(), size.to_u64(), value.as_bytes())
        }
    );
    Ok(())
}
