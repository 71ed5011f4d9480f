//! Exact figures: one module, one canister.

use super::case::{CaseError, assemble};
use super::driver::{Answer, Driver};
use super::value::{compare, integer, number, text};
use crate::management::types::*;
use candid::Principal;
use serde_json::Value;
use std::path::Path;

const CYCLES: u128 = 1_000_000_000_000_000;

/// Replays a case; gives what differs.
pub(super) fn replay(module: &Path, json: &Value) -> Result<Vec<String>, CaseError> {
    let wasm = assemble(module)?;
    let mut driver = Driver::new()?;
    let id = driver.create(CYCLES, None)?;
    let mut out = Vec::new();
    let empty = Vec::new();
    for (index, step) in json["steps"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .enumerate()
    {
        let op = text(step, "op")?;
        let method = step["method"].as_str().unwrap_or("");
        let name = format!("step {index} {op} {method}");
        let arg = vec![0; number(step, "arg_zero").unwrap_or(0) as usize];
        let before = driver.totals().0;
        let cycles = driver.instruction_cycles(&id);
        let mut rounds = 0u64;
        let mut count = |_: &crate::Replica| rounds += 1;
        let anonymous = Principal::anonymous();
        let answer = match op {
            "install" | "upgrade" | "reinstall" => {
                let mode = match op {
                    "install" => InstallMode::install,
                    "upgrade" => InstallMode::upgrade(None),
                    _ => InstallMode::reinstall,
                };
                let args = InstallCode {
                    mode,
                    canister_id: id,
                    wasm_module: wasm.clone(),
                    arg: Vec::new(),
                    sender_canister_version: None,
                };
                driver.manage(anonymous, "install_code", &args, &mut count)?
            }
            "update" => match driver.submit(anonymous, id, method, arg, true) {
                Ok(request) => driver.wait(&request, &mut count),
                Err(reject) => Answer::Reject(reject),
            },
            "query" => driver.query(anonymous, id, method, &arg),
            "tick" => {
                for _ in 0..number(step, "n").unwrap_or(1) {
                    let advance = number(step, "advance_ms").unwrap_or(0);
                    driver.replica.advance_ns(advance * 1_000_000);
                    driver.replica.execute_round();
                    rounds += 1;
                }
                Answer::Reply(Vec::new())
            }
            "status" => driver.manage(
                anonymous,
                "canister_status",
                &CanisterIdRecord { canister_id: id },
                &mut count,
            )?,
            other => return Err(CaseError::Unknown(format!("unknown op {other}"))),
        };
        let expect = &step["expect"];
        check_answer(&name, expect, &answer, &mut out);
        if let Some(expected) = number(expect, "instructions") {
            let got = driver.totals().0 - before;
            compare(&name, "instructions", expected, got, &mut out);
        }
        if let Some(expected) = number(expect, "query_instructions") {
            let got = driver.replica.last_query_instructions();
            compare(&name, "query_instructions", expected, got, &mut out);
        }
        if let (Some(expected), true) = (number(expect, "rounds"), op == "update") {
            compare(&name, "rounds", expected, rounds, &mut out);
        }
        if let (Some(expected), true) = (
            integer(&expect["cycles"]["Instructions"]),
            matches!(op, "update" | "tick"),
        ) {
            let got = driver.instruction_cycles(&id) - cycles;
            compare(&name, "cycles.Instructions", expected, got, &mut out);
        }
    }
    Ok(out)
}

fn check_answer(name: &str, expect: &Value, answer: &Answer, out: &mut Vec<String>) {
    let ok = matches!(answer, Answer::Reply(_));
    if let Some(expected) = expect["ok"].as_bool()
        && expected != ok
    {
        out.push(format!("{name}: ok: expected {expected}, got {answer:?}"));
        return;
    }
    match answer {
        Answer::Reply(reply) => {
            if let Some(expected) = expect["reply_hex"].as_str() {
                compare(name, "reply_hex", expected.into(), hex::encode(reply), out);
            }
        }
        Answer::Reject(reject) => {
            if let Some(expected) = expect["error_code"].as_str() {
                let got = reject.error_code.clone().unwrap_or_default();
                compare(name, "error_code", expected.to_string(), got, out);
            }
        }
        Answer::Open(state) => out.push(format!("{name}: no answer, {state}")),
    }
}
