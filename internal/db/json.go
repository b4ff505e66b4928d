package db

import (
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
	switch s := src.(type) {
	case string:
		return json.Unmarshal([]byte(s), c.v)
	case []byte:
		return json.Unmarshal(s, c.v)
	case nil:
		return nil
	}
	return fmt.Errorf("db: a JSON column holds %T", src)
}
