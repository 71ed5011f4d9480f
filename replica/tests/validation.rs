//! What an install accepts and refuses, against `data/validation.tsv`.

use replica::modules::costs::operator_cost;
use replica::modules::validate::validate;
use std::collections::BTreeMap;

/// A module for each case of the table: the measured verdict and reason are in the table.
fn modules() -> BTreeMap<&'static str, Vec<u8>> {
    let text = |wat: &str| wat::parse_str(wat).expect("the module is well formed");
    let body = |instructions: &str| {
        text(&format!(
            r#"(module (table 4 funcref) (memory 1) (func $f) (elem $e func $f) (data $d "x")
                (func (export "canister_update go") {instructions}))"#
        ))
    };
    let repeated = |head: &str, item: &str, count: usize| {
        let mut wat = head.to_string();
        for _ in 0..count {
            wat.push_str(item);
        }
        wat.push(')');
        text(&wat)
    };
    let in_function = |item: &str, count: usize| {
        let mut wat = String::from("(module (func ");
        for _ in 0..count {
            wat.push_str(item);
        }
        wat.push_str("))");
        text(&wat)
    };
    BTreeMap::from([
        ("simd v128.load", body("(drop (v128.load (i32.const 0)))")),
        (
            "relaxed simd i16x8.relaxed_dot_i8x16_i7x16_s",
            body(
                "(drop (i16x8.relaxed_dot_i8x16_i7x16_s (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
            ),
        ),
        (
            "relaxed simd f32x4.relaxed_madd",
            body(
                "(drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
            ),
        ),
        (
            "table.grow",
            body("(drop (table.grow 0 (ref.null func) (i32.const 1)))"),
        ),
        (
            "table.set",
            body("(table.set 0 (i32.const 0) (ref.null func))"),
        ),
        (
            "table.fill",
            body("(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))"),
        ),
        (
            "table.copy",
            body("(table.copy 0 0 (i32.const 0) (i32.const 0) (i32.const 1))"),
        ),
        (
            "table.init",
            body("(table.init $e (i32.const 0) (i32.const 0) (i32.const 1))"),
        ),
        ("table.get", body("(drop (table.get 0 (i32.const 0)))")),
        ("tail call return_call", body("(return_call $f)")),
        (
            "atomics i32.atomic.load",
            body("(drop (i32.atomic.load (i32.const 0)))"),
        ),
        ("shared memory", text("(module (memory 1 2 shared))")),
        (
            "multi memory (2 memories)",
            text("(module (memory 1) (memory 1))"),
        ),
        (
            "memory64",
            text("(module (memory i64 1) (func (drop (i32.load (i64.const 0)))))"),
        ),
        (
            "extended const i32.add in global init",
            text("(module (global i32 (i32.add (i32.const 1) (i32.const 2))))"),
        ),
        (
            "exceptions throw",
            text("(module (tag $t) (func (throw $t)))"),
        ),
        (
            "multi value",
            text(
                "(module (func $p (result i32 i32) (i32.const 1) (i32.const 2)) (func (call $p) (drop) (drop)))",
            ),
        ),
        (
            "externref table",
            text("(module (table 1 externref) (func))"),
        ),
        (
            "two funcref tables",
            text("(module (table 1 funcref) (table 1 funcref) (func))"),
        ),
        (
            "imported memory env.memory",
            text(r#"(module (import "env" "memory" (memory 1)) (func))"#),
        ),
        (
            "memory 65536 pages (4 GiB)",
            text("(module (memory 65536) (func))"),
        ),
        ("memory max 65537", text("(module (memory 1 65537) (func))")),
        ("no memory", text("(module (func))")),
        ("start function", text("(module (func $s) (start $s))")),
        (
            "export with reserved name canister_foo",
            text(r#"(module (func (export "canister_foo")))"#),
        ),
        (
            "duplicate update+query same name",
            text(
                r#"(module (func (export "canister_update go")) (func (export "canister_query go")))"#,
            ),
        ),
        (
            "update export with param",
            text(r#"(module (func (export "canister_update go") (param i32)))"#),
        ),
        (
            "unknown ic0 import",
            text(r#"(module (import "ic0" "nope" (func)))"#),
        ),
        (
            "wasi import",
            text(r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))))"#),
        ),
        (
            "ic0.msg_reply wrong type",
            text(r#"(module (import "ic0" "msg_reply" (func (param i32))))"#),
        ),
        (
            "1000 globals",
            repeated("(module ", "(global (mut i32) (i32.const 0))", 1000),
        ),
        (
            "1001 globals",
            repeated("(module ", "(global (mut i32) (i32.const 0))", 1001),
        ),
        (
            "50000 functions total",
            repeated("(module ", "(func)", 50_000),
        ),
        ("50001 functions", repeated("(module ", "(func)", 50_001)),
        ("function with 999999 nops", in_function("nop ", 999_999)),
        ("function with 1000001 nops", in_function("nop ", 1_000_001)),
        (
            "complexity: 19990 x br (50 each)",
            in_function("(br 0) ", 20_179),
        ),
        (
            "complexity over 1M? 25000 x (block br)",
            in_function("(block (br 0)) ", 25_000),
        ),
        (
            "f32.load heavy etc: data segment passive",
            text(r#"(module (memory 1) (data "abc") (func))"#),
        ),
        (
            "data segment active out of initial memory",
            text(r#"(module (memory 1) (data (i32.const 70000) "abc"))"#),
        ),
        ("gc struct type", text("(module (type (struct)))")),
        (
            "bulk memory.copy",
            body("(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))"),
        ),
    ])
}

/// The part of a reason that does not hang on how exactly the module was written.
fn comparable(reason: &str) -> String {
    let reason = reason.split(" (at offset").next().unwrap_or(reason);
    let mut text = String::new();
    let mut words = reason.split(' ').peekable();
    while let Some(word) = words.next() {
        text.push_str(word);
        text.push(' ');
        let numbered = matches!(word, "index" | "complexity");
        if numbered && words.peek().is_some_and(|w| w.parse::<u64>().is_ok()) {
            words.next();
            text.push_str("N ");
        }
    }
    text.trim_end().to_string()
}

#[test]
fn verdicts_and_reasons_match() {
    let table = include_str!("../data/validation.tsv");
    let modules = modules();
    let mut checked = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let mut fields = line.split('\t');
        let (Some(case), Some(accepted), Some(detail)) =
            (fields.next(), fields.next(), fields.next())
        else {
            panic!("a line of the table has other fields: {line}");
        };
        let module = modules
            .get(case)
            .unwrap_or_else(|| panic!("no module for {case:?}"));
        match validate(module) {
            Ok(_) => assert_eq!(accepted, "yes", "{case}: expected {detail}"),
            Err(error) => {
                assert_eq!(accepted, "no", "{case}: {error}");
                assert_eq!(
                    comparable(&error.to_string()),
                    comparable(detail),
                    "reason of {case}"
                );
            }
        }
        checked += 1;
    }
    assert_eq!(checked, modules.len());
}

#[test]
fn operators_cost_what_the_table_says() {
    let table = include_str!("../data/instruction-costs.tsv");
    let wasm = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/data/golden"))
        .expect("the golden modules are there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wat"))
        .map(|path| wat::parse_file(path).expect("the module is well formed"));
    let costs: BTreeMap<&str, (u64, u64)> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let name = fields.next()?;
            let narrow = fields.next()?.parse().ok()?;
            Some((name, (narrow, fields.next()?.parse().ok()?)))
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for module in wasm {
        for body in validate(&module).expect("the IC accepted it").code {
            for operator in body.get_operators_reader().expect("validated") {
                let operator = operator.expect("validated");
                let debug = format!("{operator:?}");
                let end = debug.find([' ', '(']).unwrap_or(debug.len());
                let name = debug[..end].to_string();
                let (narrow, wide) = costs.get(name.as_str()).copied().unwrap_or((1, 1));
                assert_eq!(operator_cost(&operator, false), narrow, "{name}");
                assert_eq!(operator_cost(&operator, true), wide, "{name} with 64 bits");
                seen.insert(name);
            }
        }
    }
    // The golden modules use nearly every operator of the table.
    assert!(seen.len() > 350, "only {} operators seen", seen.len());
}
