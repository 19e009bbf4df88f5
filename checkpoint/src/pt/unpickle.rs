//! Reads protocol-2 pickles, with a closed list of opcodes and globals.
//!
//! A pickle is a program for a stack machine, and Python's own machine can be told to import and
//! call anything. This one knows the opcodes and the few names that `torch.save` uses for state
//! dicts; it builds values and calls nothing. Containers live in an arena and are referred to by
//! number, so that a memoised container is one object however often it is fetched; a value that
//! would unfold to far more than the file holds, or contains itself, is refused when unfolded.

use std::collections::HashMap;
use std::sync::Arc;

use tch::Kind;

use super::rebuild::{Global, global};
use super::{LazyTensor, MAX_DEPTH, PtValue, StorageRef};

/// Largest pickle read; the tensors' bytes are not part of it.
pub(super) const MAX_PICKLE: usize = 64 << 20;

/// Most values a file may hold, each occurrence of a shared one counted.
const MAX_VALUES: usize = 2 << 20;

/// A value's place in the arena.
pub(super) type Id = usize;

/// What is wrong with the program, without its place.
pub(super) type Result<T> = std::result::Result<T, String>;

/// A value in the making.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Tensor(LazyTensor),
    Storage(Kind, Arc<StorageRef>),
    Global(Global),
}

/// Which storages the archive has: the entry's name and size in bytes of a key.
pub(super) type FindStorage<'a> = &'a dyn Fn(&str) -> Option<(String, usize)>;

/// The value that a pickle describes.
pub(super) fn unpickle(bytes: &[u8], find: FindStorage<'_>) -> Result<PtValue<LazyTensor>> {
    if bytes.len() > MAX_PICKLE {
        return Err(format!(
            "is {} bytes long, more than {MAX_PICKLE}",
            bytes.len()
        ));
    }
    let mut machine = Machine {
        bytes,
        at: 0,
        find,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        storages: HashMap::new(),
    };
    let root = loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => break root,
            Err(reason) => return Err(format!("byte {at}: {reason}")),
        }
    };
    let mut budget = MAX_VALUES;
    let mut text = MAX_PICKLE;
    machine.unfold(root, 0, &mut budget, &mut text)
}

/// The stack machine.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) find: FindStorage<'a>,
    pub(super) nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    pub(super) storages: HashMap<String, (Kind, Arc<StorageRef>)>,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; gives the root at the end of the program.
    fn step(&mut self) -> Result<Option<Id>> {
        let opcode = self.array::<1>()?[0];
        match opcode {
            0x80 => match self.array::<1>()?[0] {
                2 => {}
                other => return Err(format!("pickle protocol {other}, expected 2")),
            },
            b'.' => {
                let root = self.pop()?;
                if !self.stack.is_empty() || !self.marks.is_empty() {
                    return Err("the program ends with values left over".into());
                }
                if self.at != self.bytes.len() {
                    return Err("bytes follow the end of the program".into());
                }
                return Ok(Some(root));
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'K' => {
                let [byte] = self.array()?;
                self.push(Node::Int(byte.into()))?;
            }
            b'M' => {
                let word = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(word.into()))?;
            }
            b'J' => {
                let word = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(word.into()))?;
            }
            0x8a => {
                let length = usize::from(self.array::<1>()?[0]);
                let bytes = self.take(length)?;
                let node = Node::Int(long(bytes)?);
                self.push(node)?;
            }
            b'G' => {
                let float = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(float))?;
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                let text = std::str::from_utf8(self.take(length)?)
                    .map_err(|_| "a string that is not UTF-8".to_string())?;
                let node = Node::Str(text.into());
                self.push(node)?;
            }
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            0x85..=0x87 => {
                let length = usize::from(opcode - 0x84);
                let items = self.pop_many(length)?;
                self.push(Node::Tuple(items))?;
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let pair = self.pop_many(2)?;
                self.set_items(&pair)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            b'q' => {
                let [key] = self.array()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            b'h' => {
                let [key] = self.array()?;
                self.fetch(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.fetch(key)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                let global = global(module, name)
                    .ok_or_else(|| format!("the global {module}.{name} is refused"))?;
                self.push(Node::Global(global))?;
            }
            b'Q' => self.persistent_id()?,
            b'R' => self.reduce()?,
            // State that torch hangs on an OrderedDict (`_metadata`: versions of modules).
            b'b' => {
                self.pop()?;
                let top = self.top()?;
                if !matches!(self.nodes[top], Node::Dict(_)) {
                    return Err("sets attributes of something that is not a dict".into());
                }
            }
            // Two more ways to name a global, only decoded so that the refusal can name it.
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(format!(
                    "the global {module}.{name} is refused (opcode INST)"
                ));
            }
            0x93 => {
                let pair = self.pop_many(2)?;
                let name = |id: Id| match &self.nodes[id] {
                    Node::Str(text) => text.as_str(),
                    _ => "?",
                };
                let (module, name) = (name(pair[0]), name(pair[1]));
                return Err(format!(
                    "the global {module}.{name} is refused (opcode STACK_GLOBAL)"
                ));
            }
            other => return Err(format!("the opcode {other:#04x} is refused")),
        }
        Ok(None)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let taken = self.bytes[self.at..]
            .get(..length)
            .ok_or("the program is cut short")?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?
            .try_into()
            .map_err(|_| "the program is cut short".into())
    }

    fn line(&mut self) -> Result<&'a str> {
        let length = self.bytes[self.at..].iter().position(|byte| *byte == b'\n');
        let line = self.take(length.ok_or("the program is cut short")?)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| "a name that is not UTF-8".into())
    }

    pub(super) fn push(&mut self, node: Node) -> Result<()> {
        if self.nodes.len() >= MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        self.nodes.push(node);
        self.push_id(self.nodes.len() - 1)
    }

    pub(super) fn push_id(&mut self, id: Id) -> Result<()> {
        if self.stack.len() >= MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        self.stack.push(id);
        Ok(())
    }

    /// Values below the innermost mark belong to whoever set it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn pop(&mut self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return Err("takes a value from an empty stack".into());
        }
        self.stack
            .pop()
            .ok_or_else(|| "takes a value from an empty stack".into())
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|start| *start >= self.floor());
        Ok(self
            .stack
            .split_off(start.ok_or("takes a value from an empty stack")?))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self
            .marks
            .pop()
            .ok_or("takes values down to a mark that is not there")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<Id> {
        self.stack[self.floor()..]
            .last()
            .copied()
            .ok_or_else(|| "the stack is empty".into())
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        if self.memo.len() >= MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} remembered values"));
        }
        self.memo.insert(key, self.top()?);
        Ok(())
    }

    fn fetch(&mut self, key: u32) -> Result<()> {
        let id = *self
            .memo
            .get(&key)
            .ok_or_else(|| format!("fetches {key}, never stored"))?;
        self.push_id(id)
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend(items),
            _ => return Err("appends to something that is not a list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        let Node::Dict(dict) = &mut self.nodes[top] else {
            return Err("sets items of something that is not a dict".into());
        };
        if !items.len().is_multiple_of(2) {
            return Err("sets a key without a value".into());
        }
        dict.extend(items.chunks(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    /// Turns arena nodes into a value of its own.
    fn unfold(
        &self,
        id: Id,
        depth: usize,
        values: &mut usize,
        text: &mut usize,
    ) -> Result<PtValue<LazyTensor>> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "is nested deeper than {MAX_DEPTH} levels, or contains itself"
            ));
        }
        *values = values.checked_sub(1).ok_or("unfolds to too many values")?;
        let mut children = |ids: &[Id]| -> Result<Vec<_>> {
            ids.iter()
                .map(|id| self.unfold(*id, depth + 1, values, text))
                .collect()
        };
        Ok(match &self.nodes[id] {
            Node::None => PtValue::None,
            Node::Bool(b) => PtValue::Bool(*b),
            Node::Int(i) => PtValue::Int(*i),
            Node::Float(f) => PtValue::Float(*f),
            Node::Str(s) => {
                *text = text
                    .checked_sub(s.len())
                    .ok_or("unfolds to too much text")?;
                PtValue::Str(s.clone())
            }
            Node::List(ids) => PtValue::List(children(ids)?),
            Node::Tuple(ids) => PtValue::Tuple(children(ids)?),
            Node::Dict(pairs) => {
                let (keys, items): (Vec<Id>, Vec<Id>) = pairs.iter().copied().unzip();
                let keys = children(&keys)?;
                PtValue::Dict(keys.into_iter().zip(children(&items)?).collect())
            }
            Node::Tensor(tensor) => PtValue::Tensor(tensor.clone()),
            Node::Storage(..) => return Err("holds a storage outside a tensor".into()),
            Node::Global(global) => return Err(format!("holds {global:?} as a value")),
        })
    }
}

/// A little-endian two's complement integer of up to 16 bytes.
fn long(bytes: &[u8]) -> Result<i128> {
    if bytes.len() > 16 {
        return Err(format!("an integer of {} bytes", bytes.len()));
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    Ok(i128::from_le_bytes(wide))
}
