//! Cases of messages, calls, timers, upgrades, scheduling and cycles: several canisters by name.

use super::case::{CaseError, assemble};
use super::driver::{Answer, Driver};
use super::value::{compare, integer, number, text};
use crate::Replica;
use crate::management::types::*;
use crate::replicated_state::Status;
use candid::{CandidType, Principal};
use serde_bytes::ByteBuf;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const CYCLES: u128 = 100_000_000_000_000;
/// Characters that a log line of a case is cut at.
const LINE_CUT: usize = 400;

/// Replays a case; gives what differs.
pub(super) fn replay(dir: &Path, json: &Value) -> Result<Vec<String>, CaseError> {
    let mut run = Run {
        driver: Driver::new()?,
        modules: HashMap::new(),
        canisters: BTreeMap::new(),
        tags: HashMap::new(),
        logs: BTreeMap::new(),
        out: Vec::new(),
    };
    if let Some(modules) = json["modules"].as_object() {
        for (name, path) in modules {
            let path = dir.join(path.as_str().unwrap_or_default());
            run.modules.insert(name.clone(), assemble(&path)?);
        }
    }
    let empty = Vec::new();
    for (index, step) in json["steps"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .enumerate()
    {
        run.step(index, step)?;
    }
    Ok(run.out)
}

struct Run {
    driver: Driver,
    modules: HashMap<String, Vec<u8>>,
    canisters: BTreeMap<String, Principal>,
    tags: HashMap<String, Result<[u8; 32], crate::Reject>>,
    /// Log records seen so far of each canister.
    logs: BTreeMap<String, u64>,
    out: Vec<String>,
}

fn sender(step: &Value) -> Result<Principal, CaseError> {
    match step["sender"].as_str() {
        None => Ok(Principal::anonymous()),
        Some(bytes) => hex::decode(bytes)
            .map(|bytes| Principal::from_slice(&bytes))
            .map_err(|error| CaseError::Unknown(error.to_string())),
    }
}

fn settings(value: &Value) -> CanisterSettings {
    let nat = |key: &str| number(value, key).map(candid::Nat::from);
    let principals = |list: &Value| -> Option<Vec<Principal>> {
        list.as_array().map(|list| {
            list.iter()
                .filter_map(|text| hex::decode(text.as_str()?).ok())
                .map(|bytes| Principal::from_slice(&bytes))
                .collect()
        })
    };
    CanisterSettings {
        controllers: principals(&value["controllers"]),
        compute_allocation: nat("compute_allocation"),
        memory_allocation: nat("memory_allocation"),
        freezing_threshold: nat("freezing_threshold"),
        reserved_cycles_limit: nat("reserved_cycles_limit"),
        log_visibility: match value["log_visibility"].as_str() {
            Some("public") => Some(LogVisibility::public),
            _ => None,
        },
        snapshot_visibility: None,
        status_visibility: None,
        log_memory_limit: None,
        minimum_incoming_canister_call_cycles: None,
        wasm_memory_limit: nat("wasm_memory_limit"),
        wasm_memory_threshold: nat("wasm_memory_threshold"),
        environment_variables: None,
    }
}

impl Run {
    fn canister(&mut self, name: &str) -> Result<Principal, CaseError> {
        if let Some(id) = self.canisters.get(name) {
            return Ok(*id);
        }
        let id = self.driver.create(CYCLES, None)?;
        self.canisters.insert(name.to_string(), id);
        Ok(id)
    }

    fn arg(&mut self, value: &Value) -> Result<Vec<u8>, CaseError> {
        let bytes = |text: &str| {
            hex::decode(text).map_err(|error| CaseError::Unknown(format!("{text}: {error}")))
        };
        match value {
            Value::Null => Ok(Vec::new()),
            Value::String(text) => bytes(text),
            Value::Array(parts) => {
                let mut arg = Vec::new();
                for part in parts {
                    arg.extend(self.arg(part)?);
                }
                Ok(arg)
            }
            Value::Object(_) => {
                if let Some(name) = value["principal_of"].as_str() {
                    return Ok(self.canister(name)?.as_slice().to_vec());
                }
                if let Some(count) = number(value, "zeros") {
                    return Ok(vec![0; count as usize]);
                }
                Err(CaseError::Unknown(format!("unknown argument {value}")))
            }
            other => Err(CaseError::Unknown(format!("unknown argument {other}"))),
        }
    }

    fn step(&mut self, index: usize, step: &Value) -> Result<(), CaseError> {
        let op = text(step, "op")?;
        let name = step["canister"].as_str().unwrap_or("").to_string();
        let label = format!(
            "step {index} {op} {name} {}",
            step["method"]
                .as_str()
                .or(step["note"].as_str())
                .unwrap_or("")
        );
        let expect = &step["expect"];
        if op == "create" {
            return self.create(&name, step);
        }
        let id = if name.is_empty() {
            None
        } else {
            Some(self.canister(&name)?)
        };
        // Arguments may name canisters that do not exist yet.
        let arg = self.arg(&step["arg_hex"])?;
        let mut messages_args = Vec::new();
        if let Some(messages) = step["messages"].as_array() {
            for message in messages {
                let to = self.canister(text(message, "canister")?)?;
                let arg = self.arg(&message["arg_hex"])?;
                messages_args.push(Message {
                    to,
                    method: text(message, "method")?.to_string(),
                    arg,
                    sender: sender(message)?,
                    tag: message["tag"].as_str().map(str::to_string),
                });
            }
        }
        let settings_value = self.named_settings(&step["settings"])?;
        let before = self.driver.totals();
        let cycles = id.map(|id| self.driver.instruction_cycles(&id));
        let first_cycles = self.first_cycles();
        let mut seen = Observed::default();
        let answer = self.execute(step, op, id, arg, messages_args, settings_value, &mut seen)?;
        if let Some(answer) = answer {
            self.check_answer(&label, expect, &answer);
        }
        let after = self.driver.totals();
        let out = &mut self.out;
        if let Some(expected) = number(expect, "instructions") {
            compare(&label, "instructions", expected, after.0 - before.0, out);
        }
        if let Some(expected) = number(expect, "messages") {
            compare(
                &label,
                "messages",
                expected,
                after.1 - before.1 + seen.refused,
                out,
            );
        }
        if let Some(expected) = number(expect, "query_instructions") {
            let got = self.driver.replica.last_query_instructions();
            compare(&label, "query_instructions", expected, got, out);
        }
        let compiles = matches!(op, "install" | "upgrade" | "reinstall");
        if let (Some(expected), false) = (integer(&expect["cycles"]["Instructions"]), compiles) {
            let got = match (id, cycles) {
                (Some(id), Some(cycles)) => self.driver.instruction_cycles(&id) - cycles,
                _ => self.first_cycles() - first_cycles,
            };
            compare(&label, "cycles.Instructions", expected, got, &mut self.out);
        }
        if let Some(rounds) = expect["rounds"].as_array() {
            self.check_rounds(&label, rounds, &seen.rounds);
        }
        if let Some(state) = expect["state"].as_object() {
            self.check_state(&label, &name, state);
        }
        if op != "query" && op != "state" {
            self.check_log(&label, &expect["log"]);
        }
        Ok(())
    }

    /// Cycles of the canister that steps without one are about: the first by name.
    fn first_cycles(&self) -> i128 {
        self.canisters
            .values()
            .next()
            .map_or(0, |id| self.driver.instruction_cycles(id))
    }

    /// Settings with canister names resolved.
    fn named_settings(&mut self, value: &Value) -> Result<CanisterSettings, CaseError> {
        let mut wanted = settings(value);
        if let Some(list) = value["controllers"].as_array() {
            let mut controllers = Vec::new();
            for entry in list {
                let controller = match entry.as_str() {
                    Some("anonymous") => Principal::anonymous(),
                    Some(name) if self.canisters.contains_key(name) => self.canister(name)?,
                    _ => Principal::from_slice(&self.arg(entry)?),
                };
                controllers.push(controller);
            }
            wanted.controllers = Some(controllers);
        }
        Ok(wanted)
    }

    fn create(&mut self, name: &str, step: &Value) -> Result<(), CaseError> {
        let cycles = integer(&step["cycles"]).map_or(CYCLES, |cycles| cycles as u128);
        let wanted = self.named_settings(&step["settings"])?;
        let id = self.driver.create(cycles, Some(wanted))?;
        self.canisters.insert(name.to_string(), id);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn execute(
        &mut self,
        step: &Value,
        op: &str,
        id: Option<Principal>,
        arg: Vec<u8>,
        messages: Vec<Message>,
        wanted: CanisterSettings,
        seen: &mut Observed,
    ) -> Result<Option<Answer>, CaseError> {
        let who = sender(step)?;
        let no_canister = || CaseError::Unknown(format!("{op} without a canister"));
        let method = step["method"].as_str().unwrap_or("");
        let quiet = &mut |_: &Replica| {};
        let record = |id: Option<Principal>| {
            id.map(|canister_id| CanisterIdRecord { canister_id })
                .ok_or_else(no_canister)
        };
        let answer = match op {
            "install" | "reinstall" | "upgrade" => {
                let options = &step["options"];
                let args = InstallCode {
                    mode: install_mode(op, options),
                    canister_id: id.ok_or_else(no_canister)?,
                    wasm_module: self
                        .modules
                        .get(text(step, "module")?)
                        .cloned()
                        .unwrap_or_default(),
                    arg,
                    sender_canister_version: None,
                };
                if options.is_null() {
                    let args = PlainInstall::new(args);
                    self.driver.manage(who, "install_code", &args, quiet)?
                } else {
                    self.driver.manage(who, "install_code", &args, quiet)?
                }
            }
            "update" | "submit" => {
                let id = id.ok_or_else(no_canister)?;
                let request = self.driver.submit(who, id, method, arg, true);
                if op == "submit" {
                    self.driver.replica.execute_round();
                    let answer = match &request {
                        Ok(request) => self.driver.peek(request),
                        Err(reject) => Answer::Reject(reject.clone()),
                    };
                    self.tags.insert(text(step, "tag")?.into(), request);
                    answer
                } else {
                    match request {
                        Ok(request) => self.driver.wait(&request, quiet),
                        Err(reject) => Answer::Reject(reject),
                    }
                }
            }
            "submit_many" => {
                for message in messages {
                    let Message {
                        to,
                        method,
                        arg,
                        sender,
                        tag,
                    } = message;
                    let request = self.driver.submit(sender, to, &method, arg, false);
                    if request.is_err() {
                        seen.refused += 1;
                    }
                    if let Some(tag) = tag {
                        self.tags.insert(tag, request);
                    }
                }
                self.driver.replica.execute_round();
                return Ok(None);
            }
            "stop_submit" => {
                let arg = candid::encode_one(record(id)?)
                    .map_err(|error| CaseError::Unknown(error.to_string()))?;
                let management = Principal::management_canister();
                let request = self
                    .driver
                    .submit(who, management, "stop_canister", arg, true);
                self.driver.replica.execute_round();
                let answer = match &request {
                    Ok(request) => self.driver.peek(request),
                    Err(reject) => Answer::Reject(reject.clone()),
                };
                self.tags.insert(text(step, "tag")?.into(), request);
                answer
            }
            "await" | "peek" => {
                let tag = text(step, "tag")?;
                match self.tags.get(tag).cloned() {
                    Some(Ok(request)) if op == "await" => self.driver.wait(&request, quiet),
                    Some(Ok(request)) => self.driver.peek(&request),
                    Some(Err(reject)) => Answer::Reject(reject),
                    None => return Err(CaseError::Unknown(format!("no tag {tag}"))),
                }
            }
            "query" => self
                .driver
                .query(who, id.ok_or_else(no_canister)?, method, &arg),
            "settings" => {
                let args = UpdateSettings {
                    canister_id: id.ok_or_else(no_canister)?,
                    settings: wanted,
                    sender_canister_version: None,
                };
                self.driver.manage(who, "update_settings", &args, quiet)?
            }
            "stop" => self
                .driver
                .manage(who, "stop_canister", &record(id)?, quiet)?,
            "start" => self
                .driver
                .manage(who, "start_canister", &record(id)?, quiet)?,
            "uninstall" => self
                .driver
                .manage(who, "uninstall_code", &record(id)?, quiet)?,
            "delete" => self
                .driver
                .manage(who, "delete_canister", &record(id)?, quiet)?,
            "topup" => {
                let amount = integer(&step["amount"]).unwrap_or(0) as u128;
                self.driver
                    .replica
                    .top_up(&id.ok_or_else(no_canister)?, amount);
                return Ok(None);
            }
            "advance" => {
                let ms = number(step, "ms").unwrap_or(0);
                self.driver.replica.advance_ns(ms * 1_000_000);
                return Ok(None);
            }
            "tick" => {
                for _ in 0..number(step, "n").unwrap_or(1) {
                    let ms = number(step, "advance_ms").unwrap_or(0);
                    self.driver.replica.advance_ns(ms * 1_000_000);
                    self.driver.replica.execute_round();
                }
                return Ok(None);
            }
            "rounds" => {
                self.rounds(step, seen);
                return Ok(None);
            }
            "state" => return Ok(None),
            other => return Err(CaseError::Unknown(format!("unknown op {other}"))),
        };
        Ok(Some(answer))
    }

    fn rounds(&mut self, step: &Value, seen: &mut Observed) {
        let empty = Vec::new();
        let probes: Vec<(String, Option<Principal>)> = step["probe"]
            .as_array()
            .unwrap_or(&empty)
            .iter()
            .filter_map(Value::as_str)
            .map(|name| (name.to_string(), self.canisters.get(name).copied()))
            .collect();
        for _ in 0..number(step, "n").unwrap_or(1) {
            self.driver.replica.execute_round();
            let report = self.driver.replica.last_round();
            let mut values = BTreeMap::new();
            for (name, id) in &probes {
                let Some(id) = id else { continue };
                let who = Principal::anonymous();
                if let Answer::Reply(reply) = self.driver.query(who, *id, "probe", &[]) {
                    let words = reply.chunks(8).map(|word| {
                        let mut bytes = [0; 8];
                        bytes[..word.len()].copy_from_slice(word);
                        u64::from_le_bytes(bytes)
                    });
                    values.insert(format!("probe_{name}"), words.collect());
                }
            }
            seen.rounds
                .push((report.messages, report.instructions, values));
        }
    }

    fn check_rounds(&mut self, label: &str, expected: &[Value], got: &[RoundSeen]) {
        for (round, (expected, (messages, instructions, probes))) in
            expected.iter().zip(got).enumerate()
        {
            let label = format!("{label} round {round}");
            if let Some(done) = number(expected, "messages_done") {
                compare(&label, "messages_done", done, *messages, &mut self.out);
            }
            if let Some(done) = number(expected, "instructions_of_done") {
                compare(
                    &label,
                    "instructions_of_done",
                    done,
                    *instructions,
                    &mut self.out,
                );
            }
            let Some(fields) = expected.as_object() else {
                continue;
            };
            for (key, value) in fields.iter().filter(|(key, _)| key.starts_with("probe_")) {
                let got = probes.get(key).cloned().unwrap_or_default();
                let got = serde_json::json!(got).to_string();
                compare(&label, key, value.to_string(), got, &mut self.out);
            }
        }
    }

    /// Canister ids in a text, replaced by what the cases say instead.
    fn masked(&self, text: &str) -> String {
        let mut text = text.to_string();
        for id in self.canisters.values() {
            text = text.replace(&id.to_text(), "<id>");
        }
        text
    }

    fn check_answer(&mut self, label: &str, expect: &Value, answer: &Answer) {
        if let Some(expected) = expect["state"].as_str() {
            let got = match answer {
                Answer::Open(state) => (*state).to_string(),
                Answer::Reply(_) => "completed".into(),
                Answer::Reject(_) => "failed".into(),
            };
            let accepted =
                expected == got || (matches!(answer, Answer::Open(_)) && expected == "processing");
            if !accepted {
                self.out
                    .push(format!("{label}: state: expected {expected}, got {got}"));
            }
            return;
        }
        let ok = matches!(answer, Answer::Reply(_));
        if let Some(expected) = expect["ok"].as_bool()
            && expected != ok
        {
            let got = self.masked(&format!("{answer:?}"));
            self.out
                .push(format!("{label}: ok: expected {expected}, got {got}"));
            return;
        }
        match answer {
            Answer::Reply(reply) => {
                if let Some(expected) = expect["reply_hex"].as_str() {
                    let expected = self.with_ids(expected);
                    compare(
                        label,
                        "reply_hex",
                        expected,
                        hex::encode(reply),
                        &mut self.out,
                    );
                }
                if let Some(expected) = number(expect, "reply_len") {
                    compare(
                        label,
                        "reply_len",
                        expected,
                        reply.len() as u64,
                        &mut self.out,
                    );
                }
            }
            Answer::Reject(reject) => self.check_reject(label, expect, reject),
            Answer::Open(state) => self.out.push(format!("{label}: no answer, {state}")),
        }
    }

    fn check_reject(&mut self, label: &str, expect: &Value, reject: &crate::Reject) {
        if let Some(expected) = number(expect, "reject_code") {
            compare(
                label,
                "reject_code",
                expected,
                reject.code.into(),
                &mut self.out,
            );
        }
        if let Some(expected) = expect["error_code"].as_str() {
            let got = reject.error_code.clone().unwrap_or_default();
            compare(
                label,
                "error_code",
                expected.to_string(),
                got,
                &mut self.out,
            );
        }
        let got = self.masked(&reject.message);
        if let Some(expected) = expect["error_begins"].as_str() {
            let first = got.lines().next().unwrap_or("");
            // A text with a backtrace ends its first line where others have a full stop.
            let same =
                first.starts_with(expected) || first.starts_with(expected.trim_end_matches('.'));
            if !same {
                self.out.push(format!(
                    "{label}: error_begins: expected {expected:?}, got {got:?}"
                ));
            }
        }
        if let Some(expected) = expect["rejected_by_canister"].as_str()
            && !got.starts_with(expected)
        {
            self.out.push(format!(
                "{label}: reject text: expected {expected:?}, got {got:?}"
            ));
        }
        if let Some(expected) = number(expect, "rejected_len") {
            compare(
                label,
                "rejected_len",
                expected,
                reject.message.len() as u64,
                &mut self.out,
            );
        }
        if let Some(expected) = expect["cleanup_error_begins"].as_str() {
            let second = got
                .split("call_on_cleanup also failed:")
                .nth(1)
                .unwrap_or("");
            if !second.trim_start().starts_with(expected) {
                self.out.push(format!(
                    "{label}: cleanup error: expected {expected:?}, got {got:?}"
                ));
            }
        }
    }

    fn with_ids(&self, pattern: &str) -> String {
        let mut text = pattern.to_string();
        for (name, id) in &self.canisters {
            text = text.replace(&format!("<id:{name}>"), &hex::encode(id.as_slice()));
            text = text.replace(&format!("<idtext:{name}>"), &hex::encode(id.to_text()));
        }
        text
    }

    fn check_state(&mut self, label: &str, name: &str, expected: &serde_json::Map<String, Value>) {
        let canister = self
            .canisters
            .get(name)
            .and_then(|id| self.driver.replica.canister(id));
        let Some(canister) = canister else {
            self.out.push(format!("{label}: no canister"));
            return;
        };
        let status = match canister.status {
            Status::Running => "Running",
            Status::Stopping(_) => "Stopping",
            Status::Stopped => "Stopped",
        };
        let got: HashMap<&str, Value> = HashMap::from([
            ("status", status.into()),
            ("canister_version", canister.version.into()),
            ("installed", canister.code.is_some().into()),
            ("heap_pages", (canister.heap_bytes() / 65_536).into()),
            ("stable_pages", canister.stable_pages().into()),
            ("timer_set", canister.timer.is_some().into()),
            (
                "certified_data_hex",
                hex::encode(&canister.certified_data).into(),
            ),
        ]);
        for (key, expected) in expected {
            if let Some(got) = got.get(key.as_str()) {
                compare(
                    label,
                    key,
                    expected.to_string(),
                    got.to_string(),
                    &mut self.out,
                );
            }
        }
    }

    fn check_log(&mut self, label: &str, expected: &Value) {
        for (name, id) in self.canisters.clone() {
            let Some(canister) = self.driver.replica.canister(&id) else {
                continue;
            };
            let seen = self.logs.get(&name).copied().unwrap_or(0);
            let lines: Vec<String> = canister
                .log
                .records()
                .filter(|record| record.index >= seen)
                .map(|record| String::from_utf8_lossy(&record.content).into_owned())
                .collect();
            self.logs.insert(name.clone(), canister.log.next_index());
            let empty = Vec::new();
            let wanted: Vec<&str> = expected[&name]
                .as_array()
                .unwrap_or(&empty)
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let head = |line: &str| {
                line.split("\nCanister Backtrace")
                    .next()
                    .unwrap_or("")
                    .to_string()
            };
            // Long lines are cut in the cases.
            let alike = |a: &str, b: &str| {
                let cut = a.chars().count() >= LINE_CUT;
                (cut && b.starts_with(a)) || head(a) == head(b)
            };
            let same =
                wanted.len() == lines.len() && wanted.iter().zip(&lines).all(|(a, b)| alike(a, b));
            if !same {
                self.out.push(format!(
                    "{label}: log of {name}: expected {wanted:?}, got {lines:?}"
                ));
            }
        }
    }
}

/// Messages, instructions and probes of a round.
type RoundSeen = (u64, u64, BTreeMap<String, Vec<u64>>);

/// A message of a block.
struct Message {
    to: Principal,
    method: String,
    arg: Vec<u8>,
    sender: Principal,
    tag: Option<String>,
}

#[derive(Default)]
struct Observed {
    rounds: Vec<RoundSeen>,
    /// Messages that were not even taken in.
    refused: u64,
}

/// The argument of `install_code` without upgrade options, as the measured calls had it: its size
/// is paid for.
#[derive(CandidType)]
struct PlainInstall {
    mode: PlainMode,
    canister_id: Principal,
    wasm_module: ByteBuf,
    arg: ByteBuf,
    sender_canister_version: Option<u64>,
}

#[derive(CandidType)]
#[allow(non_camel_case_types)]
enum PlainMode {
    install,
    reinstall,
    upgrade,
}

impl PlainInstall {
    fn new(args: InstallCode) -> PlainInstall {
        PlainInstall {
            mode: match args.mode {
                InstallMode::install => PlainMode::install,
                InstallMode::reinstall => PlainMode::reinstall,
                InstallMode::upgrade(_) => PlainMode::upgrade,
            },
            canister_id: args.canister_id,
            wasm_module: args.wasm_module.into(),
            arg: args.arg.into(),
            sender_canister_version: args.sender_canister_version,
        }
    }
}

fn install_mode(op: &str, options: &Value) -> InstallMode {
    match op {
        "install" => InstallMode::install,
        "reinstall" => InstallMode::reinstall,
        _ if options.is_null() => InstallMode::upgrade(None),
        _ => InstallMode::upgrade(Some(UpgradeOptions {
            skip_pre_upgrade: options["skip_pre_upgrade"].as_bool(),
            wasm_memory_persistence: match options["wasm_memory_persistence"].as_str() {
                Some("keep" | "Keep") => Some(MemoryPersistence::keep),
                Some("replace" | "Replace") => Some(MemoryPersistence::replace),
                _ => None,
            },
        })),
    }
}
