//! Which piece is the program.

use crate::assemble::Program;
use crate::python::{Module, Python, Strength};
use crate::{Origin, Piece, Wanted};

/// The program that is wanted among the pieces, with what it needs of others.
pub(crate) fn choose(python: &Python, pieces: &[Piece], wanted: Wanted) -> Option<String> {
    let modules: Vec<Module> = pieces.iter().map(|p| python.module(&p.code)).collect();
    let program = Program::new(pieces, &modules);
    let last = |rank: &dyn Fn(usize) -> Option<usize>| {
        let ranked = (0..pieces.len()).filter_map(|at| Some((at, rank(at)?)));
        ranked.max_by_key(|&(at, rank)| (!pieces[at].thought, rank, pieces[at].origin, at))
    };
    if let Wanted::EntryPoint(name) = wanted {
        let defines = |at: usize| {
            let strength = modules[at].strength(name, &pieces[at].code)?;
            Some(strength as usize)
        };
        if let Some((at, _)) = last(&defines) {
            return Some(program.with_needs(at, Some(name)));
        }
    }
    // A name that nothing defines: still the program, so that its verdict says what is missing.
    let function = |at: usize| {
        let module = &modules[at];
        if !module.parses {
            let defines = pieces[at].code.lines().any(|line| line.starts_with("def "));
            return defines.then_some(Strength::Broken as usize);
        }
        let own = module.statements.iter().any(|s| s.is_own_definition());
        own.then_some(Strength::Strong as usize)
    };
    if wanted != Wanted::Script
        && let Some((at, _)) = last(&function)
    {
        return Some(program.with_needs(at, None));
    }
    let script = |at: usize| {
        let rank = script_rank(python, &program.with_needs(at, None));
        (rank > 0).then_some(rank)
    };
    if let Some((at, _)) = last(&script) {
        return Some(program.with_needs(at, None));
    }
    let fenced = |at: usize| (pieces[at].origin == Origin::Fenced).then_some(0);
    last(&fenced).map(|(at, _)| pieces[at].code.clone())
}

/// How much a program looks like a script: one that reads input and acts, one that acts, one that defines, one that has
/// statements at all; 0 for none.
fn script_rank(python: &Python, code: &str) -> usize {
    let module = python.module(code);
    let statements = &module.statements;
    let reads = ["input", "sys", "open", "fileinput"];
    let reads = statements.iter().any(|s| {
        let named = reads.iter().any(|name| s.names.needs.contains(*name));
        named
            && ["input(", "stdin", "open(0", "fileinput"]
                .iter()
                .any(|part| s.text.contains(part))
    });
    let acts =
        statements.iter().any(|s| s.acts()) || reads && statements.iter().any(|s| !s.is_function);
    if !module.parses {
        return usize::from(code.contains("def ") || code.contains('='));
    }
    match () {
        () if reads && acts => 5,
        () if acts => 4,
        () if statements.iter().any(|s| s.is_own_definition()) => 3,
        () if statements.iter().any(|s| s.is_statement()) => 2,
        () => 0,
    }
}
