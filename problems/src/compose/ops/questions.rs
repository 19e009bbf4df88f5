//! Yes-or-no questions about one integer.

use crate::compose::op::{Area, Domain, Kind, Op, PLAIN, Param, fact::*};

const ASK: Op = Op {
    gives: Some(Kind::Bool),
    area: Area::Number,
    takes: &[Kind::Int],
    clears: !0,
    ..PLAIN
};

pub(super) const OPS: &[Op] = &[
    Op {
        kind: "is_prime",
        weight: 5,
        needs: SMALL | NONNEG,
        bars: SCALED | PARITY | DIGIT,
        word: "prime | is_prime",
        canon: "is_prime",
        asks: "check whether a number is prime | return True if a number is prime",
        says: "whether the number is prime | whether it is prime | check whether it is a prime",
        held: "whether it is a prime number | whether the number is a prime",
        nouns: "whether {x} is prime",
        why: "any divisor from 2 up spoils it | trial division tells it | a prime has no divisor but 1 and itself",
        note: "0 and 1 are not prime",
        step: "prime?",
        arrow: "{v} > 1, no d from 2 divides {v}",
        expr: "{v} > 1 and all({v} % d for d in range(2, {v}))",
        ..ASK
    },
    Op {
        kind: "is_even",
        weight: 4,
        bars: PARITY,
        word: "is_even | parity",
        canon: "is_even",
        asks: "check whether a number is even | return True if a number is even",
        says: "whether the number is even | whether it is even | check whether it is even",
        held: "whether it is an even number | whether 2 divides it",
        nouns: "whether {x} is even",
        why: "the remainder by 2 tells it | even means no remainder by 2 | only parity matters",
        step: "even?",
        arrow: "{v} even",
        expr: "{v} % 2 == 0",
        domain: Domain::Signed(1_000_000),
        ..ASK
    },
    Op {
        kind: "is_odd",
        weight: 3,
        bars: PARITY,
        word: "is_odd",
        canon: "is_odd",
        asks: "check whether a number is odd",
        says: "whether it is odd | whether the number is odd | check whether the number is odd",
        held: "whether it is an odd number | whether the number is not even",
        nouns: "whether {x} is odd",
        why: "a remainder of 1 by 2 tells it | odd means one is left over | only parity matters",
        step: "odd?",
        arrow: "{v} odd",
        expr: "{v} % 2 == 1",
        domain: Domain::Signed(1_000_000),
        ..ASK
    },
    Op {
        kind: "is_multiple",
        weight: 4,
        params: &[Param::Int(3, 9)],
        bars: SCALED | PARITY | DIGIT,
        word: "divisible",
        canon: "is_multiple | is_divisible",
        asks: "check whether a number is divisible by {k}",
        says: "whether the number is divisible by {k} | whether it is a multiple of {k} | check whether {k} divides it",
        held: "check whether it is divisible by {k} | whether the number is a multiple of {k}",
        nouns: "whether {x} is divisible by {k}",
        why: "{k} must leave no remainder | the remainder by {k} tells it | zero is a multiple of {k} as well",
        step: "multiple of {k}?",
        arrow: "{k} divides {v}",
        expr: "{v} % {k} == 0",
        ..ASK
    },
    Op {
        kind: "exceeds",
        weight: 3,
        params: &[Param::Int(2, 8)],
        bars: DIGIT,
        word: "exceeds | over",
        canon: "exceeds | is_greater",
        asks: "check whether a number is greater than {k}",
        says: "whether the number is greater than {k} | whether it is above {k} | check whether it exceeds {k}",
        held: "check whether it is greater than {k} | whether the number is above {k}",
        nouns: "whether {x} is greater than {k}",
        why: "{k} itself is not enough | a comparison with {k} tells it | only more than {k} counts",
        step: "above {k}?",
        arrow: "{v} > {k}",
        expr: "{v} > {k}",
        domain: Domain::UpTo(100),
        ..ASK
    },
];
