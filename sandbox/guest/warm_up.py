"""What candidates commonly do, run again and again before the snapshot is taken, so that it holds the caches that this
fills: bytecode specialised to the types it meets, methods found, classes checked against abstract ones."""

import bisect
import collections
import copy
import functools
import heapq
import itertools
import json
import math
import operator
import re
import string
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from functools import cache, lru_cache, reduce
from heapq import heapify, heappop, heappush
from itertools import accumulate, combinations, permutations, product
from math import ceil, floor, gcd, inf, sqrt
from typing import Any, Dict, List, Optional, Set, Tuple, Union

MOD = 10**9 + 7
Point = namedtuple("Point", "x y")


class Node:
    count = 0

    def __init__(self, value=0, left=None, right=None):
        self.value, self.left, self.right = value, left, right
        Node.count += 1

    def get(self, more=1, *rest, **named):
        return self.value + more

    @property
    def size(self):
        return 1 + (self.left.size if self.left else 0)

    @staticmethod
    def make(value):
        return Node(value)

    @classmethod
    def other(cls, value):
        return cls(value)

    def __repr__(self):
        return f"Node({self.value!r})"

    def __eq__(self, other):
        return isinstance(other, Node) and self.value == other.value

    def __lt__(self, other):
        return self.value < other.value

    def __hash__(self):
        return hash(self.value)


class Leaf(Node):
    def __init__(self, value):
        super().__init__(value)
        self.items = []

    def push(self, item):
        self.items.append(item)

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        return iter(self.items)

    def __getitem__(self, at):
        return self.items[at]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


@lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def primes(limit):
    sieve = [True] * (limit + 1)
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            for multiple in range(n * n, limit + 1, n):
                sieve[multiple] = False
    return [n for n in range(2, limit + 1) if sieve[n]]


def evens(items):
    for item in items:
        if item % 2 == 0:
            yield item


def graph(n: int) -> Dict[int, int]:
    edges = defaultdict(list)
    for i in range(n):
        edges[i].append(((i * 7 + 1) % n, i % 5 + 1))
    distance, heap, seen = {0: 0}, [(0, 0)], set()
    while heap:
        d, at = heappop(heap)
        if at in seen:
            continue
        seen.add(at)
        for to, cost in edges[at]:
            if d + cost < distance.get(to, inf):
                distance[to] = d + cost
                heapq.heappush(heap, (d + cost, to))
    return distance


def search(grid):
    queue, seen = deque([(0, 0)]), {(0, 0)}
    while queue:
        r, c = queue.popleft()
        for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            a, b = r + dr, c + dc
            if 0 <= a < len(grid) and 0 <= b < len(grid[0]) and (a, b) not in seen and not grid[a][b]:
                seen.add((a, b))
                queue.append((a, b))
    return len(seen)


def words(text):
    parts = text.lower().strip().split()
    counts = Counter(parts)
    counts.update(word for word in parts)
    letters = Counter(text) + Counter(list("abc")) - Counter({"a": 1})
    groups = defaultdict(set)
    for word in parts:
        groups["".join(sorted(word))].add(word)
    best = max(counts, key=counts.get), min(counts.values()), counts.most_common(2), sum(letters.values())
    return best, " ".join(parts[::-1]).title(), text.replace("a", "b").count("b"), text.find("c"), text.isalpha()


def numbers(items):
    total, product_ = 0, 1
    for at, item in enumerate(items):
        total += item
        product_ = product_ * item % MOD
        if item > 2 and not at or item == 0:
            continue
        elif at > 5:
            break
    else:
        total -= 1
    while total > 3:
        total, rest = divmod(total, 2)
    average = sum(items) / len(items)
    return total, product_, round(average, 2), max(items), min(items), abs(-2), pow(2, 5, 7), -7 // 2, 2**0.5, average**2


def table(n):
    rows = [[0] * (n + 1) for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, n + 1):
            rows[i][j] = rows[i - 1][j - 1] + 1 if i == j else max(rows[i - 1][j], rows[i][j - 1])
    return rows[-1][-1], list(zip(*rows))[0], [list(row) for row in rows][0]


def errors(items):
    caught = []
    for item in (lambda: items["x"], lambda: items[99], lambda: {}["k"], lambda: int("x"), lambda: 1 // 0, lambda: None.x):
        try:
            item()
        except (KeyError, IndexError) as error:
            caught.append(type(error).__name__)
        except Exception as error:
            caught.append(str(error))
        finally:
            caught.append(len(caught))
    try:
        raise ValueError("no")
    except ValueError:
        pass
    return caught


def shapes(thing):
    match thing:
        case []:
            return "none"
        case [first, *rest]:
            return f"{first} {len(rest):>3} {1.5:.2f} {first!r:<5}|{255:08b}|{1e6:,.1f}"
        case {"a": value}:
            return value
        case _:
            return "%s %d %.3f" % (thing, 3, 2.5) + "{} {:d}".format(thing, 4)


def close(f, *args, **named):
    @functools.wraps(f)
    def inner(*more):
        nonlocal args
        args += more
        return f(*args)

    return inner


def solve(items=(3, 1, 2), text="the cat saw the act"):
    """Called with lists, as candidates are."""
    leaf = Leaf(1)
    with leaf as same:
        for item in items:
            same.push(item)
    nodes = sorted([Node(item) for item in leaf], reverse=True)
    heap = list(items)
    heapify(heap)
    stack = [1, 2]
    stack.append(stack.pop() + 1)
    stack.extend(heap)
    stack.insert(0, 5)
    stack.remove(5)
    stack.sort(key=lambda item: (-item, str(item)))
    ordered = OrderedDict(a=1)
    ordered.move_to_end("a")
    left, right = {1, 2, 3}, set(items)
    (first, *middle, last), swapped = [1, 2, 3, 4], (2, 1)
    print(first, *middle, last, sep=",", end="\n")
    isinstance(items, collections.abc.Iterable), isinstance({}, collections.abc.Mapping), callable(fib)
    found = re.findall(r"[a-z]+", text), re.sub(r"\s+", " ", text), bool(re.match(r"\d+$", "12"))
    low, high = 0, len(stack) - 1
    while low <= high:
        middle_ = (low + high) // 2
        if stack[middle_] < 2:
            high = middle_ - 1
        else:
            low = middle_ + 1
    return [
        fib(10), primes(30), list(evens(range(9))), graph(12), search([[0, 0], [1, 0]]), words(text), numbers(list(items)),
        table(3), errors(list(items)), shapes([]), shapes(list(items)), shapes({"a": 1}), shapes(3), close(max, 1)(2),
        nodes[0].get(2), nodes[0].size, Node.make(1) == Node.other(1), repr(nodes[-1]), len(leaf), leaf[0], heap, stack,
        dict(ordered), left & right, left | right, left - right, left ^ {9}, frozenset(left), swapped, found,
        [x * y for x in range(3) for y in range(3) if x != y], {x: x * x for x in range(3)}, {x % 2 for x in range(5)},
        sum(x for x in range(5)), any(x > 2 for x in items), all(items), list(map(str, items)), list(filter(None, items)),
        list(reversed(items)), list(zip(items, text)), list(enumerate("ab")), list(range(5, 0, -2)), text[::-1], text[1:-1],
        list(permutations(items))[0], list(combinations(items, 2)), list(product("ab", repeat=2))[1], list(accumulate(items)),
        reduce(operator.mul, items), list(itertools.chain(items, [4])), [len(list(g)) for _, g in itertools.groupby("aab")],
        bisect.bisect_left([1, 3], 2), bisect.insort(stack, 2), gcd(4, 6), math.lcm(4, 6), sqrt(4), floor(1.5), ceil(1.5),
        math.isclose(0.1 + 0.2, 0.3), math.comb(5, 2), math.factorial(5), copy.deepcopy([[1]]), json.loads(json.dumps({"a": [1]})),
        string.ascii_lowercase.index("c"), ord("a") + 1, chr(98), int("12"), float("1.5"), str(1.5), bool([]), bin(5), hex(255),
        int("101", 2), "a,b".split(","), "ab".join("xy"), "abc".startswith("a"), "12".isdigit(), "x".rjust(3, "0"), "7".zfill(3),
        list("abc"), tuple(items), Point(1, 2).x, Point(1, 2)._replace(x=3), isinstance(1, (int, str)), type(1) is int, 1 if items else 2,
        b"x", -(10**30), 1 << 40, 7 & 3 | 8 ^ 1, ~5, 0.1 + 1, True + 1, None, [*items, 0], {**{"a": 1}, "b": 2}, sys.maxsize > 0,
        heapq.nlargest(2, items), heapq.nsmallest(1, items), sorted("bca"), sorted({"b": 1, "a": 2}.items(), key=lambda pair: pair[1]),
        max(items, key=lambda item: -item), min([[1], [0]]), (n := 5) + n, hash("a") == hash("a"), id(items) > 0, round(2.5),
    ][:-1]


if __name__ == "__main__":
    limit = 5
    print(sum(range(limit)), solve()[0])
    for number in range(limit):
        print(number, "even" if number % 2 == 0 else "odd")
