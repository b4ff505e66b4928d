package web

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// A list in an answer is [] when it is empty and never null, and so is an object {}: readers need not
// ask. Go writes null for a nil slice, so every answer passes through whole.

var marshaler = reflect.TypeFor[json.Marshaler]()

// transform is a huma.Transformer.
func transform(_ huma.Context, _ string, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	return whole(reflect.ValueOf(v)).Interface(), nil
}

// whole returns v with its nil slices and maps made empty, at any depth. It copies what it passes
// through, because an answer may share memory with what the server keeps. What writes its own JSON stays.
func whole(v reflect.Value) reflect.Value {
	t := v.Type()
	if !holds(t.Kind()) || t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		return v
	}
	switch t.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(t.Elem())
		out.Elem().Set(whole(v.Elem()))
		return out
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		out := reflect.New(t).Elem()
		out.Set(whole(v.Elem()))
		return out
	case reflect.Slice:
		if !holds(t.Elem().Kind()) && !v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(t, v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(whole(v.Index(i)))
		}
		return out
	case reflect.Map:
		if !holds(t.Elem().Kind()) && !v.IsNil() {
			return v
		}
		out := reflect.MakeMapWithSize(t, v.Len())
		for key, value := range v.Seq2() {
			out.SetMapIndex(key, whole(value))
		}
		return out
	}
	out := reflect.New(t).Elem()
	out.Set(v)
	fields(out)
	return out
}

// fields makes the fields of a struct whole, those of embedded structs included.
func fields(v reflect.Value) {
	for i := range v.NumField() {
		switch f, field := v.Type().Field(i), v.Field(i); {
		case f.IsExported():
			field.Set(whole(field))
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			fields(field)
		}
	}
}

func holds(k reflect.Kind) bool {
	switch k {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map, reflect.Struct:
		return true
	}
	return false
}
