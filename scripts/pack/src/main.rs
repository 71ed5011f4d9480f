//! `pack IN.wasm SERVICE.did OUT.wasm`: checks a module against what the IC accepts and adds the
//! Candid interface as the public metadata section `candid:service`.

mod check;

use anyhow::{Context, Result, bail};
use std::borrow::Cow;
use wasm_encoder::{CustomSection, Section};

/// The section in which agents and command lines look for a canister's public interface.
const SECTION: &str = "icp:public candid:service";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, interface, output] = arguments.as_slice() else {
        bail!("usage: pack IN.wasm SERVICE.did OUT.wasm");
    };
    let mut module = std::fs::read(input).with_context(|| format!("cannot read {input}"))?;
    let interface = std::fs::read(interface).with_context(|| format!("cannot read {interface}"))?;
    check::module(&module).with_context(|| format!("the IC would refuse {input}"))?;
    CustomSection {
        name: SECTION.into(),
        data: Cow::Borrowed(&interface),
    }
    .append_to(&mut module);
    std::fs::write(output, &module).with_context(|| format!("cannot write {output}"))
}
