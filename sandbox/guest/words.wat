;; What CPython computes in words of the machine, in words of 64 bits.
;;
;; The interpreter is compiled for 32 bits. Programs see that width in hashes (and through them in the order of sets), in
;; lengths, and wherever a number must fit an index. These functions stand in for CPython's own (src/runtime/words.rs puts
;; them there): hashes are computed as 64-bit CPython does, and the lowest 32 bits of them are what its tables hold, so that
;; they place values as they would there; a number that fits 64 bits is, as an index, at least the end of everything.
;;
;; Imports: "function" is a function of CPython by its name, as it is without this module; "slot" its place in the table;
;; "data" the address of an object. Exports: "replace:F" is called in place of F everywhere; "within:G:F" in place of F by
;; the function G alone; the others are exports of the whole module.
;;
;; Offsets of CPython 3.14 on 32 bits: an object's type lies at 4; of a type tp_hash at 60 and tp_flags at 84; of an int
;; its tag at 8 (digits << 3, sign 0, 1 for zero, 2 for negative) and digits of 30 bits from 12; of a tuple its size at 8,
;; the hash it remembers at 12, items from 16; of a set fill 8, used 12, mask 16, table 20, hash 24, finger 28, and an
;; entry is a key and its hash.
(module
  (type $hash (func (param i32) (result i32)))
  (import "env" "memory" (memory 0))
  (import "env" "__indirect_function_table" (table 0 funcref))
  (import "env" "__stack_pointer" (global $stack (mut i32)))

  (import "function" "PyErr_Clear" (func $PyErr_Clear))
  (import "function" "PyErr_ExceptionMatches" (func $PyErr_ExceptionMatches (param i32) (result i32)))
  (import "function" "PyErr_NoMemory" (func $PyErr_NoMemory (result i32)))
  (import "function" "PyErr_Occurred" (func $PyErr_Occurred (result i32)))
  (import "function" "PyFrozenSet_New" (func $PyFrozenSet_New (param i32) (result i32)))
  (import "function" "PyImport_ImportModule" (func $PyImport_ImportModule (param i32) (result i32)))
  (import "function" "PyLong_AsSsize_t" (func $PyLong_AsSsize_t (param i32) (result i32)))
  (import "function" "PyLong_FromLongLong" (func $PyLong_FromLongLong (param i64) (result i32)))
  (import "function" "PyLong_FromSsize_t" (func $PyLong_FromSsize_t (param i32) (result i32)))
  (import "function" "PyNumber_AsSsize_t" (func $PyNumber_AsSsize_t (param i32 i32) (result i32)))
  (import "function" "PyObject_CallOneArg" (func $PyObject_CallOneArg (param i32 i32) (result i32)))
  (import "function" "PyObject_GetAttrString" (func $PyObject_GetAttrString (param i32 i32) (result i32)))
  (import "function" "PyObject_Hash" (func $PyObject_Hash (param i32) (result i32)))
  (import "function" "PyObject_Size" (func $PyObject_Size (param i32) (result i32)))
  (import "function" "PyObject_Vectorcall" (func $PyObject_Vectorcall (param i32 i32 i32 i32) (result i32)))
  (import "function" "PySet_Discard" (func $PySet_Discard (param i32 i32) (result i32)))
  (import "function" "PyType_IsSubtype" (func $PyType_IsSubtype (param i32 i32) (result i32)))
  (import "function" "Py_DecRef" (func $Py_DecRef (param i32)))
  (import "function" "Py_HashPointer" (func $Py_HashPointer (param i32) (result i32)))
  (import "function" "_PyErr_SetKeyError" (func $_PyErr_SetKeyError (param i32)))
  (import "function" "_PySet_NextEntry" (func $_PySet_NextEntry (param i32 i32 i32 i32) (result i32)))
  (import "function" "_PySet_NextEntryRef" (func $_PySet_NextEntryRef (param i32 i32 i32 i32) (result i32)))
  (import "function" "_bisect_bisect_left" (func $_bisect_bisect_left (param i32 i32 i32 i32) (result i32)))
  (import "function" "_bisect_bisect_right" (func $_bisect_bisect_right (param i32 i32 i32 i32) (result i32)))
  (import "function" "set_contains_lock_held" (func $set_contains_lock_held (param i32 i32) (result i32)))
  (import "function" "set_discard" (func $set_discard (param i32 i32) (result i32)))
  (import "function" "set_pop" (func $set_pop (param i32 i32) (result i32)))
  (import "function" "set_repr" (func $set_repr (param i32) (result i32)))
  (import "function" "set_remove" (func $set_remove (param i32 i32) (result i32)))
  (import "function" "setiter_iternext" (func $setiter_iternext (param i32) (result i32)))
  (import "function" "typecode_to_mformat_code" (func $typecode_to_mformat_code (param i32) (result i32)))
  (import "function" "wrap_hashfunc" (func $wrap_hashfunc (param i32 i32 i32) (result i32)))

  (import "slot" "PyObject_HashNotImplemented" (global $not_hashable i32))
  (import "slot" "bytes_hash" (global $bytes_hash i32))
  (import "slot" "complex_hash" (global $complex_hash i32))
  (import "slot" "dec_hash" (global $dec_hash i32))
  (import "slot" "float_hash" (global $float_hash i32))
  (import "slot" "frozenset_hash" (global $frozenset_hash i32))
  (import "slot" "long_hash" (global $long_hash i32))
  (import "slot" "slot_tp_hash" (global $slot_tp_hash i32))
  (import "slot" "tuple_hash" (global $tuple_hash i32))
  (import "slot" "unicode_hash" (global $unicode_hash i32))

  (import "data" "PyExc_OverflowError" (global $PyExc_OverflowError i32))
  (import "data" "PyRange_Type" (global $PyRange_Type i32))
  (import "data" "PySet_Type" (global $PySet_Type i32))

  ;; The hash that a class's own __hash__ gave last, which `hash64` reads back.
  (global $wide_low (mut i32) (i32.const 0))
  (global $wide_high (mut i32) (i32.const 0))
  ;; The length of the range that `size` was asked for last, while nobody has taken it.
  (global $long_length (mut i32) (i32.const 0))
  ;; Whether sets are walked from the end of their tables.
  (global $reversed (mut i32) (i32.const 0))

  ;; --- hashes: -1 is an error

  ;; What a table holds of a hash.
  (func $narrow (param $hash i64) (result i32)
    (local $low i32)
    (local.set $low (i32.wrap_i64 (local.get $hash)))
    (select (i32.const -2) (local.get $low) (i32.eq (local.get $low) (i32.const -1))))

  ;; The hash of a string, whose upper half follows from the lower: nothing tells it from 64 random bits.
  (func $spread (param $hash i32) (result i64)
    (local $bits i64)
    (if (i32.eq (local.get $hash) (i32.const -1)) (then (return (i64.const -1))))
    (local.set $bits (i64.extend_i32_u (local.get $hash)))
    (i64.or
      (local.get $bits)
      (i64.and
        (i64.mul (local.get $bits) (i64.const 0x9E3779B97F4A7C15))
        (i64.const 0xFFFFFFFF00000000))))

  (func $long64 (param $o i32) (result i64)
    (local $tag i32) (local $at i32) (local $x i64)
    (local.set $tag (i32.load offset=8 (local.get $o)))
    (if (i32.lt_u (local.get $tag) (i32.const 16))
      (then
        (local.set $x
          (i64.mul
            (i64.extend_i32_u (i32.load offset=12 (local.get $o)))
            (i64.extend_i32_s (i32.sub (i32.const 1) (i32.and (local.get $tag) (i32.const 3)))))))
      (else
        ;; The remainder by 2**61 - 1, a digit at a time from the highest.
        (local.set $at
          (i32.add (local.get $o) (i32.shl (i32.shr_u (local.get $tag) (i32.const 3)) (i32.const 2))))
        (loop $digits
          (local.set $x
            (i64.add
              (i64.or
                (i64.and (i64.shl (local.get $x) (i64.const 30)) (i64.const 0x1FFFFFFFFFFFFFFF))
                (i64.shr_u (local.get $x) (i64.const 31)))
              (i64.extend_i32_u (i32.load offset=8 (local.get $at)))))
          (if (i64.ge_u (local.get $x) (i64.const 0x1FFFFFFFFFFFFFFF))
            (then (local.set $x (i64.sub (local.get $x) (i64.const 0x1FFFFFFFFFFFFFFF)))))
          (local.set $at (i32.sub (local.get $at) (i32.const 4)))
          (br_if $digits (i32.gt_u (local.get $at) (local.get $o))))
        (if (i32.eq (i32.and (local.get $tag) (i32.const 3)) (i32.const 2))
          (then (local.set $x (i64.sub (i64.const 0) (local.get $x)))))))
    (select (i64.const -2) (local.get $x) (i64.eq (local.get $x) (i64.const -1))))

  (func $float64 (param $o i32) (param $value f64) (result i64)
    (local $bits i64) (local $exponent i32) (local $x i64) (local $turn i64)
    (local.set $bits (i64.reinterpret_f64 (local.get $value)))
    (local.set $exponent
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get $bits) (i64.const 52))) (i32.const 0x7FF)))
    (local.set $x (i64.and (local.get $bits) (i64.const 0xFFFFFFFFFFFFF)))
    (if (i32.eq (local.get $exponent) (i32.const 0x7FF))
      (then
        (if (i64.ne (local.get $x) (i64.const 0))
          (then (return (i64.extend_i32_u (call $Py_HashPointer (local.get $o))))))
        (return
          (select (i64.const -314159) (i64.const 314159) (i64.lt_s (local.get $bits) (i64.const 0))))))
    (if (local.get $exponent)
      (then (local.set $x (i64.or (local.get $x) (i64.const 0x10000000000000))))
      (else (local.set $exponent (i32.const 1))))
    ;; The value is x * 2**(exponent - 1075), and 2**61 is 1: turn x within 61 bits. 1098 is 18 * 61.
    (local.set $turn
      (i64.extend_i32_u
        (i32.rem_u (i32.add (local.get $exponent) (i32.const 23)) (i32.const 61))))
    (local.set $x
      (i64.or
        (i64.and (i64.shl (local.get $x) (local.get $turn)) (i64.const 0x1FFFFFFFFFFFFFFF))
        (i64.shr_u (local.get $x) (i64.sub (i64.const 61) (local.get $turn)))))
    (if (i64.lt_s (local.get $bits) (i64.const 0))
      (then (local.set $x (i64.sub (i64.const 0) (local.get $x)))))
    (select (i64.const -2) (local.get $x) (i64.eq (local.get $x) (i64.const -1))))

  (func $complex64 (param $o i32) (result i64)
    (local $x i64)
    (local.set $x
      (i64.add
        (call $float64 (local.get $o) (f64.load offset=8 (local.get $o)))
        (i64.mul
          (call $float64 (local.get $o) (f64.load offset=16 (local.get $o)))
          (i64.const 1000003))))
    (select (i64.const -2) (local.get $x) (i64.eq (local.get $x) (i64.const -1))))

  (func $tuple64 (param $o i32) (result i64)
    (local $left i32) (local $at i32) (local $sum i64) (local $lane i64)
    (local.set $left (i32.load offset=8 (local.get $o)))
    (local.set $at (i32.add (local.get $o) (i32.const 16)))
    (local.set $sum (i64.const 2870177450012600261))
    (block $end
      (loop $items
        (br_if $end (i32.eqz (local.get $left)))
        (local.set $lane (call $hash64 (i32.load (local.get $at))))
        (if (i64.eq (local.get $lane) (i64.const -1)) (then (return (i64.const -1))))
        (local.set $sum
          (i64.mul
            (i64.rotl
              (i64.add
                (local.get $sum)
                (i64.mul (local.get $lane) (i64.const 0xC2B2AE3D27D4EB4F)))
              (i64.const 31))
            (i64.const 0x9E3779B185EBCA87)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $items)))
    (local.set $sum
      (i64.add
        (local.get $sum)
        (i64.xor
          (i64.extend_i32_u (i32.load offset=8 (local.get $o)))
          (i64.xor (i64.const 2870177450012600261) (i64.const 3527539)))))
    (select (i64.const 1546275796) (local.get $sum) (i64.eq (local.get $sum) (i64.const -1))))

  (func $shuffle (param $x i64) (result i64)
    (i64.mul
      (i64.xor
        (i64.xor (local.get $x) (i64.const 89869747))
        (i64.shl (local.get $x) (i64.const 16)))
      (i64.const 3644798167)))

  (func $frozenset64 (param $o i32) (result i64)
    (local $at i32) (local $end i32) (local $x i64) (local $lane i64)
    (local.set $at (i32.load offset=20 (local.get $o)))
    (local.set $end
      (i32.add (local.get $at) (i32.shl (i32.load offset=16 (local.get $o)) (i32.const 3))))
    (loop $entries
      (if (i32.and
            (i32.ne (i32.load (local.get $at)) (i32.const 0))
            (i32.ne (i32.load offset=4 (local.get $at)) (i32.const -1)))
        (then
          (local.set $lane
            (call $entry64 (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))))
          (if (i64.eq (local.get $lane) (i64.const -1)) (then (return (i64.const -1))))
          (local.set $x (i64.xor (local.get $x) (call $shuffle (local.get $lane))))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $entries (i32.le_u (local.get $at) (local.get $end))))
    (local.set $x
      (i64.xor
        (local.get $x)
        (i64.mul
          (i64.extend_i32_u (i32.add (i32.load offset=12 (local.get $o)) (i32.const 1)))
          (i64.const 1927868237))))
    (local.set $x
      (i64.xor
        (local.get $x)
        (i64.xor
          (i64.shr_u (local.get $x) (i64.const 11))
          (i64.shr_u (local.get $x) (i64.const 25)))))
    (local.set $x
      (i64.add (i64.mul (local.get $x) (i64.const 69069)) (i64.const 907133923)))
    (select (i64.const 590923713) (local.get $x) (i64.eq (local.get $x) (i64.const -1))))

  ;; The hash of a set's element: as it is remembered where to compute it again would run the program's code.
  (func $entry64 (param $key i32) (param $hash i32) (result i64)
    (if (i32.eq
          (i32.load offset=60 (i32.load offset=4 (local.get $key)))
          (global.get $slot_tp_hash))
      (then (return (i64.extend_i32_s (local.get $hash)))))
    (call $hash64 (local.get $key)))

  (func $hash64 (param $o i32) (result i64)
    (call $hash64_by
      (i32.load offset=60 (i32.load offset=4 (local.get $o)))
      (local.get $o)))

  ;; The hash of an object by one of the functions that types have for it.
  (func $hash64_by (param $function i32) (param $o i32) (result i64)
    (local $hash i32) (local $wide i64)
    (if (i32.eq (local.get $function) (global.get $long_hash))
      (then (return (call $long64 (local.get $o)))))
    (if (i32.eq (local.get $function) (global.get $unicode_hash))
      (then (return (call $spread (call_indirect (type $hash) (local.get $o) (local.get $function))))))
    (if (i32.eq (local.get $function) (global.get $tuple_hash))
      (then (return (call $tuple64 (local.get $o)))))
    (if (i32.eq (local.get $function) (global.get $float_hash))
      (then (return (call $float64 (local.get $o) (f64.load offset=8 (local.get $o))))))
    (if (i32.eq (local.get $function) (global.get $frozenset_hash))
      (then (return (call $frozenset64 (local.get $o)))))
    (if (i32.eq (local.get $function) (global.get $complex_hash))
      (then (return (call $complex64 (local.get $o)))))
    (if (i32.eq (local.get $function) (global.get $bytes_hash))
      (then (return (call $spread (call_indirect (type $hash) (local.get $o) (local.get $function))))))
    (if (i32.or
          (i32.eq (local.get $function) (global.get $slot_tp_hash))
          (i32.eq (local.get $function) (global.get $dec_hash)))
      (then
        (local.set $hash (call_indirect (type $hash) (local.get $o) (local.get $function)))
        (local.set $wide
          (i64.or
            (i64.extend_i32_u (global.get $wide_low))
            (i64.shl (i64.extend_i32_u (global.get $wide_high)) (i64.const 32))))
        (if (i32.and
              (i32.ne (local.get $hash) (i32.const -1))
              (i32.eq (call $narrow (local.get $wide)) (local.get $hash)))
          (then (return (local.get $wide))))
        (return (i64.extend_i32_s (local.get $hash)))))
    ;; A type that is not ready yet has no function; PyObject_Hash sees to that.
    (local.set $hash
      (if (result i32) (local.get $function)
        (then (call_indirect (type $hash) (local.get $o) (local.get $function)))
        (else (call $PyObject_Hash (local.get $o)))))
    (if (result i64) (i32.eq (local.get $hash) (i32.const -1))
      (then (i64.const -1))
      (else (i64.extend_i32_u (local.get $hash)))))

  (func (export "replace:long_hash") (param $o i32) (result i32)
    (call $narrow (call $long64 (local.get $o))))

  (func (export "replace:_Py_HashDouble") (param $o i32) (param $value f64) (result i32)
    (call $narrow (call $float64 (local.get $o) (local.get $value))))

  (func (export "replace:complex_hash") (param $o i32) (result i32)
    (call $narrow (call $complex64 (local.get $o))))

  (func (export "replace:tuple_hash") (param $o i32) (result i32)
    (local $hash i32) (local $wide i64)
    (local.set $hash (i32.load offset=12 (local.get $o)))
    (if (i32.ne (local.get $hash) (i32.const -1)) (then (return (local.get $hash))))
    (local.set $wide (call $tuple64 (local.get $o)))
    (if (i64.eq (local.get $wide) (i64.const -1)) (then (return (i32.const -1))))
    (local.set $hash (call $narrow (local.get $wide)))
    (i32.store offset=12 (local.get $o) (local.get $hash))
    (local.get $hash))

  (func (export "replace:frozenset_hash") (param $o i32) (result i32)
    (local $hash i32) (local $wide i64)
    (local.set $hash (i32.load offset=24 (local.get $o)))
    (if (i32.ne (local.get $hash) (i32.const -1)) (then (return (local.get $hash))))
    (local.set $wide (call $frozenset64 (local.get $o)))
    (if (i64.eq (local.get $wide) (i64.const -1)) (then (return (i32.const -1))))
    (local.set $hash (call $narrow (local.get $wide)))
    (i32.store offset=24 (local.get $o) (local.get $hash))
    (local.get $hash))

  ;; A Decimal's hash, which must be that of the int or float it equals.
  (func (export "replace:dec_hash") (param $o i32) (result i32)
    (local $helper i32) (local $result i32) (local $hash i32)
    ;; "decimal_hash"
    (local.set $helper (call $helper (i64.const 0x5f6c616d69636564) (i64.const 0x68736168)))
    (if (i32.eqz (local.get $helper)) (then (return (i32.const -1))))
    (local.set $result (call $PyObject_CallOneArg (local.get $helper) (local.get $o)))
    (call $Py_DecRef (local.get $helper))
    (if (i32.eqz (local.get $result)) (then (return (i32.const -1))))
    (local.set $hash (call $own_hash (local.get $result)))
    (call $Py_DecRef (local.get $result))
    (select (i32.const -2) (local.get $hash) (i32.eq (local.get $hash) (i32.const -1))))

  ;; What a class's own __hash__ returned, an int, as a hash.
  (func $own_hash (export "within:slot_tp_hash:PyLong_AsSsize_t") (param $o i32) (result i32)
    (local $wide i64)
    (local.set $wide
      (if (result i64) (call $fits (local.get $o))
        (then (call $value (local.get $o)))
        (else (call $long64 (local.get $o)))))
    (if (i64.eq (local.get $wide) (i64.const -1)) (then (local.set $wide (i64.const -2))))
    (global.set $wide_low (i32.wrap_i64 (local.get $wide)))
    (global.set $wide_high (i32.wrap_i64 (i64.shr_u (local.get $wide) (i64.const 32))))
    (global.get $wide_low))

  ;; hash(o)
  (func (export "replace:builtin_hash") (param $module i32) (param $o i32) (result i32)
    (local $hash i64)
    (local.set $hash (call $hash64 (local.get $o)))
    (if (i64.eq (local.get $hash) (i64.const -1)) (then (return (i32.const 0))))
    (call $PyLong_FromLongLong (local.get $hash)))

  ;; o.__hash__()
  (func (export "replace:wrap_hashfunc") (param $o i32) (param $args i32) (param $function i32) (result i32)
    (local $result i32) (local $hash i64)
    (local.set $result (call $wrap_hashfunc (local.get $o) (local.get $args) (local.get $function)))
    (if (i32.eqz (local.get $result)) (then (return (i32.const 0))))
    (local.set $hash (call $hash64_by (local.get $function) (local.get $o)))
    (call $Py_DecRef (local.get $result))
    (if (i64.eq (local.get $hash) (i64.const -1)) (then (return (i32.const 0))))
    (call $PyLong_FromLongLong (local.get $hash)))

  ;; A set is looked for in a set of frozensets by the hash it would have.
  (func $as_frozenset (param $o i32) (result i32)
    (local $type i32)
    (local.set $type (i32.load offset=4 (local.get $o)))
    (if (i32.ne (i32.load offset=60 (local.get $type)) (global.get $not_hashable))
      (then (return (i32.const 0))))
    (if (i32.eqz (call $PyType_IsSubtype (local.get $type) (global.get $PySet_Type)))
      (then (return (i32.const 0))))
    (call $PyFrozenSet_New (local.get $o)))

  (func (export "replace:set_contains_lock_held") (param $set i32) (param $o i32) (result i32)
    (local $frozen i32) (local $found i32)
    (local.set $frozen (call $as_frozenset (local.get $o)))
    (if (i32.eqz (local.get $frozen))
      (then (return (call $set_contains_lock_held (local.get $set) (local.get $o)))))
    (local.set $found (call $set_contains_lock_held (local.get $set) (local.get $frozen)))
    (call $Py_DecRef (local.get $frozen))
    (local.get $found))

  (func (export "replace:set_discard") (param $set i32) (param $o i32) (result i32)
    (local $frozen i32) (local $result i32)
    (local.set $frozen (call $as_frozenset (local.get $o)))
    (if (i32.eqz (local.get $frozen))
      (then (return (call $set_discard (local.get $set) (local.get $o)))))
    (local.set $result (call $set_discard (local.get $set) (local.get $frozen)))
    (call $Py_DecRef (local.get $frozen))
    (local.get $result))

  (func (export "replace:set_remove") (param $set i32) (param $o i32) (result i32)
    (local $frozen i32) (local $result i32)
    (local.set $frozen (call $as_frozenset (local.get $o)))
    (if (i32.eqz (local.get $frozen))
      (then (return (call $set_remove (local.get $set) (local.get $o)))))
    (local.set $result (i32.const 0))
    (if (call $set_contains_lock_held (local.get $set) (local.get $frozen))
      (then
        (if (i32.eqz (call $PyErr_Occurred))
          (then (local.set $result (call $set_remove (local.get $set) (local.get $frozen))))))
      (else (call $_PyErr_SetKeyError (local.get $o))))
    (call $Py_DecRef (local.get $frozen))
    (local.get $result))

  ;; --- numbers as indices and lengths

  ;; Whether an int fits 64 bits.
  (func $fits (param $o i32) (result i32)
    (local $tag i32) (local $high i32)
    (local.set $tag (i32.load offset=8 (local.get $o)))
    (if (i32.lt_u (local.get $tag) (i32.const 24)) (then (return (i32.const 1))))
    (if (i32.ge_u (local.get $tag) (i32.const 32)) (then (return (i32.const 0))))
    (local.set $high (i32.load offset=20 (local.get $o)))
    (if (i32.lt_u (local.get $high) (i32.const 8)) (then (return (i32.const 1))))
    ;; -2**63
    (i32.and
      (i32.eq (local.get $tag) (i32.const 26))
      (i32.and
        (i32.eq (local.get $high) (i32.const 8))
        (i32.eqz
          (i32.or (i32.load offset=12 (local.get $o)) (i32.load offset=16 (local.get $o)))))))

  ;; The value of an int that fits 64 bits.
  (func $value (param $o i32) (result i64)
    (local $tag i32) (local $x i64)
    (local.set $tag (i32.load offset=8 (local.get $o)))
    (local.set $x (i64.extend_i32_u (i32.load offset=12 (local.get $o))))
    (if (i32.ge_u (local.get $tag) (i32.const 16))
      (then
        (local.set $x
          (i64.or
            (local.get $x)
            (i64.shl (i64.extend_i32_u (i32.load offset=16 (local.get $o))) (i64.const 30))))))
    (if (i32.ge_u (local.get $tag) (i32.const 24))
      (then
        (local.set $x
          (i64.or
            (local.get $x)
            (i64.shl (i64.extend_i32_u (i32.load offset=20 (local.get $o))) (i64.const 60))))))
    (i64.mul
      (local.get $x)
      (i64.extend_i32_s (i32.sub (i32.const 1) (i32.and (local.get $tag) (i32.const 3))))))

  ;; Where an int that fits 64 bits points: behind the end, or before the start, of all that there can be.
  (func $far (param $o i32) (result i32)
    (select
      (i32.const 0x80000000)
      (i32.const 0x7FFFFFFF)
      (i32.eq (i32.and (i32.load offset=8 (local.get $o)) (i32.const 3)) (i32.const 2))))

  (func (export "replace:PyNumber_AsSsize_t") (param $o i32) (param $error i32) (result i32)
    (local $index i32)
    (local.set $index (call $PyNumber_AsSsize_t (local.get $o) (local.get $error)))
    (if (i32.and
          (i32.eq (local.get $index) (i32.const -1))
          (i32.ne (local.get $error) (i32.const 0)))
      (then
        ;; An int, of whichever class, has no code of the program's own to raise the error.
        (if (i32.and
              (i32.load offset=84 (i32.load offset=4 (local.get $o)))
              (i32.const 0x1000000))
          (then
            (if (i32.ne (call $PyErr_Occurred) (i32.const 0))
              (then
                (if (call $fits (local.get $o))
                  (then
                    (call $PyErr_Clear)
                    (return (call $far (local.get $o)))))))))))
    (local.get $index))

  ;; What is repeated too often for a length of 32 bits is too much for the memory.
  (func
    (export "within:bytes_repeat:PyErr_SetString")
    (export "within:unicode_repeat:PyErr_SetString")
    (param $error i32) (param $text i32)
    (drop (call $PyErr_NoMemory)))

  ;; What a class's __len__ says must be a length that there can be.
  (func (export "within:slot_sq_length:PyNumber_AsSsize_t") (param $o i32) (param $error i32) (result i32)
    (call $PyNumber_AsSsize_t (local.get $o) (local.get $error)))

  (func $index
    (export "within:_bisect_bisect_left:PyLong_AsSsize_t")
    (export "within:_bisect_bisect_right:PyLong_AsSsize_t")
    (export "within:_bisect_insort_left:PyLong_AsSsize_t")
    (export "within:_bisect_insort_right:PyLong_AsSsize_t")
    (export "within:_csv_field_size_limit:PyLong_AsSsize_t")
    (export "within:_io_BytesIO_readlines:PyLong_AsSsize_t")
    (export "within:_io_StringIO_seek:PyLong_AsSsize_t")
    (export "within:_io_TextIOWrapper_readline:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_findall:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_finditer:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_fullmatch:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_match:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_scanner:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_search:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_split:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_sub:PyLong_AsSsize_t")
    (export "within:_sre_SRE_Pattern_subn:PyLong_AsSsize_t")
    (export "within:array_array_insert:PyLong_AsSsize_t")
    (export "within:array_array_pop:PyLong_AsSsize_t")
    (export "within:batched_new:PyLong_AsSsize_t")
    (export "within:bytearray_center:PyLong_AsSsize_t")
    (export "within:bytearray_insert:PyLong_AsSsize_t")
    (export "within:bytearray_ljust:PyLong_AsSsize_t")
    (export "within:bytearray_pop:PyLong_AsSsize_t")
    (export "within:bytearray_replace:PyLong_AsSsize_t")
    (export "within:bytearray_rjust:PyLong_AsSsize_t")
    (export "within:bytearray_rsplit:PyLong_AsSsize_t")
    (export "within:bytearray_split:PyLong_AsSsize_t")
    (export "within:bytearray_zfill:PyLong_AsSsize_t")
    (export "within:bytes_replace:PyLong_AsSsize_t")
    (export "within:bytes_rsplit:PyLong_AsSsize_t")
    (export "within:bytes_split:PyLong_AsSsize_t")
    (export "within:convertitem:PyLong_AsSsize_t")
    (export "within:deque_init:PyLong_AsSsize_t")
    (export "within:deque_insert:PyLong_AsSsize_t")
    (export "within:itertools_combinations:PyLong_AsSsize_t")
    (export "within:itertools_combinations_with_replacement:PyLong_AsSsize_t")
    (export "within:itertools_permutations:PyLong_AsSsize_t")
    (export "within:list_insert:PyLong_AsSsize_t")
    (export "within:list_pop:PyLong_AsSsize_t")
    (export "within:stringlib_center:PyLong_AsSsize_t")
    (export "within:stringlib_ljust:PyLong_AsSsize_t")
    (export "within:stringlib_rjust:PyLong_AsSsize_t")
    (export "within:stringlib_zfill:PyLong_AsSsize_t")
    (export "within:unicode_center:PyLong_AsSsize_t")
    (export "within:unicode_ljust:PyLong_AsSsize_t")
    (export "within:unicode_replace:PyLong_AsSsize_t")
    (export "within:unicode_rjust:PyLong_AsSsize_t")
    (export "within:unicode_rsplit:PyLong_AsSsize_t")
    (export "within:unicode_split:PyLong_AsSsize_t")
    (export "within:unicode_zfill:PyLong_AsSsize_t")
    (export "within:warnings_warn:PyLong_AsSsize_t")
    (param $o i32) (result i32)
    (local $index i32)
    (local.set $index (call $PyLong_AsSsize_t (local.get $o)))
    (if (i32.eq (local.get $index) (i32.const -1))
      (then
        (if (call $PyErr_Occurred)
          (then
            (if (call $fits (local.get $o))
              (then
                (call $PyErr_Clear)
                (return (call $far (local.get $o)))))))))
    (local.get $index))

  ;; The length of an object: of a range that is longer than a list could be, a number that no object has, and the length
  ;; itself waits for `length`.
  (func $size (export "within:_PyEval_EvalFrameDefault:PyObject_Size") (param $o i32) (result i32)
    (local $size i32) (local $count i32)
    (local.set $size (call $PyObject_Size (local.get $o)))
    (if (i32.ge_s (local.get $size) (i32.const 0)) (then (return (local.get $size))))
    (if (i32.ne (i32.load offset=4 (local.get $o)) (global.get $PyRange_Type))
      (then (return (local.get $size))))
    (if (i32.eqz (call $fits (i32.load offset=20 (local.get $o)))) (then (return (local.get $size))))
    (call $PyErr_Clear)
    (global.set $long_length (i32.load offset=20 (local.get $o)))
    (local.set $count (i32.load (global.get $long_length)))
    (if (i32.lt_u (local.get $count) (i32.const 0x3FFFFFFF))
      (then
        (i32.store (global.get $long_length) (i32.add (local.get $count) (i32.const 1)))))
    (i32.const 0x7FFFFFFF))

  (func $length (export "within:_PyEval_EvalFrameDefault:PyLong_FromSsize_t") (param $size i32) (result i32)
    (local $long i32)
    (if (i32.eq (local.get $size) (i32.const 0x7FFFFFFF))
      (then
        (local.set $long (global.get $long_length))
        (if (local.get $long)
          (then
            (global.set $long_length (i32.const 0))
            (return (local.get $long))))))
    (call $PyLong_FromSsize_t (local.get $size)))

  ;; len(o)
  (func (export "replace:builtin_len") (param $module i32) (param $o i32) (result i32)
    (local $size i32)
    (local.set $size (call $size (local.get $o)))
    (if (i32.lt_s (local.get $size) (i32.const 0)) (then (return (i32.const 0))))
    (call $length (local.get $size)))

  ;; How many items a list would need room for: more than there can be, which is a MemoryError.
  (func (export "within:PyObject_LengthHint:PyObject_Size") (param $o i32) (result i32)
    (local $size i32)
    (local.set $size (call $PyObject_Size (local.get $o)))
    (if (i32.and
          (i32.lt_s (local.get $size) (i32.const 0))
          (i32.eq (i32.load offset=4 (local.get $o)) (global.get $PyRange_Type)))
      (then
        (if (call $fits (i32.load offset=20 (local.get $o)))
          (then
            (call $PyErr_Clear)
            (return (i32.const 0x7FFFFFFF))))))
    (local.get $size))

  (func (export "replace:_bisect_bisect_left") (param $module i32) (param $args i32) (param $count i32) (param $names i32) (result i32)
    (local $result i32)
    (local.set $result
      (call $_bisect_bisect_left (local.get $module) (local.get $args) (local.get $count) (local.get $names)))
    (if (local.get $result) (then (return (local.get $result))))
    ;; "bisect_left"
    (call $in_a_long_range
      (i64.const 0x6c5f746365736962) (i64.const 0x746665)
      (local.get $args) (local.get $count) (local.get $names)))

  (func (export "replace:_bisect_bisect_right") (param $module i32) (param $args i32) (param $count i32) (param $names i32) (result i32)
    (local $result i32)
    (local.set $result
      (call $_bisect_bisect_right (local.get $module) (local.get $args) (local.get $count) (local.get $names)))
    (if (local.get $result) (then (return (local.get $result))))
    ;; "bisect_right"
    (call $in_a_long_range
      (i64.const 0x725f746365736962) (i64.const 0x74686769)
      (local.get $args) (local.get $count) (local.get $names)))

  ;; Calls a helper in place of a function that has failed, if it did because its first argument is a range so long.
  (func $in_a_long_range (param $first i64) (param $second i64) (param $args i32) (param $count i32) (param $names i32) (result i32)
    (local $helper i32) (local $result i32) (local $range i32)
    (if (i32.eqz (local.get $count)) (then (return (i32.const 0))))
    (local.set $range (i32.load (local.get $args)))
    (if (i32.ne (i32.load offset=4 (local.get $range)) (global.get $PyRange_Type))
      (then (return (i32.const 0))))
    ;; Two digits of 30 bits, or more.
    (if (i32.lt_u (i32.load offset=8 (i32.load offset=20 (local.get $range))) (i32.const 16))
      (then (return (i32.const 0))))
    (if (i32.eqz (call $PyErr_ExceptionMatches (i32.load (global.get $PyExc_OverflowError))))
      (then (return (i32.const 0))))
    (call $PyErr_Clear)
    (local.set $helper (call $helper (local.get $first) (local.get $second)))
    (if (i32.eqz (local.get $helper)) (then (return (i32.const 0))))
    (local.set $result
      (call $PyObject_Vectorcall (local.get $helper) (local.get $args) (local.get $count) (local.get $names)))
    (call $Py_DecRef (local.get $helper))
    (local.get $result))

  ;; The function of guest/words.py whose name these 16 bytes are.
  (func $helper (param $first i64) (param $second i64) (result i32)
    (local $frame i32) (local $module i32) (local $function i32)
    (local.set $frame (i32.sub (global.get $stack) (i32.const 32)))
    (global.set $stack (local.get $frame))
    ;; "words"
    (i64.store (local.get $frame) (i64.const 0x7364726f77))
    (i64.store offset=8 (local.get $frame) (local.get $first))
    (i64.store offset=16 (local.get $frame) (local.get $second))
    (local.set $module (call $PyImport_ImportModule (local.get $frame)))
    (if (local.get $module)
      (then
        (local.set $function
          (call $PyObject_GetAttrString (local.get $module) (i32.add (local.get $frame) (i32.const 8))))
        (call $Py_DecRef (local.get $module))))
    (global.set $stack (i32.add (local.get $frame) (i32.const 32)))
    (local.get $function))

  ;; An array of `long` holds what one of `long long` does, and says so where it is pickled.
  (func (export "replace:typecode_to_mformat_code") (param $code i32) (result i32)
    (if (i32.eq (local.get $code) (i32.const 108)) (then (local.set $code (i32.const 113))))
    (if (i32.eq (local.get $code) (i32.const 76)) (then (local.set $code (i32.const 81))))
    (call $typecode_to_mformat_code (local.get $code)))

  ;; --- the order of sets: from the start of their tables, or from the end

  (func (export "reverse_sets") (param $reversed i32)
    (global.set $reversed (local.get $reversed)))

  ;; From a position on, counted from the end: that of the next element, or of the end of the table.
  (func $seek (param $set i32) (param $at i32) (result i32)
    (local $entry i32)
    (block $found
      (loop $entries
        (br_if $found (i32.gt_s (local.get $at) (i32.load offset=16 (local.get $set))))
        (local.set $entry (call $entry (local.get $set) (local.get $at)))
        (br_if $found
          (i32.and
            (i32.ne (i32.load (local.get $entry)) (i32.const 0))
            (i32.ne (i32.load offset=4 (local.get $entry)) (i32.const -1))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $entries)))
    (local.get $at))

  ;; The entry at a position counted from the end.
  (func $entry (param $set i32) (param $at i32) (result i32)
    (i32.add
      (i32.load offset=20 (local.get $set))
      (i32.shl
        (i32.sub (i32.load offset=16 (local.get $set)) (local.get $at))
        (i32.const 3))))

  (func $hold (param $o i32) (result i32)
    (if (i32.le_s (i32.load (local.get $o)) (i32.const 0x3FFFFFFF))
      (then
        (i32.store (local.get $o) (i32.add (i32.load (local.get $o)) (i32.const 1)))))
    (local.get $o))

  ;; Of an iterator: its set at 8, how many elements that had at 12, a position at 16, how many are left at 20.
  (func (export "replace:setiter_iternext") (param $iterator i32) (result i32)
    (local $set i32) (local $at i32)
    (if (i32.eqz (global.get $reversed)) (then (return (call $setiter_iternext (local.get $iterator)))))
    (local.set $set (i32.load offset=8 (local.get $iterator)))
    (if (i32.eqz (local.get $set)) (then (return (i32.const 0))))
    (if (i32.ne (i32.load offset=12 (local.get $iterator)) (i32.load offset=12 (local.get $set)))
      (then (return (call $setiter_iternext (local.get $iterator)))))
    (local.set $at (call $seek (local.get $set) (i32.load offset=16 (local.get $iterator))))
    (i32.store offset=16 (local.get $iterator) (local.get $at))
    (if (i32.gt_s (local.get $at) (i32.load offset=16 (local.get $set)))
      (then (return (call $setiter_iternext (local.get $iterator)))))
    (i32.store offset=16 (local.get $iterator) (i32.add (local.get $at) (i32.const 1)))
    (i32.store offset=20
      (local.get $iterator)
      (i32.sub (i32.load offset=20 (local.get $iterator)) (i32.const 1)))
    (call $hold (i32.load (call $entry (local.get $set) (local.get $at)))))

  (func $next (param $set i32) (param $position i32) (param $key i32) (param $hash i32) (result i32)
    (local $at i32) (local $entry i32)
    (local.set $at (call $seek (local.get $set) (i32.load (local.get $position))))
    (i32.store (local.get $position) (i32.add (local.get $at) (i32.const 1)))
    (if (i32.gt_s (local.get $at) (i32.load offset=16 (local.get $set))) (then (return (i32.const 0))))
    (local.set $entry (call $entry (local.get $set) (local.get $at)))
    (i32.store (local.get $key) (i32.load (local.get $entry)))
    (i32.store (local.get $hash) (i32.load offset=4 (local.get $entry)))
    (i32.const 1))

  (func (export "replace:_PySet_NextEntry") (param $set i32) (param $position i32) (param $key i32) (param $hash i32) (result i32)
    (if (result i32) (global.get $reversed)
      (then (call $next (local.get $set) (local.get $position) (local.get $key) (local.get $hash)))
      (else (call $_PySet_NextEntry (local.get $set) (local.get $position) (local.get $key) (local.get $hash)))))

  (func (export "replace:_PySet_NextEntryRef") (param $set i32) (param $position i32) (param $key i32) (param $hash i32) (result i32)
    (if (i32.eqz (global.get $reversed))
      (then
        (return
          (call $_PySet_NextEntryRef (local.get $set) (local.get $position) (local.get $key) (local.get $hash)))))
    (if (i32.eqz (call $next (local.get $set) (local.get $position) (local.get $key) (local.get $hash)))
      (then (return (i32.const 0))))
    (drop (call $hold (i32.load (local.get $key))))
    (i32.const 1))

  (func (export "replace:set_repr") (param $set i32) (result i32)
    (local $helper i32) (local $result i32)
    (if (i32.eqz (global.get $reversed)) (then (return (call $set_repr (local.get $set)))))
    ;; "set_repr"
    (local.set $helper (call $helper (i64.const 0x727065725f746573) (i64.const 0)))
    (if (i32.eqz (local.get $helper)) (then (return (i32.const 0))))
    (local.set $result (call $PyObject_CallOneArg (local.get $helper) (local.get $set)))
    (call $Py_DecRef (local.get $helper))
    (local.get $result))

  ;; The finger of the set remembers, as CPython's own does, how far it has been emptied.
  (func (export "replace:set_pop") (param $set i32) (param $none i32) (result i32)
    (local $at i32) (local $key i32)
    (if (i32.or
          (i32.eqz (global.get $reversed))
          (i32.eqz (i32.load offset=12 (local.get $set))))
      (then (return (call $set_pop (local.get $set) (local.get $none)))))
    (local.set $at
      (call $seek
        (local.get $set)
        (i32.and (i32.load offset=28 (local.get $set)) (i32.load offset=16 (local.get $set)))))
    (if (i32.gt_s (local.get $at) (i32.load offset=16 (local.get $set)))
      (then (local.set $at (call $seek (local.get $set) (i32.const 0)))))
    (local.set $key (call $hold (i32.load (call $entry (local.get $set) (local.get $at)))))
    (i32.store offset=28 (local.get $set) (i32.add (local.get $at) (i32.const 1)))
    (if (i32.lt_s (call $PySet_Discard (local.get $set) (local.get $key)) (i32.const 0))
      (then
        (call $Py_DecRef (local.get $key))
        (return (i32.const 0))))
    (local.get $key)))
