//! Metering: the module that runs is the canister's own with a counter of instructions left.
//!
//! The counter is a mutable global. It is lowered by a basic block's cost when the block is
//! entered; at the start of a function and of a loop body, and before a bulk operation, the module
//! stops with `unreachable` when the counter is negative, which is how running out of instructions
//! shows. Active data segments and the start function are taken out, because the heap outlives the
//! instance: the replica applies both at install.

use super::costs::operator_cost;
use super::validate::{InvalidModule, ParsedModule, data_offset};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataCountSection, DataSection, ElementSection,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    Instruction, MemorySection, Module, TableSection, TypeSection, ValType,
};
use wasmparser::{DataKind, Operator, TypeRef};

/// Export of the counter of instructions left.
pub const COUNTER: &str = "\u{0}counter";
/// Export of the heap.
pub const MEMORY: &str = "\u{0}memory";
/// Export of table 0, which callbacks are looked up in.
pub const TABLE: &str = "\u{0}table";
/// Export of the start function.
pub const START: &str = "\u{0}start";
/// Prefix of the exports of the canister's mutable globals.
pub const GLOBAL: &str = "\u{0}global ";

/// Instructions of the helper functions that the IC adds to every module.
const HELPER_INSTRUCTIONS: u64 = 72;
/// Instructions of each global's initial value.
const GLOBAL_INSTRUCTIONS: u64 = 2;
/// Instructions that the IC adds after each `memory.grow`.
const GROW_INSTRUCTIONS: u64 = 3;
/// Instructions of the functions that the IC puts in the place of these imports.
const REPLACED: [(&str, u64); 8] = [
    ("stable64_grow", 21),
    ("stable64_read", 119),
    ("stable64_size", 2),
    ("stable64_write", 107),
    ("stable_grow", 24),
    ("stable_read", 106),
    ("stable_size", 10),
    ("stable_write", 91),
];

/// A metered module.
pub struct Instrumented {
    /// The module that the engine compiles.
    pub wasm: Vec<u8>,
    /// Initial contents of the heap: offset in bytes and bytes.
    pub data: Vec<(u64, Vec<u8>)>,
    /// Indices of the mutable globals, which are exported as [`GLOBAL`] and the index.
    pub mutable_globals: Vec<u32>,
    /// Names of the functions whose instructions are counted apart, each in one of the last mutable
    /// globals; empty unless a profile was asked for.
    pub profiled: Vec<String>,
    /// There is a start function, exported as [`START`].
    pub has_start: bool,
    /// There is a table 0, exported as [`TABLE`].
    pub has_table: bool,
    /// There is a heap, exported as [`MEMORY`].
    pub has_memory: bool,
    /// Segments may be dropped, so an instance is good for one message only.
    pub drops_segments: bool,
    /// Instructions of all functions, metering included.
    pub instructions: u64,
}

/// Where metering code goes in a function body, before the operator at `position`.
struct Injection {
    position: usize,
    cost: u64,
    /// Checked for having run out: start of a function or of a loop body.
    reentrant: bool,
}

/// Static costs of a body's basic blocks.
fn injections(operators: &[Operator<'_>], memory64: bool) -> Vec<Injection> {
    use Operator::*;
    let mut found = Vec::new();
    // Even an empty function costs 1.
    let mut current = Injection {
        position: 0,
        cost: 1,
        reentrant: true,
    };
    for (index, operator) in operators.iter().enumerate() {
        current.cost += operator_cost(operator, memory64);
        let reentrant = match operator {
            Loop { .. } => true,
            If { .. }
            | Else
            | End
            | Br { .. }
            | BrIf { .. }
            | BrTable { .. }
            | Return
            | ReturnCall { .. }
            | ReturnCallIndirect { .. }
            | Unreachable => false,
            _ => continue,
        };
        let next = Injection {
            position: index + 1,
            cost: 0,
            reentrant,
        };
        let done = std::mem::replace(&mut current, next);
        if done.cost > 0 || done.reentrant {
            found.push(done);
        }
    }
    found
}

struct Meter {
    counter: u32,
    /// The global that counts this function's instructions.
    profile: Option<u32>,
    memory64: bool,
    instructions: u64,
}

impl Meter {
    fn stop_if_negative(&self, function: &mut Function) {
        function.instruction(&Instruction::GlobalGet(self.counter));
        function.instruction(&Instruction::I64Const(0));
        function.instruction(&Instruction::I64LtS);
        function.instruction(&Instruction::If(wasm_encoder::BlockType::Empty));
        function.instruction(&Instruction::Unreachable);
        function.instruction(&Instruction::End);
    }

    fn charge(&mut self, function: &mut Function, injection: &Injection) {
        function.instruction(&Instruction::GlobalGet(self.counter));
        function.instruction(&Instruction::I64Const(injection.cost as i64));
        function.instruction(&Instruction::I64Sub);
        function.instruction(&Instruction::GlobalSet(self.counter));
        self.instructions += 4;
        if let Some(profile) = self.profile {
            function.instruction(&Instruction::GlobalGet(profile));
            function.instruction(&Instruction::I64Const(injection.cost as i64));
            function.instruction(&Instruction::I64Add);
            function.instruction(&Instruction::GlobalSet(profile));
        }
        if injection.reentrant {
            self.stop_if_negative(function);
            self.instructions += 6;
        }
    }

    /// Charges the byte count on top of the stack, and leaves it there.
    fn charge_bytes(&mut self, function: &mut Function, scratch: u32) {
        function.instruction(&Instruction::LocalSet(scratch));
        function.instruction(&Instruction::GlobalGet(self.counter));
        function.instruction(&Instruction::LocalGet(scratch));
        if !self.memory64 {
            function.instruction(&Instruction::I64ExtendI32U);
        }
        function.instruction(&Instruction::I64Sub);
        function.instruction(&Instruction::GlobalSet(self.counter));
        if let Some(profile) = self.profile {
            function.instruction(&Instruction::GlobalGet(profile));
            function.instruction(&Instruction::LocalGet(scratch));
            if !self.memory64 {
                function.instruction(&Instruction::I64ExtendI32U);
            }
            function.instruction(&Instruction::I64Add);
            function.instruction(&Instruction::GlobalSet(profile));
        }
        self.stop_if_negative(function);
        function.instruction(&Instruction::LocalGet(scratch));
        self.instructions += 3;
    }

    fn body(
        &mut self,
        body: &wasmparser::FunctionBody<'_>,
        params: u32,
    ) -> Result<Function, InvalidModule> {
        let mut reencoder = RoundtripReencoder;
        let mut locals = Vec::new();
        let mut scratch = params;
        for group in body.get_locals_reader().map_err(failed)? {
            let (count, ty) = group.map_err(failed)?;
            scratch += count;
            locals.push((count, reencoder.val_type(ty).map_err(failed)?));
        }
        let operators: Vec<Operator<'_>> = body
            .get_operators_reader()
            .map_err(failed)?
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let is_bulk = |operator: &Operator<'_>| {
            matches!(
                operator,
                Operator::MemoryCopy { .. }
                    | Operator::MemoryFill { .. }
                    | Operator::MemoryInit { .. }
            )
        };
        if operators.iter().any(is_bulk) {
            let ty = if self.memory64 {
                ValType::I64
            } else {
                ValType::I32
            };
            locals.push((1, ty));
        }
        let mut function = Function::new(locals);
        let mut pending = injections(&operators, self.memory64).into_iter().peekable();
        self.instructions += operators.len() as u64;
        let grows = operators
            .iter()
            .filter(|operator| matches!(operator, Operator::MemoryGrow { .. }));
        self.instructions += GROW_INSTRUCTIONS * grows.count() as u64;
        for (index, operator) in operators.iter().enumerate() {
            if let Some(injection) = pending.next_if(|injection| injection.position == index) {
                self.charge(&mut function, &injection);
            }
            if is_bulk(operator) {
                if self.memory64 && matches!(operator, Operator::MemoryInit { .. }) {
                    // The length of memory.init is 32 bits wide with any memory.
                    function.instruction(&Instruction::I64ExtendI32U);
                    self.charge_bytes(&mut function, scratch);
                    function.instruction(&Instruction::I32WrapI64);
                } else {
                    self.charge_bytes(&mut function, scratch);
                }
            }
            function.instruction(&reencoder.instruction(operator.clone()).map_err(failed)?);
        }
        Ok(function)
    }
}

fn failed(error: impl std::fmt::Display) -> InvalidModule {
    InvalidModule::Instrumentation(error.to_string())
}

/// Names of the module's own functions, as its name section has them.
fn function_names(module: &ParsedModule<'_>) -> Vec<String> {
    let mut names: Vec<String> = (0..module.code.len())
        .map(|i| format!("function {i}"))
        .collect();
    let section = module.name_section.unwrap_or_default();
    let reader = wasmparser::NameSectionReader::new(wasmparser::BinaryReader::new(section, 0));
    for part in reader.into_iter().flatten() {
        let wasmparser::Name::Function(map) = part else {
            continue;
        };
        for naming in map.into_iter().flatten() {
            let own = naming.index.checked_sub(module.imported_functions);
            if let Some(name) = own.and_then(|i| names.get_mut(i as usize)) {
                *name = naming.name.into();
            }
        }
    }
    names
}

/// Adds metering to a valid module; with `profile`, also a count of instructions by function.
///
/// # Errors
/// When a part of the module cannot be encoded again.
pub fn instrument(module: &ParsedModule<'_>, profile: bool) -> Result<Instrumented, InvalidModule> {
    let mut reencoder = RoundtripReencoder;
    let mut out = Module::new();
    let memory64 = module.memory64();

    let mut types = TypeSection::new();
    if let Some(section) = &module.type_section {
        reencoder
            .parse_type_section(&mut types, section.clone())
            .map_err(failed)?;
    }
    out.section(&types);

    // A memory or table imported from `env` is the canister's own all the same.
    let mut imports = ImportSection::new();
    let mut tables = TableSection::new();
    let mut has_table = false;
    for import in &module.imports {
        match import.ty {
            TypeRef::Func(_) => {
                let ty = reencoder.entity_type(import.ty).map_err(failed)?;
                imports.import(import.module, import.name, ty);
            }
            TypeRef::Table(ty) => {
                tables.table(reencoder.table_type(ty).map_err(failed)?);
                has_table = true;
            }
            _ => {}
        }
    }
    out.section(&imports);

    let mut functions = FunctionSection::new();
    for ty in &module.function_types[module.imported_functions as usize..] {
        functions.function(*ty);
    }
    out.section(&functions);

    if let Some(section) = &module.tables {
        has_table |= section.count() > 0;
        reencoder
            .parse_table_section(&mut tables, section.clone())
            .map_err(failed)?;
    }
    out.section(&tables);

    let mut memories = MemorySection::new();
    for memory in &module.memories {
        memories.memory(reencoder.memory_type(*memory).map_err(failed)?);
    }
    out.section(&memories);

    let mut globals = GlobalSection::new();
    let mut mutable_globals = Vec::new();
    for (index, global) in module.globals.iter().enumerate() {
        if global.ty.mutable {
            mutable_globals.push(index as u32);
        }
        reencoder
            .parse_global(&mut globals, global.clone())
            .map_err(failed)?;
    }
    let counter = module.globals.len() as u32;
    let profiled = if profile {
        function_names(module)
    } else {
        Vec::new()
    };
    for _ in 0..=profiled.len() {
        globals.global(
            GlobalType {
                val_type: ValType::I64,
                mutable: true,
                shared: false,
            },
            &ConstExpr::i64_const(0),
        );
    }
    mutable_globals.extend((0..profiled.len() as u32).map(|i| counter + 1 + i));
    out.section(&globals);

    let mut exports = ExportSection::new();
    for export in &module.exports {
        reencoder
            .parse_export(&mut exports, *export)
            .map_err(failed)?;
    }
    exports.export(COUNTER, ExportKind::Global, counter);
    for index in &mutable_globals {
        exports.export(&format!("{GLOBAL}{index}"), ExportKind::Global, *index);
    }
    if !module.memories.is_empty() {
        exports.export(MEMORY, ExportKind::Memory, 0);
    }
    if has_table {
        exports.export(TABLE, ExportKind::Table, 0);
    }
    if let Some(start) = module.start {
        exports.export(START, ExportKind::Func, start);
    }
    out.section(&exports);

    if let Some(section) = &module.elements {
        let mut elements = ElementSection::new();
        reencoder
            .parse_element_section(&mut elements, section.clone())
            .map_err(failed)?;
        out.section(&elements);
    }
    if let Some(count) = module.data_count {
        out.section(&DataCountSection { count });
    }

    let mut meter = Meter {
        counter,
        profile: None,
        memory64,
        instructions: 0,
    };
    let mut code = CodeSection::new();
    for (index, body) in module.code.iter().enumerate() {
        let ty = module.function_types[module.imported_functions as usize + index];
        let params = module.types[ty as usize].params().len() as u32;
        meter.profile = profile.then_some(counter + 1 + index as u32);
        code.function(&meter.body(body, params)?);
    }
    out.section(&code);

    let replaced = |name: &str| REPLACED.iter().find(|(other, _)| *other == name);
    let replaced: u64 = module
        .imports
        .iter()
        .filter_map(|import| Some(replaced(import.name)?.1))
        .sum();

    let mut data = Vec::new();
    let mut segments = DataSection::new();
    let mut has_passive = false;
    for segment in &module.data {
        match &segment.kind {
            DataKind::Passive => {
                has_passive = true;
                segments.passive(segment.data.iter().copied());
            }
            DataKind::Active { offset_expr, .. } => {
                data.push((data_offset(offset_expr)?, segment.data.to_vec()));
                // An active segment is dropped once applied, that is, empty.
                segments.passive([]);
            }
        }
    }
    out.section(&segments);

    if let Some(names) = module.name_section {
        // Backtraces name the functions.
        out.section(&CustomSection {
            name: "name".into(),
            data: names.into(),
        });
    }

    Ok(Instrumented {
        wasm: out.finish(),
        data,
        mutable_globals,
        profiled,
        has_start: module.start.is_some(),
        has_table,
        has_memory: !module.memories.is_empty(),
        drops_segments: has_passive,
        instructions: meter.instructions
            + HELPER_INSTRUCTIONS
            + GLOBAL_INSTRUCTIONS * module.globals.len() as u64
            + replaced,
    })
}
