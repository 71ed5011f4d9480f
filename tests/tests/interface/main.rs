//! The compiled canister against the checked-in interface: what it exports, and what it says of itself.

use anyhow::{Context, Result};
use candid::types::{FuncMode, TypeEnv};
use candid_parser::utils::CandidSource;
use std::collections::BTreeSet;
use wasmparser::{ExternalKind, Parser, Payload};

/// What the canister sends to itself: not for others, so not in the interface.
const OWN: &str = "update round";

/// Methods as they are exported: the kind and the name.
fn declared() -> Result<BTreeSet<String>> {
    let path = e2e::folder().join("canister/llm.did");
    let (types, service): (TypeEnv, _) = CandidSource::File(&path).load()?;
    let service = service.context("llm.did has no service")?;
    let methods = types.as_service(&service)?;
    methods
        .iter()
        .map(|(name, method)| {
            let modes = &types.as_func(method)?.modes;
            let kind = match modes.first() {
                None => "update",
                Some(FuncMode::Query) => "query",
                Some(FuncMode::CompositeQuery) => "composite_query",
                Some(FuncMode::Oneway) => "update",
            };
            Ok(format!("{kind} {name}"))
        })
        .collect()
}

#[test]
fn exports_are_those_of_the_interface() -> Result<()> {
    let wasm = e2e::wasm()?;
    let mut exported = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&wasm) {
        if let Payload::ExportSection(section) = payload? {
            for export in section {
                let export = export?;
                let method = export
                    .name
                    .strip_prefix("canister_")
                    // Entry points that are no methods have no blank.
                    .filter(|name| name.contains(' ') && *name != OWN);
                if let (ExternalKind::Func, Some(method)) = (export.kind, method) {
                    exported.insert(method.to_string());
                }
            }
        }
    }
    assert_eq!(exported, declared()?);
    Ok(())
}

#[test]
fn command_lines_find_the_interface() -> Result<()> {
    let wasm = e2e::wasm()?;
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(&wasm) {
        if let Payload::CustomSection(section) = payload?
            && section.name() == "icp:public candid:service"
        {
            found.push(String::from_utf8(section.data().to_vec())?);
        }
    }
    let expected = std::fs::read_to_string(e2e::folder().join("canister/llm.did"))?;
    assert_eq!(found, [expected]);
    Ok(())
}
