//! Makes one core module of a component's many: every import becomes a direct reference to what provides it, constant
//! globals become constants, and functions that nothing reaches are left out.
//!
//! A component that componentize-py wrote links three dozen core modules, and instantiating each of them costs more than
//! running a short program. The fused module instantiates in microseconds. What the linker gives each library at run
//! time (its place in memory and in the table, the addresses of other libraries' symbols) is known here, so it is
//! written into the code, and wasmtime can lay out memory and table ahead of time.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, Instruction,
    MemorySection, MemoryType, Module, TableSection, TypeSection, ValType,
};
use wasmparser::{DataKind, ElementItems, ElementKind, Operator, Payload};

use super::link::{Linked, Part};
use super::system::{System, failing};
use super::words;
use crate::cause;

/// The component is not made as this code expects.
#[derive(Debug, thiserror::Error)]
#[error("the component cannot be fused: {0}")]
pub(crate) struct FuseError(pub(crate) String);

impl From<wasmparser::Error> for FuseError {
    fn from(error: wasmparser::Error) -> FuseError {
        FuseError(error.to_string())
    }
}

impl From<reencode::Error<Infallible>> for FuseError {
    fn from(error: reencode::Error<Infallible>) -> FuseError {
        FuseError(format!("{error}: {error:?}"))
    }
}

/// What the module's memory and variable globals hold when an instance starts.
pub(crate) struct Image {
    /// The whole linear memory, in pages of 64 KiB.
    pub(crate) memory: Vec<u8>,
    /// Variable globals, by the names that [`fuse`] exports them under.
    pub(crate) globals: HashMap<String, i32>,
    /// Functions to add: each calls [`Entry::callee`] with its own argument as the second.
    pub(crate) entries: Vec<Entry>,
}

/// An export `(i32) -> i32` that calls a function `(i32, i32) -> i32` whose first argument is fixed.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) callee: &'static str,
    pub(crate) first: i32,
}

/// The size of the runs that a memory image is written in: a page of the host.
const PAGE: usize = 4096;

const WASM_PAGE: usize = 64 << 10;

const VARIABLE: GlobalType = GlobalType {
    val_type: ValType::I32,
    mutable: true,
    shared: false,
};

/// Fuses `linked` into a module that exports its memory as `memory` and the functions named in `exports`: of the
/// component where it has one of that name, else of any of its core modules.
///
/// Without an image the module starts as the component does, and exports its variable globals too. With one, it starts
/// as the image says.
pub(crate) fn fuse(
    linked: &Linked<'_>,
    exports: &[&str],
    image: Option<&Image>,
) -> Result<Vec<u8>, FuseError> {
    let entries = image.map_or(&[][..], |image| &image.entries);
    let plan = Plan::new(
        linked,
        exports
            .iter()
            .copied()
            .chain(entries.iter().map(|e| e.callee)),
    )?;
    let mut types = TypeSection::new();
    for ty in &linked.types {
        types.ty().func_type(&Plain.func_type(ty.clone())?);
    }
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut elements = ElementSection::new();
    let mut data = DataSection::new();
    for part in &linked.parts {
        let mut renumber = Renumber {
            part,
            plan: &plan,
            caller: 0,
        };
        let mut at = part.imported_functions;
        for payload in wasmparser::Parser::new(0).parse_all(part.bytes) {
            match payload? {
                Payload::CodeSectionEntry(body) => {
                    let whole = part.functions[at];
                    if plan.functions[whole as usize].is_some() {
                        functions.function(linked.functions[whole as usize]);
                        renumber.caller = whole;
                        plan.function_body(&mut renumber, whole, body, &mut code)?;
                    }
                    at += 1;
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        plan.element(part, element?, &mut elements)?;
                    }
                }
                Payload::DataSection(section) if image.is_none() => {
                    for datum in section {
                        plan.datum(part, datum?, &mut data)?;
                    }
                }
                _ => {}
            }
        }
    }
    let mut pages = linked.memory.initial;
    if let Some(image) = image {
        pages = (image.memory.len() / WASM_PAGE) as u64;
        write_image(&image.memory, &mut data);
    }
    let mut tables = TableSection::new();
    for table in &linked.tables {
        tables.table(Plain.table_type(*table)?);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: pages,
        maximum: linked.memory.maximum,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut export_section = ExportSection::new();
    export_section.export("memory", ExportKind::Memory, 0);
    for name in exports {
        let index = plan.function(linked.function(name)?)?;
        export_section.export(name, ExportKind::Func, index);
    }
    let mut globals = GlobalSection::new();
    for entry in entries {
        let ty = linked.functions[linked.function(entry.callee)? as usize];
        let params = linked.types[ty as usize].params().len();
        if params != 2 {
            return Err(FuseError(format!(
                "{} takes {params} arguments",
                entry.callee
            )));
        }
        types.ty().function([ValType::I32], [ValType::I32]);
        functions.function(types.len() - 1);
        let mut body = Function::new([]);
        body.instructions()
            .i32_const(entry.first)
            .local_get(0)
            .call(plan.function(linked.function(entry.callee)?)?)
            .end();
        code.function(&body);
        export_section.export(entry.name, ExportKind::Func, functions.len() - 1);
    }
    for (index, &global) in plan.variables.iter().enumerate() {
        let name = format!("global.{global}");
        let start = match image {
            Some(image) => image.globals.get(&name).copied(),
            None => Some(linked.globals[global as usize].value),
        };
        let start = start.ok_or_else(|| FuseError(format!("{name} has no value to start from")))?;
        globals.global(VARIABLE, &ConstExpr::i32_const(start));
        if image.is_none() {
            export_section.export(&name, ExportKind::Global, index as u32);
        }
    }
    if image.is_some() {
        plan.export_causes(&mut globals, &mut export_section)?;
    } else {
        globals.global(VARIABLE, &ConstExpr::i32_const(0));
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&tables);
    module
        .section(&memories)
        .section(&globals)
        .section(&export_section);
    module.section(&elements).section(&code).section(&data);
    Ok(module.finish())
}

/// Writes the pages of `memory` that are not zero, in runs as long as possible.
fn write_image(memory: &[u8], data: &mut DataSection) {
    let pages: Vec<&[u8]> = memory.chunks(PAGE).collect();
    let mut from = 0;
    for run in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let to = from + run.len() * PAGE;
        if !is_zero(run[0]) {
            let bytes = memory[from..to.min(memory.len())].iter().copied();
            data.active(0, &ConstExpr::i32_const(from as i32), bytes);
        }
        from = to;
    }
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().all(|&byte| byte == 0)
}

/// What of the linked modules goes into the fused one, and under which index.
struct Plan<'a> {
    linked: &'a Linked<'a>,
    system: System,
    /// By linked function: its index in the fused module, if anything reaches it.
    functions: Vec<Option<u32>>,
    /// The linked globals that some function sets, in order: all other globals are constants.
    variables: Vec<u32>,
}

impl<'a> Plan<'a> {
    fn new<'n>(
        linked: &'a Linked<'a>,
        roots: impl Iterator<Item = &'n str>,
    ) -> Result<Plan<'a>, FuseError> {
        let system = System::new(linked)?;
        let mut callees: Vec<Vec<u32>> = vec![Vec::new(); linked.functions.len()];
        let mut sets: Vec<Vec<u32>> = vec![Vec::new(); linked.functions.len()];
        let mut reached: Vec<u32> = roots
            .map(|name| linked.function(name))
            .collect::<Result<_, _>>()?;
        for part in &linked.parts {
            let mut at = part.imported_functions;
            for payload in wasmparser::Parser::new(0).parse_all(part.bytes) {
                match payload? {
                    Payload::CodeSectionEntry(body) => {
                        let function = part.functions[at] as usize;
                        at += 1;
                        if system.fails(function as u32).is_some() {
                            callees[function].push(system.errno);
                            continue;
                        }
                        for operator in body.get_operators_reader()? {
                            match operator? {
                                Operator::Call { function_index }
                                | Operator::ReturnCall { function_index }
                                | Operator::RefFunc { function_index } => {
                                    let callee = part.functions[function_index as usize];
                                    let callee = linked.stand.callee(function as u32, callee);
                                    callees[function].push(callee);
                                }
                                Operator::GlobalSet { global_index } => {
                                    sets[function].push(part.globals[global_index as usize]);
                                }
                                Operator::TableSet { .. }
                                | Operator::TableGrow { .. }
                                | Operator::TableFill { .. }
                                | Operator::TableCopy { .. }
                                | Operator::TableInit { .. }
                                | Operator::MemoryInit { .. } => {
                                    let why = "it changes tables or uses passive segments, which a snapshot of memory misses";
                                    return Err(FuseError(why.into()));
                                }
                                _ => {}
                            }
                        }
                    }
                    Payload::ElementSection(section) => {
                        for element in section {
                            let functions = functions_of(part, &element?)?;
                            reached.extend(functions.iter().map(|&f| linked.stand.anyone(f)));
                        }
                    }
                    Payload::StartSection { .. } => {
                        return Err(FuseError("one of its modules has a start function".into()));
                    }
                    _ => {}
                }
            }
        }
        let mut kept = vec![false; linked.functions.len()];
        let mut variables = BTreeSet::new();
        while let Some(function) = reached.pop() {
            if !std::mem::replace(&mut kept[function as usize], true) {
                reached.extend(&callees[function as usize]);
                variables.extend(&sets[function as usize]);
            }
        }
        let mut count = 0..;
        let functions = kept
            .into_iter()
            .map(|kept| kept.then(|| count.next()).flatten());
        Ok(Plan {
            linked,
            system,
            functions: functions.collect(),
            variables: variables.into_iter().collect(),
        })
    }

    fn function(&self, linked: u32) -> Result<u32, FuseError> {
        self.functions[linked as usize]
            .ok_or_else(|| FuseError(format!("function {linked} was left out but is used")))
    }

    /// Writes the body of the linked function `whole`: its own, one that says first what the end of the instance will
    /// mean, or one that only fails.
    fn function_body(
        &self,
        renumber: &mut Renumber<'_>,
        whole: u32,
        body: wasmparser::FunctionBody<'_>,
        code: &mut CodeSection,
    ) -> Result<(), FuseError> {
        if let Some(value) = self.system.fails(whole) {
            let ty = &self.linked.types[self.linked.functions[whole as usize] as usize];
            code.function(&failing(ty, self.function(self.system.errno)?, value)?);
        } else if let Some(id) = self.system.cause(whole) {
            let noted = self.variables.len() as u32;
            let mut function = renumber.new_function_with_parsed_locals(&body)?;
            function
                .instructions()
                .global_get(noted)
                .i32_eqz()
                .if_(BlockType::Empty)
                .i32_const(id)
                .global_set(noted)
                .end();
            let mut operators = body.get_operators_reader()?;
            while !operators.eof() {
                function.instruction(&renumber.instruction(operators.read()?)?);
            }
            code.function(&function);
        } else if self.linked.stand.is_probing(whole) {
            let ty = &self.linked.types[self.linked.functions[whole as usize] as usize];
            code.function(&words::probing(renumber, ty.params().len(), &body)?);
        } else {
            renumber.parse_function_body(code, body)?;
        }
        Ok(())
    }

    /// Adds the global in which the cause of an instance's end is noted, under a name for each cause, in the order of their
    /// numbers; and the one that holds the end of C's stack.
    fn export_causes(
        &self,
        globals: &mut GlobalSection,
        exports: &mut ExportSection,
    ) -> Result<(), FuseError> {
        let noted = self.variables.len() as u32;
        globals.global(VARIABLE, &ConstExpr::i32_const(0));
        for name in self.system.names() {
            exports.export(name, ExportKind::Global, noted);
        }
        let stack = self.linked.stack_pointer;
        let stack = stack.and_then(|global| self.variables.binary_search(&global).ok());
        let stack = stack.ok_or_else(|| FuseError("it has no stack pointer".into()))?;
        exports.export(cause::STACK_POINTER, ExportKind::Global, stack as u32);
        Ok(())
    }

    fn element(
        &self,
        part: &Part<'_>,
        element: wasmparser::Element<'_>,
        section: &mut ElementSection,
    ) -> Result<(), FuseError> {
        let functions = functions_of(part, &element)?
            .into_iter()
            .map(|function| self.function(self.linked.stand.anyone(function)))
            .collect::<Result<Vec<u32>, _>>()?;
        let ElementKind::Active {
            table_index,
            offset_expr,
        } = element.kind
        else {
            return Err(FuseError("an element segment is not active".into()));
        };
        let table = part.tables[table_index.unwrap_or(0) as usize];
        let offset = ConstExpr::i32_const(self.linked.evaluate(part, &offset_expr)?);
        section.active(
            (table > 0).then_some(table),
            &offset,
            Elements::Functions(functions.into()),
        );
        Ok(())
    }

    fn datum(
        &self,
        part: &Part<'_>,
        datum: wasmparser::Data<'_>,
        section: &mut DataSection,
    ) -> Result<(), FuseError> {
        let DataKind::Active { offset_expr, .. } = datum.kind else {
            return Err(FuseError("a data segment is not active".into()));
        };
        let offset = ConstExpr::i32_const(self.linked.evaluate(part, &offset_expr)?);
        section.active(0, &offset, datum.data.iter().copied());
        Ok(())
    }
}

/// The linked functions that an element segment names.
pub(super) fn functions_of(
    part: &Part<'_>,
    element: &wasmparser::Element<'_>,
) -> Result<Vec<u32>, FuseError> {
    let ElementItems::Functions(items) = &element.items else {
        return Err(FuseError("an element segment holds expressions".into()));
    };
    items
        .clone()
        .into_iter()
        .map(|index| Ok(part.functions[index? as usize]))
        .collect()
}

/// Re-encodes what holds no indices.
struct Plain;

impl Reencode for Plain {
    type Error = Infallible;
}

/// Re-encodes a part's code with the fused module's indices.
struct Renumber<'a> {
    part: &'a Part<'a>,
    plan: &'a Plan<'a>,
    /// The linked function whose body is written.
    caller: u32,
}

type Renumbered<T> = Result<T, reencode::Error<Infallible>>;

impl Reencode for Renumber<'_> {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Renumbered<u32> {
        let callee = self.part.functions[index as usize];
        let callee = self.plan.linked.stand.callee(self.caller, callee);
        self.plan.functions[callee as usize].ok_or(reencode::Error::InvalidConstExpr)
    }

    fn global_index(&mut self, index: u32) -> Renumbered<u32> {
        let linked = self.part.globals[index as usize];
        let variable = self.plan.variables.binary_search(&linked);
        variable
            .map(|at| at as u32)
            .map_err(|_| reencode::Error::InvalidConstExpr)
    }

    fn table_index(&mut self, index: u32) -> Renumbered<u32> {
        Ok(self.part.tables[index as usize])
    }

    fn memory_index(&mut self, _: u32) -> Renumbered<u32> {
        Ok(0)
    }

    fn type_index(&mut self, index: u32) -> Renumbered<u32> {
        Ok(self.part.types[index as usize])
    }

    fn instruction<'b>(&mut self, operator: Operator<'b>) -> Renumbered<Instruction<'b>> {
        if let Operator::GlobalGet { global_index } = operator {
            let linked = self.part.globals[global_index as usize];
            if self.plan.variables.binary_search(&linked).is_err() {
                let value = self.plan.linked.globals[linked as usize].value;
                return Ok(Instruction::I32Const(value));
            }
        }
        reencode::utils::instruction(self, operator)
    }
}
