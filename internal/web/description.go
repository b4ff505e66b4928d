package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// description returns how operations are described and how bodies are read and written.
func description(version string) huma.Config {
	if version == "" {
		version = "dev"
	}
	jsonFormat := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	config := huma.DefaultConfig("Flywheel", version)
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.CreateHooks = nil // no $schema fields in answers
	config.Transformers = []huma.Transformer{transform}
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.RejectUnknownQueryParameters = true
	config.Info.Description = "Self-hosted platform for continuous innovation: patterns, apps, changes and their lanes, deployments. " +
		"What fails answers with a Problem; a 429, and a 503 that passes by itself, say in Retry-After after how many seconds to try again."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"session": {Type: "apiKey", In: "cookie", Name: "flywheel_session", Description: "A browser that signed in."},
		"token":   {Type: "http", Scheme: "bearer", Description: "A token: flywheel token create."},
	}
	config.Security = []map[string][]string{{"session": {}}, {"token": {}}}
	config.OnAddOperation = append(config.OnAddOperation, func(_ *huma.OpenAPI, op *huma.Operation) {
		if op.Method == http.MethodPost {
			op.Parameters = append(op.Parameters, &huma.Param{
				Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
				Description: "Any text that is unique to this request. A repetition within a day gets the first answer and does nothing.",
			})
		}
	})
	return config
}

var (
	errNotUTF8 = errors.New("the body is not UTF-8 text")
	errMore    = errors.New("there is more after the JSON value")
	errNUL     = errors.New("the body contains the character U+0000, which cannot be stored")
)

// unmarshal reads JSON and refuses what no database column could hold, so that it never comes back as
// a failure of the database.
func unmarshal(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errNotUTF8
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, checks := v.(*any); !checks { // what checks the body by its schema knows no json.Number
		decoder.UseNumber() // a number in an any keeps its digits
	}
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errMore
	}
	if hasNUL(data) {
		return errNUL
	}
	return nil
}

// hasNUL finds the escape \u0000 in valid JSON; a backslash before it may itself be escaped.
func hasNUL(data []byte) bool {
	escaped := false
	for i, c := range data {
		switch {
		case escaped && c == 'u' && i+5 <= len(data) && string(data[i+1:i+5]) == "0000":
			return true
		case c == '\\':
			escaped = !escaped
		default:
			escaped = false
		}
	}
	return false
}

// schemaName names a type after its package and itself, so that two features may use the same word:
// change.Change is "Change", change.Check is "ChangeCheck", and web.Page's types stay as they are.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() == "" || t.PkgPath() == "" {
		return huma.DefaultSchemaNamer(t, hint)
	}
	name, arguments, _ := strings.Cut(t.Name(), "[")
	result := qualified(t.PkgPath(), name)
	for argument := range strings.FieldsFuncSeq(arguments, func(r rune) bool { return r == ',' || r == '[' || r == ']' || r == '*' }) {
		pkg, name := "", argument
		if dot := strings.LastIndex(argument, "."); dot >= 0 {
			pkg, name = argument[:dot], argument[dot+1:]
		}
		result += qualified(pkg, name)
	}
	return result
}

func qualified(pkg, name string) string {
	prefix := title(path.Base(pkg))
	if prefix == "Web" || prefix == "." || strings.HasPrefix(name, prefix) {
		return title(name)
	}
	return prefix + title(name)
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
