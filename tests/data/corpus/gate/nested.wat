(component
  (component $inner
    (core module $m (table 1 funcref) (global i32 (i32.const 7))
      (func $loop (param i32) (result i32)
        (loop $l (br_if $l (local.get 0))) (block (br_table 0 0 (i32.const 1))) (i32.const 2))
      (elem (i32.const 0) $loop))
    (core instance (instantiate $m)))
  (instance (instantiate $inner))
  (alias outer 0 0 (component)))
