(component
  (type $event (record (field "event-type" string) (field "data" (list u8)) (field "tags" (list string))))
  (type $state (variant (case "json" string) (case "bytes" (list u8))))
  (type $level (enum "debug" "info"))
  (type $answer (result (tuple $state u64) (error string)))
  (import "factum:domain/log@0.1.0" (instance
    (type $l (enum "debug" "info" "warn" "error"))
    (export "level" (type $e (eq $l)))
    (export "log" (func (param "level" $e) (param "message" string))))))
