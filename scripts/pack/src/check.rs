//! The IC's rules for a module that can be told without the IC: features, imports, exports, sizes.

use anyhow::{Result, bail, ensure};
use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload, Validator, WasmFeatures};

/// Bytes of a whole module.
const MAX_MODULE: usize = 100 << 20;
/// Bytes of the code section.
const MAX_CODE: u32 = 11 << 20;
const MAX_FUNCTIONS: usize = 50_000;
const MAX_GLOBALS: u32 = 1_000;
const MAX_METHODS: usize = 1_000;
/// Instructions of one function.
const MAX_INSTRUCTIONS: usize = 1_000_000;

/// Entry points of a canister. Other names may not begin with `canister_`.
const ENTRY_POINTS: [&str; 7] = [
    "canister_init",
    "canister_pre_upgrade",
    "canister_post_upgrade",
    "canister_inspect_message",
    "canister_heartbeat",
    "canister_global_timer",
    "canister_on_low_wasm_memory",
];
const METHODS: [&str; 3] = [
    "canister_update ",
    "canister_query ",
    "canister_composite_query ",
];

/// Says why the IC would refuse the module, if it would.
pub(crate) fn module(bytes: &[u8]) -> Result<()> {
    ensure!(
        bytes.len() <= MAX_MODULE,
        "{} bytes, {MAX_MODULE} are allowed",
        bytes.len()
    );
    Validator::new_with_features(features()).validate_all(bytes)?;
    let (mut functions, mut methods) = (0, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    ensure!(
                        import.module == "ic0",
                        "import of {}.{}: only ic0 is there on the IC",
                        import.module,
                        import.name
                    );
                }
            }
            Payload::GlobalSection(section) => {
                ensure!(
                    section.count() <= MAX_GLOBALS,
                    "{} globals",
                    section.count()
                );
            }
            Payload::ExportSection(section) => {
                for item in section {
                    let item = item?;
                    if item.kind == ExternalKind::Func && is_method(item.name)? {
                        methods += 1;
                    }
                }
            }
            Payload::CodeSectionStart { size, .. } => {
                ensure!(
                    size <= MAX_CODE,
                    "code section of {size} bytes, {MAX_CODE} are allowed"
                );
            }
            Payload::CodeSectionEntry(body) => {
                functions += 1;
                function(&body)?;
            }
            Payload::CustomSection(section) => {
                ensure!(
                    !section.name().starts_with("icp:"),
                    "has metadata: {}",
                    section.name()
                );
            }
            _ => {}
        }
    }
    ensure!(
        functions <= MAX_FUNCTIONS,
        "{functions} functions, {MAX_FUNCTIONS} are allowed"
    );
    ensure!(
        methods > 0,
        "exports no canister method: is it a library without entry points?"
    );
    ensure!(
        methods <= MAX_METHODS,
        "{methods} methods, {MAX_METHODS} are allowed"
    );
    Ok(())
}

/// WebAssembly features of the IC's engine.
fn features() -> WasmFeatures {
    WasmFeatures::WASM1
        | WasmFeatures::SIMD
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::MEMORY64
}

fn is_method(name: &str) -> Result<bool> {
    if METHODS.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(true);
    }
    ensure!(
        !name.starts_with("canister_") || ENTRY_POINTS.contains(&name),
        "export of the reserved name {name}"
    );
    Ok(false)
}

fn function(body: &FunctionBody) -> Result<()> {
    let mut instructions = 0;
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::TableGrow { .. }
            | Operator::TableSet { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. } => bail!("a function changes a table"),
            _ => instructions += 1,
        }
    }
    ensure!(
        instructions <= MAX_INSTRUCTIONS,
        "a function of {instructions} instructions, {MAX_INSTRUCTIONS} are allowed"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{
        CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
        ImportSection, Instruction, Module, TypeSection, ValType,
    };

    /// A module with one function `() -> ()`, exported as `export`, importing `import`.
    fn example(import: (&str, &str), export: &str, code: &[Instruction]) -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut imports = ImportSection::new();
        imports.import(import.0, import.1, EntityType::Function(0));
        let mut functions = FunctionSection::new();
        functions.function(0);
        let mut exports = ExportSection::new();
        exports.export(export, ExportKind::Func, 1);
        let mut body = Function::new([(1, ValType::V128)]);
        for instruction in code {
            body.instruction(instruction);
        }
        body.instruction(&Instruction::End);
        let mut bodies = CodeSection::new();
        bodies.function(&body);
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions);
        module.section(&exports).section(&bodies);
        module.finish()
    }

    fn refusal(bytes: &[u8]) -> String {
        format!("{:#}", module(bytes).expect_err("must be refused"))
    }

    #[test]
    fn accepts_a_canister() {
        module(&example(
            ("ic0", "msg_reply"),
            "canister_update go",
            &[Instruction::Nop],
        ))
        .unwrap();
    }

    #[test]
    fn refuses_imports_from_elsewhere() {
        let bytes = example(("env", "random"), "canister_update go", &[]);
        assert!(refusal(&bytes).contains("env.random"));
    }

    #[test]
    fn refuses_reserved_and_missing_exports() {
        let bytes = example(("ic0", "msg_reply"), "canister_foo", &[]);
        assert!(refusal(&bytes).contains("canister_foo"));
        let bytes = example(("ic0", "msg_reply"), "main", &[]);
        assert!(refusal(&bytes).contains("no canister method"));
    }

    #[test]
    fn refuses_relaxed_simd() {
        let code = [
            Instruction::LocalGet(0),
            Instruction::LocalGet(0),
            Instruction::I16x8RelaxedDotI8x16I7x16S,
            Instruction::Drop,
        ];
        let bytes = example(("ic0", "msg_reply"), "canister_update go", &code);
        assert!(refusal(&bytes).contains("relaxed SIMD"));
    }
}
