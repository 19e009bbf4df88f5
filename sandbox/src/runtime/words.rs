//! Puts `guest/words.wat` in place of functions of CPython: what it computes in words of 32 bits, as 64-bit CPython does.
//!
//! The file says what it stands for by the names of its imports and exports; here they become the numbers of [`Linked`].

use std::collections::HashMap;
use std::convert::Infallible;

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{Function, ValType};
use wasmparser::{ElementKind, ExternalKind, Name, Operator, Parser, Payload, TypeRef};

use super::fuse::FuseError;
use super::link::{Global, Linked, Part};

/// The source of the module.
pub(super) const SOURCE: &str = include_str!("../../guest/words.wat");

/// Functions that look for a place in a set's table. From one to the next they go by a hash that they shift until nothing is
/// left of it; shifted within 64 bits, the hash of a negative number leads where it does there.
const PROBING: [&str; 4] = [
    "set_add_entry_takeref",
    "set_lookkey",
    "set_merge_lock_held",
    "set_table_resize",
];

/// Which functions are called in place of others.
#[derive(Default)]
pub(crate) struct Stand {
    /// In place of a function, by whomever it is called.
    replaced: HashMap<u32, u32>,
    /// In place of a function (the second) where another (the first) calls it.
    within: HashMap<(u32, u32), u32>,
    /// The functions of [`PROBING`].
    probing: Vec<u32>,
    /// The functions of the module itself, which calls the originals.
    own: std::ops::Range<u32>,
}

impl Stand {
    /// What `caller` calls where its code says `callee`.
    pub(super) fn callee(&self, caller: u32, callee: u32) -> u32 {
        if self.own.contains(&caller) {
            return callee;
        }
        let within = self.within.get(&(caller, callee));
        within.copied().unwrap_or_else(|| self.anyone(callee))
    }

    /// Whether the function is one of [`PROBING`].
    pub(super) fn is_probing(&self, function: u32) -> bool {
        self.probing.contains(&function)
    }

    /// What stands in the tables of functions where a module's code says `function`.
    pub(super) fn anyone(&self, function: u32) -> u32 {
        self.replaced.get(&function).copied().unwrap_or(function)
    }
}

/// The module in binary form.
pub(super) fn module() -> Result<Vec<u8>, FuseError> {
    wat::parse_str(SOURCE).map_err(|error| FuseError(format!("words.wat: {error}")))
}

/// Every function by the name it has in its own module, where only one has that name.
pub(super) fn names<'a>(linked: &Linked<'a>) -> Result<HashMap<&'a str, u32>, FuseError> {
    let mut names: HashMap<&str, Option<u32>> = HashMap::new();
    for part in &linked.parts {
        for payload in Parser::new(0).parse_all(part.bytes) {
            let Payload::CustomSection(section) = payload? else {
                continue;
            };
            let wasmparser::KnownCustom::Name(subsections) = section.as_known() else {
                continue;
            };
            for subsection in subsections {
                let Name::Function(functions) = subsection? else {
                    continue;
                };
                for naming in functions {
                    let naming = naming?;
                    let number = part.functions[naming.index as usize];
                    let known = names.entry(naming.name).or_insert(Some(number));
                    if *known != Some(number) {
                        *known = None;
                    }
                }
            }
        }
    }
    let unique = names.into_iter();
    Ok(unique.filter_map(|(n, at)| Some((n, at?))).collect())
}

/// Where functions stand in the tables: (table, place), for each function that stands in just one place.
pub(super) fn slots(linked: &Linked<'_>) -> Result<HashMap<u32, (u32, i32)>, FuseError> {
    let mut slots: HashMap<u32, Option<(u32, i32)>> = HashMap::new();
    for part in &linked.parts {
        for payload in Parser::new(0).parse_all(part.bytes) {
            let Payload::ElementSection(section) = payload? else {
                continue;
            };
            for element in section {
                let element = element?;
                let functions = super::fuse::functions_of(part, &element)?;
                let ElementKind::Active {
                    table_index,
                    offset_expr,
                } = element.kind
                else {
                    continue;
                };
                let table = part.tables[table_index.unwrap_or(0) as usize];
                let offset = linked.evaluate(part, &offset_expr)?;
                for (function, at) in functions.into_iter().zip(offset..) {
                    let known = slots.entry(function).or_insert(Some((table, at)));
                    if *known != Some((table, at)) {
                        *known = None;
                    }
                }
            }
        }
    }
    let unique = slots.into_iter();
    Ok(unique.filter_map(|(f, at)| Some((f, at?))).collect())
}

impl<'a> Linked<'a> {
    /// Adds the module `bytes`, made by [`module`], as one more part.
    pub(super) fn stand_in(&mut self, bytes: &'a [u8]) -> Result<(), FuseError> {
        let (names, slots) = (names(self)?, slots(self)?);
        let named = |name: &str| {
            let known = names.get(name).copied();
            known.map_or_else(|| self.function(name), Ok)
        };
        let slot = |name: &str| {
            let found = slots.get(&named(name)?).copied();
            found.ok_or_else(|| FuseError(format!("{name} stands in no one place of a table")))
        };
        let (table, _) = slot("long_hash")?;
        let mut part = Part {
            bytes,
            ..Part::default()
        };
        let mut types = self.types.clone();
        let mut signatures = self.functions.clone();
        let mut globals = Vec::new();
        let mut exports = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        let ty = ty?;
                        let known = types.iter().position(|known| *known == ty);
                        part.types.push(known.unwrap_or_else(|| types.len()) as u32);
                        if known.is_none() {
                            types.push(ty);
                        }
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let constant = |value| Global { value };
                        match (import.module, import.ty) {
                            ("function", TypeRef::Func(ty)) => {
                                let number = named(import.name)?;
                                let own = part.types[ty as usize];
                                if signatures[number as usize] != own {
                                    let name = import.name;
                                    let why =
                                        format!("{name} has another type than words.wat says");
                                    return Err(FuseError(why));
                                }
                                part.functions.push(number);
                            }
                            ("slot", TypeRef::Global(_)) => {
                                part.globals
                                    .push((self.globals.len() + globals.len()) as u32);
                                globals.push(constant(slot(import.name)?.1));
                            }
                            ("data", TypeRef::Global(_)) => {
                                let found = self.data.get(import.name).copied();
                                part.globals.push(found.ok_or_else(|| {
                                    FuseError(format!("it has no object {}", import.name))
                                })?);
                            }
                            ("env", TypeRef::Table(_)) => part.tables.push(table),
                            ("env", TypeRef::Memory(_)) => {}
                            ("env", TypeRef::Global(_)) => {
                                let stack = self.stack_pointer;
                                part.globals.push(
                                    stack.ok_or_else(|| FuseError("it has no stack".into()))?,
                                );
                            }
                            (module, _) => {
                                return Err(FuseError(format!("words.wat imports from {module}")));
                            }
                        }
                    }
                    part.imported_functions = part.functions.len();
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        part.functions.push(signatures.len() as u32);
                        signatures.push(part.types[ty? as usize]);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let value = self.evaluate(&part, &global?.init_expr)?;
                        part.globals
                            .push((self.globals.len() + globals.len()) as u32);
                        globals.push(Global { value });
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            exports.push((export.name, part.functions[export.index as usize]));
                        }
                    }
                }
                _ => {}
            }
        }
        let mut stand = Stand {
            own: self.functions.len() as u32..signatures.len() as u32,
            probing: PROBING
                .iter()
                .map(|name| named(name))
                .collect::<Result<_, _>>()?,
            ..Stand::default()
        };
        let mut added = Vec::new();
        for (name, number) in exports {
            if let Some(name) = name.strip_prefix("replace:") {
                let replaced = named(name)?;
                if signatures[replaced as usize] != signatures[number as usize] {
                    return Err(FuseError(format!("{name} has another type in words.wat")));
                }
                stand.replaced.insert(replaced, number);
            } else if let Some((caller, callee)) = name
                .strip_prefix("within:")
                .and_then(|names| names.split_once(':'))
            {
                stand
                    .within
                    .insert((named(caller)?, named(callee)?), number);
            } else {
                added.push((name, number));
            }
        }
        self.named.extend(added);
        (self.types, self.functions, self.stand) = (types, signatures, stand);
        self.globals.extend(globals);
        self.parts.push(part);
        Ok(())
    }
}

/// The body of a probing function: where it shifts its hash, a copy of 64 bits is shifted.
pub(super) fn probing(
    renumber: &mut impl Reencode<Error = Infallible>,
    params: usize,
    body: &wasmparser::FunctionBody<'_>,
) -> Result<Function, FuseError> {
    let operators: Vec<Operator> = body
        .get_operators_reader()?
        .into_iter()
        .collect::<Result<_, _>>()?;
    let shifted = |at: usize| match operators.get(at..at + 3) {
        Some(
            [
                Operator::LocalGet { local_index },
                Operator::I32Const { value: 5 },
                Operator::I32ShrU,
            ],
        ) => Some(*local_index),
        _ => None,
    };
    let Some(hash) = (0..operators.len()).find_map(shifted) else {
        return Err(FuseError("a function of sets shifts no hash".into()));
    };
    let mut locals = Vec::new();
    let mut count = params as u32;
    for local in body.get_locals_reader()? {
        let (n, ty) = local?;
        locals.push((n, renumber.val_type(ty)?));
        count += n;
    }
    locals.push((1, ValType::I64));
    let wide = count;
    let mut function = Function::new(locals);
    let mut at = 0;
    while at < operators.len() {
        if let Some(local) = shifted(at) {
            if local != hash || !sets(&operators, at + 3, hash) {
                return Err(FuseError("a function of sets shifts two hashes".into()));
            }
            function
                .instructions()
                .local_get(wide)
                .i64_const(5)
                .i64_shr_u()
                .local_tee(wide)
                .i32_wrap_i64();
            function.instruction(&renumber.instruction(operators[at + 3].clone())?);
            at += 4;
            continue;
        }
        function.instruction(&renumber.instruction(operators[at].clone())?);
        if sets(&operators, at, hash) {
            function
                .instructions()
                .local_get(hash)
                .i64_extend_i32_s()
                .local_set(wide);
        }
        at += 1;
    }
    Ok(function)
}

/// Whether the operator gives the local a value.
fn sets(operators: &[Operator<'_>], at: usize, local: u32) -> bool {
    matches!(
        operators.get(at),
        Some(Operator::LocalSet { local_index } | Operator::LocalTee { local_index }) if *local_index == local
    )
}

/// C's tables of the kinds of numbers that `array` and `struct` know, found by the functions that they hold.
pub(super) struct Longs {
    /// What makes room for what, each a row of such a table.
    widened: Vec<(Row, Row)>,
}

/// A row of a table: the letter of a kind, and words behind it that tell its table from others.
#[derive(Clone, Copy)]
struct Row {
    letter: u8,
    words: [i32; 3],
    /// Bytes of the row that make the kind, from its beginning.
    size: usize,
}

impl Longs {
    /// The rows of `long` and of what is as wide, and the rows of `long long`.
    pub(super) fn of(linked: &Linked<'_>) -> Result<Longs, FuseError> {
        let (names, slots) = (names(linked)?, slots(linked)?);
        let slot = |name: &str| {
            let found = names.get(name).and_then(|number| slots.get(number));
            found
                .map(|(_, at)| *at)
                .ok_or_else(|| FuseError(format!("{name} stands in no table")))
        };
        // array: letter, size of an item, functions that get and set one, ..
        let item = |letter, size, get, set| -> Result<Row, FuseError> {
            Ok(Row {
                letter,
                words: [size, slot(get)?, slot(set)?],
                size: 24,
            })
        };
        // struct: letter, size, alignment, functions that unpack and pack
        let field = |letter, size, unpack| -> Result<Row, FuseError> {
            Ok(Row {
                letter,
                words: [size, size, slot(unpack)?],
                size: 20,
            })
        };
        Ok(Longs {
            widened: vec![
                (
                    item(b'l', 4, "l_getitem", "l_setitem")?,
                    item(b'q', 8, "q_getitem", "q_setitem")?,
                ),
                (
                    item(b'L', 4, "LL_getitem", "LL_setitem")?,
                    item(b'Q', 8, "QQ_getitem", "QQ_setitem")?,
                ),
                (field(b'l', 4, "nu_long")?, field(b'q', 8, "nu_longlong")?),
                (
                    field(b'n', 4, "nu_ssize_t")?,
                    field(b'q', 8, "nu_longlong")?,
                ),
                (field(b'L', 4, "nu_ulong")?, field(b'Q', 8, "nu_ulonglong")?),
                (
                    field(b'N', 4, "nu_size_t")?,
                    field(b'Q', 8, "nu_ulonglong")?,
                ),
                (
                    field(b'P', 4, "nu_void_p")?,
                    field(b'Q', 8, "nu_ulonglong")?,
                ),
            ],
        })
    }

    /// Makes `long` and what is as wide 64 bits in the tables that `memory` holds.
    pub(super) fn widen(&self, memory: &mut [u8]) -> Result<(), FuseError> {
        for (narrow, wide) in &self.widened {
            let (to, from) = (narrow.find(memory)?, wide.find(memory)?);
            memory.copy_within(from + 4..from + wide.size, to + 4);
        }
        Ok(())
    }
}

impl Row {
    /// The one place where such a row lies.
    fn find(&self, memory: &[u8]) -> Result<usize, FuseError> {
        let words: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let head = [self.letter, 0, 0, 0];
        let is_row =
            |at: &usize| memory[*at..].starts_with(&head) && memory[at + 4..].starts_with(&words);
        let mut places = (0..memory.len().saturating_sub(16))
            .step_by(4)
            .filter(is_row);
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at),
            _ => Err(FuseError(format!(
                "it has not one table with a row {:?}",
                char::from(self.letter)
            ))),
        }
    }
}
