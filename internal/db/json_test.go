package db

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestOnlyASmallPartComesAlong(t *testing.T) {
	small := json.RawMessage(`{"a":1}`)
	if along, left := Within(small); string(along.(json.RawMessage)) != string(small) || left != 0 {
		t.Errorf("a small part is %v, %d left", along, left)
	}
	large := json.RawMessage(`"` + strings.Repeat("x", alongLimit) + `"`)
	if along, left := Within(large); along != nil || left != len(large) {
		t.Errorf("a large part is %v, %d left", along, left)
	}
	if along, left := Within(nil); along != nil || left != 0 {
		t.Errorf("nothing is %v, %d left", along, left)
	}
}
