//! What an install accepts: the checks of the IC's own validation, in its order and its words.

use super::imports;
use std::collections::{BTreeMap, HashSet};
use wasmparser::{
    BinaryReader, CompositeInnerType, ConstExpr, Data, DataKind, Export, ExternalKind, FuncType,
    FuncValidatorAllocations, FunctionBody, MemorySectionReader, MemoryType, Operator, Parser,
    Payload, TypeRef, ValidPayload, Validator, WasmFeatures,
};

const MAX_MODULE_BYTES: usize = 100 << 20;
const MAX_CODE_SECTION_BYTES: usize = 11 << 20;
const MAX_FUNCTIONS: usize = 50_000;
const MAX_GLOBALS: usize = 1_000;
const MAX_EXPORTED_METHODS: usize = 1_000;
const MAX_METHOD_NAMES_BYTES: usize = 20_000;
const MAX_CUSTOM_SECTIONS: usize = 16;
const MAX_CUSTOM_SECTIONS_BYTES: usize = 1 << 20;
const MAX_FUNCTION_SIZE: usize = 1_000_000;
const MAX_FUNCTION_COMPLEXITY: u64 = 1_000_000;
/// Bytes of a WebAssembly page.
pub const WASM_PAGE: u64 = 65_536;

/// Why a module is refused; the text is what the IC says.
#[derive(Debug, thiserror::Error)]
pub enum InvalidModule {
    /// The module breaks a rule.
    #[error("Canister's Wasm module is not valid: {0}")]
    Validation(String),
    /// The module cannot be metered.
    #[error("Could not instrument wasm module of canister: {0}")]
    Instrumentation(String),
    /// The engine cannot compile the metered module.
    #[error("Could not compile wasm module of canister: {0}")]
    Compilation(String),
}

fn invalid(text: impl Into<String>) -> InvalidModule {
    InvalidModule::Validation(text.into())
}

/// Who may read a custom section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Controllers.
    Private,
}

/// A module taken apart, once it is known to be valid.
pub struct ParsedModule<'a> {
    /// Function types, by index.
    pub types: Vec<FuncType>,
    /// Imports, in order.
    pub imports: Vec<wasmparser::Import<'a>>,
    /// Type index of each function, imported ones first.
    pub function_types: Vec<u32>,
    /// Functions that are imported: the first indices.
    pub imported_functions: u32,
    /// The table section.
    pub tables: Option<wasmparser::TableSectionReader<'a>>,
    /// Memories: none or one.
    pub memories: Vec<wasmparser::MemoryType>,
    /// Globals that the module defines.
    pub globals: Vec<wasmparser::Global<'a>>,
    /// Exports, in order.
    pub exports: Vec<Export<'a>>,
    /// Index of the start function.
    pub start: Option<u32>,
    /// The element section.
    pub elements: Option<wasmparser::ElementSectionReader<'a>>,
    /// What the data count section says.
    pub data_count: Option<u32>,
    /// Bodies of the functions that the module defines.
    pub code: Vec<FunctionBody<'a>>,
    /// Data segments.
    pub data: Vec<Data<'a>>,
    /// The type section.
    pub type_section: Option<wasmparser::TypeSectionReader<'a>>,
    /// `icp:` sections by name.
    pub metadata: BTreeMap<String, (Visibility, Vec<u8>)>,
    /// The canister asks to keep its heap over upgrades (`enhanced-orthogonal-persistence`).
    pub keeps_memory: bool,
    /// The `name` custom section, for profiles.
    pub name_section: Option<&'a [u8]>,
}

impl ParsedModule<'_> {
    /// True when the heap is addressed with 64 bits.
    pub fn memory64(&self) -> bool {
        self.memories.first().is_some_and(|memory| memory.memory64)
    }
}

/// The proposals that the IC turns on.
fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::MEMORY64
        | WasmFeatures::FLOATS
        | WasmFeatures::GC_TYPES
}

/// Checks a module against all rules of the IC and takes it apart.
///
/// # Errors
/// The first rule that it breaks.
pub fn validate(wasm: &[u8]) -> Result<ParsedModule<'_>, InvalidModule> {
    if wasm.len() > MAX_MODULE_BYTES {
        return Err(invalid(format!(
            "Wasm module of size {} exceeds the maximum of {MAX_MODULE_BYTES} bytes",
            wasm.len()
        )));
    }
    let code_bytes = code_section_bytes(wasm)?;
    if code_bytes > MAX_CODE_SECTION_BYTES {
        return Err(invalid(format!(
            "Wasm module code section size of {code_bytes} exceeds the maximum of \
             {MAX_CODE_SECTION_BYTES}"
        )));
    }
    check_wasm(wasm).map_err(|error| invalid(error.to_string()))?;
    let module = parse(wasm)?;
    check_imports(&module)?;
    check_exports(&module)?;
    check_data(&module)?;
    if module.globals.len() > MAX_GLOBALS {
        return Err(invalid(format!(
            "Wasm module defined {} globals which exceeds the maximum number allowed {MAX_GLOBALS}.",
            module.globals.len()
        )));
    }
    if module.code.len() > MAX_FUNCTIONS {
        return Err(invalid(format!(
            "Wasm module defined {} functions which exceeds the maximum number allowed \
             {MAX_FUNCTIONS}.",
            module.code.len()
        )));
    }
    check_code(&module)?;
    Ok(module)
}

/// Pages of 64 KiB that 32 bits address.
const MAX_PAGES32: u64 = 65_536;

/// A memory's type with a maximum that can be reached: the IC accepts any.
fn reachable(mut memory: MemoryType) -> MemoryType {
    if !memory.memory64 {
        memory.maximum = memory.maximum.map(|pages| pages.min(MAX_PAGES32));
    }
    memory
}

/// Checks a module against the WebAssembly specification.
fn check_wasm(wasm: &[u8]) -> Result<(), wasmparser::BinaryReaderError> {
    let mut validator = Validator::new_with_features(features());
    let mut allocations = FuncValidatorAllocations::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Payload::MemorySection(reader) = &payload {
            let memories: Vec<MemoryType> = reader.clone().into_iter().collect::<Result<_, _>>()?;
            if memories.iter().any(|memory| reachable(*memory) != *memory) {
                let mut section = wasm_encoder::MemorySection::new();
                for memory in memories {
                    section.memory(reachable(memory).into());
                }
                let mut bytes = Vec::new();
                wasm_encoder::Encode::encode(&section, &mut bytes);
                // The reader wants the section's content without its size.
                let mut size = BinaryReader::new(&bytes, 0);
                size.read_var_u32()?;
                let content = &bytes[size.original_position()..];
                let content = BinaryReader::new(content, reader.range().start);
                let section = MemorySectionReader::new(content)?;
                validator.memory_section(&section)?;
                continue;
            }
        }
        if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
            let mut function = function.into_validator(allocations);
            function.validate(&body)?;
            allocations = function.into_allocations();
        }
    }
    Ok(())
}

fn code_section_bytes(wasm: &[u8]) -> Result<usize, InvalidModule> {
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionStart { range, .. } =
            payload.map_err(|error| invalid(error.to_string()))?
        {
            return Ok(range.end - range.start);
        }
    }
    Ok(0)
}

fn parse(wasm: &[u8]) -> Result<ParsedModule<'_>, InvalidModule> {
    let decoding = |error: wasmparser::BinaryReaderError| invalid(error.to_string());
    let mut module = ParsedModule {
        types: Vec::new(),
        imports: Vec::new(),
        function_types: Vec::new(),
        imported_functions: 0,
        tables: None,
        memories: Vec::new(),
        globals: Vec::new(),
        exports: Vec::new(),
        start: None,
        elements: None,
        data_count: None,
        code: Vec::new(),
        data: Vec::new(),
        type_section: None,
        metadata: BTreeMap::new(),
        keeps_memory: false,
        name_section: None,
    };
    let mut metadata_bytes = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(decoding)? {
            Payload::TypeSection(reader) => {
                module.type_section = Some(reader.clone());
                for group in reader {
                    for ty in group.map_err(decoding)?.into_types() {
                        match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => module.types.push(ty),
                            other => {
                                return Err(invalid(format!("Unsupported type: {other:?}")));
                            }
                        }
                    }
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import.map_err(decoding)?;
                    match import.ty {
                        TypeRef::Func(ty) => {
                            module.function_types.push(ty);
                            module.imported_functions += 1;
                        }
                        TypeRef::Memory(ty) => module.memories.push(reachable(ty)),
                        _ => {}
                    }
                    module.imports.push(import);
                }
            }
            Payload::FunctionSection(reader) => {
                for ty in reader {
                    module.function_types.push(ty.map_err(decoding)?);
                }
            }
            Payload::TableSection(reader) => module.tables = Some(reader),
            Payload::MemorySection(reader) => {
                for memory in reader {
                    module.memories.push(reachable(memory.map_err(decoding)?));
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader {
                    module.globals.push(global.map_err(decoding)?);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    module.exports.push(export.map_err(decoding)?);
                }
            }
            Payload::StartSection { func, .. } => module.start = Some(func),
            Payload::ElementSection(reader) => module.elements = Some(reader),
            Payload::DataCountSection { count, .. } => module.data_count = Some(count),
            Payload::CodeSectionEntry(body) => module.code.push(body),
            Payload::DataSection(reader) => {
                for data in reader {
                    module.data.push(data.map_err(decoding)?);
                }
            }
            Payload::CustomSection(section) => {
                if section.name() == "name" {
                    module.name_section = Some(section.data());
                }
                metadata_bytes += custom_section(&mut module, section.name(), section.data())?;
                if metadata_bytes > MAX_CUSTOM_SECTIONS_BYTES {
                    return Err(custom(format!(
                        "Invalid custom sections: total size of the custom sections exceeds the \
                         maximum allowed: size {metadata_bytes} bytes, allowed \
                         {MAX_CUSTOM_SECTIONS_BYTES} bytes"
                    )));
                }
            }
            _ => {}
        }
    }
    Ok(module)
}

fn custom(text: String) -> InvalidModule {
    invalid(format!("Wasm module has an invalid custom section. {text}"))
}

/// Takes an `icp:` section; gives the bytes that count towards the limit.
fn custom_section(
    module: &mut ParsedModule<'_>,
    section: &str,
    data: &[u8],
) -> Result<usize, InvalidModule> {
    let Some(scoped) = section.strip_prefix("icp:") else {
        return Ok(0);
    };
    let (visibility, name) = match scoped.split_once(' ') {
        Some(("public", name)) => (Visibility::Public, name),
        Some(("private", name)) => (Visibility::Private, name),
        _ if scoped == "public" || scoped == "private" => {
            return Err(custom(
                "'icp:' section names must have a space after the public/private scope".into(),
            ));
        }
        _ => {
            return Err(custom(format!(
                "Invalid custom section: Custom section '{section}' has no public/private scope \
                 defined."
            )));
        }
    };
    if module.metadata.contains_key(name) {
        return Err(custom(format!(
            "Invalid custom section: name {name} already exists"
        )));
    }
    if name == "enhanced-orthogonal-persistence" {
        module.keeps_memory = true;
    }
    module
        .metadata
        .insert(name.to_string(), (visibility, data.to_vec()));
    if module.metadata.len() > MAX_CUSTOM_SECTIONS {
        return Err(invalid(format!(
            "Wasm module defined {} custom sections which exceeds the maximum number allowed \
             {MAX_CUSTOM_SECTIONS}.",
            module.metadata.len()
        )));
    }
    Ok(name.len() + data.len())
}

fn check_signature(
    params: &[wasmparser::ValType],
    results: &[wasmparser::ValType],
    name: &str,
    ty: &FuncType,
) -> Result<(), InvalidModule> {
    let signature = "Wasm module has an invalid function signature.";
    if ty.params() != params {
        return Err(invalid(format!(
            "{signature} Expected input params {params:?} for '{name}', got {:?}.",
            ty.params()
        )));
    }
    if ty.results() != results {
        return Err(invalid(format!(
            "{signature} Expected return type {results:?} for '{name}', got {:?}.",
            ty.results()
        )));
    }
    Ok(())
}

fn check_imports(module: &ParsedModule<'_>) -> Result<(), InvalidModule> {
    let section =
        |text: String| invalid(format!("Wasm module has an invalid import section. {text}"));
    let memory64 = module.memory64();
    for import in &module.imports {
        match import.ty {
            TypeRef::Func(ty) => {
                let ty = &module.types[ty as usize];
                let known = imports::find(import.name);
                match known {
                    Some(known) if import.module == "ic0" => check_signature(
                        &known.params(memory64),
                        &known.results(memory64),
                        import.name,
                        ty,
                    )?,
                    Some(_) => {
                        return Err(section(format!(
                            "Module imports function {:?} from {:?}, expected to be imported from \
                             one of [\"ic0\"] instead.",
                            import.name, import.module
                        )));
                    }
                    None => {
                        return Err(section(format!(
                            "Module imports function '{}' from '{}' that is not exported by the \
                             runtime.",
                            import.name, import.module
                        )));
                    }
                }
            }
            TypeRef::Table(_) => {
                if import.name == "table" && import.module != "env" {
                    return Err(section(
                        "Only tables imported from env.table are allowed.".into(),
                    ));
                }
            }
            TypeRef::Memory(_) => {
                if import.name == "memory" && import.module != "env" {
                    return Err(section(
                        "Only memory imported from env.memory is allowed.".into(),
                    ));
                }
            }
            TypeRef::Global(_) => {
                return Err(section("Importing globals is not allowed.".into()));
            }
            TypeRef::Tag(_) => return Err(section("Importing tags is not allowed.".into())),
            _ => return Err(section("Importing this is not allowed.".into())),
        }
    }
    Ok(())
}

const RESERVED_SYMBOLS: [&str; 6] = [
    "canister counter_instructions",
    "canister_start",
    "canister counter_dirty_pages",
    "canister counter_accessed_pages",
    "stable_memory",
    "stable_memory_bytemap",
];

const SYSTEM_FUNCTIONS: [&str; 7] = [
    "canister_init",
    "canister_pre_upgrade",
    "canister_post_upgrade",
    "canister_inspect_message",
    "canister_heartbeat",
    "canister_global_timer",
    "canister_on_low_wasm_memory",
];

fn check_exports(module: &ParsedModule<'_>) -> Result<(), InvalidModule> {
    let section =
        |text: String| invalid(format!("Wasm module has an invalid export section. {text}"));
    let mut methods = HashSet::new();
    let mut names_bytes = 0;
    for export in &module.exports {
        if RESERVED_SYMBOLS.contains(&export.name) {
            return Err(section(format!(
                "Exporting reserved symbol {} not allowed.",
                export.name
            )));
        }
        if export.kind != ExternalKind::Func {
            continue;
        }
        let method = match export.name.split_once(' ') {
            Some(("canister_query" | "canister_composite_query" | "canister_update", name)) => {
                Some(name)
            }
            _ => None,
        };
        if let Some(name) = method {
            if !methods.insert(name) {
                return Err(invalid(format!(
                    "Duplicate function '{name}' exported multiple times with different call \
                     types: update, query, or composite_query."
                )));
            }
            names_bytes += name.len();
        } else if !export.name.starts_with("canister_") {
            continue;
        } else if !SYSTEM_FUNCTIONS.contains(&export.name) {
            return Err(section(format!(
                "Exporting reserved function '{}' with \"canister_\" prefix",
                export.name
            )));
        }
        let ty = &module.types[module.function_types[export.index as usize] as usize];
        check_signature(&[], &[], export.name, ty)?;
    }
    if methods.len() > MAX_EXPORTED_METHODS {
        return Err(section(format!(
            "The number of exported functions called `canister_update <name>`, `canister_query \
             <name>`, or `canister_composite_query <name>` exceeds {MAX_EXPORTED_METHODS}."
        )));
    }
    if names_bytes > MAX_METHOD_NAMES_BYTES {
        return Err(section(format!(
            "The sum of `<name>` lengths in exported functions called `canister_update <name>`, \
             `canister_query <name>`, or `canister_composite_query <name>` exceeds \
             {MAX_METHOD_NAMES_BYTES}."
        )));
    }
    Ok(())
}

/// Where an active data segment goes, in bytes.
///
/// # Errors
/// When the offset is not one constant.
pub fn data_offset(expr: &ConstExpr<'_>) -> Result<u64, InvalidModule> {
    let mut operators = expr.get_operators_reader();
    match operators.read() {
        Ok(Operator::I32Const { value }) => Ok(u64::from(value as u32)),
        Ok(Operator::I64Const { value }) => Ok(value as u64),
        other => Err(invalid(format!(
            "Wasm module has an invalid data section. Invalid offset expression in data segment: \
             {other:?}"
        ))),
    }
}

fn check_data(module: &ParsedModule<'_>) -> Result<(), InvalidModule> {
    let initial = module
        .memories
        .first()
        .map_or(0, |memory| memory.initial.saturating_mul(WASM_PAGE));
    for data in &module.data {
        if let DataKind::Active { offset_expr, .. } = &data.kind {
            let offset = data_offset(offset_expr)?;
            let end = offset.checked_add(data.data.len() as u64);
            if end.is_none_or(|end| end > initial) {
                return Err(InvalidModule::Instrumentation(format!(
                    "Wasm module has invalid data segment of {} bytes at {offset}",
                    data.data.len()
                )));
            }
        }
    }
    Ok(())
}

fn check_code(module: &ParsedModule<'_>) -> Result<(), InvalidModule> {
    for (index, body) in module.code.iter().enumerate() {
        let mut size = 0;
        let mut complexity = 0;
        let operators = body
            .get_operators_reader()
            .map_err(|error| invalid(error.to_string()))?;
        for operator in operators {
            let operator = operator.map_err(|error| invalid(error.to_string()))?;
            if let Some(name) = unsupported(&operator) {
                return Err(invalid(format!(
                    "Wasm module contains a function at index {index} with unsupported instruction \
                     {name}."
                )));
            }
            size += 1;
            complexity += operator_complexity(&operator);
        }
        if complexity > MAX_FUNCTION_COMPLEXITY {
            return Err(invalid(format!(
                "Wasm module contains a function at index {index} with complexity {complexity} \
                 which exceeds the maximum complexity allowed {MAX_FUNCTION_COMPLEXITY}."
            )));
        }
        if size > MAX_FUNCTION_SIZE {
            return Err(invalid(format!(
                "Wasm module contains a function at index {index} of size {size} that exceeds the \
                 maximum allowed size of {MAX_FUNCTION_SIZE}."
            )));
        }
    }
    Ok(())
}

fn unsupported(operator: &Operator<'_>) -> Option<&'static str> {
    match operator {
        Operator::TableGrow { .. } => Some("table.grow"),
        Operator::TableSet { .. } => Some("table.set"),
        Operator::TableFill { .. } => Some("table.fill"),
        Operator::TableCopy { .. } => Some("table.copy"),
        Operator::TableInit { .. } => Some("table.init"),
        _ => None,
    }
}

/// How hard an operator is to compile, in units of the simplest one.
fn operator_complexity(operator: &Operator<'_>) -> u64 {
    use Operator::*;
    match operator {
        Block { .. }
        | Loop { .. }
        | If { .. }
        | Br { .. }
        | BrIf { .. }
        | BrTable { .. }
        | Call { .. }
        | CallIndirect { .. }
        | ReturnCallIndirect { .. }
        | MemoryGrow { .. }
        | TableGrow { .. } => 50,
        TableGet { .. } => 14,
        RefFunc { .. } => 8,
        RefIsNull => 6,
        I32TruncF32S | I32TruncF32U | I32TruncF64S | I32TruncF64U | I64ExtendI32S
        | I64ExtendI32U | I64TruncF32S | I64TruncF32U | I64TruncF64S | I64TruncF64U
        | F32ConvertI32S | F32ConvertI32U | F32ConvertI64S | F32ConvertI64U | F32DemoteF64
        | F64ConvertI32S | F64ConvertI32U | F64ConvertI64S | F64ConvertI64U => 5,
        F32Neg | F32Abs | F64Neg | F64Abs | MemoryCopy { .. } => 4,
        I32RemU
        | I32RemS
        | I64RemU
        | I64RemS
        | I32DivU
        | I32DivS
        | I64DivU
        | I64DivS
        | I32TruncSatF32S
        | I32TruncSatF32U
        | I32TruncSatF64S
        | I32TruncSatF64U
        | I64TruncSatF32S
        | I64TruncSatF32U
        | I64TruncSatF64S
        | I64TruncSatF64U
        | MemoryFill { .. }
        | I32Load { .. }
        | I64Load { .. }
        | F32Load { .. }
        | F64Load { .. }
        | I32Load8S { .. }
        | I32Load8U { .. }
        | I32Load16S { .. }
        | I32Load16U { .. }
        | I64Load8S { .. }
        | I64Load8U { .. }
        | I64Load16S { .. }
        | I64Load16U { .. }
        | I64Load32S { .. }
        | I64Load32U { .. }
        | F32Copysign
        | F64Copysign
        | F64Eq => 3,
        GlobalGet { .. }
        | I32Popcnt
        | I64Popcnt
        | Select
        | MemorySize { .. }
        | I32Store { .. }
        | I32Store16 { .. }
        | I32Store8 { .. }
        | I64Store { .. }
        | I64Store32 { .. }
        | I64Store16 { .. }
        | I64Store8 { .. }
        | F64Store { .. }
        | F32Store { .. }
        | I32Eqz
        | I32Eq
        | I32Ne
        | I32LtS
        | I32LtU
        | I32GtS
        | I32GtU
        | I32LeS
        | I32LeU
        | I32GeS
        | I32GeU
        | I64Eqz
        | I64Eq
        | I64Ne
        | I64LtS
        | I64LtU
        | I64GtS
        | I64GtU
        | I64LeS
        | I64LeU
        | I64GeS
        | I64GeU
        | F32Eq
        | F32Ne
        | F32Lt
        | F32Gt
        | F32Le
        | F32Ge
        | F64Ne
        | F64Lt
        | F64Gt
        | F64Le
        | F64Ge
        | F32Ceil
        | F64Ceil
        | F32Floor
        | F64Floor
        | F32Sqrt
        | F64Sqrt
        | F32Trunc
        | F64Trunc
        | I32ReinterpretF32
        | I64ReinterpretF64
        | F32ReinterpretI32
        | F64ReinterpretI64
        | I32WrapI64
        | I32Extend8S
        | I32Extend16S
        | I64Extend8S
        | I64Extend16S
        | I64Extend32S
        | F64PromoteF32 => 2,
        _ => 1,
    }
}
