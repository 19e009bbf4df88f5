//! Reads how a component puts its core modules together: who provides what to whom.

use std::collections::{BTreeMap, HashMap};

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ConstExpr, ExternalKind, FuncType,
    Instance, InstantiationArg, MemoryType, Operator, Parser, Payload, TableType, TypeRef,
};

use super::fuse::FuseError;
use super::words::Stand;

/// The core instances of a component, resolved: each function, table and global has one number, whoever imports it.
pub(crate) struct Linked<'a> {
    pub(crate) parts: Vec<Part<'a>>,
    /// All function types, each once.
    pub(crate) types: Vec<FuncType>,
    /// The type of each function.
    pub(crate) functions: Vec<u32>,
    pub(crate) tables: Vec<TableType>,
    pub(crate) globals: Vec<Global>,
    /// The one memory.
    pub(crate) memory: MemoryType,
    /// The stubs behind WASI's functions, by number, and what they stand for (`wasi:cli/exit#exit`).
    pub(crate) system: BTreeMap<u32, String>,
    /// The global that holds where the stack of C ends.
    pub(crate) stack_pointer: Option<u32>,
    /// By name: the functions behind the component's exports, and behind those the exports of its core modules.
    pub(super) named: HashMap<&'a str, u32>,
    /// By name: the globals that hold the addresses of C's data.
    pub(super) data: HashMap<&'a str, u32>,
    /// What is called in place of what.
    pub(super) stand: Stand,
}

/// One instance of a core module. Each list translates the module's own indices.
#[derive(Default)]
pub(crate) struct Part<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) imported_functions: usize,
    pub(crate) types: Vec<u32>,
    pub(crate) functions: Vec<u32>,
    pub(crate) tables: Vec<u32>,
    pub(crate) globals: Vec<u32>,
}

/// A global of type i32.
pub(crate) struct Global {
    /// What it starts as.
    pub(crate) value: i32,
}

/// What an instance exports: kinds and numbers by name.
type Exports<'a> = HashMap<&'a str, (ExternalKind, u32)>;

/// What has been read so far.
struct Reader<'a> {
    linked: Linked<'a>,
    memories: Vec<MemoryType>,
    type_numbers: HashMap<FuncType, u32>,
    modules: Vec<&'a [u8]>,
    instances: Vec<Exports<'a>>,
    /// The component's own numbering of core functions, tables, memories and globals.
    core: [Vec<u32>; 4],
    /// The component's functions: the core function that each is made of.
    lifted: Vec<u32>,
}

impl<'a> Linked<'a> {
    /// Reads `component`, which must import nothing.
    pub(crate) fn read(component: &'a [u8]) -> Result<Linked<'a>, FuseError> {
        let mut reader = Reader {
            linked: Linked {
                parts: Vec::new(),
                types: Vec::new(),
                functions: Vec::new(),
                tables: Vec::new(),
                globals: Vec::new(),
                memory: MemoryType {
                    memory64: false,
                    shared: false,
                    initial: 0,
                    maximum: None,
                    page_size_log2: None,
                },
                system: BTreeMap::new(),
                stack_pointer: None,
                named: HashMap::new(),
                data: HashMap::new(),
                stand: Stand::default(),
            },
            memories: Vec::new(),
            type_numbers: HashMap::new(),
            modules: Vec::new(),
            instances: Vec::new(),
            core: Default::default(),
            lifted: Vec::new(),
        };
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            match payload {
                Payload::ModuleSection {
                    unchecked_range, ..
                } => {
                    if depth == 0 {
                        reader.modules.push(&component[unchecked_range]);
                    }
                    depth += 1;
                }
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                payload if depth == 0 => reader.payload(payload)?,
                _ => {}
            }
        }
        let Ok([memory]) = <[MemoryType; 1]>::try_from(reader.memories) else {
            return Err(FuseError("it has not one memory".into()));
        };
        reader.linked.memory = memory;
        Ok(reader.linked)
    }

    /// The function of this name.
    pub(crate) fn function(&self, name: &str) -> Result<u32, FuseError> {
        self.named
            .get(name)
            .copied()
            .ok_or_else(|| FuseError(format!("it has no function {name}")))
    }

    /// The value of a constant expression of type i32.
    pub(crate) fn evaluate(
        &self,
        part: &Part<'_>,
        expression: &ConstExpr<'_>,
    ) -> Result<i32, FuseError> {
        let mut stack = Vec::new();
        for operator in expression.get_operators_reader() {
            match operator? {
                Operator::I32Const { value } => stack.push(value),
                Operator::GlobalGet { global_index } => {
                    let global = part.globals[global_index as usize];
                    stack.push(self.globals[global as usize].value);
                }
                Operator::I32Add => {
                    let right = stack.pop().unwrap_or(0);
                    let left = stack.pop().unwrap_or(0);
                    stack.push(left.wrapping_add(right));
                }
                Operator::End => {}
                other => return Err(FuseError(format!("{other:?} in a constant"))),
            }
        }
        match stack[..] {
            [value] => Ok(value),
            _ => Err(FuseError("a constant without one value".into())),
        }
    }
}

impl<'a> Reader<'a> {
    /// One section of the component itself.
    fn payload(&mut self, payload: Payload<'a>) -> Result<(), FuseError> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    let exports = match instance? {
                        Instance::Instantiate { module_index, args } => {
                            self.instantiate(self.modules[module_index as usize], &args)?
                        }
                        Instance::FromExports(exports) => exports
                            .iter()
                            .map(|export| {
                                let number = self.core[space(export.kind)?][export.index as usize];
                                Ok((export.name, (export.kind, number)))
                            })
                            .collect::<Result<_, FuseError>>()?,
                    };
                    self.instances.push(exports);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    if let ComponentAlias::CoreInstanceExport {
                        kind,
                        instance_index,
                        name,
                    } = alias?
                    {
                        let (_, number) = self.exported(instance_index, name)?;
                        self.core[space(kind)?].push(number);
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function? {
                        CanonicalFunction::Lift {
                            core_func_index, ..
                        } => {
                            self.lifted.push(self.core[0][core_func_index as usize]);
                        }
                        other => return Err(FuseError(format!("it imports: {other:?}"))),
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Func {
                        let function = self.lifted[export.index as usize];
                        self.linked.named.insert(export.name.name, function);
                        self.lifted.push(function);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what has a meaning to the host.
    fn name_import(&mut self, module: &str, name: &'a str, kind: ExternalKind, number: u32) {
        if module == "GOT.mem" {
            self.linked.data.insert(name, number);
        }
        if kind == ExternalKind::Global && name == "__stack_pointer" {
            self.linked.stack_pointer = Some(number);
        }
        if kind == ExternalKind::Func && module.starts_with("wasi") {
            let module = module.split_once('@').map_or(module, |(module, _)| module);
            let what = || format!("{module}#{name}");
            self.linked.system.entry(number).or_insert_with(what);
        }
    }

    fn exported(&self, instance: u32, name: &str) -> Result<(ExternalKind, u32), FuseError> {
        self.instances[instance as usize]
            .get(name)
            .copied()
            .ok_or_else(|| FuseError(format!("instance {instance} exports no {name}")))
    }

    /// Numbers what a new instance of the module `bytes` defines; gives its exports.
    fn instantiate(
        &mut self,
        bytes: &'a [u8],
        args: &[InstantiationArg<'a>],
    ) -> Result<Exports<'a>, FuseError> {
        let mut part = Part {
            bytes,
            ..Part::default()
        };
        let mut memories = Vec::new();
        let mut exports = Exports::new();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        part.types.push(self.type_number(ty?));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let provider = args.iter().find(|arg| arg.name == import.module);
                        let provider = provider.ok_or_else(|| {
                            FuseError(format!("nothing provides {}", import.module))
                        })?;
                        let (kind, number) = self.exported(provider.index, import.name)?;
                        self.name_import(import.module, import.name, kind, number);
                        match (import.ty, kind) {
                            (TypeRef::Func(_), ExternalKind::Func) => part.functions.push(number),
                            (TypeRef::Table(_), ExternalKind::Table) => part.tables.push(number),
                            (TypeRef::Memory(_), ExternalKind::Memory) => memories.push(number),
                            (TypeRef::Global(_), ExternalKind::Global) => part.globals.push(number),
                            (ty, kind) => {
                                let name = import.name;
                                return Err(FuseError(format!("{name}: {kind:?} for {ty:?}")));
                            }
                        }
                    }
                    part.imported_functions = part.functions.len();
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        part.functions.push(self.linked.functions.len() as u32);
                        self.linked.functions.push(part.types[ty? as usize]);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        part.tables.push(self.linked.tables.len() as u32);
                        self.linked.tables.push(table?.ty);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        memories.push(self.memories.len() as u32);
                        self.memories.push(memory?);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let value = self.linked.evaluate(&part, &global?.init_expr)?;
                        part.globals.push(self.linked.globals.len() as u32);
                        self.linked.globals.push(Global { value });
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        let numbers = match export.kind {
                            ExternalKind::Func => &part.functions,
                            ExternalKind::Table => &part.tables,
                            ExternalKind::Memory => &memories,
                            ExternalKind::Global => &part.globals,
                            kind => return Err(FuseError(format!("an export is a {kind:?}"))),
                        };
                        let number = numbers[export.index as usize];
                        exports.insert(export.name, (export.kind, number));
                        if export.kind == ExternalKind::Func {
                            self.linked.named.insert(export.name, number);
                        }
                    }
                }
                _ => {}
            }
        }
        self.linked.parts.push(part);
        Ok(exports)
    }

    fn type_number(&mut self, ty: FuncType) -> u32 {
        let types = &mut self.linked.types;
        *self.type_numbers.entry(ty).or_insert_with_key(|ty| {
            types.push(ty.clone());
            types.len() as u32 - 1
        })
    }
}

/// Which of the component's index spaces a kind belongs to.
fn space(kind: ExternalKind) -> Result<usize, FuseError> {
    match kind {
        ExternalKind::Func => Ok(0),
        ExternalKind::Table => Ok(1),
        ExternalKind::Memory => Ok(2),
        ExternalKind::Global => Ok(3),
        kind => Err(FuseError(format!("it links a {kind:?}"))),
    }
}
