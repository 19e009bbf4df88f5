//! Reads pickles, with a closed list of opcodes and globals.
//!
//! A pickle is a program for a stack machine, and Python's own machine can be told to import and
//! call anything. This one knows the opcodes of plain values and only those names that its
//! [`World`] allows; it builds values and calls nothing. Containers live in an arena and are
//! referred to by number, so that a memoised container is one object however often it is fetched;
//! a value that would unfold to far more than the pickle holds, or contains itself, is refused
//! when unfolded.
//!
//! ```
//! use gauntlet_pickle::{Plain, Value, unpickle};
//!
//! let one_list = b"\x80\x02]q\x00K\x01a.";
//! assert_eq!(unpickle(one_list, &mut Plain), Ok(Value::List(vec![Value::Int(1)])));
//! // `os.system`, as a hostile pickle names it.
//! let hostile = b"\x80\x02cos\nsystem\n.";
//! assert!(unpickle(hostile, &mut Plain).unwrap_err().contains("the global os.system is refused"));
//! ```

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;

mod value;

pub use value::Value;

/// Most values a pickle may hold, each occurrence of a shared one counted.
const MAX_VALUES: usize = 2 << 20;

/// Values nested deeper than this are refused.
const MAX_DEPTH: usize = 64;

/// A value's place in the arena.
pub type Id = usize;

/// What is wrong with the program, without its place.
pub type Result<T> = std::result::Result<T, String>;

/// What a pickle may name beyond plain values.
pub trait World {
    /// What a name, or something made of one, is while the program runs.
    type Object: Clone + Debug;
    /// What it is as a value.
    type Leaf;

    /// The protocols read.
    const PROTOCOLS: RangeInclusive<u8>;
    /// The largest pickle read, in bytes; the text of its values may be as large.
    const MAX_PICKLE: usize;

    /// The object of a name; none refuses it.
    fn global(&self, module: &str, name: &str) -> Option<Self::Object>;

    /// The object that a persistent id stands for.
    ///
    /// # Errors
    /// Says why there is none.
    fn persistent_id(&mut self, nodes: &[Node<Self::Object>], id: Id) -> Result<Self::Object>;

    /// What the object at the first place makes of a tuple of arguments.
    ///
    /// # Errors
    /// Says why it makes nothing.
    fn reduce(
        &mut self,
        nodes: &[Node<Self::Object>],
        object: &Self::Object,
        arguments: &[Id],
    ) -> Result<Made<Self::Object>>;

    /// The value of an object that is left in the result.
    ///
    /// # Errors
    /// Says why it is none.
    fn leaf(&self, object: &Self::Object) -> Result<Self::Leaf>;
}

/// What an application makes.
pub enum Made<O> {
    /// A node of its own.
    Fresh(Node<O>),
    /// One that is there.
    Known(Id),
}

/// Plain values only: every name is refused. Protocols 2 to 5, up to half a gibibyte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl World for Plain {
    type Object = std::convert::Infallible;
    type Leaf = std::convert::Infallible;

    const PROTOCOLS: RangeInclusive<u8> = 2..=5;
    const MAX_PICKLE: usize = 512 << 20;

    fn global(&self, _: &str, _: &str) -> Option<Self::Object> {
        None
    }

    fn persistent_id(&mut self, _: &[Node<Self::Object>], _: Id) -> Result<Self::Object> {
        Err("a persistent id is refused".into())
    }

    fn reduce(
        &mut self,
        _: &[Node<Self::Object>],
        object: &Self::Object,
        _: &[Id],
    ) -> Result<Made<Self::Object>> {
        match *object {}
    }

    fn leaf(&self, object: &Self::Object) -> Result<Self::Leaf> {
        match *object {}
    }
}

/// A value in the making.
#[derive(Clone, Debug)]
pub enum Node<O> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 16 bytes.
    Int(i128),
    /// A float.
    Float(f64),
    /// A string.
    Str(String),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A dict, in the order of insertion.
    Dict(Vec<(Id, Id)>),
    /// Something that the world knows.
    Object(O),
}

/// The value that a pickle describes.
///
/// # Errors
/// What is wrong with the pickle, and at which byte.
pub fn unpickle<W: World>(bytes: &[u8], world: &mut W) -> Result<Value<W::Leaf>> {
    if bytes.len() > W::MAX_PICKLE {
        return Err(format!(
            "is {} bytes long, more than {}",
            bytes.len(),
            W::MAX_PICKLE
        ));
    }
    let mut machine = Machine {
        bytes,
        at: 0,
        world,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
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
    let mut text = W::MAX_PICKLE;
    machine.unfold(root, 0, &mut budget, &mut text)
}

/// The stack machine.
struct Machine<'a, W: World> {
    bytes: &'a [u8],
    at: usize,
    world: &'a mut W,
    nodes: Vec<Node<W::Object>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a, W: World> Machine<'a, W> {
    /// Runs one opcode; gives the root at the end of the program.
    fn step(&mut self) -> Result<Option<Id>> {
        let opcode = self.array::<1>()?[0];
        match opcode {
            0x80 => match self.array::<1>()?[0] {
                known if W::PROTOCOLS.contains(&known) => {}
                other => {
                    let (low, high) = W::PROTOCOLS.into_inner();
                    let wanted = match low == high {
                        true => low.to_string(),
                        false => format!("{low} to {high}"),
                    };
                    return Err(format!("pickle protocol {other}, expected {wanted}"));
                }
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
                self.text(length)?;
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
                let object = self
                    .world
                    .global(module, name)
                    .ok_or_else(|| format!("the global {module}.{name} is refused"))?;
                self.push(Node::Object(object))?;
            }
            b'Q' => {
                let id = self.pop()?;
                let object = self.world.persistent_id(&self.nodes, id)?;
                self.push(Node::Object(object))?;
            }
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
            // What protocol 4 adds for plain values. Frames say nothing that the program does not.
            0x95 if Self::later() => {
                self.take(8)?;
            }
            0x8c if Self::later() => {
                let length = usize::from(self.array::<1>()?[0]);
                self.text(length)?;
            }
            0x8d if Self::later() => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(usize::try_from(length).unwrap_or(usize::MAX))?;
            }
            0x94 if Self::later() => {
                let key = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                self.remember(key)?;
            }
            other => return Err(format!("the opcode {other:#04x} is refused")),
        }
        Ok(None)
    }

    /// Whether opcodes of protocol 4 are read.
    fn later() -> bool {
        W::PROTOCOLS.contains(&4)
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let text = std::str::from_utf8(self.take(length)?)
            .map_err(|_| "a string that is not UTF-8".to_string())?;
        let node = Node::Str(text.into());
        self.push(node)
    }

    /// Applies an object to a tuple of arguments.
    fn reduce(&mut self) -> Result<()> {
        let pair = self.pop_many(2)?;
        let (Node::Object(object), Node::Tuple(arguments)) =
            (&self.nodes[pair[0]], &self.nodes[pair[1]])
        else {
            return Err("applies something that is not a global to a tuple".into());
        };
        match self.world.reduce(&self.nodes, object, arguments)? {
            Made::Fresh(node) => self.push(node),
            Made::Known(id) => self.push_id(id),
        }
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

    fn push(&mut self, node: Node<W::Object>) -> Result<()> {
        if self.nodes.len() >= MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        self.nodes.push(node);
        self.push_id(self.nodes.len() - 1)
    }

    fn push_id(&mut self, id: Id) -> Result<()> {
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

    fn pop(&mut self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return Err("takes a value from an empty stack".into());
        }
        self.stack
            .pop()
            .ok_or_else(|| "takes a value from an empty stack".into())
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
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
    ) -> Result<Value<W::Leaf>> {
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
            Node::None => Value::None,
            Node::Bool(b) => Value::Bool(*b),
            Node::Int(i) => Value::Int(*i),
            Node::Float(f) => Value::Float(*f),
            Node::Str(s) => {
                *text = text
                    .checked_sub(s.len())
                    .ok_or("unfolds to too much text")?;
                Value::Str(s.clone())
            }
            Node::List(ids) => Value::List(children(ids)?),
            Node::Tuple(ids) => Value::Tuple(children(ids)?),
            Node::Dict(pairs) => {
                let (keys, items): (Vec<Id>, Vec<Id>) = pairs.iter().copied().unzip();
                let keys = children(&keys)?;
                Value::Dict(keys.into_iter().zip(children(&items)?).collect())
            }
            Node::Object(object) => Value::Leaf(self.world.leaf(object)?),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_read_in_every_protocol() {
        // pickle.dumps("hi\u00e9", protocol) of CPython 3.11.
        for bytes in [
            &b"\x80\x02X\x04\x00\x00\x00hi\xc3\xa9q\x00."[..],
            b"\x80\x03X\x04\x00\x00\x00hi\xc3\xa9q\x00.",
            b"\x80\x04\x95\x08\x00\x00\x00\x00\x00\x00\x00\x8c\x04hi\xc3\xa9\x94.",
            b"\x80\x05\x95\x08\x00\x00\x00\x00\x00\x00\x00\x8c\x04hi\xc3\xa9\x94.",
        ] {
            assert_eq!(
                unpickle(bytes, &mut Plain),
                Ok(Value::Str("hi\u{e9}".into()))
            );
        }
    }

    #[test]
    fn whatever_would_run_or_reach_out_is_refused() {
        for (bytes, reason) in [
            (
                &b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."[..],
                "os.system is refused",
            ),
            (
                b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
                "os.system is refused (opcode STACK_GLOBAL)",
            ),
            (
                b"\x80\x02(ios\nsystem\n.",
                "os.system is refused (opcode INST)",
            ),
            (b"\x80\x02K\x01Q.", "a persistent id is refused"),
            (b"\x80\x02K\x01)R.", "not a global"),
            (b"\x80\x06N.", "protocol 6, expected 2 to 5"),
            (
                b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
                "cut short",
            ),
            (b"\x80\x04\x82\x01.", "opcode 0x82 is refused"),
            (b"\x80\x02]q\x00h\x00a.", "contains itself"),
        ] {
            let error = unpickle(bytes, &mut Plain).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
