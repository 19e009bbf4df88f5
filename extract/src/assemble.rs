//! A piece with what it needs of other pieces.

use std::collections::{BTreeSet, HashSet};

use crate::Piece;
use crate::python::{Module, Statement};

/// All pieces of a completion, parsed.
pub(crate) struct Program<'a> {
    pieces: &'a [Piece],
    modules: &'a [Module],
}

impl<'a> Program<'a> {
    pub(crate) fn new(pieces: &'a [Piece], modules: &'a [Module]) -> Program<'a> {
        Program { pieces, modules }
    }

    /// The piece at `chosen`, after the definitions and imports in other pieces that it needs. Of a session only what
    /// defines `wanted` is needed, or without that what defines anything.
    pub(crate) fn with_needs(&self, chosen: usize, wanted: Option<&str>) -> String {
        let (piece, module) = (&self.pieces[chosen], &self.modules[chosen]);
        if !module.parses {
            return piece.code.clone();
        }
        let is_root = |statement: &&Statement| {
            let defines = |name| statement.strength(None, name).is_some();
            !piece.session || wanted.map_or(statement.is_own_definition(), defines)
        };
        let roots: Vec<&Statement> = module.statements.iter().filter(is_root).collect();
        let own: HashSet<&str> = bound(&roots).collect();
        let mut asked: Vec<&str> = needed(&roots).collect();
        let (mut seen, mut taken) = (HashSet::new(), BTreeSet::new());
        let mut unknown = false;
        while let Some(name) = asked.pop() {
            if own.contains(name) || !seen.insert(name) {
                continue;
            }
            let found = self.definitions(chosen, name);
            unknown |= found.is_empty() && !is_builtin(name);
            for (at, number) in found {
                if taken.insert((at, number)) {
                    asked.extend(needed(&[&self.modules[at].statements[number]]));
                }
            }
        }
        if unknown {
            taken.extend(self.star_imports(chosen));
        }
        self.joined(chosen, &roots, &taken)
    }

    /// Other pieces, in the order in which they are asked for a name: backwards from the chosen one, then what follows it.
    fn others(&self, chosen: usize) -> impl Iterator<Item = usize> {
        let itself = self.pieces[chosen].session.then_some(chosen);
        let all = itself
            .into_iter()
            .chain((0..chosen).rev())
            .chain(chosen + 1..self.pieces.len());
        all.filter(move |&at| {
            self.modules[at].parses && (self.pieces[chosen].thought || !self.pieces[at].thought)
        })
    }

    /// All statements that bind `name` in the first of the other pieces that has any.
    fn definitions(&self, chosen: usize, name: &str) -> Vec<(usize, usize)> {
        let of = |at: usize| -> Vec<(usize, usize)> {
            let numbered = self.modules[at].statements.iter().enumerate();
            let binding = numbered.filter(|(_, s)| s.binds.iter().any(|bound| bound == name));
            binding.map(|(number, _)| (at, number)).collect()
        };
        self.others(chosen)
            .map(of)
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    fn star_imports(&self, chosen: usize) -> Vec<(usize, usize)> {
        let of = |at: usize| {
            let numbered = self.modules[at].statements.iter().enumerate();
            let stars = numbered.filter(|(_, s)| {
                s.kind == "import_from_statement" && s.text.trim_end().ends_with('*')
            });
            stars.map(move |(number, _)| (at, number))
        };
        self.others(chosen)
            .filter(|&at| at != chosen)
            .flat_map(of)
            .collect()
    }

    fn joined(
        &self,
        chosen: usize,
        roots: &[&Statement],
        taken: &BTreeSet<(usize, usize)>,
    ) -> String {
        let piece = &self.pieces[chosen];
        if taken.is_empty() && !piece.session {
            return piece.code.clone();
        }
        let is_future = |s: &&Statement| s.kind == "future_import_statement";
        let sources: BTreeSet<usize> = taken.iter().map(|&(at, _)| at).chain([chosen]).collect();
        let futures: BTreeSet<&str> = sources
            .iter()
            .flat_map(|&at| self.modules[at].statements.iter().filter(is_future))
            .map(|statement| statement.text.as_str())
            .collect();
        let mut parts: Vec<&str> = futures.into_iter().collect();
        let is_root =
            |statement: &Statement| roots.iter().any(|root| root.start == statement.start);
        for &(at, number) in taken {
            let statement = &self.modules[at].statements[number];
            if !(at == chosen && is_root(statement) || is_future(&statement)) {
                parts.push(&statement.text);
            }
        }
        let mut code = String::new();
        for part in parts {
            code += part;
            code.push('\n');
        }
        if piece.session {
            for root in roots.iter().filter(|root| !is_future(root)) {
                code += &root.text;
                code.push('\n');
            }
            return code;
        }
        let mut from = 0;
        for future in roots.iter().filter(|s| is_future(s)) {
            code += &piece.code[from..future.start];
            from = future.start + future.text.len();
        }
        code + &piece.code[from..]
    }
}

fn bound<'a>(statements: &[&'a Statement]) -> impl Iterator<Item = &'a str> {
    let all = statements.iter().flat_map(|statement| &statement.binds);
    all.map(String::as_str).collect::<Vec<_>>().into_iter()
}

fn needed<'a>(statements: &[&'a Statement]) -> impl Iterator<Item = &'a str> {
    let all = statements.iter().flat_map(|s| &s.names.needs);
    all.map(String::as_str).collect::<Vec<_>>().into_iter()
}

/// Names that need no definition. Exceptions are told by their endings.
fn is_builtin(name: &str) -> bool {
    const NAMES: &str = "abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod compile \
        complex delattr dict dir divmod enumerate eval exec filter float format frozenset getattr globals hasattr hash help \
        hex id input int isinstance issubclass iter len list locals map max memoryview min next object oct open ord pow print \
        property range repr reversed round set setattr slice sorted staticmethod str sum super tuple type vars zip Ellipsis \
        NotImplemented StopIteration StopAsyncIteration KeyboardInterrupt SystemExit GeneratorExit BaseException Exception \
        self cls";
    name.starts_with("__")
        || ["Error", "Exception", "Warning"]
            .iter()
            .any(|end| name.ends_with(end))
        || NAMES.split_whitespace().any(|known| known == name)
}
