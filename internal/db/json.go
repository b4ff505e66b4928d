package db

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// JSON returns v as the text of a JSON column. It panics on a type that cannot be encoded, which is a
// defect of the caller.
func JSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("db: %T cannot be a JSON column: %v", v, err))
	}
	return string(b)
}

// Into scans a JSON column into v, a pointer.
func Into(v any) *Column { return &Column{v} }

// Column is the scan target that Into returns.
type Column struct{ v any }

// Scan implements sql.Scanner.
func (c *Column) Scan(src any) error {
	var text []byte
	switch s := src.(type) {
	case string:
		text = []byte(s)
	case []byte:
		text = s
	case nil:
		return nil
	default:
		return fmt.Errorf("db: a JSON column holds %T", src)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // a number in an any keeps its digits
	return decoder.Decode(c.v)
}

// alongLimit is how large a part may be that comes along with something else. A larger one has an address of its own.
const alongLimit = 64 << 10

// Within returns a JSON value that comes along with something else, or nil and how many bytes it has, where that
// is too many.
func Within(value any) (along any, left int) {
	raw, ok := value.(json.RawMessage)
	if !ok || len(raw) <= alongLimit {
		return value, 0
	}
	return nil, len(raw)
}
