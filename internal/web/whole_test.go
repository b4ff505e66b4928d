package web

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestAnAnswerHasNoNullForAListOrAnObject(t *testing.T) {
	type inner struct {
		Names  []string          `json:"names"`
		Values map[string]any    `json:"values"`
		Left   []string          `json:"left,omitempty"`
		Raw    json.RawMessage   `json:"raw"`
		At     time.Time         `json:"at"`
		None   *int              `json:"none"`
		hidden map[string]string //nolint:unused // what is not exported must not stop the walk
	}
	kept := inner{}
	given := struct {
		inner
		Items []inner          `json:"items"`
		Plan  any              `json:"plan"`
		By    map[string]inner `json:"by"`
		One   *inner           `json:"one"`
	}{Items: []inner{{}}, Plan: map[string]any{"changes": []string(nil)}, By: map[string]inner{"a": {}}, One: &kept}
	answer, err := transform(nil, "200", given)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	const one = `"names":[],"values":{},"raw":null,"at":"0001-01-01T00:00:00Z","none":null`
	want := `{` + one + `,"items":[{` + one + `}],"plan":{"changes":[]},"by":{"a":{` + one + `}},"one":{` + one + `}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if kept.Names != nil || !reflect.DeepEqual(given.Items[0], inner{}) {
		t.Error("what the server keeps was changed")
	}
}
