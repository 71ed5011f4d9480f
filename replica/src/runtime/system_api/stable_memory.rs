//! Stable memory.

use super::context::{Context, Host, Result, api};
use crate::memory::stable::STABLE_PAGE;
use crate::runtime::failure::{Failure, HostTrap};
use wasmtime::Linker;

/// Instructions for each page of stable memory first written in a message.
const STABLE_PAGE_WRITTEN: u64 = 1_000;

impl Context<'_, '_> {
    fn check_stable(&mut self, offset: u64, len: u64) -> Result<()> {
        if self.api().stable.contains(offset, len) {
            Ok(())
        } else {
            Err(trapped("stable memory out of bounds"))
        }
    }

    fn check_stable32(&mut self) -> Result<()> {
        if self.api().stable.pages() > 65_536 {
            Err(trapped(
                "32 bit stable memory api used on a memory larger than 4GB",
            ))
        } else {
            Ok(())
        }
    }

    fn access_stable(&mut self, offset: u64, len: u64, written: u64) -> Result<()> {
        let api = self.api();
        api.stable.access(offset, len);
        let (accessed, dirty) = api.stable_access_limit;
        if api.stable.accessed_pages() > accessed {
            return Err(HostTrap(Failure::MemoryAccessLimit(format!(
                "Exceeded the limit for the number of accessed pages in the stable memory in a \
                 single message execution: limit {} KB.",
                accessed * 4
            ))));
        }
        if api.stable.dirty_pages() + written > dirty {
            return Err(HostTrap(Failure::MemoryAccessLimit(format!(
                "Exceeded the limit for the number of modified pages in the stable memory in a \
                 single message execution: limit {} KB.",
                dirty * 4
            ))));
        }
        Ok(())
    }

    fn stable_read(&mut self, target: u64, offset: u64, len: u64) -> Result<()> {
        self.charge(len)?;
        self.check_stable(offset, len)?;
        self.access_stable(offset, len, 0)?;
        self.fill_heap(target, len, |api, heap| api.stable.read(offset, heap))
    }

    fn stable_write(&mut self, offset: u64, source: u64, len: u64) -> Result<()> {
        self.charge(len)?;
        self.check_stable(offset, len)?;
        let pages = self.api().stable.clean_pages(offset, len);
        self.charge(pages * STABLE_PAGE_WRITTEN)?;
        self.access_stable(offset, len, pages)?;
        let view = self.view();
        let size = view.size();
        if source.checked_add(len).is_none_or(|end| end > size as u64) {
            return Err(self.out_of_heap(source, len, size));
        }
        // SAFETY: in range, readable, and nothing writes to the heap meanwhile.
        let bytes =
            unsafe { std::slice::from_raw_parts(view.start().add(source as usize), len as usize) };
        self.api().stable.write(offset, bytes);
        Ok(())
    }

    fn stable_grow(&mut self, pages: u64) -> Result<Option<u64>> {
        let Some(old) = self.api().stable.grow(pages) else {
            return Ok(None);
        };
        self.api().grow(pages * STABLE_PAGE)?;
        Ok(Some(old))
    }
}

pub(super) fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, stable64_size() -> i64, |c| {
        Ok(c.api().stable.pages() as i64)
    });
    api!(linker, stable64_grow(pages: i64) -> i64, |c| {
        Ok(c.stable_grow(pages as u64)?.map_or(-1, |old| old as i64))
    });
    api!(linker, stable64_read(dst: i64, offset: i64, size: i64) -> (), |c| {
        c.stable_read(dst as u64, offset as u64, size as u64)
    });
    api!(linker, stable64_write(offset: i64, src: i64, size: i64) -> (), |c| {
        c.stable_write(offset as u64, src as u64, size as u64)
    });
    api!(linker, stable_size() -> i32, |c| {
        c.check_stable32()?;
        Ok(c.api().stable.pages() as i32)
    });
    api!(linker, stable_grow(pages: i32) -> i32, |c| {
        c.check_stable32()?;
        let pages = u64::from(pages as u32);
        if c.api().stable.pages() + pages > 65_536 {
            return Ok(-1);
        }
        Ok(c.stable_grow(pages)?.map_or(-1, |old| old as i32))
    });
    api!(linker, stable_read(dst: i32, offset: i32, size: i32) -> (), |c| {
        c.check_stable32()?;
        c.stable_read((dst as u32).into(), (offset as u32).into(), (size as u32).into())
    });
    api!(linker, stable_write(offset: i32, src: i32, size: i32) -> (), |c| {
        c.check_stable32()?;
        c.stable_write((offset as u32).into(), (src as u32).into(), (size as u32).into())
    });
    Ok(())
}

fn trapped(text: &str) -> HostTrap {
    HostTrap(Failure::Trapped {
        trap: text.into(),
        backtrace: String::new(),
    })
}
