//! The vocabulary of operations: what an [`Op`] is, and the facts by which a plan stays natural.
//!
//! Texts of an operation are templates. In all of them `{k}` and `{j}` are its parameters and `{e}` is
//! what it gives for empty input. In wording, `{n}` and `{one}` are what the sequence holds, plural and
//! singular (numbers, number), and `{c}` its container (list); in noun phrases `{x}` is the phrase for
//! what the operation works on, `{in}` the same with its preposition. In code, pseudocode and steps,
//! `{v}` is the variable and `{u}` a second parameter of the function. ` | ` parts alternatives.

/// The type of a value between two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `list[int]`
    Ints,
    /// `list[str]`
    Words,
    /// `str`
    Text,
    /// `int`
    Int,
    /// `bool`
    Bool,
    /// `dict[int, int]`
    IntCounts,
    /// `dict[str, int]`
    Counts,
    /// `dict[str, list[int]]`
    Groups,
    /// `dict[int, list[str]]`
    ByLength,
    /// `list[list[int]]`
    Rows,
    /// Two arguments, `list[int]` and `list[int]`.
    TwoLists,
    /// Two arguments, `int` and `int`.
    TwoInts,
    /// Two arguments, `list[int]` and `int`.
    ListAndInt,
    /// Two arguments, `str` and `str`.
    TwoTexts,
}

impl Kind {
    /// The annotation of each argument; a result has one.
    pub(super) fn annotations(self) -> &'static [&'static str] {
        match self {
            Kind::Ints => &["list[int]"],
            Kind::Words => &["list[str]"],
            Kind::Text => &["str"],
            Kind::Int => &["int"],
            Kind::Bool => &["bool"],
            Kind::IntCounts => &["dict[int, int]"],
            Kind::Counts => &["dict[str, int]"],
            Kind::Groups => &["dict[str, list[int]]"],
            Kind::ByLength => &["dict[int, list[str]]"],
            Kind::Rows => &["list[list[int]]"],
            Kind::TwoLists => &["list[int]", "list[int]"],
            Kind::TwoInts => &["int", "int"],
            Kind::ListAndInt => &["list[int]", "int"],
            Kind::TwoTexts => &["str", "str"],
        }
    }

    /// The literal of the empty value, where the kind has one.
    pub(super) fn empty(self) -> Option<&'static str> {
        match self {
            Kind::Ints | Kind::Words | Kind::Rows => Some("[]"),
            Kind::Text => Some("''"),
            Kind::IntCounts | Kind::Counts | Kind::Groups | Kind::ByLength => Some("{}"),
            _ => None,
        }
    }
}

/// The part an operation plays in a pipeline; remarks about order depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Area {
    /// Keeps some elements.
    Filter,
    /// Changes each element.
    Map,
    /// Makes one value of many.
    Fold,
    /// Sorts.
    Sort,
    /// Takes elements by position, or turns the order round.
    Slice,
    /// Combines neighbours.
    Window,
    /// Makes a dictionary.
    Group,
    /// Changes a text as a whole, or makes one.
    Text,
    /// Works on one number.
    Number,
    /// Merges several arguments.
    Merge,
}

/// Where in a pipeline an operation may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Wherever its types and facts fit.
    Anywhere,
    /// At the start, as it makes sense of the input.
    Start,
    /// Alone: a classic of its own.
    Alone,
}

/// What a parameter is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    /// An integer, both ends included.
    Int(i64, i64),
    /// A quoted letter of the given ones.
    Letter(&'static str),
}

/// Bounds of the input where they are not the default ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    /// The default of the kind: ints of a list within a million, a lone int from 0 to 10,000.
    Default,
    /// Ints from 0 (or -limit where signed) to the limit.
    UpTo(i64),
    /// Ints of either sign within the limit.
    Signed(i64),
}

/// Facts about the value between two operations, as bits. An operation refuses a value of which any of
/// its `bars` holds, and one of which any of its `needs` does not.
pub(super) mod fact {
    /// The order was just set; an operation that ignores order would waste it.
    pub(crate) const ORDER: u32 = 1;
    /// The elements just changed; an operation that only counts would waste it.
    pub(crate) const VALUE: u32 = 1 << 1;
    /// Elements were taken by position.
    pub(crate) const SLICED: u32 = 1 << 2;
    /// Something is known of parity or divisibility.
    pub(crate) const PARITY: u32 = 1 << 3;
    /// Something is known of the sign.
    pub(crate) const SIGN: u32 = 1 << 4;
    /// Something is known of the size of elements.
    pub(crate) const BOUND: u32 = 1 << 5;
    /// No element occurs twice.
    pub(crate) const UNIQUE: u32 = 1 << 6;
    /// Sorted, whatever was done since without disturbing it.
    pub(crate) const SORTED: u32 = 1 << 7;
    /// Upper or lower case was just set.
    pub(crate) const CASE: u32 = 1 << 8;
    /// Ints of one digit.
    pub(crate) const DIGIT: u32 = 1 << 9;
    /// Known by first, last or contained letter.
    pub(crate) const LETTER: u32 = 1 << 10;
    /// Holds letters only, or lost some sort of characters.
    pub(crate) const STRIPPED: u32 = 1 << 11;
    /// Neighbours were combined.
    pub(crate) const WINDOWED: u32 = 1 << 12;
    /// Characters were turned round or rearranged.
    pub(crate) const TURNED: u32 = 1 << 13;
    /// Scaled or shifted by a number.
    pub(crate) const SCALED: u32 = 1 << 14;
    /// Made of the words of one text, and joinable again.
    pub(crate) const SPLIT: u32 = 1 << 15;
    /// No int is below zero.
    pub(crate) const NONNEG: u32 = 1 << 16;
    /// No int is above some ten thousand.
    pub(crate) const SMALL: u32 = 1 << 17;
}

/// An operation: how it is asked for, reasoned about, written and checked.
#[derive(Debug)]
pub(super) struct Op {
    /// Its key in compositions: `keep_even`.
    pub kind: &'static str,
    pub area: Area,
    /// The kinds it accepts.
    pub takes: &'static [Kind],
    /// The kind it gives; the one it took where `None`.
    pub gives: Option<Kind>,
    pub params: &'static [Param],
    pub domain: Domain,
    /// How often it is drawn next to the others.
    pub weight: usize,
    /// Where it may stand.
    pub place: Place,
    pub needs: u32,
    pub bars: u32,
    pub adds: u32,
    pub clears: u32,
    /// Kinds of the operations that together do the same.
    pub equals: &'static str,
    /// Words for composed function names.
    pub word: &'static str,
    /// Function names people give to it alone; the first is the one to choose when none is given.
    pub canon: &'static str,
    /// Imperative phrases for it alone, which name the input.
    pub asks: &'static str,
    /// Imperative phrases, or noun phrases that begin with an article, `whether` or `how many`.
    pub says: &'static str,
    /// Like `says`, kept for the pool of unseen wordings: exactly two.
    pub held: &'static str,
    /// Noun phrases over `{x}` or `{in}`.
    pub nouns: &'static str,
    /// Main clauses of the informal stage.
    pub why: &'static str,
    /// Remarks of the informal stage.
    pub note: &'static str,
    /// The numbered step.
    pub step: &'static str,
    /// The right-hand side of the arrow.
    pub arrow: &'static str,
    /// What holds after it; empty where there is nothing worth saying.
    pub holds: &'static str,
    /// What it gives for empty input: a literal, `=` for the empty value of its kind, or nothing known.
    pub on_empty: &'static str,
    /// The literals `{e}` is drawn from; `None` only where no operation follows.
    pub choice: &'static str,
    /// Lines before the expression.
    pub lines: &'static [&'static str],
    /// The expression.
    pub expr: &'static str,
}

/// What an operation is where its table says nothing.
pub(super) const PLAIN: Op = Op {
    kind: "",
    area: Area::Map,
    takes: &[],
    gives: None,
    params: &[],
    domain: Domain::Default,
    weight: 4,
    place: Place::Anywhere,
    needs: 0,
    bars: 0,
    adds: 0,
    clears: 0,
    equals: "",
    word: "",
    canon: "",
    asks: "",
    says: "",
    held: "",
    nouns: "",
    why: "",
    note: "",
    step: "",
    arrow: "",
    holds: "",
    on_empty: "",
    choice: "",
    lines: &[],
    expr: "",
};
